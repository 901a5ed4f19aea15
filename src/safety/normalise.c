/* The normaliser's passes. See normalise.h. */
#include "safety/normalise_internal.h"

#define LETTERS_MIN 3 /* single letters in a row that are one word spelled out */
#define PIECE_MAX   3 /* letters of a piece of a word that is cut into pieces */

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (unsigned char)c >= 128;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* ---- fold: characters ---- */

static void fold_ascii(struct folded *f, char c, struct normal_source s) {
    if (c >= 'A' && c <= 'Z')
        c = (char)(c + 32);
    if (c == '\r' || c == '\t' || c == '\v' || c == '\f')
        c = ' ';
    if ((unsigned char)c < 32 && c != '\n')
        return;
    size_t n =
        f->text->n; /* two spaces part words whose letters are spaced out; more say no more */
    if (c == ' ' && n >= 2 && f->text->p[n - 1] == ' ' && f->text->p[n - 2] == ' ')
        return;
    folded_add(f, c, s);
}

/* base: added to the offsets. whole: all of it stands for that piece of the original. */
static void fold(struct str text, const struct normal_source *whole, struct folded *f,
                 unsigned *found) {
    char out[UNICODE_FOLD_MAX];
    for (size_t i = 0; i < text.n;) {
        struct normal_source s = {(uint32_t)i, (uint32_t)i + 1};
        if ((unsigned char)text.p[i] < 128) {
            fold_ascii(f, text.p[i], whole ? *whole : s);
            i++;
            continue;
        }
        int32_t c;
        size_t n = unicode_next(text.p + i, text.n - i, &c);
        s.to = (uint32_t)(i + n);
        i += n;
        if (c < 0) {
            *found |= NORMAL_INVALID;
            continue;
        }
        size_t m = unicode_fold(c, out, found);
        for (size_t k = 0; k < m; k++)
            if ((unsigned char)out[k] < 128)
                fold_ascii(f, out[k], whole ? *whole : s);
            else
                folded_add(f, out[k], whole ? *whole : s);
    }
}

/* ---- undisguise: words ---- */

/* Digits and signs that stand for letters; what is none here is 0. */
static char leet(char c) {
    switch (c) {
    case '0':
        return 'o';
    case '1':
    case '!':
        return 'i';
    case '3':
        return 'e';
    case '4':
    case '@':
        return 'a';
    case '5':
    case '$':
        return 's';
    case '7':
    case '+':
        return 't';
    case '8':
        return 'b';
    case '9':
        return 'g';
    default:
        return 0;
    }
}

struct word {
    size_t from, to;
};

static bool is_small_word(struct str w) {
    static const char small[] = "to it is so at as go oe";
    char word[3] = {leet(w.p[0]), leet(w.p[1]), 0};
    return word[0] && word[1] && strstr(small, word) != NULL;
}

/* Where the word's last dot stands; 0: it has none but at its beginning. */
static size_t last_dot(struct str w, size_t *looked) {
    size_t n = w.n;
    while (n > 0 && w.p[n - 1] != '.')
        n--;
    *looked += w.n - n;
    return n > 0 ? n - 1 : 0;
}

/* Signs of leetspeak stand between letters; an address, a number with a unit, a version and a code
 * do not count. */
static bool is_leet(struct str w, bool text_is_leet, size_t *looked) {
    size_t letters = 0, inside = 0, edge = 0, digits = 0, dot = SIZE_MAX;
    *looked += w.n;
    for (size_t i = 0; i < w.n; i++) {
        char c = w.p[i];
        digits = is_digit(c) ? digits + 1 : 0;
        if (c == '@' && i > 0 && dot == SIZE_MAX)
            dot = last_dot(w, looked);
        if (is_letter(c)) {
            letters++;
        } else if (!leet(c) || (digits > 2 && !text_is_leet) || (c == '@' && i > 0 && i < dot)) {
            return false;
        } else if (i > 0 && i + 1 < w.n && w.p[i - 1] != c) {
            inside += letters > 0 || !is_digit(c);
        } else {
            edge += c != '!' && c != '+';
        }
    }
    if (letters == 0 && text_is_leet) /* "1" and "4", "70" and "17" */
        return w.n == 1 ? w.p[0] == '1' || w.p[0] == '4' : w.n == 2 && is_small_word(w);
    if (letters == 0 || w.n < 2)
        return false;
    return inside > 0 ? w.n >= 3 || text_is_leet : text_is_leet && edge > 0;
}

