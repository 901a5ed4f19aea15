/* See classifier_sums.h. */
#include "safety/classifier_sums.h"

#include <string.h>

#define LANES 4 /* sums of a head, so that one addition does not wait for the one before */

/* ---- any processor ---- */

static size_t piece_rows_plain(const uint8_t *p, size_t count, size_t n, unsigned shift,
                               uint32_t *ret) {
    size_t m = 0;
    for (size_t i = 0; i < count; i++)
        for (uint32_t k = 3; k <= 5 && i + k <= n; k++) {
            uint32_t h = SUMS_BASIS + k;
            for (size_t j = 0; j < k; j++)
                h = (h ^ p[i + j]) * SUMS_PRIME;
            ret[m++] = sums_mix(h) >> shift;
        }
    return m;
}

static void add_rows_plain(const int8_t *table, uint32_t dim, const uint32_t *rows, size_t n,
                           int32_t *restrict sum) {
    for (size_t i = 0; i < n; i++) {
        const int8_t *row = table + (size_t)rows[i] * dim;
        for (uint32_t d = 0; d < dim; d++)
            sum[d] += row[d];
    }
}

static void add_products_plain(const float *w, uint32_t width, const float *x, size_t n,
                               float *restrict out) {
    for (size_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < width; j++)
            out[j] += x[i] * w[i * width + j];
}

static void add_products_abreast_plain(const float *w, uint32_t width,
                                       const float *const x[SUMS_ABREAST], size_t count, size_t n,
                                       float *const out[SUMS_ABREAST]) {
    for (size_t a = 0; a < count; a++)
        add_products_plain(w, width, x[a], n, out[a]);
}

static void add_bytes_plain(const int8_t *w, uint32_t width, const float *x, size_t n,
                            float *restrict out) {
    for (size_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < width; j++)
            out[j] += x[i] * (float)w[i * width + j];
}

static void add_heads_plain(const float *w, const float *x, size_t n, float *restrict out) {
    float sum[LANES][SUMS_HEADS] = {{0}};
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < SUMS_HEADS; j++)
            sum[i % LANES][j] += x[i] * w[i * SUMS_HEADS + j];
    for (size_t j = 0; j < SUMS_HEADS; j++)
        out[j] += (sum[0][j] + sum[1][j]) + (sum[2][j] + sum[3][j]);
}

static const struct classifier_sums plain = {"plain",
                                             piece_rows_plain,
                                             add_rows_plain,
                                             add_products_plain,
                                             add_products_abreast_plain,
                                             add_bytes_plain,
                                             add_heads_plain};

#ifdef __x86_64__
#include <immintrin.h>

/* ---- AVX2 ---- */

#define AVX2 __attribute__((target("avx2")))

AVX2 static __m256i mix_avx2(__m256i h, __m128i shift) {
    h = _mm256_xor_si256(h, _mm256_srli_epi32(h, 16));
    h = _mm256_mullo_epi32(h, _mm256_set1_epi32((int)0x85ebca6bu));
    h = _mm256_xor_si256(h, _mm256_srli_epi32(h, 13));
    h = _mm256_mullo_epi32(h, _mm256_set1_epi32((int)0xc2b2ae35u));
    h = _mm256_xor_si256(h, _mm256_srli_epi32(h, 16));
    return _mm256_srl_epi32(h, shift);
}

