/* The documents' part of a turn. Step retrieve: the question is searched with, within the time that
 * leaves the first word in time, and the passages stand in front of it in the prompt. Step cite:
 * each sentence of the answer is checked against them.
 *
 * Earlier questions of the conversation keep their passages: so the prompt is the one that the
 * engine has computed before, and grows at its end only. */
#include "base/json.h"
#include "text/tokens.h"
#include "turn/passages.h"
#include "turn/turn_internal.h"

#define HISTORY_MAX 8
#define JSON_CAP    ((size_t)1 << 20)

/* ---- into the prompt ---- */

/* Questions of before, with the passages that their answers had. */
static enum err compose_history(struct turn *t) {
    for (size_t i = 0; i + 1 < t->n_branch; i++) {
        struct message *q = &t->branch[i], *a = &t->branch[i + 1];
        struct str text;
        if (q->sender != SENDER_USER || a->sender != SENDER_ASSISTANT)
            continue;
        enum err e = passages_compose(a->retrieved_docs, q->content, t->documents.grounded_only,
                                      t->arena, &text);
        if (e)
            return e;
        if (text.p)
            q->content = text;
    }
    return ERR_OK;
}

static enum err compose_question(struct turn *t) {
    struct message *q = &t->branch[t->n_branch - 1];
    struct str text;
    enum err e = passages_compose(t->answer.retrieved_docs, q->content, t->documents.grounded_only,
                                  t->arena, &text);
    if (!e && text.p)
        q->content = text;
    return e;
}

static enum err keep_hits(struct turn *t, const struct retrieval_result *r) {
    struct buf b;
    enum err e = ERR_OK;
    buf_init(&b, JSON_CAP);
    passages_to_json(&b, r->hits, r->n);
    if (!buf_err(&b))
        t->answer.retrieved_docs = arena_str(t->arena, buf_str(&b));
    e = buf_err(&b) ? buf_err(&b) : t->answer.retrieved_docs.p ? ERR_OK : ERR_NOMEM;
    buf_deinit(&b);
    return e;
}

static void keep_pair(struct turn *t, const struct retrieval_result *r) {
    struct buf b;
    if (!r->other)
        return;
    buf_init(&b, JSON_CAP);
    passages_pair_to_json(&b, r, t->arm.swap_chance);
    struct str copy = buf_err(&b) ? STR_NULL : arena_str(t->arena, buf_str(&b));
    t->pair = copy.p ? copy : STR_NULL;
    buf_deinit(&b);
}

static void keep_vector(struct turn *t, const struct retrieval_result *r) {
    struct str bytes = {(const char *)r->query_vector, (size_t)r->dimensions * sizeof(float)};
    struct str name;
    if (!r->query_vector || t->question_vector.n ||
        upstream_embedding_model(t->t->o.upstream, t->arena, &name))
        return;
    struct str copy = arena_str(t->arena, bytes);
    if (!copy.p)
        return;
    t->question_vector = copy;
    t->question_vector_model = name;
}

/* The passages are judged, or there is nobody to judge them. */
static void go_on(struct turn *t, enum err e) {
    if (!e && t->answer.retrieved_docs.n)
        e = compose_question(t);
    if (e) {
        struct errinfo ei = turn_explain(e, NULL);
        turn_fail(t, &ei);
    } else {
        turn_continue(t);
    }
}

static void on_found(void *ctx, const struct retrieval_result *r) {
    struct turn *t = ctx;
    t->searching = NULL;
    if (!r->err && r->n > 0 && r->relevant) {
        t->retrieve_err = keep_hits(t, r);
        keep_pair(t, r);
        t->n_found = r->n;
        t->guard.clean = passages_clean(t->t->o.safety, r->hits, r->n);
        degrade_found(t, r->n);
    }
    keep_vector(t, r);
    t->looked = !passages_not_needed(r);
    turn_retrieve_settle(t);
}

