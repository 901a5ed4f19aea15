/* Ratings: giving and withdrawing one's own, the administrator's list, and the export, which
 * streams page by page so that its memory does not grow with the number of ratings. */
#include "api/entities.h"
#include "api/handlers.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "store/learning.h"

#define EXPORT_PAGE    20
#define EXPORT_PENDING 65536 /* bytes that wait for the reader before more is sent or read */
#define EXPORT_PIECE   65536 /* bytes sent at once */
#define EXPORT_WAIT_MS 20
#define LIST_TEXT_MAX  16384
#define EXPORT_ARENA   ((size_t)64 << 20)

/* One of the body's lists as JSON text, "[]" when it is absent. */
static enum err list_text(struct call *c, const char *name, struct str *ret) {
    struct buf b;
    json_val *v = json_get(c->body, name);
    *ret = STR("[]");
    if (!v)
        return ERR_OK;
    buf_init(&b, LIST_TEXT_MAX);
    json_write(&b, v);
    enum err e = buf_err(&b);
    if (!e && !(*ret = arena_str(c->arena, buf_str(&b))).p)
        e = ERR_NOMEM;
    buf_deinit(&b);
    return e;
}

static enum err check_reasons(struct call *c, struct errinfo *ei) {
    static const char *const known[] = {"wrong",    "not_helpful", "wrong_source", "unsafe",
                                        "too_long", "too_slow",    "other"};
    json_val *list = json_get(c->body, "reasons"), *v;
    size_t i, n;
    if (!yyjson_is_arr(list))
        return ERR_OK;
    yyjson_arr_foreach(list, i, n, v) {
        bool found = false;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            found |= str_eqz(json_str(v), known[k]);
        if (!found)
            return err_param(ei, ERR_INVALID, "reasons",
                             "a reason is one of wrong, not_helpful, wrong_source, unsafe, "
                             "too_long, too_slow, other");
    }
    return ERR_OK;
}

static enum err put_reasons(struct call *c, struct store_tx *tx, struct feedback *f,
                            struct errinfo *ei) {
    struct str sources;
    enum err e = list_text(c, "reasons", &f->reasons);
    if (!e)
        e = list_text(c, "sources", &sources);
    if (!e)
        e = feedback_set_reasons(tx, &f->user_id, &f->message_id, f->reasons, sources);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

enum err api_feedback_put_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct str comment = json_get_str(c->body, "comment");
    int64_t now = clock_wall_ms();
    struct feedback stored,
        f = {
            .feedback_id = uuid_new(),
            .message_id = c->id,
            .user_id = c->user.user_id,
            .rating = (enum rating)rating_from_name(json_get_str(c->body, "rating")),
            .comment = comment.p ? comment : STR(""),
            .created_at = now,
            .updated_at = now,
        };
    enum err e = check_reasons(c, ei);
    if (e)
        return e;
    e = feedback_put(tx, &f, c->arena, &stored, ei);
    if (e == ERR_NOT_FOUND)
        return err_set(ei, e, "there is no such message");
    if (!e)
        e = put_reasons(c, tx, &stored, ei);
    if (e)
        return e;
    metric_add(M_FEEDBACK, 1);
    entity_feedback(&c->out, &stored);
    return ERR_OK;
}

enum err api_feedback_delete_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    enum err e = feedback_delete(tx, &c->user.user_id, &c->id);
    return e ? err_set(ei, e, e == ERR_NOT_FOUND ? "there is no rating of yours" : NULL) : ERR_OK;
}

static int rating_filter(const struct call *c) {
    struct str s = api_call_query(c, "rating");
    return s.p ? rating_from_name(s) : -1;
}

enum err api_feedback_list_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct feedback_row *rows;
    size_t n;
    enum err e = feedback_list(tx, rating_filter(c), &c->page, c->arena, &rows, &n);
    if (e)
        return err_set(ei, e, NULL);
    entity_list_open(&c->out);
    for (size_t i = 0; i < n; i++)
        entity_feedback_row(&c->out, &rows[i]);
    struct uuid next = entity_next(&c->page, n, n ? &rows[n - 1].f.feedback_id : NULL);
    entity_list_close(&c->out, &next);
    return ERR_OK;
}

