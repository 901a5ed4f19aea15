/* Words of a text as the lexical index counts them: lower case, stemmed in the text's language
 * (Snowball, https://snowballstem.org), without diacritics. What has no spaces between words
 * (Chinese, Japanese, Thai) becomes pairs of neighbouring characters.
 *
 * An object belongs to one thread at a time; it keeps the stemmers that it has opened. */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

struct terms;

#define TERM_MAX 48 /* bytes; longer words are cut */

enum err terms_open(struct terms **ret) ERR_CHECK;
void terms_close(struct terms *t);

struct term {
    struct str text;         /* borrowed for the call */
    bool is_stop;            /* too common to tell anything: "the", "which" */
    bool is_number, is_name; /* name: upper case inside a sentence's words */
    size_t from, to;         /* the word in the text, bytes */
};
/* Calls fn for each word in order. lang: BCP 47 ("en"); "" or one without a stemmer: words as they
 * are. text is valid UTF-8. */
void terms_each(struct terms *t, const char *lang, struct str text,
                void (*fn)(void *ctx, const struct term *w), void *ctx);
