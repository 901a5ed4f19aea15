/* The model server's description, each loop's client, and the question for its models. */
#include <stdio.h>
#include <stdlib.h>

#include "upstream/upstream_internal.h"

/* ---- the shared description ---- */

static enum err copy_text(const char *from, char **ret) {
    if (!from || !*from)
        return ERR_OK;
    *ret = strdup(from);
    return *ret ? ERR_OK : ERR_NOMEM;
}

static enum err copy_urls(struct upstream *u, const char *base) {
    struct str s = str_from(base);
    while (str_ends(s, STR("/")))
        s.n--;
    u->base_url = strndup(s.p, s.n);
    if (str_ends(s, STR("/v1")))
        s.n -= 3;
    u->root_url = strndup(s.p, s.n);
    return u->base_url && u->root_url ? ERR_OK : ERR_NOMEM;
}

static enum err copy_key(struct upstream *u, const char *key) {
    if (!key || !*key)
        return ERR_OK;
    size_t size = strlen(key) + sizeof "Authorization: Bearer ";
    u->authorization = malloc(size);
    if (!u->authorization)
        return ERR_NOMEM;
    snprintf(u->authorization, size, "Authorization: Bearer %s", key);
    return ERR_OK;
}

enum err upstream_new(const struct upstream_options *o, struct upstream **ret, struct errinfo *ei) {
    struct str url = str_from(o->base_url);
    if (!str_starts(url, STR("http://")) && !str_starts(url, STR("https://")))
        return err_param(ei, ERR_INVALID, "upstream",
                         "the model server's address must look like http://host:port/v1");
    if (o->api_key && strpbrk(o->api_key, "\r\n"))
        return err_param(ei, ERR_INVALID, "upstream_key", "the key must be one line");
    struct upstream *u = calloc(1, sizeof *u);
    if (!u)
        return err_set(ei, ERR_NOMEM, NULL);
    pthread_mutex_init(&u->lock, NULL);
    u->window = o->context_window;
    u->first_byte_ms = o->first_byte_timeout_ms ? o->first_byte_timeout_ms : 120000;
    u->idle_ms = o->idle_timeout_ms ? o->idle_timeout_ms : 60000;
    u->wait_ms = o->connect_wait_ms ? o->connect_wait_ms : 20000;
    if (copy_urls(u, o->base_url) || copy_key(u, o->api_key) ||
        copy_text(o->unix_socket, &u->unix_socket) || copy_text(o->model, &u->model) ||
        copy_text(o->embedding_model, &u->embedding_model)) {
        upstream_free(u);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    *ret = u;
    return ERR_OK;
}

void upstream_free(struct upstream *u) {
    if (!u)
        return;
    upstream_models_free(u);
    if (u->authorization)
        explicit_bzero(u->authorization, strlen(u->authorization));
    free(u->authorization);
    free(u->base_url);
    free(u->root_url);
    free(u->unix_socket);
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
    while (c->calls)
        call_free(c->calls);
    http_client_free(c->http);
    free(c);
}

/* ---- asking for the models ---- */

struct refresh {
    struct upstream_call call;
    void (*done)(void *ctx, enum err err, const struct errinfo *ei);
    void *ctx;
};

static bool refresh_end(struct upstream_call *call, enum err e, const struct errinfo *ei) {
    struct refresh *r = (struct refresh *)call;
    struct errinfo mine;
    struct upstream *u = call->client->u;
    if (!e) {
        e = upstream_learn(u, buf_str(&call->answer), &mine);
        ei = &mine;
        if (e)
            upstream_note(u, e, ei);
    }
    if (r->done)
        r->done(r->ctx, e, e ? ei : NULL);
    return false;
}

enum err upstream_refresh(struct upstream_client *c,
                          void (*done)(void *ctx, enum err err, const struct errinfo *ei),
                          void *ctx) {
    static const struct call_kind kind = {.whole = true, .judges = true, .on_end = refresh_end};
    struct refresh *r = calloc(1, sizeof *r);
    if (!r)
        return ERR_NOMEM;
    call_init(&r->call, c, &kind);
    r->done = done;
    r->ctx = ctx;
    enum err e = call_send(&r->call, "GET", c->u->base_url, "/models", NULL);
    if (e)
        call_free(&r->call);
    return e;
}
