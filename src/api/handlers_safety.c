/* The guard over HTTP: /v1/moderations as OpenAI has it, policies and their trial, cases with their
 * decisions, reports and appeals, and the audit log. */
#include "api/entities.h"
#include "api/guard_vectors.h"
#include "api/handlers.h"
#include "base/clock.h"
#include "base/log.h"
#include "safety/guard.h"
#include "store/safety.h"
#include <stdio.h>

#define INPUTS_MAX  256
#define TEXTS_MAX   500 /* compared at once */
#define CHANGES_MAX 100
#define JOIN_CAP    ((size_t)1 << 20)
#define NO_POLICY   "there is no such policy"

struct safety_work { /* of one call, in its arena */
    void (*job)(struct call *c, struct safety_work *w);
    struct policy *policy;
    struct stored_policy stored;
    struct str text, context, role;
    enum safety_direction direction;
    struct safety_verdict verdict;
    struct judged_text *texts;
    size_t n_texts;
    struct guard_vectors vectors; /* of the texts of a moderation */
    enum err error;
    struct errinfo ei;
};

static void work_free(void *state) {
    policy_unref(((struct safety_work *)state)->policy);
}

static struct safety_work *work_of(struct call *c) {
    if (!c->state && (c->state = arena_alloc(c->arena, sizeof(struct safety_work))))
        c->state_free = work_free;
    return c->state;
}

static enum err need_guard(const struct call *c, struct errinfo *ei) {
    return c->api->o.safety ? ERR_OK
                            : err_set(ei, ERR_UNAVAILABLE, "the guard is off (guard = off)");
}

/* ---- work on the guard's pool ---- */

static void run_work(void *arg) {
    struct call *c = arg;
    struct safety_work *w = c->state;
    w->job(c, w);
}

static void work_done(void *arg) {
    struct call *c = arg;
    struct safety_work *w = c->state;
    if (w->error)
        api_call_fail(c, w->error, &w->ei);
    else
        api_call_next(c);
}

static void start_work(struct call *c, void (*job)(struct call *c, struct safety_work *w)) {
    struct errinfo ei;
    struct safety_work *w = work_of(c);
    enum err e = w ? need_guard(c, &ei) : err_set(&ei, ERR_NOMEM, NULL);
    if (!e) {
        w->job = job;
        buf_clear(&c->out);
        e = jobs_submit(c->api->o.safety_jobs, run_work, c->loop, work_done, c);
        if (e)
            err_set(&ei, e, NULL);
    }
    if (e)
        api_call_fail(c, e, &ei);
}

/* ---- /v1/moderations ---- */

/* OpenAI's categories from ours: a finer one that the guard does not tell apart has the lower score
 * of the two that it is made of. */
static const struct {
    const char *name;
    enum safety_category a, b;
} moderation[] = {
    {"harassment", SAFETY_HARASSMENT, SAFETY_HARASSMENT},
    {"harassment/threatening", SAFETY_HARASSMENT, SAFETY_VIOLENCE},
    {"hate", SAFETY_HATE, SAFETY_HATE},
    {"hate/threatening", SAFETY_HATE, SAFETY_VIOLENCE},
    {"illicit", SAFETY_ILLICIT, SAFETY_ILLICIT},
    {"illicit/violent", SAFETY_ILLICIT, SAFETY_VIOLENCE},
    {"self-harm", SAFETY_SELF_HARM, SAFETY_SELF_HARM},
    {"self-harm/intent", SAFETY_SELF_HARM, SAFETY_SELF_HARM},
    {"self-harm/instructions", SAFETY_SELF_HARM, SAFETY_ILLICIT},
    {"sexual", SAFETY_SEXUAL, SAFETY_SEXUAL},
    {"sexual/minors", SAFETY_SEXUAL_MINORS, SAFETY_SEXUAL_MINORS},
    {"violence", SAFETY_VIOLENCE, SAFETY_VIOLENCE},
    {"violence/graphic", SAFETY_VIOLENCE, SAFETY_VIOLENCE},
};
#define MODERATIONS (sizeof moderation / sizeof *moderation)

