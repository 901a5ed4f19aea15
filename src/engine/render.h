/* The bodies that the engine answers with, as OpenAI has them. All append JSON to out. */
#pragma once

#include "base/buf.h"
#include "engine/model.h"
#include "engine/sampler.h"

struct render_answer { /* what all chunks of an answer share */
    const char *id;    /* "chatcmpl-…" */
    int64_t created;   /* seconds since 1970 */
    const char *model;
    bool usage; /* the stream ends with a usage chunk; the others say "usage":null */
};

struct render_usage {
    int prompt_tokens, cached_tokens, completion_tokens;
};

void render_error(struct buf *out, enum err e, const struct errinfo *ei);

/* One chunk of a stream. role: the first chunk. finish NULL = not the last. logprobs: NULL or the
 * inside of the list "content" that render_logprob() made. */
void render_chunk(struct buf *out, const struct render_answer *a, bool role, struct str content,
                  const struct buf *logprobs, const char *finish);
void render_usage_chunk(struct buf *out, const struct render_answer *a,
                        const struct render_usage *u);
void render_completion(struct buf *out, const struct render_answer *a, struct str content,
                       const struct buf *logprobs, const char *finish,
                       const struct render_usage *u);
/* Appends a token's entry (with a comma before it when list is not empty). */
void render_logprob(struct buf *list, const struct model *m, const struct sampled *s);
