/* What the service and the pass share. */
#pragma once

#include "learn/bandit.h"
#include "learn/learn.h"
#include "learn/ranker_internal.h"
#include "learn/rollout.h"

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
