/* The client of a model server, against a scripted one: models, chat, counts, forwarding, and all
 * the ways in which a server refuses. */
#include "unit/upstream/mock_upstream.h"

#include "upstream/upstream.h"

struct bench {
    char folder[64];
    struct loop *loop;
    struct mock mock;
    struct upstream *u;
    struct upstream_client *c;
    /* what came back */
    bool done;
    enum err err;
    struct errinfo ei;
    struct buf text;
    char reason[32];
    int prompt_tokens, completion_tokens, queued, status;
    int64_t retry_after_ms;
    int counts[8];
    size_t n_counts;
    struct upstream_call *call;
    bool cancel_at_token;
};

static void refreshed(void *ctx, enum err e, const struct errinfo *ei) {
    struct bench *b = ctx;
    b->done = true;
    b->err = e;
    if (ei)
        b->ei = *ei;
    loop_stop(b->loop);
}

static void bench_init(struct bench *b, const struct upstream_options *extra, bool refresh) {
    struct errinfo ei;
    memset(b, 0, sizeof *b);
    snprintf(b->folder, sizeof b->folder, "/tmp/parley-test-XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    assert_int_equal(net_init(&ei), ERR_OK);
    assert_int_equal(loop_new(&b->loop, &ei), ERR_OK);
    mock_init(&b->mock, b->loop, b->folder);
    struct upstream_options o = extra ? *extra : (struct upstream_options){0};
    o.base_url = "http://engine/v1/";
    o.unix_socket = b->mock.path;
    assert_int_equal(upstream_new(&o, &b->u, &ei), ERR_OK);
    assert_int_equal(upstream_client_new(b->u, b->loop, &b->c, &ei), ERR_OK);
    buf_init(&b->text, 1 << 20);
    if (!refresh)
        return;
    assert_int_equal(upstream_refresh(b->c, refreshed, b), ERR_OK);
    pump_until(b->loop, &b->done);
    assert_int_equal(b->err, ERR_OK);
}

static void bench_deinit(struct bench *b) {
    upstream_client_free(b->c);
    upstream_free(b->u);
    mock_deinit(&b->mock);
    loop_free(b->loop);
    buf_deinit(&b->text);
    rmdir(b->folder);
}

static void on_queued(void *ctx, int position) {
    struct bench *b = ctx;
    assert_int_equal(position, 0);
    b->queued++;
    loop_stop(b->loop);
}

static void on_token(void *ctx, struct str text) {
    struct bench *b = ctx;
    buf_adds(&b->text, text);
    if (b->cancel_at_token) {
        upstream_cancel(b->call);
        b->call = NULL;
        b->done = true;
    }
    loop_stop(b->loop);
}

static void on_done(void *ctx, const struct chat_result *r) {
    struct bench *b = ctx;
    assert_false(b->done);
    b->done = true;
    b->err = r->err;
    if (r->ei)
        b->ei = *r->ei;
    snprintf(b->reason, sizeof b->reason, "%.*s", STR_ARG(r->finish_reason));
    b->prompt_tokens = r->prompt_tokens;
    b->completion_tokens = r->completion_tokens;
    loop_stop(b->loop);
}

static void start(struct bench *b) {
    static const struct chat_callbacks callbacks = {
        .on_queued = on_queued, .on_token = on_token, .on_done = on_done};
    const struct chat_message messages[] = {{CHAT_SYSTEM, STR("Be \"kind\".")},
                                            {CHAT_USER, STR("Gr\xc3\xbc\xc3\x9f dich\n")}};
    struct chat_request r = {.messages = messages,
                             .n_messages = 2,
                             .temperature = -1,
                             .top_p = 0.9,
                             .max_tokens = 20,
                             .user_key = STR("u1"),
                             .conversation_key = STR("c1")};
    struct errinfo ei;
    b->done = false;
    b->queued = 0;
    buf_clear(&b->text);
    assert_int_equal(upstream_chat(b->c, &r, &callbacks, b, &b->call, &ei), ERR_OK);
    assert_false(b->done);
}

static void chat(struct bench *b) {
    start(b);
    pump_until(b->loop, &b->done);
}

static void window_of_a_llama_server_is_what_it_has_room_for(void **state) {
    (void)state;
    struct bench b;
    bench_init(&b, NULL, false);
    b.mock.models = "{\"data\":[{\"id\":\"llama\",\"meta\":{\"n_ctx_train\":32768}}]}";
    b.mock.props = "{\"default_generation_settings\":{\"n_ctx\":2048}}";
    for (int i = 0; i < 2; i++) { /* also when the list is read anew, and /props fails then */
        b.done = false;
        assert_int_equal(upstream_refresh(b.c, refreshed, &b), ERR_OK);
        pump_until(b.loop, &b.done);
        assert_int_equal(b.err, ERR_OK);
        assert_int_equal(upstream_context_window(b.u, STR_NULL), 2048);
        b.mock.props = NULL;
    }
    bench_deinit(&b);
}

static void models_are_learnt(void **state) {
    (void)state;
    struct bench b;
    struct errinfo ei;
    struct arena *a = arena_new(1 << 20);
    struct upstream_model *list;
    struct str name;
    size_t n;
    bench_init(&b, NULL, false);
    assert_false(upstream_is_ready(b.u, &ei));
    assert_int_equal(upstream_models(b.u, a, &list, &n), ERR_UNAVAILABLE);
    assert_int_equal(upstream_refresh(b.c, refreshed, &b), ERR_OK);
    pump_until(b.loop, &b.done);
    assert_true(upstream_is_ready(b.u, &ei));
    assert_int_equal(upstream_models(b.u, a, &list, &n), ERR_OK);
    assert_int_equal(n, 2);
    assert_true(list[0].embedding);
    assert_false(list[1].embedding);
    assert_int_equal(upstream_default_model(b.u, a, &name), ERR_OK);
    assert_true(str_eqz(name, "mock-chat"));
    assert_int_equal(upstream_context_window(b.u, STR_NULL), 4096);
    assert_int_equal(upstream_message_overhead(b.u, STR_NULL), 4);
    assert_true(upstream_has_model(b.u, STR("mock-chat")));
    assert_false(upstream_has_model(b.u, STR("gpt")));
    static const char *const lists[] = {
        "{\"data\":[{\"id\":\"vllm\",\"max_model_len\":8192}]}",
        "{\"data\":[{\"id\":\"nomic-embed-text\"},{\"id\":\"llama\",\"meta\":{\"n_ctx_train\":2048}"
        "}]}",
        "{\"data\":[{\"id\":\"cloud\"},{\"id\":7},{},\"x\",{\"id\":\"\"}]}"};
    static const int windows[] = {8192, 2048, 4096};
    for (int i = 0; i < 3; i++) {
        b.mock.models = lists[i];
        b.done = false;
        assert_int_equal(upstream_refresh(b.c, refreshed, &b), ERR_OK);
        pump_until(b.loop, &b.done);
        assert_int_equal(b.err, ERR_OK);
        assert_int_equal(upstream_context_window(b.u, STR_NULL), windows[i]);
    }
    static const char *const bad[] = {"", "[]", "{\"data\":3}", "nonsense"};
    for (int i = 0; i < 4; i++) {
        b.mock.models = bad[i];
        b.done = false;
        assert_int_equal(upstream_refresh(b.c, refreshed, &b), ERR_OK);
        pump_until(b.loop, &b.done);
        assert_int_equal(b.err, ERR_UPSTREAM);
        assert_false(upstream_is_ready(b.u, &ei));
        assert_true(upstream_has_model(b.u, STR("cloud"))); /* the old list stays */
    }
    arena_free(a);
    bench_deinit(&b);
}

static void chat_streams_and_reports_usage(void **state) {
    (void)state;
    struct bench b;
    struct upstream_options o = {.api_key = "secret"};
    bench_init(&b, &o, true);
    chat(&b);
    assert_int_equal(b.err, ERR_OK);
    assert_string_equal(b.text.p, "Hello there, friend.");
    assert_string_equal(b.reason, "stop");
    assert_int_equal(b.prompt_tokens, 11);
    assert_int_equal(b.completion_tokens, 7);
    assert_string_equal(b.mock.key, "Bearer secret");
    assert_string_equal(
        b.mock.asked[0],
        "{\"model\":\"mock-chat\",\"messages\":[{\"role\":\"system\",\"content\":\"Be "
        "\\\"kind\\\".\"},{\"role\":\"user\",\"content\":\"Gr\xc3\xbc\xc3\x9f dich\\n\"}],"
        "\"stream\":true,\"stream_options\":{\"include_usage\":true},\"top_p\":0.9,\"max_"
        "tokens\":20,\"parley\":{\"wait\":true,\"wait_ms\":180000,\"conversation\":\"c1\",\"user\":"
        "\"u1\"}}");
    bench_deinit(&b);
}

static void chat_to_foreign_server_has_no_extensions(void **state) {
    (void)state;
    struct bench b;
    bench_init(&b, NULL, false);
    b.mock.models = "{\"data\":[{\"id\":\"llama\"}]}";
    chat(&b); /* never refreshed: the models are asked for on the way */
    assert_int_equal(b.err, ERR_OK);
    assert_int_equal(b.mock.n_models, 1);
    assert_non_null(strstr(b.mock.asked[0], "\"model\":\"llama\""));
    assert_null(strstr(b.mock.asked[0], "parley"));
    bench_deinit(&b);
}

static void chat_without_a_list_of_models_uses_the_name(void **state) {
    (void)state;
    struct bench b;
    struct upstream_options o = {.model = "named"};
    bench_init(&b, &o, false);
    b.mock.models = "{\"error\":{\"message\":\"no such path\"}}";
    b.mock.models_status = 404;
    chat(&b);
    assert_int_equal(b.err, ERR_OK);
    assert_non_null(strstr(b.mock.asked[0], "\"model\":\"named\""));
    bench_deinit(&b);
}

static void chat_refusals_are_told_apart(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *body;
        enum err expected;
        const char *says;
    } cases[] = {
        {401, "{\"error\":{\"message\":\"bad key sk-123\"}}", ERR_UPSTREAM, "refused the key"},
        {404, "{\"error\":{\"message\":\"model x\",\"code\":\"model_not_found\"}}", ERR_NO_MODEL,
         "model"},
        {404, "{\"error\":\"model \\\"x\\\" not found, try pulling it\"}", ERR_NO_MODEL, "pulling"},
        {404, "not here", ERR_UPSTREAM, "/v1"},
        {400, "{\"error\":{\"message\":\"no\",\"code\":\"context_length_exceeded\"}}", ERR_CONTEXT,
         ""},
        {400, "{\"message\":\"This model's maximum context length is 5\"}", ERR_CONTEXT, "5"},
        {400, "{\"error\":{\"code\":400,\"type\":\"exceed_context_size_error\"}}", ERR_CONTEXT, ""},
        {422, "{\"error\":{\"message\":\"top_p is odd\"}}", ERR_UPSTREAM, "top_p is odd"},
        {429, "", ERR_OVERLOADED, "busy"},
        {500, "{\"error\":{\"message\":\"bad \\u0007 luck\"}}", ERR_UPSTREAM, "bad   luck"},
        {500, "\xff\xfe{", ERR_UPSTREAM, "HTTP 500"},
        {302, "", ERR_UPSTREAM, "HTTP 302"},
    };
    struct bench b;
    bench_init(&b, NULL, true);
    b.mock.mode = MOCK_STATUS;
    b.mock.retry_after = "3";
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        b.mock.status = cases[i].status;
        b.mock.raw = cases[i].body;
        chat(&b);
        assert_int_equal(b.err, cases[i].expected);
        assert_non_null(strstr(b.ei.message, cases[i].says));
        assert_null(strstr(b.ei.message, "sk-123"));
        if (cases[i].status == 429)
            assert_int_equal(b.ei.retry_after_ms, 3000);
        assert_int_equal(b.queued, 0);
    }
    bench_deinit(&b);
}

