/* Memory that goes away as one: what belongs to a request or a turn lives in its arena.
 * Not thread-safe; an arena has one owner at a time. */
#pragma once

#include "base/err.h"
#include "base/str.h"

struct arena;

/* cap bounds the total in bytes; an allocation past it, or malloc's failure, returns NULL. */
struct arena *arena_new(size_t cap);
void arena_free(struct arena *a); /* NULL is fine */

void *arena_alloc(struct arena *a, size_t n);                  /* zeroed, aligned for any type */
void *arena_array(struct arena *a, size_t count, size_t size); /* checks the product */
struct str arena_str(struct arena *a, struct str s); /* a copy, NUL-terminated; p NULL on failure */
char *arena_strz(struct arena *a, struct str s);     /* a NUL-terminated copy or NULL */
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
size_t arena_used(const struct arena *a);
