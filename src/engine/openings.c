#include "engine/openings.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct opening {
    char *text; /* owned; NULL = a free place */
    size_t n;
    bool with_user;
    struct tokens head;
    int64_t used;
};

struct openings {
    pthread_mutex_t lock;
    struct opening list[OPENINGS_MAX];
    int64_t tick;
};

struct openings *openings_new(void) {
    struct openings *o = calloc(1, sizeof(*o));
    if (o)
        pthread_mutex_init(&o->lock, NULL);
    return o;
}

static void drop(struct opening *e) {
    free(e->text);
    tokens_deinit(&e->head);
    *e = (struct opening){0};
}

void openings_free(struct openings *o) {
    if (!o)
        return;
    for (int i = 0; i < OPENINGS_MAX; i++)
        drop(&o->list[i]);
    pthread_mutex_destroy(&o->lock);
    free(o);
}

static const struct tokens *find(struct openings *o, struct str system, bool with_user) {
    for (int i = 0; i < OPENINGS_MAX; i++) {
        struct opening *e = &o->list[i];
        if (!e->text || e->with_user != with_user || e->n != system.n ||
            (system.n && memcmp(e->text, system.p, system.n) != 0))
            continue;
        e->used = ++o->tick;
        return &e->head;
    }
    return NULL;
}

bool openings_has(struct openings *o, struct str system, bool with_user) {
    pthread_mutex_lock(&o->lock);
    bool has = find(o, system, with_user) != NULL;
    pthread_mutex_unlock(&o->lock);
    return has;
}

int openings_shared(struct openings *o, struct str system, bool with_user,
                    const struct tokens *prompt) {
    int n = -1;
    pthread_mutex_lock(&o->lock);
    const struct tokens *head = find(o, system, with_user);
    if (head)
        n = tokens_common(head, head->n, prompt, prompt->n);
    pthread_mutex_unlock(&o->lock);
    return n;
}

static void keep(struct openings *o, struct str system, bool with_user, const struct tokens *head) {
    struct opening e = {.n = system.n, .with_user = with_user}, *to = &o->list[0];
    if (system.n > OPENINGS_BYTES || find(o, system, with_user))
        return;
    e.text = malloc(system.n + 1);
    if (!e.text || tokens_add(&e.head, head->p, head->n)) {
        drop(&e);
        return;
    }
    if (system.n)
        memcpy(e.text, system.p, system.n);
    for (int i = 1; i < OPENINGS_MAX; i++)
        to = o->list[i].used < to->used ? &o->list[i] : to;
    drop(to);
    *to = e;
    to->used = ++o->tick;
}

void openings_keep(struct openings *o, struct str system, bool with_user,
                   const struct tokens *head) {
    pthread_mutex_lock(&o->lock);
    keep(o, system, with_user, head);
    pthread_mutex_unlock(&o->lock);
}
