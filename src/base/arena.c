/* Arena: a list of blocks that are freed together. Blocks double from 4 KiB to 64 KiB; what is
 * larger than a quarter of a block gets a block of its own, so that little is wasted. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>

#define ALIGN     alignof(max_align_t)
#define BLOCK_MIN ((size_t)4096)
#define BLOCK_MAX ((size_t)65536)

struct block {
    struct block *next;
    size_t n, size;
    alignas(max_align_t) char bytes[];
};

struct arena {
    struct block *head; /* the block that is filled; blocks of their own stand behind it */
    size_t used, cap, next_size;
};

struct arena *arena_new(size_t cap) {
    struct arena *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->cap = cap;
    a->next_size = BLOCK_MIN;
    return a;
}

void arena_free(struct arena *a) {
    if (!a)
        return;
    for (struct block *b = a->head, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(a);
}

static struct block *block_new(size_t size) {
    struct block *b = calloc(1, sizeof *b + size);
    if (b)
        b->size = size;
    return b;
}

void *arena_alloc(struct arena *a, size_t n) {
    if (n > a->cap || a->cap - a->used < n || n > SIZE_MAX / 2)
        return NULL;
    size_t size = n ? (n + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
    struct block *b = a->head;
    if (!b || b->size - b->n < size) {
        bool own = size > a->next_size / 4;
        b = block_new(own ? size : a->next_size);
        if (!b)
            return NULL;
        if (own && a->head) {
            b->next = a->head->next;
            a->head->next = b;
        } else {
            b->next = a->head;
            a->head = b;
        }
        if (!own && a->next_size < BLOCK_MAX)
            a->next_size *= 2;
    }
    void *p = b->bytes + b->n;
    b->n += size;
    a->used += n;
    return p;
}

void *arena_array(struct arena *a, size_t count, size_t size) {
    size_t n;
    return __builtin_mul_overflow(count, size, &n) ? NULL : arena_alloc(a, n);
}

char *arena_strz(struct arena *a, struct str s) {
    if (s.n == SIZE_MAX)
        return NULL;
    char *p = arena_alloc(a, s.n + 1);
    if (p && s.n)
        memcpy(p, s.p, s.n);
    return p;
}

struct str arena_str(struct arena *a, struct str s) {
    char *p = arena_strz(a, s);
    return p ? (struct str){p, s.n} : STR_NULL;
}

char *arena_printf(struct arena *a, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        return NULL;
    char *p = arena_alloc(a, (size_t)n + 1);
    if (!p)
        return NULL;
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

size_t arena_used(const struct arena *a) {
    return a->used;
}
