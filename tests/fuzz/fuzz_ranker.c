/* A ranker's bytes, as the store keeps them. The sum at the end is made right, so that the reading
 * of the lists is reached; what loads must be usable. */
#include <stdlib.h>
#include <string.h>

#include "learn/ranker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ranker *r = NULL;
    uint64_t sum = words_hash((struct str){(const char *)data, size});
    char *bytes = malloc(size + sizeof sum);
    if (!bytes)
        return 0;
    if (size)
        memcpy(bytes, data, size);
    memcpy(bytes + size, &sum, sizeof sum);
    if (ranker_load((struct str){bytes, size + sizeof sum}, &r) == ERR_OK) {
        struct ranker_passage p[2] = {{.key = 1}, {.key = 2}};
        const struct ranker_question q = {STR("a question"), NULL, 1};
        double score[2];
        ranker_fill_signals(p, 2, 0);
        ranker_score(r, &q, p, 2, score);
        ranker_free(r);
    }
    free(bytes);
    return 0;
}