static void write_result(struct buf *b, const struct policy *p, const struct safety_verdict *v) {
    bool flags[MODERATIONS], any = false;
    float scores[MODERATIONS];
    for (size_t i = 0; i < MODERATIONS; i++) {
        float x = v->scores[moderation[i].a], y = v->scores[moderation[i].b];
        scores[i] = x < y ? x : y;
        flags[i] = policy_action(&p->base, moderation[i].a, SAFETY_INPUT, scores[i]) >= SAFETY_WARN;
        any = any || flags[i];
    }
    out_open(b, NULL, '{');
    out_bool(b, "flagged", any);
    out_open(b, "categories", '{');
    for (size_t i = 0; i < MODERATIONS; i++)
        out_bool(b, moderation[i].name, flags[i]);
    out_close(b, '}');
    out_open(b, "category_scores", '{');
    for (size_t i = 0; i < MODERATIONS; i++)
        out_num(b, moderation[i].name, (double)scores[i]);
    out_close(b, '}');
    out_open(b, "category_applied_input_types", '{');
    for (size_t i = 0; i < MODERATIONS; i++) {
        out_open(b, moderation[i].name, '[');
        out_strz(b, NULL, "text");
        out_close(b, ']');
    }
    out_close(b, '}');
    out_close(b, '}');
}

static enum err judge_one(struct call *c, struct safety_work *w, struct str text) {
    struct safety_request r = {
        .text = text, .policy = w->policy, .embedding = guard_vectors_of(&w->vectors, text)};
    struct safety_verdict v;
    enum err e = safety_judge(c->api->o.safety, &r, &v);
    if (!e)
        write_result(&c->out, w->policy, &v);
    return e;
}

static enum err bad_input(struct safety_work *w, const char *why) {
    return err_param(&w->ei, ERR_INVALID, "input", "input %s", why);
}

/* A list of parts is one input; images cannot be judged here. */
static enum err judge_parts(struct call *c, struct safety_work *w, json_val *list) {
    struct buf all;
    size_t i, n;
    json_val *part;
    enum err e = ERR_OK;
    buf_init(&all, JOIN_CAP);
    yyjson_arr_foreach(list, i, n, part) {
        struct str text = json_get_str(part, "text");
        if (!str_eqz(json_get_str(part, "type"), "text") || !text.p) {
            e = bad_input(w, "may hold parts of type text only: images are not judged here");
            break;
        }
        if (all.n)
            buf_addc(&all, '\n');
        buf_adds(&all, text);
    }
    if (!e)
        e = buf_err(&all);
    if (!e)
        e = judge_one(c, w, buf_str(&all));
    buf_deinit(&all);
    return e;
}

static enum err judge_list(struct call *c, struct safety_work *w, json_val *list) {
    size_t i, n;
    json_val *v;
    if (yyjson_arr_size(list) == 0 || yyjson_arr_size(list) > INPUTS_MAX)
        return bad_input(w, "must hold 1 to 256 texts");
    if (yyjson_is_obj(yyjson_arr_get_first(list)))
        return judge_parts(c, w, list);
    yyjson_arr_foreach(list, i, n, v) {
        enum err e = yyjson_is_str(v) ? judge_one(c, w, json_str(v))
                                      : bad_input(w, "must be a string, strings, or parts");
        if (e)
            return e;
    }
    return ERR_OK;
}

static void moderate(struct call *c, struct safety_work *w) {
    json_val *input = json_get(c->body, "input");
    char id[48];
    struct uuid u = uuid_new();
    const struct safety_scorer *s = safety_get_scorer(c->api->o.safety);
    snprintf(id, sizeof id, "modr-%s", u.s);
    w->policy = safety_get_policy(c->api->o.safety);
    out_open(&c->out, NULL, '{');
    out_strz(&c->out, "id", id);
    out_strz(&c->out, "model", s ? s->name : "parley-rules");
    out_open(&c->out, "results", '[');
    w->error = yyjson_is_str(input)   ? judge_one(c, w, json_str(input))
               : yyjson_is_arr(input) ? judge_list(c, w, input)
                                      : bad_input(w, "must be a string or a list");
    out_close(&c->out, ']');
    out_close(&c->out, '}');
}

static void start_moderation(void *arg) {
    start_work(arg, moderate);
}

