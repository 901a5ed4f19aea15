#include "engine/scheduler.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "engine/fairness.h"
#include "engine/slots.h"

#define SHORT_PROMPT 96 /* fresh tokens computed in one go: the standard prompt of a turn */
#define JOIN_TOKENS                                                                                \
    64                 /* prompts that are computed together: past it a token costs as much alone  \
                        */
#define CHUNK_MIN   16 /* tokens of a long prompt in a step beside running answers */
#define PACE        3  /* such a chunk may take as long as so many plain steps */
#define PATIENCE_NS 2000000000 /* a prompt without a chunk for so long goes before shorter ones */
#define EMBED_BATCH                                                                                \
    256 /* tokens of several texts together: longer batches are slower per token                   \
         */
#define EMBED_BACKGROUND_BATCH                                                                     \
    96 /* tokens that somebody who comes meanwhile waits for: some 30 ms on two cores */
#define EMBED_BACKGROUND_PAUSE                                                                     \
    9 /* times as long as a background batch took, running answers have the cores */
#define EMBED_TEXTS 32
#define EMBED_QUEUED                                                                               \
    65536 /* tokens of texts that wait; one request may be longer when it is alone */
#define STEP_JOBS    256
#define SMOOTH       0.1
#define RETRY_MIN_MS 1000
#define RETRY_MAX_MS 60000

struct job {
    struct job *next;
    uint64_t id;
    struct sched_chat chat;
    struct sampler *sampler;
    struct slot *slot; /* NULL while waiting */
    int64_t started_ns;
    int64_t served_ns; /* when it got its slot or its last chunk of prefill */
    int prompt_tokens, cached_tokens, answer_tokens;
    int item;           /* the step's item whose logits are its own, -1 = none */
    int computed_after; /* slot->computed when the step has succeeded */
    bool prefix_kept;
    int forced_done; /* bytes of chat.forced that were said */
};

struct embed_job {
    struct embed_job *next;
    uint64_t id;
    struct sched_embed e;
    int tokens; /* of all texts */
    float *vectors;
    int done;
};

struct sched {
    struct model *model, *embedding;
    struct sched_options o;

    /* compute thread only */
    struct slots *slots;
    struct fairness *fairness;
    struct model_item *items;
    struct job *waiting, *running; /* in order of arrival */
    struct embed_job *embeds;
    double decode_ns;            /* of a step without prefill, smoothed */
    double prefill_ns;           /* of one token, smoothed */
    int64_t embed_after_ns;      /* until then running answers have the cores to themselves */
    int64_t background_after_ns; /* the same for background embeddings */

    pthread_mutex_t lock; /* guards down to stop */
    pthread_cond_t wake;
    struct job *inbox;
    struct embed_job *embed_inbox;
    uint64_t *cancels; /* owned */
    int n_cancels, cancels_size;
    uint64_t live[STEP_JOBS]; /* who takes part in the running step and is not cancelled */
    int n_live;
    uint64_t next_id;
    bool stop;

    atomic_int queued;       /* chat requests without a slot */
    atomic_int embed_queued; /* tokens of embedding requests that have not ended */
    atomic_llong embed_ns;   /* of one such token, smoothed */
    atomic_bool abort;
    atomic_llong request_ns; /* from slot to end, smoothed */
};

enum err sched_new(struct model *chat, struct model *embedding, const struct sched_options *o,
                   struct sched **ret) {
    struct sched *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    s->model = chat;
    s->embedding = embedding;
    s->o = *o;
    s->decode_ns = 30e6;
    s->prefill_ns = 7e6;
    atomic_store(&s->request_ns, 2000000000);
    atomic_store(&s->embed_ns, 300000);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    s->fairness = fairness_new();
    const struct slots_options so = {o->slots, o->prefixes, o->prefix_tokens, o->cells,
                                     o->shelf_bytes};
    enum err e = s->fairness ? ERR_OK : ERR_NOMEM;
    if (!e && chat) {
        s->items = calloc((size_t)chat->info.step_tokens, sizeof(*s->items));
        e = s->items ? slots_new(chat, &so, &s->slots) : ERR_NOMEM;
    }
    if (e)
        sched_free(s);
    else
        *ret = s;
    return e;
}

