/* The store's threads: one writer that commits in groups, a few readers, and two bounded queues.
 *
 *   store_write() ─→ writes ─→ writer:  BEGIN · op… · COMMIT (sync)       ─→ done, per loop
 *   store_read()  ─→ reads  ─→ readers: BEGIN (snapshot) · op… · COMMIT   ─→ done
 *
 * An operation that may be run again has no savepoint of its own (run_light()).
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
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "store/store_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"

#define GROUP_OPS         512              /* operations in one transaction at most */
#define GROUP_NS          (20 * 1000000ll) /* a group that ran so long is committed */
#define MAX_READERS       8
#define READ_OPS          64              /* operations on one snapshot at most */
#define READ_NS           (2 * 1000000ll) /* one that is so old is not used for another */
#define CHECKPOINT_PAGES  1000  /* log frames (4 KiB each) after which an idle writer checkpoints */
#define CHECKPOINT_BUSY   8000  /* … and after which a busy one does */
#define CHECKPOINT_FORCED 20000 /* readers keep the log from starting over: wait for them */
#define CLOSE_PATIENCE_S  5     /* store_close() interrupts reads that run longer */
#define INDEX_NS          (250 * 1000000ll) /* so long after a write its words can be searched for */
#define INDEX_AGAIN_NS    (5 * 1000000000ll) /* after a failure */
#define INDEX_LOOK_NS     (10 * 1000000000ll)
#define INDEX_MOST        512 /* messages in one operation */

struct waiter {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool finished;
    enum err err;
    struct errinfo *ei; /* the caller's, may be NULL */
};

struct op {
    struct op *next;
    store_fn fn;
    void *arg;
    struct loop *loop;
    store_done done;
    struct waiter *waiter; /* instead of loop and done */
    bool own;              /* the writer's: nobody's write */
    bool again;            /* store_write_again()'s */
    uint64_t asked;        /* grows from operation to operation */
    enum err err;
    struct errinfo *ei; /* owned; only of failures, NULL when memory was out */
};

struct op_queue {
    struct op *head, **tail;
    size_t n;
};

struct store {
    char *path;
    size_t max_queued;
    pthread_mutex_t mutex; /* of both queues and closing */
    pthread_cond_t writes_cond, reads_cond;
    struct op_queue writes, reads;
    uint64_t asked; /* of the newest operation */
    bool closing;
    int busy_ms;
    pthread_rwlock_t conns;            /* held for reading by who uses a reader's connection */
    struct conn *writer;               /* changed by the writer thread alone; NULL: read-only */
    struct conn *readers[MAX_READERS]; /* NULL: none could be opened */
    int n_readers;
    atomic_bool read_only;
    pthread_t writer_thread;
    pthread_t reader_threads[MAX_READERS];
    int n_threads; /* reader threads started */
    bool writer_started;
    int checkpointed;      /* log frames when the last checkpoint ran */
    int64_t index_look_ns; /* the writer's: when it looks whether another process finished some */
    int64_t index_due_ns;  /* the writer's: when it looks for messages to index; 0 = nothing new */
    _Atomic uint64_t accounts_version;
    struct errinfo
        failing; /* under mutex: why the last group could not be written; code 0 = it was */
};

/* ---- queues ---- */

static void queue_init(struct op_queue *q) {
    *q = (struct op_queue){0};
    q->tail = &q->head;
}

static void queue_push(struct op_queue *q, struct op *op) {
    op->next = NULL;
    *q->tail = op;
    q->tail = &op->next;
    q->n++;
}

static struct op *queue_pop(struct op_queue *q) {
    struct op *op = q->head;
    if (!op)
        return NULL;
    q->head = op->next;
    if (!q->head)
        q->tail = &q->head;
    q->n--;
    op->next = NULL;
    return op;
}

static struct op *pop_locked(struct store *s, struct op_queue *q) {
    pthread_mutex_lock(&s->mutex);
    struct op *op = queue_pop(q);
    pthread_mutex_unlock(&s->mutex);
    return op;
}

/* A read that was asked for no later than that one, or NULL. */
static struct op *pop_read(struct store *s, uint64_t asked) {
    pthread_mutex_lock(&s->mutex);
    struct op *op = s->reads.head && s->reads.head->asked <= asked ? queue_pop(&s->reads) : NULL;
    pthread_mutex_unlock(&s->mutex);
    return op;
}

