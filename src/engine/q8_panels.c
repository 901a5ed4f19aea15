/* See q8_panels.h. A panel holds the scales first (for each block those of 16 rows), then for each
 * block eight vectors of 64 bytes: the j-th has weights 4 j to 4 j + 3 of each row.
 *
 * VPDPBUSD multiplies unsigned bytes by signed ones. For the kernels that have it weights have 128
 * added, and its sums begin at -128 times the activations' sum (q8_activation.start). The others
 * multiply what a weight is without its sign by activations that got it. */
#include "engine/q8_panels.h"

#include <string.h>

#define GROUPS 8 /* of four weights in a block */

#if defined(__x86_64__)

#include <immintrin.h>

#define INLINE  static inline __attribute__((always_inline))
#define AVX2    __attribute__((target("avx2,f16c,fma")))
#define VNNI512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,f16c,fma")))
#define COLUMNS 3 /* at a time: their sums fill the registers */

/* Bytes ahead of what is read. Few columns are as slow as memory, and the processor's own fetching
 * ahead ends with each page of 4 KiB. */
#define AHEAD 2048

/* Four values of a group, as the number that a vector is filled with. */
static inline int32_t four_of(const struct q8_activation *a, size_t group) {
    int32_t four;
    memcpy(&four, a->values + 4 * group, 4);
    return four;
}

/* Eight rows' weights of a block: the j-th of *ret has weights 4 j to 4 j + 3 of each. */
AVX2 INLINE void transpose(const unsigned char *first, size_t row_bytes, __m256i ret[GROUPS]) {
    __m256i r[8], pairs[8], fours[8];
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++)
        r[i] = _mm256_loadu_si256((const void *)(first + i * row_bytes + 2));
