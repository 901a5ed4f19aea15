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

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
    /* Once it was ready or gave a first sign of life (supervisor_link_beat()), silence for so long
     * has it killed, with SIGABRT first, and started again; 0 = it is not watched. */
    int watchdog_ms;
    int starved_ms;       /* for so long when it is silent because it gets no processor */
    int64_t memory_bytes; /* private memory past which it is stopped and started again; 0 = none */
};

#define SUPERVISOR_CHILDREN_MAX 8

/* Runs the children until SIGTERM, SIGINT or SIGHUP, then stops them one after the other, in the
 * order of the table (another signal some moments later ends all at once). ret_end says why it
 * ended. Everything is borrowed. note: a file for what is to be set right by the next supervisor
 * should this one be killed (hurry.h); NULL = none. */
struct supervisor_end {
    const struct supervisor_child *gave_up; /* NULL = stopped by a signal */
    int exit_code;                          /* of the child that gave up */
};
/* What SIGUSR2 makes of this process: another program, which keeps its number, children and
 * descriptors (handover.c). check_argv is run first, in a process of its own: unless it exits with
 * 0, all goes on as before. NULL = SIGUSR2 is refused. */
struct supervisor_upgrade {
    const char *program;
    const char *const *argv, *const *check_argv;
    const int *fds; /* left open over the change */
    size_t n_fds;
    const char *own; /* the caller's note of what they are, for supervisor_handover_own() */
};

enum err supervisor_run(const struct supervisor_child *children, size_t n,
                        const struct supervisor_upgrade *upgrade, const char *note,
                        struct supervisor_end *ret_end, struct errinfo *ei) ERR_CHECK;
/* What the program before this one left as `own`; NULL when there was none. Borrowed from the
 * environment until supervisor_handover_forget(), which keeps it from the children. */
const char *supervisor_handover_own(void);
void supervisor_handover_forget(void);

/* ---- in a child ---- */

/* Sent to a child of the program before an upgrade when its successor is ready: it takes nothing
 * new and ends when what it has begun is over, SUPERVISOR_LEAVE_MS at the latest. */
#define SUPERVISOR_LEAVE_SIGNAL SIGUSR1
#define SUPERVISOR_LEAVE_MS     150000
struct supervisor_link {
    int lifeline_fd; /* at its end (readable) the supervisor is gone; -1 = not supervised */
    int status_fd;   /* for supervisor_link_ready(); -1 = none */
    int start;       /* which start of this child it is, from 1; 1 when not supervised */
    int before_pid;  /* the process of the program before an upgrade that still runs; 0 = none */
    bool told_ready;
};
/* Reads what the supervisor left in the environment and takes it out of there. */
void supervisor_link_get(struct supervisor_link *ret);
/* Once; later calls do nothing. SIGPIPE is to be ignored: the supervisor may be gone. */
void supervisor_link_ready(struct supervisor_link *l);
/* A sign of life, several times within the watchdog's time. Any thread. */
void supervisor_link_beat(const struct supervisor_link *l);
#define SUPERVISOR_BEAT_MS 500
