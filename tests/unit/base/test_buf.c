/* base/buf and base/arena: growth, caps, failure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"

static void buf_grows_up_to_its_cap_exactly(void **state) {
    (void)state;
    for (size_t cap = 0; cap < 300; cap++) {
        struct buf b;
        buf_init(&b, cap);
        for (size_t i = 0; i < cap; i++)
            buf_addc(&b, 'x');
        assert_int_equal(buf_err(&b), ERR_OK);
        buf_addc(&b, 'y');
        assert_int_equal(buf_err(&b), ERR_TOO_LARGE);
        assert_int_equal(b.n, cap);
        assert_true(cap == 0 || b.p[cap] == 0);
        buf_deinit(&b);
    }
}

static void buf_failed_append_keeps_what_was_there(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 8);
    buf_addz(&b, "12345");
    buf_addz(&b, "6789");
    buf_addz(&b, "6"); /* would fit, but the text would have a hole */
    assert_int_equal(buf_err(&b), ERR_TOO_LARGE);
    assert_true(str_eqz(buf_str(&b), "12345"));
    assert_null(buf_take(&b, NULL));
    buf_clear(&b);
    buf_addz(&b, "ok");
    size_t n;
    char *p = buf_take(&b, &n);
    assert_string_equal(p, "ok");
    assert_int_equal(n, 2);
    free(p);
    assert_true(b.p == NULL && b.cap == 8);
    p = buf_take(&b, &n); /* nothing is a text, too */
    assert_string_equal(p, "");
    free(p);
}

static void buf_add_int_writes_all_of_them(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    buf_add_int(&b, 0);
    buf_addc(&b, ' ');
    buf_add_int(&b, -7);
    buf_addc(&b, ' ');
    buf_add_int(&b, 1234567890);
    buf_addc(&b, ' ');
    buf_add_int(&b, INT64_MIN);
    buf_addc(&b, ' ');
    buf_add_int(&b, INT64_MAX);
    assert_string_equal(b.p, "0 -7 1234567890 -9223372036854775808 9223372036854775807");
    buf_deinit(&b);
}

static void buf_addf_formats_short_and_long(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 5000);
    buf_addf(&b, "%d-%s", 42, "x");
    assert_string_equal(b.p, "42-x");
    buf_clear(&b);
    buf_addf(&b, "%4000d", 1);
    assert_int_equal(b.n, 4000);
    buf_addf(&b, "%4000d", 1);
    assert_int_equal(buf_err(&b), ERR_TOO_LARGE);
    buf_deinit(&b);
}

static void buf_drop_removes_from_the_front(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    buf_drop(&b, 3);
    buf_addz(&b, "abcdef");
    buf_drop(&b, 2);
    assert_string_equal(b.p, "cdef");
    buf_drop(&b, 99);
    assert_int_equal(b.n, 0);
    buf_deinit(&b);
}

static void buf_add_json_escapes_what_json_forbids(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    buf_add_json(&b, (struct str){"a\"b\\c\n\r\t\b\f\x01\0\xc3\xa9", 14});
    assert_string_equal(b.p, "a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0001\\u0000\xc3\xa9");
    buf_deinit(&b);
}

