/* See chat_login.h. */
#include "cli/chat_login.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/auth.h"
#include "base/clock.h"
#include "cli/desk.h"

/* ---- small private files ---- */

static enum err write_private(const char *path, const char *text, struct errinfo *ei) {
    size_t n = strlen(text);
    unlink(path); /* one with other rights, or a link, is not written through */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool ok = fd >= 0 && write(fd, text, n) == (ssize_t)n;
    int saved = errno;
    if (fd >= 0)
        close(fd);
    return ok ? ERR_OK : err_set(ei, ERR_IO, "%s cannot be written: %s", path, strerror(saved));
}

static bool read_first_line(const char *path, char *out, size_t size) {
    FILE *f = fopen(path, "re");
    out[0] = 0;
    if (f && fgets(out, (int)size, f))
        out[strcspn(out, "\r\n")] = 0;
    if (f)
        fclose(f);
    return out[0] != 0;
}

static bool own_conf(char *out, size_t size, bool make) {
    const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    char base[900];
    if (xdg && xdg[0] == '/')
        snprintf(base, sizeof base, "%s", xdg);
    else if (home && home[0] == '/')
        snprintf(base, sizeof base, "%s/.config", home);
    else
        return false;
    if (make)
        mkdir(base, 0755);
    snprintf(out, size, "%s/parley", base);
    if (make)
        mkdir(out, 0700);
    return (size_t)snprintf(out, size, "%s/parley/chat.conf", base) < size;
}

/* `server = URL` and `key = …`, one a line. */
static void read_saved(struct chat_login *l) {
    char path[1024], line[1400];
    FILE *f = own_conf(path, sizeof path, false) ? fopen(path, "re") : NULL;
    while (f && fgets(line, sizeof line, f)) {
        struct str rest = str_from(line), key = str_trim(str_cut(&rest, '='));
        rest = str_trim(rest);
        if (str_eqz(key, "server"))
            snprintf(l->server, sizeof l->server, "%.*s", STR_ARG(rest));
        else if (str_eqz(key, "key"))
            snprintf(l->key, sizeof l->key, "%.*s", STR_ARG(rest));
    }
    if (f)
        fclose(f);
}

int chat_login_save(const struct chat_login *l) {
    char path[1024], text[1400];
    struct errinfo ei = {0};
    if (!own_conf(path, sizeof path, true))
        return cli_say(CLI_FAILED, "there is no home directory to save that in");
    snprintf(text, sizeof text, "server = %s\nkey = %s\n", l->server, l->key);
    enum err e = write_private(path, text, &ei);
    explicit_bzero(text, sizeof text);
    return e ? cli_fail(e, &ei) : CLI_OK;
}

/* ---- the kept key of this machine ---- */

struct local_key {
    struct desk *desk;
    struct auth_secret secret;
    char old_hash[SHA256_HEX_LEN + 1]; /* of the kept key that it replaces, "" = none */
};

/* The kept key may be another user's by now (who is meant can have changed), or a disabled one's.
 */
static enum err revoke_old(struct store_tx *tx, struct local_key *k) {
    struct user *users;
    size_t n;
    enum err e = desk_all_users(tx, k->desk->arena, &users, &n);
    for (size_t i = 0; i < n && !e; i++) {
        struct api_key *keys;
        size_t n_keys;
        e = api_key_list(tx, &users[i].user_id, k->desk->arena, &keys, &n_keys);
        for (size_t j = 0; j < n_keys && !e; j++)
            if (str_eqz(keys[j].hash, k->old_hash))
                return api_key_revoke(tx, &users[i].user_id, &keys[j].key_id);
    }
    return e;
}

static enum err make_key(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct local_key *k = arg;
    struct user u;
    enum err e = desk_find_user(tx, k->desk->arena, args_get(k->desk->args, "user"), &u, ei);
    if (!e && u.disabled)
        e = err_set(ei, ERR_CONFLICT, "%.*s is disabled; `parley user enable` first",
                    STR_ARG(u.username));
    if (!e && k->old_hash[0])
        e = revoke_old(tx, k);
    if (e)
        return e;
    struct api_key row = {.key_id = uuid_new(),
                          .user_id = u.user_id,
                          .name = STR("terminal on the server's machine"),
                          .prefix = str_sub(str_from(k->secret.text), 0, AUTH_KEY_SHOWN_LEN),
                          .hash = str_from(k->secret.hash),
                          .created_at = clock_wall_ms()};
    return api_key_create(tx, &row);
}

