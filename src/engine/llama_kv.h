/* The keys and values of sequences, in one of two layouts (docs/scheduler.md):
 *
 *   rows   each slot has a row of cells of its own, a window long; a token's cell is its position,
 *          whatever else is held, so the same tokens computed in the same pieces give the same
 *          logits, and a step attends to its own sequences' cells only. Copies are copies of bytes.
 *          Sequences beyond the slots are states in RAM: they can be copied to and from, no more.
 *   pool   all sequences share one row of cells; copying marks cells as shared. It takes less
 *          memory, and each token of a step looks at the mask of every cell in use.
 *
 * With rows, copies may be begun only (llama_kv_defer): the library writes down at once which cells
 * are held, and the bytes follow in llama_kv_settle(). Where cells are shared, in a
 * pool or by models with recurrent parts, one that is given up may be another's in the next step:
 * there they are made at once.
 *
 * Sequence numbers and results are model.h's (seq_…). Compute thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/copies.h"

struct llama_context;

#define LLAMA_KV_ROWS_MAX 256
#define LLAMA_KV_KEPT_MAX 64
#define LLAMA_KV_BEYOND   256 /* tokens that a kept state may hold beside those that count */

struct llama_kv {
    struct llama_context *context; /* borrowed */
    bool partial;                  /* sequences can be cut and copied in parts */
    bool rows;
    int slots; /* rows; sequences from here on are kept states */
    struct llama_kv_state {
        void *bytes; /* owned */
        size_t size;
        int n;    /* tokens that count */
        int held; /* tokens in bytes: perhaps more */
    } kept[LLAMA_KV_KEPT_MAX];
    bool deferring;
    struct copies copies;              /* begun */
    bool unsettled[LLAMA_KV_ROWS_MAX]; /* rows that are not to be computed on before these */
    int reading[LLAMA_KV_ROWS_MAX];    /* tokens of rows that are copied from: more may follow */
};

void llama_kv_deinit(struct llama_kv *kv);
bool llama_kv_trim(struct llama_kv *kv, int seq, int n);
bool llama_kv_copy(struct llama_kv *kv, int from, int to, int n);
bool llama_kv_swap(struct llama_kv *kv, int a, int b);
size_t llama_kv_size(struct llama_kv *kv, int seq);
size_t llama_kv_save(struct llama_kv *kv, int seq, void *to, size_t size);
bool llama_kv_load(struct llama_kv *kv, int seq, const void *from, size_t size);
void llama_kv_defer(struct llama_kv *kv, bool on);
bool llama_kv_settle(struct llama_kv *kv, int64_t until_ns);
bool llama_kv_moves(const struct llama_kv *kv); /* something was begun */
/* Before the row is computed on: what was begun with it is made, and all before it. */
void llama_kv_need(struct llama_kv *kv, int seq);
void llama_kv_free(struct llama_kv *kv, void *bytes);
