/* See replay.h. */
#include "learn/replay.h"

#include <math.h>
#include <stdlib.h>

#define SHOWN_MAX 64

struct placed {
    double score;
    size_t at;
};

static int by_score(const void *a, const void *b) {
    const struct placed *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static void order(const struct ranker *r, const struct replay_turn *t, size_t *ret) {
    struct placed p[SHOWN_MAX];
    double score[SHOWN_MAX];
    if (r)
        ranker_score(r, &t->question, t->passages, t->n, score);
    for (size_t i = 0; i < t->n; i++)
        p[i] = (struct placed){r ? score[i] : t->passages[i].signals[RANKER_ORDER], i};
    qsort(p, t->n, sizeof *p, by_score);
    for (size_t i = 0; i < t->n; i++)
        ret[i] = p[i].at;
}

static double dcg(const struct replay_turn *t, const size_t *at) {
    double sum = 0;
    for (size_t i = 0; i < t->n; i++)
        sum += t->weights[at[i]] * t->values[at[i]] / log2((double)i + 2);
    return sum;
}

static double best_dcg(const struct replay_turn *t) {
    struct placed p[SHOWN_MAX];
    size_t at[SHOWN_MAX];
    for (size_t i = 0; i < t->n; i++)
        p[i] = (struct placed){t->weights[i] * t->values[i], i};
    qsort(p, t->n, sizeof *p, by_score);
    for (size_t i = 0; i < t->n; i++)
        at[i] = p[i].at;
    return dcg(t, at);
}

struct question_sum {
    double gain, before, after, turns;
    bool is_new;
};

static void add_turn(const struct ranker *candidate, const struct ranker *current,
                     const struct replay_turn *t, struct question_sum *q) {
    size_t now[SHOWN_MAX], then[SHOWN_MAX];
    double best = t->n > 1 ? best_dcg(t) : 0; /* one has no order */
    if (best <= 0)
        return; /* nothing in it was good: every order is the same */
    order(candidate, t, now);
    order(current, t, then);
    double before = dcg(t, then) / best, after = dcg(t, now) / best;
    q->gain += after - before;
    q->before += before;
    q->after += after;
    q->turns += 1;
    q->is_new = t->is_new;
}

static struct interval over(const struct question_sum *q, size_t n, double *v, bool only_new,
                            size_t field) {
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        const double fields[] = {q[i].gain, q[i].before, q[i].after};
        if (q[i].turns > 0 && (!only_new || q[i].is_new))
            v[m++] = fields[field] / q[i].turns;
    }
    struct interval out = interval_of_mean(v, m);
    out.n = (double)m;
    return out;
}

enum err replay_rankers(const struct ranker *candidate, const struct ranker *current,
                        const struct replay_turn *turns, size_t n, struct replay_result *ret) {
    size_t questions = 0;
    for (size_t i = 0; i < n; i++)
        if (turns[i].question_number >= questions)
            questions = turns[i].question_number + 1;
    struct question_sum *q = calloc(questions + 1, sizeof *q);
    double *v = calloc(questions + 1, sizeof *v);
    if (!q || !v) {
        free(q);
        free(v);
        return ERR_NOMEM;
    }
    *ret = (struct replay_result){0};
    for (size_t i = 0; i < n; i++)
        if (turns[i].n > 0 && turns[i].n <= SHOWN_MAX)
            add_turn(candidate, current, &turns[i], &q[turns[i].question_number]);
    for (size_t i = 0; i < questions; i++) {
        ret->turns += (size_t)q[i].turns;
        ret->questions += q[i].turns > 0;
    }
    ret->gain = over(q, questions, v, false, 0);
    ret->before = over(q, questions, v, false, 1);
    ret->after = over(q, questions, v, false, 2);
    ret->gain_new = over(q, questions, v, true, 0);
    free(q);
    free(v);
    return ERR_OK;
}

/* ---- one of two ---- */

static size_t choose(const struct ranker *r, const struct replay_choice *c) {
    struct ranker_passage p[2] = {c->passages[0], c->passages[1]};
    double score[2] = {1, 0};
    if (r)
        ranker_score(r, &c->question, p, 2, score);
    return score[1] > score[0];
}

static int by_number(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

enum err replay_choices(const struct ranker *candidate, const struct ranker *current,
                        const struct replay_choice *c, size_t n, struct replay_choices *ret) {
    static const double its[] = {0, 1}, now[] = {1, 0};
    struct logged *log = calloc(n + 1, sizeof *log);
    size_t *asked = calloc(n + 1, sizeof *asked), m = 0;
    struct estimate e = {0};
    if (!log || !asked) {
        free(log);
        free(asked);
        return ERR_NOMEM;
    }
    *ret = (struct replay_choices){.turns = 0};
    for (size_t i = 0; i < n; i++) {
        size_t pick = choose(candidate, &c[i]);
        if (c[i].weight <= 0 || pick == choose(current, &c[i]))
            continue; /* where they agree there is no difference */
        asked[m] = c[i].question_number;
        ret->its += c[i].shown == pick;
        log[m++] = (struct logged){.arm = c[i].shown == pick,
                                   .propensity = c[i].chance,
                                   .reward = c[i].value,
                                   .weight = c[i].weight};
    }
    enum err err = estimate_difference(log, m, its, now, 2, &e);
    qsort(asked, m, sizeof *asked, by_number);
    for (size_t i = 0; i < m; i++)
        ret->questions += i == 0 || asked[i] != asked[i - 1];
    ret->turns = m;
    ret->gain = e.snips;
    ret->gain_dr = e.dr;
    free(log);
    free(asked);
    return err;
}

bool replay_choices_are_proof(const struct replay_choices *r) {
    return r->turns >= REPLAY_CHOICES_MIN && r->its >= REPLAY_CHOICES_ITS &&
           r->turns - r->its >= REPLAY_CHOICES_ITS && r->questions >= REPLAY_QUESTIONS_MIN &&
           r->gain.low > 0 && r->gain_dr.mean > 0;
}

bool replay_is_proof(const struct replay_result *r) {
    if (r->questions < REPLAY_QUESTIONS_MIN || !(r->gain.low > 0))
        return false;
    return r->gain_new.n < REPLAY_QUESTIONS_MIN || r->gain_new.high > 0;
}
