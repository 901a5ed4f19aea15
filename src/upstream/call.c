/* The call: one request to a server of the pool, tried again (there or at another) while nothing
 * was answered, watched for silence, ended in one place. Kinds (chat.c, count.c, embed.c,
 * forward.c, models.c) say what an answer means. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "upstream/upstream_internal.h"

#define RETRY_FIRST_MS 50
#define RETRY_MAX_MS   1000
#define FINISHING_MS   500
#define NAME_TRIES     3 /* a host's name that is not known is most likely misspelt */
#define KEY_MAX        4096
#define MS             1000000ll

void call_init(struct upstream_call *call, struct upstream_client *c,
               const struct call_kind *kind) {
    call->kind = kind;
    call->client = c;
    call->retry_after_ms = -1;
    call->legs[0].call = call->legs[1].call = call;
    buf_init(&call->body, UPSTREAM_REQUEST_MAX);
    buf_init(&call->answer, kind->whole ? UPSTREAM_BODY_MAX : UPSTREAM_ERROR_MAX);
    call->next = c->calls;
    if (c->calls)
        c->calls->prev = call;
    c->calls = call;
}

/* A leg's request is over, or is ended by this. */
static void leg_end(struct leg *l, bool health, bool failed) {
    if (l->http)
        http_call_cancel(l->http);
    l->http = NULL;
    if (l->server)
        pool_ended(l->server, health, failed, l->first_byte_ns);
    l->server = NULL;
}

void call_free(struct upstream_call *call) {
    if (!call)
        return;
    for (int i = 0; i < 2; i++)
        leg_end(&call->legs[i], false, false);
    timer_free(call->timer);
    timer_free(call->hedge);
    reading_end(call);
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
    free(call->model);
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
    bool failed = e && e != ERR_NO_MODEL && e != ERR_NOT_FOUND;
    struct server *v = call->legs[call->leg].server;
    leg_end(&call->legs[call->leg], health, failed);
    leg_end(&call->legs[!call->leg], false, false);
    timer_stop(call->timer);
    if (call->hedge)
        timer_stop(call->hedge);
    call->waiting = false;
    if (e)
        metric_add(M_UPSTREAM_ERRORS, 1);
    if (health && !call->cancelled && (v || call->server))
        server_note(v ? v : call->server, e, ei);
    call->inside = true;
    bool again = !call->cancelled && call->kind->on_end(call, e, ei);
    call->inside = false;
    if (!again || call->cancelled)
        call_free(call);
}

/* ---- choosing a server ---- */

enum err call_begin(struct upstream_call *call, struct errinfo *ei) {
    if (!call->server)
        call->server = pool_pick(call->client->u, call);
    if (!call->server) {
        err_set(ei, ERR_UNAVAILABLE, "no model server can take the request just now");
        if (ei)
            ei->retry_after_ms = 1000;
        return ERR_UNAVAILABLE;
    }
    return call->kind->send(call, ei);
}

/* To another server, if there is one. */
static bool fail_over(struct upstream_call *call) {
    struct upstream *u = call->client->u;
    struct server *before = call->server;
    if (u->n < 2 || !call->kind->send || call->answering || call->failovers >= u->n)
        return false;
    call->tried |= 1u << before->index;
    call->server = pool_pick(u, call);
    if (call->server && call->kind->send(call, NULL) == ERR_OK) {
        call->failovers++;
        metric_add(M_UPSTREAM_FAILOVERS, 1);
        return true;
    }
    call->server = before;
    return false;
}

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

static enum err start(struct upstream_call *call, struct errinfo *ei);

static void try_again(struct upstream_call *call) {
    struct errinfo ei;
    struct server *last = call->server;
    enum err e;
    call->waiting = false;
    call->tried = 0;
    call->failovers = 0;
    if (call->client->u->n > 1 && call->kind->send) {
        call->server = NULL;
        e = call_begin(call, &ei);
        if (!call->server)
            call->server = last;
        if (e == ERR_UNAVAILABLE && wait_and_retry(call))
            return;
    } else {
        e = start(call, &ei);
    }
    if (e)
        end(call, e, &ei);
}

