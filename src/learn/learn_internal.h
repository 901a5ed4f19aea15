/* What the service and the pass share. */
#pragma once

#include "learn/bandit.h"
#include "learn/learn.h"
#include "learn/ranker_internal.h"
#include "learn/rollout.h"

/* Adds a sentence to the report's words. */
void learn_say(struct learn_report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* trial.c: what has a share of the conversations goes on or back. */
struct trial { /* zeroed but for what is set */
    struct store *store;
    struct arena *a;
    struct learn_report *report;
    const char *kind;        /* "ranker", "examples" */
    bool only_back;          /* it may be taken back, but not go on */
    struct candidate active; /* candidate_id not set: none; also when it was taken back */
    bool stepped;            /* it went on or back */
    struct rollout_step step;
    bool due; /* step is to be taken */
};
enum err trial_look(struct trial *t, struct errinfo *ei) ERR_CHECK; /* active is set */
/* Begins the trial of examples where there are some to show, and looks at it. */
enum err trial_examples(struct trial *t, struct errinfo *ei) ERR_CHECK;
/* ERR_NOT_FOUND: none of this kind. Its body is not read. */
enum err learn_newest_candidate(struct store_tx *tx, const char *kind, struct arena *a,
                                struct candidate *ret) ERR_CHECK;

/* watch.c: approved answers that are too old, or whose documents changed; and, by their ratings,
 * those that people do not like. The latter reads on a reader and writes only when there are some.
 */
enum err learn_check_answers(struct store_tx *tx, struct learn_report *r) ERR_CHECK;
enum err learn_watch_answers(struct store *s, struct arena *a, struct learn_report *report,
                             struct errinfo *ei) ERR_CHECK;

/* propose.c: a store_fn; arg is the struct learn_report. */
enum err learn_propose_fn(struct store_tx *tx, void *arg, struct errinfo *ei);

static inline void learn_totals_to_arm(const struct arm_totals *t, struct bandit_arm *ret) {
    *ret = (struct bandit_arm){.good = t->good,
                               .bad = t->bad,
                               .turns = t->turns,
                               .unsafe = t->unsafe,
                               .failed = t->failed,
                               .ttft_n = t->ttft_n,
                               .ttft_sum = t->ttft_sum,
                               .ttft_squares = t->ttft_squares};
}
