/* How many may ask the guard model at once, and when it is left alone; on a clock of the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/metrics.h"
#include "turn/guard_gate.h"

#define S INT64_C(1000000000)

static const struct uuid nobody;

static enum gate_answer enter(struct guard_gate *g, const struct uuid *user, int64_t now) {
    struct gate_pass p = {.user = *user, .is_short = true};
    return guard_gate_enter(g, &p, now);
}

static void leave(struct guard_gate *g, const struct uuid *user, enum gate_outcome o, int64_t now) {
    const struct gate_pass p = {.user = *user, .is_short = true};
    guard_gate_leave(g, &p, o, now);
}

static struct uuid person(char c) {
    struct uuid u = {.s = "00000000-0000-7000-8000-000000000000"};
    u.s[0] = c;
    return u;
}

static void asks_at_once_are_bounded_for_one_and_for_all(void **state) {
    (void)state;
    struct guard_gate *g = guard_gate_new();
    const struct uuid a = person('a'), b = person('b');
    int64_t over = metric_get(M_GUARD_ASKS_OVER);
    assert_non_null(g);
    for (int i = 0; i < GATE_ASKS_USER_MAX; i++)
        assert_int_equal(enter(g, &a, S), GATE_GO);
    assert_int_equal(enter(g, &a, S), GATE_BUSY);
    assert_int_equal(enter(g, &b, S), GATE_GO); /* others have their own */
    for (int i = GATE_ASKS_USER_MAX + 1; i < GATE_ASKS_MAX; i++)
        assert_int_equal(enter(g, &nobody, S), GATE_GO);
    assert_int_equal(enter(g, &b, S), GATE_BUSY);
    assert_int_equal(enter(g, &nobody, S), GATE_BUSY);
    assert_int_equal(metric_get(M_GUARD_ASKS_OVER) - over, 3);
    assert_int_equal(metric_get(M_GUARD_ASKS), GATE_ASKS_MAX);
    leave(g, &a, GATE_ANSWERED, S);
    assert_int_equal(enter(g, &a, S), GATE_GO);
    assert_int_equal(enter(g, &a, S), GATE_BUSY);
    for (int i = 0; i < GATE_ASKS_USER_MAX; i++)
        leave(g, &a, GATE_NEITHER, S);
    leave(g, &b, GATE_NEITHER, S);
    for (int i = GATE_ASKS_USER_MAX + 1; i < GATE_ASKS_MAX; i++)
        leave(g, &nobody, GATE_NEITHER, S);
    assert_int_equal(metric_get(M_GUARD_ASKS), 0);
    guard_gate_free(g);
}

static void ask(struct guard_gate *g, enum gate_outcome o, int64_t now) {
    struct gate_pass p = {.is_short = true};
    assert_int_equal(guard_gate_enter(g, &p, now), GATE_GO);
    guard_gate_leave(g, &p, o, now);
}

static void breaks(struct guard_gate *g, int n, int64_t now) {
    for (int i = 0; i < n; i++)
        ask(g, GATE_UNREACHABLE, now);
}

static void failures_in_a_row_leave_it_alone_for_a_while(void **state) {
    (void)state;
    struct guard_gate *g = guard_gate_new();
    const int64_t wait = GATE_OPEN_MS * INT64_C(1000000);
    assert_non_null(g);
    breaks(g, GATE_FAILURES - 1, S);
    ask(g, GATE_ANSWERED, S); /* begins anew */
    breaks(g, GATE_FAILURES - 1, S);
    ask(g, GATE_NEITHER, S); /* says nothing */
    assert_int_equal(metric_get(M_GUARD_CIRCUIT), 0);
    breaks(g, 1, S);
    assert_int_equal(metric_get(M_GUARD_CIRCUIT), 1);
    assert_int_equal(enter(g, &nobody, S), GATE_LEFT_ALONE);
    assert_int_equal(enter(g, &nobody, S + wait - 1), GATE_LEFT_ALONE);
    struct gate_pass trial = {.is_short = true};
    assert_int_equal(guard_gate_enter(g, &trial, S + wait), GATE_GO); /* one tries … */
    assert_true(trial.trial);
    assert_int_equal(enter(g, &nobody, S + wait), GATE_LEFT_ALONE);
    guard_gate_leave(g, &trial, GATE_UNREACHABLE, S + wait); /* … and twice as long */
    assert_int_equal(enter(g, &nobody, S + 3 * wait - 1), GATE_LEFT_ALONE);
    assert_int_equal(enter(g, &nobody, S + 3 * wait), GATE_GO);
    leave(g, &nobody, GATE_ANSWERED, S + 3 * wait);
    assert_int_equal(metric_get(M_GUARD_CIRCUIT), 0);
    assert_int_equal(enter(g, &nobody, S + 3 * wait), GATE_GO);
    leave(g, &nobody, GATE_NEITHER, S + 3 * wait);
    guard_gate_free(g);
}

