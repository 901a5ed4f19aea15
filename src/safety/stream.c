/* See stream.h. While a judgement runs on the pool, the job owns s->flow, s->json, s->text,
 * s->piece and what it found, and nothing else; the loop keeps its hands off them. */
#include "safety/stream.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "safety/flow.h"
#include "safety/json_text.h"

#define RETRY_MS 5 /* the job pool was full */

struct safety_stream {
    struct safety_stream_options o;
    const struct safety_stream_callbacks *cb;
    void *ctx;
    struct timer *timer; /* NULL until it is needed */
    struct safety_flow *flow;
    struct buf waiting;                      /* came while a job judged */
    size_t taken;                            /* of the flow's text, what was handed on */
    size_t released;                         /* bytes handed on, all in all */
    enum text_then asked;                    /* what follows what waits */
    bool told, judging, inside, over, freed; /* inside: a callback runs */
    int64_t since_ns;                        /* when the oldest held byte came */
    struct safety_verdict worst;

    struct buf text, piece; /* what is judged; what of it may go on */
    struct json_text json;  /* with o.json */
    struct buf strings;     /* the text of what came as JSON */
    enum text_then then;    /* behind what is judged */
    struct safety_verdict verdict;
    size_t to, keep; /* handed on up to here; of a block: what of it all stays */
    enum err error;
};

static void look(struct safety_stream *s);

static void destroy(struct safety_stream *s) {
    timer_free(s->timer);
    safety_flow_free(s->flow);
    pii_vault_free(s->o.vault);
    buf_deinit(&s->waiting);
    buf_deinit(&s->text);
    buf_deinit(&s->piece);
    buf_deinit(&s->strings);
    json_text_deinit(&s->json);
    free(s);
}

/* ---- judging: on the loop when it is little, else in the job ---- */

static enum err take(void *ctx, size_t from, size_t to, struct buf *out) {
    const struct safety_stream *s = ctx;
    struct buf cut;
    if (!s->o.vault)
        return safety_flow_take(s->flow, from, to, out);
    buf_init(&cut, FLOW_INPUT_MAX);
    enum err e = safety_flow_take(s->flow, from, to, &cut);
    if (!e)
        e = pii_restore(s->o.vault, buf_str(&cut), out);
    buf_deinit(&cut);
    return e;
}

static enum err make_piece(struct safety_stream *s, size_t to, enum text_then then) {
    if (s->o.json)
        return json_text_write(&s->json, to, then, take, s, &s->piece);
    return take(s, s->taken, to, &s->piece);
}

/* Of a text that is blocked the sentence with the first finding goes, as far as it is remembered.
 */
static size_t cut_at(const struct safety_stream *s) {
    size_t at = safety_flow_end(s->flow);
    for (size_t i = 0; i < s->verdict.n; i++) {
        const struct safety_finding *f = &s->verdict.findings[i];
        if (f->action == SAFETY_BLOCK && f->to > 0 && f->from < at)
            at = f->from;
    }
    return safety_flow_sentence(s->flow, at);
}

/* What is judged of what came. */
static enum err read_text(struct safety_stream *s, struct str *ret) {
    *ret = buf_str(&s->text);
    if (!s->o.json)
        return ERR_OK;
    buf_clear(&s->strings);
    enum err e = json_text_read(&s->json, *ret, s->then, &s->strings);
    *ret = buf_str(&s->strings);
    return e;
}

static void judge(void *arg) {
    struct safety_stream *s = arg;
    struct str text;
    buf_clear(&s->piece);
    s->error = read_text(s, &text);
    if (!s->error && s->o.json && !text.n && s->then == TEXT_GOES_ON) /* structure alone */
        s->verdict = (struct safety_verdict){.policy_version = s->o.policy->version};
    else if (!s->error)
        s->error = safety_flow_add(s->flow, text, s->then, &s->verdict);
    if (s->error)
        return;
    size_t safe = safety_flow_safe(s->flow), to = safe, cut = safe;
    bool blocked = s->verdict.action == SAFETY_BLOCK;
    if (blocked)
        cut = cut_at(s);
    if (cut < to)
        to = cut > s->taken ? cut : s->taken;
    s->error = make_piece(s, to, blocked ? TEXT_GOES_ON : s->then);
    s->to = to;
    size_t back = cut < s->taken ? s->taken - cut : 0, out = s->released + s->piece.n;
    s->keep = back < out ? out - back : 0;
}

/* ---- on the loop ---- */

static void note_worst(struct safety_stream *s) {
    struct safety_verdict *w = &s->worst, *v = &s->verdict;
    if (v->action < w->action || v->action == SAFETY_ALLOW) {
        for (int c = 0; c < SAFETY_CATEGORIES; c++) /* of the whole: the highest of any part */
            w->scores[c] = v->scores[c] > w->scores[c] ? v->scores[c] : w->scores[c];
        w->policy_version = v->policy_version;
        w->degraded = w->degraded || v->degraded;
        return;
    }
    for (int c = 0; c < SAFETY_CATEGORIES; c++)
        v->scores[c] = w->scores[c] > v->scores[c] ? w->scores[c] : v->scores[c];
    for (size_t i = 0; i < v->n; i++) /* other places when something before them is replaced */
        v->findings[i].from = v->findings[i].to = 0;
    *w = *v;
}

