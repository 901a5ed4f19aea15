#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/lookup.h"

static void quoting_answer_is_guessed(void **state) {
    (void)state;
    const int32_t tokens[] = {1, 2, 3, 4, 5, 6, 7, 9, 2, 3, 4};
    struct lookup l = {0};
    int32_t guess[LOOKUP_MAX];
    assert_int_equal(lookup_guess(&l, tokens, 11, LOOKUP_MAX, 0.3, guess), 3);
    assert_int_equal(guess[0], 5);
    assert_int_equal(guess[2], 7);
}

static void latest_of_equal_places_counts(void **state) {
    (void)state;
    const int32_t tokens[] = {1, 2, 3, 40, 1, 2, 3, 50, 1, 2, 3};
    struct lookup l = {0};
    int32_t guess[LOOKUP_MAX];
    assert_true(lookup_guess(&l, tokens, 11, 1, 0.3, guess) == 1);
    assert_int_equal(guess[0], 50);
}

static void longest_agreement_goes_before_the_latest(void **state) {
    (void)state;
    const int32_t tokens[] = {9, 1, 2, 3, 40, 8, 1, 2, 3, 50, 9, 1, 2, 3};
    struct lookup l = {0};
    int32_t guess[LOOKUP_MAX];
    assert_true(lookup_guess(&l, tokens, 14, 1, 0.3, guess) == 1);
    assert_int_equal(guess[0], 40);
}

static void nothing_said_twice_is_no_guess(void **state) {
    (void)state;
    const int32_t tokens[] = {1, 2, 3, 4, 5, 6, 2, 3};
    struct lookup l = {0};
    int32_t guess[LOOKUP_MAX];
    assert_int_equal(lookup_guess(&l, tokens, 8, LOOKUP_MAX, 0.3, guess), 0); /* two agree only */
    assert_int_equal(lookup_guess(&l, tokens, 1, LOOKUP_MAX, 0.3, guess), 0);
    assert_int_equal(lookup_guess(&l, tokens, 8, 0, 0.3, guess), 0);
}

static void guesses_grow_while_right_and_pause_when_wrong(void **state) {
    (void)state;
    int32_t tokens[40], guess[LOOKUP_MAX];
    struct lookup l = {0};
    for (int i = 0; i < 40; i++)
        tokens[i] = i % 20;
    for (int i = 0; i < 10; i++) {
        int n = lookup_guess(&l, tokens, 25, LOOKUP_MAX, 0.3, guess);
        assert_true(n >= 3);
        lookup_learn(&l, n, n);
    }
    assert_int_equal(lookup_guess(&l, tokens, 25, LOOKUP_MAX, 0.3, guess), LOOKUP_MAX);
    int rounds = 0;
    for (int n; (n = lookup_guess(&l, tokens, 25, LOOKUP_MAX, 0.3, guess)) > 0; rounds++)
        lookup_learn(&l, n, 0);
    assert_in_range(rounds, 1, 10);
    for (rounds = 0; lookup_guess(&l, tokens, 25, LOOKUP_MAX, 0.3, guess) == 0; rounds++)
        assert_true(rounds < 100);
    assert_true(rounds > 20); /* and is tried again later */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quoting_answer_is_guessed),
        cmocka_unit_test(latest_of_equal_places_counts),
        cmocka_unit_test(longest_agreement_goes_before_the_latest),
        cmocka_unit_test(nothing_said_twice_is_no_guess),
        cmocka_unit_test(guesses_grow_while_right_and_pause_when_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
