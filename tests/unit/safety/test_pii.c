/* Personal data: what is found, what is not, and redaction there and back. The values are invented;
 * numbers carry right checksums and belong to nobody. */
#include "unit.h"

#include "safety/pii.h"

static void found(const char *text, enum pii_kind kind, const char *what) {
    struct pii_hit h[8];
    size_t n = pii_scan(str_from(text), h, 8);
    if (n != 1)
        fail_msg("%zu found in: %s", n, text);
    assert_true(pii_may_hold(str_from(text)));
    assert_int_equal(h[0].kind, kind);
    assert_int_equal(h[0].to - h[0].from, strlen(what));
    assert_memory_equal(text + h[0].from, what, strlen(what));
}

static void nothing(const char *text) {
    struct pii_hit h[8];
    size_t n = pii_scan(str_from(text), h, 8);
    if (n)
        fail_msg("%s found in: %s", pii_name(h[0].kind), text);
}

static void addresses_are_found(void **state) {
    (void)state;
    found("write to jane.doe+x@mail.example.org.", PII_EMAIL, "jane.doe+x@mail.example.org");
    found("at 192.168.10.77 it listens", PII_IP, "192.168.10.77");
    found("ping 2001:db8::8a2e:370:7334 now", PII_IP, "2001:db8::8a2e:370:7334");
    found("see https://www.example.org/a?b=c, ok", PII_DOMAIN, "https://www.example.org/a?b=c");
    nothing("version 1.2.3.4 and @home and a@b");
    nothing("at 12:30:45 std::vector a::b 999.1.1.1");
}

static void addresses_that_begin_like_numbers_are_found(void **state) {
    (void)state;
    found("contact me: 123456789@qq.com", PII_EMAIL, "123456789@qq.com");
    found("contact me: 491511234567.a@qq.com.", PII_EMAIL, "491511234567.a@qq.com");
    found("my phone: 0151-2345678@example.org", PII_EMAIL, "0151-2345678@example.org");
    found("192.168.10.77@example.org", PII_EMAIL, "192.168.10.77@example.org");
    struct pii_hit h[8];
    const char *both = "call +49 151 2345678@qq.com";
    assert_int_equal(pii_scan(str_from(both), h, 8), 2);
    assert_int_equal(h[0].kind, PII_PHONE);
    assert_int_equal(h[1].kind, PII_EMAIL);
    assert_int_equal(h[0].to, h[1].from);
    assert_int_equal(h[1].to, strlen(both));
    /* what a part before ended in */
    const char *cut = "contact me: 123456789@qq.com";
    assert_int_equal(pii_scan_from(str_from(cut), 21, h, 8), 1);
    assert_int_equal(h[0].from, 21);
    assert_int_equal(h[0].to, strlen(cut));
    /* cards and secrets stay */
    both = "card 4111111111111111@qq.com";
    assert_int_equal(pii_scan(str_from(both), h, 8), 2);
    assert_int_equal(h[0].kind, PII_CARD);
    assert_int_equal(h[0].to, h[1].from);
    assert_int_equal(h[1].to, strlen(both));
}

static void addresses_before_numbers_are_found(void **state) {
    (void)state;
    struct pii_hit h[8];
    const char *text = "at 192.168.10.77 4111 1111 1111 1111, or";
    assert_int_equal(pii_scan(str_from(text), h, 8), 2);
    assert_int_equal(h[0].kind, PII_IP);
    assert_int_equal(h[0].to - h[0].from, strlen("192.168.10.77"));
    assert_int_equal(h[1].kind, PII_CARD);
    found("route 192.168.10.0/24 there", PII_IP, "192.168.10.0");
    found("at 192.168.10.77 (12) of them", PII_IP, "192.168.10.77");
    found("at 192.168.10.77 80 443 8080", PII_IP, "192.168.10.77");
    nothing("at 1.2.3.4-1 and 1.2.(3).4 ok");
    nothing("at 192.168.10.777 80 443");
}

/* A look at the signs tells most texts to hold nothing; what holds something never passes (found()
 * asks it, too). */
