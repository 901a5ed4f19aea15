/* parley user …: accounts, directly on the store. Who may write the data directory may do all of
 * this. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/out.h"
#include "auth/auth.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "cli/desk.h"

struct user_change {
    struct desk *desk;
    const char *name;
    struct user user; /* the one that was found */
    void (*change)(struct user *u, void *arg);
    void *arg;
    bool end_sessions;
};

static enum err list_users(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct desk *d = arg;
    struct user *users;
    size_t n;
    (void)ei;
    enum err e = desk_all_users(tx, d->arena, &users, &n);
    if (e)
        return e;
    if (!args_has(d->args, "json")) {
        struct table *t =
            table_new(d->arena, (const char *const[]){"USERNAME", "E-MAIL", "RIGHTS", "CREATED",
                                                      "LAST SIGN-IN", NULL});
        for (size_t i = 0; i < n; i++) {
            const struct user *u = &users[i];
            table_add(t, u->username);
            table_add(t, u->email);
            table_add(t, u->disabled   ? STR("disabled")
                         : u->is_admin ? STR("admin")
                                       : STR("member"));
            table_add(t, desk_time(d->arena, u->created_at));
            table_add(t, desk_time(d->arena, u->last_login_at));
        }
        table_print(t);
        return ERR_OK;
    }
    struct buf b;
    buf_init(&b, DESK_JSON_MAX);
    out_open(&b, NULL, '[');
    for (size_t i = 0; i < n; i++) {
        const struct user *u = &users[i];
        out_open(&b, NULL, '{');
        out_id(&b, "user_id", &u->user_id);
        out_str(&b, "username", u->username);
        out_str(&b, "email", u->email);
        out_time(&b, "created_at", u->created_at);
        out_time(&b, "last_login_at", u->last_login_at);
        out_raw(&b, "preferences", u->preferences);
        out_bool(&b, "is_admin", u->is_admin);
        out_bool(&b, "disabled", u->disabled);
        out_close(&b, '}');
    }
    out_close(&b, ']');
    desk_print_json(&b);
    return ERR_OK;
}

int cmd_user_list(const struct args *a) {
    struct desk d;
    int status = desk_open(&d, a, DESK_EXISTING);
    if (!status)
        status = desk_read(&d, list_users, &d);
    desk_close(&d);
    return status;
}

/* Reads a password that keeps the rules and hashes it; wipes it. */
static int new_password(struct desk *d, char hash[PASSWORD_HASH_LEN]) {
    struct buf password;
    buf_init(&password, AUTH_PASSWORD_MAX + 2);
    enum err e = cli_read_password("Password", true, &password, &d->ei);
    if (!e)
        e = auth_check_password(buf_str(&password), &d->ei);
    if (!e && (e = password_hash(buf_str(&password), hash)) != ERR_OK)
        err_set(&d->ei, e, NULL);
    if (password.p)
        explicit_bzero(password.p, password.n);
    buf_deinit(&password);
    return e ? cli_fail(e, &d->ei) : CLI_OK;
}

static enum err add_user(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct user_change *c = arg;
    enum err e = user_create(tx, &c->user, ei);
    if (!e && c->user.is_admin)
        e = auth_setup_token_drop(tx); /* the one-time link has done its work */
    return e;
}

int cmd_user_add(const struct args *a) {
    struct desk d;
    char hash[PASSWORD_HASH_LEN];
    const char *email = args_get(a, "email");
    if (!email)
        return cli_say(CLI_USAGE, "say the e-mail address, too: --email ADDRESS");
    int status = desk_open(&d, a, DESK_CREATE);
    struct user_change c = {.desk = &d,
                            .user = {.user_id = uuid_new(),
                                     .username = str_from(a->operands[0]),
                                     .email = str_from(email),
                                     .created_at = clock_wall_ms(),
                                     .preferences = STR("{}"),
                                     .is_admin = args_has(a, "admin")}};
    if (!status && (auth_check_username(c.user.username, &d.ei) != ERR_OK ||
                    auth_check_email(c.user.email, &d.ei) != ERR_OK))
        status = cli_say(CLI_USAGE, "%s", d.ei.message);
    if (!status)
        status = new_password(&d, hash);
    if (!status) {
        c.user.password_hash = str_from(hash);
        status = desk_write(&d, add_user, &c);
    }
    if (!status && c.user.is_admin)
        unlink(d.config->setup_link);
    if (!status)
        printf("%s is %s now.\n", a->operands[0],
               c.user.is_admin ? "an administrator" : "a member");
    desk_close(&d);
    return status;
}

