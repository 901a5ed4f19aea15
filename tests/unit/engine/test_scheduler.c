#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "engine/sched_internal.h"
#include "engine/scheduler.h"
#include "unit/engine/scripted_model.c"

struct caller { /* of one request */
    char text[512];
    int n, dones;
    enum sched_end end;
    enum err err;
    int prompt_tokens, cached_tokens;
    int forced; /* bytes */
    int order;  /* in which it got its first token */
};

static int order;

static void on_event(void *ctx, const struct sched_event *e) {
    struct caller *c = ctx;
    assert_int_equal(c->dones, 0);
    if (e->done) {
        c->dones++;
        c->end = e->end;
        c->err = e->ei ? e->ei->code : ERR_OK;
        c->prompt_tokens = e->prompt_tokens;
        c->cached_tokens = e->cached_tokens;
        return;
    }
    if (c->n == 0)
        c->order = ++order;
    c->forced += e->forced;
    if (c->n < (int)sizeof(c->text) - 1)
        c->text[c->n++] = (char)e->token.token;
}

struct fixture {
    struct scripted_model m;
    struct sched *s;
};

static struct sched_options options(void) {
    return (struct sched_options){.slots = 4,
                                  .prefixes = 2,
                                  .prefix_tokens = 128,
                                  .cells = 4 * SCRIPTED_WINDOW,
                                  .shelf_bytes = 1 << 20,
                                  .max_queued = 8};
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof(*f));
    struct sched_options o = options();
    scripted_init(&f->m);
    order = 0;
    assert_int_equal(sched_new(&f->m.base, &f->m.base, &o, &f->s), ERR_OK);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    sched_free(f->s);
    scripted_deinit(&f->m);
    free(f);
    return 0;
}

static uint64_t ask_with(struct fixture *f, struct caller *c, const char *prompt, int max,
                         uint64_t conversation, uint64_t user, int prefix) {
    struct sched_chat chat = {.max_tokens = max,
                              .conversation = conversation,
                              .user = user,
                              .prefix = prefix,
                              .on_event = on_event,
                              .ctx = c};
    struct errinfo ei = {0};
    uint64_t id = 0;
    sampler_params_init(&chat.sampling);
    chat.sampling.temperature = 0;
    assert_int_equal(f->m.base.ops->tokenize(&f->m.base, str_from(prompt), false, &chat.prompt), 0);
    assert_int_equal(sched_chat_submit(f->s, &chat, &id, &ei), ERR_OK);
    return id;
}

static uint64_t ask(struct fixture *f, struct caller *c, const char *prompt, int max) {
    return ask_with(f, c, prompt, max, 0, 0, 0);
}

static void run_all(struct fixture *f) {
    while (sched_round(f->s))
        ;
}

/* What the model says to a prompt when nothing is cached. */
static void fresh_answer(const char *prompt, int max, char *out) {
    struct fixture f;
    struct caller c = {0};
    struct sched_options o = options();
    scripted_init(&f.m);
    assert_int_equal(sched_new(&f.m.base, NULL, &o, &f.s), ERR_OK);
    ask(&f, &c, prompt, max);
    run_all(&f);
    strcpy(out, c.text);
    sched_free(f.s);
    scripted_deinit(&f.m);
}

static void chat_with_reply_ends_with_stop(void **state) {
    struct fixture *f = *state;
    struct caller c = {0};
    f->m.reply = "hello";
    ask(f, &c, "hi>", 20);
    run_all(f);
    assert_string_equal(c.text, "hello");
    assert_int_equal(c.dones, 1);
    assert_int_equal(c.end, SCHED_STOP);
    assert_int_equal(c.prompt_tokens, 3);
}

static void chat_past_max_tokens_ends_with_length(void **state) {
    struct fixture *f = *state;
    struct caller c = {0};
    ask(f, &c, "hi>", 7);
    run_all(f);
    assert_int_equal(c.n, 7);
    assert_int_equal(c.end, SCHED_LENGTH);
}

static void chat_at_window_ends_with_length(void **state) {
    struct fixture *f = *state;
    struct caller c = {0};
    char prompt[SCRIPTED_WINDOW];
    memset(prompt, 'x', sizeof(prompt));
    prompt[sizeof(prompt) - 1] = 0; /* one token less than the window */
    ask(f, &c, prompt, 1000);
    run_all(f);
    assert_int_equal(c.end, SCHED_LENGTH);
    assert_int_equal(c.n, 2); /* the last one needs no room: it is not computed */
}

static void submit_prompt_of_window_is_refused_with_numbers(void **state) {
    struct fixture *f = *state;
    struct caller c = {0};
    struct sched_chat chat = {.max_tokens = 1, .on_event = on_event, .ctx = &c};
    struct errinfo ei = {0};
    uint64_t id;
    sampler_params_init(&chat.sampling);
    assert_int_equal(tokens_add(&chat.prompt, NULL, SCRIPTED_WINDOW), ERR_OK);
    assert_int_equal(sched_chat_submit(f->s, &chat, &id, &ei), ERR_CONTEXT);
    assert_non_null(strstr(ei.message, "256"));
    tokens_deinit(&chat.prompt);
    assert_int_equal(c.dones, 0);
}

