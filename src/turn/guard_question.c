/* The guard and the question of a turn: it is judged before anything of an answer is seen.
 *
 *   load ─→ guard ─→ (recall … submit) ─→ verdict ─→ append …
 *    │        │                               │
 *    │        │                               └ the verdict with the embedding, made meanwhile
 *    │        └ normalising, rules, personal data and the classifier without the embedding
 *    └ the question's embedding is asked for
 *
 *   verdict ──→ allowed, annotated, warned ─→ the answer goes out
 *          ├──→ redacted (by `guard`) ─→ the model reads placeholders; the answer gets the values
 *          └──→ refused ─→ the model is not asked, or what it was asked is called off and what came
 *               of it forgotten; the refusal is the answer (finish_reason "content_filter"); a case
 *               goes to review
 *
 * Where the talk, the last turns with the question, is suspicious without an embedding, its own is
 * asked for after the question's, and the judgement is made once more before it is the last one.
 *
 * Where starting early is not wanted (turns_options.guard_early), and for what looks harmful
 * already without the embedding, `guard` waits for the embedding and its verdict is the last one.
 *
 * What was refused is no part of later prompts. Short questions are judged on the loop, the others
 * on the guard's job pool. While `guard` judges there, the turn's arena, branch and guard fields
 * are the job's; the judgement beside the model's work has all it needs for itself, so that the
 * turn may end before it. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"
#include "safety/record.h"
#include "safety/views.h"
#include "turn/turn_internal.h"

#define INLINE_MAX   1024 /* bytes that are judged on the loop: less than a handover costs */
#define INLINE_REST  8192 /* the same of those that are looked through for personal data */
#define CONTEXT_MAX  ((size_t)8 << 10)
#define EMBEDDING_MS 500 /* for the embedding of the question */
#define JSON_CAP     ((size_t)64 << 10)
#define WITHHELD     "(withheld)"

static bool is_refused(const struct message *m) {
    return m->safety.n &&
           str_find(m->safety, STR("\"direction\":\"input\",\"action\":\"block\"")) != SIZE_MAX;
}

/* ---- load ---- */

void turn_guard_take_country(struct turn *t, struct str preferences) {
    yyjson_doc *doc = NULL;
    if (preferences.n <= 2 || json_parse(preferences, &doc, NULL)) /* mostly "{}" */
        return;
    struct str s = json_get_str(yyjson_doc_get_root(doc), "country");
    if (s.n == 2)
        snprintf(t->guard.country, sizeof t->guard.country, "%.*s", STR_ARG(s));
    yyjson_doc_free(doc);
}

