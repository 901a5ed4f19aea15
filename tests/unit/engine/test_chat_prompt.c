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

static int tokenized;        /* bytes */
static bool spaces_are_free; /* a text of them has no token */

static enum err counted_tokenize(const struct model *m, struct str text, bool special,
                                 struct tokens *out) {
    tokenized += (int)text.n;
    return spaces_are_free ? ERR_OK : scripted_tokenize(m, text, special, out);
}

static int set_up(void **state) {
    static struct model_ops ops;
    scripted_init(&model);
    ops = *model.base.ops;
    ops.prompt = counted_prompt;
    ops.tokenize = counted_tokenize;
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
    struct chat_request r = request_of(role_and_question, 2); /* 2 and 5 words */
    struct sched_glance g = chat_prompt_glance(*state, &r, 8);
    assert_int_equal(g.least, 14 / 4);
    assert_int_equal(g.likely, 7 + 8);
    assert_int_equal(g.most, 7 + 7 / 4 + 1);
    struct sched_chat job = {0};
    assert_int_equal(chat_prompt_make(&model.base, *state, &r, 0, &job, NULL), ERR_OK);
    chat_prompt_drop(&job);
    g = chat_prompt_glance(*state, &r, 8);
    assert_int_equal(g.likely, 5 + 8);
    assert_int_equal(g.most, 5 + 5 / 4 + 1);
    r.proceed = true; /* much of it may be held */
    assert_int_equal(chat_prompt_glance(*state, &r, 8).least, 0);
    struct model_message empty = {STR("user"), STR("")};
    r = request_of(&empty, 1);
    assert_int_equal(chat_prompt_glance(*state, &r, 8).least, 1);
}

/* Each digit is a token: of so many bytes a line of numbers has twice the tokens of prose. */
static void glance_sees_what_kind_of_text_it_is(void **state) {
    struct model_message numbers = {STR("user"), STR("1974 2931 5527 8810 1046")};
    struct chat_request r = request_of(&numbers, 1);
    struct sched_glance g = chat_prompt_glance(*state, &r, 0);
    assert_int_equal(g.likely, 20 + 4); /* the spaces before digits, too */
    assert_int_equal(g.most, 24 + 6 + 1);
    assert_int_equal(g.least, 24 / 4); /* a model that joins digits has fewer */
}

/* What is too long to be looked at goes by its bytes, and is not refused at a glance. */
static void glance_at_a_very_long_text_is_short(void **state) {
    struct model_message numbers = {STR("user"), {calloc(1, 1 << 20), 1 << 20}};
    memset((char *)numbers.content.p, '7', 1 << 20);
    struct chat_request r = request_of(&numbers, 1);
    struct sched_glance g = chat_prompt_glance(*state, &r, 0);
    assert_int_equal(g.least, 0);
    assert_int_equal(g.likely, (1 << 20) / 4);
    assert_int_equal(g.most, (1 << 20) / 3 + 1);
    free((char *)numbers.content.p);
}

/* Of a text that is far too long only the beginning is read: its tokens, not its bytes, bound the
 * work. */
static void far_too_long_is_refused_from_its_beginning(void **state) {
    enum { BYTES = 4 << 20 };
    struct model_message long_one[] = {{STR("system"), STR("be short")},
                                       {STR("user"), {malloc(BYTES), BYTES}}};
    struct chat_request r = request_of(long_one, 2);
    struct sched_chat job = {0};
    struct errinfo ei;
    memset((char *)long_one[1].content.p, 'x', BYTES);
    tokenized = 0;
    assert_int_equal(chat_prompt_make(&model.base, *state, &r, 0, &job, &ei), ERR_CONTEXT);
    assert_string_equal(ei.param, "messages");
    assert_non_null(strstr(ei.message, " about 419")); /* a byte is a token here */
    assert_int_equal(prompts, 0);
    assert_true(tokenized < model.base.info.window + (16 << 10));
    chat_prompt_drop(&job);
    free((char *)long_one[1].content.p);
}

/* Where tokens are long, so may messages be: they are read whole. */
static void long_bytes_that_fit_are_read(void **state) {
    struct model_message spaces[] = {{STR("user"), {malloc(64 << 10), 64 << 10}}};
    struct chat_request r = request_of(spaces, 1);
    struct sched_chat job = {0};
    memset((char *)spaces[0].content.p, ' ', 64 << 10);
    spaces_are_free = true;
    assert_int_equal(chat_prompt_make(&model.base, *state, &r, 0, &job, NULL), ERR_OK);
    spaces_are_free = false;
    assert_int_equal(prompts, 1);
    chat_prompt_drop(&job);
    free((char *)spaces[0].content.p);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(prompt_knows_what_its_role_shares),
        TEST(prompt_bears_its_adapter),
        TEST(partial_answer_is_continued_from_its_last_word),
        TEST(format_is_compiled_or_its_fault_told),
        TEST(far_too_long_is_refused_from_its_beginning),
        TEST(long_bytes_that_fit_are_read),
        TEST(glance_counts_what_is_new),
        TEST(glance_sees_what_kind_of_text_it_is),
        TEST(glance_at_a_very_long_text_is_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