/* Eight places at once; where the text ends before their longest piece does, one by one. */
AVX2 static size_t piece_rows_avx2(const uint8_t *p, size_t count, size_t n, unsigned shift,
                                   uint32_t *ret) {
    const __m256i prime = _mm256_set1_epi32((int)SUMS_PRIME);
    const __m128i by = _mm_cvtsi32_si128((int)shift);
    size_t i = 0, m = 0;
    for (; i + 8 <= count && i + 12 <= n; i += 8) {
        __m256i h[3];
        for (int k = 0; k < 3; k++)
            h[k] = _mm256_set1_epi32((int)(SUMS_BASIS + 3 + (uint32_t)k));
        for (size_t j = 0; j < 5; j++) {
            __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)(p + i + j));
            __m256i c = _mm256_cvtepu8_epi32(bytes);
            for (size_t k = j < 3 ? 0 : j - 2; k < 3; k++)
                h[k] = _mm256_mullo_epi32(_mm256_xor_si256(h[k], c), prime);
        }
        for (int k = 0; k < 3; k++, m += 8)
            _mm256_storeu_si256((__m256i *)(void *)(ret + m), mix_avx2(h[k], by));
    }
    return m + piece_rows_plain(p + i, count - i, n - i, shift, ret + m);
}

AVX2 static void add_rows_avx2(const int8_t *table, uint32_t dim, const uint32_t *rows, size_t n,
                               int32_t *sum) {
    uint32_t d = 0;
    for (; d + 16 <= dim; d += 16) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)(sum + d));
        __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(sum + d + 8));
        for (size_t i = 0; i < n; i++) {
            const int8_t *row = table + (size_t)rows[i] * dim + d;
            __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)row);
            a = _mm256_add_epi32(a, _mm256_cvtepi8_epi32(bytes));
            b = _mm256_add_epi32(b, _mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)));
        }
        _mm256_storeu_si256((__m256i *)(void *)(sum + d), a);
        _mm256_storeu_si256((__m256i *)(void *)(sum + d + 8), b);
    }
    for (size_t i = 0; i < n && d < dim; i++)
        for (uint32_t k = d; k < dim; k++)
            sum[k] += table[(size_t)rows[i] * dim + k];
}

AVX2 static void add_products_avx2(const float *w, uint32_t width, const float *x, size_t n,
                                   float *out) {
    uint32_t j = 0;
    for (; j + 32 <= width; j += 32) {
        __m256 a[4];
        for (int k = 0; k < 4; k++)
            a[k] = _mm256_loadu_ps(out + j + 8 * k);
        for (size_t i = 0; i < n; i++) {
            const float *row = w + i * width + j;
            __m256 by = _mm256_set1_ps(x[i]);
            for (int k = 0; k < 4; k++)
                a[k] = _mm256_add_ps(a[k], _mm256_mul_ps(by, _mm256_loadu_ps(row + 8 * k)));
        }
        for (int k = 0; k < 4; k++)
            _mm256_storeu_ps(out + j + 8 * k, a[k]);
    }
    for (size_t i = 0; i < n && j < width; i++)
        for (uint32_t k = j; k < width; k++)
            out[k] += x[i] * w[i * width + k];
}

AVX2 static inline __attribute__((always_inline)) void
abreast_avx2(const float *w, uint32_t width, const float *const x[SUMS_ABREAST], const int count,
             size_t n, float *const out[SUMS_ABREAST]) {
    uint32_t j = 0;
    for (; j + 16 <= width; j += 16) {
        __m256 a[SUMS_ABREAST][2];
        for (int k = 0; k < count; k++)
            for (int h = 0; h < 2; h++)
                a[k][h] = _mm256_loadu_ps(out[k] + j + 8 * h);
        for (size_t i = 0; i < n; i++) {
            __m256 low = _mm256_loadu_ps(w + i * width + j);
            __m256 high = _mm256_loadu_ps(w + i * width + j + 8);
            for (int k = 0; k < count; k++) {
                __m256 by = _mm256_set1_ps(x[k][i]);
                a[k][0] = _mm256_add_ps(a[k][0], _mm256_mul_ps(by, low));
                a[k][1] = _mm256_add_ps(a[k][1], _mm256_mul_ps(by, high));
            }
        }
        for (int k = 0; k < count; k++)
            for (int h = 0; h < 2; h++)
                _mm256_storeu_ps(out[k] + j + 8 * h, a[k][h]);
    }
    for (int k = 0; k < count; k++)
        for (size_t i = 0; i < n && j < width; i++)
            for (uint32_t d = j; d < width; d++)
                out[k][d] += x[k][i] * w[i * width + d];
}

