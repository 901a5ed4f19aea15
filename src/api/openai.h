/* The OpenAI-compatible API: a request is checked, its model resolved (a model of the upstream, or
 * a role's slug), its body rewritten, and forwarded; what comes back is relayed with the model's
 * name as it was asked for. Inside src/api only. */
#pragma once

#include "api/call.h"
#include "retrieval/retrieval.h"

struct openai_ground;

struct openai_state {
    struct str asked;    /* the model's name in the request; borrowed from the call's doc */
    struct str upstream; /* its name at the upstream */
    struct str body;     /* what is sent there; in the call's arena */
    bool stream;
    struct str role;              /* the slug of the role that was asked for; "" = a model */
    struct openai_guard *guard;   /* NULL: there is none */
    struct openai_ground *ground; /* NULL: no documents are looked into */
    uint64_t plan;                /* of upstream_plan_chat(), 0 = none */
    struct str docs;              /* JSON: retrieved_docs; STR_NULL = none were looked for */
};

/* Finds the model, then writes the body that the upstream gets into s->body. In a transaction.
 * `chat`: a role may be named, and its prompt and parameters go in. user: the key for fairness;
 * NULL = the upstream is not ours. ERR_NO_MODEL, ERR_UNAVAILABLE (which models there are is not
 * known yet), ERR_INVALID. */
struct openai_target {
    struct str model;        /* at the upstream; STR_NULL = its default */
    const struct role *role; /* NULL = none */
};
enum err openai_rewrite(const yyjson_doc *doc, const struct openai_target *t,
                        const struct uuid *user, struct buf *out, struct errinfo *ei) ERR_CHECK;

/* Beyond the schema: stop, and content of messages. */
enum err openai_check_chat(const json_val *body, struct errinfo *ei) ERR_CHECK;

/* Sends c->state (an openai_state) to path and relays the answer; ends the call. */
void openai_forward(struct call *c, const char *path);

/* Grounds the answer of a role in documents as a turn does: the passages go in front of the last
 * question in c->state's body and into its docs. Then openai_forward(). */
void openai_ground(struct call *c, const char *path);
/* In a transaction: what the role may read. Leaves s->ground NULL when nothing is to be looked at.
 */
enum err openai_ground_load(struct call *c, struct store_tx *tx, const struct role *r,
                            struct openai_state *s) ERR_CHECK;

/* Ends the call with an answer that no model made, streamed or whole as it was asked for. */
void openai_answer(struct call *c, struct str text, const char *finish_reason);
/* Puts {"retrieved_docs":…} of s into the answer's member "parley". */
void openai_add_docs(yyjson_mut_doc *d, const struct openai_state *s);