static void submit_past_queue_is_refused_with_retry_after(void **state) {
    struct fixture *f = *state;
    struct caller c[9] = {0};
    struct errinfo ei = {0};
    uint64_t id;
    for (int i = 0; i < 8; i++)
        ask(f, &c[i], "hi>", 2);
    struct sched_chat chat = {.max_tokens = 1, .on_event = on_event, .ctx = &c[8]};
    sampler_params_init(&chat.sampling);
    assert_int_equal(tokens_add(&chat.prompt, (int32_t[]){'h', 'i', '>'}, 3), ERR_OK);
    assert_int_equal(sched_chat_submit(f->s, &chat, &id, &ei), ERR_OVERLOADED);
    assert_true(ei.retry_after_ms >= 100);
    chat.wait = true;
    assert_int_equal(sched_chat_submit(f->s, &chat, &id, &ei), ERR_OK);
    run_all(f);
    for (int i = 0; i < 9; i++)
        assert_int_equal(c[i].dones, 1);
}

static void many_chats_answer_as_if_alone(void **state) {
    struct fixture *f = *state;
    struct caller c[8] = {0};
    char prompt[8][64], expected[512];
    for (int i = 0; i < 8; i++) {
        snprintf(prompt[i], sizeof(prompt[i]), "<system:role|<user:question %d of many>", i);
        ask(f, &c[i], prompt[i], 5 + i);
    }
    run_all(f);
    for (int i = 0; i < 8; i++) {
        fresh_answer(prompt[i], 5 + i, expected);
        assert_string_equal(c[i].text, expected);
        assert_int_equal(c[i].end, SCHED_LENGTH);
    }
}

static void second_turn_computes_only_new_tokens(void **state) {
    struct fixture *f = *state;
    struct caller a = {0}, b = {0};
    char turn2[1024], expected[512];
    ask_with(f, &a, "<system:role|<user:first>", 10, 7, 0, 13);
    run_all(f);
    int before = f->m.computed;
    snprintf(turn2, sizeof(turn2), "<system:role|<user:first>%s|<user:more>", a.text);
    ask_with(f, &b, turn2, 10, 7, 0, 13);
    run_all(f);
    /* All of turn 1 but its last token, which was never computed, is there. */
    assert_int_equal(b.cached_tokens, (int)strlen("<system:role|<user:first>") + 9);
    assert_int_equal(f->m.computed - before, (int)strlen(turn2) - b.cached_tokens + 9);
    fresh_answer(turn2, 10, expected);
    assert_string_equal(b.text, expected);
}

static void role_prefix_is_shared_and_outlives_its_slots(void **state) {
    struct fixture *f = *state;
    char prompt[64], expected[512];
    const int prefix = (int)strlen("<system:role|");
    struct caller first = {0}, later = {0};
    ask_with(f, &first, "<system:role|<user:first>", 4, 1, 0, prefix);
    run_all(f);
    for (int i = 0; i < 6; i++) { /* others push it out of every slot */
        struct caller c = {0};
        snprintf(prompt, sizeof(prompt), "%d a prompt that has nothing in common>", i);
        ask_with(f, &c, prompt, 4, (uint64_t)(10 + i), 0, 0);
        run_all(f);
    }
    ask_with(f, &later, "<system:role|<user:second>", 4, 99, 0, prefix);
    run_all(f);
    assert_true(later.cached_tokens >= prefix);
    fresh_answer("<system:role|<user:second>", 4, expected);
    assert_string_equal(later.text, expected);
}

static void conversation_without_slot_comes_back_from_shelf(void **state) {
    struct fixture *f = *state;
    char long_prompt[128], turn2[1024], other[64], expected[512];
    struct caller a = {0}, b = {0};
    memset(long_prompt, 'q', 100);
    strcpy(long_prompt + 100, ">");
    ask_with(f, &a, long_prompt, 5, 1, 0, 0);
    run_all(f);
    for (int i = 0; i < 5; i++) {
        struct caller c = {0};
        snprintf(other, sizeof(other), "%d other>", i);
        ask_with(f, &c, other, 4, (uint64_t)(10 + i), 0, 0);
        run_all(f);
    }
    assert_true(f->m.saves > 0);
    snprintf(turn2, sizeof(turn2), "%s%s|more>", long_prompt, a.text);
    ask_with(f, &b, turn2, 5, 1, 0, 0);
    run_all(f);
    assert_int_equal(f->m.loads, 1);
    assert_int_equal(b.cached_tokens, 105);
    fresh_answer(turn2, 5, expected);
    assert_string_equal(b.text, expected);
}

