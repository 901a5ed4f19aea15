#include "engine/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/crypto.h"
#include "engine/model.h"

#define RECORDS   64
#define REGION    ((off_t)1 << 34)  /* apart; a state is smaller */
#define ROOM_STEP ((size_t)4 << 20) /* a conversation grows: its room does so in steps */
#define TRIES     3                 /* processes in a row that died before they said keep_good() */
#define MAGIC     "PARLEYK1"

#define LOCK_PAUSE_MS 20
#define LOCK_MOST_MS  2000

struct record {
    _Atomic uint64_t order; /* 0 = not in use */
    uint64_t conversation;
    uint64_t size; /* of the state */
    uint64_t room; /* bytes of its region that take memory, in use or not */
    int32_t n;     /* tokens */
};

struct header {
    char magic[8];
    uint64_t key, order;
    int32_t tries;
    struct record records[RECORDS];
};

struct keep {
    int fd; /* owned */
    size_t limit;
    struct header *h;
    struct {
        char *p; /* where the region is mapped, NULL = it is not */
        size_t size;
    } maps[RECORDS];
};

/* ---- the file ---- */

static void name_of(const char *data_dir, char *out, size_t size) {
    char hex[SHA256_HEX_LEN + 1], *whole = realpath(data_dir, NULL);
    sha256_hex(str_from(whole ? whole : data_dir), hex);
    free(whole);
    snprintf(out, size, "/parley-%u-%.16s", (unsigned)geteuid(), hex);
}

static bool is_ours(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
           (st.st_mode & 077) == 0;
}

static bool has_name(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

/* Who has it is ending, most likely. */
static bool lock_it(int fd) {
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000l};
    for (int ms = 0; ms < LOCK_MOST_MS; ms += LOCK_PAUSE_MS) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

int keep_file_open(const char *data_dir, bool fresh) {
    char name[64];
    name_of(data_dir, name, sizeof name);
    for (int i = 0; i < 3; i++) {
        if (fresh || i > 0)
            shm_unlink(name); /* who has it keeps it */
        int fd = shm_open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0 && is_ours(fd) && lock_it(fd) && has_name(fd))
            return fd;
        if (fd >= 0)
            close(fd);
    }
    return -1;
}

void keep_file_remove(const char *data_dir) {
    char name[64];
    name_of(data_dir, name, sizeof name);
    shm_unlink(name);
}

/* ---- regions ---- */

static off_t region_at(int i) {
    return (off_t)(i + 1) * REGION;
}

static size_t tokens_size(int n) {
    return ((size_t)n * sizeof(int32_t) + 63) / 64 * 64;
}

static size_t record_size(const struct record *r) {
    return tokens_size(r->n) + r->size;
}

static char *region_map(struct keep *k, int i, size_t size) {
    if (k->maps[i].size >= size)
        return k->maps[i].p;
    if (k->maps[i].p)
        munmap(k->maps[i].p, k->maps[i].size);
    k->maps[i].p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, k->fd, region_at(i));
    if (k->maps[i].p == MAP_FAILED)
        k->maps[i].p = NULL;
    k->maps[i].size = k->maps[i].p ? size : 0;
    return k->maps[i].p;
}

/* The region gives its memory back. */
static void region_drop(struct keep *k, int i) {
    struct record *r = &k->h->records[i];
    atomic_store(&r->order, 0);
    if (k->maps[i].p)
        munmap(k->maps[i].p, k->maps[i].size);
    k->maps[i].p = NULL;
    k->maps[i].size = 0;
    uint64_t room = r->room;
    r->room = 0; /* before it is true: nobody may ever believe in room that is gone */
    if (room)
        fallocate(k->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, region_at(i), REGION);
}

/* ---- life ---- */

/* Whether what stands there is of this model and can be believed. */
static bool is_sound(const struct keep *k, uint64_t key) {
    const struct header *h = k->h;
    struct stat st;
    if (memcmp(h->magic, MAGIC, sizeof h->magic) != 0 || h->key != key || h->tries >= TRIES ||
        fstat(k->fd, &st) != 0)
        return false;
    for (int i = 0; i < RECORDS; i++) {
        const struct record *r = &h->records[i];
        if (r->room > (uint64_t)REGION || (r->room && region_at(i) + (off_t)r->room > st.st_size))
            return false;
        if (r->order && (r->n < 1 || r->size > r->room || record_size(r) > r->room))
            return false;
    }
    return true;
}

/* The header is there, whatever it says. */
static bool map_header(struct keep *k) {
    struct stat st;
    bool large = fstat(k->fd, &st) == 0 && st.st_size >= (off_t)sizeof *k->h;
    if (!large && (ftruncate(k->fd, 0) != 0 || fallocate(k->fd, 0, 0, sizeof *k->h) != 0))
        return false;
    void *p = mmap(NULL, sizeof *k->h, PROT_READ | PROT_WRITE, MAP_SHARED, k->fd, 0);
    k->h = p == MAP_FAILED ? NULL : p;
    return k->h != NULL;
}

struct keep *keep_new(int fd, uint64_t key, size_t limit) {
    struct keep *k = calloc(1, sizeof *k);
    if (!k) {
        close(fd);
        return NULL;
    }
    k->fd = fd;
    k->limit = limit;
    bool good = map_header(k);
    if (good && !is_sound(k, key)) {
        memset(k->h, 0, sizeof *k->h);
        good = ftruncate(fd, (off_t)sizeof *k->h) == 0; /* gives back what was beyond */
        memcpy(k->h->magic, MAGIC, sizeof k->h->magic);
        k->h->key = key;
    }
    if (!good) {
        keep_free(k);
        return NULL;
    }
    k->h->tries++;
    return k;
}

