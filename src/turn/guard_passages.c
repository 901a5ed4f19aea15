/* Retrieved passages before they enter the prompt: sentences that give orders to a model are left
 * out, and the message's retrieved_docs tell how many ("left_out"). A passage of which nothing is
 * left is gone. */
#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"
#include "turn/passages.h"
#include "turn/turn_internal.h"

#define JSON_CAP ((size_t)4 << 20)

static enum err scan_one(struct safety *g, yyjson_mut_doc *d, yyjson_mut_val *v, size_t *left_out,
                         bool *ret_empty) {
    struct safety_passage p;
    yyjson_mut_val *text = yyjson_mut_obj_get(v, "text");
    *ret_empty = false;
    if (!yyjson_mut_is_str(text))
        return ERR_OK;
    struct str s = {yyjson_mut_get_str(text), yyjson_mut_get_len(text)};
    enum err e = safety_scan_passage(g, s, STR(""), &p);
    if (e)
        return e;
    if (p.removed) {
        struct str kept = buf_str(&p.kept);
        *ret_empty = str_trim(kept).n == 0;
        yyjson_mut_obj_put(v, yyjson_mut_str(d, "text"), yyjson_mut_strncpy(d, kept.p, kept.n));
        yyjson_mut_obj_add_int(d, v, "left_out", (int64_t)p.removed);
        *left_out += p.removed;
    }
    buf_deinit(&p.kept);
    return ERR_OK;
}

enum err passages_scan(struct safety *g, struct str docs, struct arena *a, struct str *ret,
                       size_t *ret_left_out) {
    yyjson_doc *doc = NULL;
    yyjson_mut_doc *d = NULL;
    struct buf b;
    size_t left_out = 0;
    enum err e = json_parse(docs, &doc, NULL);
    if (!e && !(d = yyjson_doc_mut_copy(doc, NULL)))
        e = ERR_NOMEM;
    yyjson_mut_val *list = d ? yyjson_mut_doc_get_root(d) : NULL;
    for (size_t i = 0; !e && i < yyjson_mut_arr_size(list);) {
        bool empty;
        e = scan_one(g, d, yyjson_mut_arr_get(list, i), &left_out, &empty);
        if (!e && empty)
            yyjson_mut_arr_remove(list, i);
        else
            i++;
    }
    *ret = docs;
    if (!e && left_out) {
        buf_init(&b, JSON_CAP);
        json_write_mut(&b, d);
        e = buf_err(&b);
        if (!e && !(*ret = arena_str(a, buf_str(&b))).p)
            e = ERR_NOMEM;
        buf_deinit(&b);
    }
    *ret_left_out = left_out;
    yyjson_mut_doc_free(d);
    yyjson_doc_free(doc);
    return e;
}

static void scan_job(void *arg) {
    struct turn *t = arg;
    t->guard.error = passages_scan(t->t->o.safety, t->answer.retrieved_docs, t->arena,
                                   &t->answer.retrieved_docs, &t->guard.left_out);
}

static void scanned(void *arg) {
    struct turn *t = arg;
    if (t->detached)
        return;
    metric_add(M_GUARD_SENTENCES_CUT, (int64_t)t->guard.left_out);
    if (t->guard.left_out)
        log_event(LOG_INFO, "guard.passages", LF_ID("message_id", &t->answer.message_id),
                  LF_INT("left_out", t->guard.left_out));
    t->guard.then(t, t->guard.error);
}

bool turn_guard_passages(struct turn *t, void (*then)(struct turn *t, enum err e)) {
    if (!t->guard.policy)
        return false;
    t->guard.then = then;
    if (jobs_submit(t->t->o.safety_jobs, scan_job, t->tl->loop, scanned, t) == ERR_OK)
        return true;
    t->answer.retrieved_docs = STR("[]"); /* what was not judged does not go in */
    return false;
}
