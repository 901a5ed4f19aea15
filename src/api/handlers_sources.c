/* Sources: people make them for their own documents, administrators also for everybody's. What lies
 * on this machine or inside its network only administrators may name. */
#include "api/entities.h"
#include "api/handlers.h"
#include "base/clock.h"

#define SETTINGS_MAX 16384

static enum err not_found(struct errinfo *ei, enum err e) {
    return err_set(ei, e, e == ERR_NOT_FOUND ? "there is no such source" : NULL);
}

/* One's own; administrators: anybody's. */
static enum err get(struct call *c, struct store_tx *tx, struct source *ret) {
    static const struct uuid anybody = {{0}};
    return source_get(tx, c->user.is_admin ? &anybody : &c->user.user_id, &c->id, c->arena, ret);
}

enum err api_sources_list(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    static const struct uuid anybody = {{0}};
    bool all = str_eqz(api_call_query(c, "all"), "true");
    struct source *s;
    size_t n;
    if (all && !c->user.is_admin)
        return err_param(ei, ERR_FORBIDDEN, "all", "others' sources are for administrators");
    enum err e = source_list(tx, all ? &anybody : &c->user.user_id, &c->page, c->arena, &s, &n);
    if (e)
        return err_set(ei, e, NULL);
    entity_list_open(&c->out);
    for (size_t i = 0; i < n; i++)
        entity_source(&c->out, &s[i]);
    struct uuid next = entity_next(&c->page, n, n ? &s[n - 1].source_id : NULL);
    entity_list_close(&c->out, &next);
    return ERR_OK;
}

enum err api_source_read_one(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct source s;
    enum err e = get(c, tx, &s);
    if (e)
        return not_found(ei, e);
    entity_source(&c->out, &s);
    return ERR_OK;
}

static enum err settings_text(struct call *c, struct str *ret, struct errinfo *ei) {
    json_val *v = json_get(c->body, "settings");
    struct buf b;
    if (!v)
        return ERR_OK;
    buf_init(&b, SETTINGS_MAX);
    json_write(&b, v);
    enum err e = buf_err(&b);
    if (!e)
        *ret = arena_str(c->arena, buf_str(&b));
    buf_deinit(&b);
    return e == ERR_TOO_LARGE
               ? err_param(ei, e, "settings", "settings may have at most %d bytes", SETTINGS_MAX)
           : e || !ret->p ? err_set(ei, ERR_NOMEM, NULL)
                          : ERR_OK;
}

/* Puts what the body says into s. */
static enum err apply(struct call *c, struct source *s, struct errinfo *ei) {
    const json_val *b = c->body;
    struct str name = json_get_str(b, "name"), location = json_get_str(b, "location");
    json_val *collection = json_get(b, "collection_id");
    if (location.p)
        s->location = str_trim(location);
    if (name.p)
        s->name = str_trim(name);
    if (s->name.n == 0)
        s->name = str_sub(s->location, 0, utf8_cut(s->location, 200));
    if (collection && !uuid_parse(json_str(collection), &s->collection_id))
        s->collection_id = (struct uuid){{0}};
    s->shared = json_get_bool(b, "shared", s->shared);
    s->interval_minutes = (int)json_get_int(b, "interval_minutes", s->interval_minutes);
    s->allow_private = json_get_bool(b, "allow_private", s->allow_private);
    s->enabled = json_get_bool(b, "enabled", s->enabled);
    enum err e = ingest_check_location(s->kind, s->location, ei);
    return e ? e : settings_text(c, &s->settings, ei);
}

static enum err may(struct call *c, struct store_tx *tx, const struct source *s,
                    struct errinfo *ei) {
    bool inside = s->kind == SOURCE_FOLDER || s->kind == SOURCE_SEARCH;
    if (inside && !c->user.is_admin)
        return err_param(ei, ERR_FORBIDDEN, "kind",
                         "only an administrator makes sources of folders and searches");
    if (s->allow_private && !c->user.is_admin)
        return err_param(ei, ERR_FORBIDDEN, "allow_private",
                         "only an administrator lets a source reach into the network");
    return api_may_add_to(c, tx, s->shared, &s->collection_id, ei);
}

