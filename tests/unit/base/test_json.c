/* base/json: strictness, places of errors, depth, accessors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"

static yyjson_doc *parsed(const char *text) {
    yyjson_doc *doc = NULL;
    struct errinfo ei;
    assert_int_equal(json_parse(str_from(text), &doc, &ei), ERR_OK);
    return doc;
}

static void json_parse_refuses_what_the_rfc_does_not_have(void **state) {
    (void)state;
    const char *bad[] = {"",
                         " ",
                         "{",
                         "[1,]",
                         "{\"a\":1,}",
                         "// x\n1",
                         "NaN",
                         "nan",
                         "Infinity",
                         "'a'",
                         "{a:1}",
                         "01",
                         "1.",
                         "\"\t\"",
                         "\"\\x\"",
                         "\"\\ud800\"",
                         "\"\xff\"",
                         "[1] 2",
                         "tru",
                         "\"\xed\xa0\x80\"",
                         "\xef\xbb\xbf{}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        yyjson_doc *doc = (yyjson_doc *)(uintptr_t)1;
        struct errinfo ei = {0};
        assert_int_equal(json_parse(str_from(bad[i]), &doc, &ei), ERR_JSON);
        assert_true(doc == (yyjson_doc *)(uintptr_t)1 && ei.code == ERR_JSON && ei.message[0]);
    }
}

static void json_parse_error_names_line_and_column(void **state) {
    (void)state;
    yyjson_doc *doc;
    struct errinfo ei;
    assert_int_equal(json_parse(STR("{\n  \"a\": x}"), &doc, &ei), ERR_JSON);
    assert_non_null(strstr(ei.message, "line 2, column 8"));
}

static void nest(struct buf *b, int depth, const char *open, const char *inner, const char *close) {
    for (int i = 0; i < depth; i++)
        buf_addz(b, open);
    buf_addz(b, inner);
    for (int i = 0; i < depth; i++)
        buf_addz(b, close);
}

static void json_parse_limits_depth(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 10000000);
    const struct {
        int depth;
        enum err want;
    } cases[] = {{JSON_MAX_DEPTH, ERR_OK}, {JSON_MAX_DEPTH + 1, ERR_JSON}, {200000, ERR_JSON}};
    for (int kind = 0; kind < 2; kind++) {
        for (size_t i = 0; i < 3; i++) {
            yyjson_doc *doc = NULL;
            buf_clear(&b);
            nest(&b, cases[i].depth, kind ? "[" : "{\"a\":", kind ? "" : "1", kind ? "]" : "}");
            assert_int_equal(json_parse(buf_str(&b), &doc, NULL), cases[i].want);
            yyjson_doc_free(doc);
        }
    }
    buf_clear(&b); /* many siblings are not depth */
    buf_addc(&b, '[');
    for (int i = 0; i < 1000; i++)
        buf_addz(&b, "[[]],{\"a\":[1]},");
    buf_addz(&b, "1]");
    yyjson_doc_free(parsed(b.p));
    buf_deinit(&b);
}

static void json_accessors_check_types(void **state) {
    (void)state;
    yyjson_doc *doc = parsed("{\"s\":\"x\\u0000y\",\"i\":-5,\"big\":18446744073709551615,\"r\":2.5,"
                             "\"w\":3.0,\"b\":true,\"n\":null,\"s\":\"second\"}");
    json_val *o = yyjson_doc_get_root(doc);
    struct str s = json_get_str(o, "s"); /* the first of equal keys */
    assert_true(s.n == 3 && memcmp(s.p, "x\0y", 3) == 0);
    assert_null(json_get_str(o, "i").p);
    assert_null(json_get_str(o, "absent").p);
    yyjson_doc *lists = parsed("{\"l\":[1,2],\"o\":{\"k\":1}}");
    const json_val *l = yyjson_doc_get_root(lists);
    assert_null(json_get_str(l, "l").p);
    assert_int_equal(json_get_str(l, "l").n, 0); /* not the number of its items */
    assert_int_equal(json_get_str(l, "o").n, 0);
    yyjson_doc_free(lists);
    assert_int_equal(json_get_int(o, "i", 1), -5);
    assert_int_equal(json_get_int(o, "big", 1), 1);
    assert_int_equal(json_get_int(o, "r", 1), 1);
    assert_int_equal(json_get_int(o, "w", 1), 3);
    assert_int_equal(json_get_int(o, "s", 1), 1);
    assert_true(json_get_num(o, "r", 0) == 2.5 && json_get_num(o, "i", 0) == -5);
    assert_true(json_get_bool(o, "b", false) && !json_get_bool(o, "i", false));
    assert_int_equal(json_get_int(NULL, "i", 9), 9);
    yyjson_doc_free(doc);
}

static void assert_member(const char *object, const char *key, const char *expected) {
    struct str s = json_member(str_from(object), key);
    if (!expected) {
        assert_null(s.p);
        return;
    }
    assert_int_equal(s.n, strlen(expected));
    assert_memory_equal(s.p, expected, s.n);
}

static void json_member_finds_the_text_of_a_value(void **state) {
    (void)state;
    const char *o =
        "{\"a\":{\"b\":[1,\"}\\\"]\",{}]},\"b\":\"x\\\\\",\"c\":-1.5e3,\"d\":[],\"\":null}";
    assert_member(o, "a", "{\"b\":[1,\"}\\\"]\",{}]}");
    assert_member(o, "b", "\"x\\\\\"");
    assert_member(o, "c", "-1.5e3");
    assert_member(o, "d", "[]");
    assert_member(o, "", "null");
    assert_member(o, "e", NULL);
    assert_member("{}", "a", NULL);
    static const char *const broken[] = {"",       "{",       "{\"",        "{\"a",
                                         "{\"a\"", "{\"a\":", "{\"a\":\"\\"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) /* nothing is read behind its end */
        (void)json_member(str_from(broken[i]), "b");
}

static void json_written_values_read_back(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    yyjson_mut_doc *m = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *o = yyjson_mut_obj(m);
    yyjson_mut_doc_set_root(m, o);
    json_add_str(m, o, "a", STR("q\"\n"));
    json_add_str(m, o, "none", STR_NULL);
    json_add_raw(m, o, "raw", STR("{\"x\":[1,2]}"));
    json_add_raw(m, o, "bad", STR("{\"x\":"));
    json_add_raw(m, o, "empty", STR("[]"));
    json_write_mut(&b, m);
    assert_string_equal(b.p, "{\"a\":\"q\\\"\\n\",\"none\":null,\"raw\":{\"x\":[1,2]},\"bad\":null,"
                             "\"empty\":[]}");
    yyjson_mut_doc_free(m);
    yyjson_doc *doc = parsed(b.p);
    buf_clear(&b);
    json_write(&b, json_get(yyjson_doc_get_root(doc), "raw"));
    assert_string_equal(b.p, "{\"x\":[1,2]}");
    yyjson_doc_free(doc);
    buf_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_parse_refuses_what_the_rfc_does_not_have),
        cmocka_unit_test(json_parse_error_names_line_and_column),
        cmocka_unit_test(json_parse_limits_depth),
        cmocka_unit_test(json_accessors_check_types),
        cmocka_unit_test(json_member_finds_the_text_of_a_value),
        cmocka_unit_test(json_written_values_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
