/* From the store's rows to what the ranker learns from and is judged by. */
#pragma once

#include "base/arena.h"
#include "learn/replay.h"
#include "store/learning.h"

#define EVIDENCE_ROWS_MAX 20000

struct evidence_set { /* all in the arena that it was loaded into */
    struct ranker_question *questions;
    size_t n_questions;
    struct ranker_rating *ratings; /* oldest first */
    size_t *turn_of;               /* of each rating */
    size_t n_ratings, n_turns;
    struct replay_turn *turns;     /* oldest first; passages in the order shown */
    int64_t *turn_at, *rated_at;   /* rated_at: 0 where nobody rated, only did something */
    struct replay_choice *choices; /* turns that showed one of two, oldest first */
    size_t *choice_turn;           /* of each */
    size_t n_choices;
    size_t dims, left_out; /* rows that were too old */
    int64_t rated;         /* turns that a person rated */
};
/* The newest EVIDENCE_ROWS_MAX rows, and of them those of the newest RANKER_QUESTIONS_MAX
 * questions. Only passages of documents that more than one person may read; only questions with a
 * vector of the model in use. Blocking reads go through the transaction. */
enum err evidence_load(struct store_tx *tx, struct arena *a, struct evidence_set *ret) ERR_CHECK;
