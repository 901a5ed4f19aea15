/* When something that failed is tried again: after RETRY_FIRST_MS, then twice as long each time, up
 * to RETRY_MOST_MS, and each time a share between 3/4 and 5/4 of that, so that many who failed
 * together do not come back together. A success starts over. Pure arithmetic on the times it is
 * given, but for the share, which is a random number. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define RETRY_FIRST_MS 250
#define RETRY_MOST_MS  30000

struct retry { /* {0}: due at once */
    int64_t wait_ms, due_ns;
};

bool retry_is_due(const struct retry *r, int64_t now_ns);
void retry_failed(struct retry *r, int64_t now_ns);
void retry_succeeded(struct retry *r);
