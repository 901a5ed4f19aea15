/* The store: everything that outlives the process, in the domain's verbs. One implementation today:
 * SQLite (WAL, synchronous=FULL), whose header stays inside this folder.
 *
 * Threads. Work reaches the store as a function that runs inside a transaction on one of the
 * store's own threads: store_read() on a reader (a consistent snapshot), store_write() on the one
 * writer. The writer takes everything that is queued, runs each function in a savepoint of one
 * transaction, syncs once, and only then reports all of them done: done with ERR_OK means durable.
 * A function that fails is rolled back alone. When the commit itself fails, all of its group fail
 * with that error. `done` runs on the given loop. No SQL ever runs on a loop.
 *
 * A store_fn must be quick, must not block on anything but the store, and must not keep the tx.
 * Results are copied into the arena that the function is given by its own arg (the arena's owner
 * must not touch it until done). Timestamps are Unix milliseconds; 0 = never. Strings are valid
 * UTF-8 and may not contain NUL (ERR_INVALID). JSON fields hold JSON text that their writer has
 * validated.
 *
 * What a done callback is told of a failing database is fit for the network; paths and details are
 * in the log (store.failed) and in what the _wait forms return.
 *
 * Errors beyond each verb's own: ERR_STORE_BUSY (locked by another process), ERR_DISK_FULL, ERR_IO,
 * ERR_CORRUPT, ERR_NOMEM. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "base/uuid.h"
#include "net/loop.h"

struct store;
struct store_tx;

typedef enum err (*store_fn)(struct store_tx *tx, void *arg, struct errinfo *ei);
typedef void (*store_done)(void *arg, enum err err, const struct errinfo *ei);

struct store_options {
    const char *path; /* database file; its directory exists */
    int readers;      /* reader threads, 0 = 2 */
    size_t
        max_queued; /* operations waiting at most (each way), 0 = 20,000; past it ERR_OVERLOADED */
    int busy_timeout_ms; /* how long a foreign lock is waited for, 0 = 2,000 */
};

/* Opens or creates the database and runs the migrations that are missing, in a transaction. A
 * database from a newer Parley with a schema this one cannot run beside, a damaged file, a full
 * disk: an error that says what to do. Where a disk that is full or mounted read-only is all that
 * stands in the way and the schema is this program's, the store opens for reading only
 * (store_is_read_only()); store_probe() makes it writable once the disk is. */
enum err store_open(const struct store_options *o, struct store **ret,
                    struct errinfo *ei) ERR_CHECK;
void store_close(
    struct store *s); /* finishes what is queued, checkpoints; done callbacks still posted */

/* Queue work. On an error return nothing was queued and done is not called. done may be NULL. */
enum err store_read(struct store *s, store_fn fn, void *arg, struct loop *loop,
                    store_done done) ERR_CHECK;
enum err store_write(struct store *s, store_fn fn, void *arg, struct loop *loop,
                     store_done done) ERR_CHECK;

/* store_write() for a function that may be run twice, with what it changed the first time undone:
 * it says all that it says through arg anew each time. Of such a group none needs a savepoint. */
enum err store_write_again(struct store *s, store_fn fn, void *arg, struct loop *loop,
                           store_done done) ERR_CHECK;

/* The same, waiting for the result: start-up, terminal commands and tests; never on a loop. */
enum err store_read_wait(struct store *s, store_fn fn, void *arg, struct errinfo *ei) ERR_CHECK;
enum err store_write_wait(struct store *s, store_fn fn, void *arg, struct errinfo *ei) ERR_CHECK;

/* Whether the last group could be written: ERR_OK, or why not (a full disk, a failing one), in
 * words fit for the network. Reading goes on meanwhile. Any thread. */
enum err store_health(struct store *s, struct errinfo *ei);
/* Grows with each group of writes in which this process changed who may ask: an account, a session
 * or key that ended, a hold of the guard. Any thread. */
uint64_t store_accounts_version(struct store *s);
/* No write can succeed before a store_probe() has: it was opened on a disk that takes nothing. Any
 * thread. */
bool store_is_read_only(struct store *s);
/* A write of no meaning: shows whether the store works again. On a store that is read-only it tries
 * to open the database for writing, bringing the schema up to date. */
