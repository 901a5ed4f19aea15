#include "turn/tails.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/crypto.h"

#define FOLDER     "/dev/shm"
#define MAGIC      "PARLEYT2"
#define RING       ((uint64_t)8 << 20) /* some seconds of thousands of answers */
#define RECORD_MAX (RING / 16)
#define FORMER_MAX 16
#define ID_BYTES   16
#define NAME_SIZE  128

struct record { /* then n bytes of text */
    unsigned char id[ID_BYTES];
    uint32_t at, n;
};

struct ring {
    char magic[8];
    int64_t begun_ns; /* by clock_mono_ns(), which goes on as long as /dev/shm does */
    /* Bytes that were ever written, and those of them that were written over. */
    _Atomic uint64_t head, tail;
    unsigned char bytes[RING];
};

struct tails {
    pthread_mutex_t lock; /* of who writes */
    struct ring *ring;    /* owned */
    int fd;               /* owned; locked while the process lives */
    char name[NAME_SIZE + 32];
};

struct place { /* of a record in its ring */
    unsigned char id[ID_BYTES];
    uint64_t at;
};

struct former {
    struct tails *tails;  /* owned */
    struct place *places; /* owned; by answer, then in the order of writing */
    size_t n;
};

struct former_tails {
    struct former list[FORMER_MAX];
    size_t n;
};

/* ---- the files ---- */