static uint64_t newest_asked(struct store *s) {
    pthread_mutex_lock(&s->mutex);
    uint64_t asked = s->asked;
    pthread_mutex_unlock(&s->mutex);
    return asked;
}

/* Waits for an operation until then (0: for ever); *ret NULL: it is time. False: the store closes
 * and the queue is empty. */
static bool pop_wait(struct store *s, struct op_queue *q, pthread_cond_t *cond, int64_t until_ns,
                     struct op **ret) {
    struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};
    int rc = 0;
    pthread_mutex_lock(&s->mutex);
    while (!q->head && !s->closing && !rc)
        rc = until_ns ? pthread_cond_timedwait(cond, &s->mutex, &until)
                      : pthread_cond_wait(cond, &s->mutex);
    *ret = queue_pop(q);
    bool more = *ret || !s->closing;
    pthread_mutex_unlock(&s->mutex);
    return more;
}

/* ---- reporting ---- */

/* Who waits for the result is at a terminal and hears all. What goes to a loop goes on to the
 * network, which has no business with paths and SQLite's words: those are in the log. */
static void op_fail(struct op *op, enum err e, const struct errinfo *ei) {
    op->err = e;
    if (!op->ei)
        op->ei = calloc(1, sizeof *op->ei);
    if (op->ei && !op->waiter && err_is_hard(e))
        err_set(op->ei, e, NULL);
    else if (op->ei)
        *op->ei = *ei;
}

static void log_hard(enum err e, const struct errinfo *ei) {
    if (err_is_hard(e))
        log_event(LOG_WARN, "store.failed", LF_Z("code", err_code(e)), LF_ERR(ei));
}

/* An operation that failed without a word gets the error's own text, or the database's when that
 * failed. */
static void errinfo_complete(struct errinfo *ei, struct store *s, const struct store_tx *tx,
                             enum err e) {
    if (tx->hard == e)
        conn_explain(tx->conn, s->path, e, ei);
    else if (ei->code != e || !ei->message[0])
        err_set(ei, e, NULL);
}

static void op_call_done(struct op *op) {
    struct errinfo ei = {0};
    if (op->err && !op->ei)
        err_set(&ei, op->err, NULL);
    op->done(op->arg, op->err, op->ei ? op->ei : &ei);
}

/* On the loop: a list of finished operations. */
static void run_done_list(void *arg) {
    for (struct op *op = arg, *next; op; op = next) {
        next = op->next;
        op_call_done(op);
        free(op->ei);
        free(op);
    }
}

