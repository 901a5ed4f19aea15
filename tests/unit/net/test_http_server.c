/* net/http_server: requests as they should be, as they should not be, and clients that go away. */
#include "http_fixture.h"

#include <poll.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/metrics.h"

static struct fixture fx;

/* What the handler left for the test; touched on the loop, or after an event was waited for. */
static struct http_request *held;
static struct http_guard *guard;
static int closes;
static bool overflowed;

static void on_gone(void *arg) {
    (void)arg;
    closes++;
    held = NULL;
    sem_post(&fx.happened);
}

static void show(struct http_request *r) {
    struct buf b;
    struct str q = STR("-"), q2 = STR("-"), cookie = STR("-");
    buf_init(&b, 10000);
    http_query(r, "q", &q);
    http_query(r, "a b", &q2);
    http_cookie(r, "session", &cookie);
    buf_addf(&b, "%s|%.*s|%.*s|%.*s|%.*s|%.*s|%s", http_method_name(r), STR_ARG(http_path(r)),
             STR_ARG(q), STR_ARG(q2), STR_ARG(cookie), STR_ARG(http_header(r, "X-Thing")),
             http_remote_ip(r));
    http_reply(r, 200, "text/plain", buf_str(&b));
    buf_deinit(&b);
}

/* Writes far more than a reader that does not read can take. */
static void flood(struct http_request *r) {
    char piece[4096];
    memset(piece, 'x', sizeof piece);
    http_stream_begin(r, 200, "text/event-stream");
    for (int i = 0; i < 100000; i++) {
        enum err e = http_stream_write(r, (struct str){piece, sizeof piece});
        if (e) {
            overflowed = e == ERR_TOO_LARGE;
            break;
        }
    }
    sem_post(&fx.happened);
}

static void handle(struct http_request *r, void *ctx) {
    (void)ctx;
    struct str p = http_path(r);
    if (str_eq(p, STR("/echo"))) {
        http_reply(r, 200, "application/octet-stream", http_body(r));
    } else if (str_eq(p, STR("/hold"))) {
        held = r;
        http_on_close(r, on_gone, NULL);
        sem_post(&fx.happened);
    } else if (str_eq(p, STR("/stream"))) {
        held = r;
        http_on_close(r, on_gone, NULL);
        http_stream_begin(r, 200, "text/event-stream");
        sem_post(&fx.happened);
    } else if (str_eq(p, STR("/guard"))) {
        guard = http_guard_new(r);
        sem_post(&fx.happened);
    } else if (str_eq(p, STR("/flood"))) {
        flood(r);
    } else if (str_eq(p, STR("/big"))) {
        static char big[3 << 20];
        memset(big, 'b', sizeof big);
        http_reply(r, 200, "text/plain", (struct str){big, sizeof big});
    } else if (str_eq(p, STR("/piece"))) { /* one piece that no socket takes at once */
        static char piece[8 << 20];
        memset(piece, 'p', sizeof piece);
        http_stream_begin(r, 200, "text/plain");
        if (http_stream_write(r, (struct str){piece, sizeof piece}) == ERR_OK)
            http_stream_end(r);
    } else if (str_eq(p, STR("/headers"))) {
        http_set_header(r, "X-Good", "yes");
        http_set_header(r, "X-Bad", "a\r\nX-Injected: 1");
        http_set_header(r, "X Bad", "name");
        http_reply(r, 204, NULL, STR("no body may go out"));
    } else {
        show(r);
    }
}

static void error_body(struct buf *out, enum err e, const char *message, const char *id) {
    buf_addf(out, "{\"code\":\"%s\",\"message\":\"%s\",\"id\":\"%s\"}", err_code(e), message, id);
}

static int start(void **state) {
    (void)state;
    static const struct http_server_options o = {.max_header_bytes = 4096,
                                                 .max_body_bytes = 100000,
                                                 .max_bodies_bytes = 150000,
                                                 .max_pending_bytes = 65536,
                                                 .max_connections = 20,
                                                 .idle_seconds = 30,
                                                 .error_body = error_body};
    struct errinfo ei;
    assert_int_equal(net_init(&ei), ERR_OK);
    closes = 0;
    overflowed = false;
    fixture_start(&fx, &o, handle);
    return 0;
}

