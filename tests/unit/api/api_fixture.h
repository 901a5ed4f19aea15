/* The whole server inside a test: store in a folder of its own, turns, upstream, API on one loop in
 * a thread, and beside it a scripted model server on the same loop. The test talks to it over
 * loopback with plain blocking sockets.
 *
 * Nothing sleeps: the client reads until what it wants is there (20 s at most), the scripted server
 * waits for the test. */
#pragma once

#include <arpa/inet.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/api.h"
#include "auth/auth.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/log.h"
#include "net/sse.h"

/* Each test uses what it needs. */
#pragma GCC diagnostic ignored "-Wunused-function"

#define PASSWORD "correct horse"

/* ---- the scripted model server ---- */
struct script {
    pthread_mutex_t lock;
    char last_chat[1 << 16]; /* the newest body of /chat/completions */
    char last_embeddings[1 << 14];
    char last_judged[1 << 16];            /* of the guard model */
    atomic_int chats;                     /* how many came */
    atomic_int cancelled;                 /* how many were broken off by us */
    int status;                           /* of the next chats; 200 */
    bool hold;                            /* after the first token, wait for script_release() */
    bool break_off;                       /* end without [DONE] */
    const char *error_body;               /* for a status other than 200 */
    struct http_request *held;            /* loop only */
    bool hold_embeds;                     /* embeddings wait for script_embed_freely() */
    struct http_request *held_embed;      /* loop only */
    atomic_int judged;                    /* how often the guard model was asked */
    struct http_request *held_judges[16]; /* loop only */
    int n_judges;                         /* of these */
    bool judge_dead;                      /* the guard model answers with an error */
    const char *whole;                    /* an answer that is not streamed; NULL = "Hello there" */
};

struct fixture {
    char dir[64], db[96], address[64], base_url[128];
    struct store *store;
    struct upstream *upstream;
    struct turns *turns;
    struct jobs *jobs;
    struct api *api;
    struct loop *loop;
    struct upstream_client *client;
    struct http_server *front, *up;
    int front_fd, up_fd, port;
    pthread_t thread;
    sem_t ready;
    struct script script;
    char setup_token[AUTH_SECRET_MAX];
};
static struct fixture fx;

static void script_chunk(struct http_request *r, const char *text, const char *finish) {
    char b[512];
    int n = snprintf(
        b, sizeof b,
        "data: "
        "{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"tiny\","
        "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"},\"finish_reason\":%s}]}\n\n",
        text, finish);
    assert_int_equal(http_stream_write(r, (struct str){b, (size_t)n}), ERR_OK);
}

static void script_finish(struct http_request *r) {
    script_chunk(r, " there", "\"stop\"");
    if (!fx.script.break_off) {
        struct str end = STR("data: "
                             "{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,"
                             "\"model\":\"tiny\",\"choices\":[],"
                             "\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2,\"total_"
                             "tokens\":9}}\n\ndata: [DONE]\n\n");
        assert_int_equal(http_stream_write(r, end), ERR_OK);
    }
    http_stream_end(r);
}

static void script_gone(void *arg) {
    (void)arg;
    fx.script.held = NULL;
    atomic_fetch_add(&fx.script.cancelled, 1);
}

static void script_release_now(void *arg) {
    struct http_request *r = fx.script.held;
    (void)arg;
    fx.script.held = NULL;
    if (r) {
        http_on_close(r, NULL, NULL);
        script_finish(r);
    }
}

static void script_release(void) {
    assert_int_equal(loop_post(fx.loop, script_release_now, NULL), ERR_OK);
}

static void keep(char *to, size_t size, struct str body) {
    pthread_mutex_lock(&fx.script.lock);
    snprintf(to, size, "%.*s", (int)body.n, body.p);
    pthread_mutex_unlock(&fx.script.lock);
}

static void script_judge_forget(struct http_request *r) {
    for (int i = 0; i < fx.script.n_judges; i++)
        if (fx.script.held_judges[i] == r)
            fx.script.held_judges[i] = fx.script.held_judges[--fx.script.n_judges];
}

static void script_judge_gone(void *arg) {
    script_judge_forget(arg);
}

