/* A model server for load tests: OpenAI's chat completions, streamed and not, at a fixed pace.
 *
 *   load_mock [--port N] [--first-ms 200] [--rate 30] [--tokens 150 | --lengths FILE] [--seconds N]
 *
 * Prints its port, serves on 127.0.0.1 until the time is up or it is ended. The answer depends on
 * the last question alone (load.h). A request whose last message is the beginning of an answer
 * ("parley": {"continue": true}) is continued from there. Embeddings are refused: it has no such
 * model. One thread, epoll, a heap of what is due. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <yyjson.h>

#include "load.h"

#define REQUEST_MAX (1u << 20)
#define OUT_MAX     (1u << 16)

static struct {
    int port, first_ms, seconds;
    double rate;
    struct lengths lengths;
} options = {.first_ms = 200, .rate = 30, .lengths = {.fixed = 150}};

struct peer {
    int fd;
    char *in;
    size_t in_n, in_size;
    char *out; /* what the kernel did not take yet */
    size_t out_n, out_size;
    bool streaming, waiting; /* an answer is under way */
    bool stream_usage;
    uint64_t question;
    uint32_t at, total, prompt;
    struct due due;
};

static int epfd;
static struct due_heap heap; /* of peers whose next token is due */
static int64_t interval_us;

/* ---- connections ---- */

static void drop(struct peer *p) {
    due_remove(&heap, &p->due);
    close(p->fd);
    free(p->in);
    free(p->out);
    free(p);
}

static bool watch(struct peer *p, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = p};
    return epoll_ctl(epfd, EPOLL_CTL_MOD, p->fd, &e) == 0;
}

/* False: the peer is gone (dropped). */
static bool put(struct peer *p, const char *data, size_t n) {
    if (!p->out_n) {
        ssize_t sent = send(p->fd, data, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            drop(p);
            return false;
        }
        size_t took = sent < 0 ? 0 : (size_t)sent;
        data += took;
        n -= took;
    }
    if (!n)
        return true;
    if (p->out_n + n > OUT_MAX * 16) {
        drop(p);
        return false;
    }
    if (p->out_n + n > p->out_size) {
        p->out = realloc(p->out, p->out_size = p->out_n + n + 4096);
        if (!p->out)
            abort();
    }
    memcpy(p->out + p->out_n, data, n);
    p->out_n += n;
    return watch(p, EPOLLIN | EPOLLOUT);
}

static bool flush_out(struct peer *p) {
    ssize_t sent = send(p->fd, p->out, p->out_n, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        drop(p);
        return false;
    }
    size_t took = sent < 0 ? 0 : (size_t)sent;
    memmove(p->out, p->out + took, p->out_n - took);
    p->out_n -= took;
    return p->out_n || watch(p, EPOLLIN);
}

static bool reply(struct peer *p, int status, const char *body) {
    char text[OUT_MAX];
    int n = snprintf(
        text, sizeof text,
        "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", status,
        status == 200 ? "OK" : "Not Found", strlen(body), body);
    return put(p, text, (size_t)n);
}

/* ---- answers ---- */

#define CHUNK_HEAD                                                                                 \
    "data: "                                                                                       \
    "{\"id\":\"m\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\","         \
    "\"choices\":[{\"index\":0,\"delta\":{"

static bool put_chunk(struct peer *p, const char *data, size_t n) {
    char text[1024];
    int head = snprintf(text, sizeof text, "%zx\r\n", n);
    memcpy(text + head, data, n);
    memcpy(text + head + n, "\r\n", 2);
    return put(p, text, (size_t)head + n + 2);
}

static bool end_stream(struct peer *p) {
    char text[900];
    int n = snprintf(text, sizeof text, CHUNK_HEAD "},\"finish_reason\":\"stop\"}]}\n\n");
    if (p->stream_usage)
        n += snprintf(
            text + n, sizeof text - (size_t)n,
            "data: "
            "{\"id\":\"m\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\","
            "\"choices\":[],"
            "\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%u}}\n\n",
            p->prompt, p->total, p->prompt + p->total);
    n += snprintf(text + n, sizeof text - (size_t)n, "data: [DONE]\n\n");
    p->streaming = p->waiting = false;
    return put_chunk(p, text, (size_t)n) && put(p, "0\r\n\r\n", 5);
}

