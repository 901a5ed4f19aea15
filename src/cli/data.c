/* parley config, backup and restore. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/out.h"
#include "base/clock.h"
#include "cli/desk.h"
#include "store/care.h"

#define BACKUPS_ARENA ((size_t)8 << 20)

int cmd_config(const struct args *a) {
    struct buf b;
    struct config *c = NULL;
    int status = CLI_OK;
    buf_init(&b, (size_t)1 << 20);
    if (args_has(a, "reference"))
        config_reference(&b);
    else if ((status = cli_config(a, &c)) == CLI_OK) {
        if (args_has(a, "json"))
            config_print_json(c, &b);
        else
            config_print(c, &b);
    }
    if (!status)
        fwrite(b.p, 1, b.n, stdout);
    buf_deinit(&b);
    config_free(c);
    return status;
}

/* ---- Parley's own backups ---- */

static enum err own_backups(const struct config *c, struct arena *a, struct care_backup **ret,
                            size_t *ret_n, struct errinfo *ei) {
    const char *folder = a ? arena_printf(a, "%s/backups", c->data_dir) : NULL;
    enum err e = folder ? care_backups(folder, a, ret, ret_n) : ERR_NOMEM;
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

static int list_backups(const struct config *c, bool json) {
    struct arena *a = arena_new(BACKUPS_ARENA);
    struct care_backup *list;
    struct errinfo ei = {0};
    struct buf b;
    size_t n;
    int status = CLI_OK;
    buf_init(&b, BACKUPS_ARENA);
    enum err e = own_backups(c, a, &list, &n, &ei);
    if (e)
        status = cli_fail(e, &ei);
    else if (!n && !json)
        fprintf(stderr, "There is none yet: a running Parley makes one every backup_hours.\n");
    out_open(&b, NULL, '[');
    for (size_t i = 0; !e && i < n; i++) {
        char time[25];
        clock_format(list[i].at, time);
        if (!json)
            printf("%.19sZ  %9.1f MB  %s\n", time, (double)list[i].bytes / 1e6, list[i].path);
        out_open(&b, NULL, '{');
        out_time(&b, "at", list[i].at);
        out_int(&b, "bytes", list[i].bytes);
        out_strz(&b, "path", list[i].path);
        out_close(&b, '}');
    }
    out_close(&b, ']');
    if (!e && json)
        printf("%.*s\n", STR_ARG(buf_str(&b)));
    buf_deinit(&b);
    arena_free(a);
    return status;
}

/* The newest at or before the time, its path in the arena. */
static enum err find_backup(const struct config *c, const char *time, struct arena *a,
                            const char **ret, struct errinfo *ei) {
    struct care_backup *list;
    size_t n, i = 0;
    int64_t at;
    if (!care_parse_time(time, &at))
        return err_set(ei, ERR_INVALID,
                       "\"%s\" is no time: write it as 2026-11-27, \"2026-11-27 10:00\" or "
                       "2026-11-27T10:00:30Z (UTC)",
                       time);
    enum err e = own_backups(c, a, &list, &n, ei);
    if (e)
        return e;
    while (i < n && list[i].at > at)
        i++;
    if (i == n)
        return err_set(ei, ERR_NOT_FOUND,
                       "Parley has made no backup by then; `parley backup --list` shows what there "
                       "is");
    *ret = list[i].path;
    return ERR_OK;
}

/* ---- the commands ---- */

int cmd_backup(const struct args *a) {
    struct config *c;
    struct errinfo ei = {0};
    if (args_has(a, "list") == (a->n_operands > 0))
        return cli_say(CLI_USAGE, "name the file to write, or say --list");
    int status = cli_config(a, &c);
    if (status)
        return status;
    if (args_has(a, "list")) {
        status = list_backups(c, args_has(a, "json"));
        config_free(c);
        return status;
    }
    enum err e = ERR_OK;
    if (!args_has(a, "force") && access(a->operands[0], F_OK) == 0)
        e = err_set(&ei, ERR_CONFLICT, "%s is there already; --force replaces it", a->operands[0]);
    if (!e)
        e = store_backup(c->db_path, a->operands[0], &ei);
    if (e)
        status = cli_fail(e, &ei);
    else
        printf("All data is in %s now. `parley restore %s` brings it back.\n", a->operands[0],
               a->operands[0]);
    config_free(c);
    return status;
}

int cmd_restore(const struct args *a) {
    struct config *c;
    struct errinfo ei = {0};
    if (args_has(a, "at") == (a->n_operands > 0))
        return cli_say(CLI_USAGE, "name a backup, or say --at TIME");
    int status = cli_config(a, &c);
    if (status)
        return status;
    struct arena *arena = arena_new(BACKUPS_ARENA);
    const char *from = a->operands[0];
    bool before = access(c->db_path, F_OK) == 0;
    enum err e = args_has(a, "at") ? find_backup(c, args_get(a, "at"), arena, &from, &ei) : ERR_OK;
    if (!e && access(from, R_OK) != 0) /* before a folder is made for it */
        e = err_set(&ei, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", from, strerror(errno));
    if (!e)
        e = config_make_dirs(c, &ei);
    if (!e)
        e = store_restore(c->db_path, from, &ei);
    if (e)
        status = cli_fail(e, &ei);
    else
        printf("%s is in place.\n", from);
    if (!e && before)
        printf("What was there before is kept as %s.before-restore.\n", c->db_path);
    arena_free(arena);
    config_free(c);
    return status;
}
