#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "cli/eval_measure.h"

/* scikit-learn 1.9 gives for these: average precision 0.8166667, ROC AUC 0.7083333. */
static void measures_agree_with_scikit_learn(void **state) {
    (void)state;
    struct eval_outcome rows[] = {
        {0.1f, false, false}, {0.9f, true, true},  {0.4f, true, false}, {0.4f, false, false},
        {0.8f, true, true},   {0.7f, false, true}, {0.3f, true, false},
    };
    struct eval_measures m = eval_measure(rows, 7);
    assert_int_equal(m.positives, 4);
    assert_float_equal(m.auprc, 0.25 + 0.25 + 0.25 * 3 / 5 + 0.25 * 4 / 6, 1e-6);
    assert_float_equal(m.auroc, (3.0 + 3.0 + 1.5 + 1.0) / 12, 1e-6);
    assert_float_equal(m.precision, 2.0 / 3, 1e-9);
    assert_float_equal(m.recall, 0.5, 1e-9);
    assert_float_equal(m.false_positive_rate, 1.0 / 3, 1e-9);
    assert_float_equal(m.f1, 4.0 / 7, 1e-9);
    assert_float_equal(m.best_f1, 2 * 4.0 / (6 + 4), 1e-9);
    assert_float_equal(m.best_at, 0.3, 1e-6);
}

static void measures_of_one_label_are_undefined_not_wrong(void **state) {
    (void)state;
    struct eval_outcome rows[] = {{0.2f, false, false}, {0.6f, false, true}};
    struct eval_measures m = eval_measure(rows, 2);
    assert_true(isnan(m.auprc) && isnan(m.auroc) && isnan(m.recall));
    assert_float_equal(m.false_positive_rate, 0.5, 1e-9);
}

static void measures_of_perfect_and_reversed_order_are_one_and_zero(void **state) {
    (void)state;
    struct eval_outcome good[] = {{0.9f, true, true}, {0.8f, true, true}, {0.1f, false, false}};
    struct eval_outcome bad[] = {{0.1f, true, false}, {0.2f, true, false}, {0.8f, false, true}};
    assert_float_equal(eval_measure(good, 3).auprc, 1, 1e-9);
    assert_float_equal(eval_measure(good, 3).auroc, 1, 1e-9);
    assert_float_equal(eval_measure(bad, 3).auroc, 0, 1e-9);
}

static void quantile_is_the_nearest_rank(void **state) {
    (void)state;
    double v[] = {5, 1, 4, 2, 3};
    assert_float_equal(eval_quantile(v, 5, 0.5), 3, 0);
    assert_float_equal(eval_quantile(v, 5, 0.99), 5, 0);
    assert_float_equal(eval_quantile(v, 5, 0), 1, 0);
}

static void f_weighs_recall_by_beta(void **state) {
    (void)state;
    assert_float_equal(eval_f(8, 2, 4, 1), 16.0 / 22, 1e-9);
    assert_float_equal(eval_f(8, 2, 4, 2), 40.0 / (40 + 16 + 2), 1e-9);
    assert_true(isnan(eval_f(0, 0, 0, 1)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measures_agree_with_scikit_learn),
        cmocka_unit_test(measures_of_one_label_are_undefined_not_wrong),
        cmocka_unit_test(measures_of_perfect_and_reversed_order_are_one_and_zero),
        cmocka_unit_test(quantile_is_the_nearest_rank),
        cmocka_unit_test(f_weighs_recall_by_beta),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
