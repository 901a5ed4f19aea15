/* Passages: what a document or a web page may not say to a model. Sentences with a finding of
 * prompt injection or jailbreak are left out, and personal data that the policy redacts in passages
 * replaced; the rest stays as it is, so that citations still find it.
 *
 * A rule says where its match stands. The classifier scores a text as a whole, and an order among
 * much else is little of it. So a passage is scored in windows of some sentences; in one that it
 * warns of each sentence is judged by itself, and those that it warns of are left out. Where it
 * warns of none, the most suspicious ones are, one after the other, until it finds nothing in the
 * rest; when that takes more than a few, the suspicion is of no sentence: all stays. A passage with
 * more orders than are told apart is left out. */
#include "safety/guard_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define MARK_MAX     16  /* bytes of what stands for a span that was replaced */
#define SUSPECTS     3   /* sentences that are left out though each is calm by itself */
#define ORDERS_MAX   16  /* sentences that are told apart */
#define SENTENCE_MIN 3   /* bytes */
#define WINDOW       400 /* bytes from which a window ends with its sentence; */
#define WINDOW_MAX   960 /* … or here, without one */
#define ORDER_BYTES  64  /* of a list of places, for each byte of the text */
#define OVERLAP      120 /* bytes at least that a window has in common with the next */

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

/* ---- where in the text the classifier's suspicion stands ---- */

struct sentence {
    size_t from, to;
    float score;
    enum safety_category category;
};

struct hunt {
    struct safety *g;
    const struct policy *p;
    const struct policy_role *role;
    struct str text, role_slug;
    struct sentence orders[ORDERS_MAX];
    size_t n_orders;
    size_t from, to;                    /* the window */
    struct sentence suspects[SUSPECTS]; /* in it, the highest score first */
    size_t n_suspects;
    bool overflow;
};

static bool is_of_whole(const struct safety_finding *f) {
    return gives_orders(f) && f->action == SAFETY_WARN && f->to == 0;
}

/* The likelier of both attacks, and its score. True: the policy warns of it. */
static bool read_scores(const struct hunt *h, const float *scores, struct sentence *ret) {
    static const enum safety_category attacks[] = {SAFETY_PROMPT_INJECTION, SAFETY_JAILBREAK};
    bool warns = false;
    ret->score = -1;
    for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++) {
        enum safety_category c = attacks[i];
        warns |= policy_action(h->role, c, SAFETY_PASSAGE, scores[c]) >= SAFETY_WARN;
        if (scores[c] > ret->score) {
            ret->score = scores[c];
            ret->category = c;
        }
    }
    return warns;
}

static enum err judge_part(const struct hunt *h, struct str part, struct sentence *ret,
                           bool *ret_warns) {
    struct safety_verdict v;
    struct safety_request r = {
        .text = part, .direction = SAFETY_PASSAGE, .role = h->role_slug, .policy = h->p};
    enum err e = safety_judge(h->g, &r, &v);
    if (!e)
        *ret_warns = read_scores(h, v.scores, ret);
    return e;
}

static void add_order(struct hunt *h, struct sentence s) {
    for (size_t i = 0; i < h->n_orders; i++)
        if (s.from < h->orders[i].to && s.to > h->orders[i].from)
            return; /* windows overlap */
    if (h->n_orders == ORDERS_MAX)
        h->overflow = true;
    else
        h->orders[h->n_orders++] = s;
}

static void keep_suspect(struct hunt *h, struct sentence s) {
    size_t at = h->n_suspects;
    while (at > 0 && h->suspects[at - 1].score < s.score)
        at--;
    if (at == SUSPECTS)
        return;
    if (h->n_suspects < SUSPECTS)
        h->n_suspects++;
    memmove(&h->suspects[at + 1], &h->suspects[at], (h->n_suspects - at - 1) * sizeof *h->suspects);
    h->suspects[at] = s;
}

static size_t sentence_end(struct str s, size_t from, size_t most) {
    size_t to = from + 1;
    while (to < s.n && to < most && !is_end(s, to - 1))
        to++;
    return to;
}

static enum err judge_sentences(struct hunt *h) {
    h->n_suspects = 0;
    for (size_t from = h->from, to; from < h->to; from = to) {
        bool warns;
        to = sentence_end(h->text, from, h->to);
        struct sentence s = {.from = from, .to = to};
        struct str part = str_sub(h->text, from, to - from);
        if (str_trim(part).n < SENTENCE_MIN)
            continue;
        enum err e = judge_part(h, part, &s, &warns);
        if (e)
            return e;
        if (warns)
            add_order(h, s);
        else
            keep_suspect(h, s);
    }
    return ERR_OK;
}

