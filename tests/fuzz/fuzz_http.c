/* net/http_server on any bytes: a server on a loop of this thread, a client socket that sends them
 * in two pieces and closes its side. The handler uses every accessor and answers in one of four
 * ways, by the path. Each round must end with no connection left, and every answer must begin as
 * HTTP. */
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crypto.h"
#include "net/http_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static struct http_server *server;
static int listen_fd, port;

/* One round: what is sent and how far it has come. */
static const uint8_t *bytes;
static size_t left, cut;
static int client_fd = -1;
static bool answered;

static void use(struct http_request *r) {
    struct str s;
    if (!utf8_valid(http_path(r)) || memchr(http_path(r).p, 0, http_path(r).n))
        abort();
    if (http_query(r, "q", &s) && !utf8_valid(s))
        abort();
    http_cookie(r, "c", &s);
    http_header(r, "host");
    http_on_close(r, NULL, NULL);
    if (http_body(r).n > 2000 || !http_request_arena(r) || strlen(http_request_id(r)) != 24)
        abort();
    http_set_header(r, "X-Path", http_request_id(r));
}

static void handle(struct http_request *r, void *ctx) {
    (void)ctx;
    struct str p = http_path(r);
    use(r);
    if (str_starts(p, STR("/s"))) {
        http_stream_begin(r, 200, "text/event-stream");
        if (http_stream_write(r, http_body(r)) == ERR_OK)
            http_stream_end(r);
    } else if (str_starts(p, STR("/a"))) {
        http_stream_begin(r, 200, "text/event-stream");
        http_stream_abort(r);
    } else if (str_starts(p, STR("/g"))) {
        struct http_guard *g = http_guard_new(r);
        if (!g || http_guard_get(g) != r)
            abort();
        http_reply(r, 204, NULL, STR_NULL);
        if (http_guard_get(g))
            abort();
        http_guard_free(g);
    } else {
        http_reply(r, 200, "text/plain", http_body(r));
    }
}

/* Sends the second piece, then closes the sending side; ends the round when the server is done. */
static void step(void *arg) {
    static int idle;
    char answer[65536];
    (void)arg;
    if (cut) {
        send(client_fd, bytes, cut, MSG_NOSIGNAL | MSG_DONTWAIT);
        bytes += cut;
        left -= cut;
        cut = left;
        if (left == 0)
            shutdown(client_fd, SHUT_WR);
        idle = 0;
    }
    ssize_t n = recv(client_fd, answer, sizeof answer, MSG_DONTWAIT);
    if (n > 0 && !answered) {
        answered = true;
        if (n < 9 || memcmp(answer, "HTTP/1.1 ", 9) != 0)
            abort();
    }
    if (n == 0 || ++idle > 50) {
        close(client_fd);
        client_fd = -1;
    }
    if (client_fd >= 0 || http_server_connections(server) > 0) {
        if (loop_post(loop, step, NULL))
            abort();
    } else {
        loop_stop(loop);
    }
}

static void open_server(void) {
    struct errinfo ei;
    struct http_server_options o = {
        .max_header_bytes = 4096, .max_body_bytes = 2000, .max_pending_bytes = 8192};
    char address[64];
    if (crypto_init() || net_init(&ei) || loop_new(&loop, &ei) ||
        net_listen("127.0.0.1:0", false, &listen_fd, &ei) ||
        net_local_address(listen_fd, address, sizeof address) ||
        http_server_new(loop, &o, handle, NULL, &server, &ei) ||
        http_server_listen(server, listen_fd, &ei))
        abort();
    port = atoi(strrchr(address, ':') + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!server)
        open_server();
    if (size < 2)
        return 0;
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct linger reset = {1, 0}; /* no TIME_WAIT: rounds are many and ports few */
    client_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client_fd < 0 || connect(client_fd, (struct sockaddr *)&a, sizeof a) != 0)
        abort();
    setsockopt(client_fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    answered = false;
    bytes = data + 1;
    left = size - 1;
    cut = 1 + data[0] * left / 256;
    cut = cut < left ? cut : left;
    if (loop_post(loop, step, NULL))
        abort();
    loop_run(loop);
    return 0;
}
