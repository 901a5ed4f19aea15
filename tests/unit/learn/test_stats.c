/* Draws, intervals and the regression against known values. */
#include "learn_fixture.h"

static void rng_same_seed_same_numbers(void **state) {
    struct rng a, b;
    (void)state;
    rng_init(&a, 42);
    rng_init(&b, 42);
    for (int i = 0; i < 100; i++)
        assert_true(rng_next(&a) == rng_next(&b));
    rng_init(&b, 43);
    assert_true(rng_next(&a) != rng_next(&b));
}

static void beta_draws_have_mean_and_spread(void **state) {
    struct rng r;
    double sum = 0, squares = 0;
    (void)state;
    rng_init(&r, 1);
    for (int i = 0; i < 20000; i++) {
        double v = rng_beta(&r, 3, 7);
        sum += v;
        squares += v * v;
    }
    double mean = sum / 20000, var = squares / 20000 - mean * mean;
    assert_near(mean, 0.3, 0.005);
    assert_near(var, 0.3 * 0.7 / 11, 0.001);
}

static void below_is_even(void **state) {
    struct rng r;
    int seen[5] = {0};
    (void)state;
    rng_init(&r, 9);
    for (int i = 0; i < 10000; i++)
        seen[rng_below(&r, 5)]++;
    for (int i = 0; i < 5; i++)
        assert_in_range(seen[i], 1850, 2150);
}

static void share_interval_is_wilsons(void **state) {
    (void)state;
    struct interval i = interval_of_share(8, 10); /* Wilson: 0.4901 … 0.9433 */
    assert_near(i.low, 0.4901, 0.0002);
    assert_near(i.high, 0.9433, 0.0002);
    i = interval_of_share(0, 0);
    assert_true(i.low == 0 && i.high == 1);
}

static void mean_interval_is_students(void **state) {
    (void)state;
    const double v[] = {1, 2, 3, 4, 5};
    struct interval i = interval_of_mean(v, 5); /* 3 ± 2.776 · 1.5811 / √5 */
    assert_near(i.mean, 3, 1e-9);
    assert_near(i.high - i.mean, 1.963, 0.001);
    i = interval_of_mean(v, 1);
    assert_true(isinf(i.high));
}

static void mean_interval_covers_as_often_as_said(void **state) {
    struct rng r;
    int covered = 0;
    (void)state;
    rng_init(&r, 5);
    for (int i = 0; i < 2000; i++) {
        double v[12], w[12];
        for (int k = 0; k < 12; k++) {
            v[k] = rng_normal(&r);
            w[k] = 1;
        }
        struct interval c = interval_of_weighted(v, w, 12);
        covered += c.low <= 0 && c.high >= 0;
    }
    assert_in_range(covered, 1860, 1940);
}

static void beta_above_agrees_with_draws(void **state) {
    struct rng r;
    int above = 0;
    (void)state;
    rng_init(&r, 3);
    for (int i = 0; i < 20000; i++)
        above += rng_beta(&r, 12, 8) > rng_beta(&r, 30, 30);
    assert_near(beta_above(12, 8, 30, 30), above / 20000.0, 0.02);
}

static void logistic_finds_what_made_the_data(void **state) {
    struct rng r;
    double x[3000], y[1000], b[3];
    (void)state;
    rng_init(&r, 8);
    for (int i = 0; i < 1000; i++) {
        x[3 * i] = 1;
        x[3 * i + 1] = rng_normal(&r);
        x[3 * i + 2] = rng_normal(&r);
        y[i] = rng_uniform(&r) < logistic(0.5 + 1.5 * x[3 * i + 1] - 1 * x[3 * i + 2]);
    }
    struct logistic_problem p = {.x = x, .y = y, .n = 1000, .dims = 3, .l2 = 0.01};
    assert_ok(logistic_fit(&p, b));
    assert_near(b[0], 0.5, 0.25);
    assert_near(b[1], 1.5, 0.3);
    assert_near(b[2], -1, 0.25);
    const bool kept[] = {false, false, true};
    p.nonnegative = kept;
    assert_ok(logistic_fit(&p, b));
    assert_true(b[2] == 0);
}

static void logistic_without_data_is_the_prior(void **state) {
    (void)state;
    const double prior[] = {1, -2};
    double b[2];
    struct logistic_problem p = {.dims = 2, .l2 = 1, .prior = prior};
    assert_ok(logistic_fit(&p, b));
    assert_near(b[0], 1, 1e-9);
    assert_near(b[1], -2, 1e-9);
    p.dims = LOGISTIC_DIMS_MAX + 1;
    assert_err(logistic_fit(&p, b), ERR_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rng_same_seed_same_numbers),
        cmocka_unit_test(beta_draws_have_mean_and_spread),
        cmocka_unit_test(below_is_even),
        cmocka_unit_test(share_interval_is_wilsons),
        cmocka_unit_test(mean_interval_is_students),
        cmocka_unit_test(mean_interval_covers_as_often_as_said),
        cmocka_unit_test(beta_above_agrees_with_draws),
        cmocka_unit_test(logistic_finds_what_made_the_data),
        cmocka_unit_test(logistic_without_data_is_the_prior),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
