/* The search box: any bytes become a query that FTS5 accepts and that finds only the asker's rows.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "store/store_internal.h"

static struct conn *conn;
static struct uuid asker;

static void set_up(void) {
    struct errinfo ei;
    bool ok =
        uuid_parse(STR("0190a000-0000-7000-8000-000000000001"), &asker) &&
        !conn_open(":memory:", CONN_PLAIN, 0, &conn, &ei) &&
        !conn_exec(conn, "CREATE VIRTUAL TABLE t USING fts5 (owner, content,"
                         " tokenize = 'unicode61 remove_diacritics 2');"
                         "INSERT INTO t (rowid, owner, content) VALUES"
                         " (1, '0190a00000007000800000000000001', 'theirs AND NEAR a b c owner'),"
                         " (2, '0190a000000070008000000000000001', 'mine AND NEAR a b c owner')");
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str typed = {(const char *)data, size}, query = STR_NULL;
    bool empty = false;
    if (!conn)
        set_up();
    struct arena *a = arena_new(1 << 20);
    enum err e = fts_query(conn, typed, &asker, "content", a, &query, &empty);
    bool text = utf8_valid(typed) && (!size || !memchr(data, 0, size));
    if (e != (text ? ERR_OK : ERR_INVALID))
        abort();
    if (!e && !empty) {
        struct store_tx tx = {.conn = conn};
        struct query q;
        query_begin(&q, &tx, "SELECT rowid FROM t WHERE t MATCH ?");
        query_bind_str(&q, query);
        while (query_next(&q))
            if (query_int(&q, 0) != 2)
                abort();
        if (query_end(&q))
            abort();
    }
    arena_free(a);
    return 0;
}
