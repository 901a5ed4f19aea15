/* Guard models on an upstream: how each family is asked, and what its answer means. Pure functions;
 * who sends the request is turn/guard_ask.c.
 *
 *   llama-guard       the talk before it and the message, or a question and its answer, as a
 *                     conversation of which the last message is judged; answers "safe", or "unsafe"
 *                     and categories S1 … S14 (MLCommons hazards) on the next line
 *   shieldgemma       the four policies and the same in its prompt; answers Yes or No
 *   granite-guardian  the risk "harm" as system prompt, then the same; answers Yes or No
 *
 * The prompts of the last two have one question and one answer: what the person wrote before stands
 * in the question, above it; what was answered then is left out.
 *
 * Texts are quoted with the markers of chat templates, and the headings of ShieldGemma's prompt,
 * broken by a space: none ends its message or begins another. */
#pragma once

#include "base/buf.h"
#include "safety/safety.h"

enum guard_format { GUARD_LLAMA, GUARD_SHIELDGEMMA, GUARD_GRANITE };

#define GUARD_MODEL_YES 0.95f /* the score of an answer that says harmful */

#define GUARD_TEXT_MAX ((size_t)128 << 10) /* bytes of a text that are read */

/* What is read of the talk before it: the newest messages; of a longer one the end. */
#define GUARD_TALK_TURNS 8
#define GUARD_TALK_TURN  1024 /* bytes of one … */
#define GUARD_TALK_BYTES 4096 /* … and of all */

struct guard_turn {
    bool of_model;
    struct str text;
};

enum guard_role { GUARD_SYSTEM, GUARD_USER, GUARD_ASSISTANT };

/* The messages that the guard model gets. Initialised by guard_question_make(), also when it fails.
 * bytes: of each message its role and length, then its text; two questions with the same bytes are
 * the same. */
struct guard_question {
    struct buf bytes;
    struct {
        enum guard_role role;
        size_t at, n; /* in bytes */
    } m[GUARD_TALK_TURNS + 3];
    size_t n;
    size_t quoted; /* bytes in them that people and models wrote */
};
/* About what a person wrote, or (answer.n) about the answer that a model gave to it, after the talk
 * before it, oldest first. An answer whose question is not known is asked about as a text of its
 * own. */
enum err guard_question_make(enum guard_format f, const struct guard_turn *talk, size_t n_talk,
                             struct str text, struct str answer,
                             struct guard_question *q) ERR_CHECK;
struct str guard_question_text(const struct guard_question *q, size_t i);
void guard_question_deinit(struct guard_question *q);

/* False: the answer is none of this format: it does not begin with one of its words.
 * *ret_categories: a bit (1 << category) for each that it names; 0 = harmless. A harmful one that
 * names none, or none that is known, means the category that was uncertain: suspected. */
bool guard_answer_read(enum guard_format f, struct str answer, enum safety_category suspected,
                       unsigned *ret_categories);
