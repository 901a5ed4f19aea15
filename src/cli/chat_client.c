/* See chat_client.h. */
#include "cli/chat_client.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/http_client.h"

#define RESPONSE_MAX ((size_t)64 << 20)
#define EVENT_MAX    ((size_t)16 << 20)

struct chat_client {
    struct loop *loop;
    struct http_client *http;
    char *base, *unix_socket; /* owned; the latter may be NULL */
    char *authorization;      /* "Authorization: Bearer …" or NULL */
    struct timer *timer;
    int interrupts;
    const struct chat_events *events; /* of the stream that is awaited */
    void *events_ctx;
    bool leave;
    char input[4096]; /* read from stdin and not yet handed out */
    size_t input_at, input_n;
};

/* What one call gathers; lives on the waiting function's stack. */
struct waiting {
    struct chat_client *client;
    struct buf body; /* of an answer that is no stream */
    struct sse_parser *parser;
    struct http_call *call;
    bool is_stream, over;
    enum err err;
    int status;
    struct errinfo *ei;
};

/* ---- Ctrl-C: a handler without SA_RESTART, so that it ends the reading of a line, and a pipe into
 * the loop ---- */

static int interrupt_pipe[2] = {-1, -1};

static void on_sigint(int signo) {
    int saved = errno;
    char byte = (char)signo;
    ssize_t unused = write(interrupt_pipe[1], &byte, 1);
    (void)unused;
    errno = saved;
}

static void count_interrupts(struct chat_client *c) {
    char bytes[16];
    ssize_t n;
    while ((n = read(interrupt_pipe[0], bytes, sizeof bytes)) > 0)
        c->interrupts += (int)n;
}

static void on_interrupt(void *arg) {
    struct chat_client *c = arg;
    count_interrupts(c);
    if (c->events && c->events->on_interrupt && !c->events->on_interrupt(c->events_ctx))
        c->leave = true;
    if (!c->events || c->leave)
        loop_stop(c->loop);
}

int chat_client_interrupts(struct chat_client *c) {
    count_interrupts(c);
    int n = c->interrupts;
    c->interrupts = 0;
    return n;
}

