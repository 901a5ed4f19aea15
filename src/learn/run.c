/* The learner's pass; see learn.h. Each step is a short transaction of its own; the training
 * between them holds none. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "learn/evidence_load.h"
#include "learn/learn_internal.h"

#define RUN_ARENA       ((size_t)1 << 30)
#define HELD_BACK       4                 /* one of so many turns, the newest */
#define BEFORE_MS       (30ll * 86400000) /* what satisfaction was before is that of a month */
#define RATINGS_MIN     20
#define UNLEARN_SETTING "learn.unlearn"

struct pass {
    struct rollout_step step;
    bool due; /* step is to be taken */
    struct store *store;
    struct arena *a;
    bool force, only_back; /* a candidate may be taken back, but not go on */
    struct learn_report *report;
    struct evidence_set set;
    struct candidate active; /* candidate_id not set: none */
    bool unlearn, ranker_off;
    bool stepped;         /* the roll-out went on or back in this pass */
    int64_t last_ratings; /* that the newest candidate was made of */
    struct candidate made;
    enum rollout state;
};

static void say(struct learn_report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct learn_report *r, const char *fmt, ...) {
    size_t n = strlen(r->words);
    va_list args;
    if (n && n + 1 < sizeof r->words)
        r->words[n++] = ' ';
    va_start(args, fmt);
    vsnprintf(r->words + n, sizeof r->words - n, fmt, args);
    va_end(args);
}

/* ---- arms: the guard-rails ---- */

static enum err stop_arm(struct store_tx *tx, struct pass *p, const struct arm *arm,
                         enum arm_stop why) {
    static const char *const words[] = {
        [ARM_STOPPED_UNSAFE] = "its answers were unsafe more often than the role's own",
        [ARM_STOPPED_SLOW] = "its first words came more than half as late again",
        [ARM_STOPPED_FAILING] = "its answers failed more often",
        [ARM_STOPPED_DISLIKED] = "people clearly liked its answers less"};
    char text[400];
    snprintf(text, sizeof text, "The variant \"%.*s\" was stopped: %s.", STR_ARG(arm->name),
             words[why]);
    enum err e = arm_set_state(tx, &arm->arm_id, "stopped", str_from(arm_stop_name(why)));
    if (!e)
        e = learn_event_add(tx, "arm_stopped", &arm->arm_id, str_from(text));
    p->report->arms_stopped++;
    say(p->report, "%s", text);
    return e;
}

static enum err guard_arms(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct pass *p = arg;
    struct arm *arms;
    struct arm_totals *t;
    size_t n, n_t;
    enum err e = arm_list(tx, &(struct uuid){0}, p->a, &arms, &n);
    if (!e)
        e = arm_totals_list(tx, 0, p->a, &t, &n_t);
    for (size_t i = 0; !e && i < n; i++) {
        struct bandit_arm sides[2] = {{0}};
        if (!str_eqz(arms[i].state, "running"))
            continue;
        for (size_t k = 0; k < n_t; k++)
            if (uuid_eq(&t[k].role_id, &arms[i].role_id)) {
                if (!uuid_is_set(&t[k].arm_id))
                    learn_totals_to_arm(&t[k], &sides[0]);
                else if (uuid_eq(&t[k].arm_id, &arms[i].arm_id))
                    learn_totals_to_arm(&t[k], &sides[1]);
            }
        enum arm_stop stop = bandit_guard(sides, 2, 1);
        if (stop != ARM_RUNNING)
            e = stop_arm(tx, p, &arms[i], stop);
    }
    if (!e)
        e = approved_check_sources(tx, &p->report->stale);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

/* ---- what there is ---- */

static enum err read_all(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct pass *p = arg;
    struct str mark;
    struct page page = {.limit = 1};
    struct candidate *newest;
    size_t n;
    enum err e = evidence_load(tx, p->a, &p->set);
    if (!e)
        e = candidate_active(tx, "ranker", p->a, &p->active);
    if (e == ERR_NOT_FOUND)
        e = ERR_OK;
    if (!e)
        e = candidate_list(tx, &page, p->a, &newest, &n);
    if (!e && n)
        p->last_ratings = newest->ratings;
    if (!e)
        e = learn_is_off(tx, "ranker", &p->ranker_off);
    if (!e && (e = setting_get(tx, UNLEARN_SETTING, p->a, &mark)) == ERR_OK)
        p->unlearn = true;
    p->report->ratings = (size_t)p->set.rated;
    p->report->questions = p->set.n_questions;
    return e == ERR_NOT_FOUND ? ERR_OK : e ? err_set(ei, e, NULL) : ERR_OK;
}

/* ---- the roll-out of what is in use ---- */

static enum err live_ratings(struct store_tx *tx, struct pass *p, struct logged **ret,
                             size_t *ret_n) {
    struct evidence_row *rows;
    size_t n, m = 0;
    enum err e = evidence_list(tx, p->active.changed_at, 0, p->a, &rows, &n);
    struct logged *out = e ? NULL : arena_array(p->a, n + 1, sizeof *out);
    if (!out)
        return e ? e : ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        const struct evidence_row *r = &rows[i];
        if (r->rating < 0 || r->flagged || !uuid_eq(&r->r.candidate_id, &p->active.candidate_id))
            continue;
        static const double worth[] = {1, 0, 0.5};
        out[m++] = (struct logged){r->r.ranked, r->r.ranked_chance, worth[r->rating], 1,
                                   (size_t)(learn_role_key(&r->r.role_id) % ESTIMATE_STRATA_MAX)};
    }
    *ret = out;
    *ret_n = m;
    return ERR_OK;
}

