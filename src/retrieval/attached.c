#include "retrieval/attached.h"

#include <math.h>

#include "retrieval/excerpt.h"
#include "retrieval/retrieval_internal.h"

bool attached_has(const struct retrieval_request *q, const struct uuid *doc) {
    for (size_t i = 0; i < q->n_attached; i++)
        if (uuid_eq(&q->attached[i], doc))
            return true;
    return false;
}

void attached_prefer(struct fused *f, size_t n, const struct retrieval_request *q) {
    for (size_t i = 0; q->n_attached && i < n; i++)
        if (attached_has(q, &f[i].row.doc_id))
            f[i].score += (ATTACHED_FACTOR - 1) * fabs(f[i].score); /* it may be negative */
}

bool attached_begins(const struct retrieval_request *q, bool relevant) {
    if (!q->n_meant || q->about == ABOUT_ANYTHING)
        return false;
    return q->about == ABOUT_WHOLE || !relevant;
}

struct reading {
    const struct retrieval_request *q;
    struct arena *a;
    struct chunk_hit *rows; /* of all documents, one after the other */
    size_t n, k;            /* k: rows at most; one of each document in any case */
};

static enum err read_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct reading *r = arg;
    size_t each = r->k / r->q->n_meant;
    (void)ei;
    r->n = 0;
    for (size_t i = 0; i < r->q->n_meant && r->n < r->k; i++) {
        struct chunk_hit *rows;
        size_t n;
        enum err e = chunk_begin(tx, &r->q->attached[i], r->q->scope->collections, r->q->scope->n,
                                 each, r->a, &rows, &n);
        if (e)
            return e;
        for (size_t j = 0; j < n; j++)
            r->rows[r->n++] = rows[j];
    }
    return ERR_OK;
}

enum err attached_begin(struct store *s, const struct retrieval_request *q, struct sentences *words,
                        struct arena *a, struct retrieval_hit **ret, size_t *ret_n,
                        struct errinfo *ei) {
    size_t k = (size_t)q->k > q->n_meant ? (size_t)q->k : q->n_meant;
    struct reading r = {.q = q, .a = a, .rows = arena_array(a, k, sizeof *r.rows), .k = k};
    struct retrieval_hit *hits = arena_array(a, k, sizeof *hits);
    if (!r.rows || !hits)
        return err_set(ei, ERR_NOMEM, NULL);
    enum err e = store_read_wait(s, read_fn, &r, ei);
    if (e)
        return e;
    for (size_t i = 0; i < r.n; i++) {
        hits[i] = retrieval_hit_of(&r.rows[i], (int)i + 1);
        hits[i].begins = true;
    }
    if (q->max_tokens && (e = excerpt_begin(hits, &r.n, q->max_tokens, words, a)))
        return err_set(ei, e, NULL);
    *ret = hits;
    *ret_n = r.n;
    return ERR_OK;
}
