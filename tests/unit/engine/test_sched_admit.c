#include "engine/sched_internal.h"
#include "unit/engine/sched_fixture.h"

static void request_that_makes_its_deadline_is_let_in(void **state) {
    (void)state;
    struct fixture f;
    struct caller c = {0};
    struct errinfo ei;
    fixture_init(&f, 2);
    struct sched_chat chat = request(&f, &c, "a question of some forty letters, or so>", 10);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    run_all(&f);
    assert_int_equal(c.n, 10);
    fixture_deinit(&f);
}

static void request_past_its_deadline_is_refused_at_once(void **state) {
    (void)state;
    struct fixture f;
    struct caller c[3] = {0};
    struct errinfo ei;
    fixture_init(&f, 1);
    /* An answer of 200 tokens has the slot for some 2 s. */
    struct sched_chat chat = request(&f, &c[0], "long>", 200);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    sched_round(f.s);
    int64_t refused = metric_get(M_ENGINE_REFUSED);
    chat = request(&f, &c[2], "one more>", 10);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OVERLOADED);
    assert_true(ei.retry_after_ms >= 100);
    assert_non_null(strstr(ei.message, "later than the 1.00 s"));
    assert_non_null(strstr(ei.message, "try again in"));
    assert_int_equal(metric_get(M_ENGINE_REFUSED) - refused, 1);
    run_all(&f);
    assert_int_equal(c[2].dones, 0);
    chat = request(&f, &c[2], "one more>", 10);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK); /* now there is room */
    run_all(&f);
    assert_int_equal(c[2].n, 10);
    fixture_deinit(&f);
}

static void own_deadline_goes_before_the_usual_one(void **state) {
    (void)state;
    struct fixture f;
    struct caller c[4] = {0};
    struct errinfo ei;
    fixture_init(&f, 2);
    for (int i = 0; i < 2; i++) {
        struct sched_chat chat = request(&f, &c[i], "long>", 200);
        assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    }
    sched_round(f.s);
    struct sched_chat chat = request(&f, &c[2], "one more>", 10);
    chat.deadline_ms = 60000;
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    chat = request(&f, &c[3], "one more>", 10);
    chat.deadline_ms = 0; /* none */
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    run_all(&f);
    assert_int_equal(c[2].n + c[3].n, 20);
    fixture_deinit(&f);
}

static void those_refused_together_are_told_different_times(void **state) {
    (void)state;
    struct fixture f;
    struct caller c[5] = {0};
    struct errinfo ei;
    uint32_t before = 0;
    fixture_init(&f, 1);
    struct sched_chat chat = request(&f, &c[0], "long>", 200);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    sched_round(f.s);
    for (int i = 1; i < 5; i++) {
        chat = request(&f, &c[i], "one more>", 10);
        assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OVERLOADED);
        assert_true(ei.retry_after_ms > before);
        before = ei.retry_after_ms;
    }
    fixture_deinit(&f);
}

static void prompt_longer_than_any_deadline_is_let_in_when_alone(void **state) {
    (void)state;
    struct fixture f;
    struct caller c = {0};
    struct errinfo ei;
    char prompt[SCRIPTED_WINDOW - 8];
    fixture_init(&f, 2);
    memset(prompt, 'x', sizeof(prompt) - 1);
    prompt[sizeof(prompt) - 1] = 0;
    struct sched_chat chat = request(&f, &c, prompt, 4);
    chat.deadline_ms = 100; /* stated: it is meant */
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OVERLOADED);
    assert_non_null(strstr(ei.message, "this prompt has 247 new tokens"));
    fixture_deinit(&f);
    fixture_init(&f, 2);
    sched_free(f.s);
    const struct sched_options o = {.slots = 2,
                                    .cells = 2 * SCRIPTED_WINDOW,
                                    .max_queued = 8,
                                    .deadline_ms = 100,
                                    .base_ns = 10e6,
                                    .answer_ns = 1e6,
                                    .prompt_ns = 1e6};
    assert_int_equal(sched_new(&f.m.base, NULL, &o, &f.s), ERR_OK);
    chat = request(&f, &c, prompt, 4);
    assert_int_equal(submit(&f, &chat, NULL, &ei),
                     ERR_OK); /* the usual one: coming back is no help */
    run_all(&f);
    assert_int_equal(c.n, 4);
    fixture_deinit(&f);
}

