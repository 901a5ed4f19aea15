/* Sentences of a text in any language (ICU's break iterator, UAX #29), which common abbreviations
 * ("Dr.", "z. B.") and initials do not end.
 *
 * A single line break inside a paragraph is white space, as it is in hard-wrapped text; an empty
 * line, and a line that begins like an item of a list, end a sentence.
 *
 * An object belongs to one thread at a time; opening costs some milliseconds, so keep it. */
#pragma once

#include "base/err.h"
#include "base/str.h"

struct sentences;

/* lang: BCP 47, "en"; "" = no language is known. */
enum err sentences_open(const char *lang, struct sentences **ret) ERR_CHECK;
void sentences_close(struct sentences *s);

/* Begins with text (valid UTF-8, borrowed until the next call). */
enum err sentences_set(struct sentences *s, struct str text) ERR_CHECK;
/* The next sentence without white space at its ends, as byte offsets; false after the last. */
bool sentences_next(struct sentences *s, size_t *ret_from, size_t *ret_to);
