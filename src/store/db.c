/* Connections: opening with the pragmas that the promises rest on, mapping SQLite's results to our
 * errors, and saying plainly what is wrong with a file. See docs/store.md.
 *
 * No memory mapping: a read error in a mapped file is a SIGBUS, and the program must not die of a
 * disk. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/store_internal.h"

#include "base/buf.h"

#define PAGE_BYTES 4096
#define PAGE_SLOTS 1024

static const char pragmas_common[] = "PRAGMA foreign_keys = ON;"
                                     "PRAGMA temp_store = MEMORY;"
                                     "PRAGMA mmap_size = 0;"
                                     "PRAGMA wal_autocheckpoint = 0;";
/* FULL: a commit returns after the log is on the disk. The log is cut back to 16 MiB after a
 * checkpoint. */
static const char pragmas_write[] = "PRAGMA synchronous = FULL;"
                                    "PRAGMA cache_size = -8192;"
                                    "PRAGMA journal_size_limit = 16777216;";
static const char pragmas_read[] = "PRAGMA cache_size = -1024;"
                                   "PRAGMA query_only = ON;";

static void configure_library(void) {
    /* Statistics cost a lock for each allocation. Refused (harmlessly) when SQLite is running
     * already. */
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    /* A reader forgets its pages whenever somebody has written: their memory is taken from a list,
     * not from malloc() each time, which is still asked beyond it (a writer that has much to
     * write). SQLite chains the slots up at once, so all of them are memory from the start. */
    int header = 0;
    if (sqlite3_config(SQLITE_CONFIG_PCACHE_HDRSZ, &header) == SQLITE_OK) {
        int slot = (PAGE_BYTES + header + 7) / 8 * 8;
        void *pages = malloc((size_t)slot * PAGE_SLOTS); /* for the life of the process */
        if (pages && sqlite3_config(SQLITE_CONFIG_PAGECACHE, pages, slot, PAGE_SLOTS) != SQLITE_OK)
            free(pages);
    }
    (void)sqlite3_initialize();
}

bool err_is_hard(enum err e) {
    return e == ERR_IO || e == ERR_DISK_FULL || e == ERR_STORE_BUSY || e == ERR_CORRUPT ||
           e == ERR_NOMEM || e == ERR_INTERNAL || e == ERR_CANCELLED || e == ERR_READ_ONLY;
}

static enum err map_ioerr(struct conn *c, int extended) {
    if (extended == SQLITE_IOERR_NOMEM)
        return ERR_NOMEM;
    int sys = c->db ? sqlite3_system_errno(c->db) : 0;
    return sys == ENOSPC || sys == EDQUOT ? ERR_DISK_FULL : sys == EROFS ? ERR_READ_ONLY : ERR_IO;
}

enum err conn_err(struct conn *c, int rc) {
    if (rc == SQLITE_OK || rc == SQLITE_ROW || rc == SQLITE_DONE)
        return ERR_OK;
    int extended = c->db ? sqlite3_extended_errcode(c->db) : rc;
    if ((extended & 0xff) != (rc & 0xff))
        extended = rc;
    snprintf(c->detail, sizeof c->detail, "%s (SQLite %d)",
             c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc), extended);
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return ERR_DISK_FULL;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return ERR_STORE_BUSY;
    case SQLITE_IOERR:
        return map_ioerr(c, extended);
    case SQLITE_READONLY:
        return ERR_READ_ONLY;
    case SQLITE_CANTOPEN:
        return map_ioerr(c, extended);
    case SQLITE_PERM:
    case SQLITE_NOLFS:
        return ERR_IO;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_CORRUPT;
    case SQLITE_NOMEM:
        return ERR_NOMEM;
    case SQLITE_TOOBIG:
        return ERR_TOO_LARGE;
    case SQLITE_INTERRUPT:
        return ERR_CANCELLED;
    case SQLITE_CONSTRAINT:
        return extended == SQLITE_CONSTRAINT_UNIQUE || extended == SQLITE_CONSTRAINT_PRIMARYKEY
                   ? ERR_CONFLICT
                   : ERR_INVALID;
    default:
        return ERR_INTERNAL;
    }
}

