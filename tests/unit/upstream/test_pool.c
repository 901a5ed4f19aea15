/* Several model servers: conversations stay, failures move on, slow ones are raced, keys rotate. */
#include "unit/upstream/mock_upstream.h"

#include "base/clock.h"
#include "upstream/upstream.h"

struct pool {
    char folder[64];
    struct loop *loop;
    struct mock mocks[2];
    struct upstream *u;
    struct upstream_client *c;
    struct arena *arena;
};

struct said {
    struct loop *loop;
    struct buf text;
    bool over;
    enum err err;
};

static void on_token(void *ctx, struct str text) {
    struct said *s = ctx;
    buf_adds(&s->text, text);
}

static void on_done(void *ctx, const struct chat_result *r) {
    struct said *s = ctx;
    s->err = r->err;
    s->over = true;
    loop_stop(s->loop);
}

static void told(void *ctx, enum err e, const struct errinfo *ei) {
    struct said *s = ctx;
    (void)ei;
    s->err = e;
    s->over = true;
    loop_stop(s->loop);
}

static void ask_models(struct pool *p) {
    struct said s = {.loop = p->loop};
    assert_int_equal(upstream_refresh(p->c, told, &s), ERR_OK);
    pump_until(p->loop, &s.over);
    assert_int_equal(s.err, ERR_OK);
}

