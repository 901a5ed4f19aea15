/* A loop's pace. While turns run, a pulse tells by how much the loop is late: the time for which
 * what is ready waits. A loop that is late sends tokens in larger pieces, and holds new turns back
 * until the running ones have their time again: a running answer comes before a new one. Nobody is
 * held for longer than HOLD_MOST_MS. All on the loop; the lateness may be read by others. */
#include "turn/pace.h"

#include "base/clock.h"
#include "base/metrics.h"
#include "turn/turn_internal.h"

#define PULSE_MS      20
#define FLUSH_MS      8 /* not late: a token waits for those that come with it */
#define FLUSH_LATE_MS 20
#define FLUSH_MOST_MS 50
#define LATE_MS       10 /* less is no lateness */
#define HOLD_LATE_MS  60 /* from here on new turns are held */
#define HOLD_MOST_MS  1500
#define HOLD_TURNS    64 /* with fewer running it is not they that make the loop late */
#define RELEASE_MAX   8  /* held turns that begin with one pulse before their time is over */

int pace_flush_ms(int lag_ms) {
    if (lag_ms < LATE_MS)
        return FLUSH_MS;
    return FLUSH_LATE_MS + lag_ms < FLUSH_MOST_MS ? FLUSH_LATE_MS + lag_ms : FLUSH_MOST_MS;
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

static void on_pulse(void *arg) {
    struct turn_loop *tl = arg;
    int64_t now = clock_mono_ns();
    int late = (int)((now - tl->pulse_ns) / MS) - PULSE_MS;
    int lag = tl->turns ? pace_lag_ms(atomic_load(&tl->lag_ms), late > 0 ? late : 0) : 0;
    atomic_store_explicit(&tl->lag_ms, lag, memory_order_relaxed);
    release(tl, now);
    tl->pulse_ns = now;
    if (tl->turns)
        timer_start(tl->pulse, PULSE_MS, false);
    else
        tl->pulse_ns = 0;
}

void pace_begin(struct turn_loop *tl) {
    if (tl->pulse_ns || (!tl->pulse && !(tl->pulse = timer_new(tl->loop, on_pulse, tl))))
        return; /* without memory nothing is ever late */
    tl->pulse_ns = clock_mono_ns();
    timer_start(tl->pulse, PULSE_MS, false);
}

void pace_end(struct turn_loop *tl) {
    timer_free(tl->pulse);
    tl->pulse = NULL;
}
