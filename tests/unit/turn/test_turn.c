/* The course of a turn: what is sent to the model, what goes out, what is stored. */
#include <signal.h>
#include <sys/resource.h>

#include "unit/turn/bench_turn.h"

static void turn_normal_streams_and_stores(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    bench_init(&b, 4096, NULL);
    bench_say(&b, "What is a marmot?", &s);
    assert_false(s.failed);
    assert_int_equal(s.kinds[0], STREAM_CREATED);
    assert_int_equal(s.kinds[s.n - 1], STREAM_DONE);
    for (int i = 0; i < s.n; i++)
        assert_true(s.ids[i] > (i ? s.ids[i - 1] : 0));
    assert_text(&s.text, "Hello there, friend.");
    assert_string_equal(s.title, "What is a marmot?");

    struct stored st = bench_stored(&b, &s.message_id);
    assert_int_equal(st.n, 2);
    assert_stored_text(st.list[0].content, "What is a marmot?");
    assert_stored_text(st.m.content, "Hello there, friend.");
    assert_int_equal(st.m.status, MESSAGE_COMPLETE);
    assert_int_equal(st.m.role_version, 1);
    assert_stored_text(st.m.model, "mock-chat");
    assert_stored_text(st.m.finish_reason, "stop");
    assert_int_equal(st.m.prompt_tokens, 11);
    assert_int_equal(st.m.completion_tokens, 7);
    assert_true(st.m.ttft_ms >= 0 && st.m.response_latency_ms >= st.m.ttft_ms);
    assert_stored_text(st.c.title, "What is a marmot?");
    assert_true(uuid_eq(&st.c.current_message_id, &s.message_id));
    assert_int_equal(turns_running(b.turns), 0);

    const char *asked = b.mock.asked[0];
    assert_non_null(strstr(asked, "{\"role\":\"system\",\"content\":\"You are helpful.\"}"));
    assert_non_null(strstr(asked, "\"stop\":[\"<end>\"]"));
    assert_non_null(strstr(asked, "\"max_tokens\":200"));
    assert_non_null(strstr(asked, "\"temperature\":0.5"));
    assert_null(strstr(asked, "top_p"));
    assert_non_null(strstr(asked, "\"parley\":{"));
    assert_non_null(strstr(asked, b.conversation.s));
    seen_deinit(&s);
    bench_deinit(&b);
}

static void turn_third_prompt_holds_the_first(void **state) {
    (void)state;
    struct bench b;
    struct seen s[3];
    bench_init(&b, 4096, NULL);
    bench_say(&b, "My name is Ada.", &s[0]);
    bench_say(&b, "I like marmots.", &s[1]);
    bench_say(&b, "What is my name?", &s[2]);
    const char *asked = b.mock.asked[2];
    const char *first = strstr(asked, "{\"role\":\"user\",\"content\":\"My name is Ada.\"}");
    assert_non_null(first);
    const char *answer =
        strstr(first, "{\"role\":\"assistant\",\"content\":\"Hello there, friend.\"}");
    assert_non_null(answer);
    assert_non_null(strstr(answer, "What is my name?"));
    assert_int_equal(b.mock.n_counts, 0); /* the bytes fit: nothing is counted */
    assert_null(s[1].title);              /* only the first question names the conversation */
    /* The prompt of the second turn is the start of the third's. */
    const char *end = strstr(b.mock.asked[1], "],\"stream\"");
    assert_memory_equal(b.mock.asked[1], asked, end - b.mock.asked[1]);
    for (int i = 0; i < 3; i++)
        seen_deinit(&s[i]);
    bench_deinit(&b);
}

