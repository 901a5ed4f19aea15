#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/forecast.h"

#define MS 1e6

static bool near(double value, double wanted, double share) {
    return fabs(value - wanted) <= wanted * share;
}

static void costs_are_learnt_from_steps(void **state) {
    (void)state;
    struct forecast f;
    forecast_init(&f, 20 * MS, 8 * MS, 5 * MS);
    for (int i = 0; i < 400; i++) {
        int answers = i % 5, prompt = i % 3 ? 0 : 48;
        forecast_learn(&f, answers + 1, prompt, (10 + 2 * (answers + 1) + 1.5 * prompt) * MS);
    }
    assert_true(near(f.base_ns, 10 * MS, 0.1));
    assert_true(near(f.answer_ns, 2 * MS, 0.1));
    assert_true(near(f.prompt_ns, 1.5 * MS, 0.1));
    assert_true(near(forecast_step_ns(&f, 4, 10), 33 * MS, 0.1));
}

static void one_slow_step_changes_little(void **state) {
    (void)state;
    struct forecast f;
    forecast_init(&f, 10 * MS, 1 * MS, 1 * MS);
    for (int i = 0; i < 100; i++)
        forecast_learn(&f, 4, 0, 14 * MS);
    forecast_learn(&f, 4, 0, 5000 * MS);
    assert_true(forecast_step_ns(&f, 4, 0) < 20 * MS);
}

static void a_slow_start_of_known_costs_changes_little(void **state) {
    (void)state;
    struct forecast f;
    forecast_init(&f, 10 * MS, 1 * MS, 1 * MS);
    f.known = true;
    forecast_learn(&f, 4, 0, 5000 * MS);
    assert_true(forecast_step_ns(&f, 4, 0) <= 4 * 14 * MS);
    assert_true(near(forecast_bounded(5000 * MS, 14 * MS), 56 * MS, 0.01));
    for (int i = 0; i < 20; i++) /* a machine that is slower than it was is soon taken for that */
        forecast_learn(&f, 4, 0, 5000 * MS);
    assert_true(near(forecast_step_ns(&f, 4, 0), 5000 * MS, 0.2));
}

static void what_no_step_told_stays(void **state) {
    (void)state;
    struct forecast f;
    forecast_init(&f, 10 * MS, 1 * MS, 7 * MS);
    for (int i = 0; i < 200; i++)
        forecast_learn(&f, 1 + i % 4, 0, (10 + 1 + i % 4) * MS);
    assert_true(near(f.prompt_ns, 7 * MS, 0.05));
    forecast_learn(&f, 1, 0, 0); /* a clock that stands still */
    assert_true(near(f.base_ns, 10 * MS, 0.1));
}

static void margin_covers_what_was_missed(void **state) {
    (void)state;
    struct forecast f;
    forecast_init(&f, MS, MS, MS);
    for (int i = 0; i < 2000; i++) /* one in ten takes twice as long as predicted */
        forecast_check(&f, 100, i % 10 ? 90 : 200);
    assert_true(f.margin > 1.7);
    for (int i = 0; i < 5000; i++)
        forecast_check(&f, 100, 90);
    assert_true(f.margin < 1.1);
}

static struct forecast simple(void) {
    struct forecast f;
    forecast_init(&f, 10 * MS, 0, MS);
    f.answer_tokens = 1000;
    f.ends = 1;
    return f;
}

static double first(const struct forecast *f, struct forecast_state st, int fresh, int most) {
    const struct forecast_request r = {.fresh = fresh, .most = most, .reserve = fresh + most};
    st.quick = st.chunk = st.quick_chunk = 96;
    return forecast_first_token(f, &st, &r);
}

static void idle_engine_takes_the_prompt_alone(void **state) {
    (void)state;
    struct forecast f = simple();
    struct forecast_state st = {.idle = 4, .cells = 1000};
    assert_true(near(first(&f, st, 40, 10), 50 * MS, 0.01));
}

static void prompts_before_add_up(void **state) {
    (void)state;
    struct forecast f = simple();
    const struct forecast_request ahead[] = {{40, 10, 50, 0}, {30, 10, 40, 0}};
    struct forecast_state st = {.idle = 4, .cells = 1000, .ahead = ahead, .n_ahead = 2};
    st.ahead_ns = 5 * MS;
    assert_true(near(first(&f, st, 40, 10), 145 * MS, 0.01));
}

