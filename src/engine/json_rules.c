#include "engine/json_rules.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void json_call(struct grammar *g, int rule) {
    grammar_emit(g, GRAMMAR_CALL, (uint32_t)rule, 0);
}

static void emit_space(struct grammar *g) {
    struct grammar_alternatives alt = GRAMMAR_ALTERNATIVES_INIT;
    bool blank[256] = {[' '] = true, ['\t'] = true};
    grammar_or(g, &alt);
    grammar_or(g, &alt);
    grammar_text(g, STR(" "));
    grammar_or(g, &alt);
    grammar_text(g, STR("\n"));
    int begin = grammar_repeat_begin(g, 0, 20);
    grammar_set(g, blank);
    grammar_repeat_end(g, begin);
    grammar_or_end(g, &alt);
}

static void emit_hex(struct grammar *g, const char *first) {
    bool set[256] = {0};
    for (; *first; first++)
        set[(unsigned char)*first] = true;
    grammar_set(g, set);
}

/* One character: itself in UTF-8, or escaped. Surrogates are not offered: they come in pairs only.
 */
static void emit_char(struct grammar *g) {
    static const unsigned char utf8[][8] = {
        {0xC2, 0xDF, 0x80, 0xBF},
        {0xE0, 0xE0, 0xA0, 0xBF, 0x80, 0xBF},
        {0xE1, 0xEC, 0x80, 0xBF, 0x80, 0xBF},
        {0xED, 0xED, 0x80, 0x9F, 0x80, 0xBF},
        {0xEE, 0xEF, 0x80, 0xBF, 0x80, 0xBF},
        {0xF0, 0xF0, 0x90, 0xBF, 0x80, 0xBF, 0x80, 0xBF},
        {0xF1, 0xF3, 0x80, 0xBF, 0x80, 0xBF, 0x80, 0xBF},
        {0xF4, 0xF4, 0x80, 0x8F, 0x80, 0xBF, 0x80, 0xBF},
    };
    static const char hex[] = "0123456789abcdefABCDEF";
    struct grammar_alternatives alt = GRAMMAR_ALTERNATIVES_INIT, how = GRAMMAR_ALTERNATIVES_INIT;
    bool plain[256] = {0};
    for (int i = 32; i < 127; i++)
        plain[i] = i != '"' && i != '\\';
    grammar_or(g, &alt);
    grammar_set(g, plain);
    for (size_t i = 0; i < sizeof(utf8) / sizeof(*utf8); i++) {
        grammar_or(g, &alt);
        for (size_t j = 0; j < 8 && utf8[i][j]; j += 2)
            grammar_range(g, utf8[i][j], utf8[i][j + 1]);
    }
    grammar_or(g, &alt);
    grammar_text(g, STR("\\"));
    grammar_or(g, &how);
    emit_hex(g, "\"\\/bfnrt");
    grammar_or(g, &how);
    grammar_text(g, STR("u"));
    emit_hex(g, "0123456789abcefABCEF");
    for (int i = 0; i < 3; i++)
        emit_hex(g, hex);
    grammar_or_end(g, &how);
    grammar_or_end(g, &alt);
}

static void emit_string(struct grammar *g) {
    grammar_text(g, STR("\""));
    int begin = grammar_repeat_begin(g, 0, GRAMMAR_MANY);
    json_call(g, JSON_RULE_CHAR);
    grammar_repeat_end(g, begin);
    grammar_text(g, STR("\""));
}

static void emit_digits(struct grammar *g, uint32_t min, uint32_t max) {
    int begin = grammar_repeat_begin(g, min, max);
    grammar_range(g, '0', '9');
    grammar_repeat_end(g, begin);
}

static void emit_optional_minus(struct grammar *g) {
    int begin = grammar_repeat_begin(g, 0, 1);
    grammar_text(g, STR("-"));
    grammar_repeat_end(g, begin);
}

