/* POST /v1/embeddings and POST /v1/tokens/count. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "engine/engine_internal.h"
#include "engine/render.h"

#define ARENA_MAX  (16u << 20)
#define ANSWER_MAX (64u << 20)

struct embedding { /* a request in work; the loop's thread but for what on_done fills before it
                      posts */
    struct engine *engine;
    struct http_guard *guard;
    uint64_t job;
    int n, dimensions;
    bool base64, layers;
    int tokens;
    enum err err;
    struct errinfo ei;
    float *vectors;
};

static void embedding_free(struct embedding *e) {
    http_guard_free(e->guard);
    free(e->vectors);
    free(e);
}

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

static void add_vector(struct buf *out, const struct embedding *e, float *v) {
    const struct model_info *m = &e->engine->embedding->info;
    if (e->dimensions < m->dimensions)
        shorten(v, e->dimensions);
    add_numbers(out, e->base64, v, e->dimensions);
    if (e->layers && m->layer_numbers) {
        buf_addz(out, ",\"layers\":");
        add_numbers(out, e->base64, v + m->dimensions, m->layer_numbers);
    }
}

static void reply(struct embedding *e, struct http_request *r) {
    struct buf out;
    size_t row = model_row(&e->engine->embedding->info);
    buf_init(&out, ANSWER_MAX);
    buf_addz(&out, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < e->n; i++) {
        buf_addf(&out, "%s{\"object\":\"embedding\",\"index\":%d,\"embedding\":", i ? "," : "", i);
        add_vector(&out, e, e->vectors + (size_t)i * row);
        buf_addc(&out, '}');
    }
    buf_addz(&out, "],\"model\":\"");
    buf_add_json(&out, str_from(e->engine->o->embedding_name));
    buf_addf(&out, "\",\"usage\":{\"prompt_tokens\":%d,\"total_tokens\":%d}}", e->tokens,
             e->tokens);
    if (buf_err(&out))
        engine_reply_error(r, buf_err(&out), NULL);
    else
        http_reply(r, 200, "application/json", buf_str(&out));
    buf_deinit(&out);
}

static void on_client_gone(void *arg) {
    struct embedding *e = arg;
    sched_cancel(e->engine->sched, e->job);
}

static void on_done_in_loop(void *arg) {
    struct embedding *e = arg;
    struct http_request *r = http_guard_get(e->guard);
    if (r)
        http_on_close(r, NULL, NULL);
    if (r && e->err)
        engine_reply_error(r, e->err == ERR_CANCELLED ? ERR_UNAVAILABLE : e->err, &e->ei);
    else if (r)
        reply(e, r);
    embedding_free(e);
}

/* On the compute thread. */
static void on_done(void *ctx, enum err err, float *vectors, const struct errinfo *ei) {
    struct embedding *e = ctx;
    e->err = err;
    e->vectors = vectors;
    if (ei)
        e->ei = *ei;
    if (loop_post(e->engine->loop, on_done_in_loop, e))
        abort(); /* the client would wait for ever */
}

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
        e = m->ops->tokenize(m, in->text, true, out);
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

static enum err make_job(struct embedding *e, const struct embed_request *req,
                         struct sched_embed *job, struct errinfo *ei) {
    const struct model *m = e->engine->embedding;
    if (req->model.p && !str_eqz(req->model, e->engine->o->embedding_name))
        return err_param(ei, ERR_NO_MODEL, "model",
                         "there is no embedding model \"%.*s\" here; this server has \"%s\"",
                         STR_ARG(str_sub(req->model, 0, 100)), e->engine->o->embedding_name);
    if (req->dimensions > m->info.dimensions)
        return err_param(ei, ERR_INVALID, "dimensions", "the model's vectors have %d dimensions",
                         m->info.dimensions);
    e->n = job->n = req->n_inputs;
    e->base64 = req->base64;
    e->layers = req->layers;
    job->background = req->background;
    e->dimensions = req->dimensions ? req->dimensions : m->info.dimensions;
    job->texts = calloc((size_t)req->n_inputs, sizeof(*job->texts));
    if (!job->texts)
        return err_set(ei, ERR_NOMEM, NULL);
    for (int i = 0; i < req->n_inputs; i++) {
        enum err err = add_input(m, &req->inputs[i], &job->texts[i], ei);
        if (err)
            return err;
        e->tokens += job->texts[i].n;
    }
    return ERR_OK;
}

static void job_deinit(struct sched_embed *job) {
    for (int i = 0; job->texts && i < job->n; i++)
        tokens_deinit(&job->texts[i]);
    free(job->texts);
}

void engine_embeddings(struct engine *en, struct http_request *r) {
    struct errinfo ei = {0};
    struct embed_request req;
    if (!en->embedding) {
        struct errinfo none;
        err_set(&none, ERR_UNAVAILABLE, "no embedding model is installed; see `parley model list`");
        engine_reply_error(r, ERR_UNAVAILABLE, en->embed_error.code ? &en->embed_error : &none);
        return;
    }
    struct embedding *e = calloc(1, sizeof(*e));
    struct arena *a = arena_new(ARENA_MAX);
    struct sched_embed job = {.on_done = on_done, .ctx = e};
    enum err err = e && a ? embed_request_parse(http_body(r), a, &req, &ei) : ERR_NOMEM;
    if (!err) {
        e->engine = en;
        err = make_job(e, &req, &job, &ei);
    }
    if (!err && !(e->guard = http_guard_new(r)))
        err = ERR_NOMEM;
    if (!err)
        err = sched_embed_submit(en->sched, &job, &e->job, &ei);
    job_deinit(&job);
    arena_free(a);
    if (err) {
        if (e)
            embedding_free(e);
        engine_reply_error(r, err, &ei);
        return;
    }
    http_on_close(r, on_client_gone, e);
}

void engine_count(struct engine *en, struct http_request *r) {
    struct errinfo ei = {0};
    struct count_request req;
    struct buf out;
    struct arena *a = arena_new(ARENA_MAX);
    enum err e = a ? count_request_parse(http_body(r), a, &req, &ei) : ERR_NOMEM;
    const struct model *m = en->chat;
    if (!e && req.model.p && en->embedding && str_eqz(req.model, en->o->embedding_name))
        m = en->embedding;
    else if (!e && (!m || (req.model.p && !str_eqz(req.model, en->o->chat_name))))
        e = err_param(&ei, ERR_NO_MODEL, "model", "there is no such model here");
    buf_init(&out, 1 << 20);
    buf_addz(&out, "{\"counts\":[");
    for (int i = 0; !e && i < req.n_texts; i++) {
        struct tokens t = {0};
        e = m->ops->tokenize(m, req.texts[i], false, &t);
        buf_addf(&out, i ? ",%d" : "%d", t.n);
        tokens_deinit(&t);
    }
    buf_addz(&out, "]}");
    if (!e)
        e = buf_err(&out);
    if (e)
        engine_reply_error(r, e, &ei);
    else
        http_reply(r, 200, "application/json", buf_str(&out));
    buf_deinit(&out);
    arena_free(a);
}
