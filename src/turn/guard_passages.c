/* Retrieved passages before they enter the prompt: sentences that give orders to a model are left
 * out of their texts, titles and headings, and the message's retrieved_docs tell how many
 * ("left_out"). A passage of which nothing is left is gone. Those that were judged under this very
 * policy when their document came in (safety/document.h), and found clean, are not judged again. */
#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"
#include "turn/passages.h"
#include "turn/turn_internal.h"

#define JSON_CAP ((size_t)4 << 20)

struct scan {
    struct safety *g;
    yyjson_mut_doc *d;
    size_t left_out;
    bool changed;
};

/* One text of a passage. *ret_left: sentences left out; *ret_empty: nothing is left of it. */
static enum err scan_text(struct scan *s, yyjson_mut_val *v, const char *key, size_t *ret_left,
                          bool *ret_empty) {
    struct safety_passage p;
    yyjson_mut_val *text = yyjson_mut_obj_get(v, key);
    if (!yyjson_mut_is_str(text) || yyjson_mut_get_len(text) == 0)
        return ERR_OK;
    struct str t = {yyjson_mut_get_str(text), yyjson_mut_get_len(text)};
    enum err e = safety_scan_passage(s->g, t, STR(""), &p);
    if (e)
        return e;
    struct str kept = buf_str(&p.kept);
    if (p.removed || p.replaced) {
        yyjson_mut_obj_put(v, yyjson_mut_str(s->d, key), yyjson_mut_strncpy(s->d, kept.p, kept.n));
        s->changed = true;
    }
    *ret_left += p.removed;
    *ret_empty = str_trim(kept).n == 0;
    buf_deinit(&p.kept);
    return ERR_OK;
}

static enum err scan_one(struct scan *s, yyjson_mut_val *v, bool *ret_empty) {
    static const char *const keys[] = {"text", "title", "heading", "source_name"};
    size_t left = 0;
    enum err e = ERR_OK;
    bool empty[sizeof keys / sizeof *keys] = {false};
    for (size_t i = 0; !e && i < sizeof keys / sizeof *keys; i++)
        e = scan_text(s, v, keys[i], &left, &empty[i]);
    if (left)
        yyjson_mut_obj_add_int(s->d, v, "left_out", (int64_t)left);
    s->left_out += left;
    *ret_empty = empty[0];
    return e;
}

uint64_t passages_clean(struct safety *g, const struct retrieval_hit *hits, size_t n) {
    char stamp[SAFETY_STAMP_SIZE];
    uint64_t clean = 0;
    if (!g)
        return 0;
    struct policy *p = safety_get_policy(g);
    safety_stamp(g, p, stamp);
    policy_unref(p);
    for (size_t i = 0; i < n && i < 64; i++)
        clean |= (uint64_t)str_eqz(hits[i].judged, stamp) << i;
    return clean;
}

enum err passages_scan(struct safety *g, struct str docs, uint64_t clean, struct arena *a,
                       struct str *ret, size_t *ret_left_out) {
    yyjson_doc *doc = NULL;
    struct scan s = {.g = g};
    struct buf b;
    enum err e = json_parse(docs, &doc, NULL);
    if (!e && !(s.d = yyjson_doc_mut_copy(doc, NULL)))
        e = ERR_NOMEM;
    yyjson_mut_val *list = s.d ? yyjson_mut_doc_get_root(s.d) : NULL;
    for (size_t i = 0, k = 0; !e && i < yyjson_mut_arr_size(list); k++) {
        bool empty = false, judged = k < 64 && (clean >> k & 1);
        if (!judged)
            e = scan_one(&s, yyjson_mut_arr_get(list, i), &empty);
        if (!e && empty)
            yyjson_mut_arr_remove(list, i);
        else
            i++;
    }
    *ret = docs;
    if (!e && s.changed) {
        buf_init(&b, JSON_CAP);
        json_write_mut(&b, s.d);
        e = buf_err(&b);
        if (!e && !(*ret = arena_str(a, buf_str(&b))).p)
            e = ERR_NOMEM;
        buf_deinit(&b);
    }
    *ret_left_out = s.left_out;
    yyjson_mut_doc_free(s.d);
    yyjson_doc_free(doc);
    return e;
}

static void scan_job(void *arg) {
    struct turn *t = arg;
    t->guard.error = passages_scan(t->t->o.safety, t->answer.retrieved_docs, t->guard.clean,
                                   t->arena, &t->answer.retrieved_docs, &t->guard.left_out);
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
    uint64_t all = t->n_found < 64 ? ((uint64_t)1 << t->n_found) - 1 : UINT64_MAX;
    if (!t->guard.policy || (t->n_web == 0 && t->guard.clean == all))
        return false;
    t->guard.then = then;
    if (jobs_submit(t->t->o.safety_jobs, scan_job, t->tl->loop, scanned, t) == ERR_OK)
        return true;
    t->answer.retrieved_docs = STR("[]"); /* what was not judged does not go in */
    return false;
}
