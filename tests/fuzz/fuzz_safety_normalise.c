/* safety/normalise: any bytes; every byte of the result leads back into the original. */
#include <stdlib.h>

#include "safety/normalise.h"

#define CHECK(x)                                                                                   \
    if (!(x))                                                                                      \
    abort()

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct safety_normal n;
    static bool ready;
    struct errinfo ei;
    if (!ready) {
        if (safety_normal_prepare(&ei))
            return 0;
        safety_normal_init(&n);
        ready = true;
    }
    struct str text = {(const char *)data, size};
    if (safety_normalise(&n, text))
        return 0;
    CHECK(n.map.n == (n.itself ? 0 : n.text.n * sizeof(struct normal_source)));
    CHECK(!n.itself || n.text.n == size);
    CHECK(n.decoded_from <= n.text.n);
    for (size_t i = 0; i < n.text.n; i++) {
        struct normal_source s = safety_normal_span(&n, i, i + 1);
        CHECK(s.from < s.to && s.to <= size);
    }
    return 0;
}
