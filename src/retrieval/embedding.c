/* The vectors: embedding on the loop, waited for on the indexing thread; what documents still lack;
 * and the change to another model while the old one's vectors serve.
 *
 *   batch ─→ embed ─┬─→ kept
 *                   ├─→ the model server is away or busy: later, after a pause that doubles
 *                   ├─→ it is too slow for it, again and again: as if it were
 *                   └─→ refused, and it embeds another text: each alone; those that are refused
 *                       again are marked with the reason and found by their words only */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "retrieval/chunk.h"
#include "retrieval/indexer.h"

#define MODEL_LOOK_NS (10 * 1000000000ll)
#define PAUSE_MIN_NS  (1000000000ll)
#define PAUSE_MAX_NS  (60 * 1000000000ll)
#define PAUSE_LONG_NS (15 * 60 * 1000000000ll) /* after time-outs: each try is long, too */
#define TIMEOUTS_MAX  3 /* of batches in a row: then each text is tried alone, as if refused */

/* ---- embedding on the loop, waited for here ---- */

struct embed_wait {
    struct retrieval *r;
    const struct str *texts;
    size_t n;
    char model[256];
    struct upstream_call *call;
    bool begun, over, orphan; /* orphan: who waited has gone; the loop frees it */
    enum err err;
    struct errinfo ei;
    float *vectors; /* owned */
    int dimensions;
};

static void wait_over(struct embed_wait *w) {
    pthread_mutex_lock(&w->r->lock);
    w->r->waiting = NULL;
    w->over = true;
    pthread_cond_broadcast(&w->r->wake);
    pthread_mutex_unlock(&w->r->lock);
}

static void embedded(void *ctx, const struct embed_result *e) {
    struct embed_wait *w = ctx;
    w->err = e->err;
    if (e->err && e->ei)
        w->ei = *e->ei;
    if (!e->err) {
        size_t bytes = e->n * (size_t)e->dimensions * sizeof *w->vectors;
        w->dimensions = e->dimensions;
        w->vectors = malloc(bytes);
        if (w->vectors)
            memcpy(w->vectors, e->vectors, bytes);
        else
            w->err = ERR_NOMEM;
    }
    wait_over(w);
}

static void embed_on_loop(void *arg) {
    struct embed_wait *w = arg;
    struct retrieval *r = w->r;
    if (w->orphan) { /* retrieval was stopped, and is perhaps gone */
        free(w);
        return;
    }
    w->begun = true;
    w->err = upstream_embed(r->client, str_from(w->model), w->texts, w->n,
                            UPSTREAM_EMBED_BACKGROUND, embedded, w, &w->call, &w->ei);
    if (w->err)
        wait_over(w);
}

/* Waits for the loop. Documents that come meanwhile are found by their words before it is over.
 * ERR_CANCELLED when retrieval stops. */
static enum err embed(struct retrieval *r, const char *model, const struct str *texts, size_t n,
                      float **ret, int *ret_dims, struct errinfo *ei) {
    struct embed_wait *w = calloc(1, sizeof *w);
    if (!w)
        return ERR_NOMEM;
    *w = (struct embed_wait){.r = r, .texts = texts, .n = n};
    snprintf(w->model, sizeof w->model, "%s", model);
    pthread_mutex_lock(&r->lock);
    bool posted = !r->stop && loop_post(r->loop, embed_on_loop, w) == ERR_OK;
    r->waiting = posted ? w : NULL;
    while (posted && !w->over) {
        if (!r->poked) {
            pthread_cond_wait(&r->wake, &r->lock);
            continue;
        }
        r->poked = false;
        pthread_mutex_unlock(&r->lock);
        while (!indexer_stopping(r) && indexer_next(r, true))
            ;
        pthread_mutex_lock(&r->lock);
    }
    bool orphan = w->orphan;
    pthread_mutex_unlock(&r->lock);
    enum err e = posted ? w->err : ERR_CANCELLED;
    if (!e) {
        *ret = w->vectors;
        *ret_dims = w->dimensions;
    } else {
        free(w->vectors);
        if (ei)
            *ei = w->ei;
    }
    if (!orphan)
        free(w);
    return e;
}

