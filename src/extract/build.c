/* The text under construction; see build.h. */
#include "extract/build.h"

#include <stdlib.h>

#define TITLE_MAX 500

void build_init(struct builder *b) {
    *b = (struct builder){0};
    buf_init(&b->text, EXTRACT_TEXT_MAX);
    buf_init(&b->title, TITLE_MAX);
}

void build_deinit(struct builder *b) {
    buf_deinit(&b->text);
    buf_deinit(&b->title);
    free(b->marks);
}

bool build_is_full(const struct builder *b) {
    return b->nomem || b->text.err;
}

static bool is_white(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

static bool at_line_start(const struct builder *b) {
    return b->text.n == 0 || b->text.p[b->text.n - 1] == '\n';
}

/* U+00A0 is white space in documents as much as a blank is; zero-width characters and soft hyphens
 * are nothing. */
static size_t odd_space(struct str s, size_t i, bool *ret_white) {
    static const struct {
        struct str bytes;
        bool white;
    } odd[] = {{{"\xc2\xa0", 2}, true},      {{"\xc2\xad", 2}, false},
               {{"\xe2\x80\x8b", 3}, false}, {{"\xef\xbb\xbf", 3}, false},
               {{"\xe2\x80\xaf", 3}, true},  {{"\xe3\x80\x80", 3}, true}};
    for (size_t k = 0; k < sizeof odd / sizeof odd[0]; k++)
        if (str_starts(str_sub(s, i, 3), odd[k].bytes)) {
            *ret_white = odd[k].white;
            return odd[k].bytes.n;
        }
    return 0;
}

static void put(struct builder *b, struct str s) {
    if (s.n == 0)
        return;
    if (b->space && !at_line_start(b) && b->text.p[b->text.n - 1] != ' ')
        buf_addc(&b->text, ' ');
    b->space = false;
    buf_adds(&b->text, s);
}

void build_text(struct builder *b, struct str s) {
    size_t from = 0, i = 0;
    while (i < s.n) {
        bool white = is_white(s.p[i]) || s.p[i] == 0;
        size_t n = 1;
        if (!white && (unsigned char)s.p[i] >= 0xc2) {
            size_t odd = odd_space(s, i, &white);
            n = odd ? odd : 1;
            if (!odd) {
                i++;
                continue;
            }
        } else if (!white) {
            i++;
            continue;
        }
        put(b, str_sub(s, from, i - from));
        b->space = b->space || white;
        i += n;
        from = i;
    }
    put(b, str_sub(s, from, s.n - from));
}

void build_raw(struct builder *b, struct str s) {
    b->space = false;
    buf_adds(&b->text, s);
}

void build_line(struct builder *b) {
    if (b->in_cell || (b->is_open && b->open_kind == DOC_HEADING)) {
        b->space = true;
        return;
    }
    b->space = false;
    if (!at_line_start(b))
        buf_addc(&b->text, '\n');
}

void build_break(struct builder *b) {
    if (b->is_open && b->open_kind != DOC_CODE) { /* a table's cells and a heading are one line */
        build_line(b);
        return;
    }
    build_line(b);
    if (b->text.n >= 2 && b->text.p[b->text.n - 2] != '\n')
        buf_addc(&b->text, '\n');
}

void build_mark(struct builder *b, enum doc_mark_kind kind, int value, size_t from, size_t to) {
    if (b->n_marks == DOC_MARKS_MAX || b->nomem)
        return;
    if (b->n_marks == b->marks_size) {
        size_t size = b->marks_size ? 2 * b->marks_size : 64;
        struct doc_mark *p = realloc(b->marks, size * sizeof *p);
        if (!p) {
            b->nomem = true;
            return;
        }
        b->marks = p;
        b->marks_size = size;
    }
    b->marks[b->n_marks++] = (struct doc_mark){kind, value, from, to};
}

void build_begin(struct builder *b, enum doc_mark_kind kind, int value) {
    if (b->is_open) {
        b->nested++;
        return;
    }
    build_break(b);
    b->is_open = true;
    b->open_kind = kind;
    b->open_value = value;
    b->open_from = b->text.n;
}

void build_end(struct builder *b, enum doc_mark_kind kind) {
    if (!b->is_open)
        return;
    if (b->nested > 0) {
        b->nested--;
        return;
    }
    if (b->open_kind != kind)
        return;
    size_t to = b->text.n;
    while (to > b->open_from && is_white(b->text.p[to - 1]))
        to--;
    if (to > b->open_from && !build_is_full(b))
        build_mark(b, kind, b->open_value, b->open_from, to);
    b->is_open = b->in_cell = b->row_has_cell = false;
    b->space = false;
    build_break(b);
}

void build_row(struct builder *b) {
    if (b->nested)
        return;
    b->in_cell = false;
    b->row_has_cell = false;
    build_line(b);
}

void build_cell(struct builder *b) {
    if (b->nested) {
        b->space = true;
        return;
    }
    b->space = false;
    if (b->row_has_cell)
        buf_addz(&b->text, " | ");
    b->row_has_cell = b->in_cell = true;
}

void build_cell_end(struct builder *b) {
    if (b->nested)
        return;
    b->in_cell = false;
    b->space = false;
}

static void close_page(struct builder *b) {
    if (b->page && !build_is_full(b))
        build_mark(b, DOC_PAGE, b->page, b->page_from, b->text.n);
    b->page = 0;
}

void build_page(struct builder *b, int number) {
    build_break(b);
    close_page(b);
    b->page = number;
    b->page_from = b->text.n;
    if (number > b->pages)
        b->pages = number;
}

void build_title(struct builder *b, struct str s) {
    s = str_trim(s);
    if (b->title.n)
        return;
    for (size_t i = 0; i < utf8_cut(s, TITLE_MAX); i++) {
        bool white = (unsigned char)s.p[i] <= ' ';
        if (!white || (b->title.n && b->title.p[b->title.n - 1] != ' '))
            buf_addc(&b->title, white ? ' ' : s.p[i]);
    }
}

static bool has_word(struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c >= 0xc3)
            return true;
    }
    return false;
}

