/* robots.txt (RFC 9309): what a host asks of robots. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

#define ROBOTS_AGENT        "parley"
#define ROBOTS_BYTES_MAX    ((size_t)512 << 10) /* the RFC's least; what follows is not read */
#define ROBOTS_DELAY_MAX_MS 10000

/* Whether the rules for us (the group that names us, else the one for all) let path (with its
 * query, "/a?b") be fetched: the longest rule that matches decides, of equal ones the one that
 * allows. */
bool robots_allow(struct str text, struct str path);
/* Milliseconds between two requests that the host asks for (Crawl-delay), 0 = it says nothing. */
int64_t robots_delay_ms(struct str text);
