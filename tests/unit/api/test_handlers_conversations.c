/* Conversations and documents: one's own, and never another's. */
#include "unit/api/api_fixture.h"

#define NOBODYS "01890000-0000-7000-8000-000000000000"

static void conversation_lifeOfOne(void **state) {
    (void)state;
    char id[64];
    make_admin();
    struct person p = make_user("ann");
    struct reply r = call("POST", "/api/v1/conversations", p.who, "{\"title\":\"Trip to Lisbon\"}");
    expect(r, 201);
    snprintf(id, sizeof id, "%s", text_at(&r, "conversation_id"));
    assert_string_equal(text_at(&r, "status"), "active");
    assert_int_equal(strlen(text_at(&r, "assistant_role_id")), 36);
    assert_true(yyjson_is_null(json_get(r.root, "current_message_id")));
    reply_free(&r);
    r = call("PATCH", path_of("/api/v1/conversations/%s", id), p.who,
             "{\"title\":\"Trip to Porto\",\"status\":\"archived\"}");
    expect(r, 200);
    assert_string_equal(text_at(&r, "title"), "Trip to Porto");
    assert_string_equal(text_at(&r, "status"), "archived");
    reply_free(&r);
    r = call("GET", "/api/v1/conversations", p.who, NULL);
    assert_int_equal(yyjson_arr_size(json_get(r.root, "data")), 0);
    reply_free(&r);
    r = call("GET", "/api/v1/conversations?status=archived", p.who, NULL);
    assert_int_equal(yyjson_arr_size(json_get(r.root, "data")), 1);
    reply_free(&r);
    r = call("GET", "/api/v1/conversations?status=any&q=port", p.who, NULL);
    expect(r, 200);
    assert_int_equal(yyjson_arr_size(json_get(r.root, "data")), 1);
    assert_non_null(json_get(yyjson_arr_get_first(json_get(r.root, "data")), "snippet"));
    reply_free(&r);
    r = call("DELETE", path_of("/api/v1/conversations/%s", id), p.who, NULL);
    expect(r, 204);
    reply_free(&r);
    r = call("GET", path_of("/api/v1/conversations/%s", id), p.who, NULL);
    expect_error(r, 404, "not_found", "(none)");
}

static void conversations_pages_newestFirst(void **state) {
    (void)state;
    char path[160], ids[5][64];
    make_admin();
    struct person p = make_user("ann");
    for (int i = 0; i < 5; i++)
        make_conversation(&p, ids[i]);
    struct reply r = call("GET", "/api/v1/conversations?limit=3", p.who, NULL);
    expect(r, 200);
    json_val *data = json_get(r.root, "data");
    assert_int_equal(yyjson_arr_size(data), 3);
    assert_string_equal(json_get_str(yyjson_arr_get(data, 0), "conversation_id").p, ids[4]);
    snprintf(path, sizeof path, "/api/v1/conversations?limit=3&after=%s", text_at(&r, "next"));
    reply_free(&r);
    r = call("DELETE", path_of("/api/v1/conversations/%s", ids[2]), p.who, NULL); /* the cursor's */
    expect(r, 204);
    reply_free(&r);
    r = call("GET", path, p.who, NULL);
    data = json_get(r.root, "data");
    assert_int_equal(yyjson_arr_size(data), 2);
    assert_string_equal(json_get_str(yyjson_arr_get(data, 1), "conversation_id").p, ids[0]);
    assert_true(yyjson_is_null(json_get(r.root, "next")));
    reply_free(&r);
    static const char *const bad[] = {"x", "1", "1.", "0." NOBODYS, ".", "-1." NOBODYS, NOBODYS};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        r = call("GET", path_of("/api/v1/conversations?after=%s", bad[i]), p.who, NULL);
        expect_error(r, 400, "invalid_value", "after");
    }
}

static void conversation_ofAnother_isNotFound(void **state) {
    (void)state;
    char id[64];
    struct person admin = make_admin(), p = make_user("ann"), q = make_user("bob");
    make_conversation(&p, id);
    const struct person *others[] = {&q, &admin};
    for (int i = 0; i < 2; i++) {
        const char *who = others[i]->who;
        struct reply r = call("GET", path_of("/api/v1/conversations/%s", id), who, NULL);
        expect_error(r, 404, "not_found", "(none)");
        r = call("PATCH", path_of("/api/v1/conversations/%s", id), who, "{\"title\":\"mine\"}");
        expect_error(r, 404, "not_found", "(none)");
        r = call("DELETE", path_of("/api/v1/conversations/%s", id), who, NULL);
        expect_error(r, 404, "not_found", "(none)");
        r = call("GET", path_of("/api/v1/conversations/%s/messages", id), who, NULL);
        expect_error(r, 404, "not_found", "(none)");
        r = call("GET", "/api/v1/conversations", who, NULL);
        assert_int_equal(yyjson_arr_size(json_get(r.root, "data")), 0);
        reply_free(&r);
    }
}

