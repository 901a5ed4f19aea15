/* Hurrying, on a file in place of the kernel's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "supervisor/hurry.h"
#include "supervisor/supervisor_internal.h"

#define MS 1000000ll

static char path[] = "/tmp/parley-hurry-XXXXXX";

static void put(const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void holds(const char *wanted) {
    char text[64] = "";
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof text, f));
    fclose(f);
    assert_string_equal(text, wanted);
}

static void hurry_lasts_until_its_most_and_gives_back_what_was(void **state) {
    (void)state;
    struct hurry h = {.path = path};
    put("/autogroup-25 nice 3\n");
    hurry_look(&h, 5);
    holds("/autogroup-25 nice 3\n");
    hurry_begin(&h, 0);
    holds("-10");
    hurry_look(&h, HURRY_MS * MS - 1);
    holds("-10");
    hurry_look(&h, HURRY_MS * MS);
    holds("3");
    assert_int_equal(h.until_ns, 0);
}

static void hurry_is_prolonged_by_another_death(void **state) {
    (void)state;
    struct hurry h = {.path = path};
    put("/autogroup-25 nice 0\n");
    hurry_begin(&h, 0);
    hurry_begin(&h, 2000 * MS);
    hurry_look(&h, (2000 + HURRY_MS) * MS - 1);
    holds("-10");
    hurry_look(&h, (2000 + HURRY_MS) * MS);
    holds("0");
}

static void what_a_killed_supervisor_left_hurrying_is_taken_back(void **state) {
    (void)state;
    struct hurry h = {.path = path};
    put("/autogroup-25 nice -10\n");
    hurry_begin(&h, 0);
    hurry_look(&h, HURRY_MS * MS);
    holds("0");
}

static void hurry_does_nothing_without_such_a_group_or_above_what_is_wished(void **state) {
    (void)state;
    struct hurry none = {.path = "/nonexistent/autogroup"}, h = {.path = path};
    hurry_begin(&none, 0);
    assert_int_equal(none.until_ns, 0);
    put("/autogroup-25 nice -15\n");
    hurry_begin(&h, 0);
    assert_int_equal(h.until_ns, 0);
    hurry_look(&h, HURRY_MS * MS);
    holds("/autogroup-25 nice -15\n");
}

/* Who waits for a processor is not stuck; who uses one, or sleeps, is. */
static void silence_for_want_of_a_processor_is_told_from_being_stuck(void **state) {
    (void)state;
    assert_true(watch_starved(1000 * MS, 100 * MS, 600 * MS, false));
    assert_true(watch_starved(1000 * MS, 0, 0, true)); /* has waited all the time */
    assert_false(watch_starved(1000 * MS, 0, 0, false));
    assert_false(watch_starved(1000 * MS, 950 * MS, 50 * MS, true));
    assert_false(watch_starved(1000 * MS, 300 * MS, 100 * MS, true));
}

int main(void) {
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hurry_lasts_until_its_most_and_gives_back_what_was),
        cmocka_unit_test(hurry_is_prolonged_by_another_death),
        cmocka_unit_test(what_a_killed_supervisor_left_hurrying_is_taken_back),
        cmocka_unit_test(hurry_does_nothing_without_such_a_group_or_above_what_is_wished),
        cmocka_unit_test(silence_for_want_of_a_processor_is_told_from_being_stuck),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
