/* The threads: group commit, what done means, limits, closing, and disks that fail. */
#include <pthread.h>
#include <sched.h>

#include "unit/store/fixture.h"

#include "base/metrics.h"
#include "unit/store/fault_vfs.h"

static struct store *open_store(struct fixture *f, size_t max_queued) {
    struct store_options o = {.path = f->path, .max_queued = max_queued, .busy_timeout_ms = 50};
    struct store *s = NULL;
    if (store_open(&o, &s, &f->ei))
        print_error("%s\n", f->ei.message);
    assert_non_null(s);
    return s;
}

/* ---- operations ---- */

struct put {
    char name[32];
    char value[32];
    enum err result; /* what the operation returns after it wrote */
};

static enum err put(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct put *p = arg;
    enum err e = setting_set(tx, p->name, str_from(p->value));
    return e ? e : p->result ? err_set(ei, p->result, "asked for") : ERR_OK;
}

static enum err put_value(struct store *s, const char *name, const char *value,
                          struct errinfo *ei) {
    struct put p = {.result = ERR_OK};
    snprintf(p.name, sizeof p.name, "%s", name);
    snprintf(p.value, sizeof p.value, "%s", value);
    return store_write_wait(s, put, &p, ei);
}

struct get {
    const char *name;
    struct arena *arena;
    struct str value;
};

static enum err get(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)ei;
    struct get *g = arg;
    return setting_get(tx, g->name, g->arena, &g->value);
}

static enum err get_value(struct store *s, const char *name, struct arena *a, struct str *ret) {
    struct get g = {.name = name, .arena = a};
    enum err e = store_read_wait(s, get, &g, NULL);
    *ret = g.value;
    return e;
}

/* Holds its thread of the store until it is let go. */
struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool entered, open;
};

#define GATE                                                                                       \
    { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false }

static enum err wait_at_gate(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)tx, (void)ei;
    struct gate *g = arg;
    pthread_mutex_lock(&g->mutex);
    g->entered = true;
    pthread_cond_broadcast(&g->cond);
    while (!g->open)
        pthread_cond_wait(&g->cond, &g->mutex);
    pthread_mutex_unlock(&g->mutex);
    return ERR_OK;
}

static void gate_await(struct gate *g) {
    pthread_mutex_lock(&g->mutex);
    while (!g->entered)
        pthread_cond_wait(&g->cond, &g->mutex);
    pthread_mutex_unlock(&g->mutex);
}

static void gate_open(struct gate *g) {
    pthread_mutex_lock(&g->mutex);
    g->open = true;
    pthread_cond_broadcast(&g->cond);
    pthread_mutex_unlock(&g->mutex);
}

/* ---- the tests ---- */

static void write_then_read_sees_it_also_after_reopening(void **state) {
    struct fixture *f = *state;
    struct store *s = open_store(f, 0);
    struct str v;
    assert_ok(put_value(s, "a", "1", &f->ei));
    assert_ok(get_value(s, "a", f->arena, &v));
    assert_str(v, "1");
    assert_err(get_value(s, "b", f->arena, &v), ERR_NOT_FOUND);
    store_close(s);
    s = open_store(f, 0);
    assert_ok(get_value(s, "a", f->arena, &v));
    assert_str(v, "1");
    store_close(s);
    assert_ok(store_check(f->path, &f->ei));
}

static enum err write_on_reader(struct store_tx *tx, void *arg, struct errinfo *ei) {
    return put(tx, arg, ei);
}

static void read_operation_cannot_write(void **state) {
    struct fixture *f = *state;
    struct store *s = open_store(f, 0);
    struct put p = {.name = "a", .value = "1"};
    struct str v;
    assert_int_not_equal(store_read_wait(s, write_on_reader, &p, &f->ei), ERR_OK);
    assert_err(get_value(s, "a", f->arena, &v), ERR_NOT_FOUND);
    store_close(s);
}

struct look { /* reads a value, and waits afterwards where it is told to */
    struct get get;
    struct gate *gate;
};

static enum err look(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct look *l = arg;
    enum err e = get(tx, &l->get, ei);
    return e || !l->gate ? e : wait_at_gate(tx, l->gate, ei);
}

