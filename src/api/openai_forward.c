/* Forwarding and relaying. See openai.h.
 *
 *   upstream's status ─┬─ 200 text/event-stream ──→ each event renamed and written ──→ [DONE] ──→
 * end │                                └─ breaks off ──→ data: {"error":…} ──→ end └─ anything else
 * ──→ collected ──→ renamed JSON, or the error with its status
 *
 * Where the guard's last word on the request is made beside the model's work, what comes before it
 * is kept as it is and passes afterwards; after a refusal it is forgotten.
 *
 * The head of a stream goes out with its first event, so that an error before it still has its own
 * status. When the client goes away, the upstream call is cancelled. All on one loop. */
#include "api/openai.h"
#include "api/openai_guard.h"
#include "base/metrics.h"
#include "net/sse.h"

#define ANSWER_CAP ((size_t)64 << 20)
#define EVENT_CAP  ((size_t)4 << 20)

struct relay {
    struct call *c;
    struct http_request *r; /* NULL once answered or gone */
    struct upstream_call *up;
    struct openai_state *o;
    struct sse_parser *parser; /* NULL = the answer is collected */
    struct buf in;             /* collected */
    struct buf out;            /* one event on its way */
    int status;
    int64_t retry_after_ms;
    bool begun, done_seen;
    struct answer_guard *guard; /* what a streamed answer passes through; NULL = none */
    bool in_data;               /* the upstream's bytes are being taken */
    bool early, early_over;     /* before the last verdict; the upstream has ended meanwhile */
    struct buf kept;            /* what came of the answer before it */
    bool ends;                  /* under the guard, once in_data is over */
    enum err err;               /* how the upstream's answer ended */
    struct errinfo ei;
};

static struct call *relay_deinit(struct relay *x) {
    turns_leave(x->c->api->o.turns, &x->c->user.user_id);
    answer_guard_free(x->guard);
    sse_parser_free(x->parser);
    buf_deinit(&x->in);
    buf_deinit(&x->out);
    buf_deinit(&x->kept);
    return x->c;
}

static void relay_free(struct relay *x) {
    api_call_free(relay_deinit(x));
}

static void on_client_gone(void *ctx) {
    struct relay *x = ctx;
    if (x->up)
        upstream_cancel(x->up);
    x->up = NULL;
    x->r = NULL;
    if (x->early)
        openai_guard_leave(relay_deinit(x));
    else
        relay_free(x);
}

/* Back to the call's own way of answering. */
static struct call *release(struct relay *x) {
    struct call *c = x->c;
    turns_leave(c->api->o.turns, &c->user.user_id);
    http_on_close(x->r, NULL, NULL);
    c->guard = http_guard_new(x->r);
    if (!c->guard)
        http_stream_abort(x->r);
    sse_parser_free(x->parser);
    answer_guard_free(x->guard);
    x->guard = NULL;
    buf_deinit(&x->in);
    buf_deinit(&x->out);
    buf_deinit(&x->kept);
    return c;
}

static bool ends_choice(yyjson_mut_val *root) {
    yyjson_mut_val *choice = yyjson_mut_arr_get_first(yyjson_mut_obj_get(root, "choices"));
    return yyjson_mut_is_str(yyjson_mut_obj_get(choice, "finish_reason"));
}

/* Appends json with its "model" as the client knows it, and what a role answered from: in the whole
 * answer, or in the chunk that ends a choice. */
static void add_renamed(struct buf *b, struct str json, const struct openai_state *o) {
    yyjson_doc *doc = NULL;
    if (str_eq(o->asked, o->upstream) || json_parse(json, &doc, NULL)) {
        buf_adds(b, json);
        return;
    }
    yyjson_mut_doc *d = yyjson_doc_mut_copy(doc, NULL);
    yyjson_mut_val *root = d ? yyjson_mut_doc_get_root(d) : NULL;
    if (yyjson_mut_obj_get(root, "model"))
        yyjson_mut_obj_put(root, yyjson_mut_str(d, "model"),
                           yyjson_mut_strn(d, o->asked.p, o->asked.n));
    if (o->docs.p && ends_choice(root))
        openai_add_docs(d, o);
    if (root)
        json_write_mut(b, d);
    else
        b->err = ERR_NOMEM;
    yyjson_mut_doc_free(d);
    yyjson_doc_free(doc);
}

/* ---- streams ---- */

static void begin(struct relay *x) {
    x->begun = true;
    respond_api_headers(x->r);
    http_set_header(x->r, "X-Accel-Buffering", "no");
    http_stream_begin(x->r, 200, "text/event-stream");
}

/* False: the reader was too slow and is gone. */
static bool flush_out(struct relay *x) {
    enum err e = buf_err(&x->out);
    if (e)
        http_stream_abort(x->r);
    else
        e = http_stream_write(x->r, buf_str(&x->out));
    buf_clear(&x->out);
    if (!e)
        return true;
    metric_add(M_STREAMS_DROPPED, 1);
    x->r = NULL;
    return false;
}

