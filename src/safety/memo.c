/* See memo.h. A table in which each key has one place; a newer verdict takes it. */
#include "safety/memo.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/crypto.h"

#define PLACES       1024
#define CLEAN_PLACES 8192
#define TEXT_MAX     4096 /* bytes of all that is hashed */

struct place {
    struct memo_key key;
    float scores[SAFETY_CATEGORIES];
    int policy_version;
    bool used, uncertain;
};

struct memo {
    pthread_mutex_t lock;
    unsigned char secret[16];
    struct place places[PLACES];
    struct memo_key clean[CLEAN_PLACES]; /* all zeros: none */
};

struct memo *memo_new(void) {
    struct memo *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    pthread_mutex_init(&m->lock, NULL);
    crypto_random(m->secret, sizeof m->secret);
    return m;
}

void memo_free(struct memo *m) {
    if (!m)
        return;
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* Each part with its length, so that none can be taken for the end of another. */
static bool add_part(char *out, size_t *n, const void *p, size_t size) {
    uint32_t length = (uint32_t)size;
    if (size > TEXT_MAX || *n + size + sizeof length > TEXT_MAX)
        return false;
    memcpy(out + *n, &length, sizeof length);
    if (size)
        memcpy(out + *n + sizeof length, p, size);
    *n += sizeof length + size;
    return true;
}

bool memo_key(const struct memo *m, const struct policy *p, const struct safety_request *r,
              struct memo_key *ret) {
    char all[TEXT_MAX];
    size_t n = 0;
    if (r->embedding || r->core_embedding || r->talk_embedding ||
        !add_part(all, &n, &r->direction, sizeof r->direction) ||
        !add_part(all, &n, &p->version, sizeof p->version) ||
        !add_part(all, &n, p->stamp, strlen(p->stamp)) ||
        !add_part(all, &n, &r->fresh_from, sizeof r->fresh_from) ||
        !add_part(all, &n, r->role.p, r->role.n) || !add_part(all, &n, r->canary.p, r->canary.n) ||
        !add_part(all, &n, r->context.p, r->context.n) || !add_part(all, &n, r->text.p, r->text.n))
        return false;
    crypto_short_hash(m->secret, (struct str){all, n}, ret->hash);
    return true;
}

static struct place *place_of(struct memo *m, const struct memo_key *k) {
    uint32_t at;
    memcpy(&at, k->hash, sizeof at);
    return &m->places[at % PLACES];
}

bool memo_find(struct memo *m, const struct memo_key *k, struct safety_verdict *ret) {
    pthread_mutex_lock(&m->lock);
    const struct place *at = place_of(m, k);
    bool found = at->used && memcmp(&at->key, k, sizeof *k) == 0;
    if (found) {
        ret->action = SAFETY_ALLOW;
        ret->n = 0;
        memcpy(ret->scores, at->scores, sizeof at->scores);
        ret->policy_version = at->policy_version;
        ret->uncertain = at->uncertain;
        ret->degraded = false;
    }
    pthread_mutex_unlock(&m->lock);
    return found;
}

void memo_put(struct memo *m, const struct memo_key *k, const struct safety_verdict *v) {
    if (v->n || v->action != SAFETY_ALLOW || v->degraded)
        return;
    pthread_mutex_lock(&m->lock);
    struct place *at = place_of(m, k);
    at->key = *k;
    memcpy(at->scores, v->scores, sizeof at->scores);
    at->policy_version = v->policy_version;
    at->uncertain = v->uncertain;
    at->used = true;
    pthread_mutex_unlock(&m->lock);
}

/* ---- texts without personal data ---- */

bool memo_text_key(const struct memo *m, struct str text, struct memo_key *ret) {
    if (text.n > TEXT_MAX)
        return false;
    crypto_short_hash(m->secret, text, ret->hash);
    return true;
}

static struct memo_key *clean_place(struct memo *m, const struct memo_key *k) {
    uint32_t at;
    memcpy(&at, k->hash, sizeof at);
    return &m->clean[at % CLEAN_PLACES];
}

bool memo_is_clean(struct memo *m, const struct memo_key *k) {
    pthread_mutex_lock(&m->lock);
    bool clean = memcmp(clean_place(m, k), k, sizeof *k) == 0;
    pthread_mutex_unlock(&m->lock);
    return clean;
}

void memo_set_clean(struct memo *m, const struct memo_key *k) {
    pthread_mutex_lock(&m->lock);
    *clean_place(m, k) = *k;
    pthread_mutex_unlock(&m->lock);
}
