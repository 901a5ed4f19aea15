/* Records of turns, signals, reasons, and the evidence made of them; see learning.h. */
#include "store/learning.h"

#include "base/clock.h"
#include "store/store_internal.h"

#define EVIDENCE_MAX 50000

#define RECORD_COLUMNS                                                                             \
    "t.message_id, t.user_id, t.role_id, t.role_version, t.model, t.at, t.arm_id, t.arm_chance,"   \
    " t.candidate_id, t.ranked, t.ranked_chance, t.ttft_ms, t.latency_ms, t.status, t.unsafe,"     \
    " t.answer_id, t.passages, t.vector_model, t.vector, t.record, t.examples_id, t.exampled,"     \
    " t.examples_chance"
#define RECORD_COLUMNS_N 23

enum err turn_record_put(struct store_tx *tx, const struct turn_record *r) {
    struct query q;
    query_begin(&q, tx,
                "INSERT INTO turn_records (message_id, user_id, role_id, role_version,"
                " model, at, arm_id, arm_chance, candidate_id, ranked, ranked_chance, ttft_ms,"
                " latency_ms, status, unsafe, answer_id, passages, vector_model, vector, record,"
                " examples_id, exampled, examples_chance)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    query_bind_id(&q, &r->message_id);
    query_bind_id(&q, &r->user_id);
    query_bind_id(&q, &r->role_id);
    query_bind_int(&q, r->role_version);
    query_bind_str(&q, r->model.p ? r->model : STR(""));
    query_bind_int(&q, r->at);
    query_bind_id(&q, &r->arm_id);
    query_bind_num(&q, r->arm_chance);
    query_bind_id(&q, &r->candidate_id);
    query_bind_int(&q, r->ranked);
    query_bind_num(&q, r->ranked_chance);
    query_bind_int(&q, r->ttft_ms);
    query_bind_int(&q, r->latency_ms);
    query_bind_str(&q, str_from(message_status_name(r->status)));
    query_bind_int(&q, r->unsafe);
    query_bind_id(&q, &r->answer_id);
    query_bind_int(&q, r->passages);
    query_bind_str(&q, r->vector_model.p ? r->vector_model : STR(""));
    query_bind_blob(&q, r->vector);
    query_bind_str(&q, r->record);
    query_bind_id(&q, &r->examples_id);
    query_bind_int(&q, r->exampled);
    query_bind_num(&q, r->examples_chance);
    return query_run(&q);
}

static void record_read(struct query *q, struct arena *a, struct turn_record *ret) {
    int status = message_status_from_name(query_str(q, 13, a));
    *ret = (struct turn_record){
        .message_id = query_id(q, 0),
        .user_id = query_id(q, 1),
        .role_id = query_id(q, 2),
        .role_version = (int)query_int(q, 3),
        .model = query_str(q, 4, a),
        .at = query_int(q, 5),
        .arm_id = query_id(q, 6),
        .arm_chance = query_num(q, 7),
        .candidate_id = query_id(q, 8),
        .ranked = query_int(q, 9) != 0,
        .ranked_chance = query_num(q, 10),
        .ttft_ms = query_int(q, 11),
        .latency_ms = query_int(q, 12),
        .status = status < 0 ? MESSAGE_FAILED : (enum message_status)status,
        .unsafe = query_int(q, 14) != 0,
        .answer_id = query_id(q, 15),
        .passages = (int)query_int(q, 16),
        .vector_model = query_str(q, 17, a),
        .vector = query_blob(q, 18, a),
        .record = query_str(q, 19, a),
        .examples_id = query_id(q, 20),
        .exampled = query_int(q, 21) != 0,
        .examples_chance = query_num(q, 22),
    };
}

enum err turn_record_get(struct store_tx *tx, const struct uuid *user_id, const struct uuid *id,
                         struct arena *a, struct turn_record *ret) {
    struct query q;
    struct turn_record r = {0};
    query_begin(&q, tx,
                "SELECT " RECORD_COLUMNS
                " FROM turn_records t WHERE t.message_id = ? AND t.user_id = ?");
    query_bind_id(&q, id);
    query_bind_id(&q, user_id);
    bool found = query_next(&q);
    if (found)
        record_read(&q, a, &r);
    enum err e = query_end(&q);
    if (!e && !found)
        return ERR_NOT_FOUND;
    if (!e)
        *ret = r;
    return e;
}

static enum err is_answer_of(struct store_tx *tx, const struct uuid *user, const struct uuid *id) {
    struct query q;
    query_begin(&q, tx,
                "SELECT 1 FROM messages WHERE message_id = ? AND user_id = ?"
                " AND sender = 'assistant'");
    query_bind_id(&q, id);
    query_bind_id(&q, user);
    bool found = query_next(&q);
    enum err e = query_end(&q);
    return e ? e : found ? ERR_OK : ERR_NOT_FOUND;
}

enum err turn_signal_put(struct store_tx *tx, const struct uuid *user_id, const struct uuid *id,
                         const char *kind, int64_t at) {
    enum err e = is_answer_of(tx, user_id, id);
    if (e)
        return e;
    struct query q;
    query_begin(&q, tx,
                "INSERT INTO turn_signals (message_id, kind, at) VALUES (?, ?, ?)"
                " ON CONFLICT DO NOTHING");
    query_bind_id(&q, id);
    query_bind_str(&q, str_from(kind));
    query_bind_int(&q, at);
    return query_run(&q);
}

enum err turn_signal_edited(struct store_tx *tx, const struct message *question, int64_t at) {
    struct query q;
    if (!uuid_is_set(&question->message_id))
        return ERR_OK;
    query_begin(&q, tx,
                "INSERT INTO turn_signals (message_id, kind, at)"
                " SELECT message_id, 'edited', ?1 FROM messages WHERE sender = 'assistant' AND"
                " conversation_id = ?2 AND parent_id = (SELECT message_id FROM messages WHERE"
                "  conversation_id = ?2 AND sender = 'user' AND parent_id IS ?3 AND"
                "  message_id < ?4 ORDER BY message_id DESC LIMIT 1) ON CONFLICT DO NOTHING");
    query_bind_int(&q, at);
    query_bind_id(&q, &question->conversation_id);
    query_bind_id(&q, &question->parent_id);
    query_bind_id(&q, &question->message_id);
    return query_run(&q);
}

enum err feedback_reaches(struct store_tx *tx, int n, bool *ret) {
    struct query q;
    query_begin(&q, tx, "SELECT count(*) FROM (SELECT 1 FROM feedback LIMIT ?)");
    query_bind_int(&q, n);
    bool reached = query_next(&q) && query_int(&q, 0) >= n;
    enum err e = query_end(&q);
    if (!e)
        *ret = reached;
    return e;
}

enum err feedback_set_reasons(struct store_tx *tx, const struct uuid *user_id,
                              const struct uuid *message_id, struct str reasons,
                              struct str sources) {
    struct query q;
    query_begin(
        &q, tx,
        "UPDATE feedback SET reasons = ?, sources = ? WHERE message_id = ? AND user_id = ?");
    query_bind_str(&q, reasons);
    query_bind_str(&q, sources);
    query_bind_id(&q, message_id);
    query_bind_id(&q, user_id);
    return query_run_one(&q);
}

enum err user_flag(struct store_tx *tx, const struct uuid *user_id, bool flagged) {
    struct query q;
    if (flagged) {
        query_begin(&q, tx,
                    "INSERT INTO flagged_users (user_id, at) SELECT user_id, ? FROM users"
                    " WHERE user_id = ? ON CONFLICT (user_id) DO UPDATE SET at = at");
        query_bind_int(&q, clock_wall_ms());
        query_bind_id(&q, user_id);
        return query_run_one(&q);
    }
    query_begin(&q, tx, "DELETE FROM flagged_users WHERE user_id = ?");
    query_bind_id(&q, user_id);
    enum err e = query_run(&q);
    return e ? e : setting_set(tx, "learn.unlearn", STR("flag"));
}

enum err user_flagged(struct store_tx *tx, const struct uuid *user_id, bool *ret) {
    struct query q;
    query_begin(&q, tx, "SELECT 1 FROM flagged_users WHERE user_id = ?");
    query_bind_id(&q, user_id);
    bool found = query_next(&q);
    enum err e = query_end(&q);
    if (!e)
        *ret = found;
    return e;
}

static unsigned signals_read(struct query *q, int col, struct arena *a) {
    static const char *const names[] = {"copied", "regenerated", "edited", "stopped"};
    struct str list = query_str(q, col, a);
    unsigned bits = 0;
    for (unsigned i = 0; i < 4; i++)
        if (list.n && str_find(list, str_from(names[i])) != SIZE_MAX)
            bits |= 1u << i;
    return bits;
}

/* The newest rows that somebody said or did something about; oldest first. */
enum err evidence_list(struct store_tx *tx, int64_t since, int max, struct arena *a,
                       struct evidence_row **ret, size_t *ret_n) {
    struct query q;
    struct rows rows = {0};
    query_begin(
        &q, tx,
        "WITH told AS (SELECT message_id FROM feedback UNION SELECT message_id FROM turn_signals),"
        " newest AS (SELECT t.* FROM told JOIN turn_records t USING (message_id) WHERE t.at >= "
        "?1" NOT_DEGRADED "  ORDER BY t.at DESC, t.message_id DESC LIMIT ?2)"
        "SELECT " RECORD_COLUMNS ", coalesce(parent.content, ''), coalesce(f.rating, ''),"
        " coalesce(f.updated_at, 0), coalesce(f.reasons, '[]'), coalesce(f.sources, '[]'),"
        " (SELECT group_concat(kind) FROM turn_signals s WHERE s.message_id = t.message_id),"
        " EXISTS (SELECT 1 FROM flagged_users g WHERE g.user_id = t.user_id), u.created_at"
        " FROM newest t JOIN messages m USING (message_id) JOIN users u ON u.user_id = t.user_id"
        " LEFT JOIN messages parent ON parent.message_id = m.parent_id"
        " LEFT JOIN feedback f ON f.message_id = t.message_id AND f.user_id = t.user_id"
        " ORDER BY t.at, t.message_id");
    query_bind_int(&q, since);
    query_bind_int(&q, max > 0 && max < EVIDENCE_MAX ? max : EVIDENCE_MAX);
    while (query_next(&q)) {
        struct evidence_row *r = rows_add(&rows, a, sizeof *r, &q);
        if (!r)
            break;
        record_read(&q, a, &r->r);
        int c = RECORD_COLUMNS_N;
        r->question = query_str(&q, c, a);
        r->rating = rating_from_name(query_str(&q, c + 1, a));
        r->rated_at = query_int(&q, c + 2);
        r->reasons = query_str(&q, c + 3, a);
        r->sources = query_str(&q, c + 4, a);
        r->signals = signals_read(&q, c + 5, a);
        r->flagged = query_int(&q, c + 6) != 0;
        r->user_since = query_int(&q, c + 7);
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}
