/* A chat request: its JSON, and its answer as tokens. When the server was never asked for its
 * models (it was starting when we did), that is done first: without the list neither the default
 * model's name nor whether the "parley" field is understood is known. */
#include <stdio.h>
#include <stdlib.h>

#include "text/tokens.h"
#include "upstream/chat_stream.h"
#include "upstream/upstream_internal.h"

struct chat {
    struct upstream_call call;
    struct chat_callbacks cb;
    void *ctx;
    struct chat_stream *stream;
    bool looking;      /* asking for the models first */
    struct buf head;   /* the messages, without the bracket that ends them */
    struct buf begun;  /* continue_last: the start of the answer as one more message */
    struct buf tail;   /* the request after the messages */
    struct buf parley; /* ,"parley":{…}, for servers that take it */
    char *start; /* continue_last: the start itself, which a server that begins anew repeats */
    size_t n_start, repeated; /* how much of it was repeated */
    int max_tokens, begun_tokens,
        taken_off; /* taken_off: of max_tokens, for what is there already */
    bool anew;     /* the server begins anew */
    bool parted;   /* it says something else, and nobody takes that */
    char *model;   /* as asked for, NULL = the default */
    bool background;
    int last_tokens; /* of the last message, about */
};

/* ---- the request ---- */

static const char *sender_name(enum chat_sender s) {
    return s == CHAT_SYSTEM ? "system" : s == CHAT_USER ? "user" : "assistant";
}

static void add_text(struct buf *b, const char *before, struct str text) {
    buf_addz(b, before);
    buf_addc(b, '"');
    buf_add_json(b, text);
    buf_addc(b, '"');
}

static void add_message(struct buf *b, const char *sep, const struct chat_message *m) {
    buf_addz(b, sep);
    buf_addz(b, "{\"role\":\"");
    buf_addz(b, sender_name(m->sender));
    add_text(b, "\",\"content\":", m->content);
    buf_addc(b, '}');
}

static void add_messages(struct chat *c, const struct chat_request *r) {
    size_t n = r->n_messages - r->continue_last;
    buf_addz(&c->head, ",\"messages\":[");
    for (size_t i = 0; i < n; i++)
        add_message(&c->head, i ? "," : "", &r->messages[i]);
    if (r->continue_last)
        add_message(&c->begun, n ? "," : "", &r->messages[n]);
}

