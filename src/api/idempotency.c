/* Idempotency-Key: a POST that is sent again with the same key is carried out once, and answered
 * with what was answered then (for a day). The same key with another request is a mistake of the
 * client.
 *
 * Of a request its hash is kept, begun with the key. What a request keeps secret (a password, the
 * set-up token) is not in it: whoever reads the database could try passwords against it, by
 * millions a second, and what a password should be is looked at by argon2id anyhow: by who signs
 * in, and of an account that was made, by handlers_users.c. */
#include <stdlib.h>

#include "api/handlers.h"
#include "base/clock.h"
#include "base/crypto.h"

#define KEY_MAX 255
#define BODY_SMALL                                                                                 \
    ((size_t)64 << 10) /* hashed on the loop; what documents have beyond, by the job */

static bool key_is_good(struct str key) {
    for (size_t i = 0; i < key.n; i++)
        if (key.p[i] < 0x21 || key.p[i] > 0x7e)
            return false;
    return key.n >= 1 && key.n <= KEY_MAX;
}

static void add(struct sha256 *s, struct str part, const char *end) {
    if (part.n)
        sha256_update(s, part.p, part.n);
    sha256_update(s, end, strlen(end));
}

static bool is_secret(struct str name) {
    return str_eq(name, STR("password")) || str_eq(name, STR("token"));
}

static bool has_password(const struct schema *body) {
    for (const struct field *f = body ? body->fields : NULL; f && f->name; f++)
        if (strcmp(f->name, "password") == 0)
            return true;
    return false;
}

static enum err add_without_secrets(struct sha256 *s, json_val *body) {
    struct buf b;
    size_t i, n;
    yyjson_val *key, *value;
    buf_init(&b, BODY_SMALL);
    yyjson_obj_foreach((yyjson_val *)body, i, n, key, value) {
        if (is_secret(json_str(key)))
            continue;
        json_write(&b, key);
        buf_addc(&b, ':');
        json_write(&b, value);
        buf_addc(&b, '\n');
    }
    enum err e = buf_err(&b);
    if (!e)
        add(s, buf_str(&b), "");
    buf_deinit(&b);
    return e;
}

/* What of a large body is not hashed here is put aside for the job. */
static enum err add_body(struct call *c, struct sha256 *s, struct str body) {
    if (has_password(c->route->body) && c->body)
        return add_without_secrets(s, c->body);
    if (!(c->route->flags & ROUTE_LARGE_BODY) || body.n <= BODY_SMALL)
        add(s, body, "");
    else
        c->unhashed = c->file.p ? c->file : arena_str(c->arena, body);
    return ERR_OK;
}

static enum err take_hash(struct call *c, struct sha256 *s, struct errinfo *ei) {
    char hex[SHA256_HEX_LEN + 1];
    sha256_final(s, hex);
    c->request_hash = arena_str(c->arena, str_from(hex));
    return c->request_hash.p ? ERR_OK : err_set(ei, ERR_NOMEM, NULL);
}

/* Of path and body alone. Large bodies have none: a document is known again by its contents. */
static enum err take_former_hash(struct call *c, struct http_request *r, struct errinfo *ei) {
    struct sha256 *s = sha256_new();
    char hex[SHA256_HEX_LEN + 1];
    if (!s)
        return err_set(ei, ERR_NOMEM, NULL);
    add(s, http_path(r), "\n");
    add(s, http_body(r), "");
    sha256_final(s, hex);
    c->former_hash = arena_str(c->arena, str_from(hex));
    return c->former_hash.p ? ERR_OK : err_set(ei, ERR_NOMEM, NULL);
}

