/* The clocks. The test values are three atomics; outside tests one relaxed load is all they cost.
 */
#include "base/clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
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

static void put_digits(char *at, int n_digits, int64_t n) {
    for (; n_digits > 0; n /= 10)
        at[--n_digits] = (char)('0' + n % 10);
}

/* A response has several: the calendar is computed here (civil_from_days, Howard Hinnant,
 * "chrono-Compatible Low-Level Date Algorithms"; years begin in March), without the C library's
 * time zones. */
void clock_format(int64_t wall_ms, char out[25]) {
    static const int64_t last =
        253402300799999; /* 9999-12-31T23:59:59.999Z: the year keeps 4 digits */
    int64_t ms = wall_ms < 0 ? 0 : wall_ms > last ? last : wall_ms;
    int64_t days = ms / 86400000 + 719468, in_day = ms % 86400000; /* days since 0000-03-01 */
    int64_t era = days / 146097, of_era = days % 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * of_year + 2) / 153; /* 0 = March */
    memcpy(out, "0000-00-00T00:00:00.000Z", 25);
    put_digits(out, 4, era * 400 + year + (month >= 10));
    put_digits(out + 5, 2, month < 10 ? month + 3 : month - 9);
    put_digits(out + 8, 2, of_year - (153 * month + 2) / 5 + 1);
    put_digits(out + 11, 2, in_day / 3600000);
    put_digits(out + 14, 2, in_day / 60000 % 60);
    put_digits(out + 17, 2, in_day / 1000 % 60);
    put_digits(out + 20, 3, in_day % 1000);
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
