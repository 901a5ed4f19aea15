/* Conversations: ownership, changes, paging and search. */
#include "unit/store/fixture.h"

struct people {
    struct uuid ada, bob, role;
};

static struct people people(struct fixture *f) {
    return (struct people){make_user(f->tx, "ada", false), make_user(f->tx, "bob", false),
                           make_role(f->tx, "Helper")};
}

static size_t list_of(struct fixture *f, struct uuid user, int status, const char *query,
                      struct conversation_hit **ret) {
    struct page p = {.limit = 50};
    size_t n = 0;
    index_messages(f);
    assert_ok(conversation_list(f->tx, &user, status, str_from(query), &p, f->arena, ret, &n));
    return n;
}

static void conversation_reads_back_and_changes(void **state) {
    struct fixture *f = *state;
    struct people p = people(f);
    struct uuid id = make_conversation(f->tx, p.ada, p.role, "", 10);
    struct conversation c;
    assert_ok(conversation_get(f->tx, &p.ada, &id, f->arena, &c));
    assert_int_equal(c.created_at, 10);
    assert_int_equal(c.last_updated_at, 10);
    assert_int_equal(c.status, CONVERSATION_ACTIVE);
    assert_false(uuid_is_set(&c.current_message_id));
    struct uuid m = make_message(f->tx, id, no_id, SENDER_USER, "hello");
    assert_ok(conversation_set_auto_title(f->tx, &id, STR("auto")));
    assert_ok(conversation_set_summary(f->tx, &id, STR("so far"), &m));
    assert_ok(conversation_get(f->tx, &p.ada, &id, f->arena, &c));
    assert_str(c.title, "auto");
    assert_str(c.summary, "so far");
    assert_true(uuid_eq(&c.summary_until, &m));
    assert_true(uuid_eq(&c.current_message_id, &m));
    assert_int_equal(c.last_updated_at, 2000); /* the message's time */
    c.title = STR("mine");
    c.title_is_users = true;
    c.status = CONVERSATION_ARCHIVED;
    clock_test_set(0, 5000);
    assert_ok(conversation_update(f->tx, &p.ada, &c, false, &f->ei));
    assert_ok(conversation_set_auto_title(f->tx, &id, STR("auto 2")));
    assert_ok(conversation_get(f->tx, &p.ada, &id, f->arena, &c));
    assert_str(c.title, "mine");
    assert_int_equal(c.status, CONVERSATION_ARCHIVED);
    assert_int_equal(c.last_updated_at, 2000);
    assert_ok(conversation_update(f->tx, &p.ada, &c, true, &f->ei));
    assert_ok(conversation_get(f->tx, &p.ada, &id, f->arena, &c));
    assert_int_equal(c.last_updated_at, 5000);
}

static void conversation_of_another_looks_like_none(void **state) {
    struct fixture *f = *state;
    struct people p = people(f);
    struct uuid id = make_conversation(f->tx, p.ada, p.role, "secret garden", 10);
    struct uuid q = make_message(f->tx, id, no_id, SENDER_USER, "garden");
    struct uuid m = make_message(f->tx, id, q, SENDER_ASSISTANT, "roses");
    struct conversation c;
    struct message msg;
    struct conversation_hit *hits;
    struct feedback fb = {.feedback_id = uuid_new(), .message_id = m, .user_id = p.bob}, got;
    assert_ok(conversation_get(f->tx, &p.ada, &id, f->arena, &c));
    struct conversation changed = c;
    struct uuid nothing = uuid_new();
    changed.assistant_role_id = nothing; /* not even the wrong role is remarked on */
    assert_err(conversation_get(f->tx, &p.bob, &id, f->arena, &c), ERR_NOT_FOUND);
    assert_err(conversation_update(f->tx, &p.bob, &changed, true, &f->ei), ERR_NOT_FOUND);
    assert_err(conversation_delete(f->tx, &p.bob, &id), ERR_NOT_FOUND);
    assert_err(message_get(f->tx, &p.bob, &m, f->arena, &msg), ERR_NOT_FOUND);
    assert_err(feedback_put(f->tx, &fb, f->arena, &got, &f->ei), ERR_NOT_FOUND);
    assert_int_equal(list_of(f, p.bob, -1, NULL, &hits), 0);
    assert_int_equal(list_of(f, p.bob, -1, "garden", &hits), 0);
    assert_int_equal(list_of(f, p.bob, -1, "roses", &hits), 0);
    struct page page = {.after = id, .limit = 5};
    size_t n;
    assert_err(conversation_list(f->tx, &p.bob, -1, STR_NULL, &page, f->arena, &hits, &n),
               ERR_NOT_FOUND);
    assert_ok(conversation_delete(f->tx, &p.ada, &id));
    assert_int_equal(count(f->conn, "SELECT count(*) FROM messages"), 0);
}

