/* Answers of a process that died: taken up, gone on with from the stored text, and attached to as
 * if nothing had happened. The dead process is a `turns` whose loop was taken away. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "turn/turn_internal.h"
#include "unit/turn/bench_turn.h"

/* The first process says "Hello " and dies; s has what it told. */
static void die(struct bench *b, struct seen *s) {
    bench_init(b, 4096, NULL);
    b->mock.mode = MOCK_HOLD;
    struct turn_input in = bench_input(b, "one");
    bench_start(b, &in, s);
    pump_until(b->loop, &s->has_text);
    turns_detach_loop(b->turns, b->loop);
    pump_until(b->loop, &s->over);
    assert_true(s->failed);
}

/* The second process, before its loops run. */
static void rise(struct bench *b, struct turns **ret, int64_t expected) {
    struct turns_options o = {.store = b->store, .upstream = b->upstream};
    struct errinfo ei;
    int64_t n = -1, given_up = -1;
    assert_int_equal(turns_new(&o, ret, &ei), ERR_OK);
    assert_int_equal(turns_recover(*ret, &n, &given_up, &ei), ERR_OK);
    assert_int_equal(n, expected);
}

static void attach_behind(struct bench *b, struct turns *t, const struct uuid *message,
                          int64_t after, struct seen *back) {
    struct errinfo ei;
    seen_init(back, b->loop);
    assert_int_equal(
        stream_attach(t, b->loop, &b->user, message, after, &seen_sink, back, &back->sub, &ei),
        ERR_OK);
}

static void serve(struct bench *b, struct turns *t) {
    struct errinfo ei;
    assert_int_equal(turns_attach_loop(t, b->loop, b->client, &ei), ERR_OK);
}

/* All processes end. The store may still post to the dead ones: they are freed when it is closed.
 */
static struct turns *dead[8];
static int n_dead;

static void end(struct bench *b, struct turns *t) {
    turns_detach_loop(t, b->loop);
    dead[n_dead++] = b->turns;
    b->turns = t;
    bench_deinit(b);
    while (n_dead)
        turns_free(dead[--n_dead]);
}

static void stop_told(void *arg, enum err e, const struct errinfo *ei) {
    (void)arg, (void)ei;
    assert_int_equal(e, ERR_OK);
}

static enum err delete_conversation(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct bench *b = arg;
    (void)ei;
    return conversation_delete(tx, &b->user, &b->conversation);
}

static void recover_goes_on_from_every_event(void **state) {
    (void)state;
    struct bench b;
    struct seen s, back[4];
    struct turns *t;
    die(&b, &s);
    rise(&b, &t, 1);
    for (int i = 0; i <= s.n; i++) /* before the turn is taken up */
        attach_behind(&b, t, &s.message_id, i ? s.ids[i - 1] : 0, &back[i]);
    b.mock.mode = MOCK_REPLY;
    b.mock.reply = "there, friend.";
    serve(&b, t);
    for (int i = 0; i <= s.n; i++) {
        pump_until(b.loop, &back[i].over);
        assert_int_equal(back[i].kinds[back[i].n - 1], STREAM_DONE);
        assert_int_equal(seen_has(&back[i], STREAM_RESET), i == 0);
        for (int k = 0; k < back[i].n; k++)
            assert_true(back[i].ids[k] > (k ? back[i].ids[k - 1] : i ? s.ids[i - 1] : 0));
    }
    assert_text(&back[0].text, "Hello there, friend.");
    assert_text(&back[1].text, "Hello there, friend."); /* behind `created` */
    assert_text(&back[s.n].text, "there, friend.");
    assert_int_equal(b.mock.n_asked, 2);
    assert_non_null(strstr(b.mock.asked[1], "{\"role\":\"assistant\",\"content\":\"Hello \"}]"));
    struct stored st = bench_stored(&b, &s.message_id);
    assert_int_equal(st.n, 2);
    assert_int_equal(st.m.status, MESSAGE_COMPLETE);
    assert_stored_text(st.m.content, "Hello there, friend.");
    assert_true(st.m.ttft_ms >= 0);
    for (int i = 0; i <= s.n; i++)
        seen_deinit(&back[i]);
    attach_behind(&b, t, &s.message_id, s.ids[s.n - 1], &back[0]); /* later, and from the store */
    pump_until(b.loop, &back[0].over);
    hub_sweep(&t->hub, INT64_MAX);
    attach_behind(&b, t, &s.message_id, s.ids[s.n - 1], &back[1]);
    pump_until(b.loop, &back[1].over);
    for (int i = 0; i < 2; i++) {
        assert_text(&back[i].text, "there, friend.");
        assert_false(seen_has(&back[i], STREAM_RESET));
        seen_deinit(&back[i]);
    }
    seen_deinit(&s);
    end(&b, t);
}

