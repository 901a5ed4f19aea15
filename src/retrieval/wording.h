/* How a passage words what was asked, for the re-ranker: which of the question's words it has, the
 * rarest of them, those that stand behind each other there as in the question, and the most that
 * stand close together. Stop words neither count nor part what stands around them. Pure; one
 * passage at a time, on the caller's stack. */
#pragma once

#include "retrieval/index.h"

#define WORDING_WINDOW 12 /* words from the first to the last that stand together */

enum wording_signal { /* shares of the rarity of all of the question's words, 0 to 1 */
                      WORDING_RAREST, /* the rarity itself, of the rarest that it has */
                      WORDING_PHRASE, /* of the pairs of words that it has as the question has them:
                                         to 2, as a word may be in two */
                      WORDING_TOGETHER, /* of the words in one window of it */
                      WORDING_SIGNALS
};

struct wording {
    const struct query_terms *terms; /* borrowed; of them the first 64 */
    const float *rarity;             /* of each, 0 to 1 (index_lexical_rarity()) */
    uint64_t here, seen, pairs; /* bit i: term i (here: since the last share); i and the next */
    double together;
    size_t at;  /* words so far */
    int before; /* the term that stood right before; -1 = none */
    struct {
        size_t at;
        int term;
    } recent[WORDING_WINDOW + 1]; /* the last ones that were the question's; a ring */
    size_t n_recent;
};
void wording_begin(struct wording *w, const struct query_terms *q, const float *rarity);
void wording_text(struct wording *w); /* another text begins: title, heading, the passage */
void wording_word(struct wording *w, const struct term *word);
/* The share of the question's words, without stop words, among those since the share before. */
double wording_share(struct wording *w);
void wording_end(const struct wording *w, double ret[WORDING_SIGNALS]);
