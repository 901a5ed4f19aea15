/* A model in our terms, so that the scheduler and the API do not know the library behind it.
 * llama_model.c is the one implementation that runs weights; the tests have a scripted one.
 *
 * A sequence is a row of tokens whose keys and values the model keeps; it has a number from 0 to
 * info.sequences - 1. A step computes tokens of several sequences at once.
 *
 * Threads: step, logits, embed and seq_* are called on the compute thread only. tokenize, piece,
 * is_end and prompt read what never changes and may be called from any thread at the same time. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct tokens { /* a growing row of tokens; zero-initialised is empty; free with tokens_deinit() */
    int32_t *p;
    int n, size;
};
enum err tokens_add(struct tokens *t, const int32_t *p, int n) ERR_CHECK;
void tokens_deinit(struct tokens *t);
/* With how many of their first a_n and b_n both begin. */
int tokens_common(const struct tokens *a, int a_n, const struct tokens *b, int b_n);

/* Which adapter (LoRA) a token is to be computed with stands above its number: keys and values
 * differ by it, so sequences that differ in it share nothing. 0 = none. */
#define MODEL_ADAPTER_SHIFT 20
static inline int32_t model_token_with(int32_t token, int adapter) {
    return token + (adapter << MODEL_ADAPTER_SHIFT);
}
static inline int32_t model_token_plain(int32_t token) {
    return token & ((1 << MODEL_ADAPTER_SHIFT) - 1);
}

struct model_item { /* one token of a step */
    int sequence;
    int position; /* in the sequence; must follow what the sequence holds */
    int32_t token;
    bool logits; /* whether logits are wanted after this token */
};

struct model_message {
    struct str role; /* system, user, assistant */
    struct str content;
};

struct model_info {
    char name[128];
    int vocabulary;
    int window;      /* tokens that one sequence may hold */
    int trained;     /* the window that the model was trained for */
    int sequences;   /* sequence numbers, 0 for embedding models */
    int slots;       /* of them, the first: those that may take part in steps */
    int cells;       /* tokens that the slots' sequences may hold together (prefixes come on top) */
    int step_tokens; /* items in one step at most; tokens in one embed() at most */
    bool cuts;       /* sequences can be cut and copied in parts */
    bool rows;       /* sequences' cells lie apart: those with one token in a step are one pass over
                        the weights if their numbers follow each other, those with more one each;
                        logits depend on the tokens before, and on which were computed one by one */
    int dimensions;  /* of an embedding */
    int layer_numbers; /* of a text's layers, behind its embedding in a row (llama_layers.h) */
    int adapters;      /* numbered from 1; bit n - 1 of adapters_loaded: the n-th can be used */
    uint32_t adapters_loaded;
    int64_t bytes; /* weights and KV */
};

struct model;

struct model_ops {
    void (*free)(struct model *m);
    /* Computes the items. ERR_CANCELLED: aborted by the hook; ERR_OVERLOADED: no room for keys and
     * values; otherwise ERR_INTERNAL. After a failure the sequences of the items hold an unknown
     * part: trim or clear them. */
    enum err (*step)(struct model *m, const struct model_item *items, int n, struct errinfo *ei);
    float *(*logits)(struct model *m,
                     int item); /* of the last step, until the next; may be changed */
    /* A row for each text: info.dimensions floats, L2-normalised, then info.layer_numbers floats.
     * ERR_CANCELLED: aborted. */
    enum err (*embed)(struct model *m, const struct tokens *texts, int n, float *ret,
                      struct errinfo *ei);
    bool (*seq_trim)(struct model *m, int seq,
                     int n); /* keeps positions 0 to n-1; false: cleared */
    bool (*seq_copy)(struct model *m, int from, int to,
                     int n); /* to becomes the first n of from; false: cleared */
    bool (*seq_swap)(struct model *m, int a, int b); /* of slots; false: both cleared */
    size_t (*seq_size)(struct model *m, int seq);    /* bytes that seq_save needs */
    size_t (*seq_save)(struct model *m, int seq, void *to, size_t size); /* bytes, 0 = failed */
    bool (*seq_load)(struct model *m, int seq, const void *from, size_t size);
    /* What seq_copy, seq_save and seq_load do between defer(true) and defer(false) counts at once,
     * but the bytes may follow in settle(), in order. Until then a step of such a sequence (but one
     * that goes on behind what is copied from it), and whatever is not deferred and copies, settles
     * all first; the bytes given to seq_save and seq_load stay where they are. */
    void (*defer)(struct model *m, bool on);
    /* Goes on until then by clock_mono_ns(), INT64_MAX = to the end; true: nothing is left. */
    bool (*settle)(struct model *m, int64_t until_ns);
    bool (*moves)(const struct model *m); /* something was begun and not settled */
    /* free(), when nothing that was begun with them is left; of bytes for seq_save and seq_load. */
    void (*seq_free)(struct model *m, void *bytes);

    enum err (*tokenize)(const struct model *m, struct str text, bool special, struct tokens *out);
    int (*piece)(const struct model *m, int32_t token, char *out, int size); /* bytes of UTF-8 */
    bool (*is_end)(const struct model *m, int32_t token);
    /* The prompt of a chat by the model's own template. Text in messages that looks like one of the
     * model's control tokens stays text. partial: the beginning of the answer, to be continued;
     * STR_NULL if none. answer: end with the opening of the assistant's message. */
    enum err (*prompt)(const struct model *m, const struct model_message *messages, int n,
                       bool answer, struct str partial, struct tokens *out, struct errinfo *ei);
};

static inline size_t model_row(const struct model_info *i) { /* floats of a text's row */
    return (size_t)i->dimensions + (size_t)i->layer_numbers;
}

struct model { /* what every implementation begins with */
    const struct model_ops *ops;
    struct model_info info;
};

void model_free(struct model *m); /* NULL is fine */

/* ---- llama.cpp ---- */

struct llama_pool; /* the one pool of compute threads that all models of a process share */
struct llama_pool *llama_pool_new(int threads, int poll);
void llama_pool_free(struct llama_pool *p);

#define MODEL_ADAPTERS_MAX 32

struct llama_open_options {
    const char *path;
    bool embedding;
    int window;   /* tokens of one sequence, 0 = min(4096, trained) */
    int slots;    /* sequences at once, 0 = from memory, at most 16 */
    int prefixes; /* further sequence numbers for shared prefixes */
    int threads;
    struct llama_pool *pool;
    const char *const *adapters; /* paths of LoRA adapters, numbered from 1 in this order */
    int n_adapters;              /* at most MODEL_ADAPTERS_MAX */
    void (*progress)(void *ctx, double fraction); /* may be NULL; on the loading thread */
    bool (*abort)(void *ctx); /* asked within a step or embed; true ends it with ERR_CANCELLED; any
                                 compute thread */
    void *ctx;
};
/* Checks the header and the memory, loads, and warms up with one step. */
enum err llama_model_open(const struct llama_open_options *o, struct model **ret,
                          struct errinfo *ei) ERR_CHECK;

/* How many threads decoding steps run on, until steps say that another number is better. Compute
 * thread only. */
void llama_model_set_threads(struct model *m, int threads);

/* ---- llama_weights.c; see weights.h ---- */

struct weights_speed;
enum err llama_weights_convert(const char *in, const char *out, const char *form, int threads,
                               void (*progress)(double fraction, void *ctx), void *ctx,
                               struct errinfo *ei) ERR_CHECK;
enum err llama_weights_measure(const char *path, struct str text, int threads,
                               struct weights_speed *ret, struct errinfo *ei) ERR_CHECK;
