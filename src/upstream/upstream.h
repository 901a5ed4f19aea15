/* Model servers, reached over the OpenAI-compatible wire format: our own engine on its Unix socket
 * and any remote server alike.
 *
 * struct upstream is shared by all threads and never changes after it is made, but for what it has
 * learnt of its models (locked inside). struct upstream_client is one loop's connections to it;
 * requests and callbacks stay on that loop. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "net/loop.h"

struct upstream;
struct upstream_client;
struct upstream_call;

struct upstream_server { /* one of several; name: letters, digits, "-", "." and "_" */
    const char *name, *base_url, *unix_socket;
    const char *const
        *api_keys;      /* tried in turn when one is refused; NULL-terminated, may be NULL */
    int weight;         /* its share of the conversations, 0 = 1 */
    int max_concurrent; /* requests at once, 0 = no limit */
};

struct upstream_options {
    const struct upstream_server *servers; /* NULL: one, as base_url … say */
    size_t n_servers;
    int hedge_ms; /* with several: a chat request that is not answered for so long goes to a second
                     server, too, and the first answer counts; 0 = never */
    const char
        *base_url; /* "http://host:port/v1"; for a Unix socket any host, "http://engine/v1" */
    const char *unix_socket; /* NULL for TCP */
    const char *api_key;     /* NULL = none; never logged */
    const char *model; /* the default chat model's name; NULL = the first one that /models lists */
    const char *embedding_model; /* NULL = the first embedding model listed, if any */
    int context_window;          /* 0 = as the server says ("parley".context_window, max_model_len,
                                    n_ctx_train), else 4,096 */
    int first_byte_timeout_ms;   /* 0 = 120,000 */
    int idle_timeout_ms;         /* silence within an answer, 0 = 60,000 */
    int connect_wait_ms; /* refused connections and 503 "loading" are tried again for so long (the
                            engine is being restarted), 0 = 20,000 */
};
enum err upstream_new(const struct upstream_options *o, struct upstream **ret,
                      struct errinfo *ei) ERR_CHECK;
void upstream_free(struct upstream *u);
enum err upstream_client_new(struct upstream *u, struct loop *l, struct upstream_client **ret,
                             struct errinfo *ei) ERR_CHECK;
void upstream_client_free(struct upstream_client *c);

/* ---- the servers, seen and changed while running (docs/upstreams.md); any thread ---- */
struct upstream_server_state {
    struct str name, base_url, why; /* why: it is not ready; "" = it is, or was not asked yet */
    const char *breaker;            /* "closed", "open", "half_open" */
    bool enabled, ready;
    int weight, max_concurrent, in_flight, keys, models;
    int64_t requests, failed, hedged, keys_rotated;
    double first_byte_ms; /* moving average; 0 = none yet */
};
enum err upstream_servers(struct upstream *u, struct arena *a, struct upstream_server_state **ret,
                          size_t *ret_n) ERR_CHECK;
struct upstream_server_change {
    int enabled;        /* 0: no new requests, -1: as it is */
    int weight;         /* 0: as it is */
    int max_concurrent; /* -1: as it is */
    struct str key;     /* replaces all keys; STR_NULL: as they are */
    uint64_t order; /* of several, the one with the highest is in force, whichever comes last; 0:
                       whichever comes last. Keys have none */
};
/* Whether upstream_server_change() would take it: ERR_NOT_FOUND, ERR_INVALID (the key). */
enum err upstream_server_check(struct upstream *u, struct str name,
                               const struct upstream_server_change *c,
                               struct errinfo *ei) ERR_CHECK;
enum err upstream_server_change(struct upstream *u, struct str name,
                                const struct upstream_server_change *c,
                                struct errinfo *ei) ERR_CHECK; /* ERR_NOT_FOUND */
struct buf;
void upstream_render_metrics(struct upstream *u, struct buf *b); /* one line a server and metric */

