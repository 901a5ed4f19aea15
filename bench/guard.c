/* What the guard costs for each text, and what it decides: bench_guard FILE [SECONDS [ROLE]].
 * FILE holds texts, each ended by a NUL. Prints one line of JSON: microseconds of rules, personal
 * data and normalising alone, and of the whole cascade (without embedding), in the thread's own
 * time; texts a second; and how many were blocked. No text is printed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "safety/classifier.h"
#include "safety/guard.h"

#define TEXTS_MAX 20000
#define TIMES_MAX 2000000

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

/* Judges the texts again and again for that long; returns how many of them are blocked. */
static size_t measure(struct safety *g, struct str role, double seconds, double *ret_per_second) {
    int64_t start = clock_mono_ns(), end = start + (int64_t)(seconds * 1e9);
    size_t blocked = 0, rounds = 0;
    texts.n_us = 0;
    do {
        for (size_t i = 0; i < texts.n; i++) {
            struct safety_verdict v;
            struct safety_request r = {.text = texts.list[i], .role = role};
            double t = cpu_us();
            if (safety_judge(g, &r, &v))
                fail("a text cannot be judged");
            if (texts.n_us < TIMES_MAX)
                texts.us[texts.n_us++] = cpu_us() - t;
            blocked += rounds == 0 && v.action == SAFETY_BLOCK;
        }
        rounds++;
    } while (clock_mono_ns() < end);
    *ret_per_second = (double)(rounds * texts.n) / ((double)(clock_mono_ns() - start) / 1e9);
    qsort(texts.us, texts.n_us, sizeof *texts.us, by_size);
    return blocked;
}

static void print(const char *name, size_t blocked, double per_second) {
    printf("\"%s\":{\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f,\"per_second\":%.0f,"
           "\"blocked\":%zu}",
           name, quantile(0.5), quantile(0.99), quantile(1), per_second, blocked);
}

int main(int argc, char **argv) {
    struct errinfo ei = {0};
    struct classifier *c = NULL;
    struct safety *rules = NULL, *whole = NULL;
    double per_second, seconds = argc > 2 ? atof(argv[2]) : 0;
    struct str role = argc > 3 ? str_from(argv[3]) : STR("");
    if (argc < 2)
        fail("name a file");
    texts.us = malloc(TIMES_MAX * sizeof *texts.us);
    if (!texts.us || crypto_init() || classifier_open_builtin(&c, &ei))
        fail(ei.message);
    struct safety_scorer scorer = classifier_scorer(c);
    struct safety_options o = {0};
    if (safety_new(&o, &rules, &ei))
        fail(ei.message);
    o.scorer = &scorer;
    if (safety_new(&o, &whole, &ei))
        fail(ei.message);
    read_texts(argv[1]);
    printf("{\"texts\":%zu,", texts.n);
    size_t blocked = measure(rules, role, seconds, &per_second);
    print("rules", blocked, per_second);
    blocked = measure(whole, role, seconds, &per_second);
    printf(",");
    print("cascade", blocked, per_second);
    printf("}\n");
    safety_free(rules);
    safety_free(whole);
    classifier_free(c);
    free(texts.us);
    return 0;
}
