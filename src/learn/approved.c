/* See approved.h. */
#include "learn/approved.h"

#include <stdlib.h>

#include "learn/words.h"

#define LIST_MAX 64

struct list {
    uint64_t hash[LIST_MAX];
    size_t n;
};

struct question_form {
    struct words content; /* stems without common words, negations and numbers */
    struct list all;      /* every word, lower case */
    struct list numbers, names;
    struct list counted; /* the numbers as they were written: compared apart from the content */
    uint64_t from, to, before; /* the words after "from" and "to"; the word before this one */
    unsigned first, second;    /* bit i: a word of that side of opposites[i] */
    bool denies;
};

static const char *const negations[] = {
    "not",   "no",     "never",    "without", "nothing", "none", "nobody",  "neither",
    "nor",   "cannot", "cant",     "dont",    "doesnt",  "isnt", "wont",    "didnt",
    "arent", "except", "shouldnt", "wasnt",   "avoid",   "stop", "disable", "unable"};

static const struct {
    const char *first[6], *second[6];
} opposites[] = {
    {{"before", "prior", "until"}, {"after", "following", "since"}},
    {{"cheap", "cheapest", "lowest", "minimum", "least"},
     {"expensive", "dearest", "highest", "maximum", "most"}},
    {{"increase", "raise", "more", "up", "grow"}, {"decrease", "reduce", "less", "down", "lower"}},
    {{"start", "begin", "open", "enable", "on"}, {"end", "finish", "close", "off", "cancel"}},
    {{"arrive", "arrival", "arrivals", "to"}, {"depart", "departure", "departures", "from"}},
    {{"first", "oldest", "earliest"}, {"last", "newest", "latest"}},
    {{"largest", "biggest", "longest", "tallest"}, {"smallest", "shortest", "tiniest"}},
    {{"import", "download", "buy", "receive"}, {"export", "upload", "sell", "send"}},
    {{"best", "advantages", "pros", "good"}, {"worst", "disadvantages", "cons", "bad"}},
    {{"left", "north", "east", "hot"}, {"right", "south", "west", "cold"}},
    {{"add", "install", "create", "grant"}, {"remove", "uninstall", "delete", "revoke"}},
    {{"mother", "wife", "woman", "women", "female"}, {"father", "husband", "man", "men", "male"}},
    {{"summer", "morning", "day"}, {"winter", "evening", "night"}},
    {{"adult", "adults", "parents"}, {"child", "children", "kids"}},
    {{"in", "inside"}, {"out", "outside"}},
};
#define OPPOSITES (sizeof opposites / sizeof *opposites)

static const char *const number_words[] = {"zero", "one",    "two",   "three", "four",
                                           "five", "six",    "seven", "eight", "nine",
                                           "ten",  "eleven", "twelve"};

static void list_add(struct list *l, uint64_t h) {
    for (size_t i = 0; i < l->n; i++)
        if (l->hash[i] == h)
            return;
    if (l->n < LIST_MAX)
        l->hash[l->n++] = h;
}

static bool list_has(const struct list *l, uint64_t h) {
    for (size_t i = 0; i < l->n; i++)
        if (l->hash[i] == h)
            return true;
    return false;
}

static bool list_within(const struct list *a, const struct list *b) {
    for (size_t i = 0; i < a->n; i++)
        if (!list_has(b, a->hash[i]))
            return false;
    return true;
}

static bool has_digit(struct str w) {
    for (size_t i = 0; i < w.n; i++)
        if (w.p[i] >= '0' && w.p[i] <= '9')
            return true;
    return false;
}

static int number_word(struct str w) {
    for (int i = 1; i < 13; i++)
        if (str_eqz(w, number_words[i]))
            return i;
    return -1;
}

static bool is_negation(struct str w) {
    for (size_t i = 0; i < sizeof negations / sizeof *negations; i++)
        if (str_eqz(w, negations[i]))
            return true;
    return false;
}

static bool among(const char *const *list, struct str w) {
    for (size_t i = 0; i < 6 && list[i]; i++)
        if (str_eqz(w, list[i]))
            return true;
    return false;
}

