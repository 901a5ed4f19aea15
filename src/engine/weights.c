/* Weight files for setup and the model commands: looking at the header and converting to another
 * form. */
#include "engine/weights.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/gguf_header.h"
#include "engine/memory.h"
#include "engine/model.h"

#define WINDOW_FOR_MEMORY 4096

/* Bytes of keys and values that one token takes in all layers, 16 bits each. */
static int64_t kv_bytes(const struct gguf_header *h) {
    int64_t heads = h->head_count > 0 ? h->head_count : 1;
    int64_t kv_heads = h->head_count_kv > 0 ? h->head_count_kv : heads;
    int64_t key = h->key_length > 0 ? h->key_length : h->embedding_length / heads;
    int64_t value = h->value_length > 0 ? h->value_length : key;
    int64_t bytes;
    if (h->block_count > 4096 || kv_heads > 65536 || key > 65536 || value > 65536 ||
        __builtin_mul_overflow(h->block_count * kv_heads, (key + value) * 2, &bytes))
        return 0;
    return bytes;
}

enum err engine_weights_inspect(const char *path, struct weights_info *ret, struct errinfo *ei) {
    struct gguf_header h;
    enum err e = gguf_header_read(path, &h, ei);
    if (e)
        return e;
    struct weights_info info = {.parameters = h.parameters, .file_bytes = h.file_bytes};
    /* Encoders are told by their pooling or by attention that looks both ways. */
    bool embedding = h.pooling_type > 0 || !h.causal;
    snprintf(info.architecture, sizeof(info.architecture), "%s", h.architecture);
    snprintf(info.name, sizeof(info.name), "%s", h.name);
    snprintf(info.form, sizeof(info.form), "%s", gguf_form_name(h.file_type));
    info.context_window = h.context_length > INT32_MAX ? INT32_MAX : (int)h.context_length;
    info.embedding_dimensions =
        embedding && h.embedding_length <= 1 << 20 ? (int)h.embedding_length : 0;
    info.adapter = strcmp(h.type, "adapter") == 0;
    int64_t window = h.context_length < WINDOW_FOR_MEMORY ? h.context_length : WINDOW_FOR_MEMORY;
    info.memory_bytes = h.file_bytes + (embedding ? 0 : kv_bytes(&h) * window);
    *ret = info;
    return ERR_OK;
}

enum err engine_weights_convert(const char *in_path, const char *out_path, const char *form,
                                int threads, void (*progress)(double fraction, void *ctx),
                                void *ctx, struct errinfo *ei) {
    struct gguf_header h;
    char part[4096];
    enum err e = gguf_header_read(in_path, &h, ei);
    if (e)
        return e;
    if (snprintf(part, sizeof(part), "%s.part", out_path) >= (int)sizeof(part))
        return err_set(ei, ERR_INVALID, "the path %.200s… is too long", out_path);
    e = llama_weights_convert(in_path, part, form, threads, progress, ctx, ei);
    if (!e)
        e = gguf_header_read(part, &h, ei);
    if (!e && rename(part, out_path) != 0)
        e = err_set(ei, ERR_IO, "%s cannot be written", out_path);
    if (e)
        unlink(part);
    return e;
}

enum err engine_weights_measure(const char *path, struct str text, int threads,
                                struct weights_speed *ret, struct errinfo *ei) {
    struct gguf_header h;
    const int64_t work = 256ll << 20; /* keys, values and logits of a measurement */
    enum err e = gguf_header_read(path, &h, ei);
    if (e)
        return e;
    int64_t available = memory_available("");
    if (h.file_bytes + work > available)
        return err_set(ei, ERR_NOMEM,
                       "%s does not fit: weights %lld MiB + work %lld MiB, but %lld MiB are free",
                       path, (long long)(h.file_bytes >> 20), (long long)(work >> 20),
                       (long long)(available >> 20));
    return llama_weights_measure(path, text, threads, ret, ei);
}