AVX2 static void add_products_abreast_avx2(const float *w, uint32_t width,
                                           const float *const x[SUMS_ABREAST], size_t count,
                                           size_t n, float *const out[SUMS_ABREAST]) {
    if (count == 4)
        abreast_avx2(w, width, x, 4, n, out);
    else if (count == 3)
        abreast_avx2(w, width, x, 3, n, out);
    else if (count == 2)
        abreast_avx2(w, width, x, 2, n, out);
    else if (count == 1)
        add_products_avx2(w, width, x[0], n, out[0]);
}

AVX2 static void add_bytes_avx2(const int8_t *w, uint32_t width, const float *x, size_t n,
                                float *out) {
    uint32_t j = 0;
    for (; j + 32 <= width; j += 32) {
        __m256 a[4];
        for (int k = 0; k < 4; k++)
            a[k] = _mm256_loadu_ps(out + j + 8 * k);
        for (size_t i = 0; i < n; i++) {
            const int8_t *row = w + i * width + j;
            __m256 by = _mm256_set1_ps(x[i]);
            for (int k = 0; k < 4; k++) {
                __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)(row + 8 * k));
                __m256 wide = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
                a[k] = _mm256_add_ps(a[k], _mm256_mul_ps(by, wide));
            }
        }
        for (int k = 0; k < 4; k++)
            _mm256_storeu_ps(out + j + 8 * k, a[k]);
    }
    for (size_t i = 0; i < n && j < width; i++)
        for (uint32_t k = j; k < width; k++)
            out[k] += x[i] * (float)w[i * width + k];
}

AVX2 static void add_heads_avx2(const float *w, const float *x, size_t n, float *out) {
    __m256 sum[LANES][2];
    for (int l = 0; l < LANES; l++)
        sum[l][0] = sum[l][1] = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += LANES)
        for (size_t l = 0; l < LANES && i + l < n; l++) {
            const float *row = w + (i + l) * SUMS_HEADS;
            __m256 by = _mm256_set1_ps(x[i + l]);
            sum[l][0] = _mm256_add_ps(sum[l][0], _mm256_mul_ps(by, _mm256_loadu_ps(row)));
            sum[l][1] = _mm256_add_ps(sum[l][1], _mm256_mul_ps(by, _mm256_loadu_ps(row + 8)));
        }
    for (int k = 0; k < 2; k++) {
        __m256 all =
            _mm256_add_ps(_mm256_add_ps(sum[0][k], sum[1][k]), _mm256_add_ps(sum[2][k], sum[3][k]));
        _mm256_storeu_ps(out + 8 * k, _mm256_add_ps(_mm256_loadu_ps(out + 8 * k), all));
    }
}

static const struct classifier_sums avx2 = {
    "avx2",         piece_rows_avx2, add_rows_avx2, add_products_avx2, add_products_abreast_avx2,
    add_bytes_avx2, add_heads_avx2};

/* ---- AVX-512 ---- */

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl")))

AVX512 static __m512i mix_avx512(__m512i h, __m128i shift) {
    h = _mm512_xor_si512(h, _mm512_srli_epi32(h, 16));
    h = _mm512_mullo_epi32(h, _mm512_set1_epi32((int)0x85ebca6bu));
    h = _mm512_xor_si512(h, _mm512_srli_epi32(h, 13));
    h = _mm512_mullo_epi32(h, _mm512_set1_epi32((int)0xc2b2ae35u));
    h = _mm512_xor_si512(h, _mm512_srli_epi32(h, 16));
    return _mm512_srl_epi32(h, shift);
}

