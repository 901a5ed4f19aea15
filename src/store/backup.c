/* Copies of the database: taking one, putting one back, checking one, and the lock that keeps two
 * servers off the same data directory. These block and are for the terminal commands;
 * docs/store.md. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/store_internal.h"

#define TOOL_BUSY_MS 5000

/* ---- the lock ---- */

enum err store_lock(const char *db_path, int *ret_fd, struct errinfo *ei) {
    char path[PATH_MAX], holder[32] = "";
    enum err e = path_check(db_path, ei);
    if (e && e != ERR_READ_ONLY)
        return e;
    snprintf(path, sizeof path, "%s.lock", db_path);
    /* On a read-only disk the file is there from before; it is the same lock. */
    int fd = open(path, e ? O_RDONLY | O_CLOEXEC : O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 && e)
        return err_set(ei, e,
                       "%s cannot be made, because its disk is mounted read-only: mount it for "
                       "writing, or copy the folder to one that is",
                       path);
    if (fd < 0)
        return err_set(ei, ERR_IO, "cannot open %s: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        ssize_t n = errno == EWOULDBLOCK ? pread(fd, holder, sizeof holder - 1, 0) : 0;
        holder[strcspn(holder, "\n")] = 0;
        close(fd);
        return err_set(
            ei, ERR_STORE_BUSY,
            "another Parley%s%s%s uses %s: end it first, or choose another data directory",
            n > 0 ? " (process " : "", n > 0 ? holder : "", n > 0 ? ")" : "", db_path);
    }
    /* The number only helps people; the lock is what counts, also on a disk that is full. */
    int n = snprintf(holder, sizeof holder, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) == 0)
        (void)!pwrite(fd, holder, (size_t)n, 0);
    *ret_fd = fd;
    return ERR_OK;
}

/* ---- copying ---- */

static enum err explain_file(enum err e, const char *what, const char *path, struct errinfo *ei) {
    if (errno == ENOSPC || errno == EDQUOT)
        e = ERR_DISK_FULL;
    return err_set(ei, e, "cannot %s %s: %s", what, path, strerror(errno));
}

static enum err sync_file(const char *path, struct errinfo *ei) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return explain_file(ERR_IO, "open", path, ei);
    enum err e = fsync(fd) == 0 ? ERR_OK : explain_file(ERR_IO, "sync", path, ei);
    close(fd);
    return e;
}

static enum err sync_dir_of(const char *path, struct errinfo *ei) {
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    return sync_file(dirname(copy), ei);
}

/* One step copies all pages in one read transaction: a consistent snapshot, and writers go on. */
static enum err copy_pages(struct conn *from, struct conn *to, const char *to_path,
                           struct errinfo *ei) {
    sqlite3_backup *b = sqlite3_backup_init(to->db, "main", from->db, "main");
    int rc = b ? sqlite3_backup_step(b, -1) : sqlite3_errcode(to->db);
    if (b)
        (void)sqlite3_backup_finish(b);
    if (rc == SQLITE_DONE)
        return ERR_OK;
    enum err e = conn_err(to, rc);
    return conn_explain(to, to_path, e, ei);
}

/* Writes a copy of `from` into a new file, as one file without a log, synced. path ends in XXXXXX,
 * which becomes a name that nobody else has: two backups to one place do not disturb each other. */
static enum err copy_to(struct conn *from, char *path, struct errinfo *ei) {
    struct conn *to = NULL;
    int fd = mkostemp(path, O_CLOEXEC); /* mode 0600 */
    if (fd < 0)
        return explain_file(ERR_IO, "create", path, ei);
    close(fd);
    enum err e = conn_open(path, CONN_PLAIN, TOOL_BUSY_MS, &to, ei);
    if (!e)
        e = copy_pages(from, to, path, ei);
    if (!e && (e = conn_exec(to, "PRAGMA journal_mode = DELETE")))
        conn_explain(to, path, e, ei);
    conn_close(to);
    if (!e)
        e = sync_file(path, ei);
    if (e)
        (void)unlink(path);
    return e;
}

static enum err open_existing(const char *path, struct conn **ret, struct errinfo *ei) {
    struct stat st;
    if (stat(path, &st) != 0)
        return err_set(ei, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path,
                       strerror(errno));
    struct conn *c = NULL;
    enum err e = path_check(path, ei) == ERR_READ_ONLY ? ERR_READ_ONLY : ERR_OK;
    if (!e && !(e = conn_open(path, CONN_PLAIN, TOOL_BUSY_MS, &c, ei)))
        e = migrate_check(c, path, ei);
    if (e == ERR_READ_ONLY || e == ERR_DISK_FULL) { /* reading it needs no room */
        conn_close(c);
        c = NULL;
        e = conn_open(path, CONN_VIEW, TOOL_BUSY_MS, &c, ei);
        if (!e)
            e = migrate_check(c, path, ei);
    }
    if (e)
        conn_close(c);
    else
        *ret = c;
    return e;
}

static bool same_file(const char *a, const char *b) {
    struct stat sa, sb;
    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
           sa.st_ino == sb.st_ino;
}

