/* A VFS under SQLite that knows what a disk would still hold after a loss of power: what was
 * synced, and of what was written since then any part, in any order, torn between sectors.
 * power_cut() puts such a state into a folder. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#define POWER_SECTOR 512

struct power_write { /* n 0: a truncation to `at` bytes */
    sqlite3_int64 at;
    size_t n;
    char *data;
};

struct power_file {
    sqlite3_file base;
    sqlite3_file *real;
    struct power_disk *disk; /* NULL: a file that does not matter */
};

static struct power_disk { /* the database and its log */
    char *synced;
    size_t n_synced;
    struct power_write *since;
    size_t n_since, size_since;
} power_disks[2];

static struct {
    sqlite3_vfs vfs;
    sqlite3_vfs *real;
    pthread_mutex_t lock; /* of the two below; cut() runs under it */
    int countdown;        /* writes and syncs until cut() is called; 0 = never */
    bool was_cut;
    void (*cut)(void);
} power = {.lock = PTHREAD_MUTEX_INITIALIZER};

#define POWER_REAL(f) (((struct power_file *)(f))->real)

static void power_tick(void) {
    pthread_mutex_lock(&power.lock);
    if (power.countdown > 0 && --power.countdown == 0) {
        power.cut();
        power.was_cut = true;
    }
    pthread_mutex_unlock(&power.lock);
}

static void power_arm(int countdown) {
    pthread_mutex_lock(&power.lock);
    power.countdown = countdown;
    power.was_cut = false;
    pthread_mutex_unlock(&power.lock);
}

/* Whether the power went since it was armed; afterwards it does not go any more. */
static bool power_disarm(void) {
    pthread_mutex_lock(&power.lock);
    bool was = power.was_cut;
    power.countdown = 0;
    pthread_mutex_unlock(&power.lock);
    return was;
}

static void power_note(struct power_disk *d, const void *p, size_t n, sqlite3_int64 at) {
    if (!d)
        return;
    if (d->n_since == d->size_since) {
        d->size_since = d->size_since ? d->size_since * 2 : 64;
        d->since = realloc(d->since, d->size_since * sizeof *d->since);
    }
    struct power_write *w = &d->since[d->n_since++];
    *w = (struct power_write){at, n, n ? malloc(n) : NULL};
    if (n)
        memcpy(w->data, p, n);
}

static void power_apply(char **bytes, size_t *size, const struct power_write *w, size_t from,
                        size_t to) {
    size_t end = (size_t)w->at + to;
    if (end > *size) {
        *bytes = realloc(*bytes, end);
        memset(*bytes + *size, 0, end - *size);
        *size = end;
    }
    memcpy(*bytes + w->at + from, w->data + from, to - from);
}

static void power_synced(struct power_disk *d) {
    for (size_t i = 0; d && i < d->n_since; i++) {
        struct power_write *w = &d->since[i];
        if (w->n)
            power_apply(&d->synced, &d->n_synced, w, 0, w->n);
        else if ((size_t)w->at < d->n_synced)
            d->n_synced = (size_t)w->at;
        free(w->data);
    }
    if (d)
        d->n_since = 0;
}

/* What may be left of one file. */
static void power_remains(const struct power_disk *d, const char *path) {
    size_t size = d->n_synced;
    char *bytes = malloc(size + 1);
    memcpy(bytes, d->synced ? d->synced : "", size);
    int chance = rand() % 101;
    for (size_t i = 0; i < d->n_since; i++) {
        const struct power_write *w = &d->since[i];
        if (!w->n && rand() % 100 < chance)
            size = (size_t)w->at < size ? (size_t)w->at : size;
        for (size_t at = 0; at < w->n; at += POWER_SECTOR) {
            size_t to = at + POWER_SECTOR < w->n ? at + POWER_SECTOR : w->n;
            if (rand() % 100 < chance)
                power_apply(&bytes, &size, w, at, to);
        }
    }
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, size, f) != size || fclose(f))
        abort();
    free(bytes);
}

