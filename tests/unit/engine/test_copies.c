/* Copies that are begun and made later: in their order, a few bytes at a time, with what they read
 * from freed after them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "engine/copies.h"

static void copies_are_made_in_their_order_however_few_bytes_at_a_time(void **state) {
    (void)state;
    for (size_t step = 1; step < 40; step += 6) {
        struct copies c = {0};
        char a[9] = "12345678", b[9] = "", d[9] = "";
        copies_add(&c, b, a, 8);
        copies_add(&c, d, b, 5); /* of what the first has made */
        copies_add(&c, d + 5, a, 0);
        copies_add(&c, d + 5, b + 2, 3);
        assert_int_equal(b[0], 0);
        assert_true(copies_left(&c));
        int rounds = 1;
        while (!copies_some(&c, step))
            rounds++;
        assert_string_equal(b, "12345678");
        assert_string_equal(d, "12345345");
        assert_int_equal(rounds, (16 + step - 1) / step);
        assert_false(copies_left(&c));
        copies_deinit(&c);
    }
}

/* The address sanitizer sees a read after the end, and what is never freed. */
static void bytes_are_freed_after_what_reads_them(void **state) {
    (void)state;
    struct copies c = {0};
    char to[100] = "";
    char *one = strdup("one"), *two = strdup("two");
    assert_true(one && two);
    copies_free(&c, NULL);
    copies_add(&c, to, one, 4);
    copies_free(&c, one);
    copies_add(&c, to + 4, two, 4);
    copies_free(&c, two);
    assert_false(copies_some(&c, 4));
    assert_string_equal(to, "one");
    assert_string_equal(to + 4, "");
    copies_deinit(&c); /* makes what is left */
    assert_string_equal(to + 4, "two");
    copies_free(&c, strdup("nothing is left that could read it"));
    assert_false(copies_left(&c));
}

static void nothing_is_copied_once_it_is_time(void **state) {
    (void)state;
    struct copies c = {0};
    size_t n = (size_t)1 << 20;
    char *from = malloc(n), *to = malloc(n);
    assert_true(from && to);
    memset(from, 7, n);
    memset(to, 0, n);
    clock_test_set(1000000000000, 1000); /* it stands still */
    assert_true(copies_until(&c, 0));
    copies_add(&c, to, from, n);
    assert_false(copies_until(&c, clock_mono_ns()));
    assert_int_equal(to[0], 0);
    assert_true(copies_until(&c, clock_mono_ns() + 1));
    assert_memory_equal(to, from, n);
    copies_add(&c, to, from, n);
    assert_true(copies_until(&c, INT64_MAX));
    clock_test_end();
    copies_deinit(&c);
    free(from);
    free(to);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_are_made_in_their_order_however_few_bytes_at_a_time),
        cmocka_unit_test(bytes_are_freed_after_what_reads_them),
        cmocka_unit_test(nothing_is_copied_once_it_is_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
