/* Embeddings: POST /embeddings {"model","input":[…],"encoding_format":"base64"} →
 * {"data":[{"index","embedding": base64 of little-endian floats, or a list of numbers}],"model"}.
 * Servers that do not know base64 answer with lists; both are read. Vectors are brought to length
 * 1, which not all servers do. When the server was never asked for its models, that is done first.
 */
#include <math.h>
#include <stdlib.h>

#include "base/crypto.h"
#include "base/layers_of.h"
#include "upstream/upstream_internal.h"

#define DIMENSIONS_MAX 8192

struct embed {
    struct upstream_call call;
    void (*done)(void *ctx, const struct embed_result *r);
    void *ctx;
    char *model;     /* as asked for, NULL = the default */
    struct buf tail; /* the request after the model's name, without its end */
    struct rows {
        float *p; /* owned; NULL = none yet */
        int dimensions;
    } vectors, layers;
    size_t n;
    bool looking; /* asking for the models first */
    enum upstream_embed_how how;
};

static enum err send_embed(struct embed *m, struct errinfo *ei) {
    struct server *v = m->call.server;
    struct buf *b = &m->call.body;
    buf_clear(b);
    buf_addz(b, "{\"model\":\"");
    enum err e = server_add_embedding_model(v, str_from(m->model), b);
    if (e)
        return err_set(ei, e, "the model server lists no embedding model");
    buf_addc(b, '"');
    buf_adds(b, buf_str(&m->tail));
    if (m->how != UPSTREAM_EMBED_PLAIN && server_is_parley(v))
        buf_addz(b, m->how == UPSTREAM_EMBED_BACKGROUND ? ",\"parley\":{\"background\":true}"
                                                        : ",\"parley\":{\"layers_of\":\"" LAYERS_OF
                                                          "\"}");
    buf_addc(b, '}');
    m->looking = false;
    return call_send(&m->call, "POST", v->base_url, "/embeddings", ei);
}

static enum err embed_send(struct upstream_call *call, struct errinfo *ei) {
    struct embed *m = (struct embed *)call;
    if (server_knows_models(call->server))
        return send_embed(m, ei);
    m->looking = true;
    buf_clear(&call->body);
    return call_send(call, "GET", call->server->base_url, "/models", ei);
}

/* ---- the answer ---- */

/* One of n rows, at `at`; its space exists when the number of dimensions is known already. */
static bool read_row(struct rows *r, size_t n, json_val *v, size_t at) {
    size_t bytes = 0, i, max, dims;
    json_val *x;
    if (yyjson_is_str(v)) {
        struct str s = json_str(v);
        dims = s.n / 4 * 3 / sizeof(float); /* padding is less than one number */
    } else {
        dims = yyjson_arr_size(v);
    }
    if (!r->p && dims > 0 && dims <= DIMENSIONS_MAX) {
        r->dimensions = (int)dims;
        r->p = calloc(n * dims, sizeof *r->p);
    }
    if (!r->p || dims != (size_t)r->dimensions)
        return false;
    float *row = r->p + at * dims;
    if (yyjson_is_str(v)) {
        if (!base64_read(json_str(v), row, dims * sizeof *row, &bytes) ||
            bytes != dims * sizeof *row)
            return false;
    } else {
        yyjson_arr_foreach(v, i, max, x) row[i] = (float)yyjson_get_num(x);
    }
    for (i = 0; i < dims; i++)
        if (!isfinite(row[i]))
            return false;
    return true;
}

static bool bring_to_length_1(struct rows *r, size_t at) {
    size_t dims = (size_t)r->dimensions, i;
    float *row = r->p + at * dims;
    double sum = 0;
    for (i = 0; i < dims; i++)
        sum += (double)row[i] * (double)row[i];
    if (sum <= 0)
        return false;
    for (i = 0; i < dims; i++)
        row[i] = (float)((double)row[i] / sqrt(sum));
    return true;
}