static void recover_reader_ahead_of_the_store_sees_nothing_shrink(void **state) {
    (void)state;
    struct bench b;
    struct seen s, back;
    struct turns *t;
    die(&b, &s);
    rise(&b, &t, 1);
    /* It had read six bytes more than were stored. */
    int64_t ahead = s.ids[s.n - 1] + ((int64_t)6 << EVENT_TEXT_SHIFT);
    attach_behind(&b, t, &s.message_id, ahead, &back);
    b.mock.mode = MOCK_HOLD;
    b.mock.reply = "you ";
    serve(&b, t);
    while (b.mock.n_asked < 2 || !b.mock.held)
        loop_run(b.loop);
    mock_release(&b.mock, "there, friend.");
    pump_until(b.loop, &back.over);
    assert_int_equal(back.kinds[0], STREAM_RESET); /* with at least as much text as it had */
    assert_text(&back.text, "Hello you there, friend.");
    seen_deinit(&back);
    seen_deinit(&s);
    end(&b, t);
}

static void turn_loop_briefly(struct bench *b) {
    struct timer *t = timer_new(b->loop, pump_expired, NULL);
    pump_loop = b->loop;
    timer_start(t, 5, false);
    loop_run(b->loop);
    timer_free(t);
}

static void recover_gives_up_after_some_times(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    struct turns *t = NULL;
    int times = 0;
    die(&b, &s);
    for (;; times++) {
        struct turns_options o = {.store = b.store, .upstream = b.upstream};
        struct errinfo ei;
        int64_t n = -1, given_up = -1;
        assert_int_equal(turns_new(&o, &t, &ei), ERR_OK);
        assert_int_equal(turns_recover(t, &n, &given_up, &ei), ERR_OK);
        assert_true(times < 20);
        if (given_up)
            break;
        serve(&b, t);
        struct turn_loop *tl = turn_loop_of(t, b.loop);
        while (!tl->turns || !tl->turns->open) /* it is noted that it was taken up … */
            turn_loop_briefly(&b);
        turns_detach_loop(t, b.loop); /* … and the process dies of it */
        dead[n_dead++] = t;
    }
    assert_int_equal(times, 5);
    struct stored st = bench_stored(&b, &s.message_id);
    assert_int_equal(st.m.status, MESSAGE_INTERRUPTED);
    seen_deinit(&s);
    end(&b, t);
}

/* After an upgrade the new process answers before it may take up what the old one writes. */
static void recover_attach_before_it_says_to_ask_again(void **state) {
    (void)state;
    struct bench b;
    struct seen s, back;
    struct turns *t;
    struct turns_options o = {0};
    struct errinfo ei;
    die(&b, &s);
    o.store = b.store;
    o.upstream = b.upstream;
    assert_int_equal(turns_new(&o, &t, &ei), ERR_OK);
    attach_behind(&b, t, &s.message_id, s.ids[s.n - 1], &back);
    pump_until(b.loop, &back.over);
    assert_true(back.failed);
    assert_int_equal(back.ei.code, ERR_UNAVAILABLE);
    assert_true(back.ei.retry_after_ms > 0);
    struct stored st = bench_stored(&b, &s.message_id);
    assert_int_equal(st.m.status, MESSAGE_STREAMING);
    seen_deinit(&back);
    seen_deinit(&s);
    end(&b, t);
}

