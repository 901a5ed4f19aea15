/* The scheduler's embeddings: short batches between the steps. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "engine/sched_internal.h"

#define BATCH 256 /* tokens of several texts together: longer batches are slower per token */
#define BACKGROUND_BATCH                                                                           \
    96 /* tokens that somebody who comes meanwhile waits for: some 30 ms on two cores */
#define BACKGROUND_PAUSE 9           /* times as long as a batch took, answers have the cores */
#define LIST_PATIENCE    (300 * MS)  /* a list goes before first words after so long */
#define HELD_MOST        (2000 * MS) /* so long the background has none before a first word */
#define HOLD_TIMES       8           /* as long as the text took, if that is longer than hold_ms */
#define FOLLOW_MOST      (15 * MS)   /* later than that is not at once */
#define FOLLOW_OFTEN     0.5
#define FOLLOW_SMOOTH    0.2
#define TEXTS            32
#define QUEUED           65536 /* tokens of texts that wait; a lone request may be longer */
#define RETRY_MIN_MS     1000
#define RETRY_MAX_MS     60000

/* Takes the tokens into the queue's sum. A chat turn waits for its one text, so single texts are
 * let in when lists are refused. */
static enum err take_room(struct sched *s, const struct sched_embed *e, int tokens,
                          struct errinfo *ei) {
    int before = s->embed_queued;
    if (before == 0 || before + tokens <= QUEUED * (e->n == 1 ? 2 : 1)) {
        s->embed_queued += tokens;
        return ERR_OK;
    }
    metric_add(M_ENGINE_REFUSED, 1);
    enum err err = err_set(
        ei, ERR_OVERLOADED,
        "the embedding model is busy: texts of %d tokens are waiting already; try again later",
        before);
    double ms = s->embed_ns * before / (double)MS;
    if (ei)
        ei->retry_after_ms = ms < RETRY_MIN_MS   ? RETRY_MIN_MS
                             : ms > RETRY_MAX_MS ? RETRY_MAX_MS
                                                 : (uint32_t)ms;
    return err;
}

