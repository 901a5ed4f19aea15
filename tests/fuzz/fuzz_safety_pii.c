/* safety/pii: hits are in order and inside the text; what was redacted comes back. */
#include <stdlib.h>

#include "safety/pii.h"

#define CHECK(x)                                                                                   \
    if (!(x))                                                                                      \
    abort()

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str text = {(const char *)data, size};
    struct pii_hit h[64];
    struct buf out, back;
    size_t n = pii_scan(text, h, 64);
    CHECK(n == 0 || pii_may_hold(text));
    for (size_t i = 0; i < n; i++) {
        CHECK(h[i].from < h[i].to && h[i].to <= size);
        CHECK(i == 0 || h[i].from >= h[i - 1].to);
    }
    struct pii_vault *v = pii_vault_new();
    if (!v || n == 0 || memchr(data, '[', size)) { /* a placeholder of its own would be filled */
        pii_vault_free(v);
        return 0;
    }
    buf_init(&out, size * 16 + 1024);
    buf_init(&back, size * 16 + 1024);
    if (pii_redact(v, text, h, n, &out) == ERR_OK && pii_restore(v, buf_str(&out), &back) == ERR_OK)
        CHECK(back.n == size && (size == 0 || memcmp(back.p, data, size) == 0));
    buf_deinit(&out);
    buf_deinit(&back);
    pii_vault_free(v);
    return 0;
}