static void wake_waiter(struct op *op) {
    struct waiter *w = op->waiter;
    pthread_mutex_lock(&w->mutex);
    w->err = op->err;
    if (op->err && w->ei) {
        if (op->ei)
            *w->ei = *op->ei;
        else
            err_set(w->ei, op->err, NULL);
    }
    w->finished = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

static void post_list(struct loop *loop, struct op *list) {
    /* loop_post() fails only for want of memory, and a result that is never told would hang its
     * request. */
    const struct timespec pause = {0, 1000000};
    while (loop_post(loop, run_done_list, list))
        nanosleep(&pause, NULL);
}

/* Tells everybody in the list, in order, with one post for each loop. */
static void deliver(struct op *list) {
    while (list) {
        struct loop *loop = NULL;
        struct op *mine = NULL, **mine_tail = &mine, *rest = NULL, **rest_tail = &rest;
        for (struct op *op = list, *next; op; op = next) {
            next = op->next;
            op->next = NULL;
            if (op->waiter)
                wake_waiter(op);
            if (!op->done) {
                free(op->ei);
                free(op);
            } else if (!loop || op->loop == loop) {
                loop = op->loop;
                *mine_tail = op;
                mine_tail = &op->next;
            } else {
                *rest_tail = op;
                rest_tail = &op->next;
            }
        }
        if (mine)
            post_list(loop, mine);
        list = rest;
    }
}

/* ---- the writer ---- */

static enum err step_cached(struct conn *c, const char *sql) {
    struct store_tx tx = {.conn = c};
    struct query q;
    query_begin(&q, &tx, sql);
    return query_run(&q);
}

static const char sql_begin_write[] = "BEGIN IMMEDIATE";
static const char sql_begin_read[] = "BEGIN";
static const char sql_commit[] = "COMMIT";
static const char sql_savepoint[] = "SAVEPOINT op";
static const char sql_release[] = "RELEASE op";
static const char sql_rollback_to[] = "ROLLBACK TO op";

/* For whoever asks over the network a disk that fails is one that takes no writing now: the store
 * tries on until it does. */
static void write_fail(struct op *op, enum err e, const struct errinfo *ei) {
    op_fail(op, e == ERR_IO && !op->waiter ? ERR_READ_ONLY : e, ei);
}

/* Runs one operation in its savepoint. An error return means that the whole transaction is lost. */
static enum err run_in_savepoint(struct store *s, struct op *op, struct errinfo *ei) {
    struct conn *c = s->writer;
    struct store_tx tx = {.conn = c};
    enum err e = step_cached(c, sql_savepoint);
    if (e)
        return conn_explain(c, s->path, e, ei);
    *ei = (struct errinfo){0};
    enum err failed = op->fn(&tx, op->arg, ei);
    if (tx.hard) /* also when the operation overlooked it */
        failed = tx.hard;
    if (failed) {
        errinfo_complete(ei, s, &tx, failed);
        write_fail(op, failed, ei);
        if (sqlite3_get_autocommit(
                c->db)) /* SQLite has rolled everything back: full disk, I/O error */
            return failed;
        log_hard(failed, ei);
        if ((e = step_cached(c, sql_rollback_to)))
            return conn_explain(c, s->path, e, ei);
    }
    if ((e = step_cached(c, sql_release)))
        return conn_explain(c, s->path, e, ei);
    return ERR_OK;
}

static enum err begin_write(struct store *s, struct errinfo *ei) {
    enum err e = step_cached(s->writer, sql_begin_write);
    return e ? conn_explain(s->writer, s->path, e, ei) : ERR_OK;
}

static enum err commit_write(struct store *s) {
    log_gather(s->writer, true);
    enum err e = step_cached(s->writer, sql_commit);
    log_gather(s->writer, false);
    return e;
}

/* Undoes all that the group did so far. */
static enum err begin_anew(struct store *s, struct errinfo *ei) {
    enum err e = conn_exec(s->writer, "ROLLBACK");
    return e ? conn_explain(s->writer, s->path, e, ei) : begin_write(s, ei);
}

static enum err run_each_in_savepoint(struct store *s, struct op *first, struct errinfo *ei) {
    enum err e = begin_anew(s, ei);
    for (struct op *op = first; !e && op; op = op->next) {
        op->err = ERR_OK;
        free(op->ei);
        op->ei = NULL;
        e = run_in_savepoint(s, op, ei);
    }
    return e;
}

/* The first of a group, or one of which all so far may be run again: it has no savepoint of its
 * own, which would cost a copy of each page that it changes. When it fails behind its first change,
 * which is rare, the group begins anew. *light: becomes false then. */
static enum err run_light(struct store *s, struct op *first, struct op *op, bool *light,
                          struct errinfo *ei) {
    struct conn *c = s->writer;
    struct store_tx tx = {.conn = c};
    int changes = sqlite3_total_changes(c->db);
    *ei = (struct errinfo){0};
    enum err failed = op->fn(&tx, op->arg, ei);
    if (tx.hard)
        failed = tx.hard;
    if (!failed)
        return ERR_OK;
    bool lost = sqlite3_get_autocommit(c->db), changed = sqlite3_total_changes(c->db) != changes;
    if (!lost && changed && op != first) {
        *light = false;
        return run_each_in_savepoint(s, first, ei);
    }
    errinfo_complete(ei, s, &tx, failed);
    write_fail(op, failed, ei);
    if (lost)
        return failed;
    log_hard(failed, ei);
    return changed ? begin_anew(s, ei) : ERR_OK;
}

static void fail_group(struct store *s, struct op *group, enum err e, const struct errinfo *ei) {
    if (!sqlite3_get_autocommit(s->writer->db))
        (void)!conn_exec(s->writer, "ROLLBACK");
    for (struct op *op = group; op; op = op->next)
        if (!op->err)
            write_fail(op, e, ei);
}

/* BEGIN failed: all that wait now would wait for the same lock or disk, each for seconds. */
static void fail_queued(struct store *s, struct op **tail) {
    pthread_mutex_lock(&s->mutex);
    struct op *op;
    while ((op = queue_pop(&s->writes))) {
        *tail = op;
        tail = &op->next;
    }
    pthread_mutex_unlock(&s->mutex);
}

static void count_group(struct op *group, double seconds) {
    int64_t done = 0, hard = 0;
    for (struct op *op = group; op; op = op->next) {
        done += !op->err && !op->own;
        hard += err_is_hard(op->err);
    }
    metric_observe(M_STORE_COMMIT_SECONDS, seconds);
    if (done) {
        metric_add(M_STORE_COMMITS, 1);
        metric_add(M_STORE_WRITES, done);
    }
    if (hard)
        metric_add(M_STORE_ERRORS, hard);
}

/* What is told of it is fit for the network. */
static void note_health(struct store *s, enum err e) {
    static const char *const texts[][2] = {
        {"the disk cannot be written", "see the log (store.failed)"},
        {"the disk is full", "free some space on it"},
        {"the disk is mounted read-only", "mount it for writing"},
    };
    const char *const *t = texts[e == ERR_DISK_FULL ? 1 : e == ERR_READ_ONLY ? 2 : 0];
    pthread_mutex_lock(&s->mutex);
    if (e)
        err_set(&s->failing, e,
                "%s: what is there can be read, nothing new can be kept until that is mended; %s",
                t[0], t[1]);
    else
        s->failing.code = ERR_OK;
    pthread_mutex_unlock(&s->mutex);
}

bool store_is_read_only(struct store *s) {
    return atomic_load(&s->read_only);
}

uint64_t store_accounts_version(struct store *s) {
    return atomic_load(&s->accounts_version);
}

enum err store_health(struct store *s, struct errinfo *ei) {
    pthread_mutex_lock(&s->mutex);
    enum err e = s->failing.code;
    if (e && ei)
        *ei = s->failing;
    pthread_mutex_unlock(&s->mutex);
    return e;
}

/* Takes `first` and what else is queued through one transaction. */
/* True: the group held others behind the first, or failed. */
static bool write_group(struct store *s, struct op *first) {
    struct errinfo ei = {0};
    struct op *op = first, **tail = &first->next;
    int64_t start = clock_mono_ns();
    bool light = true; /* all so far may be run again */
    enum err e = begin_write(s, &ei);
    if (e)
        fail_queued(s, tail);
    for (int n = 0; !e && op; n++) {
        light = light && (op->again || op == first);
        e = light ? run_light(s, first, op, &light, &ei) : run_in_savepoint(s, op, &ei);
        light = light && op->again;
        if (e || n + 1 == GROUP_OPS || clock_mono_ns() - start > GROUP_NS)
            break;
        if ((op = pop_locked(s, &s->writes))) {
            *tail = op;
            tail = &op->next;
        }
    }
    if (!e && (e = commit_write(s)))
        conn_explain(s->writer, s->path, e, &ei);
    if (e) {
        log_hard(e, &ei);
        fail_group(s, first, e, &ei);
    }
    if (s->writer->accounts_changed) { /* before anybody is told: what is read next is new */
        s->writer->accounts_changed = false;
        atomic_fetch_add(&s->accounts_version, 1);
    }
    note_health(s, e);
    count_group(first, (double)(clock_mono_ns() - start) / 1e9);
    bool others = e || first->next;
    deliver(first);
    return others;
}

/* ---- the connections ---- */

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
        s->writer = c;
    return e;
}

