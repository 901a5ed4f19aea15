#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "safety/classifier_sums.h"

#define ROWS 300
#define DIM  SUMS_DIM_MAX

static uint32_t seed = 1;

static uint32_t number(void) {
    seed = seed * 1664525 + 1013904223;
    return seed >> 8;
}

static float small(void) {
    return ((float)(number() % 20001) - 10000) / 7919;
}

static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void pieces_are_numbered_alike_by_all(void **state) {
    (void)state;
    const struct classifier_sums *s, *plain = NULL;
    uint32_t want[3 * 70], got[3 * 70 + 1];
    for (size_t n = 0; (s = classifier_sums_nth(n)); n++)
        plain = s;
    for (size_t n = 3; n < 70; n++) {
        uint8_t *p = malloc(n); /* of this size: a read past it is seen */
        assert_non_null(p);
        for (size_t i = 0; i < n; i++)
            p[i] = (uint8_t)number();
        for (size_t count = 1; count <= n - 2; count++) {
            size_t m = plain->piece_rows(p, count, n, 16, want);
            qsort(want, m, sizeof *want, by_number);
            for (size_t k = 0; (s = classifier_sums_nth(k)); k++) {
                got[m] = 77;
                assert_int_equal(s->piece_rows(p, count, n, 16, got), m);
                assert_int_equal(got[m], 77);
                qsort(got, m, sizeof *got, by_number);
                assert_memory_equal(got, want, m * sizeof *got);
            }
        }
        free(p);
    }
}

static void rows_are_summed_alike_by_all(void **state) {
    (void)state;
    const struct classifier_sums *s;
    uint32_t rows[ROWS];
    for (size_t n = 0; (s = classifier_sums_nth(n)); n++)
        for (uint32_t dim = 4; dim <= DIM; dim += 4) {
            int8_t *table = malloc((size_t)ROWS * dim); /* of this size: a read past it is seen */
            int32_t want[DIM] = {0}, got[DIM + 1] = {0};
            assert_non_null(table);
            for (size_t i = 0; i < (size_t)ROWS * dim; i++)
                table[i] = (int8_t)(number() % 256 - 128);
            for (int i = 0; i < ROWS; i++) {
                rows[i] = i ? number() % ROWS : ROWS - 1;
                for (uint32_t d = 0; d < dim; d++)
                    want[d] += table[rows[i] * dim + d];
            }
            got[dim] = 77;
            s->add_rows(table, dim, rows, 100, got);
            s->add_rows(table, dim, rows + 100, ROWS - 100, got);
            s->add_rows(table, dim, rows, 0, got);
            assert_memory_equal(got, want, dim * sizeof *want);
            for (uint32_t d = 0; d < dim; d++) { /* the least and the greatest sum of all */
                table[d] = d % 2 ? -128 : 127;
                want[d] += ROWS * table[d];
            }
            memset(rows, 0, sizeof rows);
            s->add_rows(table, dim, rows, ROWS, got);
            assert_memory_equal(got, want, dim * sizeof *want);
            assert_int_equal(got[dim], 77);
            free(table);
        }
}

/* Bit for bit. */
static void products_are_summed_alike_by_all(void **state) {
    (void)state;
    static const uint32_t widths[] = {1, 7, 16, 33, 64, 100, 511, 512};
    const struct classifier_sums *first = classifier_sums_nth(0), *s;
    float x[67];
    for (int i = 0; i < 67; i++)
        x[i] = i % 9 ? small() : 0;
    for (size_t k = 0; k < sizeof widths / sizeof *widths; k++) {
        uint32_t width = widths[k];
        float *w = malloc(67 * width * sizeof *w), want[512], got[512], start[512];
        assert_non_null(w);
        for (size_t i = 0; i < 67 * width; i++)
            w[i] = small();
        for (uint32_t i = 0; i < width; i++)
            start[i] = want[i] = small();
        first->add_products(w, width, x, 67, want);
        for (size_t n = 1; (s = classifier_sums_nth(n)); n++) {
            memcpy(got, start, sizeof got);
            s->add_products(w, width, x, 67, got);
            assert_memory_equal(got, want, width * sizeof *got);
        }
        double sum = start[0];
        for (int i = 0; i < 67; i++)
            sum += (double)x[i] * w[(size_t)i * width];
        assert_float_equal(want[0], sum, 1e-3);
        free(w);
    }
}

