/* Whether decoding steps run on all threads or on one.
 *
 * Threads wait for each other by spinning at some hundred barriers of each step, so with other
 * processes on the cores all of them can be slower than one alone. After `interval` decoding steps
 * the other way is tried, by turns with the usual one on steps of the same size, until it is some
 * wins ahead or behind: a step for which another process had a core for a moment decides nothing.
 * A step that comes after a piece of a prompt is never a try: it compares with nothing, and would
 * make a gap longer that is long already.
 * What does not win is tried again later and later. Nothing here has threads or a clock of its own.
 */
#pragma once

#include <stdbool.h>

#define PACE_ITEMS 16 /* decoding steps of at most so many items are looked at */

struct pace {
    int threads, most;
    int items;    /* of the last decoding step on the usual number of threads */
    double took;  /* by it, nanoseconds */
    double usual; /* of decoding steps with as many items, smoothed */
    int slowed;   /* steps in a row that took much longer than usual */
    int since, interval;
    bool trying; /* the next step runs the other way if it is as large as the last one */
    bool tried;  /* the other way's turn is over, and the usual one's comes */
    int ahead;   /* wins of the other way less those of the usual one */
    bool beside; /* the pass before was no decoding step: answers have waited for it already */
};

void pace_init(struct pace *p, int threads, int most);
/* The threads of a step with so many items; more than PACE_ITEMS: it is no decoding step. */
int pace_threads(const struct pace *p, int items);
void pace_learn(struct pace *p, int items, int threads, double took_ns);
