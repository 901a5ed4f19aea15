/* What training, scoring and keeping of a ranker share. */
#pragma once

#include "learn/ranker.h"

struct ranker_pair {
    uint32_t question, passage; /* of the lists below */
    float alpha;
};
struct ranker_word { /* sorted by hash */
    uint64_t hash;
    float weight;
};
struct ranker_chunk {   /* sorted by role, then key */
    uint64_t role, key; /* of a passage, or of its source */
    float weight;       /* -1 to 1 */
};

struct ranker {
    double weights[RANKER_SIGNALS];
    size_t dims, n_questions, n_passages, n_pairs, n_words, n_chunks;
    float *question_vectors, *passage_vectors; /* owned, n rows of dims */
    struct words *question_words;              /* owned */
    uint64_t *passage_keys;                    /* owned */
    struct ranker_pair *pairs;                 /* owned, by question */
    struct ranker_word *words;                 /* owned */
    struct ranker_chunk *chunks;               /* owned */
};

/* How much a rating for one question says about another: 1 for the same, 0 from afar. */
double ranker_question_kernel(double cosine, double words);
/* The same of passages that are not the same. */
double ranker_passage_kernel(double cosine);
double ranker_word_weight(void *ranker, uint64_t word);
