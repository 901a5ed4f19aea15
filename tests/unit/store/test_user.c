/* Users, sessions and API keys. */
#include "unit/store/fixture.h"

static void user_created_reads_back_whole(void **state) {
    struct fixture *f = *state;
    struct user u = {.user_id = uuid_new(),
                     .username = STR("Ada"),
                     .email = STR("ada@example.org"),
                     .created_at = 5,
                     .last_login_at = 6,
                     .preferences = STR("{\"dark\":true}"),
                     .is_admin = true,
                     .disabled = false,
                     .password_hash = STR("$argon2id$x")};
    struct user got;
    assert_ok(user_create(f->tx, &u, &f->ei));
    assert_ok(user_get(f->tx, &u.user_id, f->arena, &got));
    assert_true(uuid_eq(&got.user_id, &u.user_id));
    assert_str(got.username, "Ada");
    assert_str(got.email, "ada@example.org");
    assert_str(got.preferences, "{\"dark\":true}");
    assert_str(got.password_hash, "$argon2id$x");
    assert_int_equal(got.created_at, 5);
    assert_int_equal(got.last_login_at, 6);
    assert_true(got.is_admin);
    assert_false(got.disabled);
}

static void user_find_takes_name_or_email_in_any_case(void **state) {
    struct fixture *f = *state;
    struct uuid id = make_user(f->tx, "Ada", false);
    struct user got;
    assert_ok(user_find(f->tx, STR("aDA"), f->arena, &got));
    assert_true(uuid_eq(&got.user_id, &id));
    assert_ok(user_find(f->tx, STR("ADA@example.ORG"), f->arena, &got));
    assert_err(user_find(f->tx, STR("nobody"), f->arena, &got), ERR_NOT_FOUND);
    assert_err(user_find(f->tx, STR(""), f->arena, &got), ERR_NOT_FOUND);
}

static void user_names_taken_name_the_field(void **state) {
    struct fixture *f = *state;
    make_user(f->tx, "ada", false);
    struct user u = {.user_id = uuid_new(), .username = STR("ADA"), .email = STR("x@example.org")};
    assert_err(user_create(f->tx, &u, &f->ei), ERR_CONFLICT);
    assert_string_equal(f->ei.param, "username");
    u.username = STR("bob");
    u.email = STR("Ada@Example.org");
    assert_err(user_create(f->tx, &u, &f->ei), ERR_CONFLICT);
    assert_string_equal(f->ei.param, "email");
    u.email = STR("bob@example.org");
    assert_ok(user_create(f->tx, &u, &f->ei));
    u.username = STR("ada"); /* by an update, too; one's own names are no conflict */
    assert_err(user_update(f->tx, &u, &f->ei), ERR_CONFLICT);
    u.username = STR("BOB");
    assert_ok(user_update(f->tx, &u, &f->ei));
}

static void user_text_that_is_no_text_is_refused(void **state) {
    struct fixture *f = *state;
    struct user u = {.user_id = uuid_new(), .username = STR("a\0b"), .email = STR("a@b")};
    assert_err(user_create(f->tx, &u, &f->ei), ERR_INVALID);
    u.username = STR("a\xff");
    assert_err(user_create(f->tx, &u, &f->ei), ERR_INVALID);
    u.username = STR("");
    assert_err(user_create(f->tx, &u, &f->ei), ERR_INVALID);
    assert_int_equal(count(f->conn, "SELECT count(*) FROM users"), 0);
}

static void user_last_admin_cannot_be_lost(void **state) {
    struct fixture *f = *state;
    struct uuid a = make_user(f->tx, "ada", true);
    struct user u;
    assert_ok(user_get(f->tx, &a, f->arena, &u));
    u.is_admin = false;
    assert_err(user_update(f->tx, &u, &f->ei), ERR_CONFLICT);
    u.is_admin = true;
    u.disabled = true;
    assert_err(user_update(f->tx, &u, &f->ei), ERR_CONFLICT);
    assert_err(user_delete(f->tx, &a, &f->ei), ERR_CONFLICT);
    struct uuid b = make_user(f->tx, "bob", true);
    assert_ok(user_update(f->tx, &u, &f->ei)); /* ada is disabled: bob is the last one now */
    assert_err(user_delete(f->tx, &b, &f->ei), ERR_CONFLICT);
    assert_ok(user_delete(f->tx, &a, &f->ei));
    int64_t users = 0, admins = 0;
    assert_ok(user_count(f->tx, &users, &admins));
    assert_int_equal(users, 1);
    assert_int_equal(admins, 1);
}

