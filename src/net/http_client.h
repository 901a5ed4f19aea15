/* HTTP client on a loop. Connections are kept and reused.
 *
 * http:// to 127.0.0.0/8, [::1] and Unix sockets is spoken by http_plain.c, everything else by
 * libcurl's multi-socket interface. The first is strict: an answer with bare line feeds, folded
 * lines or more fields than HTTP_MAX_HEADERS is ERR_UPSTREAM. Both send a request once more when a
 * kept connection turns out to have been closed before a byte of the answer came; the first only
 * within a second, as long as a request and the connection's end may have crossed. */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "net/loop.h"

struct http_client;
struct http_call;

enum err http_client_new(struct loop *l, struct http_client **ret, struct errinfo *ei) ERR_CHECK;
void http_client_free(
    struct http_client *c); /* cancels its calls without calling them back; not from a callback */

struct http_call_spec {
    const char *method;         /* "GET", "POST" … */
    const char *url;            /* http:// or https:// only; redirects are not followed */
    const char *unix_socket;    /* path, or NULL for TCP */
    const char *const *headers; /* "Name: value" lines, NULL-terminated; may be NULL */
    struct str body;            /* copied */
    int connect_timeout_ms;     /* 0 = 3,000 */
    int total_timeout_ms;       /* 0 = none */
    int idle_timeout_ms; /* no byte received, and none of the body taken by the kernel, for so long
                          * ends the call with ERR_TIMEOUT; 0 = none */
    size_t max_response_bytes; /* 0 = no limit */
};

/* All three may be NULL and run on the loop. on_status: once, before the body. on_data: pieces as
 * they arrive; return false to end the call (done follows with ERR_CANCELLED). on_done: once, last;
 * err is ERR_OK for every complete HTTP answer whatever its status; status is 0 when none arrived;
 * ei says what failed (name of host, no key; param "host": its name is not known). The call is
 * invalid after on_done. Callbacks never run inside http_call_start(). */
struct http_call_callbacks {
    void (*on_status)(void *ctx, int status, struct str content_type,
                      int64_t retry_after_ms /* -1 = absent */);
    bool (*on_data)(void *ctx, struct str bytes);
    void (*on_done)(void *ctx, enum err err, int status, const struct errinfo *ei);
};

enum err http_call_start(struct http_client *c, const struct http_call_spec *spec,
                         const struct http_call_callbacks *cb, void *ctx, struct http_call **ret,
                         struct errinfo *ei) ERR_CHECK;
void http_call_cancel(struct http_call *call); /* closes its connection; on_done is not called */

/* Under load several pieces of an answer are read with one call: bytes of a call that was given to
 * http_call_pace() wait until `ms` after the last read when they come faster than that. A new pace
 * holds from each call's next read on; 0: as they come, which is so at first. Connections with TLS
 * are not paced. A call that was paced stays so. */
#define PACE_MAX_MS 500
void http_client_pace(struct http_client *c, int ms);
void http_call_pace(struct http_call *call);
