/* See export.h. */
#include "learn/export.h"

#include <stdlib.h>

#include "base/json.h"
#include "safety/pii.h"

#define TEXT_MAX ((size_t)4 << 20)

int export_form_from_name(struct str s) {
    static const char *const names[] = {"sft", "kto", "dpo"};
    for (int i = 0; i < 3; i++)
        if (str_eqz(s, names[i]))
            return i;
    return -1;
}

struct line {
    struct pii_vault *vault;
    struct buf text; /* scratch */
    struct buf *out;
    bool comma;
};

static enum err add_message(struct line *l, const char *role, struct str text) {
    bool kinds[PII_KINDS];
    size_t n;
    for (int k = 0; k < PII_KINDS; k++)
        kinds[k] = true;
    buf_clear(&l->text);
    enum err e = pii_redact_all(l->vault, text, kinds, &l->text, &n);
    if (e)
        return e;
    if (l->comma)
        buf_addc(l->out, ',');
    l->comma = true;
    buf_addf(l->out, "{\"role\":\"%s\",\"content\":\"", role);
    buf_add_json(l->out, buf_str(&l->text));
    buf_addz(l->out, "\"}");
    return buf_err(l->out);
}

/* What was said before in the conversation: without it "and on Sundays?" teaches nothing. */
static enum err add_history(struct line *l, struct str history) {
    yyjson_doc *doc;
    size_t i, n;
    json_val *v;
    enum err e = ERR_OK;
    if (!history.n || json_parse(history, &doc, NULL))
        return ERR_OK;
    json_val *list = yyjson_doc_get_root(doc);
    if (yyjson_is_arr(list))
        yyjson_arr_foreach(list, i, n, v) {
            bool is_user = str_eqz(json_get_str(v, "role"), "user");
            if (!e)
                e = add_message(l, is_user ? "user" : "assistant", json_get_str(v, "content"));
        }
    yyjson_doc_free(doc);
    return e;
}

static enum err add_list(struct line *l, const char *key, const struct training_row *r, bool prompt,
                         bool answer) {
    enum err e = ERR_OK;
    buf_addf(l->out, "\"%s\":[", key);
    l->comma = false;
    if (prompt && r->system_prompt.n)
        e = add_message(l, "system", r->system_prompt);
    if (!e && prompt)
        e = add_history(l, r->history);
    if (!e && prompt)
        e = add_message(l, "user", r->question);
    if (!e && answer)
        e = add_message(l, "assistant", r->answer);
    buf_addc(l->out, ']');
    return e;
}

static enum err add_line(const struct training_row *r, const struct training_row *rejected,
                         enum export_form form, struct buf *out) {
    struct line l = {.vault = pii_vault_new(), .out = out};
    enum err e = l.vault ? ERR_OK : ERR_NOMEM;
    buf_init(&l.text, TEXT_MAX);
    buf_addc(out, '{');
    if (!e)
        e = add_list(&l, form == EXPORT_SFT ? "messages" : "prompt", r, true, form == EXPORT_SFT);
    if (!e && form == EXPORT_KTO) {
        buf_addc(out, ',');
        e = add_list(&l, "completion", r, false, true);
        buf_addz(out, r->rating == RATING_THUMBS_UP ? ",\"label\":true" : ",\"label\":false");
    }
    if (!e && form == EXPORT_DPO) {
        buf_addc(out, ',');
        e = add_list(&l, "chosen", r, false, true);
        buf_addc(out, ',');
        if (!e)
            e = add_list(&l, "rejected", rejected, false, true);
    }
    buf_addz(out, "}\n");
    buf_deinit(&l.text);
    pii_vault_free(l.vault);
    return e ? e : buf_err(out);
}

static int by_question(const void *a, const void *b) {
    const struct training_row *x = *(const struct training_row *const *)a,
                              *y = *(const struct training_row *const *)b;
    int order = memcmp(x->parent_id.s, y->parent_id.s, UUID_LEN);
    return order ? order : memcmp(x->message_id.s, y->message_id.s, UUID_LEN);
}

/* Each liked answer with each disliked one to the same question. */
static enum err add_pairs(const struct training_row *rows, size_t n, struct buf *out) {
    const struct training_row **order = calloc(n + 1, sizeof *order);
    enum err e = order ? ERR_OK : ERR_NOMEM;
    for (size_t i = 0; !e && i < n; i++)
        order[i] = &rows[i];
    if (!e)
        qsort(order, n, sizeof *order, by_question);
    for (size_t i = 0, k; !e && i < n; i = k) {
        for (k = i; k < n && uuid_eq(&order[k]->parent_id, &order[i]->parent_id); k++)
            ;
        for (size_t a = i; !e && a < k; a++)
            for (size_t b = i; !e && b < k; b++)
                if (order[a]->rating == RATING_THUMBS_UP && order[b]->rating == RATING_THUMBS_DOWN)
                    e = add_line(order[a], order[b], EXPORT_DPO, out);
    }
    free(order);
    return e;
}

enum err export_write(const struct training_row *rows, size_t n, enum export_form form,
                      struct buf *out) {
    enum err e = ERR_OK;
    if (form == EXPORT_DPO)
        return add_pairs(rows, n, out);
    for (size_t i = 0; !e && i < n; i++)
        if (form == EXPORT_KTO || rows[i].rating == RATING_THUMBS_UP)
            e = add_line(&rows[i], NULL, form, out);
    return e;
}
