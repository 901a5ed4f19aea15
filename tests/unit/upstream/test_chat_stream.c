/* Answers of model servers as they come: in pieces, broken, wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "upstream/chat_stream.h"

struct got {
    struct buf text;
    int pieces;
    struct errinfo ei;
    char reason[32];
    int prompt, completion;
};

static void on_text(void *ctx, struct str text) {
    struct got *g = ctx;
    assert_true(text.n > 0);
    assert_true(utf8_valid(text));
    assert_null(memchr(text.p, 0, text.n));
    buf_adds(&g->text, text);
    g->pieces++;
}

/* Feeds text in pieces of `step` bytes. */
static enum err read_all(struct got *g, struct str text, size_t step) {
    memset(g, 0, sizeof *g);
    buf_init(&g->text, 32 << 20);
    struct chat_stream *s = chat_stream_new(on_text, g);
    assert_non_null(s);
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < text.n; i += step)
        e = chat_stream_feed(s, str_sub(text, i, step), &g->ei);
    if (!e)
        e = chat_stream_end(s, &g->ei);
    if (e)
        assert_int_equal(chat_stream_feed(s, STR("data: [DONE]\n\n"), NULL), e); /* it sticks */
    snprintf(g->reason, sizeof g->reason, "%.*s", STR_ARG(chat_stream_finish_reason(s)));
    chat_stream_usage(s, &g->prompt, &g->completion);
    chat_stream_free(s);
    return e;
}

static void expect_text(struct got *g, const char *text) {
    assert_int_equal(g->text.n, strlen(text));
    assert_memory_equal(g->text.p ? g->text.p : "", text, g->text.n);
    buf_deinit(&g->text);
}

#define CHUNK(s) "data: {\"choices\":[{\"delta\":{\"content\":\"" s "\"}}]}\n\n"
#define END      "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n"
#define USAGE    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":6}}\n\n"
#define DONE     "data: [DONE]\n\n"

static void stream_is_read_in_any_pieces(void **state) {
    (void)state;
    static const char text[] = "\n: hello\r\n\r\n" CHUNK("Gr\xc3\xbc\xc3\x9f")
        CHUNK(" \\\"dich\\\" \\ud83d\\ude00") END USAGE DONE;
    for (size_t step = 1; step < sizeof text; step++) {
        struct got g;
        assert_int_equal(read_all(&g, str_from(text), step), ERR_OK);
        assert_string_equal(g.reason, "length");
        assert_int_equal(g.prompt, 5);
        assert_int_equal(g.completion, 6);
        assert_in_range(g.pieces, 1, 2); /* what comes at once is handed over at once */
        expect_text(&g, "Gr\xc3\xbc\xc3\x9f \"dich\" \xf0\x9f\x98\x80");
    }
}

#define LIKE(s)                                                                                    \
    "data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" s                    \
    "\"},\"finish_reason\":null}]}\n\n"

