/* Many users in a closed loop on a model whose steps take what a real one's take, in time that
 * stands still but for them: what the scheduler promises can then be counted exactly, on any
 * machine. */
#include "engine/sched_internal.h"
#include "unit/engine/sched_fixture.h"

#include <math.h>

#define USERS_MAX    128
#define ROLE         128 /* tokens that all prompts share */
#define QUESTION     40
#define ANSWER       64
#define QUESTION_MAX 480
#define WINDOW       640
#define SECONDS      60
#define THINK_NS     5000000 /* from an answer's end to the next question */
#define EMBED_MS     10
#define BATCH_MS     45      /* a batch of documents' texts */
#define TEXTS        16      /* of documents, embedded at once */
#define JUDGE_NS     4000000 /* from a text's vector to its question */

struct costs { /* nanoseconds */
    double base, answer, prompt;
};

/* About SmolLM2-135M and Qwen2.5-Coder-0.5B in Q8_0 on 2 cores: by AVX2, and as measured since
 * sixteen rows are multiplied at a time. */
static const struct costs small = {11e6, 2.4e6, 2.3e6}, usual = {38e6, 9e6, 7.2e6};
static const struct costs small_fast = {6.9e6, 2.6e6, 1.2e6}, usual_fast = {20e6, 4.3e6, 2.3e6};

static struct costs now_costs;
static double noise; /* of a step's time, as a share */
static uint64_t dice_state;
static int answer_tokens, least_question, most_question;
static bool passages;
static enum err (*plain_embed)(struct model *m, const struct tokens *texts, int n, float *ret,
                               struct errinfo *ei);
static enum err (*plain_step)(struct model *m, const struct model_item *items, int n,
                              struct errinfo *ei);

static double dice(void) {
    dice_state = dice_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(dice_state >> 33) / (double)(1ull << 31);
}

/* With rows each sequence of several tokens is a pass over the weights, and those of one together.
 */
static int passes(const struct model *m, const struct model_item *items, int n) {
    int several = 0, single = 0;
    for (int i = 0, k; i < n; i = k) {
        for (k = i + 1; k < n && items[k].sequence == items[i].sequence; k++)
            ;
        several += k - i > 1;
        single += k - i == 1;
    }
    return m->info.rows ? several + (single > 0) : 1;
}

static void people_act(void);

/* Time goes by, and people do not wait for a step to end. */
static void let_pass(int ms) {
    for (int i = 0; i < ms; i++) {
        clock_test_advance(1);
        people_act();
    }
}

static enum err timed_step(struct model *m, const struct model_item *items, int n,
                           struct errinfo *ei) {
    double ns = now_costs.base * passes(m, items, n);
    for (int i = 0; i < n; i++)
        ns += items[i].logits ? now_costs.answer : now_costs.prompt;
    ns *= 1 + noise * dice();
    let_pass((int)(ns / 1e6 + 0.5));
    return plain_step(m, items, n, ei);
}

static struct {
    struct sched *s; /* NULL: none are brought in */
    bool waiting;    /* the engine has texts of theirs */
    int batches;
} documents;

/* A question of some tokens, for the guard and for searching; or a batch of documents' texts, which
 * is called off like llama.cpp's: at the next look. */
static enum err timed_embed(struct model *m, const struct tokens *texts, int n, float *ret,
                            struct errinfo *ei) {
    bool batch = documents.s && texts[0].n > QUESTION;
    for (int ms = 0; ms < (batch ? BATCH_MS : EMBED_MS); ms++) {
        let_pass(1);
        if (documents.s && sched_should_abort(documents.s))
            return err_set(ei, ERR_CANCELLED, NULL);
    }
    documents.batches += batch;
    return m->info.dimensions ? plain_embed(m, texts, n, ret, ei) : ERR_INTERNAL;
}

struct user {
    struct fixture *f;
    int64_t next_ns, asked_ns; /* asks at; has asked at, 0 = does not wait */
    int64_t token_ns;
    int64_t judged_ns; /* its text was embedded; the question follows then, 0 = not yet */
    int number;
    bool wait, program; /* program: through the whole program, which embeds what is asked first */
};

