/* Inference of the guard's classifier. Sums over the table are integers, so that they are the same
 * in any order and on any machine; the network on top is a few hundred thousand multiplications. */
#include "safety/classifier.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "safety/classifier_layers.h"
#include "safety/classifier_sums.h"

#define MAGIC         "PARLEYG1"
#define NAME_LEN      32
#define HEAD_LEN      24
#define FILE_MAX      ((size_t)8 << 20)
#define BITS_MAX      18u
#define DIM_MAX       CLASSIFIER_DIM_MAX
#define EMBEDDING_MAX 4096u
#define HIDDEN_MAX    512u
#define FLAGS         3u    /* has embedding, is an answer, is a passage */
#define PIECE_MAX     4096u /* bytes of folded text that one pass looks at; features.py: MAX_BYTES */
#define PLACES        64    /* where pieces begin whose rows are added with one call */
#define BATCH         192   /* such rows at most */
#define FLOW_PIECE    512   /* bytes of a growing text that are taken at once */

enum head { HEAD_HARMFUL = SAFETY_CATEGORIES, HEAD_KINDS };

struct classifier {
    char name[NAME_LEN];
    uint32_t version, bits, dim, embedding, hidden, heads, inputs;
    int kind[CLASSIFIER_HEADS_MAX]; /* a safety_category or HEAD_HARMFUL */
    const int8_t *table;            /* these point into the model */
    const float *row_scale, *w1, *b1, *w2, *w3, *b2, *calibration;
    char *data;                       /* owned; NULL = the model in the program */
    float *wide2, *wide3;             /* owned: w2 and w3 with rows of SUMS_HEADS */
    struct classifier_layers *layers; /* owned; NULL = a model without */
    const struct classifier_sums *sums;
    char digest[13];
};

/* ---- the file ---- */

struct reader {
    const char *p;
    size_t left;
};

static const void *take(struct reader *r, size_t count, size_t size) {
    if (size && count > r->left / size)
        return NULL;
    const void *p = r->p;
    r->p += count * size;
    r->left -= count * size;
    return p;
}

static bool read_sizes(struct classifier *c, struct reader *r) {
    const uint32_t *v = take(r, 6, sizeof *v);
    if (!v || v[0] < 1 || v[0] > 2)
        return false;
    c->version = v[0];
    c->bits = v[1];
    c->dim = v[2];
    c->embedding = v[3];
    c->hidden = v[4];
    c->heads = v[5];
    if (c->bits < 1 || c->bits > BITS_MAX || c->dim < 1 || c->dim > DIM_MAX || c->dim % 4 ||
        c->embedding > EMBEDDING_MAX || c->hidden < 1 || c->hidden > HIDDEN_MAX || c->heads < 1 ||
        c->heads > CLASSIFIER_HEADS_MAX)
        return false;
    c->inputs = c->embedding + c->dim + FLAGS;
    const char *name = take(r, NAME_LEN, 1);
    if (!name || !name[0] || name[NAME_LEN - 1])
        return false;
    memcpy(c->name, name, NAME_LEN);
    return true;
}

static bool read_heads(struct classifier *c, struct reader *r) {
    const char *names = take(r, c->heads, HEAD_LEN);
    bool seen[HEAD_KINDS] = {false};
    for (uint32_t i = 0; names && i < c->heads; i++) {
        const char *name = names + (size_t)i * HEAD_LEN;
        if (name[HEAD_LEN - 1])
            return false;
        int kind = safety_category_from_name(str_from(name));
        if (kind < 0 && strcmp(name, "harmful") == 0)
            kind = HEAD_HARMFUL;
        if (kind < 0 || seen[kind])
            return false;
        seen[kind] = true;
        c->kind[i] = kind;
    }
    return names && seen[HEAD_HARMFUL];
}

