/* See estimate.h. */
#include "learn/estimate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SHRINK 4.0 /* ratings that the more general mean counts for */

/* Mean rewards without one fold: cell (arm, stratum) → arm → all. */
struct model {
    double sum[BANDIT_ARMS_MAX][ESTIMATE_STRATA_MAX], n[BANDIT_ARMS_MAX][ESTIMATE_STRATA_MAX];
    double arm_sum[BANDIT_ARMS_MAX], arm_n[BANDIT_ARMS_MAX], all_sum, all_n;
};

static void model_fit(struct model *m, const struct logged *s, size_t n, size_t without) {
    memset(m, 0, sizeof *m);
    for (size_t i = 0; i < n; i++) {
        if (i % ESTIMATE_FOLDS == without)
            continue;
        double w = s[i].weight, r = w * s[i].reward;
        m->sum[s[i].arm][s[i].stratum] += r;
        m->n[s[i].arm][s[i].stratum] += w;
        m->arm_sum[s[i].arm] += r;
        m->arm_n[s[i].arm] += w;
        m->all_sum += r;
        m->all_n += w;
    }
}

static double model_mean(const struct model *m, size_t arm, size_t stratum) {
    double all = (m->all_sum + 0.5 * SHRINK) / (m->all_n + SHRINK);
    double of_arm = (m->arm_sum[arm] + SHRINK * all) / (m->arm_n[arm] + SHRINK);
    return (m->sum[arm][stratum] + SHRINK * of_arm) / (m->n[arm][stratum] + SHRINK);
}

static bool is_sound(const struct logged *s, size_t n, size_t arms) {
    for (size_t i = 0; i < n; i++)
        if (s[i].arm >= arms || s[i].stratum >= ESTIMATE_STRATA_MAX || !(s[i].propensity > 0) ||
            s[i].propensity > 1 || !(s[i].weight >= 0))
            return false;
    return arms > 0 && arms <= BANDIT_ARMS_MAX;
}

static double clipped(double target, double propensity) {
    double w = target / propensity;
    return w < ESTIMATE_WEIGHT_MAX ? w : ESTIMATE_WEIGHT_MAX;
}

/* The DR terms of a policy, added with a sign; m is the model for the sample's fold. */
static double dr_term(const struct model *m, const struct logged *s, const double *target,
                      size_t arms) {
    double q = 0;
    for (size_t a = 0; a < arms; a++)
        if (target[a] > 0)
            q += target[a] * model_mean(m, a, s->stratum);
    return q +
           clipped(target[s->arm], s->propensity) * (s->reward - model_mean(m, s->arm, s->stratum));
}

/* A ratio's linearisation: the interval of Σ k·r / Σ k is that of k·(r − ratio) / mean(k). */
static struct interval self_normalised(const struct logged *s, size_t n, const double *target,
                                       const double *baseline, double *terms, double *w) {
    struct interval out;
    double ratio[2] = {0}, mean[2] = {0};
    const double *policy[2] = {target, baseline};
    for (int p = 0; p < 2; p++) {
        double num = 0, den = 0, all = 0;
        for (size_t i = 0; policy[p] && i < n; i++) {
            double k = s[i].weight * clipped(policy[p][s[i].arm], s[i].propensity);
            num += k * s[i].reward;
            den += k;
            all += s[i].weight;
        }
        ratio[p] = den > 0 ? num / den : 0;
        mean[p] = all > 0 ? den / all : 0;
    }
    for (size_t i = 0; i < n; i++) {
        terms[i] = 0;
        for (int p = 0; p < 2; p++)
            if (policy[p] && mean[p] > 0)
                terms[i] += (p ? -1 : 1) * clipped(policy[p][s[i].arm], s[i].propensity) *
                            (s[i].reward - ratio[p]) / mean[p];
        w[i] = s[i].weight;
    }
    out = interval_of_weighted(terms, w, n);
    double shift = ratio[0] - ratio[1] - out.mean;
    out.mean += shift;
    out.low += shift;
    out.high += shift;
    return out;
}

static enum err estimate_any(const struct logged *s, size_t n, const double *target,
                             const double *baseline, size_t arms, struct estimate *ret) {
    if (!is_sound(s, n, arms))
        return ERR_INVALID;
    *ret = (struct estimate){0};
    if (n == 0)
        return ERR_OK;
    double *terms = calloc(n * 2, sizeof *terms), *w = terms + n;
    struct model *m = malloc(ESTIMATE_FOLDS * sizeof *m);
    if (!terms || !m) {
        free(terms);
        free(m);
        return ERR_NOMEM;
    }
    for (size_t f = 0; f < ESTIMATE_FOLDS; f++)
        model_fit(&m[f], s, n, f);
    for (size_t i = 0; i < n; i++) {
        double k = clipped(target[s[i].arm], s[i].propensity) -
                   (baseline ? clipped(baseline[s[i].arm], s[i].propensity) : 0);
        terms[i] = k * s[i].reward;
        w[i] = s[i].weight;
    }
    ret->ips = interval_of_weighted(terms, w, n);
    for (size_t i = 0; i < n; i++)
        terms[i] = dr_term(&m[i % ESTIMATE_FOLDS], &s[i], target, arms) -
                   (baseline ? dr_term(&m[i % ESTIMATE_FOLDS], &s[i], baseline, arms) : 0);
    ret->dr = interval_of_weighted(terms, w, n);
    ret->snips = self_normalised(s, n, target, baseline, terms, w);
    free(terms);
    free(m);
    return ERR_OK;
}

enum err estimate_policy(const struct logged *s, size_t n, const double *target, size_t arms,
                         struct estimate *ret) {
    return estimate_any(s, n, target, NULL, arms, ret);
}

enum err estimate_difference(const struct logged *s, size_t n, const double *target,
                             const double *baseline, size_t arms, struct estimate *ret) {
    return estimate_any(s, n, target, baseline, arms, ret);
}