void retrieval_stop(struct retrieval *r) {
    if (!r->has_thread)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    struct embed_wait *w = r->waiting;
    r->waiting = NULL;
    if (w) {
        if (w->begun)
            upstream_cancel(w->call);
        w->orphan = !w->begun;
        w->err = ERR_CANCELLED;
        w->over = true;
    }
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    r->has_thread = false;
}

/* ---- vectors ---- */

struct vector_write {
    int64_t model;
    int dims;
    const float *vectors;
    const struct chunk_row *const *rows;
    size_t n;
};

static enum err put_vectors(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct vector_write *w = arg;
    char packed[sizeof(float) + VECTOR_DIMENSIONS_MAX];
    enum err e = ERR_OK;
    (void)ei;
    for (size_t i = 0; !e && i < w->n; i++) {
        vector_pack(w->vectors + i * (size_t)w->dims, w->dims, packed);
        e = chunk_vector_put(tx, w->model, w->rows[i]->hash,
                             (struct str){packed, vector_size(w->dims)});
    }
    return e;
}

struct model_write {
    struct str name;
    int dims;
    int64_t id;
};

static enum err put_model(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct model_write *m = arg;
    (void)ei;
    return embedding_model_id(tx, m->name, m->dims, &m->id);
}

/* The target's number in the store, known with its first vector. */
static enum err know_dims(struct retrieval *r, int dims) {
    if (r->target_id && r->target_dims == dims)
        return ERR_OK;
    if (dims > VECTOR_DIMENSIONS_MAX)
        return ERR_UPSTREAM;
    struct model_write m = {.name = str_from(r->target), .dims = dims};
    enum err e = store_write_wait(r->o.store, put_model, &m, NULL);
    if (e)
        return e;
    r->target_id = m.id;
    r->target_dims = dims;
    r->check_missing = r->check_missing || m.id != r->model_id;
    if (r->model[0])
        return ERR_OK;
    pthread_mutex_lock(&index_following); /* the first model: what comes finds its place */
    e = index_build(r, m.id, r->target, dims);
    pthread_mutex_unlock(&index_following);
    return e;
}

/* What is embedded of a stored chunk: as chunk_embed_text() makes it. */
static void stored_embed_text(struct buf *b, struct str title, const struct chunk_row *c) {
    struct doc_text doc = {.title = title};
    struct chunk k = {.text = c->text, .heading_path = c->heading, .lead = c->lead};
    chunk_embed_text(b, &doc, &k);
}

/* Embeds texts and keeps their vectors. */
static enum err embed_some(struct retrieval *r, const struct str *texts,
                           const struct chunk_row *const *rows, size_t n, struct errinfo *ei) {
    float *vectors = NULL;
    int dims = 0;
    enum err e = embed(r, r->target, texts, n, &vectors, &dims, ei);
    if (e)
        return e;
    e = know_dims(r, dims);
    struct vector_write w = {
        .model = r->target_id, .dims = dims, .vectors = vectors, .rows = rows, .n = n};
    if (!e)
        e = store_write_wait(r->o.store, put_vectors, &w, ei);
    free(vectors);
    metric_add(M_CHUNKS_EMBEDDED, e ? 0 : (int64_t)n);
    pthread_mutex_lock(&r->lock);
    r->state.embedded += e ? 0 : (int64_t)n;
    pthread_mutex_unlock(&r->lock);
    return e;
}

/* ---- texts that the model refuses ---- */

/* Whether the model server said no to what it was given, rather than being away or busy. patient:
 * it was given time enough, again and again. */
static bool is_refusal(enum err e, bool patient) {
    return (e == ERR_TIMEOUT && patient) || e == ERR_UPSTREAM || e == ERR_CONTEXT ||
           e == ERR_INVALID || e == ERR_TOO_LARGE || e == ERR_INTERNAL;
}

