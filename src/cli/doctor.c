/* parley doctor: looks at everything that this installation needs and says what is wrong and what
 * to do. It changes nothing. Checks are a table; each says one line. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "api/out.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "cli/cli.h"
#include "cli/doctor_probe.h"
#include "cli/models.h"
#include "net/http_server.h"
#include "store/store.h"

#define DISK_LOW_BYTES  ((uint64_t)256 << 20)
#define DISK_WARN_BYTES ((uint64_t)2 << 30)
#define FILES_WANTED    1024
#define MODEL_OVERHEAD  ((int64_t)256 << 20) /* what runs beside the weights */
#define YEAR_2025_MS    ((int64_t)1735689600000)

enum verdict { FINE, WARN, WRONG };

struct doctor {
    const struct args *args;
    struct config *config;
    struct model_choice choice;
    bool chosen;
    bool running; /* a server holds the data directory */
    char url[300];
    bool json;
    struct buf out; /* with --json */
    int wrong, warned;
};

static void say(struct doctor *d, const char *what, enum verdict v, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void say(struct doctor *d, const char *what, enum verdict v, const char *fmt, ...) {
    static const char *const marks[] = {"ok", "warning", "WRONG"};
    static const char *const names[] = {"ok", "warning", "wrong"};
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    d->wrong += v == WRONG;
    d->warned += v == WARN;
    if (!d->json) {
        printf("%-8s %-10s %s\n", marks[v], what, text);
        return;
    }
    out_open(&d->out, NULL, '{');
    out_strz(&d->out, "check", what);
    out_strz(&d->out, "verdict", names[v]);
    out_strz(&d->out, "text", text);
    out_close(&d->out, '}');
}

static void check_config(struct doctor *d) {
    const struct config *c = d->config;
    bool everybody = strncmp(c->listen, "127.", 4) != 0 && strncmp(c->listen, "[::1]", 5) != 0 &&
                     strncmp(c->listen, "localhost", 9) != 0 && strncmp(c->listen, "unix:", 5) != 0;
    if (everybody && c->signup == SIGNUP_OPEN)
        say(d, "config", WARN,
            "others reach %s and may make accounts by themselves; if that is not meant: "
            "signup = closed",
            c->listen);
    else if (everybody && !c->secure_cookies)
        say(d, "config", WARN,
            "others reach %s; put a TLS proxy in front of it and set secure_cookies = on",
            c->listen);
    else
        say(d, "config", FINE, "%s%s", c->file, c->file_read ? "" : " is not there: defaults");
}

/* Whether the nearest folder above that is there takes new ones. */
static bool can_be_made(const char *path, char above[PATH_MAX]) {
    snprintf(above, PATH_MAX, "%s", path);
    do {
        char *slash = strrchr(above, '/');
        if (!slash)
            snprintf(above, PATH_MAX, ".");
        else
            slash[slash == above] = 0;
    } while (access(above, F_OK) != 0 && strcmp(above, "/") != 0 && strcmp(above, ".") != 0);
    return access(above, W_OK | X_OK) == 0;
}

static bool reads_only(const struct doctor *d) {
    return access(d->config->data_dir, W_OK) != 0 && errno == EROFS;
}

static void check_data_dir(struct doctor *d) {
    const struct config *c = d->config;
    struct stat st;
    char above[PATH_MAX];
    if (stat(c->data_dir, &st) != 0 && !can_be_made(c->data_dir, above))
        say(d, "data", WRONG,
            "%s is not there and cannot be made: %s cannot be written to; use --data-dir",
            c->data_dir, above);
    else if (stat(c->data_dir, &st) != 0)
        say(d, "data", WARN, "%s is not there yet; `parley serve` makes it", c->data_dir);
    else if (reads_only(d))
        say(d, "data", WRONG,
            "%s is on a disk that is mounted read-only: what is there can be read, nothing new can "
            "be kept; mount it for writing",
            c->data_dir);
    else if (!S_ISDIR(st.st_mode) || access(c->data_dir, R_OK | W_OK | X_OK) != 0)
        say(d, "data", WRONG, "%s cannot be written to; make it yours (chown), or use --data-dir",
            c->data_dir);
    else if (st.st_mode & (S_IRWXG | S_IRWXO) && access(c->db_path, F_OK) == 0)
        say(d, "data", WARN, "others of this machine may look into %s; `chmod 700 %s` ends that",
            c->data_dir, c->data_dir);
    else
        say(d, "data", FINE, "%s", c->data_dir);
}

static void check_disk(struct doctor *d) {
    const char *dir = access(d->config->data_dir, F_OK) == 0 ? d->config->data_dir : "/";
    struct statvfs v;
    if (statvfs(dir, &v) != 0) {
        say(d, "disk", WRONG, "%s cannot be looked at: %s", dir, strerror(errno));
        return;
    }
    uint64_t left = (uint64_t)v.f_bavail * v.f_frsize;
    enum verdict verdict = left < DISK_LOW_BYTES ? WRONG : left < DISK_WARN_BYTES ? WARN : FINE;
    bool little = left < (uint64_t)1 << 30;
    say(d, "disk", verdict, "%.*f %s free%s", little ? 0 : 1,
        (double)left / (little ? 1 << 20 : 1 << 30), little ? "MiB" : "GiB",
        verdict == FINE ? "" : "; free some: messages are refused when it is full");
}

static int is_report(const struct dirent *e) {
    return str_ends(str_from(e->d_name), STR(".txt"));
}

static void check_crashes(struct doctor *d) {
    struct dirent **list;
    int n = scandir(d->config->crash_dir, &list, is_report, alphasort);
    if (n <= 0)
        say(d, "crashes", FINE, "none reported");
    else
        say(d, "crashes", WARN,
            "%d report%s in %s (they hold no content); please send them to Parley's makers", n,
            n == 1 ? "" : "s", d->config->crash_dir);
    for (int i = 0; i < n; i++)
        free(list[i]);
    if (n >= 0)
        free(list);
}

static void check_database(struct doctor *d) {
    struct errinfo ei = {0};
    int lock = -1;
    if (access(d->config->db_path, F_OK) != 0) {
        say(d, "database", FINE, "none yet");
        return;
    }
    enum err e = store_lock(d->config->db_path, &lock, &ei);
    d->running = e == ERR_STORE_BUSY;
    if (lock >= 0)
        close(lock);
    e = store_check(d->config->db_path, &ei);
    if (e)
        say(d, "database", WRONG, "%s", ei.message);
    else
        say(d, "database", FINE, "whole%s", d->running ? ", in use by a running server" : "");
}

static void check_one_weights(struct doctor *d, const char *what, const char *name,
                              const char *path) {
    struct model_installed installed;
    struct errinfo ei = {0};
    const struct models m = {.dir = d->config->models_dir};
    if (model_installed_get(m.dir, name, &installed, &ei) != ERR_OK) {
        if (access(path, R_OK) == 0)
            say(d, what, FINE, "%s (a file of yours: no hash to compare)", path);
        else
            say(d, what, WRONG, "%s cannot be read: %s", path, strerror(errno));
        return;
    }
    if (model_verify(&m, &installed, &ei) != ERR_OK)
        say(d, what, WRONG, "%s; `parley model pull %s` fetches it again", ei.message, name);
    else
        say(d, what, FINE, "%s, %s, hash as recorded", name, installed.form);
}

static void check_models(struct doctor *d) {
    const struct config *c = d->config;
    struct errinfo ei = {0};
    if (c->upstream[0]) {
        say(d, "model", FINE, "answered by %s", c->upstream);
        return;
    }
    if (models_choose(c->models_dir, c->model, c->embedding_model, &d->choice, &ei) != ERR_OK) {
        say(d, "model", WRONG, "%s", ei.message);
        return;
    }
    d->chosen = true;
    check_one_weights(d, "model", d->choice.chat_name, d->choice.chat_path);
    if (d->choice.embedding_path[0])
        check_one_weights(d, "embedding", d->choice.embedding_name, d->choice.embedding_path);
    if (d->choice.notice[0])
        say(d, "model", WARN, "%s", d->choice.notice);
}

static void check_memory(struct doctor *d) {
    struct stat st;
    int64_t have = models_machine_memory();
    if (!d->chosen || stat(d->choice.chat_path, &st) != 0) {
        say(d, "memory", FINE, "%.1f GiB", (double)have / (1 << 30));
        return;
    }
    int64_t need = (int64_t)st.st_size + (int64_t)st.st_size / 4 + MODEL_OVERHEAD;
    if (need > have)
        say(d, "memory", WRONG,
            "%s needs about %.1f GiB and there are %.1f; `parley model list` shows smaller ones",
            d->choice.chat_name, (double)need / (1 << 30), (double)have / (1 << 30));
    else
        say(d, "memory", FINE, "%.1f GiB, the model needs about %.1f", (double)have / (1 << 30),
            (double)need / (1 << 30));
}

static void check_files(struct doctor *d) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return;
    if (r.rlim_max < FILES_WANTED)
        say(d, "files", WARN,
            "only %llu open files are allowed, one for each connection; raise `ulimit -n`",
            (unsigned long long)r.rlim_max);
    else
        say(d, "files", FINE, "%llu open files allowed", (unsigned long long)r.rlim_max);
}

