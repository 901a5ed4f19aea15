/* Accounts: set-up, sign-up, one's own account, the administrator's view. */
#include "unit/api/api_fixture.h"

static void setup_wrongTokenRefused_rightTokenOnce(void **state) {
    (void)state;
    struct reply r = call("GET", "/api/v1/status", NULL, NULL);
    expect(r, 200);
    assert_true(json_get_bool(r.root, "setup_required", false));
    assert_string_equal(text_at(&r, "signup"), "open");
    assert_string_equal(text_at(&r, "model"), "tiny");
    assert_true(json_get_bool(r.root, "ready", false));
    reply_free(&r);
    r = call("POST", "/api/v1/setup", NULL,
             "{\"token\":\"guess\",\"username\":\"root\",\"email\":\"r@x\",\"password\":\"" PASSWORD
             "\"}");
    expect_error(r, 403, "forbidden", "token");
    r = call("POST", "/api/v1/users", NULL,
             "{\"username\":\"ann\",\"email\":\"a@x\",\"password\":\"" PASSWORD "\"}");
    expect_error(r, 409, "conflict", "(none)");
    struct person admin = make_admin();
    char body[512];
    snprintf(body, sizeof body,
             "{\"token\":\"%s\",\"username\":\"root2\",\"email\":\"r2@x\",\"password\":\"" PASSWORD
             "\"}",
             fx.setup_token);
    r = call("POST", "/api/v1/setup", NULL, body);
    expect_error(r, 409, "conflict", "(none)");
    r = call("GET", "/api/v1/users/me", admin.who, NULL);
    expect(r, 200);
    assert_true(json_get_bool(r.root, "is_admin", false));
    assert_null(strstr(r.body, "argon2"));
    reply_free(&r);
}

static void signUp_takenNames_conflictNamesField(void **state) {
    (void)state;
    make_admin();
    make_user("ann");
    struct reply r = call("POST", "/api/v1/users", NULL,
                          "{\"username\":\"ANN\",\"email\":\"b@x\",\"password\":\"" PASSWORD "\"}");
    expect_error(r, 409, "conflict", "username");
    r = call("POST", "/api/v1/users", NULL,
             "{\"username\":\"bob\",\"email\":\"ANN@example.org\",\"password\":\"" PASSWORD "\"}");
    expect_error(r, 409, "conflict", "email");
}

static void signUp_manyFromOneAddress_rateLimited(void **state) {
    (void)state;
    struct person admin = make_admin();
    const char *body = "{\"username\":\"root\",\"email\":\"e@x\",\"password\":\"" PASSWORD "\"}";
    for (int i = 0; i < 100; i++) { /* refused ones count, too: they tell which names there are */
        struct reply r = call("POST", "/api/v1/users", NULL, body);
        expect_error(r, 409, "conflict", "username");
    }
    body = "{\"username\":\"eve\",\"email\":\"e@x\",\"password\":\"" PASSWORD "\"}";
    struct reply r = call("POST", "/api/v1/users", NULL, body);
    expect_error(r, 429, "rate_limited", "(none)");
    r = call("POST", "/api/v1/users", admin.who, body);
    expect(r, 201);
    reply_free(&r);
}

static void signUp_asAdmin_onlyByAdmins(void **state) {
    (void)state;
    struct person admin = make_admin();
    const char *body =
        "{\"username\":\"eve\",\"email\":\"e@x\",\"password\":\"" PASSWORD "\",\"is_admin\":true}";
    struct reply r = call("POST", "/api/v1/users", NULL, body);
    expect_error(r, 403, "forbidden", "is_admin");
    r = call("POST", "/api/v1/users", admin.who, body);
    expect(r, 201);
    assert_true(json_get_bool(r.root, "is_admin", false));
    char cookie[512];
    assert_null(header_of(&r, "Set-Cookie", cookie));
    reply_free(&r);
}

static void signUp_withEndedCookie_stillWorks(void **state) {
    (void)state;
    make_admin();
    struct reply r = call("POST", "/api/v1/users", "Cookie: parley_session=old\r\n",
                          "{\"username\":\"eve\",\"email\":\"e@x\",\"password\":\"" PASSWORD "\"}");
    struct person p = person_from(r);
    r = call("GET", "/api/v1/users/me", p.who, NULL);
    expect(r, 200);
    reply_free(&r);
}

