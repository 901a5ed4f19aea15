/* Messages: a tree in each conversation. An answer's row is there before its first token, grows by
 * checkpoints while it streams, and enters the search index once, when it is finished
 * (message_index.c). */
#include "store/store_internal.h"

#define PASSED_MAX 64 /* messages of other branches that a walk back reads over */

#define COLUMNS                                                                                    \
    "m.message_id, m.conversation_id, m.parent_id, m.sender, m.content, m.timestamp, "             \
    "m.response_latency_ms, m.retrieved_docs, m.status, m.ttft_ms, m.role_id, m.role_version, "    \
    "m.model, m.finish_reason, m.error, m.prompt_tokens, m.completion_tokens, m.safety,"           \
    " m.support, m.attachments"

static const char *const sender_names[] = {"user", "assistant"};
static const char *const status_names[] = {"complete", "streaming", "stopped", "failed",
                                           "interrupted"};

const char *message_sender_name(enum message_sender s) {
    return sender_names[s];
}

const char *message_status_name(enum message_status s) {
    return status_names[s];
}

static int from_name(const char *const *names, int n, struct str s) {
    for (int i = 0; i < n; i++)
        if (str_eqz(s, names[i]))
            return i;
    return -1;
}

int message_sender_from_name(struct str s) {
    return from_name(sender_names, 2, s);
}

int message_status_from_name(struct str s) {
    return from_name(status_names, 5, s);
}

static void message_read(struct query *q, struct arena *a, struct message *ret) {
    /* A CHECK in the schema allows only these names. */
    int sender = message_sender_from_name(query_peek(q, 3));
    int status = message_status_from_name(query_peek(q, 8));
    *ret = (struct message){
        .message_id = query_id(q, 0),
        .conversation_id = query_id(q, 1),
        .parent_id = query_id(q, 2),
        .sender = sender < 0 ? SENDER_USER : (enum message_sender)sender,
        .content = query_str(q, 4, a),
        .timestamp = query_int(q, 5),
        .response_latency_ms = query_int(q, 6),
        .retrieved_docs = query_str(q, 7, a),
        .status = status < 0 ? MESSAGE_COMPLETE : (enum message_status)status,
        .ttft_ms = query_int(q, 9),
        .role_id = query_id(q, 10),
        .role_version = (int)query_int(q, 11),
        .model = query_str(q, 12, a),
        .finish_reason = query_str(q, 13, a),
        .error = query_str(q, 14, a),
        .prompt_tokens = (int)query_int(q, 15),
        .completion_tokens = (int)query_int(q, 16),
        .safety = query_str(q, 17, a),
        .support = query_str(q, 18, a),
        .attachments = query_str(q, 19, a),
    };
}

static enum err read_one(struct query *q, struct arena *a, struct message *ret) {
    struct message m = {0};
    bool found = query_next(q);
    if (found)
        message_read(q, a, &m);
    enum err e = query_end_one(q, found);
    if (!e)
        *ret = m;
    return e;
}

/* The owner of the conversation; says whether the parent is in it, as what is current there always
 * is, and what that is. */