static void check_clock(struct doctor *d) {
    char text[25];
    int64_t now = clock_wall_ms();
    clock_format(now, text);
    if (now < YEAR_2025_MS)
        say(d, "clock", WRONG,
            "it says %s; set it, or sessions and the order of messages are wrong", text);
    else
        say(d, "clock", FINE, "%s", text);
}

static void check_address(struct doctor *d) {
    struct errinfo ei = {0};
    int fd = -1;
    if (d->running || strncmp(d->config->listen, "unix:", 5) == 0)
        return; /* ours, and asked next; a probe would replace a socket's file */
    if (net_listen(d->config->listen, false, &fd, &ei) != ERR_OK) {
        say(d, "address", WRONG, "%s", ei.message);
        return;
    }
    close(fd);
    say(d, "address", FINE, "%s is free", d->config->listen);
}

static void check_answers(struct doctor *d) {
    struct probe_answer p;
    if (!d->running) {
        say(d, "server", WARN, "it does not run; `parley serve` starts it");
        return;
    }
    char socket[300];
    cli_local_server(d->args, d->config, d->url, socket);
    probe_get(d->url, socket[0] ? socket : NULL, "/readyz", &p);
    if (p.err == ERR_OK && p.status == 200 && p.message[0])
        say(d, "server", WRONG, "it answers at %s, but %s", d->url, p.message);
    else if (p.err == ERR_OK && p.status == 200)
        say(d, "server", FINE, "ready at %s", d->url);
    else if (p.err == ERR_OK && p.status == 503)
        say(d, "server", WRONG, "not ready: %s", p.message);
    else if (p.err == ERR_OK)
        say(d, "server", WARN,
            "something else answers at %s; a running server has another address?", d->url);
    else
        say(d, "server", WRONG,
            "it runs but does not answer at %s (%s); say --listen as it was started with, or look "
            "at its log",
            d->url, p.message);
    if (d->config->upstream[0] || reads_only(d))
        return; /* there the engine's socket is elsewhere; /readyz speaks for it */
    probe_get("http://engine", d->config->engine_socket, "/health", &p);
    if (p.err == ERR_OK && p.status == 200)
        say(d, "engine", FINE, "answers");
    else
        say(d, "engine", WRONG, "%s", p.message);
}