static int stop(void **state) {
    (void)state;
    fixture_stop(&fx);
    return 0;
}

#define CLOSE "Host: h\r\nConnection: close\r\n\r\n"

/* ---- good requests ---- */

static void server_request_parts_are_decoded(void **state) {
    (void)state;
    const char *a = ask(&fx, "PATCH /a%20b/../%C3%A9%2Fx+y?q=1%2B2+3&a+b=%41&q=9 "
                             "HTTP/1.1\r\nCookie: x=1; session=abc\r\n"
                             "x-thing:  v  \r\n" CLOSE);
    assert_non_null(strstr(a, "\r\n\r\nPATCH|/a b/../\xc3\xa9/x+y|1+2 3|A|abc|v|127.0.0.1"));
    assert_non_null(strstr(a, "x-request-id: req_"));
    assert_non_null(strstr(a, "\r\nDate: "));
    assert_non_null(strstr(a, "Connection: close\r\n"));
    a = ask(&fx, "GET http://other.example/p?q=5 HTTP/1.1\r\n" CLOSE);
    assert_non_null(strstr(a, "GET|/p|5|"));
    a = ask(&fx, "OPTIONS * HTTP/1.1\r\n" CLOSE);
    assert_non_null(strstr(a, "OPTIONS|*|"));
}

static void server_every_method_reaches_the_handler(void **state) {
    (void)state;
    const char *methods[] = {"GET",    "POST",    "PUT",   "PATCH",
                             "DELETE", "OPTIONS", "TRACE", "PROPFIND"};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        char text[200], want[40];
        snprintf(text, sizeof text, "%s / HTTP/1.1\r\n" CLOSE, methods[i]);
        snprintf(want, sizeof want, "\r\n\r\n%s|/|", methods[i]);
        assert_non_null(strstr(ask(&fx, text), want));
    }
}

static void server_head_and_204_have_no_body(void **state) {
    (void)state;
    const char *a = ask(&fx, "HEAD / HTTP/1.1\r\n" CLOSE);
    assert_non_null(strstr(a, "Content-Length: "));
    assert_string_equal(strstr(a, "\r\n\r\n"), "\r\n\r\n");
    a = ask(&fx, "GET /headers HTTP/1.1\r\n" CLOSE);
    assert_memory_equal(a, "HTTP/1.1 204 No Content\r\n", 25);
    assert_string_equal(strstr(a, "\r\n\r\n"), "\r\n\r\n");
    assert_null(strstr(a, "Content-Length"));
    assert_non_null(strstr(a, "X-Good: yes\r\n"));
    assert_null(strstr(a, "X-Injected"));
    assert_null(strstr(a, "Bad"));
}

static void server_http_1_0_gets_its_own_ways(void **state) {
    (void)state;
    const char *a =
        ask(&fx, "GET / HTTP/1.0\r\n\r\n"); /* Host is not needed, the end is the close */
    assert_memory_equal(a, "HTTP/1.1 200 ", 13);
    a = ask(&fx, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n");
    assert_int_equal(count_of(a, "HTTP/1.1 200 "), 2);
    assert_int_equal(count_of(a, "Connection: keep-alive"), 1);
}

static void end_stream(void *arg) {
    assert_int_equal(http_stream_write(held, str_from(arg)), ERR_OK);
    http_stream_end(held);
    held = NULL;
}

static void server_stream_is_chunked_or_ends_with_the_connection(void **state) {
    (void)state;
    for (int minor = 0; minor < 2; minor++) {
        struct buf b;
        char text[100];
        int fd = dial(&fx);
        buf_init(&b, 10000);
        snprintf(text, sizeof text, "GET /stream HTTP/1.%d\r\nHost: h\r\nConnection: close\r\n\r\n",
                 minor);
        send_text(fd, text);
        wait_for(&fx.happened);
        assert_true(read_until(fd, &b, "\r\n\r\n")); /* the head comes before any data */
        run_on_loop(&fx, end_stream, "data: 0123456789\n\n");
        assert_true(read_until(fd, &b, NULL));
        assert_int_equal(strstr(b.p, "Transfer-Encoding: chunked") != NULL, minor);
        assert_non_null(strstr(b.p, minor ? "\r\n\r\n12\r\ndata: 0123456789\n\n\r\n0\r\n\r\n"
                                          : "\r\n\r\ndata: 0123456789\n\n"));
        buf_deinit(&b);
        close(fd);
    }
    assert_int_equal(metric_get(M_STREAMS_OPEN), 0);
    assert_int_equal(closes, 0);
}

static void server_pipelined_requests_are_answered_in_order(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 500; i++) {
        if (i % 3 == 0)
            buf_addf(&b, "\r\nPOST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nn=%05d;",
                     i);
        else if (i % 3 == 1)
            buf_addf(&b,
                     "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "3;ext=1\r\nn=%c\r\n5\r\n%04d;\r\n0\r\nTrailer: x\r\n\r\n",
                     '0', i);
        else
            buf_addf(&b, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 8%s\r\n\r\nn=%05d;",
                     i == 497 + 2 ? "\r\nConnection: close" : "", i);
    }
    buf_addz(&b, "GET / HTTP/1.1\r\n" CLOSE);
    const char *a = ask(&fx, b.p);
    buf_deinit(&b);
    for (int i = 0; i < 500; i++) {
        char want[20];
        snprintf(want, sizeof want, "n=%05d;", i);
        a = strstr(a, want);
        assert_non_null(a);
    }
}

