/* See json_text.h. The reader knows bytes, no grammar: it must take what a model makes of JSON.
 *
 *   OUTSIDE ─ " ─→ STRING ─ \ ─→ ESCAPE ─ u ─→ CODE      a string ends at its second quote
 *      └─ any other byte that is no structure ─→ TOKEN   it ends at structure, a blank or a quote
 */
#include "safety/json_text.h"

#include <string.h>

enum { OUTSIDE, STRING, ESCAPE, CODE, TOKEN };

enum part_kind {
    PART_MARK,   /* structure */
    PART_END,    /* that closes the outermost value */
    PART_STRING, /* text of a string */
    PART_TOKEN,  /* text outside of strings, with its bytes */
    PART_GAP     /* text that stands in no string */
};

struct part {
    uint32_t kind : 3, n : 29; /* enum part_kind; bytes in raw */
    uint32_t to;               /* where in the text it ends, modulo 2^32; it begins where the one
                                  before ends */
};
#define RAW_MAX   (((size_t)1 << 29) - 1)
#define KEPT_SIZE ((size_t)64 << 10) /* memory that stays when all is written */

/* A byte of JSON begins two parts at most: in "[1,2" each comma a gap and a mark, each digit a
 * token. At the end half of a pair may be left over. */
#define PARTS_OF(n) ((2 * (n) + 1) * sizeof(struct part))
#define PIECE_CAP   ((size_t)16 << 20) /* a string with what is put into it */

void json_text_init(struct json_text *j, size_t max) {
    *j = (struct json_text){.blank = true};
    buf_init(&j->parts, PARTS_OF(max));
    buf_init(&j->raw, max < RAW_MAX ? max : RAW_MAX);
    buf_init(&j->piece, PIECE_CAP);
}

void json_text_deinit(struct json_text *j) {
    buf_deinit(&j->parts);
    buf_deinit(&j->raw);
    buf_deinit(&j->piece);
}

/* ---- reading ---- */

/* Lengthens the last part, or begins one. */
static void add(struct json_text *j, enum part_kind kind, size_t text, struct str raw) {
    struct part *last = (struct part *)(j->parts.n ? j->parts.p + j->parts.n - sizeof *last : NULL);
    j->read += text;
    buf_adds(&j->raw, raw);
    if (last && last->kind == kind && kind != PART_END && kind != PART_GAP &&
        (kind != PART_MARK || text == 0)) {
        last->to = (uint32_t)j->read;
        last->n = (uint32_t)(last->n + raw.n) & RAW_MAX;
        return;
    }
    struct part p = {.kind = kind, .n = (uint32_t)raw.n & RAW_MAX, .to = (uint32_t)j->read};
    buf_add(&j->parts, &p, sizeof p);
}

static void add_text(struct json_text *j, enum part_kind kind, struct str s, struct buf *text) {
    buf_adds(text, s);
    add(j, kind, s.n, kind == PART_TOKEN ? s : STR(""));
    if (s.n)
        j->blank = s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\n';
}

static void add_gap(struct json_text *j, const char *gap, struct buf *text) {
    if (!j->blank)
        add_text(j, PART_GAP, str_from(gap), text);
}

static void add_code(struct json_text *j, unsigned code, struct buf *text) {
    char c[4];
    size_t n = 1;
    if (code < 0x80) {
        c[0] = (char)code;
    } else {
        n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
        for (size_t i = n - 1; i > 0; i--, code >>= 6)
            c[i] = (char)(0x80 | (code & 0x3F));
        c[0] = (char)((0xF0 << (4 - n)) | code);
    }
    add_text(j, PART_STRING, (struct str){c, n}, text);
}

/* The half of a pair that stands alone is no character. */
static void end_pair(struct json_text *j, struct buf *text) {
    if (j->high)
        add_code(j, 0xFFFD, text);
    j->high = 0;
}

static void end_code(struct json_text *j, struct buf *text) {
    bool low = j->code >= 0xDC00 && j->code < 0xE000;
    if (j->high && low) {
        j->code = 0x10000 + ((j->high - 0xD800) << 10) + (j->code - 0xDC00);
        j->high = 0;
        low = false;
    }
    end_pair(j, text);
    if (j->code >= 0xD800 && j->code < 0xDC00)
        j->high = j->code;
    else
        add_code(j, low ? 0xFFFD : j->code, text);
    j->in = STRING;
}

static void read_escape(struct json_text *j, char c, struct buf *text) {
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char *at = c ? strchr(from, c) : NULL;
    if (c == 'u') {
        j->in = CODE;
        j->code = j->digits = 0;
        return;
    }
    end_pair(j, text);
    c = at ? to[at - from] : c;
    add_text(j, PART_STRING, (struct str){&c, 1}, text);
    j->in = STRING;
}

/* False: it is no hexadecimal digit, and stands for itself. */
static bool read_code(struct json_text *j, char c, struct buf *text) {
    char lower = (char)(c | 0x20);
    bool digit = c >= '0' && c <= '9', letter = lower >= 'a' && lower <= 'f';
    if (!digit && !letter) {
        j->in = STRING;
        return false;
    }
    j->code = j->code * 16 + (unsigned)(digit ? c - '0' : lower - 'a' + 10);
    if (++j->digits == 4)
        end_code(j, text);
    return true;
}

