/* Users in a closed loop: each asks, reads the streamed answer to its end, thinks, asks again.
 *
 *   load_users --port N [--users 100] [--seconds 60] [--think-ms 30000] [--credentials FILE]
 *              [--api native|openai] [--model NAME] [--tokens 150 | --lengths FILE] [--log FILE]
 *              [--plain yes] [--requests N] [--turns N] [--settle-seconds N] [--again yes]
 *              [--begin-ms N]
 *
 * native: Parley's own API with session cookies, one conversation for each user; openai: chat
 * completions, with API keys when credentials are given. FILE has one credential a line. --plain
 * asks for answers that are not streamed; --requests ends each user after so many; after --turns
 * questions a new conversation is begun. --again: as browsers do, a request whose kept connection
 * ends before a byte of the answer came is sent once more, with the same Idempotency-Key. The first
 * question comes after a think time, so that there are never more of them than later on, or at a
 * random moment of --begin-ms; times count from --settle-seconds on, and in the histograms "…_all"
 * from the beginning. Every answer is compared with the one that
 * the mock gives (load.h); --log writes "message_id crc32" of each whole answer.
 *
 * Prints one JSON object with what was seen. One thread, epoll; think times in a heap. */
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

#define LINE_MAX_BYTES (1u << 20)
#define GIVE_UP_US     60000000
#define TOLD_MAX       20

static struct {
    int port, users, seconds, think_ms, begin_ms, settle_seconds;
    long requests, turns;
    bool native, plain, again;
    const char *credentials, *log, *model;
    struct lengths lengths;
} options = {
    .users = 100, .seconds = 60, .think_ms = 30000, .model = "mock", .lengths = {.fixed = 150}};

enum state { THINKING, STARTING_CONVERSATION, ASKING };

struct user {
    int fd, id;
    enum state state;
    const char *credential;
    char conversation[37];
    char message[37];
    uint32_t asked; /* questions so far */
    char question_text[160];
    uint64_t question;
    bool kept; /* the request went out on a connection that was used before */
    struct due due;
    int64_t sent_us, last_us; /* last_us: the last content */
    uint64_t random;
    /* the answer */
    char *line; /* bytes of the body that do not make a whole line yet, or of the head */
    size_t line_n, line_size;
    bool in_head, chunked, skip_line;
    int status;
    size_t left;     /* of the body or the current chunk */
    int chunk_state; /* 0 size line, 1 data, 2 its CRLF */
    bool ended;      /* done was seen */
    size_t text_n;   /* bytes of the answer */
    bool text_wrong;
    uint32_t crc;
    char event[16];
};

static struct {
    struct histogram ttft, gap, whole;
    struct histogram ttft_all, gap_all; /* with the time before settle_us */
    long answers, refused, broken, wrong, failed_status, events, conversations, sent_again;
    long statuses[600];
} seen;

static int epfd;
static struct due_heap heap; /* of users */
static int64_t stop_us, settle_us;
static FILE *log_file;
static int open_answers, most_open;

/* ---- asking ---- */

static double uniform(struct user *u) {
    u->random ^= u->random << 13, u->random ^= u->random >> 7, u->random ^= u->random << 17;
    return (double)(u->random >> 11) / 9007199254740992.0;
}

static int64_t think_us(struct user *u) {
    return options.think_ms ? (int64_t)(-log(1 - uniform(u)) * options.think_ms * 1000) : 0;
}

static void think(struct user *u) {
    u->state = THINKING;
    if (!options.requests || u->asked < (uint32_t)options.requests)
        due_set(&heap, &u->due, now_us() + think_us(u));
}

static void hang_up(struct user *u) {
    if (u->fd >= 0)
        close(u->fd);
    u->fd = -1;
    if (u->state == ASKING)
        open_answers--;
}

static void tell(const struct user *u, const char *what);

static void broken(struct user *u) {
    tell(u, u->state == ASKING ? "broken" : "broken, no conversation");
    seen.broken++;
    hang_up(u);
    think(u);
}

/* As HTTP clients do before they use a kept connection again: has the server closed it meanwhile?
 */
static bool was_closed(const struct user *u) {
    char c;
    ssize_t n = recv(u->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN);
}

static bool dial(struct user *u) {
    int on = 1;
    u->kept = u->fd >= 0 && !was_closed(u);
    if (u->kept)
        return true;
    if (u->fd >= 0)
        close(u->fd);
    u->fd = dial_local(options.port);
    if (u->fd < 0)
        return false;
    setsockopt(u->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = u};
    epoll_ctl(epfd, EPOLL_CTL_ADD, u->fd, &e);
    return true;
}

