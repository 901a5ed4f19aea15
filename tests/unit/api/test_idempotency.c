/* A POST that is sent again with its Idempotency-Key is carried out once and answered as before. */
#include "unit/api/api_fixture.h"

#include "api/call.h"
#include "base/clock.h"
#include "store/store_internal.h"

static struct person admin, ann, bob;
static char conv[64];

static int begin(void **state) {
    (void)state;
    fx_start(NULL);
    admin = make_admin();
    ann = make_user("ann");
    bob = make_user("bob");
    make_conversation(&ann, conv);
    return 0;
}

static struct reply post(const struct person *p, const char *path, const char *key,
                         const char *accept, const char *body) {
    char headers[600];
    snprintf(headers, sizeof headers,
             "%sContent-Type: application/json\r\nIdempotency-Key: %s\r\nAccept: %s\r\n", p->who,
             key, accept);
    return call_raw("POST", path, headers, body, strlen(body));
}

static struct reply post_as_nobody(const char *path, const char *key, const char *body) {
    const struct person nobody = {.who = ""};
    return post(&nobody, path, key, "*/*", body);
}

static size_t listed(const struct person *p, const char *path) {
    struct reply r = call("GET", path, p->who, NULL);
    expect(r, 200);
    size_t n = yyjson_arr_size(json_get(r.root, "data"));
    reply_free(&r);
    return n;
}

static void idempotency_conversationIsMadeOnce(void **state) {
    (void)state;
    char id[64];
    size_t before = listed(&ann, "/api/v1/conversations");
    for (int i = 0; i < 3; i++) {
        struct reply r = post(&ann, "/api/v1/conversations", "k1", "*/*", "{\"title\":\"One\"}");
        expect(r, 201);
        if (i == 0)
            snprintf(id, sizeof id, "%s", text_at(&r, "conversation_id"));
        assert_string_equal(text_at(&r, "conversation_id"), id);
        reply_free(&r);
    }
    assert_int_equal(listed(&ann, "/api/v1/conversations"), before + 1);
    struct reply r = post(&ann, "/api/v1/conversations", "k1", "*/*", "{\"title\":\"Two\"}");
    expect_error(r, 409, "conflict", "Idempotency-Key");
    r = post(&bob, "/api/v1/conversations", "k1", "*/*", "{\"title\":\"Two\"}"); /* his own key */
    expect(r, 201);
    assert_string_not_equal(text_at(&r, "conversation_id"), id);
    reply_free(&r);
    r = post(&ann, "/api/v1/conversations", "a b", "*/*", "{}");
    expect_error(r, 400, "invalid_value", "Idempotency-Key");
}

static void idempotency_failureIsNotKept(void **state) {
    (void)state;
    const char *bad = "{\"assistant_role_id\":\"01890a5d-ac96-774b-bcce-b302099a8057\"}";
    for (int i = 0; i < 2; i++) {
        struct reply r = post(&ann, "/api/v1/conversations", "k2", "*/*", bad);
        expect(r, 400);
        reply_free(&r);
    }
    struct reply r = post(&ann, "/api/v1/conversations", "k2", "*/*", "{}");
    expect(r, 201);
    reply_free(&r);
}

static void idempotency_turnIsBegunOnceAndToldAgain(void **state) {
    (void)state;
    char path[160], id[64];
    snprintf(path, sizeof path, "/api/v1/conversations/%s/messages", conv);
    struct reply r = post(&ann, path, "k3", "application/json", "{\"content\":\"hi\"}");
    expect(r, 201);
    snprintf(id, sizeof id, "%s", json_get_str(json_get(r.root, "message"), "message_id").p);
    reply_free(&r);
    r = post(&ann, path, "k3", "application/json", "{\"content\":\"hi\"}");
    expect(r, 201);
    assert_memory_equal(json_get_str(json_get(r.root, "message"), "message_id").p, id, 36);
    assert_string_equal(json_get_str(json_get(r.root, "message"), "content").p, "Hello there");
    assert_string_equal(json_get_str(json_get(r.root, "user_message"), "content").p, "hi");
    reply_free(&r);
    r = post(&ann, path, "k3", "text/event-stream", "{\"content\":\"hi\"}");
    expect(r, 200);
    assert_memory_equal(r.body, "id: 1\nevent: created\n", 21);
    assert_non_null(strstr(r.body, id));
    assert_non_null(strstr(r.body, "event: done\n"));
    assert_null(strstr(strstr(r.body, "created") + 1, "event: created\n"));
    reply_free(&r);
    assert_int_equal(listed(&ann, path), 2);
}

