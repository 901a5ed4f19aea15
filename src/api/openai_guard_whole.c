/* Whole answers of the compatible API under the guard: every text of every choice is judged as a
 * whole, what is redacted or put back is written into its place, and a choice with anything that is
 * blocked becomes the refusal. See openai_guard.h.
 *
 *   judged ─→ (the guard model, where that is uncertain) ─→ one case, of the worst choice ─→ reply
 */
#include "api/openai_guard_internal.h"
#include "api/openai_parts.h"
#include "base/metrics.h"
#include "safety/json_text.h"

struct reading {
    struct call *c;
    struct openai_guard *g;
    const struct policy_role *role;
    yyjson_mut_doc *d;
    size_t at; /* number of the choice */
    yyjson_mut_val *choice;
    bool altered; /* the choice was */
    bool blocked; /* the choice is */
    bool changed; /* the answer was */
    bool failed;  /* for want of memory */
};

/* ---- blocking ---- */

/* Nothing of the choice stays: no reasoning, no calls of tools, no tokens. */
static void put_refusal(struct reading *x) {
    yyjson_mut_val *message = yyjson_mut_obj(x->d), *choice = x->choice;
    struct str words = x->g->refusal;
    bool had = yyjson_mut_obj_get(choice, "logprobs") != NULL;
    bool good = message && yyjson_mut_obj_add_str(x->d, message, "role", "assistant") &&
                yyjson_mut_obj_add_strncpy(x->d, message, "content", words.p, words.n) &&
                yyjson_mut_obj_put(choice, yyjson_mut_str(x->d, "message"), message) &&
                yyjson_mut_obj_put(choice, yyjson_mut_str(x->d, "finish_reason"),
                                   yyjson_mut_str(x->d, "content_filter"));
    if (good && had)
        good = yyjson_mut_obj_put(choice, yyjson_mut_str(x->d, "logprobs"), yyjson_mut_null(x->d));
    x->failed = x->failed || !good;
}

/* The worst of them becomes the answer's case. */
static void block(struct reading *x, const struct safety_verdict *v, struct str text) {
    struct openai_guard *g = x->g;
    bool worse = !g->blocked || v->findings[0].score > g->verdict.findings[0].score;
    if (worse) {
        g->blocked = true;
        g->verdict = *v;
        g->text = arena_str(x->c->arena, str_sub(text, 0, utf8_cut(text, CASE_TEXT_MAX)));
        x->failed = x->failed || !g->text.p;
    }
    struct safety_verdict worst = g->verdict;
    g->verdict = *v; /* the refusal says what this one is about */
    openai_guard_choose_refusal(x->c, g);
    g->verdict = worst;
    put_refusal(x);
    x->blocked = x->changed = true;
}

/* ---- one text ---- */

struct text {
    const struct reading *x;
    struct str judged;
    struct buf cuts;
};

/* What of it may go out. */
static enum err take(void *ctx, size_t from, size_t to, struct buf *out) {
    const struct text *t = ctx;
    struct pii_vault *vault = t->x->role->restore ? t->x->g->vault : NULL;
    struct buf cut;
    if (!vault)
        return safety_cut(&t->cuts, t->judged, from, to, out);
    buf_init(&cut, OPENAI_TEXT_CAP);
    enum err e = safety_cut(&t->cuts, t->judged, from, to, &cut);
    if (!e)
        e = pii_restore(vault, buf_str(&cut), out);
    buf_deinit(&cut);
    return e;
}

static enum err judge(struct reading *x, struct str text, struct safety_verdict *v) {
    struct safety_request r = {.text = text,
                               .direction = SAFETY_OUTPUT,
                               .role = x->g->role,
                               .policy = x->g->policy,
                               .canary = str_from(x->g->canary)};
    enum err e = safety_judge(x->c->api->o.safety, &r, v);
    return e ? e : openai_guard_doubt(x->c, &r, false, x->at, v);
}

