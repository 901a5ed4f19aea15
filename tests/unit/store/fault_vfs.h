/* A VFS under SQLite whose Nth write, sync or open fails, once or from then on, as the disk would
 * (after SQLite's own test_vfs). It becomes the default, so that the store opens through it without
 * knowing. */
#pragma once

#include <stdatomic.h>
#include <string.h>

#include <sqlite3.h>

enum fault_op { FAULT_NONE, FAULT_WRITE, FAULT_SYNC, FAULT_OPEN };

static struct {
    sqlite3_vfs vfs;
    sqlite3_vfs *real;
    atomic_int op;        /* enum fault_op */
    atomic_int countdown; /* calls of that kind until the fault */
    atomic_int rc;        /* what the call returns then */
    atomic_bool once;
    atomic_int hits;
    atomic_int log_syncs; /* syncs of the write-ahead log that succeeded */
} fault;

struct fault_file {
    sqlite3_file base;
    bool is_log;
    sqlite3_file *real; /* behind this struct */
};

static void fault_set(enum fault_op op, int nth, int rc, bool once) {
    fault.countdown = nth;
    fault.rc = rc;
    fault.once = once;
    fault.hits = 0;
    fault.op = op;
}

static bool fault_due(enum fault_op op) {
    if (fault.op != (int)op || atomic_fetch_sub(&fault.countdown, 1) > 1)
        return false;
    fault.hits++;
    if (fault.once)
        fault.op = FAULT_NONE;
    return true;
}

#define REAL(f) (((struct fault_file *)(f))->real)

static int fault_close(sqlite3_file *f) {
    return REAL(f)->pMethods->xClose(REAL(f));
}
static int fault_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at) {
    return REAL(f)->pMethods->xRead(REAL(f), p, n, at);
}
static int fault_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at) {
    if (fault_due(FAULT_WRITE)) {
        /* A disk that fails may have taken a part. */
        (void)REAL(f)->pMethods->xWrite(REAL(f), p, n / 2, at);
        return fault.rc;
    }
    return REAL(f)->pMethods->xWrite(REAL(f), p, n, at);
}
static int fault_truncate(sqlite3_file *f, sqlite3_int64 n) {
    return REAL(f)->pMethods->xTruncate(REAL(f), n);
}
static int fault_sync(sqlite3_file *f, int flags) {
    if (fault_due(FAULT_SYNC))
        return fault.rc;
    int rc = REAL(f)->pMethods->xSync(REAL(f), flags);
    if (rc == SQLITE_OK && ((struct fault_file *)f)->is_log)
        fault.log_syncs++;
    return rc;
}
static int fault_size(sqlite3_file *f, sqlite3_int64 *n) {
    return REAL(f)->pMethods->xFileSize(REAL(f), n);
}
static int fault_lock(sqlite3_file *f, int l) {
    return REAL(f)->pMethods->xLock(REAL(f), l);
}
static int fault_unlock(sqlite3_file *f, int l) {
    return REAL(f)->pMethods->xUnlock(REAL(f), l);
}
static int fault_reserved(sqlite3_file *f, int *r) {
    return REAL(f)->pMethods->xCheckReservedLock(REAL(f), r);
}
static int fault_control(sqlite3_file *f, int op, void *p) {
    return REAL(f)->pMethods->xFileControl(REAL(f), op, p);
}
static int fault_sector(sqlite3_file *f) {
    return REAL(f)->pMethods->xSectorSize(REAL(f));
}
static int fault_device(sqlite3_file *f) {
    return REAL(f)->pMethods->xDeviceCharacteristics(REAL(f));
}
static int fault_shm_map(sqlite3_file *f, int i, int n, int extend, void volatile **p) {
    return REAL(f)->pMethods->xShmMap(REAL(f), i, n, extend, p);
}
static int fault_shm_lock(sqlite3_file *f, int at, int n, int flags) {
    return REAL(f)->pMethods->xShmLock(REAL(f), at, n, flags);
}
static void fault_shm_barrier(sqlite3_file *f) {
    REAL(f)->pMethods->xShmBarrier(REAL(f));
}
static int fault_shm_unmap(sqlite3_file *f, int del) {
    return REAL(f)->pMethods->xShmUnmap(REAL(f), del);
}

static const sqlite3_io_methods fault_methods = {
    .iVersion = 2,
    .xClose = fault_close,
    .xRead = fault_read,
    .xWrite = fault_write,
    .xTruncate = fault_truncate,
    .xSync = fault_sync,
    .xFileSize = fault_size,
    .xLock = fault_lock,
    .xUnlock = fault_unlock,
    .xCheckReservedLock = fault_reserved,
    .xFileControl = fault_control,
    .xSectorSize = fault_sector,
    .xDeviceCharacteristics = fault_device,
    .xShmMap = fault_shm_map,
    .xShmLock = fault_shm_lock,
    .xShmBarrier = fault_shm_barrier,
    .xShmUnmap = fault_shm_unmap,
};

static int fault_open(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *f, int flags, int *out) {
    (void)v;
    struct fault_file *ff = (struct fault_file *)f;
    ff->base.pMethods = NULL;
    if (fault_due(FAULT_OPEN))
        return fault.rc;
    ff->real = (sqlite3_file *)(ff + 1);
    ff->is_log = (flags & SQLITE_OPEN_WAL) != 0;
    int rc = fault.real->xOpen(fault.real, name, ff->real, flags, out);
    if (ff->real->pMethods)
        ff->base.pMethods = &fault_methods;
    return rc;
}

/* Before the first connection of the process. */
static void fault_install(void) {
    fault.real = sqlite3_vfs_find(NULL);
    fault.vfs = *fault.real;
    fault.vfs.zName = "fault";
    fault.vfs.szOsFile = (int)sizeof(struct fault_file) + fault.real->szOsFile;
    fault.vfs.xOpen = fault_open;
    sqlite3_vfs_register(&fault.vfs, 1);
}
