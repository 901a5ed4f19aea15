/* Marks as text and their order; see doc_text.h. What is read may come from a sandboxed child or a
 * database that somebody edited: it is checked in full. */
#include <stdlib.h>

#include "text/doc_text.h"

static const char letters[] = {'h', 'p', 't', 'c'};

void doc_marks_write(struct buf *b, const struct doc_mark *marks, size_t n) {
    for (size_t i = 0; i < n; i++)
        buf_addf(b, "%c%d %zu %zu\n", letters[marks[i].kind], marks[i].value, marks[i].from,
                 marks[i].to);
}

static bool read_line(struct str line, struct doc_mark *ret) {
    uint64_t value, from, to;
    struct str head = str_cut(&line, ' '), first = str_cut(&line, ' ');
    const char *letter = head.n > 1 ? memchr(letters, head.p[0], sizeof letters) : NULL;
    if (!letter || !str_to_u64(str_sub(head, 1, head.n), &value) || value > 10000000 ||
        !str_to_u64(first, &from) || !str_to_u64(line, &to))
        return false;
    *ret = (struct doc_mark){.kind = (enum doc_mark_kind)(letter - letters),
                             .value = (int)value,
                             .from = (size_t)from,
                             .to = (size_t)to};
    return true;
}

static bool at_boundary(struct str text, size_t at) {
    return at == text.n || (at < text.n && ((unsigned char)text.p[at] & 0xc0) != 0x80);
}

int doc_marks_order(const void *a, const void *b) {
    const struct doc_mark *x = a, *y = b;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    if (x->to != y->to)
        return x->to > y->to ? -1 : 1;
    return (x->kind == DOC_PAGE ? 0 : 1) - (y->kind == DOC_PAGE ? 0 : 1);
}

/* exclusive_end: where the last heading, table or code ended. */
static bool mark_fits(const struct doc_mark *m, const struct doc_mark *before, struct str text,
                      size_t *exclusive_end) {
    if (m->from > m->to || m->to > text.n || !at_boundary(text, m->from) ||
        !at_boundary(text, m->to))
        return false;
    if (before && doc_marks_order(before, m) > 0)
        return false;
    if (m->kind == DOC_HEADING && (m->value < 1 || m->value > 6))
        return false;
    if (m->kind == DOC_PAGE)
        return true;
    if (m->from < *exclusive_end)
        return false;
    *exclusive_end = m->to;
    return true;
}

enum err doc_marks_read(struct str lines, struct str text, struct arena *a, struct doc_mark **ret,
                        size_t *ret_n) {
    size_t count = 0, n = 0, exclusive_end = 0;
    for (size_t i = 0; i < lines.n; i++)
        count += lines.p[i] == '\n';
    if (count > DOC_MARKS_MAX || (lines.n && lines.p[lines.n - 1] != '\n'))
        return ERR_INVALID;
    struct doc_mark *marks = arena_array(a, count ? count : 1, sizeof *marks);
    if (!marks)
        return ERR_NOMEM;
    while (lines.n) {
        if (!read_line(str_cut(&lines, '\n'), &marks[n]) ||
            !mark_fits(&marks[n], n ? &marks[n - 1] : NULL, text, &exclusive_end))
            return ERR_INVALID;
        n++;
    }
    *ret = marks;
    *ret_n = n;
    return ERR_OK;
}

size_t doc_characters(struct str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}