static enum err open_views(struct store *s, struct errinfo *ei) {
    enum err e = open_readers(s, CONN_VIEW, ei);
    if (!e && (e = migrate_is_newest(s->readers[0], s->path, ei)))
        close_readers(s);
    return e;
}

/* On the writer's thread. The views are closed first: they may hold what they have of the log's
 * index, and what they see of a file that changes under them is nothing to rely on. */
static void become_writable(struct store *s) {
    struct errinfo ei = {0};
    enum err e = path_check(s->path, &ei);
    if (!e && access(s->path, F_OK) != 0) /* its disk is away, and must not be written beneath */
        e = err_set(&ei, ERR_IO, "%s is gone", s->path);
    if (!e) {
        pthread_rwlock_wrlock(&s->conns);
        close_readers(s);
        e = open_writable(s, &ei);
        if (e && open_views(s, NULL) != ERR_OK)
            log_event(LOG_ERROR, "store.not_readable",
                      LF_ERR(&ei)); /* the next probe tries again */
        pthread_rwlock_unlock(&s->conns);
    }
    note_health(s, e);
    if (e)
        return;
    atomic_store(&s->read_only, false);
    atomic_fetch_add(&s->accounts_version, 1);
    log_event(LOG_WARN, "store.writable_again");
}

/* Copies the log into the database. PASSIVE waits for nobody. When the log grows all the same
 * because readers always hold a part of it, RESTART waits for those that read the old part; new
 * ones read the file and do not prolong the wait. A failure is met again, and reported, by the next
 * commit. */