static bool is_word_byte(char c) {
    return is_letter(c) || is_digit(c) || c == '@' || c == '$' || c == '!' || c == '+';
}

/* The next word from `at` on: letters, digits and leet signs, without signs at its end. */
static bool next_word(struct str s, size_t at, struct word *ret) {
    while (at < s.n && !is_word_byte(s.p[at]))
        at++;
    ret->from = at;
    for (bool address = false;
         at < s.n && (is_word_byte(s.p[at]) || (s.p[at] == '.' && at + 1 < s.n && address)); at++)
        address = address || s.p[at] == '@';
    ret->to = at;
    while (ret->to > ret->from && (s.p[ret->to - 1] == '!' || s.p[ret->to - 1] == '+'))
        ret->to--;
    if (ret->to == ret->from)
        ret->to = at;
    return ret->to > ret->from;
}

/* What is known of words that are spelled out, in a walk through a text from left to right. */
struct spelling {
    size_t few_to; /* signs, numbers and too few letters up to there */
    size_t looked; /* characters that were looked at */
};

static bool is_sign(char c) {
    switch (c) {
    case '.':
    case '-':
    case '_':
    case '*':
    case '|':
    case '/':
    case ',':
    case '+':
    case '~':
        return true;
    default:
        return false;
    }
}

/* "m4-k3", "b0.mb", in a text of leetspeak: the end of a word in pieces of up to three letters with
 * signs between them, of which one has something in place of a letter; 0 = there is none. */
static size_t in_pieces(struct str s, size_t at) {
    size_t pieces = 0, all = 0, n = 0, letters = 0;
    bool leets = false;
    if (at > 0 && (is_word_byte(s.p[at - 1]) || is_sign(s.p[at - 1])))
        return 0;
    for (;; at++) {
        char c = at < s.n ? s.p[at] : 0;
        if (c && (unsigned char)c < 128 && !is_sign(c) && (is_letter(c) || leet(c))) {
            n++;
            letters += is_letter(c);
            leets = leets || !is_letter(c);
            continue;
        }
        if (n == 0 || n > PIECE_MAX || (c && is_word_byte(c) && !is_sign(c)))
            return 0;
        pieces++;
        all += n;
        n = 0;
        if (!is_sign(c) || at + 1 >= s.n || !is_word_byte(s.p[at + 1]))
            break;
    }
    return pieces > 1 && all > PIECE_MAX && leets && letters >= 2 ? at : 0;
}

/* "k i l l", "b.o.m.b", "4-t_t-4.c-k": how many single letters stand from `at` on with blanks, or
 * with signs, between them, and where they end. A number or sign in place of a letter may begin it
 * where signs and three letters follow; in a text of leetspeak one letter, or none in "7-0". What
 * has too few letters has too few from a later number on, too: it is not counted again. */
static size_t spelled(struct str s, size_t at, bool text_is_leet, struct spelling *k,
                      size_t *ret_end) {
    size_t n = 0, from = at, letters = 0;
    char sep = 0;
    bool begins = is_letter(s.p[at]);
    if (!begins && !is_digit(s.p[at]) && s.p[at] != '@' && s.p[at] != '$')
        return 0;
    if (!begins && at + 3 < k->few_to) /* the last two of them may be a small word */
        return 0;
    if (at > 0 && (is_letter(s.p[at - 1]) || is_digit(s.p[at - 1])))
        return 0;
    if ((s.p[at] == 'a' || s.p[at] == 'i') && at > 2 && s.p[at - 1] == ' ' &&
        is_letter(s.p[at - 2]) &&
        is_letter(s.p[at - 3])) /* "a" and "I" before a word that is spelled out */
        return 0;
    for (;;) {
        bool single = at < s.n && (unsigned char)s.p[at] < 128 &&
                      (is_letter(s.p[at]) || leet(s.p[at])) &&
                      (at + 1 >= s.n || !(is_letter(s.p[at + 1]) || is_digit(s.p[at + 1])));
        if (!single)
            break;
        n++;
        k->looked++;
        letters += is_letter(s.p[at]);
        *ret_end = at + 1;
        char next = at + 1 < s.n ? s.p[at + 1] : 0;
        if ((next == ' ' && (sep == '.' || !begins)) || (next != ' ' && !is_sign(next)) ||
            (next != ' ' && sep == ' '))
            break;
        sep = next == ' ' ? ' ' : '.'; /* of signs any */
        at += 2;
    }
    if (text_is_leet && !begins && n == 2 && letters == 0)
        return is_small_word((struct str){(char[]){s.p[from], s.p[from + 2]}, 2}) ? n : 0;
    if (begins || letters >= (text_is_leet ? 1 : 3))
        return n;
    if (n > 0)
        k->few_to = *ret_end;
    return 0;
}

