/* Messages: the tree, streaming answers, feedback, documents and settings. */
#include "unit/store/fixture.h"

struct talk {
    struct uuid ada, bob, role, conversation;
};

static struct talk talk(struct fixture *f) {
    struct talk t = {make_user(f->tx, "ada", false), make_user(f->tx, "bob", false),
                     make_role(f->tx, "Helper"), no_id};
    t.conversation = make_conversation(f->tx, t.ada, t.role, "", 1);
    return t;
}

static int64_t found(struct fixture *f, const char *word) {
    char sql[100];
    index_messages(f);
    snprintf(sql, sizeof sql, "SELECT count(*) FROM messages_fts('%s')", word);
    return count(f->conn, sql);
}

static void message_reads_back_whole(void **state) {
    struct fixture *f = *state;
    struct talk t = talk(f);
    struct message m = message_of(t.conversation, no_id, SENDER_ASSISTANT, "hi"), got;
    m.response_latency_ms = 900;
    m.ttft_ms = 100;
    m.retrieved_docs = STR("[{\"doc_id\":\"x\"}]");
    m.role_id = t.role;
    m.role_version = 3;
    m.model = STR("qwen");
    m.finish_reason = STR("stop");
    m.error = STR("none");
    m.prompt_tokens = 11;
    m.completion_tokens = 12;
    m.attachments = STR("[{\"doc_id\":\"x\",\"source_name\":\"y\"}]");
    assert_ok(message_append(f->tx, &m, &f->ei));
    assert_ok(message_get(f->tx, &t.ada, &m.message_id, f->arena, &got));
    assert_true(uuid_eq(&got.conversation_id, &t.conversation));
    assert_false(uuid_is_set(&got.parent_id));
    assert_int_equal(got.sender, SENDER_ASSISTANT);
    assert_str(got.content, "hi");
    assert_int_equal(got.timestamp, 2000);
    assert_int_equal(got.response_latency_ms, 900);
    assert_int_equal(got.ttft_ms, 100);
    assert_str(got.retrieved_docs, "[{\"doc_id\":\"x\"}]");
    assert_int_equal(got.status, MESSAGE_COMPLETE);
    assert_true(uuid_eq(&got.role_id, &t.role));
    assert_int_equal(got.role_version, 3);
    assert_str(got.model, "qwen");
    assert_str(got.finish_reason, "stop");
    assert_str(got.error, "none");
    assert_int_equal(got.prompt_tokens, 11);
    assert_int_equal(got.completion_tokens, 12);
    assert_str(got.attachments, "[{\"doc_id\":\"x\",\"source_name\":\"y\"}]");
    assert_err(message_append(f->tx, &m, &f->ei), ERR_CONFLICT); /* the same id again */
}

static void message_needs_its_place(void **state) {
    struct fixture *f = *state;
    struct talk t = talk(f);
    struct uuid other = make_conversation(f->tx, t.ada, t.role, "", 1);
    struct uuid parent = make_message(f->tx, other, no_id, SENDER_USER, "x");
    struct message m = message_of(t.conversation, parent, SENDER_USER, "y");
    assert_err(message_append(f->tx, &m, &f->ei), ERR_INVALID);
    assert_string_equal(f->ei.param, "parent_id");
    m.parent_id = uuid_new();
    assert_err(message_append(f->tx, &m, &f->ei), ERR_INVALID);
    m.parent_id = no_id;
    m.conversation_id = uuid_new();
    assert_err(message_append(f->tx, &m, &f->ei), ERR_NOT_FOUND);
    m.conversation_id = t.conversation;
    m.content = STR("a\0b");
    assert_err(message_append(f->tx, &m, &f->ei), ERR_INVALID);
    assert_int_equal(count(f->conn, "SELECT count(*) FROM messages"), 1);
}

