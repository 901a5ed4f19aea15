/* Comparing two questions that were taken apart; see approved.h. */
#include "learn/approved.h"

#include "learn/question.h"

struct pairing { /* of the words that weigh: partner[i] is the place in b of a's i-th word */
    size_t partner[QUESTION_WORDS_MAX];
    enum ending ending_a[QUESTION_WORDS_MAX], ending_b[QUESTION_WORDS_MAX];
};

static bool list_has(const struct question_list *l, uint64_t h) {
    for (size_t i = 0; i < l->n; i++)
        if (l->hash[i] == h)
            return true;
    return false;
}

static bool list_same(const struct question_list *a, const struct question_list *b) {
    return a->n == b->n && memcmp(a->hash, b->hash, a->n * sizeof *a->hash) == 0;
}

static bool list_within(const struct question_list *a, const struct question_list *b) {
    for (size_t i = 0; i < a->n; i++)
        if (!list_has(b, a->hash[i]))
            return false;
    return true;
}

static bool weighs(const struct question_word *w) {
    return w->what & WORD_WEIGHS;
}

static bool says(const struct question_form *f, const char *const *words) {
    for (size_t i = 0; i < f->n; i++)
        for (size_t k = 0; words[k]; k++)
            if (weighs(&f->words[i]) && lemma_is(f->words[i].text, words[k]))
                return true;
    return false;
}

/* ---- kind, time, person, force ---- */

static uint64_t measure(const char *z) {
    return words_hash(str_from(z));
}

/* "What is the deadline", "when is the deadline": what the thing is says the kind; "what does it
 * cost". But "what does the fee cover" is not "how much does the fee cover". */
static bool what_asks(const struct question_form *what, const struct question_form *other) {
    static const char *const spans[] = {"period", "duration", "length", "time", NULL};
    static const char *const sizes[] = {"limit", "rate",   "price",       "cost",    "fee", "size",
                                        "tax",   "salary", "temperature", "deposit", NULL};
    static const char *const dates[] = {"date", "deadline", NULL};
    static const char *const places[] = {"address", "location", NULL};
    static const char *const costs[] = {"cost", NULL};
    uint64_t kind = other->kind;
    if (!what->be || !other->be)
        return kind == measure("much") && says(what, costs);
    if (kind == measure("long"))
        return says(what, spans);
    if (kind == measure("high") || kind == measure("much") || kind == measure("large"))
        return says(what, sizes);
    if (kind == KIND_WHEN)
        return says(what, dates);
    return kind == KIND_WHERE && says(what, places);
}

static bool kinds_agree(const struct question_form *a, const struct question_form *b) {
    if (a->kind == KIND_WHAT && b->kind != KIND_WHAT)
        return what_asks(a, b);
    if (b->kind == KIND_WHAT && a->kind != KIND_WHAT)
        return what_asks(b, a);
    if (a->kind != b->kind || (a->when && b->when && a->when != b->when))
        return false;
    if (a->kind == KIND_WHO && a->who_suffers != b->who_suffers && !a->subject && !b->subject)
        return false;
    /* "Does it have", "is it": but "is there" is "do you have" */
    if (a->kind == KIND_WHETHER && a->has != b->has && !(a->has ? b->there : a->there))
        return false;
    bool get = a->gets && !a->has, have = a->has && !a->gets; /* "points do I get", "do I have" */
    if ((get && b->has && !b->gets) || (have && b->gets && !b->has))
        return false;
    return a->acts == b->acts;
}

static bool is_span(uint64_t kind) {
    return kind == measure("long") || kind == measure("much");
}

static bool times_agree(const struct question_form *a, const struct question_form *b) {
    unsigned other = a->time ^ b->time;
    if (is_span(a->kind) && is_span(b->kind))
        other &= ~(unsigned)TIME_FUTURE;
    return other == 0;
}

static bool persons_agree(const struct question_form *a, const struct question_form *b) {
    if (a->subject && b->subject && a->subject != b->subject)
        return false;
    if (a->owner && b->owner && a->owner != b->owner)
        return false;
    if (a->object != b->object && (a->object | b->object) & (a->subject | b->subject))
        return false; /* whom I call; who calls me */
    if (a->object && b->object && a->object != b->object)
        return false;
    /* "How do you store it" is not "how is it stored" by anybody */
    return !((a->subject ^ b->subject) & PERSON_YOU) || a->kind != KIND_HOW;
}

static bool forces_agree(const struct question_form *a, const struct question_form *b) {
    unsigned other = a->force ^ b->force;
    if (a->kind == KIND_HOW || a->kind == KIND_WHERE)
        return !(other & ~(unsigned)(FORCE_CAN | FORCE_SHOULD));
    if (a->kind == KIND_WHETHER) /* "can you", "do you" */
        return !other ||
               (other == FORCE_CAN && a->subject == PERSON_YOU && b->subject == PERSON_YOU);
    return !(other & ~(unsigned)FORCE_SHOULD);
}

/* ---- words ---- */

