#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/http_reader.h"

struct got {
    int heads, status;
    struct buf body;
    enum err err;
    bool done, keep;
};

static void on_head(void *ctx, const struct http_head *h) {
    struct got *g = ctx;
    g->heads++;
    g->status = h->status;
}

/* Reads s in pieces of n bytes. */
static struct got read_in(const char *s, size_t n, bool head_request) {
    struct http_reader r;
    struct got g = {0};
    struct str all = str_from(s);
    const char *why = NULL;
    http_reader_begin(&r, head_request);
    buf_init(&g.body, 1 << 20);
    for (size_t at = 0; at < all.n && !g.err; at += n)
        g.err = http_reader_feed(&r, str_sub(all, at, n), &g.body, on_head, &g, &why);
    if (g.err)
        assert_true(why && *why);
    g.done = r.state == READ_DONE;
    g.keep = r.keep_alive;
    http_reader_deinit(&r);
    return g;
}

static void answer_is_the_same_however_it_is_cut(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *body;
        int status;
        bool done, keep;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, true, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "hell", 200, false, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!", "hello", 200, true, false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nok", "ok", 200, true,
         true},
        {"HTTP/1.1 200\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "", 200, true, false},
        {"HTTP/1.1 200 OK\r\n\r\nuntil the end", "until the end", 200, false, false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", 200, true, false},
        {"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok", "ok", 200,
         true, true},
        {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\nx",
         "x", 404, true, true},
        {"HTTP/1.1 204 No Content\r\n\r\n", "", 204, true, true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n01;q=1\r\nd\r\n0\r\nX: "
         "y\r\n\r\n",
         "abcd", 200, true, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: "
         "chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
         "a", 200, true, false},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", "ab", 200, false, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t n = 1; n < 100; n += n < 12 ? 1 : 87) {
            struct got g = read_in(cases[i].bytes, n, false);
            assert_int_equal(g.err, ERR_OK);
            assert_int_equal(g.heads, 1);
            assert_int_equal(g.status, cases[i].status);
            assert_true(str_eqz(buf_str(&g.body), cases[i].body));
            assert_int_equal(g.done, cases[i].done);
            /* what follows the end is seen when it comes in time */
            assert_true(g.keep == cases[i].keep || n == 1);
            buf_deinit(&g.body);
        }
}

static void answer_to_head_has_no_body(void **state) {
    (void)state;
    struct got g = read_in("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 7, true);
    assert_true(g.done && g.keep && g.body.n == 0);
    buf_deinit(&g.body);
}

static void answer_that_is_none_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "SSH-2.0-x\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 099 No\r\n\r\n",
        "HTTP/1.1 200OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\nA: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        for (size_t n = 1; n < 200; n += 60) {
            struct got g = read_in(bad[i], n, false);
            assert_int_equal(g.err, ERR_UPSTREAM);
            buf_deinit(&g.body);
        }
}

static void head_that_never_ends_is_refused(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_addz(&b, "HTTP/1.1 200 OK\r\nX: ");
    for (int i = 0; i < 70000; i++)
        buf_addc(&b, 'x');
    struct got g = read_in(b.p, 1000, false);
    assert_int_equal(g.err, ERR_UPSTREAM);
    assert_int_equal(g.heads, 0);
    buf_deinit(&g.body);
    buf_deinit(&b);
}

static void close_ends_only_an_answer_without_length(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        bool whole;
    } cases[] = {{"", false},
                 {"HTTP/1.1 200 OK\r\n", false},
                 {"HTTP/1.1 200 OK\r\n\r\nabc", true},
                 {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", false},
                 {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_reader r;
        struct got g = {0};
        const char *why;
        http_reader_begin(&r, false);
        buf_init(&g.body, 100);
        assert_int_equal(http_reader_feed(&r, str_from(cases[i].bytes), &g.body, on_head, &g, &why),
                         ERR_OK);
        assert_int_equal(http_reader_end(&r), cases[i].whole);
        http_reader_deinit(&r);
        buf_deinit(&g.body);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer_is_the_same_however_it_is_cut),
        cmocka_unit_test(answer_to_head_has_no_body),
        cmocka_unit_test(answer_that_is_none_is_refused),
        cmocka_unit_test(head_that_never_ends_is_refused),
        cmocka_unit_test(close_ends_only_an_answer_without_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
