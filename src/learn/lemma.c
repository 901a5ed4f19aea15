/* Forms of English words without a dictionary: what a word may be a regular form of, such that
 * "plane" and "plan", "party" and "part", "caring" and "cars" do not meet. See question.h. */
#include "learn/question.h"

#define FORMS_MAX 6

struct form {
    char text[WORD_BYTES_MAX];
    size_t n;
    enum ending ending;
};

/* In each row the words mean the same, where a question has them. */
static const char *const synonyms[][5] = {
    {"problem", "issue"},
    {"luggage", "baggage"},
    {"enable", "activate"},
    {"disable", "deactivate"},
    {"buy", "purchase"},
    {"begin", "start", "commence"},
    {"phone", "telephone"},
    {"licence", "license"},
    {"colour", "color"},
    {"movie", "film"},
    {"reserve", "book"},
    {"speak", "talk"},
    {"differ", "difference"},
    {"company", "firm"},
    {"quickly", "fast", "rapidly"},
    {"large", "big"},
    {"deliver", "ship", "delivery"},
    {"photo", "picture"},
    {"meaning", "mean"},
    {"often", "frequently"},
    {"bike", "bicycle"},
    {"close", "shut"},
    {"flat", "apartment"},
    {"lift", "elevator"},
    {"lorry", "truck"},
    {"grey", "gray"},
    {"centre", "center"},
    {"theatre", "theater"},
    {"programme", "program"},
    {"metre", "meter"},
    {"kilometre", "kilometer", "km"},
    {"kilogram", "kilo", "kg"},
    {"litre", "liter"},
    {"organise", "organize"},
    {"tv", "television"},
    {"fridge", "refrigerator"},
    {"cancel", "cancellation"},
    {"install", "installation"},
    {"register", "registration"},
    {"renew", "renewal"},
    {"arrive", "arrival"},
    {"depart", "departure"},
    {"each", "every", "per"},
    {"autumn", "fall"},
    {"postcode", "zip"},
    {"forbidden", "prohibited"},
    {"mum", "mom"},
    {"aeroplane", "airplane"},
};

/* What looks like another word's form and is none. */
static const char *const unlike[] = {"news",   "goods",   "customs", "arms",    "means",  "glasses",
                                     "series", "species", "lens",    "evening", "during", "morning",
                                     "string", "wing",    "king",    "ring",    "thing",  "spring",
                                     "bring",  "being",   "hundred", "indeed",  "speed",  "seed"};

static bool is_vowel(char c) {
    return c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u';
}

static size_t vowel_groups(struct str w) {
    size_t n = 0;
    for (size_t i = 0; i < w.n; i++)
        n += (is_vowel(w.p[i]) || w.p[i] == 'y') && (i == 0 || !is_vowel(w.p[i - 1]));
    return n;
}

/* "plan" takes a second n before "-ed" and "-ing". */
static bool doubles(struct str w) {
    if (w.n < 3 || vowel_groups(w) != 1)
        return false;
    char last = w.p[w.n - 1];
    return !is_vowel(last) && last != 'w' && last != 'x' && last != 'y' && is_vowel(w.p[w.n - 2]) &&
           !is_vowel(w.p[w.n - 3]);
}

static void add(struct form *f, size_t *n, struct str base, const char *more, enum ending e) {
    struct form *to = &f[*n];
    size_t m = strlen(more);
    bool cut = e != ENDING_NONE; /* what is left of a form is a word */
    if ((cut && base.n + m < 3) || base.n + m >= sizeof to->text || *n == FORMS_MAX)
        return;
    memcpy(to->text, base.p, base.n);
    memcpy(to->text + base.n, more, m);
    to->n = base.n + m;
    to->ending = e;
    (*n)++;
}

/* "-ed", "-ing" cut off: the base, with an e, without the second consonant. */
static void add_verb(struct form *f, size_t *n, struct str rest, enum ending e) {
    size_t k = rest.n;
    if (vowel_groups(rest) == 0)
        return;
    if (!doubles(rest))
        add(f, n, rest, "", e);
    if (k > 2 && rest.p[k - 1] == rest.p[k - 2] && !is_vowel(rest.p[k - 1]))
        add(f, n, str_sub(rest, 0, k - 1), "", e);
    else
        add(f, n, rest, "e", e);
}

static bool is_unlike(struct str w) {
    for (size_t i = 0; i < sizeof unlike / sizeof *unlike; i++)
        if (str_eqz(w, unlike[i]))
            return true;
    return false;
}

static size_t forms_of(struct str w, struct form f[FORMS_MAX]) {
    size_t n = 0;
    add(f, &n, w, "", ENDING_NONE);
    if (n == 0 || is_unlike(w))
        return n;
    char before = w.n > 1 ? w.p[w.n - 2] : 0;
    if (str_ends(w, STR("ies")) && w.n > 4) {
        add(f, &n, str_sub(w, 0, w.n - 3), "y", ENDING_S);
        add(f, &n, str_sub(w, 0, w.n - 1), "", ENDING_S);
    } else if (str_ends(w, STR("s")) && before != 's' && before != 'u' && before != 'i') {
        add(f, &n, str_sub(w, 0, w.n - 1), "", ENDING_S);
        if (before == 'e' && w.n > 4 && strchr("sxzho", w.p[w.n - 3]))
            add(f, &n, str_sub(w, 0, w.n - 2), "", ENDING_S);
    }
    if (str_ends(w, STR("ied")) && w.n > 4)
        add(f, &n, str_sub(w, 0, w.n - 3), "y", ENDING_ED);
    else if (str_ends(w, STR("ed")) && w.n > 4)
        add_verb(f, &n, str_sub(w, 0, w.n - 2), ENDING_ED);
    if (str_ends(w, STR("ing")) && w.n > 5)
        add_verb(f, &n, str_sub(w, 0, w.n - 3), ENDING_ING);
    return n;
}

static int synonym_row(struct str w) {
    for (size_t i = 0; i < sizeof synonyms / sizeof *synonyms; i++)
        for (size_t k = 0; k < 5 && synonyms[i][k]; k++)
            if (str_eqz(w, synonyms[i][k]))
                return (int)i;
    return -1;
}

static bool alike(const struct form *a, const struct form *b) {
    struct str x = {a->text, a->n}, y = {b->text, b->n};
    if (str_eq(x, y))
        return true;
    int row = synonym_row(x);
    return row >= 0 && row == synonym_row(y);
}

bool lemma_same(struct str a, struct str b, enum ending *ret_a, enum ending *ret_b) {
    struct form x[FORMS_MAX], y[FORMS_MAX];
    *ret_a = *ret_b = ENDING_NONE;
    if (str_eq(a, b))
        return true;
    size_t n = forms_of(a, x), m = forms_of(b, y);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < m; k++)
            if (alike(&x[i], &y[k])) {
                *ret_a = x[i].ending;
                *ret_b = y[k].ending;
                return true;
            }
    return false;
}

bool lemma_is(struct str word, const char *base) {
    struct form x[FORMS_MAX];
    size_t n = forms_of(word, x);
    for (size_t i = 0; i < n; i++)
        if (str_eqz((struct str){x[i].text, x[i].n}, base))
            return true;
    return false;
}
