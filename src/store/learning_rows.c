/* Arms, candidates, events and approved answers; see learning.h. */
#include "store/learning.h"

#include "base/clock.h"
#include "store/store_internal.h"

/* ---- arms ---- */

#define ARM_COLUMNS                                                                                \
    "arm_id, role_id, name, system_prompt, model, coalesce(temperature, -1),"                      \
    " coalesce(top_p, -1), coalesce(passages, 0), state, why, created_at, changed_at"

static void arm_read(struct query *q, struct arena *a, struct arm *ret) {
    *ret = (struct arm){
        .arm_id = query_id(q, 0),
        .role_id = query_id(q, 1),
        .name = query_str(q, 2, a),
        .system_prompt = query_str(q, 3, a),
        .model = query_str(q, 4, a),
        .temperature = query_num(q, 5),
        .top_p = query_num(q, 6),
        .passages = (int)query_int(q, 7),
        .state = query_str(q, 8, a),
        .why = query_str(q, 9, a),
        .created_at = query_int(q, 10),
        .changed_at = query_int(q, 11),
    };
}

static enum err arm_room(struct store_tx *tx, const struct uuid *role_id, struct errinfo *ei) {
    struct query q;
    query_begin(&q, tx,
                "SELECT (SELECT count(*) FROM arms a WHERE a.role_id = r.role_id"
                " AND a.state = 'running') FROM assistant_roles r WHERE r.role_id = ?");
    query_bind_id(&q, role_id);
    bool found = query_next(&q);
    int64_t n = found ? query_int(&q, 0) : 0;
    enum err e = query_end(&q);
    if (e)
        return e;
    if (!found)
        return err_param(ei, ERR_NOT_FOUND, "role_id", "there is no such role");
    if (n >= ARMS_PER_ROLE)
        return err_set(ei, ERR_CONFLICT, "a role has at most %d running variants: stop one first",
                       ARMS_PER_ROLE);
    return ERR_OK;
}

enum err arm_create(struct store_tx *tx, const struct arm *r, struct errinfo *ei) {
    enum err e = arm_room(tx, &r->role_id, ei);
    if (e)
        return e;
    int64_t now = clock_wall_ms();
    struct query q;
    query_begin(&q, tx,
                "INSERT INTO arms (arm_id, role_id, name, system_prompt, model, temperature, top_p,"
                " passages, state, why, created_at, changed_at) VALUES (?, ?, ?, nullif(?, ''),"
                " nullif(?, ''), nullif(?, -1.0), nullif(?, -1.0), nullif(?, 0), 'running', '', ?,"
                " ?)");
    query_bind_id(&q, &r->arm_id);
    query_bind_id(&q, &r->role_id);
    query_bind_str(&q, r->name);
    query_bind_str(&q, r->system_prompt.p ? r->system_prompt : STR(""));
    query_bind_str(&q, r->model.p ? r->model : STR(""));
    query_bind_num(&q, r->temperature < 0 ? -1 : r->temperature);
    query_bind_num(&q, r->top_p < 0 ? -1 : r->top_p);
    query_bind_int(&q, r->passages);
    query_bind_int(&q, now);
    query_bind_int(&q, now);
    return query_run(&q);
}

enum err arm_get(struct store_tx *tx, const struct uuid *id, struct arena *a, struct arm *ret) {
    struct query q;
    struct arm r = {0};
    query_begin(&q, tx, "SELECT " ARM_COLUMNS " FROM arms WHERE arm_id = ?");
    query_bind_id(&q, id);
    bool found = query_next(&q);
    if (found)
        arm_read(&q, a, &r);
    enum err e = query_end(&q);
    if (!e && !found)
        return ERR_NOT_FOUND;
    if (!e)
        *ret = r;
    return e;
}

