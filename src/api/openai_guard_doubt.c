/* The guard model on the compatible API. See openai_guard.h.
 *
 *   judged ─→ uncertain about messages, choices ─→ all asked at once ─→ cleared
 *
 * Each has the same time; what is not answered by then, and what there is no room for, goes by the
 * fallback. */
#include "api/openai.h"
#include "api/openai_guard.h"
#include "store/safety.h"

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