static void user_list_pages_newest_first(void **state) {
    struct fixture *f = *state;
    struct uuid ids[5];
    char name[16];
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "u%d", i);
        ids[i] = make_user(f->tx, name, false);
    }
    struct page p = {.limit = 2};
    struct user *list;
    size_t n, seen = 0;
    do {
        assert_ok(user_list(f->tx, &p, f->arena, &list, &n));
        for (size_t i = 0; i < n; i++, seen++)
            assert_true(uuid_eq(&list[i].user_id, &ids[4 - seen]));
        if (n)
            p.after = list[n - 1].user_id;
    } while (n);
    assert_int_equal(seen, 5);
    p.limit = 0;
    assert_err(user_list(f->tx, &p, f->arena, &list, &n), ERR_INVALID);
    p.limit = 201;
    assert_err(user_list(f->tx, &p, f->arena, &list, &n), ERR_INVALID);
}

static void user_of_unknown_id_is_not_found(void **state) {
    struct fixture *f = *state;
    struct user u = {.user_id = uuid_new(), .username = STR("x")};
    struct user got;
    assert_err(user_get(f->tx, &u.user_id, f->arena, &got), ERR_NOT_FOUND);
    assert_err(user_get(f->tx, &no_id, f->arena, &got), ERR_NOT_FOUND);
    assert_err(user_update(f->tx, &u, &f->ei), ERR_NOT_FOUND);
    assert_err(user_set_last_login(f->tx, &u.user_id, 1), ERR_NOT_FOUND);
    assert_err(user_delete(f->tx, &u.user_id, &f->ei), ERR_NOT_FOUND);
}

static void user_deleted_takes_all_that_is_theirs(void **state) {
    struct fixture *f = *state;
    struct uuid a = make_user(f->tx, "ada", false), b = make_user(f->tx, "bob", true);
    struct uuid role = make_role(f->tx, "Helper");
    struct uuid users[] = {a, b};
    for (int i = 0; i < 2; i++) {
        struct uuid c = make_conversation(f->tx, users[i], role, "Rivers", 1);
        struct uuid q = make_message(f->tx, c, no_id, SENDER_USER, "the danube");
        struct uuid m = make_message(f->tx, c, q, SENDER_ASSISTANT, "flows east");
        struct feedback fb = {.feedback_id = uuid_new(), .message_id = m, .user_id = users[i]}, got;
        assert_ok(feedback_put(f->tx, &fb, f->arena, &got, &f->ei));
        struct document d = {.doc_id = uuid_new(), .user_id = users[i], .source_name = STR("d")};
        assert_ok(document_create(f->tx, &d, &f->ei));
        struct api_key k = {.key_id = uuid_new(), .user_id = users[i], .hash = uuid_str(&users[i])};
        assert_ok(api_key_create(f->tx, &k));
        assert_ok(session_create(f->tx, uuid_str(&users[i]), &users[i], INT64_MAX));
    }
    index_messages(f);
    assert_ok(user_delete(f->tx, &a, &f->ei));
    static const char *const tables[] = {"users",         "sessions", "api_keys",
                                         "conversations", "feedback", "documents"};
    for (size_t i = 0; i < 6; i++) {
        char sql[80];
        snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", tables[i]);
        assert_int_equal(count(f->conn, sql), 1);
    }
    assert_int_equal(count(f->conn, "SELECT count(*) FROM messages"), 2);
    /* And their words are gone from the index, while the index agrees with what is left. */
    assert_int_equal(count(f->conn, "SELECT count(*) FROM messages_fts('danube')"), 1);
    assert_ok(conn_exec(
        f->conn, "INSERT INTO messages_fts (messages_fts, rank) VALUES ('integrity-check', 1)"));
    assert_ok(conn_exec(
        f->conn,
        "INSERT INTO conversations_fts (conversations_fts, rank) VALUES ('integrity-check', 1)"));
}

