/* Rows, sketches, and the two ways of looking through them. The inner loops exist for the machine's
 * best instructions; which ones is decided once. */
#include "retrieval/vectors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define BITS_MAX    4096
#define RESCORE_MIN 1200 /* rows compared exactly after the sketches, and … */
#define RESCORE_PER 400  /* … one of so many */

struct vectors {
    int dims, words; /* words: of a sketch, 64 bits each */
    uint32_t n, size;
    int8_t *rows;     /* n · dims */
    float *scales;    /* 0 = no vector */
    uint64_t *sketch; /* n · words */
};

struct vector_query {
    int dims, words;
    float scale;
    int8_t *row;
    uint64_t sketch[BITS_MAX / 64];
};

/* ---- packing ---- */

size_t vector_size(int dimensions) {
    return sizeof(float) + (size_t)dimensions;
}

static float quantise(const float *v, int dims, int8_t *out) {
    float most = 0;
    for (int i = 0; i < dims; i++)
        most = fmaxf(most, fabsf(v[i]));
    for (int i = 0; i < dims; i++)
        out[i] = most > 0 ? (int8_t)lrintf(v[i] * 127 / most) : 0;
    return most / 127;
}

void vector_pack(const float *v, int dimensions, void *out) {
    float scale = quantise(v, dimensions, (int8_t *)out + sizeof scale);
    memcpy(out, &scale, sizeof scale);
}

void vector_unpack(const void *packed, int dimensions, float *ret) {
    float scale, length = 0;
    const int8_t *row = (const int8_t *)packed + sizeof scale;
    memcpy(&scale, packed, sizeof scale);
    for (int i = 0; i < dimensions; i++) {
        ret[i] = scale * (float)row[i];
        length += ret[i] * ret[i];
    }
    for (int i = 0; length > 0 && i < dimensions; i++)
        ret[i] /= sqrtf(length);
}

static int bits_for(int dims) {
    int bits = 64;
    while (bits < dims)
        bits *= 2;
    return bits;
}

/* The i-th sign of a round: a fixed pseudo-random sequence (SplitMix64), the same in each run. */
static bool negative(uint64_t i) {
    uint64_t z = (i + 1) * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (z ^ (z >> 31)) & 1;
}

static float signs[2][BITS_MAX]; /* of the two rounds */

static void hadamard(float *x, int n) {
    for (int h = 1; h < n; h *= 2)
        for (int i = 0; i < n; i += 2 * h)
            for (int j = i; j < i + h; j++) {
                float a = x[j], b = x[j + h];
                x[j] = a + b;
                x[j + h] = a - b;
            }
}

static void sketch_of(const int8_t *row, int dims, uint64_t *out) {
    int bits = bits_for(dims);
    float x[BITS_MAX];
    for (int i = 0; i < bits; i++)
        x[i] = i < dims ? signs[0][i] * (float)row[i] : 0;
    hadamard(x, bits);
    for (int i = 0; i < bits; i++)
        x[i] *= signs[1][i];
    hadamard(x, bits);
    memset(out, 0, (size_t)bits / 8);
    for (int i = 0; i < bits; i++)
        out[i / 64] |= (uint64_t)(x[i] > 0) << (i % 64);
}

/* ---- the inner loops ---- */

static int32_t dot_plain(const int8_t *a, const int8_t *b, int n) {
    int32_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void hamming_plain(const uint64_t *rows, const uint64_t *q, int words, uint32_t n,
                          uint16_t *ret) {
    for (uint32_t r = 0; r < n; r++, rows += words) {
        int d = 0;
        for (int w = 0; w < words; w++)
            d += __builtin_popcountll(rows[w] ^ q[w]);
        ret[r] = (uint16_t)d;
    }
}

static int32_t (*dot)(const int8_t *a, const int8_t *b, int n) = dot_plain;
static void (*hamming)(const uint64_t *rows, const uint64_t *q, int words, uint32_t n,
                       uint16_t *ret) = hamming_plain;

#if defined(__x86_64__)
static bool wide; /* the machine counts the bits of 512 at once */

__attribute__((target("avx2"))) static int32_t dot_avx2(const int8_t *a, const int8_t *b, int n) {
    __m256i sum = _mm256_setzero_si256();
    int i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i x = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(a + i)));
        __m256i y = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(b + i)));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, y));
    }
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return _mm_cvtsi128_si32(s) + dot_plain(a + i, b + i, n - i);
}

__attribute__((target("popcnt"))) static void
hamming_popcnt(const uint64_t *rows, const uint64_t *q, int words, uint32_t n, uint16_t *ret) {
    for (uint32_t r = 0; r < n; r++, rows += words) {
        int d = 0;
        for (int w = 0; w < words; w++)
            d += __builtin_popcountll(rows[w] ^ q[w]);
        ret[r] = (uint16_t)d;
    }
}

