/* parley serve: opens the sockets, chooses the model's files, then hands all to the supervisor.
 *
 * What must be right before anything runs is checked here, so that it is said once and plainly: the
 * data directory, a second Parley on it, the address. A model that is missing or damaged does not
 * keep the page away: people can still read what they have, and the page says what is wrong. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/models.h"
#include "cli/upgrade.h"
#include "engine/keep.h"
#include "net/http_server.h"
#include "store/store.h"
#include "supervisor/supervisor.h"

#define LOOPS_MAX       UPGRADE_LISTENERS_MAX
#define LOCK_WAIT_MS    5000
#define SERVER_STOP_MS  15000
#define ENGINE_STOP_MS  5000
#define ACTIVATED_FD    3 /* SD_LISTEN_FDS_START */
#define ENGINE_PATIENCE 4 /* its watchdog waits so many times longer: loading takes its time */
#define STARVED_TIMES   4 /* and so many times the server's while it gets no processor, */
#define STARVED_ENGINE  2 /* or the engine's */

struct serve {
    const struct config *config;
    struct arena *arena;
    struct held held;
    bool took_over;                /* from a program that this process was before */
    int server_fds[LOOPS_MAX + 1]; /* the listeners, and the lock behind them */
    char address[300];
    struct model_choice choice;
    char engine_address[256]; /* "unix:/path" of the engine's socket; "" = no engine */
};

/* As many open files as allowed: each browser holds a connection. */
static void raise_file_limit(void) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

/* The server of a supervisor that was killed ends within moments; it is waited for. */
static enum err take_lock(struct serve *s, struct errinfo *ei) {
    const struct timespec pause = {.tv_nsec = 20000000};
    int64_t end = clock_mono_ns() + (int64_t)LOCK_WAIT_MS * 1000000;
    enum err e;
    while ((e = store_lock(s->config->db_path, &s->held.lock_fd, ei)) == ERR_STORE_BUSY &&
           clock_mono_ns() < end)
        nanosleep(&pause, NULL);
    if (e == ERR_STORE_BUSY)
        return err_param(ei, e, "data_dir",
                         "Parley runs already on %s; stop it first, or name another folder with "
                         "--data-dir",
                         s->config->data_dir);
    return e;
}

/* The page's address, of a socket that listens already. */
static enum err name_address(struct serve *s, struct errinfo *ei) {
    char bound[256];
    if (strncmp(s->config->listen, "unix:", 5) == 0) {
        cli_url(s->config->listen, s->address, sizeof s->address);
        return ERR_OK;
    }
    if (net_local_address(s->held.listeners[0], bound, sizeof bound))
        return err_set(ei, ERR_IO, "the listening socket that was handed over cannot be used");
    cli_url(bound, s->address, sizeof s->address);
    return ERR_OK;
}

/* Sockets that systemd opened (sd_listen_fds(3)): all loops accept from the first. */
static bool take_activated(struct serve *s, size_t loops) {
    const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
    bool ours = pid && n && atol(pid) == (long)getpid() && atoi(n) > 0;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (!ours || fcntl(ACTIVATED_FD, F_SETFL, O_NONBLOCK) != 0)
        return false;
    while (s->held.n_listeners < loops)
        s->held.listeners[s->held.n_listeners++] = ACTIVATED_FD;
    return true;
}

/* One listening socket for each loop. The first is opened without SO_REUSEPORT, because with it a
 * second program of the same user would not be refused but get a share of the connections. */
static enum err open_listeners(struct serve *s, struct errinfo *ei) {
    const char *listen = s->config->listen;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t loops = s->config->loops ? (size_t)s->config->loops : cores > 0 ? (size_t)cores : 1;
    if (loops > LOOPS_MAX)
        loops = LOOPS_MAX;
    bool local = strncmp(listen, "unix:", 5) == 0;
    char bound[256];
    int fd;
    if (take_activated(s, loops))
        return name_address(s, ei);
    enum err e = net_listen(listen, false, &fd, ei);
    if (e)
        return e;
    if (local) { /* all loops accept from the one socket */
        while (s->held.n_listeners < loops)
            s->held.listeners[s->held.n_listeners++] = fd;
        cli_url(listen, s->address, sizeof s->address);
        return ERR_OK;
    }
    e = net_local_address(fd, bound, sizeof bound);
    close(fd);
    for (size_t i = 0; i < loops && !e; i++) {
        e = net_listen(bound, true, &s->held.listeners[s->held.n_listeners], ei);
        if (!e)
            s->held.n_listeners++;
    }
    if (!e)
        cli_url(bound, s->address, sizeof s->address);
    return e;
}

