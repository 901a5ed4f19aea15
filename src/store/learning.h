/* What learning keeps in the store. Verbs run inside a transaction, as store.h says; a record's and
 * a candidate's JSON is made and read by who writes it (src/turn, src/learn). */
#pragma once

#include "store/store.h"

/* ---- a turn's record: how an answer came about ---- */
struct turn_record {
    struct uuid message_id, user_id, role_id;
    int role_version;
    struct str model;
    int64_t at;
    struct uuid arm_id; /* not set = the role as it is */
    double arm_chance;  /* with which it was drawn, 1 where nothing was tried */
    struct uuid candidate_id;
    bool ranked;
    double ranked_chance; /* with which this turn had (or, unranked, had not) the candidate */
    int64_t ttft_ms, latency_ms;
    enum message_status status;
    bool unsafe;           /* the guard stopped or changed the answer */
    struct uuid answer_id; /* an approved answer was served */
    int passages;
    struct str vector_model, vector; /* of the question: floats as bytes; "" and STR_NULL = none */
    struct str record;               /* JSON, see docs/learning.md */
    struct uuid examples_id;         /* the trial of examples, where there were some to show */
    bool exampled;                   /* and this turn had them */
    double examples_chance;          /* with which it had, or had not */
};
/* Once for each answer: ERR_CONFLICT otherwise. */
enum err turn_record_put(struct store_tx *tx, const struct turn_record *r) ERR_CHECK;
enum err turn_record_get(struct store_tx *tx, const struct uuid *user_id, const struct uuid *id,
                         struct arena *a, struct turn_record *ret) ERR_CHECK;
/* kind: "copied", "regenerated", "edited", "stopped". ERR_NOT_FOUND: no answer of this user. Again:
 * ERR_OK, the first time stays. */
enum err turn_signal_put(struct store_tx *tx, const struct uuid *user_id, const struct uuid *id,
                         const char *kind, int64_t at) ERR_CHECK;

/* An answer to an edited question: the answers to its sibling before it get "edited". question_id
 * not set: nothing is done. */
enum err turn_signal_edited(struct store_tx *tx, const struct message *question,
                            int64_t at) ERR_CHECK;

/* Records with what people said of them, oldest first: the newest `max` after `since`. */
struct evidence_row {
    struct turn_record r;
    struct str question;
    int rating;                  /* enum rating, -1 = none */
    int64_t rated_at;            /* 0 = not rated */
    struct str reasons, sources; /* JSON lists; "[]" */
    unsigned signals;            /* bit k: the k-th of copied, regenerated, edited, stopped */
    bool flagged;                /* the person is */
    int64_t user_since;
};
enum err evidence_list(struct store_tx *tx, int64_t since, int max, struct arena *a,
                       struct evidence_row **ret, size_t *ret_n) ERR_CHECK;

/* ---- ratings: reasons and sources ---- */
/* Whether there are so many. Quick: it counts no further. */
enum err feedback_reaches(struct store_tx *tx, int n, bool *ret) ERR_CHECK;
enum err feedback_set_reasons(struct store_tx *tx, const struct uuid *user_id,
                              const struct uuid *message_id, struct str reasons,
                              struct str sources) ERR_CHECK; /* JSON lists */
enum err user_flag(struct store_tx *tx, const struct uuid *user_id, bool flagged) ERR_CHECK;
enum err user_flagged(struct store_tx *tx, const struct uuid *user_id, bool *ret) ERR_CHECK;

/* ---- arms ---- */
struct arm {
    struct uuid arm_id, role_id;
    struct str name;
    struct str system_prompt, model; /* STR_NULL = the role's */
    double temperature, top_p;       /* < 0 = the role's */
    int passages;                    /* 0 = the usual number */
    struct str state, why;           /* "running", "stopped", "kept" */
    int64_t created_at, changed_at;
};
#define ARMS_PER_ROLE 8
enum err arm_create(struct store_tx *tx, const struct arm *r, struct errinfo *ei)
    ERR_CHECK; /* ERR_CONFLICT past ARMS_PER_ROLE running ones; ERR_NOT_FOUND: no such role */
enum err arm_get(struct store_tx *tx, const struct uuid *id, struct arena *a,
                 struct arm *ret) ERR_CHECK;
enum err arm_list(struct store_tx *tx, const struct uuid *role_id /* not set = all */,
                  struct arena *a, struct arm **ret, size_t *ret_n) ERR_CHECK; /* oldest first */
enum err arm_set_state(struct store_tx *tx, const struct uuid *id, const char *state,
                       struct str why) ERR_CHECK;
/* What each arm of a role did (arm_id not set: the role as it is), for the bandit. Ratings are
 * worth 1, 0.5 or 0. */
