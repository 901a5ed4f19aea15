/* What leaves a connection. Bytes go to the kernel with as few calls as possible: an answer at once
 * with one writev(), the pieces of a stream together when the loop has run its events. Only what
 * the kernel does not take waits for the descriptor to become writable. */
#include <errno.h>
#include <stdio.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "net/http_internal.h"

#define KEEP_OUT_BYTES ((size_t)1024) /* what an empty output buffer may keep; streams are many */

size_t conn_pending(const struct conn *c) {
    return c->out.n - c->out_from;
}

static void set_writing(struct conn *c, bool on) {
    if (c->writing == on)
        return;
    c->writing = on;
    if (on)
        event_add(&c->out_event, NULL);
    else
        event_del(&c->out_event);
}

static void set_broken(struct conn *c) {
    c->broken = true;
    conn_touch(c);
}

/* Bytes that were taken, 0 when the kernel takes none now. */
static size_t write_some(struct conn *c, struct iovec *v, int n) {
    ssize_t k;
    do
        k = writev(c->fd, v, n);
    while (k < 0 && errno == EINTR);
    if (k > 0)
        c->active_ns = clock_mono_ns();
    else if (k < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
        set_broken(c);
    return k > 0 ? (size_t)k : 0;
}

static void out_add(struct conn *c, struct str s) {
    if (conn_pending(c) == 0)
        c->active_ns = clock_mono_ns(); /* a stall is counted from here */
    buf_adds(&c->out, s);
    if (buf_err(&c->out))
        set_broken(c);
}

void conn_queue(struct conn *c, struct str s) {
    if (c->broken || c->state == CONN_DEAD)
        return;
    out_add(c, s);
    conn_touch(c);
}

void conn_send(struct conn *c, struct str a, struct str b) {
    if (c->broken || c->state == CONN_DEAD)
        return;
    size_t done = 0;
    if (conn_pending(c) == 0) {
        struct iovec v[2] = {{(void *)a.p, a.n}, {(void *)b.p, b.n}};
        done = write_some(c, v, 2);
    }
    if (done == a.n + b.n || c->broken)
        return;
    size_t of_a = done < a.n ? done : a.n;
    out_add(c, str_sub(a, of_a, a.n));
    out_add(c, str_sub(b, done - of_a, b.n));
    set_writing(c, true);
}

void conn_flush(struct conn *c) {
    while (!c->broken && conn_pending(c)) {
        struct iovec v = {c->out.p + c->out_from, conn_pending(c)};
        size_t n = write_some(c, &v, 1);
        c->out_from += n;
        if (n < v.iov_len)
            break;
    }
    if (c->broken || c->state == CONN_DEAD)
        return;
    set_writing(c, conn_pending(c) > 0);
    if (conn_pending(c) == 0) {
        c->out_from = 0;
        if (c->out.size > KEEP_OUT_BYTES)
            buf_deinit(&c->out);
        else
            buf_clear(&c->out);
    } else if (c->out_from > c->out.n / 2) {
        buf_drop(&c->out, c->out_from);
        c->out_from = 0;
    }
}

/* ---- heads ---- */

static const char *reason(int status) {
    static const struct {
        int status;
        const char *text;
    } table[] = {{200, "OK"},
                 {201, "Created"},
                 {202, "Accepted"},
                 {204, "No Content"},
                 {301, "Moved Permanently"},
                 {302, "Found"},
                 {303, "See Other"},
                 {304, "Not Modified"},
                 {307, "Temporary Redirect"},
                 {308, "Permanent Redirect"},
                 {400, "Bad Request"},
                 {401, "Unauthorized"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {408, "Request Timeout"},
                 {409, "Conflict"},
                 {410, "Gone"},
                 {412, "Precondition Failed"},
                 {413, "Content Too Large"},
                 {415, "Unsupported Media Type"},
                 {416, "Range Not Satisfiable"},
                 {417, "Expectation Failed"},
                 {422, "Unprocessable Content"},
                 {429, "Too Many Requests"},
                 {431, "Request Header Fields Too Large"},
                 {499, "Client Closed Request"},
                 {500, "Internal Server Error"},
                 {501, "Not Implemented"},
                 {502, "Bad Gateway"},
                 {503, "Service Unavailable"},
                 {504, "Gateway Timeout"},
                 {505, "HTTP Version Not Supported"},
                 {507, "Insufficient Storage"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].status == status)
            return table[i].text;
    return "Status";
}

/* IMF-fixdate (RFC 9110, section 5.6.7); strftime would write the names of the locale. */
static const char *date_text(struct http_server *s) {
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int64_t now = clock_wall_ms() / 1000;
    if (now != s->date_s || !s->date[0]) {
        time_t t = (time_t)now;
        struct tm tm;
        gmtime_r(&t, &tm);
        char text[80];
        snprintf(text, sizeof text, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
                 days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon, tm.tm_year + 1900,
                 tm.tm_hour, tm.tm_min, tm.tm_sec);
        snprintf(s->date, sizeof s->date, "%.30s", text);
        s->date_s = now;
    }
    return s->date;
}

static void add_line(struct buf *b, const char *before, const char *text) {
    buf_addz(b, before);
    buf_addz(b, text);
    buf_addz(b, "\r\n");
}

void http_answer_head(struct http_server *s, struct buf *b, const struct http_answer *a) {
    buf_addz(b, "HTTP/1.1 ");
    buf_add_int(b, a->status);
    buf_addc(b, ' ');
    add_line(b, "", reason(a->status));
    add_line(b, "Date: ", date_text(s));
    add_line(b, "x-request-id: ", a->id);
    if (a->content_type)
        add_line(b, "Content-Type: ", a->content_type);
    buf_adds(b, a->headers);
    if (a->chunked)
        buf_addz(b, "Transfer-Encoding: chunked\r\n");
    else if (a->body_n >= 0 && a->status != 204 && a->status != 304) {
        buf_addz(b, "Content-Length: ");
        buf_add_int(b, a->body_n);
        buf_addz(b, "\r\n");
    }
    if (!a->keep_alive)
        buf_addz(b, "Connection: close\r\n");
    else if (a->minor == 0)
        buf_addz(b, "Connection: keep-alive\r\n");
    buf_addz(b, "\r\n");
}

/* ---- answers without a handler ---- */

void conn_refuse(struct conn *c, int status, enum err e, const char *why) {
    struct http_server *s = c->server;
    struct http_request *r = c->req;
    char id[28];
    struct buf head, body;
    buf_init(&head, 4096);
    buf_init(&body, 65536);
    if (r)
        snprintf(id, sizeof id, "%s", r->id);
    else
        request_id_make(id);
    if (s->o.error_body)
        s->o.error_body(&body, e, why, id);
    else
        buf_addf(&body, "%s\n", why);
    struct http_answer a = {
        .status = status,
        .content_type = s->o.error_body ? "application/json" : "text/plain; charset=utf-8",
        .id = id,
        .body_n = (int64_t)body.n,
        .headers = status == 503 ? STR("Retry-After: 1\r\n") : STR_NULL,
    };
    http_answer_head(s, &head, &a);
    conn_send(c, buf_str(&head), r && r->method == HTTP_HEAD ? STR_NULL : buf_str(&body));
    metric_add(M_HTTP_REQUESTS, 1);
    metric_add(M_HTTP_ERRORS, status >= 500);
    conn_answered(c, false);
    buf_deinit(&head);
    buf_deinit(&body);
}
