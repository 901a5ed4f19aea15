/* A request: what its owner may ask of it, and the ways to answer. */
#include "net/http_server.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/metrics.h"
#include "net/http_internal.h"

#define ARENA_MAX_BYTES ((size_t)64 << 20)
#define HEADERS_MAX     ((size_t)16384)

struct http_guard {
    struct http_request *req;
    struct http_guard *next; /* of the same request */
};

/* ---- life ---- */

void request_id_make(char id[28]) {
    memcpy(id, "req_", 4);
    crypto_name(id + 4, 20);
}

/* Moves a string that points into the head to the same place in the request's copy of it. */
static struct str moved(struct str s, const char *from, const char *to) {
    return s.p ? (struct str){to + (s.p - from), s.n} : s;
}

struct http_request *request_new(struct conn *c, struct str head, const struct http_head *h) {
    size_t table = h->nfields * sizeof(struct http_field);
    struct http_request *r = calloc(1, sizeof *r + table + head.n);
    if (!r)
        return NULL;
    char *text = r->bytes + table;
    memcpy(text, head.p, head.n);
    r->conn = c;
    r->method = h->method;
    r->minor = h->minor;
    r->keep_alive = h->keep_alive;
    r->chunked = h->chunked;
    r->content_length = h->content_length;
    r->method_name = moved(h->method_name, head.p, text);
    text[r->method_name.p - text + (ptrdiff_t)r->method_name.n] = 0; /* over the space behind it */
    r->path = h->target;
    if (h->target.p >= head.p && h->target.p < head.p + head.n)
        r->path = moved(h->target, head.p, text);
    r->query = moved(h->query, head.p, text);
    r->fields = (struct http_field *)(void *)r->bytes;
    r->nfields = h->nfields;
    for (size_t i = 0; i < h->nfields; i++) {
        r->fields[i].name = moved(h->fields[i].name, head.p, text);
        r->fields[i].value = moved(h->fields[i].value, head.p, text);
    }
    buf_init(&r->headers, HEADERS_MAX);
    buf_init(&r->body, c->server->o.max_body_bytes);
    request_id_make(r->id);
    return r;
}

bool request_decode(struct http_request *r) {
    if (r->query.n && !http_decodable(r->query, true))
        return false;
    if (!memchr(r->path.p, '%', r->path.n))
        return utf8_valid(r->path);
    return http_decode((char *)r->path.p, r->path, false, &r->path.n); /* it lies in bytes[] */
}

static void forget_guards(struct http_request *r) {
    for (struct http_guard *g = r->guards, *next; g; g = next) {
        next = g->next;
        *g = (struct http_guard){0};
    }
    r->guards = NULL;
}

void request_free(struct http_request *r) {
    if (r->streaming)
        metric_add(M_STREAMS_OPEN, -1);
    r->conn->server->body_bytes -= r->counted;
    forget_guards(r);
    buf_deinit(&r->headers);
    buf_deinit(&r->body);
    arena_free(r->arena);
    free(r);
}

void request_gone(struct http_request *r) {
    r->ended = true;
    forget_guards(r);
    if (r->on_close)
        r->on_close(r->on_close_ctx);
    request_free(r);
}

/* ---- the request ---- */

enum http_method http_method(const struct http_request *r) {
    return r->method;
}

const char *http_method_name(const struct http_request *r) {
    return r->method_name.p;
}

struct str http_path(const struct http_request *r) {
    return r->path;
}

static bool is_plain(struct str s) {
    return s.n == 0 || (!memchr(s.p, '%', s.n) && !memchr(s.p, '+', s.n));
}

/* Decodes a name or value of the query; what needs no decoding is borrowed as it is. */
static bool query_decode(struct http_request *r, struct str s, struct str *ret) {
    if (is_plain(s)) {
        *ret = s.p ? s : STR("");
        return utf8_valid(s);
    }
    struct arena *a = http_request_arena(r);
    char *p = a ? arena_alloc(a, s.n) : NULL;
    ret->p = p;
    return p && http_decode(p, s, true, &ret->n);
}

bool http_query_next(const struct http_request *r, size_t *at, struct str *ret_name) {
    struct str rest = str_sub(r->query, *at, r->query.n), part = STR("");
    while (rest.n && part.n == 0) /* "a=1&&b=2" */
        part = str_cut(&rest, '&');
    *at = r->query.n - rest.n;
    if (part.n == 0)
        return false;
    if (!query_decode((struct http_request *)r, str_cut(&part, '='), ret_name))
        *ret_name = STR("");
    return true;
}

bool http_query(const struct http_request *r, const char *key, struct str *ret) {
    struct http_request *w = (struct http_request *)r; /* its arena holds what is decoded */
    struct str rest = r->query;
    while (rest.n) {
        struct str value = str_cut(&rest, '&'), name, decoded;
        struct str raw = str_cut(&value, '=');
        if (!query_decode(w, raw, &name) || !str_eqz(name, key))
            continue;
        if (!query_decode(w, value, &decoded))
            return false;
        *ret = decoded;
        return true;
    }
    return false;
}

struct str http_header(const struct http_request *r, const char *name) {
    return http_fields_find(r->fields, r->nfields, str_from(name));
}

bool http_cookie(const struct http_request *r, const char *name, struct str *ret) {
    for (size_t i = 0; i < r->nfields; i++) {
        if (!str_eq_nocase(r->fields[i].name, STR("cookie")))
            continue;
        struct str rest = r->fields[i].value;
        while (rest.n) {
            struct str value = str_cut(&rest, ';');
            struct str found = str_trim(str_cut(&value, '='));
            if (!value.p || !str_eqz(found, name))
                continue;
            *ret = str_trim(value);
            return true;
        }
    }
    return false;
}

