/* HTTP/1.1 server on a loop. libevent tells of readiness; parsing, output and limits are ours,
 * because evhttp neither lets an oversized or malformed request be answered in the API's shape nor
 * bounds a slow reader's output.
 *
 * Life of a request:
 *   handler called with the whole body → http_reply()                                  (one answer)
 *                                      → http_stream_begin() → _write()… → _end()     (a stream)
 * Between the two the handler may return and answer later, on the same loop. The request is valid
 * until http_reply() or http_stream_end() was called. When the client goes away first, on_close is
 * called once and the request is invalid after it returns. Owners that answer later keep a struct
 * http_guard, which turns empty by itself.
 *
 * Limits: header bytes, body bytes (413, in the API's error shape), idle time, time for a request
 * to arrive in whole, bytes waiting to be sent to a slow reader, connections. A half-closed client
 * counts as gone. Bytes that are no HTTP get 400 and the connection is closed. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "net/loop.h"

struct http_server;
struct http_request;

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_PATCH,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_OTHER
};

typedef void (*http_handler)(struct http_request *r, void *ctx);

struct http_server_options {
    size_t max_header_bytes;  /* 0 = 32 KiB */
    size_t max_body_bytes;    /* 0 = 1 MiB */
    size_t max_bodies_bytes;  /* bodies of all requests that are not answered yet, 0 = 256 MiB; past
                                 it 503 */
    size_t max_pending_bytes; /* output waiting for one client before its next piece, 0 = 256 KiB */
    int idle_seconds;         /* kept-alive or stalled connection, 0 = 75 */
    int max_connections;      /* 0 = 16,000; past it new ones get 503 and are closed */
    /* The limit for this request's body, at most max_body_bytes; asked when its head is there and a
     * body is to come, with the handler's ctx. NULL = max_body_bytes for all. */
    size_t (*body_limit)(const struct http_request *r, void *ctx);
    /* Called for errors that the server answers by itself (400, 413, 503 …) to make the body; NULL
     * = plain text. */
    void (*error_body)(struct buf *out, enum err e, const char *message, const char *request_id);
};

enum err http_server_new(struct loop *l, const struct http_server_options *o, http_handler handler,
                         void *ctx, struct http_server **ret, struct errinfo *ei) ERR_CHECK;
void http_server_free(
    struct http_server *s); /* closes its connections; owners' on_close are called */

/* Accepts on a listening, non-blocking socket (TCP or Unix); the descriptor stays the caller's.
 * TCP_NODELAY is set on what is accepted. */
enum err http_server_listen(struct http_server *s, int fd, struct errinfo *ei) ERR_CHECK;
void http_server_stop_accepting(struct http_server *s);
int http_server_connections(const struct http_server *s);
/* Requests that are arriving or not answered yet, streams among them. */
int http_server_requests(const struct http_server *s);

/* Makes a listening socket: "127.0.0.1:8080", "[::1]:8080", "0.0.0.0:0" (SO_REUSEADDR, and
 * SO_REUSEPORT if asked), or "unix:/path" (mode 0600; a stale socket file is replaced). ERR_IO says
 * why and what to do (address in use, …). */
enum err net_listen(const char *address, bool reuse_port, int *ret_fd,
                    struct errinfo *ei) ERR_CHECK;
/* The bound address as text, "127.0.0.1:40123". */
enum err net_local_address(int fd, char *out, size_t size);

/* ---- the request; strings are borrowed from it ---- */
enum http_method http_method(const struct http_request *r);
const char *http_method_name(const struct http_request *r);
struct str http_path(const struct http_request *r); /* percent-decoded; requests with %00 or invalid
                                                       UTF-8 get 400 before the handler */
bool http_query(const struct http_request *r, const char *key,
                struct str *ret); /* decoded; false if absent */
/* The names in the query, in order: *at is 0 before the first. "" for one that cannot be decoded.
 */
bool http_query_next(const struct http_request *r, size_t *at, struct str *ret_name);
struct str http_header(const struct http_request *r, const char *name); /* STR_NULL if absent */
bool http_cookie(const struct http_request *r, const char *name, struct str *ret);
struct str http_body(const struct http_request *r);
const char *http_remote_ip(const struct http_request *r); /* "unix" for Unix sockets */
const char *
http_request_id(const struct http_request *r); /* "req_…", sent as x-request-id on every answer */
int64_t http_request_arrived_ns(
    const struct http_request *r); /* clock_mono_ns() when the last byte was there */
struct loop *http_request_loop(const struct http_request *r);
struct arena *http_request_arena(struct http_request *r); /* lives as long as the request */

/* on_close(ctx): the client went away before the answer was complete. Replaces an earlier one; NULL
 * removes it. */
void http_on_close(struct http_request *r, loop_fn on_close, void *ctx);

/* ---- the answer ---- */
void http_set_header(struct http_request *r, const char *name,
                     const char *value); /* before reply or begin; adds a line each time;
                                          * a name that is no token or a value with control
                                          * characters (CR, LF) is left out */
void http_reply(struct http_request *r, int status, const char *content_type, struct str body);

/* Sends the head at once and starts a chunked body. Streams are exempt from the idle time. */
void http_stream_begin(struct http_request *r, int status, const char *content_type);
/* Copies the bytes. ERR_TOO_LARGE: more than max_pending_bytes waited before these: the reader is
 * too slow; the stream was aborted (connection closed, on_close not called) and the request is
 * invalid. */
enum err http_stream_write(struct http_request *r, struct str data) ERR_CHECK;
size_t http_stream_pending(const struct http_request *r); /* bytes not yet taken by the kernel */
void http_stream_end(struct http_request *r);
void http_stream_abort(
    struct http_request *r); /* closes the connection: the client sees a broken stream */

/* A weak handle for answers that come from other threads: holds the request or, once it is answered
 * or its client went away, nothing. Guard and request belong to the same loop. */
struct http_guard;
struct http_guard *http_guard_new(struct http_request *r); /* replaces on_close */
struct http_request *http_guard_get(struct http_guard *g); /* NULL when gone */
void http_guard_free(struct http_guard *g);
