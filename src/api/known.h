/* Who asked a moment ago: so that a request of theirs needs no look into the store before it can be
 * begun.
 *
 * An answer is good as long as this process has changed no account, session, key or hold
 * (store_accounts_version()), and for KNOWN_MS at most: so long a change that another process makes
 * (a terminal command on the same data directory), or the end of a session, may go unseen. Only who
 * was found is kept, never that somebody was not. Any thread. */
#pragma once

#include "auth/auth.h"

#define KNOWN_MS 1000

struct known_users;

struct known_user {
    struct user user; /* without its password hash */
    struct uuid key_id;
    bool may_ask; /* the guard holds nothing against them */
};

enum err known_users_new(struct known_users **ret) ERR_CHECK;
void known_users_free(struct known_users *k);

/* version: store_accounts_version() now. Strings go into the arena. False: not known. */
bool known_users_find(struct known_users *k, const struct auth_credential *c, uint64_t version,
                      struct arena *a, struct known_user *ret);
/* version: as it was before the store was asked. Without memory nothing is kept. */
void known_users_put(struct known_users *k, const struct auth_credential *c, uint64_t version,
                     const struct known_user *u);
