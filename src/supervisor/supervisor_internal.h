/* What the files of the supervisor share. */
#pragma once

#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

#include "supervisor/backoff.h"
#include "supervisor/hurry.h"
#include "supervisor/supervisor.h"

#define NS_PER_MS 1000000

/* CHILD_RUNNING with `leaving`: of the program before an upgrade; it goes when its successor is
 * ready, and nothing follows it. */
enum child_state { CHILD_WAITING, CHILD_RUNNING, CHILD_STOPPED };

struct child {
    const struct supervisor_child *what;
    enum child_state state;
    pid_t pid;     /* RUNNING */
    int status_fd; /* RUNNING and not at its end, else -1 */
    int starts;
    bool ready;         /* said so in its last life */
    bool leaving;       /* see above */
    int64_t due_ns;     /* WAITING: when to start; RUNNING and stopping: when to kill */
    bool asked_to_stop; /* RUNNING: SIGTERM was sent, or SIGABRT by the watchdog */
    int64_t asked_ns;   /* when */
    int64_t beat_ns;    /* RUNNING: when it gave its last sign; 0 = none yet */
    struct cpu_seen {   /* of its main thread, which gives the signs; as of the last one */
        int64_t ran_ns, waited_ns;
    } cpu;
    struct backoff backoff;
    int64_t failures_since_ns; /* of the failures that are counted for a crash loop */
    int failures;
};

/* Twice: those of an upgraded program and those that leave. */
#define CHILDREN_MAX (2 * SUPERVISOR_CHILDREN_MAX)

struct supervisor {
    struct child children[CHILDREN_MAX];
    size_t n; /* of the table; those that leave follow */
    size_t n_all;
    const struct supervisor_upgrade *upgrade; /* NULL = none can be made */
    int signal_fd;
    int lifeline[2];   /* read end for the children; the write end closes with us */
    sigset_t old_mask; /* what children get back */
    bool stopping, announced;
    int64_t stopping_since_ns;
    int64_t memory_looked_ns, systemd_told_ns, looked_ns;
    int64_t systemd_ns; /* how often systemd's watchdog wants a sign, 0 = never */
    struct hurry hurry;
    pid_t checking; /* the program that an upgrade would run, looking whether it can; 0 = none */
    struct supervisor_end end;
};

/* ---- start.c ---- */
void child_start(struct supervisor *s, struct child *c);
int64_t child_wait_again(struct child *c); /* milliseconds until the next start */

/* ---- watch.c: who gives no sign, who grew too large, systemd's own watchdog ---- */
void watch_children(struct supervisor *s, int64_t now);
void watch_beat(struct child *c, int64_t now); /* it gave a sign */
/* After a pause of our own: what children did in it counts for nothing. */
void watch_paused(struct supervisor *s, int64_t now);
/* Whether a thread was silent for want of a processor: of that time it ran and waited so long;
 * runnable: it waits now, or runs. A sign takes microseconds: who ran for a tenth of the watchdog's
 * time and gave none is stuck, however long it waited beside. */
bool watch_starved(int64_t watchdog_ns, int64_t silent_ns, int64_t ran_ns, int64_t waited_ns,
                   bool runnable);
int64_t watch_due_ms(const struct supervisor *s,
                     int64_t now); /* until it is to be called; -1 = never */
void child_ask_to_stop(struct child *c);

/* ---- handover.c: becoming another program without letting go of anything ---- */
void upgrade_begin(struct supervisor *s);               /* looks whether the program can run */
void upgrade_checked(struct supervisor *s, int status); /* as waitpid() gave it */
/* Takes over what the program before left in the environment, if it left something. */
void handover_take(struct supervisor *s);
