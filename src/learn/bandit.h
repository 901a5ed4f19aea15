/* Choosing among the arms of one role (prompt variants, models, parameters) by Thompson sampling
 * (Thompson, 1933; Chapelle and Li, 2011), with guard-rails that take an arm out.
 *
 * An arm's satisfaction has a beta posterior. The chance with which an arm is chosen is its
 * posterior probability of being the best, computed once for a state of the counts and then drawn
 * from: exactly Thompson sampling, but with a propensity that can be written down beside the turn,
 * which the replay (estimate.h) needs. Every running arm keeps at least BANDIT_FLOOR of the traffic
 * while there is more than one, so that importance weights stay bounded, and BANDIT_FLOOR_NEW until
 * it has had BANDIT_NEW turns, so that the guard-rails soon have something to compare.
 *
 * Pure; the caller owns the arms. */
#pragma once

#include "learn/stats.h"

#define BANDIT_ARMS_MAX  16
#define BANDIT_FLOOR     0.005
#define BANDIT_FLOOR_NEW 0.1
#define BANDIT_NEW       25
#define BANDIT_DRAWS     1024 /* for the chances of being the best */

/* What stops an arm. The first arm (the role as it is) is never stopped. */
enum arm_stop {
    ARM_RUNNING,
    ARM_STOPPED_UNSAFE,  /* answers of it are unsafe more often than the role's own */
    ARM_STOPPED_SLOW,    /* its first words come later */
    ARM_STOPPED_FAILING, /* its answers fail more often */
    ARM_STOPPED_DISLIKED /* clearly worse rated */
};
const char *arm_stop_name(enum arm_stop s); /* "running", "unsafe", "slow", "failing", "disliked" */

struct bandit_arm {
    double good, bad;      /* weighted ratings: what of each counted as 1 and as 0 */
    double turns;          /* answers given */
    double unsafe, failed; /* of those: stopped by the guard or called unsafe; ended in an error */
    double ttft_n, ttft_sum, ttft_squares; /* logarithms of the milliseconds to the first words */
    enum arm_stop stop;
};

/* Fills chance[n] for the running arms (0 for stopped ones); they sum to 1. n ≤ BANDIT_ARMS_MAX. */
void bandit_chances(const struct bandit_arm *arms, size_t n, struct rng *r, double *chance);
/* Draws an arm by those chances. */
size_t bandit_draw(const double *chance, size_t n, struct rng *r);

/* What the guard-rails say of an arm against the first one. Once stopped stays stopped. */
enum arm_stop bandit_guard(const struct bandit_arm *arms, size_t n, size_t arm);

/* One answer came (ttft_ms < 0 = no words came), or one rating (value 0 to 1, weight). */
void bandit_add_turn(struct bandit_arm *a, double ttft_ms, bool unsafe, bool failed);
void bandit_add_rating(struct bandit_arm *a, double value, double weight);
