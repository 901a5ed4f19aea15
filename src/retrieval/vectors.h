/* Vectors in memory and the nearest ones to a query, by cosine.
 *
 * A row is int8 with a scale of its own (largest value = 127), and beside it a sketch: the signs of
 * a random rotation of it (two rounds of random signs and a Walsh-Hadamard transform), one bit a
 * dimension. The share of equal bits estimates the angle (Charikar 2002, "Similarity estimation
 * techniques from rounding algorithms"). Up to EXACT rows every row is compared; beyond, all
 * sketches are (a popcount each), and the rows of the nearest ones are compared exactly. So what is
 * filtered out or removed costs nothing else, a row is found as soon as it is added, and there is
 * no graph to build, to mend or to save.
 *
 * Not locked: one writer or many readers (shard.h). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define VECTOR_DIMENSIONS_MAX 4096
#define VECTOR_EXACT_ROWS     20000

struct vectors;

enum err vectors_new(int dimensions, struct vectors **ret) ERR_CHECK;
void vectors_free(struct vectors *v);
int vectors_dimensions(const struct vectors *v);

/* The stored form: a float scale and an int8 for each dimension. out holds vector_size(). */
size_t vector_size(int dimensions);
void vector_pack(const float *v, int dimensions, void *out);
void vector_unpack(const void *packed, int dimensions, float *ret); /* brought to length 1 again */

/* Appends row number vectors_rows(). packed is of vector_pack(); STR_NULL = a row without a vector,
 * which is never found. A packed text of another size counts as none. */
enum err vectors_add(struct vectors *v, struct str packed) ERR_CHECK;
uint32_t vectors_rows(const struct vectors *v);
bool vectors_has(const struct vectors *v, uint32_t row);
/* The packed form again; out holds vector_size(). */
void vectors_get(const struct vectors *v, uint32_t row, void *out);

struct vector_query; /* a query prepared for many rows */
enum err vector_query_new(const float *q, int dimensions, struct vector_query **ret) ERR_CHECK;
void vector_query_free(struct vector_query *q);

double vectors_similarity(const struct vectors *v, const struct vector_query *q, uint32_t row);
/* Between two packed vectors of the same size; 0 when they are not. */
double vector_packed_similarity(struct str a, struct str b);

struct scored {
    uint32_t row;
    float score;
};
/* The k nearest rows with allowed[row] == want, best first. exact: compares all rows whatever their
 * number. scratch holds vectors_rows() numbers. Returns how many. */
size_t vectors_nearest(const struct vectors *v, const struct vector_query *q,
                       const uint8_t *allowed, uint8_t want, bool exact, uint16_t *scratch,
                       struct scored *ret, size_t k);

size_t vectors_bytes(const struct vectors *v);
