/* One chat turn: from a message to its stored answer.
 *
 *   load + append (one write) ─┬─→ durable ───────────────┐
 *                              └─→ fit → submit → tokens ─┴→ sinks: record → number + publish →
 * finish (write) → done
 *
 * A turn is a table of steps (turn.c), each of which returns done, wait or fail; what comes out
 * passes a table of sinks. A turn lives on the loop where it was started. Its events go to a stream
 * (a ring of numbered events kept by message id) that clients on any loop attach to, leave and come
 * back to; leaving never stops the answer. The user's message is durable before the first event
 * goes out. What has been generated is checkpointed within a second; an answer whose model server
 * or process dies is gone on with from its text. */
#pragma once

#include "base/err.h"
#include "base/uuid.h"
#include "net/jobs.h"
#include "net/loop.h"
#include "safety/guard.h"
#include "safety/guard_model.h"
#include "store/store.h"
#include "turn/arms.h"
#include "upstream/upstream.h"

struct turns; /* shared by all loops */

struct turns_options {
    struct store *store;
    struct upstream *upstream;
    const char *data_dir;     /* what readers saw outlives the process under its name (tails.h);
                                 borrowed; NULL = it does not */
    int max_running;          /* turns at once in all, 0 = 10,000; past it ERR_OVERLOADED */
    int max_running_per_user; /* 0 = 8; past it ERR_RATE */
    int keep_seconds; /* how long a finished stream's events stay for those who come back, 0 = 60 */
    size_t max_content_bytes;       /* one message, 0 = 128 KiB */
    int default_max_tokens;         /* for roles that state none, 0 = 1,024 */
    const struct turn_learn *learn; /* borrowed; NULL = roles answer as they are */
    struct safety *safety;          /* the guard, borrowed; NULL = none */
    struct jobs *safety_jobs;       /* where it judges */
    bool guard_early;  /* the model may be asked before the last verdict on the question is there */
    int guard_wait_ms; /* for the embedding of a question, 0 = 500 */
    struct upstream *guard_upstream; /* a guard model's server, borrowed; NULL = none */
    const char *guard_model;         /* its name there; NULL = the first one */
    enum guard_format guard_format;
    int guard_timeout_ms;        /* 0 = 1,500 */
    bool guard_blocks;           /* what happens to an uncertain question when it does not answer */
    struct retrieval *retrieval; /* borrowed; NULL = no documents are looked into */
    const char *otlp_endpoint;   /* where traces go, borrowed; NULL or "" = nowhere */
    struct web_search *web;      /* borrowed; NULL = no search service is asked */
    int web_wait_ms;             /* how long it is waited for, 0 = 700 */
    bool degrade;                /* under load less is done for an answer, which says so */
    const char *fallback_model;  /* the smaller one then; borrowed; NULL or "" = none */
    bool titles; /* ask the model for titles in the background (else the first words are the title)
                  */
};
enum err turns_new(const struct turns_options *o, struct turns **ret, struct errinfo *ei) ERR_CHECK;
void turns_free(
    struct turns *t); /* after the loops were detached and have ended and the store was closed */
/* Once per loop, on that loop, before turns are started there. */
enum err turns_attach_loop(struct turns *t, struct loop *l, struct upstream_client *c,
                           struct errinfo *ei) ERR_CHECK;
/* Running turns of the loop are checkpointed; the next process goes on with them. Their subscribers
 * are told on_fail(ERR_UNAVAILABLE): they come back with the id of the last event that they had. */
void turns_detach_loop(struct turns *t, struct loop *l);
/* Once, when the former process has ended: before loops are attached or, after an upgrade, beside
 * them: finds the answers that the former process had begun. They can be
 * attached to at once, and the loops go on with them. *ret_n: how many; *ret_given_up: those that
 * are marked interrupted instead (too old, or taken up too often). Blocking. */
enum err turns_recover(struct turns *t, int64_t *ret_n, int64_t *ret_given_up,
                       struct errinfo *ei) ERR_CHECK;
int turns_running(const struct turns *t);
int turns_busy(struct turns *t); /* with the requests that turns_enter() let in */

/* A place under max_running and max_running_per_user for a request that has the model answer and is
 * no turn; each that was got is given back once. ERR_OVERLOADED, ERR_RATE. Any thread. */
