/* Between guard.c and flow.c: the places to judge at, and how findings are kept. */
#pragma once

#include "safety/guard.h"
#include "safety/literals.h"
#include "safety/normalise.h"
#include "safety/words.h"

#define PII_HITS_MAX 256

/* What a judgement works with; one for each thread that judges at once, kept for the next. */
struct bench {
    struct bench *next;
    struct policy *policy; /* whose words the scanners read; a reference */
    struct words_scanner *scanner;
    struct words_scanner *stepper; /* for texts that grow; always suspended */
    struct safety_normal normal, joined;
    struct buf context;
    struct pii_hit hits[PII_HITS_MAX];
    unsigned char *matched; /* of each rule: 1 = it, 2 = its exception */
    struct {
        size_t from, to;
    } * spans;
    size_t n_rules;
};
struct bench *bench_take(struct safety *g, const struct policy *p); /* NULL: out of memory */
void bench_put(struct safety *g, struct bench *b);

/* Nothing was found yet. Its room for findings is left as it is. */
static inline void verdict_begin(struct safety_verdict *v, int policy_version) {
    memset(v, 0, offsetof(struct safety_verdict, findings));
    v->n = 0;
    v->policy_version = policy_version;
    v->uncertain = v->degraded = false;
}
/* What there is of it: most verdicts have no finding, and room for many. */
void verdict_copy(struct safety_verdict *to, const struct safety_verdict *v);
/* Keeps the strongest findings, in order. */
void verdict_add(struct safety_verdict *v, const struct safety_finding *f);
void verdict_raise(struct safety_verdict *v, enum safety_category c, float score);
/* What a rule that matched, a piece of personal data and the classifier's scores mean. */
void verdict_add_rule(struct safety_verdict *v, const struct policy_rule *rule,
                      const struct policy_role *role, enum safety_direction d, size_t from,
                      size_t to);
void verdict_add_pii(struct safety_verdict *v, const struct pii_hit *h,
                     const struct policy_role *role, enum safety_direction d, size_t from,
                     size_t to);
void verdict_add_scores(struct safety_verdict *v, const struct safety_scorer *s,
                        const struct policy_role *role, enum safety_direction d,
                        const float scores[SAFETY_CATEGORIES]);
void verdict_add_canary(struct safety_verdict *v, size_t from, size_t to);
/* Whether a guard model has to be asked. */
void verdict_find_band(struct safety_verdict *v, const struct policy *p,
                       const struct policy_role *role, enum safety_direction d);
