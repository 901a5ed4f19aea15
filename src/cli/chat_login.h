/* Where `parley chat` finds its server and key.
 *
 *   server: --server, PARLEY_SERVER, ~/.config/parley/chat.conf, else this machine's: where the one
 *           that runs on the data directory says that it listens
 *   key:    --key, PARLEY_KEY, chat.conf (for its own server only), else, for this machine's server
 *           alone, a key that is made for the terminal and kept as <data_dir>/local-key (mode 0600)
 *
 * The last one gives nobody more than they have: who can write the data directory can do anything
 * with it. It is never sent to a server that was named by an address. */
#pragma once

#include "base/err.h"
#include "cli/cli.h"

struct chat_login {
    char server[1024];     /* "http://host:port" */
    char unix_socket[300]; /* "" = TCP */
    char key[256];         /* "" = none */
    bool local;            /* the key is the kept one: it may be made anew when it is refused */
};

/* Returns 0 or an exit status, after the message. */
int chat_login_find(const struct args *a, struct chat_login *ret);
/* local: forgets the kept key and makes another. */
int chat_login_renew(const struct args *a, struct chat_login *l);
int chat_login_save(const struct chat_login *l); /* as ~/.config/parley/chat.conf, mode 0600 */