static void chat_waits_for_a_loading_server(void **state) {
    (void)state;
    struct bench b;
    bench_init(&b, NULL, true);
    b.mock.mode = MOCK_STATUS;
    b.mock.status = 503;
    b.mock.raw = "{\"error\":{\"message\":\"Loading model\"}}";
    start(&b);
    while (b.queued < 2 && !b.done)
        loop_run(b.loop);
    assert_false(b.done);
    b.mock.mode = MOCK_REPLY;
    pump_until(b.loop, &b.done);
    assert_int_equal(b.err, ERR_OK);
    assert_string_equal(b.text.p, "Hello there, friend.");
    bench_deinit(&b);
}

static void chat_does_not_wait_for_a_broken_model(void **state) {
    (void)state;
    struct bench b;
    bench_init(&b, NULL, true);
    b.mock.mode = MOCK_STATUS;
    b.mock.status = 503;
    b.mock.raw = "{\"error\":{\"message\":\"x.gguf is damaged\",\"code\":\"unavailable\"}}";
    chat(&b);
    assert_int_equal(b.err, ERR_UNAVAILABLE);
    assert_int_equal(b.queued, 0);
    bench_deinit(&b);
}

static void chat_gives_up_on_an_absent_server(void **state) {
    (void)state;
    struct bench b;
    struct upstream_options o = {.connect_wait_ms = 120};
    bench_init(&b, &o, true);
    mock_down(&b.mock);
    chat(&b);
    assert_int_equal(b.err, ERR_UNAVAILABLE);
    assert_true(b.queued >= 1);
    assert_false(upstream_is_ready(b.u, NULL));
    mock_up(&b.mock);
    chat(&b);
    assert_int_equal(b.err, ERR_OK);
    assert_true(upstream_is_ready(b.u, NULL));
    bench_deinit(&b);
}

