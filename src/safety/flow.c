/* What was found in a growing text, and how much of it is safe. See flow.h. */
#include <stdlib.h>

#include "safety/flow_internal.h"
#include "safety/secrets.h"

#define PLACEHOLDER_MAX 24 /* "[SECRET_12]" */
#define WORD_HELD       96 /* bytes of an unfinished word that wait while there is a disguise */
#define DIGITS_HELD     8  /* a longer number may begin a key */
#define AROUND          64 /* bytes before a candidate that may say what it is */

/* ---- life ---- */

static void care(struct safety_flow *f) {
    static const bool is_number[PII_KINDS] = {
        [PII_PHONE] = true, [PII_CARD] = true,     [PII_IBAN] = true,
        [PII_SSN] = true,   [PII_NATIONAL] = true, [PII_IP] = true};
    for (int k = 0; k < PII_KINDS; k++) {
        enum safety_action a = f->role->pii[k][f->direction];
        f->pii = f->pii || a != SAFETY_ALLOW;
        f->pii_held = f->pii_held || a == SAFETY_REDACT || a == SAFETY_BLOCK;
        f->numbers_held =
            f->numbers_held || (is_number[k] && (a == SAFETY_REDACT || a == SAFETY_BLOCK));
        f->words_held =
            f->words_held || (k != PII_SECRET && (a == SAFETY_REDACT || a == SAFETY_BLOCK));
    }
}

/* All zeros, with its arrays behind it in one piece. */
static struct safety_flow *flow_alloc(const struct safety_scorer *scorer, size_t rules) {
    const size_t align = sizeof(max_align_t);
    size_t sums = scorer ? (scorer->flow_size + align - 1) / align * align : 0;
    size_t head = (sizeof(struct safety_flow) + align - 1) / align * align;
    size_t spans = (rules + 1) * sizeof(struct span);
    char *p = calloc(1, head + 4 * sums + spans + rules + 1);
    struct safety_flow *f = (struct safety_flow *)(void *)p;
    if (!p)
        return NULL;
    p += head;
    for (int i = 0; i < 2 && sums; i++, p += 2 * sums) {
        f->sums[i] = p;
        f->sums_then[i] = p + sums;
    }
    f->spans = (struct span *)(void *)p;
    f->rules = (unsigned char *)p + spans;
    return f;
}

static enum err read_before(struct safety_flow *f, struct str before) {
    struct safety_verdict v;
    size_t from = before.n > FLOW_WINDOW ? before.n - FLOW_WINDOW : 0;
    while (from < before.n && ((unsigned char)before.p[from] & 0xC0) == 0x80)
        from++;
    f->base = f->segment_from = f->word_end = f->sentence_from = from;
    f->known = before.n;
    enum err e = before.n > from
                     ? safety_flow_add(f, str_sub(before, from, before.n), TEXT_GOES_ON, &v)
                     : ERR_OK;
    f->safe = f->taken = f->pii_done = before.n;
    f->hold_word = f->hold_model = false;
    return e;
}

enum err safety_flow_new(const struct safety_flow_options *o, struct safety_flow **ret) {
    const struct safety_scorer *scorer = safety_get_scorer(o->safety);
    struct safety_flow *f = flow_alloc(scorer, o->policy->n_rules);
    if (!f)
        return ERR_NOMEM;
    f->safety = o->safety;
    f->policy = policy_ref(o->policy);
    f->role = policy_for(o->policy, o->role);
    f->scorer = scorer;
    f->direction = o->direction;
    f->placeholders = o->placeholders;
    f->clean_at = f->pii_now.from = NOWHERE;
    f->new_sentence = true;
    if (o->canary.n < sizeof f->canary)
        memcpy(f->canary, o->canary.p, o->canary.n);
    buf_init(&f->raw, FLOW_INPUT_MAX);
    buf_init(&f->folded, FLOW_INPUT_MAX * NORMAL_GROWTH);
    buf_init(&f->cuts, (size_t)1 << 20);
    care(f);
    enum err e = read_before(f, o->before);
    if (e) {
        safety_flow_free(f);
        return e;
    }
    *ret = f;
    return ERR_OK;
}