/* A conversation of 105 tokens, pushed to the shelf by others that then fill the cells. */
static void fill_cells_with_others(struct fixture *f, struct caller *c, char *ret_turn2) {
    struct sched_options o = options();
    char text[128];
    sched_free(f->s);
    o.cells = 300;
    assert_int_equal(sched_new(&f->m.base, NULL, &o, &f->s), ERR_OK);
    memset(text, 'q', 100);
    strcpy(text + 100, ">");
    ask_with(f, c, text, 5, 1, 0, 0);
    run_all(f);
    snprintf(ret_turn2, 256, "%s%s|more>", text, c->text);
    for (int i = 0; i < 5; i++) {
        struct caller other = {0};
        memset(text, '0' + i, 90);
        strcpy(text + 90, ">");
        ask_with(f, &other, text, 4, (uint64_t)(10 + i), 0, 0);
        run_all(f);
    }
}

static void conversation_comes_back_from_shelf_when_cells_are_full(void **state) {
    struct fixture *f = *state;
    char turn2[256], expected[512];
    struct caller a = {0}, b = {0};
    fill_cells_with_others(f, &a, turn2);
    f->m.room = 300;
    ask_with(f, &b, turn2, 5, 1, 0, 0);
    run_all(f);
    assert_int_equal(f->m.loads, 1);
    assert_int_equal(b.cached_tokens, 105);
    fresh_answer(turn2, 5, expected);
    assert_string_equal(b.text, expected);
}

static void state_that_cannot_be_loaded_stays_on_the_shelf(void **state) {
    struct fixture *f = *state;
    char turn2[256], expected[512];
    struct caller a = {0}, b = {0}, c = {0};
    fill_cells_with_others(f, &a, turn2);
    f->m.room = 1;
    f->m.fail_at = f->m.steps + 1; /* so that nothing of it stays in the slot */
    f->m.fail_with = ERR_INTERNAL;
    ask_with(f, &b, turn2, 5, 1, 0, 0);
    run_all(f);
    assert_int_equal(b.end, SCHED_FAILED);
    assert_int_equal(b.cached_tokens, 0);
    f->m.room = 0;
    ask_with(f, &c, turn2, 5, 1, 0, 0);
    run_all(f);
    assert_int_equal(f->m.loads, 1);
    assert_int_equal(c.cached_tokens, 105);
    fresh_answer(turn2, 5, expected);
    assert_string_equal(c.text, expected);
}

static void model_that_cannot_cut_answers_the_same(void **state) {
    struct fixture *f = *state;
    char expected[512];
    struct caller a = {0}, b = {0};
    f->m.uncut = true;
    ask_with(f, &a, "<system:role|<user:first>", 4, 1, 0, 13);
    run_all(f);
    ask_with(f, &b, "<system:role|<user:other>", 4, 1, 0, 13);
    run_all(f);
    fresh_answer("<system:role|<user:other>", 4, expected);
    assert_string_equal(b.text, expected);
}

static void short_prompt_goes_before_long_one(void **state) {
    struct fixture *f = *state;
    struct caller big = {0}, small = {0};
    char prompt[240];
    memset(prompt, 'x', sizeof(prompt) - 1);
    prompt[sizeof(prompt) - 1] = 0;
    ask(f, &big, prompt, 3);
    ask(f, &small, "hi>", 3);
    run_all(f);
    assert_true(small.order < big.order);
    assert_int_equal(big.dones + small.dones, 2);
}

/* A token of a prompt takes 5 ms, so the long one takes 1.2 s and the short ones 0.35. */
static void long_prompt_is_overtaken_for_as_long_as_it_takes_itself(void **state) {
    struct fixture *f = *state;
    struct caller running = {0}, big = {0}, small[3] = {0};
    char prompt[240], text[80];
    memset(prompt, 'x', sizeof(prompt) - 1);
    prompt[sizeof(prompt) - 1] = 0;
    clock_test_set(1, 1);
    ask(f, &running, "hi>", 100);
    sched_round(f->s);
    ask(f, &big, prompt, 3);
    for (int i = 0; i < 3; i++) {
        sched_round(f->s);
        memset(text, 'a' + i, 70);
        text[70] = 0;
        ask(f, &small[i], text, 1);
        if (i == 2)
            break;
        while (small[i].dones == 0)
            sched_round(f->s);
        assert_int_equal(big.n, 0);
        clock_test_advance(i == 0 ? 500 : 400);
    }
    while (big.n == 0)
        sched_round(f->s);
    assert_int_equal(small[2].dones, 0); /* it came too late to go before */
    run_all(f);
    clock_test_end();
    assert_int_equal(big.dones + small[2].dones, 2);
}

static void long_prompt_is_cut_in_chunks_beside_answers(void **state) {
    struct fixture *f = *state;
    struct caller running = {0}, big = {0};
    char prompt[200];
    memset(prompt, 'x', sizeof(prompt) - 1);
    prompt[sizeof(prompt) - 1] = 0;
    ask(f, &running, "hi>", 60);
    sched_round(f->s);
    f->m.largest = 0;
    ask(f, &big, prompt, 3);
    run_all(f);
    assert_true(f->m.largest < 100);
    assert_int_equal(big.dones, 1);
}

