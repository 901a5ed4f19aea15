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

static void make_file(const char *folder, const char *name, const char *text) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void backups_are_listed_newest_first_by_their_names(void **state) {
    struct fixture *f = *state;
    struct care_backup *list;
    size_t n;
    char folder[300];
    snprintf(folder, sizeof folder, "%s/backups", f->dir);
    assert_ok(care_backups(folder, f->arena, &list, &n));
    assert_int_equal(n, 0);
    mkdir(folder, 0700);
    make_file(folder, "parley-20261127T100000Z.db", "1234");
    make_file(folder, "parley-20261127T110000Z.db", "12345");
    make_file(folder, "parley-20261126T100000Z.db", "");
    make_file(folder, "parley-yesterday.db", "");
    make_file(folder, "parley-20261127T110000Z.db.partial-abc", "");
    assert_ok(care_backups(folder, f->arena, &list, &n));
    assert_int_equal(n, 3);
    assert_int_equal(list[0].at, 1795777200000);
    assert_int_equal(list[0].bytes, 5);
    assert_int_equal(list[1].at, 1795773600000);
    assert_int_equal(list[2].at, 1795687200000);
    assert_non_null(strstr(list[2].path, "backups/parley-20261126T100000Z.db"));
    remove_backups(folder);
}

static void times_are_read_as_utc(void **state) {
    (void)state;
    int64_t at = 0;
    assert_true(care_parse_time("2026-11-27", &at));
    assert_int_equal(at, 1795737600000);
    assert_true(care_parse_time("2026-11-27 10:00", &at));
    assert_int_equal(at, 1795773600000);
    assert_true(care_parse_time("2026-11-27T10:00:30Z", &at));
    assert_int_equal(at, 1795773630000);
    assert_true(care_parse_time("20261127T100000Z", &at));
    static const char *const bad[] = {"", "today", "2026-11-27 10:00 Uhr", "2026-13-01", "10:00"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(care_parse_time(bad[i], &at));
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
        cmocka_unit_test_setup_teardown(backups_are_listed_newest_first_by_their_names,
                                        fixture_open, fixture_close),
        cmocka_unit_test(times_are_read_as_utc),
        cmocka_unit_test_setup_teardown(care_says_what_is_wrong, fixture_open, fixture_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
