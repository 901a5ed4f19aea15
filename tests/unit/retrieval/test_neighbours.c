/* How passages found together stand to each other, on passages made by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "retrieval/neighbours.h"

#define DIMS 4
#define N    10

/* Four speak of one thing, the last of them found late; six of others, two by two. */
static const char *const words[N][3] = {
    {"wing", "heat", "flow"},  {"wing", "heat", "mach"},    {"wing", "flow", "mach"},
    {"wing", "heat", "flow"},  {"ferry", "pier", "ticket"}, {"ferry", "pier", "boat"},
    {"visa", "form", "stamp"}, {"visa", "form", "fee"},     {"bread", "oven", "salt"},
    {"bread", "oven", "rye"},
};
static const double fused[N] = {0.9, 0.88, 0.86, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5};
static const float of_wings[DIMS] = {1, 0, 0, 0}, of_others[DIMS] = {0, 1, 0, 0};

static int make(void **state) {
    *state = neighbours_new();
    return *state == NULL;
}

static int drop(void **state) {
    neighbours_free(*state);
    return 0;
}

static void compare(struct neighbours *x, bool vectors, double (*ret)[NEIGHBOUR_SIGNALS]) {
    neighbours_begin(x);
    for (int i = 0; i < N; i++) {
        assert_true(neighbours_add(x, fused[i], !vectors ? NULL : i < 4 ? of_wings : of_others));
        for (int k = 0; k < 3; k++)
            neighbours_word(x, str_from(words[i][k]));
    }
    neighbours_end(x, DIMS, ret);
}

static void what_is_like_the_best_stands_out(void **state) {
    double v[N][NEIGHBOUR_SIGNALS];
    compare(*state, true, v);
    for (int s = 0; s < NEIGHBOUR_SIGNALS; s++) {
        double sum = 0;
        for (int i = 0; i < N; i++)
            sum += v[i][s];
        assert_true(fabs(sum) < 1e-9); /* less their mean */
        for (int i = 4; s != NEIGHBOUR_MANY && s != NEIGHBOUR_WORDS_MANY && i < N; i++)
            assert_true(v[3][s] > v[i][s] + 0.1);
    }
}

static void the_search_before_is_forgotten(void **state) {
    double once[N][NEIGHBOUR_SIGNALS], again[N][NEIGHBOUR_SIGNALS];
    compare(*state, true, once);
    compare(*state, true, again);
    assert_memory_equal(once, again, sizeof once);
}

static void without_vectors_words_still_tell(void **state) {
    double v[N][NEIGHBOUR_SIGNALS];
    compare(*state, false, v);
    for (int i = 0; i < N; i++)
        assert_true(v[i][NEIGHBOUR_FEW] == 0 && v[i][NEIGHBOUR_MANY] == 0);
    assert_true(v[3][NEIGHBOUR_WORDS_FEW] > v[4][NEIGHBOUR_WORDS_FEW]);
}

static void one_without_a_vector_stays_out_of_it(void **state) {
    struct neighbours *x = *state;
    double v[3][NEIGHBOUR_SIGNALS];
    neighbours_begin(x);
    assert_true(neighbours_add(x, 0.9, of_wings));
    assert_true(neighbours_add(x, 0.1, NULL));
    assert_true(neighbours_add(x, 0.5, of_wings));
    neighbours_end(x, DIMS, v);
    assert_true(v[1][NEIGHBOUR_FEW] == 0);
    assert_float_equal(v[0][NEIGHBOUR_FEW], -0.2, 1e-9); /* the other's 0.5, less the mean 0.7 */
    assert_float_equal(v[2][NEIGHBOUR_FEW], 0.2, 1e-9);
}

/* {a, b} and {b, c}: a and c are in one of the two, b in both. */
static void words_count_the_rarer_the_more(void **state) {
    struct neighbours *x = *state;
    double v[2][NEIGHBOUR_SIGNALS], one = log(3) * log(3), both = log(2) * log(2);
    double like = both / (one + both), late = exp(-25 * 0.1);
    neighbours_begin(x);
    assert_true(neighbours_add(x, 1, NULL));
    neighbours_word(x, STR("a"));
    neighbours_word(x, STR("b"));
    assert_true(neighbours_add(x, 0.9, NULL));
    neighbours_word(x, STR("b"));
    neighbours_word(x, STR("c"));
    neighbours_end(x, 0, v);
    assert_float_equal(v[1][NEIGHBOUR_WORDS_BEST] - v[0][NEIGHBOUR_WORDS_BEST],
                       like * (1 - late) / (1 + late), 1e-6);
    assert_float_equal(v[0][NEIGHBOUR_WORDS_FEW] - v[1][NEIGHBOUR_WORDS_FEW], -0.1, 1e-9);
}

static void there_is_a_cap_on_passages_and_words(void **state) {
    static double v[NEIGHBOURS_MAX][NEIGHBOUR_SIGNALS];
    struct neighbours *x = *state;
    char word[20];
    neighbours_begin(x);
    neighbours_word(x, STR("of none")); /* there is no passage yet */
    for (int i = 0; i < NEIGHBOURS_MAX; i++) {
        assert_true(neighbours_add(x, 0.5, of_wings));
        for (int k = 0; k < 700; k++) {
            snprintf(word, sizeof word, "w%d", k < 512 ? i * 512 + k : 7);
            neighbours_word(x, str_from(word));
        }
    }
    assert_false(neighbours_add(x, 0.5, of_wings));
    neighbours_end(x, DIMS, v);
    for (int i = 0; i < NEIGHBOURS_MAX; i++) /* what they share came too late to count */
        assert_true(fabs(v[i][NEIGHBOUR_WORDS_BEST]) < 0.02);
}

static void one_alone_has_no_neighbours(void **state) {
    struct neighbours *x = *state;
    double v[1][NEIGHBOUR_SIGNALS];
    neighbours_begin(x);
    neighbours_end(x, DIMS, v); /* nothing was found */
    assert_true(neighbours_add(x, 0.5, of_wings));
    neighbours_end(x, DIMS, v);
    for (int s = 0; s < NEIGHBOUR_SIGNALS; s++)
        assert_true(v[0][s] == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, make, drop)
        TEST(what_is_like_the_best_stands_out), TEST(the_search_before_is_forgotten),
        TEST(without_vectors_words_still_tell), TEST(one_without_a_vector_stays_out_of_it),
        TEST(words_count_the_rarer_the_more),   TEST(there_is_a_cap_on_passages_and_words),
        TEST(one_alone_has_no_neighbours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
