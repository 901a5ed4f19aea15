/* Turns over HTTP: the stream, JSON instead of it, leaving and coming back, stop, regenerate,
 * branches; ratings of answers. */
#include "unit/api/api_fixture.h"

#include "base/metrics.h"

#define SSE "Accept: text/event-stream\r\nContent-Type: application/json\r\n"

static struct person ann, bob, admin;
static char conv[64];

static int begin(void **state) {
    (void)state;
    fx_start(NULL);
    admin = make_admin();
    ann = make_user("ann");
    bob = make_user("bob");
    make_conversation(&ann, conv);
    return 0;
}

static int open_stream(const struct person *p, const char *method, const char *path,
                       const char *extra, const char *body) {
    char headers[600];
    int fd = client_connect();
    snprintf(headers, sizeof headers, "%s%s%s", p->who, SSE, extra);
    client_send(fd, method, path, headers, body, body ? strlen(body) : 0);
    return fd;
}

/* Reads more into b until what is there. */
static void read_until(int fd, char *b, size_t size, const char *what) {
    size_t n = strlen(b);
    while (!strstr(b, what)) {
        ssize_t k = recv(fd, b + n, size - n - 1, 0);
        if (k <= 0)
            fprintf(stderr, "the stream ended without %s:\n%s\n", what, b);
        assert_true(k > 0);
        n += (size_t)k;
        b[n] = 0;
    }
}

static void id_after(const char *text, const char *key, char id[64]) {
    char want[80];
    snprintf(want, sizeof want, "\"%s\":\"", key);
    const char *at = strstr(text, want);
    assert_non_null(at);
    snprintf(id, 64, "%.36s", at + strlen(want));
}

static const char *messages_path(void) {
    return path_of("/api/v1/conversations/%s/messages", conv);
}

static void turn_sse_eventsInOrder(void **state) {
    (void)state;
    char type[512];
    int fd = open_stream(&ann, "POST", messages_path(), "", "{\"content\":\"hi\"}");
    struct reply r = client_read(fd);
    expect(r, 200);
    assert_non_null(header_of(&r, "Content-Type", type));
    assert_memory_equal(type, "text/event-stream", 17);
    assert_non_null(header_of(&r, "Cache-Control", type));
    assert_string_equal(type, "no-store");
    const char *created = strstr(r.body, "id: 1\nevent: created\n"),
               *token = strstr(r.body, "event: token\n"), *done = strstr(r.body, "event: done\n");
    assert_ptr_equal(created, r.body);
    assert_true(token > created && done > token);
    assert_non_null(strstr(created, "\"status\":\"streaming\""));
    assert_non_null(strstr(done, "\"content\":\"Hello there\""));
    assert_non_null(strstr(done, "\"status\":\"complete\""));
    assert_non_null(strstr(done, "\"completion_tokens\":2"));
    reply_free(&r);
}

static void turn_json_bothMessages_thenListed(void **state) {
    (void)state;
    char q[64], a[64];
    struct reply r = call("POST", messages_path(), ann.who, "{\"content\":\"hi\"}");
    expect(r, 201);
    json_val *user = json_get(r.root, "user_message"), *answer = json_get(r.root, "message");
    assert_string_equal(json_get_str(user, "content").p, "hi");
    assert_string_equal(json_get_str(answer, "content").p, "Hello there");
    assert_string_equal(json_get_str(answer, "parent_id").p, json_get_str(user, "message_id").p);
    assert_true(json_get_int(answer, "response_latency_ms", -1) >= 0);
    reply_free(&r);
    make_turn(&ann, conv, "and now?", q, a);
    r = call("GET", messages_path(), ann.who, NULL);
    expect(r, 200);
    assert_int_equal(yyjson_arr_size(json_get(r.root, "data")), 4);
    assert_string_equal(text_at(&r, "current_message_id"), a);
    reply_free(&r);
    r = call("GET", path_of("/api/v1/messages/%s", q), ann.who, NULL);
    expect(r, 200);
    assert_string_equal(text_at(&r, "content"), "and now?");
    reply_free(&r);
}

