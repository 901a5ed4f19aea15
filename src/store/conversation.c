/* Conversations: always asked for together with whose they are, so that another's look like none.
 */
#include "store/store_internal.h"

#include "base/clock.h"

#define COLUMNS                                                                                    \
    "c.conversation_id, c.user_id, c.created_at, c.last_updated_at, c.assistant_role_id, "         \
    "c.status, c.title, c.title_is_users, c.current_message_id, c.summary, c.summary_until"
#define COLUMNS_N 11

/* The page: a status or any, and what stands after (last_updated_at, id) of the page before. */
#define PAGE_WHERE                                                                                 \
    "c.user_id = ?1 AND (?2 = '' OR c.status = ?2)"                                                \
    " AND (c.last_updated_at, c.conversation_id) < (?3, ?4)"                                       \
    " ORDER BY c.last_updated_at DESC, c.conversation_id DESC LIMIT ?5"

static const char *const status_names[] = {"active", "archived"};

const char *conversation_status_name(enum conversation_status s) {
    return status_names[s];
}

int conversation_status_from_name(struct str s) {
    for (int i = 0; i < 2; i++)
        if (str_eqz(s, status_names[i]))
            return i;
    return -1;
}

static void conversation_read(struct query *q, struct arena *a, struct conversation *ret) {
    int status = conversation_status_from_name(query_str(q, 5, a));
    *ret = (struct conversation){
        .conversation_id = query_id(q, 0),
        .user_id = query_id(q, 1),
        .created_at = query_int(q, 2),
        .last_updated_at = query_int(q, 3),
        .assistant_role_id = query_id(q, 4),
        .status = status < 0 ? CONVERSATION_ACTIVE : (enum conversation_status)status,
        .title = query_str(q, 6, a),
        .title_is_users = query_int(q, 7) != 0,
        .current_message_id = query_id(q, 8),
        .summary = query_str(q, 9, a),
        .summary_until = query_id(q, 10),
    };
}

/* ERR_INVALID with the field's name when the role is not there. */
static enum err check_role(struct store_tx *tx, const struct uuid *role_id, struct errinfo *ei) {
    struct query q;
    query_begin(&q, tx, "SELECT 1 FROM assistant_roles WHERE role_id = ?");
    query_bind_id(&q, role_id);
    bool found = query_next(&q);
    enum err e = query_end(&q);
    if (e || found)
        return e;
    return err_param(ei, ERR_INVALID, "assistant_role_id", "there is no such role");
}

static enum err check_current(struct store_tx *tx, const struct conversation *c,
                              struct errinfo *ei) {
    if (!uuid_is_set(&c->current_message_id))
        return ERR_OK;
    struct query q;
    query_begin(&q, tx, "SELECT 1 FROM messages WHERE message_id = ? AND conversation_id = ?");
    query_bind_id(&q, &c->current_message_id);
    query_bind_id(&q, &c->conversation_id);
    bool found = query_next(&q);
    enum err e = query_end(&q);
    if (e || found)
        return e;
    return err_param(ei, ERR_INVALID, "current_message_id",
                     "that message is not in this conversation");
}

