/* net/sse: writing, and parsing wherever the stream is cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/sse.h"

static bool collect(const struct sse_event *e, void *ctx) {
    struct buf *b = ctx;
    buf_addf(b, "[%.*s|%.*s|%.*s]", STR_ARG(e->event), STR_ARG(e->data), STR_ARG(e->id));
    return true;
}

static const char STREAM[] =
    "\xef\xbb\xbf: hello\n\ndata: one\n\n"
    "event: chunk\r\ndata: a\r\ndata\r\ndata:  b\r\nid: 7\r\n\r\n"
    "data:x\rdata:y\r\rretry: 10\nunknown: z\nevent: lonely\n\n"
    "id: a\0b\ndata: {\"k\": \"v:w\"}\n\nid\ndata: last\n\ndata: never ended";
static const char WANT[] =
    "[message|one|][chunk|a\n\n b|7][message|x\ny|7][message|{\"k\": \"v:w\"}|7][message|last|]";

static void sse_parser_gives_the_same_events_wherever_it_is_cut(void **state) {
    (void)state;
    struct str all = {STREAM, sizeof STREAM - 1};
    struct buf b;
    buf_init(&b, 10000);
    for (size_t cut = 0; cut <= all.n; cut++) {
        struct sse_parser *p = sse_parser_new(1000);
        buf_clear(&b);
        assert_int_equal(sse_parser_feed(p, str_sub(all, 0, cut), collect, &b), ERR_OK);
        assert_int_equal(sse_parser_feed(p, str_sub(all, cut, all.n), collect, &b), ERR_OK);
        assert_string_equal(b.p, WANT);
        sse_parser_free(p);
    }
    for (size_t step = 1; step < 5; step++) {
        struct sse_parser *p = sse_parser_new(1000);
        buf_clear(&b);
        for (size_t at = 0; at < all.n; at += step)
            assert_int_equal(sse_parser_feed(p, str_sub(all, at, step), collect, &b), ERR_OK);
        assert_string_equal(b.p, WANT);
        sse_parser_free(p);
    }
    buf_deinit(&b);
}

static void sse_parser_bounds_an_event(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 10000);
    const char *bad[] = {"data: 0123456789012345678901234567890123456789",
                         "data: 0123456789012345678901234567890123456789\n",
                         "data: 01234567\ndata: 01234567\ndata: 01234567\ndata: 01234567\n",
                         ": 0123456789012345678901234567890123456789\n"};
    for (size_t i = 0; i < 4; i++) {
        struct sse_parser *p = sse_parser_new(32);
        assert_int_equal(sse_parser_feed(p, str_from(bad[i]), collect, &b), ERR_TOO_LARGE);
        sse_parser_free(p);
    }
    struct sse_parser *p = sse_parser_new(32);
    for (int i = 0; i < 1000; i++) /* the bound is for one event, not for the stream */
        assert_int_equal(sse_parser_feed(p, STR("data: 01234567890123456789\n\n"), collect, &b),
                         ERR_OK);
    sse_parser_free(p);
    buf_deinit(&b);
}

static void sse_parser_counts_a_byte_order_mark_wherever_it_is_cut(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    struct str s = STR("\xef\xbb\xbf"
                       "data: 0123456789\n\n");
    for (size_t cut = 0; cut <= s.n; cut++) {
        struct sse_parser *p = sse_parser_new(16); /* the line without the mark */
        enum err e = sse_parser_feed(p, str_sub(s, 0, cut), collect, &b);
        if (!e)
            e = sse_parser_feed(p, str_sub(s, cut, s.n), collect, &b);
        assert_int_equal(e, ERR_TOO_LARGE);
        sse_parser_free(p);
    }
    buf_deinit(&b);
}

static bool stop(const struct sse_event *e, void *ctx) {
    (void)e;
    ++*(int *)ctx;
    return false;
}

static void sse_parser_stops_when_the_callback_says_so(void **state) {
    (void)state;
    int n = 0;
    struct sse_parser *p = sse_parser_new(100);
    assert_int_equal(sse_parser_feed(p, STR("data: 1\n\ndata: 2\n\n"), stop, &n), ERR_CANCELLED);
    assert_int_equal(n, 1);
    sse_parser_free(p);
    sse_parser_free(NULL);
}

static void sse_written_events_parse_back(void **state) {
    (void)state;
    struct buf b, got;
    buf_init(&b, 1000);
    buf_init(&got, 1000);
    sse_write_comment(&b, "ping");
    sse_write(&b, 5, "chunk", STR("a\nb\r\nc\rd"));
    sse_write(&b, -1, NULL, STR(""));
    assert_string_equal(
        b.p, ": ping\n\nid: 5\nevent: chunk\ndata: a\ndata: b\ndata: c\ndata: d\n\ndata: \n\n");
    struct sse_parser *p = sse_parser_new(100);
    assert_int_equal(sse_parser_feed(p, buf_str(&b), collect, &got), ERR_OK);
    assert_string_equal(got.p, "[chunk|a\nb\nc\nd|5][message||5]");
    sse_parser_free(p);
    buf_deinit(&b);
    buf_deinit(&got);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sse_parser_gives_the_same_events_wherever_it_is_cut),
        cmocka_unit_test(sse_parser_bounds_an_event),
        cmocka_unit_test(sse_parser_counts_a_byte_order_mark_wherever_it_is_cut),
        cmocka_unit_test(sse_parser_stops_when_the_callback_says_so),
        cmocka_unit_test(sse_written_events_parse_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
