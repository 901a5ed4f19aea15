/* Words of a question as learning compares them: lower case, without the most common English words,
 * endings cut; each a 64-bit hash, sorted, once each. Pure. */
#pragma once

#include "base/str.h"

#define WORD_BYTES_MAX 64  /* what a word has behind that is not looked at */
#define WORDS_MAX      128 /* of one text; what comes after is not looked at */

struct words {
    uint64_t hash[WORDS_MAX];
    size_t n;
};
void words_of(struct str text, struct words *ret);
uint64_t words_hash(struct str s);      /* FNV-1a, 64 bits */
bool words_is_common(struct str word);  /* lower case */
struct str words_stem(struct str word); /* its beginning, without an ending; lower case */

/* Calls fn for each word in order (folded to lower case, as written otherwise), also the common
 * ones; a word is a run of letters, digits, non-ASCII bytes, and '.' ',' between digits. */
void words_each(struct str text, void (*fn)(void *ctx, struct str word), void *ctx);

/* |a ∩ b| / sqrt(|a|·|b|), each word with its weight squared; weight NULL = 1 each. */
double words_alike(const struct words *a, const struct words *b,
                   double (*weight)(void *ctx, uint64_t word), void *ctx);