static void server_byte_by_byte_is_the_same_request(void **state) {
    (void)state;
    const char *text =
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
    struct buf b;
    int fd = dial(&fx);
    buf_init(&b, 10000);
    for (const char *p = text; *p; p++)
        send_bytes(fd, p, 1);
    assert_true(read_until(fd, &b, NULL));
    assert_non_null(strstr(b.p, "\r\n\r\nabc0123456789"));
    buf_deinit(&b);
    close(fd);
}

static void server_expect_continue_is_answered_before_the_body(void **state) {
    (void)state;
    struct buf b;
    int fd = dial(&fx);
    buf_init(&b, 10000);
    send_text(fd, "POST /echo HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n" CLOSE);
    assert_true(read_until(fd, &b, "HTTP/1.1 100 Continue\r\n\r\n"));
    send_text(fd, "abc");
    assert_true(read_until(fd, &b, NULL));
    assert_non_null(strstr(b.p, "\r\n\r\nabc"));
    buf_deinit(&b);
    close(fd);
    const char *a =
        ask(&fx, "POST /echo HTTP/1.1\r\nContent-Length: 100001\r\nExpect: 100-continue\r\n" CLOSE);
    assert_memory_equal(a, "HTTP/1.1 413 ", 13);
}

static void server_large_answer_arrives_whole(void **state) {
    (void)state;
    struct buf b;
    int fd = dial(&fx);
    buf_init(&b, 4 << 20);
    send_text(fd, "GET /big HTTP/1.1\r\n" CLOSE);
    assert_true(read_until(fd, &b, NULL));
    assert_int_equal(b.n - (size_t)(strstr(b.p, "\r\n\r\n") + 4 - b.p), 3 << 20);
    buf_deinit(&b);
    close(fd);
}

/* ---- bad requests ---- */

