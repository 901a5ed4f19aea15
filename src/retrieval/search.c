/* One search: the question's vector is asked for while its words are looked up; then the nearest
 * vectors; then both are fused, read from the store and given back.
 *
 *   loop:   start ─→ embed ──────→ vector job ──┐
 *   jobs:     └────→ lexical job ───────────────┴─→ fuse job ─→ done
 *
 * The time budget ends the waiting for a part, never a part's job: a job that is late writes into
 * lists that nobody reads any more. A call is freed when its last job has come back. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "retrieval/attached.h"
#include "retrieval/excerpt.h"
#include "retrieval/neighbours.h"
#include "retrieval/question.h"
#include "retrieval/retrieval_internal.h"
#include "retrieval/shard.h"
#include "retrieval/wording.h"

#define DEPTH          FUSE_DEPTH
#define ARENA_CAP      ((size_t)64 << 20)
#define K_DEFAULT      8
#define K_MAX          200
#define BEFORE_SHARE   0.5f /* of a word of an earlier message */
#define RELEVANT_COS   0.34 /* a passage this similar speaks of what was asked: by judgement */
#define RELEVANT_WORDS 0.6  /* or one with so many of the question's words */
#define PAIR_NEAR      0.8  /* of the best hit's score: nearly as good */
#define TITLE_COUNT    2    /* what a word of a title counts where passages are compared */
#define FAR            0.5  /* of the best hit's fused score: far worse */

struct retrieval_call {
    struct retrieval *r;
    struct loop *loop;
    struct arena *arena;
    struct retrieval_request q; /* its texts in the arena */
    struct retrieval_scope scope;
    void (*done)(void *ctx, const struct retrieval_result *res);
    void *ctx;
    struct index_view view;
    struct str text, before; /* what is searched with */
    struct query_terms terms;
    struct upstream_call *embedding;
    struct timer *timer;
    float *vector;
    int dimensions;
    struct vector_query *vq;
    int jobs; /* that have not come back */
    bool lexical_over, vector_over, fusing, cancelled, vector_late;
    struct index_hit *lexical; /* DEPTH */
    size_t n_lexical, n_near;
    enum err lexical_err;
    struct { /* the vector job's own: it may come back when nobody waits for it any more */
        struct index_hit *hits;
        size_t n;
        enum err err;
        int64_t us;
        bool exact;
    } nearest;
    int64_t begin_ns, embed_ns;
    struct retrieval_trace trace;
    struct retrieval_result result;
    struct errinfo ei;
};

/* ---- what a thread keeps ---- */

void searcher_free(void *p) {
    struct searcher *s = p;
    if (!s)
        return;
    terms_close(s->terms);
    sentences_close(s->sentences);
    index_scratch_free(s->scratch);
    neighbours_free(s->neighbours);
    free(s);
}

struct searcher *searcher_get(struct retrieval *r) {
    struct searcher *s = pthread_getspecific(r->searcher);
    if (s)
        return s;
    s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->scratch = index_scratch_new();
    s->neighbours = neighbours_new();
    if (!s->scratch || !s->neighbours || terms_open(&s->terms) ||
        sentences_open("en", &s->sentences) || pthread_setspecific(r->searcher, s)) {
        searcher_free(s);
        return NULL;
    }
    return s;
}

static void call_free(struct retrieval_call *c) {
    upstream_cancel(c->embedding);
    timer_free(c->timer);
    index_view_close(&c->view);
    vector_query_free(c->vq);
    free(c->vector);
    arena_free(c->arena);
    free(c);
}

static int64_t us_since(int64_t ns) {
    return (clock_mono_ns() - ns) / 1000;
}

/* ---- jobs: on retrieval's threads ---- */

static struct index_filter filter_of(const struct retrieval_call *c) {
    const struct retrieval_filter *f = &c->q.filter;
    return (struct index_filter){.source = f->source,
                                 .type = f->type,
                                 .tags = f->tags,
                                 .n_tags = f->n_tags,
                                 .from = f->from,
                                 .to = f->to,
                                 .docs = f->docs,
                                 .n_docs = f->n_docs};
}