static enum err check_place(struct store_tx *tx, const struct message *m, struct uuid *ret_user,
                            struct uuid *ret_current, struct errinfo *ei) {
    struct query q;
    query_begin(&q, tx,
                "SELECT c.user_id, c.current_message_id,"
                " ?2 IS NULL OR ?2 IS c.current_message_id OR EXISTS (SELECT 1"
                "  FROM messages p WHERE p.message_id = ?2"
                "  AND p.conversation_id = c.conversation_id)"
                " FROM conversations c WHERE c.conversation_id = ?1");
    query_bind_id(&q, &m->conversation_id);
    query_bind_id(&q, &m->parent_id);
    bool found = query_next(&q), parent = found && query_int(&q, 2);
    if (found) {
        *ret_user = query_id(&q, 0);
        *ret_current = query_id(&q, 1);
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    if (!found)
        return err_set(ei, ERR_NOT_FOUND, "there is no such conversation");
    if (!parent)
        return err_param(ei, ERR_INVALID, "parent_id", "that message is not in this conversation");
    return ERR_OK;
}

static enum err insert(struct store_tx *tx, const struct message *m, const struct uuid *user) {
    struct query q;
    query_begin(&q, tx,
                "INSERT INTO messages (message_id, conversation_id, user_id, parent_id, sender,"
                " timestamp, response_latency_ms, status, ttft_ms, role_id, role_version, model,"
                " finish_reason, error, prompt_tokens, completion_tokens, indexed, retrieved_docs,"
                " safety, content, attachments)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    query_within(&q, &m->conversation_id);
    query_bind_id(&q, &m->message_id);
    query_bind_id(&q, &m->conversation_id);
    query_bind_id(&q, user);
    query_bind_id(&q, &m->parent_id);
    query_bind_str(&q, str_from(message_sender_name(m->sender)));
    query_bind_int(&q, m->timestamp);
    query_bind_int(&q, m->response_latency_ms);
    query_bind_str(&q, str_from(message_status_name(m->status)));
    query_bind_int(&q, m->ttft_ms);
    query_bind_id(&q, &m->role_id);
    query_bind_int(&q, m->role_version);
    query_bind_str(&q, m->model);
    query_bind_str(&q, m->finish_reason);
    query_bind_str(&q, m->error);
    query_bind_int(&q, m->prompt_tokens);
    query_bind_int(&q, m->completion_tokens);
    query_bind_int(&q, m->status != MESSAGE_STREAMING);
    query_bind_str(&q, m->retrieved_docs.n ? m->retrieved_docs : STR("[]"));
    query_bind_str(&q, m->safety.n ? m->safety : STR(""));
    query_bind_str(&q, m->content);
    query_bind_str(&q, m->attachments.n ? m->attachments : STR("[]"));
    return query_run(&q);
}

static enum err set_current(struct store_tx *tx, const struct message *m) {
    struct query q;
    query_begin(&q, tx,
                "UPDATE conversations SET current_message_id = ?,"
                " last_updated_at = max(last_updated_at, ?) WHERE conversation_id = ?");
    query_within(&q, &m->conversation_id);
    query_bind_id(&q, &m->message_id);
    query_bind_int(&q, m->timestamp);
    query_bind_id(&q, &m->conversation_id);
    return query_run_one(&q);
}

enum err message_append(struct store_tx *tx, const struct message *m, struct errinfo *ei) {
    return message_append_turn(tx, NULL, m, NULL, ei);
}

enum err message_append_turn(struct store_tx *tx, const struct message *question,
                             const struct message *answer, const struct uuid *current,
                             struct errinfo *ei) {
    const struct message *first = question ? question : answer;
    struct uuid user, now;
    if (!uuid_is_set(&first->message_id) || !uuid_is_set(&answer->message_id))
        return err_param(ei, ERR_INVALID, "message_id", "a message needs an id");
    if (question && !uuid_eq(&answer->parent_id, &question->message_id))
        return err_param(ei, ERR_INVALID, "parent_id", "the answer does not follow the question");
    enum err e = check_place(tx, first, &user, &now, ei);
    if (!e && current && !uuid_eq(&now, current))
        e = err_set(ei, ERR_CONFLICT,
                    "another message was posted to this conversation at the same time; look at it "
                    "and post again");
    if (!e && question)
        e = insert(tx, question, &user);
    if (!e)
        e = insert(tx, answer, &user);
    return e ? e : set_current(tx, answer);
}

enum err message_get(struct store_tx *tx, const struct uuid *user_id, const struct uuid *id,
                     struct arena *a, struct message *ret) {
    struct query q;
    query_begin(&q, tx,
                "SELECT " COLUMNS " FROM messages m WHERE m.message_id = ? AND m.user_id = ?");
    query_bind_id(&q, id);
    query_bind_id(&q, user_id);
    return read_one(&q, a, ret);
}

enum err message_checkpoint(struct store_tx *tx, const struct uuid *id, struct str content,
                            int64_t ttft_ms) {
    struct query q;
    query_begin(&q, tx,
                "UPDATE messages SET content = ?, ttft_ms = ?"
                " WHERE message_id = ? AND status = 'streaming'");
    query_within(&q, NULL);
    query_bind_str(&q, content);
    query_bind_int(&q, ttft_ms);
    query_bind_id(&q, id);
    return query_run_one(&q);
}

enum err message_extend(struct store_tx *tx, const struct uuid *id, struct str content) {
    struct query q;
    query_begin(&q, tx,
                "UPDATE messages SET content = ? WHERE message_id = ? AND status = 'streaming'");
    query_within(&q, NULL);
    query_bind_str(&q, content);
    query_bind_id(&q, id);
    return query_run_one(&q);
}

#define FINISH                                                                                     \
    "UPDATE messages SET content = ?, indexed = 1, status = ?, response_latency_ms = ?,"           \
    " ttft_ms = ?, model = ?, finish_reason = ?, error = ?, prompt_tokens = ?,"                    \
    " completion_tokens = ?, retrieved_docs = ?, safety = ?, support = ?"                          \
    " WHERE message_id = ? AND status = "

static enum err finish(struct store_tx *tx, const struct message *m, const char *sql) {
    struct query q;
    query_begin(&q, tx, sql);
    query_within(&q, &m->conversation_id);
    query_bind_str(&q, m->content);
    query_bind_str(&q, str_from(message_status_name(m->status)));
    query_bind_int(&q, m->response_latency_ms);
    query_bind_int(&q, m->ttft_ms);
    query_bind_str(&q, m->model);
    query_bind_str(&q, m->finish_reason);
    query_bind_str(&q, m->error);
    query_bind_int(&q, m->prompt_tokens);
    query_bind_int(&q, m->completion_tokens);
    query_bind_str(&q, m->retrieved_docs.n ? m->retrieved_docs : STR("[]"));
    query_bind_str(&q, m->safety.n ? m->safety : STR(""));
    query_bind_str(&q, m->support.n ? m->support : STR("[]"));
    query_bind_id(&q, &m->message_id);
    return query_run_one(&q);
}

static enum err is_interrupted(struct store_tx *tx, const struct uuid *id) {
    struct query q;
    query_begin(&q, tx, "SELECT 1 FROM messages WHERE message_id = ? AND status = 'interrupted'");
    query_bind_id(&q, id);
    return query_end_one(&q, query_next(&q));
}

enum err message_finish(struct store_tx *tx, const struct message *m) {
    if (m->status == MESSAGE_STREAMING)
        return ERR_INVALID;
    enum err e = finish(tx, m, FINISH "'streaming'");
    if (e == ERR_NOT_FOUND) { /* what was interrupted may be in the search index as it was */
        e = is_interrupted(tx, &m->message_id);
        if (!e)
            e = message_index_take_out(tx, &m->message_id);
        if (!e)
            e = finish(tx, m, FINISH "'interrupted'");
    }
    return e ? e : message_index_finished(tx, &m->message_id);
}

enum err message_list(struct store_tx *tx, const struct uuid *conversation_id, struct arena *a,
                      struct message **ret, size_t *ret_n) {
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx,
                "SELECT " COLUMNS " FROM messages m WHERE m.conversation_id = ? ORDER BY m.seq");
    query_bind_id(&q, conversation_id);
    while (query_next(&q)) {
        struct message *m = rows_add(&rows, a, sizeof *m, &q);
        if (m)
            message_read(&q, a, m);
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

/* A parent is older than what follows it: one pass from the leaf back through its conversation
 * meets them all, in order. Where too much of other branches lies between, each is looked up
 * instead. */
static enum err walk_back(struct store_tx *tx, size_t max, struct arena *a, struct uuid *id,
                          struct rows *rows) {
    struct query q;
    const struct uuid leaf = *id;
    size_t passed = 0;
    query_begin(&q, tx,
                "SELECT " COLUMNS " FROM messages l CROSS JOIN messages m"
                " ON m.conversation_id = l.conversation_id AND m.seq <= l.seq"
                " WHERE l.message_id = ? ORDER BY m.seq DESC");
    query_bind_id(&q, &leaf);
    while (uuid_is_set(id) && rows->n < max && passed < PASSED_MAX + rows->n && query_next(&q)) {
        struct uuid here = query_id(&q, 0);
        struct message *m = uuid_eq(&here, id) ? rows_add(rows, a, sizeof *m, &q) : NULL;
        if (m) {
            message_read(&q, a, m);
            *id = m->parent_id;
        }
        passed += !m;
    }
    return query_end(&q);
}

enum err message_branch(struct store_tx *tx, const struct uuid *leaf, size_t max, struct arena *a,
                        struct message **ret, size_t *ret_n) {
    struct query q = {.tx = tx};
    struct rows rows = {0};
    struct uuid id = *leaf;
    enum err e = uuid_is_set(&id) && max ? walk_back(tx, max, a, &id, &rows) : ERR_OK;
    if (e)
        return e;
    while (uuid_is_set(&id) && rows.n < max) {
        struct message *m = rows_add(&rows, a, sizeof *m, &q);
        if (!m)
            return q.err;
        query_begin(&q, tx, "SELECT " COLUMNS " FROM messages m WHERE m.message_id = ?");
        query_bind_id(&q, &id);
        if ((e = read_one(&q, a, m)))
            return e;
        id = m->parent_id;
    }
    struct message *list = rows.p;
    for (size_t i = 0; i < rows.n / 2; i++) {
        struct message m = list[i];
        list[i] = list[rows.n - 1 - i];
        list[rows.n - 1 - i] = m;
    }
    *ret = list;
    *ret_n = rows.n;
    return ERR_OK;
}

/* ---- deleting an answer: the leaf of its branch, with its question unless that has other answers
 * ----
 */

static enum err count_children(struct store_tx *tx, const struct uuid *id, int64_t *ret) {
    struct query q;
    query_begin(&q, tx, "SELECT count(*) FROM messages WHERE parent_id = ?");
    query_bind_id(&q, id);
    *ret = query_next(&q) ? query_int(&q, 0) : 0;
    return query_end(&q);
}

static enum err delete_one(struct store_tx *tx, const struct uuid *id) {
    struct query q;
    query_begin(&q, tx, "DELETE FROM messages WHERE message_id = ?");
    query_bind_id(&q, id);
    return query_run_one(&q);
}

enum err message_delete_answer(struct store_tx *tx, const struct uuid *user_id,
                               const struct uuid *id, struct errinfo *ei) {
    struct arena *a = arena_new((size_t)64 << 20);
    struct message m, question = {.parent_id = {{0}}};
    int64_t children = 0;
    enum err e = a ? message_get(tx, user_id, id, a, &m) : ERR_NOMEM;
    if (!e && m.sender != SENDER_ASSISTANT)
        e = ERR_NOT_FOUND;
    if (e == ERR_NOT_FOUND)
        err_set(ei, e, "there is no such answer");
    if (!e && m.status == MESSAGE_STREAMING)
        e = err_set(ei, ERR_CONFLICT, "the answer is still being written: stop it first");
    if (!e)
        e = count_children(tx, id, &children);
    if (!e && children)
        e = err_set(ei, ERR_CONFLICT, "later messages stand on this answer: delete those first");
    if (!e)
        e = delete_one(tx, id);
    struct uuid leaf = e ? (struct uuid){{0}} : m.parent_id;
    if (!e)
        e = count_children(tx, &m.parent_id, &children);
    if (!e && !children && uuid_is_set(&m.parent_id)) {
        e = message_get(tx, user_id, &m.parent_id, a, &question);
        leaf = question.parent_id;
        if (!e)
            e = delete_one(tx, &m.parent_id);
    }
    if (!e) {
        struct query q;
        query_begin(&q, tx,
                    "UPDATE conversations SET current_message_id = ?"
                    " WHERE conversation_id = ? AND current_message_id IN (?, ?)");
        query_bind_id(&q, &leaf);
        query_bind_id(&q, &m.conversation_id);
        query_bind_id(&q, id);
        query_bind_id(&q, &m.parent_id);
        e = query_run(&q);
    }
    arena_free(a);
    return e;
}
