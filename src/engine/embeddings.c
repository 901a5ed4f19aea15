/* POST /v1/embeddings.
 *
 *   tokens ──▶ in the scheduler ──▶ the answer's text ──▶ answered
 *      └──────────────┴──────────────────┴─▶ freed
 *
 * A struct embedding belongs to the loop's thread; while tokens or text are made of much, to the
 * texts' thread (texts.h), and in the scheduler the compute thread has its address to post to the
 * loop. The client may be gone long before. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/layers_of.h"
#include "engine/engine_internal.h"
#include "engine/render.h"

#define ARENA_MAX    (16u << 20)
#define ANSWER_MAX   (64u << 20)
#define NUMBER_BYTES 16   /* of one written as text, at most: "-1.2345678e-38," */
#define BINARY_BYTES 6    /* of one in base64 */
#define TOKEN_BYTES  128  /* no text has a window of longer ones: what follows is not read */
#define FEW_BYTES    2048 /* of text, and numbers: what takes about a millisecond */
#define FEW_NUMBERS  4096
#define FEW_BINARY   65536

struct embedding { /* a request in work */
    struct texts_work work;
    struct http_guard *guard;
    struct arena *arena;
    struct embed_request request;
    struct sched_embed job;
    uint64_t id;      /* in the scheduler, 0 = not there yet */
    atomic_bool gone; /* the client: nothing more need be done */
    int dimensions;
    int tokens;
    enum err err;
    struct errinfo ei;
    float *vectors;
    struct buf answer;
};

static void embedding_free(struct embedding *e) {
    for (int i = 0; e->job.texts && i < e->job.n; i++)
        tokens_deinit(&e->job.texts[i]);
    free(e->job.texts);
    http_guard_free(e->guard);
    arena_free(e->arena);
    buf_deinit(&e->answer);
    free(e->vectors);
    free(e);
}

static void drop(struct texts_work *w) {
    embedding_free((struct embedding *)w);
}

static bool is_wanted(const struct embedding *e) {
    return !atomic_load(&e->gone) && !atomic_load(&e->work.engine->stop_loading);
}

/* The client's request, when it still waits: with an error it is answered here. NULL: there is
 * nothing more to do. */
static struct http_request *asker(struct embedding *e) {
    struct http_request *r = http_guard_get(e->guard);
    if (r && e->err) {
        http_on_close(r, NULL, NULL);
        engine_reply_error(r, e->err == ERR_CANCELLED ? ERR_UNAVAILABLE : e->err, &e->ei);
        r = NULL;
    }
    return r;
}

/* ---- the answer ---- */

/* The first dimensions of a vector, at length 1 again. */
static void shorten(float *v, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    for (int i = 0; i < n && sum > 0; i++)
        v[i] = (float)((double)v[i] / sqrt(sum));
}

static void add_numbers(struct buf *out, bool base64, const float *v, int n) {
    if (base64) {
        buf_addc(out, '"');
        base64_add(out, v, (size_t)n * sizeof(*v));
        buf_addc(out, '"');
        return;
    }
    buf_addc(out, '[');
    for (int i = 0; i < n; i++)
        buf_addf(out, i ? ",%.8g" : "%.8g", (double)v[i]);
    buf_addc(out, ']');
}

static bool has_layers(const struct embedding *e, const struct model_info *m) {
    return e->request.layers && m->layer_numbers > 0;
}

static void add_vector(struct buf *out, const struct embedding *e, float *v) {
    const struct model_info *m = &e->work.engine->embedding->info;
    if (e->dimensions < m->dimensions)
        shorten(v, e->dimensions);
    add_numbers(out, e->request.base64, v, e->dimensions);
    if (has_layers(e, m)) {
        buf_addz(out, ",\"layers\":");
        add_numbers(out, e->request.base64, v + m->dimensions, m->layer_numbers);
    }
}