/* Reads that wait share a snapshot; what was asked for after it was taken sees what is newer. */
static void read_asked_after_a_write_sees_it(void **state) {
    struct fixture *f = *state;
    struct store_options o = {.path = f->path, .readers = 1};
    struct store *s = NULL;
    struct gate first = GATE, second = GATE;
    struct look l[] = {{{"a", arena_new(4096), STR_NULL}, &second},
                       {{"a", arena_new(4096), STR_NULL}, NULL},
                       {{"a", arena_new(4096), STR_NULL}, NULL}};
    struct str v;
    assert_ok(store_open(&o, &s, &f->ei));
    clock_test_set(1, 1); /* no snapshot becomes too old */
    assert_ok(put_value(s, "a", "old", &f->ei));
    assert_ok(store_read(s, wait_at_gate, &first, NULL, NULL));
    gate_await(&first);
    assert_ok(store_read(s, look, &l[0], NULL, NULL));
    assert_ok(store_read(s, look, &l[1], NULL, NULL));
    gate_open(&first);
    gate_await(&second);
    assert_ok(put_value(s, "a", "new", &f->ei));
    assert_ok(store_read(s, look, &l[2], NULL, NULL));
    gate_open(&second);
    assert_ok(get_value(s, "a", f->arena, &v)); /* the others are done before it */
    assert_str(v, "new");
    assert_str(l[0].get.value, "old");
    assert_str(l[1].get.value, "old");
    assert_str(l[2].get.value, "new");
    clock_test_end();
    store_close(s);
    for (int i = 0; i < 3; i++)
        arena_free(l[i].get.arena);
}

struct counted {
    struct put put;
    int runs;
};

static enum err put_counted(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct counted *c = arg;
    c->runs++;
    return put(tx, &c->put, ei);
}

/* Without a savepoint of its own: the group begins anew, and the others are there. */
static void operation_that_may_run_again_fails_alone(void **state) {
    struct fixture *f = *state;
    struct store *s = open_store(f, 0);
    struct counted c[] = {{{.name = "a", .value = "1"}, 0},
                          {{.name = "b", .value = "2", .result = ERR_CONFLICT}, 0},
                          {{.name = "c", .value = "3"}, 0},
                          {{.name = "d", .value = "4"}, 0}};
    struct str v;
    clock_test_set(1, 1);                     /* only the number of operations ends a group */
    for (int alone = 0; alone < 2; alone++) { /* the first of its group, and among others */
        struct gate gate = GATE;
        int64_t commits = metric_get(M_STORE_COMMITS);
        for (int i = 0; i < 4; i++)
            c[i].runs = 0;
        assert_ok(store_write_again(s, wait_at_gate, &gate, NULL, NULL));
        gate_await(&gate);
        if (alone) /* it is through before the others come */
            gate_open(&gate);
        for (int i = alone; i < 4; i++)
            assert_ok(store_write_again(s, put_counted, &c[i], NULL, NULL));
        gate_open(&gate);
        assert_ok(put_value(s, "end", alone ? "2" : "1", &f->ei));
        assert_err(get_value(s, "b", f->arena, &v), ERR_NOT_FOUND);
        for (int i = 0; i < 4; i++)
            if (i != 1)
                assert_ok(get_value(s, c[i].put.name, f->arena, &v));
        if (!alone) {
            assert_int_equal(c[0].runs, 2);
            assert_int_equal(c[1].runs, 2);
            assert_int_equal(c[2].runs, 1);
            assert_true(metric_get(M_STORE_COMMITS) - commits <= 2);
        }
    }
    clock_test_end();
    store_close(s);
    assert_ok(store_check(f->path, &f->ei));
}

#define N_WRITES 200

/* Time stands still, so that only the number of operations ends a group. */
static void many_writes_share_a_commit(void **state) {
    struct fixture *f = *state;
    struct store *s = open_store(f, 0);
    struct gate gate = GATE;
    static struct put puts[N_WRITES];
    clock_test_set(1, 1);
    int64_t commits = metric_get(M_STORE_COMMITS), writes = metric_get(M_STORE_WRITES);
    int syncs = fault.log_syncs;
    assert_ok(store_write(s, wait_at_gate, &gate, NULL, NULL));
    gate_await(&gate);
    for (int i = 0; i < N_WRITES; i++) {
        /* Each third one fails after it wrote: it alone is undone. */
        puts[i] = (struct put){.value = "x", .result = i % 3 ? ERR_OK : ERR_CONFLICT};
        snprintf(puts[i].name, sizeof puts[i].name, "n%d", i);
        assert_ok(store_write(s, put, &puts[i], NULL, NULL));
    }
    gate_open(&gate);
    assert_ok(put_value(s, "last", "x", &f->ei));
    store_close(s);
    assert_in_range(metric_get(M_STORE_COMMITS) - commits, 1, 2);
    assert_in_range(fault.log_syncs - syncs, 1, 4);
    assert_int_equal(metric_get(M_STORE_WRITES) - writes, 2 + N_WRITES - (N_WRITES + 2) / 3);
    assert_ok(conn_open(f->path, CONN_PLAIN, 0, &f->conn, &f->ei));
    assert_int_equal(count(f->conn, "SELECT count(*) FROM settings WHERE name LIKE 'n%'"),
                     N_WRITES - (N_WRITES + 2) / 3);
}

