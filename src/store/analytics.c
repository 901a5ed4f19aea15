/* What administrators see of ratings: satisfaction by whatever an answer was made of, worst
 * answers, unanswered questions, documents that nobody needs or likes, and the rows of exports. */
#include "base/clock.h"
#include "store/learning.h"
#include "store/store_internal.h"

#define ROWS_MAX      1000
#define DOCUMENT_MAX  200
#define TRAINING_PAGE 200 /* rows of one query */

#define GOOD "sum(CASE f.rating WHEN 'thumbs_up' THEN 1.0 WHEN 'neutral' THEN 0.5 ELSE 0 END)"
#define SUMS                                                                                       \
    " count(DISTINCT t.message_id), count(f.rating), coalesce(" GOOD ", 0),"                       \
    " coalesce(avg(CASE WHEN t.ttft_ms >= 0 THEN t.ttft_ms END), -1)"
#define FROM_TURNS                                                                                 \
    " FROM turn_records t LEFT JOIN feedback f ON f.message_id = t.message_id"                     \
    "  AND f.user_id = t.user_id"
#define OF_ROLE " LEFT JOIN assistant_roles r ON r.role_id = t.role_id"
#define DAY     "strftime('%Y-%m-%d', t.at / 1000, 'unixepoch')"
#define GROUPED " WHERE t.at >= ?1 GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT 1000"

/* One query for each enum analytics_by; statements are kept by their address. */
static const char *const queries[] = {
    [BY_ROLE] = "SELECT t.role_id, coalesce(r.name, '')," SUMS FROM_TURNS OF_ROLE GROUPED,
    [BY_MODEL] = "SELECT t.model, t.model," SUMS FROM_TURNS GROUPED,
    [BY_VERSION] =
        "SELECT t.role_id || '/' || t.role_version,"
        " coalesce(r.name, '') || ' v' || t.role_version," SUMS FROM_TURNS OF_ROLE GROUPED,
    [BY_DOCUMENT] =
        "SELECT json_extract(p.value, '$.doc_id'), coalesce(d.source_name, '')," SUMS
        " FROM turn_records t JOIN json_each(t.record, '$.passages') p"
        " LEFT JOIN feedback f ON f.message_id = t.message_id AND f.user_id = t.user_id"
        " JOIN documents d ON d.doc_id = json_extract(p.value, '$.doc_id')"
        " JOIN collections c ON c.collection_id = d.collection_id AND c.kind <> 'private'" GROUPED,
    [BY_DAY] = "SELECT " DAY ", " DAY "," SUMS FROM_TURNS
               " WHERE t.at >= ?1 GROUP BY 1 ORDER BY 1 LIMIT 1000",
    [BY_ARM] =
        "SELECT coalesce(t.arm_id, t.role_id),"
        " coalesce(r.name, '') || ': ' || coalesce(a.name, 'as it is')," SUMS FROM_TURNS OF_ROLE
        " LEFT JOIN arms a ON a.arm_id = t.arm_id" GROUPED,
    [BY_REASON] = "SELECT x.value, x.value," SUMS
                  " FROM feedback f JOIN json_each(f.reasons) x JOIN turn_records t"
                  " ON t.message_id = f.message_id" GROUPED,
};

#define DAYS_OF(condition)                                                                         \
    "SELECT " DAY ", " DAY "," SUMS FROM_TURNS " WHERE t.at >= ?1 AND " condition                  \
    " GROUP BY 1 ORDER BY 1 LIMIT 1000"
static const char *const day_queries[BY_REASON + 1] = {
    [BY_ROLE] = DAYS_OF("t.role_id = ?2"),
    [BY_MODEL] = DAYS_OF("t.model = ?2"),
    [BY_VERSION] = DAYS_OF("t.role_id || '/' || t.role_version = ?2"),
    [BY_DOCUMENT] = DAYS_OF("EXISTS (SELECT 1 FROM json_each(t.record, '$.passages') p"
                            " JOIN documents d ON d.doc_id = ?2 JOIN collections c ON"
                            " c.collection_id = d.collection_id AND c.kind <> 'private'"
                            " WHERE json_extract(p.value, '$.doc_id') = ?2)"),
    [BY_ARM] = DAYS_OF("coalesce(t.arm_id, t.role_id) = ?2"),
};

