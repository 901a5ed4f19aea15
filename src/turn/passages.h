/* Passages in a prompt, as JSON (retrieved_docs) and as text. The text is made from the JSON, so
 * that a later turn finds the same prompt again, and with it what the engine has computed. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "retrieval/retrieval.h"
#include "retrieval/web_search.h"

/* The list that is stored with the answer. */
void passages_to_json(struct buf *b, const struct retrieval_hit *hits, size_t n);

/* One hit of a search service, the nth passage. */
void passages_web_to_json(struct buf *b, const struct web_hit *h, size_t n);

/* The person's message with the passages in front of it, fenced as data and numbered. Without a
 * passage in the list STR_NULL is given. grounded: only the passages may be used. */
enum err passages_compose(struct str docs /* JSON */, struct str question, bool grounded,
                          struct arena *a, struct str *ret) ERR_CHECK;
