/* Whether the sentences of an answer stand in the passages that it was given.
 *
 * A sentence is compared with each passage: the share of its own words (stems, without stop words)
 * that the passage has, and the similarity of their vectors when there are any. Numbers, times of
 * day (daytime.h) and names of the sentence must occur in the passage.
 *
 *   supported    all of these occur, and most of its words do, or many and it is similar
 *   weak         something speaks for it, but not that much
 *   unsupported  nothing does
 *
 * A sentence without claims ("Sure!", a question) is none of these and is left out. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "retrieval/retrieval.h"
#include "text/sentences.h"
#include "text/terms.h"

enum support { SUPPORT_SUPPORTED, SUPPORT_WEAK, SUPPORT_UNSUPPORTED };
const char *support_name(enum support s);

#define SUPPORT_SENTENCES_MAX 64

struct support_sentence {
    size_t from, to;           /* bytes of the answer */
    size_t char_from, char_to; /* characters */
    enum support support;
    int passage; /* the best one, from 0; -1 = none */
    double words, similarity;
};

/* Sentences of the answer with claims, at most SUPPORT_SENTENCES_MAX. */
enum err support_split(struct str answer, struct terms *t, struct sentences *s, struct arena *a,
                       struct support_sentence **ret, size_t *ret_n) ERR_CHECK;
/* Judges them. vectors: of the sentences, then of the passages; NULL = none. */
enum err support_judge(struct str answer, struct support_sentence *list, size_t n,
                       const struct str *passages, size_t n_passages, const float *vectors,
                       int dimensions, struct terms *t, struct arena *a) ERR_CHECK;

/* Both, with the vectors in between, on a loop. done runs once, on it, never inside the call. */
struct support_call;
struct support_result {
    const struct support_sentence *list; /* borrowed for the call */
    size_t n;
};
enum err retrieval_check(struct retrieval *r, struct loop *l, struct upstream_client *c,
                         struct str answer, const struct str *passages, size_t n_passages,
                         void (*done)(void *ctx, const struct support_result *r), void *ctx,
                         struct support_call **ret) ERR_CHECK;
void retrieval_check_cancel(struct support_call *c);