struct arm_totals {
    struct uuid arm_id, role_id;
    double good, bad, turns, unsafe, failed, ttft_n, ttft_sum, ttft_squares; /* ttft: logarithms */
};
enum err arm_totals_list(struct store_tx *tx, int64_t since, struct arena *a,
                         struct arm_totals **ret, size_t *ret_n) ERR_CHECK;

/* ---- candidates and events ---- */
struct candidate {
    struct uuid candidate_id;
    struct str kind;  /* "ranker", "examples" */
    struct str state; /* "refused", "trial", "half", "all", "replaced", "rolled_back" */
    int64_t created_at, changed_at;
    int64_t ratings;  /* that it was made of; of "examples": approved answers that there were */
    int64_t made_at;  /* when its body was last trained */
    struct str proof; /* JSON */
    struct str words;
    struct str body; /* lists leave it STR_NULL */
    bool has_body;
};
enum err candidate_put(struct store_tx *tx, const struct candidate *c) ERR_CHECK; /* or replaces */
enum err candidate_get(struct store_tx *tx, const struct uuid *id, struct arena *a,
                       struct candidate *ret) ERR_CHECK;
/* The one in trial, half or all; ERR_NOT_FOUND: none. */
enum err candidate_active(struct store_tx *tx, const char *kind, struct arena *a,
                          struct candidate *ret) ERR_CHECK;
enum err candidate_set_state(struct store_tx *tx, const struct uuid *id,
                             const char *state) ERR_CHECK;
/* Of what is not in use any more only the newest `keep` keep their bodies. */
#define CANDIDATES_KEPT 3
enum err candidate_forget(struct store_tx *tx, int keep) ERR_CHECK;
/* What turns with ([1]) and without it ([0]) did while it was on trial, since a time. */
enum err candidate_totals(struct store_tx *tx, const char *kind, const struct uuid *id,
                          int64_t since, struct arm_totals ret[2]) ERR_CHECK;
/* What all turns in a span of time did. */
enum err totals_between(struct store_tx *tx, int64_t from, int64_t to,
                        struct arm_totals *ret) ERR_CHECK;
enum err candidate_list(struct store_tx *tx, const struct page *p, struct arena *a,
                        struct candidate **ret, size_t *ret_n) ERR_CHECK; /* newest first */

struct learn_event {
    struct uuid event_id;
    int64_t at;
    struct str kind; /* "refused", "trial", "half", "all", "rolled_back", "arm_stopped", … */
    struct uuid subject_id;
    struct str words;
};
#define LEARN_EVENTS_MAX 10000 /* older ones are forgotten */
enum err learn_event_add(struct store_tx *tx, const char *kind, const struct uuid *subject,
                         struct str words) ERR_CHECK;
enum err learn_event_list(struct store_tx *tx, const struct page *p, struct arena *a,
                          struct learn_event **ret, size_t *ret_n) ERR_CHECK;

/* ---- approved answers ---- */
struct approved_answer {
    struct uuid answer_id, role_id;
    struct str question, answer;
    struct str sources; /* JSON: [{"doc_id":…,"indexed_at":…}] */
    struct str state;   /* "proposed", "approved", "stale", "retired" */
    struct str why;     /* of a stale one: "changed" (a document), "old", "disliked"; else "" */
    struct uuid message_id, made_by;
    int64_t created_at, changed_at, served;
    struct str vector_model, vector;
};
enum err approved_put(struct store_tx *tx, const struct approved_answer *p) ERR_CHECK;
enum err approved_get(struct store_tx *tx, const struct uuid *id, struct arena *a,
                      struct approved_answer *ret) ERR_CHECK;
enum err approved_list(struct store_tx *tx, const char *state /* NULL = any */,
                       const struct page *p, struct arena *a, struct approved_answer **ret,
                       size_t *ret_n)
    ERR_CHECK; /* newest first; "approved": only those whose documents are as they were */
enum err approved_set_state(struct store_tx *tx, const struct uuid *id,
                            const char *state) ERR_CHECK;
enum err approved_set_vector(struct store_tx *tx, const struct uuid *id, struct str model,
                             struct str vector) ERR_CHECK;
enum err approved_count_served(struct store_tx *tx, const struct uuid *id) ERR_CHECK;
/* How many are approved, of documents that are as they were. */
enum err approved_count(struct store_tx *tx, int64_t *ret) ERR_CHECK;
enum err approved_delete(struct store_tx *tx, const struct uuid *id) ERR_CHECK;
/* Approved ones whose documents were changed or deleted since become stale, and those that nobody
 * has looked at since a time. */
struct approved_gone {
    int64_t changed, old; /* how many became so */
};
enum err approved_check(struct store_tx *tx, int64_t looked_at_since,
                        struct approved_gone *ret) ERR_CHECK;
