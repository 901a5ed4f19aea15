/* See views.h. */
#include "safety/views.h"

#include <ctype.h>

#define WORDS_LEAST   3
#define REQUEST_WORDS 4     /* the first words of a part, among which one must ask */
#define TEXT_MAX      65536 /* bytes of a message that are searched */

static const char *const asking[] = {
    "how",  "what",      "whats", "what's", "which", "where",    "why",      "who",     "can",
    "give", "tell",      "write", "list",   "teach", "explain",  "describe", "show",    "make",
    "help", "provide",   "name",  "create", "build", "generate", "instruct", "could",   "need",
    "want", "recommend", "ways",  "steps",  "best",  "draft",    "suggest",  "outline",
};

/* The next word; the last one is empty. */
static struct str next_word(struct str *rest) {
    size_t i = 0, from;
    while (i < rest->n && !isalnum((unsigned char)rest->p[i]) && (unsigned char)rest->p[i] < 128)
        i++;
    from = i;
    while (i < rest->n && (isalnum((unsigned char)rest->p[i]) || rest->p[i] == '\'' ||
                           (unsigned char)rest->p[i] >= 128))
        i++;
    struct str word = str_sub(*rest, from, i - from);
    *rest = str_sub(*rest, i, rest->n);
    return word;
}

static bool is_asking(struct str word) {
    for (size_t k = 0; k < sizeof asking / sizeof *asking; k++)
        if ((word.p[0] | 0x20) == asking[k][0] && str_eq_nocase(word, str_from(asking[k])))
            return true;
    return false;
}

/* any: what does not ask counts, too. */
static bool asks(struct str part, bool any) {
    struct str rest = part;
    size_t words = 0;
    bool found = any || (part.n && part.p[part.n - 1] == '?');
    for (struct str w = next_word(&rest); w.n && words < 64; w = next_word(&rest), words++)
        found = found || (words < REQUEST_WORDS && is_asking(w));
    return found && words >= WORDS_LEAST;
}

/* The bytes of the opening quotation mark at p and, in *ret, its closing one; 0 = none. */
static size_t opens(struct str at, struct str *ret) {
    static const struct {
        struct str open, close;
    } marks[] = {
        {{"\"", 1}, {"\"", 1}},
        {{"\xE2\x80\x9C", 3}, {"\xE2\x80\x9D", 3}}, /* “ ” */
        {{"\xC2\xAB", 2}, {"\xC2\xBB", 2}},         /* « » */
        {{"\xE2\x80\x9E", 3}, {"\xE2\x80\x9C", 3}}, /* „ “ */
        {{"`", 1}, {"`", 1}},
    };
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (at.p[0] == marks[i].open.p[0] && str_starts(at, marks[i].open)) {
            *ret = marks[i].close;
            return marks[i].open.n;
        }
    return 0;
}

static struct str longest_quote(struct str text) {
    struct str best = STR_NULL, close;
    bool goes_on = str_ends(text, STR(":")); /* a continuation is asked for */
    for (size_t i = 0; i < text.n;) {
        bool may = text.p[i] == '"' || text.p[i] == '`' || (unsigned char)text.p[i] >= 128;
        size_t n = may ? opens(str_sub(text, i, text.n), &close) : 0;
        if (!n) {
            i++;
            continue;
        }
        struct str rest = str_sub(text, i + n, text.n);
        size_t end = str_find(rest, close);
        struct str part = str_trim(str_sub(rest, 0, end == SIZE_MAX ? rest.n : end));
        if (part.n > best.n && asks(part, goes_on))
            best = part;
        i += n + (end == SIZE_MAX ? rest.n : end + close.n);
    }
    return best;
}

/* The first colon before `to` that a space follows; SIZE_MAX: none. */
static size_t find_colon(struct str text, size_t from, size_t to) {
    for (size_t i = from; i < to && i + 2 < text.n; i++)
        if (text.p[i] == ':' && isspace((unsigned char)text.p[i + 1]))
            return i;
    return SIZE_MAX;
}

/* What follows a colon asks when one of its first words does; each word is read once, with the
 * colons before the last words in mind. Of several colons with no word between them the first one
 * speaks for all. In a question every word asks. */
static struct str after_colon(struct str text, size_t *looked) {
    size_t colons[REQUEST_WORDS] = {SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX};
    bool question = str_ends(text, STR("?"));
    struct str rest = text;
    size_t behind = 0; /* the word before */
    for (size_t word = 0;; word++) {
        struct str w = next_word(&rest);
        size_t end = text.n - rest.n;
        colons[word % REQUEST_WORDS] = find_colon(text, behind, end - w.n);
        *looked += end - behind;
        behind = end;
        if (!w.n)
            return STR_NULL;
        for (size_t k = word + 1; (question || is_asking(w)) && k <= word + REQUEST_WORDS; k++) {
            size_t colon = colons[k % REQUEST_WORDS];
            if (colon == SIZE_MAX)
                continue;
            struct str part = str_trim(str_sub(text, colon + 1, text.n));
            *looked += part.n;
            if (asks(part, false))
                return part;
        }
    }
}

struct str safety_view_core_counted(struct str text, size_t *looked) {
    text = str_trim(str_sub(text, 0, TEXT_MAX));
    struct str part = longest_quote(text);
    *looked = 0;
    if (!part.n)
        part = after_colon(text, looked);
    return part.n + 8 < text.n ? part : STR_NULL;
}

struct str safety_view_core(struct str text) {
    size_t looked;
    return safety_view_core_counted(text, &looked);
}

struct str safety_view_earlier(struct str context) {
    size_t from = context.n, turns = 0;
    while (from > 0 && context.n - from < SAFETY_TALK_BYTES) {
        from--;
        if (context.p[from] == '\n' && ++turns == SAFETY_TALK_TURNS) {
            from++;
            break;
        }
    }
    while (from > 0 && from < context.n && !isspace((unsigned char)context.p[from - 1]))
        from++;
    return str_trim(str_sub(context, from, context.n));
}
