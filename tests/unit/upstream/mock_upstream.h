/* A scripted model server on a Unix socket, on the test's own loop: it records what it is asked and
 * answers as ordered. And a small event pump: callbacks call pump_stop(), pump_until() runs the
 * loop meanwhile. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "base/json.h"
#include "net/http_server.h"
#include "net/sse.h"

enum mock_mode {
    MOCK_REPLY,  /* streams reply, word by word */
    MOCK_HOLD,   /* streams the first word and waits for mock_release() or mock_break() */
    MOCK_STATUS, /* answers status with raw as the body */
    MOCK_RAW,    /* answers 200 with raw as it is */
    MOCK_SILENT, /* never answers */
};

#define MOCK_ASKED_MAX 64

struct mock {
    struct loop *loop;
    struct http_server *server;
    char path[128], address[140];
    int fd;
    enum mock_mode mode;
    const char *reply, *raw;
    int status;
    const char *retry_after;
    const char *models; /* the body of /models, NULL = mock-chat with parley and window */
    const char *props;  /* the body of /props, NULL = 404 */
    int window;
    int models_status; /* 0 = 200 */
    bool no_counts;
    char *asked[MOCK_ASKED_MAX]; /* bodies of chat requests, owned */
    int n_asked, n_counts, n_models, n_gone, n_embeds;
    enum { EMBED_BASE64, EMBED_REVERSED, EMBED_BROKEN } embed_form;
    bool layers_missing;   /* of the last text */
    const char *layers_of; /* whose they are, as the answer says; NULL = it does not */
    bool hold_embeds;      /* the next request for embeddings waits for mock_release_embed() */
    struct http_request *held_embed;
    char embed_body[512];      /* of the last request for embeddings */
    const char *embed_refused; /* a request for embeddings that has this gets 400 */
    const char *embed_silent;  /* … that has this gets no answer */
    char key[128];             /* the last Authorization */
    struct http_request *held;
    void (*on_asked)(struct mock *m); /* after a chat request was recorded */
};

static struct loop *pump_loop;
static bool pump_timeout;

static inline void pump_expired(void *arg) {
    (void)arg;
    pump_timeout = true;
    loop_stop(pump_loop);
}

/* Runs the loop until *flag is set; callbacks that set it call loop_stop(). */
static inline void pump_until(struct loop *l, const bool *flag) {
    pump_loop = l;
    pump_timeout = false;
    struct timer *t = timer_new(l, pump_expired, NULL);
    timer_start(t, 20000, false);
    while (!*flag && !pump_timeout)
        loop_run(l);
    timer_free(t);
    assert_true(*flag);
}

static inline void mock_chunk(struct http_request *r, const char *text) {
    struct buf b, json;
    buf_init(&b, 1 << 20);
    buf_init(&json, 1 << 20);
    buf_addz(&json, "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"");
    buf_add_json(&json, str_from(text));
    buf_addz(&json, "\"},\"finish_reason\":null}]}");
    sse_write(&b, -1, NULL, buf_str(&json));
    assert_int_equal(http_stream_write(r, buf_str(&b)), ERR_OK);
    buf_deinit(&b);
    buf_deinit(&json);
}

static inline void mock_finish(struct http_request *r) {
    static const char end[] =
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7}}\n\n"
        "data: [DONE]\n\n";
    assert_int_equal(http_stream_write(r, str_from(end)), ERR_OK);
    http_stream_end(r);
}

static inline void mock_words(struct http_request *r, const char *text, bool first_only) {
    while (*text) {
        size_t n = strcspn(text, " ");
        n += text[n] == ' ';
        char word[512];
        snprintf(word, sizeof word, "%.*s", (int)n, text);
        mock_chunk(r, word);
        text += n;
        if (first_only)
            return;
    }
}

static inline void mock_held_gone(void *ctx) {
    struct mock *m = ctx;
    m->held = NULL;
    m->n_gone++;
    loop_stop(m->loop);
}

static inline void mock_release(struct mock *m, const char *rest) {
    assert_non_null(m->held);
    struct http_request *r = m->held;
    m->held = NULL;
    http_on_close(r, NULL, NULL);
    mock_words(r, rest, false);
    mock_finish(r);
}