__attribute__((target("avx512f,avx512vpopcntdq"))) static void
hamming_avx512(const uint64_t *rows, const uint64_t *q, int words, uint32_t n, uint16_t *ret) {
    for (uint32_t r = 0; r < n; r++, rows += words) {
        __m512i sum = _mm512_setzero_si512();
        for (int w = 0; w < words; w += 8) {
            __m512i x = _mm512_xor_si512(_mm512_loadu_si512(rows + w), _mm512_loadu_si512(q + w));
            sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(x));
        }
        ret[r] = (uint16_t)_mm512_reduce_add_epi64(sum);
    }
}
#endif

__attribute__((constructor)) static void prepare_loops(void) {
    for (uint64_t i = 0; i < BITS_MAX; i++) {
        signs[0][i] = negative(i) ? -1 : 1;
        signs[1][i] = negative(BITS_MAX + i) ? -1 : 1;
    }
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2"))
        dot = dot_avx2;
    wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vpopcntdq");
    if (__builtin_cpu_supports("popcnt"))
        hamming = hamming_popcnt;
#endif
}

/* Sketches of a whole number of 512-bit words have a faster loop on some machines. */
static void distances(const struct vectors *v, const struct vector_query *q, uint16_t *ret) {
#if defined(__x86_64__)
    if (wide && v->words % 8 == 0) {
        hamming_avx512(v->sketch, q->sketch, v->words, v->n, ret);
        return;
    }
#endif
    hamming(v->sketch, q->sketch, v->words, v->n, ret);
}

/* ---- rows ---- */

enum err vectors_new(int dimensions, struct vectors **ret) {
    if (dimensions < 1 || dimensions > VECTOR_DIMENSIONS_MAX)
        return ERR_INVALID;
    struct vectors *v = calloc(1, sizeof *v);
    if (!v)
        return ERR_NOMEM;
    v->dims = dimensions;
    v->words = bits_for(dimensions) / 64;
    *ret = v;
    return ERR_OK;
}

void vectors_free(struct vectors *v) {
    if (!v)
        return;
    free(v->rows);
    free(v->scales);
    free(v->sketch);
    free(v);
}

int vectors_dimensions(const struct vectors *v) {
    return v->dims;
}

uint32_t vectors_rows(const struct vectors *v) {
    return v->n;
}

static enum err grow(struct vectors *v) {
    uint32_t size = v->size ? v->size + v->size / 2 : 64;
    if (size < v->size)
        return ERR_TOO_LARGE;
    int8_t *rows = realloc(v->rows, (size_t)size * (size_t)v->dims);
    if (rows)
        v->rows = rows;
    float *scales = realloc(v->scales, size * sizeof *scales);
    if (scales)
        v->scales = scales;
    uint64_t *sketch = realloc(v->sketch, (size_t)size * (size_t)v->words * sizeof *sketch);
    if (sketch)
        v->sketch = sketch;
    if (!rows || !scales || !sketch)
        return ERR_NOMEM;
    v->size = size;
    return ERR_OK;
}

enum err vectors_add(struct vectors *v, struct str packed) {
    if (v->n == v->size) {
        enum err e = grow(v);
        if (e)
            return e;
    }
    int8_t *row = v->rows + (size_t)v->n * (size_t)v->dims;
    uint64_t *sketch = v->sketch + (size_t)v->n * (size_t)v->words;
    if (packed.n == vector_size(v->dims)) {
        memcpy(&v->scales[v->n], packed.p, sizeof *v->scales);
        memcpy(row, packed.p + sizeof *v->scales, (size_t)v->dims);
        sketch_of(row, v->dims, sketch);
    } else {
        v->scales[v->n] = 0;
        memset(row, 0, (size_t)v->dims);
        memset(sketch, 0, (size_t)v->words * sizeof *sketch);
    }
    v->n++;
    return ERR_OK;
}

bool vectors_has(const struct vectors *v, uint32_t row) {
    return row < v->n && v->scales[row] > 0;
}

void vectors_get(const struct vectors *v, uint32_t row, void *out) {
    memcpy(out, &v->scales[row], sizeof *v->scales);
    memcpy((char *)out + sizeof *v->scales, v->rows + (size_t)row * (size_t)v->dims,
           (size_t)v->dims);
}

size_t vectors_bytes(const struct vectors *v) {
    return (size_t)v->size * ((size_t)v->dims + sizeof(float) + (size_t)v->words * 8);
}

/* ---- queries ---- */

