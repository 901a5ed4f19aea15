/* The call: one request to the model server, tried again while the server is not there yet, watched
 * for silence, ended in one place. Kinds (chat.c, count.c, forward.c, models.c) say what an answer
 * means. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "upstream/upstream_internal.h"

#define RETRY_FIRST_MS 50
#define RETRY_MAX_MS   1000
#define FINISHING_MS   500
#define NAME_TRIES     3 /* a host's name that is not known is most likely misspelt */
#define MS             1000000ll

void call_init(struct upstream_call *call, struct upstream_client *c,
               const struct call_kind *kind) {
    call->kind = kind;
    call->client = c;
    call->retry_after_ms = -1;
    buf_init(&call->body, UPSTREAM_REQUEST_MAX);
    buf_init(&call->answer, kind->whole ? UPSTREAM_BODY_MAX : UPSTREAM_ERROR_MAX);
    call->next = c->calls;
    if (c->calls)
        c->calls->prev = call;
    c->calls = call;
}

void call_free(struct upstream_call *call) {
    if (!call)
        return;
    if (call->http)
        http_call_cancel(call->http);
    timer_free(call->timer);
    if (call->prev)
        call->prev->next = call->next;
    else if (call->client->calls == call)
        call->client->calls = call->next;
    if (call->next)
        call->next->prev = call->prev;
    if (call->kind->on_free)
        call->kind->on_free(call);
    buf_deinit(&call->body);
    buf_deinit(&call->answer);
    free(call->url);
    free(call);
}

void upstream_cancel(struct upstream_call *call) {
    if (!call)
        return;
    if (call->inside)
        call->cancelled = true; /* who called back frees it */
    else
        call_free(call);
}

/* Whether an end says something of the server's health: a refusal of this request does not (any
 * user can bring one about), one of our key does. */
static bool tells_health(const struct upstream_call *call, enum err e) {
    bool refused =
        call->status >= 400 && call->status < 500 && call->status != 401 && call->status != 403;
    if (e && refused && e != ERR_NO_MODEL)
        return call->kind->judges;
    return e != ERR_CONTEXT && e != ERR_CANCELLED && e != ERR_NOMEM && e != ERR_OVERLOADED;
}

static void end(struct upstream_call *call, enum err e, const struct errinfo *ei) {
    bool health = tells_health(call, e);
    if (call->http)
        http_call_cancel(call->http);
    call->http = NULL;
    timer_stop(call->timer);
    call->waiting = false;
    if (e)
        metric_add(M_UPSTREAM_ERRORS, 1);
    if (health && !call->cancelled)
        upstream_note(call->client->u, e, ei);
    call->inside = true;
    bool again = !call->cancelled && call->kind->on_end(call, e, ei);
    call->inside = false;
    if (!again || call->cancelled)
        call_free(call);
}

static enum err start(struct upstream_call *call, struct errinfo *ei);

static void on_timer(void *arg) {
    struct upstream_call *call = arg;
    struct errinfo ei;
    if (call->waiting) {
        call->waiting = false;
        enum err e = start(call, &ei);
        if (e)
            end(call, e, &ei);
        return;
    }
    if (call->finishing) {
        end(call, ERR_OK, NULL);
        return;
    }
    int64_t left = call->last_ns + call->silence_ns - clock_mono_ns();
    if (left > 0) {
        timer_start(call->timer, left / MS + 1, false);
        return;
    }
    err_set(&ei, ERR_TIMEOUT, "the model server was silent for %lld ms",
            (long long)(call->silence_ns / MS));
    call->broke = call->answering;
    end(call, ERR_TIMEOUT, &ei);
}

/* ---- the next try ---- */

static bool wait_and_retry(struct upstream_call *call) {
    int64_t now = clock_mono_ns();
    if (!call->patient || call->answering)
        return false;
    if (call->give_up_ns == 0)
        call->give_up_ns = now + call->client->u->wait_ms * MS;
    int shift = call->tries < 5 ? call->tries : 5;
    int64_t ms = (int64_t)RETRY_FIRST_MS << shift;
    ms = ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
    if (now + ms * MS > call->give_up_ns)
        return false;
    call->tries++;
    call->waiting = true;
    timer_start(call->timer, ms, false);
    if (call->kind->on_wait) {
        call->inside = true;
        call->kind->on_wait(call);
        call->inside = false;
        if (call->cancelled)
            call_free(call);
    }
    return true;
}

/* ---- what the HTTP client tells ---- */

static void on_status(void *ctx, int status, struct str content_type, int64_t retry_after_ms) {
    struct upstream_call *call = ctx;
    snprintf(call->content_type, sizeof call->content_type, "%.*s", STR_ARG(content_type));
    call->status = status;
    call->retry_after_ms = retry_after_ms;
    call->last_ns = clock_mono_ns();
}

