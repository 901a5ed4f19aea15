/* What is made of a chat request before the scheduler takes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/chat_prompt.h"
#include "unit/engine/scripted_model.c"

static struct scripted_model model;
static int prompts; /* made by the model */

static enum err counted_prompt(const struct model *m, const struct model_message *messages, int n,
                               bool answer, struct str partial, struct tokens *out,
                               struct errinfo *ei) {
    prompts++;
    return scripted_prompt(m, messages, n, answer, partial, out, ei);
}

static int set_up(void **state) {
    static struct model_ops ops;
    scripted_init(&model);
    ops = *model.base.ops;
    ops.prompt = counted_prompt;
    model.base.ops = &ops;
    prompts = 0;
    return (*state = openings_new()) == NULL;
}

static int tear_down(void **state) {
    openings_free(*state);
    scripted_deinit(&model);
    return 0;
}

static struct model_message role_and_question[] = {{STR("system"), STR("be short")},
                                                   {STR("user"), STR("what is a cat?")}};

static struct chat_request request_of(struct model_message *messages, int n) {
    return (struct chat_request){.messages = messages, .n_messages = n};
}

static void assert_prompt(const struct sched_chat *job, const char *text) {
    assert_int_equal(job->prompt.n, strlen(text));
    for (int i = 0; i < job->prompt.n; i++)
        assert_int_equal(model_token_plain(job->prompt.p[i]), (unsigned char)text[i]);
}

static void prompt_knows_what_its_role_shares(void **state) {
    struct chat_request r = request_of(role_and_question, 2);
    for (int i = 0; i < 2; i++) {
        struct sched_chat job = {0};
        assert_int_equal(chat_prompt_make(&model.base, *state, &r, 0, &job, NULL), ERR_OK);
        assert_prompt(&job, "<system:be short|<user:what is a cat?|<assistant>");
        assert_int_equal(job.prefix, strlen("<system:be short|<user:"));
        chat_prompt_drop(&job);
        assert_int_equal(prompts, i == 0 ? 2 : 3); /* the role's beginning is known then */
    }
    r = request_of(role_and_question + 1, 1);
    struct sched_chat job = {0};
    assert_int_equal(chat_prompt_make(&model.base, *state, &r, 0, &job, NULL), ERR_OK);
    assert_int_equal(job.prefix, 0);
    chat_prompt_drop(&job);
}

static void prompt_bears_its_adapter(void **state) {
    struct chat_request r = request_of(role_and_question, 2);
    struct sched_chat job = {0};
    assert_int_equal(chat_prompt_make(&model.base, *state, &r, 3, &job, NULL), ERR_OK);
    assert_int_equal(job.adapter, 3);
    for (int i = 0; i < job.prompt.n; i++)
        assert_int_equal(job.prompt.p[i] >> MODEL_ADAPTER_SHIFT, 3);
    chat_prompt_drop(&job);
}

/* The last word of what was said so far is said again. */
static void partial_answer_is_continued_from_its_last_word(void **state) {
    struct model_message messages[] = {{STR("user"), STR("hi")}, {STR("assistant"), STR("a c")}};
    struct chat_request r = request_of(messages, 2);
    struct sched_chat job = {0};
    r.proceed = true;
    assert_int_equal(chat_prompt_make(&model.base, *state, &r, 0, &job, NULL), ERR_OK);
    assert_prompt(&job, "<user:hi|<assistant>a");
    assert_int_equal(job.partial, 1);
    assert_int_equal(job.n_forced, 2);
    assert_memory_equal(job.forced, " c", 2);
    chat_prompt_drop(&job);
}

static void format_is_compiled_or_its_fault_told(void **state) {
    struct chat_request r = request_of(role_and_question, 2);
    struct sched_chat job = {0};
    struct errinfo ei = {0};
    r.format = FORMAT_OBJECT;
    assert_int_equal(chat_prompt_make(&model.base, *state, &r, 0, &job, &ei), ERR_OK);
    assert_non_null(job.grammar);
    chat_prompt_drop(&job);
    assert_null(job.grammar);
    r.format = FORMAT_SCHEMA;
    r.schema = STR("{\"type\":\"number\",\"minimum\":5,\"maximum\":4}");
    job = (struct sched_chat){0};
    assert_int_not_equal(chat_prompt_make(&model.base, *state, &r, 0, &job, &ei), ERR_OK);
    assert_string_equal(ei.param, "response_format");
    chat_prompt_drop(&job);
}

/* A role that is known is held, and of the rest the last message is new. */
static void glance_counts_what_is_new(void **state) {
    struct chat_request r = request_of(role_and_question, 2);
    struct sched_glance g = chat_prompt_glance(*state, &r, 8);
    assert_int_equal(g.least, 3);
    assert_int_equal(g.likely, 22 / 4 + 8);
    assert_int_equal(g.most, 22 / 3 + 1);
    struct sched_chat job = {0};
    assert_int_equal(chat_prompt_make(&model.base, *state, &r, 0, &job, NULL), ERR_OK);
    chat_prompt_drop(&job);
    g = chat_prompt_glance(*state, &r, 8);
    assert_int_equal(g.likely, 14 / 4 + 8);
    assert_int_equal(g.most, 14 / 3 + 1);
    r.proceed = true; /* much of it may be held */
    assert_int_equal(chat_prompt_glance(*state, &r, 8).least, 0);
    struct model_message empty = {STR("user"), STR("")};
    r = request_of(&empty, 1);
    assert_int_equal(chat_prompt_glance(*state, &r, 8).least, 1);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(prompt_knows_what_its_role_shares),
        TEST(prompt_bears_its_adapter),
        TEST(partial_answer_is_continued_from_its_last_word),
        TEST(format_is_compiled_or_its_fault_told),
        TEST(glance_counts_what_is_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
