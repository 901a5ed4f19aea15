/* A POST that is sent again with its Idempotency-Key is carried out once and answered as before. */
#include "unit/api/api_fixture.h"

static struct person ann, bob;
static char conv[64];

static int begin(void **state) {
    (void)state;
    fx_start(NULL);
    (void)make_admin();
    ann = make_user("ann");
    bob = make_user("bob");
    make_conversation(&ann, conv);
    return 0;
}

static struct reply post(const struct person *p, const char *path, const char *key,
                         const char *accept, const char *body) {
    char headers[600];
    snprintf(headers, sizeof headers,
             "%sContent-Type: application/json\r\nIdempotency-Key: %s\r\nAccept: %s\r\n", p->who,
             key, accept);
    return call_raw("POST", path, headers, body, strlen(body));
}

static size_t listed(const struct person *p, const char *path) {
    struct reply r = call("GET", path, p->who, NULL);
    expect(r, 200);
    size_t n = yyjson_arr_size(json_get(r.root, "data"));
    reply_free(&r);
    return n;
}

static void idempotency_conversationIsMadeOnce(void **state) {
    (void)state;
    char id[64];
    size_t before = listed(&ann, "/api/v1/conversations");
    for (int i = 0; i < 3; i++) {
        struct reply r = post(&ann, "/api/v1/conversations", "k1", "*/*", "{\"title\":\"One\"}");
        expect(r, 201);
        if (i == 0)
            snprintf(id, sizeof id, "%s", text_at(&r, "conversation_id"));
        assert_string_equal(text_at(&r, "conversation_id"), id);
        reply_free(&r);
    }
    assert_int_equal(listed(&ann, "/api/v1/conversations"), before + 1);
    struct reply r = post(&ann, "/api/v1/conversations", "k1", "*/*", "{\"title\":\"Two\"}");
    expect_error(r, 409, "conflict", "Idempotency-Key");
    r = post(&bob, "/api/v1/conversations", "k1", "*/*", "{\"title\":\"Two\"}"); /* his own key */
    expect(r, 201);
    assert_string_not_equal(text_at(&r, "conversation_id"), id);
    reply_free(&r);
    r = post(&ann, "/api/v1/conversations", "a b", "*/*", "{}");
    expect_error(r, 400, "invalid_value", "Idempotency-Key");
}

static void idempotency_failureIsNotKept(void **state) {
    (void)state;
    const char *bad = "{\"assistant_role_id\":\"01890a5d-ac96-774b-bcce-b302099a8057\"}";
    for (int i = 0; i < 2; i++) {
        struct reply r = post(&ann, "/api/v1/conversations", "k2", "*/*", bad);
        expect(r, 400);
        reply_free(&r);
    }
    struct reply r = post(&ann, "/api/v1/conversations", "k2", "*/*", "{}");
    expect(r, 201);
    reply_free(&r);
}

static void idempotency_turnIsBegunOnceAndToldAgain(void **state) {
    (void)state;
    char path[160], id[64];
    snprintf(path, sizeof path, "/api/v1/conversations/%s/messages", conv);
    struct reply r = post(&ann, path, "k3", "application/json", "{\"content\":\"hi\"}");
    expect(r, 201);
    snprintf(id, sizeof id, "%s", json_get_str(json_get(r.root, "message"), "message_id").p);
    reply_free(&r);
    r = post(&ann, path, "k3", "application/json", "{\"content\":\"hi\"}");
    expect(r, 201);
    assert_memory_equal(json_get_str(json_get(r.root, "message"), "message_id").p, id, 36);
    assert_string_equal(json_get_str(json_get(r.root, "message"), "content").p, "Hello there");
    assert_string_equal(json_get_str(json_get(r.root, "user_message"), "content").p, "hi");
    reply_free(&r);
    r = post(&ann, path, "k3", "text/event-stream", "{\"content\":\"hi\"}");
    expect(r, 200);
    assert_memory_equal(r.body, "id: 1\nevent: created\n", 21);
    assert_non_null(strstr(r.body, id));
    assert_non_null(strstr(r.body, "event: done\n"));
    assert_null(strstr(strstr(r.body, "created") + 1, "event: created\n"));
    reply_free(&r);
    assert_int_equal(listed(&ann, path), 2);
}

static void idempotency_secretIsNotKept(void **state) {
    (void)state;
    struct reply r = post(&ann, "/api/v1/keys", "k4", "*/*", "{\"name\":\"laptop\"}");
    expect(r, 201);
    reply_free(&r);
    r = post(&ann, "/api/v1/keys", "k4", "*/*", "{\"name\":\"laptop\"}");
    expect_error(r, 409, "conflict", "Idempotency-Key");
    assert_int_equal(listed(&ann, "/api/v1/keys"), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idempotency_conversationIsMadeOnce),
        cmocka_unit_test(idempotency_failureIsNotKept),
        cmocka_unit_test(idempotency_turnIsBegunOnceAndToldAgain),
        cmocka_unit_test(idempotency_secretIsNotKept),
    };
    return cmocka_run_group_tests(tests, begin, fx_teardown);
}
