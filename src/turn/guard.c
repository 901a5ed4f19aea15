/* The guard and the answer of a turn: each piece is judged before it goes out (safety/stream.h).
 *
 *   answer: blocked in its middle ─→ the model is stopped, what was not let through is stored
 * nowhere but in the case, `blocked` goes out, finish_reason "content_filter"
 *
 * The question is guard_question.c's. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "safety/record.h"
#include "turn/turn_internal.h"

#define JSON_CAP ((size_t)64 << 10)
#define FILTERED "content_filter"

const struct policy_role *turn_guard_role(const struct turn *t, struct str *ret_slug) {
    char slug[ROLE_SLUG_SIZE];
    size_t n = role_slug(t->role.name, slug, sizeof slug);
    const struct policy_role *r = policy_for(t->guard.policy, (struct str){slug, n});
    *ret_slug = r->slug;
    return r;
}

/* The verdict as it is stored and sent; "" when there is nothing to tell. */
struct str turn_guard_verdict_json(struct turn *t, const struct safety_verdict *v,
                                   enum safety_direction d, struct str words, struct str notice) {
    struct buf b;
    struct str s = STR("");
    if (v->action == SAFETY_ALLOW && !notice.n)
        return s;
    buf_init(&b, JSON_CAP);
    buf_addf(&b, "{\"direction\":\"%s\",", safety_direction_name(d));
    safety_verdict_members(v, &b);
    buf_addz(&b, ",\"message\":");
    if (words.n) {
        buf_addc(&b, '"');
        buf_add_json(&b, words);
        buf_addc(&b, '"');
    } else {
        buf_addz(&b, "null");
    }
    if (notice.n) {
        buf_addz(&b, ",\"notice\":\"");
        buf_add_json(&b, notice);
        buf_addc(&b, '"');
    }
    buf_addc(&b, '}');
    if (!buf_err(&b))
        s = arena_str(t->arena, buf_str(&b));
    buf_deinit(&b);
    return s.p ? s : STR("");
}

bool turn_guard_is_first(const struct turn *t) {
    for (size_t i = 0; i < t->n_branch; i++)
        if (t->branch[i].sender == SENDER_ASSISTANT)
            return false;
    return true;
}

/* ---- the answer ---- */

static void fill_blocked(struct buf *b, const struct turn *t) {
    buf_addf(b, "{\"direction\":\"%s\",\"category\":\"%s\",\"message\":\"",
             t->guard.refused ? "input" : "output",
             safety_category_name(t->guard.refused ? t->guard.in.category : t->guard.out.category));
    buf_add_json(b, t->guard.words);
    buf_addz(b, "\",\"text\":\"");
    buf_add_json(b, buf_str(&t->stream->text));
    buf_addz(b, "\"}");
}

static void fill_reset(struct buf *b, const struct turn *t) {
    event_text(b, buf_str(&t->stream->text));
}

static void announce(struct turn *t) {
    if (t->guard.announced || !t->open)
        return;
    t->guard.announced = true;
    turn_publish_json(t, STREAM_BLOCKED, fill_blocked);
}

void turn_guard_answer(struct turn *t) {
    if (t->guard.refused && !t->guard.announced) {
        announce(t);
        snprintf(t->finish_reason, sizeof t->finish_reason, FILTERED);
        t->answered = true;
        if (!t->stream->text.n) /* else it was taken up again */
            turn_received(t, t->guard.words);
    } else if (t->guard.cut_off) {
        announce(t);
    }
}

static void on_text(void *ctx, struct str text) {
    turn_received(ctx, text);
}

/* Of the answer, what stands before the finding stays. */
static void cut_text(struct turn *t, size_t keep) {
    struct str text = buf_str(&t->stream->text); /* only this loop changes it */
    keep = utf8_cut(text, keep < text.n ? keep : text.n);
    t->checkpointed = t->checkpointed < keep ? t->checkpointed : keep;
    if (stream_cut(t->stream, keep))
        turn_publish_json(t, STREAM_RESET, fill_reset);
}

