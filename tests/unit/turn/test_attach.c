/* Leaving a stream and coming back: at every event, from another loop, late, and as somebody else.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "turn/turn_internal.h"
#include "unit/turn/bench_turn.h"

/* ---- another loop, on its own thread; the test talks to it by posts ---- */

struct visitor { /* one attachment from the other loop */
    struct side *side;
    struct uuid user, message;
    int64_t after;
    struct seen seen;
};

struct side {
    struct bench *b;
    struct loop *loop;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int over; /* visitors that are through */
};

static void side_event(void *ctx, const struct stream_event *e) {
    struct visitor *v = ctx;
    seen_event(&v->seen, e);
    /* loop_stop() of seen_event() ends loop_run(): side_main() runs it again */
    if (!v->seen.over)
        return;
    pthread_mutex_lock(&v->side->lock);
    v->side->over++;
    pthread_cond_signal(&v->side->changed);
    pthread_mutex_unlock(&v->side->lock);
}

static void side_fail(void *ctx, const struct errinfo *ei) {
    struct visitor *v = ctx;
    seen_fail(&v->seen, ei);
    pthread_mutex_lock(&v->side->lock);
    v->side->over++;
    pthread_cond_signal(&v->side->changed);
    pthread_mutex_unlock(&v->side->lock);
}

static const struct stream_sink side_sink = {side_event, side_fail};

static void side_attach(void *arg) {
    struct visitor *v = arg;
    struct errinfo ei;
    assert_int_equal(stream_attach(v->side->b->turns, v->side->loop, &v->user, &v->message,
                                   v->after, &side_sink, v, &v->seen.sub, &ei),
                     ERR_OK);
}

static atomic_bool side_end;

static void *side_main(void *arg) {
    struct side *s = arg;
    while (!atomic_load(&side_end))
        loop_run(s->loop);
    return NULL;
}

static void side_finish(void *arg) {
    struct side *s = arg;
    atomic_store(&side_end, true);
    loop_stop(s->loop);
}

static void side_open(struct side *s, struct bench *b) {
    struct errinfo ei;
    memset(s, 0, sizeof *s);
    s->b = b;
    atomic_store(&side_end, false);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    assert_int_equal(loop_new(&s->loop, &ei), ERR_OK);
    assert_int_equal(pthread_create(&s->thread, NULL, side_main, s), 0);
}

static void side_close(struct side *s) {
    loop_post(s->loop, side_finish, s);
    pthread_join(s->thread, NULL);
    loop_free(s->loop);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
}

static void side_visit(struct side *s, struct visitor *v, const struct uuid *user,
                       const struct uuid *message, int64_t after) {
    v->side = s;
    v->user = *user;
    v->message = *message;
    v->after = after;
    seen_init(&v->seen, s->loop);
    assert_int_equal(loop_post(s->loop, side_attach, v), ERR_OK);
}

