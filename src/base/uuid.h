/* UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then random bits; within one process the values
 * increase strictly, so that sorting by id is sorting by creation. Thread-safe. */
#pragma once

#include "base/str.h"

#define UUID_LEN 36

struct uuid {
    char s[UUID_LEN + 1]; /* lower-case canonical text, NUL-terminated; "" = none */
};

struct uuid uuid_new(void);
struct uuid uuid_new_at(
    int64_t wall_ms); /* for that time; in order only among calls for the same millisecond */

/* Accepts only the 36-character form (either case) and writes the lower-case one. */
bool uuid_parse(struct str s, struct uuid *ret);
static inline bool uuid_is_set(const struct uuid *u) {
    return u->s[0] != 0;
}
static inline bool uuid_eq(const struct uuid *a, const struct uuid *b) {
    return memcmp(a->s, b->s, UUID_LEN) == 0;
}
static inline struct str uuid_str(const struct uuid *u) {
    return (struct str){u->s, u->s[0] ? UUID_LEN : 0};
}
