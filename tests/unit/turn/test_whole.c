/* Questions wait for answers that come at once, and are stored with them in one write. The clock
 * stands still: how long a question waits is what the tests say. */
#include "bench_turn.h"

#include "base/metrics.h"
#include "turn/turn_internal.h"

#define MOST_MS 40

struct quick {
    struct bench b;
    struct seen s;
    int64_t writes; /* before */
};

static void quick_init(struct quick *q, int64_t lately_ns, enum mock_mode mode) {
    bench_init(&q->b, 4096, NULL);
    turn_loop_of(q->b.turns, q->b.loop)->answer_ns = lately_ns;
    clock_test_set(clock_mono_ns(), clock_wall_ms());
    q->b.mock.mode = mode;
    q->writes = metric_get(M_STORE_WRITES);
}

static void quick_deinit(struct quick *q) {
    clock_test_end();
    seen_deinit(&q->s);
    bench_deinit(&q->b);
}

/* The store counts a write before it tells of it. */
static int64_t writes_of(const struct quick *q) {
    return metric_get(M_STORE_WRITES) - q->writes;
}

static void when_asked(struct mock *m) {
    (void)m;
    loop_stop(pump_loop);
}

/* Until the model server has the question. */
static void ask(struct quick *q) {
    struct turn_input in = bench_input(&q->b, "one");
    bool asked = false;
    q->b.mock.on_asked = when_asked;
    bench_start(&q->b, &in, &q->s);
    pump_loop = q->b.loop;
    while (!asked) {
        loop_run(q->b.loop);
        asked = q->b.mock.n_asked == 1;
    }
    q->b.mock.on_asked = NULL;
}

static const struct turn *running(struct quick *q) {
    return turn_loop_of(q->b.turns, q->b.loop)->turns;
}

static void assert_complete(struct quick *q, const char *text) {
    struct stored st = bench_stored(&q->b, &q->s.message_id);
    assert_int_equal(q->s.kinds[0], STREAM_CREATED);
    assert_int_equal(q->s.kinds[q->s.n - 1], STREAM_DONE);
    assert_text(&q->s.text, text);
    assert_int_equal(st.n, 2);
    assert_int_equal(st.m.status, MESSAGE_COMPLETE);
    assert_stored_text(st.m.content, text);
}

static void answer_that_comes_at_once_is_stored_with_its_question(void **state) {
    (void)state;
    struct quick q;
    quick_init(&q, 1, MOCK_HOLD);
    ask(&q);
    assert_true(running(&q)->whole_waits);
    mock_release(&q.b.mock, "you.");
    pump_until(q.b.loop, &q.s.over);
    assert_complete(&q, "Hello you.");
    assert_int_equal(writes_of(&q), 1);
    quick_deinit(&q);
}

static void answer_that_does_not_come_is_waited_for_a_moment(void **state) {
    (void)state;
    struct quick q;
    quick_init(&q, 1, MOCK_HOLD);
    ask(&q);
    assert_int_equal(bench_stored(&q.b, NULL).n, 0);
    clock_test_advance(MOST_MS);
    pump_until(q.b.loop, &q.s.has_text);
    assert_int_equal(bench_stored(&q.b, NULL).n, 2);
    mock_release(&q.b.mock, "you.");
    pump_until(q.b.loop, &q.s.over);
    assert_complete(&q, "Hello you.");
    assert_int_equal(writes_of(&q), 2);
    quick_deinit(&q);
}

static void question_waits_for_no_answer_where_they_take_longer(void **state) {
    (void)state;
    static const int64_t lately[] = {0, 20 * MS + 1};
    for (size_t i = 0; i < 2; i++) {
        struct quick q;
        quick_init(&q, lately[i], MOCK_HOLD);
        ask(&q);
        assert_false(running(&q)->whole_waits);
        pump_until(q.b.loop, &q.s.has_text);
        mock_release(&q.b.mock, "you.");
        pump_until(q.b.loop, &q.s.over);
        assert_complete(&q, "Hello you.");
        quick_deinit(&q);
    }
}

static void failed_answer_that_was_waited_for_is_stored_as_failed(void **state) {
    (void)state;
    struct quick q;
    quick_init(&q, 1, MOCK_STATUS);
    q.b.mock.status = 400;
    q.b.mock.raw = "{\"error\":{\"message\":\"no\"}}";
    struct turn_input in = bench_input(&q.b, "one");
    bench_start(&q.b, &in, &q.s);
    pump_until(q.b.loop, &q.s.over);
    assert_int_equal(q.s.kinds[q.s.n - 1], STREAM_ERROR);
    struct stored st = bench_stored(&q.b, &q.s.message_id);
    assert_int_equal(st.n, 2);
    assert_int_equal(st.m.status, MESSAGE_FAILED);
    quick_deinit(&q);
}