static bool has_leet(struct str s, size_t from, size_t to) {
    for (size_t i = from; i < to; i++)
        if (leet(s.p[i]) && !is_sign(s.p[i]))
            return true;
    return false;
}

static bool text_is_leet(struct str s, size_t *looked) {
    size_t n = 0, cut = 0, end = 0, plain_to = 0; /* letters spelled out up to there, no leet */
    struct spelling k = {0};
    struct word w = {0, 0};
    while (n + (cut > 0) < 2 && next_word(s, w.to, &w)) {
        n += is_leet((struct str){s.p + w.from, w.to - w.from}, false, looked);
        cut += in_pieces(s, w.from) > 0; /* one of them says as much as many */
        if (w.from + 1 < plain_to || spelled(s, w.from, false, &k, &end) < LETTERS_MIN)
            continue;
        if (has_leet(s, w.from, end))
            n++;
        else
            plain_to = end;
    }
    *looked += k.looked;
    return n + (cut > 0) >= 2;
}

/* Between double spaces: a short word among others that are spelled out. */
static bool is_apart(struct str s, size_t from, size_t to) {
    return (from >= 2 && s.p[from - 1] == ' ' && s.p[from - 2] == ' ') ||
           (to + 1 < s.n && s.p[to] == ' ' && s.p[to + 1] == ' ');
}

static void copy_map(struct folded *to, const struct folded *from, size_t at, char c) {
    folded_add(to, c, ((const struct normal_source *)from->map->p)[at]);
}

static size_t join_spelled(const struct folded *in, size_t at, size_t end, struct folded *out) {
    const char *p = in->text->p;
    for (size_t i = at; i < end; i += 2)
        copy_map(out, in, i, is_letter(p[i]) ? p[i] : leet(p[i]));
    return end;
}

/* How many bytes at `at` are one letter drawn out ("killlll"), and how many of them stay: one, but
 * two of an l or s that ends a word. 0 = it is none. */
static size_t stretched(struct str s, size_t at, size_t *ret_keep) {
    size_t n = 1;
    if (s.p[at] < 'a' || s.p[at] > 'z')
        return 0;
    while (at + n < s.n && s.p[at + n] == s.p[at])
        n++;
    if (n < 3)
        return 0;
    bool ends = at + n == s.n || !is_letter(s.p[at + n]);
    *ret_keep = ends && (s.p[at] == 'l' || s.p[at] == 's') ? 2 : 1;
    return n;
}

static void undisguise(const struct folded *in, struct folded *out, struct safety_normal *normal) {
    struct str s = buf_str(in->text);
    unsigned *found = &normal->found;
    struct spelling k = {0};
    bool leety = text_is_leet(s, &normal->looked);
    struct word w = {0, 0};
    bool have = next_word(s, 0, &w);
    for (size_t i = 0; i < s.n;) {
        size_t end = i;
        bool inside = i > 0 && (is_letter(s.p[i - 1]) || is_digit(s.p[i - 1])); /* of a word */
        size_t letters =
            !inside && (is_letter(s.p[i]) || leet(s.p[i])) ? spelled(s, i, leety, &k, &end) : 0;
        bool dotted = letters == 2 && (*found & NORMAL_SPACED) && s.p[i + 1] != ' ';
        if (letters >= LETTERS_MIN || dotted || (letters == 2 && is_apart(s, i, end))) {
            *found |= NORMAL_SPACED;
            i = join_spelled(in, i, end, out);
            continue;
        }
        if (leety && (end = in_pieces(s, i)) > 0) {
            *found |= NORMAL_SPACED;
            for (; i < end; i++)
                if (!is_sign(s.p[i]))
                    copy_map(out, in, i, is_letter(s.p[i]) ? s.p[i] : leet(s.p[i]));
            continue;
        }
        while (have && w.to <= i)
            have = next_word(s, w.to, &w);
        if (have && i == w.from &&
            is_leet((struct str){s.p + i, w.to - i}, leety, &normal->looked)) {
            *found |= NORMAL_LEET;
            for (; i < w.to; i++)
                copy_map(out, in, i, is_letter(s.p[i]) ? s.p[i] : leet(s.p[i]));
            continue;
        }
        size_t keep = 1, run = stretched(s, i, &keep);
        for (size_t x = 0; x < keep; x++)
            copy_map(out, in, i + x, s.p[i]);
        i += run ? run : 1;
    }
    normal->looked += k.looked;
}

