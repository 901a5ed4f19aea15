#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include <ggml-backend.h>

#include <ggml.h>

#include "engine/copies.h"
#include "engine/lazy_buffer.h"
#include "engine/llama_library.h"

#define LARGE ((size_t)96 << 20)

static size_t resident(void) {
    long long size, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lld %lld", &size, &pages), 2);
    fclose(f);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void assert_all(const unsigned char *p, size_t n, unsigned char value) {
    size_t i = 0;
    while (i < n && p[i] == value)
        i++;
    assert_int_equal(i, n);
}

static ggml_backend_buffer_t buffer(size_t n, unsigned char **ret) {
    llama_library_init();
    ggml_backend_buffer_t b = ggml_backend_buft_alloc_buffer(ggml_backend_cpu_buffer_type(), n);
    assert_non_null(b);
    *ret = ggml_backend_buffer_get_base(b);
    return b;
}

static void large_buffer_that_is_cleared_takes_no_memory(void **state) {
    (void)state;
    unsigned char *p;
    ggml_backend_buffer_t b = buffer(LARGE, &p);
    size_t before = resident();
    ggml_backend_buffer_clear(b, 0);
    assert_in_range(resident(), 0, before + LARGE / 4);
    for (size_t i = 0; i < LARGE; i++)
        p[i] = 7;
    size_t full = resident();
    ggml_backend_buffer_clear(b, 0);
    assert_in_range(resident(), 0, full - LARGE / 2);
    assert_all(p, LARGE, 0);
    ggml_backend_buffer_free(b);
}

static void every_buffer_is_filled_with_what_is_asked_for(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 4095, 70000, (1 << 20) + 1, (5 << 20) - 3};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *p;
        ggml_backend_buffer_t b = buffer(sizes[i], &p);
        size_t n = ggml_backend_buffer_get_size(b);
        ggml_backend_buffer_clear(b, 9);
        assert_all(p, n, 9);
        ggml_backend_buffer_clear(b, 0);
        assert_all(p, n, 0);
        ggml_backend_buffer_free(b);
    }
}

/* What the library copies into and out of a buffer is begun only while it is collected. */
static void copies_of_the_library_come_later_when_they_are_collected(void **state) {
    (void)state;
    unsigned char *p;
    char in[5] = "abcd", out[5] = "";
    ggml_backend_buffer_t b = buffer(4096, &p);
    struct ggml_init_params params = {.mem_size = 4096, .no_alloc = true};
    struct ggml_context *g = ggml_init(params);
    struct ggml_tensor *t = ggml_new_tensor_1d(g, GGML_TYPE_I8, 64);
    assert_int_equal(ggml_backend_tensor_alloc(b, t, p), GGML_STATUS_SUCCESS);
    ggml_backend_buffer_clear(b, 1);
    struct copies c = {0};
    lazy_buffers_collect(&c);
    ggml_backend_tensor_set(t, in, 3, 4);
    ggml_backend_tensor_get(t, out, 3, 4);
    lazy_buffers_collect(NULL);
    assert_int_equal(p[3], 1);
    assert_int_equal(out[0], 0);
    assert_true(copies_until(&c, INT64_MAX));
    assert_memory_equal(p + 3, "abcd", 4);
    assert_int_equal(p[7], 1);
    assert_memory_equal(out, "abcd", 4);
    ggml_backend_tensor_set(t, "x", 3, 1);
    ggml_backend_tensor_get(t, out, 3, 1);
    assert_int_equal(p[3], 'x');
    assert_int_equal(out[0], 'x');
    assert_false(copies_left(&c));
    copies_deinit(&c);
    ggml_free(g);
    ggml_backend_buffer_free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_buffer_that_is_cleared_takes_no_memory),
        cmocka_unit_test(every_buffer_is_filled_with_what_is_asked_for),
        cmocka_unit_test(copies_of_the_library_come_later_when_they_are_collected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