static enum err rows_read(struct query *q, struct arena *a, struct analytics_row **ret,
                          size_t *ret_n) {
    struct rows rows = {0};
    while (query_next(q)) {
        struct analytics_row *r = rows_add(&rows, a, sizeof *r, q);
        if (r)
            *r = (struct analytics_row){query_str(q, 0, a), query_str(q, 1, a), query_int(q, 2),
                                        query_int(q, 3),    query_num(q, 4),    query_num(q, 5)};
    }
    enum err e = query_end(q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

enum err analytics_list(struct store_tx *tx, enum analytics_by by, int64_t since, struct arena *a,
                        struct analytics_row **ret, size_t *ret_n) {
    struct query q;
    query_begin(&q, tx, queries[by]);
    query_bind_int(&q, since);
    return rows_read(&q, a, ret, ret_n);
}

enum err analytics_days(struct store_tx *tx, enum analytics_by of, struct str key, int64_t since,
                        struct arena *a, struct analytics_row **ret, size_t *ret_n) {
    struct query q;
    if (!day_queries[of])
        return ERR_INVALID;
    query_begin(&q, tx, day_queries[of]);
    query_bind_int(&q, since);
    query_bind_str(&q, key);
    return rows_read(&q, a, ret, ret_n);
}

/* ---- single turns ---- */

#define TURN_COLUMNS                                                                               \
    "m.message_id, m.timestamp, coalesce(r.name, ''), coalesce(parent.content, ''), m.content,"    \
    " coalesce(f.comment, ''), coalesce(f.reasons, '[]'), coalesce(f.rating, '')"
#define TURN_JOINS                                                                                 \
    " LEFT JOIN messages parent ON parent.message_id = m.parent_id"                                \
    " LEFT JOIN assistant_roles r ON r.role_id = m.role_id"

static enum err turns_read(struct query *q, struct arena *a, struct analytics_turn **ret,
                           size_t *ret_n) {
    struct rows rows = {0};
    while (query_next(q)) {
        struct analytics_turn *t = rows_add(&rows, a, sizeof *t, q);
        if (t)
            *t = (struct analytics_turn){
                query_id(q, 0),     query_int(q, 1),
                query_str(q, 2, a), query_str(q, 3, a),
                query_str(q, 4, a), query_str(q, 5, a),
                query_str(q, 6, a), rating_from_name(query_str(q, 7, a)),
            };
    }
    enum err e = query_end(q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

static int limited(int limit) {
    return limit > 0 && limit < ROWS_MAX ? limit : ROWS_MAX;
}

enum err analytics_turns(struct store_tx *tx, bool unanswered, int64_t since, int limit,
                         struct arena *a, struct analytics_turn **ret, size_t *ret_n) {
    struct query q;
    query_begin(
        &q, tx,
        unanswered
            ? "SELECT " TURN_COLUMNS " FROM turn_records t JOIN messages m USING (message_id)"
              " LEFT JOIN feedback f ON f.message_id = m.message_id" TURN_JOINS
              " LEFT JOIN role_retrieval rr ON rr.role_id = t.role_id"
              " WHERE t.at >= ?1 AND (t.status = 'failed' OR trim(m.content) = '' OR"
              "  (t.passages = 0 AND coalesce(rr.grounded_only, 0) = 1 AND t.answer_id IS NULL))"
              " ORDER BY t.at DESC LIMIT ?2"
            : "SELECT " TURN_COLUMNS
              " FROM feedback f JOIN messages m USING (message_id)" TURN_JOINS
              " WHERE f.updated_at >= ?1 AND f.rating = 'thumbs_down'"
              " ORDER BY json_array_length(f.reasons) DESC, f.updated_at DESC LIMIT ?2");
    query_bind_int(&q, since);
    query_bind_int(&q, limited(limit));
    return turns_read(&q, a, ret, ret_n);
}

enum err complaint_list(struct store_tx *tx, int64_t since, int limit, struct arena *a,
                        struct analytics_turn **ret, size_t *ret_n) {
    struct query q;
    query_begin(&q, tx,
                "SELECT " TURN_COLUMNS
                " FROM feedback f JOIN messages m USING (message_id)" TURN_JOINS
                " WHERE f.updated_at >= ?1"
                " AND (f.rating = 'thumbs_down' OR (f.rating = 'neutral' AND f.comment <> ''))"
                " AND NOT EXISTS (SELECT 1 FROM flagged_users g WHERE g.user_id = f.user_id)"
                " ORDER BY f.updated_at DESC LIMIT ?2");
    query_bind_int(&q, since);
    query_bind_int(&q, limited(limit));
    return turns_read(&q, a, ret, ret_n);
}

/* ---- documents ---- */

enum err analytics_documents(struct store_tx *tx, bool never_used, int64_t since, int limit,
                             struct arena *a, struct analytics_document **ret, size_t *ret_n) {
    struct query q;
    struct rows rows = {0};
    query_begin(
        &q, tx,
        never_used
            ? "WITH used AS (SELECT DISTINCT json_extract(p.value, '$.doc_id') AS doc_id"
              "  FROM turn_records t JOIN json_each(t.record, '$.passages') p WHERE t.at >= ?1)"
              " SELECT d.doc_id, d.source_name, 0, 0, 0 FROM documents d"
              " JOIN collections c USING (collection_id) WHERE c.kind <> 'private'"
              " AND d.indexed_at > 0 AND d.doc_id NOT IN (SELECT doc_id FROM used)"
              " ORDER BY d.doc_id LIMIT ?2"
            : "SELECT d.doc_id, d.source_name, count(*), sum(f.rating = 'thumbs_up'),"
              " sum(f.rating = 'thumbs_down') FROM turn_records t"
              " JOIN json_each(t.record, '$.passages') p"
              " JOIN feedback f ON f.message_id = t.message_id AND f.user_id = t.user_id"
              " JOIN documents d ON d.doc_id = json_extract(p.value, '$.doc_id')"
              " JOIN collections c USING (collection_id) WHERE t.at >= ?1 AND c.kind <> 'private'"
              " GROUP BY d.doc_id HAVING sum(f.rating = 'thumbs_down') >="
              "  max(2, sum(f.rating = 'thumbs_up') + 1) ORDER BY 5 DESC LIMIT ?2");
    query_bind_int(&q, since);
    query_bind_int(&q, limit > 0 && limit < DOCUMENT_MAX ? limit : DOCUMENT_MAX);
    while (query_next(&q)) {
        struct analytics_document *d = rows_add(&rows, a, sizeof *d, &q);
        if (d)
            *d = (struct analytics_document){query_id(&q, 0), query_str(&q, 1, a), query_int(&q, 2),
                                             query_int(&q, 3), query_int(&q, 4)};
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

/* ---- training ---- */

/* What turn/guard_question.c takes out of prompts: a question and its refusal both say so. */
#define REFUSED "'\"direction\":\"input\",\"action\":\"block\"'"

static const char training_query[] =
    "SELECT m.message_id, m.parent_id, m.conversation_id, f.rating,"
    " coalesce(arm.system_prompt, v.system_prompt, ''), m.model, m.role_version,"
    " parent.content, m.content,"
    " (WITH RECURSIVE up (parent_id, sender, said, n, bytes) AS ("
    "   SELECT parent.parent_id, '', '', 0, 0 UNION ALL"
    "   SELECT b.parent_id, b.sender, iif(instr(b.safety, " REFUSED ") = 0, b.content, ''), n + 1,"
    "    bytes + iif(instr(b.safety, " REFUSED ") = 0, length(CAST(b.content AS BLOB)), 0)"
    "   FROM messages b JOIN up ON b.message_id = up.parent_id WHERE n < ?3 AND bytes < ?4)"
    "  SELECT json_group_array(json_object('role', sender, 'content', said)) FROM ("
    "   SELECT sender, said FROM up WHERE said <> '' AND bytes <= ?4 ORDER BY n DESC))"
    " FROM messages m JOIN feedback f ON f.message_id = m.message_id AND f.user_id = m.user_id"
    " JOIN users u ON u.user_id = m.user_id"
    " JOIN messages parent ON parent.message_id = m.parent_id"
    " LEFT JOIN turn_records t ON t.message_id = m.message_id"
    " LEFT JOIN arms arm ON arm.arm_id = t.arm_id"
    " LEFT JOIN role_versions v ON v.role_id = m.role_id AND v.version = m.role_version"
    " WHERE m.message_id > coalesce(?1, '') AND m.status IN ('complete', 'stopped')"
    " AND m.content <> '' AND f.rating <> 'neutral'"
    " AND json_extract(u.preferences, '$.training_consent') = 1"
    " AND NOT EXISTS (SELECT 1 FROM flagged_users g WHERE g.user_id = u.user_id)"
    " AND (t.message_id IS NULL OR (t.unsafe = 0 AND t.answer_id IS NULL))"
    " AND instr(parent.safety, " REFUSED ") = 0 AND instr(m.safety, " REFUSED ") = 0"
    " ORDER BY m.message_id LIMIT ?2";

struct training {
    struct rows rows;
    struct arena *a;
    size_t rows_max, bytes_max; /* of the arena */
    bool full;                  /* there are more rows than fit */
};

/* The rows after one; *ret_last: no others follow them. */
static enum err training_page(struct store_tx *tx, const struct uuid *after, struct training *t,
                              bool *ret_last) {
    struct query q;
    int seen = 0;
    query_begin(&q, tx, training_query);
    query_bind_id(&q, after);
    query_bind_int(&q, TRAINING_PAGE);
    query_bind_int(&q, TRAINING_HISTORY_MAX);
    query_bind_int(&q, TRAINING_HISTORY_BYTES);
    while (!t->full && query_next(&q)) {
        seen++;
        t->full = t->rows.n >= t->rows_max || arena_used(t->a) >= t->bytes_max;
        struct training_row *r = t->full ? NULL : rows_add(&t->rows, t->a, sizeof *r, &q);
        if (r)
            *r = (struct training_row){
                query_id(&q, 0),        query_id(&q, 1),
                query_id(&q, 2),        rating_from_name(query_str(&q, 3, t->a)),
                query_str(&q, 4, t->a), query_str(&q, 5, t->a),
                (int)query_int(&q, 6),  query_str(&q, 7, t->a),
                query_str(&q, 8, t->a), query_str(&q, 9, t->a)};
    }
    *ret_last = seen < TRAINING_PAGE;
    return query_end(&q);
}

enum err training_list(struct store_tx *tx, const struct uuid *after, size_t limit, struct arena *a,
                       struct training_row **ret, size_t *ret_n, bool *ret_more) {
    struct training t = {
        .a = a, .rows_max = limit, .bytes_max = arena_used(a) + TRAINING_BYTES_MAX};
    bool last = false;
    while (!last && !t.full) {
        const struct training_row *rows = t.rows.p;
        enum err e =
            training_page(tx, t.rows.n ? &rows[t.rows.n - 1].message_id : after, &t, &last);
        if (e)
            return e;
    }
    *ret = t.rows.p;
    *ret_n = t.rows.n;
    *ret_more = t.full;
    return ERR_OK;
}
