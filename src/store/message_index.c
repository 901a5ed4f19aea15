/* Messages in the search index. A message that is whole costs the index nothing when it is written:
 * messages_indexed.until says up to which seq the writer has been, and message_index() goes on from
 * there, many at a time. What it passes that is still being written goes into messages_waiting,
 * marked done when it is finished. So:
 *
 *   in messages_fts  ⇔  seq ≤ until and not in messages_waiting      (the view message_text)
 *
 * A trigger takes out what is deleted. messages has none for what is added or changed: SQLite would
 * copy each page that such a statement changes, lest its trigger fail. */
#include "store/store_internal.h"

#define UNTIL "(SELECT until FROM messages_indexed)"
#define ENTER                                                                                      \
    "INSERT INTO messages_fts (rowid, owner, content)"                                             \
    " SELECT m.seq, replace(m.user_id, '-', ''), m.content FROM "

/* A process of the version before does not mark what it finishes. */
enum err message_index_mark(struct store_tx *tx) {
    struct query q;
    query_begin(&q, tx,
                "UPDATE messages_waiting SET done = 1 WHERE done = 0 AND EXISTS (SELECT 1"
                " FROM messages m WHERE m.seq = messages_waiting.seq AND m.indexed = 1)");
    return query_run(&q);
}

static enum err enter_finished(struct store_tx *tx, int most, int *ret_n) {
    struct query q;
    query_begin(&q, tx,
                ENTER "(SELECT seq FROM messages_waiting WHERE done = 1 ORDER BY seq LIMIT ?) w"
                      " CROSS JOIN messages m ON m.seq = w.seq");
    query_bind_int(&q, most);
    enum err e = query_run(&q);
    if (e)
        return e;
    query_begin(&q, tx,
                "DELETE FROM messages_waiting WHERE seq IN"
                " (SELECT seq FROM messages_waiting WHERE done = 1 ORDER BY seq LIMIT ?)");
    query_bind_int(&q, most);
    e = query_run_one(&q);
    if (e && e != ERR_NOT_FOUND)
        return e;
    *ret_n = e ? 0 : sqlite3_changes(tx->conn->db);
    return ERR_OK;
}

static enum err run_between(struct store_tx *tx, const char *sql, int64_t after, int64_t to) {
    struct query q;
    query_begin(&q, tx, sql);
    query_bind_int(&q, after);
    query_bind_int(&q, to);
    return query_run(&q);
}

static enum err enter_new(struct store_tx *tx, int most, int *ret_n) {
    struct query q;
    int64_t after = 0, to = 0, n = 0;
    query_begin(&q, tx,
                "SELECT " UNTIL ", max(seq), count(*) FROM (SELECT seq FROM messages"
                " WHERE seq > " UNTIL " ORDER BY seq LIMIT ?)");
    query_bind_int(&q, most);
    if (query_next(&q)) {
        after = query_int(&q, 0);
        to = query_int(&q, 1);
        n = query_int(&q, 2);
    }
    enum err e = query_end(&q);
    if (e || !n)
        return e;
    e = run_between(tx, ENTER "messages m WHERE seq > ?1 AND seq <= ?2 AND indexed = 1", after, to);
    if (!e)
        e = run_between(tx,
                        "INSERT INTO messages_waiting (seq) SELECT seq FROM messages"
                        " WHERE seq > ?1 AND seq <= ?2 AND indexed = 0",
                        after, to);
    if (!e)
        e = run_between(tx, "UPDATE messages_indexed SET until = ?2 WHERE until = ?1", after, to);
    if (!e)
        *ret_n = (int)n;
    return e;
}

enum err message_index(struct store_tx *tx, int most, bool look, int *ret_n) {
    int finished = 0, added = 0;
    enum err e = look ? message_index_mark(tx) : ERR_OK;
    if (!e)
        e = enter_finished(tx, most, &finished);
    if (!e && finished < most)
        e = enter_new(tx, most - finished, &added);
    if (!e)
        *ret_n = finished + added;
    return e;
}

enum err message_index_finished(struct store_tx *tx, const struct uuid *id) {
    struct query q;
    query_begin(&q, tx,
                "UPDATE messages_waiting SET done = 1"
                " WHERE seq = (SELECT seq FROM messages WHERE message_id = ?)");
    query_bind_id(&q, id);
    return query_run(&q);
}

enum err message_index_take_out(struct store_tx *tx, const struct uuid *id) {
    struct query q;
    query_begin(&q, tx,
                "INSERT INTO messages_fts (messages_fts, rowid, owner, content)"
                " SELECT 'delete', seq, replace(user_id, '-', ''), content FROM messages"
                " WHERE message_id = ? AND seq <= " UNTIL
                " AND seq NOT IN (SELECT seq FROM messages_waiting)");
    query_bind_id(&q, id);
    enum err e = query_run(&q);
    if (e)
        return e;
    query_begin(&q, tx,
                "INSERT OR IGNORE INTO messages_waiting (seq) SELECT seq FROM messages"
                " WHERE message_id = ? AND seq <= " UNTIL);
    query_bind_id(&q, id);
    return query_run(&q);
}
