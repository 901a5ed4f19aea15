/* The form of the answer is told by its first byte that is no white space: '{' is one JSON object,
 * all else Server-Sent Events. Content types are not asked: some servers send none or a wrong one.
 */
#include "upstream/chat_stream.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/sse.h"
#include "upstream/upstream_internal.h"

#define EVENT_MAX ((size_t)4 << 20)
#define TEXT_MAX  ((size_t)16 << 20) /* more than any model answers: a server gone wild */
#define FRAME_MAX 1024

struct chat_stream {
    void (*on_text)(void *ctx, struct str text);
    void (*on_queued)(void *ctx, int position); /* may be NULL */
    void *ctx;
    enum { FORM_UNKNOWN, FORM_EVENTS, FORM_WHOLE } form;
    struct sse_parser *events;
    struct buf whole;
    struct buf text; /* what one call of chat_stream_feed() brought, cleaned */
    char cut[4];     /* the start of a character whose rest is still to come */
    size_t n_cut;
    struct buf frame;              /* a chunk without its text; what is like it needs no parsing */
    size_t frame_head, frame_tail; /* its bytes before and behind the text; 0 = there is none */
    size_t total;                  /* bytes of text so far */
    bool done;
    char finish_reason[32];
    int prompt_tokens, completion_tokens;
    enum err err;
    struct errinfo ei;
};

static void on_comment(struct str text, void *ctx) {
    struct chat_stream *s = ctx;
    struct str rest = text;
    yyjson_doc *doc;
    if (!s->on_queued || !str_eq(str_cut(&rest, ' '), STR("queued")) ||
        json_parse(rest, &doc, NULL))
        return;
    int64_t n = json_get_int(yyjson_doc_get_root(doc), "position", -1);
    yyjson_doc_free(doc);
    if (n >= 0 && n <= INT_MAX)
        s->on_queued(s->ctx, (int)n);
}

void chat_stream_on_queued(struct chat_stream *s, void (*fn)(void *ctx, int position)) {
    s->on_queued = fn;
}

struct chat_stream *chat_stream_new(void (*on_text)(void *ctx, struct str text), void *ctx) {
    struct chat_stream *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->on_text = on_text;
    s->ctx = ctx;
    s->prompt_tokens = s->completion_tokens = -1;
    buf_init(&s->whole, UPSTREAM_BODY_MAX);
    buf_init(&s->text, EVENT_MAX * 3);
    buf_init(&s->frame, FRAME_MAX);
    s->events = sse_parser_new(EVENT_MAX);
    if (!s->events) {
        free(s);
        return NULL;
    }
    sse_parser_on_comment(s->events, on_comment);
    return s;
}

void chat_stream_free(struct chat_stream *s) {
    if (!s)
        return;
    sse_parser_free(s->events);
    buf_deinit(&s->whole);
    buf_deinit(&s->text);
    buf_deinit(&s->frame);
    free(s);
}

static enum err fail(struct chat_stream *s, enum err e, const char *text) {
    if (!s->err)
        s->err = err_set(&s->ei, e, "%s", text);
    return s->err;
}

/* ---- text ---- */

/* The length of the valid sequence that p starts with, or 0. */
static size_t sequence(const char *p, size_t n) {
    for (size_t len = 1; len <= 4 && len <= n; len++)
        if (utf8_valid((struct str){p, len}))
            return len;
    return 0;
}

/* Appends s to b with a replacement character for each NUL and each byte that is no UTF-8. */
static void add_clean(struct buf *b, struct str s) {
    if (utf8_valid(s) && !memchr(s.p, 0, s.n)) {
        buf_adds(b, s);
        return;
    }
    for (size_t i = 0; i < s.n;) {
        size_t n = s.p[i] ? sequence(s.p + i, s.n - i) : 0;
        if (n)
            buf_add(b, s.p + i, n);
        else
            buf_addz(b, "\xEF\xBF\xBD");
        i += n ? n : 1;
    }
}

