/* HTTP client, the way to a server on this machine: Unix sockets and loopback addresses, without
 * TLS, proxies and names. An engine or a model server beside Parley sends most of all bytes that
 * the server reads, and here each read is one recv() and no change of what epoll watches.
 *
 *   dialled ──connected──▶ sending ──▶ reading ──answer whole──▶ idle, kept ──next call──▶ sending
 *      └──fault, silence, cancelled──▶ closed ◀──closed by the peer──┘
 *
 * A kept connection that ends without a byte of an answer, soon after the request went out, was
 * closed by its server just then: the request goes out once more, on a new one, within the time
 * that it has in all. One that ends later most likely ended over the request, which may have had
 * its effect: whoever asked is told, and knows whether it may be asked again. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/http_client_internal.h"
#include "net/http_reader.h"
#include "net/net_internal.h"

#define REQUEST_MAX ((size_t)1 << 30)
#define IDLE_NS     ((int64_t)120 * 1000000000) /* older ones are not used again */
#define CROSSING_NS                                                                                \
    ((int64_t)1000000000) /* a request and its connection's end cross on their way */
#define SCRATCH ((size_t)64 << 10)

struct target {
    union {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
        struct sockaddr_un local;
    } at; /* zeroed before it is filled: compared byte by byte */
    socklen_t n;
};

struct plain_call {
    struct http_call *call;
    struct target target;
    struct buf request;
    struct event total; /* all of it takes too long */
    int connect_ms, total_ms;
    bool head; /* HEAD: the answer has no body */
};

struct conn {
    struct sock sock; /* the first member */
    struct target target;
    struct http_reader reader;
    struct conn *prev, *next; /* among the idle ones */
    size_t sent;              /* bytes of the request */
    int64_t idle_ns;          /* since when it is idle */
    int64_t begun_ns;         /* when the request was begun */
    bool connecting, used, idle;
    bool broken; /* it took no more of the request */
};

struct plain_way {
    struct conn *idle, *oldest; /* the newest first; the last of them */
    int n_idle;
    char scratch[SCRATCH]; /* nothing lives in it between events */
};

/* ---- addresses ---- */

struct address {
    struct str host, authority, path;
};

static bool is_safe(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= 0x20 || (unsigned char)s.p[i] >= 0x7f ||
            strchr("#\\{}<>|^`\"@", s.p[i]))
            return false;
    return true;
}

/* http://host[:port]/path, with nothing that libcurl would write otherwise. */
static bool split(const char *url, struct address *a) {
    struct str s = str_from(url ? url : "");
    if (!str_starts(s, STR("http://")) || !is_safe(s))
        return false;
    s = str_sub(s, 7, s.n);
    size_t n = str_find(s, STR("/"));
    a->authority = str_sub(s, 0, n);
    a->path = n < s.n ? str_sub(s, n, s.n) : STR("/");
    size_t colon = a->authority.n;
    for (size_t i = 0; i < a->authority.n; i++)
        if (a->authority.p[i] == ':')
            colon = i;
    bool six = str_starts(a->authority, STR("["));
    if (six && a->authority.p[a->authority.n - 1] == ']')
        colon = a->authority.n;
    a->host = str_sub(a->authority, 0, colon);
    return a->host.n && str_find(a->path, STR("/.")) == SIZE_MAX &&
           str_find(a->authority, STR("?")) == SIZE_MAX &&
           str_find(a->authority, STR("%")) == SIZE_MAX &&
           (six || str_find(a->host, STR(":")) == SIZE_MAX);
}

/* Only addresses whose every way leads back to this machine. */
static bool find_target(const struct http_call_spec *spec, const struct address *a,
                        struct target *t) {
    uint64_t port = 80;
    char host[48];
    memset(t, 0, sizeof *t);
    if (a->host.n < a->authority.n &&
        (!str_to_u64(str_sub(a->authority, a->host.n + 1, a->authority.n), &port) || !port ||
         port > 65535))
        return false;
    if (spec->unix_socket) {
        size_t n = strlen(spec->unix_socket);
        if (!n || n >= sizeof t->at.local.sun_path)
            return false;
        t->at.local.sun_family = AF_UNIX;
        memcpy(t->at.local.sun_path, spec->unix_socket, n);
        t->n = sizeof t->at.local;
        return true;
    }
    snprintf(host, sizeof host, "%.*s", STR_ARG(a->host));
    if (str_eq(a->host, STR("[::1]"))) {
        t->at.six.sin6_family = AF_INET6;
        t->at.six.sin6_addr = in6addr_loopback;
        t->at.six.sin6_port = htons((uint16_t)port);
        t->n = sizeof t->at.six;
        return true;
    }
    t->at.four.sin_family = AF_INET;
    t->at.four.sin_port = htons((uint16_t)port);
    t->n = sizeof t->at.four;
    return a->host.n < sizeof host && inet_pton(AF_INET, host, &t->at.four.sin_addr) == 1 &&
           ntohl(t->at.four.sin_addr.s_addr) >> 24 == 127;
}

