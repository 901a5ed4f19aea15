/* The server: listening, reading, deadlines and closing. See http_internal.h for the states. */
#include "net/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/http_internal.h"
#include "net/net_internal.h"

#define SECOND_NS         ((int64_t)1000000000)
#define ACCEPTS_A_WAKE    64
#define REFUSED_AT_ONCE   256             /* connections past the limit that still get their 503 */
#define PIPELINE_BYTES    ((size_t)65536) /* read ahead while a request is answered */
#define PIPELINE_REQUESTS 64              /* handled before other connections have their turn */
#define LINGER_BYTES      ((size_t)16 << 20) /* thrown away so that a refusal can be read */
#define LINGER_SECONDS    5
#define DRAIN_SECONDS     5    /* idle time that is left once the server stops accepting */
#define BODY_RATE_MIN     4096 /* bytes a second that a body must come with on the whole */

/* ---- connections ---- */

void conn_touch(struct conn *c) {
    struct http_server *s = c->server;
    if (c->dirty)
        return;
    c->dirty = true;
    c->dirty_next = s->dirty;
    if (!s->dirty)
        event_active(&s->settle_event, EV_TIMEOUT, 0);
    s->dirty = c;
}

void conn_kill(struct conn *c, bool reset) {
    if (c->state == CONN_DEAD)
        return;
    event_del(&c->in_event);
    event_del(&c->out_event);
    if (reset) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    close(c->fd);
    c->fd = -1;
    c->state = CONN_DEAD;
    conn_touch(c);
}

static void conn_free(struct conn *c) {
    struct http_server *s = c->server;
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->nconns--;
    buf_deinit(&c->in);
    buf_deinit(&c->out);
    free(c);
}

/* The peer is gone: its request's owner hears of it, then the connection dies. */
static void conn_gone(struct conn *c) {
    struct http_request *r = c->req;
    c->req = NULL;
    if (r && c->state == CONN_BUSY)
        request_gone(r);
    else if (r)
        request_free(r);
    conn_kill(c, false);
}

void conn_answered(struct conn *c, bool keep) {
    if (c->req)
        request_free(c->req);
    c->req = NULL;
    c->served = true;
    c->active_ns = clock_mono_ns();
    if (c->state == CONN_DEAD)
        return;
    c->state = keep ? CONN_HEAD : CONN_CLOSING;
    c->request_ns = c->in.n > c->in_from ? c->active_ns : 0;
    if (!keep || c->request_ns || !c->reading || c->broken)
        conn_touch(c);
}

/* While input is full it is not read; the sweep then looks whether the peer has closed. */
static void set_reading(struct conn *c, bool on) {
    if (c->reading == on || c->eof)
        return;
    c->reading = on;
    if (on)
        event_add(&c->in_event, NULL);
    else
        event_del(&c->in_event);
}

/* ---- requests ---- */

static struct str input(const struct conn *c) {
    return (struct str){c->in.p + c->in_from, c->in.n - c->in_from};
}

/* What this body may have; what is read of it stops there. */
static size_t body_limit(struct conn *c) {
    const struct http_server *s = c->server;
    struct http_request *r = c->req;
    size_t limit = s->o.body_limit && (r->chunked || r->content_length) ? s->o.body_limit(r, s->ctx)
                                                                        : s->o.max_body_bytes;
    r->body.cap = limit < s->o.max_body_bytes ? limit : s->o.max_body_bytes;
    return r->body.cap;
}

static void take_head(struct conn *c) {
    struct http_head h;
    int status;
    const char *why;
    while (str_starts(input(c), STR("\r\n"))) /* RFC 9112, section 2.2 */
        c->in_from += 2;
    struct str in = input(c);
    size_t n = http_head_length(in, &c->scanned);
    if (n == 0 && !http_head_plausible(in) && !str_eq(in, STR("\r"))) {
        conn_refuse(c, 400, ERR_INVALID, "this is not HTTP/1.1");
        return;
    }
    if (n > c->server->o.max_header_bytes || (n == 0 && in.n > c->server->o.max_header_bytes)) {
        conn_refuse(c, 431, ERR_TOO_LARGE, "the request's headers are too large");
        return;
    }
    if (n == 0)
        return;
    c->scanned = 0;
    struct str head = str_sub(in, 0, n);
    if (!http_head_parse(head, &h, &status, &why)) {
        conn_refuse(c, status, status == 431 ? ERR_TOO_LARGE : ERR_INVALID, why);
        return;
    }
    c->req = request_new(c, head, &h);
    c->in_from += n;
    c->state = CONN_BODY;
    if (!c->req)
        conn_gone(c);
    else if (!request_decode(c->req))
        conn_refuse(c, 400, ERR_INVALID, "the address holds %00, a broken escape or no UTF-8");
    else if (h.content_length > body_limit(c))
        conn_refuse(c, 413, ERR_TOO_LARGE, "the request's body is too large");
    else if (h.expects_continue && input(c).n == 0 && (h.chunked || h.content_length))
        conn_send(c, STR("HTTP/1.1 100 Continue\r\n\r\n"), STR_NULL);
}