/* Joins what the last piece left open with this one and keeps the whole characters. */
static void add_text(struct chat_stream *s, struct str piece, bool last) {
    struct buf joined;
    buf_init(&joined, EVENT_MAX + sizeof s->cut);
    if (s->n_cut) {
        buf_add(&joined, s->cut, s->n_cut);
        buf_adds(&joined, piece);
        piece = buf_str(&joined);
        s->n_cut = 0;
    }
    size_t whole = last || piece.n == 0 ? piece.n : utf8_complete(piece), before = s->text.n;
    if (whole)
        add_clean(&s->text, str_sub(piece, 0, whole));
    if (piece.n > whole) {
        s->n_cut = piece.n - whole;
        memcpy(s->cut, piece.p + whole, s->n_cut);
    }
    enum err e = buf_err(&joined) ? buf_err(&joined) : buf_err(&s->text);
    buf_deinit(&joined);
    s->total += s->text.n - before;
    if (e)
        fail(s, e, err_text(e));
    else if (s->total > TEXT_MAX)
        fail(s, ERR_UPSTREAM, "the model server's answer is too large");
}

/* Hands over what has gathered. */
static void give_text(struct chat_stream *s) {
    if (s->text.n && !buf_err(&s->text))
        s->on_text(s->ctx, buf_str(&s->text));
    buf_clear(&s->text);
}

/* "content" is a string, null, or (newer APIs) a list of {"type":"text","text":…}. */
static void take_content(struct chat_stream *s, const json_val *content) {
    if (yyjson_is_str((json_val *)content)) {
        add_text(s, json_str(content), false);
        return;
    }
    size_t i, n;
    yyjson_val *part;
    if (yyjson_is_arr((json_val *)content))
        yyjson_arr_foreach((json_val *)content, i, n, part) {
            struct str text = json_get_str(part, "text");
            if (text.n && !s->err)
                add_text(s, text, false);
        }
}

/* ---- chunks ---- */

static int count_of(const json_val *usage, const char *key, int old) {
    int64_t n = json_get_int(usage, key, -1);
    return n >= 0 && n <= INT_MAX ? (int)n : old;
}

static void take_object(struct chat_stream *s, const json_val *root) {
    json_val *error = json_get(root, "error");
    if (error && !yyjson_is_null(error)) {
        s->err = upstream_error_value(500, error, -1, &s->ei);
        return;
    }
    json_val *choice = yyjson_arr_get_first(json_get(root, "choices"));
    json_val *delta = json_get(choice, "delta");
    if (!delta)
        delta = json_get(choice, "message");
    take_content(s, json_get(delta, "content"));
    struct str reason = json_get_str(choice, "finish_reason");
    if (reason.n) {
        char *out = s->finish_reason;
        size_t n = utf8_cut(reason, sizeof s->finish_reason - 1);
        memcpy(out, reason.p, n);
        out[n] = 0;
        if (!utf8_valid(str_sub(reason, 0, n)) || memchr(out, 0, n))
            snprintf(out, sizeof s->finish_reason, "unknown");
    }
    json_val *usage = json_get(root, "usage");
    s->prompt_tokens = count_of(usage, "prompt_tokens", s->prompt_tokens);
    s->completion_tokens = count_of(usage, "completion_tokens", s->completion_tokens);
}

/* Chunks of an answer differ in their text alone. Once one was parsed, what stands around its text
 * is kept, and a chunk with the same bytes there is the same object: its text is taken as it
 * stands when no sign in it means anything to JSON. `"content":"` occurs once in the frame, behind
 * a bracket or comma, where no string can hold it. */
static void keep_frame(struct chat_stream *s, struct str chunk, const json_val *root) {
    const struct str key = STR("\"content\":\"");
    const json_val *choice = yyjson_arr_get_first(json_get(root, "choices"));
    json_val *content = json_get(json_get(choice, "delta"), "content");
    struct str text = json_str(content);
    size_t at = str_find(chunk, key);
    s->frame_head = s->frame_tail = 0;
    if (!yyjson_is_str(content) || at == SIZE_MAX || at == 0 || chunk.n - text.n > FRAME_MAX)
        return;
    size_t head = at + key.n;
    struct str tail = str_sub(chunk, head + text.n, SIZE_MAX);
    bool bare = (chunk.p[at - 1] == '{' || chunk.p[at - 1] == ',') && tail.n && tail.p[0] == '"' &&
                str_eq(str_sub(chunk, head, text.n), text) && str_find(tail, key) == SIZE_MAX;
    if (!bare || json_get_str(choice, "finish_reason").n || json_get(root, "error") ||
        yyjson_is_obj(json_get(root, "usage")))
        return;
    buf_clear(&s->frame);
    buf_add(&s->frame, chunk.p, head);
    buf_adds(&s->frame, tail);
    if (buf_err(&s->frame))
        return;
    s->frame_head = head;
    s->frame_tail = tail.n;
}