/* The guard model waits for script_judge_says(). */
static void script_judge(struct http_request *r) {
    keep(fx.script.last_judged, sizeof fx.script.last_judged, http_body(r));
    atomic_fetch_add(&fx.script.judged, 1);
    if (fx.script.judge_dead) {
        http_reply(r, 500, "application/json", str_from(fx.script.error_body));
        return;
    }
    assert_true(fx.script.n_judges < 16);
    fx.script.held_judges[fx.script.n_judges++] = r;
    http_on_close(r, script_judge_gone, r);
}

static void script_judge_answer(struct http_request *r, const char *text) {
    script_judge_forget(r);
    http_on_close(r, NULL, NULL);
    http_stream_begin(r, 200, "text/event-stream");
    script_chunk(r, text, "\"stop\"");
    assert_int_equal(http_stream_write(r, STR("data: [DONE]\n\n")), ERR_OK);
    http_stream_end(r);
}

static void script_judge_says_now(void *arg) {
    while (fx.script.n_judges)
        script_judge_answer(fx.script.held_judges[0], arg);
}

/* To all that was asked. */
static void script_judge_says(char *text /* as it stands in JSON */) {
    assert_int_equal(loop_post(fx.loop, script_judge_says_now, text), ERR_OK);
}

static void script_judge_refuses_now(void *arg) {
    for (int i = fx.script.n_judges; i > 0; i--) {
        struct http_request *r = fx.script.held_judges[i - 1];
        if (str_find(http_body(r), str_from(arg)) != SIZE_MAX)
            script_judge_answer(r, "unsafe\\nS9");
    }
}

/* What holds this text; nothing is said of the rest. */
static inline void script_judge_refuses(char *text) {
    assert_int_equal(loop_post(fx.loop, script_judge_refuses_now, text), ERR_OK);
}

static void script_chat(struct http_request *r) {
    struct str body = http_body(r);
    if (str_find(body, STR("\"model\":\"judge\"")) != SIZE_MAX) {
        script_judge(r);
        return;
    }
    bool stream = str_find(body, STR("\"stream\":true")) != SIZE_MAX;
    keep(fx.script.last_chat, sizeof fx.script.last_chat, body);
    atomic_fetch_add(&fx.script.chats, 1);
    if (fx.script.status != 200) {
        http_set_header(r, "Retry-After", "7");
        http_reply(r, fx.script.status, "application/json", str_from(fx.script.error_body));
        return;
    }
    if (!stream && fx.script.whole) {
        http_reply(r, 200, "application/json", str_from(fx.script.whole));
        return;
    }
    if (!stream) {
        http_reply(
            r, 200, "application/json",
            STR("{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"tiny\","
                "\"choices\":[{\"index\":0,"
                "\"message\":{\"role\":\"assistant\",\"content\":\"Hello "
                "there\"},\"finish_reason\":\"stop\"}],"
                "\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2,\"total_tokens\":9}}"));
        return;
    }
    http_stream_begin(r, 200, "text/event-stream");
    script_chunk(r, "Hello", "null");
    if (fx.script.hold) {
        fx.script.held = r;
        http_on_close(r, script_gone, NULL);
    } else {
        script_finish(r);
    }
}

static void script_embed_gone(void *arg) {
    (void)arg;
    fx.script.held_embed = NULL;
}

/* One number for each text. */
static void script_embed(struct http_request *r) {
    yyjson_doc *d = NULL;
    struct buf b;
    assert_int_equal(json_parse(http_body(r), &d, NULL), ERR_OK);
    json_val *input = json_get(yyjson_doc_get_root(d), "input");
    size_t n = yyjson_is_arr(input) ? yyjson_arr_size(input) : 1;
    yyjson_doc_free(d);
    buf_init(&b, 1 << 16);
    buf_addz(&b, "{\"object\":\"list\",\"model\":\"embed\",\"data\":[");
    for (size_t i = 0; i < n; i++)
        buf_addf(&b, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":[0.5]}", i ? "," : "",
                 i);
    buf_addz(&b, "],\"usage\":{\"prompt_tokens\":1,\"total_tokens\":1}}");
    http_reply(r, 200, "application/json", buf_str(&b));
    buf_deinit(&b);
}