static void user_with_many_requests_does_not_hold_up_another(void **state) {
    struct fixture *f = *state;
    struct caller flood[7] = {0}, one = {0};
    for (int i = 0; i < 7; i++)
        ask_with(f, &flood[i], "flood>", 30, 0, 1, 0);
    sched_round(f->s); /* four of them have the slots */
    ask_with(f, &one, "one>", 3, 0, 2, 0);
    run_all(f);
    int before = 0;
    for (int i = 0; i < 7; i++)
        before += flood[i].order < one.order;
    assert_int_equal(before, 4);
}

static void request_waits_until_its_worst_case_fits(void **state) {
    struct fixture *f = *state;
    struct caller c[5] = {0};
    sched_free(f->s);
    struct sched_options o = options();
    o.cells = SCRIPTED_WINDOW; /* room for one that may fill its window */
    assert_int_equal(sched_new(&f->m.base, NULL, &o, &f->s), ERR_OK);
    for (int i = 0; i < 5; i++)
        ask(f, &c[i], "hi>", 200);
    sched_round(f->s);
    assert_int_equal(f->m.largest, 3);
    run_all(f);
    for (int i = 0; i < 5; i++)
        assert_int_equal(c[i].n, 200);
}

static void cancel_waiting_and_running_frees_both(void **state) {
    struct fixture *f = *state;
    struct caller c[6] = {0};
    uint64_t id[6];
    for (int i = 0; i < 6; i++)
        id[i] = ask(f, &c[i], "hi>", 100);
    sched_round(f->s);
    sched_cancel(f->s, id[0]);
    sched_cancel(f->s, id[5]);
    sched_cancel(f->s, 12345);
    sched_round(f->s);
    assert_int_equal(c[0].end, SCHED_CANCELLED);
    assert_int_equal(c[5].end, SCHED_CANCELLED);
    assert_int_equal(c[5].n, 0);
    assert_true(c[4].n > 0); /* it got the slot in the same round */
    run_all(f);
    for (int i = 0; i < 6; i++)
        assert_int_equal(c[i].dones, 1);
}

static void step_failure_ends_its_requests_and_no_others(void **state) {
    struct fixture *f = *state;
    struct caller a = {0}, b = {0};
    char expected[512];
    f->m.fail_at = 3;
    f->m.fail_with = ERR_INTERNAL;
    ask(f, &a, "first>", 10);
    run_all(f);
    assert_int_equal(a.end, SCHED_FAILED);
    assert_int_equal(a.err, ERR_INTERNAL);
    ask(f, &b, "first>", 10);
    run_all(f);
    fresh_answer("first>", 10, expected);
    assert_string_equal(b.text, expected);
}

static void step_without_room_evicts_and_tries_again(void **state) {
    struct fixture *f = *state;
    struct caller a = {0}, b = {0};
    ask(f, &a, "first>", 3);
    run_all(f);
    f->m.fail_at = f->m.steps + 1;
    f->m.fail_with = ERR_OVERLOADED;
    ask(f, &b, "second>", 3);
    run_all(f);
    assert_int_equal(b.end, SCHED_LENGTH);
}

static void free_with_work_ends_it_as_cancelled(void **state) {
    struct fixture *f = *state;
    struct caller c[6] = {0};
    struct sched_options o = options();
    for (int i = 0; i < 6; i++)
        ask(f, &c[i], "hi>", 100);
    sched_round(f->s);
    sched_free(f->s);
    for (int i = 0; i < 6; i++)
        assert_int_equal(c[i].end, SCHED_CANCELLED);
    assert_int_equal(sched_new(&f->m.base, NULL, &o, &f->s), ERR_OK);
}

static void forced_beginning_is_said_first(void **state) {
    struct fixture *f = *state;
    struct caller c = {0};
    struct sched_chat chat = {.max_tokens = 8, .on_event = on_event, .ctx = &c};
    struct errinfo ei;
    uint64_t id;
    sampler_params_init(&chat.sampling);
    chat.sampling.temperature = 0;
    memcpy(chat.forced, "WOR", 3);
    chat.n_forced = 3;
    assert_int_equal(f->m.base.ops->tokenize(&f->m.base, STR("hi>"), false, &chat.prompt), 0);
    assert_int_equal(sched_chat_submit(f->s, &chat, &id, &ei), ERR_OK);
    run_all(f);
    assert_memory_equal(c.text, "WOR", 3);
    assert_int_equal(c.n, 8);
    assert_int_equal(c.forced, 3);
    assert_in_range(c.text[3], 'a', 'z');
}

