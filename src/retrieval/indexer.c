/* The indexing thread: makes the index from the store, follows its changes (follow.c), indexes
 * documents that wait, and makes the vectors that are missing (embedding.c).
 *
 *   new document: bytes ─→ text (extract) ─→ chunks ─→ commit: found by its words ─→ vectors
 *   new version:  bytes ─→ text ─→ chunks ─→ vectors ─→ commit; the one before serves until then
 *
 * Vectors are kept as they come, by the hash of their text. Killed before the commit, a version
 * still waits and finds the vectors that it had; killed after it, what is missing is filled in. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/metrics.h"
#include "retrieval/chunk.h"
#include "retrieval/indexer.h"
#include "store/safety.h"

#define LOOK_MS     1000 /* at what others have written into the store */
#define RETRY_MS    5000
#define RETRIES     6 /* each after twice the time */
#define SWEEP_NS    (3600 * 1000000000ll)
#define GIVE_WAY_MS 10                 /* between two looks at whether somebody waits still */
#define GIVE_WAY_NS (2 * 1000000000ll) /* of one piece of work; then it is done all the same */
#define REFUSED_MS  (24 * 3600000ll)   /* then the model is asked once more */

bool indexer_stopping(struct retrieval *r) {
    pthread_mutex_lock(&r->lock);
    bool stop = r->stop;
    pthread_mutex_unlock(&r->lock);
    return stop;
}

bool indexer_loading(struct retrieval *r) {
    pthread_mutex_lock(&r->lock);
    bool loading = r->state.loading;
    pthread_mutex_unlock(&r->lock);
    return loading;
}

void indexer_give_way(struct retrieval *r, int64_t *until_ns) {
    int64_t now = clock_mono_ns();
    *until_ns = *until_ns ? *until_ns : now + GIVE_WAY_NS;
    while (now < *until_ns && !indexer_stopping(r) && upstream_needs_cores(r->o.upstream)) {
        pthread_mutex_lock(&r->lock);
        if (!r->stop)
            (void)clock_cond_wait(&r->wake, &r->lock, GIVE_WAY_MS * 1000000ll);
        pthread_mutex_unlock(&r->lock);
        now = clock_mono_ns();
    }
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
    int64_t give_way_until_ns;
    bool orders; /* the guard found some to a model */
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
        if (e == ERR_NOT_FOUND)
            e = chunk_refused(tx, j->model, j->rows[i].hash);
        j->has[i] = !e;
        e = e == ERR_NOT_FOUND ? ERR_OK : e;
    }
    return e;
}

/* Administrators find it in the audit log, and on the document. */
static enum err note_orders(struct store_tx *tx, const struct document *d) {
    struct buf b;
    buf_init(&b, 1024);
    buf_addf(&b, "{\"doc_id\":\"%s\",\"user_id\":\"%s\"}", d->doc_id.s, d->user_id.s);
    enum err e =
        buf_err(&b) ? buf_err(&b) : audit_append(tx, STR("guard"), "document.orders", buf_str(&b));
    buf_deinit(&b);
    return e;
}

static enum err commit_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct job *j = arg;
    struct document d = j->work.d;
    d.content = j->text.text;
    if (j->text.title.n)
        d.title = j->text.title;
    d.media_type = j->work.media_type;
    enum err e = document_commit(tx, &d, j->work.hash, j->rows, j->n, ei);
    if (!e && j->orders)
        e = note_orders(tx, &d);
    return e ? e : document_note_refusals(tx, &d.doc_id, j->model);
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
            e = indexer_embed(r, texts, rows, n, ei);
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
           e == ERR_STORE_BUSY || e == ERR_DISK_FULL || e == ERR_READ_ONLY;
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

static void set_entering(struct retrieval *r, const struct job *j) {
    pthread_mutex_lock(&r->lock);
    r->entering = j ? j->work.d.doc_id : (struct uuid){0};
    r->entering_new = j && !j->work.d.indexed_at;
    pthread_mutex_unlock(&r->lock);
}

enum retrieval_entering retrieval_entering(struct retrieval *r, const struct uuid *doc_id) {
    pthread_mutex_lock(&r->lock);
    enum retrieval_entering is = !uuid_eq(&r->entering, doc_id) ? ENTERING_NOT
                                 : r->entering_new              ? ENTERING_NEW
                                                                : ENTERING_VERSION;
    pthread_mutex_unlock(&r->lock);
    return is;
}

