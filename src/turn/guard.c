/* The guard in a turn: the question is judged before the model is asked, the answer while it comes.
 *
 *   guard ──→ allowed, annotated, warned ─→ the model is asked
 *        ├──→ redacted ─→ the model reads placeholders; the answer gets the values back
 *        └──→ refused ─→ the model is not asked; the refusal is the answer (finish_reason
 *                        "content_filter"); a case goes to review
 *   answer: blocked in its middle ─→ the model is stopped, what was not let through is stored
 * nowhere but in the case, `blocked` goes out, finish_reason "content_filter"
 *
 * What was refused is no part of later prompts. Judging runs on the guard's job pool: while it
 * does, the turn's arena, branch and guard fields are the job's. */
#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"
#include "safety/record.h"
#include "turn/turn_internal.h"

#define CONTEXT_MAX  ((size_t)8 << 10)
#define EMBEDDING_MS 500 /* for the embedding of the question */
#define JSON_CAP     ((size_t)64 << 10)
#define WITHHELD     "(withheld)"
#define REDACT_HITS  256
#define FILTERED     "content_filter"

static bool is_refused(const struct message *m) {
    return m->safety.n &&
           str_find(m->safety, STR("\"direction\":\"input\",\"action\":\"block\"")) != SIZE_MAX;
}

/* ---- load ---- */

/* The country that chooses the help that is named: preferences.country. */
static void read_country(const struct user *u, char out[8]) {
    yyjson_doc *doc = NULL;
    if (!u->preferences.n || json_parse(u->preferences, &doc, NULL))
        return;
    struct str s = json_get_str(yyjson_doc_get_root(doc), "country");
    if (s.n == 2)
        snprintf(out, 8, "%.*s", STR_ARG(s));
    yyjson_doc_free(doc);
}

