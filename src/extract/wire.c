/* Both ends of the pipe; see wire.h. The child may have been taken over by what it read: nothing
 * that it says is believed. */
#include "extract/wire.h"

#include <stdio.h>

static const char *const codes[] = {
#define X(name, code, text) code,
    EXTRACT_FAULTS(X)
#undef X
};
static const char *const texts[] = {
#define X(name, code, text) text,
    EXTRACT_FAULTS(X)
#undef X
};

const char *extract_fault_code(enum extract_fault f) {
    return codes[f];
}

const char *extract_fault_text(enum extract_fault f) {
    return texts[f];
}

void wire_write(struct buf *b, const struct extracted *e) {
    struct buf marks;
    buf_init(&marks, WIRE_MAX);
    doc_marks_write(&marks, e->doc.marks, e->doc.n_marks);
    if (marks.err)
        b->err = marks.err;
    buf_addf(b,
             "PARLEY-EXTRACT 1\nfault %s\nformat %s\ncharset %s\npages %d\ntitle %zu\nmarks "
             "%zu\ntext %zu\n\n",
             codes[e->fault], e->format, e->charset, e->pages, e->doc.title.n, marks.n,
             e->doc.text.n);
    buf_adds(b, e->doc.title);
    buf_adds(b, buf_str(&marks));
    buf_adds(b, e->doc.text);
    buf_deinit(&marks);
}

/* The value of the next line, which must have that key. */
static bool read_field(struct str *bytes, const char *key, struct str *ret) {
    struct str line = str_cut(bytes, '\n');
    struct str name = str_cut(&line, ' ');
    if (!bytes->p || !str_eqz(name, key) || !line.p)
        return false;
    *ret = line;
    return true;
}

static bool read_number(struct str *bytes, const char *key, uint64_t max, uint64_t *ret) {
    struct str v;
    return read_field(bytes, key, &v) && str_to_u64(v, ret) && *ret <= max;
}

static bool read_name(struct str *bytes, const char *key, char *out, size_t size) {
    struct str v;
    if (!read_field(bytes, key, &v) || v.n >= size)
        return false;
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] <= ' ' || v.p[i] >= 0x7f)
            return false;
    if (v.n)
        memcpy(out, v.p, v.n);
    out[v.n] = 0;
    return true;
}

static bool read_fault(struct str *bytes, enum extract_fault *ret) {
    struct str v;
    if (!read_field(bytes, "fault", &v))
        return false;
    for (int i = 0; i < EXTRACT_FAULT_COUNT; i++)
        if (str_eqz(v, codes[i])) {
            *ret = (enum extract_fault)i;
            return true;
        }
    return false;
}

static bool is_text(struct str s) {
    return utf8_valid(s) && (s.n == 0 || !memchr(s.p, 0, s.n));
}

enum err wire_read(struct str bytes, struct arena *a, struct extracted *ret) {
    struct extracted e = {0};
    struct str magic = str_cut(&bytes, '\n');
    uint64_t pages, title, marks, text;
    if (!str_eqz(magic, "PARLEY-EXTRACT 1") || !read_fault(&bytes, &e.fault) ||
        !read_name(&bytes, "format", e.format, sizeof e.format) ||
        !read_name(&bytes, "charset", e.charset, sizeof e.charset) ||
        !read_number(&bytes, "pages", 1000000, &pages) ||
        !read_number(&bytes, "title", 2048, &title) ||
        !read_number(&bytes, "marks", WIRE_MAX, &marks) ||
        !read_number(&bytes, "text", EXTRACT_TEXT_MAX, &text) || bytes.n < 1 ||
        bytes.p[0] != '\n' || bytes.n - 1 != title + marks + text)
        return ERR_CORRUPT;
    bytes = str_sub(bytes, 1, bytes.n);
    struct str title_text = str_sub(bytes, 0, title), lines = str_sub(bytes, title, marks);
    struct str body = str_sub(bytes, title + marks, text);
    if (!is_text(title_text) || !is_text(body))
        return ERR_CORRUPT;
    struct doc_mark *list;
    enum err err = doc_marks_read(lines, body, a, &list, &e.doc.n_marks);
    if (err)
        return err == ERR_NOMEM ? err : ERR_CORRUPT;
    e.pages = (int)pages;
    e.doc.marks = list;
    e.doc.title = arena_str(a, title_text);
    e.doc.text = arena_str(a, body);
    if (!e.doc.title.p || !e.doc.text.p)
        return ERR_NOMEM;
    *ret = e;
    return ERR_OK;
}
