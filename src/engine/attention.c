/* See attention.h. What both kinds of vectors have in common is in attention_vectors.h. */
#include "engine/attention.h"

#include <math.h>

#if defined(__x86_64__)

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define AVX2   __attribute__((target("avx2,f16c,fma")))
#define AVX512 __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,f16c,fma")))

#define LINE 32 /* halves that memory is read by */

/* The halves of eight cells' keys become eight rows of floats, `lanes` apart. */
AVX2 static void turn8(const uint16_t *keys, size_t stride, float *ret, size_t lanes) {
    __m256 r[8], pairs[8], fours[8];
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++)
        r[i] = _mm256_cvtph_ps(_mm_loadu_si128((const void *)(keys + i * stride)));
#pragma GCC unroll 4
    for (size_t i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (size_t i = 0; i < 8; i += 4) {
        fours[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
        fours[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xEE);
        fours[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
        fours[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xEE);
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        _mm256_storeu_ps(ret + i * lanes, _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20));
        _mm256_storeu_ps(ret + (i + 4) * lanes,
                         _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31));
    }
}

/* ---- vectors of 512 bits ---- */

/* Four sums of 16 parts: (i) + (i + 8), then (i) + (i + 4), (i) + (i + 2), (0) + (1). */
AVX512 INLINE __m128 sums_512(__m512 a, __m512 b, __m512 c, __m512 d) {
    __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
    __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xEE));
    __m512 all =
        _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD));
    all = _mm512_add_ps(all, _mm512_permute_ps(all, 0x4E));
    all = _mm512_add_ps(all, _mm512_movehdup_ps(all));
    return _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, all));
}

#define NAME(f)           f##_512
#define TARGET            AVX512
#define LANES             ((size_t)16)
#define VEC               __m512
#define V_ZERO()          _mm512_setzero_ps()
#define V_FILL(x)         _mm512_set1_ps(x)
#define V_LOAD(p)         _mm512_loadu_ps(p)
#define V_STORE(p, v)     _mm512_storeu_ps(p, v)
#define V_FMA(a, b, c)    _mm512_fmadd_ps(a, b, c)
#define V_ADD(a, b)       _mm512_add_ps(a, b)
#define V_MUL(a, b)       _mm512_mul_ps(a, b)
#define V_MAX(a, b)       _mm512_max_ps(a, b)
#define V_WIDEN(p)        _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(p)))
#define V_ROUND(v)        _mm512_cvtph_ps(_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT))
#define V_ALL_EQUAL(a, b) (_mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ) == 0)
#define SCORE_QUERIES     4
#define MIX_QUERIES       6
#include "engine/attention_vectors.h"

/* ---- vectors of 256 bits ---- */

/* The same of 8 parts. */
AVX2 INLINE __m128 sums_256(__m256 a, __m256 b, __m256 c, __m256 d) {
    __m256 ab =
        _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    __m256 cd =
        _mm256_add_ps(_mm256_permute2f128_ps(c, d, 0x20), _mm256_permute2f128_ps(c, d, 0x31));
    __m256 acbd = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xEE));
    acbd = _mm256_add_ps(acbd, _mm256_movehdup_ps(acbd));
    acbd = _mm256_permute_ps(acbd, 0x88);
    return _mm_unpacklo_ps(_mm256_castps256_ps128(acbd), _mm256_extractf128_ps(acbd, 1));
}

#define NAME(f)           f##_256
#define TARGET            AVX2
#define LANES             ((size_t)8)
#define VEC               __m256
#define V_ZERO()          _mm256_setzero_ps()
#define V_FILL(x)         _mm256_set1_ps(x)
#define V_LOAD(p)         _mm256_loadu_ps(p)
#define V_STORE(p, v)     _mm256_storeu_ps(p, v)
#define V_FMA(a, b, c)    _mm256_fmadd_ps(a, b, c)
#define V_ADD(a, b)       _mm256_add_ps(a, b)
#define V_MUL(a, b)       _mm256_mul_ps(a, b)
#define V_MAX(a, b)       _mm256_max_ps(a, b)
#define V_WIDEN(p)        _mm256_cvtph_ps(_mm_loadu_si128((const void *)(p)))
#define V_ROUND(v)        _mm256_cvtph_ps(_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT))
#define V_ALL_EQUAL(a, b) (_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NEQ_UQ)) == 0)
#define SCORE_QUERIES     3
#define MIX_QUERIES       3
#include "engine/attention_vectors.h"

const struct attention_kernel *attention_kernel_get(size_t lanes) {
    if (lanes == 16 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return &kernel_512;
    if (lanes == 8 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &kernel_256; /* so it has F16C, too */
    return NULL;
}

#else

const struct attention_kernel *attention_kernel_get(size_t lanes) {
    (void)lanes;
    return NULL;
}

#endif
