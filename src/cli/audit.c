/* parley audit verify: walks the audit log's chain of hashes, while Parley runs or not. */
#include <stdio.h>

#include "cli/desk.h"
#include "store/safety.h"

struct verifying {
    int64_t rows;
    char head[65];
};

static enum err verify(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct verifying *v = arg;
    return audit_verify(tx, &v->rows, v->head, ei);
}

int cmd_audit_verify(const struct args *a) {
    struct desk d;
    struct verifying v = {0};
    int status = desk_open(&d, a, DESK_EXISTING);
    if (!status)
        status = desk_read(&d, verify, &v);
    if (!status)
        printf("The audit log is whole: %lld rows, the newest hash is %s.\nKeep that hash "
               "elsewhere: a log that was written anew from the start has another one.\n",
               (long long)v.rows, v.rows ? v.head : "none yet");
    desk_close(&d);
    return status;
}
