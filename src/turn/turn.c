/* One turn, from the request to the stored answer. The table of steps is its course, the table of
 * sinks what happens to each piece of the answer; both are walked in order.
 *
 *   load → check → fit → submit → append → open → answer → finish → close
 *                          │        (tokens that come before `open` are recorded, not sent)
 *   a failure before `open`: on_fail, nothing is stored
 *   a failure after it: the text so far is stored with status failed, and the stream ends with
 * error
 *
 * The request is on its way to the model (submit) while the question is being made durable
 * (append); nothing goes out before it is. All of this runs on the turn's loop. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"
#include "turn/turn_internal.h"

#define MS             1000000ll
#define FLUSH_MS       8 /* tokens that come within this time go out together */
#define CHECKPOINT_MS  1000
#define FINISH_TRIES   5
#define FINISH_WAIT_MS 500
#define STOPS_MAX      16

enum step_result { STEP_DONE, STEP_WAIT, STEP_FAIL };

static enum step_result step_load(struct turn *t, struct errinfo *ei);
static enum step_result step_check(struct turn *t, struct errinfo *ei);
static enum step_result step_fit(struct turn *t, struct errinfo *ei);
static enum step_result step_submit(struct turn *t, struct errinfo *ei);
static enum step_result step_append(struct turn *t, struct errinfo *ei);
static enum step_result step_open(struct turn *t, struct errinfo *ei);
static enum step_result step_answer(struct turn *t, struct errinfo *ei);
static enum step_result step_finish(struct turn *t, struct errinfo *ei);
static enum step_result step_close(struct turn *t, struct errinfo *ei);

static const struct step {
    const char *name;
    enum step_result (*run)(struct turn *t, struct errinfo *ei);
} steps[] = {
    {"load", step_load},     /* conversation, role and branch, in one read */
    {"check", step_check},   /* may it be answered, and by which model */
    {"fit", step_fit},       /* the prompt into the model's window */
    {"submit", step_submit}, /* to the model server; it works from here on */
    {"append", step_append}, /* question and answer's row, in one durable write */
    {"open", step_open},     /* the first events go out */
    {"answer", step_answer}, /* until the model has said all */
    {"finish", step_finish}, /* the answer's final row */
    {"close", step_close},   /* the last event, metrics, what is done afterwards */
};
#define STEP_COUNT (int)(sizeof steps / sizeof *steps)

static enum err sink_record(struct turn *t, struct str text);
static enum err sink_publish(struct turn *t, struct str text);

static const struct sink {
    const char *name;
    enum err (*take)(struct turn *t, struct str text); /* an error ends the answer there */
} sinks[] = {
    {"record", sink_record},   /* the text of the answer, for checkpoints and the store */
    {"publish", sink_publish}, /* to those who are attached */
};

static void turn_fail(struct turn *t, const struct errinfo *ei);

static bool is_at(const struct turn *t, enum step_result (*run)(struct turn *, struct errinfo *)) {
    return t->step < STEP_COUNT && steps[t->step].run == run;
}

void turn_run(struct turn *t) {
    while (t->step < STEP_COUNT) {
        struct errinfo ei = {0};
        enum step_result r = steps[t->step].run(t, &ei);
        if (r == STEP_WAIT)
            return;
        if (r == STEP_FAIL) {
            turn_fail(t, &ei);
            return;
        }
        t->step++;
    }
    if (t->store_ops == 0) /* else the last checkpoint frees it */
        turn_free(t);
}

/* What the current step waited for is there. */
static void turn_continue(struct turn *t) {
    t->step++;
    turn_run(t);
}

/* ---- the end of a turn ---- */

static void release(struct turn *t) {
    timer_free(t->flush);
    timer_free(t->checkpoint);
    timer_free(t->retry);
    t->flush = t->checkpoint = t->retry = NULL;
    upstream_cancel(t->counting);
    upstream_cancel(t->call);
    t->counting = t->call = NULL;
    t->stream->turn = NULL;
    hub_leave(&t->t->hub, &t->in.user_id);
    atomic_fetch_sub(&t->t->running, 1);
    metric_add(M_TURNS_RUNNING, -1);
}