static bool read_weights(struct classifier *c, struct reader *r) {
    const size_t in = c->inputs, hid = c->hidden, heads = c->heads;
    struct {
        const float **to;
        size_t n;
    } parts[] = {{&c->w1, in * hid},   {&c->b1, hid},   {&c->w2, hid * heads},
                 {&c->w3, in * heads}, {&c->b2, heads}, {&c->calibration, 4 * heads}};
    c->row_scale = take(r, c->dim, sizeof(float));
    c->table = take(r, (size_t)c->dim << c->bits, 1);
    if (!c->row_scale || !c->table || !sums_all_finite(c->row_scale, c->dim))
        return false;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        *parts[i].to = take(r, parts[i].n, sizeof(float));
        if (!*parts[i].to || !sums_all_finite(*parts[i].to, parts[i].n))
            return false;
    }
    return true;
}

static bool read_layers(struct classifier *c, const struct reader *r, bool *ret_nomem) {
    if (c->version == 1)
        return r->left == 0;
    c->layers =
        classifier_layers_parse((struct str){r->p, r->left}, c->embedding, c->heads, ret_nomem);
    return c->layers != NULL;
}

/* Rows of SUMS_HEADS, the rest of each zero. */
static float *widen(const float *w, size_t rows, size_t heads) {
    float *wide = calloc(rows, SUMS_HEADS * sizeof *wide);
    for (size_t i = 0; wide && i < rows; i++)
        memcpy(wide + i * SUMS_HEADS, w + i * heads, heads * sizeof *w);
    return wide;
}

static bool digest_fits(struct str bytes, char hex[SHA256_HEX_LEN + 1]) {
    char stored[SHA256_HEX_LEN + 1];
    const size_t body = bytes.n - SHA256_LEN;
    sha256_hex(str_sub(bytes, 0, body), hex);
    for (size_t i = 0; i < SHA256_LEN; i++)
        snprintf(stored + 2 * i, 3, "%02x", (unsigned)(unsigned char)bytes.p[body + i]);
    return memcmp(hex, stored, SHA256_HEX_LEN) == 0;
}

