/* net/http_client against net/http_server on one loop: answers, faults, cancelling. All of it on
 * both ways: what http_plain.c takes goes to libcurl when the host is a name. */
#include "http_fixture.h"

#include <fcntl.h>
#include <semaphore.h>

#include "base/clock.h"
#include "net/http_client.h"

static struct loop *loop;
static struct http_server *server;
static struct http_client *client;
static int listen_fd;
static char base[64];
static struct http_request *held; /* by the server */
static int server_closes;
static bool by_curl;

/* What a call has seen. */
struct seen {
    struct http_call *call;
    int statuses, status, dones;
    char type[64];
    int64_t retry_ms;
    struct buf body;
    enum err err;
    struct errinfo ei;
    int pieces;
    bool paced;
    enum { TAKE_ALL, REFUSE_DATA, CANCEL_IN_DATA, CANCEL_IN_STATUS } mood;
    struct seen *cancel_too; /* another call, cancelled from on_data */
    bool keep_running;       /* on_done does not stop the loop */
};

static void on_gone(void *arg) {
    (void)arg;
    held = NULL;
    server_closes++;
    loop_stop(loop);
}

static void handle(struct http_request *r, void *ctx) {
    (void)ctx;
    struct str p = http_path(r);
    if (str_eq(p, STR("/echo"))) {
        char text[64];
        snprintf(text, sizeof text, "%s;%.*s", http_method_name(r),
                 STR_ARG(http_header(r, "content-type")));
        http_set_header(r, "X-Seen", text);
        http_reply(r, 200, text, http_body(r));
    } else if (str_eq(p, STR("/busy"))) {
        http_set_header(r, "Retry-After", "7");
        http_reply(r, 429, "application/json", STR("{}"));
    } else if (str_eq(p, STR("/busy-ms"))) {
        http_set_header(r, "retry-after-ms", "250");
        http_set_header(r, "Retry-After", "7");
        http_reply(r, 503, NULL, STR(""));
    } else if (str_eq(p, STR("/redirect"))) {
        http_set_header(r, "Location", "/echo");
        http_reply(r, 302, NULL, STR(""));
    } else if (str_eq(p, STR("/silent"))) {
        held = r;
        http_on_close(r, on_gone, NULL);
    } else if (str_eq(p, STR("/stream"))) {
        held = r;
        http_on_close(r, on_gone, NULL);
        http_stream_begin(r, 200, "text/event-stream");
        assert_int_equal(http_stream_write(r, STR("data: 1\n\n")), ERR_OK);
    } else if (str_eq(p, STR("/broken"))) {
        http_stream_begin(r, 200, "text/event-stream");
        assert_int_equal(http_stream_write(r, STR("data: 1\n\n")), ERR_OK);
        http_stream_end(r);
    } else {
        http_reply(r, 404, "text/plain", STR("no"));
    }
}

/* The same server, at an address for the way that is tested. */
static void write_base(char out[64], const char *address) {
    snprintf(out, 64, "http://%s%s", by_curl ? "localhost" : "127.0.0.1", strrchr(address, ':'));
}

static int start(void **state) {
    (void)state;
    struct errinfo ei;
    struct http_server_options o = {.max_body_bytes = 4 << 20};
    char address[48];
    server_closes = 0;
    held = NULL;
    assert_int_equal(net_init(&ei), ERR_OK);
    assert_int_equal(loop_new(&loop, &ei), ERR_OK);
    assert_int_equal(net_listen("127.0.0.1:0", false, &listen_fd, &ei), ERR_OK);
    assert_int_equal(net_local_address(listen_fd, address, sizeof address), ERR_OK);
    write_base(base, address);
    assert_int_equal(http_server_new(loop, &o, handle, NULL, &server, &ei), ERR_OK);
    assert_int_equal(http_server_listen(server, listen_fd, &ei), ERR_OK);
    assert_int_equal(http_client_new(loop, &client, &ei), ERR_OK);
    return 0;
}

