#include "engine/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/guide.h"

#define BLOCK 64 /* logits whose maximum is looked at before any of them */
#define LANES 16 /* compared side by side: what a compiler turns into a few wide instructions */

struct seen { /* open addressing; token -1 = free */
    int32_t token;
    int32_t count;
};

struct candidate {
    float logit;
    int32_t token;
};

struct sampler {
    struct sampler_params p;
    int vocabulary;
    uint64_t random;
    int32_t recent[SAMPLER_RECENT];
    int n_recent; /* ever seen */
    struct seen *answer;
    size_t answer_size, answer_n;
    struct candidate heap[SAMPLER_CANDIDATES];
    int n;
    struct guide *guide; /* borrowed, may be NULL */
};

void sampler_params_init(struct sampler_params *p) {
    memset(p, 0, sizeof(*p));
    p->temperature = 0.8f;
    p->top_k = 40;
    p->top_p = 0.95f;
    p->min_p = 0.05f;
    p->repetition = 1;
    p->logprobs = -1;
}

struct sampler *sampler_new(const struct sampler_params *p, int vocabulary) {
    struct sampler *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->p = *p;
    s->vocabulary = vocabulary;
    s->random = p->seed;
    return s;
}

void sampler_free(struct sampler *s) {
    if (!s)
        return;
    free(s->answer);
    free(s);
}

/* splitmix64 (Steele, Lea, Flood 2014): one addition and three mixes, the same everywhere. */
static double draw(struct sampler *s) {
    uint64_t z = s->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1.0p-53;
}

static struct seen *seen_find(struct seen *table, size_t size, int32_t token) {
    size_t i = ((uint32_t)token * 2654435761u) & (size - 1);
    while (table[i].count && table[i].token != token)
        i = (i + 1) & (size - 1);
    return &table[i];
}

static bool seen_grow(struct sampler *s) {
    size_t size = s->answer_size ? s->answer_size * 2 : 128;
    struct seen *table = calloc(size, sizeof(*table));
    if (!table)
        return false;
    for (size_t i = 0; i < s->answer_size; i++)
        if (s->answer[i].count)
            *seen_find(table, size, s->answer[i].token) = s->answer[i];
    free(s->answer);
    s->answer = table;
    s->answer_size = size;
    return true;
}

void sampler_see(struct sampler *s, int32_t token, bool answer) {
    s->recent[s->n_recent++ % SAMPLER_RECENT] = token;
    if (!answer || (s->p.presence == 0 && s->p.frequency == 0))
        return;
    if (s->answer_n * 2 >= s->answer_size && !seen_grow(s))
        return; /* out of memory: the penalties miss this token */
    struct seen *e = seen_find(s->answer, s->answer_size, token);
    if (!e->count)
        s->answer_n++;
    e->token = token;
    e->count++;
}

static void penalize(struct sampler *s, float *logits) {
    const struct sampler_params *p = &s->p;
    for (int i = 0; i < p->n_biases; i++)
        if (p->biases[i].token >= 0 && p->biases[i].token < s->vocabulary)
            logits[p->biases[i].token] = p->biases[i].bias <= -100
                                             ? -INFINITY
                                             : logits[p->biases[i].token] + p->biases[i].bias;
    int n = s->n_recent < SAMPLER_RECENT ? s->n_recent : SAMPLER_RECENT;
    for (int i = 0; p->repetition != 1 && i < n; i++) {
        int32_t t = s->recent[i];
        bool twice = t < 0 || t >= s->vocabulary;
        for (int j = 0; j < i && !twice; j++)
            twice = s->recent[j] == t;
        if (!twice)
            logits[t] = logits[t] > 0 ? logits[t] / p->repetition : logits[t] * p->repetition;
    }
    for (size_t i = 0; i < s->answer_size; i++)
        if (s->answer[i].count && s->answer[i].token >= 0 && s->answer[i].token < s->vocabulary)
            logits[s->answer[i].token] -= p->presence + p->frequency * (float)s->answer[i].count;
}

/* The largest of n logits; NaNs are passed over but for those at the beginning. */
static float highest(const float *x, int n) {
    float lane[LANES], top = x[0];
    int i = 0;
    for (int l = 0; l < LANES; l++)
        lane[l] = top;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
    for (int l = 0; l < LANES; l++)
        top = lane[l] > top ? lane[l] : top;
    for (; i < n; i++)
        top = x[i] > top ? x[i] : top;
    return top;
}

/* Which of two stands higher: equal logits go to the lower token, so that nothing depends on the
 * heap's order. */