static void texts_without_signs_hold_nothing(void **state) {
    (void)state;
    assert_false(pii_may_hold(STR("")));
    assert_false(
        pii_may_hold(STR("Boil the pasta, then drain it. It's quick - and good (mostly)!")));
    assert_false(
        pii_may_hold(STR("A well-known and/or snake_case word.\n\"Quoted\"; [x] $ % & ^")));
    static const char *const signs[] = {"9",        "a@",
                                        "key:",     "key=",
                                        "a.b",      "--",
                                        "\xc3\xa9", "abcdefgh_-+/ABCD",
                                        "www.ab.",  "x\xef\xbc\x9ay"};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (!pii_may_hold(str_from(signs[i])))
            fail_msg("%s was passed over", signs[i]);
}

static void numbers_need_their_checksums(void **state) {
    (void)state;
    found("card 4111 1111 1111 1111 please", PII_CARD, "4111 1111 1111 1111");
    nothing("card 4111 1111 1111 1112 please");
    found("IBAN DE89 3704 0044 0532 0130 00!", PII_IBAN, "DE89 3704 0044 0532 0130 00");
    nothing("IBAN DE89 3704 0044 0532 0130 01!");
    found("ssn 078-05-1120 ok", PII_SSN, "078-05-1120");
    nothing("part 000-05-1120 ok");
    found("DNI 12345678Z", PII_NATIONAL, "12345678Z");
    nothing("DNI 12345678A");
    found("my nhs number: 943 476 5919", PII_NATIONAL, "943 476 5919");
    found("CPF 529.982.247-25", PII_NATIONAL, "529.982.247-25");
    found("PESEL 44051401359", PII_NATIONAL, "44051401359");
    nothing("order 44051401359");
}

static void phones_need_a_form_or_a_word(void **state) {
    (void)state;
    found("call +44 20 7946 0958 today", PII_PHONE, "+44 20 7946 0958");
    found("(415) 555-2671 is mine", PII_PHONE, "(415) 555-2671");
    found("my phone is 5552671234", PII_PHONE, "5552671234");
    nothing("in 1914-1918 and 2024-05-17, 3.1415926, 10,000,000 and 12/05/2024");
    nothing("pages 100 200 300 400 500");
}

static void secrets_are_found_but_examples_are_not(void **state) {
    (void)state;
    /* in halves, so that no scanner takes this file for a leak */
    found("key AKIA"
          "QR7Y2LMN5TUVWX3Z.",
          PII_SECRET,
          "AKIA"
          "QR7Y2LMN5TUVWX3Z");
    nothing("key AKIA"
            "IOSFODNN7EXAMPLE.");
    found("use ghp_"
          "a8Kd93jfLq02mNbVcXz71QwErTy56UiOp4Ss ok",
          PII_SECRET,
          "ghp_"
          "a8Kd93jfLq02mNbVcXz71QwErTy56UiOp4Ss");
    found("password = 'tr0ub4dor&3x'", PII_SECRET, "tr0ub4dor&3x");
    nothing("what is a password: a secret word");
    found("-----BEGIN RSA "
          "PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
          PII_SECRET,
          "-----BEGIN RSA "
          "PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----");
}

/* What stands around a secret is no part of it, whatever script it is in. */
static void secrets_are_found_behind_quotes_and_other_scripts(void **state) {
    (void)state;
    static const char *const around[][2] = {
        {"\"", "\""},
        {"'", "'"},
        {"`", "`"},
        {"\xe2\x80\x9c", "\xe2\x80\x9d"},                         /* typographic quotes */
        {"\xe2\x80\x98", "\xe2\x80\x99"},                         /* single ones */
        {"\xc2\xab", "\xc2\xbb"},                                 /* guillemets */
        {"\xe3\x80\x8c", "\xe3\x80\x8d\xe3\x81\xa7\xe3\x81\x99"}, /* corner brackets, kana */
        {"\xe5\xaf\x86\xe7\xa0\x81", "\xe8\xaf\xb7\xe7\x94\xa8"}, /* ideographs */
        {"\xef\xbc\x88", "\xef\xbc\x89"},                         /* wide parentheses */
        {"\xeb\xb9\x84\xeb\xb0\x80", "\xec\x9e\x85\xeb\x8b\x88"}, /* Hangul */
    };
    static const char token[] = "ghp_"
                                "a8Kd93jfLq02mNbVcXz71QwErTy56UiOp4Ss";
    for (size_t i = 0; i < sizeof around / sizeof *around; i++) {
        char text[256];
        snprintf(text, sizeof text, "take %s%s%s ok", around[i][0], token, around[i][1]);
        found(text, PII_SECRET, token);
        snprintf(text, sizeof text, "password: %str0ub4dor&3x%s ok", around[i][0], around[i][1]);
        found(text, PII_SECRET, "tr0ub4dor&3x");
    }
    found("password\xef\xbc\x9atr0ub4dor&3x\xe3\x80\x82", PII_SECRET, "tr0ub4dor&3x");
    found("password: p\xc3\xa4ssw0rdl\xc3\xb6s9", PII_SECRET, "p\xc3\xa4ssw0rdl\xc3\xb6s9");
}