static void a_try_that_is_called_off_is_made_again(void **state) {
    (void)state;
    struct guard_gate *g = guard_gate_new();
    const int64_t later = S + GATE_OPEN_MS * INT64_C(1000000);
    assert_non_null(g);
    breaks(g, GATE_FAILURES, S);
    ask(g, GATE_NEITHER, later);
    assert_int_equal(enter(g, &nobody, later), GATE_GO);
    assert_int_equal(enter(g, &nobody, later), GATE_LEFT_ALONE);
    leave(g, &nobody, GATE_ANSWERED, later);
    guard_gate_free(g);
}

static void it_is_tried_once_a_minute_at_least(void **state) {
    (void)state;
    struct guard_gate *g = guard_gate_new();
    int64_t now = S;
    assert_non_null(g);
    breaks(g, GATE_FAILURES, now);
    for (int i = 0; i < 20; i++) {
        now += GATE_OPEN_MAX_MS * INT64_C(1000000);
        ask(g, GATE_UNREACHABLE, now);
    }
    ask(g, GATE_ANSWERED, now + GATE_OPEN_MAX_MS * INT64_C(1000000));
    guard_gate_free(g);
}

/* Those that were under way when it was left alone come back one by one. */
static void late_failures_do_not_put_it_off(void **state) {
    (void)state;
    struct guard_gate *g = guard_gate_new();
    const int64_t wait = GATE_OPEN_MS * INT64_C(1000000);
    assert_non_null(g);
    for (int i = 0; i < GATE_FAILURES + 4; i++)
        assert_int_equal(enter(g, &nobody, S), GATE_GO);
    for (int i = 0; i < GATE_FAILURES + 4; i++)
        leave(g, &nobody, GATE_UNREACHABLE, S + i);
    ask(g, GATE_ANSWERED, S + GATE_FAILURES - 1 + wait);
    guard_gate_free(g);
}

static void fails_for(struct guard_gate *g, const struct gate_pass *asked, int n, int64_t now) {
    struct gate_pass p = *asked;
    for (int i = 0; i < n; i++) {
        assert_int_equal(guard_gate_enter(g, &p, now), GATE_GO);
        guard_gate_leave(g, &p, GATE_FAILED, now);
    }
}

/* However often it is late for one, about long texts, or for who floods it: others may still ask.
 */
static void one_person_does_not_put_it_off_for_others(void **state) {
    (void)state;
    struct guard_gate *g = guard_gate_new();
    const struct gate_pass a = {.user = person('a'), .is_short = true};
    const struct gate_pass b = {.user = person('b'), .is_short = true};
    const struct gate_pass long_a = {.user = person('a')}, long_b = {.user = person('b')};
    assert_non_null(g);
    fails_for(g, &a, 10 * GATE_FAILURES, S);
    fails_for(g, &long_b, 10 * GATE_FAILURES, S);
    fails_for(g, &long_a, 10 * GATE_FAILURES, S);
    for (int i = 0; i < GATE_ASKS_USER_MAX; i++)
        assert_int_equal(enter(g, &b.user, S), GATE_GO);
    for (int i = 0; i < GATE_ASKS_USER_MAX; i++) /* the last of them as well */
        leave(g, &b.user, GATE_FAILED, S);
    assert_int_equal(metric_get(M_GUARD_CIRCUIT), 0);
    ask(g, GATE_UNREACHABLE, S);
    assert_int_equal(metric_get(M_GUARD_CIRCUIT), 0);
    fails_for(g, &b, 1, S); /* late for two, four times in a row */
    assert_int_equal(metric_get(M_GUARD_CIRCUIT), 1);
    ask(g, GATE_ANSWERED, 2 * S + GATE_OPEN_MS * INT64_C(1000000));
    fails_for(g, &a, GATE_FAILURES - 2, S); /* an answer begins anew */
    fails_for(g, &b, 1, S);
    assert_int_equal(metric_get(M_GUARD_CIRCUIT), 0);
    fails_for(g, &b, 1, S);
    assert_int_equal(metric_get(M_GUARD_CIRCUIT), 1);
    ask(g, GATE_ANSWERED, 2 * S + GATE_OPEN_MS * INT64_C(1000000));
    guard_gate_free(g);
}

