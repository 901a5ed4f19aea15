/* Answers that were being written when their process died. A row of answer_progress is there only
 * for an answer that was taken up again: the usual answer costs no second row. */
#include "store/store_internal.h"

static enum err interrupt_rest(struct store_tx *tx, int64_t not_before, int max_generations,
                               int max, int64_t *ret_n) {
    struct query q;
    query_begin(&q, tx,
                "UPDATE messages SET status = 'interrupted', indexed = 1 WHERE status = 'streaming'"
                " AND message_id NOT IN (SELECT m.message_id FROM messages m"
                "  LEFT JOIN answer_progress p ON p.message_id = m.message_id"
                "  WHERE m.status = 'streaming' AND m.timestamp >= ?"
                "  AND coalesce(p.generation, 0) < ? ORDER BY m.seq LIMIT ?)");
    query_bind_int(&q, not_before);
    query_bind_int(&q, max_generations);
    query_bind_int(&q, max);
    enum err e = query_run(&q);
    if (!e)
        *ret_n = sqlite3_changes64(tx->conn->db);
    return !e && *ret_n > 0 ? message_index_mark(tx) : e;
}

enum err message_unfinished(struct store_tx *tx, int64_t not_before, int max_generations, int max,
                            struct arena *a, struct unfinished **ret, size_t *ret_n,
                            int64_t *ret_interrupted) {
    struct query q;
    struct rows rows = {0};
    enum err e = interrupt_rest(tx, not_before, max_generations, max, ret_interrupted);
    if (e)
        return e;
    query_begin(&q, tx,
                "SELECT m.message_id, m.user_id, m.content, m.timestamp,"
                " coalesce(p.generation, 0), coalesce(p.base_first, 0), coalesce(p.base_last, 0)"
                " FROM messages m LEFT JOIN answer_progress p ON p.message_id = m.message_id"
                " WHERE m.status = 'streaming' ORDER BY m.seq");
    while (query_next(&q)) {
        struct unfinished *u = rows_add(&rows, a, sizeof *u, &q);
        if (u)
            *u = (struct unfinished){
                .message_id = query_id(&q, 0),
                .user_id = query_id(&q, 1),
                .content = query_str(&q, 2, a),
                .timestamp = query_int(&q, 3),
                .generation = query_int(&q, 4),
                .base_first = (size_t)query_int(&q, 5),
                .base_last = (size_t)query_int(&q, 6),
            };
    }
    if ((e = query_end(&q)))
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

enum err message_resumed(struct store_tx *tx, const struct unfinished *u) {
    struct query q;
    query_begin(&q, tx,
                "INSERT INTO answer_progress (message_id, generation, base_first, base_last)"
                " VALUES (?1, ?2, ?3, ?4) ON CONFLICT (message_id)"
                " DO UPDATE SET generation = ?2, base_first = ?3, base_last = ?4");
    query_bind_id(&q, &u->message_id);
    query_bind_int(&q, u->generation);
    query_bind_int(&q, (int64_t)u->base_first);
    query_bind_int(&q, (int64_t)u->base_last);
    return query_run(&q);
}

enum err message_generation(struct store_tx *tx, struct unfinished *u) {
    struct query q;
    query_begin(&q, tx,
                "SELECT generation, base_first, base_last FROM answer_progress"
                " WHERE message_id = ?");
    query_bind_id(&q, &u->message_id);
    u->generation = 0;
    u->base_first = u->base_last = 0;
    if (query_next(&q)) {
        u->generation = query_int(&q, 0);
        u->base_first = (size_t)query_int(&q, 1);
        u->base_last = (size_t)query_int(&q, 2);
    }
    return query_end(&q);
}
