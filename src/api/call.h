/* One request on its way through the stages of its route. Inside src/api only.
 *
 *   http_request → match → headers, body and query checked → struct call → stage → stage → … →
 * answer
 *
 * Stages run in the order of the row: READ and WRITE in a transaction on the store's threads, JOB
 * on the job pool, LOOP on the request's loop. Who is asking is found in every transaction of a
 * route that is not public (and in a read of its own when the first stage is none), so a user who
 * was disabled meanwhile gets nothing. A stage that fails ends the call with its error.
 *
 * Ownership: a call has its own arena and belongs to whoever runs its stage; nothing of the request
 * is touched off the loop. When the client has gone, the pipeline ends at the next return to the
 * loop; what a WRITE has stored stays. */
#pragma once

#include <pthread.h>

#include "api/api.h"
#include "api/known.h"
#include "api/out.h"
#include "api/schema.h"
#include "auth/auth.h"
#include "auth/limiter.h"

#define STAGES_MAX 4
#define LOOPS_MAX  256

struct call;

enum stage_kind { STAGE_NONE, STAGE_READ, STAGE_WRITE, STAGE_JOB, STAGE_LOOP };
struct stage {
    enum stage_kind kind;
    bool again; /* WRITE: may be run twice (store_write_again()), whatever it left in the call */
    enum err (*tx)(struct call *c, struct store_tx *tx, struct errinfo *ei); /* READ, WRITE */
    enum err (*job)(struct call *c, struct errinfo *ei);                     /* JOB */
    /* READ, may be NULL: on the loop, in its place, when it is known who asks (known.h). *ret_done
     * false: the transaction is needed. */
    enum err (*known)(struct call *c, bool *ret_done, struct errinfo *ei);
    void (*loop)(struct call *c); /* LOOP: must lead to api_call_next(), api_call_fail(),
                                     api_call_reply() or api_call_free() */
};
#define READ(fn)                                                                                   \
    { .kind = STAGE_READ, .tx = (fn) }
#define READ_OR(fn, without)                                                                       \
    { .kind = STAGE_READ, .tx = (fn), .known = (without) }
#define WRITE(fn)                                                                                  \
    { .kind = STAGE_WRITE, .tx = (fn) }
#define WRITE_AGAIN(fn)                                                                            \
    { .kind = STAGE_WRITE, .tx = (fn), .again = true }
#define JOB(fn)                                                                                    \
    { .kind = STAGE_JOB, .job = (fn) }
#define LOOP(fn)                                                                                   \
    { .kind = STAGE_LOOP, .loop = (fn) }

/* A route that says nothing needs a user. */
enum route_auth {
    ROUTE_USER,
    ROUTE_ADMIN,
    ROUTE_PUBLIC,
    ROUTE_SIGNUP,  /* an administrator; while sign-up is open also anybody */
    ROUTE_METRICS, /* an administrator; from loopback also anybody */
};
#define ROUTE_STREAMS    1u  /* may answer with text/event-stream */
#define ROUTE_LARGE_BODY 2u  /* takes documents */
#define ROUTE_FILES      16u /* a body that is not JSON is a file: call.file */
#define ROUTE_NO_HEAD    8u  /* a GET whose status is known only with its stream */
#define ROUTE_SECRET     32u /* the answer holds a secret: it is not kept for a request sent again */
#define ROUTE_TURN       64u /* a request sent again is recognised by the turn, not by its WRITE */
#define ROUTE_BARE                                                                                 \
    4u /* OpenAI's or an operator's: not described as native (no error codes of ours promised) */

struct route {
    enum http_method method;
    const char *path; /* "/api/v1/users/{user_id}"; "{model*}" takes the rest, with slashes, but for
                         what follows it */
    const char *id;   /* operationId */
    const char *summary;
    enum route_auth auth;
    unsigned flags;
    const struct schema *query;  /* NULL = none */
    const struct schema *body;   /* NULL = a body is not looked at */
    int status;                  /* of success */
    const struct schema *answer; /* NULL = no JSON object: 204, or media */
    const char *media;           /* content type when it is not JSON */
    struct stage stages[STAGES_MAX];
};
extern const struct route api_routes[];
extern const size_t api_routes_count;

struct api_loop {
    struct loop *loop;
    struct upstream_client *client;
};

struct key_use {
    struct api *api; /* the one whose table this is in */
    struct uuid key;
    int64_t minute;
};

struct api {
    struct api_options o;
    struct route_key *keys;               /* owned: what is known of each route's path (api.c) */
    char *notice;                         /* owned; NULL = none */
    struct buf openapi;                   /* the text of /openapi.json */
    struct auth_limiter *by_name, *by_ip; /* attempts to sign in */
    struct auth_limiter *signups;         /* accounts that nobody vouches for, by address */
    char dummy_hash[PASSWORD_HASH_LEN];   /* verified when there is no such user: equal work */
    unsigned char sign_in_key[CRYPTO_KEY_LEN]; /* of this process: see handlers_sessions.c */
    pthread_mutex_t lock;                      /* guards loops and key_uses */
    struct api_loop loops[LOOPS_MAX];
    size_t n_loops;
    struct known_users *known;     /* owned */
    struct key_use key_uses[1024]; /* when the use of a key was last written down */
};