static void longer_prompts_before_do_not_count(void **state) {
    (void)state;
    struct forecast f = simple();
    const struct forecast_request ahead[] = {{900, 10, 910, 0}};
    struct forecast_state st = {.idle = 4, .cells = 9000, .ahead = ahead, .n_ahead = 1};
    assert_true(near(first(&f, st, 40, 10), 50 * MS, 0.01));
    assert_true(first(&f, st, 1000, 10) > 1900 * MS);
}

static void order_is_that_of_arrival_and_length(void **state) {
    (void)state;
    struct forecast f = simple(); /* a prompt's token takes 1 ms */
    assert_true(forecast_order_ns(&f, 0, 40) < forecast_order_ns(&f, 5 * MS, 40));
    assert_true(forecast_order_ns(&f, 50 * MS, 40) < forecast_order_ns(&f, 0, 100));
    assert_true(forecast_order_ns(&f, 0, 100) < forecast_order_ns(&f, 70 * MS, 40));
    f.prompt_ns = 2 * MS; /* by time, not by tokens */
    assert_true(forecast_order_ns(&f, 70 * MS, 40) < forecast_order_ns(&f, 0, 100));
}

/* Whose prompt would have been computed by the time that mine would be, were we each alone. */
static void prompts_that_came_early_enough_go_before(void **state) {
    (void)state;
    struct forecast f = simple();
    struct forecast_running running[] = {{.left = 50, .reserved = 200, .todo = 100}};
    struct forecast_state st = {.running = running, .n_running = 1, .idle = 4, .cells = 1000};
    running[0].age_ns = 59 * MS;
    assert_true(near(first(&f, st, 40, 10), 50 * MS, 0.01));
    running[0].age_ns = 61 * MS;
    assert_true(near(first(&f, st, 40, 10), (110 + 50) * MS, 0.01));
    /* The same of one that waits. */
    const struct forecast_request ahead[] = {{60, 10, 70, 20 * MS}};
    st = (struct forecast_state){.idle = 4, .cells = 1000, .ahead = ahead, .n_ahead = 1};
    assert_true(near(first(&f, st, 39, 10), 49 * MS, 0.01));
    assert_true(near(first(&f, st, 41, 10), (70 + 51) * MS, 0.01));
}

/* With rows the answers have a step after each prompt's, and the last one waits for none of its
 * own. */
static void prompts_with_rows_let_answers_go_on_between(void **state) {
    (void)state;
    struct forecast f = simple();
    struct forecast_running running[] = {{.left = 50, .reserved = 100}};
    const struct forecast_request ahead[] = {{40, 10, 50, 0}, {30, 10, 40, 0}};
    struct forecast_state st = {.running = running,
                                .n_running = 1,
                                .idle = 4,
                                .cells = 1000,
                                .rows = true,
                                .ahead = ahead,
                                .n_ahead = 2};
    assert_true(near(first(&f, st, 40, 10), (50 + 10 + 40 + 10 + 50) * MS, 0.01));
    st.n_ahead = 0;
    assert_true(near(first(&f, st, 40, 10), 50 * MS, 0.01));
    /* In two pieces, with a step between. */
    assert_true(near(first(&f, st, 150, 10), (2 * 10 + 150 + 10) * MS, 0.01));
}

static void full_slots_wait_for_the_first_end(void **state) {
    (void)state;
    struct forecast f = simple();
    struct forecast_running running[] = {{.left = 50, .reserved = 100},
                                         {.left = 20, .reserved = 100}};
    struct forecast_state st = {.running = running, .n_running = 2, .cells = 1000};
    assert_true(near(first(&f, st, 40, 10), (200 + 10 + 40) * MS, 0.01));
    struct forecast_running again[] = {{.left = 50, .reserved = 100},
                                       {.left = 20, .reserved = 100}};
    const struct forecast_request ahead[] = {{40, 10, 50, 0}};
    struct forecast_state two = {
        .running = again, .n_running = 2, .cells = 1000, .ahead = ahead, .n_ahead = 1};
    assert_true(near(first(&f, two, 40, 10), (500 + 10 + 40) * MS, 0.01));
}

static void who_waits_is_told_the_likely_time(void **state) {
    (void)state;
    struct forecast f = simple();
    struct forecast_running running = {.left = 9000, .reserved = 100};
    struct forecast_state st = {.running = &running, .n_running = 1, .cells = 1000};
    double very_likely = first(&f, st, 40, 10);
    st.likely = true;
    double likely = first(&f, st, 40, 10);
    assert_true(near(likely, (1000 * log(2) * 10 + 10 + 40) * MS, 0.01));
    assert_true(near(very_likely, (1000 * log(2) * 2.3 * 10 + 10 + 40) * MS, 0.01));
}

