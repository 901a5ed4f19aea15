/* The configuration file's grammar:
 *
 *   file    = *line
 *   line    = blank / "#" comment / key "=" value
 *   value   = *character, trimmed; a pair of double quotes around it is taken off
 *
 * UTF-8, at most 64 KiB. Each key once. Nothing here touches a struct config. */
#include "config/options.h"

#include "config/nearest.h"

struct parse {
    const char *name;
    int seen[OPTIONS_MAX]; /* the line on which an option stood, 0 = not yet */
};

static enum err unknown_key(const char *name, int line, struct str key, struct errinfo *ei) {
    struct nearest near;
    nearest_init(&near, key);
    for (size_t i = 0; i < options_count; i++)
        nearest_try(&near, options[i].key);
    struct str shown = {key.p, utf8_cut(key, 60)};
    if (!utf8_valid(shown))
        shown = STR("?");
    if (near.best)
        return err_param(ei, ERR_INVALID, near.best,
                         "%s:%d: there is no option \"%.*s\"; did you mean %s?", name, line,
                         STR_ARG(shown), near.best);
    return err_set(ei, ERR_INVALID,
                   "%s:%d: there is no option \"%.*s\"; `parley config --reference` lists them all",
                   name, line, STR_ARG(shown));
}

static struct str unquoted(struct str v) {
    if (v.n >= 2 && v.p[0] == '"' && v.p[v.n - 1] == '"')
        return (struct str){v.p + 1, v.n - 2};
    return v;
}

static enum err parse_line(struct parse *p, struct str line, int number, option_fn fn, void *ctx,
                           struct errinfo *ei) {
    line = str_trim(line);
    if (line.n == 0 || line.p[0] == '#')
        return ERR_OK;
    if (memchr(line.p, '=', line.n) == NULL)
        return err_set(ei, ERR_INVALID, "%s:%d: this line is not `key = value`", p->name, number);
    struct str key = str_trim(str_cut(&line, '='));
    const struct option *o = option_find(key);
    if (!o)
        return unknown_key(p->name, number, key, ei);
    if (o->flags & OPTION_SECRET)
        return err_param(ei, ERR_INVALID, o->key,
                         "%s:%d: %s does not belong in a file that is read by others; use "
                         "upstream_key_file, or the environment",
                         p->name, number, o->key);
    int *seen = &p->seen[o - options];
    if (*seen)
        return err_param(ei, ERR_INVALID, o->key, "%s:%d: %s was given on line %d already", p->name,
                         number, o->key, *seen);
    *seen = number;
    return fn(ctx, o, unquoted(str_trim(line)), number, ei);
}

enum err options_parse(const char *name, struct str text, option_fn fn, void *ctx,
                       struct errinfo *ei) {
    struct parse p = {.name = name};
    if (text.n > CONFIG_FILE_MAX)
        return err_set(ei, ERR_INVALID, "%s: a configuration file has at most 64 KiB", name);
    if (!utf8_valid(text) || (text.n && memchr(text.p, 0, text.n)))
        return err_set(ei, ERR_INVALID, "%s: this is not a text in UTF-8", name);
    for (int number = 1; text.n > 0; number++) {
        struct str line = str_cut(&text, '\n');
        enum err e = parse_line(&p, line, number, fn, ctx, ei);
        if (e)
            return e;
    }
    return ERR_OK;
}
