/* Reads the answer to a chat request: Server-Sent Events with OpenAI's chunks, or one JSON object
 * from servers that do not stream. The bytes come from a model server and are not trusted: whatever
 * they are, what comes out is valid UTF-8 without NUL, or an error.
 *
 *   stream:  "data: {"choices":[{"delta":{"content":"…"},"finish_reason":null}]}"  (many)
 *            "data: {"choices":[],"usage":{"prompt_tokens":n,"completion_tokens":n}}"  (perhaps)
 *            "data: {"error":{…}}"                                                      (instead)
 *            "data: [DONE]"                                                             (perhaps)
 *            ": queued {"position":n}"                    (before the rest, from our own engine)
 *   whole:   {"choices":[{"message":{"content":"…"},"finish_reason":"stop"}],"usage":{…}}
 *
 * An answer is complete with [DONE] or a finish_reason; a connection that ends before has broken.
 * Not thread-safe. */
#pragma once

#include "base/err.h"
#include "base/str.h"

struct chat_stream;

/* on_text gets whole characters, borrowed for the call: once for each call of chat_stream_feed()
 * that brought some, at its end. NULL when out of memory. */
struct chat_stream *chat_stream_new(void (*on_text)(void *ctx, struct str text), void *ctx);
/* The request waits: so many are before it. Told by our own engine in comments. */
void chat_stream_on_queued(struct chat_stream *s, void (*fn)(void *ctx, int position));
void chat_stream_free(struct chat_stream *s);

/* Errors stick: what is fed afterwards is ignored and the error returned again. */
enum err chat_stream_feed(struct chat_stream *s, struct str bytes, struct errinfo *ei) ERR_CHECK;
/* No more bytes come. ERR_OK: the answer is whole. */
enum err chat_stream_end(struct chat_stream *s, struct errinfo *ei) ERR_CHECK;

bool chat_stream_is_done(const struct chat_stream *s); /* [DONE] was seen */
/* [DONE] or a finish_reason was seen: a connection that breaks now takes nothing away. */
bool chat_stream_is_whole(const struct chat_stream *s);
struct str chat_stream_finish_reason(const struct chat_stream *s); /* "stop" if none was told */
void chat_stream_usage(const struct chat_stream *s, int *ret_prompt,
                       int *ret_completion); /* or -1 */
