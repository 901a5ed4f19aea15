/* Splitting, folding, stemming. ASCII takes the short way; everything else goes through ICU's
 * character properties. */
#include "text/terms.h"

#include <libstemmer.h>
#include <stdlib.h>
#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/uscript.h>
#include <unicode/utf8.h>

/* Snowball's algorithm for each language that text_language() names. */
static const struct {
    const char *lang, *algorithm;
} stemmers[] = {
    {"en", "english"}, {"de", "german"},     {"fr", "french"},  {"es", "spanish"},
    {"it", "italian"}, {"pt", "portuguese"}, {"nl", "dutch"},   {"sv", "swedish"},
    {"da", "danish"},  {"no", "norwegian"},  {"fi", "finnish"}, {"tr", "turkish"},
    {"ru", "russian"}, {"el", "greek"},      {"ar", "arabic"},  {"hi", "hindi"},
};
#define STEMMERS_N (sizeof stemmers / sizeof stemmers[0])

#define STOP_LONGEST 7 /* bytes of the words below */
static const char english_stops[] =
    " a about above after again against all also am an and any are aren as at be because been "
    "before "
    "being below between both but by can could did do does doing don down during each few for from "
    "further had has have having he her here hers him his how i if in into is it its itself just "
    "me "
    "more most my no nor not of off on once only or other our ours out over own same she should so "
    "some such than that the their theirs them then there these they this those through to too "
    "under until up very was we were what when where which while who whom why will with would you "
    "your yours ";

struct terms {
    struct sb_stemmer *open[STEMMERS_N];
    bool tried[STEMMERS_N];
    const UNormalizer2 *nfd;
};

/* The word that is being read. */
struct word {
    char p[TERM_MAX * 2];
    size_t n;
    size_t from, to;
    bool ascii, digits, upper;
};

enum kind { KIND_NONE, KIND_WORD, KIND_MARK, KIND_SINGLE };

enum err terms_open(struct terms **ret) {
    UErrorCode code = U_ZERO_ERROR;
    struct terms *t = calloc(1, sizeof *t);
    if (!t)
        return ERR_NOMEM;
    t->nfd = unorm2_getNFDInstance(&code);
    if (U_FAILURE(code)) {
        free(t);
        return ERR_INTERNAL;
    }
    *ret = t;
    return ERR_OK;
}

void terms_close(struct terms *t) {
    if (!t)
        return;
    for (size_t i = 0; i < STEMMERS_N; i++)
        if (t->open[i])
            sb_stemmer_delete(t->open[i]);
    free(t);
}

static struct sb_stemmer *stemmer_of(struct terms *t, const char *lang) {
    for (size_t i = 0; i < STEMMERS_N; i++) {
        if (strcmp(stemmers[i].lang, lang) != 0)
            continue;
        if (!t->tried[i])
            t->open[i] = sb_stemmer_new(stemmers[i].algorithm, NULL);
        t->tried[i] = true;
        return t->open[i];
    }
    return NULL;
}

static bool is_english_stop(const struct word *w) {
    char key[STOP_LONGEST + 3];
    if (!w->ascii || w->n > STOP_LONGEST)
        return false;
    key[0] = ' ';
    memcpy(key + 1, w->p, w->n);
    key[w->n + 1] = ' ';
    key[w->n + 2] = 0;
    return strstr(english_stops, key) != NULL;
}

static enum kind kind_of(UChar32 c) {
    if (c < 0x80)
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
                   ? KIND_WORD
                   : KIND_NONE;
    if (c < 0x300) /* Latin: the common case, without a look at the script */
        return u_isalnum(c) ? KIND_WORD : KIND_NONE;
    int8_t type = u_charType(c);
    if (type == U_NON_SPACING_MARK || type == U_COMBINING_SPACING_MARK)
        return KIND_MARK;
    if (!u_isalnum(c))
        return KIND_NONE;
    UErrorCode code = U_ZERO_ERROR;
    UScriptCode s = uscript_getScript(c, &code);
    bool single = s == USCRIPT_HAN || s == USCRIPT_HIRAGANA || s == USCRIPT_KATAKANA ||
                  s == USCRIPT_THAI || s == USCRIPT_LAO || s == USCRIPT_KHMER;
    return single ? KIND_SINGLE : KIND_WORD;
}

static void word_add(struct word *w, UChar32 c) {
    if (w->n + 4 > sizeof w->p)
        return;
    U8_APPEND_UNSAFE(w->p, w->n, c);
}

/* The word without diacritics: each character's first in canonical decomposition. */
static size_t fold_marks(const struct terms *t, const char *p, size_t n, char out[TERM_MAX * 4]) {
    size_t i = 0, k = 0;
    while (i < n) {
        UChar32 c;
        UChar parts[16];
        UErrorCode code = U_ZERO_ERROR;
        U8_NEXT((const uint8_t *)p, i, n, c);
        if (c < 0)
            continue;
        int32_t m = c < 0x80 ? -1 : unorm2_getDecomposition(t->nfd, c, parts, 16, &code);
        if (m > 0 && U_SUCCESS(code) && u_charType(c) != U_OTHER_LETTER)
            U16_GET(parts, 0, 0, m, c);
        if (u_charType(c) != U_NON_SPACING_MARK && k + 4 <= TERM_MAX * 4)
            U8_APPEND_UNSAFE(out, k, c);
    }
    return k;
}