static void lexical_job(void *arg) {
    struct retrieval_call *c = arg;
    int64_t begin = clock_mono_ns();
    struct searcher *s = searcher_get(c->r);
    struct index_filter f = filter_of(c);
    if (!s) {
        c->lexical_err = ERR_NOMEM;
        return;
    }
    query_terms_add(&c->terms, s->terms, &c->view, c->q.query, 1);
    if (c->before.n)
        query_terms_add(&c->terms, s->terms, &c->view, c->before, BEFORE_SHARE);
    if (!c->q.no_lexical)
        c->lexical_err =
            index_lexical(&c->view, &c->terms, &f, s->scratch, DEPTH, c->lexical, &c->n_lexical);
    c->trace.lexical_us = us_since(begin);
}

static void vector_job(void *arg) {
    struct retrieval_call *c = arg;
    int64_t begin = clock_mono_ns();
    struct searcher *s = searcher_get(c->r);
    struct index_filter f = filter_of(c);
    c->nearest.err = s ? index_nearest(&c->view, c->vq, &f, c->q.exact, s->scratch, DEPTH,
                                       c->nearest.hits, &c->nearest.n, &c->nearest.exact)
                       : ERR_NOMEM;
    c->nearest.us = us_since(begin);
}

static void take_nearest(struct retrieval_call *c) {
    c->n_near = c->nearest.err ? 0 : c->nearest.n;
    c->trace.vector_done = !c->nearest.err;
    c->trace.exact = c->nearest.exact;
    c->trace.vector_us = c->nearest.us;
}

/* ---- fusing ---- */

struct reading { /* hits with their texts, in one read of the store */
    struct retrieval_call *c;
    const struct fused *f;
    size_t n, k, missing;
    struct chunk_hit *hits; /* arena; as many as f, chunk_id 0 = gone */
};

static enum err read_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct reading *r = arg;
    (void)ei;
    size_t have = 0;
    r->missing = 0;
    for (size_t i = 0; i < r->n; i++) {
        r->hits[i].c.chunk_id = 0;
        if (have == r->k)
            continue;
        enum err e = chunk_get(tx, r->f[i].row.chunk_id, r->c->scope.collections, r->c->scope.n,
                               r->c->arena, &r->hits[i]);
        if (e && e != ERR_NOT_FOUND)
            return e;
        have += !e;
        r->missing += e == ERR_NOT_FOUND;
    }
    return ERR_OK;
}

struct telling { /* of a text's words */
    struct wording *wording;
    struct neighbours *near; /* NULL = the passages are not compared */
    int times;
};

static void tell(void *ctx, const struct term *w) {
    struct telling *t = ctx;
    wording_word(t->wording, w);
    for (int k = 0; t->near && !w->is_stop && k < t->times; k++)
        neighbours_word(t->near, w->text);
}

static double recency(int64_t date, double days) {
    double age = (double)(clock_wall_ms() - date) / 86400e3;
    return age <= 0 ? 1 : exp2(-age / days);
}

static void signals(struct searcher *s, const struct retrieval_call *c, const struct fused *f,
                    const struct chunk_hit *h, const float *rarity, struct neighbours *near,
                    double ret[SIGNAL_COUNT]) {
    double best = c->n_lexical ? (double)c->lexical[0].score : 0;
    struct wording w;
    struct telling t = {&w, near, TITLE_COUNT};
    memset(ret, 0, SIGNAL_COUNT * sizeof *ret);
    wording_begin(&w, &c->terms, rarity);
    ret[SIGNAL_FUSED] = f->fused;
    ret[SIGNAL_LEXICAL] = best > 0 ? f->lexical / best : 0;
    ret[SIGNAL_VECTOR] = f->vector;
    ret[SIGNAL_RANK_BOTH] = f->lexical_rank && f->vector_rank;
    terms_each(s->terms, "en", h->title, tell, &t);
    wording_text(&w);
    terms_each(s->terms, "en", h->c.heading, tell, &t);
    ret[SIGNAL_TITLE] = wording_share(&w);
    wording_text(&w);
    t.times = 1;
    terms_each(s->terms, "en", h->c.text, tell, &t);
    ret[SIGNAL_COVERAGE] = wording_share(&w);
    ret[SIGNAL_RECENCY] = recency(f->row.date, 365);
    ret[SIGNAL_LENGTH] = fmin(1, f->row.len / 200.0);
    wording_end(&w, &ret[SIGNAL_WORDING]);
}

