/* Approved answers, and which documents are anybody's; see learning.h. */
#include "store/learning.h"

#include "base/clock.h"
#include "store/store_internal.h"

#define COLUMNS                                                                                    \
    "answer_id, role_id, question, answer, sources, state, message_id, made_by, created_at,"       \
    " changed_at, served, vector_model, vector, why"

/* A source is as it was when its document is still there and was not indexed anew. */
#define CHANGED                                                                                    \
    "EXISTS (SELECT 1 FROM json_each(sources) s WHERE NOT EXISTS (SELECT 1 FROM documents d WHERE" \
    "  d.doc_id = json_extract(s.value, '$.doc_id') AND"                                           \
    "  d.indexed_at = json_extract(s.value, '$.indexed_at')))"

static void approved_read(struct query *q, struct arena *a, struct approved_answer *ret) {
    *ret = (struct approved_answer){
        .answer_id = query_id(q, 0),
        .role_id = query_id(q, 1),
        .question = query_str(q, 2, a),
        .answer = query_str(q, 3, a),
        .sources = query_str(q, 4, a),
        .state = query_str(q, 5, a),
        .message_id = query_id(q, 6),
        .made_by = query_id(q, 7),
        .created_at = query_int(q, 8),
        .changed_at = query_int(q, 9),
        .served = query_int(q, 10),
        .vector_model = query_str(q, 11, a),
        .vector = query_blob(q, 12, a),
        .why = query_str(q, 13, a),
    };
}

enum err approved_put(struct store_tx *tx, const struct approved_answer *p) {
    struct query q;
    query_begin(&q, tx,
                "INSERT INTO approved_answers (answer_id, role_id, question, answer, sources,"
                " state, message_id, made_by, created_at, changed_at, why)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (answer_id) DO UPDATE SET"
                " vector_model = CASE WHEN question = excluded.question THEN vector_model ELSE ''"
                " END, question = excluded.question, answer = excluded.answer,"
                " sources = excluded.sources, state = excluded.state, why = excluded.why,"
                " changed_at = excluded.changed_at");
    query_bind_id(&q, &p->answer_id);
    query_bind_id(&q, &p->role_id);
    query_bind_str(&q, p->question);
    query_bind_str(&q, p->answer);
    query_bind_str(&q, p->sources.n ? p->sources : STR("[]"));
    query_bind_str(&q, p->state);
    query_bind_id(&q, &p->message_id);
    query_bind_id(&q, &p->made_by);
    query_bind_int(&q, p->created_at);
    query_bind_int(&q, p->changed_at);
    query_bind_str(&q, p->why.p ? p->why : STR(""));
    return query_run(&q);
}

enum err approved_get(struct store_tx *tx, const struct uuid *id, struct arena *a,
                      struct approved_answer *ret) {
    struct query q;
    struct approved_answer p = {0};
    query_begin(&q, tx, "SELECT " COLUMNS " FROM approved_answers WHERE answer_id = ?");
    query_bind_id(&q, id);
    bool found = query_next(&q);
    if (found)
        approved_read(&q, a, &p);
    enum err e = query_end(&q);
    if (!e && !found)
        return ERR_NOT_FOUND;
    if (!e)
        *ret = p;
    return e;
}

enum err approved_list(struct store_tx *tx, const char *state, const struct page *p,
                       struct arena *a, struct approved_answer **ret, size_t *ret_n) {
    enum err e = page_check(p);
    if (e)
        return e;
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx,
                "SELECT " COLUMNS " FROM approved_answers WHERE answer_id < coalesce(?1, 'g')"
                " AND (?2 = '' OR state = ?2) AND (?2 <> 'approved' OR NOT " CHANGED ")"
                " ORDER BY answer_id DESC LIMIT ?3");
    query_bind_id(&q, &p->after);
    query_bind_str(&q, state ? str_from(state) : STR(""));
    query_bind_int(&q, p->limit);
    while (query_next(&q)) {
        struct approved_answer *row = rows_add(&rows, a, sizeof *row, &q);
        if (row)
            approved_read(&q, a, row);
    }
    if ((e = query_end(&q)))
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

