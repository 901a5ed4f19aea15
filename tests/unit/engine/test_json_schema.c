/* Schemas and the texts that they allow and refuse, as tables; and that whatever a grammar offers
 * byte by byte is JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/json_schema.h"

static struct grammar *compile(const char *schema, struct errinfo *ei) {
    struct grammar *g = NULL;
    yyjson_doc *doc;
    assert_int_equal(json_parse(str_from(schema), &doc, NULL), ERR_OK);
    if (json_schema_compile(yyjson_doc_get_root(doc), "schema", &g, ei))
        g = NULL;
    yyjson_doc_free(doc);
    return g;
}

/* Byte by byte, as tokens would come; whole only when it may end there. */
static bool meets(const struct grammar *g, const char *text) {
    struct grammar_state *s = grammar_state_new(g);
    bool fine = true;
    for (; *text && fine; text++)
        fine = grammar_advance(s, (struct str){text, 1});
    fine = fine && grammar_may_end(s);
    grammar_state_free(s);
    return fine;
}

static const struct {
    const char *schema, *text;
    bool meets;
} cases[] = {
    {"{}", "{\"a\":[1,2.5e3,null,\"x\\n\\u00e4\"]}", true},
    {"{}", "{\"a\":}", false},
    {"true", "[]", true},
    {"{\"type\":\"boolean\"}", "true", true},
    {"{\"type\":\"boolean\"}", "null", false},
    {"{\"type\":[\"string\",\"null\"]}", "null", true},
    {"{\"type\":[\"string\",\"null\"]}", "\"x\"", true},
    {"{\"type\":[\"string\",\"null\"]}", "1", false},
    {"{\"type\":\"string\"}", "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"", true},
    {"{\"type\":\"string\"}", "\"\xc3\"", false},
    {"{\"type\":\"string\"}", "\"\xed\xa0\x80\"", false}, /* a surrogate in UTF-8 */
    {"{\"type\":\"string\"}", "\"\n\"", false},
    {"{\"type\":\"string\"}", "\"\\ud800\"", false},
    {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}", "\"a\"", false},
    {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}", "\"\xc3\xa4\\n\"", true},
    {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}", "\"abc\"", true},
    {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}", "\"abcd\"", false},
    {"{\"type\":\"string\",\"pattern\":\"^[A-Z]{2}-\\\\d+$\"}", "\"AB-12\"", true},
    {"{\"type\":\"string\",\"pattern\":\"^[A-Z]{2}-\\\\d+$\"}", "\"AB-\"", false},
    {"{\"type\":\"string\",\"pattern\":\"^[A-Z]{2}-\\\\d+$\"}", "\"ab-1\"", false},
    {"{\"pattern\":\"b\"}", "\"abc\"", true},
    {"{\"pattern\":\"b\"}", "\"ac\"", false},
    {"{\"pattern\":\"^(ab|c)*$\"}", "\"ababc\"", true},
    {"{\"pattern\":\"^(ab|c)*$\"}", "\"aba\"", false},
    {"{\"pattern\":\"^(?:a|b)?x\\\"\\\\\\\\$\"}", "\"bx\\\"\\\\\"", true},
    {"{\"pattern\":\"^[^a-c]$\"}", "\"\xc3\xa4\"", true},
    {"{\"pattern\":\"^[^a-c]$\"}", "\"b\"", false},
    {"{\"pattern\":\"^\xc3\xa4+$\"}", "\"\xc3\xa4\xc3\xa4\"", true},
    {"{\"format\":\"date\"}", "\"2026-11-27\"", true},
    {"{\"format\":\"date\"}", "\"2026-13-27\"", false},
    {"{\"format\":\"hostname\",\"type\":\"string\"}", "\"anything\"", true},
    {"{\"type\":\"integer\"}", "-0", true},
    {"{\"type\":\"integer\"}", "01", false},
    {"{\"type\":\"integer\"}", "1.5", false},
    {"{\"type\":\"number\"}", "-1.5e+7", true},
    {"{\"type\":\"integer\",\"minimum\":5,\"maximum\":123}", "5", true},
    {"{\"type\":\"integer\",\"minimum\":5,\"maximum\":123}", "99", true},
    {"{\"type\":\"integer\",\"minimum\":5,\"maximum\":123}", "123", true},
    {"{\"type\":\"integer\",\"minimum\":5,\"maximum\":123}", "4", false},
    {"{\"type\":\"integer\",\"minimum\":5,\"maximum\":123}", "124", false},
    {"{\"type\":\"integer\",\"minimum\":5,\"maximum\":123}", "200", false},
    {"{\"type\":\"integer\",\"minimum\":-12,\"exclusiveMaximum\":0}", "-12", true},
    {"{\"type\":\"integer\",\"minimum\":-12,\"exclusiveMaximum\":0}", "-13", false},
    {"{\"type\":\"integer\",\"minimum\":-12,\"exclusiveMaximum\":0}", "0", false},
    {"{\"type\":\"number\",\"minimum\":0,\"maximum\":1}", "0.75", true},
    {"{\"type\":\"number\",\"minimum\":0,\"maximum\":1}", "1", true},
    {"{\"type\":\"number\",\"minimum\":0,\"maximum\":1}", "1.5", false},
    {"{\"type\":\"number\",\"minimum\":0,\"maximum\":1}", "-0.5", false},
    {"{\"type\":\"number\",\"minimum\":-2.5,\"maximum\":3}", "-1.5", true},
    {"{\"type\":\"number\",\"minimum\":-2.5,\"maximum\":3}", "-2.75", false},
    {"{\"type\":\"number\",\"minimum\":-2.5,\"maximum\":3}", "2.99", true},
    {"{\"enum\":[\"red\",\"green\",\"gray\",1,12,null]}", "\"green\"", true},
    {"{\"enum\":[\"red\",\"green\",\"gray\",1,12,null]}", "\"gree\"", false},
    {"{\"enum\":[\"red\",\"green\",\"gray\",1,12,null]}", "1", true},
    {"{\"enum\":[\"red\",\"green\",\"gray\",1,12,null]}", "12", true},
    {"{\"enum\":[\"red\",1],\"type\":\"string\"}", "1", false},
    {"{\"const\":{\"a\":[1]}}", "{\"a\":[1]}", true},
    {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":2}", "[]",
     false},
    {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":2}",
     "[1, 2]", true},
    {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":2}",
     "[1,2,3]", false},
    {"{\"type\":\"array\",\"maxItems\":0}", "[]", true},
    {"{\"type\":\"array\",\"maxItems\":0}", "[1]", false},
    {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}",
     "[1,\"a\"]", true},
    {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}", "[1]",
     false},
    {"{\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{},\"c\":{\"type\":\"null\"}},"
     "\"required\":[\"b\"]}",
     "{\"a\":1,\"b\":2,\"c\":null}", true},
    {"{\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{},\"c\":{\"type\":\"null\"}},"
     "\"required\":[\"b\"]}",
     "{\n  \"b\": 2\n}", true},
    {"{\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{},\"c\":{\"type\":\"null\"}},"
     "\"required\":[\"b\"]}",
     "{\"b\":2,\"c\":null}", true},
    {"{\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{},\"c\":{\"type\":\"null\"}},"
     "\"required\":[\"b\"]}",
     "{\"a\":1}", false},
    {"{\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{},\"c\":{\"type\":\"null\"}},"
     "\"required\":[\"b\"]}",
     "{,\"b\":2}", false},
    {"{\"properties\":{\"a\":{},\"b\":{}}}", "{}", true},
    {"{\"properties\":{\"a\":{},\"b\":{}}}", "{\"b\":1}", true},
    {"{\"properties\":{\"a\":{},\"b\":{}}}", "{\"z\":1}", false},
    {"{\"properties\":{},\"type\":\"object\"}", "{}", true},
    {"{\"properties\":{},\"type\":\"object\"}", "{\"a\":1}", false},
    {"{\"additionalProperties\":{\"type\":\"integer\"}}", "{\"x\":1,\"y\":2}", true},
    {"{\"additionalProperties\":{\"type\":\"integer\"}}", "{\"x\":\"1\"}", false},
    {"{\"additionalProperties\":{\"type\":\"integer\"},\"maxProperties\":1}", "{\"x\":1,\"y\":2}",
     false},
    {"{\"required\":[\"n\"],\"additionalProperties\":{\"type\":\"null\"}}", "{\"n\":null}", true},
    {"{\"anyOf\":[{\"type\":\"integer\"},{\"const\":\"none\"}]}", "\"none\"", true},
    {"{\"$ref\":\"#/$defs/"
     "n\",\"$defs\":{\"n\":{\"properties\":{\"v\":{\"type\":\"integer\"},\"next\":"
     "{\"anyOf\":[{\"$ref\":\"#/$defs/n\"},{\"type\":\"null\"}]}},\"required\":[\"v\",\"next\"]}}}",
     "{\"v\":1,\"next\":{\"v\":2,\"next\":null}}", true},
    {"{\"$ref\":\"#/$defs/"
     "n\",\"$defs\":{\"n\":{\"properties\":{\"v\":{\"type\":\"integer\"},\"next\":"
     "{\"anyOf\":[{\"$ref\":\"#/$defs/n\"},{\"type\":\"null\"}]}},\"required\":[\"v\",\"next\"]}}}",
     "{\"v\":1,\"next\":{\"v\":2}}", false},
};