/* ---- the export: read a page → send it in pieces, as the reader takes them → read the next ----
 */

struct export {
    struct timer *timer; /* NULL until the stream has begun */
    size_t sent;         /* bytes of the page in the call's out */
    bool last;           /* no page comes after this one */
};

static void export_more(void *arg);

static enum err export_page(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct call *c = arg;
    struct feedback_row *rows;
    size_t n;
    struct arena *a = arena_new(EXPORT_ARENA);
    enum err e = a ? feedback_list(tx, rating_filter(c), &c->page, a, &rows, &n) : ERR_NOMEM;
    buf_clear(&c->out);
    for (size_t i = 0; !e && i < n; i++) {
        struct buf row; /* out.h wants a buffer for each JSON text */
        buf_init(&row, EXPORT_ARENA);
        entity_feedback_row(&row, &rows[i]);
        buf_adds(&c->out, buf_str(&row));
        buf_addc(&c->out, '\n');
        e = buf_err(&row);
        buf_deinit(&row);
    }
    if (!e) {
        ((struct export *)c->state)->last = n < (size_t)c->page.limit;
        if (n)
            c->page.after = rows[n - 1].f.feedback_id;
        e = buf_err(&c->out);
    }
    arena_free(a);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

/* Ends the export: with an error status while nothing was sent, else by breaking the stream, which
 * tells the reader that it is not whole. */
static void export_end(struct call *c, enum err err, const struct errinfo *ei) {
    struct export *x = c->state;
    struct http_request *r = api_call_request(c);
    struct timer *timer = x->timer;
    timer_free(timer);
    if (err && !timer) {
        api_call_fail(c, err, ei);
        return;
    }
    if (err)
        log_event(LOG_WARN, "api.export_broken", LF_Z("code", err_code(err)));
    if (r && err)
        http_stream_abort(r);
    else if (r)
        http_stream_end(r);
    api_call_free(c);
}

static void export_sent(void *arg, enum err err, const struct errinfo *ei) {
    struct call *c = arg;
    struct export *x = c->state;
    struct http_request *r = api_call_request(c);
    if (!r || err) {
        export_end(c, err, ei);
        return;
    }
    if (!x->timer) {
        if (!(x->timer = timer_new(c->loop, export_more, c))) {
            export_end(c, ERR_NOMEM, NULL);
            return;
        }
        respond_api_headers(r);
        http_set_header(r, "Content-Disposition", "attachment; filename=\"feedback.jsonl\"");
        http_stream_begin(r, 200, c->content_type);
    }
    x->sent = 0;
    export_more(c);
}

static void export_more(void *arg) {
    struct call *c = arg;
    struct export *x = c->state;
    struct http_request *r = api_call_request(c);
    enum err e = ERR_OK;
    if (r && http_stream_pending(r) > EXPORT_PENDING) {
        timer_start(x->timer, EXPORT_WAIT_MS, false);
    } else if (r && x->sent < c->out.n) {
        struct str piece = str_sub(buf_str(&c->out), x->sent, c->out.n);
        if (piece.n > EXPORT_PIECE)
            piece.n = EXPORT_PIECE;
        x->sent += piece.n;
        if (http_stream_write(r, piece))
            export_end(c, ERR_OK, NULL); /* aborted: the request is gone */
        else
            timer_start(x->timer, 0, false);
    } else if (!r || x->last ||
               (e = store_read(c->api->o.store, export_page, c, c->loop, export_sent))) {
        export_end(c, e, NULL);
    }
}

void api_feedback_export(struct call *c) {
    c->page = (struct page){.limit = EXPORT_PAGE};
    c->content_type = c->route->media;
    c->state = arena_alloc(c->arena, sizeof(struct export));
    enum err e =
        c->state ? store_read(c->api->o.store, export_page, c, c->loop, export_sent) : ERR_NOMEM;
    if (e)
        api_call_fail(c, e, NULL);
}
