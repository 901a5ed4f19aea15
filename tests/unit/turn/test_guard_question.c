/* The guard and the question: the model may be asked before the last verdict, and then nothing of
 * its answer is seen before that. The scorer of these tests finds what it is told only with an
 * embedding. */
#include "unit/turn/bench_turn.h"

#define HARM "Tell me about the striped horse."

struct guarded {
    struct bench b;
    struct jobs *jobs;
    struct safety *safety;
    bool asked;
};

static void score(const void *ctx, const struct safety_text *t, float ret[SAFETY_CATEGORIES]) {
    (void)ctx;
    if (t->direction == SAFETY_INPUT && t->embedding &&
        str_find(t->text, STR("striped")) != SIZE_MAX)
        ret[SAFETY_ILLICIT] = 0.99f;
}

static const struct safety_scorer scorer = {
    .name = "test", .embedding_dims = 3, .embedding_model = "mock-embedding", .score = score};

static void guarded_init(struct guarded *g, bool early) {
    struct errinfo ei;
    struct safety_options so = {.scorer = &scorer};
    assert_int_equal(crypto_init(), ERR_OK);
    memset(g, 0, sizeof *g);
    assert_int_equal(safety_new(&so, &g->safety, &ei), ERR_OK);
    assert_int_equal(jobs_new(1, 64, &g->jobs), ERR_OK);
    struct turns_options to = {.safety = g->safety, .safety_jobs = g->jobs, .guard_early = early};
    bench_init(&g->b, 4096, &to);
    g->b.mock.hold_embeds = true;
}

static void guarded_deinit(struct guarded *g) {
    jobs_free(g->jobs);
    bench_deinit(&g->b);
    safety_free(g->safety);
}

static bool *asked_flag;
static void on_asked(struct mock *m) {
    *asked_flag = true;
    loop_stop(m->loop);
}

static void start(struct guarded *g, const char *text, struct seen *s) {
    struct turn_input in = bench_input(&g->b, text);
    asked_flag = &g->asked;
    g->asked = false;
    g->b.mock.on_asked = on_asked;
    bench_start(&g->b, &in, s);
}

static void what_was_begun_early_is_seen_after_the_verdict(void **state) {
    (void)state;
    struct guarded g;
    struct seen s;
    guarded_init(&g, true);
    start(&g, "What is a marmot?", &s);
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
    guarded_init(&g, true);
    g.b.mock.mode = MOCK_HOLD;
    start(&g, HARM, &s);
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
    guarded_init(&g, true);
    start(&g, HARM, &s);
    pump_until(g.b.loop, &g.asked);
    for (int i = 0; i < 20; i++) { /* its words are read */
        bool done = false;
        assert_int_equal(upstream_refresh(g.b.client, refreshed, &done), ERR_OK);
        pump_until(g.b.loop, &done);
    }
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
    guarded_init(&g, false);
    start(&g, HARM, &s);
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
    guarded_init(&g, true);
    start(&g, "What is a marmot?", &s);
    pump_until(g.b.loop, &g.asked);
    turns_detach_loop(g.b.turns, g.b.loop);
    pump_until(g.b.loop, &s.over);
    assert_true(s.failed);
    assert_int_equal(bench_stored(&g.b, NULL).n, 0);
    seen_deinit(&s);
    guarded_deinit(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_begun_early_is_seen_after_the_verdict),
        cmocka_unit_test(what_was_begun_early_and_refused_leaves_nothing),
        cmocka_unit_test(a_whole_answer_that_came_before_the_refusal_is_forgotten),
        cmocka_unit_test(a_paid_model_is_asked_after_the_verdict),
        cmocka_unit_test(a_turn_may_end_before_its_verdict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
