/* Arguments of a command: its own options, the configuration's flags (which every command takes),
 * operands.
 *
 *   --name VALUE, --name=VALUE, -n VALUE, --switch; "--" ends the options; options and operands may
 * mix
 *
 * Strings are borrowed from argv. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "config/config.h"

struct command;

struct arg_option {
    const char *name;  /* without dashes; NULL ends the list */
    char letter;       /* 0 = none */
    const char *value; /* placeholder of its value; NULL = a switch */
    const char *help;  /* NULL = not shown */
};

#define ARGS_OPTIONS_MAX  24
#define ARGS_OPERANDS_MAX 16
#define ARGS_FLAGS_MAX    64

struct args {
    const struct command *command;
    const char *path; /* the command with those that it is under, "user add"; borrowed */
    const char *values[ARGS_OPTIONS_MAX]; /* by the option's row; switches: "" */
    const char *operands[ARGS_OPERANDS_MAX];
    int n_operands;
    struct config_flag flags[ARGS_FLAGS_MAX];
    size_t n_flags;
    const char *config_file; /* --config */
    bool help;
};

/* argv[0] is the command's name. ERR_INVALID says what is wrong; --help ends the parsing. */
enum err args_parse(const struct command *c, const char *path, int argc, char **argv,
                    struct args *ret, struct errinfo *ei) ERR_CHECK;

const char *args_get(const struct args *a, const char *name); /* NULL when not given */
static inline bool args_has(const struct args *a, const char *name) {
    return args_get(a, name) != NULL;
}