static void texts_are_allowed_by_the_schema_or_not(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct errinfo ei = {0};
        struct grammar *g = compile(cases[i].schema, &ei);
        if (!g)
            fail_msg("%s: %s", cases[i].schema, ei.message);
        if (meets(g, cases[i].text) != cases[i].meets)
            fail_msg("%s with %s", cases[i].schema, cases[i].text);
        grammar_free(g);
    }
}

static void schemas_that_cannot_be_kept_are_refused_with_their_place(void **state) {
    static const struct {
        const char *schema, *says;
    } refused[] = {
        {"false", "\"schema\": nothing can meet"},
        {"{\"properties\":{\"age\":{\"multipleOf\":5}}}",
         "\"schema.properties.age.multipleOf\": this keyword"},
        {"{\"type\":\"thing\"}", "\"schema.type\": must be"},
        {"{\"type\":\"string\",\"minLength\":3,\"maxLength\":2}", "nothing can meet it"},
        {"{\"type\":\"integer\",\"minimum\":3,\"maximum\":2}", "nothing can meet it"},
        {"{\"type\":\"integer\",\"minimum\":0.2,\"maximum\":0.8}", "no whole number"},
        {"{\"enum\":[]}", "nothing can meet it"},
        {"{\"enum\":[1],\"type\":\"string\"}", "nothing can meet it"},
        {"{\"properties\":{\"a\":false},\"required\":[\"a\"]}",
         "\"schema.properties.a\": it is required"},
        {"{\"required\":[\"b\"],\"additionalProperties\":false}", "\"b\" is required"},
        {"{\"minItems\":2,\"maxItems\":1}", "nothing can meet it"},
        {"{\"$ref\":\"#/$defs/x\"}", "\"schema.$ref\": there is no such schema"},
        {"{\"$ref\":\"https://example.org/x\"}", "only references within"},
        {"{\"$ref\":\"#\"}", "refers to itself without an end"},
        {"{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"null\"}]}", "refers to itself without an end"},
        {"{\"properties\":{\"x\":{\"$ref\":\"#\"}},\"required\":[\"x\"]}",
         "refers to itself without an end"},
        {"{\"pattern\":\"(?=a)b\"}", "pattern at character"},
        {"{\"pattern\":\"(a*)*\"}", "must not be empty"},
        {"{\"pattern\":\"[a\"}", "not closed"},
        {"{\"pattern\":\"^a|b$\"}", "parentheses"},
        {"{\"properties\":[]}", "must be an object"},
        {"{\"anyOf\":[{}],\"type\":\"string\"}", "is not supported"},
        {"{\"properties\":{\"a\":3}}", "\"schema.properties.a\": a schema must be"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        struct errinfo ei = {0};
        struct grammar *g = compile(refused[i].schema, &ei);
        if (g || !strstr(ei.message, refused[i].says))
            fail_msg("%s: %s", refused[i].schema, g ? "taken" : ei.message);
    }
}

/* Follows a random way, preferring bytes that end things, and gives the whole text. */
static bool random_text(const struct grammar *g, unsigned *seed, char *out, size_t size) {
    static const char closing[] = "\"]}0,:";
    struct grammar_state *s = grammar_state_new(g);
    size_t n = 0;
    bool whole = false;
    while (n + 1 < size && !(whole = grammar_may_end(s) && (n > 40 || grammar_must_end(s)))) {
        unsigned char byte = (unsigned char)rand_r(seed);
        if (n > 60)
            byte = (unsigned char)closing[byte % 6];
        for (int tries = 0; tries < 512; tries++, byte = (unsigned char)rand_r(seed))
            if (grammar_advance(s, (struct str){(char *)&byte, 1})) {
                out[n++] = (char)byte;
                break;
            }
    }
    grammar_state_free(s);
    out[n] = 0;
    return whole;
}

static void whatever_is_offered_is_json(void **state) {
    unsigned seed = 1;
    char text[4096];
    int whole = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct grammar *g = compile(cases[i].schema, NULL);
        for (int j = 0; j < 4; j++) {
            yyjson_doc *doc;
            if (!random_text(g, &seed, text, sizeof(text)))
                continue;
            whole++;
            if (json_parse(str_from(text), &doc, NULL))
                fail_msg("%s gave %s", cases[i].schema, text);
            yyjson_doc_free(doc);
        }
        grammar_free(g);
    }
    assert_true(whole > 150);
}

