/* The call and the socket behind http_client.h, for http_client.c (life of a call, paced reading),
 * http_curl.c (any URL) and http_plain.c (HTTP/1.1 to a server on this machine). Not for other
 * folders.
 *
 * Rules that keep it safe:
 * - Callbacks ask for nothing at once: what starts, ends and is cancelled waits for settle(), which
 *   runs by itself on the loop.
 * - What one read brings is gathered and given to on_data once, when the read is over (of the first
 *   call that it is for; libcurl hands over each chunk of the chunked coding by itself).
 * - on_done runs in settle(). A call is freed in one place, after it.
 * - Nothing is removed in a callback of its own: a cancelled call is marked, and swept by settle().
 *
 * Paced reading (http_call_pace) is what network drivers do with a busy card: a socket whose bytes
 * come faster than the pace is taken from the event base and read by the clock, so that several
 * pieces cost one call. Who is read and has nothing goes back to the event base.
 *
 *   watched ──read, and bytes came less than a pace ago──→ queued ──its time──→ read ─┐
 *      ↑                                                     ↑                       │
 *      └──────────── nothing was there, or no pace ──────────┴───── bytes came ──────┘
 */
#pragma once

#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/buf.h"
#include "net/http_client.h"

#define CONNECT_TIMEOUT_MS   3000
#define MAX_KEPT_CONNECTIONS 1024
#define GATHER_MAX           ((size_t)64 << 10)

struct curl_way;
struct plain_way;
struct curl_call;
struct plain_call;

struct sock { /* a socket, or the socket of a connection */
    struct http_client *client;
    struct http_call *call; /* whose answer comes; NULL: it is over */
    struct event event;     /* not set while it is queued */
    int fd;
    bool reads; /* it waits for bytes alone */
    /* Reads, or writes (EV_READ, EV_WRITE, EV_TIMEOUT). NULL: the socket is no more. */
    struct sock *(*act)(struct sock *s, short what);
    struct sock *prev, *next; /* in the client's queue */
    int64_t due_ns, came_ns;  /* due_ns: 0 = not queued; came_ns: when bytes were read last */
};

struct http_call {
    struct http_client *client;
    struct sock *sock;             /* NULL: none yet, or not any more */
    struct http_call *prev, *next; /* the client's list of all */
    struct http_call *due_next;    /* the client's list of those for settle() */
    struct http_call_callbacks cb;
    void *ctx;
    struct curl_call *curl; /* one of the two is there from the start on; owned */
    struct plain_call *local;
    struct event idle_event;
    int64_t idle_ns, last_ns; /* last_ns: when bytes came or went last */
    size_t received, max_received;
    bool plain, paced; /* plain: without TLS, so that a socket has one answer at a time */
    bool nameless;     /* the host's name is not known: nobody to wait for */
    int status;
    char content_type[128];
    int64_t retry_after_ms;
    bool due;       /* on the list for settle() */
    bool added;     /* it was begun */
    bool told;      /* on_status was called */
    bool cancelled; /* no callback any more */
    bool finished;  /* result is known; on_done is due */
    enum err result;
    char host[128];
    char error[256];
};

struct http_client {
    struct loop *loop;
    struct curl_way *curl;
    struct plain_way *local;
    struct event settle_event, pace_timer;
    struct sock *queue, *queue_last; /* to be read by the clock, in the order of queueing */
    int pace_ms;
    struct http_call *gathering; /* whose bytes are in gathered */
    struct buf gathered;
    struct http_call *calls;
    struct http_call *due, **due_end;
};

/* ---- http_client.c ---- */
void call_settle_later(struct http_call *call); /* to be begun, cancelled, or its result is known */
void call_finish(struct http_call *call, enum err e); /* the first result counts */
void call_tell_status(struct http_call *call);
/* A field of the answer's head; name and value without blanks around them. */
void call_take_field(struct http_call *call, struct str name, struct str value);
/* Bytes of the body. False: no more are wanted, or there is no memory. */
bool call_gather(struct http_call *call, struct str bytes);
/* n bytes of the body have come; they are gathered by whoever counts. False: they are too many. */
bool call_count(struct http_call *call, size_t n);
void client_give_gathered(struct http_client *c); /* when a read is over */
bool sock_watch(struct sock *s, short what); /* EV_READ, EV_WRITE: from here on; false: no memory */
void sock_forget(struct sock *s);            /* before it is freed */

/* ---- http_curl.c ---- */
enum err curl_way_new(struct http_client *c, struct errinfo *ei) ERR_CHECK;
void curl_way_free(struct curl_way *w);
enum err curl_prepare(struct http_call *call, const struct http_call_spec *spec,
                      struct errinfo *ei) ERR_CHECK;
enum err curl_begin(struct http_call *call) ERR_CHECK;
void curl_end(struct http_call *call); /* whatever it has */

/* ---- http_plain.c ---- */
enum err plain_way_new(struct http_client *c, struct errinfo *ei) ERR_CHECK;
void plain_way_free(struct plain_way *w);
/* Whether the request is one for http_plain.c: to a Unix socket or a loopback address without TLS,
 * with an address that needs no rewriting. */
bool plain_takes(const struct http_call_spec *spec);
enum err plain_prepare(struct http_call *call, const struct http_call_spec *spec,
                       struct errinfo *ei) ERR_CHECK;
void plain_begin(struct http_call *call); /* what fails is told as its result */
void plain_end(struct http_call *call);   /* its connection is closed unless the answer is whole */
