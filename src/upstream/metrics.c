/* The engine's own metrics, for the server's /metrics to show beside its own: Prometheus then has
 * one address to ask. */
#include <stdlib.h>

#include "upstream/upstream_internal.h"

struct metrics_call {
    struct upstream_call call;
    void (*done)(void *ctx, enum err e, struct str text);
    void *ctx;
};

static bool metrics_end(struct upstream_call *call, enum err e, const struct errinfo *ei) {
    struct metrics_call *m = (struct metrics_call *)call;
    (void)ei;
    if (!call->cancelled)
        m->done(m->ctx, e, e ? STR_NULL : buf_str(&call->answer));
    return false;
}

enum err upstream_metrics(struct upstream_client *c,
                          void (*done)(void *ctx, enum err e, struct str text), void *ctx,
                          struct upstream_call **ret) {
    static const struct call_kind kind = {.whole = true, .on_end = metrics_end};
    struct metrics_call *m = calloc(1, sizeof *m);
    if (!m)
        return ERR_NOMEM;
    call_init(&m->call, c, &kind);
    m->done = done;
    m->ctx = ctx;
    m->call.server = &c->u->servers[0];
    enum err e = call_send(&m->call, "GET", m->call.server->root_url, "/metrics", NULL);
    if (e) {
        call_free(&m->call);
        return e;
    }
    *ret = &m->call;
    return ERR_OK;
}