/* Judges the string and writes it anew where that is due. json: it is JSON with texts in it. */
static enum err read_text(struct reading *x, yyjson_mut_val *v, bool json) {
    struct str given = {yyjson_mut_get_str(v), yyjson_mut_get_len(v)};
    struct text t = {.x = x, .judged = given};
    struct json_text parts;
    struct safety_verdict verdict;
    struct buf strings, out;
    enum err e = ERR_OK;
    if (x->blocked || !given.n)
        return ERR_OK;
    json_text_init(&parts, given.n);
    buf_init(&strings, OPENAI_TEXT_CAP);
    buf_init(&out, OPENAI_TEXT_CAP);
    buf_init(&t.cuts, OPENAI_TEXT_CAP * sizeof(struct safety_span));
    if (json) {
        e = json_text_read(&parts, given, TEXT_ENDS, &strings);
        t.judged = buf_str(&strings);
    }
    if (!e && t.judged.n)
        e = judge(x, t.judged, &verdict);
    bool says = !e && t.judged.n && verdict.n > 0;
    bool restores = x->g->vault && x->role->restore && t.judged.n;
    if (says && verdict.action == SAFETY_BLOCK) {
        block(x, &verdict, t.judged);
    } else if (says || (!e && restores)) {
        e = safety_find_cuts(&verdict, x->role, SAFETY_OUTPUT, t.judged, &t.cuts);
        bool whole = t.cuts.n == 0 && !restores;
        if (!e && !whole)
            e = json ? json_text_write(&parts, t.judged.n, TEXT_ENDS, take, &t, &out)
                     : take(&t, 0, t.judged.n, &out);
        if (!e && !whole && !str_eq(buf_str(&out), given)) {
            struct str s = arena_str(x->c->arena, buf_str(&out));
            x->altered = x->changed = true;
            e = s.p && yyjson_mut_set_strn(v, s.p, s.n) ? ERR_OK : ERR_NOMEM;
        }
    }
    json_text_deinit(&parts);
    buf_deinit(&strings);
    buf_deinit(&out);
    buf_deinit(&t.cuts);
    return e;
}

/* ---- a message ---- */

static bool is_key(yyjson_mut_val *key, const char *const *names) {
    for (size_t i = 0; names[i]; i++)
        if (yyjson_mut_equals_str(key, names[i]))
            return true;
    return false;
}

/* All texts of a value, by the name under which they stand. Words of the protocol are no texts, nor
 * is a sound. */
static enum err read_value(struct reading *x, yyjson_mut_val *obj, yyjson_mut_val *key,
                           yyjson_mut_val *v) {
    static const char *const labels[] = {"role", "id", "type", NULL};
    static const char *const sounds[] = {"data", NULL};
    enum err e = ERR_OK;
    if (yyjson_mut_is_str(v) && key && is_key(key, labels)) {
        if (!openai_is_label(v) && yyjson_mut_set_strn(v, "", 0))
            x->altered = x->changed = true;
    } else if (yyjson_mut_is_str(v)) {
        struct str s = {yyjson_mut_get_str(v), yyjson_mut_get_len(v)};
        bool name = key && yyjson_mut_equals_str(key, "name");
        if ((key && is_key(key, sounds) && yyjson_mut_obj_get(obj, "transcript")) ||
            (name && openai_is_tool(x->c->body, s)))
            return ERR_OK;
        e = read_text(x, v, key && yyjson_mut_equals_str(key, "arguments"));
    } else if (yyjson_mut_is_arr(v)) {
        yyjson_mut_arr_iter it = yyjson_mut_arr_iter_with(v);
        for (yyjson_mut_val *i; !e && !x->blocked && (i = yyjson_mut_arr_iter_next(&it));)
            e = read_value(x, v, key, i);
    } else if (yyjson_mut_is_obj(v)) {
        yyjson_mut_obj_iter it = yyjson_mut_obj_iter_with(v);
        for (yyjson_mut_val *k; !e && !x->blocked && (k = yyjson_mut_obj_iter_next(&it));)
            e = read_value(x, v, k, yyjson_mut_obj_iter_get_val(k));
    }
    return e;
}

/* The sound says what stood in the transcript. */
static enum err read_audio(struct reading *x, yyjson_mut_val *audio) {
    bool before = x->altered;
    x->altered = false;
    enum err e = read_value(x, NULL, NULL, audio);
    if (x->altered)
        yyjson_mut_obj_remove_key(audio, "data");
    x->altered = x->altered || before;
    return e;
}

static enum err read_choice(struct reading *x) {
    yyjson_mut_val *message = yyjson_mut_obj_get(x->choice, "message");
    yyjson_mut_obj_iter it = yyjson_mut_obj_iter_with(message);
    enum err e = ERR_OK;
    x->altered = x->blocked = false;
    if (openai_keep_known(x->choice, openai_choice_members))
        x->changed = true;
    for (yyjson_mut_val *k; !e && !x->blocked && (k = yyjson_mut_obj_iter_next(&it));) {
        yyjson_mut_val *v = yyjson_mut_obj_iter_get_val(k);
        e = yyjson_mut_equals_str(k, "audio") ? read_audio(x, v) : read_value(x, message, k, v);
    }
    if (!e && x->altered && !x->blocked && yyjson_mut_obj_get(x->choice, "logprobs") &&
        !yyjson_mut_obj_put(x->choice, yyjson_mut_str(x->d, "logprobs"), yyjson_mut_null(x->d)))
        x->failed = true; /* the tokens spell what was written before */
    return e;
}