/* Texts that are strings are embedded first, so that they are judged as a question is. */
void api_moderations(struct call *c) {
    struct safety_work *w = work_of(c);
    json_val *input = json_get(c->body, "input"), *v;
    struct str *texts = w ? arena_array(c->arena, INPUTS_MAX, sizeof *texts) : NULL;
    size_t n = 0, i, max;
    if (texts && yyjson_is_str(input) && yyjson_get_len(input))
        texts[n++] = json_str(input);
    if (texts && yyjson_arr_size(input) <= INPUTS_MAX)
        yyjson_arr_foreach(input, i, max, v) {
            if (yyjson_is_str(v) && yyjson_get_len(v) && yyjson_get_len(v) <= SAFETY_TEXT_MAX)
                texts[n++] = json_str(v);
        }
    if (!texts || !c->api->o.safety ||
        !guard_vectors_ask(c, texts, n, &w->vectors, start_moderation))
        start_moderation(c);
}

/* ---- policies ---- */

static void write_policy(struct buf *b, const struct stored_policy *p, bool text) {
    out_open(b, NULL, '{');
    out_id(b, "policy_id", &p->policy_id);
    out_int(b, "version", p->version);
    out_str(b, "author", p->author);
    out_str(b, "note", p->note);
    out_time(b, "created_at", p->created_at);
    out_time(b, "published_at", p->published_at);
    if (text)
        out_str(b, "text", p->body);
    out_close(b, '}');
}

enum err api_policies_list(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct stored_policy *list, live;
    size_t n;
    enum err e = need_guard(c, ei);
    if (!e)
        e = stored_policy_list(tx, c->arena, &list, &n);
    if (e)
        return e;
    bool stored = stored_policy_live(tx, c->arena, &live) == ERR_OK;
    struct policy *p = safety_get_policy(c->api->o.safety);
    out_open(&c->out, NULL, '{');
    out_open(&c->out, "data", '[');
    for (size_t i = 0; i < n; i++)
        write_policy(&c->out, &list[i], false);
    out_close(&c->out, ']');
    out_int(&c->out, "live_version", stored ? live.version : 0);
    out_str(&c->out, "live_text", p->text);
    out_close(&c->out, '}');
    policy_unref(p);
    return ERR_OK;
}

enum err api_policy_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct stored_policy p;
    enum err e = stored_policy_get(tx, &c->id, c->arena, &p);
    if (e)
        return err_set(ei, e, e == ERR_NOT_FOUND ? NO_POLICY : NULL);
    write_policy(&c->out, &p, true);
    return ERR_OK;
}

enum err api_policy_check_job(struct call *c, struct errinfo *ei) {
    struct safety_work *w = work_of(c);
    struct str text = w && w->stored.body.p ? w->stored.body : json_get_str(c->body, "text");
    if (!w)
        return err_set(ei, ERR_NOMEM, NULL);
    return policy_parse(text, w->stored.version, &w->policy, ei);
}

static enum err audit_policy(struct call *c, struct store_tx *tx, const char *event, int version) {
    char detail[64];
    snprintf(detail, sizeof detail, "{\"version\":%d}", version);
    return audit_append(tx, c->user.username, event, str_from(detail));
}

enum err api_policy_create_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct str note = json_get_str(c->body, "note");
    struct stored_policy stored, p = {
                                     .policy_id = uuid_new(),
                                     .author = c->user.username,
                                     .note = note.p ? note : STR(""),
                                     .created_at = clock_wall_ms(),
                                     .body = json_get_str(c->body, "text"),
                                 };
    enum err e = stored_policy_create(tx, &p, c->arena, &stored);
    if (!e)
        e = audit_policy(c, tx, "policy.draft", stored.version);
    if (e)
        return err_set(ei, e, NULL);
    write_policy(&c->out, &stored, true);
    return ERR_OK;
}

enum err api_policy_load(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct safety_work *w = work_of(c);
    enum err e = w ? need_guard(c, ei) : ERR_NOMEM;
    if (!e)
        e = stored_policy_get(tx, &c->id, c->arena, &w->stored);
    return e ? err_set(ei, e, e == ERR_NOT_FOUND ? NO_POLICY : NULL) : ERR_OK;
}

