/* Runs a child process (pip, Python) and watches it; see models_internal.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/models_internal.h"

#define TICK_MS    200
#define LOG_MAX    (1 << 20)
#define NO_PROGRAM 127 /* what shells answer when a command is not there */

/* In the child, after fork. */
static void child_become(const struct child *c, int log_fd) {
    int null_fd = open("/dev/null", O_RDONLY);
    if (null_fd >= 0)
        dup2(null_fd, STDIN_FILENO);
    dup2(c->stdout_fd >= 0 ? c->stdout_fd : log_fd, STDOUT_FILENO);
    dup2(log_fd, STDERR_FILENO);
    for (size_t i = 0; c->env && c->env[i]; i += 2)
        setenv(c->env[i], c->env[i + 1], 1);
    execvp(c->argv[0], c->argv);
    dprintf(STDERR_FILENO, "cannot run %s: %s\n", c->argv[0], strerror(errno));
    _exit(NO_PROGRAM);
}

/* Waits on a descriptor of the process, so that no time is lost between its end and the next tick.
 */
static int wait_for(pid_t pid, const struct child *c) {
    int status = 0;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    while (fd >= 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int n = poll(&p, 1, TICK_MS);
        if (n > 0 || (n < 0 && errno != EINTR))
            break;
        if (c->tick)
            c->tick(c->ctx);
    }
    if (fd >= 0)
        close(fd);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The last line that says something, for the error message. pip's errors start with "ERROR:". */
static enum err explain(const struct child *c, int status, struct errinfo *ei) {
    struct buf log;
    struct str last = STR("it said nothing");
    if (file_read_text(c->log_path, LOG_MAX, &log, NULL))
        return err_set(ei, ERR_UPSTREAM, "%s failed with status %d", c->argv[0], status);
    for (struct str rest = buf_str(&log); rest.n > 0;) {
        struct str line = str_trim(str_cut(&rest, '\n'));
        if (line.n > 0 && !str_starts(line, STR("WARNING")) && !str_starts(line, STR("[notice]")))
            last = line;
    }
    last.n = utf8_cut(last, 300);
    bool full = str_find(last, str_from(strerror(ENOSPC))) != SIZE_MAX;
    enum err e = err_set(ei, full ? ERR_DISK_FULL : ERR_UPSTREAM, "%.*s", STR_ARG(last));
    buf_deinit(&log);
    return e;
}

enum err child_run(const struct child *c, struct errinfo *ei) {
    int log_fd = open(c->log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (log_fd < 0)
        return file_errno(ei, "write", c->log_path);
    pid_t pid = fork();
    if (pid == 0)
        child_become(c, log_fd);
    close(log_fd);
    if (pid < 0)
        return err_set(ei, ERR_INTERNAL, "cannot start a process: %s", strerror(errno));
    int status = wait_for(pid, c);
    if (status != 0)
        return explain(c, status, ei);
    (void)unlink(c->log_path);
    return ERR_OK;
}

void child_python(char out[PATH_MAX]) {
    char cache[PATH_MAX];
    const char *chosen = getenv("PARLEY_PYTHON");
    if (chosen && *chosen) {
        snprintf(out, PATH_MAX, "%s", chosen);
        return;
    }
    models_cache_dir(cache);
    if (path_join(out, cache, "python/bin/python3", NULL) || access(out, X_OK) != 0)
        strcpy(out, "python3");
}
