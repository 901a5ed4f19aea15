/* Opening: from nothing, again, from a newer program, from what is no database of ours. */
#include <sys/wait.h>

#include "unit/store/fixture.h"

static enum err open_path(struct fixture *f, const char *path) {
    struct store_options o = {.path = path, .busy_timeout_ms = 50};
    struct store *s = NULL;
    f->ei = (struct errinfo){0};
    enum err e = store_open(&o, &s, &f->ei);
    if (!e)
        store_close(s);
    else
        assert_true(f->ei.code == e && f->ei.message[0]);
    return e;
}

static void write_file(const char *path, const char *text, size_t n) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, n, file), n);
    fclose(file);
}

static void migrate_makes_the_tables_once(void **state) {
    struct fixture *f = *state;
    assert_ok(open_path(f, f->path));
    assert_ok(open_path(f, f->path));
    assert_ok(conn_open(f->path, CONN_PLAIN, 0, &f->conn, &f->ei));
    assert_int_equal(count(f->conn, "SELECT count(*) FROM schema_migrations"), migrate_count());
    assert_int_equal(count(f->conn, "SELECT max(version) FROM schema_migrations"),
                     migrate_newest());
    assert_int_equal(count(f->conn, "PRAGMA application_id"), PARLEY_APPLICATION_ID);
    static const char *const tables[] = {
        "users",         "sessions", "api_keys", "assistant_roles", "role_versions",
        "conversations", "messages", "feedback", "documents",       "settings"};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        char sql[100];
        snprintf(sql, sizeof sql, "SELECT count(*) FROM sqlite_master WHERE name = '%s'",
                 tables[i]);
        assert_int_equal(count(f->conn, sql), 1);
    }
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

/* The names that design.md promises. */
static void migrate_columns_carry_the_entities_names(void **state) {
    struct fixture *f = *state;
    static const char *const selects[] = {
        "SELECT user_id, username, email, created_at, last_login_at, preferences FROM users",
        "SELECT conversation_id, user_id, created_at, last_updated_at, assistant_role_id, status"
        " FROM conversations",
        "SELECT message_id, conversation_id, sender, content, timestamp, response_latency_ms,"
        " retrieved_docs FROM messages",
        "SELECT role_id, name, description, system_prompt FROM assistant_roles",
        "SELECT feedback_id, message_id, user_id, rating, comment FROM feedback",
        "SELECT doc_id, source_name, content, metadata, indexed_at FROM documents",
    };
    assert_ok(open_path(f, f->path));
    assert_ok(conn_open(f->path, CONN_PLAIN, 0, &f->conn, &f->ei));
    for (size_t i = 0; i < sizeof selects / sizeof *selects; i++)
        assert_int_equal(count(f->conn, selects[i]), 0);
}

/* What reading may name: tables and views with their columns, and how views and search tables are
 * made. */
static int64_t shape(struct fixture *f) {
    static const char sql[] =
        "SELECT group_concat(line, '|') FROM (SELECT line FROM ("
        " SELECT m.name || ':' || p.cid || p.name || p.type AS line"
        "  FROM sqlite_schema m, pragma_table_xinfo(m.name) p"
        "  WHERE m.type IN ('table', 'view') AND m.name <> 'schema_migrations'"
        " UNION SELECT sql FROM sqlite_schema WHERE type = 'view' OR sql LIKE 'CREATE VIRTUAL%')"
        " ORDER BY line)";
    struct query q;
    query_begin(&q, &(struct store_tx){.conn = f->conn}, sql);
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    if (query_next(&q)) {
        struct str text = query_peek(&q, 0);
        for (size_t i = 0; i < text.n; i++)
            hash = (hash ^ (unsigned char)text.p[i]) * 1099511628211u;
    }
    assert_ok(query_end(&q));
    return (int64_t)hash;
}

static void migrations_that_reading_can_do_without_leave_its_columns_alone(void **state) {
    struct fixture *f = *state;
    int from = migrate_readable_from();
    assert_true(from > 1 && from <= migrate_newest());
    assert_ok(conn_open(f->path, CONN_WRITE, 0, &f->conn, &f->ei));
    assert_ok(migrate_until(f->conn, f->path, from, &f->ei));
    int64_t readable = shape(f);
    assert_ok(migrate(f->conn, f->path, &f->ei));
    assert_true(shape(f) == readable);
}

static bool takes_status(struct fixture *f, const char *status) {
    char sql[512];
    snprintf(sql, sizeof sql,
             "INSERT INTO messages (message_id, conversation_id, user_id, sender, timestamp,"
             " response_latency_ms, status, ttft_ms, role_version, model, finish_reason, error,"
             " prompt_tokens, completion_tokens, indexed, retrieved_docs, content)"
             " VALUES ('m', 'c', 'u', 'user', 0, 0, '%s', 0, 0, '', '', '', 0, 0, 1, '[]', '')",
             status);
    enum err e = conn_exec(f->conn, sql);
    assert_ok(conn_exec(f->conn, "DELETE FROM messages"));
    return !e;
}

