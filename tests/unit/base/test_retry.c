/* Waiting longer each time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "base/retry.h"

#define MS 1000000ll

static void retry_is_due_at_first(void **state) {
    (void)state;
    struct retry r = {0};
    assert_true(retry_is_due(&r, 0));
}

static void retry_waits_twice_as_long_each_time_up_to_its_most(void **state) {
    (void)state;
    struct retry r = {0};
    int64_t now = 5 * MS, wanted = RETRY_FIRST_MS;
    for (int i = 0; i < 12; i++) {
        retry_failed(&r, now);
        assert_false(retry_is_due(&r, now + wanted * 3 / 4 * MS - 1));
        assert_true(retry_is_due(&r, now + wanted * 5 / 4 * MS));
        now = r.due_ns;
        wanted = wanted * 2 < RETRY_MOST_MS ? wanted * 2 : RETRY_MOST_MS;
    }
    assert_int_equal(r.wait_ms, RETRY_MOST_MS);
    retry_succeeded(&r);
    assert_true(retry_is_due(&r, 0));
    retry_failed(&r, now);
    assert_int_equal(r.wait_ms, RETRY_FIRST_MS);
}

static void retries_that_fail_together_do_not_come_back_together(void **state) {
    (void)state;
    int64_t first = 0, others = 0;
    for (int i = 0; i < 64; i++) {
        struct retry r = {0};
        retry_failed(&r, 0);
        first = i ? first : r.due_ns;
        others += r.due_ns != first;
    }
    assert_true(others > 0);
}

int main(void) {
    if (crypto_init())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(retry_is_due_at_first),
        cmocka_unit_test(retry_waits_twice_as_long_each_time_up_to_its_most),
        cmocka_unit_test(retries_that_fail_together_do_not_come_back_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
