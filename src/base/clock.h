/* Time. Tests set the clocks; nothing else in Parley asks the kernel for the time. Thread-safe. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

int64_t clock_mono_ns(void); /* monotonic nanoseconds, for durations */
int64_t clock_wall_ms(void); /* milliseconds since 1970-01-01 UTC, for timestamps */

/* RFC 3339 in UTC with milliseconds, "2026-11-23T22:28:18.123Z": 24 bytes and NUL. */
void clock_format(int64_t wall_ms, char out[25]);

/* A condition variable whose waits have a limit that setting the time of day does not move; always
 * the kernel's clock. clock_cond_wait() is false when the time was up. */
void clock_cond_init(pthread_cond_t *c);
bool clock_cond_wait(pthread_cond_t *c, pthread_mutex_t *held, int64_t ns);

/* Tests: from now on both clocks stand still at these values; clock_test_end() returns to the
 * kernel. */
void clock_test_set(int64_t mono_ns, int64_t wall_ms);
void clock_test_advance(int64_t ms);
void clock_test_end(void);
