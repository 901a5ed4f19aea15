/* What the store's tests share: a database in a directory of its own, a connection on which verbs
 * run directly, and makers of rows. Each test program includes it once. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "store/store_internal.h"

#define UNUSED __attribute__((unused))

struct fixture {
    char dir[64];
    char path[128];
    struct conn *conn;
    struct store_tx tx_space;
    struct store_tx *tx;
    struct arena *arena;
    struct errinfo ei;
};

#define assert_ok(call)     assert_int_equal((call), ERR_OK)
#define assert_err(call, e) assert_int_equal((call), (e))
#define assert_str(s, text) fixture_assert_str((s), (text), __FILE__, __LINE__)

static UNUSED void fixture_assert_str(struct str s, const char *text, const char *file, int line) {
    if (str_eqz(s, text))
        return;
    print_error("%s:%d: \"%.*s\" is not \"%s\"\n", file, line, STR_ARG(s), text);
    fail();
}

static UNUSED int fixture_dir(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    const char *base = getenv("TMPDIR");
    snprintf(f->dir, sizeof f->dir, "%.40s/parley-store-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/parley.db", f->dir);
    f->arena = arena_new(64 << 20);
    f->tx = &f->tx_space;
    *state = f;
    return 0;
}

static UNUSED int fixture_open(void **state) {
    fixture_dir(state);
    struct fixture *f = *state;
    assert_ok(conn_open(f->path, CONN_WRITE, 1000, &f->conn, &f->ei));
    assert_ok(migrate(f->conn, f->path, &f->ei));
    /* Sync has nothing to say about verbs. */
    assert_ok(conn_exec(f->conn, "PRAGMA synchronous = OFF"));
    f->tx->conn = f->conn;
    return 0;
}

static UNUSED int fixture_close(void **state) {
    struct fixture *f = *state;
    char command[128];
    conn_close(f->conn);
    arena_free(f->arena);
    clock_test_end();
    snprintf(command, sizeof command, "rm -rf '%s'", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

/* What the store's writer does a moment after a write. */
static UNUSED void index_messages(struct fixture *f) {
    int n = 1;
    while (n)
        assert_ok(message_index(f->tx, 100, false, &n));
}

static UNUSED struct uuid make_user(struct store_tx *tx, const char *name, bool is_admin) {
    char email[80];
    snprintf(email, sizeof email, "%s@example.org", name);
    struct user u = {.user_id = uuid_new(),
                     .username = str_from(name),
                     .email = str_from(email),
                     .created_at = 1000,
                     .is_admin = is_admin,
                     .password_hash = STR("$hash")};
    struct errinfo ei;
    assert_ok(user_create(tx, &u, &ei));
    return u.user_id;
}

static UNUSED struct uuid make_role(struct store_tx *tx, const char *name) {
    struct role r = {.role_id = uuid_new(),
                     .name = str_from(name),
                     .system_prompt = STR("You help."),
                     .temperature = -1,
                     .top_p = -1};
    struct errinfo ei;
    assert_ok(role_create(tx, &r, &ei));
    return r.role_id;
}

static UNUSED struct uuid make_conversation(struct store_tx *tx, struct uuid user, struct uuid role,
                                            const char *title, int64_t at) {
    struct conversation c = {.conversation_id = uuid_new(),
                             .user_id = user,
                             .assistant_role_id = role,
                             .created_at = at,
                             .title = str_from(title)};
    struct errinfo ei;
    assert_ok(conversation_create(tx, &c, &ei));
    return c.conversation_id;
}

static UNUSED struct message message_of(struct uuid conversation, struct uuid parent,
                                        enum message_sender sender, const char *content) {
    return (struct message){.message_id = uuid_new(),
                            .conversation_id = conversation,
                            .parent_id = parent,
                            .sender = sender,
                            .content = str_from(content),
                            .timestamp = 2000,
                            .response_latency_ms = -1,
                            .ttft_ms = -1,
                            .prompt_tokens = -1,
                            .completion_tokens = -1};
}

static UNUSED struct uuid make_message(struct store_tx *tx, struct uuid conversation,
                                       struct uuid parent, enum message_sender sender,
                                       const char *content) {
    struct message m = message_of(conversation, parent, sender, content);
    struct errinfo ei;
    assert_ok(message_append(tx, &m, &ei));
    return m.message_id;
}

static UNUSED int64_t count(struct conn *c, const char *sql) {
    int64_t n = -1;
    assert_ok(conn_int(c, sql, &n));
    return n;
}

static const struct uuid no_id UNUSED = {{0}};