static bool in_frame(struct chat_stream *s, struct str chunk) {
    size_t around = s->frame_head + s->frame_tail;
    if (!around || chunk.n < around || memcmp(chunk.p, s->frame.p, s->frame_head) != 0 ||
        memcmp(chunk.p + chunk.n - s->frame_tail, s->frame.p + s->frame_head, s->frame_tail) != 0)
        return false;
    struct str text = {chunk.p + s->frame_head, chunk.n - around};
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] == '"' || text.p[i] == '\\' || (unsigned char)text.p[i] < ' ')
            return false;
    add_text(s, text, false);
    return true;
}

/* Servers that cut a character in two send bytes that are no UTF-8 inside the strings: these are
 * let through here, to be joined. */
static void take_json(struct chat_stream *s, struct str text) {
    yyjson_read_err e;
    if (in_frame(s, text))
        return;
    yyjson_doc *doc =
        yyjson_read_opts((char *)text.p, text.n, YYJSON_READ_ALLOW_INVALID_UNICODE, NULL, &e);
    if (!doc || !yyjson_is_obj(yyjson_doc_get_root(doc))) {
        fail(s, ERR_UPSTREAM, "the model server sent what is no chat answer");
    } else {
        take_object(s, yyjson_doc_get_root(doc));
        keep_frame(s, text, yyjson_doc_get_root(doc));
    }
    yyjson_doc_free(doc);
}

static bool on_event(const struct sse_event *event, void *ctx) {
    struct chat_stream *s = ctx;
    struct str data = str_trim(event->data);
    if (str_eqz(data, "[DONE]"))
        s->done = true;
    else if (data.n)
        take_json(s, data);
    return !s->done && !s->err;
}

/* ---- feeding ---- */

static void feed(struct chat_stream *s, struct str bytes) {
    if (s->form == FORM_UNKNOWN) {
        while (bytes.n && (*bytes.p == ' ' || *bytes.p == '\n' || *bytes.p == '\r'))
            bytes = str_sub(bytes, 1, SIZE_MAX);
        if (bytes.n == 0)
            return;
        s->form = *bytes.p == '{' ? FORM_WHOLE : FORM_EVENTS;
    }
    if (s->form == FORM_WHOLE) {
        buf_adds(&s->whole, bytes);
        if (buf_err(&s->whole))
            fail(s, ERR_UPSTREAM, "the model server's answer is too large");
        return;
    }
    enum err e = sse_parser_feed(s->events, bytes, on_event, s);
    if (e == ERR_TOO_LARGE)
        fail(s, ERR_UPSTREAM, "the model server's answer is too large");
    else if (e && e != ERR_CANCELLED)
        fail(s, e, err_text(e));
}

enum err chat_stream_feed(struct chat_stream *s, struct str bytes, struct errinfo *ei) {
    if (!s->err && !s->done)
        feed(s, bytes);
    give_text(s);
    if (s->err && ei)
        *ei = s->ei;
    return s->err;
}

enum err chat_stream_end(struct chat_stream *s, struct errinfo *ei) {
    if (!s->err && s->form == FORM_EVENTS && !s->done)
        feed(s, STR("\n\n")); /* a last event that lacks its blank line */
    if (!s->err && s->form == FORM_WHOLE && !s->done)
        take_json(s, buf_str(&s->whole));
    if (!s->err && s->n_cut)
        add_text(s, STR_NULL, true);
    give_text(s);
    if (!s->err && !s->done && !s->finish_reason[0])
        fail(s, ERR_UPSTREAM, "the model server broke off in the middle of the answer");
    if (s->err && ei)
        *ei = s->ei;
    return s->err;
}

bool chat_stream_is_done(const struct chat_stream *s) {
    return s->done;
}

bool chat_stream_is_whole(const struct chat_stream *s) {
    return !s->err && (s->done || s->finish_reason[0]);
}

struct str chat_stream_finish_reason(const struct chat_stream *s) {
    return s->finish_reason[0] ? str_from(s->finish_reason) : STR("stop");
}

void chat_stream_usage(const struct chat_stream *s, int *ret_prompt, int *ret_completion) {
    *ret_prompt = s->prompt_tokens;
    *ret_completion = s->completion_tokens;
}
