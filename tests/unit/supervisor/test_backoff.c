#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "supervisor/backoff.h"

static int64_t fails_after(struct backoff *b, int64_t ms) {
    backoff_started(b, clock_mono_ns());
    clock_test_advance(ms);
    return backoff_failed(b, clock_mono_ns());
}

static void first_failure_restarts_at_once(void **state) {
    (void)state;
    struct backoff b = {0};
    clock_test_set(1000000000, 0);
    assert_int_equal(fails_after(&b, 1), 0);
    clock_test_end();
}

static void failures_in_a_row_double_up_to_the_cap(void **state) {
    (void)state;
    struct backoff b = {0};
    clock_test_set(1000000000, 0);
    int64_t wanted[] = {0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        assert_int_equal(fails_after(&b, 5), wanted[i]);
    clock_test_end();
}

static void stable_run_starts_over(void **state) {
    (void)state;
    struct backoff b = {0};
    clock_test_set(1000000000, 0);
    for (int i = 0; i < 6; i++)
        fails_after(&b, BACKOFF_STABLE_MS - 1);
    assert_int_equal(b.next_ms, 3200);
    assert_int_equal(fails_after(&b, BACKOFF_STABLE_MS), 0);
    assert_int_equal(fails_after(&b, 1), 100);
    clock_test_end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_failure_restarts_at_once),
        cmocka_unit_test(failures_in_a_row_double_up_to_the_cap),
        cmocka_unit_test(stable_run_starts_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
