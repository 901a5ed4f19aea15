/* Roles on the compatible API look into documents as turns do. See openai.h.
 *
 *   judged ─→ question (job) ─┬─→ search ──────────┬─→ passages judged, put in front of it (job) ─→
 * forwarded └─→ search services ─┴─→ nothing, and the role is grounded only ─→ says so */
#include <stdio.h>

#include "api/openai.h"
#include "api/openai_guard.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "retrieval/question.h"
#include "store/chunk.h"
#include "text/tokens.h"
#include "turn/passages.h"

#define QUESTIONS_MAX 9 /* the last one, and those before it */
#define JSON_CAP      ((size_t)16 << 20)

struct openai_ground { /* of one call, in its arena */
    struct retrieval_scope scope;
    struct role_retrieval role;
    struct uuid role_id;
    struct str questions[QUESTIONS_MAX]; /* newest first */
    size_t n;
    const char *path;
    struct retrieval_call *call;
    struct web_search_call *asking;
    bool searching, looked; /* looked: something was needed */
    size_t n_found;         /* passages of documents */
    int budget;             /* tokens of all passages */
    struct web_hit *web_hits;
    size_t n_web;
    enum err err;
    uint64_t clean; /* passages that were judged before (passages_clean) */
    size_t left_out;
};

static struct openai_ground *ground_of(struct call *c) {
    return ((struct openai_state *)c->state)->ground;
}

enum err openai_ground_load(struct call *c, struct store_tx *tx, const struct role *r,
                            struct openai_state *s) {
    struct openai_ground *g;
    s->ground = NULL;
    if (!c->api->o.retrieval)
        return ERR_OK;
    g = arena_alloc(c->arena, sizeof *g);
    if (!g)
        return ERR_NOMEM;
    *g = (struct openai_ground){.role_id = r->role_id};
    enum err e = role_retrieval_get(tx, &r->role_id, c->arena, &g->role);
    if (!e && g->role.enabled)
        e = collection_scope(tx, &c->user.user_id, &r->role_id, g->scope.collections, &g->scope.n);
    if (!e && g->role.enabled)
        s->ground = g;
    return e;
}

static struct jobs *jobs_of(struct call *c) {
    return c->api->o.safety ? c->api->o.safety_jobs : c->api->o.jobs;
}

/* ---- the question ---- */

static bool is_user(const json_val *m) {
    return str_eqz(json_get_str(m, "role"), "user");
}

/* The message's text: a string, or the texts of its parts. */
static struct str text_of(struct call *c, const json_val *m) {
    json_val *content = json_get(m, "content"), *part;
    size_t i, n;
    struct buf b;
    if (!yyjson_is_arr(content))
        return arena_str(c->arena, json_get_str(m, "content"));
    buf_init(&b, JSON_CAP);
    yyjson_arr_foreach(content, i, n, part) {
        struct str text = json_get_str(part, "text");
        if (b.n && text.n)
            buf_addc(&b, '\n');
        if (text.n)
            buf_adds(&b, text);
    }
    struct str ret = b.n && !buf_err(&b) ? arena_str(c->arena, buf_str(&b)) : STR("");
    buf_deinit(&b);
    return ret;
}

static void question_job(void *arg) {
    struct call *c = arg;
    struct openai_ground *g = ground_of(c);
    yyjson_doc *doc = NULL;
    g->err = json_parse(((struct openai_state *)c->state)->body, &doc, NULL);
    json_val *list = g->err ? NULL : json_get(yyjson_doc_get_root(doc), "messages");
    for (size_t i = yyjson_arr_size(list); i-- > 0 && g->n < QUESTIONS_MAX;) {
        json_val *m = yyjson_arr_get(list, i);
        struct str text = is_user(m) ? text_of(c, m) : STR("");
        if (text.n)
            g->questions[g->n++] = text;
    }
    yyjson_doc_free(doc);
}

/* ---- the passages into the body ---- */

/* Passages stand in front of the last user message. */
static enum err put_passages(struct call *c, yyjson_mut_doc *d) {
    struct openai_state *s = c->state;
    yyjson_mut_val *list = yyjson_mut_obj_get(yyjson_mut_doc_get_root(d), "messages"), *m = NULL;
    for (size_t i = yyjson_mut_arr_size(list); i-- > 0;) {
        m = yyjson_mut_arr_get(list, i);
        if (yyjson_mut_equals_str(yyjson_mut_obj_get(m, "role"), "user"))
            break;
        m = NULL;
    }
    yyjson_mut_val *content = yyjson_mut_obj_get(m, "content"), *part;
    struct str question = STR(""), text;
    if (yyjson_mut_is_str(content))
        question = (struct str){yyjson_mut_get_str(content), yyjson_mut_get_len(content)};
    enum err e =
        passages_compose(s->docs, question, s->ground->role.grounded_only, c->arena, &text);
    if (e || !text.p || !m)
        return e;
    if (!yyjson_mut_is_arr(content)) {
        yyjson_mut_obj_put(m, yyjson_mut_str(d, "content"), yyjson_mut_strn(d, text.p, text.n));
        return ERR_OK;
    }
    part = yyjson_mut_obj(d);
    yyjson_mut_obj_add_str(d, part, "type", "text");
    yyjson_mut_obj_add_strn(d, part, "text", text.p, text.n);
    return yyjson_mut_arr_prepend(content, part) ? ERR_OK : ERR_NOMEM;
}

