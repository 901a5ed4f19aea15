/* The store's threads: one writer that commits in groups, a few readers, and two bounded queues.
 *
 *   store_write() ─→ writes ─→ writer:  BEGIN · op… · COMMIT (sync)       ─→ done, per loop
 *   store_read()  ─→ reads  ─→ readers: BEGIN (snapshot) · op… · COMMIT   ─→ done
 *
 * Queues and results are in ops.c, the writer is in writer.c; here are the connections, the
 * readers, opening and closing. An operation that may be run again has no savepoint of its own
 * (run_light()).
 *
 * Invariants: done(ERR_OK) of a write is posted only after its COMMIT returned; a group is durable
 * as a whole or not there; an operation that failed leaves nothing. The writer checkpoints, when it
 * is idle, so that no commit pays for it. Nothing here knows what an operation does, but for the
 * writer's own: now and then it enters new messages into the search index, a group at a time.
 *
 * A store that was opened on a disk that takes nothing has no writer connection and views
 * (CONN_VIEW) for readers. A probe changes all of them at once, while nobody reads. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "store/store_threads.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"

#define READ_OPS         64              /* operations on one snapshot at most */
#define READ_NS          (2 * 1000000ll) /* one that is so old is not used for another */
#define CLOSE_PATIENCE_S 5               /* store_close() interrupts reads that run longer */

/* ---- the connections ---- */

static const char sql_begin_read[] = "BEGIN";
static const char sql_commit[] = "COMMIT";

static void close_readers(struct store *s) {
    for (int i = 0; i < s->n_readers; i++) {
        conn_close(s->readers[i]);
        s->readers[i] = NULL;
    }
}

static enum err open_readers(struct store *s, enum conn_mode mode, struct errinfo *ei) {
    enum err e = ERR_OK;
    for (int i = 0; !e && i < s->n_readers; i++)
        e = conn_open(s->path, mode, s->busy_ms, &s->readers[i], ei);
    if (e)
        close_readers(s);
    return e;
}

static enum err open_writable(struct store *s, struct errinfo *ei) {
    struct conn *c = NULL;
    int64_t left = 0; /* messages that are not in the search index yet: their process died */
    enum err e = conn_open(s->path, CONN_WRITE, s->busy_ms, &c, ei);
    if (!e)
        e = migrate(c, s->path, ei);
    if (!e && !conn_int(c,
                        "SELECT EXISTS (SELECT 1 FROM messages WHERE"
                        " seq > (SELECT until FROM messages_indexed))"
                        " OR EXISTS (SELECT 1 FROM messages_waiting)",
                        &left))
        s->index_due_ns = left; /* 1: at once */
    if (!e)
        e = open_readers(s, CONN_READ, ei);
    if (e)
        conn_close(c);
    else
        marks_open(s->marks, s->writer = c);
    return e;
}

static enum err open_views(struct store *s, int *ret_version, struct errinfo *ei) {
    enum err e = open_readers(s, CONN_VIEW, ei);
    if (!e && (e = migrate_is_readable(s->readers[0], s->path, ret_version, ei)))
        close_readers(s);
    return e;
}

/* On the writer's thread. The views are closed first: they may hold what they have of the log's
 * index, and what they see of a file that changes under them is nothing to rely on. */
void store_become_writable(struct store *s) {
    struct errinfo ei = {0};
    int version;
    enum err e = path_check(s->path, &ei);
    if (!e && access(s->path, F_OK) != 0) /* its disk is away, and must not be written beneath */
        e = err_set(&ei, ERR_IO, "%s is gone", s->path);
    if (!e) {
        pthread_rwlock_wrlock(&s->conns);
        close_readers(s);
        e = open_writable(s, &ei);
        if (e && open_views(s, &version, NULL) != ERR_OK)
            log_event(LOG_ERROR, "store.not_readable",
                      LF_ERR(&ei)); /* the next probe tries again */
        pthread_rwlock_unlock(&s->conns);
    }
    writer_note_health(s, e);
    if (e)
        return;
    atomic_store(&s->read_only, false);
    atomic_fetch_add(&s->accounts_version, 1);
    log_event(LOG_WARN, "store.writable_again");
}

/* ---- readers ---- */

/* False: this snapshot serves nobody else. */
static bool read_one(struct store *s, struct conn *c, enum err begun, struct op *op) {
    struct errinfo ei = {0};
    struct store_tx tx = {.conn = c, .hard = begun};
    enum err e = begun ? begun : op->fn(&tx, op->arg, &ei);
    if (tx.hard)
        e = tx.hard;
    if (e) {
        op_explain(&ei, s, &tx, e);
        op_fail(op, e, &ei);
        op_log_hard(e, &ei);
        if (err_is_hard(e))
            metric_add(M_STORE_ERRORS, 1);
    }
    return !err_is_hard(e);
}

/* The first, and on its snapshot those that were asked for before it was taken: a connection
 * forgets its pages whenever somebody has written, and so does it once for all of them. Whoever
 * asked later may have been told of a write that the snapshot has not, and waits for the next. */
static void read_group(struct store *s, struct conn *c, struct op *op) {
    uint64_t asked = ops_newest_asked(s);
    int64_t start = clock_mono_ns();
    enum err e = c ? conn_step(c, sql_begin_read) : ERR_IO;
    for (int n = 1; op; n++) {
        bool more = read_one(s, c, e, op) && n < READ_OPS && clock_mono_ns() - start < READ_NS;
        ops_deliver(op);
        op = more ? op_pop_read(s, asked) : NULL;
    }
    if (!e && conn_step(c, sql_commit) && !sqlite3_get_autocommit(c->db))
        (void)!conn_exec(c, "ROLLBACK");
}