struct retrieval_hit retrieval_hit_of(const struct chunk_hit *h, int rank) {
    return (struct retrieval_hit){
        .doc_id = h->doc_id,
        .chunk_id = h->c.chunk_id,
        .key = retrieval_key(&h->doc_id, h->c.hash),
        .n = h->c.n,
        .source_name = h->source_name,
        .title = h->title,
        .uri = h->uri,
        .heading = h->c.heading,
        .text = h->c.text,
        .judged = h->c.flags & CHUNK_FLAG_GUARD ? STR("") : h->safety_stamp,
        .char_from = (size_t)h->c.char_from,
        .char_to = (size_t)h->c.char_to,
        .page_from = h->c.page_from,
        .page_to = h->c.page_to,
        .rank = rank,
        .weight = 1,
    };
}

static void fill_hit(struct retrieval_hit *to, const struct fused *f, const struct chunk_hit *h,
                     double weight, int rank) {
    *to = retrieval_hit_of(h, rank);
    to->key = f->row.key;
    to->lexical_rank = f->lexical_rank;
    to->vector_rank = f->vector_rank;
    to->lexical = f->lexical;
    to->vector = f->vector;
    to->fused = f->fused;
    to->weight = weight;
    to->score = f->score;
}

static const float *unpacked(struct retrieval_call *c, const struct index_hit *h, int dims) {
    const struct vectors *v = h->shard->vectors;
    if (!v || !vectors_has(v, h->row) || vectors_dimensions(v) != dims)
        return NULL;
    signed char *packed = arena_alloc(c->arena, vector_size(dims));
    float *out = arena_array(c->arena, (size_t)dims, sizeof *out);
    if (!packed || !out)
        return NULL;
    vectors_get(v, h->row, packed);
    vector_unpack(packed, dims, out);
    return out;
}

/* What learning scores by itself: all passages at once. at: their places in f and hits. */
static void score_all(struct retrieval_call *c, const struct held_weights *w, struct fused *f,
                      const struct chunk_hit *hits, const size_t *at,
                      const double (*x)[SIGNAL_COUNT], const float *const *vectors, size_t n) {
    double(*signals_at)[SIGNAL_COUNT] = arena_array(c->arena, n + 1, sizeof *signals_at);
    uint64_t *keys = arena_array(c->arena, n + 1, sizeof *keys);
    struct uuid *docs = arena_array(c->arena, n + 1, sizeof *docs);
    const float **vectors_at = arena_array(c->arena, n + 1, sizeof *vectors_at);
    double *score = arena_array(c->arena, n + 1, sizeof *score);
    if (!signals_at || !keys || !docs || !vectors_at || !score)
        return;
    for (size_t i = 0; i < n; i++) {
        keys[i] = f[at[i]].row.key;
        docs[i] = hits[at[i]].doc_id;
        memcpy(signals_at[i], x[at[i]], sizeof x[at[i]]);
        vectors_at[i] = vectors[at[i]];
    }
    struct retrieval_scoring s = {.query = c->q.query,
                                  .role_id = c->q.role_id,
                                  .vector = c->vector,
                                  .dimensions = c->dimensions,
                                  .n = n,
                                  .keys = keys,
                                  .docs = docs,
                                  .signals = (const double(*)[SIGNAL_COUNT])signals_at,
                                  .vectors = vectors_at};
    w->w->score(w->w->ctx, &s, score);
    for (size_t i = 0; i < n; i++)
        f[at[i]].score = score[i];
}

/* The signals of all that was read; their vectors, and the signals that compare them, only when
 * `compares`. */
