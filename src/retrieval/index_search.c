/* Searching a view. Scores of words are added up for a range of rows at a time, so that they stay
 * in the nearest cache, term by term, the heaviest first; the k best are then picked. Once the k
 * best so far score more than the light terms give together, those are added only to rows that can
 * still come among them (Turtle, Flood 1995, "MaxScore"). Results are exact. */
#include <math.h>
#include <stdlib.h>

#include "retrieval/index.h"
#include "retrieval/shard.h"

#define RANGE 8192 /* rows */
#define FEW   (RANGE / 32)

struct index_scratch {
    float acc[RANGE], norms[RANGE]; /* of one range's rows */
    uint32_t rows[FEW];
    float some[FEW];
    uint16_t *distances;
    uint8_t *allowed;
    size_t size;
    struct scored *best;
    size_t best_size;
};

struct index_scratch *index_scratch_new(void) {
    return calloc(1, sizeof(struct index_scratch));
}

void index_scratch_free(struct index_scratch *s) {
    if (!s)
        return;
    free(s->distances);
    free(s->allowed);
    free(s->best);
    free(s);
}

static enum err scratch_for(struct index_scratch *s, size_t rows, size_t k) {
    if (rows > s->size) {
        size_t size = rows + rows / 4;
        free(s->distances);
        free(s->allowed);
        s->distances = malloc(size * sizeof *s->distances);
        s->allowed = malloc(size);
        s->size = s->distances && s->allowed ? size : 0;
        if (!s->size)
            return ERR_NOMEM;
    }
    if (k > s->best_size) {
        struct scored *best = realloc(s->best, k * sizeof *best);
        if (!best)
            return ERR_NOMEM;
        s->best = best;
        s->best_size = k;
    }
    return ERR_OK;
}

/* ---- filters ---- */

bool index_filter_is_set(const struct index_filter *f) {
    return f && (f->source.n || f->type.n || f->n_tags || f->from || f->to || f->n_docs);
}

static bool contains_nocase(const char *text, struct str part) {
    size_t n = strlen(text);
    for (size_t i = 0; i + part.n <= n; i++)
        if (str_eq_nocase((struct str){text + i, part.n}, part))
            return true;
    return false;
}

static bool has_tag(const char *tags, struct str tag) {
    for (; *tags; tags += strlen(tags) + 1)
        if (str_eq_nocase(str_from(tags), tag))
            return true;
    return false;
}

static bool doc_passes(const struct shard_doc *d, const struct index_filter *f) {
    const char *source = d->texts, *uri = source + strlen(source) + 1,
               *type = uri + strlen(uri) + 1, *tags = type + strlen(type) + 1;
    if (f->source.n && !contains_nocase(source, f->source) && !contains_nocase(uri, f->source))
        return false;
    if (f->type.n && !str_eq_nocase(str_from(type), f->type))
        return false;
    if ((f->from && d->date < f->from) || (f->to && d->date > f->to))
        return false;
    for (size_t i = 0; i < f->n_tags; i++)
        if (!has_tag(tags, f->tags[i]))
            return false;
    bool named = f->n_docs == 0;
    for (size_t i = 0; !named && i < f->n_docs; i++)
        named = uuid_eq(&d->doc_id, &f->docs[i]);
    return named;
}

/* The states that count as ROW_LIVE for this search. */
static const uint8_t *allowed_rows(const struct shard *s, const struct index_filter *f,
                                   struct index_scratch *x) {
    if (!index_filter_is_set(f))
        return s->state;
    memset(x->allowed, ROW_DEAD, s->n);
    for (uint32_t i = 0; i < s->n_docs; i++) {
        const struct shard_doc *d = &s->docs[i];
        if (d->live && doc_passes(d, f))
            memset(x->allowed + d->first_row, ROW_LIVE, d->n_rows);
    }
    return x->allowed;
}

/* ---- picking the best ---- */

static void sift(struct index_hit *h, size_t n, size_t i) {
    for (;;) {
        size_t c = 2 * i + 1;
        if (c >= n)
            return;
        if (c + 1 < n && h[c + 1].score < h[c].score)
            c++;
        if (h[i].score <= h[c].score)
            return;
        struct index_hit t = h[i];
        h[i] = h[c];
        h[c] = t;
        i = c;
    }
}

