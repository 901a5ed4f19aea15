/* What the files of the engine's server share. Everything here lives on the event loop's thread,
 * but the models and openings, which are read from all, and what is said to be atomic. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "engine/engine.h"
#include "engine/model.h"
#include "engine/openings.h"
#include "engine/rates.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "engine/texts.h"
#include "net/http_server.h"
#include "net/jobs.h"

#define ENGINE_READ_MAX 8192 /* requests whose prompts are to be read */

/*  LOADING ──▶ READY        the chat model answers (the embedding model may have failed:
 * embed_error) └──────▶ BROKEN       the chat model cannot be loaded; requests get 503 with the
 * reason */
enum engine_state { ENGINE_LOADING, ENGINE_READY, ENGINE_BROKEN };

struct chat;
struct waiter;

struct engine {
    const struct engine_options *o;
    struct loop *loop;
    struct http_server *http;
    enum engine_state state;
    struct errinfo error, embed_error; /* code ERR_OK = none */
    struct model *chat, *embedding;    /* NULL = not loaded */
    struct sched *sched;               /* set with READY */
    struct openings *openings;         /* of the chat model's prompts; owned */
    struct jobs *readers;              /* threads that read prompts, begun in their order */
    struct chat *reading;              /* requests whose prompts they have or will have */
    struct jobs *texts;                /* a thread for what is much; texts.h */
    struct texts_work *texts_work;     /* that it has or will have */
    struct waiter *waiters;            /* requests that came while loading */
    int template_overhead, answer_overhead;
    int64_t created;
    int running; /* chat answers in progress */
    bool ending, leaving;
    struct timer *end_timer, *beat_timer;
    int late_fd;               /* to listen on when loaded; -1 = it listens already */
    struct timer *rates_timer; /* what is learnt is kept every so often */

    pthread_t thread;
    struct llama_pool *pool;    /* made and freed on the compute thread */
    struct sched *loaded_sched; /* the compute thread's until it posts that it is ready */
    struct model *loaded_chat, *loaded_embedding;
    struct rates rates;  /* as last kept; base_ns 0 = not known */
    struct rates learnt; /* a reading thread's while they are being written */
    bool writing_rates;
    enum err rates_err;
    struct keep *keep; /* NULL = none; the compute thread's */
    struct errinfo load_error, load_embed_error;
    int64_t lap_ns;                     /* when the last part of the start was over */
    int chat_ms, embedding_ms, rest_ms; /* what its parts took */
    _Atomic(struct sched *) abort_sched;
    atomic_int progress; /* of loading, in thousandths */
    atomic_bool stop_loading;
};

void engine_reply_error(struct http_request *r, enum err e, const struct errinfo *ei);
/* The adapter that a chat model's name asks for: 0 = the model as it is, -1 = there is no such
 * model. */
int engine_adapter_find(const struct engine *en, struct str name);
void engine_chat_ended(struct engine *en); /* one answer less is running */
/* Frees those that were still to be read; when readers and loop have stopped. */
void engine_chats_drop(struct engine *en);

void engine_chat(struct engine *en, struct http_request *r);       /* POST /v1/chat/completions */
void engine_embeddings(struct engine *en, struct http_request *r); /* POST /v1/embeddings */
void engine_count(struct engine *en, struct http_request *r);      /* POST /v1/tokens/count */