static void pool_open(struct pool *p, int hedge_ms, const char *const *keys) {
    struct errinfo ei;
    memset(p, 0, sizeof *p);
    snprintf(p->folder, sizeof p->folder, "/tmp/parley-test-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    assert_int_equal(net_init(&ei), ERR_OK);
    assert_int_equal(loop_new(&p->loop, &ei), ERR_OK);
    p->arena = arena_new(1 << 20);
    static const char *const replies[] = {"from zero", "from one"};
    for (int i = 0; i < 2; i++) {
        struct mock *m = &p->mocks[i];
        char path[96];
        snprintf(path, sizeof path, "%s/%d.sock", p->folder, i);
        *m = (struct mock){.loop = p->loop, .reply = replies[i]};
        memcpy(m->path, path, sizeof path);
        snprintf(m->address, sizeof m->address, "unix:%s", path);
        mock_up(m);
    }
    const struct upstream_server servers[] = {
        {.name = "zero",
         .base_url = "http://zero/v1",
         .unix_socket = p->mocks[0].path,
         .api_keys = keys},
        {.name = "one", .base_url = "http://one/v1", .unix_socket = p->mocks[1].path},
    };
    struct upstream_options o = {.servers = servers, .n_servers = 2, .hedge_ms = hedge_ms};
    assert_int_equal(upstream_new(&o, &p->u, &ei), ERR_OK);
    assert_int_equal(upstream_client_new(p->u, p->loop, &p->c, &ei), ERR_OK);
    ask_models(p);
}

static void pool_close(struct pool *p) {
    upstream_client_free(p->c);
    upstream_free(p->u);
    mock_deinit(&p->mocks[0]);
    mock_deinit(&p->mocks[1]);
    loop_free(p->loop);
    arena_free(p->arena);
    rmdir(p->folder);
}

/* Asks and returns which server answered. */
static int say(struct pool *p, const char *conversation) {
    static const struct chat_callbacks callbacks = {.on_token = on_token, .on_done = on_done};
    struct chat_message m = {CHAT_USER, STR("hi")};
    struct chat_request r = {.messages = &m,
                             .n_messages = 1,
                             .temperature = -1,
                             .top_p = -1,
                             .conversation_key = str_from(conversation)};
    struct said s = {.loop = p->loop};
    struct upstream_call *call;
    struct errinfo ei;
    buf_init(&s.text, 1 << 20);
    assert_int_equal(upstream_chat(p->c, &r, &callbacks, &s, &call, &ei), ERR_OK);
    pump_until(p->loop, &s.over);
    assert_int_equal(s.err, ERR_OK);
    int which = str_eqz(buf_str(&s.text), "from zero") ? 0 : 1;
    assert_true(str_eqz(buf_str(&s.text), which ? "from one" : "from zero"));
    buf_deinit(&s.text);
    return which;
}

static struct upstream_server_state state_of(struct pool *p, int i) {
    struct upstream_server_state *list;
    size_t n;
    assert_int_equal(upstream_servers(p->u, p->arena, &list, &n), ERR_OK);
    assert_int_equal(n, 2);
    return list[i];
}

static void pool_conversations_stay_and_spread(void **state) {
    (void)state;
    struct pool p;
    int counts[2] = {0};
    pool_open(&p, 0, NULL);
    for (int i = 0; i < 20; i++) {
        char key[16];
        snprintf(key, sizeof key, "talk-%d", i);
        int which = say(&p, key);
        assert_int_equal(say(&p, key), which);
        counts[which]++;
    }
    assert_true(counts[0] > 2 && counts[1] > 2);
    assert_int_equal(state_of(&p, 0).in_flight, 0);
    assert_int_equal(state_of(&p, 1).in_flight, 0);
    pool_close(&p);
}

static void pool_away_server_is_passed_over_and_taken_back(void **state) {
    (void)state;
    struct pool p;
    pool_open(&p, 0, NULL);
    mock_down(&p.mocks[0]);
    clock_test_set(clock_mono_ns(), clock_wall_ms()); /* no pause is over */
    for (int i = 0; i < 12; i++) {
        char key[16];
        snprintf(key, sizeof key, "talk-%d", i);
        assert_int_equal(say(&p, key), 1);
    }
    assert_string_equal(state_of(&p, 0).breaker, "open");
    clock_test_end();
    assert_true(state_of(&p, 0).failed >= 3);
    assert_true(upstream_is_ready(p.u, NULL));
    mock_up(&p.mocks[0]);
    ask_models(&p); /* a health check closes it */
    assert_string_equal(state_of(&p, 0).breaker, "closed");
    bool back = false;
    for (int i = 0; i < 12; i++) {
        char key[16];
        snprintf(key, sizeof key, "talk-%d", i);
        back = say(&p, key) == 0 || back;
    }
    assert_true(back);
    pool_close(&p);
}

static void pool_failing_and_busy_servers_are_passed_over(void **state) {
    (void)state;
    static const int statuses[] = {500, 503, 429};
    for (int i = 0; i < 3; i++) {
        struct pool p;
        pool_open(&p, 0, NULL);
        p.mocks[0].mode = MOCK_STATUS;
        p.mocks[0].status = statuses[i];
        p.mocks[0].raw = "{\"error\":{\"message\":\"no\"}}";
        for (int k = 0; k < 6; k++) {
            char key[16];
            snprintf(key, sizeof key, "talk-%d", k);
            assert_int_equal(say(&p, key), 1);
        }
        pool_close(&p);
    }
}

static void pool_slow_server_is_raced(void **state) {
    (void)state;
    struct pool p;
    pool_open(&p, 20, NULL);
    p.mocks[0].mode = MOCK_SILENT;
    /* Until one is the silent server's; on a slow machine others race, too. */
    for (int k = 0; k < MOCK_ASKED_MAX / 2 && state_of(&p, 1).hedged == 0; k++) {
        char key[16];
        snprintf(key, sizeof key, "talk-%d", k);
        assert_int_equal(say(&p, key), 1);
    }
    assert_true(state_of(&p, 1).hedged > 0 && p.mocks[0].n_asked > 0);
    while (p.mocks[0].n_gone < p.mocks[0].n_asked) /* the slow one is hung up on */
        loop_run(p.loop);
    assert_int_equal(state_of(&p, 0).in_flight, 0);
    pool_close(&p);
}

static void only_the_second_key(struct mock *m) {
    m->mode = strcmp(m->key, "Bearer good") == 0 ? MOCK_REPLY : MOCK_STATUS;
    m->status = 401;
    m->raw = "{\"error\":{\"message\":\"who are you?\"}}";
}

static void pool_refused_key_is_rotated(void **state) {
    (void)state;
    static const char *const keys[] = {"bad", "good", NULL};
    struct pool p;
    struct errinfo ei;
    pool_open(&p, 0, keys);
    p.mocks[0].on_asked = only_the_second_key;
    struct upstream_server_change off = {.enabled = 0, .max_concurrent = -1};
    assert_int_equal(upstream_server_change(p.u, STR("one"), &off, &ei), ERR_OK);
    assert_int_equal(say(&p, "a"), 0);
    assert_int_equal(state_of(&p, 0).keys_rotated, 1);
    assert_int_equal(say(&p, "b"), 0);
    assert_int_equal(p.mocks[0].n_asked, 3);
    struct upstream_server_change key = {.enabled = -1, .max_concurrent = -1, .key = STR("good")};
    assert_int_equal(upstream_server_change(p.u, STR("zero"), &key, &ei), ERR_OK);
    assert_int_equal(state_of(&p, 0).keys, 1);
    assert_int_equal(say(&p, "c"), 0);
    assert_int_equal(p.mocks[0].n_asked, 4);
    assert_int_equal(upstream_server_change(p.u, STR("two"), &key, &ei), ERR_NOT_FOUND);
    pool_close(&p);
}

static void pool_change_stored_last_is_in_force_whichever_comes_last(void **state) {
    (void)state;
    struct pool p;
    struct errinfo ei;
    pool_open(&p, 0, NULL);
    struct upstream_server_change c = {
        .enabled = -1, .weight = 5, .max_concurrent = -1, .order = 2};
    assert_int_equal(upstream_server_change(p.u, STR("zero"), &c, &ei), ERR_OK);
    c.weight = 3;
    c.order = 1; /* stored before it, heard of after it */
    assert_int_equal(upstream_server_change(p.u, STR("zero"), &c, &ei), ERR_OK);
    assert_int_equal(state_of(&p, 0).weight, 5);
    c.order = 3;
    assert_int_equal(upstream_server_change(p.u, STR("zero"), &c, &ei), ERR_OK);
    assert_int_equal(state_of(&p, 0).weight, 3);
    assert_int_equal(upstream_server_check(p.u, STR("two"), &c, &ei), ERR_NOT_FOUND);
    c.key = STR("two\nlines");
    assert_int_equal(upstream_server_check(p.u, STR("zero"), &c, &ei), ERR_INVALID);
    pool_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_conversations_stay_and_spread),
        cmocka_unit_test(pool_away_server_is_passed_over_and_taken_back),
        cmocka_unit_test(pool_failing_and_busy_servers_are_passed_over),
        cmocka_unit_test(pool_slow_server_is_raced),
        cmocka_unit_test(pool_refused_key_is_rotated),
        cmocka_unit_test(pool_change_stored_last_is_in_force_whichever_comes_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
