/* One request after the other to the compatible API under a guard whose policy forbids a made-up
 * phrase: "paint … zebra purple". In answers, "the walrus knows" too, and less badly; in passages,
 * "sing to the tomato". */
#pragma once

#include "unit/api/api_fixture.h"

#include "store/safety.h"

static struct safety *safety;
static const struct safety_scorer *guard_scorer; /* NULL: none */
static struct person asker;

static void guarded_start(const char *pii) {
    struct errinfo ei;
    char policy[2000];
    snprintf(policy, sizeof policy,
             "{\"categories\":{\"illicit\":{\"block\":0.9},\"hate\":{\"block\":0.5},"
             "\"prompt_injection\":{\"warn\":0.5}},"
             "\"refusals\":{\"default\":\"No.\"},\"pii\":{%s},\"restore\":true,\"rules\":["
             "{\"id\":\"zebra\",\"category\":\"illicit\",\"score\":1,"
             "\"match\":[\"paint * zebra purple\"]},"
             "{\"id\":\"walrus\",\"category\":\"hate\",\"score\":0.6,\"on\":[\"output\"],"
             "\"match\":[\"the walrus knows\"]},"
             "{\"id\":\"tomato\",\"category\":\"prompt_injection\",\"score\":1,"
             "\"on\":[\"passage\"],\"match\":[\"sing to the tomato\"]}]}",
             pii);
    struct safety_options o = {.policy = str_from(policy), .scorer = guard_scorer};
    assert_int_equal(crypto_init(), ERR_OK);
    if (safety_new(&o, &safety, &ei))
        fail_msg("%s", ei.message);
    fx_start(&(struct fx_options){.safety = safety});
    asker = make_admin();
}

static void guarded_stop(void) {
    fx_stop();
    safety_free(safety);
}

static struct reply post_chat(const char *body) {
    fx.script.last_chat[0] = 0;
    return call("POST", "/v1/chat/completions", asker.who, body);
}

static enum err nothing_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)tx, (void)arg, (void)ei;
    return ERR_OK;
}

static enum err count_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)ei;
    return case_count(tx, CASE_OPEN, arg);
}

static int64_t cases(void) {
    int64_t n = 0;
    struct errinfo ei;
    assert_int_equal(store_write_wait(fx.store, nothing_fn, NULL, &ei), ERR_OK);
    assert_int_equal(store_read_wait(fx.store, count_fn, &n, &ei), ERR_OK);
    return n;
}
