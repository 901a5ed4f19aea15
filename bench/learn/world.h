/* What the parts of `make bench-learn` share: collections as real search answers them, and the
 * table of results. Nothing here is part of the program. */
#pragma once

#include <stdio.h>

#include "learn/evidence.h"
#include "learn/ranker.h"
#include "learn/replay.h"
#include "learn/stats.h"

#define POOL      50 /* passages that a search hands to the re-ranker */
#define SHOWN     10 /* passages that a rater sees */
#define RATERS    200
#define SEEDS     5
#define SEEDS_MAX 32
#define NOISE     0.2 /* of all judgements are turned around */
#define LIARS     0.1 /* of the raters always say the opposite */

struct embedder;

struct pool_query {
    char *text;
    const float *vector;
    struct ranker_passage passages[POOL]; /* in the search's order; signals filled */
    uint32_t docs[POOL];
    size_t n;
    uint32_t *relevant;
    size_t n_relevant;
};
struct pool {
    const char *name;
    size_t dims, n_docs, n_queries;
    float *doc_vectors;
    struct pool_query *queries;
};
bool pool_is_relevant(const struct pool_query *q, uint32_t doc);
double pool_ndcg(const struct pool_query *q, const size_t *order, size_t n); /* at 10 */
/* dir: corpus.jsonl.gz, queries.jsonl.gz, qrels.tsv. cut: bytes of a document that are embedded.
 * Ends the program on an error. */
struct pool *pool_open(const char *name, const char *dir, struct embedder *m, const char *cache,
                       size_t cut);
/* n rows of *ret_dims numbers, of length 1; from the cache when they are there. */
float *embed_cached(struct embedder *m, const char *cache, const struct str *texts, size_t n,
                    size_t *ret_dims);

struct bench_options {
    bool quick;
    size_t seeds, first_seed, ratings;
    bool main_only; /* the complete learner, with and without liars */
};

void *need(void *p); /* ends the program when p is NULL */
void die(const char *what) __attribute__((noreturn));

/* One line of the last JSON object; strings are copied. aim "" = none. */
void result_add(const char *name, double value, const char *unit, const char *aim,
                const char *better);

void bench_retrieval(struct pool *p, const struct bench_options *o);
void bench_bandit(const struct bench_options *o);
void bench_approved(struct embedder *m, const char *questions, const char *cache, bool held_out);
