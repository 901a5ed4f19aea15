/* SIGKILL at any moment: what was acknowledged is there, and the database is intact. A child writes
 * with several threads and tells each acknowledged message through a pipe; the parent kills it
 * after a random number of them, reopens, and counts. */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "unit/store/fixture.h"

#define ROUNDS  20
#define WRITERS 4

struct append {
    struct message m;
    char text[64];
};

static enum err append(struct store_tx *tx, void *arg, struct errinfo *ei) {
    return message_append(tx, &((struct append *)arg)->m, ei);
}

struct child {
    struct store *s;
    struct uuid conversation;
    int pipe;
};

static void *child_writes(void *arg) {
    struct child *c = arg;
    for (int i = 0;; i++) {
        struct append a = {.m = message_of(c->conversation, no_id, SENDER_USER, "")};
        snprintf(a.text, sizeof a.text, "number %d of the flood", i);
        a.m.content = str_from(a.text);
        if (store_write_wait(c->s, append, &a, NULL))
            _exit(3);
        if (write(c->pipe, a.m.message_id.s, UUID_LEN) != UUID_LEN)
            _exit(4);
    }
    return NULL;
}

static void child_main(const char *path, struct uuid conversation, int fd) {
    struct store_options o = {.path = path};
    struct child c = {.conversation = conversation, .pipe = fd};
    pthread_t t[WRITERS];
    if (store_open(&o, &c.s, NULL))
        _exit(2);
    for (int i = 0; i < WRITERS; i++)
        pthread_create(&t[i], NULL, child_writes, &c);
    pthread_join(t[0], NULL);
    _exit(1);
}

static bool read_id(int fd, struct uuid *ret) {
    size_t n = 0;
    while (n < UUID_LEN) {
        ssize_t got = read(fd, ret->s + n, UUID_LEN - n);
        if (got <= 0)
            return false;
        n += (size_t)got;
    }
    ret->s[UUID_LEN] = 0;
    return true;
}

static void check_all_there(struct fixture *f, struct uuid user, const struct uuid *ids, size_t n) {
    struct message m;
    assert_ok(conn_open(f->path, CONN_WRITE, 1000, &f->conn, &f->ei));
    f->tx->conn = f->conn;
    for (size_t i = 0; i < n; i++) {
        struct arena *a = arena_new(1 << 20);
        assert_ok(message_get(f->tx, &user, &ids[i], a, &m));
        arena_free(a);
    }
    assert_ok(conn_exec(
        f->conn, "INSERT INTO messages_fts (messages_fts, rank) VALUES ('integrity-check', 1)"));
    conn_close(f->conn);
    f->conn = NULL;
    if (store_check(f->path, &f->ei)) {
        print_error("%s\n", f->ei.message);
        fail();
    }
}

static void killed_writer_loses_nothing_acknowledged(void **state) {
    struct fixture *f = *state;
    static struct uuid ids[60000]; /* what a full pipe holds, each time */
    size_t n = 0;
    struct uuid user = make_user(f->tx, "ada", false);
    struct uuid conversation = make_conversation(f->tx, user, make_role(f->tx, "Helper"), "", 1);
    conn_close(f->conn);
    f->conn = NULL;
    srand(7); /* the moments differ all the same: the child runs freely */
    for (int round = 0; round < ROUNDS; round++) {
        int fds[2], status;
        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        if (child == 0) {
            close(fds[0]);
            child_main(f->path, conversation, fds[1]);
        }
        close(fds[1]);
        int until = rand() % 60;
        for (int i = 0; read_id(fds[0], &ids[n]); i++) {
            assert_true(++n < sizeof ids / sizeof *ids);
            if (i == until)
                kill(child, SIGKILL);
        }
        close(fds[0]);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        check_all_there(f, user, ids, n);
    }
    assert_true(n >= ROUNDS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(killed_writer_loses_nothing_acknowledged, fixture_open,
                                        fixture_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