static enum err temp_name(const char *path, char out[PATH_MAX], struct errinfo *ei) {
    int n = snprintf(out, PATH_MAX, "%s.partial-XXXXXX", path);
    return n < 0 || n >= PATH_MAX ? err_set(ei, ERR_INVALID, "the path is too long") : ERR_OK;
}

enum err store_backup(const char *db_path, const char *to_path, struct errinfo *ei) {
    char temp[PATH_MAX];
    struct conn *from = NULL;
    enum err e = temp_name(to_path, temp, ei);
    if (!e)
        e = path_check(to_path, ei);
    if (!e && same_file(db_path, to_path))
        e = err_set(ei, ERR_INVALID, "%s is the database itself: choose another file", to_path);
    if (!e)
        e = open_existing(db_path, &from, ei);
    if (!e)
        e = copy_to(from, temp, ei);
    conn_close(from);
    if (e)
        return e;
    if (rename(temp, to_path) != 0) {
        e = explain_file(ERR_IO, "write", to_path, ei);
        (void)unlink(temp);
        return e;
    }
    return sync_dir_of(to_path, ei);
}

/* ---- checking ---- */

static enum err run_check(struct conn *c, const char *path, const char *sql, const char *what,
                          struct errinfo *ei) {
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(c->db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    enum err e = conn_err(c, rc);
    if (e)
        conn_explain(c, path, e, ei);
    else if (rc == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(st, 0), "ok") != 0)
        e = err_set(ei, ERR_CORRUPT,
                    "%s is damaged: %s%s. Restore a backup with `parley restore FILE`", path, what,
                    (const char *)sqlite3_column_text(st, 0));
    sqlite3_finalize(st);
    return e;
}

static enum err check_conn(struct conn *c, const char *path, struct errinfo *ei) {
    enum err e = run_check(c, path, "PRAGMA integrity_check(1)", "", ei);
    return e ? e
             : run_check(c, path, "PRAGMA foreign_key_check", "a row without its owner in table ",
                         ei);
}

enum err store_check(const char *db_path, struct errinfo *ei) {
    struct conn *c = NULL;
    enum err e = open_existing(db_path, &c, ei);
    if (!e)
        e = check_conn(c, db_path, ei);
    conn_close(c);
    return e;
}

/* ---- putting a copy back ---- */

/* What the log of the old database holds goes into its file where that is still possible, so that
 * the kept file is whole. A damaged one keeps its log beside it. */
static void fold_log(const char *db_path) {
    struct conn *c = NULL;
    if (conn_open(db_path, CONN_PLAIN, TOOL_BUSY_MS, &c, NULL))
        return;
    int64_t tables; /* a connection that has read nothing does not know that there is a log */
    if (!conn_int(c, "SELECT count(*) FROM sqlite_master", &tables))
        (void)sqlite3_wal_checkpoint_v2(c->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    conn_close(c);
}

static enum err keep_old(const char *db_path, struct errinfo *ei) {
    static const char *const parts[] = {"-wal", "-shm"};
    char kept[PATH_MAX], from[PATH_MAX + 8], to[PATH_MAX + 8];
    int n = snprintf(kept, sizeof kept, "%s.before-restore", db_path);
    if (n < 0 || n >= (int)sizeof kept)
        return err_set(ei, ERR_INVALID, "the path is too long");
    struct stat st;
    if (stat(db_path, &st) != 0)
        return ERR_OK;
    fold_log(db_path);
    (void)unlink(kept);
    /* A second name first: at no moment is there no database at db_path. */
    if (link(db_path, kept) != 0 && rename(db_path, kept) != 0)
        return explain_file(ERR_IO, "keep the old database as", kept, ei);
    for (size_t i = 0; i < 2; i++) {
        snprintf(from, sizeof from, "%s%s", db_path, parts[i]);
        snprintf(to, sizeof to, "%s%s", kept, parts[i]);
        (void)unlink(to);
        if (rename(from, to) != 0 && errno != ENOENT)
            return explain_file(ERR_IO, "keep the old database as", to, ei);
    }
    return ERR_OK;
}

static enum err restore_locked(const char *db_path, const char *from_path, struct errinfo *ei) {
    char temp[PATH_MAX];
    struct conn *from = NULL;
    enum err e = temp_name(db_path, temp, ei);
    if (!e)
        e = open_existing(from_path, &from, ei);
    if (!e)
        e = check_conn(from, from_path, ei);
    if (e == ERR_CORRUPT)
        err_set(ei, e, "%s is no Parley backup, or a damaged one; nothing was changed", from_path);
    if (!e)
        e = copy_to(from, temp, ei);
    conn_close(from);
    if (e)
        return e;
    if (!(e = keep_old(db_path, ei)) && rename(temp, db_path) != 0)
        e = explain_file(ERR_IO, "write", db_path, ei);
    if (e)
        (void)unlink(temp);
    return e ? e : sync_dir_of(db_path, ei);
}

enum err store_restore(const char *db_path, const char *from_path, struct errinfo *ei) {
    int lock = -1;
    if (same_file(db_path, from_path))
        return err_set(ei, ERR_INVALID, "%s is the database itself: name a backup", from_path);
    enum err e = store_lock(db_path, &lock, ei);
    if (e)
        return e;
    e = restore_locked(db_path, from_path, ei);
    close(lock);
    return e;
}
