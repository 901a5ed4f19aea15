/* A document as text with structure: what extraction makes of a file, what the store keeps, what
 * the chunker cuts and what a citation points into.
 *
 * text is UTF-8 without NUL; lines end with LF; paragraphs stand apart by an empty line. Marks say
 * what parts of it are. All positions are byte offsets into text, at UTF-8 boundaries; a half-open
 * range [from, to).
 *
 *   DOC_HEADING  one heading; value 1 (outermost) to 6; in Markdown without its '#'s
 *   DOC_PAGE     one page, slide or sheet; value is its number, from 1
 *   DOC_TABLE    a table, a row a line, cells apart by " | " (or as Markdown and CSV write them);
 *                value is the number of rows, from its start, that are its head (0 or 1)
 *   DOC_CODE     source code or other text whose lines matter
 *
 * Marks are ordered by from; at the same from the longer one is first. Headings, tables and code do
 * not overlap each other; they and pages may. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum doc_mark_kind { DOC_HEADING, DOC_PAGE, DOC_TABLE, DOC_CODE };

struct doc_mark {
    enum doc_mark_kind kind;
    int value;
    size_t from, to;
};

struct doc_text {
    struct str title; /* "" = none is known */
    struct str text;
    const struct doc_mark *marks;
    size_t n_marks;
};

#define DOC_MARKS_MAX ((size_t)1 << 20) /* of one document */

/* Marks as text, which is how the store and the extraction's wire keep them: a line each,
 *
 *   h<value> <from> <to>     p<value> …     t<value> …     c<value> …
 *
 * in decimal. Reading checks all that is promised above against text (ERR_INVALID otherwise); the
 * result is in the arena. */
void doc_marks_write(struct buf *b, const struct doc_mark *marks, size_t n);
enum err doc_marks_read(struct str lines, struct str text, struct arena *a, struct doc_mark **ret,
                        size_t *ret_n) ERR_CHECK;

/* The order that marks must have, for qsort(). */
int doc_marks_order(const void *a, const void *b);

/* Finds headings (ATX, setext), fenced code and pipe tables of Markdown text (CommonMark 0.31, GFM
 * tables; a front matter between two "---" lines is code). The result is in the arena. ERR_NOMEM;
 * past DOC_MARKS_MAX marks the rest stays plain text. */
enum err doc_marks_of_markdown(struct str text, struct arena *a, struct doc_mark **ret,
                               size_t *ret_n) ERR_CHECK;

/* Whether a document of this name is Markdown by its ending (.md, .markdown, .mdown). */
bool doc_name_is_markdown(struct str name);

/* The number of characters (code points) in valid UTF-8. */
size_t doc_characters(struct str s);