static void append_turn_stores_both_or_none(void **state) {
    struct fixture *f = *state;
    struct talk t = talk(f);
    struct conversation c;
    struct message q = message_of(t.conversation, no_id, SENDER_USER, "q");
    struct message a = message_of(t.conversation, q.message_id, SENDER_ASSISTANT, "a");
    struct uuid other = uuid_new();
    assert_err(message_append_turn(f->tx, &q, &a, &other, &f->ei), ERR_CONFLICT);
    assert_int_equal(count(f->conn, "SELECT count(*) FROM messages"), 0);
    assert_ok(message_append_turn(f->tx, &q, &a, &no_id, &f->ei)); /* nothing was current */
    assert_ok(conversation_get(f->tx, &t.ada, &t.conversation, f->arena, &c));
    assert_true(uuid_eq(&c.current_message_id, &a.message_id));
    struct message q2 = message_of(t.conversation, a.message_id, SENDER_USER, "q2");
    struct message a2 = message_of(t.conversation, q2.message_id, SENDER_ASSISTANT, "a2");
    assert_err(message_append_turn(f->tx, &q2, &a2, &q.message_id, &f->ei), ERR_CONFLICT);
    struct message lost = message_of(t.conversation, q.message_id, SENDER_ASSISTANT, "no child");
    assert_err(message_append_turn(f->tx, &q2, &lost, NULL, &f->ei), ERR_INVALID);
    assert_ok(message_append_turn(f->tx, &q2, &a2, &a.message_id, &f->ei));
    assert_ok(message_append_turn(f->tx, NULL, &lost, NULL, &f->ei)); /* regenerated */
    assert_int_equal(count(f->conn, "SELECT count(*) FROM messages"), 5);
}

static void message_tree_lists_and_branches(void **state) {
    struct fixture *f = *state;
    struct talk t = talk(f);
    struct uuid q1 = make_message(f->tx, t.conversation, no_id, SENDER_USER, "q1");
    struct uuid a1 = make_message(f->tx, t.conversation, q1, SENDER_ASSISTANT, "a1");
    struct uuid a2 = make_message(f->tx, t.conversation, q1, SENDER_ASSISTANT, "a2");
    struct uuid q2 = make_message(f->tx, t.conversation, a2, SENDER_USER, "q2");
    struct uuid root = make_message(f->tx, t.conversation, no_id, SENDER_USER, "q1 edited");
    struct message *list;
    size_t n;
    assert_ok(message_list(f->tx, &t.conversation, f->arena, &list, &n));
    assert_int_equal(n, 5);
    assert_str(list[0].content, "q1");
    assert_str(list[4].content, "q1 edited");
    assert_ok(message_branch(f->tx, &q2, 100, f->arena, &list, &n));
    assert_int_equal(n, 3);
    assert_str(list[0].content, "q1");
    assert_str(list[1].content, "a2");
    assert_str(list[2].content, "q2");
    assert_ok(message_branch(f->tx, &a1, 100, f->arena, &list, &n));
    assert_int_equal(n, 2);
    assert_ok(message_branch(f->tx, &q2, 2, f->arena, &list, &n)); /* the newest ones */
    assert_int_equal(n, 2);
    assert_str(list[0].content, "a2");
    assert_ok(message_branch(f->tx, &root, 1, f->arena, &list, &n));
    assert_int_equal(n, 1);
    struct uuid nothing = uuid_new();
    assert_err(message_branch(f->tx, &nothing, 10, f->arena, &list, &n), ERR_NOT_FOUND);
}

/* However many other answers were made in between. */
static void branch_leads_past_its_siblings(void **state) {
    struct fixture *f = *state;
    struct talk t = talk(f);
    struct uuid q1 = make_message(f->tx, t.conversation, no_id, SENDER_USER, "q1");
    struct uuid a1 = make_message(f->tx, t.conversation, q1, SENDER_ASSISTANT, "a1");
    struct uuid leaf = make_message(f->tx, t.conversation, a1, SENDER_USER, "q2");
    struct message *list;
    size_t n;
    for (int i = 0; i < 100; i++) {
        make_message(f->tx, t.conversation, q1, SENDER_ASSISTANT, "another");
        if (i % 40)
            continue;
        leaf = make_message(f->tx, t.conversation, leaf, SENDER_ASSISTANT, "further");
        assert_ok(message_branch(f->tx, &leaf, 100, f->arena, &list, &n));
        assert_int_equal(n, 4 + i / 40);
        for (size_t k = 1; k < n; k++)
            assert_true(uuid_eq(&list[k].parent_id, &list[k - 1].message_id));
        assert_true(uuid_eq(&list[0].message_id, &q1));
        assert_true(uuid_eq(&list[n - 1].message_id, &leaf));
    }
    struct uuid late = make_message(f->tx, t.conversation, a1, SENDER_USER, "q2 edited");
    assert_ok(message_branch(f->tx, &late, 100, f->arena, &list, &n));
    assert_int_equal(n, 3);
    assert_str(list[1].content, "a1");
    assert_ok(message_branch(f->tx, &late, 2, f->arena, &list, &n));
    assert_int_equal(n, 2);
    assert_str(list[0].content, "a1");
}

