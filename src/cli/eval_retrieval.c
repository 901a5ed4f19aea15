/* parley eval retrieval DIR: how well search finds what was judged relevant, in BEIR's layout
 * (Thakur et al. 2021): corpus.jsonl {"_id","title","text"}, queries.jsonl {"_id","text"},
 * qrels.tsv or qrels/test.tsv (query-id, corpus-id, score; TREC's four columns as well), each plain
 * or .gz. Words, vectors and both fused, as the server searches; each document is one passage,
 * embedded with its title in front and cut at the model's window.
 *
 * nDCG@10 with linear gains, recall and MRR as trec_eval counts them, over the queries that have a
 * relevant document; a document that is the query itself is not counted. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/embedder.h"
#include "cli/eval.h"
#include "cli/eval_measure.h"
#include "cli/eval_rows.h"
#include "retrieval/fuse.h"

#define DEPTH     200
#define BATCH     256
#define TEXT_MAX  4000 /* bytes that are embedded: past the model's window in any case */
#define QRELS_MAX ((size_t)256 << 20)

enum part { PART_LEXICAL, PART_VECTOR, PART_FUSED, PART_RRF, PARTS };
static const char *const part_names[PARTS] = {"lexical", "vector", "fused", "fused (RRF)"};

struct judgement {
    uint32_t query, doc;
    double grade;
};

struct measures {
    double ndcg, recall10, recall100, mrr;
};

struct eval {
    const struct args *args;
    const char *dir;
    struct eval_rows corpus, queries;
    struct judgement *judgements;
    size_t n_judgements, size_judgements, n_judged;
    struct index *index;
    struct uuid collection;
    float *doc_vectors, *query_vectors; /* NULL: without an embedding model */
    int dims;
    char model[256];
    struct measures sum[PARTS];
    double *us[PARTS];
    FILE *per_query;
    double build_s, embed_s;
};

/* ---- files ---- */

static bool find_file(const struct eval *v, const char *const *names, char out[PATH_MAX]) {
    for (size_t i = 0; names[i]; i++) {
        if (snprintf(out, PATH_MAX, "%s/%s", v->dir, names[i]) < PATH_MAX && access(out, R_OK) == 0)
            return true;
    }
    return false;
}

static enum err read_rows(const struct eval *v, const char *const *names, struct eval_rows *ret,
                          struct errinfo *ei) {
    char path[PATH_MAX];
    if (!find_file(v, names, path))
        return err_set(ei, ERR_NOT_FOUND, "there is no %s (or .gz) in %s", names[0], v->dir);
    return eval_rows_read(path, ret, ei);
}

/* The id of a row as text: some sets write numbers. */
static char *id_of(const json_val *row) {
    json_val *id = json_get(row, "_id");
    char text[32];
    if (!id)
        id = json_get(row, "id");
    if (yyjson_is_str(id))
        return strndup(json_str(id).p, json_str(id).n);
    snprintf(text, sizeof text, "%lld", (long long)yyjson_get_sint(id));
    return strdup(text);
}

static char **sorting_ids; /* qsort() has no context; one thread */

static int by_id(const void *a, const void *b) {
    const uint32_t *x = a, *y = b;
    return strcmp(sorting_ids[*x], sorting_ids[*y]);
}

struct ids {
    char **id; /* by row */
    uint32_t *order;
    size_t n;
};

static enum err make_ids(const struct eval_rows *rows, struct ids *ret) {
    ret->n = rows->n;
    ret->id = calloc(rows->n + 1, sizeof *ret->id);
    ret->order = calloc(rows->n + 1, sizeof *ret->order);
    if (!ret->id || !ret->order)
        return ERR_NOMEM;
    for (size_t i = 0; i < rows->n; i++) {
        ret->order[i] = (uint32_t)i;
        if (!(ret->id[i] = id_of(rows->row[i])))
            return ERR_NOMEM;
    }
    sorting_ids = ret->id;
    qsort(ret->order, ret->n, sizeof *ret->order, by_id);
    return ERR_OK;
}

static void ids_deinit(struct ids *s) {
    for (size_t i = 0; s->id && i < s->n; i++)
        free(s->id[i]);
    free(s->id);
    free(s->order);
}

