/* JSON read for its texts and written again: whole or byte by byte, with what was judged in its
 * places, and never with its end before all of it was judged. */
#include "unit.h"

#include "base/json.h"
#include "safety/json_text.h"

struct judge {
    struct json_text json;
    struct buf text, out;
    const char *secret; /* is replaced wherever it stands; NULL = nothing */
};

static void judge_init(struct judge *j, const char *secret) {
    json_text_init(&j->json, 1 << 20);
    buf_init(&j->text, 1 << 20);
    buf_init(&j->out, 1 << 20);
    j->secret = secret;
}

static void judge_deinit(struct judge *j) {
    json_text_deinit(&j->json);
    buf_deinit(&j->text);
    buf_deinit(&j->out);
}

static enum err piece(void *ctx, size_t from, size_t to, struct buf *out) {
    const struct judge *j = ctx;
    struct str text = buf_str(&j->text), s = str_sub(text, from, to - from);
    size_t at = j->secret ? str_find(s, str_from(j->secret)) : SIZE_MAX;
    assert_true(from < to && to <= text.n);
    if (at == SIZE_MAX) {
        buf_adds(out, s);
        return ERR_OK;
    }
    buf_adds(out, str_sub(s, 0, at));
    buf_addz(out, "[removed]");
    buf_adds(out, str_sub(s, at + strlen(j->secret), s.n));
    return ERR_OK;
}

/* most: bytes at once. */
static void read_all(struct judge *j, struct str json, size_t most, bool last) {
    for (size_t at = 0, n; at < json.n; at += n) {
        n = at + most < json.n ? utf8_cut(str_sub(json, at, json.n), most) : json.n - at;
        n = n ? n : json.n - at < 4 ? json.n - at : 4;
        bool ends = last && at + n == json.n;
        assert_int_equal(json_text_read(&j->json, str_sub(json, at, n), ends, &j->text), ERR_OK);
        if (!j->secret || ends) /* else it may be cut through */
            assert_int_equal(json_text_write(&j->json, j->text.n, ends, piece, j, &j->out), 0);
    }
}

static void same_value(struct str a, struct str b) {
    yyjson_doc *x = NULL, *y = NULL;
    assert_int_equal(json_parse(a, &x, NULL), ERR_OK);
    if (json_parse(b, &y, NULL))
        fail_msg("%.*s became %.*s", STR_ARG(a), STR_ARG(b));
    if (!yyjson_equals(yyjson_doc_get_root(x), yyjson_doc_get_root(y)))
        fail_msg("%.*s became %.*s", STR_ARG(a), STR_ARG(b));
    yyjson_doc_free(x);
    yyjson_doc_free(y);
}

static const char *const values[] = {
    "{}",
    "{\"to\":\"Ada\",\"n\":4}",
    " { \"a\" : [ 1 , -2.5e3 , true , null , { } ] ,\n\t\"b\" : \"\" } ",
    "{\"path\":\"C:\\\\x\\n\\\"y\\\"\",\"u\":\"\\u00e9\\u20ac\\ud83d\\ude00\\u0041\"}",
    "{\"caf\xc3\xa9\":\"\xf0\x9f\x98\x80 \xe4\xbd\xa0\"}",
    "[[[\"deep\"]]]",
    "[]",
    "\"text\"",
    "12345",
    "{\"a\":{\"b\":{\"c\":[{\"d\":\"e\"},{\"f\":\"\\/g\"}]}}}",
    "{\"nul\":\"a\\u0000b\"}",
};

static void value_unchanged_isItself_howeverItComes(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        for (size_t most = 1; most < 40; most += most < 5 ? 1 : 13) {
            struct judge j;
            judge_init(&j, NULL);
            read_all(&j, str_from(values[i]), most, true);
            same_value(str_from(values[i]), buf_str(&j.out));
            judge_deinit(&j);
        }
}

static void text_isWhatTheStringsSay(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"{\"to\":\"Ada\",\"n\":4}", "to: Ada\nn: 4\n"},
        {"{\"password\" : \"hunter2\"}", "password: hunter2\n"},
        {"[\"a\",\"b\"]", "a\nb\n"},
        {"{\"u\":\"\\u0041\\ud83d\\ude00\\n\"}", "u: A\xf0\x9f\x98\x80\n"},
        {"{\"u\":\"\\ud83d and \\ude00\"}", "u: \xef\xbf\xbd and \xef\xbf\xbd\n"},
        {"plain words, all", "plain words\nall"},
        {"say \"this\" \"that\"", "say this that"},
        {"{\"never\": \"ended", "never: ended"},
        {"{\"bad\":\"\\x\\u12zz\"}", "bad: xzz\n"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct judge j;
        judge_init(&j, NULL);
        read_all(&j, str_from(pairs[i][0]), 3, true);
        if (!str_eq(buf_str(&j.text), str_from(pairs[i][1])))
            fail_msg("%s reads |%.*s|", pairs[i][0], (int)j.text.n, j.text.p);
        judge_deinit(&j);
    }
}

static void whatIsReplaced_leavesValidJson(void **state) {
    (void)state;
    static const char *const triples[][3] = {
        {"{\"to\":\"Ada is here\"}", "Ada", "{\"to\":\"[removed] is here\"}"},
        {"{\"to\":\"Ada\"}", "to", "{\"[removed]\":\"Ada\"}"},
        {"{\"card\":4111111111111111}", "4111111111111111", "{\"card\":\"[removed]\"}"},
        {"{\"ok\":true,\"n\":[1,22,3]}", "22", "{\"ok\":true,\"n\":[1,\"[removed]\",3]}"},
        {"{\"q\":\"say \\\"Ada\\\"\\n\"}", "Ada", "{\"q\":\"say \\\"[removed]\\\"\\n\"}"},
    };
    for (size_t i = 0; i < sizeof triples / sizeof *triples; i++) {
        struct judge j;
        judge_init(&j, triples[i][1]);
        read_all(&j, str_from(triples[i][0]), 1, true);
        same_value(str_from(triples[i][2]), buf_str(&j.out));
        judge_deinit(&j);
    }
}

