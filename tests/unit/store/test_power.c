/* The power fails at any moment: what was acknowledged is there, and the database is intact. While
 * a store writes, its files are put into another folder as a disk might hold them then, 1,000
 * times for single writes and GROUP_CUTS times for groups, and opened there. PARLEY_POWER_CUTS=N in
 * the environment makes it N times each. */
#include <sched.h>
#include <stdatomic.h>

#include "unit/store/fixture.h"
#include "unit/store/power_vfs.h"

#include "base/metrics.h"

#define CUTS       1000
#define GROUP_CUTS 300
#define GROUP_MOST 40
#define MOMENTS    4  /* writes and syncs of one transaction, about (store/log_vfs.c) */
#define CHECK_ALL  10 /* each so many cuts the whole database is checked */

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

static int cuts_wanted(int otherwise) {
    const char *n = getenv("PARLEY_POWER_CUTS");
    return n && atoi(n) > 0 ? atoi(n) : otherwise;
}

static struct store *begin(struct fixture *f, struct uuid *user, struct uuid *conversation) {
    struct store *s;
    struct store_options o = {.path = f->path};
    *user = make_user(f->tx, "ada", false);
    *conversation = make_conversation(f->tx, *user, make_role(f->tx, "Helper"), "", 1);
    conn_close(f->conn);
    f->conn = NULL;
    power_synced(&power_disks[0]); /* the fixture does without syncs */
    snprintf(cut_db, sizeof cut_db, "%s.cut", f->path);
    snprintf(cut_log, sizeof cut_log, "%s-wal", cut_db);
    snprintf(cut_shm, sizeof cut_shm, "%s-shm", cut_db);
    assert_ok(store_open(&o, &s, &f->ei));
    srand(11);
    return s;
}

static void power_lost_loses_nothing_acknowledged(void **state) {
    struct fixture *f = *state;
    struct uuid user, conversation;
    struct store *s = begin(f, &user, &conversation);
    size_t n = 0, wanted = (size_t)cuts_wanted(CUTS), size = 4 * wanted;
    struct uuid *ids = calloc(size, sizeof *ids);
    for (size_t cuts = 0; cuts < wanted; n++) {
        struct append ap = {.m =
                                message_of(conversation, no_id, SENDER_USER, "some words to keep")};
        assert_true(n < size);
        power_arm(1 + rand() % MOMENTS);
        assert_ok(store_write_wait(s, append, &ap, &f->ei));
        if (power_disarm()) /* before the acknowledgement of this one */
            check(&user, ids, n, ++cuts % CHECK_ALL == 0);
        ids[n] = ap.m.message_id;
    }
    store_close(s);
    free(ids);
    unlink(cut_db), unlink(cut_log), unlink(cut_shm);
}

/* ---- groups ---- */

static atomic_bool all_queued;
static int64_t commits_at_cut;

struct grouped {
    struct message m;
    int64_t group; /* commits before the one that it was in */
};

static void cut_group(void) {
    cut();
    commits_at_cut = metric_get(M_STORE_COMMITS);
}

/* The first holds the writer until the others wait, so that they are one group. */
static enum err append_grouped(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct grouped *g = arg;
    while (!atomic_load(&all_queued))
        sched_yield();
    g->group = metric_get(M_STORE_COMMITS);
    return message_append(tx, &g->m, ei);
}

static enum err nothing(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)tx, (void)arg, (void)ei;
    return ERR_OK;
}

/* How many of them the disk holds: all before the first that is missing, and none after it. */
static size_t count_kept(const struct uuid *user, const struct grouped *list, size_t n) {
    struct conn *c;
    struct errinfo ei;
    struct message m;
    sqlite3_vfs_register(power.real, 1);
    unlink(cut_shm);
    assert_ok(conn_open(cut_db, CONN_WRITE, 1000, &c, &ei));
    struct store_tx tx = {.conn = c};
    struct arena *a = arena_new(1 << 24);
    size_t kept = 0;
    while (kept < n && message_get(&tx, user, &list[kept].m.message_id, a, &m) == ERR_OK)
        kept++;
    for (size_t i = kept; i < n; i++)
        assert_err(message_get(&tx, user, &list[i].m.message_id, a, &m), ERR_NOT_FOUND);
    arena_free(a);
    conn_close(c);
    sqlite3_vfs_register(&power.vfs, 1);
    return kept;
}

static void groups_are_whole_and_in_order_after_power_is_lost(void **state) {
    struct fixture *f = *state;
    struct uuid user, conversation;
    struct store *s = begin(f, &user, &conversation);
    static struct grouped list[GROUP_MOST];
    int wanted = cuts_wanted(GROUP_CUTS), whole = 0, none = 0, batches = 0;
    power.cut = cut_group;
    for (int cuts = 0; cuts < wanted;) {
        size_t n = 1 + (size_t)rand() % GROUP_MOST;
        assert_true(++batches < 100 * wanted); /* the power does go */
        atomic_store(&all_queued, false);
        power_arm(1 + rand() % (MOMENTS + (int)n / 20));
        for (size_t i = 0; i < n; i++) {
            list[i].m = message_of(conversation, no_id, SENDER_USER, "some words to keep");
            assert_ok(store_write(s, append_grouped, &list[i], NULL, NULL));
        }
        atomic_store(&all_queued, true);
        assert_ok(store_write_wait(s, nothing, NULL, &f->ei));
        if (!power_disarm())
            continue;
        cuts++;
        size_t kept = count_kept(&user, list, n);
        if (kept > 0 && kept < n)
            assert_true(list[kept - 1].group < list[kept].group);
        for (size_t i = kept; i < n; i++)
            assert_true(list[i].group >= commits_at_cut); /* it was not acknowledged by then */
        whole += kept == n;
        none += kept == 0;
    }
    assert_true(whole > 0 && none > 0); /* power went before and after the sync */
    store_close(s);
    power.cut = cut;
    unlink(cut_db), unlink(cut_log), unlink(cut_shm);
}

static int open_under_power(void **state) {
    power_install(cut);
    return fixture_open(state);
}

static int open_again_under_power(void **state) {
    (void)power_disarm();
    sqlite3_vfs_register(&power.vfs, 1);
    for (size_t i = 0; i < 2; i++) {
        power_synced(&power_disks[i]);
        power_disks[i].n_synced = 0;
    }
    return fixture_open(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(power_lost_loses_nothing_acknowledged, open_under_power,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(groups_are_whole_and_in_order_after_power_is_lost,
                                        open_again_under_power, fixture_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