static void add_tail(struct buf *b, const struct chat_request *r) {
    buf_addz(b, "],\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    if (r->temperature >= 0)
        buf_addf(b, ",\"temperature\":%.6g", r->temperature);
    if (r->top_p >= 0)
        buf_addf(b, ",\"top_p\":%.6g", r->top_p);
    for (size_t i = 0; i < r->n_stop; i++)
        add_text(b, i ? "," : ",\"stop\":[", r->stop[i]);
    if (r->n_stop)
        buf_addc(b, ']');
}

static void add_parley(struct buf *b, const struct chat_request *r) {
    /* Somebody who reads along sees his place in the queue and would rather wait than be refused,
     * unless that takes too long to sit through. */
    buf_addz(b, ",\"parley\":{\"wait\":true");
    if (r->background)
        buf_addz(b, ",\"background\":true");
    else
        buf_addf(b, ",\"wait_ms\":%d", UPSTREAM_WAIT_MS);
    if (r->continue_last)
        buf_addz(b, ",\"continue\":true");
    if (r->conversation_key.n)
        add_text(b, ",\"conversation\":", r->conversation_key);
    if (r->user_key.n)
        add_text(b, ",\"user\":", r->user_key);
    buf_addc(b, '}');
}

static enum err send_chat(struct chat *c, struct errinfo *ei) {
    struct server *v = c->call.server;
    struct buf *b = &c->call.body;
    buf_clear(b);
    buf_addz(b, "{\"model\":\"");
    enum err e = server_add_model(v, str_from(c->model), b);
    if (e)
        return err_set(ei, e, "the model server lists no chat model; name one with upstream_model");
    buf_addc(b, '"');
    enum server_kind kind = server_kind(v);
    c->anew = c->start && kind == SERVER_UNKNOWN;
    c->repeated = 0;
    buf_adds(b, buf_str(&c->head));
    if (c->start && !c->anew)
        buf_adds(b, buf_str(&c->begun));
    buf_adds(b, buf_str(&c->tail));
    c->taken_off = c->start && !c->anew && kind != SERVER_PARLEY ? c->begun_tokens : 0;
    if (c->max_tokens > 0)
        buf_addf(b, ",\"max_tokens\":%d",
                 c->max_tokens > c->taken_off ? c->max_tokens - c->taken_off : 1);
    if (kind == SERVER_PARLEY)
        buf_adds(b, buf_str(&c->parley));
    if (c->start && kind == SERVER_VLLM)
        buf_addz(b, ",\"continue_final_message\":true,\"add_generation_prompt\":false");
    buf_addc(b, '}');
    c->looking = false;
    if (!c->background)
        reading_begin(&c->call, c->last_tokens);
    return call_send(&c->call, "POST", v->base_url, "/chat/completions", ei);
}

static enum err chat_send(struct upstream_call *call, struct errinfo *ei) {
    struct chat *c = (struct chat *)call;
    if (server_knows_models(call->server))
        return send_chat(c, ei);
    if (call->starting_hedge)
        return ERR_UNAVAILABLE; /* first things first */
    c->looking = true;
    buf_clear(&call->body);
    return call_send(call, "GET", call->server->base_url, "/models", ei);
}

/* ---- the answer ---- */

/* A server that begins anew: what it says again is passed over. What it says instead is handed over
 * from the character where the two part. */
static struct str pass_over(struct chat *c, struct str text) {
    struct str left = {c->start + c->repeated, c->n_start - c->repeated};
    size_t n = 0;
    while (n < text.n && n < left.n && text.p[n] == left.p[n])
        n++;
    c->repeated += n;
    if (n == text.n || c->repeated == c->n_start)
        return str_sub(text, n, SIZE_MAX);
    size_t whole = utf8_cut((struct str){c->start, c->n_start}, c->repeated);
    size_t back = c->repeated - whole; /* of this piece, since pieces are whole characters */
    c->n_start = c->repeated = whole;
    if (c->cb.on_parted)
        c->cb.on_parted(c->ctx, whole);
    else
        c->parted = true;
    return str_sub(text, n - back, SIZE_MAX);
}

static void on_text(void *ctx, struct str text) {
    struct chat *c = ctx;
    reading_spoke(&c->call);
    if (c->anew && c->repeated < c->n_start && !c->call.cancelled)
        text = pass_over(c, text);
    if (!c->call.cancelled && !c->parted && text.n)
        c->cb.on_token(c->ctx, text);
}

static void on_position(void *ctx, int position) {
    struct chat *c = ctx;
    if (!c->call.cancelled && c->cb.on_queued)
        c->cb.on_queued(c->ctx, position);
}

static enum err chat_data(struct upstream_call *call, struct str bytes, struct errinfo *ei) {
    struct chat *c = (struct chat *)call;
    if (c->looking) {
        buf_adds(&call->answer, bytes);
        return buf_err(&call->answer) ? err_set(ei, ERR_UPSTREAM, "the list of models is too long")
                                      : ERR_OK;
    }
    enum err e = chat_stream_feed(c->stream, bytes, ei);
    if (!e && c->parted)
        e = err_set(ei, ERR_UPSTREAM, "the model server cannot go on with an answer that is begun");
    if (!e && chat_stream_is_done(c->stream))
        call_finishing(call);
    return e;
}

static void chat_wait(struct upstream_call *call) {
    struct chat *c = (struct chat *)call;
    if (c->cb.on_queued)
        c->cb.on_queued(c->ctx, 0);
}

/* After the question for the models: true when the chat request is on its way. */
static bool looked(struct chat *c, enum err *e, struct errinfo *ei) {
    struct upstream *u = c->call.client->u;
    if (*e == ERR_OK)
        *e = server_learn(c->call.server, buf_str(&c->call.answer), ei);
    if (*e && *e != ERR_UNAVAILABLE && (c->model || u->model))
        *e = ERR_OK; /* a server without such a list: the name is known, so ask it */
    if (!*e)
        *e = send_chat(c, ei);
    return *e == ERR_OK;
}

static void on_refreshed(void *ctx, enum err e, const struct errinfo *ei) {
    (void)ctx, (void)e, (void)ei; /* upstream_refresh() has noted it */
}

static bool chat_end(struct upstream_call *call, enum err e, const struct errinfo *ei) {
    struct chat *c = (struct chat *)call;
    struct chat_result r = {.finish_reason = STR_NULL, .status = call->status};
    struct errinfo mine;
    if (ei)
        mine = *ei;
    if (c->looking) {
        if (looked(c, &e, &mine))
            return true;
    } else if (!e || (call->broke && chat_stream_is_whole(c->stream))) {
        e = chat_stream_end(c->stream, &mine);
    }
    if (call->cancelled)
        return false;
    if (e &&
        !c->looking) /* broke off without an error of the connection, or told so in the stream */
        r.broke_off = call->broke || (call->status >= 200 && call->status <= 299 && !c->parted &&
                                      e == ERR_UPSTREAM);
    /* A server that begins anew may end before it has repeated all: the text is what was said. */
    if (!e && c->anew && c->repeated < c->n_start && c->cb.on_parted)
        c->cb.on_parted(c->ctx, c->repeated);
    if (e == ERR_NO_MODEL && upstream_refresh(call->client, on_refreshed, NULL))
        server_note(call->server, e, &mine); /* the old list stays */
    r.err = e;
    r.ei = e ? &mine : NULL;
    if (!e)
        r.finish_reason = chat_stream_finish_reason(c->stream);
    chat_stream_usage(c->stream, &r.prompt_tokens, &r.completion_tokens);
    if (r.completion_tokens >= 0)
        r.completion_tokens += c->taken_off;
    if (r.prompt_tokens > c->taken_off)
        r.prompt_tokens -= c->taken_off;
    c->cb.on_done(c->ctx, &r);
    return false;
}

static void chat_free(struct upstream_call *call) {
    struct chat *c = (struct chat *)call;
    chat_stream_free(c->stream);
    buf_deinit(&c->head);
    buf_deinit(&c->begun);
    buf_deinit(&c->tail);
    buf_deinit(&c->parley);
    free(c->start);
    free(c->model);
}

static uint64_t affinity_of(struct str key) {
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < key.n; i++)
        h = (h ^ (unsigned char)key.p[i]) * 0x100000001b3u;
    return key.n ? h | 1 : 0;
}

