/* See guard_ask.h.
 *
 *   uncertain ─┬→ said of this text before ──────────────────────┐
 *              ├→ asked ─┬→ harmful, harmless (is kept) ─────────┼─→ into the verdict ─→ done
 *              │         └→ late, failed, unread, part ─→ fallback┤
 *              └→ over, left_alone, not_sent ─→ fallback ─────────┘ */
#include "turn/guard_ask.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/metrics.h"
#include "turn/turn_internal.h"

#define ANSWER_MAX   512
#define MAX_TOKENS   24
#define TIMEOUT_MS   1500
#define KNOWN_PLACES 4096
#define KNOWN_BYTES  12288 /* of a question that is known again */
#define SHORT_BYTES  2048  /* of texts that any guard model that is up reads in time */

/* What was said: a table in which each text has one place; a newer one takes it. Of texts only
 * their keyed hash is there. */
struct known_place {
    unsigned char hash[16];
    bool used;
    unsigned categories; /* of guard_answer_read() */
};

struct guard_known {
    pthread_mutex_t lock;
    unsigned char secret[16];
    struct known_place places[KNOWN_PLACES];
};

struct guard_ask {
    struct guard_ask *prev, *next; /* of its loop */
    struct turn_loop *tl;
    struct policy *policy; /* a reference */
    char role[ROLE_SLUG_SIZE];
    struct safety_verdict *v;
    enum safety_direction direction;
    struct upstream_call *call;
    struct timer *patience;
    struct buf said;
    struct gate_pass pass;
    unsigned char hash[16];
    bool keyed;
    bool part; /* it reads only the beginning: that this is harmless says nothing of the rest */
    loop_fn done;
    void *ctx;
};

/* ---- what was said before ---- */

struct guard_known *guard_known_new(void) {
    struct guard_known *k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    pthread_mutex_init(&k->lock, NULL);
    crypto_random(k->secret, sizeof k->secret);
    return k;
}

void guard_known_free(struct guard_known *k) {
    if (!k)
        return;
    pthread_mutex_destroy(&k->lock);
    free(k);
}

/* The model's answer follows from what it is asked; the category may be the suspected one. */
static bool key_of(const struct guard_known *k, const struct guard_question *q,
                   enum safety_category suspected, unsigned char ret[16]) {
    char all[KNOWN_BYTES + 1];
    if (q->bytes.n > KNOWN_BYTES)
        return false;
    all[0] = (char)suspected;
    memcpy(all + 1, q->bytes.p, q->bytes.n);
    crypto_short_hash(k->secret, (struct str){all, 1 + q->bytes.n}, ret);
    return true;
}

static struct known_place *place_of(struct guard_known *k, const unsigned char hash[16]) {
    uint32_t at;
    memcpy(&at, hash, sizeof at);
    return &k->places[at % KNOWN_PLACES];
}

static bool known_find(struct guard_known *k, const unsigned char hash[16],
                       unsigned *ret_categories) {
    pthread_mutex_lock(&k->lock);
    const struct known_place *at = place_of(k, hash);
    bool found = at->used && memcmp(at->hash, hash, sizeof at->hash) == 0;
    if (found)
        *ret_categories = at->categories;
    pthread_mutex_unlock(&k->lock);
    return found;
}

static void known_put(struct guard_known *k, const unsigned char hash[16], unsigned categories) {
    pthread_mutex_lock(&k->lock);
    struct known_place *at = place_of(k, hash);
    memcpy(at->hash, hash, sizeof at->hash);
    at->used = true;
    at->categories = categories;
    pthread_mutex_unlock(&k->lock);
}

/* ---- one question ---- */

static enum safety_category suspected(const struct guard_ask_request *r) {
    return safety_suspected(r->policy, r->role, r->direction, r->v);
}

static const char *model_of(const struct turns *t) {
    return t->o.guard_model ? t->o.guard_model : "model";
}

/* What it said: each category that it names. */
static void add(const struct turns *t, const struct guard_ask_request *r, unsigned categories) {
    r->v->uncertain = false;
    for (int c = 0; c < SAFETY_CATEGORIES; c++)
        if (categories & 1u << c)
            safety_add_guard(r->policy, r->role, r->direction, model_of(t), (enum safety_category)c,
                             GUARD_MODEL_YES, r->v);
}

void turns_guard_fall_back(const struct turns *t, const struct guard_ask_request *r,
                           const char *why) {
    metric_add(M_GUARD_FALLBACKS, 1);
    log_event(LOG_WARN, "guard.fallback", LF_Z("to", t->o.guard_blocks ? "block" : "allow"),
              LF_Z("why", why));
    safety_add_fallback(why, t->o.guard_blocks, suspected(r), r->v);
}