static void look_at(struct retrieval_call *c, struct searcher *s, const struct fused *f,
                    const struct chunk_hit *hits, size_t n, bool compares, const float **vectors,
                    double (*ret)[SIGNAL_COUNT]) {
    float rarity[QUERY_TERMS_MAX];
    double near[NEIGHBOURS_MAX][NEIGHBOUR_SIGNALS];
    size_t at[NEIGHBOURS_MAX], m = 0;
    index_lexical_rarity(&c->view, &c->terms, rarity);
    neighbours_begin(s->neighbours);
    for (size_t i = 0; i < n; i++) {
        if (!hits[i].c.chunk_id)
            continue;
        vectors[i] = compares && c->vector ? unpacked(c, &f[i].at, c->dimensions) : NULL;
        bool compared = compares && neighbours_add(s->neighbours, f[i].fused, vectors[i]);
        signals(s, c, &f[i], &hits[i], rarity, compared ? s->neighbours : NULL, ret[i]);
        if (compared)
            at[m++] = i;
    }
    if (m)
        neighbours_end(s->neighbours, c->dimensions, near);
    for (size_t i = 0; i < m; i++)
        memcpy(&ret[at[i]][SIGNAL_NEIGHBOURS], near[i], sizeof near[i]);
}

/* Re-ranked by what the texts tell, when learning has given a way. */
static void rerank(struct retrieval_call *c, const struct held_weights *w, struct fused *f,
                   struct chunk_hit *hits, double (*x)[SIGNAL_COUNT], const float *const *vectors,
                   size_t n) {
    size_t *at = arena_array(c->arena, n + 1, sizeof *at), m = 0;
    double score;
    for (size_t i = 0; at && i < n; i++) {
        if (!hits[i].c.chunk_id)
            continue;
        if (!w->w->score && weights_rerank(w, x[i], &score))
            f[i].score = score * weights_factor(w, &c->q.role_id, f[i].row.key);
        at[m++] = i;
    }
    if (w->w->score && m)
        score_all(c, w, f, hits, at, (const double(*)[SIGNAL_COUNT])x, vectors, m);
    attached_prefer(f, n, &c->q);
    for (size_t i = 1; i < n; i++) /* few, and nearly in order */
        for (size_t k = i; k > 0 && f[k].score > f[k - 1].score; k--) {
            struct fused t = f[k];
            struct chunk_hit h = hits[k];
            double y[SIGNAL_COUNT];
            f[k] = f[k - 1], hits[k] = hits[k - 1];
            f[k - 1] = t, hits[k - 1] = h;
            memcpy(y, x[k], sizeof y);
            memcpy(x[k], x[k - 1], sizeof y);
            memcpy(x[k - 1], y, sizeof y);
        }
}

static bool is_relevant(const struct retrieval_call *c, const struct retrieval_hit *h) {
    bool given = attached_has(&c->q, &h->doc_id);
    return h->vector >= (given ? ATTACHED_COS : RELEVANT_COS) ||
           h->signals[SIGNAL_COVERAGE] >= (given ? ATTACHED_WORDS : RELEVANT_WORDS);
}

/* Cut to max_tokens. When one hit is left of two that are nearly as good, either may be the one. */
static enum err cut_hits(struct retrieval_call *c, struct searcher *s, struct retrieval_hit *out,
                         size_t *m) {
    struct retrieval_hit two[2] = {out[0], *m > 1 ? out[1] : out[0]};
    bool near = c->q.pairs && *m > 1 && two[0].score > 0 &&
                two[1].score >= PAIR_NEAR * two[0].score && is_relevant(c, &two[1]);
    struct retrieval_hit *other = near ? arena_array(c->arena, 1, sizeof *other) : NULL;
    enum err e = excerpt_hits(out, m, c->q.max_tokens, &c->terms, s->terms, s->sentences, c->arena);
    if (e || *m != 1 || !other || out[0].chunk_id != two[0].chunk_id)
        return e;
    *other = two[c->q.swaps ? 0 : 1];
    c->result.other = other;
    c->result.swapped = c->q.swaps;
    if (!c->q.swaps)
        return ERR_OK;
    out[0] = two[1];
    return excerpt_hits(out, m, c->q.max_tokens, &c->terms, s->terms, s->sentences, c->arena);
}