static bool post(struct user *u, const char *path, const char *accept, const char *body) {
    char text[4096], who[256] = "", key[64] = "";
    if (u->credential && options.native)
        snprintf(who, sizeof who, "Cookie: parley_session=%s\r\n", u->credential);
    else if (u->credential)
        snprintf(who, sizeof who, "Authorization: Bearer %s\r\n", u->credential);
    if (options.again)
        snprintf(key, sizeof key, "Idempotency-Key: desk-%d-%u-%d\r\n", u->id, u->asked, u->state);
    int n = snprintf(text, sizeof text,
                     "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s%sContent-Type: "
                     "application/json\r\nAccept: %s\r\n"
                     "Content-Length: %zu\r\n\r\n%s",
                     path, options.port, who, key, accept, strlen(body), body);
    u->in_head = true;
    u->line_n = 0;
    u->chunked = u->ended = u->text_wrong = u->skip_line = false;
    u->text_n = 0;
    u->crc = 0;
    u->chunk_state = 0;
    u->event[0] = u->message[0] = 0;
    return dial(u) && send(u->fd, text, (size_t)n, MSG_NOSIGNAL) == n;
}

static bool post_question(struct user *u) {
    char body[1024], path[128];
    const char *accept = options.plain ? "application/json" : "text/event-stream";
    if (options.native) {
        snprintf(path, sizeof path, "/api/v1/conversations/%s/messages", u->conversation);
        snprintf(body, sizeof body, "{\"content\":\"%s\"}", u->question_text);
    } else {
        snprintf(path, sizeof path, "/v1/chat/completions");
        snprintf(body, sizeof body,
                 "{\"model\":\"%s\",\"stream\":%s,\"messages\":[{\"role\":\"system\",\"content\":"
                 "\"You are a helpful assistant.\"},"
                 "{\"role\":\"user\",\"content\":\"%s\"}]}",
                 options.model, options.plain ? "false" : "true", u->question_text);
    }
    return post(u, path, accept, body);
}

static bool post_now(struct user *u) {
    return u->state == ASKING ? post_question(u)
                              : post(u, "/api/v1/conversations", "application/json", "{}");
}

/* The connection is gone. True: the request went out on another one. */
static bool send_again(struct user *u) {
    if (!options.again || !u->kept || !u->in_head || u->line_n)
        return false;
    seen.sent_again++;
    close(u->fd);
    u->fd = -1;
    return post_now(u);
}

static void send_request(struct user *u) {
    if (post_now(u) || send_again(u))
        due_set(&heap, &u->due, now_us() + GIVE_UP_US);
    else
        broken(u);
}

static void ask(struct user *u) {
    /* The classifier takes one in 5,000 of "what should I know about item 13 of user 9" for what it
     * is not; this is about load. */
    int n = snprintf(u->question_text, sizeof u->question_text,
                     "Request %u by desk %d: what does the manual say about part number %llu?",
                     u->asked++, u->id, (unsigned long long)(u->random % 100000));
    u->question = text_hash(u->question_text, (size_t)n);
    u->state = ASKING;
    open_answers++;
    if (open_answers > most_open)
        most_open = open_answers;
    u->sent_us = now_us();
    u->last_us = 0;
    send_request(u);
}

/* Clients do not trust a connection that was idle for long: the server may be closing it while they
 * send. Browsers send such a request again; most libraries open a new connection, after less than
 * this. Parley closes after 75 s. */
#define IDLE_MAX_US 60000000

static void begin(struct user *u) {
    if (u->fd >= 0 && now_us() - u->last_us > IDLE_MAX_US)
        hang_up(u);
    if (options.turns && u->asked && u->asked % (uint32_t)options.turns == 0)
        u->conversation[0] = 0;
    if (!options.native || u->conversation[0]) {
        ask(u);
        return;
    }
    u->state = STARTING_CONVERSATION;
    send_request(u);
}

/* ---- reading ---- */

static void take_text(struct user *u, const char *p, size_t n) {
    int64_t now = now_us();
    int64_t since = now - (u->last_us ? u->last_us : u->sent_us);
    histogram_add(u->last_us ? &seen.gap_all : &seen.ttft_all, since);
    if (now - since >= settle_us)
        histogram_add(u->last_us ? &seen.gap : &seen.ttft, since);
    u->last_us = now;
    seen.events++;
    u->crc = crc32_add(u->crc, p, n);
    for (size_t i = 0; i < n; i++, u->text_n++) {
        char token[TOKEN_BYTES];
        answer_token(u->question, (uint32_t)(u->text_n / TOKEN_BYTES), token);
        if (token[u->text_n % TOKEN_BYTES] != p[i])
            u->text_wrong = true;
    }
}

