/* Cases for review, and who must wait. */
#include "store/safety.h"
#include "store/store_internal.h"

#define COLUMNS                                                                                    \
    "c.case_id, c.kind, c.state, c.created_at, c.user_id, u.username, c.conversation_id, "         \
    "c.message_id, c.path, c.direction, c.category, c.counts, c.policy_version, c.decided_by, "    \
    "c.note, c.decided_at, c.reason, c.verdict, c.text"
#define FROM " FROM safety_cases c JOIN users u USING (user_id)"

static const char *const kind_names[] = {"block", "report", "appeal"};
static const char *const state_names[] = {"open", "right", "wrong"};

static int from_name(const char *const *names, struct str s) {
    for (int i = 0; i < 3; i++)
        if (str_eqz(s, names[i]))
            return i;
    return -1;
}

const char *case_kind_name(enum case_kind k) {
    return kind_names[k];
}

const char *case_state_name(enum case_state s) {
    return state_names[s];
}

int case_state_from_name(struct str s) {
    return from_name(state_names, s);
}

static void case_read(struct query *q, struct arena *a, struct safety_case *ret) {
    int kind = from_name(kind_names, query_str(q, 1, a)); /* a CHECK allows only these */
    int state = from_name(state_names, query_str(q, 2, a));
    *ret = (struct safety_case){
        .case_id = query_id(q, 0),
        .kind = kind < 0 ? CASE_BLOCK : (enum case_kind)kind,
        .state = state < 0 ? CASE_OPEN : (enum case_state)state,
        .created_at = query_int(q, 3),
        .user_id = query_id(q, 4),
        .username = query_str(q, 5, a),
        .conversation_id = query_id(q, 6),
        .message_id = query_id(q, 7),
        .path = query_str(q, 8, a),
        .direction = query_str(q, 9, a),
        .category = query_str(q, 10, a),
        .counts = query_int(q, 11) != 0,
        .policy_version = (int)query_int(q, 12),
        .decided_by = query_str(q, 13, a),
        .note = query_str(q, 14, a),
        .decided_at = query_int(q, 15),
        .reason = query_str(q, 16, a),
        .verdict = query_str(q, 17, a),
        .text = query_str(q, 18, a),
    };
}

static enum err read_one(struct query *q, struct arena *a, struct safety_case *ret) {
    struct safety_case c = {0};
    bool found = query_next(q);
    if (found)
        case_read(q, a, &c);
    enum err e = query_end_one(q, found);
    if (!e)
        *ret = c;
    return e;
}

