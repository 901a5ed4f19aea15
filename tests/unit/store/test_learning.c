/* Records, reasons, arms, candidates, approved answers and analytics. */
#include "fixture.h"

#include "store/learning.h"

struct made {
    struct uuid ada, role, conversation, question, answer;
};

static struct uuid put_turn(struct store_tx *tx, const struct made *m, const char *question,
                            const char *answer, const char *record, int64_t at) {
    struct uuid q = make_message(tx, m->conversation, no_id, SENDER_USER, question);
    struct message a = message_of(m->conversation, q, SENDER_ASSISTANT, answer);
    struct errinfo ei;
    a.role_id = m->role;
    a.role_version = 1;
    a.model = STR("m");
    assert_ok(message_append(tx, &a, &ei));
    struct turn_record r = {.message_id = a.message_id,
                            .user_id = m->ada,
                            .role_id = m->role,
                            .role_version = 1,
                            .model = STR("m"),
                            .at = at,
                            .arm_chance = 1,
                            .ranked_chance = 1,
                            .ttft_ms = 100,
                            .latency_ms = 900,
                            .passages = 1,
                            .record = str_from(record)};
    assert_ok(turn_record_put(tx, &r));
    assert_err(turn_record_put(tx, &r), ERR_CONFLICT);
    return a.message_id;
}

static struct made make(struct fixture *f) {
    struct made m = {.ada = make_user(f->tx, "ada", true), .role = make_role(f->tx, "Helper")};
    m.conversation = make_conversation(f->tx, m.ada, m.role, "t", 1000);
    return m;
}

static void rate(struct fixture *f, const struct made *m, struct uuid answer, enum rating rating) {
    struct feedback stored, b = {.feedback_id = uuid_new(),
                                 .message_id = answer,
                                 .user_id = m->ada,
                                 .rating = rating,
                                 .comment = STR("hm")};
    assert_ok(feedback_put(f->tx, &b, f->arena, &stored, &f->ei));
}

static void evidence_has_ratings_signals_and_reasons(void **state) {
    struct fixture *f = *state;
    struct made m = make(f);
    struct uuid a = put_turn(f->tx, &m, "one?", "1", "{}", 1000);
    struct uuid b = put_turn(f->tx, &m, "two?", "2", "{}", 2000);
    put_turn(f->tx, &m, "silent?", "3", "{}", 3000);
    rate(f, &m, a, RATING_THUMBS_DOWN);
    assert_ok(feedback_set_reasons(f->tx, &m.ada, &a, STR("[\"wrong\"]"), STR("[]")));
    assert_ok(turn_signal_put(f->tx, &m.ada, &b, "copied", 5));
    assert_ok(turn_signal_put(f->tx, &m.ada, &b, "stopped", 6));
    assert_ok(turn_signal_put(f->tx, &m.ada, &b, "copied", 7));
    struct evidence_row *rows;
    size_t n;
    assert_ok(evidence_list(f->tx, 0, 100, f->arena, &rows, &n));
    assert_int_equal(n, 2);
    assert_int_equal(rows[0].rating, RATING_THUMBS_DOWN);
    assert_str(rows[0].question, "one?");
    assert_str(rows[0].reasons, "[\"wrong\"]");
    assert_int_equal(rows[1].rating, -1);
    assert_int_equal(rows[1].signals, 1u | 8u);
    assert_ok(evidence_list(f->tx, 1500, 100, f->arena, &rows, &n));
    assert_int_equal(n, 1);
    struct uuid bob = make_user(f->tx, "bob", false);
    assert_err(turn_signal_put(f->tx, &bob, &b, "copied", 7), ERR_NOT_FOUND);
}

static void withdrawing_a_rating_leaves_the_mark_to_unlearn(void **state) {
    struct fixture *f = *state;
    struct made m = make(f);
    struct str mark;
    struct uuid a = put_turn(f->tx, &m, "one?", "1", "{}", 1000);
    rate(f, &m, a, RATING_THUMBS_UP);
    assert_err(setting_get(f->tx, "learn.unlearn", f->arena, &mark), ERR_NOT_FOUND);
    assert_ok(feedback_delete(f->tx, &m.ada, &a));
    assert_ok(setting_get(f->tx, "learn.unlearn", f->arena, &mark));
}

static void deleting_a_person_takes_their_evidence_along(void **state) {
    struct fixture *f = *state;
    struct made m = make(f);
    struct uuid bob = make_user(f->tx, "bob", true);
    struct uuid a = put_turn(f->tx, &m, "one?", "1", "{}", 1000);
    rate(f, &m, a, RATING_THUMBS_UP);
    (void)bob;
    assert_ok(user_delete(f->tx, &m.ada, &f->ei));
    assert_int_equal(count(f->conn, "SELECT count(*) FROM turn_records"), 0);
    assert_int_equal(count(f->conn, "SELECT count(*) FROM settings WHERE name = 'learn.unlearn'"),
                     1);
}