void safety_flow_free(struct safety_flow *f) {
    if (!f)
        return;
    policy_unref(f->policy);
    buf_deinit(&f->raw);
    buf_deinit(&f->folded);
    buf_deinit(&f->cuts);
    words_live_deinit(&f->live);
    free(f);
}

size_t safety_flow_end(const struct safety_flow *f) {
    return f->base + f->raw.n;
}

size_t safety_flow_safe(const struct safety_flow *f) {
    return f->safe;
}

/* ---- rules ---- */

/* A word that waits may end when the window has moved on by its length. */
static bool is_seen(const struct safety_flow *f, size_t from, size_t to) {
    bool in_window = from >= f->window_at + WORD_HELD || f->window_at == 0;
    return to <= f->known || (f->dirty && in_window && from >= f->dirty_from && from < f->clean_at);
}

static void note_hit(struct safety_flow *f, uint32_t id, size_t from, size_t to) {
    size_t rule = id / 2;
    if (id % 2) {
        f->rules[rule] |= RULE_EXCEPTED;
    } else if (f->policy->rules[rule].on[f->direction] && to > f->known &&
               !(f->rules[rule] & (RULE_HIT | RULE_TOLD))) {
        f->rules[rule] |= RULE_HIT;
        f->spans[rule] = (struct span){from, to};
    }
}

/* While there are signs of a disguise, the normalised text speaks. */
void flow_hit(void *ctx, uint32_t id, size_t from, size_t to) {
    struct safety_flow *f = ctx;
    if (id % 2 || !is_seen(f, from, to))
        note_hit(f, id, from, to);
}

void flow_trial_hit(void *ctx, uint32_t id, size_t from, size_t to) {
    struct safety_flow *f = ctx;
    const struct policy_rule *r = &f->policy->rules[id / 2];
    (void)from;
    if (id % 2 || to <= f->known || !r->on[f->direction] || f->rules[id / 2] & ~RULE_HIT)
        return;
    if (policy_action(f->role, r->category, f->direction, r->score) != SAFETY_BLOCK)
        return;
    f->hold_word = true;
    f->hold_from = f->word_from;
}

/* tried: what an exception on trial covers is told when that did not hold. */
static void tell_rules(struct safety_flow *f, bool tried, struct safety_verdict *v) {
    for (size_t i = 0; i < f->policy->n_rules; i++) {
        bool waits = tried && (f->rules[i] & (RULE_EXCEPTED | RULE_WAS_EXCEPTED)) == RULE_EXCEPTED;
        if (!(f->rules[i] & RULE_HIT) || waits)
            continue;
        f->rules[i] &= (unsigned char)~RULE_HIT;
        if (f->rules[i] & RULE_EXCEPTED)
            continue;
        f->rules[i] |= RULE_TOLD;
        verdict_add_rule(v, &f->policy->rules[i], f->role, f->direction, f->spans[i].from,
                         f->spans[i].to);
    }
}

/* An exception by a word that may go on holds as long as that does not. */
static void begin_trial(struct safety_flow *f) {
    for (size_t i = 0; i < f->policy->n_rules; i++)
        if (f->rules[i] & RULE_EXCEPTED)
            f->rules[i] |= RULE_WAS_EXCEPTED;
}

static void end_trial(struct safety_flow *f) {
    for (size_t i = 0; i < f->policy->n_rules; i++) {
        if (!(f->rules[i] & RULE_WAS_EXCEPTED))
            f->rules[i] &= (unsigned char)~RULE_EXCEPTED;
        f->rules[i] &= (unsigned char)~RULE_WAS_EXCEPTED;
    }
}

/* ---- a disguise: the last bytes as a whole ---- */

struct whole {
    struct safety_flow *f;
    size_t from, to; /* the window */
    size_t mark;     /* bytes that were put before it */
};

static void whole_hit(void *ctx, uint32_t id, size_t from, size_t to) {
    struct whole *w = ctx;
    struct normal_source s = safety_normal_span(&w->f->b->normal, from, to);
    note_hit(w->f, id, w->from + (s.from > w->mark ? s.from - w->mark : 0),
             w->from + (s.to > w->mark ? s.to - w->mark : 0));
}

