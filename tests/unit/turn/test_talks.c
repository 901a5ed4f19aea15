/* Conversations that are kept: the same as the store would say, for as long as it would. */
#include <signal.h>

#include "unit/turn/guard_fixture.h"

#include "base/metrics.h"
#include "store/safety.h"
#include "store/store_internal.h"
#include "turn/talks.h"

static int64_t remembered(void) {
    return metric_get(M_TURNS_REMEMBERED);
}

/* A turn that goes no further than its load. */
static struct turn *loading(struct bench *b, const struct uuid *conversation) {
    struct turn *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->t = b->turns;
    t->in = bench_input(b, "next");
    t->in.conversation_id = *conversation;
    t->in.preferences = STR("");
    t->arena = arena_new(8 << 20);
    return t;
}

static void loaded_free(struct turn *t) {
    talk_free(t->talk);
    arena_free(t->arena);
    free(t);
}

static void same_str(struct str a, struct str b) {
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.p ? a.p : "", b.p ? b.p : "", a.n);
}

static void same_message(const struct message *a, const struct message *b) {
    assert_string_equal(a->message_id.s, b->message_id.s);
    assert_string_equal(a->conversation_id.s, b->conversation_id.s);
    assert_string_equal(a->parent_id.s, b->parent_id.s);
    assert_string_equal(a->role_id.s, b->role_id.s);
    assert_int_equal(a->sender, b->sender);
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->timestamp, b->timestamp);
    assert_int_equal(a->response_latency_ms, b->response_latency_ms);
    assert_int_equal(a->ttft_ms, b->ttft_ms);
    assert_int_equal(a->role_version, b->role_version);
    assert_int_equal(a->prompt_tokens, b->prompt_tokens);
    assert_int_equal(a->completion_tokens, b->completion_tokens);
    same_str(a->content, b->content);
    same_str(a->retrieved_docs, b->retrieved_docs);
    same_str(a->model, b->model);
    same_str(a->finish_reason, b->finish_reason);
    same_str(a->error, b->error);
    same_str(a->support, b->support);
    same_str(a->safety, b->safety);
    same_str(a->attachments, b->attachments);
}

static void same_load(const struct turn *a, const struct turn *b) {
    const struct conversation *c = &a->conversation, *d = &b->conversation;
    assert_string_equal(c->conversation_id.s, d->conversation_id.s);
    assert_string_equal(c->user_id.s, d->user_id.s);
    assert_string_equal(c->assistant_role_id.s, d->assistant_role_id.s);
    assert_string_equal(c->current_message_id.s, d->current_message_id.s);
    assert_string_equal(c->summary_until.s, d->summary_until.s);
    assert_int_equal(c->created_at, d->created_at);
    assert_int_equal(c->last_updated_at, d->last_updated_at);
    assert_int_equal(c->status, d->status);
    assert_int_equal(c->title_is_users, d->title_is_users);
    same_str(c->title, d->title);
    same_str(c->summary, d->summary);
    assert_string_equal(a->role.role_id.s, b->role.role_id.s);
    assert_int_equal(a->role.version, b->role.version);
    assert_int_equal(a->role.max_tokens, b->role.max_tokens);
    assert_true(a->role.temperature == b->role.temperature && a->role.top_p == b->role.top_p);
    assert_int_equal(a->role.updated_at, b->role.updated_at);
    assert_int_equal(a->role.retired_at, b->role.retired_at);
    same_str(a->role.name, b->role.name);
    same_str(a->role.system_prompt, b->role.system_prompt);
    same_str(a->role.model, b->role.model);
    same_str(a->role.stop, b->role.stop);
    assert_int_equal(a->scope.n, b->scope.n);
    assert_memory_equal(a->scope.collections, b->scope.collections,
                        a->scope.n * sizeof *a->scope.collections);
    assert_int_equal(a->documents.n, b->documents.n);
    assert_int_equal(a->n_loaded, b->n_loaded);
    for (size_t i = 0; i < a->n_loaded; i++)
        same_message(&a->loaded[i], &b->loaded[i]);
    assert_int_equal(a->n_branch, b->n_branch);
    for (size_t i = 0; i < a->n_branch; i++)
        same_message(&a->branch[i], &b->branch[i]);
}

