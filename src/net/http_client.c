/* HTTP client: libcurl's multi interface, told of sockets and times by the loop's event base.
 *
 * Rules that keep it safe:
 * - libcurl calls on_status and on_data from inside curl_multi_socket_action(), where no handle may
 * be added or removed. What callbacks ask for meanwhile (start, cancel) waits until libcurl
 * returned.
 * - What one read brings is gathered and given to on_data once, outside libcurl (of the first call
 * that it is for; libcurl hands over each chunk of the chunked coding by itself).
 * - on_done runs outside libcurl. A call is freed in one place, after it.
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
#include "net/http_client.h"

#include <curl/curl.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "net/net_internal.h"

#define POOL_MAX             64 /* easy handles kept for the next calls */
#define CONNECT_TIMEOUT_MS   3000
#define MAX_KEPT_CONNECTIONS 1024L
#define RECEIVE_BUFFER       8192L     /* for each running answer */
#define PACE_SLACK_NS        2000000ll /* who is due so soon is read at once with the others */
#define GATHER_MAX           ((size_t)64 << 10)
#define PACE_READS           128 /* by the clock, before other events have their turn */

struct http_call;

struct sock { /* a socket of libcurl's, from its first to its last word about it */
    struct http_client *client;
    struct http_call *call; /* whose answer comes; NULL: it is over */
    struct event event;     /* what libcurl waits for; not set while it is queued */
    curl_socket_t fd;
    int wants;                /* CURL_POLL_… */
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
    CURL *easy;
    struct curl_slist *headers;
    struct event idle_event;
    int64_t idle_ns, last_ns; /* last_ns: when bytes came last */
    size_t received, max_received;
    bool plain, paced; /* plain: without TLS, so that a socket has one answer at a time */
    bool nameless;     /* the host's name is not known: nobody to wait for */
    int status;
    char content_type[128];
    int64_t retry_after_ms;
    bool due;       /* on the list for settle() */
    bool added;     /* to the multi handle */
    bool told;      /* on_status was called */
    bool cancelled; /* no callback any more */
    bool finished;  /* result is known; on_done is due */
    enum err result;
    char host[128];
    char error[CURL_ERROR_SIZE];
};

struct http_client {
    struct loop *loop;
    CURLM *multi;
    struct event timer, settle_event, pace_timer;
    struct sock *queue, *queue_last; /* to be read by the clock, in the order of queueing */
    struct sock *reading;            /* libcurl is at work on it; NULL: it has let go of it */
    int pace_ms;
    struct http_call *gathering; /* whose bytes are in gathered */
    struct buf gathered;
    struct http_call *calls;
    struct http_call *due, **due_end;
    CURL *pool[POOL_MAX];
    int npool;
};

/* For a call that is to be added, was cancelled or has its result. */
static void settle_later(struct http_call *call) {
    struct http_client *c = call->client;
    if (call->due)
        return;
    call->due = true;
    call->due_next = NULL;
    if (!c->due)
        event_active(&c->settle_event, EV_TIMEOUT, 0);
    *c->due_end = call;
    c->due_end = &call->due_next;
}

/* ---- life of a call ---- */

static void easy_give_back(struct http_client *c, CURL *easy) {
    if (!easy)
        return;
    if (c->npool < POOL_MAX) {
        curl_easy_reset(easy); /* keeps its connections and caches */
        c->pool[c->npool++] = easy;
    } else {
        curl_easy_cleanup(easy);
    }
}

static void call_free(struct http_call *call) {
    struct http_client *c = call->client;
    if (call->added)
        curl_multi_remove_handle(c->multi,
                                 call->easy); /* closes it if the answer is not complete */
    if (call->sock)
        call->sock->call = NULL;
    event_del(&call->idle_event);
    if (call->prev)
        call->prev->next = call->next;
    else if (c->calls == call)
        c->calls = call->next;
    if (call->next)
        call->next->prev = call->prev;
    curl_slist_free_all(call->headers);
    easy_give_back(c, call->easy);
    free(call);
}

static void tell_status(struct http_call *call) {
    if (call->told || call->cancelled || call->status == 0)
        return;
    call->told = true;
    if (call->cb.on_status)
        call->cb.on_status(call->ctx, call->status, str_from(call->content_type),
                           call->retry_after_ms);
}

static void call_finish(struct http_call *call, enum err e) {
    if (call->finished)
        return;
    call->finished = true;
    call->result = e;
}

/* The sentence for people: the host, and what libcurl says of it. URLs may hold keys and stay out.
 */
