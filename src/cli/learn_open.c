/* See learn_open.h. */
#include "cli/learn_open.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define LOOK_MS     5000
#define GUARD_TURNS 20
#define GUARD_NS    (60 * 1000000000ll)
#define RUN_NS      (600 * 1000000000ll)
#define JOBS_QUEUED 8
#define EMBED_ARENA ((size_t)32 << 20)
#define VECTORS_MAX ((size_t)16 << 20)

/* ---- what the turn asks ---- */

static void choose(void *ctx, const struct role *role, const struct uuid *conversation_id,
                   const struct uuid *message_id, struct arena *a, struct turn_arm *ret) {
    struct server_learn *l = ctx;
    struct learn_choice c;
    learn_choose(l->learn, &role->role_id, conversation_id, message_id, a, &c);
    *ret = (struct turn_arm){
        .arm_id = c.arm.arm_id,
        .chance = c.chance,
        .system_prompt = c.arm.system_prompt,
        .model = c.arm.model,
        .temperature = c.arm.temperature,
        .top_p = c.arm.top_p,
        .passages = c.arm.passages,
        .candidate_id = c.candidate_id,
        .ranked = c.ranked,
        .ranked_chance = c.ranked_chance,
        .swaps = c.swaps,
        .swap_chance = c.swap_chance,
    };
}

static bool has_answers(void *ctx, const struct uuid *role_id) {
    return learn_has_answers(((struct server_learn *)ctx)->learn, role_id);
}

static bool find_answer(void *ctx, const struct uuid *role_id, struct str question,
                        const float *vector, int dimensions, struct str model, struct arena *a,
                        struct uuid *ret_id, struct str *ret_answer) {
    return learn_find_answer(((struct server_learn *)ctx)->learn, role_id, question, vector,
                             (size_t)dimensions, model, a, ret_id, ret_answer);
}

static void find_examples(void *ctx, const struct uuid *role_id, const struct uuid *conversation_id,
                          const float *vector, int dimensions, struct str model, size_t max_bytes,
                          struct arena *a, struct turn_examples *ret) {
    struct learn_examples x;
    learn_find_examples(((struct server_learn *)ctx)->learn, role_id, conversation_id, vector,
                        (size_t)dimensions, model, max_bytes, a, &x);
    *ret = (struct turn_examples){x.text, x.ids, x.trial_id, x.shown, x.chance};
}

static void ended(void *ctx, const struct turn_ended *e) {
    struct server_learn *l = ctx;
    (void)e;
    atomic_fetch_add(&l->ended, 1);
}

/* ---- what the search asks ---- */

static void score(void *ctx, const struct retrieval_scoring *s, double *ret) {
    const struct ranker *r = learn_ranker_get(ctx);
    struct ranker_passage *p = calloc(s->n, sizeof *p);
    /* Vectors of another model than it learnt with say nothing; words still do. */
    bool known = s->vector && (size_t)s->dimensions == ranker_dims(r);
    const struct ranker_question q = {s->query, known ? s->vector : NULL,
                                      learn_role_key(&s->role_id)};
    if (!p) { /* without memory the search's own order */
        for (size_t i = 0; i < s->n; i++)
            ret[i] = s->signals[i][SIGNAL_FUSED];
        return;
    }
    for (size_t i = 0; i < s->n; i++) {
        p[i].key = s->keys[i];
        p[i].source = learn_source_key(&s->docs[i]);
        p[i].vector = known ? s->vectors[i] : NULL;
        memcpy(&p[i].signals[RANKER_FUSED], s->signals[i], sizeof s->signals[i]);
    }
    ranker_fill_signals(p, s->n, known ? (size_t)s->dimensions : 0);
    ranker_score(r, &q, p, s->n, ret);
    free(p);
}

static void free_weights(struct retrieval_weights *w) {
    learn_release_ranker(w->ctx);
    free(w);
}

/* Another ranker than the search has is given to it; it lets go of the old one when it can. */
static void give_ranker(void *ctx, struct learn_ranker *now) {
    struct server_learn *l = ctx;
    if (!l->retrieval || now == l->given)
        return;
    struct retrieval_weights *w = now ? calloc(1, sizeof *w) : NULL;
    if (now && !w)
        return; /* the next look tries again */
    if (w)
        *w = (struct retrieval_weights){
            .score = score, .ctx = learn_hold_ranker(now), .free = free_weights};
    retrieval_set_weights(l->retrieval, w);
    learn_release_ranker(l->given);
    l->given = learn_hold_ranker(now);
}

/* ---- the work beside ---- */

