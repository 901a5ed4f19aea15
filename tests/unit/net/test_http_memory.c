/* net/http_client without memory: each allocation of it and of libevent's on its behalf fails once.
 * The call then says so, or does without; nothing is lost, and the client goes on. Linked with
 * --wrap for malloc() and its like. */
#include "http_fixture.h"

#include <event2/event.h>

#include "net/http_client.h"
#include "net/net_internal.h"

#define BODY   ((size_t)100000)
#define PIECES 5
#define PIECE  ((size_t)9000)
#define CALLS  3

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);

/* Of this thread, so that the server has its memory. */
static _Thread_local int left = -1; /* allocations until one fails; -1: none does */
static _Thread_local bool one_failed;
static bool events_fail = true; /* libevent's, too */
static _Thread_local int held;  /* not freed yet; libevent's are its own */

static bool fails(void) {
    if (left < 0 || left-- > 0)
        return false;
    one_failed = true;
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t n) {
    void *p = fails() ? NULL : __real_malloc(n);
    held += p != NULL;
    return p;
}

void *__wrap_calloc(size_t n, size_t size) {
    void *p = fails() ? NULL : __real_calloc(n, size);
    held += p != NULL;
    return p;
}

void *__wrap_realloc(void *p, size_t n) {
    void *grown = fails() ? NULL : __real_realloc(p, n);
    held += !p && grown;
    return grown;
}

void __wrap_free(void *p) {
    held -= p != NULL;
    __real_free(p);
}

static void *event_malloc(size_t n) {
    return events_fail && fails() ? NULL : __real_malloc(n);
}

static void *event_realloc(void *p, size_t n) {
    return events_fail && fails() ? NULL : __real_realloc(p, n);
}

/* ---- the server ---- */

static void handle(struct http_request *r, void *ctx) {
    static const char piece[PIECE];
    (void)ctx;
    if (http_method(r) == HTTP_POST) {
        http_reply(r, 200, "application/octet-stream", http_body(r));
        return;
    }
    http_stream_begin(r, 200, "text/event-stream");
    for (int i = 0; i < PIECES; i++)
        if (http_stream_write(r, (struct str){piece, sizeof piece}))
            break; /* the client is gone */
    http_stream_end(r);
}

/* ---- the client ---- */

struct seen {
    struct loop *loop;
    struct http_call *call;
    int dones;
    enum err err;
    int status;
    size_t bytes;
};

static bool on_data(void *ctx, struct str bytes) {
    struct seen *s = ctx;
    s->bytes += bytes.n;
    http_call_pace(s->call);
    return true;
}

static void on_done(void *ctx, enum err err, int status, const struct errinfo *ei) {
    struct seen *s = ctx;
    (void)ei;
    s->dones++;
    s->err = err;
    s->status = status;
    loop_stop(s->loop);
}

/* One call to its end; whether it was answered. */
static bool call_once(struct http_client *c, struct loop *loop, const char *url, bool post) {
    static const char body[BODY];
    static const struct http_call_callbacks callbacks = {.on_data = on_data, .on_done = on_done};
    const char *const headers[] = {"Accept: text/event-stream", NULL};
    const struct http_call_spec spec = {.method = post ? "POST" : "GET",
                                        .url = url,
                                        .headers = headers,
                                        .body = {body, post ? BODY : 0},
                                        .total_timeout_ms = 60000,
                                        .idle_timeout_ms = 60000};
    struct seen s = {.loop = loop};
    struct errinfo ei;
    enum err e = http_call_start(c, &spec, &callbacks, &s, &s.call, &ei);
    if (e) {
        assert_int_equal(e, ERR_NOMEM);
        assert_int_equal(ei.code, ERR_NOMEM);
        return false;
    }
    loop_run(loop);
    assert_int_equal(s.dones, 1);
    if (s.err) {
        assert_int_equal(s.err, ERR_NOMEM);
        return false;
    }
    assert_int_equal(s.status, 200);
    assert_int_equal(s.bytes, post ? BODY : PIECES * PIECE);
    return true;
}

/* A client's whole life; how many of its CALLS were answered. */
static int live(struct loop *loop, const char *url) {
    struct http_client *c;
    struct errinfo ei;
    int answered = 0;
    enum err e = http_client_new(loop, &c, &ei);
    if (e) {
        assert_int_equal(e, ERR_NOMEM);
        return 0;
    }
    http_client_pace(c, 1);
    for (int i = 0; i < CALLS; i++) /* the second and third on a kept connection */
        answered += call_once(c, loop, url, i % 2);
    http_client_free(c);
    return answered;
}

/* With one allocation after the other failing, until there is none that could. */
static void fail_each(const char *host, int at_least) {
    struct fixture f;
    const struct http_server_options o = {.max_body_bytes = 2 * BODY};
    char url[64];
    int n = 0, answered;
    fixture_start(&f, &o, handle);
    snprintf(url, sizeof url, "http://%s:%d/", host, f.port);
    do {
        struct loop *loop;
        struct errinfo ei;
        assert_int_equal(loop_new(&loop, &ei), ERR_OK);
        int before = held;
        one_failed = false;
        left = n++;
        answered = live(loop, url);
        left = -1;
        assert_int_equal(held, before);
        assert_true(answered >= CALLS - 1 || one_failed);
        loop_free(loop);
    } while (one_failed);
    assert_int_equal(answered, CALLS);
    assert_true(n > at_least);
    fixture_stop(&f);
}

static void client_without_memory_says_so_and_goes_on(void **state) {
    (void)state;
    fail_each("127.0.0.1", 10);
}

/* What is libcurl's own is left to it, and without libevent's it waits for the call's time to be
 * over. */
static void client_by_libcurl_without_memory_says_so_and_goes_on(void **state) {
    (void)state;
    events_fail = false;
    fail_each("localhost", 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_without_memory_says_so_and_goes_on),
        cmocka_unit_test(client_by_libcurl_without_memory_says_so_and_goes_on),
    };
    struct errinfo ei;
    event_set_mem_functions(event_malloc, event_realloc, __real_free);
    if (crypto_init() || net_init(&ei))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
