/* The model servers of the pool, for administrators: how they are, and what of them is changed
 * while Parley runs. Changes last until it ends; the configuration says what it begins with. */
#include "api/handlers.h"

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
    (void)tx;
    enum err e = upstream_server_change(c->api->o.upstream, c->rest, &change, ei);
    if (!e)
        e = read_servers(c, &list, &n, ei);
    for (size_t i = 0; !e && i < n; i++)
        if (str_eq(list[i].name, c->rest))
            add_server(&c->out, &list[i]);
    return e;
}
