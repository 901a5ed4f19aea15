/* base/vector. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/vector.h"

static void dot_of_any_length(void **state) {
    (void)state;
    float a[19], b[19];
    for (int i = 0; i < 19; i++)
        a[i] = (float)(i + 1), b[i] = i % 2 ? -1 : 1;
    assert_true(vector_dot(a, b, 0) == 0);
    assert_true(vector_dot(a, b, 1) == 1);
    assert_true(vector_dot(a, b, 8) == -4);
    assert_true(vector_dot(a, b, 19) == 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(dot_of_any_length)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