enum err store_probe(struct store *s) ERR_CHECK;
/* In a write: fails where nothing can be written, also when the rest of it changes nothing. */
enum err store_touch(struct store_tx *tx) ERR_CHECK;

/* A consistent copy while the store is in use, synced and renamed into place (SQLite's online
 * backup). Blocking. */
enum err store_backup(const char *db_path, const char *to_path, struct errinfo *ei) ERR_CHECK;
/* Verifies that from_path is an intact Parley database, then puts it in db_path's place; the old
 * one is kept beside it as
 * "<db_path>.before-restore". The program must not be running (ERR_STORE_BUSY if it is). */
enum err store_restore(const char *db_path, const char *from_path, struct errinfo *ei) ERR_CHECK;
/* PRAGMA integrity_check and foreign_key_check. ERR_CORRUPT names the first problem. */
enum err store_check(const char *db_path, struct errinfo *ei) ERR_CHECK;

/* Held by the running server, so that a second one on the same data directory is refused (flock on
 * "<path>.lock"). */
enum err store_lock(const char *db_path, int *ret_fd, struct errinfo *ei) ERR_CHECK;

/* ---- paging: newest first unless a verb says otherwise. `after` is the last id of the page
 * before; not set = the start ---- */
struct page {
    struct uuid after;
    int64_t after_at; /* conversation_list(): last_updated_at of that one; 0 = it is looked up, and
                         must still be there */
    int limit;        /* 1 to 200 */
};

/* ---- User ---- */
struct user {
    struct uuid user_id;
    struct str username; /* unique without regard to ASCII case */
    struct str email;    /* the same */
    int64_t created_at;
    int64_t last_login_at;
    struct str preferences; /* a JSON object */
    bool is_admin;
    bool disabled;            /* cannot sign in; keys and sessions do not work */
    struct str password_hash; /* never leaves the server */
};

enum err user_create(struct store_tx *tx, const struct user *u,
                     struct errinfo *ei) ERR_CHECK; /* ERR_CONFLICT + param */
enum err user_get(struct store_tx *tx, const struct uuid *id, struct arena *a,
                  struct user *ret) ERR_CHECK; /* ERR_NOT_FOUND */
enum err user_find(struct store_tx *tx, struct str username_or_email, struct arena *a,
                   struct user *ret) ERR_CHECK;
enum err user_list(struct store_tx *tx, const struct page *p, struct arena *a, struct user **ret,
                   size_t *ret_n) ERR_CHECK;
enum err user_update(struct store_tx *tx, const struct user *u, struct errinfo *ei)
    ERR_CHECK; /* all but id, created_at, last_login_at; ERR_CONFLICT also when the last enabled
                  administrator would be lost */
enum err user_set_last_login(struct store_tx *tx, const struct uuid *id, int64_t at) ERR_CHECK;
enum err user_delete(struct store_tx *tx, const struct uuid *id,
                     struct errinfo *ei) ERR_CHECK; /* and all that is theirs */
enum err user_count(struct store_tx *tx, int64_t *ret_users, int64_t *ret_admins) ERR_CHECK;

/* ---- sessions and API keys: only hashes of the secrets are stored (SHA-256, hex) ---- */
enum err session_create(struct store_tx *tx, struct str token_hash, const struct uuid *user_id,
                        int64_t expires_at) ERR_CHECK;
/* The user of a live session or key who is not disabled; ERR_NOT_FOUND otherwise. */
enum err session_find(struct store_tx *tx, struct str token_hash, struct arena *a,
                      struct user *ret) ERR_CHECK;
enum err session_delete(struct store_tx *tx,
                        struct str token_hash) ERR_CHECK; /* ERR_OK also when it is gone already */
enum err session_delete_all(struct store_tx *tx, const struct uuid *user_id,
                            struct str except_hash /* STR_NULL = none */) ERR_CHECK;
enum err session_purge(struct store_tx *tx) ERR_CHECK; /* the expired ones */

struct api_key {
    struct uuid key_id;
    struct uuid user_id;
    struct str name;
    struct str prefix; /* the first characters, to tell keys apart */
    struct str hash;
    int64_t created_at;
    int64_t last_used_at; /* to the minute */
    int64_t revoked_at;
};
enum err api_key_create(struct store_tx *tx, const struct api_key *k) ERR_CHECK;
enum err api_key_find(struct store_tx *tx, struct str hash, struct arena *a, struct user *ret_user,
                      struct uuid *ret_key) ERR_CHECK;
