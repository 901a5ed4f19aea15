/* Bodies of forms, part by part: CRLF "--" boundary, header lines, an empty line, bytes. */
#include "net/multipart.h"

#include <string.h>

#define BOUNDARY_MAX 70 /* RFC 2046, 5.1.1 */

/* A parameter of a header ("name" in `form-data; name="x"`); quotes are taken off, what they escape
 * stays escaped. */
static bool parameter(struct str header, const char *key, struct str *ret) {
    (void)str_cut(&header, ';');
    while (header.n) {
        header = str_trim(header);
        struct str name = str_trim(str_cut(&header, '='));
        struct str value;
        header = str_trim(header);
        if (header.n && header.p[0] == '"') {
            size_t i = 1;
            while (i < header.n && header.p[i] != '"')
                i += header.p[i] == '\\' && i + 1 < header.n ? 2 : 1;
            value = str_sub(header, 1, i - 1);
            header = str_sub(header, i + 1, header.n);
            (void)str_cut(&header, ';');
        } else {
            value = str_trim(str_cut(&header, ';'));
        }
        if (str_eq_nocase(name, str_from(key))) {
            *ret = value;
            return true;
        }
    }
    return false;
}

enum err multipart_begin(struct multipart *m, struct str content_type, struct str body) {
    struct str type = content_type;
    *m = (struct multipart){.rest = body};
    if (!str_eq_nocase(str_trim(str_cut(&type, ';')), STR("multipart/form-data")) ||
        !parameter(content_type, "boundary", &m->boundary) || m->boundary.n == 0 ||
        m->boundary.n > BOUNDARY_MAX)
        return ERR_INVALID;
    return ERR_OK;
}

/* Moves rest behind the next delimiter; *ret is what stood before it. */
static bool next_delimiter(struct multipart *m, struct str *ret) {
    struct str all = m->rest;
    for (size_t at = 0; at < all.n;) {
        const char *dash = memchr(all.p + at, '-', all.n - at);
        if (!dash)
            return false;
        size_t i = (size_t)(dash - all.p);
        bool at_line = i >= 2 ? memcmp(dash - 2, "\r\n", 2) == 0 : i == 0 && !m->started;
        if (at_line && str_starts(str_sub(all, i, all.n), STR("--")) &&
            str_starts(str_sub(all, i + 2, all.n), m->boundary)) {
            *ret = str_sub(all, 0, i >= 2 ? i - 2 : 0);
            m->rest = str_sub(all, i + 2 + m->boundary.n, all.n);
            return true;
        }
        at = i + 1;
    }
    return false;
}

/* Behind a delimiter: "--" ends the body, CRLF begins a part. */
static enum err after_delimiter(struct multipart *m) {
    m->started = true;
    if (str_starts(m->rest, STR("--"))) {
        m->ended = true;
        return ERR_OK;
    }
    while (m->rest.n && (m->rest.p[0] == ' ' || m->rest.p[0] == '\t'))
        m->rest = str_sub(m->rest, 1, m->rest.n);
    if (!str_starts(m->rest, STR("\r\n")))
        return ERR_INVALID;
    m->rest = str_sub(m->rest, 2, m->rest.n);
    return ERR_OK;
}

static void read_header(struct str line, struct multipart_part *p) {
    struct str value = line, name = str_cut(&value, ':');
    if (str_eq_nocase(name, STR("content-disposition"))) {
        (void)parameter(value, "name", &p->name);
        (void)parameter(value, "filename", &p->filename);
    } else if (str_eq_nocase(name, STR("content-type"))) {
        p->type = str_trim(value);
    }
}

enum err multipart_next(struct multipart *m, struct multipart_part *ret) {
    struct str part, line;
    struct multipart_part p = {.name = STR(""), .type = STR("")};
    enum err e;
    if (!m->started && (!next_delimiter(m, &part) || (e = after_delimiter(m))))
        return ERR_INVALID;
    if (m->ended)
        return ERR_NOT_FOUND;
    if (!next_delimiter(m, &part))
        return ERR_INVALID;
    do {
        if (!part.p || part.n == 0)
            return ERR_INVALID; /* the empty line is missing */
        line = str_cut(&part, '\n');
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        read_header(line, &p);
    } while (line.n);
    p.bytes = part.p ? part : STR("");
    if ((e = after_delimiter(m)))
        return e;
    *ret = p;
    return ERR_OK;
}