static enum err read_vectors(struct embed *m, json_val *root, struct errinfo *ei) {
    json_val *data = json_get(root, "data"), *row;
    size_t i, max, have = 0, with_layers = 0;
    const bool understood = str_eqz(json_get_str(root, "layers_of"), LAYERS_OF);
    bool good = yyjson_arr_size(data) == m->n;
    unsigned char *seen = calloc(m->n, 1);
    if (!seen)
        return err_set(ei, ERR_NOMEM, NULL);
    if (good)
        yyjson_arr_foreach(data, i, max, row) {
            int64_t at = json_get_int(row, "index", (int64_t)i);
            if (at < 0 || at >= (int64_t)m->n || seen[at] ||
                !read_row(&m->vectors, m->n, json_get(row, "embedding"), (size_t)at) ||
                !bring_to_length_1(&m->vectors, (size_t)at))
                break;
            json_val *layers = understood ? json_get(row, "layers") : NULL;
            if (layers && !read_row(&m->layers, m->n, layers, (size_t)at))
                break;
            with_layers += layers != NULL;
            seen[at] = 1;
            have++;
        }
    free(seen);
    return good && have == m->n && (with_layers == 0 || with_layers == m->n)
               ? ERR_OK
               : err_set(ei, ERR_UPSTREAM, "the model server's embeddings cannot be read");
}

static void report(struct embed *m, enum err e, const struct errinfo *ei) {
    struct errinfo mine;
    yyjson_doc *doc = NULL;
    if (!e) {
        ei = &mine;
        e = json_parse(buf_str(&m->call.answer), &doc, &mine);
        e = e ? err_set(&mine, ERR_UPSTREAM, "the model server's embeddings are no JSON")
              : read_vectors(m, yyjson_doc_get_root(doc), &mine);
    }
    struct embed_result r = {.err = e, .ei = e ? ei : NULL};
    if (!e) {
        r.vectors = m->vectors.p;
        r.n = m->n;
        r.dimensions = m->vectors.dimensions;
        r.layers = m->layers.p;
        r.layer_numbers = m->layers.dimensions;
        r.model = json_get_str(yyjson_doc_get_root(doc), "model");
    }
    m->done(m->ctx, &r);
    yyjson_doc_free(doc);
}

static bool embed_end(struct upstream_call *call, enum err e, const struct errinfo *ei) {
    struct embed *m = (struct embed *)call;
    struct upstream *u = call->client->u;
    struct errinfo mine;
    if (m->looking) {
        if (!e) {
            ei = &mine;
            e = server_learn(call->server, buf_str(&call->answer), &mine);
        }
        if (e && e != ERR_UNAVAILABLE && (m->model || u->embedding_model))
            e = ERR_OK; /* a server without such a list: the name is known, so ask it */
        if (!e) {
            ei = &mine;
            e = send_embed(m, &mine);
        }
        if (!e)
            return true;
    }
    report(m, e, ei);
    return false;
}

static void embed_free(struct upstream_call *call) {
    struct embed *m = (struct embed *)call;
    buf_deinit(&m->tail);
    free(m->vectors.p);
    free(m->layers.p);
    free(m->model);
}

enum err upstream_embed(struct upstream_client *client, struct str model, const struct str *texts,
                        size_t n, enum upstream_embed_how how,
                        void (*done)(void *ctx, const struct embed_result *r), void *ctx,
                        struct upstream_call **ret, struct errinfo *ei) {
    static const struct call_kind kind = {
        .whole = true, .send = embed_send, .on_end = embed_end, .on_free = embed_free};
    if (n == 0 || n > UPSTREAM_EMBED_MAX)
        return err_set(ei, ERR_INVALID, "1 to %d texts are embedded at once", UPSTREAM_EMBED_MAX);
    struct embed *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(ei, ERR_NOMEM, NULL);
    call_init(&m->call, client, &kind);
    buf_init(&m->tail, UPSTREAM_REQUEST_MAX);
    m->call.patient = true;
    m->done = done;
    m->ctx = ctx;
    m->n = n;
    m->how = how;
    m->model = model.n ? strndup(model.p, model.n) : NULL;
    for (size_t i = 0; i < n; i++) { /* an empty text is refused by servers */
        buf_addz(&m->tail, i ? ",\"" : ",\"input\":[\"");
        buf_add_json(&m->tail, texts[i].n ? texts[i] : STR(" "));
        buf_addc(&m->tail, '"');
    }
    buf_addz(&m->tail, "],\"encoding_format\":\"base64\"");
    enum err e = model.n && !m->model ? ERR_NOMEM : buf_err(&m->tail);
    if (e) {
        err_set(ei, e, NULL);
    } else {
        e = call_begin(&m->call, ei);
    }
    if (e) {
        call_free(&m->call);
        return e;
    }
    *ret = &m->call;
    return ERR_OK;
}
