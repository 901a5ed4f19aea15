#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/args.h"
#include "cli/cli.h"

static const struct arg_option options[] = {
    {"user", 'u', "NAME", "whose"},
    {"json", 0, NULL, "as JSON"},
    {"model", 0, "NAME", "goes before the configuration's"},
    {0},
};
static const struct command command = {
    .name = "list", .operands = "ID", .min_operands = 0, .max_operands = 1, .options = options};

#define PARSE(ret, ei, ...)                                                                        \
    parse(ret, ei, (char *[]){"list", __VA_ARGS__},                                                \
          (int)(sizeof((char *[]){"list", __VA_ARGS__}) / sizeof(char *)))

static enum err parse(struct args *ret, struct errinfo *ei, char **argv, int argc) {
    *ei = (struct errinfo){0};
    return args_parse(&command, "user list", argc, argv, ret, ei);
}

static void parse_takes_every_spelling(void **state) {
    (void)state;
    struct args a;
    struct errinfo ei;
    assert_int_equal(PARSE(&a, &ei, "--user", "ada", "--json", "x"), ERR_OK);
    assert_string_equal(args_get(&a, "user"), "ada");
    assert_true(args_has(&a, "json"));
    assert_int_equal(a.n_operands, 1);
    assert_int_equal(PARSE(&a, &ei, "--user=ada=b"), ERR_OK);
    assert_string_equal(args_get(&a, "user"), "ada=b");
    assert_int_equal(PARSE(&a, &ei, "x", "-u", "bob"), ERR_OK);
    assert_string_equal(args_get(&a, "user"), "bob");
    assert_int_equal(PARSE(&a, &ei, "--user="), ERR_OK);
    assert_string_equal(args_get(&a, "user"), "");
    assert_false(args_has(&a, "json"));
    assert_int_equal(PARSE(&a, &ei, "--", "--json"), ERR_OK);
    assert_string_equal(a.operands[0], "--json");
    assert_int_equal(PARSE(&a, &ei, "-"), ERR_OK);
    assert_string_equal(a.operands[0], "-");
}

static void parse_gathers_the_configurations_flags(void **state) {
    (void)state;
    struct args a;
    struct errinfo ei;
    assert_int_equal(PARSE(&a, &ei, "--data-dir", "/d", "--config=c", "--log-level=warn"), ERR_OK);
    assert_int_equal(a.n_flags, 2);
    assert_string_equal(a.flags[0].key, "data_dir");
    assert_string_equal(a.flags[0].value, "/d");
    assert_string_equal(a.flags[1].key, "log_level");
    assert_string_equal(a.config_file, "c");
}

static void parse_gives_own_options_precedence(void **state) {
    (void)state;
    struct args a;
    struct errinfo ei;
    assert_int_equal(PARSE(&a, &ei, "--model", "m"), ERR_OK);
    assert_string_equal(args_get(&a, "model"), "m");
    assert_int_equal(a.n_flags, 0);
}

static void parse_refuses_with_what_is_meant(void **state) {
    (void)state;
    struct args a;
    struct errinfo ei;
    assert_int_equal(PARSE(&a, &ei, "--jsno"), ERR_INVALID);
    assert_non_null(strstr(ei.message, "did you mean --json?"));
    assert_int_equal(PARSE(&a, &ei, "--data-dri", "x"), ERR_INVALID);
    assert_non_null(strstr(ei.message, "did you mean --data-dir?"));
    assert_int_equal(PARSE(&a, &ei, "--zzzzzzzz"), ERR_INVALID);
    assert_non_null(strstr(ei.message, "parley user list --help"));
    assert_int_equal(PARSE(&a, &ei, "-x"), ERR_INVALID);
    assert_int_equal(PARSE(&a, &ei, "--user"), ERR_INVALID);
    assert_non_null(strstr(ei.message, "needs a value"));
    assert_int_equal(PARSE(&a, &ei, "--json=1"), ERR_INVALID);
    assert_int_equal(PARSE(&a, &ei, "a", "b"), ERR_INVALID);
    assert_non_null(strstr(ei.message, "\"b\""));
    assert_int_equal(PARSE(&a, &ei, "--upstream-key", "secret"), ERR_INVALID); /* others see it */
    assert_null(strstr(ei.message, "secret"));
}

static void parse_finds_help_anywhere(void **state) {
    (void)state;
    struct args a;
    struct errinfo ei;
    assert_int_equal(PARSE(&a, &ei, "a", "--help", "--nonsense"), ERR_OK);
    assert_true(a.help);
    assert_int_equal(PARSE(&a, &ei, "-h"), ERR_OK);
    assert_true(a.help);
}

static void every_command_is_whole(const struct command *table) {
    for (const struct command *c = table; c->name; c++) {
        assert_non_null(c->summary);
        assert_int_equal((c->run != NULL) + (c->raw != NULL) + (c->subs != NULL), 1);
        size_t n = 0;
        for (const struct arg_option *o = c->options; o && o->name; o++)
            n++;
        assert_true(n <= ARGS_OPTIONS_MAX);
        assert_true(c->max_operands <= ARGS_OPERANDS_MAX && c->min_operands <= c->max_operands);
        if (c->subs)
            every_command_is_whole(c->subs);
    }
}

static void table_of_commands_is_whole(void **state) {
    (void)state;
    every_command_is_whole(cli_commands());
}

static void url_is_one_that_reaches_the_address(void **state) {
    (void)state;
    char out[300];
    cli_url("127.0.0.1:8080", out, sizeof out);
    assert_string_equal(out, "http://127.0.0.1:8080");
    cli_url("0.0.0.0:80", out, sizeof out);
    assert_string_equal(out, "http://127.0.0.1:80");
    cli_url("[::]:80", out, sizeof out);
    assert_string_equal(out, "http://[::1]:80");
    cli_url("example.org:80", out, sizeof out);
    assert_string_equal(out, "http://example.org:80");
    cli_url("unix:/tmp/x", out, sizeof out);
    assert_string_equal(out, "http://parley");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_takes_every_spelling),
        cmocka_unit_test(parse_gathers_the_configurations_flags),
        cmocka_unit_test(parse_gives_own_options_precedence),
        cmocka_unit_test(parse_refuses_with_what_is_meant),
        cmocka_unit_test(parse_finds_help_anywhere),
        cmocka_unit_test(table_of_commands_is_whole),
        cmocka_unit_test(url_is_one_that_reaches_the_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
