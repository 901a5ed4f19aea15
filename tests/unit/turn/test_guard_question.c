/* The guard and the question: the model may be asked before the last verdict, and then nothing of
 * its answer is seen before that. */
#include "base/clock.h"
#include "base/metrics.h"
#include "turn/guard_ask.h"
#include "unit/turn/guard_fixture.h"

static const struct guarded_options early = {.early = true};

static void what_was_begun_early_is_seen_after_the_verdict(void **state) {
    (void)state;
    struct guarded g;
    struct seen s;
    guarded_init(&g, &early);
    guarded_start(&g, "What is a marmot?", &s);
    pump_until(g.b.loop, &g.asked);
    assert_non_null(g.b.mock.held_embed);
    assert_int_equal(s.n, 0);
    assert_int_equal(bench_stored(&g.b, NULL).n, 0);
    mock_release_embed(&g.b.mock);
    pump_until(g.b.loop, &s.over);
    assert_text(&s.text, "Hello there, friend.");
    assert_int_equal(g.b.mock.n_asked, 1);
    assert_int_equal(g.b.mock.n_embeds, 1);
    assert_stored_text(bench_stored(&g.b, &s.message_id).m.content, "Hello there, friend.");
    seen_deinit(&s);
    guarded_deinit(&g);
}

static void what_was_begun_early_and_refused_leaves_nothing(void **state) {
    (void)state;
    struct guarded g;
    struct seen s, next;
    guarded_init(&g, &early);
    g.b.mock.mode = MOCK_HOLD;
    guarded_start(&g, HARM, &s);
    pump_until(g.b.loop, &g.asked);
    assert_int_equal(s.n, 0);
    mock_release_embed(&g.b.mock);
    pump_until(g.b.loop, &s.over);
    assert_true(seen_has(&s, STREAM_BLOCKED));
    assert_false(seen_has(&s, STREAM_RESET));
    assert_null(strstr(s.text.p, "Hello"));
    struct stored st = bench_stored(&g.b, &s.message_id);
    assert_int_equal(st.n, 2);
    assert_stored_text(st.m.finish_reason, "content_filter");
    assert_int_equal(st.m.content.n, s.text.n);
    assert_memory_equal(st.m.content.p, s.text.p, s.text.n);
    assert_true(str_find(st.list[0].safety, STR("\"action\":\"block\"")) != SIZE_MAX);
    while (!g.b.mock.n_gone) /* the model was told to stop */
        loop_run(g.b.loop);
    g.b.mock.mode = MOCK_REPLY;
    g.b.mock.on_asked = NULL;
    bench_say(&g.b, "And a marmot?", &next);
    assert_null(strstr(g.b.mock.asked[1], "striped"));
    seen_deinit(&s);
    seen_deinit(&next);
    guarded_deinit(&g);
}

/* The whole answer is there before the verdict is. */
static void a_whole_answer_that_came_before_the_refusal_is_forgotten(void **state) {
    (void)state;
    struct guarded g;
    struct seen s;
    guarded_init(&g, &early);
    guarded_start(&g, HARM, &s);
    pump_until(g.b.loop, &g.asked);
    guarded_read(&g);
    assert_int_equal(s.n, 0);
    mock_release_embed(&g.b.mock);
    pump_until(g.b.loop, &s.over);
    assert_null(strstr(s.text.p, "Hello"));
    struct stored st = bench_stored(&g.b, &s.message_id);
    assert_stored_text(st.m.finish_reason, "content_filter");
    assert_int_equal(st.m.completion_tokens, -1);
    seen_deinit(&s);
    guarded_deinit(&g);
}

static void a_paid_model_is_asked_after_the_verdict(void **state) {
    (void)state;
    struct guarded g;
    struct seen s;
    guarded_init(&g, &(struct guarded_options){0});
    guarded_start(&g, HARM, &s);
    while (!g.b.mock.held_embed)
        loop_run(g.b.loop);
    mock_release_embed(&g.b.mock);
    pump_until(g.b.loop, &s.over);
    assert_int_equal(g.b.mock.n_asked, 0);
    assert_true(seen_has(&s, STREAM_BLOCKED));
    seen_deinit(&s);
    guarded_deinit(&g);
}

static void a_turn_may_end_before_its_verdict(void **state) {
    (void)state;
    struct guarded g;
    struct seen s;
    guarded_init(&g, &early);
    guarded_start(&g, "What is a marmot?", &s);
    pump_until(g.b.loop, &g.asked);
    turns_detach_loop(g.b.turns, g.b.loop);
    pump_until(g.b.loop, &s.over);
    assert_true(s.failed);
    assert_int_equal(bench_stored(&g.b, NULL).n, 0);
    seen_deinit(&s);
    guarded_deinit(&g);
}

