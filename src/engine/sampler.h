/* Chooses the next token straight from the logits: one pass over the vocabulary, a small heap, no
 * sort of it.
 *
 * Order, as in llama.cpp: logit bias and penalties, top-k, top-p, min-p, temperature, draw. Without
 * top-k the best SAMPLER_CANDIDATES take part. Equal seed, parameters and logits give equal tokens.
 * Compute thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define SAMPLER_CANDIDATES 1024
#define SAMPLER_TOP        20 /* top_logprobs at most */
#define SAMPLER_BIASES     300
#define SAMPLER_RECENT     64 /* tokens that the repetition penalty looks back */

struct sampler_bias {
    int32_t token;
    float bias; /* -100 and less = never */
};

struct sampler_params {
    float temperature; /* 0 = greedy */
    int top_k;         /* 0 = off */
    float top_p;       /* 1 = off */
    float min_p;       /* 0 = off */
    float repetition;  /* over the last SAMPLER_RECENT tokens of prompt and answer, 1 = off */
    float presence, frequency; /* over the answer's tokens, 0 = off */
    uint64_t seed;
    int logprobs; /* -1 = none, else how many alternatives */
    int n_biases;
    struct sampler_bias biases[SAMPLER_BIASES];
};
void sampler_params_init(
    struct sampler_params *p); /* temperature 0.8, top_k 40, top_p 0.95, min_p 0.05 */

struct sampled {
    int32_t token; /* -1: none is allowed (a guide) */
    float logprob; /* of the model's own distribution, when asked for */
    int n_top;
    struct {
        int32_t token;
        float logprob;
    } top[SAMPLER_TOP];
};

struct sampler;
/* The parameters are copied. vocabulary bounds the tokens. */
struct sampler *sampler_new(const struct sampler_params *p, int vocabulary);
void sampler_free(struct sampler *s);
/* Tells of a token of the prompt (the last ones suffice) or of a partial answer. */
void sampler_see(struct sampler *s, int32_t token, bool answer);
/* From now on only what the guide allows is chosen; it is told what was chosen. Borrowed. */
struct guide;
void sampler_set_guide(struct sampler *s, struct guide *g);
/* Changes logits in place. */
void sampler_next(struct sampler *s, float *logits, struct sampled *ret);
