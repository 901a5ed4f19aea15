/* Who may come in, who is next, and what those who wait are told. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "engine/sched_internal.h"

#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 60000
#define TELL_NS      (200 * MS)  /* positions are told at most so often */
#define REMIND_NS    (5000 * MS) /* and at least so often, so that nobody takes silence for an end */
#define ALONE        2           /* see deadline_of() */
#define ALONE_MARGIN 1.25
#define DELIVERY                                                                                   \
    20 /* a part of the deadline that is left for a first token's way to the client                \
        */
#define SURELY        0.8 /* of the time that prompts before another are taken to need */
#define RUNNING_MAX   256
#define SETTLED       2048 /* tokens: users who were served about as much as others go by arrival */
#define RANK_TOKENS   256  /* that a request takes, about */
#define DURATION_SIZE 32

/* ---- the forecast ---- */

/* The order of those who wait: people before the background; a user's first request before further
 * ones of the same user. First ones go in the order in which they came to be that, unless one user
 * was served much more than another: so who comes later seldom overtakes, and what was promised
 * holds. Further ones go by what their users were served, each as if those before it were served
 * already. */
static bool goes_before(const struct sched *s, const struct job *a, const struct job *b) {
    if (a->chat.background != b->chat.background)
        return b->chat.background;
    if ((a->rank == 0) != (b->rank == 0))
        return a->rank == 0;
    if (a->rank == 0)
        return a->settled != b->settled ? a->settled < b->settled : a->turn < b->turn;
    double served_a = fairness_served(s->fairness, a->account) + a->rank * RANK_TOKENS;
    double served_b = fairness_served(s->fairness, b->account) + b->rank * RANK_TOKENS;
    return served_a != served_b ? served_a < served_b : a->id < b->id;
}

static void rank(struct sched *s, struct job *j) {
    j->rank = fairness_count(s->fairness, j->account);
    if (j->rank > 0 || j->turn > 0)
        return;
    j->turn = ++s->turns;
    j->settled = (int64_t)(fairness_served(s->fairness, j->account) / SETTLED);
}

/* newcomer: one that is not in the lists yet, or NULL */
static void rank_all(struct sched *s, struct job *newcomer) {
    fairness_count_anew(s->fairness);
    for (struct job *j = s->running; j; j = j->next)
        j->rank = fairness_count(s->fairness, j->account);
    for (struct job *j = s->waiting; j; j = j->next)
        rank(s, j);
    for (struct job *j = s->coming; j; j = j->next)
        rank(s, j);
    if (newcomer) {
        rank(s, newcomer);
        if (!newcomer->id)
            newcomer->id = UINT64_MAX; /* after all that have one */
    }
}

/* What a request's sequence holds at most. */
static int most_tokens(const struct sched *s, const struct job *j) {
    int64_t n = (int64_t)j->prompt_tokens + j->chat.max_tokens;
    return n < s->model->info.window ? (int)n : s->model->info.window;
}

static int64_t reserved(const struct sched *s) {
    int64_t n = 0;
    for (const struct job *j = s->running; j; j = j->next)
        n += j->slot->reserved;
    return n;
}

/* What is computed before any prompt that comes now: the rest of the running step, the step that
 * running answers are to have after a prompt's, and the texts that somebody waits for. */
static double busy_ns(const struct sched *s, int64_t now, int answers) {
    double ns = s->step_ends_ns > now ? (double)(s->step_ends_ns - now) : 0;
    if (s->prefill_ns > 0 && answers > 0)
        ns += forecast_step_ns(&s->forecast, answers, 0);
    for (const struct embed_job *e = s->embeds; e; e = e->next)
        if (!e->e.background)
            ns += s->embed_ns * e->tokens;
    return ns;
}

/* Tokens of a running job's prompt that are left to compute after the running step. */
static int left_to_read(const struct job *j) {
    int done = j->computed_after > j->slot->computed ? j->computed_after : j->slot->computed;
    int left = j->slot->tokens.n - done; /* less than none: guesses stand behind what is there */
    return job_generating(j) || left < 0 ? 0 : left;
}

