/* The course of a turn: what is sent to the model, what goes out, what is stored. */
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
        assert_int_equal(s.ids[i], i + 1);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turn_normal_streams_and_stores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
