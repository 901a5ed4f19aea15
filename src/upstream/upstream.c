/* The model server's description, each loop's client, and the question for its models. */
#include <limits.h>
#include <stdlib.h>

#include "upstream/upstream_internal.h"

#define HEALTH_MS 5000 /* for an answer to /models */

/* ---- the shared description ---- */

static enum err copy_text(const char *from, char **ret) {
    if (!from || !*from)
        return ERR_OK;
    *ret = strdup(from);
    return *ret ? ERR_OK : ERR_NOMEM;
}

static enum err copy_urls(struct server *v, const char *base) {
    struct str s = str_from(base);
    while (str_ends(s, STR("/")))
        s.n--;
    v->base_url = strndup(s.p, s.n);
    if (str_ends(s, STR("/v1")))
        s.n -= 3;
    v->root_url = strndup(s.p, s.n);
    return v->base_url && v->root_url ? ERR_OK : ERR_NOMEM;
}

static bool name_is_good(const char *name) {
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._");
    return n > 0 && n <= 64 && !name[n];
}

static enum err check_server(const struct upstream *u, const struct upstream_server *o,
                             struct errinfo *ei) {
    struct str url = str_from(o->base_url);
    if (u->n == UPSTREAM_SERVERS_MAX)
        return err_param(ei, ERR_INVALID, "upstream", "at most %d model servers are taken",
                         UPSTREAM_SERVERS_MAX);
    if (!str_starts(url, STR("http://")) && !str_starts(url, STR("https://")))
        return err_param(ei, ERR_INVALID, "upstream",
                         "the model server's address must look like http://host:port/v1");
    if (!name_is_good(o->name))
        return err_param(ei, ERR_INVALID, "upstream",
                         "a model server's name has letters, digits, \"-\", \".\" and \"_\" only");
    for (int i = 0; i < u->n; i++)
        if (strcmp(u->servers[i].name, o->name) == 0)
            return err_param(ei, ERR_INVALID, "upstream", "two model servers are named \"%s\"",
                             o->name);
    return ERR_OK;
}

static enum err add_server(struct upstream *u, const struct upstream_server *o,
                           struct errinfo *ei) {
    enum err e = check_server(u, o, ei);
    if (e)
        return e;
    struct server *v = &u->servers[u->n];
    v->pool = u;
    v->index = u->n++;
    v->weight = o->weight > 0 ? o->weight : 1;
    v->max_concurrent = o->max_concurrent;
    v->enabled = true;
    if (copy_urls(v, o->base_url) || copy_text(o->name, &v->name) ||
        copy_text(o->unix_socket, &v->unix_socket))
        return err_set(ei, ERR_NOMEM, NULL);
    for (size_t i = 0; !e && o->api_keys && o->api_keys[i]; i++)
        if (*o->api_keys[i])
            e = server_add_key(v, str_from(o->api_keys[i]), ei);
    return e;
}

enum err upstream_new(const struct upstream_options *o, struct upstream **ret, struct errinfo *ei) {
    const char *keys[2] = {o->api_key};
    const struct upstream_server one = {
        .name = "model", .base_url = o->base_url, .unix_socket = o->unix_socket, .api_keys = keys};
    struct upstream *u = calloc(1, sizeof *u);
    enum err e = ERR_OK;
    if (!u)
        return err_set(ei, ERR_NOMEM, NULL);
    pthread_mutex_init(&u->lock, NULL);
    u->window = o->context_window;
    u->first_byte_ms = o->first_byte_timeout_ms ? o->first_byte_timeout_ms : 120000;
    u->idle_ms = o->idle_timeout_ms ? o->idle_timeout_ms : 60000;
    u->wait_ms = o->connect_wait_ms ? o->connect_wait_ms : 20000;
    u->hedge_ms = o->hedge_ms;
    if (copy_text(o->model, &u->model) || copy_text(o->embedding_model, &u->embedding_model))
        e = err_set(ei, ERR_NOMEM, NULL);
    if (!e && !o->n_servers)
        e = add_server(u, &one, ei);
    for (size_t i = 0; !e && i < o->n_servers; i++)
        e = add_server(u, &o->servers[i], ei);
    if (e) {
        upstream_free(u);
        return e;
    }
    *ret = u;
    return ERR_OK;
}

static void free_server(struct server *v) {
    server_models_free(v);
    for (int i = 0; i < v->n_keys; i++) {
        explicit_bzero(v->keys[i], strlen(v->keys[i]));
        free(v->keys[i]);
    }
    free(v->name);
    free(v->base_url);
    free(v->root_url);
    free(v->unix_socket);
}