/* The value of a string field of a JSON line; the mock's texts need no escapes. */
static const char *field(const char *line, const char *name, size_t *ret_n) {
    const char *at = strstr(line, name);
    if (!at)
        return NULL;
    at += strlen(name);
    const char *end = strchr(at, '"');
    if (!end)
        return NULL;
    *ret_n = (size_t)(end - at);
    return at;
}

static void copy_id(char out[37], const char *line, const char *name) {
    size_t n;
    const char *p = field(line, name, &n);
    if (p && n == 36)
        memcpy(out, p, 36), out[36] = 0;
}

static void take_line(struct user *u, const char *line) {
    size_t n;
    if (u->state == STARTING_CONVERSATION) {
        copy_id(u->conversation, line, "\"conversation_id\":\"");
        return;
    }
    if (options.plain) {
        const char *p = options.native ? strstr(line, "\"message\":{") : line;
        if (p && (p = field(p, "\"content\":\"", &n)))
            take_text(u, p, n), u->ended = true;
        return;
    }
    if (strncmp(line, "event: ", 7) == 0) {
        snprintf(u->event, sizeof u->event, "%s", line + 7);
        return;
    }
    if (strncmp(line, "data: ", 6) != 0)
        return;
    const char *p;
    if (!options.native) {
        if (strcmp(line + 6, "[DONE]") == 0)
            u->ended = true;
        else if ((p = field(line, "\"content\":\"", &n)) && n)
            take_text(u, p, n);
    } else if (strcmp(u->event, "token") == 0 && (p = field(line, "\"text\":\"", &n))) {
        take_text(u, p, n);
    } else if (strcmp(u->event, "created") == 0) {
        const char *answer = strstr(line, ",\"message\":{");
        copy_id(u->message, answer ? answer : line, "\"message_id\":\"");
    } else if (strcmp(u->event, "done") == 0) {
        u->ended = true;
    }
}

/* The first few are told in full: they are not meant to happen. */
static void tell(const struct user *u, const char *what) {
    static int told;
    if (told++ < TOLD_MAX)
        fprintf(
            stderr,
            "load_users: %s: user %d, question %u, message %s, status %d, %zu bytes of %zu, %s, "
            "last event \"%s\", after %lld ms\n",
            what, u->id, u->asked, u->message[0] ? u->message : "-", u->status, u->text_n,
            (size_t)answer_length(&options.lengths, u->question) * TOKEN_BYTES,
            u->text_wrong ? "other ones" : "the right ones", u->event,
            (long long)(now_us() - u->sent_us) / 1000);
}

static void answered(struct user *u) {
    enum state was = u->state;
    due_remove(&heap, &u->due);
    if (u->status >= 0 && u->status < 600)
        seen.statuses[u->status]++;
    if (was == STARTING_CONVERSATION) {
        if (u->conversation[0])
            seen.conversations++, ask(u);
        else
            tell(u, "no conversation"), seen.failed_status++, think(u);
        return;
    }
    open_answers--;
    if (u->status == 429 || u->status == 503)
        tell(u, "refused"), seen.refused++;
    else if (u->status < 200 || u->status > 299)
        tell(u, "failed"), seen.failed_status++;
    else if (!u->ended || u->text_wrong ||
             u->text_n != (size_t)answer_length(&options.lengths, u->question) * TOKEN_BYTES)
        tell(u, "another answer"), seen.wrong++;
    else {
        seen.answers++;
        histogram_add(&seen.whole, now_us() - u->sent_us);
        if (log_file && u->message[0])
            fprintf(log_file, "%s %08x\n", u->message, u->crc);
    }
    think(u);
}

static void keep(struct user *u, const char *p, size_t n) {
    if (u->line_n + n + 1 > LINE_MAX_BYTES)
        n = 0;
    if (u->line_n + n + 1 > u->line_size) {
        u->line = realloc(u->line, u->line_size = u->line_n + n + 512);
        if (!u->line)
            abort();
    }
    memcpy(u->line + u->line_n, p, n);
    u->line_n += n;
    u->line[u->line_n] = 0;
}