static void missed_deadline_ends_waiting_and_prefilling_requests(void **state) {
    (void)state;
    struct fixture f;
    struct caller c[3] = {0};
    struct errinfo ei;
    fixture_init(&f, 1);
    for (int i = 0; i < 3; i++) {
        struct sched_chat chat = request(&f, &c[i], "question>", 5);
        assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    }
    sched_round(f.s);
    assert_int_equal(c[0].n, 1); /* it has its first word and may go on */
    clock_test_advance(1001);
    int64_t late = metric_get(M_ENGINE_LATE);
    sched_round(f.s);
    assert_int_equal(c[1].dones + c[2].dones, 2);
    assert_int_equal(c[1].err, ERR_OVERLOADED);
    assert_true(c[1].retry_after_ms > 0);
    assert_int_equal(metric_get(M_ENGINE_LATE) - late, 2);
    run_all(&f);
    assert_int_equal(c[0].n, 5);
    fixture_deinit(&f);
}

/* Each alone could still be in time, but the second one comes after the first. */
static void who_cannot_be_in_time_after_others_is_told_at_once(void **state) {
    (void)state;
    struct fixture f;
    struct caller c[3] = {0};
    struct errinfo ei;
    char text[201];
    fixture_init(&f, 4);
    f.m.base.info.rows = true;
    for (int i = 0; i < 3; i++) {
        memset(text, 'a' + i, 200);
        text[i == 2 ? 10 : 200] = 0;
        struct sched_chat chat = request(&f, &c[i], text, 5);
        chat.deadline_ms = i == 2 ? 5000 : 1000;
        assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    }
    pthread_mutex_lock(&f.s->state);
    sched_admit(f.s);
    clock_test_advance(700);
    sched_refuse_late(f.s);
    pthread_mutex_unlock(&f.s->state);
    assert_int_equal(c[0].dones, 0);
    assert_int_equal(c[1].dones, 1);
    assert_int_equal(c[1].err, ERR_OVERLOADED);
    assert_true(c[1].retry_after_ms > 0);
    run_all(&f);
    assert_int_equal(c[0].n, 5);
    assert_int_equal(c[2].n, 5);
    fixture_deinit(&f);
}

/* One whose tokens are only guessed at; leaves again when it is let in. */
static enum err look(struct fixture *f, struct sched_chat *c, int least, int most,
                     struct errinfo *ei) {
    const struct sched_glance g = {.least = least, .likely = least, .most = most};
    enum err e = sched_chat_glance(f->s, c, &g, ei);
    assert_int_equal(f->s->n_coming, e == ERR_OK);
    sched_chat_leave(f->s, c->place);
    assert_int_equal(f->s->n_coming, 0);
    return e;
}

/* Before its prompt is read; what may be let in is not kept out. */
static void glance_refuses_what_would_be_refused(void **state) {
    (void)state;
    struct fixture f;
    struct caller c = {0};
    struct errinfo ei = {0};
    struct sched_chat unread = {.deadline_ms = -1};
    fixture_init(&f, 1);
    unread.arrived_ns = clock_mono_ns();
    assert_int_equal(look(&f, &unread, 1, 50, &ei), ERR_OK);
    unread.deadline_ms = 30; /* perhaps all of it is held */
    assert_int_equal(look(&f, &unread, 50, 50, &ei), ERR_OK);
    unread.deadline_ms = -1;
    struct sched_chat chat = request(&f, &c, "long>", 200);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    sched_round(f.s);
    int64_t refused = metric_get(M_ENGINE_REFUSED);
    assert_int_equal(look(&f, &unread, 1, 50, &ei), ERR_OVERLOADED);
    assert_true(ei.retry_after_ms >= 100);
    assert_non_null(strstr(ei.message, "later than the 1.00 s"));
    assert_int_equal(metric_get(M_ENGINE_REFUSED) - refused, 1);
    /* So long a prompt would have more time. */
    assert_int_equal(look(&f, &unread, 1, 2000, &ei), ERR_OK);
    assert_int_equal(look(&f, &unread, 0, 50, &ei), ERR_OK); /* nothing is known of it */
    unread.deadline_ms = 60000;
    assert_int_equal(look(&f, &unread, 1, 50, &ei), ERR_OK);
    unread.deadline_ms = 100;
    assert_int_equal(look(&f, &unread, 1, 2000, &ei), ERR_OVERLOADED);
    unread.wait = true;
    assert_int_equal(look(&f, &unread, 1, 50, &ei), ERR_OK);
    unread.wait_ms = 200;
    assert_int_equal(look(&f, &unread, 1, 50, &ei), ERR_OVERLOADED);
    assert_int_equal(f.s->n_waiting, 0);
    run_all(&f);
    assert_int_equal(c.n, 200);
    fixture_deinit(&f);
}

