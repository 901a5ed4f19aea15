#include "retrieval/excerpt.h"

#include <stdlib.h>

#include "base/buf.h"
#include "text/doc_text.h"

#define HIT_OVERHEAD  48 /* bytes of its number, name and line ends in the prompt */
#define SENTENCES_MAX 400
#define BEST_BYTES    320 /* of the best sentence go in whatever the budget: some 80 tokens */

struct sentence {
    size_t hit, from, to; /* bytes of the hit's text */
    double score;
    bool chosen;
};

struct seen {
    const struct query_terms *q;
    uint64_t words;
};

/* Words of the question count one each; those of what was said before far less: they say what it
 * is about, and not what is asked. */
static double worth(const struct seen *s) {
    double sum = 0;
    for (size_t i = 0; i < s->q->n && i < 64; i++)
        if (s->words >> i & 1)
            sum += s->q->list[i].weight < 1 ? (double)(s->q->list[i].weight * s->q->list[i].weight)
                                            : 1;
    return sum;
}

static void see(void *ctx, const struct term *w) {
    struct seen *s = ctx;
    for (size_t i = 0; i < s->q->n && i < 64; i++)
        if (!s->q->list[i].is_stop &&
            str_eq((struct str){s->q->list[i].text, s->q->list[i].n}, w->text))
            s->words |= 1ull << i;
}

/* A hit's sentences, each worth as much as its hit and the question's words that it has. */
static enum err add_sentences(const struct retrieval_hit *h, size_t hit,
                              const struct query_terms *q, struct terms *t, struct sentences *s,
                              struct sentence *list, size_t *n) {
    size_t from, to;
    enum err e = sentences_set(s, h->text);
    while (!e && *n < SENTENCES_MAX && sentences_next(s, &from, &to)) {
        struct seen seen = {q, 0};
        terms_each(t, "en", str_sub(h->text, from, to - from), see, &seen);
        list[(*n)++] = (struct sentence){
            .hit = hit, .from = from, .to = to, .score = h->score * (1 + worth(&seen))};
    }
    return e;
}

static int by_score(const void *a, const void *b) {
    const struct sentence *x = *(struct sentence *const *)a, *y = *(struct sentence *const *)b;
    return x->score < y->score ? 1 : x->score > y->score ? -1 : x < y ? -1 : x > y;
}

static void choose(struct sentence *list, size_t n, size_t n_hits, size_t max) {
    struct sentence *order[SENTENCES_MAX];
    bool *used = calloc(n_hits + 1, sizeof *used);
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        order[i] = &list[i];
    qsort(order, n, sizeof order[0], by_score);
    if (n) { /* without the best one the others are worth little */
        size_t room = max > HIT_OVERHEAD + BEST_BYTES ? max - HIT_OVERHEAD : BEST_BYTES;
        if (order[0]->to - order[0]->from > room)
            order[0]->to = order[0]->from + room;
    }
    for (size_t i = 0; used && i < n; i++) {
        size_t need = order[i]->to - order[i]->from + 4 + (used[order[i]->hit] ? 0 : HIT_OVERHEAD);
        if (bytes + need > max && i > 0)
            continue;
        bytes += need;
        order[i]->chosen = used[order[i]->hit] = true;
    }
    free(used);
}

/* The chosen sentences of a hit as one text. False: none. */
static bool join(struct retrieval_hit *h, size_t hit, const struct sentence *list, size_t n,
                 struct arena *a, enum err *e) {
    struct buf b;
    size_t first = 0, last = 0;
    bool any = false, gap = false;
    buf_init(&b, h->text.n + 4 * n + 8);
    for (size_t i = 0; i < n; i++) {
        if (list[i].hit != hit)
            continue;
        if (!list[i].chosen) {
            gap = true;
            continue;
        }
        size_t to = utf8_cut(h->text, list[i].to);
        if (any)
            buf_addz(&b, gap ? " … " : " ");
        first = any ? first : list[i].from;
        buf_adds(&b, str_sub(h->text, list[i].from, to - list[i].from));
        last = to;
        any = true;
        gap = false;
    }
    if (any) {
        size_t start = h->char_from;
        h->char_from = start + doc_characters(str_sub(h->text, 0, first));
        h->char_to = start + doc_characters(str_sub(h->text, 0, last));
        h->text = arena_str(a, buf_str(&b));
        h->judged = STR(""); /* what was judged was the whole */
        *e = h->text.p ? *e : ERR_NOMEM;
    }
    buf_deinit(&b);
    return any;
}

enum err excerpt_hits(struct retrieval_hit *hits, size_t *n, size_t max_bytes,
                      const struct query_terms *q, struct terms *t, struct sentences *s,
                      struct arena *a) {
    size_t total = 0, n_list = 0, kept = 0;
    for (size_t i = 0; i < *n; i++)
        total += hits[i].text.n + HIT_OVERHEAD;
    if (total <= max_bytes || *n == 0)
        return ERR_OK;
    struct sentence *list = arena_array(a, SENTENCES_MAX, sizeof *list);
    enum err e = list ? ERR_OK : ERR_NOMEM;
    for (size_t i = 0; !e && i < *n; i++)
        e = add_sentences(&hits[i], i, q, t, s, list, &n_list);
    if (e)
        return e;
    choose(list, n_list, *n, max_bytes);
    for (size_t i = 0; i < *n; i++)
        if (join(&hits[i], i, list, n_list, a, &e))
            hits[kept++] = hits[i];
    *n = kept;
    return e;
}
