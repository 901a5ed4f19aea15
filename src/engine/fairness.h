/* Who goes next: a counter of tokens served for each user (Sheng et al., "Fairness in Serving Large
 * Language Models", 2024). A user who comes back after a pause starts where the least served active
 * user stands, so that idleness is no credit. When nobody is active all begin anew at the same
 * level, so that service while nobody else wanted it is no debt either. Compute thread only. */
#pragma once

#include <stdint.h>

struct fairness;
struct fairness *fairness_new(void);
void fairness_free(struct fairness *f);
void fairness_join(struct fairness *f, uint64_t user);  /* a request of the user came */
void fairness_leave(struct fairness *f, uint64_t user); /* it ended */
void fairness_charge(struct fairness *f, uint64_t user, double tokens);
double fairness_served(const struct fairness *f, uint64_t user);
