/* Readers who wait: attaches many connections to the stream of one running answer and keeps them.
 *
 *   load_attach --port N --path /api/v1/messages/ID/events --cookie SESSION --readers N [--seconds
 * 20]
 *
 * Prints one JSON object when all have had their first event (or the time is up), keeps them until
 * its input ends, and then says how many were still there. One thread, epoll. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

#define DIALS_AT_ONCE 64 /* so that the listen queue is not the limit */

static struct {
    int port, readers, seconds;
    const char *path, *cookie;
} options = {.readers = 1000, .seconds = 20};

struct reader {
    int fd;
    bool there;
};

static long attached, gone, refused;
static int epfd;

static bool dial(struct reader *r) {
    char text[1024];
    int n = snprintf(text, sizeof text,
                     "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: parley_session=%s\r\n"
                     "Accept: text/event-stream\r\n\r\n",
                     options.path, options.cookie);
    r->fd = dial_local(options.port);
    if (r->fd < 0 || send(r->fd, text, (size_t)n, MSG_NOSIGNAL) != n)
        return false;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = r};
    return epoll_ctl(epfd, EPOLL_CTL_ADD, r->fd, &e) == 0;
}

static void take(struct reader *r) {
    char buffer[8192];
    ssize_t n = recv(r->fd, buffer, sizeof buffer - 1, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        close(r->fd);
        r->fd = -1;
        gone += r->there;
        refused += !r->there;
        return;
    }
    buffer[n] = 0;
    if (r->there)
        return;
    if (strncmp(buffer, "HTTP/1.1 200", 12) == 0) {
        r->there = true;
        attached++;
    } else {
        refused++;
        close(r->fd);
        r->fd = -1;
    }
}

static void serve(int ms) {
    static struct epoll_event events[512];
    int n = epoll_wait(epfd, events, 512, ms);
    for (int i = 0; i < n; i++)
        if (events[i].data.ptr)
            take(events[i].data.ptr);
}

static void read_options(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *o = argv[i], *v = argv[i + 1];
        if (!strcmp(o, "--port"))
            options.port = atoi(v);
        else if (!strcmp(o, "--path"))
            options.path = v;
        else if (!strcmp(o, "--cookie"))
            options.cookie = v;
        else if (!strcmp(o, "--readers"))
            options.readers = atoi(v);
        else if (!strcmp(o, "--seconds"))
            options.seconds = atoi(v);
    }
    if (!options.port || !options.path || !options.cookie) {
        fprintf(stderr, "load_attach: --port, --path and --cookie are needed\n");
        exit(2);
    }
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    files_raise();
    struct reader *readers = calloc((size_t)options.readers, sizeof *readers);
    epfd = epoll_create1(EPOLL_CLOEXEC);
    if (!readers || epfd < 0)
        return 1;
    int64_t start = now_us(), end = start + (int64_t)options.seconds * 1000000;
    int next = 0;
    while (now_us() < end && attached + refused < options.readers) {
        for (int i = 0; i < DIALS_AT_ONCE && next < options.readers; i++)
            refused += !dial(&readers[next++]);
        serve(next < options.readers ? 0 : 100);
    }
    printf("{\"attached\":%ld,\"refused\":%ld,\"seconds\":%.1f}\n", attached, refused,
           (double)(now_us() - start) / 1e6);
    fflush(stdout);
    struct epoll_event input = {.events = EPOLLIN};
    char c;
    epoll_ctl(epfd, EPOLL_CTL_ADD, STDIN_FILENO, &input);
    for (struct epoll_event e[64];;) {
        int n = epoll_wait(epfd, e, 64, -1);
        bool over = false;
        for (int i = 0; i < n; i++)
            if (e[i].data.ptr)
                take(e[i].data.ptr);
            else
                over = read(STDIN_FILENO, &c, 1) <= 0;
        if (over || (n < 0 && errno != EINTR))
            break;
    }
    printf("{\"still_there\":%ld}\n", attached - gone);
    return 0;
}
