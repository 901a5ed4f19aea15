/* The reader of an answer: its bytes in, however they are cut, its head and body out. Without
 * sockets. Not for other folders.
 *
 *   READ_HEAD ──head──▶ READ_LENGTH, READ_CHUNKS or READ_TO_END ──▶ READ_DONE
 *      ↑  └─ 1xx ─┘
 *      └── http_reader_begin()
 */
#pragma once

#include "net/http_parse.h"

#define HTTP_ANSWER_HEAD_MAX ((size_t)64 << 10)

struct http_reader {
    enum { READ_HEAD, READ_LENGTH, READ_CHUNKS, READ_TO_END, READ_DONE } state;
    bool keep_alive; /* the connection may be used again when it is done */
    bool any;        /* a byte has come */
    bool no_body;    /* the request was HEAD */
    uint64_t left;
    struct http_chunks chunks;
    struct buf kept; /* of a head or of a chunk's line, what has come */
    size_t scanned;
};

void http_reader_begin(struct http_reader *r, bool head_request);
void http_reader_deinit(struct http_reader *r);

/* Takes all of bytes; what is the body's is appended to body (whose cap is above what bytes may
 * hold). on_head gets the head of the answer (not of 1xx), whose strings are gone when it returns.
 * ERR_UPSTREAM: *ret_why says what is wrong with it; ERR_NOMEM. */
enum err http_reader_feed(struct http_reader *r, struct str bytes, struct buf *body,
                          void (*on_head)(void *ctx, const struct http_head *h), void *ctx,
                          const char **ret_why) ERR_CHECK;
/* The peer has closed its side: whether that was the answer's end. */
bool http_reader_end(struct http_reader *r);
