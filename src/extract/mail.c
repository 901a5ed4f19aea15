/* E-mail (RFC 5322, MIME: RFC 2045 to 2047): headers as lines, the text, the mails inside. Of
 * alternatives plain text is taken before HTML. Attachments are named; text ones are read. */
#include "extract/formats.h"

#include <stdlib.h>

struct part {
    struct str head, body;
    struct str type, encoding, disposition;
};

/* ---- headers ---- */

/* The body begins behind the first empty line. */
static void split_part(struct str bytes, struct part *p) {
    size_t at = 0;
    *p = (struct part){.head = bytes, .body = {bytes.p + bytes.n, 0}};
    while (at < bytes.n) {
        const char *end = memchr(bytes.p + at, '\n', bytes.n - at);
        size_t to = end ? (size_t)(end - bytes.p) : bytes.n;
        struct str line = str_sub(bytes, at, to - at);
        size_t next = end ? to + 1 : bytes.n;
        if (line.n == 0 || (line.n == 1 && line.p[0] == '\r')) {
            p->head = str_sub(bytes, 0, at);
            p->body = str_sub(bytes, next, bytes.n);
            return;
        }
        at = next;
    }
}

/* The value with its folded lines, still encoded; STR_NULL. */
static struct str header(struct str head, const char *name) {
    size_t at = 0, len = strlen(name);
    while (at < head.n) {
        struct str rest = str_sub(head, at, head.n);
        const char *end = memchr(rest.p, '\n', rest.n);
        size_t to = end ? (size_t)(end - rest.p) : rest.n;
        if (rest.n > len && rest.p[len] == ':' &&
            str_eq_nocase(str_sub(rest, 0, len), str_from(name))) {
            while (end && to + 1 < rest.n && (rest.p[to + 1] == ' ' || rest.p[to + 1] == '\t')) {
                end = memchr(rest.p + to + 1, '\n', rest.n - to - 1);
                to = end ? (size_t)(end - rest.p) : rest.n;
            }
            return str_trim(str_sub(rest, len + 1, to - len - 1));
        }
        at += to + 1;
    }
    return STR_NULL;
}

static int hex(char c) {
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
}

static int base64_value(char c) {
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

static void decode_base64(struct buf *b, struct str s) {
    uint32_t bits = 0;
    int n = 0;
    for (size_t i = 0; i < s.n && s.p[i] != '='; i++) {
        int v = base64_value(s.p[i]);
        if (v < 0)
            continue;
        bits = bits << 6 | (uint32_t)v;
        if (++n == 4) {
            buf_addc(b, (char)(bits >> 16));
            buf_addc(b, (char)(bits >> 8));
            buf_addc(b, (char)bits);
            n = 0;
        }
    }
    if (n == 2)
        buf_addc(b, (char)(bits >> 4));
    if (n == 3) {
        buf_addc(b, (char)(bits >> 10));
        buf_addc(b, (char)(bits >> 2));
    }
}

/* underscore: as in headers, where it stands for a blank. */
static void decode_quoted(struct buf *b, struct str s, bool underscore) {
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '=' && i + 2 < s.n && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0) {
            buf_addc(b, (char)(hex(s.p[i + 1]) * 16 + hex(s.p[i + 2])));
            i += 2;
        } else if (c == '=' && i + 1 < s.n && s.p[i + 1] == '\n') {
            i++;
        } else if (c == '=' && i + 2 < s.n && s.p[i + 1] == '\r' && s.p[i + 2] == '\n') {
            i += 2;
        } else {
            buf_addc(b, underscore && c == '_' ? ' ' : c);
        }
    }
}

