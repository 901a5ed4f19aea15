/* Forwarding for the OpenAI-compatible API: the body goes as it is, what comes back is handed over.
 * Refusals of the server are answers, too: their (short) bodies are collected and handed over as a
 * whole, because a 503 may be followed by another try. */
#include <stdlib.h>

#include "upstream/upstream_internal.h"

struct forward {
    struct upstream_call call;
    struct forward_callbacks cb;
    void *ctx;
    const char *path; /* borrowed: a literal */
    bool told;        /* on_status was called */
    bool chats;
};

static void tell_status(struct forward *f) {
    if (f->told)
        return;
    f->told = true;
    f->cb.on_status(f->ctx, f->call.status, str_from(f->call.content_type), f->call.retry_after_ms);
}

static enum err forward_data(struct upstream_call *call, struct str bytes, struct errinfo *ei) {
    struct forward *f = (struct forward *)call;
    tell_status(f);
    reading_spoke(call);
    if (!call->cancelled && !f->cb.on_data(f->ctx, bytes))
        return err_set(ei, ERR_CANCELLED, NULL);
    return ERR_OK;
}

static bool forward_end(struct upstream_call *call, enum err e, const struct errinfo *ei) {
    struct forward *f = (struct forward *)call;
    bool refused = !f->told && call->status != 0 && (call->status < 200 || call->status > 299);
    if (refused || e == ERR_OK) {
        tell_status(f);
        e = ERR_OK;
    }
    if (refused && !call->cancelled && call->answer.n)
        (void)f->cb.on_data(f->ctx, buf_str(&call->answer));
    if (!call->cancelled)
        f->cb.on_done(f->ctx, e, e ? ei : NULL);
    return false;
}

static enum err forward_send(struct upstream_call *call, struct errinfo *ei) {
    struct forward *f = (struct forward *)call;
    if (f->chats)
        reading_begin(call, 0);
    return call_send(call, "POST", call->server->base_url, f->path, ei);
}

enum err upstream_forward(struct upstream_client *c, const char *path, struct str body,
                          uint64_t plan, const struct forward_callbacks *cb, void *ctx,
                          struct upstream_call **ret, struct errinfo *ei) {
    static const struct call_kind kind = {
        .send = forward_send, .on_data = forward_data, .on_end = forward_end};
    struct forward *f = calloc(1, sizeof *f);
    if (!f)
        return err_set(ei, ERR_NOMEM, NULL);
    call_init(&f->call, c, &kind);
    f->call.patient = true;
    f->call.plan = plan;
    f->cb = *cb;
    f->ctx = ctx;
    f->path = path;
    f->chats = strstr(path, "/chat/") != NULL;
    buf_adds(&f->call.body, body);
    enum err e = call_begin(&f->call, ei);
    if (e) {
        call_free(&f->call);
        return e;
    }
    *ret = &f->call;
    return ERR_OK;
}