static bool whole_answer(struct peer *p) {
    static char body[OUT_MAX / 2];
    int n = snprintf(body, sizeof body,
                     "{\"id\":\"m\",\"object\":\"chat.completion\",\"created\":1,\"model\":"
                     "\"mock\",\"choices\":[{\"index\":0,"
                     "\"message\":{\"role\":\"assistant\",\"content\":\"");
    for (; p->at < p->total && (size_t)n + 400 < sizeof body; p->at++, n += TOKEN_BYTES)
        answer_token(p->question, p->at, body + n);
    snprintf(body + n, sizeof body - (size_t)n,
             "\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":%u,\"completion_"
             "tokens\":%u,\"total_tokens\":%u}}",
             p->prompt, p->total, p->prompt + p->total);
    p->waiting = false;
    return reply(p, 200, body);
}

/* What is due for a peer: the next token, or all of an answer that is not streamed. */
static void advance(struct peer *p) {
    static const char head[] = CHUNK_HEAD "\"content\":\"";
    static const char tail[] = "\"},\"finish_reason\":null}]}\n\n";
    char text[sizeof head + sizeof tail + TOKEN_BYTES];
    if (!p->streaming) {
        whole_answer(p);
        return;
    }
    if (p->at < p->total) {
        size_t n = sizeof head - 1;
        memcpy(text, head, n);
        answer_token(p->question, p->at++, text + n);
        n += TOKEN_BYTES;
        memcpy(text + n, tail, sizeof tail - 1);
        if (!put_chunk(p, text, n + sizeof tail - 1))
            return;
    }
    if (p->at >= p->total) {
        end_stream(p);
        return;
    }
    due_set(&heap, &p->due, p->due.at + interval_us);
}

static void choose_answer(struct peer *p, yyjson_val *root) {
    yyjson_val *messages = yyjson_obj_get(root, "messages"), *m, *last = NULL, *user = NULL;
    size_t i, n;
    p->prompt = 0;
    yyjson_arr_foreach(messages, i, n, m) {
        p->prompt += (uint32_t)(yyjson_get_len(yyjson_obj_get(m, "content")) / 4 + 1);
        last = m;
        if (yyjson_equals_str(yyjson_obj_get(m, "role"), "user"))
            user = m;
    }
    yyjson_val *content = yyjson_obj_get(user, "content");
    const char *text = yyjson_get_str(content);
    p->question = text ? text_hash(text, yyjson_get_len(content)) : 0;
    p->total = answer_length(&options.lengths, p->question);
    p->at = 0;
    if (last != user && yyjson_equals_str(yyjson_obj_get(last, "role"), "assistant"))
        p->at = (uint32_t)(yyjson_get_len(yyjson_obj_get(last, "content")) / TOKEN_BYTES);
    uint64_t most = yyjson_get_uint(yyjson_obj_get(root, "max_tokens"));
    if (most && most < p->total)
        p->total = (uint32_t)most;
}

