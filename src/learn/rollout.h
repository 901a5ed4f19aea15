/* The gradual roll-out of a candidate that the replay has proved.
 *
 *   (proof) ──no──→ refused
 *      │yes
 *      ▼   10 %           50 %           100 %
 *    trial ──────────→ half ──────────→ all ──→ replaced (by a newer one that is proved)
 *      └──────────────────┴────────────────┴──→ rolled back
 *
 * While it has a share, turns are drawn by conversation with a known chance, so that the two sides
 * compare as in a trial: by ratings (the self-normalised estimate of their difference with its
 * interval), by the time to the first words, by failures, by what the guard stops. It goes on when
 * each side has enough ratings and nothing speaks against it, and back at once when one of them
 * says so. With all of the traffic there is no other side: ratings, times, failures and what the
 * guard stops are held against what they were before. Pure: what happened comes in, what to do goes
 * out. */
#pragma once

#include "learn/estimate.h"

enum rollout {
    ROLLOUT_REFUSED,
    ROLLOUT_TRIAL,
    ROLLOUT_HALF,
    ROLLOUT_ALL,
    ROLLOUT_REPLACED,
    ROLLOUT_BACK
};
const char *rollout_name(enum rollout r);          /* "refused", "trial", "half", "all", "replaced",
                                                      "rolled_back" */
int rollout_from_name(const char *name, size_t n); /* -1 = none */
double rollout_share(enum rollout r);              /* of the traffic: 0, 0.1, 0.5, 1 */

#define ROLLOUT_RATED_MIN 15   /* of each side, before a step is taken */
#define ROLLOUT_DROP      0.05 /* of satisfaction, that sends a candidate with all traffic back */

struct rollout_seen {
    /* Without and with the candidate; ratings are in them, too. With all of the traffic the first
     * is what was before (turns 0: not known). */
    struct bandit_arm sides[2];
    const struct logged *ratings; /* arm 0 or 1 as above */
    size_t n;
};
struct rollout_step {
    enum rollout to; /* the same state: nothing to do yet */
    const char *why; /* "worse rated", "unsafe", "slow", "failing", "as good or better", "too few
                        ratings yet"; static */
    struct interval difference; /* of satisfaction, with − without */
    double difference_dr; /* the same, doubly robust; with all of the traffic nothing is drawn */
};
/* ERR_NOMEM, ERR_INVALID. now is TRIAL, HALF or ALL. */
enum err rollout_decide(enum rollout now, const struct rollout_seen *s,
                        struct rollout_step *ret) ERR_CHECK;