void turn_free(struct turn *t) {
    timer_free(t->flush); /* still there when it never started */
    timer_free(t->checkpoint);
    timer_free(t->retry);
    if (t->prev)
        t->prev->next = t->next;
    else if (t->tl->turns == t)
        t->tl->turns = t->next;
    if (t->next)
        t->next->prev = t->prev;
    stream_unref(t->stream);
    free(t->checkpoint_text);
    arena_free(t->arena);
    free(t);
}

/* Before `open` only: nothing is stored. */
static void turn_fail(struct turn *t, const struct errinfo *ei) {
    struct turn_loop *tl = t->tl;
    log_event(LOG_INFO, "turn.refused", LF_ID("message_id", &t->stream->message_id),
              LF_Z("step", steps[t->step].name), LF_Z("code", err_name(ei->code)));
    release(t);
    stream_fail(t->stream, ei);
    stream_ended(&t->t->hub, t->stream);
    turn_free(t);
    background_start(tl);
}

static struct errinfo explain(enum err e, const struct errinfo *ei) {
    struct errinfo mine;
    if (ei && ei->code == e && ei->message[0])
        return *ei;
    err_set(&mine, e, NULL);
    return mine;
}

/* ---- load, check ---- */

static void on_stored(void *arg, enum err e, const struct errinfo *ei) {
    struct turn *t = arg;
    t->store_ops--;
    if (t->detached)
        return;
    if (e) {
        struct errinfo mine = explain(e, ei);
        turn_fail(t, &mine);
    } else {
        turn_continue(t);
    }
}

static enum step_result step_load(struct turn *t, struct errinfo *ei) {
    enum err e = store_read(t->t->o.store, turn_load_fn, t, t->tl->loop, on_stored);
    if (e) {
        *ei = explain(e, NULL);
        return STEP_FAIL;
    }
    t->store_ops++;
    return STEP_WAIT;
}

/* The message that is answered to may itself be an answer that is only just being stored: then its
 * text is in its stream. One that is still being written cannot be built on. */
static enum err settle_parent(struct turn *t, struct errinfo *ei) {
    struct message *parent = t->n_branch ? &t->branch[t->n_branch - 1] : NULL;
    enum err e = ERR_OK;
    if (!parent || parent->status != MESSAGE_STREAMING)
        return ERR_OK;
    struct stream *s = hub_find(&t->t->hub, &parent->message_id);
    if (!s)
        return ERR_OK; /* its process died: what was checkpointed is what there is */
    pthread_mutex_lock(&s->lock);
    if (!s->ended)
        e = err_set(ei, ERR_CONFLICT,
                    "the answer before is still being written: wait for its end or stop it");
    else
        parent->content = arena_str(t->arena, buf_str(&s->text));
    pthread_mutex_unlock(&s->lock);
    stream_unref(s);
    if (!e && !parent->content.p)
        e = err_set(ei, ERR_NOMEM, NULL);
    return e;
}

static enum err choose_model(struct turn *t, struct errinfo *ei) {
    struct upstream *u = t->t->o.upstream;
    struct upstream_model *models;
    size_t n;
    bool known = upstream_models(u, t->arena, &models, &n) == ERR_OK;
    t->model = t->role.model;
    if (t->model.n && known && !upstream_has_model(u, t->model))
        return err_param(
            ei, ERR_NO_MODEL, "model",
            "the role \"%.*s\" asks for the model \"%.*s\", which the model server does "
            "not have; an administrator can change the role's model",
            STR_ARG(t->role.name), STR_ARG(t->model));
    if (!t->model.n && upstream_default_model(u, t->arena, &t->model))
        t->model = STR_NULL; /* not asked yet: the request will */
    return ERR_OK;
}

static void fill_rows(struct turn *t) {
    struct uuid parent = {{0}};
    if (t->n_branch)
        parent = t->branch[t->n_branch - 1].message_id;
    if (t->in.kind == TURN_MESSAGE) {
        struct message *q = &t->question;
        q->conversation_id = t->in.conversation_id;
        q->parent_id = parent;
        q->sender = SENDER_USER;
        q->content = t->in.content;
        q->timestamp = t->started_wall_ms;
        q->response_latency_ms = q->ttft_ms = -1;
        q->prompt_tokens = q->completion_tokens = -1;
        parent = q->message_id;
        t->branch[t->n_branch++] = *q;
        if (!t->conversation.title.n && !t->conversation.title_is_users)
            title_from_question(t->in.content, t->title);
    }
    t->answer = (struct message){
        .message_id = t->stream->message_id,
        .conversation_id = t->in.conversation_id,
        .parent_id = parent,
        .sender = SENDER_ASSISTANT,
        .content = STR(""),
        .timestamp = t->started_wall_ms,
        .response_latency_ms = -1,
        .status = MESSAGE_STREAMING,
        .ttft_ms = -1,
        .role_id = t->role.role_id,
        .role_version = t->role.version,
        .model = t->model,
        .prompt_tokens = -1,
        .completion_tokens = -1,
    };
}