bool plain_takes(const struct http_call_spec *spec) {
    struct address a;
    struct target t;
    return split(spec->url, &a) && find_target(spec, &a, &t) &&
           http_is_token(str_from(spec->method));
}

/* ---- connections ---- */

static void unlink_idle(struct conn *k) {
    struct plain_way *w = k->sock.client->local;
    if (!k->idle)
        return;
    k->idle = false;
    w->n_idle--;
    *(k->prev ? &k->prev->next : &w->idle) = k->next;
    *(k->next ? &k->next->prev : &w->oldest) = k->prev;
}

static void conn_close(struct conn *k) {
    unlink_idle(k);
    sock_forget(&k->sock);
    close(k->sock.fd);
    http_reader_deinit(&k->reader);
    free(k);
}

/* Its answer is whole, and so is its request. When too many are kept the oldest goes. */
static void conn_keep(struct conn *k) {
    struct plain_way *w = k->sock.client->local;
    if (w->n_idle >= MAX_KEPT_CONNECTIONS)
        conn_close(w->oldest);
    k->idle_ns = clock_mono_ns();
    k->sock.call->sock = NULL;
    k->sock.call = NULL;
    http_reader_deinit(&k->reader);
    k->idle = true;
    k->prev = NULL;
    k->next = w->idle;
    *(w->idle ? &w->idle->prev : &w->oldest) = k;
    w->idle = k;
    w->n_idle++;
}

/* Nothing waits to be read: neither its end nor what nobody asked for, which would be taken for the
 * next answer. */
static bool is_quiet(const struct conn *k) {
    char c;
    ssize_t n = recv(k->sock.fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

/* A kept connection that can be used; those that cannot are closed. */
static struct conn *find_idle(struct plain_way *w, const struct target *t) {
    int64_t now = clock_mono_ns();
    for (struct conn *k = w->idle, *next; k; k = next) {
        next = k->next;
        if (k->target.n != t->n || memcmp(&k->target.at, &t->at, t->n) != 0)
            continue;
        if (now - k->idle_ns < IDLE_NS && is_quiet(k))
            return k;
        conn_close(k);
    }
    return NULL;
}

/* The call has its result; NULL: the connection is no more. */
static struct sock *fail(struct conn *k, enum err e, const char *why) {
    struct http_call *call = k->sock.call;
    if (call && !call->finished)
        snprintf(call->error, sizeof call->error, "%s", why);
    if (call) {
        call_finish(call, e);
        call_settle_later(call);
    }
    conn_close(k);
    return NULL;
}

static int open_socket(const struct target *t) {
    int on = 1, family = t->at.any.sa_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && family != AF_UNIX) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    }
    return fd;
}

static struct sock *conn_act(struct sock *s, short what);

/* NULL: errno says why not. */
static struct conn *dial(struct http_client *c, const struct target *t) {
    int fd = open_socket(t);
    if (fd < 0)
        return NULL;
    bool there = connect(fd, &t->at.any, t->n) == 0;
    struct conn *k = there || errno == EINPROGRESS ? calloc(1, sizeof *k) : NULL;
    if (!k) {
        int why = errno;
        close(fd);
        errno = why;
        return NULL;
    }
    k->sock = (struct sock){.client = c, .fd = fd, .act = conn_act};
    k->target = *t;
    k->connecting = !there;
    return k;
}

/* ---- sending ---- */

/* Sends what the kernel takes. NULL: the connection is no more. */
static struct sock *send_request(struct conn *k) {
    const struct buf *b = &k->sock.call->local->request;
    while (k->sent < b->n) {
        ssize_t n = send(k->sock.fd, b->p + k->sent, b->n - k->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n < 0 && errno != EPIPE && errno != ECONNRESET)
            return fail(k, ERR_UPSTREAM, strerror(errno));
        if (n < 0) { /* what the peer said before it left is still to be read */
            k->broken = true;
            k->sent = b->n;
            break;
        }
        k->sent += (size_t)n;
        k->sock.call->last_ns = clock_mono_ns();
    }
    bool all = k->sent == b->n;
    if (all != k->sock.reads && !sock_watch(&k->sock, all ? EV_READ : EV_READ | EV_WRITE))
        return fail(k, ERR_NOMEM, err_text(ERR_NOMEM));
    return &k->sock;
}

