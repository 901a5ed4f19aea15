/* Reading where nothing can be written: a database that was closed, one whose log was left, and a
 * store that opens on a disk that takes nothing and goes on writing when it does. */
#include "unit/store/fixture.h"

#include "unit/store/fault_vfs.h"

static void name_side(const struct fixture *f, const char *end, char out[160]) {
    snprintf(out, 160, "%s%s", f->path, end);
}

static bool is_there(const struct fixture *f, const char *end) {
    char path[160];
    name_side(f, end, path);
    return access(path, F_OK) == 0;
}

static void view_reads_a_closed_database_and_makes_no_files(void **state) {
    struct fixture *f = *state;
    struct conn *view;
    make_user(f->tx, "ada", false);
    conn_close(f->conn);
    f->conn = NULL;
    assert_false(is_there(f, "-wal"));
    assert_ok(conn_open(f->path, CONN_VIEW, 0, &view, &f->ei));
    int version;
    assert_ok(migrate_is_readable(view, f->path, &version, &f->ei));
    assert_int_equal(version, migrate_newest());
    assert_int_equal(count(view, "SELECT count(*) FROM users"), 1);
    assert_err(conn_exec(view, "DELETE FROM users"), ERR_READ_ONLY);
    assert_false(is_there(f, "-wal") || is_there(f, "-shm"));
    conn_close(view);
}

static void view_reads_what_stands_in_the_log(void **state) {
    struct fixture *f = *state;
    struct conn *view;
    make_user(f->tx, "ada", false);
    assert_true(is_there(f, "-wal"));
    assert_ok(conn_open(f->path, CONN_VIEW, 0, &view, &f->ei));
    assert_int_equal(count(view, "SELECT count(*) FROM users"), 1);
    assert_err(conn_exec(view, "DELETE FROM users"), ERR_READ_ONLY);
    conn_close(view);
}

static void view_of_a_log_without_its_index_is_refused(void **state) {
    struct fixture *f = *state;
    struct conn *view;
    char log[160], kept[160];
    make_user(f->tx, "ada", false);
    name_side(f, "-wal", log);
    name_side(f, "-kept", kept);
    assert_int_equal(link(log, kept), 0);
    conn_close(f->conn); /* removes the log and its index */
    f->conn = NULL;
    assert_int_equal(rename(kept, log), 0);
    assert_err(conn_open(f->path, CONN_VIEW, 0, &view, &f->ei), ERR_READ_ONLY);
    assert_non_null(strstr(f->ei.message, "log alone"));
    unlink(log);
}

static void view_takes_names_that_are_no_plain_addresses(void **state) {
    struct fixture *f = *state;
    struct conn *view;
    char odd[160];
    snprintf(odd, sizeof odd, "%s/a%%20 b?c=d#e.db", f->dir);
    conn_close(f->conn);
    f->conn = NULL;
    assert_int_equal(rename(f->path, odd), 0);
    assert_ok(conn_open(odd, CONN_VIEW, 0, &view, &f->ei));
    int version;
    assert_ok(migrate_is_readable(view, odd, &version, &f->ei));
    conn_close(view);
}

static enum err put(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)ei;
    return setting_set(tx, "a", str_from(arg));
}

struct get {
    struct arena *arena;
    struct str value;
};

static enum err get(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)ei;
    struct get *g = arg;
    return setting_get(tx, "a", g->arena, &g->value);
}

static void expect(struct store *s, struct arena *a, const char *value) {
    struct get g = {.arena = a};
    assert_ok(store_read_wait(s, get, &g, NULL));
    assert_str(g.value, value);
}

/* The fixture's database, opened as a store is. */
static struct store *open_store(struct fixture *f) {
    struct store_options o = {.path = f->path};
    struct store *s;
    conn_close(f->conn);
    f->conn = NULL;
    assert_ok(store_open(&o, &s, &f->ei));
    return s;
}