static void turn_edit_makes_a_branch(void **state) {
    (void)state;
    struct bench b;
    struct seen first, second, edit, root;
    bench_init(&b, 4096, NULL);
    bench_say(&b, "one", &first);
    bench_say(&b, "two", &second);
    struct turn_input in = bench_input(&b, "two, edited");
    in.parent_kind = PARENT_GIVEN;
    in.parent_id = first.message_id;
    bench_start(&b, &in, &edit);
    pump_until(b.loop, &edit.over);
    assert_null(strstr(b.mock.asked[2], "\"two\""));
    assert_non_null(strstr(b.mock.asked[2], "\"one\""));
    in = bench_input(&b, "fresh");
    in.parent_kind = PARENT_ROOT;
    bench_start(&b, &in, &root);
    pump_until(b.loop, &root.over);
    assert_null(strstr(b.mock.asked[3], "\"one\""));
    struct stored st = bench_stored(&b, &root.user_message_id);
    assert_int_equal(st.n, 8);
    assert_false(uuid_is_set(&st.m.parent_id));
    st = bench_stored(&b, &edit.user_message_id);
    assert_true(uuid_eq(&st.m.parent_id, &first.message_id));
    seen_deinit(&first);
    seen_deinit(&second);
    seen_deinit(&edit);
    seen_deinit(&root);
    bench_deinit(&b);
}

static void turn_regenerate_makes_a_sibling(void **state) {
    (void)state;
    struct bench b;
    struct seen first, again, wrong;
    bench_init(&b, 4096, NULL);
    bench_say(&b, "one", &first);
    b.mock.reply = "Another answer.";
    struct turn_input in = bench_input(&b, "");
    in.kind = TURN_REGENERATE;
    in.message_id = first.message_id;
    bench_start(&b, &in, &again);
    pump_until(b.loop, &again.over);
    assert_text(&again.text, "Another answer.");
    assert_non_null(strstr(again.created, "\"user_message\":null"));
    struct stored st = bench_stored(&b, &again.message_id);
    assert_int_equal(st.n, 3);
    assert_true(uuid_eq(&st.m.parent_id, &first.user_message_id));
    assert_true(uuid_eq(&st.c.current_message_id, &again.message_id));
    assert_null(strstr(b.mock.asked[1], "Hello there"));
    in.message_id = first.user_message_id; /* a question is no answer */
    bench_start(&b, &in, &wrong);
    pump_until(b.loop, &wrong.over);
    assert_true(wrong.failed);
    assert_int_equal(wrong.ei.code, ERR_INVALID);
    seen_deinit(&first);
    seen_deinit(&again);
    seen_deinit(&wrong);
    bench_deinit(&b);
}

struct stopped {
    struct loop *loop;
    bool done;
    enum err err;
};

static void on_stop(void *arg, enum err e, const struct errinfo *ei) {
    struct stopped *s = arg;
    (void)ei;
    s->done = true;
    s->err = e;
    loop_stop(s->loop);
}

static void turn_stop_keeps_the_text(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    bench_init(&b, 4096, NULL);
    b.mock.mode = MOCK_HOLD;
    struct turn_input in = bench_input(&b, "go on");
    bench_start(&b, &in, &s);
    pump_until(b.loop, &s.has_text);
    struct stopped other = {b.loop, false, ERR_OK}, own = other, late = other;
    assert_int_equal(turn_stop(b.turns, b.loop, &b.other, &s.message_id, on_stop, &other), ERR_OK);
    pump_until(b.loop, &other.done);
    assert_int_equal(other.err, ERR_NOT_FOUND); /* somebody else's */
    assert_false(s.over);
    assert_int_equal(turn_stop(b.turns, b.loop, &b.user, &s.message_id, on_stop, &own), ERR_OK);
    pump_until(b.loop, &own.done);
    assert_int_equal(own.err, ERR_OK);
    struct stored st = bench_stored(&b, &s.message_id); /* told when it is stored, not before */
    assert_int_equal(st.m.status, MESSAGE_STOPPED);
    assert_stored_text(st.m.content, "Hello ");
    pump_until(b.loop, &s.over);
    assert_int_equal(s.kinds[s.n - 1], STREAM_DONE);
    bool gone = b.mock.n_gone > 0;
    if (!gone)
        loop_run(b.loop); /* the model server sees its client leave */
    assert_int_equal(b.mock.n_gone, 1);
    assert_int_equal(turn_stop(b.turns, b.loop, &b.user, &s.message_id, on_stop, &late), ERR_OK);
    pump_until(b.loop, &late.done);
    assert_int_equal(late.err, ERR_OK);
    seen_deinit(&s);
    bench_deinit(&b);
}

