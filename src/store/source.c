/* Sources and what they brought. */
#include "store/source.h"

#include "store/store_internal.h"

#define COLUMNS                                                                                    \
    "source_id, user_id, name, kind, location, collection_id, shared, interval_minutes,"           \
    " allow_private, enabled, settings, created_at, next_at, last_at, last_error, last_new,"       \
    " last_seen, running"

static const char *const kind_names[SOURCE_KINDS] = {"folder", "url", "sitemap", "feed", "search"};

const char *source_kind_name(enum source_kind k) {
    return kind_names[k];
}

int source_kind_from_name(struct str s) {
    for (int i = 0; i < SOURCE_KINDS; i++)
        if (str_eqz(s, kind_names[i]))
            return i;
    return -1;
}

static void source_read(struct query *q, struct arena *a, struct source *ret) {
    int kind = source_kind_from_name(query_str(q, 3, a));
    *ret = (struct source){
        .source_id = query_id(q, 0),
        .user_id = query_id(q, 1),
        .name = query_str(q, 2, a),
        .kind = kind < 0 ? SOURCE_URL : (enum source_kind)kind,
        .location = query_str(q, 4, a),
        .collection_id = query_id(q, 5),
        .shared = query_int(q, 6) != 0,
        .interval_minutes = (int)query_int(q, 7),
        .allow_private = query_int(q, 8) != 0,
        .enabled = query_int(q, 9) != 0,
        .settings = query_str(q, 10, a),
        .created_at = query_int(q, 11),
        .next_at = query_int(q, 12),
        .last_at = query_int(q, 13),
        .last_error = query_str(q, 14, a),
        .last_new = query_int(q, 15),
        .last_seen = query_int(q, 16),
        .running = query_int(q, 17) != 0,
    };
}

static enum err count_of(struct store_tx *tx, const struct uuid *user_id, int64_t *ret) {
    struct query q;
    query_begin(&q, tx, "SELECT count(*) FROM sources WHERE user_id = ?");
    query_bind_id(&q, user_id);
    *ret = query_next(&q) ? query_int(&q, 0) : 0;
    return query_end(&q);
}

