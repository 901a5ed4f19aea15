/* Measures the index: bench_retrieval CHUNKS SECONDS [corpus.jsonl]: builds it from made-up
 * passages (or sentences of a corpus, mixed anew), searches with questions of rare, ordinary and
 * common words, and prints one JSON object. Vectors are 384-dimensional and lie in clusters, as
 * those of texts do. Search is what the server does without the question's embedding: words and
 * vectors on two threads, then fused. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/json.h"
#include "retrieval/fuse.h"

#define DIMS      384
#define CLUSTERS  2000
#define WORDS     60000
#define QUERIES   400
#define PER_CHUNK 90
#define DEPTH     200

static uint64_t rng = 88172645463325252ull;

static uint64_t next(void) {
    rng ^= rng << 13;
    rng ^= rng >> 7;
    return rng ^= rng << 17;
}

static double uniform(void) {
    return (double)(next() >> 11) / 9007199254740992.0;
}

/* A word by Zipf's law, as in prose: the commonest stand in most passages. */
static unsigned zipf(void) {
    static double *sums;
    if (!sums) {
        sums = malloc(WORDS * sizeof *sums);
        double sum = 0;
        for (unsigned i = 0; i < WORDS; i++)
            sums[i] = sum += 1.0 / (i + 2.7);
    }
    double x = uniform() * sums[WORDS - 1];
    unsigned lo = 0, hi = WORDS - 1;
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        if (sums[mid] < x)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void word(struct buf *b, unsigned i) {
    static const char *const parts[] = {"ba", "ke", "lo", "mi", "nu", "ra", "se", "ti", "vo", "zu"};
    buf_addc(b, (char)('a' + i % 23));
    do {
        buf_addz(b, parts[i % 10]);
        i /= 10;
    } while (i);
}

static struct str *sentences; /* of a corpus */
static size_t n_sentences;

static void read_corpus(const char *path) {
    FILE *f = fopen(path, "rb");
    char *line = NULL;
    size_t size = 0, room = 0;
    ssize_t n;
    while (f && (n = getline(&line, &size, f)) > 0) {
        yyjson_doc *doc;
        if (json_parse((struct str){line, (size_t)n}, &doc, NULL))
            continue;
        struct str text = json_get_str(yyjson_doc_get_root(doc), "text");
        while (text.n) {
            struct str s = str_trim(str_cut(&text, '.'));
            if (s.n < 20)
                continue;
            if (n_sentences == room)
                sentences = realloc(sentences, (room = room * 2 + 1024) * sizeof *sentences);
            sentences[n_sentences++] = (struct str){strndup(s.p, s.n), s.n};
        }
        yyjson_doc_free(doc);
    }
    free(line);
    if (f)
        fclose(f);
}

static void passage(struct buf *b) {
    buf_clear(b);
    for (int i = 0; n_sentences && i < 5; i++) {
        buf_adds(b, sentences[next() % n_sentences]);
        buf_addz(b, ". ");
    }
    for (int i = 0; !n_sentences && i < PER_CHUNK; i++) {
        word(b, zipf());
        buf_addc(b, ' ');
    }
}

static float (*centres)[DIMS];

static void vector(float v[DIMS]) {
    if (!centres) {
        centres = malloc(CLUSTERS * sizeof *centres);
        for (int c = 0; c < CLUSTERS; c++)
            for (int i = 0; i < DIMS; i++)
                centres[c][i] = (float)(uniform() + uniform() + uniform() - 1.5);
    }
    const float *a = centres[next() % CLUSTERS], *b = centres[next() % CLUSTERS];
    float share = (float)uniform() * 0.4f;
    for (int i = 0; i < DIMS; i++)
        v[i] = a[i] * (1 - share) + b[i] * share +
               0.6f * (float)(uniform() + uniform() + uniform() - 1.5);
}

struct question {
    char text[512];
    float v[DIMS];
};

static struct question *questions(void) {
    struct question *q = malloc(QUERIES * sizeof *q);
    struct buf b;
    buf_init(&b, 1 << 16);
    for (int i = 0; i < QUERIES; i++) {
        buf_clear(&b);
        if (n_sentences && i % 4 != 3) {
            struct str s = sentences[next() % n_sentences];
            buf_adds(&b, str_sub(s, 0, 90));
        }
        for (int k = 0; !b.n && k < 8; k++) { /* every fourth: common words alone */
            if (k)
                buf_addc(&b, ' ');
            if (n_sentences)
                buf_addz(&b, (const char *const[]){"flow", "the", "of", "boundary", "layer",
                                                   "pressure", "number", "results"}[k]);
            else
                word(&b, i % 4 == 3 ? (unsigned)(next() % 20) : zipf());
        }
        snprintf(q[i].text, sizeof q[i].text, "%.*s", (int)b.n, b.p);
        vector(q[i].v);
    }
    buf_deinit(&b);
    return q;
}

/* ---- one search on two threads ---- */

struct searching {
    const struct index_view *view;
    const struct query_terms *terms;
    struct vector_query *vq;
    struct index_scratch *scratch;
    struct index_hit hits[DEPTH];
    size_t n;
    bool exact, work, stop;
    double cpu_ms; /* of the last search */
    pthread_mutex_t lock;
    pthread_cond_t wake;
};

/* CPU time of this thread: what neighbours on the machine do to a search is not in it. */
static double cpu_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void *vector_thread(void *arg) {
    struct searching *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        if (!s->work) {
            pthread_cond_wait(&s->wake, &s->lock);
            continue;
        }
        pthread_mutex_unlock(&s->lock);
        double begin = cpu_ms();
        if (index_nearest(s->view, s->vq, NULL, false, s->scratch, DEPTH, s->hits, &s->n,
                          &s->exact))
            abort();
        s->cpu_ms = cpu_ms() - begin;
        pthread_mutex_lock(&s->lock);
        s->work = false;
        pthread_cond_broadcast(&s->wake);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double at(double *v, size_t n, double q) {
    qsort(v, n, sizeof *v, ascending);
    size_t i = (size_t)(q * (double)(n - 1) + 0.5);
    return n ? v[i < n ? i : n - 1] : 0;
}

static double recall(const struct index_hit *a, const struct index_hit *b) {
    double same = 0;
    for (int i = 0; i < 10; i++)
        for (int k = 0; k < 10; k++)
            same += a[i].row == b[k].row;
    return same / 10;
}

/* Returns the seconds that the index took, without making the passages. */
static double build(struct index *x, const struct uuid *collection, size_t chunks) {
    int64_t ns = 0;
    struct buf b;
    float v[DIMS];
    char packed[sizeof(float) + DIMS];
    buf_init(&b, 1 << 20);
    for (size_t i = 0; i < chunks; i++) {
        passage(&b);
        vector(v);
        vector_pack(v, DIMS, packed);
        struct index_chunk c = {.chunk_id = (int64_t)i,
                                .key = i,
                                .text = buf_str(&b),
                                .vector = {packed, vector_size(DIMS)}};
        struct index_doc d = {.doc_id = uuid_new(),
                              .collection_id = *collection,
                              .title = STR("passage"),
                              .chunks = &c,
                              .n_chunks = 1};
        int64_t begin = clock_mono_ns();
        if (index_put(x, &d))
            abort();
        ns += clock_mono_ns() - begin;
    }
    buf_deinit(&b);
    return (double)ns / 1e9;
}

int main(int argc, char **argv) {
    size_t chunks = argc > 1 ? strtoul(argv[1], NULL, 10) : 10000;
    double seconds = argc > 2 ? atof(argv[2]) : 5;
    struct index *x;
    struct terms *terms;
    struct uuid collection = uuid_new();
    if (argc > 3)
        read_corpus(argv[3]);
    if (index_new(&bm25_default, DIMS, &x) || terms_open(&terms))
        return 1;
    double build_s = build(x, &collection, chunks);
    int64_t begin;
    struct question *q = questions();
    struct index_view view;
    index_view_open(x, &collection, 1, &view);
    struct searching s = {.view = &view, .scratch = index_scratch_new()};
    struct index_scratch *mine = index_scratch_new();
    pthread_t thread;
    pthread_mutex_init(&s.lock, NULL);
    pthread_cond_init(&s.wake, NULL);
    pthread_create(&thread, NULL, vector_thread, &s);
    size_t size = 200000, n = 0, n_common = 0, n_words = 0, n_fused;
    double *all = malloc(size * sizeof *all), *common = malloc(size * sizeof *common);
    double *cpu_words = malloc(size * sizeof *all), *cpu_vectors = malloc(size * sizeof *all),
           *cpu_path = malloc(size * sizeof *all);
    static struct index_hit words[DEPTH], exact[DEPTH];
    static struct fused fused[2 * DEPTH];
    double found = 0;
    int measured = 0;
    begin = clock_mono_ns();
    for (size_t i = 0; n < size && (double)(clock_mono_ns() - begin) / 1e9 < seconds; i++) {
        struct question *one = &q[i % QUERIES];
        struct query_terms t = {.n = 0};
        if (vector_query_new(one->v, DIMS, &s.vq))
            return 1;
        int64_t start = clock_mono_ns();
        pthread_mutex_lock(&s.lock);
        s.work = true;
        pthread_cond_broadcast(&s.wake);
        pthread_mutex_unlock(&s.lock);
        double cpu = cpu_ms();
        query_terms_add(&t, terms, &view, str_from(one->text), 1);
        if (index_lexical(&view, &t, NULL, mine, DEPTH, words, &n_words))
            return 1;
        cpu_words[n] = cpu_ms() - cpu;
        pthread_mutex_lock(&s.lock);
        while (s.work)
            pthread_cond_wait(&s.wake, &s.lock);
        cpu_vectors[n] = s.cpu_ms;
        pthread_mutex_unlock(&s.lock);
        cpu = cpu_ms();
        if (fuse(&view, &t, s.vq, words, n_words, s.hits, s.n, FUSE_SCORES, fused, &n_fused))
            return 1;
        double ms = (double)(clock_mono_ns() - start) / 1e6;
        cpu_path[n] = fmax(cpu_words[n], cpu_vectors[n]) + cpu_ms() - cpu;
        all[n++] = ms;
        if (i % 4 == 3)
            common[n_common++] = ms;
        if (i < 100) { /* against comparing every vector; not timed */
            size_t m;
            bool is_exact;
            int64_t pause = clock_mono_ns();
            if (index_nearest(&view, s.vq, NULL, true, mine, DEPTH, exact, &m, &is_exact))
                return 1;
            found += recall(s.hits, exact);
            measured++;
            begin += clock_mono_ns() - pause;
        }
        vector_query_free(s.vq);
    }
    pthread_mutex_lock(&s.lock);
    s.stop = true;
    pthread_cond_broadcast(&s.wake);
    pthread_mutex_unlock(&s.lock);
    pthread_join(thread, NULL);
    struct index_size bytes;
    struct rusage usage;
    index_get_size(x, &bytes);
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"chunks\":%zu,\"searches\":%zu,\"p50_ms\":%.3f,\"p99_ms\":%.3f,"
           "\"common_p50_ms\":%.3f,\"common_p99_ms\":%.3f,\"recall_at_10\":%.4f,"
           "\"cpu_words_p50_ms\":%.3f,\"cpu_words_p99_ms\":%.3f,\"cpu_vectors_p50_ms\":%.3f,"
           "\"cpu_p50_ms\":%.3f,\"cpu_p99_ms\":%.3f,"
           "\"index_mb\":%.1f,\"rss_mb\":%.1f,\"build_per_s\":%.0f}\n",
           chunks, n, at(all, n, 0.5), at(all, n, 0.99), at(common, n_common, 0.5),
           at(common, n_common, 0.99), found / measured, at(cpu_words, n, 0.5),
           at(cpu_words, n, 0.99), at(cpu_vectors, n, 0.5), at(cpu_path, n, 0.5),
           at(cpu_path, n, 0.99), (double)bytes.bytes / 1e6, (double)usage.ru_maxrss / 1024,
           (double)chunks / build_s);
    index_view_close(&view);
    index_free(x);
    return 0;
}