#define LIST_APPEND(list, entry, type)                                                             \
    do {                                                                                           \
        type **at_ = &(list);                                                                      \
        while (*at_)                                                                               \
            at_ = &(*at_)->next;                                                                   \
        (entry)->next = NULL;                                                                      \
        *at_ = (entry);                                                                            \
    } while (0)

/* ---- from other threads ---- */

static uint32_t retry_ms(int64_t ns) {
    int64_t ms = ns / 1000000;
    return ms < RETRY_MIN_MS ? RETRY_MIN_MS : ms > RETRY_MAX_MS ? RETRY_MAX_MS : (uint32_t)ms;
}

static uint32_t retry_after_ms(struct sched *s) {
    int64_t each = atomic_load(&s->request_ns) / (s->o.slots > 0 ? s->o.slots : 1);
    return retry_ms(each * (atomic_load(&s->queued) + 1));
}

static enum err check_chat(struct sched *s, const struct sched_chat *c, struct errinfo *ei) {
    if (!s->model)
        return err_set(ei, ERR_UNAVAILABLE, "no chat model is loaded");
    if (c->prompt.n < 1)
        return err_set(ei, ERR_INVALID, "the prompt is empty");
    if (c->prompt.n >= s->model->info.window)
        return err_param(
            ei, ERR_CONTEXT, "messages",
            "This model's maximum context length is %d tokens, but the messages have %d "
            "tokens and the answer needs room; shorten the messages",
            s->model->info.window, c->prompt.n);
    int queued = atomic_load(&s->queued);
    if (queued >= (int64_t)s->o.max_queued * (c->wait ? SCHED_PATIENT : 1)) {
        metric_add(M_ENGINE_REFUSED, 1);
        enum err e =
            err_set(ei, ERR_OVERLOADED,
                    "the model is busy: %d requests are waiting already; try again later", queued);
        if (ei)
            ei->retry_after_ms = retry_after_ms(s);
        return e;
    }
    return ERR_OK;
}

