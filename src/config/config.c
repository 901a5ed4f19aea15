/* Making the configuration in force: defaults, then the file, then the environment, then the flags.
 */
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crash.h"
#include "config/options.h"

#define ARENA_MAX ((size_t)1 << 20)

static const char *const no_file = "none";

static enum err set(struct config_data *d, const struct option *o, struct str value,
                    const struct origin *from, const char *base, struct errinfo *ei) {
    enum err e = option_set(&d->c, o, value, from, base, d->arena, ei);
    if (e == ERR_OK)
        d->origins[o - options] = *from;
    return e;
}

static void env_name(const char *key, char *out, size_t size) {
    snprintf(out, size, "PARLEY_%s", key);
    for (char *p = out; *p; p++)
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 'a' + 'A');
}

static const char *env_of(const struct option *o) {
    char name[64];
    env_name(o->key, name, sizeof name);
    return getenv(name);
}

/* ~/.local/share/parley, or what XDG says; NULL for a user without a home. */
static const char *data_home(struct arena *a) {
    const char *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (xdg && xdg[0] == '/')
        return arena_printf(a, "%s/parley", xdg);
    if (home && home[0] == '/')
        return arena_printf(a, "%s/.local/share/parley", home);
    return NULL;
}

/* Weights can be fetched again, so they stand in the cache that setup uses (scripts/lib.sh):
 * $PARLEY_CACHE, or what XDG says. */
static const char *standard_models_dir(struct arena *a, const char *data_dir) {
    const char *cache = getenv("PARLEY_CACHE"), *xdg = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    if (cache && cache[0])
        return arena_printf(a, "%s/models", cache);
    if (xdg && xdg[0] == '/')
        return arena_printf(a, "%s/parley/models", xdg);
    return home && home[0] == '/' ? arena_printf(a, "%s/.cache/parley/models", home)
                                  : arena_printf(a, "%s/models", data_dir);
}

static const char *standard_data_dir(struct arena *a) {
    const char *home = data_home(a);
    return home ? home : "/var/lib/parley";
}

/* The folder that decides where the file is looked for: what the file says cannot count. */
static const char *early_data_dir(const struct config_flag *flags, size_t n, struct arena *a) {
    for (size_t i = n; i > 0; i--)
        if (option_find(str_from(flags[i - 1].key)) == option_find(STR("data_dir")))
            return flags[i - 1].value;
    const char *env = env_of(option_find(STR("data_dir")));
    return env && env[0] ? env : standard_data_dir(a);
}

static enum err read_whole(const char *path, size_t max, struct buf *ret, struct errinfo *ei) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(ei, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s cannot be read: %s", path,
                       strerror(errno));
    char piece[4096];
    ssize_t n;
    while ((n = read(fd, piece, sizeof piece)) > 0 && ret->n <= max)
        buf_add(ret, piece, (size_t)n);
    int saved = errno;
    close(fd);
    if (n < 0)
        return err_set(ei, ERR_IO, "%s cannot be read: %s", path, strerror(saved));
    return buf_err(ret);
}

struct taking {
    struct config_data *d;
    const char *name;
    const char *base;
};

static enum err take_line(void *ctx, const struct option *o, struct str value, int line,
                          struct errinfo *ei) {
    struct taking *t = ctx;
    struct origin from = {CONFIG_FILE, t->name, line};
    return set(t->d, o, value, &from, t->base, ei);
}

static enum err take_file(struct config_data *d, const char *path, bool must, struct errinfo *ei) {
    struct buf text;
    buf_init(&text, CONFIG_FILE_MAX + 4096);
    enum err e = read_whole(path, CONFIG_FILE_MAX, &text, ei);
    if (e == ERR_NOT_FOUND && !must) {
        e = ERR_OK;
        goto out;
    }
    if (e)
        goto out;
    d->c.file_read = true;
    char *base = realpath(path, NULL);
    char *slash = base ? strrchr(base, '/') : NULL;
    if (slash)
        *slash = 0;
    struct taking t = {d, path, base};
    e = options_parse(path, buf_str(&text), take_line, &t, ei);
    free(base);
out:
    buf_deinit(&text);
    return e == ERR_NOT_FOUND ? ERR_IO : e;
}

