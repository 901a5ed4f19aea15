/* See record.h. */
#include "safety/record.h"

#include "base/clock.h"

#define MINUTE_MS 60000ll

static enum err apply_steps(struct store_tx *tx, const struct policy *p, const struct uuid *user,
                            int64_t now) {
    int64_t until = 0;
    bool suspended = false;
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct policy_step *s = &p->steps[i];
        int64_t n = 0, end;
        enum err e = safety_user_blocks(tx, user, now - s->minutes * MINUTE_MS, &n);
        if (e)
            return e;
        end =
            now + (s->suspend_minutes ? s->suspend_minutes * MINUTE_MS : s->wait_seconds * 1000ll);
        if (n >= s->blocks && end > until) {
            until = end;
            suspended = s->suspend_minutes > 0;
        }
    }
    if (!until)
        return ERR_OK;
    enum err e = safety_user_hold(tx, user, until, suspended);
    if (!e && suspended) {
        struct buf b;
        buf_init(&b, 256);
        buf_addf(&b, "{\"user_id\":\"%s\",\"until\":%lld}", user->s, (long long)until);
        e = buf_err(&b) ? buf_err(&b) : audit_append(tx, STR("guard"), "user.suspend", buf_str(&b));
        buf_deinit(&b);
    }
    return e;
}

static enum err audit_block(struct store_tx *tx, const struct safety_case *c,
                            const struct safety_verdict *v) {
    struct buf b;
    buf_init(&b, 1024);
    buf_addf(&b,
             "{\"case_id\":\"%s\",\"user_id\":\"%s\",\"direction\":\"%.*s\",\"category\":\"%.*s\","
             "\"source\":\"",
             c->case_id.s, c->user_id.s, STR_ARG(c->direction), STR_ARG(c->category));
    buf_add_json(&b, str_from(v->n ? v->findings[0].source : ""));
    buf_addf(&b, "\",\"policy_version\":%d}", v->policy_version);
    enum err e = buf_err(&b) ? buf_err(&b) : audit_append(tx, STR("guard"), "block", buf_str(&b));
    buf_deinit(&b);
    return e;
}

enum err safety_record_block(struct store_tx *tx, const struct policy *p,
                             const struct safety_block *b) {
    struct buf json;
    int64_t now = clock_wall_ms();
    struct safety_case c = {
        .case_id = uuid_new(),
        .kind = CASE_BLOCK,
        .created_at = now,
        .user_id = b->user_id,
        .conversation_id = b->conversation_id,
        .message_id = b->message_id,
        .path = str_from(b->path),
        .direction = str_from(safety_direction_name(b->direction)),
        .category = str_from(safety_category_name(b->verdict->category)),
        .counts =
            b->direction == SAFETY_INPUT && !b->earlier && b->verdict->category != SAFETY_SELF_HARM,
        .policy_version = b->verdict->policy_version,
        .reason = STR(""),
        .text = b->text,
    };
    buf_init(&json, 65536);
    safety_verdict_json(b->verdict, &json);
    c.verdict = buf_str(&json);
    enum err e = buf_err(&json);
    if (!e)
        e = case_create(tx, &c);
    if (!e)
        e = audit_block(tx, &c, b->verdict);
    if (!e && c.counts)
        e = apply_steps(tx, p, &b->user_id, now);
    buf_deinit(&json);
    return e;
}

enum err safety_check_user(struct store_tx *tx, const struct uuid *user_id, struct errinfo *ei) {
    int64_t until;
    bool suspended;
    enum err e = safety_user_until(tx, user_id, &until, &suspended);
    return e ? err_set(ei, e, NULL) : safety_check_until(until, suspended, ei);
}

enum err safety_check_until(int64_t until, bool suspended, struct errinfo *ei) {
    int64_t left = until - clock_wall_ms();
    if (left <= 0)
        return ERR_OK;
    if (suspended)
        return err_set(
            ei, ERR_FORBIDDEN,
            "too many of your messages were blocked: you can write again in %lld minutes; "
            "an administrator can lift this",
            (long long)(left / MINUTE_MS + 1));
    err_set(ei, ERR_RATE,
            "several of your messages were blocked: please wait %lld seconds before the next one",
            (long long)(left / 1000 + 1));
    ei->retry_after_ms = (uint32_t)left;
    return ERR_RATE;
}
