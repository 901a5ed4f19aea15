/* The output guard: an answer passes through it on its way to people, and each piece is held back
 * until it was judged (flow.h):
 *
 *   feed ─→ judged ─→ what is safe ─→ on_text, in order
 *              └─ an open candidate waits for its rest
 *
 * A token takes some microseconds and is judged where it comes; what comes at once and is more than
 * SAFETY_STREAM_INLINE bytes goes to the job pool, and what follows waits behind it. Placeholders
 * of the vault become their values again; what the policy redacts is replaced. */
#pragma once

#include "net/jobs.h"
#include "net/loop.h"
#include "safety/guard.h"

#define SAFETY_STREAM_INLINE 1024
#define SAFETY_STREAM_SHOWN  400 /* bytes before a blocked text that its case shows */

struct safety_stream;

struct safety_stream_options {
    struct safety *safety;
    struct jobs *jobs;
    struct loop *loop;
    struct policy *policy;   /* a reference is taken */
    struct str role, canary; /* copied */
    struct str before;       /* what of the answer went out already; copied */
    bool json;               /* the text is JSON, of which the strings are judged (json_text.h) */
    struct pii_vault *vault; /* a reference is taken; unchanged while the stream lives; NULL:
                                nothing to restore */
};
/* They run inside the functions below, too. After on_block or on_fail nothing more comes. */
struct safety_stream_callbacks {
    void (*on_text)(void *ctx, struct str text);
    /* keep: of the text that was handed on, the bytes before the sentence with the finding.
     * blocked: the end of the text with what was not let through, for the case. */
    void (*on_block)(void *ctx, const struct safety_verdict *v, size_t keep, struct str blocked);
    void (*on_end)(void *ctx, const struct safety_verdict *worst); /* once for each end or pause */
    void (*on_fail)(void *ctx, enum err e); /* judging failed: nothing more may go out */
};

enum err safety_stream_new(const struct safety_stream_options *o,
                           const struct safety_stream_callbacks *cb, void *ctx,
                           struct safety_stream **ret) ERR_CHECK;
/* Whole characters. An error: it was not taken, and no callback was called for it. The stream may
 * be gone afterwards when a callback frees it. */
enum err safety_stream_feed(struct safety_stream *s, struct str text) ERR_CHECK;
/* No more comes: all that is held is judged as it is, and on_end follows. */
void safety_stream_end(struct safety_stream *s);
/* The same where more may come, in the middle of a word, too (text_then.h). What cannot go out
 * before it is whole is held on: a placeholder, in JSON a number. Not before the last on_end. */
void safety_stream_pause(struct safety_stream *s);
/* At any time, also from a callback; a judgement that runs is let go of. NULL is fine. */
void safety_stream_free(struct safety_stream *s);