enum err source_create(struct store_tx *tx, const struct source *s, struct errinfo *ei) {
    int64_t n;
    enum err e = count_of(tx, &s->user_id, &n);
    if (e)
        return e;
    if (n >= SOURCES_PER_USER)
        return err_set(ei, ERR_CONFLICT, "nobody may have more than %d sources", SOURCES_PER_USER);
    struct query q;
    query_begin(&q, tx,
                "INSERT INTO sources (source_id, user_id, name, kind, location, collection_id,"
                " shared, interval_minutes, allow_private, enabled, settings, created_at, next_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    query_bind_id(&q, &s->source_id);
    query_bind_id(&q, &s->user_id);
    query_bind_str(&q, s->name);
    query_bind_str(&q, str_from(kind_names[s->kind]));
    query_bind_str(&q, s->location);
    query_bind_id(&q, &s->collection_id);
    query_bind_int(&q, s->shared);
    query_bind_int(&q, s->interval_minutes);
    query_bind_int(&q, s->allow_private);
    query_bind_int(&q, s->enabled);
    query_bind_str(&q, s->settings.n ? s->settings : STR("{}"));
    query_bind_int(&q, s->created_at);
    query_bind_int(&q, s->next_at);
    return query_run(&q);
}

static enum err read_one(struct query *q, struct arena *a, struct source *ret) {
    bool found = query_next(q);
    struct source s = {0};
    if (found)
        source_read(q, a, &s);
    enum err e = query_end_one(q, found);
    if (!e)
        *ret = s;
    return e;
}

enum err source_get(struct store_tx *tx, const struct uuid *user_id, const struct uuid *id,
                    struct arena *a, struct source *ret) {
    struct query q;
    query_begin(&q, tx,
                "SELECT " COLUMNS
                " FROM sources WHERE source_id = ?1 AND user_id = coalesce(?2, user_id)");
    query_bind_id(&q, id);
    query_bind_id(&q, user_id);
    return read_one(&q, a, ret);
}

static enum err read_all(struct query *q, struct arena *a, struct source **ret, size_t *ret_n) {
    struct rows rows = {0};
    while (query_next(q)) {
        struct source *s = rows_add(&rows, a, sizeof *s, q);
        if (s)
            source_read(q, a, s);
    }
    enum err e = query_end(q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

enum err source_list(struct store_tx *tx, const struct uuid *user_id, const struct page *p,
                     struct arena *a, struct source **ret, size_t *ret_n) {
    struct query q;
    enum err e = page_check(p);
    if (e)
        return e;
    query_begin(&q, tx,
                "SELECT " COLUMNS " FROM sources WHERE user_id = coalesce(?1, user_id)"
                " AND source_id < coalesce(?2, 'g') ORDER BY source_id DESC LIMIT ?3");
    query_bind_id(&q, user_id);
    query_bind_id(&q, &p->after);
    query_bind_int(&q, p->limit);
    return read_all(&q, a, ret, ret_n);
}

enum err source_update(struct store_tx *tx, const struct source *s) {
    struct query q;
    query_begin(&q, tx,
                "UPDATE sources SET name = ?, location = ?, collection_id = ?, shared = ?,"
                " interval_minutes = ?, allow_private = ?, enabled = ?, settings = ?, next_at = ?"
                " WHERE source_id = ?");
    query_bind_str(&q, s->name);
    query_bind_str(&q, s->location);
    query_bind_id(&q, &s->collection_id);
    query_bind_int(&q, s->shared);
    query_bind_int(&q, s->interval_minutes);
    query_bind_int(&q, s->allow_private);
    query_bind_int(&q, s->enabled);
    query_bind_str(&q, s->settings.n ? s->settings : STR("{}"));
    query_bind_int(&q, s->next_at);
    query_bind_id(&q, &s->source_id);
    return query_run_one(&q);
}

enum err source_delete(struct store_tx *tx, const struct uuid *id, bool with_documents) {
    struct query q;
    if (with_documents) {
        query_begin(&q, tx,
                    "DELETE FROM documents WHERE doc_id IN (SELECT doc_id FROM source_items"
                    " WHERE source_id = ? AND doc_id IS NOT NULL)");
        query_bind_id(&q, id);
        enum err e = query_run(&q);
        if (e)
            return e;
    }
    query_begin(&q, tx, "DELETE FROM sources WHERE source_id = ?");
    query_bind_id(&q, id);
    return query_run_one(&q);
}

/* ---- running ---- */

enum err source_next(struct store_tx *tx, int64_t now, struct arena *a, struct source *ret,
                     int64_t *ret_next_at) {
    struct query q;
    struct source s;
    query_begin(&q, tx,
                "SELECT " COLUMNS " FROM sources WHERE enabled = 1 AND next_at > 0"
                " ORDER BY next_at LIMIT 1");
    enum err e = read_one(&q, a, &s);
    *ret_next_at = e ? 0 : s.next_at;
    if (e)
        return e;
    if (s.next_at > now)
        return ERR_NOT_FOUND;
    *ret = s;
    return ERR_OK;
}

enum err source_set_running(struct store_tx *tx, const struct uuid *id, bool running) {
    struct query q;
    query_begin(&q, tx, "UPDATE sources SET running = ? WHERE source_id = ?");
    query_bind_int(&q, running);
    query_bind_id(&q, id);
    return query_run_one(&q);
}

enum err source_recover(struct store_tx *tx) {
    struct query q;
    query_begin(&q, tx, "UPDATE sources SET running = 0 WHERE running = 1");
    enum err e = query_run(&q);
    if (e)
        return e;
    query_begin(&q, tx, "UPDATE sources SET next_at = 1 WHERE kind = 'folder' AND enabled = 1");
    return query_run(&q);
}

enum err source_finish(struct store_tx *tx, const struct source *s) {
    struct query q;
    query_begin(&q, tx,
                "UPDATE sources SET running = 0, last_at = ?, last_error = ?, last_new = ?,"
                " last_seen = ?, next_at = ? WHERE source_id = ?");
    query_bind_int(&q, s->last_at);
    query_bind_str(&q, s->last_error);
    query_bind_int(&q, s->last_new);
    query_bind_int(&q, s->last_seen);
    query_bind_int(&q, s->next_at);
    query_bind_id(&q, &s->source_id);
    return query_run_one(&q);
}

enum err source_folders(struct store_tx *tx, struct arena *a, struct source **ret, size_t *ret_n) {
    struct query q;
    query_begin(&q, tx,
                "SELECT " COLUMNS " FROM sources WHERE kind = 'folder' AND enabled = 1"
                " ORDER BY source_id");
    return read_all(&q, a, ret, ret_n);
}

enum err source_searches(struct store_tx *tx, struct arena *a, struct source **ret, size_t *ret_n) {
    struct query q;
    query_begin(&q, tx,
                "SELECT " COLUMNS " FROM sources WHERE kind = 'search' AND enabled = 1"
                " ORDER BY source_id");
    return read_all(&q, a, ret, ret_n);
}

/* ---- items ---- */

enum err source_item_get(struct store_tx *tx, const struct uuid *source_id, struct str uri,
                         struct arena *a, struct source_item *ret) {
    struct query q;
    struct source_item i = {0};
    query_begin(&q, tx,
                "SELECT source_id, uri, doc_id, etag, last_modified, stamp, error, run"
                " FROM source_items WHERE source_id = ? AND uri = ?");
    query_bind_id(&q, source_id);
    query_bind_str(&q, uri);
    bool found = query_next(&q);
    if (found)
        i = (struct source_item){.source_id = query_id(&q, 0),
                                 .uri = query_str(&q, 1, a),
                                 .doc_id = query_id(&q, 2),
                                 .etag = query_str(&q, 3, a),
                                 .last_modified = query_str(&q, 4, a),
                                 .stamp = query_str(&q, 5, a),
                                 .error = query_str(&q, 6, a),
                                 .run = query_int(&q, 7)};
    enum err e = query_end_one(&q, found);
    if (!e)
        *ret = i;
    return e;
}

enum err source_item_put(struct store_tx *tx, const struct source_item *i) {
    struct query q;
    query_begin(&q, tx,
                "INSERT INTO source_items (source_id, uri, doc_id, etag, last_modified, stamp,"
                " error, run) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source_id, uri) DO"
                " UPDATE SET doc_id = coalesce(excluded.doc_id, doc_id), etag = excluded.etag,"
                " last_modified = excluded.last_modified, stamp = excluded.stamp,"
                " error = excluded.error, run = excluded.run");
    query_bind_id(&q, &i->source_id);
    query_bind_str(&q, i->uri);
    query_bind_id(&q, &i->doc_id);
    query_bind_str(&q, i->etag.p ? i->etag : STR(""));
    query_bind_str(&q, i->last_modified.p ? i->last_modified : STR(""));
    query_bind_str(&q, i->stamp.p ? i->stamp : STR(""));
    query_bind_str(&q, i->error.p ? i->error : STR(""));
    query_bind_int(&q, i->run);
    return query_run(&q);
}

enum err source_item_drop(struct store_tx *tx, const struct uuid *source_id, struct str uri) {
    struct query q;
    query_begin(&q, tx,
                "DELETE FROM documents WHERE doc_id = (SELECT doc_id FROM source_items"
                " WHERE source_id = ? AND uri = ?)");
    query_bind_id(&q, source_id);
    query_bind_str(&q, uri);
    enum err e = query_run(&q);
    if (e)
        return e;
    query_begin(&q, tx, "DELETE FROM source_items WHERE source_id = ? AND uri = ?");
    query_bind_id(&q, source_id);
    query_bind_str(&q, uri);
    return query_run(&q);
}

enum err source_item_sweep(struct store_tx *tx, const struct uuid *source_id, int64_t run,
                           int64_t *ret_n) {
    struct query q;
    query_begin(&q, tx, "SELECT count(*) FROM source_items WHERE source_id = ? AND run < ?");
    query_bind_id(&q, source_id);
    query_bind_int(&q, run);
    int64_t n = query_next(&q) ? query_int(&q, 0) : 0;
    enum err e = query_end(&q);
    if (e)
        return e;
    query_begin(&q, tx,
                "DELETE FROM documents WHERE doc_id IN (SELECT doc_id FROM source_items"
                " WHERE source_id = ? AND run < ? AND doc_id IS NOT NULL)");
    query_bind_id(&q, source_id);
    query_bind_int(&q, run);
    if ((e = query_run(&q)))
        return e;
    query_begin(&q, tx, "DELETE FROM source_items WHERE source_id = ? AND run < ?");
    query_bind_id(&q, source_id);
    query_bind_int(&q, run);
    if ((e = query_run(&q)))
        return e;
    *ret_n = n;
    return ERR_OK;
}
