#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/crypto.h"
#include "safety/guard.h"

static int scored;
static float score_of_all;

static void score(const void *ctx, const struct safety_text *t, float ret[SAFETY_CATEGORIES]) {
    (void)ctx, (void)t;
    scored++;
    ret[SAFETY_ILLICIT] = score_of_all;
}

static const struct safety_scorer scorer = {
    .name = "counting", .embedding_dims = 2, .embedding_model = "none", .score = score};
static const char policy[] =
    "{\"categories\":{\"illicit\":{\"block\":0.8}},\"pii\":{\"email\":\"redact\"},"
    "\"uncertain\":{\"from\":0.4,\"to\":0.7}}";

static struct safety *g;

static int start(void **state) {
    struct errinfo ei = {0};
    (void)state;
    scored = 0;
    score_of_all = 0.1f;
    assert_int_equal(crypto_init(), ERR_OK);
    assert_int_equal(
        safety_new(&(struct safety_options){.policy = str_from(policy), .scorer = &scorer}, &g,
                   &ei),
        ERR_OK);
    return 0;
}

static int stop(void **state) {
    (void)state;
    safety_free(g);
    return 0;
}

/* Judges; whether the classifier was asked. */
static bool asks(struct safety_request r, struct safety_verdict *v) {
    int before = scored;
    assert_int_equal(safety_judge(g, &r, v), ERR_OK);
    return scored > before;
}

static struct safety_request request(const char *text) {
    return (struct safety_request){
        .text = str_from(text), .context = STR(""), .role = STR(""), .canary = STR("")};
}

static void text_that_was_found_clean_is_known_again(void **state) {
    (void)state;
    struct safety_verdict first, again;
    score_of_all = 0.5f;
    assert_true(asks(request("Be helpful."), &first));
    score_of_all = 0.9f;
    assert_false(asks(request("Be helpful."), &again));
    assert_int_equal(again.action, SAFETY_ALLOW);
    assert_int_equal(again.n, 0);
    assert_true(again.uncertain && first.uncertain && !again.degraded);
    assert_memory_equal(again.scores, first.scores, sizeof first.scores);
    assert_int_equal(again.policy_version, first.policy_version);
}

static void what_differs_in_anything_is_judged(void **state) {
    (void)state;
    struct safety_verdict v;
    struct safety_request base = request("Be helpful."), r;
    float embedding[2] = {0};
    assert_true(asks(base, &v));
    r = request("Be helpful!");
    assert_true(asks(r, &v));
    r = base, r.direction = SAFETY_OUTPUT;
    assert_true(asks(r, &v));
    r = base, r.context = STR("Be");
    assert_true(asks(r, &v));
    r = request(" helpful."), r.context = STR("Be"); /* the same bytes, parted elsewhere */
    assert_true(asks(r, &v));
    r = base, r.role = STR("chef");
    assert_true(asks(r, &v));
    r = base, r.canary = STR("ref-1"), r.direction = SAFETY_OUTPUT;
    assert_true(asks(r, &v));
    r = base, r.embedding = embedding;
    assert_true(asks(r, &v));
    assert_true(asks(r, &v)); /* and is not kept */
    assert_false(asks(base, &v));
}

static void text_with_a_finding_is_judged_each_time(void **state) {
    (void)state;
    struct safety_verdict v;
    score_of_all = 0.9f;
    for (int i = 0; i < 2; i++) {
        assert_true(asks(request("Do harm."), &v));
        assert_int_equal(v.action, SAFETY_BLOCK);
    }
    score_of_all = 0;
    for (int i = 0; i < 2; i++) {
        assert_true(asks(request("Write to ada@example.org."), &v));
        assert_int_equal(v.action, SAFETY_REDACT);
        assert_int_equal(v.n, 1);
    }
}

static void another_policy_judges_anew(void **state) {
    (void)state;
    struct safety_verdict v;
    struct policy *p;
    struct errinfo ei;
    score_of_all = 0.5f;
    assert_true(asks(request("Be helpful."), &v));
    assert_int_equal(v.action, SAFETY_ALLOW);
    assert_int_equal(
        policy_parse(STR("{\"categories\":{\"illicit\":{\"block\":0.3}}}"), 2, &p, &ei), ERR_OK);
    safety_set_policy(g, p);
    assert_true(asks(request("Be helpful."), &v));
    assert_int_equal(v.action, SAFETY_BLOCK);
}

static void long_text_and_many_texts_are_judged(void **state) {
    (void)state;
    static char text[5000];
    struct safety_verdict v;
    memset(text, 'a', sizeof text - 1);
    for (int i = 0; i < 2; i++)
        assert_true(asks(request(text), &v));
    for (int i = 0; i < 3000; i++) { /* more than there are places */
        snprintf(text, sizeof text, "Number %d.", i);
        assert_true(asks(request(text), &v));
        assert_false(asks(request(text), &v));
    }
}

#define WITH_GUARD(t) cmocka_unit_test_setup_teardown(t, start, stop)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_GUARD(text_that_was_found_clean_is_known_again),
        WITH_GUARD(what_differs_in_anything_is_judged),
        WITH_GUARD(text_with_a_finding_is_judged_each_time),
        WITH_GUARD(another_policy_judges_anew),
        WITH_GUARD(long_text_and_many_texts_are_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