static void turn_message_below_a_running_answer_conflicts(void **state) {
    (void)state;
    struct bench b;
    struct seen s, second, sibling;
    bench_init(&b, 4096, NULL);
    b.mock.mode = MOCK_HOLD;
    struct turn_input in = bench_input(&b, "one");
    bench_start(&b, &in, &s);
    pump_until(b.loop, &s.has_text);
    in = bench_input(&b, "two");
    bench_start(&b, &in, &second);
    pump_until(b.loop, &second.over);
    assert_int_equal(second.ei.code, ERR_CONFLICT);
    b.mock.mode = MOCK_REPLY; /* a branch of its own runs beside it */
    in.parent_kind = PARENT_ROOT;
    struct http_request *held = b.mock.held;
    bench_start(&b, &in, &sibling);
    pump_until(b.loop, &sibling.over);
    assert_int_equal(sibling.kinds[sibling.n - 1], STREAM_DONE);
    assert_false(s.over);
    b.mock.held = held;
    mock_release(&b.mock, "you.");
    pump_until(b.loop, &s.over);
    assert_text(&s.text, "Hello you.");
    assert_int_equal(bench_stored(&b, NULL).n, 4);
    seen_deinit(&s);
    seen_deinit(&second);
    seen_deinit(&sibling);
    bench_deinit(&b);
}

static void turn_of_two_at_once_only_one_is_taken(void **state) {
    (void)state;
    struct bench b;
    struct seen s[2];
    bench_init(&b, 4096, NULL);
    struct turn_input in = bench_input(&b, "one"), other = bench_input(&b, "two");
    bench_start(&b, &in, &s[0]);
    bench_start(&b, &other, &s[1]);
    pump_until(b.loop, &s[0].over);
    pump_until(b.loop, &s[1].over);
    struct stored st = bench_stored(&b, NULL);
    if (s[0].failed || s[1].failed) {
        int refused = s[0].failed ? 0 : 1;
        assert_int_equal(s[refused].ei.code, ERR_CONFLICT);
        assert_int_equal(s[!refused].kinds[s[!refused].n - 1], STREAM_DONE);
        assert_int_equal(st.n, 2); /* no sibling that nobody sees */
    } else { /* the one was over before the other looked: that one goes on behind it */
        assert_int_equal(st.n, 4);
        for (size_t i = 0, roots = 0; i < st.n; i++)
            assert_true((roots += !uuid_is_set(&st.list[i].parent_id)) <= 1);
    }
    seen_deinit(&s[0]);
    seen_deinit(&s[1]);
    bench_deinit(&b);
}

static void turn_broken_upstream_is_asked_for_the_rest(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    bench_init(&b, 4096, NULL);
    b.mock.mode = MOCK_HOLD;
    struct turn_input in = bench_input(&b, "one");
    bench_start(&b, &in, &s);
    pump_until(b.loop, &s.has_text);
    b.mock.mode = MOCK_REPLY;
    b.mock.reply = "there, friend.";
    mock_break(&b.mock);
    pump_until(b.loop, &s.over);
    assert_int_equal(s.kinds[s.n - 1], STREAM_DONE);
    assert_false(seen_has(&s, STREAM_RESET));
    assert_text(&s.text, "Hello there, friend.");
    assert_int_equal(b.mock.n_asked, 2);
    assert_non_null(strstr(b.mock.asked[1], "{\"role\":\"assistant\",\"content\":\"Hello \"}]"));
    assert_non_null(strstr(b.mock.asked[1], "\"continue\":true"));
    assert_non_null(strstr(b.mock.asked[1], "\"max_tokens\":200"));
    struct stored st = bench_stored(&b, &s.message_id);
    assert_int_equal(st.m.status, MESSAGE_COMPLETE);
    assert_stored_text(st.m.content, "Hello there, friend.");
    assert_int_equal(st.m.completion_tokens, 7); /* as the server tells of the whole answer */
    seen_deinit(&s);
    bench_deinit(&b);
}

