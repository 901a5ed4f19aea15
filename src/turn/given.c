/* Documents that came with a conversation's messages. A message names them as it is posted; they
 * are checked with what else the turn loads, stored with the question, and from then on every
 * search of the conversation has them in mind (retrieval/attached.h). */
#include "base/json.h"
#include "turn/turn_internal.h"

#define GIVEN_CAP ((size_t)64 << 10)
#define SAID_MAX  8 /* questions back that a question may lean on */

/* ---- as they are posted ---- */

static bool repeated(const struct turn_input *in, size_t i) {
    for (size_t k = 0; k < i; k++)
        if (uuid_eq(&in->attachments[k], &in->attachments[i]))
            return true;
    return false;
}

enum err turn_given_load(struct store_tx *tx, struct turn *t, struct errinfo *ei) {
    struct buf b;
    enum err e = ERR_OK;
    if (!t->in.n_attachments)
        return ERR_OK;
    buf_init(&b, GIVEN_CAP);
    buf_addc(&b, '[');
    for (size_t i = 0; !e && i < t->in.n_attachments; i++) {
        struct str name;
        if (repeated(&t->in, i))
            continue;
        e = document_attach(tx, t->scope.collections, t->scope.n, &t->in.attachments[i], t->arena,
                            &name, ei);
        if (e)
            break;
        buf_addf(&b, "%s{\"doc_id\":\"%s\",\"source_name\":\"", b.n > 1 ? "," : "",
                 t->in.attachments[i].s);
        buf_add_json(&b, name);
        buf_addz(&b, "\"}");
    }
    buf_addc(&b, ']');
    if (!e && (e = buf_err(&b)) == ERR_OK && !(t->attachments = arena_str(t->arena, buf_str(&b))).p)
        e = ERR_NOMEM;
    buf_deinit(&b);
    return e;
}

/* ---- as a search has them in mind ---- */

struct given {
    struct uuid docs[TURN_GIVEN_MAX];
    size_t n;
};

static void take_id(struct given *g, const struct uuid *id) {
    for (size_t i = 0; i < g->n; i++)
        if (uuid_eq(&g->docs[i], id))
            return;
    if (g->n < TURN_GIVEN_MAX)
        g->docs[g->n++] = *id;
}

static void take_list(struct given *g, struct str json) {
    yyjson_doc *doc;
    size_t i, n;
    json_val *v;
    if (json.n <= 2 || json_parse(json, &doc, NULL))
        return;
    json_val *list = yyjson_doc_get_root(doc);
    yyjson_arr_foreach(list, i, n, v) {
        struct uuid id;
        if (uuid_parse(json_get_str(v, "doc_id"), &id))
            take_id(g, &id);
    }
    yyjson_doc_free(doc);
}

/* Whether the answer to the question was made of them. */
static bool answered_from(const struct given *g, const struct turn *t, size_t question) {
    const struct message *a = question + 1 < t->n_branch ? &t->branch[question + 1] : NULL;
    for (size_t i = 0; a && i < g->n; i++)
        if (str_find(a->retrieved_docs, uuid_str(&g->docs[i])) != SIZE_MAX)
            return true;
    return false;
}

/* The last questions, oldest first, with whether they were about the documents. */
static size_t last_questions(const struct given *g, const struct turn *t,
                             struct question_said said[SAID_MAX]) {
    size_t at = SAID_MAX, last = t->n_branch - 1;
    for (size_t i = t->n_branch; i-- > 0 && at > 0;)
        if (t->branch[i].sender == SENDER_USER)
            said[--at] = (struct question_said){t->branch[i].content,
                                                t->branch[i].attachments.n > 2 ||
                                                    (i < last && answered_from(g, t, i))};
    memmove(said, said + at, (SAID_MAX - at) * sizeof *said);
    return SAID_MAX - at;
}

enum err turn_given_take(struct turn *t, struct retrieval_request *q) {
    struct given *g = arena_alloc(t->arena, sizeof *g);
    struct question_said said[SAID_MAX];
    size_t with_it = 0;
    if (!g)
        return ERR_NOMEM;
    for (size_t i = t->n_branch; i-- > 0;) {
        take_list(g, t->branch[i].attachments);
        if (i + 1 == t->n_branch)
            with_it = g->n;
    }
    if (!g->n)
        return ERR_OK;
    size_t n = last_questions(g, t, said);
    q->attached = g->docs;
    q->n_attached = g->n;
    q->n_meant = with_it ? with_it : g->n;
    q->about = question_about(said, n);
    if (with_it)
        q->need = NEED_ALWAYS;
    if (!t->documents.enabled) { /* the role looks into no others */
        q->filter.docs = g->docs;
        q->filter.n_docs = g->n;
    }
    return ERR_OK;
}
