/* Training a ranker from ratings: pairs are put together, the linear part is fitted, then the
 * memory on what it leaves. See ranker.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/vector.h"
#include "learn/ranker_internal.h"
#include "learn/stats.h"

#define LINEAR_L2 1.0 /* how firmly the linear part holds to the search's own order */
#define PAIR_FULL 3.0 /* a pair's ratings count for at most so many in the linear part */
#define NOISE     4.0 /* of one rating, against the memory's variance of 1 */
#define NUGGET    0.3 /* what even countless ratings leave open */
#define AGE_HALVES                                                                                 \
    2.0 /* so often is the weight of the oldest pair halved, when they are too many */
#define WEIGHT_PRIOR 4.0 /* ratings that a (role, chunk) counts as unremarkable before its own */
#define CG_STEPS     200
#define CG_ENOUGH    1e-4

struct cell { /* the ratings of one (question, passage), put together */
    uint32_t question, passage;
    double sum, weight;
    size_t newest; /* the rating whose signals are taken */
    double worth;  /* of being remembered, when there are too many */
};

struct training {
    const struct ranker_input *in;
    struct ranker *r;
    struct cell *cells; /* owned */
    size_t n_cells;
    uint32_t *passage_of;  /* owned: for each rating */
    const float **vectors; /* owned: of each passage */
    double *x, *y, *w;     /* owned: the linear part's rows */
};

/* ---- the lists ---- */

struct keyed {
    uint64_t key;
    uint32_t at;
};

static int by_key(const void *a, const void *b) {
    const struct keyed *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* Numbers the passages that occur. */
static enum err number_passages(struct training *t) {
    size_t n = t->in->n_ratings;
    struct keyed *k = calloc(n + 1, sizeof *k);
    t->passage_of = calloc(n + 1, sizeof *t->passage_of);
    t->vectors = calloc(n + 1, sizeof *t->vectors);
    t->r->passage_keys = calloc(n + 1, sizeof *t->r->passage_keys);
    if (!k || !t->passage_of || !t->vectors || !t->r->passage_keys) {
        free(k);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < n; i++)
        k[i] = (struct keyed){t->in->ratings[i].passage.key, (uint32_t)i};
    qsort(k, n, sizeof *k, by_key);
    uint32_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || k[i].key != k[i - 1].key)
            t->r->passage_keys[count++] = k[i].key;
        t->passage_of[k[i].at] = count - 1;
        if (t->in->ratings[k[i].at].passage.vector)
            t->vectors[count - 1] = t->in->ratings[k[i].at].passage.vector;
    }
    t->r->n_passages = count;
    free(k);
    return ERR_OK;
}

static int by_cell(const void *a, const void *b) {
    const struct cell *x = a, *y = b;
    if (x->question != y->question)
        return x->question < y->question ? -1 : 1;
    if (x->passage != y->passage)
        return x->passage < y->passage ? -1 : 1;
    return x->newest < y->newest ? -1 : x->newest > y->newest;
}

static int by_worth(const void *a, const void *b) {
    const struct cell *x = a, *y = b;
    if (x->worth != y->worth)
        return x->worth > y->worth ? -1 : 1;
    return x->newest > y->newest ? -1 : x->newest < y->newest;
}

static enum err gather_cells(struct training *t) {
    size_t n = t->in->n_ratings, count = 0;
    struct cell *c = t->cells = calloc(n + 1, sizeof *c);
    if (!c)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        const struct ranker_rating *g = &t->in->ratings[i];
        if (g->weight > 0)
            c[count++] = (struct cell){
                (uint32_t)g->question, t->passage_of[i], g->weight * g->value, g->weight, i, 0};
    }
    qsort(c, count, sizeof *c, by_cell);
    size_t m = 0;
    for (size_t i = 0; i < count; i++) {
        if (m && c[m - 1].question == c[i].question && c[m - 1].passage == c[i].passage) {
            c[m - 1].sum += c[i].sum;
            c[m - 1].weight += c[i].weight;
            c[m - 1].newest = c[i].newest;
        } else {
            c[m++] = c[i];
        }
    }
    if (m > RANKER_PAIRS_MAX) {
        for (size_t i = 0; i < m; i++)
            c[i].worth = c[i].weight * exp2(-AGE_HALVES * (double)(n - c[i].newest) / (double)n);
        qsort(c, m, sizeof *c, by_worth);
        m = RANKER_PAIRS_MAX;
        qsort(c, m, sizeof *c, by_cell);
    }
    t->n_cells = m;
    return ERR_OK;
}