static void turn_broken_for_good_keeps_the_text(void **state) {
    (void)state;
    struct bench b;
    struct seen s, next;
    bench_init(&b, 4096, NULL);
    b.mock.mode = MOCK_HOLD;
    struct turn_input in = bench_input(&b, "one");
    bench_start(&b, &in, &s);
    pump_until(b.loop, &s.has_text);
    b.mock.mode = MOCK_RAW; /* from now on it ends without a word */
    b.mock.raw = "";
    mock_break(&b.mock);
    pump_until(b.loop, &s.over);
    assert_int_equal(s.kinds[s.n - 1], STREAM_ERROR);
    assert_non_null(strstr(s.last, "\"code\":\"upstream_error\""));
    assert_int_equal(b.mock.n_asked, 4);
    struct stored st = bench_stored(&b, &s.message_id);
    assert_int_equal(st.m.status, MESSAGE_FAILED);
    assert_stored_text(st.m.content, "Hello ");
    assert_true(st.m.error.n > 0);
    b.mock.mode = MOCK_REPLY;
    bench_say(&b, "two", &next); /* the broken answer's text is part of the conversation */
    assert_int_equal(next.kinds[next.n - 1], STREAM_DONE);
    assert_non_null(strstr(b.mock.asked[4], "\"Hello \""));
    seen_deinit(&s);
    seen_deinit(&next);
    bench_deinit(&b);
}

/* A server of an unknown kind begins anew. */
static void broken_at_a_foreign_server(const char *again, const char *whole, bool reset) {
    struct bench b;
    struct seen s;
    bench_init(&b, 4096, NULL);
    b.mock.models = "{\"data\":[{\"id\":\"mock-chat\"}]}";
    bool done = false;
    pump_loop = b.loop;
    assert_int_equal(upstream_refresh(b.client, refreshed, &done), ERR_OK);
    pump_until(b.loop, &done);
    b.mock.mode = MOCK_HOLD;
    b.mock.reply = "Hello\xC3\xA9 ";
    struct turn_input in = bench_input(&b, "one");
    bench_start(&b, &in, &s);
    pump_until(b.loop, &s.has_text);
    b.mock.mode = MOCK_REPLY;
    b.mock.reply = again;
    mock_break(&b.mock);
    pump_until(b.loop, &s.over);
    assert_int_equal(s.kinds[s.n - 1], STREAM_DONE);
    assert_text(&s.text, whole);
    assert_int_equal(seen_has(&s, STREAM_RESET), reset);
    struct stored st = bench_stored(&b, &s.message_id);
    assert_stored_text(st.m.content, whole);
    assert_null(strstr(b.mock.asked[1], "assistant"));
    seen_deinit(&s);
    bench_deinit(&b);
}

static void turn_broken_foreign_server_that_says_the_same_leaves_no_seam(void **state) {
    (void)state;
    broken_at_a_foreign_server("Hello\xC3\xA9 there", "Hello\xC3\xA9 there", false);
}

static void turn_broken_foreign_server_that_says_something_else_resets(void **state) {
    (void)state;
    broken_at_a_foreign_server("Hello\xC3\xA8, you there", "Hello\xC3\xA8, you there", true);
    broken_at_a_foreign_server("Hel", "Hel", true);
}

static void fail_the_second_time(struct mock *m) {
    if (m->n_asked > 1)
        m->raw = "data: {\"error\":{\"message\":\"the GPU fell off\",\"code\":500}}\n\n";
}

static void turn_error_frame_fails_the_answer(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    bench_init(&b, 4096, NULL);
    b.mock.mode = MOCK_RAW;
    b.mock.raw = "data: {\"choices\":[{\"delta\":{\"content\":\"Well, \"}}]}\n\n"
                 "data: {\"error\":{\"message\":\"the GPU fell off\",\"code\":500}}\n\n";
    b.mock.on_asked = fail_the_second_time;
    bench_say(&b, "one", &s);
    assert_int_equal(s.kinds[s.n - 1], STREAM_ERROR);
    assert_non_null(strstr(s.last, "the GPU fell off"));
    assert_text(&s.text, "Well, ");
    seen_deinit(&s);
    bench_deinit(&b);
}

static void turn_overloaded_upstream_says_so(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    bench_init(&b, 4096, NULL);
    b.mock.mode = MOCK_STATUS;
    b.mock.status = 429;
    b.mock.retry_after = "3";
    bench_say(&b, "one", &s);
    assert_int_equal(s.kinds[s.n - 1], STREAM_ERROR);
    assert_non_null(strstr(s.last, "\"code\":\"overloaded\""));
    struct stored st = bench_stored(&b, &s.message_id);
    assert_int_equal(st.m.status, MESSAGE_FAILED);
    assert_int_equal(st.m.content.n, 0);
    seen_deinit(&s);
    b.mock.mode = MOCK_REPLY;
    bench_say(&b, "two", &s); /* the empty answer is left out of the prompt */
    assert_non_null(strstr(b.mock.asked[1], "\"one\"},{\"role\":\"user\",\"content\":\"two\"}"));
    seen_deinit(&s);
    bench_deinit(&b);
}