/* What the engine is to run. When that cannot be, the page says so and the engine's health does. */
static void choose_model(struct serve *s) {
    const struct config *c = s->config;
    struct errinfo ei = {0};
    if (models_choose(c->models_dir, c->model, c->embedding_model, &s->choice, &ei) == ERR_OK)
        return;
    fprintf(stderr, "parley: %s\n", ei.message);
    log_event(LOG_ERROR, "serve.no_model", LF_ERR(&ei));
    memset(&s->choice, 0, sizeof s->choice);
    snprintf(s->choice.notice, sizeof s->choice.notice, "%s", ei.message);
    const char *slash = strrchr(c->model, '/');
    bool file = str_ends(str_from(c->model), STR(".gguf"));
    snprintf(s->choice.chat_name, sizeof s->choice.chat_name, "%s",
             slash         ? slash + 1
             : c->model[0] ? c->model
                           : "none");
    if (file)
        snprintf(s->choice.chat_path, sizeof s->choice.chat_path, "%s", c->model);
    else
        snprintf(s->choice.chat_path, sizeof s->choice.chat_path, "%s/%s.gguf", c->models_dir,
                 s->choice.chat_name);
}

static const char **server_argv(struct serve *s) {
    struct buf fds;
    buf_init(&fds, 4096);
    for (size_t i = 0; i < s->held.n_listeners; i++)
        buf_addf(&fds, "%s%d", i ? "," : "", s->held.listeners[i]);
    const char **argv = arena_array(s->arena, 14, sizeof *argv);
    if (argv && !buf_err(&fds)) {
        const char *list[] = {"parley",
                              "server",
                              "--listen-fds",
                              arena_strz(s->arena, buf_str(&fds)),
                              "--lock-fd",
                              arena_printf(s->arena, "%d", s->held.lock_fd),
                              "--address",
                              s->address,
                              "--notice",
                              s->choice.notice,
                              "--engine-socket",
                              s->engine_address[0] ? s->engine_address + strlen("unix:")
                                                   : s->config->engine_socket};
        memcpy(argv, list, sizeof list);
        argv = list[3] && list[5] ? argv : NULL;
    }
    buf_deinit(&fds);
    return argv;
}

static const char **engine_argv(struct serve *s) {
    const char **argv = arena_array(s->arena, 16, sizeof *argv);
    const char *fd = arena_printf(s->arena, "%d", s->held.engine_fd);
    if (!argv || !fd)
        return NULL;
    const char *list[] = {
        "parley",      "engine",           "--listen-fd", fd, "--chat-name", s->choice.chat_name,
        "--chat-path", s->choice.chat_path};
    memcpy(argv, list, sizeof list);
    size_t n = sizeof list / sizeof list[0];
    if (s->choice.embedding_path[0]) {
        argv[n++] = "--embedding-name";
        argv[n++] = s->choice.embedding_name;
        argv[n++] = "--embedding-path";
        argv[n++] = s->choice.embedding_path;
    }
    return argv;
}

static size_t describe_children(struct serve *s, struct supervisor_child children[2]) {
    const struct config *c = s->config;
    const char *const *env = config_environment(c);
    size_t n = 1, n_listeners = s->held.n_listeners;
    int watchdog_ms = (int)c->watchdog_seconds * 1000;
    memcpy(s->server_fds, s->held.listeners, n_listeners * sizeof *s->server_fds);
    s->server_fds[n_listeners] = s->held.lock_fd;
    children[0] = (struct supervisor_child){.name = "server",
                                            .program = "/proc/self/exe",
                                            .argv = server_argv(s),
                                            .env = env,
                                            .fds = s->server_fds,
                                            .n_fds = n_listeners + 1,
                                            .announces = true,
                                            .stop_ms = SERVER_STOP_MS,
                                            .watchdog_ms = watchdog_ms,
                                            .starved_ms = watchdog_ms * STARVED_TIMES,
                                            .memory_bytes = c->server_memory_mib << 20};
    if (s->held.engine_fd >= 0)
        children[n++] =
            (struct supervisor_child){.name = "engine",
                                      .program = "/proc/self/exe",
                                      .argv = engine_argv(s),
                                      .env = env,
                                      .fds = &s->held.engine_fd,
                                      .n_fds = 1,
                                      .stop_ms = ENGINE_STOP_MS,
                                      .watchdog_ms = watchdog_ms * ENGINE_PATIENCE,
                                      .starved_ms = watchdog_ms * ENGINE_PATIENCE * STARVED_ENGINE,
                                      .memory_bytes = c->engine_memory_mib << 20};
    for (size_t i = 0; i < n; i++)
        if (!children[i].argv || !env)
            return 0;
    return n;
}

