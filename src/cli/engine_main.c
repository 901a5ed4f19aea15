/* parley engine: the model alone, either a child of serve (descriptor and files come from there) or
 * by itself as a model server that others reach. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"
#include "cli/models.h"
#include "engine/engine.h"
#include "net/http_server.h"
#include "supervisor/supervisor.h"

#define STANDARD_LISTEN "127.0.0.1:8081"

static int number(const char *text, int otherwise) {
    uint64_t n;
    return text && str_to_u64(str_from(text), &n) && n <= INT32_MAX ? (int)n : otherwise;
}

/* The key that TCP clients must send: the environment's, else the file's first line. */
static enum err read_key(const char *file, char *out, size_t size, struct errinfo *ei) {
    const char *env = getenv("PARLEY_ENGINE_KEY");
    out[0] = 0;
    if (!file) {
        if (env && (size_t)snprintf(out, size, "%s", env) >= size)
            return err_set(ei, ERR_INVALID, "PARLEY_ENGINE_KEY is too long");
        return ERR_OK;
    }
    FILE *f = fopen(file, "re");
    if (!f || !fgets(out, (int)size, f))
        out[0] = 0;
    if (f)
        fclose(f);
    out[strcspn(out, "\r\n")] = 0;
    return out[0] ? ERR_OK : err_set(ei, ERR_INVALID, "%s: the first line holds no key", file);
}

static enum err choose(const struct args *a, const struct config *c, struct model_choice *choice,
                       struct engine_options *o, struct errinfo *ei) {
    if (args_get(a, "chat-path") || args_get(a, "embedding-path")) {
        o->chat_name = args_get(a, "chat-name");
        o->chat_path = args_get(a, "chat-path");
        o->embedding_name = args_get(a, "embedding-name");
        o->embedding_path = args_get(a, "embedding-path");
        return ERR_OK;
    }
    enum err e = models_choose(c->models_dir, c->model, c->embedding_model, choice, ei);
    if (e)
        return e;
    o->chat_name = choice->chat_name;
    o->chat_path = choice->chat_path;
    if (choice->embedding_path[0]) {
        o->embedding_name = choice->embedding_name;
        o->embedding_path = choice->embedding_path;
    }
    return ERR_OK;
}

static void say_loaded(void *link) {
    supervisor_link_ready(link);
}

static void say_alive(void *link) {
    supervisor_link_beat(link);
}

/* Beside the catalogue's weights, also for a file of somebody's own. */
static const char *rates_path(const struct config *c, const char *weights, char *out, size_t size) {
    if (!weights)
        return NULL;
    const char *name = strrchr(weights, '/') ? strrchr(weights, '/') + 1 : weights;
    return (size_t)snprintf(out, size, "%s/%s.rates.json", c->models_dir, name) < size ? out : NULL;
}

#define ADAPTERS_MAX 32

struct adapters { /* of the models folder */
    struct engine_adapter list[ADAPTERS_MAX];
    char names[ADAPTERS_MAX][128], paths[ADAPTERS_MAX][PATH_MAX];
    int n;
};

static void add_adapter(void *ctx, const struct model_installed *i) {
    struct adapters *a = ctx;
    if (strcmp(i->added, "adapter") != 0 || a->n == ADAPTERS_MAX)
        return;
    snprintf(a->names[a->n], sizeof a->names[0], "%s", i->name);
    snprintf(a->paths[a->n], sizeof a->paths[0], "%s", i->path);
    a->list[a->n] = (struct engine_adapter){a->names[a->n], a->paths[a->n]};
    a->n++;
}

/* Says where: port 0 is one that the kernel chose. */
static enum err listen_alone(struct engine_options *o, int *ret_fd, struct errinfo *ei) {
    char address[256];
    enum err e = net_listen(o->listen, false, ret_fd, ei);
    if (e)
        return e;
    o->listen_fd = *ret_fd;
    if (net_local_address(*ret_fd, address, sizeof address))
        snprintf(address, sizeof address, "%s", o->listen);
    fprintf(stderr, "Parley's engine: %s on %s\n", o->chat_name, address);
    return ERR_OK;
}