static void (*const checks[])(struct doctor *) = {
    check_config, check_data_dir, check_disk,  check_crashes, check_database, check_models,
    check_memory, check_files,    check_clock, check_address, check_answers,
};

int cmd_doctor(const struct args *a) {
    struct doctor *d = calloc(1, sizeof *d);
    if (!d)
        return cli_say(CLI_FAILED, "out of memory");
    d->args = a;
    d->json = args_has(a, "json");
    buf_init(&d->out, (size_t)1 << 20);
    int status = cli_config(a, &d->config);
    if (status == CLI_OK) {
        log_init("doctor", LOG_ERROR);
        log_set_text(true);
        if (crypto_init() != ERR_OK)
            say(d, "crypto", WRONG, "the cryptography library cannot be used");
        if (d->json)
            out_open(&d->out, NULL, '[');
        for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
            checks[i](d);
        if (d->json) {
            out_close(&d->out, ']');
            printf("%.*s\n", STR_ARG(buf_str(&d->out)));
        } else if (d->wrong) {
            printf("\n%d thing%s wrong.\n", d->wrong, d->wrong == 1 ? " is" : "s are");
        } else {
            puts("\nNothing is wrong.");
        }
        status = d->wrong ? CLI_FAILED : CLI_OK;
    }
    buf_deinit(&d->out);
    config_free(d->config);
    free(d);
    return status;
}