static void turn_clientLeaves_comesBack_getsAll(void **state) {
    (void)state;
    char b[16384] = {0}, answer[64], path[128];
    fx.script.hold = true;
    int fd = open_stream(&ann, "POST", messages_path(), "", "{\"content\":\"hi\"}");
    read_until(fd, b, sizeof b, "event: token");
    id_after(strstr(b, "\"message\":"), "message_id", answer);
    close(fd);
    assert_int_equal(atomic_load(&fx.script.cancelled), 0);
    snprintf(path, sizeof path, "/api/v1/messages/%s/events", answer);
    fd = open_stream(&ann, "GET", path, "Last-Event-ID: 1\r\n", NULL);
    b[0] = 0;
    read_until(fd, b, sizeof b, "event: token");
    assert_null(strstr(b, "event: created"));
    script_release();
    read_until(fd, b, sizeof b, "event: done");
    read_until(fd, b, sizeof b, "\"finish_reason\":\"stop\"");
    /* The answer went on to its own end. */
    assert_non_null(strstr(strstr(b, "event: done"), "\"status\":\"complete\""));
    assert_non_null(strstr(strstr(b, "event: done"), "\"content\":\"Hello there\""));
    assert_int_equal(atomic_load(&fx.script.cancelled), 0);
    close(fd);
    struct reply r = call("GET", path, ann.who, NULL); /* after its end: all events again */
    expect(r, 200);
    assert_non_null(strstr(r.body, "event: created"));
    assert_non_null(strstr(r.body, "event: done"));
    reply_free(&r);
    snprintf(path + strlen(path), sizeof path - strlen(path), "?after=2");
    r = call("GET", path, ann.who, NULL);
    expect(r, 200);
    assert_null(strstr(r.body, "event: created"));
    reply_free(&r);
}

static void turn_stop_keepsText(void **state) {
    (void)state;
    char b[16384] = {0}, answer[64];
    fx.script.hold = true;
    int fd = open_stream(&ann, "POST", messages_path(), "", "{\"content\":\"hi\"}");
    read_until(fd, b, sizeof b, "event: token");
    id_after(strstr(b, "\"message\":"), "message_id", answer);
    struct reply r = call("POST", path_of("/api/v1/messages/%s/stop", answer), ann.who, NULL);
    expect(r, 200);
    assert_string_equal(text_at(&r, "status"), "stopped");
    assert_string_equal(text_at(&r, "content"), "Hello");
    reply_free(&r);
    read_until(fd, b, sizeof b, "event: done");
    close(fd);
    r = call("POST", path_of("/api/v1/messages/%s/stop", answer), ann.who, "{}");
    expect(r, 200);
    assert_string_equal(text_at(&r, "status"), "stopped");
    reply_free(&r);
}

static void turn_upstreamFails_statusAndMessageKept(void **state) {
    (void)state;
    fx.script.status = 500;
    fx.script.error_body =
        "{\"error\":{\"message\":\"out of "
        "cheese\",\"type\":\"server_error\",\"param\":null,\"code\":\"internal_error\"}}";
    struct reply r = call("POST", messages_path(), ann.who, "{\"content\":\"hi\"}");
    assert_true(r.status >= 500);
    assert_non_null(json_get(r.root, "error"));
    reply_free(&r);
    r = call("GET", messages_path(), ann.who, NULL);
    expect(r, 200);
    json_val *first = yyjson_arr_get_first(json_get(r.root, "data"));
    assert_string_equal(json_get_str(first, "content").p, "hi"); /* acknowledged, so not lost */
    reply_free(&r);
}

static void turn_regenerateAndEdit_branch(void **state) {
    (void)state;
    char q[64], a[64], again[64], body[256];
    make_turn(&ann, conv, "hi", q, a);
    struct reply r = call("POST", path_of("/api/v1/messages/%s/regenerate", a), ann.who, "{}");
    expect(r, 201);
    snprintf(again, sizeof again, "%s", json_get_str(json_get(r.root, "message"), "message_id").p);
    assert_string_equal(json_get_str(json_get(r.root, "message"), "parent_id").p, q);
    assert_true(yyjson_is_null(json_get(r.root, "user_message")));
    assert_string_not_equal(again, a);
    reply_free(&r);
    r = call("POST", messages_path(), ann.who, "{\"content\":\"hi, edited\",\"parent_id\":null}");
    expect(r, 201);
    assert_true(yyjson_is_null(json_get(json_get(r.root, "user_message"), "parent_id")));
    reply_free(&r);
    snprintf(body, sizeof body, "{\"content\":\"go on\",\"parent_id\":\"%s\"}", a);
    r = call("POST", messages_path(), ann.who, body);
    expect(r, 201);
    reply_free(&r);
    snprintf(body, sizeof body, "{\"current_message_id\":\"%s\"}", again);
    r = call("PATCH", path_of("/api/v1/conversations/%s", conv), ann.who, body);
    expect(r, 200);
    assert_string_equal(text_at(&r, "current_message_id"), again);
    reply_free(&r);
}