static int answering(const struct sched *s, bool background) {
    int n = 0;
    for (const struct job *j = s->running; j; j = j->next)
        n += (background || !j->chat.background) && left_to_read(j) == 0;
    return n;
}

/* Adds those of the list that go before the job; returns how many there are then. */
static int add_ahead(const struct sched *s, const struct job *list, const struct job *j,
                     int64_t now, struct forecast_request *ahead, int n) {
    for (const struct job *w = list; w; w = w->next)
        if (goes_before(s, w, j))
            ahead[n++] = (struct forecast_request){.fresh = w->fresh,
                                                   .most = w->chat.max_tokens,
                                                   .reserve = most_tokens(s, w),
                                                   .age_ns = (double)(now - w->submitted_ns)};
    return n;
}

/* Slots for those to come. Whoever is just being given one, while his state is copied, still waits
 * and takes his place there. */
static int slots_to_give(const struct sched *s) {
    int n = s->o.slots;
    for (const struct job *j = s->running; j; j = j->next)
        n--;
    return n;
}

/* From now to the job's first token; 0 when there is no memory to say. */
static double predict(struct sched *s, struct job *j, int64_t now) {
    rank_all(s, j);
    int answers = answering(s, j->chat.background);
    struct forecast_running running[RUNNING_MAX];
    size_t others = (size_t)(s->n_waiting + s->n_coming);
    struct forecast_request *ahead = calloc(others + 1, sizeof(*ahead));
    struct forecast_state st = {.running = running,
                                .ahead = ahead,
                                .idle = slots_to_give(s),
                                .cells = s->o.cells - reserved(s),
                                .quick = (int)(QUICK_NS / s->forecast.prompt_ns),
                                .quick_chunk = sched_chunk(s, answers, true),
                                .chunk = sched_chunk(s, answers, false),
                                .rows = s->model->info.rows,
                                .likely = j->chat.wait,
                                .ahead_ns = busy_ns(s, now, answers)};
    if (!ahead)
        return 0;
    for (const struct job *r = s->running; r && st.n_running < RUNNING_MAX; r = r->next) {
        /* The background makes room. */
        if (r->chat.background && !j->chat.background) {
            st.idle++;
            st.cells += r->slot->reserved;
            continue;
        }
        running[st.n_running++] =
            (struct forecast_running){.left = r->chat.max_tokens - r->answer_tokens,
                                      .reserved = r->slot->reserved,
                                      .todo = left_to_read(r),
                                      .age_ns = (double)(now - r->submitted_ns)};
    }
    st.n_ahead = add_ahead(s, s->waiting, j, now, ahead, 0);
    st.n_ahead = add_ahead(s, s->coming, j, now, ahead, st.n_ahead);
    const struct forecast_request me = {
        .fresh = j->fresh, .most = j->chat.max_tokens, .reserve = most_tokens(s, j)};
    double ns = forecast_first_token(&s->forecast, &st, &me);
    free(ahead);
    return ns;
}

/* ---- coming in ---- */

/* When one who is refused may come back: when what is before him will have been worked off so far
 * that he makes it, and not at the same moment as those who were refused before him. */
static uint32_t retry_after_ms(struct sched *s, double wait_ns, int64_t now) {
    int64_t at = now + (int64_t)wait_ns;
    if (slots_to_give(s) == 0 && s->retry_ns > at)
        at = s->retry_ns;
    s->retry_ns = at + (int64_t)(s->request_ns / (s->o.slots > 0 ? s->o.slots : 1));
    int64_t ms = (at - now) / MS;
    return ms < RETRY_MIN_MS ? RETRY_MIN_MS : ms > RETRY_MAX_MS ? RETRY_MAX_MS : (uint32_t)ms;
}

static enum err refuse(struct sched *s, double wait_ns, int64_t now, const char *why,
                       struct errinfo *ei) {
    uint32_t ms = retry_after_ms(s, wait_ns, now);
    metric_add(M_ENGINE_REFUSED, 1);
    enum err e = err_set(ei, ERR_OVERLOADED, "%s; try again in %.1f s", why, ms / 1000.0);
    if (ei)
        ei->retry_after_ms = ms;
    return e;
}

