#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/metrics.h"

static void without_leaves_out_what_another_counts(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    metric_add(M_ENGINE_STEPS, 3);
    metrics_render_without(&b, "parley_engine_");
    assert_non_null(strstr(b.p, "parley_http_requests_total"));
    assert_null(strstr(b.p, "parley_engine_"));
    buf_clear(&b);
    metrics_render(&b);
    assert_non_null(strstr(b.p, "\nparley_engine_steps_total 3\n"));
    buf_deinit(&b);
}

static void lines_of_another_process_are_added_by_prefix(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    metrics_add_lines(&b,
                      STR("# HELP parley_http_requests_total x\n# TYPE parley_http_requests_total "
                          "counter\nparley_http_requests_total 1\n# HELP parley_engine_steps_total "
                          "y\n# TYPE parley_engine_steps_total counter\nparley_engine_steps_total 7"
                          "\nother parley_engine_ 1\n#\n\n"),
                      "parley_engine_");
    assert_string_equal(b.p, "# HELP parley_engine_steps_total y\n# TYPE "
                             "parley_engine_steps_total counter\nparley_engine_steps_total 7\n");
    buf_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_leaves_out_what_another_counts),
        cmocka_unit_test(lines_of_another_process_are_added_by_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
