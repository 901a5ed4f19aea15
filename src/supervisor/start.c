/* Starting a child: its environment, its descriptors, its own process group. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "supervisor/link.h"
#include "supervisor/supervisor_internal.h"

static bool same_name(const char *a, const char *b) {
    size_t n = strcspn(a, "=");
    return strncmp(a, b, n) == 0 && b[n] == '=';
}

/* Our environment, what the child wants added, and the link's four; a list to free(), strings
 * borrowed. */
static const char **make_env(const struct supervisor_child *what, const char *const link[4]) {
    extern char **environ;
    size_t n_ours = 0, n_more = 0;
    while (environ[n_ours])
        n_ours++;
    while (what->env && what->env[n_more])
        n_more++;
    const char **env = calloc(n_ours + n_more + 5, sizeof *env);
    if (!env)
        return NULL;
    size_t n = 0;
    for (size_t i = 0; i < n_ours; i++) {
        bool replaced = same_name("NOTIFY_SOCKET=", environ[i]) ||
                        same_name("WATCHDOG_USEC=", environ[i]) ||
                        same_name("WATCHDOG_PID=", environ[i]);
        for (size_t j = 0; j < n_more && !replaced; j++)
            replaced = same_name(what->env[j], environ[i]);
        if (!replaced)
            env[n++] = environ[i];
    }
    for (size_t j = 0; j < n_more; j++)
        env[n++] = what->env[j];
    for (size_t j = 0; j < 4; j++)
        env[n++] = link[j];
    return env;
}

/* In the new process; only what is safe after fork(). */
static _Noreturn void become(const struct supervisor *s, const struct child *c, int status_fd,
                             const char **env) {
    setpgid(0, 0); /* Ctrl-C reaches the supervisor alone, which stops its children in order */
    int null = open("/dev/null", O_RDONLY);
    if (null >= 0)
        dup2(null, STDIN_FILENO);
    fcntl(s->lifeline[0], F_SETFD, 0);
    fcntl(status_fd, F_SETFD, 0);
    for (size_t i = 0; i < c->what->n_fds; i++)
        fcntl(c->what->fds[i], F_SETFD, 0);
    sigprocmask(SIG_SETMASK, &s->old_mask, NULL);
    /* execve() takes its strings without const for old reasons only */
    execve(c->what->program, (char *const *)(uintptr_t)c->what->argv,
           (char *const *)(uintptr_t)env);
    _exit(127);
}

/* Returns the milliseconds until the next start. */
int64_t child_wait_again(struct child *c) {
    int64_t now = clock_mono_ns();
    int64_t ms = backoff_failed(&c->backoff, now);
    c->state = CHILD_WAITING;
    c->due_ns = now + ms * NS_PER_MS;
    return ms;
}

/* The process of the program before an upgrade in whose place this one is started; 0 = none. */
static pid_t leaving_pid(const struct supervisor *s, const struct child *c) {
    for (size_t i = s->n; i < s->n_all; i++)
        if (s->children[i].state == CHILD_RUNNING && s->children[i].what == c->what)
            return s->children[i].pid;
    return 0;
}

void child_start(struct supervisor *s, struct child *c) {
    int status[2] = {-1, -1};
    char life_text[48], status_text[48], start_text[48], before_text[48];
    const char **env = NULL;
    pid_t pid = -1;
    backoff_started(&c->backoff, clock_mono_ns());
    c->starts++;
    if (pipe2(status, O_CLOEXEC | O_NONBLOCK) == 0) {
        snprintf(life_text, sizeof life_text, LINK_ENV_LIFELINE "=%d", s->lifeline[0]);
        snprintf(status_text, sizeof status_text, LINK_ENV_STATUS "=%d", status[1]);
        snprintf(start_text, sizeof start_text, LINK_ENV_START "=%d", c->starts);
        snprintf(before_text, sizeof before_text, LINK_ENV_BEFORE "=%d", (int)leaving_pid(s, c));
        env = make_env(c->what,
                       (const char *const[]){life_text, status_text, start_text, before_text});
        pid = env ? fork() : -1;
        if (pid == 0)
            become(s, c, status[1], env);
        int saved = errno;
        free(env);
        close(status[1]);
        errno = saved;
    }
    if (pid < 0) {
        struct log_field why = LF_Z("error", strerror(errno));
        if (status[0] >= 0)
            close(status[0]);
        log_event(LOG_WARN, "supervisor.start_failed", LF_Z("child", c->what->name), why,
                  LF_INT("restart_in_ms", child_wait_again(c)));
        return;
    }
    c->pid = pid;
    c->state = CHILD_RUNNING;
    c->status_fd = status[0];
    c->ready = c->asked_to_stop = false;
    c->beat_ns = 0;
    log_event(LOG_DEBUG, "supervisor.started", LF_Z("child", c->what->name),
              LF_INT("child_pid", pid));
}