static void script_release_embed_now(void *arg) {
    struct http_request *r = fx.script.held_embed;
    (void)arg;
    fx.script.held_embed = NULL;
    if (r) {
        http_on_close(r, NULL, NULL);
        script_embed(r);
    }
}

/* From now on nothing is held; what is held is released. */
static void script_embed_freely_now(void *arg) {
    fx.script.hold_embeds = false;
    script_release_embed_now(arg);
}

static inline void script_embed_freely(void) {
    assert_int_equal(loop_post(fx.loop, script_embed_freely_now, NULL), ERR_OK);
}

static void script_handle(struct http_request *r, void *ctx) {
    struct str path = http_path(r);
    (void)ctx;
    if (str_eq(path, STR("/v1/models")))
        http_reply(
            r, 200, "application/json",
            STR("{\"object\":\"list\",\"data\":[{\"id\":\"tiny\",\"object\":\"model\",\"created\":"
                "1,\"owned_by\":\"parley\","
                "\"parley\":{\"kind\":\"chat\",\"context_window\":2048,\"template_overhead\":4}},"
                "{\"id\":\"embed\",\"object\":\"model\",\"created\":1,\"owned_by\":\"parley\","
                "\"parley\":{\"kind\":\"embedding\"}}]}"));
    else if (str_eq(path, STR("/metrics")))
        http_reply(r, 200, "text/plain",
                   STR("parley_http_requests_total 5\nparley_engine_steps_total 41\n"));
    else if (str_eq(path, STR("/v1/chat/completions")))
        script_chat(r);
    else if (str_eq(path, STR("/v1/embeddings"))) {
        keep(fx.script.last_embeddings, sizeof fx.script.last_embeddings, http_body(r));
        if (fx.script.hold_embeds) {
            fx.script.held_embed = r;
            http_on_close(r, script_embed_gone, NULL);
        } else {
            script_embed(r);
        }
    } else
        http_reply(r, 404, "application/json", STR("{\"error\":{\"message\":\"no\"}}"));
}

/* ---- the server ---- */

static void fx_refreshed(void *ctx, enum err err, const struct errinfo *ei) {
    (void)ctx;
    if (err)
        fprintf(stderr, "upstream: %s\n", ei->message);
    sem_post(&fx.ready);
}

static void fx_begin_on_loop(void *arg) {
    struct errinfo ei = {0};
    struct http_server_options up = {.max_body_bytes = api_max_body_bytes(fx.api)}, so = up;
    so.body_limit = api_body_limit;
    so.error_body = api_error_body;
    (void)arg;
    assert_int_equal(upstream_client_new(fx.upstream, fx.loop, &fx.client, &ei), ERR_OK);
    assert_int_equal(turns_attach_loop(fx.turns, fx.loop, fx.client, &ei), ERR_OK);
    assert_int_equal(api_attach_loop(fx.api, fx.loop, fx.client, &ei), ERR_OK);
    assert_int_equal(http_server_new(fx.loop, &so, api_handle, fx.api, &fx.front, &ei), ERR_OK);
    assert_int_equal(http_server_listen(fx.front, fx.front_fd, &ei), ERR_OK);
    assert_int_equal(http_server_new(fx.loop, &up, script_handle, NULL, &fx.up, &ei), ERR_OK);
    assert_int_equal(http_server_listen(fx.up, fx.up_fd, &ei), ERR_OK);
    assert_int_equal(upstream_refresh(fx.client, fx_refreshed, NULL), ERR_OK);
}

static void fx_end_on_loop(void *arg) {
    (void)arg;
    turns_detach_loop(fx.turns, fx.loop);
    http_server_free(fx.front);
    http_server_free(fx.up);
    upstream_client_free(fx.client);
    loop_stop(fx.loop);
}

static void *fx_thread(void *arg) {
    (void)arg;
    loop_run(fx.loop);
    return NULL;
}

