/* A policy: what scores mean, what is done about personal data, the rules, and the words for
 * people. It is one JSON text (docs/safety.md describes each field; policy.json is the default)
 * that an administrator edits as a file or through the API. Parsing checks everything and builds
 * the automata; a parsed policy does not change, is shared by reference, and is read by any thread.
 *
 * Untrusted input: sizes, counts and patterns are capped (POLICY_…, words.h, literals.h). */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "safety/pii.h"
#include "safety/safety.h"

#define POLICY_BYTES_MAX  ((size_t)2 << 20)
#define POLICY_RULES_MAX  4000
#define POLICY_ROLES_MAX  200
#define POLICY_STEPS_MAX  8
#define POLICY_DIRECTIONS 3

struct words;
struct literals;

struct policy_limits { /* scores from which an action is taken; above 1 = never */
    float annotate, warn, block;
};

struct policy_rule {
    struct str id;
    enum safety_category category;
    float score;
    bool on[POLICY_DIRECTIONS];
    bool has_unless;
};

struct policy_step { /* so many blocks within so many minutes: wait between messages, or no messages
                      */
    int blocks, minutes;
    int wait_seconds, suspend_minutes; /* one of the two */
};

/* What holds for one role: the base, with what the role's entry changes. */
struct policy_role {
    struct str slug; /* "" = the base */
    struct policy_limits limits[SAFETY_CATEGORIES][POLICY_DIRECTIONS];
    enum safety_action pii[PII_KINDS][POLICY_DIRECTIONS];
    struct str refusals[SAFETY_CATEGORIES]; /* "" = refusal */
    struct str refusal, warning;
    struct str notice; /* once in each conversation; "" = none */
    struct str country;
    bool restore, canary;
};

struct policy {
    int version; /* as stored; 0 = the built-in one or a file's */
    struct policy_role base;
    const struct policy_role *roles;
    size_t n_roles;
    const struct policy_rule *rules; /* a match's id is rule * 2, + 1 for an exception */
    size_t n_rules;
    struct words *words;
    struct literals *literals;
    struct str text;          /* the JSON that it was made of */
    char stamp[24];           /* tells it from other texts: the beginning of its SHA-256, hex */
    int context_turns;        /* earlier messages of the person that are judged with the new one */
    float band_from, band_to; /* scores between: a guard model is asked */
    struct policy_step steps[POLICY_STEPS_MAX];
    size_t n_steps;
};

/* ERR_INVALID names the field ("rules[3].match[0]") in ei->param and what is wrong. */
enum err policy_parse(struct str json, int version, struct policy **ret,
                      struct errinfo *ei) ERR_CHECK;
struct policy *policy_ref(struct policy *p);
void policy_unref(struct policy *p); /* NULL is fine */

/* The part that holds for a role; an unknown or empty slug gets the base. */
const struct policy_role *policy_for(const struct policy *p, struct str slug);

/* What a score means there. */
enum safety_action policy_action(const struct policy_role *r, enum safety_category c,
                                 enum safety_direction d, float score);

/* Whether any score is a block there. */
bool policy_can_block(const struct policy_role *r, enum safety_category c, enum safety_direction d);

/* Appends the words for a block, or (warn) beside an answer that was let through; country: an ISO
 * 3166 code that chooses the help that is named, "" = the policy's. */
void policy_refusal(const struct policy *p, const struct policy_role *r, enum safety_category c,
                    struct str country, struct buf *out);
void policy_warning(const struct policy *p, const struct policy_role *r, enum safety_category c,
                    struct str country, struct buf *out);

/* The default policy's text, built in. */
struct str policy_default_text(void);
