/* From the store into the index: makes it anew from all documents, and follows the log of changes.
 * The index itself is never saved: after a kill at any moment it is made from what the store
 * holds. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "retrieval/indexer.h"

#define PAGE    64 /* documents read at once */
#define CHANGES 256

bool retrieval_day_read(struct str text, int64_t *ret) {
    struct tm tm = {0};
    int year, month, day, n = 0;
    char copy[11] = "";
    memcpy(copy, text.n ? text.p : "", text.n < 10 ? text.n : 10);
    if (sscanf(copy, "%4d-%2d-%2d%n", &year, &month, &day, &n) != 3 || n != 10)
        return false;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    tm.tm_mday = day;
    int64_t at = (int64_t)timegm(&tm) * 1000;
    if (tm.tm_mon != month - 1 || tm.tm_mday != day) /* timegm() makes another day of February 30 */
        return false;
    *ret = at;
    return true;
}

static int64_t date_of(const struct document *d, json_val *meta) {
    int64_t day;
    if (retrieval_day_read(json_get_str(meta, "date"), &day))
        return day;
    return d->updated_at ? d->updated_at : d->created_at;
}

enum err index_read_doc(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct index_read *p = arg;
    (void)ei;
    enum err e = document_indexed(tx, &p->doc_id, p->arena, &p->d);
    p->found = !e;
    if (!e)
        e = chunk_list(tx, &p->doc_id, p->model, p->arena, &p->rows, &p->n);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static enum err put_found(struct index *x, const struct index_read *p) {
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

enum err index_sync_doc(struct retrieval *r, struct index *x, int64_t model,
                        const struct uuid *id) {
    struct index_read p = {.doc_id = *id, .model = model, .arena = arena_new(WORK_CAP)};
    if (!p.arena)
        return ERR_NOMEM;
    enum err e = store_read_wait(r->o.store, index_read_doc, &p, NULL);
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

enum err index_build(struct retrieval *r, int64_t model, const char *name, int dims) {
    struct index *x, *old;
    struct scan s = {.n = PAGE};
    int64_t begin = clock_mono_ns();
    enum err e = store_read_wait(r->o.store, last_fn, &s, NULL);
    if (!e)
        e = index_new(&bm25_default, dims, &x);
    if (e)
        return e;
    while (!e && s.n == PAGE && !indexer_stopping(r)) {
        s.arena = arena_new(WORK_CAP);
        e = s.arena ? store_read_wait(r->o.store, scan_fn, &s, NULL) : ERR_NOMEM;
        for (size_t i = 0; !e && i < s.n && !indexer_stopping(r); i++)
            e = index_sync_doc(r, x, model, &s.docs[i].doc_id);
        if (!e && s.n)
            s.after = s.docs[s.n - 1].doc_id;
        arena_free(s.arena);
    }
    if (e || indexer_stopping(r)) {
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

pthread_mutex_t index_following = PTHREAD_MUTEX_INITIALIZER;

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
            e = index_sync_doc(r, r->index, r->model_id, &f.list[i].doc_id);
        if (!e)
            r->followed = f.list[i].seq;
    }
    if (lost)
        e = index_build(r, r->model_id, r->model, index_dimensions(r->index));
    *ret_n = f.n;
    arena_free(f.arena);
    return e;
}

enum err indexer_follow(struct retrieval *r, bool patient) {
    size_t n = CHANGES;
    enum err e = ERR_OK;
    if (patient)
        pthread_mutex_lock(&index_following);
    else if (pthread_mutex_trylock(&index_following))
        return ERR_OVERLOADED;
    while (!e && n == CHANGES && !indexer_loading(r))
        e = follow_some(r, &n);
    pthread_mutex_unlock(&index_following);
    return e;
}

struct in_use {
    struct arena *arena;
    struct str name;
    int64_t id;
    int dims;
    bool found;
};

static enum err in_use_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct in_use *u = arg;
    (void)ei;
    enum err e = embedding_model_in_use(tx, u->arena, &u->name, &u->id, &u->dims);
    u->found = !e;
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

void index_load(struct retrieval *r) {
    struct in_use u = {.arena = arena_new(1 << 16)};
    enum err e = u.arena ? store_read_wait(r->o.store, in_use_fn, &u, NULL) : ERR_NOMEM;
    char name[256] = "";
    if (u.found && u.name.n < sizeof name)
        snprintf(name, sizeof name, "%.*s", STR_ARG(u.name));
    pthread_mutex_lock(&index_following);
    if (!e)
        e = index_build(r, name[0] ? u.id : 0, name, name[0] ? u.dims : 0);
    pthread_mutex_unlock(&index_following);
    if (e && e != ERR_CANCELLED)
        log_event(LOG_ERROR, "index.not_built", LF_Z("code", err_name(e)));
    arena_free(u.arena);
}
