/* See complaints.h. */
#include "learn/complaints.h"

#include <math.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/vector.h"
#include "learn/ranker_internal.h"

#define ALIKE 0.5 /* cosine to a theme's middle, with shared words counted in */

struct cluster {
    float *sum; /* dims */
    struct words words;
    size_t n;
};

static double like(const struct cluster *c, const struct complaint *p, const struct words *w,
                   size_t dims) {
    double words = words_alike(&c->words, w, NULL, NULL), length = 0, cosine = 0;
    if (!p->vector)
        return words;
    length = sqrt(vector_dot(c->sum, c->sum, dims));
    if (length > 0)
        cosine = vector_dot(c->sum, p->vector, dims) / length;
    return fmax(cosine, 0.5 * cosine + 0.5 * words);
}

static int by_hash(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void join(struct cluster *c, const struct complaint *p, const struct words *w, size_t dims) {
    for (size_t i = 0; p->vector && i < dims; i++)
        c->sum[i] += p->vector[i];
    size_t n = c->words.n;
    for (size_t i = 0; i < w->n && n < WORDS_MAX; i++)
        if (!bsearch(&w->hash[i], c->words.hash, c->words.n, sizeof *w->hash, by_hash))
            c->words.hash[n++] = w->hash[i];
    qsort(c->words.hash, n, sizeof *c->words.hash, by_hash);
    c->words.n = n;
    c->n++;
}

/* ---- the words of a theme: frequent in it, rare outside ---- */

struct counted {
    uint64_t hash;
    struct str word; /* arena; as first written */
    int in, all;
};
struct counting {
    struct counted *list; /* a hash table */
    size_t size;
    struct arena *arena;
    bool inside, out_of_memory;
};

static void count_word(void *ctx, struct str word) {
    struct counting *c = ctx;
    struct words w;
    words_of(word, &w);
    if (w.n != 1 || word.n < 3)
        return;
    for (size_t k = w.hash[0] % c->size, tries = 0; tries < c->size;
         k = (k + 1) % c->size, tries++) {
        struct counted *at = &c->list[k];
        if (!at->hash) {
            at->hash = w.hash[0];
            at->word = arena_str(c->arena, word);
            c->out_of_memory |= !at->word.p;
        }
        if (at->hash != w.hash[0])
            continue;
        at->all++;
        at->in += c->inside;
        return;
    }
}

static double salience(const struct counted *c) {
    return c->in < 1 ? 0 : (double)c->in * (double)c->in / (double)c->all;
}

static int by_salience(const void *a, const void *b) {
    double x = salience(a), y = salience(b);
    if (x != y)
        return x > y ? -1 : 1;
    return strcmp(((const struct counted *)a)->word.p ? ((const struct counted *)a)->word.p : "",
                  ((const struct counted *)b)->word.p ? ((const struct counted *)b)->word.p : "");
}

static enum err name_theme(const struct complaint *p, size_t n, const int *of, int theme,
                           struct arena *a, struct str *ret) {
    struct counting c = {.size = 8192, .arena = a};
    struct buf b;
    c.list = calloc(c.size, sizeof *c.list);
    if (!c.list)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        c.inside = of[i] == theme;
        words_each(p[i].text, count_word, &c);
    }
    qsort(c.list, c.size, sizeof *c.list, by_salience);
    buf_init(&b, 1024);
    for (size_t i = 0; i < COMPLAINT_WORDS && salience(&c.list[i]) > 0; i++) {
        buf_addz(&b, i ? ", " : "");
        buf_adds(&b, c.list[i].word);
    }
    *ret = b.n ? arena_str(a, buf_str(&b)) : STR("");
    free(c.list);
    enum err e = c.out_of_memory || !ret->p ? ERR_NOMEM : buf_err(&b);
    buf_deinit(&b);
    return e;
}