/* Of a burst, as many are let in before any is read as there is time for, and none of them is
 * refused when it is read. */
static void burst_is_let_in_or_refused_before_any_prompt_is_read(void **state) {
    (void)state;
    struct fixture f;
    struct caller c[64] = {0};
    struct errinfo ei = {0};
    struct sched_chat chat[64];
    int in = 0, refused = 0;
    fixture_init(&f, 4);
    f.m.base.info.rows = true;
    for (int i = 0; i < 64; i++) {
        char text[60];
        memset(text, 'a' + i % 26, sizeof(text));
        snprintf(text + 50, sizeof(text) - 50, "%d>", i);
        chat[in] = request(&f, &c[i], text, 5);
        chat[in].user = (uint64_t)i + 1;
        const struct sched_glance g = {
            .least = chat[in].prompt.n, .likely = chat[in].prompt.n, .most = 80};
        if (sched_chat_glance(f.s, &chat[in], &g, &ei) == ERR_OK) {
            in++;
            continue;
        }
        assert_int_equal(ei.code, ERR_OVERLOADED);
        assert_true(ei.retry_after_ms > 0);
        tokens_deinit(&chat[in].prompt);
        refused++;
    }
    assert_in_range(in, 5, 30);
    assert_int_equal(in + refused, 64);
    assert_int_equal(f.s->n_coming, in);
    assert_int_equal(f.m.steps, 0);
    for (int i = 0; i < in; i++) {
        uint64_t id, place = chat[i].place;
        assert_int_equal(submit(&f, &chat[i], &id, &ei), ERR_OK);
        assert_int_equal(id, place);
    }
    assert_int_equal(f.s->n_coming, 0);
    run_all(&f);
    int answered = 0;
    for (int i = 0; i < 64; i++)
        answered += c[i].n == 5;
    assert_int_equal(answered, in);
    fixture_deinit(&f);
}

/* Who looked first is first, though the prompt of the second one was read sooner. */
static void places_are_in_order_of_arrival(void **state) {
    (void)state;
    struct fixture f;
    struct caller c[3] = {0};
    struct errinfo ei;
    struct sched_chat chat[3];
    const struct sched_glance g = {.least = 1, .likely = 10, .most = 20};
    fixture_init(&f, 1);
    for (int i = 0; i < 3; i++) {
        chat[i] = request(&f, &c[i], i ? "another>" : "first>", 3);
        chat[i].user = (uint64_t)i + 1;
        chat[i].wait = true;
        assert_int_equal(sched_chat_glance(f.s, &chat[i], &g, &ei), ERR_OK);
    }
    assert_int_equal(submit(&f, &chat[2], NULL, &ei), ERR_OK);
    assert_int_equal(submit(&f, &chat[1], NULL, &ei), ERR_OK);
    assert_int_equal(submit(&f, &chat[0], NULL, &ei), ERR_OK);
    for (int i = 0; i < 3; i++) {
        while (c[i].dones == 0)
            sched_round(f.s);
        for (int k = i + 1; k < 3; k++)
            assert_int_equal(c[k].n, 0);
    }
    fixture_deinit(&f);
}

/* Too many are waiting for who comes last, not for those who came before and are read still. */
static void who_comes_last_finds_the_queue_full(void **state) {
    (void)state;
    struct fixture f;
    struct caller c[3] = {0};
    struct errinfo ei;
    struct sched_chat chat[3];
    const struct sched_glance unknown = {.likely = 10, .most = 20};
    fixture_init(&f, 1);
    f.s->o.max_queued = 2;
    for (int i = 0; i < 3; i++) {
        chat[i] = request(&f, &c[i], "first>", 3);
        chat[i].deadline_ms = 0;
        assert_int_equal(sched_chat_glance(f.s, &chat[i], &unknown, &ei), ERR_OK);
    }
    assert_int_equal(submit(&f, &chat[0], NULL, &ei), ERR_OK);
    assert_int_equal(submit(&f, &chat[1], NULL, &ei), ERR_OK);
    assert_int_equal(submit(&f, &chat[2], NULL, &ei), ERR_OVERLOADED);
    run_all(&f);
    assert_int_equal(c[0].n, 3);
    assert_int_equal(c[1].n, 3);
    fixture_deinit(&f);
}