static void forced_beginning_that_no_token_fits_ends(void **state) {
    struct fixture *f = *state;
    struct caller c = {0};
    struct sched_chat chat = {.max_tokens = 8, .on_event = on_event, .ctx = &c};
    struct errinfo ei;
    uint64_t id;
    f->m.base.info.vocabulary = 128; /* bytes above are in no token */
    sampler_params_init(&chat.sampling);
    chat.sampling.temperature = 0;
    memcpy(chat.forced, "W\xC3\xA9", 3);
    chat.n_forced = 3;
    assert_int_equal(f->m.base.ops->tokenize(&f->m.base, STR("hi>"), false, &chat.prompt), 0);
    assert_int_equal(sched_chat_submit(f->s, &chat, &id, &ei), ERR_OK);
    run_all(f);
    assert_int_equal(c.n, 8);
    assert_int_equal(c.text[0], 'W');
    assert_in_range(c.text[1], 'a', 'z');
    assert_int_equal(c.forced, 1);
}

struct embed_caller {
    bool background;
    int texts;
    int dones;
    enum err err;
    float first[8];
};

static void on_embed(void *ctx, enum err e, float *vectors, const struct errinfo *ei) {
    struct embed_caller *c = ctx;
    (void)ei;
    c->dones++;
    c->err = e;
    for (int i = 0; vectors && i < c->texts; i++)
        c->first[i] = vectors[i * 4];
    free(vectors);
}

/* n texts of least, least + 1, … tokens. */
static uint64_t submit_embed(struct fixture *f, struct embed_caller *c, int n, int least,
                             struct errinfo *ret_refused) {
    struct sched_embed e = {.n = n, .background = c->background, .on_done = on_embed, .ctx = c};
    struct errinfo ei = {0};
    uint64_t id = 0;
    c->texts = n;
    e.texts = calloc((size_t)n, sizeof(*e.texts));
    for (int i = 0; i < n; i++)
        assert_int_equal(tokens_add(&e.texts[i], NULL, least + i), ERR_OK);
    enum err err = sched_embed_submit(f->s, &e, &id, &ei);
    assert_int_equal(err, ret_refused ? ERR_OVERLOADED : ERR_OK);
    for (int i = 0; err && i < n; i++)
        tokens_deinit(&e.texts[i]);
    free(e.texts);
    if (ret_refused)
        *ret_refused = ei;
    return id;
}

static void embeddings_keep_their_order_over_batches(void **state) {
    struct fixture *f = *state;
    struct embed_caller c = {0};
    submit_embed(f, &c, 8, 60, NULL);
    run_all(f);
    assert_int_equal(c.dones, 1);
    for (int i = 0; i < 8; i++)
        assert_int_equal((int)c.first[i], 60 + i);
    assert_true(f->m.steps > 1);
}

static void embeddings_of_documents_let_people_go_first(void **state) {
    struct fixture *f = *state;
    struct embed_caller documents = {.background = true}, person = {0};
    submit_embed(f, &documents, 8, 60, NULL);
    sched_round(f->s);
    assert_int_equal(documents.dones, 0);
    submit_embed(f, &person, 1, 20, NULL);
    sched_round(f->s);
    assert_int_equal(person.dones, 1);
    assert_int_equal(documents.dones, 0);
    run_all(f);
    assert_int_equal(documents.dones, 1);
    for (int i = 0; i < 8; i++)
        assert_int_equal((int)documents.first[i], 60 + i);
}

/* After a person's text the documents' wait for the question that follows, and go on by themselves
 * when none does. */
static void embeddings_of_documents_wait_for_the_question_that_follows(void **state) {
    struct fixture *f = *state;
    struct embed_caller documents = {.background = true}, person = {0};
    clock_test_set(clock_mono_ns(), 0); /* however slow the machine is, they have not waited long */
    f->s->o.hold_ms = 3600000;
    submit_embed(f, &person, 1, 20, NULL);
    submit_embed(f, &documents, 2, 60, NULL);
    run_all(f);
    assert_int_equal(person.dones, 1);
    assert_int_equal(documents.dones, 0);
    assert_int_equal(f->s->rest_ns, f->s->hold_ns);
    f->s->hold_ns = clock_mono_ns();
    run_all(f);
    assert_int_equal(documents.dones, 1);
    clock_test_end();
}

static struct {
    struct sched *s;
    struct model_ops ops;
    enum err (*plain)(struct model *m, const struct tokens *texts, int n, float *ret,
                      struct errinfo *ei);
    bool yields; /* the last batch would have ended for somebody who came */
} watched;

static enum err watched_embed(struct model *m, const struct tokens *texts, int n, float *ret,
                              struct errinfo *ei) {
    watched.yields = watched.s->yields;
    return watched.plain(m, texts, n, ret, ei);
}

static void watch(struct fixture *f) {
    watched.s = f->s;
    watched.ops = *f->m.base.ops;
    watched.plain = watched.ops.embed;
    watched.ops.embed = watched_embed;
    f->m.base.ops = &watched.ops;
}

/* Beside answers a batch of the background is due after so many times what its last one took; while
 * somebody waits for a first word only when it has waited for two seconds. */
