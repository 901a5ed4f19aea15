/* The Responses API: create (streamed, whole or in the background), read or follow again, cancel,
 * delete. See responses.h for how it lies over conversations and turns.
 *
 *   POST → replayed? → conversation and earlier items are stored → turn_start ─→ events
 *   GET ?stream=true&starting_after=N → stream_attach ────────────────────────────↗
 *
 * The client's leaving stops nothing, as with turns. */
#include <stdio.h>

#include "api/event_stream.h"
#include "api/handlers.h"
#include "api/responses.h"
#include "base/clock.h"

#define EVENT_CAP ((size_t)32 << 20)

/* c->state of a response that is made. */
struct asked {
    struct turn_input in;
    bool begun; /* its conversation was made by it, not by a twin with its key */
};

struct stream { /* in the call's arena */
    struct call *c;
    struct event_stream out;
    struct subscription *sub;
    const struct asked *asked; /* of a response that is made; else NULL */
    struct response resp;
    yyjson_doc *doc; /* of resp.message; owned */
    int64_t after;   /* the last number that the client has; -1 = none */
    bool events, background;
    bool told;    /* the client has some of the text */
    bool differs; /* what it has is not the beginning of the text any more */
};

/* ---- what is asked ---- */

/* The role that `model` names: its slug, or the model of the first role that uses the default. */
static enum err find_role(struct call *c, struct store_tx *tx, struct uuid *ret,
                          struct errinfo *ei) {
    struct str asked = json_get_str(c->body, "model"), standard = STR_NULL;
    struct role r, *list;
    size_t n;
    enum err e = asked.n ? role_find(tx, asked, c->arena, &r) : ERR_NOT_FOUND;
    if (e == ERR_OK) {
        *ret = r.role_id;
        return ERR_OK;
    }
    if (e != ERR_NOT_FOUND)
        return err_set(ei, e, NULL);
    if ((e = role_list(tx, false, c->arena, &list, &n)))
        return err_set(ei, e, NULL);
    if (upstream_default_model(c->api->o.upstream, c->arena, &standard))
        standard = STR_NULL;
    for (size_t i = 0; i < n; i++)
        if (!asked.n || str_eq(list[i].model.n ? list[i].model : standard, asked)) {
            *ret = list[i].role_id;
            return ERR_OK;
        }
    return err_param(ei, ERR_NO_MODEL, "model",
                     "there is no role \"%.*s\", and no role answers with such a model",
                     (int)utf8_cut(asked, 100), asked.p);
}

static enum err begin_conversation(struct call *c, struct store_tx *tx, struct uuid *ret,
                                   struct errinfo *ei) {
    int64_t now = clock_wall_ms();
    struct conversation v = {
        .conversation_id = uuid_new(),
        .user_id = c->user.user_id,
        .created_at = now,
        .last_updated_at = now,
        .title = STR(""),
        .summary = STR(""),
    };
    enum err e = find_role(c, tx, &v.assistant_role_id, ei);
    if (!e)
        e = conversation_create(tx, &v, ei);
    *ret = v.conversation_id;
    return e;
}

static enum err find_previous(struct call *c, struct store_tx *tx, struct turn_input *in,
                              struct errinfo *ei) {
    struct message m;
    struct str text = json_get_str(c->body, "previous_response_id");
    enum err e = response_id_parse(text, &in->parent_id)
                     ? message_get(tx, &c->user.user_id, &in->parent_id, c->arena, &m)
                     : ERR_NOT_FOUND;
    if (e == ERR_NOT_FOUND || (!e && m.sender != SENDER_ASSISTANT))
        return err_param(ei, ERR_NOT_FOUND, "previous_response_id", "there is no such response");
    if (e)
        return err_set(ei, e, NULL);
    in->conversation_id = m.conversation_id;
    in->parent_kind = PARENT_GIVEN;
    return ERR_OK;
}

