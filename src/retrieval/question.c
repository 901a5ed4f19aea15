#include "retrieval/question.h"

#include "base/buf.h"

#define SMALLTALK_WORDS 8
#define BEFORE_MAX      400 /* bytes of an earlier message */

/* Each word between blanks. A text of these alone is about nothing. */
static const char polite[] =
    " a all alright am and any appreciate are awesome bravo bye cheers clear cool do doing done "
    "dear evening everything excellent fantastic fine for friend good goodbye gotcha got great ha "
    "haha happy hello help helped helpful helping hey hi hmm how i is it its job just know later "
    "lol lot makes many me mind morning much my need never nice night no noted now of oh ok okay "
    "perfect please problem quick quite really right say see seems sense so sorry sounds sure "
    "super tests testing test thank thanks that thats the there think this thx to today ty "
    "understand understood up very wait welcome well what whats wonderful wow yeah yep yes you "
    "your youre danke bitte hallo tschüss gut super toll ja nein merci bonjour salut oui non "
    "gracias hola adiós sí grazie ciao obrigado olá ";

/* One of these must be there, so that "how is it done?" is a question. */
static const char signals[] =
    " alright appreciate awesome bravo bye cheers cool excellent fantastic goodbye gotcha great ha "
    "haha hello helpful hey hi hmm lol nice no noted oh ok okay perfect sorry sure super test "
    "testing thank thanks thx ty understood welcome wonderful wow yeah yep yes danke bitte hallo "
    "tschüss toll ja nein merci bonjour salut oui non gracias hola adiós sí grazie ciao obrigado "
    "olá good ";

static const char openings[] = " and or but so also then what about how else ";
static const char pointers[] =
    " it its they them their this that these those there he she him her his one ones same such "
    "former latter both either ";
static const char little[] =
    " a about an and any are as at be been but by can could did do does else for from get had has "
    "have how i if in into is just like many me more much my no not of on or other please really "
    "so "
    "some tell than the then there to too up was we were what when where which who whose why will "
    "with would you your ";

static bool is_word_byte(char c) {
    unsigned char u = (unsigned char)c;
    return (u >= 'a' && u <= 'z') || (u >= '0' && u <= '9') || (u >= 'A' && u <= 'Z') || u >= 0x80;
}

