#include <math.h>
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

#include "engine/attention.h"
#include "engine/llama_library.h"

#define NO_CPU 77 /* ctest's "skipped": this CPU has not what the kernels need */

static uint32_t seed = 1;

static float draw(void) {
    seed = seed * 1664525u + 1013904223u;
    return (float)((int)(seed >> 8) % 2001 - 1000) / 377.0f;
}

static float halved(float x) {
    return ggml_fp16_to_fp32(ggml_fp32_to_fp16(x));
}

static float *random_floats(size_t n) {
    float *ret = malloc(n * sizeof(*ret));
    for (size_t i = 0; i < n; i++)
        ret[i] = draw();
    return ret;
}

static ggml_fp16_t *random_halves(size_t n) {
    ggml_fp16_t *ret = malloc(n * sizeof(*ret));
    for (size_t i = 0; i < n; i++)
        ret[i] = ggml_fp32_to_fp16(draw());
    return ret;
}

/* As attention.h says that a sum is made. */
static float in_parts(size_t lanes, size_t n, const float *a, const float *b) {
    float parts[16] = {0};
    for (size_t i = 0; i < n; i++)
        parts[i % lanes] = fmaf(a[i], b[i], parts[i % lanes]);
    for (size_t half = lanes / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            parts[i] += parts[i + half];
    return parts[0];
}

static void compare_scores(const struct attention_kernel *k, size_t width, size_t queries) {
    const size_t stride = width + 24;
    ggml_fp16_t *keys = random_halves(k->lanes * stride);
    float *turned = malloc(width * k->lanes * sizeof(float)), *q = random_floats(queries * width);
    float *got = malloc(queries * (k->lanes + 5) * sizeof(float));
    float *key = malloc(width * sizeof(float));
    k->turn(width, keys, stride, turned);
    k->score(width, turned, queries, q, got, k->lanes + 5);
    for (size_t cell = 0; cell < k->lanes; cell++)
        for (size_t i = 0; i < queries; i++) {
            for (size_t j = 0; j < width; j++)
                key[j] = ggml_fp16_to_fp32(keys[cell * stride + j]);
            float want = in_parts(k->lanes, width, key, q + i * width);
            assert_memory_equal(&got[i * (k->lanes + 5) + cell], &want, sizeof(want));
        }
    free(keys), free(turned), free(q), free(got), free(key);
}

static void compare_mixtures(const struct attention_kernel *k, size_t cells, size_t dims,
                             size_t queries) {
    const size_t stride = cells + 16;
    float *values = random_floats(dims * stride), *shares = random_floats(queries * stride);
    float *got = malloc(queries * dims * sizeof(float));
    k->mix(cells, dims, values, queries, shares, stride, got);
    for (size_t i = 0; i < queries; i++)
        for (size_t d = 0; d < dims; d++) {
            float want = in_parts(k->lanes, cells, values + d * stride, shares + i * stride);
            assert_memory_equal(&got[i * dims + d], &want, sizeof(want));
        }
    free(values), free(shares), free(got);
}

static void sums_have_the_parts_and_the_order_that_are_promised(void **state) {
    (void)state;
    for (size_t lanes = 8; lanes <= 16; lanes += 8) {
        const struct attention_kernel *k = attention_kernel_get(lanes);
        for (size_t queries = 1; k && queries <= 9; queries++)
            for (size_t width = 16; width <= 256; width += 48)
                compare_scores(k, width, queries);
        for (size_t queries = 1; k && queries <= k->queries; queries++) {
            compare_mixtures(k, 16, 4, queries);
            compare_mixtures(k, 336, 64, queries);
        }
    }
    assert_null(attention_kernel_get(4));
}

static void compare_rows(const struct attention_kernel *k, size_t n) {
    float *x = random_floats(n), *mask = random_floats(n), *got = malloc(n * sizeof(float));
    float want_max = -INFINITY, max = k->weigh(n, x, 0.3f, mask, got);
    for (size_t i = 0; i < n; i++) {
        volatile float product = x[i] * 0.3f; /* rounded before the mask is added */
        float want = product + mask[i];
        assert_memory_equal(&got[i], &want, sizeof(want));
        want_max = want > want_max ? want : want_max;
        x[i] = i < n / 2 ? x[i] : -INFINITY;
    }
    assert_true(max == want_max);
    x[n / 2] = n % 2 ? NAN : 1;
    assert_int_equal(k->length(n, x, -INFINITY), n / 2 + 1);
    memset(x, 0, n * sizeof(*x));
    assert_int_equal(k->length(n, x, 0), 0);
    free(x), free(mask), free(got);
}

static void rows_are_weighed_and_measured_whatever_their_length(void **state) {
    (void)state;
    float x[16], got[16];
    ggml_fp16_t halves[16];
    for (size_t lanes = 8; lanes <= 16; lanes += 8) {
        const struct attention_kernel *k = attention_kernel_get(lanes);
        for (size_t n = 1; k && n <= 70; n++)
            compare_rows(k, n);
        for (size_t i = 0; i < 16; i++)
            halves[i] = ggml_fp32_to_fp16(x[i] = draw() * 1e-5f);
        for (size_t i = 0; k && i < 2; i++) {
            i ? k->widen(16, halves, halves, got) : k->round(16, x, got);
            for (size_t j = 0; j < 16; j++)
                assert_true(got[j] == halved(x[j]));
        }
    }
}

struct shape {
    int64_t width, heads, shared, queries, held, streams; /* shared: key heads */
};

/* Attention as llama.cpp builds it; plain: looked at so that none of our kernels is asked for. */
struct attention {
    struct ggml_context *all;
    struct ggml_tensor *k, *v, *q, *mask, *out[3];
    ggml_backend_buffer_t buffer;
};

#define ROW 1024 /* cells */

static void build(struct attention *a, struct shape s, int64_t cells, bool plain) {
    struct ggml_init_params some = {64 * ggml_tensor_overhead(), NULL, true};
    struct ggml_context *c = a->all = ggml_init(some);
    const size_t width = (size_t)s.width, heads = (size_t)s.shared, half = sizeof(ggml_fp16_t);
    a->k = ggml_new_tensor_3d(c, GGML_TYPE_F16, s.width * s.shared, ROW, s.streams);
    a->v = ggml_new_tensor_3d(c, GGML_TYPE_F16, s.width * s.shared, ROW, s.streams);
    a->q = ggml_new_tensor_4d(c, GGML_TYPE_F32, s.width, s.heads, s.queries, s.streams);
    a->mask = ggml_new_tensor_4d(c, plain ? GGML_TYPE_F16 : GGML_TYPE_F32, cells, s.queries, 1,
                                 s.streams);
    struct ggml_tensor *k, *v, *q = ggml_permute(c, a->q, 0, 2, 1, 3);
    if (plain) {
        k = ggml_view_4d(c, a->k, s.width, cells, s.shared, s.streams, heads * width * half,
                         width * half, ROW * heads * width * half, 0);
        v = ggml_view_4d(c, a->v, cells, s.width, s.shared, s.streams, ROW * half,
                         ROW * width * half, ROW * heads * width * half, 0);
    } else {
        k = ggml_view_4d(c, a->k, s.width, s.shared, cells, s.streams, width * half,
                         heads * width * half, ROW * heads * width * half, 0);
        v = ggml_view_4d(c, a->v, cells, s.shared, s.width, s.streams, ROW * width * half,
                         ROW * half, ROW * heads * width * half, 0);
        k = ggml_permute(c, k, 0, 2, 1, 3);
        v = ggml_permute(c, v, 0, 2, 1, 3);
    }
    a->out[0] = ggml_mul_mat(c, k, q);
    a->out[1] = ggml_soft_max_ext(c, a->out[0], a->mask, 0.125f, 0);
    a->out[2] = ggml_mul_mat(c, v, a->out[1]);
}

/* The i-th query of a stream sees what is held and what came with it. */
static void set_mask(struct attention *a, struct shape s, int64_t cells) {
    for (int64_t i = 0; i < s.queries * s.streams; i++)
        for (int64_t j = 0; j < cells; j++) {
            float x = j <= s.held + i % s.queries ? 0 : -INFINITY;
            if (a->mask->type == GGML_TYPE_F16)
                ((ggml_fp16_t *)a->mask->data)[i * cells + j] = ggml_fp32_to_fp16(x);
            else
                ((float *)a->mask->data)[i * cells + j] = x;
        }
}

static void compute(struct attention *a, struct shape s, int threads, bool plain, bool behind) {
    const int64_t cells = (s.held + s.queries + 255) / 256 * 256;
    build(a, s, cells, plain);
    ggml_backend_t cpu = ggml_backend_cpu_init();
    a->buffer = ggml_backend_alloc_ctx_tensors(a->all, cpu);
    seed = 7;
    for (int64_t i = 0; i < ggml_nelements(a->k); i++) {
        ((ggml_fp16_t *)a->k->data)[i] = ggml_fp32_to_fp16(draw());
        ((ggml_fp16_t *)a->v->data)[i] = ggml_fp32_to_fp16(draw());
        if (behind && i % ROW >= s.held + s.queries)
            ((ggml_fp16_t *)a->v->data)[i] = 0x7e00; /* not a number */
    }
    for (int64_t i = 0; i < ggml_nelements(a->q); i++)
        ((float *)a->q->data)[i] = draw();
    set_mask(a, s, cells);
    struct ggml_init_params some = {ggml_graph_overhead() + 4096, NULL, true};
    struct ggml_context *of_graph = ggml_init(some);
    struct ggml_cgraph *graph = ggml_new_graph(of_graph);
    ggml_build_forward_expand(graph, a->out[2]);
    ggml_backend_cpu_set_n_threads(cpu, threads);
    assert_int_equal(ggml_backend_graph_compute(cpu, graph), GGML_STATUS_SUCCESS);
    ggml_free(of_graph);
    ggml_backend_free(cpu);
}

static void attention_free(struct attention *a) {
    ggml_backend_buffer_free(a->buffer);
    ggml_free(a->all);
}

static void backend_computes_what_it_computes_without(void **state) {
    (void)state;
    static const struct shape shapes[] = {{64, 9, 3, 46, 850, 1}, {64, 14, 2, 2, 100, 1},
                                          {128, 4, 4, 7, 300, 1}, {80, 3, 1, 13, 0, 1},
                                          {64, 6, 2, 5, 250, 2},  {64, 9, 3, 1, 40, 1},
                                          {48, 4, 2, 33, 223, 1}, {40, 4, 2, 3, 9, 1}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        for (int threads = 1; threads <= 3; threads++) {
            struct attention ours, plain;
            compute(&ours, shapes[i], threads, false, false);
            compute(&plain, shapes[i], threads, true, false);
            for (int op = 0; op < 3; op++) {
                assert_int_equal(ggml_nbytes(ours.out[op]), ggml_nbytes(plain.out[op]));
                assert_memory_equal(ours.out[op]->data, plain.out[op]->data,
                                    ggml_nbytes(plain.out[op]));
            }
            attention_free(&ours);
            attention_free(&plain);
        }
}

/* In steps of the lanes, which 112 is. It also tells that the kernels are asked: 0 times what is
 * not a number is none either. */
static void cells_that_nobody_sees_do_not_count(void **state) {
    (void)state;
    const struct shape s = {64, 4, 2, 8, 104, 1};
    struct attention ours, plain;
    compute(&ours, s, 2, false, true);
    compute(&plain, s, 2, true, true);
    for (int64_t i = 0; i < ggml_nelements(ours.out[2]); i++) {
        assert_false(isnan(((float *)ours.out[2]->data)[i]));
        assert_true(isnan(((float *)plain.out[2]->data)[i]));
    }
    attention_free(&ours);
    attention_free(&plain);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_have_the_parts_and_the_order_that_are_promised),
        cmocka_unit_test(rows_are_weighed_and_measured_whatever_their_length),
        cmocka_unit_test(backend_computes_what_it_computes_without),
        cmocka_unit_test(cells_that_nobody_sees_do_not_count),
    };
    llama_library_init();
    if (!attention_kernel_get(ggml_cpu_has_avx512() ? 16 : 8))
        return NO_CPU;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
