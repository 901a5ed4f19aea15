/* Which tokens may come next when the answer must follow a grammar.
 *
 * The sampler chooses as if there were no grammar and asks about its choice; only when that is not
 * allowed are others taken out: first those of the best candidates that may not come, and when none
 * of them may, all of the vocabulary. So a model that knows what to write pays for one walk along
 * one token. Compute thread only, but vocabulary_new(). */
#pragma once

#include "engine/grammar.h"
#include "engine/model.h"

#define GUIDE_WORK_MAX 4000000 /* some 100 ms */

struct vocabulary; /* the bytes of all tokens; does not change */
struct vocabulary *vocabulary_new(const struct model *m); /* NULL = no memory */
void vocabulary_free(struct vocabulary *v);

struct guide;
/* Both must outlive it. NULL = no memory. */
struct guide *guide_new(const struct grammar *g, const struct vocabulary *v);
void guide_free(struct guide *g);
bool guide_allows(struct guide *g, int32_t token); /* an end token: when the answer may end */
/* -INFINITY for all that may not come. A grammar in which that is long to find out (many ways at a
 * time) gives up after GUIDE_WORK_MAX and takes the rest of the vocabulary out too: the common
 * tokens have the low numbers, and others' answers wait meanwhile. */
void guide_mask(struct guide *g, float *logits);
void guide_take(struct guide *g, int32_t token); /* the token was chosen */
/* Goes on by text that the answer has already; false when the grammar does not allow it. */
bool guide_skip(struct guide *g, struct str text);
bool guide_done(const struct guide *g); /* only an end token may come */
