/* Who asked a moment ago: found only while nothing can have changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/known.h"
#include "base/clock.h"

static const struct auth_credential ada_key = {AUTH_KEY, "00aa"};

static struct known_user ada(void) {
    return (struct known_user){.user = {.user_id = uuid_new(),
                                        .username = STR("ada"),
                                        .email = STR("ada@example.org"),
                                        .preferences = STR("{}"),
                                        .password_hash = STR("secret")},
                               .may_ask = true};
}

static void known_until_an_account_changes(void **state) {
    struct known_users *k;
    struct arena *a = arena_new(4096);
    struct known_user u = ada(), got;
    struct auth_credential other = ada_key;
    (void)state;
    assert_int_equal(known_users_new(&k), ERR_OK);
    assert_false(known_users_find(k, &ada_key, 7, a, &got));
    known_users_put(k, &ada_key, 7, &u);
    assert_true(known_users_find(k, &ada_key, 7, a, &got));
    assert_true(uuid_eq(&got.user.user_id, &u.user.user_id));
    assert_true(str_eqz(got.user.username, "ada"));
    assert_true(got.user.username.p != u.user.username.p);
    assert_true(got.may_ask);
    assert_int_equal(got.user.password_hash.n, 0);
    other.kind = AUTH_SESSION;
    assert_false(known_users_find(k, &other, 7, a, &got));
    other = (struct auth_credential){AUTH_KEY, "00aa00000bbb"};
    assert_false(known_users_find(k, &other, 7, a, &got));
    assert_false(known_users_find(k, &ada_key, 8, a, &got)); /* an account changed meanwhile */
    known_users_free(k);
    arena_free(a);
}

static void known_for_a_second_only(void **state) {
    struct known_users *k;
    struct arena *a = arena_new(4096);
    struct known_user u = ada(), got;
    (void)state;
    clock_test_set(1000000000, 0);
    assert_int_equal(known_users_new(&k), ERR_OK);
    known_users_put(k, &ada_key, 1, &u);
    clock_test_advance(KNOWN_MS - 1);
    assert_true(known_users_find(k, &ada_key, 1, a, &got));
    clock_test_advance(1);
    assert_false(known_users_find(k, &ada_key, 1, a, &got));
    clock_test_end();
    known_users_free(k);
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_until_an_account_changes),
        cmocka_unit_test(known_for_a_second_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
