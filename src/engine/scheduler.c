/* The scheduler's rounds, and what other threads ask of it. */
#include "engine/scheduler.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "engine/sched_internal.h"

/* Of a half-billion-parameter model on two slow cores; the first steps say better. */
#define BASE_NS    20e6
#define ANSWER_NS  8e6
#define PROMPT_NS  5e6
#define REQUEST_NS 2e9
#define EMBED_NS   3e5

/* While states are copied others ask, and are answered. */
static void let_others(void *ctx, bool away) {
    struct sched *s = ctx;
    if (away)
        pthread_mutex_unlock(&s->state);
    else
        pthread_mutex_lock(&s->state);
}

enum err sched_new(struct model *chat, struct model *embedding, const struct sched_options *o,
                   struct sched **ret) {
    struct sched *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    s->model = chat;
    s->embedding = embedding;
    s->o = *o;
    forecast_init(&s->forecast, o->base_ns > 0 ? o->base_ns : BASE_NS,
                  o->answer_ns > 0 ? o->answer_ns : ANSWER_NS,
                  o->prompt_ns > 0 ? o->prompt_ns : PROMPT_NS);
    s->forecast.known = o->base_ns > 0;
    s->forecast.told_ns = s->forecast.known ? s->forecast.prompt_ns : 0;
    s->request_ns = REQUEST_NS;
    s->embed_ns = EMBED_NS;
    pthread_mutex_init(&s->state, NULL);
    pthread_mutex_init(&s->lock, NULL);
    clock_cond_init(&s->wake);
    s->fairness = fairness_new();
    const struct slots_options so = {
        .slots = o->slots,
        .prefixes = o->prefixes,
        .prefix_tokens = o->prefix_tokens,
        .cells = o->cells,
        .shelf_bytes = o->shelf_bytes,
        .away = let_others,
        .ctx = s,
    };
    enum err e = s->fairness ? ERR_OK : ERR_NOMEM;
    if (!e && chat) {
        s->items = calloc((size_t)chat->info.step_tokens, sizeof(*s->items));
        s->live = calloc((size_t)o->slots + 1, sizeof(*s->live));
        s->vocabulary = vocabulary_new(chat);
        e = s->items && s->live && s->vocabulary ? slots_new(chat, &so, &s->slots) : ERR_NOMEM;
        if (!e)
            sched_restore(s);
        metric_set(M_ENGINE_SLOTS, o->slots);
        metric_set(M_ENGINE_KV_CELLS, o->cells);
    }
    if (e)
        sched_free(s);
    else
        *ret = s;
    return e;
}

/* ---- from other threads ---- */

enum err sched_too_long(const struct model *m, int tokens, bool about, struct errinfo *ei) {
    return err_param(ei, ERR_CONTEXT, "messages",
                     "This model's maximum context length is %d tokens, but the messages have %s%d "
                     "tokens and the answer needs room; shorten the messages",
                     m->info.window, about ? "about " : "", tokens);
}

static enum err check_chat(struct sched *s, const struct sched_chat *c, struct errinfo *ei) {
    if (!s->model)
        return err_set(ei, ERR_UNAVAILABLE, "no chat model is loaded");
    if (c->prompt.n < 1)
        return err_set(ei, ERR_INVALID, "the prompt is empty");
    if (c->prompt.n >= s->model->info.window)
        return sched_too_long(s->model, c->prompt.n, false, ei);
    return ERR_OK;
}

uint64_t sched_wake(struct sched *s) {
    pthread_mutex_lock(&s->lock);
    uint64_t id = ++s->next_id;
    s->news = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    return id;
}

static void free_job(struct job *j) {
    sampler_free(j->sampler);
    guide_free(j->guide);
    free(j);
}

/* Binds the sampler to the request's grammar. */
static enum err set_guide(struct sched *s, struct job *j, const struct sched_chat *c,
                          struct errinfo *ei) {
    if (!c->grammar)
        return ERR_OK;
    j->guide = guide_new(c->grammar, s->vocabulary);
    if (!j->guide)
        return err_set(ei, ERR_NOMEM, NULL);
    if (!guide_skip(j->guide, c->followed))
        return err_param(ei, ERR_INVALID, "response_format",
                         "the partial answer does not follow \"response_format\"");
    sampler_set_guide(j->sampler, j->guide);
    return ERR_OK;
}

