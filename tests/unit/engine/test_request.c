#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/request.h"

static struct arena *arena;

static int setup(void **state) {
    (void)state;
    arena = arena_new(1 << 20);
    return arena ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    arena_free(arena);
    return 0;
}

static enum err chat(const char *body, struct chat_request *r, struct errinfo *ei) {
    *ei = (struct errinfo){0};
    return chat_request_parse(str_from(body), arena, r, ei);
}

#define USER "{\"role\":\"user\",\"content\":\"hi\"}"

static void chat_full_request_is_read(void **state) {
    struct chat_request r;
    struct errinfo ei;
    (void)state;
    assert_int_equal(
        chat("{\"model\":\"m\",\"messages\":[{\"role\":\"developer\",\"content\":\"be kind\"}," USER
             "],"
             "\"stream\":true,\"stream_options\":{\"include_usage\":true},\"max_tokens\":null,"
             "\"max_completion_tokens\":9,\"temperature\":0.5,\"top_p\":0.9,\"seed\":-3,\"stop\":["
             "\"a\",\"b\"],"
             "\"logit_bias\":{\"5\":-100},\"unknown\":[1],\"n\":1,\"user\":\"u\",\"parley\":{"
             "\"conversation\":"
             "\"c\",\"wait\":true,\"other\":1}}",
             &r, &ei),
        ERR_OK);
    assert_true(r.stream && r.include_usage && r.wait && !r.proceed && r.seeded);
    assert_int_equal(r.n_messages, 2);
    assert_true(str_eqz(r.messages[0].role, "system"));
    assert_int_equal(r.max_tokens, 9);
    assert_int_equal(r.n_stops, 2);
    assert_true(fabsf(r.sampling.temperature - 0.5f) < 1e-6f);
    assert_int_equal(r.sampling.biases[0].token, 5);
    assert_true(r.conversation != 0 && r.user != 0 && r.user != r.conversation);
}

static void chat_content_parts_are_joined(void **state) {
    struct chat_request r;
    struct errinfo ei;
    (void)state;
    assert_int_equal(
        chat("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
             "{\"type\":\"text\",\"text\":\"b\\u0000\"}]}]}",
             &r, &ei),
        ERR_OK);
    assert_int_equal(r.messages[0].content.n, 3);
    assert_memory_equal(r.messages[0].content.p, "ab", 3);
}

static void chat_nulls_count_as_absent(void **state) {
    struct chat_request r;
    struct errinfo ei;
    (void)state;
    assert_int_equal(
        chat("{\"model\":null,\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":null}],"
             "\"temperature\":null,\"stop\":null,\"stream\":null,\"stream_options\":null,"
             "\"logit_bias\":null,\"seed\":null,\"n\":null,\"user\":null,\"parley\":null}",
             &r, &ei),
        ERR_OK);
    assert_null(r.model.p);
    assert_false(r.seeded);
}

static void chat_bad_fields_are_refused_by_name(void **state) {
    static const struct {
        const char *rest, *param;
    } cases[] = {
        {"\"temperature\":3", "temperature"},
        {"\"temperature\":\"1\"", "temperature"},
        {"\"top_p\":-0.1", "top_p"},
        {"\"max_tokens\":0", "max_tokens"},
        {"\"max_tokens\":1.5", "max_tokens"},
        {"\"max_tokens\":99999999999", "max_tokens"},
        {"\"n\":2", "n"},
        {"\"stop\":\"\"", "stop"},
        {"\"stop\":[1]", "stop"},
        {"\"stream\":1", "stream"},
        {"\"logit_bias\":[]", "logit_bias"},
        {"\"logit_bias\":{\"x\":1}", "logit_bias"},
        {"\"logit_bias\":{\"1\":101}", "logit_bias"},
        {"\"seed\":1.5", "seed"},
        {"\"top_logprobs\":3", "top_logprobs"},
        {"\"top_logprobs\":21,\"logprobs\":true", "top_logprobs"},
        {"\"response_format\":{\"type\":\"xml\"}", "response_format"},
        {"\"parley\":[]", "parley"},
        {"\"parley\":{\"wait\":1}", "wait"},
        {"\"parley\":{\"continue\":true}", "parley.continue"},
        {"\"model\":5", "model"},
    };
    struct chat_request r;
    struct errinfo ei;
    char body[512];
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        snprintf(body, sizeof(body), "{\"messages\":[" USER "],%s}", cases[i].rest);
        assert_int_equal(chat(body, &r, &ei), ERR_INVALID);
        assert_string_equal(ei.param, cases[i].param);
        assert_true(ei.message[0] != 0);
    }
}

