/* Making listening sockets from addresses as people write them. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/http_server.h"

#define BACKLOG 4096

static const char *hint(int error) {
    switch (error) {
    case EADDRINUSE:
        return "; something else listens there: stop it or choose another port";
    case EACCES:
        return "; choose a port from 1024 on, or give the right to use this one";
    case EADDRNOTAVAIL:
        return "; this machine has no such address";
    default:
        return "";
    }
}

/* A socket file that nobody answers on is left from a process that died. */
static bool is_stale(const struct sockaddr_un *a) {
    struct stat st;
    if (lstat(a->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool stale = connect(fd, (const struct sockaddr *)a, sizeof *a) != 0 && errno == ECONNREFUSED;
    close(fd);
    return stale;
}

static enum err listen_unix(const char *path, int *ret_fd, struct errinfo *ei) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof a.sun_path)
        return err_set(ei, ERR_INVALID, "the socket path must have 1 to %zu bytes: %s",
                       sizeof a.sun_path - 1, path);
    memcpy(a.sun_path, path, n + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set(ei, ERR_IO, "cannot open a socket: %s", strerror(errno));
    if (is_stale(&a))
        unlink(path);
    /* The mode is set before anybody can connect: connections need listen(). */
    if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || chmod(path, 0600) != 0 ||
        listen(fd, BACKLOG) != 0) {
        err_set(ei, ERR_IO, "cannot listen on %s: %s%s", path, strerror(errno),
                errno == EADDRINUSE ? hint(errno) : "");
        close(fd);
        return ERR_IO;
    }
    *ret_fd = fd;
    return ERR_OK;
}

/* "host:port" or "[v6]:port" into its parts. */
static bool split(struct str address, char host[256], char port[8]) {
    struct str h, p = address;
    if (str_starts(address, STR("["))) {
        p = str_sub(address, 1, address.n);
        h = str_cut(&p, ']');
        if (!str_starts(p, STR(":")))
            return false;
        p = str_sub(p, 1, p.n);
    } else {
        h = str_cut(&p, ':');
    }
    uint64_t number;
    if (h.n == 0 || h.n > 255 || p.n > 5 || !str_to_u64(p, &number) || number > 65535)
        return false;
    snprintf(host, 256, "%.*s", STR_ARG(h));
    snprintf(port, 8, "%.*s", STR_ARG(p));
    return true;
}

static int open_tcp(const struct addrinfo *ai, bool reuse_port) {
    int on = 1;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        (!reuse_port || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0) &&
        bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

enum err net_listen(const char *address, bool reuse_port, int *ret_fd, struct errinfo *ei) {
    char host[256], port[8];
    struct str a = str_from(address);
    if (str_starts(a, STR("unix:")))
        return listen_unix(address + 5, ret_fd, ei);
    if (!split(a, host, port))
        return err_set(ei, ERR_INVALID,
                       "\"%s\" is no address: write HOST:PORT, [IPV6]:PORT or unix:/path", address);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0)
        return err_set(ei, ERR_IO, "cannot listen on %s: %s", address, gai_strerror(rc));
    int fd = open_tcp(found, reuse_port);
    int error = errno;
    freeaddrinfo(found);
    if (fd < 0)
        return err_set(ei, ERR_IO, "cannot listen on %s: %s%s", address, strerror(error),
                       hint(error));
    *ret_fd = fd;
    return ERR_OK;
}

enum err net_local_address(int fd, char *out, size_t size) {
    union {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
        struct sockaddr_un local;
    } a = {0};
    socklen_t n = sizeof a;
    char ip[INET6_ADDRSTRLEN];
    int k = -1;
    if (getsockname(fd, &a.any, &n) != 0)
        return ERR_IO;
    if (a.any.sa_family == AF_INET && inet_ntop(AF_INET, &a.four.sin_addr, ip, sizeof ip))
        k = snprintf(out, size, "%s:%d", ip, ntohs(a.four.sin_port));
    else if (a.any.sa_family == AF_INET6 && inet_ntop(AF_INET6, &a.six.sin6_addr, ip, sizeof ip))
        k = snprintf(out, size, "[%s]:%d", ip, ntohs(a.six.sin6_port));
    else if (a.any.sa_family == AF_UNIX)
        k = snprintf(out, size, "unix:%s", a.local.sun_path);
    return k < 0 || (size_t)k >= size ? ERR_IO : ERR_OK;
}
