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
 * SUPERVISOR_EXIT_GIVE_UP or _DATA: everything is then stopped and nothing restarted. One thread;
 * libevent is not used, which keeps the process small. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* As in sysexits.h: EX_CONFIG, what was asked for is not right; EX_DATAERR, the data is not. */
#define SUPERVISOR_EXIT_GIVE_UP      78
#define SUPERVISOR_EXIT_GIVE_UP_DATA 65

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
 * order of the table (another signal some moments later ends all at once). ret_end says why it
 * ended. Everything is borrowed. */
struct supervisor_end {
    const struct supervisor_child *gave_up; /* NULL = stopped by a signal */
    int exit_code;                          /* of the child that gave up */
};
enum err supervisor_run(const struct supervisor_child *children, size_t n,
                        struct supervisor_end *ret_end, struct errinfo *ei) ERR_CHECK;

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