/* The next word, lower case between blanks, in key; false at the end. */
static bool next_word(struct str *rest, char key[32]) {
    size_t i = 0, n = 0;
    while (i < rest->n && !is_word_byte(rest->p[i]))
        i++;
    key[n++] = ' ';
    for (; i < rest->n && (is_word_byte(rest->p[i]) || rest->p[i] == '\''); i++) {
        char c = rest->p[i];
        if (c != '\'' && n < 29)
            key[n++] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    key[n] = ' ';
    key[n + 1] = 0;
    *rest = str_sub(*rest, i, rest->n);
    return n > 1;
}

bool question_is_smalltalk(struct str text) {
    char key[32];
    int words = 0;
    bool signal = false, asks = memchr(text.p ? text.p : "", '?', text.n) != NULL;
    while (next_word(&text, key)) {
        if (++words > SMALLTALK_WORDS || !strstr(polite, key))
            return false;
        signal = signal || strstr(signals, key) != NULL;
    }
    return words == 0 || (signal && (!asks || words <= 5));
}

struct words {
    int all, own, pointing;
    bool opens;
};

static struct words count_words(struct str text) {
    struct words w = {.all = 0};
    char key[32];
    while (next_word(&text, key)) {
        bool points = strstr(pointers, key) != NULL;
        if (w.all == 0)
            w.opens = strstr(openings, key) != NULL;
        w.all++;
        w.pointing += points;
        w.own += !points && !strstr(little, key);
    }
    return w;
}

bool question_is_follow_up(struct str text) {
    struct words w = count_words(text);
    if (w.all == 0)
        return false;
    return w.own == 0 || (w.own == 1 && w.all <= 3) || (w.opens && w.own <= 4 && w.all <= 8) ||
           (w.pointing && w.own <= 3);
}

enum err question_resolve(struct str text, const struct str *history, size_t n, struct arena *a,
                          struct str *ret, struct str *ret_before) {
    struct str before = STR_NULL;
    if (question_is_follow_up(text))
        for (size_t i = n; i-- > 0 && !before.n;)
            if (count_words(history[i]).own >= 2)
                before = history[i];
    before.n = utf8_cut(before, before.n < BEFORE_MAX ? before.n : BEFORE_MAX);
    char *joined = before.n ? arena_printf(a, "%.*s %.*s", STR_ARG(before), STR_ARG(text)) : NULL;
    if (before.n && !joined)
        return ERR_NOMEM;
    *ret = joined ? str_from(joined) : text;
    *ret_before = before;
    return ERR_OK;
}

/* ---- about documents that were given ---- */

/* What a document is called, where it is meant: "the file", not "a file reader". */
static const char nouns[] =
    " attachment attachments contract doc docs document documents essay file files invoice letter "
    "manuscript paper papers pdf pdfs presentation report slides spreadsheet text texts upload "
    "uploads anhang brief datei dateien dokument dokumente unterlagen vertrag fichier fichiers "
    "archivo archivos documento documentos allegato testo texte texto ";
static const char definite[] =
    " the this that these those my our attached uploaded der die das dem den des diese dieser "
    "dieses diesem diesen mein meine le la les ce cet cette ces mon ma mes el los las este esta "
    "estos il lo gli questo questa o os as esse essa ";
static const char given[] = " attached attachment attachments uploaded anhang angehängt joint "
                            "adjunto allegato anexo ";
/* What is done with a text as a whole. */
static const char wholly[] =
    " abstract gist outline overview proofread recap review summaries summarise summarised "
    "summarising summarize summarized summarizing summary synopsis tldr translate translation "
    "fasse übersetze übersetzen zusammen zusammenfassen zusammenfassung résume résumer résumé "
    "traduire traduis resume resumen resumir resumo traduce traducir riassumere riassumi riassunto "
    "traduci traduz ";
/* Beside those, words that ask for nothing in particular. */
static const char general[] =
    " bit brief briefly bullet content contents describe detail english explain few five french "
    "german give idea ideas into key list long main mean means overall paragraph paragraphs point "
    "points quickly read say says sentence sentences short shortly show spanish take takeaway "
    "takeaways ten theme themes three title topic topics two word words auf de deutsch dice dit "
    "est fala geht kurz mir parle que quoi qué sagt sobre steht trata um was worum cosa ";

struct naming {
    bool names, wholly, general; /* general: not a word that only some passages would have */
};

static struct naming name_words(struct str text) {
    static const char *const all[] = {nouns,    wholly, general, pointers, little,
                                      definite, given,  polite,  openings};
    struct naming ret = {.general = true};
    char key[32];
    bool after = false; /* a word that says that one is meant */
    while (next_word(&text, key)) {
        bool known = false;
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            known = known || strstr(all[i], key);
        ret.general = ret.general && known;
        ret.names = ret.names || (after && strstr(nouns, key)) || strstr(given, key);
        ret.wholly = ret.wholly || strstr(wholly, key);
        after = strstr(definite, key) || (after && strstr(nouns, key));
    }
    return ret;
}

/* One question by itself. *ret_leans: it says what about only together with the ones before. */
static enum question_about about_one(const struct question_said *said, bool *ret_leans) {
    struct naming x = name_words(said->text);
    bool follows = question_is_follow_up(said->text);
    *ret_leans = false;
    if (said->gave || x.names)
        return x.general ? ABOUT_WHOLE : x.names || follows ? ABOUT_THEM : ABOUT_GIVEN;
    *ret_leans = follows || (x.general && x.wholly) || question_is_smalltalk(said->text);
    return !*ret_leans ? ABOUT_ANYTHING : x.general && x.wholly ? ABOUT_WHOLE : ABOUT_THEM;
}

enum question_about question_about(const struct question_said *said, size_t n) {
    bool leans;
    enum question_about mine = about_one(&said[n - 1], &leans);
    if (!leans)
        return mine;
    for (size_t i = n - 1; i-- > 0;) {
        enum question_about before = about_one(&said[i], &leans);
        if (!leans)
            return before == ABOUT_ANYTHING ? ABOUT_ANYTHING : mine;
    }
    return ABOUT_ANYTHING;
}
