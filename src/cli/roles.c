/* parley role …: the assistant roles, directly on the store. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/out.h"
#include "base/clock.h"
#include "cli/desk.h"
#include "cli/models.h"
#include "cli/plain.h"

/* The API's limits (src/api/schemas.c), in characters where it counts texts. */
#define NAME_MAX_CHARS        80
#define DESCRIPTION_MAX_CHARS 1000
#define PROMPT_MAX_CHARS      32000
#define MODEL_MAX_CHARS       200
#define STOP_MAX              4
#define STOP_MAX_CHARS        100
#define STARTERS_MAX          10
#define STARTER_MAX_CHARS     300
#define MAX_TOKENS_MAX        1000000
#define PROMPT_MAX            ((size_t)PROMPT_MAX_CHARS * 4 + 4096)

struct role_work {
    struct desk *desk;
    struct role role;
    struct buf prompt; /* of --prompt-file */
    bool restored;
};

static void role_json(struct buf *b, const struct role *r) {
    out_open(b, NULL, '{');
    out_id(b, "role_id", &r->role_id);
    out_str(b, "name", r->name);
    out_str(b, "description", r->description);
    out_str(b, "system_prompt", r->system_prompt);
    out_int(b, "version", r->version);
    out_text_or_null(b, "model", r->model);
    if (r->temperature < 0)
        out_null(b, "temperature");
    else
        out_num(b, "temperature", r->temperature);
    if (r->top_p < 0)
        out_null(b, "top_p");
    else
        out_num(b, "top_p", r->top_p);
    if (r->max_tokens == 0)
        out_null(b, "max_tokens");
    else
        out_int(b, "max_tokens", r->max_tokens);
    out_raw(b, "stop", r->stop);
    out_raw(b, "starter_questions", r->starter_questions);
    out_time(b, "created_at", r->created_at);
    out_time(b, "updated_at", r->updated_at);
    out_time(b, "retired_at", r->retired_at);
    out_close(b, '}');
}

static enum err list_roles(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct desk *d = arg;
    struct role *roles;
    size_t n;
    (void)ei;
    enum err e = role_list(tx, args_has(d->args, "all"), d->arena, &roles, &n);
    if (e)
        return e;
    if (args_has(d->args, "json")) {
        struct buf b;
        buf_init(&b, DESK_JSON_MAX);
        out_open(&b, NULL, '[');
        for (size_t i = 0; i < n; i++)
            role_json(&b, &roles[i]);
        out_close(&b, ']');
        desk_print_json(&b);
        return ERR_OK;
    }
    struct table *t = table_new(
        d->arena, (const char *const[]){"NAME", "VERSION", "MODEL", "STATE", "DESCRIPTION", NULL});
    for (size_t i = 0; i < n; i++) {
        char version[16];
        snprintf(version, sizeof version, "%d", roles[i].version);
        table_add(t, roles[i].name);
        table_add(t, str_from(version));
        table_add(t, roles[i].model.n ? roles[i].model : STR("default"));
        table_add(t, roles[i].retired_at ? STR("retired") : STR("in use"));
        table_add(t, roles[i].description);
    }
    table_print(t);
    return ERR_OK;
}

int cmd_role_list(const struct args *a) {
    struct desk d;
    int status = desk_open(&d, a, DESK_EXISTING);
    if (!status)
        status = desk_read(&d, list_roles, &d);
    desk_close(&d);
    return status;
}

/* By name or slug, retired ones by their exact name or id, too. */
static enum err find_role(struct store_tx *tx, struct desk *d, const char *name, struct role *ret,
                          struct errinfo *ei) {
    enum err e = role_find(tx, str_from(name), d->arena, ret);
    if (e != ERR_NOT_FOUND)
        return e;
    struct role *roles;
    size_t n;
    e = role_list(tx, true, d->arena, &roles, &n);
    if (e)
        return e;
    for (size_t i = n; i > 0; i--) {
        if (str_eq_nocase(roles[i - 1].name, str_from(name)) ||
            str_eqz(uuid_str(&roles[i - 1].role_id), name)) {
            *ret = roles[i - 1];
            return ERR_OK;
        }
    }
    return err_set(ei, ERR_NOT_FOUND, "there is no role \"%s\"; `parley role list` shows them",
                   name);
}

static void print_role(const struct role *r, struct arena *a) {
    plain_print(r->name, false);
    printf(" (version %d%s)\n", r->version, r->retired_at ? ", retired" : "");
    if (r->description.n) {
        plain_print(r->description, true);
        putchar('\n');
    }
    struct str changed = desk_time(a, r->updated_at);
    fputs("\nmodel        ", stdout);
    plain_print(r->model.n ? r->model : STR("default"), false);
    putchar('\n');
    if (r->temperature >= 0)
        printf("temperature  %g\n", r->temperature);
    if (r->top_p >= 0)
        printf("top_p        %g\n", r->top_p);
    if (r->max_tokens)
        printf("max tokens   %d\n", r->max_tokens);
    printf("changed      %.*s\n\n", STR_ARG(changed));
    plain_print(r->system_prompt, true);
    putchar('\n');
}

