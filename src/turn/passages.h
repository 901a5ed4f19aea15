/* Passages in a prompt, as JSON (retrieved_docs) and as text. The text is made from the JSON, so
 * that a later turn finds the same prompt again, and with it what the engine has computed. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "retrieval/retrieval.h"
#include "retrieval/web_search.h"
#include "safety/guard.h"

#define PASSAGES_MAX 6 /* of documents, for one question */
/* What a role that is grounded only says when nothing was found. */
#define PASSAGES_NOTHING_FOUND                                                                     \
    "I found nothing about this in the documents that I may read, and this role answers from "     \
    "documents only."

/* Tokens of passages that a prompt for this model has room for, beside so many of the question and
 * of examples: what is computed in the part of a second that is theirs, which is smaller for
 * whoever has waited since arrived_ns (0 = he has not). */
int passages_budget(struct upstream *u, struct str model, int beside, int64_t arrived_ns);
/* A question with so much at most in front of it is asked soon: it goes before those that come
 * meanwhile. Returns upstream_plan_chat()'s number. */
uint64_t passages_plan(struct upstream *u, int budget, int beside);
/* "thanks!" needs nothing from anywhere. */
bool passages_not_needed(const struct retrieval_result *r);

/* The list that is stored with the answer. */
void passages_to_json(struct buf *b, const struct retrieval_hit *hits, size_t n);

/* Of two nearly equal passages one was drawn: the other, and with which chance this one was. */
void passages_pair_to_json(struct buf *b, const struct retrieval_result *r, double swap_chance);

/* Of what search services found, beside the documents' search: at most PASSAGES_WEB_MAX hits within
 * a part of the budget, copied; none when there is no memory. */
#define PASSAGES_WEB_MAX  3
#define PASSAGES_WEB_PART 3
int passages_web_wait_ms(int configured); /* 0 = 700: the first word waits for them */
/* What they are asked: the question, a follow-up with what was asked before. In the arena, or
 * borrowed from q. */
struct str passages_web_query(const struct retrieval_request *q, struct arena *a);
void passages_web_to_json(struct buf *b, const struct web_hit *h, size_t n); /* the nth passage */
size_t passages_web_take(const struct web_search_result *r, int budget, struct arena *a,
                         struct web_hit **ret);
/* The list (JSON; STR_NULL = empty) with these behind its n passages of documents. In the arena. */
enum err passages_web_add(struct str docs, size_t n_documents, const struct web_hit *hits, size_t n,
                          struct arena *a, struct str *ret) ERR_CHECK;

/* The person's message with the passages in front of it, fenced as data and numbered. Without a
 * passage in the list STR_NULL is given. grounded: only the passages may be used. */
enum err passages_compose(struct str docs /* JSON */, struct str question, bool grounded,
                          struct arena *a, struct str *ret) ERR_CHECK;

/* Which of the hits (bit i: hits[i]) were judged under the policy in force when their document came
 * in, and found clean. g may be NULL. */
uint64_t passages_clean(struct safety *g, const struct retrieval_hit *hits, size_t n);
/* Sentences that give orders to a model are left out of the list (docs), and each passage tells how
 * many ("left_out"); one of which nothing is left is gone. clean: those that need not be looked at.
 * On a job. *ret in the arena. */
enum err passages_scan(struct safety *g, struct str docs, uint64_t clean, struct arena *a,
                       struct str *ret, size_t *ret_left_out) ERR_CHECK;