enum err api_key_list(struct store_tx *tx, const struct uuid *user_id, struct arena *a,
                      struct api_key **ret, size_t *ret_n) ERR_CHECK;
enum err
api_key_revoke(struct store_tx *tx, const struct uuid *user_id,
               const struct uuid *key_id) ERR_CHECK; /* again: ERR_OK, the first time stays */
enum err api_key_revoke_all(struct store_tx *tx, const struct uuid *user_id,
                            const struct uuid *except /* not set = none */) ERR_CHECK;
enum err api_key_set_used(struct store_tx *tx, const struct uuid *key_id, int64_t at) ERR_CHECK;

/* ---- AssistantRole: the row is its newest version; versions are kept ---- */
struct role {
    struct uuid role_id;
    struct str name; /* unique among roles that are not retired, without regard to ASCII case; at
                        most ROLE_NAME_MAX */
    struct str description;
    struct str system_prompt;
    int version;      /* 1, 2, …: grows with every change of what shapes answers (prompt, model,
                         parameters) */
    struct str model; /* "" = the default model */
    double temperature, top_p;    /* < 0 = the model's default */
    int max_tokens;               /* 0 = the model's default */
    struct str stop;              /* JSON list of strings */
    struct str starter_questions; /* JSON list of strings */
    int64_t created_at, updated_at;
    int64_t retired_at;
};
/* "Travel Assistant" → "travel-assistant": ASCII lower case, runs of what is no letter, digit or
 * non-ASCII byte become one '-'. Returns the length, 0 when the name has nothing to make one of;
 * out is NUL-terminated. Unique as the names are. */
#define ROLE_NAME_MAX  320 /* bytes: 80 characters of any script */
#define ROLE_SLUG_SIZE (ROLE_NAME_MAX + 4)
size_t role_slug(struct str name, char *out, size_t size);
enum err role_create(struct store_tx *tx, const struct role *r,
                     struct errinfo *ei) ERR_CHECK; /* version 1 */
enum err role_get(struct store_tx *tx, const struct uuid *id, struct arena *a,
                  struct role *ret) ERR_CHECK;
enum err
role_find(struct store_tx *tx, struct str name, struct arena *a,
          struct role *ret) ERR_CHECK; /* not retired; name, or its slug ("travel-assistant") */
enum err role_list(struct store_tx *tx, bool with_retired, struct arena *a, struct role **ret,
                   size_t *ret_n) ERR_CHECK; /* oldest first */
enum err role_update(struct store_tx *tx, const struct role *r, int *ret_version /* may be NULL */,
                     struct errinfo *ei)
    ERR_CHECK; /* all but id, version, created_at; retired_at retires and restores */
enum err role_versions(struct store_tx *tx, const struct uuid *id, struct arena *a,
                       struct role **ret,
                       size_t *ret_n) ERR_CHECK; /* newest first; updated_at = when made */
enum err role_version_get(struct store_tx *tx, const struct uuid *id, int version, struct arena *a,
                          struct role *ret) ERR_CHECK;

/* ---- Conversation ---- */
enum conversation_status { CONVERSATION_ACTIVE, CONVERSATION_ARCHIVED };

struct conversation {
    struct uuid conversation_id;
    struct uuid user_id;
    int64_t created_at, last_updated_at;
    struct uuid assistant_role_id;
    enum conversation_status status;
    struct str title;               /* "" = none yet */
    bool title_is_users;            /* given by a person: never replaced */
    struct uuid current_message_id; /* the leaf of the branch that is shown; not set while empty */
    struct str summary;             /* of what has fallen out of the window */
    struct uuid summary_until;      /* the last message that the summary covers */
};
/* Every verb with user_id answers ERR_NOT_FOUND for what is another user's. */
enum err conversation_create(struct store_tx *tx, const struct conversation *c,
                             struct errinfo *ei) ERR_CHECK;
enum err conversation_get(struct store_tx *tx, const struct uuid *user_id, const struct uuid *id,
                          struct arena *a, struct conversation *ret) ERR_CHECK;