/* Who waits rather than be refused is refused when it would likely take longer than he waits; who
 * has a deadline, unless it is very likely kept.
 *
 * Nanoseconds, 0 = none. The usual deadline is there to spare people a wait that coming back later
 * would spare them, too. So it does not hold for one who comes when nobody else is there; and a
 * prompt that takes longer even when it is alone has ALONE times that long. */
static int64_t deadline_of(const struct sched *s, const struct job *j) {
    if (j->chat.wait || j->chat.background)
        return 0;
    if (j->chat.deadline_ms >= 0)
        return j->chat.deadline_ms * MS;
    bool first = !s->coming || (j->id && j->id < s->coming->id); /* of those being read */
    if (!s->running && !s->waiting && first)
        return 0;
    double alone = forecast_step_ns(&s->forecast, 1, j->fresh) * ALONE_MARGIN;
    int64_t usual = s->o.deadline_ms * MS;
    return usual == 0 || alone <= (double)usual ? usual : (int64_t)(ALONE * alone);
}

/* That are to be computed before the first new one; those that go one by one count for as many as
 * take that long together. */
static int fresh_tokens(struct sched *s, const struct job *j) {
    int n = j->prompt_tokens - slots_held(s->slots, &j->chat.prompt, j->chat.conversation);
    if (!s->model->info.rows || !j->chat.exact || !j->chat.partial)
        return n;
    int slow = n < j->chat.partial ? n : j->chat.partial;
    return n - slow + (int)(slow * forecast_step_ns(&s->forecast, 1, 0) / s->forecast.prompt_ns);
}

/* Those that wait, and those that came before the job and are being read still. */
static int queued_before(const struct sched *s, const struct job *j) {
    int n = s->n_waiting;
    for (const struct job *c = s->coming; c && c->id < j->id; c = c->next)
        n++;
    return n;
}

/* For people: whole milliseconds, or hundredths of seconds, upward, so that what is later reads so.
 */
static const char *duration(char out[DURATION_SIZE], double ns) {
    double ms = ceil(ns / MS);
    if (ms < 1000)
        snprintf(out, DURATION_SIZE, "%.0f ms", ms);
    else
        snprintf(out, DURATION_SIZE, "%.2f s", ceil(ms / 10) / 100);
    return out;
}

/* j->fresh is known. */
static enum err may_enter(struct sched *s, struct job *j, struct errinfo *ei) {
    int64_t now = clock_mono_ns();
    char why[256], takes[DURATION_SIZE], given[DURATION_SIZE];
    j->submitted_ns = now;
    j->at_once = slots_to_give(s) > 0 && !s->waiting;
    double ns = j->predicted_ns = predict(s, j, now);
    int queued = queued_before(s, j);
    if (queued >= (int64_t)s->o.max_queued * (j->chat.wait ? SCHED_PATIENT : 1)) {
        snprintf(why, sizeof(why), "the model is busy: %d requests are waiting already", queued);
        return refuse(s, ns, now, why, ei);
    }
    if (j->chat.wait && j->chat.wait_ms > 0 && ns > (double)(j->chat.wait_ms * MS)) {
        snprintf(why, sizeof(why),
                 "the model is busy: the first word would come in about %s, which is longer "
                 "than the %s that this request would wait",
                 duration(takes, ns), duration(given, (double)(j->chat.wait_ms * MS)));
        return refuse(s, ns - (double)(j->chat.wait_ms * MS), now, why, ei);
    }
    int64_t deadline = deadline_of(s, j);
    if (deadline == 0)
        return ERR_OK;
    j->deadline_ns =
        (j->chat.arrived_ns ? j->chat.arrived_ns : now) + deadline - deadline / DELIVERY;
    double left = (double)(j->deadline_ns - now);
    if (ns * s->forecast.margin <= left)
        return ERR_OK;
    double alone = forecast_step_ns(&s->forecast, 1, j->fresh) * s->forecast.margin;
    double spent = (double)(deadline - (j->deadline_ns - now)); /* and what the way back takes */
    duration(given, (double)deadline);
    if (alone > left)
        snprintf(why, sizeof(why),
                 "this prompt has %d new tokens, which alone take about %s to read, longer than "
                 "the %s that were asked for; ask for more time",
                 j->fresh, duration(takes, alone + spent), given);
    else
        snprintf(why, sizeof(why),
                 "the model is busy: the first word would come in about %s, later than the %s "
                 "that were asked for",
                 duration(takes, ns * s->forecast.margin + spent), given);
    return refuse(s, ns * s->forecast.margin - left, now, why, ei);
}

