/* Requests of the compatible API under the guard: when they are judged, and what follows. See
 * openai_guard.h. What of a request is judged is openai_guard_in.c's. */
#include "api/openai_guard_internal.h"
#include "base/log.h"
#include "base/metrics.h"
#include "safety/record.h"
#include "safety/views.h"

#define TALK_TAIL                                                                                  \
    (2 * SAFETY_TALK_BYTES) /* of one earlier message; SAFETY_TALK_TURNS of them fit */

struct openai_guard *openai_guard_of(struct call *c) {
    return ((struct openai_state *)c->state)->guard;
}

static void guard_free(void *state) {
    struct openai_guard *g = ((struct openai_state *)state)->guard;
    openai_cases_forget(g);
    openai_doubts_stop(g);
    guard_vectors_cancel(&g->vectors);
    pii_vault_free(g->vault);
    policy_unref(g->policy);
}

void openai_guard_fall_back(struct call *c, struct openai_guard *g, enum safety_direction d,
                            struct safety_verdict *v) {
    metric_add(M_GUARD_ASKS_OVER, 1);
    turns_guard_fall_back(
        c->api->o.turns,
        &(struct guard_ask_request){.policy = g->policy, .role = g->role, .direction = d, .v = v},
        "over");
}

const float *openai_guard_talk(const struct openai_guard *g) {
    return g->talk.n ? guard_vectors_of(&g->vectors, g->talk) : NULL;
}

void openai_guard_choose_refusal(struct call *c, struct openai_guard *g) {
    struct buf b;
    buf_init(&b, 65536);
    policy_refusal(g->policy, policy_for(g->policy, g->role), g->verdict.category, STR(""), &b);
    g->refusal = buf_err(&b) || !b.n ? STR("") : arena_str(c->arena, buf_str(&b));
    buf_deinit(&b);
}

/* ---- refusing ---- */

void openai_guard_note(const struct openai_guard *g, const struct safety_verdict *v,
                       enum safety_direction d) {
    metric_add(M_GUARD_BLOCKED, 1);
    log_event(LOG_INFO, "guard.blocked", LF_Z("path", "openai"),
              LF_Z("direction", safety_direction_name(d)),
              LF_Z("category", safety_category_name(v->category)),
              LF_Z("source", v->findings[0].source), LF_INT("policy", g->policy->version));
}

static void refuse(struct call *c) {
    openai_answer(c, openai_guard_of(c)->refusal, "content_filter");
}

static enum err record(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct call *c = arg;
    struct openai_guard *g = openai_guard_of(c);
    struct safety_block b = {.user_id = c->user.user_id,
                             .path = "openai",
                             .verdict = &g->verdict,
                             .direction = g->direction,
                             .text = g->text.p ? g->text : STR("")};
    (void)ei;
    return safety_record_block(tx, g->policy, &b);
}

static void note_block(struct call *c) {
    struct openai_guard *g = openai_guard_of(c);
    openai_guard_note(g, &g->verdict, g->direction);
}

static void recorded(void *arg, enum err e, const struct errinfo *ei) {
    (void)ei;
    if (e)
        log_event(LOG_WARN, "guard.not_recorded", LF_Z("code", err_name(e)));
    refuse(arg);
}

static void submit_judging(void *arg);

static void record_and_refuse(struct call *c) {
    if (!openai_guard_of(c)->refusal.p)
        openai_guard_choose_refusal(c, openai_guard_of(c));
    note_block(c);
    if (store_write(c->api->o.store, record, c, c->loop, recorded))
        recorded(c, ERR_OVERLOADED, NULL);
}

/* ---- the last verdict, beside the model's work ---- */

/* The newest message by itself, with its embedding; without one nothing new would be found. What
 * came before it has had its say in the first verdict, unless the talk as a whole is suspicious. It
 * is short: judged on the loop, without the call's arena, which a job that looks for passages may
 * be using. */
static void judge_beside(struct call *c, struct openai_guard *g) {
    struct safety_verdict v = {.action = SAFETY_ALLOW};
    struct safety_request r = {.text = g->vectors.texts[0],
                               .context = g->context,
                               .direction = SAFETY_INPUT,
                               .role = g->role,
                               .policy = g->policy,
                               .talk_embedding = openai_guard_talk(g),
                               .embedding = guard_vectors_of(&g->vectors, g->vectors.texts[0])};
    if (!r.embedding)
        return;
    r.core_embedding = guard_vectors_of(&g->vectors, safety_view_core(r.text));
    g->error = safety_judge(c->api->o.safety, &r, &v);
    if (g->error)
        return;
    openai_doubts_forget(g, true);
    if (!openai_doubt_add(g, &(struct openai_doubt){SAFETY_INPUT, r.text, g->shown, g->turns,
                                                    g->n_turns, .newest = true, .verdict = v}))
        openai_guard_fall_back(c, g, SAFETY_INPUT, &v);
    if (v.action <= g->verdict.action)
        return;
    g->verdict = v;
    g->text = r.text;
}

