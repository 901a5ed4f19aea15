#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config/nearest.h"

static int distance(const char *a, const char *b) {
    return nearest_distance(str_from(a), str_from(b));
}

static void distance_counts_edits(void **state) {
    (void)state;
    assert_int_equal(distance("listen", "listen"), 0);
    assert_int_equal(distance("lisen", "listen"), 1);
    assert_int_equal(distance("lsiten", "listen"), 1); /* a swap is one */
    assert_int_equal(distance("", "abc"), 3);
    assert_int_equal(distance("kitten", "sitting"), 3);
    assert_int_equal(distance("Data-Dir", "data_dir"), 0);
}

static void distance_of_long_words_is_far(void **state) {
    (void)state;
    char word[100] = {0};
    memset(word, 'a', 99);
    assert_int_equal(distance(word, word), 65);
}

static void nearest_keeps_the_best_within_reach(void **state) {
    (void)state;
    struct nearest n;
    nearest_init(&n, STR("slosts"));
    nearest_try(&n, "loops");
    nearest_try(&n, "slots");
    nearest_try(&n, "signup");
    assert_string_equal(n.best, "slots");
    nearest_init(&n, STR("xyz"));
    nearest_try(&n, "slots");
    assert_null(n.best);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distance_counts_edits),
        cmocka_unit_test(distance_of_long_words_is_far),
        cmocka_unit_test(nearest_keeps_the_best_within_reach),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
