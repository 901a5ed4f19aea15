/* How much a turn may cost just now. The arithmetic alone, for pace.c, degrade.c and their tests.
 */
#pragma once

#include <stdint.h>

/* What is left out, each with all before it, as the load grows. */
enum degrade_level {
    DEGRADE_NONE,
    DEGRADE_BACKGROUND, /* no titles and summaries */
    DEGRADE_PASSAGES,   /* fewer passages, no search services */
    DEGRADE_MODEL,      /* the smaller model, if one is configured */
    DEGRADE_APPROVED,   /* answers that a person approved, for roles that have some */
};

struct pressure {
    double full; /* answers in progress ÷ max_running */
    double slow; /* share of the newest first words that took more than a second */
    int lag_ms;  /* by how much the busiest loop is late */
};

enum degrade_level degrade_wanted(const struct pressure *p);
/* Up at once, down a step each two seconds. */
enum degrade_level degrade_next(enum degrade_level now, enum degrade_level wanted,
                                int64_t since_change_ms);

/* Tokens that come within this time go out together: a loop that is late saves itself the calls,
 * for a gap between tokens that stays below what a reader notices. */
int pace_flush_ms(int lag_ms);
/* The loop's lateness, from the newest pulse's: rises at once, falls slowly. */
int pace_lag_ms(int before_ms, int late_ms);