enum err turn_guard_load(struct store_tx *tx, struct turn *t, struct errinfo *ei) {
    struct user u;
    if (!t->t->o.safety)
        return ERR_OK;
    bool suspended;
    enum err e = safety_user_until(tx, &t->in.user_id, &t->wait_until_ms, &suspended);
    if (!e)
        e = safety_check_until(t->wait_until_ms, suspended, ei);
    if (e || t->in.preferences.p)
        return e;
    e = user_get(tx, &t->in.user_id, t->arena, &u);
    if (e == ERR_OK)
        turn_guard_take_country(t, u.preferences);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* ---- the job: the question ---- */

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
    for (size_t i = 0; i < t->n_branch; i++) {
        struct str text = t->branch[i].content;
        struct buf b;
        buf_init(&b, text.n * 2 + 4096);
        enum err e = safety_redact(t->t->o.safety, role, SAFETY_INPUT, text, &t->guard.vault, &b);
        if (!e && b.n && !(t->branch[i].content = arena_str(t->arena, buf_str(&b))).p)
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

/* Numbers of one text in guard.embedding. */
static size_t row_of(const struct turn *t) {
    return safety_scorer_row(safety_get_scorer(t->t->o.safety));
}

static void judge_job(void *arg) {
    struct turn *t = arg;
    struct str slug;
    const struct policy_role *role = turn_guard_role(t, &slug);
    if (!t->guard.context.p) { /* the first time: later the branch holds placeholders */
        clean_branch(t);
        t->guard.context = context_of(t);
    }
    struct safety_request r = {
        .text = t->guard.asked,
        .context = t->guard.context,
        .direction = SAFETY_INPUT,
        .role = slug,
        .embedding = t->guard.with_embedding ? t->guard.embedding : NULL,
        .talk_embedding = t->guard.talk_embedding,
        .policy = t->guard.policy,
    };
    if (r.embedding && t->guard.has_core)
        r.core_embedding = r.embedding + row_of(t);
    t->guard.error = safety_judge(t->t->o.safety, &r, &t->guard.in);
    if (t->guard.error || t->guard.in.action == SAFETY_BLOCK)
        return;
    t->guard.error = redact_branch(t, role);
    if (role->canary && t->role.system_prompt.n && !t->guard.canary[0])
        add_canary(t);
}

/* ---- the judgement beside the model's work ---- */

struct late_judgement { /* owned by its job; the turn forgets it when it ends */
    struct turn *t;     /* NULL: it has ended */
    struct safety *safety;
    struct policy *policy; /* a reference */
    struct buf text, context;
    char slug[ROLE_SLUG_SIZE];
    float *embedding; /* owned; NULL = none was had */
    size_t core_at;   /* where in it that of the request in a frame begins; 0 = there is none */
    size_t talk_at;   /* the same of the talk's */
    struct safety_verdict verdict;
    enum err error;
};

static void late_free(struct late_judgement *l) {
    policy_unref(l->policy);
    buf_deinit(&l->text);
    buf_deinit(&l->context);
    free(l->embedding);
    free(l);
}

static void late_job(void *arg) {
    struct late_judgement *l = arg;
    struct safety_request r = {.text = buf_str(&l->text),
                               .context = buf_str(&l->context),
                               .direction = SAFETY_INPUT,
                               .role = str_from(l->slug),
                               .embedding = l->embedding,
                               .policy = l->policy};
    if (l->embedding && l->core_at)
        r.core_embedding = l->embedding + l->core_at;
    if (l->embedding && l->talk_at)
        r.talk_embedding = l->embedding + l->talk_at;
    l->error = safety_judge(l->safety, &r, &l->verdict);
}

static bool ask_talk(struct turn *t);

static void on_late_judged(void *arg) {
    struct late_judgement *l = arg;
    struct turn *t = l->t;
    if (t) {
        t->guard.late = NULL;
        t->guard.late_error = l->error;
        if (!l->error)
            t->guard.in = l->verdict;
        t->guard.early = !t->detached && !l->error && ask_talk(t);
    }
    late_free(l);
    if (t && !t->detached && !t->guard.early && turn_is_at(t, turn_step_verdict))
        turn_run(t);
}

/* They have more uses than this one. Without memory it is judged without. */
static void late_take_embeddings(struct late_judgement *l, const struct turn *t) {
    size_t row = row_of(t), n = row * (t->guard.has_core ? 2 : 1);
    bool talk = t->guard.talk_embedding != NULL;
    l->embedding = malloc((n + (talk ? row : 0)) * sizeof *l->embedding);
    if (!l->embedding)
        return;
    memcpy(l->embedding, t->guard.embedding, n * sizeof *l->embedding);
    l->core_at = t->guard.has_core ? row : 0;
    if (talk) {
        l->talk_at = n;
        memcpy(l->embedding + n, t->guard.talk_embedding, row * sizeof *l->embedding);
    }
}

static enum err judge_late(struct turn *t) {
    struct late_judgement *l = calloc(1, sizeof *l);
    struct str slug;
    if (!l)
        return ERR_NOMEM;
    (void)turn_guard_role(t, &slug);
    l->t = t;
    l->safety = t->t->o.safety;
    l->policy = policy_ref(t->guard.policy);
    buf_init(&l->text, t->guard.asked.n + 1);
    buf_init(&l->context, t->guard.context.n + 1);
    buf_adds(&l->text, t->guard.asked);
    buf_adds(&l->context, t->guard.context);
    snprintf(l->slug, sizeof l->slug, "%.*s", STR_ARG(slug));
    if (t->guard.embedding)
        late_take_embeddings(l, t);
    enum err e = buf_err(&l->text) ? buf_err(&l->text) : buf_err(&l->context);
    if (!e)
        e = jobs_submit(t->t->o.safety_jobs, late_job, t->tl->loop, on_late_judged, l);
    if (e)
        late_free(l);
    else
        t->guard.late = l;
    return e;
}

static void on_judged(void *arg);

/* The verdict is final: what follows from it. */
static void settle(struct turn *t) {
    struct str slug;
    const struct policy_role *role = turn_guard_role(t, &slug);
    const struct safety_verdict *v = &t->guard.in;
    struct str said = t->guard.words; /* of an answer that was cut off meanwhile */
    t->guard.refused = v->action == SAFETY_BLOCK;
    t->unsafe = t->unsafe || t->guard.refused;
    choose_words(t, role);
    metric_add(M_GUARD_JUDGED, 1);
    metric_add(M_GUARD_BLOCKED, t->guard.refused);
    metric_add(M_GUARD_REDACTED, t->guard.vault != NULL);
    metric_observe(M_GUARD_INPUT_SECONDS, (double)(clock_mono_ns() - t->guard.began_ns) / 1e9);
    t->question.safety = turn_guard_verdict_json(t, v, SAFETY_INPUT, t->guard.words, STR(""));
    bool tells = v->action >= SAFETY_WARN;
    struct safety_verdict none = {.policy_version = v->policy_version};
    if (t->guard.refused || !t->guard.out_told || (tells && !t->guard.cut_off))
        t->answer.safety = turn_guard_verdict_json(
            t, tells ? v : &none, SAFETY_INPUT, t->guard.refused ? STR("") : t->guard.words,
            !t->guard.refused && turn_guard_is_first(t) ? role->notice : STR(""));
    if (t->guard.cut_off && !t->guard.refused)
        t->guard.words = said;
    if (t->guard.refused) {
        t->title[0] = 0; /* it would repeat what was refused */
        log_event(LOG_INFO, "guard.refused", LF_ID("message_id", &t->question.message_id),
                  LF_Z("category", safety_category_name(v->category)),
                  LF_Z("source", v->findings[0].source), LF_INT("policy", v->policy_version));
    }
}

/* ---- the question's embedding: the classifier judges better with it ---- */

static void judge_question(struct turn *t) {
    struct errinfo ei;
    t->guard.waits = false;
    t->guard.with_embedding = t->guard.embedded && t->guard.embedding;
    t->guard.is_last = t->guard.embedded;
    if (jobs_submit(t->t->o.safety_jobs, judge_job, t->tl->loop, on_judged, t)) {
        err_set(&ei, ERR_OVERLOADED, NULL);
        turn_fail(t, &ei);
    }
}

/* The embedding is there, or there will be none. */
static void embedding_over(struct turn *t) {
    t->guard.embedded = true;
    timer_free(t->guard.embedding_patience);
    t->guard.embedding_patience = NULL;
    t->guard.embedding_call = NULL;
    if (t->detached)
        return;
    if (t->guard.early && (t->guard.late_error = judge_late(t)) != ERR_OK)
        t->guard.early = false;
    if (t->guard.waits)
        judge_question(t);
    else if (t->guard.step_waits || (t->guard.late_error && turn_is_at(t, turn_step_verdict)))
        turn_run(t);
}

/* NULL without memory. */
static float *rows_of(const struct safety_scorer *s, const struct embed_result *r) {
    float *rows = calloc(r->n * safety_scorer_row(s), sizeof *rows);
    if (rows)
        safety_scorer_rows(s, r->n, r->vectors, r->layers, (size_t)r->layer_numbers, rows);
    return rows;
}

static void on_embedded(void *ctx, const struct embed_result *r) {
    struct turn *t = ctx;
    const struct safety_scorer *s = safety_get_scorer(t->t->o.safety);
    if (!r->err && r->n == (t->guard.has_core ? 2 : 1) &&
        safety_scorer_reads(s, r->model, (size_t)r->dimensions) &&
        r->model.n < sizeof t->guard.embedding_model) {
        t->guard.embedding = rows_of(s, r); /* the arena may be in other hands */
        if (t->guard.embedding) {
            t->guard.dimensions = r->dimensions;
            snprintf(t->guard.embedding_model, sizeof t->guard.embedding_model, "%.*s",
                     STR_ARG(r->model));
        }
    }
    embedding_over(t);
}

/* A model server that is slow to embed does not hold up the answer: it is judged without. */
static void on_embedding_late(void *ctx) {
    struct turn *t = ctx;
    upstream_cancel(t->guard.embedding_call);
    embedding_over(t);
}

static enum upstream_embed_how how_to_embed(const struct safety_scorer *s) {
    return s->layer_numbers ? UPSTREAM_EMBED_LAYERS : UPSTREAM_EMBED_PLAIN;
}

/* False: no longer, or without memory. The talk's embedding has what the question's left of the
 * time. */
static bool be_patient(struct turn *t) {
    int64_t now = clock_mono_ns(), ms = t->t->o.guard_wait_ms;
    if (!t->guard.embedding_until_ns)
        t->guard.embedding_until_ns = now + (ms > 0 ? ms : EMBEDDING_MS) * 1000000;
    int64_t left = (t->guard.embedding_until_ns - now + 999999) / 1000000;
    if (left <= 0 || !(t->guard.embedding_patience = timer_new(t->tl->loop, on_embedding_late, t)))
        return false;
    timer_start(t->guard.embedding_patience, left, false);
    return true;
}

static void on_talk_embedded(void *ctx, const struct embed_result *r) {
    struct turn *t = ctx;
    const struct safety_scorer *s = safety_get_scorer(t->t->o.safety);
    if (!r->err && r->n == 1 && safety_scorer_reads(s, r->model, (size_t)r->dimensions))
        t->guard.talk_embedding = rows_of(s, r);
    embedding_over(t);
}

/* True: the talk looks suspicious without its embedding, which is asked for now; embedding_over()
 * judges again. Where the question's was not to be had, nothing is asked. */
static bool ask_talk(struct turn *t) {
    struct errinfo ei;
    struct buf talk;
    struct safety_request r = {
        .text = t->guard.asked, .context = t->guard.context, .direction = SAFETY_INPUT};
    if (t->guard.talk_looked_at || !t->guard.embedding || t->guard.in.action == SAFETY_BLOCK)
        return false;
    t->guard.talk_looked_at = true;
    buf_init(&talk, SAFETY_TEXT_MAX);
    bool asked =
        safety_join_suspect_talk(t->t->o.safety, &r, &talk) == ERR_OK && talk.n && be_patient(t);
    struct str text = buf_str(&talk);
    if (asked && upstream_embed(t->tl->client, STR_NULL, &text, 1,
                                how_to_embed(safety_get_scorer(t->t->o.safety)), on_talk_embedded,
                                t, &t->guard.embedding_call, &ei)) {
        timer_free(t->guard.embedding_patience);
        t->guard.embedding_patience = NULL;
        asked = false;
    }
    buf_deinit(&talk);
    return asked;
}

void turn_guard_embed(struct turn *t, struct str text) {
    struct errinfo ei;
    const struct safety_scorer *s = t->t->o.safety ? safety_get_scorer(t->t->o.safety) : NULL;
    if (t->guard.embedding_asked)
        return;
    t->guard.embedding_asked = t->guard.embedded = true;
    if (!s || !s->embedding_dims || !s->embedding_model || text.n > SAFETY_TEXT_MAX ||
        !be_patient(t))
        return;
    const struct str texts[] = {text, safety_view_core(text)};
    t->guard.has_core = texts[1].n > 0;
    t->guard.embedded =
        upstream_embed(t->tl->client, STR_NULL, texts, t->guard.has_core ? 2 : 1, how_to_embed(s),
                       on_embedded, t, &t->guard.embedding_call, &ei) != ERR_OK;
}

bool turn_guard_vector(struct turn *t, struct str text, const float **ret, int *ret_dimensions) {
    *ret = NULL;
    t->guard.step_waits = false;
    if (!t->guard.embedding_asked || !str_eq(text, t->guard.asked))
        return true;
    t->guard.step_waits = !t->guard.embedded;
    *ret = t->guard.embedded ? t->guard.embedding : NULL;
    *ret_dimensions = t->guard.dimensions;
    return t->guard.embedded;
}

/* ---- the steps ---- */

static bool is_of_model(const struct safety_finding *f) {
    return str_starts(str_from(f->source), STR("model:"));
}

static void on_judged(void *arg) {
    struct turn *t = arg;
    const struct safety_verdict *v = &t->guard.in;
    if (t->detached)
        return;
    bool blocked = v->action == SAFETY_BLOCK;
    bool last = t->guard.error || t->guard.is_last || (blocked && !is_of_model(&v->findings[0]));
    if (t->guard.error) {
        struct errinfo ei;
        err_set(&ei, t->guard.error, NULL);
        turn_fail(t, &ei);
    } else if (last && ask_talk(t)) {
        t->guard.waits = true;
    } else if (last) {
        if (!turn_guard_ask(t))
            turn_guard_settled(t);
    } else if (t->guard.embedded) { /* it came meanwhile */
        judge_question(t);
    } else if (blocked) {
        t->guard.waits = true;
    } else {
        t->guard.early = true;
        turn_continue(t);
    }
}

/* What judging reads: the question and, as far as it counts, what the person said before it. All
 * else is only looked through for personal data, and most of it was a moment ago. */
static bool is_short(const struct turn *t) {
    size_t read = 0, rest = 0;
    int left = t->guard.policy->context_turns + 1;
    for (size_t i = t->n_branch; i > 0 && read <= INLINE_MAX && rest <= INLINE_REST; i--) {
        const struct message *m = &t->branch[i - 1];
        if (m->sender == SENDER_USER && left-- > 0)
            read += m->content.n;
        else
            rest += m->content.n;
    }
    return read <= INLINE_MAX && rest <= INLINE_REST;
}

enum step_result turn_step_guard(struct turn *t, struct errinfo *ei) {
    if (!t->t->o.safety)
        return STEP_DONE;
    t->guard.policy = safety_get_policy(t->t->o.safety);
    t->guard.began_ns = clock_mono_ns();
    t->guard.asked = t->branch[t->n_branch - 1].content;
    turn_guard_embed(t, t->guard.asked);
    if (!t->guard.embedded && (!t->t->o.guard_early || t->in.kind == TURN_RESUME)) {
        t->guard.waits = true;
        return STEP_WAIT;
    }
    t->guard.with_embedding = t->guard.embedded && t->guard.embedding;
    t->guard.is_last = t->guard.embedded;
    if (is_short(t)) {
        judge_job(t);
        on_judged(t); /* goes on, and may have freed it */
        return STEP_WAIT;
    }
    enum err e = jobs_submit(t->t->o.safety_jobs, judge_job, t->tl->loop, on_judged, t);
    if (e) {
        *ei = turn_explain(e, NULL);
        return STEP_FAIL;
    }
    return STEP_WAIT;
}

void turn_guard_settled(struct turn *t) {
    settle(t);
    t->guard.settled = true;
    if (turn_is_at(t, turn_step_guard))
        turn_continue(t);
    else
        turn_run(t); /* at `verdict` */
}

/* Of an answer that was begun before its question was refused nothing remains. */
static void withdraw(struct turn *t) {
    struct stream *s = t->stream;
    turn_hang_up(t);
    turn_guard_release(t);
    pthread_mutex_lock(&s->lock);
    buf_clear(&s->text);
    s->published = 0;
    pthread_mutex_unlock(&s->lock);
    t->answered = t->guard.cut_off = t->guard.out_told = t->guard.announced = false;
    t->guard.blocked = t->approved = t->question_vector = t->question_vector_model = STR_NULL;
    t->answer.retrieved_docs = t->recorded_passages = STR_NULL;
    t->approved_id = (struct uuid){0};
    t->pair = STR_NULL;
    t->examples = (struct turn_examples){.chance = 1};
    t->examples_n = 0;
    t->failure.code = ERR_OK;
    t->finish_reason[0] = 0;
    t->queued_position = t->prompt_tokens = t->completion_tokens = -1;
    t->asked_ns = t->told_ns = 0;
    t->n_found = t->n_web = 0;
    t->guard.clean = 0;
}

/* Nothing is stored and nothing goes out before the verdict is there. */
enum step_result turn_step_verdict(struct turn *t, struct errinfo *ei) {
    if (!t->guard.policy || (t->guard.settled && !t->guard.begun))
        return STEP_DONE;
    t->guard.begun = true;
    if (t->guard.early || t->guard.late)
        return STEP_WAIT;
    if (t->guard.late_error) {
        *ei = turn_explain(t->guard.late_error, NULL);
        return STEP_FAIL;
    }
    if (!t->guard.settled) {
        if (turn_guard_ask(t))
            return STEP_WAIT;
        settle(t);
        t->guard.settled = true;
    }
    if (t->guard.refused)
        withdraw(t);
    return STEP_DONE;
}

void turn_guard_stop_judging(struct turn *t) {
    turn_guard_ask_stop(t); /* about the question: not ended by what becomes of the answer */
    if (t->guard.late)
        t->guard.late->t = NULL;
    t->guard.late = NULL;
    upstream_cancel(t->guard.embedding_call);
    t->guard.embedding_call = NULL;
    timer_free(t->guard.embedding_patience);
    t->guard.embedding_patience = NULL;
}

enum err turn_guard_append(struct store_tx *tx, struct turn *t) {
    if (!t->guard.refused)
        return ERR_OK;
    struct safety_block b = {.user_id = t->in.user_id,
                             .conversation_id = t->in.conversation_id,
                             .message_id = t->branch[t->n_branch - 1].message_id,
                             .path = "native",
                             .verdict = &t->guard.in,
                             .direction = SAFETY_INPUT,
                             .text = t->guard.asked};
    return safety_record_block(tx, t->guard.policy, &b);
}
