/* Collections and what roles ask of retrieval. */
#include "store/chunk.h"
#include "store/store_internal.h"

static const char *const kind_names[] = {"private", "shared", "role"};

const char *collection_kind_name(enum collection_kind k) {
    return kind_names[k];
}

int collection_kind_from_name(struct str s) {
    for (int i = 0; i < 3; i++)
        if (str_eqz(s, kind_names[i]))
            return i;
    return -1;
}

enum err collection_create(struct store_tx *tx, const struct collection *c, struct errinfo *ei) {
    struct query q;
    if (!uuid_is_set(&c->collection_id) || !c->name.n ||
        (c->kind == COLLECTION_PRIVATE) != uuid_is_set(&c->user_id))
        return err_param(ei, ERR_INVALID, "name", "a collection needs a name");
    query_begin(&q, tx,
                "INSERT INTO collections (collection_id, name, kind, user_id, created_at)"
                " VALUES (?, ?, ?, ?, ?)");
    query_bind_id(&q, &c->collection_id);
    query_bind_str(&q, c->name);
    query_bind_str(&q, str_from(collection_kind_name(c->kind)));
    query_bind_id(&q, &c->user_id);
    query_bind_int(&q, c->created_at);
    return query_run(&q);
}

static void collection_read(struct query *q, struct arena *a, struct collection *ret) {
    int kind = collection_kind_from_name(query_str(q, 2, a));
    *ret = (struct collection){
        .collection_id = query_id(q, 0),
        .name = query_str(q, 1, a),
        .kind = kind < 0 ? COLLECTION_PRIVATE : (enum collection_kind)kind,
        .user_id = query_id(q, 3),
        .created_at = query_int(q, 4),
        .documents = query_int(q, 5),
    };
}

#define COLUMNS                                                                                    \
    "c.collection_id, c.name, c.kind, c.user_id, c.created_at,"                                    \
    " (SELECT count(*) FROM documents d WHERE d.collection_id = c.collection_id)"

enum err collection_get(struct store_tx *tx, const struct uuid *user_id, const struct uuid *id,
                        struct arena *a, struct collection *ret) {
    struct query q;
    struct collection c;
    query_begin(&q, tx,
                "SELECT " COLUMNS " FROM collections c WHERE c.collection_id = ?"
                " AND (c.user_id = ? OR c.kind <> 'private')");
    query_bind_id(&q, id);
    query_bind_id(&q, user_id);
    bool found = query_next(&q);
    if (found)
        collection_read(&q, a, &c);
    enum err e = query_end_one(&q, found);
    if (!e)
        *ret = c;
    return e;
}

enum err collection_list(struct store_tx *tx, const struct uuid *user_id, struct arena *a,
                         struct collection **ret, size_t *ret_n) {
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx,
                "SELECT " COLUMNS " FROM collections c"
                " WHERE c.user_id = ? OR c.kind <> 'private' ORDER BY c.kind, c.collection_id");
    query_bind_id(&q, user_id);
    while (query_next(&q)) {
        struct collection *c = rows_add(&rows, a, sizeof *c, &q);
        if (c)
            collection_read(&q, a, c);
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

enum err collection_delete(struct store_tx *tx, const struct uuid *id, struct errinfo *ei) {
    struct query q;
    query_begin(&q, tx,
                "DELETE FROM collections WHERE collection_id = ?1 AND collection_id <> ?2"
                " AND (user_id IS NULL OR user_id <> collection_id)");
    query_bind_id(&q, id);
    query_bind_str(&q, STR(COLLECTION_SHARED_ID));
    enum err e = query_run_one(&q);
    return e == ERR_NOT_FOUND
               ? err_set(ei, ERR_CONFLICT, "everybody's first collection and the shared one stay")
               : e;
}

/* ---- roles ---- */

static enum err bound_collections(struct store_tx *tx, const struct uuid *role_id, struct arena *a,
                                  struct role_retrieval *r) {
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx,
                "SELECT collection_id FROM role_collections WHERE role_id = ?"
                " ORDER BY collection_id");
    query_bind_id(&q, role_id);
    while (query_next(&q)) {
        struct uuid *id = rows_add(&rows, a, sizeof *id, &q);
        if (id)
            *id = query_id(&q, 0);
    }
    r->collections = rows.p;
    r->n = rows.n;
    return query_end(&q);
}

enum err role_retrieval_get(struct store_tx *tx, const struct uuid *role_id, struct arena *a,
                            struct role_retrieval *ret) {
    struct query q;
    struct role_retrieval r = {.enabled = true};
    query_begin(&q, tx, "SELECT enabled, grounded_only FROM role_retrieval WHERE role_id = ?");
    query_bind_id(&q, role_id);
    if (query_next(&q)) {
        r.enabled = query_int(&q, 0) != 0;
        r.grounded_only = query_int(&q, 1) != 0;
    }
    enum err e = query_end(&q);
    if (!e)
        e = bound_collections(tx, role_id, a, &r);
    if (!e)
        *ret = r;
    return e;
}

