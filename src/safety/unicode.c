/* Characters: what each is read as. The only user of ICU.
 *
 * NFKD (UAX #15) takes fullwidth, mathematical, circled and ligature forms apart, marks are
 * dropped, case is folded, and a character whose confusable skeleton (UTS #39) is that of an ASCII
 * letter or digit becomes it. The table of those is made once from ICU's data. */
#include <pthread.h>
#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/uspoof.h>

#include "safety/normalise_internal.h"

#define SLOTS 8192 /* a power of two, at least twice the look-alikes that there are */

static struct {
    int32_t from[SLOTS]; /* 0 = free */
    char to[SLOTS];
    const UNormalizer2 *nfkc;
    bool ready;
    size_t n;
} table;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Characters that people use for letters and whose skeletons are themselves. */
static const struct {
    int32_t c;
    char to;
} more[] = {
    {0x1D00, 'a'}, {0x0299, 'b'}, {0x1D04, 'c'}, {0x1D05, 'd'}, {0x1D07, 'e'}, {0xA730, 'f'},
    {0x0262, 'g'}, {0x029C, 'h'}, {0x026A, 'i'}, {0x1D0A, 'j'}, {0x1D0B, 'k'}, {0x029F, 'l'},
    {0x1D0D, 'm'}, {0x0274, 'n'}, {0x1D0F, 'o'}, {0x1D18, 'p'}, {0x01EB, 'q'}, {0x0280, 'r'},
    {0xA731, 's'}, {0x1D1B, 't'}, {0x1D1C, 'u'}, {0x1D20, 'v'}, {0x1D21, 'w'}, {0x028F, 'y'},
    {0x1D22, 'z'}, {0x0131, 'i'}, {0x0142, 'l'}, {0x00F8, 'o'}, {0x0111, 'd'}, {0x0127, 'h'},
    {0x0250, 'a'}, {0x0252, 'a'}, {0x0259, 'e'}, {0x025B, 'e'}, {0x03B5, 'e'}, {0x03C4, 't'},
    {0x043A, 'k'}, {0x043C, 'm'}, {0x0442, 't'}, {0x043D, 'h'}, {0x0432, 'b'}, {0x0438, 'n'},
    {0x044C, 'b'},
};

static size_t slot_of(int32_t c) {
    size_t at = ((uint32_t)c * 2654435761u) >> 19;
    while (table.from[at] && table.from[at] != c)
        at = (at + 1) % SLOTS;
    return at;
}

static void put(int32_t c, char to) {
    size_t at = slot_of(c);
    if (table.n >= SLOTS / 2 || table.from[at])
        return;
    table.from[at] = c;
    table.to[at] = to;
    table.n++;
}

static bool skeleton(USpoofChecker *sc, int32_t c, UChar32 *ret) {
    UChar in[2], out[8];
    UErrorCode status = U_ZERO_ERROR;
    int32_t n = 0, at = 0;
    U16_APPEND_UNSAFE(in, n, c);
    int32_t got = uspoof_getSkeleton(sc, 0, in, n, out, 8, &status);
    if (U_FAILURE(status) || got < 1 || got > 2)
        return false;
    U16_NEXT(out, at, got, *ret);
    return at == got;
}

static void add_range(USpoofChecker *sc, const UChar32 *ascii, int32_t first, int32_t last) {
    for (int32_t c = first; c <= last; c++) {
        UChar32 s;
        if (!u_isalnum(c) || u_foldCase(c, U_FOLD_CASE_DEFAULT) != c || !skeleton(sc, c, &s))
            continue;
        for (int i = 0; i < 36; i++)
            if (ascii[i] == s) {
                put(c, "abcdefghijklmnopqrstuvwxyz0123456789"[i]);
                break;
            }
    }
}

