/* The sentence splitter on any UTF-8: sentences are in order, apart, and hold all that is not white
 * space. */
#include <stdint.h>
#include <stdlib.h>

#include "text/sentences.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct sentences *s;

static size_t visible(struct str t) {
    size_t n = 0;
    for (size_t i = 0; i < t.n; i++)
        n += !strchr(" \t\r\n\f\v", t.p[i]);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str text = {(const char *)data, size};
    size_t from, to, at = 0, seen = 0;
    if (!s && sentences_open("en", &s))
        abort();
    if (!utf8_valid(text) || (size && memchr(data, 0, size)))
        return 0;
    if (sentences_set(s, text))
        abort();
    while (sentences_next(s, &from, &to)) {
        if (from < at || to <= from || to > size || !utf8_valid(str_sub(text, from, to - from)))
            abort();
        seen += visible(str_sub(text, from, to - from));
        at = to;
    }
    if (seen != visible(text))
        abort();
    return 0;
}
