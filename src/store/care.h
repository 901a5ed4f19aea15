/* The care of a running database: a check soon after the start and on demand, and backups by the
 * clock, each of which is restored beside it once to see that it can be. One thread of its own; it
 * reads, and delays nobody's write. docs/store.md. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

struct care;

struct care_options {
    const char *db_path;
    const char *backup_dir; /* made when it is missing */
    int backup_hours;       /* between backups; 0 = only on demand */
    int keep;               /* newest backups kept, 0 = 7 */
};
enum err care_new(const struct care_options *o, struct care **ret, struct errinfo *ei) ERR_CHECK;
void care_free(struct care *c); /* waits for what is under way */

enum care_task { CARE_CHECK = 1, CARE_BACKUP = 2 };
void care_ask(struct care *c, enum care_task task); /* soon; any thread, does not block */

struct care_state {
    int64_t checked_at, backed_up_at; /* Unix ms of the last success; 0 = none yet */
    bool running;
    struct str check_error, backup_error; /* of the last try, "" = it went well; in the arena */
    struct str backup_path;               /* the newest verified one, "" = none */
};
enum err care_state(struct care *c, struct arena *a, struct care_state *ret) ERR_CHECK;

/* ---- the backups that care has made, without a running one ---- */
#define CARE_BACKUPS_MAX 1000 /* looked at in a folder; more are not listed */
struct care_backup {
    int64_t at; /* Unix ms, whole seconds: what was acknowledged before it is in the backup */
    int64_t bytes;
    const char *path; /* in the arena */
};
/* Newest first; none when the folder is not there. */
enum err care_backups(const char *folder, struct arena *a, struct care_backup **ret,
                      size_t *ret_n) ERR_CHECK;
/* "2026-11-27", "2026-11-27 10:00", "2026-11-27T10:00:30Z": UTC; a day is its beginning. False:
 * none of these. */
bool care_parse_time(const char *text, int64_t *ret_ms);
