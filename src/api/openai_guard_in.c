/* Requests and whole answers of the compatible API under the guard. See openai_guard.h. */
#include "api/openai_guard.h"

#include <stdio.h>

#include "api/openai.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "safety/record.h"
#include "safety/views.h"

#define JUDGED_MAX  8 /* messages of the client that are judged, newest first */
#define CONTEXT_MAX ((size_t)8 << 10)
#define TALK_TAIL                                                                                  \
    (2 * SAFETY_TALK_BYTES) /* of one earlier message; SAFETY_TALK_TURNS of them fit */
#define TEXT_CAP   ((size_t)16 << 20)
#define INLINE_MAX 1024 /* bytes that are judged on the loop: less than a handover costs */

static struct openai_guard *guard_of(struct call *c) {
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

/* ---- the JSON that is judged: it is read where it stands, and copied once something of it has to
 * be replaced ---- */

struct json {
    yyjson_doc *doc;
    yyjson_mut_doc *changed; /* NULL: nothing was replaced */
    bool failed;             /* for want of memory */
};

static void json_close(struct json *x) {
    yyjson_mut_doc_free(x->changed);
    yyjson_doc_free(x->doc);
}

/* The i-th of a list in the copy. NULL: out of memory. */
static yyjson_mut_val *json_item(struct json *x, const char *list, size_t i) {
    if (!x->changed)
        x->changed = yyjson_doc_mut_copy(x->doc, NULL);
    x->failed = x->failed || !x->changed;
    return x->changed ? yyjson_mut_arr_get(
                            yyjson_mut_obj_get(yyjson_mut_doc_get_root(x->changed), list), i)
                      : NULL;
}

static void replace(struct json *x, yyjson_mut_val *obj, const char *key, struct str text) {
    yyjson_mut_doc *d = x->changed;
    if (!d ||
        !yyjson_mut_obj_put(obj, yyjson_mut_strcpy(d, key), yyjson_mut_strncpy(d, text.p, text.n)))
        x->failed = true;
}

/* ---- texts of messages: a string, or parts with a text ---- */

#define WHOLE SIZE_MAX /* in place of a part's number: the content is one string */

typedef enum err (*slot_fn)(void *ctx, size_t part, struct str text);

static enum err each_text(json_val *message, slot_fn fn, void *ctx) {
    json_val *content = json_get(message, "content"), *part;
    size_t i, n;
    if (yyjson_is_str(content))
        return fn(ctx, WHOLE, json_str(content));
    if (!yyjson_is_arr(content))
        return ERR_OK;
    yyjson_arr_foreach(content, i, n, part) {
        json_val *text = json_get(part, "text");
        enum err e = yyjson_is_str(text) ? fn(ctx, i, json_str(text)) : ERR_OK;
        if (e)
            return e;
    }
    return ERR_OK;
}

static enum err add_text(void *ctx, size_t part, struct str text) {
    struct buf *b = ctx;
    (void)part;
    if (b->n && b->p[b->n - 1] != '\n')
        buf_addc(b, ' '); /* parts of one message are one text */
    buf_adds(b, text);
    return buf_err(b);
}

enum err openai_message_text(json_val *message, struct buf *b) {
    return each_text(message, add_text, b);
}

struct judging {
    struct call *c;
    struct openai_guard *g;
    const struct policy_role *role;
    struct json *json;
    size_t at;          /* number of the message that is looked at */
    bool newest_judged; /* of the person's messages */
};

static yyjson_mut_val *slot_of(struct judging *j, size_t part, const char **ret_key) {
    yyjson_mut_val *m = json_item(j->json, "messages", j->at);
    *ret_key = part == WHOLE ? "content" : "text";
    return part == WHOLE ? m : yyjson_mut_arr_get(yyjson_mut_obj_get(m, "content"), part);
}

static void put_text(struct judging *j, size_t part, struct str text) {
    const char *key;
    yyjson_mut_val *slot = slot_of(j, part, &key);
    replace(j->json, slot, key, text);
}

/* As it is by now. */
static struct str text_now(struct judging *j, size_t part, struct str text) {
    const char *key;
    if (!j->json->changed)
        return text;
    yyjson_mut_val *slot = slot_of(j, part, &key), *now = yyjson_mut_obj_get(slot, key);
    return yyjson_mut_is_str(now) ? (struct str){yyjson_mut_get_str(now), yyjson_mut_get_len(now)}
                                  : text;
}

/* Appends the text with what the policy redacts replaced; nothing when there is nothing of it. */
static enum err redact(struct judging *j, struct str text, enum safety_direction d, struct buf *b) {
    return safety_redact(j->c->api->o.safety, j->role, d, text, &j->g->vault, b);
}

static enum err redact_text(void *ctx, size_t part, struct str given) {
    struct judging *j = ctx;
    struct buf b;
    buf_init(&b, TEXT_CAP);
    enum err e = redact(j, text_now(j, part, given), SAFETY_INPUT, &b);
    if (!e && b.n)
        put_text(j, part, buf_str(&b));
    buf_deinit(&b);
    return e;
}

/* What a tool brought is a passage: orders to the model are taken out. */
static enum err scan_tool(void *ctx, size_t part, struct str text) {
    struct judging *j = ctx;
    struct safety_passage p;
    enum err e = safety_scan_passage(j->c->api->o.safety, text, j->g->role, &p);
    if (e)
        return e;
    if (p.removed || p.replaced) {
        put_text(j, part, buf_str(&p.kept));
        metric_add(M_GUARD_SENTENCES_CUT, (int64_t)p.removed);
    }
    buf_deinit(&p.kept);
    return ERR_OK;
}

/* ---- the request ---- */

static bool has_role(json_val *m, const char *name) {
    return str_eqz(json_get_str(m, "role"), name);
}

/* The person's messages before number `at`, oldest first. */
static enum err context_before(json_val *list, size_t at, int turns, struct buf *b) {
    size_t from = at;
    for (int left = turns; from > 0 && left > 0;)
        left -= has_role(yyjson_arr_get(list, --from), "user");
    for (size_t i = from; i < at; i++) {
        json_val *m = yyjson_arr_get(list, i);
        if (!has_role(m, "user"))
            continue;
        if (b->n)
            buf_addc(b, '\n');
        enum err e = each_text(m, add_text, b);
        if (e)
            return e;
    }
    if (b->n > CONTEXT_MAX)
        buf_drop(b, b->n - CONTEXT_MAX + utf8_cut(buf_str(b), 0));
    return buf_err(b);
}

static const float *talk_vector(const struct openai_guard *g) {
    return g->talk.n ? guard_vectors_of(&g->vectors, g->talk) : NULL;
}

static void fall_back(struct call *c, struct openai_guard *g, enum safety_direction d,
                      struct safety_verdict *v) {
    metric_add(M_GUARD_ASKS_OVER, 1);
    turns_guard_fall_back(
        c->api->o.turns,
        &(struct guard_ask_request){.policy = g->policy, .role = g->role, .direction = d, .v = v},
        "over");
}

/* Kept until it is asked about; what cannot be goes by the fallback, which is in *v then. */
static enum err note_doubt(struct judging *j, const struct safety_request *r,
                           struct safety_verdict *v, bool newest, size_t at) {
    struct openai_guard *g = j->g;
    if (!g->doubts || !v->uncertain)
        return ERR_OK;
    if (g->n_doubts == OPENAI_DOUBTS_MAX) {
        fall_back(j->c, g, r->direction, v);
        return ERR_OK;
    }
    struct str text = str_sub(r->text, 0, utf8_cut(r->text, GUARD_TEXT_MAX));
    if (!(text = arena_str(j->c->arena, text)).p)
        return ERR_NOMEM;
    (void)openai_doubt_add(g, &(struct openai_doubt){.direction = r->direction,
                                                     .text = text,
                                                     .shown = text,
                                                     .part = text.n < r->text.n,
                                                     .newest = newest,
                                                     .at = at,
                                                     .verdict = *v});
    return ERR_OK;
}

static enum err judge_message(struct judging *j, json_val *list, size_t at) {
    struct buf text, context;
    struct safety_verdict v;
    json_val *m = yyjson_arr_get(list, at);
    bool user = has_role(m, "user"), answer = has_role(m, "assistant");
    buf_init(&text, TEXT_CAP);
    buf_init(&context, TEXT_CAP);
    enum err e = each_text(m, add_text, &text);
    if (!e && user)
        e = context_before(list, at, j->g->policy->context_turns, &context);
    struct safety_request r = {.text = buf_str(&text),
                               .context = buf_str(&context),
                               .direction = answer ? SAFETY_OUTPUT : SAFETY_INPUT,
                               .role = j->g->role,
                               .policy = j->g->policy};
    if (j->g->state == GUARD_WHOLE) /* else they may just be coming */
        r.embedding = guard_vectors_of(&j->g->vectors, r.text);
    if (r.embedding)
        r.core_embedding = guard_vectors_of(&j->g->vectors, safety_view_core(r.text));
    if (r.embedding && !j->newest_judged)
        r.talk_embedding = talk_vector(j->g);
    bool newest = user && !j->newest_judged;
    j->newest_judged = j->newest_judged || user;
    if (!e && text.n)
        e = safety_judge(j->c->api->o.safety, &r, &v);
    if (!e && text.n)
        e = note_doubt(j, &r, &v, newest, at);
    if (!e && text.n && v.action > j->g->verdict.action) {
        j->g->verdict = v;
        j->g->text = arena_str(j->c->arena, str_sub(r.text, 0, CASE_TEXT_MAX));
    }
    buf_deinit(&text);
    buf_deinit(&context);
    return e;
}

/* Answers were judged when they were given, but for one at the end: that is the beginning of the
 * next one, in the client's words. */
static bool is_clients(json_val *m, bool last) {
    return last || !has_role(m, "assistant");
}

static enum err judge_messages(struct judging *j, json_val *list) {
    enum err e = ERR_OK;
    size_t n = yyjson_arr_size(list), judged = 0;
    for (size_t i = n; i > 0 && !e && judged < JUDGED_MAX && j->g->verdict.action < SAFETY_BLOCK;) {
        json_val *m = yyjson_arr_get(list, --i);
        bool by_role = i == 0 && j->g->role.n; /* the role's own prompt, put there by us */
        if (has_role(m, "tool") || has_role(m, "function")) {
            j->at = i;
            e = each_text(m, scan_tool, j);
        } else if (!by_role && is_clients(m, i + 1 == n)) {
            judged++;
            e = judge_message(j, list, i);
        }
    }
    return e;
}

static void add_canary(struct judging *j, json_val *list) {
    json_val *content = json_get(yyjson_arr_get_first(list), "content");
    if (!j->role->canary || !j->g->role.n || !yyjson_is_str(content))
        return;
    j->at = 0;
    struct str now = text_now(j, WHOLE, json_str(content));
    safety_canary(j->c->api->o.safety, j->g->role, 0, j->g->canary);
    char *with = arena_printf(j->c->arena, "%.*s\n[%s]", STR_ARG(now), j->g->canary);
    if (with)
        put_text(j, WHOLE, str_from(with));
    else
        j->g->canary[0] = 0;
}

static void choose_refusal(struct call *c, struct openai_guard *g) {
    struct buf b;
    buf_init(&b, 65536);
    policy_refusal(g->policy, policy_for(g->policy, g->role), g->verdict.category, STR(""), &b);
    g->refusal = buf_err(&b) || !b.n ? STR("") : arena_str(c->arena, buf_str(&b));
    buf_deinit(&b);
}

static enum err write_changed(const struct json *x, struct buf *b) {
    if (x->failed)
        return ERR_NOMEM;
    json_write_mut(b, x->changed);
    return buf_err(b);
}

static enum err judge_body(struct call *c, struct openai_state *s) {
    struct openai_guard *g = s->guard;
    struct json json = {0};
    struct judging j = {.c = c, .g = g, .role = policy_for(g->policy, g->role), .json = &json};
    json_val *m;
    size_t n;
    enum err e = json_parse(s->body, &json.doc, NULL);
    json_val *list = json_get(yyjson_doc_get_root(json.doc), "messages");
    if (!e)
        e = judge_messages(&j, list);
    yyjson_arr_foreach(list, j.at, n, m) {
        if (!e && g->verdict.action < SAFETY_BLOCK)
            e = each_text(m, redact_text, &j);
    }
    if (!e && g->verdict.action < SAFETY_BLOCK)
        e = openai_doubts_read(c, g, list);
    if (!e && g->verdict.action < SAFETY_BLOCK)
        add_canary(&j, list);
    if (!e && (json.changed || json.failed)) {
        struct buf b;
        buf_init(&b, TEXT_CAP * 2);
        e = write_changed(&json, &b);
        if (!e && !(s->body = arena_str(c->arena, buf_str(&b))).p)
            e = ERR_NOMEM;
        buf_deinit(&b);
    }
    json_close(&json);
    return e;
}

static void judge_job(void *arg) {
    struct call *c = arg;
    struct openai_guard *g = guard_of(c);
    int64_t began = clock_mono_ns();
    g->error = judge_body(c, c->state);
    if (!g->error && g->verdict.action == SAFETY_BLOCK)
        choose_refusal(c, g);
    metric_observe(M_GUARD_INPUT_SECONDS, (double)(clock_mono_ns() - began) / 1e9);
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
    openai_answer(c, guard_of(c)->refusal, "content_filter");
}

static enum err record(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct call *c = arg;
    struct openai_guard *g = guard_of(c);
    struct safety_block b = {.user_id = c->user.user_id,
                             .path = "openai",
                             .verdict = &g->verdict,
                             .direction = g->direction,
                             .text = g->text.p ? g->text : STR("")};
    (void)ei;
    return safety_record_block(tx, g->policy, &b);
}

static void note_block(struct call *c) {
    struct openai_guard *g = guard_of(c);
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
    if (!guard_of(c)->refusal.p)
        choose_refusal(c, guard_of(c));
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
                               .talk_embedding = talk_vector(g),
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
        fall_back(c, g, SAFETY_INPUT, &v);
    if (v.action <= g->verdict.action)
        return;
    g->verdict = v;
    g->text = r.text;
}

bool openai_guard_wait(struct call *c, loop_fn then) {
    struct openai_guard *g = guard_of(c);
    if (!g || g->state != GUARD_BESIDE)
        return false;
    g->settled = then;
    return true;
}

bool openai_guard_refuses(struct call *c) {
    struct openai_guard *g = guard_of(c);
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
    struct openai_guard *g = guard_of(c);
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
    const struct openai_guard *g = guard_of(c);
    return !g->error && g->verdict.action != SAFETY_BLOCK && openai_doubts_ask(c, then);
}

static void beside_over(void *arg) {
    struct call *c = arg;
    struct openai_guard *g = guard_of(c);
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
    struct openai_guard *g = guard_of(c);
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
    struct openai_guard *g = guard_of(c);
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
    struct openai_guard *g = guard_of(c);
    if (wait_for_whole(c, g))
        return;
    if (g->state != GUARD_WHOLE || !clear_doubts(c, decided))
        decided(c);
}

static void submit_judging(void *arg) {
    struct call *c = arg;
    if (((struct openai_state *)c->state)->body.n <= INLINE_MAX) {
        judge_job(c);
        judged(c);
        return;
    }
    enum err e = jobs_submit(c->api->o.safety_jobs, judge_job, c->loop, judged, c);
    if (e)
        api_call_fail(c, e, NULL);
}

/* The text of a message as add_text() puts it together. STR_NULL: none, or too long. */
static struct str text_of(struct call *c, json_val *message) {
    json_val *content = json_get(message, "content");
    struct buf b;
    struct str s = STR_NULL;
    if (yyjson_is_str(content))
        return yyjson_get_len(content) <= SAFETY_TEXT_MAX ? json_str(content) : STR_NULL;
    buf_init(&b, SAFETY_TEXT_MAX);
    if (!each_text(message, add_text, &b) && b.n)
        s = arena_str(c->arena, buf_str(&b));
    buf_deinit(&b);
    return s;
}

/* The person's newest messages, the newest first. */
static size_t newest_of_person(json_val *list, json_val **ret, size_t most) {
    size_t n = 0;
    for (size_t i = yyjson_arr_size(list); i > 0 && n < most;) {
        json_val *m = yyjson_arr_get(list, --i);
        if (has_role(m, "user"))
            ret[n++] = m;
    }
    return n;
}

/* What the messages say together goes into g->talk, where the classifier suspects it. Of the
 * earlier ones it reads the ends. */
static void look_at_talk(struct call *c, struct openai_guard *g, json_val *const *m, size_t n,
                         struct str text) {
    struct buf before, talk;
    buf_init(&before, CONTEXT_MAX);
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
    } else if (c->api->o.guard_early && g->vectors.texts[0].n <= INLINE_MAX) {
        g->state = GUARD_FIRST;
        submit_judging(c);
    }
}

