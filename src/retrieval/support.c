#include "retrieval/support.h"

#include <stdlib.h>

#include "base/vector.h"
#include "retrieval/daytime.h"
#include "retrieval/retrieval_internal.h"
#include "text/doc_text.h"

#define WORDS_MAX   256 /* of one sentence */
#define CLAIM_WORDS 2   /* fewer words of its own claim nothing; a time is two */
#define MOST_WORDS  0.6
#define MANY_WORDS  0.35
#define SIMILAR     0.6
#define FAIRLY      0.5
#define ARENA_CAP   ((size_t)16 << 20)
#define CHECK_MS    1500 /* for the vectors; without them words alone judge */

static const char *const names[] = {"supported", "weak", "unsupported"};

const char *support_name(enum support s) {
    return names[s];
}

struct own_words { /* of a sentence */
    struct {
        char text[TERM_MAX];
        size_t n; /* 0: it is a time of day */
        struct daytime time;
        bool needed; /* a number, a time or a name */
    } list[WORDS_MAX];
    size_t n;
    struct str text;
    struct daytime times[DAYTIMES_MAX];
    size_t n_times;
};

/* "[1]" is a citation, not a number of the sentence's. */
static bool is_citation(struct str text, const struct term *w) {
    return w->is_number && w->from > 0 && w->to < text.n && text.p[w->from - 1] == '[' &&
           text.p[w->to] == ']';
}

static void add_own(void *ctx, const struct term *w) {
    struct own_words *o = ctx;
    if (w->is_stop || o->n == WORDS_MAX || is_citation(o->text, w) ||
        daytime_at(o->times, o->n_times, w->from, w->to))
        return;
    bool first = w->from < 3; /* capital letters begin every sentence */
    memcpy(o->list[o->n].text, w->text.p, w->text.n);
    o->list[o->n].n = w->text.n;
    o->list[o->n++].needed = w->is_number || (w->is_name && !first);
}

struct matching {
    const struct own_words *own;
    unsigned char seen[WORDS_MAX];
    struct daytime times[DAYTIMES_MAX]; /* of the passage */
    size_t n_times;
};

/* A part of a time is no number: the 35 of "7:35" says nothing of a price. The hour of "7:00" is
 * the 7 that an answer may have alone. */
static void match(void *ctx, const struct term *w) {
    struct matching *m = ctx;
    const struct daytime *t =
        w->is_number ? daytime_at(m->times, m->n_times, w->from, w->to) : NULL;
    if (t && !(t->whole && w->from == t->from))
        return;
    for (size_t i = 0; i < m->own->n; i++)
        if (!m->seen[i] && str_eq((struct str){m->own->list[i].text, m->own->list[i].n}, w->text))
            m->seen[i] = 1;
}

static void match_times(struct matching *m) {
    for (size_t i = 0; i < m->own->n; i++)
        for (size_t k = 0; m->own->list[i].n == 0 && k < m->n_times; k++)
            m->seen[i] |= daytime_same(&m->own->list[i].time, &m->times[k]);
}

static void own_words(struct str sentence, struct terms *t, struct own_words *ret) {
    ret->n = 0;
    ret->text = sentence;
    ret->n_times = daytimes_find(sentence, ret->times);
    for (size_t i = 0; i < ret->n_times; i++, ret->n++) {
        ret->list[i].n = 0;
        ret->list[i].time = ret->times[i];
        ret->list[i].needed = true;
    }
    terms_each(t, "en", sentence, add_own, ret);
}

