/* See llama_layers.h. The library asks of each node of its graph whether it is wanted, and computes
 * up to it when it is: some five stops in a pass of six layers. */
#include "engine/llama_layers.h"

#include <stdlib.h>
#include <string.h>

#include <ggml-backend.h>
#include <ggml.h>

#include "base/layers_of.h"

#define NUMBERS_MAX 8192 /* of one text */

size_t llama_layers_of(const char *architecture, const char *of, int layers, int width) {
    if (strcmp(architecture, "bert") != 0 || strcmp(of, LAYERS_OF) != 0 || layers < 2 ||
        width < 1 || (int64_t)(layers - 1) * width > NUMBERS_MAX)
        return 0;
    return (size_t)(layers - 1);
}

/* The layer from 1 on whose states t are; 0 = it is something else. */
static size_t layer_of(const struct llama_layers *l, const struct ggml_tensor *t) {
    static const char name[] = "ffn_inp-";
    if (strncmp(t->name, name, sizeof name - 1) != 0)
        return 0;
    char *end;
    unsigned long i = strtoul(t->name + sizeof name - 1, &end, 10);
    return *end == 0 && i <= l->n ? (size_t)i : 0;
}

static void add_state(const struct llama_layers *l, const struct ggml_tensor *t, size_t token,
                      float *mean, float part) {
    const float *state = (const float *)((const char *)t->data + token * t->nb[1]);
    for (size_t d = 0; d < l->width; d++)
        mean[d] += state[d] * part;
}

bool llama_layers_on_node(struct ggml_tensor *t, bool ask, void *ctx) {
    struct llama_layers *l = ctx;
    size_t layer = l->texts ? layer_of(l, t) : 0, token = 0, all = 0;
    if (ask || layer == 0)
        return layer != 0;
    for (size_t i = 0; i < l->n_texts; i++)
        all += (size_t)l->texts[i].n;
    if (t->type != GGML_TYPE_F32 || t->ne[0] != (int64_t)l->width || t->ne[1] != (int64_t)all ||
        t->nb[0] != sizeof(float) || !t->buffer || !ggml_backend_buffer_is_host(t->buffer))
        return true; /* then `seen` tells that it is missing */
    for (size_t i = 0; i < l->n_texts; i++) {
        float *mean = l->rows + i * l->stride + (layer - 1) * l->width;
        int n = l->texts[i].n;
        memset(mean, 0, l->width * sizeof *mean);
        for (int k = 0; k < n; k++)
            add_state(l, t, token++, mean, 1.0f / (float)n);
    }
    l->seen++;
    return true;
}