static enum err show_role(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct desk *d = arg;
    struct role r;
    enum err e = find_role(tx, d, d->args->operands[0], &r, ei);
    if (e)
        return e;
    if (args_has(d->args, "json")) {
        struct buf b;
        buf_init(&b, DESK_JSON_MAX);
        role_json(&b, &r);
        desk_print_json(&b);
    } else {
        print_role(&r, d->arena);
    }
    return ERR_OK;
}

int cmd_role_show(const struct args *a) {
    struct desk d;
    int status = desk_open(&d, a, DESK_EXISTING);
    if (!status)
        status = desk_read(&d, show_role, &d);
    desk_close(&d);
    return status;
}

static enum err read_prompt(const char *path, struct buf *ret, struct errinfo *ei) {
    bool standard = strcmp(path, "-") == 0;
    FILE *f = standard ? stdin : fopen(path, "re");
    char piece[4096];
    size_t n;
    if (!f)
        return err_set(ei, ERR_INVALID, "%s cannot be read", path);
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        buf_add(ret, piece, n);
    if (!standard)
        fclose(f);
    if (buf_err(ret))
        return err_set(ei, ERR_INVALID, "%s: a system prompt has at most %d characters", path,
                       PROMPT_MAX_CHARS);
    return ERR_OK;
}

static enum err take_number(const struct args *a, const char *name, double min, double max,
                            double none, double *ret, struct errinfo *ei) {
    const char *text = args_get(a, name);
    double v;
    if (!text)
        return ERR_OK;
    if (!text[0]) {
        *ret = none;
        return ERR_OK;
    }
    if (!str_to_double(str_from(text), &v) || v < min || v > max)
        return err_set(ei, ERR_INVALID, "--%s is a number from %g to %g", name, min, max);
    *ret = v;
    return ERR_OK;
}

static enum err check_text(const char *what, struct str text, size_t max, struct errinfo *ei) {
    size_t n = 0; /* characters */
    if (!utf8_valid(text) || (text.n && memchr(text.p, 0, text.n)))
        return err_set(ei, ERR_INVALID, "%s is not UTF-8", what);
    for (size_t i = 0; i < text.n; i++)
        n += ((unsigned char)text.p[i] & 0xc0) != 0x80;
    return n > max ? err_set(ei, ERR_INVALID, "%s has at most %zu characters", what, max) : ERR_OK;
}

static enum err check_texts(const struct role *r, struct errinfo *ei) {
    char slug[ROLE_SLUG_SIZE];
    enum err e = check_text("a role's name", r->name, NAME_MAX_CHARS, ei);
    if (!e && !role_slug(r->name, slug, sizeof slug))
        e = err_set(ei, ERR_INVALID, "a role's name has a letter or a digit");
    if (!e && r->system_prompt.n == 0)
        e = err_set(ei, ERR_INVALID, "say the system prompt: --prompt TEXT or --prompt-file FILE");
    if (!e)
        e = check_text("a description", r->description, DESCRIPTION_MAX_CHARS, ei);
    if (!e)
        e = check_text("a system prompt", r->system_prompt, PROMPT_MAX_CHARS, ei);
    return e ? e : check_text("a model's name", r->model, MODEL_MAX_CHARS, ei);
}

/* A role's slug stands beside the models' names, so it must not hide one. What another model server
 * has is known to the running Parley alone, which prefers its models then. */
static enum err check_slug(const struct config *c, const struct role *r, struct errinfo *ei) {
    char slug[ROLE_SLUG_SIZE];
    struct model_installed installed;
    struct errinfo unused = {0};
    role_slug(r->name, slug, sizeof slug);
    if (model_installed_get(c->models_dir, slug, &installed, &unused) != ERR_OK &&
        strcmp(slug, c->upstream_model) != 0)
        return ERR_OK;
    return err_set(ei, ERR_CONFLICT, "a model has the name \"%s\"", slug);
}