/* ---- whole answers ---- */

/* The tokens spell what was written before. */
static yyjson_mut_val *choice_without_tokens(struct json *x, size_t i) {
    yyjson_mut_val *choice = json_item(x, "choices", i);
    if (choice && yyjson_mut_obj_get(choice, "logprobs") &&
        !yyjson_mut_obj_put(choice, yyjson_mut_str(x->changed, "logprobs"),
                            yyjson_mut_null(x->changed)))
        x->failed = true;
    return choice;
}

static void put_answer(struct judging *j, size_t i, struct str text) {
    yyjson_mut_val *choice = choice_without_tokens(j->json, i);
    replace(j->json, yyjson_mut_obj_get(choice, "message"), "content", text);
}

/* Nothing of the answer stays: no reasoning, no calls of tools. */
static void put_refusal(struct json *x, size_t i, struct str refusal) {
    yyjson_mut_val *choice = choice_without_tokens(x, i);
    yyjson_mut_val *message = choice ? yyjson_mut_obj(x->changed) : NULL;
    if (!message || !yyjson_mut_obj_add_str(x->changed, message, "role", "assistant") ||
        !yyjson_mut_obj_put(choice, yyjson_mut_str(x->changed, "message"), message)) {
        x->failed = true;
        return;
    }
    replace(x, message, "content", refusal);
    replace(x, choice, "finish_reason", STR("content_filter"));
}