static void end_late(struct sched *s, struct job *j, int64_t now) {
    struct errinfo ei;
    metric_add(M_ENGINE_LATE, 1);
    forecast_check(&s->forecast, j->predicted_ns, (double)(now - j->submitted_ns) * 2);
    refuse(s, s->request_ns, now,
           "the model is busy: the first word did not come in the time that was asked for", &ei);
    sched_end_job(s, j, SCHED_FAILED, &ei);
}

bool sched_end_late(struct sched *s, struct job *j, int64_t now) {
    if (!j->deadline_ns || now <= j->deadline_ns)
        return false;
    end_late(s, j, now);
    return true;
}

enum err sched_may_enter(struct sched *s, struct job *j, struct errinfo *ei) {
    j->fresh = fresh_tokens(s, j);
    return may_enter(s, j, ei);
}

/* ---- before the prompt is read ---- */

static enum err glance(struct sched *s, struct job *j, const struct sched_glance *g,
                       struct errinfo *ei) {
    if (g->least <= 0)
        return ERR_OK;
    j->prompt_tokens = g->least;
    j->fresh = g->most;
    if (j->chat.deadline_ms < 0) /* longer prompts may have a later one */
        j->chat.deadline_ms = deadline_of(s, j) / MS;
    j->fresh = g->least;
    double alone = forecast_step_ns(&s->forecast, 1, g->least) * s->forecast.margin;
    if (!j->chat.wait && alone > (double)(j->chat.deadline_ms * MS))
        return ERR_OK; /* it counts how much of it is held */
    return may_enter(s, j, ei);
}

enum err sched_chat_glance(struct sched *s, struct sched_chat *c, const struct sched_glance *g,
                           struct errinfo *ei) {
    struct job *j = s->model ? calloc(1, sizeof(*j)) : NULL;
    c->place = 0;
    if (!j)
        return s->model ? err_set(ei, ERR_NOMEM, NULL) : ERR_OK; /* submitting says why */
    j->chat = *c;
    j->submitted_ns = clock_mono_ns();
    pthread_mutex_lock(&s->state);
    j->account = fairness_join(s->fairness, c->user);
    enum err e = glance(s, j, g, ei);
    if (e) {
        fairness_leave(s->fairness, j->account);
        free(j);
    } else {
        j->fresh = j->prompt_tokens = g->likely;
        LIST_APPEND(s->coming, j, struct job);
        s->n_coming++;
        pthread_mutex_lock(&s->lock);
        c->place = j->id = ++s->next_id;
        pthread_mutex_unlock(&s->lock);
    }
    pthread_mutex_unlock(&s->state);
    return e;
}

static struct job *leave(struct sched *s, uint64_t place) {
    struct job *j = s->coming;
    while (j && j->id != place)
        j = j->next;
    if (!j)
        return NULL;
    sched_unlink(&s->coming, j);
    s->n_coming--;
    return j;
}

bool sched_take_place(struct sched *s, struct job *j, uint64_t place) {
    struct job *held = place ? leave(s, place) : NULL;
    if (!held)
        return false;
    j->id = held->id;
    j->turn = held->turn;
    j->settled = held->settled;
    j->account = held->account;
    free(held);
    return true;
}

void sched_chat_leave(struct sched *s, uint64_t place) {
    if (!place)
        return;
    pthread_mutex_lock(&s->state);
    struct job *held = leave(s, place);
    if (held)
        fairness_leave(s->fairness, held->account);
    free(held);
    pthread_mutex_unlock(&s->state);
}

