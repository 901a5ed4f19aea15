/* See backoff.h. */
#include "supervisor/backoff.h"

void backoff_started(struct backoff *b, int64_t now_ns) {
    b->started_ns = now_ns;
}

int64_t backoff_failed(struct backoff *b, int64_t now_ns) {
    if (now_ns - b->started_ns >= (int64_t)BACKOFF_STABLE_MS * 1000000)
        b->next_ms = 0;
    int64_t delay = b->next_ms;
    b->next_ms = delay == 0 ? BACKOFF_FIRST_MS : delay * 2;
    if (b->next_ms > BACKOFF_MAX_MS)
        b->next_ms = BACKOFF_MAX_MS;
    return delay;
}
