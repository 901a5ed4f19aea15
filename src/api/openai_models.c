/* GET /v1/models: the upstream's models, then the roles by their slugs. */
#include "api/handlers.h"

static void write_model(struct buf *b, struct str id, int64_t created_ms, const char *owner) {
    out_open(b, NULL, '{');
    out_str(b, "id", id);
    out_strz(b, "object", "model");
    out_int(b, "created", created_ms / 1000);
    out_strz(b, "owned_by", owner);
    out_close(b, '}');
}

/* While the upstream was never reached there are only roles to tell of. */
enum err api_openai_models_list(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    char slug[ROLE_SLUG_SIZE];
    struct upstream_model *models = NULL;
    struct role *roles;
    size_t n_models = 0, n_roles;
    enum err e = upstream_models(c->api->o.upstream, c->arena, &models, &n_models);
    if (e && e != ERR_UNAVAILABLE)
        return err_set(ei, e, NULL);
    e = role_list(tx, false, c->arena, &roles, &n_roles);
    if (e)
        return err_set(ei, e, NULL);
    out_open(&c->out, NULL, '{');
    out_strz(&c->out, "object", "list");
    out_open(&c->out, "data", '[');
    for (size_t i = 0; i < n_models; i++)
        write_model(&c->out, models[i].id, 0, "upstream");
    for (size_t i = 0; i < n_roles; i++) {
        role_slug(roles[i].name, slug, sizeof slug);
        write_model(&c->out, str_from(slug), roles[i].created_at, "parley");
    }
    out_close(&c->out, ']');
    out_close(&c->out, '}');
    return ERR_OK;
}

enum err api_openai_model_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct role r;
    if (upstream_has_model(c->api->o.upstream, c->rest)) {
        write_model(&c->out, c->rest, 0, "upstream");
        return ERR_OK;
    }
    enum err e = role_find(tx, c->rest, c->arena, &r);
    if (e == ERR_NOT_FOUND)
        return err_param(ei, ERR_NO_MODEL, "model",
                         "there is no model or role of this name; GET /v1/models lists them");
    if (e)
        return err_set(ei, e, NULL);
    write_model(&c->out, c->rest, r.created_at, "parley");
    return ERR_OK;
}