/* Whatever comes of submitting, the place is free. */
static void place_is_given_up_with_a_prompt_that_cannot_be(void **state) {
    (void)state;
    struct fixture f;
    struct caller c = {0};
    struct errinfo ei;
    const struct sched_glance g = {.least = 1, .likely = 10, .most = 20};
    fixture_init(&f, 1);
    struct sched_chat chat = request(&f, &c, "", 3);
    assert_int_equal(sched_chat_glance(f.s, &chat, &g, &ei), ERR_OK);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_INVALID);
    assert_int_equal(f.s->n_coming, 0);
    chat = request(&f, &c, "hi>", 3);
    assert_int_equal(sched_chat_glance(f.s, &chat, &g, &ei), ERR_OK);
    sched_chat_leave(f.s, chat.place);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK); /* it comes as one without */
    run_all(&f);
    assert_int_equal(c.n, 3);
    chat = request(&f, &c, "hi>", 3);
    assert_int_equal(sched_chat_glance(f.s, &chat, &g, &ei), ERR_OK);
    tokens_deinit(&chat.prompt);
    fixture_deinit(&f); /* with one that is still being read */
}

static struct sched *copying;
static int copies;
static const struct model_ops *plain_ops;

static void assert_others_may_ask(void) {
    assert_int_equal(pthread_mutex_trylock(&copying->lock), 0);
    assert_int_equal(pthread_mutex_trylock(&copying->state), 0);
    pthread_mutex_unlock(&copying->state);
    pthread_mutex_unlock(&copying->lock);
    copies++;
}

static bool seen_copy(struct model *m, int from, int to, int n) {
    assert_others_may_ask();
    return plain_ops->seq_copy(m, from, to, n);
}

static size_t seen_save(struct model *m, int seq, void *to, size_t size) {
    assert_others_may_ask();
    return plain_ops->seq_save(m, seq, to, size);
}

static bool seen_load(struct model *m, int seq, const void *from, size_t size) {
    assert_others_may_ask();
    return plain_ops->seq_load(m, seq, from, size);
}

/* Requests are let in or refused meanwhile, and cancelled. */
static void copy_much(bool rows) {
    struct fixture f;
    struct caller c[16] = {0};
    struct errinfo ei;
    char text[200];
    fixture_init(&f, 2);
    sched_free(f.s);
    struct model_ops ops = *f.m.base.ops;
    plain_ops = f.m.base.ops;
    ops.seq_copy = seen_copy;
    ops.seq_save = seen_save;
    ops.seq_load = seen_load;
    f.m.base.ops = &ops;
    f.m.base.info.rows = rows;
    const struct sched_options o = {.slots = 2,
                                    .prefixes = 2,
                                    .prefix_tokens = 128,
                                    .cells = 2 * SCRIPTED_WINDOW,
                                    .shelf_bytes = 1 << 20,
                                    .max_queued = 8};
    assert_int_equal(sched_new(&f.m.base, NULL, &o, &f.s), ERR_OK);
    copying = f.s;
    copies = 0;
    for (int i = 0; i < 16; i++) { /* two together, of a role that may be new */
        memset(text, 'a' + i % 8, sizeof(text));
        memset(text, i < 8 ? 'r' : 's', 50);
        strcpy(text + sizeof(text) - 8, "ask me>");
        struct sched_chat chat = request(&f, &c[i], text, 3);
        chat.prefix = 50;
        chat.wait = true;
        assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
        if (i % 2 == 0)
            continue;
        run_all(&f);
        assert_int_equal(c[i - 1].n + c[i].n, 6);
    }
    assert_true(copies > 8); /* the roles' prompts, and conversations to the shelf */
    assert_true(f.m.saves > 0 && f.m.copies > 0);
    fixture_deinit(&f);
}

static void nobody_waits_while_states_are_copied(void **state) {
    (void)state;
    copy_much(true);
    copy_much(false);
}

static enum err (*plain_step)(struct model *m, const struct model_item *items, int n,
                              struct errinfo *ei);
static int step_ms;

