/* store/db: what is expected of the SQLite that is built (scripts/sqlite-flags.sh), and of a
 * connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/store_internal.h"

static struct conn *conn_new(char folder[32], char path[64]) {
    struct conn *c = NULL;
    snprintf(folder, 32, "/tmp/parley-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, 64, "%s/a.db", folder);
    assert_int_equal(conn_open(path, CONN_WRITE, 50, &c, NULL), ERR_OK);
    return c;
}

static void conn_end(struct conn *c, const char *folder, const char *path) {
    conn_close(c);
    unlink(path);
    rmdir(folder);
}

static void library_isForThreadsWithConnectionsOfTheirOwn_overwritesWhatIsDeleted(void **state) {
    (void)state;
    char folder[32], path[64];
    struct conn *c = conn_new(folder, path);
    int64_t n = 0;
    assert_int_equal(sqlite3_threadsafe(), 2);
    assert_string_equal(sqlite3_libversion(), SQLITE_VERSION);
    assert_int_equal(conn_int(c, "PRAGMA secure_delete", &n), ERR_OK);
    assert_int_equal(n, 1);
    assert_int_equal(sqlite3_compileoption_used("OMIT_LOOKASIDE"), 0);
    assert_int_equal(sqlite3_compileoption_used("ENABLE_FTS5"), 1);
    conn_end(c, folder, path);
}

/* Statements live as long as their connection: one that is planned again each time costs a hundred
 * times what it does. */
static void statement_boundToOtherLimits_isPlannedOnce(void **state) {
    (void)state;
    char folder[32], path[64];
    struct conn *c = conn_new(folder, path);
    assert_int_equal(conn_exec(c, "CREATE TABLE t (n INTEGER) STRICT;"
                                  "INSERT INTO t VALUES (1), (2), (3)"),
                     ERR_OK);
    enum err e = ERR_OK;
    const struct conn_stmt *found = conn_prepare(c, "SELECT n FROM t ORDER BY n LIMIT ?", &e);
    assert_non_null(found);
    sqlite3_stmt *st = found->stmt;
    for (int i = 1; i <= 3; i++) {
        sqlite3_bind_int(st, 1, i);
        int rows = 0;
        while (sqlite3_step(st) == SQLITE_ROW)
            rows++;
        assert_int_equal(rows, i);
        sqlite3_reset(st);
    }
    assert_int_equal(sqlite3_stmt_status(st, SQLITE_STMTSTATUS_REPREPARE, 0), 0);
    conn_end(c, folder, path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(library_isForThreadsWithConnectionsOfTheirOwn_overwritesWhatIsDeleted),
        cmocka_unit_test(statement_boundToOtherLimits_isPlannedOnce),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