/* False: all bodies together are too much, and this one is refused. */
static bool count_body(struct conn *c) {
    struct http_server *s = c->server;
    struct http_request *r = c->req;
    s->body_bytes += r->body.n - r->counted;
    r->counted = r->body.n;
    if (s->body_bytes <= s->o.max_bodies_bytes)
        return true;
    conn_refuse(c, 503, ERR_UNAVAILABLE, "too many large requests at once; try again");
    return false;
}

/* Moves input into the body; true when it is whole. */
static bool take_body(struct conn *c) {
    struct http_request *r = c->req;
    struct str in = input(c);
    if (r->chunked) {
        size_t used = 0;
        enum err e = http_chunks_feed(&r->chunks, in, &r->body, &used);
        c->in_from += used;
        if (e == ERR_TOO_LARGE)
            conn_refuse(c, 413, e, "the request's body is too large");
        else if (e == ERR_INVALID)
            conn_refuse(c, 400, e, "the body is not in valid chunked coding");
        else if (e)
            conn_refuse(c, 500, e, err_text(e));
        return !e && count_body(c) && r->chunks.state == CHUNK_DONE;
    }
    size_t left = (size_t)r->content_length - r->body.n;
    size_t n = in.n < left ? in.n : left;
    buf_add(&r->body, in.p, n);
    c->in_from += n;
    if (buf_err(&r->body))
        conn_refuse(c, 500, ERR_NOMEM, err_text(ERR_NOMEM));
    return c->req && count_body(c) && r->body.n == r->content_length;
}

static void dispatch(struct conn *c) {
    struct http_server *s = c->server;
    c->state = CONN_BUSY;
    c->req->arrived_ns = clock_mono_ns();
    s->handler(c->req, s->ctx);
}

/* The peer sends requests and does not read the answers: nothing more is taken from it until it
 * has, for each answer would stay in memory. on_writable() goes on then. */
static bool held(const struct conn *c) {
    return c->state == CONN_HEAD && conn_pending(c) > c->server->o.max_pending_bytes;
}

/* Handles as many requests as the input holds. */
static void process(struct conn *c) {
    if (c->state == CONN_HEAD && c->request_ns == 0 && input(c).n)
        c->request_ns = clock_mono_ns(); /* was held: its time counts from here */
    for (int i = 0; i < PIPELINE_REQUESTS && !held(c); i++) {
        if (c->state == CONN_HEAD && input(c).n)
            take_head(c);
        if (c->state != CONN_BODY || !take_body(c))
            break;
        dispatch(c);
    }
    if (c->state == CONN_CLOSING || c->state == CONN_DEAD)
        c->in_from = c->in.n;
    buf_drop(&c->in, c->in_from);
    c->in_from = 0;
    if (c->in.n == 0)
        buf_deinit(&c->in);
    else if (c->state == CONN_HEAD && c->scanned == 0 && !held(c))
        conn_touch(c); /* more requests wait */
    if (held(c))
        c->request_ns = 0; /* not late, but silent: the peer's reading is what is waited for */
    if (c->state != CONN_DEAD)
        set_reading(c, !held(c) && (c->state != CONN_BUSY || c->in.n < PIPELINE_BYTES));
}

/* ---- events of a connection ---- */

/* The peer has closed its side. A finished answer that is still on its way may go on to a peer that
 * only half closed; whoever waits for an answer counts as gone. */
static void on_eof(struct conn *c) {
    if (!c->req && conn_pending(c) && c->state != CONN_LINGER) {
        set_reading(c, false);
        c->eof = true;
        c->state = CONN_CLOSING;
        return;
    }
    conn_gone(c);
}

static void discard(struct conn *c, size_t n) {
    c->lingered += n;
    if (c->lingered > LINGER_BYTES)
        conn_kill(c, false);
}

static void on_readable(evutil_socket_t fd, short what, void *arg) {
    (void)what;
    struct conn *c = arg;
    struct http_server *s = c->server;
    ssize_t n = read((int)fd, s->scratch, sizeof s->scratch);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        if (n < 0)
            conn_gone(c);
        else
            on_eof(c);
        return;
    }
    if (c->state == CONN_CLOSING || c->state == CONN_LINGER) {
        discard(c, (size_t)n);
        return;
    }
    c->active_ns = clock_mono_ns();
    if (c->request_ns == 0)
        c->request_ns = c->active_ns;
    buf_add(&c->in, s->scratch, (size_t)n);
    if (buf_err(&c->in))
        conn_gone(c);
    else if (c->state == CONN_BUSY)
        set_reading(c, c->in.n < PIPELINE_BYTES);
    else
        process(c);
}