static void me_patch_preferencesAndName(void **state) {
    (void)state;
    make_admin();
    struct person p = make_user("ann");
    struct reply r =
        call("PATCH", "/api/v1/users/me", p.who,
             "{\"preferences\":{\"theme\":\"dark\",\"n\":[1,{}]},\"username\":\"anna\"}");
    expect(r, 200);
    reply_free(&r);
    r = call("GET", "/api/v1/users/me", p.who, NULL);
    expect(r, 200);
    assert_string_equal(text_at(&r, "username"), "anna");
    assert_string_equal(json_get_str(json_get(r.root, "preferences"), "theme").p, "dark");
    assert_non_null(strstr(text_at(&r, "last_login_at"), "Z"));
    reply_free(&r);
}

static void me_patch_password_needsCurrent_endsOtherSessions(void **state) {
    (void)state;
    make_admin();
    struct person p = make_user("ann");
    struct person other =
        person_from(call("POST", "/api/v1/sessions", NULL,
                         "{\"username\":\"ann@example.org\",\"password\":\"" PASSWORD "\"}"));
    struct reply r = call("PATCH", "/api/v1/users/me", p.who, "{\"password\":\"another horse\"}");
    expect_error(r, 400, "invalid_value", "current_password");
    r = call("PATCH", "/api/v1/users/me", p.who,
             "{\"password\":\"another horse\",\"current_password\":\"wrong\"}");
    expect_error(r, 403, "forbidden", "current_password");
    r = call("PATCH", "/api/v1/users/me", p.who,
             "{\"password\":\"another horse\",\"current_password\":\"" PASSWORD "\"}");
    expect(r, 200);
    reply_free(&r);
    r = call("GET", "/api/v1/users/me", p.who, NULL);
    expect(r, 200);
    reply_free(&r);
    r = call("GET", "/api/v1/users/me", other.who, NULL);
    expect_error(r, 401, "unauthorized", "(none)");
    r = call("POST", "/api/v1/sessions", NULL,
             "{\"username\":\"ann\",\"password\":\"" PASSWORD "\"}");
    expect_error(r, 401, "unauthorized", "(none)");
}

static void key_of(const struct person *p, char line[256]) {
    struct reply r = call("POST", "/api/v1/keys", p->who, "{\"name\":\"k\"}");
    expect(r, 201);
    snprintf(line, 256, "Authorization: Bearer %s\r\n", text_at(&r, "key"));
    reply_free(&r);
}

static void password_changed_revokesOtherKeys(void **state) {
    (void)state;
    char used[256], other[256];
    struct person admin = make_admin(), p = make_user("ann");
    key_of(&p, used);
    key_of(&p, other);
    struct reply r = call("PATCH", "/api/v1/users/me", used,
                          "{\"password\":\"another horse\",\"current_password\":\"" PASSWORD "\"}");
    expect(r, 200);
    reply_free(&r);
    r = call("GET", "/api/v1/users/me", other, NULL);
    expect_error(r, 401, "invalid_api_key", "(none)");
    r = call("GET", "/api/v1/users/me", used, NULL);
    expect(r, 200);
    reply_free(&r);
    r = call("PATCH", path_of("/api/v1/users/%s", p.id), admin.who,
             "{\"password\":\"given by admin\"}");
    expect(r, 200);
    reply_free(&r);
    r = call("GET", "/api/v1/users/me", used, NULL);
    expect_error(r, 401, "invalid_api_key", "(none)");
}

static void users_memberAsks_forbidden(void **state) {
    (void)state;
    struct person admin = make_admin(), p = make_user("ann");
    struct reply r = call("GET", "/api/v1/users", p.who, NULL);
    expect_error(r, 403, "forbidden", "(none)");
    r = call("GET", path_of("/api/v1/users/%s", admin.id), p.who, NULL);
    expect_error(r, 403, "forbidden", "(none)");
    r = call("PATCH", path_of("/api/v1/users/%s", p.id), p.who, "{\"is_admin\":true}");
    expect_error(r, 403, "forbidden", "(none)");
}

static void users_list_pages(void **state) {
    (void)state;
    struct person admin = make_admin();
    make_user("ann");
    make_user("bob");
    struct reply r = call("GET", "/api/v1/users?limit=2", admin.who, NULL);
    expect(r, 200);
    assert_int_equal(yyjson_arr_size(json_get(r.root, "data")), 2);
    char path[128];
    snprintf(path, sizeof path, "/api/v1/users?limit=2&after=%s", text_at(&r, "next"));
    reply_free(&r);
    r = call("GET", path, admin.who, NULL);
    expect(r, 200);
    assert_int_equal(yyjson_arr_size(json_get(r.root, "data")), 1);
    assert_true(yyjson_is_null(json_get(r.root, "next")));
    reply_free(&r);
}