static void server_malformed_requests_get_400_and_the_close(void **state) {
    (void)state;
    const char *bad[] = {
        "\x16\x03\x01\x02\x01",
        "GET\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.1\n\n\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
        "GET  / HTTP/1.1\r\n" CLOSE,
        "GET / HTTP/1.1 \r\n" CLOSE,
        "GET / HTTP/1.1\r\n\r\n", /* no Host */
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n" CLOSE,
        "GET / HTTP/1.1\r\n: empty\r\n" CLOSE,
        "GET / HTTP/1.1\r\nX: a\x01"
        "b\r\n" CLOSE,
        "GET / HTTP/1.1\r\nX: a\rb\r\n" CLOSE,
        "GET x HTTP/1.1\r\n" CLOSE,
        "GET /#f HTTP/1.1\r\n" CLOSE,
        "CONNECT a:1 HTTP/1.1\r\n" CLOSE,
        "GET * HTTP/1.1\r\n" CLOSE,
        "GET /%00 HTTP/1.1\r\n" CLOSE,
        "GET /%zz HTTP/1.1\r\n" CLOSE,
        "GET /%4 HTTP/1.1\r\n" CLOSE,
        "GET /%ff HTTP/1.1\r\n" CLOSE,
        "GET /?q=%00 HTTP/1.1\r\n" CLOSE,
        "GET /?q=%ff HTTP/1.1\r\n" CLOSE,
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n" CLOSE "x",
        "POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n" CLOSE "x",
        "POST / HTTP/1.1\r\nContent-Length: +1\r\n" CLOSE "x",
        "POST / HTTP/1.1\r\nContent-Length: -1\r\n" CLOSE "x",
        "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n" CLOSE "x",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n" CLOSE "0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n" CLOSE "0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" CLOSE
        "0\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" CLOSE "x\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" CLOSE "-1\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" CLOSE "1\r\nxy\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" CLOSE "1\nx\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" CLOSE "fffffffffffffffff\r\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *a = ask(&fx, bad[i]);
        if (strncmp(a, "HTTP/1.1 400 ", 13) != 0 || count_of(a, "HTTP/1.1 4") != 1)
            fail_msg("case %zu: %s", i, a);
        assert_non_null(strstr(a, "{\"code\":\"invalid_value\""));
        assert_non_null(strstr(a, "x-request-id: req_"));
    }
    assert_memory_equal(ask(&fx, "GET / HTTP/2.0\r\n" CLOSE), "HTTP/1.1 505 ", 13);
    assert_memory_equal(ask(&fx, "GET / HTTP/1.1\r\nExpect: tea\r\n" CLOSE), "HTTP/1.1 417 ", 13);
}

static void server_oversized_headers_get_431(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_addz(&b, "GET / HTTP/1.1\r\nHost: h\r\nX: ");
    for (int i = 0; i < 5000; i++)
        buf_addc(&b, 'x');
    assert_memory_equal(ask(&fx, b.p), "HTTP/1.1 431 ", 13); /* before the end is there */
    buf_addz(&b, "\r\n\r\n");
    assert_memory_equal(ask(&fx, b.p), "HTTP/1.1 431 ", 13);
    buf_clear(&b);
    buf_addz(&b, "GET / HTTP/1.1\r\n");
    for (int i = 0; i < 150; i++)
        buf_addf(&b, "X%d: 1\r\n", i);
    buf_addz(&b, CLOSE);
    assert_memory_equal(ask(&fx, b.p), "HTTP/1.1 431 ", 13);
    buf_deinit(&b);
}