static void word_end(struct terms *t, struct sb_stemmer *stem, bool english, struct word *w,
                     void (*fn)(void *ctx, const struct term *w), void *ctx) {
    char folded[TERM_MAX * 4];
    if (w->n == 0)
        return;
    struct term out = {.from = w->from, .to = w->to, .is_number = w->digits, .is_name = w->upper};
    out.is_stop = english ? is_english_stop(w) : false;
    struct str s = {w->p, w->n};
    if (stem && !w->digits) {
        const sb_symbol *p = sb_stemmer_stem(stem, (const sb_symbol *)w->p, (int)w->n);
        if (p)
            s = (struct str){(const char *)p, (size_t)sb_stemmer_length(stem)};
    }
    if (!w->ascii)
        s = (struct str){folded, fold_marks(t, s.p, s.n, folded)};
    out.text = (struct str){s.p, s.n > TERM_MAX ? utf8_cut(s, TERM_MAX) : s.n};
    if (out.text.n)
        fn(ctx, &out);
    w->n = 0;
}

static void word_begin(struct word *w, size_t from, bool upper) {
    *w = (struct word){.from = from, .ascii = true, .digits = true, .upper = upper};
}

/* Whether what stands between two characters joins them: "3.5", "don't" (whose end is dropped). */
static bool joins(struct str text, size_t at, bool digits) {
    if (at + 1 >= text.n || !digits)
        return false;
    char c = text.p[at];
    return (c == '.' || c == ',') && text.p[at + 1] >= '0' && text.p[at + 1] <= '9';
}

/* After "'": "s", "t", "re" and the like are not words. Returns where to go on. */
static size_t skip_clitic(struct str text, size_t at) {
    size_t i = at + 1;
    while (i < text.n && i < at + 4 &&
           ((text.p[i] >= 'a' && text.p[i] <= 'z') || (text.p[i] >= 'A' && text.p[i] <= 'Z')))
        i++;
    bool more =
        i < text.n && ((unsigned char)text.p[i] >= 0x80 || (text.p[i] >= 'a' && text.p[i] <= 'z'));
    return i > at + 1 && i <= at + 3 && !more ? i : at + 1;
}

struct pair { /* the character before, of a script without spaces */
    UChar32 c;
    size_t from;
    bool used;
};

static void emit_single(struct pair *before, UChar32 c, size_t from, size_t to,
                        void (*fn)(void *ctx, const struct term *w), void *ctx) {
    char p[8];
    size_t n = 0;
    if (before->c)
        U8_APPEND_UNSAFE(p, n, before->c);
    if (c)
        U8_APPEND_UNSAFE(p, n, c);
    struct term out = {.text = {p, n}, .from = before->c ? before->from : from, .to = to};
    fn(ctx, &out);
}

/* The end of a run of such characters: one that stood alone is a word. */
static void pair_end(struct pair *before, size_t to, void (*fn)(void *ctx, const struct term *w),
                     void *ctx) {
    if (before->c && !before->used)
        emit_single(before, 0, before->from, to, fn, ctx);
    before->c = 0;
}

void terms_each(struct terms *t, const char *lang, struct str text,
                void (*fn)(void *ctx, const struct term *w), void *ctx) {
    struct sb_stemmer *stem = stemmer_of(t, lang);
    bool english = strcmp(lang, "en") == 0 || !*lang;
    struct word w = {.n = 0};
    struct pair before = {0};
    size_t i = 0;
    while (i < text.n) {
        size_t from = i;
        UChar32 c;
        U8_NEXT((const uint8_t *)text.p, i, text.n, c);
        enum kind k = c < 0 ? KIND_NONE : kind_of(c);
        if (k != KIND_SINGLE)
            pair_end(&before, from, fn, ctx);
        if (k == KIND_WORD) {
            if (w.n == 0)
                word_begin(&w, from, c < 0x80 ? c >= 'A' && c <= 'Z' : u_isupper(c));
            w.ascii = w.ascii && c < 0x80;
            w.digits = w.digits && (c < 0x80 ? c >= '0' && c <= '9' : u_isdigit(c));
            word_add(&w, c < 0x80 ? (c >= 'A' && c <= 'Z' ? c + 32 : c)
                                  : u_foldCase(c, U_FOLD_CASE_DEFAULT));
            w.to = i;
            continue;
        }
        if (k == KIND_MARK && w.n) {
            w.ascii = false;
            word_add(&w, c);
            w.to = i;
            continue;
        }
        if (w.n && joins(text, from, w.digits)) {
            word_add(&w, '.');
            continue;
        }
        bool clitic = w.n && !w.digits && (c == '\'' || c == 0x2019);
        word_end(t, stem, english, &w, fn, ctx);
        if (clitic)
            i = skip_clitic(text, i - 1);
        if (k == KIND_SINGLE) {
            if (before.c) {
                emit_single(&before, c, from, i, fn, ctx);
                before.used = true;
            } else {
                before.used = false;
            }
            before.c = c;
            before.from = from;
        }
    }
    pair_end(&before, text.n, fn, ctx);
    word_end(t, stem, english, &w, fn, ctx);
}