static void write_answer(struct texts_work *w) {
    struct embedding *e = (struct embedding *)w;
    const struct engine *en = w->engine;
    struct buf *out = &e->answer;
    buf_addz(out, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < e->request.n_inputs && is_wanted(e); i++) {
        buf_addf(out, "%s{\"object\":\"embedding\",\"index\":%d,\"embedding\":", i ? "," : "", i);
        add_vector(out, e, e->vectors + (size_t)i * model_row(&en->embedding->info));
        buf_addc(out, '}');
    }
    buf_addz(out, "],\"model\":\"");
    buf_add_json(out, str_from(en->o->embedding_name));
    buf_addc(out, '"');
    if (has_layers(e, &en->embedding->info))
        buf_addz(out, ",\"layers_of\":\"" LAYERS_OF "\"");
    buf_addf(out, ",\"usage\":{\"prompt_tokens\":%d,\"total_tokens\":%d}}", e->tokens, e->tokens);
    e->err = buf_err(out);
}

static void on_written(struct texts_work *w) {
    struct embedding *e = (struct embedding *)w;
    struct http_request *r = asker(e);
    if (r) {
        http_on_close(r, NULL, NULL);
        http_reply(r, 200, "application/json", buf_str(&e->answer));
    }
    embedding_free(e);
}

/* Numbers of one text in the answer. */
static size_t numbers_of_a_text(const struct embedding *e, const struct model_info *m) {
    return (size_t)e->dimensions + (e->request.layers ? (size_t)m->layer_numbers : 0);
}

/* ---- in the scheduler ---- */

static void on_client_gone(void *arg) {
    struct embedding *e = arg;
    atomic_store(&e->gone, true);
    if (e->id)
        sched_cancel(e->work.engine->sched, e->id);
}

static void on_done_in_loop(void *arg) {
    struct embedding *e = arg;
    struct engine *en = e->work.engine;
    e->id = 0;
    if (!asker(e)) {
        embedding_free(e);
        return;
    }
    size_t numbers = numbers_of_a_text(e, &en->embedding->info) * (size_t)e->request.n_inputs;
    e->work.work = write_answer;
    e->work.done = on_written;
    e->err =
        texts_run(en, &e->work, numbers > (e->request.base64 ? FEW_BINARY : FEW_NUMBERS), &e->ei);
    if (!e->err)
        return; /* it may be freed already */
    (void)asker(e);
    embedding_free(e);
}

/* On the compute thread. */
static void on_done(void *ctx, enum err err, float *vectors, const struct errinfo *ei) {
    struct embedding *e = ctx;
    e->err = err;
    e->vectors = vectors;
    if (ei)
        e->ei = *ei;
    if (loop_post(e->work.engine->loop, on_done_in_loop, e))
        abort(); /* the client would wait for ever */
}

/* ---- the tokens ---- */

static enum err add_input(const struct model *m, const struct embed_input *in, struct tokens *out,
                          struct errinfo *ei) {
    enum err e;
    if (in->tokens) {
        for (int i = 0; i < in->n_tokens; i++)
            if (in->tokens[i] >= m->info.vocabulary)
                return err_param(ei, ERR_INVALID, "input",
                                 "token %d is not in the model's vocabulary", in->tokens[i]);
        e = tokens_add(out, in->tokens, in->n_tokens);
    } else {
        size_t most = (size_t)m->info.window * TOKEN_BYTES;
        size_t n = in->text.n > most ? utf8_cut(in->text, most) : in->text.n;
        e = m->ops->tokenize(m, str_sub(in->text, 0, n), true, out);
    }
    if (e)
        return err_set(ei, e, NULL);
    /* What is past the window is left out (docs/scheduler.md); the closing token of the frame stays
     * the last. */
    if (out->n > m->info.window) {
        int32_t last = out->p[out->n - 1];
        out->n = m->info.window;
        if (!in->tokens)
            out->p[out->n - 1] = last;
    }
    return out->n ? ERR_OK : err_param(ei, ERR_INVALID, "input", "a text of \"input\" is empty");
}

static void make_tokens(struct texts_work *w) {
    struct embedding *e = (struct embedding *)w;
    for (int i = 0; i < e->job.n && !e->err && is_wanted(e); i++) {
        e->err = add_input(w->engine->embedding, &e->request.inputs[i], &e->job.texts[i], &e->ei);
        e->tokens += e->job.texts[i].n;
    }
}

