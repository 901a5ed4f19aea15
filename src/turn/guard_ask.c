/* Asking a guard model on an upstream, when the guard is uncertain about a question. It has
 * guard_timeout_ms; what does not answer in time, or not in its format, leaves the question to the
 * stated fallback: let through, or blocked as the category that was suspected. On the turn's loop.
 */
#include "base/log.h"
#include "base/metrics.h"
#include "turn/turn_internal.h"

#define ANSWER_MAX 512
#define MAX_TOKENS 24

static enum safety_category suspected(const struct turn *t) {
    int best = 0;
    for (int c = 1; c < SAFETY_CATEGORIES; c++)
        if (t->guard.in.scores[c] > t->guard.in.scores[best])
            best = c;
    return (enum safety_category)best;
}

static void add(struct turn *t, enum safety_category c, float score) {
    const char *name = t->t->o.guard_model ? t->t->o.guard_model : "model";
    char slug[ROLE_SLUG_SIZE];
    size_t n = role_slug(t->role.name, slug, sizeof slug);
    safety_add_guard(t->guard.policy, (struct str){slug, n}, SAFETY_INPUT, name, c, score,
                     &t->guard.in);
}

static void end(struct turn *t, bool answered) {
    bool harmful = false;
    enum safety_category c = suspected(t);
    upstream_cancel(t->guard.asking);
    t->guard.asking = NULL;
    timer_free(t->guard.patience);
    t->guard.patience = NULL;
    if (answered)
        answered =
            guard_answer_read(t->t->o.guard_format, buf_str(&t->guard.said), c, &harmful, &c);
    if (answered) {
        add(t, c, harmful ? GUARD_MODEL_YES : 0);
    } else {
        metric_add(M_GUARD_FALLBACKS, 1);
        log_event(LOG_WARN, "guard.fallback", LF_Z("to", t->t->o.guard_blocks ? "block" : "allow"));
        t->guard.in.degraded = true;
        if (t->t->o.guard_blocks)
            add(t, c, 1);
    }
    buf_deinit(&t->guard.said);
    turn_guard_settled(t);
}

static void on_token(void *ctx, struct str text) {
    struct turn *t = ctx;
    buf_adds(&t->guard.said, text);
}

static void on_done(void *ctx, const struct chat_result *r) {
    struct turn *t = ctx;
    t->guard.asking = NULL;
    end(t, r->err == ERR_OK);
}

static void on_late(void *arg) {
    end(arg, false);
}

bool turn_guard_ask(struct turn *t) {
    static const struct chat_callbacks callbacks = {.on_token = on_token, .on_done = on_done};
    struct guard_question q;
    struct errinfo ei;
    if (!t->tl->guard_client || !t->guard.in.uncertain)
        return false;
    enum err e = guard_question_make(t->t->o.guard_format, t->guard.asked, &q);
    struct chat_message m[2] = {{CHAT_SYSTEM, buf_str(&q.system)}, {CHAT_USER, buf_str(&q.user)}};
    bool with_system = q.system.n > 0;
    struct chat_request r = {
        .model = t->t->o.guard_model ? str_from(t->t->o.guard_model) : STR_NULL,
        .messages = with_system ? m : m + 1,
        .n_messages = with_system ? 2 : 1,
        .temperature = 0,
        .top_p = -1,
        .max_tokens = MAX_TOKENS,
    };
    buf_init(&t->guard.said, ANSWER_MAX);
    t->guard.patience = timer_new(t->tl->loop, on_late, t);
    if (!e && !t->guard.patience)
        e = ERR_NOMEM;
    if (!e)
        e = upstream_chat(t->tl->guard_client, &r, &callbacks, t, &t->guard.asking, &ei);
    buf_deinit(&q.system);
    buf_deinit(&q.user);
    if (e) {
        t->guard.asking = NULL;
        end(t, false);
        return true;
    }
    timer_start(t->guard.patience, t->t->o.guard_timeout_ms > 0 ? t->t->o.guard_timeout_ms : 1500,
                false);
    return true;
}

void turn_guard_ask_stop(struct turn *t) {
    upstream_cancel(t->guard.asking);
    t->guard.asking = NULL;
    timer_free(t->guard.patience);
    t->guard.patience = NULL;
    buf_deinit(&t->guard.said);
}