enum err conn_explain(const struct conn *c, const char *path, enum err e, struct errinfo *ei) {
    const char *detail = c ? c->detail : "";
    switch (e) {
    case ERR_CORRUPT:
        return err_set(
            ei, e,
            "%s is no intact Parley database: %s. Put a backup in its place with `parley "
            "restore FILE`, or move the file away to start empty",
            path, detail);
    case ERR_STORE_BUSY:
        return err_set(ei, e,
                       "the database %s is locked by another process: end that one (a backup or "
                       "database tool, perhaps) and try again",
                       path);
    case ERR_DISK_FULL:
        return err_set(ei, e, "the disk that holds %s is full: free some space and try again",
                       path);
    case ERR_IO:
        return err_set(ei, e, "cannot read or write the database %s: %s", path, detail);
    case ERR_READ_ONLY:
        return err_set(ei, e, "%s cannot be written, only read: mount its disk for writing", path);
    case ERR_NOMEM:
        return err_set(ei, e, NULL);
    default:
        return err_set(ei, e, "the database %s: %s", path, detail);
    }
}

enum err path_check(const char *path, struct errinfo *ei) {
    char copy[PATH_MAX];
    struct stat st;
    if (!path || !path[0] || strlen(path) >= sizeof copy - 16)
        return err_set(ei, ERR_INVALID, "the path of the database is empty or too long");
    memcpy(copy, path, strlen(path) + 1);
    const char *dir = dirname(copy);
    if (stat(dir, &st) != 0 && errno == ENOENT)
        return err_set(ei, ERR_IO, "the directory %s does not exist: create it", dir);
    if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode))
        return err_set(ei, ERR_IO, "%s is no directory that can be used: %s", dir,
                       strerror(errno ? errno : ENOTDIR));
    if (access(dir, W_OK | X_OK) != 0 && errno == EROFS)
        return err_set(ei, ERR_READ_ONLY,
                       "%s is on a disk that is mounted read-only: mount it for writing", dir);
    if (access(dir, W_OK | X_OK) != 0)
        return err_set(ei, ERR_IO,
                       "the directory %s cannot be written (%s): change its permissions", dir,
                       strerror(errno));
    if (stat(path, &st) == 0) {
        if (!S_ISREG(st.st_mode))
            return err_set(ei, ERR_IO, "%s is no regular file", path);
        if (access(path, R_OK | W_OK) != 0)
            return err_set(ei, ERR_IO, "the file %s cannot be written (%s): change its permissions",
                           path, strerror(errno));
    }
    return ERR_OK;
}

static int note_wal(void *arg, sqlite3 *db, const char *name, int pages) {
    (void)db;
    (void)name;
    ((struct conn *)arg)->wal_pages = pages;
    ((struct conn *)arg)->committed = true;
    return SQLITE_OK;
}

/* The log mode is a property of the file; asking for it again is free. The row comes before the
 * commit that writes it, which may fail. */