static void chat_bad_messages_are_refused(void **state) {
    static const char *const cases[] = {
        "{}",
        "{\"messages\":[]}",
        "{\"messages\":{}}",
        "{\"messages\":[1]}",
        "{\"messages\":[{\"role\":\"user\"}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":5}]}",
        "{\"messages\":[{\"role\":\"robot\",\"content\":\"x\"}]}",
        "{\"messages\":[{\"content\":\"x\"}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{}}]}"
        "]}",
        "[]",
    };
    struct chat_request r;
    struct errinfo ei;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_int_equal(chat(cases[i], &r, &ei), ERR_INVALID);
    assert_int_equal(chat("{\"messages\":[" USER "]", &r, &ei), ERR_JSON);
}

static void chat_continue_with_partial_answer_is_read(void **state) {
    struct chat_request r;
    struct errinfo ei;
    (void)state;
    assert_int_equal(chat("{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"Hel\"}],"
                          "\"parley\":{\"continue\":true}}",
                          &r, &ei),
                     ERR_OK);
    assert_true(r.proceed);
}

static enum err embed(const char *body, struct embed_request *r, struct errinfo *ei) {
    *ei = (struct errinfo){0};
    return embed_request_parse(str_from(body), arena, r, ei);
}

static void embed_kinds_of_input_are_read(void **state) {
    struct embed_request r;
    struct errinfo ei;
    (void)state;
    assert_int_equal(embed("{\"input\":\"a\"}", &r, &ei), ERR_OK);
    assert_int_equal(r.n_inputs, 1);
    assert_int_equal(embed("{\"input\":[\"a\",\"b\"],\"encoding_format\":\"base64\"}", &r, &ei),
                     ERR_OK);
    assert_int_equal(r.n_inputs, 2);
    assert_true(r.base64);
    assert_int_equal(embed("{\"input\":[1,2,3]}", &r, &ei), ERR_OK);
    assert_int_equal(r.n_inputs, 1);
    assert_int_equal(r.inputs[0].n_tokens, 3);
    assert_int_equal(embed("{\"input\":[[1],[2,3]],\"dimensions\":8}", &r, &ei), ERR_OK);
    assert_int_equal(r.n_inputs, 2);
    assert_int_equal(r.dimensions, 8);
    assert_false(r.layers);
}

static void embed_layers_are_those_of_the_name_alone(void **state) {
    static const struct {
        const char *parley;
        bool layers;
    } cases[] = {
        {"{\"layers_of\":\"parley-guard-6\"}", true},
        {"{\"layers_of\":\"parley-guard-5\"}", false},
        {"{\"layers_of\":\"parley-guard-60\"}", false},
        {"{\"layers_of\":\"\"}", false},
        {"{\"layers\":true}", false}, /* how versions before asked: for whatever there was */
        {"{}", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct embed_request r;
        struct errinfo ei;
        char body[128];
        snprintf(body, sizeof body, "{\"input\":\"a\",\"parley\":%s}", cases[i].parley);
        assert_int_equal(embed(body, &r, &ei), ERR_OK);
        assert_int_equal(r.layers, cases[i].layers);
    }
}

static void embed_bad_input_is_refused(void **state) {
    static const char *const cases[] = {
        "{}",
        "{\"input\":\"\"}",
        "{\"input\":[]}",
        "{\"input\":[[]]}",
        "{\"input\":[-1]}",
        "{\"input\":[1.5]}",
        "{\"input\":[\"a\",[1]],\"encoding_format\":\"int8\"}",
        "{\"input\":{}}",
        "{\"input\":\"a\",\"dimensions\":0}",
        "{\"input\":\"a\",\"parley\":{\"layers_of\":true}}",
    };
    struct embed_request r;
    struct errinfo ei;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_int_equal(embed(cases[i], &r, &ei), ERR_INVALID);
}

static void count_texts_are_read(void **state) {
    struct count_request r;
    struct errinfo ei = {0};
    (void)state;
    assert_int_equal(count_request_parse(STR("{\"texts\":[\"a\",\"\"]}"), arena, &r, &ei), ERR_OK);
    assert_int_equal(r.n_texts, 2);
    assert_int_equal(count_request_parse(STR("{\"texts\":[1]}"), arena, &r, &ei), ERR_INVALID);
    assert_int_equal(count_request_parse(STR("{\"texts\":\"a\"}"), arena, &r, &ei), ERR_INVALID);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(chat_full_request_is_read),     TEST(chat_content_parts_are_joined),
        TEST(chat_nulls_count_as_absent),    TEST(chat_bad_fields_are_refused_by_name),
        TEST(chat_bad_messages_are_refused), TEST(chat_continue_with_partial_answer_is_read),
        TEST(embed_kinds_of_input_are_read), TEST(embed_layers_are_those_of_the_name_alone),
        TEST(embed_bad_input_is_refused),    TEST(count_texts_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
