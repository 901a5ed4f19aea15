/* How much of a prompt can be read before the first word is late. A Parley engine tells how many
 * tokens it reads in a second; that is shared with the chats of this program which wait for their
 * first token, and with those that are answering. Of other servers nothing is known but how long
 * their first tokens took: from READS_FIRST the number follows those, up while they come early and
 * down when they come late. */
#include <string.h>

#include "base/clock.h"
#include "upstream/upstream_internal.h"

#define MS          1000000ll
#define SECONDS     0.65       /* of reading */
#define BESIDE      0.6        /* of the time that is reading's while others are answered */
#define PLANNED_NS  (300 * MS) /* a chat that was planned and has not begun by then will not */
#define READS_FIRST 400
#define READS_MAX   2000
#define EARLY_MS    650
#define LATE_MS     1000
#define UP          1.25 /* with a chat */
#define DOWN        0.5  /* at most */

/* ---- plans; under the lock ---- */

static void drop_plans(struct upstream *u, int n) {
    u->n_plans -= n;
    memmove(u->plans, u->plans + n, (size_t)u->n_plans * sizeof *u->plans);
}

static int planned(struct upstream *u) {
    int64_t since = clock_mono_ns() - PLANNED_NS;
    int old = 0;
    while (old < u->n_plans && u->plans[old] < since)
        old++;
    drop_plans(u, old);
    return u->n_plans;
}

void upstream_plans_chat(struct upstream *u) {
    pthread_mutex_lock(&u->lock);
    if (planned(u) < UPSTREAM_PLANS_MAX)
        u->plans[u->n_plans++] = clock_mono_ns();
    pthread_mutex_unlock(&u->lock);
}

/* ---- chats ---- */

void reading_begin(struct upstream_call *call) {
    struct upstream *u = call->server->pool;
    if (call->starting_hedge)
        return; /* the first server reads on */
    reading_end(call);
    call->counted = call->server;
    call->counted_ns = clock_mono_ns();
    atomic_fetch_add(&call->counted->reading, 1);
    pthread_mutex_lock(&u->lock);
    if (!call->begun && planned(u) > 0)
        drop_plans(u, 1);
    pthread_mutex_unlock(&u->lock);
    call->begun = true;
}

/* A chat says something about the server only when it had much to read. */
void reading_learn(struct server *v, int tokens, int64_t ms) {
    pthread_mutex_lock(&v->pool->lock);
    double reads = v->reads ? v->reads : READS_FIRST;
    if (tokens >= reads / 2) {
        if (ms < EARLY_MS)
            reads *= UP;
        else if (ms > LATE_MS)
            reads *= (double)LATE_MS / (double)ms > DOWN ? (double)LATE_MS / (double)ms : DOWN;
        v->reads = reads > READS_MAX            ? READS_MAX
                   : reads < UPSTREAM_READS_MIN ? UPSTREAM_READS_MIN
                                                : (int)reads;
    }
    pthread_mutex_unlock(&v->pool->lock);
}

void reading_spoke(struct upstream_call *call, int tokens) {
    struct server *v = call->counted;
    if (!v || call->spoke)
        return;
    call->spoke = true;
    atomic_fetch_sub(&v->reading, 1);
    call->counted = call->server;
    atomic_fetch_add(&call->counted->answering, 1);
    if (call->counted == v) /* else a second server was asked later and was faster */
        reading_learn(v, tokens, (clock_mono_ns() - call->counted_ns) / MS);
}

void reading_end(struct upstream_call *call) {
    if (call->counted)
        atomic_fetch_sub(call->spoke ? &call->counted->answering : &call->counted->reading, 1);
    call->counted = NULL;
    call->spoke = false;
}

int reading_of(const struct server *v, const struct known_model *m) {
    if (!m || !m->prefill)
        return v->reads ? v->reads : READS_FIRST;
    double share = atomic_load(&v->answering) > 0 ? BESIDE : 1;
    return (int)(m->prefill * SECONDS * share / (1 + atomic_load(&v->reading) + planned(v->pool)));
}