bool openai_guard_wait(struct call *c, loop_fn then) {
    struct openai_guard *g = openai_guard_of(c);
    if (!g || g->state != GUARD_BESIDE)
        return false;
    g->settled = then;
    return true;
}

bool openai_guard_refuses(struct call *c) {
    struct openai_guard *g = openai_guard_of(c);
    if (!g || g->state != GUARD_SETTLED || (!g->error && g->verdict.action != SAFETY_BLOCK))
        return false;
    if (g->error)
        api_call_fail(c, g->error, NULL);
    else
        record_and_refuse(c);
    return true;
}

static void leave(void *arg) {
    struct call *c = arg;
    struct openai_guard *g = openai_guard_of(c);
    if (g && g->state == GUARD_SETTLED && !g->error && g->verdict.action == SAFETY_BLOCK) {
        note_block(c);
        openai_case_write(c, g, &g->verdict, g->direction, g->text);
    }
    api_call_free(c);
}

void openai_guard_leave(struct call *c) {
    if (!openai_guard_wait(c, leave))
        leave(c);
}

/* What the guard is uncertain about is asked of the guard model. False: there is nothing to ask. */
static bool clear_doubts(struct call *c, loop_fn then) {
    const struct openai_guard *g = openai_guard_of(c);
    return !g->error && g->verdict.action != SAFETY_BLOCK && openai_doubts_ask(c, then);
}

static void beside_over(void *arg) {
    struct call *c = arg;
    struct openai_guard *g = openai_guard_of(c);
    g->state = GUARD_SETTLED;
    if (g->settled)
        g->settled(c);
}

/* The embedding is there, or there will be none. */
static void go_on_beside(struct call *c, struct openai_guard *g) {
    judge_beside(c, g);
    if (!clear_doubts(c, beside_over))
        beside_over(c);
}

static void vectors_came(void *arg) {
    struct call *c = arg;
    struct openai_guard *g = openai_guard_of(c);
    g->vectors_there = true;
    if (g->state == GUARD_WHOLE)
        submit_judging(c);
    else if (g->state == GUARD_BESIDE)
        go_on_beside(c, g);
}

/* Judged without the embedding. True: all is judged again with it, as nothing but the classifier
 * speaks against it yet. */
static bool wait_for_whole(struct call *c, struct openai_guard *g) {
    bool blocked = g->verdict.action == SAFETY_BLOCK;
    if (g->state != GUARD_FIRST || g->error)
        return false;
    if (!blocked) {
        g->state = GUARD_BESIDE;
        if (g->vectors_there)
            go_on_beside(c, g);
    }
    if (!blocked || !str_starts(str_from(g->verdict.findings[0].source), STR("model:")))
        return false;
    g->state = GUARD_WHOLE;
    g->verdict = (struct safety_verdict){.action = SAFETY_ALLOW};
    openai_doubts_forget(g, false);
    if (g->vectors_there)
        submit_judging(c);
    return true;
}

static void decided(void *arg) {
    struct call *c = arg;
    struct openai_guard *g = openai_guard_of(c);
    metric_add(M_GUARD_JUDGED, 1);
    metric_add(M_GUARD_REDACTED, g->vault != NULL);
    if (g->error) {
        api_call_fail(c, g->error, NULL);
    } else if (g->verdict.action == SAFETY_BLOCK) {
        record_and_refuse(c);
    } else if (!api_call_request(c)) {
        openai_guard_leave(c);
    } else {
        openai_ground(c, g->path);
    }
}

static void judged(void *arg) {
    struct call *c = arg;
    struct openai_guard *g = openai_guard_of(c);
    if (wait_for_whole(c, g))
        return;
    if (g->state != GUARD_WHOLE || !clear_doubts(c, decided))
        decided(c);
}

static void submit_judging(void *arg) {
    struct call *c = arg;
    if (((struct openai_state *)c->state)->body.n <= OPENAI_INLINE_MAX) {
        openai_guard_judge(c);
        judged(c);
        return;
    }
    enum err e = jobs_submit(c->api->o.safety_jobs, openai_guard_judge, c->loop, judged, c);
    if (e)
        api_call_fail(c, e, NULL);
}

