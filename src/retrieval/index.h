/* The search index in memory: a shard for each collection, with its documents, the inverted index
 * of their words and their vectors. It knows nothing of the store, of users or of time.
 *
 * A search works on a view: the shards of the collections that it may read, and no others. What is
 * in no shard of the view does not count either, not even in how rare a word is.
 *
 * Threads: one thread at a time adds and removes (index_lock() of retrieval.c); any number search
 * meanwhile. A document's new version appears, and the old one goes, in one step; large documents
 * are prepared in slices, so that no search waits for more than a few milliseconds. */
#pragma once

#include <stdatomic.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/uuid.h"
#include "retrieval/vectors.h"
#include "store/chunk.h"
#include "text/terms.h"

struct index;
struct shard;

/* BM25 (Robertson, Zaragoza 2009); how often a word of title and heading counts beside the text's;
 * chosen on the development sets (docs/retrieval.md). */
struct bm25 {
    double k1, b;
    int title_count;
};
extern const struct bm25 bm25_default;

/* dimensions: of the vectors; 0 = none. Another model's vectors need another index. */
enum err index_new(const struct bm25 *p, int dimensions, struct index **ret) ERR_CHECK;
void index_free(struct index *x);

struct index_chunk {
    int64_t chunk_id;
    uint64_t key;
    struct str heading, text;
    struct str vector; /* packed; STR_NULL = none */
};
struct index_doc {
    struct uuid doc_id, collection_id;
    struct str source_name, uri, title, type; /* copied */
    const struct str *tags;
    size_t n_tags;
    int64_t date; /* Unix milliseconds */
    const struct index_chunk *chunks;
    size_t n_chunks;
};
/* The document as it is now, in place of what the index had of it. */
enum err index_put(struct index *x, const struct index_doc *d) ERR_CHECK;
void index_remove(struct index *x, const struct uuid *doc_id); /* fine when it is not there */
int index_dimensions(const struct index *x);
/* Makes shards anew of which a fourth and more is removed rows. */
enum err index_compact(struct index *x) ERR_CHECK;

struct index_size {
    int64_t documents, chunks, vectors, bytes;
};
void index_get_size(struct index *x, struct index_size *ret);

/* ---- searching ---- */

struct index_view {
    struct shard *shards[COLLECTIONS_MAX]; /* a ref each */
    size_t n;
};
void index_view_open(struct index *x, const struct uuid *collections, size_t n,
                     struct index_view *ret);
void index_view_close(struct index_view *v);
int64_t index_view_chunks(const struct index_view *v); /* that are alive */

struct index_filter { /* all borrowed */
    struct str source, type;
    const struct str *tags;
    size_t n_tags;
    int64_t from, to; /* 0 = open */
    const struct uuid *docs;
    size_t n_docs;
};
bool index_filter_is_set(const struct index_filter *f);

#define QUERY_TERMS_MAX 64
struct query_term {
    char text[TERM_MAX];
    size_t n;
    float weight; /* 1 for a word of the question; less for one of what was said before */
    bool is_stop;
};
struct query_terms {
    struct query_term list[QUERY_TERMS_MAX];
    size_t n;
    bool left_out; /* there were more */
};
/* Adds the words of a text with a weight; in each of the languages that the view's documents have.
 * A word that is there already counts more. */
void query_terms_add(struct query_terms *q, struct terms *t, const struct index_view *v,
                     struct str text, float weight);

struct index_hit {
    struct shard *shard; /* of the view */
    uint32_t row;
    float score;
};

struct index_scratch; /* memory that a thread keeps between searches */
struct index_scratch *index_scratch_new(void);
void index_scratch_free(struct index_scratch *s);

/* The k best, best first. BM25; stop words count only where there is no other word. */
enum err index_lexical(const struct index_view *v, const struct query_terms *q,
                       const struct index_filter *f, struct index_scratch *s, size_t k,
                       struct index_hit *ret, size_t *ret_n) ERR_CHECK;
/* exact: compares every vector. */
enum err index_nearest(const struct index_view *v, const struct vector_query *q,
                       const struct index_filter *f, bool exact, struct index_scratch *s, size_t k,
                       struct index_hit *ret, size_t *ret_n, bool *ret_exact) ERR_CHECK;
/* The same scores for given rows. */
enum err index_lexical_some(const struct index_view *v, const struct query_terms *q,
                            const struct index_hit *hits, size_t n, float *ret) ERR_CHECK;
double index_similarity(const struct index_hit *h, const struct vector_query *q, bool *ret_has);
/* How rare each word is among the chunks, 0 (stop words, words that none has) to 1; ret holds
 * QUERY_TERMS_MAX. */
void index_lexical_rarity(const struct index_view *v, const struct query_terms *q, float *ret);
/* The BM25 score that a chunk with every word of the question could have at most. */
double index_lexical_most(const struct index_view *v, const struct query_terms *q);

struct index_row { /* of a hit; numbers, so that nothing is borrowed */
    int64_t chunk_id;
    uint64_t key, simhash; /* simhash: of its words (Charikar) */
    struct uuid doc_id;
    int64_t date;
    int len;
};
void index_row_get(const struct index_hit *h, struct index_row *ret);
