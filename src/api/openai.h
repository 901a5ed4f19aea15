/* The OpenAI-compatible API: a request is checked, its model resolved (a model of the upstream, or
 * a role's slug), its body rewritten, and forwarded; what comes back is relayed with the model's
 * name as it was asked for. Inside src/api only. */
#pragma once

#include "api/call.h"

struct openai_state {
    struct str asked;    /* the model's name in the request; borrowed from the call's doc */
    struct str upstream; /* its name at the upstream */
    struct str body;     /* what is sent there; in the call's arena */
    bool stream;
    struct str role;            /* the slug of the role that was asked for; "" = a model */
    struct openai_guard *guard; /* NULL: there is none */
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