#define QUERY_MAX 6

struct call {
    struct api *api;
    struct loop *loop;
    struct upstream_client *client; /* of this loop */
    struct http_guard *guard;       /* owned; NULL once a stream has taken the request over */
    const struct route *route;
    struct arena *arena; /* owned: this struct and all that it points to */
    size_t stage;        /* the next one */
    bool auth_due, authenticated;
    bool may_ask;              /* the guard holds nothing against who asks */
    uint64_t accounts_version; /* when the store was asked who that is */
    bool head;                 /* HEAD: the answer's body is not sent */
    bool skip_job;             /* set by a READ: the JOB that follows has nothing to do */
    bool wants_events;         /* Accept names text/event-stream */
    struct auth_credential credential;
    struct user user;   /* who asks, once authenticated */
    struct uuid key_id; /* set when an API key was used */
    struct str ip, if_none_match, accept_encoding, last_event_id, traceparent;
    int64_t arrived_ns;
    struct uuid id;  /* the path's identifier, if it has one */
    struct str rest; /* what "{model*}" took */
    struct {
        const char *name;
        struct str value;
    } query[QUERY_MAX];
    size_t n_query;
    struct page page;     /* from limit and after */
    yyjson_doc *doc;      /* owned; NULL without a body */
    struct str file;      /* ROUTE_FILES: the body's bytes, p NULL when it was JSON; in the arena */
    struct str file_type; /* its Content-Type */
    json_val *body;       /* its root, an object that passed the schema */
    /* A POST with an Idempotency-Key: SHA-256 in hex of the key and of the whole request. */
    struct str key_hash, request_hash; /* key_hash STR_NULL: no key */
    /* As request_hash was made before the key went into it: rows of an older version are there for
     * a day after an upgrade. Of a small body. */
    struct str former_hash;
    struct str unhashed;   /* what of a large body is not in request_hash yet; in the arena */
    bool replayed;         /* the answer is the one that was given before */
    struct uuid replay_id; /* of a turn: the answer that was made then */
    void *state;           /* the handlers' own, in the arena */
    void (*state_free)(void *state); /* what of it is not in the arena; NULL = nothing */
    /* the answer */
    int status;
    const char *content_type;
    struct buf out;          /* owned */
    uint32_t retry_after_ms; /* for a status of 429 or 503; 0 = the default */
    char cookie[AUTH_COOKIE_MAX];
    struct errinfo ei;
};

/* On the loop. Runs the next stage or, after the last one, api_call_reply(). */
void api_call_next(struct call *c);
/* On the loop. Answer with c->status and c->out, or with an error; both free the call. */
void api_call_reply(struct call *c);
void api_call_fail(struct call *c, enum err e, const struct errinfo *ei);
void api_call_free(struct call *c);
/* On the loop: the request while its client is there, else NULL. */
struct http_request *api_call_request(struct call *c);

/* A query parameter that passed the schema, or STR_NULL. */
struct str api_call_query(const struct call *c, const char *name);

/* ---- idempotency.c ---- */
enum err idempotency_read(struct call *c, struct http_request *r, struct errinfo *ei) ERR_CHECK;
/* In the JOB of a route with ROUTE_LARGE_BODY: a large body is hashed there. */
enum err idempotency_hash_rest(struct call *c, struct errinfo *ei) ERR_CHECK;
/* In a transaction: *ret_found when the request was carried out before; c then has its answer. */
enum err idempotency_look(struct call *c, struct store_tx *tx, bool *ret_found,
                          struct errinfo *ei) ERR_CHECK;
/* In a WRITE: keeps the answer in c->out under the user's name; nothing without a key or a user. */
enum err idempotency_note(struct call *c, struct store_tx *tx, const struct uuid *user_id,
                          struct errinfo *ei) ERR_CHECK;

/* ---- respond.c ---- */
void respond_error_json(struct buf *b, enum err e, const struct errinfo *ei);
void respond_error(struct http_request *r, enum err e, const struct errinfo *ei);
void respond_retry_after(struct http_request *r, uint32_t ms /* 0 = the default */);
void respond_api_headers(struct http_request *r); /* no-store, nosniff, … */
enum err respond_err_from_code(struct str code); /* ERR_INTERNAL for one that is not in the table */
void respond_page(struct http_request *r);       /* a file of the page, or 404 */

/* ---- openapi.c ---- */
enum err openapi_write(struct buf *b) ERR_CHECK;