/* As piece_rows_avx2(), sixteen places at once. */
AVX512 static size_t piece_rows_avx512(const uint8_t *p, size_t count, size_t n, unsigned shift,
                                       uint32_t *ret) {
    const __m512i prime = _mm512_set1_epi32((int)SUMS_PRIME);
    const __m128i by = _mm_cvtsi32_si128((int)shift);
    size_t i = 0, m = 0;
    for (; i + 16 <= count && i + 20 <= n; i += 16) {
        __m512i h[3];
        for (int k = 0; k < 3; k++)
            h[k] = _mm512_set1_epi32((int)(SUMS_BASIS + 3 + (uint32_t)k));
        for (size_t j = 0; j < 5; j++) {
            __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(p + i + j));
            __m512i c = _mm512_cvtepu8_epi32(bytes);
            for (size_t k = j < 3 ? 0 : j - 2; k < 3; k++)
                h[k] = _mm512_mullo_epi32(_mm512_xor_si512(h[k], c), prime);
        }
        for (int k = 0; k < 3; k++, m += 16)
            _mm512_storeu_si512(ret + m, mix_avx512(h[k], by));
    }
    return m + piece_rows_avx2(p + i, count - i, n - i, shift, ret + m);
}

#define ROWS_16 250 /* rows whose sums fit 16 bits */

/* Two registers hold a sum of some rows in 16 bits, from which it goes into the four of all; what
 * is past dim is masked and never read. */
AVX512 static void add_rows_avx512(const int8_t *table, uint32_t dim, const uint32_t *rows,
                                   size_t n, int32_t *sum) {
    __mmask64 bytes = dim >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << dim) - 1;
    __mmask32 m[2] = {(__mmask32)bytes, (__mmask32)(bytes >> 32)};
    for (size_t i = 0; i < n;) {
        __m512i a[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
        for (size_t end = n - i > ROWS_16 ? i + ROWS_16 : n; i < end; i++) {
            const int8_t *row = table + (size_t)rows[i] * dim;
            for (int k = 0; k < 2; k++)
                a[k] = _mm512_add_epi16(
                    a[k], _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(m[k], row + 32 * k)));
        }
        for (int k = 0; k < 4; k++) {
            __mmask16 mk = (__mmask16)(bytes >> (16 * k));
            __m256i half =
                k % 2 ? _mm512_extracti64x4_epi64(a[k / 2], 1) : _mm512_castsi512_si256(a[k / 2]);
            __m512i all = _mm512_add_epi32(_mm512_maskz_loadu_epi32(mk, sum + 16 * k),
                                           _mm512_cvtepi16_epi32(half));
            _mm512_mask_storeu_epi32(sum + 16 * k, mk, all);
        }
    }
}

AVX512 static void add_products_avx512(const float *w, uint32_t width, const float *x, size_t n,
                                       float *out) {
    uint32_t j = 0;
    for (; j + 64 <= width; j += 64) {
        __m512 a[4];
        for (int k = 0; k < 4; k++)
            a[k] = _mm512_loadu_ps(out + j + 16 * k);
        for (size_t i = 0; i < n; i++) {
            const float *row = w + i * width + j;
            __m512 by = _mm512_set1_ps(x[i]);
            for (int k = 0; k < 4; k++)
                a[k] = _mm512_add_ps(a[k], _mm512_mul_ps(by, _mm512_loadu_ps(row + 16 * k)));
        }
        for (int k = 0; k < 4; k++)
            _mm512_storeu_ps(out + j + 16 * k, a[k]);
    }
    for (size_t i = 0; i < n && j < width; i++)
        for (uint32_t k = j; k < width; k++)
            out[k] += x[i] * w[i * width + k];
}

