/* The output guard: an answer passes through it on its way to people. Text is held back until it
 * was judged, in windows that overlap with what went before:
 *
 *   feed ─→ [ judged, with its people │ window being judged │ held ] ─→ on_text, in order
 *                       └── overlap: OVERLAP bytes are judged again with the window
 *
 * A window is judged at once when it is the first, when a sentence ends, when it has WINDOW bytes,
 * when WINDOW_MS have gone, or when the answer ends; while one is being judged the next one fills.
 * The end of an unfinished word that is no plain word (a number, a key, a placeholder) waits for
 * its rest. Placeholders of the vault become their values again; what the policy redacts is
 * replaced. Judging runs on the job pool; everything else on the loop that made the stream. */
#pragma once

#include "net/jobs.h"
#include "net/loop.h"
#include "safety/guard.h"

#define SAFETY_STREAM_WINDOW    160
#define SAFETY_STREAM_WINDOW_MS 100
#define SAFETY_STREAM_OVERLAP   400

struct safety_stream;

struct safety_stream_options {
    struct safety *safety;
    struct jobs *jobs;
    struct loop *loop;
    struct policy *policy;   /* a reference is taken */
    struct str role, canary; /* copied */
    struct str before;       /* what of the answer went out already: the overlap; copied */
    struct pii_vault
        *vault; /* borrowed, unchanged while the stream lives; NULL = nothing to restore */
};
/* None of them runs inside a call of ours. After on_block, on_end or on_fail nothing more comes. */
struct safety_stream_callbacks {
    void (*on_text)(void *ctx, struct str text);
    /* keep: of the text that was handed on, the bytes before the finding's span. blocked: the text
     * that was not let through, for the case. */
    void (*on_block)(void *ctx, const struct safety_verdict *v, size_t keep, struct str blocked);
    void (*on_end)(void *ctx, const struct safety_verdict *worst);
    void (*on_fail)(void *ctx, enum err e); /* judging failed: nothing more may go out */
};

enum err safety_stream_new(const struct safety_stream_options *o,
                           const struct safety_stream_callbacks *cb, void *ctx,
                           struct safety_stream **ret) ERR_CHECK;
enum err safety_stream_feed(struct safety_stream *s,
                            struct str text) ERR_CHECK; /* whole characters */
void safety_stream_end(struct safety_stream *s);        /* no more comes; on_end follows */
/* At any time, also from a callback; a judgement that runs is let go of. NULL is fine. */
void safety_stream_free(struct safety_stream *s);
