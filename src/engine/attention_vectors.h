/* The kernel of attention.h for one kind of vectors: attention.c includes this once for each, with
 * NAME, TARGET, LANES, VEC, the V_… and how many queries are taken at a time, as registers allow.
 * Where functions are inlined `n` is a constant, so that sums stay in registers. */

TARGET static void NAME(round)(size_t n, const float *x, float *ret) {
    for (size_t i = 0; i < n; i += LANES)
        V_STORE(ret + i, V_ROUND(V_LOAD(x + i)));
}

TARGET static void NAME(widen)(size_t n, const uint16_t *halves, const uint16_t *next, float *ret) {
    for (size_t i = 0; i < n; i += LANES) {
        _mm_prefetch((const char *)(next + i), _MM_HINT_T0);
        V_STORE(ret + i, V_WIDEN(halves + i));
    }
}

TARGET static void NAME(turn)(size_t width, const uint16_t *keys, size_t stride, float *ret) {
    for (size_t cell = LANES; cell < 2 * LANES; cell++) /* of the cells that come next */
        for (size_t i = 0; i < width; i += LINE)
            _mm_prefetch((const char *)(keys + cell * stride + i), _MM_HINT_T0);
    for (size_t cell = 0; cell < LANES; cell += 8)
        for (size_t i = 0; i < width; i += 8)
            turn8(keys + cell * stride + i, stride, ret + i * LANES + cell, LANES);
}

/* Part `i` of each cell's sum, for n queries. */
TARGET INLINE void NAME(part)(size_t n, size_t i, size_t width, const float *turned, const float *q,
                              VEC ret[SCORE_QUERIES]) {
#pragma GCC unroll 4
    for (size_t k = 0; k < n; k++)
        ret[k] = V_ZERO();
#pragma GCC unroll 8
    for (size_t j = i; j < width; j += LANES) {
        VEC cells = V_LOAD(turned + j * LANES);
#pragma GCC unroll 4
        for (size_t k = 0; k < n; k++)
            ret[k] = V_FMA(cells, V_FILL(q[k * width + j]), ret[k]);
    }
}

/* The sums of parts i and i + LANES / 2; of those and i + LANES / 4; and so on. */
#define SUM_OF_TWO(name, of, apart)                                                                \
    TARGET INLINE void NAME(name)(size_t n, size_t i, size_t width, const float *turned,           \
                                  const float *q, VEC ret[SCORE_QUERIES]) {                        \
        VEC other[SCORE_QUERIES];                                                                  \
        NAME(of)(n, i, width, turned, q, ret);                                                     \
        NAME(of)(n, i + (apart), width, turned, q, other);                                         \
        _Pragma("GCC unroll 4") for (size_t k = 0; k < n; k++) ret[k] = V_ADD(ret[k], other[k]);   \
    }
SUM_OF_TWO(part2, part, LANES / 2)
SUM_OF_TWO(part4, part2, LANES / 4)
SUM_OF_TWO(part8, part4, LANES / 8)
SUM_OF_TWO(part16, part8, LANES / 16) /* only of 16 lanes */
#undef SUM_OF_TWO

TARGET INLINE void NAME(score_some)(size_t n, size_t width, const float *turned, const float *q,
                                    float *ret, size_t stride) {
    VEC sums[SCORE_QUERIES];
    if (LANES == 16)
        NAME(part16)(n, 0, width, turned, q, sums);
    else
        NAME(part8)(n, 0, width, turned, q, sums);
#pragma GCC unroll 4
    for (size_t k = 0; k < n; k++)
        V_STORE(ret + k * stride, sums[k]);
}

TARGET INLINE void NAME(score_wide)(size_t width, const float *turned, size_t queries,
                                    const float *q, float *ret, size_t stride) {
    size_t k = 0;
    for (; k + SCORE_QUERIES <= queries; k += SCORE_QUERIES)
        NAME(score_some)(SCORE_QUERIES, width, turned, q + k * width, ret + k * stride, stride);
    for (; k < queries; k++)
        NAME(score_some)(1, width, turned, q + k * width, ret + k * stride, stride);
}

