/* The guard model on the compatible API. See openai_guard.h.
 *
 *   judged ─→ uncertain about messages, choices ─→ asked one after the other ─→ cleared
 *
 * All together have the time of one; what is not answered by then goes by the fallback. */
#include "api/openai.h"
#include "api/openai_guard.h"
#include "store/safety.h"

static struct openai_guard *guard_of(struct call *c) {
    return ((struct openai_state *)c->state)->guard;
}

void openai_doubt_add(struct openai_guard *g, const struct openai_doubt *d) {
    if (g->doubts && d->verdict.uncertain && g->n_doubts < OPENAI_DOUBTS_MAX)
        g->doubts[g->n_doubts++] = *d;
}

void openai_doubts_forget(struct openai_guard *g, bool newest_only) {
    size_t n = 0;
    for (size_t i = 0; newest_only && i < g->n_doubts; i++)
        if (!g->doubts[i].newest)
            g->doubts[n++] = g->doubts[i];
    g->n_doubts = n;
    g->doubt = 0;
}

/* What was said of one is there. */
static void take(struct openai_guard *g) {
    const struct openai_doubt *d = &g->doubts[g->doubt++];
    if (g->direction == SAFETY_OUTPUT || d->verdict.action <= g->verdict.action)
        return;
    g->verdict = d->verdict;
    g->text = str_sub(d->text, 0, utf8_cut(d->text, CASE_TEXT_MAX));
    if (d->verdict.action == SAFETY_BLOCK)
        g->doubt = g->n_doubts;
}

static void on_said(void *arg);

/* False: all were asked about. */
static bool ask_next(struct call *c, struct openai_guard *g) {
    while (g->doubt < g->n_doubts) {
        struct openai_doubt *d = &g->doubts[g->doubt];
        bool answer = d->direction == SAFETY_OUTPUT;
        struct guard_ask_request r = {.policy = g->policy,
                                      .role = g->role,
                                      .direction = d->direction,
                                      .text = answer ? g->shown : d->shown,
                                      .answer = answer ? d->shown : STR(""),
                                      .until_ns = g->doubts_until_ns,
                                      .v = &d->verdict};
        if (turns_guard_ask(c->api->o.turns, c->loop, &r, on_said, c, &g->asking))
            return true;
        take(g);
    }
    return false;
}

static void on_said(void *arg) {
    struct call *c = arg;
    struct openai_guard *g = guard_of(c);
    g->asking = NULL;
    take(g);
    if (!ask_next(c, g))
        g->cleared(c);
}

bool openai_doubts_ask(struct call *c, loop_fn then) {
    struct openai_guard *g = guard_of(c);
    if (g->n_doubts == 0)
        return false;
    g->doubt = 0;
    g->doubts_until_ns = turns_guard_until(c->api->o.turns);
    g->cleared = then;
    return ask_next(c, g);
}
