/* Token counts that were asked for once, by (text, model). A fixed number of entries, the oldest
 * used of a set of four goes first. Thread-safe. */
#pragma once

#include "base/err.h"
#include "base/str.h"

struct count_cache;

enum err count_cache_new(size_t entries, struct count_cache **ret) ERR_CHECK;
void count_cache_free(struct count_cache *c);
int count_cache_get(struct count_cache *c, struct str model, struct str text); /* -1 = not known */
void count_cache_put(struct count_cache *c, struct str model, struct str text, int tokens);
