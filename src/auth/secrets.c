/* Secrets and what requests carry of them. See auth.h. */
#include "auth/auth.h"

#include <stdio.h>

#define SESSION_LEN   48
#define SETUP_LEN     40
#define SETUP_SETTING "setup_token_hash"
#define BEARER        STR("Bearer ")

static void secret_make(struct auth_secret *s, const char *prefix, size_t len) {
    size_t n = strlen(prefix);
    memcpy(s->text, prefix, n);
    crypto_token(s->text + n, len);
    sha256_hex(str_from(s->text), s->hash);
}

void auth_session_secret(struct auth_secret *ret) {
    secret_make(ret, "", SESSION_LEN);
}

void auth_session_secret_of(const unsigned char key[CRYPTO_KEY_LEN], struct str data,
                            struct auth_secret *ret) {
    crypto_token_of(key, data, ret->text, SESSION_LEN);
    sha256_hex(str_from(ret->text), ret->hash);
}

void auth_key_secret(struct auth_secret *ret) {
    secret_make(ret, AUTH_KEY_PREFIX, AUTH_KEY_RANDOM_LEN);
}

/* ---- what a request carries ---- */

enum err auth_credential_read(struct str authorization, struct str cookie,
                              struct auth_credential *ret, struct errinfo *ei) {
    struct auth_credential c = {0};
    if (authorization.p) {
        struct str scheme = str_sub(authorization, 0, BEARER.n);
        struct str key = str_trim(str_sub(authorization, BEARER.n, authorization.n));
        if (!str_eq_nocase(scheme, BEARER) || key.n == 0)
            return err_set(ei, ERR_BAD_KEY, "send Authorization: Bearer followed by an API key");
        c.kind = AUTH_KEY;
        sha256_hex(key, c.hash);
    } else if (cookie.n) {
        c.kind = AUTH_SESSION;
        sha256_hex(cookie, c.hash);
    }
    *ret = c;
    return ERR_OK;
}

enum err auth_find_user(struct store_tx *tx, const struct auth_credential *c, struct arena *a,
                        struct user *ret_user, struct uuid *ret_key, struct errinfo *ei) {
    enum err e = ERR_NOT_FOUND;
    struct uuid key = {0};
    if (c->kind == AUTH_KEY)
        e = api_key_find(tx, str_from(c->hash), a, ret_user, &key);
    else if (c->kind == AUTH_SESSION)
        e = session_find(tx, str_from(c->hash), a, ret_user);
    if (e == ERR_OK) {
        *ret_key = key;
        return ERR_OK;
    }
    if (e != ERR_NOT_FOUND)
        return err_set(ei, e, NULL);
    if (c->kind == AUTH_KEY)
        return err_set(ei, ERR_BAD_KEY, "the API key is unknown or was revoked; make a new one");
    return err_set(ei, ERR_UNAUTHORIZED,
                   c->kind == AUTH_SESSION ? "the session has ended; sign in again" : NULL);
}

void auth_cookie_set(char *out, const char *token, int64_t max_age_s, bool secure) {
    snprintf(out, AUTH_COOKIE_MAX, "%s=%s; Path=/; Max-Age=%lld; HttpOnly; SameSite=Strict%s",
             AUTH_COOKIE, token, (long long)max_age_s, secure ? "; Secure" : "");
}

void auth_cookie_clear(char *out, bool secure) {
    auth_cookie_set(out, "", 0, secure);
}

bool auth_same_origin(struct str sec_fetch_site, struct str origin, struct str host) {
    if (sec_fetch_site.n)
        return str_eq(sec_fetch_site, STR("same-origin")) || str_eq(sec_fetch_site, STR("none"));
    if (!origin.n)
        return true;
    size_t at = str_find(origin, STR("://"));
    if (at == SIZE_MAX || !host.n)
        return false; /* "null", what sandboxed frames send, is one of these */
    /* The scheme is not compared: behind a proxy that ends TLS this server does not know it. */
    return str_eq_nocase(str_sub(origin, at + 3, origin.n), host);
}

/* ---- the set-up token ---- */

enum err auth_setup_required(struct store_tx *tx, bool *ret) {
    int64_t users = 0, admins = 0;
    enum err e = user_count(tx, &users, &admins);
    if (e)
        return e;
    *ret = admins == 0;
    return ERR_OK;
}

static enum err setup_check_open(struct store_tx *tx, struct errinfo *ei) {
    bool required = false;
    enum err e = auth_setup_required(tx, &required);
    if (e)
        return err_set(ei, e, NULL);
    if (!required)
        return err_set(ei, ERR_CONFLICT, "Parley is set up already; sign in");
    return ERR_OK;
}

enum err auth_setup_token_make(struct store_tx *tx, struct auth_secret *ret, struct errinfo *ei) {
    struct auth_secret s;
    enum err e = setup_check_open(tx, ei);
    if (e)
        return e;
    secret_make(&s, "", SETUP_LEN);
    e = setting_set(tx, SETUP_SETTING, str_from(s.hash));
    if (e)
        return err_set(ei, e, NULL);
    *ret = s;
    return ERR_OK;
}

enum err auth_setup_token_check(struct store_tx *tx, struct str token, struct errinfo *ei) {
    char hash[SHA256_HEX_LEN + 1];
    struct str stored = STR_NULL;
    enum err e = setup_check_open(tx, ei);
    if (e)
        return e;
    struct arena *a = arena_new(4096);
    if (!a)
        return err_set(ei, ERR_NOMEM, NULL);
    e = setting_get(tx, SETUP_SETTING, a, &stored);
    sha256_hex(token, hash);
    if (e == ERR_OK && (stored.n != SHA256_HEX_LEN || !crypto_equal(stored.p, hash, stored.n)))
        e = ERR_NOT_FOUND;
    if (e == ERR_NOT_FOUND)
        e = err_param(ei, ERR_FORBIDDEN, "token",
                      "this is not the set-up token; use the link that Parley printed when it "
                      "started last");
    else if (e)
        err_set(ei, e, NULL);
    arena_free(a);
    return e;
}

enum err auth_setup_token_drop(struct store_tx *tx) {
    enum err e = setting_set(tx, SETUP_SETTING, STR_NULL);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}