static void take_body(struct user *u, const char *p, size_t n) {
    while (n) {
        const char *end = memchr(p, '\n', n);
        keep(u, p, end ? (size_t)(end - p) : n);
        if (!end)
            return;
        if (u->line_n && u->line[u->line_n - 1] == '\r')
            u->line[--u->line_n] = 0;
        take_line(u, u->line);
        u->line_n = 0;
        n -= (size_t)(end + 1 - p);
        p = end + 1;
    }
}

static void end_body(struct user *u) {
    if (u->line_n)
        take_line(u, u->line);
    u->line_n = 0;
    answered(u);
}

/* Returns how many bytes were the head's; 0: not whole yet. */
static size_t take_head(struct user *u, const char *p, size_t n) {
    size_t before = u->line_n;
    keep(u, p, n);
    char *end = strstr(u->line, "\r\n\r\n");
    if (!end)
        return 0;
    size_t head = (size_t)(end - u->line) + 4, used = head - before;
    *end = 0;
    u->status = atoi(u->line + 9);
    u->chunked = strcasestr(u->line, "\r\ntransfer-encoding: chunked") != NULL;
    char *length = strcasestr(u->line, "\r\ncontent-length:");
    u->left = length ? strtoul(length + 17, NULL, 10) : 0;
    u->in_head = false;
    u->line_n = 0;
    return used;
}

/* False: the answer is over. */
static bool take_chunked(struct user *u, const char **p, size_t *n) {
    static const char *const crlf = "\r\n";
    if (u->chunk_state == 1) {
        size_t take = *n < u->left ? *n : u->left;
        take_body(u, *p, take);
        *p += take, *n -= take;
        if (!(u->left -= take))
            u->chunk_state = 2, u->left = 2;
        return true;
    }
    char c = **p;
    ++*p, --*n;
    if (u->chunk_state == 2) {
        if (!--u->left)
            u->chunk_state = 0, u->left = 0;
        return true;
    }
    if (u->chunk_state == 3) /* the last CRLF */
        return c != crlf[1];
    if (c == '\n') {
        u->chunk_state = u->left ? 1 : 3;
    } else if (c != '\r') {
        unsigned digit = c >= 'a'   ? (unsigned)c - 'a' + 10
                         : c >= 'A' ? (unsigned)c - 'A' + 10
                                    : (unsigned)c - '0';
        u->left = u->left * 16 + (digit & 15);
    }
    return true;
}

static void take(struct user *u, const char *p, size_t n) {
    while (n && u->state != THINKING) {
        if (u->in_head) {
            size_t used = take_head(u, p, n);
            if (!used)
                return;
            p += used, n -= used;
            if (u->chunked)
                u->left = 0;
            else if (!u->left) {
                end_body(u);
                return;
            }
        } else if (u->chunked) {
            if (!take_chunked(u, &p, &n)) {
                end_body(u);
                return;
            }
        } else {
            size_t part = n < u->left ? n : u->left;
            take_body(u, p, part);
            p += part, n -= part;
            if (!(u->left -= part)) {
                end_body(u);
                return;
            }
        }
    }
}

static void readable(struct user *u) {
    char buffer[16384];
    if (u->fd < 0)
        return;
    ssize_t n = recv(u->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n > 0)
        take(u, buffer, (size_t)n);
    else if (n == 0 || errno != EAGAIN) {
        if (u->state == THINKING)
            hang_up(u); /* an idle connection that the server closed */
        else if (!send_again(u))
            broken(u);
    }
}

/* ---- the run ---- */

static void due(struct user *u) {
    due_remove(&heap, &u->due);
    if (u->state == THINKING)
        begin(u);
    else
        broken(u);
}

/* At the end running answers are read to their end, nobody asks anew. */
static void run(void) {
    static struct epoll_event events[1024];
    int64_t end = stop_us + GIVE_UP_US;
    for (;;) {
        int64_t now = now_us();
        if (now >= end || (now >= stop_us && !open_answers) || (!heap.n && !open_answers))
            return;
        for (struct due *d; (d = due_first(&heap)) && d->at <= now;) {
            struct user *u = DUE_OF(d, struct user, due);
            if (now >= stop_us && u->state == THINKING)
                due_remove(&heap, &u->due);
            else
                due(u);
        }
        int64_t left = heap.n ? due_first(&heap)->at - now_us() : 10000;
        left = left > 10000 ? 10000 : left;
        int n = epoll_wait(epfd, events, 1024, left <= 0 ? 0 : (int)((left + 999) / 1000));
        for (int i = 0; i < n; i++)
            readable(events[i].data.ptr);
    }
}

