/* What is done after an answer, when nobody waits: summaries of what fell out of the window, and
 * titles by the model. One task at a time on each loop, and none while a turn runs anywhere, unless
 * it waited long (a summary 30 s, a title ten minutes): a turn that starts makes the tasks give way
 * (cancelled, and begun anew later). What they would replace (a title from the question's words, a
 * note of what was asked) is there already, so a task that fails is dropped. So is a title that the
 * guard would not let out in an answer. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "turn/turn_internal.h"

#define TASKS_MAX     64
#define TASK_TRIES    3
#define TASK_OUT_MAX  ((size_t)8 << 10)
#define TITLE_TOKENS  24
#define QUESTION_PART 600 /* bytes of question and answer that a title is made from */

enum task_kind { TASK_TITLE, TASK_SUMMARY };

struct task {
    struct task *next;
    struct turn_loop *tl;
    enum task_kind kind;
    struct uuid conversation_id, user_id;
    struct uuid until;         /* summary: it must still be what the conversation says */
    char *standing;            /* title: what it replaces */
    char *model, *text;        /* owned; model NULL = the default */
    char role[ROLE_SLUG_SIZE]; /* whose policy holds */
    int max_tokens, tries;
    int64_t queued_ns; /* when it began to wait */
    struct upstream_call *call;
    struct buf out;
    char *result; /* in the store's hands */
};

static const char *const instructions[] = {
    [TASK_TITLE] = "You name conversations. Answer with a title of at most six words for the "
                   "conversation below, in its language. Only the title, no quotation marks.",
    [TASK_SUMMARY] = "You summarise conversations so that an assistant can go on with them. Keep "
                     "names, numbers, wishes and decisions. At most 100 words, plain text, in the "
                     "conversation's language.",
};

static void task_free(struct task *k) {
    if (!k)
        return;
    buf_deinit(&k->out);
    free(k->standing);
    free(k->model);
    free(k->text);
    free(k->result);
    free(k);
}

static struct task *task_new(struct turn_loop *tl, const struct turn *t, enum task_kind kind,
                             struct str text) {
    struct task *k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->tl = tl;
    k->kind = kind;
    k->conversation_id = t->in.conversation_id;
    k->user_id = t->in.user_id;
    k->text = strndup(text.p, text.n);
    k->model = t->role.model.n ? strndup(t->role.model.p, t->role.model.n) : NULL;
    (void)role_slug(t->role.name, k->role, sizeof k->role);
    buf_init(&k->out, TASK_OUT_MAX);
    if (k->text && (k->model || !t->role.model.n))
        return k;
    task_free(k);
    return NULL;
}

/* ---- the queue ---- */

/* Under steady load there is no moment without turns: what waited long runs beside them, and the
 * model server puts it behind people (background). */
static bool is_patient(const struct task *k) {
    static const int64_t patience_ms[] = {[TASK_TITLE] = 600000, [TASK_SUMMARY] = 30000};
    return clock_mono_ns() - k->queued_ns < patience_ms[k->kind] * MS;
}

static void enqueue(struct turn_loop *tl, struct task *k) {
    if (!k->queued_ns)
        k->queued_ns = clock_mono_ns();
    struct task **p = &tl->tasks;
    if (tl->n_tasks == TASKS_MAX) { /* the oldest matters least: its conversation has gone on */
        struct task *oldest = tl->tasks;
        tl->tasks = oldest->next;
        tl->n_tasks--;
        task_free(oldest);
    }
    while (*p && (k->kind == TASK_TITLE || (*p)->kind == TASK_SUMMARY)) /* summaries first */
        p = &(*p)->next;
    k->next = *p;
    *p = k;
    tl->n_tasks++;
}

void background_add_summary(struct turn_loop *tl, const struct turn *t) {
    struct str text;
    size_t max = (size_t)t->prompt.in.window; /* bytes: surely within the window */
    if (prompt_summary_request(&t->prompt, max, t->arena, &text))
        return;
    struct task *k = task_new(tl, t, TASK_SUMMARY, text);
    if (!k)
        return;
    k->until = t->prompt.cut_until;
    k->max_tokens = (int)(prompt_summary_cap(t->prompt.in.window) / PROMPT_BYTES_PER_TOKEN);
    enqueue(tl, k);
}

void background_add_title(struct turn_loop *tl, const struct turn *t) {
    struct str question = str_sub(t->in.content, 0, utf8_cut(t->in.content, QUESTION_PART));
    struct str answer = buf_str(&t->stream->text);
    answer.n = utf8_cut(answer, QUESTION_PART);
    char *text =
        arena_printf(t->arena, "User: %.*s\nAssistant: %.*s", STR_ARG(question), STR_ARG(answer));
    struct task *k = text ? task_new(tl, t, TASK_TITLE, str_from(text)) : NULL;
    if (!k)
        return;
    k->max_tokens = TITLE_TOKENS;
    k->standing = strdup(t->title);
    if (k->standing)
        enqueue(tl, k);
    else
        task_free(k);
}

/* ---- the result ---- */

static enum err store_result(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct task *k = arg;
    struct conversation c;
    struct arena *a = arena_new(1 << 20);
    (void)ei;
    if (!a)
        return ERR_NOMEM;
    enum err e = conversation_get(tx, &k->user_id, &k->conversation_id, a, &c);
    if (!e && k->kind == TASK_SUMMARY && uuid_eq(&c.summary_until, &k->until))
        e = conversation_set_summary(tx, &k->conversation_id, str_from(k->result), &k->until);
    if (!e && k->kind == TASK_TITLE && str_eqz(c.title, k->standing))
        e = conversation_set_auto_title(tx, &k->conversation_id, str_from(k->result));
    arena_free(a);
    return e;
}

