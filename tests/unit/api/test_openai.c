/* The OpenAI-compatible API against the scripted model server. */
#include "unit/api/api_fixture.h"

#define CHAT "/v1/chat/completions"
#define HI   "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static char key[256];

static void make_key(void) {
    struct person p = make_admin();
    struct reply r = call("POST", "/api/v1/keys", p.who, "{\"name\":\"k\"}");
    expect(r, 201);
    snprintf(key, sizeof key, "Authorization: Bearer %s\r\n", text_at(&r, "key"));
    reply_free(&r);
}

static yyjson_doc *sent_chat(void) {
    yyjson_doc *d = NULL;
    pthread_mutex_lock(&fx.script.lock);
    assert_int_equal(json_parse(str_from(fx.script.last_chat), &d, NULL), ERR_OK);
    pthread_mutex_unlock(&fx.script.lock);
    return d;
}

static void models_upstreamsAndRoles(void **state) {
    (void)state;
    make_key();
    struct reply r = call("GET", "/v1/models", key, NULL);
    expect(r, 200);
    assert_string_equal(text_at(&r, "object"), "list");
    assert_int_equal(yyjson_arr_size(json_get(r.root, "data")), 6);
    reply_free(&r);
    static const char *const names[] = {"tiny", "embed", "travel-assistant"};
    for (int i = 0; i < 3; i++) {
        r = call("GET", path_of("/v1/models/%s", names[i]), key, NULL);
        expect(r, 200);
        assert_string_equal(text_at(&r, "id"), names[i]);
        assert_string_equal(text_at(&r, "object"), "model");
        reply_free(&r);
    }
    r = call("GET", "/v1/models/org%2Fnone", key, NULL);
    expect_error(r, 404, "model_not_found", "model");
}

static void chat_whole_relayed(void **state) {
    (void)state;
    make_key();
    struct reply r = call("POST", CHAT, key,
                          "{\"model\":\"tiny\"," HI
                          ",\"temperature\":null,\"stop\":null,\"logit_bias\":{},\"strange\":1,"
                          "\"parley\":{\"user\":\"forged\"}}");
    expect(r, 200);
    assert_string_equal(text_at(&r, "model"), "tiny");
    assert_string_equal(
        json_get_str(json_get(yyjson_arr_get_first(json_get(r.root, "choices")), "message"),
                     "content")
            .p,
        "Hello there");
    reply_free(&r);
    yyjson_doc *d = sent_chat();
    json_val *root = yyjson_doc_get_root(d), *parley = json_get(root, "parley");
    assert_null(json_get(root, "temperature"));
    assert_int_equal(json_get_int(root, "strange", 0), 1);
    assert_int_equal(json_get_str(parley, "user").n, 36);
    assert_int_equal(json_get_str(parley, "conversation").n, 64);
    yyjson_doc_free(d);
}

static void chat_role_promptInFront_nameAsAsked(void **state) {
    (void)state;
    make_key();
    struct reply r =
        call("POST", CHAT, key, "{\"model\":\"medical-advisor\"," HI ",\"max_tokens\":5}");
    expect(r, 200);
    assert_string_equal(text_at(&r, "model"), "medical-advisor");
    reply_free(&r);
    yyjson_doc *d = sent_chat();
    json_val *root = yyjson_doc_get_root(d), *messages = json_get(root, "messages");
    assert_string_equal(json_get_str(root, "model").p, "tiny");
    assert_int_equal(yyjson_arr_size(messages), 2);
    assert_string_equal(json_get_str(yyjson_arr_get(messages, 0), "role").p, "system");
    assert_non_null(strstr(json_get_str(yyjson_arr_get(messages, 0), "content").p, "medical"));
    assert_true(json_get_num(root, "temperature", -1) > 0.2);
    assert_int_equal(json_get_int(root, "max_tokens", 0), 5);
    yyjson_doc_free(d);
    r = call("POST", CHAT, key, "{\"model\":\"medical-advisor\"," HI ",\"temperature\":0}");
    expect(r, 200);
    reply_free(&r);
    d = sent_chat();
    assert_true(json_get_num(yyjson_doc_get_root(d), "temperature", -1) == 0);
    yyjson_doc_free(d);
}

