/* Life of retrieval: its threads, its index, and the loop it embeds on. */
#include "retrieval/retrieval.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "retrieval/retrieval_internal.h"

#define QUEUED 256

enum err retrieval_new(const struct retrieval_options *o, struct retrieval **ret,
                       struct errinfo *ei) {
    struct retrieval *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(ei, ERR_NOMEM, NULL);
    r->o = *o;
    r->o.budget_ms = o->budget_ms > 0 ? o->budget_ms : 250;
    pthread_mutex_init(&r->lock, NULL);
    clock_cond_init(&r->wake);
    r->state.loading = true;
    enum err e = pthread_key_create(&r->searcher, searcher_free) == 0 ? ERR_OK : ERR_NOMEM;
    if (!e)
        e = index_new(&bm25_default, 0, &r->index);
    /* A search has up to three jobs. */
    size_t queued = 3 * (size_t)(o->max_queued > 0 ? o->max_queued : QUEUED);
    if (!e)
        e = jobs_new(o->threads > 0 ? o->threads : 2, queued, &r->jobs);
    if (e) {
        retrieval_free(r);
        return err_set(ei, e, NULL);
    }
    *ret = r;
    return ERR_OK;
}

enum err retrieval_start(struct retrieval *r, struct loop *l, struct upstream_client *c,
                         struct errinfo *ei) {
    r->loop = l;
    r->client = c;
    r->has_thread = pthread_create(&r->thread, NULL, indexer_main, r) == 0;
    return r->has_thread ? ERR_OK : err_set(ei, ERR_NOMEM, "a thread cannot be started");
}

void retrieval_free(struct retrieval *r) {
    if (!r)
        return;
    if (r->has_thread)
        retrieval_stop(r);
    jobs_free(r->jobs);
    index_free(r->index);
    weights_release(r->weights);
    pthread_key_delete(r->searcher);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

void retrieval_poke(struct retrieval *r) {
    pthread_mutex_lock(&r->lock);
    r->poked = true;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

void retrieval_get_state(struct retrieval *r, struct retrieval_state *ret) {
    struct index_size size;
    pthread_mutex_lock(&r->lock);
    struct retrieval_state s = r->state;
    index_get_size(r->index, &size);
    pthread_mutex_unlock(&r->lock);
    s.documents = size.documents;
    s.chunks = size.chunks;
    s.vectors = size.vectors;
    s.bytes = size.bytes;
    *ret = s;
}

bool retrieval_has_chunks(struct retrieval *r, const struct retrieval_scope *scope) {
    struct index_view view;
    pthread_mutex_lock(&r->lock);
    index_view_open(r->index, scope->collections, scope->n, &view);
    pthread_mutex_unlock(&r->lock);
    bool any = index_view_chunks(&view) > 0;
    index_view_close(&view);
    return any;
}

/* FNV-1a over document and text. */
uint64_t retrieval_key(const struct uuid *doc_id, const unsigned char hash[CHUNK_HASH_LEN]) {
    uint64_t h = 14695981039346656037ull;
    for (int i = 0; i < UUID_LEN; i++)
        h = (h ^ (unsigned char)doc_id->s[i]) * 1099511628211ull;
    for (int i = 0; i < CHUNK_HASH_LEN; i++)
        h = (h ^ hash[i]) * 1099511628211ull;
    return h;
}
