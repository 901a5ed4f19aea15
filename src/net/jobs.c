/* The job pool: a bounded ring of jobs, taken in order by a fixed number of threads. The result of
 * a job goes back as a message to the loop that asked; the threads touch nothing of a loop's. */
#include "net/jobs.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"

struct job {
    loop_fn work, done;
    struct loop *loop;
    void *arg;
};

struct jobs {
    pthread_mutex_t lock;
    pthread_cond_t more, ended;
    struct job *ring; /* max_queued slots, of which n are used from `first` on */
    size_t size, first, n;
    bool closing;
    int threads, living; /* started; of them, not at their end */
    pthread_t ids[];
};

static void *run(void *arg) {
    struct jobs *p = arg;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (p->n == 0 && !p->closing)
            pthread_cond_wait(&p->more, &p->lock);
        if (p->closing)
            break;
        struct job job = p->ring[p->first];
        p->first = (p->first + 1) % p->size;
        p->n--;
        pthread_mutex_unlock(&p->lock);
        job.work(job.arg);
        /* Without memory for the message the answer would be lost for good: try until there is
         * some. */
        while (job.done && loop_post(job.loop, job.done, job.arg) != ERR_OK)
            sched_yield();
        pthread_mutex_lock(&p->lock);
    }
    if (--p->living == 0)
        pthread_cond_signal(&p->ended);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* The threads leave signals to the main thread's loop. */
static enum err start_threads(struct jobs *p, int threads) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = 0;
    pthread_mutex_lock(&p->lock);
    while (p->threads < threads && rc == 0) {
        rc = pthread_create(&p->ids[p->threads], NULL, run, p);
        if (rc == 0)
            p->threads = ++p->living;
    }
    pthread_mutex_unlock(&p->lock);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc == 0 ? ERR_OK : ERR_NOMEM;
}

enum err jobs_new(int threads, size_t max_queued, struct jobs **ret) {
    if (threads < 1 || max_queued < 1)
        return ERR_INVALID;
    struct jobs *p = calloc(1, sizeof *p + (size_t)threads * sizeof p->ids[0]);
    if (!p)
        return ERR_NOMEM;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->more, NULL);
    clock_cond_init(&p->ended);
    p->size = max_queued;
    p->ring = calloc(max_queued, sizeof *p->ring);
    enum err e = p->ring ? start_threads(p, threads) : ERR_NOMEM;
    if (e) {
        jobs_free(p);
        return e;
    }
    *ret = p;
    return ERR_OK;
}

static void close_pool(struct jobs *p) {
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    pthread_cond_broadcast(&p->more);
    pthread_mutex_unlock(&p->lock);
}

bool jobs_end(struct jobs *p, int ms) {
    if (!p)
        return true;
    close_pool(p);
    pthread_mutex_lock(&p->lock);
    while (p->living && clock_cond_wait(&p->ended, &p->lock, ms * 1000000ll))
        ;
    bool all = p->living == 0;
    pthread_mutex_unlock(&p->lock);
    if (all)
        jobs_free(p);
    return all;
}

void jobs_free(struct jobs *p) {
    if (!p)
        return;
    close_pool(p);
    for (int i = 0; i < p->threads; i++)
        pthread_join(p->ids[i], NULL);
    pthread_cond_destroy(&p->more);
    pthread_cond_destroy(&p->ended);
    pthread_mutex_destroy(&p->lock);
    free(p->ring);
    free(p);
}

enum err jobs_submit(struct jobs *p, loop_fn work, struct loop *loop, loop_fn done, void *arg) {
    enum err e = ERR_OVERLOADED;
    pthread_mutex_lock(&p->lock);
    if (p->n < p->size) {
        p->ring[(p->first + p->n++) % p->size] =
            (struct job){.work = work, .done = done, .loop = loop, .arg = arg};
        pthread_cond_signal(&p->more);
        e = ERR_OK;
    }
    pthread_mutex_unlock(&p->lock);
    return e;
}