static void failed_operation_reports_its_error(void **state) {
    struct fixture *f = *state;
    struct store *s = open_store(f, 0);
    struct put p = {.name = "a", .value = "1", .result = ERR_CONFLICT};
    struct str v;
    assert_err(store_write_wait(s, put, &p, &f->ei), ERR_CONFLICT);
    assert_string_equal(f->ei.message, "asked for");
    assert_err(get_value(s, "a", f->arena, &v), ERR_NOT_FOUND);
    store_close(s);
}

static void full_queue_refuses_and_recovers(void **state) {
    struct fixture *f = *state;
    struct store *s = open_store(f, 2);
    struct gate gate = GATE;
    struct put p = {.name = "a", .value = "1"};
    assert_ok(store_write(s, wait_at_gate, &gate, NULL, NULL));
    gate_await(&gate);
    assert_ok(store_write(s, put, &p, NULL, NULL));
    assert_ok(store_write(s, put, &p, NULL, NULL));
    assert_err(store_write(s, put, &p, NULL, NULL), ERR_OVERLOADED);
    gate_open(&gate);
    store_close(s); /* finishes what is queued */
    struct str v;
    s = open_store(f, 2);
    assert_ok(get_value(s, "a", f->arena, &v));
    assert_err(store_write(s, put, &p, NULL, (store_done)(void *)put),
               ERR_INVALID); /* done needs a loop */
    store_close(s);
}

/* ---- done on a loop ---- */

struct noted {
    struct loop *loop;
    struct put put;
    int syncs_inside; /* log syncs when the operation ran */
    int syncs_done;   /* … and when done was called */
    int order;
    enum err err;
    bool on_loop;
    char message[64];
};

static int done_calls;
static int done_wanted;

static enum err put_noted(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct noted *n = arg;
    n->syncs_inside = fault.log_syncs;
    return put(tx, &n->put, ei);
}

static void note_done(void *arg, enum err err, const struct errinfo *ei) {
    struct noted *n = arg;
    n->syncs_done = fault.log_syncs;
    n->err = err;
    n->order = done_calls++;
    n->on_loop = loop_is_current(n->loop);
    snprintf(n->message, sizeof n->message, "%.63s", ei->message);
    if (done_calls == done_wanted)
        loop_stop(n->loop);
}

static void done_comes_in_order_on_the_loop_after_the_sync(void **state) {
    struct fixture *f = *state;
    struct store *s = open_store(f, 0);
    struct loop *loop;
    struct gate gate = GATE;
    static struct noted noted[20];
    assert_ok(loop_new(&loop, &f->ei));
    done_calls = 0;
    done_wanted = 20;
    assert_ok(store_write(s, wait_at_gate, &gate, NULL, NULL));
    for (int i = 0; i < 20; i++) {
        noted[i] = (struct noted){.loop = loop,
                                  .put = {.value = "x", .result = i == 7 ? ERR_CONFLICT : ERR_OK}};
        snprintf(noted[i].put.name, sizeof noted[i].put.name, "n%d", i);
        assert_ok(store_write(s, put_noted, &noted[i], loop, note_done));
    }
    gate_open(&gate);
    loop_run(loop);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(noted[i].order, i);
        assert_true(noted[i].on_loop);
        assert_int_equal(noted[i].err, i == 7 ? ERR_CONFLICT : ERR_OK);
        assert_string_equal(noted[i].message, i == 7 ? "asked for" : "");
        assert_true(noted[i].syncs_done > noted[i].syncs_inside);
    }
    store_close(s);
    loop_free(loop);
}

