/* What makes an answer last when the store fails at its end, and what is said of a question whose
 * fate is not known. */
#include "unit/turn/bench_turn.h"

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>

/* A file size limit stands for the full disk: SQLite's log cannot grow. */
static void limit_files(struct rlimit *old, bool full) {
    struct rlimit none;
    signal(SIGXFSZ, SIG_IGN);
    if (full)
        assert_int_equal(getrlimit(RLIMIT_FSIZE, old), 0);
    none = (struct rlimit){.rlim_cur = 4096, .rlim_max = old->rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, full ? &none : old), 0);
}

static void turn_loop_once(struct bench *b) {
    struct timer *t = timer_new(b->loop, pump_expired, NULL);
    pump_loop = b->loop;
    timer_start(t, 20, false);
    loop_run(b->loop);
    timer_free(t);
}

static void finish_on_a_full_disk_is_told_and_made_good(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    struct rlimit old;
    bench_init(&b, 4096, NULL);
    b.mock.mode = MOCK_HOLD;
    struct turn_input in = bench_input(&b, "one");
    bench_start(&b, &in, &s);
    pump_until(b.loop, &s.has_text);
    limit_files(&old, true);
    mock_release(&b.mock, "end");
    pump_until(b.loop, &s.over);
    limit_files(&old, false);
    assert_int_equal(s.kinds[s.n - 1], STREAM_ERROR); /* nothing is said to be kept that is not */
    assert_non_null(strstr(s.last, "\"status\":\"failed\""));
    assert_int_equal(turns_running(b.turns), 0);
    struct stored st = bench_stored(&b, &s.message_id);
    /* The row is still tried, without a new start; the bound only ends a test that would hang. */
    for (int i = 0; i < 1000 && st.m.status == MESSAGE_STREAMING; i++) {
        turn_loop_once(&b);
        st = bench_stored(&b, &s.message_id);
    }
    assert_int_equal(st.m.status, MESSAGE_COMPLETE);
    assert_stored_text(st.m.content, s.text.p);
    seen_deinit(&s);
    bench_deinit(&b);
}

static enum err hold_writer(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct bench *b = arg;
    (void)tx, (void)ei;
    while (turns_running(b->turns) > 0) /* until the turn is interrupted */
        sched_yield();
    return ERR_OK;
}

static void interrupt_while_the_question_is_written_does_not_say_that_it_is_lost(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    bench_init(&b, 4096, NULL);
    struct turn_input in = bench_input(&b, "one");
    bench_start(&b, &in, &s);
    assert_int_equal(store_write(b.store, hold_writer, &b, NULL, NULL), ERR_OK);
    while (b.mock.n_asked == 0) /* asked: from then on the first write is under way */
        turn_loop_once(&b);
    assert_int_equal(s.n, 0);
    turns_detach_loop(b.turns, b.loop);
    pump_until(b.loop, &s.over);
    assert_true(s.failed);
    assert_int_equal(s.ei.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(s.ei.message, "may be stored"));
    assert_int_equal(bench_stored(&b, NULL).n, 2);
    turn_loop_once(&b); /* what the store has to say to a turn that is gone */
    seen_deinit(&s);
    bench_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finish_on_a_full_disk_is_told_and_made_good),
        cmocka_unit_test(interrupt_while_the_question_is_written_does_not_say_that_it_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