static enum err first_err(const struct chat *c) {
    const struct buf *const all[] = {&c->head, &c->begun, &c->tail, &c->parley};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (buf_err(all[i]))
            return buf_err(all[i]);
    return ERR_OK;
}

enum err upstream_chat(struct upstream_client *client, const struct chat_request *r,
                       const struct chat_callbacks *cb, void *ctx, struct upstream_call **ret,
                       struct errinfo *ei) {
    static const struct call_kind kind = {.send = chat_send,
                                          .on_data = chat_data,
                                          .on_wait = chat_wait,
                                          .on_end = chat_end,
                                          .on_free = chat_free};
    struct chat *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(ei, ERR_NOMEM, NULL);
    call_init(&c->call, client, &kind);
    buf_init(&c->call.answer, UPSTREAM_BODY_MAX);
    buf_init(&c->head, UPSTREAM_REQUEST_MAX);
    buf_init(&c->begun, UPSTREAM_REQUEST_MAX);
    buf_init(&c->tail, UPSTREAM_REQUEST_MAX);
    buf_init(&c->parley, 64 << 10);
    c->call.patient = true;
    if (r->trace_header)
        snprintf(c->call.trace, sizeof c->call.trace, "%s", r->trace_header);
    c->call.hedged = !r->background && !r->continue_last;
    c->background = r->background;
    if (r->n_messages)
        c->last_tokens = 1 + text_tokens(r->messages[r->n_messages - 1].content);
    c->call.plan = r->plan;
    c->call.affinity = affinity_of(r->conversation_key);
    c->cb = *cb;
    c->ctx = ctx;
    c->stream = chat_stream_new(on_text, c);
    if (c->stream)
        chat_stream_on_queued(c->stream, on_position);
    c->max_tokens = r->max_tokens;
    c->model = r->model.n ? strndup(r->model.p, r->model.n) : NULL;
    add_messages(c, r);
    add_tail(&c->tail, r);
    add_parley(&c->parley, r);
    enum err e = first_err(c);
    if (r->continue_last && !e) {
        struct str begun = r->messages[r->n_messages - 1].content;
        c->start = strndup(begun.p, begun.n);
        c->n_start = begun.n;
        c->begun_tokens =
            r->begun_tokens ? r->begun_tokens : (int)(begun.n / UPSTREAM_BYTES_PER_TOKEN);
    }
    c->call.model = c->model ? strdup(c->model) : NULL;
    if (!c->stream || (r->model.n && (!c->model || !c->call.model)) ||
        (r->continue_last && !c->start))
        e = ERR_NOMEM;
    if (e) {
        err_set(ei, e, NULL);
    } else {
        e = call_begin(&c->call, ei);
    }
    if (e) {
        call_free(&c->call);
        return e;
    }
    *ret = &c->call;
    return ERR_OK;
}
