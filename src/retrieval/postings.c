/* The dictionary is a hash table with open addressing over texts in one arena of bytes. A list's
 * last postings, fewer than a block, stand unpacked. */
#include "retrieval/postings.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define BLOCK     128
#define DENSE     (3 * BLOCK) /* rows; closer together than that a block is dense */
#define TEXTS_MAX ((size_t)1 << 31)

struct block {
    uint32_t last;  /* row */
    uint32_t first; /* row */
    uint32_t at;    /* in data */
    uint8_t width;  /* bytes of a difference; 0 = dense */
};

struct posting_list {
    uint32_t text_at;
    uint16_t text_n, tail_n, tail_size;
    bool dense; /* some block is */
    uint32_t rows;
    uint32_t n_blocks, size_blocks;
    uint32_t data_n, data_size;
    struct block *blocks;
    uint8_t *data;
    uint32_t *tail; /* tail_size rows, then as many counts of one byte */
};

struct postings {
    struct posting_list *lists;
    uint32_t n_lists, size_lists;
    uint32_t *slots; /* a power of two; list + 1, 0 = free */
    uint32_t n_slots;
    char *texts;
    size_t texts_n, texts_size;
    size_t list_bytes;
    uint64_t n_postings;
};

enum err postings_new(struct postings **ret) {
    struct postings *p = calloc(1, sizeof *p);
    if (!p)
        return ERR_NOMEM;
    *ret = p;
    return ERR_OK;
}

void postings_free(struct postings *p) {
    if (!p)
        return;
    for (uint32_t i = 0; i < p->n_lists; i++) {
        free(p->lists[i].blocks);
        free(p->lists[i].data);
        free(p->lists[i].tail);
    }
    free(p->lists);
    free(p->slots);
    free(p->texts);
    free(p);
}

/* ---- the dictionary ---- */

/* FNV-1a, with a last mix for the low bits. */
static uint32_t hash_of(struct str s) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 16777619u;
    h ^= h >> 15;
    h *= 0x2c1b3c6du;
    return h ^ (h >> 12);
}

static struct str text_of(const struct postings *p, const struct posting_list *l) {
    return (struct str){p->texts + l->text_at, l->text_n};
}

static uint32_t *slot_of(const struct postings *p, struct str term) {
    uint32_t mask = p->n_slots - 1;
    for (uint32_t i = hash_of(term) & mask;; i = (i + 1) & mask) {
        uint32_t *slot = &p->slots[i];
        if (!*slot || str_eq(text_of(p, &p->lists[*slot - 1]), term))
            return slot;
    }
}

static enum err grow_slots(struct postings *p) {
    struct postings grown = *p;
    grown.n_slots = p->n_slots ? p->n_slots * 2 : 256;
    grown.slots = calloc(grown.n_slots, sizeof *grown.slots);
    if (!grown.slots)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < p->n_lists; i++)
        *slot_of(&grown, text_of(p, &p->lists[i])) = i + 1;
    free(p->slots);
    *p = grown;
    return ERR_OK;
}

static enum err reserve(void **at, size_t *size, size_t need, size_t item) {
    if (need <= *size)
        return ERR_OK;
    size_t grown = *size ? *size + *size / 2 : 64;
    grown = grown < need ? need : grown;
    void *p = realloc(*at, grown * item);
    if (!p)
        return ERR_NOMEM;
    *at = p;
    *size = grown;
    return ERR_OK;
}

static enum err new_list(struct postings *p, struct str term, struct posting_list **ret) {
    size_t lists = p->size_lists;
    if (p->texts_n + term.n > TEXTS_MAX)
        return ERR_TOO_LARGE;
    enum err e = reserve((void **)&p->lists, &lists, (size_t)p->n_lists + 1, sizeof *p->lists);
    p->size_lists = (uint32_t)lists;
    if (!e)
        e = reserve((void **)&p->texts, &p->texts_size, p->texts_n + term.n, 1);
    if (!e && (uint64_t)p->n_lists * 4 >= (uint64_t)p->n_slots * 3)
        e = grow_slots(p);
    if (e)
        return e;
    struct posting_list *l = &p->lists[p->n_lists];
    *l = (struct posting_list){.text_at = (uint32_t)p->texts_n, .text_n = (uint16_t)term.n};
    memcpy(p->texts + p->texts_n, term.p, term.n);
    p->texts_n += term.n;
    *slot_of(p, term) = ++p->n_lists;
    *ret = l;
    return ERR_OK;
}

