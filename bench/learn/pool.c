/* Collections as the search answered them; see world.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

static void *need(void *p) {
    if (!p) {
        fprintf(stderr, "bench: out of memory\n");
        exit(1);
    }
    return p;
}

bool pool_is_relevant(const struct pool_query *q, uint32_t doc) {
    for (size_t i = 0; i < q->n_relevant; i++)
        if (q->relevant[i] == doc)
            return true;
    return false;
}

double pool_ndcg(const struct pool_query *q, const size_t *order, size_t n) {
    double got = 0, best = 0;
    for (size_t i = 0; i < 10 && i < n; i++)
        got += pool_is_relevant(q, q->docs[order[i]]) / log2((double)i + 2);
    for (size_t i = 0; i < 10 && i < q->n_relevant; i++)
        best += 1 / log2((double)i + 2);
    return best > 0 ? got / best : 0;
}

static void take(FILE *f, void *to, size_t n) {
    if (fread(to, 1, n, f) != n) {
        fprintf(stderr, "bench: the pool file is cut short\n");
        exit(1);
    }
}

struct pool *pool_open(const char *name, const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) {
        fprintf(stderr, "bench: %s cannot be read\n", path);
        exit(1);
    }
    uint32_t head[4];
    struct pool *p = need(calloc(1, sizeof *p));
    take(f, head, sizeof head);
    p->name = name;
    p->n_queries = head[0];
    p->n_docs = head[1];
    p->dims = head[2];
    p->doc_vectors = need(malloc(p->n_docs * p->dims * sizeof(float)));
    take(f, p->doc_vectors, p->n_docs * p->dims * sizeof(float));
    p->queries = need(calloc(p->n_queries, sizeof *p->queries));
    for (size_t i = 0; i < p->n_queries; i++) {
        struct pool_query *q = &p->queries[i];
        uint32_t n;
        take(f, &n, sizeof n);
        q->text = need(calloc(n + 1, 1));
        take(f, q->text, n);
        q->vector = need(malloc(p->dims * sizeof(float)));
        take(f, q->vector, p->dims * sizeof(float));
        take(f, &n, sizeof n);
        q->n_relevant = n;
        q->relevant = need(calloc(n + 1, sizeof(uint32_t)));
        take(f, q->relevant, n * sizeof(uint32_t));
        q->n = head[3];
        for (size_t k = 0; k < q->n; k++) {
            double s[6];
            struct ranker_passage *g = &q->passages[k];
            take(f, &q->docs[k], sizeof q->docs[k]);
            take(f, s, sizeof s);
            g->key = q->docs[k] + 1;
            g->vector = p->doc_vectors + q->docs[k] * p->dims;
            g->signals[RANKER_LEXICAL] = s[0];
            g->signals[RANKER_VECTOR] = s[1];
            g->signals[RANKER_FUSED] = s[2];
            g->signals[RANKER_TITLE] = s[3];
            g->signals[RANKER_COVERAGE] = s[4];
            g->signals[RANKER_LENGTH] = s[5];
        }
        ranker_fill_signals(q->passages, q->n, p->dims);
    }
    fclose(f);
    return p;
}
