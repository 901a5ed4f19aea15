/* Becoming another program in place (an upgrade): the process keeps its number, its children and
 * its descriptors, so that no connection is refused and no stream broken.
 *
 *   SIGUSR2 → run the new program's check → it says yes → write down what we hold → execve()
 *           → the new program takes it over, starts children of its own beside ours, and lets each
 * of ours go when its successor is ready
 *
 * What is written down stands in the environment: PARLEY_HANDOVER is
 *   READ,WRITE;NAME:PID:STATUS_FD:STARTS;…
 * READ and WRITE are the lifeline's ends. What the caller holds beside (listening sockets) it
 * writes itself (struct supervisor_upgrade). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "supervisor/link.h"
#include "supervisor/supervisor_internal.h"

#define HANDOVER_MAX 2048

void upgrade_begin(struct supervisor *s) {
    const struct supervisor_upgrade *u = s->upgrade;
    bool busy = s->n_all > s->n && s->children[s->n].state == CHILD_RUNNING;
    if (!u || s->checking || s->stopping || busy) {
        log_event(LOG_WARN, "supervisor.upgrade_refused",
                  LF_Z("error", s->stopping ? "stopping"
                                : u         ? "another is under way"
                                            : "not made for it"));
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        sigprocmask(SIG_SETMASK, &s->old_mask, NULL);
        execv(u->program, (char *const *)(uintptr_t)u->check_argv);
        _exit(127);
    }
    if (pid < 0)
        log_event(LOG_WARN, "supervisor.upgrade_refused", LF_Z("error", strerror(errno)));
    else
        s->checking = pid;
}

static void keep_open(const struct supervisor *s, bool open) {
    int flag = open ? 0 : FD_CLOEXEC;
    fcntl(s->lifeline[0], F_SETFD, flag);
    fcntl(s->lifeline[1], F_SETFD, flag);
    for (size_t i = 0; i < s->n; i++)
        if (s->children[i].status_fd >= 0)
            fcntl(s->children[i].status_fd, F_SETFD, flag);
    for (size_t i = 0; i < s->upgrade->n_fds; i++)
        fcntl(s->upgrade->fds[i], F_SETFD, flag);
}

static void write_down(const struct supervisor *s, char text[HANDOVER_MAX]) {
    int n = snprintf(text, HANDOVER_MAX, "%d,%d", s->lifeline[0], s->lifeline[1]);
    for (size_t i = 0; i < s->n; i++) {
        const struct child *c = &s->children[i];
        if (c->state == CHILD_RUNNING)
            n += snprintf(text + n, (size_t)(HANDOVER_MAX - n), ";%s:%d:%d:%d", c->what->name,
                          (int)c->pid, c->status_fd, c->starts);
    }
}

void upgrade_checked(struct supervisor *s, int status) {
    char text[HANDOVER_MAX];
    s->checking = 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        log_event(LOG_ERROR, "supervisor.upgrade_refused",
                  LF_Z("error", "the program's own check failed; everything goes on as before"));
        return;
    }
    if (s->stopping)
        return;
    write_down(s, text);
    setenv(HANDOVER_ENV, text, 1);
    setenv(HANDOVER_ENV_OWN, s->upgrade->own, 1);
    keep_open(s, true);
    hurry_end(&s->hurry); /* the next program knows nothing of it */
    log_event(LOG_INFO, "supervisor.upgrade", LF_Z("program", s->upgrade->program));
    execv(s->upgrade->program, (char *const *)(uintptr_t)s->upgrade->argv);
    log_event(LOG_ERROR, "supervisor.upgrade_refused", LF_Z("error", strerror(errno)));
    keep_open(s, false);
    unsetenv(HANDOVER_ENV);
    unsetenv(HANDOVER_ENV_OWN);
}

static bool take_number(struct str *rest, char end, int *ret) {
    uint64_t n;
    struct str text = str_cut(rest, end);
    if (str_eq(text, STR("-1"))) {
        *ret = -1;
        return true;
    }
    if (!str_to_u64(text, &n) || n > INT32_MAX)
        return false;
    *ret = (int)n;
    return true;
}

static void adopt(struct supervisor *s, struct str entry) {
    struct str name = str_cut(&entry, ':');
    int pid, fd, starts;
    if (!take_number(&entry, ':', &pid) || !take_number(&entry, ':', &fd) ||
        !take_number(&entry, ':', &starts) || pid <= 0 || s->n_all == CHILDREN_MAX)
        return;
    if (fd >= 0)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    for (size_t i = 0; i < s->n; i++) {
        struct child *c = &s->children[i];
        if (!str_eqz(name, c->what->name))
            continue;
        c->starts = starts;
        s->children[s->n_all++] = (struct child){.what = c->what,
                                                 .state = CHILD_RUNNING,
                                                 .pid = pid,
                                                 .status_fd = fd,
                                                 .starts = starts,
                                                 .ready = true,
                                                 .leaving = true};
        return;
    }
    kill(pid, SIGTERM); /* the new program has no use for it; its end is reaped as a stranger's */
}

void handover_take(struct supervisor *s) {
    const char *text = getenv(HANDOVER_ENV);
    int fds[2];
    if (!text)
        return;
    char copy[HANDOVER_MAX];
    snprintf(copy, sizeof copy, "%s", text);
    unsetenv(HANDOVER_ENV);
    struct str rest = str_from(copy), head = str_cut(&rest, ';');
    if (!take_number(&head, ',', &fds[0]) || !take_number(&head, ',', &fds[1]))
        return;
    for (int i = 0; i < 2; i++) {
        s->lifeline[i] = fds[i];
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    }
    while (rest.n)
        adopt(s, str_cut(&rest, ';'));
    s->announced = true; /* systemd was told by the program before */
    log_event(LOG_INFO, "supervisor.upgraded", LF_INT("children", s->n_all - s->n));
}

const char *supervisor_handover_own(void) {
    return getenv(HANDOVER_ENV_OWN);
}

void supervisor_handover_forget(void) {
    unsetenv(HANDOVER_ENV_OWN);
}
