/* Learning in the server: what the turn asks of it, and the work beside. On loop 0, every few
 * seconds, a job of one thread reads what is in use; after so many turns it looks at the
 * guard-rails, every ten minutes it goes through the whole pass; approved answers get their
 * vectors. */
#pragma once

#include <stdatomic.h>

#include "learn/learn.h"
#include "net/jobs.h"
#include "retrieval/retrieval.h"
#include "turn/turn.h"

struct server_learn {
    struct learn *learn;
    struct turn_learn turn; /* for turns_options */
    struct store *store;
    struct upstream *upstream;
    struct retrieval *retrieval;
    struct learn_ranker *given; /* what the search has; held */
    struct jobs *jobs;          /* one thread */
    struct loop *loop;          /* these are loop 0's */
    struct upstream_client *client;
    struct upstream_call *embedding;
    struct timer *timer;
    bool busy, stopped;
    atomic_int ended; /* turns since the guard-rails were looked at */
    int64_t ran_ns, guarded_ns;
    struct arena *arena; /* of the answers that are being embedded */
    struct approved_answer *answers;
    size_t n_answers;
    struct str model; /* in the arena */
    struct buf vectors;
};

enum err learn_open(struct server_learn *l, struct store *s, struct upstream *u,
                    struct retrieval *r, struct errinfo *ei) ERR_CHECK;
enum err learn_start(struct server_learn *l, struct loop *loop, struct upstream_client *c,
                     struct errinfo *ei) ERR_CHECK; /* on loop 0 */
void learn_stop(struct server_learn *l);            /* on loop 0, before its client goes */
void learn_close(struct server_learn *l); /* after the turns are gone, before the store closes */