/* The string's bytes that stand for themselves. Returns how many. */
static size_t read_string(struct json_text *j, struct str s, struct buf *text) {
    size_t n = 0;
    while (n < s.n && s.p[n] != '"' && s.p[n] != '\\')
        n++;
    if (n > 0 || s.p[0] == '"')
        end_pair(j, text);
    if (n > 0) {
        add_text(j, PART_STRING, str_sub(s, 0, n), text);
        return n;
    }
    if (s.p[0] == '"')
        add(j, PART_MARK, 0, STR("\""));
    j->in = s.p[0] == '"' ? OUTSIDE : ESCAPE;
    return 1;
}

static void read_structure(struct json_text *j, char c, struct buf *text) {
    struct str s = {&c, 1};
    enum part_kind kind = PART_MARK;
    bool in_token = j->in == TOKEN;
    j->in = OUTSIDE;
    if (c == '"') {
        add_gap(j, " ", text);
        j->in = STRING;
    } else if (c == '{' || c == '[') {
        j->depth++;
    } else if (c == '}' || c == ']') {
        add_gap(j, "\n", text);
        j->depth -= j->depth > 0;
        kind = j->depth ? PART_MARK : PART_END;
    } else if (c == ',') {
        add_gap(j, "\n", text);
    } else if (c != ':' && in_token) {
        add_gap(j, " ", text);
    }
    add(j, kind, 0, s);
    if (c == ':')
        add_gap(j, ": ", text);
}

enum err json_text_read(struct json_text *j, struct str json, enum text_then then,
                        struct buf *text) {
    static const char structure[] = "{}[]:,\" \t\r\n";
    for (size_t i = 0; i < json.n;) {
        char c = json.p[i];
        if (j->in == STRING) {
            i += read_string(j, str_sub(json, i, json.n), text);
        } else if (j->in == ESCAPE) {
            read_escape(j, c, text);
            i++;
        } else if (j->in == CODE) {
            i += read_code(j, c, text);
        } else if (c && strchr(structure, c)) {
            read_structure(j, c, text);
            i++;
        } else {
            j->in = TOKEN;
            add_text(j, PART_TOKEN, (struct str){&c, 1}, text);
            i++;
        }
    }
    if (then == TEXT_ENDS && j->in != OUTSIDE && j->in != TOKEN)
        end_pair(j, text);
    enum err e = buf_err(&j->parts) ? buf_err(&j->parts) : buf_err(&j->raw);
    return e ? e : buf_err(text);
}

/* ---- writing ---- */

struct writing {
    struct json_text *j;
    size_t upto, raw_at; /* raw_at: bytes of raw that are written */
    enum text_then then;
    json_text_fn piece;
    void *ctx;
    struct buf *out;
};

static enum err write_string(struct writing *w, size_t to) {
    struct json_text *j = w->j;
    buf_clear(&j->piece);
    enum err e = w->piece(w->ctx, j->written, to, &j->piece);
    if (!e)
        buf_add_json(w->out, buf_str(&j->piece));
    j->written = to;
    return e;
}

static enum err write_token(struct writing *w, const struct part *p, size_t to) {
    struct json_text *j = w->j;
    struct str raw = str_sub(buf_str(&j->raw), w->raw_at, p->n);
    buf_clear(&j->piece);
    enum err e = w->piece(w->ctx, j->written, to, &j->piece);
    bool same = str_eq(buf_str(&j->piece), raw);
    if (!e && same) {
        buf_adds(w->out, raw);
    } else if (!e) {
        buf_addc(w->out, '"');
        buf_add_json(w->out, buf_str(&j->piece));
        buf_addc(w->out, '"');
    }
    return e;
}

/* True: the part is written. */
static bool write_part(struct writing *w, const struct part *p, bool is_open, enum err *e) {
    struct json_text *j = w->j;
    size_t end = j->written + (uint32_t)(p->to - (uint32_t)j->written);
    bool whole = end <= w->upto;
    if (p->kind == PART_STRING) {
        size_t to = whole ? end : w->upto;
        if (to > j->written)
            *e = write_string(w, to);
        return whole && !*e;
    }
    bool too_early = p->kind == PART_END && w->then == TEXT_GOES_ON;
    if (!whole || too_early || (is_open && w->then != TEXT_ENDS))
        return false;
    if (p->kind == PART_TOKEN)
        *e = write_token(w, p, end);
    else
        buf_adds(w->out, str_sub(buf_str(&j->raw), w->raw_at, p->n));
    j->written = end;
    w->raw_at += p->n;
    return !*e;
}

/* A channel that has said much keeps little when it is through. */
static void let_go(struct buf *b) {
    size_t cap = b->cap;
    if (b->n || b->err || b->size <= KEPT_SIZE)
        return;
    buf_deinit(b);
    buf_init(b, cap);
}

enum err json_text_write(struct json_text *j, size_t upto, enum text_then then, json_text_fn piece,
                         void *ctx, struct buf *out) {
    struct writing w = {.j = j, .upto = upto, .then = then, .piece = piece, .ctx = ctx, .out = out};
    const struct part *parts = (const struct part *)j->parts.p;
    size_t n = j->parts.n / sizeof *parts, done = 0;
    enum err e = ERR_OK;
    while (done < n && write_part(&w, &parts[done], done + 1 == n && j->in == TOKEN, &e))
        done++;
    buf_drop(&j->parts, done * sizeof *parts);
    buf_drop(&j->raw, w.raw_at);
    if (!e)
        e = buf_err(&j->piece) ? buf_err(&j->piece) : buf_err(out);
    buf_clear(&j->piece);
    let_go(&j->parts);
    let_go(&j->raw);
    let_go(&j->piece);
    return e;
}
