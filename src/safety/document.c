/* See document.h. */
#include "safety/document.h"

#include "text/doc_text.h"

#define JSON_CAP ((size_t)64 << 10)

struct looking {
    struct safety *g;
    struct buf findings;
    size_t n_findings;
    size_t left_out, replaced;
    size_t counts[SAFETY_CATEGORIES];
    int policy_version;
    bool orders;
};

static bool is_order(const struct safety_finding *f) {
    return f->category == SAFETY_PROMPT_INJECTION || f->category == SAFETY_JAILBREAK;
}

/* row NULL: it is no text of the document's, and has no place in it. */
static void note(struct looking *l, const struct safety_finding *f, const char *place,
                 const struct chunk_row *row) {
    l->counts[f->category]++;
    if (l->n_findings == DOCUMENT_FINDINGS_MAX)
        return;
    buf_addf(&l->findings, "%s{\"category\":\"%s\",\"action\":\"%s\",\"score\":%.3f,\"source\":\"",
             l->n_findings++ ? "," : "", safety_category_name(f->category),
             safety_action_name(f->action), (double)f->score);
    buf_add_json(&l->findings, str_from(f->source));
    buf_addf(&l->findings, "\",\"place\":\"%s\",", place);
    if (!row) {
        buf_addz(&l->findings, "\"char_from\":null,\"char_to\":null}");
        return;
    }
    size_t to = f->to ? f->to : row->text.n; /* a score is of the whole */
    buf_addf(&l->findings, "\"char_from\":%lld,\"char_to\":%lld}",
             (long long)row->char_from + (long long)doc_characters(str_sub(row->text, 0, f->from)),
             (long long)row->char_from + (long long)doc_characters(str_sub(row->text, 0, to)));
}

/* *ret_found: a prompt may not have the text as it is. What a model suspects of the whole and of no
 * sentence of it leaves nothing out: it is noted, and no order. */
static enum err look(struct looking *l, struct str text, const char *place,
                     const struct chunk_row *row, bool *ret_found) {
    struct safety_passage p;
    *ret_found = false;
    if (text.n == 0)
        return ERR_OK;
    enum err e = safety_scan_passage(l->g, text, STR(""), &p);
    if (e)
        return e;
    for (size_t i = 0; i < p.verdict.n; i++)
        if (p.verdict.findings[i].action >= SAFETY_REDACT) {
            note(l, &p.verdict.findings[i], place, row);
            l->orders = l->orders || (p.removed && is_order(&p.verdict.findings[i]));
            *ret_found = true;
        }
    l->left_out += p.removed;
    l->replaced += p.replaced;
    l->policy_version = p.verdict.policy_version;
    buf_deinit(&p.kept);
    return ERR_OK;
}

static enum err look_at_rows(struct looking *l, struct chunk_row *rows, size_t n, bool all,
                             size_t *ret_pieces) {
    struct str heading = STR("");
    bool in_heading = false, in_text;
    enum err e = ERR_OK;
    size_t pieces = 0;
    for (size_t i = 0; !e && i < n; i++) {
        if (!str_eq(rows[i].heading, heading)) {
            heading = rows[i].heading;
            e = look(l, heading, "heading", NULL, &in_heading);
        }
        if (!e)
            e = look(l, rows[i].text, "text", &rows[i], &in_text);
        if (e || !(all || in_heading || in_text))
            continue;
        rows[i].flags |= CHUNK_FLAG_GUARD;
        pieces++;
    }
    *ret_pieces = pieces;
    return e;
}

static enum err write_down(const struct looking *l, size_t pieces, struct arena *a,
                           struct str *ret) {
    struct buf b;
    const char *comma = "";
    buf_init(&b, JSON_CAP);
    buf_addf(&b, "{\"policy_version\":%d,\"left_out\":%zu,\"replaced\":%zu,\"pieces\":%zu,",
             l->policy_version, l->left_out, l->replaced, pieces);
    buf_addz(&b, "\"counts\":{");
    for (int c = 0; c < SAFETY_CATEGORIES; c++)
        if (l->counts[c]) {
            buf_addf(&b, "%s\"%s\":%zu", comma, safety_category_name((enum safety_category)c),
                     l->counts[c]);
            comma = ",";
        }
    buf_addz(&b, "},\"findings\":[");
    buf_adds(&b, buf_str(&l->findings));
    buf_addz(&b, "]}");
    enum err e = buf_err(&l->findings) ? buf_err(&l->findings) : buf_err(&b);
    if (!e && !(*ret = arena_str(a, buf_str(&b))).p)
        e = ERR_NOMEM;
    buf_deinit(&b);
    return e;
}

enum err safety_judge_document(struct safety *g, struct document *d, struct chunk_row *rows,
                               size_t n, struct arena *a, bool *ret_orders) {
    struct looking l = {.g = g};
    char stamp[SAFETY_STAMP_SIZE];
    bool in_title, in_name;
    size_t pieces = 0;
    struct policy *p = safety_get_policy(g);
    safety_stamp(g, p, stamp); /* before: should the policy change meanwhile, it is an old one */
    policy_unref(p);
    buf_init(&l.findings, JSON_CAP);
    enum err e = look(&l, d->title, "title", NULL, &in_title);
    if (!e)
        e = look(&l, d->source_name, "title", NULL, &in_name);
    if (!e)
        e = look_at_rows(&l, rows, n, in_title || in_name, &pieces);
    struct str safety = STR(""), by = STR_NULL;
    if (!e && (l.n_findings || pieces))
        e = write_down(&l, pieces, a, &safety);
    buf_deinit(&l.findings);
    if (!e && !(by = arena_str(a, str_from(stamp))).p)
        e = ERR_NOMEM;
    if (e)
        return e;
    d->safety = safety;
    d->safety_stamp = by;
    *ret_orders = l.orders;
    return ERR_OK;
}
