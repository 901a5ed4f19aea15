/* What learning gave, held by the searches that use it. */
#include <stdlib.h>

#include "retrieval/retrieval_internal.h"

const char *const retrieval_signal_names[SIGNAL_COUNT] = {
    "fused",     "lexical",   "vector",     "both",      "title",    "coverage",
    "recency",   "length",    "rarest",     "phrase",    "together", "near_few",
    "near_many", "words_few", "words_many", "words_best"};

struct held_weights *weights_hold(struct retrieval *r) {
    pthread_mutex_lock(&r->lock);
    struct held_weights *h = r->weights;
    if (h)
        atomic_fetch_add(&h->refs, 1);
    pthread_mutex_unlock(&r->lock);
    return h;
}

void weights_release(struct held_weights *h) {
    if (!h || atomic_fetch_sub(&h->refs, 1) > 1)
        return;
    if (h->w && h->w->free)
        h->w->free(h->w);
    free(h);
}

void retrieval_set_weights(struct retrieval *r, struct retrieval_weights *w) {
    struct held_weights *h = w ? calloc(1, sizeof *h) : NULL;
    if (w && !h) { /* without memory the old ones stay */
        if (w->free)
            w->free(w);
        return;
    }
    if (h) {
        atomic_init(&h->refs, 1);
        h->w = w;
    }
    pthread_mutex_lock(&r->lock);
    struct held_weights *old = r->weights;
    r->weights = h;
    pthread_mutex_unlock(&r->lock);
    weights_release(old);
}

static double factor_of(const struct role_factors *f, uint64_t key) {
    size_t lo = 0, hi = f->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (f->factors[mid].key == key) {
            double x = f->factors[mid].factor;
            return x < 0.1 ? 0.1 : x > 10 ? 10 : x;
        }
        if (f->factors[mid].key < key)
            lo = mid + 1;
        else
            hi = mid;
    }
    return 1;
}

double weights_factor(const struct held_weights *h, const struct uuid *role, uint64_t key) {
    double f = 1;
    for (size_t i = 0; h && i < h->w->n_roles; i++) {
        const struct role_factors *r = &h->w->roles[i];
        if (!uuid_is_set(&r->role_id) || (uuid_is_set(role) && uuid_eq(&r->role_id, role)))
            f *= factor_of(r, key);
    }
    return f;
}

bool weights_rerank(const struct held_weights *h, const double signal[SIGNAL_COUNT], double *ret) {
    if (!h || !h->w->rerank)
        return false;
    double sum = h->w->bias;
    for (int i = 0; i < SIGNAL_COUNT; i++)
        sum += h->w->signal[i] * signal[i];
    *ret = sum;
    return true;
}
