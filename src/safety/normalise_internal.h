/* Between the files of the normaliser. A folded text is a buf of bytes and a buf of as many struct
 * normal_source; both grow together. */
#pragma once

#include "safety/normalise.h"

struct folded {
    struct buf *text, *map;
};

static inline void folded_add(struct folded *f, char c, struct normal_source s) {
    struct buf *t = f->text, *m = f->map;
    if (t->n + 1 >= t->size || m->n + sizeof s >= m->size || t->n >= t->cap || t->err || m->err) {
        buf_addc(t, c);
        buf_add(m, &s, sizeof s);
        return;
    }
    t->p[t->n++] = c; /* as buf_add() does it, without asking for room */
    t->p[t->n] = 0;
    memcpy(m->p + m->n, &s, sizeof s);
    m->n += sizeof s;
    m->p[m->n] = 0;
}

/* ---- plain.c ---- */
/* True: nothing in the text is disguised but for what may be encoded, and it stands there now as it
 * is read, each byte in its place. Otherwise it is damaged. *ret_runs: there may be base64 or hex
 * in it. */
bool normal_is_plain(struct buf *text, bool *ret_runs);
#define NORMAL_ENCODED_MIN 12 /* characters of base64 or hex: shorter ones carry no request */

/* ---- unicode.c ---- */
/* Decodes the sequence at p (n > 0 bytes): its length, and the character or -1 for one byte that is
 * no UTF-8. */
size_t unicode_next(const char *p, size_t n, int32_t *ret);
/* What character c (not ASCII) is read as, in UTF-8; 0 bytes for what is invisible or a mark. */
#define UNICODE_FOLD_MAX 64
size_t unicode_fold(int32_t c, char out[UNICODE_FOLD_MAX], unsigned *found);
bool unicode_is_letter(int32_t c);

/* ---- decode.c ---- */
/* Finds fragments of `original` that are encoded, and calls take(ctx, decoded, from, to, how) for
 * each. out is for their bytes. runs: there may be base64 or hex. */
typedef void (*decode_fn)(void *ctx, struct str decoded, size_t from, size_t to, unsigned how);
void decode_fragments(struct str original, bool runs, struct buf *out, decode_fn take, void *ctx);
/* Whether a word (ASCII letters) is far likelier English when turned by ROT13, by itself or with
 * the one before it. *before: what is known of that; 0 at a sentence's beginning. */
bool decode_is_turned(struct str word, int *before);
/* Whether s[from, to) (letters) is a piece of base64, a path or a name of a program: no word. */
bool decode_is_of_code(struct str s, size_t from, size_t to);

/* ---- bidi.c ---- */
/* Puts a line that holds RIGHT-TO-LEFT OVERRIDE into out as it is shown, without control
 * characters; nothing where that is as it is written. */
void bidi_shown(struct str line, struct buf *out);

/* Whether a word (ASCII letters) is one that nearly every English sentence has: as it stands, or
 * turned by ROT13. */
enum { DECODE_STANDS = 1, DECODE_TURNED = 2 };
unsigned decode_word(struct str word);
