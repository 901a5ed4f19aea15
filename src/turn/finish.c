/* What makes an answer last: its final row, the last event, and its last words when its loop goes
 * away. Steps finish and close. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "turn/talks.h"
#include "turn/turn_internal.h"

#define FINISH_TRIES   5
#define FINISH_WAIT_MS 500
#define LATE_WAIT_MS   2000

/* ---- timers ---- */

static void on_flush_time(void *arg) {
    struct turn *t = arg;
    t->flushing = false;
    turn_flush(t, true);
}

static void on_finish_again(void *arg) {
    turn_run(arg);
}

enum err turn_make_timers(struct turn *t) {
    t->flush = timer_new(t->tl->loop, on_flush_time, t);
    t->retry = timer_new(t->tl->loop, on_finish_again, t);
    return t->flush && t->retry ? ERR_OK : ERR_NOMEM;
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

/* Also where store_write() itself refuses. When it fails for good the reader is told so, and the
 * row is tried on until the store works again or the process ends. */
static void finish_failed(struct turn *t, enum err e, const struct errinfo *ei) {
    if (e != ERR_NOT_FOUND && ++t->finish_tries < FINISH_TRIES) {
        timer_start(t->retry, FINISH_WAIT_MS, false);
        return;
    }
    t->late = e != ERR_NOT_FOUND;
    t->late_status = t->answer.status;
    if (!t->failure.code)
        t->failure = turn_explain(e, ei);
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

/* ---- a row that could not be stored when the answer ended ---- */

static void on_late_finished(void *arg, enum err e, const struct errinfo *ei) {
    struct turn *t = arg;
    (void)ei;
    t->store_ops--;
    if (t->detached)
        return;
    if (e && e != ERR_NOT_FOUND && t->retry) {
        timer_start(t->retry, LATE_WAIT_MS, false);
        return;
    }
    log_event(LOG_INFO, "turn.stored_late", LF_ID("message_id", &t->stream->message_id));
    t->late = false;
    if (t->store_ops == 0)
        turn_free(t);
}

static void on_late_time(void *arg) {
    struct turn *t = arg;
    if (store_write_again(t->t->o.store, turn_finish_fn, t, t->tl->loop, on_late_finished))
        timer_start(t->retry, LATE_WAIT_MS, false);
    else
        t->store_ops++;
}

static void finish_late(struct turn *t) {
    timer_free(t->retry);
    t->retry = timer_new(t->tl->loop, on_late_time, t);
    if (!t->retry) { /* the next start finds the row streaming, with its last checkpoint */
        t->late = false;
        return;
    }
    t->answer.status = t->late_status;
    if (t->late_status != MESSAGE_FAILED)
        t->answer.error = STR("");
    timer_start(t->retry, LATE_WAIT_MS, false);
}

enum step_result turn_step_finish(struct turn *t, struct errinfo *ei) {
    (void)ei;
    timer_stop(t->flush);
    turn_checkpoint_end(t);
    turn_flush(t, false);
    if (atomic_load(&t->append) == APPEND_TAKEN_WHOLE) {
        t->answer = t->whole;
        return STEP_DONE;
    }
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
    enum err e = store_write_again(t->t->o.store, turn_finish_fn, t, t->tl->loop, on_finished);
    if (!e)
        t->store_ops++;
    else
        finish_failed(t, e, NULL);
    return STEP_WAIT;
}

/* ---- close ---- */

static void fill_done(struct buf *b, const struct turn *t) {
    event_done(b, &t->answer, NULL);
    if (t->left_out && b->n && b->p[b->n - 1] == '}') {
        b->n--; /* one more member */
        buf_addz(b, ",\"degraded\":");
        degrade_add_json(b, t->left_out);
        buf_addc(b, '}');
    }
}

static void fill_error(struct buf *b, const struct turn *t) {
    event_error(b, &t->failure, &t->answer, NULL);
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
    tracer_add(t->tl->tracer, t);
    turn_tell_learning(t);
    turn_release(t);
    stream_ended(&t->t->hub, t->stream);
    if (t->late)
        finish_late(t);
    if (t->prompt.was_cut)
        background_add_summary(t->tl, t);
    if (t->title[0] && t->t->o.titles && t->answer.status == MESSAGE_COMPLETE &&
        !t->guard.vault) /* a title would be made of what was redacted */
        background_add_title(t->tl, t);
    background_start(t->tl);
    talks_put(t);
    return STEP_DONE;
}

/* ---- the loop goes away ---- */

struct last_words { /* in the turn's arena, which outlives the store */
    struct uuid message_id;
    struct str text;
    int64_t ttft_ms;
};

static enum err last_words_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    const struct last_words *w = arg;
    (void)ei;
    return message_checkpoint(tx, &w->message_id, w->text, w->ttft_ms);
}

/* A checkpoint that is under way has an older text, in the memory that it uses. */
static void store_last_words(struct turn *t) {
    struct last_words *w = arena_alloc(t->arena, sizeof *w);
    if (!w || t->stream->text.n == 0)
        return;
    *w = (struct last_words){t->stream->message_id, arena_str(t->arena, buf_str(&t->stream->text)),
                             t->answer.ttft_ms};
    if (w->text.p && store_write(t->t->o.store, last_words_fn, w, NULL, NULL))
        log_event(LOG_WARN, "turn.last_words_lost", LF_ID("message_id", &w->message_id));
}

/* The row stays `streaming` with all of the text: the next process goes on with it. */
void turn_interrupt(struct turn *t) {
    bool over = turn_is_over(t), finishing = turn_is_at(t, turn_step_finish);
    struct errinfo ei;
    if (t->detached)
        return;
    t->detached = true;
    if (over) {
        timer_free(t->retry); /* of a late row */
        t->retry = NULL;
        return;
    }
    if (t->open)
        err_set(&ei, ERR_UNAVAILABLE, "Parley is being restarted; the answer goes on afterwards");
    else if (atomic_load(&t->append) != APPEND_NONE)
        err_set(
            &ei, ERR_UNAVAILABLE,
            "Parley is being restarted; the message may be stored: look before sending it again");
    else
        err_set(&ei, ERR_UNAVAILABLE, "Parley is being restarted; nothing was stored, try again");
    if (t->open && !finishing)
        store_last_words(t);
    stream_fail(t->stream, &ei);
    turn_release(t);
    stream_ended(&t->t->hub, t->stream);
}
