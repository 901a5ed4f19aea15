/* See care.h. A backup is FOLDER/parley-TIME.db; its trial is FOLDER/.trial/parley.db, restored as
 * `parley restore` would, checked in full, and removed. */
#include "store/care.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "store/store.h"

#define KEEP_DEFAULT  7
#define FIRST_CHECK_S 30
#define HOUR_MS       3600000ll
#define NAME_START    "parley-"
#define NAME_TIME     "%Y%m%dT%H%M%SZ"

struct care {
    char *db_path, *folder;
    int hours, keep;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    unsigned asked;
    bool ending, running;
    int64_t checked_at, backed_up_at;
    struct errinfo check_ei, backup_ei;
    char backup_path[PATH_MAX];
};

/* ---- checking ---- */

static void note(struct care *c, struct errinfo *slot, int64_t *at, enum err e,
                 const struct errinfo *ei) {
    pthread_mutex_lock(&c->lock);
    *slot = e ? *ei : (struct errinfo){0};
    if (!e)
        *at = clock_wall_ms();
    pthread_mutex_unlock(&c->lock);
}

static void check(struct care *c) {
    struct errinfo ei = {0};
    int64_t start = clock_mono_ns();
    enum err e = store_check(c->db_path, &ei);
    note(c, &c->check_ei, &c->checked_at, e, &ei);
    if (e)
        log_event(LOG_ERROR, "store.check_failed", LF_ERR(&ei));
    else
        log_event(LOG_INFO, "store.checked", LF_INT("ms", (clock_mono_ns() - start) / 1000000));
}

/* ---- backups ---- */

static int newer_first(const void *a, const void *b) {
    return strcmp(*(char *const *)b, *(char *const *)a);
}

static bool is_backup(const char *name) {
    struct str s = str_from(name);
    return str_starts(s, STR(NAME_START)) && str_ends(s, STR(".db"));
}

/* The names sort by time. Each is to be freed. */
static size_t read_names(const char *folder, char *names[CARE_BACKUPS_MAX]) {
    size_t n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && n < CARE_BACKUPS_MAX && (e = readdir(d));)
        if (is_backup(e->d_name) && (names[n] = strdup(e->d_name)))
            n++;
    if (d)
        closedir(d);
    qsort(names, n, sizeof *names, newer_first);
    return n;
}

static void remove_old(struct care *c) {
    char *names[CARE_BACKUPS_MAX], path[PATH_MAX];
    size_t n = read_names(c->folder, names);
    for (size_t i = 0; i < n; i++) {
        int m = snprintf(path, sizeof path, "%s/%s", c->folder, names[i]);
        if (i >= (size_t)c->keep && m > 0 && (size_t)m < sizeof path)
            unlink(path);
        free(names[i]);
    }
}

static void remove_trial(const char *folder, const char *db) {
    static const char *const ends[] = {"", "-wal", "-shm", ".lock", ".before-restore"};
    char path[PATH_MAX + 32];
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(path, sizeof path, "%s%s", db, ends[i]);
        unlink(path);
    }
    rmdir(folder);
}

/* store_restore() checks the backup in full and puts it in place; the copy is checked once more. */
static enum err try_restore(struct care *c, const char *backup, struct errinfo *ei) {
    char folder[PATH_MAX + 16], db[PATH_MAX + 32];
    snprintf(folder, sizeof folder, "%s/.trial", c->folder);
    snprintf(db, sizeof db, "%s/parley.db", folder);
    remove_trial(folder, db);
    if (mkdir(folder, 0700) != 0)
        return err_set(ei, errno == ENOSPC ? ERR_DISK_FULL : ERR_IO, "cannot make %.400s", folder);
    enum err e = store_restore(db, backup, ei);
    if (!e)
        e = store_check(db, ei);
    remove_trial(folder, db);
    return e;
}

static enum err make_backup(struct care *c, char path[PATH_MAX], struct errinfo *ei) {
    char when[32];
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(when, sizeof when, NAME_TIME, &tm);
    if (mkdir(c->folder, 0700) != 0 && errno != EEXIST)
        return err_set(ei, errno == ENOSPC ? ERR_DISK_FULL : ERR_IO, "cannot make %.400s",
                       c->folder);
    int n = snprintf(path, PATH_MAX, "%s/" NAME_START "%s.db", c->folder, when);
    if (n < 0 || n >= PATH_MAX)
        return err_set(ei, ERR_TOO_LARGE, "the name of the backup folder is too long");
    enum err e = store_backup(c->db_path, path, ei);
    if (e)
        return e;
    e = try_restore(c, path, ei);
    if (e) /* one that cannot be restored is none */
        unlink(path);
    return e;
}

static void back_up(struct care *c) {
    struct errinfo ei = {0};
    char path[PATH_MAX];
    int64_t start = clock_mono_ns();
    enum err e = make_backup(c, path, &ei);
    note(c, &c->backup_ei, &c->backed_up_at, e, &ei);
    metric_add(e ? M_BACKUPS_FAILED : M_BACKUPS, 1);
    if (e) {
        log_event(LOG_ERROR, "store.backup_failed", LF_ERR(&ei));
        return;
    }
    pthread_mutex_lock(&c->lock);
    snprintf(c->backup_path, sizeof c->backup_path, "%s", path);
    pthread_mutex_unlock(&c->lock);
    remove_old(c);
    log_event(LOG_INFO, "store.backed_up", LF_INT("ms", (clock_mono_ns() - start) / 1000000));
}

