/* Documents and settings. A document is seen by its owner and, when shared, by everybody. */
#include "store/chunk.h"
#include "store/store_internal.h"

static const char *const status_names[] = {"pending", "indexed", "failed"};

const char *document_status_name(enum document_status s) {
    return status_names[s];
}

static enum document_status status_from_name(struct str s) {
    return str_eqz(s, "indexed")  ? DOCUMENT_INDEXED
           : str_eqz(s, "failed") ? DOCUMENT_FAILED
                                  : DOCUMENT_PENDING;
}

void document_read(struct query *q, struct arena *a, struct document *ret) {
    *ret = (struct document){
        .doc_id = query_id(q, 0),
        .user_id = query_id(q, 1),
        .shared = query_int(q, 2) != 0,
        .source_name = query_str(q, 3, a),
        .content_bytes = (size_t)query_int(q, 4),
        .metadata = query_str(q, 5, a),
        .created_at = query_int(q, 6),
        .indexed_at = query_int(q, 7),
        .collection_id = query_id(q, 8),
        .status = status_from_name(query_str(q, 9, a)),
        .error = query_str(q, 10, a),
        .title = query_str(q, 11, a),
        .media_type = query_str(q, 12, a),
        .content_hash = query_str(q, 13, a),
        .uri = query_str(q, 14, a),
        .updated_at = query_int(q, 15),
        .chunk_count = (int)query_int(q, 16),
        .updating = query_int(q, 17) != 0,
        .safety = query_str(q, 18, a),
        .safety_stamp = query_str(q, 19, a),
    };
}

enum err document_create(struct store_tx *tx, const struct document *d, struct errinfo *ei) {
    if (!uuid_is_set(&d->doc_id) || !d->source_name.n)
        return err_param(ei, ERR_INVALID, "source_name", "a document needs a name");
    struct query q;
    query_begin(&q, tx,
                "INSERT INTO documents (doc_id, user_id, shared, source_name, content_bytes,"
                " metadata, created_at, indexed_at, content, collection_id, title, media_type,"
                " content_hash, uri, updated_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, coalesce(?, ''), ?, ?, ?, ?, ?)");
    query_bind_id(&q, &d->doc_id);
    query_bind_id(&q, &d->user_id);
    query_bind_int(&q, d->shared);
    query_bind_str(&q, d->source_name);
    query_bind_int(&q, (int64_t)d->content.n);
    query_bind_str(&q, d->metadata.n ? d->metadata : STR("{}"));
    query_bind_int(&q, d->created_at);
    query_bind_int(&q, d->indexed_at);
    query_bind_str(&q, d->content);
    query_bind_id(&q, &d->collection_id);
    query_bind_str(&q, d->title);
    query_bind_str(&q, d->media_type.n ? d->media_type : STR("text/plain"));
    query_bind_str(&q, d->content_hash);
    query_bind_str(&q, d->uri);
    query_bind_int(&q, d->created_at);
    return query_run(&q);
}

/* Ends q. */
static enum err one_with_content(struct query *q, struct arena *a, struct document *ret) {
    struct document d = {0};
    bool found = query_next(q);
    if (found) {
        document_read(q, a, &d);
        d.content = query_str(q, DOCUMENT_COLUMNS_N, a);
    }
    enum err e = query_end_one(q, found);
    if (!e)
        *ret = d;
    return e;
}

enum err document_get(struct store_tx *tx, const struct uuid *user_id, const struct uuid *id,
                      struct arena *a, struct document *ret) {
    struct query q;
    query_begin(&q, tx,
                "SELECT " DOCUMENT_COLUMNS
                ", content FROM documents d WHERE doc_id = ? AND (user_id = ? OR shared = 1)");
    query_bind_id(&q, id);
    query_bind_id(&q, user_id);
    return one_with_content(&q, a, ret);
}

enum err document_get_within(struct store_tx *tx, const struct uuid *collections, size_t n,
                             const struct uuid *id, struct arena *a, struct document *ret) {
    struct query q;
    struct document d;
    query_begin(&q, tx, "SELECT " DOCUMENT_COLUMNS ", content FROM documents d WHERE doc_id = ?");
    query_bind_id(&q, id);
    enum err e = one_with_content(&q, a, &d);
    for (size_t i = 0; !e && i < n; i++)
        if (uuid_eq(&collections[i], &d.collection_id)) {
            *ret = d;
            return ERR_OK;
        }
    return e ? e : ERR_NOT_FOUND;
}