enum err
approved_set_stale(struct store_tx *tx, const struct uuid *id,
                   const char *why) ERR_CHECK; /* ERR_NOT_FOUND: it is not approved, or gone */
/* What people think of approved answers where they were served, since a person last changed each
 * (going stale is no change): one voice for each person, flagged ones have none. Those that nobody
 * rated are left out. */
struct approved_rating {
    struct uuid answer_id;
    int64_t people;
    double liked; /* sum of each person's mean: 1, 0.5 or 0 of a rating */
};
enum err approved_ratings(struct store_tx *tx, struct arena *a, struct approved_rating **ret,
                          size_t *ret_n) ERR_CHECK; /* by answer_id */
/* What a person has looked at again rests on the documents as they are now, without those that are
 * gone. */
enum err approved_renew_sources(struct store_tx *tx, const struct uuid *id) ERR_CHECK;
/* True when every doc_id of the JSON list is of a document that more than one person may read. */
enum err sources_are_public(struct store_tx *tx, struct str sources, bool *ret) ERR_CHECK;

/* The message was put up before, or another answer of the role to the very question was, in
 * whatever state that is now. */
enum err approved_knows(struct store_tx *tx, const struct uuid *message_id,
                        const struct uuid *role_id, struct str question, bool *ret) ERR_CHECK;
/* The answer is to a question that began its conversation. */
enum err message_is_first_answer(struct store_tx *tx, const struct uuid *message_id,
                                 bool *ret) ERR_CHECK;
enum err document_indexed_at(struct store_tx *tx, const struct uuid *doc_id,
                             int64_t *ret) ERR_CHECK; /* ERR_NOT_FOUND */

/* Of each document that people other than its owner may read. */
enum err document_public_ids(struct store_tx *tx, struct arena *a, struct uuid **ret,
                             size_t *ret_n) ERR_CHECK; /* sorted */

/* ---- analytics: satisfaction is (good + half of the neutral ones) / rated ---- */
enum analytics_by { BY_ROLE, BY_MODEL, BY_VERSION, BY_DOCUMENT, BY_DAY, BY_ARM, BY_REASON };
struct analytics_row {
    struct str key, label;
    int64_t turns, rated;
    double good;         /* weighted sum */
    double mean_ttft_ms; /* < 0 = none */
};
enum err analytics_list(struct store_tx *tx, enum analytics_by by, int64_t since, struct arena *a,
                        struct analytics_row **ret, size_t *ret_n) ERR_CHECK; /* at most 1,000 */
/* The days of one of them (key, as above). ERR_INVALID: days of that kind are not kept. */
enum err analytics_days(struct store_tx *tx, enum analytics_by of, struct str key, int64_t since,
                        struct arena *a, struct analytics_row **ret, size_t *ret_n) ERR_CHECK;

struct analytics_turn { /* worst answers, unanswered questions */
    struct uuid message_id;
    int64_t at;
    struct str role_name, question, answer, comment, reasons;
    int rating;
};
/* unanswered: failed, empty, or without a passage where the role looks into documents. */
enum err analytics_turns(struct store_tx *tx, bool unanswered, int64_t since, int limit,
                         struct arena *a, struct analytics_turn **ret, size_t *ret_n) ERR_CHECK;

struct analytics_document {
    struct uuid doc_id;
    struct str source_name;
    int64_t used, liked, disliked;
};
/* never_used: those that no answer has used since; else those disliked more often than liked. */
enum err analytics_documents(struct store_tx *tx, bool never_used, int64_t since, int limit,
                             struct arena *a, struct analytics_document **ret,
                             size_t *ret_n) ERR_CHECK;

/* Comments and bad ratings for clustering, newest first. */
enum err complaint_list(struct store_tx *tx, int64_t since, int limit, struct arena *a,
                        struct analytics_turn **ret, size_t *ret_n) ERR_CHECK;

/* ---- the export for training: rated turns of people who agreed (preferences.training_consent),
 * in the order of their ids ---- */
struct training_row {
    struct uuid message_id, parent_id, conversation_id;
    int rating;
    struct str system_prompt, model;
    int role_version;
    struct str question, answer;
    struct str history; /* JSON: [{"role":…,"content":…}] of the newest messages before them,
                           without what the guard refused */
};
#define TRAINING_HISTORY_MAX   20         /* messages */
#define TRAINING_HISTORY_BYTES (32 << 10) /* of their texts: the oldest are left out first */
#define TRAINING_BYTES_MAX     ((size_t)24 << 20) /* of the arena, about */
/* At most limit rows that come after one (unset: from the first), and fewer where they are long.
 * *ret_more: others follow. */
enum err training_list(struct store_tx *tx, const struct uuid *after, size_t limit, struct arena *a,
                       struct training_row **ret, size_t *ret_n, bool *ret_more) ERR_CHECK;