/* Where nobody asks about little, one who asks about much tries in the end, and does not make the
 * others wait longer for it. */
static void what_is_long_tries_when_nothing_short_does(void **state) {
    (void)state;
    struct guard_gate *g = guard_gate_new();
    const int64_t wait = GATE_OPEN_MS * INT64_C(1000000), later = S + 2 * wait;
    struct gate_pass much = {.user = person('m')};
    assert_non_null(g);
    breaks(g, GATE_FAILURES, S);
    assert_int_equal(guard_gate_enter(g, &much, later - 1), GATE_LEFT_ALONE);
    assert_int_equal(guard_gate_enter(g, &much, later), GATE_GO);
    assert_true(much.trial);
    guard_gate_leave(g, &much, GATE_FAILED, later);
    assert_int_equal(enter(g, &nobody, later + wait - 1), GATE_LEFT_ALONE);
    ask(g, GATE_ANSWERED, later + wait);
    assert_int_equal(metric_get(M_GUARD_CIRCUIT), 0);
    guard_gate_free(g);
}

static void only_what_is_short_tries_and_only_its_end_ends_the_try(void **state) {
    (void)state;
    struct guard_gate *g = guard_gate_new();
    const int64_t later = S + GATE_OPEN_MS * INT64_C(1000000);
    struct gate_pass early = {.user = person('e'), .is_short = true}, trial = {.is_short = true};
    struct gate_pass much = {.user = person('m')};
    assert_non_null(g);
    assert_int_equal(guard_gate_enter(g, &early, S), GATE_GO);
    assert_int_equal(enter(g, &early.user, S), GATE_GO);
    breaks(g, GATE_FAILURES, S);
    assert_int_equal(guard_gate_enter(g, &much, later), GATE_LEFT_ALONE);
    assert_int_equal(guard_gate_enter(g, &trial, later), GATE_GO);
    guard_gate_leave(g, &early, GATE_NEITHER, later); /* one of before ends … */
    assert_int_equal(enter(g, &nobody, later), GATE_LEFT_ALONE);
    guard_gate_leave(g, &early, GATE_UNREACHABLE, later); /* … or fails */
    assert_int_equal(enter(g, &nobody, later), GATE_LEFT_ALONE);
    guard_gate_leave(g, &trial, GATE_NEITHER, later); /* called off: and at once the next */
    ask(g, GATE_ANSWERED, later);
    assert_int_equal(metric_get(M_GUARD_CIRCUIT), 0);
    guard_gate_free(g);
}

static void *knock(void *arg) {
    struct guard_gate *g = arg;
    const struct uuid a = person('a');
    size_t through = 0;
    for (int i = 0; i < 2000; i++)
        if (enter(g, i % 2 ? &a : &nobody, S) == GATE_GO) {
            leave(g, i % 2 ? &a : &nobody, i % 3 ? GATE_ANSWERED : GATE_NEITHER, S);
            through++;
        }
    return (void *)through;
}

static void many_threads_pass_it(void **state) {
    (void)state;
    struct guard_gate *g = guard_gate_new();
    pthread_t threads[4];
    assert_non_null(g);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, knock, g), 0);
    for (int i = 0; i < 4; i++) {
        void *through;
        pthread_join(threads[i], &through);
        assert_int_equal((size_t)through, 2000); /* four at once are not too many */
    }
    assert_int_equal(metric_get(M_GUARD_ASKS), 0);
    guard_gate_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asks_at_once_are_bounded_for_one_and_for_all),
        cmocka_unit_test(failures_in_a_row_leave_it_alone_for_a_while),
        cmocka_unit_test(a_try_that_is_called_off_is_made_again),
        cmocka_unit_test(it_is_tried_once_a_minute_at_least),
        cmocka_unit_test(late_failures_do_not_put_it_off),
        cmocka_unit_test(one_person_does_not_put_it_off_for_others),
        cmocka_unit_test(what_is_long_tries_when_nothing_short_does),
        cmocka_unit_test(only_what_is_short_tries_and_only_its_end_ends_the_try),
        cmocka_unit_test(many_threads_pass_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
