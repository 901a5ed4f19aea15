/* What the layers of an embedding model know of a text, read while it is computed: for each layer
 * but the first the mean of its states over the text's tokens, taken where its feed-forward network
 * begins (BERT's attention with its norm; the library's graph calls it "ffn_inp-N"). The guard's
 * classifier reads them beside the embedding (docs/safety-model-card.md): they cost no second pass.
 *
 * One thread, that of the model. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/model.h"

struct ggml_tensor;

struct llama_layers {
    size_t width; /* of a state */
    size_t n;     /* layers that are read; 0 = none */
    /* of the batch that is computed; NULL = nothing is read */
    const struct tokens *texts;
    size_t n_texts;
    float *rows; /* the first text's numbers; each text's are `stride` after those before it */
    size_t stride;
    size_t seen; /* layers that came */
};

/* How many layers of a model are read: all but the first of a BERT whose metadata say LAYERS_OF
 * (base/layers_of.h; `of`; "" = nothing); none of others, or when that is more numbers than a
 * caller could want of a text. */
size_t llama_layers_of(const char *architecture, const char *of, int layers, int width);

/* For llama_context_params.cb_eval; ctx is a struct llama_layers. */
bool llama_layers_on_node(struct ggml_tensor *t, bool ask, void *ctx);
