/* What the files of upstream/ share: the pool's servers, one loop's client, and the call that all
 * requests are made of.
 *
 * A call sends one HTTP request at a time and tries again while the server is not there yet:
 *
 *   sending ──→ answering ──→ over (its kind reports; freed)
 *     ↑ │└─→ waiting ─┘ (connection refused, loading: until connect_wait_ms have gone)
 *     │ └─→ sending to another server of the pool (refused, failed, busy; nothing was answered yet)
 *     └──────────┘
 *
 * A second leg goes to another server when the first is silent for hedge_ms: who answers first is
 * heard, the other hung up on.
 *
 * Invariants: nothing is reported inside the function that starts a call; a call is freed in one
 * place, call_free(); once an answer has begun it is never asked for again. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/json.h"
#include "net/http_client.h"
#include "upstream/upstream.h"

#define UPSTREAM_MODELS_MAX  2000
#define UPSTREAM_BODY_MAX    ((size_t)8 << 20)  /* an answer that is read as a whole */
#define UPSTREAM_STREAM_MAX  ((size_t)64 << 20) /* a streamed one */
#define UPSTREAM_ERROR_MAX   ((size_t)64 << 10)
#define UPSTREAM_REQUEST_MAX ((size_t)64 << 20)
#define UPSTREAM_WINDOW      4096   /* of a model whose server does not say */
#define UPSTREAM_WAIT_MS     180000 /* in the engine's queue, as it predicts, before it refuses */
#define UPSTREAM_OVERHEAD    8      /* tokens around a message where the server does not say */

/* What the list of models tells of the program: how it goes on with an answer that is begun. */
enum server_kind {
    SERVER_UNKNOWN, /* not at all, as far as we know: it begins anew */
    SERVER_PARLEY,  /* ours: "parley":{"continue":true} */
    SERVER_VLLM,    /* "continue_final_message" */
    SERVER_LLAMA    /* llama-server: goes on with a last message that is the assistant's */
};

struct known_model {
    char *id; /* owned */
    bool embedding;
    int window, overhead, prefill; /* 0 = not told */
};

#define UPSTREAM_SERVERS_MAX 32
#define UPSTREAM_KEYS_MAX    8

/* Circuit breaker, by failures of the server (never of a request):
 *
 *   closed ── BREAKER_FAILURES in a row ─→ open ── open_ms have gone ─→ half open: one request at a
 * time ↑                                     ↑ └── fails: open_ms doubles, to BREAKER_OPEN_MAX_MS
 * ──┘ │ └────────────────────────────── a request or a health check succeeds
 * ──────────────────────────┘ */
struct server {
    struct upstream *pool;
    int index;
    char *name;
    char *base_url, *root_url; /* without a slash at the end; root: without "/v1" */
    char *unix_socket;
    atomic_bool no_counts; /* the server was found to count no tokens */
    atomic_int in_flight;
    atomic_int reading, answering; /* people's chats: before their first token, after it */
    atomic_int unread;             /* tokens of the former's prompts, about */

    /* under the pool's lock */
    char *keys[UPSTREAM_KEYS_MAX]; /* the header's lines, owned */
    int n_keys, key;               /* key: the one in use */
    int weight, max_concurrent;    /* max_concurrent: 0 = no limit */
    bool enabled;
    uint64_t changed; /* the order of the change that is in force */
    struct known_model *models;
    size_t n_models;
    bool known; /* the list was seen */
    enum server_kind kind;
    bool asked, ready;
    struct errinfo why; /* not ready */
    int failures;       /* in a row */
    int64_t open_until_ns, open_ms;
    bool probing; /* half open, and a request is under way */
    int64_t requests, failed, hedged, rotated;
    double first_byte_ms; /* moving average */
    int reads;            /* tokens, see reading.c; 0 = nothing was seen yet */
    double crowd;         /* others that a new chat finds at work, moving average */
    int64_t crowd_ns;     /* when the last one came */
};

#define UPSTREAM_PLANS_MAX 64

struct chat_plan {
    uint64_t id;
    int64_t ns;
    int tokens; /* that it reads at most */
};

struct upstream {
    char *model, *embedding_model;
    int window, first_byte_ms, idle_ms, wait_ms, hedge_ms;
    pthread_mutex_t lock;
    struct chat_plan plans[UPSTREAM_PLANS_MAX]; /* that have not begun; oldest first */
    int n_plans;
    uint64_t last_plan;
    struct server servers[UPSTREAM_SERVERS_MAX];
    int n;
};

struct upstream_client {
    struct upstream *u;
    struct loop *loop;
    struct http_client *http;
    struct upstream_call *calls;
    bool closing; /* nothing is reported any more */
};

/* What differs between the kinds of call. All run on the loop. */
struct call_kind {
    bool whole;  /* a good answer is collected in call->answer; else on_data gets it */
    bool judges; /* asks for what every server has: a refusal is the server's fault */
    /* A piece of a good answer. An error ends the call and is reported as it is in ei. */
    enum err (*on_data)(struct upstream_call *c, struct str bytes, struct errinfo *ei);
    void (*on_wait)(struct upstream_call *c); /* tried again soon; may be NULL */
    /* Makes the request for call->server and call_send()s it; for a server that is no other's
     * substitute NULL. */
    enum err (*send)(struct upstream_call *c, struct errinfo *ei);
    /* The end. May send again (call_send) and then returns true; else it has reported and returns
     * false, and the call is freed. */
    bool (*on_end)(struct upstream_call *c, enum err e, const struct errinfo *ei);
    void (*on_free)(struct upstream_call *c);
};