static bool on_data(void *ctx, struct str bytes) {
    struct upstream_call *call = ctx;
    struct errinfo ei;
    call->last_ns = clock_mono_ns();
    bool good = call->status >= 200 && call->status <= 299;
    if (!good || call->kind->whole) {
        buf_adds(&call->answer,
                 bytes); /* a refusal that is too long is cut: its start says enough */
        return good ? buf_err(&call->answer) == ERR_OK : true;
    }
    if (!call->answering) {
        call->answering = true;
        call->silence_ns = call->client->u->idle_ms * MS;
        timer_start(call->timer, call->client->u->idle_ms,
                    false); /* the first byte had more time */
    }
    call->inside = true;
    enum err e = call->kind->on_data(call, bytes, &ei);
    call->inside = false;
    if (call->cancelled) {
        call_free(call);
        return false;
    }
    if (e)
        end(call, e, &ei);
    return e == ERR_OK;
}

static void on_done(void *ctx, enum err e, int status, const struct errinfo *http) {
    struct upstream_call *call = ctx;
    struct errinfo ei;
    call->http = NULL;
    bool absent = status == 0 && (e == ERR_UNAVAILABLE || e == ERR_UPSTREAM || e == ERR_IO);
    bool loading = e == ERR_OK && status == 503 && upstream_is_loading(buf_str(&call->answer));
    bool nameless = absent && strcmp(http->param, "host") == 0 && call->tries >= NAME_TRIES;
    if ((absent || loading) && !nameless && wait_and_retry(call))
        return;
    call->broke = call->answering &&
                  (e == ERR_IO || e == ERR_UPSTREAM || e == ERR_UNAVAILABLE || e == ERR_TIMEOUT);
    if (call->finishing)
        e = ERR_OK;
    else if (e == ERR_OK && (status < 200 || status > 299))
        e = upstream_refusal(status, buf_str(&call->answer), call->retry_after_ms, &ei);
    else if (absent)
        e = err_set(&ei, ERR_UNAVAILABLE, "the model server cannot be reached (%s)", http->message);
    else if (e == ERR_CANCELLED && buf_err(&call->answer) == ERR_NOMEM)
        e = err_set(&ei, ERR_NOMEM, NULL);
    else if (e == ERR_TIMEOUT)
        err_set(&ei, e, "the model server took too long (%s)", http->message);
    else if (e == ERR_TOO_LARGE || e == ERR_CANCELLED)
        e = err_set(&ei, ERR_UPSTREAM, "the model server's answer is too large");
    else if (e)
        e = err_set(&ei, ERR_UPSTREAM, "the connection to the model server broke (%s)",
                    http->message);
    end(call, e, &ei);
}

/* ---- sending ---- */

static enum err start(struct upstream_call *call, struct errinfo *ei) {
    static const struct http_call_callbacks callbacks = {
        .on_status = on_status, .on_data = on_data, .on_done = on_done};
    struct upstream *u = call->client->u;
    const char *headers[4] = {"Accept: text/event-stream, application/json"};
    size_t n = 1;
    if (call->body.n)
        headers[n++] = "Content-Type: application/json";
    if (u->authorization)
        headers[n++] = u->authorization;
    struct http_call_spec spec = {
        .method = call->method,
        .url = call->url,
        .unix_socket = u->unix_socket,
        .headers = headers,
        .body = buf_str(&call->body),
        .max_response_bytes = UPSTREAM_STREAM_MAX,
    };
    buf_clear(&call->answer);
    call->status = 0;
    call->broke = false;
    call->last_ns = clock_mono_ns();
    call->silence_ns = u->first_byte_ms * MS;
    enum err e = http_call_start(call->client->http, &spec, &callbacks, call, &call->http, ei);
    if (!e)
        timer_start(call->timer, u->first_byte_ms, false);
    metric_add(M_UPSTREAM_REQUESTS, 1);
    return e;
}

enum err call_send(struct upstream_call *call, const char *method, const char *base,
                   const char *path, struct errinfo *ei) {
    struct buf url;
    if (buf_err(&call->body))
        return err_set(ei, buf_err(&call->body), "the request to the model server is too large");
    if (!call->timer)
        call->timer = timer_new(call->client->loop, on_timer, call);
    buf_init(&url, 8192);
    buf_addz(&url, base);
    buf_addz(&url, path);
    char *text = buf_take(&url, NULL);
    if (!call->timer || !text) {
        free(text);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    free(call->url);
    call->url = text;
    call->method = method;
    call->answering = false;
    return start(call, ei);
}

void call_finishing(struct upstream_call *call) {
    if (call->finishing)
        return;
    call->finishing = true;
    timer_start(call->timer, FINISHING_MS, false);
}