static void session_lives_until_expiry_or_end(void **state) {
    struct fixture *f = *state;
    struct uuid a = make_user(f->tx, "ada", false);
    struct user u;
    clock_test_set(0, 100000);
    assert_ok(session_create(f->tx, STR("h1"), &a, 200000));
    assert_ok(session_create(f->tx, STR("h2"), &a, 300000));
    assert_ok(session_create(f->tx, STR("h3"), &a, 300000));
    assert_ok(session_find(f->tx, STR("h1"), f->arena, &u));
    assert_str(u.username, "ada");
    assert_err(session_find(f->tx, STR("h9"), f->arena, &u), ERR_NOT_FOUND);
    clock_test_set(0, 200000);
    assert_err(session_find(f->tx, STR("h1"), f->arena, &u), ERR_NOT_FOUND);
    assert_ok(session_purge(f->tx));
    assert_int_equal(count(f->conn, "SELECT count(*) FROM sessions"), 2);
    assert_ok(session_delete_all(f->tx, &a, STR("h3")));
    assert_err(session_find(f->tx, STR("h2"), f->arena, &u), ERR_NOT_FOUND);
    assert_ok(session_find(f->tx, STR("h3"), f->arena, &u));
    u.disabled = true;
    assert_ok(user_update(f->tx, &u, &f->ei));
    assert_err(session_find(f->tx, STR("h3"), f->arena, &u), ERR_NOT_FOUND);
    assert_ok(session_delete_all(f->tx, &a, STR_NULL));
    assert_int_equal(count(f->conn, "SELECT count(*) FROM sessions"), 0);
    assert_ok(session_delete(f->tx, STR("h3"))); /* signing out twice is fine */
    struct uuid nobody = uuid_new();
    assert_err(session_create(f->tx, STR("h4"), &nobody, 300000), ERR_INVALID);
}

static void api_key_works_until_revoked_by_its_owner(void **state) {
    struct fixture *f = *state;
    struct uuid a = make_user(f->tx, "ada", false), b = make_user(f->tx, "bob", false), key;
    struct api_key k = {.key_id = uuid_new(),
                        .user_id = a,
                        .name = STR("laptop"),
                        .prefix = STR("parley_ab"),
                        .hash = STR("aa"),
                        .created_at = 7};
    struct api_key *list;
    struct user u;
    size_t n;
    assert_ok(api_key_create(f->tx, &k));
    assert_ok(api_key_find(f->tx, STR("aa"), f->arena, &u, &key));
    assert_true(uuid_eq(&key, &k.key_id));
    assert_true(uuid_eq(&u.user_id, &a));
    assert_ok(api_key_set_used(f->tx, &key, 3 * 60000 + 17));
    struct api_key other = k;
    other.key_id = uuid_new();
    other.hash = STR("bb");
    assert_ok(api_key_create(f->tx, &other));
    assert_ok(api_key_revoke_all(f->tx, &b, &no_id)); /* another's */
    assert_ok(api_key_revoke_all(f->tx, &k.user_id, &k.key_id));
    assert_err(api_key_find(f->tx, STR("bb"), f->arena, &u, &other.key_id), ERR_NOT_FOUND);
    assert_ok(api_key_find(f->tx, STR("aa"), f->arena, &u, &key));
    assert_err(api_key_revoke(f->tx, &b, &key), ERR_NOT_FOUND);
    assert_ok(api_key_list(f->tx, &b, f->arena, &list, &n));
    assert_int_equal(n, 0);
    clock_test_set(0, 999);
    assert_ok(api_key_revoke(f->tx, &a, &key));
    clock_test_set(0, 1999);
    assert_ok(api_key_revoke(f->tx, &a, &key)); /* again: the first time stays */
    assert_err(api_key_find(f->tx, STR("aa"), f->arena, &u, &key), ERR_NOT_FOUND);
    assert_ok(api_key_list(f->tx, &a, f->arena, &list, &n));
    assert_int_equal(n, 2);
    assert_int_equal(list[1].last_used_at, 3 * 60000);
    assert_int_equal(list[1].revoked_at, 999);
    assert_str(list[1].name, "laptop");
    assert_str(list[1].prefix, "parley_ab");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_open, fixture_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(user_created_reads_back_whole),     TEST(user_find_takes_name_or_email_in_any_case),
        TEST(user_names_taken_name_the_field),   TEST(user_text_that_is_no_text_is_refused),
        TEST(user_last_admin_cannot_be_lost),    TEST(user_list_pages_newest_first),
        TEST(user_of_unknown_id_is_not_found),   TEST(user_deleted_takes_all_that_is_theirs),
        TEST(session_lives_until_expiry_or_end), TEST(api_key_works_until_revoked_by_its_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