/* A text that no model has a reason to refuse: is it the text, or the server? */
static bool can_embed(struct retrieval *r) {
    const struct str text = STR("The weather is fine today.");
    float *vectors = NULL;
    int dims = 0;
    enum err e = embed(r, r->target, &text, 1, &vectors, &dims, NULL);
    free(vectors);
    return !e && know_dims(r, dims) == ERR_OK;
}

struct refusal {
    int64_t model;
    const struct chunk_row *row;
    struct str reason;
};

static enum err put_refusal(struct store_tx *tx, void *arg, struct errinfo *ei) {
    const struct refusal *f = arg;
    (void)ei;
    return chunk_refuse(tx, f->model, f->row->hash, f->reason);
}

static enum err mark_refused(struct retrieval *r, const struct chunk_row *row, enum err why,
                             const struct errinfo *ei) {
    char reason[400];
    snprintf(reason, sizeof reason,
             "some of its text is found by words only, as it has no vector: %.300s",
             ei->code == why && ei->message[0] ? ei->message : err_text(why));
    struct refusal f = {r->target_id, row, str_from(reason)};
    log_event(LOG_WARN, "chunk.not_embedded", LF_Z("code", err_name(why)),
              LF_INT("chunk", row->chunk_id));
    return store_write_wait(r->o.store, put_refusal, &f, NULL);
}

enum err indexer_embed(struct retrieval *r, const struct str *texts,
                       const struct chunk_row *const *rows, size_t n, struct errinfo *ei) {
    struct errinfo mine = {0};
    enum err e = embed_some(r, texts, rows, n, &mine);
    r->timeouts = e == ERR_TIMEOUT ? r->timeouts + 1 : e ? r->timeouts : 0;
    bool patient = r->timeouts >= TIMEOUTS_MAX;
    if (is_refusal(e, patient) && can_embed(r)) {
        e = ERR_OK;
        for (size_t i = 0; !e && i < n; i++) {
            mine = (struct errinfo){0};
            e = embed_some(r, &texts[i], &rows[i], 1, &mine);
            if (is_refusal(e, patient))
                e = mark_refused(r, rows[i], e, &mine);
        }
        r->timeouts = 0;
    }
    if (e && ei)
        *ei = mine;
    return e;
}

/* ---- another model ---- */

struct missing {
    struct arena *arena;
    int64_t model, after;
    struct chunk_row *rows;
    size_t n;
    struct document d;
};

static enum err missing_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct missing *m = arg;
    (void)ei;
    return chunk_without_vector(tx, m->model, m->after, BATCH, m->arena, &m->rows, &m->n);
}

static enum err forget_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    int64_t *keep = arg;
    (void)ei;
    return embedding_model_forget_others(tx, *keep);
}

static struct str title_of(struct retrieval *r, struct missing *m, const struct uuid *id) {
    struct index_read p = {.doc_id = *id, .arena = m->arena};
    if (store_read_wait(r->o.store, index_read_doc, &p, NULL) || !p.found)
        return STR_NULL;
    return p.d.title;
}

/* With the model that the index has, a document's vectors go into it when its last ones are there;
 * id NULL: no more come. */
static enum err fill_document(struct retrieval *r, const struct uuid *id) {
    enum err e = ERR_OK;
    if (id && uuid_eq(id, &r->filling))
        return ERR_OK;
    if (uuid_is_set(&r->filling) && r->target_id == r->model_id) {
        pthread_mutex_lock(&index_following);
        e = index_sync_doc(r, r->index, r->model_id, &r->filling);
        pthread_mutex_unlock(&index_following);
    }
    r->filling = id ? *id : (struct uuid){0};
    return e;
}

/* All vectors are there: the index goes over to them. */
static enum err filled(struct retrieval *r) {
    enum err e = fill_document(r, NULL);
    r->check_missing = false; /* what comes later has higher numbers than missing_after */
    pthread_mutex_lock(&index_following);
    if (!e && r->target_id && r->target_id != r->model_id)
        e = index_build(r, r->target_id, r->target, r->target_dims);
    pthread_mutex_unlock(&index_following);
    if (!e && r->target_id)
        e = store_write_wait(r->o.store, forget_fn, &r->target_id, NULL);
    pthread_mutex_lock(&r->lock);
    r->state.rebuilding = false;
    pthread_mutex_unlock(&r->lock);
    return e;
}

