/* See classifier_layers.h. */
#include "safety/classifier_layers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EMBEDDING_MAX 4096u
#define NUMBERS_MAX   8192u
#define UNITS_MAX     512u
#define FLAGS         2u /* is an answer, is a passage */
#define BLOCK         256u
#define FACTOR_MAX    1e8f /* of any number that is stored: so all products and sums are finite */

struct classifier_layers {
    uint32_t embedding, numbers, units, heads;
    float keep;
    const int8_t *v1;   /* the caller's: rows of `units`, a byte each as they are stored */
    float *by;          /* owned: a number of each input */
    float *scale;       /* of units; these point into by's memory */
    float *c1;          /* of units */
    float *v2;          /* rows of SUMS_HEADS */
    float *c2;          /* of SUMS_HEADS */
    float *calibration; /* a and b of each head */
};

static bool take(struct str *s, void *to, size_t bytes) {
    if (bytes > s->n)
        return false;
    memcpy(to, s->p, bytes);
    *s = str_sub(*s, bytes, s->n);
    return true;
}

static size_t inputs_of(const struct classifier_layers *l) {
    return (size_t)l->embedding + l->numbers + FLAGS;
}

static bool take_weights(struct classifier_layers *l, struct str *s) {
    size_t padded = (inputs_of(l) * l->units + 3) / 4 * 4;
    if (!take(s, &l->keep, sizeof l->keep) || !take(s, l->scale, l->units * sizeof(float)) ||
        !take(s, l->by, inputs_of(l) * sizeof(float)) || padded > s->n)
        return false;
    l->v1 = (const int8_t *)s->p;
    *s = str_sub(*s, padded, s->n);
    if (!take(s, l->c1, l->units * sizeof(float)))
        return false;
    for (uint32_t u = 0; u < l->units; u++)
        if (!take(s, l->v2 + (size_t)u * SUMS_HEADS, l->heads * sizeof(float)))
            return false;
    return take(s, l->c2, l->heads * sizeof(float)) &&
           take(s, l->calibration, (size_t)2 * l->heads * sizeof(float)) && s->n == 0;
}

static bool is_sensible(const float *v, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(v[i]) <= FACTOR_MAX)) /* NaN is not */
            return false;
    return true;
}

struct classifier_layers *classifier_layers_parse(struct str section, uint32_t embedding,
                                                  uint32_t heads, bool *ret_nomem) {
    uint32_t size[2];
    *ret_nomem = false;
    if (!take(&section, size, sizeof size) || size[0] < 1 || size[0] > NUMBERS_MAX || size[1] < 1 ||
        size[1] > UNITS_MAX || heads > SUMS_HEADS || embedding > EMBEDDING_MAX)
        return NULL;
    struct classifier_layers *l = calloc(1, sizeof *l);
    if (l) {
        l->embedding = embedding;
        l->numbers = size[0];
        l->units = size[1];
        l->heads = heads;
    }
    size_t all =
        l ? inputs_of(l) + (size_t)l->units * (2 + SUMS_HEADS) + SUMS_HEADS + 2u * heads : 0;
    if (!l || !(l->by = calloc(all, sizeof(float)))) {
        free(l);
        *ret_nomem = true;
        return NULL;
    }
    l->scale = l->by + inputs_of(l);
    l->c1 = l->scale + l->units;
    l->v2 = l->c1 + l->units;
    l->c2 = l->v2 + (size_t)l->units * SUMS_HEADS;
    l->calibration = l->c2 + SUMS_HEADS;
    if (!take_weights(l, &section) || !is_sensible(&l->keep, 1) || !is_sensible(l->by, all)) {
        classifier_layers_free(l);
        return NULL;
    }
    return l;
}

void classifier_layers_free(struct classifier_layers *l) {
    if (!l)
        return;
    free(l->by);
    free(l);
}

uint32_t classifier_layers_numbers(const struct classifier_layers *l) {
    return l->numbers;
}

const float *classifier_layers_calibration(const struct classifier_layers *l) {
    return l->calibration;
}

bool classifier_layers_had(const struct classifier_layers *l, const float *row) {
    for (uint32_t i = 0; i < l->numbers; i++)
        if (row[l->embedding + i] != 0)
            return true;
    return false;
}

/* sum[u] += by[i] * x[i] * v1[i][u] of the inputs from `from` on, a block of them after the other.
 */
static void add_inputs(const struct classifier_layers *l, const struct classifier_sums *sums,
                       const float *x, size_t from, size_t n, float *sum) {
    float scaled[BLOCK];
    for (size_t i = 0; i < n; i += BLOCK) {
        size_t m = n - i < BLOCK ? n - i : BLOCK;
        for (size_t k = 0; k < m; k++)
            scaled[k] = x[i + k] * l->by[from + i + k];
        sums->add_bytes(l->v1 + (from + i) * l->units, l->units, scaled, m, sum);
    }
}

void classifier_layers_mix(const struct classifier_layers *l, const struct classifier_sums *sums,
                           const float *row, enum safety_direction direction, float *logits) {
    float h[UNITS_MAX] = {0}, out[SUMS_HEADS];
    const float flags[FLAGS] = {direction == SAFETY_OUTPUT, direction == SAFETY_PASSAGE};
    const size_t read = (size_t)l->embedding + l->numbers;
    memcpy(out, l->c2, sizeof out);
    add_inputs(l, sums, row, 0, read, h);
    add_inputs(l, sums, flags, read, FLAGS, h);
    for (uint32_t u = 0; u < l->units; u++) {
        h[u] = l->c1[u] + h[u] * l->scale[u];
        if (!(h[u] > 0))
            h[u] = 0;
    }
    sums->add_heads(l->v2, h, l->units, out);
    for (uint32_t i = 0; i < l->heads; i++)
        logits[i] = l->keep * logits[i] + out[i];
}
