/* Answers that must follow a grammar, through the scheduler with the scripted model (bytes are
 * tokens). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "engine/guide.h"
#include "engine/json_schema.h"
#include "engine/scheduler.h"
#include "unit/engine/scripted_model.c"

struct answer {
    char text[512];
    int n, dones;
    enum sched_end end;
    struct errinfo ei;
};

static void on_event(void *ctx, const struct sched_event *e) {
    struct answer *a = ctx;
    if (!e->done && a->n < (int)sizeof(a->text) - 1)
        a->text[a->n++] = (char)e->token.token;
    a->dones += e->done;
    if (e->done)
        a->end = e->end;
    if (e->done && e->ei)
        a->ei = *e->ei;
}

struct fixture {
    struct scripted_model m;
    struct sched *s;
};

static void setup(struct fixture *f, const char *reply) {
    const struct sched_options o = {.slots = 2,
                                    .prefixes = 2,
                                    .prefix_tokens = 512,
                                    .cells = 512,
                                    .shelf_bytes = 1 << 20,
                                    .max_queued = 4};
    scripted_init(&f->m);
    f->m.reply = reply;
    assert_int_equal(sched_new(&f->m.base, NULL, &o, &f->s), ERR_OK);
}

static void teardown(struct fixture *f) {
    sched_free(f->s);
    scripted_deinit(&f->m);
}

static struct grammar *compile(const char *schema) {
    struct grammar *g = NULL;
    yyjson_doc *doc;
    assert_int_equal(json_parse(str_from(schema), &doc, NULL), ERR_OK);
    assert_int_equal(json_schema_compile(yyjson_doc_get_root(doc), "schema", &g, NULL), ERR_OK);
    yyjson_doc_free(doc);
    return g;
}

static enum err ask(struct fixture *f, struct sched_chat *chat, struct answer *a,
                    const char *schema, const char *prompt, struct errinfo *ei) {
    uint64_t id;
    chat->max_tokens = chat->max_tokens ? chat->max_tokens : 100;
    chat->on_event = on_event;
    chat->ctx = a;
    chat->grammar = compile(schema);
    assert_int_equal(f->m.base.ops->tokenize(&f->m.base, str_from(prompt), false, &chat->prompt),
                     0);
    enum err e = sched_chat_submit(f->s, chat, &id, ei);
    grammar_free(chat->grammar);
    tokens_deinit(&chat->prompt);
    while (!e && sched_round(f->s)) {
    }
    return e;
}

static struct sched_chat greedy(void) {
    struct sched_chat chat = {0};
    sampler_params_init(&chat.sampling);
    chat.sampling.temperature = 0;
    return chat;
}

static const char schema[] =
    "{\"type\":\"object\",\"properties\":{\"ok\":{\"enum\":[\"yes\",\"no\"]}},"
    "\"required\":[\"ok\"]}";

static void what_fits_is_taken_as_the_model_says_it(void **state) {
    struct fixture f;
    struct answer a = {0};
    struct sched_chat chat = greedy();
    (void)state;
    setup(&f, "{\"ok\": \"no\"}and more");
    assert_int_equal(ask(&f, &chat, &a, schema, "hi>", NULL), ERR_OK);
    assert_string_equal(a.text, "{\"ok\": \"no\"}");
    assert_int_equal(a.end, SCHED_STOP);
    assert_int_equal(a.dones, 1);
    teardown(&f);
}

static void a_model_that_wants_something_else_answers_by_the_schema(void **state) {
    struct fixture f;
    (void)state;
    for (int sampled = 0; sampled < 2; sampled++) {
        struct answer a = {0};
        struct sched_chat chat = greedy();
        chat.sampling.temperature = sampled ? 1.0f : 0;
        setup(&f, NULL); /* it says letters */
        assert_int_equal(ask(&f, &chat, &a, schema, "hi>", NULL), ERR_OK);
        assert_int_equal(a.end, SCHED_STOP);
        struct grammar *g = compile(schema);
        struct grammar_state *s = grammar_state_new(g);
        assert_true(grammar_advance(s, str_from(a.text)) && grammar_must_end(s));
        grammar_state_free(s);
        grammar_free(g);
        teardown(&f);
    }
}

