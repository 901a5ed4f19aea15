/* Turns over HTTP: starting one, attaching to its stream again, stopping it.
 *
 *   turn_start / stream_attach → events → SSE   (the head goes out with the first event, so that
 * what fails before has its own status) → JSON  (the client does not accept SSE: answered when the
 * turn has ended)
 *
 * A client that goes away only cancels its subscription; the answer is still written and stored.
 * One reader that is too slow loses its stream, not the answer. */
#include <stdio.h>

#include "api/event_stream.h"
#include "api/handlers.h"
#include "net/sse.h"

#define EVENT_CAP ((size_t)8 << 20)

struct reply_stream { /* in the call's arena */
    struct call *c;
    struct event_stream out;
    struct subscription *sub; /* NULL before the start and after the last event */
    struct str created;       /* JSON answer: the data of `created`, in the arena */
    char degraded[64];        /* JSON answer: what is left out, for its header; "" = nothing */
    bool json;
};

static void stream_free(void *ctx) {
    struct reply_stream *s = ctx;
    if (s->sub)
        subscription_cancel(s->sub);
    event_stream_deinit(&s->out);
    api_call_free(s->c);
}

static void on_sse_event(struct reply_stream *s, const struct stream_event *e) {
    bool last = e->kind == STREAM_DONE || e->kind == STREAM_ERROR;
    if (last)
        s->sub = NULL;
    sse_write(&s->out.out, e->id, stream_kind_name(e->kind), e->data);
    if (event_stream_send(&s->out) && last)
        event_stream_end(&s->out);
}

/* ---- JSON ---- */

/* A turn that failed after it was stored: its error's status, with the message as it stands. */
static void take_failure(struct call *c, struct str data) {
    yyjson_doc *doc = NULL;
    c->status = 500;
    if (json_parse(data, &doc, NULL) == ERR_OK) {
        json_val *error = json_get(yyjson_doc_get_root(doc), "error");
        int64_t ms = json_get_int(error, "retry_after_ms", 0);
        c->status = err_http_status(respond_err_from_code(json_get_str(error, "code")));
        c->retry_after_ms = ms > 0 && ms <= UINT32_MAX ? (uint32_t)ms : 0;
    }
    yyjson_doc_free(doc);
    buf_adds(&c->out, data);
}

/* Of both only what is needed, as it stands there. */
static void write_turn(struct buf *b, struct str created, struct str done) {
    struct str user = created.p ? json_member(created, "user_message") : STR_NULL;
    struct str message = json_member(done, "message");
    struct str degraded = json_member(done, "degraded");
    if (!message.p) /* memory was out when the event was written */
        b->err = ERR_NOMEM;
    buf_addz(b, "{\"user_message\":");
    buf_adds(b, user.p ? user : STR("null"));
    buf_addz(b, ",\"message\":");
    buf_adds(b, message);
    if (degraded.p) {
        buf_addz(b, ",\"degraded\":");
        buf_adds(b, degraded);
    }
    buf_addc(b, '}');
}

/* The names in a notice's list, with commas between them. */
static void note_degraded(struct reply_stream *s, struct str data) {
    yyjson_doc *doc = NULL;
    size_t i, n, at = 0;
    yyjson_val *v;
    if (json_parse(data, &doc, NULL))
        return;
    json_val *list = json_get(yyjson_doc_get_root(doc), "degraded");
    yyjson_arr_foreach(list, i, n, v) {
        struct str name = json_str(v);
        if (at + name.n + 2 < sizeof s->degraded)
            at += (size_t)snprintf(s->degraded + at, sizeof s->degraded - at, "%s%.*s",
                                   i ? "," : "", STR_ARG(name));
    }
    yyjson_doc_free(doc);
}

static void on_json_event(struct reply_stream *s, const struct stream_event *e) {
    struct call *c = s->c;
    if (e->kind == STREAM_CREATED)
        s->created = arena_str(c->arena, e->data);
    if (e->kind == STREAM_NOTICE)
        note_degraded(s, e->data);
    if (e->kind != STREAM_DONE && e->kind != STREAM_ERROR)
        return;
    s->sub = NULL;
    if (s->degraded[0] && api_call_request(c))
        http_set_header(api_call_request(c), "X-Parley-Degraded", s->degraded);
    buf_clear(&c->out);
    if (e->kind == STREAM_ERROR)
        take_failure(c, e->data);
    else
        write_turn(&c->out, s->created, e->data);
    event_stream_deinit(&s->out);
    api_call_reply(c);
}

/* ---- both ---- */

static void on_event(void *ctx, const struct stream_event *e) {
    struct reply_stream *s = ctx;
    if (s->json)
        on_json_event(s, e);
    else
        on_sse_event(s, e);
}