/* The whole answer is there, the question's verdict is not: the guard model thinks about it. */
static void start_uncertain(struct guarded *g, const struct guarded_options *o, struct seen *s) {
    guarded_init(g, o);
    g->guard.mode = MOCK_SILENT;
    guarded_start(g, "Is that maybe a marmot?", s);
    pump_until(g->b.loop, &g->asked);
    guarded_read(g);
    mock_release_embed(&g->b.mock);
    g->asked = false;
    g->guard.on_asked = guarded_asked;
}

static void a_slow_guard_model_is_waited_for_beside_a_short_answer(void **state) {
    (void)state;
    static const struct guarded_options with_model = {.early = true, .guard_model = true};
    static const struct {
        const char *said;
        bool refused;
    } cases[] = {{"safe", false}, {"unsafe\nS2", true}};
    for (size_t i = 0; i < 2; i++) {
        struct guarded g;
        struct seen s;
        start_uncertain(&g, &with_model, &s);
        pump_until(g.b.loop, &g.asked);
        guarded_read(&g);
        assert_int_equal(s.n, 0);
        assert_int_equal(bench_stored(&g.b, NULL).n, 0);
        guarded_says(&g, cases[i].said);
        pump_until(g.b.loop, &s.over);
        struct stored st = bench_stored(&g.b, &s.message_id);
        assert_int_equal(st.n, 2);
        assert_int_equal(seen_has(&s, STREAM_BLOCKED), cases[i].refused);
        assert_stored_text(st.m.finish_reason, cases[i].refused ? "content_filter" : "stop");
        assert_text(&s.text, cases[i].refused ? "No." : "Hello there, friend.");
        seen_deinit(&s);
        guarded_deinit(&g);
    }
}

static void a_guard_model_that_says_nothing_leaves_it_to_the_fallback(void **state) {
    (void)state;
    for (int blocks = 0; blocks < 2; blocks++) {
        struct guarded g;
        struct seen s;
        const struct guarded_options o = {
            .early = true, .guard_model = true, .guard_timeout_ms = 1, .guard_blocks = blocks};
        int64_t before = metric_get(M_GUARD_FALLBACKS);
        start_uncertain(&g, &o, &s);
        pump_until(g.b.loop, &s.over);
        assert_int_equal(metric_get(M_GUARD_FALLBACKS) - before, 1);
        assert_text(&s.text, blocks ? "No." : "Hello there, friend.");
        assert_int_equal(seen_has(&s, STREAM_BLOCKED), blocks);
        seen_deinit(&s);
        guarded_deinit(&g);
    }
}

/* The loop goes: who asks then gets the fallback. */
static void a_guard_model_that_cannot_be_asked_leaves_it_to_the_fallback(void **state) {
    (void)state;
    struct guarded g;
    struct guard_ask *asking = NULL;
    guarded_init(&g, &(struct guarded_options){.guard_model = true, .guard_blocks = true});
    struct policy *p = safety_get_policy(g.safety);
    struct safety_verdict v = {.uncertain = true};
    v.scores[SAFETY_ILLICIT] = 0.25f;
    struct guard_ask_request r = {.policy = p,
                                  .role = STR(""),
                                  .direction = SAFETY_INPUT,
                                  .text = STR("maybe"),
                                  .answer = STR(""),
                                  .v = &v};
    turns_detach_loop(g.b.turns, g.b.loop);
    assert_false(turns_guard_ask(g.b.turns, g.b.loop, &r, NULL, NULL, &asking));
    assert_false(v.uncertain);
    assert_true(v.degraded);
    assert_int_equal(v.action, SAFETY_BLOCK);
    policy_unref(p);
    guarded_deinit(&g);
}

static bool has(struct str json, const char *what) {
    return str_find(json, str_from(what)) != SIZE_MAX;
}

static void a_late_verdict_leaves_what_was_found_in_the_answer(void **state) {
    (void)state;
    static const struct {
        const char *question, *reply, *text, *action, *asked; /* asked: of the question's verdict */
    } cases[] = {
        {"Be careful with it.", "Hello. The striped one runs.", "Hello.", "\"action\":\"block\"",
         "\"action\":\"warn\""},
        {"What is a marmot?", "An odd animal.", "An odd animal.", "\"action\":\"annotate\"", ""},
    };
    for (size_t i = 0; i < 2; i++) {
        struct guarded g;
        struct seen s;
        guarded_init(&g, &early);
        g.b.mock.reply = cases[i].reply;
        guarded_start(&g, cases[i].question, &s);
        pump_until(g.b.loop, &g.asked);
        guarded_read(&g);
        assert_int_equal(s.n, 0);
        mock_release_embed(&g.b.mock);
        pump_until(g.b.loop, &s.over);
        struct stored st = bench_stored(&g.b, &s.message_id);
        assert_true(has(st.m.safety, "\"direction\":\"output\""));
        assert_true(has(st.m.safety, cases[i].action));
        assert_true(has(st.list[0].safety, cases[i].asked));
        assert_memory_equal(st.m.content.p, cases[i].text, strlen(cases[i].text));
        assert_false(has(st.m.content, "striped"));
        seen_deinit(&s);
        guarded_deinit(&g);
    }
}