static void arms_have_a_cap_and_totals(void **state) {
    struct fixture *f = *state;
    struct made m = make(f);
    struct arm r = {.arm_id = uuid_new(),
                    .role_id = m.role,
                    .name = STR("short"),
                    .system_prompt = STR("Be short."),
                    .temperature = -1,
                    .top_p = -1};
    assert_ok(arm_create(f->tx, &r, &f->ei));
    struct uuid first = r.arm_id;
    for (int i = 1; i < ARMS_PER_ROLE; i++) {
        r.arm_id = uuid_new();
        assert_ok(arm_create(f->tx, &r, &f->ei));
    }
    r.arm_id = uuid_new();
    assert_err(arm_create(f->tx, &r, &f->ei), ERR_CONFLICT);
    assert_ok(arm_set_state(f->tx, &first, "stopped", STR("slow")));
    assert_ok(arm_create(f->tx, &r, &f->ei));
    struct uuid a = put_turn(f->tx, &m, "one?", "1", "{}", 1000);
    rate(f, &m, a, RATING_NEUTRAL);
    struct arm_totals *t;
    size_t n;
    assert_ok(arm_totals_list(f->tx, 0, f->arena, &t, &n));
    assert_int_equal(n, 1);
    assert_false(uuid_is_set(&t->arm_id));
    assert_true(t->good == 0.5 && t->bad == 0.5 && t->turns == 1 && t->ttft_n == 1);
    struct arm got;
    assert_ok(arm_get(f->tx, &first, f->arena, &got));
    assert_str(got.state, "stopped");
    assert_null(got.model.p);
    assert_true(got.temperature == -1);
}

static void candidates_and_events_are_kept(void **state) {
    struct fixture *f = *state;
    struct candidate got, c = {.candidate_id = uuid_new(),
                               .kind = STR("ranker"),
                               .state = STR("trial"),
                               .created_at = 5,
                               .made_at = 7,
                               .proof = STR("{}"),
                               .words = STR("w"),
                               .body = STR("\x01\x00\x02")};
    assert_err(candidate_active(f->tx, "ranker", f->arena, &got), ERR_NOT_FOUND);
    assert_ok(candidate_put(f->tx, &c));
    assert_ok(candidate_active(f->tx, "ranker", f->arena, &got));
    assert_int_equal(got.body.n, 3);
    assert_ok(candidate_set_state(f->tx, &c.candidate_id, "rolled_back"));
    assert_err(candidate_active(f->tx, "ranker", f->arena, &got), ERR_NOT_FOUND);
    assert_ok(candidate_forget(f->tx, 1));
    assert_ok(candidate_get(f->tx, &c.candidate_id, f->arena, &got));
    assert_true(got.body.n == 3 && got.made_at == 7);
    assert_ok(candidate_forget(f->tx, 0));
    assert_ok(candidate_get(f->tx, &c.candidate_id, f->arena, &got));
    assert_int_equal(got.body.n, 0);
    assert_ok(learn_event_add(f->tx, "trial", &c.candidate_id, STR("Began.")));
    struct learn_event *v;
    size_t n;
    struct page p = {.limit = 10};
    assert_ok(learn_event_list(f->tx, &p, f->arena, &v, &n));
    assert_int_equal(n, 1);
    assert_str(v->words, "Began.");
}

static void approved_answer_goes_stale_with_its_document(void **state) {
    struct fixture *f = *state;
    struct made m = make(f);
    struct document d = {.doc_id = uuid_new(),
                         .user_id = m.ada,
                         .shared = true,
                         .source_name = STR("rules"),
                         .content = STR("text"),
                         .metadata = STR("{}"),
                         .created_at = 1};
    assert_ok(document_create(f->tx, &d, &f->ei));
    char sources[160];
    snprintf(sources, sizeof sources, "[{\"doc_id\":\"%s\",\"indexed_at\":0}]", d.doc_id.s);
    struct approved_answer got, p = {.answer_id = uuid_new(),
                                     .role_id = m.role,
                                     .question = STR("q?"),
                                     .answer = STR("a"),
                                     .sources = str_from(sources),
                                     .state = STR("approved"),
                                     .made_by = m.ada};
    struct approved_gone gone;
    bool public;
    assert_ok(approved_put(f->tx, &p));
    assert_ok(approved_check(f->tx, 0, &gone));
    assert_int_equal(gone.changed + gone.old, 0);
    assert_ok(sources_are_public(f->tx, p.sources, &public));
    assert_true(public);
    assert_ok(conn_exec(f->conn, "UPDATE documents SET indexed_at = 7"));
    assert_ok(approved_check(f->tx, 1, &gone)); /* it is old, too: the document comes first */
    assert_int_equal(gone.changed, 1);
    assert_int_equal(gone.old, 0);
    assert_ok(approved_get(f->tx, &p.answer_id, f->arena, &got));
    assert_str(got.state, "stale");
    assert_str(got.why, "changed");
    assert_err(approved_set_stale(f->tx, &p.answer_id, "disliked"), ERR_NOT_FOUND);
    assert_ok(conn_exec(f->conn, "UPDATE documents SET shared = 0, collection_id = user_id"));
    assert_ok(sources_are_public(f->tx, p.sources, &public));
    assert_false(public);
}

