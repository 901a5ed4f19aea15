/* Strings as pointer and length; the bytes are borrowed unless a field says otherwise. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p; /* may be NULL when n is 0; not NUL-terminated in general */
    size_t n;
};

#define STR(lit)   ((struct str){"" lit, sizeof(lit) - 1})
#define STR_NULL   ((struct str){NULL, 0})
#define STR_ARG(s) (int)(s).n, (s).p ? (s).p : "" /* for "%.*s" */

static inline struct str str_from(const char *z) {
    return (struct str){z, z ? strlen(z) : 0};
}

static inline bool str_eq(struct str a, struct str b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool str_eqz(struct str a, const char *z) {
    return str_eq(a, str_from(z));
}

bool str_eq_nocase(struct str a, struct str b); /* ASCII only */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
struct str str_trim(struct str s);                       /* ASCII white space at both ends */
struct str str_sub(struct str s, size_t from, size_t n); /* clamped to s */

/* The offset of needle in s, or SIZE_MAX. */
size_t str_find(struct str s, struct str needle);

/* Cuts *s at the first sep: returns what stands before it and leaves the rest in *s.
 * Without a sep the whole is returned and *s becomes empty with p == NULL. */
struct str str_cut(struct str *s, char sep);

/* Decimal without sign, no leading or trailing bytes, no overflow. */
bool str_to_u64(struct str s, uint64_t *ret);
bool str_to_i64(struct str s, int64_t *ret);
bool str_to_double(struct str s, double *ret); /* finite, "C" locale */

/* ---- UTF-8 (RFC 3629) ---- */

/* True when s is well-formed UTF-8 (no surrogates, no overlong forms). NUL bytes are well-formed.
 */
bool utf8_valid(struct str s);

/* The length of the longest prefix of s that is complete: what is left is the start of one sequence
 * (0 to 3 bytes) that later bytes may finish. Bytes that can never become valid count as complete.
 */
size_t utf8_complete(struct str s);

/* The largest n <= max at which s can be cut without splitting a sequence. */
size_t utf8_cut(struct str s, size_t max);