/* The window without its orders. */
static void add_rest(const struct hunt *h, struct buf *out) {
    for (size_t at = h->from; at < h->to;) {
        const struct sentence *next = NULL;
        for (size_t i = 0; i < h->n_orders; i++)
            if (h->orders[i].to > at && h->orders[i].from < h->to &&
                (!next || h->orders[i].from < next->from))
                next = &h->orders[i];
        size_t to = next ? next->from : h->to;
        if (to > at)
            buf_adds(out, str_sub(h->text, at, to - at));
        at = next ? next->to : h->to;
    }
}

/* Moves suspects to the orders until the rest is calm; it takes back those when it never is. */
static enum err thin_out(struct hunt *h) {
    struct buf rest;
    struct sentence s;
    enum err e = ERR_OK;
    bool warns = true;
    size_t alone = h->n_orders;
    buf_init(&rest, h->to - h->from + 1);
    for (size_t taken = 0; !e; taken++) {
        buf_clear(&rest);
        add_rest(h, &rest);
        if (!(e = buf_err(&rest)))
            e = judge_part(h, buf_str(&rest), &s, &warns);
        if (e || !warns || taken == h->n_suspects || h->overflow)
            break;
        add_order(h, h->suspects[taken]);
    }
    if (warns)
        h->n_orders = alone;
    buf_deinit(&rest);
    return e;
}

static bool window_warns(const struct hunt *h) {
    const struct safety_scorer *scorer = safety_get_scorer(h->g);
    float scores[SAFETY_CATEGORIES] = {0};
    struct sentence s;
    struct str part = str_sub(h->text, h->from, h->to - h->from);
    struct safety_text t = {.text = part, .folded = part, .direction = SAFETY_PASSAGE};
    scorer->score(scorer->ctx, &t, scores);
    return read_scores(h, scores, &s);
}

/* The next window; false when the last one reached the end. */
static bool next_window(struct hunt *h) {
    size_t last = h->to, most;
    if (last == h->text.n)
        return false;
    if (last > 0) { /* begins with a sentence of the last one */
        size_t from = h->from;
        for (size_t at = from; at < last && last - at >= OVERLAP;
             at = sentence_end(h->text, at, last))
            from = at;
        h->from = from > h->from ? from : last;
    }
    most = h->from + WINDOW_MAX < h->text.n ? h->from + WINDOW_MAX : h->text.n;
    if (most < h->text.n)
        most = h->from + utf8_cut(str_sub(h->text, h->from, h->text.n), most - h->from);
    h->to = h->from;
    while (h->to < most && h->to - h->from < WINDOW)
        h->to = sentence_end(h->text, h->to, most);
    if (h->to <= last)
        h->to = most > last ? most : h->text.n;
    if (h->text.n - h->to < OVERLAP)
        h->to = h->text.n;
    return true;
}

/* whole: the classifier warns of the text as it is. */
static enum err search(struct hunt *h, bool whole) {
    enum err e = ERR_OK;
    bool windows = h->text.n > WINDOW_MAX && utf8_valid(h->text) && safety_get_scorer(h->g);
    if (!windows) {
        h->to = h->text.n;
        if (whole && !(e = judge_sentences(h)))
            e = thin_out(h);
        return e;
    }
    while (!e && !h->overflow && next_window(h))
        if (window_warns(h) && !(e = judge_sentences(h)))
            e = thin_out(h);
    return e;
}

static struct safety_finding finding_of(const struct hunt *h, const struct sentence *s) {
    struct safety_finding f = {.category = s->category,
                               .action = SAFETY_WARN,
                               .score = s->score,
                               .from = s->from,
                               .to = s->to};
    snprintf(f.source, sizeof f.source, "model:%s", safety_get_scorer(h->g)->name);
    return f;
}

