/* About how many tokens a text is; and its beginning that is so many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "text/tokens.h"

static int tokens(const char *text) {
    return text_tokens(str_from(text));
}

static size_t cut(const char *text, int max) {
    return text_tokens_cut(str_from(text), max);
}

/* SmolLM2 makes 20 and 35 of the first two. */
static void tokens_of_numbers_and_names_are_more_than_those_of_prose(void **state) {
    (void)state;
    assert_in_range(tokens("The ferry of Vestra 13 opens at 6:05 on weekdays. "), 18, 22);
    assert_in_range(tokens("The building was put up by the town after the great flood and has been "
                           "repaired twice since. Visitors are asked to keep to the paths and to "
                           "leave their dogs outside. "),
                    32, 38);
    assert_int_equal(tokens(""), 0);
    assert_int_equal(tokens("12:45"), 5);
    assert_int_equal(tokens("at 12"), 4); /* the space is one, too */
    assert_int_equal(tokens("a\n\n\nb"), 3);
    assert_true(tokens("\xe4\xb8\x96\xe7\x95\x8c\xe3\x80\x82") >= 3);
}

static void tokens_cut_ends_with_a_word(void **state) {
    (void)state;
    assert_int_equal(cut("one two three", 2), strlen("one two "));
    assert_int_equal(cut("one two three", 3), strlen("one two three"));
    assert_int_equal(cut("one two", 0), 0);
    assert_int_equal(cut("one two", -1), 0);
    assert_int_equal(cut("abcdefghijklmnopqrstuvwxyz", 2), 18);
    assert_int_equal(cut("\xe4\xb8\x96\xe7\x95\x8c\xe4\xb8\x96\xe7\x95\x8c", 2),
                     3); /* whole characters */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_of_numbers_and_names_are_more_than_those_of_prose),
        cmocka_unit_test(tokens_cut_ends_with_a_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
