/* The guard's part of the store: policies with their versions, cases for review, who must wait, and
 * the audit log. Verbs as in store.h; they run inside its transactions. */
#pragma once

#include "store/store.h"

/* ---- policies: drafts until they are published; the one published last is in force ---- */
struct stored_policy {
    struct uuid policy_id;
    int version; /* 1, 2, … in the order of being written */
    struct str author, note;
    int64_t created_at, published_at; /* 0 = never */
    struct str body;                  /* JSON; lists leave it STR_NULL */
};
enum err stored_policy_create(struct store_tx *tx, const struct stored_policy *p, struct arena *a,
                              struct stored_policy *ret) ERR_CHECK; /* version is given here */
enum err stored_policy_get(struct store_tx *tx, const struct uuid *id, struct arena *a,
                           struct stored_policy *ret) ERR_CHECK;
enum err stored_policy_live(struct store_tx *tx, struct arena *a,
                            struct stored_policy *ret) ERR_CHECK; /* ERR_NOT_FOUND: the built-in */
enum err stored_policy_list(struct store_tx *tx, struct arena *a, struct stored_policy **ret,
                            size_t *ret_n) ERR_CHECK; /* newest first, 200 at most */
/* Also back to an older one: whichever was published last is in force. */
enum err stored_policy_publish(struct store_tx *tx, const struct uuid *id, int64_t at) ERR_CHECK;

/* ---- cases ---- */
enum case_kind { CASE_BLOCK, CASE_REPORT, CASE_APPEAL };
enum case_state { CASE_OPEN, CASE_RIGHT /* the guard was right */, CASE_WRONG };
const char *case_kind_name(enum case_kind k);
const char *case_state_name(enum case_state s);
int case_state_from_name(struct str s); /* -1 = none */

#define CASE_TEXT_MAX ((size_t)16 << 10) /* bytes of the text that are kept */

struct safety_case {
    struct uuid case_id;
    enum case_kind kind;
    enum case_state state;
    int64_t created_at;
    struct uuid user_id, conversation_id, message_id; /* the last two: not set on other APIs */
    struct str username;                              /* filled by reading verbs */
    struct str path;      /* "native", "openai", "document", "passage" */
    struct str direction; /* "input", "output" */
    struct str category;
    bool counts; /* toward the steps against abuse */
    int policy_version;
    struct str decided_by, note;
    int64_t decided_at;
    struct str reason;  /* of a report or an appeal, in the person's words */
    struct str verdict; /* JSON */
    struct str text;
};
enum err case_create(struct store_tx *tx, const struct safety_case *c) ERR_CHECK;
enum err case_get(struct store_tx *tx, const struct uuid *id, struct arena *a,
                  struct safety_case *ret) ERR_CHECK;
/* The case of that user and kind about that message; ERR_NOT_FOUND. */
enum err case_find(struct store_tx *tx, const struct uuid *user_id, const struct uuid *message_id,
                   enum case_kind kind, struct arena *a, struct safety_case *ret) ERR_CHECK;
/* Newest first; state < 0 = all. */
enum err case_list(struct store_tx *tx, int state, const struct page *p, struct arena *a,
                   struct safety_case **ret, size_t *ret_n) ERR_CHECK;
enum err case_decide(struct store_tx *tx, const struct uuid *id, enum case_state state,
                     struct str by, struct str note, int64_t at) ERR_CHECK;
enum err case_count(struct store_tx *tx, enum case_state state, int64_t *ret) ERR_CHECK;

/* Recent texts that were judged, for comparing policies: people's messages and answers of all
 * conversations, newest first. */
struct judged_text {
    struct uuid message_id;
    bool is_answer;
    struct str role_slug, text;
};
enum err judged_texts(struct store_tx *tx, int limit, struct arena *a, struct judged_text **ret,
                      size_t *ret_n) ERR_CHECK;

/* ---- who must wait ---- */
enum err safety_user_blocks(struct store_tx *tx, const struct uuid *user_id, int64_t since,
                            int64_t *ret) ERR_CHECK; /* cases that count */
enum err
safety_user_hold(struct store_tx *tx, const struct uuid *user_id, int64_t until,
                 bool suspended) ERR_CHECK; /* until 0 lifts it; never shortens otherwise */
/* until 0: free. */
enum err safety_user_until(struct store_tx *tx, const struct uuid *user_id, int64_t *ret_until,
                           bool *ret_suspended) ERR_CHECK;

/* ---- the audit log: rows are only ever added; each holds the SHA-256 of the hash before it and
 * its own fields, so that a row that was changed, or taken out, breaks the chain ---- hash =
 * sha256(previous hash "\n" seq "\n" at "\n" actor "\n" event "\n" detail)   hex */
struct audit_entry {
    int64_t seq, at;
    struct str actor, event, detail, hash;
};
/* detail: JSON of identifiers and numbers, never a text of a person. */
enum err audit_append(struct store_tx *tx, struct str actor, const char *event,
                      struct str detail) ERR_CHECK;
enum err audit_list(struct store_tx *tx, int64_t before /* 0 = the newest */, int limit,
                    struct arena *a, struct audit_entry **ret, size_t *ret_n) ERR_CHECK;
/* Walks the whole chain. ERR_CORRUPT names the first row that does not fit. */
enum err audit_verify(struct store_tx *tx, int64_t *ret_rows, char ret_head[65],
                      struct errinfo *ei) ERR_CHECK;
