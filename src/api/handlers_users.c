/* Accounts: the first one, sign-up, one's own, and the administrator's view. A password is hashed
 * on the job pool between the read that checks and the write that stores; the write checks again
 * what may have changed. */
#include "api/entities.h"
#include "api/handlers.h"
#include "base/clock.h"

#define PREFERENCES_MAX 16384

struct user_state {
    char hash[PASSWORD_HASH_LEN]; /* of the new password; "" = none */
    struct str old_hash; /* what the password given must match: PATCH me, an account made; arena */
    struct uuid made;    /* the account that this very request made when it was sent before */
};

static struct user_state *state_of(struct call *c) {
    if (!c->state)
        c->state = arena_alloc(c->arena, sizeof(struct user_state));
    return c->state;
}

/* JOB: body.password → state.hash. */
enum err api_user_hash_job(struct call *c, struct errinfo *ei) {
    struct user_state *s = state_of(c);
    enum err e = s ? password_hash(json_get_str(c->body, "password"), s->hash) : ERR_NOMEM;
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

/* Names are one name space with addresses: a sign-in takes either. */
static enum err check_free(struct call *c, struct store_tx *tx, const char *field,
                           const struct uuid *self, struct errinfo *ei) {
    struct user u;
    struct str v = json_get_str(c->body, field);
    if (!v.p)
        return ERR_OK;
    enum err e = user_find(tx, v, c->arena, &u);
    if (e == ERR_NOT_FOUND || (e == ERR_OK && uuid_eq(&u.user_id, self)))
        return ERR_OK;
    if (e)
        return err_set(ei, e, NULL);
    return err_param(ei, ERR_CONFLICT, field, "this %s is taken",
                     strcmp(field, "email") == 0 ? "e-mail address" : "user name");
}

static enum err check_both_free(struct call *c, struct store_tx *tx, const struct uuid *self,
                                struct errinfo *ei) {
    enum err e = check_free(c, tx, "username", self, ei);
    return e ? e : check_free(c, tx, "email", self, ei);
}

/* ---- an account that somebody without one makes, sent again with its Idempotency-Key ----
 *
 * What was answered then held a session, and is not kept. The account is found by its name, and
 * whoever knows its password is signed in to it. */

static enum err find_made(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct user_state *s = state_of(c);
    struct idempotency i;
    struct user u;
    if (!s)
        return err_set(ei, ERR_NOMEM, NULL);
    if (!c->key_hash.p)
        return ERR_OK;
    enum err e = user_find(tx, json_get_str(c->body, "username"), c->arena, &u);
    if (!e)
        e = idempotency_find(tx, &u.user_id, c->key_hash, c->arena, &i);
    if (e == ERR_NOT_FOUND || (!e && !str_eq(i.request_hash, c->request_hash)))
        return ERR_OK;
    if (e)
        return err_set(ei, e, NULL);
    s->made = u.user_id;
    s->old_hash = u.password_hash;
    return ERR_OK;
}

/* By an administrator: the answer is kept, and names it. One that is not there any more has no
 * password that could be another one. */
static enum err find_answered(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct user_state *s = state_of(c);
    yyjson_doc *doc = NULL;
    struct uuid id;
    struct user u;
    enum err e = s ? json_parse(buf_str(&c->out), &doc, NULL) : ERR_NOMEM;
    if (!e && !uuid_parse(json_get_str(yyjson_doc_get_root(doc), "user_id"), &id))
        e = ERR_CORRUPT;
    yyjson_doc_free(doc);
    if (!e)
        e = user_get(tx, &id, c->arena, &u);
    if (!e)
        s->old_hash = u.password_hash;
    c->skip_job = e == ERR_NOT_FOUND;
    return e && e != ERR_NOT_FOUND ? err_set(ei, e, NULL) : ERR_OK;
}

static bool was_made(const struct call *c) {
    const struct user_state *s = c->state;
    return s && uuid_is_set(&s->made);
}

static enum err made_otherwise(struct errinfo *ei) {
    return err_set(ei, ERR_CONFLICT, "this account was made, and changed since; sign in");
}

/* JOB: body.password → state.hash; of an account that is there, whether it still has it. */
enum err api_user_create_job(struct call *c, struct errinfo *ei) {
    const struct user_state *s = c->state;
    if (!s || !s->old_hash.p)
        return api_user_hash_job(c, ei);
    const char *hash = arena_strz(c->arena, s->old_hash);
    if (!hash)
        return err_set(ei, ERR_NOMEM, NULL);
    if (password_verify(json_get_str(c->body, "password"), hash))
        return ERR_OK;
    return was_made(c) ? made_otherwise(ei)
                       : err_set(ei, ERR_CONFLICT,
                                 "this account was made, and its password is another one");
}

/* A session of u's, and its cookie. */
static enum err sign_in(struct call *c, struct store_tx *tx, struct user *u, struct errinfo *ei) {
    struct auth_secret secret;
    int64_t now = clock_wall_ms(), life_s = (int64_t)c->api->o.session_days * 86400;
    auth_session_secret(&secret);
    enum err e = session_create(tx, str_from(secret.hash), &u->user_id, now + life_s * 1000);
    if (!e)
        e = user_set_last_login(tx, &u->user_id, now);
    if (e)
        return err_set(ei, e, NULL);
    u->last_login_at = now;
    auth_cookie_set(c->cookie, secret.text, life_s, c->api->o.public_https);
    return ERR_OK;
}

static enum err sign_in_made(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    const struct user_state *s = c->state;
    struct user u;
    enum err e = user_get(tx, &s->made, c->arena, &u);
    if (e == ERR_NOT_FOUND || (!e && (u.disabled || !str_eq(u.password_hash, s->old_hash))))
        return made_otherwise(ei);
    e = e ? err_set(ei, e, NULL) : sign_in(c, tx, &u, ei);
    if (!e)
        entity_user(&c->out, &u);
    return e;
}

/* Makes the user of the body; by_nobody: who asks is that user, and is signed in. Of two such
 * requests at once the second is told to come again. */
static enum err create(struct call *c, struct store_tx *tx, bool admin, bool by_nobody,
                       struct errinfo *ei) {
    struct user_state *s = state_of(c);
    if (!s)
        return err_set(ei, ERR_NOMEM, NULL);
    struct user u = {
        .user_id = uuid_new(),
        .username = json_get_str(c->body, "username"),
        .email = json_get_str(c->body, "email"),
        .created_at = clock_wall_ms(),
        .preferences = STR("{}"),
        .is_admin = admin,
        .password_hash = str_from(s->hash),
    };
    enum err e = by_nobody ? find_made(c, tx, ei) : ERR_OK;
    if (!e && (was_made(c) || !s->hash[0]))
        e = err_set(ei, ERR_UNAVAILABLE, "this very request is being carried out; send it again");
    if (!e)
        e = check_both_free(c, tx, &u.user_id, ei);
    if (!e)
        e = user_create(tx, &u, ei);
    if (!e && by_nobody)
        e = sign_in(c, tx, &u, ei);
    if (e)
        return e;
    entity_user(&c->out, &u);
    return by_nobody ? idempotency_note(c, tx, &u.user_id, ei) : ERR_OK;
}

/* ---- the first account ---- */

enum err api_setup_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    enum err e = auth_limiter_attempt(c->api->by_ip, c->ip, ei);
    if (!e)
        e = find_made(c, tx, ei);
    if (e || was_made(c))
        return e;
    return auth_setup_token_check(tx, json_get_str(c->body, "token"), ei);
}

