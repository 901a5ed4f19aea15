/* A text as the rules and the classifier read it: disguises undone, each byte knowing where in the
 * original it came from.
 *
 *   original ─→ fold (NFKD without marks, case, look-alikes, invisible characters)
 *            ─→ undisguise (spaced-out letters, leetspeak, stretched letters)
 *            ─→ + what was decoded (base64, hex, ROT13, lines under bidi overrides as they are
 * shown), each on a line of its own at the end
 *
 * Look-alikes are Unicode's confusables (UTS #39, from ICU) whose skeleton is an ASCII letter's.
 * The original may be any bytes: what is no UTF-8 is passed over. The work is linear in the text;
 * the result is at most NORMAL_GROWTH times as long. Not thread-safe; one object for each thread.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* Which disguises were found. */
enum {
    NORMAL_INVISIBLE = 1, /* zero-width, bidi controls, variation selectors, soft hyphens */
    NORMAL_LOOKALIKE = 2,
    NORMAL_LEET = 4,
    NORMAL_SPACED = 8,
    NORMAL_BASE64 = 16,
    NORMAL_HEX = 32,
    NORMAL_ROT13 = 64,
    NORMAL_INVALID = 128, /* bytes that are no UTF-8 */
    NORMAL_REVERSED = 256 /* shown in another order than it is written in */
};

#define NORMAL_GROWTH    8
#define NORMAL_INPUT_MAX ((size_t)16 << 20) /* longer originals: ERR_TOO_LARGE */
#define NORMAL_FRAGMENTS 32                 /* encoded fragments decoded at most, of each kind */

struct normal_source { /* bytes of the original that a byte of the text stands for */
    uint32_t from, to;
};

struct safety_normal {
    struct buf text;     /* lower case; sentences end as in the original; '\n' parts lines */
    size_t decoded_from; /* what stands from here on was decoded */
    unsigned found;      /* NORMAL_… */
    size_t looked;       /* characters looked at for words that are spelled out, signs in place of
                            letters: linear */
    bool itself;         /* each byte of text stands for the one at its place: map is empty */
    struct buf map;      /* of struct normal_source, one for each byte of text */
    struct buf step, step_map, piece; /* between the passes */
};

/* Once per process, before the first use; makes the table of look-alikes (some milliseconds).
 * ERR_UNAVAILABLE: ICU's data are not there. Any thread. */
enum err safety_normal_prepare(struct errinfo *ei) ERR_CHECK;

void safety_normal_init(struct safety_normal *n);
void safety_normal_deinit(struct safety_normal *n);

/* Replaces what *n held. ERR_TOO_LARGE, ERR_NOMEM. */
enum err safety_normalise(struct safety_normal *n, struct str original) ERR_CHECK;

/* The bytes of the original behind text[from, to). */
struct normal_source safety_normal_span(const struct safety_normal *n, size_t from, size_t to);