/* The disk was full when the second process began: until what the first one told is found, nothing
 * goes on from a shorter text. */
static void recover_that_is_still_due_lets_nobody_go_on(void **state) {
    (void)state;
    struct bench b;
    struct seen s, early, whole, next;
    struct turns *t;
    struct errinfo ei;
    int64_t n = -1, given_up = -1;
    die(&b, &s);
    struct turns_options o = {.store = b.store, .upstream = b.upstream};
    assert_int_equal(turns_new(&o, &t, &ei), ERR_OK);
    serve(&b, t);
    struct turns *first = b.turns;
    b.turns = t;
    struct turn_input in = bench_input(&b, "And then?");
    bench_start(&b, &in, &early);
    pump_until(b.loop, &early.over);
    assert_true(early.failed);
    assert_int_equal(early.ei.code, ERR_UNAVAILABLE);
    assert_int_equal(early.ei.retry_after_ms, 1000);
    assert_int_equal(bench_stored(&b, NULL).n, 2);
    assert_int_equal(turns_recover(t, &n, &given_up, &ei), ERR_OK);
    assert_int_equal(n, 1);
    b.mock.mode = MOCK_REPLY;
    b.mock.reply = "there, friend.";
    attach_behind(&b, t, &s.message_id, 0, &whole);
    recover_begin(turn_loop_of(t, b.loop));
    pump_until(b.loop, &whole.over);
    bench_start(&b, &in, &next);
    pump_until(b.loop, &next.over);
    assert_false(next.failed);
    assert_non_null(strstr(b.mock.asked[b.mock.n_asked - 1], "Hello there, friend."));
    seen_deinit(&s);
    seen_deinit(&early);
    seen_deinit(&whole);
    seen_deinit(&next);
    b.turns = first;
    end(&b, t);
}

static void recover_stop_while_it_waits_stops_it(void **state) {
    (void)state;
    struct bench b;
    struct seen s, back;
    struct turns *t;
    die(&b, &s);
    rise(&b, &t, 1);
    attach_behind(&b, t, &s.message_id, s.ids[s.n - 1], &back);
    assert_int_equal(turn_stop(t, b.loop, &b.user, &s.message_id, stop_told, NULL), ERR_OK);
    serve(&b, t);
    pump_until(b.loop, &back.over);
    assert_int_equal(back.kinds[back.n - 1], STREAM_DONE);
    struct stored st = bench_stored(&b, &s.message_id);
    assert_int_equal(st.m.status, MESSAGE_STOPPED);
    assert_stored_text(st.m.content, "Hello ");
    assert_int_equal(b.mock.n_asked, 1);
    seen_deinit(&back);
    seen_deinit(&s);
    end(&b, t);
}

static void recover_of_a_deleted_conversation_ends(void **state) {
    (void)state;
    struct bench b;
    struct seen s, back;
    struct turns *t;
    struct errinfo ei;
    die(&b, &s);
    rise(&b, &t, 1);
    assert_int_equal(store_write_wait(b.store, delete_conversation, &b, &ei), ERR_OK);
    attach_behind(&b, t, &s.message_id, s.ids[s.n - 1], &back);
    serve(&b, t);
    pump_until(b.loop, &back.over);
    assert_true(back.failed);
    assert_int_equal(back.ei.code, ERR_NOT_FOUND);
    seen_deinit(&back);
    seen_deinit(&s);
    end(&b, t);
}

