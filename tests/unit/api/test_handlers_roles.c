/* Roles: the starters, changing, versions, retiring. */
#include "unit/api/api_fixture.h"

static void role_id_of(const struct person *p, const char *slug, char id[64]) {
    struct reply r = call("GET", "/api/v1/roles", p->who, NULL);
    size_t i, n;
    json_val *v;
    expect(r, 200);
    id[0] = 0;
    yyjson_arr_foreach(json_get(r.root, "data"), i, n, v) {
        if (str_eqz(json_get_str(v, "slug"), slug))
            snprintf(id, 64, "%s", json_get_str(v, "role_id").p);
    }
    reply_free(&r);
    assert_int_equal(strlen(id), 36);
}

static void roles_new_fourStarters_seededOnce(void **state) {
    (void)state;
    static const char *const slugs[] = {"general-assistant", "travel-assistant", "medical-advisor",
                                        "code-helper"};
    struct errinfo ei;
    char id[64];
    assert_int_equal(store_write_wait(fx.store, api_seed, NULL, &ei), ERR_OK);
    struct person admin = make_admin();
    struct reply r = call("GET", "/api/v1/roles", admin.who, NULL);
    expect(r, 200);
    assert_int_equal(yyjson_arr_size(json_get(r.root, "data")), 4);
    json_val *first = yyjson_arr_get_first(json_get(r.root, "data"));
    assert_memory_equal(json_get_str(first, "system_prompt").p, "You are a helpful assistant.", 28);
    assert_true(yyjson_arr_size(json_get(first, "starter_questions")) >= 3);
    assert_true(yyjson_is_null(json_get(first, "model")));
    reply_free(&r);
    for (int i = 0; i < 4; i++)
        role_id_of(&admin, slugs[i], id);
}

static void role_created_changed_versionsKept(void **state) {
    (void)state;
    char id[64];
    struct person admin = make_admin();
    struct reply r =
        call("POST", "/api/v1/roles", admin.who,
             "{\"name\":\"Pirate\",\"system_prompt\":\"Arr.\",\"temperature\":1.5,\"max_tokens\":"
             "50,\"stop\":[\"END\"],\"starter_questions\":[\"Ahoy?\"]}");
    expect(r, 201);
    assert_string_equal(text_at(&r, "slug"), "pirate");
    assert_int_equal(json_get_int(r.root, "version", 0), 1);
    snprintf(id, sizeof id, "%s", text_at(&r, "role_id"));
    reply_free(&r);
    r = call("PATCH", path_of("/api/v1/roles/%s", id), admin.who,
             "{\"system_prompt\":\"Arr!\",\"temperature\":null}");
    expect(r, 200);
    assert_int_equal(json_get_int(r.root, "version", 0), 2);
    assert_true(yyjson_is_null(json_get(r.root, "temperature")));
    assert_int_equal(json_get_int(r.root, "max_tokens", 0), 50);
    reply_free(&r);
    r = call("PATCH", path_of("/api/v1/roles/%s", id), admin.who, "{\"description\":\"sails\"}");
    expect(r, 200);
    assert_int_equal(json_get_int(r.root, "version", 0), 2);
    reply_free(&r);
    r = call("GET", path_of("/api/v1/roles/%s/versions", id), admin.who, NULL);
    expect(r, 200);
    json_val *data = json_get(r.root, "data");
    assert_int_equal(yyjson_arr_size(data), 2);
    assert_string_equal(json_get_str(yyjson_arr_get(data, 1), "system_prompt").p, "Arr.");
    reply_free(&r);
}

static void role_taken_conflict(void **state) {
    (void)state;
    struct person admin = make_admin();
    struct reply r = call("POST", "/api/v1/roles", admin.who,
                          "{\"name\":\"code helper\",\"system_prompt\":\"x\"}");
    expect_error(r, 409, "conflict", "name");
    r = call("POST", "/api/v1/roles", admin.who,
             "{\"name\":\"Tiny\",\"system_prompt\":\"would hide a model\"}");
    expect_error(r, 409, "conflict", "name");
    r = call("POST", "/api/v1/roles", admin.who, "{\"name\":\"!!\",\"system_prompt\":\"no slug\"}");
    expect_error(r, 400, "invalid_value", "name");
}