static void checkpoint_if_due(struct store *s) {
    int pages = s->writer->wal_pages;
    if (pages < s->checkpointed)
        s->checkpointed = 0; /* the log has started over */
    int grown = pages - s->checkpointed;
    if (grown < CHECKPOINT_PAGES)
        return;
    pthread_mutex_lock(&s->mutex);
    bool idle = s->writes.n == 0;
    pthread_mutex_unlock(&s->mutex);
    if (!idle && grown < CHECKPOINT_BUSY)
        return;
    int mode = pages >= CHECKPOINT_FORCED ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE;
    (void)sqlite3_wal_checkpoint_v2(s->writer->db, NULL, mode, NULL, NULL);
    s->checkpointed = pages;
}

static enum err probe_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)arg, (void)ei;
    return setting_set(tx, "store_probe", STR("1"));
}

/* Without a writer: everybody who waits is told why. A probe among them looks whether the disk
 * takes writing again. */
static void refuse_group(struct store *s, struct op *first) {
    struct errinfo ei = {0};
    enum err e = store_health(s, &ei);
    bool probed = false;
    fail_queued(s, &first->next);
    for (struct op *op = first; op; op = op->next) {
        probed = probed || op->fn == probe_fn;
        write_fail(op, e, &ei);
        metric_add(M_STORE_ERRORS, 1);
    }
    if (probed)
        become_writable(s);
    deliver(first);
}

/* The writer's own operation, in the group with those that wait. */
static enum err index_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct store *s = arg;
    int n = 0;
    int64_t now = clock_mono_ns();
    bool look = now >= s->index_look_ns;
    (void)ei;
    enum err e = message_index(tx, INDEX_MOST, look, &n);
    if (!e && look)
        s->index_look_ns = now + INDEX_LOOK_NS;
    now = clock_mono_ns();
    s->index_due_ns = e ? now + INDEX_AGAIN_NS : n == INDEX_MOST ? now : 0;
    return e;
}

static void index_messages(struct store *s) {
    struct op *op = calloc(1, sizeof *op);
    s->index_due_ns = clock_mono_ns() + INDEX_AGAIN_NS; /* should it not even begin */
    if (!op)
        return;
    op->own = op->again = true;
    op->fn = index_fn;
    op->arg = s;
    if (write_group(s, op) && !s->index_due_ns) /* what they wrote is noted and not indexed yet */
        s->index_due_ns = clock_mono_ns() + INDEX_NS;
}

static void *writer_main(void *arg) {
    struct store *s = arg;
    struct op *op;
    while (pop_wait(s, &s->writes, &s->writes_cond, s->writer ? s->index_due_ns : 0, &op)) {
        if (op && !s->writer) {
            refuse_group(s, op);
            continue;
        }
        if (op)
            (void)write_group(s, op);
        if (op && !s->index_due_ns)
            s->index_due_ns = clock_mono_ns() + INDEX_NS;
        if (!op || clock_mono_ns() >= s->index_due_ns)
            index_messages(s);
        checkpoint_if_due(s);
    }
    return NULL;
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
        errinfo_complete(&ei, s, &tx, e);
        op_fail(op, e, &ei);
        log_hard(e, &ei);
        if (err_is_hard(e))
            metric_add(M_STORE_ERRORS, 1);
    }
    return !err_is_hard(e);
}

/* The first, and on its snapshot those that were asked for before it was taken: a connection
 * forgets its pages whenever somebody has written, and so does it once for all of them. Whoever
 * asked later may have been told of a write that the snapshot has not, and waits for the next. */
static void read_group(struct store *s, struct conn *c, struct op *op) {
    uint64_t asked = newest_asked(s);
    int64_t start = clock_mono_ns();
    enum err e = c ? step_cached(c, sql_begin_read) : ERR_IO;
    for (int n = 1; op; n++) {
        bool more = read_one(s, c, e, op) && n < READ_OPS && clock_mono_ns() - start < READ_NS;
        deliver(op);
        op = more ? pop_read(s, asked) : NULL;
    }
    if (!e && step_cached(c, sql_commit) && !sqlite3_get_autocommit(c->db))
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
    while (pop_wait(start.s, &start.s->reads, &start.s->reads_cond, 0, &op)) {
        pthread_rwlock_rdlock(&start.s->conns);
        read_group(start.s, start.s->readers[start.i], op);
        pthread_rwlock_unlock(&start.s->conns);
    }
    return NULL;
}

