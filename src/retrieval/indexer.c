/* The indexing thread: makes the index from the store, follows its changes, indexes documents that
 * wait, and makes the vectors of a new embedding model while the old ones serve.
 *
 *   new document: bytes ─→ text (extract) ─→ chunks ─→ commit: found by its words ─→ vectors
 *   new version:  bytes ─→ text ─→ chunks ─→ vectors ─→ commit; the one before serves until then
 *
 * Vectors are kept as they come, by the hash of their text. Killed before the commit, a version
 * still waits and finds the vectors that it had; killed after it, what is missing is filled in.
 * The index itself is never saved: it is made from what the store holds. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"
#include "retrieval/chunk.h"
#include "retrieval/retrieval_internal.h"

#define LOOK_MS       1000 /* at what others have written into the store */
#define MODEL_LOOK_NS (10 * 1000000000ll)
#define BATCH         16 /* texts embedded at once; a person who comes waits for at most one piece */
#define PAGE          64 /* documents read at once */
#define CHANGES       256
#define WORK_CAP      ((size_t)2 << 30) /* bytes of one document's text, chunks and tables */
#define RETRY_MS      5000
#define RETRIES       6 /* each after twice the time */
#define SWEEP_NS      (3600 * 1000000000ll)

/* ---- embedding on the loop, waited for here ---- */

static bool stopping(struct retrieval *r) {
    pthread_mutex_lock(&r->lock);
    bool stop = r->stop;
    pthread_mutex_unlock(&r->lock);
    return stop;
}

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
    w->err = upstream_embed(r->client, str_from(w->model), w->texts, w->n, true, embedded, w,
                            &w->call, &w->ei);
    if (w->err)
        wait_over(w);
}

static bool index_next(struct retrieval *r, bool only_new);

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
        while (!stopping(r) && index_next(r, true))
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

static bool is_loading(struct retrieval *r) {
    pthread_mutex_lock(&r->lock);
    bool loading = r->state.loading;
    pthread_mutex_unlock(&r->lock);
    return loading;
}

/* ---- from the store into the index ---- */

static int64_t date_of(const struct document *d, json_val *meta) {
    struct tm tm = {0};
    struct str s = json_get_str(meta, "date");
    char text[32];
    snprintf(text, sizeof text, "%.*s", (int)(s.n < 10 ? s.n : 10), s.n ? s.p : "");
    if (sscanf(text, "%4d-%2d-%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday) == 3) {
        tm.tm_year -= 1900;
        tm.tm_mon -= 1;
        return (int64_t)timegm(&tm) * 1000;
    }
    return d->updated_at ? d->updated_at : d->created_at;
}

struct put { /* one document, read from the store */
    struct uuid doc_id;
    int64_t model;
    struct arena *arena;
    bool found;
    struct document d;
    struct chunk_row *rows;
    size_t n;
};

static enum err read_doc(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct put *p = arg;
    (void)ei;
    enum err e = document_indexed(tx, &p->doc_id, p->arena, &p->d);
    p->found = !e;
    if (!e)
        e = chunk_list(tx, &p->doc_id, p->model, p->arena, &p->rows, &p->n);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static enum err put_found(struct index *x, const struct put *p) {
    struct index_chunk *chunks = arena_array(p->arena, p->n + 1, sizeof *chunks);
    yyjson_doc *doc = NULL;
    json_val *meta = p->d.metadata.n && !json_parse(p->d.metadata, &doc, NULL)
                         ? yyjson_doc_get_root(doc)
                         : NULL,
             *tags = json_get(meta, "tags"), *tag;
    struct str *list = arena_array(p->arena, yyjson_arr_size(tags) + 1, sizeof *list);
    size_t i, max;
    if (!chunks || !list) {
        yyjson_doc_free(doc);
        return ERR_NOMEM;
    }
    struct index_doc d = {.doc_id = p->doc_id,
                          .collection_id = p->d.collection_id,
                          .source_name = p->d.source_name,
                          .uri = p->d.uri,
                          .title = p->d.title.n ? p->d.title : p->d.source_name,
                          .type = json_get_str(meta, "type"),
                          .tags = list,
                          .date = date_of(&p->d, meta),
                          .chunks = chunks,
                          .n_chunks = p->n};
    if (yyjson_is_arr(tags))
        yyjson_arr_foreach(tags, i, max, tag) if (yyjson_is_str(tag)) list[d.n_tags++] =
            json_str(tag);
    for (i = 0; i < p->n; i++)
        chunks[i] = (struct index_chunk){.chunk_id = p->rows[i].chunk_id,
                                         .key = retrieval_key(&p->doc_id, p->rows[i].hash),
                                         .heading = p->rows[i].heading,
                                         .text = p->rows[i].text,
                                         .vector = p->rows[i].vector};
    enum err e = index_put(x, &d);
    yyjson_doc_free(doc);
    return e;
}

/* The index's state of a document becomes the store's. */
static enum err sync_doc(struct retrieval *r, struct index *x, int64_t model,
                         const struct uuid *id) {
    struct put p = {.doc_id = *id, .model = model, .arena = arena_new(WORK_CAP)};
    if (!p.arena)
        return ERR_NOMEM;
    enum err e = store_read_wait(r->o.store, read_doc, &p, NULL);
    if (!e && p.found)
        e = put_found(x, &p);
    else if (!e)
        index_remove(x, id);
    arena_free(p.arena);
    return e;
}

struct scan {
    struct arena *arena;
    struct uuid after;
    struct document *docs;
    size_t n;
    int64_t first, last;
};

static enum err scan_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct scan *s = arg;
    (void)ei;
    return document_scan(tx, &s->after, PAGE, s->arena, &s->docs, &s->n);
}

static enum err last_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct scan *s = arg;
    (void)ei;
    return index_change_last(tx, &s->first, &s->last);
}