static int power_close(sqlite3_file *f) {
    return POWER_REAL(f)->pMethods->xClose(POWER_REAL(f));
}
static int power_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at) {
    return POWER_REAL(f)->pMethods->xRead(POWER_REAL(f), p, n, at);
}
static int power_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at) {
    int rc = POWER_REAL(f)->pMethods->xWrite(POWER_REAL(f), p, n, at);
    power_note(((struct power_file *)f)->disk, p, (size_t)n, at);
    power_tick();
    return rc;
}
static int power_truncate(sqlite3_file *f, sqlite3_int64 n) {
    power_note(((struct power_file *)f)->disk, NULL, 0, n);
    return POWER_REAL(f)->pMethods->xTruncate(POWER_REAL(f), n);
}
static int power_sync(sqlite3_file *f, int flags) {
    (void)flags; /* the real one would only cost time */
    power_tick();
    power_synced(((struct power_file *)f)->disk);
    return SQLITE_OK;
}
static int power_size(sqlite3_file *f, sqlite3_int64 *n) {
    return POWER_REAL(f)->pMethods->xFileSize(POWER_REAL(f), n);
}
static int power_lock(sqlite3_file *f, int l) {
    return POWER_REAL(f)->pMethods->xLock(POWER_REAL(f), l);
}
static int power_unlock(sqlite3_file *f, int l) {
    return POWER_REAL(f)->pMethods->xUnlock(POWER_REAL(f), l);
}
static int power_reserved(sqlite3_file *f, int *r) {
    return POWER_REAL(f)->pMethods->xCheckReservedLock(POWER_REAL(f), r);
}
static int power_control(sqlite3_file *f, int op, void *p) {
    return POWER_REAL(f)->pMethods->xFileControl(POWER_REAL(f), op, p);
}
static int power_sector(sqlite3_file *f) {
    return POWER_REAL(f)->pMethods->xSectorSize(POWER_REAL(f));
}
static int power_device(sqlite3_file *f) {
    (void)f;
    return 0; /* promises nothing: no atomic writes, no order */
}
static int power_shm_map(sqlite3_file *f, int i, int n, int extend, void volatile **p) {
    return POWER_REAL(f)->pMethods->xShmMap(POWER_REAL(f), i, n, extend, p);
}
static int power_shm_lock(sqlite3_file *f, int at, int n, int flags) {
    return POWER_REAL(f)->pMethods->xShmLock(POWER_REAL(f), at, n, flags);
}
static void power_shm_barrier(sqlite3_file *f) {
    POWER_REAL(f)->pMethods->xShmBarrier(POWER_REAL(f));
}
static int power_shm_unmap(sqlite3_file *f, int del) {
    return POWER_REAL(f)->pMethods->xShmUnmap(POWER_REAL(f), del);
}

static const sqlite3_io_methods power_methods = {
    .iVersion = 2,
    .xClose = power_close,
    .xRead = power_read,
    .xWrite = power_write,
    .xTruncate = power_truncate,
    .xSync = power_sync,
    .xFileSize = power_size,
    .xLock = power_lock,
    .xUnlock = power_unlock,
    .xCheckReservedLock = power_reserved,
    .xFileControl = power_control,
    .xSectorSize = power_sector,
    .xDeviceCharacteristics = power_device,
    .xShmMap = power_shm_map,
    .xShmLock = power_shm_lock,
    .xShmBarrier = power_shm_barrier,
    .xShmUnmap = power_shm_unmap,
};

static int power_open(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *f, int flags, int *out) {
    (void)v;
    struct power_file *pf = (struct power_file *)f;
    pf->base.pMethods = NULL;
    pf->real = (sqlite3_file *)(pf + 1);
    pf->disk = flags & SQLITE_OPEN_MAIN_DB ? &power_disks[0]
               : flags & SQLITE_OPEN_WAL   ? &power_disks[1]
                                           : NULL;
    int rc = power.real->xOpen(power.real, name, pf->real, flags, out);
    if (pf->real->pMethods)
        pf->base.pMethods = &power_methods;
    return rc;
}

static int power_delete(sqlite3_vfs *v, const char *name, int sync_dir) {
    (void)v;
    size_t n = strlen(name);
    struct power_disk *log = &power_disks[1];
    if (n > 4 && strcmp(name + n - 4, "-wal") == 0) {
        power_synced(log);
        log->n_synced = 0;
    }
    return power.real->xDelete(power.real, name, sync_dir);
}

/* Before the first connection; the real VFS stays the default for `unix`. */
static void power_install(void (*cut)(void)) {
    power.cut = cut;
    power.real = sqlite3_vfs_find(NULL);
    power.vfs = *power.real;
    power.vfs.zName = "power";
    power.vfs.szOsFile = (int)sizeof(struct power_file) + power.real->szOsFile;
    power.vfs.xOpen = power_open;
    power.vfs.xDelete = power_delete;
    sqlite3_vfs_register(&power.vfs, 1);
}
