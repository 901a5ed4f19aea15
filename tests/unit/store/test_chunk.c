/* Collections, versions of documents, chunks and vectors. */
#include "unit/store/fixture.h"

#include "store/chunk.h"

static struct document doc_of(struct uuid user, const char *name, const char *hash) {
    return (struct document){.user_id = user,
                             .source_name = str_from(name),
                             .content_hash = str_from(hash),
                             .media_type = STR("text/plain")};
}

static struct uuid submit(struct fixture *f, const struct document *d, const char *bytes,
                          bool expect_unchanged) {
    struct uuid id;
    bool unchanged;
    assert_ok(document_submit(f->tx, d, str_from(bytes), &id, &unchanged, &f->ei));
    assert_int_equal(unchanged, expect_unchanged);
    return id;
}

static void commit(struct fixture *f, const char *const *texts, int n) {
    struct document_work w;
    struct chunk_row rows[8] = {{.n = 0}};
    assert_ok(document_next(f->tx, clock_wall_ms(), f->arena, &w));
    for (int i = 0; i < n; i++) {
        rows[i] = (struct chunk_row){.n = i, .text = str_from(texts[i])};
        memset(rows[i].hash, texts[i][0], CHUNK_HASH_LEN);
    }
    w.d.content = w.has_bytes ? w.bytes : w.d.content;
    assert_ok(document_commit(f->tx, &w.d, w.hash, rows, (size_t)n, &f->ei));
}

static void vector(struct fixture *f, int64_t model, char c) {
    unsigned char hash[CHUNK_HASH_LEN];
    memset(hash, c, sizeof hash);
    assert_ok(chunk_vector_put(f->tx, model, hash, STR("v")));
}

static void quotas_count_what_a_user_keeps_for_himself(void **state) {
    struct fixture *f = *state;
    struct uuid ada = make_user(f->tx, "ada", true);
    struct document own = doc_of(ada, "a.txt", "h1"), shared = doc_of(ada, "b.txt", "h2");
    struct document_usage u;
    shared.shared = true;
    submit(f, &shared, "0123456789 and much more", false);
    assert_ok(document_usage(f->tx, &ada, &u));
    assert_int_equal(u.documents, 0);
    own.doc_id = submit(f, &own, "0123456789", false);
    assert_ok(document_usage(f->tx, &ada, &u));
    assert_int_equal(u.documents, 1);
    assert_int_equal(u.bytes, 10); /* as it waits */
    assert_ok(document_check_quota(f->tx, &ada, &(struct document_quota){0, 0}, &f->ei));
    assert_ok(document_check_quota(f->tx, &ada, &(struct document_quota){1, 10}, &f->ei));
    assert_int_equal(
        document_check_quota(f->tx, &ada, &(struct document_quota){.bytes = 9}, &f->ei), ERR_QUOTA);
    assert_non_null(strstr(f->ei.message, "9"));
    own.content_hash = STR("h3"); /* a new version counts instead of the old one */
    submit(f, &own, "01234", false);
    assert_ok(document_check_quota(f->tx, &ada, &(struct document_quota){1, 5}, &f->ei));
    struct document more = doc_of(ada, "c.txt", "h4");
    submit(f, &more, "x", false);
    assert_int_equal(
        document_check_quota(f->tx, &ada, &(struct document_quota){.documents = 1}, &f->ei),
        ERR_QUOTA);
}

/* A document that comes with a message: not before it has been read, and never another's. */
static void document_is_given_once_it_has_been_read(void **state) {
    struct fixture *f = *state;
    struct uuid role = make_role(f->tx, "Plain");
    struct uuid ada = make_user(f->tx, "ada", true), list[COLLECTIONS_MAX];
    struct document d = doc_of(ada, "a.txt", "h1");
    const char *text[] = {"words"};
    struct str name;
    size_t n;
    struct uuid id = submit(f, &d, "words", false);
    assert_ok(collection_scope(f->tx, &ada, &role, list, &n));
    assert_err(document_attach(f->tx, list, n, &id, f->arena, &name, &f->ei), ERR_CONFLICT);
    assert_non_null(strstr(f->ei.message, "still being read"));
    commit(f, text, 1);
    assert_ok(document_attach(f->tx, list, n, &id, f->arena, &name, &f->ei));
    assert_str(name, "a.txt");
    assert_err(document_attach(f->tx, list, 0, &id, f->arena, &name, &f->ei), ERR_INVALID);
}

