/* Taking a question apart; see question.h. The text becomes words (contractions written out),
 * polite words before the question go, the first words say the kind, and each word that is left
 * helps ("do", "can", "was"), stands before others ("to", "the") or weighs. */
#include "learn/question.h"

#include <stdlib.h>

#include "learn/approved.h"

enum role { /* of words that do not weigh by themselves */
            WEIGHS,
            NOTHING, /* says nothing */
            THE,
            A,
            ANY,
            OWNS, /* "'s" */
            BE,
            WAS,
            DO,
            DID,
            HAVE,
            HAD,
            GET,
            BEEN,
            CAN,
            MUST,
            SHOULD,
            WILL,
            WOULD,
            NOT,
            THERE,
            I,
            ME,
            YOU,
            MY,
            YOUR,
            OF,
            FOR,
            IN,
            ON,
            AT,
            TO,
            FROM,
            WITH,
            BY
};

static const struct {
    const char *word;
    enum role role;
} roles[] = {
    {"the", THE},
    {"a", A},
    {"an", A},
    {"any", ANY},
    {"'s", OWNS},
    {"is", BE},
    {"are", BE},
    {"am", BE},
    {"be", BE},
    {"being", BE},
    {"was", WAS},
    {"were", WAS},
    {"been", BEEN},
    {"do", DO},
    {"does", DO},
    {"did", DID},
    {"have", HAVE},
    {"has", HAVE},
    {"had", HAD},
    {"can", CAN},
    {"could", CAN},
    {"may", CAN},
    {"might", CAN},
    {"able", CAN},
    {"allowed", CAN},
    {"possible", CAN},
    {"must", MUST},
    {"permitted", CAN},
    {"need", MUST},
    {"needs", MUST},
    {"needed", MUST},
    {"required", MUST},
    {"require", MUST},
    {"requires", MUST},
    {"should", SHOULD},
    {"necessary", MUST},
    {"supposed", SHOULD},
    {"will", WILL},
    {"shall", WILL},
    {"would", WOULD},
    {"not", NOT},
    {"there", THERE},
    {"i", I},
    {"we", I},
    {"me", ME},
    {"us", ME},
    {"you", YOU},
    {"my", MY},
    {"our", MY},
    {"your", YOUR},
    {"of", OF},
    {"for", FOR},
    {"in", IN},
    {"on", ON},
    {"at", AT},
    {"to", TO},
    {"into", TO},
    {"from", FROM},
    {"with", WITH},
    {"by", BY},
    {"it", NOTHING},
    {"its", NOTHING},
    {"that", NOTHING},
    {"if", NOTHING},
    {"please", NOTHING},
    {"kindly", NOTHING},
    {"exactly", NOTHING},
    {"actually", NOTHING},
    {"get", GET},
    {"got", GET},
    {"also", NOTHING},
    {"thanks", NOTHING},
};

/* What may stand before a question without asking anything. */
static const char *const polite[] = {
    "please", "hi",      "hello", "hey",      "can",    "could",  "would",     "will", "you",
    "tell",   "me",      "us",    "to",       "show",   "let",    "know",      "i",    "we",
    "want",   "explain", "like",  "do",       "does",   "any",    "anyone",    "idea", "so",
    "ok",     "d",       "quick", "question", "parley", "kindly", "wondering", "am",   "was",
};
static const char *const really_polite[] = {"please", "hi",   "hello",    "hey",
                                            "tell",   "show", "know",     "explain",
                                            "so",     "ok",   "question", "wondering"};

static const struct {
    const char *word;
    enum question_kind kind;
} asking[] = {{"who", KIND_WHO},    {"whom", KIND_WHO},    {"whose", KIND_WHOSE},
              {"when", KIND_WHEN},  {"where", KIND_WHERE}, {"why", KIND_WHY},
              {"how", KIND_HOW},    {"what", KIND_WHAT},   {"which", KIND_WHAT},
              {"whats", KIND_WHAT}, {"if", KIND_WHETHER},  {"whether", KIND_WHETHER}};

static const char *const measures[] = {"long", "high",  "much", "many",       "often", "old",
                                       "far",  "large", "big",  "frequently", "fast",  "deep",
                                       "wide", "heavy", "soon", "quickly",    "late",  "early"};

