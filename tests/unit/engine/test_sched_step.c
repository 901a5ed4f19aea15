#include "engine/sched_internal.h"
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

/* On a model whose numbers depend on which tokens were computed alone. */
static void answer_rounded(const char *text, int max, int partial, bool exact, struct caller *c,
                           int *ret_largest) {
    struct fixture f;
    struct errinfo ei;
    fixture_init(&f, 2);
    f.m.base.info.rows = f.m.rounds = true;
    struct sched_chat chat = request(&f, c, text, max);
    chat.partial = partial;
    chat.exact = exact;
    chat.deadline_ms = 0;
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    run_all(&f);
    *ret_largest = f.m.largest;
    fixture_deinit(&f);
}

static void exact_answer_cut_anywhere_goes_on_as_it_would_have(void **state) {
    (void)state;
    const char *const prompt_text = "tell me a story>";
    struct caller whole = {0}, rest;
    char text[128];
    int largest, differ = 0, size = (int)strlen(prompt_text);
    answer_rounded(prompt_text, 40, 0, true, &whole, &largest);
    assert_int_equal(whole.n, 40);
    for (int cut = 1; cut < 40; cut++) {
        snprintf(text, sizeof(text), "%s%.*s", prompt_text, cut, whole.text);
        memset(&rest, 0, sizeof(rest));
        answer_rounded(text, 40 - cut, cut, true, &rest, &largest);
        assert_memory_equal(rest.text, whole.text + cut, (size_t)(40 - cut));
        assert_int_equal(largest, size); /* the prompt as before, the answer token by token */
        memset(&rest, 0, sizeof(rest));
        answer_rounded(text, 40 - cut, cut, false, &rest, &largest);
        assert_int_equal(largest, size + cut); /* all at once, which is faster */
        differ += memcmp(rest.text, whole.text + cut, (size_t)(40 - cut)) != 0;
    }
    assert_true(differ > 30);
}

/* It catches up with what the other computed, which ends where its answer begins. */
static void exact_continuation_beside_the_same_prompt_goes_on(void **state) {
    (void)state;
    const char *const prompt_text = "tell me a story>";
    struct caller whole = {0}, anew = {0}, rest = {0};
    struct errinfo ei;
    char text[128];
    int largest;
    answer_rounded(prompt_text, 20, 0, true, &whole, &largest);
    for (int cut = 1; cut < 4; cut++) {
        struct fixture f;
        fixture_init(&f, 4);
        f.m.base.info.rows = f.m.rounds = true;
        memset(&anew, 0, sizeof(anew));
        memset(&rest, 0, sizeof(rest));
        snprintf(text, sizeof(text), "%s%.*s", prompt_text, cut, whole.text);
        struct sched_chat first = request(&f, &anew, prompt_text, 20);
        struct sched_chat second = request(&f, &rest, text, 20 - cut);
        second.partial = cut;
        first.exact = second.exact = first.wait = second.wait = true;
        assert_int_equal(submit(&f, &first, NULL, &ei), ERR_OK);
        assert_int_equal(submit(&f, &second, NULL, &ei), ERR_OK);
        run_all(&f);
        assert_string_equal(anew.text, whole.text);
        assert_string_equal(rest.text, whole.text + cut);
        fixture_deinit(&f);
    }
}

static char *letters(char *text, int n, char c) {
    memset(text, c, (size_t)n);
    text[n] = 0;
    return text;
}

static void ask(struct fixture *f, struct caller *c, const char *text, int max) {
    struct errinfo ei;
    struct sched_chat chat = request(f, c, text, max);
    chat.wait = true;
    assert_int_equal(submit(f, &chat, NULL, &ei), ERR_OK);
}

/* With rows; its first word does not wait for the answers' step, and they lose one step's time. */
static void short_prompt_beside_an_answer_is_a_step_of_its_own(void **state) {
    (void)state;
    struct fixture f;
    struct caller running = {0}, one = {0}, two = {0};
    char text[100];
    fixture_init(&f, 4);
    f.m.base.info.rows = true;
    ask(&f, &running, "hi>", 60);
    for (int i = 0; i < 3; i++)
        sched_round(f.s);
    assert_int_equal(running.n, 3);
    ask(&f, &one, letters(text, 60, 'x'), 20);
    ask(&f, &two, letters(text, 60, 'y'), 20);
    sched_round(f.s);
    assert_int_equal(one.n, 1);
    assert_int_equal(running.n, 3);
    sched_round(f.s); /* between two prompts the answers have a step */
    assert_int_equal(one.n, 2);
    assert_int_equal(running.n, 4);
    assert_int_equal(two.n, 0);
    sched_round(f.s);
    assert_int_equal(two.n, 1);
    sched_round(f.s);
    assert_int_equal(running.n + one.n + two.n, 5 + 3 + 2);
    fixture_deinit(&f);
}