static void store_opens_for_reading_and_writes_when_a_probe_can(void **state) {
    struct fixture *f = *state;
    struct store_options o = {.path = f->path};
    struct store *s = open_store(f);
    assert_false(store_is_read_only(s));
    assert_ok(store_write_wait(s, put, "1", &f->ei));
    store_close(s);

    fault_set(FAULT_OPEN, 2, SQLITE_FULL, true); /* the log, of the connection that would write */
    assert_ok(store_open(&o, &s, &f->ei));
    assert_int_equal(fault.hits, 1);
    assert_true(store_is_read_only(s));
    assert_err(store_health(s, &f->ei), ERR_DISK_FULL);
    expect(s, f->arena, "1");
    assert_err(store_write_wait(s, put, "2", &f->ei), ERR_DISK_FULL);
    assert_non_null(strstr(f->ei.message, "can be read"));

    fault_set(FAULT_OPEN, 2, SQLITE_FULL, true); /* a probe that cannot leaves it as it was */
    assert_ok(store_probe(s));
    assert_err(store_write_wait(s, put, "2", &f->ei),
               ERR_DISK_FULL); /* answered behind the probe */
    assert_int_equal(fault.hits, 1);
    expect(s, f->arena, "1");
    assert_true(store_is_read_only(s));

    assert_ok(store_probe(s));
    enum err e = store_write_wait(s, put, "2", &f->ei);
    assert_true(!e || e == ERR_DISK_FULL); /* written after the probe, or refused with it */
    assert_false(store_is_read_only(s));
    assert_ok(store_health(s, &f->ei));
    assert_ok(store_write_wait(s, put, "3", &f->ei));
    expect(s, f->arena, "3");
    store_close(s);
    assert_ok(store_open(&o, &s, &f->ei));
    expect(s, f->arena, "3");
    store_close(s);
    assert_ok(store_check(f->path, &f->ei));
}

/* A database of that schema, with one user. */
static void make_older(struct fixture *f, int version) {
    conn_close(f->conn);
    f->conn = NULL;
    assert_int_equal(unlink(f->path), 0);
    assert_ok(conn_open(f->path, CONN_WRITE, 0, &f->conn, &f->ei));
    assert_ok(migrate_until(f->conn, f->path, version, &f->ei));
    f->tx->conn = f->conn;
    make_user(f->tx, "ada", false);
    conn_close(f->conn);
    f->conn = NULL;
}

static void store_that_lacks_what_is_read_is_not_opened_for_reading(void **state) {
    struct fixture *f = *state;
    struct store_options o = {.path = f->path};
    struct store *s;
    make_older(f, migrate_readable_from() - 1);
    fault_set(FAULT_OPEN, 2, SQLITE_FULL, true);
    assert_err(store_open(&o, &s, &f->ei), ERR_DISK_FULL);
    fault_set(FAULT_NONE, 0, 0, true);
}

static enum err read_schema(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)ei;
    return conn_int(tx->conn, "SELECT max(version) FROM schema_migrations", arg);
}

static enum err read_user(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct user u;
    (void)ei;
    return user_find(tx, STR("ada"), arg, &u);
}

static void
store_that_lacks_no_more_than_constraints_and_indexes_is_read_and_migrated_later(void **state) {
    struct fixture *f = *state;
    struct store_options o = {.path = f->path};
    struct store *s;
    int64_t version = 0;
    make_older(f, migrate_readable_from());
    fault_set(FAULT_OPEN, 2, SQLITE_FULL, true);
    assert_ok(store_open(&o, &s, &f->ei));
    assert_true(store_is_read_only(s));
    assert_ok(store_read_wait(s, read_schema, &version, &f->ei));
    assert_int_equal(version, migrate_readable_from());
    assert_ok(store_read_wait(s, read_user, f->arena, &f->ei));
    assert_err(store_write_wait(s, put, "1", &f->ei), ERR_DISK_FULL);

    assert_ok(store_probe(s));
    (void)!store_write_wait(s, put, "1", &f->ei); /* answered behind the probe */
    assert_false(store_is_read_only(s));
    assert_ok(store_read_wait(s, read_schema, &version, &f->ei));
    assert_int_equal(version, migrate_newest());
    assert_ok(store_write_wait(s, put, "2", &f->ei));
    expect(s, f->arena, "2");
    store_close(s);
    assert_ok(store_check(f->path, &f->ei));
}

