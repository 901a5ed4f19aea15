/* See stats.h. */
#include "learn/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NEWTON_STEPS 50
#define Z95          1.959963985

/* ---- the generator ---- */

static uint64_t splitmix(uint64_t *x) {
    uint64_t z = (*x += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void rng_init(struct rng *r, uint64_t seed) {
    for (int i = 0; i < 4; i++)
        r->s[i] = splitmix(&seed);
}

static uint64_t rotl(uint64_t x, int k) {
    return (x << k) | (x >> (64 - k));
}

uint64_t rng_next(struct rng *r) {
    uint64_t *s = r->s, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

double rng_uniform(struct rng *r) {
    return (double)(rng_next(r) >> 11) * 0x1.0p-53;
}

uint32_t rng_below(struct rng *r, uint32_t n) {
    return (uint32_t)(((rng_next(r) >> 32) * n) >> 32);
}

double rng_normal(struct rng *r) {
    for (;;) {
        double u = 2 * rng_uniform(r) - 1, v = 2 * rng_uniform(r) - 1, s = u * u + v * v;
        if (s > 0 && s < 1)
            return u * sqrt(-2 * log(s) / s);
    }
}

double rng_gamma(struct rng *r, double shape) {
    if (shape < 1)
        return rng_gamma(r, shape + 1) * pow(1 - rng_uniform(r), 1 / shape);
    double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        double x = rng_normal(r), v = 1 + c * x;
        if (v <= 0)
            continue;
        v = v * v * v;
        if (log(1 - rng_uniform(r)) < 0.5 * x * x + d - d * v + d * log(v))
            return d * v;
    }
}

double rng_beta(struct rng *r, double a, double b) {
    double x = rng_gamma(r, a), y = rng_gamma(r, b);
    return x + y > 0 ? x / (x + y) : 0.5;
}

/* ---- intervals ---- */

struct interval interval_of_share(double good, double n) {
    if (n <= 0)
        return (struct interval){0.5, 0, 1, 0};
    double p = good / n, z2 = Z95 * Z95, d = 1 + z2 / n, mid = (p + z2 / (2 * n)) / d;
    double half = Z95 * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / d;
    return (struct interval){p, fmax(0, mid - half), fmin(1, mid + half), n};
}

double student_t95(double df) {
    static const double table[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306,
                                   2.262,  2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
                                   2.110,  2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064,
                                   2.060,  2.056, 2.052, 2.048, 2.045, 2.042};
    if (df < 1)
        return INFINITY;
    if (df < 31)
        return table[(int)df - 1];
    return Z95 + 2.4 / df; /* Cornish-Fisher's first term: within 0.003 from 30 on */
}

struct interval interval_of_weighted(const double *v, const double *w, size_t n) {
    double sum = 0, sw = 0, sw2 = 0;
    for (size_t i = 0; i < n; i++) {
        double k = w ? w[i] : 1;
        sum += k * v[i];
        sw += k;
        sw2 += k * k;
    }
    if (sw <= 0)
        return (struct interval){0};
    double mean = sum / sw, spread = 0, effective = sw * sw / sw2;
    for (size_t i = 0; i < n; i++) {
        double k = (w ? w[i] : 1) * (v[i] - mean);
        spread += k * k;
    }
    if (effective < 2)
        return (struct interval){mean, -INFINITY, INFINITY, effective};
    double se = sqrt(spread * effective / (effective - 1)) / sw;
    double half = student_t95(effective - 1) * se;
    return (struct interval){mean, mean - half, mean + half, effective};
}

struct interval interval_of_mean(const double *v, size_t n) {
    return interval_of_weighted(v, NULL, n);
}

double beta_above(double a1, double b1, double a2, double b2) {
    double m1 = a1 / (a1 + b1), m2 = a2 / (a2 + b2);
    double v1 = m1 * (1 - m1) / (a1 + b1 + 1), v2 = m2 * (1 - m2) / (a2 + b2 + 1);
    return 0.5 * erfc(-(m1 - m2) / sqrt(2 * (v1 + v2)));
}

/* ---- logistic regression ---- */

double logistic(double x) {
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

/* Solves the symmetric positive definite h·d = g in place (Cholesky); d replaces g. */
static void solve(double *h, double *g, size_t n) {
    for (size_t j = 0; j < n; j++) {
        double s = h[j * n + j];
        for (size_t k = 0; k < j; k++)
            s -= h[j * n + k] * h[j * n + k];
        h[j * n + j] = sqrt(s > 1e-12 ? s : 1e-12);
        for (size_t i = j + 1; i < n; i++) {
            s = h[i * n + j];
            for (size_t k = 0; k < j; k++)
                s -= h[i * n + k] * h[j * n + k];
            h[i * n + j] = s / h[j * n + j];
        }
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++)
            g[i] -= h[i * n + k] * g[k];
        g[i] /= h[i * n + i];
    }
    for (size_t i = n; i-- > 0;) {
        for (size_t k = i + 1; k < n; k++)
            g[i] -= h[k * n + i] * g[k];
        g[i] /= h[i * n + i];
    }
}

/* A coefficient that stands at 0 and would go below stays out of the step. */
static bool is_held(const struct logistic_problem *p, const double *b, const double *g, size_t j) {
    return p->nonnegative && p->nonnegative[j] && b[j] <= 0 && g[j] > 0;
}

static void gradient(const struct logistic_problem *p, const double *b, double *g, double *h) {
    size_t d = p->dims;
    memset(h, 0, d * d * sizeof *h);
    for (size_t j = 0; j < d; j++) {
        g[j] = p->l2 * (b[j] - (p->prior ? p->prior[j] : 0));
        h[j * d + j] = p->l2;
    }
    for (size_t i = 0; i < p->n; i++) {
        const double *x = p->x + i * d;
        double z = 0, w = p->w ? p->w[i] : 1;
        for (size_t j = 0; j < d; j++)
            z += b[j] * x[j];
        double q = logistic(z), slope = w * (q - p->y[i]), bend = w * fmax(q * (1 - q), 1e-6);
        for (size_t j = 0; j < d; j++) {
            g[j] += slope * x[j];
            for (size_t k = 0; k <= j; k++)
                h[j * d + k] += bend * x[j] * x[k];
        }
    }
}

enum err logistic_fit(const struct logistic_problem *p, double *ret) {
    size_t d = p->dims;
    if (d == 0 || d > LOGISTIC_DIMS_MAX)
        return ERR_INVALID;
    double *b = calloc(d * 2 + d * d, sizeof *b);
    if (!b)
        return ERR_NOMEM;
    double *g = b + d, *h = g + d;
    for (size_t j = 0; p->prior && j < d; j++)
        b[j] = p->prior[j];
    for (int step = 0; step < NEWTON_STEPS; step++) {
        gradient(p, b, g, h);
        for (size_t j = 0; j < d; j++) {
            if (!is_held(p, b, g, j))
                continue;
            for (size_t k = 0; k < d; k++)
                h[j * d + k] = h[k * d + j] = 0;
            h[j * d + j] = 1;
            g[j] = 0;
        }
        solve(h, g, d);
        double moved = 0;
        for (size_t j = 0; j < d; j++) {
            double to = b[j] - fmax(-2, fmin(2, g[j])); /* a bounded step cannot run away */
            if (p->nonnegative && p->nonnegative[j] && to < 0)
                to = 0;
            moved = fmax(moved, fabs(to - b[j]));
            b[j] = to;
        }
        if (moved < 1e-7)
            break;
    }
    memcpy(ret, b, d * sizeof *ret);
    free(b);
    return ERR_OK;
}
