/* What of a request of the compatible API is judged, and as what (the table is in docs/safety.md).
 * See openai_guard.h.
 *
 *   messages, newest first ─┬→ the person's newest, and the last of the client's others: refused
 *                           ├→ earlier ones: left out where they would be refused
 *                           └→ results of tools: passages
 *   all that has a text besides (tools, schemas, …) ─→ as one message of the client's
 *   every text of it all ─→ what the policy redacts is replaced
 *
 * The body is read where it stands, and copied once something of it has to be replaced. */
#include "api/openai_guard_internal.h"
#include "api/openai_redact.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "safety/views.h"

#define JUDGED_MAX 8 /* of the client's messages beside the newest of the person */
#define WITHHELD   "(withheld)"

struct judging {
    struct call *c;
    struct openai_guard *g;
    const struct policy_role *role;
    yyjson_doc *doc;
    json_val **list; /* messages, in the arena */
    size_t n;
    yyjson_mut_doc *changed; /* NULL: nothing was replaced */
    yyjson_mut_val **copies; /* of the messages, then */
    bool newest_judged;      /* of the person's messages */
    size_t judged;           /* others */
};

/* ---- texts of messages: a string, or parts with a text ---- */

static struct str part_text(json_val *part) {
    static const char *const keys[] = {"text", "refusal", "thinking"};
    struct str s = STR_NULL;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !s.p; i++)
        s = json_get_str(part, keys[i]);
    return s;
}

enum err openai_message_text(json_val *message, struct buf *b) {
    json_val *content = json_get(message, "content"), *part;
    size_t i, n;
    if (yyjson_is_str(content)) {
        buf_adds(b, json_str(content));
        return buf_err(b);
    }
    yyjson_arr_foreach(content, i, n, part) {
        struct str text = part_text(part);
        if (text.p && b->n && b->p[b->n - 1] != '\n')
            buf_addc(b, ' '); /* parts of one message are one text */
        if (text.p)
            buf_adds(b, text);
    }
    return buf_err(b);
}

/* ---- replacing ---- */

static enum err make_copy(struct judging *j) {
    if (j->changed)
        return ERR_OK;
    j->changed = yyjson_doc_mut_copy(j->doc, NULL);
    j->copies = arena_array(j->c->arena, j->n + 1, sizeof *j->copies);
    if (!j->changed || !j->copies)
        return ERR_NOMEM;
    yyjson_mut_arr_iter it = yyjson_mut_arr_iter_with(
        yyjson_mut_obj_get(yyjson_mut_doc_get_root(j->changed), "messages"));
    for (size_t i = 0; i < j->n; i++)
        j->copies[i] = yyjson_mut_arr_iter_next(&it);
    return ERR_OK;
}

/* The string becomes another one. */
static enum err put(struct judging *j, yyjson_mut_val *v, struct str text) {
    struct str s = arena_str(j->c->arena, text);
    return s.p && yyjson_mut_set_strn(v, s.p, s.n) ? ERR_OK : ERR_NOMEM;
}

static enum err put_content(struct judging *j, size_t at, struct str text) {
    enum err e = make_copy(j);
    yyjson_mut_val *v = e ? NULL : yyjson_mut_obj_get(j->copies[at], "content");
    return e ? e : put(j, v, text);
}

/* ---- results of tools ---- */

/* What a tool brought is a passage: orders to the model are taken out. part: SIZE_MAX = the whole
 * content is one string. */
static enum err scan_text(struct judging *j, size_t at, size_t part, struct str text) {
    struct safety_passage p;
    enum err e = safety_scan_passage(j->c->api->o.safety, text, j->g->role, &p);
    if (e)
        return e;
    if (p.removed || p.replaced) {
        e = make_copy(j);
        yyjson_mut_val *v = e ? NULL : yyjson_mut_obj_get(j->copies[at], "content");
        if (part != SIZE_MAX)
            v = yyjson_mut_obj_get(yyjson_mut_arr_get(v, part), "text");
        if (!e)
            e = put(j, v, buf_str(&p.kept));
        metric_add(M_GUARD_SENTENCES_CUT, (int64_t)p.removed);
    }
    buf_deinit(&p.kept);
    return e;
}

static enum err scan_tool(struct judging *j, size_t at) {
    json_val *content = json_get(j->list[at], "content"), *part;
    size_t i, n;
    enum err e = ERR_OK;
    if (yyjson_is_str(content))
        return scan_text(j, at, SIZE_MAX, json_str(content));
    yyjson_arr_foreach(content, i, n, part) {
        struct str text = json_get_str(part, "text");
        if (!e && text.p)
            e = scan_text(j, at, i, text);
    }
    return e;
}

/* ---- messages ---- */

