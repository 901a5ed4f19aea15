/* From the client's body to the one that the upstream gets. See openai.h.
 *
 * What changes: model becomes the upstream's name; members that are null go (servers differ in
 * taking them); a role's system prompt goes in front and its parameters fill in what the client
 * left out; our own engine gets "parley" with the user and a conversation key, and of a "parley" of
 * the client's what concerns his own waiting only ("wait", "wait_ms", "deadline_ms"). All else is
 * handed on as it came. */
#include <stdio.h>

#include "api/handlers.h"
#include "api/openai.h"
#include "api/openai_guard.h"
#include "safety/record.h"

#define BODY_CAP  ((size_t)8 << 20)
#define QUICK_MAX ((size_t)16 << 10)

/* ---- checks beyond the schema ---- */

static enum err check_stop(json_val *stop, struct errinfo *ei) {
    size_t i, n;
    json_val *v;
    if (!stop || yyjson_is_null(stop) || yyjson_is_str(stop))
        return ERR_OK;
    bool good = yyjson_is_arr(stop) && yyjson_arr_size(stop) <= 4;
    if (good)
        yyjson_arr_foreach(stop, i, n, v) good = good && yyjson_is_str(v);
    return good ? ERR_OK
                : err_param(ei, ERR_INVALID, "stop", "stop must be a string or up to 4 of them");
}

/* Of equal keys the guard reads the first, and a model server that gets them perhaps the last. */
static bool is_there_twice(const json_val *obj, const char *key) {
    size_t i, n, times = 0;
    json_val *k, *v;
    yyjson_obj_foreach((json_val *)obj, i, n, k, v) times += yyjson_equals_str(k, key);
    return times > 1;
}

static bool is_content(json_val *content) {
    size_t i, n;
    json_val *part;
    if (!content || yyjson_is_null(content) || yyjson_is_str(content))
        return true;
    bool good = yyjson_is_arr(content);
    if (good)
        yyjson_arr_foreach(content, i, n, part) good =
            good && yyjson_is_obj(part) && !is_there_twice(part, "text");
    return good;
}

static enum err check_message(json_val *message, size_t at, struct errinfo *ei) {
    char path[64];
    snprintf(path, sizeof path, "messages[%zu]", at);
    if (is_there_twice(message, "content") || is_there_twice(message, "role"))
        return err_param(ei, ERR_INVALID, path, "%s has a member twice", path);
    if (is_content(json_get(message, "content")))
        return ERR_OK;
    snprintf(path, sizeof path, "messages[%zu].content", at);
    return err_param(ei, ERR_INVALID, path,
                     "%s must be a string or a list of parts, each an object with one text", path);
}

enum err openai_check_chat(const json_val *body, struct errinfo *ei) {
    size_t i, n;
    json_val *m;
    enum err e = check_stop(json_get(body, "stop"), ei);
    if (e)
        return e;
    if (is_there_twice(body, "messages"))
        return err_param(ei, ERR_INVALID, "messages", "messages is there twice");
    yyjson_arr_foreach(json_get(body, "messages"), i, n, m) {
        if ((e = check_message(m, i, ei)))
            return e;
    }
    return ERR_OK;
}

/* ---- rewriting ---- */

static void remove_nulls(yyjson_mut_val *root) {
    yyjson_mut_obj_iter it = yyjson_mut_obj_iter_with(root);
    yyjson_mut_val *key;
    while ((key = yyjson_mut_obj_iter_next(&it)))
        if (yyjson_mut_is_null(yyjson_mut_obj_iter_get_val(key)))
            yyjson_mut_obj_iter_remove(&it);
}

static void set_str(yyjson_mut_doc *d, yyjson_mut_val *obj, const char *key, struct str v) {
    yyjson_mut_obj_put(obj, yyjson_mut_strcpy(d, key), yyjson_mut_strncpy(d, v.p, v.n));
}

