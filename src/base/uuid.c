/* UUIDv7 (RFC 9562, section 5.7) as one 122-bit counter: hi holds the 48 bits of milliseconds and
 * the 12 bits of rand_a, lo the 62 bits of rand_b. A new millisecond draws all random bits anew;
 * within one (or when the wall clock stepped back) the counter grows by a random step (section 6.2,
 * method 2), and an overflow of the random bits carries into the milliseconds. */
#include "base/uuid.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/crypto.h"

#define LO_MASK ((1ull << 62) - 1)
#define MS_MASK ((1ull << 48) - 1)

struct counter {
    uint64_t ms, hi, lo;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Ids for "now" have a counter of their own: an id for a past or future time does not move it. */
static struct counter now_counter, at_counter;

static void fresh(struct counter *c, uint64_t ms) {
    uint64_t r[2];
    crypto_random_name(r, sizeof r);
    c->ms = ms;
    c->hi = ms << 12 |
            (r[0] & 0x7ff); /* the top bit stays free, so that a carry rarely moves the time */
    c->lo = r[1] & LO_MASK;
}

static void step(struct counter *c) {
    uint32_t r;
    crypto_random_name(&r, sizeof r);
    c->lo += 1 + (uint64_t)r;
    if (c->lo > LO_MASK) {
        c->lo &= LO_MASK;
        c->hi++;
        c->ms = c->hi >> 12;
    }
}

static struct uuid format(uint64_t hi, uint64_t lo) {
    static const char digits[] = "0123456789abcdef";
    uint64_t a = (hi >> 12) << 16 | 7u << 12 | (hi & 0xfff);
    uint64_t b = 1ull << 63 | lo;
    struct uuid u;
    char *p = u.s;
    for (int i = 0; i < 32; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20)
            *p++ = '-';
        uint64_t half = i < 16 ? a : b;
        *p++ = digits[half >> (60 - 4 * (i & 15)) & 15];
    }
    *p = 0;
    return u;
}

struct uuid uuid_new(void) {
    uint64_t ms = (uint64_t)clock_wall_ms() & MS_MASK;
    pthread_mutex_lock(&lock);
    if (ms > now_counter.ms)
        fresh(&now_counter, ms);
    else
        step(&now_counter);
    struct counter c = now_counter;
    pthread_mutex_unlock(&lock);
    return format(c.hi, c.lo);
}

/* Increasing as long as the same millisecond is asked for; another one starts anew there. */
struct uuid uuid_new_at(int64_t wall_ms) {
    uint64_t ms = (uint64_t)(wall_ms < 0 ? 0 : wall_ms) & MS_MASK;
    pthread_mutex_lock(&lock);
    if (ms != at_counter.ms || at_counter.hi == 0)
        fresh(&at_counter, ms);
    else
        step(&at_counter);
    struct counter c = at_counter;
    pthread_mutex_unlock(&lock);
    return format(c.hi, c.lo);
}

bool uuid_parse(struct str s, struct uuid *ret) {
    if (s.n != UUID_LEN)
        return false;
    struct uuid u = {0};
    for (size_t i = 0; i < UUID_LEN; i++) {
        char c = s.p[i];
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (c != '-')
                return false;
        } else if (c >= 'A' && c <= 'F') {
            c = (char)(c + 32);
        } else if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return false;
        }
        u.s[i] = c;
    }
    *ret = u;
    return true;
}