/* ---- what the server has; refreshed by upstream_refresh() and after failures ---- */
struct upstream_model {
    struct str id;
    bool embedding;
    int context_window; /* 0 = not known */
};
/* Copies the list as last seen. ERR_UNAVAILABLE while it was never seen. */
enum err upstream_models(struct upstream *u, struct arena *a, struct upstream_model **ret,
                         size_t *ret_n) ERR_CHECK;
bool upstream_has_model(struct upstream *u, struct str id);
enum err upstream_default_model(struct upstream *u, struct arena *a, struct str *ret) ERR_CHECK;
int upstream_context_window(struct upstream *u, struct str model);
/* Tokens of a prompt that is new to the server which a chat that begins now has read in about two
 * thirds of a second, so that its first word comes within one: by what the server says of itself
 * and what it has to do already, else by how it answered so far (reading.c); fewer when the person
 * has waited for a good part of that second already. At least UPSTREAM_READS_MIN. */
#define UPSTREAM_READS_MIN 80
int upstream_reads(struct upstream *u, struct str model, int64_t waited_ms);
/* A chat whose prompt has so many new tokens at most begins soon: for those that ask meanwhile it
 * goes before. Returns the plan's number, for the chat to name when it begins; 0 = there are too
 * many. A chat that does not begin soon is forgotten. */
uint64_t upstream_plan_chat(struct upstream *u, int tokens);
/* Whether a person waits for an answer's first token from a server on this machine (one behind a
 * Unix socket), or is about to ask for it: other work here takes cores that reading his prompt
 * would have. Any thread. */
bool upstream_needs_cores(struct upstream *u);
int upstream_message_overhead(struct upstream *u,
                              struct str model); /* tokens that a message costs beyond its text */
/* Asks /models; done(ctx, err, ei) on the client's loop. Also what readiness is judged by. */
enum err upstream_refresh(struct upstream_client *c,
                          void (*done)(void *ctx, enum err err, const struct errinfo *ei),
                          void *ctx) ERR_CHECK;
bool upstream_is_ready(struct upstream *u,
                       struct errinfo *ei); /* by the last refresh or request; ei says why not */

/* ---- chat ---- */
enum chat_sender { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT };
struct chat_message {
    enum chat_sender sender;
    struct str content;
};
struct chat_request { /* all borrowed for the call of upstream_chat() only */
    struct str model; /* STR_NULL = the default */
    const struct chat_message *messages;
    size_t n_messages;
    double temperature, top_p; /* < 0 = the server's default */
    int max_tokens;            /* of the whole answer, 0 = the server's default */
    int begun_tokens;          /* of them, what is there already (continue_last); 0 = estimated */
    const struct str *stop;
    size_t n_stop;
    struct str conversation_key; /* prefix reuse hint, STR_NULL = none */
    struct str user_key;         /* fairness */
    bool continue_last; /* the last message is the start of the answer, to be continued exactly;
                           on_token gets what follows it */
    uint64_t plan;      /* of upstream_plan_chat(), 0 = none */
    bool background;    /* titles, summaries: may wait behind people */
    const char *trace_header; /* "traceparent: …" to pass on; NULL or "" = none */
};
struct chat_result {
    enum err err; /* ERR_OK: the answer is whole */
    const struct errinfo *ei;
    int status;               /* of HTTP; 0 = nobody answered */
    struct str finish_reason; /* "stop", "length", … */
    int prompt_tokens,
        completion_tokens; /* -1 = not told; with continue_last of the whole answer */
    bool broke_off; /* err: the server or the connection died, perhaps in the middle of the answer;
                       the rest may be asked for with continue_last */
};
struct chat_callbacks { /* never run inside upstream_chat() */
    void (*on_queued)(void *ctx,
                      int position); /* others before it; may be NULL; 0 also while it loads */
    void (*on_token)(void *ctx, struct str text); /* whole UTF-8 characters; what came at once */
    /* continue_last, and the server began anew and said something else: what follows belongs behind
     * the first `same` bytes of the start. May be NULL: then that is an error. */
    void (*on_parted)(void *ctx, size_t same);
    void (*on_done)(void *ctx,
                    const struct chat_result *r); /* once, last; the call is invalid afterwards */
};
/* Whether begun_tokens need not be told: the server reckons them itself. */
bool upstream_goes_on(struct upstream *u);
enum err upstream_chat(struct upstream_client *c, const struct chat_request *r,
                       const struct chat_callbacks *cb, void *ctx, struct upstream_call **ret,
                       struct errinfo *ei) ERR_CHECK;
