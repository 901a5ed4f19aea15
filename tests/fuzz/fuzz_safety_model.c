/* safety/classifier's model file on any bytes. The checksum would keep all mutations out, so it is
 * made to fit: what is behind it must hold on any sizes and numbers, and a model that is taken must
 * score without leaving its tables. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "safety/classifier.h"

#define CHECK(x)                                                                                   \
    if (!(x))                                                                                      \
    abort()

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_model(const char *p, size_t n) {
    static const char text[] = "How do I bake bread for 12 people?";
    static float row[16384]; /* an embedding and the layers beneath it */
    struct classifier *c = NULL;
    struct errinfo ei = {0};
    enum err e = classifier_parse((struct str){p, n}, &c, &ei);
    if (e) {
        if ((e != ERR_CORRUPT && e != ERR_NOMEM) || !ei.message[0] || c)
            abort();
        return;
    }
    struct safety_scorer s = classifier_scorer(c);
    float scores[SAFETY_CATEGORIES];
    for (size_t i = 0; i < 16384; i++)
        row[i] = 0.125f;
    struct safety_text t = {.text = str_from(text),
                            .embedding = safety_scorer_row(&s) <= 16384 ? row : NULL};
    s.score(s.ctx, &t, scores);
    classifier_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char hex[SHA256_HEX_LEN + 1];
    try_model((const char *)data, size);
    if (size < SHA256_LEN)
        return 0;
    char *copy = malloc(size);
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    sha256_hex((struct str){copy, size - SHA256_LEN}, hex);
    for (size_t i = 0; i < SHA256_LEN; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
        copy[size - SHA256_LEN + i] = (char)strtoul(pair, NULL, 16);
    }
    try_model(copy, size);
    free(copy);
    return 0;
}