static enum err fx_make_token(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct auth_secret s;
    enum err e = auth_setup_token_make(tx, &s, ei);
    if (!e)
        snprintf(arg, AUTH_SECRET_MAX, "%s", s.text);
    return e;
}

struct fx_options {
    bool signup_closed;
    bool not_engine;
    size_t max_body_bytes;
    struct safety *safety; /* the guard of the compatible API; borrowed */
    bool guard_early;
    bool guard_model; /* the scripted server's "judge" */
    bool guard_blocks;
};

static void fx_start(const struct fx_options *fo) {
    struct errinfo ei = {0};
    static bool once;
    if (!once) {
        assert_int_equal(crypto_init(), ERR_OK);
        assert_int_equal(net_init(&ei), ERR_OK);
        password_set_profile(PASSWORD_TEST);
        log_init("test", LOG_ERROR);
        once = true;
    }
    memset(&fx, 0, sizeof fx);
    fx.script.status = 200;
    fx.script.error_body = "{\"error\":{\"message\":\"busy\",\"type\":\"overloaded_error\","
                           "\"param\":null,\"code\":\"overloaded\"}}";
    pthread_mutex_init(&fx.script.lock, NULL);
    sem_init(&fx.ready, 0, 0);
    snprintf(fx.dir, sizeof fx.dir, "/tmp/parley-api-XXXXXX");
    assert_non_null(mkdtemp(fx.dir));
    snprintf(fx.db, sizeof fx.db, "%s/parley.db", fx.dir);
    assert_int_equal(store_open(&(struct store_options){.path = fx.db}, &fx.store, &ei), ERR_OK);
    assert_int_equal(store_write_wait(fx.store, api_seed, NULL, &ei), ERR_OK);
    assert_int_equal(store_write_wait(fx.store, fx_make_token, fx.setup_token, &ei), ERR_OK);
    assert_int_equal(loop_new(&fx.loop, &ei), ERR_OK);
    assert_int_equal(net_listen("127.0.0.1:0", false, &fx.front_fd, &ei), ERR_OK);
    assert_int_equal(net_local_address(fx.front_fd, fx.address, sizeof fx.address), ERR_OK);
    fx.port = atoi(strrchr(fx.address, ':') + 1);
    char up[64];
    assert_int_equal(net_listen("127.0.0.1:0", false, &fx.up_fd, &ei), ERR_OK);
    assert_int_equal(net_local_address(fx.up_fd, up, sizeof up), ERR_OK);
    snprintf(fx.base_url, sizeof fx.base_url, "http://%s/v1", up);
    assert_int_equal(
        upstream_new(&(struct upstream_options){.base_url = fx.base_url, .connect_wait_ms = 200},
                     &fx.upstream, &ei),
        ERR_OK);
    struct turns_options to = {.store = fx.store,
                               .upstream = fx.upstream,
                               .guard_upstream = fo && fo->guard_model ? fx.upstream : NULL,
                               .guard_model = "judge",
                               .guard_timeout_ms = 20000,
                               .guard_blocks = fo && fo->guard_blocks};
    assert_int_equal(turns_new(&to, &fx.turns, &ei), ERR_OK);
    assert_int_equal(jobs_new(1, 64, &fx.jobs), ERR_OK);
    struct api_options ao = {.store = fx.store,
                             .turns = fx.turns,
                             .upstream = fx.upstream,
                             .jobs = fx.jobs,
                             .signup_open = !(fo && fo->signup_closed),
                             .upstream_is_engine = !(fo && fo->not_engine),
                             .max_body_bytes = fo ? fo->max_body_bytes : 0,
                             .safety = fo ? fo->safety : NULL,
                             .safety_jobs = fx.jobs,
                             .guard_early = fo && fo->guard_early,
                             .guard_wait_ms = 20000};
    assert_int_equal(api_new(&ao, &fx.api, &ei), ERR_OK);
    assert_int_equal(loop_post(fx.loop, fx_begin_on_loop, NULL), ERR_OK);
    assert_int_equal(pthread_create(&fx.thread, NULL, fx_thread, NULL), 0);
    sem_wait(&fx.ready);
}

