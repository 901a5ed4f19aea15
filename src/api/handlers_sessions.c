/* Signing in and out, and API keys. */
#include "api/entities.h"
#include "api/handlers.h"
#include "base/clock.h"
#include "base/metrics.h"

struct sign_in {
    struct user user; /* user_id not set: there is no such user */
    char hash[PASSWORD_HASH_LEN];
    char attempt[400]; /* the limiter's name for address and user name */
};

/* The count goes by the name as it was typed, whether or not there is such a user. */
enum err api_sign_in_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct str name = json_get_str(c->body, "username");
    struct sign_in *s = arena_alloc(c->arena, sizeof *s);
    if (!s)
        return err_set(ei, ERR_NOMEM, NULL);
    c->state = s;
    size_t n = c->ip.n < 64 ? c->ip.n : 64;
    memcpy(s->attempt, c->ip.p, n);
    s->attempt[n++] = ' ';
    memcpy(s->attempt + n, name.p, name.n < 300 ? name.n : 300);
    enum err e = auth_limiter_attempt(c->api->by_ip, c->ip, ei);
    if (!e)
        e = auth_limiter_attempt(c->api->by_name, str_from(s->attempt), ei);
    if (e)
        return e;
    e = user_find(tx, name, c->arena, &s->user);
    if (e && e != ERR_NOT_FOUND)
        return err_set(ei, e, NULL);
    struct str hash = e ? str_from(c->api->dummy_hash) : s->user.password_hash;
    if (hash.n >= sizeof s->hash)
        return err_set(ei, ERR_CORRUPT, NULL);
    memcpy(s->hash, hash.p, hash.n);
    if (e)
        s->user = (struct user){0};
    return ERR_OK;
}

enum err api_sign_in_job(struct call *c, struct errinfo *ei) {
    struct sign_in *s = c->state;
    bool right = password_verify(json_get_str(c->body, "password"), s->hash);
    if (!right || !uuid_is_set(&s->user.user_id)) {
        metric_add(M_SIGN_INS_REFUSED, 1);
        return err_set(ei, ERR_UNAUTHORIZED, "the user name or the password is wrong");
    }
    if (s->user.disabled)
        return err_set(ei, ERR_FORBIDDEN, "this account is disabled; ask an administrator");
    return ERR_OK;
}

/* ---- signing in that is sent again, or twice at once, with one Idempotency-Key ----
 *
 * There is one session, and both get it. Its secret is not kept anywhere: it follows from the key,
 * the account, a key of this process, and a salt that the note of the request holds, so whoever
 * comes again while that is there has the same made, and nobody has it made after it. Where it
 * cannot be (the session was another process's, or has ended) the one that is noted gives way to a
 * new one. Of the request nothing is kept: who it is and that the password is right is looked at
 * each time. */

#define SALT_PREFIX "sign-in " /* where notes of other requests have a hash */
#define SALT_LEN    32

static enum err secret_of(struct call *c, const struct user *u, struct str salt,
                          struct auth_secret *ret) {
    char *data = arena_printf(c->arena, "%s %.*s %.*s %.*s", u->user_id.s, STR_ARG(c->key_hash),
                              STR_ARG(u->password_hash), STR_ARG(salt));
    if (!data)
        return ERR_NOMEM;
    auth_session_secret_of(c->api->sign_in_key, str_from(data), ret);
    return ERR_OK;
}

static enum err new_by_key(struct call *c, struct store_tx *tx, const struct user *u,
                           struct auth_secret *ret) {
    char salt[sizeof SALT_PREFIX + SALT_LEN] = SALT_PREFIX;
    crypto_token(salt + strlen(SALT_PREFIX), SALT_LEN);
    enum err e = secret_of(c, u, str_from(salt), ret);
    struct idempotency i = {.user_id = u->user_id,
                            .key_hash = c->key_hash,
                            .request_hash = str_from(salt),
                            .created_at = clock_wall_ms(),
                            .reply = str_from(ret->hash)};
    return e ? e : idempotency_put(tx, &i);
}

