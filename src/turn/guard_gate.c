/* See guard_gate.h. */
#include "turn/guard_gate.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/metrics.h"

struct guard_gate {
    pthread_mutex_t lock;
    struct uuid asking[GATE_ASKS_MAX]; /* whose; of the first n */
    size_t n;
    int failures;          /* in a row */
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
        n += uuid_eq(&g->asking[i], user);
    return n;
}

enum gate_answer guard_gate_enter(struct guard_gate *g, const struct uuid *user, int64_t now_ns) {
    enum gate_answer a = GATE_GO;
    pthread_mutex_lock(&g->lock);
    if (g->open_ms && (g->trying || now_ns < g->open_until_ns))
        a = GATE_LEFT_ALONE;
    else if (g->n == GATE_ASKS_MAX ||
             (uuid_is_set(user) && count_of(g, user) >= GATE_ASKS_USER_MAX))
        a = GATE_BUSY;
    if (a == GATE_GO) {
        g->asking[g->n++] = *user;
        g->trying = g->open_ms > 0;
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

static void forget(struct guard_gate *g, const struct uuid *user) {
    for (size_t i = 0; i < g->n; i++)
        if (uuid_eq(&g->asking[i], user)) {
            g->asking[i] = g->asking[--g->n];
            return;
        }
}

static void note_failure(struct guard_gate *g, int64_t now_ns) {
    g->failures++;
    if (g->open_ms ? !g->trying : g->failures < GATE_FAILURES)
        return;
    g->open_ms = g->open_ms ? g->open_ms * 2 : GATE_OPEN_MS;
    g->open_ms = g->open_ms < GATE_OPEN_MAX_MS ? g->open_ms : GATE_OPEN_MAX_MS;
    g->open_until_ns = now_ns + g->open_ms * 1000000;
}

void guard_gate_leave(struct guard_gate *g, const struct uuid *user, enum gate_outcome o,
                      int64_t now_ns) {
    pthread_mutex_lock(&g->lock);
    bool was_open = g->open_ms > 0;
    forget(g, user);
    if (o == GATE_ANSWERED) {
        g->failures = 0;
        g->open_ms = 0;
    } else if (o == GATE_FAILED) {
        note_failure(g, now_ns);
    }
    g->trying = false; /* also when it was called off: then the next one tries */
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