static void apply_role(yyjson_mut_doc *d, yyjson_mut_val *root, const struct role *r) {
    yyjson_mut_val *messages = yyjson_mut_obj_get(root, "messages");
    yyjson_mut_val *system = yyjson_mut_obj(d);
    set_str(d, system, "role", STR("system"));
    set_str(d, system, "content", r->system_prompt);
    yyjson_mut_arr_prepend(messages, system);
    if (r->temperature >= 0 && !yyjson_mut_obj_get(root, "temperature"))
        yyjson_mut_obj_add_real(d, root, "temperature", r->temperature);
    if (r->top_p >= 0 && !yyjson_mut_obj_get(root, "top_p"))
        yyjson_mut_obj_add_real(d, root, "top_p", r->top_p);
    if (r->max_tokens > 0 && !yyjson_mut_obj_get(root, "max_tokens") &&
        !yyjson_mut_obj_get(root, "max_completion_tokens"))
        yyjson_mut_obj_add_int(d, root, "max_tokens", r->max_tokens);
    if (r->stop.n > 2 && !yyjson_mut_obj_get(root, "stop"))
        json_add_raw(d, root, "stop", r->stop);
}

/* A chat that goes on begins the same way every time, so that names it: user, model and the text up
 * to the first user message. Only a hint for finding a kept prefix: a wrong one costs time, never
 * content, as the engine compares tokens. */
static void conversation_key(const yyjson_doc *doc, const struct uuid *user, struct str model,
                             char hex[SHA256_HEX_LEN + 1]) {
    size_t i, n;
    json_val *m;
    struct sha256 *h = sha256_new();
    hex[0] = 0;
    if (!h)
        return;
    sha256_update(h, user->s, UUID_LEN);
    sha256_update(h, model.p, model.n);
    yyjson_arr_foreach(json_get(yyjson_doc_get_root((yyjson_doc *)doc), "messages"), i, n, m) {
        struct str role = json_get_str(m, "role"), text = json_get_str(m, "content");
        if (text.p)
            sha256_update(h, text.p, text.n);
        if (str_eq(role, STR("user")))
            break;
    }
    sha256_final(h, hex);
}

/* How long the client would wait, for the engine to check. */
static void copy_wishes(yyjson_mut_doc *d, yyjson_mut_val *parley, const json_val *wishes) {
    static const char *const names[] = {"wait", "wait_ms", "deadline_ms"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_val *v = json_get(wishes, names[i]);
        if (v)
            yyjson_mut_obj_put(parley, yyjson_mut_str(d, names[i]), yyjson_val_mut_copy(d, v));
    }
}