enum err api_policy_publish_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct safety_work *w = c->state;
    enum err e = stored_policy_publish(tx, &c->id, clock_wall_ms());
    if (!e)
        e = audit_policy(c, tx, "policy.publish", w->stored.version);
    if (!e)
        e = stored_policy_get(tx, &c->id, c->arena, &w->stored);
    if (e)
        return err_set(ei, e, NULL);
    write_policy(&c->out, &w->stored, false);
    return ERR_OK;
}

void api_policy_publish_done(struct call *c) {
    struct safety_work *w = c->state;
    log_event(LOG_INFO, "guard.policy", LF_INT("version", w->stored.version));
    safety_set_policy(c->api->o.safety, w->policy);
    w->policy = NULL;
    api_call_next(c);
}

/* ---- trying a text ---- */

enum err api_safety_try_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct safety_work *w = work_of(c);
    struct str id = json_get_str(c->body, "policy_id");
    struct uuid u;
    enum err e = w ? need_guard(c, ei) : ERR_NOMEM;
    if (!e && id.p && uuid_parse(id, &u))
        e = stored_policy_get(tx, &u, c->arena, &w->stored);
    return e == ERR_NOT_FOUND ? err_param(ei, e, "policy_id", NO_POLICY) : e;
}

static void try_text(struct call *c, struct safety_work *w) {
    struct str text = json_get_str(c->body, "policy");
    struct str direction = json_get_str(c->body, "direction"), role = json_get_str(c->body, "role");
    struct str context = json_get_str(c->body, "context");
    if (!text.p)
        text = w->stored.body;
    if (text.p)
        w->error = policy_parse(text, w->stored.version, &w->policy, &w->ei);
    else
        w->policy = safety_get_policy(c->api->o.safety);
    struct safety_request r = {
        .text = json_get_str(c->body, "text"),
        .context = context,
        .role = role,
        .direction = str_eqz(direction, "output")    ? SAFETY_OUTPUT
                     : str_eqz(direction, "passage") ? SAFETY_PASSAGE
                                                     : SAFETY_INPUT,
        .policy = w->policy,
    };
    if (!w->error)
        w->error = safety_judge(c->api->o.safety, &r, &w->verdict);
    if (!w->error)
        safety_verdict_json(&w->verdict, &c->out);
}

void api_safety_try(struct call *c) {
    start_work(c, try_text);
}

/* ---- what a draft would have changed ---- */

enum err api_policy_compare_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct safety_work *w = work_of(c);
    enum err e = api_policy_load(c, tx, ei);
    int limit = (int)json_get_int(c->body, "limit", TEXTS_MAX);
    if (!e && (e = judged_texts(tx, limit, c->arena, &w->texts, &w->n_texts)))
        err_set(ei, e, NULL);
    return e;
}

static void write_action(struct buf *b, const char *key, const struct safety_verdict *v) {
    out_open(b, key, '{');
    out_strz(b, "action", safety_action_name(v->action));
    if (v->action == SAFETY_ALLOW)
        out_null(b, "category");
    else
        out_strz(b, "category", safety_category_name(v->category));
    out_strz(b, "source", v->n ? v->findings[0].source : "");
    out_close(b, '}');
}

static void compare(struct call *c, struct safety_work *w) {
    struct policy *live = safety_get_policy(c->api->o.safety);
    int64_t stricter = 0, looser = 0;
    struct buf *b = &c->out;
    w->error = policy_parse(w->stored.body, w->stored.version, &w->policy, &w->ei);
    out_open(b, NULL, '{');
    out_int(b, "compared", (int64_t)w->n_texts);
    out_open(b, "changes", '[');
    for (size_t i = 0; i < w->n_texts && !w->error; i++) {
        const struct judged_text *t = &w->texts[i];
        struct safety_verdict before, after;
        struct safety_request r = {.text = t->text,
                                   .role = t->role_slug,
                                   .direction = t->is_answer ? SAFETY_OUTPUT : SAFETY_INPUT,
                                   .policy = live};
        w->error = safety_judge(c->api->o.safety, &r, &before);
        r.policy = w->policy;
        if (!w->error)
            w->error = safety_judge(c->api->o.safety, &r, &after);
        if (w->error || before.action == after.action)
            continue;
        stricter += after.action > before.action;
        looser += after.action < before.action;
        if (stricter + looser > CHANGES_MAX)
            continue;
        out_open(b, NULL, '{');
        out_id(b, "message_id", &t->message_id);
        out_strz(b, "direction", safety_direction_name(r.direction));
        write_action(b, "before", &before);
        write_action(b, "after", &after);
        out_close(b, '}');
    }
    out_close(b, ']');
    out_int(b, "stricter", stricter);
    out_int(b, "looser", looser);
    out_close(b, '}');
    policy_unref(live);
}

