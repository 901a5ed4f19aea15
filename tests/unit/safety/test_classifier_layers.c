/* The network over an embedding model's layers: a tiny one whose logits are known, damaged
 * sections, and the rows that a scorer is given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "safety/classifier_layers.h"

#define EMBEDDING 2
#define NUMBERS   2
#define UNITS     2
#define HEADS     2
#define INPUTS    (EMBEDDING + NUMBERS + 2)

static void put_floats(struct buf *b, const float *v, size_t n) {
    buf_add(b, (const char *)v, n * sizeof *v);
}

/* Unit 0 reads the embedding's first number, unit 1 the layers' second and the answer's flag. */
static void write_section(struct buf *b, uint32_t numbers, float keep) {
    const uint32_t size[] = {numbers, UNITS};
    const float scale[UNITS] = {0.5f, 0.25f}, by[INPUTS] = {1, 1, 1, 2, 1, 1}, c1[UNITS] = {-1, 0};
    const signed char v1[INPUTS][UNITS] = {{4, 0}, {0, 0}, {0, 0}, {0, 2}, {0, 8}, {0, 0}};
    const float v2[UNITS][HEADS] = {{1, 0}, {0, 3}}, c2[HEADS] = {0.25f, 0};
    const float calibration[2 * HEADS] = {1, 0, 2, -1};
    buf_init(b, 4096);
    buf_add(b, (const char *)size, sizeof size);
    put_floats(b, &keep, 1);
    put_floats(b, scale, UNITS);
    put_floats(b, by, INPUTS);
    buf_add(b, (const char *)v1, sizeof v1);
    put_floats(b, c1, UNITS);
    put_floats(b, v2[0], UNITS * HEADS);
    put_floats(b, c2, HEADS);
    put_floats(b, calibration, 2 * HEADS);
    assert_int_equal(buf_err(b), ERR_OK);
}

static struct classifier_layers *parse(struct str section) {
    bool nomem;
    struct classifier_layers *l = classifier_layers_parse(section, EMBEDDING, HEADS, &nomem);
    assert_false(nomem);
    return l;
}

static void mix_adds_its_share_to_the_logits(void **state) {
    (void)state;
    struct buf b;
    write_section(&b, NUMBERS, 0.5f);
    struct classifier_layers *l = parse(buf_str(&b));
    assert_non_null(l);
    const float row[EMBEDDING + NUMBERS] = {2, 7, 9, 0.5f};
    float logits[HEADS] = {4, -2};
    classifier_layers_mix(l, classifier_sums_best(), row, SAFETY_INPUT, logits);
    assert_float_equal(logits[0], 0.5f * 4 + (2 * 2 - 1) + 0.25f, 1e-6);
    assert_float_equal(logits[1], 0.5f * -2 + 3 * 0.5f, 1e-6);
    logits[0] = logits[1] = 0;
    classifier_layers_mix(l, classifier_sums_best(), row, SAFETY_OUTPUT, logits);
    assert_float_equal(logits[1], 3 * (0.5f + 2), 1e-6);
    assert_int_equal(classifier_layers_numbers(l), NUMBERS);
    assert_float_equal(classifier_layers_calibration(l)[3], -1, 0);
    classifier_layers_free(l);
    buf_deinit(&b);
}

static void mix_on_any_processor_gives_the_same_bits(void **state) {
    (void)state;
    struct buf b;
    write_section(&b, NUMBERS, 0.3f);
    struct classifier_layers *l = parse(buf_str(&b));
    const float row[EMBEDDING + NUMBERS] = {0.37f, 1.1f, -0.9f, 0.013f};
    float want[HEADS] = {0.1f, 0.7f}, got[HEADS];
    classifier_layers_mix(l, classifier_sums_best(), row, SAFETY_PASSAGE, want);
    for (size_t i = 0; classifier_sums_nth(i); i++) {
        got[0] = 0.1f;
        got[1] = 0.7f;
        classifier_layers_mix(l, classifier_sums_nth(i), row, SAFETY_PASSAGE, got);
        assert_memory_equal(got, want, sizeof got);
    }
    classifier_layers_free(l);
    buf_deinit(&b);
}

static void layers_of_zeros_were_not_had(void **state) {
    (void)state;
    struct buf b;
    write_section(&b, NUMBERS, 0.5f);
    struct classifier_layers *l = parse(buf_str(&b));
    assert_false(classifier_layers_had(l, (const float[]){1, 1, 0, 0}));
    assert_true(classifier_layers_had(l, (const float[]){0, 0, 0, -1e-9f}));
    classifier_layers_free(l);
    buf_deinit(&b);
}

static void damaged_sections_are_refused(void **state) {
    (void)state;
    struct buf b;
    write_section(&b, NUMBERS, 0.5f);
    for (size_t n = 0; n < b.n; n++)
        assert_null(parse(str_sub(buf_str(&b), 0, n)));
    buf_addc(&b, 0);
    assert_null(parse(buf_str(&b))); /* longer than it says */
    buf_deinit(&b);
    static const uint32_t sizes[] = {0, 1, 3, 100000, UINT32_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        write_section(&b, sizes[i], 0.5f);
        assert_null(parse(buf_str(&b)));
        buf_deinit(&b);
    }
    write_section(&b, NUMBERS, NAN);
    assert_null(parse(buf_str(&b)));
    buf_deinit(&b);
}

/* Its numbers are finite, what comes of them is not. */
static void factors_beyond_sense_are_refused(void **state) {
    (void)state;
    const size_t scale = 2 * sizeof(uint32_t) + sizeof(float);
    static const float values[] = {1e30f, -1e30f, INFINITY, NAN};
    struct buf b;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        write_section(&b, NUMBERS, 0.5f);
        for (size_t k = 0; k < UNITS + INPUTS; k++)
            memcpy(b.p + scale + k * sizeof(float), &values[i], sizeof(float));
        assert_null(parse(buf_str(&b)));
        buf_deinit(&b);
        write_section(&b, NUMBERS, values[i]);
        assert_null(parse(buf_str(&b)));
        buf_deinit(&b);
    }
}

static void rows_hold_the_layers_behind_each_embedding(void **state) {
    (void)state;
    const struct safety_scorer s = {.embedding_dims = 2, .layer_numbers = 1};
    const float vectors[] = {1, 2, 3, 4}, layers[] = {5, 6};
    float rows[6];
    safety_scorer_rows(&s, 2, vectors, layers, 1, rows);
    assert_memory_equal(rows, ((const float[]){1, 2, 5, 3, 4, 6}), sizeof rows);
    const float without[] = {1, 2, 0, 3, 4, 0};
    safety_scorer_rows(&s, 2, vectors, NULL, 0, rows);
    assert_memory_equal(rows, without, sizeof rows);
    safety_scorer_rows(&s, 2, vectors, layers, 2, rows); /* of another model */
    assert_memory_equal(rows, without, sizeof rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mix_adds_its_share_to_the_logits),
        cmocka_unit_test(mix_on_any_processor_gives_the_same_bits),
        cmocka_unit_test(layers_of_zeros_were_not_had),
        cmocka_unit_test(damaged_sections_are_refused),
        cmocka_unit_test(factors_beyond_sense_are_refused),
        cmocka_unit_test(rows_hold_the_layers_behind_each_embedding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