static double best_fused(const struct fused *f, size_t n) {
    double best = 0;
    for (size_t i = 0; i < n; i++)
        best = f[i].fused > best ? f[i].fused : best;
    return best;
}

static void give_hits(struct retrieval_call *c, const struct held_weights *w, struct fused *f,
                      struct chunk_hit *hits, const double (*x)[SIGNAL_COUNT], size_t n,
                      struct searcher *s) {
    struct retrieval_hit *out = arena_array(c->arena, n + 1, sizeof *out);
    size_t m = 0, seen = 0;
    bool learnt = w && (w->w->rerank || w->w->score); /* then their order is not that of `fused` */
    double far = c->q.near_only && !learnt ? FAR * best_fused(f, n) : 0;
    if (!out) {
        c->result.err = err_set(&c->ei, ERR_NOMEM, NULL);
        return;
    }
    for (size_t i = 0; i < n && m < (size_t)c->q.k; i++) {
        if (!hits[i].c.chunk_id)
            continue;
        if (!learnt && seen++ == (size_t)c->q.k)
            break; /* what was read beyond is for comparison */
        fill_hit(&out[m], &f[i], &hits[i], weights_factor(w, &c->q.role_id, f[i].row.key),
                 (int)m + 1);
        memcpy(out[m].signals, x[i], sizeof x[i]);
        bool relevant = is_relevant(c, &out[m]);
        c->result.relevant = c->result.relevant || relevant;
        m += relevant || f[i].fused >= far;
    }
    if (c->q.max_tokens && m) {
        enum err e = cut_hits(c, s, out, &m);
        if (e)
            c->result.err = err_set(&c->ei, e, NULL);
    }
    c->result.hits = out;
    c->result.n = m;
}

static enum err fuse_once(struct retrieval_call *c, const struct held_weights *w, bool again,
                          bool *ret_again) {
    size_t room = c->n_lexical + c->n_near + 1, n;
    struct fused *f = arena_array(c->arena, room, sizeof *f);
    if (!f)
        return ERR_NOMEM;
    enum err e =
        fuse(&c->view, &c->terms, c->trace.vector_done ? c->vq : NULL, c->lexical, c->n_lexical,
             c->nearest.hits, c->n_near, c->q.reciprocal ? FUSE_RRF : FUSE_SCORES, f, &n);
    if (e)
        return e;
    c->trace.candidates = (int64_t)n;
    for (size_t i = 0; i < n; i++) {
        f[i].score *= weights_factor(w, &c->q.role_id, f[i].row.key);
        if (c->q.recency_days > 0)
            f[i].score *= 0.7 + 0.3 * recency(f[i].row.date, c->q.recency_days);
    }
    attached_prefer(f, n, &c->q);
    fused_sort(f, n);
    if (!c->q.keep_duplicates)
        n = fused_drop_duplicates(f, n < 4 * (size_t)c->q.k + 20 ? n : 4 * (size_t)c->q.k + 20);
    bool rerankable = w && (w->w->rerank || w->w->score), compares = rerankable || c->q.learns;
    struct reading r = {.c = c,
                        .f = f,
                        .n = n,
                        .k = compares ? 4 * (size_t)c->q.k + 16 : (size_t)c->q.k,
                        .hits = arena_array(c->arena, n + 1, sizeof *r.hits)};
    double(*x)[SIGNAL_COUNT] = arena_array(c->arena, n + 1, sizeof *x);
    const float **vectors = arena_array(c->arena, n + 1, sizeof *vectors);
    struct searcher *s = searcher_get(c->r);
    if (!r.hits || !x || !vectors || !s)
        return ERR_NOMEM;
    e = store_read_wait(c->r->o.store, read_fn, &r, &c->ei);
    if (e)
        return e;
    /* The store has moved on since the lists were made: the next look sees what it has now. */
    if (r.missing && !again) {
        *ret_again = true;
        return ERR_OK;
    }
    look_at(c, s, f, r.hits, n, compares, vectors, x);
    if (rerankable)
        rerank(c, w, f, r.hits, x, (const float *const *)vectors, n);
    give_hits(c, w, f, r.hits, (const double(*)[SIGNAL_COUNT])x, n, s);
    return ERR_OK;
}

