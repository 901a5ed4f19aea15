/* Documents that came with a conversation's messages, in a search. By what the question has to do
 * with them (question.h):
 *
 *   ABOUT_ANYTHING   their passages count ATTACHED_FACTOR times, and need less to be relevant
 *   ABOUT_GIVEN      the same; where no passage at all speaks of it: their beginning
 *   ABOUT_THEM       no other document is searched; where no passage speaks of it: their beginning
 *   ABOUT_WHOLE      their beginning
 *
 * where "no other" and "beginning" are of those that the question means (n_meant).
 *
 * Access is the search's: what is in none of its collections is not there. */
#pragma once

#include "retrieval/fuse.h"
#include "retrieval/retrieval.h"
#include "text/sentences.h"

/* By judgement: before others that are about as good; and whoever hands a document over asks about
 * it, more likely than not. */
#define ATTACHED_FACTOR 1.5
#define ATTACHED_COS    0.2
#define ATTACHED_WORDS  0.5

bool attached_has(const struct retrieval_request *q, const struct uuid *doc);

/* The factor of each passage of such a document, into its score. */
void attached_prefer(struct fused *f, size_t n, const struct retrieval_request *q);

/* Whether their beginning is to be given, and nothing that was found. */
bool attached_begins(const struct retrieval_request *q, bool relevant);

/* Their beginning, as hits within q->k and q->max_tokens: as much of each. Blocking, on a job; hits
 * in the arena. */
enum err attached_begin(struct store *s, const struct retrieval_request *q, struct sentences *words,
                        struct arena *a, struct retrieval_hit **ret, size_t *ret_n,
                        struct errinfo *ei) ERR_CHECK;