static int by_word(const void *a, const void *b) {
    uint64_t x = ((const struct ranker_word *)a)->hash, y = ((const struct ranker_word *)b)->hash;
    return x < y ? -1 : x > y;
}

/* Words and how rare they are among the questions. */
static enum err gather_words(struct training *t) {
    struct ranker *r = t->r;
    size_t all = 0, m = 0;
    for (size_t i = 0; i < r->n_questions; i++) {
        words_of(t->in->questions[i].text, &r->question_words[i]);
        all += r->question_words[i].n;
    }
    r->words = calloc(all + 1, sizeof *r->words);
    if (!r->words)
        return ERR_NOMEM;
    for (size_t i = 0, k = 0; i < r->n_questions; i++)
        for (size_t j = 0; j < r->question_words[i].n; j++)
            r->words[k++].hash = r->question_words[i].hash[j];
    qsort(r->words, all, sizeof *r->words, by_word);
    for (size_t i = 0; i < all; i++) {
        if (m && r->words[m - 1].hash == r->words[i].hash)
            r->words[m - 1].weight += 1;
        else
            r->words[m++] = (struct ranker_word){r->words[i].hash, 1};
    }
    r->n_words = m;
    for (size_t i = 0; i < m; i++)
        r->words[i].weight =
            (float)log(1 + (double)(r->n_questions + 1) / (double)r->words[i].weight);
    return ERR_OK;
}

static enum err copy_vectors(struct training *t) {
    struct ranker *r = t->r;
    size_t d = r->dims;
    r->question_vectors = calloc(r->n_questions * d + 1, sizeof(float));
    r->passage_vectors = calloc(r->n_passages * d + 1, sizeof(float));
    r->question_words = calloc(r->n_questions + 1, sizeof *r->question_words);
    if (!r->question_vectors || !r->passage_vectors || !r->question_words)
        return ERR_NOMEM;
    for (size_t i = 0; i < r->n_questions; i++)
        if (t->in->questions[i].vector)
            memcpy(r->question_vectors + i * d, t->in->questions[i].vector, d * sizeof(float));
    for (size_t i = 0; i < r->n_passages; i++)
        if (t->vectors[i])
            memcpy(r->passage_vectors + i * d, t->vectors[i], d * sizeof(float));
    return gather_words(t);
}

/* ---- (role, chunk) and (role, document) weights ---- */

static int by_chunk(const void *a, const void *b) {
    const struct ranker_chunk *x = a, *y = b;
    if (x->role != y->role)
        return x->role < y->role ? -1 : 1;
    return x->key < y->key ? -1 : x->key > y->key;
}

struct vote { /* of a pair's ratings for the chunk, or for the document */
    uint64_t role, key;
    uint32_t question, cell;
    double excess, weight;
};

static int by_vote(const void *a, const void *b) {
    const struct vote *x = a, *y = b;
    if (x->role != y->role)
        return x->role < y->role ? -1 : 1;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    if (x->question != y->question)
        return x->question < y->question ? -1 : 1;
    return x->cell < y->cell ? -1 : x->cell > y->cell;
}

static double usual(const struct training *t) {
    double sum = 0, weight = 0;
    for (size_t i = 0; i < t->n_cells; i++) {
        sum += t->cells[i].sum;
        weight += t->cells[i].weight;
    }
    return weight > 0 ? sum / weight : 0.5;
}

/* Above the usual, shrunk; a question's ratings count for at most PAIR_FULL, so that one question
 * asked a hundred times does not decide what a passage is worth to all others. */
static size_t gather_votes(const struct training *t, bool of_source, struct vote *v) {
    double mean = usual(t);
    size_t n = 0;
    for (size_t i = 0; i < t->n_cells; i++) {
        const struct cell *c = &t->cells[i];
        uint64_t source = t->in->ratings[c->newest].passage.source;
        double full = fmin(c->weight, PAIR_FULL);
        if (!of_source || source)
            v[n++] = (struct vote){.role = t->in->questions[c->question].role,
                                   .key = of_source ? source : t->r->passage_keys[c->passage],
                                   .question = c->question,
                                   .cell = (uint32_t)i,
                                   .excess = (c->sum / c->weight - mean) * full,
                                   .weight = full};
    }
    qsort(v, n, sizeof *v, by_vote);
    return n;
}