static void prepare(void) {
    static const int32_t ranges[][2] = {{0x00B5, 0x058F}, {0x0620, 0x06FF},   {0x0966, 0x09FF},
                                        {0x13A0, 0x13FD}, {0x1400, 0x167F},   {0x1D00, 0x1FFF},
                                        {0x2C00, 0x2DFF}, {0xA4D0, 0xA4FF},   {0xA640, 0xA69F},
                                        {0xA720, 0xABBF}, {0x10280, 0x1031F}, {0x118A0, 0x118FF}};
    UErrorCode status = U_ZERO_ERROR;
    UChar32 ascii[36];
    table.nfkc = unorm2_getNFKCInstance(&status);
    USpoofChecker *sc = U_SUCCESS(status) ? uspoof_open(&status) : NULL;
    if (U_FAILURE(status) || !sc)
        return;
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        put(more[i].c, more[i].to);
    for (int i = 0; i < 36; i++)
        if (!skeleton(sc, "abcdefghijklmnopqrstuvwxyz0123456789"[i], &ascii[i]))
            ascii[i] = -1; /* 'm' reads as "rn" */
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        add_range(sc, ascii, ranges[i][0], ranges[i][1]);
    uspoof_close(sc);
    table.ready = true;
}

enum err safety_normal_prepare(struct errinfo *ei) {
    pthread_once(&once, prepare);
    return table.ready ? ERR_OK
                       : err_set(ei, ERR_UNAVAILABLE,
                                 "the Unicode library (ICU) has no data: install libicu72 again");
}

size_t unicode_next(const char *p, size_t n, int32_t *ret) {
    const uint8_t *s = (const uint8_t *)p;
    int32_t at = 0;
    UChar32 c;
    U8_NEXT(s, at, (int32_t)(n > 4 ? 4 : n), c);
    *ret = c;
    return c < 0 ? 1 : (size_t)at;
}

static bool is_invisible(int32_t c) {
    int8_t type = u_charType(c);
    return type == U_FORMAT_CHAR || (c >= 0xFE00 && c <= 0xFE0F) || c == 0x034F || c == 0x115F ||
           c == 0x1160 || c == 0x3164 || c == 0xFFA0 || c == 0x2800 ||
           (c >= 0xE0100 && c <= 0xE01EF);
}

static bool is_mark(int32_t c) {
    int8_t type = u_charType(c);
    return type == U_NON_SPACING_MARK || type == U_ENCLOSING_MARK;
}

static size_t put_utf8(int32_t c, char *out) {
    int32_t n = 0;
    U8_APPEND_UNSAFE((uint8_t *)out, n, c);
    return (size_t)n;
}

/* Of one character of a decomposition. */
static size_t fold_one(int32_t c, char *out, unsigned *found) {
    if (is_mark(c))
        return 0;
    if (u_isUWhiteSpace(c))
        return out[0] = c == 0x2028 || c == 0x2029 || c == 0x85 ? '\n' : ' ', 1;
    c = u_foldCase(c, U_FOLD_CASE_DEFAULT);
    size_t at = c < 0x80 ? 0 : slot_of(c);
    if (c >= 0x80 && table.from[at]) {
        *found |= NORMAL_LOOKALIKE;
        return out[0] = table.to[at], 1;
    }
    return put_utf8(c, out);
}

size_t unicode_fold(int32_t c, char out[UNICODE_FOLD_MAX], unsigned *found) {
    UChar parts[16];
    UErrorCode status = U_ZERO_ERROR;
    size_t n = 0;
    if (is_invisible(c)) {
        *found |= NORMAL_INVISIBLE;
        return 0;
    }
    if (c >= 0x1F1E6 && c <= 0x1F1FF) /* regional indicators: flags, or letters in disguise */
        return out[0] = (char)('a' + c - 0x1F1E6), 1;
    if (c >= 0x1F130 && c <= 0x1F189) /* squared and circled capitals, white on black or not */
        return out[0] = (char)('a' + (c - 0x1F130) % 32 % 26), 1;
    if (c >= 0xAC00 && c <= 0xD7A3) /* Hangul syllables stay whole */
        return put_utf8(c, out);
    int32_t got = unorm2_getDecomposition(table.nfkc, c, parts, 16, &status);
    if (got < 0 || U_FAILURE(status))
        return fold_one(c, out, found);
    if (c >= 0xFF00)
        *found |= NORMAL_LOOKALIKE;
    for (int32_t at = 0; at < got && n + 4 <= UNICODE_FOLD_MAX;) {
        UChar32 part;
        U16_NEXT(parts, at, got, part);
        n += fold_one(part, out + n, found);
    }
    return n;
}

bool unicode_is_letter(int32_t c) {
    return u_isalpha(c);
}
