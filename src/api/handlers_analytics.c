/* Analytics for administrators: satisfaction with intervals by whatever an answer was made of, as
 * JSON or CSV; worst answers, unanswered questions, documents; complaints as themes; and the export
 * for training. */
#include "api/entities.h"
#include "api/handlers.h"
#include "base/clock.h"
#include "learn/complaints.h"
#include "learn/export.h"
#include "learn/stats.h"
#include "store/learning.h"

#define DAY_MS      86400000ll
#define EXPORT_PAGE 500

static int64_t since(const struct call *c) {
    uint64_t days = 30;
    struct str s = api_call_query(c, "days");
    if (s.p)
        (void)str_to_u64(s, &days);
    return clock_wall_ms() - (int64_t)days * DAY_MS;
}

static enum analytics_by by(const struct call *c, const char *name) {
    static const char *const names[] = {"role", "model",   "version", "document",
                                        "day",  "variant", "reason"};
    struct str s = api_call_query(c, name);
    for (int i = 0; s.p && i < 7; i++)
        if (str_eqz(s, names[i]))
            return (enum analytics_by)i;
    return BY_ROLE;
}

/* A field of RFC 4180; what a spreadsheet would take for a formula gets an apostrophe. */
static void csv_field(struct buf *b, struct str s, bool last) {
    buf_addc(b, '"');
    if (s.n && memchr("=+-@\t\r", s.p[0], 6))
        buf_addc(b, '\'');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"')
            buf_addc(b, '"');
        buf_addc(b, s.p[i]);
    }
    buf_addz(b, last ? "\"\r\n" : "\",");
}

static bool wants_csv(struct call *c) {
    bool csv = str_eqz(api_call_query(c, "format"), "csv");
    if (csv)
        c->content_type = "text/csv; charset=utf-8";
    return csv;
}

static void write_csv(struct buf *b, const struct analytics_row *r, size_t n) {
    buf_addz(b, "key,label,turns,rated,satisfaction,low,high,mean_ttft_ms\r\n");
    for (size_t i = 0; i < n; i++) {
        struct interval s = interval_of_share(r[i].good, (double)r[i].rated);
        csv_field(b, r[i].key, false);
        csv_field(b, r[i].label, false);
        buf_addf(b, "%lld,%lld,", (long long)r[i].turns, (long long)r[i].rated);
        if (r[i].rated)
            buf_addf(b, "%.4f,%.4f,%.4f,", s.mean, s.low, s.high);
        else
            buf_addz(b, ",,,");
        if (r[i].mean_ttft_ms >= 0)
            buf_addf(b, "%.0f", r[i].mean_ttft_ms);
        buf_addz(b, "\r\n");
    }
}

static void write_row(struct buf *b, const struct analytics_row *r) {
    struct interval s = interval_of_share(r->good, (double)r->rated);
    out_open(b, NULL, '{');
    out_str(b, "key", r->key.p ? r->key : STR(""));
    out_str(b, "label", r->label.p ? r->label : STR(""));
    out_int(b, "turns", r->turns);
    out_int(b, "rated", r->rated);
    if (r->rated) {
        out_num(b, "satisfaction", s.mean);
        out_num(b, "low", s.low);
        out_num(b, "high", s.high);
    } else {
        out_null(b, "satisfaction");
        out_null(b, "low");
        out_null(b, "high");
    }
    if (r->mean_ttft_ms >= 0)
        out_num(b, "mean_ttft_ms", r->mean_ttft_ms);
    else
        out_null(b, "mean_ttft_ms");
    out_close(b, '}');
}

enum err api_analytics_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct analytics_row *r;
    size_t n;
    struct str of = api_call_query(c, "of"), key = api_call_query(c, "key");
    if (of.p && (!key.p || by(c, "by") != BY_DAY))
        return err_param(ei, ERR_INVALID, "of", "the days of something need by=day and its key");
    enum err e = of.p ? analytics_days(tx, by(c, "of"), key, since(c), c->arena, &r, &n)
                      : analytics_list(tx, by(c, "by"), since(c), c->arena, &r, &n);
    if (e)
        return err_set(ei, e, NULL);
    if (wants_csv(c)) {
        write_csv(&c->out, r, n);
        return ERR_OK;
    }
    out_open(&c->out, NULL, '{');
    out_open(&c->out, "data", '[');
    for (size_t i = 0; i < n; i++)
        write_row(&c->out, &r[i]);
    out_close(&c->out, ']');
    out_close(&c->out, '}');
    return ERR_OK;
}