static bool describes(const struct question_word *w) {
    return w->prep >= PREP_OF && w->prep <= PREP_AT;
}

/* Whether one word in another form says the same there. */
static bool form_agrees(const struct question_form *fa, const struct question_word *a,
                        enum ending ea, const struct question_form *fb,
                        const struct question_word *b, enum ending eb) {
    bool mean = str_eqz(a->text, "mean"), meaning = str_eqz(b->text, "mean"); /* "does it mean" */
    if (mean != meaning && !(mean ? fa : fb)->does)
        return false;
    if (ea == eb)
        return true;
    if (ea != ENDING_NONE && eb != ENDING_NONE)
        return false;
    const struct question_form *bent_in = ea ? fa : fb, *base_in = ea ? fb : fa;
    const struct question_word *base = ea ? b : a;
    enum ending e = ea ? ea : eb;
    if (e == ENDING_ED) /* was done; but "can I be sued" is not "can I sue" */
        return bent_in->be && !bent_in->subject;
    if (e == ENDING_ING)
        return base->what & WORD_VERB;
    if (base_in->does && !bent_in->does) /* "when it leaves", "when does it leave" */
        return true;
    /* One or many says nothing of what describes another thing: "guest password", "for guests". */
    bool before = !(a->what & WORD_HEAD), after = !(b->what & WORD_HEAD);
    return (before && !after && describes(b)) || (after && !before && describes(a));
}

static size_t find_partner(const struct question_form *fa, const struct question_word *a,
                           const struct question_form *fb, const bool *taken, enum ending *ea,
                           enum ending *eb) {
    for (size_t i = 0; i < fb->n; i++) {
        const struct question_word *b = &fb->words[i];
        if (weighs(b) && !taken[i] && lemma_same(a->text, b->text, ea, eb) &&
            form_agrees(fa, a, *ea, fb, b, *eb))
            return i;
    }
    return SIZE_MAX;
}

static bool pair_up(const struct question_form *a, const struct question_form *b,
                    struct pairing *p) {
    bool taken[QUESTION_WORDS_MAX] = {false};
    size_t in_a = 0, in_b = 0;
    for (size_t i = 0; i < b->n; i++)
        in_b += weighs(&b->words[i]);
    for (size_t i = 0; i < a->n; i++) {
        if (!weighs(&a->words[i]))
            continue;
        in_a++;
        size_t k = find_partner(a, &a->words[i], b, taken, &p->ending_a[i], &p->ending_b[i]);
        if (k == SIZE_MAX)
            return false;
        taken[k] = true;
        p->partner[i] = k;
    }
    return in_a == in_b && (in_a > 0 || list_same(&a->all, &b->all));
}

/* ---- prepositions and order ---- */

static bool preps_agree(const struct question_word *x, const struct question_word *y) {
    enum preposition a = x->prep, b = y->prep;
    if (a == b)
        return true;
    if (a > b)
        return preps_agree(y, x);
    if (a == PREP_NONE && b == PREP_TO) /* "the Oslo train", "can I see", "is it possible to see" */
        return (x->what & WORD_VERB) || !(x->what & WORD_HEAD);
    if (a == PREP_NONE)
        return b <= PREP_AT; /* "capital of France" */
    return a == PREP_OF && b <= PREP_AT;
}

/* "By" of who does it in a passive: he stands before the verb elsewhere. at: in f. */
static bool does_it(const struct question_form *f, size_t at, const struct question_form *g,
                    size_t his) {
    size_t verb = SIZE_MAX, its = SIZE_MAX;
    for (size_t i = 0; i < at; i++)
        if (weighs(&f->words[i]))
            verb = i;
    if (verb == SIZE_MAX || !f->be || !str_ends(f->words[verb].text, STR("ed")))
        return false;
    enum ending x, y;
    for (size_t i = 0; i < g->n; i++)
        if (weighs(&g->words[i]) && lemma_same(f->words[verb].text, g->words[i].text, &x, &y))
            its = i;
    return its != SIZE_MAX && his + 1 == its;
}

/* What stands at the end: "where does it come from"; "turn it on" is "turn on it". */
static bool ends_agree(const struct question_form *a, const struct question_form *b) {
    bool on = a->left + b->left == PREP_ON && a->ons == b->ons;
    return a->left == b->left || (on && (a->left == PREP_ON || b->left == PREP_ON));
}

static bool words_stand_alike(const struct question_form *a, const struct question_form *b,
                              const struct pairing *p) {
    for (size_t i = 0; i < a->n; i++) {
        if (!weighs(&a->words[i]))
            continue;
        size_t k = p->partner[i];
        enum preposition x = a->words[i].prep, y = b->words[k].prep;
        bool opens = p->ending_a[i] != p->ending_b[i] && /* "to open", "opening", "for opening" */
                     ((x == PREP_TO && (y == PREP_FOR || y == PREP_NONE)) ||
                      (y == PREP_TO && (x == PREP_FOR || x == PREP_NONE)));
        bool agent = (x == PREP_BY && y == PREP_NONE && does_it(a, i, b, k)) ||
                     (y == PREP_BY && x == PREP_NONE && does_it(b, k, a, i));
        if (!preps_agree(&a->words[i], &b->words[k]) && !opens && !agent)
            return false;
    }
    return true;
}