static void conversation_refuses_foreign_parts(void **state) {
    struct fixture *f = *state;
    struct people p = people(f);
    struct uuid one = make_conversation(f->tx, p.ada, p.role, "", 10);
    struct uuid two = make_conversation(f->tx, p.ada, p.role, "", 10);
    struct uuid m = make_message(f->tx, two, no_id, SENDER_USER, "hello");
    struct conversation c;
    assert_ok(conversation_get(f->tx, &p.ada, &one, f->arena, &c));
    c.current_message_id = m;
    assert_err(conversation_update(f->tx, &p.ada, &c, false, &f->ei), ERR_INVALID);
    assert_string_equal(f->ei.param, "current_message_id");
    c.current_message_id = no_id;
    c.assistant_role_id = uuid_new();
    assert_err(conversation_update(f->tx, &p.ada, &c, false, &f->ei), ERR_INVALID);
    assert_string_equal(f->ei.param, "assistant_role_id");
    c.conversation_id = uuid_new();
    assert_err(conversation_create(f->tx, &c, &f->ei), ERR_INVALID);
    c.assistant_role_id = p.role;
    c.user_id = uuid_new();
    assert_err(conversation_create(f->tx, &c, &f->ei), ERR_INVALID);
}

static void conversation_list_pages_by_last_update(void **state) {
    struct fixture *f = *state;
    struct people p = people(f);
    struct uuid ids[7];
    for (int i = 0; i < 7; i++) /* pairs share a time: the id decides */
        ids[i] = make_conversation(f->tx, p.ada, p.role, "t", 100 + i / 2);
    make_conversation(f->tx, p.bob, p.role, "t", 104);
    struct page page = {.limit = 2};
    struct conversation_hit *hits;
    size_t n, seen = 0;
    do {
        assert_ok(conversation_list(f->tx, &p.ada, -1, STR_NULL, &page, f->arena, &hits, &n));
        for (size_t i = 0; i < n; i++, seen++)
            assert_true(uuid_eq(&hits[i].c.conversation_id, &ids[6 - seen]));
        if (n)
            page.after = hits[n - 1].c.conversation_id;
    } while (n);
    assert_int_equal(seen, 7);
    struct message m = message_of(ids[2], no_id, SENDER_USER, "x"); /* brings it to the top */
    m.timestamp = 9000;
    assert_ok(message_append(f->tx, &m, &f->ei));
    assert_int_equal(list_of(f, p.ada, -1, NULL, &hits), 7);
    assert_true(uuid_eq(&hits[0].c.conversation_id, &ids[2]));
    page = (struct page){.after = ids[3], .after_at = 101, .limit = 1}; /* also when it is gone */
    assert_ok(conversation_delete(f->tx, &p.ada, &ids[3]));
    assert_ok(conversation_list(f->tx, &p.ada, -1, STR_NULL, &page, f->arena, &hits, &n));
    assert_int_equal(n, 1);
    assert_true(uuid_eq(&hits[0].c.conversation_id, &ids[1]));
    page = (struct page){.after = uuid_new(), .limit = 2};
    assert_err(conversation_list(f->tx, &p.ada, -1, STR_NULL, &page, f->arena, &hits, &n),
               ERR_NOT_FOUND);
}

static void conversation_list_filters_by_status(void **state) {
    struct fixture *f = *state;
    struct people p = people(f);
    struct uuid one = make_conversation(f->tx, p.ada, p.role, "tea", 1);
    make_conversation(f->tx, p.ada, p.role, "tea", 2);
    struct conversation c;
    struct conversation_hit *hits;
    assert_ok(conversation_get(f->tx, &p.ada, &one, f->arena, &c));
    c.status = CONVERSATION_ARCHIVED;
    assert_ok(conversation_update(f->tx, &p.ada, &c, false, &f->ei));
    assert_int_equal(list_of(f, p.ada, CONVERSATION_ACTIVE, NULL, &hits), 1);
    assert_int_equal(list_of(f, p.ada, CONVERSATION_ARCHIVED, NULL, &hits), 1);
    assert_true(uuid_eq(&hits[0].c.conversation_id, &one));
    assert_int_equal(list_of(f, p.ada, CONVERSATION_ARCHIVED, "tea", &hits), 1);
    assert_int_equal(list_of(f, p.ada, -1, NULL, &hits), 2);
}

