/* What retrieval.c (life), search.c (searching) and indexer.c (following the store) share. */
#pragma once

#include <pthread.h>

#include "net/jobs.h"
#include "retrieval/fuse.h"
#include "retrieval/retrieval.h"
#include "text/sentences.h"

struct retrieval {
    struct retrieval_options o;
    struct jobs *jobs;
    pthread_key_t searcher; /* what a searching thread keeps */

    pthread_mutex_t lock; /* of the following */
    pthread_cond_t wake;
    struct index *index;
    char model[256]; /* whose vectors the index has; "" = none */
    int64_t model_id;
    struct held_weights *weights; /* a ref, or NULL */
    struct retrieval_state state;
    bool stop, poked;
    struct uuid entering; /* a document between its commit and the index */
    bool entering_new;

    /* The indexing thread, and the loop it embeds on. */
    pthread_t thread;
    bool has_thread;
    struct loop *loop;
    struct upstream_client *client;
    struct embed_wait *waiting; /* the loop's */

    /* The indexing thread's own. */
    int64_t followed; /* the last change that the index has */
    char target[256]; /* the model that vectors are made with */
    int64_t target_id;
    int target_dims;
    int64_t model_looked_ns, swept_ns;
    bool check_missing;
    int64_t missing_after;
    int64_t fill_at_ns, fill_pause_ns; /* vectors failed: not before; 0 = now */
    int timeouts;                      /* batches in a row that the model server was too slow for */
    struct uuid filling;               /* the document whose vectors are being filled in */
};

/* ---- search.c ---- */
struct searcher { /* of one thread */
    struct terms *terms;
    struct sentences *sentences;
    struct index_scratch *scratch;
    struct neighbours *neighbours;
};
struct searcher *searcher_get(struct retrieval *r); /* NULL: no memory */
void searcher_free(void *p);
/* What a hit has of its passage, with weight 1; the strings are the passage's. */
struct retrieval_hit retrieval_hit_of(const struct chunk_hit *h, int rank);

/* ---- weights.c ---- */
struct held_weights {
    atomic_int refs;
    struct retrieval_weights *w;
};
struct held_weights *weights_hold(struct retrieval *r); /* a ref or NULL */
void weights_release(struct held_weights *h);
double weights_factor(const struct held_weights *h, const struct uuid *role, uint64_t key);
/* The re-ranker's score of a hit by its signals; false: there is none. */
bool weights_rerank(const struct held_weights *h, const double signal[SIGNAL_COUNT], double *ret);

/* ---- indexer.c ---- */
void *indexer_main(void *arg); /* the thread; arg is the retrieval */
/* What the store has changed since, into the index. ERR_OVERLOADED when somebody else is at it and
 * the caller is not patient. */
enum err indexer_follow(struct retrieval *r, bool patient);