/* Puts the sentences that carry a warning of the classifier's in the place of that of the whole. */
static enum err find_orders(struct safety *g, const struct safety_request *r,
                            struct safety_verdict *v) {
    struct hunt h = {.g = g,
                     .p = r->policy,
                     .role = policy_for(r->policy, r->role),
                     .text = r->text,
                     .role_slug = r->role};
    bool whole = false;
    size_t n = 0;
    for (size_t i = 0; i < v->n; i++)
        whole = whole || is_of_whole(&v->findings[i]);
    enum err e = search(&h, whole);
    if (e || h.n_orders == 0)
        return e;
    for (size_t i = 0; i < v->n; i++)
        if (!is_of_whole(&v->findings[i]))
            v->findings[n++] = v->findings[i];
    v->n = n;
    for (size_t i = 0; i < h.n_orders; i++) {
        struct safety_finding f = finding_of(&h, &h.orders[i]);
        if (h.overflow) {
            f.action = SAFETY_BLOCK;
            f.from = f.to = 0;
        }
        verdict_add(v, &f);
        if (h.overflow)
            break;
    }
    return ERR_OK;
}

/* ---- what is left out ---- */

static int by_place(const void *a, const void *b) {
    const struct safety_span *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

/* The sentences to leave out: where rules matched, in order, and where the classifier says so. */
static enum err find_sentences(struct str text, const struct safety_verdict *v,
                               struct buf *orders) {
    for (size_t i = 0; i < v->n; i++) {
        const struct safety_finding *f = &v->findings[i];
        struct safety_span s = {f->from, f->to};
        if (gives_orders(f) && f->to > 0)
            buf_add(orders, &s, sizeof s);
    }
    struct safety_span *list = (struct safety_span *)orders->p;
    size_t n = orders->n / sizeof *list, kept = 0;
    if (n > 0)
        qsort(list, n, sizeof *list, by_place);
    for (size_t i = 0; i < n; i++) {
        struct safety_span s = {list[i].from, list[i].to < text.n ? list[i].to : text.n};
        if (kept > 0 && s.to <= list[kept - 1].to)
            continue;
        sentence_around(text, &s.from, &s.to);
        if (kept > 0 && s.from < list[kept - 1].to)
            s.from = list[kept - 1].to;
        if (s.to > s.from)
            list[kept++] = s;
    }
    orders->n = kept * sizeof *list;
    return buf_err(orders);
}

/* The passage without its orders and with what is to be replaced. */
static enum err cut_passage(struct str text, const struct buf *cuts, const struct buf *orders,
                            struct safety_passage *p) {
    const struct safety_span *list = (const struct safety_span *)orders->p;
    enum err e = ERR_OK;
    size_t at = 0;
    p->removed = orders->n / sizeof *list;
    for (size_t i = 0; i < p->removed && !e; i++) {
        e = safety_cut(cuts, text, at, list[i].from, &p->kept);
        at = list[i].to;
    }
    p->replaced = cuts->n / sizeof(struct safety_span);
    return e ? e : safety_cut(cuts, text, at, text.n, &p->kept);
}

enum err safety_scan_passage(struct safety *g, struct str text, struct str role,
                             struct safety_passage *ret) {
    struct safety_passage p = {.removed = 0};
    struct buf cuts, orders;
    struct policy *policy = safety_get_policy(g);
    struct safety_request r = {.text = text,
                               .direction = SAFETY_PASSAGE,
                               .role = role,
                               .policy = policy,
                               .orders = &orders};
    buf_init(&cuts, text.n * sizeof(struct safety_span) + 1);
    buf_init(&orders, text.n * ORDER_BYTES + 4096);
    enum err e = safety_judge(g, &r, &p.verdict);
    if (!e)
        e = safety_find_cuts(&p.verdict, policy_for(policy, role), SAFETY_PASSAGE, text, &cuts);
    if (!e)
        e = find_orders(g, &r, &p.verdict);
    if (!e)
        e = find_sentences(text, &p.verdict, &orders);
    policy_unref(policy);
    buf_init(&p.kept, text.n * 2 + MARK_MAX);
    bool whole = false; /* the model's score says no place */
    for (size_t i = 0; i < p.verdict.n; i++)
        whole = whole || (p.verdict.findings[i].action == SAFETY_BLOCK &&
                          (!gives_orders(&p.verdict.findings[i]) || p.verdict.findings[i].to == 0));
    if (!e && whole)
        p.removed++;
    else if (!e)
        e = cut_passage(text, &cuts, &orders, &p);
    buf_deinit(&cuts);
    buf_deinit(&orders);
    if (e)
        buf_deinit(&p.kept);
    else
        *ret = p;
    return e;
}
