/* robots.txt, by the examples of RFC 9309. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ingest/robots.h"

static bool allows(const char *text, const char *path) {
    return robots_allow(str_from(text), str_from(path));
}

static void robots_nothing_said_is_allowed(void **state) {
    (void)state;
    assert_true(allows("", "/a"));
    assert_true(allows("User-agent: *\nDisallow:\n", "/a"));
    assert_true(allows("User-agent: other\nDisallow: /\n", "/a"));
    assert_true(allows("Disallow: /\n", "/a")); /* of no group */
}

static void robots_longest_rule_decides(void **state) {
    (void)state;
    const char *t = "user-agent: *\r\nDisallow: /docs # all\r\nAllow: /docs/open\r\n";
    assert_false(allows(t, "/docs/a"));
    assert_true(allows(t, "/docs/open/b"));
    assert_true(allows(t, "/"));
    assert_true(allows("User-agent: *\nAllow: /a\nDisallow: /a\n", "/a"));
    assert_true(allows("User-agent: *\nDisallow: /a\nAllow: /a\n", "/a"));
    assert_true(allows("User-agent: *\nDisallow: /\n", "/robots.txt"));
}

static void robots_group_that_names_us_goes_first(void **state) {
    (void)state;
    const char *t = "User-agent: *\nDisallow: /\n\nUser-agent: x\nUser-agent: Parley/1.0\n"
                    "Disallow: /private\n";
    assert_true(allows(t, "/a"));
    assert_false(allows(t, "/private/x"));
    assert_false(allows("User-agent: parley\nDisallow: /\nUser-agent: *\nAllow: /\n", "/a"));
    assert_true(allows("User-agent: parleyvous\nDisallow: /\n", "/a"));
}

static void robots_patterns_match(void **state) {
    (void)state;
    assert_false(allows("User-agent: *\nDisallow: /*.pdf$\n", "/a/b.pdf"));
    assert_true(allows("User-agent: *\nDisallow: /*.pdf$\n", "/a/b.pdf?x"));
    assert_false(allows("User-agent: *\nDisallow: /a*c*e\n", "/abcdef"));
    assert_true(allows("User-agent: *\nDisallow: /a*c*e$\n", "/abcdef"));
    assert_false(allows("User-agent: *\nDisallow: *\n", "/x"));
}

static void robots_delay_is_bounded(void **state) {
    (void)state;
    assert_int_equal(robots_delay_ms(STR("User-agent: *\nCrawl-delay: 2.5\n")), 2500);
    assert_int_equal(robots_delay_ms(STR("User-agent: *\nCrawl-delay: 86400\n")),
                     ROBOTS_DELAY_MAX_MS);
    assert_int_equal(robots_delay_ms(STR("User-agent: other\nCrawl-delay: 2\n")), 0);
    assert_int_equal(robots_delay_ms(STR("User-agent: *\nCrawl-delay: -1\n")), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(robots_nothing_said_is_allowed),
        cmocka_unit_test(robots_longest_rule_decides),
        cmocka_unit_test(robots_group_that_names_us_goes_first),
        cmocka_unit_test(robots_patterns_match),
        cmocka_unit_test(robots_delay_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
