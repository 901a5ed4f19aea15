/* The supervisor's loop: poll() over a signalfd and the children's status pipes, with the next
 * restart or kill as its timeout. */
#include "supervisor/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "supervisor/backoff.h"
#include "supervisor/link.h"
#include "supervisor/notify.h"

#define NS_PER_MS 1000000
#define REPEAT_MS                                                                                  \
    300 /* signals closer together are one wish: SIGTERM with SIGHUP, both from one source */

enum child_state { CHILD_WAITING, CHILD_RUNNING, CHILD_STOPPED };

struct child {
    const struct supervisor_child *what;
    enum child_state state;
    pid_t pid;     /* RUNNING */
    int status_fd; /* RUNNING and not ready yet, else -1 */
    int starts;
    bool ready;         /* said so in its last life */
    int64_t due_ns;     /* WAITING: when to start; RUNNING and stopping: when to kill */
    bool asked_to_stop; /* RUNNING: SIGTERM was sent */
    struct backoff backoff;
};

struct supervisor {
    struct child children[SUPERVISOR_CHILDREN_MAX];
    size_t n;
    int signal_fd;
    int lifeline[2];   /* read end for the children; the write end closes with us */
    sigset_t old_mask; /* what children get back */
    bool stopping, announced;
    int64_t stopping_since_ns;
    struct supervisor_end end;
};

/* ---- starting ---- */

static bool same_name(const char *a, const char *b) {
    size_t n = strcspn(a, "=");
    return strncmp(a, b, n) == 0 && b[n] == '=';
}

/* Our environment, what the child wants added, and the link's three; a list to free(), strings
 * borrowed. */
static const char **make_env(const struct supervisor_child *what, const char *const link[3]) {
    extern char **environ;
    size_t n_ours = 0, n_more = 0;
    while (environ[n_ours])
        n_ours++;
    while (what->env && what->env[n_more])
        n_more++;
    const char **env = calloc(n_ours + n_more + 4, sizeof *env);
    if (!env)
        return NULL;
    size_t n = 0;
    for (size_t i = 0; i < n_ours; i++) {
        bool replaced = same_name("NOTIFY_SOCKET=", environ[i]);
        for (size_t j = 0; j < n_more && !replaced; j++)
            replaced = same_name(what->env[j], environ[i]);
        if (!replaced)
            env[n++] = environ[i];
    }
    for (size_t j = 0; j < n_more; j++)
        env[n++] = what->env[j];
    for (size_t j = 0; j < 3; j++)
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
static int64_t wait_again(struct child *c) {
    int64_t now = clock_mono_ns();
    int64_t ms = backoff_failed(&c->backoff, now);
    c->state = CHILD_WAITING;
    c->due_ns = now + ms * NS_PER_MS;
    return ms;
}

static void start(struct supervisor *s, struct child *c) {
    int status[2] = {-1, -1};
    char life_text[48], status_text[48], start_text[48];
    const char **env = NULL;
    pid_t pid = -1;
    backoff_started(&c->backoff, clock_mono_ns());
    c->starts++;
    if (pipe2(status, O_CLOEXEC | O_NONBLOCK) == 0) {
        snprintf(life_text, sizeof life_text, LINK_ENV_LIFELINE "=%d", s->lifeline[0]);
        snprintf(status_text, sizeof status_text, LINK_ENV_STATUS "=%d", status[1]);
        snprintf(start_text, sizeof start_text, LINK_ENV_START "=%d", c->starts);
        env = make_env(c->what, (const char *const[]){life_text, status_text, start_text});
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
                  LF_INT("restart_in_ms", wait_again(c)));
        return;
    }
    c->pid = pid;
    c->state = CHILD_RUNNING;
    c->status_fd = status[0];
    c->ready = c->asked_to_stop = false;
    log_event(LOG_DEBUG, "supervisor.started", LF_Z("child", c->what->name),
              LF_INT("child_pid", pid));
}

/* ---- stopping ---- */

static void ask_to_stop(struct child *c) {
    kill(c->pid, SIGTERM);
    c->asked_to_stop = true;
    c->due_ns = clock_mono_ns() + (int64_t)c->what->stop_ms * NS_PER_MS;
}

/* Asks the first child that still runs; the next one when that has ended. */
static void stop_next(struct supervisor *s) {
    for (size_t i = 0; i < s->n; i++) {
        struct child *c = &s->children[i];
        if (c->state == CHILD_WAITING)
            c->state = CHILD_STOPPED;
        if (c->state != CHILD_RUNNING)
            continue;
        if (!c->asked_to_stop)
            ask_to_stop(c);
        return;
    }
}

static void begin_stop(struct supervisor *s) {
    int64_t now = clock_mono_ns();
    if (s->stopping) { /* asked twice: whoever asks does not want to wait */
        if (now - s->stopping_since_ns < (int64_t)REPEAT_MS * NS_PER_MS)
            return;
        for (size_t i = 0; i < s->n; i++)
            if (s->children[i].state == CHILD_RUNNING)
                kill(s->children[i].pid, SIGKILL);
        return;
    }
    s->stopping = true;
    s->stopping_since_ns = now;
    notify_send("STOPPING=1");
    stop_next(s);
}

/* ---- what happens ---- */

