/* See approved.h. */
#include "learn/approved.h"

#include <stdlib.h>

#include "learn/words.h"

#define LIST_MAX 64

struct list {
    uint64_t hash[LIST_MAX];
    size_t n;
};

struct weighty { /* a word that decides what is asked */
    uint64_t stem, raw;
    size_t at;  /* its place among all words */
    bool owner; /* "the router's", "of the router" */
    bool owns;  /* the former */
};

struct question_form {
    struct weighty weighty[LIST_MAX];
    size_t n_weighty;
    struct list all; /* every word, lower case */
    struct list numbers, names;
    uint64_t from, to, before; /* the words after "from" and "to"; the word before this one */
    unsigned first, second;    /* bit i: a word of that side of opposites[i] */
    uint64_t kind;             /* of the question: ASKS_… or a hash of what stands after "how" */
    unsigned modes;            /* MUST */
    unsigned self;             /* DOES, SUFFERS */
    unsigned who;              /* SUBJECT, OBJECT */
    size_t n_words;
    bool of;            /* the word before this one was "of", articles left out */
    bool cut;           /* there is more than is compared */
    bool denies, asked; /* asked: a question word has said the kind */
};

enum { ASKS_ANY, ASKS_WHETHER, ASKS_WHO, ASKS_WHEN, ASKS_WHERE, ASKS_WHY, ASKS_HOW };
enum { MUST = 1 };                /* whether one must; else whether it is so, or one may */
enum { DOES = 1, SUFFERS = 2 };   /* I …; … me */
enum { SUBJECT = 1, OBJECT = 2 }; /* who reports; who does she report to */

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
    {{"arrive", "arrival", "arrivals", "to", "into"},
     {"depart", "departure", "departures", "from"}},
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

/* What may be said or left out without asking something else. */
static const char *const light[] = {
    "get",      "got",   "am",     "allowed",  "possible", "may",       "might",   "must",
    "need",     "needs", "needed", "required", "require",  "necessary", "find",    "take",
    "takes",    "use",   "used",   "using",    "want",     "know",      "explain", "s",
    "t",        "m",     "re",     "ve",       "ll",       "also",      "just",    "exactly",
    "actually", "hi",    "hello",  "thanks",   "thank",    "per",       "each",    "whom",
    "being",    "able",  "kindly", "help",     "between",  "whats",     "happen",  "about",
};

/* By their stems: the first of a row stands for the others. */
static const char *const synonyms[][3] = {
    {"problem", "issu", NULL},     {"luggag", "baggag", NULL},   {"enabl", "activat", NULL},
    {"disabl", "deactivat", NULL}, {"buy", "purchas", NULL},     {"begin", "start", "commenc"},
    {"phon", "telephon", NULL},    {"licenc", "licens", NULL},   {"colour", "color", NULL},
    {"movi", "film", NULL},        {"reserv", "book", NULL},     {"speak", "talk", NULL},
    {"differ", "differenc", NULL}, {"compan", "firm", NULL},     {"quick", "fast", "rapid"},
    {"large", "big", NULL},        {"deliver", "shipp", "ship"}, {"photo", "pictur", NULL},
    {"lose", "lost", "los"},       {"meaning", "mean", NULL},
};

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