static void on_tokens(struct texts_work *w) {
    struct embedding *e = (struct embedding *)w;
    if (asker(e)) {
        struct errinfo ei = {0};
        enum err err = sched_embed_submit(w->engine->sched, &e->job, &e->id, &ei);
        if (!err)
            return; /* on_done() has it, and has perhaps been called */
        e->err = err;
        e->ei = ei;
        (void)asker(e);
    }
    embedding_free(e);
}

/* Refuses what no answer could hold before anything is computed. */
static enum err check(struct embedding *e, const struct engine *en, struct errinfo *ei) {
    const struct embed_request *req = &e->request;
    const struct model_info *m = &en->embedding->info;
    if (req->model.p && !str_eqz(req->model, en->o->embedding_name))
        return err_param(ei, ERR_NO_MODEL, "model",
                         "there is no embedding model \"%.*s\" here; this server has \"%s\"",
                         STR_ARG(str_sub(req->model, 0, 100)), en->o->embedding_name);
    if (req->dimensions > m->dimensions)
        return err_param(ei, ERR_INVALID, "dimensions", "the model's vectors have %d dimensions",
                         m->dimensions);
    e->dimensions = req->dimensions ? req->dimensions : m->dimensions;
    size_t numbers = numbers_of_a_text(e, m);
    size_t most = ANSWER_MAX / (numbers * (req->base64 ? BINARY_BYTES : NUMBER_BYTES));
    if ((size_t)req->n_inputs > most)
        return err_param(ei, ERR_INVALID, "input",
                         "%d texts of %zu numbers each are more than an answer holds: send %zu at "
                         "most%s",
                         req->n_inputs, numbers, most,
                         req->base64 ? "" : ", or ask for \"encoding_format\": \"base64\"");
    return ERR_OK;
}

static bool is_much(const struct embed_request *req) {
    size_t bytes = 0;
    for (int i = 0; i < req->n_inputs; i++)
        bytes += req->inputs[i].text.n + (size_t)req->inputs[i].n_tokens;
    return bytes > FEW_BYTES;
}

static enum err begin(struct embedding *e, struct engine *en, struct http_request *r,
                      struct errinfo *ei) {
    enum err err = embed_request_parse(http_body(r), e->arena, &e->request, ei);
    if (!err)
        err = check(e, en, ei);
    if (err)
        return err;
    e->work = (struct texts_work){.work = make_tokens, .done = on_tokens, .drop = drop};
    e->job = (struct sched_embed){.n = e->request.n_inputs,
                                  .background = e->request.background,
                                  .on_done = on_done,
                                  .ctx = e};
    e->job.texts = calloc((size_t)e->job.n, sizeof *e->job.texts);
    e->guard = e->job.texts ? http_guard_new(r) : NULL;
    if (!e->guard)
        return err_set(ei, ERR_NOMEM, NULL);
    http_on_close(r, on_client_gone, e);
    err = texts_run(en, &e->work, is_much(&e->request), ei);
    if (err)
        http_on_close(r, NULL, NULL);
    return err;
}

void engine_embeddings(struct engine *en, struct http_request *r) {
    struct errinfo ei = {0};
    if (!en->embedding) {
        struct errinfo none;
        err_set(&none, ERR_UNAVAILABLE, "no embedding model is installed; see `parley model list`");
        engine_reply_error(r, ERR_UNAVAILABLE, en->embed_error.code ? &en->embed_error : &none);
        return;
    }
    struct embedding *e = calloc(1, sizeof *e);
    if (e) {
        buf_init(&e->answer, ANSWER_MAX);
        e->arena = arena_new(ARENA_MAX);
    }
    enum err err = e && e->arena ? begin(e, en, r, &ei) : err_set(&ei, ERR_NOMEM, NULL);
    if (!err)
        return;
    if (e)
        embedding_free(e);
    engine_reply_error(r, err, &ei);
}