static void emit_integer(struct grammar *g) {
    struct grammar_alternatives alt = GRAMMAR_ALTERNATIVES_INIT;
    emit_optional_minus(g);
    grammar_or(g, &alt);
    grammar_text(g, STR("0"));
    grammar_or(g, &alt);
    grammar_range(g, '1', '9');
    emit_digits(g, 0, 14);
    grammar_or_end(g, &alt);
}

static void emit_number(struct grammar *g) {
    static const bool e[256] = {['e'] = true, ['E'] = true},
                      sign[256] = {['+'] = true, ['-'] = true};
    json_call(g, JSON_RULE_INTEGER);
    int begin = grammar_repeat_begin(g, 0, 1);
    grammar_text(g, STR("."));
    emit_digits(g, 1, 15);
    grammar_repeat_end(g, begin);
    begin = grammar_repeat_begin(g, 0, 1);
    grammar_set(g, e);
    int inner = grammar_repeat_begin(g, 0, 1);
    grammar_set(g, sign);
    grammar_repeat_end(g, inner);
    emit_digits(g, 1, 2);
    grammar_repeat_end(g, begin);
}

static void emit_value(struct grammar *g) {
    static const int rules[] = {JSON_RULE_OBJECT, JSON_RULE_ARRAY, JSON_RULE_STRING,
                                JSON_RULE_NUMBER};
    static const char *const words[] = {"true", "false", "null"};
    struct grammar_alternatives alt = GRAMMAR_ALTERNATIVES_INIT;
    for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
        grammar_or(g, &alt);
        json_call(g, rules[i]);
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        grammar_or(g, &alt);
        grammar_text(g, str_from(words[i]));
    }
    grammar_or_end(g, &alt);
}

/* { … } or [ … ] with any members. */
static void emit_members(struct grammar *g, bool object) {
    struct grammar_alternatives alt = GRAMMAR_ALTERNATIVES_INIT;
    int loop = -1;
    grammar_text(g, object ? STR("{") : STR("["));
    json_call(g, JSON_RULE_SPACE);
    grammar_or(g, &alt);
    grammar_or(g, &alt);
    for (int i = 0; i < 2; i++) {
        if (i == 1) {
            loop = grammar_repeat_begin(g, 0, GRAMMAR_MANY);
            grammar_text(g, STR(","));
            json_call(g, JSON_RULE_SPACE);
        }
        if (object) {
            json_call(g, JSON_RULE_STRING);
            grammar_text(g, STR(":"));
            json_call(g, JSON_RULE_SPACE);
        }
        json_call(g, JSON_RULE_VALUE);
    }
    grammar_repeat_end(g, loop);
    json_call(g, JSON_RULE_SPACE);
    grammar_or_end(g, &alt);
    grammar_text(g, object ? STR("}") : STR("]"));
}

static void emit_object(struct grammar *g) {
    emit_members(g, true);
}

static void emit_array(struct grammar *g) {
    emit_members(g, false);
}

void json_rules_emit(struct grammar *g) {
    static void (*const emit[JSON_RULE_COUNT])(struct grammar * g) = {
        [JSON_RULE_SPACE] = emit_space,     [JSON_RULE_CHAR] = emit_char,
        [JSON_RULE_STRING] = emit_string,   [JSON_RULE_NUMBER] = emit_number,
        [JSON_RULE_INTEGER] = emit_integer, [JSON_RULE_VALUE] = emit_value,
        [JSON_RULE_OBJECT] = emit_object,   [JSON_RULE_ARRAY] = emit_array,
    };
    for (int i = 0; i < JSON_RULE_COUNT; i++)
        grammar_rule_new(g);
    for (int i = 1; i < JSON_RULE_COUNT; i++) {
        grammar_rule_begin(g, i);
        emit[i](g);
        grammar_rule_end(g);
    }
}

/* ---- ranges ---- */

static bool all(const char *s, char digit) {
    return s[strspn(s, (char[]){digit, 0})] == 0;
}

