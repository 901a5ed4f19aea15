/* What the commands on the data itself share: the store opened beside (or without) a running
 * server, and printing as tables or JSON. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "cli/cli.h"
#include "store/store.h"

/* Where a command on the store keeps its things; also the arg of its store_fn. */
struct desk {
    const struct args *args;
    struct config *config;
    struct store *store;
    struct arena *arena;
    struct errinfo ei;
};

enum desk_open { DESK_EXISTING, DESK_CREATE /* make the database when there is none */ };

/* Returns 0 or an exit status, after the message; desk_close() in either case. */
int desk_open(struct desk *d, const struct args *a, enum desk_open how);
void desk_close(struct desk *d);

/* Run fn(tx, d) and wait. Return 0 or an exit status, after the message. */
int desk_read(struct desk *d, store_fn fn, void *arg);
int desk_write(struct desk *d, store_fn fn, void *arg);

/* The user of that name or e-mail; with name NULL the one that is meant without saying: the only
 * one, else the first administrator who is not disabled. ERR_NOT_FOUND says who could not be found.
 * For use inside a store_fn. */
enum err desk_find_user(struct store_tx *tx, struct arena *a, const char *name, struct user *ret,
                        struct errinfo *ei) ERR_CHECK;

/* Every user, oldest last; pages are put together. */
enum err desk_all_users(struct store_tx *tx, struct arena *a, struct user **ret,
                        size_t *ret_n) ERR_CHECK;

/* Asks yes or no on the terminal; without one, only --yes counts. The command has the switch "yes".
 */
bool desk_confirmed(const struct desk *d, const char *question);

/* ---- printing ---- */
struct table; /* in an arena */
struct table *table_new(struct arena *a, const char *const *heads /* NULL-terminated */);
void table_add(struct table *t,
               struct str cell); /* copied; cells go row by row; control characters become spaces */
void table_print(const struct table *t);

struct str desk_time(struct arena *a,
                     int64_t wall_ms); /* "2026-11-23 22:28" in local time, "-" for never */
void desk_print_json(struct buf *b);   /* a line, and frees the buffer */
#define DESK_JSON_MAX ((size_t)1 << 30)