static void print_histogram(const char *name, const struct histogram *h) {
    printf("\"%s\":{\"n\":%llu,\"p50\":%.3f,\"p99\":%.3f,\"p999\":%.3f,\"max\":%.3f},", name,
           (unsigned long long)h->n, histogram_ms(h, .5), histogram_ms(h, .99),
           histogram_ms(h, .999), (double)h->most / 1000);
}

static char **read_credentials(void) {
    char **list = calloc((size_t)options.users, sizeof *list), line[300];
    FILE *f = options.credentials ? fopen(options.credentials, "r") : NULL;
    if (!list || (options.credentials && !f)) {
        perror("load_users: credentials");
        exit(2);
    }
    for (int i = 0; f && i < options.users && fgets(line, sizeof line, f); i++) {
        line[strcspn(line, "\r\n")] = 0;
        list[i] = strdup(line);
    }
    if (f)
        fclose(f);
    return list;
}

static void read_options(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *o = argv[i], *v = argv[i + 1];
        if (!strcmp(o, "--port"))
            options.port = atoi(v);
        else if (!strcmp(o, "--users"))
            options.users = atoi(v);
        else if (!strcmp(o, "--seconds"))
            options.seconds = atoi(v);
        else if (!strcmp(o, "--settle-seconds"))
            options.settle_seconds = atoi(v);
        else if (!strcmp(o, "--think-ms"))
            options.think_ms = atoi(v);
        else if (!strcmp(o, "--begin-ms"))
            options.begin_ms = atoi(v);
        else if (!strcmp(o, "--requests"))
            options.requests = atol(v);
        else if (!strcmp(o, "--turns"))
            options.turns = atol(v);
        else if (!strcmp(o, "--credentials"))
            options.credentials = v;
        else if (!strcmp(o, "--model"))
            options.model = v;
        else if (!strcmp(o, "--log"))
            options.log = v;
        else if (!strcmp(o, "--api"))
            options.native = strcmp(v, "native") == 0;
        else if (!strcmp(o, "--plain"))
            options.plain = strcmp(v, "yes") == 0;
        else if (!strcmp(o, "--again"))
            options.again = strcmp(v, "yes") == 0;
        else if (!strcmp(o, "--tokens"))
            options.lengths.fixed = (uint32_t)atoi(v);
        else if (!strcmp(o, "--lengths"))
            lengths_read(&options.lengths, v);
        else {
            fprintf(stderr, "load_users: unknown option %s\n", o);
            exit(2);
        }
    }
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    files_raise();
    char **credentials = read_credentials();
    struct user *users = calloc((size_t)options.users, sizeof *users);
    epfd = epoll_create1(EPOLL_CLOEXEC);
    if (options.log && !(log_file = fopen(options.log, "w"))) {
        perror(options.log);
        return 2;
    }
    int64_t start = now_us();
    stop_us = start + (int64_t)options.seconds * 1000000;
    settle_us = start + (int64_t)options.settle_seconds * 1000000;
    for (int i = 0; i < options.users; i++) {
        struct user *u = &users[i];
        u->fd = -1;
        u->id = i;
        u->credential = credentials[i];
        u->random = 0x9e3779b97f4a7c15u * (uint64_t)(i + 1);
        due_set(&heap, &u->due,
                start + (options.begin_ms ? (int64_t)(uniform(u) * options.begin_ms * 1000)
                                          : think_us(u)));
    }
    run();
    double took = (double)(now_us() - start) / 1e6;
    printf("{");
    print_histogram("ttft_ms", &seen.ttft);
    print_histogram("gap_ms", &seen.gap);
    print_histogram("ttft_all_ms", &seen.ttft_all);
    print_histogram("gap_all_ms", &seen.gap_all);
    print_histogram("whole_ms", &seen.whole);
    printf("\"answers\":%ld,\"refused\":%ld,\"broken\":%ld,\"wrong\":%ld,\"failed_status\":%ld,"
           "\"events\":%ld,\"sent_again\":%ld,"
           "\"unfinished\":%d,\"most_open\":%d,\"seconds\":%.1f,\"answers_per_s\":%.1f}\n",
           seen.answers, seen.refused, seen.broken, seen.wrong, seen.failed_status, seen.events,
           seen.sent_again, open_answers, most_open, took, (double)seen.answers / took);
    if (log_file)
        fclose(log_file);
    return 0;
}