static void idempotency_secretIsNotKept(void **state) {
    (void)state;
    struct reply r = post(&ann, "/api/v1/keys", "k4", "*/*", "{\"name\":\"laptop\"}");
    expect(r, 201);
    reply_free(&r);
    r = post(&ann, "/api/v1/keys", "k4", "*/*", "{\"name\":\"laptop\"}");
    expect_error(r, 409, "conflict", "Idempotency-Key");
    assert_int_equal(listed(&ann, "/api/v1/keys"), 1);
}

static void idempotency_queryBelongsToTheRequest(void **state) {
    (void)state;
    const char *one = "/api/v1/documents?source_name=one.txt";
    const char *two = "/api/v1/documents?source_name=two.txt";
    struct reply r = post(&ann, one, "k5", "*/*", "text");
    expect(r, 201);
    reply_free(&r);
    r = post(&ann, one, "k5", "*/*", "text");
    expect(r, 201);
    reply_free(&r);
    r = post(&ann, two, "k5", "*/*", "text");
    expect_error(r, 409, "conflict", "Idempotency-Key");
    assert_int_equal(listed(&ann, "/api/v1/documents"), 1);
}

/* A body that is hashed by the job: its end counts, too. */
static void idempotency_largeFileIsKnownToItsEnd(void **state) {
    (void)state;
    const char *path = "/api/v1/documents?source_name=large.txt";
    static char text[300001];
    memset(text, 'a', sizeof text - 1);
    for (int i = 0; i < 2; i++) {
        struct reply r = post(&bob, path, "k6", "*/*", text);
        expect(r, 201);
        reply_free(&r);
    }
    text[sizeof text - 2] = 'b';
    struct reply r = post(&bob, path, "k6", "*/*", text);
    expect_error(r, 409, "conflict", "Idempotency-Key");
    assert_int_equal(listed(&bob, "/api/v1/documents"), 1);
}

static void idempotency_signUpSentAgainIsSignedIn(void **state) {
    (void)state;
    char id[64], cookie[512];
    const char *body = "{\"username\":\"eve\",\"email\":\"eve@x\",\"password\":\"" PASSWORD "\"}";
    for (int i = 0; i < 2; i++) {
        struct reply r = post_as_nobody("/api/v1/users", "k7", body);
        expect(r, 201);
        if (i == 0)
            snprintf(id, sizeof id, "%s", text_at(&r, "user_id"));
        assert_string_equal(text_at(&r, "user_id"), id);
        assert_non_null(header_of(&r, "Set-Cookie", cookie));
        reply_free(&r);
    }
    struct reply r = post_as_nobody("/api/v1/users", "another", body);
    expect_error(r, 409, "conflict", "username");
    r = post_as_nobody("/api/v1/users", "k7",
                       "{\"username\":\"eve\",\"email\":\"eve@x\",\"password\":\"a guess of it\"}");
    expect_error(r, 409, "conflict", "(none)");
    char path[128];
    snprintf(path, sizeof path, "/api/v1/users/%s", id);
    r = call("PATCH", path, admin.who, "{\"password\":\"quite another\"}");
    expect(r, 200);
    reply_free(&r);
    r = post_as_nobody("/api/v1/users", "k7", body); /* its password is an old one */
    expect_error(r, 409, "conflict", "(none)");
}

static bool is_signed_in(const char *cookie) {
    char who[600];
    snprintf(who, sizeof who, "Cookie: %.*s\r\n", (int)strcspn(cookie, ";"), cookie);
    struct reply r = call("GET", "/api/v1/users/me", who, NULL);
    bool in = r.status == 200;
    reply_free(&r);
    return in;
}

