/* Backups while writing, restoring, and the lock between servers. */
#include <glob.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "unit/store/fixture.h"

struct pair {
    int value;
};

/* Two rows that must always agree: a copy between them would show. */
static enum err put_pair(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)ei;
    char text[16];
    snprintf(text, sizeof text, "%d", ((struct pair *)arg)->value);
    enum err e = setting_set(tx, "left", str_from(text));
    return e ? e : setting_set(tx, "right", str_from(text));
}

struct writing {
    struct store *s;
    atomic_bool stop;
    atomic_int written;
    int failures;
};

static void *keep_writing(void *arg) {
    struct writing *w = arg;
    for (int i = 1; !w->stop; i++) {
        struct pair p = {i};
        if (store_write_wait(w->s, put_pair, &p, NULL))
            w->failures++;
        w->written = i;
    }
    return NULL;
}

static struct store *open_store(struct fixture *f) {
    struct store_options o = {.path = f->path};
    struct store *s = NULL;
    assert_ok(store_open(&o, &s, &f->ei));
    return s;
}

static int64_t left_value(struct fixture *f, const char *path) {
    struct conn *c;
    assert_ok(conn_open(path, CONN_PLAIN, 0, &c, &f->ei));
    assert_int_equal(count(c, "SELECT count(DISTINCT value) FROM settings"), 1);
    int64_t v = count(c, "SELECT CAST(value AS INTEGER) FROM settings LIMIT 1");
    conn_close(c);
    return v;
}

static void put_now(struct fixture *f, int value) {
    struct store *s = open_store(f);
    struct pair p = {value};
    assert_ok(store_write_wait(s, put_pair, &p, &f->ei));
    store_close(s);
}

