/* The one-time link with which the first account, an administrator, is made: nobody else can take
 * it, because only who reads this terminal or the data directory has it. */
#pragma once

#include "base/err.h"
#include "config/config.h"
#include "store/store.h"

/* While there is no administrator: keeps the token of <data_dir>/setup-link when it still counts,
 * else makes one; writes the link for this address there (mode 0600) and into out
 * ("http://…/#setup=TOKEN"). With an administrator: removes the file, out becomes "". */
enum err first_account_link(struct store *store, const struct config *c, const char *address,
                            char *out, size_t size, struct errinfo *ei) ERR_CHECK;
