/* Answers with different adapters (LoRA) share no keys and values, and each gets what its own says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/scheduler.h"
#include "unit/engine/scripted_model.c"

struct answer {
    char text[64];
    int n, cached;
};

static void on_event(void *ctx, const struct sched_event *e) {
    struct answer *a = ctx;
    if (!e->done && a->n < (int)sizeof(a->text) - 1)
        a->text[a->n++] = (char)e->token.token;
    a->cached = e->cached_tokens;
}

static void submit(struct sched *s, struct answer *a, const char *prompt, int adapter) {
    struct sched_chat chat = {
        .max_tokens = 8, .adapter = adapter, .on_event = on_event, .ctx = a, .wait = true};
    uint64_t id;
    sampler_params_init(&chat.sampling);
    chat.sampling.temperature = 0;
    for (; *prompt; prompt++) {
        int32_t token = model_token_with(*prompt, adapter);
        assert_int_equal(tokens_add(&chat.prompt, &token, 1), ERR_OK);
    }
    assert_int_equal(sched_chat_submit(s, &chat, &id, NULL), ERR_OK);
}

static void adapters_share_nothing_and_answer_as_if_alone(void **state) {
    const struct sched_options o = {.slots = 4,
                                    .prefixes = 2,
                                    .prefix_tokens = 512,
                                    .cells = 1024,
                                    .shelf_bytes = 1 << 20,
                                    .max_queued = 8};
    struct scripted_model m;
    struct sched *s;
    struct answer plain = {0}, adapted = {0}, again = {0}, next = {0}, beside[2] = {0};
    (void)state;
    scripted_init(&m);
    assert_int_equal(sched_new(&m.base, NULL, &o, &s), ERR_OK);
    submit(s, &plain, "the same prompt>", 0);
    while (sched_round(s)) {
    }
    submit(s, &adapted, "the same prompt>", 1);
    while (sched_round(s)) {
    }
    assert_int_equal(adapted.cached, 0);
    assert_string_not_equal(plain.text,
                            adapted.text); /* the scripted model looks at the whole token */
    submit(s, &again, "the same prompt>", 1);
    while (sched_round(s)) {
    }
    assert_int_equal(again.cached, (int)strlen("the same prompt>") - 1);
    assert_string_equal(adapted.text, again.text);
    char longer[64]; /* the answer's own keys and values are found again, too */
    snprintf(longer, sizeof(longer), "the same prompt>%s and", again.text);
    submit(s, &next, longer, 1);
    while (sched_round(s)) {
    }
    assert_in_range(next.cached, strlen("the same prompt>") + 6, strlen(longer));
    submit(s, &beside[0], "the same prompt>", 0);
    submit(s, &beside[1], "the same prompt>", 1);
    while (sched_round(s)) {
    }
    assert_string_equal(beside[0].text, plain.text);
    assert_string_equal(beside[1].text, adapted.text);
    sched_free(s);
    scripted_deinit(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adapters_share_nothing_and_answer_as_if_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
