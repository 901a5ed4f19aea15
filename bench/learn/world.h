/* What the parts of `make bench-learn` share: collections as real search answers them, and the
 * table of results. Nothing here is part of the program. */
#pragma once

#include <stdio.h>

#include "learn/evidence.h"
#include "learn/ranker.h"
#include "learn/replay.h"
#include "learn/stats.h"

#define POOL   50 /* passages that a search hands to the re-ranker */
#define SHOWN  10 /* passages that a rater sees */
#define RATERS 200
#define SEEDS  5
#define NOISE  0.2 /* of all judgements are turned around */
#define LIARS  0.1 /* of the raters always say the opposite */

struct pool_query {
    char *text;
    float *vector;
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
struct pool *pool_open(const char *name, const char *path);

struct bench_options {
    bool quick;
    size_t seeds, ratings;
};

/* One line of the last JSON object. aim NULL = none. */
void result_add(const char *name, double value, const char *unit, const char *aim,
                const char *better);
void results_print(const char *bench);

void bench_retrieval(struct pool **pools, size_t n, const struct bench_options *o);
void bench_bandit(const struct bench_options *o);