static void chat_broken_answer_is_not_asked_again(void **state) {
    (void)state;
    struct bench b;
    bench_init(&b, NULL, true);
    b.mock.mode = MOCK_HOLD;
    start(&b);
    while (!b.text.n)
        loop_run(b.loop);
    mock_break(&b.mock);
    pump_until(b.loop, &b.done);
    assert_int_equal(b.err, ERR_UPSTREAM);
    assert_int_equal(b.mock.n_asked, 1);
    bench_deinit(&b);
}

static void chat_silence_ends_the_call(void **state) {
    (void)state;
    struct bench b;
    struct upstream_options o = {.first_byte_timeout_ms = 30}, patient = {.idle_timeout_ms = 20};
    bench_init(&b, &o, true);
    b.mock.mode = MOCK_SILENT;
    chat(&b);
    assert_int_equal(b.err, ERR_TIMEOUT);
    bench_deinit(&b);
    bench_init(&b, &patient, true);
    b.mock.mode = MOCK_HOLD;
    chat(&b);
    assert_int_equal(b.err, ERR_TIMEOUT);
    assert_string_equal(b.text.p, "Hello ");
    bench_deinit(&b);
}

static void chat_cancelled_in_its_callback_is_silent(void **state) {
    (void)state;
    struct bench b;
    bench_init(&b, NULL, true);
    b.mock.mode = MOCK_HOLD;
    b.cancel_at_token = true;
    chat(&b);
    while (b.mock.n_gone == 0) /* the connection closes, nothing else comes */
        loop_run(b.loop);
    assert_string_equal(b.text.p, "Hello ");
    b.cancel_at_token = false;
    b.mock.mode = MOCK_SILENT;
    start(&b);
    upstream_cancel(b.call);
    start(&b);
    while (!b.mock.held)
        loop_run(b.loop);
    upstream_cancel(b.call);
    while (b.mock.n_gone == 1)
        loop_run(b.loop);
    assert_false(b.done);
    bench_deinit(&b);
}

