/* Whether two questions are the same, so that an answer approved for one may be served for the
 * other. Wrongly serving is worse than asking the model, so that all of this must hold:
 *
 *   - their embeddings are alike (cosine of at least APPROVED_COSINE);
 *   - their numbers agree, and so do words that begin with a capital letter inside a sentence,
 *     codes and words of rare form (names);
 *   - both or neither deny ("not", "without", "never", "n't" …), and opposite words do not stand
 *     against each other ("before"/"after", "cheapest"/"most expensive" …);
 *   - they ask the same kind of thing (who, when, how long, whether one may …);
 *   - neither says a word that the other does not, but for those that decide nothing ("get",
 *     "allowed", "find") and a few synonyms, by their stems;
 *   - words do not stand the other way round ("miles to kilometres"), but for where that is only
 *     another way to say it ("printer driver", "driver for the printer").
 *
 * Pure. */
#pragma once

#include "base/str.h"

#define APPROVED_COSINE 0.83

struct question_form; /* what of a question is compared, but for its vector */
struct question_form *question_form_new(struct str text); /* NULL when out of memory */
void question_form_free(struct question_form *f);         /* NULL is fine */

/* cosine: of the two embeddings. */
bool approved_is_same(const struct question_form *a, const struct question_form *b, double cosine);

/* Why not, for people: "same", "meaning", "numbers", "names", "negation", "opposites", "kind",
 * "words", "order". */
const char *approved_difference(const struct question_form *a, const struct question_form *b,
                                double cosine);
