/* Sessions and API keys: what proves who is asking. Only hashes of the secrets are here. */
#include "store/store_internal.h"

#include "base/clock.h"

#define MINUTE_MS 60000

enum err session_create(struct store_tx *tx, struct str token_hash, const struct uuid *user_id,
                        int64_t expires_at) {
    struct query q;
    query_begin(
        &q, tx,
        "INSERT INTO sessions (token_hash, user_id, created_at, expires_at) VALUES (?, ?, ?, ?)");
    query_bind_str(&q, token_hash);
    query_bind_id(&q, user_id);
    query_bind_int(&q, clock_wall_ms());
    query_bind_int(&q, expires_at);
    return query_run(&q);
}

enum err session_find(struct store_tx *tx, struct str token_hash, struct arena *a,
                      struct user *ret) {
    struct query q;
    struct user u = {0};
    query_begin(&q, tx,
                "SELECT " USER_COLUMNS " FROM sessions s JOIN users u USING (user_id)"
                " WHERE s.token_hash = ? AND s.expires_at > ? AND u.disabled = 0");
    query_bind_str(&q, token_hash);
    query_bind_int(&q, clock_wall_ms());
    bool found = query_next(&q);
    if (found)
        user_read(&q, 0, a, &u);
    enum err e = query_end_one(&q, found);
    if (!e)
        *ret = u;
    return e;
}

enum err session_delete(struct store_tx *tx, struct str token_hash) {
    struct query q;
    query_begin(&q, tx, "DELETE FROM sessions WHERE token_hash = ?");
    tx->conn->accounts_changed = true;
    query_bind_str(&q, token_hash);
    return query_run(&q);
}

enum err session_delete_all(struct store_tx *tx, const struct uuid *user_id,
                            struct str except_hash) {
    struct query q;
    query_begin(&q, tx, "DELETE FROM sessions WHERE user_id = ? AND token_hash <> ?");
    tx->conn->accounts_changed = true;
    query_bind_id(&q, user_id);
    query_bind_str(&q, except_hash);
    return query_run(&q);
}

enum err session_purge(struct store_tx *tx) {
    struct query q;
    query_begin(&q, tx, "DELETE FROM sessions WHERE expires_at <= ?");
    query_bind_int(&q, clock_wall_ms());
    return query_run(&q);
}

enum err api_key_create(struct store_tx *tx, const struct api_key *k) {
    struct query q;
    query_begin(&q, tx,
                "INSERT INTO api_keys (key_id, user_id, name, prefix, hash, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?)");
    query_bind_id(&q, &k->key_id);
    query_bind_id(&q, &k->user_id);
    query_bind_str(&q, k->name);
    query_bind_str(&q, k->prefix);
    query_bind_str(&q, k->hash);
    query_bind_int(&q, k->created_at);
    return query_run(&q);
}

enum err api_key_find(struct store_tx *tx, struct str hash, struct arena *a, struct user *ret_user,
                      struct uuid *ret_key) {
    struct query q;
    struct user u = {0};
    struct uuid key = {{0}};
    query_begin(&q, tx,
                "SELECT " USER_COLUMNS ", k.key_id FROM api_keys k JOIN users u USING (user_id)"
                " WHERE k.hash = ? AND k.revoked_at = 0 AND u.disabled = 0");
    query_bind_str(&q, hash);
    bool found = query_next(&q);
    if (found) {
        user_read(&q, 0, a, &u);
        key = query_id(&q, USER_COLUMNS_N);
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    if (!found)
        return ERR_NOT_FOUND;
    *ret_user = u;
    *ret_key = key;
    return ERR_OK;
}

enum err api_key_list(struct store_tx *tx, const struct uuid *user_id, struct arena *a,
                      struct api_key **ret, size_t *ret_n) {
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx,
                "SELECT key_id, user_id, name, prefix, hash, created_at, last_used_at, revoked_at"
                " FROM api_keys WHERE user_id = ? ORDER BY key_id DESC");
    query_bind_id(&q, user_id);
    while (query_next(&q)) {
        struct api_key *k = rows_add(&rows, a, sizeof *k, &q);
        if (k)
            *k = (struct api_key){
                .key_id = query_id(&q, 0),
                .user_id = query_id(&q, 1),
                .name = query_str(&q, 2, a),
                .prefix = query_str(&q, 3, a),
                .hash = query_str(&q, 4, a),
                .created_at = query_int(&q, 5),
                .last_used_at = query_int(&q, 6),
                .revoked_at = query_int(&q, 7),
            };
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

enum err api_key_revoke(struct store_tx *tx, const struct uuid *user_id,
                        const struct uuid *key_id) {
    tx->conn->accounts_changed = true;
    struct query q;
    query_begin(&q, tx,
                "UPDATE api_keys SET revoked_at = CASE revoked_at WHEN 0 THEN ? ELSE revoked_at END"
                " WHERE user_id = ? AND key_id = ?");
    query_bind_int(&q, clock_wall_ms());
    query_bind_id(&q, user_id);
    query_bind_id(&q, key_id);
    return query_run_one(&q);
}

enum err api_key_revoke_all(struct store_tx *tx, const struct uuid *user_id,
                            const struct uuid *except) {
    tx->conn->accounts_changed = true;
    struct query q;
    query_begin(&q, tx,
                "UPDATE api_keys SET revoked_at = ?"
                " WHERE user_id = ? AND key_id <> ? AND revoked_at = 0");
    query_bind_int(&q, clock_wall_ms());
    query_bind_id(&q, user_id);
    query_bind_str(&q, uuid_str(except));
    return query_run(&q);
}

/* Kept to the minute, so that a busy key is not a write for each request. */
enum err api_key_set_used(struct store_tx *tx, const struct uuid *key_id, int64_t at) {
    struct query q;
    query_begin(&q, tx,
                "UPDATE api_keys SET last_used_at = ?1 WHERE key_id = ?2 AND last_used_at < ?1");
    query_bind_int(&q, at - at % MINUTE_MS);
    query_bind_id(&q, key_id);
    return query_run(&q);
}
