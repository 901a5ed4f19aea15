#include "engine/json_pattern.h"

#include <string.h>

#define NESTING_MAX 32
#define REPEAT_MAX  100000

struct pattern {
    struct grammar *g;
    struct str s;
    size_t at;
    int any_char;
    int depth;
    struct errinfo *ei;
};

/* What may match one character: ASCII by bit, all others together. */
struct class {
    bool ascii[128];
    bool other;
};

static enum err refuse(struct pattern *p, const char *what) {
    return err_set(p->ei, ERR_INVALID, "the pattern at character %zu: %s", p->at + 1, what);
}

static bool more(const struct pattern *p) {
    return p->at < p->s.n;
}

static char peek(const struct pattern *p) {
    return more(p) ? p->s.p[p->at] : 0;
}

/* One ASCII character as JSON has it within a string. */
static void emit_ascii(struct grammar *g, unsigned char c) {
    static const char short_names[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (size_t i = 0; short_names[i]; i += 2)
        if ((unsigned char)short_names[i] == c) {
            grammar_emit(g, GRAMMAR_BYTE, '\\', 0);
            grammar_emit(g, GRAMMAR_BYTE, (unsigned char)short_names[i + 1], 0);
            return;
        }
    char text[8] = {(char)c};
    size_t n = 1;
    if (c < 32) {
        memcpy(text, "\\u00", 4);
        text[4] = (char)('0' + c / 16);
        text[5] = "0123456789abcdef"[c % 16];
        n = 6;
    }
    grammar_text(g, (struct str){text, n});
}

/* Any character beyond ASCII, as UTF-8. */
static void emit_other(struct grammar *g) {
    static const unsigned char forms[][8] = {
        {0xC2, 0xDF, 0x80, 0xBF},
        {0xE0, 0xE0, 0xA0, 0xBF, 0x80, 0xBF},
        {0xE1, 0xEC, 0x80, 0xBF, 0x80, 0xBF},
        {0xED, 0xED, 0x80, 0x9F, 0x80, 0xBF},
        {0xEE, 0xEF, 0x80, 0xBF, 0x80, 0xBF},
        {0xF0, 0xF0, 0x90, 0xBF, 0x80, 0xBF, 0x80, 0xBF},
        {0xF1, 0xF3, 0x80, 0xBF, 0x80, 0xBF, 0x80, 0xBF},
        {0xF4, 0xF4, 0x80, 0x8F, 0x80, 0xBF, 0x80, 0xBF},
    };
    struct grammar_alternatives alt = GRAMMAR_ALTERNATIVES_INIT;
    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        grammar_or(g, &alt);
        for (size_t j = 0; j < 8 && forms[i][j]; j += 2)
            grammar_range(g, forms[i][j], forms[i][j + 1]);
    }
    grammar_or_end(g, &alt);
}

static enum err emit_class(struct pattern *p, const struct class *c) {
    struct grammar_alternatives alt = GRAMMAR_ALTERNATIVES_INIT;
    bool plain[256] = {0}, any_plain = false, any = c->other;
    for (int i = 32; i < 128; i++)
        if (c->ascii[i] && i != '"' && i != '\\')
            plain[i] = any_plain = true;
    if (any_plain) {
        grammar_or(p->g, &alt);
        grammar_set(p->g, plain);
    }
    for (int i = 0; i < 128; i++)
        if (c->ascii[i] && !plain[i]) {
            grammar_or(p->g, &alt);
            emit_ascii(p->g, (unsigned char)i);
            any = true;
        }
    if (c->other) {
        grammar_or(p->g, &alt);
        emit_other(p->g);
    }
    grammar_or_end(p->g, &alt);
    return any || any_plain ? ERR_OK : refuse(p, "a class that nothing matches");
}

static void add_range(struct class *c, int from, int to) {
    for (int i = from; i <= to; i++)
        c->ascii[i] = true;
}

/* \d, \w, \s and their opposites; false when it is another letter. */
static bool add_named(struct class *c, char name) {
    struct class add = {0};
    switch (name | 32) {
    case 'd':
        add_range(&add, '0', '9');
        break;
    case 'w':
        add_range(&add, '0', '9');
        add_range(&add, 'A', 'Z');
        add_range(&add, 'a', 'z');
        add_range(&add, '_', '_');
        break;
    case 's':
        add_range(&add, '\t', '\r');
        add_range(&add, ' ', ' ');
        break;
    default:
        return false;
    }
    bool opposite = name < 'a';
    for (int i = 0; i < 128; i++)
        c->ascii[i] |= add.ascii[i] != opposite;
    c->other |= opposite;
    return true;
}