TARGET static void NAME(score)(size_t width, const float *turned, size_t queries, const float *q,
                               float *ret, size_t stride) {
    if (width == 64) /* of most small models: known beforehand it is computed without loops */
        NAME(score_wide)(64, turned, queries, q, ret, stride);
    else
        NAME(score_wide)(width, turned, queries, q, ret, stride);
}

/* Four dimensions of n queries. */
TARGET INLINE void NAME(mix_four)(size_t n, size_t cells, const float *values, const float *shares,
                                  size_t stride, float *ret, size_t dims) {
    VEC sums[MIX_QUERIES][4];
#pragma GCC unroll 6
    for (size_t k = 0; k < n; k++)
#pragma GCC unroll 4
        for (size_t d = 0; d < 4; d++)
            sums[k][d] = V_ZERO();
    for (size_t i = 0; i < cells; i += LANES) {
        VEC v[4];
#pragma GCC unroll 4
        for (size_t d = 0; d < 4; d++)
            v[d] = V_LOAD(values + d * stride + i);
#pragma GCC unroll 6
        for (size_t k = 0; k < n; k++) {
            VEC share = V_LOAD(shares + k * stride + i);
#pragma GCC unroll 4
            for (size_t d = 0; d < 4; d++)
                sums[k][d] = V_FMA(v[d], share, sums[k][d]);
        }
    }
#pragma GCC unroll 6
    for (size_t k = 0; k < n; k++)
        _mm_storeu_ps(ret + k * dims, NAME(sums)(sums[k][0], sums[k][1], sums[k][2], sums[k][3]));
}

TARGET static void NAME(mix)(size_t cells, size_t dims, const float *values, size_t queries,
                             const float *shares, size_t stride, float *ret) {
    for (size_t d = 0; d < dims; d += 4) {
        if (queries == MIX_QUERIES) {
            NAME(mix_four)(MIX_QUERIES, cells, values + d * stride, shares, stride, ret + d, dims);
            continue;
        }
        for (size_t k = 0; k < queries; k++)
            NAME(mix_four)
        (1, cells, values + d * stride, shares + k * stride, stride, ret + k * dims + d, dims);
    }
}

/* The product is rounded before the mask is added to it. */
TARGET static float NAME(weigh)(size_t n, const float *x, float scale, const float *mask,
                                float *ret) {
    VEC most = V_FILL(-INFINITY);
    float each[LANES], max = -INFINITY;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        VEC v = V_MUL(V_LOAD(x + i), V_FILL(scale));
        if (mask)
            v = V_ADD(v, V_LOAD(mask + i));
        most = V_MAX(most, v);
        V_STORE(ret + i, v);
    }
    V_STORE(each, most);
    for (size_t k = 0; k < LANES; k++)
        max = each[k] > max ? each[k] : max;
    for (; i < n; i++) {
        ret[i] = x[i] * scale;
        ret[i] += mask ? mask[i] : 0;
        max = ret[i] > max ? ret[i] : max;
    }
    return max;
}

TARGET static size_t NAME(length)(size_t n, const float *x, float rest) {
    while (n >= LANES && V_ALL_EQUAL(V_LOAD(x + n - LANES), V_FILL(rest)))
        n -= LANES;
    while (n > 0 && x[n - 1] == rest)
        n--;
    return n;
}

static const struct attention_kernel NAME(kernel) = {
    .lanes = LANES,
    .queries = MIX_QUERIES,
    .round = NAME(round),
    .widen = NAME(widen),
    .turn = NAME(turn),
    .score = NAME(score),
    .mix = NAME(mix),
    .weigh = NAME(weigh),
    .length = NAME(length),
};

#undef NAME
#undef TARGET
#undef LANES
#undef VEC
#undef V_ZERO
#undef V_FILL
#undef V_LOAD
#undef V_STORE
#undef V_FMA
#undef V_ADD
#undef V_MUL
#undef V_MAX
#undef V_WIDEN
#undef V_ROUND
#undef V_ALL_EQUAL
#undef SCORE_QUERIES
#undef MIX_QUERIES