enum err approved_count(struct store_tx *tx, int64_t *ret) {
    struct query q;
    query_begin(&q, tx,
                "SELECT count(*) FROM approved_answers WHERE state = 'approved' AND NOT " CHANGED);
    int64_t n = query_next(&q) ? query_int(&q, 0) : 0;
    enum err e = query_end(&q);
    if (!e)
        *ret = n;
    return e;
}

enum err approved_set_state(struct store_tx *tx, const struct uuid *id, const char *state) {
    struct query q;
    query_begin(&q, tx,
                "UPDATE approved_answers SET state = ?, changed_at = ? WHERE answer_id = ?");
    query_bind_str(&q, str_from(state));
    query_bind_int(&q, clock_wall_ms());
    query_bind_id(&q, id);
    return query_run_one(&q);
}

enum err approved_set_vector(struct store_tx *tx, const struct uuid *id, struct str model,
                             struct str vector) {
    struct query q;
    query_begin(&q, tx,
                "UPDATE approved_answers SET vector_model = ?, vector = ? WHERE answer_id = ?");
    query_bind_str(&q, model);
    query_bind_blob(&q, vector);
    query_bind_id(&q, id);
    return query_run_one(&q);
}

enum err approved_count_served(struct store_tx *tx, const struct uuid *id) {
    struct query q;
    query_begin(&q, tx, "UPDATE approved_answers SET served = served + 1 WHERE answer_id = ?");
    query_bind_id(&q, id);
    return query_run(&q);
}

enum err approved_delete(struct store_tx *tx, const struct uuid *id) {
    struct query q;
    query_begin(&q, tx, "DELETE FROM approved_answers WHERE answer_id = ?");
    query_bind_id(&q, id);
    return query_run_one(&q);
}

enum err approved_check(struct store_tx *tx, int64_t looked_at_since, struct approved_gone *ret) {
    struct query q;
    struct approved_gone gone = {0, 0};
    query_begin(&q, tx,
                "SELECT coalesce(sum(" CHANGED "), 0), count(*) FROM approved_answers"
                " WHERE state = 'approved' AND (changed_at < ? OR " CHANGED ")");
    query_bind_int(&q, looked_at_since);
    if (query_next(&q)) {
        gone.changed = query_int(&q, 0);
        gone.old = query_int(&q, 1) - gone.changed;
    }
    enum err e = query_end(&q);
    if (!e && gone.changed + gone.old > 0) {
        query_begin(&q, tx,
                    "UPDATE approved_answers SET state = 'stale',"
                    " why = CASE WHEN " CHANGED " THEN 'changed' ELSE 'old' END"
                    " WHERE state = 'approved' AND (changed_at < ? OR " CHANGED ")");
        query_bind_int(&q, looked_at_since);
        e = query_run(&q);
    }
    if (!e)
        *ret = gone;
    return e;
}

enum err approved_set_stale(struct store_tx *tx, const struct uuid *id, const char *why) {
    struct query q;
    query_begin(&q, tx,
                "UPDATE approved_answers SET state = 'stale', why = ?"
                " WHERE answer_id = ? AND state = 'approved'");
    query_bind_str(&q, str_from(why));
    query_bind_id(&q, id);
    return query_run_one(&q);
}

