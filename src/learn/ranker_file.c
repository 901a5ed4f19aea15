/* A ranker as bytes, for the store. Little-endian:
 *
 *   "PRNK" u32 version=1
 *   u32 signals dims questions passages pairs words chunks
 *   f64 weights[signals]
 *   questions × { f32 scale, i8 vector[dims], u32 n, u64 word[n] }
 *   passages  × { u64 key, f32 scale, i8 vector[dims] }
 *   pairs     × { u32 question, u32 passage, f32 alpha }
 *   words     × { u64 hash, f32 weight }      ascending
 *   chunks    × { u64 role, u64 key, f32 weight }   ascending
 *   u64 FNV-1a of all before */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "learn/ranker_internal.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the arrays are written as they lie in memory"
#endif

#define VERSION   1u
#define COUNT_MAX (1u << 22)

/* ---- writing ---- */

static void put_u32(struct buf *b, size_t v) {
    uint32_t u = (uint32_t)v;
    buf_add(b, &u, sizeof u);
}

static void put_u64(struct buf *b, uint64_t v) {
    buf_add(b, &v, sizeof v);
}

static void put_f32(struct buf *b, float v) {
    buf_add(b, &v, sizeof v);
}

static void put_vector(struct buf *b, const float *v, size_t dims) {
    int8_t out[RANKER_DIMS_MAX];
    float most = 0;
    for (size_t i = 0; i < dims; i++)
        most = fmaxf(most, fabsf(v[i]));
    for (size_t i = 0; i < dims; i++)
        out[i] = most > 0 ? (int8_t)lrintf(v[i] / most * 127) : 0;
    put_f32(b, most / 127);
    buf_add(b, out, dims);
}

void ranker_save(const struct ranker *r, struct buf *b) {
    size_t from = b->n;
    buf_add(b, "PRNK", 4);
    const size_t head[] = {VERSION,       RANKER_SIGNALS, r->dims,    r->n_questions,
                           r->n_passages, r->n_pairs,     r->n_words, r->n_chunks};
    for (size_t i = 0; i < sizeof head / sizeof *head; i++)
        put_u32(b, head[i]);
    buf_add(b, r->weights, sizeof r->weights);
    for (size_t i = 0; i < r->n_questions; i++) {
        put_vector(b, r->question_vectors + i * r->dims, r->dims);
        put_u32(b, r->question_words[i].n);
        buf_add(b, r->question_words[i].hash, r->question_words[i].n * sizeof(uint64_t));
    }
    for (size_t i = 0; i < r->n_passages; i++) {
        put_u64(b, r->passage_keys[i]);
        put_vector(b, r->passage_vectors + i * r->dims, r->dims);
    }
    for (size_t i = 0; i < r->n_pairs; i++) {
        put_u32(b, r->pairs[i].question);
        put_u32(b, r->pairs[i].passage);
        put_f32(b, r->pairs[i].alpha);
    }
    for (size_t i = 0; i < r->n_words; i++) {
        put_u64(b, r->words[i].hash);
        put_f32(b, r->words[i].weight);
    }
    for (size_t i = 0; i < r->n_chunks; i++) {
        put_u64(b, r->chunks[i].role);
        put_u64(b, r->chunks[i].key);
        put_f32(b, r->chunks[i].weight);
    }
    if (!buf_err(b))
        put_u64(b, words_hash((struct str){b->p + from, b->n - from}));
}

/* ---- reading: what goes past the end reads as 0 and sets bad ---- */

struct reader {
    struct str s;
    bool bad;
};

static void get(struct reader *r, void *out, size_t n) {
    if (n > r->s.n) {
        r->bad = true;
        memset(out, 0, n);
        return;
    }
    if (n)
        memcpy(out, r->s.p, n);
    r->s = str_sub(r->s, n, r->s.n);
}

static uint32_t get_u32(struct reader *r) {
    uint32_t v;
    get(r, &v, sizeof v);
    return v;
}

static uint64_t get_u64(struct reader *r) {
    uint64_t v;
    get(r, &v, sizeof v);
    return v;
}

static float get_f32(struct reader *r) {
    float v;
    get(r, &v, sizeof v);
    if (!isfinite(v))
        r->bad = true;
    return v;
}

static void get_vector(struct reader *r, float *v, size_t dims) {
    int8_t in[RANKER_DIMS_MAX];
    float scale = get_f32(r);
    get(r, in, dims);
    for (size_t i = 0; !r->bad && i < dims; i++)
        v[i] = (float)in[i] * scale;
}

