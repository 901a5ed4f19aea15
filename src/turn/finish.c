/* What makes an answer last: checkpoints while it is written, its final row, the last event, and
 * the mark that it was interrupted when its loop goes away. Steps finish and close. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "turn/turn_internal.h"

#define FINISH_TRIES   5
#define FINISH_WAIT_MS 500

/* ---- checkpoints ---- */

static void on_checkpointed(void *arg, enum err e, const struct errinfo *ei) {
    struct turn *t = arg;
    (void)ei;
    t->store_ops--;
    t->checkpointing = false;
    if (t->detached)
        return;
    if (turn_is_over(t)) {
        if (t->store_ops == 0)
            turn_free(t);
        return;
    }
    if (e == ERR_OK)
        t->checkpointed = t->checkpoint_n;
    else if (e == ERR_NOT_FOUND && turn_is_at(t, turn_step_answer))
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
    turn_flush(arg);
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
        t->failure = turn_explain(e, ei); /* the row stays as it was checkpointed */
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

enum step_result turn_step_finish(struct turn *t, struct errinfo *ei) {
    (void)ei;
    timer_stop(t->flush);
    timer_stop(t->checkpoint);
    turn_flush(t);
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

enum step_result turn_step_close(struct turn *t, struct errinfo *ei) {
    (void)ei;
    bool failed = t->failure.code != ERR_OK;
    turn_publish_json(t, failed ? STREAM_ERROR : STREAM_DONE, failed ? fill_error : fill_done);
    measure(t);
    turn_tell_learning(t);
    turn_release(t);
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
    if (t->detached || turn_is_over(t))
        return;
    bool finishing = turn_is_at(t, turn_step_finish) && t->store_ops > t->checkpointing;
    t->detached = true;
    if (!finishing) /* else the store reads the row, whose error may be this text */
        err_set(&t->failure, ERR_UNAVAILABLE, "Parley is being restarted; the text so far is kept");
    if (t->open && !finishing) {
        struct message stored;
        turn_flush(t);
        turn_describe_answer(t, MESSAGE_INTERRUPTED, &stored);
        t->answer = stored;
        if (store_write(t->t->o.store, turn_finish_fn, t, NULL, NULL))
            t->answer.status = MESSAGE_INTERRUPTED; /* the next start marks the row */
        turn_publish_json(t, STREAM_ERROR, fill_error);
    } else if (!t->open) {
        stream_fail(t->stream, &t->failure);
    }
    turn_release(t);
    stream_ended(&t->t->hub, t->stream);
}
