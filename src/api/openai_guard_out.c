/* Streamed answers of the compatible API under the guard. See openai_guard.h.
 *
 *   event ─→ its texts into the choice's safety_stream ─→ judged ─→ chunks of our own making
 *        └─→ all else (roles, tool calls) goes out as it is; a finish_reason waits for the choice's
 *            text, what belongs to no choice (usage) for all of them
 *
 * Chunks that carry text are made anew, so logprobs of a streamed answer do not get through. */
#include "api/openai_guard.h"

#include <stdlib.h>

#include "api/openai.h"
#include "store/safety.h"

#define EVENT_CAP ((size_t)4 << 20)
#define TAIL_CAP  ((size_t)1 << 20)

struct choice {
    struct answer_guard *a;
    struct safety_stream *stream;
    struct buf finish; /* the event with the finish_reason, until the text is out */
    bool any, ended, done, cut;
};

struct answer_guard {
    struct call *c;
    struct openai_guard *g;
    const struct answer_guard_callbacks *cb;
    void *ctx;
    struct choice choices[OPENAI_CHOICES_MAX];
    size_t n; /* choices seen */
    struct str id;
    int64_t created;
    struct buf tail, out;
    bool ended, over, inside, freed;
};

static void destroy(struct answer_guard *a) {
    for (size_t i = 0; i < OPENAI_CHOICES_MAX; i++) {
        safety_stream_free(a->choices[i].stream);
        buf_deinit(&a->choices[i].finish);
    }
    buf_deinit(&a->tail);
    buf_deinit(&a->out);
    free(a);
}

enum err answer_guard_new(struct call *c, const struct answer_guard_callbacks *cb, void *ctx,
                          struct answer_guard **ret) {
    struct answer_guard *a = calloc(1, sizeof *a);
    if (!a)
        return ERR_NOMEM;
    a->c = c;
    a->g = ((struct openai_state *)c->state)->guard;
    a->cb = cb;
    a->ctx = ctx;
    buf_init(&a->tail, TAIL_CAP);
    buf_init(&a->out, EVENT_CAP);
    for (size_t i = 0; i < OPENAI_CHOICES_MAX; i++) {
        a->choices[i].a = a;
        buf_init(&a->choices[i].finish, EVENT_CAP);
    }
    *ret = a;
    return ERR_OK;
}

void answer_guard_free(struct answer_guard *a) {
    if (a && a->inside)
        a->freed = true; /* a callback of ours is running */
    else if (a)
        destroy(a);
}

/* ---- what goes out ---- */

static void add_chunk(struct answer_guard *a, size_t index, const struct str *text,
                      const char *finish) {
    struct buf *b = &a->out;
    buf_clear(b);
    out_open(b, NULL, '{');
    out_str(b, "id", a->id);
    out_strz(b, "object", "chat.completion.chunk");
    out_int(b, "created", a->created);
    out_str(b, "model", ((struct openai_state *)a->c->state)->asked);
    out_open(b, "choices", '[');
    out_open(b, NULL, '{');
    out_int(b, "index", (int64_t)index);
    out_open(b, "delta", '{');
    if (text)
        out_str(b, "content", *text);
    out_close(b, '}');
    if (finish)
        out_strz(b, "finish_reason", finish);
    else
        out_null(b, "finish_reason");
    out_close(b, '}');
    out_close(b, ']');
    out_close(b, '}');
}

/* False: the client is gone; the relay has forgotten us, or will. */
static bool send(struct answer_guard *a, struct str json) {
    if (a->freed)
        return false;
    return a->cb->send(a->ctx, json);
}

static bool all_done(const struct answer_guard *a) {
    for (size_t i = 0; i < a->n; i++)
        if (!a->choices[i].done)
            return false;
    return true;
}

bool answer_guard_is_over(const struct answer_guard *a) {
    for (size_t i = 0; i < a->n; i++)
        if (!a->choices[i].cut)
            return false;
    return a->n > 0;
}

