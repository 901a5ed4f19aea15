/* How much a prompt may hold: by what the server tells and has to do, else by how it answered. */
#include "unit/upstream/mock_upstream.h"

#include "base/clock.h"
#include "upstream/upstream_internal.h"

#define TELLS                                                                                      \
    "{\"data\":[{\"id\":\"mock-chat\",\"parley\":{\"kind\":\"chat\",\"context_window\":4096,"      \
    "\"prefill_per_second\":1000}}]}"
#define TELLS_NOTHING "{\"data\":[{\"id\":\"mock-chat\"}]}"

struct one {
    char folder[64];
    struct loop *loop;
    struct mock mock;
    struct upstream *u;
    struct upstream_client *c;
    bool over, spoke;
    uint64_t plan; /* that the next chat is of */
};

static void on_token(void *ctx, struct str text) {
    struct one *o = ctx;
    (void)text;
    o->spoke = true;
    loop_stop(o->loop);
}

static void on_done(void *ctx, const struct chat_result *r) {
    struct one *o = ctx;
    assert_int_equal(r->err, ERR_OK);
    o->over = true;
    loop_stop(o->loop);
}

static void told(void *ctx, enum err e, const struct errinfo *ei) {
    struct one *o = ctx;
    (void)ei;
    assert_int_equal(e, ERR_OK);
    o->over = true;
    loop_stop(o->loop);
}

static void on_asked(struct mock *m) {
    loop_stop(m->loop);
}

static void one_open(struct one *o, const char *models) {
    struct errinfo ei;
    memset(o, 0, sizeof *o);
    snprintf(o->folder, sizeof o->folder, "/tmp/parley-test-XXXXXX");
    assert_non_null(mkdtemp(o->folder));
    assert_int_equal(net_init(&ei), ERR_OK);
    assert_int_equal(loop_new(&o->loop, &ei), ERR_OK);
    o->mock =
        (struct mock){.loop = o->loop, .reply = "one two", .models = models, .on_asked = on_asked};
    snprintf(o->mock.path, sizeof o->mock.path, "%s/s", o->folder);
    snprintf(o->mock.address, sizeof o->mock.address, "unix:%s", o->mock.path);
    mock_up(&o->mock);
    const struct upstream_server server = {
        .name = "mock", .base_url = "http://mock/v1", .unix_socket = o->mock.path};
    const struct upstream_options options = {.servers = &server, .n_servers = 1};
    assert_int_equal(upstream_new(&options, &o->u, &ei), ERR_OK);
    assert_int_equal(upstream_client_new(o->u, o->loop, &o->c, &ei), ERR_OK);
    assert_int_equal(upstream_refresh(o->c, told, o), ERR_OK);
    pump_until(o->loop, &o->over);
    o->over = false;
    clock_test_set(clock_mono_ns(),
                   clock_wall_ms()); /* what is early or over does not hang on the machine */
}

static void one_close(struct one *o) {
    clock_test_end();
    upstream_client_free(o->c);
    upstream_free(o->u);
    mock_deinit(&o->mock);
    loop_free(o->loop);
    rmdir(o->folder);
}

static struct upstream_call *ask(struct one *o, struct str content, bool background) {
    static const struct chat_callbacks callbacks = {.on_token = on_token, .on_done = on_done};
    struct chat_message m = {CHAT_USER, content};
    struct chat_request r = {.messages = &m,
                             .n_messages = 1,
                             .temperature = -1,
                             .top_p = -1,
                             .background = background,
                             .plan = o->plan};
    o->plan = 0;
    struct upstream_call *call;
    struct errinfo ei;
    int before = o->mock.n_asked;
    assert_int_equal(upstream_chat(o->c, &r, &callbacks, o, &call, &ei), ERR_OK);
    while (o->mock.n_asked == before)
        loop_run(o->loop);
    return call;
}

static int reads(struct one *o) {
    return upstream_reads(o->u, STR_NULL, 0);
}

/* 101 tokens, about. */
static struct str some_text(void) {
    static char text[200];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 2 ? ' ' : 'a';
    return (struct str){text, sizeof text};
}

