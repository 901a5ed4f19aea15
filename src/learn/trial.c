/* What has a share of the conversations is looked at and goes on, or back (rollout.h): the learnt
 * order of passages, and approved answers as examples. The latter cannot be replayed, as nobody
 * knows what the model would have said: they begin with the first share at once. */
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "learn/learn_internal.h"

#define BEFORE_MS   (30ll * 86400000) /* what satisfaction was before is that of a month */
#define AGAIN_LEAST 10                /* more approved answers, before examples are tried again */

void learn_say(struct learn_report *r, const char *fmt, ...) {
    size_t n = strlen(r->words);
    va_list args;
    if (n && n + 1 < sizeof r->words)
        r->words[n++] = ' ';
    va_start(args, fmt);
    vsnprintf(r->words + n, sizeof r->words - n, fmt, args);
    va_end(args);
}

static bool is_examples(const struct trial *t) {
    return str_eqz(str_from(t->kind), "examples");
}

/* As the subject of a sentence. */
static const char *subject(const struct trial *t) {
    return is_examples(t) ? "Showing the model approved answers to like questions"
                          : "The learnt order of passages";
}

static enum err live_ratings(struct store_tx *tx, struct trial *t, struct logged **ret,
                             size_t *ret_n) {
    static const double worth[] = {1, 0, 0.5};
    struct evidence_row *rows;
    size_t n, m = 0;
    enum err e = evidence_list(tx, t->active.changed_at, 0, t->a, &rows, &n);
    struct logged *out = e ? NULL : arena_array(t->a, n + 1, sizeof *out);
    if (!out)
        return e ? e : ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        const struct turn_record *r = &rows[i].r;
        const struct uuid *id = is_examples(t) ? &r->examples_id : &r->candidate_id;
        if (rows[i].rating < 0 || rows[i].flagged || !uuid_eq(id, &t->active.candidate_id))
            continue;
        out[m++] =
            (struct logged){.arm = is_examples(t) ? r->exampled : r->ranked,
                            .propensity = is_examples(t) ? r->examples_chance : r->ranked_chance,
                            .reward = worth[rows[i].rating],
                            .weight = 1,
                            .stratum = learn_role_key(&r->role_id) % ESTIMATE_STRATA_MAX};
    }
    *ret = out;
    *ret_n = m;
    return ERR_OK;
}

static enum err tell_step(struct store_tx *tx, struct trial *t) {
    const struct rollout_step *s = &t->step;
    char text[500];
    if (s->to == ROLLOUT_BACK)
        snprintf(text, sizeof text,
                 "%s was taken back: %s. Satisfaction with it was %+.3f (%+.3f to %+.3f; doubly "
                 "robust %+.3f) against without. Answers are as they were before it.",
                 subject(t), s->why, s->difference.mean, s->difference.low, s->difference.high,
                 s->difference_dr);
    else
        snprintf(text, sizeof text,
                 "%s now answers %.0f %% of conversations: it is %s, %+.3f (%+.3f to %+.3f; doubly "
                 "robust %+.3f) of satisfaction against without.",
                 subject(t), 100 * rollout_share(s->to), s->why, s->difference.mean,
                 s->difference.low, s->difference.high, s->difference_dr);
    enum err e = candidate_set_state(tx, &t->active.candidate_id, rollout_name(s->to));
    if (!e)
        e = learn_event_add(tx, rollout_name(s->to), &t->active.candidate_id, str_from(text));
    learn_say(t->report, "%s", text);
    if (s->to == ROLLOUT_BACK)
        t->active = (struct candidate){.ratings = 0};
    t->report->rolled_back |= s->to == ROLLOUT_BACK;
    t->stepped = true;
    return e;
}

/* With all of the traffic: what was before. Of examples that is what turns that could have had some
 * did without, while they were on trial. */
static enum err read_before(struct store_tx *tx, const struct trial *t, struct arm_totals *ret) {
    const struct candidate *c = &t->active;
    struct arm_totals both[2];
    if (!is_examples(t))
        return totals_between(tx, c->created_at - BEFORE_MS, c->created_at, ret);
    enum err e = candidate_totals(tx, t->kind, &c->candidate_id, c->created_at, both);
    if (!e)
        *ret = both[0];
    return e;
}