/* As the page and clients of /v1/responses ask: with a parent, and with a key. */
static void turn_behindTheLastAnswer_needsNoRead(void **state) {
    (void)state;
    static const struct {
        bool given, other, key;
    } asked[] = {{true, false, true},
                 {true, false, false},
                 {false, false, true},
                 {true, true, true},
                 {true, true, false}};
    char q[64], a[64], first[64], body[256], headers[400];
    make_turn(&ann, conv, "hi", q, first);
    snprintf(a, sizeof a, "%s", first);
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        int64_t before = metric_get(M_TURNS_REMEMBERED);
        if (asked[i].given)
            snprintf(body, sizeof body, "{\"content\":\"go on\",\"parent_id\":\"%s\"}",
                     asked[i].other ? first : a);
        else
            snprintf(body, sizeof body, "{\"content\":\"go on\"}");
        snprintf(headers, sizeof headers, "%sContent-Type: application/json\r\n%s%s%s", ann.who,
                 asked[i].key ? "Idempotency-Key: goes-on-" : "",
                 asked[i].key ? (char[]){(char)('a' + i), 0} : "", asked[i].key ? "\r\n" : "");
        struct reply r = call_raw("POST", messages_path(), headers, body, strlen(body));
        expect(r, 201);
        assert_int_equal(metric_get(M_TURNS_REMEMBERED) - before, !asked[i].other);
        snprintf(a, sizeof a, "%s", json_get_str(json_get(r.root, "message"), "message_id").p);
        reply_free(&r);
    }
}

static void response_behindTheLastOne_needsNoRead(void **state) {
    (void)state;
    char first[80] = "", previous[80] = "", body[256];
    for (int i = 0; i < 4; i++) {
        const char *behind = i == 3 ? first : previous;
        int64_t before = metric_get(M_TURNS_REMEMBERED);
        snprintf(body, sizeof body, "{\"input\":\"hi\"%s%s%s}",
                 *behind ? ",\"previous_response_id\":\"" : "", behind, *behind ? "\"" : "");
        struct reply r = call("POST", "/v1/responses", ann.who, body);
        expect(r, 200);
        assert_int_equal(metric_get(M_TURNS_REMEMBERED) - before, i == 1 || i == 2);
        snprintf(previous, sizeof previous, "%s", text_at(&r, "id"));
        if (i == 0)
            snprintf(first, sizeof first, "%s", previous);
        reply_free(&r);
    }
}

static void turn_badInput_beforeAnythingIsStored(void **state) {
    (void)state;
    struct reply r = call("POST", messages_path(), ann.who, "{}");
    expect_error(r, 400, "invalid_value", "content");
    r = call("POST", messages_path(), ann.who, "{\"content\":\"\"}");
    expect_error(r, 400, "invalid_value", "content");
    r = call("POST", messages_path(), ann.who, "{\"content\":\"a\\u0000\"}");
    expect_error(r, 400, "invalid_value", "content");
    r = call("POST", messages_path(), ann.who,
             "{\"content\":\"a\",\"parent_id\":\"01890000-0000-7000-8000-000000000000\"}");
    assert_true(r.status == 400 || r.status == 404);
    reply_free(&r);
    char *big = malloc(60000);
    strcpy(big, "{\"content\":\"");
    for (size_t n = 12; n < 50000; n += 5)
        strcpy(big + n, "word ");
    strcat(big, "\"}");
    r = call("POST", messages_path(), ann.who,
             big); /* longer than the model's window of 2,048 tokens */
    expect_error(r, 400, "context_length_exceeded", "content");
    free(big);
    int fd = open_stream(
        &ann, "POST",
        path_of("/api/v1/conversations/%s/messages", "01890000-0000-7000-8000-000000000000"), "",
        "{\"content\":\"hi\"}");
    r = client_read(fd);
    expect_error(r, 404, "not_found", "(none)");
    r = call("GET", messages_path(), ann.who, NULL);
    assert_int_equal(yyjson_arr_size(json_get(r.root, "data")), 0);
    reply_free(&r);
}

