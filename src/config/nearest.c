/* Edit distance over three rows of fixed size; words are short. */
#include "config/nearest.h"

#include <limits.h>

#define WORD_MAX 64

static unsigned char folded(char c) {
    if (c >= 'A' && c <= 'Z')
        return (unsigned char)(c - 'A' + 'a');
    return (unsigned char)(c == '-' ? '_' : c);
}

static int least(int a, int b) {
    return a < b ? a : b;
}

int nearest_distance(struct str a, struct str b) {
    if (a.n > WORD_MAX || b.n > WORD_MAX)
        return WORD_MAX + 1;
    int rows[3][WORD_MAX + 1];
    int *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b.n; j++)
        before[j] = last[j] = (int)j;
    for (size_t i = 1; i <= a.n; i++) {
        now[0] = (int)i;
        for (size_t j = 1; j <= b.n; j++) {
            unsigned char x = folded(a.p[i - 1]), y = folded(b.p[j - 1]);
            now[j] = least(least(last[j] + 1, now[j - 1] + 1), last[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == folded(b.p[j - 2]) && folded(a.p[i - 2]) == y)
                now[j] = least(now[j], before[j - 2] + 1);
        }
        int *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b.n];
}

void nearest_init(struct nearest *n, struct str typed) {
    *n = (struct nearest){.typed = typed, .distance = INT_MAX};
}

void nearest_try(struct nearest *n, const char *candidate) {
    int d = nearest_distance(n->typed, str_from(candidate));
    int allowed = (int)n->typed.n / 3;
    if (allowed < 1)
        allowed = 1;
    if (d <= allowed && d < n->distance) {
        n->best = candidate;
        n->distance = d;
    }
}