enum err case_create(struct store_tx *tx, const struct safety_case *c) {
    struct query q;
    query_begin(
        &q, tx,
        "INSERT INTO safety_cases (case_id, kind, state, created_at, user_id,"
        " conversation_id, message_id, path, direction, category, counts, policy_version,"
        " reason, verdict, text) VALUES (?, ?, 'open', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    query_bind_id(&q, &c->case_id);
    query_bind_str(&q, str_from(kind_names[c->kind]));
    query_bind_int(&q, c->created_at);
    query_bind_id(&q, &c->user_id);
    query_bind_id(&q, &c->conversation_id);
    query_bind_id(&q, &c->message_id);
    query_bind_str(&q, c->path);
    query_bind_str(&q, c->direction);
    query_bind_str(&q, c->category);
    query_bind_int(&q, c->counts);
    query_bind_int(&q, c->policy_version);
    query_bind_str(&q, c->reason);
    query_bind_str(&q, c->verdict);
    query_bind_str(&q, (struct str){c->text.p, utf8_cut(c->text, CASE_TEXT_MAX)});
    return query_run(&q);
}

enum err case_get(struct store_tx *tx, const struct uuid *id, struct arena *a,
                  struct safety_case *ret) {
    struct query q;
    query_begin(&q, tx, "SELECT " COLUMNS FROM " WHERE c.case_id = ?");
    query_bind_id(&q, id);
    return read_one(&q, a, ret);
}

enum err case_find(struct store_tx *tx, const struct uuid *user_id, const struct uuid *message_id,
                   enum case_kind kind, struct arena *a, struct safety_case *ret) {
    struct query q;
    query_begin(&q, tx,
                "SELECT " COLUMNS FROM " WHERE c.message_id = ? AND c.user_id = ? AND c.kind = ?"
                " ORDER BY c.case_id DESC LIMIT 1");
    query_bind_id(&q, message_id);
    query_bind_id(&q, user_id);
    query_bind_str(&q, str_from(kind_names[kind]));
    return read_one(&q, a, ret);
}

enum err case_list(struct store_tx *tx, int state, const struct page *p, struct arena *a,
                   struct safety_case **ret, size_t *ret_n) {
    enum err e = page_check(p);
    if (e || state > CASE_WRONG)
        return e ? e : ERR_INVALID;
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx,
                "SELECT " COLUMNS FROM " WHERE c.case_id < coalesce(?1, 'g')"
                " AND (?2 = '' OR c.state = ?2) ORDER BY c.case_id DESC LIMIT ?3");
    query_bind_id(&q, &p->after);
    query_bind_str(&q, state < 0 ? STR("") : str_from(state_names[state]));
    query_bind_int(&q, p->limit);
    while (query_next(&q)) {
        struct safety_case *c = rows_add(&rows, a, sizeof *c, &q);
        if (c)
            case_read(&q, a, c);
    }
    if ((e = query_end(&q)))
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

enum err case_decide(struct store_tx *tx, const struct uuid *id, enum case_state state,
                     struct str by, struct str note, int64_t at) {
    struct query q; /* what the guard got wrong does not count against anybody */
    query_begin(&q, tx,
                "UPDATE safety_cases SET state = ?1, decided_by = ?2, note = ?3, decided_at = ?4,"
                " counts = counts AND ?1 <> 'wrong' WHERE case_id = ?5");
    query_bind_str(&q, str_from(state_names[state]));
    query_bind_str(&q, by);
    query_bind_str(&q, note);
    query_bind_int(&q, at);
    query_bind_id(&q, id);
    return query_run_one(&q);
}

static enum err read_int(struct query *q, int64_t *ret) {
    int64_t n = query_next(q) ? query_int(q, 0) : 0;
    enum err e = query_end(q);
    if (!e)
        *ret = n;
    return e;
}

enum err case_count(struct store_tx *tx, enum case_state state, int64_t *ret) {
    struct query q;
    query_begin(&q, tx, "SELECT count(*) FROM safety_cases WHERE state = ?");
    query_bind_str(&q, str_from(state_names[state]));
    return read_int(&q, ret);
}

enum err judged_texts(struct store_tx *tx, int limit, struct arena *a, struct judged_text **ret,
                      size_t *ret_n) {
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx,
                "SELECT m.message_id, m.sender = 'assistant', coalesce(r.slug, ''), m.content"
                " FROM messages m JOIN conversations c USING (conversation_id)"
                " LEFT JOIN assistant_roles r ON r.role_id = c.assistant_role_id"
                " WHERE m.content <> '' ORDER BY m.seq DESC LIMIT ?");
    query_bind_int(&q, limit);
    while (query_next(&q)) {
        struct judged_text *t = rows_add(&rows, a, sizeof *t, &q);
        if (t)
            *t = (struct judged_text){query_id(&q, 0), query_int(&q, 1) != 0, query_str(&q, 2, a),
                                      query_str(&q, 3, a)};
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

/* ---- who must wait ---- */

enum err safety_user_blocks(struct store_tx *tx, const struct uuid *user_id, int64_t since,
                            int64_t *ret) {
    struct query q;
    query_begin(&q, tx,
                "SELECT count(*) FROM safety_cases WHERE user_id = ? AND created_at >= ?"
                " AND counts = 1 AND kind = 'block'");
    query_bind_id(&q, user_id);
    query_bind_int(&q, since);
    return read_int(&q, ret);
}

enum err safety_user_hold(struct store_tx *tx, const struct uuid *user_id, int64_t until,
                          bool suspended) {
    tx->conn->accounts_changed = true;
    struct query q;
    query_begin(&q, tx,
                "INSERT INTO safety_users (user_id, until, suspended) VALUES (?1, ?2, ?3)"
                " ON CONFLICT (user_id) DO UPDATE SET suspended ="
                " CASE WHEN ?2 = 0 OR ?2 >= until THEN ?3 ELSE suspended END,"
                " until = CASE WHEN ?2 = 0 THEN 0 ELSE max(until, ?2) END");
    query_bind_id(&q, user_id);
    query_bind_int(&q, until);
    query_bind_int(&q, suspended);
    return query_run(&q);
}

enum err safety_user_until(struct store_tx *tx, const struct uuid *user_id, int64_t *ret_until,
                           bool *ret_suspended) {
    struct query q;
    query_begin(&q, tx, "SELECT until, suspended FROM safety_users WHERE user_id = ?");
    query_bind_id(&q, user_id);
    bool found = query_next(&q);
    int64_t until = found ? query_int(&q, 0) : 0;
    bool suspended = found && query_int(&q, 1);
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret_until = until;
    *ret_suspended = suspended;
    return ERR_OK;
}
