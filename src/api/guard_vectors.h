/* Embeddings of texts that the guard is about to judge on the compatible API: its classifier judges
 * far better with them. Waited for only so long: an embedding model that is slow or missing makes
 * the judgement weaker, not the request fail. Inside src/api only. */
#pragma once

#include "api/call.h"

struct guard_vectors { /* of one call, in its arena */
    const struct str *texts;
    size_t n;
    float *vectors;             /* n rows as the scorer reads them, in room; NULL = none were had */
    float *room;                /* made beforehand: when they come a job may be using the arena */
    size_t row;                 /* numbers of one */
    struct upstream_call *call; /* while it is asked */
    struct timer *patience;
    loop_fn then;
    struct call *owner;
};

#define GUARD_VECTORS_MS 500 /* as long as a turn of the native API waits */

/* On the call's loop: asks for the embeddings of n texts (at most UPSTREAM_EMBED_MAX; they must
 * live as long as the call), then calls then(c), on the loop, never inside this call. False: there
 * is no embedding to be had, then is not called, and the texts are judged without. */
bool guard_vectors_ask(struct call *c, const struct str *texts, size_t n, struct guard_vectors *v,
                       loop_fn then);

/* They are not wanted any more; then is not called. */
void guard_vectors_cancel(struct guard_vectors *v);

/* The embedding of text, when it is one that was asked for; else NULL. Any thread, after then. */
const float *guard_vectors_of(const struct guard_vectors *v, struct str text);