const struct posting_list *postings_find(const struct postings *p, struct str term) {
    uint32_t slot = p->n_slots ? *slot_of(p, term) : 0;
    return slot ? &p->lists[slot - 1] : NULL;
}

uint32_t posting_list_rows(const struct posting_list *l) {
    return l->rows;
}

/* ---- packing ---- */

static uint8_t *tail_counts(const struct posting_list *l) {
    return (uint8_t *)(l->tail + l->tail_size);
}

static uint8_t width_for(const uint32_t *rows) {
    uint32_t most = 0;
    if (rows[BLOCK - 1] - rows[0] < DENSE)
        return 0;
    for (int i = 1; i < BLOCK; i++)
        most |= rows[i] - rows[i - 1];
    return most < 256 ? 1 : most < 65536 ? 2 : 4;
}

static uint32_t span_of(const struct block *b) {
    return b->last - b->first + 1;
}

static void pack_rows(const struct posting_list *l, const struct block *b, uint8_t *out) {
    if (b->width == 0) {
        memset(out, 0, span_of(b));
        for (int i = 0; i < BLOCK; i++)
            out[l->tail[i] - b->first] = tail_counts(l)[i];
        return;
    }
    for (int i = 0; i < BLOCK; i++) {
        uint32_t d = i ? l->tail[i] - l->tail[i - 1] : 0;
        memcpy(out + (size_t)i * b->width, &d, b->width); /* little-endian: x86-64 and arm64 are */
    }
    memcpy(out + (size_t)b->width * BLOCK, tail_counts(l), BLOCK);
}

static enum err pack(struct posting_list *l, size_t *bytes) {
    struct block b = {l->tail[BLOCK - 1], l->tail[0], l->data_n, width_for(l->tail)};
    size_t need = b.width ? (size_t)b.width * BLOCK + BLOCK : span_of(&b), blocks = l->size_blocks,
           data = l->data_size;
    enum err e = reserve((void **)&l->blocks, &blocks, (size_t)l->n_blocks + 1, sizeof *l->blocks);
    if (!e)
        e = (uint64_t)l->data_n + need > UINT32_MAX
                ? ERR_TOO_LARGE
                : reserve((void **)&l->data, &data, l->data_n + need, 1);
    *bytes += (blocks - l->size_blocks) * sizeof *l->blocks + (data - l->data_size);
    l->size_blocks = (uint32_t)blocks;
    l->data_size = (uint32_t)data;
    if (e)
        return e;
    l->blocks[l->n_blocks++] = b;
    pack_rows(l, &b, l->data + l->data_n);
    l->dense = l->dense || b.width == 0;
    l->data_n += (uint32_t)need;
    l->tail_n = 0;
    return ERR_OK;
}

static enum err grow_tail(struct posting_list *l, size_t *bytes) {
    uint16_t size = l->tail_size ? (uint16_t)(l->tail_size * 2) : 2;
    uint32_t *tail = malloc((size_t)size * 5);
    if (!tail)
        return ERR_NOMEM;
    memcpy(tail, l->tail ? l->tail : tail, (size_t)l->tail_n * 4);
    if (l->tail_n)
        memcpy(tail + size, tail_counts(l), l->tail_n);
    *bytes += (size_t)(size - l->tail_size) * 5;
    free(l->tail);
    l->tail = tail;
    l->tail_size = size;
    return ERR_OK;
}

static enum err append(struct postings *p, struct posting_list *l, uint32_t row, uint8_t count) {
    enum err e = ERR_OK;
    if (l->tail_n == BLOCK)
        e = pack(l, &p->list_bytes);
    if (!e && l->tail_n == l->tail_size)
        e = grow_tail(l, &p->list_bytes);
    if (e)
        return e;
    l->tail[l->tail_n] = row;
    tail_counts(l)[l->tail_n++] = count ? count : 1; /* 0 is "not there" in a dense block */
    l->rows++;
    p->n_postings++;
    return ERR_OK;
}