static bool find_id(const struct ids *s, struct str id, uint32_t *ret) {
    size_t lo = 0, hi = s->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const char *have = s->id[s->order[mid]];
        int c = strncmp(have, id.p, id.n);
        c = c ? c : have[id.n] != 0;
        if (c == 0) {
            *ret = s->order[mid];
            return true;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

static enum err add_judgement(struct eval *v, const struct ids *q, const struct ids *d,
                              struct str line) {
    struct str f[4];
    size_t n = 0;
    while (n < 4 && (line = str_trim(line)).n) {
        size_t k = 0;
        while (k < line.n && line.p[k] != '\t' && line.p[k] != ' ')
            k++;
        f[n++] = str_sub(line, 0, k);
        line = str_sub(line, k, line.n);
    }
    struct judgement j;
    if (n < 3 || !str_to_double(f[n - 1], &j.grade) || j.grade <= 0 ||
        !find_id(q, f[0], &j.query) || !find_id(d, n == 4 ? f[2] : f[1], &j.doc))
        return ERR_OK;
    if (v->n_judgements == v->size_judgements) {
        size_t size = v->size_judgements ? v->size_judgements * 2 : 4096;
        struct judgement *grown = realloc(v->judgements, size * sizeof *grown);
        if (!grown)
            return ERR_NOMEM;
        v->judgements = grown;
        v->size_judgements = size;
    }
    v->judgements[v->n_judgements++] = j;
    return ERR_OK;
}

static int by_query(const void *a, const void *b) {
    const struct judgement *x = a, *y = b;
    return x->query != y->query ? (x->query < y->query ? -1 : 1)
                                : (x->doc > y->doc) - (x->doc < y->doc);
}

static enum err read_judgements(struct eval *v, const struct ids *q, const struct ids *d,
                                struct errinfo *ei) {
    static const char *const names[] = {
        "qrels.tsv",     "qrels.tsv.gz", "qrels/test.tsv",  "qrels/test.tsv.gz",
        "qrels/dev.tsv", "qrels.txt",    "qrels/train.tsv", NULL};
    char path[PATH_MAX], part[1 << 16];
    struct buf b;
    if (!find_file(v, names, path))
        return err_set(ei, ERR_NOT_FOUND, "there is no qrels.tsv or qrels/test.tsv in %s", v->dir);
    gzFile f = gzopen(path, "rb");
    if (!f)
        return err_set(ei, ERR_IO, "cannot read %s", path);
    buf_init(&b, QRELS_MAX);
    for (int n; (n = gzread(f, part, sizeof part)) > 0;)
        buf_add(&b, part, (size_t)n);
    gzclose(f);
    enum err e = buf_err(&b);
    struct str rest = buf_str(&b);
    while (!e && rest.n)
        e = add_judgement(v, q, d, str_cut(&rest, '\n'));
    buf_deinit(&b);
    if (!e && !v->n_judgements)
        return err_set(ei, ERR_INVALID, "%s names no query and document of %s", path, v->dir);
    if (v->n_judgements)
        qsort(v->judgements, v->n_judgements, sizeof *v->judgements, by_query);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

/* ---- vectors ---- */

static struct str embed_text(const struct eval *v, const json_val *row, bool doc, struct buf *b) {
    struct str title = doc ? json_get_str(row, "title") : STR_NULL;
    struct str text = json_get_str(row, "text");
    (void)v;
    buf_clear(b);
    if (title.n)
        buf_addf(b, "%.*s ", STR_ARG(title));
    buf_adds(b, text);
    struct str s = str_trim(buf_str(b));
    s.n = utf8_cut(s, s.n < TEXT_MAX ? s.n : TEXT_MAX);
    return s.n ? s : STR("-");
}

/* With --cache the vectors are kept as raw floats: a second run of another setting is quick. */
static bool read_cache(const struct eval *v, const char *what, size_t n, int dims, float **ret) {
    char path[PATH_MAX];
    struct stat st;
    const char *dir = args_get(v->args, "cache");
    size_t size = n * (size_t)dims * sizeof(float);
    if (!dir || snprintf(path, sizeof path, "%s/%s.f32", dir, what) >= PATH_MAX ||
        stat(path, &st) != 0 || (size_t)st.st_size != size)
        return false;
    FILE *f = fopen(path, "rb");
    float *p = f ? malloc(size) : NULL;
    bool good = p && fread(p, 1, size, f) == size;
    if (f)
        fclose(f);
    if (!good)
        free(p);
    else
        *ret = p;
    return good;
}

static void write_cache(const struct eval *v, const char *what, const float *p, size_t n) {
    char path[PATH_MAX];
    const char *dir = args_get(v->args, "cache");
    if (!dir || snprintf(path, sizeof path, "%s/%s.f32", dir, what) >= PATH_MAX)
        return;
    FILE *f = fopen(path, "wb");
    if (f) {
        size_t done = fwrite(p, sizeof *p, n * (size_t)v->dims, f);
        if (fclose(f) != 0 || done != n * (size_t)v->dims)
            unlink(path);
    }
}

static enum err embed_rows(struct eval *v, struct embedder *m, const struct eval_rows *rows,
                           bool docs, float **ret, struct errinfo *ei) {
    struct str texts[BATCH];
    char *copies[BATCH];
    float *all = NULL;
    struct embedded part = {0};
    struct buf b;
    enum err e = ERR_OK;
    buf_init(&b, EVAL_TEXT_MAX * 2);
    bool shown = isatty(STDERR_FILENO);
    for (size_t i = 0; !e && i < rows->n; i += BATCH) {
        size_t n = rows->n - i < BATCH ? rows->n - i : BATCH, k = 0;
        for (; k < n; k++) {
            struct str s = embed_text(v, rows->row[i + k], docs, &b);
            copies[k] = strndup(s.p, s.n);
            texts[k] = (struct str){copies[k], copies[k] ? s.n : 0};
        }
        e = embedder_run(m, texts, n, UPSTREAM_EMBED_PLAIN, &part, ei);
        size_t dims = (size_t)part.dimensions;
        while (k-- > 0)
            free(copies[k]);
        if (!e && !all) {
            v->dims = part.dimensions;
            all = malloc(rows->n * dims * sizeof *all);
        }
        if (!e && !all)
            e = err_set(ei, ERR_NOMEM, NULL);
        if (!e)
            memcpy(all + i * dims, part.vectors, n * dims * sizeof *all);
        embedded_deinit(&part);
        if (shown)
            fprintf(stderr, "\rembedding %s %zu of %zu ", docs ? "documents" : "queries", i + n,
                    rows->n);
    }
    if (shown)
        fprintf(stderr, "\r\033[K");
    buf_deinit(&b);
    if (e) {
        free(all);
        return e;
    }
    *ret = all;
    return ERR_OK;
}

static enum err make_vectors(struct eval *v, const struct config *c, struct errinfo *ei) {
    struct embedder *m;
    int64_t begin = clock_mono_ns();
    struct embedded one = {0};
    if (args_has(v->args, "no-vectors"))
        return ERR_OK;
    enum err e = embedder_open(c, &m, ei);
    struct str probe = STR("probe");
    if (e)
        return e;
    e = embedder_run(m, &probe, 1, UPSTREAM_EMBED_PLAIN, &one, ei);
    if (!e) {
        v->dims = one.dimensions;
        embedded_deinit(&one);
        snprintf(v->model, sizeof v->model, "%s", embedder_model(m));
        if (!read_cache(v, "corpus", v->corpus.n, v->dims, &v->doc_vectors)) {
            e = embed_rows(v, m, &v->corpus, true, &v->doc_vectors, ei);
            if (!e)
                write_cache(v, "corpus", v->doc_vectors, v->corpus.n);
        }
    }
    if (!e && !read_cache(v, "queries", v->queries.n, v->dims, &v->query_vectors)) {
        e = embed_rows(v, m, &v->queries, false, &v->query_vectors, ei);
        if (!e)
            write_cache(v, "queries", v->query_vectors, v->queries.n);
    }
    embedder_close(m);
    v->embed_s = (double)(clock_mono_ns() - begin) / 1e9;
    return e;
}

/* ---- the index ---- */

static enum err build(struct eval *v, struct errinfo *ei) {
    int64_t begin = clock_mono_ns();
    char *packed = malloc(vector_size(v->dims > 0 ? v->dims : 1));
    enum err e =
        packed ? index_new(&bm25_default, v->doc_vectors ? v->dims : 0, &v->index) : ERR_NOMEM;
    v->collection = uuid_new();
    for (size_t i = 0; !e && i < v->corpus.n; i++) {
        struct str vector = STR_NULL;
        if (v->doc_vectors) {
            vector_pack(v->doc_vectors + i * (size_t)v->dims, v->dims, packed);
            vector = (struct str){packed, vector_size(v->dims)};
        }
        struct index_chunk c = {.chunk_id = (int64_t)i,
                                .key = i,
                                .text = json_get_str(v->corpus.row[i], "text"),
                                .vector = vector};
        struct index_doc d = {.doc_id = uuid_new(),
                              .collection_id = v->collection,
                              .title = json_get_str(v->corpus.row[i], "title"),
                              .chunks = &c,
                              .n_chunks = 1};
        e = index_put(v->index, &d);
    }
    free(packed);
    v->build_s = (double)(clock_mono_ns() - begin) / 1e9;
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

/* ---- measuring ---- */

/* The judgements of a query. */
static const struct judgement *judged(const struct eval *v, uint32_t query, size_t *ret_n) {
    size_t lo = 0, hi = v->n_judgements;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (v->judgements[mid].query < query)
            lo = mid + 1;
        else
            hi = mid;
    }
    size_t n = 0;
    while (lo + n < v->n_judgements && v->judgements[lo + n].query == query)
        n++;
    *ret_n = n;
    return v->judgements + lo;
}

static double grade_of(const struct judgement *j, size_t n, int64_t doc) {
    for (size_t i = 0; i < n; i++)
        if (j[i].doc == doc)
            return j[i].grade;
    return 0;
}

static int descending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static double best_dcg(const struct judgement *j, size_t n) {
    double *g = malloc((n + 1) * sizeof *g), sum = 0;
    for (size_t i = 0; g && i < n; i++)
        g[i] = j[i].grade;
    if (g) {
        qsort(g, n, sizeof *g, descending);
        for (size_t i = 0; i < n && i < 10; i++)
            sum += g[i] / log2((double)i + 2);
    }
    free(g);
    return sum;
}

static struct measures measure(const int64_t *docs, size_t n, const struct judgement *j,
                               size_t n_j) {
    struct measures m = {0};
    double dcg = 0, best = best_dcg(j, n_j);
    for (size_t i = 0; i < n && i < 100; i++) {
        double g = grade_of(j, n_j, docs[i]);
        if (g <= 0)
            continue;
        m.recall100++;
        if (i >= 10)
            continue;
        m.recall10++;
        dcg += g / log2((double)i + 2);
        m.mrr = m.mrr > 0 ? m.mrr : 1 / ((double)i + 1);
    }
    m.ndcg = best > 0 ? dcg / best : 0;
    m.recall10 /= (double)n_j;
    m.recall100 /= (double)n_j;
    return m;
}

static double us_since(int64_t ns) {
    return (double)(clock_mono_ns() - ns) / 1e3;
}

struct lists { /* of one query */
    int64_t docs[PARTS][2 * DEPTH];
    size_t n[PARTS];
};

static void hits_to_docs(const struct index_hit *h, size_t n, int64_t *ret) {
    struct index_row row;
    for (size_t i = 0; i < n; i++) {
        index_row_get(&h[i], &row);
        ret[i] = row.chunk_id;
    }
}

static enum err search(struct eval *v, const struct index_view *view, struct terms *t,
                       struct index_scratch *scratch, size_t query, struct lists *ret) {
    struct query_terms q = {.n = 0};
    struct index_hit words[DEPTH], near[DEPTH];
    static struct fused fused[2 * DEPTH];
    struct vector_query *vq = NULL;
    size_t n_words = 0, n_near = 0;
    bool exact;
    int64_t begin = clock_mono_ns();
    query_terms_add(&q, t, view, json_get_str(v->queries.row[query], "text"), 1);
    enum err e = index_lexical(view, &q, NULL, scratch, DEPTH, words, &n_words);
    double lexical_us = us_since(begin), vector_us;
    v->us[PART_LEXICAL][v->n_judged] = lexical_us;
    begin = clock_mono_ns();
    if (!e && v->query_vectors)
        e = vector_query_new(v->query_vectors + query * (size_t)v->dims, v->dims, &vq);
    if (!e && vq)
        e = index_nearest(view, vq, NULL, false, scratch, DEPTH, near, &n_near, &exact);
    v->us[PART_VECTOR][v->n_judged] = vector_us = us_since(begin);
    hits_to_docs(words, n_words, ret->docs[PART_LEXICAL]);
    hits_to_docs(near, n_near, ret->docs[PART_VECTOR]);
    ret->n[PART_LEXICAL] = n_words;
    ret->n[PART_VECTOR] = n_near;
    for (int p = PART_FUSED; !e && p < PARTS; p++) {
        begin = clock_mono_ns();
        e = fuse(view, &q, vq, words, n_words, near, n_near,
                 p == PART_FUSED ? FUSE_SCORES : FUSE_RRF, fused, &ret->n[p]);
        for (size_t i = 0; !e && i < ret->n[p]; i++)
            ret->docs[p][i] = fused[i].row.chunk_id;
        v->us[p][v->n_judged] = us_since(begin) + lexical_us + vector_us;
    }
    vector_query_free(vq);
    return e;
}

/* Without a document that is the query: the same id and the same text (ArguAna). */
static size_t drop_itself(const struct eval *v, size_t query, int64_t *docs, size_t n,
                          const char *query_id, const struct ids *d) {
    uint32_t own;
    if (!find_id(d, str_from(query_id), &own) ||
        !str_eq(json_get_str(v->corpus.row[own], "text"),
                json_get_str(v->queries.row[query], "text")))
        return n;
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        if (docs[i] != own)
            docs[k++] = docs[i];
    return k;
}

static enum err run_queries(struct eval *v, const struct ids *q, const struct ids *d,
                            struct errinfo *ei) {
    struct index_view view;
    struct terms *t = NULL;
    static struct lists lists;
    struct index_scratch *scratch = index_scratch_new();
    enum err e = scratch ? terms_open(&t) : ERR_NOMEM;
    index_view_open(v->index, &v->collection, 1, &view);
    for (size_t i = 0; !e && i < v->queries.n; i++) {
        size_t n_j;
        const struct judgement *j = judged(v, (uint32_t)i, &n_j);
        if (n_j == 0)
            continue;
        e = search(v, &view, t, scratch, i, &lists);
        for (int p = 0; !e && p < PARTS; p++) {
            lists.n[p] = drop_itself(v, i, lists.docs[p], lists.n[p], q->id[i], d);
            struct measures m = measure(lists.docs[p], lists.n[p], j, n_j);
            v->sum[p].ndcg += m.ndcg;
            v->sum[p].recall10 += m.recall10;
            v->sum[p].recall100 += m.recall100;
            v->sum[p].mrr += m.mrr;
            if (v->per_query)
                fprintf(v->per_query, "%s\t%s\t%.4f\t%.4f\t%.4f\t%.4f\t%.0f\n", q->id[i],
                        part_names[p], m.ndcg, m.recall10, m.recall100, m.mrr,
                        v->us[p][v->n_judged]);
        }
        v->n_judged += !e;
    }
    index_view_close(&view);
    index_scratch_free(scratch);
    terms_close(t);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

/* ---- telling ---- */

static void print_table(struct eval *v) {
    double n = (double)v->n_judged;
    struct index_size size;
    index_get_size(v->index, &size);
    printf("%s: %zu documents, %zu queries with judgements, index built in %.2f s, %.1f MB\n",
           v->dir, v->corpus.n, v->n_judged, v->build_s, (double)size.bytes / 1e6);
    if (v->doc_vectors)
        printf("embedding model %s, %d dimensions, %.1f s\n", v->model, v->dims, v->embed_s);
    printf("\n%-12s %8s %10s %11s %8s %9s %9s\n", "", "nDCG@10", "recall@10", "recall@100",
           "MRR@10", "p50 ms", "p99 ms");
    for (int p = 0; p < PARTS; p++) {
        if (!v->doc_vectors && p != PART_LEXICAL)
            continue;
        printf("%-12s %8.4f %10.4f %11.4f %8.4f %9.3f %9.3f\n", part_names[p], v->sum[p].ndcg / n,
               v->sum[p].recall10 / n, v->sum[p].recall100 / n, v->sum[p].mrr / n,
               eval_quantile(v->us[p], v->n_judged, 0.5) / 1e3,
               eval_quantile(v->us[p], v->n_judged, 0.99) / 1e3);
    }
    printf("\nTimes are of searching, without the query's embedding; fused is both and the fusing, "
           "one "
           "after the other.\n");
}

static void print_json(struct eval *v) {
    double n = (double)v->n_judged;
    printf("{\"documents\":%zu,\"queries\":%zu,\"model\":\"%s\"", v->corpus.n, v->n_judged,
           v->model);
    for (int p = 0; p < PARTS; p++)
        if (v->doc_vectors || p == PART_LEXICAL)
            printf(",\"%s\":{\"ndcg@10\":%.4f,\"recall@10\":%.4f,\"recall@100\":%.4f,"
                   "\"mrr@10\":%.4f,\"p50_ms\":%.3f,\"p99_ms\":%.3f}",
                   p == PART_RRF ? "fused_rrf" : part_names[p], v->sum[p].ndcg / n,
                   v->sum[p].recall10 / n, v->sum[p].recall100 / n, v->sum[p].mrr / n,
                   eval_quantile(v->us[p], v->n_judged, 0.5) / 1e3,
                   eval_quantile(v->us[p], v->n_judged, 0.99) / 1e3);
    printf("}\n");
}

static enum err evaluate(struct eval *v, const struct config *c, struct errinfo *ei) {
    static const char *const corpus[] = {"corpus.jsonl", "corpus.jsonl.gz", NULL};
    static const char *const queries[] = {"queries.jsonl", "queries.jsonl.gz", NULL};
    struct ids q = {0}, d = {0};
    enum err e = read_rows(v, corpus, &v->corpus, ei);
    if (!e)
        e = read_rows(v, queries, &v->queries, ei);
    if (!e && ((e = make_ids(&v->corpus, &d)) || (e = make_ids(&v->queries, &q))))
        err_set(ei, e, NULL);
    if (!e)
        e = read_judgements(v, &q, &d, ei);
    for (int p = 0; !e && p < PARTS; p++)
        if (!(v->us[p] = calloc(v->queries.n + 1, sizeof *v->us[p])))
            e = err_set(ei, ERR_NOMEM, NULL);
    if (!e)
        e = make_vectors(v, c, ei);
    if (!e)
        e = build(v, ei);
    const char *out = args_get(v->args, "per-query");
    if (!e && out && !(v->per_query = fopen(out, "w")))
        e = err_set(ei, ERR_IO, "cannot write %s", out);
    if (v->per_query)
        fprintf(v->per_query, "query\tsearch\tndcg@10\trecall@10\trecall@100\tmrr@10\tus\n");
    if (!e)
        e = run_queries(v, &q, &d, ei);
    if (v->per_query && fclose(v->per_query) != 0 && !e)
        e = err_set(ei, ERR_IO, "cannot write %s", out);
    ids_deinit(&q);
    ids_deinit(&d);
    return e;
}

int cmd_eval_retrieval(const struct args *a) {
    struct config *config;
    int status = cli_config(a, &config);
    if (status)
        return status;
    struct errinfo ei = {0};
    struct eval *v = calloc(1, sizeof *v);
    enum err e = v ? ERR_OK : ERR_NOMEM;
    if (v) {
        v->args = a;
        v->dir = a->operands[0];
        e = evaluate(v, config, &ei);
        if (!e && args_has(a, "json"))
            print_json(v);
        else if (!e)
            print_table(v);
        eval_rows_deinit(&v->corpus);
        eval_rows_deinit(&v->queries);
        index_free(v->index);
        for (int p = 0; p < PARTS; p++)
            free(v->us[p]);
        free(v->doc_vectors);
        free(v->query_vectors);
        free(v->judgements);
        free(v);
    }
    config_free(config);
    return e ? cli_fail(e, &ei) : CLI_OK;
}