void upstream_free(struct upstream *u) {
    if (!u)
        return;
    for (int i = 0; i < u->n; i++)
        free_server(&u->servers[i]);
    free(u->model);
    free(u->embedding_model);
    pthread_mutex_destroy(&u->lock);
    free(u);
}

/* ---- one loop's client ---- */

enum err upstream_client_new(struct upstream *u, struct loop *l, struct upstream_client **ret,
                             struct errinfo *ei) {
    struct upstream_client *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(ei, ERR_NOMEM, NULL);
    c->u = u;
    c->loop = l;
    enum err e = http_client_new(l, &c->http, ei);
    if (e) {
        free(c);
        return e;
    }
    *ret = c;
    return ERR_OK;
}

void upstream_client_free(struct upstream_client *c) {
    if (!c)
        return;
    c->closing = true;
    while (c->calls)
        call_free(c->calls);
    http_client_free(c->http);
    free(c);
}

void upstream_client_pace(struct upstream_client *c, int ms) {
    http_client_pace(c->http, ms);
}

void upstream_pace(struct upstream_call *call) {
    if (call->legs[call->leg].http)
        http_call_pace(call->legs[call->leg].http);
}

/* ---- health: asking every server for its models ---- */

struct round { /* one upstream_refresh() */
    int left;
    void (*done)(void *ctx, enum err err, const struct errinfo *ei);
    void *ctx;
    struct upstream *u;
    struct errinfo ei;
};

struct refresh {
    struct upstream_call call;
    struct round *round;
    bool props; /* asking a llama-server for its window */
};

static void round_less(struct round *r) {
    if (--r->left > 0)
        return;
    bool ready = upstream_is_ready(r->u, &r->ei);
    if (r->done)
        r->done(r->ctx,
                ready        ? ERR_OK
                : r->ei.code ? r->ei.code
                             : ERR_UNAVAILABLE,
                ready ? NULL : &r->ei);
    free(r);
}

/* llama-server lists what the model was trained for; what it has room for is in /props. */
static void take_props(struct server *v, struct str body) {
    yyjson_doc *doc;
    if (json_parse(body, &doc, NULL))
        return;
    const json_val *root = yyjson_doc_get_root(doc);
    int64_t n = json_get_int(json_get(root, "default_generation_settings"), "n_ctx", 0);
    if (n > 0 && n < INT_MAX / 4)
        server_set_window(v, (int)n);
    yyjson_doc_free(doc);
}

static bool refresh_end(struct upstream_call *call, enum err e, const struct errinfo *ei) {
    struct refresh *r = (struct refresh *)call;
    struct errinfo mine;
    struct server *v = call->server;
    if (r->props) {
        if (!e)
            take_props(v, buf_str(&call->answer));
        server_note(v, ERR_OK, NULL); /* without /props it is as well as before */
    } else if (!e) {
        e = server_learn(v, buf_str(&call->answer), &mine);
        ei = &mine;
        if (e)
            server_note(v, e, ei);
        r->props = !e && server_kind(v) == SERVER_LLAMA;
        if (r->props && call_send(call, "GET", v->root_url, "/props", NULL) == ERR_OK)
            return true;
    }
    return false;
}

static void refresh_free(struct upstream_call *call) {
    struct refresh *r = (struct refresh *)call;
    if (r->round && !call->client->closing)
        round_less(r->round);
    else if (r->round && --r->round->left == 0)
        free(r->round);
}

static enum err ask_server(struct upstream_client *c, struct server *v, struct round *round) {
    static const struct call_kind kind = {
        .whole = true, .judges = true, .on_end = refresh_end, .on_free = refresh_free};
    struct refresh *r = calloc(1, sizeof *r);
    if (!r)
        return ERR_NOMEM;
    call_init(&r->call, c, &kind);
    r->call.server = v;
    r->call.first_byte_ms = HEALTH_MS;
    enum err e = call_send(&r->call, "GET", v->base_url, "/models", NULL);
    if (e)
        call_free(&r->call);
    else
        r->round = round;
    return e;
}

enum err upstream_refresh(struct upstream_client *c,
                          void (*done)(void *ctx, enum err err, const struct errinfo *ei),
                          void *ctx) {
    struct round *round = calloc(1, sizeof *round);
    if (!round)
        return ERR_NOMEM;
    *round = (struct round){.done = done, .ctx = ctx, .u = c->u};
    for (int i = 0; i < c->u->n; i++)
        round->left += ask_server(c, &c->u->servers[i], round) == ERR_OK;
    if (round->left)
        return ERR_OK;
    free(round);
    return ERR_NOMEM;
}