/* The character behind a backslash that stands for one character; -1 = none such. */
static int escaped(char c) {
    static const char names[] = "nrtfv", values[] = "\n\r\t\f\v";
    const char *name = c ? strchr(names, c) : NULL;
    if (name)
        return values[name - names];
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    return letter || (unsigned char)c >= 128 || c == 0 ? -1 : c;
}

/* One end of a range; -1 after an error. Named classes are added at once and give -2. */
static int class_item(struct pattern *p, struct class *c) {
    char ch = peek(p);
    p->at++;
    if (ch != '\\') {
        if ((unsigned char)ch < 128)
            return ch;
        refuse(p, "classes hold ASCII characters only");
        return -1;
    }
    ch = peek(p);
    p->at++;
    if (add_named(c, ch))
        return -2;
    int value = escaped(ch);
    if (value < 0)
        refuse(p, "this escape is not supported");
    return value;
}

static enum err read_class(struct pattern *p) {
    struct class c = {0};
    p->at++;
    bool negated = peek(p) == '^';
    p->at += negated;
    while (more(p) && peek(p) != ']') {
        int from = class_item(p, &c), to = from;
        if (from == -1)
            return ERR_INVALID;
        if (from >= 0 && peek(p) == '-' && p->at + 1 < p->s.n && p->s.p[p->at + 1] != ']') {
            p->at++;
            to = class_item(p, &c);
            if (to == -1)
                return ERR_INVALID;
            if (to < from)
                return refuse(p, "a range whose end is before its beginning");
        }
        if (from >= 0)
            add_range(&c, from, to);
    }
    if (!more(p))
        return refuse(p, "the class is not closed");
    p->at++;
    for (int i = 0; i < 128 && negated; i++)
        c.ascii[i] = !c.ascii[i];
    c.other ^= negated;
    return emit_class(p, &c);
}

static enum err read_ways(struct pattern *p, bool *ret_empty);

static enum err read_group(struct pattern *p, bool *ret_empty) {
    p->at++;
    if (peek(p) == '?') {
        if (p->at + 1 >= p->s.n || p->s.p[p->at + 1] != ':')
            return refuse(p, "of the groups with ? only (?:…) is supported");
        p->at += 2;
    }
    if (++p->depth > NESTING_MAX)
        return refuse(p, "too many groups within each other");
    enum err e = read_ways(p, ret_empty);
    if (e)
        return e;
    p->depth--;
    if (peek(p) != ')')
        return refuse(p, "the group is not closed");
    p->at++;
    return ERR_OK;
}

static enum err read_atom(struct pattern *p, bool *ret_empty) {
    struct class c = {0};
    char ch = peek(p);
    *ret_empty = false;
    if (ch == '(')
        return read_group(p, ret_empty);
    if (ch == '[')
        return read_class(p);
    if (strchr("*+?{}^$", ch))
        return refuse(p, "this character must be escaped here");
    p->at++;
    if (ch == '.') {
        grammar_emit(p->g, GRAMMAR_CALL, (uint32_t)p->any_char, 0);
    } else if (ch == '\\') {
        ch = peek(p);
        p->at++;
        int value;
        if (add_named(&c, ch))
            return emit_class(p, &c);
        if ((value = escaped(ch)) < 0)
            return refuse(p, "this escape is not supported");
        emit_ascii(p->g, (unsigned char)value);
    } else if ((unsigned char)ch < 128) {
        emit_ascii(p->g, (unsigned char)ch);
    } else { /* a character of several bytes is one atom */
        size_t from = p->at - 1;
        while (more(p) && ((unsigned char)peek(p) & 0xC0) == 0x80)
            p->at++;
        grammar_text(p->g, str_sub(p->s, from, p->at - from));
    }
    return ERR_OK;
}

static bool read_number(struct pattern *p, uint32_t *ret) {
    uint32_t n = 0;
    size_t from = p->at;
    for (; peek(p) >= '0' && peek(p) <= '9' && n <= REPEAT_MAX; p->at++)
        n = n * 10 + (uint32_t)(peek(p) - '0');
    *ret = n;
    return p->at > from && n <= REPEAT_MAX;
}