static void on_block(void *ctx, const struct safety_verdict *v, size_t keep, struct str blocked) {
    struct turn *t = ctx;
    struct str slug;
    struct buf b;
    const struct policy_role *role = turn_guard_role(t, &slug);
    turn_hang_up(t);
    t->guard.out = *v;
    t->guard.cut_off = t->unsafe = true;
    t->guard.blocked = arena_str(t->arena, str_sub(blocked, 0, CASE_TEXT_MAX));
    buf_init(&b, JSON_CAP);
    policy_refusal(t->guard.policy, role, v->category, str_from(t->guard.country), &b);
    t->guard.words = buf_err(&b) || !b.n ? STR("") : arena_str(t->arena, buf_str(&b));
    buf_deinit(&b);
    for (size_t i = 0; i < t->guard.out.n; i++) /* places in a window mean nothing in the answer */
        t->guard.out.findings[i].from = t->guard.out.findings[i].to = 0;
    t->answer.safety =
        turn_guard_verdict_json(t, &t->guard.out, SAFETY_OUTPUT, t->guard.words, STR(""));
    t->guard.out_told = true;
    metric_add(M_GUARD_BLOCKED, 1);
    log_event(LOG_INFO, "guard.blocked", LF_ID("message_id", &t->answer.message_id),
              LF_Z("category", safety_category_name(v->category)),
              LF_Z("source", v->findings[0].source), LF_INT("policy", v->policy_version));
    turn_guard_release(t);
    cut_text(t, keep);
    snprintf(t->finish_reason, sizeof t->finish_reason, FILTERED);
    announce(t);
    if (t->stream->text.n == 0)
        turn_received(t, t->guard.words);
    if (!t->answered)
        turn_end_answer(t);
}

/* What was held of an answer that broke off is judged: now the rest. */
static void go_on(struct turn *t) {
    struct errinfo broken = t->guard.broken;
    t->guard.broken.code = ERR_OK;
    turn_guard_release(t);
    if (turn_ask_again(t))
        return;
    if (!t->stopping)
        t->failure = broken;
    turn_end_answer(t);
}

static void on_end(void *ctx, const struct safety_verdict *worst) {
    struct turn *t = ctx;
    if (t->guard.broken.code) {
        go_on(t);
        return;
    }
    metric_add(M_GUARD_JUDGED, 1);
    if (worst->action != SAFETY_ALLOW && t->guard.in.action < SAFETY_WARN) {
        struct str notice = STR(""), slug;
        if (t->answer.safety.n && turn_guard_is_first(t))
            notice = turn_guard_role(t, &slug)->notice;
        t->answer.safety = turn_guard_verdict_json(t, worst, SAFETY_OUTPUT, STR(""), notice);
        t->guard.out_told = true;
    }
    turn_guard_release(t);
    turn_end_answer(t);
}

static void on_fail(void *ctx, enum err e) {
    struct turn *t = ctx;
    turn_hang_up(t);
    t->failure = turn_explain(e, NULL);
    turn_guard_release(t);
    turn_end_answer(t);
}

static const struct safety_stream_callbacks callbacks = {on_text, on_block, on_end, on_fail};

bool turn_guard_feed(struct turn *t, struct str text) {
    if (!t->guard.policy)
        return false;
    enum err e = ERR_OK;
    if (!t->guard.stream) {
        struct str slug;
        const struct policy_role *role = turn_guard_role(t, &slug);
        struct safety_stream_options o = {
            .safety = t->t->o.safety,
            .jobs = t->t->o.safety_jobs,
            .loop = t->tl->loop,
            .policy = t->guard.policy,
            .role = slug,
            .canary = str_from(t->guard.canary),
            .vault = role->restore ? t->guard.vault : NULL,
            .before = buf_str(&t->stream->text),
        };
        e = safety_stream_new(&o, &callbacks, t, &t->guard.stream);
    }
    if (!e)
        e = safety_stream_feed(t->guard.stream, text);
    if (e)
        on_fail(t, e);
    return true;
}

bool turn_guard_end(struct turn *t) {
    if (!t->guard.stream)
        return false;
    safety_stream_end(t->guard.stream);
    return true;
}

bool turn_guard_settle(struct turn *t, const struct chat_result *r) {
    if (!t->guard.stream)
        return false;
    t->guard.broken = turn_explain(r->err, r->ei);
    safety_stream_end(t->guard.stream);
    return true;
}

enum err turn_guard_finish(struct store_tx *tx, struct turn *t) {
    if (!t->guard.cut_off)
        return ERR_OK;
    struct safety_block b = {.user_id = t->in.user_id,
                             .conversation_id = t->in.conversation_id,
                             .message_id = t->answer.message_id,
                             .path = "native",
                             .verdict = &t->guard.out,
                             .direction = SAFETY_OUTPUT,
                             .text = t->guard.blocked.p ? t->guard.blocked : STR("")};
    return safety_record_block(tx, t->guard.policy, &b);
}

void turn_guard_release(struct turn *t) {
    safety_stream_free(t->guard.stream);
    t->guard.stream = NULL;
}

void turn_guard_free(struct turn *t) {
    turn_guard_release(t);
    turn_guard_stop_judging(t);
    free(t->guard.embedding);
    free(t->guard.talk_embedding);
    pii_vault_free(t->guard.vault);
    policy_unref(t->guard.policy);
}
