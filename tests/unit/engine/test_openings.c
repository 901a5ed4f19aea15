#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "engine/openings.h"

static void keep(struct openings *o, const char *text, bool with_user, int32_t token) {
    struct tokens head = {0};
    assert_int_equal(tokens_add(&head, &token, 1), ERR_OK);
    openings_keep(o, str_from(text), with_user, &head);
    tokens_deinit(&head);
}

static int32_t kept(struct openings *o, const char *text, bool with_user) {
    for (int32_t token = 0; token < 100; token++) {
        struct tokens prompt = {.p = (int32_t[]){token, token}, .n = 2, .size = 2};
        int n = openings_shared(o, str_from(text), with_user, &prompt);
        assert_int_equal(n >= 0, openings_has(o, str_from(text), with_user));
        if (n < 0)
            return -1;
        if (n == 1)
            return token;
        assert_int_equal(n, 0);
    }
    return -1;
}

static void openings_are_told_apart(void **state) {
    (void)state;
    struct openings *o = openings_new();
    keep(o, "be short", true, 1);
    keep(o, "be short", false, 2);
    keep(o, "be shorter", true, 3);
    keep(o, "", true, 4);
    assert_int_equal(kept(o, "be short", true), 1);
    assert_int_equal(kept(o, "be short", false), 2);
    assert_int_equal(kept(o, "be shorter", true), 3);
    assert_int_equal(kept(o, "", true), 4);
    assert_int_equal(kept(o, "be", true), -1);
    assert_int_equal(kept(o, "be shorter", false), -1);
    openings_free(o);
    openings_free(NULL);
}

static void least_recently_used_gives_way(void **state) {
    (void)state;
    struct openings *o = openings_new();
    char text[32];
    for (int i = 0; i < OPENINGS_MAX; i++) {
        snprintf(text, sizeof(text), "role %d", i);
        keep(o, text, true, i);
    }
    assert_int_equal(kept(o, "role 0", true), 0);
    keep(o, "one more", true, 99);
    assert_int_equal(kept(o, "role 0", true), 0);
    assert_int_equal(kept(o, "role 1", true), -1);
    assert_int_equal(kept(o, "one more", true), 99);
    openings_free(o);
}

static void same_text_is_kept_once_and_long_ones_never(void **state) {
    (void)state;
    struct openings *o = openings_new();
    static char text[OPENINGS_BYTES + 2];
    keep(o, "role", true, 1);
    keep(o, "role", true, 2);
    assert_int_equal(kept(o, "role", true), 1);
    memset(text, 'x', sizeof(text) - 1);
    keep(o, text, true, 3);
    assert_int_equal(kept(o, text, true), -1);
    openings_free(o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openings_are_told_apart),
        cmocka_unit_test(least_recently_used_gives_way),
        cmocka_unit_test(same_text_is_kept_once_and_long_ones_never),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
