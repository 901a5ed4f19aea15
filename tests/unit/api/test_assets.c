/* The embedded page: whatever was built into this binary (the page, or the plain one that stands in
 * for it). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/assets.h"

static void find_root_is_the_page(void **state) {
    (void)state;
    const struct asset *a = asset_find(STR("/"));
    assert_non_null(a);
    assert_true(str_eqz(a->path, "/index.html"));
    assert_string_equal(a->content_type, "text/html; charset=utf-8");
    assert_int_not_equal(str_find(a->body, STR("<!doctype html>")), SIZE_MAX);
    assert_false(a->immutable);
}

static void find_unknown_path_is_the_page(void **state) {
    (void)state;
    const struct asset *page = asset_find(STR("/"));
    assert_ptr_equal(asset_find(STR("/c/0193-some-conversation")), page);
    assert_ptr_equal(asset_find(STR("/c/v1.2")), page);
    assert_ptr_equal(asset_find(STR("/apiary")), page);
    assert_ptr_equal(asset_find(STR("")), page);
}

static void find_what_is_not_the_pages_is_null(void **state) {
    (void)state;
    assert_null(asset_find(STR("/api")));
    assert_null(asset_find(STR("/api/v1/nothing")));
    assert_null(asset_find(STR("/v1")));
    assert_null(asset_find(STR("/v1/nothing")));
    assert_null(asset_find(STR("/assets/main-of-an-older-build.js")));
    assert_null(asset_find(STR("/robots.txt")));
}

static void table_is_sorted_and_found(void **state) {
    (void)state;
    assert_true(asset_table_count > 0);
    for (size_t i = 0; i < asset_table_count; i++) {
        const struct asset *a = &asset_table[i];
        assert_ptr_equal(asset_find(a->path), a);
        assert_true(a->body.n > 0);
        assert_int_equal(a->immutable, str_starts(a->path, STR("/assets/")));
        if (a->gzip.n > 0) {
            assert_true(a->gzip.n < a->body.n);
            assert_memory_equal(a->gzip.p, "\x1f\x8b", 2);
        }
    }
}

static void etag_matches_lists_weak_and_star(void **state) {
    (void)state;
    struct asset a = {.etag = "\"abc\""};
    assert_true(asset_etag_matches(&a, STR("\"abc\"")));
    assert_true(asset_etag_matches(&a, STR("W/\"abc\"")));
    assert_true(asset_etag_matches(&a, STR("\"x\", \"abc\"")));
    assert_true(asset_etag_matches(&a, STR("*")));
    assert_false(asset_etag_matches(&a, STR("abc")));
    assert_false(asset_etag_matches(&a, STR("\"abcd\"")));
    assert_false(asset_etag_matches(&a, STR_NULL));
    assert_false(asset_etag_matches(&a, STR(" , ,")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(find_root_is_the_page),
        cmocka_unit_test(find_unknown_path_is_the_page),
        cmocka_unit_test(find_what_is_not_the_pages_is_null),
        cmocka_unit_test(table_is_sorted_and_found),
        cmocka_unit_test(etag_matches_lists_weak_and_star),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
