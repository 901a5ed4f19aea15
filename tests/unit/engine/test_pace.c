/* How many threads decoding steps run on, by what steps take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/pace.h"

#define MS 1e6

/* So many decoding steps of so many items; what one on two threads takes, and one on one. Returns
 * how many ran the other way than usual. */
static int run(struct pace *p, int steps, int items, double two, double one) {
    int tries = 0;
    for (int i = 0; i < steps; i++) {
        int threads = pace_threads(p, items);
        tries += threads != p->threads;
        pace_learn(p, items, threads, threads == 2 ? two : one);
    }
    return tries;
}

static void slower_way_is_tried_less_and_less(void **state) {
    (void)state;
    struct pace p;
    pace_init(&p, 2, 2);
    assert_int_equal(run(&p, 11, 1, 10 * MS, 20 * MS), 2);
    assert_int_equal(p.threads, 2);
    assert_in_range(run(&p, 2000, 1, 10 * MS, 20 * MS), 8, 16);
    assert_int_equal(p.threads, 2);
}

static void faster_way_is_taken_after_three_wins(void **state) {
    (void)state;
    struct pace p;
    pace_init(&p, 2, 2);
    assert_int_equal(run(&p, 12, 1, 50 * MS, 20 * MS), 2);
    assert_int_equal(p.threads, 2);
    assert_int_equal(run(&p, 1, 1, 50 * MS, 20 * MS), 1);
    assert_int_equal(p.threads, 1);
    run(&p, 200, 1, 10 * MS, 20 * MS); /* the other program has ended */
    assert_int_equal(p.threads, 2);
}

/* Another process has a core for a moment, in one step of five, by chance. */
static void single_slow_steps_change_little(void **state) {
    (void)state;
    struct pace p;
    uint32_t dice = 7;
    int on_one = 0;
    pace_init(&p, 2, 2);
    for (int i = 0; i < 20000; i++) {
        dice = dice * 1664525u + 1013904223u;
        run(&p, 1, 2, (dice >> 24 < 51 ? 60 : 10) * MS, 20 * MS);
        on_one += p.threads == 1;
    }
    assert_in_range(on_one, 0, 1000);
}

/* On one thread the machine is looked at again soon, however often that was in vain. */
static void all_threads_come_back_soon(void **state) {
    (void)state;
    struct pace p;
    int steps = 0;
    pace_init(&p, 1, 2);
    run(&p, 5000, 1, 50 * MS, 20 * MS);
    assert_int_equal(p.threads, 1);
    for (; p.threads == 1; steps++)
        run(&p, 1, 1, 10 * MS, 20 * MS);
    assert_in_range(steps, 1, 140);
}

/* More answers in a step take longer, which says nothing of the machine. */
static void more_answers_are_not_taken_for_a_slow_machine(void **state) {
    (void)state;
    struct pace p;
    pace_init(&p, 2, 2);
    run(&p, 2000, 1, 10 * MS, 20 * MS);
    int interval = p.interval;
    run(&p, 1, 12, 60 * MS, 120 * MS);
    run(&p, 1, 1, 10 * MS, 20 * MS);
    run(&p, 1, 12, 60 * MS, 120 * MS);
    assert_int_equal(p.interval, interval);
    run(&p, 1, 12, 600 * MS, 120 * MS); /* as many, and ten times as long: once it is chance */
    assert_int_equal(p.interval, interval);
    run(&p, 1, 12, 600 * MS, 120 * MS);
    assert_true(p.interval < interval);
}

static void pieces_of_prompts_are_not_looked_at(void **state) {
    (void)state;
    struct pace p, before;
    pace_init(&p, 2, 2);
    run(&p, 7, 1, 10 * MS, 20 * MS);
    before = p;
    pace_learn(&p, PACE_ITEMS + 1, 2, 500 * MS);
    before.beside = true;
    assert_memory_equal(&p, &before, sizeof(p));
    assert_int_equal(pace_threads(&p, PACE_ITEMS + 1), 2);
}

/* Between the pieces of a prompt answers wait long enough; when it is read, tries go on. */
static void steps_after_pieces_are_no_tries(void **state) {
    (void)state;
    struct pace p;
    pace_init(&p, 2, 2);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(run(&p, 1, 4, 10 * MS, 20 * MS), 0);
        pace_learn(&p, PACE_ITEMS + 1, 2, 30 * MS);
    }
    assert_int_equal(run(&p, 4, 4, 10 * MS, 20 * MS), 2);
    assert_int_equal(p.threads, 2);
}

static void one_thread_is_all_there_is(void **state) {
    (void)state;
    struct pace p;
    pace_init(&p, 2, 1);
    assert_int_equal(p.threads, 1);
    assert_int_equal(run(&p, 100, 1, 10 * MS, 10 * MS), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slower_way_is_tried_less_and_less),
        cmocka_unit_test(faster_way_is_taken_after_three_wins),
        cmocka_unit_test(single_slow_steps_change_little),
        cmocka_unit_test(all_threads_come_back_soon),
        cmocka_unit_test(more_answers_are_not_taken_for_a_slow_machine),
        cmocka_unit_test(pieces_of_prompts_are_not_looked_at),
        cmocka_unit_test(steps_after_pieces_are_no_tries),
        cmocka_unit_test(one_thread_is_all_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