static void write_turn(struct buf *b, const struct analytics_turn *t) {
    out_open(b, NULL, '{');
    out_id(b, "message_id", &t->message_id);
    out_time(b, "at", t->at);
    out_str(b, "role_name", t->role_name);
    out_str(b, "question", t->question);
    out_str(b, "answer", t->answer.p ? t->answer : STR(""));
    out_text_or_null(b, "comment", t->comment);
    out_raw(b, "reasons", t->reasons);
    if (t->rating >= 0)
        out_strz(b, "rating", rating_name((enum rating)t->rating));
    else
        out_null(b, "rating");
    out_close(b, '}');
}

static void write_turn_csv(struct buf *b, const struct analytics_turn *t) {
    char at[25];
    clock_format(t->at, at);
    csv_field(b, uuid_str(&t->message_id), false);
    csv_field(b, str_from(at), false);
    csv_field(b, t->role_name, false);
    csv_field(b, t->question, false);
    csv_field(b, t->answer, false);
    csv_field(b, t->comment, false);
    csv_field(b, t->reasons, false);
    csv_field(b, t->rating >= 0 ? str_from(rating_name((enum rating)t->rating)) : STR(""), true);
}

enum err api_analytics_turns_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct analytics_turn *t;
    size_t n;
    bool unanswered = str_eqz(api_call_query(c, "which"), "unanswered");
    enum err e = analytics_turns(tx, unanswered, since(c), c->page.limit, c->arena, &t, &n);
    if (e)
        return err_set(ei, e, NULL);
    if (wants_csv(c)) {
        buf_addz(&c->out, "message_id,at,role,question,answer,comment,reasons,rating\r\n");
        for (size_t i = 0; i < n; i++)
            write_turn_csv(&c->out, &t[i]);
        return ERR_OK;
    }
    out_open(&c->out, NULL, '{');
    out_open(&c->out, "data", '[');
    for (size_t i = 0; i < n; i++)
        write_turn(&c->out, &t[i]);
    out_close(&c->out, ']');
    out_close(&c->out, '}');
    return ERR_OK;
}

enum err api_analytics_documents_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct analytics_document *d;
    size_t n;
    bool unused = !str_eqz(api_call_query(c, "which"), "disliked");
    enum err e = analytics_documents(tx, unused, since(c), 200, c->arena, &d, &n);
    if (e)
        return err_set(ei, e, NULL);
    if (wants_csv(c)) {
        buf_addz(&c->out, "doc_id,source_name,used,liked,disliked\r\n");
        for (size_t i = 0; i < n; i++) {
            csv_field(&c->out, uuid_str(&d[i].doc_id), false);
            csv_field(&c->out, d[i].source_name, false);
            buf_addf(&c->out, "%lld,%lld,%lld\r\n", (long long)d[i].used, (long long)d[i].liked,
                     (long long)d[i].disliked);
        }
        return ERR_OK;
    }
    out_open(&c->out, NULL, '{');
    out_open(&c->out, "data", '[');
    for (size_t i = 0; i < n; i++) {
        out_open(&c->out, NULL, '{');
        out_id(&c->out, "doc_id", &d[i].doc_id);
        out_str(&c->out, "source_name", d[i].source_name);
        out_int(&c->out, "used", d[i].used);
        out_int(&c->out, "liked", d[i].liked);
        out_int(&c->out, "disliked", d[i].disliked);
        out_close(&c->out, '}');
    }
    out_close(&c->out, ']');
    out_close(&c->out, '}');
    return ERR_OK;
}

/* ---- complaints: read → embed what was written → cluster on the job pool ---- */

struct complaining {
    struct analytics_turn *turns;
    struct complaint *list;
    size_t n, dims;
    struct upstream_call *call;
};