static void redaction_goes_there_and_back(void **state) {
    (void)state;
    struct pii_vault *v = pii_vault_new();
    struct pii_hit h[8];
    struct buf out, back;
    struct str text = STR("a@x.org and b@x.org, again a@x.org");
    buf_init(&out, 1000);
    buf_init(&back, 1000);
    size_t n = pii_scan(text, h, 8);
    assert_int_equal(n, 3);
    assert_int_equal(pii_redact(v, text, h, n, &out), ERR_OK);
    assert_string_equal(out.p, "[EMAIL_1] and [EMAIL_2], again [EMAIL_1]");
    assert_int_equal(pii_vault_count(v), 2);
    assert_int_equal(pii_restore(v, buf_str(&out), &back), ERR_OK);
    assert_int_equal(back.n, text.n);
    assert_memory_equal(back.p, text.p, text.n);
    buf_clear(&back);
    assert_int_equal(pii_restore(v, STR("[EMAIL_3] [EMAIL_"), &back), ERR_OK);
    assert_string_equal(back.p, "[EMAIL_3] [EMAIL_");
    buf_clear(&back);
    assert_int_equal(
        pii_restore(v, STR("[[EMAIL_2]] [EMAIL_02] [EMAIL] [PHONE_1] [EMAIL_1"), &back), ERR_OK);
    assert_string_equal(back.p, "[b@x.org] [EMAIL_02] [EMAIL] [PHONE_1] [EMAIL_1");
    buf_deinit(&out);
    buf_deinit(&back);
    pii_vault_free(v);
}

static void any_bytes_are_taken(void **state) {
    (void)state;
    char text[513];
    struct pii_hit h[64];
    uint32_t x = 1;
    for (int round = 0; round < 2000; round++) {
        for (size_t i = 0; i < sizeof text; i++) {
            x = x * 1664525 + 1013904223;
            text[i] = (x >> 24) % 3 ? "0123456789-. @+(A:x="[(x >> 16) % 20] : (char)(x >> 20);
        }
        struct str s = {text, sizeof text};
        size_t n = pii_scan(s, h, 64);
        for (size_t i = 0; i < n; i++) {
            assert_true(h[i].from < h[i].to && h[i].to <= sizeof text);
            assert_true(i == 0 || h[i].from >= h[i - 1].to);
        }
        struct pii_hit part[3];
        size_t seen = 0;
        for (size_t at = 0, m; at < sizeof text; at = pii_next(s, part, m, 3)) {
            m = pii_scan_from(s, at, part, 3);
            for (size_t i = 0; i < m; i++, seen++) {
                assert_true(seen < n);
                assert_int_equal(part[i].from, h[seen].from);
                assert_int_equal(part[i].to, h[seen].to);
                assert_int_equal(part[i].kind, h[seen].kind);
            }
        }
        assert_int_equal(seen, n);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_found),
        cmocka_unit_test(addresses_that_begin_like_numbers_are_found),
        cmocka_unit_test(addresses_before_numbers_are_found),
        cmocka_unit_test(texts_without_signs_hold_nothing),
        cmocka_unit_test(numbers_need_their_checksums),
        cmocka_unit_test(phones_need_a_form_or_a_word),
        cmocka_unit_test(secrets_are_found_but_examples_are_not),
        cmocka_unit_test(secrets_are_found_behind_quotes_and_other_scripts),
        cmocka_unit_test(redaction_goes_there_and_back),
        cmocka_unit_test(any_bytes_are_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
