/* Replaying held-back turns: would another order of the passages have pleased more?
 *
 * Ratings are split by time: a candidate is made from the older ones and judged by the newer. Each
 * replayed turn has the passages that were shown, with what people said of each. Both rankers order
 * them; the gain of a turn is the difference of
 *
 *   DCG = Σ worth(passage at rank i) / log2(i + 1)     (Järvelin and Kekäläinen, 2002)
 *
 * divided by the largest that the turn allows. Turns of one question are no independent witnesses:
 * the interval is over questions, by their mean gains. Turns whose question was not rated before
 * the split stand for questions that nobody asked yet, and are also judged by themselves. What a
 * candidate would show that was not shown has no rating and cannot be replayed; the first share of
 * traffic (rollout.h) is for that.
 *
 * Where a turn has room for one passage there is no order. There one of the two best is drawn with
 * a known chance when they are nearly equal, and what people said of the drawn one, divided by its
 * chance (estimate.h), says what either choice earns. Pure. */
#pragma once

#include "learn/estimate.h"
#include "learn/ranker.h"

struct replay_turn {
    struct ranker_question question;
    size_t question_number;          /* which turns ask the same */
    bool is_new;                     /* not rated before the split */
    struct ranker_passage *passages; /* in the order shown */
    const double *values;            /* what each was judged, 0 to 1 */
    const double *weights;           /* 0 = not judged */
    size_t n;
};

struct replay_result {
    struct interval gain;          /* candidate − current, of the normalised DCG */
    struct interval gain_new;      /* of questions that were new */
    struct interval before, after; /* the two themselves */
    size_t turns, questions;
};

/* NULL = the search's own order. ERR_NOMEM. */
enum err replay_rankers(const struct ranker *candidate, const struct ranker *current,
                        const struct replay_turn *turns, size_t n,
                        struct replay_result *ret) ERR_CHECK;

struct replay_choice { /* a turn that showed one of two passages */
    struct ranker_question question;
    size_t question_number;
    struct ranker_passage passages[2]; /* the search's own choice first */
    size_t shown;                      /* which was */
    double chance;                     /* with which it was */
    double value, weight;              /* what it was judged */
};
struct replay_choices {
    /* candidate − current, of what people said, where the two differ: self-normalised, and doubly
     * robust (estimate.h) */
    struct interval gain, gain_dr;
    size_t turns, questions;
    size_t its; /* of the turns: those that showed what the candidate would */
};
/* NULL = the search's own choice. ERR_NOMEM, ERR_INVALID for a chance out of range. */
enum err replay_choices(const struct ranker *candidate, const struct ranker *current,
                        const struct replay_choice *c, size_t n,
                        struct replay_choices *ret) ERR_CHECK;

/* What must hold before anybody is given the candidate: enough questions, the interval above zero,
 * and no sign that new questions fare worse. */
#define REPLAY_QUESTIONS_MIN 5
bool replay_is_proof(const struct replay_result *r);
/* The same of choices, of which there are more than a few; both estimates must agree. */
#define REPLAY_CHOICES_MIN 20
#define REPLAY_CHOICES_ITS 5 /* and of the others */
bool replay_choices_are_proof(const struct replay_choices *r);
