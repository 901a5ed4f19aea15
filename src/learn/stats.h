/* The statistics that learning stands on: a seeded generator, draws from the beta distribution,
 * intervals, and a small logistic regression. Pure: no clock, no store, no allocation but where
 * said; the same seed gives the same numbers on every machine with IEEE doubles. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64. Not for secrets. */
struct rng {
    uint64_t s[4];
};
void rng_init(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
double rng_uniform(struct rng *r);             /* in [0, 1) */
uint32_t rng_below(struct rng *r, uint32_t n); /* in 0 … n - 1; n > 0 */
double rng_normal(struct rng *r);              /* mean 0, deviation 1 (polar method) */
double rng_gamma(struct rng *r, double shape); /* Marsaglia and Tsang, 2000 */
double rng_beta(struct rng *r, double a, double b);

/* An estimate and its interval of confidence (95 % where nothing else is said). */
struct interval {
    double mean, low, high;
    double n; /* observations, or the sum of their weights */
};

/* A proportion by Wilson's score interval (1927); good and n may be weighted sums. n 0: 0.5 in
 * [0, 1]. */
struct interval interval_of_share(double good, double n);
/* A mean by Student's t, for few values too. n 0: all 0; n 1: unbounded. */
struct interval interval_of_mean(const double *values, size_t n);
/* The same with weights (Cochran's ratio variance); w may be NULL. */
struct interval interval_of_weighted(const double *values, const double *w, size_t n);
/* The two-sided 95 % quantile of Student's t with so many degrees of freedom. */
double student_t95(double df);

/* P(Beta(a1, b1) > Beta(a2, b2)), by the normal approximation of the difference, which is within
 * 0.02 for a, b >= 1. */
double beta_above(double a1, double b1, double a2, double b2);

double logistic(double x); /* 1 / (1 + e^-x), safe at both ends */

/* Logistic regression with a Gaussian prior: minimises Σ w·loss + l2/2·|coefficients − prior|² by
 * Newton's method. x is n rows of `dims` values; y in [0, 1]; w may be NULL; nonnegative[j] keeps a
 * coefficient from going below 0 (projected steps). prior, nonnegative: dims values or NULL.
 * ERR_INVALID when dims is 0 or above LOGISTIC_DIMS_MAX; ERR_NOMEM. ret holds dims values. */
#define LOGISTIC_DIMS_MAX 64
struct logistic_problem {
    const double *x, *y, *w;
    size_t n, dims;
    double l2;
    const double *prior;
    const bool *nonnegative;
};
enum err logistic_fit(const struct logistic_problem *p, double *ret) ERR_CHECK;
