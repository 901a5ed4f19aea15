/* From a request to a call: finding the route, checking headers, query and body before anything is
 * asked of the store. */
#include "api/api.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/call.h"

#define CALL_ARENA_CAP    ((size_t)128 << 20)
#define OUT_CAP           ((size_t)64 << 20)
#define BODY_DEFAULT      ((size_t)1 << 20)
#define DOC_DEFAULT       ((size_t)32 << 20)
#define NAME_ATTEMPTS     10
#define IP_ATTEMPTS       1000 /* many people may share an address */
#define SIGNUP_ATTEMPTS   100  /* the same, and each costs a hash and a row */
#define ATTEMPT_WINDOW_MS 300000

/* ---- matching ---- */

/* True when path fits the pattern. {x} takes an identifier, {x*} the whole rest; what was taken
 * goes to *ret_var. What is no identifier is no such thing, and /users/me is not a user_id. */
static bool path_matches(const char *pattern, struct str path, struct str *ret_var,
                         bool *ret_rest) {
    struct str want = str_from(pattern), var = STR_NULL;
    bool rest = false;
    while (want.p && path.p) {
        struct str w = str_cut(&want, '/');
        if (str_ends(w, STR("*}"))) { /* all but what the pattern ends in */
            struct str tail = want.p ? (struct str){want.p - 1, want.n + 1} : STR("");
            if (!str_ends(path, tail))
                return false;
            var = str_sub(path, 0, path.n - tail.n);
            path = want = STR_NULL;
            rest = true;
            break;
        }
        struct str have = str_cut(&path, '/');
        struct uuid id;
        if (w.n && w.p[0] == '{' && uuid_parse(have, &id))
            var = have;
        else if (!str_eq(w, have))
            return false;
    }
    if (want.p || path.p || (var.p && var.n == 0))
        return false;
    *ret_var = var;
    *ret_rest = rest;
    return true;
}

struct match {
    const struct route *route; /* NULL = none for this method */
    struct str var;
    bool rest;
    unsigned methods; /* bits of those that the address has */
};

/* What a request is matched by before its path is taken apart. */
struct route_key {
    uint16_t n;       /* bytes of the route's path before its first variable, at least the '/' */
    bool same_as_row; /* the row before has this path, too */
};

static struct route_key *keys_new(void) {
    struct route_key *keys = calloc(api_routes_count, sizeof *keys);
    for (size_t i = 0; keys && i < api_routes_count; i++) {
        keys[i].n = (uint16_t)strcspn(api_routes[i].path, "{");
        keys[i].same_as_row = i > 0 && !strcmp(api_routes[i].path, api_routes[i - 1].path);
    }
    return keys;
}

/* Routes part from each other late, often in their last byte before a variable. */
static bool may_match(const struct route_key *k, const char *pattern, struct str path) {
    return path.n >= k->n && path.p[k->n - 1] == pattern[k->n - 1] &&
           memcmp(path.p, pattern, k->n) == 0;
}

static struct match match_find(const struct api *a, enum http_method method, struct str path) {
    struct match m = {0};
    struct str var = STR_NULL;
    bool rest = false, fits = false;
    bool head = method == HTTP_HEAD;
    if (head)
        method = HTTP_GET;
    for (size_t i = 0; i < api_routes_count; i++) {
        const struct route *r = &api_routes[i];
        if (!a->keys[i].same_as_row)
            fits =
                may_match(&a->keys[i], r->path, path) && path_matches(r->path, path, &var, &rest);
        if (!fits)
            continue;
        bool no_head = r->flags & ROUTE_NO_HEAD;
        m.methods |= 1u << r->method;
        if (r->method == HTTP_GET && !no_head)
            m.methods |= 1u << HTTP_HEAD;
        if (r->method == method && !m.route && !(head && no_head)) {
            m.route = r;
            m.var = var;
            m.rest = rest;
        }
    }
    return m;
}

static void set_allow(struct http_request *r, unsigned methods) {
    static const struct {
        enum http_method method;
        const char *name;
    } names[] = {{HTTP_GET, "GET"},        {HTTP_HEAD, "HEAD"},   {HTTP_POST, "POST"},
                 {HTTP_PUT, "PUT"},        {HTTP_PATCH, "PATCH"}, {HTTP_DELETE, "DELETE"},
                 {HTTP_OPTIONS, "OPTIONS"}};
    char text[64];
    size_t n = 0;
    methods |= 1u << HTTP_OPTIONS;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (methods & (1u << names[i].method))
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n ? ", " : "", names[i].name);
    http_set_header(r, "Allow", text);
}