static void reading_goes_on_after_what_others_asked_before(void **state) {
    (void)state;
    struct one o;
    one_open(&o, TELLS);
    assert_int_equal(reads(&o), 650);
    o.mock.mode = MOCK_SILENT;
    struct upstream_call *first = ask(&o, some_text(), false);
    assert_int_equal(reads(&o), (650 - 101) / 2);
    reading_begin(first, 101); /* sent again: it is one chat all the same */
    assert_int_equal(reads(&o), (650 - 101) / 2);
    struct upstream_call *second = ask(&o, some_text(), false);
    assert_int_equal(reads(&o), (650 - 202) / 2);
    struct upstream_call *title = ask(&o, some_text(), true); /* it stands back */
    assert_int_equal(reads(&o), (650 - 202) / 2);
    struct upstream_call *more[16];
    for (int i = 0; i < 16; i++)
        more[i] = ask(&o, some_text(), false);
    assert_int_equal(reads(&o), UPSTREAM_READS_MIN);
    for (int i = 0; i < 16; i++)
        upstream_cancel(more[i]);
    upstream_cancel(first);
    upstream_cancel(second);
    upstream_cancel(title);
    assert_int_equal(reads(&o), 650 / 2); /* they will be back */
    o.u->servers[0].crowd_ns -= 31000000000;
    assert_int_equal(reads(&o), 650);
    first = ask(&o, some_text(), false); /* alone: it does not bring the others back */
    upstream_cancel(first);
    assert_int_equal(reads(&o), 650);
    one_close(&o);
}

/* Each has a part of what is left, so all together are read in the time that one alone would have:
 * equal shares of the whole would add up to twice as much. */
static void all_that_come_at_once_are_read_in_time(void **state) {
    (void)state;
    struct one o;
    one_open(&o, TELLS);
    int together = 0;
    for (int i = 0, own; i < 4; i++, together += own) {
        own = reads(&o);
        own = i == 0 ? own / 2 : own; /* few passages were found */
        assert_true(upstream_plan_chat(o.u, own) > 0);
    }
    assert_in_range(together, 500, 650);
    one_close(&o);
}

static void reading_goes_on_after_those_who_search_still(void **state) {
    (void)state;
    struct one o;
    one_open(&o, TELLS);
    o.mock.mode = MOCK_SILENT;
    uint64_t large = upstream_plan_chat(o.u, 300), small = upstream_plan_chat(o.u, 100);
    assert_true(upstream_needs_cores(o.u));
    assert_int_equal(reads(&o), (650 - 400) / 2);
    o.plan = small; /* the one that came later is the first to begin */
    struct upstream_call *first = ask(&o, some_text(), false);
    assert_int_equal(reads(&o), (650 - 401) / 2);
    upstream_cancel(ask(&o, some_text(), false)); /* one that was not planned */
    assert_int_equal(reads(&o), (650 - 401) / 2);
    o.plan = small; /* it has begun already */
    upstream_cancel(ask(&o, some_text(), false));
    assert_int_equal(reads(&o), (650 - 401) / 2);
    o.plan = large;
    upstream_cancel(ask(&o, some_text(), false));
    assert_int_equal(reads(&o), (650 - 101) / 2);
    assert_true(upstream_plan_chat(o.u, 100) > small);
    assert_int_equal(reads(&o), (650 - 201) / 2);
    o.u->plans[0].ns -= 400000000; /* it never came */
    assert_int_equal(reads(&o), (650 - 101) / 2);
    assert_true(upstream_needs_cores(o.u));
    upstream_cancel(first);
    assert_false(upstream_needs_cores(o.u));
    one_close(&o);
}

/* His question was embedded late, beside what others have computed: his prompt is short, so that he
 * has his first word in time all the same. */