/* The text of a message as openai_message_text() puts it together. STR_NULL: none, or too long. */
static struct str text_of(struct call *c, json_val *message) {
    json_val *content = json_get(message, "content");
    struct buf b;
    struct str s = STR_NULL;
    if (yyjson_is_str(content))
        return yyjson_get_len(content) <= SAFETY_TEXT_MAX ? json_str(content) : STR_NULL;
    buf_init(&b, SAFETY_TEXT_MAX);
    if (!openai_message_text(message, &b) && b.n)
        s = arena_str(c->arena, buf_str(&b));
    buf_deinit(&b);
    return s;
}

/* The person's newest messages, the newest first. */
static size_t newest_of_person(json_val *list, json_val **ret, size_t most) {
    size_t n = 0;
    for (size_t i = yyjson_arr_size(list); i > 0 && n < most;) {
        json_val *m = yyjson_arr_get(list, --i);
        if (openai_has_role(m, "user"))
            ret[n++] = m;
    }
    return n;
}

/* What the messages say together goes into g->talk, where the classifier suspects it. Of the
 * earlier ones it reads the ends. */
static void look_at_talk(struct call *c, struct openai_guard *g, json_val *const *m, size_t n,
                         struct str text) {
    struct buf before, talk;
    buf_init(&before, OPENAI_CONTEXT_MAX);
    buf_init(&talk, SAFETY_TEXT_MAX);
    for (size_t i = n; i > 1; i--) {
        struct str one = text_of(c, m[i - 1]);
        if (before.n && one.n)
            buf_addc(&before, '\n');
        if (one.n > TALK_TAIL)
            one = str_sub(one, utf8_cut(one, one.n - TALK_TAIL), one.n);
        buf_adds(&before, one);
    }
    struct safety_request r = {
        .text = text, .context = buf_str(&before), .direction = SAFETY_INPUT};
    if (!buf_err(&before) && !safety_join_suspect_talk(c->api->o.safety, &r, &talk) && talk.n) {
        g->talk = arena_str(c->arena, buf_str(&talk));
        g->context = arena_str(c->arena, safety_view_earlier(r.context));
        if (!g->talk.p || !g->context.p)
            g->talk = g->context = STR("");
    }
    buf_deinit(&before);
    buf_deinit(&talk);
}

/* Of the client's messages the newest is embedded: the earlier ones were judged in their time. */
static bool ask_vectors(struct call *c, struct openai_guard *g) {
    json_val *m[SAFETY_TALK_TURNS + 1];
    size_t turns = (size_t)g->policy->context_turns, k = 1;
    struct str *texts = arena_array(c->arena, 3, sizeof *texts);
    size_t n = newest_of_person(json_get(c->body, "messages"), m,
                                1 + (turns < SAFETY_TALK_TURNS ? turns : SAFETY_TALK_TURNS));
    struct str text = n ? text_of(c, m[0]) : STR_NULL;
    g->asked = g->shown = text.p ? text : STR("");
    if (!texts || !text.n || !utf8_valid(text))
        return false;
    if (n > 1)
        look_at_talk(c, g, m, n, text);
    texts[0] = text;
    texts[k] = safety_view_core(text);
    k += texts[k].n > 0;
    texts[k] = g->talk;
    k += g->talk.n > 0;
    return guard_vectors_ask(c, texts, k, &g->vectors, vectors_came);
}

void openai_guard_request(struct call *c, const char *path) {
    struct openai_state *s = c->state;
    struct openai_guard *g = arena_alloc(c->arena, sizeof *g);
    if (!g) {
        api_call_fail(c, ERR_NOMEM, NULL);
        return;
    }
    *g = (struct openai_guard){.role = s->role,
                               .direction = SAFETY_INPUT,
                               .path = path,
                               .talk = STR(""),
                               .context = STR("")};
    g->asked = g->shown = STR("");
    if (turns_have_guard_model(c->api->o.turns))
        g->doubts = arena_array(c->arena, OPENAI_DOUBTS_MAX, sizeof *g->doubts);
    g->policy = safety_get_policy(c->api->o.safety);
    s->guard = g;
    c->state_free = guard_free;
    if (!ask_vectors(c, g)) {
        submit_judging(c);
    } else if (c->api->o.guard_early && g->vectors.texts[0].n <= OPENAI_INLINE_MAX) {
        g->state = GUARD_FIRST;
        submit_judging(c);
    }
}