/* The window; behind the override under which it stands, where that is before it. */
static struct str window_text(struct safety_flow *f, struct whole *w) {
    static const struct str override = {"\xe2\x80\xae", 3}; /* RLO */
    struct buf *marked = &f->b->context;
    struct str text = str_sub(buf_str(&f->raw), w->from - f->base, w->to - w->from);
    if (!f->overrides || f->override_at >= w->from)
        return text;
    buf_clear(marked);
    buf_adds(marked, override);
    buf_adds(marked, text);
    w->mark = override.n;
    return buf_str(marked);
}

/* FLOW_WINDOW before each byte of what was added: what ends anywhere in it is seen as it would be
 * seen had it come byte by byte. */
static size_t window_from(const struct safety_flow *f, size_t added) {
    size_t end = safety_flow_end(f), from = f->dirty_from;
    if (end - added > FLOW_WINDOW && from < end - added - FLOW_WINDOW)
        from = end - added - FLOW_WINDOW;
    if (from < f->base)
        from = f->base;
    for (int i = 0; i < AROUND && from > f->base; i++, from--) /* where a word begins */
        if ((unsigned char)f->raw.p[from - f->base - 1] <= ' ')
            break;
    if (f->run_n && from > f->run_from) /* base64 comes in fours */
        from = f->run_from + (from - f->run_from + 3) / 4 * 4;
    while (from < end && ((unsigned char)f->raw.p[from - f->base] & 0xC0) == 0x80)
        from++;
    return from < end ? from : end;
}

static void raise_all(float best[SAFETY_CATEGORIES], const float scores[SAFETY_CATEGORIES]) {
    for (int c = 0; c < SAFETY_CATEGORIES; c++)
        best[c] = scores[c] > best[c] ? scores[c] : best[c];
}

static void score_whole(struct safety_flow *f, struct str text, float best[SAFETY_CATEGORIES]) {
    float scores[SAFETY_CATEGORIES] = {0};
    struct safety_text t = {.text = text, .folded = text, .direction = f->direction};
    if (!f->scorer || !text.n)
        return;
    f->scorer->score(f->scorer->ctx, &t, scores);
    raise_all(best, scores);
}

/* Where what was not ended by a blank or a sign begins. */
static size_t open_word(const struct safety_flow *f) {
    const struct candidate *p = &f->pii_now;
    size_t open = f->word_n ? f->word_from : safety_flow_end(f);
    return p->word_n && p->word_from < open ? p->word_from : open;
}

static enum err judge_whole(struct safety_flow *f, size_t added, bool last,
                            float best[SAFETY_CATEGORIES]) {
    const unsigned disguises =
        NORMAL_LEET | NORMAL_SPACED | NORMAL_BASE64 | NORMAL_HEX | NORMAL_ROT13 | NORMAL_REVERSED;
    struct safety_normal *n = &f->b->normal;
    struct whole w = {f, window_from(f, added), safety_flow_end(f), 0};
    size_t open = open_word(f);
    if (!last && w.to - open <= WORD_HELD) { /* with its rest it may read otherwise */
        f->hold_word = open < w.to;
        f->hold_from = open;
        w.to = open > w.from ? open : w.from;
    }
    enum err e = safety_normalise(n, window_text(f, &w));
    if (!e)
        e = buf_err(&f->b->context);
    if (e)
        return e;
    struct str text = buf_str(&n->text);
    words_scan(f->b->scanner, text, whole_hit, &w);
    literals_scan(f->policy->literals, text, whole_hit, &w);
    if (n->found & NORMAL_LEET)
        f->leet_until = w.to + FLOW_WINDOW;
    if (n->found & disguises) {
        score_whole(f, str_sub(text, 0, n->decoded_from), best);
        if (n->decoded_from < text.n)
            score_whole(f, str_sub(text, n->decoded_from + 2, text.n), best);
    }
    if (f->clean_at != NOWHERE) {
        f->dirty = false;
        f->clean_at = NOWHERE;
    }
    return ERR_OK;
}

/* ---- personal data ---- */

/* In order; what was found again with more around it is one. */
static void add_cut(struct safety_flow *f, struct safety_span s) {
    struct safety_span *cuts = (struct safety_span *)f->cuts.p;
    size_t n = f->cuts.n / sizeof s;
    for (; n > 0 && cuts[n - 1].to > s.from; n--) {
        s.from = cuts[n - 1].from < s.from ? cuts[n - 1].from : s.from;
        s.to = cuts[n - 1].to > s.to ? cuts[n - 1].to : s.to;
    }
    f->cuts.n = n * sizeof s;
    buf_add(&f->cuts, &s, sizeof s);
}

