/* Finding the command, its help, and what commands share. */
#include "cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "cli/plain.h"
#include "cli/upgrade.h"
#include "config/nearest.h"

/* ---- messages ---- */

int cli_say(int status, const char *fmt, ...) {
    char text[2048]; /* a server's message may stand in it */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    plain_text(text, strlen(text), true);
    fprintf(stderr, "parley: %s\n", text);
    return status;
}

int cli_fail(enum err e, const struct errinfo *ei) {
    int status = CLI_FAILED;
    if (e == ERR_INVALID)
        status = CLI_USAGE;
    else if (e == ERR_NOT_FOUND || e == ERR_NO_MODEL)
        status = CLI_NOT_FOUND;
    else if (e == ERR_UNAUTHORIZED || e == ERR_BAD_KEY || e == ERR_FORBIDDEN)
        status = CLI_REFUSED;
    else if (e == ERR_UNAVAILABLE)
        status = CLI_UNREACHABLE;
    return cli_say(status, "%s", ei->message[0] ? ei->message : err_text(e));
}

int cli_config(const struct args *a, struct config **ret) {
    struct errinfo ei = {0};
    enum err e = config_load(a->config_file, a->flags, a->n_flags, ret, &ei);
    if (!e)
        return CLI_OK;
    cli_fail(e, &ei);
    return e == ERR_NOMEM ? CLI_FAILED : CLI_USAGE;
}

void cli_url(const char *listen, char *out, size_t size) {
    if (strncmp(listen, "unix:", 5) == 0) {
        snprintf(out, size, "http://parley");
        return;
    }
    const char *port = strrchr(listen, ':');
    struct str host = {listen, port ? (size_t)(port - listen) : strlen(listen)};
    if (str_eqz(host, "0.0.0.0"))
        host = STR("127.0.0.1");
    else if (str_eqz(host, "[::]"))
        host = STR("[::1]");
    snprintf(out, size, "http://%.*s%s", STR_ARG(host), port ? port : "");
}

void cli_local_server(const struct args *a, const struct config *c, char *url, char *socket) {
    char running[UPGRADE_ADDRESS_MAX];
    bool named = false;
    for (size_t i = 0; i < a->n_flags; i++)
        named |= strcmp(a->flags[i].key, "listen") == 0 || strcmp(a->flags[i].key, "port") == 0;
    const char *listen = c->listen;
    if (!named && upgrade_running_address(c, running))
        listen = running;
    socket[0] = 0;
    if (strncmp(listen, "unix:", 5) == 0)
        snprintf(socket, UPGRADE_ADDRESS_MAX, "%s", listen + 5);
    if (strncmp(listen, "http://", 7) == 0)
        snprintf(url, UPGRADE_ADDRESS_MAX, "%s", listen);
    else
        cli_url(listen, url, UPGRADE_ADDRESS_MAX);
}

/* ---- passwords ---- */

static enum err read_line(struct buf *ret, struct errinfo *ei) {
    char c;
    ssize_t n;
    buf_clear(ret);
    while ((n = read(STDIN_FILENO, &c, 1)) == 1 && c != '\n')
        buf_addc(ret, c);
    if (n <= 0 && ret->n == 0)
        return err_set(ei, ERR_INVALID, "no password was given");
    return buf_err(ret);
}

static enum err ask(const char *prompt, bool terminal, struct buf *ret, struct errinfo *ei) {
    struct termios before, quiet;
    bool hide = terminal && tcgetattr(STDIN_FILENO, &before) == 0;
    if (hide) {
        fprintf(stderr, "%s: ", prompt);
        quiet = before;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    }
    enum err e = read_line(ret, ei);
    if (hide) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        fputc('\n', stderr);
    }
    return e;
}

enum err cli_read_password(const char *prompt, bool confirm, struct buf *ret, struct errinfo *ei) {
    bool terminal = isatty(STDIN_FILENO);
    enum err e = ask(prompt, terminal, ret, ei);
    if (e || !confirm || !terminal)
        return e;
    struct buf again;
    buf_init(&again, 4096);
    e = ask("Again", terminal, &again, ei);
    if (!e && !str_eq(buf_str(ret), buf_str(&again)))
        e = err_set(ei, ERR_INVALID, "the two are not the same");
    if (again.p)
        explicit_bzero(again.p, again.n);
    buf_deinit(&again);
    return e;
}

/* ---- help ---- */

#define HELP_COLUMNS 100 /* where no terminal says how wide it is, and at most */
#define HELP_LEFT    36

static size_t columns(void) {
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return HELP_COLUMNS;
    return size.ws_col < 60 ? 60 : size.ws_col > HELP_COLUMNS ? HELP_COLUMNS : size.ws_col;
}

/* Text beside what it explains, in a column of its own: broken at spaces. */
static void print_entry(const char *left, const char *text) {
    size_t width = columns() - HELP_LEFT;
    struct str rest = str_from(text);
    printf("  %-*s", HELP_LEFT - 2, left);
    if (strlen(left) > HELP_LEFT - 3)
        printf("\n%*s", HELP_LEFT, "");
    while (rest.n) {
        size_t n = rest.n;
        if (n > width) {
            n = width;
            while (n > 1 && rest.p[n] != ' ')
                n--;
            if (n == 1) /* one word is longer than the column */
                while (n < rest.n && rest.p[n] != ' ')
                    n++;
        }
        printf("%.*s\n", (int)n, rest.p);
        rest = str_trim(str_sub(rest, n, rest.n));
        if (rest.n)
            printf("%*s", HELP_LEFT, "");
    }
}

