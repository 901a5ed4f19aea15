/* The model servers of the pool, for administrators: how they are, and what of them is changed
 * while Parley runs. Changes are kept as settings, "upstream." and the server's name, and are made
 * again at the next start; only a key is not, since it would stand in the database in plain. */
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

/* ---- changes that last ---- */

static char *setting_name(struct arena *a, struct str server) {
    return arena_printf(a, SETTING "%.*s", STR_ARG(server));
}

/* Only what was ever sent: the rest stays as the configuration says. */
static enum err keep(struct call *c, struct store_tx *tx, const struct upstream_server_state *s) {
    static const char *const kept[] = {"enabled", "weight", "max_concurrent"};
    yyjson_doc *doc = NULL;
    struct str before = STR("{}");
    struct buf b;
    char *name = setting_name(c->arena, s->name);
    if (!name)
        return ERR_NOMEM;
    enum err e = setting_get(tx, name, c->arena, &before);
    if (e && e != ERR_NOT_FOUND)
        return e;
    json_val *old = json_parse(before, &doc, NULL) ? NULL : yyjson_doc_get_root(doc);
    buf_init(&b, SETTING_CAP);
    buf_addc(&b, '{');
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        json_val *v = json_get(c->body, kept[i]);
        v = v ? v : json_get(old, kept[i]);
        if (!v)
            continue;
        buf_addf(&b, "%s\"%s\":", b.n > 1 ? "," : "", kept[i]);
        json_write(&b, v);
    }
    buf_addc(&b, '}');
    yyjson_doc_free(doc);
    e = buf_err(&b) ? buf_err(&b) : setting_set(tx, name, buf_str(&b));
    buf_deinit(&b);
    return e;
}

static enum err restore_one(struct upstream *u, struct str server, struct str text) {
    yyjson_doc *doc = NULL;
    struct errinfo ei;
    enum err e = json_parse(text, &doc, &ei);
    if (e)
        return e;
    json_val *root = yyjson_doc_get_root(doc);
    struct upstream_server_change change = {
        .enabled = json_get(root, "enabled") ? json_get_bool(root, "enabled", true) : -1,
        .weight = (int)json_get_int(root, "weight", 0),
        .max_concurrent = (int)json_get_int(root, "max_concurrent", -1),
    };
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

enum err api_upstream_patch(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct upstream_server_state *list;
    size_t n;
    json_val *enabled = json_get(c->body, "enabled");
    struct upstream_server_change change = {
        .enabled = enabled ? yyjson_get_bool(enabled) : -1,
        .weight = (int)json_get_int(c->body, "weight", 0),
        .max_concurrent = (int)json_get_int(c->body, "max_concurrent", -1),
        .key = json_get_str(c->body, "key"),
    };
    enum err e = upstream_server_change(c->api->o.upstream, c->rest, &change, ei);
    if (!e)
        e = read_servers(c, &list, &n, ei);
    for (size_t i = 0; !e && i < n; i++)
        if (str_eq(list[i].name, c->rest)) {
            add_server(&c->out, &list[i]);
            e = keep(c, tx, &list[i]);
        }
    return e;
}