AVX512 static inline __attribute__((always_inline)) void
abreast_avx512(const float *w, uint32_t width, const float *const x[SUMS_ABREAST], const int count,
               size_t n, float *const out[SUMS_ABREAST]) {
    uint32_t j = 0;
    for (; j + 64 <= width; j += 64) {
        __m512 a[SUMS_ABREAST][4];
        for (int k = 0; k < count; k++)
            for (int h = 0; h < 4; h++)
                a[k][h] = _mm512_loadu_ps(out[k] + j + 16 * h);
        for (size_t i = 0; i < n; i++) {
            const float *row = w + i * width + j;
            __m512 part[4];
            for (int h = 0; h < 4; h++)
                part[h] = _mm512_loadu_ps(row + 16 * h);
            for (int k = 0; k < count; k++) {
                __m512 by = _mm512_set1_ps(x[k][i]);
                for (int h = 0; h < 4; h++)
                    a[k][h] = _mm512_add_ps(a[k][h], _mm512_mul_ps(by, part[h]));
            }
        }
        for (int k = 0; k < count; k++)
            for (int h = 0; h < 4; h++)
                _mm512_storeu_ps(out[k] + j + 16 * h, a[k][h]);
    }
    for (int k = 0; k < count; k++)
        for (size_t i = 0; i < n && j < width; i++)
            for (uint32_t d = j; d < width; d++)
                out[k][d] += x[k][i] * w[i * width + d];
}

AVX512 static void add_products_abreast_avx512(const float *w, uint32_t width,
                                               const float *const x[SUMS_ABREAST], size_t count,
                                               size_t n, float *const out[SUMS_ABREAST]) {
    if (count == 4)
        abreast_avx512(w, width, x, 4, n, out);
    else if (count == 3)
        abreast_avx512(w, width, x, 3, n, out);
    else if (count == 2)
        abreast_avx512(w, width, x, 2, n, out);
    else if (count == 1)
        add_products_avx512(w, width, x[0], n, out[0]);
}

AVX512 static void add_bytes_avx512(const int8_t *w, uint32_t width, const float *x, size_t n,
                                    float *out) {
    uint32_t j = 0;
    for (; j + 64 <= width; j += 64) {
        __m512 a[4];
        for (int k = 0; k < 4; k++)
            a[k] = _mm512_loadu_ps(out + j + 16 * k);
        for (size_t i = 0; i < n; i++) {
            const int8_t *row = w + i * width + j;
            __m512 by = _mm512_set1_ps(x[i]);
            for (int k = 0; k < 4; k++) {
                __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(row + 16 * k));
                __m512 wide = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
                a[k] = _mm512_add_ps(a[k], _mm512_mul_ps(by, wide));
            }
        }
        for (int k = 0; k < 4; k++)
            _mm512_storeu_ps(out + j + 16 * k, a[k]);
    }
    for (size_t i = 0; i < n && j < width; i++)
        for (uint32_t k = j; k < width; k++)
            out[k] += x[i] * (float)w[i * width + k];
}

AVX512 static void add_heads_avx512(const float *w, const float *x, size_t n, float *out) {
    __m512 sum[LANES];
    for (int l = 0; l < LANES; l++)
        sum[l] = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += LANES)
        for (size_t l = 0; l < LANES && i + l < n; l++)
            sum[l] =
                _mm512_add_ps(sum[l], _mm512_mul_ps(_mm512_set1_ps(x[i + l]),
                                                    _mm512_loadu_ps(w + (i + l) * SUMS_HEADS)));
    __m512 all = _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3]));
    _mm512_storeu_ps(out, _mm512_add_ps(_mm512_loadu_ps(out), all));
}

static const struct classifier_sums avx512 = {"avx512",
                                              piece_rows_avx512,
                                              add_rows_avx512,
                                              add_products_avx512,
                                              add_products_abreast_avx512,
                                              add_bytes_avx512,
                                              add_heads_avx512};
#endif

const struct classifier_sums *classifier_sums_nth(size_t n) {
    const struct classifier_sums *list[3];
    size_t have = 0;
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        list[have++] = &avx512;
    if (__builtin_cpu_supports("avx2"))
        list[have++] = &avx2;
#endif
    list[have++] = &plain;
    return n < have ? list[n] : NULL;
}

const struct classifier_sums *classifier_sums_best(void) {
    return classifier_sums_nth(0);
}
