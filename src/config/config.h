/* The configuration: one table of options (config.c) from which the file's parser, the environment,
 * the flags, `parley config` and the reference in docs/configuration.md are made.
 *
 * A value comes from, later ones winning: the default, the file, the environment (PARLEY_<KEY>), a
 * flag (--<key-with-dashes>). Every one of them is checked; the error says where it stands (file
 * and line, variable or flag) and what is allowed.
 *
 * The file is `key = value` by line; `#` starts a comment at the start of a line; a value may stand
 * in double quotes. Relative paths in it are relative to the file, elsewhere to the working
 * directory; "~/" is the home directory. Without --config it is <data_dir>/parley.conf, and may be
 * missing.
 *
 * A struct config does not change after it is made; any thread may read it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/str.h"

enum config_source { CONFIG_DEFAULT, CONFIG_FILE, CONFIG_ENV, CONFIG_FLAG };
enum config_signup { SIGNUP_CLOSED, SIGNUP_OPEN };
enum config_guard { GUARD_OFF, GUARD_DEGRADED, GUARD_ON };
enum config_guard_early { GUARD_EARLY_ENGINE, GUARD_EARLY_ALWAYS, GUARD_EARLY_NEVER };
enum config_log_format { LOG_FORMAT_AUTO, LOG_FORMAT_JSON, LOG_FORMAT_TEXT };

/* Strings are never NULL; "" says not set. They live as long as the struct config. */
struct config {
    const char
        *listen; /* "127.0.0.1:8080", "[::1]:8080", "unix:/path"; port is already worked in */
    int64_t port;
    const char *data_dir;
    const char *models_dir;
    const char *model; /* a name of the catalogue, or a GGUF file; "" = by the machine's memory */
    const char *embedding_model; /* the same; "none" = no embedding model */
    const char *upstream;        /* "http://host:port/v1", several, a file; "" = our own engine */
    const char *upstream_key_file;
    const char *upstream_key; /* only from the environment; never printed */
    const char *upstream_model;
    int64_t context;        /* tokens; 0 = chosen by the engine or told by the upstream */
    int64_t slots;          /* 0 = chosen by the engine */
    int64_t engine_threads; /* 0 = all cores */
    int64_t engine_max_queued;
    int64_t engine_deadline_ms; /* 0 = none */
    int64_t engine_keep_mib;    /* 0 = nothing is kept */
    int64_t signup;             /* enum config_signup */
    int64_t session_days;
    int64_t secure_cookies; /* 0 or 1 */
    int64_t loops;          /* 0 = cores */
    int64_t log_level;      /* enum log_level */
    int64_t log_format;     /* enum config_log_format */
    int64_t max_body_bytes;
    int64_t max_document_bytes;
    int64_t max_user_documents, max_user_document_bytes; /* 0 = no quota */
    int64_t source_delay_ms;
    int64_t max_running;
    int64_t max_running_per_user;
    int64_t embedding_wait_ms, search_wait_ms;
    int64_t degrade;            /* 0 or 1 */
    const char *fallback_model; /* "" = none */
    int64_t watchdog_seconds, server_memory_mib, engine_memory_mib;
    int64_t keep_stream_seconds;
    int64_t backup_hours, backup_keep;
    const char *otlp_endpoint; /* "" = no traces */
    int64_t titles;            /* 0 or 1 */

    int64_t guard;                            /* enum config_guard */
    int64_t guard_early;                      /* enum config_guard_early */
    const char *guard_policy;                 /* a file; "" = the built-in policy */
    const char *guard_classifier;             /* a file; "" = the built-in model */
    const char *guard_upstream, *guard_model; /* a guard model; "" = none */
    int64_t guard_format;                     /* enum guard_format of safety/guard_model.h */
    int64_t guard_timeout_ms;
    int64_t guard_fallback; /* 0 = let through, 1 = block */

    /* derived from data_dir */
    const char *db_path;       /* <data_dir>/parley.db */
    const char *crash_dir;     /* <data_dir>/crashes */
    const char *run_dir;       /* <data_dir>/run, mode 0700 */
    const char *engine_socket; /* <data_dir>/run/engine.sock */
    const char
        *setup_link; /* <data_dir>/setup-link, mode 0600: the one-time link for the first account */
    const char
        *local_key;   /* <data_dir>/local-key, mode 0600: with which `parley chat` signs in here */
    const char *file; /* the file that was looked for */
    bool file_read;   /* it was there */
};

struct config_flag {
    const char *key; /* with dashes or underscores, as config_option_key() spells it */
    const char *value;
};

/* Makes the configuration in force. file: from --config (then it must exist), or NULL. ERR_INVALID
 * with the option's key in ei->param when something is not allowed; ERR_IO when a named file cannot
 * be read. */
enum err config_load(const char *file, const struct config_flag *flags, size_t n_flags,
                     struct config **ret, struct errinfo *ei) ERR_CHECK;
void config_free(struct config *c); /* wipes the key; NULL is fine */

/* Checks the text of a configuration file against the table, as config_load() would, without taking
 * anything over. name stands in the errors. */
enum err config_check_text(const char *name, struct str text, struct errinfo *ei) ERR_CHECK;

/* The key that a flag without its dashes names ("data-dir" → "data_dir"), or NULL. Keys that must
 * not stand in a command line (secrets) are not found. */
const char *config_option_key(struct str flag);
/* What the help says of a flag. */
struct config_help {
    const char *key;
    const char *value;    /* the placeholder of its value, or the words that it may be: "off|on" */
    const char *standard; /* what it is otherwise; "" = help says it */
    const char *help;
};
void config_each_flag(void (*fn)(void *ctx, const struct config_help *h), void *ctx);

/* What is in force: one `key = value  # from …` line for each option. Secrets are not shown. */
void config_print(const struct config *c, struct buf *b);
void config_print_json(const struct config *c, struct buf *b);
/* The documented file with all defaults, each commented out. */
void config_reference(struct buf *b);

/* The configuration as environment, for a child process that is to have the same: n strings
 * "PARLEY_<KEY>=value", NULL-terminated, that live as long as c. Such a child finds no file to
 * read: PARLEY_CONFIG is set to "none". */
const char *const *config_environment(const struct config *c);

/* The key for the upstream: of the environment, else the first line of upstream_key_file; "" =
 * none. */
enum err config_upstream_key(const struct config *c, struct buf *ret, struct errinfo *ei) ERR_CHECK;

/* Makes data_dir and run_dir (mode 0700) where missing. ERR_IO says what to do. */
enum err config_make_dirs(const struct config *c, struct errinfo *ei) ERR_CHECK;

/* Starts the log as configured (level; text on a terminal when the format is auto), and reports of
 * crashes into crash_dir. */
void config_start_log(const struct config *c, const char *proc);
