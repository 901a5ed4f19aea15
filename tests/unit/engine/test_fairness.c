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
    fairness_join(f, 1);
    fairness_charge(f, 1, 500);
    fairness_join(f, 2);
    assert_int_equal((int)fairness_served(f, 2), 500);
}

static void join_after_a_pause_of_all_owes_nothing_for_the_past(void **state) {
    struct fairness *f = *state;
    fairness_join(f, 1);
    fairness_charge(f, 1, 5000);
    fairness_leave(f, 1);
    fairness_join(f, 2); /* nobody is active: 2 starts where 1 stood, not 5000 tokens before it */
    fairness_join(f, 1);
    assert_int_equal((int)fairness_served(f, 2), 5000);
    assert_int_equal((int)fairness_served(f, 1), 5000);
}

static void pause_of_all_keeps_the_floor_of_the_most_served(void **state) {
    struct fairness *f = *state;
    fairness_join(f, 1);
    fairness_join(f, 2);
    fairness_charge(f, 1, 5000);
    fairness_leave(f, 1);
    fairness_leave(f, 2); /* served 0, and the last */
    fairness_join(f, 3);
    assert_int_equal((int)fairness_served(f, 3), 5000);
    fairness_join(f, 1);
    fairness_join(f, 2);
    assert_int_equal((int)fairness_served(f, 1), 5000);
    assert_int_equal((int)fairness_served(f, 2), 5000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(join_beside_active_user_starts_where_it_stands, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(join_after_a_pause_of_all_owes_nothing_for_the_past, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(pause_of_all_keeps_the_floor_of_the_most_served, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
