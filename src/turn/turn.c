/* One turn, from the request to the stored answer. The table of steps is its course, the table of
 * sinks what happens to each piece of the answer; both are walked in order.
 *
 *   load → check → guard → retrieve → fit → submit → verdict → append → open → answer → cite →
 * finish → close                │        (tokens that come before `open` are recorded, not sent) a
 * failure before `open`: on_fail, nothing is stored a failure after it: the text so far is stored
 * with status failed; the stream ends with error
 *
 * The request is on its way to the model (submit) while the question is being made durable
 * (append); nothing goes out before it is. All of this runs on the turn's loop. */
#include <stdlib.h>

#include "base/log.h"
#include "base/metrics.h"
#include "turn/talks.h"
#include "turn/turn_internal.h"

static const struct step {
    const char *name;
    enum step_result (*run)(struct turn *t, struct errinfo *ei);
    bool for_model; /* left out when the guard refused the question */
} steps[] = {
    {"hold", turn_step_hold, false},        /* the running ones first, when the loop is late */
    {"load", turn_step_load, false},        /* conversation, role and branch, in one read */
    {"check", turn_step_check, false},      /* may it be answered, and by which model */
    {"guard", turn_step_guard, false},      /* what is asked, judged under the role's policy */
    {"recall", turn_step_recall, true},     /* an answer that was approved for this question */
    {"spare", turn_step_spare, true},       /* or, when there is too much to do, none other */
    {"retrieve", turn_step_retrieve, true}, /* passages of documents for the question */
    {"fit", turn_step_fit, true},           /* the prompt into the model's window */
    {"submit", turn_step_submit, true},     /* to the model server; it works from here on */
    {"verdict", turn_step_verdict, false},  /* what the guard says in the end */
    {"append", turn_step_append, false},    /* question and answer's row, in one durable write */
    {"open", turn_step_open, false},        /* the first events go out */
    {"answer", turn_step_answer, false},    /* until the model has said all */
    {"cite", turn_step_cite, false},        /* which of its sentences stand in the passages */
    {"finish", turn_step_finish, false},    /* the answer's final row */
    {"close", turn_step_close, false},      /* the last event, metrics, what is done afterwards */
};
#define STEP_COUNT (int)(sizeof steps / sizeof *steps)

static const struct sink {
    const char *name;
    enum err (*take)(struct turn *t, struct str text); /* an error ends the answer there */
} sinks[] = {
    {"record", turn_sink_record},   /* the text of the answer, for checkpoints and the store */
    {"publish", turn_sink_publish}, /* to those who are attached */
};

bool turn_is_at(const struct turn *t, enum step_result (*run)(struct turn *, struct errinfo *)) {
    return t->step < STEP_COUNT && steps[t->step].run == run;
}

bool turn_is_over(const struct turn *t) {
    return t->step >= STEP_COUNT;
}

enum err turn_take(struct turn *t, struct str text) {
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < sizeof sinks / sizeof *sinks; i++)
        e = sinks[i].take(t, text);
    return e;
}

void turn_run(struct turn *t) {
    while (t->step < STEP_COUNT) {
        struct errinfo ei = {0};
        bool skip = steps[t->step].for_model && t->guard.refused;
        enum step_result r = skip ? STEP_DONE : steps[t->step].run(t, &ei);
        if (r == STEP_WAIT)
            return;
        if (r == STEP_FAIL) {
            turn_fail(t, &ei);
            return;
        }
        t->step++;
    }
    if (t->store_ops == 0 && !t->late) /* else the last write frees it */
        turn_free(t);
}

void turn_continue(struct turn *t) {
    t->step++;
    turn_run(t);
}

/* ---- the end of a turn ---- */

void turn_release(struct turn *t) {
    pace_forget(t);
    turn_flush_forget(t);
    turn_checkpoint_end(t);
    timer_free(t->flush);
    timer_free(t->retry);
    t->flush = t->retry = NULL;
    turn_hang_up(t);
    turn_guard_release(t);
    turn_guard_stop_judging(t);
    timer_free(t->pause);
    t->pause = NULL;
    t->stream->turn = NULL;
    recover_ended(t);
    hub_leave(&t->t->hub, &t->in.user_id);
    atomic_fetch_sub(&t->t->running, 1);
    metric_add(M_TURNS_RUNNING, -1);
}

void turn_free(struct turn *t) {
    pace_forget(t);
    turn_flush_forget(t);
    timer_free(t->pause);
    timer_free(t->flush); /* still there when it never started */
    timer_free(t->retry);
    t->tl->n_turns -= t->enlisted;
    if (t->prev)
        t->prev->next = t->next;
    else if (t->tl->turns == t)
        t->tl->turns = t->next;
    if (t->next)
        t->next->prev = t->prev;
    stream_unref(t->stream);
    turn_guard_free(t);
    talk_free(t->talk);
    arena_free(t->arena);
    free(t);
}

/* An answer that was taken up is there, whatever is wrong with going on: it ends with its text. */
static bool finish_resumed(struct turn *t, const struct errinfo *ei) {
    if (t->in.kind != TURN_RESUME || !uuid_is_set(&t->answer.message_id))
        return false;
    t->failure = *ei;
    t->open = t->answered = true;
    turn_hang_up(t);
    while (!turn_is_at(t, turn_step_finish))
        t->step++;
    turn_run(t);
    return true;
}

void turn_fail(struct turn *t, const struct errinfo *ei) {
    struct turn_loop *tl = t->tl;
    if (finish_resumed(t, ei))
        return;
    log_event(LOG_INFO, "turn.refused", LF_ID("message_id", &t->stream->message_id),
              LF_Z("step", steps[t->step].name), LF_Z("code", err_name(ei->code)));
    turn_release(t);
    stream_fail(t->stream, ei);
    stream_ended(&t->t->hub, t->stream);
    turn_free(t);
    background_start(tl);
}

struct errinfo turn_explain(enum err e, const struct errinfo *ei) {
    struct errinfo mine;
    if (ei && ei->code == e && ei->message[0])
        return *ei;
    err_set(&mine, e, NULL);
    return mine;
}
