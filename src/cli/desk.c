/* See desk.h. */
#include "cli/desk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api/api.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "cli/plain.h"

#define ARENA_MAX ((size_t)1 << 30)
#define PAGE      200

int desk_open(struct desk *d, const struct args *a, enum desk_open how) {
    *d = (struct desk){.args = a, .arena = arena_new(ARENA_MAX)};
    if (!d->arena)
        return cli_say(CLI_FAILED, "out of memory");
    int status = cli_config(a, &d->config);
    if (status)
        return status;
    log_init("cli", LOG_ERROR);
    log_set_text(true);
    if (how == DESK_EXISTING && access(d->config->db_path, F_OK) != 0)
        return cli_say(CLI_NOT_FOUND,
                       "there is no Parley database in %s; run `parley serve` once, or name the "
                       "right folder with --data-dir",
                       d->config->data_dir);
    enum err e = config_make_dirs(d->config, &d->ei);
    if (!e && (e = crypto_init()) != ERR_OK)
        err_set(&d->ei, e, "the cryptography library cannot be used");
    struct store_options o = {.path = d->config->db_path, .readers = 1};
    if (!e)
        e = store_open(&o, &d->store, &d->ei);
    if (!e && how == DESK_CREATE)
        e = store_write_wait(d->store, api_seed, NULL, &d->ei);
    return e ? cli_fail(e, &d->ei) : CLI_OK;
}

void desk_close(struct desk *d) {
    if (d->store)
        store_close(d->store);
    config_free(d->config);
    arena_free(d->arena);
}

int desk_read(struct desk *d, store_fn fn, void *arg) {
    enum err e = store_read_wait(d->store, fn, arg, &d->ei);
    return e ? cli_fail(e, &d->ei) : CLI_OK;
}

int desk_write(struct desk *d, store_fn fn, void *arg) {
    enum err e = store_write_wait(d->store, fn, arg, &d->ei);
    return e ? cli_fail(e, &d->ei) : CLI_OK;
}

enum err desk_all_users(struct store_tx *tx, struct arena *a, struct user **ret, size_t *ret_n) {
    struct page page = {.limit = PAGE};
    struct user *all = NULL;
    size_t n = 0;
    for (;;) {
        struct user *some;
        size_t n_some;
        enum err e = user_list(tx, &page, a, &some, &n_some);
        if (e)
            return e;
        struct user *more = arena_array(a, n + n_some + 1, sizeof *more);
        if (!more)
            return ERR_NOMEM;
        if (n)
            memcpy(more, all, n * sizeof *more);
        if (n_some)
            memcpy(more + n, some, n_some * sizeof *more);
        all = more;
        n += n_some;
        if (n_some < PAGE)
            break;
        page.after = some[n_some - 1].user_id;
    }
    *ret = all;
    *ret_n = n;
    return ERR_OK;
}

enum err desk_find_user(struct store_tx *tx, struct arena *a, const char *name, struct user *ret,
                        struct errinfo *ei) {
    if (name) {
        enum err e = user_find(tx, str_from(name), a, ret);
        return e == ERR_NOT_FOUND
                   ? err_set(ei, e, "there is no user \"%s\"; `parley user list` shows them", name)
                   : e;
    }
    struct user *all;
    size_t n;
    enum err e = desk_all_users(tx, a, &all, &n);
    if (e)
        return e;
    for (size_t i = n; i > 0; i--) { /* newest first: the last one is the oldest */
        if (n == 1 || (all[i - 1].is_admin && !all[i - 1].disabled)) {
            *ret = all[i - 1];
            return ERR_OK;
        }
    }
    return err_set(ei, ERR_NOT_FOUND,
                   "there are no accounts yet; open the page, or run `parley user add NAME --email "
                   "ADDRESS --admin`");
}

bool desk_confirmed(const struct desk *d, const char *question) {
    if (args_has(d->args, "yes"))
        return true;
    if (!isatty(STDIN_FILENO)) {
        fprintf(stderr, "parley: %s Say --yes to do it.\n", question);
        return false;
    }
    char answer[16];
    fprintf(stderr, "%s [y/N] ", question);
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* ---- printing ---- */

struct table {
    struct arena *arena;
    size_t columns, n, size;
    struct str *cells; /* the heads are the first row */
};

/* Columns that text takes, about: characters of UTF-8. */
static size_t width(struct str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

void table_add(struct table *t, struct str cell) {
    if (!t)
        return;
    if (t->n == t->size) {
        size_t size = t->size ? t->size * 2 : 64;
        struct str *more = arena_array(t->arena, size, sizeof *more);
        if (!more)
            return;
        if (t->n)
            memcpy(more, t->cells, t->n * sizeof *more);
        t->cells = more;
        t->size = size;
    }
    char *copy = arena_strz(t->arena, cell);
    if (copy)
        plain_text(copy, cell.n, false); /* what users wrote does not steer the terminal */
    t->cells[t->n++] = str_from(copy);
}

struct table *table_new(struct arena *a, const char *const *heads) {
    struct table *t = arena_alloc(a, sizeof *t);
    if (!t)
        return NULL;
    t->arena = a;
    for (; heads[t->columns]; t->columns++)
        table_add(t, str_from(heads[t->columns]));
    return t;
}

void table_print(const struct table *t) {
    size_t widths[16] = {0};
    if (!t || t->columns > 16)
        return;
    for (size_t i = 0; i < t->n; i++) {
        size_t w = width(t->cells[i]);
        if (w > widths[i % t->columns])
            widths[i % t->columns] = w;
    }
    for (size_t i = 0; i < t->n; i++) {
        size_t column = i % t->columns;
        printf("%.*s", STR_ARG(t->cells[i]));
        if (column + 1 == t->columns)
            putchar('\n');
        else
            printf("%*s", (int)(widths[column] - width(t->cells[i]) + 2), "");
    }
}

struct str desk_time(struct arena *a, int64_t wall_ms) {
    if (wall_ms == 0)
        return STR("-");
    time_t s = (time_t)(wall_ms / 1000);
    struct tm tm;
    char text[32];
    localtime_r(&s, &tm);
    strftime(text, sizeof text, "%Y-%m-%d %H:%M", &tm);
    return arena_str(a, str_from(text));
}

void desk_print_json(struct buf *b) {
    fwrite(b->p ? b->p : "", 1, b->n, stdout);
    putchar('\n');
    buf_deinit(b);
}