static void talk_is_what_the_store_says(void **state) {
    (void)state;
    struct bench b;
    struct seen s[3];
    struct errinfo ei;
    int64_t before = remembered();
    bench_init(&b, 4096, NULL);
    bench_say(&b, "My name is Ada.", &s[0]);
    bench_say(&b, "I like marmots.", &s[1]);
    bench_say(&b, "What is my name?", &s[2]);
    assert_int_equal(remembered() - before, 2);
    assert_non_null(strstr(b.mock.asked[2], "My name is Ada."));
    assert_non_null(strstr(b.mock.asked[2], "I like marmots."));

    struct turn *kept = loading(&b, &b.conversation), *read = loading(&b, &b.conversation);
    assert_true(talks_take(kept));
    assert_int_equal(store_read_wait(b.store, turn_load_fn, read, &ei), ERR_OK);
    assert_int_equal(kept->n_branch, 6);
    same_load(kept, read);
    assert_false(talks_take(read)); /* it is taken */
    loaded_free(kept);
    loaded_free(read);
    for (int i = 0; i < 3; i++)
        seen_deinit(&s[i]);
    bench_deinit(&b);
}

/* One whole turn with a parent of its own. */
static void say_behind(struct bench *b, const struct uuid *parent, const char *text,
                       struct seen *s) {
    struct turn_input in = bench_input(b, text);
    in.parent_kind = parent ? PARENT_GIVEN : PARENT_ROOT;
    if (parent)
        in.parent_id = *parent;
    bench_start(b, &in, s);
    pump_until(b->loop, &s->over);
    assert_false(s->failed);
}

static void talk_is_gone_on_with_behind_its_last_message_only(void **state) {
    (void)state;
    struct bench b;
    struct seen s[5];
    struct errinfo ei;
    bench_init(&b, 4096, NULL);
    int64_t before = remembered();
    say_behind(&b, NULL, "one", &s[0]);
    say_behind(&b, &s[0].message_id, "two", &s[1]); /* kept */
    assert_int_equal(remembered() - before, 1);
    say_behind(&b, &s[0].message_id, "two, edited", &s[2]); /* beside it */
    assert_int_equal(remembered() - before, 1);
    assert_null(strstr(b.mock.asked[2], "\"two\""));
    say_behind(&b, &s[2].message_id, "three", &s[3]); /* of the edited branch, which was kept */
    assert_int_equal(remembered() - before, 2);
    assert_non_null(strstr(b.mock.asked[3], "two, edited"));

    struct turn *kept = loading(&b, &b.conversation), *read = loading(&b, &b.conversation);
    kept->in.parent_kind = read->in.parent_kind = PARENT_GIVEN;
    kept->in.parent_id = s[1].message_id; /* the other branch's */
    assert_false(talks_take(kept));
    kept->in.parent_id = read->in.parent_id = s[3].message_id;
    assert_true(talks_take(kept)); /* which took nothing away */
    assert_int_equal(store_read_wait(b.store, turn_load_fn, read, &ei), ERR_OK);
    same_load(kept, read);
    loaded_free(kept);
    loaded_free(read);
    say_behind(&b, NULL, "one, edited", &s[4]);
    assert_null(strstr(b.mock.asked[4], "three"));
    for (int i = 0; i < 5; i++)
        seen_deinit(&s[i]);
    bench_deinit(&b);
}

