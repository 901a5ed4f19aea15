/* The connection and the request behind http_server.h, for http_server.c (listening, reading,
 * closing), http_request.c (accessors and answers) and http_out.c (output). Not for other folders.
 *
 *   CONN_HEAD ──head──▶ CONN_BODY ──all of it──▶ CONN_BUSY ──answered──▶ CONN_HEAD (kept alive)
 *       │                   │                        └──answered, last──▶ CONN_CLOSING
 *       └── refused ────────┴──▶ CONN_CLOSING ──output sent──▶ CONN_LINGER ──▶ CONN_DEAD
 *   Any state ──gone, error, aborted──▶ CONN_DEAD
 *
 * Invariant: a connection is freed only by the flush pass (conn_settle), never under the feet of a
 * function that works on it; until then CONN_DEAD marks it. Handlers run only from conn_settle()
 * and from the read event, so http_reply() never calls a handler. */
#pragma once

#include <event2/event.h>
#include <event2/event_struct.h>

#include "net/http_parse.h"
#include "net/http_server.h"

enum conn_state { CONN_HEAD, CONN_BODY, CONN_BUSY, CONN_CLOSING, CONN_LINGER, CONN_DEAD };

struct conn {
    struct http_server *server;
    struct conn *prev, *next; /* the server's list of all */
    struct conn *dirty_next;  /* the server's list of those to settle */
    struct http_request *req; /* owned; from the head on until it is answered */
    struct event in_event, out_event;
    struct buf in; /* bytes not parsed yet, from in_from on */
    size_t in_from;
    size_t scanned; /* of them, looked through for the head's end */
    struct buf out; /* bytes not sent yet, from out_from on */
    size_t out_from;
    int64_t active_ns;  /* the last time that bytes moved, or the answer ended */
    int64_t request_ns; /* when the first byte of a request came; 0 between requests */
    size_t lingered;    /* bytes thrown away while closing */
    int fd;
    enum conn_state state;
    bool dirty, reading, writing, served, broken, eof;
    char ip[46];
};

struct http_request {
    struct conn *conn;
    struct arena *arena; /* NULL until somebody asks for it */
    struct http_guard *guards;
    loop_fn on_close;
    void *on_close_ctx;
    struct buf headers; /* of the answer, as lines */
    struct buf body;
    size_t counted; /* bytes of it in the server's body_bytes */
    struct http_chunks chunks;
    int64_t arrived_ns;
    enum http_method method;
    int minor;
    bool keep_alive, chunked;
    bool streaming, chunked_out, ended; /* ended: answers do nothing any more */
    uint64_t content_length;
    struct str method_name, path, query; /* into bytes[] or the arena */
    char id[28];
    size_t nfields;
    struct http_field *fields; /* into bytes[] */
    char bytes[];              /* the fields' array, then the head's text */
};

struct http_listener {
    struct http_listener *next;
    struct http_server *server;
    struct event event;
    int fd;
};

struct http_server {
    struct loop *loop;
    struct http_server_options o;
    http_handler handler;
    void *ctx;
    struct http_listener *listeners;
    struct conn *conns;
    struct conn *dirty;
    int nconns;
    size_t body_bytes; /* of all requests, see max_bodies_bytes */
    bool stopping;
    struct event settle_event, sweep_event, resume_event;
    char date[32]; /* of date_s, IMF-fixdate */
    int64_t date_s;
    char scratch[65536]; /* for read(); nothing lives in it between events */
};

/* http_server.c */
void conn_touch(struct conn *c); /* puts it on the list for the next flush pass */
void conn_kill(struct conn *c, bool reset);
void conn_answered(struct conn *c, bool keep); /* after the answer; frees the request */

/* http_out.c: output. Failures mark the connection broken; the flush pass then closes it. */
void conn_send(struct conn *c, struct str a, struct str b); /* now; what the kernel refuses waits */
void conn_queue(struct conn *c, struct str s);              /* with the next flush */
void conn_flush(struct conn *c);
size_t conn_pending(const struct conn *c);
void conn_refuse(struct conn *c, int status, enum err e, const char *why); /* answers and closes */

/* http_request.c */
struct http_request *request_new(struct conn *c, struct str head, const struct http_head *h);
bool request_decode(struct http_request *r); /* checks and decodes path and query; false = 400 */
void request_free(struct http_request *r);   /* empties its guards */
void request_gone(struct http_request *r);   /* tells the owner, then frees */
void request_id_make(char id[28]);

/* http_out.c: the head of an answer. body_n < 0: its length is not known (a stream). */
struct http_answer {
    int status, minor;
    const char *content_type; /* NULL = none */
    const char *id;
    struct str headers; /* more lines */
    int64_t body_n;
    bool chunked, keep_alive;
};
void http_answer_head(struct http_server *s, struct buf *b, const struct http_answer *a);