/* Cut off at any byte of its text it cannot be read as a value. */
static void valueCutOff_isNeverWhole(void **state) {
    (void)state;
    struct str json = STR("{\"do\":\"this\",\"and\":[\"that\",7]}");
    for (size_t at = 0; at <= json.n; at++) {
        struct judge j;
        yyjson_doc *doc = NULL;
        judge_init(&j, NULL);
        read_all(&j, str_sub(json, 0, at), 1, false);
        assert_int_not_equal(json_parse(buf_str(&j.out), &doc, NULL), ERR_OK);
        judge_deinit(&j);
    }
    struct judge j;
    judge_init(&j, NULL);
    assert_int_equal(json_text_read(&j.json, json, false, &j.text), ERR_OK);
    for (size_t upto = 0; upto <= j.text.n; upto++)
        assert_int_equal(json_text_write(&j.json, upto, false, piece, &j, &j.out), ERR_OK);
    assert_int_equal(j.out.n, json.n - 1);
    assert_memory_equal(j.out.p, json.p, j.out.n);
    judge_deinit(&j);
}

static void anyBytes_areTaken_andTheirWordsAreText(void **state) {
    (void)state;
    unsigned seed = 7;
    for (int round = 0; round < 3000; round++) {
        char bytes[60];
        struct judge j;
        judge_init(&j, NULL);
        for (size_t i = 0; i < sizeof bytes; i++) {
            seed = seed * 1664525u + 1013904223u;
            bytes[i] = "{}[]:,\"\\u0dD8 aZ1\n"[(seed >> 16) % 18];
        }
        read_all(&j, (struct str){bytes, sizeof bytes}, 1 + seed % 9, true);
        for (size_t i = 0; i < sizeof bytes; i++)
            if (bytes[i] == 'Z')
                assert_non_null(memchr(j.text.p, 'Z', j.text.n));
        judge_deinit(&j);
    }
}

/* However many parts the bytes make, there is room for them. */
static void partsOfAnything_haveRoom(void **state) {
    (void)state;
    static const char *const pieces[] = {
        ",0",  ":0",   "\"\"",         "{",    "}",  "[]",
        "a\"", "\"a:", "\"\\ud800\"x", "0 \n", "\\", "\"\\ud800\\ud800"};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct json_text j;
        struct buf json, text;
        buf_init(&json, 1 << 16);
        buf_init(&text, 1 << 17);
        while (json.n < 20000)
            buf_addz(&json, pieces[i]);
        json_text_init(&j, json.n);
        assert_int_equal(json_text_read(&j, buf_str(&json), TEXT_ENDS, &text), ERR_OK);
        assert_true(j.parts.n <= 16 * (json.n + 1)); /* what each byte costs while it waits */
        json_text_deinit(&j);
        buf_deinit(&json);
        buf_deinit(&text);
    }
}

/* What was interrupted goes on: nothing is lost or ended that was not, and little memory stays. */
static void valueThatPauses_isItself(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct str json = str_from(values[i]);
        for (size_t cut = 0; cut <= json.n; cut++) {
            struct judge j;
            if (cut < json.n && ((unsigned char)json.p[cut] & 0xC0) == 0x80)
                continue;
            judge_init(&j, NULL);
            for (int k = 0; k < 2; k++) {
                enum text_then then = k ? TEXT_ENDS : TEXT_PAUSES;
                struct str s = k ? str_sub(json, cut, json.n) : str_sub(json, 0, cut);
                assert_int_equal(json_text_read(&j.json, s, then, &j.text), ERR_OK);
                assert_int_equal(json_text_write(&j.json, j.text.n, then, piece, &j, &j.out),
                                 ERR_OK);
            }
            same_value(json, buf_str(&j.out));
            judge_deinit(&j);
        }
    }
}

static void muchThatIsWritten_isForgotten(void **state) {
    (void)state;
    struct judge j;
    struct buf json;
    buf_init(&json, 1 << 20);
    judge_init(&j, NULL);
    while (json.n < 50000)
        buf_addz(&json, "1,\"\"");
    assert_int_equal(json_text_read(&j.json, buf_str(&json), TEXT_PAUSES, &j.text), ERR_OK);
    assert_true(j.json.parts.size > 65536);
    assert_int_equal(json_text_write(&j.json, j.text.n, TEXT_PAUSES, piece, &j, &j.out), ERR_OK);
    assert_true(j.json.parts.size + j.json.raw.size + j.json.piece.size <= 3 * 65536);
    judge_deinit(&j);
    buf_deinit(&json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partsOfAnything_haveRoom),
        cmocka_unit_test(valueThatPauses_isItself),
        cmocka_unit_test(muchThatIsWritten_isForgotten),
        cmocka_unit_test(value_unchanged_isItself_howeverItComes),
        cmocka_unit_test(text_isWhatTheStringsSay),
        cmocka_unit_test(whatIsReplaced_leavesValidJson),
        cmocka_unit_test(valueCutOff_isNeverWhole),
        cmocka_unit_test(anyBytes_areTaken_andTheirWordsAreText),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