static void collection_scope_is_own_shared_and_the_roles(void **state) {
    struct fixture *f = *state;
    struct uuid ada = make_user(f->tx, "ada", true), bob = make_user(f->tx, "bob", false);
    struct uuid medical = make_role(f->tx, "Medical"), plain = make_role(f->tx, "Plain");
    struct collection c = {
        .collection_id = uuid_new(), .name = STR("medicine"), .kind = COLLECTION_ROLE};
    assert_ok(collection_create(f->tx, &c, &f->ei));
    struct role_retrieval r = {.enabled = true,
                               .grounded_only = true,
                               .collections = (struct uuid[]){c.collection_id},
                               .n = 1},
                          got;
    assert_ok(role_retrieval_set(f->tx, &medical, &r, &f->ei));
    assert_ok(role_retrieval_get(f->tx, &medical, f->arena, &got));
    assert_true(got.enabled && got.grounded_only && got.n == 1);
    assert_ok(role_retrieval_get(f->tx, &plain, f->arena, &got));
    assert_true(got.enabled && !got.grounded_only && got.n == 0);
    struct uuid ids[COLLECTIONS_MAX];
    size_t n;
    assert_ok(collection_scope(f->tx, &ada, &medical, ids, &n));
    assert_int_equal(n, 3);
    assert_true(uuid_eq(&ids[0], &ada));
    assert_true(uuid_eq(&ids[2], &c.collection_id));
    assert_ok(collection_scope(f->tx, &bob, &plain, ids, &n));
    assert_int_equal(n, 2);
    assert_true(uuid_eq(&ids[0], &bob));
    r.collections[0] = ada; /* a private one cannot be bound */
    assert_err(role_retrieval_set(f->tx, &plain, &r, &f->ei), ERR_INVALID);
    assert_err(collection_delete(f->tx, &ada, &f->ei), ERR_CONFLICT);
    assert_ok(collection_delete(f->tx, &c.collection_id, &f->ei));
}

static void document_version_replaces_the_one_before_at_once(void **state) {
    struct fixture *f = *state;
    struct uuid ada = make_user(f->tx, "ada", true);
    struct document d = doc_of(ada, "a.txt", "h1"), got;
    struct document_work w;
    struct uuid id = submit(f, &d, "first", false);
    commit(f, (const char *const[]){"one", "two"}, 2);
    d.doc_id = id;
    submit(f, &d, "first", true); /* unchanged: nothing waits */
    assert_err(document_next(f->tx, clock_wall_ms(), f->arena, &w), ERR_NOT_FOUND);
    d.content_hash = STR("h2");
    submit(f, &d, "second", false);
    assert_ok(document_get(f->tx, &ada, &id, f->arena, &got));
    assert_str(got.content, "first"); /* serves until the commit */
    assert_true(got.updating && got.status == DOCUMENT_INDEXED && got.chunk_count == 2);
    commit(f, (const char *const[]){"three"}, 1);
    assert_ok(document_get(f->tx, &ada, &id, f->arena, &got));
    assert_str(got.content, "second");
    assert_false(got.updating);
    assert_int_equal(count(f->conn, "SELECT count(*) FROM chunks"), 1);
    assert_int_equal(count(f->conn, "SELECT count(*) FROM document_uploads"), 0);
}

static void document_of_an_address_is_found_again(void **state) {
    struct fixture *f = *state;
    struct uuid ada = make_user(f->tx, "ada", true), bob = make_user(f->tx, "bob", false);
    struct document d = doc_of(ada, "page", "h1");
    d.uri = STR("https://example.org/");
    struct uuid id = submit(f, &d, "x", false);
    struct document again = d;
    again.content_hash = STR("h2");
    struct uuid second = submit(f, &again, "y", false);
    assert_true(uuid_eq(&id, &second));
    struct document others = doc_of(bob, "page", "h1");
    others.uri = d.uri;
    second = submit(f, &others, "x", false); /* another collection */
    assert_false(uuid_eq(&id, &second));
    struct uuid ret;
    bool same;
    others.doc_id = id;
    others.uri = STR("");
    assert_err(document_submit(f->tx, &others, STR("x"), &ret, &same, &f->ei), ERR_NOT_FOUND);
}

static void document_failure_keeps_what_is_served(void **state) {
    struct fixture *f = *state;
    struct uuid ada = make_user(f->tx, "ada", true);
    struct document d = doc_of(ada, "a.txt", "h1"), got;
    struct document_work w;
    struct uuid id = submit(f, &d, "first", false);
    commit(f, (const char *const[]){"one"}, 1);
    d.doc_id = id;
    d.content_hash = STR("h2");
    submit(f, &d, "second", false);
    int64_t later = clock_wall_ms() + 1000000, at, waiting;
    assert_ok(document_fail(f->tx, &id, STR("h2"), STR("busy"), later));
    assert_err(document_next(f->tx, clock_wall_ms(), f->arena, &w), ERR_NOT_FOUND);
    assert_ok(document_next_due(f->tx, &at, &waiting));
    assert_int_equal(at, later);
    assert_ok(document_next(f->tx, later, f->arena, &w));
    assert_int_equal(w.attempts, 1);
    assert_ok(document_fail(f->tx, &id, STR("h2"), STR("damaged"), 0));
    assert_ok(document_get(f->tx, &ada, &id, f->arena, &got));
    assert_str(got.error, "damaged");
    assert_int_equal(got.status, DOCUMENT_INDEXED);
    assert_false(got.updating);
}

