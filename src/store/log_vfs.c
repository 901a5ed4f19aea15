/* The log of the writer's connection: what a group writes goes to the kernel in a few large writes.
 *
 * SQLite writes each page of a commit as two small writes, its frame's head and the page, one
 * behind the other. During a group's commit (log_gather()) they gather in a buffer here while they
 * are contiguous; it goes out when it is full, when something else is asked of the file, and with
 * the frame that ends the commit, whose page is never held: a commit stands in the file when SQLite
 * has written it, as ever, and syncs and the log's index, through which readers see it, come behind
 * that. Pages that SQLite writes before a commit, for want of memory, are not held: nothing is left
 * of a transaction that is rolled back, and what fails to be written fails the commit. A frame's
 * head (24 bytes) says in bytes 4 to 7 how many pages the database has, in those that end a commit,
 * or 0 (https://sqlite.org/fileformat.html#walformat).
 *
 * It stands on whatever VFS is the default; all files but that log are that one's own. */
#include <stdlib.h>
#include <string.h>

#include "store/store_internal.h"

/* SQLite takes less than 128 KiB in one write (its VFS for Unix). */
#define GATHERED_MAX ((sqlite3_int64)120 << 10)
#define FRAME_HEAD   24
#define REAL_SIZE    1024 /* bytes of a file of the default VFS at most */

struct log_file {
    sqlite3_file base;
    sqlite3_file *real;  /* behind this struct */
    char *gathered;      /* owned; GATHERED_MAX bytes */
    sqlite3_int64 at, n; /* where they belong */
    bool gathering;      /* else the buffer is empty and everything goes straight through */
    bool ending;         /* what comes ends the commit, and goes straight through, too */
};

static struct log_file *log_of(sqlite3_file *f) {
    return (struct log_file *)(void *)f;
}

/* After a failure nothing of it is written again: the commit has failed. */
static int send(struct log_file *l) {
    sqlite3_int64 n = l->n;
    l->n = 0;
    return n ? l->real->pMethods->xWrite(l->real, l->gathered, (int)n, l->at) : SQLITE_OK;
}

static int log_close(sqlite3_file *f) {
    struct log_file *l = log_of(f);
    int rc = send(l), closed = l->real->pMethods->xClose(l->real);
    free(l->gathered);
    return rc ? rc : closed;
}

static int log_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at) {
    struct log_file *l = log_of(f);
    int rc = send(l);
    return rc ? rc : l->real->pMethods->xRead(l->real, p, n, at);
}

static bool ends_commit(const unsigned char *head, int n) {
    return n == FRAME_HEAD && (head[4] || head[5] || head[6] || head[7]);
}

static int log_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at) {
    struct log_file *l = log_of(f);
    int rc = SQLITE_OK;
    if (!l->gathering || l->ending)
        return l->real->pMethods->xWrite(l->real, p, n, at);
    l->ending = ends_commit(p, n);
    if (l->n && (at != l->at + l->n || l->n + n > GATHERED_MAX))
        rc = send(l);
    if (rc)
        return rc;
    if (n > GATHERED_MAX)
        return l->real->pMethods->xWrite(l->real, p, n, at);
    if (!l->n)
        l->at = at;
    memcpy(l->gathered + l->n, p, (size_t)n);
    l->n += n;
    return l->ending ? send(l) : SQLITE_OK;
}

static int log_truncate(sqlite3_file *f, sqlite3_int64 n) {
    struct log_file *l = log_of(f);
    int rc = send(l);
    return rc ? rc : l->real->pMethods->xTruncate(l->real, n);
}

static int log_sync(sqlite3_file *f, int flags) {
    struct log_file *l = log_of(f);
    int rc = send(l);
    return rc ? rc : l->real->pMethods->xSync(l->real, flags);
}

static int log_size(sqlite3_file *f, sqlite3_int64 *n) {
    struct log_file *l = log_of(f);
    int rc = send(l);
    return rc ? rc : l->real->pMethods->xFileSize(l->real, n);
}

static int log_lock(sqlite3_file *f, int level) {
    return log_of(f)->real->pMethods->xLock(log_of(f)->real, level);
}

static int log_unlock(sqlite3_file *f, int level) {
    return log_of(f)->real->pMethods->xUnlock(log_of(f)->real, level);
}

static int log_reserved(sqlite3_file *f, int *ret) {
    return log_of(f)->real->pMethods->xCheckReservedLock(log_of(f)->real, ret);
}

