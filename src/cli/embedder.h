/* Embeddings for terminal commands, without a running server: an engine child that has only the
 * embedding model, on a Unix socket of its own, or the configured upstream; reached through the
 * same client as the server's. Blocking; not on a loop. One thread uses an embedder. */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "config/config.h"
#include "upstream/upstream.h"

struct embedder;

/* ERR_NO_MODEL says what to install when no embedding model is there. The child ends with the
 * embedder, and also when this process is killed. */
enum err embedder_open(const struct config *c, struct embedder **ret, struct errinfo *ei) ERR_CHECK;
void embedder_close(struct embedder *e);

struct embedded {   /* n rows each; freed with embedded_deinit() */
    float *vectors; /* of length 1 */
    int dimensions;
    float *layers; /* what the layers beneath say; NULL = not asked for, or not had */
    int layer_numbers;
};
void embedded_deinit(struct embedded *r);

/* Any number of texts (sent in batches). how: UPSTREAM_EMBED_PLAIN or _LAYERS. */
enum err embedder_run(struct embedder *e, const struct str *texts, size_t n,
                      enum upstream_embed_how how, struct embedded *ret,
                      struct errinfo *ei) ERR_CHECK;
const char *embedder_model(const struct embedder *e); /* its name, once something was embedded */