static void side_wait(struct side *s, int n) {
    pthread_mutex_lock(&s->lock);
    while (s->over < n)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

/* ---- tests ---- */

static const char *const pieces[] = {"a ", "b ", "c ", "d ", "e "};

/* An answer in six token events, each of its own. */
static void say_in_pieces(struct bench *b, struct seen *s, void (*between)(void *arg, int i),
                          void *arg) {
    b->mock.mode = MOCK_HOLD;
    b->mock.reply = "start ";
    struct turn_input in = bench_input(b, "go");
    bench_start(b, &in, s);
    pump_until(b->loop, &s->has_text);
    for (int i = 0; i < 5; i++) {
        if (between)
            between(arg, i);
        s->has_text = false;
        mock_chunk(b->mock.held, pieces[i]);
        pump_until(b->loop, &s->has_text);
    }
    mock_release(&b->mock, "end");
    pump_until(b->loop, &s->over);
}

#define WHOLE "start a b c d e end"

static void attach_after_end_replays_from_every_event(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    struct side side;
    bench_init(&b, 4096, NULL);
    say_in_pieces(&b, &s, NULL, NULL);
    assert_text(&s.text, WHOLE);
    side_open(&side, &b);
    struct visitor *v = calloc((size_t)s.n + 3, sizeof *v);
    for (int i = 0; i < s.n + 3; i++) {
        int64_t after = i == 0 ? 0 : i <= s.n ? s.ids[i - 1] : s.ids[s.n - 1] + ((int64_t)i << 40);
        side_visit(&side, &v[i], &b.user, &s.message_id, after);
    }
    side_wait(&side, s.n + 3);
    for (int i = 0; i < s.n; i++) {
        assert_int_equal(v[i].seen.n, s.n - i);
        for (int k = 0; k < v[i].seen.n; k++) {
            assert_int_equal(v[i].seen.ids[k], s.ids[i + k]);
            assert_int_equal(v[i].seen.kinds[k], s.kinds[i + k]);
        }
    }
    assert_text(&v[0].seen.text, WHOLE);
    assert_int_equal(v[s.n].seen.n, 1); /* had seen all: the end is told once more */
    assert_int_equal(v[s.n].seen.kinds[0], STREAM_DONE);
    assert_int_equal(v[s.n + 2].seen.kinds[0], STREAM_RESET); /* a number that was never given */
    assert_text(&v[s.n + 2].seen.text, WHOLE);
    for (int i = 0; i < s.n + 3; i++)
        seen_deinit(&v[i].seen);
    free(v);
    side_close(&side);
    seen_deinit(&s);
    bench_deinit(&b);
}

struct comers {
    struct side side;
    struct seen *s;
    struct visitor v[5];
};

static void come(void *arg, int i) {
    struct comers *c = arg;
    side_visit(&c->side, &c->v[i], &c->side.b->user, &c->s->message_id, c->s->ids[c->s->n - 1]);
}

static void attach_while_running_continues_without_gap(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    struct comers c;
    bench_init(&b, 4096, NULL);
    c.s = &s;
    side_open(&c.side, &b);
    say_in_pieces(&b, &s, come, &c);
    side_wait(&c.side, 5);
    for (int i = 0; i < 5; i++) {
        struct seen *v = &c.v[i].seen;
        assert_int_equal(v->kinds[v->n - 1], STREAM_DONE);
        for (int k = 0; k < v->n; k++)
            assert_true(v->ids[k] > (k ? v->ids[k - 1] : c.v[i].after));
        assert_true(v->text.n < s.text.n);
        assert_memory_equal(v->text.p, s.text.p + s.text.n - v->text.n, v->text.n);
        seen_deinit(v);
    }
    side_close(&c.side);
    seen_deinit(&s);
    bench_deinit(&b);
}

static void attach_leaving_does_not_stop_the_answer(void **state) {
    (void)state;
    struct bench b;
    struct seen s, back;
    struct errinfo ei;
    bench_init(&b, 4096, NULL);
    b.mock.mode = MOCK_HOLD;
    struct turn_input in = bench_input(&b, "go");
    bench_start(&b, &in, &s);
    pump_until(b.loop, &s.has_text);
    subscription_cancel(s.sub);
    int n = s.n;
    seen_init(&back, b.loop);
    assert_int_equal(stream_attach(b.turns, b.loop, &b.user, &s.message_id, s.ids[n - 1],
                                   &seen_sink, &back, &back.sub, &ei),
                     ERR_OK);
    mock_release(&b.mock, "world");
    pump_until(b.loop, &back.over);
    assert_text(&back.text, "world");
    assert_int_equal(s.n, n); /* who left hears nothing more */
    seen_deinit(&s);
    seen_deinit(&back);
    bench_deinit(&b);
}

static void attach_of_others_is_not_found(void **state) {
    (void)state;
    struct bench b;
    struct seen s, o;
    struct errinfo ei;
    bench_init(&b, 4096, NULL);
    b.mock.mode = MOCK_HOLD;
    struct turn_input in = bench_input(&b, "secret");
    bench_start(&b, &in, &s);
    pump_until(b.loop, &s.has_text);
    struct uuid unknown = uuid_new();
    const struct uuid *who[] = {&b.other, &b.user, &b.user};
    const struct uuid *what[] = {&s.message_id, &unknown, &s.user_message_id};
    for (int i = 0; i < 3; i++) {
        seen_init(&o, b.loop);
        assert_int_equal(
            stream_attach(b.turns, b.loop, who[i], what[i], 0, &seen_sink, &o, &o.sub, &ei),
            ERR_OK);
        pump_until(b.loop, &o.over);
        assert_true(o.failed);
        assert_int_equal(o.ei.code, ERR_NOT_FOUND);
        assert_int_equal(o.n, 0);
        seen_deinit(&o);
    }
    mock_release(&b.mock, "x");
    pump_until(b.loop, &s.over);
    seen_deinit(&s);
    bench_deinit(&b);
}

/* Attaches behind `after` on the bench's own loop and waits for the end. */
static void come_back(struct bench *b, const struct uuid *message, int64_t after,
                      struct seen *back) {
    struct errinfo ei;
    seen_init(back, b->loop);
    assert_int_equal(stream_attach(b->turns, b->loop, &b->user, message, after, &seen_sink, back,
                                   &back->sub, &ei),
                     ERR_OK);
    pump_until(b->loop, &back->over);
}

static void attach_to_a_forgotten_stream_goes_on_from_the_store(void **state) {
    (void)state;
    struct bench b;
    struct seen s, back;
    bench_init(&b, 4096, NULL);
    say_in_pieces(&b, &s, NULL, NULL);
    hub_sweep(&b.turns->hub, INT64_MAX); /* as if it had ended long ago */
    for (int i = 0; i < s.n; i++) {
        come_back(&b, &s.message_id, s.ids[i], &back);
        assert_int_equal(back.kinds[back.n - 1], STREAM_DONE);
        assert_false(seen_has(&back, STREAM_RESET));
        assert_true(back.n <= 2);
        assert_memory_equal(back.text.p ? back.text.p : "", WHOLE + sizeof WHOLE - 1 - back.text.n,
                            back.text.n);
        if (s.kinds[i] == STREAM_CREATED)
            assert_text(&back.text, WHOLE);
        seen_deinit(&back);
    }
    come_back(&b, &s.message_id, 0, &back); /* has seen nothing */
    assert_int_equal(back.kinds[0], STREAM_RESET);
    assert_text(&back.text, WHOLE);
    seen_deinit(&back);
    seen_deinit(&s);
    bench_deinit(&b);
}

struct rated {
    struct uuid message_id, user_id;
};

static enum err rate(struct store_tx *tx, void *arg, struct errinfo *ei) {
    const struct rated *s = arg;
    struct arena *a = arena_new(1 << 20);
    struct feedback got, f = {.feedback_id = uuid_new(),
                              .message_id = s->message_id,
                              .user_id = s->user_id,
                              .rating = RATING_THUMBS_UP,
                              .comment = STR("fine"),
                              .created_at = 1,
                              .updated_at = 1};
    enum err e = feedback_put(tx, &f, a, &got, ei);
    arena_free(a);
    return e;
}

static void attach_to_a_rated_answer_tells_its_rating(void **state) {
    (void)state;
    struct bench b;
    struct seen s, back;
    struct errinfo ei;
    bench_init(&b, 4096, NULL);
    bench_say(&b, "one", &s);
    struct rated r = {s.message_id, b.user};
    assert_int_equal(store_write_wait(b.store, rate, &r, &ei), ERR_OK);
    hub_sweep(&b.turns->hub, INT64_MAX);
    come_back(&b, &s.message_id, 0, &back);
    assert_non_null(strstr(back.last, "\"comment\":\"fine\""));
    seen_deinit(&back);
    seen_deinit(&s);
    bench_deinit(&b);
}

static void attach_late_to_a_long_answer_gets_what_it_missed(void **state) {
    (void)state;
    struct bench b;
    struct seen s, back;
    struct errinfo ei;
    static char word[400];
    bench_init(&b, 4096, NULL);
    memset(word, 'w', sizeof word - 2);
    word[sizeof word - 2] = ' ';
    b.mock.mode = MOCK_HOLD;
    struct turn_input in = bench_input(&b, "much");
    bench_start(&b, &in, &s);
    pump_until(b.loop, &s.has_text);
    int64_t early = s.ids[s.n - 1];
    size_t seen = s.text.n;
    for (int i = 0; i < 900; i++) { /* more than the ring keeps, each an event of its own */
        s.has_text = false;
        mock_chunk(b.mock.held, word);
        pump_until(b.loop, &s.has_text);
    }
    seen_init(&back, b.loop);
    assert_int_equal(stream_attach(b.turns, b.loop, &b.user, &s.message_id, early, &seen_sink,
                                   &back, &back.sub, &ei),
                     ERR_OK);
    pump_until(b.loop, &back.has_text);
    assert_int_equal(back.kinds[0], STREAM_TOKEN);
    assert_int_equal(back.ids[0], s.ids[s.n - 1]);
    mock_release(&b.mock, "end");
    pump_until(b.loop, &s.over);
    pump_until(b.loop, &back.over);
    assert_int_equal(seen + back.text.n, s.text.n);
    assert_memory_equal(back.text.p, s.text.p + seen, back.text.n);
    seen_deinit(&s);
    seen_deinit(&back);
    bench_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attach_after_end_replays_from_every_event),
        cmocka_unit_test(attach_while_running_continues_without_gap),
        cmocka_unit_test(attach_leaving_does_not_stop_the_answer),
        cmocka_unit_test(attach_of_others_is_not_found),
        cmocka_unit_test(attach_to_a_forgotten_stream_goes_on_from_the_store),
        cmocka_unit_test(attach_to_a_rated_answer_tells_its_rating),
        cmocka_unit_test(attach_late_to_a_long_answer_gets_what_it_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
