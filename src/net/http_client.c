/* HTTP client: the life of a call, and paced reading. How bytes get there and back is
 * http_curl.c's and http_plain.c's. See http_client_internal.h. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "net/http_client_internal.h"
#include "net/net_internal.h"

#define PACE_SLACK_NS 2000000ll /* who is due so soon is read at once with the others */
#define PACE_READS    128       /* by the clock, before other events have their turn */

/* For a call that is to be added, was cancelled or has its result. */
void call_settle_later(struct http_call *call) {
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

static void call_free(struct http_call *call) {
    struct http_client *c = call->client;
    if (call->local)
        plain_end(call);
    if (call->curl)
        curl_end(call);
    event_del(&call->idle_event);
    if (call->prev)
        call->prev->next = call->next;
    else if (c->calls == call)
        c->calls = call->next;
    if (call->next)
        call->next->prev = call->prev;
    free(call);
}

void call_tell_status(struct http_call *call) {
    if (call->told || call->cancelled || call->status == 0)
        return;
    call->told = true;
    if (call->cb.on_status)
        call->cb.on_status(call->ctx, call->status, str_from(call->content_type),
                           call->retry_after_ms);
}

void call_finish(struct http_call *call, enum err e) {
    if (call->finished)
        return;
    call->finished = true;
    call->result = e;
}

/* The sentence for people: the host, and what is known of the fault. URLs may hold keys and stay
 * out. */
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

/* Calls on_done and frees. */
static void call_end(struct http_call *call) {
    struct errinfo ei;
    if (!call->cancelled && call->result == ERR_OK)
        call_tell_status(call);
    if (!call->cancelled && call->cb.on_done) {
        describe(call, &ei);
        call->cancelled = true; /* cancelling from on_done changes nothing */
        call->cb.on_done(call->ctx, call->result, call->status, &ei);
    }
    call_free(call);
}

/* False: it could not be begun. */
static bool begin(struct http_call *call) {
    call->added = true;
    if (call->local) {
        plain_begin(call);
        return true;
    }
    enum err e = curl_begin(call);
    call->added = !e;
    if (e)
        call_finish(call, e);
    return !e;
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
        if (!call->added && !call->cancelled && !call->finished && begin(call))
            continue;
        if (call->cancelled)
            call_free(call);
        else
            call_end(call);
    }
}

/* ---- what is read ---- */

void client_give_gathered(struct http_client *c) {
    struct http_call *call = c->gathering;
    c->gathering = NULL;
    if (!call)
        return;
    if (!call->cancelled && call->cb.on_data &&
        !call->cb.on_data(call->ctx, buf_str(&c->gathered)) && !call->cancelled) {
        call_finish(call, ERR_CANCELLED);
        call_settle_later(call);
    }
    buf_clear(&c->gathered);
}

bool call_gather(struct http_call *call, struct str bytes) {
    struct http_client *c = call->client;
    if (c->gathered.n + bytes.n > GATHER_MAX)
        client_give_gathered(c);
    if (call->cancelled || call->finished)
        return false;
    c->gathering = call;
    buf_adds(&c->gathered, bytes);
    if (buf_err(&c->gathered))
        call_finish(call, ERR_NOMEM);
    return !buf_err(&c->gathered);
}