static void backup_while_writing_is_consistent(void **state) {
    struct fixture *f = *state;
    struct writing w = {.s = open_store(f)};
    struct stat st;
    char to[200], side[220];
    pthread_t thread;
    struct pair first = {0};
    assert_ok(store_write_wait(w.s, put_pair, &first, &f->ei));
    assert_int_equal(pthread_create(&thread, NULL, keep_writing, &w), 0);
    snprintf(to, sizeof to, "%s/copy.db", f->dir);
    for (int i = 0; i < 5; i++) {
        int before = w.written;
        assert_ok(store_backup(f->path, to, &f->ei)); /* over the one before */
        assert_ok(store_check(to, &f->ei));
        assert_in_range(left_value(f, to), before, INT32_MAX);
    }
    w.stop = true;
    pthread_join(thread, NULL);
    assert_int_equal(w.failures, 0);
    store_close(w.s);
    assert_int_equal(stat(to, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    static const char *const sides[] = {"-wal", "-shm", "-journal"};
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        snprintf(side, sizeof side, "%s%s", to, sides[i]);
        assert_int_not_equal(stat(side, &st), 0);
    }
    glob_t left;
    snprintf(side, sizeof side, "%s.partial*", to);
    assert_int_equal(glob(side, 0, NULL, &left), GLOB_NOMATCH);
}

static void backup_leaves_the_unfinished_file_of_another_alone(void **state) {
    struct fixture *f = *state;
    char to[200], other[220];
    struct stat st;
    put_now(f, 1);
    snprintf(to, sizeof to, "%s/copy.db", f->dir);
    snprintf(other, sizeof other, "%s.partial-another", to);
    FILE *file = fopen(other, "w");
    assert_non_null(file);
    fclose(file);
    assert_ok(store_backup(f->path, to, &f->ei));
    assert_int_equal(stat(other, &st), 0);
    unlink(other);
}

static void restore_puts_back_and_keeps_the_old(void **state) {
    struct fixture *f = *state;
    char copy[200], kept[200];
    snprintf(copy, sizeof copy, "%s/copy.db", f->dir);
    snprintf(kept, sizeof kept, "%s.before-restore", f->path);
    put_now(f, 1);
    assert_ok(store_backup(f->path, copy, &f->ei));
    put_now(f, 2);
    for (int i = 0; i < 2; i++) { /* the second time over an older "before-restore" */
        assert_ok(store_restore(f->path, copy, &f->ei));
        assert_int_equal(left_value(f, f->path), 1);
        assert_int_equal(left_value(f, kept), i == 0 ? 2 : 1);
    }
    put_now(f, 3); /* and it is used as before */
    assert_int_equal(left_value(f, f->path), 3);
    unlink(f->path); /* onto nothing: a new machine */
    assert_ok(store_restore(f->path, copy, &f->ei));
    assert_int_equal(left_value(f, f->path), 1);
}

/* A server that was killed leaves its newest commits in the log; they belong to the kept file. */
static void restore_keeps_the_log_of_a_killed_server(void **state) {
    struct fixture *f = *state;
    char copy[200], kept[200], kept_log[220];
    struct stat st;
    int status;
    snprintf(copy, sizeof copy, "%s/copy.db", f->dir);
    snprintf(kept, sizeof kept, "%s.before-restore", f->path);
    put_now(f, 1);
    assert_ok(store_backup(f->path, copy, &f->ei));
    pid_t child = fork();
    if (child == 0) {
        struct store_options o = {.path = f->path};
        struct store *s = NULL;
        struct pair p = {7};
        _exit(store_open(&o, &s, &f->ei) || store_write_wait(s, put_pair, &p, &f->ei));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_ok(store_restore(f->path, copy, &f->ei));
    snprintf(kept_log, sizeof kept_log, "%s-wal", kept);
    assert_int_not_equal(stat(kept_log, &st),
                         0); /* folded into the file, which is whole by itself */
    assert_int_equal(left_value(f, f->path), 1);
    assert_int_equal(left_value(f, kept), 7);
}

static void restore_refuses_what_is_no_intact_backup(void **state) {
    struct fixture *f = *state;
    char bad[200];
    put_now(f, 1);
    snprintf(bad, sizeof bad, "%s/bad.db", f->dir);
    assert_err(store_restore(f->path, bad, &f->ei), ERR_NOT_FOUND);
    FILE *file = fopen(bad, "w");
    fputs("this is a text", file);
    fclose(file);
    assert_err(store_restore(f->path, bad, &f->ei), ERR_CORRUPT);
    assert_ok(store_backup(f->path, bad, &f->ei));
    file = fopen(bad, "r+"); /* damage in the middle: only the check sees it */
    fseek(file, 4096 * 3, SEEK_SET);
    for (int i = 0; i < 4096 * 4; i++)
        fputc(0xa5, file);
    fclose(file);
    assert_err(store_restore(f->path, bad, &f->ei), ERR_CORRUPT);
    assert_err(store_restore(f->path, f->path, &f->ei), ERR_INVALID);
    assert_err(store_backup(f->path, f->path, &f->ei), ERR_INVALID);
    assert_err(store_backup("/nonexistent/x.db", bad, &f->ei), ERR_NOT_FOUND);
    assert_err(store_backup(f->path, "/nonexistent/x.db", &f->ei), ERR_IO);
    assert_int_equal(left_value(f, f->path), 1);
}

static void lock_is_held_by_one_process_only(void **state) {
    struct fixture *f = *state;
    int fd = -1, again = -1, ready[2], go[2], status;
    char byte;
    put_now(f, 1);
    assert_int_equal(pipe(ready) | pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        close(go[1]);
        (void)!write(ready[1], store_lock(f->path, &fd, NULL) ? "n" : "y", 1);
        (void)!read(go[0], &byte, 1);
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)child);
    assert_err(store_lock(f->path, &fd, &f->ei), ERR_STORE_BUSY);
    assert_non_null(strstr(f->ei.message, pid));
    assert_err(store_restore(f->path, f->path, &f->ei), ERR_INVALID);
    char copy[200];
    snprintf(copy, sizeof copy, "%s/copy.db", f->dir);
    assert_ok(store_backup(f->path, copy, &f->ei));
    assert_err(store_restore(f->path, copy, &f->ei), ERR_STORE_BUSY);
    close(go[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_ok(store_lock(f->path, &fd, &f->ei)); /* its death released it */
    assert_err(store_lock(f->path, &again, &f->ei), ERR_STORE_BUSY);
    close(fd);
    assert_ok(store_lock(f->path, &fd, &f->ei));
    close(fd), close(ready[0]), close(ready[1]), close(go[0]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_dir, fixture_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(restore_keeps_the_log_of_a_killed_server), /* forks: before there were threads */
        TEST(lock_is_held_by_one_process_only),
        TEST(backup_while_writing_is_consistent),
        TEST(backup_leaves_the_unfinished_file_of_another_alone),
        TEST(restore_puts_back_and_keeps_the_old),
        TEST(restore_refuses_what_is_no_intact_backup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