static void chat_stream_chunksAndDone(void **state) {
    (void)state;
    char type[512];
    make_key();
    struct reply r = call("POST", CHAT, key,
                          "{\"model\":\"code-helper\"," HI
                          ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
    expect(r, 200);
    assert_non_null(header_of(&r, "Content-Type", type));
    assert_memory_equal(type, "text/event-stream", 17);
    assert_non_null(header_of(&r, "x-request-id", type));
    assert_non_null(strstr(r.body, "\"model\":\"code-helper\""));
    assert_null(strstr(r.body, "\"model\":\"tiny\""));
    assert_non_null(strstr(r.body, "\"content\":\"Hello\""));
    assert_non_null(strstr(r.body, "\"completion_tokens\":2"));
    assert_string_equal(r.body + r.n - 14, "data: [DONE]\n\n");
    reply_free(&r);
}

static void chat_streamBroken_errorFrame(void **state) {
    (void)state;
    make_key();
    fx.script.break_off = true;
    struct reply r = call("POST", CHAT, key, "{\"model\":\"tiny\"," HI ",\"stream\":true}");
    expect(r, 200);
    assert_non_null(strstr(r.body, "data: {\"error\":{\"message\":"));
    assert_null(strstr(r.body, "[DONE]"));
    reply_free(&r);
}

static void chat_upstreamBusy_relayedWithRetryAfter(void **state) {
    (void)state;
    char after[512];
    make_key();
    fx.script.status = 429;
    struct reply r = call("POST", CHAT, key, "{\"model\":\"tiny\"," HI ",\"stream\":true}");
    assert_non_null(header_of(&r, "Retry-After", after));
    assert_string_equal(after, "7");
    expect_error(r, 429, "overloaded", "(none)");
    fx.script.status = 500;
    fx.script.error_body = "oops";
    r = call("POST", CHAT, key, "{\"model\":\"tiny\"," HI "}");
    expect_error(r, 502, "upstream_error", "(none)");
    fx.script.status = 401;
    fx.script.error_body = "{\"error\":{\"message\":\"bad key sk-secret\"}}";
    r = call("POST", CHAT, key, "{\"model\":\"tiny\"," HI "}");
    assert_null(strstr(r.body, "sk-secret"));
    expect_error(r, 502, "upstream_error", "(none)");
}

static void chat_bad_namesTheParameter(void **state) {
    (void)state;
    make_key();
    static const struct {
        const char *body, *param;
    } bad[] = {
        {"{" HI "}", "model"},
        {"{\"model\":\"tiny\"}", "messages"},
        {"{\"model\":\"tiny\",\"messages\":[]}", "messages"},
        {"{\"model\":\"tiny\",\"messages\":[{\"role\":\"king\",\"content\":\"x\"}]}",
         "messages[0].role"},
        {"{\"model\":\"tiny\",\"messages\":[{\"role\":\"user\",\"content\":7}]}",
         "messages[0].content"},
        {"{\"model\":\"tiny\",\"messages\":[{\"role\":\"user\",\"content\":[\"x\"]}]}",
         "messages[0].content"}, /* the guard would read none of these, or another one */
        {"{\"model\":\"tiny\",\"messages\":[{\"role\":\"user\",\"content\":"
         "[{\"type\":\"text\",\"text\":\"x\",\"text\":\"y\"}]}]}",
         "messages[0].content"},
        {"{\"model\":\"tiny\",\"messages\":[{\"role\":\"user\",\"content\":\"x\","
         "\"content\":\"y\"}]}",
         "messages[0]"},
        {"{\"model\":\"tiny\"," HI "," HI "}", "messages"},
        {"{\"model\":\"tiny\"," HI ",\"temperature\":2.5}", "temperature"},
        {"{\"model\":\"tiny\"," HI ",\"temperature\":\"hot\"}", "temperature"},
        {"{\"model\":\"tiny\"," HI ",\"top_p\":-1}", "top_p"},
        {"{\"model\":\"tiny\"," HI ",\"max_tokens\":0}", "max_tokens"},
        {"{\"model\":\"tiny\"," HI ",\"stream\":\"yes\"}", "stream"},
        {"{\"model\":\"tiny\"," HI ",\"stop\":[1]}", "stop"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct reply r = call("POST", CHAT, key, bad[i].body);
        expect_error(r, 400, "invalid_value", bad[i].param);
    }
    struct reply r = call("POST", CHAT, key, "{\"model\":\"gpt-99\"," HI "}");
    expect_error(r, 404, "model_not_found", "model");
    r = call("POST", CHAT, "Authorization: Bearer parley_wrong\r\n", "{\"model\":\"tiny\"," HI "}");
    expect_error(r, 401, "invalid_api_key", "(none)");
    assert_int_equal(atomic_load(&fx.script.chats), 0);
}

static int read_until(int fd, char *b, size_t size, const char *what) {
    size_t n = 0;
    while (n + 1 < size && !strstr(b, what)) {
        ssize_t k = recv(fd, b + n, size - n - 1, 0);
        if (k <= 0)
            return -1;
        n += (size_t)k;
        b[n] = 0;
    }
    return 0;
}

/* The engine must not go on computing for nobody. */
static void chat_clientLeaves_upstreamCancelled(void **state) {
    (void)state;
    char b[8192] = {0}, headers[400];
    make_key();
    fx.script.hold = true;
    snprintf(headers, sizeof headers, "%sContent-Type: application/json\r\n", key);
    const char *body = "{\"model\":\"tiny\"," HI ",\"stream\":true}";
    int fd = client_connect();
    client_send(fd, "POST", CHAT, headers, body, strlen(body));
    assert_int_equal(read_until(fd, b, sizeof b, "Hello"), 0);
    close(fd);
    for (int i = 0; i < 2000 && atomic_load(&fx.script.cancelled) == 0;
         i++) { /* each asks the loop once */
        struct reply r = call("GET", "/healthz", NULL, NULL);
        reply_free(&r);
    }
    assert_int_equal(atomic_load(&fx.script.cancelled), 1);
}

static void chat_pastTheUsersLimit_refusedUntilOneEnds(void **state) {
    (void)state;
    char b[8192], headers[400];
    int fds[8];
    make_key();
    fx.script.hold = true;
    snprintf(headers, sizeof headers, "%sContent-Type: application/json\r\n", key);
    const char *body = "{\"model\":\"tiny\"," HI ",\"stream\":true}";
    for (int i = 0; i < 8; i++) {
        memset(b, 0, sizeof b);
        fds[i] = client_connect();
        client_send(fds[i], "POST", CHAT, headers, body, strlen(body));
        assert_int_equal(read_until(fds[i], b, sizeof b, "Hello"), 0);
    }
    struct reply r = call("POST", CHAT, key, "{\"model\":\"tiny\"," HI "}");
    expect_error(r, 429, "rate_limited", "(none)");
    r = call("POST", "/v1/embeddings", key, "{\"model\":\"embed\",\"input\":\"a\"}");
    expect_error(r, 429, "rate_limited", "(none)");
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    for (int i = 0; i < 2000 && atomic_load(&fx.script.cancelled) < 8; i++) {
        r = call("GET", "/healthz", NULL, NULL);
        reply_free(&r);
    }
    for (int i = 0; i < 10; i++) { /* whole answers give their places back */
        r = call("POST", CHAT, key, "{\"model\":\"tiny\"," HI "}");
        expect(r, 200);
        reply_free(&r);
    }
}

static void embeddings_forwarded(void **state) {
    (void)state;
    make_key();
    struct reply r =
        call("POST", "/v1/embeddings", key,
             "{\"model\":\"embed\",\"input\":[\"a\",\"b\"],\"encoding_format\":\"float\"}");
    expect(r, 200);
    assert_string_equal(text_at(&r, "model"), "embed");
    reply_free(&r);
    assert_non_null(strstr(fx.script.last_embeddings, "[\"a\",\"b\"]"));
    r = call("POST", "/v1/embeddings", key, "{\"model\":\"embed\",\"input\":{}}");
    expect_error(r, 400, "invalid_value", "input");
    r = call("POST", "/v1/embeddings", key,
             "{\"model\":\"embed\",\"input\":\"a\",\"encoding_format\":\"hex\"}");
    expect_error(r, 400, "invalid_value", "encoding_format");
    r = call("POST", "/v1/embeddings", key, "{\"model\":\"travel-assistant\",\"input\":\"a\"}");
    expect_error(r, 404, "model_not_found", "model");
}

static int foreign_setup(void **state) {
    (void)state;
    fx_start(&(struct fx_options){.not_engine = true});
    return 0;
}

static void chat_foreignUpstream_getsNothingOfOurs(void **state) {
    (void)state;
    make_key();
    struct reply r =
        call("POST", CHAT, key, "{\"model\":\"tiny\"," HI ",\"parley\":{\"user\":\"forged\"}}");
    expect(r, 200);
    reply_free(&r);
    assert_null(strstr(fx.script.last_chat, "parley"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(models_upstreamsAndRoles),
        T(chat_whole_relayed),
        T(chat_role_promptInFront_nameAsAsked),
        T(chat_stream_chunksAndDone),
        T(chat_streamBroken_errorFrame),
        T(chat_upstreamBusy_relayedWithRetryAfter),
        T(chat_bad_namesTheParameter),
        T(chat_clientLeaves_upstreamCancelled),
        T(chat_pastTheUsersLimit_refusedUntilOneEnds),
        T(embeddings_forwarded),
        cmocka_unit_test_setup_teardown(chat_foreignUpstream_getsNothingOfOurs, foreign_setup,
                                        fx_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