static enum err read_unembedded(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct server_learn *l = arg;
    enum err e = learn_unembedded(tx, l->model, l->arena, &l->answers, &l->n_answers);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

/* On the job's thread; the loop keeps its hands off until it is done. */
static void work(void *arg) {
    struct server_learn *l = arg;
    struct learn_report report = {0};
    struct errinfo ei = {0};
    int64_t now = clock_mono_ns();
    enum err e = ERR_OK;
    if (now - l->ran_ns >= RUN_NS) {
        l->ran_ns = now;
        (void)!learn_refresh(l->learn, &ei); /* what is out of use is not served while it trains */
        e = learn_run(l->store, false, &report, &ei);
        log_event(LOG_INFO, "learn.ran", LF_INT("ratings", report.ratings),
                  LF_INT("candidate", report.made), LF_INT("proved", report.proved));
    } else if (atomic_load(&l->ended) >= GUARD_TURNS || now - l->guarded_ns >= GUARD_NS) {
        l->guarded_ns = now;
        atomic_store(&l->ended, 0);
        e = learn_guard(l->store, &report, &ei);
    }
    struct errinfo why = {0};
    enum err fresh = learn_refresh(l->learn, &why); /* also when the pass has failed */
    if (!e && fresh) {
        e = fresh;
        ei = why;
    }
    l->n_answers = 0;
    arena_free(l->arena);
    l->arena = arena_new(EMBED_ARENA);
    if (!e && l->arena && upstream_embedding_model(l->upstream, l->arena, &l->model) == ERR_OK)
        e = store_read_wait(l->store, read_unembedded, l, &ei);
    if (e)
        log_event(LOG_WARN, "learn.failed", LF_ERR(&ei));
    if (report.arms_stopped)
        log_event(LOG_WARN, "learn.arms_stopped", LF_INT("arms", report.arms_stopped));
    if (report.rolled_back)
        log_event(LOG_WARN, "learn.rolled_back");
}

static enum err write_vectors(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct server_learn *l = arg;
    enum err e = ERR_OK;
    size_t bytes = l->n_answers ? l->vectors.n / l->n_answers : 0;
    for (size_t i = 0; !e && i < l->n_answers; i++) {
        e = approved_set_vector(tx, &l->answers[i].answer_id, l->model,
                                (struct str){l->vectors.p + i * bytes, bytes});
        if (e == ERR_NOT_FOUND)
            e = ERR_OK; /* deleted meanwhile */
    }
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

static void written(void *arg, enum err e, const struct errinfo *ei) {
    struct server_learn *l = arg;
    if (e)
        log_event(LOG_WARN, "learn.failed", LF_ERR(ei));
    l->busy = false;
}

static void embedded(void *ctx, const struct embed_result *r) {
    struct server_learn *l = ctx;
    l->embedding = NULL;
    buf_clear(&l->vectors);
    if (!r->err && r->n == l->n_answers && str_eq(r->model, l->model))
        buf_add(&l->vectors, r->vectors, r->n * (size_t)r->dimensions * sizeof(float));
    if (!l->vectors.n || buf_err(&l->vectors) ||
        store_write(l->store, write_vectors, l, l->loop, written))
        l->busy = false; /* the next look tries again */
}

static void worked(void *arg) {
    struct server_learn *l = arg;
    struct str texts[LEARN_EMBED_MAX];
    struct errinfo ei;
    for (size_t i = 0; i < l->n_answers; i++)
        texts[i] = l->answers[i].question;
    if (l->stopped || !l->n_answers ||
        upstream_embed(l->client, STR_NULL, texts, l->n_answers, UPSTREAM_EMBED_BACKGROUND,
                       embedded, l, &l->embedding, &ei))
        l->busy = false;
}

static void look(void *arg) {
    struct server_learn *l = arg;
    if (l->busy || l->stopped)
        return;
    l->busy = jobs_submit(l->jobs, work, l->loop, worked, l) == ERR_OK;
}

enum err learn_open(struct server_learn *l, struct store *s, struct upstream *u,
                    struct retrieval *r, struct errinfo *ei) {
    l->store = s;
    l->retrieval = r;
    l->upstream = u;
    l->ran_ns = l->guarded_ns = clock_mono_ns();
    buf_init(&l->vectors, VECTORS_MAX);
    l->turn = (struct turn_learn){l, choose, has_answers, find_answer, find_examples, ended};
    enum err e = learn_new(s, (uint64_t)clock_wall_ms(), &l->learn);
    if (!e)
        e = jobs_new(1, JOBS_QUEUED, &l->jobs);
    if (e)
        return err_set(ei, e, NULL);
    learn_on_ranker(l->learn, give_ranker, l);
    return learn_refresh(l->learn, ei);
}

enum err learn_start(struct server_learn *l, struct loop *loop, struct upstream_client *c,
                     struct errinfo *ei) {
    l->loop = loop;
    l->client = c;
    l->timer = timer_new(loop, look, l);
    if (!l->timer)
        return err_set(ei, ERR_NOMEM, NULL);
    timer_start(l->timer, LOOK_MS, true);
    return ERR_OK;
}

void learn_stop(struct server_learn *l) {
    l->stopped = true;
    timer_free(l->timer);
    l->timer = NULL;
    upstream_cancel(l->embedding);
    l->embedding = NULL;
}

void learn_close(struct server_learn *l) {
    jobs_free(l->jobs);
    l->jobs = NULL;
    learn_release_ranker(l->given);
    l->given = NULL;
    learn_free(l->learn);
    l->learn = NULL;
    arena_free(l->arena);
    l->arena = NULL;
    buf_deinit(&l->vectors);
}
