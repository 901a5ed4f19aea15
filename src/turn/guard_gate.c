/* See guard_gate.h. */
#include "turn/guard_gate.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/metrics.h"

struct guard_gate {
    pthread_mutex_t lock;
    struct asking {
        struct uuid user;
        bool crowded; /* its person had others under way, some time while it was */
    } asking[GATE_ASKS_MAX];
    size_t n;
    int unreachable, failed; /* in a row */
    struct uuid failed_first;
    bool failed_others;    /* not all of failed are that person's */
    int64_t open_ms;       /* 0: closed */
    int64_t open_until_ns; /* then one may try */
    bool trying;
};

struct guard_gate *guard_gate_new(void) {
    struct guard_gate *g = calloc(1, sizeof *g);
    if (g)
        pthread_mutex_init(&g->lock, NULL);
    return g;
}

void guard_gate_free(struct guard_gate *g) {
    if (!g)
        return;
    pthread_mutex_destroy(&g->lock);
    free(g);
}

static size_t count_of(const struct guard_gate *g, const struct uuid *user) {
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++)
        n += uuid_eq(&g->asking[i].user, user);
    return n;
}

static void note_asking(struct guard_gate *g, const struct uuid *user) {
    bool crowded = count_of(g, user) > 0;
    for (size_t i = 0; crowded && i < g->n; i++)
        if (uuid_eq(&g->asking[i].user, user))
            g->asking[i].crowded = true;
    g->asking[g->n++] = (struct asking){*user, crowded};
}

enum gate_answer guard_gate_enter(struct guard_gate *g, struct gate_pass *p, int64_t now_ns) {
    enum gate_answer a = GATE_GO;
    pthread_mutex_lock(&g->lock);
    p->trial = false;
    int64_t from = g->open_until_ns + (p->is_short ? 0 : g->open_ms * 1000000);
    if (g->open_ms && (g->trying || now_ns < from))
        a = GATE_LEFT_ALONE;
    else if (g->n == GATE_ASKS_MAX ||
             (uuid_is_set(&p->user) && count_of(g, &p->user) >= GATE_ASKS_USER_MAX))
        a = GATE_BUSY;
    if (a == GATE_GO) {
        note_asking(g, &p->user);
        p->trial = g->open_ms > 0;
        g->trying = g->trying || p->trial;
    }
    pthread_mutex_unlock(&g->lock);
    if (a == GATE_GO)
        metric_add(M_GUARD_ASKS, 1);
    if (a == GATE_GO)
        metric_add(M_GUARD_ASKED, 1);
    if (a == GATE_BUSY)
        metric_add(M_GUARD_ASKS_OVER, 1);
    return a;
}

/* Whether it was crowded. Of one person several are under way only when all of them are. */
static bool forget(struct guard_gate *g, const struct uuid *user) {
    for (size_t i = 0; i < g->n; i++)
        if (uuid_eq(&g->asking[i].user, user)) {
            bool crowded = g->asking[i].crowded;
            g->asking[i] = g->asking[--g->n];
            return crowded;
        }
    return false;
}

static void leave_alone(struct guard_gate *g, int64_t now_ns) {
    g->open_ms = g->open_ms ? g->open_ms * 2 : GATE_OPEN_MS;
    g->open_ms = g->open_ms < GATE_OPEN_MAX_MS ? g->open_ms : GATE_OPEN_MAX_MS;
    g->open_until_ns = now_ns + g->open_ms * 1000000;
}

/* A try that failed, perhaps for what it asked, says only that it is too early. */
static void note_failed_trial(struct guard_gate *g, bool counts, int64_t now_ns) {
    if (counts)
        leave_alone(g, now_ns);
    else
        g->open_until_ns = now_ns + g->open_ms * 1000000;
}

static void note_failure(struct guard_gate *g, const struct gate_pass *p, enum gate_outcome o,
                         int64_t now_ns) {
    if (o == GATE_UNREACHABLE) {
        g->unreachable++;
    } else if (g->failed++ == 0) {
        g->failed_first = p->user;
        g->failed_others = false;
    } else if (!uuid_eq(&g->failed_first, &p->user)) {
        g->failed_others = true;
    }
    int counted = g->unreachable + (g->failed_others ? g->failed : 0);
    if (counted >= GATE_FAILURES)
        leave_alone(g, now_ns);
}

/* Under the lock. */
static void note_outcome(struct guard_gate *g, const struct gate_pass *p, enum gate_outcome o,
                         bool crowded, int64_t now_ns) {
    bool counts = o == GATE_UNREACHABLE || (o == GATE_FAILED && p->is_short && !crowded);
    if (o == GATE_ANSWERED)
        g->unreachable = g->failed = 0, g->open_ms = 0;
    else if (g->open_ms && p->trial && o != GATE_NEITHER)
        note_failed_trial(g, counts, now_ns);
    else if (!g->open_ms && counts)
        note_failure(g, p, o, now_ns);
    if (p->trial)
        g->trying = false; /* also when it was called off: then the next one tries */
}

void guard_gate_leave(struct guard_gate *g, const struct gate_pass *p, enum gate_outcome o,
                      int64_t now_ns) {
    pthread_mutex_lock(&g->lock);
    bool was_open = g->open_ms > 0;
    note_outcome(g, p, o, forget(g, &p->user), now_ns);
    bool is_open = g->open_ms > 0;
    if (is_open != was_open) /* under the lock: the last change is the one that is shown */
        metric_set(M_GUARD_CIRCUIT, is_open);
    pthread_mutex_unlock(&g->lock);
    metric_add(M_GUARD_ASKS, -1);
    if (is_open == was_open)
        return;
    metric_add(M_GUARD_CIRCUITS, is_open);
    log_event(is_open ? LOG_WARN : LOG_INFO, is_open ? "guard.left_alone" : "guard.answers_again");
}
