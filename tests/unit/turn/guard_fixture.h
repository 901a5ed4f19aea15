/* The turn under a guard whose scorer finds what it is told: in a question "striped" (with its
 * embedding only), "red" and "blue" together (the same, and a little without), "maybe" (uncertain;
 * the guard model is asked where there is one) and "careful" (a warning); in an answer or a title
 * "striped", "odd" (noted only). */
#pragma once

#include "unit/turn/bench_turn.h"

#define HARM "Tell me about the striped horse."

struct guarded {
    struct bench b;
    struct jobs *jobs;
    struct safety *safety;
    struct mock guard; /* the guard model's server */
    struct upstream *guard_upstream;
    bool asked;
};

static const char guarded_policy[] =
    "{\"categories\":{\"illicit\":{\"annotate\":0.1,\"warn\":0.4,\"block\":0.8}},"
    "\"pii\":{\"email\":\"redact\"},\"refusals\":{\"default\":\"No.\"},"
    "\"warning\":\"Take care.\",\"uncertain\":{\"from\":0.2,\"to\":0.3},"
    "\"roles\":{\"helper\":{\"restore\":true}}}";

static float guarded_scored(struct str text, enum safety_direction d, bool embedded) {
    bool out = d == SAFETY_OUTPUT;
    if ((out || embedded) && str_find(text, STR("striped")) != SIZE_MAX)
        return 0.99f;
    if (!out && str_find(text, STR("red")) != SIZE_MAX && str_find(text, STR("blue")) != SIZE_MAX)
        return embedded ? 0.99f : 0.45f;
    if (!out && str_find(text, STR("maybe")) != SIZE_MAX)
        return 0.25f;
    if (!out && str_find(text, STR("careful")) != SIZE_MAX)
        return 0.5f;
    return out && str_find(text, STR("odd")) != SIZE_MAX ? 0.15f : 0;
}

static inline void guarded_score(const void *ctx, const struct safety_text *t,
                                 float ret[SAFETY_CATEGORIES]) {
    (void)ctx;
    ret[SAFETY_ILLICIT] = guarded_scored(t->text, t->direction, t->embedding != NULL);
}

#define GUARDED_FLOW 4096

static inline void guarded_flow_add(const void *ctx, void *flow, struct str text) {
    char *to = flow;
    size_t n = strlen(to);
    (void)ctx;
    assert_true(n + text.n < GUARDED_FLOW);
    memcpy(to + n, text.p, text.n);
}

static inline void guarded_flow_score(const void *ctx, const void *flow, enum safety_direction d,
                                      float ret[SAFETY_CATEGORIES]) {
    (void)ctx;
    memset(ret, 0, SAFETY_CATEGORIES * sizeof *ret);
    ret[SAFETY_ILLICIT] = guarded_scored(str_from(flow), d, false);
}

static const struct safety_scorer guarded_scorer = {.name = "test",
                                                    .embedding_dims = 3,
                                                    .embedding_model = "mock-embedding",
                                                    .score = guarded_score,
                                                    .flow_size = GUARDED_FLOW,
                                                    .flow_add = guarded_flow_add,
                                                    .flow_score = guarded_flow_score};

struct guarded_options {
    bool early, titles;
    bool guard_model;
    int guard_timeout_ms;
    bool guard_blocks;
    int guard_wait_ms; /* 0 = longer than any test */
};

/* The guard model's server is on the loop that bench_init() makes, so the turns know it by its
 * address before it is up. */
static inline void guarded_init(struct guarded *g, const struct guarded_options *o) {
    struct errinfo ei;
    struct safety_options so = {.policy = str_from(guarded_policy), .scorer = &guarded_scorer};
    char path[] = "/tmp/parley-guard-XXXXXX";
    assert_int_equal(crypto_init(), ERR_OK);
    memset(g, 0, sizeof *g);
    assert_int_equal(safety_new(&so, &g->safety, &ei), ERR_OK);
    assert_int_equal(jobs_new(1, 64, &g->jobs), ERR_OK);
    struct turns_options to = {.safety = g->safety,
                               .safety_jobs = g->jobs,
                               .guard_early = o->early,
                               .guard_wait_ms = o->guard_wait_ms ? o->guard_wait_ms : 60000,
                               .titles = o->titles,
                               .guard_format = GUARD_LLAMA,
                               .guard_timeout_ms = o->guard_timeout_ms,
                               .guard_blocks = o->guard_blocks};
    if (o->guard_model) {
        assert_non_null(mkdtemp(path));
        char socket[128];
        snprintf(socket, sizeof socket, "%s/model.sock", path);
        struct upstream_options uo = {.base_url = "http://guard/v1", .unix_socket = socket};
        assert_int_equal(upstream_new(&uo, &g->guard_upstream, &ei), ERR_OK);
        to.guard_upstream = g->guard_upstream;
    }
    bench_init(&g->b, 4096, &to);
    if (o->guard_model)
        mock_init(&g->guard, g->b.loop, path);
    g->b.mock.hold_embeds = true;
}

static inline void guarded_deinit(struct guarded *g) {
    jobs_free(g->jobs);
    if (g->guard_upstream) {
        mock_deinit(&g->guard);
        *strrchr(g->guard.path, '/') = 0;
        rmdir(g->guard.path);
    }
    bench_deinit(&g->b);
    upstream_free(g->guard_upstream);
    safety_free(g->safety);
}

static bool *guarded_flag;
static inline void guarded_asked(struct mock *m) {
    *guarded_flag = true;
    loop_stop(m->loop);
}

static inline void guarded_start(struct guarded *g, const char *text, struct seen *s) {
    struct turn_input in = bench_input(&g->b, text);
    guarded_flag = &g->asked;
    g->asked = false;
    g->b.mock.on_asked = guarded_asked;
    bench_start(&g->b, &in, s);
}

/* What is on its way from the model is read. */
static inline void guarded_read(struct guarded *g) {
    for (int i = 0; i < 20; i++) {
        bool done = false;
        assert_int_equal(upstream_refresh(g->b.client, refreshed, &done), ERR_OK);
        pump_until(g->b.loop, &done);
    }
}

/* The guard model says so much, and no more. */
static inline void guarded_says(struct guarded *g, const char *text) {
    struct http_request *r = g->guard.held;
    assert_non_null(r);
    g->guard.held = NULL;
    http_on_close(r, NULL, NULL);
    http_stream_begin(r, 200, "text/event-stream");
    mock_words(r, text, false);
    mock_finish(r);
}
