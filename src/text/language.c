/* Stop words decide: in any prose of a language some of its twenty commonest words stand in every
 * line, and few of another's do (Grefenstette 1995, "Comparing two language identification
 * schemes": short words match trigrams from about 15 words on). */
#include "text/language.h"

#include <unicode/uchar.h>
#include <unicode/uscript.h>
#include <unicode/utf8.h>

#define LOOK_AT ((size_t)16 << 10)
#define LONGEST 6 /* bytes of the words below */

/* Lower case, each between blanks. */
static const struct {
    const char *lang, *words;
} latin[] = {
    {"en", " the of and to in is that for it with as was on are be this by from at which "},
    {"de", " der die und das ist nicht ein eine den mit von zu auf für im dem sich des auch wird "},
    {"fr", " le les des et est une du dans que pour qui sur pas au par il ne avec sont ce "},
    {"es", " el los las una que es por con para del se su como más pero lo al este está en "},
    {"it", " il di che è per una con non del della sono gli si dei nel alla più le come da "},
    {"pt", " os um uma que não com para do da em é se por mais dos das ao como no na "},
    {"nl", " het een van de en is dat op te voor met niet zijn aan er ook door bij naar maar "},
    {"sv", " och att det som en på är av för den med till inte har om ett var från kan de "},
    {"da", " og at det er en til på af for den med ikke der har som et var fra kan de "},
    {"no", " og i det er en til på av for at med ikke som har et var fra kan den jeg "},
    {"fi",
     " ja on ei että se oli hän mutta ovat kun myös joka tai niin kuin ole sen voi vain mukaan "},
    {"pl", " i w nie na się że jest do z to jak o po ale za od przez co dla są "},
    {"tr", " ve bir bu da de için ile olarak çok daha olan gibi ne var kadar sonra ama en ya ki "},
};
#define LATIN_N (sizeof latin / sizeof latin[0])

static const struct {
    UScriptCode script;
    const char *lang;
} scripts[] = {
    {USCRIPT_CYRILLIC, "ru"}, {USCRIPT_GREEK, "el"},      {USCRIPT_HEBREW, "he"},
    {USCRIPT_ARABIC, "ar"},   {USCRIPT_DEVANAGARI, "hi"}, {USCRIPT_THAI, "th"},
    {USCRIPT_HANGUL, "ko"},   {USCRIPT_HAN, "zh"},
};
#define SCRIPTS_N (sizeof scripts / sizeof scripts[0])

struct tally {
    size_t letters, latin, kana, ukrainian;
    size_t by_script[SCRIPTS_N];
    size_t by_lang[LATIN_N];
    char word[20]; /* " word": as it is looked up; n is 0 between words */
    size_t n;
};

static void end_word(struct tally *t) {
    if (t->n > 0 && t->n <= LONGEST) {
        char key[sizeof t->word + 2];
        key[0] = ' ';
        memcpy(key + 1, t->word, t->n);
        key[t->n + 1] = ' ';
        key[t->n + 2] = 0;
        for (size_t i = 0; i < LATIN_N; i++)
            t->by_lang[i] += strstr(latin[i].words, key) != NULL;
    }
    t->n = 0;
}

static void add_letter(struct tally *t, UChar32 c) {
    UErrorCode code = U_ZERO_ERROR;
    UScriptCode script = uscript_getScript(c, &code);
    t->letters++;
    t->latin += script == USCRIPT_LATIN;
    t->kana += script == USCRIPT_HIRAGANA || script == USCRIPT_KATAKANA;
    t->ukrainian += c == 0x456 || c == 0x457 || c == 0x454 || c == 0x491;
    for (size_t i = 0; i < SCRIPTS_N; i++)
        t->by_script[i] += script == scripts[i].script;
    uint8_t out[4];
    int32_t len = 0;
    UBool failed = false;
    c = u_tolower(c);
    U8_APPEND(out, len, 4, c, failed);
    if (failed || t->n + (size_t)len >= sizeof t->word - 2)
        t->n = sizeof t->word - 2; /* too long for any of the words */
    else {
        memcpy(t->word + t->n, out, (size_t)len);
        t->n += (size_t)len;
    }
}

static const char *verdict(const struct tally *t) {
    size_t best = 0, best_n = 0, second_n = 0;
    if (t->letters < 12)
        return "";
    if (t->kana * 10 > t->letters)
        return "ja";
    for (size_t i = 0; i < SCRIPTS_N; i++)
        if (t->by_script[i] * 2 > t->letters)
            return scripts[i].script == USCRIPT_CYRILLIC && t->ukrainian * 50 > t->letters
                       ? "uk"
                       : scripts[i].lang;
    if (t->latin * 2 < t->letters)
        return "";
    for (size_t i = 0; i < LATIN_N; i++) {
        if (t->by_lang[i] > best_n) {
            second_n = best_n;
            best = i;
            best_n = t->by_lang[i];
        } else if (t->by_lang[i] > second_n) {
            second_n = t->by_lang[i];
        }
    }
    return best_n >= 2 && best_n > second_n ? latin[best].lang : "";
}

const char *text_language(struct str text) {
    struct tally t = {0};
    size_t n = utf8_cut(text, LOOK_AT), i = 0;
    while (i < n) {
        UChar32 c;
        U8_NEXT((const uint8_t *)text.p, i, n, c);
        if (c >= 0 && u_isalpha(c))
            add_letter(&t, c);
        else
            end_word(&t);
    }
    end_word(&t);
    return verdict(&t);
}
