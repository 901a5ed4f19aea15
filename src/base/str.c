/* String helpers on pointer and length, and UTF-8. Nothing here allocates or reads a locale. */
#include "base/str.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

static unsigned char lower(char c) {
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

bool str_eq_nocase(struct str a, struct str b) {
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

bool str_starts(struct str s, struct str prefix) {
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

bool str_ends(struct str s, struct str suffix) {
    return s.n >= suffix.n &&
           (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

struct str str_trim(struct str s) {
    while (s.n && is_space(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

struct str str_sub(struct str s, size_t from, size_t n) {
    if (!s.p)
        return s;
    if (from > s.n)
        from = s.n;
    if (n > s.n - from)
        n = s.n - from;
    return (struct str){s.p + from, n};
}

size_t str_find(struct str s, struct str needle) {
    if (needle.n == 0)
        return 0;
    if (needle.n > s.n)
        return SIZE_MAX;
    const char *at = memmem(s.p, s.n, needle.p, needle.n);
    return at ? (size_t)(at - s.p) : SIZE_MAX;
}

struct str str_cut(struct str *s, char sep) {
    struct str head = *s;
    const char *at = s->n ? memchr(s->p, sep, s->n) : NULL;
    if (!at) {
        *s = STR_NULL;
        return head;
    }
    head.n = (size_t)(at - s->p);
    s->p = at + 1;
    s->n -= head.n + 1;
    return head;
}

bool str_to_u64(struct str s, uint64_t *ret) {
    if (s.n == 0 || s.n > 20)
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        if (__builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
            return false;
    }
    *ret = v;
    return true;
}

bool str_to_i64(struct str s, int64_t *ret) {
    bool negative = s.n && s.p[0] == '-';
    uint64_t v;
    if (!str_to_u64(negative ? str_sub(s, 1, s.n) : s, &v))
        return false;
    if (v > (uint64_t)INT64_MAX + negative)
        return false;
    *ret = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

static locale_t c_locale;

static void make_c_locale(void) {
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

bool str_to_double(struct str s, double *ret) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char z[128];
    if (s.n == 0 || s.n >= sizeof z)
        return false;
    for (size_t i = 0; i < s.n; i++) /* keeps hex, "inf", "nan" and leading space out of strtod */
        if (!memchr("0123456789+-.eE", s.p[i], 15))
            return false;
    memcpy(z, s.p, s.n);
    z[s.n] = 0;
    pthread_once(&once, make_c_locale);
    if (!c_locale)
        return false;
    char *end;
    double v = strtod_l(z, &end, c_locale);
    if (end != z + s.n || !isfinite(v))
        return false;
    *ret = v;
    return true;
}

/* ---- UTF-8 ---- */

/* RFC 3629, section 4: the lead byte fixes the length and the range of the second byte; every later
 * byte is 80..BF. Returns the length that the lead byte asks for, or 0 for a byte that leads
 * nothing. */
static size_t lead(unsigned char c, unsigned char *lo, unsigned char *hi) {
    *lo = 0x80;
    *hi = 0xbf;
    if (c < 0x80)
        return 1;
    if (c < 0xc2)
        return 0;
    if (c < 0xe0)
        return 2;
    if (c < 0xf0) {
        if (c == 0xe0)
            *lo = 0xa0;
        else if (c == 0xed)
            *hi = 0x9f;
        return 3;
    }
    if (c > 0xf4)
        return 0;
    if (c == 0xf0)
        *lo = 0x90;
    else if (c == 0xf4)
        *hi = 0x8f;
    return 4;
}

/* How many of the sequence's bytes at p (of at most n) are well-formed; *ret_want is its length. */
static size_t sequence(const unsigned char *p, size_t n, size_t *ret_want) {
    unsigned char lo, hi;
    *ret_want = lead(p[0], &lo, &hi);
    if (*ret_want == 0)
        return 0;
    size_t i = 1;
    for (; i < *ret_want && i < n; i++) {
        if (p[i] < lo || p[i] > hi)
            break;
        lo = 0x80;
        hi = 0xbf;
    }
    return i;
}

bool utf8_valid(struct str s) {
    const unsigned char *p = (const unsigned char *)s.p;
    size_t n = s.n;
    while (n) {
        uint64_t word;
        if (n >= 8 && (memcpy(&word, p, 8), (word & 0x8080808080808080u) == 0)) {
            p += 8;
            n -= 8;
            continue;
        }
        size_t want, got = sequence(p, n, &want);
        if (got == 0 || got != want)
            return false;
        p += want;
        n -= want;
    }
    return true;
}

size_t utf8_complete(struct str s) {
    const unsigned char *p = (const unsigned char *)s.p;
    size_t back = s.n < 3 ? s.n : 3;
    for (size_t k = 1; k <= back; k++) {
        const unsigned char *at = p + s.n - k;
        if ((*at & 0xc0) == 0x80)
            continue;
        size_t want, got = sequence(at, k, &want);
        return got == k && want > k ? s.n - k : s.n;
    }
    return s.n;
}

size_t utf8_cut(struct str s, size_t max) {
    if (max >= s.n)
        return s.n;
    size_t n = max;
    for (int back = 0; back < 3 && n > 0 && ((unsigned char)s.p[n] & 0xc0) == 0x80; back++)
        n--;
    /* More than three continuation bytes are not UTF-8 at all: then any place is as good. */
    return ((unsigned char)s.p[n] & 0xc0) == 0x80 && n > 0 ? max : n;
}
