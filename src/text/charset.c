/* Encodings by ICU's converters and its detector, which looks at a beginning only. */
#include "text/charset.h"

#include <ctype.h>
#include <stdio.h>
#include <unicode/ucnv.h>
#include <unicode/ucsdet.h>

#define DETECT_BYTES   ((size_t)64 << 10)
#define CONFIDENCE_MIN 10
#define PIECE          16384

struct mark {
    struct str bytes;
    const char *name;
};

static const struct mark marks[] = {
    {{"\xff\xfe\0\0", 4}, "UTF-32LE"}, {{"\0\0\xfe\xff", 4}, "UTF-32BE"},
    {{"\xef\xbb\xbf", 3}, "UTF-8"},    {{"\xff\xfe", 2}, "UTF-16LE"},
    {{"\xfe\xff", 2}, "UTF-16BE"},
};

static const struct mark *mark_of(struct str bytes) {
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        if (str_starts(bytes, marks[i].bytes))
            return &marks[i];
    return NULL;
}

/* UTF-16 of mostly Latin text without a mark: every second byte is 0. */
static const char *bare_utf16(struct str bytes) {
    size_t n = bytes.n < 512 ? bytes.n : 512, even = 0, odd = 0;
    if (n < 4)
        return NULL;
    for (size_t i = 0; i < n; i++)
        *(i % 2 ? &odd : &even) += bytes.p[i] == 0;
    if (odd * 10 >= n * 4 && even * 20 < n)
        return "UTF-16LE";
    return even * 10 >= n * 4 && odd * 20 < n ? "UTF-16BE" : NULL;
}

bool charset_is_binary(struct str bytes) {
    size_t n = bytes.n < 65536 ? bytes.n : 65536, control = 0;
    if (mark_of(bytes) || bare_utf16(bytes))
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)bytes.p[i];
        if (c == 0)
            return true;
        control += (c < 0x20 && !memchr("\t\n\r\f\x1b", c, 5)) || c == 0x7f;
    }
    return control * 20 > n;
}

/* The text that is added is valid UTF-8 and whole. *cr: the last byte was a CR. */
static void add_clean(struct buf *out, struct str s, bool *cr) {
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c >= 0x20 && c != 0x7f) || c == '\t' || c == '\f' || (c == '\n' && !*cr)) {
            *cr = false;
            continue;
        }
        buf_add(out, s.p + from, i - from);
        from = i + 1;
        if (c == '\r')
            buf_addc(out, '\n');
        else if (c != '\n')
            buf_addc(out, ' ');
        *cr = c == '\r';
    }
    buf_add(out, s.p + from, s.n - from);
}

static bool label_ok(struct str label, char out[CHARSET_NAME_SIZE]) {
    label = str_trim(label);
    if (label.n == 0 || label.n >= CHARSET_NAME_SIZE)
        return false;
    for (size_t i = 0; i < label.n; i++) {
        unsigned char c = (unsigned char)label.p[i];
        if (!isalnum(c) && !strchr("-_.:+", c))
            return false;
        out[i] = (char)c;
    }
    out[label.n] = 0;
    return true;
}

/* Labels of the web that mean the larger set (WHATWG Encoding). */
static UConverter *open_label(const char *label) {
    UErrorCode code = U_ZERO_ERROR;
    struct str s = str_from(label);
    if (str_eq_nocase(s, STR("iso-8859-1")) || str_eq_nocase(s, STR("latin1")) ||
        str_eq_nocase(s, STR("us-ascii")) || str_eq_nocase(s, STR("ascii")))
        label = "windows-1252";
    if (str_eq_nocase(s, STR("utf-7")) || str_eq_nocase(s, STR("scsu")) ||
        str_eq_nocase(s, STR("bocu-1")))
        return NULL; /* text that says so hides something */
    UConverter *c = ucnv_open(label, &code);
    if (U_SUCCESS(code))
        return c;
    ucnv_close(c);
    return NULL;
}

static UConverter *detect(struct str bytes, char name[CHARSET_NAME_SIZE]) {
    UErrorCode code = U_ZERO_ERROR;
    UCharsetDetector *d = ucsdet_open(&code);
    UConverter *c = NULL;
    size_t n = bytes.n < DETECT_BYTES ? bytes.n : DETECT_BYTES;
    if (U_SUCCESS(code))
        ucsdet_setText(d, bytes.p, (int32_t)n, &code);
    const UCharsetMatch *m = U_SUCCESS(code) ? ucsdet_detect(d, &code) : NULL;
    int32_t confidence = m ? ucsdet_getConfidence(m, &code) : 0;
    const char *found = m ? ucsdet_getName(m, &code) : NULL;
    if (U_SUCCESS(code) && found && confidence >= CONFIDENCE_MIN && (c = open_label(found)))
        snprintf(name, CHARSET_NAME_SIZE, "%s", found);
    ucsdet_close(d);
    return c;
}

static enum err convert(UConverter *c, struct str bytes, struct buf *out) {
    static const char *const target_name = "UTF-8";
    UErrorCode code = U_ZERO_ERROR;
    UConverter *utf8 = ucnv_open(target_name, &code);
    UChar pivot[1024], *pivot_from = pivot, *pivot_to = pivot;
    const char *at = bytes.p, *end = bytes.p + bytes.n;
    char piece[PIECE];
    bool cr = false, first = true;
    if (U_FAILURE(code))
        return ERR_NOMEM;
    do {
        char *to = piece;
        code = U_ZERO_ERROR;
        ucnv_convertEx(utf8, c, &to, piece + sizeof piece, &at, end, pivot, &pivot_from, &pivot_to,
                       pivot + 1024, first, true, &code);
        first = false;
        add_clean(out, (struct str){piece, (size_t)(to - piece)}, &cr);
    } while (code == U_BUFFER_OVERFLOW_ERROR && !buf_err(out));
    ucnv_close(utf8);
    if (buf_err(out))
        return buf_err(out);
    return U_SUCCESS(code) ? ERR_OK : code == U_MEMORY_ALLOCATION_ERROR ? ERR_NOMEM : ERR_INVALID;
}

enum err charset_to_utf8(struct str bytes, struct str hint, struct buf *out,
                         char ret_name[CHARSET_NAME_SIZE]) {
    char name[CHARSET_NAME_SIZE] = "UTF-8";
    UConverter *c = NULL;
    const struct mark *m = mark_of(bytes);
    const char *bare = m ? NULL : bare_utf16(bytes);
    bool cr = false;
    if (m)
        bytes = str_sub(bytes, m->bytes.n, bytes.n);
    if (m || bare)
        snprintf(name, sizeof name, "%s", m ? m->name : bare);
    bool is_utf8 = !bare && (!m || str_eqz(STR("UTF-8"), m->name)) && utf8_valid(bytes);
    if (!is_utf8 && (m || bare))
        c = open_label(name);
    else if (!is_utf8 && label_ok(hint, name))
        c = open_label(name);
    if (!is_utf8 && !c)
        c = detect(bytes, name);
    if (!is_utf8 && !c) {
        snprintf(name, sizeof name, "windows-1252");
        c = open_label(name);
    }
    enum err e = is_utf8 ? ERR_OK : c ? convert(c, bytes, out) : ERR_INTERNAL;
    if (is_utf8) {
        add_clean(out, bytes, &cr);
        e = buf_err(out);
    }
    ucnv_close(c);
    if (!e && ret_name)
        memcpy(ret_name, name, sizeof name);
    return e;
}
