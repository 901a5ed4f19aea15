/* Times of day in a text: "7:35", "19.30 Uhr", "7.30 pm", "19h30", "7 pm", "9 a.m.", "7 o'clock",
 * "noon", and the 7 of "7 to 9 pm". A number with a point and no such word behind it is a price or
 * a date. */
#pragma once

#include <stdbool.h>

#include "base/str.h"

#define DAYTIMES_MAX 64 /* of one text; what comes after them is not found */

struct daytime {
    size_t from, to; /* bytes */
    int minutes;     /* since midnight, 0 to 1439 */
    bool half;       /* of either half of the day: "7:35" may be in the evening */
    bool whole;      /* written without minutes, or with 00 */
};

/* In order; returns how many. */
size_t daytimes_find(struct str text, struct daytime ret[DAYTIMES_MAX]);
bool daytime_same(const struct daytime *a, const struct daytime *b);
/* The one that has these bytes, or NULL. */
const struct daytime *daytime_at(const struct daytime *list, size_t n, size_t from, size_t to);
