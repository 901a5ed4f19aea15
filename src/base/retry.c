/* See retry.h. */
#include "base/retry.h"

#include "base/crypto.h"

#define MS 1000000ll

bool retry_is_due(const struct retry *r, int64_t now_ns) {
    return now_ns >= r->due_ns;
}

void retry_failed(struct retry *r, int64_t now_ns) {
    uint32_t random;
    crypto_random(&random, sizeof random);
    r->wait_ms = !r->wait_ms                      ? RETRY_FIRST_MS
                 : r->wait_ms < RETRY_MOST_MS / 2 ? r->wait_ms * 2
                                                  : RETRY_MOST_MS;
    int64_t wait_ns = r->wait_ms * MS;
    r->due_ns = now_ns + wait_ns * 3 / 4 + (int64_t)(random % 1024) * (wait_ns / 2) / 1024;
}

void retry_succeeded(struct retry *r) {
    *r = (struct retry){0};
}
