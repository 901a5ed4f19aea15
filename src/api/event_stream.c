/* See event_stream.h. */
#include "api/event_stream.h"

#include "api/handlers.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "net/sse.h"

#define PING_MS 15000
#define PING_NS (PING_MS * 1000000ll)

void event_stream_init(struct event_stream *s, struct call *c, size_t cap, void (*gone)(void *ctx),
                       void *ctx) {
    *s = (struct event_stream){.c = c, .gone = gone, .ctx = ctx};
    buf_init(&s->out, cap);
}

void event_stream_deinit(struct event_stream *s) {
    timer_free(s->ping);
    s->ping = NULL;
    buf_deinit(&s->out);
}

bool event_stream_began(const struct event_stream *s) {
    return s->r != NULL;
}

static void on_client_gone(void *ctx) {
    struct event_stream *s = ctx;
    s->gone(s->ctx);
}

static void on_ping(void *ctx) {
    struct event_stream *s = ctx;
    sse_write_comment(&s->out, "ping");
    event_stream_send(s);
}

/* After a silence; not set anew for each token. */
static void ping_later(struct event_stream *s) {
    int64_t now = clock_mono_ns();
    if (!s->ping || (s->ping_ns && now - s->ping_ns < PING_NS / 2))
        return;
    s->ping_ns = now;
    timer_start(s->ping, PING_MS, true);
}

/* The request passes from the guard to this stream. */
static bool begin(struct event_stream *s) {
    struct call *c = s->c;
    struct http_request *r = api_call_request(c);
    if (!r)
        return false;
    http_guard_free(c->guard);
    c->guard = NULL;
    s->r = r;
    http_on_close(r, on_client_gone, s);
    respond_api_headers(r);
    http_set_header(r, "X-Accel-Buffering", "no"); /* nginx hands every event on at once */
    http_stream_begin(r, 200, "text/event-stream");
    s->ping = timer_new(c->loop, on_ping, s);
    return true;
}

static bool write_out(struct event_stream *s) {
    enum err e = buf_err(&s->out);
    if (e)
        http_stream_abort(s->r);
    else if (s->out.n)
        e = http_stream_write(s->r, buf_str(&s->out));
    buf_clear(&s->out);
    if (e)
        metric_add(M_STREAMS_DROPPED, 1);
    return !e;
}

bool event_stream_send(struct event_stream *s) {
    if ((!s->r && !begin(s)) || !write_out(s)) {
        s->gone(s->ctx);
        return false;
    }
    ping_later(s);
    return true;
}

void event_stream_end(struct event_stream *s) {
    http_stream_end(s->r);
    s->gone(s->ctx);
}

void event_stream_abort(struct event_stream *s) {
    http_stream_abort(s->r);
    s->gone(s->ctx);
}