/* A new index of all that the store holds, with the vectors of a model, in place of the old one. */
static enum err build(struct retrieval *r, int64_t model, const char *name, int dims) {
    struct index *x, *old;
    struct scan s = {.n = PAGE};
    int64_t begin = clock_mono_ns();
    enum err e = store_read_wait(r->o.store, last_fn, &s, NULL);
    if (!e)
        e = index_new(&bm25_default, dims, &x);
    if (e)
        return e;
    while (!e && s.n == PAGE && !stopping(r)) {
        s.arena = arena_new(WORK_CAP);
        e = s.arena ? store_read_wait(r->o.store, scan_fn, &s, NULL) : ERR_NOMEM;
        for (size_t i = 0; !e && i < s.n && !stopping(r); i++)
            e = sync_doc(r, x, model, &s.docs[i].doc_id);
        if (!e && s.n)
            s.after = s.docs[s.n - 1].doc_id;
        arena_free(s.arena);
    }
    if (e || stopping(r)) {
        index_free(x);
        return e ? e : ERR_CANCELLED;
    }
    struct index_size size;
    index_get_size(x, &size);
    pthread_mutex_lock(&r->lock);
    old = r->index;
    r->index = x;
    r->followed = s.last;
    snprintf(r->model, sizeof r->model, "%s", name);
    r->model_id = model;
    r->state.loading = false;
    pthread_mutex_unlock(&r->lock);
    index_free(old); /* searches hold what they use of it */
    log_event(LOG_INFO, "index.built", LF_INT("documents", size.documents),
              LF_INT("chunks", size.chunks), LF_INT("vectors", size.vectors),
              LF_INT("bytes", size.bytes), LF_INT("ms", (clock_mono_ns() - begin) / 1000000));
    return ERR_OK;
}

struct following {
    struct retrieval *r;
    struct arena *arena;
    struct index_change *list;
    size_t n;
    int64_t first, last;
};

static enum err changes_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct following *f = arg;
    (void)ei;
    enum err e = index_change_last(tx, &f->first, &f->last);
    return e ? e : index_change_list(tx, f->r->followed, CHANGES, f->arena, &f->list, &f->n);
}

/* One at a time: the indexing thread, or a search that met what is gone. */
static pthread_mutex_t following = PTHREAD_MUTEX_INITIALIZER;

static enum err follow_some(struct retrieval *r, size_t *ret_n) {
    struct following f = {.r = r, .arena = arena_new((size_t)1 << 20)};
    if (!f.arena)
        return ERR_NOMEM;
    enum err e = store_read_wait(r->o.store, changes_fn, &f, NULL);
    bool lost = !e && f.first > r->followed + 1 && f.n > 0;
    for (size_t i = 0; !e && !lost && i < f.n; i++) {
        bool later = false; /* the newest state is read: the last change of a document will do */
        for (size_t k = i + 1; !later && k < f.n; k++)
            later = uuid_eq(&f.list[i].doc_id, &f.list[k].doc_id);
        if (!later)
            e = sync_doc(r, r->index, r->model_id, &f.list[i].doc_id);
        if (!e)
            r->followed = f.list[i].seq;
    }
    if (lost)
        e = build(r, r->model_id, r->model, index_dimensions(r->index));
    *ret_n = f.n;
    arena_free(f.arena);
    return e;
}