/* Searches are asked when there is a question, not by the clock. */
static int64_t due_now(const struct source *s) {
    return s->enabled && s->kind != SOURCE_SEARCH ? clock_wall_ms() : 0;
}

enum err api_source_create_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct str kind = json_get_str(c->body, "kind");
    struct source s = {.source_id = uuid_new(),
                       .user_id = c->user.user_id,
                       .kind = (enum source_kind)source_kind_from_name(kind), /* by the schema */
                       .interval_minutes = 1440,
                       .enabled = true,
                       .settings = STR("{}"),
                       .created_at = clock_wall_ms()};
    enum err e = apply(c, &s, ei);
    if (!e)
        e = may(c, tx, &s, ei);
    s.next_at = due_now(&s);
    if (!e)
        e = source_create(tx, &s, ei);
    if (!e)
        entity_source(&c->out, &s);
    return e;
}

enum err api_source_patch_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct source s;
    enum err e = get(c, tx, &s);
    if (e)
        return not_found(ei, e);
    e = apply(c, &s, ei);
    if (!e)
        e = may(c, tx, &s, ei);
    s.next_at = due_now(&s);
    if (!e)
        e = source_update(tx, &s);
    if (!e)
        entity_source(&c->out, &s);
    return e;
}

enum err api_source_run_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct source s;
    enum err e = get(c, tx, &s);
    if (e)
        return not_found(ei, e);
    if (!s.enabled || s.kind == SOURCE_SEARCH)
        return err_set(ei, ERR_CONFLICT,
                       s.enabled ? "a search is asked when somebody has a question"
                                 : "this source is switched off");
    s.next_at = 1; /* before all that are due */
    e = source_update(tx, &s);
    if (!e)
        entity_source(&c->out, &s);
    return e;
}

enum err api_source_delete_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct source s;
    enum err e = get(c, tx, &s);
    if (!e)
        e = source_delete(tx, &s.source_id, str_eqz(api_call_query(c, "documents"), "true"));
    return e ? not_found(ei, e) : ERR_OK;
}

void api_source_changed(struct call *c) {
    ingest_poke(c->api->o.ingest);
    web_search_changed(c->api->o.web);
    api_call_next(c);
}

/* ---- asking a search service ---- */

enum err api_source_search_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct source s;
    enum err e = get(c, tx, &s);
    if (e)
        return not_found(ei, e);
    if (s.kind != SOURCE_SEARCH || !s.enabled)
        return err_set(ei, ERR_CONFLICT,
                       s.enabled ? "this source is no search" : "this source is switched off");
    return ERR_OK;
}

static void searched(void *ctx, const struct web_search_result *r) {
    struct call *c = ctx;
    entity_list_open(&c->out);
    for (size_t i = 0; i < r->n; i++) {
        out_open(&c->out, NULL, '{');
        out_int(&c->out, "rank", r->hits[i].rank);
        out_str(&c->out, "title", r->hits[i].title);
        out_text_or_null(&c->out, "url", r->hits[i].url);
        out_str(&c->out, "text", r->hits[i].text);
        out_close(&c->out, '}');
    }
    out_close(&c->out, ']');
    out_bool(&c->out, "cached", r->from_cache > 0);
    out_text_or_null(&c->out, "error", r->first_error);
    out_close(&c->out, '}');
    api_call_next(c);
}

void api_source_search(struct call *c) {
    struct web_search_request q = {
        .query = json_get_str(c->body, "query"), .user_id = c->user.user_id, .only = c->id};
    struct web_search_call *call;
    struct errinfo ei = {0};
    enum err e = c->api->o.web ? web_search_run(c->api->o.web, c->loop, &q, searched, c, &call, &ei)
                               : err_set(&ei, ERR_UNAVAILABLE, NULL);
    if (e)
        api_call_fail(c, e, &ei);
}