static void on_fail(void *ctx, const struct errinfo *ei) {
    struct reply_stream *s = ctx;
    s->sub = NULL;
    if (event_stream_began(&s->out)) { /* the answer goes on in the next process: who comes back
                                        * there misses nothing */
        event_stream_abort(&s->out);
        return;
    }
    event_stream_deinit(&s->out);
    api_call_fail(s->c, ei->code, ei);
}

static const struct stream_sink sink = {on_event, on_fail};

static struct reply_stream *stream_new(struct call *c, bool json) {
    struct reply_stream *s = arena_alloc(c->arena, sizeof *s);
    if (!s)
        return NULL;
    s->c = c;
    s->json = json;
    event_stream_init(&s->out, c, EVENT_CAP, stream_free, s);
    return s;
}

/* The same request was carried out before: the answer that it made is told from its beginning. */
static void replay(struct call *c, struct reply_stream *s) {
    struct str created = arena_str(c->arena, buf_str(&c->out));
    struct errinfo ei = {0};
    buf_clear(&c->out);
    enum err e = created.p ? stream_attach(c->api->o.turns, c->loop, &c->user.user_id,
                                           &c->replay_id, 1, &sink, s, &s->sub, &ei)
                           : ERR_NOMEM;
    if (e) {
        api_call_fail(c, e, &ei);
        return;
    }
    const struct stream_event first = {1, STREAM_CREATED, created};
    on_event(s, &first);
}

static void start(struct call *c, struct turn_input *in) {
    struct errinfo ei = {0};
    struct reply_stream *s = stream_new(c, !c->wants_events);
    if (s && c->replayed) {
        replay(c, s);
        return;
    }
    in->traceparent = c->traceparent;
    in->key_hash = c->key_hash;
    in->request_hash = c->request_hash;
    in->user_id = c->user.user_id;
    in->preferences = c->user.preferences;
    in->arrived_ns = c->arrived_ns;
    enum err e = s ? turn_start(c->api->o.turns, c->loop, in, &sink, s, &s->sub, &ei) : ERR_NOMEM;
    if (e)
        api_call_fail(c, e, &ei);
}

/* The schema has seen to their number. */
static enum err read_attachments(struct call *c, struct turn_input *in, struct errinfo *ei) {
    size_t i, n;
    json_val *v;
    yyjson_arr_foreach(json_get(c->body, "attachments"), i, n, v) {
        if (i == TURN_ATTACHMENTS_MAX)
            break;
        if (!uuid_parse(json_str(v), &in->attachments[in->n_attachments]))
            return err_param(ei, ERR_INVALID, "attachments", "each is the doc_id of a document");
        in->n_attachments++;
    }
    return ERR_OK;
}

void api_message_post(struct call *c) {
    json_val *parent = json_get(c->body, "parent_id");
    struct turn_input in = {
        .conversation_id = c->id,
        .kind = TURN_MESSAGE,
        .content = json_get_str(c->body, "content"),
        .parent_kind = !parent                  ? PARENT_CURRENT
                       : yyjson_is_null(parent) ? PARENT_ROOT
                                                : PARENT_GIVEN,
    };
    if (in.parent_kind == PARENT_GIVEN)
        (void)uuid_parse(json_str(parent), &in.parent_id); /* the schema has checked it */
    struct errinfo ei = {0};
    enum err e = read_attachments(c, &in, &ei);
    if (e)
        api_call_fail(c, e, &ei);
    else
        start(c, &in);
}

void api_message_regenerate(struct call *c) {
    struct turn_input in = {.kind = TURN_REGENERATE, .message_id = c->id};
    start(c, &in);
}

void api_message_events(struct call *c) {
    struct errinfo ei = {0};
    struct str text = c->last_event_id.n ? c->last_event_id : api_call_query(c, "after");
    int64_t after = 0;
    if (text.n && (!str_to_i64(text, &after) || after < 0)) {
        api_call_fail(c, err_param(&ei, ERR_INVALID, "after", "the last event's id is a number"),
                      &ei);
        return;
    }
    struct reply_stream *s = stream_new(c, false);
    enum err e = s ? stream_attach(c->api->o.turns, c->loop, &c->user.user_id, &c->id, after, &sink,
                                   s, &s->sub, &ei)
                   : ERR_NOMEM;
    if (e)
        api_call_fail(c, e, &ei);
}

static void stopped(void *ctx, enum err err, const struct errinfo *ei) {
    struct call *c = ctx;
    if (err)
        api_call_fail(c, err, ei);
    else
        api_call_next(c);
}

void api_message_stop(struct call *c) {
    enum err e = turn_stop(c->api->o.turns, c->loop, &c->user.user_id, &c->id, stopped, c);
    if (e)
        api_call_fail(c, e, NULL);
}
