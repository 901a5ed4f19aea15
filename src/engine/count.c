/* POST /v1/tokens/count: how many tokens each of some texts has. */
#include <stdatomic.h>
#include <stdlib.h>

#include "engine/engine_internal.h"

#define ARENA_MAX  (16u << 20)
#define ANSWER_MAX (8u << 20)
#define FEW_BYTES  2048 /* are counted in about a millisecond */

struct count {
    struct texts_work work;
    struct http_guard *guard;
    struct arena *arena;
    struct count_request request;
    const struct model *model;
    enum err err;
    struct buf answer;
};

static void count_free(struct count *c) {
    http_guard_free(c->guard);
    arena_free(c->arena);
    buf_deinit(&c->answer);
    free(c);
}

static void drop(struct texts_work *w) {
    count_free((struct count *)w);
}

static void count(struct texts_work *w) {
    struct count *c = (struct count *)w;
    buf_addz(&c->answer, "{\"counts\":[");
    for (int i = 0; !c->err && i < c->request.n_texts && !atomic_load(&w->engine->stop_loading);
         i++) {
        struct tokens t = {0};
        c->err = c->model->ops->tokenize(c->model, c->request.texts[i], false, &t);
        buf_addf(&c->answer, i ? ",%d" : "%d", t.n);
        tokens_deinit(&t);
    }
    buf_addz(&c->answer, "]}");
    c->err = c->err ? c->err : buf_err(&c->answer);
}

static void on_counted(struct texts_work *w) {
    struct count *c = (struct count *)w;
    struct http_request *r = http_guard_get(c->guard);
    if (r && c->err)
        engine_reply_error(r, c->err, NULL);
    else if (r)
        http_reply(r, 200, "application/json", buf_str(&c->answer));
    count_free(c);
}

static enum err find_model(const struct engine *en, struct str name, const struct model **ret,
                           struct errinfo *ei) {
    const struct model *m = en->chat;
    if (name.p && en->embedding && str_eqz(name, en->o->embedding_name))
        m = en->embedding;
    else if (!m || (name.p && !str_eqz(name, en->o->chat_name)))
        return err_param(ei, ERR_NO_MODEL, "model", "there is no such model here");
    *ret = m;
    return ERR_OK;
}

static bool is_much(const struct count_request *r) {
    size_t bytes = 0;
    for (int i = 0; i < r->n_texts; i++)
        bytes += r->texts[i].n;
    return bytes > FEW_BYTES;
}

void engine_count(struct engine *en, struct http_request *r) {
    struct errinfo ei = {0};
    struct count *c = calloc(1, sizeof *c);
    if (c) {
        c->work = (struct texts_work){.work = count, .done = on_counted, .drop = drop};
        buf_init(&c->answer, ANSWER_MAX);
        c->arena = arena_new(ARENA_MAX);
    }
    enum err e = c && c->arena ? count_request_parse(http_body(r), c->arena, &c->request, &ei)
                               : err_set(&ei, ERR_NOMEM, NULL);
    if (!e)
        e = find_model(en, c->request.model, &c->model, &ei);
    if (!e && !(c->guard = http_guard_new(r)))
        e = err_set(&ei, ERR_NOMEM, NULL);
    if (!e)
        e = texts_run(en, &c->work, is_much(&c->request), &ei);
    if (!e)
        return;
    if (c)
        count_free(c);
    engine_reply_error(r, e, &ei);
}
