/* For the tests of net/: a server on a loop of its own thread, and a plain blocking client that can
 * send any bytes. Waiting is for events, with a limit that only a broken test reaches. */
#pragma once

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "net/http_server.h"
#include "net/loop.h"

struct fixture {
    struct loop *loop;
    struct http_server *server;
    pthread_t thread;
    int listen_fd, port;
    sem_t happened;
};

static inline void wait_for(sem_t *s) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += 30;
    while (sem_timedwait(s, &t) != 0)
        assert_int_equal(errno, EINTR);
}

static void *fixture_run(void *arg) {
    loop_run(arg);
    return NULL;
}

static inline void fixture_start(struct fixture *f, const struct http_server_options *o,
                                 http_handler h) {
    struct errinfo ei;
    char address[64];
    sem_init(&f->happened, 0, 0);
    assert_int_equal(loop_new(&f->loop, &ei), ERR_OK);
    assert_int_equal(net_listen("127.0.0.1:0", false, &f->listen_fd, &ei), ERR_OK);
    assert_int_equal(net_local_address(f->listen_fd, address, sizeof address), ERR_OK);
    f->port = atoi(strrchr(address, ':') + 1);
    assert_int_equal(http_server_new(f->loop, o, h, f, &f->server, &ei), ERR_OK);
    assert_int_equal(http_server_listen(f->server, f->listen_fd, &ei), ERR_OK);
    assert_int_equal(pthread_create(&f->thread, NULL, fixture_run, f->loop), 0);
}

static inline void fixture_stop(struct fixture *f) {
    loop_stop(f->loop);
    pthread_join(f->thread, NULL);
    http_server_free(f->server);
    loop_free(f->loop);
    close(f->listen_fd);
    sem_destroy(&f->happened);
}

/* Runs fn(arg) on the fixture's loop and waits for it. */
struct on_loop {
    loop_fn fn;
    void *arg;
    sem_t done;
};
static void on_loop_run(void *arg) {
    struct on_loop *o = arg;
    o->fn(o->arg);
    sem_post(&o->done);
}
static inline void run_on_loop(struct fixture *f, loop_fn fn, void *arg) {
    struct on_loop o = {.fn = fn, .arg = arg};
    sem_init(&o.done, 0, 0);
    assert_int_equal(loop_post(f->loop, on_loop_run, &o), ERR_OK);
    wait_for(&o.done);
    sem_destroy(&o.done);
}

/* ---- client ---- */

static inline int dial(const struct fixture *f) {
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)f->port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = 30};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static inline void send_bytes(int fd, const void *p, size_t n) {
    for (size_t at = 0; at < n;) {
        ssize_t k = send(fd, (const char *)p + at, n - at, MSG_NOSIGNAL);
        if (k <= 0)
            return; /* the server may refuse before all is sent; its answer says so */
        at += (size_t)k;
    }
}

static inline void send_text(int fd, const char *text) {
    send_bytes(fd, text, strlen(text));
}

/* Reads until text holds `until` (or to the end if NULL). Returns false at the end or an error. */
static inline bool read_until(int fd, struct buf *b, const char *until) {
    char piece[65536];
    while (!until || !b->p || !strstr(b->p, until)) {
        ssize_t n = recv(fd, piece, sizeof piece, 0);
        if (n <= 0) {
            assert_false(n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)); /* nothing came */
            return n == 0 && !until;
        }
        buf_add(b, piece, (size_t)n);
        assert_int_equal(buf_err(b), ERR_OK);
    }
    return true;
}

/* Sends text on a fresh connection and returns all that comes back (static memory). */
static inline const char *ask(const struct fixture *f, const char *text) {
    static char answer[1 << 20];
    struct buf b;
    int fd = dial(f);
    buf_init(&b, sizeof answer - 1);
    send_text(fd, text);
    read_until(fd, &b, NULL);
    snprintf(answer, sizeof answer, "%s", b.p ? b.p : "");
    buf_deinit(&b);
    close(fd);
    return answer;
}

static inline int count_of(const char *text, const char *what) {
    int n = 0;
    for (const char *p = strstr(text, what); p; p = strstr(p + 1, what))
        n++;
    return n;
}
