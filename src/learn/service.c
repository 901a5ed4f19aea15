/* What is in use: read from the store into one immutable state that everybody shares, and the
 * choices that the turn asks for. See learn.h. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/vector.h"
#include "learn/approved.h"
#include "learn/bandit.h"
#include "learn/learn.h"
#include "learn/learn_internal.h"

#define APPROVED_MAX 2000
#define EXAMPLE_LIKE 0.55 /* cosine of questions, for an answer to show how to answer the other */
#define STATE_ARENA  ((size_t)256 << 20)

struct learn_ranker {
    atomic_int refs;
    struct ranker *ranker;
};

struct role_arms {
    struct uuid role_id;
    struct arm *arms; /* arms[0] is the role as it is: nothing set */
    double *chances;
    size_t n;
};

struct known_answer {
    struct approved_answer a;
    struct question_form *form;
    const float *vector; /* of length 1; NULL = not embedded yet */
    size_t dims;
};

struct learn_state {
    atomic_int refs;
    struct arena *arena;
    struct role_arms *roles;
    size_t n_roles;
    struct known_answer *answers;
    size_t n_answers;
    struct uuid candidate_id;
    int64_t ranker_made; /* when it was trained */
    double share;        /* of the traffic that has the ranker */
    struct learn_ranker *ranker;
    struct uuid examples_id; /* the trial of examples; not set: none are shown */
    double examples_share;
    bool explores; /* some turns swap what they show, see learn_choose() */
};

struct learn {
    struct store *store;
    uint64_t seed;
    pthread_mutex_t refreshing; /* one at a time */
    pthread_mutex_t lock;       /* of state */
    struct learn_state *state;
    void (*give)(void *ctx, struct learn_ranker *r);
    void *give_ctx;
};

/* ---- holding ---- */

static struct learn_state *hold(struct learn *l) {
    pthread_mutex_lock(&l->lock);
    struct learn_state *s = l->state;
    if (s)
        atomic_fetch_add(&s->refs, 1);
    pthread_mutex_unlock(&l->lock);
    return s;
}

static void release(struct learn_state *s) {
    if (!s || atomic_fetch_sub(&s->refs, 1) > 1)
        return;
    for (size_t i = 0; i < s->n_answers; i++)
        question_form_free(s->answers[i].form);
    learn_release_ranker(s->ranker);
    arena_free(s->arena);
    free(s);
}

struct learn_ranker *learn_hold_ranker(struct learn_ranker *r) {
    if (r)
        atomic_fetch_add(&r->refs, 1);
    return r;
}

void learn_on_ranker(struct learn *l, void (*give)(void *ctx, struct learn_ranker *r), void *ctx) {
    l->give = give;
    l->give_ctx = ctx;
}

void learn_release_ranker(struct learn_ranker *r) {
    if (!r || atomic_fetch_sub(&r->refs, 1) > 1)
        return;
    ranker_free(r->ranker);
    free(r);
}

const struct ranker *learn_ranker_get(const struct learn_ranker *r) {
    return r->ranker;
}

uint64_t learn_role_key(const struct uuid *role_id) {
    return words_hash(uuid_str(role_id));
}

uint64_t learn_source_key(const struct uuid *doc_id) {
    return words_hash(uuid_str(doc_id));
}

enum err learn_new(struct store *s, uint64_t seed, struct learn **ret) {
    struct learn *l = calloc(1, sizeof *l);
    if (!l)
        return ERR_NOMEM;
    l->store = s;
    l->seed = seed;
    pthread_mutex_init(&l->lock, NULL);
    pthread_mutex_init(&l->refreshing, NULL);
    *ret = l;
    return ERR_OK;
}

void learn_free(struct learn *l) {
    if (!l)
        return;
    release(l->state);
    pthread_mutex_destroy(&l->lock);
    pthread_mutex_destroy(&l->refreshing);
    free(l);
}

/* ---- reading what is in use ---- */

struct refreshing {
    struct learn *l;
    struct learn_state *s;
};

static void fill_chances(struct role_arms *r, const struct arm_totals *t, size_t n,
                         struct rng *rng) {
    struct bandit_arm sides[BANDIT_ARMS_MAX] = {{0}};
    for (size_t i = 0; i < r->n; i++)
        for (size_t k = 0; k < n; k++)
            if (uuid_eq(&t[k].role_id, &r->role_id) &&
                (i ? uuid_is_set(&t[k].arm_id) && uuid_eq(&t[k].arm_id, &r->arms[i].arm_id)
                   : !uuid_is_set(&t[k].arm_id)))
                learn_totals_to_arm(&t[k], &sides[i]);
    bandit_chances(sides, r->n, rng, r->chances);
}