enum err postings_add(struct postings *p, uint32_t row, const struct posting_term *terms,
                      size_t n) {
    for (size_t i = 0; i < n; i++) {
        struct posting_list *l = (struct posting_list *)postings_find(p, terms[i].text);
        enum err e = l ? ERR_OK : new_list(p, terms[i].text, &l);
        if (!e)
            e = append(p, l, row, terms[i].count);
        if (e)
            return e;
    }
    return ERR_OK;
}

/* ---- reading ---- */

/* A dense block's rows and counts. */
static void unpack_dense(const uint8_t *in, const struct block *b, uint32_t rows[BLOCK],
                         uint8_t counts[BLOCK]) {
    for (uint32_t i = 0, n = 0; n < BLOCK; i++)
        if (in[i]) {
            rows[n] = b->first + i;
            counts[n++] = in[i];
        }
}

/* A block's rows; its counts are returned, which stand in `room` when the block is dense. */
static const uint8_t *unpack(const struct posting_list *l, const struct block *b,
                             uint32_t rows[BLOCK], uint8_t room[BLOCK]) {
    const uint8_t *in = l->data + b->at;
    uint32_t row = b->first;
    if (b->width == 0) {
        unpack_dense(in, b, rows, room);
        return room;
    }
    if (b->width == 1) {
        for (int i = 0; i < BLOCK; i++)
            rows[i] = row += in[i];
    } else if (b->width == 2) {
        uint16_t d[BLOCK];
        memcpy(d, in, sizeof d);
        for (int i = 0; i < BLOCK; i++)
            rows[i] = row += d[i];
    } else {
        uint32_t d[BLOCK];
        memcpy(d, in, sizeof d);
        for (int i = 0; i < BLOCK; i++)
            rows[i] = row += d[i];
    }
    return in + (size_t)b->width * BLOCK;
}

/* ---- the inner loop over dense blocks: for the machine's best instructions ---- */

static void add_dense_plain(const uint8_t *counts, size_t n, float weight, const float *norm,
                            float *acc) {
    for (size_t i = 0; i < n; i++) {
        float tf = counts[i];
        acc[i] += weight * tf / (tf + norm[i]);
    }
}

static void (*add_dense)(const uint8_t *counts, size_t n, float weight, const float *norm,
                         float *acc) = add_dense_plain;

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void
add_dense_avx2(const uint8_t *counts, size_t n, float weight, const float *norm, float *acc) {
    __m256 w = _mm256_set1_ps(weight);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i c = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(counts + i)));
        __m256 tf = _mm256_cvtepi32_ps(c);
        __m256 s =
            _mm256_div_ps(_mm256_mul_ps(w, tf), _mm256_add_ps(tf, _mm256_loadu_ps(norm + i)));
        _mm256_storeu_ps(acc + i, _mm256_add_ps(_mm256_loadu_ps(acc + i), s));
    }
    add_dense_plain(counts + i, n - i, weight, norm + i, acc + i);
}

__attribute__((constructor)) static void prepare_loops(void) {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2"))
        add_dense = add_dense_avx2;
}
#endif

bool posting_list_is_dense(const struct posting_list *l) {
    return l->dense;
}

static void add_rows(const uint32_t *rows, const uint8_t *counts, size_t n, float weight,
                     const struct posting_norms *m, uint32_t from, float *acc) {
    for (size_t i = 0; i < n; i++) {
        float tf = counts[i];
        acc[rows[i] - from] += weight * tf / (tf + m->norm[m->len[rows[i]]]);
    }
}

/* Of n ascending rows those in the range. */
static void add_rows_between(const uint32_t *rows, const uint8_t *counts, size_t n, float weight,
                             const struct posting_norms *m, uint32_t from, uint32_t to,
                             float *acc) {
    size_t i = 0;
    while (i < n && rows[i] < from)
        i++;
    while (n > i && rows[n - 1] >= to)
        n--;
    add_rows(rows + i, counts + i, n - i, weight, m, from, acc);
}