static void analytics_count_by_everything(void **state) {
    struct fixture *f = *state;
    struct made m = make(f);
    struct document d = {.doc_id = uuid_new(),
                         .user_id = m.ada,
                         .shared = true,
                         .source_name = STR("rules"),
                         .content = STR("text"),
                         .metadata = STR("{}"),
                         .created_at = 1};
    assert_ok(document_create(f->tx, &d, &f->ei));
    assert_ok(conn_exec(f->conn, "UPDATE documents SET indexed_at = 7"));
    char record[160];
    snprintf(record, sizeof record, "{\"passages\":[{\"doc_id\":\"%s\"}]}", d.doc_id.s);
    struct analytics_document *docs;
    struct analytics_turn *turns;
    struct analytics_row *rows;
    size_t n;
    assert_ok(analytics_documents(f->tx, true, 0, 10, f->arena, &docs, &n));
    assert_int_equal(n, 1);
    for (int i = 0; i < 3; i++) {
        struct uuid a = put_turn(f->tx, &m, "one?", "1", record, 1000);
        rate(f, &m, a, i ? RATING_THUMBS_DOWN : RATING_THUMBS_UP);
        assert_ok(
            feedback_set_reasons(f->tx, &m.ada, &a, STR("[\"wrong\",\"too_long\"]"), STR("[]")));
    }
    for (int by = BY_ROLE; by <= BY_REASON; by++) {
        assert_ok(analytics_list(f->tx, by, 0, f->arena, &rows, &n));
        assert_int_equal(n, by == BY_REASON ? 2 : 1);
        assert_int_equal(rows[0].rated, 3);
        assert_true(rows[0].good == 1);
    }
    assert_ok(analytics_documents(f->tx, true, 0, 10, f->arena, &docs, &n));
    assert_int_equal(n, 0);
    assert_ok(analytics_documents(f->tx, false, 0, 10, f->arena, &docs, &n));
    assert_int_equal(n, 1);
    assert_int_equal(docs[0].disliked, 2);
    assert_ok(analytics_turns(f->tx, false, 0, 10, f->arena, &turns, &n));
    assert_int_equal(n, 2);
    assert_ok(complaint_list(f->tx, 0, 10, f->arena, &turns, &n));
    assert_int_equal(n, 2);
}

static void training_needs_consent(void **state) {
    struct fixture *f = *state;
    struct made m = make(f);
    struct training_row *rows;
    size_t n;
    bool more;
    struct uuid a = put_turn(f->tx, &m, "one?", "1", "{}", 1000);
    rate(f, &m, a, RATING_THUMBS_UP);
    assert_ok(training_list(f->tx, &no_id, 10, f->arena, &rows, &n, &more));
    assert_int_equal(n, 0);
    assert_ok(conn_exec(f->conn, "UPDATE users SET preferences = '{\"training_consent\":true}'"));
    assert_ok(training_list(f->tx, &no_id, 10, f->arena, &rows, &n, &more));
    assert_int_equal(n, 1);
    assert_str(rows->system_prompt, "You help.");
    assert_ok(user_flag(f->tx, &m.ada, true));
    assert_ok(training_list(f->tx, &no_id, 10, f->arena, &rows, &n, &more));
    assert_int_equal(n, 0);
}

/* Appends; the message's safety is as given. */
static struct uuid say(struct fixture *f, const struct made *m, struct uuid parent,
                       enum message_sender sender, const char *text, const char *safety) {
    struct message b = message_of(m->conversation, parent, sender, text);
    b.safety = str_from(safety);
    assert_ok(message_append(f->tx, &b, &f->ei));
    return b.message_id;
}