static bool higher(struct candidate a, struct candidate b) {
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

static void sift_down(struct candidate *h, int n, int i) {
    for (;;) {
        int low = i, l = 2 * i + 1, r = l + 1;
        if (l < n && higher(h[low], h[l]))
            low = l;
        if (r < n && higher(h[low], h[r]))
            low = r;
        if (low == i)
            return;
        struct candidate t = h[i];
        h[i] = h[low];
        h[low] = t;
        i = low;
    }
}

/* The k largest logits: a heap with the smallest on top, and blocks whose maximum is below it are
 * passed over. */
static void select_top(struct sampler *s, const float *logits, int k) {
    int n = 0, i = 0, vocabulary = s->vocabulary;
    for (; i < vocabulary && n < k; i++)
        s->heap[n++] = (struct candidate){logits[i], i};
    for (int j = n / 2; j-- > 0;)
        sift_down(s->heap, n, j);
    while (i < vocabulary) {
        int end = i + BLOCK < vocabulary ? i + BLOCK : vocabulary;
        float top = highest(logits + i, end - i);
        for (; top > s->heap[0].logit && i < end; i++) {
            if (logits[i] <= s->heap[0].logit)
                continue;
            s->heap[0] = (struct candidate){logits[i], i};
            sift_down(s->heap, n, 0);
        }
        i = end;
    }
    s->n = n;
}

static int compare(const void *a, const void *b) {
    return higher(*(const struct candidate *)a, *(const struct candidate *)b) ? -1 : 1;
}

/* The first of the highest. */
static int32_t greedy(const float *logits, int n) {
    float best = logits[0];
    int at = 0;
    for (int i = 0; i < n; i += BLOCK) {
        float top = highest(logits + i, n - i < BLOCK ? n - i : BLOCK);
        if (top > best) {
            best = top;
            at = i;
        }
    }
    for (int i = at; i < n; i++)
        if (logits[i] == best)
            return i;
    return 0; /* the first is none at all */
}

static void add_logprobs(struct sampler *s, const float *logits, struct sampled *ret) {
    int want = s->p.logprobs > SAMPLER_TOP ? SAMPLER_TOP : s->p.logprobs;
    float max = logits[greedy(logits, s->vocabulary)];
    double sum = 0;
    for (int i = 0; i < s->vocabulary; i++)
        sum += exp((double)(logits[i] - max));
    double norm = (double)max + log(sum);
    ret->logprob = (float)((double)logits[ret->token] - norm);
    if (want <= 0)
        return;
    select_top(s, logits, want);
    qsort(s->heap, (size_t)s->n, sizeof(*s->heap), compare);
    for (int i = 0; i < s->n; i++) {
        ret->top[i].token = s->heap[i].token;
        ret->top[i].logprob = (float)((double)s->heap[i].logit - norm);
    }
    ret->n_top = s->n;
}

/* Keeps of the sorted candidates what top-p and min-p leave, and draws by temperature. */
static int32_t pick(struct sampler *s) {
    float max = s->heap[0].logit;
    double sum = 0, kept = 0, weight[SAMPLER_CANDIDATES];
    int n = s->n;
    if (!isfinite(max)) /* everything was biased away */
        return s->heap[0].token;
    for (int i = 0; i < n; i++)
        sum += weight[i] = exp((double)(s->heap[i].logit - max));
    for (int i = 0; i < n; i++) {
        if (i && ((double)s->p.min_p > weight[i] || kept >= (double)s->p.top_p * sum)) {
            n = i;
            break;
        }
        kept += weight[i];
    }
    sum = 0;
    for (int i = 0; i < n; i++)
        sum += weight[i] = exp((double)(s->heap[i].logit - max) / (double)s->p.temperature);
    double at = draw(s) * sum;
    for (int i = 0; i < n; i++) {
        at -= weight[i];
        if (at < 0)
            return s->heap[i].token;
    }
    return s->heap[n - 1].token;
}

static int32_t choose(struct sampler *s, const float *logits) {
    if (s->p.temperature <= 0 || s->p.top_k == 1)
        return greedy(logits, s->vocabulary);
    int k = s->p.top_k > 0 && s->p.top_k < SAMPLER_CANDIDATES ? s->p.top_k : SAMPLER_CANDIDATES;
    select_top(s, logits, k);
    qsort(s->heap, (size_t)s->n, sizeof(*s->heap), compare);
    return pick(s);
}

/* Takes those of the best candidates out that the guide does not allow. */
static void mask_top(struct sampler *s, float *logits) {
    select_top(s, logits, SAMPLER_CANDIDATES);
    for (int i = 0; i < s->n; i++)
        if (!guide_allows(s->guide, s->heap[i].token))
            logits[s->heap[i].token] = -INFINITY;
}

static int32_t choose_guided(struct sampler *s, float *logits) {
    int32_t token = choose(s, logits);
    if (guide_allows(s->guide, token))
        return token;
    mask_top(s, logits);
    token = choose(s, logits);
    if (logits[token] != -INFINITY && guide_allows(s->guide, token))
        return token;
    guide_mask(s->guide, logits);
    token = choose(s, logits);
    return logits[token] == -INFINITY ? -1 : token;
}

void sampler_set_guide(struct sampler *s, struct guide *g) {
    s->guide = g;
}

void sampler_next(struct sampler *s, float *logits, struct sampled *ret) {
    ret->n_top = 0;
    ret->logprob = 0;
    penalize(s, logits);
    ret->token = s->guide ? choose_guided(s, logits) : choose(s, logits);
    if (ret->token < 0)
        return;
    if (s->guide)
        guide_take(s->guide, ret->token);
    if (s->p.logprobs >= 0)
        add_logprobs(s, logits, ret);
    sampler_see(s, ret->token, true);
}
