/* base/str: slices, numbers, UTF-8. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"

static void str_cut_splits_at_the_first_separator(void **state) {
    (void)state;
    struct str s = STR("a,b,,c");
    assert_true(str_eqz(str_cut(&s, ','), "a"));
    assert_true(str_eqz(str_cut(&s, ','), "b"));
    struct str empty = str_cut(&s, ',');
    assert_true(empty.p && empty.n == 0);
    assert_true(str_eqz(str_cut(&s, ','), "c"));
    assert_null(s.p);
    s = STR("x=");
    assert_true(str_eqz(str_cut(&s, '='), "x"));
    assert_non_null(s.p); /* an empty rest differs from no separator */
}

static void str_helpers_clamp_and_compare(void **state) {
    (void)state;
    assert_true(str_eqz(str_sub(STR("hello"), 1, 3), "ell"));
    assert_true(str_sub(STR("hello"), 9, 3).n == 0);
    assert_true(str_eqz(str_sub(STR("hello"), 3, SIZE_MAX), "lo"));
    assert_true(str_eqz(str_trim(STR(" \t a b\r\n")), "a b"));
    assert_true(str_trim(STR(" \n ")).n == 0);
    assert_true(str_find(STR("haystack"), STR("st")) == 3);
    assert_true(str_find(STR("haystack"), STR("sts")) == SIZE_MAX);
    assert_true(str_find(STR_NULL, STR("a")) == SIZE_MAX);
    assert_true(str_eq_nocase(STR("Content-TYPE"), STR("content-type")));
    assert_false(str_eq_nocase(STR("[a]"), STR("{a}"))); /* only letters fold */
    assert_true(str_starts(STR("abc"), STR("")) && str_starts(STR("abc"), STR("ab")));
    assert_false(str_starts(STR("ab"), STR("abc")));
    assert_true(str_ends(STR("abc"), STR("bc")) && !str_ends(STR("c"), STR("bc")));
    assert_true(str_eq(STR_NULL, STR("")));
}

static void str_numbers_refuse_everything_but_numbers(void **state) {
    (void)state;
    uint64_t u = 7;
    int64_t i = 7;
    double d = 7;
    assert_true(str_to_u64(STR("18446744073709551615"), &u) && u == UINT64_MAX);
    assert_false(str_to_u64(STR("18446744073709551616"), &u));
    const char *bad[] = {"", " 1", "1 ", "+1", "-1", "0x1", "1e3", "999999999999999999999"};
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++)
        assert_false(str_to_u64(str_from(bad[k]), &u));
    assert_true(u == UINT64_MAX); /* untouched on failure */
    assert_true(str_to_i64(STR("-9223372036854775808"), &i) && i == INT64_MIN);
    assert_false(str_to_i64(STR("9223372036854775808"), &i));
    assert_false(str_to_i64(STR("-"), &i));
    assert_true(str_to_double(STR("-1.5e2"), &d) && d == -150);
    const char *not_double[] = {"", "nan", "inf", "1e999", "0x10", " 1", "1,5", "1.5x"};
    for (size_t k = 0; k < sizeof not_double / sizeof not_double[0]; k++)
        assert_false(str_to_double(str_from(not_double[k]), &d));
}

static void utf8_valid_follows_the_rfc(void **state) {
    (void)state;
    assert_true(utf8_valid(STR("plain ascii, longer than eight bytes")));
    assert_true(utf8_valid(STR("h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 end")));
    assert_true(utf8_valid((struct str){"a\0b", 3}));
    const char *bad[] = {"\x80",
                         "\xc3",
                         "\xc0\xaf",
                         "\xc1\x81",
                         "\xe0\x80\xaf",
                         "\xed\xa0\x80",
                         "\xf0\x80\x80\xaf",
                         "\xf4\x90\x80\x80",
                         "\xf5\x80\x80\x80",
                         "abcdefgh\xe2\x82",
                         "\xff"};
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++)
        assert_false(utf8_valid(str_from(bad[k])));
}

static void utf8_complete_keeps_back_only_what_may_be_finished(void **state) {
    (void)state;
    assert_int_equal(utf8_complete(STR("ab\xe2\x82")), 2);
    assert_int_equal(utf8_complete(STR("ab\xe2")), 2);
    assert_int_equal(utf8_complete(STR("ab\xe2\x82\xac")), 5);
    assert_int_equal(utf8_complete(STR("\xf0\x9f\x98")), 0);
    assert_int_equal(utf8_complete(STR("a\xff")), 2);     /* never becomes valid */
    assert_int_equal(utf8_complete(STR("a\xed\xa0")), 3); /* a surrogate never does */
    assert_int_equal(utf8_complete(STR("\x80\x80\x80")), 3);
    assert_int_equal(utf8_complete(STR_NULL), 0);
}

static void utf8_cut_never_splits_a_sequence(void **state) {
    (void)state;
    struct str s = STR("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    for (size_t max = 0; max <= s.n + 1; max++) {
        size_t n = utf8_cut(s, max);
        assert_true(n <= max && n <= s.n && utf8_valid(str_sub(s, 0, n)));
        assert_true(max >= s.n || max - n < 4);
    }
    assert_int_equal(utf8_cut(STR("\x80\x80\x80\x80\x80\x80"), 5), 5); /* ends, whatever comes */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(str_cut_splits_at_the_first_separator),
        cmocka_unit_test(str_helpers_clamp_and_compare),
        cmocka_unit_test(str_numbers_refuse_everything_but_numbers),
        cmocka_unit_test(utf8_valid_follows_the_rfc),
        cmocka_unit_test(utf8_complete_keeps_back_only_what_may_be_finished),
        cmocka_unit_test(utf8_cut_never_splits_a_sequence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
