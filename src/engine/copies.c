/* See copies.h. */
#include "engine/copies.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* Between two looks at the clock. Each page may be touched for the first time, which takes up to
 * 10 us, and each copy may have one of its own. */
#define BYTES_AT_ONCE  ((size_t)64 << 10)
#define COPIES_AT_ONCE 16

void copies_deinit(struct copies *c) {
    (void)copies_until(c, INT64_MAX);
    free(c->p);
    *c = (struct copies){0};
}

bool copies_left(const struct copies *c) {
    return c->at < c->n;
}

static void add(struct copies *c, void *to, const void *from, size_t n) {
    if (c->n == c->size) {
        size_t size = c->size ? c->size * 2 : 1024;
        struct copy *grown = realloc(c->p, size * sizeof(*grown));
        if (!grown) {
            (void)copies_until(c, INT64_MAX);
            if (to)
                memcpy(to, from, n);
            else
                free((void *)(uintptr_t)from);
            return;
        }
        c->p = grown;
        c->size = size;
    }
    c->p[c->n++] = (struct copy){to, from, n};
}

void copies_add(struct copies *c, void *to, const void *from, size_t n) {
    if (n > 0)
        add(c, to, from, n);
}

void copies_free(struct copies *c, void *bytes) {
    if (!bytes)
        return;
    if (copies_left(c))
        add(c, NULL, bytes, 0);
    else
        free(bytes);
}

static bool some(struct copies *c, size_t bytes, size_t copies) {
    for (size_t end = c->at + copies; copies_left(c) && bytes > 0 && c->at < end;) {
        const struct copy *next = &c->p[c->at];
        size_t n = next->n - c->done < bytes ? next->n - c->done : bytes;
        if (next->to)
            memcpy((char *)next->to + c->done, (const char *)next->from + c->done, n);
        else
            free((void *)(uintptr_t)next->from);
        bytes -= n;
        c->done += n;
        if (c->done == next->n) {
            c->at++;
            c->done = 0;
        }
    }
    if (copies_left(c))
        return false;
    c->n = c->at = 0;
    return true;
}

bool copies_some(struct copies *c, size_t bytes) {
    return some(c, bytes, c->n);
}

bool copies_until(struct copies *c, int64_t until_ns) {
    bool all = !copies_left(c);
    while (!all && (until_ns == INT64_MAX || clock_mono_ns() < until_ns))
        all = some(c, BYTES_AT_ONCE, COPIES_AT_ONCE);
    return all;
}
