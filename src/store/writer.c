/* The writer: takes all that waits through one transaction, checkpoints, and enters new messages
 * into the search index. See store.c for the invariants. */
#include <stdio.h>
#include <stdlib.h>

#include "store/store_threads.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"

#define GROUP_OPS         512              /* operations in one transaction at most */
#define GROUP_NS          (20 * 1000000ll) /* a group that ran so long is committed */
#define CHECKPOINT_PAGES  1000  /* log frames (4 KiB each) after which an idle writer checkpoints */
#define CHECKPOINT_BUSY   8000  /* … and after which a busy one does */
#define CHECKPOINT_FORCED 20000 /* readers keep the log from starting over: wait for them */
#define INDEX_NS          (250 * 1000000ll) /* so long after a write its words can be searched for */
#define INDEX_AGAIN_NS    (5 * 1000000000ll) /* after a failure */
#define INDEX_LOOK_NS     (10 * 1000000000ll)
#define INDEX_MOST        512 /* messages in one operation */

static const char sql_begin_write[] = "BEGIN IMMEDIATE";
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
    enum err e = conn_step(c, sql_savepoint);
    marks_op(c);
    if (e)
        return conn_explain(c, s->path, e, ei);
    *ei = (struct errinfo){0};
    enum err failed = op->fn(&tx, op->arg, ei);
    if (tx.hard) /* also when the operation overlooked it */
        failed = tx.hard;
    if (failed) {
        op_explain(ei, s, &tx, failed);
        write_fail(op, failed, ei);
        if (sqlite3_get_autocommit(
                c->db)) /* SQLite has rolled everything back: full disk, I/O error */
            return failed;
        op_log_hard(failed, ei);
        if ((e = conn_step(c, sql_rollback_to)))
            return conn_explain(c, s->path, e, ei);
    }
    if ((e = conn_step(c, sql_release)))
        return conn_explain(c, s->path, e, ei);
    return ERR_OK;
}

static enum err begin_write(struct store *s, struct errinfo *ei) {
    enum err e = conn_step(s->writer, sql_begin_write);
    if (e)
        return conn_explain(s->writer, s->path, e, ei);
    marks_begin(s->writer);
    return ERR_OK;
}

static enum err commit_write(struct store *s) {
    log_gather(s->writer, true);
    enum err e = conn_step(s->writer, sql_commit);
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
    marks_op(c);
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
    op_explain(ei, s, &tx, failed);
    write_fail(op, failed, ei);
    if (lost)
        return failed;
    op_log_hard(failed, ei);
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
    while ((op = op_queue_pop(&s->writes))) {
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
void writer_note_health(struct store *s, enum err e) {
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

/* Takes `first` and what else is queued through one transaction. True: the group held others
 * behind the first, or failed. */
static bool write_group(struct store *s, struct op *first) {
    struct errinfo ei = {0};
    struct op *op = first, **tail = &first->next;
    int64_t start = clock_mono_ns();
    bool light = true; /* all so far may be run again */
    s->writer->committed = false;
    enum err e = begin_write(s, &ei);
    if (e)
        fail_queued(s, tail);
    for (int n = 0; !e && op; n++) {
        light = light && (op->again || op == first);
        e = light ? run_light(s, first, op, &light, &ei) : run_in_savepoint(s, op, &ei);
        light = light && op->again;
        if (e || n + 1 == GROUP_OPS || clock_mono_ns() - start > GROUP_NS)
            break;
        if ((op = op_pop(s, &s->writes))) {
            *tail = op;
            tail = &op->next;
        }
    }
    if (!e && (e = commit_write(s)))
        conn_explain(s->writer, s->path, e, &ei);
    if (e) {
        op_log_hard(e, &ei);
        fail_group(s, first, e, &ei);
    }
    marks_end(s->writer); /* before anybody is told: what is read next is new */
    if (s->writer->accounts_changed) {
        s->writer->accounts_changed = false;
        atomic_fetch_add(&s->accounts_version, 1);
    }
    if (e || s->writer->committed) /* one that changed nothing says nothing of the disk */
        writer_note_health(s, e);
    count_group(first, (double)(clock_mono_ns() - start) / 1e9);
    bool others = e || first->next;
    ops_deliver(first);
    return others;
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

/* Another value each time: SQLite does not write what stands there already. */
enum err store_touch(struct store_tx *tx) {
    char value[32];
    snprintf(value, sizeof value, "%lld", (long long)clock_mono_ns());
    return setting_set(tx, "store_probe", str_from(value));
}

static enum err probe_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)arg, (void)ei;
    return store_touch(tx);
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
        store_become_writable(s);
    ops_deliver(first);
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

void *writer_main(void *arg) {
    struct store *s = arg;
    struct op *op;
    while (op_pop_wait(s, &s->writes, &s->writes_cond, s->writer ? s->index_due_ns : 0, &op)) {
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

enum err store_probe(struct store *s) {
    return store_write(s, probe_fn, NULL, NULL, NULL);
}
