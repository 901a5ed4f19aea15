/* See upgrade.h. */
#include "cli/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "cli/cli.h"

#define ARGUMENTS_MAX 256
#define COMMAND_MAX   65536
#define WAIT_MS       60000
#define LOOK_MS       50

/* ---- what is handed over ---- */

static bool take_fd(struct str text, int *ret) {
    uint64_t n;
    if (str_eq(text, STR("-1"))) {
        *ret = -1;
        return true;
    }
    if (!str_to_u64(text, &n) || n > INT32_MAX || fcntl((int)n, F_SETFD, FD_CLOEXEC) != 0)
        return false;
    *ret = (int)n;
    return true;
}

static bool read_note(struct str note, struct held *h) {
    while (note.n) {
        struct str value = str_cut(&note, ';'), name = str_cut(&value, '=');
        if (str_eq(name, STR("lock"))) {
            if (!take_fd(value, &h->lock_fd))
                return false;
        } else if (str_eq(name, STR("engine"))) {
            if (!take_fd(value, &h->engine_fd))
                return false;
        } else if (str_eq(name, STR("listen"))) {
            while (value.n)
                if (h->n_listeners == UPGRADE_LISTENERS_MAX ||
                    !take_fd(str_cut(&value, ','), &h->listeners[h->n_listeners++]))
                    return false;
        } /* a newer program's: not ours to know */
    }
    return h->lock_fd >= 0 && h->n_listeners > 0;
}

bool upgrade_take_held(struct held *ret) {
    const char *note = supervisor_handover_own();
    struct held h = {.lock_fd = -1, .engine_fd = -1};
    bool held = note && read_note(str_from(note), &h);
    supervisor_handover_forget();
    if (held)
        *ret = h;
    return held;
}

static const char **command_line(struct arena *a, const char *more, struct errinfo *ei) {
    char text[COMMAND_MAX];
    FILE *f = fopen("/proc/self/cmdline", "re");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0, count = 0;
    if (f)
        fclose(f);
    text[n] = 0;
    const char **argv = arena_array(a, ARGUMENTS_MAX, sizeof *argv);
    for (size_t at = 0; argv && at < n && count < ARGUMENTS_MAX - 2; at += strlen(text + at) + 1)
        if (!(argv[count++] = arena_strz(a, str_from(text + at))))
            argv = NULL;
    if (!argv || !n) {
        err_set(ei, argv ? ERR_IO : ERR_NOMEM, "the command line cannot be read");
        return NULL;
    }
    if (more)
        argv[count++] = more;
    argv[count] = NULL;
    return argv;
}

static const char *note_of(const struct held *h, struct arena *a) {
    struct buf b;
    buf_init(&b, 8192);
    buf_addf(&b, "lock=%d;engine=%d;listen=", h->lock_fd, h->engine_fd);
    for (size_t i = 0; i < h->n_listeners; i++)
        buf_addf(&b, "%s%d", i ? "," : "", h->listeners[i]);
    const char *note = buf_err(&b) ? NULL : arena_strz(a, buf_str(&b));
    buf_deinit(&b);
    return note;
}

enum err upgrade_describe(const struct held *held, struct arena *a, struct supervisor_upgrade *ret,
                          struct errinfo *ei) {
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n < 0)
        return err_set(ei, ERR_IO, "the program's path cannot be read: %s", strerror(errno));
    path[n] = 0;
    int *fds = arena_array(a, held->n_listeners + 2, sizeof *fds);
    struct supervisor_upgrade u = {.program = arena_strz(a, str_from(path)), .fds = fds};
    u.own = note_of(held, a);
    u.argv = command_line(a, NULL, ei);
    u.check_argv = u.argv ? command_line(a, "--check", ei) : NULL;
    if (!u.check_argv)
        return ei->code;
    if (!fds || !u.program || !u.own)
        return err_set(ei, ERR_NOMEM, NULL);
    memcpy(fds, held->listeners, held->n_listeners * sizeof *fds);
    u.n_fds = held->n_listeners;
    fds[u.n_fds++] = held->lock_fd;
    if (held->engine_fd >= 0)
        fds[u.n_fds++] = held->engine_fd;
    *ret = u;
    return ERR_OK;
}

