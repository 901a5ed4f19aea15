/* Requests that create something, by the key that their client gave: written in the transaction
 * that creates, so that a request is carried out once or not at all, however often it is sent. */
#include "store/store_internal.h"

#define PURGE_MOST 1000 /* a few milliseconds of the writer's */

enum err idempotency_find(struct store_tx *tx, const struct uuid *user_id, struct str key_hash,
                          struct arena *a, struct idempotency *ret) {
    struct query q;
    query_begin(&q, tx,
                "SELECT request_hash, created_at, status, message_id, reply FROM idempotency"
                " WHERE user_id = ? AND key_hash = ?");
    query_bind_id(&q, user_id);
    query_bind_str(&q, key_hash);
    struct idempotency got = {0};
    bool found = query_next(&q);
    if (found) {
        got.request_hash = query_str(&q, 0, a);
        got.created_at = query_int(&q, 1);
        got.status = (int)query_int(&q, 2);
        got.message_id = query_id(&q, 3);
        got.reply = query_str(&q, 4, a);
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    if (!found)
        return ERR_NOT_FOUND;
    got.user_id = *user_id;
    got.key_hash = key_hash;
    *ret = got;
    return ERR_OK;
}

enum err idempotency_put(struct store_tx *tx, const struct idempotency *i) {
    struct query q;
    query_begin(&q, tx,
                "INSERT OR IGNORE INTO idempotency (user_id, key_hash, request_hash, created_at,"
                " status, message_id, reply) VALUES (?, ?, ?, ?, ?, ?, ?)");
    query_bind_id(&q, &i->user_id);
    query_bind_str(&q, i->key_hash);
    query_bind_str(&q, i->request_hash);
    query_bind_int(&q, i->created_at);
    query_bind_int(&q, i->status);
    query_bind_id(&q, &i->message_id);
    query_bind_str(&q, i->reply);
    enum err e = query_run_one(&q);
    return e == ERR_NOT_FOUND ? ERR_CONFLICT : e;
}

enum err idempotency_purge(struct store_tx *tx, int64_t before, bool *ret_more) {
    struct query q;
    query_begin(&q, tx,
                "DELETE FROM idempotency WHERE (user_id, key_hash) IN (SELECT user_id, key_hash"
                " FROM idempotency WHERE created_at < ? ORDER BY created_at LIMIT ?)");
    query_bind_int(&q, before);
    query_bind_int(&q, PURGE_MOST);
    (void)query_next(&q);
    enum err e = query_end(&q);
    if (!e)
        *ret_more = sqlite3_changes(tx->conn->db) == PURGE_MOST;
    return e;
}

enum err idempotency_drop(struct store_tx *tx, const struct uuid *user_id, struct str key_hash) {
    struct query q;
    query_begin(&q, tx, "DELETE FROM idempotency WHERE user_id = ? AND key_hash = ?");
    query_bind_id(&q, user_id);
    query_bind_str(&q, key_hash);
    return query_run(&q);
}