/* ---- queueing ---- */

static enum err submit(struct store *s, bool write, const struct op *like) {
    struct op *op = malloc(sizeof *op);
    if (!op)
        return ERR_NOMEM;
    *op = *like;
    struct op_queue *q = write ? &s->writes : &s->reads;
    enum err e = ERR_OK;
    pthread_mutex_lock(&s->mutex);
    if (s->closing)
        e = ERR_UNAVAILABLE;
    else if (q->n >= s->max_queued)
        e = ERR_OVERLOADED;
    else {
        op->asked = ++s->asked;
        queue_push(q, op);
        pthread_cond_signal(write ? &s->writes_cond : &s->reads_cond);
    }
    pthread_mutex_unlock(&s->mutex);
    if (e)
        free(op);
    return e;
}

static enum err submit_async(struct store *s, bool write, const struct op *like) {
    return like->done && !like->loop ? ERR_INVALID : submit(s, write, like);
}

static enum err submit_wait(struct store *s, bool write, store_fn fn, void *arg,
                            struct errinfo *ei) {
    struct waiter w = {.ei = ei};
    pthread_mutex_init(&w.mutex, NULL);
    pthread_cond_init(&w.cond, NULL);
    enum err e = submit(s, write, &(struct op){.fn = fn, .arg = arg, .waiter = &w});
    if (e) {
        err_set(ei, e, NULL);
    } else {
        pthread_mutex_lock(&w.mutex);
        while (!w.finished)
            pthread_cond_wait(&w.cond, &w.mutex);
        pthread_mutex_unlock(&w.mutex);
        e = w.err;
    }
    pthread_cond_destroy(&w.cond);
    pthread_mutex_destroy(&w.mutex);
    return e;
}

enum err store_read(struct store *s, store_fn fn, void *arg, struct loop *loop, store_done done) {
    return submit_async(s, false, &(struct op){.fn = fn, .arg = arg, .loop = loop, .done = done});
}

enum err store_write(struct store *s, store_fn fn, void *arg, struct loop *loop, store_done done) {
    return submit_async(s, true, &(struct op){.fn = fn, .arg = arg, .loop = loop, .done = done});
}

enum err store_write_again(struct store *s, store_fn fn, void *arg, struct loop *loop,
                           store_done done) {
    return submit_async(
        s, true, &(struct op){.fn = fn, .arg = arg, .loop = loop, .done = done, .again = true});
}

enum err store_read_wait(struct store *s, store_fn fn, void *arg, struct errinfo *ei) {
    return submit_wait(s, false, fn, arg, ei);
}

enum err store_write_wait(struct store *s, store_fn fn, void *arg, struct errinfo *ei) {
    return submit_wait(s, true, fn, arg, ei);
}

enum err store_probe(struct store *s) {
    return store_write(s, probe_fn, NULL, NULL, NULL);
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
    if (open_views(s, &why) != ERR_OK) {
        if (e == ERR_READ_ONLY && ei)
            *ei = why;
        return e == ERR_READ_ONLY ? why.code : e;
    }
    note_health(s, e);
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
    if (readers < 0 || readers > MAX_READERS)
        return err_set(ei, ERR_INVALID, "the store takes 1 to %d reader threads", MAX_READERS);
    struct store *s = calloc(1, sizeof *s);
    enum err e = ERR_OK;
    if (!s)
        return err_set(ei, ERR_NOMEM, NULL);
    init_locks(s);
    queue_init(&s->writes);
    queue_init(&s->reads);
    s->max_queued = o->max_queued ? o->max_queued : 20000;
    s->busy_ms = o->busy_timeout_ms ? o->busy_timeout_ms : 2000;
    s->n_readers = readers;
    s->path = strdup(o->path ? o->path : "");
    if (!s->path)
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
    conn_close(s->writer);
    pthread_rwlock_destroy(&s->conns);
    pthread_cond_destroy(&s->writes_cond);
    pthread_cond_destroy(&s->reads_cond);
    pthread_mutex_destroy(&s->mutex);
    free(s->path);
    free(s);
}
