#include "retrieval/excerpt.h"

#include <stdlib.h>

#include "base/buf.h"
#include "text/doc_text.h"
#include "text/tokens.h"

#define HIT_OVERHEAD  6 /* tokens of its number and line ends in the prompt */
#define SENTENCES_MAX 400
#define BEST_TOKENS   80 /* of the best sentence go in whatever the budget */

struct sentence {
    size_t hit, from, to; /* bytes of the hit's text */
    int tokens;           /* with what stands between it and the next */
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
    for (size_t i = 0; s->q && i < s->q->n && i < 64; i++)
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

/* Where what follows a Markdown heading's line begins: 0 = there is no heading, text.n = it is all
 * of the text. A heading by itself says nothing; but "#1 is full" and "#define" are none. */
static size_t behind_heading(struct str text) {
    size_t n = 0;
    while (n < text.n && n < 7 && text.p[n] == '#')
        n++;
    if (n == 0 || n > 6 || n == text.n || (text.p[n] != ' ' && text.p[n] != '\t'))
        return 0;
    while (n < text.n && text.p[n] != '\n')
        n++;
    return text.n - str_trim(str_sub(text, n, text.n - n)).n; /* no white space is at its end */
}

static struct sentence make(const struct retrieval_hit *h, size_t hit, size_t from, size_t to,
                            const struct query_terms *q, struct terms *t) {
    struct seen seen = {q, 0};
    struct str text = str_sub(h->text, from, to - from);
    if (t)
        terms_each(t, "en", text, see, &seen);
    return (struct sentence){.hit = hit,
                             .from = from,
                             .to = to,
                             .tokens = text_tokens(text) + 1,
                             .score = h->score * (1 + worth(&seen))};
}

/* A hit's sentences without headings, each worth as much as its hit and the question's words that
 * it has (without t as much as its hit). Of a hit that is nothing but headings the first one. */
static enum err add_sentences(const struct retrieval_hit *h, size_t hit,
                              const struct query_terms *q, struct terms *t, struct sentences *s,
                              struct sentence *list, size_t *n) {
    size_t from, to, first = *n, heading_from = 0, heading_to = 0;
    enum err e = sentences_set(s, h->text);
    while (!e && *n < SENTENCES_MAX && sentences_next(s, &from, &to)) {
        size_t skip = behind_heading(str_sub(h->text, from, to - from));
        if (from + skip < to) {
            list[(*n)++] = make(h, hit, from + skip, to, q, t);
        } else if (!heading_to) {
            heading_from = from;
            heading_to = to;
        }
    }
    if (!e && *n == first && heading_to)
        list[(*n)++] = make(h, hit, heading_from, heading_to, q, t);
    return e;
}

static int by_score(const void *a, const void *b) {
    const struct sentence *x = *(struct sentence *const *)a, *y = *(struct sentence *const *)b;
    return x->score < y->score ? 1 : x->score > y->score ? -1 : x < y ? -1 : x > y;
}

/* What names a hit in the prompt. */
static int name_tokens(const struct retrieval_hit *h) {
    return HIT_OVERHEAD + text_tokens(h->title.n ? h->title : h->source_name) +
           text_tokens(h->heading);
}

static void choose(const struct retrieval_hit *hits, size_t n_hits, struct sentence *list, size_t n,
                   int max) {
    struct sentence *order[SENTENCES_MAX];
    bool *used = calloc(n_hits + 1, sizeof *used);
    int tokens = 0;
    for (size_t i = 0; i < n; i++)
        order[i] = &list[i];
    qsort(order, n, sizeof order[0], by_score);
    if (n) { /* without the best one the others are worth little */
        struct sentence *best = order[0];
        int room = max - name_tokens(&hits[best->hit]);
        room = room > BEST_TOKENS ? room : BEST_TOKENS;
        struct str text = str_sub(hits[best->hit].text, best->from, best->to - best->from);
        if (best->tokens > room + 1) {
            best->to = best->from + text_tokens_cut(text, room);
            best->tokens = room + 1;
        }
    }
    for (size_t i = 0; used && i < n; i++) {
        const struct retrieval_hit *h = &hits[order[i]->hit];
        int need = order[i]->tokens + (used[order[i]->hit] ? 0 : name_tokens(h));
        if (tokens + need > max && i > 0)
            continue;
        tokens += need;
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

static bool fits(const struct retrieval_hit *hits, size_t n, int max_tokens) {
    int64_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += text_tokens(hits[i].text) + name_tokens(&hits[i]);
    return total <= max_tokens;
}

/* What of the sentences may stay, in their hits. */
static enum err keep_best(struct retrieval_hit *hits, size_t *n, struct sentence *list,
                          size_t n_list, int max_tokens, struct arena *a) {
    size_t kept = 0;
    enum err e = ERR_OK;
    choose(hits, *n, list, n_list, max_tokens);
    for (size_t i = 0; i < *n; i++)
        if (join(&hits[i], i, list, n_list, a, &e))
            hits[kept++] = hits[i];
    *n = kept;
    return e;
}

enum err excerpt_hits(struct retrieval_hit *hits, size_t *n, int max_tokens,
                      const struct query_terms *q, struct terms *t, struct sentences *s,
                      struct arena *a) {
    size_t n_list = 0;
    if (fits(hits, *n, max_tokens) || *n == 0)
        return ERR_OK;
    struct sentence *list = arena_array(a, SENTENCES_MAX, sizeof *list);
    enum err e = list ? ERR_OK : ERR_NOMEM;
    for (size_t i = 0; !e && i < *n; i++)
        e = add_sentences(&hits[i], i, q, t, s, list, &n_list);
    return e ? e : keep_best(hits, n, list, n_list, max_tokens, a);
}

enum err excerpt_begin(struct retrieval_hit *hits, size_t *n, int max_tokens, struct sentences *s,
                       struct arena *a) {
    size_t n_list = 0, in_document = 0;
    if (fits(hits, *n, max_tokens) || *n == 0)
        return ERR_OK;
    struct sentence *list = arena_array(a, SENTENCES_MAX, sizeof *list);
    enum err e = list ? ERR_OK : ERR_NOMEM;
    for (size_t i = 0; !e && i < *n; i++) {
        size_t first = n_list;
        if (i == 0 || !uuid_eq(&hits[i].doc_id, &hits[i - 1].doc_id))
            in_document = 0;
        e = add_sentences(&hits[i], i, NULL, NULL, s, list, &n_list);
        for (size_t j = first; j < n_list; j++) /* each document's first, then its second … */
            list[j].score = -(double)in_document++;
    }
    return e ? e : keep_best(hits, n, list, n_list, max_tokens, a);
}