static enum step_result step_check(struct turn *t, struct errinfo *ei) {
    if (settle_parent(t, ei) || choose_model(t, ei))
        return STEP_FAIL;
    if (t->in.kind == TURN_REGENERATE &&
        (!t->n_branch || t->branch[t->n_branch - 1].sender != SENDER_USER)) {
        err_set(ei, ERR_INVALID, "there is no question before this answer to answer again");
        return STEP_FAIL;
    }
    fill_rows(t);
    return STEP_DONE;
}

/* ---- fit ---- */

static void on_counted(void *ctx, enum err e, const int *counts, size_t n) {
    struct turn *t = ctx;
    struct errinfo ei;
    (void)n;
    t->counting = NULL;
    prompt_set_counts(&t->prompt, t->t->counts, e ? NULL : counts);
    if (prompt_cut(&t->prompt, t->arena, &ei))
        turn_fail(t, &ei);
    else
        turn_continue(t);
}

static enum step_result step_fit(struct turn *t, struct errinfo *ei) {
    struct upstream *u = t->t->o.upstream;
    struct prompt_input in = {
        .system_prompt = t->role.system_prompt,
        .summary = t->conversation.summary,
        .summary_until = t->conversation.summary_until,
        .branch = t->branch,
        .n = t->n_branch,
        .model = t->model,
        .window = upstream_context_window(u, t->model),
        .max_tokens = t->role.max_tokens > 0 ? t->role.max_tokens : t->t->o.default_max_tokens,
        .overhead = upstream_message_overhead(u, t->model),
    };
    struct str *texts;
    size_t n;
    enum err e = prompt_open(&in, t->arena, &t->prompt);
    if (!e && prompt_fits_by_bytes(&t->prompt))
        return STEP_DONE;
    if (!e)
        e = prompt_uncounted(&t->prompt, t->t->counts, t->arena, &texts, &n);
    if (e) {
        *ei = explain(e, NULL);
        return STEP_FAIL;
    }
    if (n && upstream_count_tokens(t->tl->client, t->model, texts, n, on_counted, t,
                                   &t->counting) == ERR_OK)
        return STEP_WAIT;
    prompt_set_counts(&t->prompt, t->t->counts, NULL);
    return prompt_cut(&t->prompt, t->arena, ei) ? STEP_FAIL : STEP_DONE;
}

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

static void end_answer(struct turn *t) {
    t->answered = true;
    if (is_at(t, step_answer))
        turn_continue(t);
}

static void on_token(void *ctx, struct str text) {
    struct turn *t = ctx;
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < sizeof sinks / sizeof *sinks; i++)
        e = sinks[i].take(t, text);
    if (!e)
        return;
    upstream_cancel(t->call);
    t->call = NULL;
    if (e == ERR_TOO_LARGE)
        snprintf(t->finish_reason, sizeof t->finish_reason, "length");
    else
        t->failure = explain(e, NULL);
    end_answer(t);
}