static void document_given_as_text_waits_too(void **state) {
    struct fixture *f = *state;
    struct uuid ada = make_user(f->tx, "ada", true);
    struct document d = doc_of(ada, "note", ""), got;
    d.doc_id = uuid_new();
    d.content = STR("text");
    d.shared = true;
    assert_ok(document_create(f->tx, &d, &f->ei));
    assert_ok(document_get(f->tx, &ada, &d.doc_id, f->arena, &got));
    assert_string_equal(got.collection_id.s, COLLECTION_SHARED_ID);
    commit(f, (const char *const[]){"text"}, 1);
    assert_ok(document_indexed(f->tx, &d.doc_id, f->arena, &got));
}

static void vectors_live_as_long_as_a_chunk_has_their_text(void **state) {
    struct fixture *f = *state;
    struct uuid ada = make_user(f->tx, "ada", true);
    struct document d = doc_of(ada, "a", "h1"), e = doc_of(ada, "b", "h2");
    int64_t model, same;
    int dims;
    assert_ok(embedding_model_id(f->tx, STR("m"), 3, &model));
    assert_ok(embedding_model_id(f->tx, STR("m"), 3, &same));
    assert_int_equal(model, same);
    vector(f, model, 'o');
    vector(f, model, 't');
    struct uuid first = submit(f, &d, "x", false);
    commit(f, (const char *const[]){"one", "two"}, 2);
    struct uuid other = submit(f, &e, "y", false);
    commit(f, (const char *const[]){"one"}, 1);
    struct chunk_row *rows;
    size_t n;
    assert_ok(chunk_list(f->tx, &first, model, f->arena, &rows, &n));
    assert_int_equal(n, 2);
    assert_str(rows[1].vector, "v");
    d.doc_id = first;
    d.content_hash = STR("h3");
    submit(f, &d, "x2", false);
    commit(f, (const char *const[]){"two", "new"}, 2); /* "two" keeps its vector */
    assert_ok(chunk_without_vector(f->tx, model, 0, 10, f->arena, &rows, &n));
    assert_int_equal(n, 1);
    assert_str(rows[0].text, "new");
    assert_ok(document_delete(f->tx, &ada, false, &first));
    assert_int_equal(count(f->conn, "SELECT count(*) FROM chunk_vectors"), 1); /* "one", of b */
    assert_ok(document_delete(f->tx, &ada, false, &other));
    assert_int_equal(count(f->conn, "SELECT count(*) FROM chunk_vectors"), 0);
    assert_int_equal(count(f->conn, "SELECT count(*) FROM chunks"), 0);
    assert_ok(embedding_model_id(f->tx, STR("m"), 4, &same)); /* another size: another model */
    assert_ok(embedding_model_find(f->tx, STR("m"), &same, &dims));
    assert_int_equal(dims, 4);
}

static void index_changes_name_commits_and_deletions(void **state) {
    struct fixture *f = *state;
    struct uuid ada = make_user(f->tx, "ada", true);
    struct document d = doc_of(ada, "a", "h1");
    struct index_change *list;
    int64_t first, last;
    size_t n;
    struct uuid id = submit(f, &d, "x", false);
    assert_ok(index_change_last(f->tx, &first, &last));
    assert_int_equal(last, 0);
    commit(f, (const char *const[]){"one"}, 1);
    assert_ok(document_delete(f->tx, &ada, false, &id));
    assert_ok(index_change_list(f->tx, 0, 10, f->arena, &list, &n));
    assert_int_equal(n, 2);
    assert_true(uuid_eq(&list[1].doc_id, &id));
    assert_ok(index_change_last(f->tx, &first, &last));
    assert_int_equal(last, list[1].seq);
}

static void chunk_outside_the_scope_is_not_there(void **state) {
    struct fixture *f = *state;
    struct uuid ada = make_user(f->tx, "ada", true), bob = make_user(f->tx, "bob", false);
    struct document d = doc_of(ada, "a", "h1");
    struct chunk_row *rows;
    struct chunk_hit hit;
    size_t n;
    struct uuid id = submit(f, &d, "x", false);
    commit(f, (const char *const[]){"one"}, 1);
    assert_ok(chunk_list(f->tx, &id, 0, f->arena, &rows, &n));
    assert_ok(chunk_get(f->tx, rows[0].chunk_id, &ada, 1, f->arena, &hit));
    assert_str(hit.c.text, "one");
    assert_err(chunk_get(f->tx, rows[0].chunk_id, &bob, 1, f->arena, &hit), ERR_NOT_FOUND);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_open, fixture_close)
    const struct CMUnitTest tests[] = {
        TEST(quotas_count_what_a_user_keeps_for_himself),
        TEST(document_is_given_once_it_has_been_read),
        TEST(collection_scope_is_own_shared_and_the_roles),
        TEST(document_version_replaces_the_one_before_at_once),
        TEST(document_of_an_address_is_found_again),
        TEST(document_failure_keeps_what_is_served),
        TEST(document_given_as_text_waits_too),
        TEST(vectors_live_as_long_as_a_chunk_has_their_text),
        TEST(index_changes_name_commits_and_deletions),
        TEST(chunk_outside_the_scope_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