/* Instead of what was found: the beginning of the documents that the question is about. */
static enum err give_beginning(struct retrieval_call *c) {
    struct searcher *s = searcher_get(c->r);
    struct retrieval_hit *hits;
    size_t n;
    enum err e = s ? attached_begin(c->r->o.store, &c->q, s->sentences, c->arena, &hits, &n, &c->ei)
                   : ERR_NOMEM;
    if (e || !n)
        return e;
    c->result.hits = hits;
    c->result.n = n;
    c->result.relevant = true;
    c->result.other = NULL;
    c->result.swapped = false;
    c->trace.why = "beginning";
    return ERR_OK;
}

static void fuse_job(void *arg) {
    struct retrieval_call *c = arg;
    int64_t begin = clock_mono_ns();
    struct held_weights *w = c->q.unranked ? NULL : weights_hold(c->r);
    bool again = false;
    enum err e = fuse_once(c, w, c->r->o.no_indexing, &again);
    if (!e && again && indexer_follow(c->r, false) == ERR_OK) {
        index_view_close(&c->view);
        pthread_mutex_lock(&c->r->lock);
        index_view_open(c->r->index, c->scope.collections, c->scope.n, &c->view);
        pthread_mutex_unlock(&c->r->lock);
        c->n_lexical = c->n_near = 0;
        c->terms.n = 0;
        lexical_job(c);
        if (c->trace.vector_done) {
            vector_job(c);
            take_nearest(c);
        }
    }
    if (!e && again)
        e = fuse_once(c, w, true, &again);
    weights_release(w);
    if (!e && !c->result.err && attached_begins(&c->q, c->result.relevant))
        e = give_beginning(c);
    if (e && !c->result.err) {
        c->result.err = e;
        if (c->ei.code != e)
            err_set(&c->ei, e, NULL);
    }
    c->trace.fuse_us = us_since(begin);
}

/* ---- on the loop ---- */

static void finish(struct retrieval_call *c) {
    c->trace.total_us = us_since(c->begin_ns);
    c->trace.words_left_out = c->terms.left_out;
    c->result.ei = c->result.err ? &c->ei : NULL;
    c->result.trace = c->trace;
    c->result.query_vector = c->vector;
    c->result.dimensions = c->dimensions;
    metric_observe(M_SEARCH_SECONDS, (double)c->trace.total_us / 1e6);
    if (c->trace.searched && (!c->trace.lexical_done || !c->trace.vector_done))
        metric_add(M_SEARCHES_PARTIAL, 1);
    c->done(c->ctx, &c->result);
    c->cancelled = true; /* what is late only comes back to be freed */
    if (c->jobs == 0)
        call_free(c);
}

static void fused_back(void *arg) {
    struct retrieval_call *c = arg;
    c->jobs--;
    if (!c->cancelled)
        finish(c);
    else if (c->jobs == 0)
        call_free(c);
}

static void submit(struct retrieval_call *c, loop_fn work, loop_fn back) {
    enum err e = jobs_submit(c->r->jobs, work, c->loop, back, c);
    if (!e) {
        c->jobs++;
        return;
    }
    c->result.err = err_set(&c->ei, e, "too many searches wait; try again");
    c->fusing = true;
    finish(c);
}

/* Both parts are there or given up. */
static void look(struct retrieval_call *c) {
    if (c->fusing || c->cancelled || !c->lexical_over || !c->vector_over)
        return;
    c->fusing = true;
    timer_stop(c->timer);
    submit(c, fuse_job, fused_back);
}

static void lexical_back(void *arg) {
    struct retrieval_call *c = arg;
    c->jobs--;
    if (c->cancelled) {
        if (c->jobs == 0)
            call_free(c);
        return;
    }
    c->lexical_over = true;
    c->trace.lexical_done = !c->lexical_err && !c->q.no_lexical;
    look(c);
}