enum err turn_guard_load(struct store_tx *tx, struct turn *t, struct errinfo *ei) {
    struct user u;
    if (!t->t->o.safety)
        return ERR_OK;
    enum err e = safety_check_user(tx, &t->in.user_id, ei);
    if (e)
        return e;
    e = user_get(tx, &t->in.user_id, t->arena, &u);
    if (e == ERR_OK)
        read_country(&u, t->guard.country);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* ---- the job: the question ---- */

static const struct policy_role *role_of(const struct turn *t, struct str *ret_slug) {
    char slug[ROLE_SLUG_SIZE];
    size_t n = role_slug(t->role.name, slug, sizeof slug);
    const struct policy_role *r = policy_for(t->guard.policy, (struct str){slug, n});
    *ret_slug = r->slug;
    return r;
}

/* The verdict as it is stored and sent; "" when there is nothing to tell. */
static struct str verdict_json(struct turn *t, const struct safety_verdict *v,
                               enum safety_direction d, struct str words, struct str notice) {
    struct buf b;
    struct str s = STR("");
    if (v->action == SAFETY_ALLOW && !notice.n)
        return s;
    buf_init(&b, JSON_CAP);
    buf_addf(&b, "{\"direction\":\"%s\",", safety_direction_name(d));
    size_t at = b.n;
    safety_verdict_json(v, &b); /* goes on in our object: its brace is taken out */
    if (!buf_err(&b)) {
        memmove(b.p + at, b.p + at + 1, b.n - at - 1);
        b.n -= 2; /* and the one at its end */
    }
    buf_addz(&b, ",\"message\":");
    if (words.n) {
        buf_addc(&b, '"');
        buf_add_json(&b, words);
        buf_addc(&b, '"');
    } else {
        buf_addz(&b, "null");
    }
    if (notice.n) {
        buf_addz(&b, ",\"notice\":\"");
        buf_add_json(&b, notice);
        buf_addc(&b, '"');
    }
    buf_addc(&b, '}');
    if (!buf_err(&b))
        s = arena_str(t->arena, buf_str(&b));
    buf_deinit(&b);
    return s.p ? s : STR("");
}

/* Takes out what was refused, with its refusal, and marks answers of which nothing is left. */
static void clean_branch(struct turn *t) {
    size_t n = 0;
    for (size_t i = 0; i < t->n_branch; i++) {
        struct message *m = &t->branch[i];
        bool last = i + 1 == t->n_branch;
        if (!last && is_refused(m))
            continue;
        t->branch[n] = *m;
        if (!last && m->content.n == 0 && m->safety.n)
            t->branch[n].content = STR(WITHHELD);
        n++;
    }
    t->n_branch = n;
}

/* The person's messages before this one, newest last. */
static struct str context_of(struct turn *t) {
    struct buf b;
    struct str s = STR("");
    int left = t->guard.policy->context_turns;
    size_t from = t->n_branch - 1, bytes = 0;
    while (from > 0 && left > 0 && bytes < CONTEXT_MAX) {
        from--;
        left -= t->branch[from].sender == SENDER_USER;
        bytes += t->branch[from].sender == SENDER_USER ? t->branch[from].content.n : 0;
    }
    buf_init(&b, CONTEXT_MAX * 2);
    for (size_t i = from; i + 1 < t->n_branch; i++) {
        struct str c = t->branch[i].content;
        if (t->branch[i].sender != SENDER_USER || c.n > CONTEXT_MAX)
            continue;
        if (b.n)
            buf_addc(&b, '\n');
        buf_adds(&b, c);
    }
    if (!buf_err(&b) && b.n)
        s = arena_str(t->arena, buf_str(&b));
    buf_deinit(&b);
    return s.p ? s : STR("");
}

/* Every message of the prompt with what the policy redacts replaced: earlier ones hold it, too. */
static enum err redact_branch(struct turn *t, const struct policy_role *role) {
    struct pii_hit hits[REDACT_HITS];
    for (size_t i = 0; i < t->n_branch; i++) {
        struct str text = t->branch[i].content;
        size_t n = pii_scan(text, hits, REDACT_HITS), m = 0;
        for (size_t k = 0; k < n; k++)
            if (role->pii[hits[k].kind][SAFETY_INPUT] == SAFETY_REDACT)
                hits[m++] = hits[k];
        if (m == 0)
            continue;
        struct buf b;
        buf_init(&b, text.n * 2 + 4096);
        if (!t->guard.vault && !(t->guard.vault = pii_vault_new()))
            return ERR_NOMEM;
        enum err e = pii_redact(t->guard.vault, text, hits, m, &b);
        if (!e && !(t->branch[i].content = arena_str(t->arena, buf_str(&b))).p)
            e = ERR_NOMEM;
        buf_deinit(&b);
        if (e)
            return e;
    }
    return ERR_OK;
}

static void choose_words(struct turn *t, const struct policy_role *role) {
    struct buf b;
    const struct safety_verdict *v = &t->guard.in;
    buf_init(&b, JSON_CAP);
    if (v->action == SAFETY_BLOCK)
        policy_refusal(t->guard.policy, role, v->category, str_from(t->guard.country), &b);
    else if (v->action == SAFETY_WARN)
        policy_warning(t->guard.policy, role, v->category, str_from(t->guard.country), &b);
    t->guard.words = buf_err(&b) || !b.n ? STR("") : arena_str(t->arena, buf_str(&b));
    buf_deinit(&b);
}

static void add_canary(struct turn *t) {
    safety_canary(t->t->o.safety, uuid_str(&t->role.role_id), t->role.version, t->guard.canary);
    char *with =
        arena_printf(t->arena, "%.*s\n[%s]", STR_ARG(t->role.system_prompt), t->guard.canary);
    if (with)
        t->role.system_prompt = str_from(with);
    else
        t->guard.canary[0] = 0;
}

static void judge_job(void *arg) {
    struct turn *t = arg;
    struct str slug;
    const struct policy_role *role = role_of(t, &slug);
    clean_branch(t);
    struct safety_request r = {
        .text = t->branch[t->n_branch - 1].content,
        .context = context_of(t),
        .direction = SAFETY_INPUT,
        .role = slug,
        .embedding = t->guard.embedding,
        .policy = t->guard.policy,
    };
    t->guard.context = r.context;
    t->guard.error = safety_judge(t->t->o.safety, &r, &t->guard.in);
    if (t->guard.error)
        return;
    if (t->guard.in.action == SAFETY_BLOCK)
        return;
    t->guard.error = redact_branch(t, role);
    if (role->canary && t->role.system_prompt.n)
        add_canary(t);
}

/* ---- the step ---- */

static bool is_first_answer(const struct turn *t) {
    for (size_t i = 0; i < t->n_branch; i++)
        if (t->branch[i].sender == SENDER_ASSISTANT)
            return false;
    return true;
}

/* The verdict is final: what follows from it. */
static void settle(struct turn *t) {
    struct str slug;
    const struct policy_role *role = role_of(t, &slug);
    const struct safety_verdict *v = &t->guard.in;
    t->guard.refused = t->unsafe = v->action == SAFETY_BLOCK;
    choose_words(t, role);
    metric_add(M_GUARD_JUDGED, 1);
    metric_add(M_GUARD_BLOCKED, t->guard.refused);
    metric_add(M_GUARD_REDACTED, t->guard.vault != NULL);
    metric_observe(M_GUARD_INPUT_SECONDS, (double)(clock_mono_ns() - t->guard.began_ns) / 1e9);
    t->question.safety = verdict_json(t, v, SAFETY_INPUT, t->guard.words, STR(""));
    bool tells = v->action >= SAFETY_WARN;
    struct safety_verdict none = {.policy_version = v->policy_version};
    t->answer.safety = verdict_json(
        t, tells ? v : &none, SAFETY_INPUT, t->guard.refused ? STR("") : t->guard.words,
        !t->guard.refused && is_first_answer(t) ? role->notice : STR(""));
    if (t->guard.refused) {
        t->title[0] = 0; /* it would repeat what was refused */
        log_event(LOG_INFO, "guard.refused", LF_ID("message_id", &t->question.message_id),
                  LF_Z("category", safety_category_name(v->category)),
                  LF_Z("source", v->findings[0].source), LF_INT("policy", v->policy_version));
    }
}

void turn_guard_settled(struct turn *t) {
    settle(t);
    turn_continue(t);
}

static void on_judged(void *arg) {
    struct turn *t = arg;
    if (t->detached)
        return;
    if (t->guard.error) {
        struct errinfo ei;
        err_set(&ei, t->guard.error, NULL);
        turn_fail(t, &ei);
        return;
    }
    if (!turn_guard_ask(t))
        turn_guard_settled(t);
}

/* ---- the question's embedding: the classifier judges better with it ---- */

static bool model_fits(const struct safety_scorer *s, struct str name) {
    size_t n = strlen(s->embedding_model);
    for (size_t i = 0; i + n <= name.n; i++)
        if (str_eq_nocase(str_sub(name, i, n), str_from(s->embedding_model)))
            return true;
    return false;
}

static void judge_question(struct turn *t) {
    struct errinfo ei;
    timer_free(t->guard.patience);
    t->guard.patience = NULL;
    if (jobs_submit(t->t->o.safety_jobs, judge_job, t->tl->loop, on_judged, t)) {
        err_set(&ei, ERR_OVERLOADED, NULL);
        turn_fail(t, &ei);
    }
}

static void on_embedded(void *ctx, const struct embed_result *r) {
    struct turn *t = ctx;
    const struct safety_scorer *s = safety_get_scorer(t->t->o.safety);
    t->counting = NULL;
    if (!r->err && r->n == 1 && (size_t)r->dimensions == s->embedding_dims &&
        model_fits(s, r->model)) {
        float *copy = arena_array(t->arena, s->embedding_dims, sizeof *copy);
        if (copy)
            memcpy(copy, r->vectors, s->embedding_dims * sizeof *copy);
        t->guard.embedding = copy;
    }
    judge_question(t);
}

/* A model server that is slow to embed does not hold up the answer: it is judged without. */
static void on_embedding_late(void *ctx) {
    struct turn *t = ctx;
    upstream_cancel(t->counting);
    t->counting = NULL;
    judge_question(t);
}

/* False: there is none to be had, and the question is judged without. */
static bool ask_embedding(struct turn *t) {
    const struct safety_scorer *s = safety_get_scorer(t->t->o.safety);
    struct str text = t->branch[t->n_branch - 1].content;
    struct errinfo ei;
    if (!s || !s->embedding_dims || !s->embedding_model || text.n > SAFETY_TEXT_MAX ||
        !(t->guard.patience = timer_new(t->tl->loop, on_embedding_late, t)))
        return false;
    timer_start(t->guard.patience, EMBEDDING_MS, false);
    if (upstream_embed(t->tl->client, STR_NULL, &text, 1, false, on_embedded, t, &t->counting,
                       &ei) == ERR_OK)
        return true;
    timer_free(t->guard.patience);
    t->guard.patience = NULL;
    return false;
}

enum step_result turn_step_guard(struct turn *t, struct errinfo *ei) {
    if (!t->t->o.safety)
        return STEP_DONE;
    t->guard.policy = safety_get_policy(t->t->o.safety);
    t->guard.began_ns = clock_mono_ns();
    if (ask_embedding(t))
        return STEP_WAIT;
    enum err e = jobs_submit(t->t->o.safety_jobs, judge_job, t->tl->loop, on_judged, t);
    if (e) {
        *ei = turn_explain(e, NULL);
        return STEP_FAIL;
    }
    return STEP_WAIT;
}

enum err turn_guard_append(struct store_tx *tx, struct turn *t) {
    if (!t->guard.refused)
        return ERR_OK;
    const struct message *q = &t->branch[t->n_branch - 1];
    struct safety_block b = {.user_id = t->in.user_id,
                             .conversation_id = t->in.conversation_id,
                             .message_id = q->message_id,
                             .path = "native",
                             .verdict = &t->guard.in,
                             .direction = SAFETY_INPUT,
                             .text = q->content};
    return safety_record_block(tx, t->guard.policy, &b);
}

/* ---- the answer ---- */

static void fill_blocked(struct buf *b, const struct turn *t) {
    buf_addf(b, "{\"direction\":\"%s\",\"category\":\"%s\",\"message\":\"",
             t->guard.refused ? "input" : "output",
             safety_category_name(t->guard.refused ? t->guard.in.category : t->guard.out.category));
    buf_add_json(b, t->guard.words);
    buf_addz(b, "\",\"text\":\"");
    buf_add_json(b, buf_str(&t->stream->text));
    buf_addz(b, "\"}");
}

static void fill_reset(struct buf *b, const struct turn *t) {
    event_text(b, buf_str(&t->stream->text));
}

static void announce(struct turn *t) {
    if (t->guard.announced || !t->open)
        return;
    t->guard.announced = true;
    turn_publish_json(t, STREAM_BLOCKED, fill_blocked);
}

void turn_guard_answer(struct turn *t) {
    if (t->guard.refused && !t->guard.announced) {
        announce(t);
        snprintf(t->finish_reason, sizeof t->finish_reason, FILTERED);
        t->answered = true;
        if (!t->stream->text.n) /* else it was taken up again */
            turn_received(t, t->guard.words);
    } else if (t->guard.cut_off) {
        announce(t);
    }
}

static void on_text(void *ctx, struct str text) {
    turn_received(ctx, text);
}

/* Of the answer, what stands before the finding stays. */
static void cut_text(struct turn *t, size_t keep) {
    struct stream *s = t->stream;
    bool shown;
    pthread_mutex_lock(&s->lock);
    keep = utf8_cut(buf_str(&s->text), keep < s->text.n ? keep : s->text.n);
    shown = s->published > keep;
    if (s->text.p)
        s->text.p[s->text.n = keep] = 0;
    if (shown)
        s->published = keep;
    pthread_mutex_unlock(&s->lock);
    if (shown)
        turn_publish_json(t, STREAM_RESET, fill_reset);
}

static void on_block(void *ctx, const struct safety_verdict *v, size_t keep, struct str blocked) {
    struct turn *t = ctx;
    struct str slug;
    struct buf b;
    const struct policy_role *role = role_of(t, &slug);
    turn_hang_up(t);
    t->guard.out = *v;
    t->guard.cut_off = t->unsafe = true;
    t->guard.blocked = arena_str(t->arena, str_sub(blocked, 0, CASE_TEXT_MAX));
    buf_init(&b, JSON_CAP);
    policy_refusal(t->guard.policy, role, v->category, str_from(t->guard.country), &b);
    t->guard.words = buf_err(&b) || !b.n ? STR("") : arena_str(t->arena, buf_str(&b));
    buf_deinit(&b);
    for (size_t i = 0; i < t->guard.out.n; i++) /* places in a window mean nothing in the answer */
        t->guard.out.findings[i].from = t->guard.out.findings[i].to = 0;
    t->answer.safety = verdict_json(t, &t->guard.out, SAFETY_OUTPUT, t->guard.words, STR(""));
    metric_add(M_GUARD_BLOCKED, 1);
    log_event(LOG_INFO, "guard.blocked", LF_ID("message_id", &t->answer.message_id),
              LF_Z("category", safety_category_name(v->category)),
              LF_Z("source", v->findings[0].source), LF_INT("policy", v->policy_version));
    turn_guard_release(t);
    cut_text(t, keep);
    snprintf(t->finish_reason, sizeof t->finish_reason, FILTERED);
    announce(t);
    if (t->stream->text.n == 0)
        turn_received(t, t->guard.words);
    if (!t->answered)
        turn_end_answer(t);
}

/* What was held of an answer that broke off is judged: now the rest. */
static void go_on(struct turn *t) {
    struct errinfo broken = t->guard.broken;
    t->guard.broken.code = ERR_OK;
    turn_guard_release(t);
    if (turn_ask_again(t))
        return;
    if (!t->stopping)
        t->failure = broken;
    turn_end_answer(t);
}

static void on_end(void *ctx, const struct safety_verdict *worst) {
    struct turn *t = ctx;
    if (t->guard.broken.code) {
        go_on(t);
        return;
    }
    metric_add(M_GUARD_JUDGED, 1);
    if (worst->action != SAFETY_ALLOW && t->guard.in.action < SAFETY_WARN) {
        struct str notice = STR(""), slug;
        if (t->answer.safety.n && is_first_answer(t))
            notice = role_of(t, &slug)->notice;
        t->answer.safety = verdict_json(t, worst, SAFETY_OUTPUT, STR(""), notice);
    }
    turn_guard_release(t);
    turn_end_answer(t);
}

static void on_fail(void *ctx, enum err e) {
    struct turn *t = ctx;
    turn_hang_up(t);
    t->failure = turn_explain(e, NULL);
    turn_guard_release(t);
    turn_end_answer(t);
}

static const struct safety_stream_callbacks callbacks = {on_text, on_block, on_end, on_fail};

bool turn_guard_feed(struct turn *t, struct str text) {
    if (!t->guard.policy)
        return false;
    enum err e = ERR_OK;
    if (!t->guard.stream) {
        struct str slug;
        const struct policy_role *role = role_of(t, &slug);
        struct safety_stream_options o = {
            .safety = t->t->o.safety,
            .jobs = t->t->o.safety_jobs,
            .loop = t->tl->loop,
            .policy = t->guard.policy,
            .role = slug,
            .canary = str_from(t->guard.canary),
            .vault = role->restore ? t->guard.vault : NULL,
            .before = buf_str(&t->stream->text),
        };
        e = safety_stream_new(&o, &callbacks, t, &t->guard.stream);
    }
    if (!e)
        e = safety_stream_feed(t->guard.stream, text);
    if (e)
        on_fail(t, e);
    return true;
}

bool turn_guard_end(struct turn *t) {
    if (!t->guard.stream)
        return false;
    safety_stream_end(t->guard.stream);
    return true;
}

bool turn_guard_settle(struct turn *t, const struct chat_result *r) {
    if (!t->guard.stream)
        return false;
    t->guard.broken = turn_explain(r->err, r->ei);
    safety_stream_end(t->guard.stream);
    return true;
}

enum err turn_guard_finish(struct store_tx *tx, struct turn *t) {
    if (!t->guard.cut_off)
        return ERR_OK;
    struct safety_block b = {.user_id = t->in.user_id,
                             .conversation_id = t->in.conversation_id,
                             .message_id = t->answer.message_id,
                             .path = "native",
                             .verdict = &t->guard.out,
                             .direction = SAFETY_OUTPUT,
                             .text = t->guard.blocked.p ? t->guard.blocked : STR("")};
    return safety_record_block(tx, t->guard.policy, &b);
}

void turn_guard_release(struct turn *t) {
    turn_guard_ask_stop(t);
    safety_stream_free(t->guard.stream);
    t->guard.stream = NULL;
}

void turn_guard_free(struct turn *t) {
    turn_guard_release(t);
    pii_vault_free(t->guard.vault);
    policy_unref(t->guard.policy);
}