enum err support_split(struct str answer, struct terms *t, struct sentences *s, struct arena *a,
                       struct support_sentence **ret, size_t *ret_n) {
    struct support_sentence *list = arena_array(a, SUPPORT_SENTENCES_MAX, sizeof *list);
    struct own_words *own = arena_alloc(a, sizeof *own);
    size_t n = 0, from, to;
    enum err e = list && own ? sentences_set(s, answer) : ERR_NOMEM;
    while (!e && n < SUPPORT_SENTENCES_MAX && sentences_next(s, &from, &to)) {
        struct str text = str_sub(answer, from, to - from);
        own_words(text, t, own);
        if (own->n + own->n_times < CLAIM_WORDS || text.p[text.n - 1] == '?')
            continue;
        size_t start = doc_characters(str_sub(answer, 0, from));
        list[n++] = (struct support_sentence){.from = from,
                                              .to = to,
                                              .char_from = start,
                                              .char_to = start + doc_characters(text),
                                              .support = SUPPORT_UNSUPPORTED,
                                              .passage = -1};
    }
    if (e)
        return e;
    *ret = list;
    *ret_n = n;
    return ERR_OK;
}

static enum support judge(double words, double similarity, bool needed) {
    if (needed && (words >= MOST_WORDS || (words >= MANY_WORDS && similarity >= SIMILAR)))
        return SUPPORT_SUPPORTED;
    if (words >= MANY_WORDS || (needed && similarity >= FAIRLY))
        return SUPPORT_WEAK;
    return SUPPORT_UNSUPPORTED;
}

static void judge_one(struct support_sentence *s, const struct own_words *own, struct matching *m,
                      struct str passage, int at, double similarity, struct terms *t) {
    double have = 0;
    bool needed = true;
    memset(m->seen, 0, sizeof m->seen);
    m->n_times = daytimes_find(passage, m->times);
    match_times(m);
    terms_each(t, "en", passage, match, m);
    for (size_t i = 0; i < own->n; i++) {
        have += m->seen[i];
        needed = needed && (m->seen[i] || !own->list[i].needed);
    }
    double words = own->n ? have / (double)own->n : 0;
    enum support now = judge(words, similarity, needed);
    if (s->passage >= 0 &&
        (now > s->support || (now == s->support && words + similarity <= s->words + s->similarity)))
        return;
    s->support = now;
    s->passage = at;
    s->words = words;
    s->similarity = similarity;
}

enum err support_judge(struct str answer, struct support_sentence *list, size_t n,
                       const struct str *passages, size_t n_passages, const float *vectors,
                       int dimensions, struct terms *t, struct arena *a) {
    struct own_words *own = arena_alloc(a, sizeof *own);
    struct matching *m = arena_alloc(a, sizeof *m);
    if (!own || !m)
        return ERR_NOMEM;
    m->own = own;
    for (size_t i = 0; i < n; i++) {
        own_words(str_sub(answer, list[i].from, list[i].to - list[i].from), t, own);
        for (size_t k = 0; k < n_passages; k++) {
            size_t d = (size_t)dimensions;
            double similarity = vectors ? vector_dot(vectors + i * d, vectors + (n + k) * d, d) : 0;
            judge_one(&list[i], own, m, passages[k], (int)k, similarity, t);
        }
        if (list[i].support == SUPPORT_UNSUPPORTED)
            list[i].passage = -1;
    }
    return ERR_OK;
}

/* ---- on a loop ---- */

struct support_call {
    struct retrieval *r;
    struct loop *loop;
    struct upstream_client *client;
    struct arena *arena;
    struct str answer;
    struct str *texts; /* the sentences', then the passages' */
    struct str *passages;
    size_t n_passages;
    struct support_sentence *list;
    size_t n;
    float *vectors;
    int dimensions;
    struct upstream_call *embedding;
    struct timer *timer;
    enum err err;
    bool busy, cancelled;
    void (*done)(void *ctx, const struct support_result *r);
    void *ctx;
};

static void check_free(struct support_call *c) {
    upstream_cancel(c->embedding);
    timer_free(c->timer);
    free(c->vectors);
    arena_free(c->arena);
    free(c);
}

static void split_job(void *arg) {
    struct support_call *c = arg;
    struct searcher *s = searcher_get(c->r);
    c->err =
        s ? support_split(c->answer, s->terms, s->sentences, c->arena, &c->list, &c->n) : ERR_NOMEM;
}