enum err turns_enter(struct turns *t, const struct uuid *user_id, struct errinfo *ei) ERR_CHECK;
void turns_leave(struct turns *t, const struct uuid *user_id);

/* ---- streams ---- */
enum stream_kind {
    STREAM_CREATED,
    STREAM_QUEUED,
    STREAM_TOKEN,
    STREAM_RESET,
    STREAM_NOTICE,
    STREAM_TITLE,
    STREAM_BLOCKED,
    STREAM_DONE,
    STREAM_ERROR
};
const char *stream_kind_name(enum stream_kind k); /* "created", … the SSE event's name */

struct stream_event {
    /* Grows within an answer; how, is for turn/ alone to know (turn_internal.h). A RESET carries
     * the id of the last event that it stands for. */
    int64_t id;
    enum stream_kind kind;
    struct str data; /* JSON as docs/api.md says, borrowed for the call */
};
/* Called on the loop that attached, in order, each event once. After DONE, ERROR or on_fail
 * nothing more comes and the subscription is invalid. */
struct stream_sink {
    void (*on_event)(void *ctx, const struct stream_event *e);
    /* The turn could not start, or attaching failed (ERR_NOT_FOUND, …). After events: the process
     * ends and the answer goes on in the next one. */
    void (*on_fail)(void *ctx, const struct errinfo *ei);
};
struct subscription;
void subscription_cancel(struct subscription *s); /* on its loop; the turn goes on */

/* ---- starting ---- */
#define TURN_ATTACHMENTS_MAX 16

struct turn_input {
    struct uuid user_id;
    struct uuid conversation_id;
    /* RESUME is not for callers: the answer of a process that died, taken up by turns_recover(). */
    enum { TURN_MESSAGE, TURN_REGENERATE, TURN_RESUME } kind;
    struct str content; /* TURN_MESSAGE: valid UTF-8, not empty; copied */
    struct uuid attachments[TURN_ATTACHMENTS_MAX]; /* TURN_MESSAGE: documents that came with it */
    size_t n_attachments;
    enum { PARENT_CURRENT, PARENT_ROOT, PARENT_GIVEN } parent_kind;
    struct uuid parent_id;  /* PARENT_GIVEN */
    struct uuid message_id; /* TURN_REGENERATE: the answer to be answered again, TURN_RESUME: the
                               one to be gone on with (its conversation is taken from it) */
    int64_t arrived_ns;     /* the request's last byte, for the latencies */
    struct str traceparent; /* the request's header; STR_NULL = none */
    struct str preferences; /* of the user; STR_NULL: the store is asked */
    struct str key_hash, request_hash; /* of its Idempotency-Key, noted with the append; copied;
                                          STR_NULL = none */
};
/* Starts a turn on the current loop and attaches the caller to its stream. on_fail comes for
 * everything that goes wrong before `created` (no such conversation, too long, unknown model, disk
 * full …): nothing is then stored. (A retired role goes on serving its conversations.) Never calls
 * back inside the call. */
enum err turn_start(struct turns *t, struct loop *l, const struct turn_input *in,
                    const struct stream_sink *sink, void *ctx, struct subscription **ret,
                    struct errinfo *ei) ERR_CHECK;

/* Attaches to the stream of an answer of this user, from any loop: events after `after` (0 = all).
 * A stream that is no longer kept is answered from the store: RESET with the text, then DONE or
 * ERROR. */
enum err stream_attach(struct turns *t, struct loop *l, const struct uuid *user_id,
                       const struct uuid *message_id, int64_t after, const struct stream_sink *sink,
                       void *ctx, struct subscription **ret, struct errinfo *ei) ERR_CHECK;

/* Ends a running answer; its text is kept (status stopped). done(ctx, ERR_OK) when that is stored;
 * also ERR_OK when it had ended by itself; ERR_NOT_FOUND (to done) for what is not this user's. */
enum err turn_stop(struct turns *t, struct loop *l, const struct uuid *user_id,
                   const struct uuid *message_id, store_done done, void *ctx) ERR_CHECK;

/* ---- the entities as JSON (docs/api.md); used for events here and by the API ---- */
void message_to_json(struct buf *b, const struct message *m,
                     const struct feedback *f /* NULL = none */);
