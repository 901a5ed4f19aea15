#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include <ggml-backend.h>

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_buffer_that_is_cleared_takes_no_memory),
        cmocka_unit_test(every_buffer_is_filled_with_what_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
