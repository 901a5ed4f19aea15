/* Server-Sent Events (WHATWG HTML, section 9.2): writing, and parsing of a byte stream in pieces.
 */
#pragma once

#include "base/buf.h"

/* Appends "id: …\nevent: …\ndata: …\n\n". id < 0 and event NULL leave their line out. Line breaks
 * in data become several data lines. */
void sse_write(struct buf *b, int64_t id, const char *event, struct str data);
void sse_write_comment(struct buf *b,
                       const char *text); /* ": text\n\n", keeps proxies from cutting the stream */

struct sse_event {
    struct str event; /* "message" when not given */
    struct str data;
    struct str id; /* the last id seen, STR_NULL if none */
};

/* Called for each complete event; the strings are borrowed for the call. Return false to stop
 * parsing. */
typedef bool (*sse_fn)(const struct sse_event *e, void *ctx);

struct sse_parser;
struct sse_parser *sse_parser_new(size_t max_event_bytes); /* NULL when out of memory */
void sse_parser_free(struct sse_parser *p);
/* What comes as a comment (": text") goes to fn from now on, with feed's ctx; borrowed for the
 * call.
 */
void sse_parser_on_comment(struct sse_parser *p, void (*fn)(struct str text, void *ctx));
/* Feeds bytes. ERR_TOO_LARGE: an event is longer than the cap. ERR_CANCELLED: the callback returned
 * false. */
enum err sse_parser_feed(struct sse_parser *p, struct str bytes, sse_fn fn, void *ctx) ERR_CHECK;