void turn_retrieve_settle(struct turn *t) {
    if (t->searching || t->asking)
        return;
    bool found = t->n_found + t->n_web > 0;
    enum err e = t->retrieve_err;
    if (!e)
        e = turn_web_keep(t, t->n_found);
    if (!e && !found && t->documents.enabled && t->documents.grounded_only && t->looked)
        t->approved = STR(PASSAGES_NOTHING_FOUND);
    if (e || !found || !turn_guard_passages(t, go_on))
        go_on(t, e);
}

/* ---- the step ---- */

/* No other document is searched, and so no search service is asked either. */
static bool attached_only(const struct retrieval_request *q) {
    return q->n_attached && (q->about == ABOUT_THEM || q->about == ABOUT_WHOLE);
}

/* Nothing could be found, and nothing is to be said of that: a search would only take its time. */
static bool is_pointless(const struct turn *t, const struct retrieval_request *q) {
    return !q->n_attached && !t->documents.grounded_only && t->in.kind != TURN_RESUME &&
           !web_search_has_sources(t->t->o.web) &&
           !retrieval_has_chunks(t->t->o.retrieval, &t->scope);
}

static size_t history(const struct turn *t, struct str ret[HISTORY_MAX]) {
    size_t n = 0, first = t->n_branch > 2 * HISTORY_MAX ? t->n_branch - 2 * HISTORY_MAX : 0;
    for (size_t i = first; i + 1 < t->n_branch && n < HISTORY_MAX; i++)
        if (t->branch[i].sender == SENDER_USER)
            ret[n++] = t->branch[i].content;
    return n;
}

enum step_result turn_step_retrieve(struct turn *t, struct errinfo *ei) {
    struct str before[HISTORY_MAX];
    if (!t->t->o.retrieval || t->approved.n || t->n_branch == 0)
        return STEP_DONE;
    size_t n = history(t, before);
    struct str question = t->branch[t->n_branch - 1].content;
    int beside = text_tokens(question) + t->examples_n;
    struct retrieval_request q = {
        .query = question,
        .history = before,
        .n_history = n,
        .scope = &t->scope,
        .role_id = t->role.role_id,
        .k = degrade_passages(t, t->arm.passages > 0 ? t->arm.passages : PASSAGES_MAX),
        .unranked = !t->arm.ranked,
        .learns = t->t->o.learn != NULL,
        .near_only = true,
        .pairs = t->arm.swap_chance > 0,
        .swaps = t->arm.swaps,
        .max_tokens = passages_budget(t->t->o.upstream, t->model, beside, t->in.arrived_ns),
    };
    enum err e = turn_given_take(t, &q);
    if (!e && !t->documents.enabled && !q.n_attached)
        return STEP_DONE;
    if (!e && is_pointless(t, &q) && (e = compose_history(t)) == ERR_OK)
        return STEP_DONE;
    if (!e && t->in.kind != TURN_RESUME && retrieval_wants_vector(t->t->o.retrieval, &q)) {
        if (!turn_guard_vector(t, q.query, &q.vector, &q.dimensions))
            return STEP_WAIT;
        q.vector_model = str_from(t->guard.embedding_model);
    }
    if (!e && t->in.kind == TURN_RESUME) { /* with what the answer began with */
        e = compose_history(t);
        if (!e)
            e = compose_question(t);
        if (!e)
            return STEP_DONE;
    } else if (!e) {
        t->plan = passages_plan(t->t->o.upstream, q.max_tokens, beside);
        e = retrieval_search(t->t->o.retrieval, t->tl->loop, t->tl->client, &q, on_found, t,
                             &t->searching, ei);
        if (!e && (e = compose_history(t)) != ERR_OK)
            turn_retrieve_stop(t);
        if (!e) {
            if (t->documents.enabled && !attached_only(&q))
                turn_web_ask(t, &q);
            return STEP_WAIT;
        }
        if (e == ERR_OVERLOADED && !t->documents.grounded_only)
            return STEP_DONE; /* it answers without */
    }
    *ei = turn_explain(e, ei);
    return STEP_FAIL;
}

void turn_retrieve_stop(struct turn *t) {
    turn_web_stop(t);
    retrieval_cancel(t->searching);
    retrieval_check_cancel(t->checking);
    t->searching = NULL;
    t->checking = NULL;
}