static enum err read_arms(struct store_tx *tx, struct learn_state *s, struct rng *rng) {
    struct arm *arms;
    struct arm_totals *totals;
    size_t n, n_totals;
    enum err e = arm_list(tx, &(struct uuid){0}, s->arena, &arms, &n);
    if (!e)
        e = arm_totals_list(tx, 0, s->arena, &totals, &n_totals);
    if (e)
        return e;
    s->roles = arena_array(s->arena, n + 1, sizeof *s->roles);
    for (size_t i = 0; s->roles && i < n; i++) {
        if (!str_eqz(arms[i].state, "running"))
            continue;
        struct role_arms *r = NULL;
        for (size_t k = 0; k < s->n_roles; k++)
            if (uuid_eq(&s->roles[k].role_id, &arms[i].role_id))
                r = &s->roles[k];
        if (!r) {
            r = &s->roles[s->n_roles++];
            r->role_id = arms[i].role_id;
            r->arms = arena_array(s->arena, BANDIT_ARMS_MAX, sizeof *r->arms);
            r->chances = arena_array(s->arena, BANDIT_ARMS_MAX, sizeof *r->chances);
            if (!r->arms || !r->chances)
                return ERR_NOMEM;
            r->arms[0].temperature = r->arms[0].top_p = -1;
            r->n = 1;
        }
        if (r->n < BANDIT_ARMS_MAX)
            r->arms[r->n++] = arms[i];
    }
    for (size_t k = 0; s->roles && k < s->n_roles; k++)
        fill_chances(&s->roles[k], totals, n_totals, rng);
    return s->roles ? ERR_OK : ERR_NOMEM;
}

static enum err read_answers(struct store_tx *tx, struct learn_state *s) {
    struct page p = {.limit = 200};
    s->answers = arena_array(s->arena, APPROVED_MAX, sizeof *s->answers);
    if (!s->answers)
        return ERR_NOMEM;
    for (size_t n = 200; n == 200 && s->n_answers < APPROVED_MAX;) {
        struct approved_answer *list;
        enum err e = approved_list(tx, "approved", &p, s->arena, &list, &n);
        if (e)
            return e;
        for (size_t i = 0; i < n && s->n_answers < APPROVED_MAX; i++) {
            struct known_answer *k = &s->answers[s->n_answers];
            *k = (struct known_answer){.a = list[i]};
            if (!(k->form = question_form_new(list[i].question)))
                return ERR_NOMEM;
            s->n_answers++;
            k->dims = list[i].vector.n / sizeof(float);
            if (!list[i].vector_model.n || !k->dims)
                continue;
            float *v = arena_array(s->arena, k->dims, sizeof *v);
            if (!v)
                return ERR_NOMEM;
            memcpy(v, list[i].vector.p, k->dims * sizeof *v);
            k->vector = v;
        }
        if (n)
            p.after = list[n - 1].answer_id;
    }
    return ERR_OK;
}

static enum err read_ranker(struct store_tx *tx, struct learn *l, struct learn_state *s) {
    struct candidate c;
    enum err e = candidate_active(tx, "ranker", s->arena, &c);
    if (e)
        return e == ERR_NOT_FOUND ? ERR_OK : e;
    int state = rollout_from_name(c.state.p, c.state.n);
    s->candidate_id = c.candidate_id;
    s->ranker_made = c.made_at;
    s->share = state < 0 ? 0 : rollout_share((enum rollout)state);
    pthread_mutex_lock(&l->lock);
    struct learn_state *old = l->state;
    bool same = old && old->ranker && uuid_eq(&old->candidate_id, &c.candidate_id) &&
                old->ranker_made == c.made_at;
    if (same) {
        s->ranker = old->ranker;
        atomic_fetch_add(&s->ranker->refs, 1);
    }
    pthread_mutex_unlock(&l->lock);
    if (same)
        return ERR_OK;
    struct learn_ranker *r = calloc(1, sizeof *r);
    if (!r)
        return ERR_NOMEM;
    atomic_init(&r->refs, 1);
    e = ranker_load(c.body, &r->ranker);
    if (e) { /* damaged: as if there were none; the next pass makes another */
        free(r);
        s->candidate_id = (struct uuid){0};
        s->share = 0;
        return e == ERR_CORRUPT ? ERR_OK : e;
    }
    s->ranker = r;
    return ERR_OK;
}

