/* What the files of the store's threads share: store.c (connections, readers, opening and closing),
 * ops.c (operations, their queues, their results) and writer.c (the writer's thread).
 *
 * An operation belongs to its queue, then to the thread that took it out, then to the loop that is
 * told of its result. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "store/store_internal.h"

#define STORE_READERS_MAX 8

struct waiter;

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
    pthread_rwlock_t conns; /* held for reading by who uses a reader's connection */
    struct conn *writer;    /* changed by the writer thread alone; NULL: read-only */
    struct conn *readers[STORE_READERS_MAX]; /* NULL: none could be opened */
    int n_readers;
    atomic_bool read_only;
    pthread_t writer_thread;
    pthread_t reader_threads[STORE_READERS_MAX];
    int n_threads; /* reader threads started */
    bool writer_started;
    int checkpointed;      /* log frames when the last checkpoint ran */
    int64_t index_look_ns; /* the writer's: when it looks whether another process finished some */
    int64_t index_due_ns;  /* the writer's: when it looks for messages to index; 0 = nothing new */
    _Atomic uint64_t accounts_version;
    struct marks *marks; /* owned */
    struct errinfo
        failing; /* under mutex: why the last group could not be written; code 0 = it was */
};

/* ---- ops.c ---- */
void op_queue_init(struct op_queue *q);
struct op *op_queue_pop(struct op_queue *q); /* with the store's mutex held; NULL: empty */
struct op *op_pop(struct store *s, struct op_queue *q);
/* A read that was asked for no later than that one, or NULL. */
struct op *op_pop_read(struct store *s, uint64_t asked);
uint64_t ops_newest_asked(struct store *s);
/* Waits for an operation until then (0: for ever); *ret NULL: it is time. False: the store closes
 * and the queue is empty. */
bool op_pop_wait(struct store *s, struct op_queue *q, pthread_cond_t *cond, int64_t until_ns,
                 struct op **ret);
/* Who waits for the result is at a terminal and hears all. What goes to a loop goes on to the
 * network, which has no business with paths and SQLite's words: those are in the log. */
void op_fail(struct op *op, enum err e, const struct errinfo *ei);
void op_log_hard(enum err e, const struct errinfo *ei);
/* An operation that failed without a word gets the error's own text, or the database's when that
 * failed. */
void op_explain(struct errinfo *ei, struct store *s, const struct store_tx *tx, enum err e);
/* Tells everybody in the list, in order, with one post for each loop. */
void ops_deliver(struct op *list);

/* ---- writer.c ---- */
void *writer_main(void *store);
void writer_note_health(struct store *s,
                        enum err e); /* why nothing can be written; ERR_OK: it can */

/* ---- store.c ---- */
/* A probe, on the writer's thread: opens for writing what was opened for reading, if it can be. */
void store_become_writable(struct store *s);