static void block_choice(struct judging *j, size_t i, const struct safety_verdict *v,
                         struct str text) {
    struct openai_guard *g = j->g;
    struct openai_blocked *b = arena_alloc(j->c->arena, sizeof *b);
    if (b) {
        text = arena_str(j->c->arena, str_sub(text, 0, utf8_cut(text, CASE_TEXT_MAX)));
        *b = (struct openai_blocked){g->blocked, text.p ? text : STR(""), *v};
        g->blocked = b;
    } else {
        j->json->failed = true;
    }
    g->verdict = *v;
    g->direction = SAFETY_OUTPUT;
    choose_refusal(j->c, g);
    put_refusal(j->json, i, g->refusal);
}

static enum err judge_choice(struct judging *j, size_t i, struct str text) {
    struct openai_guard *g = j->g;
    struct safety_verdict v;
    struct buf b;
    struct safety_request r = {.text = text,
                               .direction = SAFETY_OUTPUT,
                               .role = g->role,
                               .policy = g->policy,
                               .canary = str_from(g->canary)};
    enum err e = safety_judge(j->c->api->o.safety, &r, &v);
    bool restores = g->vault && j->role->restore;
    if (!e)
        e = note_doubt(j, &r, &v, false, i);
    if (e || (v.n == 0 && !restores))
        return e;
    if (v.action == SAFETY_BLOCK) {
        block_choice(j, i, &v, text);
        return ERR_OK;
    }
    struct buf cuts;
    buf_init(&b, TEXT_CAP);
    buf_init(&cuts, TEXT_CAP * sizeof(struct safety_span));
    e = safety_find_cuts(&v, j->role, SAFETY_OUTPUT, text, &cuts);
    if (!e)
        e = safety_cut(&cuts, text, 0, text.n, &b);
    buf_deinit(&cuts);
    if (!e && restores) {
        struct buf with;
        buf_init(&with, TEXT_CAP);
        e = pii_restore(g->vault, buf_str(&b), &with);
        if (!e && !str_eq(buf_str(&with), text))
            put_answer(j, i, buf_str(&with));
        buf_deinit(&with);
    } else if (!e && !str_eq(buf_str(&b), text)) {
        put_answer(j, i, buf_str(&b));
    }
    buf_deinit(&b);
    return e;
}

