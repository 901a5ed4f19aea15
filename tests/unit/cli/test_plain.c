/* What others wrote does not steer the terminal, and nothing else is changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "cli/plain.h"

static void assert_plain(const char *text, bool lines, const char *want) {
    char copy[128], printed[128] = "";
    size_t n = strlen(text);
    memcpy(copy, text, n + 1);
    plain_text(copy, n, lines);
    assert_string_equal(copy, want);
    FILE *out = tmpfile();
    assert_non_null(out);
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    dup2(fileno(out), STDOUT_FILENO);
    plain_print(str_from(text), lines);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    rewind(out);
    printed[fread(printed, 1, sizeof printed - 1, out)] = 0;
    fclose(out);
    assert_string_equal(printed, want);
}

static void plain_takes_escapes_away(void **state) {
    (void)state;
    assert_plain("a\x1b[31mb\x07\x7f", true, "a [31mb  ");
    assert_plain("\xc2\x9b"
                 "31m x\xc2\x80\xc2\x9f",
                 true, "  31m x    ");
}

static void plain_keeps_line_breaks_only_where_asked(void **state) {
    (void)state;
    assert_plain("a\n\tb\r", true, "a\n\tb ");
    assert_plain("a\n\tb\r", false, "a  b ");
}

static void plain_leaves_other_text_alone(void **state) {
    (void)state;
    assert_plain("", true, "");
    assert_plain("caf\xc3\xa9 \xc2\xa0 \xc3\x9b \xe4\xb8\xad \xf0\x9f\x98\x80", true,
                 "caf\xc3\xa9 \xc2\xa0 \xc3\x9b \xe4\xb8\xad \xf0\x9f\x98\x80");
    assert_plain("end\xc2", true, "end\xc2");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_takes_escapes_away),
        cmocka_unit_test(plain_keeps_line_breaks_only_where_asked),
        cmocka_unit_test(plain_leaves_other_text_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
