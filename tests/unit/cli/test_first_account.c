/* The one-time link: kept over restarts, private, gone once there is an administrator. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "cli/first_account.h"

static char folder[256];
static struct config *config;
static struct store *store;

static int setup(void **state) {
    (void)state;
    struct errinfo ei;
    snprintf(folder, sizeof folder, "/tmp/parley-test-first-XXXXXX");
    assert_non_null(mkdtemp(folder));
    const struct config_flag flags[] = {{"data_dir", folder}};
    assert_int_equal(config_load(NULL, flags, 1, &config, &ei), ERR_OK);
    assert_int_equal(crypto_init(), ERR_OK);
    struct store_options o = {.path = config->db_path, .readers = 1};
    assert_int_equal(store_open(&o, &store, &ei), ERR_OK);
    return 0;
}

static int teardown(void **state) {
    char command[300];
    (void)state;
    store_close(store);
    config_free(config);
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

static void get_link(const char *address, char out[600]) {
    struct errinfo ei = {0};
    if (first_account_link(store, config, address, out, 600, &ei) != ERR_OK)
        fail_msg("%s", ei.message);
}

static enum err add_admin(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)arg;
    struct user u = {.user_id = uuid_new(),
                     .username = STR("ada"),
                     .email = STR("ada@example.org"),
                     .created_at = clock_wall_ms(),
                     .preferences = STR("{}"),
                     .is_admin = true,
                     .password_hash = STR("x")};
    return user_create(tx, &u, ei);
}

static void link_is_private_and_kept_over_restarts(void **state) {
    (void)state;
    char one[600], two[600], three[600], text[700];
    struct stat st;
    get_link("http://127.0.0.1:1", one);
    assert_memory_equal(one, "http://127.0.0.1:1/#setup=", 26);
    assert_true(strlen(one) >= 26 + 20);
    assert_int_equal(stat(config->setup_link, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    FILE *f = fopen(config->setup_link, "r");
    assert_non_null(fgets(text, sizeof text, f));
    fclose(f);
    text[strcspn(text, "\n")] = 0;
    assert_string_equal(text, one);
    get_link("http://127.0.0.1:2", two);
    assert_string_equal(one + 26, two + 26); /* the same token at the new address */
    unlink(config->setup_link);
    get_link("http://127.0.0.1:2", three);
    assert_string_not_equal(two, three);
}

static void link_goes_when_there_is_an_administrator(void **state) {
    (void)state;
    char link[600];
    struct errinfo ei;
    get_link("http://127.0.0.1:1", link);
    assert_int_equal(store_write_wait(store, add_admin, NULL, &ei), ERR_OK);
    get_link("http://127.0.0.1:1", link);
    assert_string_equal(link, "");
    assert_int_not_equal(access(config->setup_link, F_OK), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(link_is_private_and_kept_over_restarts, setup, teardown),
        cmocka_unit_test_setup_teardown(link_goes_when_there_is_an_administrator, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