static enum err take_environment(struct config_data *d, struct errinfo *ei) {
    for (size_t i = 0; i < options_count; i++) {
        const char *value = env_of(&options[i]);
        bool text = options[i].kind != OPTION_INT && options[i].kind != OPTION_WORD;
        if (!value || (!text && !value[0]))
            continue;
        struct origin from = {CONFIG_ENV, NULL, 0};
        enum err e = set(d, &options[i], str_from(value), &from, NULL, ei);
        if (e)
            return e;
    }
    return ERR_OK;
}

static enum err take_flags(struct config_data *d, const struct config_flag *flags, size_t n,
                           struct errinfo *ei) {
    for (size_t i = 0; i < n; i++) {
        const struct option *o = option_find(str_from(flags[i].key));
        if (!o || o->flags & OPTION_SECRET)
            return err_set(ei, ERR_INVALID, "there is no option --%s", flags[i].key);
        struct origin from = {CONFIG_FLAG, NULL, 0};
        enum err e = set(d, o, str_from(flags[i].value), &from, NULL, ei);
        if (e)
            return e;
    }
    return ERR_OK;
}

static enum err apply_port(struct config *c, struct arena *a, struct errinfo *ei) {
    if (c->port == 0)
        return ERR_OK;
    if (strncmp(c->listen, "unix:", 5) == 0)
        return err_param(ei, ERR_INVALID, "port", "port has no meaning where listen is %s",
                         c->listen);
    const char *colon = strrchr(c->listen, ':');
    c->listen = arena_printf(a, "%.*s:%d", (int)(colon - c->listen), c->listen, (int)c->port);
    return c->listen ? ERR_OK : err_set(ei, ERR_NOMEM, NULL);
}

static enum err derive(struct config_data *d, struct errinfo *ei) {
    struct config *c = &d->c;
    struct arena *a = d->arena;
    if (!c->data_dir[0])
        c->data_dir = standard_data_dir(a);
    if (!c->models_dir[0])
        c->models_dir = standard_models_dir(a, c->data_dir);
    c->db_path = arena_printf(a, "%s/parley.db", c->data_dir);
    c->crash_dir = arena_printf(a, "%s/crashes", c->data_dir);
    c->run_dir = arena_printf(a, "%s/run", c->data_dir);
    c->engine_socket = arena_printf(a, "%s/run/engine.sock", c->data_dir);
    c->setup_link = arena_printf(a, "%s/setup-link", c->data_dir);
    c->local_key = arena_printf(a, "%s/local-key", c->data_dir);
    if (!c->models_dir || !c->db_path || !c->run_dir || !c->engine_socket || !c->setup_link ||
        !c->local_key || !c->crash_dir)
        return err_set(ei, ERR_NOMEM, NULL);
    return apply_port(c, a, ei);
}

static enum err find_file(struct config_data *d, const char *file, const struct config_flag *flags,
                          size_t n, struct errinfo *ei) {
    const char *env = getenv("PARLEY_CONFIG");
    if (!file && env && env[0])
        file = env;
    bool must = file != NULL;
    if (!file)
        file = arena_printf(d->arena, "%s/parley.conf", early_data_dir(flags, n, d->arena));
    d->c.file = file ? arena_strz(d->arena, str_from(file)) : NULL;
    if (!d->c.file)
        return err_set(ei, ERR_NOMEM, NULL);
    return strcmp(file, no_file) == 0 ? ERR_OK : take_file(d, d->c.file, must, ei);
}

enum err config_load(const char *file, const struct config_flag *flags, size_t n_flags,
                     struct config **ret, struct errinfo *ei) {
    struct config_data *d = calloc(1, sizeof *d);
    enum err e = ERR_NOMEM;
    if (!d || !(d->arena = arena_new(ARENA_MAX))) {
        err_set(ei, ERR_NOMEM, NULL);
        goto out;
    }
    struct origin standard = {CONFIG_DEFAULT, NULL, 0};
    for (size_t i = 0; i < options_count; i++) {
        e = set(d, &options[i], str_from(options[i].standard), &standard, NULL, ei);
        if (e)
            goto out;
    }
    e = find_file(d, file, flags, n_flags, ei);
    if (!e)
        e = take_environment(d, ei);
    if (!e)
        e = take_flags(d, flags, n_flags, ei);
    if (!e)
        e = derive(d, ei);
out:
    if (e) {
        config_free(d ? &d->c : NULL);
        return e;
    }
    *ret = &d->c;
    return ERR_OK;
}