enum err indexer_follow(struct retrieval *r, bool patient) {
    size_t n = CHANGES;
    enum err e = ERR_OK;
    if (patient)
        pthread_mutex_lock(&following);
    else if (pthread_mutex_trylock(&following))
        return ERR_OVERLOADED;
    while (!e && n == CHANGES && !is_loading(r))
        e = follow_some(r, &n);
    pthread_mutex_unlock(&following);
    return e;
}

/* ---- vectors ---- */

struct vector_write {
    int64_t model;
    int dims;
    const float *vectors;
    const struct chunk_row **rows;
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
    pthread_mutex_lock(&following); /* the first model: what comes finds its place */
    e = build(r, m.id, r->target, dims);
    pthread_mutex_unlock(&following);
    return e;
}

/* What is embedded of a stored chunk: as chunk_embed_text() makes it. */
static void stored_embed_text(struct buf *b, struct str title, const struct chunk_row *c) {
    struct doc_text doc = {.title = title};
    struct chunk k = {.text = c->text, .heading_path = c->heading, .lead = c->lead};
    chunk_embed_text(b, &doc, &k);
}

/* Embeds and keeps up to BATCH texts. */
static enum err embed_rows(struct retrieval *r, const struct str *texts,
                           const struct chunk_row **rows, size_t n, struct errinfo *ei) {
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

/* ---- one document ---- */

struct job {
    struct arena *arena;
    struct document_work work;
    struct doc_text text;
    struct chunk *chunks;
    size_t n;
    struct chunk_row *rows;
    struct str *texts; /* that are embedded */
    int64_t model;     /* to look for vectors in */
    bool *has;
    char reason[512];
    int64_t retry_at;
};

static enum err next_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct job *j = arg;
    (void)ei;
    return document_next(tx, clock_wall_ms(), j->arena, &j->work);
}

static enum err has_vectors(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct job *j = arg;
    struct str v;
    enum err e = ERR_OK;
    (void)ei;
    for (size_t i = 0; !e && i < j->n; i++) {
        e = chunk_vector_get(tx, j->model, j->rows[i].hash, j->arena, &v);
        j->has[i] = !e;
        e = e == ERR_NOT_FOUND ? ERR_OK : e;
    }
    return e;
}

static enum err commit_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct job *j = arg;
    struct document d = j->work.d;
    d.content = j->text.text;
    if (j->text.title.n)
        d.title = j->text.title;
    d.media_type = j->work.media_type;
    return document_commit(tx, &d, j->work.hash, j->rows, j->n, ei);
}

static enum err fail_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct job *j = arg;
    (void)ei;
    return document_fail(tx, &j->work.d.doc_id, j->work.hash, str_from(j->reason), j->retry_at);
}

static enum err plain_text(struct str bytes, struct arena *a, struct doc_text *ret,
                           struct errinfo *ei) {
    if (!utf8_valid(bytes) || (bytes.n && memchr(bytes.p, 0, bytes.n)))
        return err_set(ei, ERR_INVALID, "this is no text; its format cannot be read here");
    struct str copy = arena_str(a, bytes);
    if (!copy.p)
        return ERR_NOMEM;
    *ret = (struct doc_text){.text = copy};
    return ERR_OK;
}

static enum err extract(struct retrieval *r, struct job *j, struct errinfo *ei) {
    struct document_work *w = &j->work;
    const struct chunk_options options = {.max_tokens = 0};
    struct str bytes = w->has_bytes ? w->bytes : w->d.content;
    enum err e = r->o.extract ? r->o.extract(r->o.extract_ctx, bytes, w->media_type,
                                             w->d.source_name, j->arena, &j->text, ei)
                              : plain_text(bytes, j->arena, &j->text, ei);
    if (!e)
        e = chunk_document(&j->text, &options, j->arena, &j->chunks, &j->n);
    if (e)
        return e;
    if (j->n == 0)
        return err_set(ei, ERR_INVALID, "there is no text in this document");
    return ERR_OK;
}