static void embeddings_of_documents_have_a_part_of_the_time(void **state) {
    struct fixture *f = *state;
    struct embed_caller documents = {.background = true};
    struct caller c = {0};
    clock_test_set(clock_mono_ns(), 0);
    watch(f);
    uint64_t id = ask(f, &c, "0123456789", 200);
    sched_round(f->s); /* its first word */
    assert_int_equal(c.n, 1);
    f->s->background_ns = clock_mono_ns();
    f->s->background_took_ns = 10 * MS;
    submit_embed(f, &documents, 1, 90, NULL);
    clock_test_advance(89);
    sched_round(f->s);
    assert_int_equal(documents.dones, 0);
    clock_test_advance(2);
    sched_round(f->s);
    assert_int_equal(documents.dones, 1);
    assert_true(watched.yields);
    submit_embed(f, &documents, 1, 90, NULL);
    f->s->running->answer_tokens = 0; /* as if it waited for its first word still */
    clock_test_advance(1999);
    sched_round(f->s);
    assert_int_equal(documents.dones, 1);
    f->s->running->answer_tokens = 0;
    clock_test_advance(1);
    sched_round(f->s);
    assert_int_equal(documents.dones, 2);
    assert_false(watched.yields);
    f->s->background_took_ns = 1000 * MS;
    submit_embed(f, &documents, 1, 90, NULL);
    clock_test_advance(1999);
    sched_round(f->s);
    assert_int_equal(documents.dones, 2);
    clock_test_advance(1);
    sched_round(f->s);
    assert_int_equal(documents.dones, 3);
    sched_cancel(f->s, id);
    run_all(f);
    clock_test_end();
}

/* Nobody's first word waits for the texts of an answer that is checked; those wait for some time
 * only. */
static void embeddings_of_a_list_let_first_words_go_first(void **state) {
    struct fixture *f = *state;
    struct embed_caller list = {0}, single = {0};
    struct caller c = {0};
    clock_test_set(clock_mono_ns(), 0);
    ask(f, &c, "0123456789", 4);
    sched_round(f->s);
    assert_int_equal(c.n, 1);
    f->s->running->answer_tokens = 0; /* as if it waited for its first word still */
    submit_embed(f, &list, 2, 20, NULL);
    submit_embed(f, &single, 1, 20, NULL);
    sched_round(f->s);
    assert_int_equal(single.dones, 1);
    assert_int_equal(list.dones, 0);
    f->s->embed_after_ns = f->s->text_after_ns = 0;
    f->s->running->answer_tokens = 0;
    clock_test_advance(299);
    sched_round(f->s);
    assert_int_equal(list.dones, 0);
    f->s->running->answer_tokens = 0;
    clock_test_advance(2);
    sched_round(f->s);
    assert_int_equal(list.dones, 1);
    submit_embed(f, &list, 2, 20, NULL);
    run_all(f);
    assert_int_equal(list.dones, 2);
    assert_int_equal(c.dones, 1);
    clock_test_end();
}

/* Nor do documents take the place of a list that stands back. */
static void embeddings_of_documents_do_not_overtake_a_list(void **state) {
    struct fixture *f = *state;
    struct embed_caller list = {0}, documents = {.background = true};
    struct caller c = {0};
    clock_test_set(clock_mono_ns(), 0);
    ask(f, &c, "0123456789", 4);
    sched_round(f->s);
    f->s->running->answer_tokens = 0; /* as if it waited for its first word still */
    submit_embed(f, &documents, 1, 20, NULL);
    submit_embed(f, &list, 2, 20, NULL);
    sched_round(f->s);
    assert_int_equal(documents.dones + list.dones, 0);
    run_all(f);
    assert_int_equal(documents.dones, 1);
    assert_int_equal(list.dones, 1);
    clock_test_end();
}

static void embeddings_past_the_queue_are_refused_with_retry_after(void **state) {
    struct fixture *f = *state;
    struct embed_caller big = {0}, list = {0}, single = {0}, later = {0};
    struct errinfo ei;
    submit_embed(f, &big, 8, 10000, NULL); /* alone it may be longer than the queue */
    submit_embed(f, &list, 2, 10, &ei);
    assert_true(ei.retry_after_ms >= 1000);
    submit_embed(f, &single, 1, 10, NULL);
    run_all(f);
    submit_embed(f, &later, 2, 10, NULL);
    run_all(f);
    assert_int_equal(list.dones, 0);
    assert_int_equal(big.dones + single.dones + later.dones, 3);
}

static void embedding_cancelled_between_batches_ends_once(void **state) {
    struct fixture *f = *state;
    struct embed_caller c = {0}, other = {0};
    struct errinfo ei;
    uint64_t id = submit_embed(f, &c, 8, 9000, NULL);
    sched_round(f->s);
    sched_cancel(f->s, id);
    sched_round(f->s);
    assert_int_equal(c.dones, 1);
    assert_int_equal(c.err, ERR_CANCELLED);
    assert_int_equal(f->m.steps, 1);
    submit_embed(f, &other, 8, 9000, NULL); /* what it took of the queue is free again */
    submit_embed(f, &c, 2, 10, &ei);
    run_all(f);
    assert_int_equal(other.dones, 1);
    assert_int_equal(c.dones, 1);
}

