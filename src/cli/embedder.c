/* The child, its socket and a loop that runs only while texts are on their way. */
#include "cli/embedder.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/crypto.h"
#include "cli/models.h"
#include "cli/upstreams.h"
#include "net/http_server.h"
#include "net/loop.h"
#include "upstream/upstream.h"

#define BATCH 32

struct embedder {
    struct loop *loop;
    struct upstream *upstream;
    struct upstream_client *client;
    char folder[64], socket[96], model[256];
    pid_t child; /* 0 = none: a configured upstream */
    /* the batch on its way */
    struct embedded out; /* owned until given away */
    size_t at, n;
    enum err err;
    struct errinfo ei;
};

/* ---- the child ---- */

static void become_engine(int fd, const struct model_choice *m) {
    char text[16];
    int null_fd = open("/dev/null", O_RDWR);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fcntl(fd, F_SETFD, 0);
    if (null_fd >= 0) {
        dup2(null_fd, STDIN_FILENO);
        dup2(null_fd, STDOUT_FILENO);
        dup2(null_fd, STDERR_FILENO);
    }
    snprintf(text, sizeof text, "%d", fd);
    execl("/proc/self/exe", "parley", "engine", "--listen-fd", text, "--embedding-name",
          m->embedding_name, "--embedding-path", m->embedding_path, (char *)NULL);
    _exit(127);
}

static enum err start_child(struct embedder *e, const struct config *c, struct errinfo *ei) {
    struct model_choice m;
    char address[128];
    int fd;
    enum err err = models_choose_embedding(c->models_dir, c->embedding_model, &m, ei);
    if (err)
        return err;
    snprintf(e->folder, sizeof e->folder, "/tmp/parley-embed-XXXXXX");
    if (!mkdtemp(e->folder)) {
        e->folder[0] = 0;
        return err_set(ei, ERR_IO, "no folder for a socket can be made in /tmp");
    }
    snprintf(e->socket, sizeof e->socket, "%s/s", e->folder);
    snprintf(address, sizeof address, "unix:%s", e->socket);
    err = net_listen(address, false, &fd, ei);
    if (err)
        return err;
    e->child = fork();
    if (e->child == 0)
        become_engine(fd, &m);
    close(fd);
    if (e->child < 0) {
        e->child = 0;
        return err_set(ei, ERR_INTERNAL, "no process can be started");
    }
    return ERR_OK;
}

enum err embedder_open(const struct config *c, struct embedder **ret, struct errinfo *ei) {
    struct embedder *e = calloc(1, sizeof *e);
    bool remote = c->upstream[0] != 0;
    if (!e)
        return err_set(ei, ERR_NOMEM, NULL);
    enum err err = net_init(ei);
    if (!err && (err = crypto_init()) != ERR_OK)
        err_set(ei, err, "the cryptography library cannot be used");
    if (!err)
        err = loop_new(&e->loop, ei);
    if (!err)
        err = remote ? ERR_OK : start_child(e, c, ei);
    struct upstream_options o = {.base_url = "http://engine/v1", .unix_socket = e->socket};
    if (!err)
        err = remote ? upstreams_open(c, &e->upstream, ei) : upstream_new(&o, &e->upstream, ei);
    if (!err)
        err = upstream_client_new(e->upstream, e->loop, &e->client, ei);
    if (err) {
        embedder_close(e);
        return err;
    }
    *ret = e;
    return ERR_OK;
}

void embedder_close(struct embedder *e) {
    if (!e)
        return;
    upstream_client_free(e->client);
    upstream_free(e->upstream);
    if (e->child > 0) {
        kill(e->child, SIGTERM);
        while (waitpid(e->child, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    if (e->folder[0]) {
        unlink(e->socket);
        rmdir(e->folder);
    }
    if (e->loop)
        loop_free(e->loop);
    embedded_deinit(&e->out);
    free(e);
}

/* ---- texts ---- */

void embedded_deinit(struct embedded *r) {
    free(r->vectors);
    free(r->layers);
    *r = (struct embedded){0};
}

static void put_rows(float *to, size_t at, const float *rows, size_t n, int numbers) {
    memcpy(to + at * (size_t)numbers, rows, n * (size_t)numbers * sizeof *to);
}

static void on_embedded(void *ctx, const struct embed_result *r) {
    struct embedder *e = ctx;
    e->err = r->err;
    if (r->err && r->ei)
        e->ei = *r->ei;
    if (!r->err && !e->out.vectors) {
        e->out.dimensions = r->dimensions;
        e->out.layer_numbers = r->layers ? r->layer_numbers : 0;
        e->out.vectors = calloc(e->n, (size_t)r->dimensions * sizeof(float));
        if (r->layers)
            e->out.layers = calloc(e->n, (size_t)r->layer_numbers * sizeof(float));
        snprintf(e->model, sizeof e->model, "%.*s", STR_ARG(r->model));
        if (!e->out.vectors || (r->layers && !e->out.layers))
            e->err = err_set(&e->ei, ERR_NOMEM, NULL);
    }
    if (!e->err && (r->dimensions != e->out.dimensions ||
                    (r->layers ? r->layer_numbers : 0) != e->out.layer_numbers))
        e->err = err_set(&e->ei, ERR_UPSTREAM, "the embedding model changed meanwhile");
    if (!e->err)
        put_rows(e->out.vectors, e->at, r->vectors, r->n, r->dimensions);
    if (!e->err && r->layers)
        put_rows(e->out.layers, e->at, r->layers, r->n, r->layer_numbers);
    loop_stop(e->loop);
}

enum err embedder_run(struct embedder *e, const struct str *texts, size_t n,
                      enum upstream_embed_how how, struct embedded *ret, struct errinfo *ei) {
    struct upstream_call *call;
    enum err err = n ? ERR_OK : err_set(ei, ERR_INVALID, "there is no text to embed");
    e->n = n;
    embedded_deinit(&e->out);
    for (e->at = 0; !err && e->at < n; e->at += BATCH) {
        size_t k = n - e->at < BATCH ? n - e->at : BATCH;
        err = upstream_embed(e->client, STR_NULL, texts + e->at, k, how, on_embedded, e, &call, ei);
        if (err)
            return err;
        loop_run(e->loop);
        if ((err = e->err) && ei)
            *ei = e->ei;
    }
    if (err)
        return err;
    *ret = e->out;
    e->out = (struct embedded){0};
    return ERR_OK;
}

const char *embedder_model(const struct embedder *e) {
    return e->model;
}