static void small_prompts_go_one_after_another(void **state) {
    (void)state;
    struct fixture f;
    struct caller running = {0}, small[3] = {0};
    char text[100];
    fixture_init(&f, 6);
    f.m.base.info.rows = true;
    f.s->forecast.base_ns = 4e6; /* a plain step 5 ms, such a prompt 5 */
    f.s->forecast.prompt_ns = f.s->forecast.answer_ns / 2;
    ask(&f, &running, "hi>", 60);
    sched_round(f.s);
    sched_round(f.s);
    for (int i = 0; i < 3; i++)
        ask(&f, &small[i], letters(text, 2, (char)('a' + i)), 20);
    sched_round(f.s);
    sched_round(f.s);
    assert_int_equal(small[0].n, 1);
    assert_int_equal(small[1].n, 1);
    assert_int_equal(running.n, 2);
    sched_round(f.s);
    assert_int_equal(small[2].n, 1);
    assert_int_equal(running.n, 2);
    sched_round(f.s);
    assert_int_equal(running.n, 3);
    run_all(&f);
    for (int i = 0; i < 3; i++)
        assert_int_equal(small[i].n, 20);
    fixture_deinit(&f);
}

/* A step of two answers takes 12 ms and such a prompt 30: two of them wait, then one. */
static void prompts_go_on_while_more_wait_than_answer(void **state) {
    (void)state;
    struct fixture f;
    struct caller running = {0}, c[3] = {0};
    char text[100];
    fixture_init(&f, 6);
    f.m.base.info.rows = true;
    ask(&f, &running, "hi>", 60);
    sched_round(f.s);
    sched_round(f.s);
    for (int i = 0; i < 3; i++)
        ask(&f, &c[i], letters(text, 20, (char)('x' + i)), 20);
    sched_round(f.s);
    sched_round(f.s);
    assert_int_equal(c[0].n, 1);
    assert_int_equal(c[1].n, 1);
    assert_int_equal(running.n, 2);
    sched_round(f.s);
    assert_int_equal(running.n, 3);
    assert_int_equal(c[2].n, 0);
    sched_round(f.s);
    assert_int_equal(c[2].n, 1);
    assert_int_equal(running.n, 3);
    run_all(&f);
    fixture_deinit(&f);
}

static enum err (*plain_step)(struct model *m, const struct model_item *items, int n,
                              struct errinfo *ei);
static int pieces[64], n_pieces;

/* A prompt's tokens take three times as long as the forecast knows. */
static enum err slow_step(struct model *m, const struct model_item *items, int n,
                          struct errinfo *ei) {
    if (n > 1 && items[0].sequence == items[n - 1].sequence) {
        clock_test_advance(10 + 12 * n);
        pieces[n_pieces++ % 64] = n;
    } else {
        clock_test_advance(10 + n);
    }
    return plain_step(m, items, n, ei);
}

static void pieces_of_a_long_prompt_shrink_when_they_take_longer(void **state) {
    (void)state;
    static struct model_ops ops;
    struct fixture f;
    struct caller running = {0}, big = {0};
    char text[240];
    fixture_init(&f, 4);
    ops = *f.m.base.ops;
    plain_step = ops.step;
    ops.step = slow_step;
    f.m.base.ops = &ops;
    f.m.base.info.rows = true;
    f.s->o.no_guesses = true;
    f.s->forecast.prompt_ns = 4e6; /* so that the prompt is a long one */
    ask(&f, &running, "hi>", 200);
    sched_round(f.s);
    n_pieces = 0;
    ask(&f, &big, letters(text, 200, 'x'), 3);
    while (big.n == 0)
        sched_round(f.s);
    assert_in_range(n_pieces, 20, 60);
    assert_true(pieces[3] < pieces[0]);
    assert_true(pieces[3] >= 4);
    fixture_deinit(&f);
}

#define LONG   1000 /* tokens of a prompt */
#define ROLE   40   /* of the role before it */
#define CALM   14   /* ms of an undisturbed step */
#define BESIDE 20   /* of one after a piece */

static int64_t answers_ns, longest_ns;
static bool after_piece;