enum err sched_chat_submit(struct sched *s, struct sched_chat *c, uint64_t *ret_id,
                           struct errinfo *ei) {
    enum err e = check_chat(s, c, ei);
    if (e)
        return e;
    struct job *j = calloc(1, sizeof(*j));
    if (j)
        j->sampler = sampler_new(&c->sampling, s->model->info.vocabulary);
    if (!j || !j->sampler) {
        free(j);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    j->chat = *c;
    c->prompt = (struct tokens){0};
    j->prompt_tokens = j->chat.prompt.n;
    j->item = -1;
    metric_set(M_ENGINE_QUEUED, atomic_fetch_add(&s->queued, 1) + 1);
    pthread_mutex_lock(&s->lock);
    *ret_id = j->id = ++s->next_id;
    LIST_APPEND(s->inbox, j, struct job);
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    return ERR_OK;
}

/* Takes the tokens into the queue's sum. A chat turn waits for its one text, so single texts are
 * let in when lists are refused. */
static enum err queue_embed(struct sched *s, const struct sched_embed *e, int tokens,
                            struct errinfo *ei) {
    int before = atomic_fetch_add(&s->embed_queued, tokens);
    if (before == 0 || before + tokens <= EMBED_QUEUED * (e->n == 1 ? 2 : 1))
        return ERR_OK;
    atomic_fetch_sub(&s->embed_queued, tokens);
    metric_add(M_ENGINE_REFUSED, 1);
    enum err err = err_set(
        ei, ERR_OVERLOADED,
        "the embedding model is busy: texts of %d tokens are waiting already; try again later",
        before);
    if (ei)
        ei->retry_after_ms = retry_ms(atomic_load(&s->embed_ns) * before);
    return err;
}

enum err sched_embed_submit(struct sched *s, struct sched_embed *e, uint64_t *ret_id,
                            struct errinfo *ei) {
    int tokens = 0;
    if (!s->embedding)
        return err_set(ei, ERR_UNAVAILABLE, "no embedding model is loaded");
    for (int i = 0; i < e->n; i++)
        tokens += e->texts[i].n;
    enum err err = queue_embed(s, e, tokens, ei);
    if (err)
        return err;
    struct embed_job *j = calloc(1, sizeof(*j));
    if (j)
        j->vectors =
            calloc((size_t)e->n * (size_t)s->embedding->info.dimensions + 1, sizeof(float));
    if (!j || !j->vectors) {
        free(j);
        atomic_fetch_sub(&s->embed_queued, tokens);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    j->e = *e;
    j->tokens = tokens;
    e->texts = NULL;
    pthread_mutex_lock(&s->lock);
    *ret_id = j->id = ++s->next_id;
    LIST_APPEND(s->embed_inbox, j, struct embed_job);
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
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

/* ---- the end of a request ---- */

static void unlink_job(struct job **list, struct job *j) {
    while (*list && *list != j)
        list = &(*list)->next;
    if (*list)
        *list = j->next;
}

static void end_job(struct sched *s, struct job *j, enum sched_end end, const struct errinfo *ei) {
    if (j->slot) {
        int64_t took = clock_mono_ns() - j->started_ns, old = atomic_load(&s->request_ns);
        atomic_store(&s->request_ns, old + (int64_t)((double)(took - old) * SMOOTH));
        unlink_job(&s->running, j);
        slots_release(s->slots, j->slot);
        metric_add(M_ENGINE_RUNNING, -1);
    } else {
        unlink_job(&s->waiting, j);
        metric_set(M_ENGINE_QUEUED, atomic_fetch_sub(&s->queued, 1) - 1);
    }
    fairness_leave(s->fairness, j->chat.user);
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
    sampler_free(j->sampler);
    free(j);
}

static void end_embed(struct sched *s, struct embed_job *j, enum err err,
                      const struct errinfo *ei) {
    atomic_fetch_sub(&s->embed_queued, j->tokens);
    if (err) {
        free(j->vectors);
        j->vectors = NULL;
    }
    for (int i = 0; i < j->e.n; i++)
        tokens_deinit(&j->e.texts[i]);
    free(j->e.texts);
    j->e.on_done(j->e.ctx, err, j->vectors, ei);
    free(j);
}

/* ---- a round ---- */

static struct job *find_job(struct job *list, uint64_t id) {
    while (list && list->id != id)
        list = list->next;
    return list;
}

static void cancel_embed(struct sched *s, uint64_t id) {
    struct embed_job **at = &s->embeds, *j;
    struct errinfo ei;
    while (*at && (*at)->id != id)
        at = &(*at)->next;
    if ((j = *at) == NULL)
        return;
    *at = j->next;
    err_set(&ei, ERR_CANCELLED, NULL);
    end_embed(s, j, ERR_CANCELLED, &ei);
}

static void take_in(struct sched *s) {
    pthread_mutex_lock(&s->lock);
    struct job *inbox = s->inbox;
    struct embed_job *embeds = s->embed_inbox;
    uint64_t *cancels = s->cancels;
    int n = s->n_cancels;
    s->inbox = NULL;
    s->embed_inbox = NULL;
    s->cancels = NULL;
    s->n_cancels = s->cancels_size = 0;
    if (!s->stop)
        atomic_store(&s->abort, false);
    pthread_mutex_unlock(&s->lock);
    for (struct job *j = inbox; j; j = j->next)
        fairness_join(s->fairness, j->chat.user);
    if (inbox) {
        struct job **at = &s->waiting;
        while (*at)
            at = &(*at)->next;
        *at = inbox;
    }
    if (embeds) {
        struct embed_job **at = &s->embeds;
        while (*at)
            at = &(*at)->next;
        *at = embeds;
    }
    for (int i = 0; i < n; i++) {
        struct job *j = find_job(s->running, cancels[i]);
        if (!j)
            j = find_job(s->waiting, cancels[i]);
        if (j)
            end_job(s, j, SCHED_CANCELLED, NULL);
        else
            cancel_embed(s, cancels[i]);
    }
    free(cancels);
}

/* The first job that somebody waits for, else the first of the background whose time has come. */
static struct embed_job *next_embed(struct sched *s) {
    int64_t now = clock_mono_ns();
    struct embed_job *j = s->embeds;
    while (j && j->e.background)
        j = j->next;
    if (j)
        return s->running && now < s->embed_after_ns ? NULL : j;
    if (s->running ? now < s->background_after_ns : s->waiting != NULL)
        return NULL;
    return s->embeds;
}

/* As many texts of the job as make a short batch. */
static void embed_round(struct sched *s, struct embed_job *j) {
    struct errinfo ei = {0};
    int n = 0, total = 0, batch = j->e.background ? EMBED_BACKGROUND_BATCH : EMBED_BATCH;
    while (j->done + n < j->e.n && n < EMBED_TEXTS) {
        int tokens = j->e.texts[j->done + n].n;
        if (n && total + tokens > batch)
            break;
        total += tokens;
        n++;
    }
    size_t dims = (size_t)s->embedding->info.dimensions;
    int64_t begin = clock_mono_ns();
    enum err e = n == 0 ? ERR_OK
                        : s->embedding->ops->embed(s->embedding, j->e.texts + j->done, n,
                                                   j->vectors + (size_t)j->done * dims, &ei);
    int64_t end = clock_mono_ns(), each = total ? (end - begin) / total : 0;
    int64_t old = atomic_load(&s->embed_ns);
    atomic_store(&s->embed_ns, old + (int64_t)((double)(each - old) * SMOOTH));
    if (j->e.background)
        s->background_after_ns = end + EMBED_BACKGROUND_PAUSE * (end - begin);
    else
        s->embed_after_ns = end + (end - begin); /* as long as it took, answers go on */
    j->done += n;
    struct embed_job **at = &s->embeds;
    while (*at != j)
        at = &(*at)->next;
    if (e || j->done == j->e.n) {
        *at = j->next;
        end_embed(s, j, e, &ei);
    } else if (j->next) { /* a long list lets the next request go between its batches */
        *at = j->next;
        LIST_APPEND(s->embeds, j, struct embed_job);
    }
}

static struct job *next_waiting(struct sched *s) {
    struct job *best = NULL;
    double least = 0;
    for (struct job *j = s->waiting; j; j = j->next) {
        double served = fairness_served(s->fairness, j->chat.user);
        if (!best || served < least) {
            best = j;
            least = served;
        }
    }
    return best;
}

/* What a request's sequence holds at most. */
static int most_tokens(const struct sched *s, const struct job *j) {
    int64_t n = (int64_t)j->prompt_tokens + j->chat.max_tokens;
    return n < s->model->info.window ? (int)n : s->model->info.window;
}

static void admit(struct sched *s) {
    while (s->waiting && slots_idle(s->slots) > 0) {
        struct job *j = next_waiting(s);
        int reserve = most_tokens(s, j);
        enum slots_source source;
        if (!slots_fit(s->slots, reserve))
            return; /* nobody overtakes it: it fits when others end */
        for (int i = j->prompt_tokens > SAMPLER_RECENT ? j->prompt_tokens - SAMPLER_RECENT : 0;
             i < j->prompt_tokens; i++)
            sampler_see(j->sampler, j->chat.prompt.p[i], i >= j->prompt_tokens - j->chat.partial);
        struct slot *slot =
            slots_acquire(s->slots, &j->chat.prompt, reserve, j->chat.conversation, &source);
        if (!slot) {
            struct errinfo ei;
            err_set(&ei, ERR_NOMEM, NULL);
            end_job(s, j, SCHED_FAILED, &ei);
            continue;
        }
        unlink_job(&s->waiting, j);
        LIST_APPEND(s->running, j, struct job);
        j->slot = slot;
        j->started_ns = j->served_ns = clock_mono_ns();
        j->cached_tokens = slot->computed;
        metric_add(M_ENGINE_REUSED_TOKENS, slot->computed);
        metric_set(M_ENGINE_QUEUED, atomic_fetch_sub(&s->queued, 1) - 1);
        metric_add(M_ENGINE_RUNNING, 1);
    }
}

static int todo(const struct job *j) {
    return j->slot->tokens.n - j->slot->computed;
}

static bool generating(const struct job *j) {
    return j->answer_tokens > 0;
}

static int add_items(struct sched *s, struct job *j, int at, int n) {
    struct slot *slot = j->slot;
    for (int i = 0; i < n; i++)
        s->items[at + i] = (struct model_item){
            .sequence = slot->sequence,
            .position = slot->computed + i,
            .token = slot->tokens.p[slot->computed + i],
            .logits = slot->computed + i == slot->tokens.n - 1,
        };
    j->computed_after = slot->computed + n;
    if (n && s->items[at + n - 1].logits)
        j->item = at + n - 1;
    s->live[s->n_live++] = j->id;
    return at + n;
}

/* The prompt that is to be computed next: the shortest rest, or one that has waited too long. It
 * waits since its last chunk: a long prompt is not starved and does not lead every step either. */
static struct job *next_prefill(struct sched *s, int64_t now) {
    struct job *best = NULL;
    bool best_late = false;
    for (struct job *j = s->running; j; j = j->next) {
        if (generating(j) || j->computed_after > j->slot->computed)
            continue;
        bool late = now - j->served_ns > PATIENCE_NS;
        if (!best || (late && !best_late) || (late == best_late && !late && todo(j) < todo(best))) {
            best = j;
            best_late = late;
        }
    }
    return best;
}

/* Tokens of prefill in one step. Without answers to keep going there is no reason to hold back. */
static int prefill_budget(const struct sched *s, int decodes) {
    if (decodes == 0)
        return s->model->info.step_tokens;
    int n = (int)(PACE * s->decode_ns / s->prefill_ns);
    return n < CHUNK_MIN ? CHUNK_MIN : n;
}

/* Fills s->items; returns how many, and how many of them are prefill. */
static int build_step(struct sched *s, int *ret_prefill) {
    int n = 0, decodes = 0;
    pthread_mutex_lock(&s->lock);
    s->n_live = 0;
    for (struct job *j = s->running; j; j = j->next) {
        j->item = -1;
        j->computed_after = j->slot->computed;
        if (generating(j)) {
            n = add_items(s, j, n, 1);
            decodes++;
        }
    }
    int budget = prefill_budget(s, decodes), room = s->model->info.step_tokens - n, prefill = 0;
    int64_t now = clock_mono_ns();
    for (struct job *j; room > 0 && (j = next_prefill(s, now)) != NULL;) {
        int want = todo(j);
        /* A standard prompt goes through whole: its first word is what somebody waits for. Others
         * join it only as long as that costs it next to nothing, so that the first to be computed
         * is the first to be answered. */
        if (prefill > 0 && prefill + want > JOIN_TOKENS)
            break;
        int take = want <= SHORT_PROMPT || want < budget ? want : budget;
        take = take < room ? take : room;
        n = add_items(s, j, n, take);
        prefill += take;
        room -= take;
    }
    pthread_mutex_unlock(&s->lock);
    *ret_prefill = prefill;
    return n;
}

static void tell_token(struct job *j, const struct sampled *token, int forced) {
    const struct sched_event e = {
        .token = *token,
        .forced = forced,
        .prompt_tokens = j->prompt_tokens,
        .cached_tokens = j->cached_tokens,
        .answer_tokens = j->answer_tokens,
    };
    j->chat.on_event(j->chat.ctx, &e);
}

/* Leaves the tokens whose text goes along the bytes that must come; all of them when none does. */
static void keep_forced(struct sched *s, struct job *j, float *logits) {
    const char *rest = j->chat.forced + j->forced_done;
    int left = j->chat.n_forced - j->forced_done, fitting = 0;
    char piece[512];
    for (int pass = 0; pass < 2; pass++)
        for (int32_t t = 0; t < s->model->info.vocabulary; t++) {
            int n = s->model->ops->piece(s->model, t, piece, sizeof(piece));
            bool fits = n > 0 && memcmp(piece, rest, (size_t)(n < left ? n : left)) == 0;
            if (pass == 0)
                fitting += fits;
            else if (!fits && fitting)
                logits[t] = -INFINITY;
        }
    if (!fitting)
        j->forced_done = j->chat.n_forced;
}

/* Chooses a job's next token and ends the job when it was the last. */
static void sample(struct sched *s, struct job *j) {
    struct sampled token;
    int forced = 0;
    float *logits = s->model->ops->logits(s->model, j->item);
    if (j->forced_done < j->chat.n_forced)
        keep_forced(s, j, logits);
    sampler_next(j->sampler, logits, &token);
    if (j->forced_done < j->chat.n_forced) {
        char piece[512];
        int n = s->model->ops->piece(s->model, token.token, piece, sizeof(piece));
        int left = j->chat.n_forced - j->forced_done;
        forced = n < left ? n : left;
        j->forced_done += forced;
    }
    fairness_charge(s->fairness, j->chat.user,
                    2); /* a decoded token costs about two prefilled ones */
    if (s->model->ops->is_end(s->model, token.token)) {
        end_job(s, j, SCHED_STOP, NULL);
        return;
    }
    if (j->answer_tokens++ == 0)
        metric_observe(M_ENGINE_TTFT_SECONDS, (double)(clock_mono_ns() - j->chat.arrived_ns) / 1e9);
    metric_add(M_ENGINE_DECODE_TOKENS, 1);
    tell_token(j, &token, forced);
    if (j->answer_tokens >= j->chat.max_tokens || j->slot->tokens.n >= s->model->info.window) {
        end_job(s, j, SCHED_LENGTH, NULL);
    } else if (tokens_add(&j->slot->tokens, &token.token, 1)) {
        struct errinfo ei;
        err_set(&ei, ERR_NOMEM, NULL);
        end_job(s, j, SCHED_FAILED, &ei);
    }
}

static void after_step(struct sched *s) {
    int64_t now = clock_mono_ns();
    for (struct job *j = s->running, *next; j; j = next) {
        next = j->next;
        if (!generating(j))
            fairness_charge(s->fairness, j->chat.user, j->computed_after - j->slot->computed);
        if (j->computed_after > j->slot->computed)
            j->served_ns = now;
        j->slot->computed = j->computed_after;
        if (!j->prefix_kept && j->slot->computed >= j->chat.prefix) {
            slots_keep_prefix(s->slots, j->slot, j->chat.prefix);
            j->prefix_kept = true;
        }
        if (j->item >= 0)
            sample(s, j);
    }
}

/* The step's sequences are cut back to what they held before; a failure that is not an abort ends
 * the requests. */
static void after_failure(struct sched *s, enum err e, const struct errinfo *ei) {
    for (struct job *j = s->running, *next; j; j = next) {
        next = j->next;
        if (j->computed_after == j->slot->computed)
            continue;
        if (e == ERR_CANCELLED &&
            s->model->ops->seq_trim(s->model, j->slot->sequence, j->slot->computed))
            continue;
        if (e == ERR_CANCELLED) { /* cannot be cut: its tokens are computed again */
            j->slot->computed = 0;
            continue;
        }
        slots_clear(s->slots, j->slot);
        end_job(s, j, SCHED_FAILED, ei);
    }
}

static void smooth(double *value, double seen) {
    *value += (seen - *value) * SMOOTH;
}

static void chat_step(struct sched *s) {
    struct errinfo ei = {0};
    int prefill, n = build_step(s, &prefill);
    int64_t begin = clock_mono_ns();
    enum err e = s->model->ops->step(s->model, s->items, n, &ei);
    while (e == ERR_OVERLOADED && slots_evict(s->slots))
        e = s->model->ops->step(s->model, s->items, n, &ei);
    double took = (double)(clock_mono_ns() - begin);
    pthread_mutex_lock(&s->lock);
    s->n_live = 0;
    pthread_mutex_unlock(&s->lock);
    metric_add(M_ENGINE_STEPS, 1);
    metric_observe(M_ENGINE_STEP_SECONDS, took / 1e9);
    if (e) {
        after_failure(s, e, &ei);
        return;
    }
    metric_add(M_ENGINE_PREFILL_TOKENS, prefill);
    if (prefill == 0)
        smooth(&s->decode_ns, took);
    else if (prefill >= CHUNK_MIN)
        smooth(&s->prefill_ns, took / n);
    after_step(s);
}

bool sched_round(struct sched *s) {
    take_in(s);
    bool worked = false;
    struct embed_job *embed = s->embeds ? next_embed(s) : NULL;
    if (embed) {
        embed_round(s, embed);
        worked = true;
    }
    if (s->model)
        admit(s);
    if (s->running) {
        chat_step(s);
        worked = true;
    }
    return worked;
}

void sched_run(struct sched *s) {
    for (;;) {
        pthread_mutex_lock(&s->lock);
        while (!s->stop && !s->inbox && !s->embed_inbox && !s->n_cancels && !s->running &&
               !s->embeds && !s->waiting)
            pthread_cond_wait(&s->wake, &s->lock);
        bool stop = s->stop;
        pthread_mutex_unlock(&s->lock);
        if (stop)
            return;
        sched_round(s);
    }
}

void sched_free(struct sched *s) {
    struct errinfo ei;
    if (!s)
        return;
    err_set(&ei, ERR_CANCELLED, NULL);
    take_in(s);
    while (s->running)
        end_job(s, s->running, SCHED_CANCELLED, NULL);
    while (s->waiting)
        end_job(s, s->waiting, SCHED_CANCELLED, NULL);
    while (s->embeds) {
        struct embed_job *j = s->embeds;
        s->embeds = j->next;
        end_embed(s, j, ERR_CANCELLED, &ei);
    }
    slots_free(s->slots);
    fairness_free(s->fairness);
    free(s->items);
    free(s->cancels);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