static void describe(const struct http_call *call, struct errinfo *ei) {
    switch (call->result) {
    case ERR_OK:
        *ei = (struct errinfo){0};
        break;
    case ERR_TOO_LARGE:
        err_set(ei, ERR_TOO_LARGE, "%s: the answer is larger than %zu bytes", call->host,
                call->max_received);
        break;
    case ERR_CANCELLED:
        err_set(ei, ERR_CANCELLED, NULL);
        break;
    default:
        err_param(ei, call->result, call->nameless ? "host" : "", "%s: %s", call->host,
                  call->error[0] ? call->error : err_text(call->result));
    }
}

/* Calls on_done and frees. Runs outside libcurl. */
static void call_end(struct http_call *call) {
    struct errinfo ei;
    if (!call->cancelled && call->result == ERR_OK)
        tell_status(call);
    if (!call->cancelled && call->cb.on_done) {
        describe(call, &ei);
        call->cancelled = true; /* cancelling from on_done changes nothing */
        call->cb.on_done(call->ctx, call->result, call->status, &ei);
    }
    call_free(call);
}

static enum err error_of(CURLcode code) {
    switch (code) {
    case CURLE_OK:
        return ERR_OK;
    case CURLE_OPERATION_TIMEDOUT:
        return ERR_TIMEOUT;
    case CURLE_OUT_OF_MEMORY:
        return ERR_NOMEM;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return ERR_UNAVAILABLE;
    default:
        return ERR_UPSTREAM;
    }
}

/* ---- driving libcurl ---- */

static void collect_done(struct http_client *c) {
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(c->multi, &left))) {
        if (m->msg != CURLMSG_DONE)
            continue;
        char *private = NULL;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &private);
        struct http_call *call = (struct http_call *)(void *)private;
        call->nameless = m->data.result == CURLE_COULDNT_RESOLVE_HOST;
        call_finish(call, error_of(m->data.result));
        settle_later(call);
    }
}

/* Adds, ends or frees what is due. Callbacks may start and cancel calls meanwhile; those join the
 * end of the list. */
static void settle(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct http_client *c = arg;
    while (c->due) {
        struct http_call *call = c->due;
        c->due = call->due_next;
        if (!c->due)
            c->due_end = &c->due;
        call->due = false;
        if (!call->added && !call->cancelled && !call->finished) {
            call->added = curl_multi_add_handle(c->multi, call->easy) == CURLM_OK;
            if (call->added)
                continue;
            call_finish(call, ERR_NOMEM);
        }
        if (call->cancelled)
            call_free(call);
        else
            call_end(call);
    }
}

static void give_gathered(struct http_client *c) {
    struct http_call *call = c->gathering;
    c->gathering = NULL;
    if (!call)
        return;
    if (!call->cancelled && !call->cb.on_data(call->ctx, buf_str(&c->gathered)) &&
        !call->cancelled) {
        call_finish(call, ERR_CANCELLED);
        settle_later(call);
    }
    buf_clear(&c->gathered);
}

static void act(struct http_client *c, curl_socket_t fd, int what) {
    int running;
    curl_multi_socket_action(c->multi, fd, what, &running);
    give_gathered(c);
    collect_done(c);
}

/* Reads, or writes. NULL: libcurl has let go of the socket meanwhile. */
static struct sock *act_on(struct sock *s, int what) {
    struct http_client *c = s->client;
    c->reading = s;
    act(c, s->fd, what);
    s = c->reading;
    c->reading = NULL;
    return s;
}

/* ---- paced reading ---- */

static void set_pace_timer(struct http_client *c, int64_t now) {
    int64_t left = c->queue->due_ns - now;
    struct timeval tv = {.tv_usec = left > 0 ? (suseconds_t)(left / 1000) % 1000000 : 0};
    event_add(&c->pace_timer, &tv);
}

static void enqueue(struct sock *s, int64_t now) {
    struct http_client *c = s->client;
    event_del(&s->event);
    s->due_ns = now + c->pace_ms * 1000000ll;
    s->next = NULL;
    s->prev = c->queue_last;
    *(c->queue ? &c->queue_last->next : &c->queue) = s;
    c->queue_last = s;
    if (c->queue == s)
        set_pace_timer(c, now);
}

static void dequeue(struct sock *s) {
    struct http_client *c = s->client;
    if (!s->due_ns)
        return;
    s->due_ns = 0;
    *(s->prev ? &s->prev->next : &c->queue) = s->next;
    *(s->next ? &s->next->prev : &c->queue_last) = s->prev;
}