enum err idempotency_read(struct call *c, struct http_request *r, struct errinfo *ei) {
    struct str key = http_header(r, "Idempotency-Key"), body = http_body(r);
    if (!key.p || c->route->method != HTTP_POST)
        return ERR_OK;
    if (!key_is_good(key))
        return err_param(ei, ERR_INVALID, "Idempotency-Key",
                         "an Idempotency-Key has 1 to %d visible ASCII characters", KEY_MAX);
    char hex[SHA256_HEX_LEN + 1];
    sha256_hex(key, hex);
    c->key_hash = arena_str(c->arena, str_from(hex));
    struct sha256 *s = sha256_new();
    if (!s || !c->key_hash.p) {
        sha256_free(s);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    add(s, key, "\n");
    add(s, http_path(r), "\n");
    for (size_t i = 0; i < c->n_query; i++) {
        add(s, str_from(c->query[i].name), "=");
        add(s, c->query[i].value, "\n");
    }
    enum err e = add_body(c, s, body);
    if (e) {
        sha256_free(s);
        return err_set(ei, e, NULL);
    }
    e = take_hash(c, s, ei);
    return !e && body.n <= BODY_SMALL ? take_former_hash(c, r, ei) : e;
}

enum err idempotency_hash_rest(struct call *c, struct errinfo *ei) {
    struct sha256 *s = c->unhashed.n ? sha256_new() : NULL;
    if (!c->unhashed.n)
        return ERR_OK;
    if (!s)
        return err_set(ei, ERR_NOMEM, NULL);
    add(s, c->request_hash, "\n");
    add(s, c->unhashed, "");
    return take_hash(c, s, ei);
}

enum err idempotency_look(struct call *c, struct store_tx *tx, bool *ret_found,
                          struct errinfo *ei) {
    struct idempotency i;
    *ret_found = false;
    if (c->replayed) { /* by what is undone now and looked for anew (store_write_again()) */
        c->replayed = false;
        c->status = c->route->status;
    }
    if (!c->key_hash.p || !uuid_is_set(&c->user.user_id))
        return ERR_OK;
    enum err e = idempotency_find(tx, &c->user.user_id, c->key_hash, c->arena, &i);
    if (e == ERR_NOT_FOUND)
        return ERR_OK;
    if (e)
        return err_set(ei, e, NULL);
    if (!str_eq(i.request_hash, c->request_hash) && !str_eq(i.request_hash, c->former_hash))
        return err_param(ei, ERR_CONFLICT, "Idempotency-Key",
                         "this key was used for another request; take a new one");
    if (!i.status)
        return err_param(ei, ERR_CONFLICT, "Idempotency-Key",
                         "this request was carried out; its answer held a secret and was not kept");
    c->replay_id = i.message_id;
    c->replayed = *ret_found = true;
    c->status = i.status;
    buf_clear(&c->out);
    buf_adds(&c->out, i.reply);
    return ERR_OK;
}

enum err idempotency_note(struct call *c, struct store_tx *tx, const struct uuid *user_id,
                          struct errinfo *ei) {
    bool secret = c->route->flags & ROUTE_SECRET;
    if (!c->key_hash.p || !uuid_is_set(user_id))
        return ERR_OK;
    struct idempotency i = {
        .user_id = *user_id,
        .key_hash = c->key_hash,
        .request_hash = c->request_hash,
        .created_at = clock_wall_ms(),
        .status = secret ? 0 : c->status,
        .reply = secret || !c->out.n ? STR("") : buf_str(&c->out),
    };
    enum err e = buf_err(&c->out) ? buf_err(&c->out) : idempotency_put(tx, &i);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

/* Before a turn: was it begun already? */
enum err api_turn_replay_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct message answer, question;
    bool found;
    enum err e = idempotency_look(c, tx, &found, ei);
    if (e || !found)
        return e;
    e = message_get(tx, &c->user.user_id, &c->replay_id, c->arena, &answer);
    if (e)
        return err_set(ei, e, e == ERR_NOT_FOUND ? "what this request made was deleted" : NULL);
    bool asked =
        str_ends(str_from(c->route->path), STR("/messages")) &&
        message_get(tx, &c->user.user_id, &answer.parent_id, c->arena, &question) == ERR_OK;
    buf_clear(&c->out);
    buf_addz(&c->out, "{\"user_message\":");
    if (asked)
        message_to_json(&c->out, &question, NULL);
    else
        buf_addz(&c->out, "null");
    buf_addz(&c->out, ",\"message\":");
    message_to_json(&c->out, &answer, NULL);
    buf_addc(&c->out, '}');
    return ERR_OK;
}

/* Without a key there is nothing to look for. */
enum err api_turn_replay_known(struct call *c, bool *ret_done, struct errinfo *ei) {
    (void)ei;
    *ret_done = c->key_hash.n == 0;
    return ERR_OK;
}
