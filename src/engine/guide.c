#include "engine/guide.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_MAX 512

struct vocabulary {
    int n;
    uint32_t *starts; /* n + 1 places in bytes */
    bool *ends;       /* tokens that end the answer */
    char *bytes;
};

struct guide {
    const struct vocabulary *v;
    struct grammar_state *state;
};

static bool read_pieces(struct vocabulary *v, const struct model *m) {
    char piece[PIECE_MAX];
    size_t used = 0, size = (size_t)v->n * 8 + PIECE_MAX;
    v->bytes = malloc(size);
    for (int t = 0; v->bytes && t < v->n; t++) {
        if (used + PIECE_MAX > size) {
            char *grown = realloc(v->bytes, size *= 2);
            if (!grown)
                return false;
            v->bytes = grown;
        }
        v->ends[t] = m->ops->is_end(m, t);
        int n = v->ends[t] ? 0 : m->ops->piece(m, t, piece, sizeof(piece));
        memcpy(v->bytes + used, piece, (size_t)n);
        used += (size_t)n;
        v->starts[t + 1] = (uint32_t)used;
    }
    return v->bytes != NULL;
}

struct vocabulary *vocabulary_new(const struct model *m) {
    struct vocabulary *v = calloc(1, sizeof(*v));
    if (!v)
        return NULL;
    v->n = m->info.vocabulary;
    v->starts = calloc((size_t)v->n + 1, sizeof(*v->starts));
    v->ends = calloc((size_t)v->n + 1, sizeof(*v->ends));
    if (v->starts && v->ends && read_pieces(v, m))
        return v;
    vocabulary_free(v);
    return NULL;
}

void vocabulary_free(struct vocabulary *v) {
    if (!v)
        return;
    free(v->starts);
    free(v->ends);
    free(v->bytes);
    free(v);
}

struct guide *guide_new(const struct grammar *g, const struct vocabulary *v) {
    struct guide *guide = calloc(1, sizeof(*guide));
    if (!guide)
        return NULL;
    guide->v = v;
    guide->state = grammar_state_new(g);
    if (guide->state)
        return guide;
    free(guide);
    return NULL;
}

void guide_free(struct guide *g) {
    if (!g)
        return;
    grammar_state_free(g->state);
    free(g);
}

static struct str piece_of(const struct guide *g, int32_t token) {
    uint32_t at = g->v->starts[token];
    return (struct str){g->v->bytes + at, g->v->starts[token + 1] - at};
}

bool guide_allows(struct guide *g, int32_t token) {
    if (token < 0 || token >= g->v->n)
        return false;
    if (g->v->ends[token])
        return grammar_may_end(g->state);
    struct str piece = piece_of(g, token);
    return piece.n > 0 && grammar_allows(g->state, piece);
}

void guide_mask(struct guide *g, float *logits) {
    bool first[256]; /* bytes with which a token may begin */
    for (int i = 0; i < 256; i++)
        first[i] = grammar_allows(g->state, (struct str){&(char){(char)i}, 1});
    uint64_t enough = grammar_work(g->state) + GUIDE_WORK_MAX;
    for (int32_t t = 0; t < g->v->n; t++) {
        if (logits[t] == -INFINITY)
            continue;
        if (grammar_work(g->state) > enough && !g->v->ends[t]) {
            logits[t] = -INFINITY;
            continue;
        }
        struct str piece = piece_of(g, t);
        if ((piece.n && !first[(unsigned char)piece.p[0]]) || !guide_allows(g, t))
            logits[t] = -INFINITY;
    }
}

void guide_take(struct guide *g, int32_t token) {
    if (token >= 0 && token < g->v->n && !g->v->ends[token])
        (void)grammar_advance(g->state, piece_of(g, token));
}

bool guide_skip(struct guide *g, struct str text) {
    return grammar_advance(g->state, text);
}

bool guide_done(const struct guide *g) {
    return grammar_must_end(g->state);
}
