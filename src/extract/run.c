/* The parent: starts a child for one file, reads what it says within time and size, and ends it. */
#include "extract/extract.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "extract/wire.h"

#define WALL_DEFAULT 600
#define SELF         "/proc/self/exe"

struct child {
    pid_t pid;
    int out; /* its stdout */
    int64_t deadline_ns;
    struct buf said;
    bool late, too_much;
};

/* The bytes as a file that nothing else can reach; sealed by being read-only to the child. */
static int make_file(struct str bytes) {
    int fd = memfd_create("document", MFD_CLOEXEC);
    size_t done = 0;
    while (fd >= 0 && done < bytes.n) {
        ssize_t n = write(fd, bytes.p + done, bytes.n - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            close(fd);
            return -1;
        }
        done += (size_t)n;
    }
    return fd;
}

static int spawn(struct child *c, const struct extract_options *o, const struct extract_input *in,
                 int input, int output) {
    char name[300], type[300], cpu[32], memory[32];
    char *env[] = {"LANG=C.UTF-8", "PATH=/usr/bin:/bin", NULL};
    snprintf(name, sizeof name, "--name=%.*s", (int)utf8_cut(in->name, 250), in->name.p);
    snprintf(type, sizeof type, "--type=%.*s", (int)utf8_cut(in->type, 250), in->type.p);
    snprintf(cpu, sizeof cpu, "--cpu=%d", o->cpu_seconds);
    snprintf(memory, sizeof memory, "--memory=%zu", o->memory_bytes);
    char *argv[] = {"parley", "extract", name, type, cpu, memory, in->links ? "--links" : NULL,
                    NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, all;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    posix_spawnattr_init(&attr);
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int failed = posix_spawn(&c->pid, o->program ? o->program : SELF, &actions, &attr, argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return failed;
}

static void listen_to(struct child *c) {
    char piece[65536];
    for (;;) {
        int64_t left = (c->deadline_ns - clock_mono_ns()) / 1000000;
        struct pollfd p = {.fd = c->out, .events = POLLIN};
        int n = left > 0 ? poll(&p, 1, left > 60000 ? 60000 : (int)left) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0 && clock_mono_ns() < c->deadline_ns)
            continue;
        if (n <= 0) {
            c->late = true;
            return;
        }
        ssize_t got = read(c->out, piece, sizeof piece);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return;
        buf_add(&c->said, piece, (size_t)got);
        if (c->said.err) {
            c->too_much = true;
            return;
        }
    }
}

static int reap(struct child *c, bool by_force) {
    int status = 0;
    if (by_force)
        kill(c->pid, SIGKILL);
    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

/* A child that was ended, or ended itself, says why by how. */
static enum extract_fault fault_of(const struct child *c, int status) {
    if (c->late)
        return EXTRACT_TIME;
    if (c->said.err == ERR_NOMEM)
        return EXTRACT_MEMORY;
    if (c->too_much)
        return EXTRACT_TOO_LARGE;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
        return EXTRACT_TIME;
    if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGTRAP))
        return WTERMSIG(status) == SIGKILL ? EXTRACT_TIME : EXTRACT_MEMORY;
    return EXTRACT_CRASHED;
}

static enum err listen_and_judge(struct child *c, struct arena *a, struct extracted *ret,
                                 struct errinfo *ei) {
    listen_to(c);
    int status = reap(c, c->late || c->too_much);
    bool ended_well = WIFEXITED(status) && WEXITSTATUS(status) == 0 && !c->late && !c->too_much;
    if (ended_well) {
        enum err e = wire_read(buf_str(&c->said), a, ret);
        return e ? err_set(ei, e,
                           e == ERR_CORRUPT ? "the reader of files broke its protocol" : NULL)
                 : ERR_OK;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 1 && !c->said.n)
        return err_set(ei, ERR_INTERNAL,
                       "the reader of files cannot lock itself in; see `parley "
                       "extract` in a terminal");
    *ret = (struct extracted){.fault = fault_of(c, status)};
    return ERR_OK;
}

enum err extract_run(const struct extract_options *o, const struct extract_input *in,
                     struct arena *a, struct extracted *ret, struct errinfo *ei) {
    struct child c = {0};
    int pipe_fds[2];
    int wall = o->wall_seconds ? o->wall_seconds : WALL_DEFAULT;
    if (in->fd < 0 && in->bytes.n == 0) {
        *ret = (struct extracted){.fault = EXTRACT_EMPTY};
        return ERR_OK;
    }
    int input = in->fd >= 0 ? in->fd : make_file(in->bytes);
    if (input < 0)
        return err_set(ei, ERR_IO, "no file in memory can be made: %s", strerror(errno));
    if (lseek(input, 0, SEEK_SET) != 0 || pipe2(pipe_fds, O_CLOEXEC) != 0) {
        if (in->fd < 0)
            close(input);
        return err_set(ei, ERR_IO, "no pipe can be made: %s", strerror(errno));
    }
    buf_init(&c.said, WIRE_MAX);
    c.out = pipe_fds[0];
    c.deadline_ns = clock_mono_ns() + (int64_t)wall * 1000000000;
    int failed = spawn(&c, o, in, input, pipe_fds[1]);
    close(pipe_fds[1]);
    enum err e =
        failed ? err_set(ei, ERR_IO, "the reader of files cannot be started: %s", strerror(failed))
               : listen_and_judge(&c, a, ret, ei);
    close(pipe_fds[0]);
    if (in->fd < 0)
        close(input);
    buf_deinit(&c.said);
    return e;
}

enum err extract_document(void *ctx, struct str bytes, struct str media_type,
                          struct str source_name, struct arena *a, struct doc_text *ret,
                          struct errinfo *ei) {
    static const struct extract_options standard = {0};
    struct extract_input in = {.fd = -1, .bytes = bytes, .name = source_name, .type = media_type};
    struct extracted out;
    enum err e = extract_run(ctx ? ctx : &standard, &in, a, &out, ei);
    if (e)
        return e;
    if (out.fault)
        return err_set(ei, ERR_INVALID, "%s", extract_fault_text(out.fault));
    *ret = out.doc;
    return ERR_OK;
}
