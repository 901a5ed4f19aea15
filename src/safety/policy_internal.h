/* Between policy.c and policy_parse.c. */
#pragma once

#include <stdatomic.h>

#include "base/arena.h"
#include "base/json.h"
#include "safety/policy.h"

struct resource {
    struct str country; /* "default" for all others */
    struct str text;
};

struct policy_data {
    struct policy p; /* first: the two are one object */
    atomic_int refs;
    struct arena *arena; /* strings and lists */
    struct policy_role *roles;
    struct policy_rule *rules;
    struct resource *resources;
    size_t n_resources;
};

/* Fills *d from the root of the JSON. */
enum err policy_read(struct policy_data *d, const json_val *root, struct errinfo *ei) ERR_CHECK;