static int stop(void **state) {
    (void)state;
    http_client_free(client);
    http_server_free(server);
    loop_free(loop);
    close(listen_fd);
    return 0;
}

static void on_status(void *ctx, int status, struct str type, int64_t retry_ms) {
    struct seen *s = ctx;
    assert_int_equal(s->pieces, 0);
    s->statuses++;
    s->status = status;
    s->retry_ms = retry_ms;
    snprintf(s->type, sizeof s->type, "%.*s", STR_ARG(type));
    if (s->mood == CANCEL_IN_STATUS) {
        http_call_cancel(s->call);
        s->call = NULL;
    }
}

static bool on_data(void *ctx, struct str bytes) {
    struct seen *s = ctx;
    assert_int_equal(s->statuses, 1);
    s->pieces++;
    buf_adds(&s->body, bytes);
    if (s->paced)
        http_call_pace(s->call);
    if (s->cancel_too && s->cancel_too->call) {
        http_call_cancel(s->cancel_too->call);
        s->cancel_too->call = NULL;
    }
    if (s->mood == CANCEL_IN_DATA) {
        http_call_cancel(s->call);
        s->call = NULL;
    }
    return s->mood != REFUSE_DATA;
}

static void on_done(void *ctx, enum err err, int status, const struct errinfo *ei) {
    struct seen *s = ctx;
    s->dones++;
    s->err = err;
    s->status = status;
    s->ei = *ei;
    s->call = NULL;
    if (!s->keep_running)
        loop_stop(loop);
}

static const struct http_call_callbacks callbacks = {on_status, on_data, on_done};

static void begin(struct seen *s, const struct http_call_spec *spec) {
    struct errinfo ei;
    buf_init(&s->body, 8 << 20);
    assert_int_equal(http_call_start(client, spec, &callbacks, s, &s->call, &ei), ERR_OK);
    assert_int_equal(s->statuses + s->dones, 0);
}

static const char *url(const char *path) {
    static char text[4][128];
    static int i;
    i = (i + 1) % 4;
    snprintf(text[i], sizeof text[i], "%s%s", base, path);
    return text[i];
}

static void get(struct seen *s, const char *path) {
    struct http_call_spec spec = {.method = "GET", .url = url(path)};
    begin(s, &spec);
    loop_run(loop);
}

static void client_bodies_and_methods_arrive(void **state) {
    (void)state;
    static char body[3 << 20];
    memset(body, 'z', sizeof body);
    const char *const headers[] = {"Content-Type: application/json", NULL};
    const struct {
        const char *method, *want;
        size_t n;
        const char *const *headers;
    } cases[] = {{"GET", "GET;", 0, NULL},
                 {"POST", "POST;", 0, NULL},
                 {"POST", "POST;application/json", sizeof body, headers},
                 {"PUT", "PUT;", 5, NULL},
                 {"DELETE", "DELETE;", 0, NULL},
                 {"PATCH", "PATCH;application/json", 5, headers},
                 {"HEAD", "HEAD;", 0, NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct seen s = {0};
        struct http_call_spec spec = {.method = cases[i].method,
                                      .url = url("/echo"),
                                      .headers = cases[i].headers,
                                      .body = {body, cases[i].n}};
        begin(&s, &spec);
        loop_run(loop);
        assert_int_equal(s.err, ERR_OK);
        assert_true(s.status == 200 && s.statuses == 1 && s.dones == 1);
        assert_string_equal(s.type, cases[i].want);
        assert_int_equal(s.body.n, cases[i].n);
        buf_deinit(&s.body);
    }
    assert_int_equal(http_server_connections(server), 1); /* one connection served all */
}

static void client_statuses_and_retry_times_are_told(void **state) {
    (void)state;
    const struct {
        const char *path;
        int status;
        int64_t retry;
    } cases[] = {{"/busy", 429, 7000},
                 {"/busy-ms", 503, 250},
                 {"/missing", 404, -1},
                 {"/redirect", 302, -1}};
    for (size_t i = 0; i < 4; i++) {
        struct seen s = {0};
        get(&s, cases[i].path);
        assert_true(s.err == ERR_OK && s.status == cases[i].status && s.retry_ms == cases[i].retry);
        assert_int_equal(s.statuses, 1);
        buf_deinit(&s.body);
    }
}

static void client_bad_specs_are_refused_at_once(void **state) {
    (void)state;
    struct errinfo ei;
    struct http_call *call;
    const char *urls[] = {"",        "nonsense://x", "file:///etc/passwd", "ftp://127.0.0.1/",
                          "http://", "/path"};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct http_call_spec spec = {.method = "GET", .url = urls[i]};
        assert_int_equal(http_call_start(client, &spec, &callbacks, NULL, &call, &ei), ERR_INVALID);
    }
    const char *const headers[] = {"X: a\r\nY: b", NULL};
    struct http_call_spec spec = {.method = "GET", .url = base, .headers = headers};
    assert_int_equal(http_call_start(client, &spec, &callbacks, NULL, &call, &ei), ERR_INVALID);
}

