/* How much of a prompt can be read before the first word is late. A Parley engine tells how many
 * tokens it reads in a second. Who has waited already, for his question to be embedded beside what
 * others have computed, has that much less of it. What others have asked for and is not read yet
 * goes before, so a newcomer has the rest of the time; while there are others he takes a part of
 * it, for whoever comes next has to be read in the same second. Of other servers nothing is known
 * but how long their first tokens took: from READS_FIRST the number follows those, up while they
 * come early and down when they come late. */
#include <string.h>

#include "base/clock.h"
#include "upstream/upstream_internal.h"

#define MS          1000000ll
#define SECONDS     0.65         /* of reading */
#define IN_ALL      0.75         /* of reading and of what went before it */
#define BESIDE      0.6          /* of the time that is reading's while others are answered */
#define PART        0.5          /* of what is left, while there are others */
#define PLANNED_NS  (300 * MS)   /* a chat that was planned and has not begun by then will not */
#define CROWD_RATE  0.25         /* how fast what new chats find beside them is learnt */
#define CROWD_NS    (30000 * MS) /* without a chat: nobody is about any more */
#define UNTOLD      128          /* tokens of a prompt of which nothing is known */
#define UNREAD_MAX  65536        /* a prompt counts for so many at most */
#define READS_FIRST 400
#define READS_MAX   2000
#define EARLY_MS    650
#define LATE_MS     1000
#define UP          1.25 /* with a chat */
#define DOWN        0.5  /* at most */

/* ---- plans; under the lock ---- */

static void drop_plans(struct upstream *u, int from, int n) {
    u->n_plans -= n;
    memmove(u->plans + from, u->plans + from + n, (size_t)(u->n_plans - from) * sizeof *u->plans);
}

/* Their tokens. */
static int planned(struct upstream *u) {
    int64_t since = clock_mono_ns() - PLANNED_NS;
    int old = 0, tokens = 0;
    while (old < u->n_plans && u->plans[old].ns < since)
        old++;
    drop_plans(u, 0, old);
    for (int i = 0; i < u->n_plans; i++)
        tokens += u->plans[i].tokens;
    return tokens;
}

/* The chat of this plan begins: what it was to read; 0 = there is none. */
static int take_plan(struct upstream *u, uint64_t id) {
    (void)planned(u);
    for (int i = 0; id && i < u->n_plans; i++) {
        int tokens = u->plans[i].tokens;
        if (u->plans[i].id != id)
            continue;
        drop_plans(u, i, 1);
        return tokens;
    }
    return 0;
}

uint64_t upstream_plan_chat(struct upstream *u, int tokens) {
    uint64_t id = 0;
    pthread_mutex_lock(&u->lock);
    (void)planned(u);
    if (u->n_plans < UPSTREAM_PLANS_MAX) {
        id = ++u->last_plan;
        u->plans[u->n_plans++] = (struct chat_plan){id, clock_mono_ns(), tokens};
    }
    pthread_mutex_unlock(&u->lock);
    return id;
}

bool upstream_needs_cores(struct upstream *u) {
    bool here = false, reads = false;
    for (int i = 0; i < u->n; i++) {
        const struct server *v = &u->servers[i];
        here = here || v->unix_socket;
        reads = reads || (v->unix_socket && atomic_load(&v->reading) > 0);
    }
    if (!here || reads)
        return reads;
    pthread_mutex_lock(&u->lock);
    (void)planned(u);
    reads = u->n_plans > 0;
    pthread_mutex_unlock(&u->lock);
    return reads;
}

/* ---- chats ---- */

static int others_now(const struct server *v) {
    return atomic_load(&v->answering) + atomic_load(&v->reading) + v->pool->n_plans;
}

/* A pause in which nobody asks does not mean that nobody is there. */
static bool is_crowded(const struct server *v) {
    return v->crowd >= 0.5 && clock_mono_ns() - v->crowd_ns < CROWD_NS;
}

static void learn_crowd(struct server *v) {
    int64_t now = clock_mono_ns();
    if (now - v->crowd_ns >= CROWD_NS)
        v->crowd = 0;
    v->crowd += (others_now(v) - v->crowd) * CROWD_RATE;
    v->crowd_ns = now;
}

void reading_begin(struct upstream_call *call, int tokens) {
    struct upstream *u = call->server->pool;
    if (call->starting_hedge)
        return; /* the first server reads on */
    reading_end(call);
    call->counted = call->server;
    call->counted_ns = clock_mono_ns();
    call->told = tokens > 0;
    pthread_mutex_lock(&u->lock);
    int as_planned = take_plan(u, call->plan);
    tokens = tokens ? tokens : as_planned;
    call->plan = 0;
    if (!call->begun)
        learn_crowd(call->server);
    pthread_mutex_unlock(&u->lock);
    call->begun = true;
    call->counted_tokens = tokens == 0 ? UNTOLD : tokens < UNREAD_MAX ? tokens : UNREAD_MAX;
    atomic_fetch_add(&call->counted->reading, 1);
    atomic_fetch_add(&call->counted->unread, call->counted_tokens);
}

static void reading_over(struct upstream_call *call) {
    atomic_fetch_sub(&call->counted->reading, 1);
    atomic_fetch_sub(&call->counted->unread, call->counted_tokens);
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

void reading_spoke(struct upstream_call *call) {
    struct server *v = call->counted;
    if (!v || call->spoke)
        return;
    reading_over(call);
    call->spoke = true;
    call->counted = call->server;
    atomic_fetch_add(&call->counted->answering, 1);
    if (call->told && call->counted == v) /* else another was asked later and was faster */
        reading_learn(v, call->counted_tokens, (clock_mono_ns() - call->counted_ns) / MS);
}

void reading_end(struct upstream_call *call) {
    if (call->counted && call->spoke)
        atomic_fetch_sub(&call->counted->answering, 1);
    else if (call->counted)
        reading_over(call);
    call->counted = NULL;
    call->spoke = false;
}

/* Of reading, for somebody who has waited for so long. */
static double seconds_left(int64_t waited_ms) {
    double left = IN_ALL - (double)waited_ms / 1e3;
    return left > SECONDS ? SECONDS : left > 0 ? left : 0;
}

int reading_of(const struct server *v, const struct known_model *m, int64_t waited_ms) {
    double seconds = seconds_left(waited_ms);
    if (!m || !m->prefill)
        return (int)((v->reads ? v->reads : READS_FIRST) * seconds / SECONDS);
    int before = atomic_load(&v->unread) + planned(v->pool);
    bool others = others_now(v) > 0 || is_crowded(v);
    double left = m->prefill * seconds * (atomic_load(&v->answering) > 0 ? BESIDE : 1) - before;
    return left > 0 ? (int)(others ? left * PART : left) : 0;
}