/* No route for this method: the page, OPTIONS, 405 or 404. */
static void answer_unrouted(struct http_request *r, unsigned methods) {
    struct str path = http_path(r);
    enum http_method method = http_method(r);
    bool api = str_starts(path, STR("/api/")) || str_starts(path, STR("/v1/"));
    if (!methods && api) {
        struct errinfo ei;
        respond_error(r,
                      err_set(&ei, ERR_NOT_FOUND,
                              "there is nothing at this address; "
                              "/openapi.json lists all"),
                      &ei);
        return;
    }
    if (!methods && (method == HTTP_GET || method == HTTP_HEAD)) {
        respond_page(r);
        return;
    }
    set_allow(r, methods ? methods : 1u << HTTP_GET | 1u << HTTP_HEAD);
    if (method == HTTP_OPTIONS) {
        respond_api_headers(r);
        http_reply(r, 204, NULL, STR_NULL);
    } else {
        respond_error(r, ERR_METHOD, NULL);
    }
}

/* ---- who ---- */

static bool is_loopback(struct http_request *r) {
    struct str ip = str_from(http_remote_ip(r));
    if (http_header(r, "X-Forwarded-For").p || http_header(r, "Forwarded").p)
        return false; /* a proxy on this machine speaks for somebody else */
    return str_starts(ip, STR("127.")) || str_eq(ip, STR("::1")) || str_eq(ip, STR("unix")) ||
           str_starts(ip, STR("::ffff:127."));
}

static bool changes_something(enum http_method m) {
    return m != HTTP_GET && m != HTTP_HEAD && m != HTTP_OPTIONS;
}

static enum err read_who(struct call *c, struct http_request *r, struct errinfo *ei) {
    struct str cookie = STR_NULL, authorization = http_header(r, "Authorization");
    enum route_auth auth = c->route->auth;
    if (!http_cookie(r, AUTH_COOKIE, &cookie))
        cookie = STR_NULL;
    /* Also without a cookie: signing somebody in from a foreign page is an attack, too. */
    if (changes_something(c->route->method) && !authorization.p &&
        !auth_same_origin(http_header(r, "Sec-Fetch-Site"), http_header(r, "Origin"),
                          http_header(r, "Host")))
        return err_set(ei, ERR_FORBIDDEN,
                       "a request that changes something must come from a page "
                       "of this server, or carry an API key");
    if (auth == ROUTE_PUBLIC || (auth == ROUTE_METRICS && is_loopback(r)))
        return ERR_OK;
    enum err e = auth_credential_read(authorization, cookie, &c->credential, ei);
    if (e)
        return e;
    if (c->credential.kind == AUTH_NONE && auth == ROUTE_SIGNUP && c->api->o.signup_open)
        return ERR_OK;
    if (c->credential.kind == AUTH_NONE)
        return err_set(ei, ERR_UNAUTHORIZED, NULL);
    c->auth_due = true;
    return ERR_OK;
}

/* ---- what ---- */

static enum err read_path(struct call *c, const struct match *m, struct errinfo *ei) {
    if (!m->rest) {
        (void)uuid_parse(m->var, &c->id); /* or the path has none */
        return ERR_OK;
    }
    c->rest = arena_str(c->arena, m->var);
    return c->rest.p ? ERR_OK : err_set(ei, ERR_NOMEM, NULL);
}

/* The native API refuses what it does not know, as in bodies: a mistyped `limt=5` would give
 * another list than was asked for; and what is said twice, of which one would be overlooked. The
 * compatible one ignores both, since newer clients send what is new. */
static enum err check_query_names(const struct call *c, const struct http_request *r,
                                  struct errinfo *ei) {
    struct str name;
    bool seen[SCHEMA_QUERY_FIELDS_MAX] = {false};
    if (c->route->flags & ROUTE_BARE)
        return ERR_OK;
    for (size_t at = 0; http_query_next(r, &at, &name);) {
        size_t field;
        enum err e = schema_check_query_name(c->route->query, name, &field, ei);
        if (e)
            return e;
        if (field >= SCHEMA_QUERY_FIELDS_MAX)
            return err_set(ei, ERR_INTERNAL, NULL);
        if (seen[field])
            return err_param(ei, ERR_INVALID, c->route->query->fields[field].name,
                             "this query parameter is given more than once: give it once");
        seen[field] = true;
    }
    return ERR_OK;
}

