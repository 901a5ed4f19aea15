/* Asking a guard model on an upstream about a text that the guard is uncertain about: one way for
 * all paths (questions of turns, requests and whole answers of the compatible API). It reads the
 * talk before the text, too (guard_model.h), and has guard_timeout_ms. What is not answered goes by
 * the stated fallback: let through, or blocked as the category that was suspected. Then the verdict
 * says `degraded`, and why:
 *
 *   fallback:late        no answer in time            fallback:failed    its server failed, is dead
 *   fallback:unread      none of the format           fallback:part      harmless, but it read only
 *   fallback:over        too many are under way                          the beginning
 *   fallback:left_alone  it has not answered for a    fallback:not_sent  could not be sent
 *                        while (guard_gate.h)         fallback:stopped   the server stops
 *
 * What it said of a text after a talk is known again for a while, as clients of the compatible API
 * send their chat with each request. All on the loop that asks; nothing is logged of a text. */
#pragma once

#include "turn/turn.h"

struct guard_ask;
struct guard_known;

struct guard_ask_request {           /* all but verdict borrowed for the call only */
    struct policy *policy;           /* a reference is taken */
    struct str role;                 /* its slug; "" = the base policy */
    enum safety_direction direction; /* of what is uncertain: INPUT the text, OUTPUT the answer */
    const struct uuid *user;         /* who wrote it; NULL = nobody known */
    const struct guard_turn *talk;   /* n_talk messages before it, oldest first … */
    size_t n_talk;
    struct str text, answer; /* … and as for guard_question_make(); what a policy redacts is in none
                                of them */
    bool part;               /* of one of them it is the beginning only */
    int64_t until_ns;        /* clock_mono_ns(); 0 = guard_timeout_ms from now */
    struct safety_verdict *v; /* what comes of it is added; lives until done() or the end */
};

/* Whether a guard model is configured. Any thread. */
bool turns_have_guard_model(const struct turns *t);
/* clock_mono_ns() until which an answer is waited for that is asked for now. */
int64_t turns_guard_until(const struct turns *t);

/* True: done(ctx) is called once, later, on l; until then *ret may be given to guard_ask_stop().
 * False: r->v is what it is going to be (it was not uncertain, there is no guard model, what it
 * says is known, or it cannot be asked, and the fallback is in r->v). */
bool turns_guard_ask(struct turns *t, struct loop *l, const struct guard_ask_request *r,
                     loop_fn done, void *ctx, struct guard_ask **ret);
/* What is uncertain and will not be asked about goes by the fallback; of r the policy, role,
 * direction and v are read. why: as above. Any thread. */
void turns_guard_fall_back(const struct turns *t, const struct guard_ask_request *r,
                           const char *why);
void guard_ask_stop(struct guard_ask *a); /* done is not called; NULL is fine */