static void passages_job(void *arg) {
    struct call *c = arg;
    struct openai_state *s = c->state;
    struct openai_ground *g = s->ground;
    yyjson_doc *doc = NULL;
    yyjson_mut_doc *d = NULL;
    struct buf b;
    if (c->api->o.safety)
        g->err =
            passages_scan(c->api->o.safety, s->docs, g->clean, c->arena, &s->docs, &g->left_out);
    if (!g->err)
        g->err = json_parse(s->body, &doc, NULL);
    if (!g->err && !(d = yyjson_doc_mut_copy(doc, NULL)))
        g->err = ERR_NOMEM;
    if (!g->err)
        g->err = put_passages(c, d);
    if (!g->err) {
        buf_init(&b, JSON_CAP);
        json_write_mut(&b, d);
        g->err = buf_err(&b);
        if (!g->err && !(s->body = arena_str(c->arena, buf_str(&b))).p)
            g->err = ERR_NOMEM;
        buf_deinit(&b);
    }
    yyjson_mut_doc_free(d);
    yyjson_doc_free(doc);
}

static void forward(struct call *c) {
    if (ground_of(c)->err)
        api_call_fail(c, ground_of(c)->err, NULL);
    else if (!api_call_request(c))
        openai_guard_leave(c);
    else
        openai_forward(c, ground_of(c)->path);
}

static void passages_put(void *arg) {
    struct call *c = arg;
    size_t left_out = ground_of(c)->left_out;
    metric_add(M_GUARD_SENTENCES_CUT, (int64_t)left_out);
    if (left_out)
        log_event(LOG_INFO, "guard.passages", LF_INT("left_out", left_out));
    forward(c);
}

/* ---- searching ---- */

static void nothing_found(void *arg) {
    struct call *c = arg;
    if (!openai_guard_wait(c, nothing_found) && !openai_guard_refuses(c))
        openai_answer(c, STR(PASSAGES_NOTHING_FOUND), "stop");
}

/* Documents and search services have answered, or are not asked. */
static void settle(struct call *c) {
    struct openai_state *s = c->state;
    struct openai_ground *g = s->ground;
    if (g->searching || g->asking)
        return;
    if (!api_call_request(c)) {
        openai_guard_leave(c);
        return;
    }
    if (!g->err)
        g->err = passages_web_add(s->docs, g->n_found, g->web_hits, g->n_web, c->arena, &s->docs);
    if (!g->err && g->n_found + g->n_web == 0) {
        if (g->role.grounded_only && g->looked)
            nothing_found(c);
        else
            openai_forward(c, g->path);
        return;
    }
    if (!g->err)
        g->err = jobs_submit(jobs_of(c), passages_job, c->loop, passages_put, c);
    if (g->err)
        api_call_fail(c, g->err, NULL);
}

static void on_found(void *ctx, const struct retrieval_result *r) {
    struct call *c = ctx;
    struct openai_state *s = c->state;
    struct openai_ground *g = s->ground;
    struct buf b;
    g->searching = false;
    g->looked = !passages_not_needed(r);
    s->docs = STR("[]");
    if (!r->err && r->n > 0 && r->relevant) {
        buf_init(&b, JSON_CAP);
        passages_to_json(&b, r->hits, r->n);
        struct str docs = buf_err(&b) ? STR_NULL : arena_str(c->arena, buf_str(&b));
        g->err = buf_err(&b) ? buf_err(&b) : docs.p ? ERR_OK : ERR_NOMEM;
        buf_deinit(&b);
        if (!g->err)
            s->docs = docs;
        g->n_found = g->err ? 0 : r->n;
        g->clean = passages_clean(c->api->o.safety, r->hits, r->n);
    }
    settle(c);
}

static void on_answers(void *ctx, const struct web_search_result *r) {
    struct call *c = ctx;
    struct openai_ground *g = ground_of(c);
    g->asking = NULL;
    g->n_web = passages_web_take(r, g->budget, c->arena, &g->web_hits);
    settle(c);
}

