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

/* any: what does not ask counts, too. */
static bool asks(struct str part, bool any) {
    struct str rest = part;
    size_t words = 0;
    bool found = any || (part.n && part.p[part.n - 1] == '?');
    for (struct str w = next_word(&rest); w.n && words < 64; w = next_word(&rest), words++)
        for (size_t k = 0; words < REQUEST_WORDS && k < sizeof asking / sizeof *asking; k++)
            found |= (w.p[0] | 0x20) == asking[k][0] && str_eq_nocase(w, str_from(asking[k]));
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

static struct str after_colon(struct str text) {
    for (size_t i = 0; i + 2 < text.n; i++) {
        if (text.p[i] != ':' || !isspace((unsigned char)text.p[i + 1]))
            continue;
        struct str part = str_trim(str_sub(text, i + 1, text.n));
        if (asks(part, false))
            return part;
    }
    return STR_NULL;
}

struct str safety_view_core(struct str text) {
    text = str_trim(str_sub(text, 0, TEXT_MAX));
    struct str part = longest_quote(text);
    if (!part.n)
        part = after_colon(text);
    return part.n + 8 < text.n ? part : STR_NULL;
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
