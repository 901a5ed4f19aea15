#include "engine/pace.h"

#define INTERVAL_MIN 8 /* decoding steps from try to try */
#define INTERVAL_MAX 1024
#define WIN          0.8 /* of the other way's time */
#define SLOWED       2.5 /* a step that takes so many times the usual: the machine has changed */
#define SMOOTH       0.1

void pace_init(struct pace *p, int threads, int most) {
    *p = (struct pace){
        .threads = threads > most ? most : threads, .most = most, .interval = INTERVAL_MIN};
}

int pace_threads(const struct pace *p, int items) {
    if (p->most == 1 || !p->trying || items != p->items)
        return p->threads;
    return p->threads == 1 ? p->most : 1;
}

static void learn_try(struct pace *p, int threads, double took_ns) {
    p->wins = took_ns < p->took * WIN ? p->wins + 1 : 0;
    if (p->wins == 1)
        return; /* once more */
    if (p->wins == 2) {
        p->threads = threads;
        p->usual = took_ns;
    }
    p->interval = p->wins == 2 ? INTERVAL_MIN : p->interval * 2;
    if (p->interval > INTERVAL_MAX)
        p->interval = INTERVAL_MAX;
    p->wins = p->since = 0;
    p->trying = false;
}

void pace_learn(struct pace *p, int items, int threads, double took_ns) {
    if (items > PACE_ITEMS || p->most == 1)
        return;
    if (threads != p->threads) {
        learn_try(p, threads, took_ns);
        return;
    }
    bool same = p->usual > 0 && items == p->items;
    if (same && took_ns > p->usual * SLOWED)
        p->interval = INTERVAL_MIN;
    p->usual = same ? p->usual + (took_ns - p->usual) * SMOOTH : took_ns;
    p->took = took_ns;
    p->items = items;
    if (++p->since >= p->interval)
        p->trying = true;
}