static const struct {
    const char *reason, *advice;
} advice_table[] = {
    {"wrong_source", "Look at the documents that these answers used: replace or remove what "
                     "misleads, and add the right ones."},
    {"wrong", "Add a document that answers these questions, or approve a right answer."},
    {"unsafe", "Look at the guard's policy for this role."},
    {"too_long", "Ask for shorter answers in the role's prompt, and try it as a variant first."},
    {"too_slow", "Try fewer passages or a smaller model as a variant of the role."},
    {"not_helpful", "Say in the role's prompt what people expect here, and try it as a variant."},
};
#define ADVICE (sizeof advice_table / sizeof *advice_table)

static const char *advise(const struct complaint *p, size_t n, const int *of, int theme) {
    int counts[ADVICE] = {0}, best = -1;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; of[i] == theme && k < ADVICE; k++) {
            char quoted[32];
            size_t m = strlen(advice_table[k].reason);
            quoted[0] = '"';
            memcpy(quoted + 1, advice_table[k].reason, m);
            quoted[m + 1] = '"';
            counts[k] += str_find(p[i].reasons, (struct str){quoted, m + 2}) != SIZE_MAX;
        }
    for (size_t k = 0; k < ADVICE; k++)
        if (counts[k] && (best < 0 || counts[k] > counts[best]))
            best = (int)k;
    return best < 0 ? "Read the examples: a document may be missing, or the prompt may mislead."
                    : advice_table[best].advice;
}

static int by_size(const void *a, const void *b) {
    const struct theme *x = a, *y = b;
    if (x->n != y->n)
        return x->n > y->n ? -1 : 1;
    return x->examples[0] < y->examples[0] ? -1 : 1;
}

static void pick_examples(struct theme *t, const struct complaint *p, const struct words *w,
                          size_t n, const int *of, int theme, const struct cluster *c,
                          size_t dims) {
    double best[COMPLAINT_EXAMPLES];
    for (size_t i = 0; i < n; i++) {
        if (of[i] != theme)
            continue;
        double near = like(c, &p[i], &w[i], dims);
        size_t at = t->n_examples < COMPLAINT_EXAMPLES ? t->n_examples++ : COMPLAINT_EXAMPLES;
        while (at > 0 && best[at - 1] < near) {
            if (at < COMPLAINT_EXAMPLES) {
                best[at] = best[at - 1];
                t->examples[at] = t->examples[at - 1];
            }
            at--;
        }
        if (at < COMPLAINT_EXAMPLES) {
            best[at] = near;
            t->examples[at] = i;
        }
    }
}

enum err complaints_cluster(const struct complaint *p, size_t n, size_t dims, struct arena *a,
                            struct theme **ret, size_t *ret_n) {
    if (n > COMPLAINTS_MAX)
        return ERR_INVALID;
    struct cluster *c = arena_array(a, n + 1, sizeof *c);
    struct words *w = arena_array(a, n + 1, sizeof *w);
    int *of = arena_array(a, n + 1, sizeof *of);
    struct theme *t = arena_array(a, n + 1, sizeof *t);
    size_t k = 0;
    if (!c || !w || !of || !t)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        double best = ALIKE;
        size_t at = k;
        words_of(p[i].text, &w[i]);
        for (size_t j = 0; j < k; j++) {
            double v = like(&c[j], &p[i], &w[i], dims);
            if (v >= best) {
                best = v;
                at = j;
            }
        }
        if (at == k && !(c[k++].sum = arena_array(a, dims + 1, sizeof(float))))
            return ERR_NOMEM;
        join(&c[at], &p[i], &w[i], dims);
        of[i] = (int)at;
    }
    for (size_t j = 0; j < k; j++) {
        t[j].n = c[j].n;
        t[j].advice = advise(p, n, of, (int)j);
        pick_examples(&t[j], p, w, n, of, (int)j, &c[j], dims);
        enum err e = name_theme(p, n, of, (int)j, a, &t[j].words);
        if (e)
            return e;
    }
    qsort(t, k, sizeof *t, by_size);
    *ret = t;
    *ret_n = k;
    return ERR_OK;
}