static void sign_in_by(const char *key, const char *body, char cookie[512]) {
    struct reply r = post_as_nobody("/api/v1/sessions", key, body);
    expect(r, 201);
    assert_non_null(header_of(&r, "Set-Cookie", cookie));
    reply_free(&r);
}

static enum err count_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct query q;
    int64_t *n = arg;
    (void)ei;
    query_begin(&q, tx,
                "SELECT count(*), (SELECT count(*) FROM idempotency WHERE user_id = s.user_id AND"
                " status = 0 AND request_hash NOT LIKE 'sign-in %') FROM sessions s"
                " JOIN users u USING (user_id) WHERE u.username = 'bob'");
    if (query_next(&q)) {
        n[0] = query_int(&q, 0);
        n[1] = query_int(&q, 1);
    }
    return query_end(&q);
}

static int64_t sessions_of_bob(int64_t *ret_hashes) {
    int64_t n[2] = {-1, -1};
    assert_int_equal(store_read_wait(fx.store, count_fn, n, NULL), ERR_OK);
    *ret_hashes = n[1];
    return n[0];
}

static void idempotency_signInSentAgainIsOneSession(void **state) {
    (void)state;
    const char *body = "{\"username\":\"bob\",\"password\":\"" PASSWORD "\"}";
    char cookie[4][512];
    int64_t hashes, before = sessions_of_bob(&hashes);
    sign_in_by("k20", body, cookie[0]);
    sign_in_by("k20", body, cookie[1]);
    sign_in_by("k21", body, cookie[2]);
    sign_in_by("k20", "{\"username\":\"BOB\",\"password\":\"" PASSWORD "\"}", cookie[3]);
    assert_string_equal(cookie[0], cookie[1]);
    assert_string_equal(cookie[0], cookie[3]);
    assert_string_not_equal(cookie[0], cookie[2]); /* another key, another session */
    assert_true(is_signed_in(cookie[0]) && is_signed_in(cookie[2]));
    assert_int_equal(sessions_of_bob(&hashes), before + 2);
    assert_int_equal(hashes, 0); /* nothing that a password could be tried against */
    struct reply r = post_as_nobody("/api/v1/sessions", "k20",
                                    "{\"username\":\"bob\",\"password\":\"a guess\"}");
    expect_error(r, 401, "unauthorized", "(none)");
    assert_true(is_signed_in(cookie[0]));
}

static void sign_out(const char *cookie) {
    char who[600];
    snprintf(who, sizeof who, "Cookie: %.*s\r\n", (int)strcspn(cookie, ";"), cookie);
    struct reply r = call("DELETE", "/api/v1/sessions/current", who, NULL);
    assert_int_equal(r.status / 100, 2);
    reply_free(&r);
}

/* Its secret is out, and must not open anything again; a later twin has the new one. */
static void idempotency_signInSentAgainAfterSigningOutIsAnotherSession(void **state) {
    (void)state;
    const char *body = "{\"username\":\"bob\",\"password\":\"" PASSWORD "\"}";
    char cookie[3][512];
    int64_t hashes, before = sessions_of_bob(&hashes);
    sign_in_by("k22", body, cookie[0]);
    sign_out(cookie[0]);
    sign_in_by("k22", body, cookie[1]);
    assert_string_not_equal(cookie[0], cookie[1]);
    assert_false(is_signed_in(cookie[0]));
    assert_true(is_signed_in(cookie[1]));
    sign_in_by("k22", body, cookie[2]);
    assert_string_equal(cookie[1], cookie[2]);
    assert_int_equal(sessions_of_bob(&hashes), before + 1);
}

static enum err a_day_passes_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    bool more;
    (void)arg;
    (void)ei;
    return idempotency_purge(tx, clock_wall_ms() + 1, &more);
}

static void a_day_passes(void) {
    assert_int_equal(store_write_wait(fx.store, a_day_passes_fn, NULL, NULL), ERR_OK);
}

