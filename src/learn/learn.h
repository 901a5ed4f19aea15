/* Learning as a whole: what is in use now (for the turn and the search), and the pass that makes
 * candidates, proves them, rolls them out and back. docs/learning.md tells the story.
 *
 *   ratings ─→ learn_run(): evidence → candidate → replay → trial → half → all
 *                                        (every step an event in words, in the store)
 *   store ─→ learn_refresh() ─→ what is in use, immutable and shared ─→ learn_choose(), …
 *
 * Each learner has its switch (a setting, "learn.off" is a JSON list of names), see LEARNERS. What
 * is switched off changes nothing any more; what it had stays. */
#pragma once

#include "base/arena.h"
#include "learn/ranker.h"
#include "store/learning.h"

struct learn;

enum err learn_new(struct store *s, uint64_t seed, struct learn **ret) ERR_CHECK;
void learn_free(struct learn *l); /* when nobody uses it any more; NULL is fine */

/* Reads what is in use from the store. Blocking: on a job or at start. */
enum err learn_refresh(struct learn *l, struct errinfo *ei) ERR_CHECK;

/* ---- for the turn; any thread, microseconds ---- */
struct learn_choice { /* strings in the arena; arm_id not set: the role as it is */
    struct arm arm;
    double chance;
    struct uuid candidate_id;
    bool ranked;
    double ranked_chance;
    bool swaps; /* where one passage is shown: the second best instead, when it is nearly as good */
    double swap_chance; /* with which turns do; 0 = none does */
};
#define LEARN_SWAP_CHANCE 0.1
/* The same conversation gets the same as long as the chances stay, but for swaps, which are drawn
 * for each answer. */
void learn_choose(struct learn *l, const struct uuid *role_id, const struct uuid *conversation_id,
                  const struct uuid *message_id, struct arena *a, struct learn_choice *ret);

bool learn_has_answers(struct learn *l, const struct uuid *role_id);
/* The approved answer to the same question; false: none. model: who made the vector. */
bool learn_find_answer(struct learn *l, const struct uuid *role_id, struct str question,
                       const float *vector, size_t dims, struct str model, struct arena *a,
                       struct uuid *ret_id, struct str *ret_answer);
/* Approved answers to like questions (at most LEARN_EXAMPLES, the likest first), as text that may
 * stand behind a system prompt, of at most max_bytes, for the conversations that the trial of
 * examples gives them to. */
#define LEARN_EXAMPLES 2
struct learn_examples {
    struct str text, ids; /* STR_NULL: none is like it, or fits; ids: a JSON list */
    struct uuid trial_id; /* not set: there were none */
    bool shown;           /* else they are left out, for comparison */
    double chance;        /* with which they are shown, or are not */
};
void learn_find_examples(struct learn *l, const struct uuid *role_id,
                         const struct uuid *conversation_id, const float *vector, size_t dims,
                         struct str model, size_t max_bytes, struct arena *a,
                         struct learn_examples *ret);
/* Approved answers without a vector of this model, to be embedded and given back. */
#define LEARN_EMBED_MAX 64
enum err learn_unembedded(struct store_tx *tx, struct str model, struct arena *a,
                          struct approved_answer **ret, size_t *ret_n) ERR_CHECK;

/* ---- for the search: the ranker in use, NULL = none ---- */
struct learn_ranker;
/* give is called by each learn_refresh(), on its thread and one at a time, before turns are told of
 * what is new: a turn that is said to be ranked is. r is borrowed. */
void learn_on_ranker(struct learn *l, void (*give)(void *ctx, struct learn_ranker *r), void *ctx);
struct learn_ranker *learn_hold_ranker(struct learn_ranker *r); /* until let go; NULL is fine */
void learn_release_ranker(struct learn_ranker *r);
const struct ranker *learn_ranker_get(const struct learn_ranker *r);
uint64_t learn_role_key(const struct uuid *role_id);  /* ranker_question.role */
uint64_t learn_source_key(const struct uuid *doc_id); /* ranker_passage.source */

/* ---- the pass ---- */
struct learn_report {
    size_t ratings, questions; /* evidence that was looked at */
    bool made;                 /* a candidate was made */
    bool proved;
    int arms_stopped;
    bool rolled_back; /* what was in use was taken back */
    int64_t stale;    /* approved answers that are not served any more since this pass */
    int proposed;     /* answers put up for approval */
    char words[1024]; /* what was done and why, for people */
};
/* So many since the last candidate, and a tenth more than it had, before another is made; none
 * while one is on trial. */
#define LEARN_RATINGS_NEW   20
#define LEARN_RATINGS_GROWN 10

/* Blocking, seconds: on a job or in the terminal. force: a candidate is made however few ratings
 * are new. Safe beside a running server: the writes are small and each is one transaction. */
enum err learn_run(struct store *s, bool force, struct learn_report *ret,
                   struct errinfo *ei) ERR_CHECK;
/* The guard-rails alone: variants that do harm are stopped, a candidate that does is taken back,
 * answers that are old, disliked, or whose documents changed become stale. Milliseconds; blocking.
 */
enum err learn_guard(struct store *s, struct learn_report *ret, struct errinfo *ei) ERR_CHECK;
/* Takes a candidate out of use by hand, or puts one back to all that was rolled back or replaced.
 */
enum err learn_set_candidate(struct store_tx *tx, const struct uuid *id, bool in_use,
                             struct errinfo *ei) ERR_CHECK;

/* ---- switches, and how long an approved answer is served when nobody looks at it again ---- */
#define LEARN_ANSWER_DAYS     180 /* where nothing is set */
#define LEARN_ANSWER_DAYS_MAX 3650
enum err learn_answer_days(struct store_tx *tx, int *ret) ERR_CHECK; /* 0 = for ever */
enum err learn_set_answer_days(struct store_tx *tx, int days) ERR_CHECK;
#define LEARNERS(X) X(ranker) X(approved) X(variants) X(examples) X(explore)
const char *learn_learner(size_t i); /* NULL past the last */
enum err learn_is_off(struct store_tx *tx, const char *learner, bool *ret) ERR_CHECK;
enum err learn_switch(struct store_tx *tx, const char *learner, bool on,
                      struct errinfo *ei) ERR_CHECK; /* ERR_INVALID: no such learner */