static void look(struct answer_guard *a) {
    if (a->over || a->freed || !all_done(a))
        return;
    if (a->tail.n) {
        bool alive = send(a, buf_str(&a->tail));
        buf_clear(&a->tail);
        if (!alive)
            return;
    }
    if (!a->ended && !answer_guard_is_over(a))
        return;
    a->over = true;
    a->cb->on_end(a->ctx);
}

static void leave(struct answer_guard *a, bool was_inside) {
    a->inside = was_inside;
    if (!was_inside && a->freed)
        destroy(a);
}

static void on_text(void *ctx, struct str text) {
    struct choice *ch = ctx;
    struct answer_guard *a = ch->a;
    bool was = a->inside;
    a->inside = true;
    ch->any = true;
    add_chunk(a, (size_t)(ch - a->choices), &text, NULL);
    (void)send(a, buf_str(&a->out));
    leave(a, was);
}

static void finish_choice(struct choice *ch, const char *reason) {
    struct answer_guard *a = ch->a;
    bool was = a->inside, alive = true;
    a->inside = true;
    ch->done = true;
    if (!reason && ch->finish.n)
        alive = send(a, buf_str(&ch->finish));
    if (reason) {
        add_chunk(a, (size_t)(ch - a->choices), NULL, reason);
        alive = send(a, buf_str(&a->out));
    }
    if (alive)
        look(a);
    leave(a, was);
}

static void on_block(void *ctx, const struct safety_verdict *v, size_t keep, struct str blocked) {
    struct choice *ch = ctx;
    struct openai_guard *g = ch->a->g;
    if (ch->a->freed)
        return;
    (void)keep; /* what went out cannot be taken back on this API */
    openai_guard_note(g, v, SAFETY_OUTPUT);
    openai_case_write(ch->a->c, g, v, SAFETY_OUTPUT, blocked); /* before anything is sent: the
                                                                  client may be gone */
    ch->cut = true;
    if (!ch->any) {
        struct buf b;
        buf_init(&b, 65536);
        policy_refusal(g->policy, policy_for(g->policy, g->role), v->category, STR(""), &b);
        struct str words = buf_str(&b);
        add_chunk(ch->a, (size_t)(ch - ch->a->choices), &words, NULL);
        bool was = ch->a->inside;
        ch->a->inside = true;
        bool alive = send(ch->a, buf_str(&ch->a->out));
        buf_deinit(&b);
        struct answer_guard *a = ch->a;
        if (!alive) {
            leave(a, was);
            return;
        }
        a->inside = was;
    }
    finish_choice(ch, "content_filter");
}

static void on_end(void *ctx, const struct safety_verdict *worst) {
    (void)worst;
    finish_choice(ctx, NULL);
}

static void on_fail(void *ctx, enum err e) {
    struct answer_guard *a = ((struct choice *)ctx)->a;
    bool was = a->inside;
    a->over = a->inside = true;
    if (!a->freed)
        a->cb->on_fail(a->ctx, e);
    leave(a, was);
}

static const struct safety_stream_callbacks callbacks = {on_text, on_block, on_end, on_fail};

/* ---- what comes in ---- */

static enum err feed(struct answer_guard *a, struct choice *ch, struct str text) {
    if (ch->ended || ch->cut || text.n == 0)
        return ERR_OK;
    enum err e = ERR_OK;
    if (!ch->stream) {
        const struct policy_role *role = policy_for(a->g->policy, a->g->role);
        struct safety_stream_options o = {
            .safety = a->c->api->o.safety,
            .jobs = a->c->api->o.safety_jobs,
            .loop = a->c->loop,
            .policy = a->g->policy,
            .role = a->g->role,
            .canary = str_from(a->g->canary),
            .vault = role->restore ? a->g->vault : NULL,
        };
        e = safety_stream_new(&o, &callbacks, ch, &ch->stream);
    }
    return e ? e : safety_stream_feed(ch->stream, text);
}

