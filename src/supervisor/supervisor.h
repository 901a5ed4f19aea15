/* The supervisor: keeps child processes running. It opens nothing and knows nothing of what they
 * do; it holds the descriptors that it was given open while a child is away, so that connections
 * queue and none is refused, and passes them on at every start.
 *
 *   waiting ──due──→ running ──ended──→ waiting      (backoff.h says when it is due)
 *      │                │
 *      └──── stop ──────┴──→ stopped                 (SIGTERM, SIGINT, SIGHUP, or a child that
 * gives up)
 *
 * Children get a lifeline, a pipe that reaches its end when the supervisor dies in whatever way:
 * they then end themselves. A child that cannot work before a person changes something ends with
 * SUPERVISOR_EXIT_GIVE_UP: everything is then stopped and nothing restarted. One thread; libevent
 * is not used, which keeps the process small. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define SUPERVISOR_EXIT_GIVE_UP 78 /* EX_CONFIG of sysexits.h */

struct supervisor_child {
    const char *name;        /* in the log */
    const char *program;     /* what is executed; "/proc/self/exe" is this program itself */
    const char *const *argv; /* NULL-terminated */
    const char *const
        *env;       /* "NAME=value", in place of or added to ours; NULL-terminated; may be NULL */
    const int *fds; /* passed on under the same numbers */
    size_t n_fds;
    bool announces; /* says ready through supervisor_link_ready(); systemd is told when all such
                       have */
    int stop_ms;    /* from SIGTERM to SIGKILL */
};

#define SUPERVISOR_CHILDREN_MAX 8

/* Runs the children until SIGTERM, SIGINT or SIGHUP, then stops them one after the other, in the
 * order of the table (a second signal ends all at once). *ret_gave_up is the child that gave up, or
 * NULL. Everything is borrowed. */
enum err supervisor_run(const struct supervisor_child *children, size_t n,
                        const struct supervisor_child **ret_gave_up, struct errinfo *ei) ERR_CHECK;

/* ---- in a child ---- */
struct supervisor_link {
    int lifeline_fd; /* at its end (readable) the supervisor is gone; -1 = not supervised */
    int status_fd;   /* for supervisor_link_ready(); -1 = none */
    int start;       /* which start of this child it is, from 1; 1 when not supervised */
};
/* Reads what the supervisor left in the environment and takes it out of there. */
void supervisor_link_get(struct supervisor_link *ret);
/* Once; later calls do nothing. SIGPIPE is to be ignored: the supervisor may be gone. */
void supervisor_link_ready(struct supervisor_link *l);