static enum err make_rows(struct job *j) {
    j->rows = arena_array(j->arena, j->n, sizeof *j->rows);
    j->texts = arena_array(j->arena, j->n, sizeof *j->texts);
    j->has = arena_array(j->arena, j->n, sizeof *j->has);
    if (!j->rows || !j->texts || !j->has)
        return ERR_NOMEM;
    struct buf b;
    buf_init(&b, (size_t)16 << 20);
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < j->n; i++) {
        const struct chunk *c = &j->chunks[i];
        char hex[SHA256_HEX_LEN + 1];
        buf_clear(&b);
        chunk_embed_text(&b, &j->text, c);
        if ((e = buf_err(&b)))
            break;
        j->texts[i] = arena_str(j->arena, buf_str(&b));
        e = j->texts[i].p ? ERR_OK : ERR_NOMEM;
        j->rows[i] = (struct chunk_row){.n = (int)i,
                                        .byte_from = (int64_t)c->from,
                                        .byte_to = (int64_t)c->to,
                                        .char_from = (int64_t)c->char_from,
                                        .char_to = (int64_t)c->char_to,
                                        .page_from = c->page_from,
                                        .page_to = c->page_to,
                                        .flags = (c->is_table ? CHUNK_FLAG_TABLE : 0) |
                                                 (c->is_code ? CHUNK_FLAG_CODE : 0),
                                        .heading = c->heading_path,
                                        .lead = c->lead,
                                        .text = c->text};
        sha256_hex(buf_str(&b), hex);
        for (int k = 0; k < CHUNK_HASH_LEN; k++) {
            unsigned byte = 0;
            sscanf(hex + 2 * k, "%2x", &byte);
            j->rows[i].hash[k] = (unsigned char)byte;
        }
    }
    buf_deinit(&b);
    return e;
}

/* The vectors that are missing. Without an embedding model the document is indexed by its words;
 * its vectors come when there is a model. */
static enum err make_vectors(struct retrieval *r, struct job *j, struct errinfo *ei) {
    const struct chunk_row *rows[BATCH];
    struct str texts[BATCH];
    size_t n = 0, reused = 0;
    enum err e = ERR_OK;
    if (!r->target[0]) {
        r->check_missing = true;
        return ERR_OK;
    }
    j->model = r->target_id;
    if (j->model)
        e = store_read_wait(r->o.store, has_vectors, j, ei);
    for (size_t i = 0; !e && i <= j->n; i++) {
        if (i < j->n && !j->has[i]) {
            rows[n] = &j->rows[i];
            texts[n++] = j->texts[i];
        }
        reused += i < j->n && j->has[i];
        if (n == BATCH || (i == j->n && n)) {
            e = embed_rows(r, texts, rows, n, ei);
            n = 0;
        }
    }
    pthread_mutex_lock(&r->lock);
    r->state.reused += (int64_t)reused;
    pthread_mutex_unlock(&r->lock);
    if (e == ERR_NO_MODEL) {
        r->check_missing = true;
        e = ERR_OK;
    }
    return e;
}

static bool is_passing(enum err e) {
    return e == ERR_TIMEOUT || e == ERR_NOMEM || e == ERR_OVERLOADED || e == ERR_IO ||
           e == ERR_UNAVAILABLE || e == ERR_UPSTREAM || e == ERR_LOADING || e == ERR_RATE ||
           e == ERR_STORE_BUSY || e == ERR_DISK_FULL;
}

static void refuse(struct retrieval *r, struct job *j, enum err e, const struct errinfo *ei) {
    bool again = is_passing(e) && j->work.attempts < RETRIES;
    bool has = ei->code == e && ei->message[0];
    snprintf(j->reason, sizeof j->reason, "%s", has ? ei->message : err_text(e));
    j->retry_at = again ? clock_wall_ms() + ((int64_t)RETRY_MS << j->work.attempts) : 0;
    log_event(again ? LOG_INFO : LOG_WARN, "document.failed", LF_ID("doc_id", &j->work.d.doc_id),
              LF_Z("code", err_name(e)), LF_INT("attempt", j->work.attempts + 1),
              LF_INT("again", again));
    if (store_write_wait(r->o.store, fail_fn, j, NULL))
        log_event(LOG_WARN, "document.failure_not_stored", LF_ID("doc_id", &j->work.d.doc_id));
    if (again)
        return;
    metric_add(M_DOCUMENTS_FAILED, 1);
    pthread_mutex_lock(&r->lock);
    r->state.failed++;
    pthread_mutex_unlock(&r->lock);
}

/* What was committed is in the index once this has run. */
static enum err commit(struct retrieval *r, struct job *j, struct errinfo *ei) {
    enum err e = store_write_wait(r->o.store, commit_fn, j, ei);
    if (!e && indexer_follow(r, true))
        log_event(LOG_WARN, "index.behind"); /* it is tried again with the next look */
    return e;
}

