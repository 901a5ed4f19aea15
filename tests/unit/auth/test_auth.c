/* Rules, credentials, cookies, origins, the limiter and the set-up token. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "auth/auth.h"
#include "auth/limiter.h"
#include "base/clock.h"

static void username_rules(void **state) {
    struct errinfo ei;
    (void)state;
    assert_int_equal(auth_check_username(STR("a.B_9-z"), &ei), ERR_OK);
    assert_int_equal(auth_check_username(STR("a"), &ei), ERR_INVALID);
    assert_string_equal(ei.param, "username");
    assert_int_equal(auth_check_username(STR("a b"), &ei), ERR_INVALID);
    assert_int_equal(auth_check_username(STR("a@b"), &ei),
                     ERR_INVALID); /* or it could be another's address */
    assert_int_equal(auth_check_username(STR("\xc3\xa9ve"), &ei), ERR_INVALID);
    char many[80];
    memset(many, 'a', sizeof many);
    assert_int_equal(auth_check_username((struct str){many, 64}, &ei), ERR_OK);
    assert_int_equal(auth_check_username((struct str){many, 65}, &ei), ERR_INVALID);
}

static void email_rules(void **state) {
    struct errinfo ei;
    (void)state;
    assert_int_equal(auth_check_email(STR("a@b"), &ei), ERR_OK);
    assert_int_equal(auth_check_email(STR("j\xc3\xbcrgen@example.org"), &ei), ERR_OK);
    static const char *const bad[] = {"",      "a",     "@b",    "a@",     "a@b@c",
                                      "a b@c", "a@b\n", "<a@b>", "a@b,c@d"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(auth_check_email(str_from(bad[i]), &ei), ERR_INVALID);
}

static void password_rules(void **state) {
    struct errinfo ei;
    char many[1100];
    (void)state;
    memset(many, 'x', sizeof many);
    assert_int_equal(auth_check_password(STR("1234567"), &ei), ERR_INVALID);
    assert_int_equal(auth_check_password(STR("12345678"), &ei), ERR_OK);
    assert_int_equal(auth_check_password((struct str){many, 1024}, &ei), ERR_OK);
    assert_int_equal(auth_check_password((struct str){many, 1025}, &ei), ERR_INVALID);
    assert_int_equal(auth_check_password((struct str){"1234\0 678", 9}, &ei), ERR_INVALID);
}

static void credential_headerWinsOverCookie(void **state) {
    struct auth_credential c;
    struct errinfo ei;
    char hash[SHA256_HEX_LEN + 1];
    (void)state;
    sha256_hex(STR("parley_x"), hash);
    assert_int_equal(auth_credential_read(STR("bearer parley_x"), STR("cookie"), &c, &ei), ERR_OK);
    assert_int_equal(c.kind, AUTH_KEY);
    assert_string_equal(c.hash, hash);
    assert_int_equal(auth_credential_read(STR_NULL, STR("cookie"), &c, &ei), ERR_OK);
    assert_int_equal(c.kind, AUTH_SESSION);
    assert_int_equal(auth_credential_read(STR_NULL, STR_NULL, &c, &ei), ERR_OK);
    assert_int_equal(c.kind, AUTH_NONE);
    assert_int_equal(auth_credential_read(STR("Basic eA=="), STR("cookie"), &c, &ei), ERR_BAD_KEY);
}

static void cookie_secureOnlyBehindHttps(void **state) {
    char out[AUTH_COOKIE_MAX];
    (void)state;
    auth_cookie_set(out, "tok", 60, true);
    assert_string_equal(
        out, "parley_session=tok; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure");
    auth_cookie_clear(out, false);
    assert_string_equal(out, "parley_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");
}

static void origin_sameOnly(void **state) {
    struct str host = STR("chat.example:8080");
    (void)state;
    assert_true(auth_same_origin(STR_NULL, STR_NULL, host));
    assert_true(auth_same_origin(STR_NULL, STR("https://chat.example:8080"), host));
    assert_true(auth_same_origin(STR("same-origin"), STR_NULL, host));
    assert_false(auth_same_origin(STR("same-site"), STR("https://chat.example:8080"), host));
    assert_false(auth_same_origin(STR_NULL, STR("https://chat.example"), host));
    assert_false(auth_same_origin(STR_NULL, STR("https://evil.example/chat.example:8080"), host));
    assert_false(auth_same_origin(STR_NULL, STR("null"), host));
    assert_false(auth_same_origin(STR_NULL, STR("https://"), STR_NULL));
}

static void limiter_refusesUntilTheWindowEnds(void **state) {
    struct auth_limiter *l;
    struct errinfo ei;
    (void)state;
    clock_test_set(1000000000, 1000);
    assert_int_equal(auth_limiter_new(3, 60000, &l), ERR_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(auth_limiter_attempt(l, STR("1.2.3.4 ann"), &ei), ERR_OK);
    assert_int_equal(auth_limiter_attempt(l, STR("1.2.3.4 ANN"), &ei), ERR_RATE);
    assert_true(ei.retry_after_ms > 59000 && ei.retry_after_ms <= 60000);
    assert_int_equal(auth_limiter_attempt(l, STR("1.2.3.5 ann"), &ei), ERR_OK);
    clock_test_advance(60001);
    assert_int_equal(auth_limiter_attempt(l, STR("1.2.3.4 ann"), &ei), ERR_OK);
    auth_limiter_clear(l, STR("1.2.3.4 ann"));
    for (int i = 0; i < 3; i++)
        assert_int_equal(auth_limiter_attempt(l, STR("1.2.3.4 ann"), &ei), ERR_OK);
    auth_limiter_forgive(l, STR("1.2.3.4 ann")); /* one, not all */
    auth_limiter_forgive(l, STR("nobody"));
    assert_int_equal(auth_limiter_attempt(l, STR("1.2.3.4 ann"), &ei), ERR_OK);
    assert_int_equal(auth_limiter_attempt(l, STR("1.2.3.4 ann"), &ei), ERR_RATE);
    auth_limiter_free(l);
    clock_test_end();
}

static void limiter_manyNames_boundedAndStillCounts(void **state) {
    struct auth_limiter *l;
    struct errinfo ei;
    char name[32];
    (void)state;
    assert_int_equal(auth_limiter_new(3, 60000, &l), ERR_OK);
    for (int i = 0; i < 100000; i++) {
        snprintf(name, sizeof name, "n%d", i);
        assert_int_equal(auth_limiter_attempt(l, str_from(name), &ei), ERR_OK);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(auth_limiter_attempt(l, STR("ann"), &ei), ERR_OK);
    assert_int_equal(auth_limiter_attempt(l, STR("ann"), &ei), ERR_RATE);
    auth_limiter_free(l);
}

/* ---- the set-up token, in a store ---- */

static enum err token_script(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct auth_secret first, second;
    bool required = false;
    (void)arg;
    assert_int_equal(auth_setup_required(tx, &required), ERR_OK);
    assert_true(required);
    assert_int_equal(auth_setup_token_check(tx, STR("x"), ei), ERR_FORBIDDEN); /* none was made */
    assert_int_equal(auth_setup_token_make(tx, &first, ei), ERR_OK);
    assert_int_equal(auth_setup_token_make(tx, &second, ei), ERR_OK);
    assert_int_equal(auth_setup_token_check(tx, str_from(first.text), ei), ERR_FORBIDDEN);
    assert_int_equal(auth_setup_token_check(tx, str_from(second.text), ei), ERR_OK);
    assert_int_equal(auth_setup_token_check(tx, str_from(second.hash), ei), ERR_FORBIDDEN);
    struct user u = {.user_id = uuid_new(),
                     .username = STR("root"),
                     .email = STR("r@x"),
                     .created_at = 1,
                     .preferences = STR("{}"),
                     .is_admin = true,
                     .password_hash = STR("x")};
    assert_int_equal(user_create(tx, &u, ei), ERR_OK);
    assert_int_equal(auth_setup_token_drop(tx), ERR_OK);
    assert_int_equal(auth_setup_token_drop(tx), ERR_OK);
    assert_int_equal(auth_setup_token_check(tx, str_from(second.text), ei), ERR_CONFLICT);
    assert_int_equal(auth_setup_token_make(tx, &first, ei), ERR_CONFLICT);
    return ERR_OK;
}

static void setupToken_newestOnly_untilThereIsAnAdmin(void **state) {
    char dir[] = "/tmp/parley-auth-XXXXXX", db[64], cmd[80];
    struct store *s;
    struct errinfo ei;
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(db, sizeof db, "%s/p.db", dir);
    assert_int_equal(store_open(&(struct store_options){.path = db}, &s, &ei), ERR_OK);
    assert_int_equal(store_write_wait(s, token_script, NULL, &ei), ERR_OK);
    store_close(s);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    assert_int_equal(system(cmd), 0);
}

int main(void) {
    if (crypto_init())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(username_rules),
        cmocka_unit_test(email_rules),
        cmocka_unit_test(password_rules),
        cmocka_unit_test(credential_headerWinsOverCookie),
        cmocka_unit_test(cookie_secureOnlyBehindHttps),
        cmocka_unit_test(origin_sameOnly),
        cmocka_unit_test(limiter_refusesUntilTheWindowEnds),
        cmocka_unit_test(limiter_manyNames_boundedAndStillCounts),
        cmocka_unit_test(setupToken_newestOnly_untilThereIsAnAdmin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