/* A heap of the k best over all shards, its worst at the root once it is full. */
static void keep(struct index_hit *h, size_t *n, size_t k, struct shard *s, uint32_t row,
                 float score) {
    if (*n < k) {
        h[(*n)++] = (struct index_hit){s, row, score};
        if (*n == k)
            for (size_t i = k / 2 + 1; i-- > 0;)
                sift(h, k, i);
    } else if (score > h[0].score) {
        h[0] = (struct index_hit){s, row, score};
        sift(h, k, 0);
    }
}

static int best_first(const void *a, const void *b) {
    const struct index_hit *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    int64_t i = x->shard->chunk_id[x->row], k = y->shard->chunk_id[y->row];
    return i < k ? -1 : i > k;
}

/* ---- words ---- */

struct stats { /* over the view: what BM25 needs */
    double rows, average;
    float weight[QUERY_TERMS_MAX]; /* of each term: idf · weight · (k1 + 1); 0 = does not count */
    float *norm;                   /* by length: k1 (1 - b + b · len / average) */
};

static void count_view(const struct index_view *v, const struct query_terms *q, struct stats *st,
                       uint32_t df[QUERY_TERMS_MAX]) {
    uint64_t rows = 0, len = 0;
    memset(df, 0, QUERY_TERMS_MAX * sizeof *df);
    for (size_t i = 0; i < v->n; i++) {
        struct shard *s = v->shards[i];
        pthread_rwlock_rdlock(&s->lock);
        rows += s->live_rows;
        len += s->live_len;
        for (size_t t = 0; t < q->n; t++) {
            const struct posting_list *l =
                postings_find(s->postings, (struct str){q->list[t].text, q->list[t].n});
            df[t] += l ? posting_list_rows(l) : 0;
        }
        pthread_rwlock_unlock(&s->lock);
    }
    st->rows = (double)rows;
    st->average = rows ? (double)len / (double)rows : 1;
}

/* Removed rows still count in df until their shard is made anew. */
static double rarity(double df, double rows) {
    double d = df < rows ? df : rows;
    return log(1 + (rows - d + 0.5) / (d + 0.5));
}

/* The weights. Stop words count when there is no other word that occurs anywhere. */
static enum err weigh(const struct index_view *v, const struct query_terms *q, const struct bm25 *p,
                      struct stats *st) {
    uint32_t df[QUERY_TERMS_MAX];
    bool others = false;
    count_view(v, q, st, df);
    st->norm = malloc((SHARD_LEN_MAX + 1) * sizeof *st->norm);
    if (!st->norm)
        return ERR_NOMEM;
    for (size_t t = 0; t < q->n; t++)
        others = others || (df[t] && !q->list[t].is_stop);
    for (size_t t = 0; t < q->n; t++) {
        double idf = rarity(df[t], st->rows);
        bool counts = df[t] && !(others && q->list[t].is_stop);
        st->weight[t] = counts ? (float)(idf * q->list[t].weight * (p->k1 + 1)) : 0;
    }
    double average = st->average > 1 ? st->average : 1;
    for (int n = 0; n <= SHARD_LEN_MAX; n++)
        st->norm[n] = (float)(p->k1 * (1 - p->b + p->b * n / average));
    return ERR_OK;
}

struct scoring { /* a shard's part of one search */
    struct shard *shard;
    const uint8_t *allowed;
    struct {
        const struct posting_list *list;
        float weight, rest; /* rest: what this term and those after it give at most */
    } terms[QUERY_TERMS_MAX];
    size_t n;
    struct posting_norms norms;
    bool dense;
    struct index_hit *best; /* n_best ≤ k */
    size_t n_best, k;
};

static void add_term(struct scoring *g, const struct posting_list *l, float weight) {
    size_t i = g->n++;
    for (; i > 0 && g->terms[i - 1].weight < weight; i--)
        g->terms[i] = g->terms[i - 1];
    g->terms[i].list = l;
    g->terms[i].weight = weight;
    g->dense = g->dense || posting_list_is_dense(l);
}

static float bar_of(const struct scoring *g) {
    return g->n_best < g->k ? 0 : g->best[0].score;
}

/* Adds the terms from t on, of which none alone brings a row among the best: to those rows only
 * that have enough without them. False: these are not few. */
