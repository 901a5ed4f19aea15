/* Signing in and out, cross-site requests, API keys. */
#include "unit/api/api_fixture.h"

#define SIGN_IN "{\"username\":\"ann\",\"password\":\"" PASSWORD "\"}"

static void signIn_cookieAttributes(void **state) {
    (void)state;
    char cookie[512];
    make_admin();
    make_user("ann");
    struct reply r = call("POST", "/api/v1/sessions", NULL, SIGN_IN);
    expect(r, 201);
    assert_non_null(header_of(&r, "Set-Cookie", cookie));
    assert_non_null(strstr(cookie, "; HttpOnly"));
    assert_non_null(strstr(cookie, "; SameSite=Strict"));
    assert_non_null(strstr(cookie, "; Path=/"));
    assert_null(strstr(cookie, "Secure"));
    assert_non_null(header_of(&r, "Cache-Control", cookie));
    assert_string_equal(cookie, "no-store");
    assert_non_null(header_of(&r, "x-request-id", cookie));
    reply_free(&r);
}

static void signOut_endsTheSession(void **state) {
    (void)state;
    char cookie[512];
    make_admin();
    struct person p = make_user("ann");
    struct reply r = call("DELETE", "/api/v1/sessions/current", p.who, NULL);
    expect(r, 204);
    assert_non_null(header_of(&r, "Set-Cookie", cookie));
    assert_non_null(strstr(cookie, "Max-Age=0"));
    reply_free(&r);
    r = call("GET", "/api/v1/users/me", p.who, NULL);
    expect_error(r, 401, "unauthorized", "(none)");
}

static void signIn_manyWrong_rateLimited(void **state) {
    (void)state;
    char after[512];
    make_admin();
    make_user("ann");
    for (int i = 0; i < 10; i++) {
        struct reply r =
            call("POST", "/api/v1/sessions", NULL, "{\"username\":\"ann\",\"password\":\"wrong\"}");
        expect_error(r, 401, "unauthorized", "(none)");
    }
    struct reply r = call("POST", "/api/v1/sessions", NULL, SIGN_IN);
    assert_int_equal(r.status, 429);
    assert_non_null(header_of(&r, "Retry-After", after));
    assert_true(atoi(after) > 0);
    expect_error(r, 429, "rate_limited", "(none)");
    r = call("POST", "/api/v1/sessions", NULL, "{\"username\":\"nobody\",\"password\":\"wrong\"}");
    expect_error(r, 401, "unauthorized", "(none)");
}

/* An account of one's own is no licence to go on guessing at others'. */
static void guess(int i, int status, const char *code) {
    char body[128];
    snprintf(body, sizeof body, "{\"username\":\"nobody%d\",\"password\":\"wrong\"}", i);
    struct reply r = call("POST", "/api/v1/sessions", NULL, body);
    expect_error(r, status, code, "(none)");
}

static void signIn_own_keepsTheAddressCount(void **state) {
    (void)state;
    make_admin(); /* counts as one */
    make_user("ann");
    for (int i = 0; i < 998; i++)
        guess(i, 401, "unauthorized");
    struct reply r = call("POST", "/api/v1/sessions", NULL, SIGN_IN);
    expect(r, 201);
    reply_free(&r);
    guess(998, 401, "unauthorized");
    guess(999, 429, "rate_limited");
}

