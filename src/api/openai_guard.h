/* The guard on the compatible API: the request before it is forwarded, the answer before it reaches
 * the client. A refused request gets an ordinary answer whose finish_reason is "content_filter";
 * so does an answer that is cut off. Inside src/api only. */
#pragma once

#include "api/guard_vectors.h"
#include "safety/stream.h"
#include "turn/guard_ask.h"

/* The request, where the model may be asked before the last verdict (api_options.guard_early):
 *
 *   GUARD_FIRST ─→ judged without the embedding ─┬→ refused by a rule
 *                                                ├→ suspected by the classifier ─→ GUARD_WHOLE
 *                                                └→ GUARD_BESIDE: forwarded; nothing goes out yet
 *                                                      └→ the last verdict ─→ GUARD_SETTLED
 * GUARD_WHOLE waits for the embedding and judges once; so does every request elsewhere. */
enum openai_guard_state { GUARD_WHOLE, GUARD_FIRST, GUARD_BESIDE, GUARD_SETTLED };

/* A message of the request, or a choice of a whole answer, that the guard is uncertain about: a
 * guard model is asked. */
#define OPENAI_DOUBTS_MAX 8
struct openai_doubt {
    enum safety_direction direction;
    struct str text;  /* in the call's arena, like shown and turns */
    struct str shown; /* what the guard model reads: without what the policy redacts */
    const struct guard_turn *turns; /* the n_turns messages before it, as shown is */
    size_t n_turns;
    bool part;   /* text is only the beginning */
    bool newest; /* of the person's messages */
    size_t at;   /* number of the message, or of the choice */
    struct safety_verdict verdict;
    struct call *call;
    struct guard_ask *asking; /* NULL: not asked, or said */
};

struct openai_guard { /* of one call, in its arena; what it holds goes with the call */
    struct policy *policy;
    struct pii_vault *vault;
    struct str role; /* slug; "" = the client asked a model */
    struct safety_verdict verdict;
    enum safety_direction direction;
    struct str refusal, text; /* of what was blocked */
    char canary[SAFETY_CANARY_SIZE];
    const char *path;
    struct guard_vectors vectors; /* of the person's newest message, the request in its frame, and
                                     the last turns with it where they are suspicious */
    struct str talk;              /* these, as their embedding was asked for; .n = 0: not */
    struct str context; /* what talk has of before the newest message, where it is given */
    enum openai_guard_state state;
    bool vectors_there;
    struct str asked; /* the person's newest message; "" = there is none, or it is long */
    struct str shown; /* the same as the guard model reads it */
    const struct guard_turn *turns; /* the n_turns messages before it, as the guard model does */
    size_t n_turns;
    struct openai_doubt *doubts; /* OPENAI_DOUBTS_MAX; NULL = there is no guard model */
    size_t n_doubts;
    loop_fn cleared;           /* once what they are is known */
    loop_fn settled;           /* who waits for the last verdict; NULL = nobody */
    bool blocked;              /* a choice of a whole answer: verdict and text are of the worst */
    struct openai_case *cases; /* that are being written (openai_guard_case.c) */
    loop_fn then;              /* once they are; NULL = nobody waits */
    void *relay;               /* of then */
    enum err error;
};

/* Judges the request of c->state on the guard's pool, then forwards it to path or refuses it. */
void openai_guard_request(struct call *c, const char *path);
/* True: the last verdict is being made; then(c) runs when it is there. */
bool openai_guard_wait(struct call *c, loop_fn then);
/* Once it is: true when the request is refused after all; it is answered so, and the call ends. */
bool openai_guard_refuses(struct call *c);
/* The client is gone before anything was answered: ends the call, once a last verdict that is still
 * being made is there. What it refuses goes to review all the same. */
void openai_guard_leave(struct call *c);
/* Counts and logs a block. */
void openai_guard_note(const struct openai_guard *g, const struct safety_verdict *v,
                       enum safety_direction d);
/* Judges the whole answer in c->out (JSON), then replies with it or what is left of it. */
void openai_guard_answer(struct call *c);

/* ---- streamed answers ---- */
#define OPENAI_CHOICES_MAX 128 /* of one answer; of further ones nothing passes */

struct answer_guard;
struct answer_guard_callbacks {
    bool (*send)(void *ctx, struct str json); /* an event for the client; false: it is gone */
    void (*on_end)(void *ctx);                /* all that came was judged and sent */
    void (*on_fail)(void *ctx, enum err e);
};
enum err answer_guard_new(struct call *c, const struct answer_guard_callbacks *cb, void *ctx,
                          struct answer_guard **ret) ERR_CHECK;
/* An event of the upstream. False: the client is gone, or nothing more is wanted. */
bool answer_guard_event(struct answer_guard *a, struct str json);
void answer_guard_end(struct answer_guard *a); /* no more events; on_end follows */
/* True once every choice was cut off. */
bool answer_guard_is_over(const struct answer_guard *a);
void answer_guard_free(struct answer_guard *a); /* NULL is fine */

/* Appends the text of a message: its content, or the parts of it that are text. */
enum err openai_message_text(json_val *message, struct buf *b) ERR_CHECK;

/* ---- openai_guard_doubt.c ---- */
/* Makes shown and turns of the newest message and of all doubts about messages of the list, of what
 * they are as they are judged. Nothing without a guard model. On the guard's job, like judging. */
enum err openai_doubts_read(struct call *c, struct openai_guard *g, json_val *list) ERR_CHECK;
/* The same of the doubts about the answer's choices: shown. */
enum err openai_doubts_read_answer(struct call *c, struct openai_guard *g) ERR_CHECK;
/* Nothing where v is certain, or no guard model is there. text and shown live as long as the call.
 * False: there is no room; the fallback has to say. */
bool openai_doubt_add(struct openai_guard *g, const struct openai_doubt *d);
void openai_doubts_forget(struct openai_guard *g, bool newest_only);
/* On the loop: asks about all of them at once, the person's newest message first; of a request
 * until one is blocked, which is the request's verdict then. True: then(c) runs once that is done.
 * False: it is. */
bool openai_doubts_ask(struct call *c, loop_fn then);
void openai_doubts_stop(struct openai_guard *g); /* then is not called */

/* ---- openai_guard_case.c ---- */
/* Writes the case of what was blocked, whatever becomes of the call meanwhile. */
void openai_case_write(struct call *c, struct openai_guard *g, const struct safety_verdict *v,
                       enum safety_direction d, struct str text);
/* True: then(the call) runs once all cases are written. False: none is on its way. */
bool openai_cases_wait(struct openai_guard *g, loop_fn then);
void openai_cases_forget(struct openai_guard *g); /* the call ends */