/* Each byte that a string has to escape, and its neighbours, at each place beside other bytes. */
static void buf_add_json_finds_them_at_any_place(void **state) {
    (void)state;
    static const unsigned char bytes[] = {0x00, 0x01, 0x1f, 0x20, 0x21, '"',  '#', '[',
                                          '\\', ']',  0x7f, 0x80, 0xa2, 0xdc, 0xff};
    for (size_t len = 1; len <= 20; len++)
        for (size_t at = 0; at < len; at++)
            for (size_t i = 0; i < sizeof bytes; i++) {
                char text[20], want[32] = "";
                memset(text, at % 2 ? 0xff : 'a', sizeof text);
                text[at] = (char)bytes[i];
                const char *esc = bytes[i] == '"' ? "\\\"" : bytes[i] == '\\' ? "\\\\" : NULL;
                char code[8] = "";
                if (bytes[i] < 0x20)
                    snprintf(code, sizeof code, "\\u%04x", bytes[i]);
                else
                    snprintf(code, sizeof code, "%.*s", 1, text + at);
                int n = snprintf(want, sizeof want, "%.*s%s%.*s", (int)at, text, esc ? esc : code,
                                 (int)(len - at - 1), text + at + 1);
                struct buf b;
                buf_init(&b, 100);
                buf_add_json(&b, (struct str){text, len});
                assert_int_equal(b.n, n);
                assert_memory_equal(b.p, want, n);
                buf_deinit(&b);
            }
}

static void buf_room_is_taken_once_and_keeps_the_cap(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    buf_addz(&b, "abc");
    buf_room(&b, 900);
    const char *p = b.p;
    for (int i = 0; i < 900; i++)
        buf_addc(&b, 'x');
    assert_ptr_equal(b.p, p);
    buf_room(&b, 98); /* more than may come: what is appended will say so */
    assert_int_equal(buf_err(&b), ERR_OK);
    buf_room(&b, SIZE_MAX);
    assert_int_equal(buf_err(&b), ERR_OK);
    assert_int_equal(b.n, 903);
    buf_deinit(&b);
}

static void arena_memory_is_zeroed_aligned_and_capped(void **state) {
    (void)state;
    struct arena *a = arena_new(200000);
    for (size_t n = 0; n < 300; n++) {
        unsigned char *p = arena_alloc(a, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(p[i], 0);
            p[i] = 0xff;
        }
    }
    assert_non_null(arena_alloc(a, 100000)); /* a block of its own */
    assert_true(arena_used(a) <= 200000);
    assert_null(arena_alloc(a, 100000));
    assert_null(arena_alloc(a, SIZE_MAX));
    assert_null(arena_array(a, SIZE_MAX / 2, 4));
    assert_non_null(arena_array(a, 10, 4));
    arena_free(a);
    arena_free(NULL);
}

static void arena_allocation_that_malloc_refuses_is_null(void **state) {
    (void)state;
    struct arena *a = arena_new(SIZE_MAX);
    assert_null(arena_alloc(a, SIZE_MAX / 2 + 2));
    assert_null(arena_alloc(a, SIZE_MAX - 8));
    assert_non_null(arena_alloc(a, 16)); /* and the arena still works */
    arena_free(a);
}

static void arena_strings_are_copies(void **state) {
    (void)state;
    struct arena *a = arena_new(1000);
    char text[] = "hello";
    struct str s = arena_str(a, str_from(text));
    text[0] = 'J';
    assert_string_equal(s.p, "hello");
    assert_int_equal(s.n, 5);
    assert_string_equal(arena_strz(a, STR_NULL), "");
    assert_string_equal(arena_printf(a, "%s-%d", "n", 5), "n-5");
    assert_null(arena_printf(a, "%2000d", 1));
    assert_null(arena_str(a, (struct str){text, 2000}).p);
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buf_grows_up_to_its_cap_exactly),
        cmocka_unit_test(buf_failed_append_keeps_what_was_there),
        cmocka_unit_test(buf_add_int_writes_all_of_them),
        cmocka_unit_test(buf_addf_formats_short_and_long),
        cmocka_unit_test(buf_drop_removes_from_the_front),
        cmocka_unit_test(buf_add_json_escapes_what_json_forbids),
        cmocka_unit_test(buf_add_json_finds_them_at_any_place),
        cmocka_unit_test(buf_room_is_taken_once_and_keeps_the_cap),
        cmocka_unit_test(arena_memory_is_zeroed_aligned_and_capped),
        cmocka_unit_test(arena_allocation_that_malloc_refuses_is_null),
        cmocka_unit_test(arena_strings_are_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
