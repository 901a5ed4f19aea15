/* Measures of a detector on labelled rows. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct eval_outcome {
    float score;
    bool positive; /* the label */
    bool flagged;  /* at the default policy */
};

struct eval_measures {
    size_t n, positives;
    double auprc, auroc;                               /* NaN when there are no rows of one label */
    double precision, recall, f1, false_positive_rate; /* of `flagged`; NaN where undefined */
    double best_f1, best_at;                           /* the best over all bounds, and its bound */
};

/* Average precision as sum of (R_k - R_k-1) P_k, rows of equal score taken together (as
 * scikit-learn computes it); AUROC by ranks (Mann-Whitney), ties count half. Sorts the rows by
 * score. */
struct eval_measures eval_measure(struct eval_outcome *rows, size_t n);

/* The q-th quantile (0 to 1, nearest rank) of n > 0 numbers; sorts them. */
double eval_quantile(double *values, size_t n, double q);

/* F-beta (van Rijsbergen 1979) from counts; NaN when all are 0. */
double eval_f(size_t tp, size_t fp, size_t fn, double beta);
