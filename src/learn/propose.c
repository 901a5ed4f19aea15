/* Answers that people liked are put up for approval, one for each question: an administrator
 * decides, and only what is approved is ever served. An answer is put up when its person liked it,
 * the question stood alone, nothing was unsafe, and all its sources may be read by everybody. */
#include "base/clock.h"
#include "base/json.h"
#include "learn/learn_internal.h"

#define LOOK_AT 500 /* newest rows */
#define ARENA   ((size_t)128 << 20)
#define AGE_MS  (30ll * 86400000)

/* [{"doc_id":…,"indexed_at":…}] of the passages that were used. */
static enum err sources_of(struct store_tx *tx, const struct evidence_row *r, struct buf *b) {
    yyjson_doc *doc;
    size_t i, n, m = 0;
    json_val *v;
    buf_addc(b, '[');
    if (json_parse(r->r.record, &doc, NULL) == ERR_OK) {
        json_val *list = json_get(yyjson_doc_get_root(doc), "passages");
        if (yyjson_is_arr(list))
            yyjson_arr_foreach(list, i, n, v) {
                struct uuid id;
                int64_t at;
                if (!uuid_parse(json_get_str(v, "doc_id"), &id) ||
                    document_indexed_at(tx, &id, &at))
                    continue;
                buf_addf(b, "%s{\"doc_id\":\"%s\",\"indexed_at\":%lld}", m++ ? "," : "", id.s,
                         (long long)at);
            }
        yyjson_doc_free(doc);
    }
    buf_addc(b, ']');
    return buf_err(b);
}

static enum err propose(struct store_tx *tx, const struct evidence_row *r, struct arena *a,
                        int *count) {
    struct message m;
    struct buf sources;
    bool public = false, known = true;
    buf_init(&sources, 65536);
    enum err e = approved_knows(tx, &r->r.message_id, &r->r.role_id, r->question, &known);
    if (!e && !known)
        e = message_get(tx, &r->r.user_id, &r->r.message_id, a, &m);
    if (!e && !known)
        e = sources_of(tx, r, &sources);
    if (!e && !known)
        e = sources_are_public(tx, buf_str(&sources), &public);
    if (!e && public && m.content.n) {
        struct approved_answer p = {.answer_id = uuid_new(),
                                    .role_id = r->r.role_id,
                                    .question = r->question,
                                    .answer = m.content,
                                    .sources = buf_str(&sources),
                                    .state = STR("proposed"),
                                    .message_id = r->r.message_id,
                                    .created_at = clock_wall_ms(),
                                    .changed_at = clock_wall_ms()};
        e = approved_put(tx, &p);
        *count += !e;
    }
    buf_deinit(&sources);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err learn_propose_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct learn_report *report = arg;
    struct evidence_row *rows;
    struct arena *a = arena_new(ARENA);
    bool off = false;
    size_t n = 0;
    enum err e = a ? learn_is_off(tx, "approved", &off) : ERR_NOMEM;
    if (!e && !off)
        e = evidence_list(tx, clock_wall_ms() - AGE_MS, LOOK_AT, a, &rows, &n);
    for (size_t i = 0; !e && i < n; i++) {
        const struct evidence_row *r = &rows[i];
        bool alone = false;
        if (r->rating != RATING_THUMBS_UP || r->flagged || r->r.unsafe ||
            uuid_is_set(&r->r.answer_id) || r->r.status != MESSAGE_COMPLETE || !r->question.n)
            continue;
        e = message_is_first_answer(tx, &r->r.message_id, &alone);
        if (!e && alone)
            e = propose(tx, r, a, &report->proposed);
    }
    arena_free(a);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}
