/* See words.h. */
#include "learn/words.h"

#include <math.h>
#include <stdlib.h>

static const char *const common[] = {
    "a",     "an",    "and",  "any",  "are",    "as",     "at",   "be",   "been", "by",
    "can",   "could", "did",  "do",   "does",   "for",    "from", "had",  "has",  "have",
    "how",   "i",     "if",   "in",   "into",   "is",     "it",   "its",  "me",   "my",
    "of",    "on",    "or",   "our",  "please", "should", "tell", "that", "the",  "their",
    "there", "they",  "this", "to",   "was",    "we",     "were", "what", "when", "where",
    "which", "who",   "why",  "will", "with",   "would",  "you",  "your",
};

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_common(const char *z) {
    return bsearch(&z, common, sizeof common / sizeof *common, sizeof *common, by_text) != NULL;
}

bool words_is_common(struct str word) {
    char z[WORD_BYTES_MAX];
    if (word.n >= sizeof z)
        return false;
    memcpy(z, word.p, word.n);
    z[word.n] = 0;
    return is_common(z);
}

uint64_t words_hash(struct str s) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
    return h;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_part(struct str s, size_t i) {
    unsigned char c = (unsigned char)s.p[i];
    if (c >= 0x80 || is_digit(s.p[i]) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return true;
    bool between = i > 0 && i + 1 < s.n && is_digit(s.p[i - 1]) && is_digit(s.p[i + 1]);
    return between && (c == '.' || c == ',');
}

void words_each(struct str text, void (*fn)(void *ctx, struct str word), void *ctx) {
    char word[WORD_BYTES_MAX];
    for (size_t i = 0; i < text.n;) {
        size_t n = 0;
        for (; i < text.n && is_part(text, i); i++) {
            char c = text.p[i];
            if (n < sizeof word - 1)
                word[n++] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
        }
        word[n] = 0;
        if (n)
            fn(ctx, (struct str){word, n});
        else
            i++;
    }
}

/* A light stemmer: enough that "wings" meets "wing" and "heated" meets "heating". */
struct str words_stem(struct str w) {
    static const char *const endings[] = {"ations", "ation", "ings", "ing", "edly",
                                          "ed",     "ies",   "es",   "s",   "ly"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        struct str e = str_from(endings[i]);
        if (w.n >= e.n + 3 && str_ends(w, e))
            return str_sub(w, 0, w.n - e.n);
    }
    return w;
}

static void add_word(void *ctx, struct str word) {
    struct words *w = ctx;
    if (w->n < WORDS_MAX && !is_common(word.p))
        w->hash[w->n++] = words_hash(words_stem(word));
}

static int by_hash(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

void words_of(struct str text, struct words *ret) {
    ret->n = 0;
    words_each(text, add_word, ret);
    qsort(ret->hash, ret->n, sizeof *ret->hash, by_hash);
    size_t n = 0;
    for (size_t i = 0; i < ret->n; i++)
        if (n == 0 || ret->hash[i] != ret->hash[n - 1])
            ret->hash[n++] = ret->hash[i];
    ret->n = n;
}

static double square(double (*weight)(void *ctx, uint64_t word), void *ctx, uint64_t word) {
    double v = weight ? weight(ctx, word) : 1;
    return v * v;
}

double words_alike(const struct words *a, const struct words *b,
                   double (*weight)(void *ctx, uint64_t word), void *ctx) {
    double both = 0, in_a = 0, in_b = 0;
    for (size_t i = 0; i < a->n; i++)
        in_a += square(weight, ctx, a->hash[i]);
    for (size_t i = 0, k = 0; i < b->n; i++) {
        double v = square(weight, ctx, b->hash[i]);
        in_b += v;
        while (k < a->n && a->hash[k] < b->hash[i])
            k++;
        if (k < a->n && a->hash[k] == b->hash[i])
            both += v;
    }
    return in_a > 0 && in_b > 0 ? both / sqrt(in_a * in_b) : 0;
}