static enum err timed_step(struct model *m, const struct model_item *items, int n,
                           struct errinfo *ei) {
    clock_test_advance(step_ms);
    return plain_step(m, items, n, ei);
}

static void time_steps(struct fixture *f, int ms) {
    static struct model_ops ops;
    ops = *f->m.base.ops;
    plain_step = ops.step;
    ops.step = timed_step;
    f->m.base.ops = &ops;
    step_ms = ms;
}

/* The step that gives it takes longer than anybody could know: it is told so, and what was computed
 * stays for when it comes back. */
static void first_word_after_the_deadline_is_refused(void **state) {
    (void)state;
    struct fixture f;
    struct caller other = {0}, c = {0};
    struct errinfo ei;
    fixture_init(&f, 2);
    time_steps(&f, 10);
    struct sched_chat chat = request(&f, &other, "long>", 200);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    sched_round(f.s);
    int64_t late = metric_get(M_ENGINE_LATE);
    chat = request(&f, &c, "a question of some forty letters, or so>", 10);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    step_ms = 960; /* with the way to the client it would be more than the second */
    while (c.dones == 0)
        sched_round(f.s);
    assert_int_equal(c.n, 0);
    assert_int_equal(c.err, ERR_OVERLOADED);
    assert_true(c.retry_after_ms > 0);
    assert_int_equal(metric_get(M_ENGINE_LATE) - late, 1);
    step_ms = 10;
    int before = f.m.computed;
    memset(&c, 0, sizeof(c));
    chat = request(&f, &c, "a question of some forty letters, or so>", 1);
    chat.wait = true;
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    while (c.dones == 0)
        sched_round(f.s);
    assert_int_equal(c.n, 1);
    assert_true(f.m.computed - before < 10);
    run_all(&f);
    fixture_deinit(&f);
}

/* What is being computed already is not counted again for who comes meanwhile. */
static void prompt_of_the_running_step_counts_once(void **state) {
    (void)state;
    struct fixture f;
    struct caller a = {0}, b[2] = {0};
    struct errinfo ei;
    fixture_init(&f, 4);
    struct sched_chat chat = request(&f, &a, "a question of some forty letters, or so>", 10);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    sched_round(f.s); /* it has a slot, and its prompt is computed */
    struct job *j = f.s->running;
    chat = request(&f, &b[0], "another question of some forty letters>", 10);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    double predicted = f.s->waiting->predicted_ns;
    j->answer_tokens = 0; /* as it was in the step's middle */
    j->slot->computed = 0;
    j->computed_after = j->slot->tokens.n;
    chat = request(&f, &b[1], "another question of some forty letters>", 10);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    assert_true(f.s->waiting->next->predicted_ns < predicted * 2.2);
    j->answer_tokens = 1;
    j->slot->computed = 40;
    fixture_deinit(&f);
}

/* Also those who wait tell how well predictions hold, as long as theirs were such as are promised.
 */
static void those_who_wait_teach_the_margin(void **state) {
    (void)state;
    struct fixture f;
    struct caller c = {0};
    struct errinfo ei;
    fixture_init(&f, 2);
    time_steps(&f, 900); /* much longer than predicted */
    double margin = f.s->forecast.margin;
    for (int i = 0; i < 4; i++) {
        memset(&c, 0, sizeof(c));
        char text[] = "question number 0>";
        text[16] = (char)('0' + i);
        struct sched_chat chat = request(&f, &c, text, 1);
        chat.wait = true;
        assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
        run_all(&f);
    }
    assert_true(f.s->forecast.margin > margin);
    fixture_deinit(&f);
}

static void waiting_requests_are_told_their_positions(void **state) {
    (void)state;
    struct fixture f;
    struct caller c[4] = {0};
    struct errinfo ei;
    uint64_t id[4];
    fixture_init(&f, 1);
    for (int i = 0; i < 4; i++) {
        struct sched_chat chat = request(&f, &c[i], "question>", 100);
        chat.wait = true;
        chat.user = (uint64_t)i + 1;
        assert_int_equal(submit(&f, &chat, &id[i], &ei), ERR_OK);
    }
    sched_round(f.s);
    assert_int_equal(c[0].told, 0);
    for (int i = 1; i < 4; i++) {
        assert_int_equal(c[i].told, 1);
        assert_int_equal(c[i].position, i - 1);
    }
    clock_test_advance(300);
    sched_round(f.s);
    assert_int_equal(c[3].told, 1); /* nothing has changed */
    sched_cancel(f.s, id[1]);
    clock_test_advance(300);
    sched_round(f.s);
    assert_int_equal(c[3].position, 1);
    assert_int_equal(c[2].told, 2);
    clock_test_advance(6000);
    sched_round(f.s);
    assert_int_equal(c[3].told, 3); /* a sign of life */
    run_all(&f);
    assert_int_equal(c[3].n, 100);
    fixture_deinit(&f);
}

