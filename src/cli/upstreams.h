/* The pool of model servers as the configuration names it: the engine, one address, several, or a
 * JSON file (docs/upstreams.md). */
#pragma once

#include "config/config.h"
#include "upstream/upstream.h"

enum err upstreams_open(const struct config *c, struct upstream **ret,
                        struct errinfo *ei) ERR_CHECK;