enum err document_attach(struct store_tx *tx, const struct uuid *collections, size_t n,
                         const struct uuid *id, struct arena *a, struct str *ret_name,
                         struct errinfo *ei) {
    struct query q;
    struct document d = {0};
    bool within = false;
    query_begin(&q, tx, "SELECT " DOCUMENT_COLUMNS " FROM documents d WHERE doc_id = ?");
    query_bind_id(&q, id);
    if (query_next(&q))
        document_read(&q, a, &d);
    enum err e = query_end(&q);
    if (e)
        return e;
    for (size_t i = 0; i < n; i++)
        within = within || uuid_eq(&collections[i], &d.collection_id);
    if (!within)
        return err_param(ei, ERR_INVALID, "attachments", "there is no document %s", id->s);
    if (d.status == DOCUMENT_FAILED)
        return err_param(ei, ERR_INVALID, "attachments", "\"%.*s\" could not be read: %.*s",
                         STR_ARG(d.source_name), STR_ARG(d.error));
    if (d.status == DOCUMENT_PENDING)
        return err_param(ei, ERR_CONFLICT, "attachments",
                         "\"%.*s\" is still being read; ask again when its status is \"indexed\"",
                         STR_ARG(d.source_name));
    *ret_name = d.source_name;
    return ERR_OK;
}

/* Two ordered walks over two indexes, merged: other people's private documents are never read. */
enum err document_list(struct store_tx *tx, const struct uuid *user_id, const struct page *p,
                       struct arena *a, struct document **ret, size_t *ret_n) {
    enum err e = page_check(p);
    if (e)
        return e;
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx,
                "SELECT " DOCUMENT_COLUMNS
                " FROM documents d WHERE user_id = ?1 AND doc_id < coalesce(?2, 'g')"
                " UNION ALL SELECT " DOCUMENT_COLUMNS " FROM documents d"
                " WHERE shared = 1 AND user_id <> ?1 AND doc_id < coalesce(?2, 'g')"
                " ORDER BY doc_id DESC LIMIT ?3");
    query_bind_id(&q, user_id);
    query_bind_id(&q, &p->after);
    query_bind_int(&q, p->limit);
    while (query_next(&q)) {
        struct document *d = rows_add(&rows, a, sizeof *d, &q);
        if (d)
            document_read(&q, a, d);
    }
    if ((e = query_end(&q)))
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

enum err document_delete(struct store_tx *tx, const struct uuid *user_id, bool is_admin,
                         const struct uuid *id) {
    struct query q;
    query_begin(&q, tx,
                "DELETE FROM documents WHERE doc_id = ? AND (user_id = ? OR (shared = 1 AND ?))");
    query_bind_id(&q, id);
    query_bind_id(&q, user_id);
    query_bind_int(&q, is_admin);
    return query_run_one(&q);
}

/* ---- settings ---- */

enum err setting_get(struct store_tx *tx, const char *name, struct arena *a, struct str *ret) {
    struct query q;
    struct str value = STR_NULL;
    query_begin(&q, tx, "SELECT value FROM settings WHERE name = ?");
    query_bind_str(&q, str_from(name));
    bool found = query_next(&q);
    if (found)
        value = query_str(&q, 0, a);
    enum err e = query_end_one(&q, found);
    if (!e)
        *ret = value;
    return e;
}

enum err setting_set(struct store_tx *tx, const char *name, struct str value) {
    struct query q;
    if (!value.p) {
        query_begin(&q, tx, "DELETE FROM settings WHERE name = ?");
        query_bind_str(&q, str_from(name));
    } else {
        query_begin(&q, tx,
                    "INSERT INTO settings (name, value) VALUES (?, ?)"
                    " ON CONFLICT (name) DO UPDATE SET value = excluded.value");
        query_bind_str(&q, str_from(name));
        query_bind_str(&q, value);
    }
    return query_run(&q);
}
