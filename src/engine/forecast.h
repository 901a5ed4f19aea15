/* What a step costs on this machine, learnt while it runs, and what follows from it for a request
 * that asks when its first word would come.
 *
 * A step's time is taken as base + answer × (tokens whose logits are wanted) + prompt × (other
 * tokens): the weights are read once whatever takes part, then each token is computed. The three
 * are fitted by least squares with forgetting (recursive least squares; Haykin, Adaptive Filter
 * Theory), so they follow the machine when other programs take its cores.
 *
 * Nothing here has threads or a clock of its own. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define FORECAST_ANSWERS 128 /* side by side, at most */
#define FORECAST_GAP                                                                               \
    3 /* undisturbed steps: so long running answers wait for their next tokens while a long prompt \
         is read, at most; what is short of four is for steps that something holds up */

struct forecast {
    double base_ns, answer_ns, prompt_ns; /* of a step, of a token with logits, of one without */
    double xx[3][3], xy[3];               /* the fit's sums */
    double told_ns;                       /* what prompt_ns began with if it was measured, or 0 */
    int seen;                             /* steps learnt from */
    bool
        known; /* the costs it began with were measured: outliers are told from the first step on */
    /* A prediction times margin held in all but a fiftieth of the cases so far. */
    double margin;
    double weight;        /* see forecast_order_ns() */
    double answer_tokens; /* of an answer, smoothed */
    double ends;          /* the share of answers that end before they must, smoothed */
    double pace_ns;       /* from token to token of running answers, with what is computed between;
                             smoothed,       0 = not known */
    /* Undisturbed steps of so many answers, smoothed, 0 = not known: each followed one like it. A
     * step after something else takes longer, as caches are cold. */
    double calm_ns[FORECAST_ANSWERS + 1];
    double
        beside_ns[FORECAST_ANSWERS + 1]; /* steps of so many after something else, in the same way;
                                            they follow the machine faster than the costs do */
};

/* Starts from the given costs, which are believed until steps say otherwise. */
void forecast_init(struct forecast *f, double base_ns, double answer_ns, double prompt_ns);
void forecast_learn(struct forecast *f, int with_logits, int without, double took_ns);
double forecast_step_ns(const struct forecast *f, int with_logits, int without);
/* What a token of a prompt takes, where much hangs on it that it is not taken for too little: no
 * less than was measured. Steps of answers beside prompts are dearer than undisturbed ones; after
 * many of those the fit takes a short piece's tokens to be all but free. */
double forecast_token_ns(const struct forecast *f);
/* A step of so many answers took so long; calm: the one before it was one of as many. */
void forecast_answers(struct forecast *f, int answers, bool calm, double took_ns);
/* What a piece of a long prompt may take between two steps of so many answers: with the step that
 * follows it FORECAST_GAP undisturbed ones, and never less than a step takes beside prompts, so
 * that prompts get on also when the machine has become slower since. */
double forecast_piece_ns(const struct forecast *f, int answers);
/* Running answers got their next token after so long. */
void forecast_paced(struct forecast *f, double took_ns);
/* What a step took, but for what held the machine up: some times what was predicted at most. */
double forecast_bounded(double took_ns, double predicted_ns);
/* The place in the order in which prompts are computed, of one that came at came_ns and has so many
 * tokens left: the time at which it would have been computed, were it alone (a virtual finish, as
 * in Demers, Keshav and Shenker, "Analysis and Simulation of a Fair Queueing Algorithm", 1989).
 * Least first: a short prompt goes before a long one that came a little earlier, and nobody is
 * overtaken by those who come later than that time of his. weight is how much a prompt's own length
 * counts: with 0 prompts would go in order of arrival, with very much the shortest first. */
double forecast_order_ns(const struct forecast *f, double came_ns, int tokens);
/* A first token that was predicted after predicted_ns came after took_ns. */
void forecast_check(struct forecast *f, double predicted_ns, double took_ns);
/* An answer of so many tokens has ended: by itself, or because it could not be longer. */
void forecast_answered(struct forecast *f, int tokens, bool by_itself);

struct forecast_running { /* a request that has its slot */
    int left;             /* tokens that it may still say at most */
    int reserved;         /* tokens that its slot may come to hold */
    int todo;             /* tokens of its prompt still to be computed, 0 = it is answering */
    double age_ns;        /* since it came */
};

struct forecast_request { /* one that waits, or asks */
    int fresh;            /* tokens of its prompt that must be computed */
    int most;             /* of its answer */
    int reserve;
    double age_ns; /* since it came; of one that asks 0 */
};

struct forecast_state {
    struct forecast_running *running; /* the order is changed */
    int n_running;
    const struct forecast_request *ahead; /* those that go before, in their order */
    int n_ahead;
    int idle;        /* slots */
    int64_t cells;   /* tokens of room beside what the running ones have reserved */
    int quick;       /* prompts up to so many tokens are computed in larger pieces */
    int quick_chunk; /* tokens of such a prompt that are computed at once beside answers */
    int chunk;       /* the same of a longer one */
    bool rows;       /* each piece of a prompt is a step of its own, and one of the answers follows;
                        else it is a part of theirs */
    bool likely;     /* by when it likely comes; else by when it very likely does */
    double ahead_ns; /* what is computed before any prompt: the rest of this step, texts */
};

/* Nanoseconds until the request's first token. Changes state's numbers. */
double forecast_first_token(const struct forecast *f, struct forecast_state *state,
                            const struct forecast_request *r);