struct reader_start {
    struct store *s;
    int i;
};

static void *reader_main(void *arg) {
    struct reader_start start = *(struct reader_start *)arg;
    free(arg);
    struct op *op;
    while (op_pop_wait(start.s, &start.s->reads, &start.s->reads_cond, 0, &op)) {
        pthread_rwlock_rdlock(&start.s->conns);
        read_group(start.s, start.s->readers[start.i], op);
        pthread_rwlock_unlock(&start.s->conns);
    }
    return NULL;
}

/* ---- opening and closing ---- */

/* As it is meant to be, or else at least for reading. */
static enum err open_conns(struct store *s, struct errinfo *ei) {
    enum err e = path_check(s->path, ei);
    if (!e)
        e = open_writable(s, ei);
    if ((e != ERR_READ_ONLY && e != ERR_DISK_FULL) || access(s->path, F_OK) != 0)
        return e;
    struct errinfo why = {0};
    int version = 0;
    if (open_views(s, &version, &why) != ERR_OK) {
        if (e == ERR_READ_ONLY && ei)
            *ei = why;
        return e == ERR_READ_ONLY ? why.code : e;
    }
    if (version < migrate_newest())
        log_event(LOG_WARN, "store.update_put_off", LF_INT("schema", version),
                  LF_INT("newest", migrate_newest()));
    writer_note_health(s, e);
    atomic_store(&s->read_only, true);
    return ERR_OK;
}

static enum err start_threads(struct store *s, struct errinfo *ei) {
    if (pthread_create(&s->writer_thread, NULL, writer_main, s))
        return err_set(ei, ERR_NOMEM, "cannot start the store's writer thread");
    s->writer_started = true;
    while (s->n_threads < s->n_readers) {
        struct reader_start *start = malloc(sizeof *start);
        if (!start)
            return err_set(ei, ERR_NOMEM, NULL);
        *start = (struct reader_start){s, s->n_threads};
        if (pthread_create(&s->reader_threads[s->n_threads], NULL, reader_main, start)) {
            free(start);
            return err_set(ei, ERR_NOMEM, "cannot start a reader thread of the store");
        }
        s->n_threads++;
    }
    return ERR_OK;
}

static void init_locks(struct store *s) {
    pthread_rwlockattr_t attr; /* readers one after the other must not keep the writer waiting */
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&s->conns, &attr);
    pthread_rwlockattr_destroy(&attr);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&s->writes_cond, &clock);
    pthread_condattr_destroy(&clock);
    pthread_cond_init(&s->reads_cond, NULL);
}

enum err store_open(const struct store_options *o, struct store **ret, struct errinfo *ei) {
    int readers = o->readers ? o->readers : 2;
    if (readers < 0 || readers > STORE_READERS_MAX)
        return err_set(ei, ERR_INVALID, "the store takes 1 to %d reader threads",
                       STORE_READERS_MAX);
    struct store *s = calloc(1, sizeof *s);
    enum err e = ERR_OK;
    if (!s)
        return err_set(ei, ERR_NOMEM, NULL);
    init_locks(s);
    op_queue_init(&s->writes);
    op_queue_init(&s->reads);
    s->max_queued = o->max_queued ? o->max_queued : 20000;
    s->busy_ms = o->busy_timeout_ms ? o->busy_timeout_ms : 2000;
    s->n_readers = readers;
    s->path = strdup(o->path ? o->path : "");
    s->marks = marks_new();
    if (!s->path || !s->marks)
        e = err_set(ei, ERR_NOMEM, NULL);
    if (!e)
        e = open_conns(s, ei);
    if (!e)
        e = start_threads(s, ei);
    if (e)
        store_close(s);
    else
        *ret = s;
    return e;
}

static void join_reader(struct store *s, int i) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until); /* what pthread_timedjoin_np() counts by */
    until.tv_sec += CLOSE_PATIENCE_S;
    while (pthread_timedjoin_np(s->reader_threads[i], NULL, &until) == ETIMEDOUT) {
        if (s->readers[i]) /* the writer, which alone changes it, has ended */
            sqlite3_interrupt(s->readers[i]->db);
        until.tv_sec++;
    }
}

void store_close(struct store *s) {
    if (!s)
        return;
    pthread_mutex_lock(&s->mutex);
    s->closing = true;
    pthread_cond_broadcast(&s->writes_cond);
    pthread_cond_broadcast(&s->reads_cond);
    pthread_mutex_unlock(&s->mutex);
    if (s->writer_started)
        pthread_join(s->writer_thread, NULL);
    for (int i = 0; i < s->n_threads; i++)
        join_reader(s, i);
    close_readers(s);
    if (s->writer && s->writer_started)
        (void)sqlite3_wal_checkpoint_v2(s->writer->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL,
                                        NULL);
    if (s->writer)
        marks_close(s->marks);
    conn_close(s->writer);
    marks_free(s->marks);
    pthread_rwlock_destroy(&s->conns);
    pthread_cond_destroy(&s->writes_cond);
    pthread_cond_destroy(&s->reads_cond);
    pthread_mutex_destroy(&s->mutex);
    free(s->path);
    free(s);
}
