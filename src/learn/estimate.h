/* What another choice would have earned, from what was logged: off-policy evaluation.
 *
 * Each sample is one rated turn: the arm that was drawn, the chance with which it was drawn
 * (propensity, written down then), its reward (0 to 1) and a stratum, a small number of what was
 * known before the draw (the role, say) on which the reward model may depend. The target policy is
 * given as the chance that it would give the drawn arm, and each arm.
 *
 *   IPS    mean of w·r,  w = target/propensity              (Horvitz and Thompson, 1952)
 *   SNIPS  Σ w·r / Σ w                                       (Swaminathan and Joachims, 2015)
 *   DR     mean of Σ_a target(a)·q(a) + w·(r − q(drawn))     (Dudík, Langford and Li, 2011)
 *
 * q is the mean reward of arm and stratum, shrunk towards the arm's mean and the overall mean, and
 * fitted without the fold that the sample is in (cross-fitting; Chernozhukov and others, 2018), so
 * that DR's interval is honest. Intervals are of the mean by Student's t. Weights are clipped at
 * ESTIMATE_WEIGHT_MAX, which can only make a good candidate look worse. */
#pragma once

#include "learn/bandit.h"
#include "learn/stats.h"

#define ESTIMATE_WEIGHT_MAX 50.0
#define ESTIMATE_STRATA_MAX 64
#define ESTIMATE_FOLDS      5

struct logged {
    size_t arm;
    double propensity; /* above 0 */
    double reward;     /* 0 to 1 */
    double weight;     /* of the rating itself (evidence.h); 1 = in full */
    size_t stratum;    /* below ESTIMATE_STRATA_MAX */
};

struct estimate {
    struct interval ips, snips, dr;
};

/* target: arms values that sum to 1. ERR_INVALID for an arm, stratum or propensity out of range;
 * ERR_NOMEM. Without samples the intervals are all 0 with n 0. */
enum err estimate_policy(const struct logged *s, size_t n, const double *target, size_t arms,
                         struct estimate *ret) ERR_CHECK;

/* The difference of two policies on the same samples, whose interval is that of the paired terms:
 * what a candidate must have above zero. */
enum err estimate_difference(const struct logged *s, size_t n, const double *target,
                             const double *baseline, size_t arms, struct estimate *ret) ERR_CHECK;