void upstream_cancel(
    struct upstream_call *call); /* any kind of call; closes its connection; no callback follows */

/* Under load pieces of an answer may wait for each other (net/http_client.h): for so many ms, once
 * upstream_pace() was called for it. */
void upstream_client_pace(struct upstream_client *c, int ms);
void upstream_pace(struct upstream_call *call);

/* ---- token counts; a server without /tokens/count or /tokenize gives ERR_NOT_FOUND: estimate with
 * UPSTREAM_BYTES_PER_TOKEN ---- */
#define UPSTREAM_BYTES_PER_TOKEN 3 /* on the safe side for prose in most languages */
enum err upstream_count_tokens(struct upstream_client *c, struct str model, const struct str *texts,
                               size_t n,
                               void (*done)(void *ctx, enum err err, const int *counts, size_t n),
                               void *ctx, struct upstream_call **ret) ERR_CHECK;

/* ---- embeddings: texts as vectors of length 1 ---- */
#define UPSTREAM_EMBED_MAX 256 /* texts of one call */
enum upstream_embed_how {
    UPSTREAM_EMBED_PLAIN,
    /* Our engine does it only while nobody waits for an answer, with short pieces. */
    UPSTREAM_EMBED_BACKGROUND,
    /* Our engine adds what the layers beneath say (engine/llama_layers.h), where its weights are
     * those that the classifier knows (base/layers_of.h). */
    UPSTREAM_EMBED_LAYERS
};
struct embed_result {
    enum err err; /* ERR_OK: every text has its vector */
    const struct errinfo *ei;
    const float *vectors; /* n rows of `dimensions`, in the order of the texts; borrowed */
    size_t n;
    int dimensions;
    const float *layers; /* n rows of `layer_numbers`; NULL = none were had; borrowed */
    int layer_numbers;
    struct str model; /* who made them: vectors of different models do not compare; borrowed */
};
/* texts are copied. model STR_NULL = the configured or first listed embedding model; without one
 * ERR_NO_MODEL comes to done. Other servers do all the same, however it is asked. done never runs
 * inside the call; the call is invalid afterwards. */
enum err upstream_embed(struct upstream_client *c, struct str model, const struct str *texts,
                        size_t n, enum upstream_embed_how how,
                        void (*done)(void *ctx, const struct embed_result *r), void *ctx,
                        struct upstream_call **ret, struct errinfo *ei) ERR_CHECK;
/* The embedding model's name. ERR_NO_MODEL: the server lists none. ERR_UNAVAILABLE: it was never
 * asked. */
enum err upstream_embedding_model(struct upstream *u, struct arena *a, struct str *ret) ERR_CHECK;

/* ---- what the engine counts: the text of its /metrics, borrowed for the call ---- */
enum err upstream_metrics(struct upstream_client *c,
                          void (*done)(void *ctx, enum err e, struct str text), void *ctx,
                          struct upstream_call **ret) ERR_CHECK;

/* ---- forwarding for the compatible API: sends body as it is and hands over what comes back ----
 */
struct forward_callbacks {
    void (*on_status)(void *ctx, int status, struct str content_type, int64_t retry_after_ms);
    bool (*on_data)(void *ctx, struct str bytes);
    void (*on_done)(void *ctx, enum err err,
                    const struct errinfo *ei); /* ERR_OK for any complete HTTP answer */
};
enum err upstream_forward(struct upstream_client *c,
                          const char *path /* "/chat/completions", "/embeddings" */,
                          struct str body, uint64_t plan /* of a chat, 0 = none */,
                          const struct forward_callbacks *cb, void *ctx, struct upstream_call **ret,
                          struct errinfo *ei) ERR_CHECK;