static void conversation_badReferences_nameTheField(void **state) {
    (void)state;
    char id[64];
    make_admin();
    struct person p = make_user("ann");
    make_conversation(&p, id);
    struct reply r =
        call("POST", "/api/v1/conversations", p.who, "{\"assistant_role_id\":\"" NOBODYS "\"}");
    expect_error(r, 400, "invalid_value", "assistant_role_id");
    r = call("PATCH", path_of("/api/v1/conversations/%s", id), p.who,
             "{\"current_message_id\":\"" NOBODYS "\"}");
    expect_error(r, 400, "invalid_value", "current_message_id");
    r = call("PATCH", path_of("/api/v1/conversations/%s", id), p.who, "{\"status\":\"gone\"}");
    expect_error(r, 400, "invalid_value", "status");
    r = call("PATCH", path_of("/api/v1/conversations/%s", id), p.who, "{\"title\":\"   \"}");
    expect_error(r, 400, "invalid_value", "title");
    r = call("GET", path_of("/api/v1/conversations/%s", NOBODYS), p.who, NULL);
    expect_error(r, 404, "not_found", "(none)");
    r = call("GET", path_of("/api/v1/conversations/%s", "not-a-uuid"), p.who, NULL);
    expect_error(r, 404, "not_found", "(none)");
}

/* ---- documents ---- */

static void documents_ownAndShared(void **state) {
    (void)state;
    char mine[64], shared[64];
    struct person admin = make_admin(), p = make_user("ann"), q = make_user("bob");
    struct reply r = call("POST", "/api/v1/documents", p.who,
                          "{\"source_name\":\"notes.txt\",\"content\":\"h\\u00e9llo\",\"metadata\":"
                          "{\"tags\":[\"a\"],\"type\":\"note\",\"own\":1}}");
    expect(r, 201);
    assert_int_equal(json_get_int(r.root, "content_bytes", 0), 6);
    assert_true(yyjson_is_null(json_get(r.root, "indexed_at")));
    snprintf(mine, sizeof mine, "%s", text_at(&r, "doc_id"));
    reply_free(&r);
    r = call("POST", "/api/v1/documents", p.who,
             "{\"source_name\":\"x\",\"content\":\"y\",\"shared\":true}");
    expect_error(r, 403, "forbidden", "shared");
    r = call("POST", "/api/v1/documents", admin.who,
             "{\"source_name\":\"handbook\",\"content\":\"y\",\"shared\":true}");
    expect(r, 201);
    snprintf(shared, sizeof shared, "%s", text_at(&r, "doc_id"));
    reply_free(&r);
    r = call("GET", "/api/v1/documents", q.who, NULL);
    expect(r, 200);
    assert_int_equal(yyjson_arr_size(json_get(r.root, "data")), 1);
    assert_null(json_get(yyjson_arr_get_first(json_get(r.root, "data")), "content"));
    reply_free(&r);
    r = call("GET", path_of("/api/v1/documents/%s", shared), q.who, NULL);
    expect(r, 200);
    assert_string_equal(text_at(&r, "content"), "y");
    reply_free(&r);
    r = call("GET", path_of("/api/v1/documents/%s", mine), q.who, NULL);
    expect_error(r, 404, "not_found", "(none)");
    r = call("DELETE", path_of("/api/v1/documents/%s", mine), q.who, NULL);
    expect_error(r, 404, "not_found", "(none)");
    r = call("DELETE", path_of("/api/v1/documents/%s", shared), q.who, NULL);
    expect_error(r, 404, "not_found", "(none)");
    r = call("DELETE", path_of("/api/v1/documents/%s", mine), p.who, NULL);
    expect(r, 204);
    reply_free(&r);
    r = call("GET", path_of("/api/v1/documents/%s", mine), p.who, NULL);
    expect_error(r, 404, "not_found", "(none)");
}

/* A document may be larger than other bodies. */
static void document_ofThreeMegabytes_taken(void **state) {
    (void)state;
    size_t n = (size_t)3 << 20;
    char *body = malloc(n + 64);
    make_admin();
    struct person p = make_user("ann");
    int k = snprintf(body, n, "{\"source_name\":\"big\",\"content\":\"");
    memset(body + k, 'x', n - (size_t)k);
    memcpy(body + n, "\"}", 3);
    struct reply r = call("POST", "/api/v1/documents", p.who, body);
    expect(r, 201);
    reply_free(&r);
    r = call("POST", "/api/v1/conversations", p.who, body);
    expect_error(r, 413, "too_large", "(none)");
    free(body);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(conversation_lifeOfOne),
        T(conversations_pages_newestFirst),
        T(conversation_ofAnother_isNotFound),
        T(conversation_badReferences_nameTheField),
        T(documents_ownAndShared),
        T(document_ofThreeMegabytes_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