static void on_counts(void *ctx, enum err e, const int *counts, size_t n) {
    struct bench *b = ctx;
    b->done = true;
    b->err = e;
    b->n_counts = n;
    for (size_t i = 0; i < n; i++)
        b->counts[i] = counts[i];
    loop_stop(b->loop);
}

static enum err count(struct bench *b) {
    const struct str texts[] = {STR("four"), STR(""), STR("\"eight\" ")};
    b->done = false;
    enum err e = upstream_count_tokens(b->c, STR_NULL, texts, 3, on_counts, b, &b->call);
    if (!e)
        pump_until(b->loop, &b->done);
    return e;
}

static void counts_come_from_each_kind_of_server(void **state) {
    (void)state;
    struct bench b;
    bench_init(&b, NULL, true);
    assert_int_equal(count(&b), ERR_OK);
    assert_int_equal(b.err, ERR_OK);
    assert_int_equal(b.n_counts, 3);
    assert_int_equal(b.counts[0], 2);
    assert_int_equal(b.counts[1], 1);
    assert_int_equal(b.counts[2], 3);
    assert_int_equal(b.mock.n_counts, 1);
    b.mock.no_counts = true;
    assert_int_equal(count(&b), ERR_OK);
    assert_int_equal(b.err, ERR_NOT_FOUND);
    assert_int_equal(count(&b), ERR_OK); /* ours is asked again: the model may come back */
    assert_int_equal(b.err, ERR_NOT_FOUND);
    bench_deinit(&b);

    bench_init(&b, NULL, false); /* llama-server: one request for each text */
    b.mock.models = "{\"data\":[{\"id\":\"llama\"}]}";
    assert_int_equal(upstream_refresh(b.c, refreshed, &b), ERR_OK);
    pump_until(b.loop, &b.done);
    assert_int_equal(count(&b), ERR_OK);
    assert_int_equal(b.err, ERR_OK);
    assert_int_equal(b.counts[2], 3);
    assert_int_equal(b.mock.n_counts, 3);
    bench_deinit(&b);
}

