#include "retrieval/fuse.h"

#include <math.h>
#include <stdlib.h>

#define LEXICAL_SHARE 0.42 /* a */
#define RRF_K         60
#define NEAR_BITS     3  /* two texts that differ in so many bits of 64 are nearly the same */
#define NEAR_WORDS    24 /* in shorter texts one word makes more of a difference */

static size_t find_at(const struct fused *f, size_t n, const struct index_hit *h) {
    for (size_t i = 0; i < n; i++)
        if (f[i].at.row == h->row && f[i].at.shard == h->shard)
            return i;
    return n;
}

static size_t join(const struct index_hit *lexical, size_t n_lexical,
                   const struct index_hit *vector, size_t n_vector, struct fused *ret) {
    size_t n = 0;
    for (size_t i = 0; i < n_lexical && i < FUSE_DEPTH; i++)
        ret[n++] = (struct fused){
            .at = lexical[i], .lexical_rank = (int)i + 1, .lexical = (double)lexical[i].score};
    for (size_t i = 0; i < n_vector && i < FUSE_DEPTH; i++) {
        size_t k = find_at(ret, n, &vector[i]);
        if (k == n)
            ret[n++] = (struct fused){.at = vector[i]};
        ret[k].vector_rank = (int)i + 1;
        ret[k].vector = (double)vector[i].score;
    }
    return n;
}

/* The score of the part that did not find it. */
static enum err fill(const struct index_view *v, const struct query_terms *terms,
                     const struct vector_query *vq, struct fused *f, size_t n) {
    struct index_hit *at = calloc(n + 1, sizeof *at);
    float *scores = malloc((n + 1) * sizeof *scores);
    enum err e = at && scores ? ERR_OK : ERR_NOMEM;
    for (size_t i = 0; !e && i < n; i++)
        at[i] = f[i].at;
    if (!e)
        e = index_lexical_some(v, terms, at, n, scores);
    for (size_t i = 0; !e && i < n; i++) {
        bool has;
        if (!f[i].lexical_rank)
            f[i].lexical = (double)scores[i];
        if (!f[i].vector_rank && vq)
            f[i].vector = index_similarity(&f[i].at, vq, &has);
    }
    free(at);
    free(scores);
    return e;
}

static double reciprocal(int rank) {
    return rank ? 1.0 / (RRF_K + rank) : 0;
}

static int by_score(const void *a, const void *b) {
    const struct fused *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->row.chunk_id < y->row.chunk_id ? -1 : x->row.chunk_id > y->row.chunk_id;
}

void fused_sort(struct fused *f, size_t n) {
    qsort(f, n, sizeof *f, by_score);
}

enum err fuse(const struct index_view *v, const struct query_terms *terms,
              const struct vector_query *vq, const struct index_hit *lexical, size_t n_lexical,
              const struct index_hit *vector, size_t n_vector, enum fusion how, struct fused *ret,
              size_t *ret_n) {
    size_t n = join(lexical, n_lexical, vector, n_vector, ret);
    enum err e = fill(v, terms, vq, ret, n);
    double best = n_lexical ? (double)lexical[0].score : 0;
    double scale = sqrt(best * index_lexical_most(v, terms));
    if (e)
        return e;
    for (size_t i = 0; i < n; i++) {
        double l = scale > 0 ? ret[i].lexical / scale : 0,
               c = ret[i].vector > 0 ? ret[i].vector : 0;
        l = l < 1 ? l : 1;
        if (how == FUSE_RRF)
            ret[i].fused = (reciprocal(ret[i].lexical_rank) + reciprocal(ret[i].vector_rank)) *
                           (RRF_K + 1) / 2;
        else if (!vq || !n_vector)
            ret[i].fused = l;
        else if (!n_lexical)
            ret[i].fused = c;
        else
            ret[i].fused = LEXICAL_SHARE * l + (1 - LEXICAL_SHARE) * c;
        ret[i].score = ret[i].fused;
        index_row_get(&ret[i].at, &ret[i].row);
    }
    fused_sort(ret, n);
    *ret_n = n;
    return ERR_OK;
}

static bool nearly_same(const struct index_row *a, const struct index_row *b) {
    uint64_t differ = a->simhash ^ b->simhash;
    int shorter = a->len < b->len ? a->len : b->len, more = abs(a->len - b->len);
    if (shorter < NEAR_WORDS)
        return differ == 0 && more == 0;
    return __builtin_popcountll(differ) <= NEAR_BITS && more * 10 <= shorter;
}

size_t fused_drop_duplicates(struct fused *f, size_t n) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        bool same = false;
        for (size_t k = 0; !same && k < kept; k++)
            same = nearly_same(&f[i].row, &f[k].row);
        if (!same)
            f[kept++] = f[i];
    }
    return kept;
}