static void ask_free(struct guard_ask *a, enum gate_outcome o) {
    guard_gate_leave(a->tl->t->guard_gate, &a->pass, o, clock_mono_ns());
    if (a->prev)
        a->prev->next = a->next;
    else if (a->tl->asks == a)
        a->tl->asks = a->next;
    if (a->next)
        a->next->prev = a->prev;
    upstream_cancel(a->call);
    timer_free(a->patience);
    policy_unref(a->policy);
    buf_deinit(&a->said);
    free(a);
}

/* What comes of it is in the verdict, then who asked is told. why: it was not answered; else NULL.
 */
static void end(struct guard_ask *a, const char *why, enum gate_outcome o) {
    struct turns *t = a->tl->t;
    loop_fn done = a->done;
    void *ctx = a->ctx;
    unsigned categories = 0;
    struct guard_ask_request r = {
        .policy = a->policy, .role = str_from(a->role), .direction = a->direction, .v = a->v};
    if (!why &&
        !guard_answer_read(t->o.guard_format, buf_str(&a->said), suspected(&r), &categories))
        why = "unread";
    else if (!why && !categories && a->part)
        why = "part";
    if (!why && a->keyed)
        known_put(t->guard_known, a->hash, categories);
    if (why)
        turns_guard_fall_back(t, &r, why);
    else
        add(t, &r, categories);
    ask_free(a, o);
    done(ctx);
}

static void on_token(void *ctx, struct str text) {
    struct guard_ask *a = ctx;
    buf_adds(&a->said, text);
}

/* status: 0 = nobody answered. A server that says 503 may be full of what one person asks. */
static enum gate_outcome outcome_of(enum err e, int status) {
    switch (e) {
    case ERR_OK:
        return GATE_ANSWERED;
    case ERR_UNAVAILABLE:
        return status ? GATE_FAILED : GATE_UNREACHABLE;
    case ERR_LOADING:
        return GATE_UNREACHABLE;
    case ERR_TIMEOUT:
    case ERR_UPSTREAM:
    case ERR_OVERLOADED:
    case ERR_RATE:
        return GATE_FAILED;
    default:
        return GATE_NEITHER;
    }
}

static void on_done(void *ctx, const struct chat_result *r) {
    struct guard_ask *a = ctx;
    a->call = NULL;
    end(a, r->err ? "failed" : NULL, outcome_of(r->err, r->status));
}

static void on_late(void *arg) {
    end(arg, "late", outcome_of(ERR_TIMEOUT, 0));
}

static enum err send(struct guard_ask *a, const struct guard_question *q) {
    static const struct chat_callbacks callbacks = {.on_token = on_token, .on_done = on_done};
    static const enum chat_sender senders[] = {
        [GUARD_SYSTEM] = CHAT_SYSTEM, [GUARD_USER] = CHAT_USER, [GUARD_ASSISTANT] = CHAT_ASSISTANT};
    const struct turns *t = a->tl->t;
    struct errinfo ei;
    struct chat_message m[sizeof q->m / sizeof *q->m];
    for (size_t i = 0; i < q->n; i++)
        m[i] = (struct chat_message){senders[q->m[i].role], guard_question_text(q, i)};
    struct chat_request request = {
        .model = t->o.guard_model ? str_from(t->o.guard_model) : STR_NULL,
        .messages = m,
        .n_messages = q->n,
        .temperature = 0,
        .top_p = -1,
        .max_tokens = MAX_TOKENS,
    };
    return upstream_chat(a->tl->guard_client, &request, &callbacks, a, &a->call, &ei);
}

static struct guard_ask *ask_new(struct turn_loop *tl, const struct guard_ask_request *r,
                                 const struct gate_pass *pass, loop_fn done, void *ctx) {
    struct guard_ask *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    *a = (struct guard_ask){.tl = tl,
                            .policy = policy_ref(r->policy),
                            .v = r->v,
                            .direction = r->direction,
                            .pass = *pass,
                            .done = done,
                            .ctx = ctx,
                            .next = tl->asks};
    snprintf(a->role, sizeof a->role, "%.*s", STR_ARG(r->role));
    buf_init(&a->said, ANSWER_MAX);
    a->patience = timer_new(tl->loop, on_late, a);
    if (a->next)
        a->next->prev = a;
    tl->asks = a;
    return a;
}

bool turns_have_guard_model(const struct turns *t) {
    return t->o.guard_upstream != NULL;
}