static void tell_hit(struct safety_flow *f, const struct pii_hit *h, size_t from,
                     struct safety_verdict *v) {
    struct safety_span s = {from + h->from, from + h->to};
    if (s.to <= f->pii_done || s.to <= f->known)
        return;
    verdict_add_pii(v, h, f->role, f->direction, s.from, s.to);
    if (f->role->pii[h->kind][f->direction] == SAFETY_REDACT)
        add_cut(f, s);
}

/* Of a candidate that goes on beyond what may be held, where its scanned part ends: the word that
 * is coming belongs to the rest, and so do the words before it that it may belong to. A word longer
 * than all that is cut where it stands. */
static size_t end_of_part(const struct safety_flow *f, size_t *ret_keep_from) {
    const struct candidate *p = &f->pii_now;
    size_t until = safety_flow_end(f);
    bool in_word = p->word_n && p->in_word;
    if (in_word && p->word_from <= p->from)
        return *ret_keep_from = until;
    until = in_word ? p->word_from : until;
    size_t keep = until > p->from + 2 * AROUND ? until - AROUND : until;
    while (keep < until && keep > f->base && (unsigned char)f->raw.p[keep - f->base - 1] > ' ')
        keep++;
    *ret_keep_from = keep;
    return until;
}

/* Tells what stands in the text before *keep_from; one that goes on behind that belongs to the
 * rest. Returns the end of the last. */
static size_t tell_hits(struct safety_flow *f, struct str text, size_t from, size_t *keep_from,
                        struct safety_verdict *v) {
    struct pii_hit *hits = f->b->hits;
    size_t done = 0;
    for (size_t at = 0, n; at < text.n; at = pii_next(text, hits, n, PII_HITS_MAX)) {
        n = pii_scan_from(text, at, hits, PII_HITS_MAX);
        for (size_t i = 0; i < n; i++) {
            if (hits[i].to + from <= f->pii_now.from || hits[i].from + from >= *keep_from)
                continue;
            if (hits[i].to + from > *keep_from && hits[i].from + from > f->pii_now.from) {
                *keep_from = hits[i].from + from;
                continue;
            }
            tell_hit(f, &hits[i], from, v);
            done = hits[i].to + from;
        }
    }
    return done;
}

/* A word begins at byte i of raw, or behind a script that has no blanks. */
static bool begins_word(const struct safety_flow *f, size_t i) {
    unsigned char before = (unsigned char)f->raw.p[i - 1], c = (unsigned char)f->raw.p[i];
    return before <= ' ' || (before >= 128 && c < 128);
}

/* tried: it may go on all the same. */
static void scan_data(struct safety_flow *f, bool is_long, bool tried, struct safety_verdict *v) {
    struct candidate *p = &f->pii_now;
    size_t end = safety_flow_end(f), from = p->from > AROUND ? p->from - AROUND : 0;
    size_t until = end, keep = end;
    if (is_long)
        until = end_of_part(f, &keep);
    if (from <= f->base)
        from = f->base;
    else /* where a word begins */
        while (from < p->from && !begins_word(f, from - f->base))
            from++;
    struct str text = str_sub(buf_str(&f->raw), from - f->base, until - from);
    size_t told = tell_hits(f, text, from, &keep, v);
    if (tried) {
        f->pii_done = told > f->pii_done ? told : f->pii_done;
        return;
    }
    size_t done = keep < end ? keep : p->end;
    done = told > done ? told : done;
    f->pii_done = done > f->pii_done ? done : f->pii_done;
    if (keep < end) {
        p->from = done;
        p->key = p->key_ending = false;
        return;
    }
    bool goes_on = p->word_n && !p->in_word;
    *p = (struct candidate){.from = NOWHERE,
                            .end = p->end,
                            .word_from = goes_on ? p->word_from : end,
                            .word_n = goes_on ? p->word_n : 0,
                            .dashes = p->dashes};
}