/* Who asked with it looked before the first had stored it, and comes when that is over. */
static void talk_does_not_carry_out_a_key_twice(void **state) {
    (void)state;
    struct bench b;
    struct seen s[5];
    bench_init(&b, 4096, NULL);
    bench_say(&b, "one", &s[0]);
    int64_t before = remembered();
    for (int i = 1; i < 4; i++) {
        struct turn_input in = bench_input(&b, "two");
        in.key_hash = STR("key");
        in.request_hash = STR("request");
        bench_start(&b, &in, &s[i]);
        if (i != 1) /* the second beside the first, the third behind both */
            for (int k = 1; k <= i; k++)
                if (!s[k].over)
                    pump_until(b.loop, &s[k].over);
    }
    assert_int_equal(s[1].failed + s[2].failed, 1);
    assert_true(s[3].failed);
    for (int i = 1; i < 4; i++)
        if (s[i].failed) {
            assert_int_equal(s[i].ei.code, ERR_UNAVAILABLE);
            assert_int_equal(s[i].ei.retry_after_ms, 1000);
        }
    assert_true(remembered() - before >= 1);
    assert_int_equal(bench_stored(&b, NULL).n, 4);
    bench_say(&b, "three", &s[4]);
    assert_int_equal(bench_stored(&b, NULL).n, 6);
    for (int i = 0; i < 5; i++)
        seen_deinit(&s[i]);
    bench_deinit(&b);
}

static void talk_takes_a_key_behind_another_turn(void **state) {
    (void)state;
    struct bench b;
    struct seen s[3];
    bench_init(&b, 4096, NULL);
    int64_t before = remembered();
    for (int i = 0; i < 3; i++) {
        struct turn_input in = bench_input(&b, "more");
        char key[2] = {(char)('a' + i), 0};
        in.key_hash = in.request_hash = str_from(key);
        bench_start(&b, &in, &s[i]);
        pump_until(b.loop, &s[i].over);
        assert_false(s[i].failed);
    }
    assert_int_equal(remembered() - before, 2);
    struct turn_input again = bench_input(&b, "more"); /* alone, on what is kept */
    again.key_hash = again.request_hash = STR("c");
    seen_deinit(&s[0]);
    bench_start(&b, &again, &s[0]);
    pump_until(b.loop, &s[0].over);
    assert_int_equal(remembered() - before, 3);
    assert_true(s[0].failed);
    assert_int_equal(s[0].ei.code, ERR_UNAVAILABLE);
    assert_int_equal(bench_stored(&b, NULL).n, 6);
    for (int i = 0; i < 3; i++)
        seen_deinit(&s[i]);
    bench_deinit(&b);
}

/* ---- what changes meanwhile ---- */

static enum err other_prompt(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct bench *b = arg;
    struct role r;
    enum err e = role_get(tx, &b->role, b->arena, &r);
    r.system_prompt = STR("You are brief.");
    return e ? e : role_update(tx, &r, NULL, ei);
}

static enum err other_title(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)ei;
    return conversation_set_auto_title(tx, &((struct bench *)arg)->conversation, STR("Named"));
}

static enum err no_conversation(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct bench *b = arg;
    (void)ei;
    return conversation_delete(tx, &b->user, &b->conversation);
}

static void change(struct bench *b, store_fn fn, bool elsewhere) {
    struct errinfo ei;
    struct store *s = b->store;
    struct store_options o = {.path = b->db, .busy_timeout_ms = 2000};
    if (elsewhere) /* as another process does */
        assert_int_equal(store_open(&o, &s, &ei), ERR_OK);
    assert_int_equal(store_write_wait(s, fn, b, &ei), ERR_OK);
    if (elsewhere)
        store_close(s);
}

static void talk_is_read_anew_when_something_of_it_changed(void **state) {
    (void)state;
    for (int elsewhere = 0; elsewhere < 2; elsewhere++) {
        struct bench b;
        struct seen s[4];
        bench_init(&b, 4096, NULL);
        bench_say(&b, "one", &s[0]);
        int64_t before = remembered();
        change(&b, other_prompt, elsewhere);
        bench_say(&b, "two", &s[1]);
        assert_non_null(strstr(b.mock.asked[1], "You are brief."));
        change(&b, other_title, elsewhere);
        bench_say(&b, "three", &s[2]);
        assert_int_equal(remembered() - before, 0);
        assert_stored_text(bench_stored(&b, NULL).c.title, "Named");
        change(&b, no_conversation, elsewhere);
        bench_say(&b, "four", &s[3]);
        assert_true(s[3].failed);
        assert_int_equal(s[3].ei.code, ERR_NOT_FOUND);
        for (int i = 0; i < 4; i++)
            seen_deinit(&s[i]);
        bench_deinit(&b);
    }
}