/* An option whose value is a list, one item a line, into the JSON text of a list. */
static enum err take_lines(struct role_work *w, const char *name, size_t max, size_t max_chars,
                           struct str *ret, struct errinfo *ei) {
    struct str rest = str_from(args_get(w->desk->args, name));
    struct buf b;
    size_t n = 0;
    enum err e = ERR_OK;
    if (!rest.p)
        return ERR_OK;
    buf_init(&b, 65536);
    out_open(&b, NULL, '[');
    while (rest.n && !e) {
        struct str item = str_cut(&rest, '\n');
        if (item.n == 0)
            continue;
        e = check_text("an item of such a list", item, max_chars, ei);
        if (!e && ++n > max)
            e = err_set(ei, ERR_INVALID, "--%s takes at most %zu lines", name, max);
        out_item(&b);
        buf_addc(&b, '"');
        buf_add_json(&b, item);
        buf_addc(&b, '"');
    }
    out_close(&b, ']');
    if (!e)
        e = buf_err(&b);
    if (!e && !(*ret = arena_str(w->desk->arena, buf_str(&b))).p)
        e = ERR_NOMEM;
    buf_deinit(&b);
    return e;
}

/* The options of the command line into the role. */
static enum err take_options(struct role_work *w, struct errinfo *ei) {
    const struct args *a = w->desk->args;
    struct role *r = &w->role;
    double max_tokens = r->max_tokens;
    if (args_has(a, "name"))
        r->name = str_trim(str_from(args_get(a, "name")));
    if (args_has(a, "description"))
        r->description = str_from(args_get(a, "description"));
    if (args_has(a, "prompt"))
        r->system_prompt = str_from(args_get(a, "prompt"));
    if (args_has(a, "prompt-file"))
        r->system_prompt = str_trim(buf_str(&w->prompt));
    if (args_has(a, "model"))
        r->model = str_from(args_get(a, "model"));
    enum err e = take_number(a, "temperature", 0, 2, -1, &r->temperature, ei);
    if (!e)
        e = take_number(a, "top-p", 0.01, 1, -1, &r->top_p, ei);
    if (!e)
        e = take_number(a, "max-tokens", 0, MAX_TOKENS_MAX, 0, &max_tokens, ei);
    r->max_tokens = (int)max_tokens;
    if (!e)
        e = take_lines(w, "stop", STOP_MAX, STOP_MAX_CHARS, &r->stop, ei);
    if (!e)
        e = take_lines(w, "starters", STARTERS_MAX, STARTER_MAX_CHARS, &r->starter_questions, ei);
    return e ? e : check_texts(r, ei);
}

static enum err add_role(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct role_work *w = arg;
    enum err e = take_options(w, ei);
    if (!e)
        e = check_slug(w->desk->config, &w->role, ei);
    return e ? e : role_create(tx, &w->role, ei);
}

static enum err edit_role(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct role_work *w = arg;
    enum err e = find_role(tx, w->desk, w->desk->args->operands[0], &w->role, ei);
    if (!e)
        e = take_options(w, ei);
    if (e)
        return e;
    if (args_has(w->desk->args, "name") || args_has(w->desk->args, "restore"))
        e = check_slug(w->desk->config, &w->role, ei);
    if (e)
        return e;
    if (args_has(w->desk->args, "restore"))
        w->role.retired_at = 0;
    w->role.updated_at = clock_wall_ms();
    return role_update(tx, &w->role, &w->role.version, ei);
}

static enum err retire_role(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct role_work *w = arg;
    enum err e = find_role(tx, w->desk, w->desk->args->operands[0], &w->role, ei);
    if (e)
        return e;
    w->role.retired_at = w->role.updated_at = clock_wall_ms();
    return role_update(tx, &w->role, &w->role.version, ei);
}

static int change_role(const struct args *a, store_fn fn, const struct role *start) {
    struct desk d;
    struct role_work w = {.desk = &d, .role = *start};
    buf_init(&w.prompt, PROMPT_MAX);
    int status = desk_open(&d, a, DESK_EXISTING);
    const char *file = fn == retire_role ? NULL : args_get(a, "prompt-file");
    if (!status && file && read_prompt(file, &w.prompt, &d.ei) != ERR_OK)
        status = cli_fail(ERR_INVALID, &d.ei);
    if (!status)
        status = desk_write(&d, fn, &w);
    if (!status)
        printf("%.*s is at version %d%s.\n", STR_ARG(w.role.name), w.role.version,
               w.role.retired_at ? " and retired" : "");
    buf_deinit(&w.prompt);
    desk_close(&d);
    return status;
}

int cmd_role_add(const struct args *a) {
    int64_t now = clock_wall_ms();
    struct role r = {.role_id = uuid_new(),
                     .name = str_trim(str_from(a->operands[0])),
                     .version = 1,
                     .temperature = -1,
                     .top_p = -1,
                     .stop = STR("[]"),
                     .starter_questions = STR("[]"),
                     .created_at = now,
                     .updated_at = now};
    return change_role(a, add_role, &r);
}

int cmd_role_edit(const struct args *a) {
    return change_role(a, edit_role, &(struct role){0});
}

int cmd_role_retire(const struct args *a) {
    return change_role(a, retire_role, &(struct role){0});
}
