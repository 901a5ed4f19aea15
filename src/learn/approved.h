/* Whether two questions are the same, so that an answer approved for one may be served for the
 * other. Wrongly serving is worse than asking the model, so that all of this must hold:
 *
 *   - their embeddings are alike (cosine of at least APPROVED_COSINE);
 *   - their numbers and signs (%, $, +) agree in their order, and so do words that begin with a
 *     capital letter inside a sentence (names);
 *   - both or neither deny ("not", "n't");
 *   - they ask the same kind of thing (who, when, how long, whether), of the same time (was, is,
 *     will be), of the same person (I, you) and with the same force (can, must, should), but for
 *     where that is only another way to say it ("how do I", "how can I");
 *   - each word of one has its partner in the other: the same word, another form of it where the
 *     form says nothing, or one of a few synonyms; only words that never decide are left out
 *     ("the", "is", "please"), and so stay "only", "still", "before", "without", "every" …;
 *   - partners stand behind the same preposition or one that says the same ("of", "for"), and in
 *     the same order, but for "driver for the printer" and "printer driver", "merge files" and
 *     "files are merged".
 *
 * The lists are English: of other languages only questions with the very same words are the same.
 * Pure. */
#pragma once

#include "base/str.h"

#define APPROVED_COSINE 0.83

struct question_form; /* what of a question is compared, but for its vector */
struct question_form *question_form_new(struct str text); /* NULL when out of memory */
void question_form_free(struct question_form *f);         /* NULL is fine */

/* cosine: of the two embeddings. */
bool approved_is_same(const struct question_form *a, const struct question_form *b, double cosine);

/* Why not, for people: "same", "meaning", "numbers", "names", "negation", "kind", "time",
 * "person", "force", "words", "direction", "order". */
const char *approved_difference(const struct question_form *a, const struct question_form *b,
                                double cosine);
