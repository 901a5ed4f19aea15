/* Fills a new data directory's database with signed-in users for load tests:
 *
 *   load_seed DATABASE USERS SESSIONS_FILE KEYS_FILE
 *
 * Each user gets a session and an API key, written one a line; passwords are not made, because
 * hashing thousands of them would take minutes. The first user is an administrator. The program
 * must not be running on that database. */
#include <stdio.h>
#include <stdlib.h>

#include "auth/auth.h"
#include "base/clock.h"
#include "store/store.h"

struct seed {
    long from, to;
    FILE *sessions, *keys;
};

static enum err add_users(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct seed *s = arg;
    int64_t now = clock_wall_ms();
    enum err e = ERR_OK;
    for (long i = s->from; !e && i < s->to; i++) {
        char name[32], email[48];
        struct auth_secret session, key;
        snprintf(name, sizeof name, "user%ld", i);
        snprintf(email, sizeof email, "user%ld@example.org", i);
        struct user u = {.user_id = uuid_new(),
                         .username = str_from(name),
                         .email = str_from(email),
                         .created_at = now,
                         .preferences = STR("{}"),
                         .is_admin = i == 0,
                         .password_hash = STR("!")};
        auth_session_secret(&session);
        auth_key_secret(&key);
        struct api_key k = {.key_id = uuid_new(),
                            .user_id = u.user_id,
                            .name = STR("load"),
                            .prefix = str_sub(str_from(key.text), 0, AUTH_KEY_SHOWN_LEN),
                            .hash = str_from(key.hash),
                            .created_at = now};
        e = user_create(tx, &u, ei);
        if (!e)
            e = session_create(tx, str_from(session.hash), &u.user_id, now + 86400000);
        if (!e)
            e = api_key_create(tx, &k);
        fprintf(s->sessions, "%s\n", session.text);
        fprintf(s->keys, "%s\n", key.text);
    }
    return e;
}

int main(int argc, char **argv) {
    struct errinfo ei = {0};
    struct store *store;
    if (argc != 5) {
        fprintf(stderr, "usage: load_seed DATABASE USERS SESSIONS_FILE KEYS_FILE\n");
        return 2;
    }
    struct store_options o = {.path = argv[1]};
    struct seed s = {.sessions = fopen(argv[3], "w"), .keys = fopen(argv[4], "w")};
    long n = atol(argv[2]);
    if (!s.sessions || !s.keys) {
        perror("load_seed");
        return 1;
    }
    enum err e = crypto_init();
    if (!e)
        e = net_init(&ei);
    if (!e)
        e = store_open(&o, &store, &ei);
    for (s.from = 0; !e && s.from < n; s.from = s.to) {
        s.to = s.from + 500 < n ? s.from + 500 : n;
        e = store_write_wait(store, add_users, &s, &ei);
    }
    if (e) {
        fprintf(stderr, "load_seed: %s\n", ei.message[0] ? ei.message : err_text(e));
        return 1;
    }
    store_close(store);
    return fclose(s.sessions) || fclose(s.keys);
}