static bool is_paced(const struct sock *s) {
    return s->client->pace_ms && s->call && s->call->paced && s->wants == CURL_POLL_IN;
}

static void on_socket_event(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    struct sock *s = arg;
    size_t before = s->call ? s->call->received : 0;
    s = act_on(s,
               (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0));
    if (!s || !is_paced(s) || s->call->received == before)
        return;
    int64_t now = s->call->last_ns;
    bool fast = now - s->came_ns < s->client->pace_ms * 1000000ll;
    s->came_ns = now;
    if (fast)
        enqueue(s, now);
}

/* Off the queue, and read. */
static void read_queued(struct sock *s) {
    size_t before = s->call ? s->call->received : 0;
    dequeue(s);
    s = act_on(s, CURL_CSELECT_IN);
    if (!s)
        return;
    bool came = s->call && s->call->received != before;
    if (came)
        s->came_ns = s->call->last_ns;
    if (came && is_paced(s))
        enqueue(s, s->came_ns);
    else
        event_add(&s->event, NULL);
}

static void on_pace(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct http_client *c = arg;
    int64_t now = clock_mono_ns();
    for (int n = 0; n < PACE_READS && c->queue && c->queue->due_ns <= now + PACE_SLACK_NS; n++)
        read_queued(c->queue);
    if (c->queue)
        set_pace_timer(c, clock_mono_ns());
}

void http_client_pace(struct http_client *c, int ms) {
    c->pace_ms = ms < 0 ? 0 : ms < PACE_MAX_MS ? ms : PACE_MAX_MS;
}

void http_call_pace(struct http_call *call) {
    call->paced = call->plain;
}

/* ---- libcurl's sockets and times ---- */