/* What the other questions say of it: a question does not explain itself. */
static void weigh_for_others(const struct training *t, const struct vote *v, size_t n, double sum,
                             double weight, enum ranker_signal signal) {
    for (size_t from = 0, to; from < n; from = to) {
        double own = 0, own_weight = 0;
        for (to = from; to < n && v[to].question == v[from].question; to++) {
            own += v[to].excess;
            own_weight += v[to].weight;
        }
        for (size_t i = from; i < to; i++)
            t->x[v[i].cell * RANKER_SIGNALS + signal] =
                (sum - own) / (weight - own_weight + WEIGHT_PRIOR);
    }
}

static enum err weigh_chunks(struct training *t) {
    struct ranker *r = t->r;
    struct vote *v = calloc(t->n_cells + 1, sizeof *v);
    r->chunks = calloc(2 * t->n_cells + 1, sizeof *r->chunks);
    if (!v || !r->chunks) {
        free(v);
        return ERR_NOMEM;
    }
    for (int of_source = 0; of_source < 2; of_source++) {
        size_t n = gather_votes(t, of_source, v);
        for (size_t from = 0, to; from < n; from = to) {
            double sum = 0, weight = 0;
            for (to = from; to < n && v[to].role == v[from].role && v[to].key == v[from].key;
                 to++) {
                sum += v[to].excess;
                weight += v[to].weight;
            }
            r->chunks[r->n_chunks++] = (struct ranker_chunk){
                v[from].role, v[from].key, (float)(sum / (weight + WEIGHT_PRIOR))};
            weigh_for_others(t, v + from, to - from, sum, weight,
                             of_source ? RANKER_SOURCE : RANKER_WEIGHT);
        }
    }
    if (r->n_chunks)
        qsort(r->chunks, r->n_chunks, sizeof *r->chunks, by_chunk);
    free(v);
    return ERR_OK;
}

/* ---- the linear part ---- */

/* Without ratings the order is the search's own. */
static const double prior[RANKER_SIGNALS] = {
#define X(id, name, prior, kept) prior,
    RANKER_SIGNALS_TABLE(X)
#undef X
};
static const bool nonnegative[RANKER_SIGNALS] = {
#define X(id, name, prior, kept) kept,
    RANKER_SIGNALS_TABLE(X)
#undef X
};

static enum err fit_linear(struct training *t) {
    size_t n = t->n_cells;
    t->x = calloc(n * RANKER_SIGNALS + 1, sizeof *t->x);
    t->y = calloc(n + 1, sizeof *t->y);
    t->w = calloc(n + 1, sizeof *t->w);
    if (!t->x || !t->y || !t->w)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        double *x = t->x + i * RANKER_SIGNALS;
        memcpy(x, t->in->ratings[t->cells[i].newest].passage.signals, sizeof prior);
        x[RANKER_WEIGHT] = x[RANKER_SOURCE] = 0;
        t->y[i] = t->cells[i].sum / t->cells[i].weight;
        t->w[i] = fmin(t->cells[i].weight, PAIR_FULL);
    }
    enum err e = weigh_chunks(t);
    if (e)
        return e;
    memcpy(t->r->weights, prior, sizeof prior);
    struct logistic_problem p = {.x = t->x,
                                 .y = t->y,
                                 .w = t->w,
                                 .n = n,
                                 .dims = RANKER_SIGNALS,
                                 .l2 = LINEAR_L2,
                                 .prior = prior,
                                 .nonnegative = nonnegative};
    return t->in->linear && n ? logistic_fit(&p, t->r->weights) : ERR_OK;
}

/* ---- the memory: (K + noise) a = rest, by conjugate gradients ---- */

struct system {
    size_t n;
    float *k; /* n × n */
    double *noise;
};

static void times(const struct system *s, const double *v, float *v32, double *out) {
    for (size_t i = 0; i < s->n; i++)
        v32[i] = (float)v[i];
    for (size_t i = 0; i < s->n; i++)
        out[i] = vector_dot(s->k + i * s->n, v32, s->n) + s->noise[i] * v[i];
}

static double dot(const double *a, const double *b, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += a[i] * b[i];
    return s;
}

/* Preconditioned by the diagonal (Hestenes and Stiefel, 1952). */
static enum err conjugate_gradients(const struct system *s, const double *b, double *x) {
    size_t n = s->n;
    double *r = calloc(4 * n + 1, sizeof *r), *z = r + n, *p = z + n, *q = p + n;
    float *v32 = calloc(n + 1, sizeof *v32);
    if (!r || !v32) {
        free(r);
        free(v32);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        x[i] = 0;
        r[i] = b[i];
        p[i] = z[i] = r[i] / (1 + s->noise[i]);
    }
    double rz = dot(r, z, n), first = sqrt(dot(b, b, n));
    for (int step = 0; step < CG_STEPS && sqrt(dot(r, r, n)) > CG_ENOUGH * first; step++) {
        times(s, p, v32, q);
        double along = rz / dot(p, q, n);
        for (size_t i = 0; i < n; i++) {
            x[i] += along * p[i];
            r[i] -= along * q[i];
            z[i] = r[i] / (1 + s->noise[i]);
        }
        double next = dot(r, z, n);
        for (size_t i = 0; i < n; i++)
            p[i] = z[i] + next / rz * p[i];
        rz = next;
    }
    free(r);
    free(v32);
    return ERR_OK;
}

