/* From the option `upstream` to the pool:
 *
 *   ""                               the engine on its socket
 *   http://a:1/v1,http://b:2/v1      servers named a-1 and b-2, all with the one key
 *   /path/servers.json               {"hedge_ms": 500, "servers": [{"name": "a", "url":
 * "http://…/v1", "socket": "/run/…", "key_file": "/…", "weight": 2, "max_concurrent": 64}]}; of a
 * key_file each line is a key */
#include "cli/upstreams.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/json.h"

#define SERVERS_MAX 32
#define KEYS_MAX    8
#define FILE_MAX    ((size_t)1 << 20)
#define NAME_SIZE   65

struct reading {
    struct arena *arena;
    struct upstream_server servers[SERVERS_MAX];
    size_t n;
    int hedge_ms;
};

static enum err out_of_memory(struct errinfo *ei) {
    return err_set(ei, ERR_NOMEM, NULL);
}

static enum err read_file(struct arena *a, const char *path, struct str *ret, struct errinfo *ei) {
    FILE *f = fopen(path, "rb");
    char *text = arena_alloc(a, FILE_MAX);
    if (!f)
        return err_param(ei, ERR_IO, "upstream", "%s cannot be read", path);
    size_t n = text ? fread(text, 1, FILE_MAX, f) : 0;
    fclose(f);
    if (!text)
        return out_of_memory(ei);
    if (n == FILE_MAX)
        return err_param(ei, ERR_TOO_LARGE, "upstream", "%s is too large", path);
    *ret = (struct str){text, n};
    return ERR_OK;
}

/* Lines that are not empty. */
static enum err read_keys(struct arena *a, const char *path, const char *const **ret,
                          struct errinfo *ei) {
    struct str text;
    const char **keys = arena_array(a, KEYS_MAX + 1, sizeof *keys);
    size_t n = 0;
    enum err e = keys ? read_file(a, path, &text, ei) : out_of_memory(ei);
    while (!e && text.n && n < KEYS_MAX) {
        struct str line = str_trim(str_cut(&text, '\n'));
        if (line.n && !(keys[n++] = arena_strz(a, line)))
            e = out_of_memory(ei);
    }
    if (!e)
        *ret = keys;
    return e;
}

/* ---- a list of addresses ---- */

/* "http://host:8000/v1" → "host-8000" */
static const char *name_of(struct arena *a, struct str url) {
    char name[NAME_SIZE];
    size_t n = 0;
    struct str rest = url;
    (void)str_cut(&rest, '/');
    (void)str_cut(&rest, '/');
    struct str host = str_cut(&rest, '/');
    for (size_t i = 0; i < host.n && n + 1 < sizeof name; i++) {
        char c = host.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '.' || c == '_';
        if (plain || (n && name[n - 1] != '-'))
            name[n++] = plain ? c : '-';
    }
    return arena_strz(a, (struct str){name, n});
}

static enum err read_list(struct reading *r, struct str list, const char *key, struct errinfo *ei) {
    const char **keys = arena_array(r->arena, 2, sizeof *keys);
    if (!keys)
        return out_of_memory(ei);
    keys[0] = key;
    while (list.n) {
        struct str url = str_trim(str_cut(&list, ','));
        if (!url.n)
            continue;
        if (r->n == SERVERS_MAX)
            return err_param(ei, ERR_INVALID, "upstream", "at most %d servers", SERVERS_MAX);
        struct upstream_server *s = &r->servers[r->n++];
        s->base_url = arena_strz(r->arena, url);
        s->name = name_of(r->arena, url);
        s->api_keys = keys;
        if (!s->base_url || !s->name)
            return out_of_memory(ei);
    }
    return ERR_OK;
}

/* ---- a file ---- */

static const char *text_of(struct arena *a, const json_val *obj, const char *key) {
    struct str s = json_get_str(obj, key);
    return s.n ? arena_strz(a, s) : NULL;
}

static enum err read_server(struct reading *r, const json_val *v, const char *path,
                            struct errinfo *ei) {
    if (r->n == SERVERS_MAX)
        return err_param(ei, ERR_INVALID, "upstream", "%s: at most %d servers", path, SERVERS_MAX);
    struct upstream_server *s = &r->servers[r->n];
    const char *key_file = text_of(r->arena, v, "key_file");
    int64_t weight = json_get_int(v, "weight", 1), most = json_get_int(v, "max_concurrent", 0);
    s->base_url = text_of(r->arena, v, "url");
    s->unix_socket = text_of(r->arena, v, "socket");
    s->name = text_of(r->arena, v, "name");
    if (!s->base_url || weight < 1 || weight > 1000 || most < 0 || most > 1000000)
        return err_param(ei, ERR_INVALID, "upstream",
                         "%s: server %zu needs a \"url\", a \"weight\" of 1 to 1000 and a "
                         "\"max_concurrent\" of 0 to 1000000",
                         path, r->n + 1);
    if (!s->name && !(s->name = name_of(r->arena, str_from(s->base_url))))
        return out_of_memory(ei);
    s->weight = (int)weight;
    s->max_concurrent = (int)most;
    r->n++;
    return key_file ? read_keys(r->arena, key_file, &s->api_keys, ei) : ERR_OK;
}

static enum err read_servers(struct reading *r, const char *path, struct errinfo *ei) {
    struct str text;
    yyjson_doc *doc = NULL;
    size_t i, n;
    yyjson_val *v;
    enum err e = read_file(r->arena, path, &text, ei);
    if (e)
        return e;
    if (json_parse(text, &doc, ei))
        return err_param(ei, ERR_INVALID, "upstream", "%s is not valid JSON", path);
    json_val *root = yyjson_doc_get_root(doc);
    json_val *servers = json_get(root, "servers");
    int64_t hedge = json_get_int(root, "hedge_ms", 0);
    r->hedge_ms = hedge > 0 && hedge < 3600000 ? (int)hedge : 0;
    yyjson_arr_foreach(servers, i, n, v) {
        if (!e)
            e = read_server(r, v, path, ei);
    }
    yyjson_doc_free(doc);
    if (!e && !r->n)
        e = err_param(ei, ERR_INVALID, "upstream", "%s has no \"servers\"", path);
    return e;
}

/* ---- all ---- */

static const char *or_null(const char *s) {
    return s[0] ? s : NULL;
}

enum err upstreams_open(const struct config *c, struct upstream **ret, struct errinfo *ei) {
    struct reading r = {.arena = arena_new((size_t)64 << 20)};
    bool remote = c->upstream[0] != 0;
    struct buf key;
    buf_init(&key, 16384);
    enum err e = r.arena ? config_upstream_key(c, &key, ei) : out_of_memory(ei);
    if (!e && remote && c->upstream[0] == '/')
        e = read_servers(&r, c->upstream, ei);
    else if (!e && remote)
        e = read_list(&r, str_from(c->upstream), key.n ? key.p : NULL, ei);
    struct upstream_options o = {
        .base_url = "http://engine/v1",
        .unix_socket = c->engine_socket,
        .servers = r.servers,
        .n_servers = r.n,
        .hedge_ms = r.hedge_ms,
        .model = remote ? or_null(c->upstream_model) : NULL,
        .embedding_model =
            remote && strcmp(c->embedding_model, "none") != 0 ? or_null(c->embedding_model) : NULL,
        .context_window = (int)c->context,
    };
    if (!e)
        e = upstream_new(&o, ret, ei);
    if (key.p)
        explicit_bzero(key.p, key.n);
    buf_deinit(&key);
    arena_free(r.arena);
    return e;
}
