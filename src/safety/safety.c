/* The names of safety.h's enums, and what a scorer is given. */
#include "safety/safety.h"

#include <string.h>

static const char *const category_names[] = {
#define X(id, name) name,
    SAFETY_CATEGORY_TABLE(X)
#undef X
};
static const char *const action_names[] = {"allow", "annotate", "redact", "warn", "block"};
static const char *const direction_names[] = {"input", "output", "passage"};

static int from_name(const char *const *names, int n, struct str s) {
    for (int i = 0; i < n; i++)
        if (str_eqz(s, names[i]))
            return i;
    return -1;
}

const char *safety_category_name(enum safety_category c) {
    return category_names[c];
}

int safety_category_from_name(struct str s) {
    return from_name(category_names, SAFETY_CATEGORIES, s);
}

const char *safety_action_name(enum safety_action a) {
    return action_names[a];
}

int safety_action_from_name(struct str s) {
    return from_name(action_names, SAFETY_ACTIONS, s);
}

const char *safety_direction_name(enum safety_direction d) {
    return direction_names[d];
}

size_t safety_scorer_row(const struct safety_scorer *s) {
    return s->embedding_dims + s->layer_numbers;
}

void safety_scorer_rows(const struct safety_scorer *s, size_t n, const float *embeddings,
                        const float *layers, size_t layer_numbers, float *ret) {
    for (size_t i = 0; i < n; i++, ret += safety_scorer_row(s)) {
        float *behind = ret + s->embedding_dims;
        memcpy(ret, embeddings + i * s->embedding_dims, s->embedding_dims * sizeof *ret);
        if (layers && layer_numbers == s->layer_numbers)
            memcpy(behind, layers + i * layer_numbers, layer_numbers * sizeof *ret);
        else
            memset(behind, 0, s->layer_numbers * sizeof *ret);
    }
}

bool safety_scorer_reads(const struct safety_scorer *s, struct str model, size_t dims) {
    if (!s || !s->embedding_model || dims == 0 || dims != s->embedding_dims)
        return false;
    const struct str part = str_from(s->embedding_model);
    for (size_t i = 0; i + part.n <= model.n; i++)
        if (str_eq_nocase(str_sub(model, i, part.n), part))
            return true;
    return false;
}
