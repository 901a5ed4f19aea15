/* Many users in a closed loop on a model whose steps take what a real one's take, in time that
 * stands still but for them: what the scheduler promises can then be counted exactly, on any
 * machine. */
#include "unit/engine/sched_fixture.h"

#include <math.h>

#define USERS_MAX 128
#define ROLE      128 /* tokens that all prompts share */
#define QUESTION  40
#define ANSWER    64
#define SECONDS   60

struct costs { /* nanoseconds */
    double base, answer, prompt;
};

static const struct costs small = {11e6, 2.4e6,
                                   2.3e6}; /* about SmolLM2-135M in Q8_0 on 2 AVX2 cores */
static const struct costs usual = {38e6, 9e6, 7.2e6}; /* about Qwen2.5-Coder-0.5B in Q8_0 */

static struct costs now_costs;
static double noise; /* of a step's time, as a share */
static uint64_t dice_state;
static enum err (*plain_step)(struct model *m, const struct model_item *items, int n,
                              struct errinfo *ei);

static double dice(void) {
    dice_state = dice_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(dice_state >> 33) / (double)(1ull << 31);
}

static enum err timed_step(struct model *m, const struct model_item *items, int n,
                           struct errinfo *ei) {
    double ns = now_costs.base;
    for (int i = 0; i < n; i++)
        ns += items[i].logits ? now_costs.answer : now_costs.prompt;
    ns *= 1 + noise * dice();
    clock_test_advance((int64_t)(ns / 1e6 + 0.5));
    return plain_step(m, items, n, ei);
}

struct user {
    struct fixture *f;
    int64_t next_ns, asked_ns; /* asks at; has asked at, 0 = does not wait */
    int64_t token_ns;
    int number, rounds;
    bool wait;
};

static struct {
    double ttft[100000], gap, late;
    int answers, refused, tokens, good;
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
            u->next_ns = now + 5000000;
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
    }
    u->token_ns = now;
}