/* ---- all of it ---- */

struct decoding {
    struct safety_normal *n;
    struct folded all;
};

/* Until now each byte stood for itself; from now on the map says so. */
static void write_map(struct safety_normal *n) {
    for (size_t i = 0; n->itself && i < n->text.n; i++) {
        struct normal_source s = {(uint32_t)i, (uint32_t)i + 1};
        buf_add(&n->map, &s, sizeof s);
    }
    n->itself = false;
}

static void take_decoded(void *ctx, struct str decoded, size_t from, size_t to, unsigned how) {
    struct decoding *d = ctx;
    struct normal_source whole = {(uint32_t)from, (uint32_t)to};
    struct folded step = {&d->n->step, &d->n->step_map};
    d->n->found |= how;
    write_map(d->n);
    buf_clear(step.text);
    buf_clear(step.map);
    fold(decoded, &whole, &step, &d->n->found);
    folded_add(&d->all, '\n', whole); /* a blank line: no sentence goes on behind it */
    folded_add(&d->all, '\n', whole);
    undisguise(&step, &d->all, d->n);
}

void safety_normal_init(struct safety_normal *n) {
    size_t cap = NORMAL_INPUT_MAX * NORMAL_GROWTH;
    *n = (struct safety_normal){0};
    buf_init(&n->text, cap);
    buf_init(&n->step, cap);
    buf_init(&n->piece, NORMAL_INPUT_MAX);
    buf_init(&n->map, cap * sizeof(struct normal_source));
    buf_init(&n->step_map, cap * sizeof(struct normal_source));
}

void safety_normal_deinit(struct safety_normal *n) {
    buf_deinit(&n->text);
    buf_deinit(&n->step);
    buf_deinit(&n->piece);
    buf_deinit(&n->map);
    buf_deinit(&n->step_map);
}

/* True: the text is plain and stands in n->text. *ret_runs: see normal_is_plain(). */
static bool take_plain(struct safety_normal *n, struct str original, bool *ret_runs) {
    buf_adds(&n->text, original);
    if (!buf_err(&n->text) && normal_is_plain(&n->text, ret_runs))
        return true;
    buf_clear(&n->text);
    *ret_runs = true;
    return false;
}

enum err safety_normalise(struct safety_normal *n, struct str original) {
    struct folded step = {&n->step, &n->step_map}, all = {&n->text, &n->map};
    struct decoding d = {n, all};
    if (original.n > NORMAL_INPUT_MAX)
        return ERR_TOO_LARGE;
    buf_clear(&n->text);
    buf_clear(&n->map);
    buf_clear(&n->step);
    buf_clear(&n->step_map);
    n->found = 0;
    n->looked = 0;
    bool runs = true;
    n->itself = take_plain(n, original, &runs);
    if (!n->itself) {
        fold(original, NULL, &step, &n->found);
        undisguise(&step, &all, n);
    }
    n->decoded_from = n->text.n;
    decode_fragments(original, runs, &n->piece, take_decoded, &d);
    enum err e = buf_err(&n->text);
    if (!e)
        e = buf_err(&n->map);
    if (!e)
        e = buf_err(&n->step);
    return e ? e : buf_err(&n->step_map);
}

struct normal_source safety_normal_span(const struct safety_normal *n, size_t from, size_t to) {
    const struct normal_source *map = (const struct normal_source *)n->map.p;
    struct normal_source s = {0, 0};
    if (n->itself && from < n->text.n && from < to)
        return (struct normal_source){(uint32_t)from, (uint32_t)(to < n->text.n ? to : n->text.n)};
    for (size_t i = from; i < to && i < n->text.n; i++) {
        if (i == from || map[i].from < s.from)
            s.from = map[i].from;
        if (map[i].to > s.to)
            s.to = map[i].to;
    }
    return s;
}