void sched_make_haste(struct sched *s) {
    if (s->yields)
        atomic_store(&s->abort, true);
}

void sched_end_haste(struct sched *s) {
    pthread_mutex_lock(&s->lock);
    if (!s->stop)
        atomic_store(&s->abort, false);
    pthread_mutex_unlock(&s->lock);
}

static enum err make_job(struct sched *s, const struct sched_chat *c, struct job **ret,
                         struct errinfo *ei) {
    struct job *j = calloc(1, sizeof(*j));
    if (j)
        j->sampler = sampler_new(&c->sampling, s->model->info.vocabulary);
    if (!j || !j->sampler) {
        free(j);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    enum err e = set_guide(s, j, c, ei);
    if (e) {
        free_job(j);
        return e;
    }
    j->chat = *c;
    j->prompt_tokens = c->prompt.n;
    j->item = j->told = -1;
    *ret = j;
    return ERR_OK;
}

enum err sched_chat_submit(struct sched *s, struct sched_chat *c, uint64_t *ret_id,
                           struct errinfo *ei) {
    struct job *j = NULL;
    enum err e = check_chat(s, c, ei);
    if (!e)
        e = make_job(s, c, &j, ei);
    if (e) {
        sched_chat_leave(s, c->place);
        return e;
    }
    pthread_mutex_lock(&s->state);
    bool had_place = sched_take_place(s, j, c->place);
    if (!had_place)
        j->account = fairness_join(s->fairness, c->user);
    e = sched_may_enter(s, j, ei);
    if (e) {
        fairness_leave(s->fairness, j->account);
        pthread_mutex_unlock(&s->state);
        free_job(j);
        return e;
    }
    c->prompt = (struct tokens){0};
    c->grammar = NULL;
    LIST_APPEND(s->waiting, j, struct job);
    metric_set(M_ENGINE_QUEUED, ++s->n_waiting);
    uint64_t id = sched_wake(s);
    if (!had_place)
        j->id = id;
    *ret_id = j->id;
    if (!j->chat.background) {
        sched_embed_followed(s, clock_mono_ns());
        sched_make_haste(s);
    }
    pthread_mutex_unlock(&s->state);
    return ERR_OK;
}

void sched_cancel(struct sched *s, uint64_t id) {
    pthread_mutex_lock(&s->lock);
    if (s->n_cancels == s->cancels_size) {
        int size = s->cancels_size ? s->cancels_size * 2 : 16;
        uint64_t *grown = realloc(s->cancels, (size_t)size * sizeof(*grown));
        if (grown) {
            s->cancels = grown;
            s->cancels_size = size;
        }
    }
    if (s->n_cancels < s->cancels_size) /* out of memory: the request runs to its end */
        s->cancels[s->n_cancels++] = id;
    for (int i = 0; i < s->n_live; i++)
        if (s->live[i] == id) {
            s->live[i] = s->live[--s->n_live];
            if (s->n_live == 0)
                atomic_store(&s->abort, true);
            break;
        }
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

void sched_stop(struct sched *s) {
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    atomic_store(&s->abort, true);
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

bool sched_should_abort(struct sched *s) {
    return atomic_load_explicit(&s->abort, memory_order_relaxed);
}

bool sched_costs(struct sched *s, double *ret_base_ns, double *ret_answer_ns,
                 double *ret_prompt_ns) {
    pthread_mutex_lock(&s->state);
    const struct forecast *f = &s->forecast;
    bool known = f->known || f->seen >= 100;
    if (known) {
        *ret_base_ns = f->base_ns;
        *ret_answer_ns = f->answer_ns;
        *ret_prompt_ns = f->prompt_ns;
    }
    pthread_mutex_unlock(&s->state);
    return known;
}

/* ---- the end of a request ---- */

void sched_unlink(struct job **list, struct job *j) {
    while (*list && *list != j)
        list = &(*list)->next;
    if (*list)
        *list = j->next;
}

void sched_end_job(struct sched *s, struct job *j, enum sched_end end, const struct errinfo *ei) {
    if (j->slot) {
        double took = (double)(clock_mono_ns() - j->started_ns);
        s->request_ns += (took - s->request_ns) * SMOOTH;
        sched_unlink(&s->running, j);
        slots_release(s->slots, j->slot);
        metric_add(M_ENGINE_RUNNING, -1);
    } else {
        sched_unlink(&s->waiting, j);
        metric_set(M_ENGINE_QUEUED, --s->n_waiting);
    }
    if (end == SCHED_STOP || end == SCHED_LENGTH)
        forecast_answered(&s->forecast, j->answer_tokens, end == SCHED_STOP);
    fairness_leave(s->fairness, j->account);
    const struct sched_event e = {
        .done = true,
        .end = end,
        .ei = ei,
        .prompt_tokens = j->prompt_tokens,
        .cached_tokens = j->cached_tokens,
        .answer_tokens = j->answer_tokens,
    };
    j->chat.on_event(j->chat.ctx, &e);
    tokens_deinit(&j->chat.prompt);
    grammar_free(j->chat.grammar);
    free_job(j);
}

/* ---- rounds ---- */

static struct job *find_job(struct job *list, uint64_t id) {
    while (list && list->id != id)
        list = list->next;
    return list;
}

static void end_cancelled(struct sched *s) {
    pthread_mutex_lock(&s->lock);
    uint64_t *cancels = s->cancels;
    int n = s->n_cancels;
    s->cancels = NULL;
    s->n_cancels = s->cancels_size = 0;
    s->news = false;
    if (!s->stop)
        atomic_store(&s->abort, false);
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < n; i++) {
        struct job *j = find_job(s->running, cancels[i]);
        if (!j)
            j = find_job(s->waiting, cancels[i]);
        if (j)
            sched_end_job(s, j, SCHED_CANCELLED, NULL);
        else
            sched_embed_cancel(s, cancels[i]);
    }
    free(cancels);
}

bool sched_round(struct sched *s) {
    pthread_mutex_lock(&s->state);
    end_cancelled(s);
    s->rest_ns = 0;
    bool worked = s->embeds && sched_embed_round(s);
    if (s->model) {
        sched_refuse_late(s);
        sched_settle(s);
        sched_admit(s);
        sched_tell_positions(s);
    }
    int64_t awaits = s->running ? sched_embed_awaits(s, clock_mono_ns()) : 0;
    if (awaits && !worked) {
        s->rest_ns = awaits;
    } else if (s->running && !awaits) {
        sched_chat_step(s);
        worked = true;
    }
    if (!worked && s->model && !s->waiting && !s->running)
        worked = slots_tidy(s->slots);
    pthread_mutex_unlock(&s->state);
    return worked;
}

/* Until there is news, or the rest is over. */
static void sleep_until_news(struct sched *s) {
    if (!s->rest_ns)
        pthread_cond_wait(&s->wake, &s->lock);
    else if (!clock_cond_wait(&s->wake, &s->lock, s->rest_ns - clock_mono_ns()))
        s->news = true; /* a round will see that it is time */
}

void sched_run(struct sched *s) {
    bool worked = true;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        while (!s->stop && !worked && !s->news && !s->n_cancels)
            sleep_until_news(s);
        bool stop = s->stop;
        pthread_mutex_unlock(&s->lock);
        if (stop)
            return;
        worked = sched_round(s);
    }
}

void sched_free(struct sched *s) {
    struct errinfo ei;
    if (!s)
        return;
    err_set(&ei, ERR_CANCELLED, NULL);
    end_cancelled(s);
    while (s->running)
        sched_end_job(s, s->running, SCHED_CANCELLED, NULL);
    while (s->waiting)
        sched_end_job(s, s->waiting, SCHED_CANCELLED, NULL);
    while (s->coming)
        sched_chat_leave(s, s->coming->id);
    while (s->embeds) {
        struct embed_job *j = s->embeds;
        s->embeds = j->next;
        sched_embed_end(s, j, ERR_CANCELLED, &ei);
    }
    slots_free(s->slots);
    vocabulary_free(s->vocabulary);
    fairness_free(s->fairness);
    free(s->items);
    free(s->live);
    free(s->cancels);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->state);
    free(s);
}
