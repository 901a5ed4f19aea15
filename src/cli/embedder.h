/* Embeddings for terminal commands, without a running server: an engine child that has only the
 * embedding model, on a Unix socket of its own, or the configured upstream; reached through the
 * same client as the server's. Blocking; not on a loop. One thread uses an embedder. */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "config/config.h"

struct embedder;

/* ERR_NO_MODEL says what to install when no embedding model is there. The child ends with the
 * embedder, and also when this process is killed. */
enum err embedder_open(const struct config *c, struct embedder **ret, struct errinfo *ei) ERR_CHECK;
void embedder_close(struct embedder *e);

/* Any number of texts (sent in batches). *ret_vectors: n rows of *ret_dimensions numbers, each row
 * of length 1; freed with free(). */
enum err embedder_run(struct embedder *e, const struct str *texts, size_t n, float **ret_vectors,
                      int *ret_dimensions, struct errinfo *ei) ERR_CHECK;
const char *embedder_model(const struct embedder *e); /* its name, once something was embedded */
