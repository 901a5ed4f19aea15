/* Server-Sent Events. The parser takes lines straight from the bytes it is fed; only a line that is
 * cut by the end of a piece is copied. What one event holds in memory is bounded by
 * max_event_bytes. */
#include "net/sse.h"

#include <stdlib.h>

/* ---- writing ---- */

static void add_id(struct buf *b, int64_t id) {
    char text[20];
    size_t at = sizeof text;
    uint64_t n = (uint64_t)id;
    do
        text[--at] = (char)('0' + n % 10);
    while (n /= 10);
    buf_adds(b, STR("id: "));
    buf_add(b, text + at, sizeof text - at);
    buf_addc(b, '\n');
}

/* Where the line that starts at `from` ends. */
static size_t line_end_of(struct str s, size_t from) {
    const char *lf = from < s.n ? memchr(s.p + from, '\n', s.n - from) : NULL;
    size_t n = lf ? (size_t)(lf - s.p) : s.n;
    const char *cr = from < n ? memchr(s.p + from, '\r', n - from) : NULL;
    return cr ? (size_t)(cr - s.p) : n;
}

void sse_write(struct buf *b, int64_t id, const char *event, struct str data) {
    if (id >= 0)
        add_id(b, id);
    if (event) {
        buf_adds(b, STR("event: "));
        buf_addz(b, event);
        buf_addc(b, '\n');
    }
    size_t from = 0;
    for (;;) {
        size_t to = line_end_of(data, from);
        buf_adds(b, STR("data: "));
        buf_adds(b, str_sub(data, from, to - from));
        buf_addc(b, '\n');
        if (to >= data.n)
            break;
        from = to + 1;
        if (data.p[to] == '\r' && from < data.n && data.p[from] == '\n')
            from++;
    }
    buf_addc(b, '\n');
}

void sse_write_comment(struct buf *b, const char *text) {
    buf_addf(b, ": %s\n\n", text);
}

/* ---- parsing ---- */

struct sse_parser {
    size_t max;
    struct buf line;  /* the start of a line whose end has not come yet */
    struct buf data;  /* the event's data lines, each followed by LF */
    struct buf event; /* the event's type */
    struct buf id;    /* the last id, which outlives its event */
    bool has_id;
    bool skip_lf; /* the last byte was CR: an LF that follows belongs to it */
    void (*on_comment)(struct str text, void *ctx); /* may be NULL */
    bool started;                                   /* the place of a byte order mark is past */
};

struct sse_parser *sse_parser_new(size_t max_event_bytes) {
    struct sse_parser *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->max = max_event_bytes;
    buf_init(&p->line, max_event_bytes);
    buf_init(&p->data, max_event_bytes);
    buf_init(&p->event, max_event_bytes);
    buf_init(&p->id, max_event_bytes);
    return p;
}

void sse_parser_on_comment(struct sse_parser *p, void (*fn)(struct str text, void *ctx)) {
    p->on_comment = fn;
}

void sse_parser_free(struct sse_parser *p) {
    if (!p)
        return;
    buf_deinit(&p->line);
    buf_deinit(&p->data);
    buf_deinit(&p->event);
    buf_deinit(&p->id);
    free(p);
}

static enum err dispatch(struct sse_parser *p, sse_fn fn, void *ctx) {
    bool go_on = true;
    if (p->data.n) {
        struct sse_event e = {
            .event = p->event.n ? buf_str(&p->event) : STR("message"),
            .data = {p->data.p, p->data.n - 1},
            .id = p->has_id ? buf_str(&p->id) : STR_NULL,
        };
        go_on = fn(&e, ctx);
    }
    buf_clear(&p->data);
    buf_clear(&p->event);
    return go_on ? ERR_OK : ERR_CANCELLED;
}

static enum err field(struct sse_parser *p, struct str line, sse_fn fn, void *ctx) {
    if (line.n == 0)
        return dispatch(p, fn, ctx);
    struct str value = line;
    struct str name = str_cut(&value, ':'); /* a comment has the empty name */
    if (value.n && value.p[0] == ' ')
        value = str_sub(value, 1, value.n);
    if (name.n == 0 && p->on_comment)
        p->on_comment(value, ctx);
    if (str_eq(name, STR("data"))) {
        buf_adds(&p->data, value);
        buf_addc(&p->data, '\n');
        return buf_err(&p->data);
    }
    if (str_eq(name, STR("event"))) {
        buf_clear(&p->event);
        buf_adds(&p->event, value);
        return buf_err(&p->event);
    }
    if (str_eq(name, STR("id")) && !(value.n && memchr(value.p, 0, value.n))) {
        buf_clear(&p->id);
        buf_adds(&p->id, value);
        p->has_id = true;
        return buf_err(&p->id);
    }
    return ERR_OK; /* "retry" and unknown fields */
}

static enum err line_end(struct sse_parser *p, struct str rest, sse_fn fn, void *ctx) {
    struct str line = rest;
    if (p->line.n) {
        buf_adds(&p->line, rest);
        if (buf_err(&p->line))
            return buf_err(&p->line);
        line = buf_str(&p->line);
    }
    if (line.n > p->max)
        return ERR_TOO_LARGE;
    if (!p->started) {
        p->started = true;
        if (str_starts(line, STR("\xef\xbb\xbf")))
            line = str_sub(line, 3, line.n);
    }
    enum err e = field(p, line, fn, ctx);
    buf_clear(&p->line);
    return e;
}

enum err sse_parser_feed(struct sse_parser *p, struct str bytes, sse_fn fn, void *ctx) {
    size_t from = 0;
    while (from < bytes.n) {
        if (p->skip_lf) {
            p->skip_lf = false;
            if (bytes.p[from] == '\n') {
                from++;
                continue;
            }
        }
        size_t to = line_end_of(bytes, from);
        if (to == bytes.n) {
            buf_add(&p->line, bytes.p + from, to - from);
            return buf_err(&p->line);
        }
        p->skip_lf = bytes.p[to] == '\r';
        enum err e = line_end(p, str_sub(bytes, from, to - from), fn, ctx);
        if (e)
            return e;
        from = to + 1;
    }
    return ERR_OK;
}