static enum err bind_collection(struct store_tx *tx, const struct uuid *role_id,
                                const struct uuid *id, struct errinfo *ei) {
    struct query q;
    query_begin(&q, tx,
                "INSERT INTO role_collections (role_id, collection_id)"
                " SELECT ?1, collection_id FROM collections WHERE collection_id = ?2"
                " AND kind <> 'private' ON CONFLICT DO NOTHING RETURNING 1");
    query_bind_id(&q, role_id);
    query_bind_id(&q, id);
    bool found = query_next(&q);
    enum err e = query_end(&q);
    if (e || found)
        return e;
    return err_param(ei, ERR_INVALID, "collections",
                     "a role is bound to collections that are there and not private");
}

enum err role_retrieval_set(struct store_tx *tx, const struct uuid *role_id,
                            const struct role_retrieval *r, struct errinfo *ei) {
    struct query q;
    if (r->n > COLLECTIONS_MAX / 2)
        return err_param(ei, ERR_INVALID, "collections", "a role has at most %d collections",
                         COLLECTIONS_MAX / 2);
    query_begin(&q, tx,
                "INSERT INTO role_retrieval (role_id, enabled, grounded_only) VALUES (?, ?, ?)"
                " ON CONFLICT (role_id) DO UPDATE SET enabled = excluded.enabled,"
                " grounded_only = excluded.grounded_only");
    query_bind_id(&q, role_id);
    query_bind_int(&q, r->enabled);
    query_bind_int(&q, r->grounded_only);
    enum err e = query_run(&q);
    if (e)
        return e;
    query_begin(&q, tx, "DELETE FROM role_collections WHERE role_id = ?");
    query_bind_id(&q, role_id);
    e = query_run(&q);
    for (size_t i = 0; !e && i < r->n; i++)
        e = bind_collection(tx, role_id, &r->collections[i], ei);
    return e;
}

enum err collection_scope(struct store_tx *tx, const struct uuid *user_id,
                          const struct uuid *role_id, struct uuid ret[COLLECTIONS_MAX],
                          size_t *ret_n) {
    struct query q;
    size_t n = 0;
    query_begin(&q, tx,
                "SELECT collection_id FROM collections WHERE user_id = ?1"
                " UNION ALL SELECT collection_id FROM collections WHERE kind = 'shared'"
                " UNION ALL SELECT r.collection_id FROM role_collections r"
                " JOIN collections c USING (collection_id)"
                " WHERE r.role_id = ?2 AND c.kind = 'role' LIMIT ?3");
    query_bind_id(&q, user_id);
    query_bind_id(&q, role_id);
    query_bind_int(&q, COLLECTIONS_MAX);
    while (query_next(&q))
        ret[n++] = query_id(&q, 0);
    enum err e = query_end(&q);
    if (!e)
        *ret_n = n;
    return e;
}

enum err document_usage(struct store_tx *tx, const struct uuid *user_id,
                        struct document_usage *ret) {
    struct query q;
    struct document_usage u = {0};
    query_begin(&q, tx,
                "SELECT count(*), coalesce(sum(d.chunk_count), 0),"
                " coalesce(sum(max(d.content_bytes, coalesce(length(u.bytes), 0))), 0)"
                " FROM documents d JOIN collections c USING (collection_id)"
                " LEFT JOIN document_uploads u USING (doc_id)"
                " WHERE d.user_id = ? AND c.kind = 'private'");
    query_bind_id(&q, user_id);
    if (query_next(&q))
        u = (struct document_usage){
            .documents = query_int(&q, 0), .chunks = query_int(&q, 1), .bytes = query_int(&q, 2)};
    enum err e = query_end(&q);
    if (!e)
        *ret = u;
    return e;
}

enum err document_check_quota(struct store_tx *tx, const struct uuid *user_id,
                              const struct document_quota *quota, struct errinfo *ei) {
    struct document_usage u;
    if (!quota->documents && !quota->bytes)
        return ERR_OK;
    enum err e = document_usage(tx, user_id, &u);
    if (e)
        return e;
    if (quota->documents && u.documents > quota->documents)
        return err_set(ei, ERR_QUOTA,
                       "each user may keep %lld documents here; delete some, or ask an "
                       "administrator (max_user_documents)",
                       (long long)quota->documents);
    if (quota->bytes && u.bytes > quota->bytes)
        return err_set(ei, ERR_QUOTA,
                       "this would make %lld bytes of documents, and each user may keep %lld here; "
                       "delete some, or ask an administrator (max_user_document_bytes)",
                       (long long)u.bytes, (long long)quota->bytes);
    return ERR_OK;
}