/* A process that was killed had told more of the answer than is stored. */
static void leave_tail(const struct bench *b, const struct uuid *message, const char *text) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct tails *t = tails_open(b->folder);
        tails_note(t, message, strlen("Hello "), str_from(text));
        raise(t ? SIGKILL : SIGABRT);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* The same by a stream, of which everything behind "Hello th" was taken back. */
static void leave_what_was_taken_back(const struct bench *b, const struct uuid *message,
                                      bool in_order) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct turns_options o = {.data_dir = b->folder};
        struct turns *t;
        struct stream *s;
        if (turns_new(&o, &t, NULL) || !(s = stream_new(t, &b->user, message, NULL)))
            _exit(3);
        buf_adds(&s->text, STR("Hello there"));
        stream_publish_text(s, false);
        if (!in_order)
            stream_take_back(s, strlen("Hello th"));
        else if (!stream_cut(s, strlen("Hello th")))
            _exit(3);
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void rise_with_tails(struct bench *b, struct turns **ret) {
    struct turns_options o = {.store = b->store, .upstream = b->upstream, .data_dir = b->folder};
    struct errinfo ei;
    int64_t n = -1, given_up = -1;
    assert_int_equal(turns_new(&o, ret, &ei), ERR_OK);
    assert_int_equal(turns_recover(*ret, &n, &given_up, &ei), ERR_OK);
    assert_int_equal(n, 1);
}

static void recover_of_a_store_that_cannot_write_waits_and_keeps_what_was_told(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    struct turns *t;
    struct rlimit old;
    struct errinfo ei;
    int64_t n = -1, given_up = -1;
    if (access("/dev/shm", W_OK))
        skip();
    die(&b, &s);
    for (int told = 0; told < 2;
         told++) { /* also when there is nothing to write but that it goes on */
        struct turns_options o = {.store = b.store, .upstream = b.upstream, .data_dir = b.folder};
        if (told)
            leave_tail(&b, &s.message_id, "there");
        signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
        const struct rlimit none = {0, old.rlim_max};
        assert_int_equal(turns_new(&o, &t, &ei), ERR_OK);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
        enum err e = turns_recover(t, &n, &given_up, &ei);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_true(e && n == -1);
        assert_stored_text(bench_stored(&b, &s.message_id).m.content, "Hello ");
        if (!told)
            dead[n_dead++] = t;
    }
    assert_int_equal(turns_recover(t, &n, &given_up, &ei), ERR_OK);
    assert_int_equal(n, 1);
    assert_stored_text(bench_stored(&b, &s.message_id).m.content, "Hello there");
    assert_null(former_tails_open(b.folder));
    seen_deinit(&s);
    end(&b, t);
}

static void recover_does_not_bring_back_what_was_taken_back(void **state) {
    (void)state;
    if (access("/dev/shm", W_OK))
        skip();
    for (int in_order = 0; in_order < 2; in_order++) {
        struct bench b;
        struct seen s;
        struct turns *t;
        die(&b, &s);
        leave_what_was_taken_back(&b, &s.message_id, in_order);
        rise_with_tails(&b, &t);
        assert_stored_text(bench_stored(&b, &s.message_id).m.content, "Hello th");
        seen_deinit(&s);
        end(&b, t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recover_goes_on_from_every_event),
        cmocka_unit_test(recover_reader_ahead_of_the_store_sees_nothing_shrink),
        cmocka_unit_test(recover_gives_up_after_some_times),
        cmocka_unit_test(recover_attach_before_it_says_to_ask_again),
        cmocka_unit_test(recover_that_is_still_due_lets_nobody_go_on),
        cmocka_unit_test(recover_stop_while_it_waits_stops_it),
        cmocka_unit_test(recover_of_a_deleted_conversation_ends),
        cmocka_unit_test(recover_does_not_bring_back_what_was_taken_back),
        cmocka_unit_test(recover_of_a_store_that_cannot_write_waits_and_keeps_what_was_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