/* A session outlives the note of its key. */
static void idempotency_signInDaysAfter_isAnotherSession(void **state) {
    (void)state;
    const char *body = "{\"username\":\"bob\",\"password\":\"" PASSWORD "\"}";
    char cookie[4][512];
    int64_t hashes, before = sessions_of_bob(&hashes);
    for (int i = 0; i < 3; i++) {
        sign_in_by("k23", body, cookie[i]);
        a_day_passes();
    }
    assert_string_not_equal(cookie[0], cookie[1]);
    assert_true(is_signed_in(cookie[0]) && is_signed_in(cookie[1]) && is_signed_in(cookie[2]));
    assert_int_equal(sessions_of_bob(&hashes), before + 3);
    for (int i = 0; i < 3; i++)
        sign_out(cookie[i]);
    sign_in_by("k23", body, cookie[3]);
    for (int i = 0; i < 3; i++)
        assert_false(is_signed_in(cookie[i])); /* what was signed out stays so */
    assert_true(is_signed_in(cookie[3]));
}

static void idempotency_signInWithAnotherRequestsKey_conflict(void **state) {
    (void)state;
    const char *body = "{\"username\":\"bob\",\"password\":\"" PASSWORD "\"}";
    char cookie[512];
    size_t before = listed(&bob, "/api/v1/conversations");
    struct reply r = post(&bob, "/api/v1/conversations", "k24", "*/*", "{}");
    expect(r, 201);
    reply_free(&r);
    r = post_as_nobody("/api/v1/sessions", "k24", body);
    expect_error(r, 409, "conflict", "Idempotency-Key");
    r = post(&bob, "/api/v1/conversations", "k24", "*/*", "{}"); /* its note is there still */
    expect(r, 201);
    reply_free(&r);
    assert_int_equal(listed(&bob, "/api/v1/conversations"), before + 1);
    sign_in_by("k25", body, cookie);
    r = post(&bob, "/api/v1/conversations", "k25", "*/*", "{}");
    expect_error(r, 409, "conflict", "Idempotency-Key");
}

static void idempotency_accountMadeByAnAdministratorIsMadeOnce(void **state) {
    (void)state;
    const char *body = "{\"username\":\"dan\",\"email\":\"dan@x\",\"password\":\"" PASSWORD "\"}";
    char cookie[512];
    for (int i = 0; i < 2; i++) {
        struct reply r = post(&admin, "/api/v1/users", "k8", "*/*", body);
        expect(r, 201);
        assert_null(header_of(&r, "Set-Cookie", cookie));
        reply_free(&r);
    }
    struct reply r =
        post(&admin, "/api/v1/users", "k8", "*/*",
             "{\"username\":\"dan\",\"email\":\"dan@x\",\"password\":\"quite another one\"}");
    expect_error(r, 409, "conflict", "(none)");
    r = call("POST", "/api/v1/sessions", NULL,
             "{\"username\":\"dan\",\"password\":\"" PASSWORD "\"}");
    expect(r, 201);
    char path[128];
    snprintf(path, sizeof path, "/api/v1/users/%s", text_at(&r, "user_id"));
    reply_free(&r);
    r = call("DELETE", path, admin.who, NULL);
    expect(r, 204);
    reply_free(&r);
    r = post(&admin, "/api/v1/users", "k8", "*/*", body); /* answered as then */
    expect(r, 201);
    reply_free(&r);
    r = call("GET", path, admin.who, NULL);
    expect_error(r, 404, "not_found", "(none)");
}

static void idempotency_setUpSentAgainIsSignedIn(void **state) {
    (void)state;
    char body[512], cookie[512];
    snprintf(
        body, sizeof body,
        "{\"token\":\"%s\",\"username\":\"first\",\"email\":\"first@x\",\"password\":\"" PASSWORD
        "\"}",
        fx.setup_token);
    for (int i = 0; i < 2; i++) {
        struct reply r = post_as_nobody("/api/v1/setup", "k9", body);
        expect(r, 201);
        assert_string_equal(text_at(&r, "username"), "first");
        assert_non_null(header_of(&r, "Set-Cookie", cookie));
        reply_free(&r);
    }
    struct reply r = post_as_nobody("/api/v1/setup", "another", body);
    expect_error(r, 409, "conflict", "(none)");
}

