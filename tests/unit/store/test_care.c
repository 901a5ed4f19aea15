/* Checks and backups of a running database. */
#include <dirent.h>
#include <unistd.h>

#include "store/care.h"
#include "unit/store/fixture.h"

static struct care_state wait_done(struct care *c, struct arena *a) {
    struct care_state s;
    do {
        usleep(1000);
        assert_ok(care_state(c, a, &s));
    } while (s.running);
    return s;
}

static int backups_in(const char *folder) {
    int n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        n += strncmp(e->d_name, "parley-", 7) == 0;
    if (d)
        closedir(d);
    return n;
}

static void remove_backups(const char *folder) {
    char path[600];
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        unlink(path);
    }
    if (d)
        closedir(d);
    rmdir(folder);
}

static void care_checks_and_backs_up_on_demand(void **state) {
    struct fixture *f = *state;
    struct care *c;
    char folder[300];
    make_user(f->tx, "ada", false);
    snprintf(folder, sizeof folder, "%s/backups", f->dir);
    struct care_options o = {.db_path = f->path, .backup_dir = folder, .keep = 1};
    assert_ok(care_new(&o, &c, &f->ei));
    care_ask(c, CARE_CHECK);
    struct care_state s = wait_done(c, f->arena);
    assert_true(s.checked_at > 0);
    assert_int_equal(s.check_error.n, 0);
    assert_int_equal(s.backed_up_at, 0);
    care_ask(c, CARE_BACKUP);
    s = wait_done(c, f->arena);
    assert_true(s.backed_up_at > 0);
    assert_int_equal(s.backup_error.n, 0);
    assert_ok(store_check(s.backup_path.p, &f->ei));
    care_ask(c, CARE_BACKUP); /* in the same second or a later one: only one is kept */
    s = wait_done(c, f->arena);
    assert_int_equal(backups_in(folder), 1);
    care_free(c);
    remove_backups(folder);
}

static void care_says_what_is_wrong(void **state) {
    struct fixture *f = *state;
    struct care *c;
    char nowhere[300];
    snprintf(nowhere, sizeof nowhere, "%s/no/such/folder", f->dir);
    struct care_options o = {.db_path = f->path, .backup_dir = nowhere};
    assert_ok(care_new(&o, &c, &f->ei));
    care_ask(c, CARE_BACKUP);
    struct care_state s = wait_done(c, f->arena);
    assert_true(s.backup_error.n > 0);
    assert_int_equal(s.backed_up_at, 0);
    assert_int_equal(s.backup_path.n, 0);
    care_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(care_checks_and_backs_up_on_demand, fixture_open,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(care_says_what_is_wrong, fixture_open, fixture_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
