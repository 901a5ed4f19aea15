/* The configuration in force: where values come from, who wins, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"

static char folder[256], file[300];

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/parley-test-config-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/parley.conf", folder);
    clearenv();
    setenv("HOME", folder, 1);
    setenv("PARLEY_DATA_DIR", folder, 1);
    return 0;
}

static int teardown(void **state) {
    char command[400];
    (void)state;
    snprintf(command, sizeof command, "%s/key", folder);
    unlink(command);
    unlink(file);
    snprintf(command, sizeof command, "%s/run", folder);
    rmdir(command);
    return rmdir(folder);
}

static void write_file(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static struct config *load(const char *text, const struct config_flag *flags, size_t n) {
    struct config *c = NULL;
    struct errinfo ei = {0};
    if (text)
        write_file(file, text);
    if (config_load(NULL, flags, n, &c, &ei) != ERR_OK)
        fail_msg("refused: %s", ei.message);
    return c;
}

static void assert_refused(const char *text, const char *message) {
    struct config *c = NULL;
    struct errinfo ei = {0};
    write_file(file, text);
    assert_int_equal(config_load(NULL, NULL, 0, &c, &ei), ERR_INVALID);
    if (!strstr(ei.message, message))
        fail_msg("\"%s\" does not hold \"%s\"", ei.message, message);
    assert_null(c);
}

static void load_without_anything_gives_defaults(void **state) {
    (void)state;
    struct config *c = load(NULL, NULL, 0);
    char models[400];
    assert_string_equal(c->listen, "127.0.0.1:8080");
    assert_string_equal(c->data_dir, folder);
    snprintf(models, sizeof models, "%s/.cache/parley/models", folder);
    assert_string_equal(c->models_dir, models);
    assert_int_equal(c->signup, SIGNUP_OPEN);
    assert_int_equal(c->log_level, LOG_INFO);
    assert_int_equal(c->titles, 1);
    assert_int_equal(c->session_days, 30);
    assert_false(c->file_read);
    assert_string_equal(c->upstream, "");
    config_free(c);
}

static void load_takes_flag_over_environment_over_file(void **state) {
    (void)state;
    const char *text = "listen = 127.0.0.1:1\nslots=2\n  log_level =  warn  \n";
    setenv("PARLEY_LISTEN", "127.0.0.1:2", 1);
    setenv("PARLEY_SLOTS", "3", 1);
    const struct config_flag flags[] = {{"listen", "127.0.0.1:3"}};
    struct config *c = load(text, flags, 1);
    assert_string_equal(c->listen, "127.0.0.1:3");
    assert_int_equal(c->slots, 3);
    assert_int_equal(c->log_level, LOG_WARN);
    assert_true(c->file_read);
    struct buf b;
    buf_init(&b, 100000);
    config_print(c, &b);
    assert_non_null(strstr(b.p, "# flag"));
    assert_non_null(strstr(b.p, "# environment"));
    assert_non_null(strstr(b.p, "parley.conf:3"));
    buf_deinit(&b);
    config_free(c);
}

static void load_finds_the_file_by_the_flag_that_moves_the_data(void **state) {
    (void)state;
    unsetenv("PARLEY_DATA_DIR");
    const struct config_flag flags[] = {{"data_dir", folder}};
    struct config *c = load("slots = 7\n", flags, 1);
    assert_int_equal(c->slots, 7);
    config_free(c);
}

static void file_refuses_unknown_keys_with_the_nearest(void **state) {
    (void)state;
    assert_refused("# comment\nlisten = 127.0.0.1:8080\nlisen = x\n",
                   "parley.conf:3: there is no option \"lisen\"; did you mean listen?");
    assert_refused("completely_else = 1\n", "`parley config --reference` lists them all");
}

static void file_refuses_bad_values_with_what_is_allowed(void **state) {
    (void)state;
    assert_refused("slots = many\n",
                   ":1: slots cannot be \"many\": allowed is a whole number from 0 to 64");
    assert_refused("slots = 65\n", "from 0 to 64");
    assert_refused("slots = -1\n", "from 0 to 64");
    assert_refused("log_level = loud\n", "one of debug, info, warn, error");
    assert_refused("listen = 8080\n", "HOST:PORT");
    assert_refused("listen = a:b\n", "HOST:PORT");
    assert_refused("listen = 127.0.0.1:65536\n", "HOST:PORT");
    assert_refused("listen = ::1:80\n", "HOST:PORT");
    assert_refused("upstream = ftp://x\n", "http://");
    assert_refused("upstream = http://\n", "http://");
    assert_refused("slots = 1\nslots = 2\n", ":2: slots was given on line 1 already");
    assert_refused("what is this\n", ":1: this line is not `key = value`");
    assert_refused("upstream_key = secret\n", "upstream_key_file");
    assert_refused("model = \x01\n", "model cannot be");
    assert_refused("model = \xff\xfe\n", "UTF-8");
}

static void file_takes_quotes_comments_and_crlf(void **state) {
    (void)state;
    struct config *c =
        load("\r\n# a\r\n  # b\r\nmodel = \"a # name\"\r\nlisten = [::1]:0", NULL, 0);
    assert_string_equal(c->model, "a # name");
    assert_string_equal(c->listen, "[::1]:0");
    config_free(c);
}

static void paths_in_a_file_are_relative_to_it(void **state) {
    (void)state;
    char wanted[400];
    struct config *c =
        load("models_dir = weights\nmodel = small.gguf\nupstream_key_file = ~/key\n", NULL, 0);
    snprintf(wanted, sizeof wanted, "%s/weights", folder);
    assert_string_equal(c->models_dir, wanted);
    snprintf(wanted, sizeof wanted, "%s/small.gguf", folder);
    assert_string_equal(c->model, wanted);
    snprintf(wanted, sizeof wanted, "%s/key", folder);
    assert_string_equal(c->upstream_key_file, wanted);
    config_free(c);
}

static void environment_and_flags_name_themselves_when_wrong(void **state) {
    (void)state;
    struct config *c = NULL;
    struct errinfo ei = {0};
    setenv("PARLEY_SESSION_DAYS", "0", 1);
    assert_int_equal(config_load(NULL, NULL, 0, &c, &ei), ERR_INVALID);
    assert_non_null(strstr(ei.message, "PARLEY_SESSION_DAYS: "));
    assert_string_equal(ei.param, "session_days");
    unsetenv("PARLEY_SESSION_DAYS");
    const struct config_flag flags[] = {{"session_days", "x"}};
    assert_int_equal(config_load(NULL, flags, 1, &c, &ei), ERR_INVALID);
    assert_non_null(strstr(ei.message, "--session-days: "));
}

static void named_file_must_be_there(void **state) {
    (void)state;
    struct config *c = NULL;
    struct errinfo ei = {0};
    assert_int_equal(config_load("/nowhere/parley.conf", NULL, 0, &c, &ei), ERR_IO);
    assert_non_null(strstr(ei.message, "/nowhere/parley.conf"));
}

static void port_replaces_that_of_listen(void **state) {
    (void)state;
    struct config *c = load("listen = [::1]:8080\nport = 9000\n", NULL, 0);
    assert_string_equal(c->listen, "[::1]:9000");
    config_free(c);
    assert_refused("listen = unix:/tmp/x\nport = 9000\n", "port has no meaning");
}

static void secret_is_taken_from_the_environment_and_never_shown(void **state) {
    (void)state;
    struct buf b, key;
    struct errinfo ei = {0};
    setenv("PARLEY_UPSTREAM_KEY", "sk-very-secret", 1);
    struct config *c = load(NULL, NULL, 0);
    buf_init(&b, 100000);
    buf_init(&key, 1000);
    config_print(c, &b);
    config_print_json(c, &b);
    assert_null(strstr(b.p, "sk-very-secret"));
    assert_non_null(strstr(b.p, "(set, not shown)"));
    assert_int_equal(config_upstream_key(c, &key, &ei), ERR_OK);
    assert_string_equal(key.p, "sk-very-secret");
    buf_deinit(&b);
    buf_deinit(&key);
    config_free(c);
}

static void secret_comes_from_the_first_line_of_its_file(void **state) {
    (void)state;
    char path[400];
    struct buf key;
    struct errinfo ei = {0};
    snprintf(path, sizeof path, "%s/key", folder);
    write_file(path, "  sk-file \nsecond line\n");
    struct config *c = load("upstream_key_file = key\n", NULL, 0);
    buf_init(&key, 1000);
    assert_int_equal(config_upstream_key(c, &key, &ei), ERR_OK);
    assert_string_equal(key.p, "sk-file");
    write_file(path, "\n");
    assert_int_equal(config_upstream_key(c, &key, &ei), ERR_INVALID);
    unlink(path);
    assert_int_equal(config_upstream_key(c, &key, &ei), ERR_IO);
    buf_deinit(&key);
    config_free(c);
}

static void environment_for_children_gives_them_the_same(void **state) {
    (void)state;
    setenv("PARLEY_UPSTREAM_KEY", "k", 1);
    struct config *c =
        load("listen = 127.0.0.1:1234\nsignup = closed\nmodel = x.gguf\nport = 99\n", NULL, 0);
    const char *const *env = config_environment(c);
    clearenv();
    for (size_t i = 0; env[i]; i++)
        putenv((char *)(uintptr_t)env[i]);
    struct config *child = NULL;
    struct errinfo ei = {0};
    assert_int_equal(config_load(NULL, NULL, 0, &child, &ei), ERR_OK);
    struct buf a, b;
    buf_init(&a, 100000);
    buf_init(&b, 100000);
    for (size_t i = 0; env[i]; i++)
        buf_addf(&a, "%s\n", env[i]);
    for (size_t i = 0; config_environment(child)[i]; i++)
        buf_addf(&b, "%s\n", config_environment(child)[i]);
    assert_string_equal(a.p, b.p);
    assert_string_equal(child->db_path, c->db_path);
    assert_string_equal(child->listen, "127.0.0.1:99");
    assert_false(child->file_read);
    clearenv();
    config_free(child);
    config_free(c);
    buf_deinit(&a);
    buf_deinit(&b);
}

static void make_dirs_makes_private_ones(void **state) {
    (void)state;
    struct stat st;
    struct errinfo ei = {0};
    struct config *c = load(NULL, NULL, 0);
    assert_int_equal(config_make_dirs(c, &ei), ERR_OK);
    assert_int_equal(stat(c->run_dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    config_free(c);
    const struct config_flag flags[] = {{"data_dir", "/proc/nothing/here"}};
    c = load(NULL, flags, 1);
    assert_int_equal(config_make_dirs(c, &ei), ERR_IO);
    assert_non_null(strstr(ei.message, "/proc/nothing/here"));
    config_free(c);
}

static void reference_is_a_valid_file_that_changes_nothing(void **state) {
    (void)state;
    struct buf b, lines;
    struct errinfo ei = {0};
    buf_init(&b, 100000);
    buf_init(&lines, 100000);
    config_reference(&b);
    assert_int_equal(config_check_text("reference", buf_str(&b), &ei), ERR_OK);
    struct str rest = buf_str(&b); /* and each of its defaults, taken as a setting, is allowed */
    while (rest.n) {
        struct str line = str_cut(&rest, '\n');
        if (line.n > 1 && line.p[0] == '#' && line.p[1] != ' ')
            buf_addf(&lines, "%.*s\n", (int)line.n - 1, line.p + 1);
    }
    if (config_check_text("defaults", buf_str(&lines), &ei) != ERR_OK)
        fail_msg("%s", ei.message);
    buf_deinit(&b);
    buf_deinit(&lines);
}

static void reference_stands_in_the_documentation(void **state) {
    (void)state;
    struct buf b;
    static char text[100000];
    FILE *f = fopen(PARLEY_SOURCE_DIR "/docs/configuration.md", "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    buf_init(&b, 100000);
    config_reference(&b);
    if (!strstr(text, b.p))
        fail_msg("docs/configuration.md does not hold what `parley config --reference` prints");
    buf_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(load_without_anything_gives_defaults),
        T(load_takes_flag_over_environment_over_file),
        T(load_finds_the_file_by_the_flag_that_moves_the_data),
        T(file_refuses_unknown_keys_with_the_nearest),
        T(file_refuses_bad_values_with_what_is_allowed),
        T(file_takes_quotes_comments_and_crlf),
        T(paths_in_a_file_are_relative_to_it),
        T(environment_and_flags_name_themselves_when_wrong),
        T(named_file_must_be_there),
        T(port_replaces_that_of_listen),
        T(secret_is_taken_from_the_environment_and_never_shown),
        T(secret_comes_from_the_first_line_of_its_file),
        T(environment_for_children_gives_them_the_same),
        T(make_dirs_makes_private_ones),
        T(reference_is_a_valid_file_that_changes_nothing),
        T(reference_stands_in_the_documentation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