bool call_count(struct http_call *call, size_t n) {
    call->received += n;
    if (!call->max_received || call->received <= call->max_received)
        return true;
    call_finish(call, ERR_TOO_LARGE);
    return false;
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

void call_take_field(struct http_call *call, struct str name, struct str value) {
    if (str_eq_nocase(name, STR("content-type")))
        snprintf(call->content_type, sizeof call->content_type, "%.*s", STR_ARG(value));
    else if (str_eq_nocase(name, STR("retry-after")) || str_eq_nocase(name, STR("retry-after-ms")))
        read_retry(call, name, value);
}

/* ---- paced reading ---- */

static void dequeue(struct sock *s) {
    struct http_client *c = s->client;
    if (!s->due_ns)
        return;
    s->due_ns = 0;
    *(s->prev ? &s->prev->next : &c->queue) = s->next;
    *(s->next ? &s->next->prev : &c->queue_last) = s->prev;
}

/* Without memory for the clock, sockets are read as bytes come. */
static void set_pace_timer(struct http_client *c, int64_t now) {
    int64_t left = c->queue->due_ns - now;
    struct timeval tv = {.tv_usec = left > 0 ? (suseconds_t)(left / 1000) % 1000000 : 0};
    while (c->queue && event_add(&c->pace_timer, &tv) != 0) {
        struct sock *s = c->queue;
        dequeue(s);
        event_add(&s->event, NULL);
    }
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

static bool is_paced(const struct sock *s) {
    return s->client->pace_ms && s->call && s->call->paced && s->reads;
}

static void on_socket_event(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    struct sock *s = arg;
    struct http_call *call = s->call;
    size_t before = call ? call->received : 0;
    s = s->act(s, what);
    if (!s || s->call != call || !is_paced(s) || call->received == before)
        return;
    int64_t now = call->last_ns;
    bool fast = now - s->came_ns < s->client->pace_ms * 1000000ll;
    s->came_ns = now;
    if (fast)
        enqueue(s, now);
}

/* Off the queue, and read. */
static void read_queued(struct sock *s) {
    struct http_call *call = s->call;
    size_t before = call ? call->received : 0;
    dequeue(s);
    s = s->act(s, EV_READ);
    if (!s)
        return;
    bool came = call && s->call == call && call->received != before;
    if (came)
        s->came_ns = call->last_ns;
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

bool sock_watch(struct sock *s, short what) {
    dequeue(s);
    if (event_initialized(&s->event))
        event_del(&s->event);
    s->reads = what == EV_READ;
    event_assign(&s->event, loop_base(s->client->loop), s->fd, (short)(what | EV_PERSIST),
                 on_socket_event, s);
    return event_add(&s->event, NULL) == 0;
}

void sock_forget(struct sock *s) {
    if (s->call)
        s->call->sock = NULL;
    dequeue(s);
    if (event_initialized(&s->event))
        event_del(&s->event);
}

/* ---- starting ---- */

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
    call_settle_later(call);
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
    const struct timeval idle = {.tv_sec = spec->idle_timeout_ms / 1000,
                                 .tv_usec = spec->idle_timeout_ms % 1000 * 1000};
    enum err e = plain_takes(spec) ? plain_prepare(call, spec, ei) : curl_prepare(call, spec, ei);
    if (!e && spec->idle_timeout_ms && event_add(&call->idle_event, &idle) != 0)
        e = err_set(ei, ERR_NOMEM, NULL);
    if (e) {
        call_free(call);
        return e;
    }
    call->next = c->calls;
    if (c->calls)
        c->calls->prev = call;
    c->calls = call;
    call_settle_later(call);
    if (ret)
        *ret = call;
    return ERR_OK;
}

void http_call_cancel(struct http_call *call) {
    if (call->cancelled)
        return;
    call->cancelled = true;
    call_settle_later(call);
}

/* ---- the client ---- */

enum err http_client_new(struct loop *l, struct http_client **ret, struct errinfo *ei) {
    struct http_client *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(ei, ERR_NOMEM, NULL);
    c->loop = l;
    c->due_end = &c->due;
    buf_init(&c->gathered, SIZE_MAX / 4); /* given away from GATHER_MAX on */
    event_assign(&c->settle_event, loop_base(l), -1, 0, settle, c);
    event_assign(&c->pace_timer, loop_base(l), -1, 0, on_pace, c);
    enum err e = curl_way_new(c, ei);
    if (!e)
        e = plain_way_new(c, ei);
    if (e) {
        http_client_free(c);
        return e;
    }
    *ret = c;
    return ERR_OK;
}

void http_client_free(struct http_client *c) {
    if (!c)
        return;
    while (c->calls)
        call_free(c->calls);
    plain_way_free(c->local);
    curl_way_free(c->curl);
    event_del(&c->settle_event);
    event_del(&c->pace_timer);
    buf_deinit(&c->gathered);
    free(c);
}