static enum err read_query(struct call *c, struct http_request *r, struct errinfo *ei) {
    const struct schema *s = c->route->query;
    struct str v;
    uint64_t limit = 50;
    for (const struct field *f = s ? s->fields : NULL; f && f->name; f++) {
        if (!http_query(r, f->name, &v))
            continue;
        enum err e = schema_check_text(f, v, ei);
        if (e)
            return e;
        if (strcmp(f->name, "limit") == 0)
            (void)str_to_u64(v, &limit); /* the schema has seen to it */
        if (strcmp(f->name, "after") == 0 && f->format == FORMAT_UUID)
            (void)uuid_parse(v, &c->page.after);
        if (c->n_query == QUERY_MAX)
            return err_set(ei, ERR_INTERNAL, NULL);
        v = arena_str(c->arena, v);
        if (!v.p)
            return err_set(ei, ERR_NOMEM, NULL);
        c->query[c->n_query].name = f->name;
        c->query[c->n_query++].value = v;
    }
    c->page.limit = (int)limit;
    return ERR_OK;
}

static bool body_needed(const struct schema *s) {
    for (const struct field *f = s->fields; f->name; f++)
        if (f->flags & FIELD_REQUIRED)
            return true;
    return false;
}

/* A file's name stands in the query, or its body is a form: then it may be JSON, too. */
static bool is_file(const struct call *c, struct str type) {
    struct str name = str_trim(str_cut(&type, ';'));
    return c->route->flags & ROUTE_FILES && name.n &&
           (api_call_query(c, "source_name").p || !str_eq_nocase(name, STR("application/json")));
}

static enum err take_file(struct call *c, struct str body, struct str type, struct errinfo *ei) {
    c->file = arena_str(c->arena, body);
    c->file_type = arena_str(c->arena, type);
    return c->file.p && c->file_type.p ? ERR_OK : err_set(ei, ERR_NOMEM, NULL);
}

static enum err read_body(struct call *c, struct http_request *r, struct errinfo *ei) {
    const struct schema *s = c->route->body;
    struct str body = http_body(r), type = http_header(r, "Content-Type");
    size_t max = c->route->flags & ROUTE_LARGE_BODY ? c->api->o.max_document_bytes
                                                    : c->api->o.max_body_bytes;
    if (body.n > max)
        return err_set(ei, ERR_TOO_LARGE, "the body has %zu bytes; at most %zu are taken here",
                       body.n, max);
    if (is_file(c, type))
        return take_file(c, body, type, ei);
    if (!s || (body.n == 0 && !body_needed(s)))
        return ERR_OK;
    if (!str_eq_nocase(str_trim(str_cut(&type, ';')), STR("application/json")))
        return err_set(ei, ERR_MEDIA_TYPE, NULL);
    enum err e = json_parse(body, &c->doc, ei);
    if (e)
        return e;
    c->body = yyjson_doc_get_root(c->doc);
    return schema_check(s, c->body, ei);
}

static bool accepts_events(struct str accept) {
    while (accept.n) {
        struct str item = str_cut(&accept, ',');
        struct str name = str_trim(str_cut(&item, ';'));
        double q = 1;
        item = str_trim(item);
        if (str_starts(item, STR("q=")) && !str_to_double(str_sub(item, 2, item.n), &q))
            q = 0;
        if (q > 0 && (str_eq_nocase(name, STR("text/event-stream")) || str_eq(name, STR("text/*"))))
            return true;
    }
    return false;
}

/* ---- the call ---- */

static struct upstream_client *client_of(struct api *a, const struct loop *l) {
    struct upstream_client *client = NULL;
    pthread_mutex_lock(&a->lock);
    for (size_t i = 0; i < a->n_loops && !client; i++)
        if (a->loops[i].loop == l)
            client = a->loops[i].client;
    pthread_mutex_unlock(&a->lock);
    return client;
}

static struct call *call_new(struct api *a, struct http_request *r, const struct route *route) {
    struct arena *arena = arena_new(CALL_ARENA_CAP);
    struct call *c = arena ? arena_alloc(arena, sizeof *c) : NULL;
    if (!c) {
        arena_free(arena);
        return NULL;
    }
    c->arena = arena;
    c->api = a;
    c->route = route;
    c->loop = http_request_loop(r);
    c->client = client_of(a, c->loop);
    c->head = http_method(r) == HTTP_HEAD;
    c->arrived_ns = http_request_arrived_ns(r);
    c->status = route->status;
    c->content_type =
        route->media && !(route->flags & ROUTE_STREAMS) ? route->media : "application/json";
    buf_init(&c->out, OUT_CAP);
    c->ip = arena_str(arena, str_from(http_remote_ip(r)));
    c->last_event_id = arena_str(arena, http_header(r, "Last-Event-ID"));
    c->traceparent = arena_str(arena, http_header(r, "traceparent"));
    c->wants_events = accepts_events(http_header(r, "Accept"));
    c->guard = http_guard_new(r);
    if (!c->guard || !c->ip.p) {
        api_call_free(c);
        return NULL;
    }
    return c;
}