static void print_options(const struct arg_option *options) {
    for (const struct arg_option *o = options; o && o->name; o++) {
        char left[64], letter[8] = "    ";
        if (!o->help)
            continue;
        if (o->letter)
            snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->value ? " " : "",
                 o->value ? o->value : "");
        print_entry(left, o->help);
    }
}

static void print_flag(void *ctx, const struct config_help *h) {
    (void)ctx;
    char left[128], text[1024];
    snprintf(left, sizeof left, "    --%s %s", h->key, h->value);
    for (char *p = left; p < left + 6 + strlen(h->key); p++)
        if (*p == '_')
            *p = '-';
    snprintf(text, sizeof text, "%s%s%s%s", h->help, h->standard[0] ? " Default: " : "",
             h->standard, h->standard[0] ? "." : "");
    print_entry(left, text);
}

static void help_all(FILE *to) {
    fputs("parley: an AI assistant that you run yourself\n\nUsage: parley COMMAND [OPTION…]\n\n",
          to);
    for (const struct command *c = cli_commands(); c->name; c++)
        if (!c->hidden)
            fprintf(to, "  %-14s %s\n", c->name, c->summary);
    fputs("  version        print the version\n"
          "  help COMMAND   more about a command (also: parley COMMAND --help)\n\n"
          "Every command takes the options of the configuration, such as --data-dir DIR and\n"
          "--config FILE; `parley config --reference` lists them.\n\n"
          "Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 not found,\n"
          "4 no server answers, 5 not allowed.\n",
          to);
}

static void help_command(const char *path, const struct command *c) {
    printf("Usage: parley %s%s%s [OPTION…]\n\n%c%s.\n", path, c->operands[0] ? " " : "",
           c->operands,
           c->summary[0] >= 'a' && c->summary[0] <= 'z' ? c->summary[0] - 'a' + 'A' : c->summary[0],
           c->summary + 1);
    if (c->more)
        printf("\n%s", c->more);
    if (c->subs) {
        putchar('\n');
        for (const struct command *s = c->subs; s->name; s++) {
            char left[64];
            snprintf(left, sizeof left, "%s %s", s->name, s->operands);
            printf("  %-16s %s\n", left, s->summary);
        }
        printf("\n`parley %s COMMAND --help` says more.\n", c->name);
        return;
    }
    if (c->options)
        puts("\nOptions:");
    print_options(c->options);
    if (c->run == cmd_serve) {
        puts("\nConfiguration (also in parley.conf and the environment, see "
             "docs/configuration.md):");
        config_each_flag(print_flag, NULL);
    } else {
        puts("\nEvery option of the configuration is taken, too: --data-dir DIR, --config FILE, …");
    }
}

/* ---- running ---- */

static const struct command *find(const struct command *table, const char *name) {
    for (const struct command *c = table; c->name; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

static int unknown(const struct command *table, const char *prefix, const char *name) {
    struct nearest near;
    nearest_init(&near, str_from(name));
    for (const struct command *c = table; c->name; c++)
        if (!c->hidden)
            nearest_try(&near, c->name);
    if (near.best)
        return cli_say(CLI_USAGE, "there is no command \"%s%s\"; did you mean `parley %s%s`?",
                       prefix, name, prefix, near.best);
    return cli_say(CLI_USAGE, "there is no command \"%s%s\"; see `parley %s--help`", prefix, name,
                   prefix);
}

static int run(const char *path, const struct command *c, int argc, char **argv) {
    if (c->raw)
        return c->raw(argc, argv);
    if (c->subs) {
        char longer[64];
        if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
            help_command(path, c);
            return argc < 2 ? CLI_USAGE : CLI_OK;
        }
        snprintf(longer, sizeof longer, "%s ", path);
        const struct command *sub = find(c->subs, argv[1]);
        if (!sub)
            return unknown(c->subs, longer, argv[1]);
        snprintf(longer, sizeof longer, "%s %s", path, sub->name);
        return run(longer, sub, argc - 1, argv + 1);
    }
    struct args a;
    struct errinfo ei = {0};
    if (args_parse(c, path, argc, argv, &a, &ei))
        return cli_say(CLI_USAGE, "%s", ei.message);
    if (a.help) {
        help_command(path, c);
        return CLI_OK;
    }
    return c->run(&a);
}

static int help_about(int argc, char **argv) {
    if (argc == 0 || strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
        help_all(stdout);
        return CLI_OK;
    }
    const struct command *c = find(cli_commands(), argv[0]);
    if (!c)
        return unknown(cli_commands(), "", argv[0]);
    char help[] = "--help";
    char *with_help[] = {argv[0], argc > 1 && c->subs ? argv[1] : help, help, NULL};
    return run(c->name, c, argc > 1 && c->subs ? 3 : 2, with_help);
}

int cli_main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of the write */
    if (argc < 2) {
        help_all(stderr);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
        return help_about(argc - 2, argv + 2);
    if (strcmp(name, "version") == 0 || strcmp(name, "--version") == 0) {
        puts("parley " PARLEY_VERSION);
        return CLI_OK;
    }
    const struct command *c = find(cli_commands(), name);
    return c ? run(c->name, c, argc - 1, argv + 1) : unknown(cli_commands(), "", name);
}