/* *ret_there: the session that is noted is there, and this is its secret. */
static enum err noted_by_key(struct call *c, struct store_tx *tx, const struct user *u,
                             const struct idempotency *i, struct auth_secret *ret,
                             bool *ret_there) {
    struct user its;
    enum err e = secret_of(c, u, i->request_hash, ret);
    if (e || !str_eqz(i->reply, ret->hash))
        return e;
    e = session_find(tx, i->reply, c->arena, &its);
    *ret_there = e == ERR_OK;
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static enum err secret_by_key(struct call *c, struct store_tx *tx, const struct user *u,
                              struct auth_secret *ret, bool *ret_there, struct errinfo *ei) {
    struct idempotency i;
    enum err e = idempotency_find(tx, &u->user_id, c->key_hash, c->arena, &i);
    /* The version before kept no salt. */
    if (!e && i.request_hash.n && !str_starts(i.request_hash, STR(SALT_PREFIX)))
        return err_param(ei, ERR_CONFLICT, "Idempotency-Key",
                         "this key was used for another request; take a new one");
    if (!e) {
        e = noted_by_key(c, tx, u, &i, ret, ret_there);
        if (!e && *ret_there)
            return ERR_OK;
        if (!e)
            e = session_delete(tx, i.reply);
        if (!e)
            e = idempotency_drop(tx, &u->user_id, c->key_hash);
    }
    if (e == ERR_OK || e == ERR_NOT_FOUND)
        e = new_by_key(c, tx, u, ret);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

enum err api_sign_in_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct sign_in *s = c->state;
    struct auth_secret secret;
    struct user u;
    bool there = false;
    int64_t now = clock_wall_ms(), life_s = (int64_t)c->api->o.session_days * 86400;
    enum err e = user_get(tx, &s->user.user_id, c->arena, &u);
    if (e == ERR_NOT_FOUND || (e == ERR_OK && (u.disabled || !str_eqz(u.password_hash, s->hash))))
        return err_set(ei, ERR_UNAUTHORIZED, "the account was changed meanwhile; sign in again");
    if (e)
        return err_set(ei, e, NULL);
    if (!c->key_hash.p)
        auth_session_secret(&secret);
    else if ((e = secret_by_key(c, tx, &u, &secret, &there, ei)))
        return e;
    if (!there)
        e = session_create(tx, str_from(secret.hash), &u.user_id, now + life_s * 1000);
    if (!e)
        e = user_set_last_login(tx, &u.user_id, now);
    if (!e)
        e = session_purge(tx);
    if (e)
        return err_set(ei, e, NULL);
    u.last_login_at = now;
    auth_cookie_set(c->cookie, secret.text, life_s, c->api->o.public_https);
    entity_user(&c->out, &u);
    return ERR_OK;
}

/* Once it is durable. Of the address only this attempt is given back: somebody who has an account
 * must not wipe out, by signing in to it, the count of guesses at others'. */
void api_sign_in_done(struct call *c) {
    const struct sign_in *s = c->state;
    auth_limiter_clear(c->api->by_name, str_from(s->attempt));
    auth_limiter_forgive(c->api->by_ip, c->ip);
    metric_add(M_SIGN_INS, 1);
    api_call_next(c);
}

enum err api_sign_out_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    if (c->credential.kind != AUTH_SESSION)
        return err_set(ei, ERR_INVALID, "an API key is no session; revoke it under /api/v1/keys");
    enum err e = session_delete(tx, str_from(c->credential.hash));
    if (e && e != ERR_NOT_FOUND)
        return err_set(ei, e, NULL);
    auth_cookie_clear(c->cookie, c->api->o.public_https);
    return ERR_OK;
}

/* ---- API keys ---- */

enum err api_keys_list(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct api_key *keys;
    size_t n;
    enum err e = api_key_list(tx, &c->user.user_id, c->arena, &keys, &n);
    if (e)
        return err_set(ei, e, NULL);
    entity_list_open(&c->out);
    for (size_t i = 0; i < n; i++)
        entity_key(&c->out, &keys[i], NULL);
    entity_list_close(&c->out, &(struct uuid){0});
    return ERR_OK;
}

enum err api_key_create_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct auth_secret secret;
    auth_key_secret(&secret);
    struct api_key k = {
        .key_id = uuid_new(),
        .user_id = c->user.user_id,
        .name = json_get_str(c->body, "name"),
        .prefix = {secret.text, AUTH_KEY_SHOWN_LEN},
        .hash = str_from(secret.hash),
        .created_at = clock_wall_ms(),
    };
    enum err e = api_key_create(tx, &k);
    if (e)
        return err_set(ei, e, NULL);
    entity_key(&c->out, &k, secret.text);
    return ERR_OK;
}

enum err api_key_revoke_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    enum err e = api_key_revoke(tx, &c->user.user_id, &c->id);
    return e ? err_set(ei, e, e == ERR_NOT_FOUND ? "there is no such key of yours" : NULL) : ERR_OK;
}
