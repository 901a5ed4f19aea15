/* Collections in BEIR's layout as the program's own search answers them: its index, its two
 * rankings and their fusion (src/retrieval), embeddings of the program's embedding model, kept in
 * the cache folder by a hash of what was embedded. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "cli/embedder.h"
#include "cli/eval_rows.h"
#include "retrieval/fuse.h"
#include "retrieval/neighbours.h"
#include "retrieval/wording.h"
#include "world.h"

#define DEPTH 200
#define BATCH 16

void *need(void *p) {
    if (!p)
        die("out of memory");
    return p;
}

void die(const char *what) {
    fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

static void check(enum err e, const struct errinfo *ei) {
    if (e)
        die(ei && ei->message[0] ? ei->message : err_text(e));
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

/* ---- embeddings ---- */

float *embed_cached(struct embedder *m, const char *cache, const struct str *texts, size_t n,
                    size_t *ret_dims) {
    char path[600];
    struct errinfo ei = {0};
    uint64_t hash = 0;
    struct embedded part;
    struct stat st;
    for (size_t i = 0; i < n; i++)
        hash = hash * 31 + words_hash(texts[i]);
    struct str probe = STR("probe");
    check(embedder_run(m, &probe, 1, UPSTREAM_EMBED_PLAIN, &part, &ei), &ei);
    const size_t dims = (size_t)part.dimensions, bytes = n * dims * sizeof(float);
    embedded_deinit(&part);
    float *v = need(malloc(bytes));
    snprintf(path, sizeof path, "%s/%s-%016llx.f32", cache, embedder_model(m),
             (unsigned long long)hash);
    *ret_dims = dims;
    FILE *f = stat(path, &st) == 0 && (size_t)st.st_size == bytes ? fopen(path, "rb") : NULL;
    if (f) {
        if (fread(v, 1, bytes, f) != bytes)
            die("the cached embeddings cannot be read");
        fclose(f);
        return v;
    }
    fprintf(stderr, "embedding %zu texts (once; they are kept in %s)\n", n, cache);
    for (size_t i = 0; i < n; i += BATCH) { /* small ones: a loaded machine answers each in time */
        size_t some = n - i < BATCH ? n - i : BATCH;
        check(embedder_run(m, texts + i, some, UPSTREAM_EMBED_PLAIN, &part, &ei), &ei);
        memcpy(v + i * dims, part.vectors, some * dims * sizeof *v);
        embedded_deinit(&part);
        if (i % 512 == 0)
            fprintf(stderr, "  %zu of %zu\n", i, n);
    }
    if ((mkdir(cache, 0755) == 0 || errno == EEXIST) && (f = fopen(path, "wb"))) {
        size_t done = fwrite(v, 1, bytes, f);
        if (fclose(f) != 0 || done != bytes)
            remove(path);
    }
    return v;
}

/* ---- reading ---- */

static void read_rows(const char *dir, const char *name, struct eval_rows *ret) {
    char path[600];
    struct errinfo ei = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    check(eval_rows_read(path, ret, &ei), &ei);
}

static size_t row_of(const struct eval_rows *r, struct str id) {
    for (size_t i = 0; i < r->n; i++)
        if (str_eq(json_get_str(r->row[i], "_id"), id))
            return i;
    return SIZE_MAX;
}

static void read_judgements(const char *dir, struct pool *p, const struct eval_rows *docs,
                            const struct eval_rows *queries) {
    char path[600], line[300];
    snprintf(path, sizeof path, "%s/qrels.tsv", dir);
    FILE *f = fopen(path, "r");
    if (!f)
        die("there is no qrels.tsv");
    while (fgets(line, sizeof line, f)) {
        struct str rest = str_trim(str_from(line)), q = str_cut(&rest, '\t'),
                   d = str_cut(&rest, '\t');
        size_t qi = row_of(queries, q), di = row_of(docs, d);
        if (qi == SIZE_MAX || di == SIZE_MAX || atoi(rest.p ? rest.p : "0") <= 0)
            continue;
        struct pool_query *to = &p->queries[qi];
        to->relevant = need(realloc(to->relevant, (to->n_relevant + 1) * sizeof *to->relevant));
        to->relevant[to->n_relevant++] = (uint32_t)di;
    }
    fclose(f);
}

static struct str *doc_texts(const struct eval_rows *docs, size_t cut) {
    struct str *t = need(calloc(docs->n + 1, sizeof *t));
    for (size_t i = 0; i < docs->n; i++) {
        struct str title = json_get_str(docs->row[i], "title");
        struct str text = json_get_str(docs->row[i], "text");
        char *both = need(malloc(title.n + text.n + 2));
        memcpy(both, title.p ? title.p : "", title.n);
        both[title.n] = ' ';
        memcpy(both + title.n + 1, text.p ? text.p : "", text.n);
        t[i] = str_trim((struct str){both, title.n + 1 + text.n});
        t[i].n = utf8_cut(t[i], t[i].n < cut ? t[i].n : cut);
        if (!t[i].n)
            t[i] = STR("-");
    }
    return t;
}

/* ---- searching ---- */

static struct index *make_index(const struct pool *p, const struct eval_rows *docs,
                                const struct uuid *collection) {
    struct index *x;
    char *packed = need(malloc(vector_size((int)p->dims)));
    check(index_new(&bm25_default, (int)p->dims, &x), NULL);
    for (size_t i = 0; i < docs->n; i++) {
        vector_pack(p->doc_vectors + i * p->dims, (int)p->dims, packed);
        struct index_chunk c = {.chunk_id = (int64_t)i,
                                .key = i,
                                .text = json_get_str(docs->row[i], "text"),
                                .vector = {packed, vector_size((int)p->dims)}};
        struct index_doc d = {.doc_id = uuid_new(),
                              .collection_id = *collection,
                              .title = json_get_str(docs->row[i], "title"),
                              .chunks = &c,
                              .n_chunks = 1};
        check(index_put(x, &d), NULL);
    }
    free(packed);
    return x;
}

