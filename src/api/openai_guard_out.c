/* Streamed answers of the compatible API under the guard. See openai_guard.h.
 *
 *   event ─→ its choices, each: its texts ─→ the channel of each (openai_guard_choice.c)
 *        │                      └─→ what has no text (roles, the head of a call, the end)
 *        └─→ what belongs to no choice (usage) waits for all of them
 *
 * An allowlist: members that are not known here and could hold a text do not get through, nor do
 * logprobs, which spell what was judged otherwise. Of equal keys the first counts. */
#include <stdlib.h>

#include "api/openai.h"
#include "api/openai_guard_stream.h"
#include "api/openai_parts.h"
#include "store/safety.h"

#define EVENT_CAP ((size_t)4 << 20)
#define TAIL_CAP  ((size_t)1 << 20)
#define OUT_CAP   ((size_t)64 << 20) /* all that a stream holds back, and its escapes */

static void destroy(struct answer_guard *a) {
    for (size_t i = 0; i < OPENAI_CHOICES_MAX; i++)
        choice_free(a->choices[i]);
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
    a->expected = (size_t)json_get_int(c->body, "n", 1);
    buf_init(&a->tail, TAIL_CAP);
    buf_init(&a->out, OUT_CAP);
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

/* False: the client is gone; the relay has forgotten us, or will. */
bool answer_guard_send(struct answer_guard *a, struct str json) {
    if (a->freed)
        return false;
    return a->cb->send(a->ctx, json);
}

static bool all_done(const struct answer_guard *a) {
    for (size_t i = 0; i < a->n; i++)
        if (!a->choices[i] || !a->choices[i]->done)
            return false;
    return true;
}

bool answer_guard_is_over(const struct answer_guard *a) {
    for (size_t i = 0; i < a->n; i++)
        if (!a->choices[i] || !a->choices[i]->cut)
            return false;
    return a->n > 0 && a->n >= a->expected;
}

void answer_guard_look(struct answer_guard *a) {
    if (a->over || a->freed || !all_done(a))
        return;
    if (a->tail.n) {
        bool alive = answer_guard_send(a, buf_str(&a->tail));
        buf_clear(&a->tail);
        if (!alive)
            return;
    }
    if (!a->ended && !answer_guard_is_over(a))
        return;
    a->over = true;
    a->cb->on_end(a->ctx);
}

void answer_guard_leave(struct answer_guard *a, bool was_inside) {
    a->inside = was_inside;
    if (!was_inside && a->freed)
        destroy(a);
}

void answer_guard_fail(struct answer_guard *a, enum err e) {
    bool was = a->inside, told = a->over || a->freed;
    a->over = a->inside = true;
    if (!told)
        a->cb->on_fail(a->ctx, e);
    answer_guard_leave(a, was);
}

/* ---- what comes in ---- */

struct event { /* of one choice */
    struct answer_guard *a;
    struct choice *ch;
    yyjson_mut_doc *d;
    yyjson_mut_val *delta;
    enum err error;
};

static struct str text_of(yyjson_mut_val *v) {
    return yyjson_mut_is_str(v) ? (struct str){yyjson_mut_get_str(v), yyjson_mut_get_len(v)}
                                : STR("");
}

static void say(struct event *e, enum channel_kind kind, size_t call, struct str text) {
    if (!text.n || e->error)
        return;
    struct step s = {.channel = choice_channel(e->ch, kind, call), .text = text};
    e->error = s.channel ? choice_take(e->ch, &s) : ERR_TOO_LARGE;
}

/* The value in the event, on its way alone. */
static void pass(struct event *e, bool passes, bool ends) {
    struct buf b;
    buf_init(&b, EVENT_CAP);
    json_write_mut(&b, e->d);
    struct step s = {.passes = passes, .ends = ends, .text = buf_str(&b)};
    if (!e->error)
        e->error = buf_err(&b) ? buf_err(&b) : choice_take(e->ch, &s);
    buf_deinit(&b);
}

/* Parts, as some servers have it: {"type":"text","text":…}, {"type":"thinking","thinking":…}. */
static void say_parts(struct event *e, yyjson_mut_val *v, enum channel_kind kind) {
    yyjson_mut_arr_iter it = yyjson_mut_arr_iter_with(v);
    say(e, kind, 0, text_of(v));
    for (yyjson_mut_val *part; (part = yyjson_mut_arr_iter_next(&it));) {
        say_parts(e, yyjson_mut_obj_get(part, "thinking"), CHANNEL_REASONING_CONTENT);
        say(e, kind, 0, text_of(yyjson_mut_obj_get(part, "text")));
    }
}

/* The name of what is called: one that the client gave is his, any other is the model's text. */
static bool name_passes(struct event *e, struct channel *x, struct str piece) {
    struct answer_guard *a = e->a;
    struct safety_verdict v;
    buf_adds(&x->name, piece);
    if ((e->error = buf_err(&x->name)) || openai_is_tool(a->c->body, buf_str(&x->name)))
        return !e->error;
    struct safety_request r = {.text = buf_str(&x->name),
                               .direction = SAFETY_OUTPUT,
                               .role = a->g->role,
                               .policy = a->g->policy,
                               .canary = str_from(a->g->canary)};
    e->error = safety_judge(a->c->api->o.safety, &r, &v);
    if (!e->error && (v.action == SAFETY_BLOCK || v.action == SAFETY_REDACT))
        choice_block(e->ch, &v, r.text);
    return !e->error && !e->ch->cut;
}

/* What of a call is no text of its own. Words that say nothing new are NULL. */
struct head {
    enum channel_kind kind;
    int64_t number;
    struct str id, type, name;
    yyjson_mut_val *extra; /* what the client sends back with it; NULL: none */
};

static struct str label_of(yyjson_mut_val *v) {
    return openai_is_label(v) ? text_of(v) : STR_NULL;
}

static bool add_word(struct event *e, yyjson_mut_val *obj, const char *key, struct str s) {
    return !s.n || yyjson_mut_obj_add_strn(e->d, obj, key, s.p, s.n);
}

/* What tells that a call begins, made anew. */
static void pass_head(struct event *e, const struct head *h, bool begins) {
    bool custom = h->kind == CHANNEL_INPUT, is_function = h->kind == CHANNEL_FUNCTION;
    yyjson_mut_val *f = yyjson_mut_obj(e->d), *call = f, *list = f;
    bool good = add_word(e, f, "name", h->name) &&
                yyjson_mut_obj_add_str(e->d, f, custom ? "input" : "arguments", "");
    if (!is_function) {
        call = yyjson_mut_obj(e->d);
        list = yyjson_mut_arr(e->d);
        good = good && yyjson_mut_obj_add_int(e->d, call, "index", h->number) &&
               add_word(e, call, "id", h->id) && add_word(e, call, "type", h->type) &&
               yyjson_mut_obj_add_val(e->d, call, custom ? "custom" : "function", f) &&
               yyjson_mut_arr_append(list, call);
    }
    if (h->extra)
        good = good && yyjson_mut_obj_add_val(e->d, call, "extra_content", h->extra);
    if (!good ||
        !yyjson_mut_obj_add_val(e->d, e->delta, is_function ? "function_call" : "tool_calls", list))
        e->error = ERR_NOMEM;
    pass(e, !begins, false);
    yyjson_mut_obj_clear(e->delta);
}

/* Some servers number no calls: they go by their ids, and without one by their names. */
static int64_t number_of(const struct choice *ch, yyjson_mut_val *call, struct str id, bool named) {
    yyjson_mut_val *index = yyjson_mut_obj_get(call, "index");
    bool last_is_named = false;
    if (yyjson_mut_is_int(index))
        return yyjson_mut_get_sint(index);
    for (const struct channel *x = ch->channels; x; x = x->next) {
        if (x->kind != CHANNEL_ARGUMENTS && x->kind != CHANNEL_INPUT)
            continue;
        if (id.n && str_eqz(id, x->id))
            return (int64_t)x->call;
        last_is_named = last_is_named || (x->call == ch->last_call && x->name.n);
    }
    return (int64_t)(id.n || (named && last_is_named) ? ch->n_calls : ch->last_call);
}

/* Arguments that are no string are JSON as they are. */
static void say_arguments(struct event *e, const struct head *h, yyjson_mut_val *v) {
    char *json = NULL;
    struct str text = text_of(v);
    if (v && !yyjson_mut_is_str(v) && !yyjson_mut_is_null(v)) {
        json = yyjson_mut_val_write(v, 0, &text.n);
        text.p = json;
        e->error = json || e->error ? e->error : ERR_NOMEM;
    }
    say(e, h->kind, (size_t)h->number, text);
    free(json);
}

/* What was said of the call before is not said again: clients put the pieces together. */
static bool is_new(struct channel *x, struct head *h) {
    bool id = h->id.n && !str_eqz(h->id, x->id);
    h->id = id ? h->id : STR_NULL;
    h->name = str_eq(h->name, buf_str(&x->name)) ? STR_NULL : h->name;
    if (id)
        snprintf(x->id, sizeof x->id, "%.*s", STR_ARG(h->id));
    return id || h->name.n;
}

/* A call of a tool: {"index","id","type","function":{"name","arguments"}}, or with "custom"
 * {"name","input"}; or what was in the place of "function" before there were tools. */
static void take_call(struct event *e, yyjson_mut_val *call, enum channel_kind kind) {
    bool custom = kind == CHANNEL_INPUT, is_function = kind == CHANNEL_FUNCTION;
    yyjson_mut_val *f =
        is_function ? call : yyjson_mut_obj_get(call, custom ? "custom" : "function");
    struct head h = {.kind = kind,
                     .id = label_of(yyjson_mut_obj_get(call, "id")),
                     .type = label_of(yyjson_mut_obj_get(call, "type")),
                     .name = text_of(yyjson_mut_obj_get(f, "name"))};
    h.number = is_function ? 0 : number_of(e->ch, call, h.id, h.name.n > 0);
    bool fits = h.number >= 0 && h.number < CHANNELS_MAX;
    struct channel *x = fits ? choice_channel(e->ch, kind, (size_t)h.number) : NULL;
    if (!x) {
        e->error = ERR_TOO_LARGE;
        return;
    }
    if (!is_function) {
        e->ch->last_call = x->call;
        e->ch->n_calls = x->call < e->ch->n_calls ? e->ch->n_calls : x->call + 1;
    }
    bool begins = is_new(x, &h);
    h.extra = is_function ? NULL : yyjson_mut_obj_remove_key(call, "extra_content");
    h.extra = h.extra && openai_is_opaque(h.extra) ? h.extra : NULL;
    if (h.name.n && !name_passes(e, x, h.name))
        return;
    if (begins || h.extra)
        pass_head(e, &h, begins);
    say_arguments(e, &h, yyjson_mut_obj_get(f, custom ? "input" : "arguments"));
}

static void take_calls(struct event *e, yyjson_mut_val *list) {
    yyjson_mut_val *calls[CHANNELS_MAX];
    size_t n = 0;
    yyjson_mut_arr_iter it = yyjson_mut_arr_iter_with(list);
    for (yyjson_mut_val *call; (call = yyjson_mut_arr_iter_next(&it)) && n < CHANNELS_MAX;)
        calls[n++] = call;
    for (size_t i = 0; i < n && !e->error && !e->ch->cut; i++)
        take_call(e, calls[i],
                  yyjson_mut_obj_get(calls[i], "custom") ? CHANNEL_INPUT : CHANNEL_ARGUMENTS);
    if (yyjson_mut_arr_size(list) > n)
        e->error = ERR_TOO_LARGE;
}

/* The transcript is judged; the sound passes as long as that does. */
static void take_audio(struct event *e, yyjson_mut_val *audio) {
    say(e, CHANNEL_TRANSCRIPT, 0, text_of(yyjson_mut_obj_get(audio, "transcript")));
    (void)openai_keep_label(audio, "id");
    openai_keep_known(audio, openai_audio_members);
    if (!yyjson_mut_obj_get(audio, "id") && !yyjson_mut_obj_get(audio, "data"))
        return;
    yyjson_mut_obj_add_val(e->d, e->delta, "audio", audio);
    pass(e, true, false);
    yyjson_mut_obj_clear(e->delta);
}

/* Thoughts that nobody can read, which the client sends back. Others are text, and the server says
 * them in "reasoning", too. */
static void take_details(struct event *e, yyjson_mut_val *details) {
    yyjson_mut_arr_iter it = yyjson_mut_arr_iter_with(details);
    for (yyjson_mut_val *v; (v = yyjson_mut_arr_iter_next(&it));)
        if (!yyjson_mut_equals_str(yyjson_mut_obj_get(v, "type"), "reasoning.encrypted") ||
            yyjson_mut_obj_get(v, "text") || yyjson_mut_obj_get(v, "summary") ||
            !openai_is_opaque(v))
            yyjson_mut_arr_iter_remove(&it);
    if (!yyjson_mut_arr_size(details))
        return;
    yyjson_mut_obj_add_val(e->d, e->delta, "reasoning_details", details);
    pass(e, true, false);
    yyjson_mut_obj_clear(e->delta);
}

static void say_reasoning(struct event *e, yyjson_mut_val *delta) {
    yyjson_mut_val *one = yyjson_mut_obj_get(delta, "reasoning_content");
    yyjson_mut_val *other = yyjson_mut_obj_get(delta, "reasoning");
    if (yyjson_mut_is_str(one) && str_eq(text_of(one), text_of(other))) {
        say(e, CHANNEL_BOTH_REASONINGS, 0, text_of(one));
        return;
    }
    say_parts(e, one, CHANNEL_REASONING_CONTENT);
    say_parts(e, other, CHANNEL_REASONING);
}

/* The role first, then the texts. What is moved into an event is taken out of its place before. */
static void take_delta(struct event *e, yyjson_mut_val *delta) {
    yyjson_mut_val *audio = yyjson_mut_obj_remove_key(delta, "audio");
    yyjson_mut_val *calls = yyjson_mut_obj_remove_key(delta, "tool_calls");
    yyjson_mut_val *function = yyjson_mut_obj_remove_key(delta, "function_call");
    yyjson_mut_val *details = yyjson_mut_obj_remove_key(delta, "reasoning_details");
    yyjson_mut_val *content = yyjson_mut_obj_get(delta, "content");
    if (openai_keep_label(delta, "role") && !e->ch->has_role) {
        e->ch->has_role = true;
        yyjson_mut_obj_add_val(e->d, e->delta, "role", yyjson_mut_obj_remove_key(delta, "role"));
        if (yyjson_mut_is_str(content))
            yyjson_mut_obj_add_str(e->d, e->delta, "content", "");
        else
            yyjson_mut_obj_add_null(e->d, e->delta, "content");
        pass(e, true, false);
        yyjson_mut_obj_clear(e->delta);
    }
    say_reasoning(e, delta);
    take_details(e, details);
    say_parts(e, content, CHANNEL_CONTENT);
    say(e, CHANNEL_REFUSAL, 0, text_of(yyjson_mut_obj_get(delta, "refusal")));
    if (yyjson_mut_is_obj(audio))
        take_audio(e, audio);
    if (calls)
        take_calls(e, calls);
    if (yyjson_mut_is_obj(function))
        take_call(e, function, CHANNEL_FUNCTION);
}

/* NULL: no choice of ours; nothing of it passes. */
static struct choice *choice_at(struct answer_guard *a, int64_t index, enum err *e) {
    if (index < 0 || index >= OPENAI_CHOICES_MAX)
        return NULL;
    struct choice **at = &a->choices[index];
    if (!*at && !(*at = choice_new(a, (size_t)index)))
        *e = ERR_NOMEM;
    if ((size_t)index >= a->n)
        a->n = (size_t)index + 1;
    return *at;
}

static void take_choice(struct event *e, yyjson_mut_val *list, yyjson_mut_val *choice) {
    yyjson_mut_val *delta = yyjson_mut_obj_get(choice, "delta");
    e->ch = choice_at(e->a, yyjson_mut_get_sint(yyjson_mut_obj_get(choice, "index")), &e->error);
    if (!e->ch || e->ch->ended || e->ch->cut)
        return;
    bool finishes = yyjson_mut_is_str(yyjson_mut_obj_get(choice, "finish_reason")) &&
                    openai_keep_label(choice, "finish_reason");
    openai_keep_known(choice, openai_chunk_choice_members);
    yyjson_mut_obj_remove_key(choice, "delta");
    e->delta = yyjson_mut_obj(e->d);
    if (!e->delta || !yyjson_mut_obj_add_val(e->d, choice, "delta", e->delta)) {
        e->error = ERR_NOMEM;
        return;
    }
    yyjson_mut_arr_clear(list);
    yyjson_mut_arr_append(list, choice);
    if (finishes) { /* for the event with the end alone */
        yyjson_mut_val *reason = yyjson_mut_obj_remove_key(choice, "finish_reason");
        yyjson_mut_obj_add_null(e->d, choice, "finish_reason");
        take_delta(e, delta);
        yyjson_mut_obj_put(choice, yyjson_mut_str(e->d, "finish_reason"), reason);
        e->ch->ended = true;
        pass(e, false, true);
    } else {
        take_delta(e, delta);
    }
}

/* What belongs to no choice. A later one stands for an earlier. */
static bool take_rest(struct answer_guard *a, yyjson_mut_doc *d) {
    struct buf *b = all_done(a) ? &a->out : &a->tail;
    buf_clear(b);
    json_write_mut(b, d);
    if (buf_err(b)) {
        answer_guard_fail(a, buf_err(b));
        return false;
    }
    return b == &a->tail || answer_guard_send(a, buf_str(b));
}

/* What each chunk says of who answers, those of our own making, too. */
static void note_server(struct answer_guard *a, yyjson_mut_val *root) {
    static const char *const names[] = {"model", "system_fingerprint", "service_tier"};
    struct str *const to[] = {&a->model, &a->fingerprint, &a->tier};
    a->named = true;
    for (size_t i = 0; i < 3; i++)
        if (openai_is_label(yyjson_mut_obj_get(root, names[i])))
            *to[i] = arena_str(a->c->arena, text_of(yyjson_mut_obj_get(root, names[i])));
}

static bool take_event(struct answer_guard *a, yyjson_mut_doc *d) {
    yyjson_mut_val *root = yyjson_mut_doc_get_root(d), *choices[OPENAI_CHOICES_MAX];
    yyjson_mut_val *list = yyjson_mut_obj_get(root, "choices"), *id;
    struct event e = {.a = a, .d = d};
    size_t n = 0;
    if (!yyjson_mut_is_obj(root))
        return true;
    openai_keep_known(root, openai_answer_members);
    (void)openai_keep_label(root, "id");
    id = yyjson_mut_obj_get(root, "id");
    if (!a->id.p && yyjson_mut_is_str(id)) {
        a->id = arena_str(a->c->arena, str_from(yyjson_mut_get_str(id)));
        a->created = yyjson_mut_get_sint(yyjson_mut_obj_get(root, "created"));
    }
    if (!a->named)
        note_server(a, root);
    yyjson_mut_arr_iter it = yyjson_mut_arr_iter_with(list);
    for (yyjson_mut_val *v; (v = yyjson_mut_arr_iter_next(&it)) && n < OPENAI_CHOICES_MAX;)
        choices[n++] = v;
    if (n == 0)
        return take_rest(a, d);
    for (size_t i = 0; i < n && !e.error && !a->freed && !a->over; i++)
        take_choice(&e, list, choices[i]);
    if (e.error)
        answer_guard_fail(a, e.error);
    return !e.error && !a->freed;
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
    bool alive = take_event(a, d);
    yyjson_mut_doc_free(d);
    yyjson_doc_free(doc);
    answer_guard_leave(a, was);
    return alive;
}

void answer_guard_end(struct answer_guard *a) {
    bool was = a->inside;
    a->inside = true;
    a->ended = true;
    for (size_t i = 0; i < a->n && !a->over && !a->freed; i++) {
        struct step end = {.ends = true, .text = STR("")};
        enum err e = ERR_OK;
        struct choice *ch = choice_at(a, (int64_t)i, &e);
        if (ch && !ch->ended) {
            ch->ended = true;
            e = choice_take(ch, &end);
        }
        if (e)
            answer_guard_fail(a, e);
    }
    answer_guard_look(a);
    answer_guard_leave(a, was);
}
