#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "cli/eval_rows.h"

static enum err parse(const char *text, struct eval_rows *r, struct errinfo *ei) {
    return eval_rows_parse(strdup(text), strlen(text), r, ei);
}

static void parse_lines_and_arrays_give_the_same_rows(void **state) {
    (void)state;
    struct eval_rows a, b;
    struct errinfo ei = {0};
    assert_int_equal(parse("{\"text\":\"x\",\"harmful\":1}\n\n {\"harmful\":false}\r\n", &a, &ei),
                     0);
    assert_int_equal(parse(" [{\"text\":\"x\",\"harmful\":1},\n{\"harmful\":false}]\n", &b, &ei),
                     0);
    assert_int_equal(a.n, 2);
    assert_int_equal(b.n, 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(eval_label(a.row[i], "harmful"), eval_label(b.row[i], "harmful"));
    assert_int_equal(eval_label(a.row[0], "harmful"), 1);
    assert_int_equal(eval_label(a.row[1], "harmful"), 0);
    assert_int_equal(eval_label(a.row[0], "text"), -1);
    assert_int_equal(eval_label(a.row[0], "none"), -1);
    eval_rows_deinit(&a);
    eval_rows_deinit(&b);
}

static void parse_bad_line_is_named(void **state) {
    (void)state;
    struct eval_rows r;
    struct errinfo ei = {0};
    assert_int_equal(parse("{\"a\":1}\n{\"a\":\n", &r, &ei), ERR_JSON);
    assert_non_null(strstr(ei.message, "line 2"));
    assert_int_equal(parse("{\"a\":1}\n[1]\n", &r, &ei), ERR_JSON);
    assert_non_null(strstr(ei.message, "row 2"));
    assert_int_equal(parse("[1]", &r, &ei), ERR_JSON);
    assert_int_equal(parse("", &r, &ei), ERR_INVALID);
    assert_int_equal(parse("[]", &r, &ei), ERR_INVALID);
}

static void read_gzip_is_unpacked_and_a_cut_one_refused(void **state) {
    (void)state;
    char path[] = "/tmp/parley-rows-XXXXXX";
    struct eval_rows r;
    struct errinfo ei = {0};
    close(mkstemp(path));
    gzFile f = gzopen(path, "wb");
    for (int i = 0; i < 5000; i++)
        gzprintf(f, "{\"text\":\"row %d\",\"harmful\":%d}\n", i * 7919, i % 2);
    gzclose(f);
    assert_int_equal(eval_rows_read(path, &r, &ei), ERR_OK);
    assert_int_equal(r.n, 5000);
    eval_rows_deinit(&r);
    assert_int_equal(truncate(path, 5000), 0);
    assert_int_equal(eval_rows_read(path, &r, &ei), ERR_IO);
    unlink(path);
    assert_int_equal(eval_rows_read(path, &r, &ei), ERR_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_lines_and_arrays_give_the_same_rows),
        cmocka_unit_test(parse_bad_line_is_named),
        cmocka_unit_test(read_gzip_is_unpacked_and_a_cut_one_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
