/* Bad input of every class, on both APIs: the right status, a code, the field at fault, and nothing
 * half written. */
#include "unit/api/api_fixture.h"

#define JSON_TYPE "Content-Type: application/json\r\n"

static struct reply post(const struct person *p, const char *path, const char *body) {
    return call("POST", path, p->who, body);
}

static void body_malformed_invalidJson(void **state) {
    (void)state;
    static const char *const bad[] = {
        "{",     "{\"title\":\"a\"", "{\"title\":\"a\",}", "{'title':1}",         "nul",
        "{} {}", "{\"title\":NaN}",  "\"\\ud800\"",        "{\"title\":\"\\x\"}", "// no\n{}"};
    struct person p = make_admin();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct reply r = post(&p, "/api/v1/conversations", bad[i]);
        expect_error(r, 400, "invalid_json", "(none)");
    }
    struct reply r = post(&p, "/api/v1/keys", "");
    expect_error(r, 400, "invalid_json", "(none)");
    r = post(&p, "/api/v1/keys", "[]");
    expect_error(r, 400, "invalid_value", "(none)");
    r = post(&p, "/v1/chat/completions", "{\"model\":");
    expect_error(r, 400, "invalid_json", "(none)");
}

static void body_deep_refused(void **state) {
    (void)state;
    char body[4096];
    struct person p = make_admin();
    size_t n = 0;
    n += (size_t)snprintf(body, sizeof body, "{\"preferences\":{\"a\":");
    for (int i = 0; i < 200; i++)
        body[n++] = '[';
    for (int i = 0; i < 200; i++)
        body[n++] = ']';
    snprintf(body + n, sizeof body - n, "}}");
    struct reply r = call("PATCH", "/api/v1/users/me", p.who, body);
    expect_error(r, 400, "invalid_json", "(none)");
}

static void field_missingWrongUnknown_isNamed(void **state) {
    (void)state;
    struct person p = make_admin();
    struct reply r = post(&p, "/api/v1/keys", "{}");
    expect_error(r, 400, "invalid_value", "name");
    r = post(&p, "/api/v1/keys", "{\"name\":7}");
    expect_error(r, 400, "invalid_value", "name");
    r = post(&p, "/api/v1/keys", "{\"name\":null}");
    expect_error(r, 400, "invalid_value", "name");
    r = post(&p, "/api/v1/keys", "{\"name\":\"\"}");
    expect_error(r, 400, "invalid_value", "name");
    r = post(&p, "/api/v1/keys", "{\"name\":\"a\",\"colour\":\"red\"}");
    expect(r, 400);
    assert_non_null(strstr(r.body, "known are: name"));
    expect_error(r, 400, "unknown_field", "colour");
    r = post(&p, "/api/v1/roles", "{\"name\":\"a\",\"system_prompt\":\"b\",\"temperature\":3}");
    expect_error(r, 400, "invalid_value", "temperature");
    r = post(&p, "/api/v1/roles", "{\"name\":\"a\",\"system_prompt\":\"b\",\"max_tokens\":1.5}");
    expect_error(r, 400, "invalid_value", "max_tokens");
    r = post(&p, "/api/v1/roles", "{\"name\":\"a\",\"system_prompt\":\"b\",\"stop\":[\"x\",5]}");
    expect_error(r, 400, "invalid_value", "stop[1]");
    r = post(&p, "/api/v1/roles",
             "{\"name\":\"a\",\"system_prompt\":\"b\",\"stop\":[\"1\",\"2\",\"3\",\"4\",\"5\"]}");
    expect_error(r, 400, "invalid_value", "stop");
    r = post(&p, "/api/v1/documents",
             "{\"source_name\":\"a\",\"content\":\"b\",\"metadata\":{\"tags\":\"x\"}}");
    expect_error(r, 400, "invalid_value", "metadata.tags");
    r = post(&p, "/api/v1/conversations", "{\"assistant_role_id\":\"general\"}");
    expect_error(r, 400, "invalid_value", "assistant_role_id");
}