/* Reads much: on a reader, as everybody's messages wait for the writer. */
static enum err look_at(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct trial *t = arg;
    struct rollout_seen seen = {.n = 0};
    struct arm_totals totals[2];
    struct logged *ratings;
    int now = rollout_from_name(t->active.state.p, t->active.state.n);
    enum err e =
        candidate_totals(tx, t->kind, &t->active.candidate_id, t->active.changed_at, totals);
    if (!e && now == ROLLOUT_ALL)
        e = read_before(tx, t, &totals[0]);
    if (!e)
        e = live_ratings(tx, t, &ratings, &seen.n);
    if (e)
        return err_set(ei, e, NULL);
    seen.ratings = ratings;
    for (int i = 0; i < 2; i++)
        learn_totals_to_arm(&totals[i], &seen.sides[i]);
    e = rollout_decide((enum rollout)now, &seen, &t->step);
    t->due = !e && t->step.to != (enum rollout)now && (t->step.to == ROLLOUT_BACK || !t->only_back);
    if (!e && !t->due && now != ROLLOUT_ALL)
        learn_say(t->report,
                  "%s is on trial with %.0f %% of conversations: %.0f ratings with it, %.0f "
                  "without, %d of each are needed; %s.",
                  subject(t), 100 * rollout_share((enum rollout)now),
                  seen.sides[1].good + seen.sides[1].bad, seen.sides[0].good + seen.sides[0].bad,
                  ROLLOUT_RATED_MIN, t->step.why);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

/* Unless somebody has changed it since it was looked at. */
static enum err take_step(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct trial *t = arg;
    struct candidate now;
    enum err e = candidate_active(tx, t->kind, t->a, &now);
    if (e == ERR_NOT_FOUND || (!e && (!uuid_eq(&now.candidate_id, &t->active.candidate_id) ||
                                      !str_eq(now.state, t->active.state)))) {
        t->stepped = true;
        return ERR_OK;
    }
    if (!e)
        e = tell_step(tx, t);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

enum err trial_look(struct trial *t, struct errinfo *ei) {
    enum err e = store_read_wait(t->store, look_at, t, ei);
    return e || !t->due ? e : store_write_wait(t->store, take_step, t, ei);
}

/* ---- examples ---- */

enum err learn_newest_candidate(struct store_tx *tx, const char *kind, struct arena *a,
                                struct candidate *ret) {
    struct page p = {.limit = 200};
    struct candidate *list;
    for (size_t n = 200; n == 200;) {
        enum err e = candidate_list(tx, &p, a, &list, &n);
        if (e)
            return e;
        for (size_t i = 0; i < n; i++)
            if (str_eqz(list[i].kind, kind)) {
                *ret = list[i];
                return ERR_OK;
            }
        if (n)
            p.after = list[n - 1].candidate_id;
    }
    return ERR_NOT_FOUND;
}

/* A store_fn. What was taken back is tried again when there is much more to show. */
static enum err begin_examples(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct trial *t = arg;
    struct candidate before = {.ratings = 0};
    bool off = false, approved_off = false;
    int64_t have = 0, now = clock_wall_ms();
    char proof[64];
    static const char words[] =
        "Approved answers to like questions are shown to the model as examples in 10 % of the "
        "conversations that have some, to be compared with the others. What the model would have "
        "said cannot be replayed: the trial is the proof.";
    enum err e = learn_is_off(tx, "examples", &off);
    if (!e)
        e = learn_is_off(tx, "approved", &approved_off);
    if (!e && !off && !approved_off)
        e = approved_count(tx, &have);
    if (!e && have)
        e = learn_newest_candidate(tx, t->kind, t->a, &before);
    int64_t enough =
        uuid_is_set(&before.candidate_id)
            ? before.ratings + (before.ratings > AGAIN_LEAST ? before.ratings : AGAIN_LEAST)
            : 1;
    if ((e && e != ERR_NOT_FOUND) || have < enough)
        return e && e != ERR_NOT_FOUND ? err_set(ei, e, NULL) : ERR_OK;
    snprintf(proof, sizeof proof, "{\"approved\":%lld}", (long long)have);
    struct candidate c = {.candidate_id = uuid_new(),
                          .kind = str_from(t->kind),
                          .state = str_from(rollout_name(ROLLOUT_TRIAL)),
                          .created_at = now,
                          .changed_at = now,
                          .made_at = now,
                          .ratings = have,
                          .proof = str_from(proof),
                          .words = str_from(words)};
    e = candidate_put(tx, &c);
    if (!e)
        e = learn_event_add(tx, "trial", &c.candidate_id, c.words);
    learn_say(t->report, "%s", words);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

static enum err read_active(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct trial *t = arg;
    enum err e = candidate_active(tx, t->kind, t->a, &t->active);
    return e && e != ERR_NOT_FOUND ? err_set(ei, e, NULL) : ERR_OK;
}

enum err trial_examples(struct trial *t, struct errinfo *ei) {
    t->kind = "examples";
    enum err e = store_read_wait(t->store, read_active, t, ei);
    if (e)
        return e;
    return uuid_is_set(&t->active.candidate_id) ? trial_look(t, ei)
                                                : store_write_wait(t->store, begin_examples, t, ei);
}