static void training_leaves_out_what_was_refused(void **state) {
    static const char refused[] = "[{\"direction\":\"input\",\"action\":\"block\"}]",
                      noted[] = "[{\"direction\":\"input\",\"action\":\"annotate\"}]";
    struct fixture *f = *state;
    struct made m = make(f);
    struct training_row *rows;
    size_t n;
    bool more;
    assert_ok(conn_exec(f->conn, "UPDATE users SET preferences = '{\"training_consent\":true}'"));
    struct uuid at = say(f, &m, no_id, SENDER_USER, "first?", noted);
    at = say(f, &m, at, SENDER_ASSISTANT, "One.", "");
    at = say(f, &m, at, SENDER_USER, "harm?", refused);
    struct uuid refusal = at = say(f, &m, at, SENDER_ASSISTANT, "No.", refused);
    at = say(f, &m, at, SENDER_USER, "second?", "");
    struct uuid liked = say(f, &m, at, SENDER_ASSISTANT, "Two.", "");
    rate(f, &m, liked, RATING_THUMBS_UP);
    rate(f, &m, refusal, RATING_THUMBS_DOWN);
    assert_ok(training_list(f->tx, &no_id, 10, f->arena, &rows, &n, &more));
    assert_int_equal(n, 1);
    assert_str(rows->answer, "Two.");
    assert_str(rows->history, "[{\"role\":\"user\",\"content\":\"first?\"},"
                              "{\"role\":\"assistant\",\"content\":\"One.\"}]");
}

/* All of it in pieces: every row once, whatever a piece is cut by. */
static void training_is_read_in_pieces(void **state) {
    enum { TURNS = 450, LONG = 60 << 10 };
    struct fixture *f = *state;
    struct made m = make(f);
    struct training_row *rows;
    struct uuid after = no_id;
    size_t n = 0, all = 0, pieces = 0;
    bool more = true;
    char *text = malloc(LONG + 1);
    memset(text, 'x', LONG);
    text[LONG] = 0;
    assert_ok(conn_exec(f->conn, "UPDATE users SET preferences = '{\"training_consent\":true}'"));
    for (int i = 0; i < TURNS; i++) {
        struct uuid a = put_turn(f->tx, &m, "one?", text, "{}", 1000);
        rate(f, &m, a, RATING_THUMBS_UP);
    }
    for (; more; pieces++, all += n) {
        struct arena *a = arena_new(2 * TRAINING_BYTES_MAX);
        assert_ok(training_list(f->tx, &after, pieces ? 20000 : 20, a, &rows, &n, &more));
        assert_true(n > 0 && (pieces || n == 20));
        for (size_t i = 0; i < n; i++)
            assert_true(i == 0
                            ? memcmp(rows[0].message_id.s, after.s, UUID_LEN) > 0
                            : memcmp(rows[i].message_id.s, rows[i - 1].message_id.s, UUID_LEN) > 0);
        after = rows[n - 1].message_id;
        arena_free(a);
    }
    assert_int_equal(all, TURNS);
    assert_int_equal(pieces, 3); /* cut by rows, by bytes, and the end */
    free(text);
}

static void training_history_has_a_budget_of_bytes(void **state) {
    enum { LONG = 12 << 10 };
    struct fixture *f = *state;
    struct made m = make(f);
    struct training_row *rows;
    struct uuid at = no_id;
    size_t n;
    bool more;
    char *text = malloc(LONG + 1);
    text[LONG] = 0;
    assert_ok(conn_exec(f->conn, "UPDATE users SET preferences = '{\"training_consent\":true}'"));
    for (int i = 0; i < 6; i++) {
        memset(text, 'a' + i, LONG);
        at = say(f, &m, at, i % 2 ? SENDER_ASSISTANT : SENDER_USER, text, "");
    }
    at = say(f, &m, at, SENDER_USER, "and?", "");
    rate(f, &m, say(f, &m, at, SENDER_ASSISTANT, "So.", ""), RATING_THUMBS_UP);
    assert_ok(training_list(f->tx, &no_id, 10, f->arena, &rows, &n, &more));
    assert_int_equal(n, 1);
    assert_false(more);
    assert_true(rows->history.n > 2 * LONG && rows->history.n < TRAINING_HISTORY_BYTES);
    assert_true(str_find(rows->history, STR("dd")) == SIZE_MAX);
    assert_true(str_find(rows->history, STR("ee")) < str_find(rows->history, STR("ff")));
    free(text);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_open, fixture_close)
    const struct CMUnitTest tests[] = {
        T(evidence_has_ratings_signals_and_reasons),
        T(withdrawing_a_rating_leaves_the_mark_to_unlearn),
        T(deleting_a_person_takes_their_evidence_along),
        T(arms_have_a_cap_and_totals),
        T(candidates_and_events_are_kept),
        T(approved_answer_goes_stale_with_its_document),
        T(analytics_count_by_everything),
        T(training_needs_consent),
        T(training_leaves_out_what_was_refused),
        T(training_is_read_in_pieces),
        T(training_history_has_a_budget_of_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
