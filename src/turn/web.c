/* What search services find for a question, beside the documents' search (step retrieve). Their
 * hits become passages behind those of documents, marked by having an address and no document. */
#include "retrieval/web_search.h"

#include "retrieval/question.h"
#include "turn/passages.h"
#include "turn/turn_internal.h"

static void on_answers(void *ctx, const struct web_search_result *r) {
    struct turn *t = ctx;
    t->asking = NULL;
    t->n_web = passages_web_take(r, t->web_budget, t->arena, &t->web_hits);
    turn_retrieve_settle(t);
}

void turn_web_ask(struct turn *t, const struct retrieval_request *asked) {
    struct errinfo ei;
    if (!web_search_has_sources(t->t->o.web) || question_is_smalltalk(asked->query))
        return;
    struct web_search_request q = {.query = passages_web_query(asked, t->arena),
                                   .user_id = t->in.user_id,
                                   .budget_ms = passages_web_wait_ms(t->t->o.web_wait_ms)};
    if (t->level >= DEGRADE_PASSAGES) {
        degrade_web(t);
        return;
    }
    t->web_budget = asked->max_tokens;
    if (web_search_run(t->t->o.web, t->tl->loop, &q, on_answers, t, &t->asking, &ei))
        t->asking = NULL; /* it answers without */
}

void turn_web_stop(struct turn *t) {
    if (t->asking)
        web_search_cancel(t->asking);
    t->asking = NULL;
}

enum err turn_web_keep(struct turn *t, size_t n_documents) {
    return passages_web_add(t->answer.retrieved_docs, n_documents, t->web_hits, t->n_web, t->arena,
                            &t->answer.retrieved_docs);
}
