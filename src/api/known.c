/* A table of fixed size: a credential's hash picks the slot, the newest stays. The hash is one of
 * 160 random bits and more (auth/auth.h), so comparing it in plain tells nobody anything. */
#include "api/known.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"

#define SLOTS     8192
#define TEXT_MAX  1024 /* bytes of a user's strings; who has more is looked up each time */
#define N_STRINGS 3

struct entry {
    struct auth_credential credential;
    uint64_t version;
    int64_t until_ns;
    struct known_user known; /* its strings lie in text */
    char text[];
};

struct known_users {
    pthread_mutex_t lock;
    struct entry *slots[SLOTS]; /* owned */
};

static size_t slot_of(const struct auth_credential *c) {
    size_t at = c->kind;
    for (size_t i = 0; i < 8; i++) /* hex digits of a SHA-256 */
        at = at * 31 + (unsigned char)c->hash[i];
    return at % SLOTS;
}

enum err known_users_new(struct known_users **ret) {
    struct known_users *k = calloc(1, sizeof *k);
    if (!k)
        return ERR_NOMEM;
    pthread_mutex_init(&k->lock, NULL);
    *ret = k;
    return ERR_OK;
}

void known_users_free(struct known_users *k) {
    if (!k)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        free(k->slots[i]);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

static void strings_of(struct user *u, struct str *ret[N_STRINGS]) {
    ret[0] = &u->username;
    ret[1] = &u->email;
    ret[2] = &u->preferences;
}

/* Under the lock. */
static bool copy_out(const struct entry *e, struct arena *a, struct known_user *ret) {
    struct known_user u = e->known;
    struct str *s[N_STRINGS];
    strings_of(&u.user, s);
    for (size_t i = 0; i < N_STRINGS; i++) {
        *s[i] = arena_str(a, *s[i]);
        if (!s[i]->p)
            return false;
    }
    *ret = u;
    return true;
}

bool known_users_find(struct known_users *k, const struct auth_credential *c, uint64_t version,
                      struct arena *a, struct known_user *ret) {
    bool found = false;
    pthread_mutex_lock(&k->lock);
    const struct entry *e = k->slots[slot_of(c)];
    if (e && e->version == version && e->credential.kind == c->kind &&
        strcmp(e->credential.hash, c->hash) == 0 && clock_mono_ns() < e->until_ns)
        found = copy_out(e, a, ret);
    pthread_mutex_unlock(&k->lock);
    return found;
}

void known_users_put(struct known_users *k, const struct auth_credential *c, uint64_t version,
                     const struct known_user *u) {
    struct known_user copy = *u;
    struct str *s[N_STRINGS];
    size_t n = 0;
    strings_of(&copy.user, s);
    for (size_t i = 0; i < N_STRINGS; i++)
        n += s[i]->n;
    struct entry *e = n <= TEXT_MAX ? malloc(sizeof *e + n + N_STRINGS) : NULL;
    if (!e)
        return;
    char *to = e->text;
    for (size_t i = 0; i < N_STRINGS; i++) {
        if (s[i]->n)
            memcpy(to, s[i]->p, s[i]->n);
        *s[i] = (struct str){to, s[i]->n};
        to += s[i]->n;
        *to++ = 0;
    }
    copy.user.password_hash = STR("");
    e->credential = *c;
    e->version = version;
    e->until_ns = clock_mono_ns() + (int64_t)KNOWN_MS * 1000000;
    e->known = copy;
    pthread_mutex_lock(&k->lock);
    struct entry **slot = &k->slots[slot_of(c)], *old = *slot;
    *slot = e;
    pthread_mutex_unlock(&k->lock);
    free(old);
}
