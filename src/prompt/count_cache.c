/* Set-associative, as CPUs do it: a text's hash names its set, within a set the entry that was used
 * longest ago is replaced. The key is a 128-bit hash (two FNV-1a with different starts) of model
 * and text: whoever finds a collision miscounts a prompt of their own, nothing more. */
#include "prompt/count_cache.h"

#include <pthread.h>
#include <stdlib.h>

#define WAYS 4

struct entry {
    uint64_t a, b; /* the key; 0, 0 = empty */
    uint32_t used; /* the clock when it was used last */
    int tokens;
};

struct count_cache {
    pthread_mutex_t lock;
    struct entry *entries;
    size_t sets;
    uint32_t clock;
};

enum err count_cache_new(size_t entries, struct count_cache **ret) {
    struct count_cache *c = calloc(1, sizeof *c);
    if (!c)
        return ERR_NOMEM;
    c->sets = entries / WAYS ? entries / WAYS : 1;
    c->entries = calloc(c->sets * WAYS, sizeof *c->entries);
    if (!c->entries) {
        free(c);
        return ERR_NOMEM;
    }
    pthread_mutex_init(&c->lock, NULL);
    *ret = c;
    return ERR_OK;
}

void count_cache_free(struct count_cache *c) {
    if (!c)
        return;
    pthread_mutex_destroy(&c->lock);
    free(c->entries);
    free(c);
}

static void hash(struct str s, uint64_t *a, uint64_t *b) {
    for (size_t i = 0; i < s.n; i++) {
        *a = (*a ^ (unsigned char)s.p[i]) * 0x100000001b3u;
        *b = (*b ^ (unsigned char)s.p[i]) * 0x100000001b3u + 1;
    }
}

static struct entry key_of(struct str model, struct str text) {
    struct entry e = {.a = 0xcbf29ce484222325u, .b = 0x9e3779b97f4a7c15u};
    hash(model, &e.a, &e.b);
    hash((struct str){"", 1}, &e.a, &e.b); /* a NUL between the two */
    hash(text, &e.a, &e.b);
    if (e.a == 0 && e.b == 0)
        e.a = 1;
    return e;
}

/* The entry of that key, or the one to be replaced by it. Holding the lock. */
static struct entry *find(struct count_cache *c, const struct entry *key, bool *ret_found) {
    struct entry *set = c->entries + (key->a % c->sets) * WAYS;
    struct entry *oldest = set;
    *ret_found = false;
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].a == key->a && set[i].b == key->b) {
            *ret_found = true;
            return &set[i];
        }
        if ((int32_t)(set[i].used - oldest->used) < 0) /* the clock may wrap */
            oldest = &set[i];
    }
    return oldest;
}

int count_cache_get(struct count_cache *c, struct str model, struct str text) {
    struct entry key = key_of(model, text);
    bool found;
    pthread_mutex_lock(&c->lock);
    struct entry *e = find(c, &key, &found);
    int tokens = found ? e->tokens : -1;
    if (found)
        e->used = ++c->clock;
    pthread_mutex_unlock(&c->lock);
    return tokens;
}

void count_cache_put(struct count_cache *c, struct str model, struct str text, int tokens) {
    struct entry key = key_of(model, text);
    bool found;
    pthread_mutex_lock(&c->lock);
    struct entry *e = find(c, &key, &found);
    key.tokens = tokens;
    key.used = ++c->clock;
    *e = key;
    pthread_mutex_unlock(&c->lock);
}