static void begin_on(struct conn *k, struct http_call *call) {
    unlink_idle(k);
    k->sock.call = call;
    call->sock = &k->sock;
    k->sent = 0;
    k->begun_ns = clock_mono_ns();
    http_reader_begin(&k->reader, call->local->head);
}

static void start(struct http_call *call, bool kept) {
    struct http_client *c = call->client;
    struct plain_call *p = call->local;
    struct conn *k = kept ? find_idle(c->local, &p->target) : NULL;
    if (k) {
        begin_on(k, call);
        send_request(k);
        return;
    }
    k = dial(c, &p->target);
    if (!k) {
        int why = errno;
        snprintf(call->error, sizeof call->error, "cannot connect: %s", strerror(why));
        call_finish(call, why == ENOMEM ? ERR_NOMEM : ERR_UNAVAILABLE);
        call_settle_later(call);
        return;
    }
    begin_on(k, call);
    if (k->connecting) {
        struct timeval tv = {.tv_sec = p->connect_ms / 1000,
                             .tv_usec = p->connect_ms % 1000 * 1000};
        if (!sock_watch(&k->sock, EV_READ | EV_WRITE) || event_add(&k->sock.event, &tv) != 0)
            fail(k, ERR_NOMEM, err_text(ERR_NOMEM));
    } else if (sock_watch(&k->sock, EV_READ)) {
        send_request(k);
    } else {
        fail(k, ERR_NOMEM, err_text(ERR_NOMEM));
    }
}

void plain_begin(struct http_call *call) {
    struct plain_call *p = call->local;
    if (p->total_ms) {
        struct timeval tv = {.tv_sec = p->total_ms / 1000, .tv_usec = p->total_ms % 1000 * 1000};
        if (event_add(&p->total, &tv) != 0) {
            call_finish(call, ERR_NOMEM);
            call_settle_later(call);
            return;
        }
    }
    start(call, true);
}

/* Whether it is connected now, or a result is known. */
static struct sock *connected(struct conn *k, short what) {
    int e = 0;
    socklen_t n = sizeof e;
    if (what & EV_TIMEOUT)
        return fail(k, ERR_TIMEOUT, "the connection was not taken in time");
    if (getsockopt(k->sock.fd, SOL_SOCKET, SO_ERROR, &e, &n) != 0)
        e = errno;
    if (e) {
        char why[128];
        snprintf(why, sizeof why, "cannot connect: %s", strerror(e));
        return fail(k, ERR_UNAVAILABLE, why);
    }
    k->connecting = false;
    if (!sock_watch(&k->sock, EV_READ | EV_WRITE)) /* without the time limit */
        return fail(k, ERR_NOMEM, err_text(ERR_NOMEM));
    return send_request(k);
}

/* ---- reading ---- */

static void on_head(void *ctx, const struct http_head *h) {
    struct http_call *call = ctx;
    call->status = h->status;
    for (size_t i = 0; i < h->nfields; i++)
        call_take_field(call, h->fields[i].name, h->fields[i].value);
    call_tell_status(call);
}

/* The answer is whole. */
static struct sock *done(struct conn *k) {
    struct http_call *call = k->sock.call;
    call_finish(call, ERR_OK);
    call_settle_later(call);
    k->used = true;
    if (k->reader.keep_alive && !k->broken && k->sent == call->local->request.n && k->sock.reads) {
        conn_keep(k);
        return &k->sock;
    }
    conn_close(k);
    return NULL;
}

static struct sock *ended(struct conn *k, int why) {
    struct http_call *call = k->sock.call;
    if (!call) {
        conn_close(k);
        return NULL;
    }
    bool crossed = k->used && !k->reader.any && clock_mono_ns() - k->begun_ns < CROSSING_NS;
    if (crossed && !call->cancelled && !call->finished) {
        conn_close(k);
        start(call, false);
        return NULL;
    }
    if (!why && http_reader_end(&k->reader))
        return done(k);
    return fail(k, ERR_UPSTREAM,
                why              ? strerror(why)
                : !k->reader.any ? "the connection was closed without an answer"
                                 : "the connection was closed in the middle of the answer");
}