/* Title, status, role, current message (must be of this conversation). last_updated_at changes only
 * when touch. */
enum err conversation_update(struct store_tx *tx, const struct uuid *user_id,
                             const struct conversation *c, bool touch,
                             struct errinfo *ei) ERR_CHECK;
enum err conversation_set_auto_title(struct store_tx *tx, const struct uuid *id, struct str title)
    ERR_CHECK; /* only while the title is not the user's */
enum err conversation_set_summary(struct store_tx *tx, const struct uuid *id, struct str summary,
                                  const struct uuid *until) ERR_CHECK;
enum err conversation_delete(struct store_tx *tx, const struct uuid *user_id,
                             const struct uuid *id) ERR_CHECK;
/* Only while its current message is this one (or none, when that is not set); else ERR_NOT_FOUND.
 */
enum err conversation_delete_unused(struct store_tx *tx, const struct uuid *user_id,
                                    const struct uuid *id, const struct uuid *current) ERR_CHECK;

struct conversation_hit {
    struct conversation c;
    struct str snippet; /* search: the matching text, STR_NULL otherwise; matches stand between \x02
                           and \x03 */
    struct uuid snippet_message; /* not set when the title matched */
};
/* By last_updated_at, newest first. query: words that must all occur in the title or in one message
 * (prefix match on the last word); STR_NULL = no search; a query without any word finds nothing.
 * status < 0 = any. `after` is a conversation id; ERR_NOT_FOUND when it is no longer there and the
 * page does not say after_at. */
enum err conversation_list(struct store_tx *tx, const struct uuid *user_id, int status,
                           struct str query, const struct page *p, struct arena *a,
                           struct conversation_hit **ret, size_t *ret_n) ERR_CHECK;

/* ---- Message: a tree by parent_id; a branch is the path from a leaf to its root ---- */
enum message_sender { SENDER_USER, SENDER_ASSISTANT };
/*  user messages are COMPLETE; answers:  STREAMING ──→ COMPLETE | STOPPED (by the user) | FAILED
 * (an error) └─────→ INTERRUPTED (the process died; set at the next start) */
enum message_status {
    MESSAGE_COMPLETE,
    MESSAGE_STREAMING,
    MESSAGE_STOPPED,
    MESSAGE_FAILED,
    MESSAGE_INTERRUPTED
};

struct message {
    struct uuid message_id;
    struct uuid conversation_id;
    struct uuid parent_id; /* not set for a root */
    enum message_sender sender;
    struct str content;
    int64_t timestamp;
    int64_t response_latency_ms; /* answers: last byte of the request to the end of the answer; -1 =
                                    not known */
    struct str retrieved_docs;   /* JSON list */
    enum message_status status;
    int64_t ttft_ms; /* answers: to the first content event; -1 = none */
    struct uuid role_id;
    int role_version; /* which version of the role's prompt answered; 0 for user messages */
    struct str model;
    struct str finish_reason;             /* "stop", "length", …; "" = none */
    struct str error;                     /* what went wrong, for FAILED */
    int prompt_tokens, completion_tokens; /* -1 = not known */
    struct str support;                   /* JSON list: which sentences stand in retrieved_docs */
    struct str safety;                    /* the guard's verdict as JSON; "" = nothing was found */
    struct str attachments; /* questions: documents that came with it; JSON list of {doc_id,
                               source_name} */
};
enum err message_append(struct store_tx *tx, const struct message *m, struct errinfo *ei)
    ERR_CHECK; /* also becomes the current message and touches the conversation; ERR_INVALID when
                  the parent is of another conversation */
/* A question (NULL: there is one already) and the row of its answer, which becomes current.
 * current, if given: what must be current until then (not set: nothing); ERR_CONFLICT when it is
 * not. */
enum err message_append_turn(struct store_tx *tx, const struct message *question,
                             const struct message *answer, const struct uuid *current,
                             struct errinfo *ei) ERR_CHECK;
enum err message_get(struct store_tx *tx, const struct uuid *user_id, const struct uuid *id,
                     struct arena *a, struct message *ret) ERR_CHECK;
enum err
message_checkpoint(struct store_tx *tx, const struct uuid *id, struct str content,
                   int64_t ttft_ms) ERR_CHECK; /* while STREAMING; ERR_NOT_FOUND otherwise */
