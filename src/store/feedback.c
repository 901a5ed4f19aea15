/* Ratings: one for each user and answer. */
#include "store/store_internal.h"

#include "base/clock.h"

#define COLUMNS                                                                                    \
    "f.feedback_id, f.message_id, f.user_id, f.rating, f.comment, f.created_at, f.updated_at,"     \
    " f.reasons"

static const char *const rating_names[] = {"thumbs_up", "thumbs_down", "neutral"};

const char *rating_name(enum rating r) {
    return rating_names[r];
}

int rating_from_name(struct str s) {
    for (int i = 0; i < 3; i++)
        if (str_eqz(s, rating_names[i]))
            return i;
    return -1;
}

static void feedback_read(struct query *q, struct arena *a, struct feedback *ret) {
    int rating = rating_from_name(query_str(q, 3, a));
    *ret = (struct feedback){
        .feedback_id = query_id(q, 0),
        .message_id = query_id(q, 1),
        .user_id = query_id(q, 2),
        .rating = rating < 0 ? RATING_NEUTRAL : (enum rating)rating,
        .comment = query_str(q, 4, a),
        .created_at = query_int(q, 5),
        .updated_at = query_int(q, 6),
        .reasons = query_str(q, 7, a),
    };
}

/* Only answers of one's own conversations are rated. */
static enum err check_target(struct store_tx *tx, const struct feedback *f, struct errinfo *ei) {
    struct query q;
    query_begin(&q, tx,
                "SELECT sender = 'assistant' FROM messages WHERE message_id = ? AND user_id = ?");
    query_bind_id(&q, &f->message_id);
    query_bind_id(&q, &f->user_id);
    bool found = query_next(&q), answer = found && query_int(&q, 0);
    enum err e = query_end(&q);
    if (e)
        return e;
    if (!found)
        return err_set(ei, ERR_NOT_FOUND, "there is no such message");
    return answer ? ERR_OK : err_param(ei, ERR_INVALID, "message_id", "only answers can be rated");
}

enum err feedback_put(struct store_tx *tx, const struct feedback *f, struct arena *a,
                      struct feedback *ret, struct errinfo *ei) {
    enum err e = check_target(tx, f, ei);
    if (e)
        return e;
    int64_t now = clock_wall_ms();
    struct query q;
    query_begin(
        &q, tx,
        "INSERT INTO feedback (feedback_id, message_id, user_id, rating, comment, created_at,"
        " updated_at) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (message_id, user_id) DO UPDATE"
        " SET rating = excluded.rating, comment = excluded.comment,"
        " updated_at = excluded.updated_at");
    query_bind_id(&q, &f->feedback_id);
    query_bind_id(&q, &f->message_id);
    query_bind_id(&q, &f->user_id);
    query_bind_str(&q, str_from(rating_name(f->rating)));
    query_bind_str(&q, f->comment);
    query_bind_int(&q, f->created_at ? f->created_at : now);
    query_bind_int(&q, f->updated_at ? f->updated_at : now);
    if ((e = query_run(&q)))
        return e;
    return feedback_get(tx, &f->user_id, &f->message_id, a, ret);
}

enum err feedback_get(struct store_tx *tx, const struct uuid *user_id,
                      const struct uuid *message_id, struct arena *a, struct feedback *ret) {
    struct query q;
    struct feedback f = {0};
    query_begin(&q, tx,
                "SELECT " COLUMNS " FROM feedback f WHERE f.message_id = ? AND f.user_id = ?");
    query_bind_id(&q, message_id);
    query_bind_id(&q, user_id);
    bool found = query_next(&q);
    if (found)
        feedback_read(&q, a, &f);
    enum err e = query_end_one(&q, found);
    if (!e)
        *ret = f;
    return e;
}

enum err feedback_delete(struct store_tx *tx, const struct uuid *user_id,
                         const struct uuid *message_id) {
    struct query q;
    query_begin(&q, tx, "DELETE FROM feedback WHERE message_id = ? AND user_id = ?");
    query_bind_id(&q, message_id);
    query_bind_id(&q, user_id);
    return query_run_one(&q);
}

enum err feedback_of_conversation(struct store_tx *tx, const struct uuid *user_id,
                                  const struct uuid *conversation_id, struct arena *a,
                                  struct feedback **ret, size_t *ret_n) {
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx,
                "SELECT " COLUMNS " FROM messages m JOIN feedback f USING (message_id)"
                " WHERE m.conversation_id = ? AND f.user_id = ? ORDER BY m.seq");
    query_bind_id(&q, conversation_id);
    query_bind_id(&q, user_id);
    while (query_next(&q)) {
        struct feedback *f = rows_add(&rows, a, sizeof *f, &q);
        if (f)
            feedback_read(&q, a, f);
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

static void row_read(struct query *q, struct arena *a, struct feedback_row *ret) {
    feedback_read(q, a, &ret->f);
    ret->username = query_str(q, 8, a);
    ret->conversation_id = query_id(q, 9);
    ret->role_id = query_id(q, 10);
    ret->role_name = query_str(q, 11, a);
    ret->role_version = (int)query_int(q, 12);
    ret->model = query_str(q, 13, a);
    ret->question = query_str(q, 14, a);
    ret->answer = query_str(q, 15, a);
}

enum err feedback_list(struct store_tx *tx, int rating, const struct page *p, struct arena *a,
                       struct feedback_row **ret, size_t *ret_n) {
    enum err e = page_check(p);
    if (e || rating > RATING_NEUTRAL)
        return e ? e : ERR_INVALID;
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx,
                "SELECT " COLUMNS
                ", u.username, m.conversation_id, m.role_id, coalesce(r.name, ''),"
                " m.role_version, m.model, coalesce(parent.content, ''), m.content FROM feedback f"
                " JOIN users u USING (user_id) JOIN messages m USING (message_id)"
                " LEFT JOIN assistant_roles r ON r.role_id = m.role_id"
                " LEFT JOIN messages parent ON parent.message_id = m.parent_id"
                " WHERE f.feedback_id < coalesce(?1, 'g') AND (?2 = '' OR f.rating = ?2)"
                " ORDER BY f.feedback_id DESC LIMIT ?3");
    query_bind_id(&q, &p->after);
    query_bind_str(&q, rating < 0 ? STR("") : str_from(rating_name((enum rating)rating)));
    query_bind_int(&q, p->limit);
    while (query_next(&q)) {
        struct feedback_row *row = rows_add(&rows, a, sizeof *row, &q);
        if (row)
            row_read(&q, a, row);
    }
    if ((e = query_end(&q)))
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}
