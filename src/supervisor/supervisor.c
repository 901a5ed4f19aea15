/* The supervisor's loop: poll() over a signalfd and the children's status pipes, with the next
 * restart, kill or look as its timeout. */
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
#include "supervisor/notify.h"
#include "supervisor/supervisor_internal.h"

#define REPEAT_MS                                                                                  \
    300 /* signals closer together are one wish: SIGTERM with SIGHUP, both from one source */
#define LOOP_MS       60000 /* so many failures within so long are a crash loop */
#define LOOP_FAILURES 5
#define PAUSE_MS      1000 /* a gap between two looks: we were stopped ourselves */

/* ---- stopping ---- */

/* Asks the first child that still runs; the next one when that has ended. */
static void stop_next(struct supervisor *s) {
    for (size_t i = 0; i < s->n_all; i++) {
        struct child *c = &s->children[i];
        if (c->state == CHILD_WAITING)
            c->state = CHILD_STOPPED;
        if (c->state != CHILD_RUNNING)
            continue;
        if (!c->asked_to_stop)
            child_ask_to_stop(c);
        return;
    }
}

static void begin_stop(struct supervisor *s) {
    int64_t now = clock_mono_ns();
    if (s->stopping) { /* asked twice: whoever asks does not want to wait */
        if (now - s->stopping_since_ns < (int64_t)REPEAT_MS * NS_PER_MS)
            return;
        for (size_t i = 0; i < s->n_all; i++)
            if (s->children[i].state == CHILD_RUNNING)
                kill(s->children[i].pid, SIGKILL);
        return;
    }
    s->stopping = true;
    s->stopping_since_ns = now;
    notify_send("STOPPING=1");
    for (size_t i = s->n; i < s->n_all; i++) /* they were leaving in peace */
        if (s->children[i].state == CHILD_RUNNING)
            child_ask_to_stop(&s->children[i]);
    stop_next(s);
}

/* ---- what happens ---- */

/* A child that fails again and again is still tried, ever more slowly; the others go on serving. It
 * is said once that this needs a person. */
static void note_failure(struct child *c) {
    int64_t now = clock_mono_ns();
    if (now - c->failures_since_ns > (int64_t)LOOP_MS * NS_PER_MS) {
        c->failures_since_ns = now;
        c->failures = 0;
    }
    if (++c->failures == LOOP_FAILURES)
        log_event(LOG_ERROR, "supervisor.crash_loop", LF_Z("child", c->what->name),
                  LF_INT("failures", c->failures),
                  LF_INT("seconds", (now - c->failures_since_ns) / NS_PER_MS / 1000));
}

static void child_ended(struct supervisor *s, struct child *c, int status) {
    bool exited = WIFEXITED(status);
    struct log_field why =
        exited ? LF_INT("exit_code", WEXITSTATUS(status)) : LF_INT("signal", WTERMSIG(status));
    if (c->status_fd >= 0)
        close(c->status_fd);
    c->status_fd = -1;
    if (s->stopping || c->leaving) {
        c->state = CHILD_STOPPED;
        log_event(LOG_DEBUG, "supervisor.stopped", LF_Z("child", c->what->name), why);
        if (s->stopping)
            stop_next(s);
    } else if (exited && (WEXITSTATUS(status) == SUPERVISOR_EXIT_GIVE_UP ||
                          WEXITSTATUS(status) == SUPERVISOR_EXIT_GIVE_UP_DATA)) {
        c->state = CHILD_STOPPED;
        s->end = (struct supervisor_end){c->what, WEXITSTATUS(status)};
        begin_stop(s);
    } else {
        log_event(LOG_WARN, "supervisor.child_ended", LF_Z("child", c->what->name),
                  LF_INT("child_pid", c->pid), why, LF_INT("restart_in_ms", child_wait_again(c)));
        note_failure(c);
        if (c->failures < LOOP_FAILURES)
            hurry_begin(&s->hurry, clock_mono_ns());
    }
}

/* People wait for it: whoever stopped it has to stop the supervisor as well if that is to last. */
static void child_stopped(const struct child *c, int signo) {
    log_event(LOG_WARN, "supervisor.child_stopped", LF_Z("child", c->what->name),
              LF_INT("child_pid", c->pid), LF_INT("signal", signo));
    kill(c->pid, SIGCONT);
}

/* Others' children, too: we may be the first process. */
static void reap(struct supervisor *s) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
        if (pid == s->checking && !WIFSTOPPED(status))
            upgrade_checked(s, status);
        for (size_t i = 0; i < s->n_all; i++) {
            struct child *c = &s->children[i];
            if (c->state != CHILD_RUNNING || c->pid != pid)
                continue;
            if (WIFSTOPPED(status))
                child_stopped(c, WSTOPSIG(status));
            else
                child_ended(s, c, status);
        }
    }
}

/* However long it takes to read them, signals that are there together are one wish. */
static void read_signals(struct supervisor *s) {
    struct signalfd_siginfo info;
    bool stop = false;
    while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
            reap(s);
            continue;
        }
        if (info.ssi_signo == SIGUSR2) {
            upgrade_begin(s);
            continue;
        }
        log_event(LOG_INFO, "supervisor.stop", LF_INT("signal", info.ssi_signo));
        stop = true;
    }
    if (stop)
        begin_stop(s);
}

static void tell_ready(struct supervisor *s) {
    bool all = true;
    for (size_t i = 0; i < s->n; i++)
        all = all && (s->children[i].ready || !s->children[i].what->announces);
    if (!all || s->announced)
        return;
    s->announced = true;
    if (notify_send("READY=1") < 0)
        log_event(LOG_WARN, "supervisor.notify_failed", LF_Z("error", strerror(errno)));
}

