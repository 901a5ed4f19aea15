/* A running answer comes before a new one: what a late loop lets begin, and in which order. The
 * clock stands still, so that only the pulses count. */
#include "bench_turn.h"

#include "base/metrics.h"
#include "turn/turn_internal.h"

#define NEW     7  /* with the running one as many as a user may have */
#define OTHERS  64 /* so many others run, as far as the loop's count goes */
#define VERY_MS 1000000
#define MOST_MS 1500

struct crowd {
    struct bench b;
    struct turn_loop *tl;
    struct seen running, fresh[NEW];
    char texts[NEW][16];
};

static void crowd_init(struct crowd *c) {
    memset(c, 0, sizeof *c);
    bench_init(&c->b, 4096, NULL);
    c->tl = turn_loop_of(c->b.turns, c->b.loop);
    c->b.mock.mode = MOCK_HOLD;
    struct turn_input in = bench_input(&c->b, "running");
    bench_start(&c->b, &in, &c->running);
    pump_until(c->b.loop, &c->running.has_text);
    clock_test_set(clock_mono_ns(), clock_wall_ms());
    c->tl->n_turns += OTHERS;
    atomic_store(&c->tl->lag_ms, VERY_MS);
    for (int i = 0; i < NEW; i++) {
        snprintf(c->texts[i], sizeof c->texts[i], "new %c", 'a' + i);
        in = bench_input(&c->b, c->texts[i]);
        in.parent_kind = PARENT_ROOT;
        bench_start(&c->b, &in, &c->fresh[i]);
    }
}

static void crowd_deinit(struct crowd *c) {
    clock_test_end();
    c->tl->n_turns -= OTHERS;
    bench_deinit(&c->b);
    seen_deinit(&c->running);
    for (int i = 0; i < NEW; i++)
        seen_deinit(&c->fresh[i]);
}

/* How many wait, the oldest first: they begin in this order. */
static int held(const struct crowd *c) {
    int n = 0;
    for (const struct turn *t = c->tl->held; t; t = t->held_next)
        assert_true(str_eqz(t->in.content, c->texts[n++]));
    return n;
}

/* The loop runs until the pulse has come. */
static void wait_for_pulse(struct crowd *c) {
    int before = atomic_load(&c->tl->lag_ms);
    while (atomic_load(&c->tl->lag_ms) == before) {
        struct timer *t = timer_new(c->b.loop, pump_expired, NULL);
        pump_loop = c->b.loop;
        timer_start(t, 1, false);
        loop_run(c->b.loop);
        timer_free(t);
    }
}

static void running_answer_is_finished_before_new_ones_begin(void **state) {
    (void)state;
    struct crowd c;
    crowd_init(&c);
    assert_int_equal(held(&c), NEW);
    assert_int_equal(c.b.mock.n_asked, 1);
    mock_release(&c.b.mock, "you.");
    pump_until(c.b.loop, &c.running.over);
    assert_text(&c.running.text, "Hello you.");
    assert_int_equal(held(&c), NEW); /* late as ever: none has begun */
    assert_int_equal(c.b.mock.n_asked, 1);
    c.b.mock.mode = MOCK_REPLY;
    for (int i = 0; i < NEW; i++) { /* once the loop is in time */
        pump_until(c.b.loop, &c.fresh[i].over);
        assert_int_equal(c.fresh[i].kinds[c.fresh[i].n - 1], STREAM_DONE);
    }
    assert_int_equal(c.b.mock.n_asked, 1 + NEW);
    crowd_deinit(&c);
}

/* When their time is over they begin, however late the loop is. */
static void nobody_is_held_for_long(void **state) {
    (void)state;
    struct crowd c;
    crowd_init(&c);
    c.b.mock.mode = MOCK_REPLY;
    struct http_request *first = c.b.mock.held;
    clock_test_advance(MOST_MS - 100);
    wait_for_pulse(&c);
    assert_int_equal(held(&c), NEW);
    clock_test_advance(100);
    wait_for_pulse(&c);
    assert_true(atomic_load(&c.tl->lag_ms) > MOST_MS);
    assert_int_equal(held(&c), 0);
    for (int i = 0; i < NEW; i++)
        pump_until(c.b.loop, &c.fresh[i].over);
    c.b.mock.held = first;
    mock_release(&c.b.mock, "you.");
    pump_until(c.b.loop, &c.running.over);
    crowd_deinit(&c);
}

static void few_answers_are_not_what_makes_a_loop_late(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    bench_init(&b, 4096, NULL);
    atomic_store(&turn_loop_of(b.turns, b.loop)->lag_ms, VERY_MS);
    bench_say(&b, "alone", &s);
    assert_int_equal(s.kinds[s.n - 1], STREAM_DONE);
    assert_int_equal(metric_get(M_TURNS_HELD), 0);
    seen_deinit(&s);
    bench_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_answers_are_not_what_makes_a_loop_late),
        cmocka_unit_test(running_answer_is_finished_before_new_ones_begin),
        cmocka_unit_test(nobody_is_held_for_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