static void ask(struct user *u) {
    char prompt[ROLE + QUESTION + 1];
    struct errinfo ei;
    uint64_t id;
    memset(prompt, 'r', ROLE);
    for (int i = 0; i < QUESTION; i++)
        prompt[ROLE + i] = (char)('a' + dice() * 26);
    prompt[ROLE + QUESTION] = 0;
    struct sched_chat chat = request(u->f, NULL, prompt, ANSWER);
    chat.on_event = on_load_event;
    chat.ctx = u;
    chat.user = (uint64_t)u->number + 1;
    chat.prefix = ROLE;
    chat.wait = u->wait;
    u->asked_ns = clock_mono_ns();
    u->token_ns = 0;
    if (sched_chat_submit(u->f->s, &chat, &id, &ei) == ERR_OK)
        return;
    tokens_deinit(&chat.prompt);
    seen.refused++;
    u->asked_ns = 0;
    u->next_ns = clock_mono_ns() + (int64_t)(ei.retry_after_ms * 1e6 * (1 + 0.2 * dice()));
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(double q) {
    qsort(seen.ttft, (size_t)seen.answers, sizeof(*seen.ttft), by_size);
    int i = (int)(q * seen.answers);
    return seen.answers ? seen.ttft[i < seen.answers ? i : seen.answers - 1] / 1e6 : 0;
}

static void simulate(struct costs costs, int slots, int users, bool wait, double with_noise) {
    static struct model_ops ops;
    static struct user u[USERS_MAX];
    struct fixture f;
    const struct sched_options o = {.slots = slots,
                                    .prefixes = 4,
                                    .prefix_tokens = 1024,
                                    .cells = slots * SCRIPTED_WINDOW,
                                    .max_queued = 256,
                                    .deadline_ms = 1000,
                                    .base_ns = costs.base,
                                    .answer_ns = costs.answer,
                                    .prompt_ns = costs.prompt};
    memset(&seen, 0, sizeof(seen));
    now_costs = costs;
    noise = with_noise;
    dice_state = 42;
    fixture_init(&f, slots);
    sched_free(f.s);
    ops = *f.m.base.ops;
    plain_step = ops.step;
    ops.step = timed_step;
    f.m.base.ops = &ops;
    assert_int_equal(sched_new(&f.m.base, NULL, &o, &f.s), ERR_OK);
    u[0] = (struct user){.f = &f, .wait = true};
    ask(&u[0]); /* so that the role's prompt is held, as it is on all days but the first */
    while (sched_round(f.s))
        ;
    memset(&seen, 0, sizeof(seen));
    int64_t begin = clock_mono_ns(), end = begin + SECONDS * 1000000000ll;
    for (int i = 0; i < users; i++)
        u[i] = (struct user){
            .f = &f, .next_ns = begin + (int64_t)(dice() * 2e9), .number = i, .wait = wait};
    while (clock_mono_ns() < end) {
        for (int i = 0; i < users; i++)
            if (u[i].asked_ns == 0 && u[i].next_ns <= clock_mono_ns())
                ask(&u[i]);
        if (!sched_round(f.s))
            clock_test_advance(1);
    }
    fixture_deinit(&f);
    print_message(
        "%d users, %d slots%s: %d answers began, %d refused (%.0f late), TTFT p50 %.0f p99 "
        "%.0f ms, longest gap %.0f ms, %.0f tokens/s, %.2f good answers/s\n",
        users, slots, wait ? ", waiting" : "", seen.answers, seen.refused, seen.late, quantile(0.5),
        quantile(0.99), seen.gap / 1e6, (double)seen.tokens / SECONDS, (double)seen.good / SECONDS);
}

/* What the steps' costs allow when all slots always answer: answers per second. */
static double capacity(struct costs c, int slots) {
    double step = c.base + slots * c.answer;
    return 1e9 / (step * ANSWER / slots + (QUESTION - 1) * c.prompt + c.answer);
}

static void promises_hold_at_any_number_of_users(void **state) {
    (void)state;
    static const int users[] = {8, 16, 32, 128};
    for (int m = 0; m < 2; m++)
        for (int i = 0; i < 4; i++) {
            struct costs c = m ? usual : small;
            simulate(c, 16, users[i], false, 0.2);
            assert_true(quantile(0.99) < 1000);
            assert_true(seen.late < seen.answers * 0.02 + 1);
            if (users[i] >= 32)
                assert_true((double)seen.good / SECONDS > capacity(c, 16) * 0.75);
        }
}

static void waiting_users_are_all_answered(void **state) {
    (void)state;
    simulate(small, 16, 32, true, 0.2);
    assert_int_equal(seen.refused, 0);
    assert_true((double)seen.answers / SECONDS > capacity(small, 16) * 0.8);
}

/* Four answers run; a prompt of 200 tokens comes. */
static void long_prompt_keeps_running_answers_at_their_pace(void **state) {
    (void)state;
    static struct model_ops ops;
    struct fixture f;
    struct user u[4], big = {.wait = true};
    char prompt[201];
    uint64_t id;
    struct errinfo ei;
    const struct sched_options o = {.slots = 5,
                                    .cells = 5 * SCRIPTED_WINDOW,
                                    .max_queued = 8,
                                    .base_ns = usual.base,
                                    .answer_ns = usual.answer,
                                    .prompt_ns = usual.prompt};
    memset(&seen, 0, sizeof(seen));
    now_costs = usual;
    noise = 0.2;
    fixture_init(&f, 5);
    sched_free(f.s);
    ops = *f.m.base.ops;
    plain_step = ops.step;
    ops.step = timed_step;
    f.m.base.ops = &ops;
    assert_int_equal(sched_new(&f.m.base, NULL, &o, &f.s), ERR_OK);
    big.f = &f;
    for (int i = 0; i < 4; i++) {
        u[i] = (struct user){.f = &f, .number = i, .wait = true};
        ask(&u[i]);
    }
    while (seen.answers < 4)
        sched_round(f.s);
    memset(&seen, 0, sizeof(seen));
    memset(prompt, 'x', 200);
    prompt[200] = 0;
    struct sched_chat chat = request(&f, NULL, prompt, 2);
    chat.on_event = on_load_event;
    chat.ctx = &big;
    big.asked_ns = clock_mono_ns();
    assert_int_equal(sched_chat_submit(f.s, &chat, &id, &ei), ERR_OK);
    while (seen.answers == 0)
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
        cmocka_unit_test(long_prompt_keeps_running_answers_at_their_pace),
        cmocka_unit_test(waiting_users_are_all_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
