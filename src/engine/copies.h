/* Copies of bytes that are begun at one time and made later, a few at a time and in their order:
 * what moves with a conversation is tens of megabytes, and running answers do not wait for all of
 * it. One thread at a time. Zero-initialised is empty. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct copies {
    struct copy {
        void *to;         /* NULL: from is to be freed */
        const void *from; /* borrowed until it is copied */
        size_t n;
    } * p;
    size_t n, size;  /* of p */
    size_t at, done; /* the copy that is next, and how many of its bytes are made */
};

/* Makes what is left and frees the memory. */
void copies_deinit(struct copies *c);
/* Neither range may change otherwise before it is copied. Without memory to remember it, all is
 * made at once. */
void copies_add(struct copies *c, void *to, const void *from, size_t n);
/* Frees what malloc() gave when what was begun before is made. NULL is fine. */
void copies_free(struct copies *c, void *bytes);
bool copies_left(const struct copies *c);
/* Makes about so many bytes more; true: none is left. */
bool copies_some(struct copies *c, size_t bytes);
/* Goes on until then by clock_mono_ns(), INT64_MAX = to the end; true: none is left. */
bool copies_until(struct copies *c, int64_t until_ns);
