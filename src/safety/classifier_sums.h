/* The classifier's long loops, made for the processor at hand (AVX-512, AVX2, or what any has). All
 * of them give the same bits: sums of integers, and products that are added in one order and never
 * fused (CMakeLists.txt switches that off), so that a text is judged alike on any machine. */
#pragma once

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SUMS_HEADS   16 /* width of an output's row */
#define SUMS_DIM_MAX 64
#define SUMS_ABREAST 4
#define SUMS_PRIME   16777619u /* of FNV-1a, 32 bits (Fowler, Noll, Vo) */
#define SUMS_BASIS   2166136261u

static inline uint32_t sums_mix(uint32_t h) { /* the finaliser of MurmurHash3 (Appleby) */
    h ^= h >> 16;
    h *= 0x85ebca6bu;
    h ^= h >> 13;
    h *= 0xc2b2ae35u;
    return h ^ h >> 16;
}

static inline bool sums_all_finite(const float *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(p[i]))
            return false;
    return true;
}

struct classifier_sums {
    const char *name;
    /* The rows of the pieces of 3, 4 and 5 bytes that begin at p[0], …, p[count - 1] and end before
     * p + n: sums_mix() of FNV-1a from SUMS_BASIS + length, >> shift. At most 3 * count numbers, in
     * any order; returns how many. */
    size_t (*piece_rows)(const uint8_t *p, size_t count, size_t n, unsigned shift, uint32_t *ret);
    /* sum[d] += table[rows[i] * dim + d] for each of the n rows; dim <= SUMS_DIM_MAX */
    void (*add_rows)(const int8_t *table, uint32_t dim, const uint32_t *rows, size_t n,
                     int32_t *sum);
    /* out[j] += x[i] * w[i * width + j] for each i < n, in that order */
    void (*add_products)(const float *w, uint32_t width, const float *x, size_t n, float *out);
    /* The same of up to SUMS_ABREAST inputs at once, bit for bit: weights are read once for all. */
    void (*add_products_abreast)(const float *w, uint32_t width, const float *const x[SUMS_ABREAST],
                                 size_t count, size_t n, float *const out[SUMS_ABREAST]);
    /* The same with weights of a byte, not aligned. */
    void (*add_bytes)(const int8_t *w, uint32_t width, const float *x, size_t n, float *out);
    /* The same for a width of SUMS_HEADS; every fourth i is added up by itself first. */
    void (*add_heads)(const float *w, const float *x, size_t n, float out[SUMS_HEADS]);
};

/* The fastest that this processor runs. The n-th of all that it runs, for the test that they agree:
 * NULL when there are no more. */
const struct classifier_sums *classifier_sums_best(void);
const struct classifier_sums *classifier_sums_nth(size_t n);
