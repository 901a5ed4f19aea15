/* See q8_panels.h. A panel holds the scales first (for each block those of 16 rows), then for each
 * block eight vectors of 64 bytes: the j-th has weights 4 j to 4 j + 3 of each row. Weights are
 * stored + 128, because VPDPBUSD multiplies unsigned bytes by signed ones; its sums then begin at
 * -128 times the activations' sum (q8_activation.start). */
#include "engine/q8_panels.h"

#include <string.h>

#define GROUPS 8 /* of four weights in a block */

void q8_panel_pack(size_t blocks, const void *rows, void *ret_panel) {
    const unsigned char *from = rows;
    unsigned char *scales = ret_panel, *weights = scales + 2 * Q8_PANEL_ROWS * blocks;
    for (size_t b = 0; b < blocks; b++)
        for (size_t r = 0; r < Q8_PANEL_ROWS; r++) {
            const unsigned char *block = from + (r * blocks + b) * Q8_BLOCK_BYTES;
            memcpy(scales + 2 * (b * Q8_PANEL_ROWS + r), block, 2);
            for (size_t j = 0; j < GROUPS; j++) {
                uint32_t four;
                memcpy(&four, block + 2 + 4 * j, 4);
                four ^= 0x80808080u; /* + 128 for each byte */
                memcpy(weights + 4 * ((b * GROUPS + j) * Q8_PANEL_ROWS + r), &four, 4);
            }
        }
}

#if defined(__x86_64__)

#include <immintrin.h>

#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,f16c,fma")))

bool q8_panels_usable(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

VNNI void q8_activations_take(size_t blocks, const void *q8, struct q8_activation *ret,
                              float *ret_scales) {
    const __m256i zero = _mm256_setzero_si256(), offset = _mm256_set1_epi8((char)0x80);
    for (size_t b = 0; b < blocks; b++) {
        const unsigned char *block = (const unsigned char *)q8 + b * Q8_BLOCK_BYTES;
        uint16_t half;
        memcpy(&half, block, 2);
        __m256i values = _mm256_loadu_si256((const void *)(block + 2));
        __m256i sums = _mm256_dpbusd_epi32(zero, offset, values);
        _mm256_storeu_si256((void *)ret[b].values, values);
        _mm256_storeu_si256((void *)ret[b].start, _mm256_sub_epi32(zero, sums));
        ret_scales[b] = _cvtsh_ss(half);
    }
}

#define COLUMNS 3 /* at a time: 24 of the 32 registers are sums */

/* Four values of a group, as the number that a vector is filled with. */
static inline int32_t four_of(const struct q8_activation *a, size_t group) {
    int32_t four;
    memcpy(&four, a->values + 4 * group, 4);
    return four;
}

/* `n` is a constant where this is inlined, so that the sums stay in registers. */
VNNI static inline __attribute__((always_inline)) void
multiply(size_t n, size_t blocks, const unsigned char *panel, const struct q8_activation *a,
         const float *scales, float *ret, size_t stride) {
    const unsigned char *weights = panel + 2 * Q8_PANEL_ROWS * blocks;
    __m512 sums[COLUMNS][GROUPS];
#pragma GCC unroll 3
    for (size_t c = 0; c < n; c++)
#pragma GCC unroll 8
        for (size_t j = 0; j < GROUPS; j++)
            sums[c][j] = _mm512_setzero_ps();
    for (size_t b = 0; b < blocks; b++) {
        __m512 scale[COLUMNS],
            of_weights =
                _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(panel + 2 * Q8_PANEL_ROWS * b)));
#pragma GCC unroll 3
        for (size_t c = 0; c < n; c++)
            scale[c] = _mm512_mul_ps(of_weights, _mm512_set1_ps(scales[c * blocks + b]));
#pragma GCC unroll 8
        for (size_t j = 0; j < GROUPS; j++) {
            __m512i w = _mm512_loadu_si512(weights + 64 * (b * GROUPS + j));
#pragma GCC unroll 3
            for (size_t c = 0; c < n; c++) {
                const struct q8_activation *x = a + c * blocks + b;
                __m512i products = _mm512_dpbusd_epi32(_mm512_set1_epi32(x->start[j]), w,
                                                       _mm512_set1_epi32(four_of(x, j)));
                sums[c][j] = _mm512_fmadd_ps(scale[c], _mm512_cvtepi32_ps(products), sums[c][j]);
            }
        }
    }
#pragma GCC unroll 3
    for (size_t c = 0; c < n; c++) { /* in the order in which ggml adds them */
        __m512 s[GROUPS / 2];
#pragma GCC unroll 4
        for (size_t j = 0; j < GROUPS / 2; j++)
            s[j] = _mm512_add_ps(sums[c][j + 4], sums[c][j]);
        _mm512_storeu_ps(ret + c * stride,
                         _mm512_add_ps(_mm512_add_ps(s[0], s[2]), _mm512_add_ps(s[1], s[3])));
    }
}

VNNI void q8_panel_multiply(size_t blocks, const void *panel, size_t columns,
                            const struct q8_activation *activations, const float *scales,
                            float *ret, size_t stride) {
    size_t c = 0;
    for (; c + 3 <= columns; c += 3)
        multiply(3, blocks, panel, activations + c * blocks, scales + c * blocks, ret + c * stride,
                 stride);
    if (columns - c == 2)
        multiply(2, blocks, panel, activations + c * blocks, scales + c * blocks, ret + c * stride,
                 stride);
    else if (columns - c == 1)
        multiply(1, blocks, panel, activations + c * blocks, scales + c * blocks, ret + c * stride,
                 stride);
}

#else

bool q8_panels_usable(void) {
    return false;
}

void q8_activations_take(size_t blocks, const void *q8, struct q8_activation *ret,
                         float *ret_scales) {
    (void)blocks, (void)q8, (void)ret, (void)ret_scales;
}

void q8_panel_multiply(size_t blocks, const void *panel, size_t columns,
                       const struct q8_activation *activations, const float *scales, float *ret,
                       size_t stride) {
    (void)blocks, (void)panel, (void)columns, (void)activations, (void)scales, (void)ret,
        (void)stride;
}

#endif
