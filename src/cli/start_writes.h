/* What a server writes when it starts: the roles, the one-time link of the first account, and the
 * answers that the process before was writing, which go on. A disk that takes nothing puts that
 * off: the server reads, and each part is tried again, ever less often (retry.h), until it is done.
 *
 * Loop 0's but for what is said otherwise; the store's and the jobs' threads reach in through its
 * own operations only. */
#pragma once

#include "base/retry.h"
#include "config/config.h"
#include "net/jobs.h"
#include "store/store.h"
#include "turn/turn.h"

struct start_writes {
    /* set by the server; borrowed */
    const struct config *config;
    const char *address;
    struct store *store;
    struct turns *turns;
    struct jobs *jobs;
    struct loop *loop;
    bool tells; /* the link is printed: a person started the program and may look */

    bool accounts_due, answers_due; /* still to come */
    struct {                        /* the job's, while it runs */
        bool accounts, answers;
        char link[600];
    } now;
    bool trying;
    struct retry retry;
    bool link_out, link_looking, link_used; /* link_used: the store's thread, while looking */
    int64_t link_looked_ns;
};

/* Before the loops run. What fails stays to be done. */
enum err start_writes_accounts(struct start_writes *w, struct errinfo *ei) ERR_CHECK;
enum err start_writes_answers(struct start_writes *w, struct errinfo *ei) ERR_CHECK;
/* Several times a second: tries what is due, and removes the link's file once there is an account.
 */
void start_writes_look(struct start_writes *w, int64_t now_ns);