static void client_refused_connection_is_unavailable(void **state) {
    (void)state;
    struct seen s = {0};
    char address[48], target[128], at[64];
    int fd;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* the port is taken, and nobody listens */
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(net_local_address(fd, address, sizeof address), ERR_OK);
    write_base(at, address);
    snprintf(target, sizeof target, "%s/secret-key", at);
    struct http_call_spec spec = {.method = "GET", .url = target};
    begin(&s, &spec);
    loop_run(loop);
    close(fd);
    assert_true(s.err == ERR_UNAVAILABLE && s.status == 0 && s.statuses == 0 && s.dones == 1);
    assert_non_null(strstr(s.ei.message, by_curl ? "localhost" : "127.0.0.1"));
    assert_null(strstr(s.ei.message, "secret"));
    buf_deinit(&s.body);
}

/* Asks for a path that falls silent, with a time-out of ms; true when it fell silent where it
 * should. */
static bool times_out(const char *path, int ms, bool total, int status) {
    struct seen s = {0};
    struct http_call_spec spec = {.method = "GET",
                                  .url = url(path),
                                  .idle_timeout_ms = total ? 0 : ms,
                                  .total_timeout_ms = total ? ms : 0};
    int before = server_closes;
    begin(&s, &spec);
    while (!s.dones || (held && server_closes == before))
        loop_run(loop); /* until the server saw the close, if it had seen the request */
    assert_true(s.err == ERR_TIMEOUT && s.dones == 1);
    buf_deinit(&s.body);
    return s.status == status;
}

static void client_silence_ends_in_a_timeout(void **state) {
    (void)state;
    for (int total = 0; total < 2; total++) {
        assert_true(times_out("/silent", 60, total, 0));
        int ms = 60; /* on a machine that is held up the answer's head may come too late */
        while (!times_out("/stream", ms, total, 200))
            ms *= 2;
    }
}

static void client_answers_past_the_limit_are_cut(void **state) {
    (void)state;
    struct seen s = {0};
    char body[5000];
    memset(body, 'x', sizeof body);
    struct http_call_spec spec = {.method = "POST",
                                  .url = url("/echo"),
                                  .body = {body, sizeof body},
                                  .max_response_bytes = 4999};
    begin(&s, &spec);
    loop_run(loop);
    assert_int_equal(s.err, ERR_TOO_LARGE);
    assert_int_equal(s.body.n, 0);
    buf_deinit(&s.body);
}

static void client_callbacks_may_end_or_cancel_the_call(void **state) {
    (void)state;
    struct seen refuse = {.mood = REFUSE_DATA, .keep_running = true};
    get(&refuse, "/stream"); /* ends when the server saw the close */
    assert_true(refuse.err == ERR_CANCELLED && refuse.dones == 1 && refuse.pieces == 1);
    struct seen data = {.mood = CANCEL_IN_DATA}, status = {.mood = CANCEL_IN_STATUS};
    get(&data, "/stream");
    assert_true(data.dones == 0 && data.pieces == 1);
    get(&status, "/stream");
    assert_true(status.dones == 0 && status.pieces == 0 && status.statuses == 1);
    assert_int_equal(server_closes, 3);
    buf_deinit(&refuse.body);
    buf_deinit(&data.body);
    buf_deinit(&status.body);
}

