/* An inverted index in memory: for each term the rows (chunks) that have it, and how often. Rows
 * only grow; removed ones are skipped by the caller's test until a new index is made without them.
 *
 * Why not FTS5: a query of words that stand in most rows makes it score nearly every row through
 * its virtual machine (50 ms and more at 100,000 rows); here a posting costs one to two
 * nanoseconds, and a row of a word that stands in a third of them and more a third of one, so that
 * even such a query is bounded by the number of rows.
 *
 * Blocks of 128 postings are packed: differences of row numbers in 1, 2 or 4 bytes, whichever the
 * block needs, then 128 counts of one byte. Where a block's rows lie close together it is dense
 * instead: the count of each row from its first to its last, 0 for those that lack the word.
 *
 * Not locked: one writer or many readers (shard.h). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct postings;

enum err postings_new(struct postings **ret) ERR_CHECK;
void postings_free(struct postings *p);

/* A row's terms, counted: rows come in ascending order, each once. A term may come once a row. */
struct posting_term {
    struct str text;
    uint8_t count; /* 255 at most */
};
enum err postings_add(struct postings *p, uint32_t row, const struct posting_term *terms,
                      size_t n) ERR_CHECK;

struct posting_list; /* of one term; borrowed until the next postings_add() */
const struct posting_list *postings_find(const struct postings *p, struct str term); /* or NULL */
uint32_t posting_list_rows(const struct posting_list *l);

bool posting_list_is_dense(const struct posting_list *l); /* has dense blocks */

struct posting_norms {
    const uint16_t *len; /* the length class of each row */
    const float *norm;   /* a number for each class */
    const float *by_row; /* norm[len[row]] of the rows that are asked for; only for dense lists */
};
/* acc[row - from] += weight · tf / (tf + norm[len[row]]) for the list's rows from … to - 1 (BM25
 * without its constant k1 + 1). */
void posting_list_add_scores(const struct posting_list *l, float weight,
                             const struct posting_norms *m, uint32_t from, uint32_t to, float *acc);
/* The same for a few rows in ascending order: ret[i] += … */
void posting_list_add_some(const struct posting_list *l, float weight, const uint16_t *len,
                           const float *norm, const uint32_t *rows, size_t n, float *ret);

/* A copy with other numbers: row r becomes to[r], which is UINT32_MAX for one that is left out and
 * else in the same order. */
enum err postings_copy(const struct postings *p, const uint32_t *to,
                       struct postings **ret) ERR_CHECK;

struct postings_size {
    size_t bytes, terms;
    uint64_t postings;
};
void postings_get_size(const struct postings *p, struct postings_size *ret);