static bool numbers_stand_alike(const struct question_form *a, const struct question_form *b) {
    size_t k = 0; /* they come in the same order */
    for (size_t i = 0; i < a->n; i++) {
        if (!(a->words[i].what & WORD_NUMBER))
            continue;
        while (k < b->n && !(b->words[k].what & WORD_NUMBER))
            k++;
        if (k == b->n || !preps_agree(&a->words[i], &b->words[k]))
            return false;
        k++;
    }
    return true;
}

/* A verb stands behind what it is done to where that is said first: "can files be merged". */
static bool is_passive(const struct pairing *p, size_t i) {
    return (p->ending_a[i] == ENDING_ED) != (p->ending_b[i] == ENDING_ED);
}

/* "Turn off the alarm", "turn the alarm off". */
static bool is_particle(const struct question_word *w) {
    return str_eqz(w->text, "off") || str_eqz(w->text, "up") || str_eqz(w->text, "down") ||
           str_eqz(w->text, "out") || str_eqz(w->text, "back");
}

/* "Which symptoms does measles have", "symptoms of measles" (whose places are "measles symptoms");
 * "does the hotel have a pool", "a pool at the hotel": these are turned. x, y: of the one that does
 * not say "have". */
static bool has_it(const struct question_form *a, const struct question_form *b,
                   const struct question_word *x, const struct question_word *y) {
    const struct question_form *with = a->has ? a : b;
    if (a->has == b->has || !with->does || describes(x) == describes(y))
        return false;
    enum preposition prep = describes(x) ? x->prep : y->prep;
    return (with->kind == KIND_WHETHER) != (prep == PREP_OF || prep == PREP_FOR);
}

/* In one the verb stands behind what it is done to, in the other before it, or a person does it:
 * "who can be sued" is not "who can sue". */
static bool passive_agrees(const struct question_form *a, const struct question_form *b,
                           const struct pairing *p, size_t verb) {
    if (a->subject || b->subject)
        return true;
    for (size_t i = 0; i < a->n; i++)
        if (i != verb && weighs(&a->words[i]) && (i < verb) != (p->partner[i] < p->partner[verb]))
            return true;
    return false;
}

static bool passives_agree(const struct question_form *a, const struct question_form *b,
                           const struct pairing *p) {
    for (size_t i = 0; i < a->n; i++)
        if (weighs(&a->words[i]) && is_passive(p, i) && !passive_agrees(a, b, p, i))
            return false;
    return true;
}

/* The words in the order of their places, or as they are written. */
static bool order_agrees(const struct question_form *a, const struct question_form *b,
                         const struct pairing *p, bool written) {
    for (size_t i = 0; i < a->n; i++)
        for (size_t k = i + 1; k < a->n; k++) {
            const struct question_word *x = &a->words[i], *y = &a->words[k];
            if (!weighs(x) || !weighs(y) || is_passive(p, i) || is_passive(p, k) ||
                is_particle(x) || is_particle(y))
                continue;
            const struct question_word *u = &b->words[p->partner[i]], *v = &b->words[p->partner[k]];
            bool first = written || x->place < y->place;
            bool then = written ? p->partner[i] < p->partner[k] : u->place < v->place;
            bool turned = !written && has_it(a, b, a->has ? u : x, a->has ? v : y);
            if (written && ((x->prep == PREP_NONE) != (u->prep == PREP_NONE) ||
                            (y->prep == PREP_NONE) != (v->prep == PREP_NONE)))
                return false; /* "glass of wine", "glass wine" */
            if ((first == then) == turned)
                return false;
        }
    return true;
}

const char *approved_difference(const struct question_form *a, const struct question_form *b,
                                double cosine) {
    struct pairing p;
    if (cosine < APPROVED_COSINE)
        return "meaning";
    if (!list_same(&a->signs, &b->signs)) /* in their order, too: 15 % of 80 */
        return "numbers";
    if (!list_within(&a->names, &b->all) || !list_within(&b->names, &a->all))
        return "names";
    if (a->nots != b->nots)
        return "negation";
    if (!kinds_agree(a, b))
        return "kind";
    if (!times_agree(a, b))
        return "time";
    if (!persons_agree(a, b))
        return "person";
    if (!forces_agree(a, b))
        return "force";
    if (a->cut || b->cut || !pair_up(a, b, &p))
        return "words";
    if (!ends_agree(a, b) || !words_stand_alike(a, b, &p) || !numbers_stand_alike(a, b))
        return "direction";
    if (!passives_agree(a, b, &p) ||
        (!order_agrees(a, b, &p, false) && !order_agrees(a, b, &p, true)))
        return "order";
    return "same";
}

bool approved_is_same(const struct question_form *a, const struct question_form *b, double cosine) {
    return str_eqz(str_from(approved_difference(a, b, cosine)), "same");
}