void api_handle(struct http_request *r, void *ctx) {
    struct errinfo ei = {0};
    struct match m = match_find(ctx, http_method(r), http_path(r));
    if (!m.route) {
        answer_unrouted(r, m.methods);
        return;
    }
    struct call *c = call_new(ctx, r, m.route);
    if (!c) {
        respond_error(r, ERR_NOMEM, NULL);
        return;
    }
    enum err e = read_who(c, r, &ei);
    if (!e)
        e = read_path(c, &m, &ei);
    if (!e)
        e = check_query_names(c, r, &ei);
    if (!e)
        e = read_query(c, r, &ei);
    if (!e)
        e = read_body(c, r, &ei);
    if (!e)
        e = idempotency_read(c, r, &ei);
    if (e)
        api_call_fail(c, e, &ei);
    else
        api_call_next(c);
}

/* ---- making ---- */

enum err api_new(const struct api_options *o, struct api **ret, struct errinfo *ei) {
    struct api *a = calloc(1, sizeof *a);
    enum err e = ERR_NOMEM;
    if (!a)
        return err_set(ei, e, NULL);
    pthread_mutex_init(&a->lock, NULL);
    buf_init(&a->openapi, (size_t)4 << 20);
    a->o = *o;
    if (!a->o.session_days)
        a->o.session_days = 30;
    if (!a->o.max_body_bytes)
        a->o.max_body_bytes = BODY_DEFAULT;
    if (!a->o.max_document_bytes)
        a->o.max_document_bytes = DOC_DEFAULT;
    if (!(a->keys = keys_new()))
        goto out;
    if (o->notice && !(a->notice = strdup(o->notice)))
        goto out;
    if ((e = auth_limiter_new(NAME_ATTEMPTS, ATTEMPT_WINDOW_MS, &a->by_name)) ||
        (e = auth_limiter_new(IP_ATTEMPTS, ATTEMPT_WINDOW_MS, &a->by_ip)) ||
        (e = auth_limiter_new(SIGNUP_ATTEMPTS, ATTEMPT_WINDOW_MS, &a->signups)))
        goto out;
    if ((e = known_users_new(&a->known)))
        goto out;
    crypto_random(a->sign_in_key, sizeof a->sign_in_key);
    if ((e = password_hash(STR("nobody has this password"), a->dummy_hash)))
        goto out;
    e = openapi_write(&a->openapi);
out:
    if (e) {
        api_free(a);
        return err_set(ei, e, NULL);
    }
    *ret = a;
    return ERR_OK;
}

void api_free(struct api *a) {
    if (!a)
        return;
    auth_limiter_free(a->by_name);
    auth_limiter_free(a->by_ip);
    auth_limiter_free(a->signups);
    known_users_free(a->known);
    buf_deinit(&a->openapi);
    free(a->keys);
    free(a->notice);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

enum err api_attach_loop(struct api *a, struct loop *l, struct upstream_client *c,
                         struct errinfo *ei) {
    enum err e = ERR_OK;
    pthread_mutex_lock(&a->lock);
    if (a->n_loops < LOOPS_MAX)
        a->loops[a->n_loops++] = (struct api_loop){l, c};
    else
        e = err_set(ei, ERR_INTERNAL, "more than %d loops", LOOPS_MAX);
    pthread_mutex_unlock(&a->lock);
    return e;
}

size_t api_max_body_bytes(const struct api *a) {
    size_t doc = a->o.max_document_bytes, body = a->o.max_body_bytes;
    return doc > body ? doc : body;
}

size_t api_body_limit(const struct http_request *r, void *ctx) {
    const struct api *a = ctx;
    struct str cookie;
    bool known = http_header(r, "Authorization").p || http_cookie(r, AUTH_COOKIE, &cookie);
    struct match m = match_find(a, http_method(r), http_path(r));
    bool large = known && m.route && (m.route->flags & ROUTE_LARGE_BODY);
    return large ? a->o.max_document_bytes : a->o.max_body_bytes;
}