/* The same, of an answer whose process died: more was seen of it than it had stored. */
enum err message_extend(struct store_tx *tx, const struct uuid *id, struct str content) ERR_CHECK;
enum err message_finish(struct store_tx *tx, const struct message *m)
    ERR_CHECK; /* content, status, latencies, model, finish_reason, error, token counts,
                  retrieved_docs, support, safety; of a STREAMING or INTERRUPTED one (ERR_NOT_FOUND
                  otherwise); ERR_INVALID when m->status is STREAMING */
/* Messages can be searched for a moment after they are there: the store's writer calls this. Passes
 * at most `most` on their way into the index; *ret_n: so many there were. look: also for those that
 * another version of this program has finished, which asks for each that is being written. */
enum err message_index(struct store_tx *tx, int most, bool look, int *ret_n) ERR_CHECK;
enum err message_list(struct store_tx *tx, const struct uuid *conversation_id, struct arena *a,
                      struct message **ret,
                      size_t *ret_n) ERR_CHECK; /* the whole tree, oldest first */
/* The path that ends in leaf, root first, at most max messages (the newest ones). */
enum err message_branch(struct store_tx *tx, const struct uuid *leaf, size_t max, struct arena *a,
                        struct message **ret, size_t *ret_n) ERR_CHECK;
/* An answer that nothing stands on, with its question when that has no other answer; the
 * conversation's current message moves up. ERR_NOT_FOUND; ERR_CONFLICT: later messages stand on it,
 * or it streams. */
enum err message_delete_answer(struct store_tx *tx, const struct uuid *user_id,
                               const struct uuid *id, struct errinfo *ei) ERR_CHECK;

/* ---- answers whose process died: taken up again from their last checkpoint ---- */
struct unfinished {
    struct uuid message_id, user_id;
    struct str content; /* as of the last checkpoint */
    int64_t timestamp;
    /* How often it was taken up, and from how many bytes the first and the last time. */
    int64_t generation;
    size_t base_first, base_last;
};
/* At start: the STREAMING ones, oldest first, at most max; those that began before not_before or
 * were taken up max_generations times, and those past max, become INTERRUPTED (*ret_interrupted).
 */
enum err message_unfinished(struct store_tx *tx, int64_t not_before, int max_generations, int max,
                            struct arena *a, struct unfinished **ret, size_t *ret_n,
                            int64_t *ret_interrupted) ERR_CHECK;
/* Notes that the answer is taken up from base bytes, as of u->generation and bases. */
enum err message_resumed(struct store_tx *tx, const struct unfinished *u) ERR_CHECK;
/* u->message_id's generation and bases; zeros for an answer that was never taken up. */
enum err message_generation(struct store_tx *tx, struct unfinished *u) ERR_CHECK;

/* ---- Feedback ---- */
enum rating { RATING_THUMBS_UP, RATING_THUMBS_DOWN, RATING_NEUTRAL };

struct feedback {
    struct uuid feedback_id;
    struct uuid message_id;
    struct uuid user_id;
    enum rating rating;
    struct str comment; /* "" = none */
    int64_t created_at, updated_at;
    struct str reasons; /* JSON list; reads only: feedback_set_reasons() writes it */
};
/* One for each user and message: the first creates, later ones change it (feedback_id and
 * created_at stay). ERR_NOT_FOUND when the message is not in one of the user's conversations;
 * ERR_INVALID when it is no answer. */
enum err feedback_put(struct store_tx *tx, const struct feedback *f, struct arena *a,
                      struct feedback *ret, struct errinfo *ei) ERR_CHECK;
enum err feedback_get(struct store_tx *tx, const struct uuid *user_id,
                      const struct uuid *message_id, struct arena *a,
                      struct feedback *ret) ERR_CHECK;
enum err feedback_delete(struct store_tx *tx, const struct uuid *user_id,
                         const struct uuid *message_id) ERR_CHECK;
enum err feedback_of_conversation(struct store_tx *tx, const struct uuid *user_id,
                                  const struct uuid *conversation_id, struct arena *a,
                                  struct feedback **ret, size_t *ret_n) ERR_CHECK;

