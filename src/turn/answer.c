/* The answer on its way: the request to the model, what comes back through the sinks, and its
 * events. Steps submit, append, open and answer; sinks record and publish. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/metrics.h"
#include "turn/turn_internal.h"

#define FLUSH_MS  8 /* tokens that come within this time go out together */
#define STOPS_MAX 16

/* ---- submit: the request and what comes back ---- */

static void publish_queued(struct turn *t) {
    char text[48];
    int n = snprintf(text, sizeof text, "{\"position\":%d}", t->queued_position);
    stream_publish(t->stream, STREAM_QUEUED, (struct str){text, (size_t)n});
}

static void on_queued(void *ctx, int position) {
    struct turn *t = ctx;
    if (t->queued_position == position)
        return;
    t->queued_position = position;
    if (t->open)
        publish_queued(t);
}

void turn_end_answer(struct turn *t) {
    t->answered = true;
    if (turn_is_at(t, turn_step_answer))
        turn_continue(t);
}

static void on_token(void *ctx, struct str text) {
    struct turn *t = ctx;
    enum err e = turn_take(t, text);
    if (!e)
        return;
    upstream_cancel(t->call);
    t->call = NULL;
    if (e == ERR_TOO_LARGE)
        snprintf(t->finish_reason, sizeof t->finish_reason, "length");
    else
        t->failure = turn_explain(e, NULL);
    turn_end_answer(t);
}

static void on_done(void *ctx, const struct chat_result *r) {
    struct turn *t = ctx;
    t->call = NULL;
    if (r->err)
        t->failure = turn_explain(r->err, r->ei);
    snprintf(t->finish_reason, sizeof t->finish_reason, "%.*s", STR_ARG(r->finish_reason));
    t->prompt_tokens = r->prompt_tokens;
    t->completion_tokens = r->completion_tokens;
    turn_end_answer(t);
}

static enum err chat_messages(struct turn *t, struct chat_message **ret, size_t *ret_n) {
    const struct prompt *p = &t->prompt;
    struct chat_message *list = arena_array(t->arena, p->n - p->first + 1, sizeof *list);
    size_t n = 0;
    if (!list)
        return ERR_NOMEM;
    if (p->system.n)
        list[n++] = (struct chat_message){CHAT_SYSTEM, p->system};
    for (size_t i = p->first; i < p->n; i++)
        list[n++] = (struct chat_message){
            p->items[i].sender == SENDER_USER ? CHAT_USER : CHAT_ASSISTANT, p->items[i].content};
    *ret = list;
    *ret_n = n;
    return ERR_OK;
}

/* The role's stop texts, from the JSON list of its row. */
static size_t stop_texts(struct turn *t, struct str stops[STOPS_MAX]) {
    yyjson_doc *doc;
    size_t n = 0, i, count;
    yyjson_val *v;
    if (!t->role.stop.n || json_parse(t->role.stop, &doc, NULL))
        return 0;
    json_val *list = yyjson_doc_get_root(doc);
    if (yyjson_is_arr(list))
        yyjson_arr_foreach(list, i, count, v) {
            struct str s = json_str(v);
            if (s.n && n < STOPS_MAX)
                stops[n] = arena_str(t->arena, s), n += stops[n].p != NULL;
        }
    yyjson_doc_free(doc);
    return n;
}

enum step_result turn_step_submit(struct turn *t, struct errinfo *ei) {
    static const struct chat_callbacks callbacks = {
        .on_queued = on_queued, .on_token = on_token, .on_done = on_done};
    struct str stops[STOPS_MAX];
    struct chat_message *messages;
    size_t n;
    if (t->approved.n)
        return STEP_DONE;
    if (chat_messages(t, &messages, &n)) {
        *ei = turn_explain(ERR_NOMEM, NULL);
        return STEP_FAIL;
    }
    struct chat_request r = {
        .model = t->role.model,
        .messages = messages,
        .n_messages = n,
        .temperature = t->role.temperature,
        .top_p = t->role.top_p,
        .max_tokens = t->prompt.max_tokens,
        .stop = stops,
        .n_stop = stop_texts(t, stops),
        .conversation_key = uuid_str(&t->in.conversation_id),
        .user_key = uuid_str(&t->in.user_id),
    };
    if (upstream_chat(t->tl->client, &r, &callbacks, t, &t->call, ei))
        return STEP_FAIL;
    return STEP_DONE;
}

