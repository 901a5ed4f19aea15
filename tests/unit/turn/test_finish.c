/* What makes an answer last when the store fails at its end, and what is said of a question whose
 * fate is not known. */
#include "unit/turn/bench_turn.h"

#include "base/metrics.h"
#include "store/learning.h"
#include "turn/turn_internal.h"

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

static atomic_bool writer_is_held;

static enum err hold_writer_on(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)tx, (void)arg, (void)ei;
    while (atomic_load(&writer_is_held))
        sched_yield();
    return ERR_OK;
}

struct recorded {
    struct bench *b;
    struct uuid id;
    struct turn_record r;
};

static enum err read_record(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct recorded *r = arg;
    (void)ei;
    return turn_record_get(tx, &r->b->user, &r->id, r->b->arena, &r->r);
}

static void answer_before_its_question_is_written_is_stored_with_it(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    bench_init(&b, 4096, NULL);
    int64_t writes = metric_get(M_STORE_WRITES);
    atomic_store(&writer_is_held, true);
    assert_int_equal(store_write(b.store, hold_writer_on, NULL, NULL, NULL), ERR_OK);
    struct turn_input in = bench_input(&b, "What is a marmot?");
    bench_start(&b, &in, &s);
    struct turn *t = b.turns->loops[0]->turns;
    for (int i = 0; i < 1000 && atomic_load(&t->append) != APPEND_WHOLE; i++)
        turn_loop_once(&b);
    assert_int_equal(atomic_load(&t->append), APPEND_WHOLE);
    assert_int_equal(s.n, 0); /* nothing goes out before the question is durable */
    atomic_store(&writer_is_held, false);
    pump_until(b.loop, &s.over);
    assert_int_equal(metric_get(M_STORE_WRITES) - writes, 2); /* the one that held it, and this */
    assert_int_equal(s.kinds[0], STREAM_CREATED);
    assert_int_equal(s.kinds[s.n - 1], STREAM_DONE);
    assert_text(&s.text, "Hello there, friend.");
    assert_non_null(strstr(s.last, "\"status\":\"complete\""));
    struct stored st = bench_stored(&b, &s.message_id);
    assert_int_equal(st.n, 2);
    assert_int_equal(st.m.status, MESSAGE_COMPLETE);
    assert_stored_text(st.m.content, "Hello there, friend.");
    assert_stored_text(st.m.finish_reason, "stop");
    assert_int_equal(st.m.completion_tokens, 7);
    assert_true(st.m.ttft_ms >= 0 && st.m.response_latency_ms >= st.m.ttft_ms);
    assert_stored_text(st.c.title, "What is a marmot?");
    struct recorded r = {.b = &b, .id = s.message_id};
    struct errinfo ei;
    assert_int_equal(store_read_wait(b.store, read_record, &r, &ei), ERR_OK);
    assert_int_equal(r.r.status, MESSAGE_COMPLETE);
    assert_int_equal(turns_running(b.turns), 0);
    seen_deinit(&s);
    bench_deinit(&b);
}

static void answer_that_is_whole_in_time_is_not_there_when_its_write_fails(void **state) {
    (void)state;
    struct bench b;
    struct seen s, other;
    bench_init(&b, 4096, NULL);
    atomic_store(&writer_is_held, true);
    assert_int_equal(store_write(b.store, hold_writer_on, NULL, NULL, NULL), ERR_OK);
    struct turn_input in = bench_input(&b, "one");
    bench_start(&b, &in, &s);
    bench_start(&b, &in, &other); /* to the same place: one of them is refused */
    struct turn *t = b.turns->loops[0]->turns, *u = t->next;
    for (int i = 0; i < 1000 && (atomic_load(&t->append) != APPEND_WHOLE ||
                                 atomic_load(&u->append) != APPEND_WHOLE);
         i++)
        turn_loop_once(&b);
    atomic_store(&writer_is_held, false);
    pump_until(b.loop, &s.over);
    pump_until(b.loop, &other.over);
    assert_int_equal(s.failed + other.failed, 1);
    assert_int_equal((s.failed ? &s : &other)->ei.code, ERR_CONFLICT);
    assert_int_equal(bench_stored(&b, NULL).n, 2);
    assert_int_equal(turns_running(b.turns), 0);
    seen_deinit(&s);
    seen_deinit(&other);
    bench_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finish_on_a_full_disk_is_told_and_made_good),
        cmocka_unit_test(interrupt_while_the_question_is_written_does_not_say_that_it_is_lost),
        cmocka_unit_test(answer_before_its_question_is_written_is_stored_with_it),
        cmocka_unit_test(answer_that_is_whole_in_time_is_not_there_when_its_write_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