static void talk_is_nobody_elses(void **state) {
    (void)state;
    struct bench b;
    struct seen s, other;
    bench_init(&b, 4096, NULL);
    bench_say(&b, "one", &s);
    struct turn_input in = bench_input(&b, "What was said?");
    in.user_id = b.other;
    bench_start(&b, &in, &other);
    pump_until(b.loop, &other.over);
    assert_true(other.failed);
    assert_int_equal(other.ei.code, ERR_NOT_FOUND);
    assert_int_equal(b.mock.n_asked, 1);
    seen_deinit(&s);
    seen_deinit(&other);
    bench_deinit(&b);
}

static void talk_follows_other_branches(void **state) {
    (void)state;
    struct bench b;
    struct seen first, again, third;
    bench_init(&b, 4096, NULL);
    bench_say(&b, "one", &first);
    struct turn_input in = bench_input(&b, "one, edited");
    in.parent_kind = PARENT_ROOT;
    bench_start(&b, &in, &again);
    pump_until(b.loop, &again.over);
    bench_say(&b, "three", &third);
    assert_null(strstr(b.mock.asked[2], "\"one\""));
    assert_non_null(strstr(b.mock.asked[2], "one, edited"));
    seen_deinit(&first);
    seen_deinit(&again);
    seen_deinit(&third);
    bench_deinit(&b);
}

/* ---- the guard ---- */

struct held {
    struct uuid user;
    int64_t until;
};

static enum err hold_user(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct held *h = arg;
    (void)ei;
    return safety_user_hold(tx, &h->user, h->until, true);
}

static void talk_of_who_was_suspended_is_not_gone_on_with(void **state) {
    (void)state;
    struct guarded g;
    struct seen s[3];
    struct errinfo ei;
    guarded_init(&g, &(struct guarded_options){.early = true});
    g.b.mock.hold_embeds = false;
    int64_t before = remembered();
    for (int i = 0; i < 3; i++) {
        struct turn_input in = bench_input(&g.b, "What is a marmot?");
        in.preferences = STR("{}");
        struct held h = {g.b.user, INT64_MAX / 2};
        if (i == 2)
            assert_int_equal(store_write_wait(g.b.store, hold_user, &h, &ei), ERR_OK);
        bench_start(&g.b, &in, &s[i]);
        pump_until(g.b.loop, &s[i].over);
        assert_int_equal(s[i].failed, i == 2);
    }
    assert_int_equal(remembered() - before, 1);
    assert_int_equal(s[2].ei.code, ERR_FORBIDDEN);
    for (int i = 0; i < 3; i++)
        seen_deinit(&s[i]);
    guarded_deinit(&g);
}

/* What the turn changes for itself is not kept: what it redacted stands in the store as it was. */
static void talk_keeps_nothing_that_was_redacted_or_refused(void **state) {
    (void)state;
    struct guarded g;
    static const char *const texts[] = {"Write to ada@example.org, please.", HARM, "Good day."};
    struct seen s[3];
    guarded_init(&g, &(struct guarded_options){.early = true});
    g.b.mock.hold_embeds = false;
    int64_t before = remembered();
    for (int i = 0; i < 3; i++) {
        struct turn_input in = bench_input(&g.b, texts[i]);
        in.preferences = STR("{}");
        bench_start(&g.b, &in, &s[i]);
        pump_until(g.b.loop, &s[i].over);
    }
    assert_int_equal(remembered() - before, 0);
    for (int i = 0; i < 3; i++)
        seen_deinit(&s[i]);
    guarded_deinit(&g);
}