static void on_writable(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct conn *c = arg;
    conn_flush(c);
    if (c->broken || conn_pending(c) == 0)
        conn_touch(c);
}

/* ---- the flush pass: what was touched is sent, continued or freed ---- */

static void conn_settle(struct conn *c) {
    if (c->broken && c->state != CONN_DEAD)
        conn_gone(c);
    if (c->state != CONN_DEAD && !c->writing)
        conn_flush(c);
    if (c->broken && c->state != CONN_DEAD)
        conn_gone(c);
    if (c->state == CONN_CLOSING && conn_pending(c) == 0 && c->eof) {
        conn_kill(c, false);
    } else if (c->state == CONN_CLOSING && conn_pending(c) == 0) {
        shutdown(c->fd, SHUT_WR); /* the peer reads to the end; its EOF closes our side */
        c->state = CONN_LINGER;
        c->active_ns = clock_mono_ns();
        set_reading(c, true);
    }
    if (c->state == CONN_HEAD)
        process(c);
    if (c->state == CONN_DEAD && !c->dirty)
        conn_free(c);
}

static void on_settle(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct http_server *s = arg;
    struct conn *c = s->dirty;
    s->dirty = NULL;
    for (struct conn *next; c; c = next) {
        next = c->dirty_next;
        c->dirty = false;
        conn_settle(c);
    }
}

/* ---- deadlines ---- */

static bool overdue(const struct conn *c, int64_t now) {
    const struct http_server *s = c->server;
    int64_t idle = s->o.idle_seconds * SECOND_NS;
    int64_t quiet = now - c->active_ns;
    switch (c->state) {
    case CONN_LINGER:
        return quiet > LINGER_SECONDS * SECOND_NS;
    case CONN_CLOSING:
    case CONN_BUSY:
        return conn_pending(c) && quiet > idle;
    case CONN_HEAD:
        if (c->request_ns == 0)
            return quiet > (s->stopping && c->served ? DRAIN_SECONDS * SECOND_NS : idle);
        return now - c->request_ns > idle;
    case CONN_BODY:
        return quiet > idle ||
               now - c->request_ns > idle + (int64_t)(c->req->body.n / BODY_RATE_MIN) * SECOND_NS;
    default:
        return false;
    }
}

/* epoll reports a close behind unread input only to who asks for it, and libevent asks in a way
 * that spins on errors; poll() is enough for this rare case. */
static bool closed_behind_input(const struct conn *c) {
    struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
    return c->state == CONN_BUSY && !c->reading && poll(&p, 1, 0) == 1;
}

static void on_sweep(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct http_server *s = arg;
    int64_t now = clock_mono_ns();
    for (struct conn *c = s->conns; c; c = c->next) {
        if (closed_behind_input(c))
            conn_gone(c);
        if (!overdue(c, now))
            continue;
        if (c->request_ns && (c->state == CONN_HEAD || c->state == CONN_BODY))
            conn_refuse(c, 408, ERR_TIMEOUT, "the request did not arrive in time");
        else
            conn_gone(c);
    }
}

/* ---- listening ---- */

static void set_ip(struct conn *c, const struct sockaddr_storage *a) {
    snprintf(c->ip, sizeof c->ip, "unix");
    if (a->ss_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)a)->sin_addr, c->ip, sizeof c->ip);
    } else if (a->ss_family == AF_INET6) {
        const struct in6_addr *six = &((const struct sockaddr_in6 *)a)->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(six))
            inet_ntop(AF_INET, six->s6_addr + 12, c->ip, sizeof c->ip);
        else
            inet_ntop(AF_INET6, six, c->ip, sizeof c->ip);
    }
}

static void conn_open(struct http_server *s, int fd, const struct sockaddr_storage *a) {
    struct conn *c =
        s->nconns < s->o.max_connections + REFUSED_AT_ONCE ? calloc(1, sizeof *c) : NULL;
    if (!c) {
        close(fd);
        return;
    }
    struct event_base *base = loop_base(s->loop);
    c->server = s;
    c->fd = fd;
    c->active_ns = clock_mono_ns();
    set_ip(c, a);
    buf_init(&c->in, PIPELINE_BYTES + sizeof s->scratch + s->o.max_header_bytes);
    buf_init(&c->out,
             SIZE_MAX / 4); /* the cap is max_pending_bytes, and the handler's own answers */
    event_assign(&c->in_event, base, fd, EV_READ | EV_PERSIST, on_readable, c);
    event_assign(&c->out_event, base, fd, EV_WRITE | EV_PERSIST, on_writable, c);
    c->next = s->conns;
    if (s->conns)
        s->conns->prev = c;
    s->conns = c;
    s->nconns++;
    c->reading = true;
    if (event_add(&c->in_event, NULL) != 0)
        conn_kill(c, false);
    else if (s->nconns > s->o.max_connections)
        conn_refuse(c, 503, ERR_UNAVAILABLE, "too many connections; try again");
}