/* Numbers between two of equal length, as texts. */
static void emit_between(struct grammar *g, const char *lo, const char *hi) {
    size_t n = strlen(lo);
    while (*lo && *lo == *hi) {
        grammar_emit(g, GRAMMAR_BYTE, (unsigned char)*lo, 0);
        lo++, hi++, n--;
    }
    if (n == 0)
        return;
    if (all(lo, '0') && all(hi, '9')) {
        emit_digits(g, (uint32_t)n, (uint32_t)n);
        return;
    }
    char least[32] = {0}, most[32] = {0};
    memset(least, '0', n - 1);
    memset(most, '9', n - 1);
    bool low_whole = strcmp(lo + 1, least) == 0, high_whole = strcmp(hi + 1, most) == 0;
    char from = (char)(*lo + !low_whole), to = (char)(*hi - !high_whole);
    struct grammar_alternatives alt = GRAMMAR_ALTERNATIVES_INIT;
    if (!low_whole) {
        grammar_or(g, &alt);
        grammar_emit(g, GRAMMAR_BYTE, (unsigned char)*lo, 0);
        emit_between(g, lo + 1, most);
    }
    if (from <= to) {
        grammar_or(g, &alt);
        grammar_range(g, (unsigned char)from, (unsigned char)to);
        if (n > 1)
            emit_digits(g, (uint32_t)n - 1, (uint32_t)n - 1);
    }
    if (!high_whole) {
        grammar_or(g, &alt);
        grammar_emit(g, GRAMMAR_BYTE, (unsigned char)*hi, 0);
        emit_between(g, least, hi + 1);
    }
    grammar_or_end(g, &alt);
}

/* One more way for the numbers from lo to hi (0 or more), each length by itself. */
static void emit_natural(struct grammar *g, struct grammar_alternatives *alt, int64_t lo,
                         int64_t hi, bool minus, bool fraction) {
    int64_t least = 0, most = 9;
    for (; least <= hi; least = most + 1, most = most * 10 + 9) {
        char from[32], to[32];
        if (most < lo)
            continue;
        snprintf(from, sizeof from, "%lld", (long long)(lo > least ? lo : least));
        snprintf(to, sizeof to, "%lld", (long long)(hi < most ? hi : most));
        grammar_or(g, alt);
        if (minus)
            grammar_text(g, STR("-"));
        emit_between(g, from, to);
        if (fraction) {
            grammar_text(g, STR("."));
            emit_digits(g, 1, 15);
        }
    }
}

static int64_t max64(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static bool emit_signed(struct grammar *g, struct grammar_alternatives *alt, int64_t lo,
                        int64_t hi) {
    if (lo < 0)
        emit_natural(g, alt, max64(1, -hi), -lo, true, false);
    if (hi >= 0)
        emit_natural(g, alt, max64(0, lo), hi, false, false);
    return lo <= hi;
}

bool json_integers_emit(struct grammar *g, int64_t lo, int64_t hi) {
    struct grammar_alternatives alt = GRAMMAR_ALTERNATIVES_INIT;
    bool any = emit_signed(g, &alt, lo, hi);
    grammar_or_end(g, &alt);
    return any;
}

bool json_numbers_emit(struct grammar *g, double lo, bool lo_excluded, double hi,
                       bool hi_excluded) {
    const double most = (double)JSON_INTEGER_MOST;
    struct grammar_alternatives alt = GRAMMAR_ALTERNATIVES_INIT;
    lo = lo < -most ? -most : lo;
    hi = hi > most ? most : hi;
    if (!(lo <= hi))
        return false;
    int64_t first = (int64_t)(lo_excluded ? floor(lo) + 1 : ceil(lo));
    int64_t last = (int64_t)(hi_excluded ? ceil(hi) - 1 : floor(hi));
    bool any = emit_signed(g, &alt, first, last);
    /* What stands before the point, so that whatever follows it stays in the range. */
    int64_t from = max64(0, first), to = (int64_t)floor(hi) - 1;
    if (from <= to) {
        emit_natural(g, &alt, from, to, false, true);
        any = true;
    }
    from = max64(0, -last);
    to = (int64_t)floor(-lo) - 1;
    if (from <= to) {
        emit_natural(g, &alt, from, to, true, true);
        any = true;
    }
    grammar_or_end(g, &alt);
    return any;
}