static void client_cancel_of_another_call_inside_a_callback(void **state) {
    (void)state;
    struct seen other = {0}, s = {.cancel_too = &other};
    struct http_call_spec silent = {.method = "GET", .url = url("/silent")};
    begin(&other, &silent);
    get(&s, "/busy");
    assert_true(s.dones == 1 && s.status == 429);
    while (server_closes == 0 && held) /* the other one's connection closes, too */
        loop_run(loop);
    assert_true(other.dones == 0 && other.call == NULL);
    buf_deinit(&s.body);
    buf_deinit(&other.body);
}

static void client_cancel_before_the_start_does_nothing(void **state) {
    (void)state;
    struct seen never = {0}, s = {0};
    struct http_call_spec spec = {.method = "GET", .url = url("/echo")};
    begin(&never, &spec);
    http_call_cancel(never.call);
    get(&s, "/echo");
    assert_true(s.dones == 1 && never.dones == 0 && never.statuses == 0);
    buf_deinit(&s.body);
    buf_deinit(&never.body);
}

static void client_freed_with_calls_calls_nobody(void **state) {
    (void)state;
    struct errinfo ei;
    struct seen s = {0}, later = {0};
    struct http_call_spec spec = {.method = "GET", .url = url("/silent")};
    begin(&s, &spec);
    get(&later, "/echo"); /* meanwhile the first one is on its way */
    http_client_free(client);
    assert_int_equal(s.dones, 0);
    assert_int_equal(http_client_new(loop, &client, &ei), ERR_OK);
    buf_deinit(&s.body);
    buf_deinit(&later.body);
}

static void client_speaks_over_a_unix_socket(void **state) {
    (void)state;
    struct errinfo ei;
    struct seen s = {0};
    char dir[] = "/tmp/parley-test-net-XXXXXX", address[64];
    int fd;
    assert_non_null(mkdtemp(dir));
    snprintf(address, sizeof address, "unix:%s/s", dir);
    assert_int_equal(net_listen(address, false, &fd, &ei), ERR_OK);
    assert_int_equal(http_server_listen(server, fd, &ei), ERR_OK);
    struct http_call_spec spec = {.method = "POST",
                                  .url = by_curl ? "http://engine/./echo" : "http://engine/echo",
                                  .unix_socket = address + 5,
                                  .body = STR("over unix")};
    begin(&s, &spec);
    loop_run(loop);
    assert_true(s.err == ERR_OK && str_eqz(buf_str(&s.body), "over unix"));
    unlink(address + 5);
    rmdir(dir);
    buf_deinit(&s.body);
    stop(NULL);
    close(fd);
    start(NULL);
}

/* A server that is no server: sends what it is told, on one connection after the other, and closes
 * each. An answer that begins with "=" is sent without closing, and the next one on the same
 * connection; before one that begins with "~" two seconds pass. */
struct raw {
    const char *const *answers;
    int fd, connections;
};