static void message_streams_then_finishes_once(void **state) {
    struct fixture *f = *state;
    struct talk t = talk(f);
    struct message m = message_of(t.conversation, no_id, SENDER_ASSISTANT, ""), got;
    m.status = MESSAGE_STREAMING;
    assert_ok(message_append(f->tx, &m, &f->ei));
    assert_ok(message_checkpoint(f->tx, &m.message_id, STR("zebra"), 5));
    assert_ok(message_get(f->tx, &t.ada, &m.message_id, f->arena, &got));
    assert_str(got.content, "zebra");
    assert_int_equal(found(f, "zebra"), 0); /* not while it grows */
    m.content = STR("zebra giraffe");
    assert_err(message_finish(f->tx, &m), ERR_INVALID); /* still says streaming */
    m.status = MESSAGE_STOPPED;
    m.completion_tokens = 2;
    m.response_latency_ms = 50;
    m.ttft_ms = 5;
    m.finish_reason = STR("stop");
    m.model = STR("q");
    assert_ok(message_finish(f->tx, &m));
    assert_ok(message_get(f->tx, &t.ada, &m.message_id, f->arena, &got));
    assert_str(got.content, "zebra giraffe");
    assert_int_equal(got.status, MESSAGE_STOPPED);
    assert_int_equal(got.completion_tokens, 2);
    assert_int_equal(got.ttft_ms, 5);
    assert_str(got.model, "q");
    assert_int_equal(found(f, "zebra"), 1);
    assert_err(message_finish(f->tx, &m), ERR_NOT_FOUND);
    assert_err(message_checkpoint(f->tx, &m.message_id, STR("late"), 5), ERR_NOT_FOUND);
    assert_ok(conn_exec(
        f->conn, "INSERT INTO messages_fts (messages_fts, rank) VALUES ('integrity-check', 1)"));
}

static void message_unfinished_gives_up_keeping_what_was_said(void **state) {
    struct fixture *f = *state;
    struct talk t = talk(f);
    struct message m = message_of(t.conversation, no_id, SENDER_ASSISTANT, "half an"), got;
    struct unfinished *list;
    int64_t given_up = -1;
    size_t n;
    make_message(f->tx, t.conversation, no_id, SENDER_USER, "q");
    m.status = MESSAGE_STREAMING;
    assert_ok(message_append(f->tx, &m, &f->ei));
    assert_ok(message_unfinished(f->tx, 0, 2, 10, f->arena, &list, &n, &given_up));
    assert_int_equal(n, 1);
    assert_int_equal(given_up, 0);
    assert_str(list[0].content, "half an");
    assert_true(uuid_eq(&list[0].message_id, &m.message_id));
    assert_int_equal(list[0].generation, 0);
    struct unfinished u = {
        .message_id = m.message_id, .generation = 2, .base_first = 3, .base_last = 7};
    struct unfinished read = {.message_id = m.message_id};
    assert_ok(message_resumed(f->tx, &u));
    assert_ok(message_generation(f->tx, &read));
    assert_int_equal(read.generation, 2);
    assert_int_equal(read.base_first, 3);
    assert_int_equal(read.base_last, 7);
    assert_ok(message_unfinished(f->tx, 0, 2, 10, f->arena, &list, &n, &given_up));
    assert_int_equal(n, 0); /* taken up twice */
    assert_int_equal(given_up, 1);
    assert_ok(message_unfinished(f->tx, 0, 2, 10, f->arena, &list, &n, &given_up));
    assert_int_equal(given_up, 0);
    assert_ok(message_get(f->tx, &t.ada, &m.message_id, f->arena, &got));
    assert_int_equal(got.status, MESSAGE_INTERRUPTED);
    assert_str(got.content, "half an");
    assert_int_equal(found(f, "half"), 1);
    m.status = MESSAGE_COMPLETE; /* picked up and finished */
    m.content = STR("whole answer");
    assert_ok(message_finish(f->tx, &m));
    assert_int_equal(found(f, "half"), 0);
    assert_int_equal(found(f, "whole"), 1);
    assert_ok(conn_exec(
        f->conn, "INSERT INTO messages_fts (messages_fts, rank) VALUES ('integrity-check', 1)"));
}

