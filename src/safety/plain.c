/* Texts in which nothing is disguised, told in one pass: most are. Whatever undisguise()
 * (normalise.c) could change, and any character that fold() does not take as it is, makes a text
 * not plain; so may some that they leave alone. */
#include "safety/normalise_internal.h"

enum {
    LETTER = 1,
    DIGIT = 2,
    STANDS = 4,  /* digits and signs that may stand for a letter */
    TRAILS = 8,  /* of them those that belong to no word at its end */
    PARTS = 16,  /* signs between letters of a word that is spelled out, and the blank */
    OTHER = 32,  /* control characters, and what is not ASCII */
    ENCODED = 64 /* base64's, of both alphabets */
};

/* 0 = anything else that is read as it is */
static const uint8_t kinds[256] = {
    ['a' ... 'z'] = LETTER | ENCODED,
    ['A' ... 'Z'] = LETTER | ENCODED,
    ['0' ... '9'] = DIGIT | STANDS | ENCODED,
    ['@'] = STANDS,
    ['$'] = STANDS,
    ['!'] = STANDS | TRAILS,
    ['+'] = STANDS | TRAILS | PARTS | ENCODED,
    ['-'] = PARTS | ENCODED,
    ['/'] = PARTS | ENCODED,
    ['_'] = PARTS | ENCODED,
    ['.'] = PARTS,
    ['*'] = PARTS,
    ['|'] = PARTS,
    [','] = PARTS,
    ['~'] = PARTS,
    [' '] = PARTS,
    ['\n'] = 0,
    [0 ... 8] = OTHER,
    [11 ... 31] = OTHER,
    ['\t'] = PARTS, /* a blank */
    [128 ... 255] = OTHER,
};

#define WORD (LETTER | STANDS)

/* A sign in the place of a letter: it stands next to one. At a word's end "!" and "+" do not. */
static bool is_mixed(uint8_t before, uint8_t now) {
    if (now & LETTER)
        return (before & STANDS) != 0;
    return (now & STANDS) && ((before & TRAILS) || ((before & LETTER) && !(now & TRAILS)));
}

bool normal_is_plain(struct buf *text, bool *ret_runs) {
    uint8_t k1 = 0, k2 = 0, k3 = 0; /* of the bytes before, the nearest first */
    char *p = text->p;
    size_t run = 0;
    bool runs = false, single = false; /* single: two characters apart, the next must be longer */
    for (size_t i = 0; i < text->n; i++) {
        char c = p[i];
        uint8_t k = kinds[(unsigned char)c];
        if (k & OTHER)
            return false;
        if (single && !(k & (LETTER | DIGIT)))
            return false;
        p[i] = c = c == '\t' ? ' ' : c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
        if (is_mixed(k1, k) ||
            (i > 1 && p[i - 1] == c && p[i - 2] == c && (c == ' ' || (k & LETTER))))
            return false;
        single = (k1 & PARTS) && (k & WORD) && (k2 & WORD) && !(k3 & (LETTER | DIGIT)) &&
                 ((k | k2) & LETTER);
        run = k & ENCODED ? run + 1 : 0;
        runs = runs || run >= NORMAL_ENCODED_MIN;
        k3 = k2;
        k2 = k1;
        k1 = k;
    }
    *ret_runs = runs;
    return !single;
}
