/* One choice of a streamed answer under the guard. See openai_guard.h.
 *
 *   steps ─→ text  ─→ the channel's safety_stream ─→ judged ─→ a chunk of our own making
 *        ├─→ an event without text (the head of a tool's call, the end) ─→ as it is
 *        └─→ another channel's: what is held of the last one goes out before; its open word and
 *            number are judged as they stand, and again when it goes on
 *
 * So all that a choice says keeps its order, and the call of a tool is whole before the next thing
 * begins, but for a number outside of brackets. A block in any channel ends the choice. */
#include <stdlib.h>
#include <string.h>

#include "api/openai.h"
#include "api/openai_guard_stream.h"

#define WAITING_CAP ((size_t)8 << 20)

static void channel_free(struct channel *x) {
    safety_stream_free(x->stream);
    buf_deinit(&x->name);
    free(x);
}

struct choice *choice_new(struct answer_guard *a, size_t index) {
    struct choice *ch = calloc(1, sizeof *ch);
    if (ch) {
        ch->a = a;
        ch->index = index;
    }
    return ch;
}

void choice_free(struct choice *ch) {
    if (!ch)
        return;
    while (ch->channels) {
        struct channel *x = ch->channels;
        ch->channels = x->next;
        channel_free(x);
    }
    while (ch->first) {
        struct step *s = ch->first;
        ch->first = s->next;
        free(s);
    }
    free(ch);
}

struct channel *choice_channel(struct choice *ch, enum channel_kind kind, size_t call) {
    struct channel **at = &ch->channels;
    for (; *at; at = &(*at)->next)
        if ((*at)->kind == kind && (*at)->call == call)
            return *at;
    if (ch->n_channels == CHANNELS_MAX || !(*at = calloc(1, sizeof **at)))
        return NULL;
    ch->n_channels++;
    **at = (struct channel){.ch = ch, .kind = kind, .call = call};
    buf_init(&(*at)->name, CHANNEL_NAME_MAX);
    return *at;
}

/* ---- what goes out ---- */

static void add_call(struct buf *b, size_t call, const char *kind, const char *key,
                     struct str text) {
    out_open(b, "tool_calls", '[');
    out_open(b, NULL, '{');
    out_int(b, "index", (int64_t)call);
    out_open(b, kind, '{');
    out_str(b, key, text);
    out_close(b, '}');
    out_close(b, '}');
    out_close(b, ']');
}

static void add_text(struct buf *b, const struct channel *x, struct str text) {
    static const char *const names[] = {[CHANNEL_CONTENT] = "content",
                                        [CHANNEL_REASONING_CONTENT] = "reasoning_content",
                                        [CHANNEL_REASONING] = "reasoning",
                                        [CHANNEL_REFUSAL] = "refusal"};
    switch (x->kind) {
    case CHANNEL_ARGUMENTS:
        add_call(b, x->call, "function", "arguments", text);
        break;
    case CHANNEL_INPUT:
        add_call(b, x->call, "custom", "input", text);
        break;
    case CHANNEL_TRANSCRIPT:
    case CHANNEL_FUNCTION:
        out_open(b, x->kind == CHANNEL_FUNCTION ? "function_call" : "audio", '{');
        out_str(b, x->kind == CHANNEL_FUNCTION ? "arguments" : "transcript", text);
        out_close(b, '}');
        break;
    case CHANNEL_BOTH_REASONINGS:
        out_str(b, "reasoning", text);
        out_str(b, "reasoning_content", text);
        break;
    default:
        out_str(b, names[x->kind], text);
    }
}

/* x NULL: no text. */
static struct str make_chunk(const struct choice *ch, const struct channel *x, struct str text,
                             const char *finish) {
    struct answer_guard *a = ch->a;
    struct buf *b = &a->out;
    buf_clear(b);
    out_open(b, NULL, '{');
    out_str(b, "id", a->id);
    out_strz(b, "object", "chat.completion.chunk");
    out_int(b, "created", a->created);
    out_str(b, "model", a->model.n ? a->model : ((struct openai_state *)a->c->state)->asked);
    if (a->fingerprint.n)
        out_str(b, "system_fingerprint", a->fingerprint);
    if (a->tier.n)
        out_str(b, "service_tier", a->tier);
    out_open(b, "choices", '[');
    out_open(b, NULL, '{');
    out_int(b, "index", (int64_t)ch->index);
    out_open(b, "delta", '{');
    if (x)
        add_text(b, x, text);
    out_close(b, '}');
    if (finish)
        out_strz(b, "finish_reason", finish);
    else
        out_null(b, "finish_reason");
    out_close(b, '}');
    out_close(b, ']');
    out_close(b, '}');
    return buf_str(b);
}

static void finish(struct choice *ch, struct str event) {
    ch->done = true;
    if (!event.n || answer_guard_send(ch->a, event))
        answer_guard_look(ch->a);
}

void choice_block(struct choice *ch, const struct safety_verdict *v, struct str blocked) {
    struct answer_guard *a = ch->a;
    struct openai_guard *g = a->g;
    const struct channel content = {.kind = CHANNEL_CONTENT};
    bool alive = true;
    if (a->freed || ch->cut)
        return;
    ch->cut = true;
    if (!a->noted) { /* before anything is sent: the client may be gone */
        a->noted = true;
        openai_guard_note(g, v, SAFETY_OUTPUT);
        openai_case_write(a->c, g, v, SAFETY_OUTPUT, blocked);
    }
    if (!ch->said) {
        struct buf b;
        buf_init(&b, 65536);
        policy_refusal(g->policy, policy_for(g->policy, g->role), v->category, STR(""), &b);
        alive = answer_guard_send(a, make_chunk(ch, &content, buf_str(&b), NULL));
        buf_deinit(&b);
    }
    if (alive)
        finish(ch, make_chunk(ch, NULL, STR(""), "content_filter"));
}

