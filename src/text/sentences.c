/* Sentence boundaries by ICU over UTF-8, without conversion: the iterator's positions are bytes. */
#include "text/sentences.h"

#include <stdio.h>
#include <stdlib.h>
#include <unicode/ubrk.h>
#include <unicode/utext.h>

#define TEXT_MAX ((size_t)1 << 30)

struct sentences {
    UBreakIterator *it;
    UText text;
    struct str source;
    char *copy; /* owned: source with the breaks of wrapped lines as blanks */
    size_t size;
    int32_t at;
};

enum err sentences_open(const char *lang, struct sentences **ret) {
    char locale[64];
    UErrorCode code = U_ZERO_ERROR;
    struct sentences *s = calloc(1, sizeof *s);
    if (!s)
        return ERR_NOMEM;
    s->text = (UText)UTEXT_INITIALIZER;
    snprintf(locale, sizeof locale, "%.20s", lang[0] ? lang : "en");
    s->it = ubrk_open(UBRK_SENTENCE, locale, NULL, 0, &code);
    if (U_FAILURE(code)) {
        free(s);
        return code == U_MEMORY_ALLOCATION_ERROR ? ERR_NOMEM : ERR_INTERNAL;
    }
    *ret = s;
    return ERR_OK;
}

void sentences_close(struct sentences *s) {
    if (!s)
        return;
    ubrk_close(s->it);
    utext_close(&s->text);
    free(s->copy);
    free(s);
}

/* "- ", "* ", "• ", "3. ", "b) " at the start of a line. */
static bool begins_item(struct str l) {
    size_t i = 0;
    while (i < l.n && (l.p[i] == ' ' || l.p[i] == '\t'))
        i++;
    l = str_sub(l, i, l.n);
    if (l.n > 1 && memchr("-*+", l.p[0], 3) && l.p[1] == ' ')
        return true;
    if (str_starts(l, STR("\xe2\x80\xa2")) || str_starts(l, STR("|")) || str_starts(l, STR("#")))
        return true;
    i = 0;
    while (i < l.n && i < 3 && l.p[i] >= '0' && l.p[i] <= '9')
        i++;
    if (i == 0 && l.n && ((l.p[0] | 0x20) >= 'a' && (l.p[0] | 0x20) <= 'z'))
        return l.n > 2 && l.p[1] == ')' && l.p[2] == ' ';
    return i > 0 && i + 1 < l.n && (l.p[i] == '.' || l.p[i] == ')') && l.p[i + 1] == ' ';
}

/* Whether the LF at i ends a paragraph or an item. */
static bool breaks(struct str t, size_t i) {
    struct str rest = str_sub(t, i + 1, t.n);
    const char *end = rest.n ? memchr(rest.p, '\n', rest.n) : NULL;
    struct str line = str_sub(rest, 0, end ? (size_t)(end - rest.p) : rest.n);
    return str_trim(line).n == 0 || begins_item(str_sub(line, 0, 200));
}

enum err sentences_set(struct sentences *s, struct str text) {
    UErrorCode code = U_ZERO_ERROR;
    if (text.n > TEXT_MAX)
        return ERR_TOO_LARGE;
    if (text.n + 1 > s->size) {
        char *p = realloc(s->copy, text.n + 1);
        if (!p)
            return ERR_NOMEM;
        s->copy = p;
        s->size = text.n + 1;
    }
    if (text.n)
        memcpy(s->copy, text.p, text.n);
    s->copy[text.n] = 0;
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] == '\n' && !breaks(text, i))
            s->copy[i] = ' ';
    utext_openUTF8(&s->text, s->copy, (int64_t)text.n, &code);
    ubrk_setUText(s->it, &s->text, &code);
    s->source = text;
    s->at = U_SUCCESS(code) ? ubrk_first(s->it) : UBRK_DONE;
    return U_SUCCESS(code) ? ERR_OK : code == U_MEMORY_ALLOCATION_ERROR ? ERR_NOMEM : ERR_INTERNAL;
}

/* What stands before a full stop without ending a sentence; of the languages that are most read.
 * Words that often do end one ("etc") are not here: the break iterator sees the small letter that
 * follows them else. */
static const char abbreviations[] =
    " mr mrs ms dr prof rev hon st sr jr gen col capt lt sgt gov sen rep pres vs eg ie cf al fig "
    "figs"
    " eq eqs sec ch vol nos pp ed eds approx dept univ inc ltd co corp jan feb mar apr jun jul aug"
    " sep sept oct nov dec hr fr nr bzw ca vgl abs art evtl ggf inkl max min mme mlle av env sra "
    "srta"
    " ud uds sig dott ing ";

/* Whether a break after t[0, end) stands behind an abbreviation, an initial ("J.") or one of the
 * letters of "z. B.". */
static bool is_abbreviation(struct str t) {
    char key[16];
    size_t n = 0;
    if (t.n < 2 || t.p[t.n - 1] != '.')
        return false;
    size_t to = t.n - 1, from = to;
    while (from > 0 && ((t.p[from - 1] | 0x20) >= 'a' && (t.p[from - 1] | 0x20) <= 'z'))
        from--;
    n = to - from;
    bool starts = from == 0 || strchr(" \t\n(\"'.[", t.p[from - 1]) != NULL;
    if (n == 1)
        return starts && t.p[from] != 'I';
    if (n == 0 || n + 3 > sizeof key || !starts)
        return false;
    key[0] = ' ';
    for (size_t i = 0; i < n; i++)
        key[i + 1] = (char)(t.p[from + i] | 0x20);
    key[n + 1] = ' ';
    key[n + 2] = 0;
    return strstr(abbreviations, key) != NULL;
}

bool sentences_next(struct sentences *s, size_t *ret_from, size_t *ret_to) {
    while (s->at != UBRK_DONE) {
        size_t from = (size_t)s->at;
        do
            s->at = ubrk_next(s->it);
        while (s->at != UBRK_DONE && (size_t)s->at < s->source.n && (size_t)s->at > from &&
               s->copy[s->at - 1] != '\n' &&
               is_abbreviation(str_trim(str_sub(s->source, from, (size_t)s->at - from))));
        if (s->at == UBRK_DONE || (size_t)s->at > s->source.n || (size_t)s->at < from)
            break;
        struct str t = str_trim(str_sub(s->source, from, (size_t)s->at - from));
        if (t.n == 0)
            continue;
        *ret_from = (size_t)(t.p - s->source.p);
        *ret_to = *ret_from + t.n;
        return true;
    }
    s->at = UBRK_DONE;
    return false;
}
