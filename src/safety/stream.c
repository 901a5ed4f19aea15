/* See stream.h. While a judgement runs, the job owns s->window, s->piece, s->verdict and s->error,
 * and nothing else; the loop keeps its hands off them. */
#include "safety/stream.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/metrics.h"

#define HELD_MAX ((size_t)8 << 20)
#define TAIL_MAX 96 /* bytes of an unfinished word that wait */
#define RETRY_MS 5  /* the job pool was full */

struct safety_stream {
    struct safety_stream_options o;
    const struct safety_stream_callbacks *cb;
    void *ctx;
    struct timer *timer;
    struct buf role, canary;

    struct buf held; /* the overlap, then what was not released */
    size_t fresh;    /* where in held the overlap ends */
    size_t waiting;  /* fresh bytes that were judged and wait for the rest of their word */
    size_t released; /* bytes handed on, all in all */
    bool first, ended, judging, over, freed;
    bool timing;      /* the timer runs */
    int64_t since_ns; /* when the oldest held byte came */
    struct safety_verdict worst;

    struct buf window, piece; /* the job's: what is judged; what of it may go on */
    size_t window_fresh, window_safe;
    bool window_last;
    struct safety_verdict verdict;
    enum err error;
};

static void look(struct safety_stream *s);

static void destroy(struct safety_stream *s) {
    timer_free(s->timer);
    buf_deinit(&s->role);
    buf_deinit(&s->canary);
    buf_deinit(&s->held);
    buf_deinit(&s->window);
    buf_deinit(&s->piece);
    policy_unref(s->o.policy);
    free(s);
}

/* ---- the job ---- */

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 128;
}

/* Up to where the window may be released: before an unfinished word that is no plain one. */
static size_t safe_end(struct str s, size_t fresh) {
    size_t from = s.n;
    bool plain = true;
    while (from > fresh && s.n - from < TAIL_MAX && s.p[from - 1] != '\n') {
        char c = s.p[from - 1];
        if (c == ' ' && !(from < s.n && s.p[from] >= '0' && s.p[from] <= '9' && from > fresh + 1 &&
                          s.p[from - 2] >= '0' && s.p[from - 2] <= '9'))
            break; /* groups of digits stay together */
        bool closing = strchr(".,!?;:", c) != NULL && from == s.n;
        plain = plain && (is_letter(c) || closing);
        from--;
    }
    return plain || s.n - from >= TAIL_MAX ? s.n : from;
}

/* The fresh part of the window with what is to be redacted replaced, then with the vault's values.
 */
static enum err make_piece(struct safety_stream *s, size_t end) {
    struct buf cut;
    enum err e;
    buf_init(&cut, HELD_MAX * 2);
    e = safety_cut_findings(&s->verdict, buf_str(&s->window), s->window_fresh, end, &cut);
    if (!e && s->o.vault)
        e = pii_restore(s->o.vault, buf_str(&cut), &s->piece);
    else if (!e)
        buf_adds(&s->piece, buf_str(&cut));
    buf_deinit(&cut);
    return e ? e : buf_err(&s->piece);
}

/* Of a window that is blocked: where the sentence with the finding begins, if in what is fresh. */
static size_t before_sentence(struct str s, size_t fresh, const struct safety_finding *f) {
    size_t at = f->to > 0 && f->from > fresh ? f->from : fresh;
    while (at > fresh &&
           !(s.p[at - 1] == '\n' || (s.p[at - 1] == ' ' && at > 1 && strchr(".!?", s.p[at - 2]))))
        at--;
    return at;
}

static void judge_job(void *arg) {
    struct safety_stream *s = arg;
    struct safety_request r = {
        .text = buf_str(&s->window),
        .direction = SAFETY_OUTPUT,
        .role = buf_str(&s->role),
        .policy = s->o.policy,
        .fresh_from = s->window_fresh,
        .canary = buf_str(&s->canary),
    };
    buf_clear(&s->piece);
    s->error = safety_judge(s->o.safety, &r, &s->verdict);
    s->window_safe = s->window_last ? s->window.n : safe_end(r.text, s->window_fresh);
    if (!s->error && s->verdict.action == SAFETY_BLOCK)
        s->window_safe = before_sentence(r.text, s->window_fresh, &s->verdict.findings[0]);
    if (!s->error)
        s->error = make_piece(s, s->window_safe);
}

/* ---- on the loop ---- */

static void note_worst(struct safety_stream *s) {
    struct safety_verdict *w = &s->worst, *v = &s->verdict;
    for (int c = 0; c < SAFETY_CATEGORIES; c++) /* of the whole: the highest of any window */
        if (w->scores[c] > v->scores[c])
            v->scores[c] = w->scores[c];
    for (size_t i = 0; i < v->n; i++) /* places in a window say nothing later */
        v->findings[i].from = v->findings[i].to = 0;
    if (v->action >= w->action)
        *w = *v;
    else
        memcpy(w->scores, v->scores, sizeof w->scores);
}

static void release(struct safety_stream *s) {
    size_t n = s->window_safe - s->window_fresh;
    struct str piece = buf_str(&s->piece);
    s->waiting = s->window.n - s->window_safe;
    s->fresh += n;
    if (s->fresh > SAFETY_STREAM_OVERLAP) {
        size_t drop = s->fresh - SAFETY_STREAM_OVERLAP;
        while (drop < s->fresh && ((unsigned char)s->held.p[drop] & 0xC0) == 0x80)
            drop++;
        buf_drop(&s->held, drop);
        s->fresh -= drop;
    }
    s->released += piece.n;
    note_worst(s);
    if (n > 0)
        metric_observe(M_GUARD_HELD_SECONDS, (double)(clock_mono_ns() - s->since_ns) / 1e9);
    s->since_ns = clock_mono_ns();
    if (piece.n)
        s->cb->on_text(s->ctx, piece);
}