static void turn_dead_upstream_is_waited_for(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    bench_init(&b, 4096, NULL);
    mock_down(&b.mock);
    struct turn_input in = bench_input(&b, "anybody there?");
    bench_start(&b, &in, &s);
    while (!seen_has(&s, STREAM_QUEUED) && !s.over)
        loop_run(b.loop);
    assert_false(s.over);
    assert_int_equal(bench_stored(&b, NULL).n, 2); /* durable while nobody answers */
    assert_false(upstream_is_ready(b.upstream, NULL) && s.has_text);
    mock_up(&b.mock);
    pump_until(b.loop, &s.over);
    assert_int_equal(s.kinds[s.n - 1], STREAM_DONE);
    assert_text(&s.text, "Hello there, friend.");
    int queued = 0;
    for (int i = 0; i < s.n; i++)
        queued += s.kinds[i] == STREAM_QUEUED;
    assert_int_equal(queued, 1);
    seen_deinit(&s);
    bench_deinit(&b);
}

static void turn_refused_input_stores_nothing(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    struct errinfo ei;
    struct turns_options o = {.max_content_bytes = 1000};
    bench_init(&b, 4096, &o);
    static char big[1200];
    memset(big, 'x', sizeof big - 1);
    const char *bad[] = {"", " \n\t ", "\xff\xfe", big};
    const enum err expected[] = {ERR_INVALID, ERR_INVALID, ERR_INVALID, ERR_TOO_LARGE};
    for (int i = 0; i < 4; i++) {
        struct turn_input in = bench_input(&b, bad[i]);
        assert_int_equal(turn_start(b.turns, b.loop, &in, &seen_sink, &s, &s.sub, &ei),
                         expected[i]);
        assert_string_equal(ei.param, "content");
    }
    struct turn_input in = bench_input(&b, "mine now");
    in.user_id = b.other;
    bench_start(&b, &in, &s);
    pump_until(b.loop, &s.over);
    assert_int_equal(s.ei.code, ERR_NOT_FOUND);
    seen_deinit(&s);
    in = bench_input(&b, "stray");
    in.parent_kind = PARENT_GIVEN;
    in.parent_id = uuid_new();
    bench_start(&b, &in, &s);
    pump_until(b.loop, &s.over);
    assert_int_equal(s.ei.code, ERR_INVALID);
    assert_string_equal(s.ei.param, "parent_id");
    assert_int_equal(bench_stored(&b, NULL).n, 0);
    assert_int_equal(b.mock.n_asked, 0);
    assert_int_equal(turns_running(b.turns), 0);
    seen_deinit(&s);
    bench_deinit(&b);
}

static void turn_limits_refuse_at_once(void **state) {
    (void)state;
    struct bench b;
    struct seen s, t;
    struct errinfo ei;
    struct turns_options o = {.max_running_per_user = 1, .max_running = 2};
    bench_init(&b, 4096, &o);
    b.mock.mode = MOCK_HOLD;
    struct turn_input in = bench_input(&b, "one");
    bench_start(&b, &in, &s);
    assert_int_equal(turn_start(b.turns, b.loop, &in, &seen_sink, &t, &t.sub, &ei), ERR_RATE);
    assert_true(ei.retry_after_ms > 0);
    pump_until(b.loop, &s.has_text);
    mock_release(&b.mock, "end");
    pump_until(b.loop, &s.over);
    seen_deinit(&s);
    b.mock.mode = MOCK_REPLY;
    bench_say(&b, "two", &s); /* the place is free again */
    assert_false(s.failed);
    seen_deinit(&s);
    bench_deinit(&b);
}