static bool awaits_first(const struct job *j) {
    return !j->chat.background && j->answer_tokens == 0;
}

static int by_order(const void *a, const void *b) {
    const struct job *x = *(struct job *const *)a, *y = *(struct job *const *)b;
    return (x->order_ns > y->order_ns) - (x->order_ns < y->order_ns);
}

/* Those whose prompts are computed, one after the other: who cannot be in time even if nothing else
 * is computed, and that a good deal faster than is likely, is told so now, and his time is the
 * others'. */
static void refuse_late_running(struct sched *s, int64_t now) {
    struct job *jobs[SLOTS_MAX];
    int n = 0;
    double at = (double)now, base = s->model->info.rows ? s->forecast.base_ns : 0;
    for (struct job *j = s->running; j; j = j->next) {
        if (!awaits_first(j) || n == SLOTS_MAX)
            continue;
        j->order_ns = forecast_order_ns(&s->forecast, (double)j->submitted_ns, job_todo(j));
        jobs[n++] = j;
    }
    qsort(jobs, (size_t)n, sizeof(*jobs), by_order);
    for (int i = 0; i < n; i++) {
        double alone = forecast_step_ns(&s->forecast, 1, job_todo(jobs[i]) - 1);
        if (jobs[i]->deadline_ns && at + alone > (double)jobs[i]->deadline_ns) {
            end_late(s, jobs[i], now);
            continue;
        }
        at += SURELY * (base + job_todo(jobs[i]) * s->forecast.prompt_ns);
    }
}

void sched_refuse_late(struct sched *s) {
    int64_t now = clock_mono_ns();
    for (struct job *j = s->waiting, *next; j; j = next) {
        next = j->next;
        int64_t soonest = now + (int64_t)forecast_step_ns(&s->forecast, 1, j->fresh - 1);
        if (j->deadline_ns && awaits_first(j) && soonest > j->deadline_ns)
            end_late(s, j, now);
    }
    refuse_late_running(s, now);
}

/* Those that wait, too, as long as theirs is a time that is promised, and not the likely end of an
 * answer that has the slot. */
bool sched_was_promised(const struct sched *s, const struct job *j) {
    double usual = (double)(s->o.deadline_ms * MS);
    return j->deadline_ns ||
           (!j->chat.background && j->at_once && j->predicted_ns * s->forecast.margin <= usual);
}

/* ---- getting a slot ---- */

static struct job *next_waiting(struct sched *s) {
    struct job *best = NULL;
    rank_all(s, NULL);
    for (struct job *j = s->waiting; j; j = j->next)
        if (!best || !goes_before(s, best, j))
            best = j;
    return best;
}

/* The last background answer gives its slot back and goes on later, from where it is. */
static bool make_way(struct sched *s) {
    struct job *victim = NULL;
    for (struct job *j = s->running; j; j = j->next)
        if (j->chat.background)
            victim = j;
    if (!victim || tokens_add(&victim->chat.prompt, victim->slot->tokens.p, victim->slot->tokens.n))
        return false;
    slots_release(s->slots, victim->slot);
    victim->slot = NULL;
    sched_unlink(&s->running, victim);
    victim->next = s->waiting;
    s->waiting = victim;
    metric_set(M_ENGINE_QUEUED, ++s->n_waiting);
    metric_add(M_ENGINE_RUNNING, -1);
    return true;
}

static void count_source(enum slots_source source, int reused) {
    metric_add(M_ENGINE_REUSED_TOKENS, reused);
    if (source != SLOTS_NONE)
        metric_add(M_ENGINE_PREFIX_HITS, 1);
    if (source == SLOTS_SHELF)
        metric_add(M_ENGINE_SHELF_HITS, 1);
}

