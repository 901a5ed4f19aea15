#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/text_stream.h"

static const struct str stops[] = {{"STOP", 4}, {"\n\n", 2}};

static void assert_text(const struct buf *b, const char *expected) {
    assert_string_equal(b->p ? b->p : "", expected);
}

static void add_plain_text_passes_at_once(void **state) {
    struct text_stream t;
    struct buf out;
    (void)state;
    text_stream_init(&t, stops, 2);
    buf_init(&out, 1000);
    assert_false(text_stream_add(&t, STR("hello"), &out));
    assert_text(&out, "hello");
    text_stream_deinit(&t);
    buf_deinit(&out);
}

static void add_stop_over_pieces_is_met_and_not_sent(void **state) {
    struct text_stream t;
    struct buf out;
    (void)state;
    text_stream_init(&t, stops, 2);
    buf_init(&out, 1000);
    assert_false(text_stream_add(&t, STR("a S"), &out));
    assert_text(&out, "a ");
    assert_false(text_stream_add(&t, STR("TO"), &out));
    assert_text(&out, "a ");
    assert_true(text_stream_add(&t, STR("P b"), &out));
    assert_text(&out, "a ");
    assert_true(text_stream_add(&t, STR("more"), &out));
    text_stream_end(&t, &out);
    assert_text(&out, "a ");
    text_stream_deinit(&t);
    buf_deinit(&out);
}

static void add_false_beginning_of_stop_is_released(void **state) {
    struct text_stream t;
    struct buf out;
    (void)state;
    text_stream_init(&t, stops, 2);
    buf_init(&out, 1000);
    text_stream_add(&t, STR("SSTO"), &out);
    assert_text(&out, "S");
    text_stream_add(&t, STR("RM\n"), &out);
    assert_text(&out, "SSTORM");
    text_stream_end(&t, &out);
    assert_text(&out, "SSTORM\n");
    text_stream_deinit(&t);
    buf_deinit(&out);
}

static void add_character_over_pieces_is_joined(void **state) {
    struct text_stream t;
    struct buf out;
    (void)state;
    text_stream_init(&t, NULL, 0);
    buf_init(&out, 1000);
    text_stream_add(&t, STR("\xF0\x9F"), &out);
    assert_text(&out, "");
    text_stream_add(&t, STR("\x98"), &out);
    assert_text(&out, "");
    text_stream_add(&t, STR("\x80!"), &out);
    assert_text(&out, "\xF0\x9F\x98\x80!");
    text_stream_deinit(&t);
    buf_deinit(&out);
}

static void end_with_half_character_replaces_it(void **state) {
    struct text_stream t;
    struct buf out;
    (void)state;
    text_stream_init(&t, NULL, 0);
    buf_init(&out, 1000);
    text_stream_add(&t, STR("a\xC3"), &out);
    text_stream_end(&t, &out);
    assert_text(&out, "a\xEF\xBF\xBD");
    text_stream_deinit(&t);
    buf_deinit(&out);
}

static void add_invalid_bytes_gives_valid_text(void **state) {
    struct text_stream t;
    struct buf out;
    (void)state;
    text_stream_init(&t, stops, 2);
    buf_init(&out, 1000);
    text_stream_add(&t, STR("a\xFF\x80z\xC0\xAF."), &out);
    text_stream_end(&t, &out);
    assert_true(utf8_valid(buf_str(&out)));
    assert_true(str_ends(buf_str(&out), STR(".")));
    text_stream_deinit(&t);
    buf_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(add_plain_text_passes_at_once),
        cmocka_unit_test(add_stop_over_pieces_is_met_and_not_sent),
        cmocka_unit_test(add_false_beginning_of_stop_is_released),
        cmocka_unit_test(add_character_over_pieces_is_joined),
        cmocka_unit_test(end_with_half_character_replaces_it),
        cmocka_unit_test(add_invalid_bytes_gives_valid_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
