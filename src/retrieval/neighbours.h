/* How the passages that one search found stand to each other, for the re-ranker: what is like
 * others that were found, above all like the best of them, rather speaks of what was asked (the
 * cluster hypothesis, van Rijsbergen 1979; scores made smooth over like texts, Diaz 2005). Likeness
 * is the cosine of their vectors, or of their words: (1 + ln times) · ln(1 + n / passages with it),
 * n and the passages those of this search. Pure; the memory of one search at a time, kept by its
 * thread. */
#pragma once

#include "base/str.h"

#define NEIGHBOURS_MAX 64 /* passages that are compared; those behind the best 64 are not */

/* Each less its mean over the passages; 0 = no more than the others, or not known. */
enum neighbour_signal {
    NEIGHBOUR_FEW,       /* `fused` of the 3 passages most like it, by vectors, on average */
    NEIGHBOUR_MANY,      /* of the 8 most like it */
    NEIGHBOUR_WORDS_FEW, /* the same by words */
    NEIGHBOUR_WORDS_MANY,
    NEIGHBOUR_WORDS_BEST, /* how like all others it is by words, the better they are the more */
    NEIGHBOUR_SIGNALS
};

struct neighbours;
struct neighbours *neighbours_new(void); /* NULL: no memory */
void neighbours_free(struct neighbours *x);

void neighbours_begin(struct neighbours *x); /* forgets the search before */
/* The next passage. fused: its score, 0 to 1; vector: of length 1, borrowed until _end(); NULL = it
 * has none. False: there are NEIGHBOURS_MAX. */
bool neighbours_add(struct neighbours *x, double fused, const float *vector);
/* A word of the passage that was added last, as the index counts it; the first 512 count. */
void neighbours_word(struct neighbours *x, struct str word);
/* The signals of each passage, in the order in which they came. */
void neighbours_end(struct neighbours *x, int dimensions, double (*ret)[NEIGHBOUR_SIGNALS]);