static bool add_light(struct scoring *g, struct index_scratch *x, size_t t, uint32_t from,
                      uint32_t n) {
    float bar = bar_of(g), enough = bar - g->terms[t].rest - bar * 1e-4f; /* for the rounding */
    size_t m = 0;
    for (uint32_t r = 0; r < n; r++)
        if (x->acc[r] > 0 && x->acc[r] > enough) {
            if (m == FEW)
                return false;
            x->rows[m] = from + r;
            x->some[m++] = x->acc[r];
        }
    for (; m && t < g->n; t++)
        posting_list_add_some(g->terms[t].list, g->terms[t].weight, g->norms.len, g->norms.norm,
                              x->rows, m, x->some);
    for (size_t i = 0; i < m; i++)
        x->acc[x->rows[i] - from] = x->some[i];
    return true;
}

static void keep_best(struct scoring *g, const float *acc, uint32_t from, uint32_t n) {
    float bar = bar_of(g);
    for (uint32_t r = 0; r < n; r++)
        if (acc[r] > bar && g->allowed[from + r] == ROW_LIVE) {
            keep(g->best, &g->n_best, g->k, g->shard, from + r, acc[r]);
            bar = bar_of(g);
        }
}

static void score_range(struct scoring *g, struct index_scratch *x, uint32_t from, uint32_t n) {
    bool light = false;
    memset(x->acc, 0, n * sizeof *x->acc);
    for (uint32_t r = 0; g->dense && r < n; r++)
        x->norms[r] = g->norms.norm[g->norms.len[from + r]];
    for (size_t t = 0; t < g->n; t++) {
        if (!light && t && g->terms[t].rest < bar_of(g)) {
            light = true;
            if (add_light(g, x, t, from, n))
                break;
        }
        posting_list_add_scores(g->terms[t].list, g->terms[t].weight, &g->norms, from, from + n,
                                x->acc);
    }
    keep_best(g, x->acc, from, n);
}

static void score_shard(struct shard *s, const struct query_terms *q, const struct stats *st,
                        const struct index_filter *f, struct index_scratch *x,
                        struct index_hit *ret, size_t *n, size_t k) {
    struct scoring g = {.shard = s, .best = ret, .n_best = *n, .k = k};
    for (size_t t = 0; t < q->n; t++) {
        const struct posting_list *l =
            st->weight[t] > 0
                ? postings_find(s->postings, (struct str){q->list[t].text, q->list[t].n})
                : NULL;
        if (l)
            add_term(&g, l, st->weight[t]);
    }
    if (!g.n)
        return;
    float rest = 0;
    for (size_t t = g.n; t-- > 0;)
        g.terms[t].rest = rest += g.terms[t].weight;
    g.norms = (struct posting_norms){s->len, st->norm, x->norms};
    g.allowed = allowed_rows(s, f, x);
    for (uint32_t from = 0; from < s->n; from += RANGE)
        score_range(&g, x, from, s->n - from < RANGE ? s->n - from : RANGE);
    *n = g.n_best;
}

enum err index_lexical(const struct index_view *v, const struct query_terms *q,
                       const struct index_filter *f, struct index_scratch *x, size_t k,
                       struct index_hit *ret, size_t *ret_n) {
    struct stats st = {.norm = NULL};
    size_t n = 0;
    enum err e = q->n && v->n ? weigh(v, q, &v->shards[0]->bm25, &st) : ERR_OK;
    for (size_t i = 0; !e && st.norm && i < v->n; i++) {
        struct shard *s = v->shards[i];
        pthread_rwlock_rdlock(&s->lock);
        e = scratch_for(x, s->n, 0);
        if (!e)
            score_shard(s, q, &st, f, x, ret, &n, k);
        pthread_rwlock_unlock(&s->lock);
    }
    free(st.norm);
    if (e)
        return e;
    qsort(ret, n, sizeof *ret, best_first);
    *ret_n = n;
    return ERR_OK;
}

static int by_row(const void *a, const void *b) {
    const uint32_t *x = a, *y = b;
    return x[0] < y[0] ? -1 : x[0] > y[0];
}

