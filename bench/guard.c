/* What the guard costs for each text, and what it decides: bench_guard FILE [SECONDS [ROLE]].
 * FILE holds texts, each ended by a NUL. Prints one line of JSON: microseconds of rules, personal
 * data and normalising alone, and of the whole cascade (without embedding), in the thread's own
 * time; texts a second; how many were blocked; and the same texts as answers that come token by
 * token: what a token costs, and how long it is held. No text is printed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "safety/classifier.h"
#include "safety/flow.h"

#define TEXTS_MAX 20000
#define TIMES_MAX 2000000
#define TOKEN     5            /* bytes at most */
#define TOKEN_MS  (1000. / 30) /* between two of an answer */

/* The thread's own time: what the machine's other work takes does not count. */
static double cpu_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static struct {
    struct str list[TEXTS_MAX];
    size_t n;
    double *us;
    size_t n_us;
} texts;

static void fail(const char *why) {
    fprintf(stderr, "bench_guard: %s\n", why);
    exit(1);
}

static void read_texts(const char *path) {
    struct buf all;
    char part[65536];
    FILE *f = fopen(path, "rb");
    if (!f)
        fail("the file cannot be opened");
    buf_init(&all, (size_t)256 << 20);
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
        buf_add(&all, part, n);
    fclose(f);
    struct str rest = buf_str(&all);
    while (rest.n && texts.n < TEXTS_MAX) {
        struct str one = str_cut(&rest, 0);
        if (one.n)
            texts.list[texts.n++] = one;
    }
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double quantile(double q) {
    return texts.n_us ? texts.us[(size_t)(q * (double)(texts.n_us - 1))] : NAN;
}

static struct safety *new_guard(const struct safety_options *o) {
    struct errinfo ei = {0};
    struct safety *g;
    if (safety_new(o, &g, &ei))
        fail(ei.message);
    return g;
}

/* Judges every text once with a guard that has seen none of them (it knows clean texts again);
 * returns how many of them are blocked. */
static size_t judge_all(const struct safety_options *o, struct str role) {
    struct safety *g = new_guard(o);
    size_t blocked = 0;
    for (size_t i = 0; i < texts.n; i++) {
        struct safety_verdict v;
        struct safety_request r = {.text = texts.list[i], .role = role};
        double t = cpu_us();
        if (safety_judge(g, &r, &v))
            fail("a text cannot be judged");
        if (texts.n_us < TIMES_MAX)
            texts.us[texts.n_us++] = cpu_us() - t;
        blocked += v.action == SAFETY_BLOCK;
    }
    safety_free(g);
    return blocked;
}

/* Judges the texts again and again for that long; returns how many of them are blocked. A second
 * is one of the thread's own time in judging. */
static size_t measure(const struct safety_options *o, struct str role, double seconds,
                      double *ret_per_second) {
    int64_t end = clock_mono_ns() + (int64_t)(seconds * 1e9);
    size_t blocked;
    double sum = 0;
    texts.n_us = 0;
    do {
        blocked = judge_all(o, role);
    } while (clock_mono_ns() < end);
    for (size_t i = 0; i < texts.n_us; i++)
        sum += texts.us[i];
    *ret_per_second = sum > 0 ? (double)texts.n_us / (sum / 1e6) : NAN;
    qsort(texts.us, texts.n_us, sizeof *texts.us, by_size);
    return blocked;
}

/* ---- as answers, token by token ---- */

static struct {
    double *held_ms; /* from a token's coming to its going out, at 30 tokens a second */
    size_t n;
    double us; /* of all answers */
    size_t answers;
} streamed;

/* The bytes of the next token: a word with the blank before it, or a part of one. */
static size_t token_at(struct str text, size_t at) {
    size_t n = 1;
    while (at + n < text.n && (text.p[at + n] != ' ' || text.p[at + n - 1] == ' ') && n < TOKEN)
        n++;
    while (at + n < text.n && ((unsigned char)text.p[at + n] & 0xC0) == 0x80)
        n++;
    return n;
}

static void stream(struct safety *g, struct policy *p, struct str role, struct str text) {
    struct safety_flow *f;
    struct safety_flow_options o = {.safety = g,
                                    .policy = p,
                                    .role = role,
                                    .canary = STR(""),
                                    .direction = SAFETY_OUTPUT,
                                    .before = STR("")};
    static size_t ends[65536];
    size_t tokens = 0, told = 0, taken = 0;
    struct buf out;
    buf_init(&out, 1 << 20);
    if (safety_flow_new(&o, &f))
        fail("a stream cannot be made");
    for (size_t at = 0; at < text.n && tokens < 65536;) {
        struct safety_verdict v;
        size_t n = token_at(text, at);
        double t = cpu_us();
        if (safety_flow_add(f, str_sub(text, at, n), at + n == text.n, &v) ||
            safety_flow_take(f, taken, safety_flow_safe(f), &out))
            fail("a token cannot be judged");
        t = cpu_us() - t;
        taken = safety_flow_safe(f);
        ends[tokens++] = at += n;
        streamed.us += t;
        if (texts.n_us < TIMES_MAX)
            texts.us[texts.n_us++] = t;
        for (; told < tokens && ends[told] <= taken && streamed.n < TIMES_MAX; told++)
            streamed.held_ms[streamed.n++] = (double)(tokens - 1 - told) * TOKEN_MS + t / 1e3;
    }
    streamed.answers++;
    safety_flow_free(f);
    buf_deinit(&out);
}

static void measure_stream(struct safety *g, struct str role, double seconds) {
    int64_t end = clock_mono_ns() + (int64_t)(seconds * 1e9);
    struct policy *p = safety_get_policy(g);
    texts.n_us = 0;
    do {
        for (size_t i = 0; i < texts.n; i++)
            stream(g, p, role, texts.list[i]);
    } while (clock_mono_ns() < end && streamed.n + texts.n < TIMES_MAX);
    policy_unref(p);
    qsort(texts.us, texts.n_us, sizeof *texts.us, by_size);
    qsort(streamed.held_ms, streamed.n, sizeof *streamed.held_ms, by_size);
}

static void print_stream(void) {
    const double *held = streamed.held_ms;
    double p99 = streamed.n ? held[(size_t)(0.99 * (double)(streamed.n - 1))] : NAN;
    size_t at_once = 0;
    while (at_once < streamed.n && held[at_once] < TOKEN_MS)
        at_once++;
    printf("\"stream\":{\"token_p50_us\":%.1f,\"token_p99_us\":%.1f,\"answer_us\":%.1f,"
           "\"held_p99_ms\":%.3f,\"held_max_ms\":%.1f,\"at_once\":%.4f}",
           quantile(0.5), quantile(0.99), streamed.us / (double)streamed.answers, p99,
           streamed.n ? held[streamed.n - 1] : NAN,
           streamed.n ? (double)at_once / (double)streamed.n : NAN);
}

static void print(const char *name, size_t blocked, double per_second) {
    printf("\"%s\":{\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f,\"per_second\":%.0f,"
           "\"blocked\":%zu}",
           name, quantile(0.5), quantile(0.99), quantile(1), per_second, blocked);
}

int main(int argc, char **argv) {
    struct errinfo ei = {0};
    struct classifier *c = NULL;
    double per_second, seconds = argc > 2 ? atof(argv[2]) : 0;
    struct str role = argc > 3 ? str_from(argv[3]) : STR("");
    if (argc < 2)
        fail("name a file");
    texts.us = malloc(TIMES_MAX * sizeof *texts.us);
    streamed.held_ms = malloc(TIMES_MAX * sizeof *streamed.held_ms);
    if (!texts.us || !streamed.held_ms || crypto_init() || classifier_open_builtin(&c, &ei))
        fail(ei.message);
    struct safety_scorer scorer = classifier_scorer(c);
    struct safety_options rules = {0}, whole = {.scorer = &scorer};
    read_texts(argv[1]);
    printf("{\"texts\":%zu,", texts.n);
    size_t blocked = measure(&rules, role, seconds, &per_second);
    print("rules", blocked, per_second);
    blocked = measure(&whole, role, seconds, &per_second);
    printf(",");
    print("cascade", blocked, per_second);
    printf(",");
    struct safety *g = new_guard(&whole);
    measure_stream(g, role, seconds);
    print_stream();
    printf("}\n");
    safety_free(g);
    classifier_free(c);
    free(texts.us);
    free(streamed.held_ms);
    return 0;
}
