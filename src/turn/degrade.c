/* What is left out under load, in this order: background work, passages, the large model, and at
 * last every answer that nobody has approved. The signals are those that admission and the service
 * levels go by: places taken, first words that came late, loops that are late. Whoever gets less
 * is told so (`notice`, and `degraded` in `done`). docs/turn.md. */
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "turn/pace.h"
#include "turn/turn_internal.h"

#define WINDOW_MS  5000
#define WINDOW_LOW 20 /* first words; fewer in a window say nothing */
#define STEP_MS    2000
#define RETRY_MS   5000
#define BUSY       .25 /* of the places taken, below which late first words are no load */

/* ---- the level ---- */

enum degrade_level degrade_wanted(const struct pressure *p) {
    static const struct pressure from[] = {
        [DEGRADE_BACKGROUND] = {.5, .1, 50},
        [DEGRADE_PASSAGES] = {.7, .25, 250},
        [DEGRADE_MODEL] = {.85, .5, 1000},
        [DEGRADE_APPROVED] = {.95, 2, INT32_MAX}, /* only full places lead there */
    };
    int level = DEGRADE_APPROVED;
    while (level > DEGRADE_NONE && p->full < from[level].full && p->slow < from[level].slow &&
           p->lag_ms < from[level].lag_ms)
        level--;
    return (enum degrade_level)level;
}

enum degrade_level degrade_next(enum degrade_level now, enum degrade_level wanted,
                                int64_t since_change_ms) {
    if (wanted >= now)
        return wanted;
    return since_change_ms >= STEP_MS ? now - 1 : now;
}

/* Under the lock. */
static double slow_share(struct degrade *d, int64_t now) {
    int64_t n = metric_get(M_TTFT_SECONDS), in_time = metric_within(M_TTFT_SECONDS, 1);
    if (now - d->window_ns >= WINDOW_MS * MS) {
        int64_t all = n - d->first_words;
        d->slow = all >= WINDOW_LOW ? 1 - (double)(in_time - d->in_time) / (double)all : 0;
        d->first_words = n;
        d->in_time = in_time;
        d->window_ns = now;
    }
    return d->slow;
}

enum degrade_level degrade_now(struct turns *t) {
    struct degrade *d = &t->degrade;
    int64_t now = clock_mono_ns();
    struct pressure p = {.full = (double)turns_busy(t) / t->o.max_running,
                         .lag_ms = pace_most_late_ms(t)};
    if (!t->o.degrade)
        return DEGRADE_NONE;
    pthread_mutex_lock(&d->lock);
    p.slow = slow_share(d, now);
    if (p.full < BUSY) /* a model server that is slow by itself is no load */
        p.slow = 0;
    enum degrade_level next =
        degrade_next(d->level, degrade_wanted(&p), (now - d->changed_ns) / MS);
    bool changed = next != d->level;
    if (changed) {
        d->level = next;
        d->changed_ns = now;
        metric_set(M_DEGRADED, next);
    }
    pthread_mutex_unlock(&d->lock);
    if (changed)
        log_event(LOG_WARN, "turns.degraded", LF_INT("level", next),
                  LF_INT("full_percent", (int64_t)(p.full * 100)),
                  LF_INT("slow_percent", (int64_t)(p.slow * 100)), LF_INT("lag_ms", p.lag_ms));
    return next;
}

/* ---- what it means for a turn ---- */

static void leave_out(struct turn *t, unsigned what) {
    if (!t->left_out)
        metric_add(M_TURNS_DEGRADED, 1);
    t->left_out |= what;
}

int degrade_passages(const struct turn *t, int k) {
    return t->level < DEGRADE_PASSAGES || k <= LEAST_PASSAGES ? k : LEAST_PASSAGES;
}

void degrade_found(struct turn *t, size_t n) {
    bool fewer = t->arm.passages <= 0 || t->arm.passages > LEAST_PASSAGES;
    if (t->level >= DEGRADE_PASSAGES && n >= LEAST_PASSAGES && fewer)
        leave_out(t, LEFT_OUT_PASSAGES);
}

void degrade_web(struct turn *t) {
    leave_out(t, LEFT_OUT_PASSAGES);
}

void degrade_model(struct turn *t) {
    struct str small = t->t->o.fallback_model ? str_from(t->t->o.fallback_model) : STR("");
    struct str own = t->role.model;
    if (t->level < DEGRADE_MODEL || !small.n)
        return;
    if (!own.n && upstream_default_model(t->t->o.upstream, t->arena, &own))
        own = STR_NULL;
    if (str_eq(small, own) || !upstream_has_model(t->t->o.upstream, small))
        return;
    t->role.model = small;
    leave_out(t, LEFT_OUT_MODEL);
}

enum step_result turn_step_spare(struct turn *t, struct errinfo *ei) {
    const struct turn_learn *l = t->t->o.learn;
    if (t->level < DEGRADE_APPROVED || !l || !l->has_answers(l->ctx, &t->role.role_id))
        return STEP_DONE;
    leave_out(t, LEFT_OUT_UNAPPROVED);
    t->left_out = LEFT_OUT_UNAPPROVED; /* no model is asked */
    if (t->approved.n)
        return STEP_DONE;
    err_set(ei, ERR_OVERLOADED,
            "there is so much to do that only approved answers are given just now, and there is "
            "none to this question; try again in a moment");
    ei->retry_after_ms = RETRY_MS;
    return STEP_FAIL;
}

/* ---- saying so ---- */

void degrade_add_json(struct buf *b, unsigned left_out) {
    static const char *const names[] = {"passages", "model", "approved_only"};
    const char *comma = "";
    buf_addc(b, '[');
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (left_out & 1u << i) {
            buf_addf(b, "%s\"%s\"", comma, names[i]);
            comma = ",";
        }
    buf_addc(b, ']');
}

static void fill_notice(struct buf *b, const struct turn *t) {
    buf_addz(b, "{\"degraded\":");
    degrade_add_json(b, t->left_out);
    buf_addz(b, ",\"message\":\"");
    if (t->left_out & LEFT_OUT_UNAPPROVED)
        buf_addz(b, "There is so much to do that only approved answers are given just now.");
    else
        buf_addf(b, "There is so much to do that this answer comes %s%s%s.",
                 t->left_out & LEFT_OUT_MODEL ? "from a smaller model" : "",
                 t->left_out == (LEFT_OUT_MODEL | LEFT_OUT_PASSAGES) ? " and " : "",
                 t->left_out & LEFT_OUT_PASSAGES ? "from fewer passages" : "");
    buf_addz(b, "\"}");
}

void degrade_tell(struct turn *t) {
    if (t->left_out)
        turn_publish_json(t, STREAM_NOTICE, fill_notice);
}