static enum err check_request(struct call *c, struct errinfo *ei) {
    static const char *const no[] = {"instructions", "tools", "temperature", "top_p",
                                     "max_output_tokens"};
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        json_val *v = json_get(c->body, no[i]);
        if (v && !yyjson_is_null(v) && !(yyjson_is_arr(v) && yyjson_arr_size(v) == 0))
            return err_param(ei, ERR_INVALID, no[i],
                             "\"%s\" belongs to the role that \"model\" names; "
                             "/v1/chat/completions takes it with each request",
                             no[i]);
    }
    if (!json_get_bool(c->body, "store", true))
        return err_param(ei, ERR_INVALID, "store",
                         "responses are stored; /v1/chat/completions keeps nothing");
    return ERR_OK;
}

enum err api_response_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct asked *a = arena_alloc(c->arena, sizeof *a);
    const struct response_items *judged = c->state; /* the JOB's; NULL: there was none */
    json_val *input = json_get(c->body, "input");
    if (c->replayed)
        return ERR_OK;
    if (!a)
        return err_set(ei, ERR_NOMEM, NULL);
    struct turn_input *in = &a->in;
    in->kind = TURN_MESSAGE;
    in->parent_kind = PARENT_ROOT;
    enum err e = check_request(c, ei);
    bool found = false, goes_on = json_get_str(c->body, "previous_response_id").n > 0;
    if (!e)
        e = response_begun_find(c, tx, in, &found, ei);
    if (!e && !found)
        e = goes_on ? find_previous(c, tx, in, ei)
                    : begin_conversation(c, tx, &in->conversation_id, ei);
    if (!e && yyjson_is_arr(input))
        e = response_items_store(c, tx, in, judged, found, ei);
    else if (!e && yyjson_is_str(input))
        in->content = json_str(input);
    if (!e && !in->content.n)
        e = err_param(ei, ERR_INVALID, "input", "a text or a list of messages is needed");
    if (!e && !found)
        e = response_begun_note(c, tx, in, ei);
    a->begun = !goes_on && !found;
    c->state = a;
    return e;
}

/* ---- answering ---- */

static void stream_free(void *ctx) {
    struct stream *s = ctx;
    if (s->sub)
        subscription_cancel(s->sub);
    event_stream_deinit(&s->out);
    yyjson_doc_free(s->doc);
    api_call_free(s->c);
}

/* Takes the message out of an event's data. */
static void take_message(struct stream *s, struct str data) {
    yyjson_doc *doc;
    if (json_parse(data, &doc, NULL))
        return;
    json_val *m = json_get(yyjson_doc_get_root(doc), "message");
    if (!m) {
        yyjson_doc_free(doc);
        return;
    }
    yyjson_doc_free(s->doc);
    s->doc = doc;
    s->resp.message = m;
    (void)uuid_parse(json_get_str(m, "message_id"), &s->resp.id);
}

static void write_text(struct stream *s, const struct stream_event *e, int64_t sequence) {
    yyjson_doc *doc;
    if (json_parse(e->data, &doc, NULL)) {
        s->out.out.err = ERR_NOMEM;
        return;
    }
    response_write_delta(&s->out.out, &s->resp, sequence,
                         json_get_str(yyjson_doc_get_root(doc), "text"));
    yyjson_doc_free(doc);
}

/* The last event as a whole answer. */
static void reply_whole(struct stream *s) {
    struct call *c = s->c;
    yyjson_doc *doc = s->doc;
    s->sub = NULL;
    buf_clear(&c->out);
    response_write(&c->out, &s->resp);
    event_stream_deinit(&s->out);
    yyjson_doc_free(doc);
    api_call_reply(c);
}

static void on_sse(struct stream *s, const struct stream_event *e, bool last) {
    struct buf *b = &s->out.out;
    int64_t sequence = e->id + RESPONSE_SEQUENCE;
    bool text = e->kind == STREAM_TOKEN || e->kind == STREAM_RESET;
    if (e->kind == STREAM_RESET && s->told)
        s->differs = true; /* deltas can take nothing back: the end has the whole text */
    if (e->kind == STREAM_CREATED)
        response_write_beginning(b, &s->resp, s->after);
    else if (text && !s->differs)
        write_text(s, e, sequence);
    else if (last)
        response_write_end(b, &s->resp, sequence, s->after);
    s->told = s->told || text;
    if (!b->n && !buf_err(b) && event_stream_began(&s->out))
        return;
    if (event_stream_send(&s->out) && last)
        event_stream_end(&s->out);
}

