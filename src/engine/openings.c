#include "engine/openings.h"

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
    struct opening list[OPENINGS_MAX];
    int64_t tick;
};

struct openings *openings_new(void) {
    return calloc(1, sizeof(struct openings));
}

static void drop(struct opening *e) {
    free(e->text);
    tokens_deinit(&e->head);
    *e = (struct opening){0};
}

void openings_free(struct openings *o) {
    for (int i = 0; o && i < OPENINGS_MAX; i++)
        drop(&o->list[i]);
    free(o);
}

const struct tokens *openings_find(struct openings *o, struct str system, bool with_user) {
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

void openings_keep(struct openings *o, struct str system, bool with_user,
                   const struct tokens *head) {
    struct opening e = {.n = system.n, .with_user = with_user}, *to = &o->list[0];
    if (system.n > OPENINGS_BYTES || openings_find(o, system, with_user))
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