static bool send_event(struct relay *x, struct str data) {
    sse_write(&x->out, -1, NULL, data);
    return flush_out(x);
}

static bool on_event(const struct sse_event *e, void *ctx) {
    struct relay *x = ctx;
    struct buf data;
    bool alive;
    if (!x->r)
        return false;
    if (!x->begun)
        begin(x);
    if (str_eq(e->data, STR("[DONE]"))) {
        x->done_seen = true;
        return x->guard ? true : send_event(x, e->data); /* the guard has more to say */
    }
    buf_init(&data, EVENT_CAP);
    add_renamed(&data, e->data, x->o);
    alive = x->guard ? answer_guard_event(x->guard, buf_str(&data)) : send_event(x, buf_str(&data));
    buf_deinit(&data);
    return alive;
}

/* "queued": the place in the engine's queue. */
static void on_comment(struct str text, void *ctx) {
    struct relay *x = ctx;
    if (!x->r)
        return;
    if (!x->begun)
        begin(x);
    buf_addz(&x->out, ": ");
    buf_adds(&x->out, text);
    buf_addz(&x->out, "\n\n");
    (void)flush_out(x);
}

static void finish_stream(struct relay *x, enum err err, const struct errinfo *ei);

/* ---- under the guard ---- */

static bool guard_send(void *ctx, struct str json) {
    struct relay *x = ctx;
    if (x->r && send_event(x, json))
        return true;
    if (!x->in_data) { /* else the upstream reports the end */
        if (x->up)
            upstream_cancel(x->up);
        relay_free(x);
    }
    return false;
}

static void finish_guarded(struct relay *x) {
    x->ends = x->in_data;
    if (x->ends)
        return;
    if (x->done_seen && !x->err && !send_event(x, STR("[DONE]"))) {
        relay_free(x);
        return;
    }
    answer_guard_free(x->guard);
    x->guard = NULL;
    finish_stream(x, x->err, x->err ? &x->ei : NULL);
}

static void cases_written(void *arg) {
    finish_guarded(((struct openai_state *)((struct call *)arg)->state)->guard->relay);
}

/* The end is told once what was blocked is on record. */
static void guard_on_end(void *ctx) {
    struct relay *x = ctx;
    if (answer_guard_is_over(x->guard)) {
        if (x->up)
            upstream_cancel(x->up);
        x->up = NULL;
        x->err = ERR_OK;
        x->done_seen = true;
    }
    x->o->guard->relay = x;
    if (!openai_cases_wait(x->o->guard, cases_written))
        finish_guarded(x);
}

static void guard_on_fail(void *ctx, enum err e) {
    struct relay *x = ctx;
    if (x->up)
        upstream_cancel(x->up);
    x->up = NULL;
    x->err = err_set(&x->ei, e, NULL);
    finish_guarded(x);
}

static const struct answer_guard_callbacks guard_callbacks = {guard_send, guard_on_end,
                                                              guard_on_fail};

static void finish_stream(struct relay *x, enum err err, const struct errinfo *ei) {
    struct errinfo cut;
    if (x->guard && x->begun) { /* what is held first */
        x->err = err;
        if (err && ei)
            x->ei = *ei;
        answer_guard_end(x->guard);
        return;
    }
    if (!x->begun) {
        if (!err) {
            err = err_set(&cut, ERR_UPSTREAM, "the model server ended its answer before it began");
            ei = &cut;
        }
        api_call_fail(release(x), err, ei);
        return;
    }
    if (!err && !x->done_seen) {
        err = err_set(&cut, ERR_UPSTREAM, "the model server broke off its answer");
        ei = &cut;
    }
    if (err) {
        struct buf b;
        buf_init(&b, 8192);
        respond_error_json(&b, err, ei);
        bool alive = send_event(x, buf_str(&b));
        buf_deinit(&b);
        if (!alive) {
            relay_free(x);
            return;
        }
    }
    http_stream_end(x->r);
    relay_free(x);
}

/* ---- whole answers ---- */

static bool is_error_object(struct str body) {
    yyjson_doc *doc = NULL;
    bool is = json_parse(body, &doc, NULL) == ERR_OK &&
              yyjson_is_obj(json_get(yyjson_doc_get_root(doc), "error"));
    yyjson_doc_free(doc);
    return is;
}

static void finish_whole(struct relay *x) {
    struct call *c = x->c;
    struct errinfo ei;
    struct str body = buf_str(&x->in);
    if (x->status == 401 || x->status == 403) {
        err_set(&ei, ERR_UPSTREAM, "the model server refuses this server's key (status %d)",
                x->status);
        api_call_fail(release(x), ERR_UPSTREAM, &ei);
    } else if (x->status == 200) {
        buf_clear(&c->out);
        add_renamed(&c->out, body, x->o);
        if (x->o->guard)
            openai_guard_answer(release(x));
        else
            api_call_reply(release(x));
    } else if (is_error_object(body)) {
        buf_clear(&c->out);
        buf_adds(&c->out, body);
        c->status = x->status;
        if (x->retry_after_ms >= 0)
            c->retry_after_ms = (uint32_t)x->retry_after_ms;
        api_call_reply(release(x));
    } else {
        err_set(&ei, ERR_UPSTREAM, "the model server answered with status %d", x->status);
        api_call_fail(release(x), ERR_UPSTREAM, &ei);
    }
}