/* A file size limit stands for the full disk: SQLite's log cannot grow. */
static void turn_full_disk_leaves_nothing_half_written(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    struct rlimit old, none;
    bench_init(&b, 4096, NULL);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    none = (struct rlimit){.rlim_cur = 4096, .rlim_max = old.rlim_max};
    struct turn_input in = bench_input(&b, "lost?");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    bench_start(&b, &in, &s);
    pump_until(b.loop, &s.over);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_true(s.failed);
    assert_true(s.ei.code == ERR_DISK_FULL || s.ei.code == ERR_IO || s.ei.code == ERR_READ_ONLY);
    assert_true(strlen(s.ei.message) > 0);
    assert_int_equal(s.n, 0); /* no event was seen */
    struct stored st = bench_stored(&b, NULL);
    assert_int_equal(st.n, 0);
    assert_int_equal(st.c.title.n, 0);
    assert_int_equal(turns_running(b.turns), 0);
    seen_deinit(&s);
    bench_say(&b, "once more", &s); /* and with room again all is well */
    assert_int_equal(s.kinds[s.n - 1], STREAM_DONE);
    seen_deinit(&s);
    bench_deinit(&b);
}

static void turn_of_a_loop_that_goes_away_is_left_to_the_next_process(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    bench_init(&b, 4096, NULL);
    b.mock.mode = MOCK_HOLD;
    struct turn_input in = bench_input(&b, "one");
    bench_start(&b, &in, &s);
    pump_until(b.loop, &s.has_text);
    turns_detach_loop(b.turns, b.loop);
    struct stored st = bench_stored(&b, &s.message_id);
    assert_int_equal(st.m.status, MESSAGE_STREAMING);
    assert_stored_text(st.m.content, "Hello ");
    struct errinfo ei;
    assert_int_equal(turn_start(b.turns, b.loop, &in, &seen_sink, &s, &s.sub, &ei),
                     ERR_UNAVAILABLE);
    pump_until(b.loop, &s.over);
    assert_true(s.failed);
    assert_int_equal(s.ei.code, ERR_UNAVAILABLE);
    seen_deinit(&s);
    bench_deinit(&b);
}

static void turn_checkpoints_while_writing(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    bench_init(&b, 4096, NULL);
    b.mock.mode = MOCK_HOLD;
    struct turn_input in = bench_input(&b, "one");
    bench_start(&b, &in, &s);
    pump_until(b.loop, &s.has_text);
    struct stored st = bench_stored(&b, &s.message_id);
    while (!st.m.content.n) { /* the sweep and the checkpoint timer turn the loop */
        struct timer *t = timer_new(b.loop, pump_expired, NULL);
        pump_loop = b.loop;
        timer_start(t, 50, false);
        loop_run(b.loop);
        timer_free(t);
        st = bench_stored(&b, &s.message_id);
    }
    assert_int_equal(st.m.status, MESSAGE_STREAMING);
    assert_stored_text(st.m.content, "Hello ");
    mock_release(&b.mock, "end");
    pump_until(b.loop, &s.over);
    seen_deinit(&s);
    bench_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turn_normal_streams_and_stores),
        cmocka_unit_test(turn_third_prompt_holds_the_first),
        cmocka_unit_test(turn_edit_makes_a_branch),
        cmocka_unit_test(turn_regenerate_makes_a_sibling),
        cmocka_unit_test(turn_stop_keeps_the_text),
        cmocka_unit_test(turn_message_below_a_running_answer_conflicts),
        cmocka_unit_test(turn_of_two_at_once_only_one_is_taken),
        cmocka_unit_test(turn_broken_upstream_is_asked_for_the_rest),
        cmocka_unit_test(turn_broken_for_good_keeps_the_text),
        cmocka_unit_test(turn_broken_foreign_server_that_says_the_same_leaves_no_seam),
        cmocka_unit_test(turn_broken_foreign_server_that_says_something_else_resets),
        cmocka_unit_test(turn_error_frame_fails_the_answer),
        cmocka_unit_test(turn_overloaded_upstream_says_so),
        cmocka_unit_test(turn_dead_upstream_is_waited_for),
        cmocka_unit_test(turn_refused_input_stores_nothing),
        cmocka_unit_test(turn_limits_refuse_at_once),
        cmocka_unit_test(turn_full_disk_leaves_nothing_half_written),
        cmocka_unit_test(turn_of_a_loop_that_goes_away_is_left_to_the_next_process),
        cmocka_unit_test(turn_checkpoints_while_writing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
