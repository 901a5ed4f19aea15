/* A set-associative table of counters, keyed by a keyed hash of the name. See limiter.h. */
#include "auth/limiter.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/crypto.h"

#define SETS 1024
#define WAYS 4

struct slot {
    uint64_t key;
    int64_t start_ns; /* of the window; 0 = free */
    int count;
};

struct auth_limiter {
    pthread_mutex_t lock;
    uint64_t seed; /* so that nobody can aim at another's set */
    int max_failures;
    int64_t window_ns;
    struct slot slots[SETS][WAYS];
};

enum err auth_limiter_new(int max_failures, int64_t window_ms, struct auth_limiter **ret) {
    struct auth_limiter *l = calloc(1, sizeof *l);
    if (!l)
        return ERR_NOMEM;
    pthread_mutex_init(&l->lock, NULL);
    crypto_random(&l->seed, sizeof l->seed);
    l->max_failures = max_failures;
    l->window_ns = window_ms * 1000000;
    *ret = l;
    return ERR_OK;
}

void auth_limiter_free(struct auth_limiter *l) {
    if (!l)
        return;
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* FNV-1a over the seed and the name, letters without case as user names are. */
static uint64_t name_hash(const struct auth_limiter *l, struct str name) {
    uint64_t h = 1469598103934665603u ^ l->seed;
    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];
        h = (h ^ (c >= 'A' && c <= 'Z' ? c + 32u : c)) * 1099511628211u;
    }
    return h ^ (h >> 29);
}

/* The name's slot, or the one of its set that is free or oldest, emptied. */
static struct slot *slot_for(struct auth_limiter *l, uint64_t key, int64_t now) {
    struct slot *set = l->slots[key % SETS], *oldest = &set[0];
    for (int i = 0; i < WAYS; i++) {
        if (set[i].start_ns && now - set[i].start_ns >= l->window_ns)
            set[i] = (struct slot){0};
        if (set[i].start_ns && set[i].key == key)
            return &set[i];
        if (set[i].start_ns < oldest->start_ns)
            oldest = &set[i];
    }
    *oldest = (struct slot){.key = key, .start_ns = now};
    return oldest;
}

enum err auth_limiter_attempt(struct auth_limiter *l, struct str name, struct errinfo *ei) {
    int64_t now = clock_mono_ns(), wait_ns = 0;
    if (now <= 0)
        now = 1; /* 0 marks a free slot */
    pthread_mutex_lock(&l->lock);
    struct slot *s = slot_for(l, name_hash(l, name), now);
    if (s->count >= l->max_failures)
        wait_ns = s->start_ns + l->window_ns - now;
    else
        s->count++;
    pthread_mutex_unlock(&l->lock);
    if (wait_ns <= 0)
        return ERR_OK;
    err_set(ei, ERR_RATE, "too many attempts; try again in %lld s",
            (long long)(wait_ns / 1000000000 + 1));
    if (ei)
        ei->retry_after_ms = (uint32_t)(wait_ns / 1000000);
    return ERR_RATE;
}

/* The name's slot, or NULL. */
static struct slot *slot_find(struct auth_limiter *l, uint64_t key) {
    struct slot *set = l->slots[key % SETS];
    for (int i = 0; i < WAYS; i++)
        if (set[i].start_ns && set[i].key == key)
            return &set[i];
    return NULL;
}

void auth_limiter_forgive(struct auth_limiter *l, struct str name) {
    pthread_mutex_lock(&l->lock);
    struct slot *s = slot_find(l, name_hash(l, name));
    if (s && s->count > 0)
        s->count--;
    pthread_mutex_unlock(&l->lock);
}

void auth_limiter_clear(struct auth_limiter *l, struct str name) {
    pthread_mutex_lock(&l->lock);
    struct slot *s = slot_find(l, name_hash(l, name));
    if (s)
        *s = (struct slot){0};
    pthread_mutex_unlock(&l->lock);
}