/* A new document is found by its words at once; its vectors are filled in when no document waits
 * (fill_missing()): a model server that is slow, busy or gone holds up nothing else. */
static enum err index_new_document(struct retrieval *r, struct job *j, struct errinfo *ei) {
    enum err e = ERR_OK;
    size_t have = 0;
    j->model = r->target_id;
    if (j->model)
        e = store_read_wait(r->o.store, has_vectors, j, ei);
    if (!e)
        e = commit(r, j, ei);
    if (e)
        return e;
    for (size_t i = 0; i < j->n; i++)
        have += j->has[i];
    r->check_missing = r->check_missing || have < j->n;
    pthread_mutex_lock(&r->lock);
    r->state.reused += (int64_t)have;
    pthread_mutex_unlock(&r->lock);
    return ERR_OK;
}

static enum err index_new_version(struct retrieval *r, struct job *j, struct errinfo *ei) {
    enum err e = make_vectors(r, j, ei);
    return e ? e : commit(r, j, ei);
}

/* only_new: no new version, which would wait for vectors. False: nothing is due, or the store
 * cannot be read or written just now. */
static bool index_next(struct retrieval *r, bool only_new) {
    struct job j = {.arena = arena_new(WORK_CAP)};
    struct errinfo ei = {0};
    enum err e = j.arena ? store_read_wait(r->o.store, next_fn, &j, NULL) : ERR_NOMEM;
    if (e || (only_new && j.work.d.indexed_at)) {
        arena_free(j.arena);
        return false;
    }
    int64_t begin = clock_mono_ns();
    e = extract(r, &j, &ei);
    if (!e)
        e = make_rows(&j);
    if (!e)
        e = j.work.d.indexed_at ? index_new_version(r, &j, &ei) : index_new_document(r, &j, &ei);
    bool went = !e || (e != ERR_CANCELLED && e != ERR_DISK_FULL && e != ERR_STORE_BUSY);
    if (e && e != ERR_CANCELLED && e != ERR_NOT_FOUND)
        refuse(r, &j, e, &ei);
    if (!e) {
        metric_add(M_DOCUMENTS_INDEXED, 1);
        pthread_mutex_lock(&r->lock);
        r->state.indexed++;
        pthread_mutex_unlock(&r->lock);
        log_event(LOG_INFO, "document.indexed", LF_ID("doc_id", &j.work.d.doc_id),
                  LF_INT("chunks", j.n), LF_INT("ms", (clock_mono_ns() - begin) / 1000000));
    }
    arena_free(j.arena);
    return went;
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
    struct put p = {.doc_id = *id, .arena = m->arena};
    if (store_read_wait(r->o.store, read_doc, &p, NULL) || !p.found)
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
        pthread_mutex_lock(&following);
        e = sync_doc(r, r->index, r->model_id, &r->filling);
        pthread_mutex_unlock(&following);
    }
    r->filling = id ? *id : (struct uuid){0};
    return e;
}

/* All vectors are there: the index goes over to them. */
static enum err filled(struct retrieval *r) {
    enum err e = fill_document(r, NULL);
    r->check_missing = false; /* what comes later has higher numbers than missing_after */
    pthread_mutex_lock(&following);
    if (!e && r->target_id && r->target_id != r->model_id)
        e = build(r, r->target_id, r->target, r->target_dims);
    pthread_mutex_unlock(&following);
    if (!e && r->target_id)
        e = store_write_wait(r->o.store, forget_fn, &r->target_id, NULL);
    pthread_mutex_lock(&r->lock);
    r->state.rebuilding = false;
    pthread_mutex_unlock(&r->lock);
    return e;
}

/* One batch of what has no vector of the target yet. False: none is missing, or it cannot be made
 * now. */
static bool fill_missing(struct retrieval *r) {
    struct missing m = {
        .arena = arena_new(WORK_CAP), .model = r->target_id, .after = r->missing_after};
    const struct chunk_row *rows[BATCH];
    struct str texts[BATCH], title = STR_NULL;
    struct buf b;
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
        e = embed_rows(r, texts, rows, m.n, NULL);
    for (size_t i = 0; !e && i < m.n; i++)
        e = fill_document(r, &m.rows[i].doc_id);
    if (!e && m.n)
        r->missing_after = m.rows[m.n - 1].chunk_id;
    bool more = !e && m.n > 0;
    if (!e && m.n == 0)
        e = filled(r);
    arena_free(m.arena);
    return more && !e;
}

