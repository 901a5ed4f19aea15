/* See neighbours.h. Words are numbers of 24 bits: two that meet in one cost nothing that matters
 * among some thousand. They are sorted by number, so that each word is met once with all its
 * passages, and adds to the products of those. */
#include "retrieval/neighbours.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/vector.h"

#define FEW         3
#define MANY        8
#define STEEP       25.0 /* e^-STEEP·d: what a passage counts that is d behind the best */
#define WORDS_EACH  512
#define WORD_BITS   24
#define RADIX_BITS  12
#define RADIX       (1u << RADIX_BITS)
#define PLACE_BITS  8 /* the passage, in a word's low bits */
#define PLACE(word) ((word) & ((1u << PLACE_BITS) - 1))

struct neighbours {
    size_t n, n_words, here; /* here: words of the passage that was added last */
    double fused[NEIGHBOURS_MAX];
    const float *vector[NEIGHBOURS_MAX];
    uint32_t word[NEIGHBOURS_MAX * WORDS_EACH], sorted[NEIGHBOURS_MAX * WORDS_EACH];
    uint32_t start[RADIX + 1]; /* of the radix sort */
    float like[NEIGHBOURS_MAX][NEIGHBOURS_MAX];
};

struct neighbours *neighbours_new(void) {
    return calloc(1, sizeof(struct neighbours));
}

void neighbours_free(struct neighbours *x) {
    free(x);
}

void neighbours_begin(struct neighbours *x) {
    x->n = x->n_words = x->here = 0;
}

bool neighbours_add(struct neighbours *x, double fused, const float *vector) {
    if (x->n == NEIGHBOURS_MAX)
        return false;
    x->fused[x->n] = fused;
    x->vector[x->n++] = vector;
    x->here = 0;
    return true;
}

void neighbours_word(struct neighbours *x, struct str word) {
    uint32_t h = 0x811c9dc5u; /* FNV-1a */
    if (x->n == 0 || x->here == WORDS_EACH)
        return;
    for (size_t i = 0; i < word.n; i++)
        h = (h ^ (unsigned char)word.p[i]) * 0x01000193u;
    h = (h >> WORD_BITS) ^ (h & ((1u << WORD_BITS) - 1));
    x->word[x->n_words++] = h << PLACE_BITS | (uint32_t)(x->n - 1);
    x->here++;
}

/* ---- likeness ---- */

/* One pass of a radix sort, which keeps the order of what is equal: passages ascend already. */
static void sort_by(struct neighbours *x, const uint32_t *from, uint32_t *to, unsigned shift) {
    uint32_t *start = x->start;
    size_t n = x->n_words;
    memset(start, 0, sizeof x->start);
    for (size_t i = 0; i < n; i++)
        start[(from[i] >> shift & (RADIX - 1)) + 1]++;
    for (size_t k = 0; k < RADIX; k++)
        start[k + 1] += start[k];
    for (size_t i = 0; i < n; i++)
        to[start[from[i] >> shift & (RADIX - 1)]++] = from[i];
}

/* A word and the passages that have it. */
static void add_products(struct neighbours *x, const uint32_t *w, size_t n) {
    uint32_t at[NEIGHBOURS_MAX];
    float weight[NEIGHBOURS_MAX];
    size_t m = 0;
    for (size_t i = 0, to; i < n; i = to) {
        for (to = i; to < n && w[to] == w[i]; to++)
            ;
        at[m] = PLACE(w[i]);
        weight[m++] = to - i == 1 ? 1 : 1 + logf((float)(to - i));
    }
    float rare = logf(1 + (float)x->n / (float)m);
    for (size_t i = 0; i < m; i++)
        for (size_t k = 0; k <= i; k++)
            x->like[at[i]][at[k]] += rare * rare * weight[i] * weight[k];
}

