/* What the load programs share: the answer that the mock gives to a question, connections, what is
 * due when, histograms, a checksum.
 *
 * The mock's answer is a function of the question's text alone, so whoever asked can tell whether
 * every byte of it arrived, and what is in the store can be checked the same way. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static inline int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* FNV-1a, 64 bits. */
static inline uint64_t text_hash(const char *p, size_t n) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * 0x100000001b3u;
    return h;
}

/* 64 words of five letters, so that answers look like words to whatever reads them on the way.
 * Words that a guard may make something of, side by side by chance (animals, plants, precious
 * things), are not among them: this is about load. */
#define ANSWER_WORDS                                                                               \
    "rivertablecloudbreadlighthousepapermusicchairnorthtrainfieldapplebrownwheellemon"             \
    "maplepianoquietroundspoonwavesbeachdaisyaislegianthappybagelmangonobleonionpasta"             \
    "quiltcellosaladtowelwaterberryearlyflutelilacclockshelfbenchplateshirtporchnovel"             \
    "pagesstorychartrulervalvehingepanelcablemotorlinenglasstilesfloorstairlobbyapron"

/* The i-th token of the answer to a question with that hash: a blank and a word. */
#define TOKEN_BYTES 6
static inline void answer_token(uint64_t question, uint32_t i, char out[TOKEN_BYTES]) {
    uint64_t x = question + (uint64_t)i * 0x9e3779b97f4a7c15u;
    x ^= x >> 30, x *= 0xbf58476d1ce4e5b9u, x ^= x >> 27, x *= 0x94d049bb133111ebu, x ^= x >> 31;
    out[0] = ' ';
    memcpy(out + 1, &ANSWER_WORDS[(x & 63) * (TOKEN_BYTES - 1)], TOKEN_BYTES - 1);
}

/* How many tokens the answer has: `most` when it is a fixed length, otherwise drawn from a table by
 * the question's hash. */
struct lengths {
    uint32_t fixed;
    uint32_t *table; /* owned; NULL = fixed */
    size_t n;
};
static inline uint32_t answer_length(const struct lengths *l, uint64_t question) {
    return l->table ? l->table[(question >> 17) % l->n] : l->fixed;
}
/* One number a line; ends the program when there is none. */
void lengths_read(struct lengths *l, const char *path);

/* As many open files as the machine allows. */
void files_raise(void);
/* A blocking connection to 127.0.0.1; -1: errno says why not. */
int dial_local(int port);

/* What is due, by time (microseconds of now_us()): a binary heap of members of other structs. */
struct due {
    int64_t at;
    size_t place; /* 1-based; 0 = not in the heap */
};
struct due_heap {
    struct due **list; /* owned */
    size_t n, size;
};
void due_set(struct due_heap *h, struct due *d, int64_t at); /* puts it in, or moves it */
void due_remove(struct due_heap *h, struct due *d);          /* also when it is not in */
struct due *due_first(const struct due_heap *h);             /* NULL = none */
#define DUE_OF(d, type, member) ((type *)(void *)((char *)(d)-offsetof(type, member)))

/* CRC-32 (IEEE 802.3), as zlib's crc32(). */
uint32_t crc32_add(uint32_t crc, const void *p, size_t n);

/* Microseconds in buckets that are 1/32 of a power of two wide: within 3 % of the value. */
#define HISTOGRAM_BUCKETS (32 * 40)
struct histogram {
    uint64_t buckets[HISTOGRAM_BUCKETS];
    uint64_t n;
    int64_t most;
};
void histogram_add(struct histogram *h, int64_t us);
double histogram_ms(const struct histogram *h, double quantile); /* milliseconds; 0 when empty */
