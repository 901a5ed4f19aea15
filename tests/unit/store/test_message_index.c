/* Which messages are in the search index, whatever becomes of them. */
#include "unit/store/fixture.h"

#include "store/store_internal.h"

struct talk {
    struct uuid user, conversation;
    struct message question, answer;
};

/* The index is what the view says that it holds, and so many messages have the word. */
static void expect_found(struct fixture *f, const char *word, int n) {
    struct query q;
    query_begin(&q, f->tx, "SELECT count(*) FROM messages_fts(?)");
    query_bind_str(&q, str_from(word));
    assert_true(query_next(&q));
    assert_int_equal(query_int(&q, 0), n);
    assert_ok(query_end(&q));
    query_begin(&q, f->tx,
                "INSERT INTO messages_fts (messages_fts, rank) VALUES ('integrity-check', 1)");
    assert_ok(query_run(&q));
}

static struct talk begin_talk_of(struct fixture *f, const char *name) {
    struct talk t = {.user = make_user(f->tx, name, false)};
    t.conversation = make_conversation(f->tx, t.user, make_role(f->tx, name), "", 1);
    t.question = message_of(t.conversation, no_id, SENDER_USER, "marmot");
    t.answer = message_of(t.conversation, t.question.message_id, SENDER_ASSISTANT, "mar");
    t.answer.status = MESSAGE_STREAMING;
    assert_ok(message_append_turn(f->tx, &t.question, &t.answer, NULL, &f->ei));
    return t;
}

static struct talk begin_talk(struct fixture *f) {
    return begin_talk_of(f, "ada");
}

static void finish(struct fixture *f, struct talk *t, const char *text) {
    t->answer.status = MESSAGE_COMPLETE;
    t->answer.content = str_from(text);
    assert_ok(message_finish(f->tx, &t->answer));
}

static void exec(struct fixture *f, const char *sql) {
    assert_ok(conn_exec(f->tx->conn, sql));
}

static void message_unfinished_isFoundOnceItIsFinished(void **state) {
    struct fixture *f = *state;
    struct talk t = begin_talk(f);
    index_messages(f);
    expect_found(f, "marmot", 1);
    expect_found(f, "mar", 0);
    assert_ok(message_checkpoint(f->tx, &t.answer.message_id, STR("mar mot"), 1));
    index_messages(f);
    expect_found(f, "mar", 0);
    finish(f, &t, "marmot whistles");
    expect_found(f, "marmot", 1);
    index_messages(f);
    expect_found(f, "marmot", 2);
    assert_ok(message_delete_answer(f->tx, &t.user, &t.answer.message_id, &f->ei));
    expect_found(f, "marmot", 0);
}

static void message_finishedBeforeTheIndexComes_isFound(void **state) {
    struct fixture *f = *state;
    struct talk t = begin_talk(f);
    finish(f, &t, "marmot whistles");
    index_messages(f);
    expect_found(f, "marmot", 2);
}

static void message_deletedWhileItWaits_isNowhere(void **state) {
    struct fixture *f = *state;
    struct talk t = begin_talk(f);
    index_messages(f);
    finish(f, &t, "marmot whistles");
    assert_ok(conversation_delete(f->tx, &t.user, &t.conversation));
    index_messages(f);
    expect_found(f, "marmot", 0);
    assert_int_equal(count(f->tx->conn, "SELECT count(*) FROM messages_waiting"), 0);
}

/* SQLite gives the greatest key away again. */
static void message_inThePlaceOfADeletedOne_isFound(void **state) {
    struct fixture *f = *state;
    struct talk t = begin_talk(f);
    finish(f, &t, "marmot whistles");
    index_messages(f);
    assert_ok(message_delete_answer(f->tx, &t.user, &t.answer.message_id, &f->ei));
    struct message m = message_of(t.conversation, no_id, SENDER_USER, "squirrel");
    assert_ok(message_append(f->tx, &m, &f->ei));
    expect_found(f, "squirrel", 0);
    index_messages(f);
    expect_found(f, "squirrel", 1);
    expect_found(f, "marmot", 0);
}

static void message_finishedAfterAll_isFoundByItsNewWords(void **state) {
    struct fixture *f = *state;
    for (int passed = 0; passed < 2; passed++) {
        struct talk t;
        if (passed)
            exec(f, "DELETE FROM users");
        t = begin_talk_of(f, passed ? "bob" : "ada");
        if (passed) /* by the index, while it was being written */
            index_messages(f);
        exec(f, "UPDATE messages SET status = 'interrupted', indexed = 1 WHERE sender = "
                "'assistant'");
        int n = 0;
        assert_ok(message_index(f->tx, 100, true, &n));
        expect_found(f, "mar", 1);
        finish(f, &t, "marmot whistles");
        expect_found(f, "mar", 0);
        index_messages(f);
        expect_found(f, "marmot", 2);
        expect_found(f, "mar", 0);
    }
}

/* It does not mark it. */
static void message_finishedByAnOlderProgram_isFound(void **state) {
    struct fixture *f = *state;
    int n = 0;
    (void)begin_talk(f);
    index_messages(f);
    exec(f, "UPDATE messages SET status = 'complete', indexed = 1, content = 'squirrel'"
            " WHERE sender = 'assistant'");
    assert_ok(message_index(f->tx, 100, true, &n));
    assert_int_equal(n, 1);
    expect_found(f, "squirrel", 1);
}

static void message_givenUpAtTheStart_isFound(void **state) {
    struct fixture *f = *state;
    struct unfinished *list;
    size_t n;
    int64_t given_up;
    (void)begin_talk(f);
    index_messages(f);
    expect_found(f, "mar", 0);
    assert_ok(message_unfinished(f->tx, INT64_MAX, 2, 10, f->arena, &list, &n, &given_up));
    assert_int_equal(given_up, 1);
    index_messages(f);
    expect_found(f, "mar", 1);
}

static void message_index_passesAtMostSoMany(void **state) {
    struct fixture *f = *state;
    struct talk t = begin_talk(f);
    int n = 0;
    finish(f, &t, "marmot whistles");
    assert_ok(message_index(f->tx, 1, false, &n));
    assert_int_equal(n, 1);
    expect_found(f, "marmot", 1);
    assert_ok(message_index(f->tx, 1, false, &n));
    assert_ok(message_index(f->tx, 1, false, &n));
    assert_int_equal(n, 0);
    expect_found(f, "marmot", 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_open, fixture_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(message_unfinished_isFoundOnceItIsFinished),
        TEST(message_finishedBeforeTheIndexComes_isFound),
        TEST(message_deletedWhileItWaits_isNowhere),
        TEST(message_inThePlaceOfADeletedOne_isFound),
        TEST(message_finishedAfterAll_isFoundByItsNewWords),
        TEST(message_finishedByAnOlderProgram_isFound),
        TEST(message_givenUpAtTheStart_isFound),
        TEST(message_index_passesAtMostSoMany),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