struct feedback_row { /* with what it speaks about, for administrators */
    struct feedback f;
    struct str username;
    struct uuid conversation_id, role_id;
    struct str role_name;
    int role_version;
    struct str model;
    struct str question, answer;
};
enum err feedback_list(struct store_tx *tx, int rating /* < 0 = any */, const struct page *p,
                       struct arena *a, struct feedback_row **ret, size_t *ret_n) ERR_CHECK;

/* ---- Document (its versions, chunks and collections: store/chunk.h) ---- */
enum document_status {
    DOCUMENT_PENDING, /* no version of it is searchable yet */
    DOCUMENT_INDEXED,
    DOCUMENT_FAILED, /* `error` says why */
};
struct document {
    struct uuid doc_id;
    struct uuid user_id;       /* who gave it */
    bool shared;               /* false: only its owner sees it */
    struct uuid collection_id; /* not set: the shared one, or the owner's private one */
    enum document_status status;
    struct str error; /* also of a newer version that failed while an older one is served */
    struct str title, media_type;
    struct str content_hash; /* of the bytes that are served, as their giver counts it */
    struct str uri;          /* where it comes from, unique in its collection; "" = given by hand */
    int64_t updated_at;
    int chunk_count;
    bool updating; /* a newer version waits to be indexed */
    struct str source_name;
    struct str content; /* lists leave it STR_NULL */
    size_t content_bytes;
    struct str metadata; /* JSON: date, tags, type */
    int64_t created_at;
    int64_t indexed_at; /* 0 until retrieval has indexed it */
    struct str safety;  /* JSON: what the guard found in it (safety/document.h); "" = nothing */
    struct str safety_stamp; /* what judged it (safety_stamp()); "" = it was not judged */
};
enum err document_create(struct store_tx *tx, const struct document *d,
                         struct errinfo *ei) ERR_CHECK;
enum err document_get(struct store_tx *tx, const struct uuid *user_id, const struct uuid *id,
                      struct arena *a, struct document *ret) ERR_CHECK; /* one's own or shared */
enum err document_list(struct store_tx *tx, const struct uuid *user_id, const struct page *p,
                       struct arena *a, struct document **ret, size_t *ret_n) ERR_CHECK;
enum err
document_delete(struct store_tx *tx, const struct uuid *user_id, bool is_admin,
                const struct uuid *id) ERR_CHECK; /* owner; shared ones also an administrator */

/* ---- idempotency: what was answered to a request with a key; both are hashes (SHA-256, hex) ----
 */
struct idempotency {
    struct uuid user_id;
    struct str key_hash, request_hash;
    int64_t created_at;
    int status;             /* of the reply; 0 = it held a secret and was not kept */
    struct uuid message_id; /* of a turn: its answer */
    struct str reply;       /* "" for a turn */
};
enum err idempotency_find(struct store_tx *tx, const struct uuid *user_id, struct str key_hash,
                          struct arena *a, struct idempotency *ret) ERR_CHECK; /* ERR_NOT_FOUND */
enum err
idempotency_put(struct store_tx *tx,
                const struct idempotency *i) ERR_CHECK; /* ERR_CONFLICT: the key is there */
enum err idempotency_drop(struct store_tx *tx, const struct uuid *user_id,
                          struct str key_hash) ERR_CHECK; /* also when there is none */
/* Some of those made before then; *ret_more when there may be others. */
enum err idempotency_purge(struct store_tx *tx, int64_t before, bool *ret_more) ERR_CHECK;

/* ---- settings: small named values of the installation ---- */
enum err setting_get(struct store_tx *tx, const char *name, struct arena *a,
                     struct str *ret) ERR_CHECK; /* ERR_NOT_FOUND */
enum err setting_set(struct store_tx *tx, const char *name,
                     struct str value) ERR_CHECK; /* STR_NULL removes */

/* The names of the enums as the API and the database write them ("thumbs_up", "archived", …);
 * from_name returns -1. */
const char *conversation_status_name(enum conversation_status s);
const char *message_sender_name(enum message_sender s);
const char *message_status_name(enum message_status s);
const char *rating_name(enum rating r);
const char *document_status_name(enum document_status s);
int conversation_status_from_name(struct str s);
int rating_from_name(struct str s);