static bool list_same(const struct list *a, const struct list *b) {
    return a->n == b->n && memcmp(a->hash, b->hash, a->n * sizeof *a->hash) == 0;
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

static bool is_light(struct str w) {
    for (size_t i = 0; i < sizeof light / sizeof *light; i++)
        if (str_eqz(w, light[i]))
            return true;
    return words_is_common(w);
}

static bool is_article(struct str w) {
    return str_eqz(w, "the") || str_eqz(w, "a") || str_eqz(w, "an") || str_eqz(w, "my") ||
           str_eqz(w, "your") || str_eqz(w, "our");
}

static uint64_t stem_of(struct str w) {
    struct str s = words_stem(w);
    if (s.n > 3 && (s.p[s.n - 1] == 'e' || s.p[s.n - 1] == 'y'))
        s.n--;
    for (size_t i = 0; i < sizeof synonyms / sizeof *synonyms; i++)
        for (size_t k = 1; k < 3 && synonyms[i][k]; k++)
            if (str_eqz(s, synonyms[i][k]))
                return words_hash(str_from(synonyms[i][0]));
    return words_hash(s);
}

/* The kind of the question is what its first question word says; without one, a helping verb in
 * front asks whether. True: the word has said so, and is nothing else. */
static bool take_kind(struct question_form *f, struct str w) {
    static const struct {
        const char *word;
        uint64_t kind;
    } asking[] = {{"who", ASKS_WHO},   {"whose", ASKS_WHO},   {"whom", ASKS_WHO},
                  {"when", ASKS_WHEN}, {"where", ASKS_WHERE}, {"why", ASKS_WHY},
                  {"how", ASKS_HOW},   {"what", ASKS_ANY},    {"which", ASKS_ANY}};
    static const char *const helping[] = {"do",    "does", "did",   "is",     "are", "was",
                                          "were",  "can",  "could", "should", "may", "will",
                                          "would", "must", "has",   "have",   "am",  "shall"};
    static const char *const measures[] = {"long", "high", "much",  "many",  "often",
                                           "old",  "far",  "large", "big",   "frequently",
                                           "fast", "deep", "wide",  "heavy", "soon"};
    static const char *const times[] = {"time", "date", "day", "year"};
    for (size_t i = 0; !f->asked && i < sizeof asking / sizeof *asking; i++)
        if (str_eqz(w, asking[i].word)) {
            f->kind = asking[i].kind;
            return f->asked = true;
        }
    for (size_t i = 0; f->n_words == 0 && i < sizeof helping / sizeof *helping; i++)
        if (str_eqz(w, helping[i]))
            f->kind = ASKS_WHETHER;
    for (size_t i = 0; f->before == words_hash(STR("how")) && f->kind == ASKS_HOW &&
                       i < sizeof measures / sizeof *measures;
         i++)
        if (str_eqz(w, measures[i])) {
            f->kind = words_hash(str_eqz(w, "frequently") ? STR("often") : w);
            return true;
        }
    bool what = f->before == words_hash(STR("what")) || f->before == words_hash(STR("which"));
    for (size_t i = 0; what && f->kind == ASKS_ANY && i < 4; i++)
        if (str_eqz(w, times[i])) {
            f->kind = ASKS_WHEN;
            return true;
        }
    return false;
}

static void take_mode(struct question_form *f, struct str w) {
    static const char *const must[] = {"need",     "needed", "must",      "should",
                                       "required", "needs",  "necessary", NULL};
    for (size_t i = 0; must[i]; i++)
        if (str_eqz(w, must[i]))
            f->modes |= MUST;
    if (str_eqz(w, "to") &&
        (f->before == words_hash(STR("have")) || f->before == words_hash(STR("has"))))
        f->modes |= MUST;
    if (f->kind == ASKS_WHO && !f->who && !str_eqz(w, "who") && !str_eqz(w, "whom") &&
        !str_eqz(w, "whose"))
        f->who = str_eqz(w, "do") || str_eqz(w, "does") || str_eqz(w, "did") ? OBJECT : SUBJECT;
    if (str_eqz(w, "i") || str_eqz(w, "we"))
        f->self |= DOES;
    if ((str_eqz(w, "me") || str_eqz(w, "us")) && f->before != words_hash(STR("tell")) &&
        f->before != words_hash(STR("show")))
        f->self |= SUFFERS;
}

static void take_number(struct question_form *f, struct str w) {
    int v = number_word(w);
    char digits[3] = {0};
    size_t n = 0;
    if (v >= 10)
        digits[n++] = '1';
    digits[n++] = (char)('0' + v % 10);
    list_add(&f->numbers, words_hash((struct str){digits, n}));
}

static void take_word(void *ctx, struct str w) {
    struct question_form *f = ctx;
    uint64_t h = words_hash(w);
    bool number = has_digit(w) || number_word(w) > 0;
    if (f->before == words_hash(STR("from")))
        f->from = h;
    if (f->before == words_hash(STR("to")))
        f->to = h;
    bool asked = take_kind(f, w);
    take_mode(f, w);
    list_add(&f->all, h);
    if (has_digit(w))
        list_add(&f->numbers, h);
    else if (number)
        take_number(f, w);
    if (is_negation(w))
        f->denies = true;
    for (size_t i = 0; i < OPPOSITES; i++) {
        if (among(opposites[i].first, w))
            f->first |= 1u << i;
        if (among(opposites[i].second, w))
            f->second |= 1u << i;
    }
    struct weighty *last = f->n_weighty ? &f->weighty[f->n_weighty - 1] : NULL;
    if (str_eqz(w, "s") && last && last->raw == f->before) {
        last->owner = last->owns = true;
        return; /* the next word stands beside the owner */
    }
    bool weighs = !asked && !number && !is_light(w);
    f->cut |= w.n >= WORD_BYTES_MAX - 1 || (weighs && f->n_weighty == LIST_MAX);
    if (weighs && f->n_weighty < LIST_MAX)
        f->weighty[f->n_weighty++] =
            (struct weighty){.stem = stem_of(w), .raw = h, .at = f->n_words, .owner = f->of};
    if (!is_article(w))
        f->of = str_eqz(w, "of") || str_eqz(w, "for");
    f->before = h;
    f->n_words++;
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
    words_each(text, take_word, f);
    take_names(text, &f->names);
    f->denies |= has_nt(text);
    return f;
}

void question_form_free(struct question_form *f) {
    free(f);
}

static const struct weighty *find_stem(const struct question_form *f, uint64_t stem) {
    for (size_t i = 0; i < f->n_weighty; i++)
        if (f->weighty[i].stem == stem)
            return &f->weighty[i];
    return NULL;
}

static bool says_all_of(const struct question_form *a, const struct question_form *b) {
    for (size_t i = 0; i < b->n_weighty; i++)
        if (!find_stem(a, b->weighty[i].stem))
            return false;
    return true;
}

static bool stand_together(const struct weighty *x, const struct weighty *y) {
    return x->at + 1 == y->at || y->at + 1 == x->at;
}

/* Words that stand the other way round say who does what to whom ("miles to kilometres"), but where
 * they stand together in one of the two ("printer driver", "driver for the printer"), one of them
 * has another form ("merge files", "files be merged") or is the owner ("the router's firmware"). */
static bool are_turned(const struct question_form *a, const struct question_form *b) {
    for (size_t i = 0; i < a->n_weighty; i++)
        for (size_t k = i + 1; k < a->n_weighty; k++) {
            const struct weighty *x = &a->weighty[i], *y = &a->weighty[k];
            const struct weighty *u = find_stem(b, x->stem), *v = find_stem(b, y->stem);
            if (!u || !v || u->at <= v->at)
                continue;
            bool bent = (u->raw != x->raw) != (v->raw != y->raw);
            bent |= x->owner && u->owner && x->owns != u->owns;
            bent |= y->owner && v->owner && y->owns != v->owns;
            if (!bent && !stand_together(x, y) && !stand_together(u, v))
                return true;
        }
    return false;
}

static bool ask_alike(const struct question_form *a, const struct question_form *b) {
    if (a->self && b->self && a->self != b->self) /* whom I call; who calls me */
        return false;
    if (a->kind == ASKS_WHO && b->kind == ASKS_WHO && !(a->self & DOES) && a->who != b->who)
        return false;
    if (a->kind == ASKS_WHETHER && b->kind == ASKS_WHETHER)
        return (a->modes & MUST) == (b->modes & MUST);
    return a->kind == b->kind || a->kind == ASKS_ANY || b->kind == ASKS_ANY;
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
    if (!list_same(&a->numbers, &b->numbers)) /* in their order, too: 15 % of 80 */
        return "numbers";
    if (!list_within(&a->names, &b->all) || !list_within(&b->names, &a->all))
        return "names";
    if (a->denies != b->denies)
        return "negation";
    if (are_opposite(a, b))
        return "opposites";
    if (!ask_alike(a, b))
        return "kind";
    if (a->cut || b->cut || !says_all_of(a, b) || !says_all_of(b, a))
        return "words";
    if (are_turned(a, b) || are_turned(b, a))
        return "order";
    return "same";
}

bool approved_is_same(const struct question_form *a, const struct question_form *b, double cosine) {
    return str_eqz(str_from(approved_difference(a, b, cosine)), "same");
}