static void users_disabled_nothingWorks(void **state) {
    (void)state;
    struct person admin = make_admin(), p = make_user("ann");
    struct reply r = call("POST", "/api/v1/keys", p.who, "{\"name\":\"k\"}");
    char key[256];
    expect(r, 201);
    snprintf(key, sizeof key, "Authorization: Bearer %s\r\n", text_at(&r, "key"));
    reply_free(&r);
    r = call("PATCH", path_of("/api/v1/users/%s", p.id), admin.who, "{\"disabled\":true}");
    expect(r, 200);
    assert_true(json_get_bool(r.root, "disabled", false));
    reply_free(&r);
    r = call("GET", "/api/v1/users/me", p.who, NULL);
    expect_error(r, 401, "unauthorized", "(none)");
    r = call("GET", "/api/v1/users/me", key, NULL);
    expect_error(r, 401, "invalid_api_key", "(none)");
    r = call("POST", "/api/v1/sessions", NULL,
             "{\"username\":\"ann\",\"password\":\"" PASSWORD "\"}");
    expect_error(r, 403, "forbidden", "(none)");
    r = call("POST", "/api/v1/sessions", NULL,
             "{\"username\":\"ann\",\"password\":\"not this one\"}");
    expect_error(r, 401, "unauthorized", "(none)");
}

static void users_lastAdmin_kept(void **state) {
    (void)state;
    struct person admin = make_admin();
    struct reply r =
        call("PATCH", path_of("/api/v1/users/%s", admin.id), admin.who, "{\"is_admin\":false}");
    expect(r, 409);
    reply_free(&r);
    r = call("DELETE", path_of("/api/v1/users/%s", admin.id), admin.who, NULL);
    expect(r, 409);
    reply_free(&r);
}

static void users_adminSetsPassword_deletes(void **state) {
    (void)state;
    struct person admin = make_admin(), p = make_user("ann");
    struct reply r = call("PATCH", path_of("/api/v1/users/%s", p.id), admin.who,
                          "{\"password\":\"given by admin\"}");
    expect(r, 200);
    reply_free(&r);
    r = call("GET", "/api/v1/users/me", p.who, NULL);
    expect_error(r, 401, "unauthorized", "(none)");
    person_from(call("POST", "/api/v1/sessions", NULL,
                     "{\"username\":\"ann\",\"password\":\"given by admin\"}"));
    r = call("DELETE", path_of("/api/v1/users/%s", p.id), admin.who, NULL);
    expect(r, 204);
    reply_free(&r);
    r = call("GET", path_of("/api/v1/users/%s", p.id), admin.who, NULL);
    expect_error(r, 404, "not_found", "(none)");
}

static int closed_setup(void **state) {
    (void)state;
    fx_start(&(struct fx_options){.signup_closed = true});
    return 0;
}

static void signUp_closed_onlyAdmins(void **state) {
    (void)state;
    struct person admin = make_admin();
    const char *body = "{\"username\":\"eve\",\"email\":\"e@x\",\"password\":\"" PASSWORD "\"}";
    struct reply r = call("POST", "/api/v1/users", NULL, body);
    expect_error(r, 401, "unauthorized", "(none)");
    r = call("POST", "/api/v1/users", admin.who, body);
    expect(r, 201);
    reply_free(&r);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(setup_wrongTokenRefused_rightTokenOnce),
        T(signUp_takenNames_conflictNamesField),
        T(signUp_manyFromOneAddress_rateLimited),
        T(signUp_asAdmin_onlyByAdmins),
        T(signUp_withEndedCookie_stillWorks),
        T(me_patch_preferencesAndName),
        T(me_patch_password_needsCurrent_endsOtherSessions),
        T(password_changed_revokesOtherKeys),
        T(users_memberAsks_forbidden),
        T(users_list_pages),
        T(users_disabled_nothingWorks),
        T(users_lastAdmin_kept),
        T(users_adminSetsPassword_deletes),
        cmocka_unit_test_setup_teardown(signUp_closed_onlyAdmins, closed_setup, fx_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