/* False: it got none, and nobody else will before something ends. */
static bool give_slot(struct sched *s, struct job *j) {
    enum slots_source source;
    int most = most_tokens(s, j);
    while (slots_idle(s->slots) == 0 || !slots_fit(s->slots, most))
        if (j->chat.background || !make_way(s))
            return false;
    struct tokens *p = &j->chat.prompt;
    for (int i = p->n > SAMPLER_RECENT ? p->n - SAMPLER_RECENT : 0; !j->started_ns && i < p->n; i++)
        sampler_see(j->sampler, model_token_plain(p->p[i]), i >= p->n - j->chat.partial);
    int64_t begin = clock_mono_ns();
    struct slot *slot = slots_acquire(s->slots, p, most, j->chat.conversation, &source);
    s->moved_ns += (double)(clock_mono_ns() - begin);
    s->unsettled = slots_moves(s->slots);
    if (!slot) {
        struct errinfo ei;
        err_set(&ei, ERR_NOMEM, NULL);
        sched_end_job(s, j, SCHED_FAILED, &ei);
        return true;
    }
    sched_unlink(&s->waiting, j);
    LIST_APPEND(s->running, j, struct job);
    j->slot = slot;
    j->unsettled = s->unsettled;
    if (!j->started_ns) {
        j->started_ns = clock_mono_ns();
        j->read_ns = forecast_token_ns(&s->forecast);
        j->cached_tokens = slot->computed;
        metric_observe(M_ENGINE_QUEUE_SECONDS, (double)(j->started_ns - j->submitted_ns) / 1e9);
    }
    count_source(source, slot->computed);
    metric_set(M_ENGINE_QUEUED, --s->n_waiting);
    metric_add(M_ENGINE_RUNNING, 1);
    return true;
}

static int people_answered(const struct sched *s) {
    int answers = 0;
    for (const struct job *j = s->running; j; j = j->next)
        answers += !j->chat.background && !j->unsettled && job_generating(j);
    return answers;
}

void sched_settle(struct sched *s) {
    if (!s->unsettled)
        return;
    int answers = people_answered(s);
    int64_t begin = clock_mono_ns(), until = INT64_MAX;
    if (answers > 0)
        until = begin +
                (int64_t)(forecast_piece_ns(&s->forecast, answers) - s->moved_ns - s->prefill_ns);
    if (until <= begin)
        return; /* the answers are next */
    s->step_ends_ns = answers > 0 ? until : 0;
    s->unsettled = !slots_settle(s->slots, until);
    s->step_ends_ns = 0;
    s->calm = -1;
    double took = (double)(clock_mono_ns() - begin);
    s->moved_ns += took;
    metric_observe(M_ENGINE_MOVE_SECONDS, took / 1e9);
    if (s->unsettled)
        return;
    for (struct job *j = s->running; j; j = j->next)
        j->unsettled = false;
}

/* After much was moved the answers are next, and what waits for nothing to move. */
static bool moved_much(const struct sched *s) {
    int answers = people_answered(s);
    return answers > 0 && sched_moved_share(s, answers) > SCHED_MOVED_MUCH;
}

void sched_admit(struct sched *s) {
    /* Nobody overtakes one that does not fit yet: it fits when others end. */
    while (s->waiting && !s->unsettled && !moved_much(s) && give_slot(s, next_waiting(s)))
        sched_settle(s);
}

/* ---- what those who wait are told ---- */

struct place {
    const struct sched *sched;
    struct job *job;
};

static int by_place(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    return goes_before(x->sched, x->job, y->job) ? -1 : 1;
}

void sched_tell_positions(struct sched *s) {
    int64_t now = clock_mono_ns();
    int n = 0;
    if (!s->waiting || now - s->told_ns < TELL_NS)
        return;
    struct place *places = calloc((size_t)s->n_waiting, sizeof(*places));
    if (!places)
        return;
    for (struct job *j = s->waiting; j; j = j->next, n++)
        places[n] = (struct place){s, j};
    rank_all(s, NULL);
    qsort(places, (size_t)n, sizeof(*places), by_place);
    for (int i = 0; i < n; i++) {
        struct job *j = places[i].job;
        if (!j->chat.wait || (j->told == i && now - j->told_ns < REMIND_NS))
            continue;
        j->told = i;
        j->told_ns = now;
        const struct sched_event e = {.queued = true, .position = i};
        j->chat.on_event(j->chat.ctx, &e);
    }
    free(places);
    s->told_ns = now;
}
