/* Blocked answers on the compatible API: whoever goes away, and whatever else is answered beside
 * them, their cases are written. */
#include "unit/api/api_fixture.h"

#include "api/openai.h"
#include "api/openai_guard.h"
#include "store/safety.h"

static const char policy_text[] =
    "{\"categories\":{\"illicit\":{\"block\":0.9}},\"refusals\":{\"default\":\"No.\"},"
    "\"rules\":[{\"id\":\"zebra\",\"category\":\"illicit\",\"score\":1,"
    "\"match\":[\"paint * zebra purple\"],\"on\":[\"output\"]}]}";

static struct safety *safety;

struct answer { /* one call, and what its client got */
    struct call *c;
    struct openai_state state;
    struct openai_guard guard;
    struct answer_guard *a;
    bool gone; /* the client */
    int sent, ends;
    const char *const *events;
    size_t n_events;
    struct uuid user;
    sem_t done;
};

static bool on_send(void *ctx, struct str json) {
    struct answer *t = ctx;
    (void)json;
    t->sent++;
    return !t->gone;
}

static void on_end(void *ctx) {
    ((struct answer *)ctx)->ends++;
}

static void on_fail(void *ctx, enum err e) {
    (void)ctx, (void)e;
    fail();
}

static const struct answer_guard_callbacks callbacks = {on_send, on_end, on_fail};

/* On the loop: the events pass, then the call goes at once. */
static void answer_now(void *arg) {
    struct answer *t = arg;
    struct arena *a = arena_new(1 << 20);
    t->c = arena_alloc(a, sizeof *t->c);
    *t->c = (struct call){.api = fx.api, .loop = fx.loop, .arena = a, .state = &t->state};
    t->c->user.user_id = t->user;
    t->state.guard = &t->guard;
    t->state.asked = STR("tiny");
    t->guard.policy = safety_get_policy(safety);
    t->guard.role = STR("");
    assert_int_equal(answer_guard_new(t->c, &callbacks, t, &t->a), ERR_OK);
    for (size_t i = 0; i < t->n_events && answer_guard_event(t->a, str_from(t->events[i])); i++)
        ;
    if (!t->gone)
        answer_guard_end(t->a);
    answer_guard_free(t->a);
    openai_cases_forget(&t->guard);
    policy_unref(t->guard.policy);
    arena_free(a);
    sem_post(&t->done);
}

static enum err count_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)ei;
    return case_count(tx, CASE_OPEN, arg);
}

static int64_t cases(void) {
    int64_t n = 0;
    struct errinfo ei;
    assert_int_equal(store_read_wait(fx.store, count_fn, &n, &ei), ERR_OK);
    return n;
}

#define CHUNK(index, text, finish)                                                                 \
    "{\"id\":\"c1\",\"created\":1,\"model\":\"tiny\",\"choices\":[{\"index\":" index               \
    ",\"delta\":{\"content\":\"" text "\"},\"finish_reason\":" finish "}]}"
#define HARM CHUNK("0", "You paint the zebra purple. ", "null")

static void answer(struct answer *t) {
    struct person p = make_admin();
    assert_true(uuid_parse(str_from(p.id), &t->user));
    sem_init(&t->done, 0, 0);
    assert_int_equal(loop_post(fx.loop, answer_now, t), ERR_OK);
    sem_wait(&t->done);
    for (int i = 0; i < 20000 && cases() == 0; i++)
        sched_yield();
    assert_int_equal(cases(), 1);
}

static void blockedAnswer_clientGoneThen_hasItsCase(void **state) {
    (void)state;
    static const char *const events[] = {HARM};
    struct answer t = {.events = events, .n_events = 1, .gone = true};
    answer(&t);
    assert_int_equal(t.sent, 1);
    assert_int_equal(t.ends, 0);
}

static void blockedChoice_besideOneThatEnds_hasItsCase(void **state) {
    (void)state;
    static const char *const events[] = {HARM, CHUNK("1", "A river rises. ", "null"),
                                         CHUNK("1", "It flows.", "\"stop\"")};
    struct answer t = {.events = events, .n_events = 3};
    answer(&t);
    assert_int_equal(t.ends, 1);
}

static int guarded_setup(void **state) {
    struct errinfo ei;
    struct safety_options o = {.policy = str_from(policy_text)};
    (void)state;
    assert_int_equal(crypto_init(), ERR_OK);
    assert_int_equal(safety_new(&o, &safety, &ei), ERR_OK);
    fx_start(&(struct fx_options){.safety = safety});
    return 0;
}

static int guarded_teardown(void **state) {
    (void)state;
    fx_stop();
    safety_free(safety);
    return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, guarded_setup, guarded_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(blockedAnswer_clientGoneThen_hasItsCase),
        T(blockedChoice_besideOneThatEnds_hasItsCase),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