#define AMONG(list, w) among(list, sizeof(list) / sizeof *(list), w)
static bool among(const char *const *list, size_t n, struct str w) {
    for (size_t i = 0; i < n; i++)
        if (str_eqz(w, list[i]))
            return true;
    return false;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* ---- words ---- */

static void push(struct question_form *f, struct str w) {
    bool fits =
        f->n < QUESTION_WORDS_MAX && f->n_text + w.n <= sizeof f->text && w.n < WORD_BYTES_MAX - 1;
    f->cut |= !fits;
    if (!fits)
        return;
    memcpy(f->text + f->n_text, w.p, w.n);
    f->words[f->n++] = (struct question_word){.text = {f->text + f->n_text, w.n}};
    f->n_text += w.n;
}

static struct question_word *last(struct question_form *f) {
    return f->n ? &f->words[f->n - 1] : NULL;
}

/* What stands behind an apostrophe: "t" of "don't" and so on. True: it was that. */
static bool contraction(struct question_form *f, struct str w) {
    static const char *const is[] = {"what", "who",   "where", "when", "how",
                                     "why",  "there", "it",    "that", "which"};
    struct question_word *l = last(f);
    if (!l)
        return false;
    if (str_eqz(w, "t") && l->text.p[l->text.n - 1] == 'n') {
        if (str_eqz(l->text, "won"))
            l->text = STR("will");
        else if (!str_eqz(l->text, "can"))
            l->text.n--;
        push(f, STR("not"));
    } else if (str_eqz(w, "s")) {
        push(f, AMONG(is, l->text) ? STR("is") : STR("'s"));
    } else if (str_eqz(w, "m") || str_eqz(w, "re")) {
        push(f, STR("are"));
    } else if (str_eqz(w, "ve")) {
        push(f, STR("have"));
    } else if (str_eqz(w, "ll")) {
        push(f, STR("will"));
    } else {
        return false;
    }
    return true;
}

static void take_word(void *ctx, struct str w) {
    static const char *const joined[][3] = {
        {"cannot", "can", "not"},  {"cant", "can", "not"},  {"dont", "do", "not"},
        {"doesnt", "does", "not"}, {"didnt", "did", "not"}, {"isnt", "is", "not"},
        {"arent", "are", "not"},   {"wasnt", "was", "not"}, {"shouldnt", "should", "not"},
        {"whats", "what", "is"},   {"wont", "will", "not"},
    };
    struct question_form *f = ctx;
    struct question_list *all = &f->all;
    if (all->n < QUESTION_WORDS_MAX)
        all->hash[all->n++] = words_hash(w);
    for (size_t i = 0; i < sizeof joined / sizeof *joined; i++)
        if (str_eqz(w, joined[i][0])) {
            push(f, str_from(joined[i][1]));
            push(f, str_from(joined[i][2]));
            return;
        }
    if (!contraction(f, w))
        push(f, w);
}

/* ---- the kind ---- */

static int kind_of(struct str w) {
    for (size_t i = 0; i < sizeof asking / sizeof *asking; i++)
        if (str_eqz(w, asking[i].word))
            return (int)asking[i].kind;
    return -1;
}

static void drop(struct question_form *f, size_t from, size_t n) {
    memmove(f->words + from, f->words + from + n, (f->n - from - n) * sizeof *f->words);
    f->n -= n;
}

/* "Can you tell me …", "Hello, …": up to the word that asks. "Please" may stand before any. */
static void drop_polite(struct question_form *f) {
    bool really = false;
    for (size_t i = 0; i < f->n; i++) {
        struct str w = f->words[i].text;
        if (really && i && kind_of(w) >= 0) {
            drop(f, 0, i);
            return;
        }
        if (!AMONG(polite, w))
            break;
        really |= AMONG(really_polite, w);
    }
    static const char *const greetings[] = {"please", "hi", "hello", "hey", "ok", "so"};
    while (f->n && AMONG(greetings, f->words[0].text))
        drop(f, 0, 1);
}

/* "How long", "what time", "in which year": kind and its words go. at: of the word that asks. */
static void take_asking(struct question_form *f, size_t at, int kind) {
    static const char *const times[] = {"time", "date", "day", "year", "month"};
    struct str next = at + 1 < f->n ? f->words[at + 1].text : STR_NULL;
    size_t gone = 1;
    f->kind = (uint64_t)kind;
    if (kind == KIND_HOW && AMONG(measures, next)) {
        f->kind = words_hash(str_eqz(next, "frequently") ? STR("often")
                             : str_eqz(next, "quickly")  ? STR("fast")
                             : str_eqz(next, "big")      ? STR("large")
                                                         : next);
        gone = 2;
    } else if (kind == KIND_WHAT && AMONG(times, next)) {
        f->kind = KIND_WHEN;
        f->when = words_hash(str_eqz(next, "date") ? STR("day") : next);
        gone = 2;
    } else if (kind == KIND_WHO && at + 1 < f->n) {
        f->who_suffers = str_eqz(next, "do") || str_eqz(next, "does") || str_eqz(next, "did");
    }
    drop(f, at, gone);
    if (f->when && at == 1 && f->words[0].text.n == 2) /* "at what time" */
        drop(f, 0, 1);
}

/* The first word asks, or the one behind a preposition, or one in the second sentence. */
static void take_kind(struct question_form *f) {
    static const char *const helping[] = {
        "do",  "does", "did",   "is",   "are", "was",  "were", "can",   "could", "should",
        "may", "will", "would", "must", "has", "have", "am",   "shall", "might", "had"};
    static const char *const before[] = {"in",   "at", "on",   "for",   "to",
                                         "from", "by", "with", "until", "since"};
    if (!f->n)
        return;
    if (AMONG(helping, f->words[0].text)) {
        f->kind = KIND_WHETHER;
        return;
    }
    int kind = kind_of(f->words[0].text);
    if (kind >= 0)
        take_asking(f, 0, kind);
    else if (f->n > 1 && AMONG(before, f->words[0].text) && (kind = kind_of(f->words[1].text)) >= 0)
        take_asking(f, 1, kind);
    else
        for (size_t i = 1; i < f->n; i++)
            if ((kind = kind_of(f->words[i].text)) >= 0 && kind != KIND_WHETHER) {
                take_asking(f, i, kind);
                return;
            }
}

/* ---- what each word does ---- */

struct reading {
    struct question_form *f;
    size_t i;
    enum preposition prep; /* that waits for its word, or that the run before stands behind */
    bool waits;            /* prep waits */
    bool run;              /* the word before this one weighs */
};

static enum role role_at(const struct question_form *f, size_t i) {
    for (size_t k = 0; k < sizeof roles / sizeof *roles; k++)
        if (str_eqz(f->words[i].text, roles[k].word))
            return roles[k].role;
    return WEIGHS;
}

static bool starts(const struct question_form *f, size_t i, const char *z) {
    return i < f->n && str_eqz(f->words[i].text, z);
}

static bool is_number(struct str w) {
    for (size_t i = 0; i < w.n; i++)
        if (is_digit(w.p[i]))
            return true;
    return false;
}

/* "May" is a month behind "in" or beside a number, "can" a thing behind "the". */
static bool is_a_thing(const struct question_form *f, size_t i) {
    static const char *const before[] = {"in",     "of",    "by",     "until", "till", "since",
                                         "early",  "late",  "next",   "last",  "this", "every",
                                         "before", "after", "during", "from",  "to",   "and"};
    static const char *const articles[] = {"the", "a", "an", "my", "your", "our"};
    struct str w = f->words[i].text, previous = i ? f->words[i - 1].text : STR_NULL;
    if (str_eqz(w, "may"))
        return AMONG(before, previous) || is_number(previous) ||
               (i + 1 < f->n && is_number(f->words[i + 1].text));
    return AMONG(articles, previous) &&
           (str_eqz(w, "can") || str_eqz(w, "will") || str_eqz(w, "need"));
}

/* "Do" that is done, not that helps: the last word, or before what is no name of a thing. */
static bool acts(const struct question_form *f, size_t i) {
    static const char *const behind[] = {"if",    "with",  "when", "to",    "about",  "in",
                                         "on",    "for",   "at",   "and",   "before", "after",
                                         "while", "until", "by",   "during"};
    return i > 0 && (i + 1 >= f->n || AMONG(behind, f->words[i + 1].text));
}

static bool have_to(const struct question_form *f, size_t i) {
    return starts(f, i + 1, "to");
}

static void read_have(struct question_form *f, size_t i, enum role r) {
    struct str next = i + 1 < f->n ? f->words[i + 1].text : STR_NULL;
    struct str second = i + 2 < f->n ? f->words[i + 2].text : STR_NULL;
    bool got = false;
    for (size_t k = i; k < f->n; k++)
        got |= starts(f, k, "got");
    if (r == HAD)
        f->time |= TIME_PAST;
    if (have_to(f, i))
        f->force |= FORCE_MUST;
    else if ((i == 0 && !got) || (str_ends(next, STR("ed")) && next.n > 4) ||
             (i == 0 && str_ends(second, STR("ed")) && second.n > 4))
        f->time |= TIME_PERFECT;
    else
        f->has = true;
}

/* A word that helps another. */
static void read_helper(struct question_form *f, size_t i, enum role r) {
    switch (r) {
    case BE:
        f->be = true;
        break;
    case WAS:
        f->be = true;
        f->time |= TIME_PAST;
        break;
    case BEEN:
        f->be = true;
        f->time |= TIME_PERFECT;
        break;
    case DID:
        f->time |= TIME_PAST; /* fall through */
    case DO:
        f->does = true;
        f->acts |= acts(f, i);
        break;
    case HAVE:
    case HAD:
        read_have(f, i, r);
        break;
    case GET:
        f->gets = true;
        break;
    case CAN:
        f->force |= FORCE_CAN;
        break;
    case MUST:
        f->force |= FORCE_MUST;
        break;
    case SHOULD:
        f->force |= FORCE_SHOULD;
        break;
    case WILL:
        f->time |= TIME_FUTURE;
        break;
    case WOULD:
        f->time |= TIME_WOULD;
        break;
    case NOT:
        f->nots++;
        break;
    case THERE:
        f->there = true;
        break;
    default:
        break;
    }
}

static void read_person(struct reading *r, enum role role) {
    struct question_form *f = r->f;
    if (role == I)
        f->subject |= PERSON_I;
    if (role == ME)
        f->object |= PERSON_I;
    if (role == YOU) { /* "with you", "reach you"; else "do you" */
        bool suffers = r->waits || (r->i && role_at(f, r->i - 1) == WEIGHS);
        *(suffers ? &f->object : &f->subject) |= PERSON_YOU;
    }
    if (role == MY)
        f->owner |= PERSON_I;
    if (role == YOUR)
        f->owner |= PERSON_YOU;
}

static void read_weighty(struct reading *r) {
    struct question_form *f = r->f;
    struct question_word *w = &f->words[r->i];
    static const char *const pronouns[] = {"i", "we", "you", "they", "to", "it"};
    static const char *const modals[] = {"can",  "could",  "may",   "might", "must",
                                         "will", "should", "would", "shall"};
    struct str previous = r->i ? f->words[r->i - 1].text : STR_NULL;
    bool asks = f->kind == KIND_WHO || f->kind == KIND_WHAT; /* "who can see", not "can people" */
    bool behind = AMONG(pronouns, previous) || (asks && AMONG(modals, previous));
    if (!r->waits && (!r->run || r->prep == PREP_TO)) /* "to return opened items" */
        r->prep = PREP_NONE;
    w->what |= WORD_WEIGHS | WORD_HEAD | (behind ? WORD_VERB : 0);
    w->prep = r->prep;
    if (r->run && r->i) /* the one before is not the last any more */
        f->words[r->i - 1].what &= ~(unsigned)WORD_HEAD;
    r->run = true;
    r->waits = false;
}

/* Words that weigh only beside some others. "Is there any", but "does any plan". */
static bool is_light(const struct question_form *f, size_t i) {
    static const char *const having[] = {"there", "have", "has", "need", "get", "got"};
    if (role_at(f, i) == ANY)
        return i && AMONG(having, f->words[i - 1].text);
    bool how_long = f->kind == words_hash(STR("long"));
    struct str w = f->words[i].text;
    if (how_long && (str_eqz(w, "take") || str_eqz(w, "takes")))
        return true;
    return f->kind == KIND_WHERE && str_eqz(w, "find");
}

static void read_word(struct reading *r) {
    struct question_form *f = r->f;
    struct question_word *w = &f->words[r->i];
    enum role role = is_a_thing(f, r->i) ? WEIGHS : role_at(f, r->i);
    if (role == OWNS)
        return; /* the run goes on: "the router's firmware" */
    if (is_number(w->text)) {
        w->what |= WORD_NUMBER;
        w->prep = r->waits ? r->prep : PREP_NONE;
        r->run = r->waits = false;
        return;
    }
    if ((role == WEIGHS || role == ANY) && !is_light(f, r->i)) {
        read_weighty(r);
        return;
    }
    if (role >= OF) {
        r->prep = (enum preposition)(PREP_OF + (role - OF));
        r->waits = true;
        r->run = false;
        f->ons += role == ON;
        return;
    }
    read_helper(f, r->i, role);
    read_person(r, role);
    r->run = false;
}

/* "Driver for the printer" gets the places of "printer driver": runs of words that "of" and "for"
 * join are turned around. */
static void place(struct question_form *f) {
    struct run {
        size_t from, to;
        bool joins;
    } runs[QUESTION_WORDS_MAX];
    size_t n = 0;
    bool open = false;
    unsigned next = 0;
    for (size_t i = 0; i < f->n; i++) {
        struct question_word *w = &f->words[i];
        bool owns = str_eqz(w->text, "'s");
        if (!(w->what & WORD_WEIGHS)) {
            open = open && owns;
            continue;
        }
        if (!open)
            runs[n++] = (struct run){i, i, n && (w->prep == PREP_OF || w->prep == PREP_FOR)};
        runs[n - 1].to = i;
        open = true;
    }
    for (size_t i = 0, k; i < n; i = k) {
        for (k = i + 1; k < n && runs[k].joins; k++)
            ;
        for (size_t j = k; j-- > i;)
            for (size_t at = runs[j].from; at <= runs[j].to; at++)
                if (f->words[at].what & WORD_WEIGHS)
                    f->words[at].place = next++;
    }
}

/* ---- signs and names ---- */

static void list_add(struct question_list *l, uint64_t h) {
    if (l->n < QUESTION_WORDS_MAX)
        l->hash[l->n++] = h;
}

/* A minus stands beside a number. */
static bool is_sign(struct str text, size_t i) {
    char c = text.p[i];
    bool beside = (i + 1 < text.n && is_digit(text.p[i + 1])) ||
                  (i && i + 1 < text.n && text.p[i - 1] == ' ' && text.p[i + 1] == ' ');
    return strchr("%$#+*/=<>@^~|\\", c) || (c == '-' && beside);
}

static const char *const number_words[] = {"zero", "one",    "two",   "three", "four",
                                           "five", "six",    "seven", "eight", "nine",
                                           "ten",  "eleven", "twelve"};

/* "One" counts nothing in "this one". */
static void add_number_word(struct question_form *f, size_t i) {
    static const char *const before[] = {"this", "that", "which", "the",    "any",
                                         "no",   "each", "every", "another"};
    for (unsigned v = 1; v < 13; v++) {
        if (!str_eqz(f->words[i].text, number_words[v]) ||
            (v == 1 && i && AMONG(before, f->words[i - 1].text)))
            continue;
        static const char digits[] = "123456789101112";
        f->words[i].text =
            (struct str){digits + (v < 10 ? v - 1 : 9 + 2 * (v - 10)), v < 10 ? 1 : 2};
        return;
    }
}

static bool is_upper(char c) {
    return c >= 'A' && c <= 'Z';
}

static bool is_letter(char c) {
    return is_upper(c) || (c >= 'a' && c <= 'z') || is_digit(c) || (unsigned char)c >= 0x80 ||
           c == '\'';
}

static void add_name(void *ctx, struct str w) {
    list_add(ctx, words_hash(w));
}

/* Words with a capital that no sentence begins with. "I" is none. */
static void take_names(struct str text, struct question_list *ret) {
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

/* With ' for the curly apostrophe. */
static struct str plain(struct str text, char *space) {
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        bool curly = i + 2 < text.n && memcmp(text.p + i, "\xe2\x80\x99", 3) == 0;
        space[n++] = curly ? '\'' : text.p[i];
        i += curly ? 2 : 0;
    }
    return (struct str){space, n};
}

struct question_form *question_form_new(struct str text) {
    struct question_form *f = calloc(1, sizeof *f);
    char *space = malloc(text.n + 1);
    if (!f || !space) {
        free(f);
        free(space);
        return NULL;
    }
    text = plain(text, space);
    words_each(text, take_word, f);
    take_names(text, &f->names);
    for (size_t i = 0; i < text.n; i++)
        if (is_sign(text, i))
            list_add(&f->signs, (uint64_t)(unsigned char)text.p[i]);
    free(space);
    drop_polite(f);
    take_kind(f);
    for (size_t i = 0; i < f->n; i++) {
        add_number_word(f, i);
        if (is_number(f->words[i].text))
            list_add(&f->signs, words_hash(f->words[i].text));
    }
    struct reading r = {.f = f};
    for (; r.i < f->n; r.i++)
        read_word(&r);
    f->left = r.waits ? r.prep : PREP_NONE;
    place(f);
    return f;
}

void question_form_free(struct question_form *f) {
    free(f);
}
