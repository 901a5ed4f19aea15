/* The cascade. See guard.h. What a judgement needs to work in (the normaliser's buffers, the
 * automaton's state) is kept in a list of benches, one for each thread that judges at once. */
#include "safety/guard_internal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/crypto.h"
#include "safety/memo.h"
#include "safety/views.h"

#define BENCHES_KEPT   16
#define BENCH_KEPT_MAX ((size_t)1 << 20) /* bytes of text whose buffers are kept for the next */
#define PIECE_OVERLAP  512
#define TALK_SUSPECT   0.4f /* a score of a talk from which its embedding is asked for */
#define EARLIER_SHARE  0.5f /* of the talk's score that the earlier messages may have alone */
#define TOGETHER       6    /* texts that are scored together: what one message has at most */
#define DETECTORS      3    /* raised with a change of what rules and detectors find in a passage */

struct safety {
    const struct safety_scorer *scorer;
    char secret[32]; /* of the canaries */
    pthread_mutex_t lock;
    struct policy *policy;
    struct memo *memo;
    struct bench *benches;
    int n_benches;
};

/* ---- life ---- */

enum err safety_new(const struct safety_options *o, struct safety **ret, struct errinfo *ei) {
    struct policy *p = NULL;
    enum err e =
        policy_parse(o->policy.p ? o->policy : policy_default_text(), o->policy_version, &p, ei);
    if (e)
        return e;
    struct safety *g = calloc(1, sizeof *g);
    if (g)
        g->memo = memo_new();
    if (!g || !g->memo) {
        free(g);
        policy_unref(p);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    pthread_mutex_init(&g->lock, NULL);
    g->policy = p;
    g->scorer = o->scorer;
    crypto_random(g->secret, sizeof g->secret);
    *ret = g;
    return ERR_OK;
}

static void bench_free(struct bench *b) {
    if (!b)
        return;
    words_scanner_free(b->scanner);
    words_scanner_free(b->stepper);
    policy_unref(b->policy);
    safety_normal_deinit(&b->normal);
    safety_normal_deinit(&b->joined);
    buf_deinit(&b->context);
    free(b->matched);
    free(b->spans);
    free(b);
}

void safety_free(struct safety *g) {
    if (!g)
        return;
    while (g->benches) {
        struct bench *b = g->benches;
        g->benches = b->next;
        bench_free(b);
    }
    policy_unref(g->policy);
    memo_free(g->memo);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

void safety_set_policy(struct safety *g, struct policy *p) {
    pthread_mutex_lock(&g->lock);
    struct policy *old = g->policy;
    g->policy = p;
    pthread_mutex_unlock(&g->lock);
    policy_unref(old);
}

struct policy *safety_get_policy(struct safety *g) {
    pthread_mutex_lock(&g->lock);
    struct policy *p = policy_ref(g->policy);
    pthread_mutex_unlock(&g->lock);
    return p;
}

const struct safety_scorer *safety_get_scorer(const struct safety *g) {
    return g->scorer;
}

void safety_stamp(const struct safety *g, const struct policy *p, char out[SAFETY_STAMP_SIZE]) {
    const struct safety_scorer *scorer = g->scorer;
    snprintf(out, SAFETY_STAMP_SIZE, "%s %.40s %s.%d", p->stamp,
             !scorer          ? "-"
             : scorer->digest ? scorer->digest
                              : scorer->name,
             PARLEY_VERSION, DETECTORS);
}

void safety_canary(const struct safety *g, struct str role_id, int version,
                   char out[SAFETY_CANARY_SIZE]) {
    char text[128], hex[SHA256_HEX_LEN + 1];
    int n = snprintf(text, sizeof text, "%.*s %d ", (int)(role_id.n < 64 ? role_id.n : 64),
                     role_id.p, version);
    memcpy(text + n, g->secret, sizeof g->secret);
    sha256_hex((struct str){text, (size_t)n + sizeof g->secret}, hex);
    snprintf(out, SAFETY_CANARY_SIZE, "ref-%.12s", hex);
}

/* ---- benches ---- */

static struct bench *bench_new(void) {
    struct bench *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    safety_normal_init(&b->normal);
    safety_normal_init(&b->joined);
    buf_init(&b->context, NORMAL_INPUT_MAX);
    return b;
}

static bool bench_fit(struct bench *b, const struct policy *p) {
    if (b->policy == p)
        return true;
    words_scanner_free(b->scanner);
    words_scanner_free(b->stepper);
    free(b->matched);
    free(b->spans);
    policy_unref(b->policy);
    b->policy = policy_ref((struct policy *)p);
    b->n_rules = p->n_rules;
    b->scanner = words_scanner_new(p->words);
    b->stepper = words_scanner_new(p->words);
    b->matched = calloc(p->n_rules + 1, 1);
    b->spans = calloc(p->n_rules + 1, sizeof *b->spans);
    return b->scanner && b->stepper && b->matched && b->spans;
}

struct bench *bench_take(struct safety *g, const struct policy *p) {
    struct bench **at, *b = NULL;
    pthread_mutex_lock(&g->lock);
    for (at = &g->benches; *at && (*at)->policy != p; at = &(*at)->next)
        ;
    if (!*at)
        at = &g->benches;
    if ((b = *at)) {
        *at = b->next;
        g->n_benches--;
    }
    pthread_mutex_unlock(&g->lock);
    if (!b)
        b = bench_new();
    if (b && !bench_fit(b, p)) {
        bench_free(b);
        b = NULL;
    }
    return b;
}

void bench_put(struct safety *g, struct bench *b) {
    bool keep = b->normal.text.size + b->joined.text.size < BENCH_KEPT_MAX;
    pthread_mutex_lock(&g->lock);
    if (keep && g->n_benches < BENCHES_KEPT) {
        b->next = g->benches;
        g->benches = b;
        g->n_benches++;
        b = NULL;
    }
    pthread_mutex_unlock(&g->lock);
    bench_free(b);
}

/* ---- findings ---- */

struct judging {
    const struct safety_request *r;
    const struct policy *p;
    const struct policy_role *role;
    struct bench *b;
    struct safety_verdict *v;
    const struct safety_normal *normal; /* being scanned */
    size_t at;                          /* where in it the scan began */
    size_t skip;                        /* bytes before the judged text in what is scanned */
    bool any, excepted;                 /* a rule matched; an exception did */
};

static bool stronger(const struct safety_finding *a, const struct safety_finding *b) {
    return a->action != b->action ? a->action > b->action : a->score > b->score;
}

void verdict_copy(struct safety_verdict *to, const struct safety_verdict *v) {
    memcpy(to, v, offsetof(struct safety_verdict, findings) + v->n * sizeof v->findings[0]);
    to->n = v->n;
    to->policy_version = v->policy_version;
    to->uncertain = v->uncertain;
    to->degraded = v->degraded;
}

/* Keeps the strongest findings, in order. */
void verdict_add(struct safety_verdict *v, const struct safety_finding *f) {
    size_t at = v->n;
    if (f->action == SAFETY_ALLOW)
        return;
    while (at > 0 && stronger(f, &v->findings[at - 1]))
        at--;
    if (at == SAFETY_FINDINGS_MAX)
        return;
    if (v->n < SAFETY_FINDINGS_MAX)
        v->n++;
    memmove(&v->findings[at + 1], &v->findings[at], (v->n - at - 1) * sizeof *f);
    v->findings[at] = *f;
    v->action = v->findings[0].action;
    v->category = v->findings[0].category;
}

void verdict_raise(struct safety_verdict *v, enum safety_category c, float score) {
    if (score > v->scores[c])
        v->scores[c] = score;
}

void verdict_add_rule(struct safety_verdict *v, const struct policy_rule *rule,
                      const struct policy_role *role, enum safety_direction d, size_t from,
                      size_t to) {
    struct safety_finding f = {.category = rule->category,
                               .action = policy_action(role, rule->category, d, rule->score),
                               .score = rule->score,
                               .from = from,
                               .to = to};
    verdict_raise(v, rule->category, rule->score);
    snprintf(f.source, sizeof f.source, "rule:%.*s", STR_ARG(rule->id));
    verdict_add(v, &f);
}

void verdict_add_pii(struct safety_verdict *v, const struct pii_hit *h,
                     const struct policy_role *role, enum safety_direction d, size_t from,
                     size_t to) {
    struct safety_finding f = {SAFETY_PRIVACY, role->pii[h->kind][d], 1, from, to, ""};
    snprintf(f.source, sizeof f.source, "pii:%s.%s", pii_name(h->kind), h->detail);
    verdict_add(v, &f);
}

void verdict_add_scores(struct safety_verdict *v, const struct safety_scorer *s,
                        const struct policy_role *role, enum safety_direction d,
                        const float scores[SAFETY_CATEGORIES]) {
    for (int c = 0; c < SAFETY_CATEGORIES; c++) {
        enum safety_category category = (enum safety_category)c;
        struct safety_finding f = {.category = category,
                                   .action = policy_action(role, category, d, scores[c]),
                                   .score = scores[c]};
        verdict_raise(v, category, scores[c]);
        if (f.action == SAFETY_ALLOW)
            continue;
        snprintf(f.source, sizeof f.source, "model:%s", s->name);
        verdict_add(v, &f);
    }
}

void verdict_add_canary(struct safety_verdict *v, size_t from, size_t to) {
    struct safety_finding f = {SAFETY_PROMPT_INJECTION, SAFETY_BLOCK, 1, from, to, "canary"};
    verdict_raise(v, f.category, 1);
    verdict_add(v, &f);
}

static bool is_doubtful(const struct safety_verdict *v, const struct policy *p,
                        const struct policy_role *role, enum safety_category c,
                        enum safety_direction d) {
    return v->scores[c] >= p->band_from && v->scores[c] < p->band_to &&
           policy_can_block(role, c, d);
}

void verdict_find_band(struct safety_verdict *v, const struct policy *p,
                       const struct policy_role *role, enum safety_direction d) {
    for (int c = 0; c < SAFETY_CATEGORIES; c++)
        if (is_doubtful(v, p, role, (enum safety_category)c, d))
            v->uncertain = true;
    if (v->action == SAFETY_BLOCK)
        v->uncertain = false;
}

/* ---- rules ---- */

struct order { /* as r->orders has it until it is known what is excepted */
    size_t rule;
    struct safety_span span;
};

static void note_order(struct judging *j, size_t rule, size_t from, size_t to) {
    const struct policy_rule *r = &j->p->rules[rule];
    bool attacks = r->category == SAFETY_PROMPT_INJECTION || r->category == SAFETY_JAILBREAK;
    struct order o = {rule, {from, to}};
    if (attacks && policy_action(j->role, r->category, j->r->direction, r->score) >= SAFETY_WARN)
        buf_add(j->r->orders, &o, sizeof o);
}

/* Leaves the places alone, without those that an exception took back. */
static void settle_orders(struct judging *j) {
    struct buf *b = j->r->orders;
    size_t n = b->n / sizeof(struct order), kept = 0;
    for (size_t i = 0; i < n; i++) {
        struct order o;
        memcpy(&o, b->p + i * sizeof o, sizeof o);
        if (j->b->matched[o.rule] != 1)
            continue;
        memcpy(b->p + kept * sizeof o.span, &o.span, sizeof o.span);
        kept++;
    }
    b->n = kept * sizeof(struct safety_span);
}

static void on_hit(void *ctx, uint32_t id, size_t from, size_t to) {
    struct judging *j = ctx;
    size_t rule = id / 2;
    struct normal_source s = safety_normal_span(j->normal, j->at + from, j->at + to);
    if (id % 2) {
        if (s.to <= j->skip)
            return; /* what was said before excuses nothing */
        j->b->matched[rule] |= 2;
        j->excepted = true;
        return;
    }
    if (!j->p->rules[rule].on[j->r->direction])
        return;
    if (s.to <= j->skip + j->r->fresh_from)
        return; /* in an earlier message, or judged before */
    if (j->r->orders)
        note_order(j, rule, s.from, s.to);
    if (j->b->matched[rule] & 1)
        return;
    j->b->matched[rule] |= 1;
    j->any = true;
    j->b->spans[rule].from = s.from > j->skip ? s.from - j->skip : 0;
    j->b->spans[rule].to = s.to - j->skip;
}

static void scan_rules(struct judging *j, const struct safety_normal *n, size_t skip) {
    struct str text = buf_str(&n->text);
    j->normal = n;
    j->skip = skip;
    j->at = 0;
    words_scan(j->b->scanner, text, on_hit, j);
    literals_scan(j->p->literals, text, on_hit, j);
}

/* The same of what ends in the judged text alone: nothing of a pattern's words stands in another
 * sentence. The text is plain. */
static void scan_end(struct judging *j, const struct safety_normal *n, size_t skip) {
    struct str text = buf_str(&n->text);
    size_t at = skip;
    while (at > 0 && !(text.p[at] == ' ' && words_ends_sentence(text.p[at - 1])))
        at--;
    j->normal = n;
    j->skip = skip;
    j->at = at;
    words_scan(j->b->scanner, str_sub(text, at, text.n), on_hit, j);
    j->at = skip > LITERAL_LENGTH_MAX ? skip - LITERAL_LENGTH_MAX : 0;
    literals_scan(j->p->literals, str_sub(text, j->at, text.n), on_hit, j);
}

static void take_rules(struct judging *j) {
    if (!j->any && !j->excepted)
        return;
    for (size_t i = 0; i < j->p->n_rules; i++) {
        const struct policy_rule *rule = &j->p->rules[i];
        unsigned char matched = j->b->matched[i];
        j->b->matched[i] = 0;
        if (matched != 1)
            continue;
        verdict_add_rule(j->v, rule, j->role, j->r->direction, j->b->spans[i].from,
                         j->b->spans[i].to);
    }
}

/* The new message behind the earlier ones: what is said in pieces. */
static enum err scan_joined(struct judging *j) {
    struct buf *all = &j->b->context;
    if (!j->r->context.n || j->r->direction != SAFETY_INPUT)
        return ERR_OK;
    buf_clear(all);
    buf_adds(all, j->r->context);
    for (size_t i = 0; i < all->n; i++)
        if (all->p[i] == '\n')
            all->p[i] = ' ';
    buf_addc(all, ' ');
    size_t skip = all->n;
    buf_adds(all, j->r->text);
    enum err e = buf_err(all);
    if (!e)
        e = safety_normalise(&j->b->joined, buf_str(all));
    if (e)
        return e;
    if (j->b->joined.itself)
        scan_end(j, &j->b->joined, skip);
    else
        scan_rules(j, &j->b->joined, skip);
    return ERR_OK;
}

/* ---- personal data ---- */

size_t safety_find_pii(struct safety *g, struct str text, struct pii_hit *ret, size_t max) {
    struct memo_key key;
    if (!pii_may_hold(text))
        return 0;
    bool keyed = memo_text_key(g->memo, text, &key);
    if (keyed && memo_is_clean(g->memo, &key))
        return 0;
    size_t n = pii_scan(text, ret, max);
    if (keyed && n == 0)
        memo_set_clean(g->memo, &key);
    return n;
}

enum err safety_redact(struct safety *g, const struct policy_role *role, enum safety_direction d,
                       struct str text, struct pii_vault **vault, struct buf *out) {
    struct pii_hit first;
    struct pii_vault *v = *vault;
    bool kinds[PII_KINDS];
    size_t n = 0;
    if (safety_find_pii(g, text, &first, 1) == 0)
        return ERR_OK;
    if (!v && !(v = pii_vault_new()))
        return ERR_NOMEM;
    for (int k = 0; k < PII_KINDS; k++)
        kinds[k] = role->pii[k][d] == SAFETY_REDACT;
    enum err e = pii_redact_all(v, text, kinds, out, &n);
    if (n == 0) /* the text as it is */
        buf_clear(out);
    if (n == 0 && !*vault)
        pii_vault_free(v);
    else
        *vault = v;
    return e;
}

static void take_pii(struct safety *g, struct judging *j) {
    const struct safety_request *r = j->r;
    struct pii_hit *hits = j->b->hits;
    size_t n = safety_find_pii(g, r->text, hits, PII_HITS_MAX);
    for (size_t at;; n = pii_scan_from(r->text, at, hits, PII_HITS_MAX)) {
        for (size_t i = 0; i < n; i++)
            if (hits[i].to > r->fresh_from)
                verdict_add_pii(j->v, &hits[i], j->role, r->direction, hits[i].from, hits[i].to);
        at = pii_next(r->text, hits, n, PII_HITS_MAX);
        if (at == r->text.n)
            break;
    }
}

/* ---- the classifier ---- */

/* Texts that are scored together, and where their scores go. */
struct scoring {
    const struct safety_scorer *scorer;
    size_t n;
    struct safety_text texts[TOGETHER];
    float *best[TOGETHER];
};

static void score_now(struct scoring *s) {
    float scores[TOGETHER][SAFETY_CATEGORIES] = {{0}};
    if (s->scorer->score_all)
        s->scorer->score_all(s->scorer->ctx, s->texts, s->n, scores);
    for (size_t i = 0; i < s->n; i++) {
        if (!s->scorer->score_all)
            s->scorer->score(s->scorer->ctx, &s->texts[i], scores[i]);
        for (int c = 0; c < SAFETY_CATEGORIES; c++)
            if (scores[i][c] > s->best[i][c])
                s->best[i][c] = scores[i][c];
    }
    s->n = 0;
}

static void score_soon(struct scoring *s, const struct safety_text *t, float *best) {
    s->texts[s->n] = *t;
    s->best[s->n++] = best;
    if (s->n == TOGETHER)
        score_now(s);
}

static struct str text_piece(struct str text, size_t at) {
    struct str s = str_sub(text, at, text.n);
    while (at > 0 && s.n && ((unsigned char)s.p[0] & 0xC0) == 0x80)
        s.p++, s.n--;
    s.n = utf8_cut(s, SAFETY_TEXT_MAX);
    return s;
}

/* Scores one text, in overlapping pieces when it or what it was folded into is long. */
static void score_text(struct scoring *s, const struct safety_request *r, struct str text,
                       struct str folded, const float *embedding, float best[SAFETY_CATEGORIES]) {
    size_t longer = text.n > folded.n ? text.n : folded.n;
    for (size_t at = 0; at < longer || at == 0; at += SAFETY_TEXT_MAX - PIECE_OVERLAP) {
        struct safety_text t = {.text = text_piece(text, at),
                                .folded = text_piece(folded, at),
                                .context = r->context,
                                .direction = r->direction,
                                .embedding =
                                    at == 0 && text.n <= SAFETY_TEXT_MAX ? embedding : NULL};
        score_soon(s, &t, best);
        if (longer <= SAFETY_TEXT_MAX)
            break;
    }
}

enum err safety_join_talk(const struct safety_request *r, struct buf *out) {
    struct str earlier = safety_view_earlier(r->context);
    if (!earlier.n || r->direction != SAFETY_INPUT || r->text.n > SAFETY_TALK_MESSAGE_MAX)
        return ERR_OK;
    buf_adds(out, earlier);
    buf_addc(out, '\n');
    buf_adds(out, r->text);
    return buf_err(out);
}

struct talk_scores {
    float whole[SAFETY_CATEGORIES], before[SAFETY_CATEGORIES];
};

/* The earlier messages first: the talk goes on from them. */
static void score_joined(struct scoring *s, const struct safety_request *r, struct str talk,
                         struct talk_scores *scores) {
    struct str earlier = str_sub(talk, 0, talk.n - r->text.n - 1);
    score_text(s, r, earlier, earlier, NULL, scores->before);
    score_text(s, r, talk, talk, r->talk_embedding, scores->whole);
}

/* A message that is harmless by itself may end what the earlier ones began. It does when the talk
 * as a whole says so and the earlier messages alone do not: those were judged in their time. Where
 * they are suspect, too, but in peace by themselves, a talk of which the classifier is sure counts;
 * of another it is in doubt, which *doubt gets. */
static void raise_to_talk(const struct talk_scores *s, const struct policy *p,
                          const struct policy_role *role, enum safety_direction d,
                          float best[SAFETY_CATEGORIES], float doubt[SAFETY_CATEGORIES]) {
    for (int c = 0; c < SAFETY_CATEGORIES; c++) {
        enum safety_category category = (enum safety_category)c;
        bool rises = policy_action(role, category, d, s->before[c]) <
                     policy_action(role, category, d, s->whole[c]);
        bool is_new = s->before[c] < EARLIER_SHARE * s->whole[c];
        doubt[c] = rises ? s->whole[c] : 0;
        if (s->whole[c] > best[c] && (is_new || (rises && s->whole[c] >= p->band_to)))
            best[c] = s->whole[c];
    }
}

enum err safety_join_suspect_talk(struct safety *g, const struct safety_request *r,
                                  struct buf *out) {
    float best[SAFETY_CATEGORIES] = {0}, doubt[SAFETY_CATEGORIES] = {0};
    struct talk_scores scores = {{0}, {0}};
    struct scoring s;
    bool suspect = false;
    struct buf talk;
    s.scorer = g->scorer;
    s.n = 0;
    buf_init(&talk, SAFETY_TALK_BYTES + SAFETY_TALK_MESSAGE_MAX + 1);
    enum err e = safety_join_talk(r, &talk);
    if (!e && g->scorer && talk.n && utf8_valid(buf_str(&talk))) {
        struct policy *p =
            r->policy ? policy_ref((struct policy *)r->policy) : safety_get_policy(g);
        score_joined(&s, r, buf_str(&talk), &scores);
        score_now(&s);
        raise_to_talk(&scores, p, policy_for(p, r->role), r->direction, best, doubt);
        policy_unref(p);
    }
    for (int c = 0; c < SAFETY_CATEGORIES; c++)
        suspect = suspect || best[c] >= TALK_SUSPECT || doubt[c] >= TALK_SUSPECT;
    if (suspect)
        buf_adds(out, buf_str(&talk));
    buf_deinit(&talk);
    return e ? e : buf_err(out);
}

static enum err take_scores(struct safety *g, struct judging *j) {
    const struct safety_request *r = j->r;
    const struct safety_normal *n = &j->b->normal;
    struct str all = buf_str(&n->text), folded = str_sub(all, 0, n->decoded_from);
    float best[SAFETY_CATEGORIES] = {0}, doubt[SAFETY_CATEGORIES] = {0};
    struct talk_scores scores = {{0}, {0}};
    struct buf *talk = &j->b->context;
    struct scoring s;
    if (!g->scorer) {
        j->v->degraded = true;
        return ERR_OK;
    }
    s.scorer = g->scorer;
    s.n = 0;
    bool valid = n->itself || utf8_valid(r->text);
    if (n->itself) /* to the classifier they are one */
        folded = r->text;
    /* what is no UTF-8 the classifier reads as the normaliser made it */
    score_text(&s, r, valid ? r->text : folded, folded, r->embedding, best);
    if (n->decoded_from < n->text.n) { /* what was decoded, without the letters around it */
        struct str decoded = str_sub(all, n->decoded_from + 2, all.n);
        score_text(&s, r, decoded, decoded, NULL, best);
    }
    struct str core = r->direction == SAFETY_INPUT && valid ? safety_view_core(r->text) : STR_NULL;
    if (core.n)
        score_text(&s, r, core, core, r->core_embedding, best);
    buf_clear(talk);
    enum err e = safety_join_talk(r, talk);
    if (e)
        return e;
    if (talk->n && utf8_valid(buf_str(talk)))
        score_joined(&s, r, buf_str(talk), &scores);
    score_now(&s);
    raise_to_talk(&scores, j->p, j->role, r->direction, best, doubt);
    verdict_add_scores(j->v, g->scorer, j->role, r->direction, best);
    for (int c = 0; c < SAFETY_CATEGORIES; c++)
        verdict_raise(j->v, (enum safety_category)c, doubt[c]);
    return ERR_OK;
}

/* ---- all of it ---- */

static void take_canary(struct judging *j) {
    const struct safety_request *r = j->r;
    size_t at =
        r->canary.n && r->direction == SAFETY_OUTPUT ? str_find(r->text, r->canary) : SIZE_MAX;
    if (at == SIZE_MAX)
        return;
    verdict_add_canary(j->v, at, at + r->canary.n);
}

static enum err judge(struct safety *g, struct judging *j) {
    enum err e = safety_normalise(&j->b->normal, j->r->text);
    if (e)
        return e;
    scan_rules(j, &j->b->normal, 0);
    e = scan_joined(j);
    if (j->r->orders)
        settle_orders(j);
    take_rules(j);
    if (e)
        return e;
    take_pii(g, j);
    take_canary(j);
    e = take_scores(g, j);
    verdict_find_band(j->v, j->p, j->role, j->r->direction);
    return e;
}

enum err safety_judge(struct safety *g, const struct safety_request *r,
                      struct safety_verdict *ret) {
    struct policy *p = r->policy ? policy_ref((struct policy *)r->policy) : safety_get_policy(g);
    struct memo_key key;
    bool keyed = memo_key(g->memo, p, r, &key);
    if (keyed && memo_find(g->memo, &key, ret)) {
        policy_unref(p);
        return ERR_OK;
    }
    struct bench *b = bench_take(g, p);
    struct safety_verdict v;
    verdict_begin(&v, p->version);
    enum err e = ERR_NOMEM;
    if (b) {
        struct judging j = {.r = r, .p = p, .role = policy_for(p, r->role), .b = b, .v = &v};
        e = judge(g, &j);
        bench_put(g, b);
    }
    policy_unref(p);
    if (!e)
        verdict_copy(ret, &v);
    if (!e && keyed)
        memo_put(g->memo, &key, &v);
    return e;
}

void safety_add_guard(const struct policy *p, struct str role, enum safety_direction d,
                      const char *model, enum safety_category c, float score,
                      struct safety_verdict *v) {
    struct safety_finding f = {
        .category = c, .action = policy_action(policy_for(p, role), c, d, score), .score = score};
    if (f.action == SAFETY_ALLOW) /* it is not lost where the policy does nothing */
        f.action = SAFETY_ANNOTATE;
    snprintf(f.source, sizeof f.source, "guard:%s", model);
    verdict_raise(v, c, score);
    verdict_add(v, &f);
    v->uncertain = false;
}

enum safety_category safety_suspected(const struct policy *p, struct str role,
                                      enum safety_direction d, const struct safety_verdict *v) {
    const struct policy_role *r = policy_for(p, role);
    int best = 0;
    bool doubtful = false;
    for (int c = 0; c < SAFETY_CATEGORIES; c++) {
        bool is = is_doubtful(v, p, r, (enum safety_category)c, d);
        if (is > doubtful || (is == doubtful && v->scores[c] > v->scores[best]))
            best = c;
        doubtful = doubtful || is;
    }
    return (enum safety_category)best;
}

void safety_add_fallback(const char *why, bool block, enum safety_category c,
                         struct safety_verdict *v) {
    struct safety_finding f = {
        .category = c, .action = block ? SAFETY_BLOCK : SAFETY_ANNOTATE, .score = v->scores[c]};
    snprintf(f.source, sizeof f.source, "fallback:%s", why);
    verdict_add(v, &f);
    v->degraded = true;
    v->uncertain = false;
}

static bool speaks_of_cuts(const struct safety_verdict *v) {
    for (size_t i = 0; i < v->n; i++)
        if (v->findings[i].action == SAFETY_REDACT)
            return true;
    return v->n == SAFETY_FINDINGS_MAX; /* stronger ones may have taken their places */
}

enum err safety_find_cuts(const struct safety_verdict *v, const struct policy_role *role,
                          enum safety_direction d, struct str text, struct buf *ret) {
    struct pii_hit hits[PII_HITS_MAX];
    if (!speaks_of_cuts(v))
        return ERR_OK;
    for (size_t at = 0, n; at < text.n; at = pii_next(text, hits, n, PII_HITS_MAX)) {
        n = pii_scan_from(text, at, hits, PII_HITS_MAX);
        for (size_t i = 0; i < n; i++) {
            struct safety_span s = {hits[i].from, hits[i].to};
            if (role->pii[hits[i].kind][d] == SAFETY_REDACT)
                buf_add(ret, &s, sizeof s);
        }
    }
    return buf_err(ret);
}

/* The first that ends behind `at`. */
static size_t first_cut(const struct safety_span *cuts, size_t n, size_t at) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (cuts[middle].to > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

enum err safety_cut(const struct buf *cuts, struct str text, size_t from, size_t to,
                    struct buf *out) {
    const struct safety_span *list = (const struct safety_span *)cuts->p;
    size_t at = from, n = cuts->n / sizeof *list;
    for (size_t i = first_cut(list, n, from); i < n && list[i].from < to; i++) {
        if (list[i].from > at)
            buf_add(out, text.p + at, list[i].from - at);
        buf_addz(out, "[removed]");
        at = list[i].to < to ? list[i].to : to;
    }
    if (to > at)
        buf_add(out, text.p + at, to - at);
    return buf_err(out);
}

void safety_verdict_members(const struct safety_verdict *v, struct buf *b) {
    const char *comma = "";
    buf_addf(b, "\"action\":\"%s\",\"category\":", safety_action_name(v->action));
    if (v->action == SAFETY_ALLOW)
        buf_addz(b, "null,\"scores\":{");
    else
        buf_addf(b, "\"%s\",\"scores\":{", safety_category_name(v->category));
    for (int c = 0; c < SAFETY_CATEGORIES; c++) {
        if (v->scores[c] < 0.01f)
            continue;
        buf_addf(b, "%s\"%s\":%.3f", comma, safety_category_name((enum safety_category)c),
                 (double)v->scores[c]);
        comma = ",";
    }
    buf_addz(b, "},\"findings\":[");
    for (size_t i = 0; i < v->n; i++) {
        const struct safety_finding *f = &v->findings[i];
        buf_addf(b, "%s{\"category\":\"%s\",\"action\":\"%s\",\"score\":%.3f,\"source\":\"",
                 i ? "," : "", safety_category_name(f->category), safety_action_name(f->action),
                 (double)f->score);
        buf_add_json(b, str_from(f->source));
        buf_addf(b, "\",\"from\":%zu,\"to\":%zu}", f->from, f->to);
    }
    buf_addf(b, "],\"policy_version\":%d,\"degraded\":%s", v->policy_version,
             v->degraded ? "true" : "false");
}

void safety_verdict_json(const struct safety_verdict *v, struct buf *b) {
    buf_addc(b, '{');
    safety_verdict_members(v, b);
    buf_addc(b, '}');
}
