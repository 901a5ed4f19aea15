/* Two rankings made one, in both ways that were measured (docs/retrieval.md):
 *
 *   FUSE_SCORES  a · lexical / √(best · most) + (1 - a) · cosine, over all that either part found;
 *                what one part did not find gets its score of the other part, too. best: the
 *                highest BM25 score of this search; most: what a chunk with every word could have.
 *                So words weigh less where no passage has many of them. The default.
 *   FUSE_RRF     Σ 1 / (60 + rank) (Cormack, Clarke, Büttcher 2009)
 *
 * With one part alone its own score ranks. */
#pragma once

#include "retrieval/index.h"

#define FUSE_DEPTH 200 /* of each part that take part */

enum fusion { FUSE_SCORES, FUSE_RRF };

struct fused {
    struct index_hit at;
    struct index_row row;
    int lexical_rank, vector_rank; /* from 1; 0 = not found by it */
    double lexical, vector;        /* BM25; cosine */
    double fused;                  /* 0 to 1 */
    double score;                  /* fused; the caller may change it and sort again */
};

/* lexical and vector: the parts' hits, best first; vq NULL = the vector part is left out. ret has
 * room for n_lexical + n_vector; best first. */
enum err fuse(const struct index_view *v, const struct query_terms *terms,
              const struct vector_query *vq, const struct index_hit *lexical, size_t n_lexical,
              const struct index_hit *vector, size_t n_vector, enum fusion how, struct fused *ret,
              size_t *ret_n) ERR_CHECK;
void fused_sort(struct fused *f, size_t n); /* by score */
/* Drops what says nearly the same as a better one (simhash, Manku, Jain, Das Sarma 2007). Returns
 * how many are left. */
size_t fused_drop_duplicates(struct fused *f, size_t n);
