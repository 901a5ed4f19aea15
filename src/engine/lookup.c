#include "engine/lookup.h"

#include <string.h>

#define LEAST  3    /* tokens that must have been said before in the same order */
#define MOST   8    /* longer agreement says no more */
#define BACK   4096 /* how far back is looked */
#define FIRST  3    /* tokens guessed at first */
#define PAUSE  48   /* tokens without guesses after guessing did not pay */
#define SMOOTH 0.25

/* The place after the latest earlier occurrence of the longest agreeing end, 0 = none. */
static int find(const int32_t *tokens, int n) {
    int best = 0, best_length = LEAST - 1;
    for (int at = n - 1; at >= LEAST && at > n - BACK; at--) {
        int length = 0;
        while (length < MOST && length < at && tokens[at - 1 - length] == tokens[n - 1 - length])
            length++;
        if (length > best_length) {
            best = at;
            best_length = length;
            if (length == MOST)
                break;
        }
    }
    return best;
}

int lookup_guess(struct lookup *l, const int32_t *tokens, int n, int max, double worth,
                 int32_t *ret) {
    if (l->pause > 0) {
        l->pause--;
        return 0;
    }
    if (l->any && l->kept < worth) {
        l->pause = PAUSE;
        l->any = false;
        return 0;
    }
    if (l->length == 0)
        l->length = FIRST;
    if (max > l->length)
        max = l->length;
    int at = max > 0 && n > LEAST ? find(tokens, n) : 0;
    if (at == 0)
        return 0;
    int guessed = n - at < max ? n - at : max;
    memcpy(ret, tokens + at, (size_t)guessed * sizeof(*ret));
    return guessed;
}

void lookup_learn(struct lookup *l, int guessed, int right) {
    double share = (double)right / guessed;
    l->kept = l->any ? l->kept + (share - l->kept) * SMOOTH : share;
    l->any = true;
    if (right == guessed && l->length < LOOKUP_MAX)
        l->length++;
    else if (right * 2 < guessed && l->length > 1)
        l->length--;
}
