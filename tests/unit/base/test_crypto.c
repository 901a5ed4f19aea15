/* base/crypto: known answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/crypto.h"

static void sha256_matches_known_answers_whole_and_in_pieces(void **state) {
    (void)state;
    char hex[SHA256_HEX_LEN + 1];
    sha256_hex(STR("abc"), hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_hex(STR(""), hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    struct sha256 *s = sha256_new();
    sha256_update(s, "a", 1);
    sha256_update(s, "bc", 2);
    sha256_final(s, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_free(sha256_new());
    sha256_free(NULL);
}

static void password_hash_verifies_only_its_password(void **state) {
    (void)state;
    char a[PASSWORD_HASH_LEN], b[PASSWORD_HASH_LEN];
    password_set_profile(PASSWORD_TEST);
    assert_int_equal(password_hash(STR("correct horse"), a), ERR_OK);
    assert_int_equal(password_hash(STR("correct horse"), b), ERR_OK);
    assert_memory_equal(a, "$argon2id$", 10);
    assert_string_not_equal(a, b); /* salted */
    assert_true(password_verify(STR("correct horse"), a));
    assert_false(password_verify(STR("correct horsf"), a));
    assert_false(password_verify(STR(""), a));
    assert_false(password_verify(STR("x"), ""));
    assert_false(password_verify(STR("x"), "$argon2id$rubbish"));
    char longer[400];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    assert_false(password_verify(STR("x"), longer));
}

static void password_interactive_profile_is_owasps(void **state) {
    (void)state;
    char a[PASSWORD_HASH_LEN];
    password_set_profile(PASSWORD_INTERACTIVE);
    assert_int_equal(password_hash(STR("p"), a), ERR_OK);
    assert_non_null(strstr(a, "m=19456,t=2,p=1"));
    assert_true(password_verify(STR("p"), a));
    password_set_profile(PASSWORD_TEST);
}

static void crypto_token_has_length_and_alphabet(void **state) {
    (void)state;
    char a[33], b[33];
    crypto_token(a, 32);
    crypto_token(b, 32);
    assert_string_not_equal(a, b);
    assert_int_equal(strlen(a), 32);
    assert_int_equal(strspn(a, "0123456789abcdefghjkmnpqrstvwxyz"), 32);
    assert_true(crypto_equal("abc", "abc", 3) && !crypto_equal("abc", "abd", 3));
}

static void crypto_name_of_a_child_is_not_the_parents(void **state) {
    (void)state;
    char before[21], own[21], of_child[21] = "";
    int ends[2], status;
    crypto_name(before, 20); /* from here on some are kept */
    assert_int_equal(strlen(before), 20);
    assert_int_equal(strspn(before, "0123456789abcdefghjkmnpqrstvwxyz"), 20);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        crypto_name(own, 20);
        _exit(write(ends[1], own, sizeof own) == sizeof own ? 0 : 1);
    }
    assert_true(child > 0);
    crypto_name(own, 20);
    assert_int_equal(read(ends[0], of_child, sizeof of_child), sizeof of_child);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_string_not_equal(own, of_child);
    assert_string_not_equal(own, before);
    close(ends[0]);
    close(ends[1]);
}

static void base64_matches_the_rfc_and_joins_pieces(void **state) {
    (void)state;
    const char *cases[][2] = {{"", ""},        {"f", "Zg=="},        {"fo", "Zm8="},
                              {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"foobar", "Zm9vYmFy"}};
    struct buf b;
    buf_init(&b, 10000);
    for (size_t i = 0; i < 6; i++) {
        buf_clear(&b);
        base64_add(&b, cases[i][0], strlen(cases[i][0]));
        assert_true(str_eqz(buf_str(&b), cases[i][1]));
    }
    char zeros[500] = {0};
    buf_clear(&b);
    base64_add(&b, zeros, sizeof zeros);
    assert_int_equal(b.n, 668);
    assert_int_equal(strspn(b.p, "A"), 667);
    buf_deinit(&b);
}

static void token_of_data_is_the_same_for_its_key_alone(void **state) {
    (void)state;
    unsigned char key[CRYPTO_KEY_LEN] = {1}, other[CRYPTO_KEY_LEN] = {2};
    char a[49], b[49], c[49], d[49];
    crypto_token_of(key, STR("data"), a, 48);
    crypto_token_of(key, STR("data"), b, 48);
    crypto_token_of(key, STR("datb"), c, 48);
    crypto_token_of(other, STR("data"), d, 48);
    assert_string_equal(a, b);
    assert_int_equal(strlen(a), 48);
    assert_string_not_equal(a, c);
    assert_string_not_equal(a, d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(token_of_data_is_the_same_for_its_key_alone),
        cmocka_unit_test(sha256_matches_known_answers_whole_and_in_pieces),
        cmocka_unit_test(password_hash_verifies_only_its_password),
        cmocka_unit_test(password_interactive_profile_is_owasps),
        cmocka_unit_test(crypto_token_has_length_and_alphabet),
        cmocka_unit_test(crypto_name_of_a_child_is_not_the_parents),
        cmocka_unit_test(base64_matches_the_rfc_and_joins_pieces),
    };
    return crypto_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