struct leg { /* one HTTP request */
    struct upstream_call *call;
    struct server *server;
    struct http_call *http; /* NULL: none is under way */
    int status;
    char content_type[128];
    int64_t retry_after_ms; /* -1 = not told */
    int64_t started_ns, first_byte_ns;
    int key; /* of the server's keys */
};

struct upstream_call { /* the first member of each kind's own struct */
    const struct call_kind *kind;
    struct upstream_client *client;
    struct server *server; /* that the next request goes to, or the last one went to */
    struct upstream_call *prev, *next;
    struct leg legs[2];
    int leg;             /* the one that the fields below speak of */
    struct timer *timer; /* the next try, or the watch over silence */
    struct timer *hedge; /* NULL: no second leg */
    const char *method;
    char *url;         /* owned */
    struct buf body;   /* owned: it may be sent more than once */
    struct buf answer; /* whole: the answer; else of errors only */
    uint64_t affinity; /* calls of one conversation go to one server; 0 = to any */
    char trace[80];    /* a header's line to pass on, "" = none */
    char *model;       /* owned: a server that does not have it is not asked; NULL = any will do */
    uint32_t tried;    /* bits of the servers that refused or failed this call */
    int status;
    char content_type[128];
    int64_t retry_after_ms; /* -1 = not told */
    int64_t give_up_ns;     /* 0 = nothing failed yet */
    int tries, failovers;
    struct server *counted; /* in whose reading or (spoke) answering the call is; NULL = in none */
    bool spoke, begun;      /* begun: was counted before */
    uint64_t plan;          /* that this is the chat of, 0 = none */
    bool told;              /* counted_tokens is known rather than taken for usual */
    int64_t counted_ns;
    int counted_tokens; /* of its prompt that are new to the server, about */
    int first_byte_ms;  /* 0 = the pool's */
    bool answering;     /* a good answer has begun */
    bool broke;         /* the connection or the server failed, not the request */
    bool patient;       /* tries again while the server is not there */
    bool hedged;        /* may have a second leg */
    bool starting_hedge;
    bool inside; /* a callback of the call is running */
    bool cancelled;
    bool finishing;     /* the end was seen: what is left of the connection matters little */
    bool waiting;       /* the timer is for the next try */
    int64_t last_ns;    /* when bytes came last */
    int64_t silence_ns; /* so long without bytes ends the call */
};

/* ---- call.c ---- */
/* call is heap memory of the kind's size, zeroed but for its own fields; from here on it is freed
 * by the client or its own end. */
void call_init(struct upstream_call *call, struct upstream_client *c, const struct call_kind *kind);
/* Chooses a server (unless one is set) and has the kind send. ERR_UNAVAILABLE: there is none just
 * now. */
enum err call_begin(struct upstream_call *call, struct errinfo *ei) ERR_CHECK;
/* Sends call->body. path is put behind base (borrowed). Errors are reported by the return value. */
enum err call_send(struct upstream_call *call, const char *method, const char *base,
                   const char *path, struct errinfo *ei) ERR_CHECK;
void call_finishing(struct upstream_call *call); /* the answer is whole: wait 500 ms for the rest */
void call_free(struct upstream_call *call);

/* ---- errors.c ---- */
/* What a refusal of the server means to us. body is untrusted. Returns ei->code. */
enum err upstream_refusal(int status, struct str body, int64_t retry_after_ms, struct errinfo *ei);
/* The same for an "error" value inside an answer. */
enum err upstream_error_value(int status, const json_val *error, int64_t retry_after_ms,
                              struct errinfo *ei);
/* Whether the body of a 503 says that the model is on its way; any other 503 is an answer. */
bool upstream_is_loading(struct str body);

/* ---- models.c ---- */
enum err server_learn(struct server *v, struct str body, struct errinfo *ei) ERR_CHECK;
void server_note(struct server *v, enum err e, const struct errinfo *ei); /* readiness */
bool server_knows_models(struct server *v);
bool server_is_parley(struct server *v); /* takes the "parley" field */
enum server_kind server_kind(struct server *v);
void server_models_free(struct server *v);
void server_set_window(struct server *v, int window);
/* Appends the name to send: model, else the default one. ERR_NO_MODEL when there is none. */
enum err server_add_model(struct server *v, struct str model, struct buf *b) ERR_CHECK;
enum err server_add_embedding_model(struct server *v, struct str model, struct buf *b) ERR_CHECK;
/* Holding the pool's lock: NULL when it lists none such. model STR_NULL: the first chat model. */
const struct known_model *server_find(const struct server *v, struct str model);

/* ---- reading.c ---- */
/* Its request goes to call->server. tokens: of its last message, about; 0 = not known. */
void reading_begin(struct upstream_call *call, int tokens);
void reading_spoke(struct upstream_call *call); /* its first token came */
void reading_end(struct upstream_call *call);
/* A first token came after so long; that says something only of a message with much to read. */
void reading_learn(struct server *v, int tokens, int64_t ms);
/* Holding the pool's lock: tokens that a chat which begins now has read in time. */
int reading_of(const struct server *v, const struct known_model *m, int64_t waited_ms);

/* ---- pool.c ---- */
/* A server for the call that was not tried yet; NULL when there is none just now. The place in it
 * is taken (in_flight) by the call's request, not by this. */
struct server *pool_pick(struct upstream *u, const struct upstream_call *call);
void pool_started(struct server *v);
/* How a request ended: e as for the call, health: whether it says something of the server. */
void pool_ended(struct server *v, bool health, bool failed, int64_t first_byte_ns);
/* The key after a refused one; false when all were tried. */
bool pool_rotate_key(struct server *v, int refused);
enum err server_add_key(struct server *v, struct str key, struct errinfo *ei) ERR_CHECK;
