/* Token counts, in the model's own tokens, without special ones.
 *
 *   ours:                 POST /v1/tokens/count {"model","texts":[…]} → {"counts":[…]}
 *   llama-server, vLLM:   POST /tokenize, one text a request          → {"tokens":[…]} or
 * {"count":n} others:               404, which is remembered                    → ERR_NOT_FOUND */
#include <limits.h>
#include <stdlib.h>

#include "upstream/upstream_internal.h"

#define COUNT_MS 5000 /* for one answer */

struct count {
    struct upstream_call call;
    void (*done)(void *ctx, enum err err, const int *counts, size_t n);
    void *ctx;
    char *model;  /* NULL = the default */
    char *texts;  /* one after the other */
    size_t *ends; /* where each of them ends in texts */
    int *counts;
    size_t n, have; /* have: counted so far */
    bool parley;    /* as it was at the start: the list of models may be read anew meanwhile */
};

static struct str text_at(const struct count *c, size_t i) {
    size_t from = i ? c->ends[i - 1] : 0;
    return (struct str){c->texts + from, c->ends[i] - from};
}

static void add_quoted(struct buf *b, const char *before, struct str s) {
    buf_addz(b, before);
    buf_addc(b, '"');
    buf_add_json(b, s);
    buf_addc(b, '"');
}

static enum err send_next(struct count *c) {
    struct server *v = c->call.server;
    struct buf *b = &c->call.body;
    buf_clear(b);
    buf_addz(b, "{\"model\":\"");
    enum err e = server_add_model(v, str_from(c->model), b);
    if (e)
        return e;
    buf_addc(b, '"');
    if (c->parley) {
        for (size_t i = 0; i < c->n; i++)
            add_quoted(b, i ? "," : ",\"texts\":[", text_at(c, i));
        buf_addz(b, "]}");
        return call_send(&c->call, "POST", v->base_url, "/tokens/count", NULL);
    }
    add_quoted(b, ",\"content\":", text_at(c, c->have)); /* llama-server */
    add_quoted(b, ",\"prompt\":", text_at(c, c->have));  /* vLLM */
    buf_addz(b, ",\"add_special\":false,\"add_special_tokens\":false}");
    return call_send(&c->call, "POST", v->root_url, "/tokenize", NULL);
}

static enum err count_send(struct upstream_call *call, struct errinfo *ei) {
    struct count *c = (struct count *)call;
    (void)ei;
    if (atomic_load(&call->server->no_counts))
        return ERR_NOT_FOUND;
    c->parley = server_is_parley(call->server);
    c->have = 0;
    return send_next(c);
}

static bool take_count(struct count *c, const json_val *v) {
    if (c->have >= c->n || !yyjson_is_uint((json_val *)v) ||
        yyjson_get_uint((json_val *)v) > INT_MAX / 4)
        return false;
    c->counts[c->have++] = (int)yyjson_get_uint((json_val *)v);
    return true;
}

static enum err read_counts(struct count *c, struct str body) {
    yyjson_doc *doc;
    if (json_parse(body, &doc, NULL))
        return ERR_UPSTREAM;
    json_val *root = yyjson_doc_get_root(doc);
    json_val *counts = json_get(root, "counts"), *tokens = json_get(root, "tokens");
    size_t i, n;
    yyjson_val *v;
    bool good;
    if (c->parley) {
        good = yyjson_arr_size(counts) == c->n && c->n > 0;
        if (good)
            yyjson_arr_foreach(counts, i, n, v) {
                good = good && take_count(c, v);
            }
    } else if (json_get(root, "count")) {
        good = take_count(c, json_get(root, "count"));
    } else {
        good = c->have < c->n && yyjson_is_arr(tokens) && yyjson_arr_size(tokens) <= INT_MAX / 4;
        if (good)
            c->counts[c->have++] = (int)yyjson_arr_size(tokens);
    }
    yyjson_doc_free(doc);
    return good ? ERR_OK : ERR_UPSTREAM;
}

static bool count_end(struct upstream_call *call, enum err e, const struct errinfo *ei) {
    struct count *c = (struct count *)call;
    (void)ei;
    if (!e)
        e = read_counts(c, buf_str(&call->answer));
    if (!e && c->have < c->n) {
        e = send_next(c);
        if (!e)
            return true;
    }
    if (e && (call->status == 404 || call->status == 405 || call->status == 501)) {
        if (!c->parley && e != ERR_NO_MODEL) /* ours counts; a missing model says nothing of it */
            atomic_store(&call->server->no_counts, true);
        e = ERR_NOT_FOUND;
    }
    c->done(c->ctx, e, e ? NULL : c->counts, e ? 0 : c->n);
    return false;
}

static void count_free(struct upstream_call *call) {
    struct count *c = (struct count *)call;
    free(c->model);
    free(c->texts);
    free(c->ends);
    free(c->counts);
}

static enum err copy_texts(struct count *c, const struct str *texts, size_t n) {
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        if (texts[i].n > UPSTREAM_REQUEST_MAX - total)
            return ERR_TOO_LARGE;
        total += texts[i].n;
    }
    c->n = n;
    c->texts = malloc(total + 1);
    c->ends = calloc(n, sizeof *c->ends);
    c->counts = calloc(n, sizeof *c->counts);
    if (!c->texts || !c->ends || !c->counts)
        return ERR_NOMEM;
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (texts[i].n)
            memcpy(c->texts + at, texts[i].p, texts[i].n);
        at += texts[i].n;
        c->ends[i] = at;
    }
    return ERR_OK;
}

enum err upstream_count_tokens(struct upstream_client *client, struct str model,
                               const struct str *texts, size_t n,
                               void (*done)(void *ctx, enum err err, const int *counts, size_t n),
                               void *ctx, struct upstream_call **ret) {
    static const struct call_kind kind = {
        .whole = true, .send = count_send, .on_end = count_end, .on_free = count_free};
    if (n == 0)
        return ERR_INVALID;
    struct count *c = calloc(1, sizeof *c);
    if (!c)
        return ERR_NOMEM;
    call_init(&c->call, client, &kind);
    c->done = done;
    c->ctx = ctx;
    c->call.first_byte_ms = COUNT_MS; /* a guess is better than a long wait */
    c->model = model.n ? strndup(model.p, model.n) : NULL;
    enum err e = model.n && !c->model ? ERR_NOMEM : copy_texts(c, texts, n);
    if (!e)
        e = call_begin(&c->call, NULL);
    if (e) {
        call_free(&c->call);
        return e;
    }
    *ret = &c->call;
    return ERR_OK;
}
