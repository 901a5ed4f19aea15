/* The cases of blocked answers on the compatible API. Each is written by itself, with all it needs:
 * a client that goes away at the moment of the block, or a call that ends, takes no case along. The
 * call only waits for them before it says that the answer has ended. All on the call's loop. */
#include <stdlib.h>
#include <string.h>

#include "api/openai_guard.h"
#include "base/log.h"
#include "safety/record.h"

struct openai_case {
    struct openai_case *next; /* of its guard's, while that lives */
    struct openai_guard *g;   /* NULL: the call is over */
    struct call *c;
    struct policy *policy; /* a reference */
    struct uuid user_id;
    struct safety_verdict verdict;
    enum safety_direction direction;
    char *text; /* owned */
    size_t n;
};

static void case_free(struct openai_case *k) {
    policy_unref(k->policy);
    free(k->text);
    free(k);
}

static enum err write_case(struct store_tx *tx, void *arg, struct errinfo *ei) {
    const struct openai_case *k = arg;
    struct safety_block b = {.user_id = k->user_id,
                             .path = "openai",
                             .verdict = &k->verdict,
                             .direction = k->direction,
                             .text = {k->text, k->n}};
    (void)ei;
    return safety_record_block(tx, k->policy, &b);
}

static void leave(struct openai_case *k) {
    struct openai_case **at = &k->g->cases;
    while (*at != k)
        at = &(*at)->next;
    *at = k->next;
}

static void on_written(void *arg, enum err e, const struct errinfo *ei) {
    struct openai_case *k = arg;
    struct openai_guard *g = k->g;
    struct call *c = k->c;
    (void)ei;
    if (e)
        log_event(LOG_WARN, "guard.not_recorded", LF_Z("code", err_name(e)));
    if (g)
        leave(k);
    case_free(k);
    if (g && !g->cases && g->then)
        g->then(c);
}

void openai_case_write(struct call *c, struct openai_guard *g, const struct safety_verdict *v,
                       enum safety_direction d, struct str text) {
    struct openai_case *k = calloc(1, sizeof *k);
    text = str_sub(text, 0, utf8_cut(text, CASE_TEXT_MAX));
    if (k && (k->text = malloc(text.n + 1))) {
        memcpy(k->text, text.p, text.n);
        k->n = text.n;
        k->c = c;
        k->policy = policy_ref(g->policy);
        k->user_id = c->user.user_id;
        k->verdict = *v;
        k->direction = d;
        if (store_write(c->api->o.store, write_case, k, c->loop, on_written) == ERR_OK) {
            k->g = g;
            k->next = g->cases;
            g->cases = k;
            return;
        }
    }
    log_event(LOG_WARN, "guard.not_recorded", LF_Z("code", err_name(ERR_OVERLOADED)));
    if (k)
        case_free(k);
}

bool openai_cases_wait(struct openai_guard *g, loop_fn then) {
    g->then = then;
    return g->cases != NULL;
}

void openai_cases_forget(struct openai_guard *g) {
    for (struct openai_case *k = g->cases; k; k = k->next)
        k->g = NULL;
    g->cases = NULL;
}
