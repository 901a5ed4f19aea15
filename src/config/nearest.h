/* "Did you mean …?": the known word that is closest to a mistyped one. */
#pragma once

#include "base/str.h"

/* Restricted edit distance (insert, delete, replace, swap of neighbours: Damerau, optimal string
 * alignment), ignoring ASCII case and taking '-' for '_'. Words over 64 bytes are never near:
 * returns a value above 64. */
int nearest_distance(struct str a, struct str b);

/* Keeps the best of several candidates; start with {.distance = INT_MAX} and the mistyped word. */
struct nearest {
    struct str typed;
    const char *best; /* NULL until a candidate is close enough: a third of the word may differ */
    int distance;
};
void nearest_init(struct nearest *n, struct str typed);
void nearest_try(struct nearest *n, const char *candidate);