static void refused_bytes_leave_the_state_where_it_was(void **state) {
    struct grammar *g = compile("{\"const\":\"ab\"}", NULL);
    struct grammar_state *s = grammar_state_new(g);
    (void)state;
    assert_true(grammar_advance(s, STR("\"a")));
    assert_false(grammar_allows(s, STR("c")));
    assert_false(grammar_advance(s, STR("bc")));
    assert_true(grammar_allows(s, STR("b\"")));
    assert_false(grammar_may_end(s));
    assert_true(grammar_advance(s, STR("b\"")));
    assert_true(grammar_may_end(s) && grammar_must_end(s));
    assert_false(grammar_allows(s, STR(" ")));
    grammar_state_free(s);
    grammar_free(g);
}

static void deep_objects_are_offered_to_a_bound_only(void **state) {
    struct grammar *g = NULL;
    (void)state;
    assert_int_equal(json_object_compile(&g, NULL), ERR_OK);
    struct grammar_state *s = grammar_state_new(g);
    int depth = 0;
    while (depth < 1000 && grammar_advance(s, STR("{\"a\":"))) {
        depth++; /* whatever may begin here may also end */
        assert_true(!grammar_allows(s, STR("{")) || grammar_allows(s, STR("{}}")));
        assert_true(!grammar_allows(s, STR("{\"b")) || grammar_allows(s, STR("{\"b\":null}}")));
        assert_true(!grammar_allows(s, STR("[")) || grammar_allows(s, STR("[]}")));
        assert_true(!grammar_allows(s, STR("-")) || grammar_allows(s, STR("-1}")));
    }
    assert_in_range(depth, 30, 64);
    /* What is begun there can be brought to its end. */
    static const struct {
        const char *begun, *whole;
    } ways[] = {{"{", "{}"},
                {"[", "[]"},
                {"\"", "\"\""},
                {"1", "1}"},
                {"-", "-1}"},
                {"{\"", "{\"\":null}"},
                {"\"\\u", "\"\\u0041\""},
                {"1.", "1.5}"}};
    for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++)
        if (grammar_allows(s, str_from(ways[i].begun)))
            assert_true(grammar_allows(s, str_from(ways[i].whole)));
    assert_true(grammar_advance(s, STR("null}")));
    grammar_state_free(s);
    grammar_free(g);
}

/* Counted loops in counted loops have very many ways; what is looked at stays bounded. */
static void ambiguous_patterns_cost_a_bounded_amount(void **state) {
    struct grammar *g =
        compile("{\"pattern\":\"^(.{1,50}){1,50}(.{1,50}){1,50}(.{1,50}){1,50}x$\"}", NULL);
    (void)state;
    assert_non_null(g);
    struct grammar_state *s = grammar_state_new(g);
    assert_true(grammar_advance(s, STR("\"")));
    for (int i = 0; i < 200; i++)
        assert_true(grammar_advance(s, STR("a")));
    assert_true(grammar_work(s) < 200 * (4096 + 128));
    grammar_state_free(s);
    grammar_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_allowed_by_the_schema_or_not),
        cmocka_unit_test(schemas_that_cannot_be_kept_are_refused_with_their_place),
        cmocka_unit_test(whatever_is_offered_is_json),
        cmocka_unit_test(refused_bytes_leave_the_state_where_it_was),
        cmocka_unit_test(ambiguous_patterns_cost_a_bounded_amount),
        cmocka_unit_test(deep_objects_are_offered_to_a_bound_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