static void accounts_badNamesAndPasswords_refused(void **state) {
    (void)state;
    struct person p = make_admin();
    static const struct {
        const char *body, *param;
    } bad[] = {
        {"{\"username\":\"a\",\"email\":\"a@b\",\"password\":\"12345678\"}", "username"},
        {"{\"username\":\"a b\",\"email\":\"a@b\",\"password\":\"12345678\"}", "username"},
        {"{\"username\":\"\\u00e9ve\",\"email\":\"a@b\",\"password\":\"12345678\"}", "username"},
        {"{\"username\":\"ann\",\"email\":\"ab\",\"password\":\"12345678\"}", "email"},
        {"{\"username\":\"ann\",\"email\":\"a@b@c\",\"password\":\"12345678\"}", "email"},
        {"{\"username\":\"ann\",\"email\":\"a@b\\r\\nBcc:x\",\"password\":\"12345678\"}", "email"},
        {"{\"username\":\"ann\",\"email\":\"a@b\",\"password\":\"1234567\"}", "password"},
        {"{\"username\":\"ann\",\"email\":\"a@b\",\"password\":\"12345678\\u0000\"}", "password"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct reply r = post(&p, "/api/v1/users", bad[i].body);
        expect_error(r, 400, "invalid_value", bad[i].param);
    }
}

static void text_nulAndInvalidUtf8_refused(void **state) {
    (void)state;
    char headers[400];
    struct person p = make_admin();
    struct reply r = post(&p, "/api/v1/conversations", "{\"title\":\"a\\u0000b\"}");
    expect_error(r, 400, "invalid_value", "title");
    snprintf(headers, sizeof headers, "%s" JSON_TYPE, p.who);
    r = call_raw("POST", "/api/v1/conversations", headers, "{\"title\":\"a\xff\"}", 14);
    expect_error(r, 400, "invalid_json", "(none)");
    r = call_raw("POST", "/api/v1/conversations", headers, "{\"title\":\"\xc0\xaf\"}", 14);
    expect_error(r, 400, "invalid_json", "(none)");
    r = call_raw("POST", "/api/v1/conversations", headers, "{\"title\":\"a\0b\"}", 15);
    expect_error(r, 400, "invalid_json", "(none)");
    r = call("GET", "/api/v1/conversations?q=%00", p.who, NULL);
    assert_int_equal(r.status, 400);
    reply_free(&r);
    r = call("GET", "/api/v1/conversations?q=%ff", p.who, NULL);
    assert_int_equal(r.status, 400);
    reply_free(&r);
}

static void text_nulInsideFreeValues_refused(void **state) {
    (void)state;
    struct person p = make_admin();
    static const struct {
        const char *path, *body, *param;
    } bad[] = {
        {"/v1/chat/completions",
         "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\\u0000b\"}]}",
         "messages[0].content"},
        {"/v1/chat/completions",
         "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
         "\"text\":\"\\u0000\"}]}]}",
         "messages[0].content"},
        {"/v1/embeddings", "{\"model\":\"m\",\"input\":[\"a\",\"b\\u0000\"]}", "input"},
        {"/v1/responses", "{\"input\":[{\"role\":\"user\",\"content\":\"\\u0000\"}]}", "input"},
        {"/api/v1/documents",
         "{\"source_name\":\"a\",\"content\":\"b\",\"metadata\":{\"tags\":[\"\\u0000\"]}}",
         "metadata.tags[0]"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct reply r = post(&p, bad[i].path, bad[i].body);
        expect_error(r, 400, "invalid_value", bad[i].param);
    }
}

static void query_bad_isNamed(void **state) {
    (void)state;
    struct person p = make_admin();
    struct reply r = call("GET", "/api/v1/conversations?limit=0", p.who, NULL);
    expect_error(r, 400, "invalid_value", "limit");
    r = call("GET", "/api/v1/conversations?limit=201", p.who, NULL);
    expect_error(r, 400, "invalid_value", "limit");
    r = call("GET", "/api/v1/conversations?limit=ten", p.who, NULL);
    expect_error(r, 400, "invalid_value", "limit");
    r = call("GET", "/api/v1/conversations?limit=1&limit=2", p.who, NULL);
    expect_error(r, 400, "invalid_value", "limit");
    r = call("GET", "/api/v1/conversations?limit=1&%6Cimit=1", p.who, NULL);
    expect_error(r, 400, "invalid_value", "limit");
    r = call("GET", "/api/v1/conversations?limt=5", p.who, NULL);
    expect_error(r, 400, "unknown_field", "limt");
    r = call("GET", "/api/v1/conversations?limit=5&&%6cimt=5", p.who, NULL);
    expect_error(r, 400, "unknown_field", "limt");
    r = call("GET", "/api/v1/users/me?verbose", p.who, NULL); /* takes none at all */
    expect_error(r, 400, "unknown_field", "verbose");
    r = call("GET", "/api/v1/conversations?&limit=5&q=x&", p.who, NULL);
    expect(r, 200);
    reply_free(&r);
    r = call("GET", "/v1/models?beta=true", p.who, NULL); /* as OpenAI's clients may */
    expect(r, 200);
    reply_free(&r);
    r = call("GET", "/api/v1/conversations?after=1", p.who, NULL);
    expect_error(r, 400, "invalid_value", "after");
    r = call("GET", "/api/v1/conversations?status=lost", p.who, NULL);
    expect_error(r, 400, "invalid_value", "status");
    r = call("GET", "/api/v1/feedback?rating=great", p.who, NULL);
    expect_error(r, 400, "invalid_value", "rating");
    r = call("GET", "/api/v1/roles?retired=maybe", p.who, NULL);
    expect_error(r, 400, "invalid_value", "retired");
}

static void address_unknown_404_wrongMethod_405(void **state) {
    (void)state;
    char allow[512];
    struct person p = make_admin();
    struct reply r = call("GET", "/api/v1/nothing", p.who, NULL);
    expect_error(r, 404, "not_found", "(none)");
    r = call("GET", "/v1/nothing", p.who, NULL);
    expect_error(r, 404, "not_found", "(none)");
    r = call("GET", "/api/v1/conversations/", p.who, NULL);
    expect_error(r, 404, "not_found", "(none)");
    r = call("PUT", "/api/v1/conversations", p.who, "{}");
    assert_non_null(header_of(&r, "Allow", allow));
    assert_string_equal(allow, "GET, HEAD, POST, OPTIONS");
    expect_error(r, 405, "method_not_allowed", "(none)");
    r = call("DELETE", "/v1/models", p.who, NULL);
    expect_error(r, 405, "method_not_allowed", "(none)");
    r = call("OPTIONS", "/api/v1/users/me", NULL, NULL);
    expect(r, 204);
    assert_non_null(header_of(&r, "Allow", allow));
    assert_string_equal(allow, "GET, HEAD, PATCH, OPTIONS");
    reply_free(&r);
    r = call("HEAD", "/api/v1/users/me", p.who, NULL);
    expect(r, 200);
    assert_int_equal(r.n, 0);
    reply_free(&r);
    /* Whose stream it is, and whether there is one, is known only once it is attached to. */
    r = call("HEAD", "/api/v1/messages/01890000-0000-7000-8000-000000000000/events", p.who, NULL);
    expect(r, 405);
    assert_non_null(header_of(&r, "Allow", allow));
    assert_string_equal(allow, "GET, OPTIONS");
    reply_free(&r);
}

static void contentType_other_415(void **state) {
    (void)state;
    char headers[400];
    struct person p = make_admin();
    static const char *const types[] = {"Content-Type: text/plain\r\n",
                                        "Content-Type: application/x-www-form-urlencoded\r\n", ""};
    for (int i = 0; i < 3; i++) {
        snprintf(headers, sizeof headers, "%s%s", p.who, types[i]);
        struct reply r = call_raw("POST", "/api/v1/conversations", headers, "{}", 2);
        expect_error(r, 415, "unsupported_media_type", "(none)");
    }
    snprintf(headers, sizeof headers, "%sContent-Type: Application/JSON; charset=utf-8\r\n", p.who);
    struct reply r = call_raw("POST", "/api/v1/conversations", headers, "{}", 2);
    expect(r, 201);
    reply_free(&r);
}

static void body_overLimit_413(void **state) {
    (void)state;
    size_t n = (size_t)2 << 20;
    char *body = malloc(n + 1);
    struct person p = make_admin();
    memset(body, ' ', n);
    body[n] = 0;
    struct reply r = post(&p, "/api/v1/conversations", body);
    expect_error(r, 413, "too_large", "(none)");
    free(body);
    n = (size_t)34 << 20; /* over what the server reads at all */
    body = malloc(n + 1);
    memset(body, ' ', n);
    body[n] = 0;
    r = post(&p, "/api/v1/documents", body);
    expect_error(r, 413, "too_large", "(none)");
    free(body);
}

/* The head alone is answered: nothing of such a body is taken in. */
static void body_largeWithoutCredential_refusedAtTheHead(void **state) {
    (void)state;
    static const char *const head = "Content-Type: application/json\r\nContent-Length: 2000000\r\n";
    int fd = client_connect();
    client_send(fd, "POST", "/api/v1/documents", head, NULL, 0);
    struct reply r = client_read(fd);
    expect_error(r, 413, "too_large", "(none)");
    struct person p = make_admin();
    size_t n = 2000000;
    char *body = malloc(n + 1);
    memset(body, ' ', n);
    body[n] = 0;
    r = post(&p, "/api/v1/documents", body); /* who brings one is let in */
    expect(r, 400);
    reply_free(&r);
    free(body);
}

static void refused_nothingIsStored(void **state) {
    (void)state;
    struct person p = make_admin();
    struct reply r = post(&p, "/api/v1/conversations", "{\"title\":\"x\",\"extra\":1}");
    expect_error(r, 400, "unknown_field", "extra");
    r = call("GET", "/api/v1/conversations?status=any", p.who, NULL);
    expect(r, 200);
    assert_int_equal(yyjson_arr_size(json_get(r.root, "data")), 0);
    reply_free(&r);
}

/* Every route that is not public must refuse whom it does not know, whatever the rest of the
 * request is. */
static void routes_withoutCredential_401(void **state) {
    (void)state;
    struct reply doc = call("GET", "/openapi.json", NULL, NULL);
    size_t i, n, j, m, checked = 0;
    yyjson_val *path, *item, *method, *op;
    expect(doc, 200);
    yyjson_obj_foreach(json_get(doc.root, "paths"), i, n, path, item) {
        char real[256], *out = real;
        for (const char *p = yyjson_get_str(path); *p; p++) { /* {…} → an id */
            if (*p == '{') {
                out += sprintf(out, "01890000-0000-7000-8000-000000000000");
                p = strchr(p, '}');
            } else {
                *out++ = *p;
            }
        }
        *out = 0;
        yyjson_obj_foreach(item, j, m, method, op) {
            char verb[16] = {0};
            if (json_get(op, "security"))
                continue; /* public, or with a rule of its own */
            for (size_t k = 0; yyjson_get_str(method)[k]; k++)
                verb[k] = (char)(yyjson_get_str(method)[k] - 32);
            struct reply r =
                call(verb, real, NULL,
                     strcmp(verb, "GET") == 0 || strcmp(verb, "DELETE") == 0 ? NULL : "{}");
            expect_error(r, 401, "unauthorized", "(none)");
            checked++;
        }
    }
    assert_true(checked > 35);
    reply_free(&doc);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(body_malformed_invalidJson),
        T(body_deep_refused),
        T(field_missingWrongUnknown_isNamed),
        T(accounts_badNamesAndPasswords_refused),
        T(text_nulAndInvalidUtf8_refused),
        T(text_nulInsideFreeValues_refused),
        T(query_bad_isNamed),
        T(address_unknown_404_wrongMethod_405),
        T(contentType_other_415),
        T(body_overLimit_413),
        T(body_largeWithoutCredential_refusedAtTheHead),
        T(refused_nothingIsStored),
        T(routes_withoutCredential_401),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