/* ---- with the compute thread ---- */

static void *run(void *arg) {
    sched_run(arg);
    return NULL;
}

static bool should_abort(void *ctx) {
    return sched_should_abort(ctx);
}

static void cancel_within_step_aborts_it(void **state) {
    struct fixture *f = *state;
    struct caller a = {0}, b = {0};
    char expected[512];
    pthread_t thread;
    f->m.gate = true;
    f->m.abort = should_abort;
    f->m.abort_ctx = f->s;
    uint64_t id = ask(f, &a, "first>", 50);
    pthread_create(&thread, NULL, run, f->s);
    scripted_wait_entered(&f->m, 1);
    sched_cancel(f->s, id); /* the gate stays shut: only the abort lets the step end */
    ask(f, &b, "first>", 3);
    scripted_wait_entered(&f->m, 2);
    for (int i = 0; i < 10; i++)
        scripted_open_gate(&f->m);
    scripted_wait_entered(&f->m, 4);
    sched_stop(f->s);
    pthread_join(thread, NULL);
    sched_free(f->s);
    f->s = NULL;
    assert_int_equal(a.end, SCHED_CANCELLED);
    assert_int_equal(a.n, 0);
    assert_int_equal(b.dones, 1);
    fresh_answer("first>", 3, expected);
    assert_memory_equal(b.text, expected, (size_t)b.n);
}

static pthread_mutex_t tally_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t tally_changed = PTHREAD_COND_INITIALIZER;
static int tally;

static void on_event_tally(void *ctx, const struct sched_event *e) {
    (void)ctx;
    if (!e->done)
        return;
    pthread_mutex_lock(&tally_lock);
    tally++;
    pthread_cond_signal(&tally_changed);
    pthread_mutex_unlock(&tally_lock);
}

static void on_event_kept(void *ctx, const struct sched_event *e) {
    on_event(ctx, e);
    on_event_tally(ctx, e);
}

static void ask_kept(struct fixture *f, struct caller *c, const char *prompt, bool background) {
    struct sched_chat chat = {
        .max_tokens = 3, .background = background, .on_event = on_event_kept, .ctx = c};
    uint64_t id;
    sampler_params_init(&chat.sampling);
    chat.sampling.temperature = 0;
    assert_int_equal(f->m.base.ops->tokenize(&f->m.base, str_from(prompt), false, &chat.prompt), 0);
    assert_int_equal(sched_chat_submit(f->s, &chat, &id, NULL), ERR_OK);
}

static void background_step_makes_way_for_a_person(void **state) {
    struct fixture *f = *state;
    struct caller a = {0}, b = {0};
    char expected[512];
    pthread_t thread;
    tally = 0;
    f->m.gate = true;
    f->m.abort = should_abort;
    f->m.abort_ctx = f->s;
    ask_kept(f, &a, "first>", true);
    pthread_create(&thread, NULL, run, f->s);
    scripted_wait_entered(&f->m, 1);
    ask_kept(f, &b, "second>", false); /* the gate stays shut: only the abort lets the step end */
    scripted_wait_entered(&f->m, 2);
    for (int i = 0; i < 40; i++)
        scripted_open_gate(&f->m);
    pthread_mutex_lock(&tally_lock);
    while (tally < 2)
        pthread_cond_wait(&tally_changed, &tally_lock);
    pthread_mutex_unlock(&tally_lock);
    sched_stop(f->s);
    pthread_join(thread, NULL);
    sched_free(f->s);
    f->s = NULL;
    fresh_answer("second>", 3, expected);
    assert_memory_equal(b.text, expected, (size_t)b.n);
    fresh_answer("first>", 3, expected); /* nothing of it was lost */
    assert_memory_equal(a.text, expected, (size_t)a.n);
    assert_true(a.n > 0 && b.n > 0);
}

static void on_embed_kept(void *ctx, enum err e, float *vectors, const struct errinfo *ei) {
    const struct sched_event over = {.done = true};
    on_embed(ctx, e, vectors, ei);
    on_event_tally(NULL, &over);
}