/* ---- the upstream's callbacks ---- */

static void on_status(void *ctx, int status, struct str content_type, int64_t retry_after_ms) {
    struct relay *x = ctx;
    x->status = status;
    x->retry_after_ms = retry_after_ms;
    if (x->o->stream && status == 200 && str_starts(content_type, STR("text/event-stream")))
        x->parser = sse_parser_new(EVENT_CAP);
    if (x->parser && x->o->guard && answer_guard_new(x->c, &guard_callbacks, x, &x->guard)) {
        sse_parser_free(x->parser); /* out of memory: nothing goes out unguarded */
        x->parser = NULL;
    }
    if (x->parser)
        sse_parser_on_comment(x->parser, on_comment);
}

enum taken { TAKEN, TAKEN_LAST /* no more is wanted */, TAKEN_OVER /* x is gone */ };

static enum taken take(struct relay *x, struct str bytes) {
    if (x->parser) {
        x->in_data = true;
        enum err e = sse_parser_feed(x->parser, bytes, on_event, x);
        x->in_data = false;
        if (x->ends) {
            if (x->r)
                finish_guarded(x);
            else
                relay_free(x);
            return TAKEN_OVER;
        }
        return e ? TAKEN_LAST : TAKEN;
    }
    buf_adds(&x->in, bytes);
    return buf_err(&x->in) ? TAKEN_LAST : TAKEN;
}

static bool on_data(void *ctx, struct str bytes) {
    struct relay *x = ctx;
    if (!x->early)
        return take(x, bytes) == TAKEN;
    buf_adds(&x->kept, bytes);
    return buf_err(&x->kept) == ERR_OK;
}

static void on_done(void *ctx, enum err err, const struct errinfo *ei) {
    struct relay *x = ctx;
    struct errinfo large;
    x->up = NULL;
    if (x->early) {
        x->early_over = true;
        x->err = err;
        x->ei = ei ? *ei : (struct errinfo){0};
        return;
    }
    if (!x->r) {
        relay_free(x);
        return;
    }
    if (err == ERR_CANCELLED) { /* on_data's doing, as the client is there: the cap */
        err = err_set(&large, ERR_UPSTREAM, "the model server's answer is too large");
        ei = &large;
    }
    if (x->parser)
        finish_stream(x, err, ei);
    else if (err)
        api_call_fail(release(x), err, ei);
    else
        finish_whole(x);
}

/* The last verdict on the request is there: what came before it passes now, or is forgotten. */
static void on_settled(void *arg) {
    struct call *c = arg;
    struct openai_guard *g = ((struct openai_state *)c->state)->guard;
    struct relay *x = g->relay;
    x->early = false;
    if (g->error || g->verdict.action == SAFETY_BLOCK) {
        upstream_cancel(x->up);
        x->up = NULL;
        (void)openai_guard_refuses(release(x));
        return;
    }
    struct buf kept = x->kept;
    struct errinfo ei = x->ei;
    enum err err = x->err;
    bool over = x->early_over;
    buf_init(&x->kept, 0);
    x->err = ERR_OK;
    enum taken t = kept.n ? take(x, buf_str(&kept)) : TAKEN;
    buf_deinit(&kept);
    if (t == TAKEN_LAST) {
        upstream_cancel(x->up);
        on_done(x, ERR_CANCELLED, NULL);
    } else if (t == TAKEN && over) {
        on_done(x, err, err ? &ei : NULL);
    }
}

void openai_forward(struct call *c, const char *path) {
    static const struct forward_callbacks callbacks = {on_status, on_data, on_done};
    struct errinfo ei = {0};
    struct openai_state *o = c->state;
    if (openai_guard_refuses(c)) /* after all */
        return;
    struct relay *x = arena_alloc(c->arena, sizeof *x);
    enum err e = x ? turns_enter(c->api->o.turns, &c->user.user_id, &ei) : ERR_NOMEM;
    if (!e) {
        *x = (struct relay){.c = c, .r = api_call_request(c), .o = o, .retry_after_ms = -1};
        buf_init(&x->in, ANSWER_CAP);
        buf_init(&x->out, EVENT_CAP);
        buf_init(&x->kept, EVENT_CAP);
        e = upstream_forward(c->client, path, o->body, o->plan, &callbacks, x, &x->up, &ei);
        if (e)
            turns_leave(c->api->o.turns, &c->user.user_id);
    }
    if (e) {
        api_call_fail(c, e, &ei);
        return;
    }
    http_guard_free(c->guard);
    c->guard = NULL;
    http_on_close(x->r, on_client_gone, x);
    if (o->guard)
        o->guard->relay = x;
    x->early = openai_guard_wait(c, on_settled);
}