static void wait_that_is_too_long_is_refused(void **state) {
    (void)state;
    struct fixture f;
    struct caller c[3] = {0};
    struct errinfo ei;
    fixture_init(&f, 1);
    struct sched_chat chat = request(&f, &c[0], "long>", 240);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    sched_round(f.s);
    chat = request(&f, &c[1], "question>", 5);
    chat.wait = true;
    chat.wait_ms = 200;
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OVERLOADED);
    assert_non_null(strstr(ei.message, "would wait"));
    chat = request(&f, &c[1], "question>", 5);
    chat.wait = true;
    chat.wait_ms = 60000;
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    run_all(&f);
    assert_int_equal(c[1].n, 5);
    fixture_deinit(&f);
}

/* A machine that was held up for a moment: one step says little of the next ones, so somebody who
 * would wait three minutes is not told that it would take longer. */
static void slow_first_steps_refuse_nobody_who_waits(void **state) {
    (void)state;
    struct fixture f;
    struct caller c[2] = {0};
    struct errinfo ei;
    fixture_init(&f, 1);
    f.m.slow_steps = 2;
    f.m.slow_ms = 2000;
    struct sched_chat chat = request(&f, &c[0], "long>", 240);
    chat.wait = true;
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    sched_round(f.s);
    sched_round(f.s);
    chat = request(&f, &c[1], "question>", 5);
    chat.wait = true;
    chat.wait_ms = 180000;
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    run_all(&f);
    assert_int_equal(c[1].n, 5);
    fixture_deinit(&f);
}

static void second_user_is_next_however_many_the_first_has_waiting(void **state) {
    (void)state;
    struct fixture f;
    struct caller flood[20] = {0}, one = {0};
    struct errinfo ei;
    fixture_init(&f, 1);
    for (int i = 0; i < 20; i++) {
        struct sched_chat chat = request(&f, &flood[i], "flood>", 10);
        chat.wait = true;
        chat.user = 1;
        assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    }
    sched_round(f.s);
    struct sched_chat chat = request(&f, &one, "question>", 10);
    chat.wait = true;
    chat.user = 2;
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    while (one.dones == 0)
        sched_round(f.s);
    int ended = 0;
    for (int i = 0; i < 20; i++)
        ended += flood[i].dones;
    assert_int_equal(ended, 1); /* the one that ran when it came */
    run_all(&f);
    fixture_deinit(&f);
}

static void first_requests_are_not_overtaken_by_later_ones(void **state) {
    (void)state;
    struct fixture f;
    struct caller heavy = {0}, early = {0}, late = {0};
    struct errinfo ei;
    fixture_init(&f, 1);
    struct sched_chat chat = request(&f, &heavy, "question>", 100);
    chat.user = 1;
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    sched_round(f.s);
    chat = request(&f, &early, "question>", 10); /* of a user who was served some hundred tokens */
    chat.user = 2;
    chat.wait = true;
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    for (int i = 0; i < 20; i++)
        sched_round(f.s);
    chat = request(&f, &late, "question>", 10);
    chat.user = 3;
    chat.wait = true;
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    while (late.n == 0)
        sched_round(f.s);
    assert_int_equal(early.dones, 1);
    run_all(&f);
    fixture_deinit(&f);
}

static void thousand_at_once_are_answered_or_refused(void **state) {
    (void)state;
    struct fixture f;
    static struct caller c[1000];
    struct errinfo ei;
    int refused = 0, answered = 0;
    fixture_init(&f, 16);
    memset(c, 0, sizeof(c));
    for (int i = 0; i < 1000; i++) {
        struct sched_chat chat = request(&f, &c[i], "a question of some forty letters, or so>", 3);
        chat.user = (uint64_t)(i % 50);
        refused += submit(&f, &chat, NULL, &ei) == ERR_OVERLOADED;
    }
    run_all(&f);
    for (int i = 0; i < 1000; i++)
        answered += c[i].dones == 1 && c[i].n == 3;
    assert_int_equal(answered + refused, 1000);
    assert_in_range(answered, 5, 200);
    fixture_deinit(&f);
}

