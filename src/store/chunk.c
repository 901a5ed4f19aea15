/* Chunks, their vectors, and the log of changes. */
#include "store/chunk.h"
#include "base/clock.h"
#include "store/store_internal.h"

#define HASH(p) ((struct str){(const char *)(p), CHUNK_HASH_LEN})

/* ---- models and vectors ---- */

enum err embedding_model_find(struct store_tx *tx, struct str name, int64_t *ret,
                              int *ret_dimensions) {
    struct query q;
    int64_t id = 0;
    int dimensions = 0;
    query_begin(&q, tx, "SELECT model_id, dimensions FROM embedding_models WHERE name = ?");
    query_bind_str(&q, name);
    if (query_next(&q)) {
        id = query_int(&q, 0);
        dimensions = (int)query_int(&q, 1);
    }
    enum err e = query_end(&q);
    if (e || !id)
        return e ? e : ERR_NOT_FOUND;
    *ret = id;
    *ret_dimensions = dimensions;
    return ERR_OK;
}

/* A name that now means vectors of another size is a new model: its old vectors go. */
enum err embedding_model_id(struct store_tx *tx, struct str name, int dimensions, int64_t *ret) {
    struct query q;
    int64_t id = 0;
    int had = 0;
    enum err e = embedding_model_find(tx, name, &id, &had);
    if (!e && had == dimensions) {
        *ret = id;
        return ERR_OK;
    }
    if (e && e != ERR_NOT_FOUND)
        return e;
    if (!e) {
        query_begin(&q, tx, "DELETE FROM embedding_models WHERE model_id = ?");
        query_bind_int(&q, id);
        if ((e = query_run(&q)))
            return e;
    }
    query_begin(&q, tx,
                "INSERT INTO embedding_models (name, dimensions) VALUES (?, ?) RETURNING model_id");
    query_bind_str(&q, name);
    query_bind_int(&q, dimensions);
    if (query_next(&q))
        id = query_int(&q, 0);
    e = query_end(&q);
    if (!e)
        *ret = id;
    return e;
}

enum err embedding_model_in_use(struct store_tx *tx, struct arena *a, struct str *ret_name,
                                int64_t *ret_id, int *ret_dimensions) {
    struct query q;
    int64_t id = 0;
    int dimensions = 0;
    struct str name = STR_NULL;
    query_begin(&q, tx,
                "SELECT m.name, m.model_id, m.dimensions FROM embedding_models m ORDER BY"
                " (SELECT count(*) FROM chunk_vectors v WHERE v.model_id = m.model_id) DESC,"
                " m.model_id DESC LIMIT 1");
    if (query_next(&q)) {
        name = query_str(&q, 0, a);
        id = query_int(&q, 1);
        dimensions = (int)query_int(&q, 2);
    }
    enum err e = query_end(&q);
    if (e || !id)
        return e ? e : ERR_NOT_FOUND;
    *ret_name = name;
    *ret_id = id;
    *ret_dimensions = dimensions;
    return ERR_OK;
}

enum err embedding_model_forget_others(struct store_tx *tx, int64_t keep) {
    struct query q;
    query_begin(&q, tx, "DELETE FROM embedding_models WHERE model_id <> ?");
    query_bind_int(&q, keep);
    return query_run(&q);
}

enum err chunk_vector_get(struct store_tx *tx, int64_t model,
                          const unsigned char hash[CHUNK_HASH_LEN], struct arena *a,
                          struct str *ret) {
    struct query q;
    struct str v = STR_NULL;
    query_begin(&q, tx, "SELECT vector FROM chunk_vectors WHERE model_id = ? AND hash = ?");
    query_bind_int(&q, model);
    query_bind_blob(&q, HASH(hash));
    if (query_next(&q))
        v = query_blob(&q, 0, a);
    enum err e = query_end(&q);
    if (e || !v.p)
        return e ? e : ERR_NOT_FOUND;
    *ret = v;
    return ERR_OK;
}