/* ---- an answer ---- */

static enum err read_answer(struct reading *x) {
    yyjson_mut_val *root = yyjson_mut_doc_get_root(x->d);
    yyjson_mut_arr_iter it = yyjson_mut_arr_iter_with(yyjson_mut_obj_get(root, "choices"));
    enum err e = ERR_OK;
    if (openai_keep_known(root, openai_answer_members))
        x->changed = true;
    for (x->at = 0; !e && (x->choice = yyjson_mut_arr_iter_next(&it)); x->at++)
        e = read_choice(x);
    return e ? e : openai_doubts_read_answer(x->c, x->g);
}

/* What the guard model spoke against. */
static enum err block_doubted(struct reading *x) {
    yyjson_mut_val *list = yyjson_mut_obj_get(yyjson_mut_doc_get_root(x->d), "choices");
    for (size_t i = 0; i < x->g->n_doubts; i++) {
        const struct openai_doubt *d = &x->g->doubts[i];
        x->choice = yyjson_mut_arr_get(list, d->at);
        if (d->verdict.action == SAFETY_BLOCK && x->choice)
            block(x, &d->verdict, d->text);
    }
    return ERR_OK;
}

/* Does something to the answer in c->out. */
static void change_answer(struct call *c, enum err (*change)(struct reading *x)) {
    struct openai_guard *g = openai_guard_of(c);
    yyjson_doc *doc = NULL;
    struct reading x = {.c = c, .g = g, .role = policy_for(g->policy, g->role)};
    g->error = json_parse(buf_str(&c->out), &doc, NULL);
    if (!g->error && !(x.d = yyjson_doc_mut_copy(doc, NULL)))
        g->error = ERR_NOMEM;
    if (!g->error)
        g->error = change(&x);
    if (!g->error && x.failed)
        g->error = ERR_NOMEM;
    if (!g->error && x.changed) {
        buf_clear(&c->out);
        json_write_mut(&c->out, x.d);
        g->error = buf_err(&c->out);
    }
    yyjson_mut_doc_free(x.d);
    yyjson_doc_free(doc);
}

static void answer_job(void *arg) {
    struct openai_guard *g = openai_guard_of(arg);
    g->verdict.action = SAFETY_ALLOW;
    g->direction = SAFETY_OUTPUT;
    g->blocked = false;
    openai_doubts_forget(g, false);
    change_answer(arg, read_answer);
}

static void block_doubted_job(void *arg) {
    change_answer(arg, block_doubted);
}

static void reply(void *arg) {
    api_call_reply(arg);
}

static void answer_over(void *arg) {
    struct call *c = arg;
    struct openai_guard *g = openai_guard_of(c);
    if (g->error) {
        api_call_fail(c, ERR_UPSTREAM, NULL);
        return;
    }
    if (g->blocked) {
        openai_guard_note(g, &g->verdict, SAFETY_OUTPUT);
        openai_case_write(c, g, &g->verdict, SAFETY_OUTPUT, g->text);
    }
    if (!openai_cases_wait(g, reply))
        api_call_reply(c);
}

/* Short answers are read on the loop. */
static void run_job(struct call *c, void (*job)(void *), loop_fn then) {
    if (c->out.n <= OPENAI_INLINE_MAX) {
        job(c);
        then(c);
        return;
    }
    enum err e = jobs_submit(c->api->o.safety_jobs, job, c->loop, then, c);
    if (e)
        api_call_fail(c, e, NULL);
}

static void answer_cleared(void *arg) {
    struct call *c = arg;
    const struct openai_guard *g = openai_guard_of(c);
    for (size_t i = 0; i < g->n_doubts; i++)
        if (g->doubts[i].verdict.action == SAFETY_BLOCK) {
            run_job(c, block_doubted_job, answer_over);
            return;
        }
    answer_over(c);
}

static void answer_judged(void *arg) {
    struct call *c = arg;
    if (openai_guard_of(c)->error || !openai_doubts_ask(c, answer_cleared))
        answer_cleared(c);
}

void openai_guard_answer(struct call *c) {
    run_job(c, answer_job, answer_judged);
}