static void read_data(struct safety_flow *f, enum text_then then, struct safety_verdict *v) {
    enum candidate_state data = flow_candidate_state(f, then == TEXT_ENDS);
    if (data != CANDIDATE_OPEN)
        scan_data(f, data == CANDIDATE_LONG, false, v);
    if (then == TEXT_PAUSES && f->pii_now.from != NOWHERE)
        scan_data(f, false, true, v);
}

/* ---- the classifier ---- */

static struct str up_to_word(struct str s) {
    while (s.n) {
        char c = s.p[s.n - 1] | 0x20;
        if (!((c >= 'a' && c <= 'z') || (s.p[s.n - 1] >= '0' && s.p[s.n - 1] <= '9') ||
              (unsigned char)s.p[s.n - 1] >= 128))
            break;
        s.n--;
    }
    return s;
}

static void add_sums(struct safety_flow *f, int which, struct str text) {
    size_t n = up_to_word(text).n;
    f->scored = f->scored && !text.n;
    f->scorer->flow_add(f->scorer->ctx, f->sums[which], str_sub(text, 0, n));
    if (n) {
        memcpy(f->sums_then[which], f->sums[which], f->scorer->flow_size);
        f->split_then = f->split;
    }
    f->scorer->flow_add(f->scorer->ctx, f->sums[which], str_sub(text, n, text.n));
}

/* A new window: the end of the old one begins it. */
static void begin_segment(struct safety_flow *f, size_t end) {
    size_t from = end > f->base + FLOW_KEPT ? end - FLOW_KEPT : f->base;
    while (from < end && (unsigned char)f->raw.p[from - f->base] > ' ')
        from++;
    struct str kept = str_sub(buf_str(&f->raw), from - f->base, end - from);
    f->segment_from = from;
    f->scored = false;
    f->split = f->split && safety_normalise(&f->b->normal, kept) == ERR_OK;
    for (int i = 0; i <= f->split; i++) {
        memset(f->sums[i], 0, f->scorer->flow_size);
        memset(f->sums_then[i], 0, f->scorer->flow_size);
        add_sums(f, i, i ? buf_str(&f->b->normal.text) : kept);
    }
}

static void read_sums(struct safety_flow *f, struct str text) {
    if (!f->scorer || !f->scorer->flow_size)
        return;
    size_t end = safety_flow_end(f), before = end - text.n;
    if (end - f->segment_from > FLOW_SEGMENT && up_to_word(text).n)
        begin_segment(f, before);
    if (f->differs && !f->split) { /* until now both were the same */
        memcpy(f->sums[1], f->sums[0], f->scorer->flow_size);
        memcpy(f->sums_then[1], f->sums_then[0], f->scorer->flow_size);
        f->split = true;
        f->scored = false;
    }
    f->word_end = up_to_word(text).n ? before + up_to_word(text).n : f->word_end;
    add_sums(f, 0, text);
    if (f->split)
        add_sums(f, 1, buf_str(&f->folded));
}

static bool blocks(const struct safety_flow *f, const float scores[SAFETY_CATEGORIES]) {
    for (int c = 0; c < SAFETY_CATEGORIES; c++)
        if (policy_action(f->role, (enum safety_category)c, f->direction, scores[c]) ==
            SAFETY_BLOCK)
            return true;
    return false;
}

static void score_sums(const struct safety_flow *f, char *const sums[2], bool split,
                       float best[SAFETY_CATEGORIES]) {
    float scores[SAFETY_CATEGORIES];
    memset(best, 0, sizeof scores);
    for (int i = 0; i <= split; i++) {
        f->scorer->flow_score(f->scorer->ctx, sums[i], f->direction, scores);
        raise_all(best, scores);
    }
}

/* A word that is not whole may look like another one: it waits until it is. */
static void score_text(struct safety_flow *f, bool last, float best[SAFETY_CATEGORIES]) {
    float scores[SAFETY_CATEGORIES];
    f->hold_model = false;
    if (!f->scorer)
        return;
    if (!f->scorer->flow_size) {
        size_t from = f->raw.n > FLOW_SEGMENT ? f->raw.n - FLOW_SEGMENT : 0;
        while (from < f->raw.n && ((unsigned char)f->raw.p[from] & 0xC0) == 0x80)
            from++;
        score_whole(f, str_sub(buf_str(&f->raw), from, f->raw.n), best);
        return;
    }
    if (!f->scored)
        score_sums(f, f->sums, f->split, f->scores);
    f->scored = true;
    memcpy(scores, f->scores, sizeof scores);
    if (!last && f->word_end < safety_flow_end(f) && blocks(f, scores)) {
        score_sums(f, f->sums_then, f->split_then, scores);
        f->hold_model = !blocks(f, scores);
    }
    raise_all(best, scores);
}