static void on_result_stored(void *arg, enum err e, const struct errinfo *ei) {
    (void)e, (void)ei; /* what stood there before stays */
    task_free(arg);
}

/* A title is shown without its verdict, so only what needs no word beside it and nothing replaced
 * may be one. It is a line: judged here. */
static bool may_be_shown(const struct task *k, const char *title) {
    struct safety *g = k->tl->t->o.safety;
    struct safety_verdict v;
    struct safety_request r = {
        .text = str_from(title), .direction = SAFETY_OUTPUT, .role = str_from(k->role)};
    if (!g)
        return true;
    if (safety_judge(g, &r, &v))
        return false;
    metric_add(M_GUARD_JUDGED, 1);
    if (v.action < SAFETY_REDACT)
        return true;
    metric_add(M_GUARD_BLOCKED, v.action == SAFETY_BLOCK);
    log_event(LOG_INFO, "guard.title", LF_ID("conversation_id", &k->conversation_id),
              LF_Z("category", safety_category_name(v.category)),
              LF_Z("source", v.findings[0].source), LF_INT("policy", v.policy_version));
    return false;
}

static bool make_result(struct task *k) {
    struct str out = str_trim(buf_str(&k->out));
    if (k->kind == TASK_TITLE) {
        char title[TITLE_SIZE];
        if (!title_clean(out, title) || !may_be_shown(k, title))
            return false;
        k->result = strdup(title);
    } else if (out.n) {
        size_t cap = (size_t)k->max_tokens * PROMPT_BYTES_PER_TOKEN;
        k->result = strndup(out.p, utf8_cut(out, cap < out.n ? cap : out.n));
    }
    return k->result != NULL;
}

/* ---- running ---- */

/* No task runs on this loop any more. */
static struct task *take_running(struct turn_loop *tl) {
    struct task *k = tl->task;
    tl->task = NULL;
    k->call = NULL;
    atomic_fetch_sub(&tl->t->tasks_active, 1);
    return k;
}

static void on_token(void *ctx, struct str text) {
    struct task *k = ctx;
    buf_adds(&k->out, text); /* what is over the cap is not wanted */
}

static void on_done(void *ctx, const struct chat_result *r) {
    struct task *k = ctx;
    struct turn_loop *tl = k->tl;
    take_running(tl);
    if (r->err == ERR_OK && make_result(k) &&
        store_write(tl->t->o.store, store_result, k, tl->loop, on_result_stored) == ERR_OK)
        k = NULL;
    else if (r->err && ++k->tries < TASK_TRIES)
        enqueue(tl, k), k = NULL; /* the next sweep begins it again */
    task_free(k);
    if (r->err == ERR_OK)
        background_start(tl);
}

static enum err submit(struct task *k) {
    static const struct chat_callbacks callbacks = {.on_token = on_token, .on_done = on_done};
    struct chat_message messages[] = {
        {CHAT_SYSTEM, str_from(instructions[k->kind])},
        {CHAT_USER, str_from(k->text)},
    };
    struct chat_request r = {
        .model = str_from(k->model),
        .messages = messages,
        .n_messages = 2,
        .temperature = 0.2,
        .top_p = -1,
        .max_tokens = k->max_tokens,
        .background = true,
    };
    buf_clear(&k->out);
    return upstream_chat(k->tl->client, &r, &callbacks, k, &k->call, NULL);
}

void background_start(struct turn_loop *tl) {
    if (tl->detached || tl->task || !tl->tasks || degrade_now(tl->t) >= DEGRADE_BACKGROUND)
        return;
    /* Count first, look then: a turn does it the other way round, so one of the two sees the other.
     */
    atomic_fetch_add(&tl->t->tasks_active, 1);
    if (atomic_load(&tl->t->running) > 0 && is_patient(tl->tasks)) {
        atomic_fetch_sub(&tl->t->tasks_active, 1);
        return;
    }
    struct task *k = tl->tasks;
    tl->tasks = k->next;
    tl->n_tasks--;
    tl->task = k;
    if (submit(k))
        task_free(take_running(tl));
}

static void give_way(void *arg) {
    struct turn_loop *tl = arg;
    if (!tl->task || tl->detached || !is_patient(tl->task))
        return;
    upstream_cancel(tl->task->call);
    struct task *k = take_running(tl);
    k->next = tl->tasks;
    tl->tasks = k;
    tl->n_tasks++;
}

void background_yield(struct turns *t) {
    if (atomic_load(&t->tasks_active) == 0)
        return;
    pthread_mutex_lock(&t->lock);
    for (int i = 0; i < t->n_loops; i++)
        if (!t->loops[i]->detached && loop_post(t->loops[i]->loop, give_way, t->loops[i]))
            break; /* no memory: the task and the turn share the model for once */
    pthread_mutex_unlock(&t->lock);
}

void background_clear(struct turn_loop *tl) {
    if (tl->task) {
        upstream_cancel(tl->task->call);
        task_free(take_running(tl));
    }
    while (tl->tasks) {
        struct task *k = tl->tasks;
        tl->tasks = k->next;
        task_free(k);
    }
    tl->n_tasks = 0;
}
