/* The growing byte buffer. Invariant: when p is set, p[n] is NUL and n < size <= cap + 1. */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

void buf_init(struct buf *b, size_t cap) {
    *b = (struct buf){.cap = cap < SIZE_MAX ? cap : SIZE_MAX - 1};
}

void buf_deinit(struct buf *b) {
    free(b->p);
    *b = (struct buf){.cap = b->cap};
}

void buf_clear(struct buf *b) {
    b->n = 0;
    b->err = ERR_OK;
    if (b->p)
        b->p[0] = 0;
}

enum err buf_err(const struct buf *b) {
    return b->err;
}

struct str buf_str(const struct buf *b) {
    return (struct str){b->p ? b->p : "", b->n};
}

/* Makes room for n more bytes and the NUL, or marks the buffer failed. */
static bool reserve(struct buf *b, size_t n) {
    if (b->err)
        return false;
    if (n > b->cap - b->n) {
        b->err = ERR_TOO_LARGE;
        return false;
    }
    size_t need = b->n + n + 1;
    if (need <= b->size)
        return true;
    size_t size = b->size ? b->size : 64;
    while (size < need && size <= b->cap / 2)
        size *= 2;
    if (size < need)
        size = need < b->cap / 2 ? need : b->cap + 1;
    char *p = realloc(b->p, size);
    if (!p) {
        b->err = ERR_NOMEM;
        return false;
    }
    b->p = p;
    b->size = size;
    return true;
}

void buf_room(struct buf *b, size_t n) {
    if (n <= b->cap - b->n) /* what is too much shows when it is appended */
        (void)reserve(b, n);
}

char *buf_take(struct buf *b, size_t *ret_n) {
    if (!reserve(b, 0)) /* an empty buffer gives an empty string, not NULL */
        return NULL;
    char *p = b->p;
    p[b->n] = 0;
    if (ret_n)
        *ret_n = b->n;
    *b = (struct buf){.cap = b->cap};
    return p;
}

void buf_add(struct buf *b, const void *p, size_t n) {
    if (n == 0 || !reserve(b, n))
        return;
    memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = 0;
}

void buf_adds(struct buf *b, struct str s) {
    buf_add(b, s.p, s.n);
}

void buf_addz(struct buf *b, const char *z) {
    buf_add(b, z, strlen(z));
}

void buf_addc(struct buf *b, char c) {
    bool room = b->n + 1 < b->size && b->n < b->cap && !b->err;
    if (!room && !reserve(b, 1))
        return;
    b->p[b->n++] = c;
    b->p[b->n] = 0;
}

void buf_add_int(struct buf *b, int64_t n) {
    char text[20], *end = text + sizeof text, *p = end; /* "-9223372036854775808" */
    uint64_t left = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    do
        *--p = (char)('0' + left % 10);
    while (left /= 10);
    if (n < 0)
        *--p = '-';
    buf_add(b, p, (size_t)(end - p));
}

void buf_addf(struct buf *b, const char *fmt, ...) {
    char small[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->err = b->err ? b->err : ERR_INVALID;
        return;
    }
    if ((size_t)n < sizeof small) {
        buf_add(b, small, (size_t)n);
        return;
    }
    if (!reserve(b, (size_t)n))
        return;
    va_start(ap, fmt);
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->n += (size_t)n;
}

void buf_drop(struct buf *b, size_t n) {
    if (n > b->n)
        n = b->n;
    if (n == 0)
        return;
    memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
    b->p[b->n] = 0;
}

/* How many bytes of s, from i on, stand in a JSON string as they are: eight at a time, as long as
 * none of them is below a blank, '"' or '\\' (a byte of x is 0 where x - 01… borrows: Hacker's
 * Delight, 6-1). Bytes from 0x80 on are part of a letter. */
static size_t plain_bytes(struct str s, size_t i) {
    static const uint64_t ones = 0x0101010101010101u, tops = ones << 7;
    size_t from = i;
    for (; s.n - i >= 8; i += 8) {
        uint64_t x;
        memcpy(&x, s.p + i, 8);
        uint64_t quote = x ^ ones * '"', slash = x ^ ones * '\\';
        if (((x - ones * 0x20) | (quote - ones) | (slash - ones)) & ~x & tops)
            break;
    }
    while (i < s.n && (unsigned char)s.p[i] >= 0x20 && s.p[i] != '"' && s.p[i] != '\\')
        i++;
    return i - from;
}

void buf_add_json(struct buf *b, struct str s) {
    static const char hex[] = "0123456789abcdef";
    size_t i = 0;
    while (i < s.n) {
        size_t n_plain = plain_bytes(s, i);
        buf_add(b, s.p + i, n_plain);
        i += n_plain;
        if (i == s.n)
            break;
        unsigned char c = (unsigned char)s.p[i++];
        char esc[6] = {'\\', (char)c, '0', '0', 0, 0};
        size_t n = 2;
        switch (c) {
        case '"':
        case '\\':
            break;
        case '\b':
            esc[1] = 'b';
            break;
        case '\f':
            esc[1] = 'f';
            break;
        case '\n':
            esc[1] = 'n';
            break;
        case '\r':
            esc[1] = 'r';
            break;
        case '\t':
            esc[1] = 't';
            break;
        default:
            esc[1] = 'u';
            esc[4] = hex[c >> 4];
            esc[5] = hex[c & 15];
            n = 6;
        }
        buf_add(b, esc, n);
    }
}
