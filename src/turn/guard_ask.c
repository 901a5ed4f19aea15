/* See guard_ask.h.
 *
 *   uncertain ─┬→ said of this text before ──────────────────┐
 *              └→ asked ─┬→ harmful, harmless (is kept) ─────┼─→ into the verdict ─→ done
 *                        └→ late, dead, unreadable ─→ fallback┘ */
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
#define KNOWN_TEXT   8192 /* bytes of a text that is known again */

/* What was said: a table in which each text has one place; a newer one takes it. Of texts only
 * their keyed hash is there. */
struct known_place {
    unsigned char hash[16];
    bool used, harmful;
    unsigned char category;
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
static bool key_of(const struct guard_known *k, const struct guard_ask_request *r,
                   enum safety_category suspected, unsigned char ret[16]) {
    char all[KNOWN_TEXT + 16];
    uint64_t n = r->text.n, c = suspected;
    if (r->text.n > KNOWN_TEXT || r->answer.n > KNOWN_TEXT - r->text.n)
        return false;
    memcpy(all, &n, sizeof n);
    memcpy(all + 8, &c, sizeof c);
    if (r->text.n)
        memcpy(all + 16, r->text.p, r->text.n);
    if (r->answer.n)
        memcpy(all + 16 + r->text.n, r->answer.p, r->answer.n);
    crypto_short_hash(k->secret, (struct str){all, 16 + r->text.n + r->answer.n}, ret);
    return true;
}

static struct known_place *place_of(struct guard_known *k, const unsigned char hash[16]) {
    uint32_t at;
    memcpy(&at, hash, sizeof at);
    return &k->places[at % KNOWN_PLACES];
}

static bool known_find(struct guard_known *k, const unsigned char hash[16], bool *ret_harmful,
                       enum safety_category *ret_category) {
    pthread_mutex_lock(&k->lock);
    const struct known_place *at = place_of(k, hash);
    bool found = at->used && memcmp(at->hash, hash, sizeof at->hash) == 0;
    if (found) {
        *ret_harmful = at->harmful;
        *ret_category = (enum safety_category)at->category;
    }
    pthread_mutex_unlock(&k->lock);
    return found;
}

static void known_put(struct guard_known *k, const unsigned char hash[16], bool harmful,
                      enum safety_category c) {
    pthread_mutex_lock(&k->lock);
    struct known_place *at = place_of(k, hash);
    memcpy(at->hash, hash, sizeof at->hash);
    at->used = true;
    at->harmful = harmful;
    at->category = (unsigned char)c;
    pthread_mutex_unlock(&k->lock);
}

/* ---- one question ---- */

static enum safety_category suspected(const struct guard_ask_request *r) {
    return safety_suspected(r->policy, r->role, r->direction, r->v);
}

static const char *model_of(const struct turns *t) {
    return t->o.guard_model ? t->o.guard_model : "model";
}

static void add(const struct turns *t, const struct guard_ask_request *r, enum safety_category c,
                float score) {
    safety_add_guard(r->policy, r->role, r->direction, model_of(t), c, score, r->v);
}

void turns_guard_fall_back(const struct turns *t, const struct guard_ask_request *r) {
    metric_add(M_GUARD_FALLBACKS, 1);
    log_event(LOG_WARN, "guard.fallback", LF_Z("to", t->o.guard_blocks ? "block" : "allow"));
    r->v->degraded = true;
    r->v->uncertain = false;
    if (t->o.guard_blocks)
        safety_block_undecided(model_of(t), suspected(r), r->v);
}

static void ask_free(struct guard_ask *a) {
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

/* What comes of it is in the verdict, then who asked is told. */
static void end(struct guard_ask *a, bool answered) {
    struct turns *t = a->tl->t;
    loop_fn done = a->done;
    void *ctx = a->ctx;
    bool harmful = false;
    struct guard_ask_request r = {
        .policy = a->policy, .role = str_from(a->role), .direction = a->direction, .v = a->v};
    enum safety_category c = suspected(&r);
    if (answered)
        answered = guard_answer_read(t->o.guard_format, buf_str(&a->said), c, &harmful, &c) &&
                   (harmful || !a->part);
    if (answered) {
        add(t, &r, c, harmful ? GUARD_MODEL_YES : 0);
        if (a->keyed)
            known_put(t->guard_known, a->hash, harmful, c);
    } else {
        turns_guard_fall_back(t, &r);
    }
    ask_free(a);
    done(ctx);
}

static void on_token(void *ctx, struct str text) {
    struct guard_ask *a = ctx;
    buf_adds(&a->said, text);
}

static void on_done(void *ctx, const struct chat_result *r) {
    struct guard_ask *a = ctx;
    a->call = NULL;
    end(a, r->err == ERR_OK);
}

static void on_late(void *arg) {
    end(arg, false);
}

static enum err send(struct guard_ask *a, const struct guard_ask_request *r) {
    static const struct chat_callbacks callbacks = {.on_token = on_token, .on_done = on_done};
    const struct turns *t = a->tl->t;
    struct guard_question q;
    struct errinfo ei;
    struct chat_message m[3];
    size_t n = 0;
    enum err e = guard_question_make(t->o.guard_format, r->text, r->answer, &q);
    if (q.system.n)
        m[n++] = (struct chat_message){CHAT_SYSTEM, buf_str(&q.system)};
    m[n++] = (struct chat_message){CHAT_USER, buf_str(&q.user)};
    if (q.assistant.n)
        m[n++] = (struct chat_message){CHAT_ASSISTANT, buf_str(&q.assistant)};
    struct chat_request request = {
        .model = t->o.guard_model ? str_from(t->o.guard_model) : STR_NULL,
        .messages = m,
        .n_messages = n,
        .temperature = 0,
        .top_p = -1,
        .max_tokens = MAX_TOKENS,
    };
    if (!e)
        e = upstream_chat(a->tl->guard_client, &request, &callbacks, a, &a->call, &ei);
    guard_question_deinit(&q);
    return e;
}

static struct guard_ask *ask_new(struct turn_loop *tl, const struct guard_ask_request *r,
                                 loop_fn done, void *ctx) {
    struct guard_ask *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    *a = (struct guard_ask){.tl = tl,
                            .policy = policy_ref(r->policy),
                            .v = r->v,
                            .direction = r->direction,
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

bool turns_guard_ask(struct turns *t, struct loop *l, const struct guard_ask_request *r,
                     loop_fn done, void *ctx, struct guard_ask **ret) {
    struct turn_loop *tl = turn_loop_of(t, l);
    unsigned char hash[16];
    bool harmful;
    if (!r->v->uncertain || !t->o.guard_upstream)
        return false;
    enum safety_category c = suspected(r);
    bool keyed = t->guard_known && key_of(t->guard_known, r, c, hash);
    if (keyed && known_find(t->guard_known, hash, &harmful, &c)) {
        add(t, r, c, harmful ? GUARD_MODEL_YES : 0);
        return false;
    }
    int64_t until = r->until_ns ? r->until_ns : turns_guard_until(t);
    int64_t left_ms = (until - clock_mono_ns() + MS - 1) / MS;
    struct guard_ask *a = tl && left_ms > 0 ? ask_new(tl, r, done, ctx) : NULL;
    if (!a || !a->patience || send(a, r)) {
        if (a)
            ask_free(a);
        turns_guard_fall_back(t, r);
        return false;
    }
    a->keyed = keyed;
    a->part = r->part || r->text.n > GUARD_TEXT_MAX || r->answer.n > GUARD_TEXT_MAX;
    if (keyed)
        memcpy(a->hash, hash, sizeof a->hash);
    timer_start(a->patience, left_ms, false);
    *ret = a;
    return true;
}

void guard_ask_stop(struct guard_ask *a) {
    if (a)
        ask_free(a);
}

void guard_asks_end(struct turn_loop *tl) {
    while (tl->asks)
        end(tl->asks, false);
}

/* ---- the question of a turn ---- */

static void on_asked(void *arg) {
    struct turn *t = arg;
    t->guard.asking = NULL;
    turn_guard_settled(t);
}

bool turn_guard_ask(struct turn *t) {
    struct str slug;
    (void)turn_guard_role(t, &slug);
    struct guard_ask_request r = {.policy = t->guard.policy,
                                  .role = slug,
                                  .direction = SAFETY_INPUT,
                                  .text = t->branch[t->n_branch - 1].content,
                                  .v = &t->guard.in};
    return turns_guard_ask(t->t, t->tl->loop, &r, on_asked, t, &t->guard.asking);
}

void turn_guard_ask_stop(struct turn *t) {
    guard_ask_stop(t->guard.asking);
    t->guard.asking = NULL;
}
