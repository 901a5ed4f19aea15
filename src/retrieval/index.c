/* The table of shards: found by collection, made when a collection gets its first document, swapped
 * when one is made anew. */
#include "retrieval/index.h"

#include <stdlib.h>

#include "retrieval/shard.h"

#define DEAD_MIN 512 /* rows; a shard with fewer removed ones is not made anew for them */

/* Chosen on cranfield, cacm, pubmedqa and xquad_en (docs/retrieval.md). */
const struct bm25 bm25_default = {.k1 = 1.5, .b = 0.7, .title_count = 2};

struct index {
    struct bm25 bm25;
    int dimensions;
    struct terms *terms;   /* the writer's */
    pthread_mutex_t lock;  /* of the table */
    struct shard **shards; /* a ref each */
    size_t n, size;
};

enum err index_new(const struct bm25 *p, int dimensions, struct index **ret) {
    struct index *x = calloc(1, sizeof *x);
    if (!x)
        return ERR_NOMEM;
    pthread_mutex_init(&x->lock, NULL);
    x->bm25 = *p;
    x->dimensions = dimensions;
    enum err e = terms_open(&x->terms);
    if (e) {
        index_free(x);
        return e;
    }
    *ret = x;
    return ERR_OK;
}

void index_free(struct index *x) {
    if (!x)
        return;
    for (size_t i = 0; i < x->n; i++)
        shard_unref(x->shards[i]);
    terms_close(x->terms);
    pthread_mutex_destroy(&x->lock);
    free(x->shards);
    free(x);
}

int index_dimensions(const struct index *x) {
    return x->dimensions;
}

/* Holding the lock. */
static struct shard *find(struct index *x, const struct uuid *collection) {
    for (size_t i = 0; i < x->n; i++)
        if (uuid_eq(&x->shards[i]->collection_id, collection))
            return x->shards[i];
    return NULL;
}

static enum err find_or_make(struct index *x, const struct uuid *collection, struct shard **ret) {
    enum err e = ERR_OK;
    pthread_mutex_lock(&x->lock);
    struct shard *s = find(x, collection);
    if (!s && x->n == x->size) {
        size_t size = x->size ? x->size * 2 : 8;
        struct shard **grown = realloc(x->shards, size * sizeof *grown);
        if (grown) {
            x->shards = grown;
            x->size = size;
        } else {
            e = ERR_NOMEM;
        }
    }
    if (!s && !e)
        e = shard_new(collection, &x->bm25, x->dimensions, &s);
    if (!e && !find(x, collection))
        x->shards[x->n++] = s;
    pthread_mutex_unlock(&x->lock);
    *ret = s;
    return e;
}

static void remove_elsewhere(struct index *x, const struct uuid *doc_id, const struct shard *but) {
    for (size_t i = 0; i < x->n; i++) /* the table is changed by this thread only */
        if (x->shards[i] != but)
            shard_remove(x->shards[i], doc_id);
}

enum err index_put(struct index *x, const struct index_doc *d) {
    struct shard *s;
    enum err e = find_or_make(x, &d->collection_id, &s);
    if (!e)
        e = shard_put(s, x->terms, d);
    if (!e)
        remove_elsewhere(x, &d->doc_id, s); /* it may have come from another collection */
    return e;
}

void index_remove(struct index *x, const struct uuid *doc_id) {
    remove_elsewhere(x, doc_id, NULL);
}

enum err index_compact(struct index *x) {
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < x->n; i++) {
        struct shard *s = x->shards[i], *fresh;
        if (s->dead_rows < DEAD_MIN || s->dead_rows < s->n / 4)
            continue;
        e = shard_copy_live(s, x->dimensions, &fresh);
        if (e)
            return e;
        pthread_mutex_lock(&x->lock);
        x->shards[i] = fresh;
        pthread_mutex_unlock(&x->lock);
        shard_unref(s); /* searches that have it go on with it */
    }
    return e;
}

