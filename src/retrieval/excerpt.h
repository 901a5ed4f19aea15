/* Hits within a budget of tokens (text/tokens.h), their names counted: whole passages while they
 * fit, else their best sentences. Runs on a job; sentences and terms belong to its thread. */
#pragma once

#include "retrieval/index.h"
#include "retrieval/retrieval.h"
#include "text/sentences.h"

/* Hits that nothing is left of are dropped; text, char_from and char_to of the others become those
 * of what is left ("…" stands for what was between). Best first as before, at least one: the best
 * sentence (up to 80 tokens of it) is there even when the budget is smaller. */
enum err excerpt_hits(struct retrieval_hit *hits, size_t *n, int max_tokens,
                      const struct query_terms *q, struct terms *t, struct sentences *s,
                      struct arena *a) ERR_CHECK;

/* The same with the documents' beginnings: the hits are documents' first passages, one document
 * after the other, and of each as many sentences go in as of the others. */
enum err excerpt_begin(struct retrieval_hit *hits, size_t *n, int max_tokens, struct sentences *s,
                       struct arena *a) ERR_CHECK;