static enum err tell_step(struct store_tx *tx, struct pass *p, const struct rollout_step *s) {
    char text[500];
    if (s->to == ROLLOUT_BACK)
        snprintf(text, sizeof text,
                 "The learnt order of passages was taken back: %s. Satisfaction with it was %+.3f "
                 "(%+.3f to %+.3f) against without. Answers are as they were before it.",
                 s->why, s->difference.mean, s->difference.low, s->difference.high);
    else
        snprintf(text, sizeof text,
                 "The learnt order of passages now answers %.0f %% of conversations: it is %s, "
                 "%+.3f (%+.3f to %+.3f) of satisfaction against without.",
                 100 * rollout_share(s->to), s->why, s->difference.mean, s->difference.low,
                 s->difference.high);
    enum err e = candidate_set_state(tx, &p->active.candidate_id, rollout_name(s->to));
    if (!e)
        e = learn_event_add(tx, rollout_name(s->to), &p->active.candidate_id, str_from(text));
    say(p->report, "%s", text);
    if (s->to == ROLLOUT_BACK)
        p->active = (struct candidate){.ratings = 0};
    p->report->rolled_back |= s->to == ROLLOUT_BACK;
    p->stepped = true;
    return e;
}

/* Reads much: on a reader, as everybody's messages wait for the writer. */
static enum err look_at_roll_out(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct pass *p = arg;
    struct rollout_seen seen = {.n = 0};
    struct arm_totals totals[2];
    struct logged *ratings;
    int now = rollout_from_name(p->active.state.p, p->active.state.n);
    enum err e = candidate_totals(tx, &p->active.candidate_id, p->active.changed_at, totals);
    if (!e && now == ROLLOUT_ALL)
        e = totals_between(tx, p->active.created_at - BEFORE_MS, p->active.created_at, &totals[0]);
    if (!e)
        e = live_ratings(tx, p, &ratings, &seen.n);
    if (e)
        return err_set(ei, e, NULL);
    seen.ratings = ratings;
    for (int i = 0; i < 2; i++)
        learn_totals_to_arm(&totals[i], &seen.sides[i]);
    e = rollout_decide((enum rollout)now, &seen, &p->step);
    p->due = !e && p->step.to != (enum rollout)now && (p->step.to == ROLLOUT_BACK || !p->only_back);
    if (!e && !p->due && now != ROLLOUT_ALL)
        say(p->report,
            "The learnt order of passages is on trial with %.0f %% of conversations: %.0f ratings "
            "with it, %.0f without, %d of each are needed; %s.",
            100 * rollout_share((enum rollout)now), seen.sides[1].good + seen.sides[1].bad,
            seen.sides[0].good + seen.sides[0].bad, ROLLOUT_RATED_MIN, p->step.why);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

/* Unless somebody has changed it since it was looked at. */
static enum err take_step(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct pass *p = arg;
    struct candidate now;
    enum err e = candidate_active(tx, "ranker", p->a, &now);
    if (e == ERR_NOT_FOUND || (!e && (!uuid_eq(&now.candidate_id, &p->active.candidate_id) ||
                                      !str_eq(now.state, p->active.state)))) {
        p->stepped = true;
        return ERR_OK;
    }
    if (!e)
        e = tell_step(tx, p, &p->step);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

static enum err roll_out(struct pass *p, struct errinfo *ei) {
    enum err e = store_read_wait(p->store, look_at_roll_out, p, ei);
    return e || !p->due ? e : store_write_wait(p->store, take_step, p, ei);
}

/* ---- a candidate ---- */

static enum err train(const struct pass *p, size_t turns, struct ranker **ret) {
    size_t n = 0;
    while (n < p->set.n_ratings && p->set.turn_of[n] < turns)
        n++;
    struct ranker_input in = {.questions = p->set.questions,
                              .n_questions = p->set.n_questions,
                              .ratings = p->set.ratings,
                              .n_ratings = n,
                              .dims = p->set.dims,
                              .linear = true,
                              .memory = true};
    return ranker_train(&in, ret);
}

static enum err prove(struct pass *p, size_t from, struct replay_result *ret) {
    struct ranker *r = NULL;
    bool *known = arena_array(p->a, p->set.n_questions + 1, sizeof *known);
    if (!known)
        return ERR_NOMEM;
    for (size_t i = 0; i < from; i++)
        known[p->set.turns[i].question_number] = true;
    for (size_t i = from; i < p->set.n_turns; i++)
        p->set.turns[i].is_new = !known[p->set.turns[i].question_number];
    enum err e = train(p, from, &r);
    if (!e)
        e = replay_rankers(r, NULL, p->set.turns + from, p->set.n_turns - from, ret);
    ranker_free(r);
    return e;
}

static void describe(struct pass *p, const struct replay_result *r, bool proved, bool refresh,
                     char *words, size_t n_words, char *proof, size_t n_proof) {
    double low = isfinite(r->gain.low) ? r->gain.low : -1;
    double high = isfinite(r->gain.high) ? r->gain.high : 1;
    bool has_new = r->gain_new.n >= 2;
    snprintf(
        proof, n_proof,
        "{\"ratings\":%lld,\"questions\":%zu,\"replayed_turns\":%zu,\"replayed_questions\":%zu,"
        "\"gain\":%.5f,\"low\":%.5f,\"high\":%.5f,\"before\":%.5f,\"after\":%.5f,"
        "\"new_questions\":%.0f,\"gain_new\":%.5f}",
        (long long)p->set.rated, p->set.n_questions, r->turns, r->questions, r->gain.mean, low,
        high, r->before.mean, r->after.mean, r->gain_new.n, has_new ? r->gain_new.mean : 0);
    snprintf(words, n_words,
             "An order of passages was learnt from %lld ratings of %zu questions. Replayed on the "
             "newest %zu rated turns, which it had not seen, it puts what people found helpful %s: "
             "%+.3f (%+.3f to %+.3f) of nDCG. %s",
             (long long)p->set.rated, p->set.n_questions, r->turns,
             r->gain.mean >= 0 ? "higher" : "lower", r->gain.mean, low, high,
             !proved ? "That is no proof: nobody is given it."
             : refresh
                 ? "It takes the place of the one before, with the same share of the conversations."
                 : "It now answers 10 % of conversations, to be compared with the others.");
}

static enum err store_candidate(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct pass *p = arg;
    bool proved = p->report->proved;
    enum err e = ERR_OK;
    if (proved && uuid_is_set(&p->active.candidate_id))
        e = candidate_set_state(tx, &p->active.candidate_id, "replaced");
    if (!e)
        e = candidate_put(tx, &p->made);
    if (!e)
        e = candidate_forget(tx, CANDIDATES_KEPT);
    if (!e)
        e = learn_event_add(tx, rollout_name(p->state), &p->made.candidate_id, p->made.words);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

static enum err make_candidate(struct pass *p, struct errinfo *ei) {
    struct replay_result result = {0};
    struct ranker *whole = NULL;
    struct buf body;
    char words[700], proof[500];
    size_t from = p->set.n_turns - p->set.n_turns / HELD_BACK;
    buf_init(&body, (size_t)64 << 20);
    enum err e = prove(p, from, &result);
    bool proved = !e && replay_is_proof(&result);
    bool refresh = proved && uuid_is_set(&p->active.candidate_id);
    if (proved && (e = train(p, p->set.n_turns, &whole)) == ERR_OK) {
        ranker_save(whole, &body);
        e = buf_err(&body);
    }
    if (!e) {
        int now = refresh ? rollout_from_name(p->active.state.p, p->active.state.n) : -1;
        describe(p, &result, proved, refresh, words, sizeof words, proof, sizeof proof);
        p->state = !proved ? ROLLOUT_REFUSED : now >= 0 ? (enum rollout)now : ROLLOUT_TRIAL;
        p->report->made = true;
        p->report->proved = proved;
        p->made = (struct candidate){.candidate_id = uuid_new(),
                                     .kind = STR("ranker"),
                                     .state = str_from(rollout_name(p->state)),
                                     .created_at = clock_wall_ms(),
                                     .changed_at = clock_wall_ms(),
                                     .made_at = clock_wall_ms(),
                                     .ratings = p->set.rated,
                                     .proof = str_from(proof),
                                     .words = str_from(words),
                                     .body = proved ? buf_str(&body) : STR_NULL};
        say(p->report, "%s", words);
        e = store_write_wait(p->store, store_candidate, p, ei);
    }
    ranker_free(whole);
    buf_deinit(&body);
    return e;
}

/* ---- unlearning: what is in use is made anew from what is left ---- */

#define UNLEARN_TAKEN "taken"

/* Triggers write another word when something more is taken back while this pass trains. */
static enum err take_mark(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct pass *p = arg;
    struct str mark;
    enum err e = setting_get(tx, UNLEARN_SETTING, p->a, &mark);
    if (!e)
        e = setting_set(tx, UNLEARN_SETTING, STR(UNLEARN_TAKEN));
    return e && e != ERR_NOT_FOUND ? err_set(ei, e, NULL) : ERR_OK;
}

static enum err store_unlearnt(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct pass *p = arg;
    enum err e = ERR_OK;
    static const char words[] = "Ratings were withdrawn, changed or flagged, or a person, "
                                "conversation or document was deleted: the learnt order of "
                                "passages was made anew without them.";
    if (uuid_is_set(&p->active.candidate_id)) {
        e = candidate_put(tx, &p->active);
        if (!e)
            e = learn_event_add(tx, "unlearned", &p->active.candidate_id, str_from(words));
        say(p->report, "%s", words);
    }
    if (!e) /* what was in use before holds it, too */
        e = candidate_forget(tx, 0);
    struct str mark;
    if (!e && setting_get(tx, UNLEARN_SETTING, p->a, &mark) == ERR_OK &&
        str_eqz(mark, UNLEARN_TAKEN))
        e = setting_set(tx, UNLEARN_SETTING, STR_NULL);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

static enum err unlearn(struct pass *p, struct errinfo *ei) {
    struct ranker *r = NULL;
    struct buf body;
    enum err e = ERR_OK;
    buf_init(&body, (size_t)64 << 20);
    if (uuid_is_set(&p->active.candidate_id) && (e = train(p, p->set.n_turns, &r)) == ERR_OK) {
        ranker_save(r, &body);
        e = buf_err(&body);
        p->active.body = buf_str(&body);
        p->active.made_at = clock_wall_ms();
    }
    if (!e)
        e = store_write_wait(p->store, store_unlearnt, p, ei);
    ranker_free(r);
    buf_deinit(&body);
    return e;
}

static enum err run(struct pass *p, struct errinfo *ei) {
    enum err e = store_write_wait(p->store, guard_arms, p, ei);
    if (!e)
        e = store_write_wait(p->store, learn_propose_fn, p->report, ei);
    if (!e)
        e = store_write_wait(p->store, take_mark, p, ei);
    if (!e)
        e = store_read_wait(p->store, read_all, p, ei);
    if (!e && p->unlearn)
        e = unlearn(p, ei);
    if (!e && uuid_is_set(&p->active.candidate_id))
        e = roll_out(p, ei);
    if (e || p->ranker_off || p->stepped)
        return e;
    int now = uuid_is_set(&p->active.candidate_id)
                  ? rollout_from_name(p->active.state.p, p->active.state.n)
                  : -1;
    if (now == ROLLOUT_TRIAL || now == ROLLOUT_HALF)
        return ERR_OK; /* a newer one would begin the comparison anew, and none would ever end */
    int64_t fresh = p->set.rated - p->last_ratings;
    int64_t enough = p->last_ratings / LEARN_RATINGS_GROWN;
    if (enough < LEARN_RATINGS_NEW)
        enough = LEARN_RATINGS_NEW;
    if (p->set.rated < RATINGS_MIN) {
        say(p->report,
            "There are %lld rated answers that used documents; an order of passages is learnt from "
            "%d on.",
            (long long)p->set.rated, RATINGS_MIN);
        return ERR_OK;
    }
    if (!p->force && fresh < enough) {
        say(p->report,
            "%lld ratings are new since the last candidate; the next is made after %lld.",
            (long long)(fresh < 0 ? 0 : fresh), (long long)enough);
        return ERR_OK;
    }
    return make_candidate(p, ei);
}

enum err learn_run(struct store *s, bool force, struct learn_report *ret, struct errinfo *ei) {
    struct learn_report report = {0};
    struct pass p = {.store = s, .force = force, .report = &report, .a = arena_new(RUN_ARENA)};
    if (!p.a)
        return err_set(ei, ERR_NOMEM, NULL);
    enum err e = run(&p, ei);
    arena_free(p.a);
    if (e)
        return e;
    *ret = report;
    return ERR_OK;
}

static enum err read_active(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct pass *p = arg;
    enum err e = candidate_active(tx, "ranker", p->a, &p->active);
    return e && e != ERR_NOT_FOUND ? err_set(ei, e, NULL) : ERR_OK;
}

enum err learn_guard(struct store *s, struct learn_report *ret, struct errinfo *ei) {
    struct learn_report report = {0};
    struct pass p = {.store = s, .only_back = true, .report = &report, .a = arena_new(RUN_ARENA)};
    enum err e = p.a ? store_write_wait(s, guard_arms, &p, ei) : err_set(ei, ERR_NOMEM, NULL);
    if (!e)
        e = store_read_wait(s, read_active, &p, ei);
    if (!e && uuid_is_set(&p.active.candidate_id))
        e = roll_out(&p, ei);
    arena_free(p.a);
    if (!e)
        *ret = report;
    return e;
}

static double rollout_share_of(const struct candidate *c) {
    int state = rollout_from_name(c->state.p, c->state.n);
    return state < 0 ? 0 : rollout_share((enum rollout)state);
}

enum err learn_set_candidate(struct store_tx *tx, const struct uuid *id, bool in_use,
                             struct errinfo *ei) {
    struct candidate c, active;
    struct arena *a = arena_new(RUN_ARENA);
    enum err e = a ? candidate_get(tx, id, a, &c) : ERR_NOMEM;
    if (!e && in_use && !c.body.n)
        e = err_set(ei, ERR_CONFLICT,
                    str_eqz(c.state, "refused")
                        ? "this candidate was never proved: there is nothing to use"
                        : "what this candidate had learnt was forgotten: it is old, or ratings in "
                          "it were taken back; the next pass makes another");
    else if (!e && !in_use && rollout_share_of(&c) <= 0)
        e = err_set(ei, ERR_CONFLICT, "this candidate is not in use");
    else if (!e && in_use && candidate_active(tx, "ranker", a, &active) == ERR_OK &&
             !uuid_eq(&active.candidate_id, id))
        e = candidate_set_state(tx, &active.candidate_id, "replaced");
    if (!e)
        e = candidate_set_state(tx, id, in_use ? "all" : "rolled_back");
    if (!e)
        e = learn_event_add(tx, in_use ? "all" : "rolled_back", id,
                            in_use ? STR("An administrator put a learnt order of passages to use.")
                                   : STR("An administrator took the learnt order of passages out "
                                         "of use."));
    arena_free(a);
    return e == ERR_NOT_FOUND ? err_set(ei, e, "there is no such candidate") : e;
}
