/* HTTP/1.1 parsing; see http_parse.h for what is refused and why. */
#include "net/http_parse.h"

#include <stdlib.h>

#define CHUNK_LINE_MAX    ((size_t)256)
#define TRAILER_MAX_BYTES ((size_t)8192)

static bool is_tchar(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

bool http_is_token(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!is_tchar((unsigned char)s.p[i]))
            return false;
    return s.n > 0;
}

bool http_is_field_value(struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

struct str http_fields_find(const struct http_field *f, size_t n, struct str name) {
    for (size_t i = 0; i < n; i++)
        if (str_eq_nocase(f[i].name, name))
            return f[i].value;
    return STR_NULL;
}

size_t http_head_length(struct str bytes, size_t *scanned) {
    size_t from = *scanned > 3 ? *scanned - 3 : 0;
    size_t at = str_find(str_sub(bytes, from, bytes.n), STR("\r\n\r\n"));
    *scanned = bytes.n;
    return at == SIZE_MAX ? 0 : from + at + 4;
}

bool http_head_plausible(struct str bytes) {
    size_t i = 0;
    while (i < bytes.n && is_tchar((unsigned char)bytes.p[i]))
        i++;
    if (i > 32 || (i == 0 && bytes.n))
        return false;
    for (; i < bytes.n; i++) {
        unsigned char c = (unsigned char)bytes.p[i];
        if (c == '\r')
            return i + 1 == bytes.n || bytes.p[i + 1] == '\n';
        if (c < 0x20 || c == 0x7f)
            return false;
    }
    return true;
}

/* ---- the head ---- */

static enum http_method method_of(struct str name) {
    static const struct {
        const char *name;
        enum http_method method;
    } table[] = {{"GET", HTTP_GET},        {"HEAD", HTTP_HEAD},   {"POST", HTTP_POST},
                 {"PUT", HTTP_PUT},        {"PATCH", HTTP_PATCH}, {"DELETE", HTTP_DELETE},
                 {"OPTIONS", HTTP_OPTIONS}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (str_eqz(name, table[i].name))
            return table[i].method;
    return HTTP_OTHER;
}

/* origin-form, absolute-form (its authority is dropped) or "*" for OPTIONS. */
static bool parse_target(struct str t, struct http_head *h) {
    for (size_t i = 0; i < t.n; i++) {
        unsigned char c = (unsigned char)t.p[i];
        if (c <= 0x20 || c == 0x7f || c == '#')
            return false;
    }
    size_t scheme = str_starts(t, STR("http://")) ? 7 : str_starts(t, STR("https://")) ? 8 : 0;
    if (scheme) {
        t = str_sub(t, scheme, t.n);
        size_t n = 0;
        while (n < t.n && t.p[n] != '/' && t.p[n] != '?')
            n++;
        if (n == 0)
            return false;
        t = n < t.n ? str_sub(t, n, t.n) : STR("/");
    }
    bool star = str_eq(t, STR("*")) && h->method == HTTP_OPTIONS;
    if (!star && !str_starts(t, STR("/")) && !(scheme && str_starts(t, STR("?"))))
        return false;
    h->query = t;
    h->target = str_cut(&h->query, '?');
    if (h->target.n == 0)
        h->target = STR("/");
    return true;
}

static const char *parse_request_line(struct str line, struct http_head *h, int *ret_status) {
    struct str rest = line;
    h->method_name = str_cut(&rest, ' ');
    struct str target = str_cut(&rest, ' ');
    *ret_status = 400;
    if (!http_is_token(h->method_name) || h->method_name.n > 32 || target.n == 0 || rest.n == 0)
        return "this is not an HTTP/1.1 request line";
    if (!str_starts(rest, STR("HTTP/")) || rest.n != 8)
        return "this is not an HTTP/1.1 request line";
    if (!str_eq(str_sub(rest, 5, 2), STR("1.")) || rest.p[7] < '0' || rest.p[7] > '9') {
        *ret_status = 505;
        return "only HTTP/1.1 and HTTP/1.0 are spoken here";
    }
    h->minor = rest.p[7] > '0';
    h->method = method_of(h->method_name);
    return parse_target(target, h) ? NULL : "the request's target is not a valid path";
}

static bool has_item(struct str list, struct str item) {
    while (list.n)
        if (str_eq_nocase(str_trim(str_cut(&list, ',')), item))
            return true;
    return false;
}

/* The fields that decide where the message ends and what becomes of the connection. */
static const char *read_framing(struct http_head *h, int *ret_status) {
    size_t lengths = 0, encodings = 0, hosts = 0;
    h->keep_alive = h->minor > 0;
    *ret_status = 400;
    for (size_t i = 0; i < h->nfields; i++) {
        struct str name = h->fields[i].name, value = h->fields[i].value;
        if (str_eq_nocase(name, STR("content-length"))) {
            if (lengths++ || !str_to_u64(value, &h->content_length))
                return "Content-Length is not one decimal number";
        } else if (str_eq_nocase(name, STR("transfer-encoding"))) {
            if (encodings++ || !str_eq_nocase(value, STR("chunked")) || h->minor == 0)
                return "the only transfer coding taken is \"chunked\", in HTTP/1.1";
            h->chunked = true;
        } else if (str_eq_nocase(name, STR("host"))) {
            hosts++;
        } else if (str_eq_nocase(name, STR("connection"))) {
            if (has_item(value, STR("close")))
                h->keep_alive = false;
            else if (h->minor == 0 && has_item(value, STR("keep-alive")))
                h->keep_alive = true;
        } else if (str_eq_nocase(name, STR("expect"))) {
            if (!str_eq_nocase(value, STR("100-continue"))) {
                *ret_status = 417;
                return "the only expectation met is 100-continue";
            }
            h->expects_continue = h->minor > 0;
        }
    }
    if (lengths && encodings)
        return "Content-Length and Transfer-Encoding exclude each other";
    if (hosts > 1 || (hosts == 0 && h->minor > 0))
        return "HTTP/1.1 needs exactly one Host header";
    return NULL;
}

/* One "name: value" line; str_cut has taken LF off, so it must end in CR. */
static const char *parse_field(struct str line, struct http_field *f) {
    f->value = str_sub(line, 0, line.n - 1);
    if (line.n == 0 || line.p[line.n - 1] != '\r')
        return "a header line does not end in CR LF";
    f->name = str_cut(&f->value, ':');
    if (!f->value.p || !http_is_token(f->name))
        return "a header line is malformed";
    f->value = str_trim(f->value);
    return http_is_field_value(f->value) ? NULL : "a header holds control characters";
}

/* The line up to LF; STR_NULL when it does not end in CR LF. */
static struct str take_first_line(struct str *head) {
    struct str line = str_cut(head, '\n');
    return line.n && line.p[line.n - 1] == '\r' ? str_sub(line, 0, line.n - 1) : STR_NULL;
}

static const char *parse_fields(struct str lines, struct http_head *h, bool *ret_many) {
    const char *why = NULL;
    h->nfields = 0;
    *ret_many = false;
    while (!why && lines.n) {
        if (h->nfields == HTTP_MAX_HEADERS) {
            *ret_many = true;
            return "too many header lines";
        }
        why = parse_field(str_cut(&lines, '\n'), &h->fields[h->nfields++]);
    }
    return why;
}

bool http_head_parse(struct str head, struct http_head *h, int *ret_status, const char **ret_why) {
    bool many;
    h->nfields = 0;
    h->content_length = 0;
    h->chunked = h->expects_continue = false;
    *ret_status = 400;
    head.n -= 2; /* the empty line is no field */
    struct str line = take_first_line(&head);
    *ret_why = "the request line does not end in CR LF";
    if (!line.p)
        return false;
    *ret_why = parse_request_line(line, h, ret_status);
    if (*ret_why)
        return false;
    *ret_why = parse_fields(head, h, &many);
    if (many)
        *ret_status = 431;
    if (!*ret_why)
        *ret_why = read_framing(h, ret_status);
    return !*ret_why;
}

/* ---- an answer's head ---- */

static bool parse_status_line(struct str line, struct http_head *h) {
    if (line.n < 12 || !str_starts(line, STR("HTTP/1.")) || line.p[8] != ' ' ||
        (line.n > 12 && line.p[12] != ' ') || !http_is_field_value(line))
        return false;
    h->status = 0;
    for (size_t i = 9; i < 12; i++) {
        if (line.p[i] < '0' || line.p[i] > '9')
            return false;
        h->status = h->status * 10 + line.p[i] - '0';
    }
    h->minor = line.p[7] > '0';
    return line.p[7] >= '0' && line.p[7] <= '9' && h->status >= 100;
}

static const char *read_answer_framing(struct http_head *h) {
    h->keep_alive = h->minor > 0;
    for (size_t i = 0; i < h->nfields; i++) {
        struct str name = h->fields[i].name, value = h->fields[i].value;
        uint64_t n;
        if (str_eq_nocase(name, STR("content-length"))) {
            if (!str_to_u64(value, &n) || (h->has_length && n != h->content_length))
                return "Content-Length is not one decimal number";
            h->has_length = true;
            h->content_length = n;
        } else if (str_eq_nocase(name, STR("transfer-encoding"))) {
            if (h->chunked || !str_eq_nocase(value, STR("chunked")) || h->minor == 0)
                return "the only transfer coding taken is \"chunked\", in HTTP/1.1";
            h->chunked = true;
        } else if (str_eq_nocase(name, STR("connection"))) {
            if (has_item(value, STR("close")))
                h->keep_alive = false;
            else if (h->minor == 0 && has_item(value, STR("keep-alive")))
                h->keep_alive = true;
        }
    }
    if (h->chunked && h->has_length)
        h->keep_alive = h->has_length = false;
    return NULL;
}

bool http_answer_parse(struct str head, struct http_head *h, const char **ret_why) {
    bool many;
    h->content_length = 0;
    h->chunked = h->has_length = h->expects_continue = false;
    head.n -= 2;
    struct str line = take_first_line(&head);
    *ret_why = "this is not an HTTP/1.1 answer";
    if (!line.p || !parse_status_line(line, h))
        return false;
    *ret_why = parse_fields(head, h, &many);
    if (!*ret_why)
        *ret_why = read_answer_framing(h);
    return !*ret_why;
}

/* ---- percent-decoding ---- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool http_decode(char *out, struct str s, bool plus, size_t *ret_n) {
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            int hi = i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
            int lo = i + 2 < s.n ? hex_digit(s.p[i + 2]) : -1;
            if (hi < 0 || lo < 0)
                return false;
            c = (char)(hi << 4 | lo);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if (c == 0)
            return false;
        out[n++] = c;
    }
    *ret_n = n;
    return utf8_valid((struct str){out, n});
}

bool http_decodable(struct str s, bool plus) {
    char small[1024];
    size_t n;
    char *out = s.n <= sizeof small ? small : malloc(s.n);
    bool ok = out && http_decode(out, s, plus, &n);
    if (out != small)
        free(out);
    return ok;
}

/* ---- chunked bodies (RFC 9112, section 7.1) ---- */

/* Takes a line that ends in CR LF off *bytes. ERR_OK with ret->p NULL: it is not complete yet. */
static enum err take_line(struct str *bytes, struct str *ret) {
    const char *lf = bytes->n ? memchr(bytes->p, '\n', bytes->n) : NULL;
    *ret = STR_NULL;
    if (!lf)
        return bytes->n > CHUNK_LINE_MAX ? ERR_INVALID : ERR_OK;
    size_t n = (size_t)(lf - bytes->p);
    if (n == 0 || n > CHUNK_LINE_MAX || lf[-1] != '\r')
        return ERR_INVALID;
    *ret = (struct str){bytes->p, n - 1};
    *bytes = str_sub(*bytes, n + 1, bytes->n);
    return ERR_OK;
}

static enum err chunk_size(struct http_chunks *c, struct str line) {
    if (!http_is_field_value(line))
        return ERR_INVALID;
    struct str digits = str_cut(&line, ';'); /* extensions are ignored */
    digits = str_trim(digits);
    if (digits.n == 0 || digits.n > 15)
        return ERR_INVALID;
    uint64_t size = 0;
    for (size_t i = 0; i < digits.n; i++) {
        int d = hex_digit(digits.p[i]);
        if (d < 0)
            return ERR_INVALID;
        size = size << 4 | (unsigned)d;
    }
    c->left = size;
    c->state = size ? CHUNK_DATA : CHUNK_TRAILER;
    return ERR_OK;
}

static enum err chunk_line(struct http_chunks *c, struct str line) {
    if (c->state == CHUNK_SIZE)
        return chunk_size(c, line);
    if (c->state == CHUNK_DATA_END) {
        c->state = CHUNK_SIZE;
        return line.n ? ERR_INVALID : ERR_OK;
    }
    c->trailer_bytes += line.n + 2; /* trailers are dropped */
    if (line.n == 0)
        c->state = CHUNK_DONE;
    return c->trailer_bytes > TRAILER_MAX_BYTES || !http_is_field_value(line) ? ERR_INVALID
                                                                              : ERR_OK;
}

enum err http_chunks_feed(struct http_chunks *c, struct str bytes, struct buf *body,
                          size_t *ret_used) {
    struct str left = bytes;
    enum err e = ERR_OK;
    while (!e && c->state != CHUNK_DONE && left.n) {
        if (c->state == CHUNK_DATA) {
            size_t n = left.n < c->left ? left.n : (size_t)c->left;
            buf_add(body, left.p, n);
            left = str_sub(left, n, left.n);
            c->left -= n;
            if (c->left == 0)
                c->state = CHUNK_DATA_END;
            e = buf_err(body);
            continue;
        }
        struct str line;
        e = take_line(&left, &line);
        if (e || !line.p)
            break;
        e = chunk_line(c, line);
        if (!e && c->state == CHUNK_DATA && c->left > body->cap - body->n)
            e = ERR_TOO_LARGE; /* what is announced is enough */
    }
    if (!e)
        *ret_used = bytes.n - left.n;
    return e;
}