/* ---- what is safe ---- */

static size_t before_canary(const struct safety_flow *f, size_t end) {
    size_t most = strlen(f->canary);
    for (size_t n = most < f->raw.n ? most : f->raw.n; n > 0; n--)
        if (memcmp(f->raw.p + f->raw.n - n, f->canary, n) == 0)
            return end - n;
    return end;
}

static size_t before_placeholder(const struct safety_flow *f, size_t end) {
    for (size_t n = 1; n <= PLACEHOLDER_MAX && n <= f->raw.n; n++) {
        char c = f->raw.p[f->raw.n - n];
        if (c == '[')
            return end - n;
        if (!((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'))
            return end;
    }
    return end;
}

/* The unfinished word may become personal data: "ada" before its "@", "ghp" before its "_". */
static bool may_become(const struct safety_flow *f) {
    const struct candidate *p = &f->pii_now;
    return f->pii_held && p->word_n && p->word_from >= f->base &&
           (f->words_held ||
            secret_may_begin(str_sub(buf_str(&f->raw), p->word_from - f->base, f->raw.n)));
}

static void lower_to(size_t *safe, bool when, size_t to) {
    if (when && to < *safe)
        *safe = to;
}

static void find_safe(struct safety_flow *f, enum text_then then) {
    const struct candidate *p = &f->pii_now;
    const struct safety_span *cuts = (const struct safety_span *)f->cuts.p;
    size_t end = safety_flow_end(f), safe = end;
    if (then == TEXT_GOES_ON) {
        lower_to(&safe, f->hold_word, f->hold_from);
        lower_to(&safe, f->hold_model, f->word_end);
        lower_to(&safe, f->literal > 1, end - f->literal);
        lower_to(&safe,
                 p->from != NOWHERE && f->pii_held &&
                     (f->numbers_held || p->letters || p->digits >= DIGITS_HELD),
                 p->from);
        lower_to(&safe, may_become(f), p->word_from);
        lower_to(&safe, f->canary[0], before_canary(f, end));
    }
    if (then != TEXT_ENDS)
        lower_to(&safe, f->placeholders, before_placeholder(f, end));
    for (size_t i = 0; i < f->cuts.n / sizeof *cuts; i++)
        lower_to(&safe, safe > cuts[i].from && safe < cuts[i].to, cuts[i].from);
    f->safe = safe > f->safe ? safe : f->safe;
}

/* ---- all of it ---- */

static void find_canary(struct safety_flow *f, size_t added, struct safety_verdict *v) {
    size_t n = strlen(f->canary), back = added + n < f->raw.n ? added + n : f->raw.n;
    struct str s = str_sub(buf_str(&f->raw), f->raw.n - back, back);
    size_t at = n ? str_find(s, str_from(f->canary)) : SIZE_MAX;
    size_t from = safety_flow_end(f) - back + at;
    if (at != SIZE_MAX && from + n > f->known)
        verdict_add_canary(v, from, from + n);
}

static enum err judge(struct safety_flow *f, struct str text, enum text_then then,
                      struct safety_verdict *v) {
    float best[SAFETY_CATEGORIES] = {0};
    enum err e = ERR_OK;
    size_t window = text.n + FLOW_WINDOW, end = safety_flow_end(f);
    f->window_at = end > window ? end - window : 0;
    f->hold_word = f->differs = false;
    buf_clear(&f->folded);
    words_resume(f->b->stepper, &f->live);
    flow_read(f, text);
    if (then == TEXT_PAUSES)
        begin_trial(f);
    flow_read_end(f, then);
    e = words_suspend(f->b->stepper, &f->live);
    if (!e && f->dirty)
        e = judge_whole(f, text.n, then != TEXT_GOES_ON, best);
    if (e)
        return e;
    tell_rules(f, then == TEXT_PAUSES, v);
    if (then == TEXT_PAUSES)
        end_trial(f);
    read_data(f, then, v);
    if (f->canary[0])
        find_canary(f, text.n, v);
    read_sums(f, text);
    score_text(f, then != TEXT_GOES_ON, best);
    if (f->scorer)
        verdict_add_scores(v, f->scorer, f->role, f->direction, best);
    v->degraded = f->scorer == NULL;
    verdict_find_band(v, f->policy, f->role, f->direction);
    return buf_err(&f->folded) ? buf_err(&f->folded) : buf_err(&f->cuts);
}

enum err safety_flow_add(struct safety_flow *f, struct str text, enum text_then then,
                         struct safety_verdict *ret) {
    struct safety_verdict v;
    verdict_begin(&v, f->policy->version);
    if (!f->error && !(f->b = bench_take(f->safety, f->policy)))
        f->error = ERR_NOMEM;
    if (f->error)
        return f->error;
    for (size_t at = 0;
         !f->error && (at < text.n || at == 0);) { /* in pieces a window is made of */
        struct str rest = str_sub(text, at, text.n);
        struct str piece = str_sub(rest, 0, utf8_cut(rest, FLOW_KEPT));
        at += piece.n;
        buf_adds(&f->raw, piece);
        f->error = buf_err(&f->raw);
        if (!f->error)
            f->error = judge(f, piece, at == text.n ? then : TEXT_GOES_ON, &v);
        if (text.n == 0 || (v.action == SAFETY_BLOCK && safety_flow_end(f) > f->known))
            break; /* nothing behind it may go out: where it ends says where the finding is */
    }
    bench_put(f->safety, f->b);
    f->b = NULL;
    if (f->error)
        return f->error;
    find_safe(f, then);
    verdict_copy(ret, &v);
    return ERR_OK;
}

size_t safety_flow_sentence(const struct safety_flow *f, size_t at) {
    size_t i = at > f->base ? at - f->base : 0;
    i = i < f->raw.n ? i : f->raw.n;
    while (i > 0 && f->raw.p[i - 1] != '\n' &&
           !(f->raw.p[i - 1] == ' ' && i > 1 && strchr(".!?", f->raw.p[i - 2])))
        i--;
    return f->base + i;
}

struct str safety_flow_tail(const struct safety_flow *f, size_t from) {
    size_t i = from > f->base ? from - f->base : 0;
    struct str s = str_sub(buf_str(&f->raw), i, f->raw.n);
    while (s.n && ((unsigned char)s.p[0] & 0xC0) == 0x80)
        s.p++, s.n--;
    return s;
}

static void forget(struct safety_flow *f, size_t up_to) {
    size_t keep = FLOW_WINDOW + AROUND;
    const struct safety_span *cuts = (const struct safety_span *)f->cuts.p;
    size_t over = 0;
    while (over < f->cuts.n / sizeof *cuts && cuts[over].to <= up_to)
        over++;
    buf_drop(&f->cuts, over * sizeof *cuts);
    if (f->pii_now.from < up_to) /* it goes on, perhaps, and is then scanned from its beginning */
        up_to = f->pii_now.from;
    if (up_to < f->base + 2 * keep) /* not each time */
        return;
    size_t drop = up_to - keep - f->base;
    while (drop < f->raw.n && ((unsigned char)f->raw.p[drop] & 0xC0) == 0x80)
        drop++;
    buf_drop(&f->raw, drop);
    f->base += drop;
}

enum err safety_flow_take(struct safety_flow *f, size_t from, size_t to, struct buf *out) {
    const struct safety_span *cuts = (const struct safety_span *)f->cuts.p;
    size_t at = from > f->base ? from : f->base, n = f->cuts.n / sizeof *cuts;
    for (size_t i = 0; i < n && cuts[i].from < to; i++) {
        if (cuts[i].to <= at)
            continue;
        if (cuts[i].from > at)
            buf_add(out, f->raw.p + (at - f->base), cuts[i].from - at);
        buf_addz(out, "[removed]");
        at = cuts[i].to < to ? cuts[i].to : to;
    }
    if (to > at)
        buf_add(out, f->raw.p + (at - f->base), to - at);
    f->taken = to;
    forget(f, to);
    return buf_err(out);
}
