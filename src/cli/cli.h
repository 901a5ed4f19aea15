/* The terminal: one table of commands (cli.c) and what they share. A command takes its parsed
 * arguments, writes results to stdout and errors, with what to do about them, to stderr, and
 * returns an exit status.
 *
 * To add a command, write its function, declare it below and add a row to the table in cli.c. */
#pragma once

#include "base/err.h"
#include "cli/args.h"
#include "config/config.h"

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1,      /* it was tried and went wrong */
    CLI_USAGE = 2,       /* the command line or the configuration is not right */
    CLI_NOT_FOUND = 3,   /* what was named is not there */
    CLI_UNREACHABLE = 4, /* no server answers */
    CLI_REFUSED = 5,     /* the server does not accept the key */
};

struct command {
    const char *name;
    const char *operands; /* "NAME", "[FILE]": what stands behind the name; "" = nothing */
    int min_operands, max_operands;
    const char *summary;              /* one line */
    const char *more;                 /* explanation and examples, lines; may be NULL */
    const struct arg_option *options; /* ends with a row without name; may be NULL */
    const struct command *subs;       /* subcommands instead of run; ends with a row without name */
    int (*run)(const struct args *a);
    int (*raw)(int argc, char **argv); /* parses by itself; argv[0] is the name */
    bool hidden;
};

int cli_main(int argc, char **argv);
const struct command *cli_commands(void); /* the table; ends with a row without name */

/* Prints "parley: …" to stderr and returns the exit status that fits the error. */
int cli_fail(enum err e, const struct errinfo *ei);
int cli_say(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The configuration by the command line's flags. Returns 0 or an exit status, after the message. */
int cli_config(const struct args *a, struct config **ret);

/* The address that a browser or client on this machine uses: "http://127.0.0.1:8080". listen is
 * HOST:PORT or unix:/path ("http://parley" then). out holds at least 300. */
void cli_url(const char *listen, char *out, size_t size);

/* Where the server of this machine is: where it said that it listens when it runs on c's data and
 * the command line names no address, otherwise where c has it. url as above, holds at least 300;
 * socket, which holds 300, too, is the path of its Unix socket or "". */
void cli_local_server(const struct args *a, const struct config *c, char *url, char *socket);

/* Asks on the terminal without showing what is typed, twice when confirm; without a terminal it
 * reads lines from stdin. The text is wiped by the caller. ERR_INVALID when the two differ or there
 * is none. */
enum err cli_read_password(const char *prompt, bool confirm, struct buf *ret,
                           struct errinfo *ei) ERR_CHECK;

/* ---- the commands ---- */
int cmd_serve(const struct args *a);
int cmd_upgrade(const struct args *a);
int cmd_server(const struct args *a); /* a child of serve */
int cmd_engine(const struct args *a);
int cmd_ingest(const struct args *a);
int cmd_extract(const struct args *a); /* a child that reads one file */
int cmd_chat(const struct args *a);
int cmd_search(const struct args *a);
int cmd_config(const struct args *a);
int cmd_doctor(const struct args *a);
int cmd_backup(const struct args *a);
int cmd_audit_verify(const struct args *a);
int cmd_restore(const struct args *a);
int cmd_user_list(const struct args *a);
int cmd_user_add(const struct args *a);
int cmd_user_passwd(const struct args *a);
int cmd_user_disable(const struct args *a);
int cmd_user_enable(const struct args *a);
int cmd_user_admin(const struct args *a);
int cmd_user_delete(const struct args *a);
int cmd_user_key(const struct args *a);
int cmd_learn(const struct args *a);
int cmd_role_list(const struct args *a);
int cmd_role_show(const struct args *a);
int cmd_role_add(const struct args *a);
int cmd_role_edit(const struct args *a);
int cmd_role_retire(const struct args *a);
int cmd_conversation_list(const struct args *a);
int cmd_conversation_show(const struct args *a);
int cmd_conversation_export(const struct args *a);
int cmd_conversation_delete(const struct args *a);
