/* Search in documents, collections, and what roles ask of documents. */
#include "api/entities.h"
#include "api/handlers.h"
#include "base/clock.h"
#include "retrieval/retrieval.h"
#include "store/chunk.h"

struct search_state {
    struct retrieval_scope scope;
    struct uuid role;
};

enum err api_search_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct search_state *s = arena_alloc(c->arena, sizeof *s);
    struct role r;
    if (!s)
        return err_set(ei, ERR_NOMEM, NULL);
    struct str role = json_get_str(c->body, "role_id");
    if (role.n && uuid_parse(role, &s->role) && role_get(tx, &s->role, c->arena, &r))
        return err_param(ei, ERR_INVALID, "role_id", "there is no such role");
    c->state = s;
    enum err e =
        collection_scope(tx, &c->user.user_id, &s->role, s->scope.collections, &s->scope.n);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

static void write_hit(struct buf *b, const struct retrieval_hit *h) {
    out_open(b, NULL, '{');
    out_int(b, "rank", h->rank);
    out_id(b, "doc_id", &h->doc_id);
    out_str(b, "source_name", h->source_name);
    out_text_or_null(b, "title", h->title);
    out_text_or_null(b, "uri", h->uri);
    out_text_or_null(b, "heading", h->heading);
    out_int(b, "chunk", h->n);
    if (h->page_from) {
        out_int(b, "page", h->page_from);
        out_int(b, "page_to", h->page_to);
    } else {
        out_null(b, "page");
        out_null(b, "page_to");
    }
    out_int(b, "char_from", (int64_t)h->char_from);
    out_int(b, "char_to", (int64_t)h->char_to);
    out_num(b, "score", h->score);
    out_num(b, "fused", h->fused);
    out_num(b, "lexical", h->lexical);
    out_num(b, "vector", h->vector);
    out_int(b, "lexical_rank", h->lexical_rank);
    out_int(b, "vector_rank", h->vector_rank);
    out_num(b, "weight", h->weight);
    out_str(b, "text", h->text);
    out_close(b, '}');
}

static void write_trace(struct buf *b, const struct retrieval_trace *t) {
    out_open(b, "trace", '{');
    out_bool(b, "searched", t->searched);
    out_text_or_null(b, "why", str_from(t->why ? t->why : ""));
    out_bool(b, "lexical_done", t->lexical_done);
    out_bool(b, "vector_done", t->vector_done);
    out_bool(b, "loading", t->loading);
    out_bool(b, "exact", t->exact);
    out_int(b, "candidates", t->candidates);
    out_int(b, "embed_us", t->embed_us);
    out_int(b, "lexical_us", t->lexical_us);
    out_int(b, "vector_us", t->vector_us);
    out_int(b, "fuse_us", t->fuse_us);
    out_int(b, "total_us", t->total_us);
    out_close(b, '}');
}

static void found(void *ctx, const struct retrieval_result *r) {
    struct call *c = ctx;
    if (r->err) {
        api_call_fail(c, r->err, r->ei);
        return;
    }
    entity_list_open(&c->out);
    for (size_t i = 0; i < r->n; i++)
        write_hit(&c->out, &r->hits[i]);
    out_close(&c->out, ']');
    out_bool(&c->out, "relevant", r->relevant);
    write_trace(&c->out, &r->trace);
    out_close(&c->out, '}');
    api_call_next(c);
}

static size_t strings(struct call *c, const char *key, const struct str **ret) {
    json_val *list = json_get(c->body, key), *v;
    size_t i, max, n = 0;
    struct str *out = arena_array(c->arena, yyjson_arr_size(list) + 1, sizeof *out);
    *ret = out;
    if (out && yyjson_is_arr(list))
        yyjson_arr_foreach(list, i, max, v) out[n++] = json_str(v);
    return n;
}

static enum err day(struct call *c, const char *key, int64_t *ret, struct errinfo *ei) {
    struct str text = json_get_str(c->body, key);
    if (text.n && !retrieval_day_read(text, ret))
        return err_param(ei, ERR_INVALID, key, "%s must be a day, 2026-03-01", key);
    return ERR_OK;
}

static enum err filter_of(struct call *c, struct retrieval_filter *f, struct errinfo *ei) {
    f->source = json_get_str(c->body, "source");
    f->type = json_get_str(c->body, "type");
    f->n_tags = strings(c, "tags", &f->tags);
    enum err e = day(c, "date_from", &f->from, ei);
    if (!e)
        e = day(c, "date_to", &f->to, ei);
    if (!e && f->to)
        f->to += RETRIEVAL_DAY_MS - 1;
    return e;
}