static enum err watch_interrupts(struct chat_client *c, struct errinfo *ei) {
    struct sigaction action = {.sa_handler = on_sigint};
    if (pipe2(interrupt_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
        return err_set(ei, ERR_IO, "no pipe: %s", strerror(errno));
    sigaction(SIGINT, &action, NULL);
    return loop_on_readable(c->loop, interrupt_pipe[0], on_interrupt, c);
}

/* ---- life ---- */

static void on_timer(void *arg) {
    struct chat_client *c = arg;
    loop_stop(c->loop);
}

enum err chat_client_new(const char *base, const char *unix_socket, const char *key,
                         struct chat_client **ret, struct errinfo *ei) {
    struct chat_client *c = calloc(1, sizeof *c);
    enum err e = c ? net_init(ei) : err_set(ei, ERR_NOMEM, NULL);
    if (!e)
        e = loop_new(&c->loop, ei);
    if (!e)
        e = http_client_new(c->loop, &c->http, ei);
    if (!e)
        e = watch_interrupts(c, ei);
    if (!e) {
        c->base = strdup(base);
        c->unix_socket = unix_socket ? strdup(unix_socket) : NULL;
        c->timer = timer_new(c->loop, on_timer, c);
        if (!c->base || (unix_socket && !c->unix_socket) || !c->timer)
            e = err_set(ei, ERR_NOMEM, NULL);
    }
    if (!e)
        e = chat_client_set_key(c, key);
    if (e) {
        chat_client_free(c);
        return e;
    }
    *ret = c;
    return ERR_OK;
}

void chat_client_free(struct chat_client *c) {
    if (!c)
        return;
    signal(SIGINT, SIG_DFL);
    timer_free(c->timer);
    if (c->http)
        http_client_free(c->http);
    if (c->loop)
        loop_free(c->loop);
    for (int i = 0; i < 2; i++) {
        if (interrupt_pipe[i] >= 0)
            close(interrupt_pipe[i]);
        interrupt_pipe[i] = -1;
    }
    if (c->authorization)
        explicit_bzero(c->authorization, strlen(c->authorization));
    free(c->authorization);
    free(c->unix_socket);
    free(c->base);
    free(c);
}

enum err chat_client_set_key(struct chat_client *c, const char *key) {
    char *line = NULL;
    if (key[0] && asprintf(&line, "Authorization: Bearer %s", key) < 0)
        return ERR_NOMEM;
    free(c->authorization);
    c->authorization = line;
    return ERR_OK;
}

/* ---- calls ---- */

static void on_status(void *ctx, int status, struct str type, int64_t retry_after_ms) {
    struct waiting *w = ctx;
    (void)retry_after_ms;
    w->is_stream = status == 200 && w->parser && str_starts(type, STR("text/event-stream"));
}

static bool on_event(const struct sse_event *e, void *ctx) {
    struct waiting *w = ctx;
    return w->client->events->on_event(w->client->events_ctx, e);
}

static bool on_data(void *ctx, struct str bytes) {
    struct waiting *w = ctx;
    if (w->is_stream)
        return sse_parser_feed(w->parser, bytes, on_event, w) == ERR_OK;
    buf_adds(&w->body, bytes);
    return true;
}

static void on_done(void *ctx, enum err err, int status, const struct errinfo *ei) {
    struct waiting *w = ctx;
    w->err = err;
    w->status = status;
    if (err && w->ei)
        *w->ei = *ei;
    w->call = NULL;
    w->over = true;
    loop_stop(w->client->loop);
}

static enum err err_of_status(int status) {
    switch (status) {
    case 400:
    case 413:
        return ERR_INVALID;
    case 401:
        return ERR_BAD_KEY;
    case 403:
        return ERR_FORBIDDEN;
    case 404:
        return ERR_NOT_FOUND;
    case 409:
        return ERR_CONFLICT;
    case 429:
        return ERR_OVERLOADED;
    default:
        return ERR_UPSTREAM;
    }
}

/* The message of {"error":{"message"}}, or the status. */
static enum err refused(int status, struct str body, struct errinfo *ei) {
    yyjson_doc *doc = NULL;
    struct str message = STR_NULL;
    if (json_parse(body, &doc, NULL) == ERR_OK)
        message = json_get_str(json_get(yyjson_doc_get_root(doc), "error"), "message");
    enum err e = err_of_status(status);
    if (message.n)
        err_set(ei, e, "%.*s", STR_ARG(message));
    else
        err_set(ei, e, "the server answered with the HTTP status %d", status);
    if (doc)
        yyjson_doc_free(doc);
    return e;
}

enum kind { CALL, UPLOAD, STREAM };

static enum err begin(struct waiting *w, const char *method, const char *path, struct str body,
                      enum kind kind) {
    bool stream = kind == STREAM, timed = kind == CALL;
    struct chat_client *c = w->client;
    const char *headers[4] = {stream ? "Accept: text/event-stream" : "Accept: application/json"};
    size_t n = 1;
    if (body.p)
        headers[n++] = kind == UPLOAD ? "Content-Type: application/octet-stream"
                                      : "Content-Type: application/json";
    if (c->authorization)
        headers[n++] = c->authorization;
    char url[2048];
    if ((size_t)snprintf(url, sizeof url, "%s%s", c->base, path) >= sizeof url)
        return err_set(w->ei, ERR_INVALID, "the address is too long");
    const struct http_call_spec spec = {.method = method,
                                        .url = url,
                                        .unix_socket = c->unix_socket,
                                        .headers = headers,
                                        .body = body,
                                        .total_timeout_ms = timed ? 60000 : 0,
                                        .idle_timeout_ms = timed ? 0 : 120000,
                                        .max_response_bytes = RESPONSE_MAX};
    const struct http_call_callbacks cb = {on_status, on_data, on_done};
    return http_call_start(c->http, &spec, &cb, w, &w->call, w->ei);
}

static enum err finish(struct waiting *w, yyjson_doc **ret_doc) {
    if (w->err)
        return w->err;
    if (w->status >= 300)
        return refused(w->status, buf_str(&w->body), w->ei);
    if (ret_doc) {
        *ret_doc = NULL;
        if (w->body.n)
            return json_parse(buf_str(&w->body), ret_doc, w->ei);
    }
    return ERR_OK;
}

static enum err call(struct chat_client *c, const char *method, const char *path, struct str body,
                     enum kind kind, yyjson_doc **ret_doc, struct errinfo *ei) {
    struct waiting w = {.client = c, .ei = ei};
    buf_init(&w.body, RESPONSE_MAX);
    enum err e = begin(&w, method, path, body, kind);
    while (!e && !w.over) {
        loop_run(c->loop);
        if (!w.over && c->interrupts > 0) {
            http_call_cancel(w.call);
            e = err_set(ei, ERR_CANCELLED, NULL);
        }
    }
    if (!e)
        e = finish(&w, ret_doc);
    buf_deinit(&w.body);
    return e;
}

enum err chat_client_call(struct chat_client *c, const char *method, const char *path,
                          struct str body, yyjson_doc **ret_doc, struct errinfo *ei) {
    return call(c, method, path, body, CALL, ret_doc, ei);
}

enum err chat_client_upload(struct chat_client *c, const char *path, struct str bytes,
                            yyjson_doc **ret_doc, struct errinfo *ei) {
    return call(c, "POST", path, bytes, UPLOAD, ret_doc, ei);
}

enum err chat_client_stream(struct chat_client *c, const char *method, const char *path,
                            struct str body, const struct chat_events *events, void *ctx,
                            struct errinfo *ei) {
    struct waiting w = {.client = c, .ei = ei, .parser = sse_parser_new(EVENT_MAX)};
    if (!w.parser)
        return err_set(ei, ERR_NOMEM, NULL);
    buf_init(&w.body, RESPONSE_MAX);
    c->events = events;
    c->events_ctx = ctx;
    c->leave = false;
    enum err e = begin(&w, method, path, body, STREAM);
    while (!e && !w.over && !c->leave)
        loop_run(c->loop);
    if (w.call && !w.over)
        http_call_cancel(w.call);
    if (!e)
        e = w.over ? finish(&w, NULL) : err_set(ei, ERR_CANCELLED, NULL);
    c->events = NULL;
    sse_parser_free(w.parser);
    buf_deinit(&w.body);
    return e;
}

static void quiet_done(void *ctx, enum err err, int status, const struct errinfo *ei) {
    (void)ctx;
    (void)err;
    (void)status;
    (void)ei;
}

void chat_client_post_quietly(struct chat_client *c, const char *path) {
    const char *headers[] = {"Accept: application/json", c->authorization, NULL};
    char url[2048];
    struct http_call *call;
    snprintf(url, sizeof url, "%s%s", c->base, path);
    const struct http_call_spec spec = {.method = "POST",
                                        .url = url,
                                        .unix_socket = c->unix_socket,
                                        .headers = headers,
                                        .total_timeout_ms = 10000};
    const struct http_call_callbacks cb = {.on_done = quiet_done};
    if (http_call_start(c->http, &spec, &cb, c, &call, NULL) != ERR_OK)
        return; /* pressing Ctrl-C again leaves */
}

void chat_client_wait(struct chat_client *c, int64_t ms) {
    timer_start(c->timer, ms, false);
    loop_run(c->loop);
    timer_stop(c->timer);
}

enum err chat_client_read_line(struct chat_client *c, const char *prompt, struct buf *ret) {
    buf_clear(ret);
    fputs(prompt, stdout);
    fflush(stdout);
    for (;;) {
        while (c->input_at < c->input_n) {
            char byte = c->input[c->input_at++];
            if (byte == '\n')
                return buf_err(ret);
            buf_addc(ret, byte);
        }
        ssize_t n = read(STDIN_FILENO, c->input, sizeof c->input);
        if (n < 0 && errno == EINTR) {
            if (chat_client_interrupts(c) > 0)
                return ERR_CANCELLED;
            continue;
        }
        if (n <= 0)
            return ret->n ? ERR_OK : ERR_NOT_FOUND;
        c->input_at = 0;
        c->input_n = (size_t)n;
    }
}