static void ask_services(struct call *c, struct openai_ground *g,
                         const struct retrieval_request *asked) {
    struct errinfo ei;
    if (!c->api->o.web || !web_search_has_sources(c->api->o.web) ||
        question_is_smalltalk(asked->query))
        return;
    struct web_search_request q = {.query = passages_web_query(asked, c->arena),
                                   .user_id = c->user.user_id,
                                   .budget_ms = passages_web_wait_ms(c->api->o.web_wait_ms)};
    if (web_search_run(c->api->o.web, c->loop, &q, on_answers, c, &g->asking, &ei))
        g->asking = NULL; /* it answers without */
}

static void search(void *arg) {
    struct call *c = arg;
    struct openai_state *s = c->state;
    struct openai_ground *g = s->ground;
    struct str before[QUESTIONS_MAX];
    struct errinfo ei = {0};
    if (g->err || g->n == 0 || !api_call_request(c)) {
        forward(c);
        return;
    }
    for (size_t i = 1; i < g->n; i++)
        before[g->n - 1 - i] = g->questions[i];
    int beside = text_tokens(g->questions[0]);
    g->budget = passages_budget(c->api->o.upstream, s->upstream, beside, c->arrived_ns);
    s->plan = passages_plan(c->api->o.upstream, g->budget, beside);
    struct retrieval_request q = {
        .query = g->questions[0],
        .history = before,
        .n_history = g->n - 1,
        .scope = &g->scope,
        .role_id = g->role_id,
        .k = PASSAGES_MAX,
        .near_only = true,
        .max_tokens = g->budget,
    };
    enum err e =
        retrieval_search(c->api->o.retrieval, c->loop, c->client, &q, on_found, c, &g->call, &ei);
    g->searching = !e;
    if (!e)
        ask_services(c, g, &q);
    else if (e == ERR_OVERLOADED && !g->role.grounded_only)
        openai_forward(c, g->path); /* it answers without */
    else
        api_call_fail(c, e, &ei);
}

void openai_ground(struct call *c, const char *path) {
    struct openai_ground *g = ground_of(c);
    if (!g) {
        openai_forward(c, path);
        return;
    }
    g->path = path;
    enum err e = jobs_submit(jobs_of(c), question_job, c->loop, search, c);
    if (e)
        api_call_fail(c, e, NULL);
}

/* ---- what the client gets to know ---- */

void openai_add_docs(yyjson_mut_doc *d, const struct openai_state *s) {
    yyjson_mut_val *root = yyjson_mut_doc_get_root(d), *parley = yyjson_mut_obj_get(root, "parley");
    if (!yyjson_mut_is_obj(parley)) {
        parley = yyjson_mut_obj(d);
        yyjson_mut_obj_put(root, yyjson_mut_str(d, "parley"), parley);
    }
    json_add_raw(d, parley, "retrieved_docs", s->docs);
}

static void add_answer(struct buf *b, const struct openai_state *s, struct str text,
                       const char *finish_reason, bool last) {
    char id[40];
    struct uuid u = uuid_new();
    snprintf(id, sizeof id, "chatcmpl-%.24s", u.s + 9);
    out_open(b, NULL, '{');
    out_strz(b, "id", id);
    out_strz(b, "object", s->stream ? "chat.completion.chunk" : "chat.completion");
    out_int(b, "created", clock_wall_ms() / 1000);
    out_str(b, "model", s->asked);
    out_open(b, "choices", '[');
    out_open(b, NULL, '{');
    out_int(b, "index", 0);
    out_open(b, s->stream ? "delta" : "message", '{');
    if (!last || !s->stream) {
        out_strz(b, "role", "assistant");
        out_str(b, "content", text);
    }
    out_close(b, '}');
    if (last)
        out_strz(b, "finish_reason", finish_reason);
    else
        out_null(b, "finish_reason");
    out_close(b, '}');
    out_close(b, ']');
    if (last && s->docs.p) {
        out_open(b, "parley", '{');
        out_open(b, "retrieved_docs", '[');
        out_close(b, ']');
        out_close(b, '}');
    }
    out_close(b, '}');
}

void openai_answer(struct call *c, struct str text, const char *finish_reason) {
    struct openai_state *s = c->state;
    struct buf one;
    buf_clear(&c->out);
    if (!s->stream) {
        add_answer(&c->out, s, text, finish_reason, true);
    } else {
        buf_init(&one, 1 << 20);
        for (int last = 0; last < 2; last++) {
            buf_clear(&one);
            add_answer(&one, s, text, finish_reason, last);
            buf_addz(&c->out, "data: ");
            buf_adds(&c->out, buf_str(&one));
            buf_addz(&c->out, "\n\n");
        }
        buf_addz(&c->out, "data: [DONE]\n\n");
        buf_deinit(&one);
        c->content_type = "text/event-stream";
    }
    api_call_reply(c);
}