void keep_free(struct keep *k) {
    if (!k)
        return;
    for (int i = 0; i < RECORDS; i++)
        if (k->maps[i].p)
            munmap(k->maps[i].p, k->maps[i].size);
    if (k->h)
        munmap(k->h, sizeof *k->h);
    close(k->fd);
    free(k);
}

void keep_good(struct keep *k) {
    k->h->tries = 0;
}

/* ---- reading ---- */

/* The i-th newest, -1 = there are not so many. */
static int newest(const struct keep *k, int i) {
    uint64_t below = UINT64_MAX;
    for (;; i--) {
        int best = -1;
        uint64_t most = 0;
        for (int j = 0; j < RECORDS; j++) {
            uint64_t order = k->h->records[j].order;
            if (order > most && order < below) {
                most = order;
                best = j;
            }
        }
        if (best < 0 || i == 0)
            return best;
        below = most;
    }
}

bool keep_get(struct keep *k, int i, struct kept *ret) {
    int at = newest(k, i);
    if (at < 0)
        return false;
    const struct record *r = &k->h->records[at];
    const char *p = region_map(k, at, record_size(r));
    if (!p)
        return false;
    *ret = (struct kept){.conversation = r->conversation,
                         .tokens = (const int32_t *)(const void *)p,
                         .n = r->n,
                         .state = p + tokens_size(r->n),
                         .size = r->size};
    return true;
}

/* Whether the record holds the first of these tokens and nothing else. */
static bool is_beginning(const struct keep *k, int i, const int32_t *tokens, int n) {
    const struct record *r = &k->h->records[i];
    return r->order && r->n <= n && k->maps[i].p &&
           memcmp(k->maps[i].p, tokens, (size_t)r->n * sizeof *tokens) == 0;
}

int keep_held(const struct keep *k, const int32_t *tokens, int n) {
    int held = 0;
    for (int i = 0; i < RECORDS; i++)
        if (k->h->records[i].n > held && is_beginning(k, i, tokens, n))
            held = k->h->records[i].n;
    return held;
}

/* ---- writing ---- */

static size_t all_room(const struct keep *k) {
    size_t n = 0;
    for (int i = 0; i < RECORDS; i++)
        n += k->h->records[i].room;
    return n;
}

/* One that is not in use: the smallest that is large enough, else the largest. The oldest in use is
 * given up when there is none. */
static int take_record(struct keep *k, size_t size) {
    int best = -1, oldest = 0;
    for (int i = 0; i < RECORDS; i++) {
        const struct record *r = &k->h->records[i], *b = best < 0 ? NULL : &k->h->records[best];
        oldest = r->order < k->h->records[oldest].order ? i : oldest;
        if (r->order)
            continue;
        bool fits = r->room >= size, best_fits = b && b->room >= size;
        if (!b || (fits != best_fits ? fits : (r->room < b->room) == fits && r->room != b->room))
            best = i;
    }
    if (best >= 0)
        return best;
    atomic_store(&k->h->records[oldest].order, 0);
    return oldest;
}

/* Gives memory back: of a record that is not in use, else of the oldest. False: there is none. */
static bool give_up_one(struct keep *k, int but) {
    int victim = -1;
    for (int i = 0; i < RECORDS; i++) {
        const struct record *r = &k->h->records[i];
        if (i != but && r->room && (victim < 0 || r->order < k->h->records[victim].order))
            victim = i;
    }
    if (victim < 0)
        return false;
    region_drop(k, victim);
    return true;
}

/* Makes the record's region so large. */
static bool make_room(struct keep *k, int at, size_t size) {
    struct record *r = &k->h->records[at];
    size_t room = (size + ROOM_STEP - 1) / ROOM_STEP * ROOM_STEP;
    if (r->room >= size)
        return true;
    if (size > k->limit || room > (size_t)REGION)
        return false;
    while (all_room(k) - r->room + room > k->limit)
        if (!give_up_one(k, at))
            return false;
    while (fallocate(k->fd, 0, region_at(at), (off_t)room) != 0)
        if (errno != EINTR && (errno != ENOSPC || !give_up_one(k, at)))
            return false;
    r->room = room;
    return true;
}

bool keep_put(struct keep *k, struct model *m, int seq, uint64_t conversation,
              const int32_t *tokens, int n) {
    size_t state = m->ops->seq_size(m, seq), size = tokens_size(n) + state;
    int at = n > 0 && state ? take_record(k, size) : -1;
    char *p = at >= 0 && make_room(k, at, size) ? region_map(k, at, k->h->records[at].room) : NULL;
    if (!p)
        return false;
    struct record *r = &k->h->records[at];
    memcpy(p, tokens, (size_t)n * sizeof *tokens);
    if (m->ops->seq_save(m, seq, p + tokens_size(n), state) == 0)
        return false;
    r->conversation = conversation;
    r->size = state;
    r->n = n;
    atomic_store(&r->order, ++k->h->order); /* from here on it counts */
    for (int i = 0; i < RECORDS; i++)
        if (i != at && is_beginning(k, i, tokens, n))
            atomic_store(&k->h->records[i].order, 0); /* its memory is used for the next */
    return true;
}