/* ---- who runs ---- */

static void pid_path(const struct config *c, char out[4096]) {
    snprintf(out, 4096, "%s/serve.pid", c->run_dir);
}

/* Whole or not at all. */
static bool replace_file(const char *path, const char *text, size_t n) {
    char temporary[4200];
    snprintf(temporary, sizeof temporary, "%s.new", path);
    FILE *f = fopen(temporary, "we");
    bool written = f && fwrite(text, 1, n, f) == n;
    if (f && fclose(f) != 0)
        written = false;
    if (written && rename(temporary, path) == 0)
        return true;
    int saved = errno;
    if (f)
        unlink(temporary);
    errno = saved;
    return false;
}

/* A full disk still takes what a file has room for already. */
static bool overwrite_file(const char *path, const char *text, size_t n) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 && pwrite(fd, text, n, 0) == (ssize_t)n && ftruncate(fd, (off_t)n) == 0;
    int saved = errno;
    if (fd >= 0)
        close(fd);
    errno = saved;
    return written;
}

void upgrade_write_pid(const struct config *c, const char *address) {
    char path[4096], text[512];
    pid_path(c, path);
    int n = snprintf(text, sizeof text, "%d %s %lld %s\n", (int)getpid(), PARLEY_VERSION,
                     (long long)clock_wall_ms(), address);
    size_t size = n > 0 && (size_t)n < sizeof text ? (size_t)n : 0;
    if (!replace_file(path, text, size) && !overwrite_file(path, text, size))
        log_event(LOG_WARN, "serve.no_pid_file", LF_Z("error", strerror(errno)));
}

void upgrade_remove_pid(const struct config *c) {
    char path[4096];
    pid_path(c, path);
    unlink(path);
}

struct running {
    int pid;
    char version[64];
    long long since;
    char address[UPGRADE_ADDRESS_MAX]; /* "" = an older version's file */
};

static bool read_pid(const struct config *c, struct running *ret) {
    char path[4096];
    pid_path(c, path);
    FILE *f = fopen(path, "re");
    ret->address[0] = 0;
    int n =
        f ? fscanf(f, "%d %63s %lld %299[^\n]", &ret->pid, ret->version, &ret->since, ret->address)
          : 0;
    if (f)
        fclose(f);
    return n >= 3 && ret->pid > 1 && kill(ret->pid, 0) == 0;
}

bool upgrade_running_address(const struct config *c, char out[UPGRADE_ADDRESS_MAX]) {
    struct running now;
    if (!read_pid(c, &now) || !now.address[0])
        return false;
    snprintf(out, UPGRADE_ADDRESS_MAX, "%s", now.address);
    return true;
}

/* ---- parley upgrade ---- */

static int wait_for_change(const struct config *c, const struct running *before) {
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000};
    struct running now;
    for (int ms = 0; ms < WAIT_MS; ms += LOOK_MS) {
        if (!read_pid(c, &now))
            return cli_say(CLI_FAILED, "Parley ended; see its log");
        if (now.since != before->since) {
            printf("Parley %s took over from %s. Answers that were being written go on.\n",
                   now.version, before->version);
            return CLI_OK;
        }
        nanosleep(&pause, NULL);
    }
    return cli_say(CLI_FAILED,
                   "Parley still runs as it was: its log says why (supervisor.upgrade_refused)");
}

int cmd_upgrade(const struct args *a) {
    struct config *config;
    struct running before;
    int status = cli_config(a, &config);
    if (status)
        return status;
    if (!read_pid(config, &before))
        status = cli_say(CLI_FAILED, "no Parley runs on %s; start it with `parley serve`",
                         config->data_dir);
    else if (kill(before.pid, SIGUSR2) != 0)
        status = cli_say(CLI_FAILED, "Parley (process %d) cannot be asked: %s", before.pid,
                         strerror(errno));
    else
        status = wait_for_change(config, &before);
    config_free(config);
    return status;
}