/* Each count must fit into what is left before anything of its size is allocated. */
static size_t get_count(struct reader *r, size_t least_bytes) {
    size_t n = get_u32(r);
    if (n > COUNT_MAX || (least_bytes && n > r->s.n / least_bytes))
        r->bad = true;
    return r->bad ? 0 : n;
}

static bool allocate(struct ranker *r) {
    r->question_vectors = calloc(r->n_questions * r->dims + 1, sizeof(float));
    r->passage_vectors = calloc(r->n_passages * r->dims + 1, sizeof(float));
    r->question_words = calloc(r->n_questions + 1, sizeof *r->question_words);
    r->passage_keys = calloc(r->n_passages + 1, sizeof *r->passage_keys);
    r->pairs = calloc(r->n_pairs + 1, sizeof *r->pairs);
    r->words = calloc(r->n_words + 1, sizeof *r->words);
    r->chunks = calloc(r->n_chunks + 1, sizeof *r->chunks);
    return r->question_vectors && r->passage_vectors && r->question_words && r->passage_keys &&
           r->pairs && r->words && r->chunks;
}

static void get_head(struct reader *in, struct ranker *r) {
    char magic[4];
    get(in, magic, 4);
    if (memcmp(magic, "PRNK", 4) != 0 || get_u32(in) != VERSION || get_u32(in) != RANKER_SIGNALS)
        in->bad = true;
    r->dims = get_count(in, 1);
    if (r->dims > RANKER_DIMS_MAX)
        in->bad = true;
    r->n_questions = get_count(in, 8);
    r->n_passages = get_count(in, 12);
    r->n_pairs = get_count(in, 12);
    r->n_words = get_count(in, 12);
    r->n_chunks = get_count(in, 20);
    if (r->n_questions > RANKER_QUESTIONS_MAX)
        in->bad = true;
    if (!in->bad && r->dims * (r->n_questions + r->n_passages) > in->s.n)
        in->bad = true;
}

static void get_question(struct reader *in, struct ranker *r, size_t i) {
    struct words *w = &r->question_words[i];
    get_vector(in, r->question_vectors + i * r->dims, r->dims);
    w->n = get_u32(in);
    if (w->n > WORDS_MAX) {
        in->bad = true;
        w->n = 0;
    }
    get(in, w->hash, w->n * sizeof(uint64_t));
}

static void get_lists(struct reader *in, struct ranker *r) {
    for (size_t i = 0; !in->bad && i < RANKER_SIGNALS; i++) {
        get(in, &r->weights[i], sizeof r->weights[i]);
        if (!isfinite(r->weights[i]))
            in->bad = true;
    }
    for (size_t i = 0; !in->bad && i < r->n_questions; i++)
        get_question(in, r, i);
    for (size_t i = 0; !in->bad && i < r->n_passages; i++) {
        r->passage_keys[i] = get_u64(in);
        get_vector(in, r->passage_vectors + i * r->dims, r->dims);
    }
    for (size_t i = 0; !in->bad && i < r->n_pairs; i++) {
        r->pairs[i].question = get_u32(in);
        r->pairs[i].passage = get_u32(in);
        r->pairs[i].alpha = get_f32(in);
        if (r->pairs[i].question >= r->n_questions || r->pairs[i].passage >= r->n_passages)
            in->bad = true;
    }
    for (size_t i = 0; !in->bad && i < r->n_words; i++) {
        r->words[i].hash = get_u64(in);
        r->words[i].weight = get_f32(in);
    }
    for (size_t i = 0; !in->bad && i < r->n_chunks; i++) {
        r->chunks[i].role = get_u64(in);
        r->chunks[i].key = get_u64(in);
        r->chunks[i].weight = get_f32(in);
    }
}

enum err ranker_load(struct str bytes, struct ranker **ret) {
    uint64_t sum;
    if (bytes.n < sizeof sum)
        return ERR_CORRUPT;
    struct str body = str_sub(bytes, 0, bytes.n - sizeof sum);
    memcpy(&sum, bytes.p + body.n, sizeof sum);
    if (words_hash(body) != sum)
        return ERR_CORRUPT;
    struct ranker *r = calloc(1, sizeof *r);
    if (!r)
        return ERR_NOMEM;
    struct reader in = {body, false};
    get_head(&in, r);
    enum err e = in.bad ? ERR_CORRUPT : allocate(r) ? ERR_OK : ERR_NOMEM;
    if (!e) {
        get_lists(&in, r);
        if (in.bad || in.s.n)
            e = ERR_CORRUPT;
    }
    if (e)
        ranker_free(r);
    else
        *ret = r;
    return e;
}