int64_t turns_guard_until(const struct turns *t) {
    int ms = t->o.guard_timeout_ms > 0 ? t->o.guard_timeout_ms : TIMEOUT_MS;
    return clock_mono_ns() + ms * MS;
}

/* NULL: it is on its way. Else why not. */
static const char *begin(struct turn_loop *tl, const struct guard_ask_request *r,
                         const struct guard_question *q, loop_fn done, void *ctx,
                         struct guard_ask **ret) {
    int64_t now = clock_mono_ns(), until = r->until_ns ? r->until_ns : turns_guard_until(tl->t);
    int64_t left_ms = (until - now + MS - 1) / MS;
    if (left_ms <= 0)
        return "late";
    struct gate_pass pass = {.is_short = q->quoted <= SHORT_BYTES};
    if (r->user)
        pass.user = *r->user;
    enum gate_answer gate = guard_gate_enter(tl->t->guard_gate, &pass, now);
    if (gate != GATE_GO)
        return gate == GATE_BUSY ? "over" : "left_alone";
    struct guard_ask *a = ask_new(tl, r, &pass, done, ctx);
    if (!a) {
        guard_gate_leave(tl->t->guard_gate, &pass, GATE_NEITHER, now);
        return "not_sent";
    }
    if (!a->patience || send(a, q)) {
        ask_free(a, GATE_NEITHER);
        return "not_sent";
    }
    a->part = r->part || r->text.n > GUARD_TEXT_MAX || r->answer.n > GUARD_TEXT_MAX;
    timer_start(a->patience, left_ms, false);
    *ret = a;
    return NULL;
}

bool turns_guard_ask(struct turns *t, struct loop *l, const struct guard_ask_request *r,
                     loop_fn done, void *ctx, struct guard_ask **ret) {
    struct turn_loop *tl = turn_loop_of(t, l);
    struct guard_question q;
    unsigned char hash[16];
    unsigned categories;
    if (!r->v->uncertain || !t->o.guard_upstream)
        return false;
    enum err e = guard_question_make(t->o.guard_format, r->talk, r->n_talk, r->text, r->answer, &q);
    bool keyed = !e && key_of(t->guard_known, &q, suspected(r), hash);
    bool known = keyed && known_find(t->guard_known, hash, &categories);
    const char *why = known ? NULL : e || !tl ? "not_sent" : begin(tl, r, &q, done, ctx, ret);
    guard_question_deinit(&q);
    if (known)
        add(t, r, categories);
    else if (why)
        turns_guard_fall_back(t, r, why);
    if (known || why)
        return false;
    (*ret)->keyed = keyed;
    if (keyed)
        memcpy((*ret)->hash, hash, sizeof hash);
    return true;
}

void guard_ask_stop(struct guard_ask *a) {
    if (a)
        ask_free(a, GATE_NEITHER);
}

void guard_asks_end(struct turn_loop *tl) {
    while (tl->asks)
        end(tl->asks, "stopped", GATE_NEITHER);
}

/* ---- the question of a turn ---- */

static void on_asked(void *arg) {
    struct turn *t = arg;
    t->guard.asking = NULL;
    turn_guard_settled(t);
}

/* The messages before the question, as the model would read them; returns how many of ret. */
static size_t talk_of(const struct turn *t, struct guard_turn ret[GUARD_TALK_TURNS]) {
    size_t last = t->n_branch - 1, from = last, n = 0;
    for (int left = t->guard.policy->context_turns;
         from > 0 && left > 0 && last - from < GUARD_TALK_TURNS;)
        left -= t->branch[--from].sender == SENDER_USER;
    for (; from < last; from++)
        ret[n++] = (struct guard_turn){.of_model = t->branch[from].sender != SENDER_USER,
                                       .text = t->branch[from].content};
    return n;
}

bool turn_guard_ask(struct turn *t) {
    struct str slug;
    struct guard_turn talk[GUARD_TALK_TURNS];
    (void)turn_guard_role(t, &slug);
    struct guard_ask_request r = {.policy = t->guard.policy,
                                  .role = slug,
                                  .direction = SAFETY_INPUT,
                                  .user = &t->in.user_id,
                                  .talk = talk,
                                  .n_talk = talk_of(t, talk),
                                  .text = t->branch[t->n_branch - 1].content,
                                  .v = &t->guard.in};
    return turns_guard_ask(t->t, t->tl->loop, &r, on_asked, t, &t->guard.asking);
}

void turn_guard_ask_stop(struct turn *t) {
    guard_ask_stop(t->guard.asking);
    t->guard.asking = NULL;
}