static void listeners_enable(struct http_server *s, bool on) {
    for (struct http_listener *l = s->listeners; l; l = l->next) {
        if (on)
            event_add(&l->event, NULL);
        else
            event_del(&l->event);
    }
}

static void on_resume(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct http_server *s = arg;
    if (!s->stopping)
        listeners_enable(s, true);
}

static void on_accept(evutil_socket_t fd, short what, void *arg) {
    (void)what;
    struct http_listener *l = arg;
    struct http_server *s = l->server;
    for (int i = 0; i < ACCEPTS_A_WAKE; i++) {
        struct sockaddr_storage a = {0};
        socklen_t n = sizeof a;
        int peer = accept4((int)fd, (struct sockaddr *)&a, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (peer >= 0) {
            conn_open(s, peer, &a);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK) {
            /* No descriptors or memory: the socket stays readable, so trying on would spin. */
            struct timeval pause = {.tv_usec = 200000};
            listeners_enable(s, false);
            event_add(&s->resume_event, &pause);
        }
        return;
    }
}

enum err http_server_listen(struct http_server *s, int fd, struct errinfo *ei) {
    struct http_listener *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(ei, ERR_NOMEM, NULL);
    /* What is accepted inherits these. They fail on Unix sockets, which do not need them. */
    int on = 1, idle = 60, interval = 15, count = 4, user_ms = s->o.idle_seconds * 1000;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_ms, sizeof user_ms);
    l->server = s;
    l->fd = fd;
    event_assign(&l->event, loop_base(s->loop), fd, EV_READ | EV_PERSIST, on_accept, l);
    if (event_add(&l->event, NULL) != 0) {
        free(l);
        return err_set(ei, ERR_IO, "cannot watch the listening socket: %s", strerror(errno));
    }
    l->next = s->listeners;
    s->listeners = l;
    return ERR_OK;
}

void http_server_stop_accepting(struct http_server *s) {
    s->stopping = true;
    event_del(&s->resume_event);
    listeners_enable(s, false);
}

int http_server_requests(const struct http_server *s) {
    int n = 0;
    for (const struct conn *c = s->conns; c; c = c->next)
        n += c->state != CONN_DEAD && (c->req || c->request_ns);
    return n;
}

int http_server_connections(const struct http_server *s) {
    return s->nconns;
}

/* ---- the server ---- */

enum err http_server_new(struct loop *l, const struct http_server_options *o, http_handler handler,
                         void *ctx, struct http_server **ret, struct errinfo *ei) {
    struct http_server *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(ei, ERR_NOMEM, NULL);
    s->loop = l;
    s->o = *o;
    s->handler = handler;
    s->ctx = ctx;
    s->o.max_header_bytes = o->max_header_bytes ? o->max_header_bytes : 32768;
    s->o.max_body_bytes = o->max_body_bytes ? o->max_body_bytes : 1 << 20;
    s->o.max_bodies_bytes = o->max_bodies_bytes ? o->max_bodies_bytes : (size_t)256 << 20;
    s->o.max_pending_bytes = o->max_pending_bytes ? o->max_pending_bytes : 256 << 10;
    s->o.idle_seconds = o->idle_seconds ? o->idle_seconds : 75;
    s->o.max_connections = o->max_connections ? o->max_connections : 16000;
    struct event_base *base = loop_base(l);
    struct timeval second = {.tv_sec = 1};
    event_assign(&s->settle_event, base, -1, 0, on_settle, s);
    event_assign(&s->resume_event, base, -1, 0, on_resume, s);
    event_assign(&s->sweep_event, base, -1, EV_PERSIST, on_sweep, s);
    if (event_add(&s->sweep_event, &second) != 0) {
        free(s);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    *ret = s;
    return ERR_OK;
}

void http_server_free(struct http_server *s) {
    if (!s)
        return;
    http_server_stop_accepting(s);
    for (struct conn *c = s->conns; c; c = c->next)
        if (c->state != CONN_DEAD) {
            conn_flush(c); /* what was written just before is not lost for want of a flush pass */
            conn_gone(c);
        }
    while (s->conns)
        conn_free(s->conns);
    event_del(&s->settle_event);
    event_del(&s->sweep_event);
    for (struct http_listener *l = s->listeners, *next; l; l = next) {
        next = l->next;
        free(l);
    }
    free(s);
}