/* The connection breaks in the middle of the answer. */
static inline void mock_break(struct mock *m) {
    assert_non_null(m->held);
    struct http_request *r = m->held;
    m->held = NULL;
    http_on_close(r, NULL, NULL);
    http_stream_abort(r);
}

static inline void mock_chat(struct mock *m, struct http_request *r) {
    struct str body = http_body(r);
    assert_true(m->n_asked < MOCK_ASKED_MAX);
    m->asked[m->n_asked++] = strndup(body.p, body.n);
    if (m->on_asked)
        m->on_asked(m);
    if (m->mode == MOCK_STATUS) {
        if (m->retry_after)
            http_set_header(r, "Retry-After", m->retry_after);
        http_reply(r, m->status, "application/json", str_from(m->raw ? m->raw : ""));
        return;
    }
    if (m->mode == MOCK_SILENT || m->mode == MOCK_HOLD) {
        m->held = r;
        http_on_close(r, mock_held_gone, m);
    }
    if (m->mode == MOCK_SILENT)
        return;
    http_stream_begin(r, 200, "text/event-stream");
    if (m->mode == MOCK_RAW) {
        assert_int_equal(http_stream_write(r, str_from(m->raw)), ERR_OK);
        http_stream_end(r);
    } else if (m->mode == MOCK_REPLY) {
        mock_words(r, m->reply, false);
        mock_finish(r);
    } else {
        mock_words(r, m->reply, true);
    }
}

static inline void mock_count(struct mock *m, struct http_request *r) {
    yyjson_doc *doc;
    struct buf b;
    size_t i, n;
    yyjson_val *v;
    m->n_counts++;
    if (m->no_counts) {
        http_reply(r, 404, "application/json", STR("{\"error\":{\"message\":\"no such path\"}}"));
        return;
    }
    assert_int_equal(json_parse(http_body(r), &doc, NULL), ERR_OK);
    buf_init(&b, 1 << 20);
    buf_addz(&b, "{\"counts\":[");
    yyjson_arr_foreach(json_get(yyjson_doc_get_root(doc), "texts"), i, n, v)
        buf_addf(&b, "%s%zu", i ? "," : "", json_str(v).n / 4 + 1);
    buf_addz(&b, "]}");
    yyjson_doc_free(doc);
    http_reply(r, 200, "application/json", buf_str(&b));
    buf_deinit(&b);
}

/* A vector of three numbers for each text: its length, 1, 0. The second form of embed_form gives
 * lists, the last one in reverse order. Asked for layers, it adds two numbers: the length, -1, and
 * layers_of; the last text has none with layers_missing. */
static inline void mock_embed_gone(void *ctx) {
    ((struct mock *)ctx)->held_embed = NULL;
}

static inline void mock_embed(struct mock *m, struct http_request *r) {
    yyjson_doc *doc;
    struct buf b;
    if (m->hold_embeds) {
        m->hold_embeds = false;
        m->held_embed = r;
        http_on_close(r, mock_embed_gone, m);
        loop_stop(m->loop);
        return;
    }
    m->n_embeds++;
    snprintf(m->embed_body, sizeof m->embed_body, "%.*s", STR_ARG(http_body(r)));
    if (m->embed_refused && str_find(http_body(r), str_from(m->embed_refused)) != SIZE_MAX) {
        http_reply(r, 400, "application/json", STR("{\"error\":{\"message\":\"too strange\"}}"));
        return;
    }
    if (m->embed_silent && str_find(http_body(r), str_from(m->embed_silent)) != SIZE_MAX)
        return;
    assert_int_equal(json_parse(http_body(r), &doc, NULL), ERR_OK);
    json_val *input = json_get(yyjson_doc_get_root(doc), "input");
    size_t n = yyjson_arr_size(input);
    bool layers = str_find(http_body(r), STR("\"layers_of\":")) != SIZE_MAX;
    buf_init(&b, 1 << 20);
    buf_addz(&b, "{\"model\":\"mock-embedding\",\"data\":[");
    for (size_t k = 0; k < n; k++) {
        size_t i = m->embed_form == EMBED_REVERSED ? n - 1 - k : k;
        float v[3] = {(float)json_str(yyjson_arr_get(input, i)).n, 1, 0};
        buf_addf(&b, "%s{\"index\":%zu,\"embedding\":", k ? "," : "", i);
        if (m->embed_form == EMBED_BASE64) {
            buf_addc(&b, '"');
            base64_add(&b, v, sizeof v);
            buf_addc(&b, '"');
        } else {
            buf_addf(&b, "[%g,%g,%g]", v[0], v[1], v[2]);
        }
        if (layers && !(m->layers_missing && i + 1 == n))
            buf_addf(&b, ",\"layers\":[%g,-1]", v[0]);
        buf_addc(&b, '}');
    }
    buf_addc(&b, ']');
    if (layers && m->layers_of)
        buf_addf(&b, ",\"layers_of\":\"%s\"", m->layers_of);
    buf_addc(&b, '}');
    yyjson_doc_free(doc);
    http_reply(r, 200, "application/json",
               m->embed_form == EMBED_BROKEN ? STR("{\"data\":[]}") : buf_str(&b));
    buf_deinit(&b);
}

