/* Operations on their way: into the queues, out to the store's threads, and back with their results
 * to the loops or threads that wait. See store_threads.h. */
#include <stdlib.h>
#include <time.h>

#include "store/store_threads.h"

#include "base/log.h"

struct waiter {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool finished;
    enum err err;
    struct errinfo *ei; /* the caller's, may be NULL */
};

/* ---- queues ---- */

void op_queue_init(struct op_queue *q) {
    *q = (struct op_queue){0};
    q->tail = &q->head;
}

static void queue_push(struct op_queue *q, struct op *op) {
    op->next = NULL;
    *q->tail = op;
    q->tail = &op->next;
    q->n++;
}

struct op *op_queue_pop(struct op_queue *q) {
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

struct op *op_pop(struct store *s, struct op_queue *q) {
    pthread_mutex_lock(&s->mutex);
    struct op *op = op_queue_pop(q);
    pthread_mutex_unlock(&s->mutex);
    return op;
}

struct op *op_pop_read(struct store *s, uint64_t asked) {
    pthread_mutex_lock(&s->mutex);
    struct op *op = s->reads.head && s->reads.head->asked <= asked ? op_queue_pop(&s->reads) : NULL;
    pthread_mutex_unlock(&s->mutex);
    return op;
}

uint64_t ops_newest_asked(struct store *s) {
    pthread_mutex_lock(&s->mutex);
    uint64_t asked = s->asked;
    pthread_mutex_unlock(&s->mutex);
    return asked;
}

bool op_pop_wait(struct store *s, struct op_queue *q, pthread_cond_t *cond, int64_t until_ns,
                 struct op **ret) {
    struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};
    int rc = 0;
    pthread_mutex_lock(&s->mutex);
    while (!q->head && !s->closing && !rc)
        rc = until_ns ? pthread_cond_timedwait(cond, &s->mutex, &until)
                      : pthread_cond_wait(cond, &s->mutex);
    *ret = op_queue_pop(q);
    bool more = *ret || !s->closing;
    pthread_mutex_unlock(&s->mutex);
    return more;
}

/* ---- reporting ---- */

void op_fail(struct op *op, enum err e, const struct errinfo *ei) {
    op->err = e;
    if (!op->ei)
        op->ei = calloc(1, sizeof *op->ei);
    if (op->ei && !op->waiter && err_is_hard(e))
        err_set(op->ei, e, NULL);
    else if (op->ei)
        *op->ei = *ei;
}

void op_log_hard(enum err e, const struct errinfo *ei) {
    if (err_is_hard(e))
        log_event(LOG_WARN, "store.failed", LF_Z("code", err_code(e)), LF_ERR(ei));
}

void op_explain(struct errinfo *ei, struct store *s, const struct store_tx *tx, enum err e) {
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

void ops_deliver(struct op *list) {
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