static void what_is_redacted_is_the_readers_only(void **state) {
    (void)state;
    struct guarded g;
    struct seen s;
    guarded_init(&g, &early);
    g.b.mock.reply = "I wrote to [EMAIL_1], and [EMAIL_2] is nobody.";
    guarded_start(&g, "Write to ada@lovelace.org please.", &s);
    pump_until(g.b.loop, &g.asked);
    guarded_read(&g);
    mock_release_embed(&g.b.mock);
    pump_until(g.b.loop, &s.over);
    assert_text(&s.text, "I wrote to ada@lovelace.org, and [EMAIL_2] is nobody.");
    assert_non_null(strstr(g.b.mock.asked[0], "[EMAIL_1]"));
    assert_null(strstr(g.b.mock.asked[0], "lovelace"));
    seen_deinit(&s);
    guarded_deinit(&g);
}

/* The model server embeds nothing within the patience: the turn is judged without and goes on. */
static void a_question_whose_embedding_is_late_is_answered(void **state) {
    (void)state;
    for (int is_early = 0; is_early < 2; is_early++) {
        struct guarded g;
        struct seen s;
        guarded_init(&g, &(struct guarded_options){.early = is_early, .guard_wait_ms = 1});
        guarded_start(&g, "What is a marmot?", &s);
        pump_until(g.b.loop, &s.over);
        assert_false(s.failed);
        assert_int_equal(s.kinds[s.n - 1], STREAM_DONE);
        assert_text(&s.text, "Hello there, friend.");
        assert_int_equal(g.b.mock.n_asked, 1);
        assert_null(g.b.mock.held_embed); /* it was called off */
        seen_deinit(&s);
        guarded_deinit(&g);
    }
}

/* Its embedding is asked for where the classifier suspects the talk without it, and only there. */
static void a_suspicious_talk_is_judged_with_its_embedding(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool refused;
        int embeds; /* so far */
    } said[] = {{"One is red.", false, 1},
                {"What is a marmot?", false, 2},
                {"The other is blue.", true, 4},
                {"And a whale?", false, 5}};
    for (int is_early = 0; is_early < 2; is_early++) {
        struct guarded g;
        struct seen s;
        guarded_init(&g, &(struct guarded_options){.early = is_early});
        g.b.mock.hold_embeds = false;
        for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
            bench_say(&g.b, said[i].text, &s);
            assert_int_equal(seen_has(&s, STREAM_BLOCKED), said[i].refused);
            assert_text(&s.text, said[i].refused ? "No." : "Hello there, friend.");
            assert_int_equal(g.b.mock.n_embeds, said[i].embeds);
            seen_deinit(&s);
        }
        guarded_deinit(&g);
    }
}

/* The question's embedding takes all of the patience: the talk's is not waited for as long again.
 */
static void a_talk_is_waited_for_within_the_questions_patience(void **state) {
    (void)state;
    for (int is_early = 0; is_early < 2; is_early++) {
        struct guarded g;
        struct seen s;
        guarded_init(&g, &(struct guarded_options){.early = is_early});
        g.b.mock.hold_embeds = false;
        bench_say(&g.b, "One is red.", &s);
        seen_deinit(&s);
        g.b.mock.hold_embeds = true;
        clock_test_set(clock_mono_ns(), clock_wall_ms());
        struct turn_input in = bench_input(&g.b, "The other is blue.");
        bench_start(&g.b, &in, &s);
        while (!g.b.mock.held_embed)
            loop_run(g.b.loop);
        clock_test_advance(60001); /* timers run by the kernel's clock */
        mock_release_embed(&g.b.mock);
        pump_until(g.b.loop, &s.over);
        clock_test_end();
        assert_text(&s.text, "Hello there, friend.");
        assert_int_equal(g.b.mock.n_embeds, 2);
        seen_deinit(&s);
        guarded_deinit(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_begun_early_is_seen_after_the_verdict),
        cmocka_unit_test(what_was_begun_early_and_refused_leaves_nothing),
        cmocka_unit_test(a_whole_answer_that_came_before_the_refusal_is_forgotten),
        cmocka_unit_test(a_paid_model_is_asked_after_the_verdict),
        cmocka_unit_test(a_turn_may_end_before_its_verdict),
        cmocka_unit_test(a_slow_guard_model_is_waited_for_beside_a_short_answer),
        cmocka_unit_test(a_guard_model_that_says_nothing_leaves_it_to_the_fallback),
        cmocka_unit_test(a_guard_model_that_cannot_be_asked_leaves_it_to_the_fallback),
        cmocka_unit_test(a_late_verdict_leaves_what_was_found_in_the_answer),
        cmocka_unit_test(what_is_redacted_is_the_readers_only),
        cmocka_unit_test(a_question_whose_embedding_is_late_is_answered),
        cmocka_unit_test(a_suspicious_talk_is_judged_with_its_embedding),
        cmocka_unit_test(a_talk_is_waited_for_within_the_questions_patience),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
