/* Reads a GGUF file's header (metadata and tensor table) without trusting a byte of it: every
 * length is checked against the file's size before it is used. Nothing of the tensor data is read.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"

struct gguf_header {
    char architecture[32];
    char name[128];
    char type[16];                /* general.type: "model", "adapter"; "" when absent */
    char chat_template_start[64]; /* "" when the file has no chat template */
    int64_t file_type;            /* general.file_type, -1 when absent */
    int64_t file_bytes;
    int64_t parameters;
    int64_t
        tied_bytes; /* of the tokens' embeddings when they are the output's weights too; else 0 */
    int64_t context_length;
    int64_t embedding_length;
    int64_t block_count;
    int64_t head_count;
    int64_t head_count_kv; /* the largest over the layers */
    int64_t key_length;    /* 0 = embedding_length / head_count */
    int64_t value_length;
    int64_t pooling_type; /* -1 when absent */
    bool causal;
};

/* ERR_NOT_FOUND, ERR_IO or ERR_CORRUPT, each with what is wrong. Any thread. */
enum err gguf_header_read(const char *path, struct gguf_header *ret, struct errinfo *ei) ERR_CHECK;

/* Values (keys and values over all layers) that one token of a conversation keeps; 0 when the
 * header makes no sense. At most 2^33, so that callers may multiply it with bytes and tokens. */
int64_t gguf_token_values(const struct gguf_header *h);

/* The name of a general.file_type ("Q8_0"), or "unknown". */
const char *gguf_form_name(int64_t file_type);
