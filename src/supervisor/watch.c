/* Who lives but does not answer, and who grew too large: both are ended and started again. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "supervisor/notify.h"
#include "supervisor/supervisor_internal.h"

#define ABORT_MS       500 /* from SIGABRT, which leaves a report, to SIGKILL */
#define MEMORY_LOOK_MS 2000

void child_ask_to_stop(struct child *c) {
    kill(c->pid, SIGTERM);
    c->asked_to_stop = true;
    c->asked_ns = clock_mono_ns();
    c->due_ns = c->asked_ns + (int64_t)c->what->stop_ms * NS_PER_MS;
}

static bool watched(const struct child *c) {
    return c->state == CHILD_RUNNING && !c->asked_to_stop && c->beat_ns && c->what->watchdog_ms;
}

/* proc_pid_schedstat: nanoseconds on a processor, and waiting for one until it last got it. */
static bool cpu_seen(pid_t pid, struct cpu_seen *ret) {
    char path[64];
    long long ran, waited;
    snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pid);
    FILE *f = fopen(path, "re");
    int n = f ? fscanf(f, "%lld %lld", &ran, &waited) : 0;
    if (f)
        fclose(f);
    if (n == 2)
        *ret = (struct cpu_seen){ran, waited};
    return n == 2;
}

static bool is_runnable(pid_t pid) {
    char path[64], text[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    const char *name_end = f && fgets(text, sizeof text, f) ? strrchr(text, ')') : NULL;
    if (f)
        fclose(f);
    return name_end && name_end[1] == ' ' && name_end[2] == 'R';
}

bool watch_starved(int64_t watchdog_ns, int64_t silent_ns, int64_t ran_ns, int64_t waited_ns,
                   bool runnable) {
    return ran_ns < watchdog_ns / 10 && (waited_ns >= silent_ns / 2 || runnable);
}

void watch_beat(struct child *c, int64_t now) {
    c->beat_ns = now;
    if (!cpu_seen(c->pid, &c->cpu))
        c->cpu = (struct cpu_seen){0};
}

void watch_paused(struct supervisor *s, int64_t now) {
    for (size_t i = 0; i < s->n_all; i++)
        if (s->children[i].beat_ns)
            watch_beat(&s->children[i], now);
}

/* On a machine that has far more to do than it can a process may be silent because it does not get
 * its turn. Killing it would cost more of the same. */
static bool starves(const struct child *c, int64_t silent_ns) {
    struct cpu_seen seen;
    return silent_ns < (int64_t)c->what->starved_ms * NS_PER_MS && c->cpu.ran_ns &&
           cpu_seen(c->pid, &seen) &&
           watch_starved((int64_t)c->what->watchdog_ms * NS_PER_MS, silent_ns,
                         seen.ran_ns - c->cpu.ran_ns, seen.waited_ns - c->cpu.waited_ns,
                         is_runnable(c->pid));
}

/* Private memory in bytes: what is resident less what is shared with files; -1 = not to be known.
 */
static int64_t private_bytes(pid_t pid) {
    char path[64];
    long long size, resident, shared;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return -1;
    int n = fscanf(f, "%lld %lld %lld", &size, &resident, &shared);
    fclose(f);
    return n == 3 ? (resident - shared) * sysconf(_SC_PAGESIZE) : -1;
}

static void watch_memory(struct supervisor *s, int64_t now) {
    if (now - s->memory_looked_ns < (int64_t)MEMORY_LOOK_MS * NS_PER_MS)
        return;
    s->memory_looked_ns = now;
    for (size_t i = 0; i < s->n; i++) {
        struct child *c = &s->children[i];
        if (c->state != CHILD_RUNNING || c->asked_to_stop || !c->what->memory_bytes)
            continue;
        int64_t bytes = private_bytes(c->pid);
        if (bytes <= c->what->memory_bytes)
            continue;
        log_event(LOG_ERROR, "supervisor.too_large", LF_Z("child", c->what->name),
                  LF_INT("child_pid", c->pid), LF_INT("mib", bytes >> 20),
                  LF_INT("limit_mib", c->what->memory_bytes >> 20));
        child_ask_to_stop(c);
    }
}

void watch_children(struct supervisor *s, int64_t now) {
    if (s->systemd_ns && now - s->systemd_told_ns >= s->systemd_ns) {
        s->systemd_told_ns = now;
        notify_send("WATCHDOG=1");
    }
    for (size_t i = 0; i < s->n_all; i++) {
        struct child *c = &s->children[i];
        if (!watched(c) || now - c->beat_ns < (int64_t)c->what->watchdog_ms * NS_PER_MS ||
            starves(c, now - c->beat_ns))
            continue;
        log_event(LOG_ERROR, "supervisor.no_sign", LF_Z("child", c->what->name),
                  LF_INT("child_pid", c->pid), LF_INT("silent_ms", (now - c->beat_ns) / NS_PER_MS));
        kill(c->pid, SIGABRT);
        c->asked_to_stop = true;
        c->asked_ns = now;
        c->due_ns = now + (int64_t)ABORT_MS * NS_PER_MS;
    }
    watch_memory(s, now);
    hurry_look(&s->hurry, now);
}

static void sooner(int64_t *least, int64_t ns) {
    int64_t ms = ns > 0 ? ns / NS_PER_MS + 1 : 0;
    if (*least < 0 || ms < *least)
        *least = ms;
}

int64_t watch_due_ms(const struct supervisor *s, int64_t now) {
    int64_t least = -1;
    if (s->systemd_ns)
        sooner(&least, s->systemd_told_ns + s->systemd_ns - now);
    if (s->hurry.until_ns)
        sooner(&least, s->hurry.until_ns - now);
    for (size_t i = 0; i < s->n_all; i++) {
        const struct child *c = &s->children[i];
        if (watched(c)) /* looks are never far apart, so that a pause of our own is seen as one */
            sooner(&least, (int64_t)SUPERVISOR_BEAT_MS * NS_PER_MS);
        if (c->state == CHILD_RUNNING && c->what->memory_bytes)
            sooner(&least, s->memory_looked_ns + (int64_t)MEMORY_LOOK_MS * NS_PER_MS - now);
    }
    return least;
}
