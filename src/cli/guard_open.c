/* See guard_open.h. */
#include "cli/guard_open.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "safety/policy.h"
#include "store/safety.h"

#define THREADS_MAX  8
#define QUEUED_MAX   20000
#define POLICY_ARENA ((size_t)8 << 20)

struct reading {
    struct buf *text;
    int version;
};

static enum err read_live(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct reading *r = arg;
    struct stored_policy p;
    struct arena *a = arena_new(POLICY_ARENA);
    enum err e = a ? stored_policy_live(tx, a, &p) : ERR_NOMEM;
    if (!e) {
        buf_adds(r->text, p.body);
        r->version = p.version;
    }
    arena_free(a);
    return e == ERR_NOT_FOUND ? ERR_OK : e ? err_set(ei, e, NULL) : ERR_OK;
}

static enum err read_file(const char *path, struct buf *text, struct errinfo *ei) {
    char part[4096];
    FILE *f = fopen(path, "rb");
    if (!f)
        return err_set(ei, ERR_INVALID, "guard_policy: %.300s cannot be read", path);
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
        buf_add(text, part, n);
    bool failed = ferror(f);
    fclose(f);
    return failed || buf_err(text)
               ? err_set(ei, ERR_INVALID, "guard_policy: %.300s cannot be read, or is too large",
                         path)
               : ERR_OK;
}

/* On = an error ends the start; degraded = it is said, and the guard goes without that part. */
static enum err allow(const struct config *c, struct server_guard *g, enum err e, const char *part,
                      struct errinfo *ei) {
    if (!e || e == ERR_NOMEM || c->guard != GUARD_DEGRADED) {
        if (e) {
            char why[sizeof ei->message];
            snprintf(why, sizeof why, "%s", ei->message[0] ? ei->message : err_text(e));
            return err_set(
                ei, ERR_INVALID,
                "the guard's %s cannot be used: %.300s. Parley does not serve unguarded; "
                "guard = degraded serves with what there is of it",
                part, why);
        }
        return ERR_OK;
    }
    log_event(LOG_ERROR, "guard.degraded", LF_Z("part", part), LF_ERR(ei));
    g->degraded = true;
    return ERR_OK;
}

static enum err open_classifier(struct server_guard *g, const struct config *c,
                                struct errinfo *ei) {
    enum err e = c->guard_classifier[0] ? classifier_open(c->guard_classifier, &g->classifier, ei)
                                        : classifier_open_builtin(&g->classifier, ei);
    if (!e)
        g->scorer = classifier_scorer(g->classifier);
    return e;
}

static enum err open_policy(struct server_guard *g, const struct config *c, struct store *store,
                            struct errinfo *ei) {
    struct buf text;
    struct reading r = {&text, 0};
    buf_init(&text, POLICY_BYTES_MAX);
    enum err e = store_read_wait(store, read_live, &r, ei);
    if (!e && text.n == 0 && c->guard_policy[0])
        e = allow(c, g, read_file(c->guard_policy, &text, ei), "policy", ei);
    struct safety_options o = {.policy = text.n ? buf_str(&text) : STR_NULL,
                               .policy_version = r.version,
                               .scorer = g->classifier ? &g->scorer : NULL};
    if (!e && (e = safety_new(&o, &g->safety, ei)) != ERR_OK && o.policy.p) {
        e = allow(c, g, e, "policy", ei);
        o.policy = STR_NULL;
        o.policy_version = 0;
        if (!e)
            e = safety_new(&o, &g->safety, ei);
    }
    buf_deinit(&text);
    return e;
}

enum err guard_open(struct server_guard *g, const struct config *c, struct store *store,
                    struct errinfo *ei) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (c->guard == GUARD_OFF) {
        log_event(LOG_WARN, "guard.off");
        return ERR_OK;
    }
    enum err e = allow(c, g, open_classifier(g, c, ei), "classifier", ei);
    if (!e)
        e = open_policy(g, c, store, ei);
    if (!e && jobs_new(cores < 2             ? 2
                       : cores > THREADS_MAX ? THREADS_MAX
                                             : (int)cores,
                       QUEUED_MAX, &g->jobs))
        e = err_set(ei, ERR_NOMEM, "threads cannot be started");
    struct upstream_options o = {.base_url = c->guard_upstream,
                                 .model = c->guard_model[0] ? c->guard_model : NULL,
                                 .first_byte_timeout_ms = (int)c->guard_timeout_ms,
                                 .connect_wait_ms = 1};
    if (!e && c->guard_upstream[0])
        e = upstream_new(&o, &g->upstream, ei);
    return e;
}

void guard_stop(struct server_guard *g) {
    if (g->jobs)
        jobs_free(g->jobs);
    g->jobs = NULL;
}

void guard_close(struct server_guard *g) {
    guard_stop(g);
    upstream_free(g->upstream);
    safety_free(g->safety);
    classifier_free(g->classifier);
    memset(g, 0, sizeof *g);
}