static void on_event(void *ctx, const struct stream_event *e) {
    struct stream *s = ctx;
    bool last = e->kind == STREAM_DONE || e->kind == STREAM_ERROR;
    if (last || e->kind == STREAM_CREATED)
        take_message(s, e->data);
    if (last)
        s->sub = NULL;
    if (s->events) {
        on_sse(s, e, last);
    } else if (last) {
        reply_whole(s);
    } else if (s->background && e->kind == STREAM_CREATED) {
        subscription_cancel(s->sub); /* the turn goes on */
        reply_whole(s);
    }
}

/* ---- a turn that was refused ---- */

static enum err undo_write(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct call *c = arg;
    const struct asked *a = c->state;
    return response_begun_undo(c, tx, &a->in, ei);
}

static void undone(void *arg, enum err e, const struct errinfo *ei) {
    struct call *c = arg;
    (void)e; /* an empty conversation is left */
    (void)ei;
    api_call_fail(c, c->ei.code, &c->ei);
}

/* No conversation is left behind: who is told to come again would leave one with each try. */
static void refuse(struct call *c, const struct asked *a, enum err e, const struct errinfo *ei) {
    if (ei->code == e)
        c->ei = *ei;
    else
        err_set(&c->ei, e, NULL);
    if (strcmp(c->ei.param, "content") == 0) /* of the turn; here it is called otherwise */
        snprintf(c->ei.param, sizeof c->ei.param, "input");
    if (!a || !a->begun || store_write(c->api->o.store, undo_write, c, c->loop, undone))
        api_call_fail(c, c->ei.code, &c->ei);
}

static void on_fail(void *ctx, const struct errinfo *ei) {
    struct stream *s = ctx;
    struct call *c = s->c;
    s->sub = NULL;
    if (event_stream_began(&s->out)) { /* the answer goes on in the next process */
        event_stream_abort(&s->out);
        return;
    }
    event_stream_deinit(&s->out);
    yyjson_doc_free(s->doc);
    refuse(c, s->asked, ei->code, ei);
}

static const struct stream_sink sink = {on_event, on_fail};

static struct stream *stream_new(struct call *c, int64_t after) {
    struct stream *s = arena_alloc(c->arena, sizeof *s);
    if (!s)
        return NULL;
    s->c = c;
    s->after = after;
    s->told = after >= RESPONSE_BEGINNING;
    event_stream_init(&s->out, c, EVENT_CAP, stream_free, s);
    return s;
}

/* Follows an answer that is there; c->out holds {"message":…} of it, as far as it is. */
static void follow(struct call *c, struct stream *s) {
    struct errinfo ei = {0};
    struct str created = arena_str(c->arena, buf_str(&c->out));
    int64_t after = s->after >= RESPONSE_BEGINNING ? s->after - RESPONSE_SEQUENCE : 1;
    buf_clear(&c->out);
    enum err e = created.p ? stream_attach(c->api->o.turns, c->loop, &c->user.user_id, &c->id,
                                           after < 1 ? 1 : after, &sink, s, &s->sub, &ei)
                           : ERR_NOMEM;
    if (e) {
        api_call_fail(c, e, &ei);
        return;
    }
    const struct stream_event first = {1, STREAM_CREATED, created};
    on_event(s, &first);
}

void api_response_start(struct call *c) {
    struct asked *a = c->state;
    struct errinfo ei = {0};
    struct stream *s = stream_new(c, -1);
    if (!s) {
        api_call_fail(c, ERR_NOMEM, NULL);
        return;
    }
    s->events = json_get_bool(c->body, "stream", false);
    s->background = json_get_bool(c->body, "background", false);
    (void)response_id_parse(json_get_str(c->body, "previous_response_id"), &s->resp.previous);
    if (c->replayed) {
        c->id = c->replay_id;
        c->status = c->route->status; /* not the turn's */
        follow(c, s);
        return;
    }
    struct turn_input *in = &a->in;
    s->asked = a;
    in->user_id = c->user.user_id;
    in->preferences = c->user.preferences;
    in->arrived_ns = c->arrived_ns;
    in->traceparent = c->traceparent;
    in->key_hash = c->key_hash;
    in->request_hash = c->request_hash;
    enum err e = turn_start(c->api->o.turns, c->loop, in, &sink, s, &s->sub, &ei);
    if (e)
        refuse(c, a, e, &ei);
}

