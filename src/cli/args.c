/* See args.h. */
#include "cli/args.h"

#include <assert.h>
#include <string.h>

#include "cli/cli.h"
#include "config/nearest.h"

static const struct arg_option *find(const struct command *c, struct str name, char letter) {
    for (const struct arg_option *o = c->options; o && o->name; o++)
        if (letter ? o->letter == letter : str_eqz(name, o->name))
            return o;
    return NULL;
}

static void try_key(void *ctx, const struct config_help *h) {
    nearest_try(ctx, h->key);
}

static enum err unknown(const struct args *a, struct str name, struct errinfo *ei) {
    const struct command *c = a->command;
    struct nearest near;
    nearest_init(&near, name);
    for (const struct arg_option *o = c->options; o && o->name; o++)
        nearest_try(&near, o->name);
    config_each_flag(try_key, &near);
    if (!near.best)
        return err_set(ei, ERR_INVALID, "%s has no option --%.*s; see `parley %s --help`", a->path,
                       STR_ARG(name), a->path);
    char shown[64];
    size_t n = strlen(near.best);
    assert(n < sizeof shown);
    for (size_t i = 0; i <= n; i++)
        shown[i] = near.best[i] == '_' ? '-' : near.best[i];
    return err_set(ei, ERR_INVALID, "%s has no option --%.*s; did you mean --%s?", a->path,
                   STR_ARG(name), shown);
}

/* A flag of the configuration, or --config itself. */
static enum err take_flag(struct args *a, struct str name, const char *value, struct errinfo *ei) {
    if (str_eqz(name, "config")) {
        a->config_file = value;
        return ERR_OK;
    }
    if (a->n_flags == ARGS_FLAGS_MAX)
        return err_set(ei, ERR_INVALID, "too many options");
    a->flags[a->n_flags++] = (struct config_flag){config_option_key(name), value};
    return ERR_OK;
}

static enum err take_option(struct args *a, const char *text, const char *next, bool *ret_used_next,
                            struct errinfo *ei) {
    struct str rest = str_from(text), name;
    const struct arg_option *own;
    bool inline_value = false;
    if (text[1] == '-') {
        rest = str_sub(rest, 2, rest.n);
        name = str_cut(&rest, '=');
        inline_value = rest.p != NULL;
        own = find(a->command, name, 0);
    } else {
        name = str_sub(rest, 1, 1);
        own = text[2] ? NULL : find(a->command, name, text[1]);
        if (!own)
            return err_set(ei, ERR_INVALID, "%s has no option %s; see `parley %s --help`", a->path,
                           text, a->path);
    }
    bool flag = !own && (str_eqz(name, "config") || config_option_key(name));
    if (!own && !flag)
        return unknown(a, name, ei);
    if (own && !own->value) {
        if (inline_value)
            return err_set(ei, ERR_INVALID, "--%s takes no value", own->name);
        a->values[own - a->command->options] = "";
        return ERR_OK;
    }
    if (!inline_value && !next)
        return err_set(ei, ERR_INVALID, "--%.*s needs a value", STR_ARG(name));
    *ret_used_next = !inline_value;
    const char *value = inline_value ? rest.p : next;
    if (own) {
        a->values[own - a->command->options] = value;
        return ERR_OK;
    }
    return take_flag(a, name, value, ei);
}

static enum err check_operands(const struct args *a, struct errinfo *ei) {
    const struct command *c = a->command;
    if (a->n_operands < c->min_operands)
        return err_set(ei, ERR_INVALID, "%s needs %s; see `parley %s --help`", a->path, c->operands,
                       a->path);
    if (a->n_operands > c->max_operands)
        return err_set(ei, ERR_INVALID, "%s: what is \"%s\"? It takes %s", a->path,
                       a->operands[c->max_operands], c->operands[0] ? c->operands : "no operands");
    return ERR_OK;
}

enum err args_parse(const struct command *c, const char *path, int argc, char **argv,
                    struct args *ret, struct errinfo *ei) {
    struct args a = {.command = c, .path = path};
    bool only_operands = false;
    for (int i = 1; i < argc; i++) {
        const char *text = argv[i];
        if (only_operands || text[0] != '-' || !text[1]) {
            if (a.n_operands == ARGS_OPERANDS_MAX)
                return err_set(ei, ERR_INVALID, "too many operands");
            a.operands[a.n_operands++] = text;
        } else if (strcmp(text, "--") == 0) {
            only_operands = true;
        } else if (strcmp(text, "--help") == 0 || strcmp(text, "-h") == 0) {
            a.help = true;
            *ret = a;
            return ERR_OK;
        } else {
            bool used = false;
            enum err e = take_option(&a, text, i + 1 < argc ? argv[i + 1] : NULL, &used, ei);
            if (e)
                return e;
            i += used;
        }
    }
    enum err e = check_operands(&a, ei);
    if (!e)
        *ret = a;
    return e;
}

const char *args_get(const struct args *a, const char *name) {
    const struct arg_option *o = find(a->command, str_from(name), 0);
    assert(o && "an option that the command has not declared");
    return a->values[o - a->command->options];
}