static void background_waits_behind_people(void **state) {
    (void)state;
    struct fixture f;
    struct caller title = {0}, person = {0};
    struct errinfo ei;
    fixture_init(&f, 1);
    struct sched_chat chat = request(&f, &title, "title>", 5);
    chat.background = chat.wait = true;
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    chat = request(&f, &person, "question>", 5);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    sched_round(f.s);
    assert_int_equal(person.n, 1);
    assert_int_equal(title.n, 0);
    run_all(&f);
    assert_int_equal(title.n + person.n, 10);
    fixture_deinit(&f);
}

/* Each step's answer of the scripted model depends on all before: what was lost would show. */
static void background_gives_its_slot_back_and_goes_on(void **state) {
    (void)state;
    struct fixture f;
    struct caller alone = {0}, title = {0}, person = {0};
    struct errinfo ei;
    fixture_init(&f, 1);
    struct sched_chat chat = request(&f, &alone, "title>", 20);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    run_all(&f);
    fixture_deinit(&f);
    fixture_init(&f, 1);
    chat = request(&f, &title, "title>", 20);
    chat.background = chat.wait = true;
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    for (int i = 0; i < 5; i++)
        sched_round(f.s);
    assert_true(title.n >= 5 && title.n < 20);
    chat = request(&f, &person, "question>", 5);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    int said = title.n;
    sched_round(f.s);
    assert_int_equal(person.n, 1);
    assert_int_equal(title.n, said);
    run_all(&f);
    assert_int_equal(person.n, 5);
    assert_int_equal(title.dones, 1);
    assert_string_equal(title.text, alone.text);
    fixture_deinit(&f);
}

static void background_beside_people_gets_few_steps(void **state) {
    (void)state;
    struct fixture f;
    struct caller title = {0}, person = {0};
    struct errinfo ei;
    fixture_init(&f, 2);
    struct sched_chat chat = request(&f, &person, "question>", 60);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    chat = request(&f, &title, "title>", 60);
    chat.background = chat.wait = true;
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    while (person.dones == 0)
        sched_round(f.s);
    assert_in_range(title.n, 1, 12);
    run_all(&f);
    assert_int_equal(title.n, 60);
    fixture_deinit(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_that_makes_its_deadline_is_let_in),
        cmocka_unit_test(request_past_its_deadline_is_refused_at_once),
        cmocka_unit_test(own_deadline_goes_before_the_usual_one),
        cmocka_unit_test(those_refused_together_are_told_different_times),
        cmocka_unit_test(prompt_longer_than_any_deadline_is_let_in_when_alone),
        cmocka_unit_test(missed_deadline_ends_waiting_and_prefilling_requests),
        cmocka_unit_test(who_cannot_be_in_time_after_others_is_told_at_once),
        cmocka_unit_test(glance_refuses_what_would_be_refused),
        cmocka_unit_test(burst_is_let_in_or_refused_before_any_prompt_is_read),
        cmocka_unit_test(places_are_in_order_of_arrival),
        cmocka_unit_test(who_comes_last_finds_the_queue_full),
        cmocka_unit_test(place_is_given_up_with_a_prompt_that_cannot_be),
        cmocka_unit_test(nobody_waits_while_states_are_copied),
        cmocka_unit_test(first_word_after_the_deadline_is_refused),
        cmocka_unit_test(prompt_of_the_running_step_counts_once),
        cmocka_unit_test(those_who_wait_teach_the_margin),
        cmocka_unit_test(waiting_requests_are_told_their_positions),
        cmocka_unit_test(wait_that_is_too_long_is_refused),
        cmocka_unit_test(slow_first_steps_refuse_nobody_who_waits),
        cmocka_unit_test(second_user_is_next_however_many_the_first_has_waiting),
        cmocka_unit_test(first_requests_are_not_overtaken_by_later_ones),
        cmocka_unit_test(thousand_at_once_are_answered_or_refused),
        cmocka_unit_test(background_waits_behind_people),
        cmocka_unit_test(background_gives_its_slot_back_and_goes_on),
        cmocka_unit_test(background_beside_people_gets_few_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
