/* The bodies that the engine's API reads: whatever comes, what is accepted keeps to the stated
 * bounds. */
#include <stdlib.h>

#include "engine/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct arena *a = arena_new(4u << 20);
    struct str body = {(const char *)data, n};
    struct chat_request chat;
    struct embed_request embed;
    struct count_request count;
    struct errinfo ei;
    if (!a)
        return 0;
    if (chat_request_parse(body, a, &chat, &ei) == ERR_OK)
        if (chat.n_messages < 1 || chat.n_stops > TEXT_STOPS_MAX ||
            chat.sampling.n_biases > SAMPLER_BIASES || chat.sampling.temperature < 0)
            abort();
    if (embed_request_parse(body, a, &embed, &ei) == ERR_OK)
        for (int i = 0; i < embed.n_inputs; i++)
            if (!embed.inputs[i].text.n && !embed.inputs[i].n_tokens)
                abort();
    if (count_request_parse(body, a, &count, &ei) == ERR_OK && count.n_texts < 0)
        abort();
    arena_free(a);
    return 0;
}
