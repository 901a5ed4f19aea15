/* Who is asking: secrets (sessions, API keys, the set-up token), the rules for names and passwords,
 * and what a request's headers say. The store holds only SHA-256 of secrets; the secrets have
 * enough random bits (32 letters of 5 bits and more) that a plain hash is safe. Passwords are
 * argon2id (base/crypto.h) and are hashed on a job pool, never here.
 *
 * Nothing here logs or keeps a secret. Functions that take a store_tx run on the store's threads;
 * the rest is thread-safe. */
#pragma once

#include "base/arena.h"
#include "base/crypto.h"
#include "base/err.h"
#include "base/str.h"
#include "store/store.h"

#define AUTH_COOKIE         "parley_session"
#define AUTH_KEY_PREFIX     "parley_"
#define AUTH_KEY_RANDOM_LEN 40
#define AUTH_KEY_SHOWN_LEN  12 /* "parley_abcde": tells keys apart */
#define AUTH_SECRET_MAX     64 /* bytes of any secret with its NUL */

struct auth_secret {
    char text[AUTH_SECRET_MAX];    /* given to the client once */
    char hash[SHA256_HEX_LEN + 1]; /* what is stored */
};
void auth_session_secret(struct auth_secret *ret);
/* The same one for the same data and key. */
void auth_session_secret_of(const unsigned char key[CRYPTO_KEY_LEN], struct str data,
                            struct auth_secret *ret);
void auth_key_secret(struct auth_secret *ret); /* "parley_" and 40 random letters */

/* ---- rules; ERR_INVALID names the field and says what is allowed ---- */
#define AUTH_USERNAME_MIN 2
#define AUTH_USERNAME_MAX 64
#define AUTH_EMAIL_MAX    254
#define AUTH_PASSWORD_MIN 8
#define AUTH_PASSWORD_MAX 1024
enum err auth_check_username(struct str s,
                             struct errinfo *ei) ERR_CHECK; /* letters, digits, '.', '_', '-' */
enum err auth_check_email(struct str s,
                          struct errinfo *ei) ERR_CHECK; /* something@something, no spaces */
enum err auth_check_password(struct str s,
                             struct errinfo *ei) ERR_CHECK; /* 8 to 1024 bytes, no NUL */

/* ---- what a request carries ---- */
enum auth_kind { AUTH_NONE, AUTH_SESSION, AUTH_KEY };
struct auth_credential {
    enum auth_kind kind;
    char hash[SHA256_HEX_LEN + 1];
};
/* An Authorization header wins over the cookie. ERR_BAD_KEY for an Authorization that is no "Bearer
 * <key>". Either may be STR_NULL. */
enum err auth_credential_read(struct str authorization, struct str cookie,
                              struct auth_credential *ret, struct errinfo *ei) ERR_CHECK;

/* The user behind a credential. ERR_UNAUTHORIZED (none, or the session has ended), ERR_BAD_KEY.
 * ret_key is set for keys. */
enum err auth_find_user(struct store_tx *tx, const struct auth_credential *c, struct arena *a,
                        struct user *ret_user, struct uuid *ret_key, struct errinfo *ei) ERR_CHECK;

/* The Set-Cookie value for a session, and the one that removes it. out holds AUTH_COOKIE_MAX. */
#define AUTH_COOKIE_MAX 256
void auth_cookie_set(char *out, const char *token, int64_t max_age_s, bool secure);
void auth_cookie_clear(char *out, bool secure);

/* True when a request that a browser sent by itself (cookie) comes from a page of this server.
 * Browsers send Sec-Fetch-Site or Origin with everything that can change something; a client that
 * sends neither is no browser. Values may be STR_NULL. */
bool auth_same_origin(struct str sec_fetch_site, struct str origin, struct str host);

/* ---- the one-time token with which the first account, an administrator, is made ---- */
enum err auth_setup_required(struct store_tx *tx, bool *ret) ERR_CHECK; /* no administrator yet */
/* Makes a token and stores its hash in place of an earlier one. ERR_CONFLICT when there is an
 * administrator. */
enum err auth_setup_token_make(struct store_tx *tx, struct auth_secret *ret,
                               struct errinfo *ei) ERR_CHECK;
enum err auth_setup_token_check(struct store_tx *tx, struct str token,
                                struct errinfo *ei) ERR_CHECK; /* ERR_FORBIDDEN, ERR_CONFLICT */
enum err auth_setup_token_drop(
    struct store_tx *tx) ERR_CHECK; /* in the transaction that makes the administrator */