/* One file for each user that was asked for; names have no '/' in them. */
static bool key_path(const struct args *a, const struct config *c, char *out, size_t size) {
    const char *user = args_get(a, "user");
    if (user && strchr(user, '/'))
        return false;
    int n = user ? snprintf(out, size, "%s-%s", c->local_key, user)
                 : snprintf(out, size, "%s", c->local_key);
    return n > 0 && (size_t)n < size;
}

static int make_local_key(const struct args *a, const char *path, struct chat_login *l) {
    struct desk d;
    struct local_key k = {.desk = &d};
    int status = desk_open(&d, a, DESK_EXISTING);
    if (!status && read_first_line(path, l->key, sizeof l->key))
        sha256_hex(str_from(l->key), k.old_hash);
    if (!status) {
        auth_key_secret(&k.secret);
        status = desk_write(&d, make_key, &k);
    }
    if (!status && write_private(path, k.secret.text, &d.ei) != ERR_OK)
        status = cli_fail(ERR_IO, &d.ei);
    if (!status)
        snprintf(l->key, sizeof l->key, "%s", k.secret.text);
    explicit_bzero(&k.secret, sizeof k.secret);
    desk_close(&d);
    return status;
}

static int local_key(const struct args *a, const struct config *c, bool anew,
                     struct chat_login *l) {
    char path[4200];
    l->local = true;
    if (!key_path(a, c, path, sizeof path))
        return cli_say(CLI_NOT_FOUND, "there is no such user");
    if (!anew && read_first_line(path, l->key, sizeof l->key))
        return CLI_OK;
    if (access(c->db_path, R_OK | W_OK) != 0 && errno == EACCES)
        return cli_say(CLI_REFUSED,
                       "the data directory is not yours: ask for an API key (Settings "
                       "on the page, or `parley user key NAME`) and put it into PARLEY_KEY");
    return make_local_key(a, path, l);
}

/* ---- finding ---- */

static int local_server(const struct args *a, bool with_key, bool anew, struct chat_login *l) {
    struct config *c;
    int status = cli_config(a, &c);
    if (status)
        return status;
    cli_local_server(a, c, l->server, l->unix_socket);
    if (with_key)
        status = local_key(a, c, anew, l);
    config_free(c);
    return status;
}

int chat_login_find(const struct args *a, struct chat_login *ret) {
    struct chat_login l = {0};
    const char *server = args_get(a, "server"), *key = args_get(a, "key");
    int status = CLI_OK;
    if (!server)
        server = getenv("PARLEY_SERVER");
    if (!key)
        key = getenv("PARLEY_KEY");
    if (server && server[0])
        snprintf(l.server, sizeof l.server, "%s", server);
    else if (!args_has(a, "user"))
        read_saved(&l);
    if (key && key[0])
        snprintf(l.key, sizeof l.key, "%s", key);
    if (!l.server[0])
        status = local_server(a, !l.key[0], false, &l);
    size_t n = strlen(l.server);
    while (n > 0 && l.server[n - 1] == '/')
        l.server[--n] = 0;
    if (!status && strncmp(l.server, "http://", 7) != 0 && strncmp(l.server, "https://", 8) != 0)
        status = cli_say(
            CLI_USAGE, "a server's address begins with http:// or https://, not \"%s\"", l.server);
    if (!status && !l.key[0])
        status = cli_say(CLI_REFUSED,
                         "an API key is needed for %s: make one there (Settings, API "
                         "keys) and put it into PARLEY_KEY",
                         l.server);
    if (!status)
        *ret = l;
    return status;
}

int chat_login_renew(const struct args *a, struct chat_login *l) {
    return local_server(a, true, true, l);
}