static inline void mock_release_embed(struct mock *m) {
    struct http_request *r = m->held_embed;
    assert_non_null(r);
    m->held_embed = NULL;
    http_on_close(r, NULL, NULL);
    mock_embed(m, r);
}

static inline void mock_handle(struct http_request *r, void *ctx) {
    struct mock *m = ctx;
    struct str path = http_path(r);
    snprintf(m->key, sizeof m->key, "%.*s", STR_ARG(http_header(r, "authorization")));
    if (str_eqz(path, "/v1/chat/completions")) {
        mock_chat(m, r);
    } else if (str_eqz(path, "/v1/tokens/count")) {
        mock_count(m, r);
    } else if (str_eqz(path, "/v1/embeddings")) {
        mock_embed(m, r);
    } else if (str_eqz(path, "/tokenize")) {
        m->n_counts++;
        http_reply(r, 200, "application/json", STR("{\"tokens\":[1,2,3]}"));
    } else if (str_eqz(path, "/v1/models")) {
        char own[512];
        m->n_models++;
        snprintf(
            own, sizeof own,
            "{\"data\":[{\"id\":\"mock-embedding\",\"parley\":{\"kind\":\"embedding\"}},{\"id\":"
            "\"mock-chat\",\"parley\":{\"kind\":\"chat\",\"context_window\":%d,\"template_"
            "overhead\":4}}]}",
            m->window ? m->window : 4096);
        http_reply(r, m->models_status ? m->models_status : 200, "application/json",
                   str_from(m->models ? m->models : own));
    } else if (str_eqz(path, "/props") && m->props) {
        http_reply(r, 200, "application/json", str_from(m->props));
    } else {
        http_reply(r, 404, "application/json", STR("{\"error\":{\"message\":\"no such path\"}}"));
    }
    loop_stop(m->loop);
}

static inline void mock_up(struct mock *m) {
    struct errinfo ei;
    struct http_server_options o = {0};
    assert_int_equal(http_server_new(m->loop, &o, mock_handle, m, &m->server, &ei), ERR_OK);
    assert_int_equal(net_listen(m->address, false, &m->fd, &ei), ERR_OK);
    assert_int_equal(http_server_listen(m->server, m->fd, &ei), ERR_OK);
}

static inline void mock_down(struct mock *m) {
    if (!m->server)
        return;
    http_server_free(m->server);
    close(m->fd);
    unlink(m->path);
    m->server = NULL;
    m->held = NULL;
}

static inline void mock_init(struct mock *m, struct loop *l, const char *folder) {
    *m = (struct mock){.loop = l, .reply = "Hello there, friend."};
    snprintf(m->path, sizeof m->path, "%s/model.sock", folder);
    snprintf(m->address, sizeof m->address, "unix:%s", m->path);
    mock_up(m);
}

static inline void mock_deinit(struct mock *m) {
    mock_down(m);
    for (int i = 0; i < m->n_asked; i++)
        free(m->asked[i]);
}
