/* Asking a guard model on an upstream about a text that the guard is uncertain about: one way for
 * all paths (questions of turns, requests and whole answers of the compatible API). It has
 * guard_timeout_ms; what does not answer in time, or not in its format, leaves the text to the
 * stated fallback: let through, or blocked as the category that was suspected. What it said of a
 * text is known again for a while, as clients of the compatible API send their chat with each
 * request. All on the loop that asks; nothing is logged of a text. */
#pragma once

#include "turn/turn.h"

struct guard_ask;
struct guard_known;

struct guard_ask_request {           /* all but verdict borrowed for the call only */
    struct policy *policy;           /* a reference is taken */
    struct str role;                 /* its slug; "" = the base policy */
    enum safety_direction direction; /* of what is uncertain: INPUT the text, OUTPUT the answer */
    struct str text, answer;  /* as for guard_question_make(); what a policy redacts is not in it */
    bool part;                /* of one of them it is the beginning only */
    int64_t until_ns;         /* clock_mono_ns(); 0 = guard_timeout_ms from now */
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
 * direction and v are read. Any thread. */
void turns_guard_fall_back(const struct turns *t, const struct guard_ask_request *r);
void guard_ask_stop(struct guard_ask *a); /* done is not called; NULL is fine */