/* ---- reading, following, cancelling, deleting ---- */

/* "resp_…" of the path. */
static enum err read_id(struct call *c, struct errinfo *ei) {
    if (!response_id_parse(c->rest, &c->id))
        return err_set(ei, ERR_NOT_FOUND, "there is no such response");
    return ERR_OK;
}

static enum err load(struct call *c, struct store_tx *tx, struct message *ret,
                     struct uuid *ret_previous, struct errinfo *ei) {
    struct message question;
    enum err e = message_get(tx, &c->user.user_id, &c->id, c->arena, ret);
    if (e == ERR_NOT_FOUND || (!e && ret->sender != SENDER_ASSISTANT))
        return err_set(ei, ERR_NOT_FOUND, "there is no such response");
    if (!e && message_get(tx, &c->user.user_id, &ret->parent_id, c->arena, &question) == ERR_OK)
        *ret_previous = question.parent_id;
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

struct found {
    struct uuid previous;
};

static enum err read_into(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct message m;
    struct found *f = arena_alloc(c->arena, sizeof *f);
    if (!f)
        return err_set(ei, ERR_NOMEM, NULL);
    enum err e = load(c, tx, &m, &f->previous, ei);
    if (e)
        return e;
    c->state = f;
    buf_addz(&c->out, "{\"message\":");
    message_to_json(&c->out, &m, NULL);
    buf_addc(&c->out, '}');
    return ERR_OK;
}

enum err api_response_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    enum err e = read_id(c, ei);
    return e ? e : read_into(c, tx, ei);
}

/* c->out: {"message":…} → the response. */
static void reply_found(struct call *c) {
    const struct found *f = c->state;
    struct stream *s = stream_new(c, -1);
    if (!s) {
        api_call_fail(c, ERR_NOMEM, NULL);
        return;
    }
    s->resp.previous = f->previous;
    take_message(s, buf_str(&c->out));
    reply_whole(s);
}

void api_response_answer(struct call *c) {
    struct str after = api_call_query(c, "starting_after");
    int64_t n = -1;
    if (!str_eqz(api_call_query(c, "stream"), "true")) {
        reply_found(c);
        return;
    }
    if (after.n && !str_to_i64(after, &n))
        n = -1;
    struct stream *s = stream_new(c, n);
    if (!s) {
        api_call_fail(c, ERR_NOMEM, NULL);
        return;
    }
    s->events = true;
    s->resp.previous = ((struct found *)c->state)->previous;
    follow(c, s);
}

static void stopped(void *ctx, enum err err, const struct errinfo *ei) {
    struct call *c = ctx;
    if (err)
        api_call_fail(c, err, ei);
    else
        api_call_next(c);
}

enum err api_response_cancel_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct message m;
    struct uuid previous;
    enum err e = read_id(c, ei);
    return e ? e : load(c, tx, &m, &previous, ei);
}

void api_response_cancel(struct call *c) {
    enum err e = turn_stop(c->api->o.turns, c->loop, &c->user.user_id, &c->id, stopped, c);
    if (e)
        api_call_fail(c, e, NULL);
}

enum err api_response_cancelled(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    return read_into(c, tx, ei);
}

void api_response_reply(struct call *c) {
    reply_found(c);
}

enum err api_response_delete_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    enum err e = read_id(c, ei);
    if (!e)
        e = message_delete_answer(tx, &c->user.user_id, &c->id, ei);
    if (e)
        return e;
    out_open(&c->out, NULL, '{');
    out_str(&c->out, "id", str_from(arena_printf(c->arena, "resp_%s", c->id.s)));
    out_strz(&c->out, "object", "response");
    out_bool(&c->out, "deleted", true);
    out_close(&c->out, '}');
    return ERR_OK;
}
