/* See http_reader.h. A head and a chunk's line that come in one piece are not copied. */
#include "net/http_reader.h"

void http_reader_begin(struct http_reader *r, bool head_request) {
    *r = (struct http_reader){.no_body = head_request, .keep_alive = true};
    buf_init(&r->kept, HTTP_ANSWER_HEAD_MAX * 2);
}

void http_reader_deinit(struct http_reader *r) {
    buf_deinit(&r->kept);
}

static void set_body(struct http_reader *r, const struct http_head *h) {
    r->keep_alive = h->keep_alive;
    r->left = h->content_length;
    if (r->no_body || h->status == 204 || h->status == 304 || (h->has_length && r->left == 0))
        r->state = READ_DONE;
    else if (h->chunked)
        r->state = READ_CHUNKS;
    else
        r->state = h->has_length ? READ_LENGTH : READ_TO_END;
    if (r->state == READ_TO_END)
        r->keep_alive = false;
}

/* Takes the head off *bytes when it is whole. */
static enum err read_head(struct http_reader *r, struct str *bytes,
                          void (*on_head)(void *ctx, const struct http_head *h), void *ctx,
                          const char **ret_why) {
    struct http_head h;
    struct str text = STR("HTTP/1.");
    size_t n = http_head_length(*bytes, &r->scanned);
    *ret_why = "this is not an HTTP/1.1 answer";
    if (!str_starts(*bytes, str_sub(text, 0, bytes->n)))
        return ERR_UPSTREAM;
    *ret_why = "the answer's head is too long";
    if ((n ? n : bytes->n) > HTTP_ANSWER_HEAD_MAX)
        return ERR_UPSTREAM;
    if (n == 0)
        return ERR_OK;
    if (!http_answer_parse(str_sub(*bytes, 0, n), &h, ret_why))
        return ERR_UPSTREAM;
    *ret_why = "the server goes over to another protocol";
    if (h.status == 101)
        return ERR_UPSTREAM;
    if (h.status >= 200) {
        set_body(r, &h);
        on_head(ctx, &h);
    }
    r->scanned = 0;
    *bytes = str_sub(*bytes, n, bytes->n);
    return ERR_OK;
}

static enum err read_chunks(struct http_reader *r, struct str *bytes, struct buf *body,
                            const char **ret_why) {
    size_t used = 0;
    enum err e = http_chunks_feed(&r->chunks, *bytes, body, &used);
    *ret_why = "the answer is not in valid chunked coding";
    if (e)
        return e == ERR_NOMEM ? e : ERR_UPSTREAM;
    *bytes = str_sub(*bytes, used, bytes->n);
    if (r->chunks.state == CHUNK_DONE)
        r->state = READ_DONE;
    return ERR_OK;
}

static void read_plain(struct http_reader *r, struct str *bytes, struct buf *body) {
    size_t n = r->state == READ_LENGTH && r->left < bytes->n ? (size_t)r->left : bytes->n;
    buf_add(body, bytes->p, n);
    *bytes = str_sub(*bytes, n, bytes->n);
    if (r->state == READ_LENGTH && (r->left -= n) == 0)
        r->state = READ_DONE;
}

/* What was kept goes in front. */
static enum err keep(struct http_reader *r, struct str rest) {
    struct buf kept;
    buf_init(&kept, r->kept.cap);
    buf_adds(&kept, rest);
    buf_deinit(&r->kept);
    r->kept = kept;
    return buf_err(&kept);
}

enum err http_reader_feed(struct http_reader *r, struct str bytes, struct buf *body,
                          void (*on_head)(void *ctx, const struct http_head *h), void *ctx,
                          const char **ret_why) {
    struct str left = bytes;
    enum err e = ERR_OK;
    r->any = r->any || bytes.n;
    if (r->kept.n) {
        buf_adds(&r->kept, bytes);
        left = buf_str(&r->kept);
        e = buf_err(&r->kept);
    }
    *ret_why = "out of memory";
    while (!e && left.n && r->state != READ_DONE) {
        size_t before = left.n;
        if (r->state == READ_HEAD)
            e = read_head(r, &left, on_head, ctx, ret_why);
        else if (r->state == READ_CHUNKS)
            e = read_chunks(r, &left, body, ret_why);
        else
            read_plain(r, &left, body);
        if (left.n == before) /* the rest of a line is still to come */
            break;
    }
    if (!e)
        e = buf_err(body);
    if (!e && r->state == READ_DONE && left.n) { /* nobody asked for what follows */
        r->keep_alive = false;
        left.n = 0;
    }
    bool all_kept = left.n == r->kept.n && left.p == r->kept.p;
    if (!e && (left.n || r->kept.n) && !all_kept)
        e = keep(r, left);
    return e;
}

bool http_reader_end(struct http_reader *r) {
    if (r->state == READ_TO_END)
        r->state = READ_DONE;
    return r->state == READ_DONE;
}