static void close_finishes_and_still_posts(void **state) {
    struct fixture *f = *state;
    struct store *s = open_store(f, 0);
    struct loop *loop;
    static struct noted noted[3];
    assert_ok(loop_new(&loop, &f->ei));
    done_calls = 0;
    done_wanted = 3;
    for (int i = 0; i < 3; i++) {
        noted[i] = (struct noted){.loop = loop, .put = {.name = "a", .value = "x"}};
        assert_ok(store_write(s, put_noted, &noted[i], loop, note_done));
    }
    store_close(s);
    loop_run(loop);
    assert_int_equal(done_calls, 3);
    assert_int_equal(noted[2].err, ERR_OK);
    loop_free(loop);
}

/* ---- threads ---- */

struct worker {
    struct store *s;
    int id;
    int failures;
};

static void *worker_main(void *arg) {
    struct worker *w = arg;
    struct arena *a = arena_new(1 << 20);
    for (int i = 0; i < 25; i++) {
        char name[32], value[16];
        struct str v;
        snprintf(name, sizeof name, "w%d.%d", w->id, i);
        snprintf(value, sizeof value, "%d", i);
        if (put_value(w->s, name, value, NULL) || get_value(w->s, name, a, &v) ||
            !str_eqz(v, value))
            w->failures++;
    }
    arena_free(a);
    return NULL;
}

static void many_threads_read_their_own_writes(void **state) {
    struct fixture *f = *state;
    struct store *s = open_store(f, 0);
    struct worker workers[8];
    pthread_t threads[8];
    int64_t commits = metric_get(M_STORE_COMMITS);
    for (int i = 0; i < 8; i++) {
        workers[i] = (struct worker){.s = s, .id = i};
        assert_int_equal(pthread_create(&threads[i], NULL, worker_main, &workers[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].failures, 0);
    }
    assert_true(metric_get(M_STORE_COMMITS) - commits <= 200);
    store_close(s);
}

/* ---- faults ---- */

static void check_intact(struct fixture *f) {
    if (store_check(f->path, &f->ei))
        print_error("%s\n", f->ei.message);
    assert_err(store_check(f->path, &f->ei), ERR_OK);
}

/* The Nth write or sync fails, for every N until the operation gets through without meeting it. */
static void fail_each(struct fixture *f, enum fault_op op, int rc, enum err expected) {
    struct store *s = open_store(f, 0);
    int n = 0, met = 0;
    for (bool hit = true; hit; met += hit) {
        char name[32];
        struct str v;
        snprintf(name, sizeof name, "f%d.%d", op, ++n);
        fault_set(op, n, rc, true);
        enum err e = put_value(s, name, "x", &f->ei);
        hit = fault.hits > 0;
        fault_set(FAULT_NONE, 0, 0, true);
        assert_true(e == ERR_OK || e == expected);
        assert_true(hit || e == ERR_OK);
        /* Exactly what was acknowledged is there, and the next one works. */
        assert_int_equal(get_value(s, name, f->arena, &v), e ? ERR_NOT_FOUND : ERR_OK);
        assert_ok(put_value(s, "after", name, &f->ei));
        assert_ok(get_value(s, "after", f->arena, &v));
        assert_str(v, name);
    }
    assert_true(met > 0);
    store_close(s);
    check_intact(f);
}

static void nth_write_fails_nothing_is_half_written(void **state) {
    fail_each(*state, FAULT_WRITE, SQLITE_IOERR_WRITE, ERR_IO);
}

static void nth_write_finds_the_disk_full(void **state) {
    fail_each(*state, FAULT_WRITE, SQLITE_FULL, ERR_DISK_FULL);
}

static void nth_sync_fails_nothing_is_acknowledged(void **state) {
    fail_each(*state, FAULT_SYNC, SQLITE_IOERR_FSYNC, ERR_IO);
}

static void disk_stays_full_until_space_is_made(void **state) {
    struct fixture *f = *state;
    struct store *s = open_store(f, 0);
    struct gate gate = GATE;
    struct loop *loop;
    static struct noted noted[10];
    struct str v;
    assert_ok(put_value(s, "before", "1", &f->ei));
    assert_ok(loop_new(&loop, &f->ei));
    done_calls = 0;
    done_wanted = 10;
    fault_set(FAULT_WRITE, 1, SQLITE_FULL, false);
    int64_t errors = metric_get(M_STORE_ERRORS);
    assert_ok(store_write(s, wait_at_gate, &gate, NULL, NULL));
    for (int i = 0; i < 10; i++) {
        noted[i] = (struct noted){.loop = loop, .put = {.name = "lost", .value = "x"}};
        assert_ok(store_write(s, put_noted, &noted[i], loop, note_done));
    }
    gate_open(&gate);
    loop_run(loop);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(noted[i].err, ERR_DISK_FULL);
        assert_string_equal(noted[i].message, err_text(ERR_DISK_FULL)); /* no path goes out */
    }
    assert_true(metric_get(M_STORE_ERRORS) - errors >= 10);
    assert_err(put_value(s, "lost", "x", &f->ei), ERR_DISK_FULL);
    assert_non_null(strstr(f->ei.message, f->path)); /* a terminal is told where */
    assert_ok(get_value(s, "before", f->arena, &v)); /* reading goes on */
    fault_set(FAULT_NONE, 0, 0, true);
    assert_err(get_value(s, "lost", f->arena, &v), ERR_NOT_FOUND);
    assert_ok(put_value(s, "found", "x", &f->ei));
    store_close(s);
    loop_free(loop);
    check_intact(f);
}

