#include "cli/eval_measure.h"

#include <math.h>
#include <stdlib.h>

static int by_score(const void *a, const void *b) { /* highest first */
    const float x = ((const struct eval_outcome *)a)->score;
    const float y = ((const struct eval_outcome *)b)->score;
    return (x < y) - (x > y);
}

static double ratio(size_t part, size_t whole) {
    return whole ? (double)part / (double)whole : NAN;
}

double eval_f(size_t tp, size_t fp, size_t fn, double beta) {
    const double b = beta * beta;
    const double all = (1 + b) * (double)tp + b * (double)fn + (double)fp;
    return all > 0 ? (1 + b) * (double)tp / all : NAN;
}

static void rank_measures(const struct eval_outcome *rows, size_t n, struct eval_measures *m) {
    const double pos = (double)m->positives, neg = (double)(n - m->positives);
    size_t tp = 0, fp = 0;
    double auprc = 0, pairs = 0;
    for (size_t i = 0, j; i < n; i = j) {
        size_t p = 0;
        for (j = i; j < n && rows[j].score == rows[i].score; j++)
            p += rows[j].positive;
        const size_t q = j - i - p;
        pairs += (double)q * ((double)tp + (double)p / 2);
        tp += p;
        fp += q;
        auprc += (double)p / pos * (double)tp / (double)(tp + fp);
        const double f1 = eval_f(tp, fp, m->positives - tp, 1);
        if (f1 > m->best_f1) {
            m->best_f1 = f1;
            m->best_at = rows[i].score;
        }
    }
    m->auprc = pos > 0 ? auprc : NAN;
    m->auroc = pos > 0 && neg > 0 ? pairs / (pos * neg) : NAN;
}

struct eval_measures eval_measure(struct eval_outcome *rows, size_t n) {
    struct eval_measures m = {.n = n};
    size_t tp = 0, fp = 0;
    for (size_t i = 0; i < n; i++) {
        m.positives += rows[i].positive;
        tp += rows[i].positive && rows[i].flagged;
        fp += !rows[i].positive && rows[i].flagged;
    }
    qsort(rows, n, sizeof *rows, by_score);
    rank_measures(rows, n, &m);
    m.precision = ratio(tp, tp + fp);
    m.recall = ratio(tp, m.positives);
    m.false_positive_rate = ratio(fp, n - m.positives);
    m.f1 = eval_f(tp, fp, m.positives - tp, 1);
    return m;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double eval_quantile(double *values, size_t n, double q) {
    qsort(values, n, sizeof *values, by_value);
    size_t rank = (size_t)ceil(q * (double)n);
    return values[rank < 1 ? 0 : rank > n ? n - 1 : rank - 1];
}
