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

/* Pieces of an answer that come within this time go out together: a loop that is late saves itself
 * the calls, for a gap between tokens that stays below what a reader notices. */
int pace_flush_ms(int lag_ms);
/* The same before it is late: n answers, with a piece each so often, that cost flush_us of the
 * loop's CPU time each, shall not take more than PACE_SHARE of it. The longer of both counts, up to
 * PACE_MOST_MS: two tokens of an answer with 30 a second. */
#define PACE_SHARE    .4
#define PACE_MOST_MS  60
#define PACE_READ_MS  16 /* from here on answers are also read so far apart */
#define PACE_EARLY_MS 4  /* so much earlier is not too early */
int pace_apart_ms(int n, double flush_us, int lag_ms);
/* The cost of a piece, from what was measured until now and in the time since: the loop's CPU time
 * and the pieces that went out. Few pieces say nothing. */
double pace_flush_us(double before_us, int64_t cpu_ns, int64_t flushes);
/* The loop's lateness, from the newest pulse's: rises at once, falls slowly. */
int pace_lag_ms(int before_ms, int late_ms);