static void feedback_is_one_for_each_user_and_answer(void **state) {
    struct fixture *f = *state;
    struct talk t = talk(f);
    struct uuid q = make_message(f->tx, t.conversation, no_id, SENDER_USER, "why");
    struct uuid a = make_message(f->tx, t.conversation, q, SENDER_ASSISTANT, "because");
    struct feedback fb = {.feedback_id = uuid_new(),
                          .message_id = a,
                          .user_id = t.ada,
                          .rating = RATING_THUMBS_DOWN,
                          .comment = STR("no"),
                          .created_at = 1,
                          .updated_at = 1};
    struct feedback got, *list;
    size_t n;
    assert_ok(feedback_put(f->tx, &fb, f->arena, &got, &f->ei));
    struct feedback again = fb;
    again.feedback_id = uuid_new();
    again.rating = RATING_THUMBS_UP;
    again.comment = STR("");
    again.created_at = again.updated_at = 9;
    assert_ok(feedback_put(f->tx, &again, f->arena, &got, &f->ei));
    assert_true(uuid_eq(&got.feedback_id, &fb.feedback_id));
    assert_int_equal(got.created_at, 1);
    assert_int_equal(got.updated_at, 9);
    assert_int_equal(got.rating, RATING_THUMBS_UP);
    assert_str(got.comment, "");
    assert_ok(feedback_of_conversation(f->tx, &t.ada, &t.conversation, f->arena, &list, &n));
    assert_int_equal(n, 1);
    assert_ok(feedback_of_conversation(f->tx, &t.bob, &t.conversation, f->arena, &list, &n));
    assert_int_equal(n, 0);
    fb.message_id = q;
    assert_err(feedback_put(f->tx, &fb, f->arena, &got, &f->ei), ERR_INVALID);
    assert_err(feedback_delete(f->tx, &t.bob, &a), ERR_NOT_FOUND);
    assert_ok(feedback_delete(f->tx, &t.ada, &a));
    assert_err(feedback_delete(f->tx, &t.ada, &a), ERR_NOT_FOUND);
    assert_err(feedback_get(f->tx, &t.ada, &a, f->arena, &got), ERR_NOT_FOUND);
}

static void feedback_list_tells_what_it_speaks_about(void **state) {
    struct fixture *f = *state;
    struct talk t = talk(f);
    struct uuid q = make_message(f->tx, t.conversation, no_id, SENDER_USER, "why");
    struct feedback_row *rows;
    struct feedback got;
    size_t n;
    for (int i = 0; i < 3; i++) {
        struct message a = message_of(t.conversation, q, SENDER_ASSISTANT, "because");
        a.role_id = t.role;
        a.role_version = 2;
        a.model = STR("m");
        assert_ok(message_append(f->tx, &a, &f->ei));
        struct feedback fb = {.feedback_id = uuid_new(),
                              .message_id = a.message_id,
                              .user_id = t.ada,
                              .rating = i == 1 ? RATING_NEUTRAL : RATING_THUMBS_UP};
        assert_ok(feedback_put(f->tx, &fb, f->arena, &got, &f->ei));
    }
    struct page p = {.limit = 2};
    assert_ok(feedback_list(f->tx, -1, &p, f->arena, &rows, &n));
    assert_int_equal(n, 2);
    assert_str(rows[0].username, "ada");
    assert_str(rows[0].question, "why");
    assert_str(rows[0].answer, "because");
    assert_str(rows[0].role_name, "Helper");
    assert_int_equal(rows[0].role_version, 2);
    assert_str(rows[0].model, "m");
    assert_true(uuid_eq(&rows[0].conversation_id, &t.conversation));
    p.after = rows[1].f.feedback_id;
    assert_ok(feedback_list(f->tx, -1, &p, f->arena, &rows, &n));
    assert_int_equal(n, 1);
    p = (struct page){.limit = 10};
    assert_ok(feedback_list(f->tx, RATING_NEUTRAL, &p, f->arena, &rows, &n));
    assert_int_equal(n, 1);
    assert_ok(feedback_list(f->tx, RATING_THUMBS_DOWN, &p, f->arena, &rows, &n));
    assert_int_equal(n, 0);
}