/* kq between rated questions: n_questions × n_questions. */
static float *question_table(const struct ranker *r) {
    size_t n = r->n_questions;
    float *t = calloc(n * n + 1, sizeof *t);
    for (size_t i = 0; t && i < n; i++) {
        t[i * n + i] = 1;
        for (size_t j = 0; j < i; j++) {
            double cosine = vector_dot(r->question_vectors + i * r->dims,
                                       r->question_vectors + j * r->dims, r->dims);
            double words = words_alike(&r->question_words[i], &r->question_words[j],
                                       ranker_word_weight, (void *)r);
            t[i * n + j] = t[j * n + i] = (float)ranker_question_kernel(cosine, words);
        }
    }
    return t;
}

static void fill_kernel(const struct training *t, const float *kq, float *k) {
    const struct ranker *r = t->r;
    size_t n = t->n_cells;
    for (size_t i = 0; i < n; i++) {
        const struct cell *a = &t->cells[i];
        k[i * n + i] = 1;
        for (size_t j = 0; j < i; j++) {
            const struct cell *b = &t->cells[j];
            float v = kq[a->question * r->n_questions + b->question];
            if (v > 1e-3f && a->passage != b->passage)
                v *= (float)ranker_passage_kernel(
                    vector_dot(r->passage_vectors + a->passage * r->dims,
                               r->passage_vectors + b->passage * r->dims, r->dims));
            k[i * n + j] = k[j * n + i] = v;
        }
    }
}

static enum err fit_memory(struct training *t) {
    struct ranker *r = t->r;
    size_t n = t->n_cells;
    struct system s = {n, calloc(n * n + 1, sizeof(float)), calloc(3 * n + 1, sizeof(double))};
    float *kq = question_table(r);
    r->pairs = calloc(n + 1, sizeof *r->pairs);
    enum err e = s.k && s.noise && kq && r->pairs ? ERR_OK : ERR_NOMEM;
    double *rest = s.noise + n, *alpha = rest + n;
    for (size_t i = 0; !e && i < n; i++) {
        s.noise[i] = NUGGET + NOISE / t->cells[i].weight;
        rest[i] = t->y[i] - logistic(dot(r->weights, t->x + i * RANKER_SIGNALS, RANKER_SIGNALS));
    }
    if (!e) {
        fill_kernel(t, kq, s.k);
        e = conjugate_gradients(&s, rest, alpha);
    }
    for (size_t i = 0; !e && i < n; i++)
        r->pairs[r->n_pairs++] =
            (struct ranker_pair){t->cells[i].question, t->cells[i].passage, (float)alpha[i]};
    free(kq);
    free(s.k);
    free(s.noise);
    return e;
}

static bool is_sound(const struct ranker_input *in) {
    if (in->n_questions > RANKER_QUESTIONS_MAX || in->dims > RANKER_DIMS_MAX ||
        in->n_ratings > UINT32_MAX / 2)
        return false;
    for (size_t i = 0; i < in->n_ratings; i++)
        if (in->ratings[i].question >= in->n_questions || !(in->ratings[i].weight >= 0) ||
            !(in->ratings[i].value >= 0) || in->ratings[i].value > 1)
            return false;
    return true;
}

enum err ranker_train(const struct ranker_input *in, struct ranker **ret) {
    if (!is_sound(in))
        return ERR_INVALID;
    struct training t = {.in = in, .r = calloc(1, sizeof *t.r)};
    if (!t.r)
        return ERR_NOMEM;
    t.r->dims = in->dims;
    t.r->n_questions = in->n_questions;
    enum err e = number_passages(&t);
    if (!e)
        e = gather_cells(&t);
    if (!e)
        e = copy_vectors(&t);
    if (!e)
        e = fit_linear(&t);
    if (!e && in->memory && t.n_cells)
        e = fit_memory(&t);
    free(t.cells);
    free(t.passage_of);
    free(t.vectors);
    free(t.x);
    free(t.y);
    free(t.w);
    if (e)
        ranker_free(t.r);
    else
        *ret = t.r;
    return e;
}
