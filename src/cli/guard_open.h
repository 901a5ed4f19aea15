/* The guard of the server, from the configuration and the store: its policy (the one published
 * last, else guard_policy's file, else the built-in one), its classifier and its threads.
 *
 * With guard = on, data that are damaged or missing are an error: the server does not serve
 * unguarded. With guard = degraded it says so in the log and serves with what there is. */
#pragma once

#include "config/config.h"
#include "net/jobs.h"
#include "safety/classifier.h"
#include "safety/guard.h"
#include "store/store.h"
#include "upstream/upstream.h"

struct server_guard {
    struct classifier *classifier;
    struct safety_scorer scorer;
    struct safety *safety; /* NULL: guard = off */
    struct jobs *jobs;
    struct upstream *upstream; /* of a guard model; NULL = none */
    bool degraded;
};

enum err guard_open(struct server_guard *g, const struct config *c, struct store *store,
                    struct errinfo *ei) ERR_CHECK;
/* Before the loops' memory goes: waits for what is being judged. */
void guard_stop(struct server_guard *g);
void guard_close(struct server_guard *g); /* when nobody uses it any more */