/* "=?charset?B?text?=" at the start of s: appended decoded, its length returned; 0 = none. */
static size_t decode_word(struct buf *b, struct str s) {
    if (!str_starts(s, STR("=?")))
        return 0;
    struct str rest = str_sub(s, 2, 600), charset, kind, text;
    charset = str_cut(&rest, '?');
    kind = rest.p ? str_cut(&rest, '?') : STR_NULL;
    text = rest.p ? str_cut(&rest, '?') : STR_NULL;
    if (!rest.p || !rest.n || rest.p[0] != '=' || kind.n != 1)
        return 0;
    struct buf bytes;
    buf_init(&bytes, 1000);
    if ((kind.p[0] | 0x20) == 'b')
        decode_base64(&bytes, text);
    else
        decode_quoted(&bytes, text, true);
    charset = str_cut(&charset, '*'); /* RFC 2231: a language may follow */
    enum err e = charset_to_utf8(buf_str(&bytes), charset, b, NULL);
    buf_deinit(&bytes);
    return e ? 0 : (size_t)(rest.p + 1 - s.p);
}

/* White space between two encoded words is none. */
static struct str decode_header(struct arena *a, struct str s) {
    struct buf raw, b;
    size_t word_end = SIZE_MAX; /* of raw, behind the newest encoded word */
    buf_init(&raw, 16384);
    buf_init(&b, 16384);
    for (size_t i = 0; i < s.n;) {
        struct str gap = word_end <= raw.n ? str_sub(buf_str(&raw), word_end, raw.n) : STR_NULL;
        struct buf word;
        buf_init(&word, 4096);
        size_t n = decode_word(&word, str_sub(s, i, s.n));
        if (n) {
            if (gap.n && str_trim(gap).n == 0)
                raw.n = word_end;
            buf_adds(&raw, buf_str(&word));
            word_end = raw.n;
        } else {
            buf_addc(&raw, s.p[i] == '\r' || s.p[i] == '\n' ? ' ' : s.p[i]);
        }
        buf_deinit(&word);
        i += n ? n : 1;
    }
    enum err e = charset_to_utf8(buf_str(&raw), STR("utf-8"), &b, NULL);
    struct str out = e ? STR("") : arena_str(a, buf_str(&b));
    buf_deinit(&raw);
    buf_deinit(&b);
    return out;
}

/* ---- parts ---- */

static enum extract_fault read_part(struct reading *r, struct str bytes, bool mail, bool *ret_any);

static struct str decode_body(struct reading *r, const struct part *p, enum extract_fault *f) {
    struct buf b;
    bool base64 = str_eq_nocase(p->encoding, STR("base64"));
    if (!base64 && !str_eq_nocase(p->encoding, STR("quoted-printable")))
        return p->body;
    buf_init(&b, EXTRACT_INPUT_MAX);
    if (base64)
        decode_base64(&b, p->body);
    else
        decode_quoted(&b, p->body, false);
    struct str out = arena_str(r->arena, buf_str(&b));
    if (buf_err(&b) || !out.p)
        *f = EXTRACT_MEMORY;
    buf_deinit(&b);
    return out;
}

static enum extract_fault read_text_part(struct reading *r, const struct part *p) {
    enum extract_fault f = EXTRACT_OK;
    struct str outer = r->type, bytes = decode_body(r, p, &f);
    bool html = str_eq_nocase(media_type_name(p->type), STR("text/html"));
    if (f)
        return f;
    r->type = p->type;
    build_break(&r->b);
    if (html) {
        f = read_html(r, bytes);
    } else {
        struct str text;
        f = read_decoded(r, bytes, media_type_param(p->type, "charset", r->arena), &text);
        if (!f)
            build_raw(&r->b, text);
    }
    build_break(&r->b);
    r->type = outer;
    return f;
}