static struct {
    double ttft[100000], whole[100000], gaps[100000], gap, late;
    int answers, refused, tokens, good, n_gaps, ended;
} seen;

static void on_load_event(void *ctx, const struct sched_event *e) {
    struct user *u = ctx;
    int64_t now = clock_mono_ns();
    if (e->queued)
        return;
    if (e->done) {
        if (e->end == SCHED_FAILED) {
            seen.refused++;
            seen.late++;
            u->next_ns = now + (int64_t)e->ei->retry_after_ms * 1000000;
        } else {
            u->next_ns = now + THINK_NS;
            seen.whole[seen.ended++] = (double)(now - u->asked_ns);
        }
        u->asked_ns = 0;
        return;
    }
    seen.tokens++;
    if (u->token_ns == 0) {
        double ns = (double)(now - u->asked_ns);
        seen.good += ns < 1e9;
        seen.ttft[seen.answers++] = ns;
    } else {
        seen.gap = fmax(seen.gap, (double)(now - u->token_ns));
        if (seen.n_gaps < 100000)
            seen.gaps[seen.n_gaps++] = (double)(now - u->token_ns);
    }
    u->token_ns = now;
}

static void on_judged(void *ctx, enum err e, float *vectors, const struct errinfo *ei) {
    struct user *u = ctx;
    (void)ei;
    u->judged_ns = e ? 0 : clock_mono_ns() + JUDGE_NS; /* the end of all breaks it off */
    free(vectors);
}

/* The guard's part of a turn; ask() is to follow. */
static void show(struct user *u) {
    struct sched_embed e = {.n = 1, .on_done = on_judged, .ctx = u};
    struct errinfo ei;
    uint64_t id;
    e.texts = calloc(1, sizeof(*e.texts));
    assert_int_equal(tokens_add(&e.texts[0], NULL, 20), ERR_OK);
    memset(e.texts[0].p, 0, 20 * sizeof(*e.texts[0].p));
    u->asked_ns = clock_mono_ns();
    u->judged_ns = u->token_ns = 0;
    assert_int_equal(sched_embed_submit(u->f->s, &e, &id, &ei), ERR_OK);
}

static struct user people[USERS_MAX];
static int n_people;

/* As many tokens of passages as can be read in time beside others who wait or are answered, as
 * src/upstream/reading.c reckons. */
static int passage_tokens(const struct user *u) {
    int reading = 0, answering = 0;
    for (int i = 0; i < n_people; i++) {
        const struct user *v = &people[i];
        reading += v != u && v->asked_ns && !v->token_ns;
        answering += v->asked_ns && v->token_ns;
    }
    double n = 1e9 / now_costs.prompt * 0.65 * (answering ? 0.6 : 1) / (1 + reading);
    return (int)fmin(n, QUESTION_MAX - most_question);
}

static void ask(struct user *u) {
    char prompt[ROLE + QUESTION_MAX + 1];
    int question = least_question + (int)(dice() * (most_question - least_question + 1));
    question += passages ? passage_tokens(u) : 0;
    struct errinfo ei;
    uint64_t id;
    memset(prompt, 'r', ROLE);
    for (int i = 0; i < question; i++)
        prompt[ROLE + i] = (char)('a' + dice() * 26);
    prompt[ROLE + question] = 0;
    struct sched_chat chat = request(u->f, NULL, prompt, answer_tokens);
    chat.on_event = on_load_event;
    chat.ctx = u;
    chat.user = (uint64_t)u->number + 1;
    chat.prefix = ROLE;
    chat.wait = u->wait;
    u->asked_ns = u->program ? u->asked_ns : clock_mono_ns();
    u->token_ns = u->judged_ns = 0;
    if (sched_chat_submit(u->f->s, &chat, &id, &ei) == ERR_OK)
        return;
    tokens_deinit(&chat.prompt);
    seen.refused++;
    u->asked_ns = 0;
    u->next_ns = clock_mono_ns() + (int64_t)(ei.retry_after_ms * 1e6 * (1 + 0.2 * dice()));
}

static void on_documents(void *ctx, enum err e, float *vectors, const struct errinfo *ei) {
    (void)ctx, (void)e, (void)ei;
    documents.waiting = false;
    free(vectors);
}