/* At once (too long), and after the turn has begun (no such model). */
static void idempotency_refusedResponseLeavesNothing(void **state) {
    (void)state;
    static char large[200001], body[sizeof large + 100];
    size_t before = listed(&ann, "/api/v1/conversations");
    memset(large, 'a', sizeof large - 1);
    snprintf(body, sizeof body, "{\"model\":\"general-assistant\",\"input\":\"%s\"}", large);
    struct reply r = post(&ann, "/v1/responses", "k10", "*/*", body);
    expect_error(r, 413, "too_large", "input");
    r = call("POST", "/api/v1/roles", admin.who,
             "{\"name\":\"Lost\",\"system_prompt\":\"x\",\"model\":\"no-such\"}");
    expect(r, 201);
    reply_free(&r);
    for (int i = 0; i < 2; i++) {
        r = post(&ann, "/v1/responses", "k10", "*/*", "{\"model\":\"lost\",\"input\":\"hi\"}");
        expect_error(r, 404, "model_not_found", "model");
    }
    assert_int_equal(listed(&ann, "/api/v1/conversations"), before);
}

static enum err forget_turn_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    const struct uuid *user_id = arg;
    char hex[SHA256_HEX_LEN + 1];
    (void)ei;
    sha256_hex(STR("k11"), hex);
    return idempotency_drop(tx, user_id, str_from(hex));
}

/* As after a death between the conversation and the turn: only the former is there. */
static void idempotency_responseGoesOnWithWhatWasBegun(void **state) {
    (void)state;
    const char *body = "{\"model\":\"general-assistant\",\"input\":["
                       "{\"role\":\"user\",\"content\":\"earlier\"},"
                       "{\"role\":\"assistant\",\"content\":\"said\"},"
                       "{\"role\":\"user\",\"content\":\"now\"}]}";
    size_t before = listed(&ann, "/api/v1/conversations");
    struct uuid user_id;
    assert_true(uuid_parse(str_from(ann.id), &user_id));
    for (int i = 0; i < 2; i++) {
        struct reply r = post(&ann, "/v1/responses", "k11", "*/*", body);
        expect(r, 200);
        reply_free(&r);
        assert_int_equal(store_write_wait(fx.store, forget_turn_fn, &user_id, NULL), ERR_OK);
    }
    assert_int_equal(listed(&ann, "/api/v1/conversations"), before + 1);
}

/* A row of ann's, of a request with this hash. */
static enum err put_row_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct idempotency *i = arg;
    (void)ei;
    return uuid_parse(str_from(ann.id), &i->user_id) ? idempotency_put(tx, i) : ERR_INVALID;
}

static void put_row(const char *key, const char *request, int status, const char *reply) {
    static char key_hex[SHA256_HEX_LEN + 1], hex[SHA256_HEX_LEN + 1];
    struct idempotency i = {.created_at = clock_wall_ms(), .status = status};
    sha256_hex(str_from(key), key_hex);
    sha256_hex(str_from(request), hex);
    i.key_hash = str_from(key_hex);
    i.request_hash = str_from(hex);
    i.reply = str_from(reply);
    assert_int_equal(store_write_wait(fx.store, put_row_fn, &i, NULL), ERR_OK);
}

/* Its row names the request without the key. */
static void idempotency_keyOfAnOlderVersion_isKnown(void **state) {
    (void)state;
    put_row("k12", "/api/v1/conversations\n{}", 201, "{\"conversation_id\":\"the old one\"}");
    struct reply r = post(&ann, "/api/v1/conversations", "k12", "*/*", "{}");
    expect(r, 201);
    assert_string_equal(json_get_str(r.root, "conversation_id").p, "the old one");
    reply_free(&r);
    r = post(&ann, "/api/v1/conversations", "k12", "*/*", "{\"title\":\"x\"}");
    expect_error(r, 409, "conflict", "Idempotency-Key");
}