static void migrate_leaves_a_status_checked_but_without_a_list(void **state) {
    struct fixture *f = *state;
    static const char *const good[] = {"complete", "streaming", "stopped", "failed", "interrupted"};
    static const char lists[] = "SELECT count(*) FROM sqlite_schema WHERE name = 'messages'"
                                " AND sql LIKE '%status IN (%'";
    assert_ok(conn_open(f->path, CONN_WRITE, 0, &f->conn, &f->ei));
    assert_ok(migrate(f->conn, f->path, &f->ei));
    assert_int_equal(count(f->conn, lists), 0);
    assert_ok(conn_exec(f->conn, "PRAGMA foreign_keys = OFF"));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(takes_status(f, good[i]));
    assert_false(takes_status(f, "lost"));
    assert_int_equal(count(f->conn, "SELECT count(*) FROM pragma_integrity_check"
                                    " WHERE integrity_check <> 'ok'"),
                     0);
    /* Nobody edits the schema afterwards. */
    (void)!conn_exec(f->conn, "PRAGMA writable_schema = ON");
    assert_true(conn_exec(f->conn, "UPDATE sqlite_schema SET sql = sql"));
}

static void migrate_refuses_what_is_too_new_and_runs_beside_the_next(void **state) {
    struct fixture *f = *state;
    char sql[160];
    assert_ok(open_path(f, f->path));
    assert_ok(conn_open(f->path, CONN_PLAIN, 0, &f->conn, &f->ei));
    /* The next version only adds: this program still runs on it. */
    snprintf(sql, sizeof sql, "INSERT INTO schema_migrations VALUES (%d, 1, 'adds', 0)",
             migrate_newest() + 1);
    assert_ok(conn_exec(f->conn, sql));
    assert_ok(open_path(f, f->path));
    snprintf(sql, sizeof sql, "INSERT INTO schema_migrations VALUES (%d, %d, 'breaks', 0)",
             migrate_newest() + 2, migrate_newest() + 2);
    assert_ok(conn_exec(f->conn, sql));
    assert_err(open_path(f, f->path), ERR_CONFLICT);
    assert_non_null(strstr(f->ei.message, "newer Parley"));
}

static void open_says_what_is_wrong_with_the_place(void **state) {
    struct fixture *f = *state;
    char path[200];
    snprintf(path, sizeof path, "%s/missing/parley.db", f->dir);
    assert_err(open_path(f, path), ERR_IO);
    assert_non_null(strstr(f->ei.message, "does not exist"));
    assert_err(open_path(f, f->dir), ERR_IO);
    assert_non_null(strstr(f->ei.message, "no regular file"));
    snprintf(path, sizeof path, "%s/file/parley.db", f->dir);
    char file[200];
    snprintf(file, sizeof file, "%s/file", f->dir);
    write_file(file, "x", 1);
    assert_err(open_path(f, path), ERR_IO);
    assert_err(open_path(f, ""), ERR_INVALID);
    if (geteuid() != 0) { /* root may write anywhere */
        assert_int_equal(chmod(f->dir, 0500), 0);
        assert_err(open_path(f, f->path), ERR_IO);
        assert_non_null(strstr(f->ei.message, "permissions"));
        assert_int_equal(chmod(f->dir, 0700), 0);
    }
}

static void open_refuses_what_is_no_database_of_ours(void **state) {
    struct fixture *f = *state;
    char text[4096];
    memset(text, 'x', sizeof text);
    write_file(f->path, text, sizeof text);
    assert_err(open_path(f, f->path), ERR_CORRUPT);
    assert_non_null(strstr(f->ei.message, "restore"));
    unlink(f->path);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE theirs (x)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_err(open_path(f, f->path), ERR_CORRUPT);
    assert_non_null(strstr(f->ei.message, "another program"));
}

static void open_finds_damage(void **state) {
    struct fixture *f = *state;
    assert_ok(open_path(f, f->path));
    FILE *file = fopen(f->path, "r+");
    assert_non_null(file);
    static char junk[8192];
    memset(junk, 0xa5, sizeof junk);
    fseek(file, 100, SEEK_SET);
    assert_int_equal(fwrite(junk, 1, sizeof junk, file), sizeof junk);
    fclose(file);
    assert_err(open_path(f, f->path), ERR_CORRUPT);
    assert_err(store_check(f->path, &f->ei), ERR_CORRUPT);
}

/* Another process holds the write lock while this one wants to make the tables. */
static void open_under_a_foreign_lock_is_busy(void **state) {
    struct fixture *f = *state;
    int ready[2], go[2], status;
    char byte = 0;
    assert_int_equal(pipe(ready) | pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        sqlite3 *db;
        close(go[1]);
        bool ok = sqlite3_open(f->path, &db) == SQLITE_OK &&
                  sqlite3_exec(db, "PRAGMA journal_mode = WAL; BEGIN IMMEDIATE", NULL, NULL,
                               NULL) == SQLITE_OK;
        (void)!write(ready[1], ok ? "y" : "n", 1);
        (void)!read(go[0], &byte, 1);
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    assert_err(open_path(f, f->path), ERR_STORE_BUSY);
    assert_non_null(strstr(f->ei.message, "locked"));
    close(go[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_ok(open_path(f, f->path));
    close(ready[0]), close(ready[1]), close(go[0]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_dir, fixture_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(migrate_makes_the_tables_once),
        TEST(migrate_columns_carry_the_entities_names),
        TEST(migrate_leaves_a_status_checked_but_without_a_list),
        TEST(migrations_that_reading_can_do_without_leave_its_columns_alone),
        TEST(migrate_refuses_what_is_too_new_and_runs_beside_the_next),
        TEST(open_says_what_is_wrong_with_the_place),
        TEST(open_refuses_what_is_no_database_of_ours),
        TEST(open_finds_damage),
        TEST(open_under_a_foreign_lock_is_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