enum err arm_list(struct store_tx *tx, const struct uuid *role_id, struct arena *a,
                  struct arm **ret, size_t *ret_n) {
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx,
                "SELECT " ARM_COLUMNS " FROM arms WHERE ?1 IS NULL OR role_id = ?1"
                " ORDER BY arm_id LIMIT 1000");
    query_bind_id(&q, role_id);
    while (query_next(&q)) {
        struct arm *r = rows_add(&rows, a, sizeof *r, &q);
        if (r)
            arm_read(&q, a, r);
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

enum err arm_set_state(struct store_tx *tx, const struct uuid *id, const char *state,
                       struct str why) {
    struct query q;
    query_begin(&q, tx, "UPDATE arms SET state = ?, why = ?, changed_at = ? WHERE arm_id = ?");
    query_bind_str(&q, str_from(state));
    query_bind_str(&q, why);
    query_bind_int(&q, clock_wall_ms());
    query_bind_id(&q, id);
    return query_run_one(&q);
}

#define TOTALS                                                                                     \
    " coalesce(sum(CASE f.rating WHEN 'thumbs_up' THEN 1.0 WHEN 'neutral' THEN 0.5 END), 0),"      \
    " coalesce(sum(CASE f.rating WHEN 'thumbs_down' THEN 1.0 WHEN 'neutral' THEN 0.5 END), 0),"    \
    " count(*), sum(t.unsafe OR instr(coalesce(f.reasons, ''), '\"unsafe\"') > 0),"                \
    " sum(t.status = 'failed'), sum(t.ttft_ms >= 0),"                                              \
    " coalesce(sum(CASE WHEN t.ttft_ms >= 0 THEN ln(max(t.ttft_ms, 1)) END), 0),"                  \
    " coalesce(sum(CASE WHEN t.ttft_ms >= 0 THEN ln(max(t.ttft_ms, 1)) * ln(max(t.ttft_ms, 1))"    \
    "  END), 0)"                                                                                   \
    " FROM turn_records t LEFT JOIN feedback f ON f.message_id = t.message_id"                     \
    "  AND f.user_id = t.user_id AND NOT EXISTS"                                                   \
    "  (SELECT 1 FROM flagged_users g WHERE g.user_id = t.user_id)"

static void totals_read(struct query *q, struct arm_totals *r) {
    r->good = query_num(q, 2);
    r->bad = query_num(q, 3);
    r->turns = query_num(q, 4);
    r->unsafe = query_num(q, 5);
    r->failed = query_num(q, 6);
    r->ttft_n = query_num(q, 7);
    r->ttft_sum = query_num(q, 8);
    r->ttft_squares = query_num(q, 9);
}

enum err candidate_totals(struct store_tx *tx, const char *kind, const struct uuid *id,
                          int64_t since, struct arm_totals ret[2]) {
    struct query q;
    struct arm_totals out[2] = {{.turns = 0}, {.turns = 0}};
    if (str_eqz(str_from(kind), "examples"))
        query_begin(&q, tx,
                    "SELECT t.exampled, NULL," TOTALS " WHERE t.examples_id = ? AND t.at >= ?"
                    " AND t.answer_id IS NULL" NOT_DEGRADED " GROUP BY t.exampled");
    else
        query_begin(&q, tx,
                    "SELECT t.ranked, NULL," TOTALS " WHERE t.candidate_id = ? AND t.at >= ?"
                    " AND t.answer_id IS NULL" NOT_DEGRADED " GROUP BY t.ranked");
    query_bind_id(&q, id);
    query_bind_int(&q, since);
    while (query_next(&q))
        totals_read(&q, &out[query_int(&q, 0) != 0]);
    enum err e = query_end(&q);
    if (!e)
        memcpy(ret, out, sizeof out);
    return e;
}

enum err totals_between(struct store_tx *tx, int64_t from, int64_t to, struct arm_totals *ret) {
    struct query q;
    struct arm_totals t = {.turns = 0};
    query_begin(&q, tx,
                "SELECT NULL, NULL," TOTALS
                " WHERE t.at >= ? AND t.at < ? AND t.answer_id IS NULL" NOT_DEGRADED);
    query_bind_int(&q, from);
    query_bind_int(&q, to);
    if (query_next(&q))
        totals_read(&q, &t);
    enum err e = query_end(&q);
    if (!e)
        *ret = t;
    return e;
}

enum err arm_totals_list(struct store_tx *tx, int64_t since, struct arena *a,
                         struct arm_totals **ret, size_t *ret_n) {
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx,
                "SELECT t.arm_id, t.role_id," TOTALS
                " WHERE t.at >= ? AND t.answer_id IS NULL" NOT_DEGRADED
                " AND t.role_id IN (SELECT role_id FROM arms)"
                " GROUP BY t.role_id, t.arm_id");
    query_bind_int(&q, since);
    while (query_next(&q)) {
        struct arm_totals *r = rows_add(&rows, a, sizeof *r, &q);
        if (!r)
            break;
        r->arm_id = query_id(&q, 0);
        r->role_id = query_id(&q, 1);
        totals_read(&q, r);
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

/* ---- candidates ---- */

#define CANDIDATE_COLUMNS                                                                          \
    "candidate_id, kind, state, created_at, changed_at, ratings, proof, words, made_at,"           \
    " body IS NOT NULL"

static void candidate_read(struct query *q, struct arena *a, struct candidate *ret) {
    *ret = (struct candidate){
        .candidate_id = query_id(q, 0),
        .kind = query_str(q, 1, a),
        .state = query_str(q, 2, a),
        .created_at = query_int(q, 3),
        .changed_at = query_int(q, 4),
        .ratings = query_int(q, 5),
        .proof = query_str(q, 6, a),
        .words = query_str(q, 7, a),
        .made_at = query_int(q, 8),
        .has_body = query_int(q, 9) != 0,
    };
}

enum err candidate_put(struct store_tx *tx, const struct candidate *c) {
    struct query q;
    query_begin(&q, tx,
                "INSERT OR REPLACE INTO candidates (candidate_id, kind, state, created_at,"
                " changed_at, ratings, proof, words, made_at, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    query_bind_id(&q, &c->candidate_id);
    query_bind_str(&q, c->kind);
    query_bind_str(&q, c->state);
    query_bind_int(&q, c->created_at);
    query_bind_int(&q, c->changed_at);
    query_bind_int(&q, c->ratings);
    query_bind_str(&q, c->proof);
    query_bind_str(&q, c->words);
    query_bind_int(&q, c->made_at);
    query_bind_blob(&q, c->body);
    return query_run(&q);
}

static enum err candidate_one(struct query *q, struct arena *a, struct candidate *ret) {
    struct candidate c = {0};
    bool found = query_next(q);
    if (found) {
        candidate_read(q, a, &c);
        c.body = query_blob(q, 10, a);
    }
    enum err e = query_end(q);
    if (!e && !found)
        return ERR_NOT_FOUND;
    if (!e)
        *ret = c;
    return e;
}

enum err candidate_get(struct store_tx *tx, const struct uuid *id, struct arena *a,
                       struct candidate *ret) {
    struct query q;
    query_begin(&q, tx,
                "SELECT " CANDIDATE_COLUMNS ", body FROM candidates WHERE candidate_id = ?");
    query_bind_id(&q, id);
    return candidate_one(&q, a, ret);
}

enum err candidate_active(struct store_tx *tx, const char *kind, struct arena *a,
                          struct candidate *ret) {
    struct query q;
    query_begin(&q, tx,
                "SELECT " CANDIDATE_COLUMNS ", body FROM candidates WHERE kind = ?"
                " AND state IN ('trial', 'half', 'all') ORDER BY candidate_id DESC LIMIT 1");
    query_bind_str(&q, str_from(kind));
    return candidate_one(&q, a, ret);
}

enum err candidate_set_state(struct store_tx *tx, const struct uuid *id, const char *state) {
    struct query q;
    query_begin(&q, tx, "UPDATE candidates SET state = ?, changed_at = ? WHERE candidate_id = ?");
    query_bind_str(&q, str_from(state));
    query_bind_int(&q, clock_wall_ms());
    query_bind_id(&q, id);
    return query_run_one(&q);
}

enum err candidate_forget(struct store_tx *tx, int keep) {
    struct query q;
    query_begin(&q, tx,
                "UPDATE candidates SET body = NULL WHERE body IS NOT NULL"
                " AND state NOT IN ('trial', 'half', 'all') AND candidate_id NOT IN"
                " (SELECT candidate_id FROM candidates WHERE body IS NOT NULL"
                "  AND state NOT IN ('trial', 'half', 'all') ORDER BY candidate_id DESC LIMIT ?)");
    query_bind_int(&q, keep);
    return query_run(&q);
}

enum err candidate_list(struct store_tx *tx, const struct page *p, struct arena *a,
                        struct candidate **ret, size_t *ret_n) {
    enum err e = page_check(p);
    if (e)
        return e;
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx,
                "SELECT " CANDIDATE_COLUMNS " FROM candidates WHERE candidate_id < coalesce(?, 'g')"
                " ORDER BY candidate_id DESC LIMIT ?");
    query_bind_id(&q, &p->after);
    query_bind_int(&q, p->limit);
    while (query_next(&q)) {
        struct candidate *c = rows_add(&rows, a, sizeof *c, &q);
        if (c)
            candidate_read(&q, a, c);
    }
    if ((e = query_end(&q)))
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

/* ---- events ---- */

enum err learn_event_add(struct store_tx *tx, const char *kind, const struct uuid *subject,
                         struct str words) {
    struct query q;
    struct uuid id = uuid_new();
    query_begin(&q, tx,
                "INSERT INTO learn_events (event_id, at, kind, subject_id, words)"
                " VALUES (?, ?, ?, ?, ?)");
    query_bind_id(&q, &id);
    query_bind_int(&q, clock_wall_ms());
    query_bind_str(&q, str_from(kind));
    query_bind_id(&q, subject);
    query_bind_str(&q, words);
    enum err e = query_run(&q);
    if (e)
        return e;
    query_begin(&q, tx,
                "DELETE FROM learn_events WHERE event_id <= (SELECT event_id FROM learn_events"
                " ORDER BY event_id DESC LIMIT 1 OFFSET ?)");
    query_bind_int(&q, LEARN_EVENTS_MAX);
    return query_run(&q);
}

enum err learn_event_list(struct store_tx *tx, const struct page *p, struct arena *a,
                          struct learn_event **ret, size_t *ret_n) {
    enum err e = page_check(p);
    if (e)
        return e;
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx,
                "SELECT event_id, at, kind, subject_id, words FROM learn_events"
                " WHERE event_id < coalesce(?, 'g') ORDER BY event_id DESC LIMIT ?");
    query_bind_id(&q, &p->after);
    query_bind_int(&q, p->limit);
    while (query_next(&q)) {
        struct learn_event *v = rows_add(&rows, a, sizeof *v, &q);
        if (v)
            *v = (struct learn_event){query_id(&q, 0), query_int(&q, 1), query_str(&q, 2, a),
                                      query_id(&q, 3), query_str(&q, 4, a)};
    }
    if ((e = query_end(&q)))
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}
