/* A policy's life, and what it says about a score. See policy.h. */
#include <stdio.h>
#include <stdlib.h>

#include "base/crypto.h"
#include "safety/literals.h"
#include "safety/normalise.h"
#include "safety/policy_internal.h"
#include "safety/words.h"

#define ARENA_MAX ((size_t)64 << 20)
#define NEVER     2

extern const unsigned char safety_policy_json[];
extern const size_t safety_policy_json_size;

struct str policy_default_text(void) {
    return (struct str){(const char *)safety_policy_json, safety_policy_json_size};
}

static void policy_free(struct policy_data *d) {
    if (!d)
        return;
    words_free(d->p.words);
    literals_free(d->p.literals);
    arena_free(d->arena);
    free(d);
}

/* What holds where the text says nothing: nothing is blocked by a score alone. */
static void set_defaults(struct policy *p) {
    for (int c = 0; c < SAFETY_CATEGORIES; c++)
        for (int k = 0; k < POLICY_DIRECTIONS; k++)
            p->base.limits[c][k] = (struct policy_limits){NEVER, NEVER, NEVER};
    p->base.refusal =
        STR("I can't help with that. If you think this is a mistake, you can report it.");
    p->base.warning = p->base.notice = p->base.country = STR("");
    p->band_from = p->band_to = NEVER;
    p->context_turns = 4;
}

enum err policy_parse(struct str json, int version, struct policy **ret, struct errinfo *ei) {
    yyjson_doc *doc = NULL;
    struct policy_data *d = NULL;
    enum err e = ERR_OK;
    if (json.n > POLICY_BYTES_MAX)
        return err_param(ei, ERR_TOO_LARGE, "text", "a policy has at most 2 MiB");
    if ((e = safety_normal_prepare(ei)) || (e = json_parse(json, &doc, ei)))
        return e;
    d = calloc(1, sizeof *d);
    if (d) {
        d->refs = 1;
        d->arena = arena_new(ARENA_MAX);
        d->p.words = words_new();
        d->p.literals = literals_new();
    }
    if (!d || !d->arena || !d->p.words || !d->p.literals) {
        e = err_set(ei, ERR_NOMEM, NULL);
        goto out;
    }
    set_defaults(&d->p);
    d->p.version = version;
    char hash[SHA256_HEX_LEN + 1];
    sha256_hex(json, hash);
    snprintf(d->p.stamp, sizeof d->p.stamp, "%.*s", (int)sizeof d->p.stamp - 1, hash);
    if (!(d->p.text = arena_str(d->arena, json)).p) {
        e = err_set(ei, ERR_NOMEM, NULL);
        goto out;
    }
    e = policy_read(d, yyjson_doc_get_root(doc), ei);
    if (e && e != ERR_INVALID)
        err_set(ei, e, NULL);
    d->p.roles = d->roles;
    d->p.rules = d->rules;
out:
    yyjson_doc_free(doc);
    if (e)
        policy_free(d);
    else
        *ret = &d->p;
    return e;
}

struct policy *policy_ref(struct policy *p) {
    atomic_fetch_add(&((struct policy_data *)p)->refs, 1);
    return p;
}

void policy_unref(struct policy *p) {
    if (p && atomic_fetch_sub(&((struct policy_data *)p)->refs, 1) == 1)
        policy_free((struct policy_data *)p);
}

const struct policy_role *policy_for(const struct policy *p, struct str slug) {
    for (size_t i = 0; slug.n && i < p->n_roles; i++)
        if (str_eq(p->roles[i].slug, slug))
            return &p->roles[i];
    return &p->base;
}

enum safety_action policy_action(const struct policy_role *r, enum safety_category c,
                                 enum safety_direction d, float score) {
    const struct policy_limits *l = &r->limits[c][d];
    return score >= l->block      ? SAFETY_BLOCK
           : score >= l->warn     ? SAFETY_WARN
           : score >= l->annotate ? SAFETY_ANNOTATE
                                  : SAFETY_ALLOW;
}

bool policy_can_block(const struct policy_role *r, enum safety_category c,
                      enum safety_direction d) {
    return r->limits[c][d].block <= 1;
}

static struct str resource_for(const struct policy *p, const struct policy_role *r,
                               struct str country) {
    const struct policy_data *d = (const struct policy_data *)p;
    struct str wanted[] = {country, r->country, STR("default")};
    for (size_t k = 0; k < 3; k++)
        for (size_t i = 0; wanted[k].n && i < d->n_resources; i++)
            if (str_eq_nocase(d->resources[i].country, wanted[k]))
                return d->resources[i].text;
    return STR("");
}

/* "{resources}" in the text becomes the help of that country. */
static void add_filled(const struct policy *p, const struct policy_role *r, struct str text,
                       struct str country, struct buf *out) {
    const struct str mark = STR("{resources}");
    size_t at = str_find(text, mark);
    if (at == SIZE_MAX) {
        buf_adds(out, text);
        return;
    }
    buf_add(out, text.p, at);
    buf_adds(out, resource_for(p, r, country));
    buf_adds(out, str_sub(text, at + mark.n, text.n));
}

void policy_refusal(const struct policy *p, const struct policy_role *r, enum safety_category c,
                    struct str country, struct buf *out) {
    add_filled(p, r, r->refusals[c].n ? r->refusals[c] : r->refusal, country, out);
}

void policy_warning(const struct policy *p, const struct policy_role *r, enum safety_category c,
                    struct str country, struct buf *out) {
    if (c == SAFETY_SELF_HARM) /* whoever may need help is told where it is */
        add_filled(p, r, STR("{resources}"), country, out);
    else
        buf_adds(out, r->warning);
}