/* ---- what the marks rest on ---- */

struct reads {
    char tables[32][40];
    size_t n;
};

static int note_read(void *arg, int action, const char *table, const char *column,
                     const char *database, const char *trigger) {
    struct reads *r = arg;
    (void)column, (void)database, (void)trigger;
    if (action != SQLITE_READ || !table)
        return SQLITE_OK;
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->tables[i], table) == 0)
            return SQLITE_OK;
    assert_true(r->n < 32);
    snprintf(r->tables[r->n++], sizeof r->tables[0], "%s", table);
    return SQLITE_OK;
}

static bool makes_marks_fall(const char *table) {
    static const int ways[] = {SQLITE_INSERT, SQLITE_UPDATE, SQLITE_DELETE};
    for (size_t i = 0; i < 3; i++) {
        struct conn c = {.preparing = true};
        assert_int_equal(marks_authorize(&c, ways[i], table, NULL, "main", NULL), SQLITE_OK);
        if (!c.writes)
            return false;
    }
    return true;
}

/* A new read of a turn's load belongs into tables[] of store/marks.c, or, where it is none of what
 * is kept, here. */
static void what_a_load_reads_makes_marks_fall(void **state) {
    (void)state;
    static const char *const not_kept[] = {
        "idempotency", /* its row is written before all else by who comes second (talks.h) */
    };
    struct guarded g;
    struct seen s;
    struct reads r = {.n = 0};
    struct errinfo ei;
    struct conn *c = NULL;
    guarded_init(&g, &(struct guarded_options){.early = true});
    g.b.mock.hold_embeds = false;
    bench_say(&g.b, "one", &s);
    assert_int_equal(conn_open(g.b.db, CONN_READ, 2000, &c, &ei), ERR_OK);
    assert_int_equal(sqlite3_set_authorizer(c->db, note_read, &r), SQLITE_OK);
    static char there; /* load asks only whether there are documents */
    g.b.turns->o.retrieval = (struct retrieval *)(void *)&there;
    for (int given = 0; given < 2; given++) {
        struct turn *t = loading(&g.b, &g.b.conversation);
        struct store_tx tx = {.conn = c};
        t->in.key_hash = STR("key");
        t->in.parent_kind = given ? PARENT_GIVEN : PARENT_CURRENT;
        t->in.parent_id = s.message_id;
        assert_int_equal(turn_load_fn(&tx, t, &ei), ERR_OK);
        loaded_free(t);
    }
    g.b.turns->o.retrieval = NULL;
    conn_close(c);
    assert_true(r.n > sizeof not_kept / sizeof *not_kept);
    for (size_t i = 0; i < r.n; i++) {
        bool known = makes_marks_fall(r.tables[i]);
        for (size_t k = 0; k < sizeof not_kept / sizeof *not_kept; k++)
            known = known || strcmp(r.tables[i], not_kept[k]) == 0;
        if (!known)
            fail_msg("a turn's load reads %s, and no mark falls with it", r.tables[i]);
    }
    seen_deinit(&s);
    guarded_deinit(&g);
}

/* ---- bounds ---- */

static void put(struct bench *b, const struct uuid *conversation, size_t bytes) {
    struct turn *t = loading(b, conversation);
    char *text = calloc(1, bytes + 1);
    memset(text, 'x', bytes);
    (void)talks_take(t);
    t->conversation.conversation_id = *conversation;
    t->conversation.user_id = b->user;
    t->question = (struct message){.message_id = uuid_new(), .content = STR("why")};
    t->answer = (struct message){.message_id = uuid_new(), .content = {text, bytes}};
    talks_put(t);
    loaded_free(t);
    free(text);
}

static bool take(struct bench *b, const struct uuid *conversation) {
    struct turn *t = loading(b, conversation);
    bool taken = talks_take(t);
    loaded_free(t);
    return taken;
}