/* What failed is tried again after a pause that doubles: a model server that is away is not asked
 * without end. */
static void pause_after(struct retrieval *r, enum err e) {
    int64_t most = e == ERR_TIMEOUT ? PAUSE_LONG_NS : PAUSE_MAX_NS;
    if (!e)
        r->fill_pause_ns = 0;
    else if (!r->fill_pause_ns)
        r->fill_pause_ns = PAUSE_MIN_NS;
    else
        r->fill_pause_ns = r->fill_pause_ns < most / 2 ? 2 * r->fill_pause_ns : most;
    r->fill_at_ns = r->fill_pause_ns ? clock_mono_ns() + r->fill_pause_ns : 0;
}

bool indexer_fill_missing(struct retrieval *r) {
    if (clock_mono_ns() < r->fill_at_ns)
        return false;
    struct missing m = {
        .arena = arena_new(WORK_CAP), .model = r->target_id, .after = r->missing_after};
    const struct chunk_row *rows[BATCH];
    struct str texts[BATCH], title = STR_NULL;
    struct buf b;
    int64_t give_way_until_ns = 0;
    indexer_give_way(r, &give_way_until_ns);
    enum err e = m.arena ? store_read_wait(r->o.store, missing_fn, &m, NULL) : ERR_NOMEM;
    buf_init(&b, (size_t)16 << 20);
    for (size_t i = 0; !e && i < m.n; i++) {
        if (i == 0 || !uuid_eq(&m.rows[i].doc_id, &m.rows[i - 1].doc_id))
            title = title_of(r, &m, &m.rows[i].doc_id);
        buf_clear(&b);
        stored_embed_text(&b, title, &m.rows[i]);
        texts[i] = arena_str(m.arena, buf_str(&b));
        rows[i] = &m.rows[i];
        e = texts[i].p ? buf_err(&b) : ERR_NOMEM;
    }
    buf_deinit(&b);
    if (!e && m.n)
        e = indexer_embed(r, texts, rows, m.n, NULL);
    give_way_until_ns = 0;
    indexer_give_way(r, &give_way_until_ns);
    for (size_t i = 0; !e && i < m.n; i++)
        e = fill_document(r, &m.rows[i].doc_id);
    if (!e && m.n)
        r->missing_after = m.rows[m.n - 1].chunk_id;
    bool more = !e && m.n > 0;
    if (!e && m.n == 0)
        e = filled(r);
    pause_after(r, e);
    arena_free(m.arena);
    return more && !e;
}

struct known {
    const char *name;
    int64_t id;
    int dims;
    bool found;
};

static enum err find_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct known *u = arg;
    (void)ei;
    enum err e = embedding_model_find(tx, str_from(u->name), &u->id, &u->dims);
    u->found = !e;
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* The model that the upstream has now: when it is another one, its vectors are to be made. */
void indexer_look_at_model(struct retrieval *r) {
    int64_t now = clock_mono_ns();
    struct arena *a = arena_new(1 << 16);
    struct str name;
    if (a && now - r->model_looked_ns >= (r->target[0] ? MODEL_LOOK_NS : 0) &&
        upstream_embedding_model(r->o.upstream, a, &name) == ERR_OK && name.n < sizeof r->target) {
        r->model_looked_ns = now;
        if (!str_eqz(name, r->target)) {
            snprintf(r->target, sizeof r->target, "%.*s", STR_ARG(name));
            struct known u = {.name = r->target};
            if (store_read_wait(r->o.store, find_fn, &u, NULL))
                u.found = false;
            r->target_id = u.found ? u.id : 0;
            r->target_dims = u.found ? u.dims : 0;
            r->check_missing = true;
            r->missing_after = 0;
            r->fill_at_ns = 0;
            pthread_mutex_lock(&r->lock);
            r->state.rebuilding = r->model[0] && strcmp(r->model, r->target) != 0;
            pthread_mutex_unlock(&r->lock);
        }
    }
    arena_free(a);
}