static void fx_stop(void) {
    assert_int_equal(loop_post(fx.loop, fx_end_on_loop, NULL), ERR_OK);
    pthread_join(fx.thread, NULL);
    jobs_free(fx.jobs);
    store_close(fx.store);
    turns_free(fx.turns);
    api_free(fx.api);
    upstream_free(fx.upstream);
    loop_free(fx.loop);
    close(fx.front_fd);
    close(fx.up_fd);
    char cmd[160];
    snprintf(cmd, sizeof cmd, "rm -rf %s", fx.dir);
    assert_int_equal(system(cmd), 0);
}

static int fx_setup(void **state) {
    (void)state;
    fx_start(NULL);
    return 0;
}

static int fx_teardown(void **state) {
    (void)state;
    fx_stop();
    return 0;
}

/* ---- the client ---- */

struct reply {
    int status;
    char *raw;       /* owned: head and body */
    char *head;      /* in raw */
    char *body;      /* in raw, chunks joined */
    size_t n;        /* of body */
    yyjson_doc *doc; /* owned; NULL when the body is no JSON */
    json_val *root;
};

static void reply_free(struct reply *r) {
    yyjson_doc_free(r->doc);
    free(r->raw);
    *r = (struct reply){0};
}

static int client_connect(void) {
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)fx.port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval tv = {20, 0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void client_send(int fd, const char *method, const char *path, const char *headers,
                        const void *body, size_t n) {
    struct buf b;
    buf_init(&b, (size_t)64 << 20);
    buf_addf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", method, path, fx.address);
    if (headers)
        buf_addz(&b, headers);
    if (body)
        buf_addf(&b, "Content-Length: %zu\r\n", n);
    buf_addz(&b, "\r\n");
    if (body)
        buf_add(&b, body, n);
    size_t at = 0;
    while (at < b.n) {
        ssize_t k = send(fd, b.p + at, b.n - at, MSG_NOSIGNAL);
        if (k <= 0)
            break; /* an early refusal closes; the answer is still to be read */
        at += (size_t)k;
    }
    buf_deinit(&b);
}

static void join_chunks(struct reply *r) {
    char *from = r->body, *to = r->body;
    for (;;) {
        char *end;
        unsigned long n = strtoul(from, &end, 16);
        if (end == from || n == 0)
            break;
        from = strstr(end, "\r\n") + 2;
        memmove(to, from, n);
        to += n;
        from += n + 2;
    }
    *to = 0;
    r->n = (size_t)(to - r->body);
}

/* Reads to the end of the connection. */
static struct reply client_read(int fd) {
    struct reply r = {0};
    struct buf b;
    char piece[65536];
    ssize_t k;
    buf_init(&b, (size_t)64 << 20);
    while ((k = recv(fd, piece, sizeof piece, 0)) > 0)
        buf_add(&b, piece, (size_t)k);
    close(fd);
    size_t n = b.n;
    r.raw = buf_take(&b, &n);
    if (!r.raw)
        return r;
    r.head = r.raw;
    char *gap = strstr(r.raw, "\r\n\r\n");
    assert_non_null(gap);
    gap[2] = 0;
    r.body = gap + 4;
    r.n = n - (size_t)(r.body - r.raw);
    sscanf(r.head, "HTTP/1.1 %d", &r.status);
    if (strcasestr(r.head, "transfer-encoding: chunked"))
        join_chunks(&r);
    if (json_parse((struct str){r.body, r.n}, &r.doc, NULL) == ERR_OK)
        r.root = yyjson_doc_get_root(r.doc);
    return r;
}

/* who: NULL = nobody, "Cookie: …" or "Authorization: …" lines with their CRLF. body NULL = none. */
static struct reply call_raw(const char *method, const char *path, const char *headers,
                             const void *body, size_t n) {
    int fd = client_connect();
    client_send(fd, method, path, headers, body, n);
    return client_read(fd);
}

static struct reply call(const char *method, const char *path, const char *who, const char *body) {
    char headers[1024];
    snprintf(headers, sizeof headers, "%s%s", who ? who : "",
             body ? "Content-Type: application/json\r\n" : "");
    return call_raw(method, path, headers, body, body ? strlen(body) : 0);
}

static char *header_of(const struct reply *r, const char *name, char out[512]) {
    char key[128];
    snprintf(key, sizeof key, "\r\n%s:", name);
    char *at = strcasestr(r->head, key);
    if (!at)
        return NULL;
    at += strlen(key);
    while (*at == ' ')
        at++;
    snprintf(out, 512, "%.*s", (int)strcspn(at, "\r"), at);
    return out;
}

static const char *text_at(const struct reply *r, const char *key) {
    struct str s = json_get_str(r->root, key);
    return s.p ? s.p : "(none)";
}

static const char *error_code(const struct reply *r) {
    struct str s = json_get_str(json_get(r->root, "error"), "code");
    return s.p ? s.p : "(none)";
}

static const char *error_param(const struct reply *r) {
    struct str s = json_get_str(json_get(r->root, "error"), "param");
    return s.p ? s.p : "(none)";
}

/* Expects a status; shows the answer when it is another. */
#define expect(r, want)                                                                            \
    do {                                                                                           \
        if ((r).status != (want))                                                                  \
            fprintf(stderr, "%s:%d: %d instead of %d: %s%s\n", __FILE__, __LINE__, (r).status,     \
                    (want), (r).head ? (r).head : "", (r).body ? (r).body : "");                   \
        assert_int_equal((r).status, (want));                                                      \
    } while (0)

#define expect_error(r, want, code_text, param_text)                                               \
    do {                                                                                           \
        expect(r, want);                                                                           \
        assert_string_equal(error_code(&(r)), code_text);                                          \
        assert_string_equal(error_param(&(r)), param_text);                                        \
        reply_free(&(r));                                                                          \
    } while (0)

/* The cookie line of an answer that signs in. */
static void take_cookie(const struct reply *r, char who[256]) {
    char value[512];
    assert_non_null(header_of(r, "Set-Cookie", value));
    value[strcspn(value, ";")] = 0;
    snprintf(who, 256, "Cookie: %.200s\r\n", value);
}

struct person {
    char id[64], who[256];
};

static struct person person_from(struct reply r) {
    struct person p = {0};
    expect(r, 201);
    snprintf(p.id, sizeof p.id, "%s", text_at(&r, "user_id"));
    take_cookie(&r, p.who);
    reply_free(&r);
    return p;
}

static struct person make_admin(void) {
    char body[512];
    snprintf(body, sizeof body,
             "{\"token\":\"%s\",\"username\":\"root\",\"email\":\"root@example.org\",\"password\":"
             "\"" PASSWORD "\"}",
             fx.setup_token);
    return person_from(call("POST", "/api/v1/setup", NULL, body));
}

static struct person make_user(const char *name) {
    char body[512];
    snprintf(body, sizeof body,
             "{\"username\":\"%s\",\"email\":\"%s@example.org\",\"password\":\"" PASSWORD "\"}",
             name, name);
    return person_from(call("POST", "/api/v1/users", NULL, body));
}

static void make_conversation(const struct person *p, char id[64]) {
    struct reply r = call("POST", "/api/v1/conversations", p->who, "{}");
    expect(r, 201);
    snprintf(id, 64, "%s", text_at(&r, "conversation_id"));
    reply_free(&r);
}

/* A whole turn, by JSON. Gives the ids of both messages. */
static void make_turn(const struct person *p, const char *conversation, const char *content,
                      char question[64], char answer[64]) {
    char path[128], body[256];
    snprintf(path, sizeof path, "/api/v1/conversations/%s/messages", conversation);
    snprintf(body, sizeof body, "{\"content\":\"%s\"}", content);
    struct reply r = call("POST", path, p->who, body);
    expect(r, 201);
    snprintf(question, 64, "%s", json_get_str(json_get(r.root, "user_message"), "message_id").p);
    snprintf(answer, 64, "%s", json_get_str(json_get(r.root, "message"), "message_id").p);
    reply_free(&r);
}

static const char *path_of(const char *fmt, const char *id) {
    static char path[256];
    snprintf(path, sizeof path, fmt, id);
    return path;
}
