/* A loop's pace. While turns run, a pulse tells by how much the loop is late: the time for which
 * what is ready waits; and what a piece of an answer costs. A loop that would have too much to do
 * with single tokens, or that is late, reads and sends them in larger pieces. One that is late all
 * the same holds new turns back until the running ones have their time again: a running answer
 * comes before a new one. Nobody is held for longer than HOLD_MOST_MS. All on the loop; the
 * lateness may be read by others. */
#include "turn/pace.h"

#include <time.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "turn/turn_internal.h"

#define PULSE_MS      20
#define FLUSH_MS      8 /* not late: a token waits for those that come with it */
#define FLUSH_LATE_MS 20
#define LATE_MS       10 /* less is no lateness */
#define HOLD_LATE_MS  60 /* from here on new turns are held */
#define HOLD_MOST_MS  1500
#define HOLD_TURNS    64 /* with fewer running it is not they that make the loop late */
#define RELEASE_MAX   8  /* held turns that begin with one pulse before their time is over */
#define COUNT_NS      (500 * MS) /* so long a time says what a piece costs */
#define COUNT_LEAST   100        /* pieces */
#define COST_LEAST_US 5
#define COST_MOST_US  200

int pace_flush_ms(int lag_ms) {
    if (lag_ms < LATE_MS)
        return FLUSH_MS;
    return FLUSH_LATE_MS + lag_ms < PACE_MOST_MS ? FLUSH_LATE_MS + lag_ms : PACE_MOST_MS;
}

int pace_apart_ms(int n, double flush_us, int lag_ms) {
    double ms = n * flush_us / 1000 / PACE_SHARE;
    int late = pace_flush_ms(lag_ms);
    return ms <= late ? late : ms < PACE_MOST_MS ? (int)ms : PACE_MOST_MS;
}

double pace_flush_us(double before_us, int64_t cpu_ns, int64_t flushes) {
    if (flushes < COUNT_LEAST)
        return before_us;
    double us = (double)cpu_ns / 1000 / (double)flushes;
    us = us < COST_LEAST_US ? COST_LEAST_US : us < COST_MOST_US ? us : COST_MOST_US;
    return before_us > 0 ? (before_us + us) / 2 : us;
}

int pace_lag_ms(int before_ms, int late_ms) {
    return late_ms >= before_ms ? late_ms : (before_ms * 7 + late_ms) / 8;
}

int pace_most_late_ms(struct turns *t) {
    int most = 0;
    pthread_mutex_lock(&t->lock);
    for (int i = 0; i < t->n_loops; i++) {
        int lag = atomic_load_explicit(&t->loops[i]->lag_ms, memory_order_relaxed);
        most = lag > most ? lag : most;
    }
    pthread_mutex_unlock(&t->lock);
    return most;
}

/* ---- held turns ---- */

enum step_result turn_step_hold(struct turn *t, struct errinfo *ei) {
    struct turn_loop *tl = t->tl;
    (void)ei;
    if (t->in.kind == TURN_RESUME || tl->n_turns < HOLD_TURNS ||
        (!tl->held && atomic_load(&tl->lag_ms) < HOLD_LATE_MS))
        return STEP_DONE;
    t->hold_until_ns = clock_mono_ns() + HOLD_MOST_MS * MS;
    t->held_next = NULL;
    *(tl->held ? &tl->held_last->held_next : &tl->held) = t;
    tl->held_last = t;
    metric_add(M_TURNS_HELD, 1);
    return STEP_WAIT;
}

void pace_forget(struct turn *t) {
    struct turn_loop *tl = t->tl;
    struct turn *before = NULL, *h = tl->held;
    if (!t->hold_until_ns)
        return;
    t->hold_until_ns = 0;
    while (h && h != t) {
        before = h;
        h = h->held_next;
    }
    if (!h)
        return;
    *(before ? &before->held_next : &tl->held) = t->held_next;
    if (tl->held_last == t)
        tl->held_last = before;
}

static void release(struct turn_loop *tl, int64_t now) {
    bool late = atomic_load(&tl->lag_ms) >= HOLD_LATE_MS;
    for (int n = late ? RELEASE_MAX : 0; tl->held; n++) {
        struct turn *t = tl->held;
        if (n >= RELEASE_MAX && t->hold_until_ns > now)
            break;
        pace_forget(t);
        turn_continue(t);
    }
}

/* ---- the pulse ---- */

static int64_t thread_cpu_ns(void) {
    struct timespec t = {0};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void begin_count(struct turn_loop *tl, int64_t now) {
    tl->counted_ns = now;
    tl->cpu_ns = thread_cpu_ns();
    tl->flushes = 0;
}

static void set_apart(struct turn_loop *tl, int64_t now, int lag) {
    if (now - tl->counted_ns > COUNT_NS) {
        tl->flush_us = pace_flush_us(tl->flush_us, thread_cpu_ns() - tl->cpu_ns, tl->flushes);
        begin_count(tl, now);
    }
    tl->apart_ms = pace_apart_ms(tl->n_turns, tl->flush_us, lag);
    upstream_client_pace(tl->client, tl->apart_ms < PACE_READ_MS ? 0 : tl->apart_ms);
}

static void on_pulse(void *arg) {
    struct turn_loop *tl = arg;
    int64_t now = clock_mono_ns();
    int late = (int)((now - tl->pulse_ns) / MS) - PULSE_MS;
    int lag = tl->turns ? pace_lag_ms(atomic_load(&tl->lag_ms), late > 0 ? late : 0) : 0;
    atomic_store_explicit(&tl->lag_ms, lag, memory_order_relaxed);
    set_apart(tl, now, lag);
    release(tl, now);
    tl->pulse_ns = now;
    if (tl->turns)
        timer_start(tl->pulse, PULSE_MS, false);
    else
        tl->pulse_ns = 0;
}

void pace_begin(struct turn_loop *tl) {
    if (!tl->apart_ms)
        tl->apart_ms = FLUSH_MS;
    if (tl->pulse_ns || (!tl->pulse && !(tl->pulse = timer_new(tl->loop, on_pulse, tl))))
        return; /* without memory nothing is ever late */
    tl->pulse_ns = clock_mono_ns();
    begin_count(tl, tl->pulse_ns);
    timer_start(tl->pulse, PULSE_MS, false);
}

void pace_end(struct turn_loop *tl) {
    timer_free(tl->pulse);
    tl->pulse = NULL;
}