static void take_word(void *ctx, struct str w) {
    struct question_form *f = ctx;
    uint64_t h = words_hash(w);
    if (f->before == words_hash(STR("from")))
        f->from = h;
    if (f->before == words_hash(STR("to")))
        f->to = h;
    f->before = h;
    list_add(&f->all, h);
    if (has_digit(w)) {
        list_add(&f->numbers, words_hash(w));
        list_add(&f->counted, words_hash(w));
    } else if (number_word(w) > 0) {
        char digits[3] = {0};
        int v = number_word(w);
        size_t n = 0;
        if (v >= 10)
            digits[n++] = '1';
        digits[n++] = (char)('0' + v % 10);
        list_add(&f->numbers, words_hash((struct str){digits, n}));
        list_add(&f->counted, words_hash(w));
    }
    if (is_negation(w))
        f->denies = true;
    for (size_t i = 0; i < OPPOSITES; i++) {
        if (among(opposites[i].first, w))
            f->first |= 1u << i;
        if (among(opposites[i].second, w))
            f->second |= 1u << i;
    }
}

static bool is_upper(char c) {
    return c >= 'A' && c <= 'Z';
}

static bool is_letter(char c) {
    return is_upper(c) || (c >= 'a' && c <= 'z') || (unsigned char)c >= 0x80 || c == '\'';
}

static void add_name(void *ctx, struct str w) {
    list_add(ctx, words_hash(w));
}

/* Words with a capital that no sentence begins with. "I" is none. */
static void take_names(struct str text, struct list *ret) {
    bool begins = true;
    for (size_t i = 0; i < text.n;) {
        if (!is_letter(text.p[i])) {
            if (text.p[i] == '.' || text.p[i] == '?' || text.p[i] == '!' || text.p[i] == ':')
                begins = true;
            i++;
            continue;
        }
        size_t from = i;
        while (i < text.n && is_letter(text.p[i]))
            i++;
        struct str w = str_sub(text, from, i - from);
        bool more = w.n > 1 && is_upper(w.p[1]);            /* NASA, also where a sentence begins */
        bool letter = w.n == 1 && w.p[0] != 'I' && !begins; /* plan B */
        if (is_upper(w.p[0]) && (letter || (w.n > 1 && w.p[1] != '\'' && (!begins || more))))
            words_each(w, add_name, ret);
        begins = false;
    }
}

/* "n't" denies, however the apostrophe is written. */
static bool has_nt(struct str text) {
    return str_find(text, STR("n't")) != SIZE_MAX ||
           str_find(text, STR("n\xe2\x80\x99t")) != SIZE_MAX;
}

struct question_form *question_form_new(struct str text) {
    struct question_form *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    words_of(text, &f->content);
    words_each(text, take_word, f);
    take_names(text, &f->names);
    size_t n = 0;
    for (size_t i = 0; i < f->content.n; i++)
        if (!list_has(&f->counted, f->content.hash[i]))
            f->content.hash[n++] = f->content.hash[i];
    f->content.n = n;
    f->denies |= has_nt(text);
    return f;
}

void question_form_free(struct question_form *f) {
    free(f);
}

/* Content words that the other has not. */
static size_t only_in(const struct words *a, const struct words *b) {
    size_t n = 0;
    for (size_t i = 0, k = 0; i < a->n; i++) {
        while (k < b->n && b->hash[k] < a->hash[i])
            k++;
        n += k == b->n || b->hash[k] != a->hash[i];
    }
    return n;
}

/* One says the first word of a pair, the other only the second; or the way is another. */
static bool are_opposite(const struct question_form *a, const struct question_form *b) {
    unsigned a_first = a->first & ~a->second, a_second = a->second & ~a->first;
    unsigned b_first = b->first & ~b->second, b_second = b->second & ~b->first;
    bool turned = (a->from && b->from && a->from != b->from) ||
                  (a->from && b->from && a->to && b->to && a->to != b->to);
    return (a_first & b_second) || (a_second & b_first) || turned;
}

const char *approved_difference(const struct question_form *a, const struct question_form *b,
                                double cosine) {
    if (cosine < APPROVED_COSINE)
        return "meaning";
    if (!list_within(&a->numbers, &b->numbers) || !list_within(&b->numbers, &a->numbers))
        return "numbers";
    if (!list_within(&a->names, &b->all) || !list_within(&b->names, &a->all))
        return "names";
    if (a->denies != b->denies)
        return "negation";
    if (are_opposite(a, b))
        return "opposites";
    if (only_in(&a->content, &b->content) && only_in(&b->content, &a->content) &&
        cosine < APPROVED_COSINE_OTHER)
        return "words";
    return "same";
}

bool approved_is_same(const struct question_form *a, const struct question_form *b, double cosine) {
    return str_eqz(str_from(approved_difference(a, b, cosine)), "same");
}