enum err chunk_vector_put(struct store_tx *tx, int64_t model,
                          const unsigned char hash[CHUNK_HASH_LEN], struct str vector) {
    struct query q;
    query_begin(&q, tx,
                "INSERT INTO chunk_vectors (model_id, hash, vector) VALUES (?, ?, ?)"
                " ON CONFLICT (model_id, hash) DO UPDATE SET vector = excluded.vector");
    query_bind_int(&q, model);
    query_bind_blob(&q, HASH(hash));
    query_bind_blob(&q, vector);
    return query_run(&q);
}

enum err chunk_vector_purge(struct store_tx *tx) {
    struct query q;
    query_begin(&q, tx,
                "DELETE FROM chunk_vectors WHERE NOT EXISTS"
                " (SELECT 1 FROM chunks c WHERE c.hash = chunk_vectors.hash)");
    return query_run(&q);
}

/* ---- texts without a vector for good ---- */

enum err chunk_refuse(struct store_tx *tx, int64_t model, const unsigned char hash[CHUNK_HASH_LEN],
                      struct str reason) {
    struct query q;
    query_begin(&q, tx,
                "INSERT INTO chunk_refusals (model_id, hash, reason, at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (model_id, hash) DO UPDATE SET reason = excluded.reason,"
                " at = excluded.at");
    query_bind_int(&q, model);
    query_bind_blob(&q, HASH(hash));
    query_bind_str(&q, reason);
    query_bind_int(&q, clock_wall_ms());
    enum err e = query_run(&q);
    if (e)
        return e;
    query_begin(&q, tx,
                "UPDATE documents SET error = ?1 WHERE status = 'indexed' AND doc_id IN"
                " (SELECT doc_id FROM chunks WHERE hash = ?2)");
    query_bind_str(&q, reason);
    query_bind_blob(&q, HASH(hash));
    return query_run(&q);
}

enum err chunk_refused(struct store_tx *tx, int64_t model,
                       const unsigned char hash[CHUNK_HASH_LEN]) {
    struct query q;
    query_begin(&q, tx, "SELECT 1 FROM chunk_refusals WHERE model_id = ? AND hash = ?");
    query_bind_int(&q, model);
    query_bind_blob(&q, HASH(hash));
    return query_end_one(&q, query_next(&q));
}

enum err chunk_refusal_purge(struct store_tx *tx, int64_t before) {
    struct query q;
    query_begin(
        &q, tx,
        "UPDATE documents SET error = '' WHERE status = 'indexed' AND doc_id IN"
        " (SELECT c.doc_id FROM chunk_refusals f JOIN chunks c ON c.hash = f.hash"
        "  WHERE f.at < ?1) AND error IN (SELECT reason FROM chunk_refusals WHERE at < ?1)");
    query_bind_int(&q, before);
    enum err e = query_run(&q);
    if (e)
        return e;
    query_begin(&q, tx, "DELETE FROM chunk_refusals WHERE at < ?");
    query_bind_int(&q, before);
    return query_run_one(&q);
}

enum err document_note_refusals(struct store_tx *tx, const struct uuid *doc_id, int64_t model) {
    struct query q;
    query_begin(&q, tx,
                "UPDATE documents SET error = f.reason FROM chunks c, chunk_refusals f"
                " WHERE documents.doc_id = ?1 AND c.doc_id = ?1 AND f.model_id = ?2"
                " AND f.hash = c.hash");
    query_bind_id(&q, doc_id);
    query_bind_int(&q, model);
    return query_run(&q);
}

/* ---- chunks ---- */

#define CHUNK_COLUMNS                                                                              \
    "c.chunk_id, c.n, c.byte_from, c.byte_to, c.char_from, c.char_to, c.page_from, c.page_to,"     \
    " c.flags, c.hash, c.heading, c.lead, c.text, c.doc_id"
#define CHUNK_COLUMNS_N 14