static enum err supervise(struct serve *s, int *ret_status, struct errinfo *ei) {
    struct supervisor_child children[2] = {0};
    struct supervisor_upgrade upgrade;
    size_t n = describe_children(s, children);
    if (!n)
        return err_set(ei, ERR_NOMEM, NULL);
    enum err e = upgrade_describe(&s->held, s->arena, &upgrade, ei);
    if (e)
        return e;
    bool local = strncmp(s->config->listen, "unix:", 5) == 0;
    const char *note = arena_printf(s->arena, "%s/hurry", s->config->run_dir);
    if (!note)
        return err_set(ei, ERR_NOMEM, NULL);
    upgrade_write_pid(s->config, local ? s->config->listen : s->address);
    malloc_trim(0); /* from here on this process only waits */
    struct supervisor_end end = {0};
    e = supervisor_run(children, n, &upgrade, note, &end, ei);
    upgrade_remove_pid(s->config);
    *ret_status = CLI_OK; /* a child that gave up has said why */
    if (end.gave_up)
        *ret_status = end.exit_code == SUPERVISOR_EXIT_GIVE_UP ? CLI_USAGE : CLI_FAILED;
    return e;
}

/* In the data directory; where that is on a read-only disk, in a folder of its own. */
static enum err listen_for_engine(struct serve *s, struct errinfo *ei) {
    const char *path = s->config->engine_socket;
    char folder[] = "/tmp/parley-XXXXXX";
    if (access(s->config->data_dir, W_OK) != 0 && errno == EROFS) {
        if (!mkdtemp(folder))
            return err_set(ei, ERR_IO, "no folder for a socket can be made in /tmp");
        path = arena_printf(s->arena, "%s/engine.sock", folder);
    }
    unlink(path); /* the lock is ours: who still listens there is a killed supervisor's engine,
                     ending */
    return net_listen(arena_printf(s->arena, "unix:%s", path), false, &s->held.engine_fd, ei);
}

static void remove_engine_folder(struct serve *s) {
    char *path = s->engine_address + strlen("unix:"), *slash = strrchr(s->engine_address, '/');
    if (!slash || strcmp(path, s->config->engine_socket) == 0)
        return;
    unlink(path);
    *slash = 0;
    rmdir(path);
}

static enum err prepare(struct serve *s, struct errinfo *ei) {
    const struct config *c = s->config;
    enum err e;
    s->took_over = upgrade_take_held(&s->held);
    if (s->took_over) {
        e = name_address(s, ei);
    } else {
        e = config_make_dirs(c, ei);
        if (!e)
            e = take_lock(s, ei);
        if (!e)
            e = open_listeners(s, ei);
    }
    if (e || c->upstream[0])
        return e;
    choose_model(s);
    if (s->held.engine_fd < 0)
        e = listen_for_engine(s, ei);
    if (!e && net_local_address(s->held.engine_fd, s->engine_address, sizeof s->engine_address))
        e = err_set(ei, ERR_IO, "the engine's socket cannot be used");
    return e;
}

int cmd_serve(const struct args *a) {
    struct config *config;
    int status = cli_config(a, &config);
    if (status)
        return status;
    if (args_has(a, "check")) { /* what an upgrade asks of the program that is to take over */
        config_free(config);
        return CLI_OK;
    }
    struct errinfo ei = {0};
    struct serve *s = calloc(1, sizeof *s);
    enum err e = ERR_NOMEM;
    if (s && (s->arena = arena_new((size_t)1 << 20))) {
        s->config = config;
        s->held.lock_fd = s->held.engine_fd = -1;
        config_start_log(config, "supervisor");
        raise_file_limit();
        e = prepare(s, &ei);
        if (!e) {
            if (!s->took_over)
                printf("Parley %s starts at %s\n", PARLEY_VERSION, s->address);
            fflush(stdout);
            e = supervise(s, &status, &ei);
        }
        remove_engine_folder(s);
        if (!e && !config->upstream[0])
            keep_file_remove(config->data_dir); /* for a killed one's successor only */
    }
    if (e)
        status = cli_fail(e, &ei);
    if (s) {
        arena_free(s->arena);
        free(s);
    }
    config_free(config);
    return status;
}