/* What was committed is in the index once this has run; nobody is told before. */
static enum err commit(struct retrieval *r, struct job *j, struct errinfo *ei) {
    indexer_give_way(r, &j->give_way_until_ns);
    set_entering(r, j);
    enum err e = store_write_wait(r->o.store, commit_fn, j, ei);
    if (e || indexer_follow(r, true) == ERR_OK)
        set_entering(r, NULL);
    else
        log_event(LOG_WARN, "index.behind"); /* it is tried again with the next look */
    return e;
}

/* On its way in: what is found here need not be looked for before each prompt. */
static void judge(struct retrieval *r, struct job *j) {
    struct document d = j->work.d;
    if (j->text.title.n)
        d.title = j->text.title;
    d.safety = d.safety_stamp = STR("");
    j->orders = false;
    if (r->o.judge && r->o.judge(r->o.judge_ctx, &d, j->rows, j->n, j->arena, &j->orders)) {
        for (size_t i = 0; i < j->n; i++)
            j->rows[i].flags &= ~CHUNK_FLAG_GUARD;
        d.safety = d.safety_stamp = STR("");
        j->orders = false;
    }
    j->work.d.safety = d.safety;
    j->work.d.safety_stamp = d.safety_stamp;
    metric_add(M_GUARD_DOCUMENTS, d.safety.n > 0);
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

bool indexer_next(struct retrieval *r, bool only_new) {
    struct job j = {.arena = arena_new(WORK_CAP)};
    struct errinfo ei = {0};
    enum err e = j.arena ? store_read_wait(r->o.store, next_fn, &j, NULL) : ERR_NOMEM;
    if (e || (only_new && j.work.d.indexed_at)) {
        arena_free(j.arena);
        return false;
    }
    int64_t begin = clock_mono_ns();
    indexer_give_way(r, &j.give_way_until_ns);
    e = extract(r, &j, &ei);
    if (!e)
        e = make_rows(&j);
    indexer_give_way(r, &j.give_way_until_ns);
    if (!e)
        judge(r, &j);
    if (!e)
        e = j.work.d.indexed_at ? index_new_version(r, &j, &ei) : index_new_document(r, &j, &ei);
    bool went = !e || (e != ERR_CANCELLED && e != ERR_DISK_FULL && e != ERR_READ_ONLY &&
                       e != ERR_STORE_BUSY);
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

/* ---- the thread ---- */

static enum err due_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct retrieval_state *s = arg;
    int64_t at;
    (void)ei;
    return document_next_due(tx, &at, &s->waiting);
}

/* *arg: whether texts that were refused long ago are missing again. */
static enum err purge_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    bool *again = arg;
    (void)ei;
    enum err e = chunk_vector_purge(tx);
    if (!e)
        e = chunk_refusal_purge(tx, clock_wall_ms() - REFUSED_MS);
    *again = !e;
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static void sweep(struct retrieval *r) {
    bool again = false;
    int64_t now = clock_mono_ns();
    if (now - r->swept_ns < SWEEP_NS || store_write_wait(r->o.store, purge_fn, &again, NULL))
        return;
    r->swept_ns = now;
    if (again) {
        r->check_missing = true;
        r->missing_after = 0;
    }
}

static void rest(struct retrieval *r) {
    pthread_mutex_lock(&r->lock);
    if (!r->stop && !r->poked)
        (void)clock_cond_wait(&r->wake, &r->lock, LOOK_MS * 1000000ll);
    if (r->poked)
        r->fill_at_ns = 0; /* something is new: a try is worth it */
    r->poked = false;
    pthread_mutex_unlock(&r->lock);
}

/* What is to be done once: true when there may be more. */
static bool work(struct retrieval *r) {
    struct retrieval_state s = {0};
    if (indexer_follow(r, true))
        return false;
    set_entering(r, NULL);
    if (r->o.no_indexing)
        return false;
    indexer_look_at_model(r);
    bool more = indexer_next(r, false);
    if (!more && r->check_missing && r->target[0])
        more = indexer_fill_missing(r);
    if (store_read_wait(r->o.store, due_fn, &s, NULL) == ERR_OK) {
        pthread_mutex_lock(&r->lock);
        r->state.waiting = s.waiting;
        pthread_mutex_unlock(&r->lock);
    }
    if (more)
        return true;
    pthread_mutex_lock(&index_following);
    enum err e = index_compact(r->index);
    pthread_mutex_unlock(&index_following);
    if (e)
        log_event(LOG_WARN, "index.not_compacted", LF_Z("code", err_name(e)));
    sweep(r);
    return false;
}

void *indexer_main(void *arg) {
    struct retrieval *r = arg;
    r->swept_ns = clock_mono_ns();
    while (!indexer_stopping(r)) {
        if (indexer_loading(r))
            index_load(r);
        if (indexer_loading(r) || !work(r))
            rest(r);
    }
    return NULL;
}