/* What one with the same key has begun, and may be about to use. */
static void idempotency_refusedResponseLeavesWhatItsTwinBegan(void **state) {
    (void)state;
    static char large[200001], body[sizeof large + 100], all[sizeof body + 100];
    char hex[SHA256_HEX_LEN + 1], begun[SHA256_HEX_LEN + 8], reply[80];
    struct reply r = post(&ann, "/api/v1/conversations", "k13-c", "*/*", "{}");
    expect(r, 201);
    snprintf(reply, sizeof reply, "%s ", json_get_str(r.root, "conversation_id").p);
    reply_free(&r);
    memset(large, 'a', sizeof large - 1);
    snprintf(body, sizeof body, "{\"model\":\"general-assistant\",\"input\":\"%s\"}", large);
    snprintf(all, sizeof all, "k13\n/v1/responses\n%s", body);
    sha256_hex(STR("k13"), hex);
    snprintf(begun, sizeof begun, "begun %s", hex);
    put_row(begun, all, 202, reply);
    size_t before = listed(&ann, "/api/v1/conversations");
    r = post(&ann, "/v1/responses", "k13", "*/*", body);
    expect_error(r, 413, "too_large", "input");
    assert_int_equal(listed(&ann, "/api/v1/conversations"), before);
}

struct look_again {
    struct call *c;
    bool first, second;
    int status; /* after the first */
};

/* What a WRITE_AGAIN meets when its group begins anew: the row that another one of the group had
 * made is not there any more. */
static enum err look_again_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct look_again *l = arg;
    const struct idempotency row = {.user_id = l->c->user.user_id,
                                    .key_hash = l->c->key_hash,
                                    .request_hash = l->c->request_hash,
                                    .created_at = 1,
                                    .status = 202,
                                    .reply = STR("{}")};
    enum err e = idempotency_put(tx, &row);
    if (!e)
        e = idempotency_look(l->c, tx, &l->first, ei);
    l->status = l->c->status;
    if (!e)
        e = idempotency_drop(tx, &row.user_id, row.key_hash);
    return e ? e : idempotency_look(l->c, tx, &l->second, ei);
}

static void idempotency_lookedForTwice_forgetsWhatWasUndone(void **state) {
    (void)state;
    const struct route route = {.status = 201};
    struct call c = {.route = &route,
                     .status = 201,
                     .arena = arena_new(1 << 16),
                     .user.user_id = uuid_new(),
                     .key_hash = STR("k"),
                     .request_hash = STR("r")};
    struct look_again l = {.c = &c};
    buf_init(&c.out, 1024);
    assert_int_equal(store_write_wait(fx.store, look_again_fn, &l, NULL), ERR_OK);
    assert_true(l.first);
    assert_int_equal(l.status, 202);
    assert_false(l.second);
    assert_false(c.replayed);
    assert_int_equal(c.status, 201);
    buf_deinit(&c.out);
    arena_free(c.arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idempotency_conversationIsMadeOnce),
        cmocka_unit_test(idempotency_failureIsNotKept),
        cmocka_unit_test(idempotency_turnIsBegunOnceAndToldAgain),
        cmocka_unit_test(idempotency_secretIsNotKept),
        cmocka_unit_test(idempotency_lookedForTwice_forgetsWhatWasUndone),
        cmocka_unit_test(idempotency_queryBelongsToTheRequest),
        cmocka_unit_test(idempotency_largeFileIsKnownToItsEnd),
        cmocka_unit_test(idempotency_signUpSentAgainIsSignedIn),
        cmocka_unit_test(idempotency_signInSentAgainIsOneSession),
        cmocka_unit_test(idempotency_signInSentAgainAfterSigningOutIsAnotherSession),
        cmocka_unit_test(idempotency_signInDaysAfter_isAnotherSession),
        cmocka_unit_test(idempotency_signInWithAnotherRequestsKey_conflict),
        cmocka_unit_test(idempotency_accountMadeByAnAdministratorIsMadeOnce),
        cmocka_unit_test(idempotency_refusedResponseLeavesNothing),
        cmocka_unit_test(idempotency_responseGoesOnWithWhatWasBegun),
        cmocka_unit_test(idempotency_keyOfAnOlderVersion_isKnown),
        cmocka_unit_test(idempotency_refusedResponseLeavesWhatItsTwinBegan),
    };
    const struct CMUnitTest first[] = {
        cmocka_unit_test(idempotency_setUpSentAgainIsSignedIn),
    };
    return cmocka_run_group_tests(first, fx_setup, fx_teardown) +
           cmocka_run_group_tests(tests, begin, fx_teardown);
}
