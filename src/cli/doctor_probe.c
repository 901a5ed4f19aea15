/* See doctor_probe.h. */
#include "cli/doctor_probe.h"

#include <stdio.h>

#include "base/json.h"
#include "net/http_client.h"

#define PROBE_MS 5000
#define BODY_MAX ((size_t)65536)

struct probe {
    struct loop *loop;
    struct buf body;
    struct probe_answer *answer;
};

static bool on_data(void *ctx, struct str bytes) {
    struct probe *p = ctx;
    buf_adds(&p->body, bytes);
    return true;
}

static void on_done(void *ctx, enum err err, int status, const struct errinfo *ei) {
    struct probe *p = ctx;
    struct probe_answer *a = p->answer;
    yyjson_doc *doc = NULL;
    a->err = err;
    a->status = status;
    if (err) {
        snprintf(a->message, sizeof a->message, "%s", ei->message);
    } else if (json_parse(buf_str(&p->body), &doc, NULL) == ERR_OK) {
        const json_val *root = yyjson_doc_get_root(doc);
        struct str text = json_get_str(json_get(root, "error"), "message");
        if (!text.n) /* of /readyz */
            text = json_str(yyjson_arr_get_first(json_get(root, "reasons")));
        if (!text.n)
            text = json_get_str(root, "status");
        snprintf(a->message, sizeof a->message, "%.*s", STR_ARG(text));
        yyjson_doc_free(doc);
    }
    loop_stop(p->loop);
}

void probe_get(const char *base, const char *unix_socket, const char *path,
               struct probe_answer *ret) {
    struct probe p = {.answer = ret};
    struct http_client *http = NULL;
    struct http_call *call;
    struct errinfo ei = {0};
    char url[600];
    *ret = (struct probe_answer){.err = ERR_INTERNAL};
    buf_init(&p.body, BODY_MAX);
    snprintf(url, sizeof url, "%s%s", base, path);
    const struct http_call_spec spec = {.method = "GET",
                                        .url = url,
                                        .unix_socket = unix_socket,
                                        .total_timeout_ms = PROBE_MS,
                                        .max_response_bytes = BODY_MAX};
    const struct http_call_callbacks cb = {.on_data = on_data, .on_done = on_done};
    enum err e = net_init(&ei);
    if (!e)
        e = loop_new(&p.loop, &ei);
    if (!e)
        e = http_client_new(p.loop, &http, &ei);
    if (!e)
        e = http_call_start(http, &spec, &cb, &p, &call, &ei);
    if (!e)
        loop_run(p.loop);
    else
        snprintf(ret->message, sizeof ret->message, "%s", ei.message);
    if (http)
        http_client_free(http);
    if (p.loop)
        loop_free(p.loop);
    buf_deinit(&p.body);
}