/* Tokens take longer the later in a prompt they are, and so do steps after pieces. */
static enum err deep_step(struct model *m, const struct model_item *items, int n,
                          struct errinfo *ei) {
    if (n > 1 && items[0].sequence == items[n - 1].sequence) {
        clock_test_advance((int)(7 + n * (1 + items[0].position / 500.0) + 0.5));
        pieces[n_pieces++ % 64] = n;
        after_piece = true;
        return plain_step(m, items, n, ei);
    }
    clock_test_advance(after_piece ? BESIDE : CALM);
    after_piece = false;
    int64_t now = clock_mono_ns();
    if (answers_ns && now - answers_ns > longest_ns)
        longest_ns = now - answers_ns;
    answers_ns = now;
    return plain_step(m, items, n, ei);
}

/* Rows, so many slots of which four answer, and their pace is known; c is of these four. */
static void four_answers(struct fixture *f, int slots, size_t shelf_bytes, int prefixes,
                         struct caller *c) {
    static struct model_ops ops;
    fixture_init(f, slots);
    sched_free(f->s);
    ops = *f->m.base.ops;
    plain_step = ops.step;
    ops.step = deep_step;
    f->m.base.ops = &ops;
    f->m.base.info.rows = true;
    f->m.base.info.window = 4096;
    const struct sched_options o = {.slots = slots,
                                    .cells = slots * 4096,
                                    .max_queued = 10,
                                    .no_guesses = true,
                                    .shelf_bytes = shelf_bytes,
                                    .prefixes = prefixes,
                                    .prefix_tokens = 100,
                                    .base_ns = 7e6,
                                    .answer_ns = 1.75e6,
                                    .prompt_ns = 1e6};
    assert_int_equal(sched_new(&f->m.base, NULL, &o, &f->s), ERR_OK);
    for (int i = 0; i < 4; i++)
        ask(f, &c[i], "hi>", 4000);
    while (c[3].n < 10)
        sched_round(f->s);
}

/* The pace is that of undisturbed steps, however long steps are beside the prompt, and however long
 * its last tokens take. */
static void long_prompt_makes_no_gap_of_four_undisturbed_steps(void **state) {
    (void)state;
    struct fixture f;
    struct caller c[4] = {0}, big = {0};
    char text[LONG + 1];
    four_answers(&f, 5, 0, 0, c);
    answers_ns = longest_ns = 0;
    n_pieces = 0;
    ask(&f, &big, letters(text, LONG, 'x'), 3);
    while (big.n == 0)
        sched_round(f.s);
    assert_in_range(longest_ns / MS, 2 * CALM, 4 * CALM);
    assert_in_range(n_pieces, 60, 250);
    fixture_deinit(&f);
}

/* As before, but somebody whose slot must be taken from a conversation comes just after a piece of
 * the long prompt: moving that takes so many ms. */
static void come_after_a_piece(int ms) {
    struct fixture f;
    struct caller c[4] = {0}, first = {0}, second = {0}, big = {0}, late = {0};
    struct errinfo ei;
    char text[LONG + 1], other[LONG + 1];
    uint64_t id;
    four_answers(&f, 6, 1 << 20, 0, c);
    ask(&f, &first, letters(text, LONG, 'x'), 3);
    ask(&f, &second, letters(other, LONG, 'w'), 3);
    while (!first.dones || !second.dones)
        sched_round(f.s);
    f.m.bytes_per_ms = (LONG + 2) * (int)sizeof(int32_t) / ms;
    n_pieces = 0;
    ask(&f, &big, letters(text, LONG, 'z'), 3);
    while (n_pieces < 10 || !after_piece)
        sched_round(f.s);
    longest_ns = 0;
    struct sched_chat chat = request(&f, &late, letters(other, LONG, 'y'), 3);
    chat.wait = true;
    assert_int_equal(submit(&f, &chat, &id, &ei), ERR_OK);
    for (int i = 0; i < 2000 && (big.n == 0 || late.n == 0); i++)
        sched_round(f.s);
    assert_true(big.n > 0 && late.n > 0);
    assert_int_equal(f.m.saves, 2);
    assert_int_equal(f.m.forced, 0);
    assert_in_range(longest_ns / MS, 2 * CALM, 4 * CALM);
    fixture_deinit(&f);
}

static void who_comes_after_a_piece_makes_no_gap_of_four_undisturbed_steps(void **state) {
    (void)state;
    for (int ms = 5; ms < 120; ms += 7)
        come_after_a_piece(ms);
}

/* Longest gaps of four answers while a long prompt is read for which a conversation of as many
 * tokens, which began alike, has to leave its slot: moving its bytes takes so many ms. Then the
 * first conversation goes on. With gone the newcomer leaves while the bytes move. */
