/* One request after the other to the compatible API under a guard whose policy forbids a made-up
 * phrase: "paint … zebra purple". In answers, "the walrus knows" too, and less badly; in passages,
 * "sing to the tomato". */
#pragma once

#include "unit/api/guard_cases.h"

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

static int guarded_teardown(void **state) {
    (void)state;
    guarded_stop();
    return 0;
}

static struct reply post_chat(const char *body) {
    fx.script.last_chat[0] = 0;
    return call("POST", "/v1/chat/completions", asker.who, body);
}
