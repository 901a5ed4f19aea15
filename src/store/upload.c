/* Versions of documents on their way into the index. */
#include "base/clock.h"
#include "store/chunk.h"
#include "store/store_internal.h"

static enum err find_existing(struct store_tx *tx, const struct document *d, struct uuid *ret_id,
                              struct str *ret_hash, struct arena *a) {
    struct query q;
    struct uuid id = {{0}};
    struct str hash = STR_NULL;
    query_begin(&q, tx,
                "SELECT doc_id, coalesce((SELECT u.hash FROM document_uploads u"
                "  WHERE u.doc_id = d.doc_id), CASE status WHEN 'indexed' THEN content_hash"
                "  ELSE '' END)"
                " FROM documents d WHERE doc_id = ?1 AND user_id = ?2"
                " UNION ALL SELECT doc_id, coalesce((SELECT u.hash FROM document_uploads u"
                "  WHERE u.doc_id = d.doc_id), CASE status WHEN 'indexed' THEN content_hash"
                "  ELSE '' END)"
                " FROM documents d WHERE ?3 <> '' AND uri = ?3 AND collection_id = coalesce(?4,"
                "  CASE ?5 WHEN 1 THEN ?6 ELSE ?2 END) LIMIT 1");
    query_bind_id(&q, &d->doc_id);
    query_bind_id(&q, &d->user_id);
    query_bind_str(&q, d->uri);
    query_bind_id(&q, &d->collection_id);
    query_bind_int(&q, d->shared);
    query_bind_str(&q, STR(COLLECTION_SHARED_ID));
    if (query_next(&q)) {
        id = query_id(&q, 0);
        hash = query_str(&q, 1, a);
    }
    enum err e = query_end(&q);
    *ret_id = id;
    *ret_hash = hash;
    return e;
}

static enum err doc_exists(struct store_tx *tx, const struct uuid *id, bool *ret) {
    struct query q;
    query_begin(&q, tx, "SELECT 1 FROM documents WHERE doc_id = ?");
    query_bind_id(&q, id);
    *ret = query_next(&q);
    return query_end(&q);
}

static enum err put_upload(struct store_tx *tx, const struct uuid *id, const struct document *d,
                           struct str bytes) {
    struct query q;
    query_begin(&q, tx,
                "INSERT INTO document_uploads (doc_id, hash, media_type, queued_at, bytes)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT (doc_id) DO UPDATE SET hash = excluded.hash,"
                " media_type = excluded.media_type, queued_at = excluded.queued_at, attempts = 0,"
                " not_before = 0, bytes = excluded.bytes");
    query_bind_id(&q, id);
    query_bind_str(&q, d->content_hash);
    query_bind_str(&q, d->media_type.n ? d->media_type : STR("application/octet-stream"));
    query_bind_int(&q, clock_wall_ms());
    query_bind_blob(&q, bytes);
    return query_run(&q);
}

static enum err create_empty(struct store_tx *tx, const struct document *d, struct errinfo *ei) {
    struct document fresh = *d;
    fresh.content = STR("");
    fresh.content_hash = STR("");
    fresh.indexed_at = 0;
    if (!fresh.created_at)
        fresh.created_at = clock_wall_ms();
    return document_create(tx, &fresh, ei);
}

enum err document_submit(struct store_tx *tx, const struct document *d, struct str bytes,
                         struct uuid *ret_id, bool *ret_unchanged, struct errinfo *ei) {
    struct arena *a = arena_new(1 << 16);
    struct uuid id;
    struct str hash;
    bool taken = false;
    if (!a)
        return ERR_NOMEM;
    enum err e = find_existing(tx, d, &id, &hash, a);
    bool known = !e && uuid_is_set(&id);
    bool same = known && d->content_hash.n && str_eq(hash, d->content_hash);
    arena_free(a);
    if (!e && !known && uuid_is_set(&d->doc_id))
        e = doc_exists(tx, &d->doc_id, &taken);
    if (!e && taken)
        return ERR_NOT_FOUND;
    struct document fresh = *d;
    if (!known && !uuid_is_set(&fresh.doc_id))
        fresh.doc_id = uuid_new();
    if (!e && !known)
        e = create_empty(tx, &fresh, ei);
    if (!e && !same)
        e = put_upload(tx, known ? &id : &fresh.doc_id, d, bytes);
    if (e)
        return e;
    *ret_id = known ? id : fresh.doc_id;
    *ret_unchanged = same;
    return ERR_OK;
}