struct in_use {
    struct arena *arena;
    struct str name;
    int64_t id;
    int dims;
    bool found;
    const char *wanted;
};

static enum err in_use_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct in_use *u = arg;
    (void)ei;
    enum err e = embedding_model_in_use(tx, u->arena, &u->name, &u->id, &u->dims);
    u->found = !e;
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static enum err find_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct in_use *u = arg;
    (void)ei;
    enum err e = embedding_model_find(tx, str_from(u->wanted), &u->id, &u->dims);
    u->found = !e;
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* The model that the upstream has now: when it is another one, its vectors are to be made. */
static void look_at_model(struct retrieval *r) {
    int64_t now = clock_mono_ns();
    struct arena *a = arena_new(1 << 16);
    struct str name;
    if (a && now - r->model_looked_ns >= (r->target[0] ? MODEL_LOOK_NS : 0) &&
        upstream_embedding_model(r->o.upstream, a, &name) == ERR_OK && name.n < sizeof r->target) {
        r->model_looked_ns = now;
        if (!str_eqz(name, r->target)) {
            snprintf(r->target, sizeof r->target, "%.*s", STR_ARG(name));
            struct in_use u = {.wanted = r->target};
            if (store_read_wait(r->o.store, find_fn, &u, NULL))
                u.found = false;
            r->target_id = u.found ? u.id : 0;
            r->target_dims = u.found ? u.dims : 0;
            r->check_missing = true;
            r->missing_after = 0;
            pthread_mutex_lock(&r->lock);
            r->state.rebuilding = r->model[0] && strcmp(r->model, r->target) != 0;
            pthread_mutex_unlock(&r->lock);
        }
    }
    arena_free(a);
}

static void load(struct retrieval *r) {
    struct in_use u = {.arena = arena_new(1 << 16)};
    enum err e = u.arena ? store_read_wait(r->o.store, in_use_fn, &u, NULL) : ERR_NOMEM;
    char name[256] = "";
    if (u.found && u.name.n < sizeof name)
        snprintf(name, sizeof name, "%.*s", STR_ARG(u.name));
    pthread_mutex_lock(&following);
    if (!e)
        e = build(r, name[0] ? u.id : 0, name, name[0] ? u.dims : 0);
    pthread_mutex_unlock(&following);
    if (e && e != ERR_CANCELLED)
        log_event(LOG_ERROR, "index.not_built", LF_Z("code", err_name(e)));
    arena_free(u.arena);
}

/* ---- the thread ---- */

static enum err due_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct retrieval_state *s = arg;
    int64_t at;
    (void)ei;
    return document_next_due(tx, &at, &s->waiting);
}

static enum err purge_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)arg;
    (void)ei;
    return chunk_vector_purge(tx);
}

static void rest(struct retrieval *r) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += LOOK_MS / 1000;
    pthread_mutex_lock(&r->lock);
    if (!r->stop && !r->poked)
        pthread_cond_timedwait(&r->wake, &r->lock, &until);
    r->poked = false;
    pthread_mutex_unlock(&r->lock);
}

/* What is to be done once: true when there may be more. */
static bool work(struct retrieval *r) {
    struct retrieval_state s = {0};
    if (indexer_follow(r, true))
        return false;
    if (r->o.no_indexing)
        return false;
    look_at_model(r);
    bool more = index_next(r, false);
    if (!more && r->check_missing && r->target[0])
        more = fill_missing(r);
    if (store_read_wait(r->o.store, due_fn, &s, NULL) == ERR_OK) {
        pthread_mutex_lock(&r->lock);
        r->state.waiting = s.waiting;
        pthread_mutex_unlock(&r->lock);
    }
    if (more)
        return true;
    pthread_mutex_lock(&following);
    enum err e = index_compact(r->index);
    pthread_mutex_unlock(&following);
    if (e)
        log_event(LOG_WARN, "index.not_compacted", LF_Z("code", err_name(e)));
    int64_t now = clock_mono_ns();
    if (now - r->swept_ns >= SWEEP_NS &&
        store_write_wait(r->o.store, purge_fn, NULL, NULL) == ERR_OK)
        r->swept_ns = now;
    return false;
}

void *indexer_main(void *arg) {
    struct retrieval *r = arg;
    r->swept_ns = clock_mono_ns();
    while (!stopping(r)) {
        if (is_loading(r))
            load(r);
        if (is_loading(r) || !work(r))
            rest(r);
    }
    return NULL;
}