static void change_fromForeignPage_forbidden(void **state) {
    (void)state;
    char headers[600];
    make_admin();
    struct person p = make_user("ann");
    static const char *const foreign[] = {"Origin: https://evil.example\r\n", "Origin: null\r\n",
                                          "Sec-Fetch-Site: cross-site\r\n",
                                          "Sec-Fetch-Site: same-site\r\n"};
    for (size_t i = 0; i < 4; i++) {
        snprintf(headers, sizeof headers, "%s%s", p.who, foreign[i]);
        struct reply r = call("POST", "/api/v1/conversations", headers, "{}");
        expect_error(r, 403, "forbidden", "(none)");
        r = call("POST", "/api/v1/sessions", foreign[i], SIGN_IN);
        expect_error(r, 403, "forbidden", "(none)");
        r = call("GET", "/api/v1/users/me", headers, NULL); /* reading is the browser's to guard */
        expect(r, 200);
        reply_free(&r);
    }
    snprintf(headers, sizeof headers, "%sOrigin: http://%s\r\n", p.who, fx.address);
    struct reply r = call("POST", "/api/v1/conversations", headers, "{}");
    expect(r, 201);
    reply_free(&r);
    snprintf(headers, sizeof headers, "%sSec-Fetch-Site: same-origin\r\nOrigin: http://%s\r\n",
             p.who, fx.address);
    r = call("POST", "/api/v1/conversations", headers, "{}");
    expect(r, 201);
    reply_free(&r);
}

static void keys_madeUsedRevoked(void **state) {
    (void)state;
    char key[256], id[64];
    make_admin();
    struct person p = make_user("ann");
    struct reply r = call("POST", "/api/v1/keys", p.who, "{\"name\":\"laptop\"}");
    expect(r, 201);
    assert_int_equal(strlen(text_at(&r, "key")), 47);
    assert_memory_equal(text_at(&r, "key"), text_at(&r, "prefix"), strlen(text_at(&r, "prefix")));
    snprintf(key, sizeof key, "Authorization: Bearer %s\r\n", text_at(&r, "key"));
    snprintf(id, sizeof id, "%s", text_at(&r, "key_id"));
    reply_free(&r);
    /* A key is no cookie: other origins do not matter. */
    char headers[512];
    snprintf(headers, sizeof headers, "%sOrigin: https://evil.example\r\n", key);
    r = call("POST", "/api/v1/conversations", headers, "{}");
    expect(r, 201);
    reply_free(&r);
    r = call("GET", "/api/v1/keys", key, NULL);
    expect(r, 200);
    json_val *first = yyjson_arr_get_first(json_get(r.root, "data"));
    assert_null(json_get(first, "key"));
    assert_string_equal(json_get_str(first, "name").p, "laptop");
    reply_free(&r);
    r = call("DELETE", path_of("/api/v1/keys/%s", id), p.who, NULL);
    expect(r, 204);
    reply_free(&r);
    r = call("GET", "/api/v1/users/me", key, NULL);
    expect_error(r, 401, "invalid_api_key", "(none)");
    r = call("GET", "/v1/models", key, NULL);
    expect_error(r, 401, "invalid_api_key", "(none)");
}

static void keys_ofOthers_notFound(void **state) {
    (void)state;
    char id[64];
    make_admin();
    struct person p = make_user("ann"), q = make_user("bob");
    struct reply r = call("POST", "/api/v1/keys", p.who, "{\"name\":\"laptop\"}");
    expect(r, 201);
    snprintf(id, sizeof id, "%s", text_at(&r, "key_id"));
    reply_free(&r);
    r = call("DELETE", path_of("/api/v1/keys/%s", id), q.who, NULL);
    expect_error(r, 404, "not_found", "(none)");
}

static void credential_malformed_refused(void **state) {
    (void)state;
    struct reply r = call("GET", "/api/v1/users/me", "Authorization: Basic abc\r\n", NULL);
    expect_error(r, 401, "invalid_api_key", "(none)");
    r = call("GET", "/api/v1/users/me", "Authorization: Bearer \r\n", NULL);
    expect_error(r, 401, "invalid_api_key", "(none)");
    r = call("GET", "/api/v1/users/me", "Cookie: parley_session=\r\n", NULL);
    expect_error(r, 401, "unauthorized", "(none)");
    r = call("GET", "/api/v1/users/me", NULL, NULL);
    expect_error(r, 401, "unauthorized", "(none)");
}

#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(signIn_cookieAttributes),          T(signOut_endsTheSession),
        T(signIn_manyWrong_rateLimited),     T(signIn_own_keepsTheAddressCount),
        T(change_fromForeignPage_forbidden), T(keys_madeUsedRevoked),
        T(keys_ofOthers_notFound),           T(credential_malformed_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
