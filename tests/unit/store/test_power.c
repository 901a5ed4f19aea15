/* The power fails at any moment: what was acknowledged is there, and the database is intact. While
 * a store writes, its files are put into another folder as a disk might hold them then, 1,000
 * times, and opened there. */
#include "unit/store/fixture.h"
#include "unit/store/power_vfs.h"

#define CUTS      1000
#define MOMENTS   40 /* writes and syncs of one transaction, about */
#define CHECK_ALL 10 /* each so many cuts the whole database is checked */

static char cut_db[160], cut_log[170], cut_shm[170];

static void cut(void) {
    power_remains(&power_disks[0], cut_db);
    power_remains(&power_disks[1], cut_log);
}

struct append {
    struct message m;
};

static enum err append(struct store_tx *tx, void *arg, struct errinfo *ei) {
    return message_append(tx, &((struct append *)arg)->m, ei);
}

/* As after a restart, through the real VFS. */
static void check(const struct uuid *user, const struct uuid *ids, size_t n, bool all) {
    struct conn *c;
    struct errinfo ei;
    sqlite3_vfs_register(power.real, 1);
    unlink(cut_shm);
    if (conn_open(cut_db, CONN_WRITE, 1000, &c, &ei)) {
        print_error("%s\n", ei.message);
        fail();
    }
    struct store_tx tx = {.conn = c};
    struct arena *a = arena_new(1 << 24);
    struct message m;
    for (size_t i = all ? 0 : n > 20 ? n - 20 : 0; i < n; i++)
        assert_ok(message_get(&tx, user, &ids[i], a, &m));
    arena_free(a);
    conn_close(c);
    if (all && store_check(cut_db, &ei)) {
        print_error("%s\n", ei.message);
        fail();
    }
    sqlite3_vfs_register(&power.vfs, 1);
}

static void power_lost_loses_nothing_acknowledged(void **state) {
    struct fixture *f = *state;
    static struct uuid ids[4 * CUTS];
    struct store *s;
    struct store_options o = {.path = f->path};
    struct uuid user = make_user(f->tx, "ada", false);
    struct uuid conversation = make_conversation(f->tx, user, make_role(f->tx, "Helper"), "", 1);
    conn_close(f->conn);
    f->conn = NULL;
    power_synced(&power_disks[0]); /* the fixture does without syncs */
    snprintf(cut_db, sizeof cut_db, "%s.cut", f->path);
    snprintf(cut_log, sizeof cut_log, "%s-wal", cut_db);
    snprintf(cut_shm, sizeof cut_shm, "%s-shm", cut_db);
    assert_ok(store_open(&o, &s, &f->ei));
    srand(11);
    size_t n = 0;
    for (int cuts = 0; cuts < CUTS; n++) {
        struct append ap = {.m =
                                message_of(conversation, no_id, SENDER_USER, "some words to keep")};
        assert_true(n < sizeof ids / sizeof *ids);
        power_arm(1 + rand() % MOMENTS);
        assert_ok(store_write_wait(s, append, &ap, &f->ei));
        if (power_disarm()) /* before the acknowledgement of this one */
            check(&user, ids, n, ++cuts % CHECK_ALL == 0);
        ids[n] = ap.m.message_id;
    }
    store_close(s);
    unlink(cut_db), unlink(cut_log), unlink(cut_shm);
}

static int open_under_power(void **state) {
    power_install(cut);
    return fixture_open(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(power_lost_loses_nothing_acknowledged, open_under_power,
                                        fixture_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
