/* Before the model is asked: the conversation is loaded (one read), it is found out whether and by
 * which model it may be answered, and the prompt is fitted into the model's window. Steps load,
 * check and fit; what fails here stores nothing. */
#include "turn/talks.h"
#include "turn/turn_internal.h"

/* ---- load, check ---- */

void turn_on_stored(void *arg, enum err e, const struct errinfo *ei) {
    struct turn *t = arg;
    t->store_ops--;
    if (t->detached)
        return;
    if (e) {
        struct errinfo mine = turn_explain(e, ei);
        turn_fail(t, &mine);
    } else {
        turn_continue(t);
    }
}

enum step_result turn_step_load(struct turn *t, struct errinfo *ei) {
    if (t->in.kind == TURN_MESSAGE)
        turn_guard_embed(t, t->in.content);
    if (talks_take(t))
        return STEP_DONE;
    enum err e = store_read(t->t->o.store, turn_load_fn, t, t->tl->loop, turn_on_stored);
    if (e) {
        *ei = turn_explain(e, NULL);
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
    bool recovered = atomic_load(&t->t->recovered); /* before: then its stream is there */
    struct stream *s = hub_find(&t->t->hub, &parent->message_id);
    if (!s && recovered)
        return ERR_OK; /* it could not be taken up: what was checkpointed is what there is */
    if (!s && (e = store_health(t->t->o.store, ei)) != ERR_OK)
        return e; /* nor will it be, while nothing can be written */
    if (!s)
        return turn_taken_over_soon(ei);
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
        q->attachments = t->attachments;
        q->timestamp = t->started_wall_ms;
        q->response_latency_ms = q->ttft_ms = -1;
        q->prompt_tokens = q->completion_tokens = -1;
        parent = q->message_id;
        t->branch[t->n_branch++] = *q;
        if (!t->conversation.title.n && !t->conversation.title_is_users)
            title_from_question(t->in.content, t->title);
    }
    if (t->in.kind == TURN_RESUME)
        return; /* its row is there */
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

enum step_result turn_step_check(struct turn *t, struct errinfo *ei) {
    turn_choose_arm(t);
    if (t->in.kind != TURN_RESUME) {
        t->level = degrade_now(t->t);
        degrade_model(t);
    }
    if (settle_parent(t, ei) || choose_model(t, ei))
        return STEP_FAIL;
    if (t->in.kind != TURN_MESSAGE &&
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

enum step_result turn_step_fit(struct turn *t, struct errinfo *ei) {
    if (t->approved.n)
        return STEP_DONE;
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
        *ei = turn_explain(e, NULL);
        return STEP_FAIL;
    }
    if (n && upstream_count_tokens(t->tl->client, t->model, texts, n, on_counted, t,
                                   &t->counting) == ERR_OK)
        return STEP_WAIT;
    prompt_set_counts(&t->prompt, t->t->counts, NULL);
    return prompt_cut(&t->prompt, t->arena, ei) ? STEP_FAIL : STEP_DONE;
}
