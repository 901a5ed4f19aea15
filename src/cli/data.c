/* parley config, backup and restore. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/desk.h"

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

int cmd_backup(const struct args *a) {
    struct config *c;
    struct errinfo ei = {0};
    int status = cli_config(a, &c);
    if (status)
        return status;
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
    int status = cli_config(a, &c);
    if (status)
        return status;
    enum err e = config_make_dirs(c, &ei);
    bool before = access(c->db_path, F_OK) == 0;
    if (!e)
        e = store_restore(c->db_path, a->operands[0], &ei);
    if (e)
        status = cli_fail(e, &ei);
    else
        printf("%s is in place.\n", a->operands[0]);
    if (!e && before)
        printf("What was there before is kept as %s.before-restore.\n", c->db_path);
    config_free(c);
    return status;
}
