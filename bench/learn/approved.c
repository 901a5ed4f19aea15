/* Approved answers: is "the same question" right on paraphrases and near misses, with real
 * embeddings; and how long finding and serving one takes (embedding the question, finding its
 * answer among a thousand), as the server does it. */
#include "learn/approved.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/vector.h"
#include "cli/embedder.h"
#include "learn/ranker_internal.h"
#include "world.h"

#define PAIRS_MAX 4000
#define KNOWN     1000 /* answers that are looked through */
#define ASKED     200

struct pair {
    bool same;
    struct str a, b;
};

static size_t read_pairs(char *text, struct pair *ret) {
    size_t n = 0;
    for (struct str rest = str_from(text); rest.n && n < PAIRS_MAX;) {
        struct str line = str_cut(&rest, '\n'), label = str_cut(&line, '\t');
        ret[n].a = str_cut(&line, '\t');
        ret[n].b = line;
        ret[n].same = str_eqz(label, "same");
        n += ret[n].a.n && ret[n].b.n;
    }
    return n;
}

static char *read_file(const char *path) {
    FILE *f = fopen(path, "rb");
    char *text = need(calloc(1, 1 << 20));
    if (!f || fread(text, 1, (1 << 20) - 1, f) == 0)
        die("the questions cannot be read");
    fclose(f);
    return text;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void measure_latency(struct embedder *m, const struct pair *p, size_t n, const float *v,
                            size_t dims) {
    struct question_form *known[KNOWN];
    static double ms[ASKED];
    size_t found = 0;
    for (size_t i = 0; i < KNOWN; i++)
        known[i] = need(question_form_new(p[i % n].a));
    for (size_t k = 0; k < ASKED; k++) {
        struct errinfo ei = {0};
        struct embedded q;
        int64_t begin = clock_mono_ns();
        if (embedder_run(m, &p[k % n].b, 1, UPSTREAM_EMBED_PLAIN, &q, &ei))
            die(ei.message);
        struct question_form *form = need(question_form_new(p[k % n].b));
        for (size_t i = 0; i < KNOWN; i++)
            found += approved_is_same(known[i], form,
                                      vector_dot(v + 2 * (i % n) * dims, q.vectors, dims));
        ms[k] = (double)(clock_mono_ns() - begin) / 1e6;
        question_form_free(form);
        embedded_deinit(&q);
    }
    for (size_t i = 0; i < KNOWN; i++)
        question_form_free(known[i]);
    qsort(ms, ASKED, sizeof *ms, by_value);
    printf("finding a served answer among %d (embedding the question included): p50 %.1f ms, p95 "
           "%.1f ms, p99 %.1f ms (%zu found)\n",
           KNOWN, ms[ASKED / 2], ms[ASKED * 95 / 100], ms[ASKED * 99 / 100], found);
    result_add("approved answers: time to find one, p95", ms[ASKED * 95 / 100], "ms", "50",
               "lower");
}

/* What is served though it should not be is printed: it is what the next rule is made of. */
void bench_approved(struct embedder *m, const char *questions, const char *cache, bool held_out) {
    char *text = read_file(questions);
    struct pair *p = need(calloc(PAIRS_MAX, sizeof *p));
    size_t n = read_pairs(text, p), served = 0, right = 0, same = 0, dims;
    struct str *texts = need(calloc(2 * n + 1, sizeof *texts));
    for (size_t i = 0; i < n; i++) {
        texts[2 * i] = p[i].a;
        texts[2 * i + 1] = p[i].b;
    }
    float *v = embed_cached(m, cache, texts, 2 * n, &dims);
    for (size_t i = 0; i < n; i++) {
        struct question_form *a = need(question_form_new(p[i].a));
        struct question_form *b = need(question_form_new(p[i].b));
        bool is =
            approved_is_same(a, b, vector_dot(v + 2 * i * dims, v + (2 * i + 1) * dims, dims));
        served += is;
        if (is && !p[i].same)
            printf("  wrongly the same: \"%.*s\" and \"%.*s\"\n", STR_ARG(p[i].a), STR_ARG(p[i].b));
        right += is && p[i].same;
        same += p[i].same;
        question_form_free(a);
        question_form_free(b);
    }
    double precision = served ? (double)right / (double)served : 0;
    struct interval ci = interval_of_share((double)right, (double)served),
                    found = interval_of_share((double)right, (double)same);
    printf("\napproved answers: %zu pairs%s %zu of them paraphrases, the others near misses\n"
           "  precision %.3f (%.3f to %.3f; %zu served), recall %.3f (%.3f to %.3f)\n",
           n, held_out ? ", held out," : " that rules were made with,", same, precision, ci.low,
           ci.high, served, (double)right / (double)same, found.low, found.high);
    if (held_out) {
        result_add("approved answers: precision of \"the same question\", held out", precision,
                   "share", "0.98", "higher");
        result_add("approved answers: its interval's lower end", ci.low, "share", "", "higher");
        result_add("approved answers: recall, held out", (double)right / (double)same, "share", "",
                   "higher");
        measure_latency(m, p, n, v, dims);
    }
    free(v);
    free(texts);
    free(p);
    free(text);
}
