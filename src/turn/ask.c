/* Asking the model: once for a whole answer, or again for the rest of one that broke off because
 * the model server, the connection or the former process died. Step submit.
 *
 *   asking ──tokens──→ whole
 *     │ └─ broke off ─→ pausing ─→ counting ─→ asking for the rest, from the exact text so far
 *     └─ refused ─→ failed
 *
 * What the reader has seen stays: the request carries the text so far, and the model goes on behind
 * its last byte. A server that cannot do that begins anew; as long as it says the same nobody
 * notices, and when it says something else the text is taken back to where they part. An answer
 * that breaks off again and again without a new word fails. All of this runs on the turn's loop. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"
#include "turn/turn_internal.h"

#define STOPS_MAX       16
#define BREAKS_MAX      12 /* of one answer */
#define BREAKS_IDLE_MAX 3  /* one after the other without a new word */
#define PAUSE_FIRST_MS  20
#define PAUSE_MAX_MS    2000

/* ---- what comes back ---- */

static void on_queued(void *ctx, int position) {
    turn_queued(ctx, position);
}

void turn_hang_up(struct turn *t) {
    turn_retrieve_stop(t);
    upstream_cancel(t->counting);
    upstream_cancel(t->call);
    t->counting = t->call = NULL;
    if (t->pause)
        timer_stop(t->pause);
}

static void on_token(void *ctx, struct str text) {
    struct turn *t = ctx;
    t->breaks_idle = 0;
    if (t->answer.ttft_ms >= 0)
        upstream_pace(t->call);
    if (!turn_guard_feed(t, text))
        turn_received(t, text);
}

/* The server could not go on with the text and says something else from byte `same` on. */
static void on_parted(void *ctx, size_t same) {
    struct turn *t = ctx;
    turn_guard_release(t);
    stream_take_back(t->stream, same);
    t->checkpointed = t->checkpointed < same ? t->checkpointed : same;
}

static void fail_with(struct turn *t, const struct errinfo *ei) {
    t->failure = *ei;
    turn_end_answer(t);
}

static void on_done(void *ctx, const struct chat_result *r) {
    struct turn *t = ctx;
    t->call = NULL;
    t->told_ns = clock_mono_ns();
    if (r->err && r->broke_off && (turn_guard_settle(t, r) || turn_ask_again(t)))
        return;
    if (r->err)
        t->failure = turn_explain(r->err, r->ei);
    else
        turn_whole_note(t);
    snprintf(t->finish_reason, sizeof t->finish_reason, "%.*s", STR_ARG(r->finish_reason));
    t->prompt_tokens = r->prompt_tokens;
    t->completion_tokens = r->completion_tokens;
    if (!turn_guard_end(t))
        turn_end_answer(t);
}

/* ---- the request ---- */

static enum err chat_messages(struct turn *t, struct chat_message **ret, size_t *ret_n) {
    const struct prompt *p = &t->prompt;
    struct chat_message *list = arena_array(t->arena, p->n - p->first + 2, sizeof *list);
    size_t n = 0;
    if (!list)
        return ERR_NOMEM;
    if (p->system.n)
        list[n++] = (struct chat_message){CHAT_SYSTEM, p->system};
    for (size_t i = p->first; i < p->n; i++)
        list[n++] = (struct chat_message){
            p->items[i].sender == SENDER_USER ? CHAT_USER : CHAT_ASSISTANT, p->items[i].content};
    if (t->stream->text.n)
        list[n++] = (struct chat_message){CHAT_ASSISTANT, buf_str(&t->stream->text)};
    *ret = list;
    *ret_n = n;
    return ERR_OK;
}

/* The role's stop texts, from the JSON list of its row. */
static size_t stop_texts(struct turn *t, struct str stops[STOPS_MAX]) {
    yyjson_doc *doc;
    size_t n = 0, i, count;
    yyjson_val *v;
    if (t->role.stop.n <= 2 || json_parse(t->role.stop, &doc, NULL)) /* mostly "[]" */
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

static enum err ask(struct turn *t, struct errinfo *ei) {
    static const struct chat_callbacks callbacks = {
        .on_queued = on_queued, .on_token = on_token, .on_parted = on_parted, .on_done = on_done};
    struct str stops[STOPS_MAX];
    struct chat_message *messages;
    size_t n;
    if (chat_messages(t, &messages, &n))
        return err_set(ei, ERR_NOMEM, NULL);
    struct chat_request r = {
        .model = t->role.model,
        .messages = messages,
        .n_messages = n,
        .temperature = t->role.temperature,
        .top_p = t->role.top_p,
        .max_tokens = t->prompt.max_tokens,
        .begun_tokens = t->tokens_before,
        .stop = stops,
        .n_stop = stop_texts(t, stops),
        .conversation_key = uuid_str(&t->in.conversation_id),
        .user_key = uuid_str(&t->in.user_id),
        .continue_last = t->stream->text.n > 0,
        .plan = t->plan,
        .trace_header = t->trace.header,
    };
    if (!t->asked_ns)
        t->asked_ns = clock_mono_ns();
    return upstream_chat(t->tl->client, &r, &callbacks, t, &t->call, ei);
}

/* ---- the rest of an answer ---- */

static void ask_for_rest(struct turn *t) {
    struct errinfo ei;
    if (ask(t, &ei))
        fail_with(t, &ei);
}

static void on_counted(void *ctx, enum err e, const int *counts, size_t n) {
    struct turn *t = ctx;
    t->counting = NULL;
    t->tokens_before = !e && n ? counts[0] : 0;
    ask_for_rest(t);
}

/* How much of max_tokens the text has used up, where the server does not reckon that itself. */
static void count_and_ask(struct turn *t) {
    struct str text = buf_str(&t->stream->text);
    t->tokens_before = 0;
    if (text.n == 0 || upstream_goes_on(t->t->o.upstream) ||
        upstream_count_tokens(t->tl->client, t->model, &text, 1, on_counted, t, &t->counting))
        ask_for_rest(t);
}

static void on_pause_over(void *arg) {
    count_and_ask(arg);
}

bool turn_ask_again(struct turn *t) {
    if (t->guard.vault) /* what the model wrote is not what the reader sees */
        return false;
    if (t->stopping || t->detached || t->breaks >= BREAKS_MAX || t->breaks_idle >= BREAKS_IDLE_MAX)
        return false;
    if (!t->pause && !(t->pause = timer_new(t->tl->loop, on_pause_over, t)))
        return false;
    int64_t ms = (int64_t)PAUSE_FIRST_MS << (3 * t->breaks_idle);
    t->breaks++;
    t->breaks_idle++;
    metric_add(M_TURNS_CONTINUED, 1);
    log_event(LOG_INFO, "turn.continued", LF_ID("message_id", &t->stream->message_id),
              LF_INT("bytes", (int64_t)t->stream->text.n), LF_INT("breaks", t->breaks));
    timer_start(t->pause, ms < PAUSE_MAX_MS ? ms : PAUSE_MAX_MS, false);
    return true;
}

enum step_result turn_step_submit(struct turn *t, struct errinfo *ei) {
    if (t->answered || t->approved.n) /* stopped before it began, or nothing to be asked */
        return STEP_DONE;
    if (t->stream->text.n) { /* taken up again: the steps go on meanwhile */
        count_and_ask(t);
        return STEP_DONE;
    }
    return ask(t, ei) ? STEP_FAIL : STEP_DONE;
}
