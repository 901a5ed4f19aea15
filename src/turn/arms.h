/* What the turn asks of learning: which variant of the role answers, whether a person has approved
 * an answer to this very question, and it tells how the answer ended. The functions are filled in
 * by the server (src/cli/server_main.c) from src/learn, which stands beside the turn; without them
 * every role answers as it is. All are called on the turn's loop, take microseconds and do not
 * block. */
#pragma once

#include "base/arena.h"
#include "store/store.h"

struct turn_arm { /* strings in the turn's arena; zero but for the chances: the role as it is */
    struct uuid arm_id;
    double chance;                   /* with which this arm was drawn */
    struct str system_prompt, model; /* STR_NULL = the role's */
    double temperature, top_p;       /* < 0 = the role's */
    int passages;                    /* 0 = the usual number */
    struct uuid candidate_id;        /* a ranker is on trial or in use */
    bool ranked;                     /* and this turn has it */
    double ranked_chance;            /* with which it has what it has */
    bool swaps;         /* where one passage is shown: the second best, when it is nearly as good */
    double swap_chance; /* with which answers do; 0 = none does */
};

struct turn_examples {    /* in the turn's arena */
    struct str text, ids; /* STR_NULL: there are none; ids: a JSON list */
    struct uuid trial_id; /* not set: there were none */
    bool shown;           /* else they are left out, for comparison */
    double chance;        /* with which they are shown, or are not */
};

struct turn_ended {
    struct uuid role_id, arm_id, candidate_id;
    bool ranked, unsafe, failed;
    int64_t ttft_ms; /* -1 = no words came */
};

struct turn_learn {
    void *ctx;
    void (*choose)(void *ctx, const struct role *role, const struct uuid *conversation_id,
                   const struct uuid *message_id, struct arena *a, struct turn_arm *ret);
    /* The role has approved answers: the question is worth embedding. */
    bool (*has_answers)(void *ctx, const struct uuid *role_id);
    bool (*find_answer)(void *ctx, const struct uuid *role_id, struct str question,
                        const float *vector, int dimensions, struct str model, struct arena *a,
                        struct uuid *ret_id, struct str *ret_answer);
    /* Answers approved for like questions, as text to stand behind the system prompt. */
    void (*find_examples)(void *ctx, const struct uuid *role_id, const struct uuid *conversation_id,
                          const float *vector, int dimensions, struct str model, size_t max_bytes,
                          struct arena *a, struct turn_examples *ret);
    void (*ended)(void *ctx, const struct turn_ended *e);
};