enum extract_fault build_finish(struct builder *b, struct arena *a, struct extracted *ret) {
    while (b->is_open) {
        b->nested = 0;
        build_end(b, b->open_kind);
    }
    while (b->text.n && !b->text.err && is_white(b->text.p[b->text.n - 1]))
        b->text.n--;
    for (size_t i = 0; i < b->n_marks; i++)
        if (b->marks[i].to > b->text.n)
            b->marks[i].to = b->marks[i].from > b->text.n ? b->marks[i].from : b->text.n;
    close_page(b);
    if (b->text.err == ERR_TOO_LARGE)
        return EXTRACT_TOO_LARGE;
    if (b->nomem || b->text.err || b->title.err == ERR_NOMEM)
        return EXTRACT_MEMORY;
    if (!has_word(buf_str(&b->text)))
        return EXTRACT_NO_TEXT;
    size_t kept = 0;
    for (size_t i = 0; i < b->n_marks; i++)
        if (b->marks[i].from <= b->text.n)
            b->marks[kept++] = b->marks[i];
    if (kept)
        qsort(b->marks, kept, sizeof *b->marks, doc_marks_order);
    struct doc_mark *marks = arena_array(a, kept ? kept : 1, sizeof *marks);
    ret->doc.text = arena_str(a, buf_str(&b->text));
    ret->doc.title = arena_str(a, buf_str(&b->title));
    if (!marks || !ret->doc.text.p)
        return EXTRACT_MEMORY;
    if (kept)
        memcpy(marks, b->marks, kept * sizeof *marks);
    ret->doc.marks = marks;
    ret->doc.n_marks = kept;
    ret->pages = b->pages;
    return EXTRACT_OK;
}