static void on_status(void *ctx, int status, struct str type, int64_t retry_after_ms) {
    struct bench *b = ctx;
    (void)type;
    assert_int_equal(b->status, 0);
    b->status = status;
    b->retry_after_ms = retry_after_ms;
}

static bool on_data(void *ctx, struct str bytes) {
    struct bench *b = ctx;
    assert_int_not_equal(b->status, 0);
    buf_adds(&b->text, bytes);
    return true;
}

static void on_forwarded(void *ctx, enum err e, const struct errinfo *ei) {
    struct bench *b = ctx;
    (void)ei;
    b->done = true;
    b->err = e;
    loop_stop(b->loop);
}

static void forward_hands_over_what_comes(void **state) {
    (void)state;
    static const struct forward_callbacks callbacks = {on_status, on_data, on_forwarded};
    struct bench b;
    struct errinfo ei;
    bench_init(&b, NULL, true);
    b.mock.mode = MOCK_RAW;
    b.mock.raw = "data: anything at all\n\n";
    for (int i = 0; i < 2; i++) {
        b.done = false;
        b.status = 0;
        buf_clear(&b.text);
        assert_int_equal(upstream_forward(b.c, "/chat/completions", STR("{\"x\":1}"), 0, &callbacks,
                                          &b, &b.call, &ei),
                         ERR_OK);
        pump_until(b.loop, &b.done);
        assert_int_equal(b.err, ERR_OK);
        assert_string_equal(b.mock.asked[i], "{\"x\":1}");
        assert_int_equal(b.status, i ? 429 : 200);
        assert_string_equal(b.text.p, b.mock.raw);
        assert_int_equal(b.retry_after_ms, i ? 2000 : -1);
        b.mock.mode = MOCK_STATUS;
        b.mock.status = 429;
        b.mock.retry_after = "2";
        b.mock.raw = "{\"error\":{\"message\":\"later\"}}";
    }
    bench_deinit(&b);
}

static void options_that_cannot_work_are_refused(void **state) {
    (void)state;
    struct upstream *u;
    struct errinfo ei;
    struct upstream_options o = {.base_url = "ftp://x"};
    assert_int_equal(upstream_new(&o, &u, &ei), ERR_INVALID);
    o = (struct upstream_options){.base_url = "http://x/v1", .api_key = "a\r\nX: y"};
    assert_int_equal(upstream_new(&o, &u, &ei), ERR_INVALID);
    assert_null(strstr(ei.message, "X: y"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_are_learnt),
        cmocka_unit_test(window_of_a_llama_server_is_what_it_has_room_for),
        cmocka_unit_test(chat_streams_and_reports_usage),
        cmocka_unit_test(chat_to_foreign_server_has_no_extensions),
        cmocka_unit_test(chat_without_a_list_of_models_uses_the_name),
        cmocka_unit_test(chat_refusals_are_told_apart),
        cmocka_unit_test(chat_waits_for_a_loading_server),
        cmocka_unit_test(chat_does_not_wait_for_a_broken_model),
        cmocka_unit_test(chat_gives_up_on_an_absent_server),
        cmocka_unit_test(chat_broken_answer_is_not_asked_again),
        cmocka_unit_test(chat_silence_ends_the_call),
        cmocka_unit_test(chat_cancelled_in_its_callback_is_silent),
        cmocka_unit_test(counts_come_from_each_kind_of_server),
        cmocka_unit_test(forward_hands_over_what_comes),
        cmocka_unit_test(options_that_cannot_work_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