static void read_in_a_slot_that_was_taken(int ms, bool gone, struct caller *ret_back) {
    struct fixture f;
    struct caller c[4] = {0}, first = {0}, big = {0};
    struct errinfo ei;
    char text[LONG + 1], other[LONG + 1];
    uint64_t id;
    four_answers(&f, 5, 1 << 20, 1, c);
    ask(&f, &first, letters(text, LONG, 'x'), 3);
    while (!first.dones)
        sched_round(f.s);
    f.m.bytes_per_ms = (LONG + 2) * (int)sizeof(int32_t) / ms;
    answers_ns = longest_ns = 0;
    n_pieces = 0;
    memset(letters(other, LONG, 'y'), 'x', ROLE);
    struct sched_chat chat = request(&f, &big, other, 3);
    chat.wait = true;
    chat.prefix = ROLE;
    assert_int_equal(submit(&f, &chat, &id, &ei), ERR_OK);
    int before = c[0].n;
    for (int i = 0; i < 2; i++)
        sched_round(f.s);
    assert_true(copies_left(&f.m.begun));
    assert_int_equal(c[0].n, before + 2); /* the answers go on meanwhile, and no piece is read */
    assert_int_equal(n_pieces, 0);
    if (gone)
        sched_cancel(f.s, id);
    while (gone ? !big.dones || copies_left(&f.m.begun) : big.n == 0)
        sched_round(f.s);
    assert_in_range(longest_ns / MS, 2 * CALM, 3 * CALM + CALM / 2 + 1);
    assert_int_equal(f.m.forced, 0);
    int loads = f.m.loads;
    strcpy(other, text);
    other[LONG - 1] = 0;
    ask(&f, ret_back, other, 3);
    while (!ret_back->dones)
        sched_round(f.s);
    assert_int_equal(f.m.loads, loads + 1);
    assert_int_equal(f.m.forced, 0);
    fixture_deinit(&f);
}

static void taking_a_slot_makes_no_gap_of_four_undisturbed_steps(void **state) {
    (void)state;
    struct fixture f;
    struct caller alone = {0};
    char text[LONG + 1];
    fixture_init(&f, 5);
    f.m.base.info.window = 4096;
    letters(text, LONG, 'x')[LONG - 1] = 0;
    ask(&f, &alone, text, 3);
    run_all(&f);
    fixture_deinit(&f);
    assert_int_equal(alone.n, 3);
    for (int ms = 80; ms < 120; ms += 3)
        for (int gone = 0; gone < 2; gone++) {
            struct caller back = {0};
            read_in_a_slot_that_was_taken(ms, gone, &back);
            assert_string_equal(back.text, alone.text);
        }
}

/* Its tokens were said one by one: so they are computed, each in the step of those who answer. */
static void exact_continuation_goes_along_with_running_answers(void **state) {
    (void)state;
    struct fixture f;
    struct caller running = {0}, rest = {0};
    struct errinfo ei;
    fixture_init(&f, 4);
    f.m.base.info.rows = f.m.rounds = true;
    ask(&f, &running, "hi>", 100);
    sched_round(f.s);
    sched_round(f.s);
    struct sched_chat chat = request(&f, &rest, "tell me>once upon a time", 5);
    chat.partial = 16;
    chat.exact = chat.wait = true;
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    sched_round(f.s); /* the prompt */
    assert_int_equal(running.n, 2);
    for (int i = 0; i < 16; i++)
        sched_round(f.s);
    assert_int_equal(running.n, 18);
    assert_int_equal(rest.n, 1);
    fixture_deinit(&f);
}

static void on_vectors(void *ctx, enum err e, float *vectors, const struct errinfo *ei) {
    (void)ei;
    *(int *)ctx += e == ERR_OK;
    free(vectors);
}

static void show(struct fixture *f, int *done) {
    struct sched_embed e = {.n = 1, .on_done = on_vectors, .ctx = done};
    struct errinfo ei;
    uint64_t id;
    e.texts = calloc(1, sizeof(*e.texts));
    assert_int_equal(tokens_add(&e.texts[0], NULL, 5), ERR_OK);
    assert_int_equal(sched_embed_submit(f->s, &e, &id, &ei), ERR_OK);
}

/* Once questions have followed their texts at once, the answers' next step waits for one: it would
 * otherwise have to wait for that step. */