static struct sock *take(struct conn *k, struct str bytes) {
    struct http_client *c = k->sock.client;
    struct http_call *call = k->sock.call;
    const char *why = ""; /* an answer that is too long says it by itself */
    if (!call) {          /* nobody asked */
        conn_close(k);
        return NULL;
    }
    if (call->cancelled || call->finished)
        return &k->sock; /* it is swept soon */
    call->last_ns = clock_mono_ns();
    struct buf *request = &call->local->request;
    if (request->n && k->sent == request->n) { /* it will not be sent again */
        buf_deinit(request);
        k->sent = 0;
    }
    enum err e = http_reader_feed(&k->reader, bytes, &c->gathered, on_head, call, &why);
    size_t n = c->gathered.n;
    if (!call_count(call, n) || !n) /* without memory nothing is in it, and it must forget that */
        buf_clear(&c->gathered);
    else if (n)
        c->gathering = call;
    client_give_gathered(c);
    if (e || call->result == ERR_TOO_LARGE)
        return fail(k, e, why);
    return k->reader.state == READ_DONE ? done(k) : &k->sock;
}

static struct sock *conn_act(struct sock *s, short what) {
    struct conn *k = (struct conn *)(void *)s;
    struct plain_way *w = s->client->local;
    if (k->connecting)
        return connected(k, what);
    if (what & EV_WRITE)
        s = send_request(k);
    if (!s || !(what & EV_READ))
        return s;
    ssize_t n = recv(s->fd, w->scratch, sizeof w->scratch, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return s;
    return n <= 0 ? ended(k, n < 0 ? errno : 0) : take(k, (struct str){w->scratch, (size_t)n});
}

/* ---- calls ---- */

static void on_total(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct http_call *call = arg;
    if (!call->finished)
        snprintf(call->error, sizeof call->error, "the answer took longer than %d ms",
                 call->local->total_ms);
    call_finish(call, ERR_TIMEOUT);
    call_settle_later(call);
}

/* Headers without a value are left out, as libcurl does. */
static enum err add_headers(struct buf *b, const struct http_call_spec *spec) {
    bool accepts = false;
    for (const char *const *h = spec->headers; h && *h; h++) {
        struct str line = str_from(*h), value = line;
        if (line.n != strcspn(*h, "\r\n"))
            return ERR_INVALID; /* one line each: a value must not bring headers of its own */
        struct str name = str_cut(&value, ':');
        accepts = accepts || str_eq_nocase(name, STR("accept"));
        if (!str_trim(value).n)
            continue;
        buf_adds(b, line);
        buf_addz(b, "\r\n");
    }
    if (!accepts)
        buf_addz(b, "Accept: */*\r\n");
    return ERR_OK;
}

static enum err write_request(struct buf *b, const struct http_call_spec *spec,
                              const struct address *a) {
    buf_addz(b, spec->method);
    buf_addc(b, ' ');
    buf_adds(b, a->path);
    buf_addz(b, " HTTP/1.1\r\nHost: ");
    buf_adds(b, a->authority);
    buf_addz(b, "\r\n");
    enum err e = add_headers(b, spec);
    if (spec->body.n || strcmp(spec->method, "POST") == 0)
        buf_addf(b, "Content-Length: %zu\r\n", spec->body.n);
    buf_addz(b, "\r\n");
    buf_adds(b, spec->body);
    return e ? e : buf_err(b);
}

enum err plain_prepare(struct http_call *call, const struct http_call_spec *spec,
                       struct errinfo *ei) {
    struct address a;
    struct plain_call *p = calloc(1, sizeof *p);
    if (!p)
        return err_set(ei, ERR_NOMEM, NULL);
    call->local = p;
    call->plain = true;
    p->call = call;
    p->head = strcmp(spec->method, "HEAD") == 0;
    p->connect_ms = spec->connect_timeout_ms ? spec->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    p->total_ms = spec->total_timeout_ms;
    event_assign(&p->total, loop_base(call->client->loop), -1, 0, on_total, call);
    buf_init(&p->request, REQUEST_MAX);
    enum err e = split(spec->url, &a) && find_target(spec, &a, &p->target) ? ERR_OK : ERR_INVALID;
    if (!e)
        e = write_request(&p->request, spec, &a);
    if (e)
        return err_set(ei, e, e == ERR_INVALID ? "a header holds a line break" : NULL);
    snprintf(call->host, sizeof call->host, "%.*s", STR_ARG(a.host));
    return ERR_OK;
}

void plain_end(struct http_call *call) {
    struct plain_call *p = call->local;
    if (call->sock)
        conn_close((struct conn *)(void *)call->sock);
    event_del(&p->total);
    buf_deinit(&p->request);
    free(p);
    call->local = NULL;
}

enum err plain_way_new(struct http_client *c, struct errinfo *ei) {
    c->local = calloc(1, sizeof *c->local);
    return c->local ? ERR_OK : err_set(ei, ERR_NOMEM, NULL);
}

void plain_way_free(struct plain_way *w) {
    if (!w)
        return;
    while (w->idle)
        conn_close(w->idle);
    free(w);
}
