/* Sources and what they brought. */
#include "unit/store/fixture.h"

#include "store/chunk.h"
#include "store/source.h"

static struct source source_of(struct uuid user, enum source_kind kind, int64_t next_at) {
    return (struct source){.source_id = uuid_new(),
                           .user_id = user,
                           .name = STR("n"),
                           .kind = kind,
                           .location = STR("http://a/"),
                           .interval_minutes = 60,
                           .enabled = true,
                           .settings = STR("{\"a\":1}"),
                           .created_at = 5,
                           .next_at = next_at};
}

static struct uuid make_document(struct fixture *f, struct uuid user, const char *uri) {
    struct document d = {.doc_id = uuid_new(),
                         .user_id = user,
                         .source_name = STR("d"),
                         .content = STR("text"),
                         .uri = str_from(uri),
                         .created_at = 1};
    assert_ok(document_create(f->tx, &d, &f->ei));
    return d.doc_id;
}

static void source_created_reads_back_whole(void **state) {
    struct fixture *f = *state;
    struct uuid ann = make_user(f->tx, "ann", false), bob = make_user(f->tx, "bob", false);
    struct source s = source_of(ann, SOURCE_FEED, 100), got, *list;
    struct page page = {.limit = 10};
    size_t n;
    assert_ok(source_create(f->tx, &s, &f->ei));
    assert_ok(source_get(f->tx, &ann, &s.source_id, f->arena, &got));
    assert_int_equal(got.kind, SOURCE_FEED);
    assert_str(got.settings, "{\"a\":1}");
    assert_int_equal(got.interval_minutes, 60);
    assert_err(source_get(f->tx, &bob, &s.source_id, f->arena, &got), ERR_NOT_FOUND);
    assert_ok(source_get(f->tx, &no_id, &s.source_id, f->arena, &got));
    assert_ok(source_list(f->tx, &bob, &page, f->arena, &list, &n));
    assert_int_equal(n, 0);
    assert_ok(source_list(f->tx, &no_id, &page, f->arena, &list, &n));
    assert_int_equal(n, 1);
}

static void source_that_is_due_longest_comes_first(void **state) {
    struct fixture *f = *state;
    struct uuid ann = make_user(f->tx, "ann", false);
    struct source a = source_of(ann, SOURCE_URL, 300), b = source_of(ann, SOURCE_URL, 200),
                  off = source_of(ann, SOURCE_URL, 100), got;
    int64_t next;
    off.enabled = false;
    assert_err(source_next(f->tx, 1000, f->arena, &got, &next), ERR_NOT_FOUND);
    assert_int_equal(next, 0);
    assert_ok(source_create(f->tx, &a, &f->ei));
    assert_ok(source_create(f->tx, &b, &f->ei));
    assert_ok(source_create(f->tx, &off, &f->ei));
    assert_err(source_next(f->tx, 199, f->arena, &got, &next), ERR_NOT_FOUND);
    assert_int_equal(next, 200);
    assert_ok(source_next(f->tx, 1000, f->arena, &got, &next));
    assert_true(uuid_eq(&got.source_id, &b.source_id));
    b.last_error = STR("slow");
    b.last_at = 1000;
    b.next_at = 2000;
    assert_ok(source_finish(f->tx, &b));
    assert_ok(source_next(f->tx, 1000, f->arena, &got, &next));
    assert_true(uuid_eq(&got.source_id, &a.source_id));
    assert_ok(source_get(f->tx, &ann, &b.source_id, f->arena, &got));
    assert_str(got.last_error, "slow");
}

static void source_start_clears_runs_and_looks_at_folders(void **state) {
    struct fixture *f = *state;
    struct uuid ann = make_user(f->tx, "ann", true);
    struct source s = source_of(ann, SOURCE_FOLDER, 0), got;
    assert_ok(source_create(f->tx, &s, &f->ei));
    assert_ok(source_set_running(f->tx, &s.source_id, true));
    assert_ok(source_recover(f->tx));
    assert_ok(source_get(f->tx, &ann, &s.source_id, f->arena, &got));
    assert_false(got.running);
    assert_int_equal(got.next_at, 1);
}

static void source_sweep_takes_what_was_not_seen(void **state) {
    struct fixture *f = *state;
    struct uuid ann = make_user(f->tx, "ann", false);
    struct source s = source_of(ann, SOURCE_SITEMAP, 0);
    struct uuid old_doc = make_document(f, ann, "u:old"), new_doc = make_document(f, ann, "u:new");
    struct source_item old_item = {s.source_id, STR("u:old"), old_doc, .run = 10}, got;
    struct source_item new_item = {s.source_id, STR("u:new"), new_doc, .etag = STR("e"), .run = 20};
    struct document d;
    int64_t n;
    assert_ok(source_create(f->tx, &s, &f->ei));
    assert_ok(source_item_put(f->tx, &old_item));
    assert_ok(source_item_put(f->tx, &new_item));
    assert_ok(source_item_sweep(f->tx, &s.source_id, 20, &n));
    assert_int_equal(n, 1);
    assert_err(document_get(f->tx, &ann, &old_doc, f->arena, &d), ERR_NOT_FOUND);
    assert_ok(document_get(f->tx, &ann, &new_doc, f->arena, &d));
    assert_ok(source_item_get(f->tx, &s.source_id, STR("u:new"), f->arena, &got));
    assert_str(got.etag, "e");
    struct source_item again = {s.source_id, STR("u:new"), .run = 30}; /* keeps its document */
    assert_ok(source_item_put(f->tx, &again));
    assert_ok(source_item_get(f->tx, &s.source_id, STR("u:new"), f->arena, &got));
    assert_true(uuid_eq(&got.doc_id, &new_doc));
}

static void source_deleted_leaves_or_takes_its_documents(void **state) {
    struct fixture *f = *state;
    struct uuid ann = make_user(f->tx, "ann", false);
    struct document d;
    for (int with = 0; with < 2; with++) {
        struct source s = source_of(ann, SOURCE_URL, 0);
        struct uuid doc = make_document(f, ann, with ? "u:b" : "u:a");
        struct source_item i = {s.source_id, STR("u"), doc, .run = 1};
        assert_ok(source_create(f->tx, &s, &f->ei));
        assert_ok(source_item_put(f->tx, &i));
        assert_ok(source_delete(f->tx, &s.source_id, with));
        assert_err(document_get(f->tx, &ann, &doc, f->arena, &d), with ? ERR_NOT_FOUND : ERR_OK);
        assert_err(source_item_get(f->tx, &s.source_id, STR("u"), f->arena, &i), ERR_NOT_FOUND);
    }
}

static void source_of_one_user_are_not_endless(void **state) {
    struct fixture *f = *state;
    struct uuid ann = make_user(f->tx, "ann", false);
    for (int i = 0; i < SOURCES_PER_USER; i++) {
        struct source s = source_of(ann, SOURCE_URL, 0);
        assert_ok(source_create(f->tx, &s, &f->ei));
    }
    struct source more = source_of(ann, SOURCE_URL, 0);
    assert_err(source_create(f->tx, &more, &f->ei), ERR_CONFLICT);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_open, fixture_close)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(source_created_reads_back_whole),
        T(source_that_is_due_longest_comes_first),
        T(source_start_clears_runs_and_looks_at_folders),
        T(source_sweep_takes_what_was_not_seen),
        T(source_deleted_leaves_or_takes_its_documents),
        T(source_of_one_user_are_not_endless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