enum err conversation_create(struct store_tx *tx, const struct conversation *c,
                             struct errinfo *ei) {
    enum err e = check_role(tx, &c->assistant_role_id, ei);
    if (e)
        return e;
    struct query q;
    query_begin(
        &q, tx,
        "INSERT INTO conversations (conversation_id, user_id, created_at, last_updated_at,"
        " assistant_role_id, status, title, title_is_users) VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
    query_within(&q, &c->conversation_id);
    query_bind_id(&q, &c->conversation_id);
    query_bind_id(&q, &c->user_id);
    query_bind_int(&q, c->created_at);
    query_bind_int(&q, c->last_updated_at ? c->last_updated_at : c->created_at);
    query_bind_id(&q, &c->assistant_role_id);
    query_bind_str(&q, str_from(conversation_status_name(c->status)));
    query_bind_str(&q, c->title);
    query_bind_int(&q, c->title_is_users);
    return query_run(&q);
}

enum err conversation_get(struct store_tx *tx, const struct uuid *user_id, const struct uuid *id,
                          struct arena *a, struct conversation *ret) {
    struct query q;
    struct conversation c = {0};
    query_begin(&q, tx,
                "SELECT " COLUMNS
                " FROM conversations c WHERE c.conversation_id = ? AND c.user_id = ?");
    query_bind_id(&q, id);
    query_bind_id(&q, user_id);
    bool found = query_next(&q);
    if (found)
        conversation_read(&q, a, &c);
    enum err e = query_end_one(&q, found);
    if (!e)
        *ret = c;
    return e;
}

/* Whose it is goes first: an error about the role of another's conversation would say that it is
 * there. */
static enum err check_owner(struct store_tx *tx, const struct uuid *user_id,
                            const struct uuid *id) {
    struct query q;
    query_begin(&q, tx, "SELECT 1 FROM conversations WHERE conversation_id = ? AND user_id = ?");
    query_bind_id(&q, id);
    query_bind_id(&q, user_id);
    return query_end_one(&q, query_next(&q));
}

enum err conversation_update(struct store_tx *tx, const struct uuid *user_id,
                             const struct conversation *c, bool touch, struct errinfo *ei) {
    enum err e = check_owner(tx, user_id, &c->conversation_id);
    if (!e)
        e = check_role(tx, &c->assistant_role_id, ei);
    if (!e)
        e = check_current(tx, c, ei);
    if (e)
        return e;
    struct query q;
    query_begin(&q, tx,
                "UPDATE conversations SET title = ?, title_is_users = ?, status = ?,"
                " assistant_role_id = ?, current_message_id = ?,"
                " last_updated_at = max(last_updated_at, ?) WHERE conversation_id = ?");
    query_within(&q, &c->conversation_id);
    query_bind_str(&q, c->title);
    query_bind_int(&q, c->title_is_users);
    query_bind_str(&q, str_from(conversation_status_name(c->status)));
    query_bind_id(&q, &c->assistant_role_id);
    query_bind_id(&q, &c->current_message_id);
    query_bind_int(&q, touch ? clock_wall_ms() : 0);
    query_bind_id(&q, &c->conversation_id);
    return query_run_one(&q);
}

enum err conversation_set_auto_title(struct store_tx *tx, const struct uuid *id, struct str title) {
    struct query q;
    query_begin(
        &q, tx,
        "UPDATE conversations SET title = ? WHERE conversation_id = ? AND title_is_users = 0");
    query_within(&q, id);
    query_bind_str(&q, title);
    query_bind_id(&q, id);
    return query_run(&q);
}

enum err conversation_set_summary(struct store_tx *tx, const struct uuid *id, struct str summary,
                                  const struct uuid *until) {
    struct query q;
    query_begin(
        &q, tx,
        "UPDATE conversations SET summary = ?, summary_until = ? WHERE conversation_id = ?");
    query_within(&q, id);
    query_bind_str(&q, summary);
    query_bind_id(&q, until);
    query_bind_id(&q, id);
    return query_run_one(&q);
}

enum err conversation_delete(struct store_tx *tx, const struct uuid *user_id,
                             const struct uuid *id) {
    struct query q;
    query_begin(&q, tx, "DELETE FROM conversations WHERE conversation_id = ? AND user_id = ?");
    query_within(&q, id);
    query_bind_id(&q, id);
    query_bind_id(&q, user_id);
    return query_run_one(&q);
}

enum err conversation_delete_unused(struct store_tx *tx, const struct uuid *user_id,
                                    const struct uuid *id, const struct uuid *current) {
    struct query q;
    query_begin(&q, tx,
                "DELETE FROM conversations WHERE conversation_id = ? AND user_id = ?"
                " AND current_message_id IS ?");
    query_within(&q, id);
    query_bind_id(&q, id);
    query_bind_id(&q, user_id);
    query_bind_id(&q, current);
    return query_run_one(&q);
}

/* ---- listing and searching ---- */

struct listing {
    const struct uuid *user_id;
    struct str status; /* "" = any */
    int64_t before;    /* the last row of the page before; a day that never comes at the start */
    struct uuid before_id;
    int limit;
};

static enum err listing_begin(struct store_tx *tx, const struct uuid *user_id, int status,
                              const struct page *p, struct listing *ret) {
    enum err e = page_check(p);
    if (e || status > CONVERSATION_ARCHIVED)
        return e ? e : ERR_INVALID;
    struct listing l = {.user_id = user_id, .before = INT64_MAX, .limit = p->limit};
    if (status >= 0)
        l.status = str_from(conversation_status_name((enum conversation_status)status));
    l.before_id = p->after;
    if (p->after_at) {
        l.before = p->after_at;
    } else if (uuid_is_set(&p->after)) {
        struct query q;
        query_begin(&q, tx,
                    "SELECT last_updated_at FROM conversations"
                    " WHERE conversation_id = ? AND user_id = ?");
        query_bind_id(&q, &p->after);
        query_bind_id(&q, user_id);
        bool found = query_next(&q);
        if (found)
            l.before = query_int(&q, 0);
        if ((e = query_end(&q)))
            return e;
        if (!found)
            return ERR_NOT_FOUND;
    }
    *ret = l;
    return ERR_OK;
}

static void bind_listing(struct query *q, const struct listing *l) {
    query_bind_id(q, l->user_id);
    query_bind_str(q, l->status);
    query_bind_int(q, l->before);
    query_bind_str(q, uuid_str(&l->before_id));
    query_bind_int(q, l->limit);
}

static enum err list_plain(struct store_tx *tx, const struct listing *l, struct arena *a,
                           struct rows *rows) {
    struct query q;
    query_begin(&q, tx, "SELECT " COLUMNS " FROM conversations c WHERE " PAGE_WHERE);
    bind_listing(&q, l);
    while (query_next(&q)) {
        struct conversation_hit *hit = rows_add(rows, a, sizeof *hit, &q);
        if (hit)
            conversation_read(&q, a, &hit->c);
    }
    return query_end(&q);
}

/* The text around the words, from the title or from the newest message that has them. */
static enum err add_snippet(struct store_tx *tx, struct str fts, bool title, int64_t seq,
                            struct arena *a, struct conversation_hit *hit) {
    struct query q;
    query_begin(&q, tx,
                title ? "SELECT snippet(conversations_fts, 1, char(2), char(3), '…', 16)"
                        " FROM conversations_fts WHERE conversations_fts MATCH ? AND rowid = ?"
                      : "SELECT snippet(messages_fts, 1, char(2), char(3), '…', 16), m.message_id"
                        " FROM messages_fts JOIN messages m ON m.seq = messages_fts.rowid"
                        " WHERE messages_fts MATCH ? AND messages_fts.rowid = ?");
    query_bind_str(&q, fts);
    query_bind_int(&q, seq);
    if (query_next(&q)) {
        hit->snippet = query_str(&q, 0, a);
        if (!title)
            hit->snippet_message = query_id(&q, 1);
    }
    return query_end(&q);
}

static enum err list_search(struct store_tx *tx, const struct listing *l, struct str in_titles,
                            struct str in_texts, struct arena *a, struct rows *rows) {
    struct query q;
    query_begin(
        &q, tx,
        "WITH texts AS MATERIALIZED (SELECT m.conversation_id AS id, max(m.seq) AS seq"
        "  FROM messages_fts f CROSS JOIN messages m ON m.seq = f.rowid"
        "  WHERE messages_fts MATCH ?7 GROUP BY 1),"
        " titles AS MATERIALIZED (SELECT f.rowid AS seq FROM conversations_fts f"
        "  WHERE conversations_fts MATCH ?6),"
        " found AS (SELECT seq FROM titles UNION"
        "  SELECT c.seq FROM texts CROSS JOIN conversations c ON c.conversation_id = texts.id)"
        " SELECT " COLUMNS ", c.seq IN (SELECT seq FROM titles), c.seq,"
        "  (SELECT seq FROM texts WHERE id = c.conversation_id)"
        " FROM found CROSS JOIN conversations c ON c.seq = found.seq WHERE " PAGE_WHERE);
    bind_listing(&q, l);
    query_bind_str(&q, in_titles);
    query_bind_str(&q, in_texts);
    while (query_next(&q)) {
        struct conversation_hit *hit = rows_add(rows, a, sizeof *hit, &q);
        if (!hit)
            break;
        conversation_read(&q, a, &hit->c);
        bool title = query_int(&q, COLUMNS_N) != 0;
        int64_t seq = query_int(&q, title ? COLUMNS_N + 1 : COLUMNS_N + 2);
        enum err e = add_snippet(tx, title ? in_titles : in_texts, title, seq, a, hit);
        if (e && !q.err)
            q.err = e;
    }
    return query_end(&q);
}

enum err conversation_list(struct store_tx *tx, const struct uuid *user_id, int status,
                           struct str query, const struct page *p, struct arena *a,
                           struct conversation_hit **ret, size_t *ret_n) {
    struct listing l;
    struct rows rows = {0};
    enum err e = listing_begin(tx, user_id, status, p, &l);
    if (!e && query.p) {
        struct str in_titles, in_texts;
        bool empty = false;
        e = fts_query(tx->conn, query, user_id, "title", a, &in_titles, &empty);
        if (!e)
            e = fts_query(tx->conn, query, user_id, "content", a, &in_texts, &empty);
        if (!e && !empty)
            e = list_search(tx, &l, in_titles, in_texts, a, &rows);
    } else if (!e) {
        e = list_plain(tx, &l, a, &rows);
    }
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}
