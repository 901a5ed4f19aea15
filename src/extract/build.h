/* How every parser writes: a document's text grows in order, white space is made one, marks are
 * set where things begin and end. Inside src/extract only.
 *
 * A builder never fails in the middle: when its text would grow past the cap or memory is out, it
 * takes nothing more and build_finish() says so. */
#pragma once

#include "extract/extract.h"

struct builder {
    struct buf text;
    struct doc_mark *marks; /* owned */
    size_t n_marks, marks_size;
    struct buf title;
    size_t page_from;
    int page; /* the open one; 0 = none */
    int pages;
    size_t open_from; /* of the open heading, table or code */
    int open_value;
    enum doc_mark_kind open_kind;
    bool is_open;
    int nested;   /* begins inside of it, whose ends are to be skipped */
    bool space;   /* white space is due before the next word */
    bool in_cell; /* breaks are blanks there */
    bool row_has_cell;
    bool nomem;
};

void build_init(struct builder *b);
void build_deinit(struct builder *b);

void build_text(struct builder *b, struct str s); /* words: white space becomes one blank */
void build_raw(struct builder *b, struct str s);  /* as it is */
void build_line(struct builder *b);               /* what follows is on a new line */
void build_break(struct builder *b);              /* what follows is a new paragraph */
void build_begin(struct builder *b, enum doc_mark_kind kind, int value); /* no DOC_PAGE */
void build_end(struct builder *b, enum doc_mark_kind kind);
void build_row(struct builder *b);  /* inside a table */
void build_cell(struct builder *b); /* inside a row */
void build_cell_end(struct builder *b);
void build_page(struct builder *b, int number);
void build_title(struct builder *b, struct str s); /* the first that is not empty stays */
void build_mark(struct builder *b, enum doc_mark_kind kind, int value, size_t from, size_t to);
bool build_is_full(const struct builder *b); /* nothing more is taken */

/* The text into the arena. EXTRACT_TOO_LARGE, EXTRACT_MEMORY, EXTRACT_NO_TEXT (no letter in it). */
enum extract_fault build_finish(struct builder *b, struct arena *a, struct extracted *ret);