/* ---- the thread ---- */

/* Waits until something is asked or due; 0: the end. Holding the lock. */
static unsigned wait_for_task(struct care *c, int64_t *next_backup_ms, int64_t *next_check_ms) {
    for (;;) {
        int64_t now = clock_mono_ns() / 1000000;
        if (c->ending)
            return 0;
        if (*next_check_ms && now >= *next_check_ms) {
            *next_check_ms = 0;
            c->asked |= CARE_CHECK;
        }
        if (c->hours && now >= *next_backup_ms) {
            *next_backup_ms = now + c->hours * HOUR_MS;
            c->asked |= CARE_BACKUP;
        }
        if (c->asked) {
            unsigned asked = c->asked;
            c->asked = 0;
            return asked;
        }
        int64_t until = c->hours ? *next_backup_ms : INT64_MAX / 2;
        if (*next_check_ms && *next_check_ms < until)
            until = *next_check_ms;
        if (until == INT64_MAX / 2) {
            pthread_cond_wait(&c->wake, &c->lock);
            continue;
        }
        (void)clock_cond_wait(&c->wake, &c->lock, (until - now) * 1000000);
    }
}

static void *care_main(void *arg) {
    struct care *c = arg;
    int64_t now = clock_mono_ns() / 1000000;
    int64_t next_backup = now + c->hours * HOUR_MS, next_check = now + FIRST_CHECK_S * 1000;
    unsigned task;
    pthread_mutex_lock(&c->lock);
    while ((task = wait_for_task(c, &next_backup, &next_check))) {
        c->running = true;
        pthread_mutex_unlock(&c->lock);
        if (task & CARE_CHECK)
            check(c);
        if (task & CARE_BACKUP)
            back_up(c);
        pthread_mutex_lock(&c->lock);
        c->running = false;
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* ---- outside ---- */

static void release(struct care *c) {
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    free(c->db_path);
    free(c->folder);
    free(c);
}

enum err care_new(const struct care_options *o, struct care **ret, struct errinfo *ei) {
    struct care *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(ei, ERR_NOMEM, NULL);
    pthread_mutex_init(&c->lock, NULL);
    clock_cond_init(&c->wake);
    c->db_path = strdup(o->db_path);
    c->folder = strdup(o->backup_dir);
    c->hours = o->backup_hours;
    c->keep = o->keep ? o->keep : KEEP_DEFAULT;
    if (!c->db_path || !c->folder || pthread_create(&c->thread, NULL, care_main, c)) {
        release(c);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    *ret = c;
    return ERR_OK;
}

void care_free(struct care *c) {
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->ending = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    release(c);
}

void care_ask(struct care *c, enum care_task task) {
    pthread_mutex_lock(&c->lock);
    c->asked |= task;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

enum err care_state(struct care *c, struct arena *a, struct care_state *ret) {
    pthread_mutex_lock(&c->lock);
    struct care_state s = {
        .checked_at = c->checked_at,
        .backed_up_at = c->backed_up_at,
        .running = c->running || c->asked,
        .check_error = arena_str(a, str_from(c->check_ei.code ? c->check_ei.message : "")),
        .backup_error = arena_str(a, str_from(c->backup_ei.code ? c->backup_ei.message : "")),
        .backup_path = arena_str(a, str_from(c->backup_path)),
    };
    pthread_mutex_unlock(&c->lock);
    if (!s.check_error.p || !s.backup_error.p || !s.backup_path.p)
        return ERR_NOMEM;
    *ret = s;
    return ERR_OK;
}

/* ---- what there is ---- */

static bool parse_utc(const char *text, const char *format, int64_t *ret_ms) {
    struct tm tm = {0};
    const char *end = strptime(text, format, &tm);
    if (!end || *end)
        return false;
    *ret_ms = (int64_t)timegm(&tm) * 1000;
    return true;
}

bool care_parse_time(const char *text, int64_t *ret_ms) {
    static const char *const formats[] = {"%Y-%m-%d",           "%Y-%m-%d %H:%M",
                                          "%Y-%m-%d %H:%M:%S",  "%Y-%m-%dT%H:%MZ",
                                          "%Y-%m-%dT%H:%M:%SZ", NAME_TIME};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (parse_utc(text, formats[i], ret_ms))
            return true;
    return false;
}

enum err care_backups(const char *folder, struct arena *a, struct care_backup **ret,
                      size_t *ret_n) {
    char *names[CARE_BACKUPS_MAX];
    size_t n = read_names(folder, names), found = 0;
    struct care_backup *list = arena_array(a, n + 1, sizeof *list);
    bool whole = list != NULL;
    for (size_t i = 0; i < n; i++) {
        struct care_backup b = {.path = arena_printf(a, "%s/%s", folder, names[i])};
        struct stat st;
        whole = whole && b.path;
        if (whole && parse_utc(names[i], NAME_START NAME_TIME ".db", &b.at) &&
            stat(b.path, &st) == 0 && S_ISREG(st.st_mode)) {
            b.bytes = st.st_size;
            list[found++] = b;
        }
        free(names[i]);
    }
    if (!whole)
        return ERR_NOMEM;
    *ret = list;
    *ret_n = found;
    return ERR_OK;
}
