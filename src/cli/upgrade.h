/* How `parley serve` becomes a newer Parley without refusing a connection or breaking a stream:
 * what it hands over and how it is asked to (`parley upgrade`, or SIGUSR2 to its process).
 *
 * The descriptors stay open over the change; a note in the environment says what they are:
 * "lock=FD;engine=FD;listen=FD,FD,…" (engine=-1 = none). */
#pragma once

#include "base/arena.h"
#include "config/config.h"
#include "supervisor/supervisor.h"

#define UPGRADE_LISTENERS_MAX 256

struct held {
    int lock_fd, engine_fd; /* -1 = none */
    int listeners[UPGRADE_LISTENERS_MAX];
    size_t n_listeners;
};

/* What the program before this one held. False: there was none, or its note cannot be read. Takes
 * the note out of the environment. */
bool upgrade_take_held(struct held *ret);

/* Describes this program's upgrade to the supervisor, by its own path and command line. Everything
 * lives in the arena. ERR_IO when they cannot be read. */
enum err upgrade_describe(const struct held *held, struct arena *a, struct supervisor_upgrade *ret,
                          struct errinfo *ei) ERR_CHECK;

/* Says in <run_dir>/serve.pid who runs: "PID VERSION TIME ADDRESS". address: the page's URL, or
 * "unix:/path". */
void upgrade_write_pid(const struct config *c, const char *address);
void upgrade_remove_pid(const struct config *c);

#define UPGRADE_ADDRESS_MAX 300
/* The address of the Parley that runs on c's data; false = none runs, or it does not say. */
bool upgrade_running_address(const struct config *c, char out[UPGRADE_ADDRESS_MAX]);