static void document_is_seen_by_owner_or_when_shared(void **state) {
    struct fixture *f = *state;
    struct talk t = talk(f);
    struct document d[3], got, *list;
    size_t n;
    for (int i = 0; i < 3; i++) { /* ada's own, ada's shared, bob's own */
        d[i] = (struct document){.doc_id = uuid_new(),
                                 .user_id = i < 2 ? t.ada : t.bob,
                                 .shared = i == 1,
                                 .source_name = STR("notes.txt"),
                                 .content = STR("text"),
                                 .metadata = STR("{\"type\":\"note\"}"),
                                 .created_at = 4};
        assert_ok(document_create(f->tx, &d[i], &f->ei));
    }
    assert_ok(document_get(f->tx, &t.ada, &d[0].doc_id, f->arena, &got));
    assert_str(got.content, "text");
    assert_int_equal(got.content_bytes, 4);
    assert_str(got.metadata, "{\"type\":\"note\"}");
    assert_int_equal(got.indexed_at, 0);
    assert_err(document_get(f->tx, &t.bob, &d[0].doc_id, f->arena, &got), ERR_NOT_FOUND);
    assert_ok(document_get(f->tx, &t.bob, &d[1].doc_id, f->arena, &got));
    struct page p = {.limit = 10};
    assert_ok(document_list(f->tx, &t.bob, &p, f->arena, &list, &n));
    assert_int_equal(n, 2);
    assert_true(uuid_eq(&list[0].doc_id, &d[2].doc_id));
    assert_true(uuid_eq(&list[1].doc_id, &d[1].doc_id));
    assert_null(list[0].content.p);
    p = (struct page){.after = d[2].doc_id, .limit = 10};
    assert_ok(document_list(f->tx, &t.bob, &p, f->arena, &list, &n));
    assert_int_equal(n, 1);
    assert_err(document_delete(f->tx, &t.bob, true, &d[0].doc_id), ERR_NOT_FOUND); /* private */
    assert_err(document_delete(f->tx, &t.bob, false, &d[1].doc_id), ERR_NOT_FOUND);
    assert_ok(document_delete(f->tx, &t.bob, true, &d[1].doc_id));
    assert_ok(document_delete(f->tx, &t.ada, false, &d[0].doc_id));
}

static void setting_is_set_replaced_removed(void **state) {
    struct fixture *f = *state;
    struct str v;
    assert_err(setting_get(f->tx, "a", f->arena, &v), ERR_NOT_FOUND);
    assert_ok(setting_set(f->tx, "a", STR("1")));
    assert_ok(setting_set(f->tx, "a", STR("")));
    assert_ok(setting_get(f->tx, "a", f->arena, &v));
    assert_str(v, "");
    assert_ok(setting_set(f->tx, "a", STR_NULL));
    assert_err(setting_get(f->tx, "a", f->arena, &v), ERR_NOT_FOUND);
}

static void names_go_both_ways(void **state) {
    (void)state;
    for (int i = 0; i < 5; i++)
        assert_int_equal(message_status_from_name(str_from(message_status_name(i))), i);
    for (int i = 0; i < 3; i++)
        assert_int_equal(rating_from_name(str_from(rating_name(i))), i);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(conversation_status_from_name(str_from(conversation_status_name(i))), i);
        assert_int_equal(message_sender_from_name(str_from(message_sender_name(i))), i);
    }
    assert_int_equal(rating_from_name(STR("great")), -1);
    assert_int_equal(conversation_status_from_name(STR("Active")), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_open, fixture_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(message_reads_back_whole),
        TEST(message_needs_its_place),
        TEST(append_turn_stores_both_or_none),
        TEST(message_tree_lists_and_branches),
        TEST(branch_leads_past_its_siblings),
        TEST(message_streams_then_finishes_once),
        TEST(message_unfinished_gives_up_keeping_what_was_said),
        TEST(feedback_is_one_for_each_user_and_answer),
        TEST(feedback_list_tells_what_it_speaks_about),
        TEST(document_is_seen_by_owner_or_when_shared),
        TEST(setting_is_set_replaced_removed),
        TEST(names_go_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