/* An operation that does not look at a verb's error is not believed. */
static enum err put_much_and_say_fine(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)ei;
    static char big[1 << 20];
    memset(big, 'x', sizeof big - 1);
    for (int i = 0; i < 8; i++) { /* more than the page cache: it writes before the commit */
        char name[16];
        snprintf(name, sizeof name, "big%d", i);
        *(enum err *)arg = setting_set(tx, name, (struct str){big, sizeof big - 1});
        if (*(enum err *)arg)
            break;
    }
    return ERR_OK;
}

static void overlooked_disk_error_fails_the_operation(void **state) {
    struct fixture *f = *state;
    struct store *s = open_store(f, 0);
    enum err inside = ERR_OK;
    struct str v;
    fault_set(FAULT_WRITE, 3, SQLITE_FULL, true);
    enum err e = store_write_wait(s, put_much_and_say_fine, &inside, &f->ei);
    fault_set(FAULT_NONE, 0, 0, true);
    assert_int_equal(inside, ERR_DISK_FULL);
    assert_int_equal(e, ERR_DISK_FULL);
    assert_err(get_value(s, "big0", f->arena, &v), ERR_NOT_FOUND);
    assert_ok(put_value(s, "a", "1", &f->ei));
    store_close(s);
    check_intact(f);
}

/* https://sqlite.org/fileformat.html#file_format_version_numbers */
static bool has_log_mode(const char *path) {
    char head[20] = "";
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(head, 1, sizeof head, f), sizeof head);
    fclose(f);
    return head[18] == 2 && head[19] == 2;
}

static void open_fails_plainly_when_the_disk_does(void **state) {
    struct fixture *f = *state;
    struct store_options o = {.path = f->path};
    struct store *s = NULL;
    bool opened = false;
    /* Every write of making a new database at first, then ever fewer: each try syncs the disk. */
    for (int n = 1; !opened; n += 1 + n / 16) {
        fault_set(FAULT_WRITE, n, SQLITE_FULL, true);
        enum err e = store_open(&o, &s, &f->ei);
        opened = fault.hits == 0;
        fault_set(FAULT_NONE, 0, 0, true);
        assert_true(e == ERR_OK || e == ERR_DISK_FULL);
        if (!e) {
            store_close(s);
            assert_true(has_log_mode(f->path));
        } else {
            assert_non_null(strstr(f->ei.message, f->path));
        }
        unlink(f->path);
    }
    fault_set(FAULT_OPEN, 1, SQLITE_CANTOPEN, true);
    assert_err(store_open(&o, &s, &f->ei), ERR_IO);
    fault_set(FAULT_NONE, 0, 0, true);
}

/* ---- foreign locks ---- */

static void lock_of_another_is_busy_until_released(void **state) {
    struct fixture *f = *state;
    struct store *s = open_store(f, 0);
    struct str v;
    assert_ok(put_value(s, "a", "1", &f->ei));
    assert_ok(conn_open(f->path, CONN_PLAIN, 0, &f->conn, &f->ei));
    assert_ok(conn_exec(f->conn, "BEGIN IMMEDIATE"));
    assert_err(put_value(s, "a", "2", &f->ei), ERR_STORE_BUSY);
    assert_non_null(strstr(f->ei.message, "locked"));
    assert_ok(get_value(s, "a", f->arena, &v));
    assert_str(v, "1");
    assert_ok(conn_exec(f->conn, "ROLLBACK"));
    assert_ok(put_value(s, "a", "2", &f->ei));
    store_close(s);
}