static void who_has_waited_reads_less(void **state) {
    (void)state;
    struct one o;
    one_open(&o, TELLS);
    assert_int_equal(upstream_reads(o.u, STR_NULL, 100), 650);
    assert_int_equal(upstream_reads(o.u, STR_NULL, 350), 400);
    assert_int_equal(upstream_reads(o.u, STR_NULL, 5000), UPSTREAM_READS_MIN);
    one_close(&o);
    one_open(&o, TELLS_NOTHING);
    assert_int_equal(upstream_reads(o.u, STR_NULL, 425), 200);
    one_close(&o);
}

static void forward_status(void *ctx, int status, struct str type, int64_t retry_after_ms) {
    (void)ctx, (void)status, (void)type, (void)retry_after_ms;
}

static bool forward_data(void *ctx, struct str bytes) {
    (void)ctx, (void)bytes;
    return true;
}

static void forward_done(void *ctx, enum err e, const struct errinfo *ei) {
    (void)ctx, (void)e, (void)ei;
}

static void forwarded_chat_counts_as_it_was_planned(void **state) {
    (void)state;
    static const struct forward_callbacks callbacks = {
        .on_status = forward_status, .on_data = forward_data, .on_done = forward_done};
    struct one o;
    struct upstream_call *call[2];
    struct errinfo ei;
    one_open(&o, TELLS);
    o.mock.mode = MOCK_SILENT;
    uint64_t plan = upstream_plan_chat(o.u, 300);
    assert_int_equal(upstream_forward(o.c, "/chat/completions", STR("{}"), plan, &callbacks, NULL,
                                      &call[0], &ei),
                     ERR_OK);
    assert_int_equal(reads(&o), (650 - 300) / 2);
    assert_int_equal(
        upstream_forward(o.c, "/chat/completions", STR("{}"), 0, &callbacks, NULL, &call[1], &ei),
        ERR_OK);
    assert_int_equal(reads(&o), (650 - 300 - 128) / 2);
    upstream_cancel(call[0]);
    upstream_cancel(call[1]);
    assert_int_equal(reads(&o), 650);
    one_close(&o);
}

static void reading_is_slower_beside_answers(void **state) {
    (void)state;
    struct one o;
    one_open(&o, TELLS);
    o.mock.mode = MOCK_HOLD;
    (void)ask(&o, some_text(), false);
    pump_until(o.loop, &o.spoke);
    assert_int_equal(reads(&o), 390 / 2);
    mock_release(&o.mock, "two");
    pump_until(o.loop, &o.over);
    assert_int_equal(reads(&o), 650);
    one_close(&o);
}

static void reading_of_others_follows_their_first_tokens(void **state) {
    (void)state;
    struct one o;
    char text[1800];
    one_open(&o, TELLS_NOTHING);
    assert_int_equal(reads(&o), 400);
    (void)ask(&o, STR("hi"), false); /* an early word to a short question says nothing */
    pump_until(o.loop, &o.over);
    assert_int_equal(reads(&o), 400);
    o.over = false;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 2 ? ' ' : 'a';
    (void)ask(&o, (struct str){text, sizeof text}, false);
    pump_until(o.loop, &o.over);
    assert_int_equal(reads(&o), 500);
    struct server *v = &o.u->servers[0];
    reading_learn(v, 500, 800); /* in time, not early */
    assert_int_equal(reads(&o), 500);
    reading_learn(v, 500, 1250);
    assert_int_equal(reads(&o), 400);
    reading_learn(v, 400, 60000);
    assert_int_equal(reads(&o), 200);
    for (int i = 0; i < 20; i++)
        reading_learn(v, 200, 60000);
    assert_int_equal(reads(&o), UPSTREAM_READS_MIN);
    for (int i = 0; i < 100; i++)
        reading_learn(v, 3000, 100);
    assert_int_equal(reads(&o), 2000);
    one_close(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_goes_on_after_what_others_asked_before),
        cmocka_unit_test(all_that_come_at_once_are_read_in_time),
        cmocka_unit_test(reading_goes_on_after_those_who_search_still),
        cmocka_unit_test(who_has_waited_reads_less),
        cmocka_unit_test(forwarded_chat_counts_as_it_was_planned),
        cmocka_unit_test(reading_is_slower_beside_answers),
        cmocka_unit_test(reading_of_others_follows_their_first_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
