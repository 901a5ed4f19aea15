/* Conversations that are kept: the same as the store would say, for as long as it would. */
#include <signal.h>

#include "unit/turn/guard_fixture.h"

#include "base/metrics.h"
#include "store/safety.h"
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
    same_str(a->role.description, b->role.description);
    same_str(a->role.system_prompt, b->role.system_prompt);
    same_str(a->role.model, b->role.model);
    same_str(a->role.stop, b->role.stop);
    same_str(a->role.starter_questions, b->role.starter_questions);
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

static void talks_are_bounded(void **state) {
    (void)state;
    struct bench b;
    enum { N = 400 }; /* of 60 KiB */
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
        cmocka_unit_test(talk_is_read_anew_when_something_of_it_changed),
        cmocka_unit_test(talk_is_nobody_elses),
        cmocka_unit_test(talk_follows_other_branches),
        cmocka_unit_test(talk_of_who_was_suspended_is_not_gone_on_with),
        cmocka_unit_test(talk_keeps_nothing_that_was_redacted_or_refused),
        cmocka_unit_test(talks_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