/* Does something to the answer in c->out. */
static void change_answer(struct call *c, enum err (*change)(struct judging *j)) {
    struct openai_guard *g = guard_of(c);
    struct json json = {0};
    struct judging j = {.c = c, .g = g, .role = policy_for(g->policy, g->role), .json = &json};
    g->error = json_parse(buf_str(&c->out), &json.doc, NULL);
    if (!g->error)
        g->error = change(&j);
    if (!g->error && (json.changed || json.failed)) {
        buf_clear(&c->out);
        g->error = write_changed(&json, &c->out);
    }
    json_close(&json);
}

static enum err judge_choices(struct judging *j) {
    json_val *choice, *list = json_get(yyjson_doc_get_root(j->json->doc), "choices");
    size_t i, n;
    enum err e = ERR_OK;
    yyjson_arr_foreach(list, i, n, choice) {
        json_val *content = json_get(json_get(choice, "message"), "content");
        if (!e && yyjson_is_str(content))
            e = judge_choice(j, i, json_str(content));
    }
    return e ? e : openai_doubts_read_answer(j->c, j->g);
}

static void answer_job(void *arg) {
    struct openai_guard *g = guard_of(arg);
    g->verdict.action = SAFETY_ALLOW;
    g->direction = SAFETY_OUTPUT;
    openai_doubts_forget(g, false);
    change_answer(arg, judge_choices);
}