/* Those of the program before an upgrade have done their work once their successor is ready. */
static void release_leaving(struct supervisor *s, const struct child *successor) {
    for (size_t i = s->n; i < s->n_all; i++) {
        struct child *old = &s->children[i];
        if (old->state != CHILD_RUNNING || old->what != successor->what || old->asked_to_stop)
            continue;
        kill(old->pid, SUPERVISOR_LEAVE_SIGNAL);
        old->asked_to_stop = true;
        old->asked_ns = clock_mono_ns();
        old->due_ns = clock_mono_ns() + (int64_t)SUPERVISOR_LEAVE_MS * NS_PER_MS;
    }
}

/* 'R': ready. '.': a sign of life. */
static void read_status(struct supervisor *s, struct child *c) {
    char bytes[64];
    ssize_t n = read(c->status_fd, bytes, sizeof bytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        close(c->status_fd);
        c->status_fd = -1;
        return;
    }
    watch_beat(c, clock_mono_ns());
    if (c->ready || !memchr(bytes, 'R', (size_t)n))
        return;
    c->ready = true;
    if (c->leaving)
        return;
    release_leaving(s, c);
    tell_ready(s);
}

/* Does what is due and returns the milliseconds until the next, -1 for nothing. */
static int run_due(struct supervisor *s) {
    int64_t least = -1;
    for (size_t i = 0; i < s->n_all; i++) {
        struct child *c = &s->children[i];
        int64_t now = clock_mono_ns();
        if (c->state == CHILD_WAITING && !s->stopping && now >= c->due_ns)
            child_start(s, c);
        if (c->state == CHILD_RUNNING && c->asked_to_stop && now >= c->due_ns) {
            log_event(LOG_WARN, "supervisor.kill", LF_Z("child", c->what->name),
                      LF_INT("after_ms", (now - c->asked_ns) / NS_PER_MS));
            kill(c->pid, SIGKILL);
            c->due_ns = now + (int64_t)1000 * NS_PER_MS;
        }
        bool timed = c->state == CHILD_WAITING || (c->state == CHILD_RUNNING && c->asked_to_stop);
        int64_t left = c->due_ns > now ? (c->due_ns - now) / NS_PER_MS + 1 : 0;
        if (timed && (least < 0 || left < least))
            least = left;
    }
    int64_t watch = watch_due_ms(s, clock_mono_ns());
    if (watch >= 0 && (least < 0 || watch < least))
        least = watch;
    return (int)least;
}

static bool any_left(const struct supervisor *s) {
    for (size_t i = 0; i < s->n_all; i++)
        if (s->children[i].state == CHILD_RUNNING ||
            (s->children[i].state == CHILD_WAITING && !s->stopping))
            return true;
    return false;
}

/* Signs of life that came while we were stopped ourselves are read before anybody is judged. */
static void look(struct supervisor *s) {
    int64_t now = clock_mono_ns();
    if (s->looked_ns && now - s->looked_ns > (int64_t)PAUSE_MS * NS_PER_MS)
        watch_paused(s, now);
    s->looked_ns = now;
    watch_children(s, now);
}

static void loop(struct supervisor *s) {
    while (any_left(s)) {
        int timeout = run_due(s);
        struct pollfd fds[CHILDREN_MAX + 1] = {{.fd = s->signal_fd, .events = POLLIN}};
        for (size_t i = 0; i < s->n_all; i++)
            fds[i + 1] = (struct pollfd){.fd = s->children[i].status_fd, .events = POLLIN};
        bool some = poll(fds, (nfds_t)s->n_all + 1, timeout) > 0;
        for (size_t i = 0; some && i < s->n_all; i++)
            if (fds[i + 1].revents && s->children[i].status_fd >= 0)
                read_status(s, &s->children[i]);
        if (some && fds[0].revents)
            read_signals(s);
        look(s);
    }
}

static enum err setup(struct supervisor *s, const struct supervisor_child *children, size_t n,
                      struct errinfo *ei) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGHUP); /* one that is ignored (nohup) never arrives */
    sigprocmask(SIG_BLOCK, &set, &s->old_mask);
    for (int signo = 1; signo < NSIG; signo++) /* the program before an upgrade had them blocked */
        if (sigismember(&set, signo) == 1)
            sigdelset(&s->old_mask, signo);
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    s->n = s->n_all = n;
    for (size_t i = 0; i < n; i++)
        s->children[i] = (struct child){.what = &children[i], .status_fd = -1};
    handover_take(s);
    hurry_take_back(&s->hurry, clock_mono_ns());
    if (s->signal_fd < 0 || (s->lifeline[0] < 0 && pipe2(s->lifeline, O_CLOEXEC) != 0))
        return err_set(ei, ERR_IO, "the supervisor cannot start: %s", strerror(errno));
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (usec && (!pid || atol(pid) == (long)getpid()))
        s->systemd_ns = atoll(usec) * 1000 / 2;
    return ERR_OK;
}

enum err supervisor_run(const struct supervisor_child *children, size_t n,
                        const struct supervisor_upgrade *upgrade, const char *note,
                        struct supervisor_end *ret_end, struct errinfo *ei) {
    if (n > SUPERVISOR_CHILDREN_MAX)
        return err_set(ei, ERR_INVALID, "at most %d children", SUPERVISOR_CHILDREN_MAX);
    struct supervisor s = {
        .signal_fd = -1, .lifeline = {-1, -1}, .upgrade = upgrade, .hurry.note = note};
    enum err e = setup(&s, children, n, ei);
    if (e == ERR_OK) {
        loop(&s);
        hurry_end(&s.hurry);
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
