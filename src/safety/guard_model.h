/* Guard models on an upstream: how each family is asked, and what its answer means. Pure functions;
 * who sends the request is turn/guard_ask.c.
 *
 *   llama-guard       the message, or a question and its answer, as the conversation; answers
 *                     "safe", or "unsafe" and categories S1 … S14 (MLCommons hazards) on the next
 *                     line
 *   shieldgemma       the four policies and the same in its prompt; answers Yes or No
 *   granite-guardian  the risk "harm" as system prompt, then the same; answers Yes or No */
#pragma once

#include "base/buf.h"
#include "safety/safety.h"

enum guard_format { GUARD_LLAMA, GUARD_SHIELDGEMMA, GUARD_GRANITE };

#define GUARD_MODEL_YES 0.95f /* the score of an answer that says harmful */

#define GUARD_TEXT_MAX ((size_t)128 << 10) /* bytes of a text that are read */

/* The messages that the guard model gets; an empty one is left out. Initialised by
 * guard_question_make(), also when it fails. */
struct guard_question {
    struct buf system, user, assistant;
};
/* About what a person wrote, or (answer.n) about the answer that a model gave to it. An answer
 * whose question is not known is asked about as a text of its own. */
enum err guard_question_make(enum guard_format f, struct str text, struct str answer,
                             struct guard_question *q) ERR_CHECK;
void guard_question_deinit(struct guard_question *q);

/* False: the answer is none of this format. *ret_harmful false: harmless. suspected: the category
 * that was uncertain, for formats that name none. */
bool guard_answer_read(enum guard_format f, struct str answer, enum safety_category suspected,
                       bool *ret_harmful, enum safety_category *ret_category);
