/* Work on weight files: the parts of llama.cpp that setup and the model commands need. */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

/* Writes in_path's tensors in another form ("Q8_0", "Q4_0", "F16") to out_path (created beside as
 * ".part", renamed when whole). Already quantised input is allowed. progress may be NULL; fraction
 * 0 to 1. threads 0 = all cores. */
enum err engine_weights_convert(const char *in_path, const char *out_path, const char *form,
                                int threads, void (*progress)(double fraction, void *ctx),
                                void *ctx, struct errinfo *ei) ERR_CHECK;

struct weights_info {
    char architecture[32];
    char name[128];
    char form[32]; /* "Q8_0", … as the file states it */
    int64_t parameters;
    int64_t file_bytes;
    int context_window;       /* trained */
    int64_t memory_bytes;     /* needed: weights and KV for one window of 4,096 */
    int embedding_dimensions; /* > 0 only for embedding models */
    bool adapter;             /* a LoRA adapter: no model by itself */
};
/* Reads the header only; a file that is no GGUF, cut short or inconsistent gives ERR_CORRUPT and
 * the reason. Never reads out of bounds. */
enum err engine_weights_inspect(const char *path, struct weights_info *ret,
                                struct errinfo *ei) ERR_CHECK;

#define WEIGHTS_TOGETHER 4

struct weights_speed { /* tokens per second */
    double prefill;    /* of 128 tokens */
    double decode;     /* of one answer */
    double together;   /* of WEIGHTS_TOGETHER answers at once */
    double perplexity; /* exp of the mean surprise over the text's first 320 tokens */
};
/* Runs a chat model on a text of at least 400 tokens: a few seconds. threads 0 = all cores. Refuses
 * what does not fit into memory (ERR_NOMEM with the arithmetic). */
enum err engine_weights_measure(const char *path, struct str text, int threads,
                                struct weights_speed *ret, struct errinfo *ei) ERR_CHECK;
