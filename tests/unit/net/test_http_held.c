/* A peer that sends requests and does not read the answers: how much the server keeps for it. */
#include <stdatomic.h>

#include "unit/net/http_fixture.h"

#include "base/buf.h"
#include "net/http_internal.h"

#define ANSWER_BYTES  ((size_t)400000)
#define PENDING_BYTES ((size_t)65536)
#define REQUESTS      60

static struct fixture fx;
static char answer[ANSWER_BYTES];
static atomic_int handled;

static void handle(struct http_request *r, void *ctx) {
    (void)ctx;
    handled++;
    sem_post(&fx.happened);
    http_reply(r, 200, "text/plain", (struct str){answer, sizeof answer});
}

struct seen {
    size_t pending;
    bool reading;
};

static void look(void *arg) {
    struct seen *seen = arg;
    seen->pending = fx.server->conns ? conn_pending(fx.server->conns) : 0;
    seen->reading = fx.server->conns && fx.server->conns->reading;
}

static void server_holds_a_peer_that_does_not_read(void **state) {
    (void)state;
    struct http_server_options o = {.max_pending_bytes = PENDING_BYTES};
    struct seen seen = {.reading = true};
    struct buf b;
    memset(answer, 'x', sizeof answer);
    fixture_start(&fx, &o, handle);
    int fd = dial(&fx);
    buf_init(&b, 1 << 20);
    for (int i = 0; i < REQUESTS; i++)
        buf_addf(&b, "GET /%d HTTP/1.1\r\nHost: h\r\n%s\r\n", i,
                 i == REQUESTS - 1 ? "Connection: close\r\n" : "");
    send_bytes(fd, b.p, b.n);
    wait_for(&fx.happened);
    while (seen.reading) /* until it is held */
        run_on_loop(&fx, look, &seen);
    assert_true(seen.pending <= PENDING_BYTES + 2 * ANSWER_BYTES);
    assert_true(handled < REQUESTS);
    buf_deinit(&b);
    buf_init(&b, REQUESTS * (ANSWER_BYTES + 1000));
    assert_true(read_until(fd, &b, NULL)); /* and goes on once it reads */
    assert_true(b.n > REQUESTS * ANSWER_BYTES);
    assert_int_equal(handled, REQUESTS);
    buf_deinit(&b);
    close(fd);
    fixture_stop(&fx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(server_holds_a_peer_that_does_not_read),
    };
    return crypto_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
