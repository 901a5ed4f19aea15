/* Guesses an answer's next tokens from what the prompt and the answer have said before: answers
 * that quote their prompt repeat it token by token (prompt lookup, Saxena 2023). The guesses are
 * computed together with the next token in one step and kept as far as the sampler, drawing from
 * the same logits as without them, says the same tokens. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define LOOKUP_MAX 8 /* tokens guessed at once */

struct lookup {  /* of one answer; zero-initialised is its beginning */
    int length;  /* of the next guess */
    int pause;   /* tokens until guessing is tried again */
    double kept; /* share of guessed tokens that were right, smoothed */
    bool any;    /* kept says something */
};

/* Guesses at most max tokens that follow tokens[0…n-1]; how many is returned. worth: the share of
 * right guesses above which guessing saves time; answers that do not reach it pause. */
int lookup_guess(struct lookup *l, const int32_t *tokens, int n, int max, double worth,
                 int32_t *ret);
/* Of so many guessed tokens so many were right. */
void lookup_learn(struct lookup *l, int guessed, int right);