static void messages_ofAnother_notFound(void **state) {
    (void)state;
    char q[64], a[64];
    make_turn(&ann, conv, "hi", q, a);
    const struct person *others[] = {&bob, &admin};
    for (int i = 0; i < 2; i++) {
        const char *who = others[i]->who;
        struct reply r = call("GET", path_of("/api/v1/messages/%s", a), who, NULL);
        expect_error(r, 404, "not_found", "(none)");
        r = call("GET", path_of("/api/v1/messages/%s/events", a), who, NULL);
        expect_error(r, 404, "not_found", "(none)");
        r = call("POST", path_of("/api/v1/messages/%s/regenerate", a), who, "{}");
        expect_error(r, 404, "not_found", "(none)");
        r = call("POST", path_of("/api/v1/messages/%s/stop", a), who, "{}");
        expect_error(r, 404, "not_found", "(none)");
        r = call("PUT", path_of("/api/v1/messages/%s/feedback", a), who,
                 "{\"rating\":\"thumbs_up\"}");
        expect_error(r, 404, "not_found", "(none)");
        r = call("DELETE", path_of("/api/v1/messages/%s/feedback", a), who, NULL);
        expect_error(r, 404, "not_found", "(none)");
        r = call("POST", messages_path(), who, "{\"content\":\"mine now\"}");
        expect_error(r, 404, "not_found", "(none)");
    }
}

/* ---- ratings ---- */

static void feedback_givenChangedWithdrawn(void **state) {
    (void)state;
    char q[64], a[64], id[64];
    make_turn(&ann, conv, "hi", q, a);
    struct reply r = call("PUT", path_of("/api/v1/messages/%s/feedback", a), ann.who,
                          "{\"rating\":\"thumbs_up\",\"comment\":\"good\"}");
    expect(r, 200);
    snprintf(id, sizeof id, "%s", text_at(&r, "feedback_id"));
    reply_free(&r);
    r = call("PUT", path_of("/api/v1/messages/%s/feedback", a), ann.who,
             "{\"rating\":\"thumbs_down\"}");
    expect(r, 200);
    assert_string_equal(text_at(&r, "feedback_id"), id);
    assert_true(yyjson_is_null(json_get(r.root, "comment")));
    reply_free(&r);
    r = call("GET", messages_path(), ann.who, NULL);
    json_val *answer = yyjson_arr_get(json_get(r.root, "data"), 1);
    assert_string_equal(json_get_str(json_get(answer, "feedback"), "rating").p, "thumbs_down");
    reply_free(&r);
    r = call("PUT", path_of("/api/v1/messages/%s/feedback", q), ann.who,
             "{\"rating\":\"neutral\"}");
    expect(r, 400);
    reply_free(&r);
    r = call("PUT", path_of("/api/v1/messages/%s/feedback", a), ann.who, "{\"rating\":\"superb\"}");
    expect_error(r, 400, "invalid_value", "rating");
    r = call("DELETE", path_of("/api/v1/messages/%s/feedback", a), ann.who, NULL);
    expect(r, 204);
    reply_free(&r);
    r = call("DELETE", path_of("/api/v1/messages/%s/feedback", a), ann.who, NULL);
    expect_error(r, 404, "not_found", "(none)");
}

#define LARGE_ROWS  40
#define LARGE_BYTES 60000

