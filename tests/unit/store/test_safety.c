/* The guard's part of the store: policies, cases, holds, and the audit log's chain. */
#include "unit/store/fixture.h"

#include "store/safety.h"

static struct safety_case block_of(struct uuid user, int64_t at) {
    return (struct safety_case){.case_id = uuid_new(),
                                .kind = CASE_BLOCK,
                                .created_at = at,
                                .user_id = user,
                                .path = STR("native"),
                                .direction = STR("input"),
                                .category = STR("hate"),
                                .counts = true,
                                .policy_version = 3,
                                .reason = STR(""),
                                .verdict = STR("{}"),
                                .text = STR("text")};
}

static void policy_published_last_is_live(void **state) {
    struct fixture *f = *state;
    struct stored_policy a, b, live;
    struct stored_policy p = {.policy_id = uuid_new(),
                              .author = STR("ada"),
                              .note = STR("first"),
                              .created_at = 5,
                              .body = STR("{}")};
    assert_err(stored_policy_live(f->tx, f->arena, &live), ERR_NOT_FOUND);
    assert_ok(stored_policy_create(f->tx, &p, f->arena, &a));
    p.policy_id = uuid_new();
    assert_ok(stored_policy_create(f->tx, &p, f->arena, &b));
    assert_int_equal(a.version, 1);
    assert_int_equal(b.version, 2);
    assert_ok(stored_policy_publish(f->tx, &a.policy_id, 100));
    assert_ok(stored_policy_publish(f->tx, &b.policy_id, 50)); /* the clock went back */
    assert_ok(stored_policy_live(f->tx, f->arena, &live));
    assert_int_equal(live.version, 2);
    assert_ok(stored_policy_publish(f->tx, &a.policy_id, 60)); /* rolled back */
    assert_ok(stored_policy_live(f->tx, f->arena, &live));
    assert_int_equal(live.version, 1);
    assert_str(live.body, "{}");
}

static void case_is_listed_and_decided(void **state) {
    struct fixture *f = *state;
    struct uuid ada = make_user(f->tx, "ada", false);
    struct safety_case *list, c = block_of(ada, 10), got;
    struct page page = {.limit = 10};
    size_t n;
    assert_ok(case_create(f->tx, &c));
    assert_ok(case_list(f->tx, CASE_OPEN, &page, f->arena, &list, &n));
    assert_int_equal(n, 1);
    assert_str(list[0].username, "ada");
    assert_str(list[0].text, "text");
    assert_ok(
        case_decide(f->tx, &c.case_id, CASE_WRONG, STR("root"), STR("a figure of speech"), 20));
    assert_ok(case_get(f->tx, &c.case_id, f->arena, &got));
    assert_int_equal(got.state, CASE_WRONG);
    assert_false(got.counts);
    assert_ok(case_list(f->tx, CASE_OPEN, &page, f->arena, &list, &n));
    assert_int_equal(n, 0);
    assert_ok(user_delete(f->tx, &ada, &f->ei)); /* what is kept of a person goes with them */
    assert_err(case_get(f->tx, &c.case_id, f->arena, &got), ERR_NOT_FOUND);
}

static void blocks_that_count_are_counted(void **state) {
    struct fixture *f = *state;
    struct uuid ada = make_user(f->tx, "ada", false);
    int64_t n = -1;
    for (int i = 0; i < 4; i++) {
        struct safety_case c = block_of(ada, 10 * i);
        c.counts = i != 3; /* a person in distress, say */
        assert_ok(case_create(f->tx, &c));
    }
    assert_ok(safety_user_blocks(f->tx, &ada, 10, &n));
    assert_int_equal(n, 2);
}

static void hold_is_never_shortened_but_lifted(void **state) {
    struct fixture *f = *state;
    struct uuid ada = make_user(f->tx, "ada", false);
    int64_t until = -1;
    bool suspended = true;
    assert_ok(safety_user_until(f->tx, &ada, &until, &suspended));
    assert_int_equal(until, 0);
    assert_false(suspended);
    assert_ok(safety_user_hold(f->tx, &ada, 100, true));
    assert_ok(safety_user_hold(f->tx, &ada, 50, false));
    assert_ok(safety_user_until(f->tx, &ada, &until, &suspended));
    assert_int_equal(until, 100);
    assert_true(suspended);
    assert_ok(safety_user_hold(f->tx, &ada, 0, false));
    assert_ok(safety_user_until(f->tx, &ada, &until, &suspended));
    assert_int_equal(until, 0);
}

static void audit_chain_shows_what_was_changed(void **state) {
    struct fixture *f = *state;
    int64_t rows = -1;
    char head[65], again[65];
    assert_ok(audit_verify(f->tx, &rows, head, &f->ei));
    assert_int_equal(rows, 0);
    for (int i = 0; i < 1100; i++) /* more than a page of the walk */
        assert_ok(audit_append(f->tx, STR("ada"), "policy.publish", STR("{\"version\":1}")));
    assert_ok(audit_verify(f->tx, &rows, head, &f->ei));
    assert_int_equal(rows, 1100);
    assert_int_equal(strlen(head), 64);
    assert_ok(audit_append(f->tx, STR("ada"), "x", STR("{}")));
    assert_ok(audit_verify(f->tx, &rows, again, &f->ei));
    assert_string_not_equal(head, again);
    /* rows cannot be touched by statements; whoever removes the triggers breaks the chain */
    assert_err(conn_exec(f->conn, "UPDATE audit SET actor = 'eve' WHERE seq = 7"), ERR_INVALID);
    assert_err(conn_exec(f->conn, "DELETE FROM audit WHERE seq = 7"), ERR_INVALID);
    assert_ok(conn_exec(f->conn, "DROP TRIGGER audit_no_update; DROP TRIGGER audit_no_delete;"
                                 "UPDATE audit SET actor = 'eve' WHERE seq = 7"));
    assert_err(audit_verify(f->tx, &rows, head, &f->ei), ERR_CORRUPT);
    assert_non_null(strstr(f->ei.message, "row 7 "));
    assert_ok(conn_exec(f->conn, "UPDATE audit SET actor = 'ada' WHERE seq = 7;"
                                 "DELETE FROM audit WHERE seq = 900"));
    assert_err(audit_verify(f->tx, &rows, head, &f->ei), ERR_CORRUPT);
    assert_non_null(strstr(f->ei.message, "lacks row 900"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(policy_published_last_is_live, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(case_is_listed_and_decided, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(blocks_that_count_are_counted, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(hold_is_never_shortened_but_lifted, fixture_open,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(audit_chain_shows_what_was_changed, fixture_open,
                                        fixture_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