void config_free(struct config *c) {
    if (!c)
        return;
    struct config_data *d = (struct config_data *)c;
    if (c->upstream_key)
        explicit_bzero((char *)(uintptr_t)c->upstream_key, strlen(c->upstream_key));
    arena_free(d->arena);
    free(d);
}

static enum err check_line(void *ctx, const struct option *o, struct str value, int line,
                           struct errinfo *ei) {
    struct taking *t = ctx;
    struct origin from = {CONFIG_FILE, t->name, line};
    return option_set(&t->d->c, o, value, &from, NULL, t->d->arena, ei);
}

enum err config_check_text(const char *name, struct str text, struct errinfo *ei) {
    struct config_data *d = calloc(1, sizeof *d);
    enum err e = ERR_NOMEM;
    if (d && (d->arena = arena_new(ARENA_MAX))) {
        struct taking t = {d, name, NULL};
        e = options_parse(name, text, check_line, &t, ei);
    }
    config_free(d ? &d->c : NULL);
    return e;
}

const char *const *config_environment(const struct config *c) {
    struct config_data *d = (struct config_data *)(uintptr_t)c;
    if (d->environment[0])
        return d->environment;
    size_t n = 0;
    for (size_t i = 0; i < options_count; i++) {
        char name[64];
        env_name(options[i].key, name, sizeof name);
        struct buf value;
        buf_init(&value, CONFIG_FILE_MAX);
        option_show(c, &options[i], &value);
        d->environment[n] = arena_printf(d->arena, "%s=%.*s", name, STR_ARG(buf_str(&value)));
        buf_deinit(&value);
        if (!d->environment[n])
            return NULL;
        n++;
    }
    d->environment[n] = "PARLEY_CONFIG=none";
    return d->environment;
}

enum err config_upstream_key(const struct config *c, struct buf *ret, struct errinfo *ei) {
    buf_clear(ret);
    if (c->upstream_key[0]) {
        buf_addz(ret, c->upstream_key);
        return buf_err(ret);
    }
    if (!c->upstream_key_file[0])
        return ERR_OK;
    enum err e = read_whole(c->upstream_key_file, 16384, ret, ei);
    if (e)
        return e == ERR_NOT_FOUND ? ERR_IO : e;
    struct str rest = buf_str(ret);
    struct str key = str_trim(str_cut(&rest, '\n'));
    if (key.n == 0)
        return err_param(ei, ERR_INVALID, "upstream_key_file", "%s: the first line holds no key",
                         c->upstream_key_file);
    memmove(ret->p, key.p, key.n);
    ret->n = key.n;
    ret->p[key.n] = 0;
    return ERR_OK;
}

/* mkdir -p with mode 0700 for what is made. */
static enum err make_dir(const char *path, struct errinfo *ei) {
    char copy[4096];
    if ((size_t)snprintf(copy, sizeof copy, "%s", path) >= sizeof copy)
        return err_set(ei, ERR_IO, "the path %s is too long", path);
    for (char *p = copy + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        if (mkdir(copy, 0700) != 0 && errno != EEXIST)
            break;
        *p = '/';
    }
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return ERR_OK;
    return err_param(ei, errno == ENOSPC ? ERR_DISK_FULL : ERR_IO, "data_dir",
                     "the folder %s cannot be made: %s; make it yours, or name another with "
                     "--data-dir",
                     path, strerror(errno));
}

enum err config_make_dirs(const struct config *c, struct errinfo *ei) {
    enum err e = make_dir(c->data_dir, ei);
    if (!e && access(c->data_dir, W_OK | X_OK) != 0 && errno == EROFS &&
        access(c->db_path, R_OK) == 0)
        return ERR_OK; /* what is there can be read */
    if (!e)
        e = make_dir(c->run_dir, ei);
    if (!e && access(c->data_dir, W_OK | X_OK) != 0)
        return err_param(ei, ERR_IO, "data_dir",
                         "the folder %s cannot be written to: %s; make it yours, or name another "
                         "with --data-dir",
                         c->data_dir, strerror(errno));
    return e;
}

void config_start_log(const struct config *c, const char *proc) {
    log_init(proc, (enum log_level)c->log_level);
    log_set_text(c->log_format == LOG_FORMAT_TEXT ||
                 (c->log_format == LOG_FORMAT_AUTO && isatty(STDERR_FILENO)));
    crash_init(c->crash_dir, proc, PARLEY_VERSION);
}