static enum err change_user(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct user_change *c = arg;
    enum err e = desk_find_user(tx, c->desk->arena, c->name, &c->user, ei);
    if (e)
        return e;
    c->change(&c->user, c->arg);
    e = user_update(tx, &c->user, ei);
    if (!e && c->end_sessions)
        e = session_delete_all(tx, &c->user.user_id, STR_NULL);
    return e;
}

static int run_change(struct desk *d, bool end_sessions, void (*change)(struct user *, void *),
                      void *arg, const char *done) {
    struct user_change c = {.desk = d,
                            .name = d->args->operands[0],
                            .change = change,
                            .arg = arg,
                            .end_sessions = end_sessions};
    int status = desk_write(d, change_user, &c);
    if (!status)
        printf("%.*s %s\n", STR_ARG(c.user.username), done);
    return status;
}

static enum err only_find(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct user_change *c = arg;
    return desk_find_user(tx, c->desk->arena, c->name, &c->user, ei);
}

static void set_password(struct user *u, void *arg) {
    u->password_hash = str_from(arg);
}

int cmd_user_passwd(const struct args *a) {
    struct desk d;
    char hash[PASSWORD_HASH_LEN];
    int status = desk_open(&d, a, DESK_EXISTING);
    struct user_change found = {.desk = &d, .name = a->operands[0]};
    if (!status) /* before anybody types a password for nobody */
        status = desk_read(&d, only_find, &found);
    if (!status)
        status = new_password(&d, hash);
    if (!status)
        status = run_change(&d, true, set_password, hash,
                            "has a new password and is signed out everywhere.");
    desk_close(&d);
    return status;
}

static void set_disabled(struct user *u, void *arg) {
    u->disabled = arg != NULL;
}

static void set_admin(struct user *u, void *arg) {
    u->is_admin = arg != NULL;
}

static int simple_change(const struct args *a, bool end_sessions,
                         void (*change)(struct user *, void *), bool on, const char *done) {
    struct desk d;
    int status = desk_open(&d, a, DESK_EXISTING);
    if (!status)
        status = run_change(&d, end_sessions, change, on ? &d : NULL, done);
    desk_close(&d);
    return status;
}

int cmd_user_disable(const struct args *a) {
    return simple_change(a, true, set_disabled, true, "is disabled.");
}

int cmd_user_enable(const struct args *a) {
    return simple_change(a, false, set_disabled, false, "is enabled.");
}

int cmd_user_admin(const struct args *a) {
    bool on = !args_has(a, "off");
    return simple_change(a, false, set_admin, on,
                         on ? "is an administrator now." : "is a member now.");
}

static enum err delete_user(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct user_change *c = arg;
    enum err e = desk_find_user(tx, c->desk->arena, c->name, &c->user, ei);
    return e ? e : user_delete(tx, &c->user.user_id, ei);
}

int cmd_user_delete(const struct args *a) {
    struct desk d;
    int status = desk_open(&d, a, DESK_EXISTING);
    struct user_change c = {.desk = &d, .name = a->operands[0]};
    if (!status)
        status = desk_read(&d, only_find, &c);
    if (!status && !desk_confirmed(&d, "This removes the account and all its conversations."))
        status = CLI_FAILED;
    if (!status)
        status = desk_write(&d, delete_user, &c);
    if (!status)
        printf("%s is gone.\n", a->operands[0]);
    desk_close(&d);
    return status;
}

struct key_making {
    struct desk *desk;
    const char *user, *name;
    struct auth_secret secret;
};

static enum err make_key(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct key_making *m = arg;
    struct user u;
    enum err e = desk_find_user(tx, m->desk->arena, m->user, &u, ei);
    if (e)
        return e;
    if (u.disabled)
        return err_set(ei, ERR_CONFLICT, "%.*s is disabled; `parley user enable` first",
                       STR_ARG(u.username));
    struct api_key k = {.key_id = uuid_new(),
                        .user_id = u.user_id,
                        .name = str_from(m->name),
                        .prefix = str_sub(str_from(m->secret.text), 0, AUTH_KEY_SHOWN_LEN),
                        .hash = str_from(m->secret.hash),
                        .created_at = clock_wall_ms()};
    return api_key_create(tx, &k);
}

int cmd_user_key(const struct args *a) {
    struct desk d;
    int status = desk_open(&d, a, DESK_EXISTING);
    const char *name = args_get(a, "name");
    struct key_making m = {.desk = &d, .user = a->operands[0], .name = name ? name : "terminal"};
    if (!status) {
        auth_key_secret(&m.secret);
        status = desk_write(&d, make_key, &m);
    }
    if (!status)
        puts(m.secret.text);
    explicit_bzero(&m.secret, sizeof m.secret);
    desk_close(&d);
    return status;
}