enum err approved_ratings(struct store_tx *tx, struct arena *a, struct approved_rating **ret,
                          size_t *ret_n) {
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx,
                "SELECT answer_id, count(*), sum(liked) FROM (SELECT p.answer_id, avg(CASE f.rating"
                "  WHEN 'thumbs_up' THEN 1.0 WHEN 'neutral' THEN 0.5 ELSE 0 END) AS liked"
                "  FROM approved_answers p JOIN turn_records t ON t.answer_id = p.answer_id"
                "  JOIN feedback f ON f.message_id = t.message_id AND f.user_id = t.user_id"
                "  WHERE t.at >= p.changed_at AND NOT EXISTS"
                "   (SELECT 1 FROM flagged_users g WHERE g.user_id = t.user_id)"
                "  GROUP BY p.answer_id, t.user_id) GROUP BY answer_id");
    while (query_next(&q)) {
        struct approved_rating *r = rows_add(&rows, a, sizeof *r, &q);
        if (r)
            *r = (struct approved_rating){query_id(&q, 0), query_int(&q, 1), query_num(&q, 2)};
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

enum err approved_renew_sources(struct store_tx *tx, const struct uuid *id) {
    struct query q;
    query_begin(
        &q, tx,
        "UPDATE approved_answers SET sources = (SELECT coalesce(json_group_array(json_object("
        "'doc_id', d.doc_id, 'indexed_at', d.indexed_at)), '[]') FROM json_each(sources) s"
        " JOIN documents d ON d.doc_id = json_extract(s.value, '$.doc_id'))"
        " WHERE answer_id = ?");
    query_bind_id(&q, id);
    return query_run_one(&q);
}

enum err sources_are_public(struct store_tx *tx, struct str sources, bool *ret) {
    struct query q;
    query_begin(&q, tx,
                "SELECT 1 FROM json_each(?) s WHERE NOT EXISTS (SELECT 1 FROM documents d"
                " JOIN collections c USING (collection_id) WHERE c.kind <> 'private'"
                " AND d.doc_id = json_extract(s.value, '$.doc_id'))");
    query_bind_str(&q, sources.n ? sources : STR("[]"));
    bool private = query_next(&q);
    enum err e = query_end(&q);
    if (!e)
        *ret = !private;
    return e;
}

enum err document_public_ids(struct store_tx *tx, struct arena *a, struct uuid **ret,
                             size_t *ret_n) {
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx,
                "SELECT d.doc_id FROM documents d JOIN collections c USING (collection_id)"
                " WHERE c.kind <> 'private' ORDER BY d.doc_id");
    while (query_next(&q)) {
        struct uuid *id = rows_add(&rows, a, sizeof *id, &q);
        if (id)
            *id = query_id(&q, 0);
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

static enum err exists(struct query *q, bool *ret) {
    bool found = query_next(q);
    enum err e = query_end(q);
    if (!e)
        *ret = found;
    return e;
}

enum err approved_knows(struct store_tx *tx, const struct uuid *message_id,
                        const struct uuid *role_id, struct str question, bool *ret) {
    struct query q;
    query_begin(&q, tx,
                "SELECT 1 FROM approved_answers WHERE message_id = ?1 UNION ALL SELECT 1 FROM"
                " approved_answers WHERE role_id = ?2 AND question = ?3 LIMIT 1");
    query_bind_id(&q, message_id);
    query_bind_id(&q, role_id);
    query_bind_str(&q, question);
    return exists(&q, ret);
}

enum err message_is_first_answer(struct store_tx *tx, const struct uuid *message_id, bool *ret) {
    struct query q;
    query_begin(&q, tx,
                "SELECT 1 FROM messages m JOIN messages p ON p.message_id = m.parent_id"
                " WHERE m.message_id = ? AND m.sender = 'assistant' AND p.parent_id IS NULL"
                " AND p.attachments = '[]'"); /* else it is about what was given */
    query_bind_id(&q, message_id);
    return exists(&q, ret);
}

enum err document_indexed_at(struct store_tx *tx, const struct uuid *doc_id, int64_t *ret) {
    struct query q;
    query_begin(&q, tx, "SELECT indexed_at FROM documents WHERE doc_id = ?");
    query_bind_id(&q, doc_id);
    bool found = query_next(&q);
    int64_t at = found ? query_int(&q, 0) : 0;
    enum err e = query_end(&q);
    if (e)
        return e;
    if (!found)
        return ERR_NOT_FOUND;
    *ret = at;
    return ERR_OK;
}
