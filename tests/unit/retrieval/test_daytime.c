/* Times of day in a text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "retrieval/daytime.h"

/* What is found, as "H:MM" with "?" behind one of either half of the day, a space between. */
static const char *found(const char *text) {
    static char out[256];
    struct daytime list[DAYTIMES_MAX];
    size_t n = daytimes_find(str_from(text), list), at = 0;
    out[0] = 0;
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(out + at, sizeof out - at, "%s%d:%02d%s", i ? " " : "",
                               list[i].minutes / 60, list[i].minutes % 60, list[i].half ? "?" : "");
    return out;
}

static void daytimes_are_found_in_many_forms(void **state) {
    (void)state;
    assert_string_equal(found("from 7:35 to 19:40, 07:40 on Mondays"), "7:35? 19:40 7:40");
    assert_string_equal(found("7.30 Uhr, 19.30 Uhr"), "7:30? 19:30");
    assert_string_equal(found("7 pm, 7pm, 7:15 P.M. and 12 a.m."), "19:00 19:00 19:15 0:00");
    assert_string_equal(found("12 p.m. or noon; midnight"), "12:00 12:00 0:00");
    assert_string_equal(found("19h30, 7 o'clock, 24:00"), "19:30 7:00? 0:00");
    assert_string_equal(found("7 to 9 pm, 8\xe2\x80\x93"
                              "10:30"),
                        "7:00? 21:00 8:00? 10:30?");
}

static void daytimes_are_no_prices_dates_or_other_numbers(void **state) {
    (void)state;
    assert_string_equal(found("3.50 crowns, 12.05.2024, 7.5 km, 1,200 people"), "");
    assert_string_equal(found("25:10 9:60 7:5 7:355 1234:56 room 7"), "");
    assert_string_equal(found("13 pm, 0 am"), "");
    assert_string_equal(found("7 amateurs, 7 pmx, noonday, afternoon"), "");
    assert_string_equal(found(""), "");
}

static void daytimes_past_the_cap_are_left_out(void **state) {
    (void)state;
    char text[8 * (DAYTIMES_MAX + 4)];
    struct daytime list[DAYTIMES_MAX];
    size_t at = 0;
    for (int i = 0; i < DAYTIMES_MAX + 2; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "10:%02d ", i % 60);
    assert_int_equal(daytimes_find((struct str){text, at}, list), DAYTIMES_MAX);
}

static void daytime_of_either_half_is_the_same_as_both(void **state) {
    (void)state;
    struct daytime list[DAYTIMES_MAX];
    assert_int_equal(daytimes_find(STR("7:35 19:35 07:35 7:36"), list), 4);
    assert_true(daytime_same(&list[0], &list[1]));
    assert_true(daytime_same(&list[0], &list[2]));
    assert_false(daytime_same(&list[1], &list[2]));
    assert_false(daytime_same(&list[0], &list[3]));
    assert_ptr_equal(daytime_at(list, 4, 5, 7), &list[1]); /* the 19 of 19:35 */
    assert_null(daytime_at(list, 4, 4, 5));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(daytimes_are_found_in_many_forms),
        cmocka_unit_test(daytimes_are_no_prices_dates_or_other_numbers),
        cmocka_unit_test(daytimes_past_the_cap_are_left_out),
        cmocka_unit_test(daytime_of_either_half_is_the_same_as_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
