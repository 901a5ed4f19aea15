/* The event loop: a libevent base without locks, and one way in from other threads.
 *
 * Posts lie in an array under a mutex. The first post into an empty array wakes the loop, later
 * ones only append; the loop swaps the array for its second one and runs what it holds. So the
 * order of posting is kept, nothing is allocated for each post, and a burst costs one wake. Other
 * threads wake it by the eventfd, which is watched for edges: each write is one, and nobody has to
 * read. What the loop posts to itself costs no call: it becomes active at once, or, from within a
 * post, with a timer of no time, behind the sockets that are ready.
 *
 * Signals: libevent delivers them to one base of the process; watch them on one loop only. */
#include "net/loop.h"

#include <curl/curl.h>
#include <errno.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "net/net_internal.h"

struct post {
    loop_fn fn;
    void *arg;
};

struct posts {
    struct post *items;
    size_t n, size;
};

struct watch {
    struct watch *next;
    struct event event;
    loop_fn fn;
    void *arg;
};

struct loop {
    struct event_base *base;
    int wake_fd;
    struct event wake, again; /* again: what posts have posted */
    struct watch *watches;
    atomic_bool stopping;
    pthread_mutex_t lock;
    struct posts queued;  /* guarded by lock */
    struct posts running; /* the loop's own; empty outside run_posts() */
    bool posting; /* the loop's own: in run_posts(); what it posts then waits behind the sockets */
};

static _Thread_local struct loop *current;

enum err net_init(struct errinfo *ei) {
    signal(SIGPIPE, SIG_IGN); /* a peer that is gone is an error of write(), not our death */
    if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK)
        return err_set(ei, ERR_INTERNAL, "libcurl cannot be initialised");
    return ERR_OK;
}

struct event_base *loop_base(struct loop *l) {
    return l->base;
}

static void run_posts(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct loop *l = arg;
    pthread_mutex_lock(&l->lock);
    struct posts taken = l->queued;
    l->queued = l->running;
    l->running = (struct posts){0};
    pthread_mutex_unlock(&l->lock);
    l->posting = true;
    for (size_t i = 0; i < taken.n; i++)
        taken.items[i].fn(taken.items[i].arg);
    l->posting = false;
    taken.n = 0;
    l->running = taken;
    if (atomic_load(&l->stopping))
        event_base_loopbreak(l->base);
}

static void wake(struct loop *l) {
    static const struct timeval now = {0};
    uint64_t one = 1;
    if (current == l && !l->posting)
        event_active(&l->wake, EV_TIMEOUT, 0);
    else if (current != l || event_add(&l->again, &now) != 0)
        (void)!write(l->wake_fd, &one, sizeof one); /* the counter is never full */
}

static enum err open_loop(struct loop *l) {
    struct event_config *config = event_config_new();
    if (!config)
        return ERR_NOMEM;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    event_config_require_features(config, EV_FEATURE_ET);
    l->base = event_base_new_with_config(config);
    event_config_free(config);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!l->base || l->wake_fd < 0)
        return ERR_IO;
    event_assign(&l->again, l->base, -1, 0, run_posts, l);
    event_assign(&l->wake, l->base, l->wake_fd, EV_READ | EV_ET | EV_PERSIST, run_posts, l);
    return event_add(&l->wake, NULL) == 0 ? ERR_OK : ERR_IO;
}

enum err loop_new(struct loop **ret, struct errinfo *ei) {
    struct loop *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(ei, ERR_NOMEM, NULL);
    l->wake_fd = -1;
    pthread_mutex_init(&l->lock, NULL);
    enum err e = open_loop(l);
    if (e) {
        err_set(ei, e, "an event loop cannot be opened: %s", strerror(errno));
        loop_free(l);
        return e;
    }
    *ret = l;
    return ERR_OK;
}

void loop_free(struct loop *l) {
    if (!l)
        return;
    for (struct watch *w = l->watches, *next; w; w = next) {
        next = w->next;
        event_del(&w->event);
        free(w);
    }
    if (l->base && event_initialized(&l->wake)) {
        event_del(&l->wake);
        event_del(&l->again);
    }
    if (l->base)
        event_base_free(l->base);
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    pthread_mutex_destroy(&l->lock);
    free(l->queued.items);
    free(l->running.items);
    free(l);
}

void loop_run(struct loop *l) {
    struct loop *outer = current;
    current = l;
    if (!atomic_load(&l->stopping)) /* a stop that came before the run counts */
        event_base_dispatch(l->base);
    atomic_store(&l->stopping, false);
    current = outer;
}

void loop_stop(struct loop *l) {
    atomic_store(&l->stopping, true);
    if (loop_is_current(l))
        event_base_loopbreak(l->base); /* nothing more is run, not even what is ready */
    else
        wake(l);
}

bool loop_is_current(const struct loop *l) {
    return current == l;
}

enum err loop_post(struct loop *l, loop_fn fn, void *arg) {
    enum err e = ERR_OK;
    bool first = false;
    pthread_mutex_lock(&l->lock);
    struct posts *q = &l->queued;
    if (q->n == q->size) {
        size_t size = q->size ? 2 * q->size : 64;
        struct post *items = reallocarray(q->items, size, sizeof *items);
        if (items) {
            q->items = items;
            q->size = size;
        } else {
            e = ERR_NOMEM;
        }
    }
    if (!e) {
        first = q->n == 0;
        q->items[q->n++] = (struct post){fn, arg};
    }
    pthread_mutex_unlock(&l->lock);
    if (first)
        wake(l);
    return e;
}

/* ---- timers ---- */

struct timer {
    struct event event;
    struct loop *loop;
    loop_fn fn;
    void *arg;
};

static void timer_fire(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct timer *t = arg;
    t->fn(t->arg); /* may have freed t */
}

struct timer *timer_new(struct loop *l, loop_fn fn, void *arg) {
    struct timer *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    *t = (struct timer){.loop = l, .fn = fn, .arg = arg};
    event_assign(&t->event, l->base, -1, 0, timer_fire, t);
    return t;
}

void timer_start(struct timer *t, int64_t ms, bool repeat) {
    struct timeval tv = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
    event_del(&t->event);
    event_assign(&t->event, t->loop->base, -1, repeat ? EV_PERSIST : 0, timer_fire, t);
    event_add(&t->event, &tv);
}

void timer_stop(struct timer *t) {
    event_del(&t->event);
}

void timer_free(struct timer *t) {
    if (!t)
        return;
    event_del(&t->event);
    free(t);
}

/* ---- watches ---- */

static void watch_fire(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct watch *w = arg;
    w->fn(w->arg);
}

static enum err watch(struct loop *l, int fd, short what, loop_fn fn, void *arg) {
    struct watch *w = calloc(1, sizeof *w);
    if (!w)
        return ERR_NOMEM;
    w->fn = fn;
    w->arg = arg;
    if (event_assign(&w->event, l->base, fd, what, watch_fire, w) != 0 ||
        event_add(&w->event, NULL) != 0) {
        free(w);
        return ERR_IO;
    }
    w->next = l->watches;
    l->watches = w;
    return ERR_OK;
}

enum err loop_on_signal(struct loop *l, int signo, loop_fn fn, void *arg) {
    return watch(l, signo, EV_SIGNAL | EV_PERSIST, fn, arg);
}

enum err loop_on_readable(struct loop *l, int fd, loop_fn fn, void *arg) {
    return watch(l, fd, EV_READ | EV_PERSIST, fn, arg);
}
