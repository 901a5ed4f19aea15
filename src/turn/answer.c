/* The answer on its way: its row, its events and the sinks that each piece passes. Steps append,
 * open and answer; sinks record and publish. */
#include <stdio.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "turn/turn_internal.h"

#define CHECKPOINT_BYTES 1024 /* so much new text is stored without waiting for the time */

/* ---- append, open ---- */

enum step_result turn_step_append(struct turn *t, struct errinfo *ei) {
    if (turn_whole_wait(t))
        return STEP_WAIT;
    t->begun = t->answer;
    atomic_store(&t->append, APPEND_QUEUED);
    if (t->answered)
        turn_whole_make(t);
    enum err e = store_write_again(t->t->o.store, turn_append_fn, t, t->tl->loop, turn_on_stored);
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

void turn_flush(struct turn *t, bool at_once) {
    if (t->stream->published == t->stream->text.n)
        return;
    int64_t now = clock_mono_ns();
    if (t->answer.ttft_ms < 0) {
        t->answer.ttft_ms = (now - t->in.arrived_ns) / MS;
        metric_observe(M_TTFT_SECONDS, (double)(now - t->in.arrived_ns) / 1e9);
    }
    t->flushed_ns = now;
    t->tl->flushes++;
    stream_publish_text(t->stream, at_once);
}

static void publish_queued(struct turn *t) {
    char text[48];
    int n = snprintf(text, sizeof text, "{\"position\":%d}", t->queued_position);
    stream_publish(t->stream, STREAM_QUEUED, (struct str){text, (size_t)n});
}

void turn_queued(struct turn *t, int position) {
    if (t->queued_position == position)
        return;
    t->queued_position = position;
    if (t->open)
        publish_queued(t);
}

enum step_result turn_step_open(struct turn *t, struct errinfo *ei) {
    (void)ei;
    t->open = true;
    if (t->in.kind != TURN_RESUME) /* whoever comes to that one has seen it, or is told the text */
        turn_publish_json(t, STREAM_CREATED, fill_created);
    degrade_tell(t);
    if (t->title[0])
        turn_publish_json(t, STREAM_TITLE, fill_title);
    if (t->queued_position >= 0)
        publish_queued(t);
    turn_flush(t, false);
    if (atomic_load(&t->append) != APPEND_TAKEN_WHOLE)
        turn_checkpoint_begin(t);
    return STEP_DONE;
}

/* ---- answer ---- */

enum step_result turn_step_answer(struct turn *t, struct errinfo *ei) {
    (void)ei;
    turn_guard_answer(t);
    if (t->approved.n && !t->answered)
        turn_serve_approved(t);
    return t->answered ? STEP_DONE : STEP_WAIT;
}

void turn_received(struct turn *t, struct str text) {
    enum err e = turn_take(t, text);
    if (!e)
        return;
    turn_guard_release(t);
    turn_hang_up(t);
    if (e == ERR_TOO_LARGE)
        snprintf(t->finish_reason, sizeof t->finish_reason, "length");
    else
        t->failure = turn_explain(e, NULL);
    turn_end_answer(t);
}

enum err turn_sink_record(struct turn *t, struct str text) {
    struct stream *s = t->stream;
    size_t n = text.n <= TURN_ANSWER_MAX - s->text.n ? text.n
                                                     : utf8_cut(text, TURN_ANSWER_MAX - s->text.n);
    pthread_mutex_lock(&s->lock);
    buf_add(&s->text, text.p, n);
    enum err e = buf_err(&s->text);
    pthread_mutex_unlock(&s->lock);
    if (!e && t->open && s->text.n - t->checkpointed >= CHECKPOINT_BYTES)
        turn_checkpoint_hurry(t);
    return e ? e : n < text.n ? ERR_TOO_LARGE : ERR_OK;
}

/* ---- pieces go out together ---- */

void turn_flush_forget(struct turn *t) {
    if (!t->due)
        return;
    t->due = false;
    *(t->due_prev ? &t->due_prev->due_next : &t->tl->due) = t->due_next;
    if (t->due_next)
        t->due_next->due_prev = t->due_prev;
}

/* All that was read in this round of the loop is in the texts. */
static void flush_due(void *arg) {
    struct turn_loop *tl = arg;
    while (tl->due) {
        struct turn *t = tl->due;
        turn_flush_forget(t);
        turn_flush(t, true);
    }
}

static void flush_soon(struct turn *t) {
    struct turn_loop *tl = t->tl;
    if (t->due)
        return;
    if (!tl->due && loop_post(tl->loop, flush_due, tl)) {
        turn_flush(t, false); /* no memory to do it later */
        return;
    }
    t->due = true;
    t->due_prev = NULL;
    t->due_next = tl->due;
    if (tl->due)
        tl->due->due_prev = t;
    tl->due = t;
}

/* The first piece goes out at once, and so does one after a pause; pieces that come in quick
 * succession go out together. */
enum err turn_sink_publish(struct turn *t, struct str text) {
    (void)text;
    int64_t since = clock_mono_ns() - t->flushed_ns;
    if (!t->open)
        return ERR_OK;
    int together = t->tl->apart_ms;
    if (t->answer.ttft_ms < 0 || since >= (together - PACE_EARLY_MS) * MS) {
        t->flushing = false;
        flush_soon(t);
    } else if (!t->flushing && !t->due) {
        t->flushing = true;
        timer_start(t->flush, together - since / MS, false);
    }
    return ERR_OK;
}

void turn_end_answer(struct turn *t) {
    t->answered = true;
    if (turn_is_at(t, turn_step_answer))
        turn_continue(t);
    else if (turn_is_at(t, turn_step_append))
        turn_whole_make(t);
}

void turn_stop_now(struct turn *t) {
    if (t->answered || t->stopping)
        return;
    t->stopping = true;
    turn_hang_up(t);
    if (!turn_guard_end(t)) /* else when what is held was judged */
        turn_end_answer(t);
}