static void on_stop(void *arg, enum err e, const struct errinfo *ei) {
    bool *stopped = arg;
    (void)ei;
    assert_int_equal(e, ERR_OK);
    *stopped = true;
    loop_stop(pump_loop);
}

static void answer_that_is_stopped_while_it_is_waited_for_ends(void **state) {
    (void)state;
    struct quick q;
    bool stopped = false;
    quick_init(&q, 1, MOCK_HOLD);
    ask(&q);
    struct uuid id = running(&q)->stream->message_id;
    assert_int_equal(turn_stop(q.b.turns, q.b.loop, &q.b.user, &id, on_stop, &stopped), ERR_OK);
    pump_until(q.b.loop, &stopped);
    pump_until(q.b.loop, &q.s.over);
    assert_int_equal(q.s.kinds[q.s.n - 1], STREAM_DONE);
    assert_int_equal(bench_stored(&q.b, &id).m.status, MESSAGE_STOPPED);
    quick_deinit(&q);
}

/* Its sender hears so. */
static void question_that_waits_when_its_loop_ends_is_not_stored(void **state) {
    (void)state;
    struct quick q;
    quick_init(&q, 1, MOCK_HOLD);
    ask(&q);
    turns_detach_loop(q.b.turns, q.b.loop);
    pump_until(q.b.loop, &q.s.over);
    assert_true(q.s.failed);
    assert_int_equal(q.s.ei.code, ERR_UNAVAILABLE);
    assert_string_equal(q.s.ei.message, "Parley is being restarted; nothing was stored, try again");
    assert_int_equal(bench_stored(&q.b, NULL).n, 0);
    quick_deinit(&q);
}

/* A model server that was quick hangs: soon nobody waits for it any more. */
static void questions_do_not_wait_for_long_when_answers_stay_away(void **state) {
    (void)state;
    struct quick q;
    int waits = 0;
    bool waited = true;
    quick_init(&q, 1, MOCK_HOLD);
    while (waited) {
        struct turn_input in = bench_input(&q.b, "one");
        int asked = q.b.mock.n_asked;
        q.b.mock.on_asked = when_asked;
        in.parent_kind = PARENT_ROOT;
        bench_start(&q.b, &in, &q.s);
        pump_loop = q.b.loop;
        while (q.b.mock.n_asked == asked)
            loop_run(q.b.loop);
        q.b.mock.on_asked = NULL;
        waited = running(&q)->whole_waits;
        waits += waited;
        if (waited)
            clock_test_advance(MOST_MS);
        pump_until(q.b.loop, &q.s.has_text);
        struct uuid id = running(&q)->stream->message_id;
        bool stopped = false;
        assert_int_equal(turn_stop(q.b.turns, q.b.loop, &q.b.user, &id, on_stop, &stopped), ERR_OK);
        while (!stopped || !q.s.over)
            loop_run(q.b.loop);
        assert_int_equal(bench_stored(&q.b, &id).m.status, MESSAGE_STOPPED);
        if (waited)
            seen_deinit(&q.s);
        assert_true(waits < 10);
    }
    assert_true(waits > 1);
    quick_deinit(&q);
}

static void average_follows_what_answers_took(void **state) {
    (void)state;
    assert_int_equal(whole_average_ns(0, 800), 800);
    assert_int_equal(whole_average_ns(800, 1600), 900);
    assert_int_equal(whole_average_ns(800, 0), 701);
    assert_int_equal(whole_average_ns(0, 0), 1);
    assert_true(whole_average_ns(MS, 1000 * MS) > 20 * MS); /* one slow answer: no more waiting */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer_that_comes_at_once_is_stored_with_its_question),
        cmocka_unit_test(answer_that_does_not_come_is_waited_for_a_moment),
        cmocka_unit_test(question_waits_for_no_answer_where_they_take_longer),
        cmocka_unit_test(failed_answer_that_was_waited_for_is_stored_as_failed),
        cmocka_unit_test(answer_that_is_stopped_while_it_is_waited_for_ends),
        cmocka_unit_test(question_that_waits_when_its_loop_ends_is_not_stored),
        cmocka_unit_test(questions_do_not_wait_for_long_when_answers_stay_away),
        cmocka_unit_test(average_follows_what_answers_took),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
