#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>

#include "engine/llama_library.h"
#include "engine/q8_panels.h"

#define NO_CPU 77 /* ctest's "skipped": this CPU has not what panels need */

static uint32_t seed = 1;

static uint32_t draw(void) {
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

/* Rows as a file may hold them: all bytes, and scales of either sign. */
static unsigned char *random_rows(size_t rows, size_t blocks) {
    unsigned char *all = malloc(rows * blocks * Q8_BLOCK_BYTES);
    for (size_t i = 0; i < rows * blocks; i++) {
        unsigned char *block = all + i * Q8_BLOCK_BYTES;
        uint16_t half = (uint16_t)(0x1c00 + draw() % 0x800 + (draw() % 2 ? 0x8000 : 0));
        memcpy(block, &half, 2);
        for (int j = 0; j < Q8_BLOCK; j++)
            block[2 + j] = (unsigned char)(draw() % 8 == 0 ? 0x80 : draw());
    }
    return all;
}

/* As ggml makes them: -127 to 127. */
static unsigned char *random_activations(size_t columns, size_t blocks) {
    unsigned char *all = random_rows(columns, blocks);
    for (size_t i = 0; i < columns * blocks; i++)
        for (int j = 2; j < Q8_BLOCK_BYTES; j++)
            if (all[i * Q8_BLOCK_BYTES + j] == 0x80)
                all[i * Q8_BLOCK_BYTES + j] = 0x81;
    return all;
}

static void compare_products(const struct q8_kernel *k, size_t blocks, size_t columns) {
    const struct ggml_type_traits_cpu *q8 = ggml_get_type_traits_cpu(GGML_TYPE_Q8_0);
    size_t row = blocks * Q8_BLOCK_BYTES;
    unsigned char *w = random_rows(Q8_PANEL_ROWS, blocks);
    unsigned char *x = random_activations(columns, blocks);
    unsigned char *panel = malloc(Q8_PANEL_ROWS * row);
    struct q8_activation *a = calloc(columns * blocks, sizeof(*a));
    float *scales = calloc(columns * blocks, sizeof(float));
    float *got = calloc(columns * Q8_PANEL_ROWS, sizeof(float));
    k->pack(k, blocks, w, panel);
    k->take(columns * blocks, x, a, scales);
    k->multiply(blocks, panel, columns, a, scales, got, Q8_PANEL_ROWS);
    for (size_t c = 0; c < columns; c++)
        for (size_t r = 0; r < Q8_PANEL_ROWS; r++) {
            float want;
            q8->vec_dot((int)(blocks * Q8_BLOCK), &want, 0, w + r * row, 0, x + c * row, 0, 1);
            assert_memory_equal(&got[c * Q8_PANEL_ROWS + r], &want, sizeof(want));
        }
    free(w), free(x), free(panel), free(a), free(scales), free(got);
}

static void products_equal_the_librarys_to_the_bit(void **state) {
    (void)state;
    static const size_t blocks[] = {1, 3, 18, 28, 152};
    const struct q8_kernel *k;
    for (size_t i = 0; (k = q8_kernel_get(i)); i++)
        for (size_t b = 0; b < sizeof(blocks) / sizeof(*blocks); b++)
            for (size_t columns = 1; columns <= 8; columns++)
                compare_products(k, blocks[b], columns);
}

static ggml_backend_buffer_type_t panel_type(void) {
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    ggml_backend_dev_get_extra_bufts_t extra =
        (ggml_backend_dev_get_extra_bufts_t)ggml_backend_reg_get_proc_address(
            ggml_backend_dev_backend_reg(cpu), "ggml_backend_dev_get_extra_bufts");
    for (ggml_backend_buffer_type_t *t = extra(cpu); t && *t; t++) {
        assert_string_not_equal(ggml_backend_buft_name(*t), "AMX");
        if (strcmp(ggml_backend_buft_name(*t), "Q8_0 panels") == 0)
            return *t;
    }
    return NULL;
}

/* `rows` × `width` weights times `columns` × `planes` activations, computed by ggml's backend with
 * the weights in a buffer of that type. */
static float *product(ggml_backend_buffer_type_t type, int threads, const void *w, const float *x,
                      int64_t rows, int64_t width, int64_t columns, int64_t planes) {
    struct ggml_init_params some = {16 * ggml_tensor_overhead() + ggml_graph_overhead(), NULL,
                                    true};
    struct ggml_context *of_weights = ggml_init(some), *rest = ggml_init(some);
    struct ggml_tensor *weights = ggml_new_tensor_2d(of_weights, GGML_TYPE_Q8_0, width, rows);
    struct ggml_tensor *input = ggml_new_tensor_3d(rest, GGML_TYPE_F32, width, columns, planes);
    struct ggml_tensor *output = ggml_mul_mat(rest, weights, input);
    struct ggml_cgraph *graph = ggml_new_graph(rest);
    ggml_build_forward_expand(graph, output);
    ggml_backend_buffer_t b = ggml_backend_alloc_ctx_tensors_from_buft(of_weights, type);
    ggml_backend_t cpu = ggml_backend_cpu_init();
    ggml_backend_cpu_set_n_threads(cpu, threads);
    ggml_backend_buffer_t other = ggml_backend_alloc_ctx_tensors(rest, cpu);
    ggml_backend_tensor_set(weights, w, 0, ggml_nbytes(weights));
    ggml_backend_tensor_set(input, x, 0, ggml_nbytes(input));
    assert_true(ggml_backend_supports_op(cpu, output));
    assert_int_equal(ggml_backend_graph_compute(cpu, graph), GGML_STATUS_SUCCESS);
    float *ret = malloc(ggml_nbytes(output));
    ggml_backend_tensor_get(output, ret, 0, ggml_nbytes(output));
    ggml_backend_buffer_free(b);
    ggml_backend_buffer_free(other);
    ggml_backend_free(cpu);
    ggml_free(of_weights);
    ggml_free(rest);
    return ret;
}

static void backend_computes_with_panels_what_it_computes_without(void **state) {
    (void)state;
    static const struct {
        int64_t rows, width, columns, planes;
    } shapes[] = {{16, 32, 1, 1},    {48, 576, 1, 1},   {176, 896, 5, 1},
                  {320, 4864, 2, 1}, {80, 2400, 64, 1}, {64, 384, 7, 3}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        for (int threads = 1; threads <= 3; threads++) {
            int64_t rows = shapes[i].rows, width = shapes[i].width, n = shapes[i].columns,
                    planes = shapes[i].planes;
            unsigned char *w = random_rows((size_t)rows, (size_t)width / Q8_BLOCK);
            float *x = malloc(sizeof(float) * (size_t)(width * n * planes));
            for (int64_t j = 0; j < width * n * planes; j++)
                x[j] = (float)((int)(draw() % 2001) - 1000) / 250.0f;
            float *plain =
                product(ggml_backend_cpu_buffer_type(), threads, w, x, rows, width, n, planes);
            float *ours = product(panel_type(), threads, w, x, rows, width, n, planes);
            assert_memory_equal(ours, plain, sizeof(float) * (size_t)(rows * n * planes));
            free(w), free(x), free(plain), free(ours);
        }
}

static void rows_that_fill_no_panel_are_left_to_the_library(void **state) {
    (void)state;
    struct ggml_init_params some = {32 * ggml_tensor_overhead(), NULL, true};
    struct ggml_context *c = ggml_init(some);
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    static const struct {
        enum ggml_type type;
        int64_t rows, first, seen; /* of `rows`, `seen` from the first on are multiplied with */
        bool taken;
    } cases[] = {{GGML_TYPE_Q8_0, 32, 0, 32, true},
                 {GGML_TYPE_Q8_0, 24, 0, 24, false},
                 {GGML_TYPE_F16, 32, 0, 32, false},
                 {GGML_TYPE_Q8_0, 48, 16, 32, true},
                 {GGML_TYPE_Q8_0, 48, 8, 16, false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct ggml_tensor *all = ggml_new_tensor_2d(c, cases[i].type, 64, cases[i].rows);
        struct ggml_tensor *w = ggml_view_2d(c, all, 64, cases[i].seen, all->nb[1],
                                             (size_t)cases[i].first * all->nb[1]);
        struct ggml_tensor *x = ggml_new_tensor_2d(c, GGML_TYPE_F32, 64, 2);
        struct ggml_tensor *op = ggml_mul_mat(c, w, x);
        w->buffer = ggml_backend_buft_alloc_buffer(panel_type(), 0); /* as llama.cpp asks */
        assert_int_equal(ggml_backend_dev_supports_op(cpu, op), cases[i].taken);
        ggml_backend_buffer_free(w->buffer);
    }
    ggml_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_equal_the_librarys_to_the_bit),
        cmocka_unit_test(backend_computes_with_panels_what_it_computes_without),
        cmocka_unit_test(rows_that_fill_no_panel_are_left_to_the_library),
    };
    llama_library_init();
    if (!q8_kernel_get(0))
        return panel_type() ? 1 : NO_CPU;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
