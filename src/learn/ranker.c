/* Scoring with a ranker; see ranker.h. */
#include "learn/ranker_internal.h"

#include <math.h>
#include <stdlib.h>

#include "base/vector.h"
#include "learn/stats.h"

#define KERNEL_FROM  0.2  /* likeness of questions below this says nothing */
#define KERNEL_LEAST 1e-3 /* what adds less than this is not looked at */
#define PASSAGE_PART 0.8  /* of a like passage against the same one */
#define ECHO_TOP     3
#define ORDER_HALF   20.0 /* the rank at which the search's own order counts half */

const char *ranker_signal_name(enum ranker_signal s) {
    static const char *const names[] = {
#define X(id, name, prior, kept) name,
        RANKER_SIGNALS_TABLE(X)
#undef X
    };
    return names[s];
}

double ranker_question_kernel(double cosine, double words) {
    double like = (0.5 * cosine + 0.5 * words - KERNEL_FROM) / (1 - KERNEL_FROM);
    return like <= 0 ? 0 : like >= 1 ? 1 : like * sqrt(like);
}

double ranker_passage_kernel(double cosine) {
    if (cosine <= 0)
        return 0;
    double square = cosine * cosine;
    return PASSAGE_PART * square * square;
}

double ranker_word_weight(void *ctx, uint64_t word) {
    const struct ranker *r = ctx;
    size_t from = 0, to = r->n_words;
    while (from < to) {
        size_t mid = (from + to) / 2;
        if (r->words[mid].hash < word)
            from = mid + 1;
        else
            to = mid;
    }
    if (from < r->n_words && r->words[from].hash == word)
        return (double)r->words[from].weight;
    return log(2 + (double)r->n_questions); /* a word that no rated question had is rare */
}

/* ---- signals ---- */

static void echo(struct ranker_passage *p, size_t n, size_t dims) {
    float middle[RANKER_DIMS_MAX] = {0};
    size_t used = 0;
    for (size_t i = 0; i < n && used < ECHO_TOP; i++) {
        if (!p[i].vector)
            continue;
        for (size_t k = 0; k < dims; k++)
            middle[k] += p[i].vector[k];
        used++;
    }
    double length = sqrt(vector_dot(middle, middle, dims));
    for (size_t i = 0; i < n; i++)
        p[i].signals[RANKER_ECHO] =
            p[i].vector && length > 0 ? vector_dot(middle, p[i].vector, dims) / length : 0;
}

void ranker_fill_signals(struct ranker_passage *p, size_t n, size_t dims) {
    for (size_t i = 0; i < n; i++) {
        p[i].signals[RANKER_BIAS] = 1;
        p[i].signals[RANKER_ORDER] = ORDER_HALF / (ORDER_HALF + (double)i);
        p[i].signals[RANKER_WEIGHT] = p[i].signals[RANKER_SOURCE] = 0;
    }
    if (dims <= RANKER_DIMS_MAX)
        echo(p, n, dims);
}

static int compare_chunk(uint64_t role, uint64_t key, const struct ranker_chunk *c) {
    if (role != c->role)
        return role < c->role ? -1 : 1;
    return key < c->key ? -1 : key > c->key;
}

double ranker_chunk_weight(const struct ranker *r, uint64_t role, uint64_t key) {
    size_t from = 0, to = r->n_chunks;
    while (from < to) {
        size_t mid = (from + to) / 2;
        int way = compare_chunk(role, key, &r->chunks[mid]);
        if (way == 0)
            return (double)r->chunks[mid].weight;
        if (way < 0)
            to = mid;
        else
            from = mid + 1;
    }
    return 0;
}

/* ---- the memory ---- */

/* kq of the question to every rated one. */
static void question_kernels(const struct ranker *r, const struct ranker_question *q, double *kq) {
    struct words words;
    words_of(q->text, &words);
    for (size_t i = 0; i < r->n_questions; i++) {
        double cosine =
            q->vector ? vector_dot(q->vector, r->question_vectors + i * r->dims, r->dims) : 0;
        kq[i] = 0;
        if (0.5 * cosine + 0.5 > KERNEL_FROM)
            kq[i] = ranker_question_kernel(
                cosine, words_alike(&words, &r->question_words[i], ranker_word_weight, (void *)r));
    }
}

static double remembered(const struct ranker *r, const double *kq, const struct ranker_passage *p) {
    double sum = 0;
    for (size_t i = 0; i < r->n_pairs; i++) {
        const struct ranker_pair *a = &r->pairs[i];
        double k = kq[a->question] * (double)a->alpha;
        if (fabs(k) < KERNEL_LEAST)
            continue;
        if (r->passage_keys[a->passage] == p->key)
            sum += k;
        else if (p->vector)
            sum += k * ranker_passage_kernel(vector_dot(
                           p->vector, r->passage_vectors + a->passage * r->dims, r->dims));
    }
    return sum;
}

void ranker_score(const struct ranker *r, const struct ranker_question *q,
                  struct ranker_passage *passages, size_t n, double *ret) {
    double *kq = r->n_pairs ? calloc(r->n_questions, sizeof *kq) : NULL;
    if (kq)
        question_kernels(r, q, kq);
    for (size_t i = 0; i < n; i++) {
        struct ranker_passage *p = &passages[i];
        double z = 0;
        p->signals[RANKER_WEIGHT] = ranker_chunk_weight(r, q->role, p->key);
        p->signals[RANKER_SOURCE] = p->source ? ranker_chunk_weight(r, q->role, p->source) : 0;
        for (size_t s = 0; s < RANKER_SIGNALS; s++)
            z += r->weights[s] * p->signals[s];
        ret[i] = logistic(z) + (kq ? remembered(r, kq, p) : 0);
    }
    free(kq);
}

/* ---- what it knows ---- */

const double *ranker_weights(const struct ranker *r) {
    return r->weights;
}

size_t ranker_pairs(const struct ranker *r) {
    return r->n_pairs;
}

size_t ranker_dims(const struct ranker *r) {
    return r->dims;
}

void ranker_reverse(struct ranker *r) {
    for (size_t s = 1; s < RANKER_SIGNALS; s++)
        r->weights[s] = -r->weights[s];
    for (size_t i = 0; i < r->n_pairs; i++)
        r->pairs[i].alpha = -r->pairs[i].alpha;
}

void ranker_free(struct ranker *r) {
    if (!r)
        return;
    free(r->question_vectors);
    free(r->passage_vectors);
    free(r->question_words);
    free(r->passage_keys);
    free(r->pairs);
    free(r->words);
    free(r->chunks);
    free(r);
}