static int log_control(sqlite3_file *f, int op, void *arg) {
    return log_of(f)->real->pMethods->xFileControl(log_of(f)->real, op, arg);
}

static int log_sector(sqlite3_file *f) {
    return log_of(f)->real->pMethods->xSectorSize(log_of(f)->real);
}

static int log_device(sqlite3_file *f) {
    return log_of(f)->real->pMethods->xDeviceCharacteristics(log_of(f)->real);
}

static const sqlite3_io_methods log_methods = {
    .iVersion = 1, /* the rest is asked of a database alone */
    .xClose = log_close,
    .xRead = log_read,
    .xWrite = log_write,
    .xTruncate = log_truncate,
    .xSync = log_sync,
    .xFileSize = log_size,
    .xLock = log_lock,
    .xUnlock = log_unlock,
    .xCheckReservedLock = log_reserved,
    .xFileControl = log_control,
    .xSectorSize = log_sector,
    .xDeviceCharacteristics = log_device,
};

void log_gather(struct conn *c, bool on) {
    sqlite3_file *f = NULL;
    if (sqlite3_file_control(c->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &f) != SQLITE_OK || !f ||
        f->pMethods != &log_methods)
        return; /* the default VFS's */
    struct log_file *l = log_of(f);
    l->gathering = on;
    l->ending = false;
    l->n = 0; /* of a commit that failed */
}

/* ---- the VFS ---- */

static sqlite3_vfs *real_vfs(void) {
    return sqlite3_vfs_find(NULL);
}

static int vfs_open(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *f, int flags, int *out) {
    sqlite3_vfs *real = real_vfs();
    struct log_file *l = log_of(f);
    (void)v;
    f->pMethods = NULL;
    if (!real || real->szOsFile > REAL_SIZE)
        return SQLITE_CANTOPEN;
    if (!(flags & SQLITE_OPEN_WAL))
        return real->xOpen(real, name, f, flags, out);
    *l = (struct log_file){.real = (sqlite3_file *)(void *)(l + 1),
                           .gathered = malloc((size_t)GATHERED_MAX)};
    l->real->pMethods = NULL;
    int rc = l->gathered ? real->xOpen(real, name, l->real, flags, out) : SQLITE_NOMEM;
    if (rc == SQLITE_OK) {
        f->pMethods = &log_methods;
        return rc;
    }
    if (l->real->pMethods)
        l->real->pMethods->xClose(l->real);
    free(l->gathered);
    return rc;
}

static int vfs_delete(sqlite3_vfs *v, const char *name, int sync_dir) {
    (void)v;
    return real_vfs()->xDelete(real_vfs(), name, sync_dir);
}

static int vfs_access(sqlite3_vfs *v, const char *name, int flags, int *ret) {
    (void)v;
    return real_vfs()->xAccess(real_vfs(), name, flags, ret);
}

static int vfs_full_name(sqlite3_vfs *v, const char *name, int n, char *out) {
    (void)v;
    return real_vfs()->xFullPathname(real_vfs(), name, n, out);
}

static int vfs_randomness(sqlite3_vfs *v, int n, char *out) {
    (void)v;
    return real_vfs()->xRandomness(real_vfs(), n, out);
}

static int vfs_sleep(sqlite3_vfs *v, int us) {
    (void)v;
    return real_vfs()->xSleep(real_vfs(), us);
}

static int vfs_time(sqlite3_vfs *v, double *ret) {
    (void)v;
    return real_vfs()->xCurrentTime(real_vfs(), ret);
}

static int vfs_last_error(sqlite3_vfs *v, int n, char *out) {
    (void)v;
    return real_vfs()->xGetLastError(real_vfs(), n, out);
}

const char *log_vfs(void) {
    static sqlite3_vfs vfs = {.iVersion = 1,
                              .szOsFile = (int)sizeof(struct log_file) + REAL_SIZE,
                              .zName = "parley-log",
                              .xOpen = vfs_open,
                              .xDelete = vfs_delete,
                              .xAccess = vfs_access,
                              .xFullPathname = vfs_full_name,
                              .xRandomness = vfs_randomness,
                              .xSleep = vfs_sleep,
                              .xCurrentTime = vfs_time,
                              .xGetLastError = vfs_last_error};
    if (!sqlite3_vfs_find(vfs.zName)) {
        vfs.mxPathname = real_vfs() ? real_vfs()->mxPathname : 0;
        if (!vfs.mxPathname || sqlite3_vfs_register(&vfs, 0) != SQLITE_OK)
            return NULL; /* the default one, then */
    }
    return vfs.zName;
}