static void role_retired_hiddenAndRestored(void **state) {
    (void)state;
    char id[64], body[256];
    struct person admin = make_admin(), p = make_user("ann");
    role_id_of(&admin, "travel-assistant", id);
    struct reply r = call("DELETE", path_of("/api/v1/roles/%s", id), admin.who, NULL);
    expect(r, 204);
    reply_free(&r);
    r = call("GET", "/api/v1/roles", p.who, NULL);
    assert_int_equal(yyjson_arr_size(json_get(r.root, "data")), 3);
    reply_free(&r);
    r = call("GET", "/api/v1/roles?retired=true", admin.who, NULL);
    assert_int_equal(yyjson_arr_size(json_get(r.root, "data")), 4);
    reply_free(&r);
    r = call("GET", "/api/v1/roles?retired=true", p.who, NULL);
    expect_error(r, 403, "forbidden", "retired");
    snprintf(body, sizeof body, "{\"assistant_role_id\":\"%s\"}", id);
    r = call("POST", "/api/v1/conversations", p.who, body);
    expect_error(r, 400, "invalid_value", "assistant_role_id");
    r = call("PATCH", path_of("/api/v1/roles/%s", id), admin.who, "{\"retired\":false}");
    expect(r, 200);
    assert_true(yyjson_is_null(json_get(r.root, "retired_at")));
    reply_free(&r);
    r = call("POST", "/api/v1/conversations", p.who, body);
    expect(r, 201);
    reply_free(&r);
}

/* The store's side of what an upgrade may bring: a model with the slug of a role. */
static enum err name_as_a_model(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct arena *a = arena_new(1 << 20);
    struct uuid id;
    struct role r;
    assert_true(uuid_parse(str_from(arg), &id));
    assert_int_equal(role_get(tx, &id, a, &r), ERR_OK);
    r.name = STR("Tiny");
    enum err e = role_update(tx, &r, NULL, ei);
    arena_free(a);
    return e;
}

static void role_hiddenByModel_canBeChangedAndRetired(void **state) {
    (void)state;
    char id[64];
    struct errinfo ei;
    struct person admin = make_admin();
    role_id_of(&admin, "travel-assistant", id);
    assert_int_equal(store_write_wait(fx.store, name_as_a_model, id, &ei), ERR_OK);
    struct reply r = call("PATCH", path_of("/api/v1/roles/%s", id), admin.who,
                          "{\"name\":\"Tiny\",\"description\":\"sails\"}");
    expect(r, 200);
    reply_free(&r);
    r = call("PATCH", path_of("/api/v1/roles/%s", id), admin.who, "{\"retired\":true}");
    expect(r, 200);
    reply_free(&r);
    r = call("PATCH", path_of("/api/v1/roles/%s", id), admin.who, "{\"retired\":false}");
    expect_error(r, 409, "conflict", "name");
    r = call("PATCH", path_of("/api/v1/roles/%s", id), admin.who,
             "{\"retired\":false,\"name\":\"Large\"}");
    expect(r, 200);
    reply_free(&r);
}

static void role_memberChanges_forbidden(void **state) {
    (void)state;
    char id[64];
    make_admin();
    struct person p = make_user("ann");
    role_id_of(&p, "code-helper", id);
    struct reply r = call("PATCH", path_of("/api/v1/roles/%s", id), p.who, "{\"name\":\"x\"}");
    expect_error(r, 403, "forbidden", "(none)");
    r = call("DELETE", path_of("/api/v1/roles/%s", id), p.who, NULL);
    expect_error(r, 403, "forbidden", "(none)");
    r = call("POST", "/api/v1/roles", p.who, "{\"name\":\"x\",\"system_prompt\":\"y\"}");
    expect_error(r, 403, "forbidden", "(none)");
    r = call("GET", path_of("/api/v1/roles/%s", id), p.who, NULL);
    expect(r, 200);
    reply_free(&r);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(roles_new_fourStarters_seededOnce),
        T(role_created_changed_versionsKept),
        T(role_taken_conflict),
        T(role_retired_hiddenAndRestored),
        T(role_hiddenByModel_canBeChangedAndRetired),
        T(role_memberChanges_forbidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
