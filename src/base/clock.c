/* The clocks. The test values are three atomics; outside tests one relaxed load is all they cost.
 */
#include "base/clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

static atomic_bool frozen;
static _Atomic int64_t test_mono_ns, test_wall_ms;

int64_t clock_mono_ns(void) {
    if (atomic_load_explicit(&frozen, memory_order_acquire))
        return atomic_load(&test_mono_ns);
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t clock_wall_ms(void) {
    if (atomic_load_explicit(&frozen, memory_order_acquire))
        return atomic_load(&test_wall_ms);
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void clock_format(int64_t wall_ms, char out[25]) {
    static const int64_t last =
        253402300799999; /* 9999-12-31T23:59:59.999Z: the year keeps 4 digits */
    int64_t ms = wall_ms < 0 ? 0 : wall_ms > last ? last : wall_ms;
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&s, &tm);
    char text[64];
    snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
             tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(ms % 1000));
    snprintf(out, 25, "%.24s", text);
}

void clock_cond_init(pthread_cond_t *c) {
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(c, &attr);
    pthread_condattr_destroy(&attr);
}

bool clock_cond_wait(pthread_cond_t *c, pthread_mutex_t *held, int64_t ns) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t until = (int64_t)t.tv_nsec + (ns > 0 ? ns : 0);
    t.tv_sec += (time_t)(until / 1000000000);
    t.tv_nsec = (long)(until % 1000000000);
    return pthread_cond_timedwait(c, held, &t) == 0;
}

void clock_test_set(int64_t mono_ns, int64_t wall_ms) {
    atomic_store(&test_mono_ns, mono_ns);
    atomic_store(&test_wall_ms, wall_ms);
    atomic_store_explicit(&frozen, true, memory_order_release);
}

void clock_test_advance(int64_t ms) {
    atomic_fetch_add(&test_mono_ns, ms * 1000000);
    atomic_fetch_add(&test_wall_ms, ms);
}

void clock_test_end(void) {
    atomic_store_explicit(&frozen, false, memory_order_release);
}