static void compare_words(struct neighbours *x) {
    memset(x->like, 0, sizeof x->like);
    sort_by(x, x->word, x->sorted, PLACE_BITS);
    sort_by(x, x->sorted, x->word, PLACE_BITS + RADIX_BITS);
    for (size_t i = 0, to; i < x->n_words; i = to) {
        for (to = i; to < x->n_words && x->word[to] >> PLACE_BITS == x->word[i] >> PLACE_BITS; to++)
            ;
        add_products(x, x->word + i, to - i);
    }
    for (size_t i = 0; i < x->n; i++)
        for (size_t k = 0; k < i; k++) {
            float both = x->like[i][i] * x->like[k][k];
            x->like[i][k] = x->like[k][i] = both > 0 ? x->like[i][k] / sqrtf(both) : 0;
        }
}

/* -2: one of them has no vector. */
static void compare_vectors(struct neighbours *x, size_t dims) {
    for (size_t i = 0; i < x->n; i++)
        for (size_t k = 0; k < i; k++)
            x->like[i][k] = x->like[k][i] =
                x->vector[i] && x->vector[k] ? (float)vector_dot(x->vector[i], x->vector[k], dims)
                                             : -2;
}

/* ---- signals ---- */

/* The mean of `fused` of the `few` and the `many` that are most like passage i. */
static void of_nearest(const struct neighbours *x, size_t i, double *few, double *many) {
    size_t near[MANY], n = 0;
    double sum = 0;
    *few = *many = 0;
    for (size_t k = 0; k < x->n; k++) {
        float like = x->like[i][k];
        if (k == i || like < -1.5f)
            continue;
        size_t at = n < MANY ? n++ : MANY;
        for (; at > 0 && x->like[i][near[at - 1]] < like; at--)
            if (at < MANY)
                near[at] = near[at - 1];
        if (at < MANY)
            near[at] = k;
    }
    for (size_t k = 0; k < n; k++) {
        sum += x->fused[near[k]];
        if (k < FEW)
            *few = sum / (double)(k + 1);
    }
    *many = n ? sum / (double)n : 0;
}

static double like_the_best(const struct neighbours *x, size_t i) {
    double best = 0, sum = 0, all = 0;
    for (size_t k = 0; k < x->n; k++)
        best = fmax(best, x->fused[k]);
    for (size_t k = 0; k < x->n; k++) {
        double weight = exp(STEEP * (x->fused[k] - best));
        all += weight;
        sum += k == i ? 0 : weight * (double)x->like[i][k];
    }
    return all > 0 ? sum / all : 0;
}

/* Of those that know it; the others keep 0. */
static void centre(double (*v)[NEIGHBOUR_SIGNALS], size_t n, enum neighbour_signal s,
                   const bool *known) {
    double sum = 0, of = 0;
    for (size_t i = 0; i < n; i++)
        if (known[i]) {
            sum += v[i][s];
            of += 1;
        }
    for (size_t i = 0; i < n; i++)
        v[i][s] = known[i] && of > 1 ? v[i][s] - sum / of : 0;
}

void neighbours_end(struct neighbours *x, int dimensions, double (*ret)[NEIGHBOUR_SIGNALS]) {
    bool always[NEIGHBOURS_MAX], has_vector[NEIGHBOURS_MAX];
    compare_words(x);
    for (size_t i = 0; i < x->n; i++) {
        of_nearest(x, i, &ret[i][NEIGHBOUR_WORDS_FEW], &ret[i][NEIGHBOUR_WORDS_MANY]);
        ret[i][NEIGHBOUR_WORDS_BEST] = like_the_best(x, i);
        always[i] = true;
        has_vector[i] = x->vector[i] != NULL;
    }
    compare_vectors(x, (size_t)dimensions);
    for (size_t i = 0; i < x->n; i++)
        of_nearest(x, i, &ret[i][NEIGHBOUR_FEW], &ret[i][NEIGHBOUR_MANY]);
    for (int s = 0; s < NEIGHBOUR_SIGNALS; s++)
        centre(ret, x->n, (enum neighbour_signal)s, s <= NEIGHBOUR_MANY ? has_vector : always);
}
