/* When a child that ended is started again: at once the first time, then after 100 ms, doubling up
 * to 30 s; one that had run for 10 s starts over at the beginning. Pure arithmetic on the times it
 * is given. */
#pragma once

#include <stdint.h>

#define BACKOFF_FIRST_MS  100
#define BACKOFF_MAX_MS    30000
#define BACKOFF_STABLE_MS 10000

struct backoff {
    int64_t started_ns; /* of the last start */
    int64_t next_ms;    /* what the next failure costs; 0 = nothing */
};

void backoff_started(struct backoff *b, int64_t now_ns);
/* How many milliseconds after now the child is due again. */
int64_t backoff_failed(struct backoff *b, int64_t now_ns);
