/* The guard: one cascade for every text on its way in or out.
 *
 *   text ─→ normalise ─┬→ rules (words.h, literals.h) ─┐
 *                      ├→ personal data (pii.h) ───────┼→ policy of the role ─→ verdict
 *                      └→ classifier (the scorer) ─────┘
 *
 * Judging is CPU work (tens of microseconds to some milliseconds, and longer for long texts): it
 * belongs on a job pool, or on a thread of its own. A struct safety is shared by all threads. It
 * keeps no text and logs nothing. A text in which nothing was found is known again for a while
 * (memo.h). */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "safety/pii.h"
#include "safety/policy.h"
#include "safety/safety.h"

struct safety;

struct safety_options {
    struct str policy;                  /* JSON; STR_NULL = the built-in one */
    int policy_version;                 /* of it, for verdicts */
    const struct safety_scorer *scorer; /* borrowed; NULL = rules and personal data only, and every
                                           verdict says `degraded` */
};
/* ERR_INVALID: the policy is damaged. ERR_UNAVAILABLE: the Unicode data are missing. */
enum err safety_new(const struct safety_options *o, struct safety **ret,
                    struct errinfo *ei) ERR_CHECK;
void safety_free(struct safety *g);

/* The policy in force. Verdicts that are being made keep the one they began with. */
void safety_set_policy(struct safety *g, struct policy *p /* a reference, taken */);
struct policy *safety_get_policy(struct safety *g);                    /* a reference */
const struct safety_scorer *safety_get_scorer(const struct safety *g); /* NULL = none */

/* Names what judges under a policy: the policy's text, the classifier and this program. What was
 * judged under the same name need not be judged again. */
#define SAFETY_STAMP_SIZE 96 /* with its NUL */
void safety_stamp(const struct safety *g, const struct policy *p, char out[SAFETY_STAMP_SIZE]);

/* A token for a role's system prompt that nothing else holds: an answer in which it stands has
 * leaked the prompt. The same for the same role and version while the process lives, so that the
 * prompt's prefix is still reused. out: SAFETY_CANARY_SIZE bytes. */
#define SAFETY_CANARY_SIZE 20 /* with its NUL */
void safety_canary(const struct safety *g, struct str role_id, int version,
                   char out[SAFETY_CANARY_SIZE]);

struct safety_span {
    size_t from, to; /* bytes */
};

struct safety_request {
    struct str text;    /* any bytes; at most NORMAL_INPUT_MAX */
    struct str context; /* earlier messages of the same person, newest last, parted by newlines */
    enum safety_direction direction;
    struct str role;             /* its slug; "" = the base policy */
    const float *embedding;      /* see safety_text; NULL = none */
    const float *core_embedding; /* the same of safety_view_core(text) (views.h) */
    const float *talk_embedding; /* the same of what safety_join_talk() makes of the request */
    const struct policy *policy; /* NULL = the one in force */
    size_t
        fresh_from; /* what ends at or before this byte was judged already and is not found again */
    struct str canary; /* SAFETY_OUTPUT: what only the system prompt holds; "" = nothing */
    struct buf
        *orders; /* the places (struct safety_span) of all that rules find to warn of as
                    injection or jailbreak: a finding has the first only; NULL = not wanted */
};

/* Fills *ret. An error (ERR_NOMEM, ERR_TOO_LARGE) is no verdict: whoever asked must not let the
 * text through. */
enum err safety_judge(struct safety *g, const struct safety_request *r,
                      struct safety_verdict *ret) ERR_CHECK;

/* Appends what the classifier reads of a conversation: the last messages of context and the new one
 * (views.h). Nothing is appended when there is no context, the direction is not SAFETY_INPUT, or
 * the message is long enough to speak for itself. */
enum err safety_join_talk(const struct safety_request *r, struct buf *out) ERR_CHECK;

/* The same, where the classifier suspects that talk without its embedding: only then is that
 * embedding worth its cost. Some 0.1 ms. */
enum err safety_join_suspect_talk(struct safety *g, const struct safety_request *r,
                                  struct buf *out) ERR_CHECK;

/* Adds what a guard model on an upstream found (guard_model.h) to a verdict that was uncertain.
 * Harm in a category that the policy does nothing about is annotated. */
void safety_add_guard(const struct policy *p, struct str role, enum safety_direction d,
                      const char *model, enum safety_category c, float score,
                      struct safety_verdict *v);
/* What a verdict is uncertain of: the highest score in the policy's band of a category that is
 * blocked at some score in that direction. */
enum safety_category safety_suspected(const struct policy *p, struct str role,
                                      enum safety_direction d, const struct safety_verdict *v);
/* What was uncertain and stays so, and why: blocked as category c, or noted only. */
void safety_add_fallback(const char *why, bool block, enum safety_category c,
                         struct safety_verdict *v);

/* pii_scan() that knows texts again in which it found nothing a moment ago. */
size_t safety_find_pii(struct safety *g, struct str text, struct pii_hit *ret, size_t max);

/* Writes text into out, which is empty, with all that the role redacts in that direction replaced,
 * however much it is; nothing when there is nothing of it. *vault is made when it is needed and
 * NULL. */
enum err safety_redact(struct safety *g, const struct policy_role *role, enum safety_direction d,
                       struct str text, struct pii_vault **vault, struct buf *out) ERR_CHECK;

/* What the role redacts in that direction, in order, however much it is: a verdict keeps the
 * strongest findings only. v: of this text; where it speaks of none, it is not looked for. Appends
 * to *ret, a list of struct safety_span. */
enum err safety_find_cuts(const struct safety_verdict *v, const struct policy_role *role,
                          enum safety_direction d, struct str text, struct buf *ret) ERR_CHECK;
/* Appends text[from, to) with these replaced, also where only a part of one is in it. */
enum err safety_cut(const struct buf *cuts, struct str text, size_t from, size_t to,
                    struct buf *out) ERR_CHECK;

/* Appends the verdict as the JSON that is stored with a message, sent in events and shown by the
 * API: {"action","category","scores":{…},"findings":[{"category","action","score","source","from",
 * "to"}],"policy_version","degraded"}. Scores below 0.01 are left out. No text. */
void safety_verdict_json(const struct safety_verdict *v, struct buf *out);
/* The same without the braces, for an object that has more. */
void safety_verdict_members(const struct safety_verdict *v, struct buf *out);

/* ---- passages of documents and web pages, before they enter a prompt ---- */
struct safety_passage {
    struct buf kept; /* the text without what was left out; initialised by the callee, deinit by the
                        caller */
    size_t removed;  /* sentences left out */
    size_t replaced; /* personal data that the policy redacts in passages */
    struct safety_verdict verdict; /* findings with their spans in the passage */
};
/* Sentences that give orders to a model are left out, and what the policy redacts in passages is
 * replaced; a passage that is blocked for another reason
 * (or holds the markers of a chat template) comes back empty. On an error ret->kept is not
 * initialised and the passage must not be used. */
enum err safety_scan_passage(struct safety *g, struct str text, struct str role,
                             struct safety_passage *ret) ERR_CHECK;