/* ---- append, open ---- */

enum step_result turn_step_append(struct turn *t, struct errinfo *ei) {
    enum err e = store_write(t->t->o.store, turn_append_fn, t, t->tl->loop, turn_on_stored);
    if (e) {
        *ei = turn_explain(e, NULL);
        return STEP_FAIL;
    }
    t->store_ops++;
    return STEP_WAIT;
}

void turn_publish_json(struct turn *t, enum stream_kind kind,
                       void (*fill)(struct buf *b, const struct turn *t)) {
    struct buf b;
    buf_init(&b, 16 * TURN_ANSWER_MAX);
    fill(&b, t);
    stream_publish(t->stream, kind, buf_err(&b) ? STR("{}") : buf_str(&b));
    buf_deinit(&b);
}

static void fill_created(struct buf *b, const struct turn *t) {
    event_created(b, uuid_is_set(&t->question.message_id) ? &t->question : NULL, &t->answer);
}

static void fill_title(struct buf *b, const struct turn *t) {
    buf_addz(b, "{\"title\":\"");
    buf_add_json(b, str_from(t->title));
    buf_addz(b, "\"}");
}

void turn_flush(struct turn *t) {
    if (t->stream->published == t->stream->text.n)
        return;
    int64_t now = clock_mono_ns();
    if (t->answer.ttft_ms < 0) {
        t->answer.ttft_ms = (now - t->in.arrived_ns) / MS;
        metric_observe(M_TTFT_SECONDS, (double)(now - t->in.arrived_ns) / 1e9);
    }
    t->flushed_ns = now;
    stream_publish_text(t->stream);
}

enum step_result turn_step_open(struct turn *t, struct errinfo *ei) {
    (void)ei;
    t->open = true;
    turn_publish_json(t, STREAM_CREATED, fill_created);
    if (t->title[0])
        turn_publish_json(t, STREAM_TITLE, fill_title);
    if (t->queued_position >= 0)
        publish_queued(t);
    turn_flush(t);
    timer_start(t->checkpoint, TURN_CHECKPOINT_MS, true);
    return STEP_DONE;
}

/* ---- answer ---- */

enum step_result turn_step_answer(struct turn *t, struct errinfo *ei) {
    (void)ei;
    if (t->approved.n && !t->answered)
        turn_serve_approved(t);
    return t->answered ? STEP_DONE : STEP_WAIT;
}

enum err turn_sink_record(struct turn *t, struct str text) {
    struct stream *s = t->stream;
    size_t n = text.n <= TURN_ANSWER_MAX - s->text.n ? text.n
                                                     : utf8_cut(text, TURN_ANSWER_MAX - s->text.n);
    pthread_mutex_lock(&s->lock);
    buf_add(&s->text, text.p, n);
    enum err e = buf_err(&s->text);
    pthread_mutex_unlock(&s->lock);
    return e ? e : n < text.n ? ERR_TOO_LARGE : ERR_OK;
}

/* The first piece goes out at once, and so does one after a pause; pieces that come in quick
 * succession go out together. */
enum err turn_sink_publish(struct turn *t, struct str text) {
    (void)text;
    int64_t since = clock_mono_ns() - t->flushed_ns;
    if (!t->open)
        return ERR_OK;
    if (t->answer.ttft_ms < 0 || since >= FLUSH_MS * MS)
        turn_flush(t);
    else
        timer_start(t->flush, FLUSH_MS - since / MS, false);
    return ERR_OK;
}

void turn_stop_now(struct turn *t) {
    if (t->answered)
        return;
    t->stopping = true;
    upstream_cancel(t->call);
    t->call = NULL;
    turn_end_answer(t);
}