void api_policy_compare(struct call *c) {
    start_work(c, compare);
}

/* ---- cases ---- */

static void write_case(struct buf *b, const struct safety_case *k) {
    out_open(b, NULL, '{');
    out_id(b, "case_id", &k->case_id);
    out_strz(b, "kind", case_kind_name(k->kind));
    out_strz(b, "state", case_state_name(k->state));
    out_time(b, "created_at", k->created_at);
    out_id(b, "user_id", &k->user_id);
    out_str(b, "username", k->username);
    out_id(b, "conversation_id", &k->conversation_id);
    out_id(b, "message_id", &k->message_id);
    out_str(b, "path", k->path);
    out_str(b, "direction", k->direction);
    out_text_or_null(b, "category", k->category);
    out_int(b, "policy_version", k->policy_version);
    out_str(b, "reason", k->reason);
    out_text_or_null(b, "decided_by", k->decided_by);
    out_time(b, "decided_at", k->decided_at);
    out_str(b, "note", k->note);
    out_raw(b, "verdict", k->verdict);
    out_str(b, "text", k->text);
    out_close(b, '}');
}

static int state_filter(const struct call *c) {
    struct str s = api_call_query(c, "state");
    return s.p ? case_state_from_name(s) : -1;
}

enum err api_cases_list(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct safety_case *list;
    size_t n;
    enum err e = case_list(tx, state_filter(c), &c->page, c->arena, &list, &n);
    if (e)
        return err_set(ei, e, NULL);
    entity_list_open(&c->out);
    for (size_t i = 0; i < n; i++)
        write_case(&c->out, &list[i]);
    struct uuid next = entity_next(&c->page, n, n ? &list[n - 1].case_id : NULL);
    entity_list_close(&c->out, &next);
    return ERR_OK;
}

enum err api_case_decide_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct safety_case k;
    struct str note = json_get_str(c->body, "note");
    int state = case_state_from_name(json_get_str(c->body, "decision"));
    char detail[160];
    enum err e = case_decide(tx, &c->id, (enum case_state)state, c->user.username,
                             note.p ? note : STR(""), clock_wall_ms());
    if (!e)
        e = case_get(tx, &c->id, c->arena, &k);
    if (!e && json_get_bool(c->body, "release", false))
        e = safety_user_hold(tx, &k.user_id, 0, false);
    snprintf(detail, sizeof detail, "{\"case_id\":\"%s\",\"decision\":\"%s\"}", c->id.s,
             state < 0 ? "" : case_state_name((enum case_state)state));
    if (!e)
        e = audit_append(tx, c->user.username, "case.decide", str_from(detail));
    if (e)
        return err_set(ei, e, e == ERR_NOT_FOUND ? "there is no such case" : NULL);
    write_case(&c->out, &k);
    return ERR_OK;
}

/* Decided cases as labelled examples, in the form that `parley eval safety` reads. */
enum err api_examples_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct safety_case *list;
    struct page page = {.limit = 200};
    size_t n = 0;
    c->content_type = c->route->media;
    for (int pages = 0; pages < 50; pages++) {
        enum err e = case_list(tx, -1, &page, c->arena, &list, &n);
        if (e)
            return err_set(ei, e, NULL);
        for (size_t i = 0; i < n; i++) {
            struct buf b;
            if (list[i].state == CASE_OPEN)
                continue;
            /* an appeal or a block is right when the text is harmful; so is a report */
            bool harmful = (list[i].state == CASE_RIGHT) == (list[i].kind != CASE_APPEAL);
            buf_init(&b, 1 << 20);
            out_open(&b, NULL, '{');
            out_str(&b, "text", list[i].text);
            out_int(&b, "harmful", harmful);
            out_open(&b, "categories", '[');
            if (harmful && list[i].category.n)
                out_str(&b, NULL, list[i].category);
            out_close(&b, ']');
            out_str(&b, "direction", list[i].direction);
            out_close(&b, '}');
            buf_adds(&c->out, buf_str(&b));
            buf_addc(&c->out, '\n');
            buf_deinit(&b);
        }
        if (n < (size_t)page.limit)
            break;
        page.after = list[n - 1].case_id;
    }
    return ERR_OK;
}