enum err api_complaints_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct complaining *x = arena_alloc(c->arena, sizeof *x);
    if (!x)
        return err_set(ei, ERR_NOMEM, NULL);
    enum err e = complaint_list(tx, since(c), UPSTREAM_EMBED_MAX, c->arena, &x->turns, &x->n);
    if (!e && !(x->list = arena_array(c->arena, x->n + 1, sizeof *x->list)))
        e = ERR_NOMEM;
    for (size_t i = 0; !e && i < x->n; i++)
        x->list[i] =
            (struct complaint){x->turns[i].comment.n ? x->turns[i].comment : x->turns[i].question,
                               x->turns[i].reasons, NULL};
    c->state = x;
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

static void complaints_embedded(void *ctx, const struct embed_result *r) {
    struct call *c = ctx;
    struct complaining *x = c->state;
    size_t dims = (size_t)r->dimensions;
    float *v = r->err ? NULL : arena_array(c->arena, x->n * dims + 1, sizeof *v);
    if (v && r->n == x->n) { /* else their words alone say what is alike */
        memcpy(v, r->vectors, x->n * dims * sizeof *v);
        for (size_t i = 0; i < x->n; i++)
            x->list[i].vector = v + i * dims;
        x->dims = dims;
    }
    api_call_next(c);
}

void api_complaints_embed(struct call *c) {
    struct complaining *x = c->state;
    struct str *texts = arena_array(c->arena, x->n + 1, sizeof *texts);
    for (size_t i = 0; texts && i < x->n; i++)
        texts[i] = x->list[i].text.n ? x->list[i].text : STR("-");
    if (texts && x->n &&
        upstream_embed(c->client, STR_NULL, texts, x->n, UPSTREAM_EMBED_BACKGROUND,
                       complaints_embedded, c, &x->call, &c->ei) == ERR_OK)
        return;
    c->ei = (struct errinfo){0};
    api_call_next(c);
}

enum err api_complaints_job(struct call *c, struct errinfo *ei) {
    struct complaining *x = c->state;
    struct theme *t;
    size_t n;
    enum err e = complaints_cluster(x->list, x->n, x->dims, c->arena, &t, &n);
    if (e)
        return err_set(ei, e, NULL);
    buf_clear(&c->out);
    out_open(&c->out, NULL, '{');
    out_open(&c->out, "data", '[');
    for (size_t i = 0; i < n; i++) {
        out_open(&c->out, NULL, '{');
        out_int(&c->out, "count", (int64_t)t[i].n);
        out_str(&c->out, "words", t[i].words);
        out_strz(&c->out, "advice", t[i].advice);
        out_open(&c->out, "examples", '[');
        for (size_t k = 0; k < t[i].n_examples; k++)
            write_turn(&c->out, &x->turns[t[i].examples[k]]);
        out_close(&c->out, ']');
        out_close(&c->out, '}');
    }
    out_close(&c->out, ']');
    out_close(&c->out, '}');
    return ERR_OK;
}

/* ---- the export for training ---- */

struct exporting {
    struct training_row *rows;
    size_t n;
    bool more;
};

enum err api_training_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct exporting *x = arena_alloc(c->arena, sizeof *x);
    enum err e =
        x ? training_list(tx, &c->page.after, EXPORT_ROWS_MAX, c->arena, &x->rows, &x->n, &x->more)
          : ERR_NOMEM;
    c->state = x;
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

enum err api_training_job(struct call *c, struct errinfo *ei) {
    struct exporting *x = c->state;
    struct str form = api_call_query(c, "form");
    buf_clear(&c->out);
    c->content_type = c->route->media;
    enum err e =
        export_write(x->rows, x->n,
                     form.p ? (enum export_form)export_form_from_name(form) : EXPORT_SFT, &c->out);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

/* Lines have no room for it. */
void api_training_next(struct call *c) {
    const struct exporting *x = c->state;
    struct http_request *r = api_call_request(c);
    if (r && x->more && x->n)
        http_set_header(r, "X-Parley-Next", x->rows[x->n - 1].message_id.s);
    api_call_next(c);
}