/* The person's messages before number `at`, oldest first. */
static enum err context_before(const struct judging *j, size_t at, struct buf *b) {
    size_t from = at;
    for (int left = j->g->policy->context_turns; from > 0 && left > 0;)
        left -= openai_has_role(j->list[--from], "user");
    for (size_t i = from; i < at; i++) {
        if (!openai_has_role(j->list[i], "user"))
            continue;
        if (b->n)
            buf_addc(b, '\n');
        enum err e = openai_message_text(j->list[i], b);
        if (e)
            return e;
    }
    size_t over = b->n > OPENAI_CONTEXT_MAX ? b->n - OPENAI_CONTEXT_MAX : 0;
    while (over > 0 && over < b->n && ((unsigned char)b->p[over] & 0xC0) == 0x80)
        over++;
    buf_drop(b, over);
    return buf_err(b);
}

enum err openai_guard_doubt(struct call *c, const struct safety_request *r, bool newest, size_t at,
                            struct safety_verdict *v) {
    struct openai_guard *g = openai_guard_of(c);
    if (!g->doubts || !v->uncertain)
        return ERR_OK;
    if (g->n_doubts == OPENAI_DOUBTS_MAX) {
        openai_guard_fall_back(c, g, r->direction, v);
        return ERR_OK;
    }
    struct str text = str_sub(r->text, 0, utf8_cut(r->text, GUARD_TEXT_MAX));
    if (!(text = arena_str(c->arena, text)).p)
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

/* A text that may refuse the request. */
static enum err judge_text(struct judging *j, struct safety_request *r, bool newest, size_t at) {
    struct safety_verdict v;
    enum err e = safety_judge(j->c->api->o.safety, r, &v);
    if (!e)
        e = openai_guard_doubt(j->c, r, newest, at, &v);
    if (!e && v.action > j->g->verdict.action) {
        j->g->verdict = v;
        j->g->text = arena_str(j->c->arena, str_sub(r->text, 0, utf8_cut(r->text, CASE_TEXT_MAX)));
    }
    return e;
}

static enum err judge_message(struct judging *j, size_t at, bool newest, struct str text) {
    struct buf context;
    buf_init(&context, OPENAI_TEXT_CAP);
    bool answer = openai_has_role(j->list[at], "assistant");
    enum err e = ERR_OK;
    if (openai_has_role(j->list[at], "user"))
        e = context_before(j, at, &context);
    struct safety_request r = {.text = text,
                               .context = buf_str(&context),
                               .direction = answer ? SAFETY_OUTPUT : SAFETY_INPUT,
                               .role = j->g->role,
                               .policy = j->g->policy};
    if (j->g->state == GUARD_WHOLE) /* else they may just be coming */
        r.embedding = guard_vectors_of(&j->g->vectors, r.text);
    if (r.embedding)
        r.core_embedding = guard_vectors_of(&j->g->vectors, safety_view_core(r.text));
    if (r.embedding && newest)
        r.talk_embedding = openai_guard_talk(j->g);
    if (!e)
        e = judge_text(j, &r, newest, at);
    buf_deinit(&context);
    return e;
}

/* Far back in the chat: who wrote there what is refused may go on, but without it. */
static enum err judge_earlier(struct judging *j, size_t at, struct str text) {
    struct safety_verdict v;
    struct safety_request r = {
        .text = text, .direction = SAFETY_INPUT, .role = j->g->role, .policy = j->g->policy};
    enum err e = safety_judge(j->c->api->o.safety, &r, &v);
    return !e && v.action == SAFETY_BLOCK ? put_content(j, at, STR(WITHHELD)) : e;
}

/* Answers were judged when they were given, but for one at the end: that is the beginning of the
 * next one, in the client's words. */
static enum err take_message(struct judging *j, size_t at) {
    struct buf text;
    enum err e = ERR_OK;
    bool by_role = at == 0 && j->g->role.n; /* the role's own prompt, put there by us */
    bool last = at + 1 == j->n;
    if (by_role || (!last && openai_has_role(j->list[at], "assistant")))
        return ERR_OK;
    if (openai_has_role(j->list[at], "tool") || openai_has_role(j->list[at], "function"))
        return scan_tool(j, at);
    bool newest = !j->newest_judged && openai_has_role(j->list[at], "user");
    j->newest_judged = j->newest_judged || newest;
    bool near = newest || j->judged < JUDGED_MAX;
    j->judged += !newest;
    buf_init(&text, OPENAI_TEXT_CAP);
    e = openai_message_text(j->list[at], &text);
    if (!e && text.n && near)
        e = judge_message(j, at, newest, buf_str(&text));
    else if (!e && text.n)
        e = judge_earlier(j, at, buf_str(&text));
    buf_deinit(&text);
    return e;
}

/* ---- what else has a text ---- */

/* Tools, schemas, names of who speaks and whatever a model server may read besides, in the client's
 * words. */
static enum err judge_rest(struct judging *j, json_val *root) {
    struct buf text;
    size_t i, n;
    json_val *k, *v;
    enum err e = ERR_OK;
    buf_init(&text, OPENAI_TEXT_CAP);
    yyjson_obj_foreach(root, i, n, k, v) {
        if (!openai_is_control(json_str(k)))
            openai_add_texts(v, &text);
    }
    for (i = 0; i < j->n; i++)
        openai_add_texts(json_get(j->list[i], "name"), &text);
    struct safety_request r = {.text = buf_str(&text),
                               .direction = SAFETY_INPUT,
                               .role = j->g->role,
                               .policy = j->g->policy};
    e = buf_err(&text);
    if (!e && text.n)
        e = judge_text(j, &r, false, j->n);
    buf_deinit(&text);
    return e;
}

static enum err redact(struct judging *j) {
    struct openai_redaction r = {j->c->api->o.safety, j->role, SAFETY_INPUT, &j->g->vault,
                                 j->c->arena};
    bool needed = j->changed != NULL;
    enum err e = ERR_OK;
    if (!needed)
        e = openai_needs_redaction(&r, yyjson_doc_get_root(j->doc), &needed);
    if (e || !needed)
        return e;
    e = make_copy(j);
    return e ? e : openai_redact(&r, yyjson_mut_doc_get_root(j->changed));
}

static enum err add_canary(struct judging *j) {
    json_val *content = j->n ? json_get(j->list[0], "content") : NULL;
    if (!j->role->canary || !j->g->role.n || !yyjson_is_str(content))
        return ERR_OK;
    enum err e = make_copy(j);
    yyjson_mut_val *now = e ? NULL : yyjson_mut_obj_get(j->copies[0], "content");
    safety_canary(j->c->api->o.safety, j->g->role, 0, j->g->canary);
    char *with = e ? NULL
                   : arena_printf(j->c->arena, "%.*s\n[%s]", (int)yyjson_mut_get_len(now),
                                  yyjson_mut_get_str(now), j->g->canary);
    return !with ? ERR_NOMEM : put(j, now, str_from(with));
}

/* ---- all of it ---- */

static enum err read_list(struct judging *j, json_val *messages) {
    size_t i, n;
    json_val *m;
    j->list = arena_array(j->c->arena, yyjson_arr_size(messages) + 1, sizeof *j->list);
    if (!j->list)
        return ERR_NOMEM;
    yyjson_arr_foreach(messages, i, n, m) j->list[j->n++] = m;
    return ERR_OK;
}

static enum err write_body(struct judging *j, struct openai_state *s) {
    struct buf b;
    buf_init(&b, OPENAI_TEXT_CAP * 2);
    json_write_mut(&b, j->changed);
    enum err e = buf_err(&b);
    if (!e && !(s->body = arena_str(j->c->arena, buf_str(&b))).p)
        e = ERR_NOMEM;
    buf_deinit(&b);
    return e;
}

static bool goes_on(const struct judging *j, enum err e) {
    return !e && j->g->verdict.action < SAFETY_BLOCK;
}

static enum err judge_body(struct judging *j, struct openai_state *s) {
    enum err e = json_parse(s->body, &j->doc, NULL);
    json_val *root = yyjson_doc_get_root(j->doc), *messages = json_get(root, "messages");
    if (!e)
        e = read_list(j, messages);
    for (size_t i = j->n; i > 0 && goes_on(j, e); i--)
        e = take_message(j, i - 1);
    if (goes_on(j, e))
        e = judge_rest(j, root);
    if (goes_on(j, e))
        e = redact(j);
    if (goes_on(j, e))
        e = openai_doubts_read(j->c, j->g, messages);
    if (goes_on(j, e))
        e = add_canary(j);
    if (!e && j->changed)
        e = write_body(j, s);
    return e;
}

void openai_guard_judge(void *arg) {
    struct call *c = arg;
    struct openai_guard *g = openai_guard_of(c);
    struct judging j = {.c = c, .g = g, .role = policy_for(g->policy, g->role)};
    int64_t began = clock_mono_ns();
    g->error = judge_body(&j, c->state);
    yyjson_mut_doc_free(j.changed);
    yyjson_doc_free(j.doc);
    if (!g->error && g->verdict.action == SAFETY_BLOCK)
        openai_guard_choose_refusal(c, g);
    metric_observe(M_GUARD_INPUT_SECONDS, (double)(clock_mono_ns() - began) / 1e9);
}
