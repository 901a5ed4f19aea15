/* A byte buffer that grows up to a stated cap (curl's dynbuf is the example).
 *
 * A failed append marks the buffer failed and frees nothing: later appends do nothing, so a builder
 * may append many times and check buf_err() once. The bytes are always NUL-terminated past n. */
#pragma once

#include "base/err.h"
#include "base/str.h"

struct buf {
    char *p;     /* owned; NULL while empty */
    size_t n;    /* bytes in use */
    size_t size; /* bytes allocated */
    size_t cap;  /* bytes at most, without the NUL */
    enum err err;
};

void buf_init(struct buf *b, size_t cap);
void buf_deinit(struct buf *b);               /* frees; the buffer may be initialised again */
void buf_clear(struct buf *b);                /* keeps the memory, clears the error */
enum err buf_err(const struct buf *b);        /* ERR_OK, ERR_NOMEM or ERR_TOO_LARGE */
struct str buf_str(const struct buf *b);      /* borrowed until the next append */
char *buf_take(struct buf *b, size_t *ret_n); /* transfers the bytes (free()); NULL if failed */

/* Room for n more bytes at once, where it is known about how much will be appended bit by bit. */
void buf_room(struct buf *b, size_t n);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_adds(struct buf *b, struct str s);
void buf_addz(struct buf *b, const char *z);
void buf_addc(struct buf *b, char c);
void buf_add_int(struct buf *b, int64_t n); /* in decimal */
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_drop(struct buf *b, size_t n); /* removes the first n bytes */

/* Appends s as the inside of a JSON string (RFC 8259), without the quotes. s is valid UTF-8. */
void buf_add_json(struct buf *b, struct str s);
