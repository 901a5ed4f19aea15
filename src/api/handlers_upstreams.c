/* The model servers of the pool, for administrators: how they are, and what of them is changed
 * while Parley runs. Changes are kept as settings, "upstream." and the server's name, before they
 * are in force, and are made again at the next start; only a key is not, since it would stand in
 * the database in plain. */
#include <stdatomic.h>

#include "api/api.h"
#include "api/handlers.h"
#include "base/log.h"

#define SETTING     "upstream."
#define SETTING_CAP ((size_t)1024)

static void add_server(struct buf *b, const struct upstream_server_state *s) {
    out_open(b, NULL, '{');
    out_str(b, "name", s->name);
    out_str(b, "url", s->base_url);
    out_bool(b, "enabled", s->enabled);
    out_bool(b, "ready", s->ready);
    out_text_or_null(b, "reason", s->why);
    out_strz(b, "breaker", s->breaker);
    out_int(b, "weight", s->weight);
    out_int(b, "max_concurrent", s->max_concurrent);
    out_int(b, "in_flight", s->in_flight);
    out_int(b, "models", s->models);
    out_int(b, "keys", s->keys);
    out_int(b, "keys_rotated", s->keys_rotated);
    out_int(b, "requests", s->requests);
    out_int(b, "failures", s->failed);
    out_int(b, "hedges_won", s->hedged);
    out_num(b, "first_byte_ms", s->first_byte_ms);
    out_close(b, '}');
}

static enum err read_servers(struct call *c, struct upstream_server_state **ret, size_t *ret_n,
                             struct errinfo *ei) {
    enum err e = upstream_servers(c->api->o.upstream, c->arena, ret, ret_n);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

enum err api_upstreams_list(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct upstream_server_state *list;
    size_t n;
    (void)tx;
    enum err e = read_servers(c, &list, &n, ei);
    if (e)
        return e;
    out_open(&c->out, NULL, '{');
    out_open(&c->out, "data", '[');
    for (size_t i = 0; i < n; i++)
        add_server(&c->out, &list[i]);
    out_close(&c->out, ']');
    out_null(&c->out, "next");
    out_close(&c->out, '}');
    return ERR_OK;
}

/* ---- changes that last: stored first, then in force ---- */

static const char *const kept_fields[] = {"enabled", "weight", "max_concurrent"};
#define N_KEPT (sizeof kept_fields / sizeof *kept_fields)

static char *setting_name(struct arena *a, struct str server) {
    return arena_printf(a, SETTING "%.*s", STR_ARG(server));
}

/* `newer` may lack fields, which `older` has then; either may be NULL. */
static json_val *field(const json_val *newer, const json_val *older, const char *name) {
    json_val *v = json_get(newer, name);
    return v ? v : json_get(older, name);
}

static struct upstream_server_change change_of(const json_val *newer, const json_val *older) {
    json_val *enabled = field(newer, older, "enabled"), *weight = field(newer, older, "weight"),
             *most = field(newer, older, "max_concurrent");
    return (struct upstream_server_change){
        .enabled = enabled ? yyjson_get_bool(enabled) : -1,
        .weight = (int)yyjson_get_int(weight),
        .max_concurrent = most ? (int)yyjson_get_int(most) : -1,
    };
}

struct patch {
    struct call *call;
    struct upstream_server_change change;
};

/* Only what was ever sent is kept: the rest stays as the configuration says. The change takes the
 * whole of it: two that come at once are in force as they were stored, in whatever order their
 * loops hear of it. */
static enum err keep(struct store_tx *tx, void *arg, struct errinfo *ei) {
    static _Atomic uint64_t orders;
    struct patch *p = arg;
    struct call *c = p->call;
    yyjson_doc *doc = NULL;
    struct str before = STR("{}");
    struct buf b;
    char *name = setting_name(c->arena, c->rest);
    enum err e = name ? setting_get(tx, name, c->arena, &before) : ERR_NOMEM;
    if (e && e != ERR_NOT_FOUND)
        return err_set(ei, e, NULL);
    json_val *old = json_parse(before, &doc, NULL) ? NULL : yyjson_doc_get_root(doc);
    buf_init(&b, SETTING_CAP);
    buf_addc(&b, '{');
    for (size_t i = 0; i < N_KEPT; i++) {
        json_val *v = field(c->body, old, kept_fields[i]);
        if (!v)
            continue;
        buf_addf(&b, "%s\"%s\":", b.n > 1 ? "," : "", kept_fields[i]);
        json_write(&b, v);
    }
    buf_addc(&b, '}');
    struct str key = p->change.key;
    p->change = change_of(c->body, old);
    p->change.key = key;
    p->change.order = atomic_fetch_add(&orders, 1) + 1;
    yyjson_doc_free(doc);
    e = buf_err(&b) ? buf_err(&b) : setting_set(tx, name, buf_str(&b));
    buf_deinit(&b);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

/* On the loop, also when the client has gone. */
static void kept(void *arg, enum err e, const struct errinfo *why) {
    struct patch *p = arg;
    struct call *c = p->call;
    struct errinfo ei = {0};
    struct upstream_server_state *list;
    size_t n;
    if (e) {
        api_call_fail(c, e, why);
        return;
    }
    e = upstream_server_change(c->api->o.upstream, c->rest, &p->change, &ei);
    if (!e)
        e = read_servers(c, &list, &n, &ei);
    if (e) {
        api_call_fail(c, e, &ei);
        return;
    }
    buf_clear(&c->out);
    for (size_t i = 0; i < n; i++)
        if (str_eq(list[i].name, c->rest))
            add_server(&c->out, &list[i]);
    api_call_reply(c);
}

void api_upstream_patch(struct call *c) {
    struct errinfo ei = {0};
    struct patch *p = arena_alloc(c->arena, sizeof *p);
    if (!p) {
        api_call_fail(c, ERR_NOMEM, NULL);
        return;
    }
    *p = (struct patch){c, change_of(c->body, NULL)};
    p->change.key = json_get_str(c->body, "key");
    enum err e = upstream_server_check(c->api->o.upstream, c->rest, &p->change, &ei);
    if (!e)
        e = store_write(c->api->o.store, keep, p, c->loop, kept);
    if (e)
        api_call_fail(c, e, &ei);
}

/* ---- made again at the next start ---- */

static enum err restore_one(struct upstream *u, struct str server, struct str text) {
    yyjson_doc *doc = NULL;
    struct errinfo ei;
    enum err e = json_parse(text, &doc, &ei);
    if (e)
        return e;
    struct upstream_server_change change = change_of(yyjson_doc_get_root(doc), NULL);
    yyjson_doc_free(doc);
    e = upstream_server_change(u, server, &change, &ei);
    if (!e)
        log_event(LOG_INFO, "upstream.changed_before", LF_STR("server", server),
                  LF_INT("enabled", change.enabled), LF_INT("weight", change.weight),
                  LF_INT("max_concurrent", change.max_concurrent));
    return e;
}

enum err api_upstreams_restore(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct upstream *u = arg;
    struct upstream_server_state *list;
    struct arena *a = arena_new((size_t)1 << 20);
    size_t n = 0;
    (void)ei;
    enum err e = a ? upstream_servers(u, a, &list, &n) : ERR_NOMEM;
    for (size_t i = 0; !e && i < n; i++) {
        struct str text;
        char *name = setting_name(a, list[i].name);
        e = name ? setting_get(tx, name, a, &text) : ERR_NOMEM;
        if (!e)
            e = restore_one(u, list[i].name, text);
        else if (e == ERR_NOT_FOUND)
            e = ERR_OK;
    }
    arena_free(a);
    return e;
}
