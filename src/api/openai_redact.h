/* The texts of a request of the compatible API, wherever in it they stand: gathered, and with what
 * the policy redacts replaced. Words of the protocol (types, roles, identifiers), names of tools
 * and what is no text (addresses and data of pictures and sounds) stay as they are. Inside src/api
 * only. */
#pragma once

#include "api/call.h"
#include "safety/guard.h"

/* Whether a member of the request says nothing that a model reads. */
bool openai_is_control(struct str key);
/* Appends the texts of a value, each on its line. */
void openai_add_texts(json_val *v, struct buf *b);

struct openai_redaction {
    struct safety *safety;
    const struct policy_role *role;
    enum safety_direction direction;
    struct pii_vault **vault;
    struct arena *arena; /* of what replaces */
};
/* Whether the request holds anything that is to be replaced. */
enum err openai_needs_redaction(struct openai_redaction *r, json_val *root, bool *ret) ERR_CHECK;
/* Replaces it, in the arguments of calls so that they stay JSON. */
enum err openai_redact(struct openai_redaction *r, yyjson_mut_val *root) ERR_CHECK;