/* ---- what the answer says of them ---- */

/* Marks the passages that an answer cites, by number or by what it says. */
static struct str mark_cited(struct turn *t, const bool *cited, size_t n) {
    struct buf b;
    struct str ret = t->answer.retrieved_docs;
    struct str rest = ret;
    size_t i = 0, at;
    const struct str mark = STR("\"cited\":false");
    buf_init(&b, JSON_CAP);
    while ((at = str_find(rest, mark)) != SIZE_MAX) {
        buf_adds(&b, str_sub(rest, 0, at));
        buf_addz(&b, i < n && cited[i] ? "\"cited\":true" : "\"cited\":false");
        rest = str_sub(rest, at + mark.n, rest.n);
        i++;
    }
    buf_adds(&b, rest);
    struct str copy = buf_err(&b) ? STR_NULL : arena_str(t->arena, buf_str(&b));
    buf_deinit(&b);
    return copy.p ? copy : ret;
}

static void add_sentence(struct buf *b, const struct support_sentence *s, bool first) {
    buf_addf(b, "%s{\"char_from\":%zu,\"char_to\":%zu,\"support\":\"%s\",\"passage\":",
             first ? "" : ",", s->char_from, s->char_to, support_name(s->support));
    if (s->passage >= 0)
        buf_addf(b, "%d", s->passage + 1);
    else
        buf_addz(b, "null");
    buf_addf(b, ",\"words\":%.3f,\"similarity\":%.3f}", s->words, s->similarity);
}

static void on_checked(void *ctx, const struct support_result *r) {
    struct turn *t = ctx;
    bool cited[64] = {false};
    struct buf b;
    t->checking = NULL;
    t->checked = true;
    buf_init(&b, JSON_CAP);
    buf_addc(&b, '[');
    for (size_t i = 0; i < r->n; i++) {
        add_sentence(&b, &r->list[i], i == 0);
        if (r->list[i].support == SUPPORT_SUPPORTED && r->list[i].passage < 64)
            cited[r->list[i].passage] = true;
    }
    buf_addc(&b, ']');
    struct str text = t->stream->text.n ? buf_str(&t->stream->text) : STR("");
    for (size_t i = 0; i + 2 < text.n; i++) /* "[1]" */
        if (text.p[i] == '[' && text.p[i + 1] >= '1' && text.p[i + 1] <= '9' &&
            text.p[i + 2] == ']')
            cited[text.p[i + 1] - '1'] = true;
    struct str copy = buf_err(&b) ? STR_NULL : arena_str(t->arena, buf_str(&b));
    t->answer.support = copy.p ? copy : STR_NULL;
    t->answer.retrieved_docs = mark_cited(t, cited, 64);
    buf_deinit(&b);
    turn_continue(t);
}

static size_t passage_texts(const struct turn *t, struct str *ret, size_t max) {
    yyjson_doc *doc;
    size_t i, n, k = 0;
    json_val *v;
    if (t->answer.retrieved_docs.n <= 2 || json_parse(t->answer.retrieved_docs, &doc, NULL))
        return 0;
    json_val *list = yyjson_doc_get_root(doc);
    if (yyjson_is_arr(list))
        yyjson_arr_foreach(
            list, i, n, v) if (k < max && (ret[k] = arena_str(t->arena, json_get_str(v, "text"))).p)
            k++;
    yyjson_doc_free(doc);
    return k;
}

enum step_result turn_step_cite(struct turn *t, struct errinfo *ei) {
    struct str passages[32];
    (void)ei;
    if (!t->t->o.retrieval || t->checked || t->failure.code || !t->stream->text.n ||
        uuid_is_set(&t->approved_id))
        return STEP_DONE;
    size_t n = passage_texts(t, passages, 32);
    if (n == 0 ||
        retrieval_check(t->t->o.retrieval, t->tl->loop, t->tl->client, buf_str(&t->stream->text),
                        passages, n, on_checked, t, &t->checking) != ERR_OK)
        return STEP_DONE;
    return STEP_WAIT;
}
