/* What all implementations of a model share. */
#include "engine/model.h"

#include <stdlib.h>
#include <string.h>

#define TOKENS_MAX (1 << 22)

enum err tokens_add(struct tokens *t, const int32_t *p, int n) {
    if (n < 0 || n > TOKENS_MAX - t->n)
        return ERR_TOO_LARGE;
    if (t->n + n > t->size) {
        int size = t->size ? t->size : 64;
        while (size < t->n + n)
            size *= 2;
        int32_t *grown = realloc(t->p, (size_t)size * sizeof(*grown));
        if (!grown)
            return ERR_NOMEM;
        t->p = grown;
        t->size = size;
    }
    if (n && p)
        memcpy(t->p + t->n, p, (size_t)n * sizeof(*p));
    t->n += n;
    return ERR_OK;
}

void tokens_deinit(struct tokens *t) {
    free(t->p);
    *t = (struct tokens){0};
}

int tokens_common(const struct tokens *a, int a_n, const struct tokens *b, int b_n) {
    int n = a_n < b_n ? a_n : b_n, i = 0;
    while (i < n && a->p[i] == b->p[i])
        i++;
    return i;
}

void model_free(struct model *m) {
    if (m)
        m->ops->free(m);
}
