/* Hurrying, on a file in place of the kernel's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "supervisor/hurry.h"

#define MS 1000000ll

static char path[] = "/tmp/parley-hurry-XXXXXX", note[sizeof path + 8];

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
    struct hurry killed = {.path = path, .note = note}, next = {.path = path, .note = note};
    put("/autogroup-25 nice 3\n");
    hurry_begin(&killed, 0);
    put("/autogroup-25 nice -10\n"); /* as the kernel tells it */
    hurry_take_back(&next, 5);
    holds("3");
    assert_int_equal(next.until_ns, 0);
    assert_int_equal(access(note, F_OK), -1);
    put("/autogroup-25 nice -10\n");
    hurry_take_back(&next, 6);
    holds("/autogroup-25 nice -10\n");
}

/* Of another session, or after somebody set it otherwise: the note is no good any more. */
static void a_note_of_something_else_changes_nothing(void **state) {
    (void)state;
    static const char *const now[] = {"/autogroup-26 nice -10\n", "/autogroup-25 nice -5\n"};
    for (size_t i = 0; i < 2; i++) {
        struct hurry killed = {.path = path, .note = note}, next = {.path = path, .note = note};
        put("/autogroup-25 nice 0\n");
        hurry_begin(&killed, 0);
        put(now[i]);
        hurry_take_back(&next, 5);
        holds(now[i]);
        assert_int_equal(next.until_ns, 0);
        assert_int_equal(access(note, F_OK), -1);
    }
}

static void what_the_kernel_does_not_take_is_given_back_later(void **state) {
    (void)state;
    struct hurry h = {.path = path, .note = note};
    put("/autogroup-25 nice 3\n");
    hurry_begin(&h, 0);
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0); /* cannot be written */
    hurry_look(&h, HURRY_MS * MS);
    assert_true(h.until_ns > HURRY_MS * MS); /* not at once: that would be a loop */
    hurry_end(&h);
    assert_int_not_equal(h.until_ns, 0);
    assert_int_equal(access(note, F_OK), 0);
    rmdir(path);
    put("-10");
    hurry_look(&h, h.until_ns);
    holds("3");
    assert_int_equal(h.until_ns, 0);
    assert_int_equal(access(note, F_OK), -1);
}

/* An administrator's own. */
static void a_session_that_goes_before_others_already_is_left_so(void **state) {
    (void)state;
    struct hurry h = {.path = path, .note = note};
    put("/autogroup-25 nice -10\n");
    hurry_begin(&h, 0);
    hurry_look(&h, HURRY_MS * MS);
    holds("/autogroup-25 nice -10\n");
}

static void nobody_hurries_where_it_cannot_be_noted(void **state) {
    (void)state;
    struct hurry h = {.path = path, .note = "/nonexistent/hurry"};
    put("/autogroup-25 nice 0\n");
    hurry_begin(&h, 0);
    assert_int_equal(h.until_ns, 0);
    holds("/autogroup-25 nice 0\n");
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

int main(void) {
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    snprintf(note, sizeof note, "%s.note", path);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hurry_lasts_until_its_most_and_gives_back_what_was),
        cmocka_unit_test(hurry_is_prolonged_by_another_death),
        cmocka_unit_test(what_a_killed_supervisor_left_hurrying_is_taken_back),
        cmocka_unit_test(hurry_does_nothing_without_such_a_group_or_above_what_is_wished),
        cmocka_unit_test(a_note_of_something_else_changes_nothing),
        cmocka_unit_test(what_the_kernel_does_not_take_is_given_back_later),
        cmocka_unit_test(a_session_that_goes_before_others_already_is_left_so),
        cmocka_unit_test(nobody_hurries_where_it_cannot_be_noted),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