enum err vector_query_new(const float *q, int dimensions, struct vector_query **ret) {
    if (dimensions < 1 || dimensions > VECTOR_DIMENSIONS_MAX)
        return ERR_INVALID;
    struct vector_query *out = calloc(1, sizeof *out);
    if (out)
        out->row = malloc((size_t)dimensions);
    if (!out || !out->row) {
        free(out);
        return ERR_NOMEM;
    }
    out->dims = dimensions;
    out->words = bits_for(dimensions) / 64;
    out->scale = quantise(q, dimensions, out->row);
    sketch_of(out->row, dimensions, out->sketch);
    *ret = out;
    return ERR_OK;
}

void vector_query_free(struct vector_query *q) {
    if (!q)
        return;
    free(q->row);
    free(q);
}

static float similarity(const struct vectors *v, const struct vector_query *q, uint32_t row) {
    return (float)dot(v->rows + (size_t)row * (size_t)v->dims, q->row, v->dims) * v->scales[row] *
           q->scale;
}

double vectors_similarity(const struct vectors *v, const struct vector_query *q, uint32_t row) {
    return q->dims == v->dims && row < v->n ? (double)similarity(v, q, row) : 0;
}

double vector_packed_similarity(struct str a, struct str b) {
    float x, y;
    if (a.n != b.n || a.n <= sizeof x)
        return 0;
    memcpy(&x, a.p, sizeof x);
    memcpy(&y, b.p, sizeof y);
    return (double)dot((const int8_t *)a.p + sizeof x, (const int8_t *)b.p + sizeof x,
                       (int)(a.n - sizeof x)) *
           (double)x * (double)y;
}

/* ---- the nearest ---- */

/* A heap whose root is the worst of the k best. */
static void heap_down(struct scored *h, size_t n, size_t i) {
    for (;;) {
        size_t c = 2 * i + 1;
        if (c >= n)
            return;
        if (c + 1 < n && h[c + 1].score < h[c].score)
            c++;
        if (h[i].score <= h[c].score)
            return;
        struct scored t = h[i];
        h[i] = h[c];
        h[c] = t;
        i = c;
    }
}

static void heap_add(struct scored *h, size_t *n, size_t k, uint32_t row, float score) {
    if (*n < k) {
        h[(*n)++] = (struct scored){row, score};
        if (*n == k)
            for (size_t i = k / 2 + 1; i-- > 0;)
                heap_down(h, k, i);
    } else if (score > h[0].score) {
        h[0] = (struct scored){row, score};
        heap_down(h, k, 0);
    }
}

static int by_score(const void *a, const void *b) {
    const struct scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static size_t nearest_exact(const struct vectors *v, const struct vector_query *q,
                            const uint8_t *allowed, uint8_t want, struct scored *ret, size_t k) {
    size_t n = 0;
    for (uint32_t r = 0; r < v->n; r++)
        if (allowed[r] == want && v->scales[r] > 0)
            heap_add(ret, &n, k, r, similarity(v, q, r));
    return n;
}

/* The distance within which the nearest `wanted` allowed rows lie. Others get UINT16_MAX. */
static uint16_t threshold(const struct vectors *v, const uint8_t *allowed, uint8_t want,
                          uint16_t *d, size_t wanted) {
    uint32_t counts[BITS_MAX + 1] = {0};
    size_t sum = 0;
    for (uint32_t r = 0; r < v->n; r++) {
        if (allowed[r] != want || !(v->scales[r] > 0))
            d[r] = UINT16_MAX;
        else
            counts[d[r]]++;
    }
    uint16_t at = 0;
    while (at < BITS_MAX && (sum += counts[at]) < wanted)
        at++;
    return at;
}

static size_t nearest_sketched(const struct vectors *v, const struct vector_query *q,
                               const uint8_t *allowed, uint8_t want, uint16_t *d,
                               struct scored *ret, size_t k) {
    size_t wanted = v->n / RESCORE_PER, n = 0;
    wanted = wanted < RESCORE_MIN ? RESCORE_MIN : wanted;
    wanted = wanted < 4 * k ? 4 * k : wanted;
    distances(v, q, d);
    uint16_t most = threshold(v, allowed, want, d, wanted);
    for (uint32_t r = 0; r < v->n; r++)
        if (d[r] <= most)
            heap_add(ret, &n, k, r, similarity(v, q, r));
    return n;
}

size_t vectors_nearest(const struct vectors *v, const struct vector_query *q,
                       const uint8_t *allowed, uint8_t want, bool exact, uint16_t *scratch,
                       struct scored *ret, size_t k) {
    if (q->dims != v->dims || k == 0)
        return 0;
    size_t n = exact || v->n <= VECTOR_EXACT_ROWS
                   ? nearest_exact(v, q, allowed, want, ret, k)
                   : nearest_sketched(v, q, allowed, want, scratch, ret, k);
    qsort(ret, n, sizeof *ret, by_score);
    return n;
}