enum err openai_rewrite(const yyjson_doc *doc, const struct openai_target *t,
                        const struct uuid *user, struct buf *out, struct errinfo *ei) {
    char key[SHA256_HEX_LEN + 1];
    yyjson_mut_doc *d = yyjson_doc_mut_copy((yyjson_doc *)doc, NULL);
    yyjson_mut_val *root = yyjson_mut_doc_get_root(d);
    if (!root) {
        yyjson_mut_doc_free(d);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    const json_val *wishes = json_get(yyjson_doc_get_root((yyjson_doc *)doc), "parley");
    remove_nulls(root);
    yyjson_mut_obj_remove_key(root, "parley");
    if (t->model.p)
        set_str(d, root, "model", t->model);
    if (t->role)
        apply_role(d, root, t->role);
    if (user) {
        yyjson_mut_val *parley = yyjson_mut_obj(d);
        set_str(d, parley, "user", uuid_str(user));
        copy_wishes(d, parley, wishes);
        conversation_key(doc, user, t->model, key);
        if (key[0] && yyjson_mut_obj_get(root, "messages"))
            set_str(d, parley, "conversation", str_from(key));
        yyjson_mut_obj_put(root, yyjson_mut_strcpy(d, "parley"), parley);
    }
    json_write_mut(out, d);
    yyjson_mut_doc_free(d);
    return buf_err(out) ? err_set(ei, buf_err(out), NULL) : ERR_OK;
}

/* ---- which model ---- */

static enum err no_model(struct call *c, struct str asked, struct errinfo *ei) {
    struct upstream_model *models;
    size_t n;
    enum err e = upstream_models(c->api->o.upstream, c->arena, &models, &n);
    if (e == ERR_UNAVAILABLE) {
        err_set(ei, e, "the model server has not told its models yet; try again");
        ei->retry_after_ms = 1000;
        return e;
    }
    return err_param(ei, ERR_NO_MODEL, "model",
                     "there is no model or role \"%.*s\"; GET /v1/models lists them",
                     (int)utf8_cut(asked, 100), asked.p);
}

static enum err find_target(struct call *c, struct store_tx *tx, struct openai_target *t,
                            bool roles, struct errinfo *ei) {
    struct upstream *u = c->api->o.upstream;
    struct str asked = json_get_str(c->body, "model");
    struct role *r = arena_alloc(c->arena, sizeof *r);
    enum err e;
    if (!r)
        return err_set(ei, ERR_NOMEM, NULL);
    if (upstream_has_model(u, asked)) {
        t->model = asked;
        return ERR_OK;
    }
    e = roles ? role_find(tx, asked, c->arena, r) : ERR_NOT_FOUND;
    if (e == ERR_NOT_FOUND)
        return no_model(c, asked, ei);
    if (e)
        return err_set(ei, e, NULL);
    t->role = r;
    t->model = r->model;
    if (!t->model.n && (e = upstream_default_model(u, c->arena, &t->model)))
        return err_set(ei, e, "the model server has not told its models yet; try again");
    return ERR_OK;
}

static enum err prepare(struct call *c, struct store_tx *tx, bool chat, struct errinfo *ei) {
    struct openai_target t = {0};
    struct openai_state *s = arena_alloc(c->arena, sizeof *s);
    if (!s)
        return err_set(ei, ERR_NOMEM, NULL);
    enum err e = find_target(c, tx, &t, chat, ei);
    if (e)
        return e;
    s->asked = json_get_str(c->body, "model");
    s->upstream = t.model;
    s->role = STR("");
    s->docs = STR_NULL;
    if (t.role) {
        char slug[ROLE_SLUG_SIZE];
        size_t n = role_slug(t.role->name, slug, sizeof slug);
        if (!(s->role = arena_str(c->arena, (struct str){slug, n})).p)
            return err_set(ei, ERR_NOMEM, NULL);
        if ((e = openai_ground_load(c, tx, t.role, s)))
            return err_set(ei, e, NULL);
    }
    s->stream = chat && json_get_bool(c->body, "stream", false);
    struct buf body;
    buf_init(&body, BODY_CAP);
    e = openai_rewrite(c->doc, &t, c->api->o.upstream_is_engine ? &c->user.user_id : NULL, &body,
                       ei);
    if (!e && !(s->body = arena_str(c->arena, buf_str(&body))).p)
        e = err_set(ei, ERR_NOMEM, NULL);
    buf_deinit(&body);
    c->state = s;
    return e;
}

enum err api_openai_chat_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    enum err e = openai_check_chat(c->body, ei);
    if (!e && c->api->o.safety)
        e = safety_check_user(tx, &c->user.user_id, ei);
    c->may_ask = !e;
    return e ? e : prepare(c, tx, true, ei);
}

/* A model's own name needs nothing from the store; long requests are not rewritten on the loop. */
enum err api_openai_chat_known(struct call *c, bool *ret_done, struct errinfo *ei) {
    struct http_request *r = api_call_request(c);
    struct str asked = json_get_str(c->body, "model");
    if (!c->may_ask || !r || http_body(r).n > QUICK_MAX ||
        !upstream_has_model(c->api->o.upstream, asked))
        return ERR_OK;
    enum err e = openai_check_chat(c->body, ei);
    *ret_done = true;
    return e ? e : prepare(c, NULL, true, ei);
}

enum err api_openai_embeddings_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    json_val *input = json_get(c->body, "input");
    if (!yyjson_is_str(input) && !(yyjson_is_arr(input) && yyjson_arr_size(input) > 0))
        return err_param(ei, ERR_INVALID, "input",
                         "input must be a string, a list of strings, or lists of tokens");
    return prepare(c, tx, false, ei);
}

void api_openai_chat_forward(struct call *c) {
    if (c->api->o.safety)
        openai_guard_request(c, "/chat/completions");
    else
        openai_ground(c, "/chat/completions");
}

void api_openai_embeddings_forward(struct call *c) {
    openai_forward(c, "/embeddings");
}
