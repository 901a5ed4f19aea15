/* Approved answers are looked at like everything else that is in use: one whose document changed,
 * that nobody has looked at for long, or that people clearly dislike is not served any more. Each
 * is an event in words. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "learn/learn_internal.h"

#define DAYS_SETTING "learn.answer_days"
#define DAY_MS       86400000ll
#define RATED_LEAST  5   /* people who were given it and rated it */
#define LIKED_LEAST  0.5 /* of them, or it goes: the whole interval lies below */

enum err learn_answer_days(struct store_tx *tx, int *ret) {
    struct arena *a = arena_new(4096);
    struct str s;
    enum err e = a ? setting_get(tx, DAYS_SETTING, a, &s) : ERR_NOMEM;
    if (!e || e == ERR_NOT_FOUND)
        *ret = e ? LEARN_ANSWER_DAYS : atoi(s.p);
    arena_free(a);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err learn_set_answer_days(struct store_tx *tx, int days) {
    char text[16];
    snprintf(text, sizeof text, "%d", days);
    return setting_set(tx, DAYS_SETTING, str_from(text));
}

static enum err tell(struct store_tx *tx, struct learn_report *r, int64_t n, const char *why) {
    char text[300];
    if (n == 0)
        return ERR_OK;
    snprintf(text, sizeof text, "%lld approved answer%s not served any more, as %s.", (long long)n,
             n == 1 ? " is" : "s are", why);
    learn_say(r, "%s", text);
    r->stale += n;
    return learn_event_add(tx, "answers_stale", &(struct uuid){0}, str_from(text));
}

enum err learn_check_answers(struct store_tx *tx, struct learn_report *r) {
    struct approved_gone gone = {0, 0};
    char old[80];
    int days = 0;
    enum err e = learn_answer_days(tx, &days);
    snprintf(old, sizeof old, "nobody has looked again for %d days", days);
    if (!e)
        e = approved_check(tx, days ? clock_wall_ms() - days * DAY_MS : 0, &gone);
    if (!e)
        e = tell(tx, r, gone.changed, "documents changed or are gone");
    if (!e)
        e = tell(tx, r, gone.old, old);
    return e;
}

/* ---- what people think of them ---- */

struct watch {
    struct arena *a;
    struct learn_report *report;
    struct approved_rating *rated;
    size_t n;
};

static bool is_disliked(const struct approved_rating *r) {
    return r->people >= RATED_LEAST &&
           interval_of_share(r->liked, (double)r->people).high < LIKED_LEAST;
}

static enum err read_ratings(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct watch *w = arg;
    enum err e = approved_ratings(tx, w->a, &w->rated, &w->n);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

static enum err take_out(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct watch *w = arg;
    char text[300];
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < w->n; i++) {
        const struct approved_rating *r = &w->rated[i];
        if (!is_disliked(r))
            continue;
        e = approved_set_stale(tx, &r->answer_id, "disliked");
        if (e == ERR_NOT_FOUND) { /* an administrator was quicker, or has withdrawn it before */
            e = ERR_OK;
            continue;
        }
        snprintf(text, sizeof text,
                 "An approved answer is not served any more: of %lld people who were given it and "
                 "rated it %.0f %% were satisfied.",
                 (long long)r->people, 100 * r->liked / (double)r->people);
        learn_say(w->report, "%s", text);
        w->report->stale++;
        if (!e)
            e = learn_event_add(tx, "answers_stale", &r->answer_id, str_from(text));
    }
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

enum err learn_watch_answers(struct store *s, struct arena *a, struct learn_report *report,
                             struct errinfo *ei) {
    struct watch w = {.a = a, .report = report};
    bool any = false;
    enum err e = store_read_wait(s, read_ratings, &w, ei);
    for (size_t i = 0; !e && i < w.n; i++)
        any = any || is_disliked(&w.rated[i]);
    return !e && any ? store_write_wait(s, take_out, &w, ei) : e;
}
