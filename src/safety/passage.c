/* Passages: what a document or a web page may not say to a model. Sentences with a finding of
 * prompt injection or jailbreak are left out, and personal data that the policy redacts in passages
 * replaced; the rest stays as it is, so that citations still find it. */
#include "safety/guard.h"

#define MARK_MAX 16 /* bytes of what stands for a span that was replaced */

static bool is_end(struct str s, size_t i) {
    return s.p[i] == '\n' || ((s.p[i] == '.' || s.p[i] == '!' || s.p[i] == '?') &&
                              (i + 1 == s.n || s.p[i + 1] == ' ' || s.p[i + 1] == '\n'));
}

/* The sentence around [from, to), widened to its ends. */
static void sentence_around(struct str s, size_t *from, size_t *to) {
    while (*from > 0 && !is_end(s, *from - 1))
        (*from)--;
    while (*to < s.n && !is_end(s, *to - 1))
        (*to)++;
}

static bool gives_orders(const struct safety_finding *f) {
    return f->action >= SAFETY_WARN &&
           (f->category == SAFETY_PROMPT_INJECTION || f->category == SAFETY_JAILBREAK);
}

/* Where the next sentence to leave out begins, at or after `at`. */
static size_t next_cut(struct str text, const struct safety_verdict *v, size_t at, size_t *ret_to) {
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < v->n; i++) {
        const struct safety_finding *f = &v->findings[i];
        size_t from = f->from, to = f->to > text.n ? text.n : f->to;
        if (!gives_orders(f) || to == 0 || to <= at)
            continue;
        sentence_around(text, &from, &to);
        if (from < at)
            from = at;
        if (to > at && from < best) {
            best = from;
            *ret_to = to;
        }
    }
    return best;
}

enum err safety_scan_passage(struct safety *g, struct str text, struct str role,
                             struct safety_passage *ret) {
    struct safety_passage p = {.removed = 0};
    struct safety_request r = {.text = text, .direction = SAFETY_PASSAGE, .role = role};
    enum err e = safety_judge(g, &r, &p.verdict);
    if (e)
        return e;
    buf_init(&p.kept, text.n + SAFETY_FINDINGS_MAX * MARK_MAX);
    bool whole = false; /* the model's score says no place */
    for (size_t i = 0; i < p.verdict.n; i++)
        whole = whole || (p.verdict.findings[i].action == SAFETY_BLOCK &&
                          (!gives_orders(&p.verdict.findings[i]) || p.verdict.findings[i].to == 0));
    size_t at = 0, to = 0;
    for (size_t cut; !e && !whole && (cut = next_cut(text, &p.verdict, at, &to)) != SIZE_MAX;
         at = to) {
        e = safety_cut_findings(&p.verdict, text, at, cut, &p.kept);
        p.removed++;
    }
    if (whole)
        p.removed++;
    else if (!e)
        e = safety_cut_findings(&p.verdict, text, at, text.n, &p.kept);
    for (size_t i = 0; !whole && i < p.verdict.n; i++)
        p.replaced += p.verdict.findings[i].action == SAFETY_REDACT;
    if (e || (e = buf_err(&p.kept)))
        buf_deinit(&p.kept);
    else
        *ret = p;
    return e;
}