static enum err set_wal(struct conn *c, const char *path, struct errinfo *ei) {
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(c->db, "PRAGMA journal_mode = WAL", -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    bool wal = rc == SQLITE_ROW && !strcmp((const char *)sqlite3_column_text(st, 0), "wal");
    if (rc == SQLITE_ROW)
        rc = sqlite3_step(st);
    enum err e = conn_err(c, rc);
    sqlite3_finalize(st);
    if (e)
        return conn_explain(c, path, e, ei);
    if (!wal)
        return err_set(
            ei, ERR_IO,
            "%s is on a file system that cannot hold a write-ahead log (a network share, "
            "perhaps): choose a local directory",
            path);
    return ERR_OK;
}

static enum err set_up(struct conn *c, const char *path, enum conn_mode mode, struct errinfo *ei) {
    if (mode == CONN_PLAIN)
        return ERR_OK;
    (void)sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    /* Else SQLite plans a statement again when what its LIMIT is bound to may have changed. */
    (void)sqlite3_db_config(c->db, SQLITE_DBCONFIG_ENABLE_QPSG, 1, NULL);
    enum err e = mode == CONN_WRITE ? set_wal(c, path, ei) : ERR_OK;
    if (e)
        return e;
    if ((e = conn_exec(c, pragmas_common)) ||
        (e = conn_exec(c, mode == CONN_WRITE ? pragmas_write : pragmas_read)))
        return conn_explain(c, path, e, ei);
    if (mode == CONN_WRITE) { /* after wal_autocheckpoint, which takes the hook for itself */
        sqlite3_wal_hook(c->db, note_wal, c);
        (void)sqlite3_set_authorizer(c->db, marks_authorize, c);
    }
    return ERR_OK;
}

/* How a database is named that nobody can write (https://sqlite.org/wal.html#readonly). A log that
 * was left is read through its index, which must be there, too; where there is no log SQLite would
 * make one, unless it is told that the file does not change. */
static enum err name_view(const char *path, struct buf *b, struct errinfo *ei) {
    char side[PATH_MAX + 8];
    struct stat st;
    snprintf(side, sizeof side, "%s-wal", path);
    bool log = stat(side, &st) == 0 && st.st_size > 0;
    snprintf(side, sizeof side, "%s-shm", path);
    if (log && access(side, R_OK) != 0)
        return err_set(ei, ERR_READ_ONLY,
                       "the newest of what %s holds stands in its log alone, which cannot be read "
                       "where nothing can be written: mount its disk for writing, or copy the "
                       "folder to one that can be written",
                       path);
    buf_addz(b, path[0] == '/' ? "file://" : "file:");
    for (const char *p = path; *p; p++) {
        if (strchr("?#%", *p))
            buf_addf(b, "%%%02x", (unsigned)*p);
        else
            buf_addc(b, *p);
    }
    buf_addz(b, log ? "?mode=ro" : "?mode=ro&immutable=1");
    return buf_err(b) ? err_set(ei, buf_err(b), NULL) : ERR_OK;
}

static enum err open_file(struct conn *c, const char *path, enum conn_mode mode,
                          struct errinfo *ei) {
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    struct buf name;
    buf_init(&name, (size_t)3 * PATH_MAX + 64);
    enum err e = ERR_OK;
    if (mode == CONN_VIEW) {
        flags |= SQLITE_OPEN_READONLY | SQLITE_OPEN_URI;
        e = name_view(path, &name, ei);
    } else {
        flags |= SQLITE_OPEN_READWRITE;
    }
    const char *vfs = mode == CONN_WRITE ? log_vfs() : NULL;
    if (!e && (e = conn_err(c, sqlite3_open_v2(name.n ? name.p : path, &c->db, flags, vfs))))
        conn_explain(c, path, e, ei);
    buf_deinit(&name);
    return e;
}

enum err conn_open(const char *path, enum conn_mode mode, int busy_timeout_ms, struct conn **ret,
                   struct errinfo *ei) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, configure_library);
    struct conn *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(ei, ERR_NOMEM, NULL);
    if (mode == CONN_WRITE) {
        /* SQLite would create it with 0644; the log and its index take the file's mode. */
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0)
            close(fd);
    }
    enum err e = open_file(c, path, mode, ei);
    if (e)
        goto fail;
    sqlite3_busy_timeout(c->db, busy_timeout_ms);
    if ((e = set_up(c, path, mode, ei)))
        goto fail;
    *ret = c;
    return ERR_OK;
fail:
    conn_close(c);
    return e;
}

void conn_close(struct conn *c) {
    if (!c)
        return;
    for (size_t i = 0; i < CONN_STMTS; i++)
        sqlite3_finalize(c->stmts[i].stmt);
    if (c->words)
        c->tokenizer.xDelete(c->words);
    sqlite3_close_v2(c->db);
    free(c);
}

enum err conn_exec(struct conn *c, const char *sql) {
    return conn_err(c, sqlite3_exec(c->db, sql, NULL, NULL, NULL));
}

enum err conn_int(struct conn *c, const char *sql, int64_t *ret) {
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(c->db, sql, -1, &st, NULL);
    int64_t v = 0;
    if (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW)
        v = sqlite3_column_int64(st, 0);
    enum err e = conn_err(c, rc);
    sqlite3_finalize(st);
    if (!e)
        *ret = v;
    return e;
}

/* Open addressing on the text's address. The set of statements is fixed by the source, so the table
 * never fills; a statement that finds no slot would be a bug of ours. */
const struct conn_stmt *conn_prepare(struct conn *c, const char *sql, enum err *ret_err) {
    size_t i = (size_t)(((uintptr_t)sql * 0x9e3779b97f4a7c15ull) >> 32) & (CONN_STMTS - 1);
    while (c->stmts[i].sql && c->stmts[i].sql != sql)
        i = (i + 1) & (CONN_STMTS - 1);
    if (!c->stmts[i].sql) {
        sqlite3_stmt *st = NULL;
        c->writes = 0;
        c->preparing = true;
        int rc = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL);
        c->preparing = false;
        enum err e = conn_err(c, rc);
        if (!e && c->n_stmts >= CONN_STMTS - 1) {
            snprintf(c->detail, sizeof c->detail, "the statement cache is too small");
            sqlite3_finalize(st);
            e = ERR_INTERNAL;
        }
        if (e) {
            *ret_err = e;
            return NULL;
        }
        c->stmts[i] = (struct conn_stmt){sql, st, c->writes};
        c->n_stmts++;
    }
    return &c->stmts[i];
}