/* Opened for writing; then the disk takes nothing of the migration itself. */
static void migration_that_finds_no_room_is_put_off(void **state) {
    struct fixture *f = *state;
    struct store_options o = {.path = f->path};
    struct store *s;
    int64_t version = 0;
    make_older(f, migrate_readable_from());
    fault_set(FAULT_WRITE, 1, SQLITE_FULL, true);
    assert_ok(store_open(&o, &s, &f->ei));
    assert_true(store_is_read_only(s));
    assert_ok(store_read_wait(s, read_schema, &version, &f->ei));
    assert_int_equal(version, migrate_readable_from());
    fault_set(FAULT_NONE, 0, 0, true);
    assert_ok(store_probe(s));
    (void)!store_write_wait(s, put, "1", &f->ei);
    assert_ok(store_read_wait(s, read_schema, &version, &f->ei));
    assert_int_equal(version, migrate_newest());
    store_close(s);
}

static enum err change_nothing(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)tx, (void)arg, (void)ei;
    return ERR_OK;
}

static void full_disk_stays_known_until_something_is_written(void **state) {
    struct fixture *f = *state;
    struct store *s = open_store(f);
    assert_ok(store_probe(s));
    assert_ok(store_write_wait(s, put, "1", &f->ei));
    fault_set(FAULT_WRITE, 1, SQLITE_FULL, false);
    assert_err(store_write_wait(s, put, "2", &f->ei), ERR_DISK_FULL);
    for (int i = 0; i < 3; i++) {
        assert_ok(store_probe(s));
        (void)!store_write_wait(s, change_nothing, NULL, &f->ei); /* behind the probe, or with it */
        assert_err(store_health(s, NULL), ERR_DISK_FULL);
    }
    fault_set(FAULT_NONE, 0, 0, false);
    assert_ok(store_probe(s));
    assert_ok(store_write_wait(s, put, "3", &f->ei));
    assert_ok(store_health(s, NULL));
    store_close(s);
}

/* Whoever asks over the network hears that the disk takes nothing; a terminal hears why. */
static void failing_disk_is_read_only_for_the_network(void **state) {
    struct fixture *f = *state;
    struct store *s = open_store(f);
    fault_set(FAULT_WRITE, 1, SQLITE_READONLY, true);
    assert_err(store_write_wait(s, put, "1", &f->ei), ERR_READ_ONLY);
    assert_non_null(strstr(f->ei.message, "mount its disk"));
    assert_err(store_health(s, &f->ei), ERR_READ_ONLY);
    assert_non_null(strstr(f->ei.message, "mounted read-only"));
    assert_false(store_is_read_only(s)); /* the next one tries again */
    assert_ok(store_write_wait(s, put, "2", &f->ei));
    assert_ok(store_health(s, NULL));
    store_close(s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_open, fixture_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(view_reads_a_closed_database_and_makes_no_files),
        TEST(view_reads_what_stands_in_the_log),
        TEST(view_of_a_log_without_its_index_is_refused),
        TEST(view_takes_names_that_are_no_plain_addresses),
        TEST(store_opens_for_reading_and_writes_when_a_probe_can),
        TEST(store_that_lacks_what_is_read_is_not_opened_for_reading),
        TEST(store_that_lacks_no_more_than_constraints_and_indexes_is_read_and_migrated_later),
        TEST(migration_that_finds_no_room_is_put_off),
        TEST(full_disk_stays_known_until_something_is_written),
        TEST(failing_disk_is_read_only_for_the_network),
    };
    fault_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