static void on_timer(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void sock_free(struct sock *s) {
    struct http_client *c = s->client;
    if (c->reading == s)
        c->reading = NULL;
    if (s->call)
        s->call->sock = NULL;
    dequeue(s);
    event_del(&s->event);
    free(s);
}

/* Which call's it is now: a kept connection has one after the other. */
static void set_call(struct sock *s, CURL *easy) {
    char *private = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
    struct http_call *call = (struct http_call *)(void *)private;
    if (s->call)
        s->call->sock = NULL;
    if (call && call->sock)
        call->sock->call = NULL;
    s->call = call;
    if (call)
        call->sock = s;
}

static int socket_cb(CURL *easy, curl_socket_t fd, int what, void *user, void *socket_user) {
    struct http_client *c = user;
    struct sock *s = socket_user;
    if (what == CURL_POLL_REMOVE) {
        if (s)
            sock_free(s);
        curl_multi_assign(c->multi, fd, NULL);
        return 0;
    }
    short kind = (short)(EV_PERSIST | (what & CURL_POLL_IN ? EV_READ : 0) |
                         (what & CURL_POLL_OUT ? EV_WRITE : 0));
    if (s) {
        dequeue(s);
        event_del(&s->event);
    } else if (!(s = calloc(1, sizeof *s))) {
        return -1;
    }
    s->client = c;
    s->fd = fd;
    s->wants = what;
    set_call(s, easy);
    event_assign(&s->event, loop_base(c->loop), fd, kind, on_socket_event, s);
    curl_multi_assign(c->multi, fd, s);
    return event_add(&s->event, NULL) == 0 ? 0 : -1;
}

static int timer_cb(CURLM *multi, long ms, void *user) {
    (void)multi;
    struct http_client *c = user;
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    if (ms < 0)
        event_del(&c->timer);
    else
        event_add(&c->timer, &tv);
    return 0;
}

/* ---- what libcurl reads ---- */

/* False: there is no memory for them. */
static bool gather(struct http_call *call, struct str bytes) {
    struct http_client *c = call->client;
    if (bytes.n > GATHER_MAX - c->gathered.n)
        give_gathered(c);
    if (call->cancelled || call->finished)
        return false;
    c->gathering = call;
    buf_adds(&c->gathered, bytes);
    if (buf_err(&c->gathered))
        call_finish(call, ERR_NOMEM);
    return !buf_err(&c->gathered);
}

static size_t on_body(char *p, size_t size, size_t n, void *user) {
    (void)size; /* 1 by definition */
    struct http_call *call = user;
    if (call->cancelled || call->finished)
        return 0;
    call->last_ns = clock_mono_ns();
    tell_status(call);
    call->received += n;
    if (call->max_received && call->received > call->max_received) {
        call_finish(call, ERR_TOO_LARGE);
        return 0;
    }
    if (call->cancelled)
        return 0;
    if (!call->cb.on_data)
        return n;
    if (!call->client->gathering || call->client->gathering == call)
        return gather(call, (struct str){p, n}) ? n : 0;
    if (!call->cb.on_data(call->ctx, (struct str){p, n})) {
        call_finish(call, ERR_CANCELLED);
        return 0;
    }
    return call->cancelled ? 0 : n;
}

/* Retry-After is seconds or a date (RFC 9110, section 10.2.3); retry-after-ms is OpenAI's finer
 * form and wins. */
static void read_retry(struct http_call *call, struct str name, struct str value) {
    uint64_t n;
    if (str_eq_nocase(name, STR("retry-after-ms"))) {
        if (str_to_u64(value, &n) && n < 86400000)
            call->retry_after_ms = (int64_t)n;
        return;
    }
    if (call->retry_after_ms >= 0)
        return;
    if (str_to_u64(value, &n)) {
        call->retry_after_ms = n < 86400 ? (int64_t)n * 1000 : 86400000;
        return;
    }
    char date[64];
    snprintf(date, sizeof date, "%.*s", STR_ARG(value));
    int64_t at = (int64_t)curl_getdate(date, NULL);
    if (at > 0)
        call->retry_after_ms = at * 1000 > clock_wall_ms() ? at * 1000 - clock_wall_ms() : 0;
}

static size_t on_header(char *p, size_t size, size_t n, void *user) {
    (void)size;
    struct http_call *call = user;
    struct str line = str_trim((struct str){p, n});
    call->last_ns = clock_mono_ns();
    if (str_starts(line, STR("HTTP/"))) {
        long status = 0;
        curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
        call->status =
            status >= 200 ? (int)status : 0; /* 100 Continue and the like are no answer */
        call->content_type[0] = 0;
        call->retry_after_ms = -1;
        return n;
    }
    if (line.n == 0) {
        tell_status(call);
        return call->cancelled ? 0 : n;
    }
    struct str value = line;
    struct str name = str_cut(&value, ':');
    value = str_trim(value);
    if (str_eq_nocase(name, STR("content-type")))
        snprintf(call->content_type, sizeof call->content_type, "%.*s", STR_ARG(value));
    else if (str_eq_nocase(name, STR("retry-after")) || str_eq_nocase(name, STR("retry-after-ms")))
        read_retry(call, name, value);
    return n;
}

/* Looks only as often as it must: bytes that come just note their time. */
static void on_idle(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct http_call *call = arg;
    int64_t left = call->last_ns + call->idle_ns - clock_mono_ns();
    if (left > 0) {
        struct timeval tv = {.tv_sec = left / 1000000000, .tv_usec = left % 1000000000 / 1000 + 1};
        event_add(&call->idle_event, &tv);
        return;
    }
    if (!call->finished)
        snprintf(call->error, sizeof call->error, "nothing came for %lld ms",
                 (long long)(call->idle_ns / 1000000));
    call_finish(call, ERR_TIMEOUT);
    settle_later(call);
}

/* ---- starting ---- */

static bool is_loopback(const char *host) {
    return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
           strcmp(host, "[::1]") == 0;
}

/* Takes the host for messages and checks the scheme before libcurl sees the URL. */
static enum err read_url(struct http_call *call, const char *url, struct errinfo *ei) {
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL;
    enum err e = ERR_OK;
    if (!u)
        return err_set(ei, ERR_NOMEM, NULL);
    if (!url || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK)
        e = err_set(ei, ERR_INVALID, "this is not a URL of a model server or source");
    else if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
        e = err_set(ei, ERR_INVALID, "a URL must begin with http:// or https://");
    else
        snprintf(call->host, sizeof call->host, "%s", host);
    call->plain = !e && strcmp(scheme, "http") == 0;
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(u);
    return e;
}

static enum err add_header(struct http_call *call, const char *line) {
    struct curl_slist *l = curl_slist_append(call->headers, line);
    if (!l)
        return ERR_NOMEM;
    call->headers = l;
    return ERR_OK;
}

static enum err set_headers(struct http_call *call, const struct http_call_spec *spec) {
    bool has_type = false;
    enum err e = add_header(call, "Expect:");
    for (const char *const *h = spec->headers; !e && h && *h; h++) {
        struct str line = str_from(*h);
        if (line.n != strcspn(*h, "\r\n"))
            return ERR_INVALID; /* one line each: a value must not bring headers of its own */
        has_type = has_type || str_eq_nocase(str_sub(line, 0, 13), STR("content-type:"));
        e = add_header(call, *h);
    }
    if (!e && !has_type)
        e = add_header(call, "Content-Type:"); /* else libcurl calls a body a form */
    return e;
}

static enum err set_method(CURL *easy, const struct http_call_spec *spec) {
    bool post = strcmp(spec->method, "POST") == 0;
    if (strcmp(spec->method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        return ERR_OK;
    }
    if (!post && strcmp(spec->method, "GET") != 0 &&
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, spec->method) != CURLE_OK)
        return ERR_NOMEM;
    if (!post && !spec->body.n)
        return ERR_OK;
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)spec->body.n);
    const char *body = spec->body.n ? spec->body.p : "";
    return curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, body) == CURLE_OK ? ERR_OK : ERR_NOMEM;
}