static void server_oversized_body_gets_413_that_can_be_read(void **state) {
    (void)state;
    static char body[2000000];
    struct buf b;
    memset(body, 'x', sizeof body);
    buf_init(&b, 3000000);
    buf_addf(&b, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", sizeof body);
    buf_add(&b, body, sizeof body);
    const char *a = ask(&fx, b.p);
    assert_memory_equal(a, "HTTP/1.1 413 ", 13);
    assert_non_null(strstr(a, "{\"code\":\"too_large\""));
    buf_clear(&b);
    buf_addz(&b, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 20; i++) {
        buf_addz(&b, "2710\r\n");
        buf_add(&b, body, 10000);
        buf_addz(&b, "\r\n");
    }
    buf_addz(&b, "0\r\n\r\n");
    assert_memory_equal(ask(&fx, b.p), "HTTP/1.1 413 ", 13);
    a = ask(&fx, "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" CLOSE "ffffffff\r\n");
    assert_memory_equal(a, "HTTP/1.1 413 ", 13); /* announced is enough */
    buf_deinit(&b);
}

/* Lets time pass until something comes: the bytes sent last may not have been read yet when it
 * starts. */
static void pass_time_until_readable(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    clock_test_set(clock_mono_ns(), clock_wall_ms());
    do
        clock_test_advance(31000);
    while (poll(&p, 1, 100) == 0);
}

static void server_bodies_past_all_measure_get_503(void **state) {
    (void)state;
    static char body[90000];
    char head[] = "POST /hold HTTP/1.1\r\nHost: h\r\nContent-Length: 90000\r\n\r\n";
    struct buf b;
    int fd = dial(&fx);
    memset(body, 'x', sizeof body);
    send_text(fd, head);
    send_bytes(fd, body, sizeof body);
    wait_for(&fx.happened); /* one is held, unanswered */
    buf_init(&b, 200000);
    buf_addz(&b, "POST /echo HTTP/1.1\r\nContent-Length: 90000\r\n" CLOSE);
    buf_add(&b, body, sizeof body);
    assert_memory_equal(ask(&fx, b.p), "HTTP/1.1 503 ", 13);
    close(fd);
    wait_for(&fx.happened); /* its owner was told: there is room again */
    assert_memory_equal(ask(&fx, b.p), "HTTP/1.1 200 ", 13);
    buf_deinit(&b);
}

static void server_request_that_stalls_gets_408(void **state) {
    (void)state;
    const char *partial[] = {"GET / HTTP/1.1\r\nHo",
                             "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab"};
    for (int i = 0; i < 2; i++) {
        struct buf b;
        int fd = dial(&fx);
        buf_init(&b, 10000);
        send_text(fd, partial[i]);
        pass_time_until_readable(fd);
        clock_test_end();
        assert_true(read_until(fd, &b, NULL));
        assert_memory_equal(b.p, "HTTP/1.1 408 ", 13);
        buf_deinit(&b);
        close(fd);
    }
}

static void server_idle_connection_is_closed_without_a_word(void **state) {
    (void)state;
    struct buf b;
    int fd = dial(&fx);
    buf_init(&b, 10000);
    send_text(fd, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(read_until(fd, &b, "127.0.0.1"));
    buf_clear(&b);
    pass_time_until_readable(fd);
    clock_test_end();
    assert_true(read_until(fd, &b, NULL));
    assert_int_equal(b.n, 0);
    buf_deinit(&b);
    close(fd);
}

static void server_stream_outlives_the_idle_time(void **state) {
    (void)state;
    struct buf b;
    int stream = dial(&fx), idle = dial(&fx);
    buf_init(&b, 10000);
    send_text(stream, "GET /stream HTTP/1.1\r\n" CLOSE);
    wait_for(&fx.happened);
    pass_time_until_readable(idle); /* the sweep has been there */
    clock_test_end();
    run_on_loop(&fx, end_stream, "still here");
    assert_true(read_until(stream, &b, NULL));
    assert_non_null(strstr(b.p, "still here"));
    buf_deinit(&b);
    close(stream), close(idle);
}

/* ---- clients that go away, and slow ones ---- */

static void nothing(void *arg) {
    (void)arg;
}

static void server_client_that_leaves_is_reported_once(void **state) {
    (void)state;
    const char *targets[] = {"/hold", "/stream"};
    for (int how = 0; how < 3; how++) {
        for (int i = 0; i < 2; i++) {
            char text[100];
            int fd = dial(&fx);
            closes = 0;
            snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", targets[i]);
            send_text(fd, text);
            wait_for(&fx.happened);
            if (how == 0)
                shutdown(fd, SHUT_WR); /* half-closed counts as gone */
            if (how == 1)
                setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0},
                           sizeof(struct linger));
            if (how > 0)
                close(fd);
            wait_for(&fx.happened);
            assert_int_equal(closes, 1);
            if (how == 0)
                close(fd);
        }
    }
    run_on_loop(&fx, nothing, NULL); /* the reports were sent from inside the closing */
    assert_int_equal(metric_get(M_STREAMS_OPEN), 0);
}