struct str http_body(const struct http_request *r) {
    return buf_str(&r->body);
}

const char *http_remote_ip(const struct http_request *r) {
    return r->conn->ip;
}

const char *http_request_id(const struct http_request *r) {
    return r->id;
}

int64_t http_request_arrived_ns(const struct http_request *r) {
    return r->arrived_ns;
}

struct loop *http_request_loop(const struct http_request *r) {
    return r->conn->server->loop;
}

struct arena *http_request_arena(struct http_request *r) {
    if (!r->arena)
        r->arena = arena_new(ARENA_MAX_BYTES);
    return r->arena;
}

void http_on_close(struct http_request *r, loop_fn on_close, void *ctx) {
    r->on_close = on_close;
    r->on_close_ctx = ctx;
}

/* ---- the answer ---- */

void http_set_header(struct http_request *r, const char *name, const char *value) {
    if (!http_is_token(str_from(name)) || !http_is_field_value(str_from(value)))
        return;
    buf_addz(&r->headers, name);
    buf_addz(&r->headers, ": ");
    buf_addz(&r->headers, value);
    buf_addz(&r->headers, "\r\n");
}

/* Builds the head and counts the answer. Nothing is kept alive once the server stops accepting. */
static void make_head(struct http_request *r, struct buf *head, int status, const char *type,
                      int64_t body_n) {
    struct http_server *s = r->conn->server;
    r->keep_alive = r->keep_alive && !s->stopping;
    struct http_answer a = {
        .status = status,
        .minor = r->minor,
        .content_type = type,
        .id = r->id,
        .headers = buf_str(&r->headers),
        .body_n = body_n,
        .chunked = r->chunked_out,
        .keep_alive = r->keep_alive,
    };
    buf_init(head, HEADERS_MAX + 4096);
    http_answer_head(s, head, &a);
    if (buf_err(head) || buf_err(&r->headers)) {
        r->conn->broken = true; /* no memory, or headers past all measure: no answer is better */
        conn_touch(r->conn);
    }
    metric_add(M_HTTP_REQUESTS, 1);
    metric_add(M_HTTP_ERRORS, status >= 500);
    metric_observe(M_HTTP_SECONDS, (double)(clock_mono_ns() - r->arrived_ns) / 1e9);
}

void http_reply(struct http_request *r, int status, const char *content_type, struct str body) {
    if (r->ended)
        return;
    struct conn *c = r->conn;
    struct buf head;
    bool bodiless = r->method == HTTP_HEAD || status == 204 || status == 304;
    make_head(r, &head, status, content_type, (int64_t)body.n);
    conn_send(c, buf_str(&head), bodiless ? STR_NULL : body);
    buf_deinit(&head);
    conn_answered(c, r->keep_alive);
}

void http_stream_begin(struct http_request *r, int status, const char *content_type) {
    if (r->ended || r->streaming)
        return;
    struct buf head;
    r->streaming = true;
    r->chunked_out = r->minor > 0 && r->method != HTTP_HEAD;
    if (!r->chunked_out && r->method != HTTP_HEAD)
        r->keep_alive = false; /* for HTTP/1.0 the end of the connection ends the body */
    metric_add(M_STREAMS_OPEN, 1);
    make_head(r, &head, status, content_type, -1);
    conn_queue(r->conn, buf_str(&head));
    buf_deinit(&head);
}

static void queue_chunk(struct http_request *r, struct str data) {
    static const char digits[] = "0123456789abcdef";
    if (!r->chunked_out) {
        conn_queue(r->conn, data);
        return;
    }
    char line[20];
    size_t at = sizeof line - 2;
    memcpy(line + at, "\r\n", 2);
    for (size_t n = data.n; n; n >>= 4)
        line[--at] = digits[n & 15];
    conn_queue(r->conn, (struct str){line + at, sizeof line - at});
    conn_queue(r->conn, data);
    conn_queue(r->conn, STR("\r\n"));
}

enum err http_stream_write(struct http_request *r, struct str data) {
    struct conn *c = r->conn;
    if (r->ended || !r->streaming)
        return ERR_CANCELLED;
    if (data.n == 0 || r->method == HTTP_HEAD)
        return ERR_OK;
    /* Judged by what waited before: one large piece is no sign of a slow reader. */
    size_t max = c->server->o.max_pending_bytes;
    if (conn_pending(c) > max)
        conn_flush(c);
    if (!c->broken && conn_pending(c) > max) {
        metric_add(M_STREAMS_DROPPED, 1);
        http_stream_abort(r);
        return ERR_TOO_LARGE;
    }
    queue_chunk(r, data); /* a broken connection is reported by on_close */
    return ERR_OK;
}

size_t http_stream_pending(const struct http_request *r) {
    return conn_pending(r->conn);
}

void http_stream_end(struct http_request *r) {
    if (r->ended)
        return;
    if (r->chunked_out)
        conn_queue(r->conn, STR("0\r\n\r\n"));
    conn_answered(r->conn, r->keep_alive && !r->conn->server->stopping);
}

void http_stream_abort(struct http_request *r) {
    if (r->ended)
        return;
    struct conn *c = r->conn;
    c->req = NULL;
    request_free(r);
    conn_kill(c, true);
}

/* ---- guards ---- */

struct http_guard *http_guard_new(struct http_request *r) {
    struct http_guard *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    *g = (struct http_guard){.req = r, .next = r->guards};
    r->guards = g;
    r->on_close = NULL;
    return g;
}

struct http_request *http_guard_get(struct http_guard *g) {
    return g->req;
}

void http_guard_free(struct http_guard *g) {
    if (!g)
        return;
    if (g->req) {
        struct http_guard **at = &g->req->guards;
        while (*at != g)
            at = &(*at)->next;
        *at = g->next;
    }
    free(g);
}