enum err api_setup_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    if (was_made(c))
        return sign_in_made(c, tx, ei);
    enum err e = auth_setup_token_check(tx, json_get_str(c->body, "token"), ei);
    if (e)
        return e;
    if ((e = create(c, tx, true, true, ei)))
        return e;
    e = auth_setup_token_drop(tx);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

/* ---- sign-up ---- */

enum err api_user_create_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    bool required = false, by_admin = uuid_is_set(&c->user.user_id), found = false;
    enum err e = by_admin ? ERR_OK : auth_limiter_attempt(c->api->signups, c->ip, ei);
    if (!e)
        e = by_admin ? idempotency_look(c, tx, &found, ei) : find_made(c, tx, ei);
    if (e)
        return e;
    if (found)
        return find_answered(c, tx, ei);
    if (was_made(c))
        return ERR_OK; /* the WRITE answers */
    if ((e = auth_setup_required(tx, &required)))
        return err_set(ei, e, NULL);
    if (required)
        return err_set(ei, ERR_CONFLICT,
                       "make the administrator first, with the link that Parley "
                       "printed when it started");
    if (json_get_bool(c->body, "is_admin", false) && !c->user.is_admin)
        return err_param(ei, ERR_FORBIDDEN, "is_admin", "only an administrator makes another one");
    return check_both_free(c, tx, &c->user.user_id, ei);
}

enum err api_user_create_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    bool by_admin = uuid_is_set(&c->user.user_id);
    bool admin = by_admin && json_get_bool(c->body, "is_admin", false);
    if (was_made(c))
        return sign_in_made(c, tx, ei);
    return create(c, tx, admin, !by_admin, ei);
}

/* ---- one's own ---- */

enum err api_me_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    (void)tx;
    (void)ei;
    entity_user(&c->out, &c->user);
    return ERR_OK;
}

enum err api_me_patch_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct user_state *s = state_of(c);
    (void)tx;
    if (!s)
        return err_set(ei, ERR_NOMEM, NULL);
    c->skip_job = !json_get(c->body, "password");
    if (c->skip_job)
        return ERR_OK;
    if (!json_get(c->body, "current_password"))
        return err_param(ei, ERR_INVALID, "current_password",
                         "a new password needs current_password");
    s->old_hash = c->user.password_hash;
    return auth_limiter_attempt(c->api->by_name, uuid_str(&c->user.user_id), ei);
}

