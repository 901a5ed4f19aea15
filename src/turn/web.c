/* What search services find for a question, beside the documents' search (step retrieve). Their
 * hits become passages behind those of documents, marked by having an address and no document. */
#include "retrieval/web_search.h"

#include "retrieval/question.h"
#include "turn/passages.h"
#include "turn/turn_internal.h"

#define BUDGET_MS 700 /* the documents' search takes less; the first word waits for the later */
#define HITS_MAX  3
#define TEXT_MIN  120
#define JSON_CAP  ((size_t)1 << 20)

static void on_answers(void *ctx, const struct web_search_result *r) {
    struct turn *t = ctx;
    size_t n = r->n < HITS_MAX ? r->n : HITS_MAX;
    size_t room = n ? t->web_bytes / n : 0;
    t->asking = NULL;
    t->web_hits = n ? arena_array(t->arena, n, sizeof *t->web_hits) : NULL;
    for (size_t i = 0; i < n && t->web_hits; i++) {
        const struct web_hit *h = &r->hits[i];
        struct str text = str_sub(h->text, 0, utf8_cut(h->text, room < TEXT_MIN ? TEXT_MIN : room));
        t->web_hits[i] = (struct web_hit){.source_name = arena_str(t->arena, h->source_name),
                                          .title = arena_str(t->arena, h->title),
                                          .url = arena_str(t->arena, h->url),
                                          .text = arena_str(t->arena, text)};
        t->n_web = i + 1;
    }
    turn_retrieve_settle(t);
}

void turn_web_ask(struct turn *t, size_t max_bytes) {
    struct errinfo ei;
    struct web_search_request q = {.query = t->branch[t->n_branch - 1].content,
                                   .user_id = t->in.user_id,
                                   .budget_ms = BUDGET_MS};
    if (!web_search_has_sources(t->t->o.web) || question_is_smalltalk(q.query))
        return;
    t->web_bytes = max_bytes;
    if (web_search_run(t->t->o.web, t->tl->loop, &q, on_answers, t, &t->asking, &ei))
        t->asking = NULL; /* it answers without */
}

void turn_web_stop(struct turn *t) {
    if (t->asking)
        web_search_cancel(t->asking);
    t->asking = NULL;
}

enum err turn_web_keep(struct turn *t, size_t n_documents) {
    struct buf b;
    struct str docs = t->answer.retrieved_docs;
    if (t->n_web == 0)
        return ERR_OK;
    buf_init(&b, JSON_CAP);
    if (docs.n > 2)
        buf_add(&b, docs.p, docs.n - 1); /* up to its bracket */
    else
        buf_addc(&b, '[');
    for (size_t i = 0; i < t->n_web; i++) {
        if (b.n > 1)
            buf_addc(&b, ',');
        passages_web_to_json(&b, &t->web_hits[i], n_documents + i + 1);
    }
    buf_addc(&b, ']');
    enum err e = buf_err(&b);
    struct str all = e ? STR_NULL : arena_str(t->arena, buf_str(&b));
    buf_deinit(&b);
    if (e || !all.p)
        return e ? e : ERR_NOMEM;
    t->answer.retrieved_docs = all;
    return ERR_OK;
}
