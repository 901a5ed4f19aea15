/* What is left out as load grows, and how a late loop saves itself work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "turn/pace.h"

static enum degrade_level at(double full, double slow, int lag_ms) {
    const struct pressure p = {full, slow, lag_ms};
    return degrade_wanted(&p);
}

static void level_grows_with_each_signal(void **state) {
    (void)state;
    assert_int_equal(at(0, 0, 0), DEGRADE_NONE);
    assert_int_equal(at(.5, 0, 0), DEGRADE_BACKGROUND);
    assert_int_equal(at(0, .1, 0), DEGRADE_BACKGROUND);
    assert_int_equal(at(0, 0, 50), DEGRADE_BACKGROUND);
    assert_int_equal(at(.7, 0, 0), DEGRADE_PASSAGES);
    assert_int_equal(at(0, .25, 0), DEGRADE_PASSAGES);
    assert_int_equal(at(.85, 0, 0), DEGRADE_MODEL);
    assert_int_equal(at(0, .5, 0), DEGRADE_MODEL);
    assert_int_equal(at(.95, 0, 0), DEGRADE_APPROVED);
}

static void slowness_alone_keeps_the_model_answering(void **state) {
    (void)state;
    assert_int_equal(at(0, 1, 0), DEGRADE_MODEL);
    assert_int_equal(at(.1, 1, 100000), DEGRADE_MODEL);
}

static void level_rises_at_once_and_falls_by_steps(void **state) {
    (void)state;
    assert_int_equal(degrade_next(DEGRADE_NONE, DEGRADE_APPROVED, 0), DEGRADE_APPROVED);
    assert_int_equal(degrade_next(DEGRADE_APPROVED, DEGRADE_NONE, 1999), DEGRADE_APPROVED);
    assert_int_equal(degrade_next(DEGRADE_APPROVED, DEGRADE_NONE, 2000), DEGRADE_MODEL);
    assert_int_equal(degrade_next(DEGRADE_BACKGROUND, DEGRADE_NONE, 5000), DEGRADE_NONE);
}

static void late_loop_sends_larger_pieces(void **state) {
    (void)state;
    assert_int_equal(pace_flush_ms(0), 8);
    assert_int_equal(pace_flush_ms(9), 8);
    assert_int_equal(pace_flush_ms(10), 30);
    assert_int_equal(pace_flush_ms(1000), PACE_MOST_MS);
}

/* Before it is late: so many answers that single tokens would take more than the loop's share. */
static void many_answers_are_apart_before_the_loop_is_late(void **state) {
    (void)state;
    assert_int_equal(pace_apart_ms(0, 20, 0), 8);
    assert_int_equal(pace_apart_ms(100, 20, 0), 8);              /* 2 ms of 8 */
    assert_int_equal(pace_apart_ms(800, 20, 0), 40);             /* 16 ms of 40 */
    assert_int_equal(pace_apart_ms(1600, 20, 0), PACE_MOST_MS);  /* no reader notices so much */
    assert_int_equal(pace_apart_ms(1600, 5, 0), 20);             /* cheap pieces */
    assert_int_equal(pace_apart_ms(100, 20, 25), 45);            /* late all the same */
    assert_int_equal(pace_apart_ms(1600, 20, 12), PACE_MOST_MS); /* the longer of both */
    for (int n = 0, before = 0; n < 5000; n += 10) {
        int ms = pace_apart_ms(n, 20, 0);
        assert_true(ms >= before && ms <= PACE_MOST_MS);
        assert_true(ms == PACE_MOST_MS || n * .020 <= PACE_SHARE * (ms + 1));
        before = ms;
    }
}

static void cost_of_a_piece_follows_what_is_measured(void **state) {
    (void)state;
    double us = pace_flush_us(0, 20000000, 1000);
    assert_true(us > 19.9 && us < 20.1);
    us = pace_flush_us(us, 30000000, 1000); /* half way to 30 */
    assert_true(us > 24.9 && us < 25.1);
    assert_true(pace_flush_us(25, 900000000, 99) == 25.); /* few pieces: other work took the time */
    assert_true(pace_flush_us(0, 0, 1000) >= 5);
    assert_true(pace_flush_us(0, 1000000000, 100) <= 200);
}

static void lag_rises_at_once_and_fades(void **state) {
    (void)state;
    int lag = pace_lag_ms(0, 80);
    assert_int_equal(lag, 80);
    lag = pace_lag_ms(lag, 0);
    assert_int_equal(lag, 70);
    for (int i = 0; i < 60; i++)
        lag = pace_lag_ms(lag, 0);
    assert_int_equal(lag, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(level_grows_with_each_signal),
        cmocka_unit_test(slowness_alone_keeps_the_model_answering),
        cmocka_unit_test(level_rises_at_once_and_falls_by_steps),
        cmocka_unit_test(late_loop_sends_larger_pieces),
        cmocka_unit_test(many_answers_are_apart_before_the_loop_is_late),
        cmocka_unit_test(cost_of_a_piece_follows_what_is_measured),
        cmocka_unit_test(lag_rises_at_once_and_fades),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