enum err api_me_patch_job(struct call *c, struct errinfo *ei) {
    struct user_state *s = c->state;
    const char *old = arena_strz(c->arena, s->old_hash);
    if (!old)
        return err_set(ei, ERR_NOMEM, NULL);
    if (!password_verify(json_get_str(c->body, "current_password"), old))
        return err_param(ei, ERR_FORBIDDEN, "current_password", "this is not the current password");
    auth_limiter_clear(c->api->by_name, uuid_str(&c->user.user_id));
    return api_user_hash_job(c, ei);
}

/* Puts what the body says into u. */
static enum err apply_patch(struct call *c, struct user *u, struct errinfo *ei) {
    struct user_state *s = state_of(c);
    struct str name = json_get_str(c->body, "username"), email = json_get_str(c->body, "email");
    json_val *preferences = json_get(c->body, "preferences");
    if (name.p)
        u->username = name;
    if (email.p)
        u->email = email;
    if (s && s->hash[0])
        u->password_hash = str_from(s->hash);
    if (preferences) {
        struct buf b;
        buf_init(&b, PREFERENCES_MAX);
        json_write(&b, preferences);
        enum err e = buf_err(&b);
        u->preferences = arena_str(c->arena, buf_str(&b));
        buf_deinit(&b);
        if (e || !u->preferences.p)
            return err_param(ei, e ? e : ERR_NOMEM, "preferences",
                             "preferences may have at most %d bytes", PREFERENCES_MAX);
    }
    return ERR_OK;
}

enum err api_me_patch_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct user_state *s = c->state;
    struct str keep = c->credential.kind == AUTH_SESSION ? str_from(c->credential.hash) : STR_NULL;
    bool changed = s->hash[0] && !str_eq(s->old_hash, c->user.password_hash);
    if (changed)
        return err_set(ei, ERR_CONFLICT, "the password was changed meanwhile; try again");
    enum err e = check_both_free(c, tx, &c->user.user_id, ei);
    if (!e)
        e = apply_patch(c, &c->user, ei);
    if (!e)
        e = user_update(tx, &c->user, ei);
    if (e)
        return e;
    if (s->hash[0] && (e = session_delete_all(tx, &c->user.user_id, keep)))
        return err_set(ei, e, NULL);
    if (s->hash[0] && (e = api_key_revoke_all(tx, &c->user.user_id, &c->key_id)))
        return err_set(ei, e, NULL);
    entity_user(&c->out, &c->user);
    return ERR_OK;
}

/* ---- the administrator's ---- */

enum err api_users_list(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct user *users;
    size_t n;
    enum err e = user_list(tx, &c->page, c->arena, &users, &n);
    if (e)
        return err_set(ei, e, NULL);
    entity_list_open(&c->out);
    for (size_t i = 0; i < n; i++)
        entity_user(&c->out, &users[i]);
    struct uuid next = entity_next(&c->page, n, n ? &users[n - 1].user_id : NULL);
    entity_list_close(&c->out, &next);
    return ERR_OK;
}

static enum err get(struct call *c, struct store_tx *tx, struct user *ret, struct errinfo *ei) {
    enum err e = user_get(tx, &c->id, c->arena, ret);
    return e ? err_set(ei, e, e == ERR_NOT_FOUND ? "there is no such user" : NULL) : ERR_OK;
}

enum err api_user_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct user u;
    enum err e = get(c, tx, &u, ei);
    if (!e)
        entity_user(&c->out, &u);
    return e;
}

enum err api_user_patch_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct user u;
    c->skip_job = !json_get(c->body, "password");
    return get(c, tx, &u, ei);
}

enum err api_user_patch_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct user u;
    struct user_state *s;
    enum err e = get(c, tx, &u, ei);
    if (!e)
        e = check_both_free(c, tx, &u.user_id, ei);
    if (!e)
        e = apply_patch(c, &u, ei);
    if (e)
        return e;
    s = state_of(c);
    u.is_admin = json_get_bool(c->body, "is_admin", u.is_admin);
    u.disabled = json_get_bool(c->body, "disabled", u.disabled);
    if ((e = user_update(tx, &u, ei)))
        return e;
    if ((s->hash[0] || u.disabled) && (e = session_delete_all(tx, &u.user_id, STR_NULL)))
        return err_set(ei, e, NULL);
    if (s->hash[0] && (e = api_key_revoke_all(tx, &u.user_id, &c->key_id)))
        return err_set(ei, e, NULL);
    entity_user(&c->out, &u);
    return ERR_OK;
}

enum err api_user_delete_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct user u;
    enum err e = get(c, tx, &u, ei);
    return e ? e : user_delete(tx, &c->id, ei);
}