static void an_answer_may_not_end_before_it_is_whole(void **state) {
    struct fixture f;
    struct answer a = {0};
    struct sched_chat chat = greedy();
    (void)state;
    setup(&f, "{"); /* then it wants to end */
    chat.max_tokens = 40;
    assert_int_equal(ask(&f, &chat, &a, schema, "hi>", NULL), ERR_OK);
    assert_true(a.n > 5);
    teardown(&f);
}

static void a_partial_answer_goes_on_where_it_stands(void **state) {
    struct fixture f;
    struct answer a = {0};
    struct sched_chat chat = greedy();
    (void)state;
    setup(&f, "{\"ok\":\"yes\"}");
    chat.followed = STR("{\"ok\":\"y");
    chat.partial = 8;
    assert_int_equal(ask(&f, &chat, &a, schema, "hi>{\"ok\":\"y", NULL), ERR_OK);
    assert_string_equal(a.text, "es\"}");
    assert_int_equal(a.end, SCHED_STOP);
    teardown(&f);
}

static void a_partial_answer_beside_the_schema_is_refused(void **state) {
    struct fixture f;
    struct answer a = {0};
    struct errinfo ei = {0};
    struct sched_chat chat = greedy();
    (void)state;
    setup(&f, "x");
    chat.followed = STR("Sure");
    assert_int_equal(ask(&f, &chat, &a, schema, "hi>Sure", &ei), ERR_INVALID);
    assert_string_equal(ei.param, "response_format");
    assert_int_equal(a.dones, 0);
    teardown(&f);
}

static void a_bias_against_all_that_fits_ends_with_an_error(void **state) {
    struct fixture f;
    struct answer a = {0};
    struct sched_chat chat = greedy();
    (void)state;
    setup(&f, "{");
    chat.sampling.n_biases = 1;
    chat.sampling.biases[0] = (struct sampler_bias){'{', -100};
    assert_int_equal(ask(&f, &chat, &a, schema, "hi>", NULL), ERR_OK);
    assert_int_equal(a.end, SCHED_FAILED);
    assert_int_equal(a.ei.code, ERR_INVALID);
    teardown(&f);
}

static void mask_leaves_what_may_come(void **state) {
    struct scripted_model m;
    float logits[SCRIPTED_VOCAB];
    (void)state;
    scripted_init(&m);
    struct vocabulary *v = vocabulary_new(&m.base);
    struct grammar *grammar = compile("{\"enum\":[\"no\",\"yes\",1]}");
    struct guide *g = guide_new(grammar, v);
    memset(logits, 0, sizeof(logits));
    guide_mask(g, logits);
    for (int t = 0; t < SCRIPTED_VOCAB; t++)
        assert_int_equal(logits[t] == 0, t == '"' || t == '1');
    guide_take(g, '1');
    memset(logits, 0, sizeof(logits));
    guide_mask(g, logits);
    for (int t = 0; t < SCRIPTED_VOCAB; t++)
        assert_int_equal(logits[t] == 0, t == SCRIPTED_END);
    assert_true(guide_done(g));
    guide_free(g);
    grammar_free(grammar);
    vocabulary_free(v);
    scripted_deinit(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mask_leaves_what_may_come),
        cmocka_unit_test(what_fits_is_taken_as_the_model_says_it),
        cmocka_unit_test(a_model_that_wants_something_else_answers_by_the_schema),
        cmocka_unit_test(an_answer_may_not_end_before_it_is_whole),
        cmocka_unit_test(a_partial_answer_goes_on_where_it_stands),
        cmocka_unit_test(a_partial_answer_beside_the_schema_is_refused),
        cmocka_unit_test(a_bias_against_all_that_fits_ends_with_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