/* The quantifier that stands here, or exactly once. */
static enum err read_quantifier(struct pattern *p, uint32_t *ret_min, uint32_t *ret_max) {
    char c = peek(p);
    *ret_min = c == '*' || c == '?' ? 0 : 1;
    *ret_max = c == '*' || c == '+' ? GRAMMAR_MANY : 1;
    if (c == '*' || c == '+' || c == '?') {
        p->at++;
    } else if (c == '{') {
        p->at++;
        if (!read_number(p, ret_min))
            return refuse(p, "a count is expected in {…}");
        *ret_max = *ret_min;
        if (peek(p) == ',') {
            p->at++;
            *ret_max = GRAMMAR_MANY;
            if (peek(p) != '}' && !read_number(p, ret_max))
                return refuse(p, "a count is expected in {…}");
        }
        if (peek(p) != '}' || *ret_max < *ret_min)
            return refuse(p, "{…} must hold one count or a smaller and a larger one");
        p->at++;
    }
    if (c && strchr("*+?{", c) && peek(p) == '?')
        p->at++; /* lazy or not is the same for what may stand there */
    return ERR_OK;
}

/* Passes over an atom without reading it closely. */
static void skip_atom(struct pattern *p) {
    int depth = 0;
    bool in_class = false;
    do {
        char c = peek(p);
        p->at += c == '\\' ? 2 : 1;
        if (in_class)
            in_class = c != ']';
        else if (c == '[')
            in_class = true;
        else
            depth += c == '(' ? 1 : c == ')' ? -1 : 0;
        while (more(p) && ((unsigned char)peek(p) & 0xC0) == 0x80)
            p->at++;
    } while (more(p) && (depth > 0 || in_class));
}

/* An atom's counter stands before its code, and its quantifier behind it. */
static enum err read_piece(struct pattern *p, bool *ret_empty) {
    size_t from = p->at, end;
    uint32_t min, max;
    bool empty;
    skip_atom(p);
    enum err e = read_quantifier(p, &min, &max);
    if (e)
        return e;
    end = p->at;
    p->at = from;
    int begin = max != 1 || min != 1 ? grammar_repeat_begin(p->g, min, max) : -1;
    e = read_atom(p, &empty);
    if (e)
        return e;
    if (begin >= 0) {
        if (empty)
            return refuse(p, "what is repeated must not be empty");
        grammar_repeat_end(p->g, begin);
        p->at = end;
    }
    *ret_empty = empty || min == 0;
    return ERR_OK;
}

static enum err read_ways(struct pattern *p, bool *ret_empty) {
    struct grammar_alternatives alt = GRAMMAR_ALTERNATIVES_INIT;
    *ret_empty = false;
    for (;;) {
        bool way_empty = true;
        grammar_or(p->g, &alt);
        while (more(p) && peek(p) != '|' && peek(p) != ')') {
            bool empty = false;
            if (p->depth == 0 && peek(p) == '$' && p->at + 1 == p->s.n)
                break;
            enum err e = read_piece(p, &empty);
            if (e)
                return e;
            way_empty &= empty;
        }
        *ret_empty |= way_empty;
        if (peek(p) != '|')
            break;
        p->at++;
    }
    grammar_or_end(p->g, &alt);
    return ERR_OK;
}

static void emit_anything(struct pattern *p) {
    int begin = grammar_repeat_begin(p->g, 0, GRAMMAR_MANY);
    grammar_emit(p->g, GRAMMAR_CALL, (uint32_t)p->any_char, 0);
    grammar_repeat_end(p->g, begin);
}

/* "a|b$" binds as a|(b$): an anchor beside a bar at the top would hold for one way only. */
static bool has_top_bar(struct str s) {
    int depth = 0;
    bool in_class = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\')
            i++;
        else if (in_class)
            in_class = s.p[i] != ']';
        else if (s.p[i] == '[')
            in_class = true;
        else if (s.p[i] == '|' && depth == 0)
            return true;
        else
            depth += s.p[i] == '(' ? 1 : s.p[i] == ')' ? -1 : 0;
    }
    return false;
}

enum err json_pattern_emit(struct grammar *g, struct str pattern, int any_char,
                           struct errinfo *ei) {
    struct pattern p = {.g = g, .s = pattern, .any_char = any_char, .ei = ei};
    bool empty, begins = str_starts(pattern, STR("^"));
    size_t escapes = 0; /* backslashes before the last character */
    while (escapes + 1 < pattern.n && pattern.p[pattern.n - 2 - escapes] == '\\')
        escapes++;
    bool ends = pattern.n > begins && str_ends(pattern, STR("$")) && escapes % 2 == 0;
    if (memchr(pattern.p ? pattern.p : "", 0, pattern.n))
        return refuse(&p, "a NUL character");
    if ((begins || ends) && has_top_bar(pattern))
        return refuse(&p, "write ^(…|…)$ with parentheses around the alternatives");
    p.at = begins;
    if (!begins)
        emit_anything(&p);
    enum err e = read_ways(&p, &empty);
    if (!e && p.at != pattern.n - ends)
        e = refuse(&p, "a ) too many");
    if (!e && !ends)
        emit_anything(&p);
    return e;
}
