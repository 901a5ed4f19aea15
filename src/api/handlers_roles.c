/* Assistant roles. Members read them; administrators change them. */
#include "api/entities.h"
#include "api/handlers.h"
#include "base/clock.h"

static enum err not_found(struct errinfo *ei, enum err e) {
    return err_set(ei, e, e == ERR_NOT_FOUND ? "there is no such role" : NULL);
}

static void write_list(struct call *c, const struct role *roles, size_t n) {
    entity_list_open(&c->out);
    for (size_t i = 0; i < n; i++)
        entity_role(&c->out, &roles[i]);
    entity_list_close(&c->out, &(struct uuid){0});
}

enum err api_roles_list(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    bool retired = str_eq(api_call_query(c, "retired"), STR("true"));
    struct role *roles;
    size_t n;
    if (retired && !c->user.is_admin)
        return err_param(ei, ERR_FORBIDDEN, "retired", "retired roles are for administrators");
    enum err e = role_list(tx, retired, c->arena, &roles, &n);
    if (e)
        return err_set(ei, e, NULL);
    write_list(c, roles, n);
    return ERR_OK;
}

enum err api_role_read_one(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct role r;
    enum err e = role_get(tx, &c->id, c->arena, &r);
    if (e)
        return not_found(ei, e);
    entity_role(&c->out, &r);
    return ERR_OK;
}

enum err api_role_versions_list(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct role r, *roles;
    size_t n;
    enum err e = role_get(tx, &c->id, c->arena, &r);
    if (!e)
        e = role_versions(tx, &c->id, c->arena, &roles, &n);
    if (e)
        return not_found(ei, e);
    write_list(c, roles, n);
    return ERR_OK;
}

/* The JSON text of a list member; otherwise what was there. */
static enum err list_text(struct call *c, const char *key, struct str *ret) {
    json_val *v = json_get(c->body, key);
    struct buf b;
    if (!v)
        return ERR_OK;
    buf_init(&b, 65536);
    json_write(&b, v);
    struct str s = buf_err(&b) ? STR_NULL : arena_str(c->arena, buf_str(&b));
    enum err e = buf_err(&b);
    buf_deinit(&b);
    if (e || !s.p)
        return e ? e : ERR_NOMEM;
    *ret = s;
    return ERR_OK;
}

/* Puts what the body says into r; null means the model's default. */
static enum err apply(struct call *c, struct role *r, struct errinfo *ei) {
    const json_val *b = c->body;
    struct str name = json_get_str(b, "name"), text = json_get_str(b, "description"),
               prompt = json_get_str(b, "system_prompt");
    if (name.p)
        r->name = str_trim(name);
    if (r->name.n == 0)
        return err_param(ei, ERR_INVALID, "name", "name must have letters");
    if (text.p)
        r->description = text;
    if (prompt.p)
        r->system_prompt = prompt;
    if (json_get(b, "model"))
        r->model = json_get_str(b, "model").n ? json_get_str(b, "model") : STR("");
    if (json_get(b, "temperature"))
        r->temperature = json_get_num(b, "temperature", -1);
    if (json_get(b, "top_p"))
        r->top_p = json_get_num(b, "top_p", -1);
    if (json_get(b, "max_tokens"))
        r->max_tokens = (int)json_get_int(b, "max_tokens", 0);
    enum err e = list_text(c, "stop", &r->stop);
    if (!e)
        e = list_text(c, "starter_questions", &r->starter_questions);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

/* A role's slug stands beside the models' names, so it must not hide one. */
static enum err check_slug(struct call *c, const struct role *r, struct errinfo *ei) {
    char slug[ROLE_SLUG_SIZE];
    if (role_slug(r->name, slug, sizeof slug) == 0)
        return err_param(ei, ERR_INVALID, "name", "name must have a letter or a digit");
    if (upstream_has_model(c->api->o.upstream, str_from(slug)))
        return err_param(ei, ERR_CONFLICT, "name", "a model has the name \"%s\"", slug);
    return ERR_OK;
}

static enum err read_back(struct call *c, struct store_tx *tx, const struct uuid *id,
                          struct errinfo *ei) {
    struct role r;
    enum err e = role_get(tx, id, c->arena, &r);
    if (e)
        return err_set(ei, e, NULL);
    entity_role(&c->out, &r);
    return ERR_OK;
}

enum err api_role_create_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    int64_t now = clock_wall_ms();
    struct role r = {
        .role_id = uuid_new(),
        .description = STR(""),
        .model = STR(""),
        .temperature = -1,
        .top_p = -1,
        .stop = STR("[]"),
        .starter_questions = STR("[]"),
        .version = 1,
        .created_at = now,
        .updated_at = now,
    };
    enum err e = apply(c, &r, ei);
    if (!e)
        e = check_slug(c, &r, ei);
    if (!e)
        e = role_create(tx, &r, ei);
    return e ? e : read_back(c, tx, &r.role_id, ei);
}

enum err api_role_patch_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct role r;
    int version;
    enum err e = role_get(tx, &c->id, c->arena, &r);
    if (e)
        return not_found(ei, e);
    struct str old_name = r.name;
    bool retired = json_get_bool(c->body, "retired", r.retired_at != 0);
    if ((e = apply(c, &r, ei)))
        return e;
    /* A role whose name a model took later can still be changed and retired under that name. */
    bool takes_name = !str_eq(r.name, old_name) || (r.retired_at && !retired);
    if (takes_name && (e = check_slug(c, &r, ei)))
        return e;
    if (retired != (r.retired_at != 0))
        r.retired_at = retired ? clock_wall_ms() : 0;
    r.updated_at = clock_wall_ms();
    e = role_update(tx, &r, &version, ei);
    return e ? e : read_back(c, tx, &c->id, ei);
}

enum err api_role_retire_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct role r;
    int version;
    enum err e = role_get(tx, &c->id, c->arena, &r);
    if (e)
        return not_found(ei, e);
    if (r.retired_at)
        return ERR_OK;
    r.retired_at = r.updated_at = clock_wall_ms();
    return role_update(tx, &r, &version, ei);
}
