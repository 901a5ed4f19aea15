/* See load.h. */
#include "load.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

void files_raise(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files))
        return;
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

int dial_local(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* ---- what is due ---- */

static void put(struct due_heap *h, size_t i, struct due *d) {
    h->list[i] = d;
    d->place = i;
}

static void sift(struct due_heap *h, size_t i) {
    struct due *d = h->list[i];
    for (; i > 1 && h->list[i / 2]->at > d->at; i /= 2)
        put(h, i, h->list[i / 2]);
    for (size_t child; (child = 2 * i) <= h->n; i = child) {
        if (child < h->n && h->list[child + 1]->at < h->list[child]->at)
            child++;
        if (h->list[child]->at >= d->at)
            break;
        put(h, i, h->list[child]);
    }
    put(h, i, d);
}

void due_set(struct due_heap *h, struct due *d, int64_t at) {
    if (!d->place && h->n + 2 > h->size) {
        h->size = h->size ? h->size * 2 : 4096;
        h->list = realloc(h->list, h->size * sizeof *h->list);
        if (!h->list)
            abort();
    }
    d->at = at;
    if (!d->place)
        put(h, ++h->n, d);
    sift(h, d->place);
}

void due_remove(struct due_heap *h, struct due *d) {
    size_t i = d->place;
    if (!i)
        return;
    d->place = 0;
    struct due *last = h->list[h->n--];
    if (last != d) {
        put(h, i, last);
        sift(h, i);
    }
}

struct due *due_first(const struct due_heap *h) {
    return h->n ? h->list[1] : NULL;
}

/* ---- lengths, checksum, histogram ---- */

void lengths_read(struct lengths *l, const char *path) {
    FILE *f = fopen(path, "r");
    size_t size = 0;
    unsigned v;
    if (!f) {
        perror(path);
        exit(2);
    }
    while (fscanf(f, "%u", &v) == 1) {
        if (l->n == size)
            l->table = realloc(l->table, (size = size ? size * 2 : 1024) * sizeof *l->table);
        if (!l->table)
            abort();
        l->table[l->n++] = v < 1 ? 1 : v > 4000 ? 4000 : v;
    }
    fclose(f);
    if (!l->n) {
        fprintf(stderr, "%s: no lengths in it\n", path);
        exit(2);
    }
}

uint32_t crc32_add(uint32_t crc, const void *p, size_t n) {
    static uint32_t table[256];
    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int k = 0; k < 8; k++)
                c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
            table[i] = c;
        }
    crc = ~crc;
    for (size_t i = 0; i < n; i++)
        crc = table[(crc ^ ((const unsigned char *)p)[i]) & 255] ^ (crc >> 8);
    return ~crc;
}

static size_t bucket_of(int64_t us) {
    uint64_t v = us < 0 ? 0 : (uint64_t)us;
    if (v < 32)
        return (size_t)v;
    unsigned top = 63 - (unsigned)__builtin_clzll(v); /* >= 5 */
    size_t b = (size_t)(top - 4) * 32 + (size_t)((v >> (top - 5)) & 31);
    return b < HISTOGRAM_BUCKETS ? b : HISTOGRAM_BUCKETS - 1;
}

void histogram_add(struct histogram *h, int64_t us) {
    h->buckets[bucket_of(us)]++;
    h->n++;
    if (us > h->most)
        h->most = us;
}

double histogram_ms(const struct histogram *h, double quantile) {
    uint64_t want = (uint64_t)(quantile * (double)h->n), seen = 0;
    if (!h->n)
        return 0;
    for (size_t b = 0; b < HISTOGRAM_BUCKETS; b++) {
        seen += h->buckets[b];
        if (seen > want || seen == h->n) {
            double low = b < 32 ? (double)b : (double)((32 + b % 32) << (b / 32 - 1));
            double width = b < 32 ? 1 : (double)(1ull << (b / 32 - 1));
            double middle = (low + width / 2) / 1000, most = (double)h->most / 1000;
            return middle < most ? middle : most;
        }
    }
    return (double)h->most / 1000;
}
