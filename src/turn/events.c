/* The entities and events of a turn as JSON, as docs/api.md says. */
#include "base/clock.h"
#include "turn/turn_internal.h"

#define KEYS_BYTES 1024 /* of a message: its keys and what is short */

static const char *const kind_names[] = {"created", "queued",  "token", "reset", "notice",
                                         "title",   "blocked", "done",  "error"};

const char *stream_kind_name(enum stream_kind k) {
    return kind_names[k];
}

static void add_text(struct buf *b, const char *key, struct str s) {
    buf_addz(b, key);
    buf_addc(b, '"');
    buf_add_json(b, s);
    buf_addc(b, '"');
}

static void add_text_or_null(struct buf *b, const char *key, struct str s) {
    if (s.n) {
        add_text(b, key, s);
    } else {
        buf_addz(b, key);
        buf_addz(b, "null");
    }
}

static void add_time(struct buf *b, const char *key, int64_t wall_ms) {
    char text[25];
    clock_format(wall_ms, text);
    add_text_or_null(b, key, wall_ms ? str_from(text) : STR_NULL);
}

static void add_int_or_null(struct buf *b, const char *key, int64_t n) {
    buf_addz(b, key);
    if (n < 0)
        buf_addz(b, "null");
    else
        buf_add_int(b, n);
}

static void add_feedback(struct buf *b, const struct feedback *f) {
    if (!f) {
        buf_addz(b, ",\"feedback\":null");
        return;
    }
    add_text(b, ",\"feedback\":{\"feedback_id\":", uuid_str(&f->feedback_id));
    add_text(b, ",\"message_id\":", uuid_str(&f->message_id));
    add_text(b, ",\"user_id\":", uuid_str(&f->user_id));
    buf_addf(b, ",\"rating\":\"%s\"", rating_name(f->rating));
    add_text(b, ",\"comment\":", f->comment);
    buf_addz(b, ",\"reasons\":");
    buf_adds(b, f->reasons.n ? f->reasons : STR("[]")); /* JSON already */
    add_time(b, ",\"created_at\":", f->created_at);
    add_time(b, ",\"updated_at\":", f->updated_at);
    buf_addc(b, '}');
}

static void add_usage(struct buf *b, const struct message *m) {
    if (m->prompt_tokens < 0 && m->completion_tokens < 0) {
        buf_addz(b, ",\"usage\":null");
        return;
    }
    add_int_or_null(b, ",\"usage\":{\"prompt_tokens\":", m->prompt_tokens);
    add_int_or_null(b, ",\"completion_tokens\":", m->completion_tokens);
    buf_addc(b, '}');
}

void message_to_json(struct buf *b, const struct message *m, const struct feedback *f) {
    buf_room(b, KEYS_BYTES + m->content.n + m->attachments.n + m->retrieved_docs.n + m->support.n +
                    m->safety.n);
    add_text(b, "{\"message_id\":", uuid_str(&m->message_id));
    add_text(b, ",\"conversation_id\":", uuid_str(&m->conversation_id));
    add_text_or_null(b, ",\"parent_id\":", uuid_str(&m->parent_id));
    add_text(b, ",\"sender\":", str_from(message_sender_name(m->sender)));
    add_text(b, ",\"content\":", m->content);
    add_time(b, ",\"timestamp\":", m->timestamp);
    add_int_or_null(b, ",\"response_latency_ms\":", m->response_latency_ms);
    buf_addz(b, ",\"attachments\":");
    buf_adds(b, m->attachments.n ? m->attachments : STR("[]")); /* JSON already */
    buf_addz(b, ",\"retrieved_docs\":");
    buf_adds(b, m->retrieved_docs.n ? m->retrieved_docs : STR("[]")); /* JSON already */
    buf_addz(b, ",\"support\":");
    buf_adds(b, m->support.n ? m->support : STR("[]")); /* JSON already */
    add_text(b, ",\"status\":", str_from(message_status_name(m->status)));
    add_int_or_null(b, ",\"ttft_ms\":", m->ttft_ms);
    add_text_or_null(b, ",\"assistant_role_id\":", uuid_str(&m->role_id));
    add_int_or_null(b, ",\"role_version\":", m->role_version > 0 ? m->role_version : -1);
    add_text_or_null(b, ",\"model\":", m->model);
    add_text_or_null(b, ",\"finish_reason\":", m->finish_reason);
    add_text_or_null(b, ",\"error\":", m->error);
    add_usage(b, m);
    buf_addz(b, ",\"safety\":");
    buf_adds(b, m->safety.n ? m->safety : STR("null")); /* JSON already */
    add_feedback(b, f);
    buf_addc(b, '}');
}

void event_created(struct buf *b, const struct message *question, const struct message *answer) {
    buf_addz(b, "{\"user_message\":");
    if (question)
        message_to_json(b, question, NULL);
    else
        buf_addz(b, "null");
    buf_addz(b, ",\"message\":");
    message_to_json(b, answer, NULL);
    buf_addc(b, '}');
}

void event_done(struct buf *b, const struct message *answer, const struct feedback *f) {
    buf_addz(b, "{\"message\":");
    message_to_json(b, answer, f);
    buf_addc(b, '}');
}

void event_error(struct buf *b, const struct errinfo *ei, const struct message *answer,
                 const struct feedback *f) {
    add_text(b, "{\"error\":{\"message\":", str_from(ei->message));
    buf_addf(b, ",\"type\":\"%s\"", err_type(ei->code));
    add_text_or_null(b, ",\"param\":", str_from(ei->param));
    buf_addf(b, ",\"code\":\"%s\"", err_code(ei->code));
    if (ei->retry_after_ms)
        buf_addf(b, ",\"retry_after_ms\":%u", ei->retry_after_ms);
    buf_addz(b, "},\"message\":");
    message_to_json(b, answer, f);
    buf_addc(b, '}');
}

void event_text(struct buf *b, struct str text) {
    add_text(b, "{\"text\":", text);
    buf_addc(b, '}');
}