static void *serve_raw(void *arg) {
    struct raw *r = arg;
    char rubbish[4096];
    int fd = -1;
    for (const char *const *a = r->answers; *a; a++) {
        bool stays = **a == '=', late = **a == '~';
        if (fd < 0) {
            fd = accept(r->fd, NULL, NULL);
            r->connections++;
        }
        bool asked = recv(fd, rubbish, sizeof rubbish, 0) > 0;
        if (asked && late)
            clock_test_advance(2000);
        else if (asked)
            send(fd, *a + stays, strlen(*a) - stays, MSG_NOSIGNAL);
        if (!stays) {
            close(fd);
            fd = -1;
        }
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

/* As many calls as calls, one after the other; what they saw. */
static int ask_raw(const char *const *answers, const char *method, struct seen *seen, int calls) {
    struct raw r = {.answers = answers};
    struct errinfo ei;
    char address[48], target[64];
    pthread_t t;
    assert_int_equal(net_listen("127.0.0.1:0", false, &r.fd, &ei), ERR_OK);
    assert_int_equal(net_local_address(r.fd, address, sizeof address), ERR_OK);
    assert_int_equal(fcntl(r.fd, F_SETFL, 0), 0);
    write_base(target, address);
    assert_int_equal(pthread_create(&t, NULL, serve_raw, &r), 0);
    for (int i = 0; i < calls; i++) {
        struct http_call_spec spec = {.method = method, .url = target};
        begin(&seen[i], &spec);
        loop_run(loop);
        assert_int_equal(seen[i].dones, 1);
    }
    pthread_join(t, NULL);
    close(r.fd);
    return r.connections;
}

static void client_broken_answers_are_errors(void **state) {
    (void)state;
    const char *answers[] = {"", "rubbish\r\n\r\n",
                             "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
                             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
                             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"};
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        struct seen s = {0};
        ask_raw((const char *const[]){answers[i], NULL}, "GET", &s, 1);
        assert_int_equal(s.err, ERR_UPSTREAM);
        buf_deinit(&s.body);
    }
}

static void client_answers_of_every_framing_are_whole(void **state) {
    (void)state;
    static const struct {
        const char *method, *answer, *body;
        int status;
    } cases[] = {
        {"GET", "HTTP/1.1 200 OK\r\n\r\nto the end", "to the end", 200},
        {"GET", "HTTP/1.0 200\r\nContent-Length: 3\r\n\r\nabc", "abc", 200},
        {"GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok",
         "ok", 201},
        {"GET",
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n2\r\nbc\r\n0\r\nT: "
         "t\r\n\r\n",
         "abc", 200},
        {"GET", "HTTP/1.1 204 No Content\r\n\r\n", "", 204},
        {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n", "", 200},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct seen s = {0};
        ask_raw((const char *const[]){cases[i].answer, NULL}, cases[i].method, &s, 1);
        assert_int_equal(s.err, ERR_OK);
        assert_int_equal(s.status, cases[i].status);
        assert_true(str_eqz(buf_str(&s.body), cases[i].body));
        buf_deinit(&s.body);
    }
}

#define OK_2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static void client_kept_connection_that_was_closed_is_dialled_again(void **state) {
    (void)state;
    struct seen s[2] = {{0}, {0}};
    /* the second request arrives on the kept connection, which ends without a word */
    clock_test_set(1000000000, 1000); /* at once, however slow the machine is */
    int n = ask_raw((const char *const[]){"=" OK_2, "", OK_2, NULL}, "GET", s, 2);
    clock_test_end();
    assert_int_equal(n, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(s[i].err, ERR_OK);
        assert_true(str_eqz(buf_str(&s[i].body), "ok"));
        buf_deinit(&s[i].body);
    }
}

/* By then the server may have done what it was asked for. */
static void client_kept_connection_that_was_closed_late_is_not_dialled_again(void **state) {
    (void)state;
    struct seen s[2] = {{0}, {0}};
    if (by_curl)
        skip(); /* libcurl sends it again at any time */
    clock_test_set(1000000000, 1000);
    int n = ask_raw((const char *const[]){"=" OK_2, "~", NULL}, "POST", s, 2);
    clock_test_end();
    assert_int_equal(n, 1);
    assert_int_equal(s[0].err, ERR_OK);
    assert_int_equal(s[1].err, ERR_UPSTREAM);
    assert_int_equal(s[1].status, 0);
    buf_deinit(&s[0].body);
    buf_deinit(&s[1].body);
}

static void client_connection_is_not_kept_when_the_server_says_so(void **state) {
    (void)state;
    struct seen s[3] = {{0}, {0}, {0}};
    int n = ask_raw(
        (const char *const[]){"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
                              "=" OK_2, OK_2, NULL},
        "GET", s, 3);
    assert_int_equal(n, 2);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(s[i].err, ERR_OK);
        buf_deinit(&s[i].body);
    }
}

struct late { /* a server that says something more when it is told to */
    int fd;
    sem_t say, said;
};

static void *serve_late(void *arg) {
    struct late *l = arg;
    const char *more = "HTTP/1.1 500 Late\r\nContent-Length: 0\r\n\r\n";
    char rubbish[4096];
    int first = accept(l->fd, NULL, NULL);
    recv(first, rubbish, sizeof rubbish, 0);
    send(first, OK_2, strlen(OK_2), MSG_NOSIGNAL);
    sem_wait(&l->say);
    send(first, more, strlen(more), MSG_NOSIGNAL);
    sem_post(&l->said);
    int second = accept(l->fd, NULL, NULL);
    recv(second, rubbish, sizeof rubbish, 0);
    send(second, OK_2, strlen(OK_2), MSG_NOSIGNAL);
    close(first);
    close(second);
    return NULL;
}

/* What comes between two answers is nobody's: the second call must not take it for its own. */
static void client_connection_with_late_bytes_is_not_used_again(void **state) {
    (void)state;
    struct late l;
    struct seen s[2] = {{0}, {0}};
    struct errinfo ei;
    char address[48], target[64];
    pthread_t t;
    if (by_curl)
        skip(); /* libcurl 7.88 does take it */
    assert_int_equal(sem_init(&l.say, 0, 0) + sem_init(&l.said, 0, 0), 0);
    assert_int_equal(net_listen("127.0.0.1:0", false, &l.fd, &ei), ERR_OK);
    assert_int_equal(net_local_address(l.fd, address, sizeof address), ERR_OK);
    assert_int_equal(fcntl(l.fd, F_SETFL, 0), 0);
    write_base(target, address);
    assert_int_equal(pthread_create(&t, NULL, serve_late, &l), 0);
    for (int i = 0; i < 2; i++) {
        struct http_call_spec spec = {.method = "GET", .url = target};
        begin(&s[i], &spec);
        loop_run(loop);
        if (i == 0) {
            sem_post(&l.say);
            sem_wait(&l.said);
        }
        assert_int_equal(s[i].err, ERR_OK);
        assert_int_equal(s[i].status, 200);
        buf_deinit(&s[i].body);
    }
    pthread_join(t, NULL);
    close(l.fd);
    sem_destroy(&l.say);
    sem_destroy(&l.said);
}

/* ---- paced reading ---- */

#define PIECES 40
static int sent;
static struct timer *pen;

/* The pieces of the held answer, one by one; with the last one, much later, its end. */
static void write_on(void *arg) {
    (void)arg;
    if (!held && sent == PIECES) /* until all is read: what came in between waits for the clock */
        clock_test_advance(1000);
    if (!held && (sent == 0 || sent == PIECES)) /* not asked yet, or over */
        timer_start(pen, 1, false);
    if (!held)
        return;
    char text[16];
    int n = snprintf(text, sizeof text, "%d;", ++sent);
    assert_int_equal(http_stream_write(held, (struct str){text, (size_t)n}), ERR_OK);
    timer_start(pen, 1, false);
    if (sent < PIECES)
        return;
    http_stream_end(held);
    held = NULL;
}

static void stop_loop(void *arg) {
    (void)arg;
    loop_stop(loop);
}

static void begin_paced(struct seen *s, int ms) {
    clock_test_set(1000000000, 1000);
    sent = 0;
    pen = timer_new(loop, write_on, NULL);
    s->paced = true;
    http_client_pace(client, ms);
    struct http_call_spec spec = {.method = "GET", .url = url("/stream")};
    begin(s, &spec);
    timer_start(pen, 1, false);
}

static void end_paced(struct seen *s) {
    timer_free(pen);
    clock_test_end();
    buf_deinit(&s->body);
}

static void expect_pieces(const struct seen *s) {
    struct buf all;
    buf_init(&all, 1000);
    buf_addz(&all, "data: 1\n\n");
    for (int i = 1; i <= PIECES; i++)
        buf_addf(&all, "%d;", i);
    assert_true(str_eq(buf_str(&s->body), buf_str(&all)));
    buf_deinit(&all);
}

/* The clock stands still until the last piece: what comes after the first ones waits for it. */
static void client_paced_call_reads_many_pieces_at_once(void **state) {
    (void)state;
    struct seen s = {0};
    begin_paced(&s, 20);
    loop_run(loop);
    assert_int_equal(s.err, ERR_OK);
    assert_in_range(s.pieces, 1, 5);
    expect_pieces(&s);
    end_paced(&s);
}

static void client_without_a_pace_reads_what_comes(void **state) {
    (void)state;
    struct seen s = {0};
    begin_paced(&s, 0);
    loop_run(loop);
    assert_int_equal(s.err, ERR_OK);
    assert_true(s.pieces > PIECES / 2);
    expect_pieces(&s);
    end_paced(&s);
}

/* Cancelled, or its client freed, while its socket waits for the clock. */
static void client_paced_call_may_be_cancelled_while_it_waits(void **state) {
    (void)state;
    struct errinfo ei;
    for (int i = 0; i < 2; i++) {
        struct seen s = {0};
        begin_paced(&s, 20);
        while (sent < PIECES / 2) {
            struct timer *t = timer_new(loop, stop_loop, NULL);
            timer_start(t, 2, false);
            loop_run(loop);
            timer_free(t);
        }
        assert_int_equal(s.dones, 0);
        if (i == 0) {
            http_call_cancel(s.call);
            loop_run(loop); /* until the server sees it */
        } else {
            http_client_free(client);
            assert_int_equal(http_client_new(loop, &client, &ei), ERR_OK);
            loop_run(loop);
        }
        assert_int_equal(s.dones, 0);
        assert_null(held);
        end_paced(&s);
    }
}

#define ON_LOOP(t) cmocka_unit_test_setup_teardown(t, start, stop)

int main(void) {
    const struct CMUnitTest tests[] = {
        ON_LOOP(client_bodies_and_methods_arrive),
        ON_LOOP(client_statuses_and_retry_times_are_told),
        ON_LOOP(client_bad_specs_are_refused_at_once),
        ON_LOOP(client_refused_connection_is_unavailable),
        ON_LOOP(client_silence_ends_in_a_timeout),
        ON_LOOP(client_answers_past_the_limit_are_cut),
        ON_LOOP(client_callbacks_may_end_or_cancel_the_call),
        ON_LOOP(client_cancel_of_another_call_inside_a_callback),
        ON_LOOP(client_cancel_before_the_start_does_nothing),
        ON_LOOP(client_freed_with_calls_calls_nobody),
        ON_LOOP(client_speaks_over_a_unix_socket),
        ON_LOOP(client_broken_answers_are_errors),
        ON_LOOP(client_answers_of_every_framing_are_whole),
        ON_LOOP(client_kept_connection_that_was_closed_is_dialled_again),
        ON_LOOP(client_kept_connection_that_was_closed_late_is_not_dialled_again),
        ON_LOOP(client_connection_is_not_kept_when_the_server_says_so),
        ON_LOOP(client_connection_with_late_bytes_is_not_used_again),
        ON_LOOP(client_paced_call_reads_many_pieces_at_once),
        ON_LOOP(client_without_a_pace_reads_what_comes),
        ON_LOOP(client_paced_call_may_be_cancelled_while_it_waits),
    };
    if (crypto_init())
        return 1;
    int failed = cmocka_run_group_tests_name("plain", tests, NULL, NULL);
    by_curl = true;
    return failed + cmocka_run_group_tests_name("libcurl", tests, NULL, NULL);
}