/* Chunks like the one before are not parsed; what is only nearly like it is. */
static void stream_chunks_in_a_frame_are_what_parsing_says(void **state) {
    (void)state;
    static const struct {
        const char *sent, *text, *reason;
    } cases[] = {
        {LIKE("a") LIKE(" b") LIKE("") LIKE("cc") DONE, "a bcc", "stop"},
        {LIKE("a") LIKE("\\n") LIKE("\\\"") LIKE("\\u0041") LIKE("z") DONE, "a\n\"Az", "stop"},
        {LIKE("a") LIKE("x\"},\"finish_reason\":\"length\",\"y\":{\"k\":\"v") DONE, "ax", "length"},
        {LIKE("a") LIKE("\xf0\x9f") LIKE("\x98\x80") DONE, "a\xf0\x9f\x98\x80", "stop"},
        {LIKE("a") LIKE("\x01") DONE, "a\x01", "stop"},
        {LIKE("a") CHUNK("b") LIKE("c") CHUNK("d") DONE, "abcd", "stop"},
        {LIKE("\\\"content\\\":\\\"") LIKE("b") DONE, "\"content\":\"b", "stop"},
        {"data: {\"x\":{\"content\":\"a\"},\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"
         "data: {\"x\":{\"content\":\"b\"},\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"
         "data: {\"x\":{\"content\":\"b\"},\"choices\":[{\"delta\":{\"content\":\"c\"}}]}\n\n" DONE,
         "aac", "stop"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t step = 1; step < 400; step += 13) {
            struct got g;
            assert_int_equal(read_all(&g, str_from(cases[i].sent), step), ERR_OK);
            assert_string_equal(g.reason, cases[i].reason);
            expect_text(&g, cases[i].text);
        }
}

static void stream_without_done_is_whole_with_a_reason(void **state) {
    (void)state;
    struct got g;
    assert_int_equal(read_all(&g, STR(CHUNK("a") END), 7), ERR_OK);
    expect_text(&g, "a");
    assert_int_equal(read_all(&g, STR(CHUNK("a") DONE), 7), ERR_OK);
    assert_string_equal(g.reason, "stop");
    expect_text(&g, "a");
    /* the last event's blank line is missing */
    assert_int_equal(
        read_all(&g, STR(CHUNK("a") "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}"), 9),
        ERR_OK);
    expect_text(&g, "a");
}

static void stream_cut_short_is_an_error(void **state) {
    (void)state;
    struct got g;
    assert_int_equal(read_all(&g, STR(CHUNK("half")), 5), ERR_UPSTREAM);
    assert_int_equal(g.prompt, -1);
    expect_text(&g, "half");
    assert_int_equal(read_all(&g, STR(""), 1), ERR_UPSTREAM);
    expect_text(&g, "");
}

static void stream_split_characters_are_joined(void **state) {
    (void)state;
    struct got g;
    assert_int_equal(read_all(&g, STR(CHUNK("\xf0\x9f") CHUNK("\x98\x80!") DONE), 3), ERR_OK);
    expect_text(&g, "\xf0\x9f\x98\x80!");
    assert_int_equal(read_all(&g, STR(CHUNK("\xf0\x9f") CHUNK("") CHUNK("\x98\x80!") DONE), 3),
                     ERR_OK);
    expect_text(&g, "\xf0\x9f\x98\x80!");
}

static void stream_bad_bytes_become_replacements(void **state) {
    (void)state;
    struct got g;
    assert_int_equal(read_all(&g,
                              STR(CHUNK("a\xff"
                                        "b\\u0000c") CHUNK("\xc3") DONE),
                              3),
                     ERR_OK);
    expect_text(&g, "a\xef\xbf\xbd"
                    "b\xef\xbf\xbd"
                    "c\xef\xbf\xbd");
}

static void stream_error_frame_is_told(void **state) {
    (void)state;
    struct got g;
    assert_int_equal(
        read_all(&g, STR(CHUNK("a") "data: {\"error\":{\"message\":\"boom\"}}\n\n"), 9),
        ERR_UPSTREAM);
    assert_non_null(strstr(g.ei.message, "boom"));
    expect_text(&g, "a");
    assert_int_equal(
        read_all(&g, STR("event: error\ndata: {\"error\":\"out of \\n memory\"}\n\n"), 9),
        ERR_UPSTREAM);
    assert_non_null(strstr(g.ei.message, "out of   memory"));
    expect_text(&g, "");
    assert_int_equal(
        read_all(&g, STR("data: {\"error\":{\"code\":\"context_length_exceeded\"}}\n\n"), 9),
        ERR_CONTEXT);
    expect_text(&g, "");
    assert_int_equal(read_all(&g, STR("data: {\"error\":{\"code\":503,\"message\":\"x\"}}\n\n"), 9),
                     ERR_UNAVAILABLE);
    expect_text(&g, "");
    assert_int_equal(read_all(&g, STR("data: {\"error\":null,\"choices\":[]}\n\n" DONE), 9),
                     ERR_OK);
    expect_text(&g, "");
}

static void stream_garbage_is_an_error(void **state) {
    (void)state;
    static const char *const bad[] = {"data: {\"choices\":\n\n",
                                      "data: nonsense\n\n",
                                      "data: [1]\n\n",
                                      "<html>no</html>",
                                      "{\"choices\":[",
                                      "{}",
                                      "[]",
                                      "\xff\xfe\n\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct got g;
        assert_int_equal(read_all(&g, str_from(bad[i]), 3), ERR_UPSTREAM);
        expect_text(&g, "");
    }
}

static void stream_whole_answer_is_taken(void **state) {
    (void)state;
    struct got g;
    assert_int_equal(
        read_all(&g,
                 STR("  {\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":"
                     "\"all at once\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_"
                     "tokens\":1,\"completion_tokens\":2}}"),
                 11),
        ERR_OK);
    assert_int_equal(g.completion, 2);
    expect_text(&g, "all at once");
    assert_int_equal(
        read_all(&g,
                 STR("{\"choices\":[{\"message\":{\"content\":[{\"type\":\"text\",\"text\":"
                     "\"in \"},{\"type\":\"text\",\"text\":\"parts\"}]},\"finish_reason\":"
                     "\"stop\"}]}"),
                 11),
        ERR_OK);
    expect_text(&g, "in parts");
}

static void stream_huge_event_is_refused(void **state) {
    (void)state;
    struct got g;
    size_t n = 5 << 20;
    char *huge = malloc(n);
    memset(huge, 'x', n);
    memcpy(huge, "data: \"", 7);
    assert_int_equal(read_all(&g, (struct str){huge, n}, 65536), ERR_UPSTREAM);
    assert_non_null(strstr(g.ei.message, "too large"));
    expect_text(&g, "");
    free(huge);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_is_read_in_any_pieces),
        cmocka_unit_test(stream_chunks_in_a_frame_are_what_parsing_says),
        cmocka_unit_test(stream_without_done_is_whole_with_a_reason),
        cmocka_unit_test(stream_cut_short_is_an_error),
        cmocka_unit_test(stream_split_characters_are_joined),
        cmocka_unit_test(stream_bad_bytes_become_replacements),
        cmocka_unit_test(stream_error_frame_is_told),
        cmocka_unit_test(stream_garbage_is_an_error),
        cmocka_unit_test(stream_whole_answer_is_taken),
        cmocka_unit_test(stream_huge_event_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
