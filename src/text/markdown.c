/* The structure of Markdown text, line by line: headings, fenced code, tables. Inline markup and
 * lists stay as they are; text is what people wrote. */
#include <stdlib.h>

#include "text/doc_text.h"

struct line {
    size_t from, to; /* without the LF */
};

struct scan {
    struct str text;
    size_t at; /* the start of the next line */
    struct doc_mark *marks;
    size_t n, size;
    enum err err;
};

static bool next_line(struct scan *s, struct line *ret) {
    if (s->at >= s->text.n)
        return false;
    const char *end = memchr(s->text.p + s->at, '\n', s->text.n - s->at);
    ret->from = s->at;
    ret->to = end ? (size_t)(end - s->text.p) : s->text.n;
    s->at = end ? ret->to + 1 : s->text.n;
    return true;
}

static struct str line_text(const struct scan *s, struct line l) {
    return (struct str){s->text.p + l.from, l.to - l.from};
}

static void add(struct scan *s, enum doc_mark_kind kind, int value, size_t from, size_t to) {
    if (s->err || s->n == DOC_MARKS_MAX)
        return;
    if (s->n == s->size) {
        size_t size = s->size ? 2 * s->size : 32;
        struct doc_mark *p = realloc(s->marks, size * sizeof *p);
        if (!p) {
            s->err = ERR_NOMEM;
            return;
        }
        s->marks = p;
        s->size = size;
    }
    s->marks[s->n++] = (struct doc_mark){kind, value, from, to};
}

/* Up to three blanks are allowed in front of what begins a block. */
static size_t indent(struct str l) {
    size_t i = 0;
    while (i < l.n && l.p[i] == ' ')
        i++;
    return i;
}

static bool is_blank(struct str l) {
    return str_trim(l).n == 0;
}

/* "## Text ##": *ret is Text. */
static int atx_level(struct str l, struct str *ret) {
    size_t i = indent(l), level = 0;
    if (i > 3)
        return 0;
    while (i + level < l.n && l.p[i + level] == '#')
        level++;
    if (level < 1 || level > 6 ||
        (i + level < l.n && l.p[i + level] != ' ' && l.p[i + level] != '\t'))
        return 0;
    struct str t = str_trim(str_sub(l, i + level, l.n));
    size_t end = t.n;
    while (end > 0 && t.p[end - 1] == '#')
        end--;
    if (end == 0 || t.p[end - 1] == ' ' || t.p[end - 1] == '\t')
        t = str_trim(str_sub(t, 0, end));
    *ret = t;
    return t.n ? (int)level : 0;
}

/* The fence's character and length, 0 when this line opens none. */
static char fence_open(struct str l, size_t *ret_len) {
    size_t i = indent(l), n = 0;
    char c = i < l.n ? l.p[i] : 0;
    if (i > 3 || (c != '`' && c != '~'))
        return 0;
    while (i + n < l.n && l.p[i + n] == c)
        n++;
    if (n < 3 || (c == '`' && memchr(l.p + i + n, '`', l.n - i - n)))
        return 0;
    *ret_len = n;
    return c;
}

static bool fence_closes(struct str l, char c, size_t len) {
    struct str t = str_trim(l);
    for (size_t i = 0; i < t.n; i++)
        if (t.p[i] != c)
            return false;
    return t.n >= len && indent(l) <= 3;
}

static void take_fence(struct scan *s, struct line first, char c, size_t len) {
    struct line l;
    size_t to = first.to;
    while (next_line(s, &l)) {
        to = l.to;
        if (fence_closes(line_text(s, l), c, len))
            break;
    }
    add(s, DOC_CODE, 0, first.from, to);
}

/* "| --- | :-: |": the line below a table's head. */
static bool is_delimiter_row(struct str l) {
    bool dash = false, pipe = false;
    for (size_t i = 0; i < l.n; i++) {
        if (!memchr("|-: \t", l.p[i], 5))
            return false;
        dash = dash || l.p[i] == '-';
        pipe = pipe || l.p[i] == '|';
    }
    return dash && pipe;
}

static bool peek(const struct scan *s, struct str *ret) {
    struct scan ahead = *s;
    struct line l;
    if (!next_line(&ahead, &l))
        return false;
    *ret = line_text(s, l);
    return true;
}

static void take_table(struct scan *s, struct line head) {
    struct line l;
    struct str t;
    size_t to = head.to;
    while (peek(s, &t) && !is_blank(t) && memchr(t.p, '|', t.n) && next_line(s, &l))
        to = l.to;
    add(s, DOC_TABLE, 1, head.from, to);
}

static int setext_level(struct str below) {
    struct str t = str_trim(below);
    if (t.n < 2 || indent(below) > 3 || (t.p[0] != '=' && t.p[0] != '-'))
        return 0;
    for (size_t i = 1; i < t.n; i++)
        if (t.p[i] != t.p[0])
            return 0;
    return t.p[0] == '=' ? 1 : 2;
}

static void take_front_matter(struct scan *s) {
    struct line l, first;
    struct scan before = *s;
    if (!next_line(s, &first) || !str_eqz(line_text(s, first), "---")) {
        *s = before;
        return;
    }
    for (int i = 0; i < 200 && next_line(s, &l); i++)
        if (str_eqz(line_text(s, l), "---") || str_eqz(line_text(s, l), "...")) {
            add(s, DOC_CODE, 0, first.from, l.to);
            return;
        }
    *s = before;
}

/* after_text: the line before belongs to a paragraph, so that an underline makes no heading of this
 * one alone. */
static bool take_line(struct scan *s, struct line l, bool after_text) {
    struct str t = line_text(s, l), below = STR_NULL, heading = STR_NULL;
    size_t len = 0;
    int level = atx_level(t, &heading);
    if (level) {
        size_t from = (size_t)(heading.p - s->text.p);
        add(s, DOC_HEADING, level, from, from + heading.n);
        return false;
    }
    char fence = fence_open(t, &len);
    if (fence) {
        take_fence(s, l, fence, len);
        return false;
    }
    if (is_blank(t))
        return false;
    bool has_below = peek(s, &below);
    if (has_below && memchr(t.p, '|', t.n) && is_delimiter_row(below)) {
        take_table(s, l);
        return false;
    }
    level = has_below && !after_text && indent(t) <= 3 ? setext_level(below) : 0;
    if (!level)
        return true;
    struct str title = str_trim(t);
    size_t from = (size_t)(title.p - s->text.p);
    add(s, DOC_HEADING, level, from, from + title.n);
    struct line underline;
    (void)next_line(s, &underline);
    return false;
}

enum err doc_marks_of_markdown(struct str text, struct arena *a, struct doc_mark **ret,
                               size_t *ret_n) {
    struct scan s = {.text = text};
    struct line l;
    bool after_text = false;
    take_front_matter(&s);
    while (!s.err && next_line(&s, &l))
        after_text = take_line(&s, l, after_text);
    struct doc_mark *marks = NULL;
    if (!s.err && !(marks = arena_array(a, s.n ? s.n : 1, sizeof *marks)))
        s.err = ERR_NOMEM;
    if (!s.err) {
        if (s.n)
            memcpy(marks, s.marks, s.n * sizeof *marks);
        *ret = marks;
        *ret_n = s.n;
    }
    free(s.marks);
    return s.err;
}

bool doc_name_is_markdown(struct str name) {
    static const char *const endings[] = {".md", ".markdown", ".mdown"};
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t n = strlen(endings[i]);
        if (name.n > n && str_eq_nocase(str_sub(name, name.n - n, n), str_from(endings[i])))
            return true;
    }
    return false;
}