static void blocked(struct safety_stream *s) {
    const struct safety_finding *f = &s->verdict.findings[0];
    size_t back = f->to > 0 && f->from < s->window_fresh ? s->window_fresh - f->from : 0;
    struct str piece = buf_str(&s->piece);
    s->released += piece.n;
    size_t keep = back < s->released ? s->released - back : 0;
    s->judging = true; /* a callback may free us */
    if (piece.n)
        s->cb->on_text(s->ctx, piece);
    s->judging = false;
    if (s->freed) {
        destroy(s);
        return;
    }
    s->over = true;
    s->cb->on_block(s->ctx, &s->verdict, keep, buf_str(&s->window));
}

static void judged(void *arg) {
    struct safety_stream *s = arg;
    s->judging = false;
    if (s->freed) {
        destroy(s);
        return;
    }
    if (s->error) {
        s->over = true;
        s->cb->on_fail(s->ctx, s->error);
        return;
    }
    if (s->verdict.action == SAFETY_BLOCK) {
        blocked(s);
        return;
    }
    bool last = s->window_last;
    s->judging = true; /* a callback may free us */
    release(s);
    s->judging = false;
    if (s->freed) {
        destroy(s);
    } else if (last) {
        s->over = true;
        s->cb->on_end(s->ctx, &s->worst);
    } else {
        look(s);
    }
}

static bool sentence_ends(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '\n' || ((s.p[i] == '.' || s.p[i] == '!' || s.p[i] == '?') &&
                               (i + 1 == s.n || s.p[i + 1] == ' ')))
            return true;
    return false;
}

static void on_time(void *arg) {
    struct safety_stream *s = arg;
    s->timing = false;
    look(s);
}

static void start_timer(struct safety_stream *s, int64_t ms) {
    if (!s->timing)
        timer_start(s->timer, ms, false);
    s->timing = true;
}

static void start_job(struct safety_stream *s) {
    buf_clear(&s->window);
    buf_adds(&s->window, buf_str(&s->held));
    s->window_fresh = s->fresh;
    s->window_last = s->ended;
    enum err e = buf_err(&s->window);
    if (!e)
        e = jobs_submit(s->o.jobs, judge_job, s->o.loop, judged, s);
    s->judging = e == ERR_OK;
    s->first = s->first && !s->judging;
    if (e)
        start_timer(s, RETRY_MS);
}

/* Whether the window is to be judged now. */
static void look(struct safety_stream *s) {
    struct str fresh = str_sub(buf_str(&s->held), s->fresh, s->held.n);
    if (s->judging || s->over || (!s->ended && fresh.n == s->waiting))
        return;
    int64_t waited = (clock_mono_ns() - s->since_ns) / 1000000;
    bool due =
        s->ended || (fresh.n > 0 && (s->first || fresh.n >= SAFETY_STREAM_WINDOW ||
                                     waited >= SAFETY_STREAM_WINDOW_MS || sentence_ends(fresh)));
    if (due)
        start_job(s);
    else if (fresh.n > 0)
        start_timer(s, SAFETY_STREAM_WINDOW_MS - waited > 1 ? SAFETY_STREAM_WINDOW_MS - waited : 1);
}

enum err safety_stream_new(const struct safety_stream_options *o,
                           const struct safety_stream_callbacks *cb, void *ctx,
                           struct safety_stream **ret) {
    struct safety_stream *s = calloc(1, sizeof *s);
    if (!s)
        return ERR_NOMEM;
    s->o = *o;
    s->cb = cb;
    s->ctx = ctx;
    s->first = true;
    policy_ref(o->policy);
    buf_init(&s->role, 1024);
    buf_init(&s->canary, 256);
    buf_init(&s->held, HELD_MAX);
    buf_init(&s->window, HELD_MAX);
    buf_init(&s->piece, HELD_MAX * 2);
    buf_adds(&s->role, o->role);
    buf_adds(&s->canary, o->canary);
    size_t from = o->before.n > SAFETY_STREAM_OVERLAP ? o->before.n - SAFETY_STREAM_OVERLAP : 0;
    while (from < o->before.n && ((unsigned char)o->before.p[from] & 0xC0) == 0x80)
        from++;
    buf_adds(&s->held, str_sub(o->before, from, o->before.n));
    s->fresh = s->held.n;
    s->released = o->before.n;
    s->timer = timer_new(o->loop, on_time, s);
    if (!s->timer || buf_err(&s->role) || buf_err(&s->canary)) {
        destroy(s);
        return ERR_NOMEM;
    }
    *ret = s;
    return ERR_OK;
}

enum err safety_stream_feed(struct safety_stream *s, struct str text) {
    if (s->fresh == s->held.n)
        s->since_ns = clock_mono_ns();
    buf_adds(&s->held, text);
    look(s);
    return buf_err(&s->held);
}

void safety_stream_end(struct safety_stream *s) {
    s->ended = true;
    look(s);
}

void safety_stream_free(struct safety_stream *s) {
    if (!s)
        return;
    s->over = s->freed = true;
    timer_stop(s->timer);
    if (!s->judging)
        destroy(s);
}