enum err sched_embed_submit(struct sched *s, struct sched_embed *e, uint64_t *ret_id,
                            struct errinfo *ei) {
    int tokens = 0;
    if (!s->embedding)
        return err_set(ei, ERR_UNAVAILABLE, "no embedding model is loaded");
    for (int i = 0; i < e->n; i++)
        tokens += e->texts[i].n;
    struct embed_job *j = calloc(1, sizeof(*j));
    if (j)
        j->vectors = calloc((size_t)e->n * model_row(&s->embedding->info) + 1, sizeof(float));
    if (!j || !j->vectors) {
        free(j);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    j->tokens = tokens;
    j->served_ns = clock_mono_ns();
    pthread_mutex_lock(&s->state);
    enum err err = take_room(s, e, tokens, ei);
    if (err) {
        pthread_mutex_unlock(&s->state);
        free(j->vectors);
        free(j);
        return err;
    }
    j->e = *e;
    e->texts = NULL;
    *ret_id = j->id = sched_wake(s);
    LIST_APPEND(s->embeds, j, struct embed_job);
    if (!j->e.background)
        sched_make_haste(s);
    pthread_mutex_unlock(&s->state);
    return ERR_OK;
}

void sched_embed_end(struct sched *s, struct embed_job *j, enum err err, const struct errinfo *ei) {
    s->embed_queued -= j->tokens;
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

void sched_embed_cancel(struct sched *s, uint64_t id) {
    struct embed_job **at = &s->embeds, *j;
    struct errinfo ei;
    while (*at && (*at)->id != id)
        at = &(*at)->next;
    if ((j = *at) == NULL)
        return;
    *at = j->next;
    err_set(&ei, ERR_CANCELLED, NULL);
    sched_embed_end(s, j, ERR_CANCELLED, &ei);
}

bool sched_first_word_is_awaited(const struct sched *s) {
    for (const struct job *j = s->running; j; j = j->next)
        if (!j->chat.background && j->answer_tokens == 0)
            return true;
    for (const struct job *j = s->waiting; j; j = j->next)
        if (!j->chat.background)
            return true;
    return false;
}

/* The background has waited long enough: now it has a batch before answers and first words;
 * people's texts still go before it. */
static bool has_waited(const struct embed_job *j, int64_t now) {
    return now - j->served_ns >= HELD_MOST;
}

/* Whether a batch of the background is due beside running answers: a part of the time, and none
 * while somebody waits for a first word. */
static bool background_is_due(const struct sched *s, const struct embed_job *j, int64_t now) {
    int64_t pause = BACKGROUND_PAUSE * s->background_took_ns;
    if (has_waited(j, now))
        return true;
    return !sched_first_word_is_awaited(s) &&
           now >= s->background_ns + (pause < HELD_MOST ? pause : HELD_MOST);
}

/* A single text is a question on its way. A list (an answer that is checked, a program's texts)
 * lets first words go before it, for some time. */
static struct embed_job *next_for_people(const struct sched *s, int64_t now) {
    bool stands_back = sched_first_word_is_awaited(s);
    struct embed_job *list = NULL;
    for (struct embed_job *j = s->embeds; j; j = j->next) {
        if (!j->e.background && j->e.n == 1)
            return j;
        if (!list && !j->e.background && (!stands_back || now - j->served_ns >= LIST_PATIENCE))
            list = j;
    }
    return list;
}

/* The first job that somebody waits for, else the first of the background whose time has come. */
static struct embed_job *next_embed(struct sched *s, int64_t now) {
    struct embed_job *j = next_for_people(s, now);
    if (j)
        return s->running && now < (j->e.n == 1 ? s->text_after_ns : s->embed_after_ns) ? NULL : j;
    struct embed_job *background = s->embeds;
    for (j = background; j; j = j->next)
        if (!j->e.background)
            return NULL; /* a list that stands back does so for first words only */
    if (s->running ? !background_is_due(s, background, now) : s->waiting != NULL)
        return NULL;
    bool held = !s->running && now < s->hold_ns && !has_waited(background, now);
    s->rest_ns = held ? s->hold_ns : 0;
    return held ? NULL : background;
}

/* How many texts of the job make a short batch, and their tokens. */
static int batch_of(const struct embed_job *j, int *ret_tokens) {
    int n = 0, total = 0, most = j->e.background ? BACKGROUND_BATCH : BATCH;
    while (j->done + n < j->e.n && n < TEXTS) {
        int tokens = j->e.texts[j->done + n].n;
        if (n && total + tokens > most)
            break;
        total += tokens;
        n++;
    }
    *ret_tokens = total;
    return n;
}

/* On a machine that is busy with other things what comes between takes longer, as this did. */
static void hold_background(struct sched *s, int64_t begin, int64_t end) {
    int64_t least = s->o.hold_ms * MS, longer = HOLD_TIMES * (end - begin);
    if (least)
        s->hold_ns = end + (longer > least ? longer : least);
}

/* ---- the question that follows a text ---- */

static void learn_follow(struct sched *s, bool came) {
    s->follows += (came - s->follows) * FOLLOW_SMOOTH;
    s->text_ns = 0;
}

/* A turn embeds its question, judges it, searches with it and then asks. */
static void await_question(struct sched *s, const struct embed_job *j, int64_t now) {
    if (s->text_ns)
        learn_follow(s, false);
    if (j->e.n == 1)
        s->text_ns = now;
}

void sched_embed_followed(struct sched *s, int64_t now) {
    if (!s->text_ns || now - s->text_ns > FOLLOW_MOST)
        return;
    double took = (double)(now - s->text_ns);
    s->follow_ns += (took - s->follow_ns) * (s->follow_ns > 0 ? FOLLOW_SMOOTH : 1);
    learn_follow(s, true);
}

int64_t sched_embed_awaits(struct sched *s, int64_t now) {
    if (s->text_ns && now - s->text_ns > FOLLOW_MOST)
        learn_follow(s, false);
    if (!s->text_ns || s->follows < FOLLOW_OFTEN || s->waiting)
        return 0;
    int answers = 0;
    for (const struct job *j = s->running; j; j = j->next, answers++)
        if (!job_generating(j))
            return 0; /* a first word is waited for, and its prompt goes before */
    double saved = forecast_step_ns(&s->forecast, answers, 0) - s->follow_ns;
    if (FIRST_WORDS * saved < answers * s->follow_ns)
        return 0; /* a step is over soon, and many would wait */
    int64_t until = s->text_ns + (int64_t)(s->follow_ns * 2) + MS;
    if (until > s->text_ns + FOLLOW_MOST)
        until = s->text_ns + FOLLOW_MOST;
    return now < until ? until : 0;
}

/* The job whose turn it was goes behind the others, or ends. */
static void after_batch(struct sched *s, struct embed_job *j, enum err e,
                        const struct errinfo *ei) {
    struct embed_job **at = &s->embeds;
    while (*at != j)
        at = &(*at)->next;
    if (e || j->done == j->e.n) {
        *at = j->next;
        sched_embed_end(s, j, e, ei);
    } else if (j->next) { /* a long list lets the next request go between its batches */
        *at = j->next;
        LIST_APPEND(s->embeds, j, struct embed_job);
    }
}

static enum err embed_batch(struct sched *s, struct embed_job *j, int n, int tokens,
                            struct errinfo *ei) {
    size_t row = model_row(&s->embedding->info);
    int64_t begin = clock_mono_ns();
    s->yields = j->e.background && !has_waited(j, begin);
    s->step_ends_ns = s->yields ? begin : begin + (int64_t)(s->embed_ns * tokens);
    pthread_mutex_unlock(&s->state); /* only this thread takes jobs off the list or frees them */
    enum err e = n == 0 ? ERR_OK
                        : s->embedding->ops->embed(s->embedding, j->e.texts + j->done, n,
                                                   j->vectors + (size_t)j->done * row, ei);
    pthread_mutex_lock(&s->state);
    s->step_ends_ns = 0;
    if (s->yields)
        sched_end_haste(s); /* whoever came finds his step undisturbed */
    return e;
}

/* As long as it took, answers go on. A question does not wait for what follows a list. */
static void pause_after(struct sched *s, const struct embed_job *j, int64_t begin, int64_t end) {
    s->embed_after_ns = end + (end - begin);
    if (j->e.n == 1)
        s->text_after_ns = s->embed_after_ns;
}

bool sched_embed_round(struct sched *s) {
    struct errinfo ei = {0};
    int total;
    int64_t begin = clock_mono_ns();
    struct embed_job *j = next_embed(s, begin);
    if (!j)
        return false;
    int n = batch_of(j, &total);
    enum err e = embed_batch(s, j, n, total, &ei);
    s->calm = 0;
    int64_t end = clock_mono_ns();
    bool called_off = e == ERR_CANCELLED && s->yields;
    s->yields = false;
    if (j->e.background) {
        s->background_ns = end;
        s->background_took_ns = end - begin;
        metric_add(called_off ? M_ENGINE_CALLED_OFF : M_ENGINE_BACKGROUND_BATCHES, 1);
    } else {
        pause_after(s, j, begin, end);
        hold_background(s, begin, end);
        await_question(s, j, end);
    }
    if (called_off)
        return true; /* it is done again later */
    if (total)
        s->embed_ns += ((double)(end - begin) / total - s->embed_ns) * SMOOTH;
    j->done += n;
    j->served_ns = end;
    after_batch(s, j, e, &ei);
    return true;
}