struct told {
    struct wording wording;
    struct neighbours *to;
    int times;
};
static void tell(void *ctx, const struct term *w) {
    struct told *t = ctx;
    wording_word(&t->wording, w);
    for (int i = 0; !w->is_stop && i < t->times; i++)
        neighbours_word(t->to, w->text);
}

/* The same signals that the server's search gives. */
static void fill(struct pool *p, struct pool_query *q, const struct fused *f, double best,
                 const json_val *doc, struct terms *t, struct told *told) {
    struct ranker_passage *g = &q->passages[q->n];
    q->docs[q->n++] = (uint32_t)f->row.chunk_id;
    g->key = (uint64_t)f->row.chunk_id + 1;
    g->vector = p->doc_vectors + (size_t)f->row.chunk_id * p->dims;
    g->signals[RANKER_FUSED] = f->fused;
    g->signals[RANKER_LEXICAL] = best > 0 ? f->lexical / best : 0;
    g->signals[RANKER_VECTOR] = f->vector;
    g->signals[RANKER_BOTH] = f->lexical_rank && f->vector_rank;
    neighbours_add(told->to, f->fused, g->vector);
    told->times = 2;
    terms_each(t, "en", json_get_str(doc, "title"), tell, told);
    g->signals[RANKER_TITLE] = wording_share(&told->wording);
    wording_text(&told->wording);
    told->times = 1;
    terms_each(t, "en", json_get_str(doc, "text"), tell, told);
    g->signals[RANKER_COVERAGE] = wording_share(&told->wording);
    g->signals[RANKER_LENGTH] = fmin(1, f->row.len / 200.0);
    wording_end(&told->wording, &g->signals[RANKER_RAREST]);
}

static void search(struct pool *p, struct pool_query *q, const struct index_view *view,
                   struct terms *t, struct index_scratch *scratch, const struct eval_rows *docs) {
    static struct index_hit words[DEPTH], near[DEPTH];
    static struct fused fused[2 * DEPTH];
    double compared[NEIGHBOURS_MAX][NEIGHBOUR_SIGNALS];
    float rarity[QUERY_TERMS_MAX];
    struct query_terms terms = {.n = 0};
    struct told told = {.to = need(neighbours_new())};
    struct vector_query *vq;
    size_t n_words, n_near, n;
    bool exact;
    query_terms_add(&terms, t, view, str_from(q->text), 1);
    check(index_lexical(view, &terms, NULL, scratch, DEPTH, words, &n_words), NULL);
    check(vector_query_new(q->vector, (int)p->dims, &vq), NULL);
    check(index_nearest(view, vq, NULL, true, scratch, DEPTH, near, &n_near, &exact), NULL);
    check(fuse(view, &terms, vq, words, n_words, near, n_near, FUSE_SCORES, fused, &n), NULL);
    index_lexical_rarity(view, &terms, rarity);
    neighbours_begin(told.to);
    for (size_t i = 0; i < n && i < POOL; i++) {
        wording_begin(&told.wording, &terms, rarity);
        fill(p, q, &fused[i], n_words ? (double)words[0].score : 0,
             docs->row[fused[i].row.chunk_id], t, &told);
    }
    neighbours_end(told.to, (int)p->dims, compared);
    for (size_t i = 0; i < q->n; i++)
        memcpy(&q->passages[i].signals[RANKER_NEAR_FEW], compared[i], sizeof compared[i]);
    ranker_fill_signals(q->passages, q->n, p->dims);
    neighbours_free(told.to);
    vector_query_free(vq);
}

struct pool *pool_open(const char *name, const char *dir, struct embedder *m, const char *cache,
                       size_t cut) {
    struct pool *p = need(calloc(1, sizeof *p));
    struct eval_rows docs, queries;
    struct uuid collection = uuid_new();
    struct index_view view;
    struct terms *t;
    struct index_scratch *scratch = need(index_scratch_new());
    read_rows(dir, "corpus.jsonl.gz", &docs);
    read_rows(dir, "queries.jsonl.gz", &queries);
    p->name = name;
    p->n_docs = docs.n;
    p->n_queries = queries.n;
    p->queries = need(calloc(queries.n + 1, sizeof *p->queries));
    struct str *texts = need(calloc(queries.n + 1, sizeof *texts)),
               *of_docs = doc_texts(&docs, cut);
    for (size_t i = 0; i < queries.n; i++) {
        struct str s = json_get_str(queries.row[i], "text");
        p->queries[i].text = need(strndup(s.p, s.n));
        texts[i] = s;
    }
    p->doc_vectors = embed_cached(m, cache, of_docs, docs.n, &p->dims);
    float *vectors = embed_cached(m, cache, texts, queries.n, &p->dims);
    read_judgements(dir, p, &docs, &queries);
    struct index *x = make_index(p, &docs, &collection);
    check(terms_open(&t), NULL);
    index_view_open(x, &collection, 1, &view);
    for (size_t i = 0; i < queries.n; i++) {
        p->queries[i].vector = vectors + i * p->dims;
        if (p->queries[i].n_relevant)
            search(p, &p->queries[i], &view, t, scratch, &docs);
    }
    index_view_close(&view);
    index_free(x);
    index_scratch_free(scratch);
    terms_close(t);
    eval_rows_deinit(&docs);
    eval_rows_deinit(&queries);
    return p;
}