/* Rated answers as the store takes them: more than one window of any model would let in. */
static enum err add_large_answers(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct message m = {.sender = SENDER_ASSISTANT, .status = MESSAGE_COMPLETE};
    struct feedback f = {.rating = RATING_NEUTRAL, .comment = STR(""), .created_at = 1}, stored;
    struct arena *a = arena_new(1 << 20);
    struct conversation c;
    char *text = arg;
    assert_true(uuid_parse(str_from(conv), &m.conversation_id));
    assert_true(uuid_parse(str_from(ann.id), &f.user_id));
    assert_int_equal(conversation_get(tx, &f.user_id, &m.conversation_id, a, &c), ERR_OK);
    m.role_id = c.assistant_role_id;
    m.content = (struct str){text, LARGE_BYTES};
    m.retrieved_docs = STR("[]");
    m.model = m.finish_reason = m.error = STR("");
    for (int i = 0; i < LARGE_ROWS; i++) {
        m.message_id = f.message_id = uuid_new();
        f.feedback_id = uuid_new();
        m.timestamp = 1000 + i;
        enum err e = message_append(tx, &m, ei);
        if (!e)
            e = feedback_put(tx, &f, a, &stored, ei);
        assert_int_equal(e, ERR_OK);
    }
    arena_free(a);
    return ERR_OK;
}

static void feedback_exportOfManyMegabytes_isWhole(void **state) {
    (void)state;
    static char text[LARGE_BYTES];
    struct errinfo ei = {0};
    memset(text, 'e', sizeof text);
    assert_int_equal(store_write_wait(fx.store, add_large_answers, text, &ei), ERR_OK);
    struct reply r = call("GET", "/api/v1/feedback/export", admin.who, NULL);
    expect(r, 200);
    assert_true(r.n > (size_t)LARGE_ROWS * LARGE_BYTES);
    int lines = 0;
    for (const char *p = r.body; (p = strchr(p, '\n')); p++)
        lines++;
    assert_int_equal(lines, LARGE_ROWS);
    reply_free(&r);
}

static void feedback_adminListsAndExports(void **state) {
    (void)state;
    char q[64], a[64];
    for (int i = 0; i < 3; i++) {
        make_turn(&ann, conv, "question", q, a);
        struct reply r = call("PUT", path_of("/api/v1/messages/%s/feedback", a), ann.who,
                              i ? "{\"rating\":\"thumbs_up\"}"
                                : "{\"rating\":\"neutral\",\"comment\":\"line\\nbreak\"}");
        expect(r, 200);
        reply_free(&r);
    }
    struct reply r = call("GET", "/api/v1/feedback?rating=thumbs_up", admin.who, NULL);
    expect(r, 200);
    assert_int_equal(yyjson_arr_size(json_get(r.root, "data")), 2);
    json_val *first = yyjson_arr_get_first(json_get(r.root, "data"));
    assert_string_equal(json_get_str(first, "question").p, "question");
    assert_string_equal(json_get_str(first, "answer").p, "Hello there");
    assert_string_equal(json_get_str(first, "username").p, "ann");
    reply_free(&r);
    r = call("GET", "/api/v1/feedback", ann.who, NULL);
    expect_error(r, 403, "forbidden", "(none)");
    r = call("GET", "/api/v1/feedback/export", ann.who, NULL);
    expect_error(r, 403, "forbidden", "(none)");
    r = call("GET", "/api/v1/feedback/export", admin.who, NULL);
    expect(r, 200);
    struct str rest = {r.body, r.n};
    int lines = 0;
    while (rest.n) {
        struct str line = str_cut(&rest, '\n');
        yyjson_doc *d = NULL;
        assert_int_equal(json_parse(line, &d, NULL), ERR_OK);
        yyjson_doc_free(d);
        lines++;
    }
    assert_int_equal(lines, 3);
    reply_free(&r);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, fx_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(turn_sse_eventsInOrder),
        T(turn_json_bothMessages_thenListed),
        T(turn_clientLeaves_comesBack_getsAll),
        T(turn_stop_keepsText),
        T(turn_upstreamFails_statusAndMessageKept),
        T(turn_regenerateAndEdit_branch),
        T(turn_badInput_beforeAnythingIsStored),
        T(turn_behindTheLastAnswer_needsNoRead),
        T(response_behindTheLastOne_needsNoRead),
        T(messages_ofAnother_notFound),
        T(feedback_givenChangedWithdrawn),
        T(feedback_exportOfManyMegabytes_isWhole),
        T(feedback_adminListsAndExports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
