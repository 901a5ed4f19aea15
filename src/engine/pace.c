#include "engine/pace.h"

#define INTERVAL_MIN   8 /* decoding steps from try to try */
#define INTERVAL_MAX   1024
#define INTERVAL_FEWER 128 /* at most, on one thread: alone on the machine all are much faster */
#define WIN            0.8 /* of the usual way's time */
#define TAKE           3   /* wins ahead: it is the usual way from now on */
#define LEAVE          (-2)
#define SLOWED         2.5 /* steps that take so many times the usual: the machine has changed */
#define SMOOTH         0.1

void pace_init(struct pace *p, int threads, int most) {
    *p = (struct pace){
        .threads = threads > most ? most : threads, .most = most, .interval = INTERVAL_MIN};
}

int pace_threads(const struct pace *p, int items) {
    if (p->most == 1 || !p->trying || p->tried || p->beside || items != p->items)
        return p->threads;
    return p->threads == 1 ? p->most : 1;
}

static void learn_try(struct pace *p, int threads, double took_ns) {
    p->tried = true; /* each is compared with a step of the usual way just before it */
    p->ahead += took_ns < p->took * WIN ? 1 : -1;
    if (p->ahead < TAKE && p->ahead > LEAVE)
        return;
    bool won = p->ahead == TAKE;
    if (won) {
        p->threads = threads;
        p->usual = took_ns;
    }
    int most = p->threads < p->most ? INTERVAL_FEWER : INTERVAL_MAX;
    p->interval = won ? INTERVAL_MIN : p->interval * 2;
    p->interval = p->interval < most ? p->interval : most;
    p->since = p->ahead = 0;
    p->trying = p->tried = false;
}

/* One slow step says nothing; two in a row may be a machine that others have begun to use. */
static void learn_usual(struct pace *p, int items, double took_ns) {
    bool same = p->usual > 0 && items == p->items;
    p->slowed = same && took_ns > p->usual * SLOWED ? p->slowed + 1 : 0;
    if (p->slowed >= 2)
        p->interval = INTERVAL_MIN;
    p->usual = same ? p->usual + (took_ns - p->usual) * SMOOTH : took_ns;
    p->took = took_ns;
    p->items = items;
    p->tried = false;
    p->trying |= ++p->since >= p->interval;
}

void pace_learn(struct pace *p, int items, int threads, double took_ns) {
    p->beside = items > PACE_ITEMS;
    if (p->beside || p->most == 1)
        return;
    if (threads != p->threads)
        learn_try(p, threads, took_ns);
    else
        learn_usual(p, items, took_ns);
}