/* The log does not grow for ever, however the next write and the look for it interleave, and its
 * pages reach the file once there is nothing to do. */
static void writer_checkpoints_when_idle(void **state) {
    struct fixture *f = *state;
    struct store *s = open_store(f, 0);
    enum err inside;
    struct stat st;
    char log[160];
    for (int i = 0; i < 12; i++)
        assert_ok(store_write_wait(s, put_much_and_say_fine, &inside, &f->ei));
    snprintf(log, sizeof log, "%s-wal", f->path);
    assert_int_equal(stat(log, &st), 0);
    assert_in_range(st.st_size, 0, 48 << 20); /* 96 MiB went through it */
    for (;;) {                                /* a test that hangs has failed */
        assert_int_equal(stat(f->path, &st), 0);
        if (st.st_size >= 8 << 20)
            break;
        sched_yield();
    }
    store_close(s);
    assert_int_not_equal(stat(log, &st), 0);
    check_intact(f);
}

/* ---- search follows writing ---- */

static enum err write_message(struct store_tx *tx, void *arg, struct errinfo *ei) {
    const char *text = arg;
    struct uuid user = make_user(tx, text, false);
    struct uuid c = make_conversation(tx, user, make_role(tx, text), "", 1);
    struct message m = message_of(c, no_id, SENDER_USER, text);
    return message_append(tx, &m, ei);
}

static enum err count_words(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct query q;
    (void)ei;
    query_begin(&q, tx,
                "SELECT (SELECT count(*) FROM messages_fts('marmot')),"
                " (SELECT count(*) FROM messages WHERE"
                " seq > (SELECT until FROM messages_indexed))");
    if (query_next(&q)) {
        ((int64_t *)arg)[0] = query_int(&q, 0);
        ((int64_t *)arg)[1] = query_int(&q, 1);
    }
    return query_end(&q);
}

static void wait_for_index(struct fixture *f, struct store *s, int64_t found) {
    int64_t n[2] = {0, 1};
    while (n[0] != found || n[1]) /* a test that hangs has failed */
        assert_ok(store_read_wait(s, count_words, n, &f->ei));
}

static void written_words_are_found_without_another_write(void **state) {
    struct fixture *f = *state;
    struct store *s = open_store(f, 0);
    assert_ok(store_write_wait(s, write_message, "marmot", &f->ei));
    wait_for_index(f, s, 1);
    store_close(s);
    check_intact(f);
}

/* The process died between the message and its place in the index. */
static void words_of_a_process_that_died_are_found_after_the_start(void **state) {
    struct fixture *f = *state;
    struct store *s = open_store(f, 0);
    int64_t n[2];
    assert_ok(store_write_wait(s, write_message, "marmot", &f->ei));
    store_close(s); /* at once */
    s = open_store(f, 0);
    assert_ok(store_read_wait(s, count_words, n, &f->ei));
    assert_int_equal(n[0] + n[1], 1);
    wait_for_index(f, s, 1);
    store_close(s);
    check_intact(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_dir, fixture_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(write_then_read_sees_it_also_after_reopening),
        TEST(read_operation_cannot_write),
        TEST(read_asked_after_a_write_sees_it),
        TEST(operation_that_may_run_again_fails_alone),
        TEST(many_writes_share_a_commit),
        TEST(failed_operation_reports_its_error),
        TEST(full_queue_refuses_and_recovers),
        TEST(done_comes_in_order_on_the_loop_after_the_sync),
        TEST(close_finishes_and_still_posts),
        TEST(many_threads_read_their_own_writes),
        TEST(nth_write_fails_nothing_is_half_written),
        TEST(nth_write_finds_the_disk_full),
        TEST(nth_sync_fails_nothing_is_acknowledged),
        TEST(disk_stays_full_until_space_is_made),
        TEST(overlooked_disk_error_fails_the_operation),
        TEST(open_fails_plainly_when_the_disk_does),
        TEST(lock_of_another_is_busy_until_released),
        TEST(writer_checkpoints_when_idle),
        TEST(written_words_are_found_without_another_write),
        TEST(words_of_a_process_that_died_are_found_after_the_start),
    };
    fault_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
