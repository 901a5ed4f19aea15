/* Who goes next: a counter of tokens served for each user (Sheng et al., "Fairness in Serving Large
 * Language Models", 2024). A user who comes back after a pause starts where the least served active
 * user stands, so that idleness is no credit. When nobody is active all begin anew at the same
 * level, so that service while nobody else wanted it is no debt either. Not thread-safe. */
#pragma once

#include <stdint.h>

struct fairness;
struct account; /* of an active user; NULL where more are active than are counted: all functions
                   take it */
struct fairness *fairness_new(void);
void fairness_free(struct fairness *f);
struct account *fairness_join(struct fairness *f, uint64_t user); /* a request of the user came */
void fairness_leave(struct fairness *f, struct account *a);       /* it ended */
void fairness_charge(struct account *a, double tokens);
double fairness_served(const struct fairness *f, const struct account *a);

/* Counts requests of each user: after the first call, the second says how many of the account's
 * were counted before this one. */
void fairness_count_anew(struct fairness *f);
int fairness_count(struct fairness *f, struct account *a);
