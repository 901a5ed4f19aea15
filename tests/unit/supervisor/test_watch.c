/* Who is stuck, and who is only kept from running. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <unistd.h>

#include "supervisor/supervisor_internal.h"

#define MS 1000000ll

/* Of 1000 ms of silence; the watchdog's time is as long. */
static bool starved(int ran_ms, int waited_ms, bool runnable) {
    return watch_starved(1000 * MS, 1000 * MS, ran_ms * MS, waited_ms * MS, runnable);
}

static void silence_for_want_of_a_processor_is_told_from_being_stuck(void **state) {
    (void)state;
    assert_true(starved(99, 600, false));
    assert_true(starved(0, 0, true)); /* has waited all the time */
    assert_false(starved(0, 0, false));
    assert_false(starved(950, 50, true));
    assert_false(starved(300, 100, true));
}

/* In an endless loop, beside others that want the processor, too. */
static void who_ran_and_gave_no_sign_is_stuck_however_long_it_waited(void **state) {
    (void)state;
    assert_false(starved(400, 600, true));
    assert_false(starved(100, 900, false));
    assert_false(watch_starved(1000 * MS, 3000 * MS, 200 * MS, 2800 * MS, true));
}

/* What it ran and waited before is not looked at again. */
static void after_a_pause_of_our_own_all_counts_anew(void **state) {
    (void)state;
    struct supervisor s = {.n = 2, .n_all = 2};
    s.children[0] = (struct child){.pid = getpid(), .beat_ns = 1, .cpu = {.ran_ns = 1}};
    s.children[1] = (struct child){.pid = getpid()};
    watch_paused(&s, 7);
    assert_int_equal(s.children[0].beat_ns, 7);
    assert_int_not_equal(s.children[0].cpu.ran_ns, 1);
    assert_int_equal(s.children[1].beat_ns, 0); /* it has not begun */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silence_for_want_of_a_processor_is_told_from_being_stuck),
        cmocka_unit_test(who_ran_and_gave_no_sign_is_stuck_however_long_it_waited),
        cmocka_unit_test(after_a_pause_of_our_own_all_counts_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