static enum err read_examples(struct store_tx *tx, struct learn_state *s) {
    struct candidate c;
    bool off;
    enum err e = learn_is_off(tx, "examples", &off);
    if (!e && !off)
        e = candidate_active(tx, "examples", s->arena, &c);
    if (e || off)
        return e == ERR_NOT_FOUND ? ERR_OK : e;
    int state = rollout_from_name(c.state.p, c.state.n);
    s->examples_id = c.candidate_id;
    s->examples_share = state < 0 ? 0 : rollout_share((enum rollout)state);
    return ERR_OK;
}

/* Exploring costs a little and is for learning: it begins when people rate. */
static enum err read_explores(struct store_tx *tx, struct learn_state *s) {
    bool off, ranker_off, rated = false;
    enum err e = learn_is_off(tx, "explore", &off);
    if (!e)
        e = learn_is_off(tx, "ranker", &ranker_off);
    if (!e && !off && !ranker_off)
        e = feedback_reaches(tx, LEARN_RATINGS_NEW, &rated);
    s->explores = rated;
    return e;
}

static enum err read_state(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct refreshing *x = arg;
    struct rng rng;
    bool ranker_off, approved_off, variants_off;
    rng_init(&rng, x->l->seed);
    enum err e = learn_is_off(tx, "ranker", &ranker_off);
    if (!e)
        e = learn_is_off(tx, "approved", &approved_off);
    if (!e)
        e = learn_is_off(tx, "variants", &variants_off);
    if (!e && !variants_off)
        e = read_arms(tx, x->s, &rng);
    if (!e && !approved_off)
        e = read_answers(tx, x->s);
    if (!e && !approved_off)
        e = read_examples(tx, x->s);
    if (!e && !ranker_off)
        e = read_ranker(tx, x->l, x->s);
    if (!e)
        e = read_explores(tx, x->s);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

enum err learn_refresh(struct learn *l, struct errinfo *ei) {
    struct learn_state *s = calloc(1, sizeof *s);
    if (s)
        s->arena = arena_new(STATE_ARENA);
    if (!s || !s->arena) {
        free(s);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    atomic_init(&s->refs, 1);
    struct refreshing x = {l, s};
    pthread_mutex_lock(&l->refreshing);
    enum err e = store_read_wait(l->store, read_state, &x, ei);
    if (!e) {
        if (l->give)
            l->give(l->give_ctx, s->ranker);
        pthread_mutex_lock(&l->lock);
        struct learn_state *old = l->state;
        l->state = s;
        s = old;
        pthread_mutex_unlock(&l->lock);
    }
    pthread_mutex_unlock(&l->refreshing);
    release(s);
    return e;
}

/* ---- choices ---- */

/* In [0, 1), the same for the same conversation and purpose. */
static double lot(const struct learn *l, const struct uuid *conversation, uint64_t purpose) {
    struct rng r;
    rng_init(&r, words_hash(uuid_str(conversation)) ^ l->seed ^ purpose);
    return rng_uniform(&r);
}

static void choose_arm(const struct role_arms *r, double at, struct arena *a,
                       struct learn_choice *ret) {
    size_t i = 0;
    for (size_t k = 0; k < r->n; k++) {
        if (r->chances[k] <= 0)
            continue;
        i = k;
        if ((at -= r->chances[k]) < 0)
            break;
    }
    ret->chance = r->chances[i];
    if (i == 0)
        return;
    ret->arm = r->arms[i];
    if (ret->arm.system_prompt.p)
        ret->arm.system_prompt = arena_str(a, ret->arm.system_prompt);
    if (ret->arm.model.p)
        ret->arm.model = arena_str(a, ret->arm.model);
    ret->arm.name = ret->arm.state = ret->arm.why = STR_NULL;
    if ((r->arms[i].system_prompt.p && !ret->arm.system_prompt.p) ||
        (r->arms[i].model.p && !ret->arm.model.p)) /* no memory: the role as it is */
        ret->arm = r->arms[0];
}

void learn_choose(struct learn *l, const struct uuid *role_id, const struct uuid *conversation_id,
                  const struct uuid *message_id, struct arena *a, struct learn_choice *ret) {
    struct learn_state *s = hold(l);
    *ret = (struct learn_choice){
        .arm = {.temperature = -1, .top_p = -1}, .chance = 1, .ranked_chance = 1};
    for (size_t i = 0; s && i < s->n_roles; i++)
        if (uuid_eq(&s->roles[i].role_id, role_id))
            choose_arm(&s->roles[i], lot(l, conversation_id, 1), a, ret);
    if (s && s->ranker) {
        ret->candidate_id = s->candidate_id;
        ret->ranked = lot(l, conversation_id, words_hash(uuid_str(&s->candidate_id))) < s->share;
        ret->ranked_chance = ret->ranked ? s->share : 1 - s->share;
    }
    if (s && s->explores) {
        ret->swap_chance = LEARN_SWAP_CHANCE;
        ret->swaps = lot(l, message_id, words_hash(STR("swap"))) < LEARN_SWAP_CHANCE;
    }
    release(s);
}

bool learn_has_answers(struct learn *l, const struct uuid *role_id) {
    struct learn_state *s = hold(l);
    bool found = false;
    for (size_t i = 0; s && i < s->n_answers && !found; i++)
        found = s->answers[i].vector && uuid_eq(&s->answers[i].a.role_id, role_id);
    release(s);
    return found;
}

static bool is_for(const struct known_answer *k, const struct uuid *role_id, size_t dims,
                   struct str model) {
    return k->vector && k->dims == dims && uuid_eq(&k->a.role_id, role_id) &&
           str_eq(k->a.vector_model, model);
}

static const struct known_answer *find(const struct learn_state *s, const struct uuid *role_id,
                                       const struct question_form *form, const float *vector,
                                       size_t dims, struct str model) {
    const struct known_answer *best = NULL;
    double most = 0;
    for (size_t i = 0; i < s->n_answers; i++) {
        const struct known_answer *k = &s->answers[i];
        if (!is_for(k, role_id, dims, model))
            continue;
        double cosine = vector_dot(k->vector, vector, dims);
        if (cosine > most && approved_is_same(k->form, form, cosine)) {
            most = cosine;
            best = k;
        }
    }
    return best;
}

bool learn_find_answer(struct learn *l, const struct uuid *role_id, struct str question,
                       const float *vector, size_t dims, struct str model, struct arena *a,
                       struct uuid *ret_id, struct str *ret_answer) {
    struct learn_state *s = hold(l);
    struct question_form *form = s && s->n_answers ? question_form_new(question) : NULL;
    const struct known_answer *k = form ? find(s, role_id, form, vector, dims, model) : NULL;
    struct str copy = k ? arena_str(a, k->a.answer) : STR_NULL;
    if (copy.p) {
        *ret_id = k->a.answer_id;
        *ret_answer = copy;
    }
    question_form_free(form);
    release(s);
    return copy.p != NULL;
}

/* The likest below `below`; *ret_cosine is its likeness. */
static const struct known_answer *next_like(const struct learn_state *s, const struct uuid *role_id,
                                            const float *vector, size_t dims, struct str model,
                                            double below, double *ret_cosine) {
    const struct known_answer *best = NULL;
    double most = EXAMPLE_LIKE;
    for (size_t i = 0; i < s->n_answers; i++) {
        const struct known_answer *k = &s->answers[i];
        double cosine = is_for(k, role_id, dims, model) ? vector_dot(k->vector, vector, dims) : 0;
        if (cosine > most && cosine < below) {
            most = cosine;
            best = k;
        }
    }
    *ret_cosine = most;
    return best;
}

static struct str write_examples(const struct learn_state *s, const struct uuid *role_id,
                                 const float *vector, size_t dims, struct str model,
                                 size_t max_bytes, struct arena *a, struct str *ret_ids) {
    static const char head[] = "Answers that were approved for other questions like this one, as "
                               "examples of how to answer:\n";
    struct buf text, ids;
    double cosine = 2;
    size_t n = 0;
    buf_init(&text, max_bytes + 1);
    buf_init(&ids, 256);
    buf_addz(&text, max_bytes > sizeof head ? head : "");
    for (size_t looked = 0; text.n && n < LEARN_EXAMPLES && looked < 8; looked++) {
        const struct known_answer *k = next_like(s, role_id, vector, dims, model, cosine, &cosine);
        if (!k)
            break;
        if (text.n + k->a.question.n + k->a.answer.n + 24 > max_bytes)
            continue;
        buf_addf(&text, "\nQuestion: %.*s\nAnswer: %.*s\n", STR_ARG(k->a.question),
                 STR_ARG(k->a.answer));
        buf_addf(&ids, "%s\"%s\"", n++ ? "," : "[", k->a.answer_id.s);
    }
    buf_addc(&ids, ']');
    struct str ret = n && !buf_err(&text) ? arena_str(a, buf_str(&text)) : STR_NULL;
    *ret_ids = ret.p ? arena_str(a, buf_str(&ids)) : STR_NULL;
    buf_deinit(&text);
    buf_deinit(&ids);
    return ret;
}

void learn_find_examples(struct learn *l, const struct uuid *role_id,
                         const struct uuid *conversation_id, const float *vector, size_t dims,
                         struct str model, size_t max_bytes, struct arena *a,
                         struct learn_examples *ret) {
    struct learn_state *s = hold(l);
    struct learn_examples x = {.chance = 1};
    if (s && uuid_is_set(&s->examples_id))
        x.text = write_examples(s, role_id, vector, dims, model, max_bytes, a, &x.ids);
    if (x.text.p) {
        x.trial_id = s->examples_id;
        x.shown =
            lot(l, conversation_id, words_hash(uuid_str(&s->examples_id))) < s->examples_share;
        x.chance = x.shown ? s->examples_share : 1 - s->examples_share;
    }
    *ret = x;
    release(s);
}

/* ---- switches ---- */

#define X(name) #name,
static const char *const learners[] = {LEARNERS(X)};
#undef X
#define N_LEARNERS (sizeof learners / sizeof *learners)

const char *learn_learner(size_t i) {
    return i < N_LEARNERS ? learners[i] : NULL;
}

static enum err read_off(struct store_tx *tx, unsigned *ret) {
    struct arena *a = arena_new(4096);
    struct str list;
    if (!a)
        return ERR_NOMEM;
    enum err e = setting_get(tx, "learn.off", a, &list);
    *ret = 0;
    for (unsigned i = 0; !e && i < N_LEARNERS; i++)
        if (str_find(list, str_from(learners[i])) != SIZE_MAX)
            *ret |= 1u << i;
    arena_free(a);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err learn_is_off(struct store_tx *tx, const char *learner, bool *ret) {
    unsigned off = 0;
    enum err e = read_off(tx, &off);
    for (unsigned i = 0; i < N_LEARNERS; i++)
        if (str_eqz(str_from(learner), learners[i]))
            *ret = off & (1u << i);
    return e;
}

enum err learn_switch(struct store_tx *tx, const char *learner, bool on, struct errinfo *ei) {
    unsigned off = 0, bit = 0;
    char list[80] = "[";
    size_t n = 1;
    enum err e = read_off(tx, &off);
    for (unsigned i = 0; i < N_LEARNERS; i++)
        if (str_eqz(str_from(learner), learners[i]))
            bit = 1u << i;
    if (!bit)
        return err_param(ei, ERR_INVALID, "learner",
                         "there is no such learner; there are ranker, approved, variants, "
                         "examples and explore");
    off = on ? off & ~bit : off | bit;
    for (unsigned i = 0; i < N_LEARNERS; i++)
        if (off & (1u << i))
            n += (size_t)snprintf(list + n, sizeof list - n, "%s\"%s\"", n > 1 ? "," : "",
                                  learners[i]);
    snprintf(list + n, sizeof list - n, "]");
    return e ? e : setting_set(tx, "learn.off", str_from(list));
}

enum err learn_unembedded(struct store_tx *tx, struct str model, struct arena *a,
                          struct approved_answer **ret, size_t *ret_n) {
    struct page p = {.limit = 200};
    struct approved_answer *list, *out = arena_array(a, LEARN_EMBED_MAX, sizeof *out);
    size_t n = 200, m = 0;
    if (!out)
        return ERR_NOMEM;
    while (n == 200 && m < LEARN_EMBED_MAX) {
        enum err e = approved_list(tx, "approved", &p, a, &list, &n);
        if (e)
            return e;
        for (size_t i = 0; i < n && m < LEARN_EMBED_MAX; i++)
            if (!str_eq(list[i].vector_model, model))
                out[m++] = list[i];
        if (n)
            p.after = list[n - 1].answer_id;
    }
    *ret = out;
    *ret_n = m;
    return ERR_OK;
}