/* bytes: aligned for float. They are kept when they stay, else copied. */
static enum err parse(struct str bytes, bool stay, struct classifier **ret, struct errinfo *ei) {
    if (bytes.n < sizeof MAGIC + SHA256_LEN || bytes.n > FILE_MAX ||
        memcmp(bytes.p, MAGIC, sizeof MAGIC - 1) != 0)
        return err_set(ei, ERR_CORRUPT, "this is no model of the safety classifier");
    char hex[SHA256_HEX_LEN + 1];
    if (!digest_fits(bytes, hex))
        return err_set(ei, ERR_CORRUPT,
                       "the safety classifier's model is damaged: its checksum "
                       "does not fit");
    struct classifier *c = calloc(1, sizeof *c);
    if (c && !stay)
        c->data = malloc(bytes.n);
    if (!c || (!stay && !c->data)) {
        classifier_free(c);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    const char *data = stay ? bytes.p : memcpy(c->data, bytes.p, bytes.n);
    memcpy(c->digest, hex, sizeof c->digest - 1);
    bool nomem = false;
    struct reader r = {data + sizeof MAGIC - 1, bytes.n - SHA256_LEN - (sizeof MAGIC - 1)};
    if (!read_sizes(c, &r) || !read_heads(c, &r) || !read_weights(c, &r) ||
        !read_layers(c, &r, &nomem)) {
        classifier_free(c);
        if (nomem)
            return err_set(ei, ERR_NOMEM, NULL);
        return err_set(ei, ERR_CORRUPT,
                       "the safety classifier's model has sizes or numbers that "
                       "cannot be; take the file that belongs to this version");
    }
    c->sums = classifier_sums_best();
    c->wide2 = widen(c->w2, c->hidden, c->heads);
    c->wide3 = widen(c->w3, c->inputs, c->heads);
    if (!c->wide2 || !c->wide3) {
        classifier_free(c);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    *ret = c;
    return ERR_OK;
}

enum err classifier_parse(struct str bytes, struct classifier **ret, struct errinfo *ei) {
    return parse(bytes, false, ret, ei);
}

enum err classifier_open(const char *path, struct classifier **ret, struct errinfo *ei) {
    FILE *f = fopen(path, "rb");
    if (!f)
        return err_set(ei, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO,
                       "cannot open the safety classifier's model %s: %s", path, strerror(errno));
    struct buf b;
    char part[1 << 14];
    size_t n;
    buf_init(&b, FILE_MAX);
    while ((n = fread(part, 1, sizeof part, f)) > 0 && !buf_err(&b))
        buf_add(&b, part, n);
    enum err e = ferror(f) ? ERR_IO : buf_err(&b) == ERR_NOMEM ? ERR_NOMEM : ERR_OK;
    fclose(f);
    if (e)
        err_set(ei, e, "cannot read the safety classifier's model %s", path);
    else if (buf_err(&b))
        e = err_set(ei, ERR_CORRUPT, "%s is too large for a model of the classifier", path);
    else
        e = classifier_parse(buf_str(&b), ret, ei);
    buf_deinit(&b);
    return e;
}

extern const unsigned char safety_model_bin[];
extern const size_t safety_model_bin_size;

enum err classifier_open_builtin(struct classifier **ret, struct errinfo *ei) {
    return parse((struct str){(const char *)safety_model_bin, safety_model_bin_size}, true, ret,
                 ei);
}

void classifier_free(struct classifier *c) {
    if (!c)
        return;
    free(c->data);
    free(c->wide2);
    free(c->wide3);
    classifier_layers_free(c->layers);
    free(c);
}

/* ---- features ---- */

static uint8_t fold_byte(uint8_t b) {
    if (b >= 'A' && b <= 'Z')
        return (uint8_t)(b + 32);
    return b >= 128 || (b >= 'a' && b <= 'z') || (b >= '0' && b <= '9') ? b : ' ';
}

/* Folds from *at on into out (PIECE_MAX bytes) and moves *at past what was taken. When the text is
 * longer, a piece ends at a space if it has one. Returns the number of bytes; 1 = no word. */
static size_t fold(struct str text, size_t *at, uint8_t out[PIECE_MAX]) {
    size_t n = 0, word_at = *at, word_n = 0, i;
    out[n++] = ' ';
    for (i = *at; i < text.n; i++) {
        uint8_t b = fold_byte((uint8_t)text.p[i]);
        if (b == ' ' && out[n - 1] == ' ')
            continue;
        if (n == PIECE_MAX - 1 && b != ' ') { /* room is kept for the space at the end */
            if (word_n > 1) {
                n = word_n;
                i = word_at;
            }
            break;
        }
        if (b == ' ') {
            word_n = n + 1;
            word_at = i + 1;
        }
        out[n++] = b;
        if (n == PIECE_MAX) {
            i++;
            break;
        }
    }
    *at = i;
    if (out[n - 1] != ' ')
        out[n++] = ' ';
    return n;
}

/* Rows that are on their way into a sum. */
struct batch {
    const struct classifier *c;
    int32_t *sum;
    size_t n;
    uint32_t rows[BATCH];
};

static void begin_batch(struct batch *b, const struct classifier *c, int32_t *sum) {
    b->c = c;
    b->sum = sum;
    b->n = 0; /* the rows need no zeros */
}

static void batch_add(struct batch *b) {
    b->c->sums->add_rows(b->c->table, b->c->dim, b->rows, b->n, b->sum);
    b->n = 0;
}

static void fetch_row(const struct classifier *c, uint32_t row) {
    const int8_t *p = c->table + (size_t)row * c->dim;
    __builtin_prefetch(p); /* the table is larger than the near caches */
    __builtin_prefetch(p + c->dim - 1);
}

static void add_row(struct batch *b, uint32_t hash) {
    if (b->n == BATCH)
        batch_add(b);
    uint32_t row = sums_mix(hash) >> (32 - b->c->bits);
    fetch_row(b->c, row);
    b->rows[b->n++] = row;
}

/* All pieces of n bytes at p. */
static size_t add_pieces(const struct classifier *c, const uint8_t *p, size_t n, int32_t *sum) {
    uint32_t rows[3 * PLACES];
    size_t all = 0;
    for (size_t i = 0; i + 3 <= n; i += PLACES) {
        size_t places = n - 2 - i < PLACES ? n - 2 - i : PLACES;
        size_t m = c->sums->piece_rows(p + i, places, n - i, 32 - c->bits, rows);
        for (size_t k = 0; k < m; k++)
            fetch_row(c, rows[k]);
        c->sums->add_rows(c->table, c->dim, rows, m, sum);
        all += m;
    }
    return all;
}

/* The pieces that begin in what was read before, and end in the n bytes at p. */
static void add_joining(const struct classifier *c, struct classifier_flow *f, const uint8_t *p,
                        size_t n) {
    uint8_t all[8];
    size_t before = f->n < 4 ? f->n : 4, size = before + (n < 4 ? n : 4);
    struct batch b;
    begin_batch(&b, c, f->pieces);
    memcpy(all, f->last + 5 - before, before);
    memcpy(all + before, p, size - before);
    for (size_t i = 0; i < before; i++)
        for (size_t k = before - i < 3 ? 3 : before - i + 1; k <= 5 && i + k <= size; k++) {
            uint32_t h = SUMS_BASIS + (uint32_t)k;
            for (size_t j = 0; j < k; j++)
                h = (h ^ all[i + j]) * SUMS_PRIME;
            add_row(&b, h);
            f->n_pieces++;
        }
    batch_add(&b);
}

/* The words that end in the n bytes at p, and their pairs. */
static void add_words(const struct classifier *c, struct classifier_flow *f, const uint8_t *p,
                      size_t n) {
    struct batch b;
    begin_batch(&b, c, f->words);
    uint32_t h = f->in_word ? f->word : SUMS_BASIS;
    bool in_word = f->in_word;
    for (size_t i = 0; i < n; i++) {
        if (p[i] != ' ') {
            h = (h ^ p[i]) * SUMS_PRIME;
            in_word = true;
            continue;
        }
        if (!in_word)
            continue;
        add_row(&b, h);
        f->n_words++;
        if (f->any_word) {
            add_row(&b, f->before * 0x9e3779b1u ^ h);
            f->n_words++;
        }
        f->before = h;
        f->any_word = true;
        in_word = false;
        h = SUMS_BASIS;
    }
    f->word = h;
    f->in_word = in_word;
    batch_add(&b);
}

/* Takes n more bytes of the folded text. */
static void flow_take(const struct classifier *c, struct classifier_flow *f, const uint8_t *p,
                      size_t n) {
    add_joining(c, f, p, n);
    f->n_pieces += (uint32_t)add_pieces(c, p, n, f->pieces);
    add_words(c, f, p, n);
    size_t kept = n < 5 ? 5 - n : 0;
    memmove(f->last, f->last + 5 - kept, kept);
    memcpy(f->last + kept, p + n - (5 - kept), 5 - kept);
    f->n = (uint8_t)(f->n + n < 5 ? f->n + n : 5);
}

static void add_part(const struct classifier *c, const int32_t *sum, size_t n, float *z) {
    if (n == 0)
        return;
    const float by = 1.0f / sqrtf((float)n);
    for (uint32_t d = 0; d < c->dim; d++)
        z[d] += (float)sum[d] * c->row_scale[d] * by;
}

static void flow_z(const struct classifier *c, const struct classifier_flow *f, float *z) {
    memset(z, 0, c->dim * sizeof *z);
    add_part(c, f->pieces, f->n_pieces, z);
    add_part(c, f->words, f->n_words, z);
}

/* ---- the network ---- */

/* What becomes of the hidden numbers before they count, and of the outputs so far. */
static void end_network(const struct classifier *c, float *h, float *out, float *ret) {
    for (uint32_t i = 0; i < c->hidden; i++)
        h[i] = h[i] > 0 ? h[i] : 0;
    c->sums->add_heads(c->wide2, h, c->hidden, out);
    memcpy(ret, out, c->heads * sizeof *ret);
}

/* x: the inputs from the embedding's on, or without one from z on. */
static void run_network(const struct classifier *c, const float *x, bool embedded, float *ret) {
    float h[HIDDEN_MAX], out[SUMS_HEADS] = {0};
    const size_t from = embedded ? 0 : c->embedding, n = c->inputs - from;
    memcpy(h, c->b1, c->hidden * sizeof *h);
    memcpy(out, c->b2, c->heads * sizeof *out);
    c->sums->add_products(c->w1 + from * c->hidden, c->hidden, x, n, h);
    c->sums->add_heads(c->wide3 + from * SUMS_HEADS, x, n, out);
    end_network(c, h, out, ret);
}

/* flags: behind z. */
static void set_flags(float *flags, bool embedded, enum safety_direction direction) {
    flags[0] = embedded ? 1 : 0;
    flags[1] = direction == SAFETY_OUTPUT ? 1 : 0;
    flags[2] = direction == SAFETY_PASSAGE ? 1 : 0;
}

static bool has_layers(const struct classifier *c, const float *embedding) {
    return embedding && c->layers && classifier_layers_had(c->layers, embedding);
}

static void piece_logits(const struct classifier *c, const uint8_t *p, size_t n,
                         const float *embedding, enum safety_direction direction, float *ret) {
    float x[EMBEDDING_MAX + DIM_MAX + FLAGS];
    size_t at = embedding ? c->embedding : 0;
    if (embedding)
        memcpy(x, embedding, at * sizeof *x);
    struct classifier_flow f = {0};
    flow_take(c, &f, p, n);
    flow_z(c, &f, x + at);
    set_flags(x + at + c->dim, embedding != NULL, direction);
    run_network(c, x, embedding != NULL, ret);
    if (has_layers(c, embedding))
        classifier_layers_mix(c->layers, c->sums, embedding, direction, ret);
}

size_t classifier_logits(const struct classifier *c, struct str text, const float *embedding,
                         enum safety_direction direction, float ret[CLASSIFIER_HEADS_MAX]) {
    uint8_t folded[PIECE_MAX];
    size_t at = 0, n = fold(text, &at, folded);
    piece_logits(c, folded, n, embedding, direction, ret);
    return c->heads;
}

/* ---- scores ---- */

/* Raises p, by kind of head, to the probabilities that these logits stand for. An answer without
 * embedding is judged again with each token, and one mistake of hundreds would end it: so it must
 * be as much surer as makes 0.95 of 0.8. */
#define ANSWER_DOUBT 1.5f
static void raise_by_logits(const struct classifier *c, const float *logits, const float *embedding,
                            enum safety_direction direction, float *p) {
    const float *ab = has_layers(c, embedding) ? classifier_layers_calibration(c->layers)
                                               : c->calibration + (embedding ? 2 * c->heads : 0);
    const float doubt = !embedding && direction == SAFETY_OUTPUT ? ANSWER_DOUBT : 0;
    for (uint32_t i = 0; i < c->heads; i++) {
        const float q = 1.0f / (1.0f + expf(doubt - (ab[2 * i] * logits[i] + ab[2 * i + 1])));
        if (q > p[c->kind[i]])
            p[c->kind[i]] = q;
    }
}

static void raise_scores(const struct classifier *c, const uint8_t *piece, size_t n,
                         const float *embedding, enum safety_direction direction, float *p) {
    float logits[CLASSIFIER_HEADS_MAX];
    piece_logits(c, piece, n, embedding, direction, logits);
    raise_by_logits(c, logits, embedding, direction, p);
}

/* A text whose first piece is folded already; `at` is where the next one begins. */
static void score_text(const struct classifier *c, struct str text, uint8_t piece[PIECE_MAX],
                       size_t n, size_t at, const float *embedding, enum safety_direction direction,
                       float *p) {
    if (n > 1)
        raise_scores(c, piece, n, embedding, direction, p);
    while (at < text.n)
        if ((n = fold(text, &at, piece)) > 1)
            raise_scores(c, piece, n, NULL, direction, p);
}

/* The whole speaks through its strongest category, which is the likeliest name for it. */
static void name_strongest(float p[HEAD_KINDS]) {
    int strongest = 0;
    for (int k = 0; k < SAFETY_PROMPT_INJECTION; k++) {
        if (p[k] > p[strongest])
            strongest = k;
        if (p[k] > p[HEAD_HARMFUL])
            p[k] = p[HEAD_HARMFUL];
    }
    p[strongest] = p[HEAD_HARMFUL];
}

/* Pieces without embeddings on their way through the network, side by side. */
struct abreast {
    const struct classifier *c;
    size_t n;
    float x[SUMS_ABREAST][DIM_MAX + FLAGS];
    enum safety_direction direction[SUMS_ABREAST];
    float *p[SUMS_ABREAST]; /* by kind of head: what is raised */
};

/* How many inputs count: zeros at the end (flags that are not set) add nothing. */
static size_t inputs_of(const struct abreast *a) {
    size_t n = a->c->dim + FLAGS;
    for (; n > 0; n--)
        for (size_t k = 0; k < a->n; k++)
            if (a->x[k][n - 1] != 0)
                return n;
    return n;
}

static void abreast_run(struct abreast *a) {
    const struct classifier *c = a->c;
    float h[SUMS_ABREAST][HIDDEN_MAX], logits[CLASSIFIER_HEADS_MAX];
    const float *in[SUMS_ABREAST] = {NULL};
    float *out[SUMS_ABREAST] = {NULL};
    const float *w1 = c->w1 + (size_t)c->embedding * c->hidden;
    const size_t n = inputs_of(a);
    for (size_t k = 0; k < a->n; k++) {
        in[k] = a->x[k];
        out[k] = h[k];
        memcpy(h[k], c->b1, c->hidden * sizeof **h);
    }
    if (a->n > 1)
        c->sums->add_products_abreast(w1, c->hidden, in, a->n, n, out);
    else if (a->n == 1)
        c->sums->add_products(w1, c->hidden, in[0], n, h[0]);
    for (size_t k = 0; k < a->n; k++) {
        float sums[SUMS_HEADS] = {0};
        memcpy(sums, c->b2, c->heads * sizeof *sums);
        c->sums->add_heads(c->wide3 + (size_t)c->embedding * SUMS_HEADS, in[k], n, sums);
        end_network(c, h[k], sums, logits);
        raise_by_logits(c, logits, NULL, a->direction[k], a->p[k]);
    }
    a->n = 0;
}

static void abreast_add(struct abreast *a, const struct classifier_flow *f,
                        enum safety_direction direction, float *p) {
    float *x = a->x[a->n];
    flow_z(a->c, f, x);
    set_flags(x + a->c->dim, false, direction);
    a->direction[a->n] = direction;
    a->p[a->n++] = p;
    if (a->n == SUMS_ABREAST)
        abreast_run(a);
}

/* The text before, whose features those of one that begins so go on from. */
struct before {
    const char *text;
    size_t n; /* bytes of its folded piece; 0 = it is of no use */
    uint8_t piece[PIECE_MAX];
    struct classifier_flow features;
};

/* The features of the first piece of t->text; they are the ones to go on from then. */
static void take_features(const struct classifier *c, struct before *b, const struct safety_text *t,
                          const uint8_t *piece, size_t n) {
    size_t at = t->text.p == b->text && b->n < n && memcmp(b->piece, piece, b->n) == 0 ? b->n : 0;
    if (at == 0)
        memset(&b->features, 0, sizeof b->features);
    flow_take(c, &b->features, piece + at, n - at);
    memcpy(b->piece + at, piece + at, n - at);
    b->text = t->text.p;
    b->n = n;
}

static bool has_same_bytes(struct str a, struct str b) {
    bool same = a.n == b.n;
    for (size_t i = 0; i < a.n && same; i++)
        same = fold_byte((uint8_t)a.p[i]) == fold_byte((uint8_t)b.p[i]);
    return same;
}

static void score_one(struct abreast *a, struct before *b, const struct safety_text *t, float *p) {
    uint8_t piece[PIECE_MAX], other[PIECE_MAX];
    size_t at = 0, at_other = 0;
    size_t n = fold(t->text, &at, piece), m = 0;
    bool same = t->text.p == t->folded.p && t->text.n == t->folded.n;
    if (!same) { /* still they may have the same features */
        m = fold(t->folded, &at_other, other);
        same = n == m && memcmp(piece, other, n) == 0 &&
               has_same_bytes(str_sub(t->text, at, t->text.n),
                              str_sub(t->folded, at_other, t->folded.n));
    }
    if (n > 1 && !t->embedding) {
        take_features(a->c, b, t, piece, n);
        abreast_add(a, &b->features, t->direction, p);
        n = 1; /* the rest alone */
    }
    score_text(a->c, t->text, piece, n, at, t->embedding, t->direction, p);
    if (t->folded.n && !same)
        score_text(a->c, t->folded, other, m, at_other, NULL, t->direction, p);
}

#define TEXTS 8

static void score_some(const struct classifier *c, const struct safety_text *t, size_t n,
                       float p[TEXTS][HEAD_KINDS]) {
    struct abreast a;
    struct before b;
    a.c = c;
    b.text = NULL;
    a.n = b.n = 0;
    memset(p, 0, n * sizeof *p);
    for (size_t i = 0; i < n; i++)
        score_one(&a, &b, &t[i], p[i]);
    abreast_run(&a);
    for (size_t i = 0; i < n; i++)
        name_strongest(p[i]);
}

void classifier_score(const struct classifier *c, const struct safety_text *t,
                      float ret[SAFETY_CATEGORIES], float *ret_harmful) {
    float p[TEXTS][HEAD_KINDS];
    score_some(c, t, 1, p);
    memcpy(ret, p[0], SAFETY_CATEGORIES * sizeof *ret);
    *ret_harmful = p[0][HEAD_HARMFUL];
}

/* ---- a text that grows ---- */

void classifier_flow_add(const struct classifier *c, struct classifier_flow *f, struct str text) {
    uint8_t folded[FLOW_PIECE];
    size_t n = 0;
    bool in_word = f->in_word;
    if (f->n == 0)
        folded[n++] = ' ';
    for (size_t i = 0; i < text.n; i++) {
        uint8_t b = fold_byte((uint8_t)text.p[i]);
        if (b == ' ' && !in_word)
            continue;
        in_word = b != ' ';
        folded[n++] = b;
        if (n == FLOW_PIECE) {
            flow_take(c, f, folded, n);
            n = 0;
        }
    }
    flow_take(c, f, folded, n);
}

void classifier_flow_score(const struct classifier *c, const struct classifier_flow *flow,
                           enum safety_direction direction, float ret[SAFETY_CATEGORIES]) {
    float x[DIM_MAX + FLAGS], logits[CLASSIFIER_HEADS_MAX], p[HEAD_KINDS] = {0};
    struct classifier_flow f = *flow;
    if (f.in_word)
        flow_take(c, &f, (const uint8_t *)" ", 1);
    flow_z(c, &f, x);
    set_flags(x + c->dim, false, direction);
    run_network(c, x, false, logits);
    if (f.any_word)
        raise_by_logits(c, logits, NULL, direction, p);
    name_strongest(p);
    memcpy(ret, p, SAFETY_CATEGORIES * sizeof *ret);
}

/* ---- as a scorer ---- */

static void flow_add(const void *ctx, void *flow, struct str text) {
    classifier_flow_add(ctx, flow, text);
}

static void flow_score(const void *ctx, const void *flow, enum safety_direction direction,
                       float ret[SAFETY_CATEGORIES]) {
    classifier_flow_score(ctx, flow, direction, ret);
}

static void score(const void *ctx, const struct safety_text *t, float ret[SAFETY_CATEGORIES]) {
    float harmful;
    classifier_score(ctx, t, ret, &harmful);
}

static void score_all(const void *ctx, const struct safety_text *t, size_t n,
                      float (*ret)[SAFETY_CATEGORIES]) {
    float p[TEXTS][HEAD_KINDS];
    for (size_t at = 0, some; at < n; at += some) {
        some = n - at < TEXTS ? n - at : TEXTS;
        score_some(ctx, t + at, some, p);
        for (size_t i = 0; i < some; i++)
            memcpy(ret[at + i], p[i], sizeof *ret);
    }
}

struct safety_scorer classifier_scorer(const struct classifier *c) {
    return (struct safety_scorer){.name = c->name,
                                  .digest = c->digest,
                                  .embedding_dims = c->embedding,
                                  .layer_numbers =
                                      c->layers ? classifier_layers_numbers(c->layers) : 0,
                                  .embedding_model = "all-minilm-l6-v2",
                                  .score = score,
                                  .score_all = score_all,
                                  .flow_size = sizeof(struct classifier_flow),
                                  .flow_add = flow_add,
                                  .flow_score = flow_score,
                                  .ctx = c};
}