/* ---- what was judged ---- */

static void drain(struct choice *ch);

static void on_text(void *ctx, struct str text) {
    struct channel *x = ctx;
    struct answer_guard *a = x->ch->a;
    bool was = a->inside;
    if (x->ch->cut || a->over) /* meanwhile, for something else; nothing comes behind the end */
        return;
    a->inside = true;
    x->ch->said = x->ch->said || x->kind == CHANNEL_CONTENT;
    struct str chunk = make_chunk(x->ch, x, text, NULL);
    if (buf_err(&a->out))
        answer_guard_fail(a, buf_err(&a->out));
    else
        (void)answer_guard_send(a, chunk);
    answer_guard_leave(a, was);
}

static void on_block(void *ctx, const struct safety_verdict *v, size_t keep, struct str blocked) {
    struct channel *x = ctx;
    struct answer_guard *a = x->ch->a;
    bool was = a->inside;
    (void)keep; /* what went out cannot be taken back on this API */
    a->inside = true;
    choice_block(x->ch, v, blocked);
    answer_guard_leave(a, was);
}

static void on_end(void *ctx, const struct safety_verdict *worst) {
    struct channel *x = ctx;
    struct answer_guard *a = x->ch->a;
    bool was = a->inside;
    (void)worst;
    a->inside = true;
    x->ch->stopping = false;
    if (!x->ch->running)
        drain(x->ch);
    answer_guard_leave(a, was);
}

static void on_fail(void *ctx, enum err e) {
    struct channel *x = ctx;
    answer_guard_fail(x->ch->a, e);
}

static const struct safety_stream_callbacks callbacks = {on_text, on_block, on_end, on_fail};

static enum err feed(struct channel *x, struct str text) {
    struct answer_guard *a = x->ch->a;
    enum err e = ERR_OK;
    if (!x->stream) {
        const struct policy_role *role = policy_for(a->g->policy, a->g->role);
        struct safety_stream_options o = {
            .safety = a->c->api->o.safety,
            .jobs = a->c->api->o.safety_jobs,
            .loop = a->c->loop,
            .policy = a->g->policy,
            .role = a->g->role,
            .canary = str_from(a->g->canary),
            .json = x->kind == CHANNEL_ARGUMENTS || x->kind == CHANNEL_FUNCTION,
            .vault = role->restore ? a->g->vault : NULL,
        };
        e = safety_stream_new(&o, &callbacks, x, &x->stream);
    }
    return e ? e : safety_stream_feed(x->stream, text);
}

/* ---- steps, in their order ---- */

static bool is_over(const struct choice *ch) {
    return ch->cut || ch->a->freed || ch->a->over;
}

/* on_end() may run inside. */
static void stop_all(struct choice *ch) {
    ch->active = NULL;
    for (struct channel *x = ch->channels; x && !ch->stopping && !is_over(ch); x = x->next) {
        if (x->ended || !x->stream)
            continue;
        x->ended = ch->stopping = true;
        safety_stream_end(x->stream);
    }
}

/* False: what was said before has to go out first. */
static bool take(struct choice *ch, const struct step *s, enum err *e) {
    struct channel *active = ch->active;
    if (s->ends && !ch->stopping) {
        stop_all(ch);
    } else if (active && !s->passes && s->channel != active) {
        ch->active = NULL;
        ch->stopping = true;
        safety_stream_pause(active->stream); /* on_end() may run inside */
    }
    if (is_over(ch))
        return true;
    if (ch->stopping)
        return false;
    if (s->ends) {
        finish(ch, s->text);
    } else if (s->channel) {
        ch->active = s->channel;
        *e = feed(s->channel, s->text);
    } else {
        (void)answer_guard_send(ch->a, s->text);
    }
    return true;
}

static void drain(struct choice *ch) {
    enum err e = ERR_OK;
    ch->running = true;
    while (ch->first && !e && take(ch, ch->first, &e)) {
        struct step *s = ch->first;
        ch->first = s->next;
        ch->waiting_bytes -= s->text.n;
        free(s);
    }
    ch->running = false;
    if (e)
        answer_guard_fail(ch->a, e);
}

static enum err keep(struct choice *ch, const struct step *step) {
    struct step *s = NULL;
    if (step->text.n > WAITING_CAP - ch->waiting_bytes)
        return ERR_TOO_LARGE;
    if (!(s = malloc(sizeof *s + step->text.n)))
        return ERR_NOMEM;
    *s = *step;
    s->next = NULL;
    s->text.p = (const char *)(s + 1);
    memcpy(s + 1, step->text.p, step->text.n);
    ch->waiting_bytes += s->text.n;
    if (ch->first)
        ch->last->next = s;
    else
        ch->first = s;
    ch->last = s;
    return ERR_OK;
}

enum err choice_take(struct choice *ch, const struct step *step) {
    enum err e = ERR_OK;
    if (ch->cut || ch->done || ch->a->over)
        return ERR_OK;
    if (ch->first || ch->stopping || ch->running)
        return keep(ch, step);
    ch->running = true;
    bool taken = take(ch, step, &e);
    ch->running = false;
    return taken ? e : keep(ch, step);
}
