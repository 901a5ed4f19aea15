#include "text/tokens.h"

#include <limits.h>
#include <stdbool.h>

#define WORD_LETTERS 9 /* of a word that is one token, and of each further one */
#define NAME_LETTERS 5 /* the same where it begins with a capital letter */

enum kind { LETTER, DIGIT, SPACE, LINE, BEYOND /* ASCII */, MARK };

static enum kind kind_of(char c) {
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter                     ? LETTER
           : c >= '0' && c <= '9'     ? DIGIT
           : c == ' ' || c == '\t'    ? SPACE
           : c == '\n' || c == '\r'   ? LINE
           : (unsigned char)c >= 0x80 ? BEYOND
                                      : MARK;
}

static size_t letters_of_a_token(char first) {
    return first >= 'A' && first <= 'Z' ? NAME_LETTERS : WORD_LETTERS;
}

/* The piece that begins at byte `at`: its end, and what it adds. A space belongs to the word behind
 * it, but not to a digit. */
static size_t piece(struct str s, size_t at, size_t *ret_tokens) {
    enum kind k = kind_of(s.p[at]);
    size_t to = at + 1;
    while (to < s.n && k != DIGIT && kind_of(s.p[to]) == k)
        to++;
    size_t n = to - at, per = letters_of_a_token(s.p[at]);
    switch (k) {
    case LETTER:
        *ret_tokens = 1 + (n - 1) / per;
        break;
    case DIGIT:
        *ret_tokens = 1 + (at > 0 && kind_of(s.p[at - 1]) == SPACE);
        break;
    case SPACE:
        *ret_tokens = 0;
        break;
    case LINE:
        *ret_tokens = 1;
        break;
    case BEYOND:
        *ret_tokens = (2 * n + 4) / 5;
        break;
    case MARK:
        *ret_tokens = 1 + (n - 1) / 3;
        break;
    }
    return to;
}

int text_tokens(struct str s) {
    size_t n = 0, own;
    for (size_t at = 0; at < s.n; n += own)
        at = piece(s, at, &own);
    return n < INT_MAX ? (int)n : INT_MAX;
}

/* Bytes of a piece that are so many tokens. */
static size_t part_of_piece(char first, size_t tokens) {
    enum kind k = kind_of(first);
    return k == LETTER   ? tokens * letters_of_a_token(first)
           : k == BEYOND ? tokens * 5 / 2
           : k == MARK   ? tokens * 3
                         : tokens;
}

size_t text_tokens_cut(struct str s, int max) {
    size_t left = max > 0 ? (size_t)max : 0, own, at = 0;
    while (at < s.n) {
        size_t to = piece(s, at, &own);
        if (own > left && at == 0) /* no word is cut but the first */
            return utf8_cut(s, part_of_piece(s.p[0], left));
        if (own > left)
            break;
        left -= own;
        at = to;
    }
    return at;
}
