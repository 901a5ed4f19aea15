/* What the files of the index share: one collection's documents and rows. A row is a chunk; rows
 * only grow and are marked dead, until index_compact() makes a shard anew.
 *
 * The lock is held for reading by each step of a search and for writing while rows are appended (in
 * slices) and while a document changes over. */
#pragma once

#include <pthread.h>

#include "retrieval/index.h"
#include "retrieval/postings.h"

#define SHARD_LEN_MAX 4095 /* longer chunks count as this long */

enum row_state { ROW_DEAD, ROW_LIVE, ROW_COMING };

struct shard_doc {
    struct uuid doc_id;
    char *texts; /* owned: source_name NUL uri NUL type NUL tag NUL tag NUL NUL */
    char *title; /* owned: a new shard is made with it */
    int64_t date;
    uint32_t first_row, n_rows;
    bool live;
};

struct shard {
    atomic_int refs;
    struct uuid collection_id;
    struct bm25 bm25;
    pthread_rwlock_t lock;
    struct postings *postings;
    struct vectors *vectors; /* NULL: no model yet */
    struct shard_doc *docs;
    uint32_t n_docs, size_docs;
    uint32_t *by_id; /* hash of doc_id → the newest doc + 1; a power of two slots */
    uint32_t n_slots;
    uint32_t n, size; /* rows */
    uint16_t *len;
    uint8_t *state;
    uint32_t *doc;
    int64_t *chunk_id;
    uint64_t *key, *simhash;
    uint32_t live_docs, live_rows, dead_rows;
    uint64_t live_len;
    uint32_t languages; /* bit i: language i of index_languages has documents here */
};

extern const char *const index_languages[32];
int index_language(const char *lang); /* its number; 0 = none known */

enum err shard_new(const struct uuid *collection_id, const struct bm25 *p, int dimensions,
                   struct shard **ret) ERR_CHECK;
void shard_unref(struct shard *s);
struct shard_doc *shard_find(struct shard *s, const struct uuid *doc_id); /* live, or NULL */
/* Writer only. */
enum err shard_put(struct shard *s, struct terms *t, const struct index_doc *d) ERR_CHECK;
void shard_remove(struct shard *s, const struct uuid *doc_id);
/* A new shard with the live documents of s. */
enum err shard_copy_live(const struct shard *s, int dimensions, struct shard **ret) ERR_CHECK;
size_t shard_bytes(const struct shard *s);
