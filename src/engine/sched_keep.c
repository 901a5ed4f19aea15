/* What outlives the process: running conversations are kept outside it every so many tokens, so
 * that the next process goes on with them without computing their prompts again. That costs a copy
 * of a conversation's keys and values, and is done as often as KEEP_SHARE allows.
 *
 * To those who wait for an answer's next token a copy is like a piece of somebody's prompt: it is
 * made after their step, and takes the place of a piece then (sched.prefill_ns). */
#include <math.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "engine/sched_internal.h"

#define KEEP_EVERY   48         /* tokens: computed anew they take a step or two; */
#define KEEP_EXACT   16         /* for exact answers one step each: as many as take */
#define KEEP_STEPS   (200 * MS) /* so long, */
#define KEEP_LEAST   2          /* but not with every token */
#define KEEP_SHARE   30         /* of so much time one part goes into keeping */
#define KEEP_AWAITED (20 * MS)  /* what takes longer is not kept while a first word is awaited */

void sched_restore(struct sched *s) {
    struct kept kept;
    int n = 0, states = 0, tokens = 0;
    if (!s->o.keep)
        return;
    while (n < s->o.slots && keep_get(s->o.keep, n, &kept))
        n++;
    while (n-- > 0 && keep_get(s->o.keep, n, &kept)) { /* the newest last, as the last used */
        struct tokens t = {(int32_t *)(uintptr_t)kept.tokens, kept.n, kept.n}; /* only read */
        if (!slots_restore(s->slots, &t, kept.conversation, kept.state, kept.size))
            continue;
        states++;
        tokens += kept.n;
    }
    metric_set(M_ENGINE_RESTORED_TOKENS, tokens);
    if (states)
        log_event(LOG_INFO, "engine.restored", LF_INT("conversations", states),
                  LF_INT("tokens", tokens));
}

/* How many tokens may have to be computed again. */
static int keep_every(const struct sched *s, const struct job *j) {
    if (!s->model->info.rows || !j->chat.exact)
        return KEEP_EVERY;
    int n = (int)fmin(KEEP_STEPS / forecast_step_ns(&s->forecast, 1, 0), KEEP_EXACT);
    return n > KEEP_LEAST ? n : KEEP_LEAST;
}

static bool is_due(struct sched *s, struct job *j) {
    const struct slot *slot = j->slot;
    int every = keep_every(s, j);
    if (j->chat.background || slot->computed - j->kept < every)
        return false;
    if (j->kept == 0)
        j->kept = keep_held(s->o.keep, slot->tokens.p, slot->computed);
    return slot->computed - j->kept >= every;
}

/* Requests come in meanwhile: slots are changed by this thread alone. */
static void keep(struct sched *s, const struct slot *slot, int64_t begin) {
    s->step_ends_ns = begin + (int64_t)(s->keep_token_ns * slot->computed);
    pthread_mutex_unlock(&s->state);
    bool kept = keep_put(s->o.keep, s->model, slot->sequence, slot->conversation, slot->tokens.p,
                         slot->computed);
    pthread_mutex_lock(&s->state);
    s->step_ends_ns = 0;
    s->calm = 0;
    int64_t took = clock_mono_ns() - begin;
    s->keep_ns = begin + took + took * KEEP_SHARE;
    s->prefill_ns += (double)took;
    metric_observe(M_ENGINE_KEEP_SECONDS, (double)took / 1e9);
    if (!kept)
        return;
    double token_ns = (double)took / slot->computed;
    s->keep_token_ns += (token_ns - s->keep_token_ns) * (s->keep_token_ns > 0 ? SMOOTH : 1);
    metric_add(M_ENGINE_KEPT, 1);
}

void sched_keep(struct sched *s) {
    if (!s->o.keep || s->unsettled)
        return;
    keep_good(s->o.keep); /* a step was computed with what was taken over */
    int64_t begin = clock_mono_ns();
    if (begin < s->keep_ns)
        return;
    int answers = 0;
    for (const struct job *j = s->running; j; j = j->next)
        answers += job_generating(j);
    if (answers > 0 && s->prefill_ns > 0)
        return; /* their step comes first */
    double most = sched_first_word_is_awaited(s) ? KEEP_AWAITED : INFINITY;
    if (answers > 0 && most < INFINITY)
        most = fmin(most, forecast_piece_ns(&s->forecast, answers));
    for (struct job *j = s->running; j; j = j->next) {
        if (s->keep_token_ns * j->slot->computed > most)
            continue;
        if (!is_due(s, j))
            continue;
        j->kept = j->slot->computed; /* tried again when there is as much more, also if it failed */
        keep(s, j->slot, begin);
        return;
    }
}
