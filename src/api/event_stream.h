/* A call that is answered with Server-Sent Events for as long as a turn lasts: the head goes out
 * with the first event, so that what fails before has its own status; a comment now and then keeps
 * proxies from closing a silent connection; a reader that is too slow loses the stream, not the
 * answer. All on the call's loop. */
#pragma once

#include "api/call.h"
#include "net/http_server.h"

/* Belongs to its owner, mostly in the call's arena. */
struct event_stream {
    struct call *c;         /* borrowed; kept for its errors and its memory */
    struct http_request *r; /* set while the stream runs; before, the call's guard leads to it */
    struct timer *ping;     /* owned */
    int64_t ping_ns;        /* when it was started */
    struct buf out;         /* owned: what event_stream_send() sends */
    void (*gone)(void *ctx);
    void *ctx;
};

/* gone is called once: the client left, was too slow, or the stream was ended or aborted. Then the
 * owner frees all. cap: bytes of one event. */
void event_stream_init(struct event_stream *s, struct call *c, size_t cap, void (*gone)(void *ctx),
                       void *ctx);
/* Frees what the stream owns, not the call. The call can be answered otherwise if it never began.
 */
void event_stream_deinit(struct event_stream *s);

bool event_stream_began(const struct event_stream *s);
/* Sends what is in out (may be nothing), beginning the stream if need be. False: nobody is there
 * any more, gone was called and the owner may be freed. */
bool event_stream_send(struct event_stream *s);
/* After begin only; both end in gone. */
void event_stream_end(struct event_stream *s);
void event_stream_abort(struct event_stream *s); /* the client sees a broken connection */