static enum err set_options(struct http_call *call, const struct http_call_spec *spec) {
    CURL *easy = call->easy;
    long connect_ms = spec->connect_timeout_ms ? spec->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    if (set_method(easy, spec))
        return ERR_NOMEM;
    if (spec->unix_socket)
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, spec->unix_socket);
    if (spec->unix_socket || is_loopback(call->host))
        curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, RECEIVE_BUFFER);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)spec->total_timeout_ms);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->error);
    return curl_easy_setopt(easy, CURLOPT_URL, spec->url) == CURLE_OK ? ERR_OK : ERR_NOMEM;
}

static enum err prepare(struct http_call *call, const struct http_call_spec *spec,
                        struct errinfo *ei) {
    struct http_client *c = call->client;
    enum err e = read_url(call, spec->url, ei);
    if (e)
        return e;
    call->easy = c->npool ? c->pool[--c->npool] : curl_easy_init();
    e = call->easy ? set_headers(call, spec) : ERR_NOMEM;
    if (!e)
        e = set_options(call, spec);
    if (e)
        err_set(ei, e, e == ERR_INVALID ? "a header holds a line break" : NULL);
    return e;
}

enum err http_call_start(struct http_client *c, const struct http_call_spec *spec,
                         const struct http_call_callbacks *cb, void *ctx, struct http_call **ret,
                         struct errinfo *ei) {
    struct http_call *call = calloc(1, sizeof *call);
    if (!call)
        return err_set(ei, ERR_NOMEM, NULL);
    call->client = c;
    call->cb = *cb;
    call->ctx = ctx;
    call->retry_after_ms = -1;
    call->max_received = spec->max_response_bytes;
    call->idle_ns = (int64_t)spec->idle_timeout_ms * 1000000;
    call->last_ns = clock_mono_ns();
    event_assign(&call->idle_event, loop_base(c->loop), -1, 0, on_idle, call);
    enum err e = prepare(call, spec, ei);
    if (e) {
        call_free(call);
        return e;
    }
    call->next = c->calls;
    if (c->calls)
        c->calls->prev = call;
    c->calls = call;
    if (spec->idle_timeout_ms) {
        struct timeval tv = {.tv_sec = spec->idle_timeout_ms / 1000,
                             .tv_usec = spec->idle_timeout_ms % 1000 * 1000};
        event_add(&call->idle_event, &tv);
    }
    settle_later(call);
    if (ret)
        *ret = call;
    return ERR_OK;
}

void http_call_cancel(struct http_call *call) {
    if (call->cancelled)
        return;
    call->cancelled = true;
    settle_later(call);
}

/* ---- the client ---- */

enum err http_client_new(struct loop *l, struct http_client **ret, struct errinfo *ei) {
    struct http_client *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(ei, ERR_NOMEM, NULL);
    c->loop = l;
    c->due_end = &c->due;
    buf_init(&c->gathered, GATHER_MAX);
    c->multi = curl_multi_init();
    if (!c->multi) {
        free(c);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    event_assign(&c->timer, loop_base(l), -1, 0, on_timer, c);
    event_assign(&c->settle_event, loop_base(l), -1, 0, settle, c);
    event_assign(&c->pace_timer, loop_base(l), -1, 0, on_pace, c);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, socket_cb);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, timer_cb);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, MAX_KEPT_CONNECTIONS);
    *ret = c;
    return ERR_OK;
}

void http_client_free(struct http_client *c) {
    if (!c)
        return;
    while (c->calls)
        call_free(c->calls);
    for (int i = 0; i < c->npool; i++)
        curl_easy_cleanup(c->pool[i]);
    curl_multi_cleanup(c->multi);
    event_del(&c->timer);
    event_del(&c->settle_event);
    event_del(&c->pace_timer);
    buf_deinit(&c->gathered);
    free(c);
}