static bool chat(struct peer *p, char *body, size_t n) {
    yyjson_doc *doc = yyjson_read(body, n, 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (!yyjson_is_arr(yyjson_obj_get(root, "messages"))) {
        yyjson_doc_free(doc);
        return reply(p, 404,
                     "{\"error\":{\"message\":\"messages are "
                     "missing\",\"type\":\"invalid_request_error\"}}");
    }
    choose_answer(p, root);
    p->streaming = yyjson_get_bool(yyjson_obj_get(root, "stream"));
    p->stream_usage =
        yyjson_get_bool(yyjson_obj_get(yyjson_obj_get(root, "stream_options"), "include_usage"));
    yyjson_doc_free(doc);
    p->waiting = true;
    static const char head[] =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    if (p->streaming && !put(p, head, sizeof head - 1))
        return false;
    if (!options.first_ms && !p->streaming)
        return whole_answer(p);
    due_set(&heap, &p->due, now_us() + (int64_t)options.first_ms * 1000);
    return true;
}

static bool serve(struct peer *p, const char *line, char *body, size_t n) {
    if (strncmp(line, "POST /v1/chat/completions ", 26) == 0)
        return chat(p, body, n);
    if (strncmp(line, "GET /v1/models ", 15) == 0)
        return reply(p, 200,
                     "{\"object\":\"list\",\"data\":[{\"id\":\"mock\",\"object\":\"model\","
                     "\"created\":1,\"owned_by\":\"bench\","
                     "\"max_model_len\":131072}]}");
    if (strncmp(line, "GET /health ", 12) == 0)
        return reply(p, 200, "{\"status\":\"ok\"}");
    return reply(p, 404,
                 "{\"error\":{\"message\":\"the mock has no such "
                 "path\",\"type\":\"invalid_request_error\"}}");
}

/* Serves the requests that are whole. False: dropped. */
static bool requests(struct peer *p) {
    while (!p->waiting && p->in_n) {
        p->in[p->in_n] = 0;
        char *end = strstr(p->in, "\r\n\r\n");
        if (!end)
            return true;
        size_t head = (size_t)(end - p->in) + 4, body = 0;
        char *length = strcasestr(p->in, "\r\ncontent-length:");
        if (length && length < end)
            body = strtoul(length + 17, NULL, 10);
        if (head + body > REQUEST_MAX) {
            drop(p);
            return false;
        }
        if (p->in_n < head + body)
            return true;
        if (!serve(p, p->in, p->in + head, body))
            return false;
        memmove(p->in, p->in + head + body, p->in_n - head - body);
        p->in_n -= head + body;
    }
    return true;
}

static void readable(struct peer *p) {
    for (;;) {
        if (p->in_size - p->in_n < 4096) {
            if (p->in_size > REQUEST_MAX) {
                drop(p);
                return;
            }
            p->in = realloc(p->in, (p->in_size = p->in_size ? p->in_size * 2 : 8192) + 1);
            if (!p->in)
                abort();
        }
        ssize_t n = recv(p->fd, p->in + p->in_n, p->in_size - p->in_n, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            drop(p);
            return;
        }
        if (n < 0)
            break;
        p->in_n += (size_t)n;
        if ((size_t)n < 4096)
            break;
    }
    requests(p);
}

static void accept_all(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        int on = 1;
        struct peer *p = calloc(1, sizeof *p);
        if (!p)
            abort();
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        p->fd = fd;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
        epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e);
    }
}

/* Microseconds until the next is. */
static int64_t do_what_is_due(void) {
    int64_t now = now_us();
    for (struct due *d; (d = due_first(&heap)) && d->at <= now;) {
        due_remove(&heap, d);
        advance(DUE_OF(d, struct peer, due));
    }
    return heap.n ? due_first(&heap)->at - now_us() : 1000000;
}

static void run(int listener) {
    static struct epoll_event events[1024];
    int64_t until = options.seconds ? now_us() + (int64_t)options.seconds * 1000000 : INT64_MAX;
    while (now_us() < until) {
        int64_t left = do_what_is_due();
        int n = epoll_wait(epfd, events, 1024, left <= 0 ? 0 : (int)((left + 999) / 1000));
        for (int i = 0; i < n; i++) {
            struct peer *p = events[i].data.ptr;
            if (!p)
                accept_all(listener);
            else if (events[i].events & EPOLLOUT) {
                if (flush_out(p) && events[i].events & EPOLLIN)
                    readable(p);
            } else
                readable(p);
        }
    }
}

static void read_options(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *o = argv[i], *v = argv[i + 1];
        if (!strcmp(o, "--port"))
            options.port = atoi(v);
        else if (!strcmp(o, "--first-ms"))
            options.first_ms = atoi(v);
        else if (!strcmp(o, "--rate"))
            options.rate = atof(v);
        else if (!strcmp(o, "--tokens"))
            options.lengths.fixed = (uint32_t)atoi(v);
        else if (!strcmp(o, "--lengths"))
            lengths_read(&options.lengths, v);
        else if (!strcmp(o, "--seconds"))
            options.seconds = atoi(v);
        else {
            fprintf(stderr, "load_mock: unknown option %s\n", o);
            exit(2);
        }
    }
    interval_us = (int64_t)(1e6 / (options.rate > 0 ? options.rate : 1));
}

int main(int argc, char **argv) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int on = 1;
    read_options(argc, argv);
    files_raise();
    at.sin_port = htons((uint16_t)options.port);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4096) ||
        getsockname(listener, (struct sockaddr *)&at, &size)) {
        perror("load_mock");
        return 1;
    }
    epfd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN};
    epoll_ctl(epfd, EPOLL_CTL_ADD, listener, &e);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    run(listener);
    return 0;
}
