/* See crash.h. The handler runs on a stack of its own, so that a stack that overflowed can be told
 * of. */
#include "base/crash.h"

#include <dirent.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NOTES       32
#define ID_MAX      36
#define FRAMES      64
#define STACK_BYTES 65536

struct note {
    const char *event;
    time_t at;
    char id[ID_MAX + 1];
};

static struct {
    char path[1024]; /* up to the time */
    const char *name, *version;
    pthread_mutex_t lock; /* of the notes; the handler reads them as they stand */
    struct note notes[NOTES];
    unsigned next;
    atomic_flag dying;
} crash = {.lock = PTHREAD_MUTEX_INITIALIZER, .dying = ATOMIC_FLAG_INIT};

void crash_note(const char *event, const char *id, size_t id_n) {
    pthread_mutex_lock(&crash.lock);
    struct note *n = &crash.notes[crash.next++ % NOTES];
    n->event = event;
    n->at = time(NULL);
    id_n = id_n < ID_MAX ? id_n : ID_MAX;
    memcpy(n->id, id, id_n);
    n->id[id_n] = 0;
    pthread_mutex_unlock(&crash.lock);
}

/* ---- in the dying process: system calls only ---- */

static void put(int fd, const char *text) {
    ssize_t n = write(fd, text, strlen(text));
    (void)n;
}

static void put_number(int fd, long long v) {
    char digits[24];
    size_t at = sizeof digits - 1;
    digits[at] = 0;
    do
        digits[--at] = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    put(fd, digits + at);
}

static int open_report(time_t now) {
    char path[sizeof crash.path + 64];
    size_t n = strlen(crash.path);
    char tail[64];
    size_t t = sizeof tail - 1;
    tail[t] = 0;
    t -= 4, memcpy(tail + t, ".txt", 4);
    for (long long pid = getpid(); pid; pid /= 10)
        tail[--t] = (char)('0' + pid % 10);
    tail[--t] = '-';
    for (long long v = now; v; v /= 10)
        tail[--t] = (char)('0' + v % 10);
    memcpy(path, crash.path, n);
    memcpy(path + n, tail + t, sizeof tail - t);
    return open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

static void put_notes(int fd) {
    unsigned next = crash.next;
    put(fd, "\nlast events (seconds since 1970, event, id):\n");
    for (unsigned i = next > NOTES ? next - NOTES : 0; i < next; i++) {
        const struct note *n = &crash.notes[i % NOTES];
        put_number(fd, n->at);
        put(fd, " ");
        put(fd, n->event ? n->event : "?");
        put(fd, " ");
        put(fd, n->id);
        put(fd, "\n");
    }
}

static void on_crash(int signo) {
    void *frames[FRAMES];
    if (!atomic_flag_test_and_set(&crash.dying)) {
        time_t now = time(NULL);
        int fd = open_report(now);
        if (fd >= 0) {
            put(fd, "Parley ");
            put(fd, crash.version);
            put(fd, ", ");
            put(fd, crash.name);
            put(fd, ": signal ");
            put_number(fd, signo);
            put(fd, " at ");
            put_number(fd, now);
            put(fd, "\n\ncalls (addr2line -e parley ADDRESS names the line):\n");
            backtrace_symbols_fd(frames, backtrace(frames, FRAMES), fd);
            put_notes(fd);
            close(fd);
        }
    }
    signal(signo, SIG_DFL);
    raise(signo);
}

/* ---- at the start ---- */

static int is_report(const struct dirent *e) {
    size_t n = strlen(e->d_name);
    return n > 4 && strcmp(e->d_name + n - 4, ".txt") == 0;
}

/* The time stands after the first dash. */
static int by_time(const struct dirent **a, const struct dirent **b) {
    const char *x = strchr((*a)->d_name, '-'), *y = strchr((*b)->d_name, '-');
    return strcmp(x ? x : "", y ? y : "");
}

static void remove_old(const char *dir) {
    struct dirent **list;
    char path[1400];
    int n = scandir(dir, &list, is_report, by_time);
    for (int i = 0; i < n; i++) {
        if (i + CRASH_REPORTS < n) {
            snprintf(path, sizeof path, "%s/%s", dir, list[i]->d_name);
            unlink(path);
        }
        free(list[i]);
    }
    if (n >= 0)
        free(list);
}

void crash_init(const char *dir, const char *name, const char *version) {
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};
    static char stack[STACK_BYTES];
    void *frames[1];
    if ((size_t)snprintf(crash.path, sizeof crash.path, "%s/%s-", dir, name) >= sizeof crash.path)
        return;
    mkdir(dir, 0700);
    remove_old(dir);
    crash.name = name;
    crash.version = version;
    backtrace(frames, 1); /* loads what it needs, which must not happen in a handler */
    const stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&own, NULL); /* of this thread; others report from their own */
    struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
}