/* The hits of one shard, in the order of their rows; pairs of row and place. */
static enum err score_some(struct shard *s, const struct query_terms *q, const struct stats *st,
                           const struct index_hit *hits, size_t n, float *ret) {
    uint32_t(*pairs)[2] = malloc((n + 1) * sizeof *pairs), *rows = malloc((n + 1) * sizeof *rows);
    float *scores = calloc(n + 1, sizeof *scores);
    size_t m = 0;
    enum err e = pairs && rows && scores ? ERR_OK : ERR_NOMEM;
    for (size_t i = 0; !e && i < n; i++)
        if (hits[i].shard == s) {
            pairs[m][0] = hits[i].row;
            pairs[m++][1] = (uint32_t)i;
        }
    if (!e) {
        qsort(pairs, m, sizeof *pairs, by_row);
        for (size_t i = 0; i < m; i++)
            rows[i] = pairs[i][0];
        for (size_t t = 0; t < q->n; t++) {
            const struct posting_list *l =
                st->weight[t] > 0
                    ? postings_find(s->postings, (struct str){q->list[t].text, q->list[t].n})
                    : NULL;
            if (l)
                posting_list_add_some(l, st->weight[t], s->len, st->norm, rows, m, scores);
        }
        for (size_t i = 0; i < m; i++)
            ret[pairs[i][1]] = scores[i];
    }
    free(pairs);
    free(rows);
    free(scores);
    return e;
}

enum err index_lexical_some(const struct index_view *v, const struct query_terms *q,
                            const struct index_hit *hits, size_t n, float *ret) {
    struct stats st = {.norm = NULL};
    for (size_t i = 0; i < n; i++)
        ret[i] = 0;
    enum err e = q->n && v->n ? weigh(v, q, &v->shards[0]->bm25, &st) : ERR_OK;
    for (size_t i = 0; !e && st.norm && i < v->n; i++) {
        pthread_rwlock_rdlock(&v->shards[i]->lock);
        e = score_some(v->shards[i], q, &st, hits, n, ret);
        pthread_rwlock_unlock(&v->shards[i]->lock);
    }
    free(st.norm);
    return e;
}

void index_lexical_rarity(const struct index_view *v, const struct query_terms *q, float *ret) {
    struct stats st;
    uint32_t df[QUERY_TERMS_MAX];
    count_view(v, q, &st, df);
    double most = rarity(0, st.rows);
    for (size_t t = 0; t < q->n; t++)
        ret[t] = df[t] && !q->list[t].is_stop ? (float)(rarity(df[t], st.rows) / most) : 0;
}

double index_lexical_most(const struct index_view *v, const struct query_terms *q) {
    struct stats st = {.norm = NULL};
    double sum = 0;
    if (q->n && v->n && weigh(v, q, &v->shards[0]->bm25, &st) == ERR_OK)
        for (size_t t = 0; t < q->n; t++)
            sum += (double)st.weight[t];
    free(st.norm);
    return sum;
}

/* ---- vectors ---- */

enum err index_nearest(const struct index_view *v, const struct vector_query *q,
                       const struct index_filter *f, bool exact, struct index_scratch *x, size_t k,
                       struct index_hit *ret, size_t *ret_n, bool *ret_exact) {
    size_t n = 0;
    enum err e = ERR_OK;
    *ret_exact = true;
    for (size_t i = 0; !e && i < v->n; i++) {
        struct shard *s = v->shards[i];
        pthread_rwlock_rdlock(&s->lock);
        e = scratch_for(x, s->n, k);
        if (!e && s->vectors && s->live_rows) {
            size_t m = vectors_nearest(s->vectors, q, allowed_rows(s, f, x), ROW_LIVE, exact,
                                       x->distances, x->best, k);
            for (size_t j = 0; j < m; j++)
                keep(ret, &n, k, s, x->best[j].row, x->best[j].score);
            *ret_exact = *ret_exact && (exact || s->n <= VECTOR_EXACT_ROWS);
        }
        pthread_rwlock_unlock(&s->lock);
    }
    if (e)
        return e;
    qsort(ret, n, sizeof *ret, best_first);
    *ret_n = n;
    return ERR_OK;
}

double index_similarity(const struct index_hit *h, const struct vector_query *q, bool *ret_has) {
    struct shard *s = h->shard;
    pthread_rwlock_rdlock(&s->lock);
    *ret_has = s->vectors && vectors_has(s->vectors, h->row);
    double d = *ret_has ? vectors_similarity(s->vectors, q, h->row) : 0;
    pthread_rwlock_unlock(&s->lock);
    return d;
}

void index_row_get(const struct index_hit *h, struct index_row *ret) {
    struct shard *s = h->shard;
    pthread_rwlock_rdlock(&s->lock);
    const struct shard_doc *d = &s->docs[s->doc[h->row]];
    *ret = (struct index_row){.chunk_id = s->chunk_id[h->row],
                              .key = s->key[h->row],
                              .simhash = s->simhash[h->row],
                              .doc_id = d->doc_id,
                              .date = d->date,
                              .len = s->len[h->row]};
    pthread_rwlock_unlock(&s->lock);
}