static void full_cells_wait_too(void **state) {
    (void)state;
    struct forecast f = simple();
    struct forecast_running running[] = {{.left = 30, .reserved = 100}};
    struct forecast_state st = {.running = running, .n_running = 1, .idle = 3, .cells = 10};
    assert_true(near(first(&f, st, 40, 10), (300 + 10 + 40) * MS, 0.01));
}

static void answers_end_earlier_than_they_must(void **state) {
    (void)state;
    struct forecast f = simple();
    f.answer_tokens = 60;
    struct forecast_running running[4];
    for (int i = 0; i < 4; i++)
        running[i] = (struct forecast_running){.left = 4000, .reserved = 100};
    struct forecast_state st = {.running = running, .n_running = 4, .cells = 1000};
    double ns = first(&f, st, 40, 10);
    assert_true(ns > 200 * MS && ns < 500 * MS); /* a quarter of 60 tokens, about, and its spread */
}

static void endless_queue_grows(void **state) {
    (void)state;
    struct forecast f = simple();
    f.answer_tokens = 50;
    struct forecast_request ahead[100];
    for (int i = 0; i < 100; i++)
        ahead[i] = (struct forecast_request){40, 50, 90, 0};
    struct forecast_state st = {.idle = 2, .cells = 1000, .ahead = ahead};
    double before = 0;
    for (int n = 0; n < 100; n += 10) {
        st.n_ahead = n;
        double ns = first(&f, st, 40, 10);
        assert_true(ns > before);
        before = ns;
    }
}

/* A step of four takes 18 ms by the costs, which prompts beside have raised; undisturbed it takes
 * 14. */
static void piece_leaves_room_for_the_step_after_it(void **state) {
    (void)state;
    struct forecast f;
    forecast_init(&f, 10 * MS, 2 * MS, 1 * MS);
    assert_true(near(forecast_piece_ns(&f, 4), 36 * MS, 0.01)); /* with the step three of them */
    for (int i = 0; i < 50; i++)
        forecast_answers(&f, 4, true, 14 * MS);
    assert_true(near(forecast_piece_ns(&f, 4), (3 * 14 - 18) * MS, 0.01));
    assert_true(near(forecast_piece_ns(&f, 5), 40 * MS, 0.01)); /* of five nothing is known */
    for (int i = 0; i < 10; i++)                                /* one step in ten was held up */
        forecast_answers(&f, 4, true, (i == 5 ? 40 : 14) * MS);
    assert_true(forecast_piece_ns(&f, 4) < (3 * 15 - 18) * MS);
    for (int i = 0; i < 200; i++) /* steps are longer than the costs say: those are newer */
        forecast_answers(&f, 4, true, 30 * MS);
    assert_true(near(forecast_piece_ns(&f, 4), 36 * MS, 0.01));
    for (int i = 0; i < 50; i++) /* a machine that has become much slower since */
        forecast_answers(&f, 4, true, 6 * MS);
    assert_true(near(forecast_piece_ns(&f, 4), 18 * MS, 0.01));
    for (int i = 0; i < 50; i++) /* what steps beside prompts took goes before what the costs say */
        forecast_answers(&f, 4, false, 8 * MS);
    assert_true(near(forecast_piece_ns(&f, 4), (3 * 6 - 8) * MS, 0.01));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(costs_are_learnt_from_steps),
        cmocka_unit_test(one_slow_step_changes_little),
        cmocka_unit_test(a_slow_start_of_known_costs_changes_little),
        cmocka_unit_test(what_no_step_told_stays),
        cmocka_unit_test(margin_covers_what_was_missed),
        cmocka_unit_test(idle_engine_takes_the_prompt_alone),
        cmocka_unit_test(prompts_before_add_up),
        cmocka_unit_test(order_is_that_of_arrival_and_length),
        cmocka_unit_test(prompts_that_came_early_enough_go_before),
        cmocka_unit_test(prompts_with_rows_let_answers_go_on_between),
        cmocka_unit_test(longer_prompts_before_do_not_count),
        cmocka_unit_test(full_slots_wait_for_the_first_end),
        cmocka_unit_test(who_waits_is_told_the_likely_time),
        cmocka_unit_test(full_cells_wait_too),
        cmocka_unit_test(answers_end_earlier_than_they_must),
        cmocka_unit_test(endless_queue_grows),
        cmocka_unit_test(piece_leaves_room_for_the_step_after_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