/* Who comes does not wait for a batch of documents' texts either; it is done again later. */
static void background_batch_makes_way_for_a_person(void **state) {
    struct fixture *f = *state;
    struct embed_caller documents = {.background = true, .texts = 1};
    struct caller a = {0};
    struct sched_embed e = {
        .n = 1, .background = true, .on_done = on_embed_kept, .ctx = &documents};
    struct errinfo ei;
    pthread_t thread;
    uint64_t id;
    int64_t before = metric_get(M_ENGINE_CALLED_OFF);
    tally = 0;
    f->m.gate = true;
    f->m.abort = should_abort;
    f->m.abort_ctx = f->s;
    e.texts = calloc(1, sizeof(*e.texts));
    assert_int_equal(tokens_add(&e.texts[0], NULL, 90), ERR_OK);
    clock_test_set(clock_mono_ns(), 0); /* however slow the machine: it has not waited for long */
    assert_int_equal(sched_embed_submit(f->s, &e, &id, &ei), ERR_OK);
    pthread_create(&thread, NULL, run, f->s);
    scripted_wait_entered(&f->m, 1);
    ask_kept(f, &a, "first>", false); /* the gate stays shut: only the abort lets the batch end */
    scripted_wait_entered(&f->m, 2);  /* a step, which is not called off */
    assert_false(sched_should_abort(f->s));
    assert_int_equal(metric_get(M_ENGINE_CALLED_OFF), before + 1);
    for (int i = 0; i < 40; i++)
        scripted_open_gate(&f->m);
    pthread_mutex_lock(&tally_lock);
    while (tally < 2)
        pthread_cond_wait(&tally_changed, &tally_lock);
    pthread_mutex_unlock(&tally_lock);
    sched_stop(f->s);
    pthread_join(thread, NULL);
    clock_test_end();
    assert_true(a.n > 0);
    assert_int_equal(documents.err, ERR_OK);
    assert_int_equal((int)documents.first[0], 90);
}

static void *submit_many(void *arg) {
    struct sched *s = arg;
    for (int i = 0; i < 200; i++) {
        struct sched_chat chat = {.max_tokens = 1 + i % 7,
                                  .conversation = (uint64_t)(i % 11),
                                  .user = (uint64_t)(i % 5),
                                  .prefix = i % 4,
                                  .on_event = on_event_tally};
        struct errinfo ei;
        uint64_t id;
        sampler_params_init(&chat.sampling);
        assert_int_equal(tokens_add(&chat.prompt, NULL, 4 + i % 90), ERR_OK);
        for (int j = 0; j < chat.prompt.n; j++)
            chat.prompt.p[j] = 'a' + (i % 3) * (j > 8);
        if (sched_chat_submit(s, &chat, &id, &ei)) {
            tokens_deinit(&chat.prompt);
            on_event_tally(NULL, &(struct sched_event){.done = true});
        } else if (i % 3 == 0) {
            sched_cancel(s, id);
        }
    }
    return NULL;
}

static void submits_and_cancels_of_many_threads_each_end_once(void **state) {
    struct fixture *f = *state;
    pthread_t compute, callers[3];
    tally = 0;
    pthread_create(&compute, NULL, run, f->s);
    for (int i = 0; i < 3; i++)
        pthread_create(&callers[i], NULL, submit_many, f->s);
    for (int i = 0; i < 3; i++)
        pthread_join(callers[i], NULL);
    pthread_mutex_lock(&tally_lock);
    while (tally < 600)
        pthread_cond_wait(&tally_changed, &tally_lock);
    pthread_mutex_unlock(&tally_lock);
    sched_stop(f->s);
    pthread_join(compute, NULL);
    assert_int_equal(tally, 600);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(chat_with_reply_ends_with_stop),
        TEST(chat_past_max_tokens_ends_with_length),
        TEST(chat_at_window_ends_with_length),
        TEST(submit_prompt_of_window_is_refused_with_numbers),
        TEST(submit_past_queue_is_refused_with_retry_after),
        TEST(many_chats_answer_as_if_alone),
        TEST(second_turn_computes_only_new_tokens),
        TEST(role_prefix_is_shared_and_outlives_its_slots),
        TEST(conversation_without_slot_comes_back_from_shelf),
        TEST(conversation_comes_back_from_shelf_when_cells_are_full),
        TEST(state_that_cannot_be_loaded_stays_on_the_shelf),
        TEST(model_that_cannot_cut_answers_the_same),
        TEST(short_prompt_goes_before_long_one),
        TEST(long_prompt_is_overtaken_for_as_long_as_it_takes_itself),
        TEST(long_prompt_is_cut_in_chunks_beside_answers),
        TEST(user_with_many_requests_does_not_hold_up_another),
        TEST(request_waits_until_its_worst_case_fits),
        TEST(cancel_waiting_and_running_frees_both),
        TEST(step_failure_ends_its_requests_and_no_others),
        TEST(step_without_room_evicts_and_tries_again),
        TEST(free_with_work_ends_it_as_cancelled),
        TEST(forced_beginning_is_said_first),
        TEST(forced_beginning_that_no_token_fits_ends),
        TEST(embeddings_keep_their_order_over_batches),
        TEST(embeddings_past_the_queue_are_refused_with_retry_after),
        TEST(embeddings_of_documents_wait_for_the_question_that_follows),
        TEST(embeddings_of_documents_have_a_part_of_the_time),
        TEST(embeddings_of_a_list_let_first_words_go_first),
        TEST(embeddings_of_documents_let_people_go_first),
        TEST(embeddings_of_documents_do_not_overtake_a_list),
        TEST(embedding_cancelled_between_batches_ends_once),
        TEST(cancel_within_step_aborts_it),
        TEST(background_step_makes_way_for_a_person),
        TEST(background_batch_makes_way_for_a_person),
        TEST(submits_and_cancels_of_many_threads_each_end_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