/* ---- the queue ---- */

static enum err next_upload(struct store_tx *tx, int64_t now, struct arena *a,
                            struct document_work *w, bool *ret_found) {
    struct query q;
    query_begin(&q, tx,
                "SELECT " DOCUMENT_COLUMNS ", u.bytes, u.media_type, u.hash, u.attempts"
                " FROM document_uploads u JOIN documents d USING (doc_id)"
                " WHERE u.not_before <= ? ORDER BY u.not_before, u.queued_at LIMIT 1");
    query_bind_int(&q, now);
    if ((*ret_found = query_next(&q))) {
        document_read(&q, a, &w->d);
        w->has_bytes = true;
        w->bytes = query_blob(&q, DOCUMENT_COLUMNS_N, a);
        w->media_type = query_str(&q, DOCUMENT_COLUMNS_N + 1, a);
        w->hash = query_str(&q, DOCUMENT_COLUMNS_N + 2, a);
        w->attempts = (int)query_int(&q, DOCUMENT_COLUMNS_N + 3);
    }
    return query_end(&q);
}

/* Documents that were given as text, also by an older program. */
static enum err next_text(struct store_tx *tx, int64_t now, struct arena *a,
                          struct document_work *w, bool *ret_found) {
    struct query q;
    query_begin(&q, tx,
                "SELECT " DOCUMENT_COLUMNS ", d.content, d.attempts FROM documents d"
                " WHERE d.status = 'pending' AND d.not_before <= ?"
                " AND NOT EXISTS (SELECT 1 FROM document_uploads u WHERE u.doc_id = d.doc_id)"
                " ORDER BY d.not_before LIMIT 1");
    query_bind_int(&q, now);
    if ((*ret_found = query_next(&q))) {
        document_read(&q, a, &w->d);
        w->d.content = query_str(&q, DOCUMENT_COLUMNS_N, a);
        w->attempts = (int)query_int(&q, DOCUMENT_COLUMNS_N + 1);
        w->media_type = w->d.media_type;
        w->hash = w->d.content_hash;
    }
    return query_end(&q);
}

enum err document_next(struct store_tx *tx, int64_t now, struct arena *a,
                       struct document_work *ret) {
    struct document_work w = {.has_bytes = false};
    bool found;
    enum err e = next_text(tx, now, a, &w, &found);
    if (!e && !found)
        e = next_upload(tx, now, a, &w, &found);
    if (e || !found)
        return e ? e : ERR_NOT_FOUND;
    *ret = w;
    return ERR_OK;
}