static void chunk_read(struct query *q, struct arena *a, struct chunk_row *ret) {
    struct str hash = query_blob(q, 9, a);
    *ret = (struct chunk_row){
        .chunk_id = query_int(q, 0),
        .n = (int)query_int(q, 1),
        .byte_from = query_int(q, 2),
        .byte_to = query_int(q, 3),
        .char_from = query_int(q, 4),
        .char_to = query_int(q, 5),
        .page_from = (int)query_int(q, 6),
        .page_to = (int)query_int(q, 7),
        .flags = (int)query_int(q, 8),
        .heading = query_str(q, 10, a),
        .lead = query_str(q, 11, a),
        .text = query_str(q, 12, a),
        .doc_id = query_id(q, 13),
    };
    if (hash.n == CHUNK_HASH_LEN)
        memcpy(ret->hash, hash.p, CHUNK_HASH_LEN);
}

enum err chunk_without_vector(struct store_tx *tx, int64_t model, int64_t after, size_t max,
                              struct arena *a, struct chunk_row **ret, size_t *ret_n) {
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx,
                "SELECT " CHUNK_COLUMNS " FROM chunks c WHERE c.chunk_id > ?1 AND NOT EXISTS"
                " (SELECT 1 FROM chunk_vectors v WHERE v.model_id = ?2 AND v.hash = c.hash)"
                " AND NOT EXISTS"
                " (SELECT 1 FROM chunk_refusals f WHERE f.model_id = ?2 AND f.hash = c.hash)"
                " ORDER BY c.chunk_id LIMIT ?3");
    query_bind_int(&q, after);
    query_bind_int(&q, model);
    query_bind_int(&q, (int64_t)max);
    while (query_next(&q)) {
        struct chunk_row *c = rows_add(&rows, a, sizeof *c, &q);
        if (c)
            chunk_read(&q, a, c);
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

enum err chunk_list(struct store_tx *tx, const struct uuid *doc_id, int64_t model, struct arena *a,
                    struct chunk_row **ret, size_t *ret_n) {
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx,
                "SELECT " CHUNK_COLUMNS ", (SELECT v.vector FROM chunk_vectors v"
                " WHERE v.model_id = ?2 AND v.hash = c.hash)"
                " FROM chunks c WHERE c.doc_id = ?1 AND c.n >= 0 ORDER BY c.n");
    query_bind_id(&q, doc_id);
    query_bind_int(&q, model);
    while (query_next(&q)) {
        struct chunk_row *c = rows_add(&rows, a, sizeof *c, &q);
        if (!c)
            break;
        chunk_read(&q, a, c);
        c->vector = query_blob(&q, CHUNK_COLUMNS_N, a);
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

static bool among(const struct uuid *id, const struct uuid *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (uuid_eq(id, &list[i]))
            return true;
    return false;
}

#define HIT_COLUMNS                                                                                \
    CHUNK_COLUMNS ", d.collection_id, d.doc_id, d.source_name, d.title, d.uri, d.metadata,"        \
                  " d.updated_at, d.safety_stamp"

/* False: its document is in none of the collections. */
static bool hit_read(struct query *q, const struct uuid *collections, size_t n, struct arena *a,
                     struct chunk_hit *ret) {
    struct uuid collection = query_id(q, CHUNK_COLUMNS_N);
    if (!among(&collection, collections, n))
        return false;
    ret->collection_id = collection;
    chunk_read(q, a, &ret->c);
    ret->doc_id = query_id(q, CHUNK_COLUMNS_N + 1);
    ret->source_name = query_str(q, CHUNK_COLUMNS_N + 2, a);
    ret->title = query_str(q, CHUNK_COLUMNS_N + 3, a);
    ret->uri = query_str(q, CHUNK_COLUMNS_N + 4, a);
    ret->metadata = query_str(q, CHUNK_COLUMNS_N + 5, a);
    ret->updated_at = query_int(q, CHUNK_COLUMNS_N + 6);
    ret->safety_stamp = query_str(q, CHUNK_COLUMNS_N + 7, a);
    return true;
}

enum err chunk_get(struct store_tx *tx, int64_t chunk_id, const struct uuid *collections, size_t n,
                   struct arena *a, struct chunk_hit *ret) {
    struct query q;
    struct chunk_hit h = {.c = {.chunk_id = 0}};
    query_begin(&q, tx,
                "SELECT " HIT_COLUMNS
                " FROM chunks c JOIN documents d USING (doc_id) WHERE c.chunk_id = ?");
    query_bind_int(&q, chunk_id);
    bool found = query_next(&q) && hit_read(&q, collections, n, a, &h);
    enum err e = query_end_one(&q, found);
    if (!e)
        *ret = h;
    return e;
}

enum err chunk_begin(struct store_tx *tx, const struct uuid *doc_id, const struct uuid *collections,
                     size_t n, size_t max, struct arena *a, struct chunk_hit **ret, size_t *ret_n) {
    struct query q;
    struct chunk_hit *list = arena_array(a, max + 1, sizeof *list);
    size_t k = 0;
    if (!list)
        return ERR_NOMEM;
    query_begin(&q, tx,
                "SELECT " HIT_COLUMNS " FROM chunks c JOIN documents d USING (doc_id)"
                " WHERE c.doc_id = ? AND c.n >= 0 ORDER BY c.n LIMIT ?");
    query_bind_id(&q, doc_id);
    query_bind_int(&q, (int64_t)max);
    while (k < max && query_next(&q) && hit_read(&q, collections, n, a, &list[k]))
        k++;
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret = list;
    *ret_n = k;
    return ERR_OK;
}

/* ---- documents, as the index reads them ---- */

enum err document_scan(struct store_tx *tx, const struct uuid *after, int limit, struct arena *a,
                       struct document **ret, size_t *ret_n) {
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx,
                "SELECT " DOCUMENT_COLUMNS " FROM documents d"
                " WHERE d.status = 'indexed' AND d.doc_id > coalesce(?, '')"
                " ORDER BY d.doc_id LIMIT ?");
    query_bind_id(&q, after);
    query_bind_int(&q, limit);
    while (query_next(&q)) {
        struct document *d = rows_add(&rows, a, sizeof *d, &q);
        if (d)
            document_read(&q, a, d);
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

enum err document_indexed(struct store_tx *tx, const struct uuid *id, struct arena *a,
                          struct document *ret) {
    struct query q;
    struct document d;
    query_begin(&q, tx,
                "SELECT " DOCUMENT_COLUMNS
                " FROM documents d WHERE d.doc_id = ? AND d.status = 'indexed'");
    query_bind_id(&q, id);
    bool found = query_next(&q);
    if (found)
        document_read(&q, a, &d);
    enum err e = query_end_one(&q, found);
    if (!e)
        *ret = d;
    return e;
}

/* ---- the log of changes ---- */

enum err index_change_last(struct store_tx *tx, int64_t *ret_first, int64_t *ret_last) {
    struct query q;
    int64_t first = 0, last = 0;
    /* The sequence remembers numbers whose rows are gone. */
    query_begin(&q, tx,
                "SELECT coalesce((SELECT min(seq) FROM index_changes), 0),"
                " coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'index_changes'), 0)");
    if (query_next(&q)) {
        first = query_int(&q, 0);
        last = query_int(&q, 1);
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret_first = first;
    *ret_last = last;
    return ERR_OK;
}

enum err index_change_list(struct store_tx *tx, int64_t after, int limit, struct arena *a,
                           struct index_change **ret, size_t *ret_n) {
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx, "SELECT seq, doc_id FROM index_changes WHERE seq > ? ORDER BY seq LIMIT ?");
    query_bind_int(&q, after);
    query_bind_int(&q, limit);
    while (query_next(&q)) {
        struct index_change *c = rows_add(&rows, a, sizeof *c, &q);
        if (c) {
            c->seq = query_int(&q, 0);
            c->doc_id = query_id(&q, 1);
        }
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}