static void judge_job(void *arg) {
    struct support_call *c = arg;
    struct searcher *s = searcher_get(c->r);
    c->err = s ? support_judge(c->answer, c->list, c->n, c->passages, c->n_passages, c->vectors,
                               c->dimensions, s->terms, c->arena)
               : ERR_NOMEM;
}

static void check_over(struct support_call *c) {
    struct support_result r = {c->list, c->err ? 0 : c->n};
    c->done(c->ctx, &r);
    check_free(c);
}

static void judged(void *arg) {
    struct support_call *c = arg;
    if (c->cancelled)
        check_free(c);
    else
        check_over(c);
}

static void start_judging(struct support_call *c) {
    timer_stop(c->timer);
    c->busy = true;
    if (jobs_submit(c->r->jobs, judge_job, c->loop, judged, c)) {
        c->err = ERR_OVERLOADED;
        check_over(c);
    }
}

static void embedded(void *ctx, const struct embed_result *e) {
    struct support_call *c = ctx;
    c->embedding = NULL;
    size_t bytes = e->n * (size_t)e->dimensions * sizeof *c->vectors;
    if (!e->err && (c->vectors = malloc(bytes))) {
        memcpy(c->vectors, e->vectors, bytes);
        c->dimensions = e->dimensions;
    }
    start_judging(c);
}

static void embedding_late(void *arg) {
    struct support_call *c = arg;
    upstream_cancel(c->embedding);
    c->embedding = NULL;
    start_judging(c);
}

static void split(void *arg) {
    struct support_call *c = arg;
    struct errinfo ei;
    c->busy = false;
    if (c->cancelled) {
        check_free(c);
        return;
    }
    if (c->err || c->n == 0) {
        check_over(c);
        return;
    }
    c->texts = arena_array(c->arena, c->n + c->n_passages, sizeof *c->texts);
    for (size_t i = 0; c->texts && i < c->n; i++)
        c->texts[i] = str_sub(c->answer, c->list[i].from, c->list[i].to - c->list[i].from);
    for (size_t i = 0; c->texts && i < c->n_passages; i++)
        c->texts[c->n + i] = c->passages[i];
    if (!c->texts || upstream_embed(c->client, STR_NULL, c->texts, c->n + c->n_passages,
                                    UPSTREAM_EMBED_PLAIN, embedded, c, &c->embedding, &ei)) {
        start_judging(c);
        return;
    }
    timer_start(c->timer, CHECK_MS, false);
}

enum err retrieval_check(struct retrieval *r, struct loop *l, struct upstream_client *client,
                         struct str answer, const struct str *passages, size_t n_passages,
                         void (*done)(void *ctx, const struct support_result *r), void *ctx,
                         struct support_call **ret) {
    struct support_call *c = calloc(1, sizeof *c);
    if (!c)
        return ERR_NOMEM;
    *c = (struct support_call){
        .r = r, .loop = l, .client = client, .n_passages = n_passages, .done = done, .ctx = ctx};
    c->arena = arena_new(ARENA_CAP);
    c->timer = timer_new(l, embedding_late, c);
    enum err e = c->arena && c->timer ? ERR_OK : ERR_NOMEM;
    if (!e) {
        c->answer = arena_str(c->arena, answer);
        c->passages = arena_array(c->arena, n_passages + 1, sizeof *c->passages);
        e = c->answer.p && c->passages ? ERR_OK : ERR_NOMEM;
    }
    for (size_t i = 0; !e && i < n_passages; i++)
        e = (c->passages[i] = arena_str(c->arena, passages[i])).p ? ERR_OK : ERR_NOMEM;
    if (!e)
        e = jobs_submit(r->jobs, split_job, l, split, c);
    if (e) {
        check_free(c);
        return e;
    }
    c->busy = true;
    *ret = c;
    return ERR_OK;
}

void retrieval_check_cancel(struct support_call *c) {
    if (!c)
        return;
    c->cancelled = true;
    if (!c->busy)
        check_free(c);
}
