#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/fairness.h"

static int setup(void **state) {
    *state = fairness_new();
    return *state ? 0 : -1;
}

static int teardown(void **state) {
    fairness_free(*state);
    return 0;
}

static void join_beside_active_user_starts_where_it_stands(void **state) {
    struct fairness *f = *state;
    fairness_charge(fairness_join(f, 1), 500);
    assert_int_equal((int)fairness_served(f, fairness_join(f, 2)), 500);
}

static void join_after_a_pause_of_all_owes_nothing_for_the_past(void **state) {
    struct fairness *f = *state;
    struct account *a = fairness_join(f, 1);
    fairness_charge(a, 5000);
    fairness_leave(f, a);
    /* Nobody is active: 2 starts where 1 stood, not 5000 tokens before it. */
    assert_int_equal((int)fairness_served(f, fairness_join(f, 2)), 5000);
    assert_int_equal((int)fairness_served(f, fairness_join(f, 1)), 5000);
}

static void pause_of_all_keeps_the_floor_of_the_most_served(void **state) {
    struct fairness *f = *state;
    struct account *a = fairness_join(f, 1), *b = fairness_join(f, 2);
    fairness_charge(a, 5000);
    fairness_leave(f, a);
    fairness_leave(f, b); /* served 0, and the last */
    for (uint64_t user = 3; user > 0; user--)
        assert_int_equal((int)fairness_served(f, fairness_join(f, user)), 5000);
}

static void requests_are_counted_for_each_user(void **state) {
    struct fairness *f = *state;
    struct account *a = fairness_join(f, 1), *b = fairness_join(f, 2);
    fairness_count_anew(f);
    assert_int_equal(fairness_count(f, a), 0);
    assert_int_equal(fairness_count(f, a), 1);
    assert_int_equal(fairness_count(f, b), 0);
    assert_int_equal(fairness_count(f, NULL), 0);
    fairness_count_anew(f);
    assert_int_equal(fairness_count(f, a), 0);
}

static void more_users_than_are_counted_are_taken_all_the_same(void **state) {
    struct fairness *f = *state;
    for (uint64_t user = 1; user <= 1024; user++)
        assert_non_null(fairness_join(f, user));
    struct account *none = fairness_join(f, 5000);
    assert_null(none);
    fairness_charge(none, 7);
    assert_int_equal((int)fairness_served(f, none), 0);
    fairness_leave(f, none);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(join_beside_active_user_starts_where_it_stands),
        TEST(join_after_a_pause_of_all_owes_nothing_for_the_past),
        TEST(pause_of_all_keeps_the_floor_of_the_most_served),
        TEST(requests_are_counted_for_each_user),
        TEST(more_users_than_are_counted_are_taken_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