static void child_ended(struct supervisor *s, struct child *c, int status) {
    bool exited = WIFEXITED(status);
    struct log_field why =
        exited ? LF_INT("exit_code", WEXITSTATUS(status)) : LF_INT("signal", WTERMSIG(status));
    if (c->status_fd >= 0)
        close(c->status_fd);
    c->status_fd = -1;
    if (s->stopping) {
        c->state = CHILD_STOPPED;
        log_event(LOG_DEBUG, "supervisor.stopped", LF_Z("child", c->what->name), why);
        stop_next(s);
    } else if (exited && (WEXITSTATUS(status) == SUPERVISOR_EXIT_GIVE_UP ||
                          WEXITSTATUS(status) == SUPERVISOR_EXIT_GIVE_UP_DATA)) {
        c->state = CHILD_STOPPED;
        s->end = (struct supervisor_end){c->what, WEXITSTATUS(status)};
        begin_stop(s);
    } else {
        log_event(LOG_WARN, "supervisor.child_ended", LF_Z("child", c->what->name),
                  LF_INT("child_pid", c->pid), why, LF_INT("restart_in_ms", wait_again(c)));
    }
}

static void reap(struct supervisor *s) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) /* others' too: we may be the first process */
        for (size_t i = 0; i < s->n; i++)
            if (s->children[i].state == CHILD_RUNNING && s->children[i].pid == pid)
                child_ended(s, &s->children[i], status);
}

static void read_signals(struct supervisor *s) {
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
            reap(s);
            continue;
        }
        log_event(LOG_INFO, "supervisor.stop", LF_INT("signal", info.ssi_signo));
        begin_stop(s);
    }
}

static void read_status(struct supervisor *s, struct child *c) {
    char byte;
    ssize_t n = read(c->status_fd, &byte, 1);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    close(c->status_fd);
    c->status_fd = -1;
    if (n != 1)
        return;
    c->ready = true;
    bool all = true;
    for (size_t i = 0; i < s->n; i++)
        all = all && (s->children[i].ready || !s->children[i].what->announces);
    if (all && !s->announced) {
        s->announced = true;
        if (notify_send("READY=1") < 0)
            log_event(LOG_WARN, "supervisor.notify_failed", LF_Z("error", strerror(errno)));
    }
}

/* Does what is due and returns the milliseconds until the next, -1 for nothing. */
static int run_due(struct supervisor *s) {
    int64_t least = -1;
    for (size_t i = 0; i < s->n; i++) {
        struct child *c = &s->children[i];
        int64_t now = clock_mono_ns();
        if (c->state == CHILD_WAITING && !s->stopping && now >= c->due_ns)
            start(s, c);
        if (c->state == CHILD_RUNNING && c->asked_to_stop && now >= c->due_ns) {
            log_event(LOG_WARN, "supervisor.kill", LF_Z("child", c->what->name),
                      LF_INT("after_ms", c->what->stop_ms));
            kill(c->pid, SIGKILL);
            c->due_ns = now + (int64_t)1000 * NS_PER_MS;
        }
        bool timed = c->state == CHILD_WAITING || (c->state == CHILD_RUNNING && c->asked_to_stop);
        int64_t left = c->due_ns > now ? (c->due_ns - now) / NS_PER_MS + 1 : 0;
        if (timed && (least < 0 || left < least))
            least = left;
    }
    return (int)least;
}

static bool any_left(const struct supervisor *s) {
    for (size_t i = 0; i < s->n; i++)
        if (s->children[i].state == CHILD_RUNNING ||
            (s->children[i].state == CHILD_WAITING && !s->stopping))
            return true;
    return false;
}

static void loop(struct supervisor *s) {
    while (any_left(s)) {
        int timeout = run_due(s);
        struct pollfd fds[SUPERVISOR_CHILDREN_MAX + 1] = {{.fd = s->signal_fd, .events = POLLIN}};
        for (size_t i = 0; i < s->n; i++)
            fds[i + 1] = (struct pollfd){.fd = s->children[i].status_fd, .events = POLLIN};
        if (poll(fds, (nfds_t)s->n + 1, timeout) <= 0)
            continue;
        for (size_t i = 0; i < s->n; i++)
            if (fds[i + 1].revents && s->children[i].status_fd >= 0)
                read_status(s, &s->children[i]);
        if (fds[0].revents)
            read_signals(s);
    }
}

static enum err setup(struct supervisor *s, const struct supervisor_child *children, size_t n,
                      struct errinfo *ei) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP); /* one that is ignored (nohup) never arrives */
    sigprocmask(SIG_BLOCK, &set, &s->old_mask);
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signal_fd < 0 || pipe2(s->lifeline, O_CLOEXEC) != 0)
        return err_set(ei, ERR_IO, "the supervisor cannot start: %s", strerror(errno));
    s->n = n;
    for (size_t i = 0; i < n; i++)
        s->children[i] = (struct child){.what = &children[i], .status_fd = -1};
    return ERR_OK;
}

enum err supervisor_run(const struct supervisor_child *children, size_t n,
                        struct supervisor_end *ret_end, struct errinfo *ei) {
    if (n > SUPERVISOR_CHILDREN_MAX)
        return err_set(ei, ERR_INVALID, "at most %d children", SUPERVISOR_CHILDREN_MAX);
    struct supervisor s = {.signal_fd = -1, .lifeline = {-1, -1}};
    enum err e = setup(&s, children, n, ei);
    if (e == ERR_OK) {
        loop(&s);
        *ret_end = s.end;
    }
    if (s.signal_fd >= 0)
        close(s.signal_fd);
    for (int i = 0; i < 2; i++)
        if (s.lifeline[i] >= 0)
            close(s.lifeline[i]);
    sigprocmask(SIG_SETMASK, &s.old_mask, NULL);
    return e;
}