/* The folder itself, too: in containers that share /dev/shm each may call its own the same. */
static void prefix_of(const char *data_dir, char out[NAME_SIZE]) {
    struct stat st = {0};
    char hex[SHA256_HEX_LEN + 1], *whole = realpath(data_dir, NULL);
    sha256_hex(str_from(whole ? whole : data_dir), hex);
    free(whole);
    (void)stat(data_dir, &st);
    snprintf(out, NAME_SIZE, "parley-%u-%.16s-answers-%llx-%llx-", (unsigned)geteuid(), hex,
             (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
}

static void give_up(struct tails *t) {
    if (t->ring)
        munmap(t->ring, sizeof *t->ring);
    if (t->fd >= 0)
        close(t->fd);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static bool is_ours(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
           (st.st_mode & 077) == 0;
}

/* made: a new file, whose memory is there from now on, so that no write can fail. */
static struct tails *open_ring(const char *name, bool made) {
    struct tails *t = calloc(1, sizeof *t);
    struct stat st;
    if (!t)
        return NULL;
    pthread_mutex_init(&t->lock, NULL);
    snprintf(t->name, sizeof t->name, "/%s", name);
    t->fd = shm_open(t->name, O_RDWR | O_CLOEXEC | (made ? O_CREAT | O_EXCL : 0), 0600);
    bool free_ours = t->fd >= 0 && is_ours(t->fd) && flock(t->fd, LOCK_EX | LOCK_NB) == 0;
    bool good = free_ours;
    if (good && made)
        good = posix_fallocate(t->fd, 0, (off_t)sizeof *t->ring) == 0;
    bool has_size = good && fstat(t->fd, &st) == 0 && (size_t)st.st_size == sizeof *t->ring;
    good = good && has_size;
    void *p = good ? mmap(NULL, sizeof *t->ring, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd, 0)
                   : MAP_FAILED;
    if (p != MAP_FAILED) {
        t->ring = p;
        if (made) {
            t->ring->begun_ns = clock_mono_ns();
            memcpy(t->ring->magic, MAGIC, sizeof t->ring->magic);
        }
        return t;
    }
    if ((made && t->fd >= 0) || (free_ours && !has_size)) /* its process died making it */
        shm_unlink(t->name);
    give_up(t);
    return NULL;
}

/* fn may be NULL. Returns how many there are. */
static size_t each_file(const char *prefix, void (*fn)(void *ctx, const char *name), void *ctx) {
    DIR *dir = opendir(FOLDER);
    size_t n = 0;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (strncmp(e->d_name, prefix, strlen(prefix)) != 0)
            continue;
        n++;
        if (fn)
            fn(ctx, e->d_name);
    }
    if (dir)
        closedir(dir);
    return n;
}

struct tails *tails_open(const char *data_dir) {
    char prefix[NAME_SIZE], name[NAME_SIZE + 32];
    uint64_t random;
    prefix_of(data_dir, prefix);
    if (each_file(prefix, NULL, NULL) >= FORMER_MAX) /* they cannot be stored, it seems */
        return NULL;
    crypto_random(&random, sizeof random);
    snprintf(name, sizeof name, "%s%016llx", prefix, (unsigned long long)random);
    return open_ring(name, true);
}

void tails_close(struct tails *t) {
    if (!t)
        return;
    shm_unlink(t->name);
    give_up(t);
}

/* ---- writing ---- */

static void put(struct ring *r, uint64_t at, const void *p, size_t n) {
    size_t from = (size_t)(at % RING), first = n < RING - from ? n : (size_t)RING - from;
    memcpy(r->bytes + from, p, first);
    memcpy(r->bytes, (const char *)p + first, n - first);
}

static void get(const struct ring *r, uint64_t at, void *p, size_t n) {
    size_t from = (size_t)(at % RING), first = n < RING - from ? n : (size_t)RING - from;
    memcpy(p, r->bytes + from, first);
    memcpy((char *)p + first, r->bytes, n - first);
}

static unsigned char digit(char c) {
    return (unsigned char)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static void id_bytes(const struct uuid *id, unsigned char out[ID_BYTES]) {
    const char *s = id->s;
    for (int i = 0; i < ID_BYTES; i++, s += 2) {
        s += *s == '-';
        out[i] = (unsigned char)(digit(s[0]) << 4 | digit(s[1]));
    }
}

void tails_note(struct tails *t, const struct uuid *message_id, size_t at, struct str text) {
    struct record x = {.at = (uint32_t)at, .n = (uint32_t)text.n}, old;
    size_t need = sizeof x + text.n;
    if (!t || need > RECORD_MAX)
        return;
    struct ring *r = t->ring;
    id_bytes(message_id, x.id);
    pthread_mutex_lock(&t->lock);
    uint64_t head = atomic_load(&r->head), tail = atomic_load(&r->tail);
    while (head + need - tail > RING) {
        get(r, tail, &old, sizeof old);
        tail += sizeof old + old.n;
    }
    atomic_store(&r->tail, tail);
    atomic_signal_fence(memory_order_seq_cst);
    put(r, head, &x, sizeof x);
    put(r, head + sizeof x, text.p, text.n);
    atomic_store(&r->head, head + need);
    pthread_mutex_unlock(&t->lock);
}

/* ---- reading what others have left ---- */

static int by_answer(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    int order = memcmp(x->id, y->id, ID_BYTES);
    return order ? order : x->at < y->at ? -1 : x->at > y->at;
}

/* The ring's records; those behind one that cannot be are none. */
static size_t walk(const struct ring *r, struct place *out) {
    uint64_t at = atomic_load(&r->tail), head = atomic_load(&r->head);
    size_t n = 0;
    struct record x;
    while (at < head && head - at <= RING && head - at >= sizeof x) {
        get(r, at, &x, sizeof x);
        if (x.n > head - at - sizeof x || x.n > RECORD_MAX)
            break;
        if (out) {
            memcpy(out[n].id, x.id, ID_BYTES);
            out[n].at = at;
        }
        n++;
        at += sizeof x + x.n;
    }
    return n;
}

static void take(void *ctx, const char *name) {
    struct former_tails *all = ctx;
    struct former f = {.tails = all->n < FORMER_MAX ? open_ring(name, false) : NULL};
    if (!f.tails) /* its process lives, or it was none and is gone */
        return;
    const struct ring *r = f.tails->ring;
    f.n = memcmp(r->magic, MAGIC, sizeof r->magic) == 0 ? walk(r, NULL) : 0;
    f.places = calloc(f.n + 1, sizeof *f.places);
    if (!f.places) {
        give_up(f.tails);
        return;
    }
    if (f.n)
        (void)walk(r, f.places);
    qsort(f.places, f.n, sizeof *f.places, by_answer);
    all->list[all->n++] = f;
}

static int by_beginning(const void *a, const void *b) {
    int64_t x = ((const struct former *)a)->tails->ring->begun_ns;
    int64_t y = ((const struct former *)b)->tails->ring->begun_ns;
    return x < y ? -1 : x > y;
}

struct former_tails *former_tails_open(const char *data_dir) {
    char prefix[NAME_SIZE];
    struct former_tails *f = calloc(1, sizeof *f);
    prefix_of(data_dir, prefix);
    if (f)
        (void)each_file(prefix, take, f);
    if (f && f->n) {
        qsort(f->list, f->n, sizeof *f->list, by_beginning);
        return f;
    }
    free(f);
    return NULL;
}

/* What was told of an answer without a gap, as far as the ring has it: bytes [start, start + n). */
struct told {
    size_t start;
    struct buf text;
};

static void add(struct told *told, const struct ring *r, uint64_t from, const struct record *x) {
    size_t end = told->start + told->text.n;
    unsigned char piece[4096];
    if (x->at < told->start || x->at > end) { /* what is in between is not there any more */
        told->start = x->at;
        buf_clear(&told->text);
    } else {
        told->text.n = x->at - told->start; /* the rest was taken back */
    }
    for (size_t done = 0, n; done < x->n; done += n) {
        n = x->n - done < sizeof piece ? x->n - done : sizeof piece;
        get(r, from + done, piece, n);
        buf_add(&told->text, piece, n);
    }
}

static void collect(const struct former *f, const unsigned char id[ID_BYTES], struct told *told) {
    const struct ring *r = f->tails->ring;
    struct record x;
    size_t lo = 0, hi = f->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (memcmp(f->places[mid].id, id, ID_BYTES) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < f->n && memcmp(f->places[lo].id, id, ID_BYTES) == 0; lo++) {
        get(r, f->places[lo].at, &x, sizeof x);
        add(told, r, f->places[lo].at + sizeof x, &x);
    }
}

static enum err extend(const struct former *f, const unsigned char id[ID_BYTES], struct arena *a,
                       struct str *text) {
    struct told told = {0};
    enum err e = ERR_OK;
    buf_init(&told.text, RING);
    collect(f, id, &told);
    size_t end = told.start + told.text.n, both = text->n - told.start;
    bool follows = !buf_err(&told.text) && utf8_valid(buf_str(&told.text)) &&
                   told.start <= text->n && end > text->n &&
                   (both == 0 || memcmp(told.text.p, text->p + told.start, both) == 0);
    if (follows) {
        char *whole = arena_alloc(a, end + 1);
        if (whole) {
            if (told.start)
                memcpy(whole, text->p, told.start);
            memcpy(whole + told.start, told.text.p, told.text.n);
            *text = (struct str){whole, end};
        }
        e = whole ? ERR_OK : ERR_NOMEM;
    }
    buf_deinit(&told.text);
    return e;
}

enum err former_tails_extend(const struct former_tails *f, const struct uuid *message_id,
                             struct arena *a, struct str *text) {
    unsigned char id[ID_BYTES];
    enum err e = ERR_OK;
    id_bytes(message_id, id);
    for (size_t i = 0; f && i < f->n && !e; i++)
        e = extend(&f->list[i], id, a, text);
    return e;
}

void former_tails_close(struct former_tails *f, bool used) {
    for (size_t i = 0; f && i < f->n; i++) {
        if (used)
            shm_unlink(f->list[i].tails->name);
        give_up(f->list[i].tails);
        free(f->list[i].places);
    }
    free(f);
}
