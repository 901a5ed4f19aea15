/* The guard model on the compatible API. See openai_guard.h.
 *
 *   judged ─→ uncertain about messages, choices ─→ all asked at once ─→ cleared
 *
 * Each has the same time; what is not answered by then, and what there is no room for, goes by the
 * fallback. */
#include "api/openai.h"
#include "api/openai_guard.h"
#include "store/safety.h"

#define TEXT_CAP ((size_t)16 << 20)

static struct openai_guard *guard_of(struct call *c) {
    return ((struct openai_state *)c->state)->guard;
}

bool openai_doubt_add(struct openai_guard *g, const struct openai_doubt *d) {
    if (!g->doubts || !d->verdict.uncertain)
        return true;
    if (g->n_doubts == OPENAI_DOUBTS_MAX)
        return false;
    g->doubts[g->n_doubts++] = *d;
    return true;
}

void openai_doubts_forget(struct openai_guard *g, bool newest_only) {
    size_t n = 0;
    for (size_t i = 0; newest_only && i < g->n_doubts; i++)
        if (!g->doubts[i].newest)
            g->doubts[n++] = g->doubts[i];
    g->n_doubts = n;
}

void openai_doubts_stop(struct openai_guard *g) {
    for (size_t i = 0; i < g->n_doubts; i++) {
        guard_ask_stop(g->doubts[i].asking);
        g->doubts[i].asking = NULL;
    }
}

/* ---- what the guard model reads ---- */

/* Without what the policy redacts. */
static enum err show(struct call *c, struct openai_guard *g, enum safety_direction d,
                     struct str text, struct str *ret) {
    struct buf b;
    if (!text.n) {
        *ret = STR("");
        return ERR_OK;
    }
    buf_init(&b, TEXT_CAP);
    enum err e = safety_redact(c->api->o.safety, policy_for(g->policy, g->role), d, text, &g->vault,
                               &b); /* of an answer's values nothing is put back */
    *ret = !e && b.n ? arena_str(c->arena, buf_str(&b)) : text;
    buf_deinit(&b);
    return e ? e : ret->p ? ERR_OK : ERR_NOMEM;
}

static bool has_role(json_val *m, const char *name) {
    return str_eqz(json_get_str(m, "role"), name);
}

static enum err read_turn(struct call *c, struct openai_guard *g, json_val *m,
                          struct guard_turn *ret) {
    struct buf b;
    buf_init(&b, TEXT_CAP);
    ret->of_model = has_role(m, "assistant");
    enum err e = openai_message_text(m, &b);
    if (!e)
        e = show(c, g, SAFETY_INPUT, buf_str(&b), &ret->text); /* as the model reads all of them */
    if (!e && b.n && ret->text.p == b.p)                       /* nothing was redacted */
        ret->text = arena_str(c->arena, buf_str(&b));
    buf_deinit(&b);
    return e ? e : ret->text.p ? ERR_OK : ERR_NOMEM;
}

/* The messages of both sides before number `at`, as many as the policy lets be judged with it. */
static enum err read_turns(struct call *c, struct openai_guard *g, json_val *list, size_t at,
                           const struct guard_turn **ret, size_t *ret_n) {
    size_t from = at, n = 0;
    int left = g->policy->context_turns;
    enum err e = ERR_OK;
    struct guard_turn *turns = arena_array(c->arena, GUARD_TALK_TURNS, sizeof *turns);
    for (; from > 0 && left > 0 && n < GUARD_TALK_TURNS; from--) {
        json_val *m = yyjson_arr_get(list, from - 1);
        n += has_role(m, "user") || has_role(m, "assistant");
        left -= has_role(m, "user");
    }
    *ret = turns;
    *ret_n = n;
    for (n = 0; from < at && turns && !e; from++) {
        json_val *m = yyjson_arr_get(list, from);
        if (has_role(m, "user") || has_role(m, "assistant"))
            e = read_turn(c, g, m, &turns[n++]);
    }
    return turns ? e : ERR_NOMEM;
}

enum err openai_doubts_read(struct call *c, struct openai_guard *g, json_val *list) {
    size_t at = g->doubts && g->asked.n ? yyjson_arr_size(list) : 0;
    enum err e = ERR_OK;
    if (!g->doubts)
        return ERR_OK;
    while (at > 0 && !has_role(yyjson_arr_get(list, at - 1), "user"))
        at--;
    if (at > 0)
        e = show(c, g, SAFETY_INPUT, g->asked, &g->shown);
    if (at > 0 && !e)
        e = read_turns(c, g, list, at - 1, &g->turns, &g->n_turns);
    for (size_t i = 0; i < g->n_doubts && !e; i++) {
        struct openai_doubt *d = &g->doubts[i];
        e = show(c, g, SAFETY_INPUT, d->text, &d->shown);
        if (!e)
            e = read_turns(c, g, list, d->at, &d->turns, &d->n_turns);
    }
    return e;
}

enum err openai_doubts_read_answer(struct call *c, struct openai_guard *g) {
    enum err e = ERR_OK;
    for (size_t i = 0; i < g->n_doubts && !e; i++)
        e = show(c, g, SAFETY_OUTPUT, g->doubts[i].text, &g->doubts[i].shown);
    return e;
}

/* ---- asking ---- */

/* What was said of one is there. False: that is enough. */
static bool take(struct openai_guard *g, const struct openai_doubt *d) {
    if (g->direction == SAFETY_OUTPUT || d->verdict.action <= g->verdict.action)
        return true;
    g->verdict = d->verdict;
    g->text = str_sub(d->text, 0, utf8_cut(d->text, CASE_TEXT_MAX));
    return d->verdict.action != SAFETY_BLOCK;
}

static bool is_asking(const struct openai_guard *g) {
    for (size_t i = 0; i < g->n_doubts; i++)
        if (g->doubts[i].asking)
            return true;
    return false;
}

static void on_said(void *arg) {
    struct openai_doubt *d = arg;
    struct call *c = d->call;
    struct openai_guard *g = guard_of(c);
    d->asking = NULL;
    if (!take(g, d))
        openai_doubts_stop(g);
    if (!is_asking(g))
        g->cleared(c);
}

/* False: nothing more has to be asked. */
static bool ask(struct call *c, struct openai_guard *g, struct openai_doubt *d, int64_t until_ns) {
    bool answer = d->direction == SAFETY_OUTPUT;
    struct guard_ask_request r = {.policy = g->policy,
                                  .role = g->role,
                                  .direction = d->direction,
                                  .user = &c->user.user_id,
                                  .talk = answer ? g->turns : d->turns,
                                  .n_talk = answer ? g->n_turns : d->n_turns,
                                  .text = answer ? g->shown : d->shown,
                                  .answer = answer ? d->shown : STR(""),
                                  .part = d->part,
                                  .until_ns = until_ns,
                                  .v = &d->verdict};
    d->call = c;
    return turns_guard_ask(c->api->o.turns, c->loop, &r, on_said, d, &d->asking) || take(g, d);
}

bool openai_doubts_ask(struct call *c, loop_fn then) {
    struct openai_guard *g = guard_of(c);
    int64_t until = turns_guard_until(c->api->o.turns);
    bool more = true;
    g->cleared = then;
    for (int newest = 1; newest >= 0; newest--) /* it is the one that is asked for now */
        for (size_t i = 0; i < g->n_doubts && more; i++)
            if (g->doubts[i].newest == newest)
                more = ask(c, g, &g->doubts[i], until);
    if (!more)
        openai_doubts_stop(g);
    return is_asking(g);
}
