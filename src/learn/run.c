/* The learner's pass; see learn.h. Each step is a short transaction of its own; the training
 * between them holds none. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "learn/evidence_load.h"
#include "learn/learn_internal.h"

#define RUN_ARENA       ((size_t)1 << 30)
#define HELD_BACK       4 /* one of so many turns, the newest */
#define RATINGS_MIN     20
#define UNLEARN_SETTING "learn.unlearn"

struct pass {
    struct store *store;
    struct arena *a;
    bool force;
    struct learn_report *report;
    struct evidence_set set;
    struct trial ranker; /* what is in use */
    bool unlearn, ranker_off;
    bool unreadable;         /* what is in use is another version's, or damaged */
    struct candidate newest; /* ranker, in use or not */
    struct candidate made;
    enum rollout state;
};

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
    learn_say(p->report, "%s", text);
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
        e = learn_check_answers(tx, p->report);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

/* ---- what there is ---- */

static enum err read_all(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct pass *p = arg;
    struct str mark;
    enum err e = evidence_load(tx, p->a, &p->set);
    if (!e)
        e = candidate_active(tx, "ranker", p->a, &p->ranker.active);
    if (e == ERR_NOT_FOUND)
        e = ERR_OK;
    if (!e)
        e = learn_newest_candidate(tx, "ranker", p->a, &p->newest);
    if (e == ERR_NOT_FOUND)
        e = ERR_OK;
    if (!e)
        e = learn_is_off(tx, "ranker", &p->ranker_off);
    if (!e && (e = setting_get(tx, UNLEARN_SETTING, p->a, &mark)) == ERR_OK)
        p->unlearn = true;
    p->report->ratings = (size_t)p->set.rated;
    p->report->questions = p->set.n_questions;
    return e == ERR_NOT_FOUND ? ERR_OK : e ? err_set(ei, e, NULL) : ERR_OK;
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

struct proof {
    struct replay_result order;
    struct replay_choices choices;
};

static enum err prove(struct pass *p, size_t from, struct proof *ret) {
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
        e = replay_rankers(r, NULL, p->set.turns + from, p->set.n_turns - from, &ret->order);
    size_t first = 0; /* of the choices that were held back */
    while (first < p->set.n_choices && p->set.choice_turn[first] < from)
        first++;
    if (!e)
        e = replay_choices(r, NULL, p->set.choices + first, p->set.n_choices - first,
                           &ret->choices);
    ranker_free(r);
    return e;
}

/* Either kind of evidence proves it, unless the other speaks against it. */
static bool is_proved(const struct proof *p) {
    const struct replay_result *r = &p->order;
    const struct replay_choices *c = &p->choices;
    if (replay_is_proof(r))
        return c->turns < REPLAY_CHOICES_MIN || c->gain.high > 0;
    return replay_choices_are_proof(c) && (r->questions < REPLAY_QUESTIONS_MIN || r->gain.high > 0);
}

static double finite_or(double v, double otherwise) {
    return isfinite(v) ? v : otherwise;
}

static void write_proof(const struct pass *p, const struct proof *proof, char *ret, size_t n) {
    const struct replay_result *r = &proof->order;
    const struct replay_choices *c = &proof->choices;
    snprintf(ret, n,
             "{\"ratings\":%lld,\"questions\":%zu,\"replayed_turns\":%zu,\"replayed_questions\":"
             "%zu,\"gain\":%.5f,\"low\":%.5f,\"high\":%.5f,\"before\":%.5f,\"after\":%.5f,"
             "\"new_questions\":%.0f,\"gain_new\":%.5f,\"choices\":%zu,\"choices_gain\":%.5f,"
             "\"choices_low\":%.5f,\"choices_high\":%.5f,\"choices_dr\":%.5f,"
             "\"choices_dr_low\":%.5f,\"choices_dr_high\":%.5f}",
             (long long)p->set.rated, p->set.n_questions, r->turns, r->questions, r->gain.mean,
             finite_or(r->gain.low, -1), finite_or(r->gain.high, 1), r->before.mean, r->after.mean,
             r->gain_new.n, r->gain_new.n >= 2 ? r->gain_new.mean : 0, c->turns, c->gain.mean,
             finite_or(c->gain.low, -1), finite_or(c->gain.high, 1), c->gain_dr.mean,
             finite_or(c->gain_dr.low, -1), finite_or(c->gain_dr.high, 1));
}

static void describe(const struct pass *p, const struct proof *proof, bool proved, bool refresh,
                     char *words, size_t n) {
    const struct replay_result *r = &proof->order;
    const struct replay_choices *c = &proof->choices;
    size_t m = (size_t)snprintf(words, n,
                                "An order of passages was learnt from %lld ratings of %zu "
                                "questions.",
                                (long long)p->set.rated, p->set.n_questions);
    if (r->turns || !c->turns)
        m += (size_t)snprintf(
            words + m, n - m,
            " Replayed on the newest %zu rated turns, which it had not seen, it puts what people "
            "found helpful %s: %+.3f (%+.3f to %+.3f) of nDCG.",
            r->turns, r->gain.mean >= 0 ? "higher" : "lower", r->gain.mean,
            finite_or(r->gain.low, -1), finite_or(r->gain.high, 1));
    if (c->turns)
        m += (size_t)snprintf(
            words + m, n - m,
            " Of the newest %zu answers that showed one of two passages by chance, and where it "
            "would choose the other, people were %+.3f (%+.3f to %+.3f; doubly robust %+.3f) more "
            "satisfied with its choice.",
            c->turns, c->gain.mean, finite_or(c->gain.low, -1), finite_or(c->gain.high, 1),
            c->gain_dr.mean);
    snprintf(words + m, n - m, " %s",
             !proved ? "That is no proof: nobody is given it."
             : refresh
                 ? "It takes the place of the one before, with the same share of the conversations."
                 : "It now answers 10 % of conversations, to be compared with the others.");
}

static enum err store_candidate(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct pass *p = arg;
    bool proved = p->report->proved;
    enum err e = ERR_OK;
    if (proved && uuid_is_set(&p->ranker.active.candidate_id))
        e = candidate_set_state(tx, &p->ranker.active.candidate_id, "replaced");
    if (!e)
        e = candidate_put(tx, &p->made);
    if (!e)
        e = candidate_forget(tx, CANDIDATES_KEPT);
    if (!e)
        e = learn_event_add(tx, rollout_name(p->state), &p->made.candidate_id, p->made.words);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

static enum err make_candidate(struct pass *p, struct errinfo *ei) {
    struct proof proof = {.choices = {.turns = 0}};
    struct ranker *whole = NULL;
    struct buf body;
    char words[1000], numbers[900];
    size_t from = p->set.n_turns - p->set.n_turns / HELD_BACK;
    buf_init(&body, (size_t)64 << 20);
    enum err e = prove(p, from, &proof);
    bool proved = !e && is_proved(&proof);
    bool refresh = proved && uuid_is_set(&p->ranker.active.candidate_id);
    if (proved && (e = train(p, p->set.n_turns, &whole)) == ERR_OK) {
        ranker_save(whole, &body);
        e = buf_err(&body);
    }
    if (!e) {
        int now =
            refresh ? rollout_from_name(p->ranker.active.state.p, p->ranker.active.state.n) : -1;
        describe(p, &proof, proved, refresh, words, sizeof words);
        write_proof(p, &proof, numbers, sizeof numbers);
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
                                     .proof = str_from(numbers),
                                     .words = str_from(words),
                                     .body = proved ? buf_str(&body) : STR_NULL};
        learn_say(p->report, "%s", words);
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
    static const char without[] = "Ratings were withdrawn, changed or flagged, or a person, "
                                  "conversation or document was deleted: the learnt order of "
                                  "passages was made anew without them.";
    static const char anew[] = "The learnt order of passages was another version's or damaged: it "
                               "was made anew from the ratings.";
    const char *words = p->unreadable ? anew : without;
    if (uuid_is_set(&p->ranker.active.candidate_id)) {
        e = candidate_put(tx, &p->ranker.active);
        if (!e)
            e = learn_event_add(tx, "unlearned", &p->ranker.active.candidate_id, str_from(words));
        learn_say(p->report, "%s", words);
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
    if (uuid_is_set(&p->ranker.active.candidate_id) &&
        (e = train(p, p->set.n_turns, &r)) == ERR_OK) {
        ranker_save(r, &body);
        e = buf_err(&body);
        p->ranker.active.body = buf_str(&body);
        p->ranker.active.made_at = clock_wall_ms();
    }
    if (!e)
        e = store_write_wait(p->store, store_unlearnt, p, ei);
    ranker_free(r);
    buf_deinit(&body);
    return e;
}

/* Nobody has a ranker that cannot be read, though the store says that a share of people has it. */
static enum err read_in_use(struct pass *p, struct errinfo *ei) {
    struct ranker *r = NULL;
    if (!uuid_is_set(&p->ranker.active.candidate_id))
        return ERR_OK;
    enum err e = ranker_load(p->ranker.active.body, &r);
    p->unreadable = e == ERR_CORRUPT;
    ranker_free(r);
    return e && !p->unreadable ? err_set(ei, e, NULL) : ERR_OK;
}

/* Counted by their time: what is looked at has a cap, and stays as many when ratings go on. */
static int64_t ratings_since(const struct pass *p) {
    int64_t n = 0;
    for (size_t i = 0; i < p->set.n_turns; i++)
        n += p->set.rated_at[i] > p->newest.created_at;
    return n;
}

static enum err run(struct pass *p, struct errinfo *ei) {
    enum err e = store_write_wait(p->store, guard_arms, p, ei);
    if (!e)
        e = learn_watch_answers(p->store, p->a, p->report, ei);
    if (!e)
        e = store_write_wait(p->store, learn_propose_fn, p->report, ei);
    if (!e)
        e = store_write_wait(p->store, take_mark, p, ei);
    if (!e)
        e = store_read_wait(p->store, read_all, p, ei);
    if (!e)
        e = read_in_use(p, ei);
    if (!e && (p->unlearn || p->unreadable))
        e = unlearn(p, ei);
    if (!e && uuid_is_set(&p->ranker.active.candidate_id))
        e = trial_look(&p->ranker, ei);
    if (!e)
        e = trial_examples(&(struct trial){.store = p->store, .a = p->a, .report = p->report}, ei);
    if (e || p->ranker_off || p->ranker.stepped)
        return e;
    int now = uuid_is_set(&p->ranker.active.candidate_id)
                  ? rollout_from_name(p->ranker.active.state.p, p->ranker.active.state.n)
                  : -1;
    if (now == ROLLOUT_TRIAL || now == ROLLOUT_HALF)
        return ERR_OK; /* a newer one would begin the comparison anew, and none would ever end */
    int64_t fresh = ratings_since(p), enough = p->newest.ratings / LEARN_RATINGS_GROWN;
    if (enough < LEARN_RATINGS_NEW)
        enough = LEARN_RATINGS_NEW;
    if (p->set.rated < RATINGS_MIN) {
        learn_say(
            p->report,
            "There are %lld rated answers that used documents; an order of passages is learnt from "
            "%d on.",
            (long long)p->set.rated, RATINGS_MIN);
        return ERR_OK;
    }
    if (!p->force && fresh < enough) {
        learn_say(p->report,
                  "%lld ratings are new since the last candidate; the next is made after %lld.",
                  (long long)fresh, (long long)enough);
        return ERR_OK;
    }
    return make_candidate(p, ei);
}

enum err learn_run(struct store *s, bool force, struct learn_report *ret, struct errinfo *ei) {
    struct learn_report report = {0};
    struct pass p = {.store = s, .force = force, .report = &report, .a = arena_new(RUN_ARENA)};
    if (!p.a)
        return err_set(ei, ERR_NOMEM, NULL);
    p.ranker = (struct trial){.store = s, .a = p.a, .report = &report, .kind = "ranker"};
    enum err e = run(&p, ei);
    arena_free(p.a);
    if (e)
        return e;
    *ret = report;
    return ERR_OK;
}

static enum err read_active(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct pass *p = arg;
    enum err e = candidate_active(tx, "ranker", p->a, &p->ranker.active);
    return e && e != ERR_NOT_FOUND ? err_set(ei, e, NULL) : ERR_OK;
}

enum err learn_guard(struct store *s, struct learn_report *ret, struct errinfo *ei) {
    struct learn_report report = {0};
    struct pass p = {.store = s, .report = &report, .a = arena_new(RUN_ARENA)};
    p.ranker = (struct trial){
        .store = s, .a = p.a, .report = &report, .kind = "ranker", .only_back = true};
    struct trial examples = p.ranker;
    enum err e = p.a ? store_write_wait(s, guard_arms, &p, ei) : err_set(ei, ERR_NOMEM, NULL);
    if (!e)
        e = learn_watch_answers(s, p.a, &report, ei);
    if (!e)
        e = store_read_wait(s, read_active, &p, ei);
    if (!e && uuid_is_set(&p.ranker.active.candidate_id))
        e = trial_look(&p.ranker, ei);
    if (!e)
        e = trial_examples(&examples, ei);
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
    char words[120];
    enum err e = a ? candidate_get(tx, id, a, &c) : ERR_NOMEM;
    bool examples = !e && str_eqz(c.kind, "examples"); /* they have learnt nothing by themselves */
    if (!e && in_use && !c.body.n && !examples)
        e = err_set(ei, ERR_CONFLICT,
                    str_eqz(c.state, "refused")
                        ? "this candidate was never proved: there is nothing to use"
                        : "what this candidate had learnt was forgotten: it is old, or ratings in "
                          "it were taken back; the next pass makes another");
    else if (!e && !in_use && rollout_share_of(&c) <= 0)
        e = err_set(ei, ERR_CONFLICT, "this candidate is not in use");
    else if (!e && in_use && candidate_active(tx, c.kind.p, a, &active) == ERR_OK &&
             !uuid_eq(&active.candidate_id, id))
        e = candidate_set_state(tx, &active.candidate_id, "replaced");
    if (!e)
        e = candidate_set_state(tx, id, in_use ? "all" : "rolled_back");
    snprintf(words, sizeof words, "An administrator %s %s%s.", in_use ? "put" : "took",
             examples ? "approved answers as examples" : "the learnt order of passages",
             in_use ? " to use" : " out of use");
    if (!e)
        e = learn_event_add(tx, in_use ? "all" : "rolled_back", id, str_from(words));
    arena_free(a);
    return e == ERR_NOT_FOUND ? err_set(ei, e, "there is no such candidate") : e;
}
