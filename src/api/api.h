/* Parley's HTTP API: the native one (/api/v1), the OpenAI-compatible one (/v1), operations
 * (/healthz, /readyz, /metrics, /openapi.json) and the page. docs/api.md is the contract; routes.c
 * is the one table of what there is.
 *
 * struct api is shared by all loops. A request is a pipeline of stages that its row in the table
 * names: transactions on the store's threads, work on the job pool, code on the request's loop. It
 * is answered on its loop. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "ingest/ingest.h"
#include "learn/learn.h"
#include "net/http_server.h"
#include "net/jobs.h"
#include "net/loop.h"
#include "retrieval/web_search.h"
#include "store/chunk.h"
#include "store/store.h"
#include "turn/turn.h"
#include "upstream/upstream.h"

struct api;

struct api_options {
    struct store *store; /* these are borrowed and outlive the api */
    struct turns *turns;
    struct upstream *upstream;
    struct retrieval *retrieval; /* NULL = nothing is searched */
    struct care *care;           /* checks and backups of the database; NULL = none */
    struct ingest *ingest;       /* told when sources change; NULL = nobody is */
    struct web_search *web;      /* asks search services; NULL = none is asked */
    struct learn *learn;         /* borrowed; NULL = what is learnt is not in use */
    struct jobs *jobs;           /* password hashing: 1 or 2 threads are enough */
    struct safety *safety;       /* the guard, borrowed; NULL = none */
    struct jobs *safety_jobs;    /* where it judges */
    bool guard_early;  /* the model may be asked before the last verdict on the request is there */
    int guard_wait_ms; /* for the embedding of a request, 0 = 500 */
    int web_wait_ms;   /* for search services, 0 = 700 */
    bool upstream_is_engine; /* the model server is Parley's own: it is sent the "parley" field
                                (fairness, prefix reuse) */
    bool signup_open;        /* anybody may make an account; else only administrators */
    int session_days;        /* how long a sign-in lasts, 0 = 30 */
    bool public_https;       /* people reach this server by https: cookies get Secure */
    const char
        *notice; /* a sentence for the page ("the small model is in use …"), copied; NULL = none */
    size_t max_body_bytes;     /* 0 = 1 MiB */
    size_t max_document_bytes; /* the body of POST /api/v1/documents, 0 = 32 MiB */
    struct document_quota quota;
};
enum err api_new(const struct api_options *o, struct api **ret, struct errinfo *ei) ERR_CHECK;
void api_free(
    struct api *a); /* after the loops have ended and the store was closed; NULL is fine */

/* Once per loop, on that loop or before it runs, before requests arrive there. At most 256 loops.
 */
enum err api_attach_loop(struct api *a, struct loop *l, struct upstream_client *c,
                         struct errinfo *ei) ERR_CHECK;

/* The http_handler; ctx is the struct api. */
void api_handle(struct http_request *r, void *ctx);

/* For http_server_options: max_body_bytes (the largest that any route takes), body_limit (that of
 * the request's route; the large one only for who brings a credential) and error_body. */
size_t api_max_body_bytes(const struct api *a);
size_t api_body_limit(const struct http_request *r, void *ctx /* the struct api */);
void api_error_body(struct buf *out, enum err e, const char *message, const char *request_id);

/* A store_fn (arg is not used): puts the four starter roles into a new store, once in its life.
 *   store_write_wait(store, api_seed, NULL, &ei) */
enum err api_seed(struct store_tx *tx, void *arg, struct errinfo *ei);
/* A store_fn for a read, before requests come; arg is the struct upstream: what administrators have
 * changed of its servers is changed again. */
enum err api_upstreams_restore(struct store_tx *tx, void *arg, struct errinfo *ei);