/* The first block from `from` on that may have the row. */
static uint32_t block_for(const struct posting_list *l, uint32_t from, uint32_t row) {
    uint32_t lo = from, hi = l->n_blocks;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (l->blocks[mid].last < row)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

void posting_list_add_scores(const struct posting_list *l, float weight,
                             const struct posting_norms *m, uint32_t from, uint32_t to,
                             float *acc) {
    uint32_t rows[BLOCK];
    uint8_t room[BLOCK];
    for (uint32_t i = block_for(l, 0, from); i < l->n_blocks && l->blocks[i].first < to; i++) {
        const struct block *b = &l->blocks[i];
        if (b->width == 0) {
            uint32_t at = b->first > from ? b->first : from, end = b->last < to ? b->last + 1 : to;
            add_dense(l->data + b->at + (at - b->first), end - at, weight, m->by_row + (at - from),
                      acc + (at - from));
            continue;
        }
        const uint8_t *counts = unpack(l, b, rows, room);
        add_rows_between(rows, counts, BLOCK, weight, m, from, to, acc);
    }
    if (l->tail_n)
        add_rows_between(l->tail, tail_counts(l), l->tail_n, weight, m, from, to, acc);
}

static size_t some_of(const uint32_t *list, const uint8_t *counts, size_t n_list, float weight,
                      const uint16_t *len, const float *norm, const uint32_t *rows, size_t n,
                      float *ret) {
    size_t i = 0, k = 0;
    while (i < n_list && k < n) {
        if (list[i] < rows[k]) {
            i++;
        } else if (list[i] > rows[k]) {
            k++;
        } else {
            float tf = counts[i];
            ret[k] += weight * tf / (tf + norm[len[rows[k]]]);
            i++, k++;
        }
    }
    while (k < n && n_list && rows[k] <= list[n_list - 1])
        k++;
    return k;
}

void posting_list_add_some(const struct posting_list *l, float weight, const uint16_t *len,
                           const float *norm, const uint32_t *rows, size_t n, float *ret) {
    uint32_t unpacked[BLOCK], b = 0;
    uint8_t room[BLOCK];
    size_t k = 0;
    while (k < n && (b = block_for(l, b, rows[k])) < l->n_blocks) {
        const uint8_t *counts = unpack(l, &l->blocks[b], unpacked, room);
        k += some_of(unpacked, counts, BLOCK, weight, len, norm, rows + k, n - k, ret + k);
        b++;
    }
    if (k < n && l->tail_n)
        some_of(l->tail, tail_counts(l), l->tail_n, weight, len, norm, rows + k, n - k, ret + k);
}

static enum err copy_rows(struct postings *to, struct posting_list **l, struct str text,
                          const uint32_t *rows, const uint8_t *counts, size_t n,
                          const uint32_t *map) {
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < n; i++) {
        if (map[rows[i]] == UINT32_MAX)
            continue;
        if (!*l)
            e = new_list(to, text, l);
        if (!e)
            e = append(to, *l, map[rows[i]], counts[i]);
    }
    return e;
}

enum err postings_copy(const struct postings *p, const uint32_t *to, struct postings **ret) {
    struct postings *copy;
    uint32_t rows[BLOCK];
    uint8_t room[BLOCK];
    enum err e = postings_new(&copy);
    if (e)
        return e;
    for (uint32_t i = 0; !e && i < p->n_lists; i++) {
        const struct posting_list *l = &p->lists[i];
        struct posting_list *mine = NULL; /* made with its first row: a term may go for good */
        for (uint32_t b = 0; !e && b < l->n_blocks; b++) {
            const uint8_t *counts = unpack(l, &l->blocks[b], rows, room);
            e = copy_rows(copy, &mine, text_of(p, l), rows, counts, BLOCK, to);
        }
        if (!e && l->tail_n)
            e = copy_rows(copy, &mine, text_of(p, l), l->tail, tail_counts(l), l->tail_n, to);
    }
    if (e) {
        postings_free(copy);
        return e;
    }
    *ret = copy;
    return ERR_OK;
}

void postings_get_size(const struct postings *p, struct postings_size *ret) {
    *ret = (struct postings_size){
        .bytes = p->list_bytes + p->size_lists * sizeof *p->lists + p->n_slots * sizeof *p->slots +
                 p->texts_size,
        .terms = p->n_lists,
        .postings = p->n_postings,
    };
}
