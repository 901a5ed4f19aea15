/* The retrieval learner: what passages are worth for a question, from ratings.
 *
 *   score(q, d) = logistic(b · signals(q, d))  +  Σ_i a_i · kq(q, q_i) · kd(d, d_i)
 *                 └ linear re-ranker                └ memory of rated (question, passage) pairs
 *
 * The linear part is a logistic regression over the signals of the search, drawn towards the order
 * that the search has by itself. The memory is a Gaussian process on what the linear part leaves
 * unexplained (Rasmussen and Williams, 2006, ch. 2), with a product kernel: a rating speaks about
 * the same passage for the same question, less about it for like questions (cosine of their
 * embeddings and shared words, weighted by rarity), and a little about passages like it. The noise
 * of a pair is divided by the weight of its ratings: that is the shrinkage by which one angry user
 * does not bury a document. The weights of a (role, chunk) and of a (role, document) are the same
 * memory with the question left open, and two of the signals.
 *
 * Pure: no store, no clock. A ranker does not change after it is made; any thread may use it. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "learn/words.h"

/* clang-format off */
/*    id                 name          prior  kept ≥ 0 */
#define RANKER_SIGNALS_TABLE(X)                                                                     \
    X(RANKER_BIAS,      "bias",        -2,   false) /* always 1 */                                  \
    X(RANKER_ORDER,     "order",        3,   true)  /* of the search: 1 for its best, falling with rank */ \
    X(RANKER_FUSED,     "fused",        0,   true)  /* these are the search's own */               \
    X(RANKER_LEXICAL,   "lexical",      0,   true)                                                  \
    X(RANKER_VECTOR,    "vector",       0,   true)                                                  \
    X(RANKER_BOTH,      "both",         0,   true)                                                  \
    X(RANKER_TITLE,     "title",        0,   true)                                                  \
    X(RANKER_COVERAGE,  "coverage",     0,   true)                                                  \
    X(RANKER_RECENCY,   "recency",      0,   false)                                                 \
    X(RANKER_LENGTH,    "length",       0,   false)                                                 \
    X(RANKER_RAREST,    "rarest",       0,   true)  /* how it words the question: retrieval/wording.h */ \
    X(RANKER_PHRASE,    "phrase",       0,   true)                                                  \
    X(RANKER_TOGETHER,  "together",     0,   true)                                                  \
    X(RANKER_NEAR_FEW,  "near_few",     0,   true)  /* these five compare it with the others that were found: */ \
    X(RANKER_NEAR_MANY, "near_many",    0,   true)  /* retrieval/neighbours.h */                    \
    X(RANKER_WORDS_FEW, "words_few",    0,   true)                                                  \
    X(RANKER_WORDS_MANY, "words_many",  0,   true)                                                  \
    X(RANKER_WORDS_BEST, "words_best",  0,   true)                                                  \
    X(RANKER_ECHO,      "echo",         0,   true)  /* cosine to the middle of the three best (Rocchio, 1971) */ \
    X(RANKER_WEIGHT,    "weight",       0,   true)  /* of the (role, chunk): its ratings above the usual */ \
    X(RANKER_SOURCE,    "source",       0,   true)  /* the same of the (role, document) that it is from */
/* clang-format on */
enum ranker_signal {
#define X(id, name, prior, kept) id,
    RANKER_SIGNALS_TABLE(X)
#undef X
        RANKER_SIGNALS
};
const char *ranker_signal_name(enum ranker_signal s);

#define RANKER_PAIRS_MAX     6000 /* rated pairs that are kept, the newest and weightiest ones */
#define RANKER_QUESTIONS_MAX 4000
#define RANKER_DIMS_MAX      2048

struct ranker;

struct ranker_question {
    struct str text;
    const float *vector; /* of length 1 */
    uint64_t role; /* a hash of the role: weights are by role and chunk; memory is of all roles */
};
struct ranker_passage {
    uint64_t key;        /* a hash of document, version and chunk */
    uint64_t source;     /* a hash of the document; 0 = not known */
    const float *vector; /* of length 1; NULL = not known */
    double signals[RANKER_SIGNALS];
};

/* Fills the signals that are not the search's: bias, order (the passages stand in the search's
 * order), echo. WEIGHT and SOURCE are filled by training and scoring. dims of the vectors. */
void ranker_fill_signals(struct ranker_passage *p, size_t n, size_t dims);

struct ranker_rating {             /* one judgement of one passage for one question */
    size_t question;               /* of the list */
    struct ranker_passage passage; /* as it was shown, with its signals then */
    double value, weight;          /* with all weights of evidence.h */
};
struct ranker_input {
    const struct ranker_question *questions;
    size_t n_questions;
    const struct ranker_rating *ratings; /* oldest first */
    size_t n_ratings;
    size_t dims;
    bool linear, memory; /* which parts may learn */
};
/* ERR_INVALID for numbers out of range; ERR_NOMEM. Takes seconds for thousands of pairs: never on a
 * loop. */
enum err ranker_train(const struct ranker_input *in, struct ranker **ret) ERR_CHECK;
void ranker_free(struct ranker *r); /* NULL is fine */

/* Scores for ordering. Milliseconds for a hundred passages: on a job. passages have had
 * ranker_fill_signals(). */
void ranker_score(const struct ranker *r, const struct ranker_question *q,
                  struct ranker_passage *passages, size_t n, double *ret);

/* In words and numbers: the linear weights (RANKER_SIGNALS values), the pairs in memory, and the
 * (role, chunk) weights that moved most. */
const double *ranker_weights(const struct ranker *r);
size_t ranker_pairs(const struct ranker *r);
size_t ranker_dims(const struct ranker *r); /* of all vectors that it is given */
/* Of a passage's key, or of its source; 0 = none. */
double ranker_chunk_weight(const struct ranker *r, uint64_t role, uint64_t key);

/* As bytes, for the store: "PRNK", version, sizes, then the arrays, little-endian, vectors as int8.
 * ranker_load() checks everything: ERR_CORRUPT. */
void ranker_save(const struct ranker *r, struct buf *b);
enum err ranker_load(struct str bytes, struct ranker **ret) ERR_CHECK;

/* For tests of the replay: the same ranker with everything it learnt turned around. */
void ranker_reverse(struct ranker *r);
