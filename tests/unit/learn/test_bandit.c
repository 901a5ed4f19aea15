/* Choosing among arms, and what stops one. */
#include "learn_fixture.h"

#include "learn/bandit.h"
#include "learn/estimate.h"

static void chances_sum_to_one_and_prefer_the_better(void **state) {
    struct rng r;
    struct bandit_arm a[3] = {{.good = 50, .bad = 50}, {.good = 80, .bad = 20}, {.good = 1}};
    double c[3];
    (void)state;
    rng_init(&r, 1);
    bandit_chances(a, 3, &r, c);
    assert_near(c[0] + c[1] + c[2], 1, 1e-9);
    assert_true(c[1] > c[0] && c[0] >= BANDIT_FLOOR && c[0] < 0.2);
}

static void stopped_arms_get_nothing(void **state) {
    struct rng r;
    struct bandit_arm a[2] = {{.good = 1, .bad = 9}, {.good = 9, .bad = 1}};
    double c[2];
    (void)state;
    a[1].stop = ARM_STOPPED_UNSAFE;
    rng_init(&r, 1);
    bandit_chances(a, 2, &r, c);
    assert_true(c[0] == 1 && c[1] == 0);
    assert_int_equal(bandit_draw(c, 2, &r), 0);
}

static void guard_stops_unsafe_within_a_hundred_turns(void **state) {
    struct rng r;
    int late = 0;
    (void)state;
    rng_init(&r, 4);
    for (int run = 0; run < 200; run++) {
        struct bandit_arm a[2] = {{0}};
        int t = 0;
        for (; t < 400 && a[1].stop == ARM_RUNNING; t++) {
            bandit_add_turn(&a[0], 300, rng_uniform(&r) < 0.01, false);
            bandit_add_turn(&a[1], 300, rng_uniform(&r) < 0.25, false);
            a[1].stop = bandit_guard(a, 2, 1);
        }
        late += t > 100;
        assert_int_equal(a[1].stop, ARM_STOPPED_UNSAFE);
    }
    assert_true(late <= 2);
}

static void guard_leaves_an_equal_arm_alone(void **state) {
    struct rng r;
    int stopped = 0;
    (void)state;
    rng_init(&r, 6);
    for (int run = 0; run < 200; run++) {
        struct bandit_arm a[2] = {{0}};
        for (int t = 0; t < 300 && a[1].stop == ARM_RUNNING; t++) {
            for (int k = 0; k < 2; k++) {
                bandit_add_turn(&a[k], 300 + 200 * rng_uniform(&r), rng_uniform(&r) < 0.01, false);
                bandit_add_rating(&a[k], rng_uniform(&r) < 0.6, 1);
            }
            a[1].stop = bandit_guard(a, 2, 1);
        }
        stopped += a[1].stop != ARM_RUNNING;
    }
    assert_true(stopped <= 20);
}

static void guard_stops_slow_failing_and_disliked(void **state) {
    struct bandit_arm a[4] = {{0}};
    (void)state;
    for (int t = 0; t < 40; t++) {
        bandit_add_turn(&a[0], 300 + t, false, false);
        bandit_add_turn(&a[1], 900 + t, false, false);
        bandit_add_turn(&a[2], 300 + t, false, t % 3 == 0);
        bandit_add_turn(&a[3], 300 + t, false, false);
        bandit_add_rating(&a[0], 1, 1);
        bandit_add_rating(&a[3], t % 4 == 0, 1);
    }
    assert_int_equal(bandit_guard(a, 4, 0), ARM_RUNNING);
    assert_int_equal(bandit_guard(a, 4, 1), ARM_STOPPED_SLOW);
    assert_int_equal(bandit_guard(a, 4, 2), ARM_STOPPED_FAILING);
    assert_int_equal(bandit_guard(a, 4, 3), ARM_STOPPED_DISLIKED);
}

static const double quality[3] = {0.5, 0.7, 0.4};

/* Logged by a policy that depends on the stratum, so that a plain mean would be wrong. */
static void log_turns(struct rng *r, struct logged *s, size_t n) {
    static const double policy[2][3] = {{0.7, 0.2, 0.1}, {0.2, 0.1, 0.7}};
    for (size_t i = 0; i < n; i++) {
        size_t z = rng_below(r, 2), arm = bandit_draw(policy[z], 3, r);
        double q = quality[arm] + (z ? 0.2 : -0.2);
        s[i] = (struct logged){arm, policy[z][arm], rng_uniform(r) < q, 1, z};
    }
}

static void estimates_are_unbiased_and_cover(void **state) {
    static struct logged s[2000];
    struct rng r;
    int ips = 0, dr = 0;
    double narrow = 0;
    (void)state;
    rng_init(&r, 12);
    for (int run = 0; run < 200; run++) {
        struct estimate e;
        log_turns(&r, s, 600);
        const double target[3] = {0, 1, 0};
        assert_ok(estimate_policy(s, 600, target, 3, &e));
        ips += e.ips.low <= 0.7 && e.ips.high >= 0.7;
        dr += e.dr.low <= 0.7 && e.dr.high >= 0.7;
        narrow += (e.dr.high - e.dr.low) / (e.ips.high - e.ips.low) / 200;
    }
    assert_in_range(ips, 180, 200);
    assert_in_range(dr, 180, 200);
    assert_true(narrow < 0.75); /* the model of rewards takes most of the variance */
}

static void difference_of_a_worse_arm_lies_below_zero(void **state) {
    static struct logged s[2000];
    struct rng r;
    struct estimate e;
    (void)state;
    rng_init(&r, 2);
    log_turns(&r, s, 2000);
    const double worse[3] = {0, 0, 1}, better[3] = {0, 1, 0}, base[3] = {1, 0, 0};
    assert_ok(estimate_difference(s, 2000, worse, base, 3, &e));
    assert_true(e.dr.mean < 0 && e.dr.low < 0);
    assert_ok(estimate_difference(s, 2000, better, base, 3, &e));
    assert_true(e.dr.low > 0 && e.snips.mean > 0);
}

static void estimate_refuses_what_was_not_logged_right(void **state) {
    struct logged s[1] = {{0, 0, 1, 1, 0}};
    struct estimate e;
    const double target[1] = {1};
    (void)state;
    assert_err(estimate_policy(s, 1, target, 1, &e), ERR_INVALID);
    s[0].propensity = 0.5;
    s[0].arm = 1;
    assert_err(estimate_policy(s, 1, target, 1, &e), ERR_INVALID);
    assert_ok(estimate_policy(s, 0, target, 1, &e));
    assert_true(e.dr.n == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chances_sum_to_one_and_prefer_the_better),
        cmocka_unit_test(stopped_arms_get_nothing),
        cmocka_unit_test(guard_stops_unsafe_within_a_hundred_turns),
        cmocka_unit_test(guard_leaves_an_equal_arm_alone),
        cmocka_unit_test(guard_stops_slow_failing_and_disliked),
        cmocka_unit_test(estimates_are_unbiased_and_cover),
        cmocka_unit_test(difference_of_a_worse_arm_lies_below_zero),
        cmocka_unit_test(estimate_refuses_what_was_not_logged_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