/* What the guard model spoke against. */
static enum err block_doubted(struct judging *j) {
    for (size_t i = 0; i < j->g->n_doubts; i++) {
        const struct openai_doubt *d = &j->g->doubts[i];
        if (d->verdict.action == SAFETY_BLOCK)
            block_choice(j, d->at, &d->verdict, d->text);
    }
    return ERR_OK;
}

static void block_doubted_job(void *arg) {
    change_answer(arg, block_doubted);
}

static void reply(void *arg) {
    api_call_reply(arg);
}

static void answer_over(void *arg) {
    struct call *c = arg;
    struct openai_guard *g = guard_of(c);
    if (g->error) {
        api_call_fail(c, ERR_UPSTREAM, NULL);
        return;
    }
    for (const struct openai_blocked *b = g->blocked; b; b = b->next) {
        openai_guard_note(g, &b->verdict, SAFETY_OUTPUT);
        openai_case_write(c, g, &b->verdict, SAFETY_OUTPUT, b->text);
    }
    if (!openai_cases_wait(g, reply))
        api_call_reply(c);
}

/* Short answers are read on the loop. */
static void read_answer(struct call *c, void (*job)(void *), loop_fn then) {
    if (c->out.n <= INLINE_MAX) {
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
    const struct openai_guard *g = guard_of(c);
    for (size_t i = 0; i < g->n_doubts; i++)
        if (g->doubts[i].verdict.action == SAFETY_BLOCK) {
            read_answer(c, block_doubted_job, answer_over);
            return;
        }
    answer_over(c);
}

static void answer_judged(void *arg) {
    struct call *c = arg;
    if (guard_of(c)->error || !openai_doubts_ask(c, answer_cleared))
        answer_cleared(c);
}

void openai_guard_answer(struct call *c) {
    read_answer(c, answer_job, answer_judged);
}