static void server_client_that_leaves_behind_unread_input_is_noticed(void **state) {
    (void)state;
    static char filler[140000]; /* more than is read ahead, less than the kernel holds besides */
    memset(filler, '\n', sizeof filler);
    int fd = dial(&fx);
    closes = 0;
    send_text(fd, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_for(&fx.happened);
    send_bytes(fd, filler, sizeof filler);
    shutdown(fd, SHUT_WR);
    wait_for(&fx.happened);
    assert_int_equal(closes, 1);
    close(fd);
}

static void answer_guard(void *arg) {
    struct http_request *r = http_guard_get(guard);
    *(bool *)arg = r != NULL;
    if (r)
        http_reply(r, 200, "text/plain", STR("late"));
    assert_null(http_guard_get(guard));
    http_guard_free(guard);
}

static void look_at_guard(void *arg) {
    *(bool *)arg = http_guard_get(guard) != NULL;
}

static void server_guard_answers_or_turns_empty(void **state) {
    (void)state;
    struct buf b;
    bool there = false;
    int fd = dial(&fx);
    buf_init(&b, 10000);
    send_text(fd, "GET /guard HTTP/1.1\r\n" CLOSE);
    wait_for(&fx.happened);
    run_on_loop(&fx, answer_guard, &there);
    assert_true(there);
    assert_true(read_until(fd, &b, NULL));
    assert_non_null(strstr(b.p, "\r\n\r\nlate"));
    buf_deinit(&b);
    close(fd);
    fd = dial(&fx);
    send_text(fd, "GET /guard HTTP/1.1\r\n" CLOSE);
    wait_for(&fx.happened);
    close(fd);
    do
        run_on_loop(&fx, look_at_guard, &there);
    while (there);
    run_on_loop(&fx, answer_guard, &there);
    assert_false(there);
}

static void server_stream_piece_past_the_limit_arrives_whole(void **state) {
    (void)state;
    struct buf b;
    int fd = dial(&fx);
    buf_init(&b, 16 << 20);
    send_text(fd, "GET /piece HTTP/1.1\r\n" CLOSE);
    assert_true(read_until(fd, &b, NULL));
    assert_true(b.n > 8 << 20);
    assert_memory_equal(b.p + b.n - 7, "\r\n0\r\n\r\n", 7);
    buf_deinit(&b);
    close(fd);
}

static void server_reader_that_does_not_read_is_dropped(void **state) {
    (void)state;
    int64_t before = metric_get(M_STREAMS_DROPPED);
    int fd = dial(&fx);
    send_text(fd, "GET /flood HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_for(&fx.happened);
    assert_true(overflowed);
    assert_int_equal(metric_get(M_STREAMS_DROPPED), before + 1);
    struct buf b;
    buf_init(&b, 64 << 20);
    assert_false(read_until(fd, &b, "\r\n0\r\n\r\n")); /* broken, not ended */
    buf_deinit(&b);
    close(fd);
}

static void abort_held(void *arg) {
    (void)arg;
    http_stream_abort(held);
    held = NULL;
}

static void server_aborted_stream_looks_broken(void **state) {
    (void)state;
    struct buf b;
    int fd = dial(&fx);
    buf_init(&b, 10000);
    send_text(fd, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_for(&fx.happened);
    assert_true(read_until(fd, &b, "\r\n\r\n"));
    run_on_loop(&fx, abort_held, NULL);
    char byte;
    assert_true(recv(fd, &byte, 1, 0) < 0 && errno == ECONNRESET);
    assert_int_equal(closes, 0);
    buf_deinit(&b);
    close(fd);
}

static void server_connections_past_the_limit_get_503(void **state) {
    (void)state;
    int fds[20];
    struct buf b;
    buf_init(&b, 100000);
    for (int i = 0; i < 20; i++) {
        fds[i] = dial(&fx);
        send_text(fds[i], "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        buf_clear(&b);
        assert_true(read_until(fds[i], &b, "127.0.0.1"));
    }
    const char *a = ask(&fx, "GET / HTTP/1.1\r\n" CLOSE);
    assert_memory_equal(a, "HTTP/1.1 503 ", 13);
    assert_non_null(strstr(a, "{\"code\":\"unavailable\""));
    for (int i = 0; i < 20; i++)
        close(fds[i]);
    do
        a = ask(&fx, "GET / HTTP/1.1\r\n" CLOSE);
    while (strncmp(a, "HTTP/1.1 503 ", 13) == 0);
    assert_memory_equal(a, "HTTP/1.1 200 ", 13);
    buf_deinit(&b);
}

static void stop_accepting(void *arg) {
    (void)arg;
    http_server_stop_accepting(fx.server);
}

static void server_that_stops_finishes_with_connection_close(void **state) {
    (void)state;
    struct buf b;
    int fd = dial(&fx);
    buf_init(&b, 10000);
    send_text(fd, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(read_until(fd, &b, "127.0.0.1"));
    assert_null(strstr(b.p, "Connection: close"));
    run_on_loop(&fx, stop_accepting, NULL);
    buf_clear(&b);
    send_text(fd, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(read_until(fd, &b, NULL));
    assert_non_null(strstr(b.p, "Connection: close"));
    buf_deinit(&b);
    close(fd);
}

static void server_freed_with_open_requests_tells_their_owners(void **state) {
    (void)state;
    int fd = dial(&fx), idle = dial(&fx);
    send_text(fd, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_for(&fx.happened);
    stop(NULL);
    assert_int_equal(closes, 1);
    close(fd), close(idle);
    start(NULL);
}

/* ---- addresses ---- */

static void listen_addresses_are_checked(void **state) {
    (void)state;
    struct errinfo ei;
    int fd = -1, second = -1;
    const char *bad[] = {
        "",    "nonsense", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536",
        ":80", "[::1",     "[::1]80",   "unix:"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(net_listen(bad[i], false, &fd, &ei), ERR_INVALID);
    char address[64];
    assert_int_equal(net_local_address(fx.listen_fd, address, sizeof address), ERR_OK);
    assert_int_equal(net_listen(address, false, &fd, &ei), ERR_IO);
    assert_non_null(strstr(ei.message, "something else listens there"));
    assert_int_equal(net_listen("127.0.0.1:0", true, &fd, &ei), ERR_OK);
    assert_int_equal(net_local_address(fd, address, sizeof address), ERR_OK);
    assert_int_equal(net_listen(address, true, &second, &ei), ERR_OK);
    assert_int_equal(net_local_address(fd, address, 5), ERR_IO);
    close(fd), close(second);
}

static void unix_socket_is_private_and_replaces_a_stale_one(void **state) {
    (void)state;
    struct errinfo ei;
    char dir[] = "/tmp/parley-test-net-XXXXXX", address[128], shown[128];
    int fd, other = -1;
    struct stat st;
    assert_non_null(mkdtemp(dir));
    snprintf(address, sizeof address, "unix:%s/s", dir);
    assert_int_equal(net_listen(address, false, &fd, &ei), ERR_OK);
    assert_int_equal(stat(address + 5, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(net_local_address(fd, shown, sizeof shown), ERR_OK);
    assert_string_equal(shown, address);
    assert_int_equal(net_listen(address, false, &other, &ei), ERR_IO); /* somebody listens */
    close(fd);
    assert_int_equal(net_listen(address, false, &fd, &ei), ERR_OK); /* nobody does */
    close(fd);
    unlink(address + 5);
    rmdir(dir);
}

#define WITH_SERVER(t) cmocka_unit_test_setup_teardown(t, start, stop)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_SERVER(server_request_parts_are_decoded),
        WITH_SERVER(server_every_method_reaches_the_handler),
        WITH_SERVER(server_head_and_204_have_no_body),
        WITH_SERVER(server_http_1_0_gets_its_own_ways),
        WITH_SERVER(server_stream_is_chunked_or_ends_with_the_connection),
        WITH_SERVER(server_pipelined_requests_are_answered_in_order),
        WITH_SERVER(server_byte_by_byte_is_the_same_request),
        WITH_SERVER(server_expect_continue_is_answered_before_the_body),
        WITH_SERVER(server_large_answer_arrives_whole),
        WITH_SERVER(server_malformed_requests_get_400_and_the_close),
        WITH_SERVER(server_oversized_headers_get_431),
        WITH_SERVER(server_oversized_body_gets_413_that_can_be_read),
        WITH_SERVER(server_bodies_past_all_measure_get_503),
        WITH_SERVER(server_request_that_stalls_gets_408),
        WITH_SERVER(server_idle_connection_is_closed_without_a_word),
        WITH_SERVER(server_stream_outlives_the_idle_time),
        WITH_SERVER(server_client_that_leaves_is_reported_once),
        WITH_SERVER(server_client_that_leaves_behind_unread_input_is_noticed),
        WITH_SERVER(server_guard_answers_or_turns_empty),
        WITH_SERVER(server_stream_piece_past_the_limit_arrives_whole),
        WITH_SERVER(server_reader_that_does_not_read_is_dropped),
        WITH_SERVER(server_aborted_stream_looks_broken),
        WITH_SERVER(server_connections_past_the_limit_get_503),
        WITH_SERVER(server_that_stops_finishes_with_connection_close),
        WITH_SERVER(server_freed_with_open_requests_tells_their_owners),
        WITH_SERVER(listen_addresses_are_checked),
        WITH_SERVER(unix_socket_is_private_and_replaces_a_stale_one),
    };
    return crypto_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