static void search_finds_words_in_title_or_one_message(void **state) {
    struct fixture *f = *state;
    struct people p = people(f);
    struct conversation_hit *hits;
    struct uuid c = make_conversation(f->tx, p.ada, p.role, "Trip to Málaga", 1);
    struct uuid q = make_message(f->tx, c, no_id, SENDER_USER, "Where can I eat paella?");
    struct uuid m = make_message(f->tx, c, q, SENDER_ASSISTANT, "Try the old harbour, they say.");
    struct uuid other = make_conversation(f->tx, p.ada, p.role, "", 2);
    make_message(f->tx, other, no_id, SENDER_USER, "paella recipe");

    assert_int_equal(list_of(f, p.ada, -1, "malaga TRIP", &hits),
                     1); /* accents and case do not matter */
    assert_false(uuid_is_set(&hits[0].snippet_message));
    assert_str(hits[0].snippet, "\x02Trip\x03 to \x02Málaga\x03");
    assert_int_equal(list_of(f, p.ada, -1, "harbour old", &hits), 1);
    assert_true(uuid_eq(&hits[0].snippet_message, &m));
    assert_str(hits[0].snippet, "Try the \x02old\x03 \x02harbour\x03, they say.");
    assert_int_equal(list_of(f, p.ada, -1, "pael", &hits), 2);     /* the last word is a prefix */
    assert_int_equal(list_of(f, p.ada, -1, "pael eat", &hits), 0); /* the others are not */
    assert_int_equal(list_of(f, p.ada, -1, "paella harbour", &hits), 0); /* two messages */
    assert_int_equal(list_of(f, p.ada, -1, "paella trip", &hits), 0);    /* message and title */
}

static void search_takes_any_text_as_words(void **state) {
    struct fixture *f = *state;
    struct people p = people(f);
    struct conversation_hit *hits;
    struct uuid c = make_conversation(f->tx, p.ada, p.role, "", 1);
    make_message(f->tx, c, no_id, SENDER_USER, "don't panic: AND the \"guide\" is NEAR");
    static const struct {
        const char *typed;
        size_t found;
    } cases[] = {{"don't", 1},  {"AND", 1},      {"NEAR guide", 1}, {"\"guide", 1},
                 {"panic:", 1}, {"pan* !!!", 1}, {"owner:x", 0},    {"content:panic", 0},
                 {"!!!", 0},    {"", 0},         {"   ", 0},        {"\"", 0},
                 {"😀", 0},      {"(", 0},        {"*", 0},          {"guide OR nothing", 0},
                 {"-guide", 1}, {"—", 0},        {"^panic", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = list_of(f, p.ada, -1, cases[i].typed, &hits);
        if (n != cases[i].found)
            print_error("%s\n", cases[i].typed);
        assert_int_equal(n, cases[i].found);
    }
    struct page page = {.limit = 5};
    size_t n;
    assert_err(conversation_list(f->tx, &p.ada, -1, STR("a\0b"), &page, f->arena, &hits, &n),
               ERR_INVALID);
    assert_err(conversation_list(f->tx, &p.ada, -1, STR("\xc3"), &page, f->arena, &hits, &n),
               ERR_INVALID);
}

static void search_pages_and_follows_changes(void **state) {
    struct fixture *f = *state;
    struct people p = people(f);
    struct uuid ids[5];
    for (int i = 0; i < 5; i++) {
        ids[i] = make_conversation(f->tx, p.ada, p.role, "", 3000 + i);
        make_message(f->tx, ids[i], no_id, SENDER_USER, "needle in hay");
        make_message(f->tx, ids[i], no_id, SENDER_USER, "another needle");
    }
    struct page page = {.limit = 2};
    struct conversation_hit *hits;
    size_t n, seen = 0;
    index_messages(f);
    do {
        assert_ok(conversation_list(f->tx, &p.ada, -1, STR("needle"), &page, f->arena, &hits, &n));
        for (size_t i = 0; i < n; i++, seen++) {
            assert_true(uuid_eq(&hits[i].c.conversation_id, &ids[4 - seen]));
            assert_str(hits[i].snippet, "another \x02needle\x03");
        }
        if (n)
            page.after = hits[n - 1].c.conversation_id;
    } while (n);
    assert_int_equal(seen, 5);
    assert_ok(conversation_delete(f->tx, &p.ada, &ids[0]));
    assert_ok(conversation_set_auto_title(f->tx, &ids[1], STR("needle")));
    assert_int_equal(list_of(f, p.ada, -1, "needle", &hits), 4);
    assert_str(hits[3].snippet, "\x02needle\x03");
    assert_ok(conversation_set_auto_title(f->tx, &ids[1], STR("thread")));
    assert_int_equal(list_of(f, p.ada, -1, "thread", &hits), 1);
    assert_ok(conn_exec(
        f->conn,
        "INSERT INTO conversations_fts (conversations_fts, rank) VALUES ('integrity-check', 1)"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_open, fixture_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(conversation_reads_back_and_changes), TEST(conversation_of_another_looks_like_none),
        TEST(conversation_refuses_foreign_parts),  TEST(conversation_list_pages_by_last_update),
        TEST(conversation_list_filters_by_status), TEST(search_finds_words_in_title_or_one_message),
        TEST(search_takes_any_text_as_words),      TEST(search_pages_and_follows_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
