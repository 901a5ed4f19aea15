/* The record of a turn: how an answer came about, enough to replay it, written with the answer's
 * final row; and the signals that a turn gives about the answer before it. docs/learning.md has
 * the format. */
#include "base/json.h"
#include "store/learning.h"
#include "turn/turn_internal.h"

#define RECORD_MAX ((size_t)256 << 10)

static void add_number(yyjson_mut_doc *doc, yyjson_mut_val *o, const char *key, double v) {
    if (v >= 0)
        yyjson_mut_obj_add_real(doc, o, key, v);
    else
        yyjson_mut_obj_add_null(doc, o, key);
}

static enum err record_json(const struct turn *t, const struct message *answer, struct buf *b) {
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    if (!doc)
        return ERR_NOMEM;
    yyjson_mut_val *o = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, o);
    add_number(doc, o, "temperature", t->role.temperature);
    add_number(doc, o, "top_p", t->role.top_p);
    yyjson_mut_obj_add_int(doc, o, "max_tokens", t->prompt.max_tokens);
    yyjson_mut_obj_add_int(doc, o, "prompt_tokens", answer->prompt_tokens);
    yyjson_mut_obj_add_int(doc, o, "completion_tokens", answer->completion_tokens);
    json_add_str(doc, o, "finish_reason", answer->finish_reason);
    yyjson_mut_obj_add_int(doc, o, "cut", (int64_t)t->prompt.first);
    struct str passages = t->recorded_passages.n ? t->recorded_passages : answer->retrieved_docs;
    json_add_raw(doc, o, "passages", passages.n ? passages : STR("[]"));
    json_add_raw(doc, o, "examples", t->examples.shown ? t->examples.ids : STR("[]"));
    if (t->pair.n)
        json_add_raw(doc, o, "pair", t->pair);
    json_add_raw(doc, o, "guard", t->recorded_guard.n ? t->recorded_guard : STR("[]"));
    if (t->left_out) {
        struct buf list;
        buf_init(&list, 256);
        degrade_add_json(&list, t->left_out);
        json_add_raw(doc, o, "degraded", buf_str(&list));
        buf_deinit(&list);
    }
    json_write_mut(b, doc);
    yyjson_mut_doc_free(doc);
    return buf_err(b);
}

static size_t count_passages(const struct turn *t, const struct message *answer) {
    yyjson_doc *doc;
    struct str s = t->recorded_passages.n ? t->recorded_passages : answer->retrieved_docs;
    if (s.n <= 2 || json_parse(s, &doc, NULL)) /* mostly "[]" */
        return 0;
    size_t n = yyjson_arr_size(yyjson_doc_get_root(doc));
    yyjson_doc_free(doc);
    return n;
}

static enum err signal_if_there(struct store_tx *tx, const struct turn *t, const struct uuid *id,
                                const char *kind) {
    enum err e = turn_signal_put(tx, &t->in.user_id, id, kind, t->started_wall_ms);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static enum err put_signals(struct store_tx *tx, const struct turn *t,
                            const struct message *answer) {
    enum err e = ERR_OK;
    if (t->in.kind == TURN_REGENERATE)
        e = signal_if_there(tx, t, &t->in.message_id, "regenerated");
    else if (t->in.parent_kind !=
             PARENT_CURRENT) /* who goes on behind the last answer edits none */
        e = turn_signal_edited(tx, &t->question, t->started_wall_ms);
    if (!e && answer->status == MESSAGE_STOPPED)
        e = signal_if_there(tx, t, &answer->message_id, "stopped");
    return e;
}

enum err turn_put_record(struct store_tx *tx, const struct turn *t, const struct message *answer) {
    struct buf b;
    buf_init(&b, RECORD_MAX);
    enum err e = record_json(t, answer, &b);
    struct turn_record r = {
        .message_id = answer->message_id,
        .user_id = t->in.user_id,
        .role_id = t->role.role_id,
        .role_version = t->role.version,
        .model = answer->model,
        .at = t->started_wall_ms,
        .arm_id = t->arm.arm_id,
        .arm_chance = t->arm.chance,
        .candidate_id = t->arm.candidate_id,
        .ranked = t->arm.ranked,
        .ranked_chance = t->arm.ranked_chance,
        .ttft_ms = answer->ttft_ms,
        .latency_ms = answer->response_latency_ms,
        .status = answer->status,
        .unsafe = t->unsafe,
        .answer_id = t->approved_id,
        .passages = (int)count_passages(t, answer),
        .vector_model = t->question_vector_model,
        .vector = t->question_vector,
        .record = buf_str(&b),
        .examples_id = t->examples.trial_id,
        .exampled = t->examples.shown,
        .examples_chance = uuid_is_set(&t->examples.trial_id) ? t->examples.chance : 1,
    };
    if (!e)
        e = turn_record_put(tx, &r);
    if (!e && uuid_is_set(&t->approved_id))
        e = approved_count_served(tx, &t->approved_id);
    if (!e)
        e = put_signals(tx, t, answer);
    buf_deinit(&b);
    return e;
}
