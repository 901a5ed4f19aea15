/* What the child says, as bytes on its stdout:
 *
 *   PARLEY-EXTRACT 1\n
 *   fault <code>\n  format <name>\n  charset <name>\n  pages <n>\n
 *   title <bytes>\n  marks <bytes>\n  text <bytes>\n  \n
 *   title, marks (text/doc_text.h) and text themselves
 *
 * All fields stand there, in this order; one blank divides key and value; nothing follows. */
#pragma once

#include "extract/extract.h"

#define WIRE_MAX (EXTRACT_TEXT_MAX + ((size_t)64 << 20)) /* marks are short lines */

void wire_write(struct buf *b, const struct extracted *e);
/* Checks everything: numbers, lengths, UTF-8 without NUL, marks against the text. ERR_CORRUPT,
 * ERR_NOMEM. The result is in the arena. */
enum err wire_read(struct str bytes, struct arena *a, struct extracted *ret) ERR_CHECK;