static void on_timer(void *arg) {
    struct upstream_call *call = arg;
    struct errinfo ei;
    if (call->waiting) {
        try_again(call);
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

/* The first leg is slow to answer: a second goes to another server. */
static void on_hedge(void *arg) {
    struct upstream_call *call = arg;
    struct server *first = call->server;
    if (call->answering || call->waiting || !call->legs[0].http || call->legs[1].http)
        return;
    uint32_t tried = call->tried;
    call->tried |= 1u << first->index;
    struct server *second = pool_pick(call->client->u, call);
    call->tried = tried;
    if (!second)
        return;
    call->starting_hedge = true;
    call->server = second;
    if (call->kind->send(call, NULL) == ERR_OK)
        metric_add(M_UPSTREAM_HEDGES, 1);
    call->starting_hedge = false;
    call->server = first;
}

/* ---- what the HTTP client tells ---- */

/* The leg speaks for the call from here on, as long as it is the one that answers. */
static void speak_for(struct upstream_call *call, const struct leg *l) {
    call->leg = (int)(l - call->legs);
    call->server = l->server;
    call->status = l->status;
    call->retry_after_ms = l->retry_after_ms;
    memcpy(call->content_type, l->content_type, sizeof call->content_type);
}

static void on_status(void *ctx, int status, struct str content_type, int64_t retry_after_ms) {
    struct leg *l = ctx;
    snprintf(l->content_type, sizeof l->content_type, "%.*s", STR_ARG(content_type));
    l->status = status;
    l->retry_after_ms = retry_after_ms;
    l->first_byte_ns = clock_mono_ns() - l->started_ns;
    l->call->last_ns = clock_mono_ns();
    if (!l->call->legs[l == l->call->legs].http) /* the only leg */
        speak_for(l->call, l);
}

static void begin_answer(struct upstream_call *call, struct leg *l) {
    struct leg *other = &call->legs[l == call->legs];
    speak_for(call, l);
    if (other->http) { /* the race is won */
        leg_end(other, false, false);
        buf_clear(&call->answer);
    }
    if (call->leg == 1) {
        pthread_mutex_lock(&call->client->u->lock);
        l->server->hedged++;
        pthread_mutex_unlock(&call->client->u->lock);
    }
    call->answering = true;
    call->silence_ns = call->client->u->idle_ms * MS;
    timer_start(call->timer, call->client->u->idle_ms, false); /* the first byte had more time */
}

static bool on_data(void *ctx, struct str bytes) {
    struct leg *l = ctx;
    struct upstream_call *call = l->call;
    struct errinfo ei;
    call->last_ns = clock_mono_ns();
    bool good = l->status >= 200 && l->status <= 299;
    bool alone = !call->legs[l == call->legs].http;
    if (!good && !alone)
        return true; /* a refused leg; the other may still answer */
    if (!good || call->kind->whole) {
        buf_adds(&call->answer,
                 bytes); /* a refusal that is too long is cut: its start says enough */
        return good ? buf_err(&call->answer) == ERR_OK : true;
    }
    if (!call->answering)
        begin_answer(call, l);
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

/* What the end of the only leg means. */
static enum err explain(struct upstream_call *call, enum err e, bool absent,
                        const struct errinfo *http, struct errinfo *ei) {
    if (call->finishing)
        return ERR_OK;
    if (e == ERR_OK && (call->status < 200 || call->status > 299))
        return upstream_refusal(call->status, buf_str(&call->answer), call->retry_after_ms, ei);
    if (absent)
        return err_set(ei, ERR_UNAVAILABLE, "the model server cannot be reached (%s)",
                       http->message);
    if (e == ERR_CANCELLED && buf_err(&call->answer) == ERR_NOMEM)
        return err_set(ei, ERR_NOMEM, NULL);
    if (e == ERR_TIMEOUT)
        return err_set(ei, e, "the model server took too long (%s)", http->message);
    if (e == ERR_TOO_LARGE || e == ERR_CANCELLED)
        return err_set(ei, ERR_UPSTREAM, "the model server's answer is too large");
    if (e)
        return err_set(ei, ERR_UPSTREAM, "the connection to the model server broke (%s)",
                       http->message);
    return ERR_OK;
}

/* Another server may do better: this one is away, failed, is busy, or lost the model. */
static bool worth_another(const struct upstream_call *call, bool absent) {
    return absent || call->status == 429 || call->status >= 500 || call->status == 404 ||
           call->status == 401 || call->status == 403;
}

static void on_done(void *ctx, enum err e, int status, const struct errinfo *http) {
    struct leg *l = ctx;
    struct upstream_call *call = l->call;
    struct server *v = l->server;
    struct errinfo ei;
    l->http = NULL;
    bool absent = status == 0 && (e == ERR_UNAVAILABLE || e == ERR_UPSTREAM || e == ERR_IO);
    if (call->legs[l == call->legs].http) { /* the other leg goes on alone */
        leg_end(l, absent || status >= 500, true);
        return;
    }
    speak_for(call, l);
    bool loading = e == ERR_OK && status == 503 && upstream_is_loading(buf_str(&call->answer));
    if (e == ERR_OK && (status == 401 || status == 403) && call->tries < UPSTREAM_KEYS_MAX &&
        pool_rotate_key(v, l->key)) {
        leg_end(l, false, false);
        call->tries++;
        if (start(call, &ei) == ERR_OK)
            return;
    }
    if (!call->answering && worth_another(call, absent)) {
        leg_end(l, absent || loading || status >= 500, true);
        if (fail_over(call))
            return;
    }
    bool nameless = absent && strcmp(http->param, "host") == 0 && call->tries >= NAME_TRIES;
    if ((absent || loading) && !nameless && wait_and_retry(call))
        return;
    call->broke = call->answering &&
                  (e == ERR_IO || e == ERR_UPSTREAM || e == ERR_UNAVAILABLE || e == ERR_TIMEOUT);
    e = explain(call, e, absent, http, &ei);
    end(call, e, &ei);
}

/* ---- sending ---- */

static enum err start_leg(struct upstream_call *call, struct leg *l, struct errinfo *ei) {
    static const struct http_call_callbacks callbacks = {
        .on_status = on_status, .on_data = on_data, .on_done = on_done};
    struct server *v = call->server;
    char key[KEY_MAX] = "";
    const char *headers[5] = {"Accept: text/event-stream, application/json"};
    size_t n = 1;
    pthread_mutex_lock(&v->pool->lock);
    l->key = v->key;
    if (v->n_keys)
        snprintf(key, sizeof key, "%s", v->keys[v->key]);
    pthread_mutex_unlock(&v->pool->lock);
    if (call->body.n)
        headers[n++] = "Content-Type: application/json";
    if (key[0])
        headers[n++] = key;
    if (call->trace[0])
        headers[n++] = call->trace;
    struct http_call_spec spec = {
        .method = call->method,
        .url = call->url,
        .unix_socket = v->unix_socket,
        .headers = headers,
        .body = buf_str(&call->body),
        .max_response_bytes = UPSTREAM_STREAM_MAX,
    };
    l->status = 0;
    l->retry_after_ms = -1;
    l->started_ns = clock_mono_ns();
    l->first_byte_ns = 0;
    enum err e = http_call_start(call->client->http, &spec, &callbacks, l, &l->http, ei);
    explicit_bzero(key, sizeof key);
    if (!e) {
        l->server = v;
        pool_started(v);
    }
    metric_add(M_UPSTREAM_REQUESTS, 1);
    return e;
}

static enum err start(struct upstream_call *call, struct errinfo *ei) {
    struct upstream *u = call->client->u;
    if (call->starting_hedge)
        return start_leg(call, &call->legs[1], ei);
    int ms = call->first_byte_ms ? call->first_byte_ms : u->first_byte_ms;
    buf_clear(&call->answer);
    call->leg = 0;
    call->status = 0;
    call->broke = false;
    call->last_ns = clock_mono_ns();
    call->silence_ns = ms * MS;
    leg_end(&call->legs[0], false, false);
    leg_end(&call->legs[1], false, false);
    enum err e = start_leg(call, &call->legs[0], ei);
    if (e)
        return e;
    timer_start(call->timer, ms, false);
    if (call->hedged && u->hedge_ms && u->n > 1) {
        if (!call->hedge)
            call->hedge = timer_new(call->client->loop, on_hedge, call);
        if (call->hedge)
            timer_start(call->hedge, u->hedge_ms, false);
    }
    return ERR_OK;
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