/* The guard reads less of a text with weights that were prepared before its classifier. */
static void warn_of_outdated(const char *dir, const char *name, const char *path) {
    struct catalogue c;
    struct model_installed i;
    char run[256];
    if (!name || !path || catalogue_builtin(&c, NULL))
        return;
    const struct model *m = catalogue_find(&c, str_from(name));
    if (m && model_installed_get(dir, m->name, &i, NULL) == ERR_OK && strcmp(i.path, path) == 0 &&
        model_outdated(m, &i)) {
        snprintf(run, sizeof run, "parley model pull %s", m->name);
        log_event(LOG_WARN, "model.outdated", LF_Z("model", m->name), LF_Z("run", run));
    }
    catalogue_deinit(&c);
}

static enum err serve(const struct args *a, const struct config *c, struct errinfo *ei) {
    struct supervisor_link link;
    supervisor_link_get(&link);
    char key[512];
    const char *listen = args_get(a, "listen");
    struct model_choice *choice = calloc(1, sizeof *choice);
    struct adapters *adapters = calloc(1, sizeof *adapters);
    struct engine_options o = {
        .listen = listen ? listen : STANDARD_LISTEN,
        .listen_fd = number(args_get(a, "listen-fd"), -1),
        .lifeline_fd = link.lifeline_fd,
        .threads = (int)c->engine_threads,
        .context = (int)c->context,
        .slots = (int)c->slots,
        .max_queued = (int)c->engine_max_queued,
        .deadline_ms = (int)c->engine_deadline_ms,
        .leave_signal = SUPERVISOR_LEAVE_SIGNAL,
        .listen_when_loaded = link.before_pid > 0,
        .hurries = link.start > 1 && link.before_pid == 0, /* not at an upgrade */
        .on_loaded = say_loaded,
        .on_beat = say_alive,
        .ctx = &link,
        .beat_ms = SUPERVISOR_BEAT_MS,
        .keep_dir = args_has(a, "listen-fd") ? c->data_dir : NULL,
        .keep_bytes = c->engine_keep_mib << 20,
    };
    char rates[4096];
    int own_fd = -1;
    enum err e =
        choice && adapters ? read_key(args_get(a, "key-file"), key, sizeof key, ei) : ERR_NOMEM;
    if (!e)
        e = choose(a, c, choice, &o, ei);
    if (!e) {
        o.api_key = key[0] ? key : NULL;
        o.rates_path = rates_path(c, o.chat_path, rates, sizeof rates);
        warn_of_outdated(c->models_dir, o.embedding_name, o.embedding_path);
        models_added(c->models_dir, add_adapter, adapters);
        o.adapters = adapters->list;
        o.n_adapters = o.chat_path ? adapters->n : 0;
        if (o.listen_fd < 0)
            e = listen_alone(&o, &own_fd, ei);
        if (!e)
            e = engine_serve(&o, ei);
    }
    if (own_fd >= 0)
        close(own_fd);
    free(choice);
    free(adapters);
    return e;
}

int cmd_engine(const struct args *a) {
    struct config *config;
    int status = cli_config(a, &config);
    if (status)
        return status;
    prctl(PR_SET_NAME, "parley-engine"); /* executed as /proc/self/exe, it would be "exe" */
    config_start_log(config, "engine");
    struct errinfo ei = {0};
    enum err e = serve(a, config, &ei);
    config_free(config);
    if (!e)
        return CLI_OK;
    status = cli_fail(e, &ei);
    if (!args_has(a, "listen-fd"))
        return status; /* a person started it */
    return e == ERR_INVALID ? SUPERVISOR_EXIT_GIVE_UP : CLI_FAILED;
}