void index_get_size(struct index *x, struct index_size *ret) {
    struct index_size t = {0};
    pthread_mutex_lock(&x->lock);
    for (size_t i = 0; i < x->n; i++) {
        struct shard *s = x->shards[i];
        pthread_rwlock_rdlock(&s->lock);
        t.documents += s->live_docs;
        t.chunks += s->live_rows;
        t.bytes += (int64_t)shard_bytes(s);
        for (uint32_t r = 0; s->vectors && r < s->n; r++)
            t.vectors += s->state[r] == ROW_LIVE && vectors_has(s->vectors, r);
        pthread_rwlock_unlock(&s->lock);
    }
    pthread_mutex_unlock(&x->lock);
    *ret = t;
}

/* ---- views ---- */

void index_view_open(struct index *x, const struct uuid *collections, size_t n,
                     struct index_view *ret) {
    ret->n = 0;
    pthread_mutex_lock(&x->lock);
    for (size_t i = 0; i < n && ret->n < COLLECTIONS_MAX; i++) {
        struct shard *s = find(x, &collections[i]);
        if (!s)
            continue;
        atomic_fetch_add(&s->refs, 1);
        ret->shards[ret->n++] = s;
    }
    pthread_mutex_unlock(&x->lock);
}

void index_view_close(struct index_view *v) {
    for (size_t i = 0; i < v->n; i++)
        shard_unref(v->shards[i]);
    v->n = 0;
}

int64_t index_view_chunks(const struct index_view *v) {
    int64_t n = 0;
    for (size_t i = 0; i < v->n; i++) {
        pthread_rwlock_rdlock(&v->shards[i]->lock);
        n += v->shards[i]->live_rows;
        pthread_rwlock_unlock(&v->shards[i]->lock);
    }
    return n;
}

/* ---- the words of a question ---- */

struct adding {
    struct query_terms *q;
    float weight;
};

static void add_term(void *ctx, const struct term *w) {
    struct adding *a = ctx;
    struct query_terms *q = a->q;
    for (size_t i = 0; i < q->n; i++) {
        struct query_term *t = &q->list[i];
        if (str_eq((struct str){t->text, t->n}, w->text)) {
            t->weight += a->weight;
            return;
        }
    }
    if (q->n == QUERY_TERMS_MAX) {
        q->left_out = true;
        return;
    }
    struct query_term *t = &q->list[q->n++];
    memcpy(t->text, w->text.p, w->text.n);
    t->n = w->text.n;
    t->weight = a->weight;
    t->is_stop = w->is_stop;
}

/* Words that are counted already by an earlier language keep their weight. */
void query_terms_add(struct query_terms *q, struct terms *t, const struct index_view *v,
                     struct str text, float weight) {
    struct query_terms before = *q;
    uint32_t languages = 0;
    for (size_t i = 0; i < v->n; i++) {
        pthread_rwlock_rdlock(&v->shards[i]->lock);
        languages |= v->shards[i]->languages;
        pthread_rwlock_unlock(&v->shards[i]->lock);
    }
    languages = languages ? languages : 2; /* English */
    for (int l = 0; l < 32 && index_languages[l]; l++) {
        if (!(languages >> l & 1))
            continue;
        struct query_terms mine = before;
        terms_each(t, index_languages[l], text, add_term, &(struct adding){&mine, weight});
        for (size_t i = 0; i < mine.n; i++) {
            size_t k = 0;
            while (k < q->n && (q->list[k].n != mine.list[i].n ||
                                memcmp(q->list[k].text, mine.list[i].text, mine.list[i].n) != 0))
                k++;
            if (k < q->n) {
                q->list[k].weight = q->list[k].weight > mine.list[i].weight ? q->list[k].weight
                                                                            : mine.list[i].weight;
                q->list[k].is_stop = q->list[k].is_stop || mine.list[i].is_stop;
            } else if (q->n < QUERY_TERMS_MAX) {
                q->list[q->n++] = mine.list[i];
            } else {
                q->left_out = true;
            }
        }
        q->left_out = q->left_out || mine.left_out;
    }
}