static void hand_on(struct safety_stream *s) {
    int64_t now = clock_mono_ns();
    if (s->to > s->taken)
        metric_observe(M_GUARD_HELD_SECONDS, (double)(now - s->since_ns) / 1e9);
    s->taken = s->to;
    s->since_ns = now;
    s->released += s->piece.n;
    if (s->piece.n)
        s->cb->on_text(s->ctx, buf_str(&s->piece));
}

static void tell(struct safety_stream *s) {
    if (s->error) {
        s->over = true;
        s->cb->on_fail(s->ctx, s->error);
        return;
    }
    bool blocked = s->verdict.action == SAFETY_BLOCK;
    size_t cut = s->to > SAFETY_STREAM_SHOWN ? s->to - SAFETY_STREAM_SHOWN : 0;
    if (!blocked)
        note_worst(s);
    hand_on(s);
    if (s->over)
        return; /* a callback let go of us */
    if (blocked) {
        s->over = true;
        s->cb->on_block(s->ctx, &s->verdict, s->keep, safety_flow_tail(s->flow, cut));
    } else if (s->then != TEXT_GOES_ON) {
        s->cb->on_end(s->ctx, &s->worst);
    }
}

/* False: a callback freed s, which is gone. */
static bool tell_all(struct safety_stream *s) {
    bool was_inside = s->inside;
    s->inside = true;
    tell(s);
    s->inside = was_inside;
    if (!s->freed || was_inside)
        return true;
    destroy(s);
    return false;
}

static void judged(void *arg) {
    struct safety_stream *s = arg;
    s->judging = false;
    if (s->freed)
        destroy(s);
    else if (tell_all(s))
        look(s);
}

static void on_time(void *arg) {
    look(arg);
}

/* The pool is full: again in a moment. */
static void wait_for_pool(struct safety_stream *s) {
    if (!s->timer)
        s->timer = timer_new(s->o.loop, on_time, s);
    if (s->timer)
        timer_start(s->timer, RETRY_MS, false);
}

/* Judges what waits. */
static void look(struct safety_stream *s) {
    while (!s->judging && !s->inside && !s->over && (s->waiting.n || (s->asked && !s->told))) {
        bool much = s->waiting.n > SAFETY_STREAM_INLINE;
        struct buf text = s->text;
        s->text = s->waiting;
        s->waiting = text;
        buf_clear(&s->waiting);
        s->then = s->asked;
        s->told = s->asked != TEXT_GOES_ON;
        if (!much) {
            judge(s);
            if (!tell_all(s))
                return;
            continue;
        }
        s->judging = jobs_submit(s->o.jobs, judge, s->o.loop, judged, s) == ERR_OK;
        if (s->judging)
            return;
        s->waiting = s->text;
        s->text = text;
        s->told = false;
        wait_for_pool(s);
        return;
    }
}

enum err safety_stream_new(const struct safety_stream_options *o,
                           const struct safety_stream_callbacks *cb, void *ctx,
                           struct safety_stream **ret) {
    struct safety_stream *s = calloc(1, sizeof *s);
    if (!s)
        return ERR_NOMEM;
    struct safety_flow_options fo = {.safety = o->safety,
                                     .policy = o->policy,
                                     .role = o->role,
                                     .canary = o->canary,
                                     .direction = SAFETY_OUTPUT,
                                     .before = o->before,
                                     .placeholders = o->vault != NULL};
    s->o = *o;
    s->o.vault = pii_vault_ref(o->vault); /* a job may outlive its owner */
    s->cb = cb;
    s->ctx = ctx;
    s->taken = s->released = o->before.n;
    buf_init(&s->waiting, FLOW_INPUT_MAX);
    buf_init(&s->text, FLOW_INPUT_MAX);
    buf_init(&s->piece, FLOW_INPUT_MAX * 2);
    buf_init(&s->strings, FLOW_INPUT_MAX);
    json_text_init(&s->json, FLOW_INPUT_MAX);
    enum err e = safety_flow_new(&fo, &s->flow);
    if (e) {
        destroy(s);
        return e;
    }
    *ret = s;
    return ERR_OK;
}

enum err safety_stream_feed(struct safety_stream *s, struct str text) {
    if (s->over)
        return ERR_OK;
    if (s->told && !s->judging) { /* it goes on */
        s->asked = TEXT_GOES_ON;
        s->told = false;
    }
    if (!s->waiting.n && !s->judging && safety_flow_end(s->flow) == s->taken)
        s->since_ns = clock_mono_ns();
    buf_adds(&s->waiting, text);
    enum err e = buf_err(&s->waiting);
    if (!e)
        look(s);
    return e;
}

static void stop(struct safety_stream *s, enum text_then then) {
    if (s->over || s->asked == TEXT_ENDS)
        return;
    s->asked = then;
    s->told = false;
    look(s);
}

void safety_stream_end(struct safety_stream *s) {
    stop(s, TEXT_ENDS);
}

void safety_stream_pause(struct safety_stream *s) {
    stop(s, TEXT_PAUSES);
}

void safety_stream_free(struct safety_stream *s) {
    if (!s)
        return;
    s->over = s->freed = true;
    if (s->timer)
        timer_stop(s->timer);
    if (!s->judging && !s->inside)
        destroy(s);
}