/* ---- reports and appeals ---- */

static enum err open_case(struct call *c, struct store_tx *tx, enum case_kind kind,
                          struct errinfo *ei) {
    struct message m;
    struct safety_case block, k = {.case_id = uuid_new(),
                                   .kind = kind,
                                   .created_at = clock_wall_ms(),
                                   .user_id = c->user.user_id,
                                   .path = STR("native"),
                                   .category = STR(""),
                                   .verdict = STR("null")};
    enum err e = message_get(tx, &c->user.user_id, &c->id, c->arena, &m);
    if (e)
        return err_set(ei, e, e == ERR_NOT_FOUND ? "there is no such message" : NULL);
    if (case_find(tx, &c->user.user_id, &c->id, kind, c->arena, &block) == ERR_OK)
        return err_set(ei, ERR_CONFLICT, "this was sent already; a person will look at it");
    struct str reason = json_get_str(c->body, "reason");
    k.reason = reason.p ? reason : STR("");
    k.conversation_id = m.conversation_id;
    k.message_id = m.message_id;
    k.direction = m.sender == SENDER_USER ? STR("input") : STR("output");
    k.text = m.content;
    if (m.safety.n)
        k.verdict = m.safety;
    if (kind == CASE_APPEAL) { /* of the refusal or of the message that was refused */
        e = case_find(tx, &c->user.user_id, &m.message_id, CASE_BLOCK, c->arena, &block);
        if (e == ERR_NOT_FOUND && uuid_is_set(&m.parent_id))
            e = case_find(tx, &c->user.user_id, &m.parent_id, CASE_BLOCK, c->arena, &block);
        if (e)
            return err_set(ei, e == ERR_NOT_FOUND ? ERR_CONFLICT : e,
                           e == ERR_NOT_FOUND ? "nothing of this message was blocked" : NULL);
        k.text = block.text;
        k.category = block.category;
        k.direction = block.direction;
        k.verdict = block.verdict;
        k.policy_version = block.policy_version;
    }
    if ((e = case_create(tx, &k)) || (e = case_get(tx, &k.case_id, c->arena, &k)))
        return err_set(ei, e, NULL);
    out_open(&c->out, NULL, '{');
    out_id(&c->out, "case_id", &k.case_id);
    out_strz(&c->out, "kind", case_kind_name(kind));
    out_strz(&c->out, "state", case_state_name(k.state));
    out_close(&c->out, '}');
    return ERR_OK;
}

enum err api_message_report_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    return open_case(c, tx, CASE_REPORT, ei);
}

enum err api_message_appeal_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    return open_case(c, tx, CASE_APPEAL, ei);
}

/* ---- the audit log ---- */

enum err api_audit_list(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct audit_entry *list;
    int64_t before = 0, limit = 50;
    size_t n;
    struct str s = api_call_query(c, "before"), l = api_call_query(c, "limit");
    if (s.p)
        (void)str_to_i64(s, &before);
    if (l.p)
        (void)str_to_i64(l, &limit);
    enum err e = audit_list(tx, before, (int)limit, c->arena, &list, &n);
    if (e)
        return err_set(ei, e, NULL);
    out_open(&c->out, NULL, '{');
    out_open(&c->out, "data", '[');
    for (size_t i = 0; i < n; i++) {
        out_open(&c->out, NULL, '{');
        out_int(&c->out, "seq", list[i].seq);
        out_time(&c->out, "at", list[i].at);
        out_str(&c->out, "actor", list[i].actor);
        out_str(&c->out, "event", list[i].event);
        out_raw(&c->out, "detail", list[i].detail);
        out_str(&c->out, "hash", list[i].hash);
        out_close(&c->out, '}');
    }
    out_close(&c->out, ']');
    out_close(&c->out, '}');
    return ERR_OK;
}