static void vector_back(void *arg) {
    struct retrieval_call *c = arg;
    c->jobs--;
    if (c->cancelled) {
        if (c->jobs == 0)
            call_free(c);
        return;
    }
    if (c->vector_late)
        return;
    c->vector_over = true;
    take_nearest(c);
    look(c);
}

/* The time is up: what is not there is left out. Words are waited for: they take milliseconds and
 * are needed for fusing, too. */
static void budget_over(void *arg) {
    struct retrieval_call *c = arg;
    if (!c->vector_over) {
        c->vector_over = c->vector_late = true;
        upstream_cancel(c->embedding);
        c->embedding = NULL;
    }
    look(c);
}

static void nothing_to_do(void *arg) {
    struct retrieval_call *c = arg;
    c->jobs--;
    if (c->cancelled)
        call_free(c);
    else
        finish(c);
}

static enum err copy_strs(struct arena *a, const struct str *from, size_t n,
                          const struct str **ret) {
    struct str *list = arena_array(a, n + 1, sizeof *list);
    if (!list)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++)
        if (!(list[i] = arena_str(a, from[i])).p)
            return ERR_NOMEM;
    *ret = list;
    return ERR_OK;
}

static enum err copy_request(struct retrieval_call *c, const struct retrieval_request *q) {
    struct arena *a = c->arena;
    c->q = *q;
    c->scope = *q->scope;
    c->q.scope = &c->scope;
    c->q.k = q->k <= 0 ? K_DEFAULT : q->k > K_MAX ? K_MAX : q->k;
    c->q.query = arena_str(a, q->query);
    c->q.filter.source = arena_str(a, q->filter.source);
    c->q.filter.type = arena_str(a, q->filter.type);
    struct uuid *docs = arena_array(a, q->filter.n_docs + 1, sizeof *docs);
    struct uuid *attached = arena_array(a, q->n_attached + 1, sizeof *attached);
    c->lexical = arena_array(a, DEPTH, sizeof *c->lexical);
    c->nearest.hits = arena_array(a, DEPTH, sizeof *c->nearest.hits);
    enum err e = copy_strs(a, q->filter.tags, q->filter.n_tags, &c->q.filter.tags);
    if (!e)
        e = copy_strs(a, q->history, q->n_history, &c->q.history);
    if (e || !c->q.query.p || !docs || !attached || !c->lexical || !c->nearest.hits)
        return ERR_NOMEM;
    if (q->filter.n_docs)
        memcpy(docs, q->filter.docs, q->filter.n_docs * sizeof *docs);
    c->q.filter.docs = docs;
    if (q->n_attached)
        memcpy(attached, q->attached, q->n_attached * sizeof *attached);
    c->q.attached = attached;
    if (q->n_attached && q->about == ABOUT_THEM) {
        c->q.filter.docs = attached;
        c->q.filter.n_docs = q->n_meant;
    }
    return question_resolve(c->q.query, c->q.history, c->q.n_history, a, &c->text, &c->before);
}

static void take_vector(struct retrieval_call *c, const float *v, int dimensions) {
    if ((c->vector = malloc((size_t)dimensions * sizeof *c->vector))) {
        memcpy(c->vector, v, (size_t)dimensions * sizeof *c->vector);
        c->dimensions = dimensions;
    }
}

static void embedded(void *ctx, const struct embed_result *e) {
    struct retrieval_call *c = ctx;
    c->embedding = NULL;
    c->trace.embed_us = us_since(c->embed_ns);
    if (!e->err)
        take_vector(c, e->vectors, e->dimensions);
    if (c->vector_late)
        return;
    if (!c->vector || vector_query_new(c->vector, c->dimensions, &c->vq)) {
        c->vector_over = true;
        look(c);
    } else {
        submit(c, vector_job, vector_back);
    }
}