static void talk_has_the_documents_of_its_role_and_owner(void **state) {
    (void)state;
    struct bench b;
    struct uuid talk = uuid_new(), bound[2] = {uuid_new(), uuid_new()};
    bench_init(&b, 4096, NULL);
    for (int i = 0; i < 3; i++) { /* of those that were kept another one is made */
        struct turn *t = loading(&b, &talk);
        assert_int_equal(talks_take(t), i > 0);
        if (i == 0) {
            t->conversation.conversation_id = talk;
            t->conversation.user_id = b.user;
            t->documents = (struct role_retrieval){true, true, bound, 2};
            t->scope.collections[0] = bound[1];
            t->scope.n = 1;
            t->wait_until_ms = 7;
        }
        assert_true(t->documents.enabled && t->documents.grounded_only);
        assert_int_equal(t->documents.n, 2);
        assert_memory_equal(t->documents.collections, bound, sizeof bound);
        assert_int_equal(t->scope.n, 1);
        assert_memory_equal(t->scope.collections, &bound[1], sizeof bound[1]);
        assert_int_equal(t->wait_until_ms, 7);
        t->question = (struct message){.message_id = uuid_new(), .content = STR("why")};
        t->answer = (struct message){.message_id = uuid_new(), .content = STR("so")};
        talks_put(t);
        loaded_free(t);
    }
    bench_deinit(&b);
}

/* Of three questions each, as long as people's are. */
static void talks_of_ten_thousand_users_are_kept(void **state) {
    (void)state;
    struct bench b;
    enum { N = 10000 };
    static struct uuid ids[N];
    int there = 0;
    bench_init(&b, 4096, NULL);
    for (int i = 0; i < N; i++) {
        ids[i] = uuid_new();
        for (int k = 0; k < 3; k++)
            put(&b, &ids[i], 700);
    }
    for (int i = 0; i < N; i++)
        there += take(&b, &ids[i]);
    assert_int_equal(there, N);
    bench_deinit(&b);
}

static void talks_are_bounded(void **state) {
    (void)state;
    struct bench b;
    enum { N = 1000 }; /* of 60 KiB */
    static struct uuid ids[N];
    bench_init(&b, 4096, NULL);
    for (int i = 0; i < N; i++) {
        ids[i] = uuid_new();
        put(&b, &ids[i], 60 << 10);
    }
    int there = 0;
    for (int i = 0; i < N; i++)
        there += take(&b, &ids[i]);
    assert_true(there > 0 && (size_t)there * (60 << 10) <= TALKS_BYTES);
    put(&b, &ids[0], TALK_BYTES); /* too much for one */
    assert_false(take(&b, &ids[0]));
    put(&b, &ids[0], 10);
    put(&b, &ids[0], 10);
    put(&b, &ids[1], 10);
    assert_true(take(&b, &ids[0])); /* which is there once */
    assert_false(take(&b, &ids[0]));
    talks_sweep(b.turns->talks, clock_mono_ns() + 1);
    assert_false(take(&b, &ids[1]));
    bench_deinit(&b);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(talk_is_what_the_store_says),
        cmocka_unit_test(talk_is_gone_on_with_behind_its_last_message_only),
        cmocka_unit_test(talk_does_not_carry_out_a_key_twice),
        cmocka_unit_test(talk_takes_a_key_behind_another_turn),
        cmocka_unit_test(talk_is_read_anew_when_something_of_it_changed),
        cmocka_unit_test(talk_is_nobody_elses),
        cmocka_unit_test(talk_follows_other_branches),
        cmocka_unit_test(talk_of_who_was_suspended_is_not_gone_on_with),
        cmocka_unit_test(talk_keeps_nothing_that_was_redacted_or_refused),
        cmocka_unit_test(what_a_load_reads_makes_marks_fall),
        cmocka_unit_test(talk_has_the_documents_of_its_role_and_owner),
        cmocka_unit_test(talks_of_ten_thousand_users_are_kept),
        cmocka_unit_test(talks_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
