/* Titles of conversations: at once from the first words of the question, later perhaps a model's.
 */
#include "turn/turn_internal.h"

static bool is_space(char c) {
    return (unsigned char)c <= ' ';
}

/* The end of the character that starts at i. */
static size_t next_char(struct str s, size_t i) {
    for (i++; i < s.n && ((unsigned char)s.p[i] & 0xC0) == 0x80;)
        i++;
    return i;
}

/* One line, blanks joined, at most TITLE_MAX characters, cut between words where there are any. */
static void shorten(struct str s, char out[TITLE_SIZE]) {
    size_t n = 0, chars = 0, word_end = 0;
    bool blank = false, cut = false;
    s = str_trim(s);
    for (size_t i = 0, next; i < s.n; i = next) {
        next = next_char(s, i);
        if (is_space(s.p[i]) || s.p[i] == 0x7f) {
            blank = true;
            continue;
        }
        cut = chars + blank + 1 > TITLE_MAX - 1 && next < s.n;
        if (cut || chars + blank + 1 > TITLE_MAX) {
            cut = true;
            if (blank)
                word_end = n;
            break;
        }
        if (blank) {
            word_end = n;
            out[n++] = ' ';
            chars++;
            blank = false;
        }
        memcpy(out + n, s.p + i, next - i);
        n += next - i;
        chars++;
    }
    if (cut) {
        n = word_end > n / 2 ? word_end : n; /* a very long word is cut inside */
        memcpy(out + n, "…", 3);
        n += 3;
    }
    out[n] = 0;
}

void title_from_question(struct str question, char out[TITLE_SIZE]) {
    shorten(question, out);
}

bool title_clean(struct str answer, char out[TITLE_SIZE]) {
    static const struct str openings[] = {STR("Title:"), STR("title:"), STR("**"), STR("#"),
                                          STR("\""),     STR("'"),      STR("“"),  STR("`")};
    static const struct str closings[] = {STR("**"), STR("\""), STR("'"), STR("”"),
                                          STR("`"),  STR("."),  STR(":")};
    struct str s = str_trim(answer);
    if (str_starts(s, STR("```"))) /* it wrote a program instead */
        return false;
    struct str line = str_trim(str_cut(&s, '\n'));
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < sizeof openings / sizeof *openings; i++)
            if (str_starts(line, openings[i])) {
                line = str_trim(str_sub(line, openings[i].n, SIZE_MAX));
                again = true;
            }
        for (size_t i = 0; i < sizeof closings / sizeof *closings; i++)
            if (str_ends(line, closings[i])) {
                line = str_trim(str_sub(line, 0, line.n - closings[i].n));
                again = true;
            }
    }
    shorten(line, out);
    /* Small models answer the question or ramble instead: a title is a few words. */
    return line.n >= 3 && line.n <= TITLE_MAX * 2;
}
