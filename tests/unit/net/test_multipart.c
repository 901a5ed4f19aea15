/* multipart/form-data, part by part. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/multipart.h"

#define TYPE "multipart/form-data; boundary=xx"

static void multipart_fields_and_files_come_in_order(void **state) {
    (void)state;
    struct multipart m;
    struct multipart_part p;
    struct str body =
        STR("--xx\r\nContent-Disposition: form-data; name=\"shared\"\r\n\r\ntrue\r\n"
            "--xx\r\ncontent-disposition: form-data; name=file; filename=\"a; b.pdf\"\r\n"
            "Content-Type: application/pdf\r\n\r\n%PDF\r\n--x\r\n\r\n--xx--\r\n");
    assert_int_equal(multipart_begin(&m, STR(TYPE), body), ERR_OK);
    assert_int_equal(multipart_next(&m, &p), ERR_OK);
    assert_true(str_eqz(p.name, "shared") && !p.filename.p && str_eqz(p.bytes, "true"));
    assert_int_equal(multipart_next(&m, &p), ERR_OK);
    assert_true(str_eqz(p.name, "file") && str_eqz(p.filename, "a; b.pdf"));
    assert_true(str_eqz(p.type, "application/pdf") && str_eqz(p.bytes, "%PDF\r\n--x\r\n"));
    assert_int_equal(multipart_next(&m, &p), ERR_NOT_FOUND);
}

static void multipart_broken_bodies_are_refused(void **state) {
    (void)state;
    static const char *const bodies[] = {
        "", "no delimiter", "--xx\r\nContent-Disposition: form-data; name=a\r\n\r\ncut off",
        "--xx\r\nno empty line\r\n--xx--", "--xx junk\r\n\r\n--xx--"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        struct multipart m;
        struct multipart_part p;
        assert_int_equal(multipart_begin(&m, STR(TYPE), str_from(bodies[i])), ERR_OK);
        assert_int_equal(multipart_next(&m, &p), ERR_INVALID);
    }
}

static void multipart_types_without_boundary_are_refused(void **state) {
    (void)state;
    struct multipart m;
    assert_int_equal(multipart_begin(&m, STR("multipart/form-data"), STR("x")), ERR_INVALID);
    assert_int_equal(multipart_begin(&m, STR("multipart/mixed; boundary=x"), STR("x")),
                     ERR_INVALID);
    assert_int_equal(multipart_begin(&m, STR("multipart/form-data; boundary=\"a b\""), STR("x")),
                     ERR_OK);
    assert_true(str_eqz(m.boundary, "a b"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(multipart_fields_and_files_come_in_order),
        cmocka_unit_test(multipart_broken_bodies_are_refused),
        cmocka_unit_test(multipart_types_without_boundary_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