enum err document_next_due(struct store_tx *tx, int64_t *ret_at, int64_t *ret_waiting) {
    struct query q;
    int64_t at = 0, n = 0;
    query_begin(&q, tx,
                "SELECT min(t), count(*) FROM (SELECT max(not_before, 1) AS t FROM document_uploads"
                " UNION ALL SELECT max(d.not_before, 1) FROM documents d WHERE status = 'pending'"
                "  AND NOT EXISTS (SELECT 1 FROM document_uploads u WHERE u.doc_id = d.doc_id))");
    if (query_next(&q)) {
        at = query_int(&q, 0);
        n = query_int(&q, 1);
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret_at = at;
    *ret_waiting = n;
    return ERR_OK;
}

static enum err drop_upload(struct store_tx *tx, const struct uuid *id, struct str hash) {
    struct query q;
    query_begin(&q, tx, "DELETE FROM document_uploads WHERE doc_id = ? AND hash = ?");
    query_bind_id(&q, id);
    query_bind_str(&q, hash);
    return query_run(&q);
}

enum err document_fail(struct store_tx *tx, const struct uuid *id, struct str hash,
                       struct str error, int64_t retry_at) {
    struct query q;
    query_begin(&q, tx,
                "UPDATE documents SET error = ?2, attempts = attempts + 1, not_before = ?3,"
                " status = CASE WHEN status = 'pending' AND ?3 = 0 THEN 'failed' ELSE status END"
                " WHERE doc_id = ?1");
    query_bind_id(&q, id);
    query_bind_str(&q, error);
    query_bind_int(&q, retry_at);
    enum err e = query_run(&q);
    if (e || !retry_at)
        return e ? e : drop_upload(tx, id, hash);
    query_begin(&q, tx,
                "UPDATE document_uploads SET attempts = attempts + 1, not_before = ?3"
                " WHERE doc_id = ?1 AND hash = ?2");
    query_bind_id(&q, id);
    query_bind_str(&q, hash);
    query_bind_int(&q, retry_at);
    return query_run(&q);
}

/* ---- the commit ---- */

static enum err put_chunk(struct store_tx *tx, const struct uuid *doc_id,
                          const struct chunk_row *c) {
    struct query q;
    query_begin(&q, tx,
                "INSERT INTO chunks (doc_id, n, byte_from, byte_to, char_from, char_to, page_from,"
                " page_to, flags, hash, heading, lead, text)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    query_bind_id(&q, doc_id);
    query_bind_int(&q, c->n);
    query_bind_int(&q, c->byte_from);
    query_bind_int(&q, c->byte_to);
    query_bind_int(&q, c->char_from);
    query_bind_int(&q, c->char_to);
    query_bind_int(&q, c->page_from);
    query_bind_int(&q, c->page_to);
    query_bind_int(&q, c->flags);
    query_bind_blob(&q, (struct str){(const char *)c->hash, CHUNK_HASH_LEN});
    query_bind_str(&q, c->heading);
    query_bind_str(&q, c->lead);
    query_bind_str(&q, c->text);
    return query_run(&q);
}

/* Old vectors of texts that stay go and come back with their chunks: the chunks that go are noted
 * before, and only what no new chunk has is dropped. */
static enum err replace_chunks(struct store_tx *tx, const struct uuid *doc_id,
                               const struct chunk_row *rows, size_t n) {
    struct query q;
    query_begin(&q, tx, "UPDATE chunks SET n = -1 - n WHERE doc_id = ?");
    query_bind_id(&q, doc_id);
    enum err e = query_run(&q);
    for (size_t i = 0; !e && i < n; i++)
        e = put_chunk(tx, doc_id, &rows[i]);
    if (e)
        return e;
    query_begin(&q, tx, "DELETE FROM chunks WHERE doc_id = ? AND n < 0");
    query_bind_id(&q, doc_id);
    return query_run(&q);
}

enum err document_commit(struct store_tx *tx, const struct document *d, struct str hash,
                         const struct chunk_row *rows, size_t n, struct errinfo *ei) {
    struct query q;
    int64_t now = clock_wall_ms();
    (void)ei;
    enum err e = replace_chunks(tx, &d->doc_id, rows, n);
    if (e)
        return e;
    query_begin(&q, tx,
                "UPDATE documents SET content = ?2, content_bytes = ?3, content_hash = ?4,"
                " title = ?5, media_type = ?6, metadata = ?7, source_name = ?8, chunk_count = ?9,"
                " status = 'indexed', error = '', attempts = 0, not_before = 0, indexed_at = ?10,"
                " updated_at = ?10, safety = ?11, safety_stamp = ?12 WHERE doc_id = ?1");
    query_bind_id(&q, &d->doc_id);
    query_bind_str(&q, d->content);
    query_bind_int(&q, (int64_t)d->content.n);
    query_bind_str(&q, hash);
    query_bind_str(&q, d->title);
    query_bind_str(&q, d->media_type);
    query_bind_str(&q, d->metadata.n ? d->metadata : STR("{}"));
    query_bind_str(&q, d->source_name);
    query_bind_int(&q, (int64_t)n);
    query_bind_int(&q, now);
    query_bind_str(&q, d->safety.n ? d->safety : STR(""));
    query_bind_str(&q, d->safety_stamp.n ? d->safety_stamp : STR(""));
    e = query_run_one(&q);
    return e ? e : drop_upload(tx, &d->doc_id, hash);
}