static void question_that_follows_its_text_is_waited_for(void **state) {
    (void)state;
    struct fixture f;
    struct caller c[6] = {0}, running = {0}, last = {0};
    int texts = 0;
    fixture_init(&f, 4);
    f.m.base.info.rows = true;
    for (int i = 0; i < 6; i++) {
        show(&f, &texts);
        run_all(&f);
        clock_test_advance(4);
        ask(&f, &c[i], "what?>", 1);
        run_all(&f);
    }
    ask(&f, &running, "hi>", 60);
    sched_round(f.s);
    sched_round(f.s);
    int said = running.n;
    show(&f, &texts);
    assert_true(sched_round(f.s));
    assert_int_equal(texts, 7);
    assert_false(sched_round(f.s)); /* it may sleep until then, or until there is news */
    assert_int_equal(f.s->rest_ns - clock_mono_ns(), 9 * MS);
    assert_int_equal(running.n, said);
    ask(&f, &last, "and?>", 10);
    assert_true(sched_round(f.s));
    assert_int_equal(last.n, 1);
    assert_int_equal(running.n, said);
    assert_true(sched_round(f.s));
    assert_int_equal(running.n, said + 1);
    clock_test_advance(50);
    show(&f, &texts); /* whose question does not come */
    assert_true(sched_round(f.s));
    assert_false(sched_round(f.s));
    clock_test_advance(9);
    said = running.n;
    assert_true(sched_round(f.s));
    assert_int_equal(running.n, said + 1);
    for (int i = 0; i < 8; i++) { /* nor those of any others: nobody is waited for any more */
        clock_test_advance(50);
        show(&f, &texts);
        while (!sched_round(f.s))
            clock_test_advance(1);
    }
    said = running.n;
    clock_test_advance(50);
    show(&f, &texts);
    assert_true(sched_round(f.s));
    assert_int_equal(running.n, said + 1);
    fixture_deinit(&f);
}

/* On a machine whose steps are shorter than the time until the question comes. */
static void quick_steps_are_not_held_back(void **state) {
    (void)state;
    struct fixture f;
    struct caller c[6] = {0}, running = {0};
    int texts = 0;
    fixture_init(&f, 4);
    f.m.base.info.rows = true;
    f.s->forecast.base_ns = 1e6;
    f.s->forecast.answer_ns = f.s->forecast.prompt_ns = 0.1e6;
    for (int i = 0; i < 6; i++) {
        show(&f, &texts);
        run_all(&f);
        clock_test_advance(4);
        ask(&f, &c[i], "what?>", 1);
        run_all(&f);
    }
    ask(&f, &running, "hi>", 60);
    sched_round(f.s);
    show(&f, &texts);
    int said = running.n;
    assert_true(sched_round(f.s));
    assert_int_equal(texts, 7);
    assert_int_equal(running.n, said + 1);
    fixture_deinit(&f);
}

static void same_prompt_again_is_computed_alike(void **state) {
    (void)state;
    struct fixture f;
    struct caller c[3] = {0};
    struct errinfo ei;
    fixture_init(&f, 2);
    f.m.base.info.rows = f.m.rounds = true;
    for (int i = 0; i < 3; i++) {
        struct sched_chat chat = request(&f, &c[i], "the same question>", 30);
        chat.exact = true;
        assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
        run_all(&f);
        assert_string_equal(c[i].text, c[0].text);
    }
    assert_true(f.m.computed < 3 * (18 + 29));
    fixture_deinit(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quoting_answer_takes_fewer_steps_and_is_the_same),
        cmocka_unit_test(seeded_answer_is_the_same_with_guesses),
        cmocka_unit_test(guesses_end_with_the_tokens_allowed),
        cmocka_unit_test(next_turn_starts_from_what_was_right),
        cmocka_unit_test(requests_that_come_together_compute_their_role_once),
        cmocka_unit_test(exact_answer_cut_anywhere_goes_on_as_it_would_have),
        cmocka_unit_test(exact_continuation_beside_the_same_prompt_goes_on),
        cmocka_unit_test(same_prompt_again_is_computed_alike),
        cmocka_unit_test(short_prompt_beside_an_answer_is_a_step_of_its_own),
        cmocka_unit_test(prompts_go_on_while_more_wait_than_answer),
        cmocka_unit_test(small_prompts_go_one_after_another),
        cmocka_unit_test(pieces_of_a_long_prompt_shrink_when_they_take_longer),
        cmocka_unit_test(long_prompt_makes_no_gap_of_four_undisturbed_steps),
        cmocka_unit_test(taking_a_slot_makes_no_gap_of_four_undisturbed_steps),
        cmocka_unit_test(who_comes_after_a_piece_makes_no_gap_of_four_undisturbed_steps),
        cmocka_unit_test(question_that_follows_its_text_is_waited_for),
        cmocka_unit_test(quick_steps_are_not_held_back),
        cmocka_unit_test(exact_continuation_goes_along_with_running_answers),
        cmocka_unit_test(models_that_cannot_be_cut_are_not_guessed_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