/* The vector part: when the index has vectors of a model that the upstream still has. */
static void start_vector(struct retrieval_call *c, struct upstream_client *client) {
    char model[256];
    struct errinfo ei;
    pthread_mutex_lock(&c->r->lock);
    snprintf(model, sizeof model, "%s", c->r->model);
    pthread_mutex_unlock(&c->r->lock);
    c->embed_ns = clock_mono_ns();
    if (c->q.vector && !c->q.no_vector && str_eqz(c->q.vector_model, model) &&
        str_eq(c->text, c->q.query)) {
        take_vector(c, c->q.vector, c->q.dimensions);
        c->vector_over = !c->vector || vector_query_new(c->vector, c->dimensions, &c->vq) ||
                         jobs_submit(c->r->jobs, vector_job, c->loop, vector_back, c);
        c->jobs += !c->vector_over;
        return;
    }
    c->vector_over = c->q.no_vector || !model[0] || !client ||
                     upstream_embed(client, str_from(model), &c->text, 1, UPSTREAM_EMBED_PLAIN,
                                    embedded, c, &c->embedding, &ei) != ERR_OK;
}

static const char *why_not(const struct retrieval_call *c) {
    if (str_trim(c->q.query).n == 0)
        return "no question";
    if (c->q.need == NEED_DECIDE && question_is_smalltalk(c->q.query))
        return "smalltalk";
    return index_view_chunks(&c->view) == 0 && !attached_begins(&c->q, false) ? "no documents"
                                                                              : NULL;
}

bool retrieval_wants_vector(struct retrieval *r, const struct retrieval_request *q) {
    struct index_view view;
    struct str text, before;
    if (q->no_vector || (q->need == NEED_DECIDE && question_is_smalltalk(q->query)))
        return false;
    pthread_mutex_lock(&r->lock);
    index_view_open(r->index, q->scope->collections, q->scope->n, &view);
    bool model = r->model[0];
    pthread_mutex_unlock(&r->lock);
    bool any = model && index_view_chunks(&view) > 0;
    index_view_close(&view);
    if (!any || q->n_history == 0)
        return any;
    struct arena *a = arena_new(ARENA_CAP);
    bool alone = a && !question_resolve(q->query, q->history, q->n_history, a, &text, &before) &&
                 str_eq(text, q->query);
    arena_free(a);
    return alone;
}

enum err retrieval_search(struct retrieval *r, struct loop *l, struct upstream_client *client,
                          const struct retrieval_request *q,
                          void (*done)(void *ctx, const struct retrieval_result *res), void *ctx,
                          struct retrieval_call **ret, struct errinfo *ei) {
    struct retrieval_call *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(ei, ERR_NOMEM, NULL);
    c->r = r;
    c->loop = l;
    c->done = done;
    c->ctx = ctx;
    c->begin_ns = clock_mono_ns();
    c->arena = arena_new(ARENA_CAP);
    c->timer = timer_new(l, budget_over, c);
    enum err e = c->arena && c->timer ? copy_request(c, q) : ERR_NOMEM;
    if (e) {
        call_free(c);
        return err_set(ei, e, NULL);
    }
    pthread_mutex_lock(&r->lock);
    index_view_open(r->index, c->scope.collections, c->scope.n, &c->view);
    c->trace.loading = r->state.loading;
    pthread_mutex_unlock(&r->lock);
    c->trace.why = why_not(c);
    c->trace.searched = c->trace.why == NULL;
    if (c->before.n) {
        c->trace.follow_up = 1;
        c->trace.why = c->trace.searched ? "follow-up" : c->trace.why;
    }
    if (!c->trace.searched) {
        e = loop_post(l, nothing_to_do, c);
    } else {
        e = jobs_submit(r->jobs, lexical_job, l, lexical_back, c);
    }
    if (e) {
        call_free(c);
        return err_set(ei, e, "too many searches wait; try again");
    }
    c->jobs++;
    *ret = c;
    if (!c->trace.searched)
        return ERR_OK;
    start_vector(c, client);
    timer_start(c->timer, q->budget_ms > 0 ? q->budget_ms : r->o.budget_ms, false);
    return ERR_OK;
}

void retrieval_cancel(struct retrieval_call *c) {
    if (!c)
        return;
    c->cancelled = true;
    upstream_cancel(c->embedding);
    c->embedding = NULL;
    timer_stop(c->timer);
    if (c->jobs == 0)
        call_free(c);
}
