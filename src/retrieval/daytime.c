#include "retrieval/daytime.h"

#define HALF_DAY 720
#define DAY      1440

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static char at(struct str s, size_t i) {
    return i < s.n ? s.p[i] : 0;
}

/* Whether the byte is one of a letter or digit. Beyond ASCII all are taken for letters but General
 * Punctuation, U+2000 to U+203F: dashes and quotes. */
static bool is_word(struct str s, size_t i) {
    char c = at(s, i);
    if ((unsigned char)c < 0x80)
        return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    for (int back = 0; back < 3 && i > 0 && ((unsigned char)s.p[i] & 0xc0) == 0x80; back++)
        i--;
    return s.p[i] != '\xe2' || at(s, i + 1) != '\x80';
}

/* ---- what stands behind a number ---- */

enum half { HALF_NONE /* no word is there */, HALF_ANY, HALF_FIRST, HALF_SECOND };

static const struct {
    const char *text; /* lower case */
    enum half half;
} words[] = {{"a.m.", HALF_FIRST},
             {"p.m.", HALF_SECOND},
             {"a.m", HALF_FIRST},
             {"p.m", HALF_SECOND},
             {"am", HALF_FIRST},
             {"pm", HALF_SECOND},
             {"o'clock", HALF_ANY},
             {"o\xe2\x80\x99"
              "clock",
              HALF_ANY},
             {"uhr", HALF_ANY}};

/* Which half of the day the word behind byte *i tells; *i goes behind it. */
static enum half read_half(struct str s, size_t *i) {
    size_t from = *i + (at(s, *i) == ' ');
    for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
        size_t n = strlen(words[k].text);
        if (!str_eq_nocase(str_sub(s, from, n), str_from(words[k].text)) || is_word(s, from + n))
            continue;
        *i = from + n;
        return words[k].half;
    }
    return HALF_NONE;
}

/* One or two digits and no more; -1: there are none, or others. */
static int read_number(struct str s, size_t *i) {
    size_t n = 0;
    int value = 0;
    while (n < 3 && is_digit(at(s, *i + n)))
        value = value * 10 + (s.p[*i + n++] - '0');
    if (n == 0 || n == 3)
        return -1;
    *i += n;
    return value;
}

/* Minutes behind an hour: two digits that nothing goes on. -1: there are none. */
static int read_minutes(struct str s, size_t i) {
    size_t to = i;
    int minutes = read_number(s, &to);
    bool goes_on =
        is_digit(at(s, to)) || ((at(s, to) == '.' || at(s, to) == ',') && is_digit(at(s, to + 1)));
    return to == i + 2 && !goes_on && minutes < 60 ? minutes : -1;
}

/* ---- one time ---- */

static void set_minutes(struct daytime *t, int hour, int minutes, enum half half, bool padded) {
    t->whole = minutes == 0;
    t->half = hour >= 1 && hour <= 12 && half <= HALF_ANY && !padded;
    if (half == HALF_FIRST || half == HALF_SECOND)
        hour = hour % 12 + (half == HALF_SECOND ? 12 : 0);
    t->minutes = (hour * 60 + minutes) % DAY;
}

/* A time that begins with the digit at t->from. */
static bool read_time(struct str s, struct daytime *t) {
    size_t i = t->from;
    bool padded = s.p[i] == '0';
    int hour = read_number(s, &i), minutes = -1;
    char sep = at(s, i);
    if (hour < 0 || hour > 24)
        return false;
    if (sep == ':' || sep == '.' || sep == 'h' || sep == 'H')
        minutes = read_minutes(s, i + 1);
    if (minutes >= 0)
        i += 3;
    enum half half = read_half(s, &i);
    if (half == HALF_NONE && (minutes < 0 || sep == '.'))
        return false;
    if ((half == HALF_FIRST || half == HALF_SECOND) && (hour < 1 || hour > 12))
        return false;
    set_minutes(t, hour, minutes < 0 ? 0 : minutes, half, padded);
    t->to = i;
    return true;
}

/* The first of "7 to 9 pm", "7-9 pm": the number at t->from, when a time follows. */
static bool read_first_of_two(struct str s, struct daytime *t) {
    static const char *const between[] = {"-",    "\xe2\x80\x93", " - ",     " \xe2\x80\x93 ",
                                          " to ", " and ",        " until ", " bis "};
    size_t i = t->from;
    int hour = read_number(s, &i);
    for (size_t k = 0; hour >= 0 && hour <= 24 && k < sizeof between / sizeof *between; k++) {
        struct str word = str_from(between[k]);
        struct daytime next = {.from = i + word.n};
        if (!str_eq(str_sub(s, i, word.n), word) || !is_digit(at(s, next.from)) ||
            !read_time(s, &next))
            continue;
        set_minutes(t, hour, 0, HALF_ANY, false);
        t->to = i;
        return true;
    }
    return false;
}

static bool read_word(struct str s, struct daytime *t) {
    static const struct {
        const char *text;
        int minutes;
    } named[] = {{"noon", HALF_DAY}, {"midday", HALF_DAY}, {"midnight", 0}};
    for (size_t k = 0; k < sizeof named / sizeof *named; k++) {
        size_t n = strlen(named[k].text);
        if (!str_eq_nocase(str_sub(s, t->from, n), str_from(named[k].text)) ||
            is_word(s, t->from + n))
            continue;
        *t = (struct daytime){
            .from = t->from, .to = t->from + n, .minutes = named[k].minutes, .whole = true};
        return true;
    }
    return false;
}

size_t daytimes_find(struct str text, struct daytime ret[DAYTIMES_MAX]) {
    size_t n = 0, i = 0;
    while (i < text.n && n < DAYTIMES_MAX) {
        struct daytime t = {.from = i};
        bool found = is_digit(text.p[i]) ? read_time(text, &t) || read_first_of_two(text, &t)
                                         : is_word(text, i) && read_word(text, &t);
        if (found) {
            ret[n++] = t;
            i = t.to;
        }
        /* to the beginning of the next word or number */
        bool number = !found && is_digit(text.p[i]);
        while (i < text.n &&
               (is_word(text, i) ||
                (number && (text.p[i] == '.' || text.p[i] == ',' || text.p[i] == ':') &&
                 is_digit(at(text, i + 1)))))
            i++;
        while (i < text.n && !is_word(text, i))
            i++;
    }
    return n;
}

bool daytime_same(const struct daytime *a, const struct daytime *b) {
    return a->minutes == b->minutes ||
           ((a->half || b->half) && a->minutes % HALF_DAY == b->minutes % HALF_DAY);
}

const struct daytime *daytime_at(const struct daytime *list, size_t n, size_t from, size_t to) {
    for (size_t i = 0; i < n; i++)
        if (list[i].from < to && from < list[i].to)
            return &list[i];
    return NULL;
}