static void on_done(void *ctx, const struct chat_result *r) {
    struct turn *t = ctx;
    t->call = NULL;
    if (r->err)
        t->failure = explain(r->err, r->ei);
    snprintf(t->finish_reason, sizeof t->finish_reason, "%.*s", STR_ARG(r->finish_reason));
    t->prompt_tokens = r->prompt_tokens;
    t->completion_tokens = r->completion_tokens;
    end_answer(t);
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

static enum step_result step_submit(struct turn *t, struct errinfo *ei) {
    static const struct chat_callbacks callbacks = {
        .on_queued = on_queued, .on_token = on_token, .on_done = on_done};
    struct str stops[STOPS_MAX];
    struct chat_message *messages;
    size_t n;
    if (chat_messages(t, &messages, &n)) {
        *ei = explain(ERR_NOMEM, NULL);
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

static enum step_result step_append(struct turn *t, struct errinfo *ei) {
    enum err e = store_write(t->t->o.store, turn_append_fn, t, t->tl->loop, on_stored);
    if (e) {
        *ei = explain(e, NULL);
        return STEP_FAIL;
    }
    t->store_ops++;
    return STEP_WAIT;
}

static void publish_json(struct turn *t, enum stream_kind kind,
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

static void flush(struct turn *t) {
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

static void on_checkpointed(void *arg, enum err e, const struct errinfo *ei) {
    struct turn *t = arg;
    (void)ei;
    t->store_ops--;
    t->checkpointing = false;
    if (t->detached)
        return;
    if (t->step >= STEP_COUNT) {
        if (t->store_ops == 0)
            turn_free(t);
        return;
    }
    if (e == ERR_OK)
        t->checkpointed = t->checkpoint_n;
    else if (e == ERR_NOT_FOUND && is_at(t, step_answer))
        turn_stop_now(t); /* the conversation was deleted */
}

static void on_checkpoint_time(void *arg) {
    struct turn *t = arg;
    size_t n = t->stream->text.n;
    if (t->checkpointing || n == t->checkpointed)
        return;
    char *copy = realloc(t->checkpoint_text, n);
    if (!copy)
        return; /* the next second may have memory */
    memcpy(copy, t->stream->text.p, n);
    t->checkpoint_text = copy;
    t->checkpoint_n = n;
    if (store_write(t->t->o.store, turn_checkpoint_fn, t, t->tl->loop, on_checkpointed))
        return;
    t->checkpointing = true;
    t->store_ops++;
}

static void on_flush_time(void *arg) {
    flush(arg);
}

static void on_finish_again(void *arg) {
    turn_run(arg);
}

enum err turn_make_timers(struct turn *t) {
    t->flush = timer_new(t->tl->loop, on_flush_time, t);
    t->checkpoint = timer_new(t->tl->loop, on_checkpoint_time, t);
    t->retry = timer_new(t->tl->loop, on_finish_again, t);
    return t->flush && t->checkpoint && t->retry ? ERR_OK : ERR_NOMEM;
}

static enum step_result step_open(struct turn *t, struct errinfo *ei) {
    (void)ei;
    t->open = true;
    publish_json(t, STREAM_CREATED, fill_created);
    if (t->title[0])
        publish_json(t, STREAM_TITLE, fill_title);
    if (t->queued_position >= 0)
        publish_queued(t);
    flush(t);
    timer_start(t->checkpoint, CHECKPOINT_MS, true);
    return STEP_DONE;
}

/* ---- answer ---- */

static enum step_result step_answer(struct turn *t, struct errinfo *ei) {
    (void)ei;
    return t->answered ? STEP_DONE : STEP_WAIT;
}

static enum err sink_record(struct turn *t, struct str text) {
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
static enum err sink_publish(struct turn *t, struct str text) {
    (void)text;
    int64_t since = clock_mono_ns() - t->flushed_ns;
    if (!t->open)
        return ERR_OK;
    if (t->answer.ttft_ms < 0 || since >= FLUSH_MS * MS)
        flush(t);
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
    end_answer(t);
}

/* ---- finish ---- */

void turn_describe_answer(const struct turn *t, enum message_status status, struct message *ret) {
    *ret = t->answer;
    ret->content = t->stream->text.n ? buf_str(&t->stream->text) : STR("");
    ret->status = status;
    ret->finish_reason = str_from(t->finish_reason);
    ret->prompt_tokens = t->prompt_tokens;
    ret->completion_tokens = t->completion_tokens;
    ret->response_latency_ms = (clock_mono_ns() - t->in.arrived_ns) / MS;
    ret->error = t->failure.code ? str_from(t->failure.message) : STR("");
}

/* Also where store_write() itself refuses. */
static void finish_failed(struct turn *t, enum err e, const struct errinfo *ei) {
    if (e != ERR_NOT_FOUND && ++t->finish_tries < FINISH_TRIES) {
        timer_start(t->retry, FINISH_WAIT_MS, false);
        return;
    }
    if (!t->failure.code)
        t->failure = explain(e, ei); /* the row stays as it was checkpointed */
    t->answer.status = MESSAGE_FAILED;
    t->answer.error = str_from(t->failure.message);
    turn_continue(t);
}

static void on_finished(void *arg, enum err e, const struct errinfo *ei) {
    struct turn *t = arg;
    t->store_ops--;
    if (t->detached)
        return;
    if (e)
        finish_failed(t, e, ei);
    else
        turn_continue(t);
}

static enum step_result step_finish(struct turn *t, struct errinfo *ei) {
    (void)ei;
    timer_stop(t->flush);
    timer_stop(t->checkpoint);
    flush(t);
    if (t->finish_tries == 0) {
        struct message done;
        enum message_status status = t->failure.code ? MESSAGE_FAILED
                                     : t->stopping   ? MESSAGE_STOPPED
                                                     : MESSAGE_COMPLETE;
        if (!t->answer.model.n && !upstream_default_model(t->t->o.upstream, t->arena, &t->model))
            t->answer.model = t->model; /* the server was asked meanwhile */
        turn_describe_answer(t, status, &done);
        t->answer = done;
    }
    enum err e = store_write(t->t->o.store, turn_finish_fn, t, t->tl->loop, on_finished);
    if (!e)
        t->store_ops++;
    else
        finish_failed(t, e, NULL);
    return STEP_WAIT;
}

/* ---- close ---- */

static void fill_done(struct buf *b, const struct turn *t) {
    event_done(b, &t->answer);
}

static void fill_error(struct buf *b, const struct turn *t) {
    event_error(b, &t->failure, &t->answer);
}

static void measure(const struct turn *t) {
    const struct message *m = &t->answer;
    metric_add(M_TURNS, 1);
    if (t->failure.code)
        metric_add(M_TURNS_FAILED, 1);
    metric_observe(M_TURN_SECONDS, (double)m->response_latency_ms / 1e3);
    if (m->completion_tokens > 0)
        metric_add(M_TOKENS_OUT, m->completion_tokens);
    if (m->prompt_tokens > 0)
        metric_add(M_TOKENS_IN, m->prompt_tokens);
    log_event(t->failure.code ? LOG_WARN : LOG_INFO, "turn.done",
              LF_ID("message_id", &m->message_id), LF_Z("status", message_status_name(m->status)),
              LF_Z("code", t->failure.code ? err_name(t->failure.code) : ""),
              LF_INT("ttft_ms", m->ttft_ms), LF_INT("latency_ms", m->response_latency_ms),
              LF_INT("prompt_tokens", m->prompt_tokens),
              LF_INT("completion_tokens", m->completion_tokens));
}

static enum step_result step_close(struct turn *t, struct errinfo *ei) {
    (void)ei;
    bool failed = t->failure.code != ERR_OK;
    publish_json(t, failed ? STREAM_ERROR : STREAM_DONE, failed ? fill_error : fill_done);
    measure(t);
    release(t);
    stream_ended(&t->t->hub, t->stream);
    if (t->prompt.was_cut)
        background_add_summary(t->tl, t);
    if (t->title[0] && t->t->o.titles && t->answer.status == MESSAGE_COMPLETE)
        background_add_title(t->tl, t);
    background_start(t->tl);
    return STEP_DONE;
}

/* ---- the loop goes away ---- */

void turn_interrupt(struct turn *t) {
    if (t->detached || t->step >= STEP_COUNT)
        return;
    bool finishing = is_at(t, step_finish) && t->store_ops > t->checkpointing;
    t->detached = true;
    if (!finishing) /* else the store reads the row, whose error may be this text */
        err_set(&t->failure, ERR_UNAVAILABLE, "Parley is being restarted; the text so far is kept");
    if (t->open && !finishing) {
        struct message stored;
        flush(t);
        turn_describe_answer(t, MESSAGE_INTERRUPTED, &stored);
        t->answer = stored;
        if (store_write(t->t->o.store, turn_finish_fn, t, NULL, NULL))
            t->answer.status = MESSAGE_INTERRUPTED; /* the next start marks the row */
        publish_json(t, STREAM_ERROR, fill_error);
    } else if (!t->open) {
        stream_fail(t->stream, &t->failure);
    }
    release(t);
    stream_ended(&t->t->hub, t->stream);
}
