/* What operators and pages ask before anything else: health, readiness, metrics, status, and the
 * API's own description. */
#include <stdio.h>

#include "api/handlers.h"
#include "api/slo.h"
#include "base/metrics.h"

void api_health_answer(struct call *c) {
    out_open(&c->out, NULL, '{');
    out_strz(&c->out, "status", "ok");
    out_strz(&c->out, "version", PARLEY_VERSION);
    out_close(&c->out, '}');
    api_call_reply(c);
}

#define ENGINE_METRICS "parley_engine_"

static void on_engine_metrics(void *ctx, enum err e, struct str text) {
    struct call *c = ctx;
    if (!e) /* else it is away just now, and what it counted with it */
        metrics_add_lines(&c->out, text, ENGINE_METRICS);
    api_call_reply(c);
}

void api_metrics_answer(struct call *c) {
    struct upstream_call *up;
    metrics_render_without(&c->out, ENGINE_METRICS);
    upstream_render_metrics(c->api->o.upstream, &c->out);
    slo_render_metrics(&c->out);
    if (!c->api->o.upstream_is_engine || upstream_metrics(c->client, on_engine_metrics, c, &up))
        api_call_reply(c);
}

void api_openapi_answer(struct call *c) {
    buf_adds(&c->out, buf_str(&c->api->openapi));
    api_call_reply(c);
}

/* ---- readiness: the store answers a query, the model server answered when it was last asked ----
 */

static enum err probe(struct store_tx *tx, void *arg, struct errinfo *ei) {
    int64_t users, admins;
    (void)arg;
    enum err e = user_count(tx, &users, &admins);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

static void add_reason(struct buf *b, const char *what, const char *why) {
    char text[700];
    snprintf(text, sizeof text, "%s: %s", what, why);
    out_strz(b, NULL, text);
}

static void probed(void *arg, enum err err, const struct errinfo *ei) {
    struct call *c = arg;
    struct errinfo up = {0};
    bool model = upstream_is_ready(c->api->o.upstream, &up);
    buf_clear(&c->out);
    out_open(&c->out, NULL, '{');
    out_bool(&c->out, "ready", !err && model);
    out_open(&c->out, "reasons", '[');
    if (err)
        add_reason(&c->out, "store", ei && ei->message[0] ? ei->message : err_text(err));
    if (!model)
        add_reason(&c->out, "model", up.message[0] ? up.message : err_text(ERR_UNAVAILABLE));
    struct errinfo failing;
    if (store_health(c->api->o.store, &failing)) /* reading goes on: it stays ready */
        add_reason(&c->out, "store", failing.message);
    out_close(&c->out, ']');
    out_close(&c->out, '}');
    if (err || !model)
        c->status = err_http_status(ERR_UNAVAILABLE);
    api_call_reply(c);
}

void api_ready_answer(struct call *c) {
    enum err e = store_read(c->api->o.store, probe, c, c->loop, probed);
    if (e)
        api_call_fail(c, e, NULL);
}

enum err api_status_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    const struct api *a = c->api;
    struct str model = STR("");
    bool required = false;
    enum err e = auth_setup_required(tx, &required);
    if (e)
        return err_set(ei, e, NULL);
    if (upstream_default_model(a->o.upstream, c->arena, &model))
        model = STR(""); /* not known yet */
    out_open(&c->out, NULL, '{');
    out_strz(&c->out, "version", PARLEY_VERSION);
    out_bool(&c->out, "setup_required", required);
    out_strz(&c->out, "signup", a->o.signup_open ? "open" : "closed");
    out_bool(&c->out, "ready", upstream_is_ready(a->o.upstream, NULL));
    out_str(&c->out, "model", model);
    struct errinfo failing;
    if (store_health(a->o.store, &failing))
        out_strz(&c->out, "notice", failing.message);
    else
        out_strz(&c->out, "notice", a->notice);
    out_close(&c->out, '}');
    return ERR_OK;
}

/* ---- objectives ---- */

static void add_window(struct buf *b, const char *key, enum slo_objective o, int minutes) {
    struct slo_window w = slo_read(o, minutes);
    out_open(b, key, '{');
    out_int(b, "total", w.total);
    out_int(b, "bad", w.bad);
    out_num(b, "good_ratio", w.ratio);
    out_num(b, "budget_burned", w.burned);
    out_close(b, '}');
}

enum err api_slo_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct buf *b = &c->out;
    (void)tx, (void)ei;
    out_open(b, NULL, '{');
    out_open(b, "data", '[');
    for (int o = 0; o < SLO_COUNT; o++) {
        out_open(b, NULL, '{');
        out_strz(b, "objective", slo_name((enum slo_objective)o));
        out_num(b, "target", slo_target((enum slo_objective)o));
        add_window(b, "hour", (enum slo_objective)o, 60);
        add_window(b, "day", (enum slo_objective)o, 1440);
        add_window(b, "since_start", (enum slo_objective)o, 0);
        out_close(b, '}');
    }
    out_close(b, ']');
    out_null(b, "next");
    out_close(b, '}');
    return ERR_OK;
}
