/* Whether two questions are the same, so that an answer approved for one may be served for the
 * other. Wrongly serving is worse than asking the model, so that all of this must hold:
 *
 *   - their embeddings are alike (cosine of at least APPROVED_COSINE);
 *   - their numbers agree, and so do words that begin with a capital letter inside a sentence,
 *     codes and words of rare form (names);
 *   - both or neither deny ("not", "without", "never", "n't" …), and opposite words do not stand
 *     against each other ("before"/"after", "cheapest"/"most expensive" …);
 *   - what one says that the other does not is little, and is nothing that decides (a place, a
 *     thing): with the differing content words counted, the cosine asked for rises.
 *
 * Pure. */
#pragma once

#include "base/str.h"

#define APPROVED_COSINE       0.83 /* with the same content words */
#define APPROVED_COSINE_OTHER 0.93 /* when each has content words that the other lacks */

struct question_form; /* what of a question is compared, but for its vector */
struct question_form *question_form_new(struct str text); /* NULL when out of memory */
void question_form_free(struct question_form *f);         /* NULL is fine */

/* cosine: of the two embeddings. */
bool approved_is_same(const struct question_form *a, const struct question_form *b, double cosine);

/* Why not, for people: "same", "meaning", "numbers", "names", "negation", "opposites", "words". */
const char *approved_difference(const struct question_form *a, const struct question_form *b,
                                double cosine);