static void end_choice(struct choice *ch) {
    if (ch->ended)
        return;
    ch->ended = true;
    if (ch->cut)
        return;
    if (ch->stream)
        safety_stream_end(ch->stream);
    else
        finish_choice(ch, NULL);
}

/* Takes the text out of the event's choice. Returns the choice, or NULL when the event has none. */
static struct choice *take_choice(struct answer_guard *a, yyjson_mut_val *root,
                                  struct str *ret_text, bool *ret_finish, bool *ret_rest) {
    yyjson_mut_val *v = yyjson_mut_arr_get_first(yyjson_mut_obj_get(root, "choices"));
    yyjson_mut_val *delta = yyjson_mut_obj_get(v, "delta");
    int64_t index = yyjson_mut_get_sint(yyjson_mut_obj_get(v, "index"));
    yyjson_mut_val *content = yyjson_mut_obj_get(delta, "content");
    if (!v || index < 0 || index >= OPENAI_CHOICES_MAX)
        return NULL;
    if ((size_t)index >= a->n)
        a->n = (size_t)index + 1;
    *ret_finish = yyjson_mut_is_str(yyjson_mut_obj_get(v, "finish_reason"));
    if (yyjson_mut_is_str(content)) {
        *ret_text = (struct str){yyjson_mut_get_str(content), yyjson_mut_get_len(content)};
        if (ret_text->n) {
            yyjson_mut_obj_remove_key(delta, "content");
            yyjson_mut_obj_remove_key(v, "logprobs");
        }
    }
    *ret_rest = yyjson_mut_obj_size(delta) > 0;
    return &a->choices[index];
}

static bool take_event(struct answer_guard *a, yyjson_mut_doc *d, struct str json) {
    yyjson_mut_val *root = yyjson_mut_doc_get_root(d);
    struct str text = STR("");
    bool finish = false, rest = false, alive = true;
    yyjson_mut_val *id = yyjson_mut_obj_get(root, "id");
    if (!a->id.p && yyjson_mut_is_str(id)) {
        a->id = arena_str(a->c->arena, str_from(yyjson_mut_get_str(id)));
        a->created = yyjson_mut_get_sint(yyjson_mut_obj_get(root, "created"));
    }
    struct choice *ch = take_choice(a, root, &text, &finish, &rest);
    if (!ch) {
        if (all_done(a))
            return send(a, json);
        buf_clear(&a->tail); /* the usage; a later one stands for an earlier */
        buf_adds(&a->tail, json);
        return buf_err(&a->tail) == ERR_OK;
    }
    if (feed(a, ch, text) || a->freed)
        return false;
    if (ch->cut)
        return true;
    if (finish || rest) {
        struct buf *b = finish ? &ch->finish : &a->out;
        buf_clear(b);
        json_write_mut(b, d);
        alive = buf_err(b) == ERR_OK && (finish || send(a, buf_str(b)));
    }
    if (finish && alive)
        end_choice(ch);
    return alive;
}

bool answer_guard_event(struct answer_guard *a, struct str json) {
    yyjson_doc *doc = NULL;
    yyjson_mut_doc *d = NULL;
    if (json_parse(json, &doc, NULL) || !(d = yyjson_doc_mut_copy(doc, NULL))) {
        yyjson_doc_free(doc);
        return false; /* what cannot be read cannot be judged */
    }
    bool was = a->inside;
    a->inside = true;
    bool alive = take_event(a, d, json);
    yyjson_mut_doc_free(d);
    yyjson_doc_free(doc);
    leave(a, was);
    return alive;
}

void answer_guard_end(struct answer_guard *a) {
    bool was = a->inside;
    a->inside = true;
    a->ended = true;
    for (size_t i = 0; i < a->n; i++)
        end_choice(&a->choices[i]);
    if (!a->freed)
        look(a);
    leave(a, was);
}