/* Bit for bit, as one after the other. */
static void products_abreast_are_those_of_each(void **state) {
    (void)state;
    static const uint32_t widths[] = {1, 16, 33, 64, 100, 512};
    const struct classifier_sums *s;
    float x[SUMS_ABREAST][67], want[SUMS_ABREAST][512], got[SUMS_ABREAST][512];
    float start[SUMS_ABREAST][512];
    const float *in[SUMS_ABREAST];
    float *out[SUMS_ABREAST];
    for (size_t k = 0; k < sizeof widths / sizeof *widths; k++) {
        float *w = malloc(67 * widths[k] * sizeof *w);
        assert_non_null(w);
        for (size_t i = 0; i < 67 * widths[k]; i++)
            w[i] = small();
        for (size_t n = 0; (s = classifier_sums_nth(n)); n++) {
            for (size_t a = 0; a < SUMS_ABREAST; a++) {
                in[a] = x[a];
                out[a] = got[a];
                for (int i = 0; i < 67; i++)
                    x[a][i] = i % 9 ? small() : 0;
                for (uint32_t i = 0; i < widths[k]; i++)
                    want[a][i] = start[a][i] = small();
                s->add_products(w, widths[k], x[a], 67, want[a]);
            }
            for (size_t count = 0; count <= SUMS_ABREAST; count++) {
                for (size_t a = 0; a < count; a++)
                    memcpy(got[a], start[a], sizeof got[a]);
                s->add_products_abreast(w, widths[k], in, count, 67, out);
                for (size_t a = 0; a < count; a++)
                    assert_memory_equal(got[a], want[a], widths[k] * sizeof **got);
            }
        }
        free(w);
    }
}

/* Bit for bit, whatever the address. */
static void products_with_bytes_are_summed_alike_by_all(void **state) {
    (void)state;
    static const uint32_t widths[] = {1, 7, 16, 33, 64, 100, 511, 512};
    const struct classifier_sums *first = classifier_sums_nth(0), *s;
    float x[67];
    for (int i = 0; i < 67; i++)
        x[i] = i % 9 ? small() : 0;
    for (size_t k = 0; k < sizeof widths / sizeof *widths; k++) {
        uint32_t width = widths[k];
        int8_t *block = malloc(67 * width + 1), *w = block + 1;
        float want[512], got[512], start[512];
        assert_non_null(block);
        for (size_t i = 0; i < 67 * width; i++)
            w[i] = (int8_t)(number() % 256 - 128);
        for (uint32_t i = 0; i < width; i++)
            start[i] = want[i] = small();
        first->add_bytes(w, width, x, 67, want);
        for (size_t n = 1; (s = classifier_sums_nth(n)); n++) {
            memcpy(got, start, sizeof got);
            s->add_bytes(w, width, x, 67, got);
            assert_memory_equal(got, want, width * sizeof *got);
        }
        double sum = start[width - 1];
        for (size_t i = 0; i < 67; i++)
            sum += (double)x[i] * w[i * width + width - 1];
        assert_float_equal(want[width - 1], sum, 1e-2);
        free(block);
    }
}

static void heads_are_summed_alike_by_all(void **state) {
    (void)state;
    const struct classifier_sums *first = classifier_sums_nth(0), *s;
    for (size_t n = 0; n < 40; n += n < 10 ? 1 : 7) {
        float *w = malloc((n + 1) * SUMS_HEADS * sizeof *w), x[40], want[SUMS_HEADS] = {0};
        assert_non_null(w);
        for (size_t i = 0; i < n; i++)
            x[i] = small();
        for (size_t i = 0; i < n * SUMS_HEADS; i++)
            w[i] = small();
        first->add_heads(w, x, n, want);
        for (size_t k = 1; (s = classifier_sums_nth(k)); k++) {
            float got[SUMS_HEADS] = {0};
            s->add_heads(w, x, n, got);
            assert_memory_equal(got, want, sizeof got);
        }
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += (double)x[i] * w[i * SUMS_HEADS + 3];
        assert_float_equal(want[3], sum, 1e-3);
        free(w);
    }
}

static void the_plain_one_is_always_there(void **state) {
    (void)state;
    size_t n = 0;
    while (classifier_sums_nth(n))
        n++;
    assert_true(n >= 1);
    assert_string_equal(classifier_sums_nth(n - 1)->name, "plain");
    assert_ptr_equal(classifier_sums_best(), classifier_sums_nth(0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_numbered_alike_by_all),
        cmocka_unit_test(rows_are_summed_alike_by_all),
        cmocka_unit_test(products_are_summed_alike_by_all),
        cmocka_unit_test(products_abreast_are_those_of_each),
        cmocka_unit_test(products_with_bytes_are_summed_alike_by_all),
        cmocka_unit_test(heads_are_summed_alike_by_all),
        cmocka_unit_test(the_plain_one_is_always_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
