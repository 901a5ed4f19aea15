#include "unit/engine/sched_fixture.h"

/* The answer quotes its prompt; prices make guesses worth it as long as few are wrong. */
static const char prompt[] = "the quick brown fox jumps over the lazy dog and runs away|say it>";
static const char reply[] = "the quick brown fox jumps over the lazy dog and runs away";

static void answer(bool no_guesses, float temperature, struct caller *c, int *ret_steps) {
    struct fixture f;
    struct errinfo ei;
    fixture_init(&f, 2);
    sched_free(f.s);
    const struct sched_options o = {.slots = 2,
                                    .cells = 2 * SCRIPTED_WINDOW,
                                    .max_queued = 8,
                                    .base_ns = 10e6,
                                    .answer_ns = 1e6,
                                    .prompt_ns = 1e6,
                                    .no_guesses = no_guesses};
    assert_int_equal(sched_new(&f.m.base, NULL, &o, &f.s), ERR_OK);
    f.m.reply = reply;
    struct sched_chat chat = request(&f, c, prompt, 100);
    chat.sampling.temperature = temperature;
    chat.sampling.top_k = 0;
    chat.sampling.min_p = 0;
    chat.sampling.top_p = 1;
    chat.sampling.seed = 7;
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    run_all(&f);
    *ret_steps = f.m.steps;
    fixture_deinit(&f);
}

static void quoting_answer_takes_fewer_steps_and_is_the_same(void **state) {
    (void)state;
    struct caller with = {0}, without = {0};
    int steps, steps_without;
    int64_t right = metric_get(M_ENGINE_RIGHT_TOKENS);
    answer(false, 0, &with, &steps);
    assert_true(metric_get(M_ENGINE_RIGHT_TOKENS) - right > 20);
    answer(true, 0, &without, &steps_without);
    assert_string_equal(with.text, reply);
    assert_string_equal(without.text, reply);
    assert_int_equal(with.end, SCHED_STOP);
    assert_true(steps * 2 < steps_without);
}

/* Sampled from flat logits the answer strays from its prompt, again and again. */
static void seeded_answer_is_the_same_with_guesses(void **state) {
    (void)state;
    struct caller with = {0}, without = {0};
    int steps, steps_without;
    for (int i = 0; i < 6; i++) {
        memset(&with, 0, sizeof(with));
        memset(&without, 0, sizeof(without));
        answer(false, 1.5f + (float)i * 0.3f, &with, &steps);
        answer(true, 1.5f + (float)i * 0.3f, &without, &steps_without);
        assert_int_equal(with.n, without.n);
        assert_memory_equal(with.text, without.text, (size_t)with.n);
        assert_true(steps <= steps_without);
    }
}

static void guesses_end_with_the_tokens_allowed(void **state) {
    (void)state;
    for (int max = 1; max < 30; max++) {
        struct fixture f;
        struct caller c = {0};
        struct errinfo ei;
        fixture_init(&f, 2);
        f.m.reply = reply;
        struct sched_chat chat = request(&f, &c, prompt, max);
        assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
        run_all(&f);
        assert_int_equal(c.n, max);
        assert_int_equal(c.end, SCHED_LENGTH);
        assert_memory_equal(c.text, reply, (size_t)max);
        fixture_deinit(&f);
    }
}

/* The second turn starts from what the first one left, which must hold no wrong guess. */
static void next_turn_starts_from_what_was_right(void **state) {
    (void)state;
    struct fixture f;
    struct caller a = {0}, b = {0}, fresh = {0};
    struct errinfo ei;
    char turn2[512];
    fixture_init(&f, 2);
    f.m.reply = "the quick brown cat jumps over the lazy dog";
    struct sched_chat chat = request(&f, &a, prompt, 100);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    run_all(&f);
    f.m.reply = NULL;
    snprintf(turn2, sizeof(turn2), "%s%s|more>", prompt, a.text);
    chat = request(&f, &b, turn2, 10);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    run_all(&f);
    fixture_deinit(&f);
    fixture_init(&f, 2);
    chat = request(&f, &fresh, turn2, 10);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    run_all(&f);
    assert_string_equal(b.text, fresh.text);
    fixture_deinit(&f);
}

static void models_that_cannot_be_cut_are_not_guessed_for(void **state) {
    (void)state;
    struct fixture f;
    struct caller c = {0};
    struct errinfo ei;
    int64_t guessed = metric_get(M_ENGINE_GUESSED_TOKENS);
    fixture_init(&f, 2);
    f.m.reply = reply;
    f.m.uncut = true;
    f.m.base.info.cuts = false;
    struct sched_chat chat = request(&f, &c, prompt, 100);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    run_all(&f);
    assert_string_equal(c.text, reply);
    assert_int_equal(metric_get(M_ENGINE_GUESSED_TOKENS), guessed);
    fixture_deinit(&f);
}

static void requests_that_come_together_compute_their_role_once(void **state) {
    (void)state;
    struct fixture f;
    struct caller c[4] = {0}, alone = {0};
    struct errinfo ei;
    char text[256];
    fixture_init(&f, 4);
    for (int i = 0; i < 4; i++) {
        snprintf(text, sizeof(text), "%0120d|question %d>", 7, i);
        struct sched_chat chat = request(&f, &c[i], text, 5);
        chat.prefix = 121;
        chat.deadline_ms = 0;
        assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    }
    run_all(&f);
    /* One whole prompt, three questions, and four tokens of each answer. */
    assert_int_equal(f.m.computed, 132 + 3 * 2 + 4 * 4);
    fixture_deinit(&f);
    fixture_init(&f, 4);
    struct sched_chat chat = request(&f, &alone, text, 5);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    run_all(&f);
    assert_string_equal(c[3].text, alone.text);
    fixture_deinit(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quoting_answer_takes_fewer_steps_and_is_the_same),
        cmocka_unit_test(seeded_answer_is_the_same_with_guesses),
        cmocka_unit_test(guesses_end_with_the_tokens_allowed),
        cmocka_unit_test(next_turn_starts_from_what_was_right),
        cmocka_unit_test(requests_that_come_together_compute_their_role_once),
        cmocka_unit_test(models_that_cannot_be_cut_are_not_guessed_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
