/* Slows down guessing: counts failures for a name (an address with a user name, say) in a window of
 * time.
 *
 * In memory and bounded: a fixed table whose sets of four slots forget their oldest entry, so that
 * a flood of made-up names costs no memory and can at worst make it forget other counts.
 * Thread-safe. */
#pragma once

#include "base/err.h"
#include "base/str.h"

struct auth_limiter;

/* More than max_failures (counted attempts that were not given back) within window_ms are refused
 * until the window, counted from the first failure, is over. */
enum err auth_limiter_new(int max_failures, int64_t window_ms, struct auth_limiter **ret) ERR_CHECK;
void auth_limiter_free(struct auth_limiter *l);

/* Counts an attempt. ERR_RATE with ei->retry_after_ms when there were too many. Attempts are
 * counted before their outcome is known, so that many at once are not all let through; success
 * gives back this one attempt with _forgive(), or all of the name's with _clear(). */
enum err auth_limiter_attempt(struct auth_limiter *l, struct str name,
                              struct errinfo *ei) ERR_CHECK;
void auth_limiter_forgive(struct auth_limiter *l, struct str name);
void auth_limiter_clear(struct auth_limiter *l, struct str name);