#pragma GCC unroll 4
    for (size_t i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (size_t i = 0; i < 8; i += 4) {
        fours[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
        fours[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
        fours[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        ret[i] = _mm256_permute2x128_si256(fours[i], fours[i + 4], 0x20);
        ret[i + 4] = _mm256_permute2x128_si256(fours[i], fours[i + 4], 0x31);
    }
}

AVX2 static void pack(const struct q8_kernel *k, size_t blocks, const void *rows, void *ret_panel) {
    const __m256i offset = _mm256_set1_epi8((char)k->offset);
    const size_t row_bytes = blocks * Q8_BLOCK_BYTES;
    unsigned char *scales = ret_panel, *weights = scales + 2 * Q8_PANEL_ROWS * blocks;
    for (size_t b = 0; b < blocks; b++) {
        const unsigned char *block = (const unsigned char *)rows + b * Q8_BLOCK_BYTES;
        for (size_t r = 0; r < Q8_PANEL_ROWS; r++)
            memcpy(scales + 2 * (b * Q8_PANEL_ROWS + r), block + r * row_bytes, 2);
        for (size_t half = 0; half < 2; half++) {
            __m256i of_group[GROUPS];
            transpose(block + 8 * half * row_bytes, row_bytes, of_group);
#pragma GCC unroll 8
            for (size_t j = 0; j < GROUPS; j++) /* + 128 or + 0: without a carry */
                _mm256_storeu_si256((void *)(weights + 64 * (b * GROUPS + j) + 32 * half),
                                    _mm256_xor_si256(of_group[j], offset));
        }
    }
}

AVX2 static void take(size_t blocks, const void *q8, struct q8_activation *ret, float *ret_scales) {
    const __m256i ones = _mm256_set1_epi8(1), wide_ones = _mm256_set1_epi16(1);
    for (size_t b = 0; b < blocks; b++) {
        const unsigned char *block = (const unsigned char *)q8 + b * Q8_BLOCK_BYTES;
        uint16_t half;
        memcpy(&half, block, 2);
        __m256i values = _mm256_loadu_si256((const void *)(block + 2));
        __m256i sums = _mm256_madd_epi16(_mm256_maddubs_epi16(ones, values), wide_ones);
        _mm256_storeu_si256((void *)ret[b].values, values);
        _mm256_storeu_si256((void *)ret[b].start,
                            _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(sums, 7)));
        ret_scales[b] = _cvtsh_ss(half);
    }
}

/* ---- vectors of 512 bits ---- */

/* `n` is a constant where this is inlined, so that the sums stay in registers. */
VNNI512 INLINE void multiply16(size_t n, size_t blocks, const unsigned char *panel,
                               const struct q8_activation *a, const float *scales, float *ret,
                               size_t stride) {
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
            const unsigned char *at = weights + 64 * (b * GROUPS + j);
            __m512i w = _mm512_loadu_si512(at);
            _mm_prefetch(at + AHEAD, _MM_HINT_T0);
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

VNNI512 static void multiply_vnni512(size_t blocks, const void *panel, size_t columns,
                                     const struct q8_activation *a, const float *scales, float *ret,
                                     size_t stride) {
    size_t c = 0;
    for (; c + 3 <= columns; c += 3)
        multiply16(3, blocks, panel, a + c * blocks, scales + c * blocks, ret + c * stride, stride);
    if (columns - c == 2)
        multiply16(2, blocks, panel, a + c * blocks, scales + c * blocks, ret + c * stride, stride);
    else if (columns - c == 1)
        multiply16(1, blocks, panel, a + c * blocks, scales + c * blocks, ret + c * stride, stride);
}

/* ---- vectors of 256 bits ---- */

/* Eight rows, those of the panel's first or second half, and n columns; the sums of `groups` groups
 * from `from` on go to ret[c][from …]. */
AVX2 INLINE void sum8(size_t n, size_t from, size_t groups, size_t half, size_t blocks,
                      const unsigned char *panel, const struct q8_activation *a,
                      const float *scales, __m256 ret[COLUMNS][GROUPS]) {
    const unsigned char *weights = panel + 2 * Q8_PANEL_ROWS * blocks + 32 * half;
    const __m256i wide_ones = _mm256_set1_epi16(1);
    __m256 sums[COLUMNS][GROUPS];
#pragma GCC unroll 3
    for (size_t c = 0; c < n; c++)
#pragma GCC unroll 8
        for (size_t j = 0; j < groups; j++)
            sums[c][j] = _mm256_setzero_ps();
    for (size_t b = 0; b < blocks; b++) {
        __m256 scale[COLUMNS], of_weights = _mm256_cvtph_ps(_mm_loadu_si128(
                                   (const void *)(panel + 2 * Q8_PANEL_ROWS * b + 16 * half)));
#pragma GCC unroll 3
        for (size_t c = 0; c < n; c++)
            scale[c] = _mm256_mul_ps(of_weights, _mm256_set1_ps(scales[c * blocks + b]));
#pragma GCC unroll 8
        for (size_t j = 0; j < groups; j++) {
            __m256i w = _mm256_loadu_si256((const void *)(weights + 64 * (b * GROUPS + from + j)));
            __m256i without_sign = _mm256_abs_epi8(w);
#pragma GCC unroll 3
            for (size_t c = 0; c < n; c++) {
                int32_t four = four_of(a + c * blocks + b, from + j);
                __m256i with_sign = _mm256_sign_epi8(_mm256_set1_epi32(four), w);
                __m256i pairs = _mm256_maddubs_epi16(without_sign, with_sign);
                __m256 products = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, wide_ones));
                sums[c][j] = _mm256_fmadd_ps(scale[c], products, sums[c][j]);
            }
        }
    }
#pragma GCC unroll 3
    for (size_t c = 0; c < n; c++)
#pragma GCC unroll 8
        for (size_t j = 0; j < groups; j++)
            ret[c][from + j] = sums[c][j];
}

/* There are 16 registers: with several columns the groups are taken four at a time. */
AVX2 INLINE void multiply8(size_t n, size_t blocks, const unsigned char *panel,
                           const struct q8_activation *a, const float *scales, float *ret,
                           size_t stride) {
    for (size_t half = 0; half < 2; half++) {
        __m256 sums[COLUMNS][GROUPS];
        if (n == 1) {
            sum8(n, 0, 8, half, blocks, panel, a, scales, sums);
        } else {
            sum8(n, 0, 4, half, blocks, panel, a, scales, sums);
            sum8(n, 4, 4, half, blocks, panel, a, scales, sums);
        }
        for (size_t c = 0; c < n; c++) { /* in the order in which ggml adds them */
            __m256 s[GROUPS / 2];
            for (size_t j = 0; j < GROUPS / 2; j++)
                s[j] = _mm256_add_ps(sums[c][j + 4], sums[c][j]);
            _mm256_storeu_ps(ret + c * stride + 8 * half,
                             _mm256_add_ps(_mm256_add_ps(s[0], s[2]), _mm256_add_ps(s[1], s[3])));
        }
    }
}

AVX2 static void multiply_avx2(size_t blocks, const void *panel, size_t columns,
                               const struct q8_activation *a, const float *scales, float *ret,
                               size_t stride) {
    size_t c = 0;
    for (; c + 2 <= columns; c += 2)
        multiply8(2, blocks, panel, a + c * blocks, scales + c * blocks, ret + c * stride, stride);
    if (c < columns)
        multiply8(1, blocks, panel, a + c * blocks, scales + c * blocks, ret + c * stride, stride);
}

/* ---- which there are ---- */

const struct q8_kernel *q8_kernel_get(size_t i) {
    static const struct q8_kernel vnni512 = {"AVX-512 VNNI", 0x80, pack, take, multiply_vnni512};
    static const struct q8_kernel avx2 = {"AVX2", 0, pack, take, multiply_avx2};
    const struct q8_kernel *usable[2];
    size_t n = 0;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        usable[n++] = &vnni512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) /* so it has F16C, too */
        usable[n++] = &avx2;
    return i < n ? usable[i] : NULL;
}

#else

const struct q8_kernel *q8_kernel_get(size_t i) {
    (void)i;
    return NULL;
}

#endif
