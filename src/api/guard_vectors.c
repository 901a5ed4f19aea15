/* See guard_vectors.h. */
#include "api/guard_vectors.h"

#include "safety/guard.h"

static void finish(struct guard_vectors *v) {
    timer_free(v->patience);
    v->patience = NULL;
    v->call = NULL;
    v->then(v->owner);
}

static void on_embedded(void *ctx, const struct embed_result *r) {
    struct guard_vectors *v = ctx;
    const struct safety_scorer *s = safety_get_scorer(v->owner->api->o.safety);
    if (!r->err && r->n == v->n && safety_scorer_reads(s, r->model, (size_t)r->dimensions)) {
        v->row = safety_scorer_row(s);
        v->vectors = v->room;
        safety_scorer_rows(s, v->n, r->vectors, r->layers, (size_t)r->layer_numbers, v->vectors);
    }
    finish(v);
}

static void on_late(void *ctx) {
    struct guard_vectors *v = ctx;
    upstream_cancel(v->call);
    finish(v);
}

/* False when it is known that the upstream's embedding model is not the one that s reads. */
static bool may_fit(struct call *c, const struct safety_scorer *s) {
    struct str name;
    return upstream_embedding_model(c->api->o.upstream, c->arena, &name) != ERR_OK ||
           safety_scorer_reads(s, name, s->embedding_dims);
}

bool guard_vectors_ask(struct call *c, const struct str *texts, size_t n, struct guard_vectors *v,
                       loop_fn then) {
    const struct safety_scorer *s = safety_get_scorer(c->api->o.safety);
    struct errinfo ei;
    *v = (struct guard_vectors){.texts = texts, .n = n, .then = then, .owner = c};
    if (!s || !s->embedding_dims || !c->client || n == 0 || n > UPSTREAM_EMBED_MAX ||
        !may_fit(c, s) ||
        !(v->room = arena_array(c->arena, n * safety_scorer_row(s), sizeof *v->room)) ||
        !(v->patience = timer_new(c->loop, on_late, v)))
        return false;
    int ms = c->api->o.guard_wait_ms;
    timer_start(v->patience, ms > 0 ? ms : GUARD_VECTORS_MS, false);
    if (upstream_embed(c->client, STR_NULL, texts, n,
                       s->layer_numbers ? UPSTREAM_EMBED_LAYERS : UPSTREAM_EMBED_PLAIN, on_embedded,
                       v, &v->call, &ei) == ERR_OK)
        return true;
    timer_free(v->patience);
    v->patience = NULL;
    return false;
}

void guard_vectors_cancel(struct guard_vectors *v) {
    upstream_cancel(v->call);
    timer_free(v->patience);
    v->call = NULL;
    v->patience = NULL;
}

const float *guard_vectors_of(const struct guard_vectors *v, struct str text) {
    for (size_t i = 0; v->vectors && i < v->n; i++)
        if (str_eq(v->texts[i], text))
            return v->vectors + i * v->row;
    return NULL;
}