/* Calls for each part between the boundary's lines (RFC 2046, 5.1). */
static enum extract_fault each_part(struct reading *r, struct str body, struct str boundary,
                                    bool alternative, bool *ret_any) {
    size_t from = SIZE_MAX, at = 0;
    enum extract_fault f = EXTRACT_OK;
    int n = 0;
    while (at < body.n && !f && n < 1000) {
        const char *end = memchr(body.p + at, '\n', body.n - at);
        size_t next = end ? (size_t)(end - body.p) + 1 : body.n;
        struct str line = str_sub(body, at, next - at);
        if (str_starts(line, STR("--")) && str_starts(str_sub(line, 2, line.n), boundary)) {
            if (from != SIZE_MAX && !(alternative && *ret_any)) {
                f = read_part(r, str_sub(body, from, at - from), false, ret_any);
                n++;
            }
            from = next;
            if (str_starts(str_sub(line, 2 + boundary.n, line.n), STR("--")))
                return f;
        }
        at = next;
    }
    if (!f && from != SIZE_MAX && from < body.n && !(alternative && *ret_any))
        f = read_part(r, str_sub(body, from, body.n), false, ret_any);
    return f;
}

static enum extract_fault read_multipart(struct reading *r, const struct part *p, struct str name,
                                         bool *ret_any) {
    struct str boundary = media_type_param(p->type, "boundary", r->arena);
    bool alternative = str_eq_nocase(name, STR("multipart/alternative")), any = false;
    if (!boundary.n)
        return EXTRACT_DAMAGED;
    enum extract_fault f = each_part(r, p->body, boundary, alternative, &any);
    *ret_any = *ret_any || any;
    return f;
}

static void name_attachment(struct reading *r, const struct part *p) {
    struct str name = media_type_param(p->disposition, "filename", r->arena);
    if (!name.n)
        name = media_type_param(p->type, "name", r->arena);
    if (!name.n)
        return;
    build_break(&r->b);
    build_text(&r->b, STR("Attachment: "));
    build_text(&r->b, decode_header(r->arena, name));
    build_break(&r->b);
}

static void add_headers(struct reading *r, struct str head) {
    static const char *const shown[] = {"From", "To", "Cc", "Date"};
    struct str subject = decode_header(r->arena, header(head, "Subject"));
    if (subject.n) {
        build_title(&r->b, subject);
        build_begin(&r->b, DOC_HEADING, r->depth > 5 ? 6 : r->depth + 1);
        build_text(&r->b, subject);
        build_end(&r->b, DOC_HEADING);
    }
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        struct str v = decode_header(r->arena, header(head, shown[i]));
        if (!v.n)
            continue;
        build_line(&r->b);
        build_text(&r->b, str_from(shown[i]));
        build_text(&r->b, STR(": "));
        build_text(&r->b, str_sub(v, 0, utf8_cut(v, 1000)));
    }
    build_break(&r->b);
}

static enum extract_fault read_part(struct reading *r, struct str bytes, bool mail, bool *ret_any) {
    struct part p;
    enum extract_fault f = EXTRACT_OK;
    split_part(bytes, &p);
    p.type = header(p.head, "Content-Type");
    p.encoding = str_trim(header(p.head, "Content-Transfer-Encoding"));
    p.disposition = header(p.head, "Content-Disposition");
    struct str name = media_type_name(p.type);
    if (!p.type.n)
        name = p.type = STR("text/plain");
    if (++r->depth > READ_DEPTH_MAX)
        return EXTRACT_TOO_DEEP;
    if (mail)
        add_headers(r, p.head);
    bool text = str_eq_nocase(str_sub(name, 0, 5), STR("text/"));
    if (str_eq_nocase(str_sub(name, 0, 10), STR("multipart/"))) {
        f = read_multipart(r, &p, name, ret_any);
    } else if (str_eq_nocase(name, STR("message/rfc822"))) {
        struct str inner = decode_body(r, &p, &f);
        if (!f)
            f = read_part(r, inner, true, ret_any);
        *ret_any = true;
    } else if (text) {
        if (str_eq_nocase(str_sub(p.disposition, 0, 10), STR("attachment")))
            name_attachment(r, &p);
        f = read_text_part(r, &p);
        *ret_any = true;
    } else {
        name_attachment(r, &p);
    }
    r->depth--;
    return f;
}

enum extract_fault read_mail(struct reading *r, struct str bytes) {
    bool any = false;
    return read_part(r, bytes, true, &any);
}