void api_search_run(struct call *c) {
    struct search_state *s = c->state;
    struct str parts = json_get_str(c->body, "parts");
    struct retrieval_request q = {
        .query = json_get_str(c->body, "query"),
        .scope = &s->scope,
        .role_id = s->role,
        .need = NEED_ALWAYS,
        .k = (int)json_get_int(c->body, "k", 10),
        .recency_days = (double)json_get_int(c->body, "recency_days", 0),
        .no_lexical = str_eqz(parts, "vector"),
        .no_vector = str_eqz(parts, "lexical"),
    };
    struct retrieval_call *call;
    struct errinfo ei = {0};
    q.n_history = strings(c, "history", &q.history);
    enum err e = filter_of(c, &q.filter, &ei);
    if (!e)
        e = c->api->o.retrieval ? retrieval_search(c->api->o.retrieval, c->loop, c->client, &q,
                                                   found, c, &call, &ei)
                                : err_set(&ei, ERR_UNAVAILABLE, NULL);
    if (e)
        api_call_fail(c, e, &ei);
}

/* ---- collections ---- */

static void write_collection(struct buf *b, const struct collection *x) {
    out_open(b, NULL, '{');
    out_id(b, "collection_id", &x->collection_id);
    out_str(b, "name", x->name);
    out_strz(b, "kind", collection_kind_name(x->kind));
    out_int(b, "documents", x->documents);
    out_close(b, '}');
}

enum err api_collections_list(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct collection *list;
    size_t n;
    enum err e = collection_list(tx, &c->user.user_id, c->arena, &list, &n);
    if (e)
        return err_set(ei, e, NULL);
    entity_list_open(&c->out);
    for (size_t i = 0; i < n; i++)
        write_collection(&c->out, &list[i]);
    entity_list_close(&c->out, &(struct uuid){{0}});
    return ERR_OK;
}

enum err api_collection_create_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct str kind = json_get_str(c->body, "kind");
    struct collection x = {.collection_id = uuid_new(),
                           .name = str_trim(json_get_str(c->body, "name")),
                           .kind = kind.n ? (enum collection_kind)collection_kind_from_name(kind)
                                          : COLLECTION_PRIVATE,
                           .created_at = clock_wall_ms()};
    if (x.kind == COLLECTION_PRIVATE)
        x.user_id = c->user.user_id;
    else if (!c->user.is_admin)
        return err_param(ei, ERR_FORBIDDEN, "kind", "collections for others need an administrator");
    enum err e = collection_create(tx, &x, ei);
    if (e)
        return e;
    write_collection(&c->out, &x);
    return ERR_OK;
}

enum err api_collection_delete_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct collection x;
    enum err e = collection_get(tx, &c->user.user_id, &c->id, c->arena, &x);
    if (e)
        return err_set(ei, e, e == ERR_NOT_FOUND ? "there is no such collection" : NULL);
    if (x.kind != COLLECTION_PRIVATE && !c->user.is_admin)
        return err_set(ei, ERR_FORBIDDEN, NULL);
    return collection_delete(tx, &c->id, ei);
}

/* ---- what roles ask of documents ---- */

static void write_role_documents(struct buf *b, const struct role_retrieval *r) {
    out_open(b, NULL, '{');
    out_bool(b, "enabled", r->enabled);
    out_bool(b, "grounded_only", r->grounded_only);
    out_open(b, "collections", '[');
    for (size_t i = 0; i < r->n; i++)
        out_id(b, NULL, &r->collections[i]);
    out_close(b, ']');
    out_close(b, '}');
}

static enum err read_role_documents(struct call *c, struct store_tx *tx, struct role_retrieval *r,
                                    struct errinfo *ei) {
    struct role role;
    enum err e = role_get(tx, &c->id, c->arena, &role);
    if (!e)
        e = role_retrieval_get(tx, &c->id, c->arena, r);
    return e ? err_set(ei, e, e == ERR_NOT_FOUND ? "there is no such role" : NULL) : ERR_OK;
}

enum err api_role_documents_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct role_retrieval r;
    enum err e = read_role_documents(c, tx, &r, ei);
    if (!e)
        write_role_documents(&c->out, &r);
    return e;
}

enum err api_role_documents_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct role_retrieval r;
    json_val *list = json_get(c->body, "collections"), *v;
    size_t i, max;
    enum err e = read_role_documents(c, tx, &r, ei);
    if (e)
        return e;
    r.enabled = json_get_bool(c->body, "enabled", r.enabled);
    r.grounded_only = json_get_bool(c->body, "grounded_only", r.grounded_only);
    if (list) {
        r.n = 0;
        r.collections = arena_array(c->arena, yyjson_arr_size(list) + 1, sizeof *r.collections);
        if (!r.collections)
            return err_set(ei, ERR_NOMEM, NULL);
        yyjson_arr_foreach(list, i, max, v) {
            if (!uuid_parse(json_str(v), &r.collections[r.n++]))
                return err_param(ei, ERR_INVALID, "collections",
                                 "these must be ids of collections");
        }
    }
    e = role_retrieval_set(tx, &c->id, &r, ei);
    if (!e)
        write_role_documents(&c->out, &r);
    return e;
}