/* There are always more. */
static void bring_documents(void) {
    struct sched_embed e = {.n = TEXTS, .background = true, .on_done = on_documents};
    struct errinfo ei;
    uint64_t id;
    e.texts = calloc(TEXTS, sizeof(*e.texts));
    for (int i = 0; i < TEXTS; i++) {
        assert_int_equal(tokens_add(&e.texts[i], NULL, 90), ERR_OK);
        memset(e.texts[i].p, 0, 90 * sizeof(*e.texts[i].p));
    }
    documents.waiting = true;
    assert_int_equal(sched_embed_submit(documents.s, &e, &id, &ei), ERR_OK);
}

static void people_act(void) {
    int64_t now = clock_mono_ns();
    if (documents.s && !documents.waiting)
        bring_documents();
    for (int i = 0; i < n_people; i++) {
        struct user *u = &people[i];
        if (u->asked_ns == 0 && u->next_ns <= now)
            (u->program ? show : ask)(u);
        else if (u->judged_ns && u->judged_ns <= now)
            ask(u);
    }
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile_of(double *values, int n, double q) {
    qsort(values, (size_t)n, sizeof(*values), by_size);
    int i = (int)(q * n);
    return n ? values[i < n ? i : n - 1] / 1e6 : 0;
}

static double quantile(double q) { /* of times to the first token, ms */
    return quantile_of(seen.ttft, seen.answers, q);
}

struct load {
    struct costs costs;
    int slots, users;
    bool wait, pool, program;
    int answer, least, most; /* tokens: of answers; of questions */
    bool passages;           /* beside these */
    bool together;           /* all begin at once */
    bool documents;          /* are brought in beside */
    double weight;           /* of a prompt's length in the order; 0 = the usual one */
};

/* A scheduler on a model whose steps take their time; what was seen and drawn begins anew. */
static void load_init(struct fixture *f, const struct load *l) {
    static struct model_ops ops;
    const struct sched_options o = {.slots = l->slots,
                                    .prefixes = 4,
                                    .prefix_tokens = 1024,
                                    .cells = l->slots * WINDOW,
                                    .max_queued = 256,
                                    .deadline_ms = 1000,
                                    .hold_ms = 300,
                                    .base_ns = l->costs.base,
                                    .answer_ns = l->costs.answer,
                                    .prompt_ns = l->costs.prompt};
    memset(&seen, 0, sizeof(seen));
    now_costs = l->costs;
    noise = 0.2;
    dice_state = 42;
    answer_tokens = l->answer;
    least_question = l->least;
    most_question = l->most;
    passages = l->passages;
    fixture_init(f, l->slots);
    sched_free(f->s);
    ops = *f->m.base.ops;
    plain_step = ops.step;
    plain_embed = ops.embed;
    ops.step = timed_step;
    ops.embed = timed_embed;
    f->m.base.ops = &ops;
    f->m.base.info.rows = !l->pool;
    f->m.base.info.window = WINDOW;
    assert_int_equal(sched_new(&f->m.base, &f->m.base, &o, &f->s), ERR_OK);
    if (l->weight > 0)
        f->s->forecast.weight = l->weight;
}

static void simulate(struct load l) {
    struct fixture f;
    load_init(&f, &l);
    people[0] = (struct user){.f = &f, .wait = true};
    ask(&people[0]); /* so that the role's prompt is held, as it is on all days but the first */
    while (sched_round(f.s))
        ;
    memset(&seen, 0, sizeof(seen));
    int64_t begin = clock_mono_ns(), end = begin + SECONDS * 1000000000ll;
    for (int i = 0; i < l.users; i++)
        people[i] = (struct user){.f = &f,
                                  .next_ns = begin + (l.together ? 0 : (int64_t)(dice() * 2e9)),
                                  .number = i,
                                  .wait = l.wait,
                                  .program = l.program};
    n_people = l.users;
    documents.s = l.documents ? f.s : NULL;
    documents.waiting = false;
    documents.batches = 0;
    while (clock_mono_ns() < end)
        if (!sched_round(f.s))
            let_pass(1);
    n_people = 0;
    documents.s = NULL;
    fixture_deinit(&f);
    print_message(
        "%s, %d users%s: %d answers of %d began, %d refused (%.0f late), TTFT p50 %.0f "
        "p99 %.0f last %.0f ms, whole p50 %.0f ms, gaps p99 %.0f, longest %.0f ms, %.0f tokens/s, "
        "%.2f good answers/s\n",
        l.pool ? "pool" : "rows", l.users, l.wait ? ", waiting" : "", seen.answers, l.answer,
        seen.refused, seen.late, quantile(0.5), quantile(0.99), quantile(1),
        quantile_of(seen.whole, seen.ended, 0.5), quantile_of(seen.gaps, seen.n_gaps, 0.99),
        seen.gap / 1e6, (double)seen.tokens / SECONDS, (double)seen.good / SECONDS);
}

/* What the steps' costs allow when all slots always answer: answers per second. */
static double capacity(struct costs c, int slots) {
    double step = c.base + slots * c.answer;
    return 1e9 / (step * ANSWER / slots + (QUESTION - 1) * c.prompt + c.answer);
}

static struct load standard(struct costs costs, int users) { /* bench-engine's */
    return (struct load){.costs = costs,
                         .slots = 16,
                         .users = users,
                         .answer = ANSWER,
                         .least = QUESTION,
                         .most = QUESTION};
}

static void promises_hold_at_any_number_of_users(void **state) {
    (void)state;
    static const int users[] = {8, 16, 32, 128};
    static const struct costs *const costs[] = {&small, &small_fast, &usual, &usual_fast};
    for (size_t m = 0; m < sizeof(costs) / sizeof(*costs); m++)
        for (int i = 0; i < 4; i++) {
            struct load l = standard(*costs[m], users[i]);
            simulate(l);
            assert_true(quantile(0.99) < 1000);
            assert_true(seen.late < seen.answers * 0.03 + 2);
            if (users[i] >= 32)
                assert_true((double)seen.good / SECONDS > capacity(l.costs, 16) * 0.75);
        }
}

/* Short prompts come after long ones that were promised their time. */
static void promises_hold_for_prompts_of_any_length(void **state) {
    (void)state;
    static const struct costs *const costs[] = {&small, &small_fast, &usual_fast};
    for (size_t m = 0; m < sizeof(costs) / sizeof(*costs); m++)
        for (int users = 16; users <= 128; users *= 8) {
            struct load l = standard(*costs[m], users);
            l.least = 10;
            l.most = 160;
            simulate(l);
            assert_true(quantile(0.99) < 1000);
            assert_true(seen.late < seen.answers * 0.04 + 2);
        }
}

static void waiting_users_are_all_answered(void **state) {
    (void)state;
    struct load l = standard(small, 32);
    l.wait = true;
    simulate(l);
    assert_int_equal(seen.refused, 0);
    assert_true((double)seen.answers / SECONDS > capacity(small, 16) * 0.8);
}

struct few { /* who wait, and what they may wait (ms) */
    const struct costs *costs;
    int users, p50, p99;
};

static void simulate_few(const struct few *c, struct load l) {
    l.costs = *c->costs;
    l.users = c->users;
    l.slots = 16;
    l.wait = l.program = l.together = true;
    simulate(l);
    assert_int_equal(seen.refused, 0);
    assert_true(quantile(0.5) < c->p50);
    assert_true(quantile(0.99) < c->p99);
}

/* As bench-ttft's: people who wait ask, read and ask again; at first all ask at once. With the
 * costs of AVX2 four questions to the larger model are more than a second of computing. */
static void few_users_have_their_first_word_soon(void **state) {
    (void)state;
    static const struct few cases[] = {{&usual, 1, 350, 500},      {&usual, 2, 500, 1000},
                                       {&usual, 4, 600, 1600},     {&small, 4, 250, 600},
                                       {&small, 8, 250, 1000},     {&usual_fast, 1, 150, 250},
                                       {&usual_fast, 2, 250, 400}, {&usual_fast, 4, 300, 700},
                                       {&small_fast, 4, 150, 400}, {&small_fast, 8, 200, 700}};
    for (int pool = 0; pool < 2; pool++)
        for (int answer = 16; answer <= 64; answer += 48)
            for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
                simulate_few(
                    &cases[i],
                    (struct load){.pool = pool, .answer = answer, .least = 12, .most = 40});
}

/* Prompts of unequal length, as passages make them. */
static void grounded_prompts_have_their_first_word_in_time(void **state) {
    (void)state;
    static const struct few cases[] = {
        {&small, 4, 600, 1600}, {&small_fast, 4, 450, 1000}, {&usual_fast, 4, 700, 2000}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        simulate_few(&cases[i], (struct load){.answer = 32, .least = 60, .most = 160});
    static const struct few shared[] = {
        {&small, 4, 950, 1300}, {&small_fast, 4, 900, 1000}, {&usual_fast, 1, 900, 1000}};
    for (size_t i = 0; i < sizeof(shared) / sizeof(*shared); i++)
        simulate_few(&shared[i],
                     (struct load){.answer = 32, .least = 12, .most = 40, .passages = true});
}

/* Bringing documents in moves first words by a fifth at most, and never stands still. */
static void documents_beside_move_first_words_little(void **state) {
    (void)state;
    static const struct few cases[] = {
        {&small_fast, 1, 0, 0}, {&small_fast, 4, 0, 0}, {&usual_fast, 1, 0, 0}, {&small, 4, 0, 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct load l = {.costs = *cases[i].costs,
                         .slots = 16,
                         .users = cases[i].users,
                         .wait = true,
                         .program = true,
                         .together = true,
                         .answer = 32,
                         .least = 60,
                         .most = 160};
        simulate(l);
        double p50 = quantile(0.5), p99 = quantile(0.99);
        l.documents = true;
        simulate(l);
        print_message("documents beside: p50 %.0f to %.0f ms, p99 %.0f to %.0f, %.1f batches/s\n",
                      p50, quantile(0.5), p99, quantile(0.99), (double)documents.batches / SECONDS);
        assert_true(quantile(0.5) <= 1.2 * p50);
        assert_true(quantile(0.99) <= 1.2 * p99);
        assert_true(documents.batches >= SECONDS / 3);
    }
}

/* Four answers run; a prompt of 200 tokens comes. */
static void long_prompt_keeps_running_answers_at_their_pace(void **state) {
    (void)state;
    struct fixture f;
    struct user u[4], big = {.wait = true};
    n_people = 0;
    char prompt[201];
    uint64_t id;
    struct errinfo ei;
    struct load l = standard(usual, 4);
    l.slots = 5;
    load_init(&f, &l);
    big.f = &f;
    for (int i = 0; i < 4; i++) {
        u[i] = (struct user){.f = &f, .number = i, .wait = true};
        ask(&u[i]);
    }
    while (seen.answers < 4)
        sched_round(f.s);
    for (int i = 0; i < 4; i++)
        sched_round(f.s);
    memset(&seen, 0, sizeof(seen));
    memset(prompt, 'x', 200);
    prompt[200] = 0;
    struct sched_chat chat = request(&f, NULL, prompt, 2);
    chat.on_event = on_load_event;
    chat.ctx = &big;
    chat.wait = true;
    big.asked_ns = clock_mono_ns();
    assert_int_equal(sched_chat_submit(f.s, &chat, &id, &ei), ERR_OK);
    while (big.token_ns == 0)
        sched_round(f.s);
    double plain = (usual.base + 4 * usual.answer) / 1e6;
    print_message("longest gap %.0f ms, a plain step %.0f ms, the prompt %.0f ms\n", seen.gap / 1e6,
                  plain, seen.ttft[0] / 1e6);
    assert_true(seen.gap / 1e6 < 4 * plain);
    assert_true(seen.ttft[0] < 2.5 * 200 * usual.prompt);
    fixture_deinit(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promises_hold_at_any_number_of_users),
        cmocka_unit_test(promises_hold_for_prompts_of_any_length),
        cmocka_unit_test(few_users_have_their_first_word_soon),
        cmocka_unit_test(grounded_prompts_have_their_first_word_in_time),
        cmocka_unit_test(documents_beside_move_first_words_little),
        cmocka_unit_test(long_prompt_keeps_running_answers_at_their_pace),
        cmocka_unit_test(waiting_users_are_all_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
