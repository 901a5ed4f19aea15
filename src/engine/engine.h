/* The engine process: hosts the chat model and the embedding model and speaks the OpenAI-compatible
 * wire format on a Unix socket or a TCP address. It knows nothing of users, roles or conversations
 * but the keys it is given.
 *
 * Wire. What is beyond OpenAI's own stands under "parley", is optional, and is ignored by others:
 *
 * - POST /v1/chat/completions, streamed or not; "stream_options":{"include_usage":true}. Its
 * parley:
 *   - "conversation": key for prefix reuse; "user": key for fairness
 *   - "continue": true = the last message is a partial assistant answer to be continued exactly
 *   - "deadline_ms": 429 with Retry-After unless the first token will come by then (0 = none;
 *     without it, the engine's own)
 *   - "wait": true = queue instead; a stream then begins with its place in comments,
 *     ": queued {"position":n}" (n others are before it). "wait_ms": unless that would take longer
 *   - "background": true = behind everybody else
 * - POST /v1/embeddings: string, list of strings, token lists; float and base64. Its parley:
 *   "background"
 * - POST /v1/tokens/count: {"model","texts":[…]} → {"counts":[…]}, tokens of each text, no special
 *   tokens added
 * - GET /v1/models[/{id}]: data[]: {"id","object","created","owned_by","parley":
 *   {"kind":"chat|embedding","context_window":N,"template_overhead":tokens for one message}}
 *   Adapters (LoRA) are models of their own there, "<chat model>+<adapter>", and asked for by that
 * name.
 * - GET /health: 200 {"status":"ok"}; 503 {"status":"loading","progress":0…1}; 500
 *   {"status":"error","error":{…}}
 * - GET /metrics
 *
 * A client that goes away cancels its request within one step. Errors have the API's shape
 * ({"error":{message,type,param,code}}); a 429 also has Retry-After-Ms. */
#pragma once

#include <stdbool.h>

#include "base/err.h"

struct engine_adapter {
    const char *name; /* the API has it as "<chat_name>+<name>" */
    const char *path; /* a LoRA adapter as GGUF; one that does not fit the chat model is left out */
};

struct engine_options {
    const char *listen;    /* "unix:/path" or "HOST:PORT"; used when listen_fd < 0 */
    int listen_fd;         /* already listening (from the supervisor), or -1 */
    int lifeline_fd;       /* the engine ends when this descriptor reaches end of file, or -1 */
    const char *chat_name; /* the names the API shows */
    const char *chat_path; /* GGUF files; a missing or damaged one keeps the process up and /health
                              says what is wrong. NULL = embeddings only */
    const struct engine_adapter *adapters;
    int n_adapters; /* at most 32 */
    const char *embedding_name;
    const char *embedding_path; /* NULL = no embedding model */
    const char *api_key; /* Bearer key that TCP clients must send, NULL = none (Unix sockets: never
                            needed) */
    const char *rates_path;  /* where what was measured on this machine is kept; NULL = nowhere */
    const char *keep_dir;    /* the data directory by whose name the engine that comes after this
                                one finds what was computed (keep.h); NULL = nothing is kept */
    int64_t keep_bytes;      /* memory that it may take */
    int threads;             /* 0 = all cores */
    int context;             /* tokens of one sequence's window, 0 = min(4096, the model's own) */
    int slots;               /* sequences at once, 0 = chosen from memory, at most 16 */
    int deadline_ms;         /* for the first token of requests that state none, 0 = none */
    int leave_signal;        /* as SIGTERM, but running answers may end in peace; 0 = none */
    bool listen_when_loaded; /* another engine serves on listen_fd until then */
    bool hurries; /* it follows one that died, whose answers wait: nothing is measured first */
    /* May be NULL; both on the engine's loop: once, when the models are there or cannot be; and
     * every beat_ms as long as the loop runs. */
    void (*on_loaded)(void *ctx);
    void (*on_beat)(void *ctx);
    void *ctx;
    int beat_ms;
    int max_queued; /* requests waiting for a slot, 0 = 256; past it 429 with Retry-After */
};

/* Runs until SIGTERM, SIGINT or the lifeline's end; running answers get up to 2 s to finish. */
enum err engine_serve(const struct engine_options *o, struct errinfo *ei) ERR_CHECK;
